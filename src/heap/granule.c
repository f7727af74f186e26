/* SPDX-License-Identifier: MIT */
/*
 * Searching and changing the two maps of a range of variable blocks (granule.h).
 */
#include "heap/granule.h"

ULONG RtlpNextGranule(const ULONG64 *Map, ULONG Count, ULONG From, BOOLEAN Set)
{
    const ULONG64 Flip = Set ? 0 : ~0ull;
    ULONG Word = From / 64;

    if (From >= Count)
    {
        return Count;
    }

    ULONG64 Bits = (Map[Word] ^ Flip) >> (From % 64) << (From % 64);

    while (Bits == 0)
    {
        Word += 1;
        if (Word * 64 >= Count)
        {
            return Count;
        }

        Bits = Map[Word] ^ Flip;
    }

    return Word * 64 + (ULONG)__builtin_ctzll(Bits);
}

VOID RtlpFillGranules(PULONG64 Map, ULONG From, ULONG Count, BOOLEAN Set)
{
    while (Count != 0)
    {
        const ULONG Shift = From % 64;
        const ULONG Here = Count < 64 - Shift ? Count : 64 - Shift;
        const ULONG64 Bits = (Here == 64 ? ~0ull : (1ull << Here) - 1) << Shift;

        if (Set)
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

ULONG RtlpFindGranules(PCHEAP_GRANULES Range, ULONG Count, ULONG *Longest)
{
    ULONG Best = HEAP_NO_GRANULE;
    ULONG BestLength = HEAP_NO_GRANULE;
    ULONG Start = RtlpNextGranule(Range->Busy, Range->Count, 0, FALSE);

    *Longest = 0;
    while (Start < Range->Count)
    {
        const ULONG End = RtlpNextGranule(Range->Busy, Range->Count, Start, TRUE);
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

        Start = RtlpNextGranule(Range->Busy, Range->Count, End, FALSE);
    }

    return Best;
}

VOID RtlpTakeGranules(PCHEAP_GRANULES Range, ULONG First, ULONG Count)
{
    RtlpFillGranules(Range->Busy, First, Count, TRUE);
    Range->Start[First / 64] |= 1ull << (First % 64);
}

VOID RtlpReturnGranules(PCHEAP_GRANULES Range, ULONG First, ULONG Count)
{
    RtlpFillGranules(Range->Busy, First, Count, FALSE);
    Range->Start[First / 64] &= ~(1ull << (First % 64));
}

ULONG RtlpBlockGranules(PCHEAP_GRANULES Range, ULONG First)
{
    if (First >= Range->Count || (Range->Start[First / 64] >> (First % 64) & 1) == 0)
    {
        return 0;
    }

    const ULONG NextBlock = RtlpNextGranule(Range->Start, Range->Count, First + 1, TRUE);
    const ULONG NextFree = RtlpNextGranule(Range->Busy, Range->Count, First + 1, FALSE);

    return (NextBlock < NextFree ? NextBlock : NextFree) - First;
}

BOOLEAN RtlpResizeGranules(PCHEAP_GRANULES Range, ULONG First, ULONG Count)
{
    const ULONG Old = RtlpBlockGranules(Range, First);

    if (Count <= Old)
    {
        RtlpFillGranules(Range->Busy, First + Count, Old - Count, FALSE);
        return TRUE;
    }

    if (RtlpNextGranule(Range->Busy, Range->Count, First + Old, TRUE) < First + Count ||
        First + Count > Range->Count)
    {
        return FALSE;
    }

    RtlpFillGranules(Range->Busy, First + Old, Count - Old, TRUE);

    return TRUE;
}
