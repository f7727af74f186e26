/* SPDX-License-Identifier: MIT */
/*
 * Affinity slots: each thread has one to itself, so that threads on different processors do not meet.
 *
 * A slot outlives its thread. When the thread ends, the slot is emptied as far as possible and waits, idle, for the next
 * thread; meanwhile others may take its partial subsegments. Slots are never destroyed, so an address that names the
 * owner of a block stays good to send the block to.
 * A block freed by another thread travels in a parcel: the sender collects up to 64 blocks for the same slot and hands
 * the chain over with one atomic exchange. The chain's links lie in the freed blocks, the only metadata that ever does; so
 * each link is encoded and carries a check value, and the receiver believes nothing that does not decode.
 */
#include "heap/front.h"

#include <pthread.h>

#define HEAP_SLOT_UNITS ((sizeof(HEAP_SLOT) + HEAP_UNIT - 1) / HEAP_UNIT)

HEAP RtlpMallocHeap = { .Signature = HEAP_SIGNATURE };
HEAP_LOCK RtlpSlotLock;

static PHEAP_SLOT RtlpIdleSlots;  /* RtlpSlotLock */
static PHEAP_SLOT RtlpAllSlots;   /* RtlpSlotLock */
static ULONG RtlpIdleCount;       /* (atomic) */
static pthread_key_t RtlpSlotKey; /* its destructor tells that a thread ends */
static ULONG RtlpSlotKeyState;    /* RtlpSlotLock: 0 none, 1 there, 2 cannot be had */

/* A thread's slot before its first allocation. Each map word says: nothing free, take the slow path. */
static ULONG64 RtlpEmptyWord;

#define HEAP_EMPTY                                                                                           \
    {                                                                                                        \
        .Word = &RtlpEmptyWord                                                                               \
    }
#define HEAP_EMPTY_8                                                                                         \
    HEAP_EMPTY, HEAP_EMPTY, HEAP_EMPTY, HEAP_EMPTY, HEAP_EMPTY, HEAP_EMPTY, HEAP_EMPTY, HEAP_EMPTY
#define HEAP_EMPTY_56                                                                                        \
    HEAP_EMPTY_8, HEAP_EMPTY_8, HEAP_EMPTY_8, HEAP_EMPTY_8, HEAP_EMPTY_8, HEAP_EMPTY_8, HEAP_EMPTY_8
C_ASSERT(HEAP_BUCKETS == 113);

HEAP_SLOT RtlpEmptySlot = { .Active = { HEAP_EMPTY_56, HEAP_EMPTY_56, HEAP_EMPTY }, .Heap = &RtlpMallocHeap };
__thread PHEAP_SLOT RtlpThreadSlot = &RtlpEmptySlot;

PHEAP_SLOT RtlpCreateSlot(PHEAP Heap)
{
    PHEAP_SLOT Slot = RtlpAllocateMetadata(HEAP_SLOT_UNITS);

    if (Slot == NULL)
    {
        return NULL;
    }

    RtlpResetSlot(Slot, Heap);

    return Slot;
}

VOID RtlpResetSlot(PHEAP_SLOT Slot, PHEAP Heap)
{
    __builtin_memset(Slot, 0, sizeof(*Slot));
    for (ULONG Bucket = 0; Bucket < HEAP_BUCKETS; Bucket += 1)
    {
        Slot->Active[Bucket].Word = &RtlpEmptyWord;
    }

    Slot->Heap = Heap;
    Slot->Random = RtlpGroundEntropy() | 1;
    Slot->State = HeapSlotOwned;
}

/* ---- threads come and go ---- */

static VOID RtlpThreadEnds(PVOID Context)
{
    UNREFERENCED_PARAMETER(Context);
    RtlpDetachThread();
}

PHEAP_SLOT RtlpAttachThread(VOID)
{
    if (!RtlpInitializeArena(&RtlpLinuxPageOperations))
    {
        return NULL;
    }

    if (RtlpPageHeap)
    {
        return &RtlpEmptySlot; /* no slot is used: every call takes the slow path, which knows the mode */
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

    RtlpFlushParcels(Slot);
    RtlpReceive(Slot);
    RtlpFlushParcels(Slot);
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
        if (HEAP_LOAD(&Idle->Incoming) != NULL)
        {
            RtlpReceive(Idle);
            RtlpFlushParcels(Idle);
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

/* ---- parcels ---- */

typedef struct _HEAP_LINK
{
    ULONG_PTR Next;
    ULONG_PTR Check;
} HEAP_LINK, *PHEAP_LINK;

static ULONG_PTR RtlpLinkCheck(const VOID *Block, ULONG_PTR Next)
{
    return (Next ^ ((ULONG_PTR)Block << 16) ^ RtlpArena.Key) * 0x9e3779b97f4a7c15ull;
}

static VOID RtlpWriteLink(PVOID Block, PVOID Next)
{
    PHEAP_LINK Link = Block;

    Link->Next = (ULONG_PTR)Next ^ (ULONG_PTR)Block ^ RtlpArena.Key;
    Link->Check = RtlpLinkCheck(Block, (ULONG_PTR)Next);
}

static BOOLEAN RtlpReadLink(PVOID Block, PVOID *Next)
{
    const HEAP_LINK *Link = Block;
    const ULONG_PTR Value = Link->Next ^ (ULONG_PTR)Block ^ RtlpArena.Key;

    *Next = (PVOID)Value;

    return Link->Check == RtlpLinkCheck(Block, Value);
}

static VOID RtlpPushChain(PHEAP_SLOT Receiver, PVOID First, PVOID Last)
{
    PVOID Head = HEAP_LOAD(&Receiver->Incoming);

    do
    {
        RtlpWriteLink(Last, Head);
    } while (!__atomic_compare_exchange_n(&Receiver->Incoming, &Head, First, FALSE, __ATOMIC_RELEASE,
                                          __ATOMIC_RELAXED));
}

static VOID RtlpSend(PHEAP_SLOT Slot, PHEAP_PARCEL Parcel)
{
    RtlpPushChain(Parcel->Receiver, Parcel->First, Parcel->Last);
    Slot->ParcelBlocks -= Parcel->Count;
    Parcel->Receiver = NULL;
    Parcel->Count = 0;
    Parcel->Bytes = 0;
}

VOID RtlpFlushParcels(PHEAP_SLOT Slot)
{
    for (ULONG Index = 0; Slot->ParcelBlocks != 0 && Index < HEAP_PARCELS; Index += 1)
    {
        if (Slot->Parcels[Index].Count != 0)
        {
            RtlpSend(Slot, &Slot->Parcels[Index]);
        }
    }
}

VOID RtlpFreeRemote(PHEAP_SLOT Slot, PHEAP_SLOT Receiver, PVOID Block, ULONG Bytes)
{
    PHEAP_PARCEL Parcel = &Slot->Parcels[((ULONG_PTR)Receiver / sizeof(HEAP_SLOT)) % HEAP_PARCELS];

    if (Slot == &RtlpEmptySlot)
    {
        /* A thread without a slot sends each block by itself. */
        RtlpPushChain(Receiver, Block, Block);
        return;
    }

    if (Parcel->Count != 0 && Parcel->Receiver != Receiver)
    {
        RtlpSend(Slot, Parcel);
    }

    if (Parcel->Count == 0)
    {
        Parcel->Receiver = Receiver;
        Parcel->Last = Block;
        RtlpWriteLink(Block, NULL);
    }
    else
    {
        RtlpWriteLink(Block, Parcel->First);
    }

    Parcel->First = Block;
    Parcel->Count += 1;
    Parcel->Bytes += Bytes;
    Slot->ParcelBlocks += 1;
    if (Parcel->Count >= HEAP_PARCEL_BLOCKS || Parcel->Bytes >= HEAP_PARCEL_BYTES)
    {
        RtlpSend(Slot, Parcel);
    }
}

VOID RtlpReceive(PHEAP_SLOT Slot)
{
    PVOID Block = __atomic_exchange_n(&Slot->Incoming, NULL, __ATOMIC_ACQUIRE);

    while (Block != NULL)
    {
        PHEAP_DESCRIPTOR Subsegment = RtlpLookup(Block);
        PVOID Next;

        if (Subsegment == NULL || !RtlpReadLink(Block, &Next))
        {
            RtlpReportDamage(HeapDamageLink, Slot->Heap, Block);
            return; /* the rest of the chain is lost */
        }

        PHEAP_SLOT Owner = HEAP_LOAD(&Subsegment->Owner);

        if (Owner == Slot)
        {
            if (!RtlpFreeLocal(Slot, Subsegment, Block))
            {
                RtlpReportDamage(HeapDamageDoubleFree, Slot->Heap, Block);
                return;
            }
        }
        else if (Owner == HEAP_NO_OWNER)
        {
            RtlpReportDamage(HeapDamageDoubleFree, Slot->Heap, Block);
            return;
        }
        else
        {
            /* The subsegment went to another slot while the block was under way. */
            RtlpFreeRemote(Slot, Owner, Block, Subsegment->BlockSize);
        }

        Block = Next;
    }
}

/* ---- fork ---- */

VOID RtlpLockForFork(VOID)
{
    RtlpAcquireLock(&RtlpSlotLock);
    RtlpAcquireLock(&RtlpMallocHeap.BackLock);
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
}
