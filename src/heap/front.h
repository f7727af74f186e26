/* SPDX-License-Identifier: MIT */
/*
 * The two paths that nearly every call takes: a block that is ready or of the claimed word, a block back into its map and ready.
 *
 * Both are inline, without a lock and without an atomic read-modify-write; allocation touches one line of the slot, free
 * the descriptor and one word; the block is never touched. Every free is checked completely: right page, start of a
 * block, block in use.
 */
#ifndef NTMM_HEAP_FRONT_H
#define NTMM_HEAP_FRONT_H

#include "heap/heap.h"

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

/* The word of the map that a ready block's bit is in. */
static inline PULONG64 RtlpReadyWord(const HEAP_READY *Ready)
{
    return (PULONG64)(ULONG_PTR)(Ready->Place >> 6);
}

static inline BOOLEAN RtlpIsReady(const HEAP_ACTIVE *Active)
{
    return Active->Ready != Active->ReadyFirst;
}

/* The last of the ready blocks, which end at End. */
static inline PVOID RtlpTakeReady(PHEAP_SLOT Slot, PHEAP_ACTIVE Active, ULONG64 End)
{
    const ULONG64 Last = End - sizeof(HEAP_READY);
    const HEAP_READY *Ready = RtlpReadyAt(Slot, Last);
    PULONG64 Word = RtlpReadyWord(Ready);

    Active->Ready = (USHORT)Last;
    HEAP_STORE(Word, HEAP_LOAD(Word) & ~(1ull << (Ready->Place & 63)));

    return Ready->Block;
}

/* A block of the claimed word, of its Bits, which are not 0. */
static inline PVOID RtlpTakeClaimed(PHEAP_SLOT Slot, PHEAP_ACTIVE Active, ULONG64 Bits)
{
    const ULONG64 Place = (ULONG64)__builtin_ctzll(Bits);
    PULONG64 Word = (PULONG64)(PVOID)Slot + Active->Word;

    Active->Bits = Bits & (Bits - 1);
    HEAP_STORE(Word, HEAP_LOAD(Word) & ~(1ull << Place));

    return Active->WordBase + ((Place + Active->Turn) & 63) * Active->BlockSize;
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
static inline __attribute__((always_inline)) VOID RtlpCountFreed(PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Subsegment)
{
    Subsegment->Used -= 1;
    if (HEAP_UNLIKELY(Subsegment->State == HeapSubsegmentFull))
    {
        RtlpSubsegmentUnfull(Slot, Subsegment);
    }
    else if (HEAP_UNLIKELY(Subsegment->Used == 0))
    {
        RtlpSubsegmentEmpty(Slot, Subsegment);
    }
}

/* Another thread freed the block, and it was not collected yet. */
static inline BOOLEAN RtlpIsSent(const HEAP_DESCRIPTOR *Subsegment, SIZE_T Index, ULONG Place)
{
    return Subsegment->Kind == HeapKindSubsegment &&
           (HEAP_LOAD(&RtlpRemote(Subsegment)->Words[Index >> 6]) >> (Place & 63) & 1) != 0;
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

    const ULONG Place = (ULONG)Index + Subsegment->Turn;
    PULONG64 Bits = &RtlpMap(Subsegment)[Index >> 6];

    /* Others sent blocks of the slot back that it did not collect yet: this one may be among them. */
    if (HEAP_UNLIKELY(HEAP_LOAD(&Slot->Reported) != 0) && HEAP_UNLIKELY(RtlpIsSent(Subsegment, Index, Place)))
    {
        return FALSE;
    }

    if (HEAP_UNLIKELY(!RtlpSetPlace(Bits, Place)))
    {
        return FALSE;
    }

    PHEAP_ACTIVE Active = &Slot->Active[Subsegment->Taker];

    const ULONG64 End = Active->Ready;

    if (HEAP_LIKELY(End != Active->ReadyFull))
    {
        /* It changes places with one of the first four, or with itself: when it comes again is hard to foresee. */
        const PHEAP_READY Ready = RtlpReadyAt(Slot, End);
        const ULONG64 Packed = (ULONG64)(ULONG_PTR)Bits << 6 | (Place & 63);
        ULONG64 Changed = Active->ReadyFirst + ((Packed ^ Ready->Place) & HEAP_READY_SPREAD);

        Changed = Changed > End ? Active->ReadyFirst : Changed;

        const PHEAP_READY Other = RtlpReadyAt(Slot, Changed);

        Ready->Block = Other->Block;
        Ready->Place = Other->Place;
        Other->Block = Block;
        Other->Place = Packed;
        Active->Ready = (USHORT)(End + sizeof(*Ready));

        return TRUE;
    }

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
    Span->Used = 1;
    Span->Exposed = 1;
    Span->Turn = HEAP_KEPT_TURN;
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
