/* SPDX-License-Identifier: MIT */
/*
 * Free addresses. The space's limits, the caller's limits and what the surroundings occupy leave a few segments; in each
 * of them the VAD tree's summaries lead to the lowest or highest hole that fits. With 64 KiB alignment every hole that is large enough fits,
 * so the walk goes astray only along the two edges of the segment: O(log n).
 *
 * A larger alignment can make large enough holes useless, and there can be very many of them. After a number of
 * disappointments the search asks for holes so large that they fit in any case, and only when there is none looks at all.
 */
#include "space/space.h"
#include "space/vad.h"

#define MI_FIND_PATIENCE 256u

typedef struct _MI_HOLE_SEARCH
{
    SIZE_T Pages;
    ULONG_PTR Align;
    SIZE_T Gap; /* what a hole must measure to be looked at */
    BOOLEAN TopDown;
    ULONG Candidates; /* holes that may still be looked at */
    ULONG_PTR Found;
} MI_HOLE_SEARCH;

/* The free pages Low..High (inclusive), between two VADs. */
static BOOLEAN MiFitInHole(MI_HOLE_SEARCH *Search, ULONG_PTR Low, ULONG_PTR High)
{
    ULONG_PTR First = ALIGN_UP_BY(Low, Search->Align);

    if (First < Low || First > High || High - First + 1 < Search->Pages)
    {
        Search->Candidates--;
        return FALSE;
    }
    Search->Found = Search->TopDown ? ALIGN_DOWN_BY(High + 1 - Search->Pages, Search->Align) : First;
    return TRUE;
}

/* Whether the subtree, which lies between the free pages Low and High, may have a hole that is large enough. */
static BOOLEAN MiMayFit(const MI_HOLE_SEARCH *Search, const MMVAD *Vad, ULONG_PTR Low, ULONG_PTR High)
{
    return Vad->SubtreeGap >= Search->Gap || MiUsableGap(Low, Vad->SubtreeStart) >= Search->Gap ||
           MiUsableGap(Vad->SubtreeEnd + 1, High + 1) >= Search->Gap;
}

/*
 * Low..High are the pages of the segment between the VADs left and right of this subtree. The depth is that of the tree: at
 * most 1.44 log2 n.
 */
static BOOLEAN MiSearchSubtree(MI_HOLE_SEARCH *Search, PRTL_BALANCED_NODE Node, ULONG_PTR Low, ULONG_PTR High)
{
    PMMVAD Vad = MiVadOf(Node);
    ULONG_PTR Lows[2] = { Low, Low };
    ULONG_PTR Highs[2] = { High, High };

    if (Low > High || High - Low + 1 < Search->Pages || Search->Candidates == 0)
    {
        return FALSE;
    }
    if (Vad == NULL)
    {
        return MiFitInHole(Search, Low, High);
    }
    if (!MiMayFit(Search, Vad, Low, High))
    {
        return FALSE;
    }
    if (Vad->StartingVpn <= High)
    {
        Highs[0] = Vad->StartingVpn - 1;
    }
    if (Vad->EndingVpn >= Low)
    {
        Lows[1] = Vad->EndingVpn + 1;
    }
    for (ULONG Turn = 0; Turn < 2; Turn++)
    {
        ULONG Side = Search->TopDown ? 1 - Turn : Turn;

        if (MiSearchSubtree(Search, Node->Children[Side], Lows[Side], Highs[Side]))
        {
            return TRUE;
        }
    }
    return FALSE;
}

static BOOLEAN MiSearchSegment(PMI_ADDRESS_SPACE Space, MI_HOLE_SEARCH *Search, ULONG_PTR Low, ULONG_PTR High)
{
    Search->Gap = Search->Pages;
    if (Search->Align <= MI_GRANULARITY_PAGES)
    {
        Search->Candidates = ~0u;
        return MiSearchSubtree(Search, Space->VadRoot.Root, Low, High);
    }
    Search->Candidates = MI_FIND_PATIENCE;
    if (MiSearchSubtree(Search, Space->VadRoot.Root, Low, High))
    {
        return TRUE;
    }
    if (Search->Candidates != 0)
    {
        return FALSE; /* all were looked at */
    }
    Search->Gap = Search->Pages + Search->Align - MI_GRANULARITY_PAGES;
    Search->Candidates = ~0u;
    if (MiSearchSubtree(Search, Space->VadRoot.Root, Low, High))
    {
        return TRUE;
    }
    Search->Gap = Search->Pages;
    Search->Candidates = ~0u;
    return MiSearchSubtree(Search, Space->VadRoot.Root, Low, High);
}

/* ---- Segments between occupied ranges ---------------------------------------------------------------------- */

static BOOLEAN MiSearchUpwards(PMI_ADDRESS_SPACE Space, MI_HOLE_SEARCH *Search, ULONG_PTR Low, ULONG_PTR High)
{
    const MI_SPACE_STATE *State = MiState.Space;

    for (ULONG Index = 0; Index < State->OccupiedCount && !Space->Kernel && Low <= High; Index++)
    {
        ULONG_PTR First = State->Occupied[Index].Start >> PAGE_SHIFT;
        ULONG_PTR Last = State->Occupied[Index].End >> PAGE_SHIFT;

        if (Last < Low)
        {
            continue;
        }
        if (First > High)
        {
            break;
        }
        if (First > Low && MiSearchSegment(Space, Search, Low, First - 1))
        {
            return TRUE;
        }
        Low = Last + 1;
    }
    return Low <= High && MiSearchSegment(Space, Search, Low, High);
}

static BOOLEAN MiSearchDownwards(PMI_ADDRESS_SPACE Space, MI_HOLE_SEARCH *Search, ULONG_PTR Low,
                                 ULONG_PTR High)
{
    const MI_SPACE_STATE *State = MiState.Space;

    for (ULONG Index = State->OccupiedCount; Index > 0 && !Space->Kernel && Low <= High; Index--)
    {
        ULONG_PTR First = State->Occupied[Index - 1].Start >> PAGE_SHIFT;
        ULONG_PTR Last = State->Occupied[Index - 1].End >> PAGE_SHIFT;

        if (First > High)
        {
            continue;
        }
        if (Last < Low)
        {
            break;
        }
        if (Last < High && MiSearchSegment(Space, Search, Last + 1, High))
        {
            return TRUE;
        }
        if (First == 0)
        {
            return FALSE;
        }
        High = First - 1;
    }
    return Low <= High && MiSearchSegment(Space, Search, Low, High);
}

/* ---- The calls of other rooms ------------------------------------------------------------------------------ */

NTSTATUS MiFindEmptyRange(PMI_ADDRESS_SPACE Space, const MI_FIND_RANGE *Find, ULONG_PTR *StartVpn)
{
    ULONG_PTR Low = Find->LowestVpn > Space->LowestVpn ? Find->LowestVpn : Space->LowestVpn;
    ULONG_PTR High = Find->HighestVpn < Space->HighestVpn ? Find->HighestVpn : Space->HighestVpn;
    MI_HOLE_SEARCH Search = { .Pages = Find->Pages, .Align = Find->AlignPages, .TopDown = Find->TopDown };
    BOOLEAN Found = FALSE;

    if (Search.Align < MI_GRANULARITY_PAGES)
    {
        Search.Align = MI_GRANULARITY_PAGES;
    }
    if (Search.Pages == 0 || Low > High)
    {
        return STATUS_NO_MEMORY;
    }
    if (Find->Randomize && Find->TopDown)
    {
        ULONG_PTR Limit = Space->HighestVpn - Space->TopDownBias;
        Found = MiSearchDownwards(Space, &Search, Low, Limit < High ? Limit : High);
    }
    else if (Find->Randomize)
    {
        ULONG_PTR Limit = Space->LowestVpn + Space->RandomBias;
        Found = MiSearchUpwards(Space, &Search, Limit > Low ? Limit : Low, High);
    }
    if (!Found)
    {
        Found = Find->TopDown ? MiSearchDownwards(Space, &Search, Low, High)
                              : MiSearchUpwards(Space, &Search, Low, High);
    }
    if (!Found)
    {
        return STATUS_NO_MEMORY;
    }
    *StartVpn = Search.Found;
    return STATUS_SUCCESS;
}

BOOLEAN MiIsRangeAllocatable(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    const MI_SPACE_STATE *State = MiState.Space;

    if (StartVpn > EndVpn || StartVpn < Space->LowestVpn || EndVpn > Space->HighestVpn)
    {
        return FALSE;
    }
    for (ULONG Index = 0; Index < State->OccupiedCount && !Space->Kernel; Index++)
    {
        if (State->Occupied[Index].Start >> PAGE_SHIFT <= EndVpn &&
            State->Occupied[Index].End >> PAGE_SHIFT >= StartVpn)
        {
            return FALSE;
        }
    }
    return TRUE;
}
