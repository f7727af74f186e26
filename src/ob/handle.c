/* SPDX-License-Identifier: MIT */
/*
 * Handle tables: an array of entries in pages, under up to two levels of pages of pointers, so that a handle is found with one to three loads,
 * a process with few handles has one page, and no entry ever moves. Free entries are chained by index; the one freed last is handed out
 * first. Lookups share the lock, changes take it alone; nobody calls out of the room while it is held.
 */
#include "ob/ob.h"

#define OB_TABLE_TAG MI_TAG('O', 'b', 't', 'b')

typedef struct _OB_HANDLE_ENTRY
{
    PVOID Object; /* NULL: free */
    ACCESS_MASK Access;
    union
    {
        ULONG NextFree;   /* free: index, 0 = none */
        ULONG Attributes; /* in use: OB_HANDLE_ATTRIBUTES */
    };
} OB_HANDLE_ENTRY;

#define OB_ENTRIES_PER_PAGE  (PAGE_SIZE / (ULONG)sizeof(OB_HANDLE_ENTRY))
#define OB_POINTERS_PER_PAGE (PAGE_SIZE / (ULONG)sizeof(PVOID))

struct _OB_HANDLE_TABLE
{
    EX_PUSH_LOCK Lock;
    PVOID
    Root; /* Levels 0: page of entries (or NULL); 1: of pointers to such; 2: of pointers to pages of pointers */
    ULONG Levels;
    ULONG Capacity; /* entries that exist; index 0 is never used */
    ULONG FirstFree;
    ULONG Count;
    BOOLEAN Closed;
};

static VOID ObpLockTable(OB_HANDLE_TABLE *Table)
{
    KiAcquirePushLockExclusive(&Table->Lock);
    KiNoteLockAcquired(&Table->Lock, KiLockHandleTable, FALSE);
}

static VOID ObpUnlockTable(OB_HANDLE_TABLE *Table)
{
    KiNoteLockReleased(&Table->Lock);
    KiReleasePushLockExclusive(&Table->Lock);
}

static OB_HANDLE_ENTRY *ObpEntry(const OB_HANDLE_TABLE *Table, ULONG Index)
{
    ULONG Leaf = Index / OB_ENTRIES_PER_PAGE;
    PVOID Page = Table->Root;

    if (Table->Levels == 2)
    {
        Page = ((PVOID *)Page)[Leaf / OB_POINTERS_PER_PAGE];
    }
    if (Table->Levels != 0)
    {
        Page = ((PVOID *)Page)[Leaf % OB_POINTERS_PER_PAGE];
    }
    return (OB_HANDLE_ENTRY *)Page + Index % OB_ENTRIES_PER_PAGE;
}

/* The entry in use that a handle means, or NULL. Table locked. */
static OB_HANDLE_ENTRY *ObpLookup(const OB_HANDLE_TABLE *Table, HANDLE Handle, PULONG Index)
{
    ULONG_PTR Number = (ULONG_PTR)Handle >> 2;
    OB_HANDLE_ENTRY *Entry;

    if (Number == 0 || Number >= Table->Capacity)
    {
        return NULL;
    }
    *Index = (ULONG)Number;
    Entry = ObpEntry(Table, *Index);
    return Entry->Object != NULL ? Entry : NULL;
}

/* ---- Growing --------------------------------------------------------------------------------------------- */

static BOOLEAN ObpRaiseRoot(OB_HANDLE_TABLE *Table)
{
    PVOID *Root = MiAllocatePool(PAGE_SIZE, OB_TABLE_TAG);

    if (Root == NULL)
    {
        return FALSE;
    }
    Root[0] = Table->Root;
    Table->Root = Root;
    Table->Levels++;
    return TRUE;
}

static BOOLEAN ObpLinkLeaf(OB_HANDLE_TABLE *Table, ULONG Number, PVOID Leaf)
{
    PVOID *Map;

    if (Number == 0)
    {
        Table->Root = Leaf;
        return TRUE;
    }
    if ((Table->Levels == 0 || (Table->Levels == 1 && Number == OB_POINTERS_PER_PAGE)) &&
        !ObpRaiseRoot(Table))
    {
        return FALSE;
    }
    Map = Table->Root;
    if (Table->Levels == 2)
    {
        PVOID *Slot = &Map[Number / OB_POINTERS_PER_PAGE];

        if (*Slot == NULL)
        {
            *Slot = MiAllocatePool(PAGE_SIZE, OB_TABLE_TAG);
        }
        Map = *Slot;
        if (Map == NULL)
        {
            return FALSE;
        }
    }
    Map[Number % OB_POINTERS_PER_PAGE] = Leaf;
    return TRUE;
}

/* One more page of entries, chained in ascending order. Table locked exclusively. */
static BOOLEAN ObpGrow(OB_HANDLE_TABLE *Table)
{
    ULONG First = Table->Capacity;
    OB_HANDLE_ENTRY *Leaf;

    if (First >= OB_MAXIMUM_HANDLES)
    {
        return FALSE;
    }
    Leaf = MiAllocatePool(PAGE_SIZE, OB_TABLE_TAG);
    if (Leaf == NULL)
    {
        return FALSE;
    }
    if (!ObpLinkLeaf(Table, First / OB_ENTRIES_PER_PAGE, Leaf))
    {
        MiFreePool(Leaf, OB_TABLE_TAG);
        return FALSE;
    }
    for (ULONG Index = 0; Index + 1 < OB_ENTRIES_PER_PAGE; Index++)
    {
        Leaf[Index].NextFree = First + Index + 1;
    }
    Table->FirstFree = First == 0 ? 1 : First;
    Table->Capacity = First + OB_ENTRIES_PER_PAGE;
    return TRUE;
}

/* ---- Handles --------------------------------------------------------------------------------------------- */

static NTSTATUS ObpTakeEntry(OB_HANDLE_TABLE *Table, PVOID Object, ACCESS_MASK Access, ULONG Attributes,
                             PULONG Index)
{
    OB_HANDLE_ENTRY *Entry;

    if (Table->Closed)
    {
        return STATUS_PROCESS_IS_TERMINATING;
    }
    if (Table->FirstFree == 0 && !ObpGrow(Table))
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    *Index = Table->FirstFree;
    Entry = ObpEntry(Table, *Index);
    Table->FirstFree = Entry->NextFree;
    *Entry = (OB_HANDLE_ENTRY){ .Object = Object,
                                .Access = Access,
                                .Attributes = Attributes & OB_HANDLE_ATTRIBUTES };
    Table->Count++;
    return STATUS_SUCCESS;
}

/* Frees the entry and returns what it held. Table locked exclusively. */
static PVOID ObpFreeEntry(OB_HANDLE_TABLE *Table, OB_HANDLE_ENTRY *Entry, ULONG Index)
{
    PVOID Object = Entry->Object;

    *Entry = (OB_HANDLE_ENTRY){ .NextFree = Table->FirstFree };
    Table->FirstFree = Index;
    Table->Count--;
    return Object;
}

/* ---- Exclusive objects ----------------------------------------------------------------------------------- */

VOID ObMakeExclusive(PVOID Object)
{
    ObHeader(Object)->Exclusive = TRUE;
}

/* The object gets one handle more, in Table. */
static NTSTATUS ObpCountHandle(PVOID Object, OB_HANDLE_TABLE *Table, ULONG Attributes)
{
    OBJECT_HEADER *Header = ObHeader(Object);
    NTSTATUS Status = STATUS_SUCCESS;
    KIRQL OldIrql;

    if (__builtin_expect(!Header->Exclusive, 1))
    {
        __atomic_fetch_add(&Header->HandleCount, 1, __ATOMIC_RELAXED);
        return STATUS_SUCCESS;
    }
    if ((Attributes & OBJ_INHERIT) != 0)
    {
        return STATUS_INVALID_PARAMETER;
    }
    OldIrql = KiAcquireSpinLock(&MiState.Ob->ExclusiveLock);
    if (Header->Owner == NULL || Header->Owner == Table)
    {
        Header->Owner = Table;
        __atomic_fetch_add(&Header->HandleCount, 1, __ATOMIC_RELAXED);
    }
    else
    {
        Status = STATUS_ACCESS_DENIED;
    }
    KiReleaseSpinLock(&MiState.Ob->ExclusiveLock, OldIrql);
    return Status;
}

/* One less; TRUE: it was the last one. */
static BOOLEAN ObpUncountHandle(PVOID Object)
{
    OBJECT_HEADER *Header = ObHeader(Object);
    BOOLEAN Last;
    KIRQL OldIrql;

    if (__builtin_expect(!Header->Exclusive, 1))
    {
        return __atomic_sub_fetch(&Header->HandleCount, 1, __ATOMIC_ACQ_REL) == 0;
    }
    OldIrql = KiAcquireSpinLock(&MiState.Ob->ExclusiveLock);
    Last = __atomic_sub_fetch(&Header->HandleCount, 1, __ATOMIC_ACQ_REL) == 0;
    Header->Owner = Last ? NULL : Header->Owner;
    KiReleaseSpinLock(&MiState.Ob->ExclusiveLock, OldIrql);
    return Last;
}

/* What a handle held is let go; no table locked. */
static VOID ObpReleaseHandle(PVOID Object)
{
    if (ObpUncountHandle(Object))
    {
        ObRemoveUnusedName(Object);
        if (ObGetType(Object)->Close != NULL)
        {
            ObGetType(Object)->Close(Object);
        }
    }
    ObDereferenceObjectBody(Object);
}

NTSTATUS ObInsertHandleEx(OB_HANDLE_TABLE *Table, PVOID Object, ACCESS_MASK Access, ULONG Attributes,
                          PHANDLE Handle)
{
    ULONG Index = 0;
    NTSTATUS Status = ObpCountHandle(Object, Table, Attributes);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    ObReferenceObjectBody(Object);
    ObpLockTable(Table);
    Status = ObpTakeEntry(Table, Object, Access, Attributes, &Index);
    ObpUnlockTable(Table);
    if (!NT_SUCCESS(Status))
    {
        /* Not through ObpReleaseHandle: a failed call must not cost a new object its name. */
        (VOID) ObpUncountHandle(Object);
        ObDereferenceObjectBody(Object);
        return Status;
    }
    *Handle = (HANDLE)((ULONG_PTR)Index << 2);
    return STATUS_SUCCESS;
}

NTSTATUS ObReferenceHandle(OB_HANDLE_TABLE *Table, HANDLE Handle, ACCESS_MASK Desired, const OB_TYPE *Type,
                           KPROCESSOR_MODE Mode, PVOID *Object, ACCESS_MASK *Granted)
{
    NTSTATUS Status = STATUS_SUCCESS;
    OB_HANDLE_ENTRY *Entry;
    ULONG Index;

    KiAcquirePushLockShared(&Table->Lock);
    KiNoteLockAcquired(&Table->Lock, KiLockHandleTable, FALSE);
    Entry = ObpLookup(Table, Handle, &Index);
    if (Entry == NULL)
    {
        Status = STATUS_INVALID_HANDLE;
    }
    else if (Type != NULL && ObGetType(Entry->Object) != Type)
    {
        Status = STATUS_OBJECT_TYPE_MISMATCH;
    }
    else if (Mode != KernelMode && (Desired & ~Entry->Access) != 0)
    {
        Status = STATUS_ACCESS_DENIED;
    }
    else
    {
        ObReferenceObjectBody(Entry->Object);
        *Object = Entry->Object;
        if (Granted != NULL)
        {
            *Granted = Entry->Access;
        }
    }
    KiNoteLockReleased(&Table->Lock);
    KiReleasePushLockShared(&Table->Lock);
    return Status;
}

NTSTATUS ObCloseHandleIn(OB_HANDLE_TABLE *Table, HANDLE Handle)
{
    OB_HANDLE_ENTRY *Entry;
    NTSTATUS Status = STATUS_INVALID_HANDLE;
    PVOID Object = NULL;
    ULONG Index;

    ObpLockTable(Table);
    Entry = ObpLookup(Table, Handle, &Index);
    if (Entry != NULL && (Entry->Attributes & OBJ_PROTECT_CLOSE) != 0)
    {
        Status = STATUS_HANDLE_NOT_CLOSABLE;
    }
    else if (Entry != NULL)
    {
        Object = ObpFreeEntry(Table, Entry, Index);
    }
    ObpUnlockTable(Table);
    if (Object == NULL)
    {
        return Status;
    }
    ObpReleaseHandle(Object);
    return STATUS_SUCCESS;
}

NTSTATUS ObQueryHandleAttributes(OB_HANDLE_TABLE *Table, HANDLE Handle, PULONG Attributes)
{
    OB_HANDLE_ENTRY *Entry;
    ULONG Index;

    KiAcquirePushLockShared(&Table->Lock);
    KiNoteLockAcquired(&Table->Lock, KiLockHandleTable, FALSE);
    Entry = ObpLookup(Table, Handle, &Index);
    *Attributes = Entry != NULL ? Entry->Attributes : 0;
    KiNoteLockReleased(&Table->Lock);
    KiReleasePushLockShared(&Table->Lock);
    return Entry != NULL ? STATUS_SUCCESS : STATUS_INVALID_HANDLE;
}

NTSTATUS ObSetHandleAttributes(OB_HANDLE_TABLE *Table, HANDLE Handle, ULONG Attributes)
{
    NTSTATUS Status = STATUS_SUCCESS;
    OB_HANDLE_ENTRY *Entry;
    ULONG Index;

    ObpLockTable(Table);
    Entry = ObpLookup(Table, Handle, &Index);
    if (Entry == NULL)
    {
        Status = STATUS_INVALID_HANDLE;
    }
    else if ((Attributes & OBJ_INHERIT) != 0 && ObHeader(Entry->Object)->Exclusive)
    {
        Status = STATUS_INVALID_PARAMETER;
    }
    else
    {
        Entry->Attributes = Attributes & OB_HANDLE_ATTRIBUTES;
    }
    ObpUnlockTable(Table);
    return Status;
}

VOID ObCloseAllHandles(OB_HANDLE_TABLE *Table)
{
    ObpLockTable(Table);
    Table->Closed = TRUE;
    for (ULONG Index = 1; Index < Table->Capacity && Table->Count != 0; Index++)
    {
        OB_HANDLE_ENTRY *Entry = ObpEntry(Table, Index);

        if (Entry->Object != NULL)
        {
            PVOID Object = ObpFreeEntry(Table, Entry, Index);

            ObpUnlockTable(Table);
            ObpReleaseHandle(Object);
            ObpLockTable(Table);
        }
    }
    ObpUnlockTable(Table);
}

ULONG ObHandleCount(OB_HANDLE_TABLE *Table)
{
    ULONG Count;

    KiAcquirePushLockShared(&Table->Lock);
    Count = Table->Count;
    KiReleasePushLockShared(&Table->Lock);
    return Count;
}

/* ---- Inheritance ----------------------------------------------------------------------------------------- */

/* The free entries of a table that was filled by index, lowest first. */
static VOID ObpChainFree(OB_HANDLE_TABLE *Table)
{
    Table->FirstFree = 0;
    for (ULONG Index = Table->Capacity; Index > 1; Index--)
    {
        OB_HANDLE_ENTRY *Entry = ObpEntry(Table, Index - 1);

        if (Entry->Object == NULL)
        {
            Entry->NextFree = Table->FirstFree;
            Table->FirstFree = Index - 1;
        }
    }
}

/* Makes room for as many entries as the parent has up to its last inheritable one. Parent locked. */
static BOOLEAN ObpGrowToInherit(OB_HANDLE_TABLE *Child, const OB_HANDLE_TABLE *Parent)
{
    ULONG Last = 0;

    for (ULONG Index = 1; Index < Parent->Capacity; Index++)
    {
        const OB_HANDLE_ENTRY *Entry = ObpEntry(Parent, Index);

        Last = Entry->Object != NULL && (Entry->Attributes & OBJ_INHERIT) != 0 ? Index : Last;
    }
    while (Last != 0 && Child->Capacity <= Last)
    {
        if (!ObpGrow(Child))
        {
            return FALSE;
        }
    }
    return TRUE;
}

NTSTATUS ObInheritHandles(OB_HANDLE_TABLE *Child, OB_HANDLE_TABLE *Parent)
{
    BOOLEAN Room;

    KiRequire(Child->Count == 0);
    KiAcquirePushLockShared(&Parent->Lock);
    KiNoteLockAcquired(&Parent->Lock, KiLockHandleTable, FALSE);
    Room = ObpGrowToInherit(Child, Parent);
    for (ULONG Index = 1; Room && Index < Parent->Capacity; Index++)
    {
        const OB_HANDLE_ENTRY *Entry = ObpEntry(Parent, Index);

        if (Entry->Object != NULL && (Entry->Attributes & OBJ_INHERIT) != 0)
        {
            ObReferenceObjectBody(Entry->Object);
            __atomic_fetch_add(&ObHeader(Entry->Object)->HandleCount, 1, __ATOMIC_RELAXED);
            *ObpEntry(Child, Index) = *Entry;
            Child->Count++;
        }
    }
    KiNoteLockReleased(&Parent->Lock);
    KiReleasePushLockShared(&Parent->Lock);
    if (Child->Capacity != 0)
    {
        ObpChainFree(Child);
    }
    return Room ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

/* ---- Tables ---------------------------------------------------------------------------------------------- */

NTSTATUS ObCreateHandleTable(OB_HANDLE_TABLE **Table)
{
    *Table = MiAllocatePool(sizeof(**Table), OB_TABLE_TAG);
    return *Table != NULL ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

/* A page of pointers to pages, or of entries at level 0: itself and what it points at. */
static VOID ObpFreeLevel(PVOID *Page, ULONG Levels)
{
    for (ULONG Slot = 0; Levels != 0 && Slot < OB_POINTERS_PER_PAGE; Slot++)
    {
        if (Page[Slot] != NULL)
        {
            MiFreePool(Page[Slot], OB_TABLE_TAG);
        }
    }
    MiFreePool(Page, OB_TABLE_TAG);
}

static VOID ObpFreePages(const OB_HANDLE_TABLE *Table)
{
    PVOID *Root = Table->Root;

    if (Root == NULL)
    {
        return;
    }
    if (Table->Levels < 2)
    {
        ObpFreeLevel(Root, Table->Levels);
        return;
    }
    for (ULONG Slot = 0; Slot < OB_POINTERS_PER_PAGE; Slot++)
    {
        if (Root[Slot] != NULL)
        {
            ObpFreeLevel(Root[Slot], 1);
        }
    }
    MiFreePool(Root, OB_TABLE_TAG);
}

VOID ObDeleteHandleTable(OB_HANDLE_TABLE *Table)
{
    ObCloseAllHandles(Table);
    ObpFreePages(Table);
    MiFreePool(Table, OB_TABLE_TAG);
}

VOID ObCheckHandleTable(OB_HANDLE_TABLE *Table)
{
    ULONG Used = 0;
    ULONG Free = 0;

    for (ULONG Index = 1; Index < Table->Capacity; Index++)
    {
        Used += ObpEntry(Table, Index)->Object != NULL;
    }
    for (ULONG Index = Table->FirstFree; Index != 0 && Free < Table->Capacity;
         Index = ObpEntry(Table, Index)->NextFree)
    {
        KiRequire(Index < Table->Capacity && ObpEntry(Table, Index)->Object == NULL);
        Free++;
    }
    if (Used != Table->Count || Used + Free + (Table->Capacity != 0) != Table->Capacity)
    {
        KiBugCheckMessage(REFERENCE_BY_POINTER, 0, (ULONG_PTR)Table, Used, Table->Count,
                          "handle table %p: %u entries in use, counted %u; %u free of %u", (PVOID)Table, Used,
                          Table->Count, Free, Table->Capacity);
    }
}
