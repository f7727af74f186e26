/* SPDX-License-Identifier: MIT */
/*
 * RTL_BITMAP: the documented bitmaps over a caller's array of ULONGs.
 *
 * Names, types and results as on Microsoft Learn (wdm.h, "RtlInitializeBitMap" and the pages it links to).
 * Bits are counted from the least significant bit of the first ULONG. None of the functions allocates or
 * locks; callers serialize. Any IRQL at which the map may be touched. Index and count ranges given to the set, clear and count functions must lie
 * inside the map (as documented, nothing checks it); only RtlAreBitsSet and RtlAreBitsClear check their
 * range.
 *
 * Where the documentation is silent: a search for zero bits returns the hint (0 if the hint is outside the
 * map); the longest of equal runs is the first; RtlFindLastBackwardRunClear counts bits up to FromIndex only.
 */
#ifndef NTMM_NT_BITMAP_H
#define NTMM_NT_BITMAP_H

#include "nt/ntdef.h"

EXTERN_C_START

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

typedef const RTL_BITMAP *PCRTL_BITMAP;

/* 1 if the bit is set, else 0. A macro, as in wdm.h. */
#define RtlCheckBit(BitMapHeader, BitPosition)                                                               \
    ((((BitMapHeader)->Buffer)[(BitPosition) / 32] >> ((BitPosition) % 32)) & 1)

/* Describes SizeOfBitMap bits at BitMapBuffer (ULONG-aligned, whole ULONGs). Leaves their contents alone. */
NTSYSAPI VOID NTAPI RtlInitializeBitMap(_Out_ PRTL_BITMAP BitMapHeader, _In_opt_ PULONG BitMapBuffer,
                                        _In_opt_ ULONG SizeOfBitMap);

NTSYSAPI VOID NTAPI RtlClearAllBits(_Inout_ PRTL_BITMAP BitMapHeader);
NTSYSAPI VOID NTAPI RtlSetAllBits(_Inout_ PRTL_BITMAP BitMapHeader);
NTSYSAPI VOID NTAPI RtlClearBit(_Inout_ PRTL_BITMAP BitMapHeader, _In_ ULONG BitNumber);
NTSYSAPI VOID NTAPI RtlSetBit(_Inout_ PRTL_BITMAP BitMapHeader, _In_ ULONG BitNumber);
NTSYSAPI VOID NTAPI RtlClearBits(_Inout_ PRTL_BITMAP BitMapHeader, _In_ ULONG StartingIndex,
                                 _In_ ULONG NumberToClear);
NTSYSAPI VOID NTAPI RtlSetBits(_Inout_ PRTL_BITMAP BitMapHeader, _In_ ULONG StartingIndex,
                               _In_ ULONG NumberToSet);
NTSYSAPI BOOLEAN NTAPI RtlTestBit(_In_ PCRTL_BITMAP BitMapHeader, _In_ ULONG BitNumber);

/* TRUE if all Length bits from StartingIndex are clear / set; FALSE too if Length is 0 or leaves the map. */
NTSYSAPI BOOLEAN NTAPI RtlAreBitsClear(_In_ PCRTL_BITMAP BitMapHeader, _In_ ULONG StartingIndex,
                                       _In_ ULONG Length);
NTSYSAPI BOOLEAN NTAPI RtlAreBitsSet(_In_ PCRTL_BITMAP BitMapHeader, _In_ ULONG StartingIndex,
                                     _In_ ULONG Length);

NTSYSAPI ULONG NTAPI RtlNumberOfClearBits(_In_ PCRTL_BITMAP BitMapHeader);
NTSYSAPI ULONG NTAPI RtlNumberOfSetBits(_In_ PCRTL_BITMAP BitMapHeader);
NTSYSAPI ULONG NTAPI RtlNumberOfClearBitsInRange(_In_ PCRTL_BITMAP BitMapHeader, _In_ ULONG StartingIndex,
                                                 _In_ ULONG Length);
NTSYSAPI ULONG NTAPI RtlNumberOfSetBitsInRange(_In_ PCRTL_BITMAP BitMapHeader, _In_ ULONG StartingIndex,
                                               _In_ ULONG Length);

/*
 * The first run of NumberToFind clear / set bits that starts at or after HintIndex; if there is none, the
 * first that starts before it. Returns its first bit, or 0xFFFFFFFF. A run never wraps around the
 * end. The ...AndSet / ...AndClear forms turn the bits they found.
 */
NTSYSAPI ULONG NTAPI RtlFindClearBits(_In_ PCRTL_BITMAP BitMapHeader, _In_ ULONG NumberToFind,
                                      _In_ ULONG HintIndex);
NTSYSAPI ULONG NTAPI RtlFindSetBits(_In_ PCRTL_BITMAP BitMapHeader, _In_ ULONG NumberToFind,
                                    _In_ ULONG HintIndex);
NTSYSAPI ULONG NTAPI RtlFindClearBitsAndSet(_Inout_ PRTL_BITMAP BitMapHeader, _In_ ULONG NumberToFind,
                                            _In_ ULONG HintIndex);
NTSYSAPI ULONG NTAPI RtlFindSetBitsAndClear(_Inout_ PRTL_BITMAP BitMapHeader, _In_ ULONG NumberToFind,
                                            _In_ ULONG HintIndex);

/*
 * Fills RunArray with up to SizeOfRunArray runs of clear bits and returns how many there are in it: the first
 * runs of the map in order, or (LocateLongestRuns) the longest runs of the whole map, longest first.
 */
NTSYSAPI ULONG NTAPI RtlFindClearRuns(_In_ PCRTL_BITMAP BitMapHeader,
                                      _Out_writes_to_(SizeOfRunArray, return ) PRTL_BITMAP_RUN RunArray,
                                      _In_ ULONG SizeOfRunArray, _In_ BOOLEAN LocateLongestRuns);

/*
 * Length of the longest, the first, the next (from FromIndex on) or the preceding (from FromIndex back) run
 * of clear bits, or 0 if there is none; its first bit is stored in *StartingIndex.
 */
NTSYSAPI ULONG NTAPI RtlFindLongestRunClear(_In_ PCRTL_BITMAP BitMapHeader, _Out_ PULONG StartingIndex);
NTSYSAPI ULONG NTAPI RtlFindFirstRunClear(_In_ PCRTL_BITMAP BitMapHeader, _Out_ PULONG StartingIndex);
NTSYSAPI ULONG NTAPI RtlFindNextForwardRunClear(_In_ PCRTL_BITMAP BitMapHeader, _In_ ULONG FromIndex,
                                                _Out_ PULONG StartingRunIndex);
NTSYSAPI ULONG NTAPI RtlFindLastBackwardRunClear(_In_ PCRTL_BITMAP BitMapHeader, _In_ ULONG FromIndex,
                                                 _Out_ PULONG StartingRunIndex);

/* Index of the highest / lowest set bit of Set; -1 if Set is 0. */
NTSYSAPI CCHAR NTAPI RtlFindMostSignificantBit(_In_ ULONGLONG Set);
NTSYSAPI CCHAR NTAPI RtlFindLeastSignificantBit(_In_ ULONGLONG Set);

/* Number of set bits of one word. */
NTSYSAPI ULONG NTAPI RtlNumberOfSetBitsUlongPtr(_In_ ULONG_PTR Target);

EXTERN_C_END

#endif
