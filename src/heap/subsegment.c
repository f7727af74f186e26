/* SPDX-License-Identifier: MIT */
/*
 * Subsegments: spans cut into blocks of one size, with a map in the metadata that says which blocks are free.
 *
 * A bucket takes from its active subsegment, word by word of the map. When that has nothing left, a partial one comes
 * first (its pages are there already), then blocks of the active one that were never exposed (a page at a time, so that
 * a large subsegment costs no more memory than is used), then what other threads sent back, then one of an idle slot, and
 * only then a new one. An empty subsegment that is not the active one goes back to the back end at once.
 * The place of a block in the map is its index exclusive-or a random number of its subsegment, so taking the lowest free
 * place hands out blocks in an order that cannot be foreseen, at the cost of one instruction.
 */
#include "heap/front.h"

#define HEAP_ACTIVATION 16 /* blocks of a bucket that come from chunks before it gets subsegments */

static ULONG64 RtlpNothing; /* the map word of a bucket without an active subsegment: no block is free */

static ULONG64 RtlpRandom(PHEAP_SLOT Slot)
{
    ULONG64 Value = Slot->Random;

    Value ^= Value << 13;
    Value ^= Value >> 7;
    Value ^= Value << 17;
    Slot->Random = Value;

    return (Value * 0x9e3779b97f4a7c15ull) >> 32;
}

/* ---- the list of a bucket's partial subsegments ---- */

VOID RtlpAppendPartial(PHEAP_BUCKET Bucket, PHEAP_DESCRIPTOR Subsegment)
{
    const ULONG Number = RtlpDescriptorNumber(Subsegment);

    Subsegment->State = HeapSubsegmentPartial;
    Subsegment->Next = 0;
    Subsegment->Previous = Bucket->Last;
    if (Bucket->Last != 0)
    {
        HEAP_DESCRIPTOR_AT(Bucket->Last)->Next = Number;
    }
    else
    {
        Bucket->First = Number;
    }

    Bucket->Last = Number;
}

VOID RtlpRemovePartial(PHEAP_BUCKET Bucket, PHEAP_DESCRIPTOR Subsegment)
{
    if (Subsegment->Previous != 0)
    {
        HEAP_DESCRIPTOR_AT(Subsegment->Previous)->Next = Subsegment->Next;
    }
    else
    {
        Bucket->First = Subsegment->Next;
    }

    if (Subsegment->Next != 0)
    {
        HEAP_DESCRIPTOR_AT(Subsegment->Next)->Previous = Subsegment->Previous;
    }
    else
    {
        Bucket->Last = Subsegment->Previous;
    }
}

/* ---- create, expose, release ---- */

ULONG RtlpMapUnits(ULONG Capacity)
{
    const SIZE_T Bytes = offsetof(HEAP_DESCRIPTOR, FirstWords) + (Capacity + 63) / 64 * sizeof(ULONG64);

    return (ULONG)((Bytes + HEAP_UNIT - 1) >> HEAP_UNIT_SHIFT);
}

/* Puts Count more blocks into the map. */
static VOID RtlpExpose(PHEAP_DESCRIPTOR Subsegment, ULONG Count)
{
    ULONG Index = Subsegment->Exposed;
    ULONG End = Index + Count;

    if (End > Subsegment->Capacity)
    {
        End = Subsegment->Capacity;
    }

    while (Index < End)
    {
        const ULONG Word = Index / 64;
        ULONG64 Bits = 0;

        if (Index % 64 == 0 && End - Index >= 64)
        {
            Bits = ~0ull;
            Index += 64;
        }
        else
        {
            do
            {
                Bits |= 1ull << ((Index ^ Subsegment->Scramble) & 63);
                Index += 1;
            } while (Index < End && Index % 64 != 0);
        }

        HEAP_STORE(&RtlpMap(Subsegment)[Word], RtlpMap(Subsegment)[Word] | Bits);
    }

    HEAP_STORE(&Subsegment->Exposed, (USHORT)End);
}

static PHEAP_DESCRIPTOR RtlpCreateSubsegment(PHEAP_SLOT Slot, ULONG Bucket)
{
    PHEAP Heap = Slot->Heap;
    const ULONG Size = RtlpBucketSize(Bucket);
    const ULONG Pages = RtlpBucketPages(Bucket);
    const ULONG Capacity = (ULONG)(Pages * HEAP_PAGE) / Size;
    const ULONG Units = RtlpMapUnits(Capacity);
    BOOLEAN Zeroed = FALSE;

    RtlpAcquireLock(&Heap->BackLock);

    PHEAP_DESCRIPTOR Subsegment = RtlpAllocateDescriptor(Heap, Units);
    PHEAP_DESCRIPTOR Span =
        Subsegment != NULL ? RtlpAllocateSpan(Heap, Pages, HEAP_PAGE, HeapKindSubsegment) : NULL;

    if (Span != NULL)
    {
        Zeroed = Span->Zeroed;
        Subsegment->Base = Span->Base;
        Subsegment->Pages = Pages;
        Subsegment->Kind = HeapKindSubsegment;
        Subsegment->Bucket = (UCHAR)Bucket;
        Subsegment->BlockSize = Size;
        Subsegment->Reciprocal = (ULONG)(((1ull << 32) + Size - 1) / Size);
        Subsegment->Capacity = (USHORT)Capacity;
        Subsegment->Scramble = (UCHAR)(RtlpRandom(Slot) & 63);
        __builtin_memset(RtlpMap(Subsegment), 0, (Capacity + 63) / 64 * sizeof(ULONG64));
        HEAP_STORE(&Subsegment->Owner, Slot);
        RtlpSetPageMap(Span->Base, Pages, RtlpDescriptorNumber(Subsegment));
        RtlpFreeDescriptor(Heap, Span, 1);
        Heap->Counters.Subsegments += 1;
        Heap->Counters.SubsegmentsMade += 1;
    }
    else if (Subsegment != NULL)
    {
        RtlpFreeDescriptor(Heap, Subsegment, Units);
        Subsegment = NULL;
    }

    RtlpReleaseLock(&Heap->BackLock);
    if (Subsegment != NULL)
    {
        Slot->Buckets[Bucket].Subsegments += 1;
        if (!Zeroed)
        {
            RtlpExpose(Subsegment, Capacity); /* the pages are there: nothing to save */
        }
    }

    return Subsegment;
}

VOID RtlpReleaseSubsegment(PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Subsegment)
{
    PHEAP Heap = Slot->Heap;
    PHEAP_BUCKET Bucket = &Slot->Buckets[Subsegment->Bucket];

    RtlpAcquireLock(&Heap->BackLock);

    PHEAP_DESCRIPTOR Span = RtlpAllocateDescriptor(Heap, 1);

    if (Span != NULL)
    {
        RtlpRemovePartial(Bucket, Subsegment);
        Bucket->Subsegments -= 1;
        Span->Base = Subsegment->Base;
        Span->Pages = Subsegment->Pages;
        Span->Pool = HeapPoolSmall;
        RtlpSetPageMap(Subsegment->Base, Subsegment->Pages, 0);
        RtlpFreeDescriptor(Heap, Subsegment, RtlpMapUnits(Subsegment->Capacity));
        RtlpFreeSpan(Heap, Span);
        Heap->Counters.Subsegments -= 1;
    }

    /* Without a descriptor for the span the empty subsegment stays on its bucket's list, and is used from there. */
    RtlpReleaseLock(&Heap->BackLock);
}

static VOID RtlpActivateWord(PHEAP_ACTIVE Active, PHEAP_DESCRIPTOR Subsegment, ULONG Word)
{
    Active->Word = &RtlpMap(Subsegment)[Word];
    Active->WordBase = Subsegment->Base + (SIZE_T)Word * 64 * Subsegment->BlockSize;
}

static VOID RtlpActivate(PHEAP_ACTIVE Active, PHEAP_DESCRIPTOR Subsegment)
{
    Subsegment->State = HeapSubsegmentActive;
    Active->Subsegment = Subsegment;
    Active->BlockSize = Subsegment->BlockSize;
    Active->Scramble = Subsegment->Scramble;
}

VOID RtlpFreeTransition(PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Subsegment, ULONG Word)
{
    PHEAP_ACTIVE Active = &Slot->Active[Subsegment->Bucket];

    if (Subsegment->State == HeapSubsegmentActive)
    {
        if (*Active->Word == 0)
        {
            RtlpActivateWord(Active, Subsegment, Word);
        }
    }
    else if (Subsegment->State == HeapSubsegmentFull)
    {
        PHEAP_DESCRIPTOR Old = Active->Subsegment;

        if (Old == NULL || Old->Used == Old->Capacity)
        {
            /* Nothing is left in the active one: the block just freed is the next to be used, and is in the cache. */
            if (Old != NULL)
            {
                Old->State = HeapSubsegmentFull;
            }

            RtlpActivate(Active, Subsegment);
            RtlpActivateWord(Active, Subsegment, Word);
        }
        else
        {
            RtlpAppendPartial(&Slot->Buckets[Subsegment->Bucket], Subsegment);
        }
    }
    else if (Subsegment->Used == 0)
    {
        RtlpReleaseSubsegment(Slot, Subsegment);
    }
}

/* ---- the active subsegment ---- */

static VOID RtlpDeactivate(PHEAP_SLOT Slot, ULONG Bucket)
{
    PHEAP_ACTIVE Active = &Slot->Active[Bucket];
    PHEAP_DESCRIPTOR Subsegment = Active->Subsegment;

    Active->Word = &RtlpNothing;
    Active->Subsegment = NULL;
    if (Subsegment->Used != Subsegment->Capacity)
    {
        RtlpAppendPartial(&Slot->Buckets[Bucket], Subsegment);
    }
    else
    {
        Subsegment->State = HeapSubsegmentFull;
    }
}

/* Looks for a free block in the active subsegment: the lowest addresses first. */
static BOOLEAN RtlpNextWord(PHEAP_ACTIVE Active)
{
    PHEAP_DESCRIPTOR Subsegment = Active->Subsegment;
    PULONG64 Map = RtlpMap(Subsegment);
    const ULONG Words = (Subsegment->Exposed + 63u) / 64;

    if (Subsegment->Used == Subsegment->Exposed)
    {
        return FALSE;
    }

    for (ULONG Word = 0; Word < Words; Word += 1)
    {
        if (Map[Word] != 0)
        {
            RtlpActivateWord(Active, Subsegment, Word);
            return TRUE;
        }
    }

    return FALSE;
}

static BOOLEAN RtlpExposePage(PHEAP_ACTIVE Active)
{
    PHEAP_DESCRIPTOR Subsegment = Active->Subsegment;

    if (Subsegment->Exposed == Subsegment->Capacity)
    {
        return FALSE;
    }

    /* Up to the end of the page that the last exposed block begins in. */
    const ULONG Size = Subsegment->BlockSize;
    const ULONG End = (ULONG)(((SIZE_T)Subsegment->Exposed * Size / HEAP_PAGE + 1) * HEAP_PAGE / Size);

    RtlpExpose(Subsegment, End > Subsegment->Exposed ? End - Subsegment->Exposed : 1);

    return RtlpNextWord(Active);
}

/* Makes the first partial subsegment that has a block the active one. Nothing else is active. */
static BOOLEAN RtlpTakePartial(PHEAP_SLOT Slot, ULONG Bucket)
{
    PHEAP_BUCKET List = &Slot->Buckets[Bucket];
    PHEAP_ACTIVE Active = &Slot->Active[Bucket];

    while (List->First != 0)
    {
        PHEAP_DESCRIPTOR Subsegment = HEAP_DESCRIPTOR_AT(List->First);

        RtlpRemovePartial(List, Subsegment);
        RtlpActivate(Active, Subsegment);
        if (RtlpNextWord(Active) || RtlpExposePage(Active))
        {
            return TRUE;
        }

        RtlpDeactivate(Slot, Bucket);
    }

    return FALSE;
}

/* Finds the bucket a word of the map with a free block. FALSE if there is no memory. */
static BOOLEAN RtlpRefill(PHEAP_SLOT Slot, ULONG Bucket)
{
    PHEAP_ACTIVE Active = &Slot->Active[Bucket];

    /* First of all, because what comes back may change which subsegment is the active one. */
    if (HEAP_LOAD(&Slot->Incoming) != NULL)
    {
        RtlpReceive(Slot);
    }

    if (Active->Subsegment != NULL)
    {
        if (RtlpNextWord(Active) || (Slot->Buckets[Bucket].First == 0 && RtlpExposePage(Active)))
        {
            return TRUE;
        }

        RtlpDeactivate(Slot, Bucket);
    }

    if (RtlpTakePartial(Slot, Bucket) || (RtlpStealPartial(Slot, Bucket) && RtlpTakePartial(Slot, Bucket)))
    {
        return TRUE;
    }

    PHEAP_DESCRIPTOR Subsegment = RtlpCreateSubsegment(Slot, Bucket);

    if (Subsegment == NULL)
    {
        return FALSE;
    }

    RtlpAppendPartial(&Slot->Buckets[Bucket], Subsegment);

    return RtlpTakePartial(Slot, Bucket);
}

PVOID RtlpAllocateSlow(PHEAP_SLOT Slot, ULONG Bucket, SIZE_T Size)
{
    if (Slot == &RtlpEmptySlot)
    {
        Slot = RtlpAttachThread();
        if (Slot == NULL)
        {
            return NULL;
        }

        if (Slot == &RtlpEmptySlot)
        {
            return RtlpAllocateGuarded(Slot->Heap, Size, 16);
        }
    }

    RtlpFlushParcels(Slot);

    PHEAP_BUCKET List = &Slot->Buckets[Bucket];

    if (List->Subsegments == 0 && List->Uses < HEAP_ACTIVATION)
    {
        PVOID Block = RtlpAllocateVariable(Slot->Heap, Size);

        if (Block != NULL)
        {
            List->Uses += 1;
            return Block;
        }
    }

    PHEAP_ACTIVE Active = &Slot->Active[Bucket];

    if (*Active->Word == 0 && !RtlpRefill(Slot, Bucket))
    {
        return NULL;
    }

    return RtlpTakeBlock(Active, *Active->Word);
}

VOID RtlpTrimSlot(PHEAP_SLOT Slot)
{
    for (ULONG Bucket = 0; Bucket < HEAP_BUCKETS; Bucket += 1)
    {
        PHEAP_DESCRIPTOR Subsegment = Slot->Active[Bucket].Subsegment;

        if (Subsegment != NULL)
        {
            RtlpDeactivate(Slot, Bucket);
            if (Subsegment->Used == 0 && Subsegment->State == HeapSubsegmentPartial)
            {
                RtlpReleaseSubsegment(Slot, Subsegment);
            }
        }
    }
}
