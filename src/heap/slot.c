/* SPDX-License-Identifier: MIT */
/*
 * Affinity slots: each holds the subsegments of one thread, or of one part of a private heap, so that threads on different
 * processors do not meet. Whose slots threads have: threadslot.c.
 *
 * A block freed by another thread is one bit, set atomically in the remote part of its subsegment's map; the first bit
 * puts the subsegment on its owner's chain. So nothing is ever written into a freed block, a second free finds the bit
 * set, and the owner collects up to 64 blocks with one exchange when it runs out of free ones.
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
    const ULONG64 Bit = 1ull << ((Index + Subsegment->Turn) & 63);

    if ((ULONG)Product >= Subsegment->Reciprocal || Index >= HEAP_LOAD(&Subsegment->Exposed))
    {
        return FALSE;
    }

    PHEAP_REMOTE Remote = RtlpRemote(Subsegment);
    PHEAP_SLOT Receiver = RtlpOwner(Subsegment);
    const ULONG Bucket = Subsegment->Bucket;

    if ((HEAP_LOAD(&RtlpMap(Subsegment)[Index >> 6]) & Bit) != 0)
    {
        return FALSE;
    }

    /*
     * From here on the block is free, and the subsegment may be anything at any moment; Remote and Receiver stay what they
     * are. The bit comes before the look at Pending, as the owner clears Pending before it looks at the bits. The line
     * comes from the owner's cache, so it is asked for once, to be changed: no look at the bit before.
     */
    RTLP_RELEASING(Remote);
    if ((__atomic_fetch_or(&Remote->Words[Index >> 6], Bit, __ATOMIC_SEQ_CST) & Bit) != 0)
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

/* Takes the bits that others set in one word, if any. FALSE if one of those blocks was free already. */
static BOOLEAN RtlpCollectBits(PHEAP_DESCRIPTOR Subsegment, PHEAP_REMOTE Remote, ULONG Word)
{
    const ULONG64 Bits = __atomic_exchange_n(&Remote->Words[Word], 0, __ATOMIC_ACQUIRE);

    RTLP_ACQUIRED(Remote);

    PULONG64 Place = &RtlpMap(Subsegment)[Word];
    const ULONG64 Old = *Place;

    HEAP_STORE(Place, Old | Bits);
    Subsegment->Used -= (USHORT)RtlpCountBits(Bits & ~Old);

    return (Old & Bits) == 0;
}

VOID RtlpCollectWord(PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Subsegment, ULONG Word)
{
    if (!RtlpCollectBits(Subsegment, RtlpRemote(Subsegment), Word))
    {
        RtlpReportDamage(HeapDamageDoubleFree, Slot->Heap, Subsegment->Base);
    }
}

static VOID RtlpCollect(PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Subsegment, PHEAP_REMOTE Remote)
{
    const ULONG Words = RtlpMapWords(Subsegment->Capacity);
    const BOOLEAN WasFull = Subsegment->State == HeapSubsegmentFull;
    BOOLEAN Found = FALSE;
    BOOLEAN Sound = TRUE;

    for (ULONG Word = 0; Word < Words; Word += 1)
    {
        if (__atomic_load_n(&Remote->Words[Word], __ATOMIC_SEQ_CST) != 0)
        {
            Sound &= RtlpCollectBits(Subsegment, Remote, Word);
            Found = TRUE;
        }
    }

    if (Found && WasFull)
    {
        RtlpSubsegmentUnfull(Slot, Subsegment);
    }

    if (Found && Subsegment->Used == 0)
    {
        RtlpSubsegmentEmpty(Slot, Subsegment);
    }

    if (!Sound)
    {
        RtlpReportDamage(HeapDamageDoubleFree, Slot->Heap, Subsegment->Base);
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
        PHEAP_REMOTE Remote = (PHEAP_REMOTE)(PVOID)HEAP_DESCRIPTOR_AT(Number);
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
