/* SPDX-License-Identifier: MIT */
/*
 * Buffer control blocks: ranges of a cached file that somebody has pinned, or that are dirty since. Here is what they are: the tree of a file, who owns one, what
 * is dirty and up to which place of a log. What file systems call is in pin.c, what writes them in cacheflush.c. Theory: docs/cache.md, section 2.
 */
#include "mapping/cache.h"

#define CC_TAG_BCB   MI_TAG('C', 'c', 'B', 'c')
#define CC_TAG_OWNER MI_TAG('C', 'c', 'O', 'w')

/* ---- The tree of a file -------------------------------------------------------------------------------- */

static PCC_BCB CcpBcbOf(PRTL_BALANCED_NODE Node)
{
    return CONTAINING_RECORD(Node, CC_BCB, Node);
}

PCC_BCB CcpFindBcb(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset)
{
    PRTL_BALANCED_NODE Node = CacheMap->Bcbs.Root;
    PCC_BCB Found = NULL;

    while (Node != NULL)
    {
        PCC_BCB Bcb = CcpBcbOf(Node);

        if (CcpBcbEnd(Bcb) > Offset)
        {
            Found = Bcb;
            Node = Node->Left;
        }
        else
        {
            Node = Node->Right;
        }
    }
    return Found;
}

static VOID CcpLinkBcb(PCC_BCB New)
{
    PRTL_AVL_TREE Tree = &New->CacheMap->Bcbs;
    PRTL_BALANCED_NODE Parent = NULL;
    PRTL_BALANCED_NODE Node = Tree->Root;
    BOOLEAN Right = FALSE;

    while (Node != NULL)
    {
        Parent = Node;
        Right = CcpBcbOffset(CcpBcbOf(Node)) < CcpBcbOffset(New);
        Node = Node->Children[Right];
    }
    RtlAvlInsertNodeEx(Tree, Parent, Right, &New->Node, NULL);
}

PCC_BCB CcpMakeBcb(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, ULONG Length)
{
    PCC_BCB Bcb = MiAllocatePool(sizeof(*Bcb), CC_TAG_BCB);

    if (Bcb == NULL)
    {
        return NULL;
    }
    *Bcb = (CC_BCB){ .Public = { .NodeTypeCode = CC_NTC_BCB,
                                 .NodeByteSize = (CSHORT)sizeof(*Bcb),
                                 .MappedLength = Length,
                                 .MappedFileOffset.QuadPart = (LONGLONG)Offset },
                     .CacheMap = CacheMap,
                     .Users = 1 };
    CcpLinkBcb(Bcb);
    CacheMap->OpenCount++;
    return Bcb;
}

/* DirtyLock held. */
static VOID CcpUnlinkDirty(PCC_BCB Bcb)
{
    if (Bcb->DirtyLinks.Flink != NULL && !Bcb->Dirty && Bcb->Writes == 0 && Bcb->Visitors == 0)
    {
        RemoveEntryList(&Bcb->DirtyLinks);
        Bcb->DirtyLinks.Flink = NULL;
    }
}

BOOLEAN CcpLeaveBcb(PCC_BCB Bcb)
{
    BOOLEAN Visited;
    BOOLEAN Needed;
    KIRQL OldIrql;

    if (--Bcb->Users != 0 || Bcb->Pins + Bcb->Maps + Bcb->Repins != 0)
    {
        return FALSE;
    }
    OldIrql = KiAcquireSpinLock(&MiState.Mapping->DirtyLock);
    Needed = Bcb->Dirty || Bcb->Writes != 0;
    Visited = Bcb->Visitors != 0;
    if (!Needed)
    {
        CcpUnlinkDirty(Bcb);
        Bcb->Forgotten = TRUE;
        RtlAvlRemoveNode(&Bcb->CacheMap->Bcbs, &Bcb->Node, NULL);
    }
    KiReleaseSpinLock(&MiState.Mapping->DirtyLock, OldIrql);
    if (Needed)
    {
        return FALSE;
    }
    KiRequire(Bcb->Owners == NULL && Bcb->View == NULL);
    if (!Visited)
    {
        MiFreePool(Bcb, CC_TAG_BCB);
    }
    return TRUE;
}

VOID CcpForgetBcbs(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, ULONG64 Length)
{
    ULONG64 End = Length > ~0ull - Offset ? ~0ull : Offset + Length;
    ULONG References = 0;

    CcpLock();
    for (;;)
    {
        PCC_BCB Bcb = CcpFindBcb(CacheMap, Offset);
        KIRQL OldIrql;

        if (Bcb == NULL || CcpBcbOffset(Bcb) >= End)
        {
            break;
        }
        Offset = CcpBcbEnd(Bcb);
        if (Bcb->Pins + Bcb->Maps + Bcb->Repins + Bcb->Users != 0 || Offset > End)
        {
            continue; /* somebody has it, or what is outside of the range is still to be written */
        }
        OldIrql = KiAcquireSpinLock(&MiState.Mapping->DirtyLock);
        Bcb->Dirty = FALSE;
        KiReleaseSpinLock(&MiState.Mapping->DirtyLock, OldIrql);
        Bcb->Users = 1;
        References += CcpLeaveBcb(Bcb);
    }
    CcpUnlock();
    CcpDereferenceMaps(CacheMap, References);
}

static BOOLEAN CcpOverlaps(const PUBLIC_BCB *Public, ULONG64 Offset, ULONG64 End)
{
    ULONG64 First = (ULONG64)Public->MappedFileOffset.QuadPart;

    return First < End && First + Public->MappedLength > Offset;
}

BOOLEAN CcpIsHeld(PSECTION_OBJECT_POINTERS Pointers, ULONG64 Offset, ULONG64 Length)
{
    ULONG64 End = Length > ~0ull - Offset ? ~0ull : Offset + Length;
    PSHARED_CACHE_MAP CacheMap;
    BOOLEAN Held = FALSE;

    CcpLock();
    CacheMap = Pointers->SharedCacheMap;
    if (CacheMap != NULL)
    {
        PCC_BCB Bcb;

        for (ULONG64 Place = Offset;
             !Held && (Bcb = CcpFindBcb(CacheMap, Place)) != NULL && CcpBcbOffset(Bcb) < End;
             Place = CcpBcbEnd(Bcb))
        {
            Held = Bcb->Pins + Bcb->Maps + Bcb->Repins != 0;
        }
        for (PLIST_ENTRY Entry = CacheMap->Mappings.Flink; !Held && Entry != &CacheMap->Mappings;
             Entry = Entry->Flink)
        {
            Held = CcpOverlaps(&CONTAINING_RECORD(Entry, CC_MAPPING, Links)->Public, Offset, End);
        }
    }
    CcpUnlock();
    return Held;
}

/* ---- Owners -------------------------------------------------------------------------------------------- */

static PCC_OWNER *CcpFindOwner(PCC_BCB Bcb, ULONG_PTR Owner)
{
    PCC_OWNER *Link = &Bcb->Owners;

    while (*Link != NULL && (*Link)->Owner != Owner)
    {
        Link = &(*Link)->Next;
    }
    return Link;
}

/* Whether it can be had at once. */
static BOOLEAN CcpMayOwn(PCC_BCB Bcb, const CC_OWNER *Mine, BOOLEAN Exclusive)
{
    if (Mine != NULL)
    {
        return !Exclusive || Bcb->Exclusive || (Bcb->Owners == Mine && Mine->Next == NULL);
    }
    if (Exclusive)
    {
        return Bcb->Owners == NULL;
    }
    return !Bcb->Exclusive && Bcb->ExclusiveWaiters == 0;
}

static VOID CcpAwaitRelease(PCC_BCB Bcb, BOOLEAN Exclusive)
{
    LARGE_INTEGER Timeout = { .QuadPart = -100000 }; /* 10 ms: then look again, whatever was signaled */

    Bcb->ExclusiveWaiters += Exclusive;
    KeClearEvent(&MiState.Mapping->BcbReleased);
    CcpUnlock();
    KeWaitForSingleObject(&MiState.Mapping->BcbReleased, Executive, KernelMode, FALSE, &Timeout);
    CcpLock();
    Bcb->ExclusiveWaiters -= Exclusive;
}

static PCC_OWNER CcpMakeOwner(PCC_BCB Bcb, PCC_OWNER Record)
{
    if (Record == NULL && Bcb->FirstOwner.Count == 0)
    {
        Record = &Bcb->FirstOwner;
    }
    else if (Record == NULL)
    {
        Record = MiAllocatePool(sizeof(*Record), CC_TAG_OWNER);
        if (Record == NULL)
        {
            return NULL;
        }
        Record->Allocated = TRUE;
    }
    Record->Next = Bcb->Owners;
    Bcb->Owners = Record;
    return Record;
}

NTSTATUS CcpOwnBcb(PCC_BCB Bcb, ULONG_PTR Owner, BOOLEAN Exclusive, BOOLEAN Wait, PCC_OWNER Record)
{
    PCC_OWNER Mine;

    while (Mine = *CcpFindOwner(Bcb, Owner), !CcpMayOwn(Bcb, Mine, Exclusive))
    {
        if (!Wait)
        {
            return STATUS_CANT_WAIT;
        }
        CcpAwaitRelease(Bcb, Exclusive);
    }
    if (Mine == NULL)
    {
        Mine = CcpMakeOwner(Bcb, Record);
        if (Mine == NULL)
        {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        Mine->Owner = Owner;
        Mine->Count = 0;
    }
    Mine->Count++;
    Bcb->Exclusive |= Exclusive;
    return STATUS_SUCCESS;
}

static VOID CcpRemoveOwner(PCC_OWNER *Link)
{
    PCC_OWNER Record = *Link;

    *Link = Record->Next;
    Record->Count = 0;
    if (Record->Allocated)
    {
        MiFreePool(Record, CC_TAG_OWNER);
    }
}

static PCC_OWNER *CcpRequireOwner(PCC_BCB Bcb, ULONG_PTR Owner)
{
    PCC_OWNER *Link = CcpFindOwner(Bcb, Owner);

    if (*Link == NULL)
    {
        KeBugCheckEx(RESOURCE_NOT_OWNED, (ULONG_PTR)Bcb, Owner, 0, 0);
    }
    return Link;
}

VOID CcpDisownBcb(PCC_BCB Bcb, ULONG_PTR Owner)
{
    PCC_OWNER *Link = CcpRequireOwner(Bcb, Owner);

    if (--(*Link)->Count != 0)
    {
        return;
    }
    CcpRemoveOwner(Link);
    Bcb->Exclusive = FALSE; /* it was the only one, or nobody has it so */
    KeSetEvent(&MiState.Mapping->BcbReleased, 0, FALSE);
}

VOID CcpRenameOwner(PCC_BCB Bcb, ULONG_PTR Owner, ULONG_PTR NewOwner)
{
    PCC_OWNER *Link = CcpRequireOwner(Bcb, Owner);
    PCC_OWNER Other = *CcpFindOwner(Bcb, NewOwner);

    if (Other == NULL)
    {
        (*Link)->Owner = NewOwner;
        return;
    }
    Other->Count += (*Link)->Count;
    CcpRemoveOwner(Link);
}

/* ---- What is dirty ------------------------------------------------------------------------------------- */

static VOID CcpMergeLsns(LONGLONG *Oldest, LONGLONG *Newest, LONGLONG MoreOldest, LONGLONG MoreNewest)
{
    if (MoreOldest != 0 && (*Oldest == 0 || MoreOldest < *Oldest))
    {
        *Oldest = MoreOldest;
    }
    if (MoreNewest > *Newest)
    {
        *Newest = MoreNewest;
    }
}

/* DirtyLock held. */
static VOID CcpSetDirty(PCC_BCB Bcb, LONGLONG Oldest, LONGLONG Newest)
{
    CcpMergeLsns(&Bcb->OldestLsn, &Bcb->NewestLsn, Oldest, Newest);
    Bcb->Dirty = TRUE;
    if (Bcb->DirtyLinks.Flink == NULL)
    {
        InsertTailList(&MiState.Mapping->DirtyBcbs, &Bcb->DirtyLinks);
    }
    __atomic_store_n(&Bcb->CacheMap->Dirty, 1, __ATOMIC_SEQ_CST);
}

VOID CcpDirtyBcb(PCC_BCB Bcb, LONGLONG Lsn)
{
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Mapping->DirtyLock);

    CcpSetDirty(Bcb, Lsn, Lsn);
    KiReleaseSpinLock(&MiState.Mapping->DirtyLock, OldIrql);
}

BOOLEAN CcpIsBcbDirty(PCC_BCB Bcb)
{
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Mapping->DirtyLock);
    BOOLEAN Dirty = Bcb->Dirty;

    KiReleaseSpinLock(&MiState.Mapping->DirtyLock, OldIrql);
    return Dirty;
}

LONGLONG CcpBeginBcbWrite(PCC_BCB Bcb)
{
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Mapping->DirtyLock);
    LONGLONG Newest;

    Bcb->Writes++;
    CcpMergeLsns(&Bcb->WritingOldestLsn, &Bcb->WritingNewestLsn, Bcb->OldestLsn, Bcb->NewestLsn);
    Bcb->Dirty = FALSE;
    Bcb->OldestLsn = 0;
    Bcb->NewestLsn = 0;
    Newest = Bcb->WritingNewestLsn;
    KiReleaseSpinLock(&MiState.Mapping->DirtyLock, OldIrql);
    return Newest;
}

/* Two may be writing it. What the first of them has not brought to the disk stays dirty, whatever the second one does. */
VOID CcpEndBcbWrite(PCC_BCB Bcb, BOOLEAN Success)
{
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Mapping->DirtyLock);

    Bcb->Writes--;
    if (!Success)
    {
        CcpSetDirty(Bcb, Bcb->WritingOldestLsn, Bcb->WritingNewestLsn);
    }
    if (Bcb->Writes == 0)
    {
        Bcb->WritingOldestLsn = 0;
        Bcb->WritingNewestLsn = 0;
    }
    CcpUnlinkDirty(Bcb);
    KiReleaseSpinLock(&MiState.Mapping->DirtyLock, OldIrql);
}

/* ---- The dirty page table of a log --------------------------------------------------------------------- */

/* What is told of one BCB, copied under the lock; its file object is referenced. */
typedef struct _CC_DIRTY_PAGES
{
    PVOID LogHandle;
    PFILE_OBJECT FileObject;
    LARGE_INTEGER Offset, Oldest, Newest;
    ULONG Length;
} CC_DIRTY_PAGES;

/* DirtyLock held. The visitor of Last goes on to the next BCB of the log, or NULL. *Unneeded: Last, if it is to be freed. */
static PCC_BCB CcpVisitNext(PCC_BCB Last, CC_DIRTY_PAGES *Pages, PCC_BCB *Unneeded)
{
    PLIST_ENTRY Head = &MiState.Mapping->DirtyBcbs;
    PLIST_ENTRY Entry = Last != NULL ? Last->DirtyLinks.Flink : Head->Flink;
    PCC_BCB Found = NULL;

    for (; Entry != Head && Found == NULL; Entry = Entry->Flink)
    {
        PCC_BCB Bcb = CONTAINING_RECORD(Entry, CC_BCB, DirtyLinks);

        if ((Bcb->Dirty || Bcb->Writes != 0) && !Bcb->Forgotten &&
            __atomic_load_n(&Bcb->CacheMap->LogHandle, __ATOMIC_RELAXED) == Pages->LogHandle)
        {
            Found = Bcb;
        }
    }
    if (Found != NULL)
    {
        LONGLONG Oldest = Found->OldestLsn;
        LONGLONG Newest = Found->NewestLsn;

        Found->Visitors++;
        CcpMergeLsns(&Oldest, &Newest, Found->WritingOldestLsn, Found->WritingNewestLsn);
        Pages->Oldest.QuadPart = Oldest;
        Pages->Newest.QuadPart = Newest;
        Pages->Offset = Found->Public.MappedFileOffset;
        Pages->Length = Found->Public.MappedLength;
        Pages->FileObject = Found->CacheMap->FileObject;
        ObReferenceObjectBody(Pages->FileObject);
    }
    if (Last != NULL)
    {
        Last->Visitors--;
        CcpUnlinkDirty(Last);
        *Unneeded = Last->Forgotten && Last->Visitors == 0 ? Last : NULL;
    }
    return Found;
}

LARGE_INTEGER NTAPI CcGetDirtyPages(PVOID LogHandle, PDIRTY_PAGE_ROUTINE DirtyPageRoutine, PVOID Context1,
                                    PVOID Context2)
{
    CC_DIRTY_PAGES Pages = { .LogHandle = LogHandle };
    LARGE_INTEGER Oldest = { .QuadPart = 0 };
    LONGLONG Newest = 0;
    PCC_BCB Bcb = NULL;

    do
    {
        PCC_BCB Unneeded = NULL;
        KIRQL OldIrql = KiAcquireSpinLock(&MiState.Mapping->DirtyLock);

        Bcb = CcpVisitNext(Bcb, &Pages, &Unneeded);
        KiReleaseSpinLock(&MiState.Mapping->DirtyLock, OldIrql);
        if (Unneeded != NULL)
        {
            MiFreePool(Unneeded, CC_TAG_BCB);
        }
        if (Bcb != NULL)
        {
            CcpMergeLsns(&Oldest.QuadPart, &Newest, Pages.Oldest.QuadPart, Pages.Newest.QuadPart);
            DirtyPageRoutine(Pages.FileObject, &Pages.Offset, Pages.Length, &Pages.Oldest, &Pages.Newest,
                             Context1, Context2);
            ObDereferenceObjectDeferDelete(Pages.FileObject);
        }
    } while (Bcb != NULL);
    return Oldest;
}
