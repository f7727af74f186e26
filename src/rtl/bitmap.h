/* SPDX-License-Identifier: MIT */
/*
 * RTL_BITMAP: the documented bitmaps over a caller's array of ULONGs.
 *
 * Names, types and results as on Microsoft Learn (wdm.h, "RtlInitializeBitMap" and the pages it links to).
 * Bits are counted from the least significant bit of the first ULONG. None of the functions allocates or
 * locks; callers serialize. Index and count ranges given to the set, clear and count functions must lie
 * inside the map (as documented, nothing checks it); only RtlAreBitsSet and RtlAreBitsClear check their
 * range.
 *
 * Where the documentation is silent: a search for zero bits returns the hint (0 if the hint is outside the
 * map); the longest of equal runs is the first; RtlFindLastBackwardRunClear counts bits up to FromIndex only.
 */
#ifndef NTMM_RTL_BITMAP_H
#define NTMM_RTL_BITMAP_H

#include "nt/ntdef.h"

#ifndef RTL_BITMAP_DEFINED /* the public headers may have declared the structures already */
#define RTL_BITMAP_DEFINED
typedef struct _RTL_BITMAP
{
    ULONG SizeOfBitMap; /* in bits */
    PULONG Buffer;
} RTL_BITMAP, *PRTL_BITMAP;

typedef struct _RTL_BITMAP_RUN
{
    ULONG StartingIndex;
    ULONG NumberOfBits;
} RTL_BITMAP_RUN, *PRTL_BITMAP_RUN;
#endif
typedef const RTL_BITMAP *PCRTL_BITMAP;

/* What the Find functions return when there is nothing to return. */
#define RTL_BITMAP_NOT_FOUND ((ULONG)0xFFFFFFFF)

/* 1 if the bit is set, else 0. A macro, as in wdm.h. */
#ifndef RtlCheckBit
#define RtlCheckBit(BitMapHeader, BitPosition)                                                               \
    ((((BitMapHeader)->Buffer)[(BitPosition) / 32] >> ((BitPosition) % 32)) & 1)
#endif

/* Describes SizeOfBitMap bits at BitMapBuffer (ULONG-aligned, whole ULONGs). Leaves their contents alone. */
VOID NTAPI RtlInitializeBitMap(PRTL_BITMAP BitMapHeader, PULONG BitMapBuffer, ULONG SizeOfBitMap);

VOID NTAPI RtlClearAllBits(PRTL_BITMAP BitMapHeader);
VOID NTAPI RtlSetAllBits(PRTL_BITMAP BitMapHeader);
VOID NTAPI RtlClearBit(PRTL_BITMAP BitMapHeader, ULONG BitNumber);
VOID NTAPI RtlSetBit(PRTL_BITMAP BitMapHeader, ULONG BitNumber);
VOID NTAPI RtlClearBits(PRTL_BITMAP BitMapHeader, ULONG StartingIndex, ULONG NumberToClear);
VOID NTAPI RtlSetBits(PRTL_BITMAP BitMapHeader, ULONG StartingIndex, ULONG NumberToSet);
BOOLEAN NTAPI RtlTestBit(PCRTL_BITMAP BitMapHeader, ULONG BitNumber);

/* TRUE if all Length bits from StartingIndex are clear / set; FALSE too if Length is 0 or leaves the map. */
BOOLEAN NTAPI RtlAreBitsClear(PCRTL_BITMAP BitMapHeader, ULONG StartingIndex, ULONG Length);
BOOLEAN NTAPI RtlAreBitsSet(PCRTL_BITMAP BitMapHeader, ULONG StartingIndex, ULONG Length);

ULONG NTAPI RtlNumberOfClearBits(PCRTL_BITMAP BitMapHeader);
ULONG NTAPI RtlNumberOfSetBits(PCRTL_BITMAP BitMapHeader);
ULONG NTAPI RtlNumberOfClearBitsInRange(PCRTL_BITMAP BitMapHeader, ULONG StartingIndex, ULONG Length);
ULONG NTAPI RtlNumberOfSetBitsInRange(PCRTL_BITMAP BitMapHeader, ULONG StartingIndex, ULONG Length);

/*
 * The first run of NumberToFind clear / set bits that starts at or after HintIndex; if there is none, the
 * first that starts before it. Returns its first bit, or RTL_BITMAP_NOT_FOUND. A run never wraps around the
 * end. The ...AndSet / ...AndClear forms turn the bits they found.
 */
ULONG NTAPI RtlFindClearBits(PCRTL_BITMAP BitMapHeader, ULONG NumberToFind, ULONG HintIndex);
ULONG NTAPI RtlFindSetBits(PCRTL_BITMAP BitMapHeader, ULONG NumberToFind, ULONG HintIndex);
ULONG NTAPI RtlFindClearBitsAndSet(PRTL_BITMAP BitMapHeader, ULONG NumberToFind, ULONG HintIndex);
ULONG NTAPI RtlFindSetBitsAndClear(PRTL_BITMAP BitMapHeader, ULONG NumberToFind, ULONG HintIndex);

/*
 * Fills RunArray with up to SizeOfRunArray runs of clear bits and returns how many there are in it: the first
 * runs of the map in order, or (LocateLongestRuns) the longest runs of the whole map, longest first.
 */
ULONG NTAPI RtlFindClearRuns(PCRTL_BITMAP BitMapHeader, PRTL_BITMAP_RUN RunArray, ULONG SizeOfRunArray,
                             BOOLEAN LocateLongestRuns);

/*
 * Length of the longest, the first, the next (from FromIndex on) or the preceding (from FromIndex back) run
 * of clear bits, or 0 if there is none; its first bit is stored in *StartingIndex.
 */
ULONG NTAPI RtlFindLongestRunClear(PCRTL_BITMAP BitMapHeader, PULONG StartingIndex);
ULONG NTAPI RtlFindFirstRunClear(PCRTL_BITMAP BitMapHeader, PULONG StartingIndex);
ULONG NTAPI RtlFindNextForwardRunClear(PCRTL_BITMAP BitMapHeader, ULONG FromIndex, PULONG StartingRunIndex);
ULONG NTAPI RtlFindLastBackwardRunClear(PCRTL_BITMAP BitMapHeader, ULONG FromIndex, PULONG StartingRunIndex);

/* Index of the highest / lowest set bit of Set; -1 if Set is 0. */
CCHAR NTAPI RtlFindMostSignificantBit(ULONGLONG Set);
CCHAR NTAPI RtlFindLeastSignificantBit(ULONGLONG Set);

/* Number of set bits of one word. */
ULONG NTAPI RtlNumberOfSetBitsUlongPtr(ULONG_PTR Target);

#endif
