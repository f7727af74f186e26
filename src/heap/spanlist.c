/* SPDX-License-Identifier: MIT */
/*
 * Descriptors, and the lists of free spans by their length: the bookkeeping under span.c.
 *
 * Descriptors of a heap are used again by their size; the arena is asked for a kibibyte of them at a time. A bitmap says which
 * lists hold something, so the best fit is one search for a bit. HEAP.BackLock is held in every function.
 */
#include "heap/span.h"

#define HEAP_DESCRIPTOR_BATCH 16

/* ---- descriptors ---- */

VOID RtlpFreeDescriptor(PHEAP Heap, PHEAP_DESCRIPTOR Descriptor, ULONG Units)
{
    Descriptor->Owner = HEAP_NO_OWNER;
    Descriptor->Kind = HeapKindNone;
    Descriptor->Next = Heap->Spare[Units];
    Heap->Spare[Units] = RtlpDescriptorNumber(Descriptor);
}

PHEAP_DESCRIPTOR RtlpAllocateDescriptor(PHEAP Heap, ULONG Units)
{
    const ULONG Number = Heap->Spare[Units];
    PHEAP_DESCRIPTOR Descriptor = Number != 0 ? HEAP_DESCRIPTOR_AT(Number) : RtlpAdoptDescriptor(Units);

    if (Number != 0)
    {
        Heap->Spare[Units] = Descriptor->Next;
    }
    else if (Descriptor != NULL)
    {
        /* a destroyed heap left it */
    }
    else if (Units == 1)
    {
        /* Single units are wanted all the time: one trip to the arena for some. */
        Descriptor = RtlpAllocateMetadata(HEAP_DESCRIPTOR_BATCH);
        for (ULONG Index = HEAP_DESCRIPTOR_BATCH - 1; Descriptor != NULL && Index > 0; Index -= 1)
        {
            RtlpFreeDescriptor(Heap, Descriptor + Index, 1);
        }
    }
    else
    {
        Descriptor = RtlpAllocateMetadata(Units);
    }

    if (Descriptor == NULL)
    {
        /* Free regions may hold all that the system grants. */
        return RtlpReleaseEmptyRegions(Heap) ? RtlpAllocateDescriptor(Heap, Units) : NULL;
    }

    __builtin_memset(Descriptor, 0, sizeof(*Descriptor));
    Descriptor->Owner = HEAP_NO_OWNER;
    Descriptor->Heap = Heap;

    return Descriptor;
}

ULONG RtlpDescriptorUnits(const HEAP_DESCRIPTOR *Descriptor)
{
    switch ((HEAP_KIND)Descriptor->Kind)
    {
    case HeapKindSubsegment:
        return RtlpSubsegmentUnits(Descriptor->Capacity);
    case HeapKindChunk:
        return HEAP_CHUNK_UNITS;
    default:
        return 1;
    }
}

/* ---- the lists of free spans ---- */

static ULONG RtlpBinOf(ULONG Pages)
{
    return Pages < HEAP_BINS - 1 ? Pages : HEAP_BINS - 1;
}

static PHEAP_BINS_SET RtlpBinsOf(PHEAP Heap, const HEAP_DESCRIPTOR *Span)
{
    PHEAP_SPANS Spans = &Heap->Pools[Span->Pool];

    return Span->Dirty ? &Spans->Dirty : &Spans->Clean;
}

VOID RtlpMapEnds(const HEAP_DESCRIPTOR *Span, ULONG Number)
{
    RtlpSetPageMap(Span->Base, 1, Number);
    if (Span->Pages > 1)
    {
        RtlpSetPageMap(Span->Base + (SIZE_T)(Span->Pages - 1) * HEAP_PAGE, 1, Number);
    }
}

VOID RtlpInsertFree(PHEAP Heap, PHEAP_DESCRIPTOR Span)
{
    PHEAP_BINS_SET Bins = RtlpBinsOf(Heap, Span);
    const ULONG Bin = RtlpBinOf(Span->Pages);
    const ULONG Number = RtlpDescriptorNumber(Span);

    Span->Kind = HeapKindFree;
    HEAP_STORE(&Span->Owner, HEAP_NO_OWNER);
    Span->Previous = 0;
    Span->Next = Bins->First[Bin];
    if (Span->Next != 0)
    {
        HEAP_DESCRIPTOR_AT(Span->Next)->Previous = Number;
    }

    Bins->First[Bin] = Number;
    Bins->Present[Bin / 64] |= 1ull << (Bin % 64);
    RtlpMapEnds(Span, Number);
    if (Span->Dirty)
    {
        Heap->Pools[Span->Pool].DirtyPages += Span->Pages;
    }
}

VOID RtlpRemoveFree(PHEAP Heap, PHEAP_DESCRIPTOR Span)
{
    PHEAP_BINS_SET Bins = RtlpBinsOf(Heap, Span);
    const ULONG Bin = RtlpBinOf(Span->Pages);

    if (Span->Previous != 0)
    {
        HEAP_DESCRIPTOR_AT(Span->Previous)->Next = Span->Next;
    }
    else
    {
        Bins->First[Bin] = Span->Next;
        if (Span->Next == 0)
        {
            Bins->Present[Bin / 64] &= ~(1ull << (Bin % 64));
        }
    }

    if (Span->Next != 0)
    {
        HEAP_DESCRIPTOR_AT(Span->Next)->Previous = Span->Previous;
    }

    RtlpMapEnds(Span, 0);
    if (Span->Dirty)
    {
        PHEAP_SPANS Spans = &Heap->Pools[Span->Pool];

        Spans->DirtyPages -= Span->Pages;
        if (Spans->DirtyPages < Spans->DecayLow)
        {
            Spans->DecayLow = Spans->DirtyPages;
        }
    }
}

PHEAP_DESCRIPTOR RtlpFindBest(PHEAP_BINS_SET Bins, ULONG Pages)
{
    ULONG Bin = RtlpBinOf(Pages);
    ULONG64 Word = Bins->Present[Bin / 64] >> (Bin % 64) << (Bin % 64);

    for (ULONG Index = Bin / 64;;)
    {
        if (Word != 0)
        {
            Bin = Index * 64 + (ULONG)__builtin_ctzll(Word);
            break;
        }

        Index += 1;
        if (Index == sizeof(Bins->Present) / sizeof(Bins->Present[0]))
        {
            return NULL;
        }

        Word = Bins->Present[Index];
    }

    PHEAP_DESCRIPTOR Best = HEAP_DESCRIPTOR_AT(Bins->First[Bin]);

    if (Bin < HEAP_BINS - 1)
    {
        return Best;
    }

    /* Longer than any block: a few spans of this sort exist at a time. */
    for (PHEAP_DESCRIPTOR Span = Best;;)
    {
        if (Span->Pages >= Pages && (Span->Pages < Best->Pages || Best->Pages < Pages))
        {
            Best = Span;
        }

        if (Span->Next == 0)
        {
            return Best->Pages >= Pages ? Best : NULL;
        }

        Span = HEAP_DESCRIPTOR_AT(Span->Next);
    }
}
