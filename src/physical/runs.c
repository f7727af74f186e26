/* SPDX-License-Identifier: MIT */
/*
 * Memory that comes and goes while the machine runs. A run that is added begins as frames that were never used, so adding costs nothing per frame. To
 * remove memory its frames are claimed one by one, which is possible for those that nobody uses; the caller trims and writes until that is all of
 * them. Runs never move in their table: one that is cut in the middle keeps its lower part, the upper part becomes a run of its own.
 */
#include "physical/physical.h"
#include "rtl/memory.h"

/* OriginalPte of a claimed frame: no software PTE looks like this. */
#define MI_CLAIMED 0xc1a13edc1a13edfeull

static MI_MEMORY_RUN *MiRunOf(PFN_NUMBER BasePage, PFN_NUMBER PageCount)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;

    for (ULONG Index = 0; Index < Physical->RunCount; Index++)
    {
        MI_MEMORY_RUN *Run = &Physical->Runs[Index];

        if (BasePage >= Run->BasePage && BasePage + PageCount <= Run->BasePage + Run->PageCount)
        {
            return Run;
        }
    }
    return NULL;
}

static BOOLEAN MiOverlapsRun(PFN_NUMBER BasePage, PFN_NUMBER PageCount)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;

    for (ULONG Index = 0; Index < Physical->RunCount; Index++)
    {
        const MI_MEMORY_RUN *Run = &Physical->Runs[Index];

        if (BasePage < Run->BasePage + Run->PageCount && Run->BasePage < BasePage + PageCount)
        {
            return TRUE;
        }
    }
    return FALSE;
}

NTSTATUS MiAddMemoryRun(PFN_NUMBER BasePage, PFN_NUMBER PageCount)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    BOOLEAN Zeroed = FALSE;
    MI_MEMORY_RUN *Run;
    NTSTATUS Status;
    KIRQL OldIrql;

    if (PageCount == 0 || BasePage == 0 || BasePage + PageCount < BasePage ||
        BasePage + PageCount > Physical->DatabaseFrames)
    {
        return STATUS_INVALID_PARAMETER;
    }
    if (MiOverlapsRun(BasePage, PageCount))
    {
        return STATUS_CONFLICTING_ADDRESSES;
    }
    if (Physical->RunCount == MI_MAXIMUM_RUNS)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Status = PortAddMemory(BasePage, PageCount, &Zeroed);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    OldIrql = KiAcquireSpinLock(&Physical->FreshLock);
    Run = &Physical->Runs[Physical->RunCount];
    *Run = (MI_MEMORY_RUN){ .BasePage = BasePage,
                            .PageCount = PageCount,
                            .Fresh = BasePage,
                            .FreshEnd = BasePage + PageCount,
                            .Zeroed = Zeroed };
    if (BasePage + PageCount - 1 > Physical->HighestPage)
    {
        __atomic_store_n(&Physical->HighestPage, BasePage + PageCount - 1, __ATOMIC_RELAXED);
    }
    __atomic_store_n(&Physical->RunCount, Physical->RunCount + 1, __ATOMIC_RELEASE);
    __atomic_fetch_add(Zeroed ? &Physical->FreshZeroed : &Physical->FreshFree, PageCount, __ATOMIC_RELAXED);
    __atomic_fetch_add(&Physical->NumberOfPages, PageCount, __ATOMIC_RELAXED);
    KiReleaseSpinLock(&Physical->FreshLock, OldIrql);
    MiAdjustCommitLimit((LONG64)PageCount, (LONG64)PageCount);
    MiReturnResidentAvailable(PageCount);
    if (__atomic_load_n(&Physical->AvailableWaiters, __ATOMIC_SEQ_CST) != 0)
    {
        KeSetEvent(&Physical->AvailableEvent, 0, FALSE);
    }
    return STATUS_SUCCESS;
}

/* ---- Removal --------------------------------------------------------------------------------------------------------- */

static BOOLEAN MiIsClaimed(const MMPFN *Pfn)
{
    return Pfn->OriginalPte.Long == MI_CLAIMED;
}

static VOID MiMarkClaimed(PFN_NUMBER Frame)
{
    PMMPFN Pfn = MiPfn(Frame);

    Pfn->PteAddress = NULL;
    Pfn->ReferenceCount = 1;
    MiWritePfnEntry(Pfn, (MMPFNENTRY){ .PageLocation = ActiveAndValid, .Kernel = 1 });
    Pfn->OriginalPte.Long = MI_CLAIMED;
}

/* The never-used frames of the run become ordinary free ones. Rare: only runs that lose memory. */
static VOID MiUseUpFresh(MI_MEMORY_RUN *Run)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;

    for (;;)
    {
        KIRQL OldIrql = KiAcquireSpinLock(&Physical->FreshLock);
        PFN_NUMBER Frame = Run->Fresh;
        BOOLEAN Done = Frame == Run->FreshEnd;

        if (!Done)
        {
            MiWritePfnEntry(MiPfn(Frame), (MMPFNENTRY){ .PageLocation = ActiveAndValid, .Kernel = 1 });
            __atomic_store_n(&Run->Fresh, Frame + 1, __ATOMIC_RELEASE);
            __atomic_fetch_sub(Run->Zeroed ? &Physical->FreshZeroed : &Physical->FreshFree, 1,
                               __ATOMIC_RELAXED);
        }
        KiReleaseSpinLock(&Physical->FreshLock, OldIrql);
        if (Done)
        {
            return;
        }
        MiFreePage(Frame);
    }
}

PFN_NUMBER MiClaimFrames(PFN_NUMBER BasePage, PFN_NUMBER PageCount)
{
    MI_MEMORY_RUN *Run = MiRunOf(BasePage, PageCount);
    PFN_NUMBER InUse = 0;

    KiRequire(Run != NULL);
    MiUseUpFresh(Run);
    MiDrainPageCaches();
    for (PFN_NUMBER Frame = BasePage; Frame < BasePage + PageCount; Frame++)
    {
        KIRQL OldIrql = KiRaiseIrqlToDispatch();

        if (!MiIsClaimed(MiPfn(Frame)))
        {
            if (MiTakeThisFrame(Frame))
            {
                MiMarkClaimed(Frame);
            }
            else
            {
                InUse++;
            }
        }
        KiLowerIrqlFromDispatch(OldIrql);
    }
    return InUse;
}

VOID MiReleaseClaimedFrames(PFN_NUMBER BasePage, PFN_NUMBER PageCount)
{
    for (PFN_NUMBER Frame = BasePage; Frame < BasePage + PageCount; Frame++)
    {
        if (MiIsClaimed(MiPfn(Frame)))
        {
            MiFreePage(Frame);
        }
    }
}

/* The run without the range. FreshLock held; nothing of the run is fresh. FALSE: no room in the table. */
static BOOLEAN MiCutRun(MI_MEMORY_RUN *Run, PFN_NUMBER BasePage, PFN_NUMBER PageCount)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    PFN_NUMBER RunEnd = Run->BasePage + Run->PageCount;
    PFN_NUMBER End = BasePage + PageCount;

    if (BasePage > Run->BasePage && End < RunEnd)
    {
        if (Physical->RunCount == MI_MAXIMUM_RUNS)
        {
            return FALSE;
        }
        Physical->Runs[Physical->RunCount] = (MI_MEMORY_RUN){
            .BasePage = End, .PageCount = RunEnd - End, .Fresh = End, .FreshEnd = End, .Zeroed = Run->Zeroed
        };
        __atomic_store_n(&Physical->RunCount, Physical->RunCount + 1, __ATOMIC_RELEASE);
        Run->PageCount = BasePage - Run->BasePage;
        return TRUE;
    }
    if (BasePage == Run->BasePage)
    {
        Run->BasePage = End;
        Run->Fresh = Run->FreshEnd = End;
    }
    Run->PageCount -= PageCount;
    return TRUE;
}

NTSTATUS MiRemoveMemoryRun(PFN_NUMBER BasePage, PFN_NUMBER PageCount)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    MI_MEMORY_RUN *Run = MiRunOf(BasePage, PageCount);
    BOOLEAN Cut;
    KIRQL OldIrql;

    if (!MiChargeResidentAvailable(PageCount))
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    if (!MiChargeCommitment(PageCount, MI_COMMIT_NO_EXTEND))
    {
        MiReturnResidentAvailable(PageCount);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    OldIrql = KiAcquireSpinLock(&Physical->FreshLock);
    Cut = MiCutRun(Run, BasePage, PageCount);
    KiReleaseSpinLock(&Physical->FreshLock, OldIrql);
    MiReturnCommitment(PageCount);
    if (!Cut)
    {
        MiReturnResidentAvailable(PageCount);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    MiAdjustCommitLimit(-(LONG64)PageCount, -(LONG64)PageCount);
    __atomic_fetch_sub(&Physical->NumberOfPages, PageCount, __ATOMIC_RELAXED);
    RtlZeroMemory(MiPfn(BasePage), PageCount * sizeof(MMPFN));
    PortDiscardFrames(BasePage, PageCount);
    return STATUS_SUCCESS;
}
