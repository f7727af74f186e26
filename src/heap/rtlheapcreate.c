/* SPDX-License-Identifier: MIT */
/*
 * Private heaps as a whole: handles, the lock, creation and destruction, the process heap.
 *
 * A growable heap has regions of the arena and a slot, used with the heap's lock held, and more of both when threads meet there
 * (side.c). The lock is what HEAP_NO_SERIALIZE leaves out, and what RtlLockHeap takes: it may be taken again by its owner. A heap of fixed size is one range (fixed.c).
 * Destroyed heaps leave their metadata to later ones.
 */
#include "heap/api.h"

#define HEAP_UNITS ((sizeof(HEAP) + HEAP_UNIT - 1) / HEAP_UNIT)

#define RtlpDestroyedHeaps (RtlpProcess.Destroyed)
#define RtlpFirstHeap      (RtlpProcess.First)

/* ---- the lock ---- */

PHEAP RtlpHeapOf(PVOID HeapHandle)
{
    PHEAP Heap = HeapHandle;

    /* In a clone that makes its heaps usable first. */
    return Heap != NULL && RtlpHasProcess() && ((ULONG_PTR)Heap & (HEAP_UNIT - 1)) == 0 &&
                   Heap->Signature == HEAP_SIGNATURE
               ? Heap
               : NULL;
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
    HEAP Old = { .Lock = Heap->Lock,
                 .BackLock = Heap->BackLock,
                 .Ring = Heap->Ring,
                 .Tags = Heap->Tags,
                 .SpareFixed = Heap->Fixed != NULL ? Heap->Fixed : Heap->SpareFixed };

    __builtin_memcpy(Old.Sides, Heap->Sides, sizeof(Old.Sides));
    __builtin_memset(Heap, 0, sizeof(*Heap));
    __builtin_memcpy(Heap->Sides, Old.Sides, sizeof(Old.Sides));
    RtlpResetSlot(Slot, Heap);
    Heap->Lock = Old.Lock; /* in the machine with the events that were waited on */
    Heap->Lock.State = 0;
    Heap->BackLock = Old.BackLock;
    Heap->BackLock.State = 0;
    Heap->Ring = Old.Ring;
    Heap->Tags = Old.Tags;
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

/* How much to reserve and to commit. FALSE if the parameters do not go together, or ask for what cannot be. */
static BOOLEAN RtlpChooseSizes(ULONG Flags, const VOID *HeapBase, const RTL_HEAP_PARAMETERS *Parameters,
                               PSIZE_T ReserveSize, PSIZE_T CommitSize)
{
    if (Parameters != NULL && Parameters->Length != sizeof(*Parameters))
    {
        return FALSE;
    }

    if (Parameters != NULL && Parameters->CommitRoutine != NULL)
    {
        /* As documented: it is for the caller's memory, and then the parameters' sizes count, and must be there. */
        if (HeapBase == NULL || (Flags & HEAP_GROWABLE) != 0 || Parameters->InitialCommit == 0 ||
            Parameters->InitialCommit > Parameters->InitialReserve)
        {
            return FALSE;
        }

        *ReserveSize = Parameters->InitialReserve;
        *CommitSize = Parameters->InitialCommit;
    }

    /* More than all heaps together can have. */
    if (HeapBase == NULL && (*ReserveSize > RtlpArena.Size || *CommitSize > RtlpArena.Size))
    {
        return FALSE;
    }

    /* As documented: with one size missing, the other decides, and no more is committed than is reserved. */
    if (*ReserveSize == 0)
    {
        *ReserveSize = *CommitSize != 0 ? (*CommitSize + 0xffff) & ~(SIZE_T)0xffff : 64 * HEAP_PAGE;
    }

    if (*CommitSize == 0)
    {
        *CommitSize = HEAP_PAGE;
    }

    if (*CommitSize > *ReserveSize)
    {
        *CommitSize = *ReserveSize;
    }

    return TRUE;
}

static VOID RtlpTakeParameters(PHEAP Heap, const RTL_HEAP_PARAMETERS *Parameters)
{
    Heap->MaximumAllocation = Parameters->MaximumAllocationSize;
    if (Parameters->DeCommitFreeBlockThreshold != 0 || Parameters->DeCommitTotalFreeThreshold != 0)
    {
        Heap->DecommitBlock = Parameters->DeCommitFreeBlockThreshold + 1; /* larger ones, as documented */
        Heap->DecommitTotal = Parameters->DeCommitTotalFreeThreshold;
    }
}

/* The range of a heap that does not grow, or the caller's memory. FALSE if there is no memory for it. */
static BOOLEAN RtlpGiveRange(PHEAP Heap, PVOID HeapBase, SIZE_T ReserveSize, SIZE_T CommitSize,
                             PRTL_HEAP_PARAMETERS Parameters)
{
    Heap->Fixed = RtlpCreateFixed(Heap, HeapBase, ReserveSize, CommitSize, Parameters);
    if (Heap->Fixed == NULL)
    {
        return FALSE;
    }

    if ((Heap->Flags & HEAP_GROWABLE) == 0 &&
        (Heap->MaximumAllocation == 0 || Heap->MaximumAllocation > Heap->Fixed->Largest))
    {
        Heap->MaximumAllocation = Heap->Fixed->Largest;
    }

    return TRUE;
}

/*
 * What a growable heap commits at first, where commitment is charged: free memory that is there, in pieces that blocks of any size
 * are cut from. FALSE if it cannot be had. Later it is given back like all free memory, if it is not used.
 */
static BOOLEAN RtlpCommitFirst(PHEAP Heap, SIZE_T CommitSize)
{
    SIZE_T Left = (CommitSize + HEAP_PAGE - 1) >> HEAP_PAGE_SHIFT;
    ULONG First = 0;

    if (RtlpArena.Operations->CommitOnTouch || CommitSize <= HEAP_PAGE)
    {
        return TRUE;
    }

    RtlpAcquireLock(&Heap->BackLock);
    while (Left > 0)
    {
        const ULONG Pages = Left < HEAP_BACK_END_PAGES ? (ULONG)Left : HEAP_BACK_END_PAGES;
        PHEAP_DESCRIPTOR Span = RtlpAllocateSpan(Heap, Pages, HEAP_PAGE, HeapKindPages);

        if (Span == NULL)
        {
            break;
        }

        Span->Next = First;
        First = RtlpDescriptorNumber(Span);
        Left -= Pages;
    }

    while (First != 0)
    {
        PHEAP_DESCRIPTOR Span = HEAP_DESCRIPTOR_AT(First);

        First = Span->Next;
        RtlpFreeSpan(Heap, Span);
    }

    if (Left > 0)
    {
        RtlpReleaseAllRegions(Heap);
    }

    RtlpReleaseLock(&Heap->BackLock);

    return Left == 0;
}

PVOID NTAPI RtlCreateHeap(ULONG Flags, PVOID HeapBase, SIZE_T ReserveSize, SIZE_T CommitSize, PVOID Lock,
                          PRTL_HEAP_PARAMETERS Parameters)
{
    const BOOLEAN Fixed = HeapBase != NULL || (Flags & HEAP_GROWABLE) == 0;

    /* As documented, a lock of the caller's is an ERESOURCE, and none comes with HEAP_NO_SERIALIZE. */
    if ((Lock != NULL && (!RtlpGroundHasResources || (Flags & HEAP_NO_SERIALIZE) != 0)) ||
        !RtlpHasProcess() || !RtlpInitializeArena(&RtlpPageOperations))
    {
        return NULL;
    }

    if (!RtlpChooseSizes(Flags, HeapBase, Parameters, &ReserveSize, &CommitSize))
    {
        return NULL;
    }

#if !defined(NTHEAP_GROUND_NT)
    RtlpExpectFork(); /* several threads may use it without ever calling malloc */
#endif

    PHEAP Heap = RtlpNewHeap();

    if (Heap == NULL)
    {
        return NULL;
    }

    Heap->Flags = (Flags & ~HEAP_CALLERS_LOCK) | (Lock != NULL ? HEAP_CALLERS_LOCK : 0);
    Heap->CallerLock = Lock;
    Heap->Executable = (Flags & HEAP_CREATE_ENABLE_EXECUTE) != 0;
    if (Parameters != NULL)
    {
        RtlpTakeParameters(Heap, Parameters);
    }

    if ((Flags & HEAP_FREE_CHECKING_ENABLED) != 0 && !RtlpCreateRing(Heap, HEAP_RING_BLOCKS))
    {
        RtlpRetireHeap(Heap);
        return NULL;
    }

    if (Fixed ? !RtlpGiveRange(Heap, HeapBase, ReserveSize, CommitSize, Parameters)
              : !RtlpCommitFirst(Heap, CommitSize))
    {
        RtlpRetireHeap(Heap);
        return NULL;
    }

    Heap->Signature = HEAP_SIGNATURE;
    RtlpAcquireLock(&RtlpHeapListLock);
    Heap->NextHeap = RtlpHeapList;
    RtlpHeapList = Heap;
    RtlpJoinRest(Heap);
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

    /* No report may be under way to a slot when the descriptors go to other heaps. */
    for (ULONG Side = Heap->SideCount + 1; Side-- > 0;)
    {
        RtlpReceive(RtlpSlotOfSide(Heap, Side));
    }

    RtlpAcquireLock(&Heap->BackLock);
    RtlpReleaseAllRegions(Heap);
    RtlpReleaseLock(&Heap->BackLock);
    RtlpRetireHeap(Heap);

    return NULL;
}

PVOID NTAPI RtlProcessHeap(VOID)
{
    if (!RtlpHasProcess())
    {
        return NULL;
    }

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

        if (Heap != NULL)
        {
            RtlpGroundSetProcessHeap(Heap);
        }
    }

    return Heap;
}
