/* SPDX-License-Identifier: MIT */
/*
 * Frames whose hardware is bad. A mark in the descriptor says so; every way back to the free and zeroed lists looks at it (MiInsertUnowned),
 * and so does the way to standby, because a clean page can be had again from where it came. What cannot leave (locked, the kernel's own)
 * stays in use until its owner lets go, as documented of bad memory: nobody's data is taken away.
 */
#include "physical/physical.h"

PFN_NUMBER MiCountFrames(PFN_NUMBER BasePage, PFN_NUMBER PageCount)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    PFN_NUMBER Count = 0;

    for (ULONG Index = 0; Index < Physical->RunCount; Index++)
    {
        const MI_MEMORY_RUN *Run = &Physical->Runs[Index];
        PFN_NUMBER Low = Run->BasePage > BasePage ? Run->BasePage : BasePage;
        PFN_NUMBER RunEnd = Run->BasePage + Run->PageCount;
        PFN_NUMBER High = RunEnd < BasePage + PageCount ? RunEnd : BasePage + PageCount;

        Count += High > Low ? High - Low : 0;
    }
    return Count;
}

static BOOLEAN MiIsMarkedBad(PFN_NUMBER Frame)
{
    return MiIsPfnBad(MiPfn(Frame));
}

/* An available frame goes to the bad list; TRUE if it is there now. */
static BOOLEAN MiPutAside(PFN_NUMBER Frame)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    BOOLEAN Taken = MiTakeThisFrame(Frame);

    if (Taken)
    {
        MiLockPfn(MiPfn(Frame));
        MiFreeLockedPage(MiPfn(Frame)); /* sees the mark */
    }
    KiLowerIrqlFromDispatch(OldIrql);
    return Taken;
}

typedef PFN_NUMBER MI_FRAME_ROUTINE(PFN_NUMBER Frame);

/* The sum of Routine over the frames of the range that are RAM. */
static PFN_NUMBER MiForFrames(PFN_NUMBER BasePage, PFN_NUMBER PageCount, MI_FRAME_ROUTINE *Routine)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    PFN_NUMBER Sum = 0;

    for (ULONG Index = 0; Index < Physical->RunCount; Index++)
    {
        MI_MEMORY_RUN *Run = &Physical->Runs[Index];
        PFN_NUMBER Low = Run->BasePage > BasePage ? Run->BasePage : BasePage;
        PFN_NUMBER RunEnd = Run->BasePage + Run->PageCount;
        PFN_NUMBER High = RunEnd < BasePage + PageCount ? RunEnd : BasePage + PageCount;

        if (High > Low)
        {
            MiUseUpFresh(Run, Low, High); /* frames never used have no descriptor that could carry a mark */
        }
        for (PFN_NUMBER Frame = Low; Frame < High; Frame++)
        {
            Sum += Routine(Frame);
        }
    }
    return Sum;
}

static PFN_NUMBER MiIsGoodFrame(PFN_NUMBER Frame)
{
    return !MiIsMarkedBad(Frame);
}

static PFN_NUMBER MiMarkFrame(PFN_NUMBER Frame)
{
    __atomic_fetch_or(&MiPfn(Frame)->Flags, MI_PFN_BAD, __ATOMIC_RELAXED);
    return 0;
}

static PFN_NUMBER MiIsStillInUse(PFN_NUMBER Frame)
{
    PMMPFN Pfn = MiPfn(Frame);
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    BOOLEAN Aside;

    MiLockPfn(Pfn);
    Aside = Pfn->e1.PageLocation == BadPageList;
    MiUnlockPfn(Pfn);
    KiLowerIrqlFromDispatch(OldIrql);
    return !Aside && !MiPutAside(Frame);
}

static PFN_NUMBER MiUnmarkFrame(PFN_NUMBER Frame)
{
    PMMPFN Pfn = MiPfn(Frame);
    KIRQL OldIrql;
    BOOLEAN Aside;

    if (!MiIsMarkedBad(Frame))
    {
        return 0;
    }
    OldIrql = KiRaiseIrqlToDispatch();
    MiLockPfn(Pfn);
    __atomic_fetch_and(&Pfn->Flags, (UCHAR)~MI_PFN_BAD, __ATOMIC_RELAXED);
    Aside = Pfn->e1.PageLocation == BadPageList;
    if (Aside)
    {
        MiUnlinkPage(Pfn);
        MiFreeLockedPage(Pfn);
    }
    else
    {
        MiUnlockPfn(Pfn);
    }
    KiLowerIrqlFromDispatch(OldIrql);
    return 1;
}

NTSTATUS MiMarkFramesBad(PFN_NUMBER BasePage, PFN_NUMBER PageCount, PFN_NUMBER *Marked, PFN_NUMBER *Waiting)
{
    PFN_NUMBER Count = MiForFrames(BasePage, PageCount, MiIsGoodFrame);

    if (!MiChargeResidentAvailable(Count))
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    if (!MiChargeCommitment(Count, 0))
    {
        MiReturnResidentAvailable(Count);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    MiAdjustCommitLimit(-(LONG64)Count, -(LONG64)Count);
    MiReturnCommitment(Count);
    MiForFrames(BasePage, PageCount, MiMarkFrame);
    MiDrainPageCaches();
    *Marked = Count;
    *Waiting = MiForFrames(BasePage, PageCount, MiIsStillInUse);
    return STATUS_SUCCESS;
}

PFN_NUMBER MiMarkFramesGood(PFN_NUMBER BasePage, PFN_NUMBER PageCount)
{
    PFN_NUMBER Count = MiForFrames(BasePage, PageCount, MiUnmarkFrame);

    MiAdjustCommitLimit((LONG64)Count, (LONG64)Count);
    MiReturnResidentAvailable(Count);
    return Count;
}
