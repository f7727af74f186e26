/* SPDX-License-Identifier: MIT */
/*
 * Physically consecutive frames. First from the upper end of frames that were never used (no search, and the lower end keeps
 * serving faults), then by looking for a run of free, zeroed and standby frames, which are taken one by one and given
 * back if the run turns out to be broken.
 */
#include "physical/physical.h"

/* Never used so far: taken before the marks of their run say so (see MiTakeFresh). */
static VOID MiMarkTaken(const MI_MEMORY_RUN *Run, PFN_NUMBER First, PFN_NUMBER End)
{
    for (PFN_NUMBER Frame = First; Frame < End; Frame++)
    {
        MiBeginFrame(MiPfn(Frame), Run, (MMPFNENTRY){ .PageLocation = ActiveAndValid, .Kernel = 1 });
    }
}

/* Remainder: how many frames above the block may become ordinary ones. */
static PFN_NUMBER MiContiguousFromFresh(PFN_NUMBER Count, PFN_NUMBER Lowest, PFN_NUMBER Highest,
                                        PFN_NUMBER Align, ULONG Node, PFN_NUMBER Remainder)
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

        if (Top < Count || Run->Fresh == Run->FreshEnd || (Node != MI_ANY_NODE && Run->Node != Node))
        {
            continue;
        }
        First = (Top - Count) / Align * Align;
        if (First < Run->Fresh || First < Lowest || Run->FreshEnd - (First + Count) > Remainder)
        {
            continue;
        }
        Found = First;
        GapStart = First + Count;
        GapEnd = Run->FreshEnd;
        Zeroed = Run->Zeroed;
        __atomic_fetch_sub(&Physical->Nodes[Run->Node].Fresh[Zeroed ? ZeroedPageList : FreePageList],
                           Run->FreshEnd - First, __ATOMIC_RELAXED);
        MiMarkTaken(Run, First, GapEnd);
        __atomic_store_n(&Run->FreshEnd, First, __ATOMIC_RELEASE);
    }
    KiReleaseSpinLockFromDispatch(&Physical->FreshLock);
    for (PFN_NUMBER Frame = GapStart; Frame < GapEnd; Frame++)
    {
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

/* On the free, zeroed, bad or a standby list, and in no processor's cache. */
static BOOLEAN MiIsOnAvailableList(MMPFNENTRY Entry)
{
    return Entry.PageLocation == StandbyPageList || Entry.PageLocation == BadPageList ||
           (Entry.PageLocation < StandbyPageList && !Entry.Kernel);
}

/* A look without the lock; whoever acts on it looks again. Plain, and unseen by TSan: the owner's writes are plain too. */
PORT_UNSEEN_BY_TSAN
static DECLSPEC_NOINLINE BOOLEAN MiMayBeAvailable(const MMPFN *Pfn)
{
    return MiIsOnAvailableList(*(const volatile MMPFNENTRY *)&Pfn->e1);
}

BOOLEAN MiTakeThisFrame(PFN_NUMBER Frame)
{
    PMMPFN Pfn = MiPfn(Frame);
    BOOLEAN Taken = FALSE;

    if (!MiMayBeAvailable(Pfn) || !MiTryLockPfn(Pfn))
    {
        return FALSE;
    }
    if (MiIsOnAvailableList(MiReadPfnEntry(Pfn)))
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

static BOOLEAN MiIsFresh(const MI_MEMORY_RUN *Run, PFN_NUMBER Frame)
{
    return Frame >= __atomic_load_n(&Run->Fresh, __ATOMIC_ACQUIRE) &&
           Frame < __atomic_load_n(&Run->FreshEnd, __ATOMIC_ACQUIRE);
}

/* For use, not for removal: the bad ones stay where they are. */
static BOOLEAN MiTakeGoodFrame(PFN_NUMBER Frame)
{
    return !MiIsPfnBad(MiPfn(Frame)) && MiTakeThisFrame(Frame);
}

BOOLEAN MiTakeFreeFrame(PFN_NUMBER Frame)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    const MI_MEMORY_RUN *Run = NULL;
    BOOLEAN Taken = FALSE;
    PMMPFN Pfn;

    for (ULONG Index = 0; Index < Physical->RunCount && Run == NULL; Index++)
    {
        if (Frame - Physical->Runs[Index].BasePage < Physical->Runs[Index].PageCount)
        {
            Run = &Physical->Runs[Index];
        }
    }
    if (Run == NULL || MiIsFresh(Run, Frame))
    {
        return FALSE;
    }
    Pfn = MiPfn(Frame);
    if (!MiMayBeAvailable(Pfn) || !MiTryLockPfn(Pfn))
    {
        return FALSE;
    }
    if (MiReadPfnEntry(Pfn).PageLocation < StandbyPageList && MiIsOnAvailableList(MiReadPfnEntry(Pfn)))
    {
        MiUnlinkPage(Pfn);
        Pfn->e1 = (MMPFNENTRY){ .PageLocation = ActiveAndValid };
        Taken = TRUE;
    }
    MiUnlockPfn(Pfn);
    return Taken;
}

static PFN_NUMBER MiContiguousBySearch(PFN_NUMBER Count, PFN_NUMBER Lowest, PFN_NUMBER Highest,
                                       PFN_NUMBER Align, ULONG Node)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;

    for (ULONG Index = 0; Index < Physical->RunCount; Index++)
    {
        MI_MEMORY_RUN *Run = &Physical->Runs[Index];
        PFN_NUMBER Base;
        PFN_NUMBER End;
        MI_MEMORY_RUN Now;

        MiReadRun(Index, &Now);
        Base = Now.BasePage > Lowest ? Now.BasePage : Lowest;
        End = Now.BasePage + Now.PageCount;

        End = End < Highest + 1 ? End : Highest + 1;
        Base = (Base + Align - 1) / Align * Align;
        while (Base + Count <= End && (Node == MI_ANY_NODE || Now.Node == Node))
        {
            PFN_NUMBER Frame = Base;

            while (Frame < Base + Count && !MiIsFresh(Run, Frame) && MiTakeGoodFrame(Frame))
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
    return MiAllocateContiguousPagesOnNode(Count, Lowest, Highest, AlignPages, MI_ANY_NODE);
}

PFN_NUMBER MiAllocateContiguousPagesOnNode(PFN_NUMBER Count, PFN_NUMBER Lowest, PFN_NUMBER Highest,
                                           PFN_NUMBER AlignPages, ULONG Node)
{
    PFN_NUMBER Align = AlignPages == 0 ? 1 : AlignPages;
    KIRQL OldIrql;
    PFN_NUMBER Found;

    if (Highest > MiState.Physical->HighestPage)
    {
        Highest = MiState.Physical->HighestPage;
    }
    if (Count == 0 || Count > MiState.Physical->NumberOfPages || KiInject(KiInjectFrame) ||
        MiAvailablePages() < Count + MiState.Physical->MinimumReserve)
    {
        return 0;
    }
    OldIrql = KiRaiseIrqlToDispatch();
    Found = MiContiguousFromFresh(Count, Lowest, Highest, Align, Node, 4 * Align + 64);
    if (Found == 0)
    {
        Found = MiContiguousBySearch(Count, Lowest, Highest, Align, Node);
    }
    if (Found == 0)
    {
        /* A limit in the middle of frames never used: those above it pay for it by becoming ordinary ones. */
        Found = MiContiguousFromFresh(Count, Lowest, Highest, Align, Node, ~(PFN_NUMBER)0);
    }
    if (Found != 0)
    {
        for (PFN_NUMBER Frame = Found; Frame < Found + Count; Frame++)
        {
            MiPfn(Frame)->ReferenceCount = 1;
            MiWritePfnEntry(MiPfn(Frame), (MMPFNENTRY){ .PageLocation = ActiveAndValid, .Kernel = 1 });
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
