/* SPDX-License-Identifier: MIT */
/*
 * The bucket of every size (bucket.h), written with macros that repeat a bucket for as many sizes as it serves.
 *
 * A test compares it with RtlpBucketOf for every size.
 */
#include "heap/bucket.h"
#include "heap/ground.h"

#define ONE(b)       b
#define TWO(b)       b, b
#define FOUR(b)      TWO(b), TWO(b)
#define EIGHT(b)     FOUR(b), FOUR(b)
#define SIXTEEN(b)   EIGHT(b), EIGHT(b)
#define THIRTYTWO(b) SIXTEEN(b), SIXTEEN(b)
#define SIXTYFOUR(b) THIRTYTWO(b), THIRTYTWO(b)

#define PAGE(b) SIXTYFOUR(b), SIXTYFOUR(b), SIXTYFOUR(b), SIXTYFOUR(b)

/* Sixteen buckets from b on, each for as many sizes. */
#define ROW(EACH, b)                                                                                         \
    EACH((b)), EACH((b) + 1), EACH((b) + 2), EACH((b) + 3), EACH((b) + 4), EACH((b) + 5), EACH((b) + 6),     \
        EACH((b) + 7), EACH((b) + 8), EACH((b) + 9), EACH((b) + 10), EACH((b) + 11), EACH((b) + 12),         \
        EACH((b) + 13), EACH((b) + 14), EACH((b) + 15)

HEAP_TOUCHED const UCHAR RtlpBucketTable[HEAP_KEPT_LIMIT / 16 + 1] = {
    0,
    ROW(ONE, 1),        /* to 256 by 16 */
    ROW(ONE, 17),       /* to 512 */
    ROW(TWO, 33),       /* to 1024 by 32 */
    ROW(FOUR, 49),      /* to 2048 by 64 */
    ROW(EIGHT, 65),     /* to 4096 by 128 */
    ROW(SIXTEEN, 81),   /* to 8192 by 256 */
    ROW(THIRTYTWO, 97), /* to 16384 by 512 */
    PAGE(113),
    PAGE(114),
    PAGE(115),
    PAGE(116),
    PAGE(117),
    PAGE(118),
    PAGE(119),
    PAGE(120),
    PAGE(121),
    PAGE(122),
    PAGE(123),
    PAGE(124), /* to 65536 by 4096 */
};
