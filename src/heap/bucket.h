/* SPDX-License-Identifier: MIT */
/*
 * Sizes and buckets of the front end.
 *
 * The granularity is the documented one (Microsoft Learn, "Low-fragmentation Heap"): 1-256 by 8, 257-512 by 16, 513-1024
 * by 32, 1025-2048 by 64, 2049-4096 by 128, 4097-8192 by 256, 8193-16384 by 512: 128 buckets. Blocks are aligned to 16
 * bytes on 64-bit systems, so of the first 32 buckets every second one is never used; inside, buckets are numbered
 * without those holes (0 to 112, 0 for requests of no bytes), and RtlpDocumentedBucket translates.
 */
#ifndef NTMM_HEAP_BUCKET_H
#define NTMM_HEAP_BUCKET_H

#include "nt/ntdef.h"

#define HEAP_BUCKETS            113
#define HEAP_FRONT_END_LIMIT    ((SIZE_T)16384)
#define HEAP_DOCUMENTED_BUCKETS 128
#define HEAP_SPAN_CACHE         16

/*
 * Behind the buckets, places for blocks of 5 to 16 whole pages: the back end's, but a slot keeps those that were freed as a bucket
 * keeps its ready blocks, because a branch on the size or kind of a block is often foreseen wrongly.
 */
#define HEAP_KEPT_LIMIT  ((SIZE_T)65536)
#define HEAP_KEPT_FIRST  ((ULONG)(HEAP_FRONT_END_LIMIT / 4096) + 1) /* pages */
#define HEAP_MOST_KEPT   6                                          /* of one length */
#define HEAP_ALL_BUCKETS (HEAP_BUCKETS + (ULONG)(HEAP_KEPT_LIMIT / 4096) - HEAP_KEPT_FIRST + 1)

/* The bucket of a request of at most HEAP_FRONT_END_LIMIT bytes. */
static inline ULONG RtlpBucketOf(SIZE_T Size)
{
    if (__builtin_expect(Size <= 512, 1))
    {
        return (ULONG)((Size + 15) >> 4);
    }

    const ULONG Last = (ULONG)Size - 1;
    const ULONG Power = 31 - (ULONG)__builtin_clz(Last); /* 9 .. 13 */

    return 33 + (Power - 9) * 16 + ((Last >> (Power - 4)) & 15);
}

/* The same as a table, up to HEAP_KEPT_LIMIT, by the size in units of 16 bytes: sizes come in any order, and a branch on them is often mispredicted. */
extern const UCHAR RtlpBucketTable[HEAP_KEPT_LIMIT / 16 + 1];

/* Bytes of a bucket's blocks. */
static inline ULONG RtlpBucketSize(ULONG Bucket)
{
    if (Bucket <= 32)
    {
        return Bucket == 0 ? 16 : Bucket * 16;
    }

    const ULONG Step = Bucket - 33;

    return (17 + (Step & 15)) << (5 + Step / 16);
}

/* 1 .. 128, as the documentation counts. */
static inline ULONG RtlpDocumentedBucket(ULONG Bucket)
{
    if (Bucket <= 16)
    {
        return Bucket == 0 ? 2 : Bucket * 2;
    }

    return Bucket + 16;
}

/*
 * Pages of a bucket's subsegments: enough blocks to be worth a descriptor, few enough to fall empty. Four pages, or as many as
 * hold HEAP_LEAST_BLOCKS blocks with at most a sixteenth left over at the end.
 */
#define HEAP_LEAST_PAGES  8
#define HEAP_LEAST_BLOCKS 8

static inline ULONG RtlpBucketPages(ULONG Bucket)
{
    const ULONG Size = RtlpBucketSize(Bucket);
    ULONG Pages = (HEAP_LEAST_BLOCKS * Size + 4095) / 4096;

    if (Pages < HEAP_LEAST_PAGES)
    {
        Pages = HEAP_LEAST_PAGES;
    }

    while (Pages * 4096 % Size > Pages * 4096 / 16)
    {
        Pages += 1;
    }

    return Pages;
}

/* Freed blocks of a bucket that wait for its next allocations. */
static inline ULONG RtlpMostReady(ULONG Bucket)
{
    const ULONG Size = RtlpBucketSize(Bucket);

    return Size <= 64     ? 64
           : Size <= 256  ? 32
           : Size <= 512  ? 24
           : Size <= 2048 ? 16
           : Size <= 4096 ? 12
           : Size <= 8192 ? 10
                          : 6;
}

/* Of those, the ones that stay as long as others can be had: a freed block waits among them. Long ones cost memory. */
static inline ULONG RtlpKeptReady(ULONG Bucket)
{
    return RtlpBucketSize(Bucket) <= 2048 ? 4 : 1;
}

#endif
