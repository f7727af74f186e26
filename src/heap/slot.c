/* SPDX-License-Identifier: MIT */
/*
 * Affinity slots: each holds the subsegments of one thread, or of one part of a private heap, so that threads on different
 * processors do not meet. Whose slots threads have: threadslot.c.
 *
 * A block freed by another thread gets another state, by one atomic compare-exchange in its subsegment's map; the first one
 * puts the subsegment on its owner's chain. So nothing is ever written into a freed block, a second free finds the state
 * changed, and the owner collects what came back when it runs out of free blocks.
 */
#include "heap/front.h"

#define HEAP_SLOT_UNITS                                                                                      \
    ((sizeof(HEAP_SLOT) + HEAP_ALL_READY * sizeof(HEAP_READY) + HEAP_UNIT - 1) / HEAP_UNIT)

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

    ULONG Offset = (ULONG)sizeof(*Slot);

    for (ULONG Bucket = 0; Bucket < HEAP_BUCKETS; Bucket += 1)
    {
        PHEAP_ACTIVE Active = &Slot->Active[Bucket];

        Active->Ready = Active->ReadyFirst = (USHORT)Offset;
        Active->ReadyKept = (USHORT)(Offset + RtlpKeptReady(Bucket) * sizeof(HEAP_READY));
        Offset += RtlpMostReady(Bucket) * (ULONG)sizeof(HEAP_READY);
        Active->ReadyFull = (USHORT)Offset;
    }

    for (ULONG Place = HEAP_BUCKETS; Place < HEAP_ALL_BUCKETS; Place += 1)
    {
        PHEAP_ACTIVE Active = &Slot->Active[Place];

        Active->Ready = Active->ReadyFirst = Active->ReadyKept = (USHORT)Offset;
        Offset += HEAP_MOST_KEPT * (ULONG)sizeof(HEAP_READY);
        Active->ReadyFull = (USHORT)Offset;
    }

    Slot->Heap = Heap;
    Slot->Random = RtlpGroundEntropy() | 1;
    Slot->State = HeapSlotOwned;
}

/* ---- blocks freed by others ---- */

/*
 * Each bucket has a chain of its own, so that collecting what one bucket needs leaves the others' blocks to gather: each
 * subsegment costs the lines of two processors' caches once a collection, however many of its blocks came back.
 */
static VOID RtlpSend(PHEAP_SLOT Receiver, ULONG Bucket, PHEAP_REMOTE Remote)
{
    const ULONG Number = (ULONG)((SIZE_T)((PUCHAR)Remote - RtlpArena.Metadata) >> HEAP_UNIT_SHIFT);
    PULONG Chain = &Receiver->Incoming[Bucket];
    ULONG Head = HEAP_LOAD(Chain);

    do
    {
        HEAP_STORE(&Remote->Next, Head);
    } while (!__atomic_compare_exchange_n(Chain, &Head, Number, FALSE, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));

    /* After the chain has it, as the receiver clears it before it looks at the chains. */
    if (__atomic_load_n(&Receiver->Reported, __ATOMIC_SEQ_CST) == 0)
    {
        __atomic_store_n(&Receiver->Reported, 1, __ATOMIC_SEQ_CST);
    }
}

BOOLEAN RtlpFreeRemote(PHEAP_DESCRIPTOR Subsegment, const VOID *Block)
{
    const ULONG64 Product = (SIZE_T)((const UCHAR *)Block - Subsegment->Base) * Subsegment->Reciprocal;
    const ULONG Index = (ULONG)(Product >> 32);

    /* What is read here may be of different times if the block is not in use, so the index is looked at. */
    if ((ULONG)Product >= Subsegment->Reciprocal || Index >= HEAP_LOAD(&Subsegment->Exposed))
    {
        return FALSE;
    }

    PHEAP_REMOTE Remote = RtlpRemote(Subsegment);
    PHEAP_SLOT Receiver = RtlpOwner(Subsegment);
    const ULONG Bucket = Subsegment->Bucket;
    UCHAR Busy = HEAP_STATE_BUSY;

    /*
     * From here on the block is free, and the subsegment may be anything at any moment; Remote and Receiver stay what they
     * are. The state comes before the look at Pending, as the owner clears Pending before it looks at the states.
     */
    RTLP_RELEASING(Remote);
    if (!__atomic_compare_exchange_n(&RtlpStates(Subsegment)[Index], &Busy, HEAP_STATE_SENT, FALSE,
                                     __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
    {
        return FALSE;
    }

    if (__atomic_load_n(&Remote->Pending, __ATOMIC_SEQ_CST) == 0 &&
        __atomic_exchange_n(&Remote->Pending, 1, __ATOMIC_SEQ_CST) == 0)
    {
        RtlpSend(Receiver, Bucket, Remote);
    }

    return TRUE;
}

static VOID RtlpCollect(PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Subsegment, PHEAP_REMOTE Remote)
{
    PUCHAR States = RtlpStates(Subsegment);
    ULONG Found = 0;

    for (ULONG First = 0; First < Subsegment->Exposed; First += 8)
    {
        const ULONG64 Eight = __atomic_load_n((PULONG64)(PVOID)&States[First], __ATOMIC_SEQ_CST);

        for (ULONG64 Sent = Eight & HEAP_STATE_SENT * 0x0101010101010101ull; Sent != 0; Sent &= Sent - 1)
        {
            PUCHAR State = &States[First + (ULONG)__builtin_ctzll(Sent) / 8];

            /* What the sender did with the block was before. */
            (VOID) __atomic_load_n(State, __ATOMIC_ACQUIRE);
            HEAP_STORE(State, HEAP_STATE_FREE);
            Found += 1;
        }
    }

    RTLP_ACQUIRED(Remote);
    if (Found == 0)
    {
        return;
    }

    Subsegment->Used -= (USHORT)Found;
    if (Subsegment->State == HeapSubsegmentFull)
    {
        RtlpSubsegmentUnfull(Slot, Subsegment);
    }

    if (Subsegment->Used == 0)
    {
        RtlpSubsegmentEmpty(Slot, Subsegment);
    }
}

VOID RtlpReceiveBucket(PHEAP_SLOT Slot, ULONG Bucket)
{
    ULONG Number = HEAP_LOAD(&Slot->Incoming[Bucket]);

    if (Number == 0)
    {
        return;
    }

    Number = __atomic_exchange_n(&Slot->Incoming[Bucket], 0, __ATOMIC_SEQ_CST);

    while (Number != 0)
    {
        PHEAP_REMOTE Remote = (PHEAP_REMOTE)(PVOID)HEAP_DESCRIPTOR_AT(Number + 1) - 1; /* at its unit's end */
        PHEAP_DESCRIPTOR Subsegment = HEAP_DESCRIPTOR_AT(HEAP_LOAD(&Remote->Descriptor));
        PHEAP_SLOT Owner = RtlpOwner(Subsegment);

        Number = HEAP_LOAD(&Remote->Next);
        if (Owner != Slot && Owner != HEAP_NO_OWNER)
        {
            RtlpSend(Owner, Bucket, Remote); /* the subsegment went to another slot */
            continue;
        }

        (VOID) __atomic_exchange_n(&Remote->Pending, 0, __ATOMIC_SEQ_CST);
        if (Owner == Slot)
        {
            RtlpCollect(Slot, Subsegment, Remote);
            continue;
        }

        /* A late report about a subsegment that is gone. If its structure was made a new one just now, that one's first
         * report may have met ours: report again. */
        Owner = RtlpOwner(Subsegment);
        if (Owner != HEAP_NO_OWNER && __atomic_exchange_n(&Remote->Pending, 1, __ATOMIC_SEQ_CST) == 0)
        {
            RtlpSend(Owner, Bucket, Remote);
        }
    }
}

VOID RtlpReceive(PHEAP_SLOT Slot)
{
    if (HEAP_LOAD(&Slot->Reported) == 0)
    {
        return;
    }

    (VOID) __atomic_exchange_n(&Slot->Reported, 0, __ATOMIC_SEQ_CST);
    for (ULONG Bucket = 0; Bucket < HEAP_BUCKETS; Bucket += 1)
    {
        RtlpReceiveBucket(Slot, Bucket);
    }
}
