/* SPDX-License-Identifier: MIT */
/*
 * The two paths that nearly every call takes: a block that is ready or of the claimed word, a block that is freed and ready.
 *
 * Both are inline, without a lock and without an atomic read-modify-write; allocation touches one line of the slot, free
 * the descriptor and one byte; the block is never touched. Every free is checked completely: right page, start of a
 * block, block in use.
 */
#ifndef NTMM_HEAP_FRONT_H
#define NTMM_HEAP_FRONT_H

#include "heap/heap.h"
#include "heap/single.h"

static inline ULONG RtlpCountBits(ULONG64 Bits)
{
#if defined(__POPCNT__)
    return (ULONG)__builtin_popcountll(Bits);
#else
    Bits -= Bits >> 1 & 0x5555555555555555ull;
    Bits = (Bits & 0x3333333333333333ull) + (Bits >> 2 & 0x3333333333333333ull);
    Bits = (Bits + (Bits >> 4)) & 0x0f0f0f0f0f0f0f0full;

    return (ULONG)(Bits * 0x0101010101010101ull >> 56);
#endif
}

static inline PHEAP_READY RtlpReadyAt(PHEAP_SLOT Slot, ULONG64 Offset)
{
    return (PHEAP_READY)(PVOID)((PUCHAR)Slot + Offset);
}

static inline BOOLEAN RtlpIsReady(const HEAP_ACTIVE *Active)
{
    return Active->Ready != Active->ReadyFirst;
}

/* The last of the ready blocks, which end at End. */
static inline PVOID RtlpTakeReady(PHEAP_SLOT Slot, PHEAP_ACTIVE Active, ULONG64 End)
{
    const HEAP_READY *Ready = RtlpReadyAt(Slot, End - sizeof(HEAP_READY));

    RtlpAddShort(&Active->Ready, -(SHORT)sizeof(HEAP_READY));
    HEAP_STORE(Ready->State, HEAP_STATE_BUSY);

    return Ready->Block;
}

/* A block of the claimed word, of its Bits, which are not 0. */
static inline PVOID RtlpTakeClaimed(PHEAP_SLOT Slot, PHEAP_ACTIVE Active, ULONG64 Bits)
{
    const ULONG64 Index = RtlpLowestBit(Bits);

    Active->Bits = Bits & (Bits - 1);
    HEAP_STORE((PUCHAR)((PULONG64)(PVOID)Slot + Active->Word) + Index, HEAP_STATE_BUSY);

    return Active->WordBase + Index * Active->BlockSize;
}

/* Size is at most HEAP_FRONT_END_LIMIT. NULL if there is no memory. */
static inline PVOID RtlpAllocateFront(PHEAP_SLOT Slot, SIZE_T Size)
{
    const ULONG Bucket = RtlpBucketOf(Size);
    PHEAP_ACTIVE Active = &Slot->Active[Bucket];

    const ULONG64 End = Active->Ready;

    if (HEAP_LIKELY(End > Active->ReadyKept))
    {
        return RtlpTakeReady(Slot, Active, End);
    }

    const ULONG64 Bits = Active->Bits;

    return HEAP_LIKELY(Bits != 0) ? RtlpTakeClaimed(Slot, Active, Bits)
                                  : RtlpAllocateSlow(Slot, Bucket, Size);
}

/* Offset is inside the subsegment. The index of the block that Offset lies in. */
static inline ULONG RtlpBlockIndex(const HEAP_DESCRIPTOR *Subsegment, SIZE_T Offset)
{
    return (ULONG)((Offset * Subsegment->Reciprocal) >> 32);
}

/* A block of the subsegment, whose state is free, is kept ready no more, or was not to be. */
static inline __attribute__((always_inline)) VOID RtlpCountFreed(PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Subsegment)
{
    const SHORT Used = (SHORT)(Subsegment->Used - 1);

    Subsegment->Used = (USHORT)Used;
    if (HEAP_UNLIKELY(Used <= 0))
    {
        RtlpSubsegmentChanged(Slot, Subsegment);
    }
}

/*
 * Frees a block of a subsegment that Slot owns. FALSE, and nothing is done, if no block in use starts there. One product
 * gives both the index (its upper half) and whether Offset is a multiple of the block size: it is exactly if the lower half
 * is less than the reciprocal (Lemire, Kaser, Kurz, "Faster remainder by direct computation", 2019).
 */
static inline __attribute__((always_inline)) BOOLEAN RtlpFreeLocal(PHEAP_SLOT Slot,
                                                                   PHEAP_DESCRIPTOR Subsegment, PVOID Block)
{
    const ULONG64 Product = (SIZE_T)((PUCHAR)Block - Subsegment->Base) * Subsegment->Reciprocal;

    if (HEAP_UNLIKELY((ULONG)Product >= Subsegment->Reciprocal))
    {
        return FALSE;
    }

    /* Its pages have a state for every index that an offset in them gives. */
    PUCHAR State = RtlpStates(Subsegment) + (Product >> 32);

    if (HEAP_UNLIKELY(!RtlpIsByte(State, HEAP_STATE_BUSY)))
    {
        return FALSE;
    }

    PHEAP_ACTIVE Active = &Slot->Active[Subsegment->Taker];

    HEAP_OPAQUE(Active); /* else it is computed twice */

    const ULONG64 End = Active->Ready;

    if (HEAP_LIKELY(End != Active->ReadyFull))
    {
        /*
         * It changes places with one of the first four: when it comes again cannot be foreseen. Blocks of one stretch of memory go to
         * one place, so those that are freed in order leave in order. (The block's address is known before its state's: nothing waits.)
         */
        const ULONG64 Stretch = (ULONG_PTR)Block >> HEAP_STRETCH_SHIFT;
        const ULONG64 Place = Stretch * RtlpArena.Scatter >> HEAP_SCATTER_SHIFT;
        const ULONG64 First = Active->ReadyFirst;
        ULONG64 Changed = First + Place * sizeof(HEAP_READY);

        Changed = Changed < End ? Changed : First;

        const PHEAP_READY Ready = RtlpReadyAt(Slot, End);
        const PHEAP_READY Other = RtlpReadyAt(Slot, Changed);

        RtlpAddShort(&Active->Ready, sizeof(HEAP_READY));
        RtlpCopyPair(Ready, Other);
        RtlpStorePair(Other, Block, State);
        HEAP_STORE(State, HEAP_STATE_READY);

        return TRUE;
    }

    HEAP_STORE(State, HEAP_STATE_FREE);
    RtlpCountFreed(Slot, Subsegment);

    return TRUE;
}

/* The place of blocks of so many pages that a slot keeps; NULL: there are chains of them. */
static inline PHEAP_ACTIVE RtlpKeptSpans(PHEAP_SLOT Slot, SIZE_T Pages)
{
    const SIZE_T Place = Pages - HEAP_KEPT_FIRST;

    return Place < HEAP_ALL_BUCKETS - HEAP_BUCKETS ? &Slot->Active[HEAP_BUCKETS + Place] : NULL;
}

/* Slot is to keep the block when it is freed. */
static inline VOID RtlpOwnSpan(PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Span)
{
    Span->Reciprocal = 1; /* every offset but 0 is a wrong one */
    Span->Taker = (UCHAR)(HEAP_BUCKETS + Span->Pages - HEAP_KEPT_FIRST);
    Span->Used = HEAP_USED_FULL | 1;
    HEAP_STORE(&Span->State0, HEAP_STATE_BUSY);
    Span->State = HeapSubsegmentFull;
    HEAP_STORE(&Span->Owner, Slot);
}

/* A block of whole pages that the slot kept (each place holds a chain of spans of one length), or NULL. */
static inline PVOID RtlpTakeCachedSpan(PHEAP_SLOT Slot, SIZE_T Size)
{
    const SIZE_T Pages = (Size + HEAP_PAGE - 1) >> HEAP_PAGE_SHIFT;
    PHEAP_ACTIVE Kept = RtlpKeptSpans(Slot, Pages);

    if (Kept != NULL)
    {
        return RtlpIsReady(Kept) ? RtlpTakeReady(Slot, Kept, Kept->Ready) : NULL;
    }

    PULONG Place = &Slot->Cached[Pages % HEAP_SPAN_CACHE];
    const ULONG Number = *Place;
    PHEAP_DESCRIPTOR Cached = HEAP_DESCRIPTOR_AT(Number);

    if (HEAP_UNLIKELY(Number == 0 || Size > HEAP_CACHE_SPAN_PAGES * HEAP_PAGE) || Cached->Pages != Pages)
    {
        return NULL;
    }

    *Place = Cached->Next;
    Slot->CachedPages -= (ULONG)Pages;
    Cached->Next = 0;
    HEAP_STORE(&Cached->Kind, HeapKindPages);

    return Cached->Base;
}

/* Keeps a block of whole pages in the slot. FALSE if there is no room for it. */
static inline BOOLEAN RtlpCacheSpan(PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Span)
{
    const ULONG Pages = Span->Pages;
    PHEAP_ACTIVE Kept = RtlpKeptSpans(Slot, Pages);

    if (Kept != NULL)
    {
        if (Kept->Ready == Kept->ReadyFull)
        {
            return FALSE;
        }

        RtlpOwnSpan(Slot, Span);

        return RtlpFreeLocal(Slot, Span, Span->Base);
    }

    PULONG Place = &Slot->Cached[Pages % HEAP_SPAN_CACHE];
    const ULONG Number = *Place;
    const ULONG Total = Slot->CachedPages + Pages; /* the empty slot is full */

    if (Pages > HEAP_CACHE_SPAN_PAGES || Total > HEAP_CACHE_SLOT_PAGES ||
        (Number != 0 && HEAP_DESCRIPTOR_AT(Number)->Pages != Pages))
    {
        return FALSE;
    }

    Span->Next = Number;
    HEAP_STORE(&Span->Kind, HeapKindNone); /* nobody's neighbour, no block */
    *Place = RtlpDescriptorNumber(Span);
    Slot->CachedPages = Total;

    return TRUE;
}

/* NULL is outside of every arena: the slow path sorts it out. */
static inline __attribute__((always_inline)) VOID RtlpFreeFront(PHEAP_SLOT Slot, PVOID Block)
{
    const SIZE_T Offset = (SIZE_T)((ULONG_PTR)Block - (ULONG_PTR)RtlpArena.Base);

    if (HEAP_LIKELY(RtlpIsAbove(&RtlpArena.Limit, Offset)))
    {
        PHEAP_DESCRIPTOR Descriptor =
            HEAP_DESCRIPTOR_AT(HEAP_LOAD(&RtlpArena.PageMap[Offset >> HEAP_PAGE_SHIFT]));

        if (HEAP_LIKELY(RtlpIsPointer((PVOID const *)&Descriptor->Owner, Slot)))
        {
            if (HEAP_LIKELY(RtlpFreeLocal(Slot, Descriptor, Block)))
            {
                return;
            }
        }
        else
        {
            RtlpFreeOther(Block, Slot, Descriptor);
            return;
        }
    }

    RtlpFreeBlockSlow(Block, Slot);
}

#endif
