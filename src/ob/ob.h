/* SPDX-License-Identifier: MIT */
/*
 * Objects and handles: no more than memory services need. An object is a block with a header in front (type, references); a
 * handle table belongs to a process. Theory: docs/ob.md.
 *
 * Locks. [C] = atomic; [N] = OB_STATE.NameLock; [T] = the handle table's lock, shared for looking up.
 */
#ifndef NTMM_OB_H
#define NTMM_OB_H

#include "pool/pool.h"

typedef struct _OB_TYPE
{
    PCSTR Name;
    ULONG PoolTag; /* of its bodies; 0: "Objc" */
    ACCESS_MASK AllAccess;
    VOID (*Close)(PVOID Object);  /* optional: last handle gone, the object still referenced; PASSIVE_LEVEL */
    VOID (*Delete)(PVOID Object); /* last reference gone; PASSIVE_LEVEL */
} OB_TYPE;

/* Stands right before the body; one cache line long. */
typedef struct _OBJECT_HEADER
{
    volatile LONG64 PointerCount; /* [C] handles included */
    volatile LONG HandleCount;    /* [C] */
    BOOLEAN Permanent;   /* [N] keeps itself and its name without a handle: one reference is its own */
    BOOLEAN Exclusive;   /* fixed when others learn of it: handles in one table only, Owner */
    const OB_TYPE *Type; /* fixed */
    union
    {
        struct _OB_HANDLE_TABLE
            *Owner; /* ExclusiveLock: of an exclusive object that has handles; else NULL */
        struct _OBJECT_HEADER *NextToFree; /* no reference is left, and its deletion was put off */
    };
    UNICODE_STRING Name;  /* [N] Buffer from pool; empty: unnamed */
    LIST_ENTRY NameLinks; /* [N] */
} OBJECT_HEADER;

C_ASSERT(sizeof(OBJECT_HEADER) == 64);

typedef struct _OB_HANDLE_TABLE OB_HANDLE_TABLE;

#define OB_NAME_BUCKETS 64u

typedef struct _OB_STATE
{
    EX_PUSH_LOCK NameLock;
    LIST_ENTRY Names[OB_NAME_BUCKETS]; /* [N] by hash of the name */
    KSPIN_LOCK ExclusiveLock;          /* owners and handle counts of exclusive objects */
    OB_HANDLE_TABLE *KernelTable;      /* fixed */
    OB_TYPE EventType;                 /* fixed; bodies are KEVENTs */
    BOOLEAN CaseSensitive;             /* fixed: names without OBJ_CASE_INSENSITIVE are compared with case */
    OBJECT_HEADER *volatile Unneeded;  /* [C] objects whose deletion was put off, the last one first */
    volatile BOOLEAN DeletionQueued;   /* [C] DeletionItem is on its way */
    volatile ULONG Deletions;          /* [C] on their way or at work */
    WORK_QUEUE_ITEM DeletionItem;
    volatile LONG64 ObjectCount; /* [C] */
} OB_STATE;

/* CaseSensitive: the registry's ObCaseInsensitive is 0, which is not the default. */
NTSTATUS ObInitializeSystem(BOOLEAN CaseSensitive);
VOID ObShutdownSystem(void); /* bug-checks when objects are left */

/* ---- Objects (object.c) ---------------------------------------------------------------------------------- */

/* A zeroed body of Size bytes with one reference; 16-byte aligned. STATUS_INSUFFICIENT_RESOURCES. */
NTSTATUS ObCreateObjectBody(const OB_TYPE *Type, SIZE_T Size, PVOID *Object);
VOID ObReferenceObjectBody(PVOID Object);    /* the caller has a reference; any IRQL */
BOOLEAN ObReferenceObjectSafe(PVOID Object); /* FALSE when the count is already zero; any IRQL */

/*
 * The last one deletes the object, and no lock is held then that Delete takes. At DISPATCH_LEVEL a system thread deletes it; above, the last one is
 * a bug check.
 */
VOID ObDereferenceObjectBody(PVOID Object);
/* A system thread deletes the object in any case. IRQL <= DISPATCH_LEVEL. */
VOID ObDereferenceObjectLater(PVOID Object);
/* Deletes what is left of these, and returns when no system thread is at it. PASSIVE_LEVEL, no locks. */
VOID ObFinishDeletions(void);
const OB_TYPE *ObGetType(PVOID Object);

static FORCEINLINE OBJECT_HEADER *ObHeader(PVOID Object)
{
    return (OBJECT_HEADER *)Object - 1;
}

/* ---- Names (name.c) -------------------------------------------------------------------------------------- */

/*
 * Attributes: of OBJ_*, with OBJ_CASE_INSENSITIVE the name is compared without case, otherwise as the machine is set up (by default without
 * case as well). An object has one name at most (STATUS_INVALID_PARAMETER). The name goes with the last handle, if the object is not
 * permanent, and with the object. STATUS_OBJECT_NAME_INVALID (empty), STATUS_OBJECT_NAME_COLLISION, STATUS_INSUFFICIENT_RESOURCES.
 * IRQL <= APC_LEVEL.
 */
NTSTATUS ObInsertName(PVOID Object, PCUNICODE_STRING Name, ULONG Attributes);
VOID ObRemoveName(PVOID Object);

/*
 * A permanent object keeps its name and itself, with a reference of its own; only an object with a name can be. Made temporary, it loses
 * both at once if it has no handle. The caller has a reference.
 */
VOID ObSetPermanent(PVOID Object, BOOLEAN Permanent);
/* The machine ends: every permanent object becomes temporary. */
VOID ObMakeAllTemporary(void);

/* Returns a reference. STATUS_OBJECT_NAME_NOT_FOUND, STATUS_OBJECT_TYPE_MISMATCH (Type may be NULL: any). */
NTSTATUS ObLookupName(PCUNICODE_STRING Name, ULONG Attributes, const OB_TYPE *Type, PVOID *Object);

/* The last handle went: a temporary object's name goes too. */
VOID ObRemoveUnusedName(PVOID Object);

/* ---- Handles (handle.c): IRQL <= APC_LEVEL ---------------------------------------------------------------- */

#define OB_MAXIMUM_HANDLES 0x1000000u /* of one table: documented 2^24 */

NTSTATUS ObCreateHandleTable(OB_HANDLE_TABLE **Table);
VOID ObDeleteHandleTable(OB_HANDLE_TABLE *Table); /* closes all */

/* Closes all; from now on nothing can be inserted (STATUS_PROCESS_IS_TERMINATING). The table stays. */
VOID ObCloseAllHandles(OB_HANDLE_TABLE *Table);

/* What a handle itself may be: the rest of OBJ_* concerns the object or the way to it. */
#define OBJ_PROTECT_CLOSE    0x00000001u
#define OB_HANDLE_ATTRIBUTES (OBJ_INHERIT | OBJ_PROTECT_CLOSE)

/*
 * OBJ_EXCLUSIVE: as long as the object has a handle in one table it can have none in another one (STATUS_ACCESS_DENIED), and none that is inherited
 * (STATUS_INVALID_PARAMETER). Nobody else knows the object yet.
 */
VOID ObMakeExclusive(PVOID Object);

/*
 * Handles are multiples of 4, never 0. The handle holds its own reference. Of Attributes those of OB_HANDLE_ATTRIBUTES matter.
 * STATUS_INSUFFICIENT_RESOURCES; those of exclusive objects.
 */
NTSTATUS ObInsertHandleEx(OB_HANDLE_TABLE *Table, PVOID Object, ACCESS_MASK Access, ULONG Attributes,
                          PHANDLE Handle);

static FORCEINLINE NTSTATUS ObInsertHandle(OB_HANDLE_TABLE *Table, PVOID Object, ACCESS_MASK Access,
                                           PHANDLE Handle)
{
    return ObInsertHandleEx(Table, Object, Access, 0, Handle);
}

NTSTATUS ObQueryHandleAttributes(OB_HANDLE_TABLE *Table, HANDLE Handle, PULONG Attributes);
NTSTATUS ObSetHandleAttributes(OB_HANDLE_TABLE *Table, HANDLE Handle, ULONG Attributes);

/*
 * Copies the handles of Parent that have OBJ_INHERIT, at the same values, into Child, which is empty and known to nobody.
 * STATUS_INSUFFICIENT_RESOURCES: nothing was copied.
 */
NTSTATUS ObInheritHandles(OB_HANDLE_TABLE *Child, OB_HANDLE_TABLE *Parent);

/*
 * STATUS_INVALID_HANDLE, STATUS_OBJECT_TYPE_MISMATCH, STATUS_ACCESS_DENIED (UserMode only). Returns a reference. The two low
 * bits of a handle are the client's and are not looked at. Type NULL: any; Granted may be NULL.
 */
NTSTATUS ObReferenceHandle(OB_HANDLE_TABLE *Table, HANDLE Handle, ACCESS_MASK Desired, const OB_TYPE *Type,
                           KPROCESSOR_MODE Mode, PVOID *Object, ACCESS_MASK *Granted);
/* STATUS_INVALID_HANDLE, STATUS_HANDLE_NOT_CLOSABLE (OBJ_PROTECT_CLOSE) */
NTSTATUS ObCloseHandleIn(OB_HANDLE_TABLE *Table, HANDLE Handle);
ULONG ObHandleCount(OB_HANDLE_TABLE *Table);

/* Free list, counts and entries agree. The table is quiescent. */
VOID ObCheckHandleTable(OB_HANDLE_TABLE *Table);

#endif
