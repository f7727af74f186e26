/* SPDX-License-Identifier: MIT */
/*
 * The slots of threads: each thread of a Linux program has one to itself for the heap of malloc.
 *
 * A slot outlives its thread. When the thread ends, the slot is emptied as far as possible and waits, idle, for the next
 * thread; meanwhile others may take its partial subsegments. Slots are never destroyed, so an address that names the
 * owner of a block stays good to send the block to.
 */
#include "heap/front.h"

#include <pthread.h>

HEAP_PROCESS RtlpProcess;
HEAP RtlpMallocHeap = { .Signature = HEAP_SIGNATURE };
HEAP_LOCK RtlpSlotLock;

static PHEAP_SLOT RtlpIdleSlots;  /* RtlpSlotLock */
static PHEAP_SLOT RtlpAllSlots;   /* RtlpSlotLock */
static ULONG RtlpIdleCount;       /* (atomic) */
static pthread_key_t RtlpSlotKey; /* its destructor tells that a thread ends */
static ULONG RtlpSlotKeyState;    /* RtlpSlotLock: 0 none, 1 there, 2 cannot be had */
static __thread BOOLEAN
    RtlpThreadEnding; /* its slot went already; what is called now are other destructors */

/* A thread's slot before its first allocation. Each word says: nothing free, take the slow path. */
ULONG64 RtlpEmptyWord;

#define HEAP_EMPTY                                                                                           \
    {                                                                                                        \
        .Word = &RtlpEmptyWord                                                                               \
    }
#define HEAP_EMPTY_8                                                                                         \
    HEAP_EMPTY, HEAP_EMPTY, HEAP_EMPTY, HEAP_EMPTY, HEAP_EMPTY, HEAP_EMPTY, HEAP_EMPTY, HEAP_EMPTY
#define HEAP_EMPTY_56                                                                                        \
    HEAP_EMPTY_8, HEAP_EMPTY_8, HEAP_EMPTY_8, HEAP_EMPTY_8, HEAP_EMPTY_8, HEAP_EMPTY_8, HEAP_EMPTY_8
C_ASSERT(HEAP_BUCKETS == 113);

HEAP_SLOT RtlpEmptySlot = { .Active = { HEAP_EMPTY_56, HEAP_EMPTY_56, HEAP_EMPTY },
                            .Heap = &RtlpMallocHeap,
                            .CachedPages = HEAP_CACHE_SLOT_PAGES };
__thread PHEAP_SLOT RtlpThreadSlot = &RtlpEmptySlot;

/* ---- threads come and go ---- */

static VOID RtlpThreadEnds(PVOID Context)
{
    UNREFERENCED_PARAMETER(Context);
    RtlpThreadEnding = TRUE;
    RtlpDetachThread();
}

PHEAP_SLOT RtlpAttachThread(VOID)
{
    if (!RtlpInitializeArena(&RtlpLinuxPageOperations))
    {
        return NULL;
    }

    if (RtlpPageHeap || RtlpThreadEnding || RtlpCheckModeHeap() != NULL)
    {
        /* No slot is used: every call takes the slow path. A slot that an ending thread took would never come back. */
        return &RtlpEmptySlot;
    }

    RtlpAcquireLock(&RtlpSlotLock);
    if (RtlpSlotKeyState == 0)
    {
        RtlpSlotKeyState = pthread_key_create(&RtlpSlotKey, RtlpThreadEnds) == 0 ? 1 : 2;
    }

    PHEAP_SLOT Slot = RtlpIdleSlots;

    if (Slot != NULL)
    {
        RtlpIdleSlots = Slot->NextIdle;
        HEAP_STORE(&RtlpIdleCount, RtlpIdleCount - 1);
        HEAP_STORE(&Slot->State, HeapSlotOwned);
    }
    else
    {
        Slot = RtlpCreateSlot(&RtlpMallocHeap);
        if (Slot != NULL)
        {
            Slot->NextAll = RtlpAllSlots;
            RtlpAllSlots = Slot;
        }
    }

    RtlpReleaseLock(&RtlpSlotLock);
    if (Slot != NULL)
    {
        RtlpThreadSlot = Slot;
        if (RtlpSlotKeyState == 1)
        {
            (void)pthread_setspecific(RtlpSlotKey, Slot);
        }
    }

    return Slot;
}

VOID RtlpDetachThread(VOID)
{
    PHEAP_SLOT Slot = RtlpThreadSlot;

    if (Slot == &RtlpEmptySlot)
    {
        return;
    }

    RtlpReceive(Slot);
    RtlpTrimSlot(Slot);
    RtlpFlushSpanCache(Slot);
    RtlpThreadSlot = &RtlpEmptySlot;
    for (ULONG Bucket = 0; Bucket < HEAP_BUCKETS; Bucket += 1)
    {
        Slot->Buckets[Bucket].Uses = 0;
    }

    RtlpAcquireLock(&RtlpSlotLock);
    HEAP_STORE(&Slot->State, HeapSlotIdle);
    Slot->NextIdle = RtlpIdleSlots;
    RtlpIdleSlots = Slot;
    HEAP_STORE(&RtlpIdleCount, RtlpIdleCount + 1);
    RtlpReleaseLock(&RtlpSlotLock);
}

BOOLEAN RtlpStealPartial(PHEAP_SLOT Slot, ULONG Bucket)
{
    BOOLEAN Found = FALSE;

    if (HEAP_LOAD(&RtlpIdleCount) == 0 || Slot->Heap != &RtlpMallocHeap)
    {
        return FALSE;
    }

    RtlpAcquireLock(&RtlpSlotLock);
    for (PHEAP_SLOT Idle = RtlpIdleSlots; Idle != NULL && !Found; Idle = Idle->NextIdle)
    {
        /* Idle slots are nobody's but the lock's. What was sent to one is freed first: it may be what is wanted. */
        if (HEAP_LOAD(&Idle->Incoming) != 0)
        {
            RtlpReceive(Idle);
        }

        while (Idle->Buckets[Bucket].First != 0)
        {
            PHEAP_DESCRIPTOR Subsegment = HEAP_DESCRIPTOR_AT(Idle->Buckets[Bucket].First);

            RtlpRemovePartial(&Idle->Buckets[Bucket], Subsegment);
            Idle->Buckets[Bucket].Subsegments -= 1;
            HEAP_STORE(&Subsegment->Owner, Slot);
            RtlpAppendPartial(&Slot->Buckets[Bucket], Subsegment);
            Slot->Buckets[Bucket].Subsegments += 1;
            Found = TRUE;
        }
    }

    RtlpReleaseLock(&RtlpSlotLock);

    return Found;
}

/* ---- fork ---- */

VOID RtlpLockForFork(VOID)
{
    RtlpCheckModeLock();
    RtlpAcquireLock(&RtlpSlotLock);
    RtlpAcquireLock(&RtlpMallocHeap.BackLock);
    RtlpCheckModeLockBack();
    RtlpAcquireLock(&RtlpArena.Lock);
}

VOID RtlpUnlockAfterFork(BOOLEAN Child)
{
    if (Child)
    {
        /* Other threads waited for these locks; in the child there are no others. */
        RtlpArena.Lock.State = 1;
        RtlpMallocHeap.BackLock.State = 1;
        RtlpSlotLock.State = 1;
    }

    RtlpReleaseLock(&RtlpArena.Lock);
    RtlpReleaseLock(&RtlpMallocHeap.BackLock);
    RtlpReleaseLock(&RtlpSlotLock);
    RtlpCheckModeUnlock(Child);
}
