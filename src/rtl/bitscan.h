/* SPDX-License-Identifier: MIT */
/*
 * Word-at-a-time scanning of bit arrays: the one engine below RTL_BITMAP and RTL_BITMAP_SUMMARY.
 *
 * A view says which array, how many bits, and which state is wanted. Every search then asks for wanted bits
 * only, so searches for clear and for set bits are the same code. A word is read as 64 bits whatever the
 * array's own element is (ULONG in RTL_BITMAP), never beyond the last ULONG that holds bits; bits past the
 * size read as unwanted, so a run ends at the end of the map without a special case. Indices are 64 bits wide
 * here. Internal to the rtl room.
 */
#ifndef NTMM_RTL_BITSCAN_H
#define NTMM_RTL_BITSCAN_H

#include "nt/ntdef.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "an array of ULONG reads as an array of ULONG64 on little-endian machines only"
#endif

#define RTLP_NO_BIT MAXULONG64

typedef struct _RTLP_BIT_VIEW
{
    const UCHAR *Bytes; /* ULONG-aligned */
    ULONG64 Size;       /* in bits */
    ULONG64 Invert;     /* 0: set bits are wanted; all ones: clear bits are wanted */
} RTLP_BIT_VIEW;

/* Number of set bits of a word; without the popcnt instruction, which the baseline x86-64 does not have. */
static inline ULONG RtlpPopulation(ULONG64 Word)
{
    Word -= (Word >> 1) & 0x5555555555555555ull;
    Word = (Word & 0x3333333333333333ull) + ((Word >> 2) & 0x3333333333333333ull);
    Word = (Word + (Word >> 4)) & 0x0f0f0f0f0f0f0f0full;

    return (ULONG)((Word * 0x0101010101010101ull) >> 56);
}

/* Index of the lowest and of the highest set bit; Word is not zero. */
static inline ULONG RtlpLowestBit(ULONG64 Word)
{
    return (ULONG)__builtin_ctzll(Word);
}

static inline ULONG RtlpHighestBit(ULONG64 Word)
{
    return 63 - (ULONG)__builtin_clzll(Word);
}

/* Bits 64 * Index and up: 1 where the bit is in the wanted state and inside the map. */
static inline ULONG64 RtlpWantedWord(const RTLP_BIT_VIEW *View, ULONG64 Index)
{
    const ULONG64 Base = Index * 64;
    const UCHAR *Place = View->Bytes + Index * 8;
    ULONG64 Word = 0;

    if (Base + 64 <= View->Size)
    {
        __builtin_memcpy(&Word, Place, 8);
        return Word ^ View->Invert;
    }

    if (Base >= View->Size)
    {
        return 0;
    }

    const ULONG64 Rest = View->Size - Base; /* 1 .. 63 */

    if (Rest > 32)
    {
        __builtin_memcpy(&Word, Place, 8);
    }
    else
    {
        __builtin_memcpy(&Word, Place, 4);
    }

    return (Word ^ View->Invert) & ((1ull << Rest) - 1);
}

static inline BOOLEAN RtlpIsWanted(const RTLP_BIT_VIEW *View, ULONG64 Position)
{
    return (RtlpWantedWord(View, Position / 64) >> (Position % 64)) & 1;
}

/* The first wanted bit at or after From; the view's size if there is none. */
ULONG64 RtlpNextWanted(const RTLP_BIT_VIEW *View, ULONG64 From);

/* The first unwanted bit in [From, Limit); Limit, or the size if that is smaller, if there is none. */
ULONG64 RtlpNextUnwanted(const RTLP_BIT_VIEW *View, ULONG64 From, ULONG64 Limit);

/* The smallest S in [Limit, From] for which all of [S, From) is wanted. From is at most the size. */
ULONG64 RtlpRunStart(const RTLP_BIT_VIEW *View, ULONG64 From, ULONG64 Limit);

/* The last wanted bit at or before From (which is inside the map); RTLP_NO_BIT if there is none. */
ULONG64 RtlpPreviousWanted(const RTLP_BIT_VIEW *View, ULONG64 From);

/*
 * The first P in [From, Stop) for which [P, P + Count) is wanted (it may reach beyond Stop, not beyond the
 * map); RTLP_NO_BIT if there is none. Count is not zero.
 */
ULONG64 RtlpFindWantedRun(const RTLP_BIT_VIEW *View, ULONG64 From, ULONG64 Stop, ULONG64 Count);

/* Length of the longest wanted run that starts in [From, Stop), counted up to Cap; *Start says where. */
ULONG64
RtlpLongestWantedRun(const RTLP_BIT_VIEW *View, ULONG64 From, ULONG64 Stop, ULONG64 Cap, ULONG64 *Start);

/* How many bits of [From, From + Count) are wanted. The range is inside the map. */
ULONG64 RtlpCountWanted(const RTLP_BIT_VIEW *View, ULONG64 From, ULONG64 Count);

/* Sets or clears all of [From, From + Count). */
VOID RtlpFillBits(PULONG Buffer, ULONG64 From, ULONG64 Count, BOOLEAN Set);

#endif
