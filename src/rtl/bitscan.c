/* SPDX-License-Identifier: MIT */
/*
 * The scanning engine of the bitmaps (see bitscan.h).
 *
 * A run of up to 64 bits is found by shifting and masking a window of two words: after AND-ing the window
 * with itself shifted by 1, 2, 4, ... every remaining bit starts a run, so one word costs at most six steps
 * however fragmented it is. A longer run must cover the end of the word it starts in, so one look at each
 * word's top is enough.
 */
#include "rtl/bitscan.h"

ULONG64 RtlpNextWanted(const RTLP_BIT_VIEW *View, ULONG64 From)
{
    if (From >= View->Size)
    {
        return View->Size;
    }

    const ULONG64 Words = (View->Size + 63) / 64;
    ULONG64 Index = From / 64;
    ULONG64 Word = RtlpWantedWord(View, Index) & (~0ull << (From % 64));

    while (Word == 0)
    {
        Index += 1;
        if (Index == Words)
        {
            return View->Size;
        }

        Word = RtlpWantedWord(View, Index);
    }

    return Index * 64 + RtlpLowestBit(Word);
}

ULONG64 RtlpNextUnwanted(const RTLP_BIT_VIEW *View, ULONG64 From, ULONG64 Limit)
{
    if (Limit > View->Size)
    {
        Limit = View->Size;
    }

    if (From >= Limit)
    {
        return Limit;
    }

    ULONG64 Index = From / 64;
    ULONG64 Word = ~RtlpWantedWord(View, Index) & (~0ull << (From % 64));

    while (Word == 0)
    {
        Index += 1;
        if (Index * 64 >= Limit)
        {
            return Limit;
        }

        Word = ~RtlpWantedWord(View, Index);
    }

    const ULONG64 Position = Index * 64 + RtlpLowestBit(Word);

    return Position < Limit ? Position : Limit;
}

ULONG64 RtlpRunStart(const RTLP_BIT_VIEW *View, ULONG64 From, ULONG64 Limit)
{
    while (From > Limit)
    {
        const ULONG64 Index = (From - 1) / 64;
        const ULONG Last = (ULONG)((From - 1) % 64);
        const ULONG64 Unwanted = ~RtlpWantedWord(View, Index) & (~0ull >> (63 - Last));

        if (Unwanted != 0)
        {
            const ULONG64 Start = Index * 64 + RtlpHighestBit(Unwanted) + 1;

            return Start > Limit ? Start : Limit;
        }

        From = Index * 64;
    }

    return Limit;
}

ULONG64 RtlpPreviousWanted(const RTLP_BIT_VIEW *View, ULONG64 From)
{
    ULONG64 Index = From / 64;
    ULONG64 Word = RtlpWantedWord(View, Index) & (~0ull >> (63 - From % 64));

    while (Word == 0)
    {
        if (Index == 0)
        {
            return RTLP_NO_BIT;
        }

        Index -= 1;
        Word = RtlpWantedWord(View, Index);
    }

    return Index * 64 + RtlpHighestBit(Word);
}

/* Low's bits that start a run of Count (2 .. 64) ones in the 128 bits of High:Low. */
static inline ULONG64 RtlpRunStartsInWord(ULONG64 Low, ULONG64 High, ULONG Count)
{
    ULONG Have = 1;

    while (Have < Count && Low != 0)
    {
        const ULONG Step = Have <= Count - Have ? Have : Count - Have;

        Low &= (Low >> Step) | (High << (64 - Step));
        High &= High >> Step;
        Have += Step;
    }

    return Low;
}

static ULONG64 RtlpFindShortRun(const RTLP_BIT_VIEW *View, ULONG64 From, ULONG64 Stop, ULONG Count)
{
    ULONG64 Index = From / 64;
    ULONG64 Word = RtlpWantedWord(View, Index) & (~0ull << (From % 64));

    for (;;)
    {
        /* The following word matters, and is read, only where this one has bits to offer. */
        const ULONG64 Next = Word != 0 || (Index + 1) * 64 < Stop ? RtlpWantedWord(View, Index + 1) : 0;

        if (Word != 0)
        {
            const ULONG64 Starts = Count == 1 ? Word : RtlpRunStartsInWord(Word, Next, Count);

            if (Starts != 0)
            {
                const ULONG64 Position = Index * 64 + RtlpLowestBit(Starts);

                return Position < Stop ? Position : RTLP_NO_BIT;
            }
        }

        Index += 1;
        if (Index * 64 >= Stop)
        {
            return RTLP_NO_BIT;
        }

        Word = Next;
    }
}

static ULONG64 RtlpFindLongRun(const RTLP_BIT_VIEW *View, ULONG64 From, ULONG64 Stop, ULONG64 Count)
{
    ULONG64 Position = From;

    while ((Position = RtlpNextWanted(View, Position)) < Stop)
    {
        const ULONG64 Base = Position & ~63ull;
        const ULONG64 Unwanted = ~RtlpWantedWord(View, Base / 64) & (~0ull << (Position % 64));

        if (Unwanted != 0)
        {
            /* Only what follows the word's last unwanted bit can reach into the next word. */
            Position = Base + RtlpHighestBit(Unwanted) + 1;
            if (Position == Base + 64)
            {
                continue;
            }
        }

        const ULONG64 End = RtlpNextUnwanted(View, Position, Position + Count);

        if (End - Position == Count)
        {
            return Position < Stop ? Position : RTLP_NO_BIT;
        }

        Position = End;
    }

    return RTLP_NO_BIT;
}

ULONG64 RtlpFindWantedRun(const RTLP_BIT_VIEW *View, ULONG64 From, ULONG64 Stop, ULONG64 Count)
{
    if (Count > View->Size)
    {
        return RTLP_NO_BIT;
    }

    if (Stop > View->Size - Count + 1)
    {
        Stop = View->Size - Count + 1;
    }

    if (From >= Stop)
    {
        return RTLP_NO_BIT;
    }

    return Count <= 64 ? RtlpFindShortRun(View, From, Stop, (ULONG)Count)
                       : RtlpFindLongRun(View, From, Stop, Count);
}

ULONG64
RtlpLongestWantedRun(const RTLP_BIT_VIEW *View, ULONG64 From, ULONG64 Stop, ULONG64 Cap, ULONG64 *Start)
{
    ULONG64 Longest = 0;

    *Start = From;
    while (Longest < Cap)
    {
        /* Always ask for one more than the best so far: most of the map is skipped word by word. */
        const ULONG64 Position = RtlpFindWantedRun(View, From, Stop, Longest + 1);

        if (Position == RTLP_NO_BIT)
        {
            break;
        }

        const ULONG64 Limit = Cap < View->Size - Position ? Position + Cap : View->Size;

        From = RtlpNextUnwanted(View, Position, Limit);
        Longest = From - Position;
        *Start = Position;
    }

    return Longest;
}

ULONG64 RtlpCountWanted(const RTLP_BIT_VIEW *View, ULONG64 From, ULONG64 Count)
{
    if (Count == 0)
    {
        return 0;
    }

    const ULONG64 Last = From + Count - 1;
    const ULONG64 LastIndex = Last / 64;
    const ULONG64 LastMask = ~0ull >> (63 - Last % 64);
    ULONG64 Index = From / 64;
    ULONG64 Word = RtlpWantedWord(View, Index) & (~0ull << (From % 64));
    ULONG64 Total = 0;

    while (Index < LastIndex)
    {
        Total += RtlpPopulation(Word);
        Index += 1;
        Word = RtlpWantedWord(View, Index);
    }

    return Total + RtlpPopulation(Word & LastMask);
}

static inline VOID RtlpFillElement(PULONG Element, ULONG Mask, BOOLEAN Set)
{
    *Element = Set ? *Element | Mask : *Element & ~Mask;
}

VOID RtlpFillBits(PULONG Buffer, ULONG64 From, ULONG64 Count, BOOLEAN Set)
{
    if (Count == 0)
    {
        return;
    }

    const ULONG64 Last = From + Count - 1;
    PULONG First = Buffer + From / 32;
    PULONG End = Buffer + Last / 32;
    const ULONG FirstMask = ~0u << (From % 32);
    const ULONG LastMask = ~0u >> (31 - Last % 32);

    if (First == End)
    {
        RtlpFillElement(First, FirstMask & LastMask, Set);
        return;
    }

    RtlpFillElement(First, FirstMask, Set);
    __builtin_memset(First + 1, Set ? 0xff : 0, (SIZE_T)((PUCHAR)End - (PUCHAR)(First + 1)));
    RtlpFillElement(End, LastMask, Set);
}
