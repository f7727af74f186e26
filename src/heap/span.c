/* SPDX-License-Identifier: MIT */
/*
 * The back end: spans of whole pages, cut from regions, best fit.
 *
 * Free spans are of two sorts that are never merged with each other. Clean ones were never touched or were given back:
 * they cost no memory, and reading them gives zeroes; where a page does not come by itself when it is touched, they are
 * uncommitted and cost no commitment either. Dirty ones still have their pages: using them again costs no page fault, the
 * dearest thing an allocator can cause. So dirty ones are used first, and each sort keeps a list for every
 * length up to the largest block, which makes the best fit the first list that is not empty. What stays dirty without
 * being used is given back step by step (RtlpDecay).
 *
 * Only the first and the last page of a free span or a medium block are in the page map: that is what merging and free
 * need, and an address in between leads nowhere. HEAP.BackLock is held in every function.
 */
#include "heap/span.h"

#define HEAP_DECAY_PERIOD  100  /* milliseconds */
#define HEAP_DEAR_DECAY    400  /* where pages are dear (RtlpGroundPagesAreDear) */
#define HEAP_PURGE_AT_ONCE 8192 /* pages: a free span of this length does not wait for the decay */
#define HEAP_LARGE_REGION  ((SIZE_T)16 << 20)
#define HEAP_LEAST_PIECE   128   /* pages: what is worth the system calls to move it */
#define HEAP_MOST_PIECES   16384 /* that a heap is cut into by moving */

/* ---- regions ---- */

/* Regions grow with the pool, so that a large heap needs few mappings. */
static SIZE_T RtlpRegionSize(PHEAP Heap, ULONG Pages, HEAP_POOL Pool)
{
    const SIZE_T Need = ((SIZE_T)Pages + 1) * HEAP_PAGE;
    const SIZE_T Share = Heap->Pools[Pool].Reserved / 8;
    SIZE_T Size = Pool == HeapPoolLarge ? HEAP_LARGE_REGION : HEAP_REGION;

    if (Size < Share)
    {
        Size = Share < ((SIZE_T)64 << 20) ? Share : (SIZE_T)64 << 20;
    }

    if (Size < Need)
    {
        Size = Need;
    }

    return (Size + HEAP_REGION - 1) & ~(HEAP_REGION - 1);
}

/* Where a page comes by itself when touched, all pages of a region are opened at once; else span by span. */
static PUCHAR RtlpMapRegion(PHEAP Heap, SIZE_T Size)
{
    PUCHAR Base = RtlpAllocateRegions(Size >> HEAP_REGION_SHIFT);

    if (Base != NULL && RtlpArena.Operations->CommitOnTouch &&
        !RtlpArena.Operations->Commit(Base, Size - HEAP_PAGE, Heap->Executable))
    {
        RtlpFreeRegions(Base, Size >> HEAP_REGION_SHIFT);
        Base = NULL;
    }

    return Base;
}

static PHEAP_DESCRIPTOR RtlpAddRegion(PHEAP Heap, ULONG Pages, HEAP_POOL Pool)
{
    PHEAP_DESCRIPTOR Region = RtlpAllocateDescriptor(Heap, 1);
    PHEAP_DESCRIPTOR Span = RtlpAllocateDescriptor(Heap, 1);
    SIZE_T Size = RtlpRegionSize(Heap, Pages, Pool);
    PUCHAR Base = NULL;

    if (Region != NULL && Span != NULL)
    {
        Base = RtlpMapRegion(Heap, Size);
        if (Base == NULL)
        {
            /* As little as will do, before giving up. */
            Size = (((SIZE_T)Pages + 1) * HEAP_PAGE + HEAP_REGION - 1) & ~(HEAP_REGION - 1);
            Base = RtlpMapRegion(Heap, Size);
        }
    }

    if (Base == NULL)
    {
        if (Region != NULL)
        {
            RtlpFreeDescriptor(Heap, Region, 1);
        }

        if (Span != NULL)
        {
            RtlpFreeDescriptor(Heap, Span, 1);
        }

        return NULL;
    }

    Region->Base = Base;
    Region->Committed = Size;
    Region->Pool = (UCHAR)Pool;
    Region->Next = Heap->Regions;
    Heap->Regions = RtlpDescriptorNumber(Region);
    Heap->Pools[Pool].Reserved += Size;
    Span->Base = Base;
    Span->Pages = (ULONG)(Size / HEAP_PAGE) - 1;
    Span->Pool = (UCHAR)Pool;
    RtlpInsertFree(Heap, Span);

    return Span;
}

static VOID RtlpDonateRegion(PHEAP_DESCRIPTOR Region)
{
    const ULONG Pages = (ULONG)(Region->Committed / HEAP_PAGE) - 1;

    for (ULONG Page = 0; Page < Pages;)
    {
        PHEAP_DESCRIPTOR Span = RtlpLookup(Region->Base + (SIZE_T)Page * HEAP_PAGE);

        if (RtlpDescriptorNumber(Span) == 0)
        {
            Page += 1; /* address space that was lost */
            continue;
        }

        Page += Span->Pages;
        if (Span->Kind == HeapKindSubsegment)
        {
            __builtin_memset(RtlpStates(Span), HEAP_STATE_FREE, Span->Capacity); /* blocks may be in use */
        }

        RtlpDonateDescriptor(Span, RtlpDescriptorUnits(Span));
    }

    RtlpSetPageMap(Region->Base, Pages, 0);
    RtlpArena.Operations->Decommit(Region->Base, (SIZE_T)Pages * HEAP_PAGE, TRUE);
    RtlpFreeRegions(Region->Base, Region->Committed >> HEAP_REGION_SHIFT);
    RtlpDonateDescriptor(Region, 1);
}

VOID RtlpReleaseAllRegions(PHEAP Heap)
{
    while (Heap->Regions != 0)
    {
        PHEAP_DESCRIPTOR Region = HEAP_DESCRIPTOR_AT(Heap->Regions);

        Heap->Regions = Region->Next;
        RtlpDonateRegion(Region);
    }

    for (ULONG Units = 0; Units < HEAP_SPARE_SIZES; Units += 1)
    {
        while (Heap->Spare[Units] != 0)
        {
            PHEAP_DESCRIPTOR Spare = HEAP_DESCRIPTOR_AT(Heap->Spare[Units]);

            Heap->Spare[Units] = Spare->Next;
            RtlpDonateDescriptor(Spare, Units);
        }
    }
}

/* FALSE if a span is in use, or address space was lost. */
static BOOLEAN RtlpIsEmptyRegion(const HEAP_DESCRIPTOR *Region)
{
    const UCHAR *Guard = Region->Base + Region->Committed - HEAP_PAGE;

    for (const UCHAR *Address = Region->Base; Address < Guard;)
    {
        const HEAP_DESCRIPTOR *Span = RtlpLookup(Address);

        if (RtlpDescriptorNumber(Span) == 0 || Span->Kind != HeapKindFree)
        {
            return FALSE;
        }

        Address += Span->Pages * HEAP_PAGE;
    }

    return TRUE;
}

BOOLEAN RtlpReleaseEmptyRegions(PHEAP Heap)
{
    BOOLEAN Released = FALSE;

    for (PULONG Link = &Heap->Regions; *Link != 0;)
    {
        PHEAP_DESCRIPTOR Region = HEAP_DESCRIPTOR_AT(*Link);
        const SIZE_T Size = Region->Committed;

        if (!RtlpIsEmptyRegion(Region))
        {
            Link = &Region->Next;
            continue;
        }

        for (PUCHAR Address = Region->Base; Address < Region->Base + Size - HEAP_PAGE;)
        {
            PHEAP_DESCRIPTOR Span = RtlpLookup(Address);

            Address += Span->Pages * HEAP_PAGE;
            Heap->Counters.Purged += Span->Dirty ? Span->Pages : 0;
            RtlpRemoveFree(Heap, Span);
            RtlpFreeDescriptor(Heap, Span, 1);
        }

        *Link = Region->Next;
        Heap->Pools[Region->Pool].Reserved -= Size;
        RtlpArena.Operations->Decommit(Region->Base, Size - HEAP_PAGE, TRUE);
        RtlpFreeRegions(Region->Base, Size >> HEAP_REGION_SHIFT);
        RtlpFreeDescriptor(Heap, Region, 1);
        Released = TRUE;
    }

    return Released;
}

/* ---- allocate and free ---- */

/*
 * The free span of the same sort that Page is an end of, or NULL. Page may lie outside of Span's region: then it is a
 * guard page, which is never in the page map.
 */
static PHEAP_DESCRIPTOR RtlpFreeNeighbour(const HEAP_DESCRIPTOR *Span, const UCHAR *Page)
{
    PHEAP_DESCRIPTOR Neighbour = RtlpLookup(Page);

    return Neighbour != NULL && HEAP_LOAD(&Neighbour->Kind) == HeapKindFree && Neighbour->Dirty == Span->Dirty
               ? Neighbour
               : NULL;
}

/* Puts a span on its list, merged with its free neighbours. */
static VOID RtlpMerge(PHEAP Heap, PHEAP_DESCRIPTOR Span)
{
    PHEAP_DESCRIPTOR Before = RtlpFreeNeighbour(Span, Span->Base - HEAP_PAGE);

    if (Before != NULL)
    {
        RtlpRemoveFree(Heap, Before);
        Span->Base = Before->Base;
        Span->Pages += Before->Pages;
        RtlpFreeDescriptor(Heap, Before, 1);
    }

    PHEAP_DESCRIPTOR After = RtlpFreeNeighbour(Span, Span->Base + (SIZE_T)Span->Pages * HEAP_PAGE);

    if (After != NULL)
    {
        RtlpRemoveFree(Heap, After);
        Span->Pages += After->Pages;
        RtlpFreeDescriptor(Heap, After, 1);
    }

    RtlpInsertFree(Heap, Span);
}

/* Cuts Pages pages off the front of a span that is on no list; the rest becomes a free span of the same sort. */
static BOOLEAN RtlpSplit(PHEAP Heap, PHEAP_DESCRIPTOR Span, ULONG Pages)
{
    if (Span->Pages == Pages)
    {
        return TRUE;
    }

    PHEAP_DESCRIPTOR Rest = RtlpAllocateDescriptor(Heap, 1);

    if (Rest == NULL)
    {
        return FALSE;
    }

    Rest->Base = Span->Base + (SIZE_T)Pages * HEAP_PAGE;
    Rest->Pages = Span->Pages - Pages;
    Rest->Dirty = Span->Dirty;
    Rest->Pool = Span->Pool;
    Span->Pages = Pages;
    RtlpInsertFree(Heap, Rest);

    return TRUE;
}

/* Commits the pages of a clean span where that was not done for the whole region. */
static BOOLEAN RtlpOpenSpan(PHEAP Heap, PHEAP_DESCRIPTOR Span)
{
    PCHEAP_PAGE_OPERATIONS Operations = RtlpArena.Operations;

    return Span->Dirty || Operations->CommitOnTouch ||
           Operations->Commit(Span->Base, Span->Pages * HEAP_PAGE, Heap->Executable);
}

static PHEAP_DESCRIPTOR RtlpFindInPool(PHEAP Heap, ULONG Pages, HEAP_POOL Pool)
{
    PHEAP_DESCRIPTOR Span = RtlpFindBest(&Heap->Pools[Pool].Dirty, Pages);

    return Span != NULL ? Span : RtlpFindBest(&Heap->Pools[Pool].Clean, Pages);
}

static PHEAP_DESCRIPTOR RtlpFindSpan(PHEAP Heap, ULONG Pages, HEAP_POOL Pool)
{
    PHEAP_DESCRIPTOR Span = RtlpFindInPool(Heap, Pages, Pool);

    if (Span == NULL)
    {
        Span = RtlpAddRegion(Heap, Pages, Pool);
    }

    /* No more address space, or no more memory: what the other sort of blocks does not need, before giving up. */
    if (Span == NULL)
    {
        Span = RtlpFindInPool(Heap, Pages, Pool == HeapPoolLarge ? HeapPoolSmall : HeapPoolLarge);
    }

    if (Span == NULL && RtlpReleaseEmptyRegions(Heap))
    {
        Span = RtlpAddRegion(Heap, Pages, Pool);
    }

    return Span;
}

/* The longest dirty free span of at least Least pages, of whichever pool, or NULL. It stays on its list. */
static PHEAP_DESCRIPTOR RtlpLongestDirty(PHEAP Heap, ULONG Least)
{
    for (ULONG Pool = HeapPools; Pool-- > 0;)
    {
        const PHEAP_BINS_SET Bins = &Heap->Pools[Pool].Dirty;

        for (ULONG Bin = HEAP_BINS - 1; Bin >= Least; Bin -= 1)
        {
            if (Bins->First[Bin] != 0)
            {
                return HEAP_DESCRIPTOR_AT(Bins->First[Bin]);
            }
        }
    }

    return NULL;
}

/*
 * No dirty span was long enough for a block, but there are shorter ones: their pages are moved into the clean Span, which is
 * on no list. That is a fraction of what new pages cost in time, and costs no memory. Their place becomes clean. Each
 * piece may be a mapping of its own, of which Linux gives a process 65,530, so they are not too short. TRUE if any moved.
 */
static BOOLEAN RtlpBringPages(PHEAP Heap, const HEAP_DESCRIPTOR *Span)
{
    PCHEAP_PAGE_OPERATIONS Operations = RtlpArena.Operations;
    const SIZE_T Reserved = Heap->Pools[HeapPoolSmall].Reserved + Heap->Pools[HeapPoolLarge].Reserved;
    const SIZE_T Share = Reserved / HEAP_PAGE / HEAP_MOST_PIECES;
    const ULONG Least = Share > HEAP_LEAST_PIECE ? (ULONG)Share : HEAP_LEAST_PIECE;
    ULONG Done = 0;

    while (Least < HEAP_BINS && Span->Pages - Done >= Least)
    {
        PHEAP_DESCRIPTOR Source = RtlpLongestDirty(Heap, Least);
        const ULONG Wanted = Span->Pages - Done;

        if (Source == NULL)
        {
            break;
        }

        RtlpRemoveFree(Heap, Source);
        if (Source->Pages > Wanted && !RtlpSplit(Heap, Source, Wanted))
        {
            RtlpMerge(Heap, Source);
            break;
        }

        PUCHAR Place = Span->Base + (SIZE_T)Done * HEAP_PAGE;

        if (!RtlpGroundMove(Source->Base, Place, Source->Pages * HEAP_PAGE))
        {
            (VOID) Operations->Commit(Place, Source->Pages * HEAP_PAGE, Heap->Executable);
            RtlpMerge(Heap, Source);
            break;
        }

        Done += Source->Pages;
        Heap->Counters.Moved += Source->Pages;
        /* If its place cannot be opened again it is lost address space, until the heap's end. */
        if (Operations->Commit(Source->Base, Source->Pages * HEAP_PAGE, Heap->Executable))
        {
            Source->Dirty = FALSE;
            RtlpMerge(Heap, Source);
        }
    }

    return Done != 0;
}

PHEAP_DESCRIPTOR RtlpAllocateSpan(PHEAP Heap, ULONG Pages, SIZE_T Alignment, HEAP_KIND Kind)
{
    const ULONG Slack = Alignment > HEAP_PAGE ? (ULONG)(Alignment / HEAP_PAGE) - 1 : 0;
    const HEAP_POOL Pool = Pages + Slack > HEAP_BACK_END_PAGES ? HeapPoolLarge : HeapPoolSmall;
    PHEAP_DESCRIPTOR Span = RtlpFindSpan(Heap, Pages + Slack, Pool);

    if (Span == NULL)
    {
        return NULL;
    }

    RtlpRemoveFree(Heap, Span);

    if (Slack != 0)
    {
        PUCHAR Aligned = (PUCHAR)(((ULONG_PTR)Span->Base + Alignment - 1) & ~(Alignment - 1));
        const ULONG Before = (ULONG)((SIZE_T)(Aligned - Span->Base) / HEAP_PAGE);

        if (Before != 0)
        {
            PHEAP_DESCRIPTOR Front = Span;

            Span = RtlpAllocateDescriptor(Heap, 1);
            if (Span == NULL)
            {
                RtlpInsertFree(Heap, Front);
                return NULL;
            }

            Span->Base = Aligned;
            Span->Pages = Front->Pages - Before;
            Span->Dirty = Front->Dirty;
            Span->Pool = Front->Pool;
            Front->Pages = Before;
            RtlpInsertFree(Heap, Front);
        }
    }

    if (!RtlpSplit(Heap, Span, Pages) || !RtlpOpenSpan(Heap, Span))
    {
        RtlpMerge(Heap, Span);
        return NULL;
    }

    const BOOLEAN Moved = !Span->Dirty && Kind == HeapKindPages && RtlpArena.Operations->CommitOnTouch &&
                          !RtlpGroundPagesAreDear() && RtlpBringPages(Heap, Span);

    Span->Kind = (UCHAR)Kind;
    Span->Zeroed = !Span->Dirty && !Moved;
    Span->Dirty = TRUE;
    Span->Next = 0;
    Span->Previous = 0;
    RtlpMapEnds(Span, RtlpDescriptorNumber(Span));
    Heap->Counters.InUsePages += Pages;
    if (Heap->Counters.InUsePages > Heap->Counters.PeakPages)
    {
        Heap->Counters.PeakPages = Heap->Counters.InUsePages;
        Heap->Counters.PeakDirtyPages =
            Heap->Pools[HeapPoolSmall].DirtyPages + Heap->Pools[HeapPoolLarge].DirtyPages;
    }

    return Span;
}

/* Every period, half of the pages that were dirty and free during all of it are given back. */
static VOID RtlpDecay(PHEAP Heap, HEAP_POOL Pool)
{
    PHEAP_SPANS Spans = &Heap->Pools[Pool];

    Heap->DecayTick += 1;
    if (Pool == HeapPoolSmall && Heap->DecayTick % 64 != 0)
    {
        return;
    }

    const ULONG64 Now = RtlpGroundMilliseconds();

    if (Now - Spans->DecayTime >= (RtlpGroundPagesAreDear() ? HEAP_DEAR_DECAY : HEAP_DECAY_PERIOD))
    {
        if (Spans->DecayTime != 0 && Spans->DecayLow > 64)
        {
            RtlpPurge(Heap, Pool, Spans->DirtyPages - Spans->DecayLow / 2);
        }

        Spans->DecayTime = Now;
        Spans->DecayLow = Spans->DirtyPages;
    }
}

/* Gives the pages of a dirty free span back. The span is on its list before and after, merged with clean neighbours. */
static VOID RtlpPurgeSpan(PHEAP Heap, PHEAP_DESCRIPTOR Span)
{
    PCHEAP_PAGE_OPERATIONS Operations = RtlpArena.Operations;
    const SIZE_T Size = Span->Pages * HEAP_PAGE;

    RtlpRemoveFree(Heap, Span);
    Operations->Decommit(Span->Base, Size, FALSE);
    Heap->Counters.Purged += Span->Pages;
    Span->Dirty = FALSE;
    RtlpMerge(Heap, Span);
}

VOID RtlpFreeSpan(PHEAP Heap, PHEAP_DESCRIPTOR Span)
{
    const HEAP_POOL Pool = (HEAP_POOL)Span->Pool;
    const BOOLEAN AtOnce = Span->Pages >= HEAP_PURGE_AT_ONCE;

    Heap->Counters.InUsePages -= Span->Pages;
    RtlpMapEnds(Span, 0);
    if (AtOnce)
    {
        RtlpArena.Operations->Decommit(Span->Base, Span->Pages * HEAP_PAGE, FALSE);
        Heap->Counters.Purged += Span->Pages;
    }

    Span->Dirty = !AtOnce;
    RtlpMerge(Heap, Span);
    if (Heap->DecommitBlock != 0 && !AtOnce && Span->Pages * HEAP_PAGE >= Heap->DecommitBlock &&
        Heap->Pools[Pool].DirtyPages * HEAP_PAGE > Heap->DecommitTotal)
    {
        RtlpPurgeSpan(Heap, Span);
    }

    RtlpDecay(Heap, Pool);
}

VOID RtlpFreeUntouchedSpan(PHEAP Heap, PHEAP_DESCRIPTOR Span)
{
    Heap->Counters.InUsePages -= Span->Pages;
    RtlpMapEnds(Span, 0);
    Span->Dirty = FALSE;
    RtlpMerge(Heap, Span);
}

VOID RtlpPurge(PHEAP Heap, HEAP_POOL Pool, SIZE_T Keep)
{
    PHEAP_SPANS Spans = &Heap->Pools[Pool];

    /* The longest first: fewest calls, and short ones are the likeliest to be used again. */
    for (ULONG Bin = HEAP_BINS; Bin-- > 1;)
    {
        while (Spans->Dirty.First[Bin] != 0 && Spans->DirtyPages > Keep)
        {
            RtlpPurgeSpan(Heap, HEAP_DESCRIPTOR_AT(Spans->Dirty.First[Bin]));
        }
    }
}

BOOLEAN RtlpResizeSpan(PHEAP Heap, PHEAP_DESCRIPTOR Span, ULONG Pages)
{
    const ULONG Old = Span->Pages;

    if (Pages < Old)
    {
        PHEAP_DESCRIPTOR Tail = RtlpAllocateDescriptor(Heap, 1);

        if (Tail == NULL)
        {
            return FALSE;
        }

        RtlpMapEnds(Span, 0);
        Span->Pages = Pages;
        RtlpMapEnds(Span, RtlpDescriptorNumber(Span));
        Tail->Base = Span->Base + (SIZE_T)Pages * HEAP_PAGE;
        Tail->Pages = Old - Pages;
        Tail->Dirty = TRUE;
        Tail->Pool = Span->Pool;
        Heap->Counters.InUsePages -= Tail->Pages;
        RtlpMerge(Heap, Tail);

        return TRUE;
    }

    PHEAP_DESCRIPTOR After = RtlpLookup(Span->Base + (SIZE_T)Old * HEAP_PAGE);
    const ULONG More = Pages - Old;

    if (After == NULL || HEAP_LOAD(&After->Kind) != HeapKindFree || After->Pages < More)
    {
        return FALSE;
    }

    RtlpRemoveFree(Heap, After);
    if (!RtlpSplit(Heap, After, More) || !RtlpOpenSpan(Heap, After))
    {
        RtlpMerge(Heap, After);
        return FALSE;
    }

    RtlpMapEnds(Span, 0);
    RtlpFreeDescriptor(Heap, After, 1);
    Span->Pages = Pages;
    Span->Zeroed = FALSE;
    RtlpMapEnds(Span, RtlpDescriptorNumber(Span));
    Heap->Counters.InUsePages += More;

    return TRUE;
}
