/* SPDX-License-Identifier: MIT */
/*
 * Chunks: blocks of any size side by side, best fit, for buckets that are not activated.
 *
 * A program uses most sizes only a few times. Giving each of them a page of its own is what makes small programs large;
 * here they share pages. A chunk is 64 KiB with two maps in its descriptor, one bit for 16 bytes: Busy says that the bytes
 * belong to a block, Start that a block begins there. The search reads all runs of a chunk, which takes some hundred
 * nanoseconds and is bought back by the bucket's activation after a few allocations. HEAP.BackLock is taken here.
 */
#include "heap/granule.h"
#include "heap/heap.h"

C_ASSERT(HEAP_CHUNK_UNITS < HEAP_SPARE_SIZES);

HEAP_GRANULES RtlpChunkGranules(PHEAP_DESCRIPTOR Chunk)
{
    return (HEAP_GRANULES){ .Busy = (PULONG64)(Chunk + 1),
                            .Start = (PULONG64)(Chunk + 1) + HEAP_CHUNK_WORDS,
                            .Count = HEAP_CHUNK_GRANULES };
}

static PHEAP_DESCRIPTOR RtlpCreateChunk(PHEAP Heap)
{
    PHEAP_DESCRIPTOR Chunk = RtlpAllocateDescriptor(Heap, HEAP_CHUNK_UNITS);
    PHEAP_DESCRIPTOR Span =
        Chunk != NULL ? RtlpAllocateSpan(Heap, HEAP_CHUNK_PAGES, HEAP_PAGE, HeapKindChunk) : NULL;

    if (Span == NULL)
    {
        if (Chunk != NULL)
        {
            RtlpFreeDescriptor(Heap, Chunk, HEAP_CHUNK_UNITS);
        }

        return NULL;
    }

    Chunk->Base = Span->Base;
    Chunk->Pages = HEAP_CHUNK_PAGES;
    Chunk->Kind = HeapKindChunk;
    Chunk->Requested = HEAP_CHUNK_GRANULES;
    __builtin_memset(Chunk + 1, 0, 2 * HEAP_CHUNK_WORDS * sizeof(ULONG64));
    RtlpSetPageMap(Span->Base, HEAP_CHUNK_PAGES, RtlpDescriptorNumber(Chunk));
    RtlpFreeDescriptor(Heap, Span, 1);
    Chunk->Next = Heap->Chunks;
    Heap->Chunks = RtlpDescriptorNumber(Chunk);
    if (Chunk->Next != 0)
    {
        HEAP_DESCRIPTOR_AT(Chunk->Next)->Previous = Heap->Chunks;
    }

    return Chunk;
}

static VOID RtlpReleaseChunk(PHEAP Heap, PHEAP_DESCRIPTOR Chunk)
{
    PHEAP_DESCRIPTOR Span = RtlpAllocateDescriptor(Heap, 1);

    if (Span == NULL)
    {
        return; /* it stays, empty */
    }

    if (Chunk->Previous != 0)
    {
        HEAP_DESCRIPTOR_AT(Chunk->Previous)->Next = Chunk->Next;
    }
    else
    {
        Heap->Chunks = Chunk->Next;
    }

    if (Chunk->Next != 0)
    {
        HEAP_DESCRIPTOR_AT(Chunk->Next)->Previous = Chunk->Previous;
    }

    Span->Base = Chunk->Base;
    Span->Pages = Chunk->Pages;
    Span->Pool = HeapPoolSmall;
    RtlpSetPageMap(Chunk->Base, Chunk->Pages, 0);
    RtlpFreeDescriptor(Heap, Chunk, HEAP_CHUNK_UNITS);
    RtlpFreeSpan(Heap, Span);
}

PVOID RtlpAllocateVariable(PHEAP Heap, SIZE_T Size)
{
    const ULONG Count = Size == 0 ? 1 : (ULONG)((Size + 15) / 16);
    PVOID Block = NULL;

    RtlpAcquireLock(&Heap->BackLock);

    PHEAP_DESCRIPTOR Chunk = Heap->Chunks != 0 ? HEAP_DESCRIPTOR_AT(Heap->Chunks) : NULL;
    ULONG Found = HEAP_NO_GRANULE;

    while (Chunk != NULL)
    {
        /* Chunk->Requested is never less than the longest free run. */
        if (Chunk->Requested >= Count)
        {
            const HEAP_GRANULES Range = RtlpChunkGranules(Chunk);
            ULONG Longest;

            Found = RtlpFindGranules(&Range, Count, &Longest);
            Chunk->Requested = Longest;
            if (Found != HEAP_NO_GRANULE)
            {
                break;
            }
        }

        Chunk = Chunk->Next != 0 ? HEAP_DESCRIPTOR_AT(Chunk->Next) : NULL;
    }

    if (Chunk == NULL)
    {
        Chunk = RtlpCreateChunk(Heap);
        Found = 0;
    }

    if (Chunk != NULL)
    {
        const HEAP_GRANULES Range = RtlpChunkGranules(Chunk);

        RtlpTakeGranules(&Range, Found, Count);
        Chunk->Committed += Count * (SIZE_T)16;
        Block = Chunk->Base + (SIZE_T)Found * 16;
    }

    RtlpReleaseLock(&Heap->BackLock);

    return Block;
}

SIZE_T RtlpVariableSize(PHEAP Heap, PHEAP_DESCRIPTOR Chunk, const VOID *Block)
{
    const SIZE_T Offset = (SIZE_T)((const UCHAR *)Block - Chunk->Base);
    const HEAP_GRANULES Range = RtlpChunkGranules(Chunk);

    if (Offset % 16 != 0)
    {
        return 0;
    }

    RtlpAcquireLock(&Heap->BackLock);

    const ULONG Count = RtlpBlockGranules(&Range, (ULONG)(Offset / 16));

    RtlpReleaseLock(&Heap->BackLock);

    return (SIZE_T)Count * 16;
}

VOID RtlpFreeVariable(PHEAP Heap, PHEAP_DESCRIPTOR Chunk, PVOID Block)
{
    const SIZE_T Offset = (SIZE_T)((PUCHAR)Block - Chunk->Base);
    const ULONG Start = (ULONG)(Offset / 16);
    const HEAP_GRANULES Range = RtlpChunkGranules(Chunk);

    RtlpAcquireLock(&Heap->BackLock);

    const BOOLEAN Busy = (Range.Busy[Start / 64] >> (Start % 64) & 1) != 0;
    const ULONG Count = Offset % 16 == 0 ? RtlpBlockGranules(&Range, Start) : 0;

    if (Count != 0)
    {
        RtlpReturnGranules(&Range, Start, Count);
        Chunk->Committed -= Count * (SIZE_T)16;
        Chunk->Requested = HEAP_CHUNK_GRANULES;
        if (Chunk->Committed == 0 && (Chunk->Next != 0 || Chunk->Previous != 0))
        {
            RtlpReleaseChunk(Heap, Chunk);
        }
    }

    RtlpReleaseLock(&Heap->BackLock);
    if (Count == 0)
    {
        RtlpReportDamage(Busy ? HeapDamageInteriorFree : HeapDamageDoubleFree, Heap, Block);
    }
}
