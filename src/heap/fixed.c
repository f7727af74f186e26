/* SPDX-License-Identifier: MIT */
/*
 * Heaps of fixed size, and heaps in memory that the caller brings: blocks of any size, best fit, no front end.
 *
 * The two maps lie in the metadata, so the whole range serves blocks. Memory is committed from the front as blocks need it,
 * by the page operations or by the caller's commit routine, and stays committed. The heap's lock is held.
 */
#include "heap/api.h"

#define HEAP_MAP_GRAIN 1024 /* bytes of the range for one word of a map */

static ULONG RtlpFixedMapUnits(SIZE_T Reserved)
{
    const SIZE_T Words = Reserved / HEAP_MAP_GRAIN;

    return (ULONG)((2 * Words * sizeof(ULONG64) + HEAP_UNIT - 1) / HEAP_UNIT);
}

PHEAP_FIXED RtlpCreateFixed(PHEAP Heap, PVOID Base, SIZE_T Reserve, SIZE_T Commit,
                            PRTL_HEAP_PARAMETERS Parameters)
{
    const SIZE_T Reserved =
        Base == NULL ? (Reserve + HEAP_PAGE - 1) & ~(HEAP_PAGE - 1) : Reserve & ~(SIZE_T)(HEAP_MAP_GRAIN - 1);
    const ULONG MapUnits = RtlpFixedMapUnits(Reserved);
    const SIZE_T Regions = (Reserved + HEAP_PAGE + HEAP_REGION - 1) >> HEAP_REGION_SHIFT;

    if (Reserved == 0 || Reserved / 16 >= MAXULONG)
    {
        return NULL;
    }

    PHEAP_FIXED Fixed =
        Heap->SpareFixed != NULL && Heap->SpareFixed->MapUnits >= MapUnits ? Heap->SpareFixed : NULL;
    PULONG64 Map = Fixed != NULL ? Fixed->Range.Busy : RtlpAllocateMetadata(MapUnits);
    const ULONG MapRoom = Fixed != NULL ? Fixed->MapUnits : MapUnits;

    if (Fixed == NULL)
    {
        Fixed = RtlpAllocateMetadata(sizeof(HEAP_FIXED) / HEAP_UNIT + 1);
    }

    if (Fixed == NULL || Map == NULL)
    {
        return NULL;
    }

    Heap->SpareFixed = Fixed; /* for the next heap, if this one comes to nothing */
    __builtin_memset(Fixed, 0, sizeof(*Fixed));
    __builtin_memset(Map, 0, MapUnits * HEAP_UNIT);
    Fixed->Executable = Heap->Executable;
    Fixed->Base = Base;
    Fixed->Reserved = Reserved;
    Fixed->MapUnits = MapRoom; /* a smaller heap uses less of it, and a larger one may come after */
    Fixed->Largest = HEAP_FIXED_LARGEST;
    if (Parameters != NULL && Parameters->VirtualMemoryThreshold != 0 &&
        Parameters->VirtualMemoryThreshold < HEAP_FIXED_LARGEST)
    {
        Fixed->Largest = Parameters->VirtualMemoryThreshold;
    }

    Fixed->CommitStep = HEAP_PAGE;
    if (Parameters != NULL && Parameters->SegmentCommit > HEAP_PAGE)
    {
        Fixed->CommitStep = (Parameters->SegmentCommit + HEAP_PAGE - 1) & ~(HEAP_PAGE - 1);
    }

    Fixed->Range.Busy = Map;
    Fixed->Range.Start = Map + Reserved / HEAP_MAP_GRAIN;
    if (Base == NULL)
    {
        Fixed->Base = RtlpAllocateRegions(Regions);
        Fixed->Regions = Regions;
        Commit = (Commit + HEAP_PAGE - 1) & ~(HEAP_PAGE - 1);
        if (Fixed->Base == NULL)
        {
            return NULL;
        }

        if (Commit > Reserved)
        {
            Commit = Reserved;
        }

        if (Commit != 0 && !RtlpArena.Operations->Commit(Fixed->Base, Commit, Heap->Executable))
        {
            RtlpFreeRegions(Fixed->Base, Regions);
            return NULL;
        }
    }
    else if (Parameters != NULL && Parameters->CommitRoutine != NULL)
    {
        Fixed->CommitRoutine = Parameters->CommitRoutine;
        Commit &= ~(SIZE_T)(HEAP_MAP_GRAIN - 1);
    }
    else
    {
        Commit = Reserved; /* the caller's memory, all of it committed */
    }

    Fixed->Committed = Commit;
    Fixed->Range.Count = (ULONG)(Commit >> HEAP_GRANULE_SHIFT);

    return Fixed;
}

VOID RtlpDestroyFixed(PHEAP_FIXED Fixed)
{
    if (Fixed->Regions != 0)
    {
        RtlpArena.Operations->Decommit(Fixed->Base, Fixed->Reserved, TRUE);
        RtlpFreeRegions(Fixed->Base, Fixed->Regions);
    }
}

/* Commits at least Size bytes more behind what is committed. */
static BOOLEAN RtlpGrowFixed(PHEAP_FIXED Fixed, SIZE_T Size)
{
    const SIZE_T Left = Fixed->Reserved - Fixed->Committed;
    SIZE_T More = (Size + Fixed->CommitStep - 1) / Fixed->CommitStep * Fixed->CommitStep;
    PVOID Address = Fixed->Base + Fixed->Committed;

    if (More > Left)
    {
        More = Left;
    }

    if (More == 0 || More < Size)
    {
        return FALSE;
    }

    if (Fixed->CommitRoutine != NULL)
    {
        /* The routine may commit more than it is asked for, behind what there is. */
        if (Fixed->CommitRoutine(Fixed->Base, &Address, &More) < 0 ||
            Address != Fixed->Base + Fixed->Committed || More < Size || More > Left)
        {
            return FALSE;
        }

        More &= ~(SIZE_T)(HEAP_MAP_GRAIN - 1);
    }
    else if (Fixed->Regions == 0 || !RtlpArena.Operations->Commit(Address, More, Fixed->Executable))
    {
        return FALSE;
    }

    Fixed->Committed += More;
    Fixed->Range.Count = (ULONG)(Fixed->Committed >> HEAP_GRANULE_SHIFT);

    return TRUE;
}

PVOID RtlpAllocateFixed(PHEAP_FIXED Fixed, SIZE_T Size)
{
    const ULONG Count = Size == 0 ? 1 : (ULONG)((Size + 15) >> HEAP_GRANULE_SHIFT);
    ULONG Longest;

    if (Size > HEAP_FIXED_LARGEST)
    {
        return NULL;
    }

    ULONG First = RtlpFindGranules(&Fixed->Range, Count, &Longest);

    if (First == HEAP_NO_GRANULE)
    {
        /* A free run at the end of the committed part is extended, not left behind. */
        const ULONG End = Fixed->Range.Count;
        ULONG Tail = 0;

        while (Tail < End && Tail < Count &&
               (Fixed->Range.Busy[(End - 1 - Tail) / 64] >> ((End - 1 - Tail) % 64) & 1) == 0)
        {
            Tail += 1;
        }

        if (!RtlpGrowFixed(Fixed, (SIZE_T)(Count - Tail) << HEAP_GRANULE_SHIFT))
        {
            return NULL;
        }

        First = End - Tail;
    }

    RtlpTakeGranules(&Fixed->Range, First, Count);

    return Fixed->Base + ((SIZE_T)First << HEAP_GRANULE_SHIFT);
}

/* The first granule of an address inside the committed range, or HEAP_NO_GRANULE. */
static ULONG RtlpFixedGranule(const HEAP_FIXED *Fixed, const VOID *Block)
{
    const SIZE_T Offset = (SIZE_T)((ULONG_PTR)Block - (ULONG_PTR)Fixed->Base);

    return Offset < Fixed->Committed && Offset % 16 == 0 ? (ULONG)(Offset >> HEAP_GRANULE_SHIFT)
                                                         : HEAP_NO_GRANULE;
}

SIZE_T RtlpFixedSize(const HEAP_FIXED *Fixed, const VOID *Block)
{
    const ULONG First = RtlpFixedGranule(Fixed, Block);

    return First == HEAP_NO_GRANULE ? 0
                                    : (SIZE_T)RtlpBlockGranules(&Fixed->Range, First) << HEAP_GRANULE_SHIFT;
}

VOID RtlpFreeFixed(PHEAP Heap, PVOID Block)
{
    PHEAP_FIXED Fixed = Heap->Fixed;
    const ULONG First = RtlpFixedGranule(Fixed, Block);

    RtlpReturnGranules(&Fixed->Range, First, RtlpBlockGranules(&Fixed->Range, First));
}

BOOLEAN RtlpResizeFixed(PHEAP_FIXED Fixed, PVOID Block, SIZE_T Size)
{
    const ULONG Count = Size == 0 ? 1 : (ULONG)((Size + 15) >> HEAP_GRANULE_SHIFT);

    return Size <= HEAP_FIXED_LARGEST &&
           RtlpResizeGranules(&Fixed->Range, RtlpFixedGranule(Fixed, Block), Count);
}
