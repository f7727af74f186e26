/* SPDX-License-Identifier: MIT */
/*
 * Pseudo-random numbers: a generator with its own state, beside the documented RtlRandomEx of nt/rtl.h.
 *
 * RTLP_RANDOM is xoshiro256** seeded through splitmix64 (Blackman and Vigna, "Scrambled linear pseudorandom
 * number generators", public domain): four words of state, about a nanosecond a number, equal sequences for
 * equal seeds on every machine, which deterministic mode and repeatable tests need. Not for secrets. Callers
 * serialize the use of one generator.
 */
#ifndef NTMM_RTL_RANDOM_H
#define NTMM_RTL_RANDOM_H

#include "nt/rtl.h"

typedef struct _RTLP_RANDOM
{
    ULONG64 State[4]; /* never all zero */
} RTLP_RANDOM, *PRTLP_RANDOM;

/* Advances a splitmix64 state and returns the next number. Any state is a good seed. */
ULONG64 RtlpSplitMix64(PULONG64 State);

/* Any seed, 0 included. */
VOID RtlpSeedRandom(PRTLP_RANDOM Random, ULONG64 Seed);

/* 64 random bits. */
ULONG64 RtlpRandom64(PRTLP_RANDOM Random);

/* Uniform in [0, Bound), exactly; Bound is not 0. */
ULONG64 RtlpRandomBelow(PRTLP_RANDOM Random, ULONG64 Bound);

/* Uniform in [Low, High], both included; Low <= High, the full range too. */
ULONG64 RtlpRandomBetween(PRTLP_RANDOM Random, ULONG64 Low, ULONG64 High);

#endif
