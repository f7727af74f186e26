/* SPDX-License-Identifier: MIT */
/*
 * All heaps of a process at rest: what a copy of the process, by fork or by a clone inside the machine, has to find.
 *
 * Every lock of every heap is taken, so no other thread is in the middle of anything, the process is copied, and the locks are
 * given back in both. The API locks come above the lock of the list that leads to them, so they are tried, and if one is held
 * all is given up and begun again. While the heaps rest the thread that holds them may use them: other code that is told
 * of a fork may be told later, and allocates (lock.c lets that thread pass).
 * Left alone: the API lock of a heap without serialization, and slots of other threads, which a copy has no use for.
 */
#include "heap/api.h"

#define HEAP_REST_SPINS 200

/* The API locks of all heaps; or none, and one that another thread has. The list's lock is held. */
static PHEAP RtlpTryEnterAll(VOID)
{
    for (PHEAP Heap = RtlpHeapList; Heap != NULL; Heap = Heap->NextHeap)
    {
        if (!RtlpTryEnterHeap(Heap))
        {
            for (PHEAP Entered = RtlpHeapList; Entered != Heap; Entered = Entered->NextHeap)
            {
                RtlpLeaveHeap(Entered, 0);
            }

            return Heap;
        }
    }

    return NULL;
}

/* Until the lock was seen free. The heap may be gone; its structure stays a heap's, a lock of the caller's may be gone, too. */
static VOID RtlpAwaitLock(const HEAP *Heap)
{
    const HEAP_LOCK *Lock = &Heap->Lock;

    if (Heap->CallerLock != NULL)
    {
        RtlpGroundPause();
        return;
    }

    for (ULONG Turn = 0; HEAP_LOAD(&Lock->State) != 0; Turn += 1)
    {
        if (Turn < HEAP_REST_SPINS)
        {
            __builtin_ia32_pause();
        }
        else
        {
            RtlpGroundPause();
        }
    }
}

/* Held as a lock that is waited for, so that the last release looks for waiters and passing through changes nothing. */
static VOID RtlpHoldAtRest(PHEAP_LOCK Lock)
{
    RtlpAcquireLock(Lock);
    HEAP_STORE(&Lock->State, 2);
}

VOID RtlpRestHeaps(VOID)
{
    for (;;)
    {
        RtlpHoldAtRest(&RtlpHeapListLock);

        const PHEAP Held = RtlpTryEnterAll();

        if (Held == NULL)
        {
            break;
        }

        RtlpReleaseLock(&RtlpHeapListLock);
        RtlpAwaitLock(Held);
    }

#if !defined(NTHEAP_GROUND_NT)
    RtlpHoldAtRest(&RtlpSlotLock);
    RtlpHoldAtRest(&RtlpMallocHeap.BackLock);
#endif
    for (PHEAP Heap = RtlpHeapList; Heap != NULL; Heap = Heap->NextHeap)
    {
        RtlpHoldAtRest(&Heap->BackLock);
    }

    RtlpHoldAtRest(&RtlpArena.Lock);
    HEAP_STORE(&RtlpProcess.RestThread, RtlpGroundThread());
}

VOID RtlpJoinRest(PHEAP Heap)
{
    if (RtlpHoldsHeaps())
    {
        (VOID) RtlpTryEnterHeap(Heap);
    }
}

VOID RtlpWakeHeaps(VOID)
{
    HEAP_STORE(&RtlpProcess.RestThread, 0);
    RtlpReleaseLock(&RtlpArena.Lock);
    for (PHEAP Heap = RtlpHeapList; Heap != NULL; Heap = Heap->NextHeap)
    {
        RtlpReleaseLock(&Heap->BackLock);
        RtlpLeaveHeap(Heap, 0);
    }

#if !defined(NTHEAP_GROUND_NT)
    RtlpReleaseLock(&RtlpMallocHeap.BackLock);
    RtlpReleaseLock(&RtlpSlotLock);
#endif
    RtlpReleaseLock(&RtlpHeapListLock);
}

#if defined(NTHEAP_GROUND_NT)
/* The thread that held the locks is the parent's, and so is whoever waited for them. */
VOID RtlpWakeClone(PHEAP_PROCESS Process)
{
    if (Process->RestThread == 0)
    {
        return; /* nobody said that it was to be cloned: locks are what they are */
    }

    for (PHEAP Heap = Process->List; Heap != NULL; Heap = Heap->NextHeap)
    {
        Heap->BackLock.State = 0;
        if ((Heap->Flags & HEAP_NO_SERIALIZE) == 0)
        {
            Heap->LockOwner = 0;
            Heap->LockDepth = 0;
            Heap->Lock.State = 0;
            for (ULONG Side = 0; Side < Heap->SideCount; Side += 1)
            {
                Heap->Sides[Side]->Lock.State = 0;
            }
        }
    }

    Process->Arena.Lock.State = 0;
    Process->ListLock.State = 0;
    Process->RestThread = 0;
}
#endif

/* ---- the public functions ---- */

NTSTATUS NTAPI RtlPrepareForProcessCloning(VOID)
{
    if (!RtlpHasProcess() || !RtlpInitializeArena(&RtlpPageOperations))
    {
        return STATUS_NO_MEMORY;
    }

    if (RtlpHoldsHeaps())
    {
        return STATUS_INVALID_LOCK_SEQUENCE;
    }

    RtlpRestHeaps();

    return STATUS_SUCCESS;
}

NTSTATUS NTAPI RtlCompleteProcessCloning(LOGICAL Completed)
{
    UNREFERENCED_PARAMETER(Completed);
    if (!RtlpHasProcess())
    {
        return STATUS_NO_MEMORY;
    }

    if (RtlpHoldsHeaps())
    {
        RtlpWakeHeaps();
        return STATUS_SUCCESS;
    }

    /* In a clone the first use of the heap did it. */
    return HEAP_LOAD(&RtlpProcess.RestThread) == 0 ? STATUS_SUCCESS : STATUS_INVALID_LOCK_SEQUENCE;
}
