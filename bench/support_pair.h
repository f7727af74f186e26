/* SPDX-License-Identifier: MIT */
/*
 * One processor against two, for several sides in turns. A side does a piece of work on a number of pages: its last processor prepares a round, then
 * either the first processor alone works on all pages, or each works on its half, under the same conditions otherwise: the same pages,
 * prepared by the same processor, and both processors' own caches filled with something else in between, so that what they find comes from
 * where it would be after a while, not out of the cache of whoever prepared it. One and two processors, and the sides, take turns.
 *
 * One of the sides is the machine itself (BenchControl): the memory traffic of a fault without any kernel of ours and with nothing shared. On a
 * virtual machine a second processor is worth 2 for arithmetic, but not for memory, and that changes with where the hypervisor puts it.
 */
#ifndef NTMM_BENCH_SUPPORT_PAIR_H
#define NTMM_BENCH_SUPPORT_PAIR_H

#include "port.h"

#define BENCH_PAIR_KINDS 2u
#define BENCH_PAIR_FIRST 64u /* pages of each half that are not timed */

typedef enum _BENCH_PAIR_KIND
{
    BenchPairZero, /* pages that come into being */
    BenchPairSoft  /* the same pages again, taken away meanwhile */
} BENCH_PAIR_KIND;

typedef struct _BENCH_PAIR_SIDE
{
    const char *Name;
    ULONG Kinds; /* BenchPairZero only, or both, which follow each other in a round */
    PVOID Context;
    void (*Begin)(PVOID Context,
                  ULONG Pages); /* once, on the calling thread; may be NULL, as End, Enter, Leave */
    void (*End)(PVOID Context);
    PVOID (*Enter)(PVOID Context, ULONG Processor); /* on each of the two threads / before it ends */
    void (*Leave)(PVOID Context, PVOID Thread);
    void (*Prepare)(PVOID Context, BENCH_PAIR_KIND Kind);                        /* on the last processor */
    void (*Work)(PVOID Context, BENCH_PAIR_KIND Kind, ULONG First, ULONG Count); /* on any */
    struct
    {
        double One; /* out: ns for each page, median of all rounds */
        double Two;
        double Speedup; /* One / Two */
    } Result[BENCH_PAIR_KINDS];
} BENCH_PAIR_SIDE;

void BenchMeasurePair(BENCH_PAIR_SIDE *Sides, ULONG Count, ULONG Pages, ULONG Rounds);

/* Fills in a side: lines of pages, descriptors and entries. */
void BenchControl(BENCH_PAIR_SIDE *Side);
/* First touches of anonymous memory, 4 KiB pages, on the Linux it runs on. */
void BenchLinux(BENCH_PAIR_SIDE *Side);

/* ns for a line from one processor to the other, one way; and what the second one is worth for arithmetic. */
double BenchLineTransfer(void);
double BenchArithmetic(void);

/* Brings the numbers into an order that looks random, the same each time. */
void BenchShuffle(ULONG *Order, ULONG Count);

#endif
