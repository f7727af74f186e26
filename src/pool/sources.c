/* SPDX-License-Identifier: MIT */
/*
 * The source of nonpaged pool, and the birth and death of the pools. Nonpaged pages are frames seen through
 * the direct map, so that no page table has to be written and no translation can be missing at any IRQL; the
 * page number is the frame's. Paged pool is handed in from above.
 */
#include "pool/special.h"
#include "pool/verifier.h"

/* ---- Nonpaged pages ----------------------------------------------------------------------------------- */

BOOLEAN ExpChargePages(PEX_POOL_SOURCE Source, SIZE_T Pages)
{
    SIZE_T InUse = __atomic_add_fetch(&Source->PagesInUse, Pages, __ATOMIC_RELAXED);
    SIZE_T Peak = __atomic_load_n(&Source->PeakPages, __ATOMIC_RELAXED);
    /* Paging files grow for the pool as for anybody; above APC_LEVEL nobody can wait for it, and they have grown ahead. */
    ULONG Flags = KeGetCurrentIrql() > APC_LEVEL ? MI_COMMIT_NO_EXTEND : 0;

    if (InUse <= Source->PageLimit && MiChargeCommitment(Pages, Flags))
    {
        if (MiChargeResidentAvailable(Pages))
        {
            if (InUse > Peak)
            {
                __atomic_store_n(&Source->PeakPages, InUse,
                                 __ATOMIC_RELAXED); /* a statistic: races lose a little */
            }
            return TRUE;
        }
        MiReturnCommitment(Pages);
    }
    __atomic_sub_fetch(&Source->PagesInUse, Pages, __ATOMIC_RELAXED);
    return FALSE;
}

VOID ExpReturnPages(PEX_POOL_SOURCE Source, SIZE_T Pages)
{
    MiReturnResidentAvailable(Pages);
    MiReturnCommitment(Pages);
    __atomic_sub_fetch(&Source->PagesInUse, Pages, __ATOMIC_RELAXED);
}

/*
 * Where ordinary requests are refused because memory is short, the pool goes on with half of the reserve: its
 * callers hold locks and cannot wait, and the other half is enough to write pages out.
 */
PFN_NUMBER ExpTakeFrames(ULONG Wanted, ULONG Flags, PULONG Got)
{
    PFN_NUMBER Frame = MiAllocatePageRun(Wanted, Flags, MI_ANY_PLACE, Got);

    if (Frame == 0 && MiAvailablePages() > MiState.Physical->MinimumReserve / 2)
    {
        *Got = 1;
        Frame = MiAllocatePage(Flags | MI_PAGE_MUST_SUCCEED);
    }
    return Frame;
}

VOID ExpMarkKernelFrame(PFN_NUMBER Frame)
{
    PMMPFN Pfn = MiPfn(Frame);
    KIRQL OldIrql = KiRaiseIrqlToDispatch();

    MiLockPfn(Pfn);
    Pfn->e1.Kernel = 1;
    MiUnlockPfn(Pfn);
    KiLowerIrqlFromDispatch(OldIrql);
}

static ULONG ExpGetNonpagedPages(PEX_POOL_SOURCE Source, ULONG Wanted, PULONG Pages)
{
    ULONG Taken = 0;

    if (!ExpChargePages(Source, Wanted))
    {
        if (Wanted == 1 || !ExpChargePages(Source, 1))
        {
            return 0;
        }
        Wanted = 1;
    }
    while (Taken < Wanted)
    {
        ULONG Got = 0;
        PFN_NUMBER Frame = ExpTakeFrames(Wanted - Taken, 0, &Got);

        if (Frame == 0)
        {
            break;
        }
        for (ULONG Index = 0; Index < Got; Index++)
        {
            ExpMarkKernelFrame(Frame + Index);
            Pages[Taken++] = (ULONG)(Frame + Index);
        }
    }
    if (Taken < Wanted)
    {
        ExpReturnPages(Source, Wanted - Taken);
    }
    return Taken;
}

static VOID ExpPutNonpagedPages(PEX_POOL_SOURCE Source, ULONG Count, const ULONG *Pages)
{
    for (ULONG Index = 0; Index < Count; Index++)
    {
        MiFreePage(Pages[Index]);
    }
    ExpReturnPages(Source, Count);
}

static ULONG ExpGetNonpagedRun(PEX_POOL_SOURCE Source, SIZE_T Count)
{
    PFN_NUMBER Frame;
    ULONG Got;

    if (!ExpChargePages(Source, Count))
    {
        return 0;
    }
    if (Count == 1)
    {
        Frame = ExpTakeFrames(1, MI_PAGE_ZEROED, &Got);
        if (Frame != 0)
        {
            ExpMarkKernelFrame(Frame);
        }
    }
    else
    {
        Frame = MiAllocateContiguousPages(Count, 1, MiState.Physical->HighestPage, 1);
    }
    if (Frame == 0)
    {
        ExpReturnPages(Source, Count);
    }
    return (ULONG)Frame;
}

static VOID ExpPutNonpagedRun(PEX_POOL_SOURCE Source, ULONG First, SIZE_T Count)
{
    MiFreeContiguousPages(First, Count);
    ExpReturnPages(Source, Count);
}

static const EX_POOL_SOURCE_OPERATIONS ExpNonpagedOperations = { .GetPages = ExpGetNonpagedPages,
                                                                 .PutPages = ExpPutNonpagedPages,
                                                                 .GetRun = ExpGetNonpagedRun,
                                                                 .PutRun = ExpPutNonpagedRun };

/* ---- Birth and death ---------------------------------------------------------------------------------- */

static SIZE_T ExpSlabsBytes(void)
{
    return ExpPool()->ProcessorCount * EX_POOL_CLASSES * sizeof(EX_POOL_SLABS);
}

static VOID ExpDetachSource(EX_SOURCE Number)
{
    PEX_POOL_SOURCE Source = &ExpPool()->Sources[Number];

    if (Source->Pages != NULL)
    {
        PortFreeBootMemory(Source->Pages, (Source->Span >> PAGE_SHIFT) * sizeof(EX_POOL_PAGE));
    }
    if (Source->Map != NULL)
    {
        PortFreeBootMemory((PVOID)(ULONG_PTR)Source->Map, Source->Span >> PAGE_SHIFT);
    }
    if (Source->Slabs != NULL)
    {
        PortFreeBootMemory(Source->Slabs, ExpSlabsBytes());
    }
    Source->Map = NULL;
    Source->Slabs = NULL;
    Source->Homes = 0;
    Source->Operations = NULL;
    Source->Pages = NULL;
    Source->Span = 0;
}

/* Descriptors cost memory only where pages are in use: boot memory comes into being when it is touched. */
NTSTATUS ExpAttachSource(EX_SOURCE Number, const EX_POOL_SOURCE_OPERATIONS *Operations, ULONG_PTR Base,
                         SIZE_T Pages, SIZE_T PageLimit)
{
    PEX_POOL_SOURCE Source = &ExpPool()->Sources[Number];

    Source->Pages = PortAllocateBootMemory(Pages * sizeof(EX_POOL_PAGE));
    Source->Map = PortAllocateBootMemory(Pages);
    Source->Slabs = Number != ExSourceMapped ? PortAllocateBootMemory(ExpSlabsBytes()) : NULL;
    Source->Span = Pages << PAGE_SHIFT;
    if (Source->Pages == NULL || Source->Map == NULL || (Source->Slabs == NULL && Number != ExSourceMapped))
    {
        ExpDetachSource(Number);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Source->Base = Base;
    Source->Paged = Number == ExSourcePaged;
    Source->PageLimit = PageLimit;
    if (Number != ExSourceMapped)
    {
        Source->Homes = ExpPool()->ProcessorCount;
        ExpInitializeClasses(Source);
    }
    Source->Operations = Operations;
    return STATUS_SUCCESS;
}

NTSTATUS ExpAttachPagedPool(const EX_POOL_SOURCE_OPERATIONS *Operations, PVOID Region, ULONG_PTR Base,
                            SIZE_T Pages)
{
    ExpPool()->Sources[ExSourcePaged].Region = Region;
    return ExpAttachSource(ExSourcePaged, Operations, Base, Pages, Pages - 1);
}

static VOID ExpRequireNoBlocks(void)
{
    for (ULONG Paged = 0; Paged < 2; Paged++)
    {
        EX_POOL_USAGE Usage;

        ExQueryPoolUsage(Paged != 0, &Usage);
        if (Usage.Blocks != 0)
        {
            ExpReportLeaks();
        }
    }
}

VOID ExpDetachPagedPool(void)
{
    EX_POOL_USAGE Usage;

    if (ExpPool()->Sources[1].Operations == NULL)
    {
        return;
    }
    ExQueryPoolUsage(TRUE, &Usage);
    if (Usage.Blocks != 0)
    {
        ExpReportLeaks();
    }
    ExpReleaseFreedSpecial();
    MiTrimPool();
    ExpDetachSource(ExSourcePaged);
}

VOID ExpDeletePools(void)
{
    EX_POOL *Pool = ExpPool();

    ExpDetachSource(ExSourceMapped);
    ExpDetachSource(ExSourceNonpaged);
    if (Pool->Processors != NULL)
    {
        PortFreeBootMemory(Pool->Processors, Pool->ProcessorCount * sizeof(*Pool->Processors));
    }
    PortFreeBootMemory(Pool, sizeof(*Pool));
    MiState.Pool = NULL;
}

NTSTATUS MiInitializePool(void)
{
    EX_POOL *Pool = PortAllocateBootMemory(sizeof(*Pool));
    PFN_NUMBER Pages = MiState.Physical->DatabaseFrames; /* memory may be added */
    NTSTATUS Status;

    if (Pool == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    MiState.Pool = Pool;
    InitializeListHead(&Pool->QuotaBlocks);
    InitializeListHead(&Pool->Lookasides[0]);
    InitializeListHead(&Pool->Lookasides[1]);
    InitializeListHead(&Pool->Drivers);
    InitializeListHead(&Pool->Verifier.Suspects);
    for (ULONG Bucket = 0; Bucket < RTL_NUMBER_OF(Pool->Verifier.Buckets); Bucket++)
    {
        InitializeListHead(&Pool->Verifier.Buckets[Bucket]);
    }
    Pool->Cookie = KiIsDeterministic() ? 0x9e3779b97f4a7c15ull : PortQueryEntropy();
    Pool->ProcessorCount = MiState.Ke->ProcessorCount;
    for (ULONG Run = 0; Run < MiState.Physical->RunCount;
         Run++) /* a machine that was given up left its poison */
    {
        ExpUnpoison(PortDirectMap(MiState.Physical->Runs[Run].BasePage),
                    MiState.Physical->Runs[Run].PageCount << PAGE_SHIFT);
    }
    Pool->Processors = PortAllocateBootMemory(Pool->ProcessorCount * sizeof(*Pool->Processors));
    Status = Pool->Processors == NULL
                 ? STATUS_INSUFFICIENT_RESOURCES
                 : ExpAttachSource(ExSourceNonpaged, &ExpNonpagedOperations, PORT_DIRECT_MAP_BASE, Pages,
                                   MiState.Physical->NumberOfPages / 4 * 3);
    if (NT_SUCCESS(Status))
    {
        Pool->Special.PageLimit =
            Pool->Sources[ExSourceNonpaged].PageLimit / 4; /* for POOL_FLAG_SPECIAL_POOL and the verifier */
        Pool->Special.FreedLimit = Pool->Special.PageLimit * 4;
        Status = ExpAttachMappedPool();
    }
    if (!NT_SUCCESS(Status))
    {
        ExpDeletePools();
    }
    return Status;
}

VOID MiShutdownPool(void)
{
    if (ExpPool() == NULL)
    {
        return;
    }
    ExSetSpecialPool(NULL);
    ExSetVerifier(NULL);
    ExpDeleteDrivers();
    ExpDeleteSuspects();
    ExpRequireNoBlocks();
    MiTrimPool();
    ExpDeletePools();
}
