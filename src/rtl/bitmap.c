/* SPDX-License-Identifier: MIT */
/*
 * The documented RTL_BITMAP functions (see bitmap.h) in terms of the scanning engine of bitscan.h: what is
 * here is only the shape of each function, so that the clear and the set variants cannot differ.
 */
#include "rtl/bitmap.h"

#include "rtl/bitscan.h"

static inline RTLP_BIT_VIEW RtlpView(PCRTL_BITMAP BitMapHeader, BOOLEAN Set)
{
    return (RTLP_BIT_VIEW){
        .Bytes = (const UCHAR *)BitMapHeader->Buffer,
        .Size = BitMapHeader->SizeOfBitMap,
        .Invert = Set ? 0 : ~0ull,
    };
}

VOID NTAPI RtlInitializeBitMap(PRTL_BITMAP BitMapHeader, PULONG BitMapBuffer, ULONG SizeOfBitMap)
{
    BitMapHeader->SizeOfBitMap = SizeOfBitMap;
    BitMapHeader->Buffer = BitMapBuffer;
}

/* Whole ULONGs, the unused bits of the last one included, as callers that compare buffers expect. */
static VOID RtlpFillAll(PRTL_BITMAP BitMapHeader, ULONG Value)
{
    const SIZE_T Elements = ((SIZE_T)BitMapHeader->SizeOfBitMap + 31) / 32;

    __builtin_memset(BitMapHeader->Buffer, (int)Value, Elements * sizeof(ULONG));
}

VOID NTAPI RtlClearAllBits(PRTL_BITMAP BitMapHeader)
{
    RtlpFillAll(BitMapHeader, 0);
}

VOID NTAPI RtlSetAllBits(PRTL_BITMAP BitMapHeader)
{
    RtlpFillAll(BitMapHeader, 0xff);
}

VOID NTAPI RtlClearBit(PRTL_BITMAP BitMapHeader, ULONG BitNumber)
{
    BitMapHeader->Buffer[BitNumber / 32] &= ~(1u << (BitNumber % 32));
}

VOID NTAPI RtlSetBit(PRTL_BITMAP BitMapHeader, ULONG BitNumber)
{
    BitMapHeader->Buffer[BitNumber / 32] |= 1u << (BitNumber % 32);
}

VOID NTAPI RtlClearBits(PRTL_BITMAP BitMapHeader, ULONG StartingIndex, ULONG NumberToClear)
{
    RtlpFillBits(BitMapHeader->Buffer, StartingIndex, NumberToClear, FALSE);
}

VOID NTAPI RtlSetBits(PRTL_BITMAP BitMapHeader, ULONG StartingIndex, ULONG NumberToSet)
{
    RtlpFillBits(BitMapHeader->Buffer, StartingIndex, NumberToSet, TRUE);
}

BOOLEAN NTAPI RtlTestBit(PCRTL_BITMAP BitMapHeader, ULONG BitNumber)
{
    return RtlCheckBit(BitMapHeader, BitNumber) != 0;
}

static BOOLEAN RtlpAreBits(PCRTL_BITMAP BitMapHeader, ULONG StartingIndex, ULONG Length, BOOLEAN Set)
{
    const RTLP_BIT_VIEW View = RtlpView(BitMapHeader, Set);
    const ULONG64 End = (ULONG64)StartingIndex + Length;

    return Length != 0 && End <= View.Size && RtlpNextUnwanted(&View, StartingIndex, End) == End;
}

BOOLEAN NTAPI RtlAreBitsClear(PCRTL_BITMAP BitMapHeader, ULONG StartingIndex, ULONG Length)
{
    return RtlpAreBits(BitMapHeader, StartingIndex, Length, FALSE);
}

BOOLEAN NTAPI RtlAreBitsSet(PCRTL_BITMAP BitMapHeader, ULONG StartingIndex, ULONG Length)
{
    return RtlpAreBits(BitMapHeader, StartingIndex, Length, TRUE);
}

static ULONG RtlpNumberOfBits(PCRTL_BITMAP BitMapHeader, ULONG StartingIndex, ULONG Length, BOOLEAN Set)
{
    const RTLP_BIT_VIEW View = RtlpView(BitMapHeader, Set);

    return (ULONG)RtlpCountWanted(&View, StartingIndex, Length);
}

ULONG NTAPI RtlNumberOfClearBits(PCRTL_BITMAP BitMapHeader)
{
    return RtlpNumberOfBits(BitMapHeader, 0, BitMapHeader->SizeOfBitMap, FALSE);
}

ULONG NTAPI RtlNumberOfSetBits(PCRTL_BITMAP BitMapHeader)
{
    return RtlpNumberOfBits(BitMapHeader, 0, BitMapHeader->SizeOfBitMap, TRUE);
}

ULONG NTAPI RtlNumberOfClearBitsInRange(PCRTL_BITMAP BitMapHeader, ULONG StartingIndex, ULONG Length)
{
    return RtlpNumberOfBits(BitMapHeader, StartingIndex, Length, FALSE);
}

ULONG NTAPI RtlNumberOfSetBitsInRange(PCRTL_BITMAP BitMapHeader, ULONG StartingIndex, ULONG Length)
{
    return RtlpNumberOfBits(BitMapHeader, StartingIndex, Length, TRUE);
}

static ULONG RtlpFindBits(PCRTL_BITMAP BitMapHeader, ULONG NumberToFind, ULONG HintIndex, BOOLEAN Set)
{
    const RTLP_BIT_VIEW View = RtlpView(BitMapHeader, Set);

    if (HintIndex >= View.Size)
    {
        HintIndex = 0;
    }

    if (NumberToFind == 0)
    {
        return HintIndex;
    }

    ULONG64 Position = RtlpFindWantedRun(&View, HintIndex, View.Size, NumberToFind);

    if (Position == RTLP_NO_BIT && HintIndex != 0)
    {
        Position = RtlpFindWantedRun(&View, 0, HintIndex, NumberToFind);
    }

    return (ULONG)Position; /* RTLP_NO_BIT becomes RTL_BITMAP_NOT_FOUND */
}

ULONG NTAPI RtlFindClearBits(PCRTL_BITMAP BitMapHeader, ULONG NumberToFind, ULONG HintIndex)
{
    return RtlpFindBits(BitMapHeader, NumberToFind, HintIndex, FALSE);
}

ULONG NTAPI RtlFindSetBits(PCRTL_BITMAP BitMapHeader, ULONG NumberToFind, ULONG HintIndex)
{
    return RtlpFindBits(BitMapHeader, NumberToFind, HintIndex, TRUE);
}

ULONG NTAPI RtlFindClearBitsAndSet(PRTL_BITMAP BitMapHeader, ULONG NumberToFind, ULONG HintIndex)
{
    const ULONG Position = RtlpFindBits(BitMapHeader, NumberToFind, HintIndex, FALSE);

    if (Position != RTL_BITMAP_NOT_FOUND)
    {
        RtlpFillBits(BitMapHeader->Buffer, Position, NumberToFind, TRUE);
    }

    return Position;
}

ULONG NTAPI RtlFindSetBitsAndClear(PRTL_BITMAP BitMapHeader, ULONG NumberToFind, ULONG HintIndex)
{
    const ULONG Position = RtlpFindBits(BitMapHeader, NumberToFind, HintIndex, TRUE);

    if (Position != RTL_BITMAP_NOT_FOUND)
    {
        RtlpFillBits(BitMapHeader->Buffer, Position, NumberToFind, FALSE);
    }

    return Position;
}

/* Puts Run into the sorted array of Count (at most Size) runs, dropping the shortest if it is full. */
static ULONG RtlpKeepLongest(PRTL_BITMAP_RUN RunArray, ULONG Count, ULONG Size, RTL_BITMAP_RUN Run)
{
    if (Count == Size)
    {
        if (RunArray[Count - 1].NumberOfBits >= Run.NumberOfBits)
        {
            return Count;
        }

        Count -= 1;
    }

    ULONG Place = Count;

    while (Place != 0 && RunArray[Place - 1].NumberOfBits < Run.NumberOfBits)
    {
        RunArray[Place] = RunArray[Place - 1];
        Place -= 1;
    }

    RunArray[Place] = Run;
    return Count + 1;
}

ULONG NTAPI RtlFindClearRuns(PCRTL_BITMAP BitMapHeader, PRTL_BITMAP_RUN RunArray, ULONG SizeOfRunArray,
                             BOOLEAN LocateLongestRuns)
{
    ULONG Count = 0;
    RTL_BITMAP_RUN Run = { 0, 0 };

    if (SizeOfRunArray == 0)
    {
        return 0;
    }

    while (LocateLongestRuns || Count < SizeOfRunArray)
    {
        const ULONG From = Run.StartingIndex + Run.NumberOfBits;

        Run.NumberOfBits = RtlFindNextForwardRunClear(BitMapHeader, From, &Run.StartingIndex);
        if (Run.NumberOfBits == 0)
        {
            break;
        }

        if (LocateLongestRuns)
        {
            Count = RtlpKeepLongest(RunArray, Count, SizeOfRunArray, Run);
        }
        else
        {
            RunArray[Count] = Run;
            Count += 1;
        }
    }

    return Count;
}

ULONG NTAPI RtlFindLongestRunClear(PCRTL_BITMAP BitMapHeader, PULONG StartingIndex)
{
    const RTLP_BIT_VIEW View = RtlpView(BitMapHeader, FALSE);
    ULONG64 Start;
    const ULONG64 Length = RtlpLongestWantedRun(&View, 0, View.Size, View.Size, &Start);

    *StartingIndex = (ULONG)Start;
    return (ULONG)Length;
}

ULONG NTAPI RtlFindFirstRunClear(PCRTL_BITMAP BitMapHeader, PULONG StartingIndex)
{
    return RtlFindNextForwardRunClear(BitMapHeader, 0, StartingIndex);
}

ULONG NTAPI RtlFindNextForwardRunClear(PCRTL_BITMAP BitMapHeader, ULONG FromIndex, PULONG StartingRunIndex)
{
    const RTLP_BIT_VIEW View = RtlpView(BitMapHeader, FALSE);
    const ULONG64 Start = RtlpNextWanted(&View, FromIndex);

    *StartingRunIndex = (ULONG)Start;
    return (ULONG)(RtlpNextUnwanted(&View, Start, View.Size) - Start);
}

ULONG NTAPI RtlFindLastBackwardRunClear(PCRTL_BITMAP BitMapHeader, ULONG FromIndex, PULONG StartingRunIndex)
{
    const RTLP_BIT_VIEW View = RtlpView(BitMapHeader, FALSE);

    *StartingRunIndex = FromIndex;
    if (View.Size == 0)
    {
        return 0;
    }

    const ULONG64 Last = RtlpPreviousWanted(&View, FromIndex < View.Size ? FromIndex : View.Size - 1);

    if (Last == RTLP_NO_BIT)
    {
        return 0;
    }

    const ULONG64 Start = RtlpRunStart(&View, Last, 0);

    *StartingRunIndex = (ULONG)Start;
    return (ULONG)(Last - Start + 1);
}

CCHAR NTAPI RtlFindMostSignificantBit(ULONGLONG Set)
{
    return (CCHAR)(Set != 0 ? (LONG)RtlpHighestBit(Set) : -1);
}

CCHAR NTAPI RtlFindLeastSignificantBit(ULONGLONG Set)
{
    return (CCHAR)(Set != 0 ? (LONG)RtlpLowestBit(Set) : -1);
}

ULONG NTAPI RtlNumberOfSetBitsUlongPtr(ULONG_PTR Target)
{
    return RtlpPopulation(Target);
}
