/* SPDX-License-Identifier: MIT */
/*
 * Going through a heap: every region, block, free range and uncommitted range in order of addresses, and the checks of
 * RtlValidateHeap.
 *
 * A walk keeps no state but the last item, so the heap may be changed between two steps by the holder of its lock: the
 * next item is found from the address where the last one ended.
 */
#include "heap/api.h"
#include "heap/span.h"

/* ---- items ---- */

/* The region with the lowest base at or above Address, and how many regions lie below it. */
static PHEAP_DESCRIPTOR RtlpRegionAtOrAbove(PHEAP Heap, const UCHAR *Address, PULONG Index)
{
    PHEAP_DESCRIPTOR Best = NULL;

    *Index = 0;
    for (ULONG Number = Heap->Regions; Number != 0; Number = HEAP_DESCRIPTOR_AT(Number)->Next)
    {
        PHEAP_DESCRIPTOR Region = HEAP_DESCRIPTOR_AT(Number);

        if (Region->Base < Address)
        {
            *Index += 1;
        }
        else if (Best == NULL || Region->Base < Best->Base)
        {
            Best = Region;
        }
    }

    return Best;
}

static PHEAP_DESCRIPTOR RtlpRegionOf(PHEAP Heap, const UCHAR *Address)
{
    for (ULONG Number = Heap->Regions; Number != 0; Number = HEAP_DESCRIPTOR_AT(Number)->Next)
    {
        PHEAP_DESCRIPTOR Region = HEAP_DESCRIPTOR_AT(Number);

        if (Address >= Region->Base && Address < Region->Base + Region->Committed)
        {
            return Region;
        }
    }

    return NULL;
}

static VOID RtlpItemInGranules(PCHEAP_GRANULES Range, PUCHAR Base, PUCHAR Address, PHEAP_ITEM Item)
{
    const ULONG First = (ULONG)((SIZE_T)(Address - Base) >> HEAP_GRANULE_SHIFT);
    const ULONG Busy = RtlpBlockGranules(Range, First);
    const ULONG Count = Busy != 0 ? Busy : RtlpNextGranule(Range->Busy, Range->Count, First, TRUE) - First;

    Item->Kind = Busy != 0 ? HeapItemBusy : HeapItemFree;
    Item->Address = Address;
    Item->Size = (SIZE_T)Count << HEAP_GRANULE_SHIFT;
}

static VOID RtlpItemInSubsegment(PHEAP_DESCRIPTOR Subsegment, PUCHAR Address, PHEAP_ITEM Item)
{
    const ULONG Index = RtlpBlockIndex(Subsegment, (SIZE_T)(Address - Subsegment->Base));
    PUCHAR End = Subsegment->Base + (SIZE_T)Subsegment->Pages * HEAP_PAGE;

    Item->Kind = HeapItemFree;
    Item->Address = Address;
    Item->Size = Subsegment->BlockSize;
    if (Index >= Subsegment->Exposed)
    {
        Item->Size = (SIZE_T)(End - Address); /* never handed out yet, and the rest that holds no block */
    }
    else if (HEAP_LOAD(&RtlpStates(Subsegment)[Index]) == HEAP_STATE_BUSY)
    {
        Item->Kind = HeapItemBusy;
    }
}

/* A clean free span where pages do not come by themselves. */
static BOOLEAN RtlpIsUncommitted(const HEAP_DESCRIPTOR *Span)
{
    return Span->Kind == HeapKindFree && !Span->Dirty && !RtlpArena.Operations->CommitOnTouch;
}

/* The item that begins at Address inside Region. */
static VOID RtlpItemAt(PHEAP_DESCRIPTOR Region, PUCHAR Address, PHEAP_ITEM Item)
{
    PUCHAR Guard = Region->Base + Region->Committed - HEAP_PAGE;
    PHEAP_DESCRIPTOR Span = RtlpLookup(Address);

    if (Address >= Guard)
    {
        Item->Kind = HeapItemUncommitted;
        Item->Address = Address;
        Item->Size = HEAP_PAGE;
        return;
    }

    if (Span->Kind == HeapKindSubsegment)
    {
        RtlpItemInSubsegment(Span, Address, Item);
        return;
    }

    if (Span->Kind == HeapKindChunk)
    {
        const HEAP_GRANULES Range = RtlpChunkGranules(Span);

        RtlpItemInGranules(&Range, Span->Base, Address, Item);
        return;
    }

    Item->Address = Address;
    Item->Size = RtlpDescriptorNumber(Span) == 0 ? HEAP_PAGE : Span->Pages * HEAP_PAGE;
    if (Span->Kind == HeapKindGuarded)
    {
        Item->Kind = HeapItemBusy;
        Item->Address = Span->Base + Span->Committed; /* the block ends at the guard page, or near it */
        Item->Size = Span->Requested;
        return;
    }

    Item->Kind = Span->Kind == HeapKindPages && !RtlpIsKept(Span) ? HeapItemBusy
                 : RtlpIsUncommitted(Span)                        ? HeapItemUncommitted
                                                                  : HeapItemFree;
}

/* Bytes of a region that are not committed, its guard page among them. */
static SIZE_T RtlpUncommittedBytes(const HEAP_DESCRIPTOR *Region)
{
    PUCHAR Guard = Region->Base + Region->Committed - HEAP_PAGE;
    SIZE_T Bytes = HEAP_PAGE;

    for (PUCHAR Address = Region->Base; Address < Guard;)
    {
        PHEAP_DESCRIPTOR Span = RtlpLookup(Address);
        const SIZE_T Size = RtlpDescriptorNumber(Span) == 0 ? HEAP_PAGE : Span->Pages * HEAP_PAGE;

        Bytes += RtlpIsUncommitted(Span) ? Size : 0;
        Address += Size;
    }

    return Bytes;
}

static VOID RtlpNextFixedItem(const HEAP_FIXED *Fixed, PHEAP_ITEM Item)
{
    PUCHAR Next = Item->Kind == HeapItemEnd ? NULL : Item->Address + Item->Size;

    if (Item->Kind == HeapItemEnd)
    {
        *Item = (HEAP_ITEM){ .Kind = HeapItemRegion, .Address = Fixed->Base };
        Item->Committed = Fixed->Committed;
        Item->Uncommitted = Fixed->Reserved - Fixed->Committed;
    }
    else if (Next < Fixed->Base + Fixed->Committed)
    {
        RtlpItemInGranules(&Fixed->Range, Fixed->Base, Next, Item);
    }
    else if (Next < Fixed->Base + Fixed->Reserved)
    {
        Item->Kind = HeapItemUncommitted;
        Item->Address = Next;
        Item->Size = (SIZE_T)(Fixed->Base + Fixed->Reserved - Next);
    }
    else
    {
        *Item = (HEAP_ITEM){ .Kind = HeapItemEnd };
    }
}

static VOID RtlpFindNextItem(PHEAP Heap, PHEAP_ITEM Item)
{
    PUCHAR Next = Item->Kind == HeapItemEnd ? NULL : Item->Address + Item->Size;

    if (Heap->Fixed != NULL && (Item->Kind == HeapItemEnd || RtlpIsOfRange(Heap, Item->Address)))
    {
        RtlpNextFixedItem(Heap->Fixed, Item);
        if (Item->Kind != HeapItemEnd || (Heap->Flags & HEAP_GROWABLE) == 0)
        {
            return;
        }

        Next = NULL; /* the regions come behind the caller's memory */
    }

    /* Also one that waits to be freed, which is shown as free. */
    if ((Item->Kind == HeapItemBusy || Item->Kind == HeapItemFree) &&
        RtlpLookup(Item->Address)->Kind == HeapKindGuarded)
    {
        const HEAP_DESCRIPTOR *Span = RtlpLookup(Item->Address);

        Next = Span->Base + Span->Pages * HEAP_PAGE;
    }

    if (Item->Kind != HeapItemEnd)
    {
        /* A region's own item has no size: its first block follows at the same address. */
        PHEAP_DESCRIPTOR Region = RtlpRegionOf(Heap, Item->Address);

        if (Region != NULL && Next < Region->Base + Region->Committed)
        {
            RtlpItemAt(Region, Next, Item);
            return;
        }
    }

    ULONG Index;
    PHEAP_DESCRIPTOR Region = RtlpRegionAtOrAbove(Heap, Next, &Index);

    *Item = (HEAP_ITEM){ .Kind = HeapItemEnd };
    if (Region != NULL)
    {
        Item->Kind = HeapItemRegion;
        Item->Address = Region->Base;
        Item->Region = Index + (Heap->Fixed != NULL);
        Item->Uncommitted = RtlpUncommittedBytes(Region);
        Item->Committed = Region->Committed - Item->Uncommitted;
    }
}

VOID RtlpNextItem(PHEAP Heap, PHEAP_ITEM Item)
{
    RtlpFindNextItem(Heap, Item);
    if (Item->Kind == HeapItemBusy && RtlpIsDelayed(Heap, Item->Address, RtlpUsableSize(Heap, Item->Address)))
    {
        Item->Kind = HeapItemFree;
    }
}

SIZE_T RtlpItemSize(PHEAP Heap, const HEAP_ITEM *Item)
{
    HEAP_ITEM Same = { .Kind = HeapItemRegion, .Address = Item->Address, .Region = Item->Region };

    RtlpNextItem(Heap, &Same); /* behind nothing at that address: the item itself */

    return Same.Kind == Item->Kind && Same.Address == Item->Address ? Same.Size : Item->Size;
}

/* ---- checks ---- */

BOOLEAN RtlpCheckSubsegment(const HEAP_DESCRIPTOR *Subsegment)
{
    const UCHAR *States = RtlpStates(Subsegment);
    const PHEAP_SLOT Slot = RtlpOwner(Subsegment);
    ULONG Free = 0;
    ULONG Ready = 0;
    ULONG64 Claimed = 0;
    BOOLEAN Sound = TRUE;

    if (Subsegment->Taker >= HEAP_BUCKETS || Subsegment->Exposed > Subsegment->Capacity)
    {
        return FALSE;
    }

    const HEAP_ACTIVE *Active = &Slot->Active[Subsegment->Taker];

    /* An active subsegment is the one that its taker takes blocks from; every other's taker is its own bucket. */
    if (Subsegment->State == HeapSubsegmentActive)
    {
        if (RtlpActiveSubsegment(Slot, Subsegment->Taker) != Subsegment ||
            Subsegment->Claimed >= RtlpMapWords(Subsegment->Capacity))
        {
            return FALSE;
        }

        Claimed = Active->Bits | Subsegment->Rest;
        Sound = (Active->Bits & Subsegment->Rest) == 0;
        for (ULONG64 Bits = Claimed; Bits != 0; Bits &= Bits - 1)
        {
            const ULONG Index = Subsegment->Claimed * 64u + (ULONG)__builtin_ctzll(Bits);

            Sound &= Index < Subsegment->Exposed && HEAP_LOAD(&States[Index]) == HEAP_STATE_FREE;
        }
    }
    else if (Subsegment->Taker != Subsegment->Bucket)
    {
        return FALSE;
    }

    /* What is ready, and nothing else, is so in the map. */
    for (ULONG At = Active->ReadyFirst; At < Active->Ready; At += (ULONG)sizeof(HEAP_READY))
    {
        const HEAP_READY *Block = RtlpReadyAt(Slot, At);
        const SIZE_T Index = (SIZE_T)(Block->State - States);

        if (Index < Subsegment->Exposed)
        {
            Ready += 1;
            Sound &= HEAP_LOAD(Block->State) == HEAP_STATE_READY &&
                     Block->Block == Subsegment->Base + Index * Subsegment->BlockSize;
        }
    }

    for (ULONG Index = 0; Index <= Subsegment->Capacity; Index += 1)
    {
        const UCHAR State = HEAP_LOAD(&States[Index]);

        Ready -= State == HEAP_STATE_READY;
        Free += State == HEAP_STATE_FREE && Index < Subsegment->Exposed;
        Sound &= State == HEAP_STATE_FREE || Index < Subsegment->Exposed;
    }

    if ((Subsegment->State == HeapSubsegmentFull) !=
        (Subsegment->Used == (HEAP_USED_FULL | Subsegment->Capacity)))
    {
        return FALSE;
    }

    const ULONG Used = Subsegment->Used & ~(ULONG)HEAP_USED_FULL;

    return Sound && Ready == 0 && Free + Used == Subsegment->Exposed + RtlpCountBits(Claimed) &&
           (SIZE_T)Subsegment->Capacity * Subsegment->BlockSize <= Subsegment->Pages * HEAP_PAGE &&
           Subsegment->BlockSize == RtlpBucketSize(Subsegment->Bucket);
}

static BOOLEAN RtlpCheckRegion(PHEAP Heap, PHEAP_DESCRIPTOR Region, PSIZE_T InUse, PSIZE_T Dirty)
{
    const ULONG Pages = (ULONG)(Region->Committed / HEAP_PAGE) - 1;

    for (ULONG Page = 0; Page < Pages;)
    {
        PUCHAR Address = Region->Base + (SIZE_T)Page * HEAP_PAGE;
        PHEAP_DESCRIPTOR Span = RtlpLookup(Address);

        if (Span == NULL || RtlpDescriptorNumber(Span) == 0 || Span->Base != Address ||
            RtlpHeapOfSpan(Span) != Heap || Span->Pages == 0 || Page + Span->Pages > Pages ||
            RtlpLookup(Address + (SIZE_T)(Span->Pages - 1) * HEAP_PAGE) != Span ||
            (Span->Kind == HeapKindSubsegment && !RtlpCheckSubsegment(Span)))
        {
            return FALSE;
        }

        if (Span->Kind == HeapKindFree)
        {
            *Dirty += Span->Dirty ? Span->Pages : 0;
        }
        else
        {
            *InUse += Span->Pages;
        }

        Page += Span->Pages;
    }

    return TRUE;
}

BOOLEAN RtlpCheckHeap(PHEAP Heap)
{
    HEAP_ITEM Item = { .Kind = HeapItemEnd };
    SIZE_T InUse = 0;
    SIZE_T Dirty = 0;

    for (ULONG Number = Heap->Regions; Number != 0; Number = HEAP_DESCRIPTOR_AT(Number)->Next)
    {
        if (!RtlpCheckRegion(Heap, HEAP_DESCRIPTOR_AT(Number), &InUse, &Dirty))
        {
            return FALSE;
        }
    }

    if (InUse != Heap->Counters.InUsePages ||
        Dirty != Heap->Pools[HeapPoolSmall].DirtyPages + Heap->Pools[HeapPoolLarge].DirtyPages)
    {
        return FALSE;
    }

    for (RtlpNextItem(Heap, &Item); Heap->Private && Item.Kind != HeapItemEnd; RtlpNextItem(Heap, &Item))
    {
        HEAP_BLOCK_INFO Info;
        HEAP_DAMAGE Damage;

        if (Item.Kind == HeapItemBusy && !RtlpReadBlock(Heap, Item.Address, &Info, &Damage))
        {
            return FALSE;
        }
    }

    return TRUE;
}
