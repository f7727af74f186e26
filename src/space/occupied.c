/* SPDX-License-Identifier: MIT */
/*
 * What the surroundings occupy of the user window, read once at boot: sorted, merged, and, where there are more
 * ranges than fit, with the smallest holes between them given up. Kept once for the machine and not as VADs, so that ten thousand
 * processes do not pay for it.
 */
#include "space/space.h"

static VOID MiSortRanges(PORT_ADDRESS_RANGE *Ranges, ULONG Count)
{
    for (ULONG Index = 1; Index < Count; Index++)
    {
        PORT_ADDRESS_RANGE Range = Ranges[Index];
        ULONG Place = Index;

        for (; Place > 0 && Ranges[Place - 1].Start > Range.Start; Place--)
        {
            Ranges[Place] = Ranges[Place - 1];
        }
        Ranges[Place] = Range;
    }
}

/* Joins neighbours with fewer than Hole bytes between them. Returns the new count. */
static ULONG MiMergeRanges(PORT_ADDRESS_RANGE *Ranges, ULONG Count, ULONG_PTR Hole)
{
    ULONG Kept = 0;

    for (ULONG Index = 0; Index < Count; Index++)
    {
        PORT_ADDRESS_RANGE Range = Ranges[Index];

        Range.Start &= ~(ULONG_PTR)(PAGE_SIZE - 1);
        Range.End |= PAGE_SIZE - 1;
        if (Kept != 0 &&
            (Range.Start <= Ranges[Kept - 1].End || Range.Start - Ranges[Kept - 1].End - 1 < Hole))
        {
            if (Ranges[Kept - 1].End < Range.End)
            {
                Ranges[Kept - 1].End = Range.End;
            }
        }
        else
        {
            Ranges[Kept++] = Range;
        }
    }
    return Kept;
}

NTSTATUS MiReadOccupiedRanges(MI_SPACE_STATE *State)
{
    ULONG Room = PortQueryOccupiedRanges(NULL, 0) + 64; /* asking may itself change what there is */
    PORT_ADDRESS_RANGE *Ranges = PortAllocateBootMemory(Room * sizeof(*Ranges));
    ULONG Count;

    if (Ranges == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Count = PortQueryOccupiedRanges(Ranges, Room);
    KiRequire(Count <= Room);
    MiSortRanges(Ranges, Count);
    for (ULONG_PTR Hole = 0x10000; Count != 0; Hole *= 2)
    {
        Count = MiMergeRanges(Ranges, Count, Hole);
        if (Count <= MI_MAXIMUM_OCCUPIED)
        {
            break;
        }
    }
    State->OccupiedCount = Count;
    for (ULONG Index = 0; Index < Count; Index++)
    {
        State->Occupied[Index] = Ranges[Index];
    }
    PortFreeBootMemory(Ranges, Room * sizeof(*Ranges));
    return STATUS_SUCCESS;
}
