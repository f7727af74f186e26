/* SPDX-License-Identifier: MIT */
/*
 * The two paths that nearly every call takes: a block from the active bucket's word, a block back into its map.
 *
 * Both are inline, without a lock and without an atomic read-modify-write; allocation touches one line of the slot, free
 * the descriptor and one word; the block is never touched. Every free is checked completely: right page, start of a
 * block, block in use.
 */
#ifndef NTMM_HEAP_FRONT_H
#define NTMM_HEAP_FRONT_H

#include "heap/heap.h"

/* A block of the claimed word, which is Bits, not 0. */
static inline PVOID RtlpTakeBlock(PHEAP_ACTIVE Active, ULONG64 Bits)
{
    const ULONG Index = ((ULONG)__builtin_ctzll(Bits) + Active->Turn) & 63;

    HEAP_STORE(Active->Word, Bits & (Bits - 1));

    return Active->WordBase + (SIZE_T)Index * Active->BlockSize;
}

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

/* The block that was made ready last; there is one. */
static inline PVOID RtlpTakeReady(PHEAP_ACTIVE Active)
{
    const PHEAP_READY Ready = (PHEAP_READY)(PVOID)Active->Ready - 1;
    const ULONG64 Place = Ready->Place;
    PULONG64 Word = (PULONG64)(ULONG_PTR)((Place >> 3) & ~7ull);

    Active->Ready = (PUCHAR)Ready;
    HEAP_STORE(Word, HEAP_LOAD(Word) & ~(1ull << (Place & 63)));

    return Ready->Block;
}

static inline BOOLEAN RtlpIsReady(const HEAP_ACTIVE *Active)
{
    return (USHORT)(ULONG_PTR)Active->Ready != Active->ReadyEmpty;
}

/* Size is at most HEAP_FRONT_END_LIMIT. NULL if there is no memory. */
static inline PVOID RtlpAllocateFront(PHEAP_SLOT Slot, SIZE_T Size)
{
    const ULONG Bucket = RtlpBucketOf(Size);
    PHEAP_ACTIVE Active = &Slot->Active[Bucket];

    if (HEAP_LIKELY(RtlpIsReady(Active)))
    {
        return RtlpTakeReady(Active);
    }

    const ULONG64 Bits = *Active->Word;

    return HEAP_LIKELY(Bits != 0) ? RtlpTakeBlock(Active, Bits) : RtlpAllocateSlow(Slot, Bucket, Size);
}

/* Sets a bit of a word, given by the low six bits of Place. FALSE, and nothing is done, if it was set already. */
static inline BOOLEAN RtlpSetPlace(PULONG64 Word, ULONG Place)
{
    ULONG64 Value = HEAP_LOAD(Word);
#if defined(__x86_64__) && defined(__GCC_ASM_FLAG_OUTPUTS__)
    int WasSet;

    __asm__("btsq %q2, %0" : "+r"(Value), "=@ccc"(WasSet) : "r"(Place)); /* counts in the low six bits only */
    if (HEAP_UNLIKELY(WasSet))
    {
        return FALSE;
    }

    HEAP_STORE(Word, Value);
#else
    const ULONG64 Bit = 1ull << (Place & 63);

    if (HEAP_UNLIKELY((Value & Bit) != 0))
    {
        return FALSE;
    }

    HEAP_STORE(Word, Value | Bit);
#endif

    return TRUE;
}

/* Offset is inside the subsegment. The index of the block that Offset lies in. */
static inline ULONG RtlpBlockIndex(const HEAP_DESCRIPTOR *Subsegment, SIZE_T Offset)
{
    return (ULONG)((Offset * Subsegment->Reciprocal) >> 32);
}

/* A block of the subsegment, whose bit is set, is kept ready no more, or was not to be. */
static inline __attribute__((always_inline)) VOID RtlpCountFreed(PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Subsegment,
                                                                 SIZE_T Word)
{
    /* All of the claimed word counts as used. Computed, because no branch on it can be foreseen. */
    Subsegment->Used -= (UCHAR)Word != Subsegment->Claimed;
    if (HEAP_UNLIKELY(Subsegment->State == HeapSubsegmentFull))
    {
        RtlpSubsegmentUnfull(Slot, Subsegment);
    }
    else if (HEAP_UNLIKELY(Subsegment->Used == 0))
    {
        RtlpSubsegmentEmpty(Slot, Subsegment);
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

    SIZE_T Index = Product >> 32;

    HEAP_OPAQUE(Index); /* else it is taken from the product twice, and that copied for it */
    if (HEAP_UNLIKELY((ULONG)Index >= Subsegment->Exposed))
    {
        return FALSE;
    }

    const SIZE_T Word = Index >> 6;
    const ULONG Place = (ULONG)Index + Subsegment->Turn;
    PULONG64 Bits = &RtlpMap(Subsegment)[Word];

    if (HEAP_UNLIKELY(!RtlpSetPlace(Bits, Place)))
    {
        return FALSE;
    }

    PHEAP_ACTIVE Active = &Slot->Active[Subsegment->Claimer];
    const PHEAP_READY Ready = (PHEAP_READY)(PVOID)Active->Ready;

    if ((USHORT)(ULONG_PTR)Ready != Active->ReadyFull)
    {
        /* It changes places with one before it on the line of four, or with itself: when it comes again is hard to foresee. */
        const PHEAP_READY Other =
            (PHEAP_READY)((ULONG_PTR)Ready & ((ULONG_PTR)Place << 4 | ~(ULONG_PTR)0x30));

        Ready->Block = Other->Block;
        Ready->Place = Other->Place;
        Other->Block = Block;
        Other->Place = (ULONG64)(ULONG_PTR)Bits << 3 | (Place & 63);
        Active->Ready = (PUCHAR)(Ready + 1);

        return TRUE;
    }

    RtlpCountFreed(Slot, Subsegment, Word);

    return TRUE;
}

/* A block of whole pages that the slot kept (each place holds a chain of spans of one length), or NULL. */
static inline PVOID RtlpTakeCachedSpan(PHEAP_SLOT Slot, SIZE_T Size)
{
    const SIZE_T Pages = (Size + HEAP_PAGE - 1) >> HEAP_PAGE_SHIFT;
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
    Cached->Requested = Size;
    HEAP_STORE(&Cached->Kind, HeapKindPages);

    return Cached->Base;
}

/* Keeps a block of whole pages in the slot. FALSE if there is no room for it. */
static inline BOOLEAN RtlpCacheSpan(PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Span)
{
    const ULONG Pages = Span->Pages;
    PULONG Place = &Slot->Cached[Pages % HEAP_SPAN_CACHE];
    const ULONG Number = *Place;
    const ULONG Kept = Slot->CachedPages + Pages; /* the empty slot is full */

    if (Pages > HEAP_CACHE_SPAN_PAGES || Kept > HEAP_CACHE_SLOT_PAGES ||
        (Number != 0 && HEAP_DESCRIPTOR_AT(Number)->Pages != Pages))
    {
        return FALSE;
    }

    Span->Next = Number;
    HEAP_STORE(&Span->Kind, HeapKindNone); /* nobody's neighbour, no block */
    *Place = RtlpDescriptorNumber(Span);
    Slot->CachedPages = Kept;

    return TRUE;
}

/* NULL is outside of every arena: the slow path sorts it out. */
static inline __attribute__((always_inline)) VOID RtlpFreeFront(PHEAP_SLOT Slot, PVOID Block)
{
    const SIZE_T Offset = (SIZE_T)((ULONG_PTR)Block - (ULONG_PTR)RtlpArena.Base);

    if (HEAP_LIKELY(Offset < HEAP_LOAD(&RtlpArena.Limit)))
    {
        PHEAP_DESCRIPTOR Descriptor =
            HEAP_DESCRIPTOR_AT(HEAP_LOAD(&RtlpArena.PageMap[Offset >> HEAP_PAGE_SHIFT]));
        PHEAP_SLOT Owner = HEAP_LOAD(&Descriptor->Owner);

        if (HEAP_LIKELY(Owner == Slot))
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
