/* SPDX-License-Identifier: MIT */
/*
 * Memory that comes and goes while the machine runs. A run that is added begins as frames that were never used, so adding costs nothing per frame. To
 * remove memory its frames are claimed one by one, which is possible for those that nobody uses; the caller trims and writes until that is all of
 * them. Runs never move in their table: one that is cut in the middle keeps its lower part, the upper part becomes a run of its own.
 */
#include "physical/physical.h"

/* OriginalPte of a claimed frame: no software PTE looks like this. */
#define MI_CLAIMED 0xc1a13edc1a13edfeull

VOID MiLockRuns(void)
{
    KiAcquirePushLockExclusive(&MiState.Physical->RunsLock);
    KiNoteLockAcquired(&MiState.Physical->RunsLock, KiLockMemoryRuns, FALSE);
}

VOID MiUnlockRuns(void)
{
    KiNoteLockReleased(&MiState.Physical->RunsLock);
    KiReleasePushLockExclusive(&MiState.Physical->RunsLock);
}

/* The run that holds BasePage; *PageCount is cut to what lies in it. */
static MI_MEMORY_RUN *MiRunOf(PFN_NUMBER BasePage, PFN_NUMBER *PageCount)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;

    for (ULONG Index = 0; Index < Physical->RunCount; Index++)
    {
        MI_MEMORY_RUN *Run = &Physical->Runs[Index];
        PFN_NUMBER Left = Run->BasePage + Run->PageCount - BasePage;

        if (BasePage >= Run->BasePage && BasePage < Run->BasePage + Run->PageCount)
        {
            *PageCount = *PageCount < Left ? *PageCount : Left;
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

/* A place in the table: that of a run which was removed altogether, or the next one; NULL: the table is full. */
static MI_MEMORY_RUN *MiFindRunSlot(void)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;

    for (ULONG Index = 0; Index < Physical->RunCount; Index++)
    {
        if (Physical->Runs[Index].PageCount == 0)
        {
            return &Physical->Runs[Index];
        }
    }
    return Physical->RunCount < MI_MAXIMUM_RUNS ? &Physical->Runs[Physical->RunCount] : NULL;
}

VOID MiReadRun(ULONG Index, MI_MEMORY_RUN *Run)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    KIRQL OldIrql = KiAcquireSpinLock(&Physical->FreshLock);

    *Run = Physical->Runs[Index];
    KiReleaseSpinLock(&Physical->FreshLock, OldIrql);
}

ULONG MiQueryMemoryRanges(PORT_MEMORY_RUN *Ranges)
{
    ULONG Runs = __atomic_load_n(&MiState.Physical->RunCount, __ATOMIC_ACQUIRE);
    PFN_NUMBER Above = 0;
    ULONG Count = 0;

    for (ULONG Taken = 0; Taken < Runs; Taken++)
    {
        MI_MEMORY_RUN Lowest = { .BasePage = ~(PFN_NUMBER)0 };

        for (ULONG Index = 0; Index < Runs; Index++)
        {
            MI_MEMORY_RUN Run;

            MiReadRun(Index, &Run);
            if (Run.PageCount != 0 && Run.BasePage >= Above && Run.BasePage < Lowest.BasePage)
            {
                Lowest = Run;
            }
        }
        if (Lowest.PageCount == 0)
        {
            break;
        }
        if (Count != 0 && Lowest.BasePage == Above)
        {
            Ranges[Count - 1].PageCount += Lowest.PageCount;
        }
        else
        {
            Ranges[Count++] = (PORT_MEMORY_RUN){ .BasePage = Lowest.BasePage, .PageCount = Lowest.PageCount };
        }
        Above = Lowest.BasePage + Lowest.PageCount;
    }
    return Count;
}

NTSTATUS MiAddMemoryRun(PFN_NUMBER BasePage, PFN_NUMBER PageCount)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    PORT_MEMORY_RUN Added = { .BasePage = BasePage, .PageCount = PageCount };
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
    Run = MiFindRunSlot();
    if (Run == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Status = PortAddMemory(&Added);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    OldIrql = KiAcquireSpinLock(&Physical->FreshLock);
    *Run = (MI_MEMORY_RUN){ .BasePage = BasePage,
                            .PageCount = PageCount,
                            .Fresh = BasePage,
                            .FreshEnd = BasePage + PageCount,
                            .Zeroed = Added.Zeroed,
                            .Node = Added.Node };
    if (BasePage + PageCount - 1 > Physical->HighestPage)
    {
        __atomic_store_n(&Physical->HighestPage, BasePage + PageCount - 1, __ATOMIC_RELAXED);
    }
    if (Run == &Physical->Runs[Physical->RunCount])
    {
        __atomic_store_n(&Physical->RunCount, Physical->RunCount + 1, __ATOMIC_RELEASE);
    }
    __atomic_fetch_add(&Physical->Nodes[Run->Node].Fresh[Run->Zeroed ? ZeroedPageList : FreePageList],
                       PageCount, __ATOMIC_RELAXED);
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

/* Takes one never-used frame from the lower or the upper end; 0: there is none that the caller wants. */
static PFN_NUMBER MiTakeFreshEnd(MI_MEMORY_RUN *Run, PFN_NUMBER Low, PFN_NUMBER High, BOOLEAN Upper)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    KIRQL OldIrql = KiAcquireSpinLock(&Physical->FreshLock);
    PFN_NUMBER Frame = Upper ? Run->FreshEnd - 1 : Run->Fresh;

    if (Run->Fresh == Run->FreshEnd || (Upper ? Frame < Low : Frame >= High))
    {
        Frame = 0;
    }
    else
    {
        MiBeginFrame(MiPfn(Frame), Run, (MMPFNENTRY){ .PageLocation = ActiveAndValid, .Kernel = 1 });
        __atomic_store_n(Upper ? &Run->FreshEnd : &Run->Fresh, Upper ? Frame : Frame + 1, __ATOMIC_RELEASE);
        __atomic_fetch_sub(&Physical->Nodes[Run->Node].Fresh[Run->Zeroed ? ZeroedPageList : FreePageList], 1,
                           __ATOMIC_RELAXED);
    }
    KiReleaseSpinLock(&Physical->FreshLock, OldIrql);
    return Frame;
}

/* Rare: only runs that lose memory, or have bad frames. */
VOID MiUseUpFresh(MI_MEMORY_RUN *Run, PFN_NUMBER Low, PFN_NUMBER High)
{
    PFN_NUMBER Fresh = __atomic_load_n(&Run->Fresh, __ATOMIC_RELAXED);
    PFN_NUMBER FreshEnd = __atomic_load_n(&Run->FreshEnd, __ATOMIC_RELAXED);
    BOOLEAN Upper = FreshEnd > Low && High > Fresh && FreshEnd - Low < High - Fresh;
    PFN_NUMBER Frame;

    while ((Frame = MiTakeFreshEnd(Run, Low, High, Upper)) != 0)
    {
        MiFreePage(Frame);
    }
}

/* The part of a range that lies in one run. */
static PFN_NUMBER MiClaimInRun(PFN_NUMBER BasePage, PFN_NUMBER PageCount)
{
    PFN_NUMBER InUse = 0;

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

PFN_NUMBER MiClaimFrames(PFN_NUMBER BasePage, PFN_NUMBER PageCount)
{
    PFN_NUMBER InUse = 0;

    MiDrainPageCaches();
    while (PageCount != 0)
    {
        PFN_NUMBER Part = PageCount;
        MI_MEMORY_RUN *Run = MiRunOf(BasePage, &Part);

        KiRequire(Run != NULL);
        /* All of it: a run that is cut has no frames that were never used. */
        MiUseUpFresh(Run, Run->BasePage, Run->BasePage + Run->PageCount);
        InUse += MiClaimInRun(BasePage, Part);
        BasePage += Part;
        PageCount -= Part;
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
        MI_MEMORY_RUN *Upper = MiFindRunSlot();

        if (Upper == NULL)
        {
            return FALSE;
        }
        *Upper = (MI_MEMORY_RUN){ .BasePage = End,
                                  .PageCount = RunEnd - End,
                                  .Fresh = End,
                                  .FreshEnd = End,
                                  .Zeroed = Run->Zeroed,
                                  .Node = Run->Node };
        if (Upper == &Physical->Runs[Physical->RunCount])
        {
            __atomic_store_n(&Physical->RunCount, Physical->RunCount + 1, __ATOMIC_RELEASE);
        }
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

/* Bad frames are lost for commitment already. */
static PFN_NUMBER MiCountGoodFrames(PFN_NUMBER BasePage, PFN_NUMBER PageCount)
{
    PFN_NUMBER Good = 0;

    for (PFN_NUMBER Frame = BasePage; Frame < BasePage + PageCount; Frame++)
    {
        Good += !MiIsPfnBad(MiPfn(Frame));
    }
    return Good;
}

static BOOLEAN MiCutRuns(PFN_NUMBER BasePage, PFN_NUMBER PageCount)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    BOOLEAN Cut = TRUE;

    /* Only a range inside one run can fail, and then nothing was cut. */
    while (PageCount != 0 && Cut)
    {
        PFN_NUMBER Part = PageCount;
        MI_MEMORY_RUN *Run = MiRunOf(BasePage, &Part);
        KIRQL OldIrql = KiAcquireSpinLock(&Physical->FreshLock);

        Cut = MiCutRun(Run, BasePage, Part);
        KiReleaseSpinLock(&Physical->FreshLock, OldIrql);
        BasePage += Part;
        PageCount -= Part;
    }
    return Cut;
}

NTSTATUS MiRemoveMemoryRun(PFN_NUMBER BasePage, PFN_NUMBER PageCount)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    PFN_NUMBER Good = MiCountGoodFrames(BasePage, PageCount);
    BOOLEAN Cut;

    if (!MiChargeResidentAvailable(Good))
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    if (!MiChargeCommitment(Good, 0))
    {
        MiReturnResidentAvailable(Good);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Cut = MiCutRuns(BasePage, PageCount);
    if (!Cut)
    {
        MiReturnCommitment(Good);
        MiReturnResidentAvailable(Good);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    MiAdjustCommitLimit(-(LONG64)Good, -(LONG64)Good); /* first: nobody else is to be charged what goes */
    MiReturnCommitment(Good);
    __atomic_fetch_sub(&Physical->NumberOfPages, PageCount, __ATOMIC_RELAXED);
    for (PFN_NUMBER Frame = BasePage; Frame < BasePage + PageCount; Frame++)
    {
        /* Whoever still looks for consecutive frames with an old table finds nothing that is free here. */
        __atomic_store_n(&MiPfn(Frame)->Lock, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&MiPfn(Frame)->PteLock, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&MiPfn(Frame)->Flags, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&MiPfn(Frame)->Place, 0, __ATOMIC_RELAXED);
        MiPfn(Frame)->ReferenceCount = 0;
        MiPfn(Frame)->OriginalPte.Long = 0;
    }
    PortDiscardFrames(BasePage, PageCount);
    return STATUS_SUCCESS;
}
