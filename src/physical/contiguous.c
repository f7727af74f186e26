/* SPDX-License-Identifier: MIT */
/*
 * Physically consecutive frames. First from the upper end of frames that were never used (no search, and the lower end keeps
 * serving faults), then by looking for a run of free, zeroed and standby frames, which are taken one by one and given
 * back if the run turns out to be broken.
 */
#include "physical/physical.h"

static PFN_NUMBER MiContiguousFromFresh(PFN_NUMBER Count, PFN_NUMBER Lowest, PFN_NUMBER Highest,
                                        PFN_NUMBER Align)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    PFN_NUMBER Found = 0;
    PFN_NUMBER GapStart = 0;
    PFN_NUMBER GapEnd = 0;
    BOOLEAN Zeroed = FALSE;

    KiAcquireSpinLockAtDispatch(&Physical->FreshLock);
    for (ULONG Index = Physical->RunCount; Index > 0 && Found == 0; Index--)
    {
        MI_MEMORY_RUN *Run = &Physical->Runs[Index - 1];
        PFN_NUMBER Top = Run->FreshEnd < Highest + 1 ? Run->FreshEnd : Highest + 1;
        PFN_NUMBER First;

        if (Top < Count || Run->Fresh == Run->FreshEnd)
        {
            continue;
        }
        First = (Top - Count) / Align * Align;
        /* What lies above the block up to FreshEnd would become ordinary frames: only accept small remainders. */
        if (First < Run->Fresh || First < Lowest || Run->FreshEnd - (First + Count) > 4 * Align + 64)
        {
            continue;
        }
        Found = First;
        GapStart = First + Count;
        GapEnd = Run->FreshEnd;
        Zeroed = Run->Zeroed;
        if (Zeroed)
        {
            __atomic_store_n(&Physical->FreshZeroed, Physical->FreshZeroed - (Run->FreshEnd - First),
                             __ATOMIC_RELAXED);
        }
        else
        {
            __atomic_store_n(&Physical->FreshFree, Physical->FreshFree - (Run->FreshEnd - First),
                             __ATOMIC_RELAXED);
        }
        Run->FreshEnd = First;
    }
    KiReleaseSpinLockFromDispatch(&Physical->FreshLock);
    for (PFN_NUMBER Frame = GapStart; Frame < GapEnd; Frame++)
    {
        MiPfn(Frame)->e1.PageLocation = ActiveAndValid;
        MiLockPfn(MiPfn(Frame));
        MiFreeLockedPage(MiPfn(Frame));
    }
    if (Found != 0 && !Zeroed)
    {
        for (PFN_NUMBER Frame = Found; Frame < Found + Count; Frame++)
        {
            MiZeroFrame(Frame);
        }
    }
    return Found;
}

/* Takes this very frame off the free, zeroed or a standby list. FALSE: it is in use. */
static BOOLEAN MiTakeThisFrame(PFN_NUMBER Frame)
{
    PMMPFN Pfn = MiPfn(Frame);
    BOOLEAN Taken = FALSE;

    if (Pfn->e1.PageLocation > StandbyPageList || !MiTryLockPfn(Pfn))
    {
        return FALSE;
    }
    if (Pfn->e1.PageLocation <= StandbyPageList && Pfn->ReferenceCount == 0 &&
        !(Pfn->e1.PageLocation != StandbyPageList && Pfn->e1.Kernel))
    {
        BOOLEAN Standby = Pfn->e1.PageLocation == StandbyPageList;

        MiUnlinkPage(Pfn);
        if (Standby)
        {
            MiRestoreOwnerPte(Pfn);
        }
        Pfn->PteAddress = NULL;
        Pfn->OriginalPte.Long = 0;
        Pfn->ReferenceCount = 1;
        Pfn->e1 = (MMPFNENTRY){ .PageLocation = ActiveAndValid };
        Taken = TRUE;
    }
    MiUnlockPfn(Pfn);
    return Taken;
}

static PFN_NUMBER MiContiguousBySearch(PFN_NUMBER Count, PFN_NUMBER Lowest, PFN_NUMBER Highest,
                                       PFN_NUMBER Align)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;

    for (ULONG Index = 0; Index < Physical->RunCount; Index++)
    {
        MI_MEMORY_RUN *Run = &Physical->Runs[Index];
        PFN_NUMBER Base = Run->BasePage > Lowest ? Run->BasePage : Lowest;
        PFN_NUMBER End = Run->BasePage + Run->PageCount;

        End = End < Highest + 1 ? End : Highest + 1;
        Base = (Base + Align - 1) / Align * Align;
        while (Base + Count <= End)
        {
            PFN_NUMBER Frame = Base;

            while (Frame < Base + Count && (Frame < Run->Fresh || Frame >= Run->FreshEnd) &&
                   MiTakeThisFrame(Frame))
            {
                Frame++;
            }
            if (Frame == Base + Count)
            {
                for (Frame = Base; Frame < Base + Count; Frame++)
                {
                    MiZeroFrame(Frame);
                }
                return Base;
            }
            for (PFN_NUMBER Undo = Base; Undo < Frame; Undo++)
            {
                MiFreePage(Undo);
            }
            Base = (Frame / Align + 1) * Align;
        }
    }
    return 0;
}

PFN_NUMBER MiAllocateContiguousPages(PFN_NUMBER Count, PFN_NUMBER Lowest, PFN_NUMBER Highest,
                                     PFN_NUMBER AlignPages)
{
    PFN_NUMBER Align = AlignPages == 0 ? 1 : AlignPages;
    KIRQL OldIrql;
    PFN_NUMBER Found;

    if (KiInject(KiInjectFrame) || MiAvailablePages() < Count + MiState.Physical->MinimumReserve)
    {
        return 0;
    }
    OldIrql = KiRaiseIrqlToDispatch();
    Found = MiContiguousFromFresh(Count, Lowest, Highest, Align);
    if (Found == 0)
    {
        Found = MiContiguousBySearch(Count, Lowest, Highest, Align);
    }
    if (Found != 0)
    {
        for (PFN_NUMBER Frame = Found; Frame < Found + Count; Frame++)
        {
            MiPfn(Frame)->ReferenceCount = 1;
            MiPfn(Frame)->e1 = (MMPFNENTRY){ .PageLocation = ActiveAndValid, .Kernel = 1 };
        }
    }
    KiLowerIrqlFromDispatch(OldIrql);
    return Found;
}

VOID MiFreeContiguousPages(PFN_NUMBER PageFrame, PFN_NUMBER Count)
{
    for (PFN_NUMBER Frame = PageFrame; Frame < PageFrame + Count; Frame++)
    {
        MiFreePage(Frame);
    }
}
