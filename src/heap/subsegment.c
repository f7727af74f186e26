/* SPDX-License-Identifier: MIT */
/*
 * Subsegments: spans cut into blocks of one size, with a map in the metadata that says in which state each block is.
 *
 * A bucket claims one word of a subsegment's map at a time, 64 blocks: all of them that are free are counted as used at
 * once, so that handing one out changes nothing but its bit and its state. When they are used up, another word of the same subsegment comes
 * next, then a partial subsegment (its pages are there already), what other threads sent back, blocks that were never exposed (a
 * page at a time, so that a large subsegment costs no more memory than is used), one of an idle slot, free blocks of a slightly
 * larger bucket, and only then a new one. The last few ready blocks stay, if others can be had: a freed block changes
 * places with one of them. An empty subsegment that is not active goes back to the back end; each bucket
 * keeps one, so that a program around the border does not pay for every step.
 * Of a word, the blocks from a random number of the subsegment on come first, so which block that is cannot be foreseen;
 * the others, its Rest, come next. Blocks that come one after the other still lie side by side:
 * a program that walks through its data as it made it (measured with Lua) is slower by a fifth otherwise.
 */
#include "heap/front.h"
#include "heap/span.h"

/* Pages that come together instead of with one fault each, for short blocks; in large heaps, where that is little memory. */
#define HEAP_TOGETHER_SIZE 1024
#define HEAP_TOGETHER_FROM 4096 /* pages of the heap: four at a time, eight if it has four times as many */

#define HEAP_SPARE_PAGES 64 /* most pages of spare subsegments in a slot */

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

/* So many more blocks exist. */
static VOID RtlpExpose(PHEAP_DESCRIPTOR Subsegment, ULONG Count)
{
    const ULONG End = Subsegment->Exposed + Count;

    HEAP_STORE(&Subsegment->Exposed, End < Subsegment->Capacity ? End : Subsegment->Capacity);
}

static PHEAP_DESCRIPTOR RtlpCreateSubsegment(PHEAP_SLOT Slot, ULONG Bucket)
{
    PHEAP Heap = Slot->Heap;
    const ULONG Size = RtlpBucketSize(Bucket);
    const ULONG Pages = RtlpBucketPages(Bucket);
    const ULONG Capacity = (ULONG)(Pages * HEAP_PAGE) / Size;
    const ULONG Units = RtlpSubsegmentUnits(Capacity);
    BOOLEAN Zeroed = FALSE;

#if !defined(NTHEAP_GROUND_NT)
    if (HEAP_UNLIKELY(!Slot->Watched))
    {
        RtlpWatchFirstThread(Slot);
    }
#endif
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
        Subsegment->BlockSize = (USHORT)Size;
        Subsegment->Claimed = HEAP_NO_WORD;
        Subsegment->Taker = (UCHAR)Bucket;
        Subsegment->Reciprocal = (ULONG)(((1ull << 32) + Size - 1) / Size);
        Subsegment->Capacity = (USHORT)Capacity;
        Subsegment->Turn = (UCHAR)(RtlpRandom(Slot) & 63);
        /* The others are free since the last subsegment that was described here. */
        __builtin_memset(Subsegment->FirstStates, HEAP_STATE_FREE, sizeof(Subsegment->FirstStates));
        RtlpRemote(Subsegment)->Descriptor = RtlpDescriptorNumber(Subsegment);
        __atomic_store_n(&Subsegment->Owner, Slot, __ATOMIC_SEQ_CST);
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

    Slot->Together = Heap->Counters.InUsePages < HEAP_TOGETHER_FROM       ? 1
                     : Heap->Counters.InUsePages < 4 * HEAP_TOGETHER_FROM ? 4
                                                                          : 8;
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

/* Gives an empty subsegment that is on no list back. It stays, as the bucket's spare or partial, if that fails. */
static VOID RtlpReleaseSubsegment(PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Subsegment)
{
    PHEAP Heap = Slot->Heap;
    PHEAP_BUCKET Bucket = &Slot->Buckets[Subsegment->Bucket];

    RtlpAcquireLock(&Heap->BackLock);

    PHEAP_DESCRIPTOR Span = RtlpAllocateDescriptor(Heap, 1);

    if (Span != NULL)
    {
        Bucket->Subsegments -= 1;
        Span->Base = Subsegment->Base;
        Span->Pages = Subsegment->Pages;
        Span->Pool = HeapPoolSmall;
        RtlpSetPageMap(Subsegment->Base, Subsegment->Pages, 0);
        RtlpFreeDescriptor(Heap, Subsegment, RtlpSubsegmentUnits(Subsegment->Capacity));
        RtlpFreeSpan(Heap, Span);
        Heap->Counters.Subsegments -= 1;
    }

    RtlpReleaseLock(&Heap->BackLock);
    if (Span == NULL)
    {
        RtlpAppendPartial(Bucket, Subsegment);
    }
}

/* An empty subsegment that is on no list: kept as its bucket's spare, or given back. */
static VOID RtlpRetire(PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Subsegment)
{
    PHEAP_BUCKET Bucket = &Slot->Buckets[Subsegment->Bucket];

    if (Bucket->Spare == 0 && Slot->SparePages + Subsegment->Pages <= HEAP_SPARE_PAGES)
    {
        Subsegment->State = HeapSubsegmentSpare;
        Bucket->Spare = RtlpDescriptorNumber(Subsegment);
        Slot->SparePages += Subsegment->Pages;
    }
    else
    {
        RtlpReleaseSubsegment(Slot, Subsegment);
    }
}

static PHEAP_DESCRIPTOR RtlpTakeSpare(PHEAP_SLOT Slot, ULONG Bucket)
{
    const ULONG Number = Slot->Buckets[Bucket].Spare;

    if (Number == 0)
    {
        return NULL;
    }

    PHEAP_DESCRIPTOR Subsegment = HEAP_DESCRIPTOR_AT(Number);

    Slot->Buckets[Bucket].Spare = 0;
    Slot->SparePages -= Subsegment->Pages;

    return Subsegment;
}

VOID RtlpSubsegmentEmpty(PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Subsegment)
{
    if (Subsegment->State == HeapSubsegmentPartial)
    {
        RtlpRemovePartial(&Slot->Buckets[Subsegment->Bucket], Subsegment);
        RtlpRetire(Slot, Subsegment);
    }
}

VOID RtlpSubsegmentUnfull(PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Subsegment)
{
    Subsegment->Used &= (USHORT)~HEAP_USED_FULL;
    if (Subsegment->Kind == HeapKindPages)
    {
        RtlpFreeOutgrown(Slot->Heap, Subsegment);
        return;
    }

    RtlpAppendPartial(&Slot->Buckets[Subsegment->Bucket], Subsegment);
}

VOID RtlpSubsegmentChanged(PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Subsegment)
{
    if (Subsegment->State == HeapSubsegmentFull)
    {
        RtlpSubsegmentUnfull(Slot, Subsegment);
    }
    else
    {
        RtlpSubsegmentEmpty(Slot, Subsegment);
    }
}

/* ---- the active subsegment ---- */

/* Lets go of the bucket's word and subsegment. */
static VOID RtlpDeactivate(PHEAP_SLOT Slot, ULONG Bucket)
{
    PHEAP_ACTIVE Active = &Slot->Active[Bucket];
    PHEAP_DESCRIPTOR Subsegment = RtlpActiveSubsegment(Slot, Bucket);

    if (Subsegment->Bucket != Bucket)
    {
        RtlpFlushReady(Slot, Bucket); /* freed blocks of it are ready for its own bucket from now on */
    }

    Subsegment->Used -= (USHORT)(RtlpCountBits(Active->Bits) + RtlpCountBits(Subsegment->Rest));
    Active->Bits = 0;
    Slot->Buckets[Bucket].Active = 0;
    Subsegment->Taker = Subsegment->Bucket;
    if (Subsegment->Used == Subsegment->Capacity)
    {
        Subsegment->State = HeapSubsegmentFull;
        Subsegment->Used |= HEAP_USED_FULL;
    }
    else if (Subsegment->Used == 0)
    {
        RtlpRetire(Slot, Subsegment);
    }
    else
    {
        RtlpAppendPartial(&Slot->Buckets[Subsegment->Bucket], Subsegment);
    }
}

/* The free ones of the blocks of that word that exist by now. */
static ULONG64 RtlpFreeInWord(const HEAP_DESCRIPTOR *Subsegment, ULONG Word)
{
    const ULONG Exposed = Subsegment->Exposed - Word * 64;

    return RtlpZeroBytes(RtlpStates(Subsegment) + (SIZE_T)Word * 64) &
           (Exposed >= 64 ? ~0ull : (1ull << Exposed) - 1);
}

/*
 * Claims a word of the active subsegment that has a free block, the one after the word claimed last first: the longer a word
 * waited, the more of its blocks came back meanwhile, and the fewer words are claimed. No bit is left of the last, and no more
 * blocks are ready than are kept.
 */
static BOOLEAN RtlpNextWord(PHEAP_SLOT Slot, ULONG Bucket)
{
    PHEAP_ACTIVE Active = &Slot->Active[Bucket];
    PHEAP_DESCRIPTOR Subsegment = RtlpActiveSubsegment(Slot, Bucket);
    const ULONG Words = RtlpMapWords(Subsegment->Exposed);
    ULONG Word = Subsegment->Claimed;
    ULONG64 Bits;

    if (Subsegment->Rest != 0)
    {
        Active->Bits = Subsegment->Rest;
        Subsegment->Rest = 0;
        return TRUE;
    }

    if (Subsegment->Used == Subsegment->Exposed)
    {
        return FALSE;
    }

    /* Blocks are free, so the search ends. */
    do
    {
        Word = Word + 1 < Words ? Word + 1 : 0;
        Bits = RtlpFreeInWord(Subsegment, Word);
    } while (Bits == 0);

    Subsegment->Used += (USHORT)RtlpCountBits(Bits);
    Subsegment->Claimed = (UCHAR)Word;

    const ULONG64 Later = Bits >> Subsegment->Turn << Subsegment->Turn;

    Active->Bits = Later != 0 ? Later : Bits;
    Subsegment->Rest = Bits ^ Active->Bits;
    Active->Word =
        (LONG)((PULONG64)(PVOID)(RtlpStates(Subsegment) + (SIZE_T)Word * 64) - (PULONG64)(PVOID)Slot);
    Active->WordBase = Subsegment->Base + (SIZE_T)Word * 64 * Subsegment->BlockSize;

    return TRUE;
}

static BOOLEAN RtlpExposePage(PHEAP_SLOT Slot, ULONG Bucket)
{
    PHEAP_DESCRIPTOR Subsegment = RtlpActiveSubsegment(Slot, Bucket);

    if (Subsegment->Exposed == Subsegment->Capacity)
    {
        return FALSE;
    }

    /* Up to the end of the page that the next block begins in; in a large heap, a few more pages, which come together. */
    const ULONG Size = Subsegment->BlockSize;
    const SIZE_T Begin = (SIZE_T)Subsegment->Exposed * Size;
    const ULONG Pages = Size <= HEAP_TOGETHER_SIZE && Slot->Together > 1 ? Slot->Together : 1;
    SIZE_T Limit = (Begin / HEAP_PAGE + Pages) * HEAP_PAGE;

    if (Limit > Subsegment->Pages * HEAP_PAGE)
    {
        Limit = Subsegment->Pages * HEAP_PAGE;
    }

    const SIZE_T Untouched = (Begin + HEAP_PAGE - 1) & ~(HEAP_PAGE - 1);

    if (Limit > Untouched + HEAP_PAGE)
    {
        RtlpGroundTouch(Subsegment->Base + Untouched, Limit - Untouched);
    }

    const ULONG End = (ULONG)(Limit / Size);

    RtlpExpose(Subsegment, End > Subsegment->Exposed ? End - Subsegment->Exposed : 1);

    return RtlpNextWord(Slot, Bucket);
}

/* Makes a subsegment that is on no list the active one of a bucket that has none. FALSE if it is full after all. */
static BOOLEAN RtlpActivate(PHEAP_SLOT Slot, ULONG Bucket, PHEAP_DESCRIPTOR Subsegment)
{
    PHEAP_ACTIVE Active = &Slot->Active[Bucket];

    Subsegment->State = HeapSubsegmentActive;
    Subsegment->Taker = (UCHAR)Bucket;
    Slot->Buckets[Bucket].Active = RtlpDescriptorNumber(Subsegment);
    Active->BlockSize = Subsegment->BlockSize;
    Subsegment->Rest = 0;
    if (RtlpNextWord(Slot, Bucket) || RtlpExposePage(Slot, Bucket))
    {
        return TRUE;
    }

    RtlpDeactivate(Slot, Bucket);

    return FALSE;
}

VOID RtlpFlushReady(PHEAP_SLOT Slot, ULONG Bucket)
{
    PHEAP_ACTIVE Active = &Slot->Active[Bucket];

    while (RtlpIsReady(Active))
    {
        Active->Ready -= (USHORT)sizeof(HEAP_READY);

        const HEAP_READY *Ready = RtlpReadyAt(Slot, Active->Ready);

        HEAP_STORE(Ready->State, HEAP_STATE_FREE);
        RtlpCountFreed(Slot, RtlpLookup(Ready->Block));
    }
}

/* The first partial subsegment of From that has a block becomes Bucket's active one. */
static BOOLEAN RtlpTakePartial(PHEAP_SLOT Slot, ULONG Bucket, ULONG From)
{
    PHEAP_BUCKET List = &Slot->Buckets[From];

    while (List->First != 0)
    {
        PHEAP_DESCRIPTOR Subsegment = HEAP_DESCRIPTOR_AT(List->First);

        RtlpRemovePartial(List, Subsegment);
        if (RtlpActivate(Slot, Bucket, Subsegment))
        {
            return TRUE;
        }
    }

    return FALSE;
}

/* There is a block in the claimed word, or a ready one that is not to be kept. */
static PVOID RtlpTakeAny(PHEAP_SLOT Slot, ULONG Bucket)
{
    PHEAP_ACTIVE Active = &Slot->Active[Bucket];

    return Active->Ready > Active->ReadyKept ? RtlpTakeReady(Slot, Active, Active->Ready)
                                             : RtlpTakeClaimed(Slot, Active, Active->Bits);
}

/*
 * Blocks that are larger by an eighth at most, by a quarter where blocks are long, of subsegments that are there. More would
 * save more of a large heap's memory now and cost it later, when blocks of the larger size are wanted (measured).
 */
static BOOLEAN RtlpBorrow(PHEAP_SLOT Slot, ULONG Bucket)
{
    const ULONG Size = RtlpBucketSize(Bucket);
    const ULONG Largest = Size + Size / (Size <= 512 ? 8 : 4);

    for (ULONG From = Bucket + 1; From < HEAP_BUCKETS && RtlpBucketSize(From) <= Largest; From += 1)
    {
        const HEAP_ACTIVE *Lender = &Slot->Active[From];

        if (Slot->Buckets[From].First != 0 ||
            Lender->Ready - Lender->ReadyFirst > (Lender->ReadyFull - Lender->ReadyFirst) / 2)
        {
            RtlpFlushReady(Slot, From); /* one of its subsegments gets another taker */
            if (RtlpTakePartial(Slot, Bucket, From))
            {
                return TRUE;
            }
        }
    }

    return FALSE;
}

/* The first partial subsegment with a free block in its map; NULL: none has more than pages to expose. */
static PHEAP_DESCRIPTOR RtlpFindPartial(PHEAP_SLOT Slot, ULONG Bucket)
{
    for (ULONG Number = Slot->Buckets[Bucket].First; Number != 0;)
    {
        PHEAP_DESCRIPTOR Subsegment = HEAP_DESCRIPTOR_AT(Number);

        if (Subsegment->Used < Subsegment->Exposed)
        {
            return Subsegment;
        }

        Number = Subsegment->Next;
    }

    return NULL;
}

/* A word with a free block that the slot knows of. FALSE if there is none; what was active is so still. */
static BOOLEAN RtlpFindWord(PHEAP_SLOT Slot, ULONG Bucket)
{
    if (Slot->Buckets[Bucket].Active != 0)
    {
        if (RtlpNextWord(Slot, Bucket))
        {
            return TRUE;
        }

        if (RtlpFindPartial(Slot, Bucket) == NULL)
        {
            return FALSE;
        }

        RtlpDeactivate(Slot, Bucket); /* which may free the one found */
    }

    PHEAP_DESCRIPTOR Subsegment = RtlpFindPartial(Slot, Bucket);

    if (Subsegment == NULL)
    {
        return FALSE;
    }

    RtlpRemovePartial(&Slot->Buckets[Bucket], Subsegment);

    return RtlpActivate(Slot, Bucket, Subsegment);
}

/* The same from all that is there: what others sent back, pages that are new, other slots' and other buckets' blocks. */
static BOOLEAN RtlpFindMore(PHEAP_SLOT Slot, ULONG Bucket, BOOLEAN Exact)
{
    /*
     * Not earlier: each look takes the senders' cache lines, and the longer it waits, the more blocks come with each line. Not
     * later: blocks that were used come before pages that were not.
     */
    RtlpReceiveBucket(Slot, Bucket);
    if (RtlpFindWord(Slot, Bucket))
    {
        return TRUE;
    }

    if (Slot->Buckets[Bucket].Active != 0)
    {
        if (Slot->Buckets[Bucket].First == 0 && RtlpExposePage(Slot, Bucket))
        {
            return TRUE;
        }

        RtlpDeactivate(Slot, Bucket);
    }

    if (RtlpTakePartial(Slot, Bucket, Bucket))
    {
        return TRUE;
    }

    PHEAP_DESCRIPTOR Subsegment = RtlpTakeSpare(Slot, Bucket);

    if (Subsegment != NULL)
    {
        return RtlpActivate(Slot, Bucket, Subsegment);
    }

    return (RtlpStealPartial(Slot, Bucket) && RtlpTakePartial(Slot, Bucket, Bucket)) ||
           (!Exact && RtlpBorrow(Slot, Bucket));
}

/* A block of a bucket whose claimed word is used up. NULL if there is no memory. Exact: of subsegments of that bucket only. */
static DECLSPEC_NOINLINE PVOID RtlpRefill(PHEAP_SLOT Slot, ULONG Bucket, BOOLEAN Exact)
{
    PHEAP_ACTIVE Active = &Slot->Active[Bucket];

    if (RtlpFindWord(Slot, Bucket) || RtlpFindMore(Slot, Bucket, Exact))
    {
        return RtlpTakeAny(Slot, Bucket);
    }

    /* What came back of other buckets may leave pages to use, or blocks to borrow. */
    if (HEAP_LOAD(&Slot->Reported) != 0)
    {
        RtlpReceive(Slot);
        if (RtlpFindMore(Slot, Bucket, Exact))
        {
            return RtlpTakeAny(Slot, Bucket);
        }
    }

    PHEAP_DESCRIPTOR Subsegment = RtlpCreateSubsegment(Slot, Bucket);

    if (Subsegment != NULL && RtlpActivate(Slot, Bucket, Subsegment))
    {
        return RtlpTakeAny(Slot, Bucket);
    }

    return RtlpIsReady(Active) ? RtlpTakeReady(Slot, Active, Active->Ready) : NULL; /* the last ones, too */
}

PVOID RtlpAllocateSlow(PHEAP_SLOT Slot, ULONG Bucket, SIZE_T Size)
{
    /* The common case: another word of the same subsegment. */
    if (HEAP_LIKELY(Slot->Buckets[Bucket].Active != 0 && RtlpNextWord(Slot, Bucket)))
    {
        return RtlpTakeClaimed(Slot, &Slot->Active[Bucket], Slot->Active[Bucket].Bits);
    }

    if (Slot == &RtlpEmptySlot)
    {
        Slot = RtlpAttachThread();
        if (Slot == NULL)
        {
            return NULL;
        }

        if (Slot == &RtlpEmptySlot)
        {
            return RtlpPageHeap ? RtlpAllocateGuarded(Slot->Heap, Size, 16)
                                : RtlpAllocateVariable(Slot->Heap, Size);
        }
    }

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

    return RtlpRefill(Slot, Bucket, FALSE);
}

PVOID RtlpAllocateExact(PHEAP_SLOT Slot, ULONG Bucket)
{
    if (Slot->Buckets[Bucket].Active != 0 && RtlpActiveSubsegment(Slot, Bucket)->Bucket != Bucket)
    {
        RtlpDeactivate(Slot, Bucket);
    }

    const HEAP_ACTIVE *Active = &Slot->Active[Bucket];

    return Active->Ready > Active->ReadyKept || Active->Bits != 0 ? RtlpTakeAny(Slot, Bucket)
                                                                  : RtlpRefill(Slot, Bucket, TRUE);
}

/* No block of the bucket's active subsegment is in use. */
static BOOLEAN RtlpIsUnused(const HEAP_SLOT *Slot, ULONG Bucket)
{
    const HEAP_DESCRIPTOR *Subsegment = RtlpActiveSubsegment(Slot, Bucket);

    return Subsegment->Used == RtlpCountBits(Slot->Active[Bucket].Bits) + RtlpCountBits(Subsegment->Rest);
}

/* Lets go of the buckets' subsegments (Empty: of those without a block in use) and gives all that are empty back. */
static VOID RtlpReleaseEmpty(PHEAP_SLOT Slot, BOOLEAN Empty)
{
    for (ULONG Bucket = 0; Bucket < HEAP_BUCKETS; Bucket += 1)
    {
        RtlpFlushReady(Slot, Bucket);
    }

    for (ULONG Bucket = 0; Bucket < HEAP_BUCKETS; Bucket += 1)
    {
        if (Slot->Buckets[Bucket].Active != 0 && (!Empty || RtlpIsUnused(Slot, Bucket)))
        {
            RtlpDeactivate(Slot, Bucket);
        }
    }

    /* Afterwards, because a borrowed subsegment retires to a bucket of its own. */
    for (ULONG Bucket = 0; Bucket < HEAP_BUCKETS; Bucket += 1)
    {
        PHEAP_DESCRIPTOR Subsegment = RtlpTakeSpare(Slot, Bucket);

        if (Subsegment != NULL)
        {
            RtlpReleaseSubsegment(Slot, Subsegment);
        }
    }
}

VOID RtlpTrimSlot(PHEAP_SLOT Slot)
{
    RtlpReleaseEmpty(Slot, FALSE);
}

VOID RtlpOfferEmpty(PHEAP_SLOT Slot, ULONG Pages)
{
    PHEAP Heap = Slot->Heap;

    if (Slot == &RtlpEmptySlot)
    {
        return;
    }

    RtlpAcquireLock(&Heap->BackLock);

    const BOOLEAN Fits = RtlpFindBest(&Heap->Pools[HeapPoolSmall].Dirty, Pages) != NULL;

    RtlpReleaseLock(&Heap->BackLock);
    if (!Fits)
    {
        RtlpReleaseEmpty(Slot, TRUE);
    }
}
