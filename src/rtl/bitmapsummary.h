/* SPDX-License-Identifier: MIT */
/*
 * RTL_BITMAP_SUMMARY: a bitmap with an index above it, for hundreds of millions of bits.
 *
 * It serves paging-file slots: a 1 TiB file has 268 million of them, 32 MiB of bits, and finding one free
 * slot or a cluster of 64 must not read them all. The bits are cut into groups of 4096. For each group one
 * byte bounds from above how long a run of clear bits may start in it (counted up to 255); above these bytes
 * stand levels that keep the maximum of 64 bytes below, up to a level of at most 64. A search asks the levels
 * for the next group whose bound is large enough, so it touches a few cache lines for each level and then the
 * 64 words of a group.
 *
 * The bounds may be too high, never too low. Setting bits leaves them alone and costs nothing extra; clearing
 * bits raises them, which needs only the run around the cleared bits; a search that was promised more than it
 * found lowers the bound to the exact value. So each disappointment is paid for by an earlier change, and the
 * cost of finding is O(log n) amortized. (A plain "this word is full" summary would find one bit as fast, but
 * would scan everything for a run of 64 in a fragmented file.) Runs longer than 255 are found as well; among
 * groups with runs of 255 or more the search is linear.
 *
 * Nothing allocates or locks; callers serialize, searches included: they may lower bounds.
 */
#ifndef NTMM_RTL_BITMAPSUMMARY_H
#define NTMM_RTL_BITMAPSUMMARY_H

#include "nt/ntdef.h"

#define RTL_BITMAP_SUMMARY_GROUP_SHIFT 12  /* 4096 bits, one byte of index */
#define RTL_BITMAP_SUMMARY_LEVELS      6   /* 64^6 groups: 2^48 bits */
#define RTL_BITMAP_SUMMARY_CAP         255 /* bounds count no further */
#define RTL_BITMAP_SUMMARY_NOT_FOUND   MAXULONG64

typedef struct _RTL_BITMAP_SUMMARY
{
    ULONG64 SizeOfBitMap;      /* in bits */
    ULONG64 NumberOfClearBits; /* always exact */
    PULONG Buffer;             /* the bits, as in RTL_BITMAP, padded to whole groups of 64 */
    ULONG Levels;
    PUCHAR Bounds[RTL_BITMAP_SUMMARY_LEVELS]; /* [0] one byte for each group, [n + 1] for 64 of [n] */
    ULONG64 Counts[RTL_BITMAP_SUMMARY_LEVELS];
} RTL_BITMAP_SUMMARY, *PRTL_BITMAP_SUMMARY;
typedef const RTL_BITMAP_SUMMARY *PCRTL_BITMAP_SUMMARY;

/* How many bytes the bits and their index take: 1/8 byte for each bit, and 0.2 % of that on top. */
SIZE_T RtlBitMapSummaryBytes(ULONG64 SizeOfBitMap);

/*
 * Describes SizeOfBitMap bits in Buffer (8-aligned, RtlBitMapSummaryBytes bytes, contents ignored). The first
 * NumberOfClearBits are clear, the rest are set. So a file that may grow is given its largest size at once;
 * growing is RtlSummaryClearBits of what came in, shrinking is RtlSummarySetBits of what went away.
 */
VOID RtlInitializeBitMapSummary(PRTL_BITMAP_SUMMARY Summary, PVOID Buffer, ULONG64 SizeOfBitMap,
                                ULONG64 NumberOfClearBits);

/*
 * Takes over the first NumberOfBits of From into To, a map of at least so many bits that was initialized with exactly those clear. How a map is
 * made larger: the new one is initialized at leisure, and this is a copy of NumberOfBits / 8 bytes.
 */
VOID RtlCopyBitMapSummary(PRTL_BITMAP_SUMMARY To, PCRTL_BITMAP_SUMMARY From, ULONG64 NumberOfBits);

/* Whatever state the bits were in. The range lies inside the map. Time: that of writing the bits. */
VOID RtlSummarySetBits(PRTL_BITMAP_SUMMARY Summary, ULONG64 StartingIndex, ULONG64 NumberToSet);
VOID RtlSummaryClearBits(PRTL_BITMAP_SUMMARY Summary, ULONG64 StartingIndex, ULONG64 NumberToClear);

BOOLEAN RtlSummaryTestBit(PCRTL_BITMAP_SUMMARY Summary, ULONG64 BitNumber);

/* FALSE also if Length is 0 or the range leaves the map, as RtlAreBitsClear. */
BOOLEAN RtlSummaryAreBitsClear(PCRTL_BITMAP_SUMMARY Summary, ULONG64 StartingIndex, ULONG64 Length);
BOOLEAN RtlSummaryAreBitsSet(PCRTL_BITMAP_SUMMARY Summary, ULONG64 StartingIndex, ULONG64 Length);

/*
 * The first run of NumberToFind (not 0) clear bits that starts at or after HintIndex, else the first that
 * starts before it: the same answer RtlFindClearBits gives. RTL_BITMAP_SUMMARY_NOT_FOUND if there is none.
 * The ...AndSet form sets what it found.
 */
ULONG64 RtlSummaryFindClearBits(PRTL_BITMAP_SUMMARY Summary, ULONG64 NumberToFind, ULONG64 HintIndex);
ULONG64 RtlSummaryFindClearBitsAndSet(PRTL_BITMAP_SUMMARY Summary, ULONG64 NumberToFind, ULONG64 HintIndex);

/*
 * A cluster as good as it gets: sets a run of NumberWanted (1 .. 255) clear bits, or, where there is none so
 * long, of the longest length there is. Returns its first bit and stores its length in *NumberFound;
 * NOT_FOUND (and 0) only if every bit is set.
 */
ULONG64 RtlSummaryFindClusterAndSet(PRTL_BITMAP_SUMMARY Summary, ULONG64 NumberWanted, ULONG64 HintIndex,
                                    PULONG64 NumberFound);

/*
 * Checks the index against the bits. Returns RTL_BITMAP_SUMMARY_NOT_FOUND if all is sound, else the first bit
 * of the first group whose bound is too low or whose maxima above it are wrong, or SizeOfBitMap if only the
 * count of clear bits is wrong. Reads everything.
 */
ULONG64 RtlCheckBitMapSummary(PCRTL_BITMAP_SUMMARY Summary);

#endif
