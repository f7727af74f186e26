/* SPDX-License-Identifier: MIT */
/*
 * Chunks: blocks of any size side by side, best fit, for buckets that are not activated.
 *
 * A program uses most sizes only a few times. Giving each of them a page of its own is what makes small programs large;
 * here they share pages. A chunk is 64 KiB with two maps in its descriptor, one bit for 16 bytes: Busy says that the bytes
 * belong to a block, Start that a block begins there. The search reads all runs of a chunk, which takes some hundred
 * nanoseconds and is bought back by the bucket's activation after a few allocations. HEAP.BackLock is taken here.
 */
#include "heap/heap.h"

#define HEAP_CHUNK_PAGES    16
#define HEAP_CHUNK_GRANULES (HEAP_CHUNK_PAGES * (ULONG)HEAP_PAGE / 16)
#define HEAP_CHUNK_WORDS    (HEAP_CHUNK_GRANULES / 64)
#define HEAP_CHUNK_UNITS    ((ULONG)((sizeof(HEAP_DESCRIPTOR) + 2 * HEAP_CHUNK_WORDS * 8) / HEAP_UNIT))

C_ASSERT(HEAP_CHUNK_UNITS < HEAP_SPARE_SIZES);

/* The first granule at or after From that is busy (Busy TRUE) or not; HEAP_CHUNK_GRANULES if there is none. */
static ULONG RtlpNextGranule(const ULONG64 *Map, ULONG From, BOOLEAN Busy)
{
    const ULONG64 Flip = Busy ? 0 : ~0ull;
    ULONG Word = From / 64;

    if (From >= HEAP_CHUNK_GRANULES)
    {
        return HEAP_CHUNK_GRANULES;
    }

    ULONG64 Bits = (Map[Word] ^ Flip) >> (From % 64) << (From % 64);

    while (Bits == 0)
    {
        Word += 1;
        if (Word == HEAP_CHUNK_WORDS)
        {
            return HEAP_CHUNK_GRANULES;
        }

        Bits = Map[Word] ^ Flip;
    }

    return Word * 64 + (ULONG)__builtin_ctzll(Bits);
}

static VOID RtlpFillGranules(ULONG64 *Map, ULONG From, ULONG Count, BOOLEAN Busy)
{
    while (Count != 0)
    {
        const ULONG Shift = From % 64;
        const ULONG Here = Count < 64 - Shift ? Count : 64 - Shift;
        const ULONG64 Bits = (Here == 64 ? ~0ull : (1ull << Here) - 1) << Shift;

        if (Busy)
        {
            Map[From / 64] |= Bits;
        }
        else
        {
            Map[From / 64] &= ~Bits;
        }

        From += Here;
        Count -= Here;
    }
}

/* The shortest free run of at least Count granules, and in *Longest the longest of all. */
static ULONG RtlpFindRun(const ULONG64 *Busy, ULONG Count, ULONG *Longest)
{
    ULONG Best = HEAP_CHUNK_GRANULES;
    ULONG BestLength = HEAP_CHUNK_GRANULES + 1;
    ULONG Start = RtlpNextGranule(Busy, 0, FALSE);

    *Longest = 0;
    while (Start < HEAP_CHUNK_GRANULES)
    {
        const ULONG End = RtlpNextGranule(Busy, Start, TRUE);
        const ULONG Length = End - Start;

        if (Length >= Count && Length < BestLength)
        {
            Best = Start;
            BestLength = Length;
        }

        if (Length > *Longest)
        {
            *Longest = Length;
        }

        Start = RtlpNextGranule(Busy, End, FALSE);
    }

    return Best;
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
    Chunk->Granules = HEAP_CHUNK_GRANULES;
    __builtin_memset(Chunk->Map, 0, 2 * HEAP_CHUNK_WORDS * sizeof(ULONG64));
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
    ULONG Found = HEAP_CHUNK_GRANULES;

    while (Chunk != NULL)
    {
        /* Granules is never less than the longest free run. */
        if (Chunk->Granules >= Count)
        {
            ULONG Longest;

            Found = RtlpFindRun(Chunk->Map, Count, &Longest);
            Chunk->Granules = Longest;
            if (Found != HEAP_CHUNK_GRANULES)
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
        RtlpFillGranules(Chunk->Map, Found, Count, TRUE);
        Chunk->Map[HEAP_CHUNK_WORDS + Found / 64] |= 1ull << (Found % 64);
        Chunk->Committed += Count * (SIZE_T)16;
        Block = Chunk->Base + (SIZE_T)Found * 16;
    }

    RtlpReleaseLock(&Heap->BackLock);

    return Block;
}

/* Granules of the block that begins at Start; 0 if none does. */
static ULONG RtlpBlockGranules(PHEAP_DESCRIPTOR Chunk, ULONG Start)
{
    const ULONG64 *Busy = Chunk->Map;
    const ULONG64 *Begin = Chunk->Map + HEAP_CHUNK_WORDS;

    if ((Begin[Start / 64] >> (Start % 64) & 1) == 0)
    {
        return 0;
    }

    const ULONG NextBlock = RtlpNextGranule(Begin, Start + 1, TRUE);
    const ULONG NextFree = RtlpNextGranule(Busy, Start + 1, FALSE);

    return (NextBlock < NextFree ? NextBlock : NextFree) - Start;
}

SIZE_T RtlpVariableSize(PHEAP Heap, PHEAP_DESCRIPTOR Chunk, const VOID *Block)
{
    const SIZE_T Offset = (SIZE_T)((const UCHAR *)Block - Chunk->Base);

    if (Offset % 16 != 0)
    {
        return 0;
    }

    RtlpAcquireLock(&Heap->BackLock);

    const ULONG Count = RtlpBlockGranules(Chunk, (ULONG)(Offset / 16));

    RtlpReleaseLock(&Heap->BackLock);

    return (SIZE_T)Count * 16;
}

VOID RtlpFreeVariable(PHEAP Heap, PHEAP_DESCRIPTOR Chunk, PVOID Block)
{
    const SIZE_T Offset = (SIZE_T)((PUCHAR)Block - Chunk->Base);
    const ULONG Start = (ULONG)(Offset / 16);

    RtlpAcquireLock(&Heap->BackLock);

    const BOOLEAN Busy = (Chunk->Map[Start / 64] >> (Start % 64) & 1) != 0;
    const ULONG Count = Offset % 16 == 0 ? RtlpBlockGranules(Chunk, Start) : 0;

    if (Count != 0)
    {
        RtlpFillGranules(Chunk->Map, Start, Count, FALSE);
        Chunk->Map[HEAP_CHUNK_WORDS + Start / 64] &= ~(1ull << (Start % 64));
        Chunk->Committed -= Count * (SIZE_T)16;
        Chunk->Granules = HEAP_CHUNK_GRANULES;
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
