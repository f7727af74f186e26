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
static ULONG RtlpForkExpected;    /* (atomic) the fork handlers are registered */
static ULONG_PTR RtlpFirstThread; /* (atomic) who came first */
static __thread BOOLEAN
    RtlpThreadEnding; /* its slot went already; what is called now are other destructors */

/* A thread's slot before its first allocation. Nothing is ready: every way is the slow one. */
HEAP_SLOT RtlpEmptySlot = { .Heap = &RtlpMallocHeap, .CachedPages = HEAP_CACHE_SLOT_PAGES };
__thread PHEAP_SLOT RtlpThreadSlot = &RtlpEmptySlot;

/* ---- threads come and go ---- */

static VOID RtlpThreadEnds(PVOID Context)
{
    UNREFERENCED_PARAMETER(Context);
    RtlpThreadEnding = TRUE;
    RtlpDetachThread();
}

/* The end of the calling thread, which Slot is of, is to be told. No lock is held: the C library may allocate. */
static VOID RtlpWatchThread(PHEAP_SLOT Slot)
{
    Slot->Watched = TRUE;
    RtlpAcquireLock(&RtlpSlotLock);
    if (RtlpSlotKeyState == 0)
    {
        RtlpSlotKeyState = pthread_key_create(&RtlpSlotKey, RtlpThreadEnds) == 0 ? 1 : 2;
    }

    const BOOLEAN CanTell = RtlpSlotKeyState == 1;

    RtlpReleaseLock(&RtlpSlotLock);
    if (CanTell)
    {
        (void)pthread_setspecific(RtlpSlotKey, Slot);
    }
}

/*
 * The first thread of all is not watched until another one came: a program of one thread should not pay for the pages that
 * the C library's functions for threads and fork lie in (a tenth of a small process's memory).
 */
VOID RtlpWatchFirstThread(PHEAP_SLOT Slot)
{
    if (HEAP_LOAD(&RtlpForkExpected) != 0 && Slot->Heap == &RtlpMallocHeap && Slot == RtlpThreadSlot)
    {
        RtlpWatchThread(Slot);
    }
}

/* A slot for the calling thread: Wanted if that is idle still, else any idle one, else a new one. RtlpSlotLock is held. */
static PHEAP_SLOT RtlpTakeSlot(const HEAP_SLOT *Wanted)
{
    PHEAP_SLOT *Link = &RtlpIdleSlots;

    while (*Link != NULL && *Link != Wanted)
    {
        Link = &(*Link)->NextIdle;
    }

    if (*Link == NULL)
    {
        Link = &RtlpIdleSlots;
    }

    PHEAP_SLOT Slot = *Link;

    if (Slot != NULL)
    {
        *Link = Slot->NextIdle;
        HEAP_STORE(&RtlpIdleCount, RtlpIdleCount - 1);
        HEAP_STORE(&Slot->State, HeapSlotOwned);

        return Slot;
    }

    /* Where little is granted for metadata, threads must not take what blocks need. */
    Slot = HEAP_LOAD(&RtlpArena.MetadataUsed) < RtlpArena.MetadataSize / 4 ? RtlpCreateSlot(&RtlpMallocHeap)
                                                                           : NULL;
    if (Slot != NULL)
    {
        Slot->NextAll = RtlpAllSlots;
        RtlpAllSlots = Slot;
    }

    return Slot;
}

static PHEAP_SLOT RtlpAttachThreadTo(const HEAP_SLOT *Wanted)
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

    /* Before any lock is taken: until now there was one thread, and none can be held when that one forks; if it is about to, malloc.c's fork has been here. */
    ULONG_PTR First = 0;

    if (!__atomic_compare_exchange_n(&RtlpFirstThread, &First, RtlpGroundThread(), FALSE, __ATOMIC_RELAXED,
                                     __ATOMIC_RELAXED))
    {
        RtlpExpectFork();
    }

    RtlpAcquireLock(&RtlpSlotLock);

    PHEAP_SLOT Slot = RtlpTakeSlot(Wanted);

    RtlpReleaseLock(&RtlpSlotLock);
    if (Slot == NULL)
    {
        return &RtlpEmptySlot; /* served without one, as an ending thread is */
    }

    RtlpThreadSlot = Slot;
    if (First != 0)
    {
        RtlpWatchThread(Slot);
    }

    return Slot;
}

PHEAP_SLOT RtlpAttachThread(VOID)
{
    return RtlpAttachThreadTo(NULL);
}

PHEAP_SLOT RtlpInheritSlot(PHEAP_DESCRIPTOR Subsegment)
{
    const PHEAP_SLOT Owner = RtlpOwner(Subsegment);

    if (Owner == HEAP_NO_OWNER || Owner->Heap != &RtlpMallocHeap || HEAP_LOAD(&Owner->State) != HeapSlotIdle)
    {
        return &RtlpEmptySlot;
    }

    const PHEAP_SLOT Slot = RtlpAttachThreadTo(Owner);

    return Slot != NULL ? Slot : &RtlpEmptySlot;
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
    Slot->Watched = FALSE;
    for (ULONG Bucket = 0; Bucket < HEAP_BUCKETS; Bucket += 1)
    {
        if (Slot->Buckets[Bucket].Uses < HEAP_ACTIVATION || RtlpBucketSize(Bucket) > HEAP_STAY_ACTIVE_SIZE)
        {
            Slot->Buckets[Bucket].Uses = 0;
        }
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
        RtlpReceive(Idle);

        /* One is enough for this allocation; the rest is left to whoever takes the slot. */
        if (Idle->Buckets[Bucket].First != 0)
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

VOID RtlpExpectFork(VOID)
{
    static ULONG_PTR Registrar; /* (atomic) */
    ULONG_PTR Nobody = 0;

    if (__atomic_load_n(&RtlpForkExpected, __ATOMIC_ACQUIRE) != 0)
    {
        return;
    }

    if (__atomic_compare_exchange_n(&Registrar, &Nobody, RtlpGroundThread(), FALSE, __ATOMIC_ACQ_REL,
                                    __ATOMIC_ACQUIRE))
    {
        (void)pthread_atfork(RtlpRestHeaps, RtlpWakeHeaps, RtlpWakeHeaps);
        __atomic_store_n(&RtlpForkExpected, 1, __ATOMIC_RELEASE);
        return;
    }

    /* A third thread waits for the second, which may come here again: the C library may allocate to keep the handlers. */
    while (Nobody != RtlpGroundThread() && __atomic_load_n(&RtlpForkExpected, __ATOMIC_ACQUIRE) == 0)
    {
        RtlpGroundPause();
    }
}
