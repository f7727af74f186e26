/* SPDX-License-Identifier: MIT */
/*
 * Pseudo-random numbers (see random.h).
 *
 * Bounded numbers use Lemire's method ("Fast random integer generation in an interval"): the high half of a
 * 128-bit product is the number, and the few products whose low half would favour some numbers are drawn
 * again. No division is made unless the first product is suspicious.
 */
#include "rtl/random.h"

#include "rtl/hash.h"

__extension__ typedef unsigned __int128 RTLP_ULONG128;

static inline ULONG64 RtlpRotateLeft(ULONG64 Value, ULONG Count)
{
    return Value << Count | Value >> (64 - Count);
}

/* Period 2^32. Windows mixes in a table of its own, so the numbers are not its numbers. */
ULONG NTAPI RtlRandomEx(PULONG Seed)
{
    /* A linear congruential step of full period carries the state; the mixer hides its regular low bits. */
    *Seed = *Seed * 1664525u + 1013904223u;

    const ULONG64 Mixed = RtlpHash64(*Seed) >> 32;

    return (ULONG)((Mixed * MAXLONG) >> 32);
}

ULONG64 RtlpSplitMix64(PULONG64 State)
{
    *State += 0x9e3779b97f4a7c15ull;

    ULONG64 Value = *State;

    Value = (Value ^ (Value >> 30)) * 0xbf58476d1ce4e5b9ull;
    Value = (Value ^ (Value >> 27)) * 0x94d049bb133111ebull;
    return Value ^ (Value >> 31);
}

VOID RtlpSeedRandom(PRTLP_RANDOM Random, ULONG64 Seed)
{
    /* Four successive outputs of a bijection of distinct states: at most one of them is zero. */
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Random->State); Index += 1)
    {
        Random->State[Index] = RtlpSplitMix64(&Seed);
    }
}

ULONG64 RtlpRandom64(PRTLP_RANDOM Random)
{
    ULONG64 *State = Random->State;
    const ULONG64 Result = RtlpRotateLeft(State[1] * 5, 7) * 9;
    const ULONG64 Shifted = State[1] << 17;

    State[2] ^= State[0];
    State[3] ^= State[1];
    State[1] ^= State[2];
    State[0] ^= State[3];
    State[2] ^= Shifted;
    State[3] = RtlpRotateLeft(State[3], 45);
    return Result;
}

ULONG64 RtlpRandomBelow(PRTLP_RANDOM Random, ULONG64 Bound)
{
    RTLP_ULONG128 Product = (RTLP_ULONG128)RtlpRandom64(Random) * Bound;

    if ((ULONG64)Product < Bound)
    {
        const ULONG64 Threshold = (0 - Bound) % Bound; /* 2^64 mod Bound */

        while ((ULONG64)Product < Threshold)
        {
            Product = (RTLP_ULONG128)RtlpRandom64(Random) * Bound;
        }
    }

    return (ULONG64)(Product >> 64);
}

ULONG64 RtlpRandomBetween(PRTLP_RANDOM Random, ULONG64 Low, ULONG64 High)
{
    const ULONG64 Span = High - Low + 1;

    return Low + (Span != 0 ? RtlpRandomBelow(Random, Span) : RtlpRandom64(Random));
}
