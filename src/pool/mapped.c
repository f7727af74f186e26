/* SPDX-License-Identifier: MIT */
/*
 * Nonpaged pool at addresses of its own: frames from anywhere, mapped through system PTEs. It serves big blocks for which no
 * consecutive frames are left, and special pool, whose blocks stand between pages without a translation. Page numbers count
 * the system PTEs from 1; limits and charges are those of nonpaged pool.
 */
#include "pool/expool.h"
#include "pool/special.h"
#include "translation/pte.h"
#include "translation/systemptes.h"

#define EX_MAP_BATCH 64u

static ULONG_PTR ExpMappedAddress(ULONG Page)
{
    return (ULONG_PTR)ExpPageAddress(&ExpPool()->Sources[ExSourceMapped], Page);
}

static ULONG ExpMappedPage(ULONG_PTR Va)
{
    return (ULONG)((Va - ExpPool()->Sources[ExSourceMapped].Base) >> PAGE_SHIFT);
}

static VOID ExpCountMapped(SIZE_T Pages)
{
    __atomic_add_fetch(&ExpPool()->Sources[ExSourceMapped].PagesInUse, Pages, __ATOMIC_RELAXED);
}

static VOID ExpFreeFrames(const PFN_NUMBER *Frames, SIZE_T Count)
{
    for (SIZE_T Index = 0; Index < Count; Index++)
    {
        MiFreePage(Frames[Index]);
    }
}

static VOID ExpUnmapFrames(ULONG_PTR Va, SIZE_T Count)
{
    PFN_NUMBER Frames[EX_MAP_BATCH];

    while (Count != 0)
    {
        SIZE_T Now = Count < EX_MAP_BATCH ? Count : EX_MAP_BATCH;

        if (Count >= MI_PTES_PER_PAGE && MiIsLargePageAt(Va))
        {
            PFN_NUMBER Frame = MiReadSystemPte(Va).Hard.PageFrameNumber;

            MiUnmapSystemPtes(Va, MI_PTES_PER_PAGE);
            MiFreeContiguousPages(Frame, MI_PTES_PER_PAGE);
            Va += MI_LEVEL_BYTES(1);
            Count -= MI_PTES_PER_PAGE;
            continue;
        }
        for (SIZE_T Index = 0; Index < Now; Index++)
        {
            Frames[Index] = MiReadSystemPte(Va + (Index << PAGE_SHIFT)).Hard.PageFrameNumber;
        }
        MiUnmapSystemPtes(Va, Now);
        ExpFreeFrames(Frames, Now);
        Va += Now << PAGE_SHIFT;
        Count -= Now;
    }
}

/* Maps zeroed frames at a reserved range, 2 MiB at once while there are such; what was mapped is taken away again when they do not suffice. */
static BOOLEAN ExpMapFrames(ULONG_PTR Va, SIZE_T Count)
{
    MMPTE Template = MiMakeValidPte(0, MM_READWRITE, FALSE);
    BOOLEAN Large = TRUE;
    SIZE_T Done = 0;

    Template.Long |= MM_PTE_DIRTY;
    while (Done < Count)
    {
        PFN_NUMBER Frames[EX_MAP_BATCH];
        SIZE_T Now = Count - Done < EX_MAP_BATCH ? Count - Done : EX_MAP_BATCH;
        ULONG Taken = 0;

        if (Large && MI_PTE_INDEX(Va + (Done << PAGE_SHIFT), 0) == 0 && Count - Done >= MI_PTES_PER_PAGE)
        {
            PFN_NUMBER Frame =
                MiAllocateContiguousPages(MI_PTES_PER_PAGE, 0, ~(PFN_NUMBER)0, MI_PTES_PER_PAGE);

            Large = Frame != 0; /* the next search would find no more */
            if (Large)
            {
                MiMapSystemRun(Va + (Done << PAGE_SHIFT), Frame, MI_PTES_PER_PAGE, Template);
                Done += MI_PTES_PER_PAGE;
                continue;
            }
        }
        while (Taken < Now)
        {
            ULONG Got = 0;
            PFN_NUMBER Frame = ExpTakeFrames((ULONG)Now - Taken, MI_PAGE_ZEROED, &Got);

            if (Frame == 0)
            {
                ExpFreeFrames(Frames, Taken);
                ExpUnmapFrames(Va, Done);
                return FALSE;
            }
            for (ULONG Index = 0; Index < Got; Index++)
            {
                ExpMarkKernelFrame(Frame + Index);
                Frames[Taken++] = Frame + Index;
            }
        }
        MiMapSystemPtes(Va + (Done << PAGE_SHIFT), Frames, Now, Template);
        Done += Now;
    }
    return TRUE;
}

/* ---- Big blocks ----------------------------------------------------------------------------------------- */

static ULONG ExpGetMappedRun(PEX_POOL_SOURCE Source, SIZE_T Count)
{
    PEX_POOL_SOURCE Limits = &ExpPool()->Sources[ExSourceNonpaged];
    ULONG_PTR Va;

    UNREFERENCED_PARAMETER(Source);
    if (!ExpChargePages(Limits, Count))
    {
        return 0;
    }
    Va = MiReserveSystemPtesForRun(0, Count); /* on a border of 2 MiB */
    if (Va != 0 && ExpMapFrames(Va, Count))
    {
        ExpCountMapped(Count);
        return ExpMappedPage(Va);
    }
    if (Va != 0)
    {
        MiReleaseSystemPtes(Va, Count);
    }
    ExpReturnPages(Limits, Count);
    return 0;
}

static VOID ExpPutMappedRun(PEX_POOL_SOURCE Source, ULONG First, SIZE_T Count)
{
    UNREFERENCED_PARAMETER(Source);
    ExpUnmapFrames(ExpMappedAddress(First), Count);
    MiReleaseSystemPtes(ExpMappedAddress(First), Count);
    ExpCountMapped(0 - Count);
    ExpReturnPages(&ExpPool()->Sources[ExSourceNonpaged], Count);
}

/* ---- Pages between guards ------------------------------------------------------------------------------- */

static ULONG ExpGetMappedGuarded(PEX_POOL_SOURCE Source)
{
    PEX_POOL_SOURCE Limits = &ExpPool()->Sources[ExSourceNonpaged];
    ULONG_PTR Va;

    UNREFERENCED_PARAMETER(Source);
    if (!ExpChargePages(Limits, 1))
    {
        return 0;
    }
    Va = MiReserveSystemPtes(EX_GUARDED_PAGES);
    if (Va != 0 && ExpMapFrames(Va + PAGE_SIZE, 1))
    {
        ExpCountMapped(1);
        return ExpMappedPage(Va + PAGE_SIZE);
    }
    if (Va != 0)
    {
        MiReleaseSystemPtes(Va, EX_GUARDED_PAGES);
    }
    ExpReturnPages(Limits, 1);
    return 0;
}

static VOID ExpRevokeMappedGuarded(PEX_POOL_SOURCE Source, ULONG Page)
{
    UNREFERENCED_PARAMETER(Source);
    ExpUnmapFrames(ExpMappedAddress(Page), 1);
    ExpCountMapped((SIZE_T)-1);
    ExpReturnPages(&ExpPool()->Sources[ExSourceNonpaged], 1);
}

static VOID ExpPutMappedGuarded(PEX_POOL_SOURCE Source, ULONG Page)
{
    UNREFERENCED_PARAMETER(Source);
    MiReleaseSystemPtes(ExpMappedAddress(Page - 1), EX_GUARDED_PAGES);
}

static const EX_POOL_SOURCE_OPERATIONS ExpMappedOperations = { .GetRun = ExpGetMappedRun,
                                                               .PutRun = ExpPutMappedRun,
                                                               .GetGuarded = ExpGetMappedGuarded,
                                                               .RevokeGuarded = ExpRevokeMappedGuarded,
                                                               .PutGuarded = ExpPutMappedGuarded };

NTSTATUS ExpAttachMappedPool(void)
{
    return ExpAttachSource(ExSourceMapped, &ExpMappedOperations, MiSystemPteBase() - PAGE_SIZE,
                           (SIZE_T)MiSystemPtesTotal() + 1, ExpPool()->Sources[ExSourceNonpaged].PageLimit);
}
