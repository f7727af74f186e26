/* SPDX-License-Identifier: MIT */
/*
 * Any block, whatever holds it: free off the fast path, size, and blocks with an alignment.
 *
 * Here ends every free that front.h refused: a block of another thread's slot, a block that is no subsegment's, or no
 * block at all, which is told apart and reported.
 */
#include "heap/api.h"

/* What is wrong with freeing Block, for which RtlpFreeLocal or the same checks failed. */
static HEAP_DAMAGE RtlpDiagnose(const HEAP_DESCRIPTOR *Subsegment, const VOID *Block)
{
    const SIZE_T Offset = (SIZE_T)((const UCHAR *)Block - Subsegment->Base);
    const ULONG Index = RtlpBlockIndex(Subsegment, Offset);

    if (Index >= HEAP_LOAD(&Subsegment->Exposed))
    {
        return HeapDamageInvalidFree;
    }

    return (SIZE_T)Index * Subsegment->BlockSize != Offset ? HeapDamageInteriorFree : HeapDamageDoubleFree;
}

/* TRUE if a block in use begins there, as far as the calling thread can see. */
static BOOLEAN RtlpIsBlock(const HEAP_DESCRIPTOR *Subsegment, const VOID *Block)
{
    const SIZE_T Offset = (SIZE_T)((const UCHAR *)Block - Subsegment->Base);
    const ULONG Index = RtlpBlockIndex(Subsegment, Offset);

    if ((SIZE_T)Index * Subsegment->BlockSize != Offset || Index >= HEAP_LOAD(&Subsegment->Exposed))
    {
        return FALSE;
    }

    return HEAP_LOAD(&RtlpStates(Subsegment)[Index]) == HEAP_STATE_BUSY;
}

VOID RtlpFreeBlockSlow(PVOID Block, PHEAP_SLOT Slot)
{
    PHEAP_DESCRIPTOR Descriptor = RtlpLookup(Block);

    if (Block == NULL)
    {
        return;
    }

    if (Descriptor == NULL)
    {
        RtlpReportDamage(HeapDamageInvalidFree, Slot->Heap, Block);
        return;
    }

    if (Descriptor->Kind != HeapKindNone && RtlpHeapOfSpan(Descriptor) != Slot->Heap)
    {
#if !defined(NTHEAP_GROUND_NT)
        /* In check mode malloc's blocks are a private heap's, which tells them from others'. */
        if (Slot->Heap == &RtlpMallocHeap && RtlpCheckModeHeap() != NULL)
        {
            (VOID) RtlFreeHeap(RtlpCheckModeHeap(), 0, Block);
            return;
        }
#endif
        RtlpReportDamage(HeapDamageWrongHeap, Slot->Heap, Block);
        return;
    }

    switch ((HEAP_KIND)Descriptor->Kind)
    {
    case HeapKindSubsegment:
    {
        /* What is the slot's own came here because RtlpFreeLocal refused it. */
        if (HEAP_UNLIKELY(RtlpOwner(Descriptor) == Slot || !RtlpFreeRemote(Descriptor, Block)))
        {
            RtlpReportDamage(RtlpDiagnose(Descriptor, Block), RtlpHeapOfSpan(Descriptor), Block);
        }

        return;
    }
    case HeapKindChunk:
        RtlpFreeVariable(Descriptor->Heap, Descriptor, Block);
        return;
    case HeapKindPages:
        if (Descriptor->Base != Block || RtlpIsKept(Descriptor))
        {
            RtlpReportDamage(RtlpDiagnoseBlock(Slot->Heap, Descriptor, Block), Slot->Heap, Block);
            return;
        }

        RtlpFreeBig(Descriptor->Heap, Slot, Descriptor);
        return;
    case HeapKindFree:
        RtlpReportDamage(Descriptor->Base == Block ? HeapDamageDoubleFree : HeapDamageInvalidFree, Slot->Heap,
                         Block);
        return;
    case HeapKindGuarded:
        RtlpFreeGuarded(Descriptor->Heap, Descriptor, Block);
        return;
    case HeapKindQuarantined:
        RtlpReportDamage(HeapDamageDoubleFree, Descriptor->Heap, Block);
        return;
    case HeapKindNone:
        break;
    }

    RtlpReportDamage(HeapDamageInvalidFree, Slot->Heap, Block);
}

/* Blocks of other threads. */
static DECLSPEC_NOINLINE VOID RtlpFreeForeign(PVOID Block, PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Subsegment)
{
#if !defined(NTHEAP_GROUND_NT)
    if (HEAP_UNLIKELY(Slot == &RtlpEmptySlot))
    {
        /* A thread that begins with another's blocks goes on with its work, so it goes on with its slot. */
        Slot = RtlpInheritSlot(Subsegment);
        if (Slot != &RtlpEmptySlot)
        {
            RtlpFreeFront(Slot, Block);
            return;
        }
    }
#endif

    const PHEAP_SLOT Owner = RtlpOwner(Subsegment);

    if (HEAP_UNLIKELY(Owner == HEAP_NO_OWNER || Owner->Heap != Slot->Heap))
    {
        RtlpFreeBlockSlow(Block, Slot);
    }
    else if (HEAP_UNLIKELY(!RtlpFreeRemote(Subsegment, Block)))
    {
        RtlpReportDamage(RtlpDiagnose(Subsegment, Block), Slot->Heap, Block);
    }
}

/* Buffers and blocks of other threads: the next commonest cases after a thread's own small blocks. No stack for buffers. */
VOID RtlpFreeOther(PVOID Block, PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Descriptor)
{
    if (Descriptor->Kind == HeapKindSubsegment)
    {
        RtlpFreeForeign(Block, Slot, Descriptor);
        return;
    }

    if (Descriptor->Kind != HeapKindPages || Descriptor->Base != Block || Descriptor->Heap != Slot->Heap ||
        !RtlpCacheSpan(Slot, Descriptor))
    {
        RtlpFreeBlockSlow(Block, Slot);
    }
}

HEAP_DAMAGE RtlpDiagnoseBlock(PHEAP Heap, const HEAP_DESCRIPTOR *Descriptor, const VOID *Block)
{
    if (Descriptor->Kind == HeapKindNone)
    {
        return HeapDamageInvalidFree;
    }

    if (RtlpHeapOfSpan(Descriptor) != Heap)
    {
        return HeapDamageWrongHeap;
    }

    if (Descriptor->Kind == HeapKindSubsegment)
    {
        return RtlpDiagnose(Descriptor, Block);
    }

    if (Descriptor->Kind == HeapKindFree || Descriptor->Kind == HeapKindQuarantined || RtlpIsKept(Descriptor))
    {
        return HeapDamageDoubleFree;
    }

    return Descriptor->Kind == HeapKindChunk ? HeapDamageInvalidFree : HeapDamageInteriorFree;
}

SIZE_T RtlpBlockSizeIn(PHEAP_DESCRIPTOR Descriptor, const VOID *Block)
{
    switch ((HEAP_KIND)Descriptor->Kind)
    {
    case HeapKindSubsegment:
        return RtlpIsBlock(Descriptor, Block) ? Descriptor->BlockSize : 0;
    case HeapKindChunk:
        return RtlpVariableSize(Descriptor->Heap, Descriptor, Block);
    case HeapKindPages:
        return Descriptor->Base == Block && !RtlpIsKept(Descriptor) ? RtlpBigSize(Descriptor) : 0;
    case HeapKindGuarded:
        return RtlpGuardedSize(Descriptor, Block);
    case HeapKindNone:
    case HeapKindFree:
    case HeapKindQuarantined:
        break;
    }

    return 0;
}

SIZE_T RtlpBlockSize(const VOID *Block)
{
    PHEAP_DESCRIPTOR Descriptor = RtlpLookup(Block);
    const SIZE_T Size = Descriptor != NULL ? RtlpBlockSizeIn(Descriptor, Block) : 0;

    if (HEAP_UNLIKELY(Size == 0))
    {
        RtlpReportDamage(HeapDamageInvalidFree, Descriptor != NULL ? RtlpHeapOfSpan(Descriptor) : NULL,
                         Block);
    }

    return Size;
}

PVOID RtlpAllocateAligned(PHEAP Heap, PHEAP_SLOT Slot, SIZE_T Size, SIZE_T Alignment)
{
    BOOLEAN Zeroed;

    if (RtlpPageHeap)
    {
        return RtlpAllocateGuarded(Heap, Size, Alignment);
    }

    if (Size <= HEAP_FRONT_END_LIMIT && Alignment <= HEAP_PAGE)
    {
        /* A subsegment begins on a page: its blocks are aligned to whatever power of two divides their size. */
        ULONG Bucket = RtlpBucketOf(Size == 0 ? Alignment : (Size + Alignment - 1) & ~(Alignment - 1));

        while (Bucket < HEAP_BUCKETS && RtlpBucketSize(Bucket) % Alignment != 0)
        {
            Bucket += 1;
        }

        if (Slot == &RtlpEmptySlot)
        {
            Slot = RtlpAttachThread();
            if (Slot == NULL)
            {
                return NULL;
            }
        }

        if (Bucket < HEAP_BUCKETS && Slot != &RtlpEmptySlot)
        {
            Slot->Buckets[Bucket].Uses = MAXUSHORT; /* activated: blocks of chunks are aligned to 16 only */

            return RtlpAllocateExact(Slot, Bucket);
        }
    }

    return RtlpAllocateBig(Heap, Slot, Size, Alignment, &Zeroed);
}
