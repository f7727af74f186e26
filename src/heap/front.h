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

/* A block of the active subsegment's current word, or NULL if that has none. */
static inline PVOID RtlpTakeBlock(PHEAP_ACTIVE Active)
{
    const ULONG64 Bits = *Active->Word;

    if (HEAP_UNLIKELY(Bits == 0))
    {
        return NULL;
    }

    const ULONG Index = (ULONG)__builtin_ctzll(Bits) ^ Active->Scramble;

    HEAP_STORE(Active->Word, Bits & (Bits - 1));
    Active->Subsegment->Used += 1;

    return Active->WordBase + (SIZE_T)Index * Active->BlockSize;
}

/* Size is at most HEAP_FRONT_END_LIMIT. NULL if there is no memory. */
static inline PVOID RtlpAllocateFront(PHEAP_SLOT Slot, SIZE_T Size)
{
    const ULONG Bucket = RtlpBucketOf(Size);
    PVOID Block = RtlpTakeBlock(&Slot->Active[Bucket]);

    return HEAP_LIKELY(Block != NULL) ? Block : RtlpAllocateSlow(Slot, Bucket, Size);
}

/* Offset is inside the subsegment. The index of the block that Offset lies in. */
static inline ULONG RtlpBlockIndex(const HEAP_DESCRIPTOR *Subsegment, SIZE_T Offset)
{
    return (ULONG)((Offset * Subsegment->Reciprocal) >> 32);
}

/* Frees a block of a subsegment that Slot owns. FALSE, and nothing is done, if no block in use starts there. */
static inline BOOLEAN RtlpFreeLocal(PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Subsegment, PVOID Block)
{
    const SIZE_T Offset = (SIZE_T)((PUCHAR)Block - Subsegment->Base);
    const ULONG Index = RtlpBlockIndex(Subsegment, Offset);
    const ULONG Word = Index >> 6;
    const ULONG64 Bit = 1ull << ((Index ^ Subsegment->Scramble) & 63);

    if (HEAP_UNLIKELY((SIZE_T)Index * Subsegment->BlockSize != Offset || Index >= Subsegment->Exposed))
    {
        return FALSE;
    }

    const ULONG64 Old = Subsegment->Map[Word];

    if (HEAP_UNLIKELY((Old & Bit) != 0))
    {
        return FALSE;
    }

    HEAP_STORE(&Subsegment->Map[Word], Old | Bit);
    Subsegment->Used -= 1;
    if (HEAP_UNLIKELY(Old == 0 || Subsegment->Used == 0))
    {
        RtlpFreeTransition(Slot, Subsegment, Word, Old);
    }

    return TRUE;
}

static inline VOID RtlpFreeFront(PHEAP_SLOT Slot, PVOID Block)
{
    PHEAP_DESCRIPTOR Descriptor = RtlpLookup(Block);

    if (HEAP_UNLIKELY(Descriptor == NULL || HEAP_LOAD(&Descriptor->Owner) != Slot ||
                      !RtlpFreeLocal(Slot, Descriptor, Block)))
    {
        RtlpFreeBlockSlow(Slot, Block);
    }
}

#endif
