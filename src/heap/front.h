/* SPDX-License-Identifier: MIT */
/*
 * The two paths that nearly every call takes: a block from the active subsegment's map, a block back into its map.
 *
 * Both are inline, without a lock and without an atomic read-modify-write; they touch the slot, the descriptor and one
 * word of the map, never the block. Every free is checked completely: right page, start of a block, block in use.
 */
#ifndef NTMM_HEAP_FRONT_H
#define NTMM_HEAP_FRONT_H

#include "heap/heap.h"

/* A block of the active subsegment's current word, whose value is Bits, not 0. */
static inline PVOID RtlpTakeBlock(PHEAP_ACTIVE Active, ULONG64 Bits)
{
    const ULONG Index = (ULONG)__builtin_ctzll(Bits) ^ Active->Scramble;

    HEAP_STORE(Active->Word, Bits & (Bits - 1));
    Active->Subsegment->Used += 1;

    return Active->WordBase + (SIZE_T)Index * Active->BlockSize;
}

/* Size is at most HEAP_FRONT_END_LIMIT. NULL if there is no memory. */
static inline PVOID RtlpAllocateFront(PHEAP_SLOT Slot, SIZE_T Size)
{
    const ULONG Bucket = RtlpBucketOf(Size);
    PHEAP_ACTIVE Active = &Slot->Active[Bucket];
    const ULONG64 Bits = *Active->Word;

    return HEAP_LIKELY(Bits != 0) ? RtlpTakeBlock(Active, Bits) : RtlpAllocateSlow(Slot, Bucket, Size);
}

/* Offset is inside the subsegment. The index of the block that Offset lies in. */
static inline ULONG RtlpBlockIndex(const HEAP_DESCRIPTOR *Subsegment, SIZE_T Offset)
{
    return (ULONG)((Offset * Subsegment->Reciprocal) >> 32);
}

/*
 * Frees a block of a subsegment that Slot owns. FALSE, and nothing is done, if no block in use starts there. One product
 * gives both the index (its upper half) and whether Offset is a multiple of the block size: it is exactly if the lower half
 * is less than the reciprocal (Lemire, Kaser, Kurz, "Faster remainder by direct computation", 2019).
 */
static inline BOOLEAN RtlpFreeLocal(PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Subsegment, PVOID Block)
{
    const ULONG64 Product = (SIZE_T)((PUCHAR)Block - Subsegment->Base) * Subsegment->Reciprocal;
    const ULONG Index = (ULONG)(Product >> 32);
    const ULONG Word = Index >> 6;
    const ULONG64 Bit = 1ull << ((Index ^ Subsegment->Scramble) & 63);

    if (HEAP_UNLIKELY((ULONG)Product >= Subsegment->Reciprocal || Index >= Subsegment->Exposed))
    {
        return FALSE;
    }

    const ULONG64 Old = RtlpMap(Subsegment)[Word];
    const ULONG Used = Subsegment->Used;

    if (HEAP_UNLIKELY((Old & Bit) != 0))
    {
        return FALSE;
    }

    HEAP_STORE(&RtlpMap(Subsegment)[Word], Old | Bit);
    Subsegment->Used = Used - 1;
    if (HEAP_UNLIKELY(Used - 2 >=
                      Subsegment->Capacity - 2u)) /* it was full, or falls empty: Used is 1, and wraps */
    {
        RtlpFreeTransition(Slot, Subsegment, Word);
    }

    return TRUE;
}

/* NULL is outside of every arena: the slow path sorts it out. */
static inline VOID RtlpFreeFront(PHEAP_SLOT Slot, PVOID Block)
{
    const SIZE_T Offset = (SIZE_T)((ULONG_PTR)Block - (ULONG_PTR)RtlpArena.Base);

    if (HEAP_LIKELY(Offset < HEAP_LOAD(&RtlpArena.Limit)))
    {
        PHEAP_DESCRIPTOR Descriptor =
            HEAP_DESCRIPTOR_AT(HEAP_LOAD(&RtlpArena.PageMap[Offset >> HEAP_PAGE_SHIFT]));

        if (HEAP_LIKELY(HEAP_LOAD(&Descriptor->Owner) == Slot) &&
            HEAP_LIKELY(RtlpFreeLocal(Slot, Descriptor, Block)))
        {
            return;
        }
    }

    RtlpFreeBlockSlow(Slot, Block);
}

#endif
