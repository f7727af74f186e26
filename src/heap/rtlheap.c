/* SPDX-License-Identifier: MIT */
/*
 * RtlCreateHeap to RtlSizeHeap: private heaps and their blocks.
 *
 * A growable heap has regions of the arena and one slot, used with the heap's lock held (the lock is what HEAP_NO_SERIALIZE
 * leaves out, and what RtlLockHeap takes: it may be taken again by its owner). A heap of fixed size is one range (fixed.c).
 * Where a call finds damage, RtlpReportDamage ends the process; with a test's handler the call fails.
 */
#include "heap/api.h"

#define HEAP_TRAILER    sizeof(ULONG64)
#define HEAP_TAIL_BYTES 16
#define HEAP_TAIL_FILL  0xAB
#define HEAP_SLACK_BITS 24
#define HEAP_FLAG_SHIFT 8 /* of HEAP_SETTABLE_USER_VALUE */

#define HEAP_UNITS ((sizeof(HEAP) + HEAP_UNIT - 1) / HEAP_UNIT)

HEAP_LOCK RtlpHeapListLock;
PHEAP RtlpHeapList;
static PHEAP RtlpDestroyedHeaps; /* RtlpHeapListLock: structures to use again, each with its slot */
static PHEAP RtlpFirstHeap;      /* (atomic) what RtlProcessHeap returns */

/* ---- the lock ---- */

PHEAP RtlpHeapOf(PVOID HeapHandle)
{
    PHEAP Heap = HeapHandle;

    return Heap != NULL && ((ULONG_PTR)Heap & (HEAP_UNIT - 1)) == 0 && Heap->Signature == HEAP_SIGNATURE
               ? Heap
               : NULL;
}

VOID RtlpEnterHeap(PHEAP Heap, ULONG Flags)
{
    const ULONG_PTR Thread = RtlpGroundThread();

    if (((Heap->Flags | Flags) & HEAP_NO_SERIALIZE) != 0)
    {
        return;
    }

    if (HEAP_LOAD(&Heap->LockOwner) != Thread)
    {
        RtlpAcquireLock(&Heap->Lock);
        HEAP_STORE(&Heap->LockOwner, Thread);
    }

    Heap->LockDepth += 1;
}

VOID RtlpLeaveHeap(PHEAP Heap, ULONG Flags)
{
    if (((Heap->Flags | Flags) & HEAP_NO_SERIALIZE) != 0)
    {
        return;
    }

    Heap->LockDepth -= 1;
    if (Heap->LockDepth == 0)
    {
        HEAP_STORE(&Heap->LockOwner, 0);
        RtlpReleaseLock(&Heap->Lock);
    }
}

BOOLEAN NTAPI RtlLockHeap(PVOID HeapHandle)
{
    PHEAP Heap = RtlpHeapOf(HeapHandle);

    if (Heap == NULL || (Heap->Flags & HEAP_NO_SERIALIZE) != 0)
    {
        return FALSE;
    }

    RtlpEnterHeap(Heap, 0);

    return TRUE;
}

BOOLEAN NTAPI RtlUnlockHeap(PVOID HeapHandle)
{
    PHEAP Heap = RtlpHeapOf(HeapHandle);

    if (Heap == NULL || (Heap->Flags & HEAP_NO_SERIALIZE) != 0 ||
        HEAP_LOAD(&Heap->LockOwner) != RtlpGroundThread())
    {
        return FALSE;
    }

    RtlpLeaveHeap(Heap, 0);

    return TRUE;
}

/* ---- create and destroy ---- */

static PHEAP RtlpNewHeap(VOID)
{
    RtlpAcquireLock(&RtlpHeapListLock);

    PHEAP Heap = RtlpDestroyedHeaps;
    PHEAP_SLOT Slot = NULL;

    if (Heap != NULL)
    {
        RtlpDestroyedHeaps = Heap->NextHeap;
        Slot = Heap->Slot;
    }

    RtlpReleaseLock(&RtlpHeapListLock);
    if (Heap == NULL)
    {
        Heap = RtlpAllocateMetadata(HEAP_UNITS);
        Slot = Heap != NULL ? RtlpCreateSlot(Heap) : NULL;
        if (Slot == NULL)
        {
            return NULL;
        }
    }

    /* What a destroyed heap had of metadata serves the next one. */
    const HEAP Old = { .Ring = Heap->Ring,
                       .SpareFixed = Heap->Fixed != NULL ? Heap->Fixed : Heap->SpareFixed };

    __builtin_memset(Heap, 0, sizeof(*Heap));
    RtlpResetSlot(Slot, Heap);
    Heap->Ring = Old.Ring;
    Heap->SpareFixed = Old.SpareFixed;
    Heap->Slot = Slot;
    Heap->Private = TRUE;

    return Heap;
}

static VOID RtlpRetireHeap(PHEAP Heap)
{
    Heap->Signature = 0;
    RtlpAcquireLock(&RtlpHeapListLock);
    Heap->NextHeap = RtlpDestroyedHeaps;
    RtlpDestroyedHeaps = Heap;
    RtlpReleaseLock(&RtlpHeapListLock);
}

PVOID NTAPI RtlCreateHeap(ULONG Flags, PVOID HeapBase, SIZE_T ReserveSize, SIZE_T CommitSize, PVOID Lock,
                          PRTL_HEAP_PARAMETERS Parameters)
{
    const BOOLEAN Fixed = HeapBase != NULL || (Flags & HEAP_GROWABLE) == 0;

    /* A lock of the caller's would be a critical section of the system: there is none here. */
    if (Lock != NULL || !RtlpInitializeArena(&RtlpLinuxPageOperations))
    {
        return NULL;
    }

    if (Parameters != NULL &&
        (Parameters->Length != sizeof(RTL_HEAP_PARAMETERS) ||
         (Parameters->CommitRoutine != NULL && (HeapBase == NULL || (Flags & HEAP_GROWABLE) != 0))))
    {
        return NULL;
    }

    /* As documented: with one size missing, the other decides. */
    if (ReserveSize == 0)
    {
        ReserveSize = CommitSize != 0 ? (CommitSize + 0xffff) & ~(SIZE_T)0xffff : 64 * HEAP_PAGE;
    }

    if (CommitSize > ReserveSize)
    {
        return NULL;
    }

    PHEAP Heap = RtlpNewHeap();

    if (Heap == NULL)
    {
        return NULL;
    }

    Heap->Flags = Flags;
    Heap->Executable = (Flags & HEAP_CREATE_ENABLE_EXECUTE) != 0;
    Heap->MaximumAllocation = Parameters != NULL ? Parameters->MaximumAllocationSize : 0;
    if ((Flags & HEAP_FREE_CHECKING_ENABLED) != 0 && !RtlpCreateRing(Heap))
    {
        RtlpRetireHeap(Heap);
        return NULL;
    }

    if (Fixed)
    {
        Heap->Fixed = RtlpCreateFixed(Heap, HeapBase, ReserveSize, CommitSize != 0 ? CommitSize : HEAP_PAGE,
                                      Parameters);
        if (Heap->Fixed == NULL)
        {
            RtlpRetireHeap(Heap);
            return NULL;
        }
    }

    Heap->Signature = HEAP_SIGNATURE;
    RtlpAcquireLock(&RtlpHeapListLock);
    Heap->NextHeap = RtlpHeapList;
    RtlpHeapList = Heap;
    RtlpReleaseLock(&RtlpHeapListLock);

    return Heap;
}

PVOID NTAPI RtlDestroyHeap(PVOID HeapHandle)
{
    PHEAP Heap = RtlpHeapOf(HeapHandle);

    /* As documented: the process heap cannot be destroyed. */
    if (Heap == NULL || !Heap->Private || Heap == HEAP_LOAD(&RtlpFirstHeap))
    {
        return HeapHandle;
    }

    RtlpAcquireLock(&RtlpHeapListLock);
    for (PHEAP *Place = &RtlpHeapList; *Place != NULL; Place = &(*Place)->NextHeap)
    {
        if (*Place == Heap)
        {
            *Place = Heap->NextHeap;
            break;
        }
    }

    RtlpReleaseLock(&RtlpHeapListLock);
    if (Heap->Fixed != NULL)
    {
        RtlpDestroyFixed(Heap->Fixed);
    }

    RtlpAcquireLock(&Heap->BackLock);
    RtlpReleaseAllRegions(Heap);
    RtlpReleaseLock(&Heap->BackLock);
    RtlpRetireHeap(Heap);

    return NULL;
}

PVOID NTAPI RtlProcessHeap(VOID)
{
    PHEAP Heap = __atomic_load_n(&RtlpFirstHeap, __ATOMIC_ACQUIRE);

    if (Heap == NULL)
    {
        PHEAP Expected = NULL;

        Heap = RtlCreateHeap(HEAP_GROWABLE | HEAP_CLASS_0, NULL, 0, 0, NULL, NULL);
        if (Heap != NULL && !__atomic_compare_exchange_n(&RtlpFirstHeap, &Expected, Heap, FALSE,
                                                         __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        {
            (VOID) RtlDestroyHeap(Heap);
            Heap = Expected;
        }
    }

    return Heap;
}

/* ---- trailers ---- */

static ULONG64 RtlpTrailer(const VOID *Block, SIZE_T Slack, ULONG UserFlags)
{
    const ULONG64 Low = Slack | (ULONG64)(UserFlags >> HEAP_FLAG_SHIFT & 0xff) << HEAP_SLACK_BITS;
    const ULONG64 Check = (Low ^ (ULONG_PTR)Block ^ RtlpArena.Key) * 0x9e3779b97f4a7c15ull;

    return (Low | Check >> 32 << 32) ^ (ULONG_PTR)(RtlpArena.Key & MAXULONG);
}

VOID RtlpWriteTrailer(PHEAP Heap, PVOID Block, const HEAP_BLOCK_INFO *Info)
{
    const SIZE_T Slack = Info->Usable - HEAP_TRAILER - Info->Requested;
    PUCHAR End = (PUCHAR)Block + Info->Usable - HEAP_TRAILER;
    const ULONG64 Trailer = RtlpTrailer(Block, Slack, Info->UserFlags);

    if ((Heap->Flags & HEAP_TAIL_CHECKING_ENABLED) != 0)
    {
        __builtin_memset((PUCHAR)Block + Info->Requested, HEAP_TAIL_FILL, Slack);
    }

    __builtin_memcpy(End, &Trailer, HEAP_TRAILER);
    if ((Info->UserFlags & HEAP_SETTABLE_USER_VALUE) != 0)
    {
        __builtin_memcpy(End - sizeof(PVOID), &Info->UserValue, sizeof(PVOID));
    }
}

SIZE_T RtlpUsableSize(PHEAP Heap, const VOID *Block)
{
    if (Heap->Fixed != NULL)
    {
        return RtlpFixedSize(Heap->Fixed, Block);
    }

    PHEAP_DESCRIPTOR Descriptor = RtlpLookup(Block);

    return Descriptor != NULL && Descriptor->Heap == Heap ? RtlpBlockSizeIn(Descriptor, Block) : 0;
}

static BOOLEAN RtlpTailIsWhole(const UCHAR *From, const UCHAR *To)
{
    while (From < To && *From == HEAP_TAIL_FILL)
    {
        From += 1;
    }

    return From >= To;
}

BOOLEAN RtlpReadBlock(PHEAP Heap, const VOID *Block, PHEAP_BLOCK_INFO Info, HEAP_DAMAGE *Damage)
{
    Info->Usable = RtlpUsableSize(Heap, Block);
    if (Info->Usable < HEAP_TRAILER)
    {
        PHEAP_DESCRIPTOR Descriptor = RtlpLookup(Block);

        *Damage = Heap->Fixed == NULL && Descriptor != NULL ? RtlpDiagnoseBlock(Heap, Descriptor, Block)
                                                            : HeapDamageInvalidFree;
        return FALSE;
    }

    const UCHAR *End = (const UCHAR *)Block + Info->Usable - HEAP_TRAILER;
    ULONG64 Trailer;

    __builtin_memcpy(&Trailer, End, HEAP_TRAILER);

    const ULONG64 Low = (Trailer ^ RtlpArena.Key) & MAXULONG;
    const SIZE_T Slack = Low & ((1u << HEAP_SLACK_BITS) - 1);

    Info->UserFlags = (ULONG)(Low >> HEAP_SLACK_BITS) << HEAP_FLAG_SHIFT;
    Info->Requested = Info->Usable - HEAP_TRAILER - Slack;
    Info->UserValue = NULL;
    *Damage = HeapDamageTail;
    if (RtlpIsDelayed(Heap, Block, Info->Usable))
    {
        *Damage = HeapDamageDoubleFree;
        return FALSE;
    }

    if (RtlpTrailer(Block, Slack, Info->UserFlags) != Trailer || Slack > Info->Usable - HEAP_TRAILER)
    {
        return FALSE;
    }

    if ((Info->UserFlags & HEAP_SETTABLE_USER_VALUE) != 0)
    {
        End -= sizeof(PVOID);
        __builtin_memcpy(&Info->UserValue, End, sizeof(PVOID));
    }

    return (Heap->Flags & HEAP_TAIL_CHECKING_ENABLED) == 0 ||
           RtlpTailIsWhole((const UCHAR *)Block + Info->Requested, End);
}

/* ---- blocks ---- */

static PVOID RtlpFailAllocation(PHEAP Heap, ULONG Flags)
{
    if (((Heap->Flags | Flags) & HEAP_GENERATE_EXCEPTIONS) != 0)
    {
        RtlpRaiseNoMemory(Heap);
    }

    return NULL;
}

static PVOID RtlpAllocateInside(PHEAP Heap, SIZE_T Size, BOOLEAN *Zeroed)
{
    *Zeroed = FALSE;
    if (Heap->Fixed != NULL)
    {
        return RtlpAllocateFixed(Heap->Fixed, Size);
    }

    if (RtlpPageHeap)
    {
        return RtlpAllocateGuarded(Heap, Size, 16);
    }

    return Size <= HEAP_FRONT_END_LIMIT ? RtlpAllocateFront(Heap->Slot, Size)
                                        : RtlpAllocateBig(Heap, Heap->Slot, Size, HEAP_PAGE, Zeroed);
}

static SIZE_T RtlpExtraBytes(PHEAP Heap, ULONG Flags)
{
    return HEAP_TRAILER + ((Flags & HEAP_SETTABLE_USER_VALUE) != 0 ? sizeof(PVOID) : 0) +
           ((Heap->Flags & HEAP_TAIL_CHECKING_ENABLED) != 0 ? HEAP_TAIL_BYTES : 0);
}

/* The heap is entered. */
static PVOID RtlpAllocateInHeap(PHEAP Heap, ULONG Flags, SIZE_T Size)
{
    const ULONG All = Heap->Flags | Flags;
    BOOLEAN Zeroed;

    if (Size > HEAP_MAXIMUM_REQUEST || (Heap->MaximumAllocation != 0 && Size > Heap->MaximumAllocation))
    {
        return NULL;
    }

    PVOID Block = RtlpAllocateInside(Heap, Size + RtlpExtraBytes(Heap, Flags), &Zeroed);

    if (Block == NULL)
    {
        return NULL;
    }

    HEAP_BLOCK_INFO Info = { .Usable = RtlpUsableSize(Heap, Block), .Requested = Size };

    Info.UserFlags = Flags & (HEAP_SETTABLE_USER_VALUE | HEAP_SETTABLE_USER_FLAGS);
    if ((All & HEAP_ZERO_MEMORY) != 0 && !Zeroed)
    {
        __builtin_memset(Block, 0, Size);
    }

    RtlpWriteTrailer(Heap, Block, &Info);

    return Block;
}

PVOID NTAPI RtlAllocateHeap(PVOID HeapHandle, ULONG Flags, SIZE_T Size)
{
    PHEAP Heap = RtlpHeapOf(HeapHandle);

    if (Heap == NULL)
    {
        return NULL;
    }

    RtlpEnterHeap(Heap, Flags);

    PVOID Block = RtlpAllocateInHeap(Heap, Flags, Size);

    RtlpLeaveHeap(Heap, Flags);

    return Block != NULL ? Block : RtlpFailAllocation(Heap, Flags);
}

static VOID RtlpFreeNow(PHEAP Heap, PVOID Block, SIZE_T Usable)
{
    /* A second free must not find a whole trailer, even where the maps would tell nothing. */
    __builtin_memset((PUCHAR)Block + Usable - HEAP_TRAILER, 0, HEAP_TRAILER);
    if (Heap->Fixed != NULL)
    {
        RtlpFreeFixed(Heap, Block);
    }
    else
    {
        RtlpFreeFront(Heap->Slot, Block);
    }
}

/* The heap is entered; Info is what RtlpReadBlock found. */
static VOID RtlpFreeInHeap(PHEAP Heap, PVOID Block, const HEAP_BLOCK_INFO *Info)
{
    SIZE_T Usable = Info->Usable;

    if ((Heap->Flags & HEAP_FREE_CHECKING_ENABLED) != 0)
    {
        Block = RtlpDelayFree(Heap, Block, &Usable, FALSE);
    }

    if (Block != NULL)
    {
        RtlpFreeNow(Heap, Block, Usable);
    }
}

VOID RtlpFreeDelayed(PHEAP Heap)
{
    SIZE_T Usable = 0;

    if ((Heap->Flags & HEAP_FREE_CHECKING_ENABLED) != 0)
    {
        for (PVOID Block; (Block = RtlpDelayFree(Heap, NULL, &Usable, TRUE)) != NULL;)
        {
            RtlpFreeNow(Heap, Block, Usable);
        }
    }
}

LOGICAL NTAPI RtlFreeHeap(PVOID HeapHandle, ULONG Flags, PVOID BaseAddress)
{
    PHEAP Heap = RtlpHeapOf(HeapHandle);
    HEAP_BLOCK_INFO Info;
    HEAP_DAMAGE Damage;

    if (Heap == NULL)
    {
        return FALSE;
    }

    if (BaseAddress == NULL)
    {
        return TRUE;
    }

    RtlpEnterHeap(Heap, Flags);

    const BOOLEAN Sound = RtlpReadBlock(Heap, BaseAddress, &Info, &Damage);

    if (Sound)
    {
        RtlpFreeInHeap(Heap, BaseAddress, &Info);
    }

    RtlpLeaveHeap(Heap, Flags);
    if (!Sound)
    {
        RtlpReportDamage(Damage, Heap, BaseAddress);
    }

    return Sound;
}

/* Changes a block in place if its memory permits; Info becomes the new one. */
static BOOLEAN RtlpResizeInPlace(PHEAP Heap, PVOID Block, SIZE_T Size, SIZE_T Extra, PHEAP_BLOCK_INFO Info)
{
    BOOLEAN Done = Size + Extra <= Info->Usable &&
                   (Info->Usable <= HEAP_FRONT_END_LIMIT || Size + Extra > Info->Usable / 2);

    if (Heap->Fixed != NULL)
    {
        Done = RtlpResizeFixed(Heap->Fixed, Block, Size + Extra);
    }
    else if (RtlpLookup(Block)->Kind == HeapKindPages)
    {
        Done = RtlpResizeBig(Heap, RtlpLookup(Block), Size + Extra, TRUE) != NULL || Done;
    }

    if (Done)
    {
        Info->Usable = RtlpUsableSize(Heap, Block);
        Info->Requested = Size;
        RtlpWriteTrailer(Heap, Block, Info);
    }

    return Done;
}

PVOID NTAPI RtlReAllocateHeap(PVOID HeapHandle, ULONG Flags, PVOID BaseAddress, SIZE_T Size)
{
    PHEAP Heap = RtlpHeapOf(HeapHandle);
    HEAP_BLOCK_INFO Info;
    HEAP_DAMAGE Damage;
    PVOID Result = NULL;

    if (Heap == NULL || BaseAddress == NULL)
    {
        return NULL;
    }

    RtlpEnterHeap(Heap, Flags);

    const BOOLEAN Sound = RtlpReadBlock(Heap, BaseAddress, &Info, &Damage);

    if (Sound && Size <= HEAP_MAXIMUM_REQUEST &&
        (Heap->MaximumAllocation == 0 || Size <= Heap->MaximumAllocation))
    {
        const SIZE_T Old = Info.Requested;
        const ULONG Kept = Info.UserFlags | (Flags & HEAP_SETTABLE_USER_VALUE);

        if (Kept == Info.UserFlags &&
            RtlpResizeInPlace(Heap, BaseAddress, Size, RtlpExtraBytes(Heap, Kept), &Info))
        {
            Result = BaseAddress;
            if (((Heap->Flags | Flags) & HEAP_ZERO_MEMORY) != 0 && Size > Old)
            {
                __builtin_memset((PUCHAR)Result + Old, 0, Size - Old);
            }
        }
        else if ((Flags & HEAP_REALLOC_IN_PLACE_ONLY) == 0)
        {
            Result = RtlpAllocateInHeap(Heap, (Flags & HEAP_ZERO_MEMORY) | Kept, Size);
            if (Result != NULL)
            {
                __builtin_memcpy(Result, BaseAddress, Old < Size ? Old : Size);
                if (Info.UserValue != NULL)
                {
                    HEAP_BLOCK_INFO New = { .Usable = RtlpUsableSize(Heap, Result),
                                            .Requested = Size,
                                            .UserFlags = Kept };

                    New.UserValue = Info.UserValue;
                    RtlpWriteTrailer(Heap, Result, &New);
                }

                RtlpFreeInHeap(Heap, BaseAddress, &Info);
            }
        }
    }

    RtlpLeaveHeap(Heap, Flags);
    if (!Sound)
    {
        RtlpReportDamage(Damage, Heap, BaseAddress);
        return NULL;
    }

    return Result != NULL ? Result : RtlpFailAllocation(Heap, Flags);
}

SIZE_T NTAPI RtlSizeHeap(PVOID HeapHandle, ULONG Flags, PVOID BaseAddress)
{
    PHEAP Heap = RtlpHeapOf(HeapHandle);
    HEAP_BLOCK_INFO Info = { 0 };
    HEAP_DAMAGE Damage;

    if (Heap == NULL)
    {
        return (SIZE_T)-1;
    }

    RtlpEnterHeap(Heap, Flags);

    const BOOLEAN Sound = RtlpReadBlock(Heap, BaseAddress, &Info, &Damage);

    RtlpLeaveHeap(Heap, Flags);

    return Sound ? Info.Requested : (SIZE_T)-1;
}
