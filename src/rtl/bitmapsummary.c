/* SPDX-License-Identifier: MIT */
/*
 * A bitmap with an index of upper bounds (see bitmapsummary.h for the idea).
 *
 * A run belongs to the group it starts in, even where it continues into the next one; a run that crosses a
 * group's beginning counts for that group with the part inside. Every position where a search may begin is
 * thus covered by the bound of its own group. Each level above is exactly the maximum of the 64 bytes below
 * it, so a descent never turns back.
 */
#include "rtl/bitmapsummary.h"

#include "rtl/bitscan.h"

#define RTLP_GROUP_BITS (1ull << RTL_BITMAP_SUMMARY_GROUP_SHIFT)
#define RTLP_FANOUT     64

static inline RTLP_BIT_VIEW RtlpSummaryView(PCRTL_BITMAP_SUMMARY Summary, BOOLEAN Set)
{
    return (RTLP_BIT_VIEW){
        .Bytes = (const UCHAR *)Summary->Buffer,
        .Size = Summary->SizeOfBitMap,
        .Invert = Set ? 0 : ~0ull,
    };
}

static inline ULONG64 RtlpGroupOf(ULONG64 BitNumber)
{
    return BitNumber >> RTL_BITMAP_SUMMARY_GROUP_SHIFT;
}

static inline ULONG64 RtlpFirstBitOf(ULONG64 Group)
{
    return Group << RTL_BITMAP_SUMMARY_GROUP_SHIFT;
}

static inline ULONG64 RtlpMinimum(ULONG64 First, ULONG64 Second)
{
    return First < Second ? First : Second;
}

static inline ULONG64 RtlpMaximum(ULONG64 First, ULONG64 Second)
{
    return First > Second ? First : Second;
}

/* The greatest bound among the (up to 64) children of entry Index of Level (above 0). */
static UCHAR RtlpMaximumOfChildren(PCRTL_BITMAP_SUMMARY Summary, ULONG Level, ULONG64 Index)
{
    const UCHAR *Children = Summary->Bounds[Level - 1];
    const ULONG64 End = RtlpMinimum((Index + 1) * RTLP_FANOUT, Summary->Counts[Level - 1]);
    UCHAR Maximum = 0;

    for (ULONG64 Child = Index * RTLP_FANOUT; Child < End; Child += 1)
    {
        Maximum = Children[Child] > Maximum ? Children[Child] : Maximum;
    }

    return Maximum;
}

static VOID RtlpRaiseBound(PRTL_BITMAP_SUMMARY Summary, ULONG64 Group, UCHAR Bound)
{
    for (ULONG Level = 0; Level < Summary->Levels && Summary->Bounds[Level][Group] < Bound; Level += 1)
    {
        Summary->Bounds[Level][Group] = Bound;
        Group /= RTLP_FANOUT;
    }
}

static VOID RtlpLowerBound(PRTL_BITMAP_SUMMARY Summary, ULONG64 Group, UCHAR Bound)
{
    for (ULONG Level = 0; Level < Summary->Levels; Level += 1)
    {
        if (Level != 0)
        {
            Bound = RtlpMaximumOfChildren(Summary, Level, Group);
        }

        if (Summary->Bounds[Level][Group] <= Bound)
        {
            return;
        }

        Summary->Bounds[Level][Group] = Bound;
        Group /= RTLP_FANOUT;
    }
}

/* Replaces Group's bound by the exact value. */
static VOID RtlpTightenBound(PRTL_BITMAP_SUMMARY Summary, const RTLP_BIT_VIEW *View, ULONG64 Group)
{
    ULONG64 Start;
    const ULONG64 Longest = RtlpLongestWantedRun(View, RtlpFirstBitOf(Group), RtlpFirstBitOf(Group + 1),
                                                 RTL_BITMAP_SUMMARY_CAP, &Start);

    RtlpLowerBound(Summary, Group, (UCHAR)Longest);
}

/* The first group at or after Group whose bound is at least Need; NOT_FOUND if there is none. */
static ULONG64 RtlpNextGroup(PCRTL_BITMAP_SUMMARY Summary, ULONG64 Group, UCHAR Need)
{
    ULONG Level = 0;
    ULONG64 Index = Group;

    /* Up, until a later sibling (of this node or of an ancestor) is good enough. */
    for (;;)
    {
        const UCHAR *Bounds = Summary->Bounds[Level];
        const ULONG64 End = RtlpMinimum((Index | (RTLP_FANOUT - 1)) + 1, Summary->Counts[Level]);

        while (Index < End && Bounds[Index] < Need)
        {
            Index += 1;
        }

        if (Index < End)
        {
            break;
        }

        if (End >= Summary->Counts[Level])
        {
            return RTL_BITMAP_SUMMARY_NOT_FOUND;
        }

        Level += 1;
        Index = End / RTLP_FANOUT;
    }

    /* Down, to its first child that is. */
    while (Level != 0)
    {
        Level -= 1;
        Index *= RTLP_FANOUT;
        while (Summary->Bounds[Level][Index] < Need)
        {
            Index += 1;
        }
    }

    return Index;
}

/* The first run of Count clear bits that starts in [From, Stop). */
static ULONG64 RtlpSummarySearch(PRTL_BITMAP_SUMMARY Summary, ULONG64 From, ULONG64 Stop, ULONG64 Count)
{
    const RTLP_BIT_VIEW View = RtlpSummaryView(Summary, FALSE);
    const UCHAR Need = (UCHAR)RtlpMinimum(Count, RTL_BITMAP_SUMMARY_CAP);
    ULONG64 Group = RtlpGroupOf(From);

    while (From < Stop)
    {
        Group = RtlpNextGroup(Summary, Group, Need);
        if (Group == RTL_BITMAP_SUMMARY_NOT_FOUND)
        {
            break;
        }

        From = RtlpMaximum(From, RtlpFirstBitOf(Group));
        Group += 1;

        const ULONG64 End = RtlpMinimum(Stop, RtlpFirstBitOf(Group));
        const ULONG64 Position = RtlpFindWantedRun(&View, From, End, Count);

        if (Position != RTLP_NO_BIT)
        {
            return Position;
        }

        if (From < End)
        {
            RtlpTightenBound(Summary, &View, Group - 1);
        }
    }

    return RTL_BITMAP_SUMMARY_NOT_FOUND;
}

/* Entries of the level above Count entries. */
static inline ULONG64 RtlpParents(ULONG64 Count)
{
    return (Count + RTLP_FANOUT - 1) / RTLP_FANOUT;
}

static inline ULONG64 RtlpGroups(ULONG64 SizeOfBitMap)
{
    return RtlpGroupOf(SizeOfBitMap + RTLP_GROUP_BITS - 1);
}

SIZE_T RtlBitMapSummaryBytes(ULONG64 SizeOfBitMap)
{
    ULONG64 Count = RtlpGroups(SizeOfBitMap);
    SIZE_T Bytes = (SizeOfBitMap + 63) / 64 * sizeof(ULONG64) + Count;

    while (Count > RTLP_FANOUT)
    {
        Count = RtlpParents(Count);
        Bytes += Count;
    }

    return ALIGN_UP_BY(Bytes, sizeof(ULONG64));
}

VOID RtlInitializeBitMapSummary(PRTL_BITMAP_SUMMARY Summary, PVOID Buffer, ULONG64 SizeOfBitMap,
                                ULONG64 NumberOfClearBits)
{
    const ULONG64 Words = (SizeOfBitMap + 63) / 64;
    PUCHAR Bounds = (PUCHAR)Buffer + Words * sizeof(ULONG64);
    ULONG64 Count = RtlpGroups(SizeOfBitMap);

    *Summary = (RTL_BITMAP_SUMMARY){ .SizeOfBitMap = SizeOfBitMap, .Buffer = Buffer };
    __builtin_memset(Buffer, 0xff, Words * sizeof(ULONG64));

    for (;;)
    {
        Summary->Bounds[Summary->Levels] = Bounds;
        Summary->Counts[Summary->Levels] = Count;
        Summary->Levels += 1;
        __builtin_memset(Bounds, 0, Count);
        if (Count <= RTLP_FANOUT)
        {
            break;
        }

        Bounds += Count;
        Count = RtlpParents(Count);
    }

    RtlSummaryClearBits(Summary, 0, NumberOfClearBits);
}

VOID RtlCopyBitMapSummary(PRTL_BITMAP_SUMMARY To, PCRTL_BITMAP_SUMMARY From, ULONG64 NumberOfBits)
{
    const RTLP_BIT_VIEW View = RtlpSummaryView(From, FALSE);
    ULONG64 *Target = (ULONG64 *)(PVOID)To->Buffer;
    const ULONG64 *Source = (const ULONG64 *)(const VOID *)From->Buffer;
    const ULONG64 Words = NumberOfBits / 64;

    /* To's bounds say that all of it is clear: too high is allowed. */
    for (ULONG64 Index = 0; Index < Words; Index += 1)
    {
        Target[Index] = Source[Index];
    }
    if (NumberOfBits % 64 != 0)
    {
        const ULONG64 Beyond = ~0ull << (NumberOfBits % 64);

        Target[Words] = (Source[Words] & ~Beyond) | (Target[Words] & Beyond);
    }
    To->NumberOfClearBits = To->NumberOfClearBits - NumberOfBits + RtlpCountWanted(&View, 0, NumberOfBits);
}

VOID RtlSummarySetBits(PRTL_BITMAP_SUMMARY Summary, ULONG64 StartingIndex, ULONG64 NumberToSet)
{
    const RTLP_BIT_VIEW View = RtlpSummaryView(Summary, FALSE);

    Summary->NumberOfClearBits -= RtlpCountWanted(&View, StartingIndex, NumberToSet);
    RtlpFillBits(Summary->Buffer, StartingIndex, NumberToSet, TRUE);
}

VOID RtlSummaryClearBits(PRTL_BITMAP_SUMMARY Summary, ULONG64 StartingIndex, ULONG64 NumberToClear)
{
    if (NumberToClear == 0)
    {
        return;
    }

    const RTLP_BIT_VIEW View = RtlpSummaryView(Summary, FALSE);
    const ULONG64 End = StartingIndex + NumberToClear;

    Summary->NumberOfClearBits += NumberToClear - RtlpCountWanted(&View, StartingIndex, NumberToClear);
    RtlpFillBits(Summary->Buffer, StartingIndex, NumberToClear, FALSE);

    /* The run around the cleared bits, as far as bounds count, raises each group where it can be entered. */
    const ULONG64 Cap = RTL_BITMAP_SUMMARY_CAP;
    const ULONG64 RunStart =
        RtlpRunStart(&View, StartingIndex, StartingIndex > Cap ? StartingIndex - Cap : 0);
    const ULONG64 RunEnd = RtlpNextUnwanted(&View, End, End + Cap);

    for (ULONG64 Group = RtlpGroupOf(RunStart); Group <= RtlpGroupOf(End - 1); Group += 1)
    {
        const ULONG64 Entry = RtlpMaximum(RunStart, RtlpFirstBitOf(Group));

        RtlpRaiseBound(Summary, Group, (UCHAR)RtlpMinimum(RunEnd - Entry, Cap));
    }
}

BOOLEAN RtlSummaryTestBit(PCRTL_BITMAP_SUMMARY Summary, ULONG64 BitNumber)
{
    return (Summary->Buffer[BitNumber / 32] >> (BitNumber % 32)) & 1;
}

static BOOLEAN RtlpSummaryAreBits(PCRTL_BITMAP_SUMMARY Summary, ULONG64 Start, ULONG64 Length, BOOLEAN Set)
{
    const RTLP_BIT_VIEW View = RtlpSummaryView(Summary, Set);

    return Length != 0 && Start < View.Size && Length <= View.Size - Start &&
           RtlpNextUnwanted(&View, Start, Start + Length) == Start + Length;
}

BOOLEAN RtlSummaryAreBitsClear(PCRTL_BITMAP_SUMMARY Summary, ULONG64 StartingIndex, ULONG64 Length)
{
    return RtlpSummaryAreBits(Summary, StartingIndex, Length, FALSE);
}

BOOLEAN RtlSummaryAreBitsSet(PCRTL_BITMAP_SUMMARY Summary, ULONG64 StartingIndex, ULONG64 Length)
{
    return RtlpSummaryAreBits(Summary, StartingIndex, Length, TRUE);
}

ULONG64 RtlSummaryFindClearBits(PRTL_BITMAP_SUMMARY Summary, ULONG64 NumberToFind, ULONG64 HintIndex)
{
    if (NumberToFind == 0 || NumberToFind > Summary->NumberOfClearBits)
    {
        return RTL_BITMAP_SUMMARY_NOT_FOUND;
    }

    if (HintIndex >= Summary->SizeOfBitMap)
    {
        HintIndex = 0;
    }

    const ULONG64 Position = RtlpSummarySearch(Summary, HintIndex, Summary->SizeOfBitMap, NumberToFind);

    if (Position != RTL_BITMAP_SUMMARY_NOT_FOUND)
    {
        return Position;
    }

    return RtlpSummarySearch(Summary, 0, HintIndex, NumberToFind);
}

ULONG64 RtlSummaryFindClearBitsAndSet(PRTL_BITMAP_SUMMARY Summary, ULONG64 NumberToFind, ULONG64 HintIndex)
{
    const ULONG64 Position = RtlSummaryFindClearBits(Summary, NumberToFind, HintIndex);

    if (Position != RTL_BITMAP_SUMMARY_NOT_FOUND)
    {
        RtlSummarySetBits(Summary, Position, NumberToFind);
    }

    return Position;
}

ULONG64 RtlSummaryFindClusterAndSet(PRTL_BITMAP_SUMMARY Summary, ULONG64 NumberWanted, ULONG64 HintIndex,
                                    PULONG64 NumberFound)
{
    const ULONG Top = Summary->Levels - 1;

    NumberWanted = RtlpMinimum(NumberWanted, Summary->NumberOfClearBits);

    /* The greatest bound at the top is the most there can be; each failed attempt makes it truer, smaller. */
    for (;;)
    {
        ULONG64 Most = 0;

        for (ULONG64 Index = 0; Index < Summary->Counts[Top]; Index += 1)
        {
            Most = RtlpMaximum(Most, Summary->Bounds[Top][Index]);
        }

        NumberWanted = RtlpMinimum(NumberWanted, Most);
        *NumberFound = NumberWanted;
        if (NumberWanted == 0)
        {
            return RTL_BITMAP_SUMMARY_NOT_FOUND;
        }

        const ULONG64 Position = RtlSummaryFindClearBitsAndSet(Summary, NumberWanted, HintIndex);

        if (Position != RTL_BITMAP_SUMMARY_NOT_FOUND)
        {
            return Position;
        }
    }
}

ULONG64 RtlCheckBitMapSummary(PCRTL_BITMAP_SUMMARY Summary)
{
    const RTLP_BIT_VIEW View = RtlpSummaryView(Summary, FALSE);
    ULONG64 Start;

    for (ULONG64 Group = 0; Group < Summary->Counts[0]; Group += 1)
    {
        const ULONG64 Longest = RtlpLongestWantedRun(&View, RtlpFirstBitOf(Group), RtlpFirstBitOf(Group + 1),
                                                     RTL_BITMAP_SUMMARY_CAP, &Start);

        if (Summary->Bounds[0][Group] < Longest)
        {
            return RtlpFirstBitOf(Group);
        }
    }

    for (ULONG Level = 1; Level < Summary->Levels; Level += 1)
    {
        for (ULONG64 Index = 0; Index < Summary->Counts[Level]; Index += 1)
        {
            if (Summary->Bounds[Level][Index] != RtlpMaximumOfChildren(Summary, Level, Index))
            {
                return Index << (RTL_BITMAP_SUMMARY_GROUP_SHIFT + 6 * Level);
            }
        }
    }

    const BOOLEAN CountIsRight =
        RtlpCountWanted(&View, 0, Summary->SizeOfBitMap) == Summary->NumberOfClearBits;

    return CountIsRight ? RTL_BITMAP_SUMMARY_NOT_FOUND : Summary->SizeOfBitMap;
}
