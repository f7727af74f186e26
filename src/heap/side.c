/* SPDX-License-Identifier: MIT */
/*
 * The sides of a private heap: who is inside of it, and with which slot.
 *
 * A heap begins with one slot under its lock. Threads that meet at the lock make the heap get further sides, each a lock and a
 * slot, up to HEAP_SIDES_EACH for each processor; a thread then takes the same side every time, or one that is free, and changes to another
 * after some meetings. A block goes back to the slot it came from like one of another thread's malloc does: by one bit. Whoever wants the whole heap
 * (RtlLockHeap, walks, compaction, tags, information) takes the heap's lock first and then every other side's.
 * A lock of the caller's takes the place of the heap's; such a heap has no other sides, so whoever holds that lock has it all.
 */
#include "heap/api.h"

#define HEAP_MEETINGS 16 /* at a heap's locks until it gets one more side */
#define HEAP_SIDES_EACH                                                                                      \
    4 /* for each processor: a thread that is preempted is in the heap more often than not */

static PHEAP_LOCK RtlpSideLock(PHEAP Heap, ULONG Side)
{
    return Side == 0 ? &Heap->Lock : &Heap->Sides[Side - 1]->Lock;
}

/* ---- the whole heap ---- */

static BOOLEAN RtlpTakeHeapLock(PHEAP Heap, BOOLEAN Wait)
{
    if (RtlpGroundHasResources && Heap->CallerLock != NULL)
    {
        return RtlpGroundAcquireResource(Heap->CallerLock, Wait);
    }

    if (!Wait)
    {
        return RtlpTryLock(&Heap->Lock);
    }

    RtlpAcquireLock(&Heap->Lock);

    return TRUE;
}

static VOID RtlpGiveHeapLock(PHEAP Heap)
{
    if (RtlpGroundHasResources && Heap->CallerLock != NULL)
    {
        RtlpGroundReleaseResource(Heap->CallerLock);
    }
    else
    {
        RtlpReleaseLock(&Heap->Lock);
    }
}

/* The heap's lock is taken just now. A side can be added by who is in one only, so the count is final with the last. */
static VOID RtlpTakeSides(PHEAP Heap)
{
    HEAP_STORE(&Heap->LockOwner, RtlpGroundThread());
    for (ULONG Side = 1; Side <= __atomic_load_n(&Heap->SideCount, __ATOMIC_ACQUIRE); Side += 1)
    {
        RtlpAcquireLock(RtlpSideLock(Heap, Side));
    }
}

VOID RtlpEnterHeap(PHEAP Heap, ULONG Flags)
{
    if (((Heap->Flags | Flags) & HEAP_NO_SERIALIZE) != 0)
    {
        return;
    }

    if (HEAP_LOAD(&Heap->LockOwner) != RtlpGroundThread())
    {
        (VOID) RtlpTakeHeapLock(Heap, TRUE);
        RtlpTakeSides(Heap);
    }

    Heap->LockDepth += 1;
}

BOOLEAN RtlpTryEnterHeap(PHEAP Heap)
{
    if ((Heap->Flags & HEAP_NO_SERIALIZE) != 0)
    {
        return TRUE;
    }

    if (HEAP_LOAD(&Heap->LockOwner) != RtlpGroundThread())
    {
        if (!RtlpTakeHeapLock(Heap, FALSE))
        {
            return FALSE;
        }

        RtlpTakeSides(Heap); /* who is in one of them does not wait for anything above */
    }

    Heap->LockDepth += 1;

    return TRUE;
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
        for (ULONG Side = HEAP_LOAD(&Heap->SideCount); Side > 0; Side -= 1)
        {
            RtlpReleaseLock(RtlpSideLock(Heap, Side));
        }

        RtlpGiveHeapLock(Heap);
    }
}

VOID RtlpAbandonHeap(PHEAP Heap)
{
    if (RtlpGroundHasResources && Heap != NULL && Heap->CallerLock != NULL &&
        HEAP_LOAD(&Heap->LockOwner) == RtlpGroundThread())
    {
        HEAP_STORE(&Heap->LockOwner, 0);
        RtlpGiveHeapLock(Heap);
    }
}

/* ---- one side ---- */

VOID RtlpAddSide(PHEAP Heap)
{
    RtlpAcquireLock(&Heap->BackLock);

    const ULONG Count = Heap->SideCount;

    if (Count < HEAP_MOST_SIDES && Count + 1 < HEAP_SIDES_EACH * RtlpGroundProcessors())
    {
        PHEAP_SIDE Side = Heap->Sides[Count]; /* a destroyed heap's */

        if (Side == NULL)
        {
            Side = RtlpAllocateMetadata(1);
            Heap->Sides[Count] = Side;
        }

        if (Side != NULL && Side->Slot != NULL)
        {
            RtlpResetSlot(Side->Slot, Heap);
        }
        else if (Side != NULL)
        {
            Side->Slot = RtlpCreateSlot(Heap);
        }

        if (Side != NULL && Side->Slot != NULL)
        {
            Side->Lock.State = 0;
            __atomic_store_n(&Heap->SideCount, Count + 1, __ATOMIC_RELEASE);
        }
    }

    RtlpReleaseLock(&Heap->BackLock);
}

/* Another thread was met at the lock of Side. Who has the whole heap does not count. */
static DECLSPEC_NOINLINE ULONG RtlpMeet(PHEAP Heap, ULONG Side, ULONG Count)
{
    const BOOLEAN Counts = HEAP_LOAD(&Heap->LockOwner) == 0;
    const BOOLEAN Often =
        Counts && __atomic_add_fetch(&Heap->Meetings, 1, __ATOMIC_RELAXED) % HEAP_MEETINGS == 0;

    if (Often)
    {
        RtlpGroundChangePart();
    }

    for (ULONG Turn = 1; Turn < Count; Turn += 1)
    {
        const ULONG Other = (Side + Turn) % Count;

        if (RtlpTryLock(RtlpSideLock(Heap, Other)))
        {
            return Other;
        }
    }

    RtlpAcquireLock(RtlpSideLock(Heap, Side));
    if (Often)
    {
        RtlpAddSide(Heap);
    }

    return Side;
}

ULONG RtlpEnterSideSlow(PHEAP Heap, ULONG Flags)
{
    if (!RtlpHasSides(Heap, Flags) || HEAP_LOAD(&Heap->LockOwner) == RtlpGroundThread())
    {
        RtlpEnterHeap(Heap, Flags);
        return HEAP_WHOLE;
    }

    const ULONG Count = __atomic_load_n(&Heap->SideCount, __ATOMIC_ACQUIRE) + 1;
    const ULONG Side = Count > 1 ? RtlpGroundPart() % Count : 0;

    return HEAP_LIKELY(RtlpTryLock(RtlpSideLock(Heap, Side))) ? Side : RtlpMeet(Heap, Side, Count);
}

VOID RtlpLeaveSideSlow(PHEAP Heap, ULONG Side, ULONG Flags)
{
    if (Side == HEAP_WHOLE)
    {
        RtlpLeaveHeap(Heap, Flags);
    }
    else
    {
        RtlpReleaseLock(RtlpSideLock(Heap, Side));
    }
}
