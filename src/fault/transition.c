/* SPDX-License-Identifier: MIT */
/*
 * Transition: the page is still in memory. On a list it is taken back; while it is being written it is simply
 * used; while it is being read the fault waits for that read (a collided fault).
 */
#include "fault/resolve.h"

#define MI_MAP_AHEAD 32u

VOID MiActivateTransitionFrame(PMMPFN Pfn)
{
    MiActivateFrame(Pfn, NULL);
}

/*
 * A region that is read in order: the pages that came along behind this one are about to be used, so they
 * become valid now instead of each by a fault of its own. They count as used; if that was wrong, the clock
 * finds out. Returns how many.
 */
static ULONG MiMapReadAhead(PMI_FAULT Fault)
{
    ULONG Room = MI_PTES_PER_PAGE - (ULONG)(((ULONG_PTR)Fault->PointerPte & (PAGE_SIZE - 1)) / sizeof(MMPTE));
    ULONG Limit = Room < MI_MAP_AHEAD ? Room : MI_MAP_AHEAD;
    ULONG Count = 0;

    for (ULONG Index = 1; Index < Limit; Index++)
    {
        PMMPTE PointerPte = &Fault->PointerPte[Index];
        MMPTE Pte = MiReadPte(PointerPte);
        PMMPFN Pfn;

        if (!MiIsTransition(Pte) || Pte.Trans.Protection != Fault->Protection)
        {
            break;
        }
        Pfn = MiPfn(Pte.Trans.PageFrameNumber);
        if (!MiTryLockPfn(Pfn))
        {
            break;
        }
        if (MiReadPte(PointerPte).Long != Pte.Long || !Pfn->e1.ReadAhead ||
            Pfn->e1.PageLocation != StandbyPageList)
        {
            MiUnlockPfn(Pfn);
            break;
        }
        MiActivateTransitionFrame(Pfn);
        MiWritePte(PointerPte,
                   MiMakeValidPte(Pte.Trans.PageFrameNumber, Fault->Protection, !Fault->Space->Kernel));
        MiUnlockPfn(Pfn);
        Count++;
    }
    if (Count != 0)
    {
        MiAddWorkingSetPages(Fault->Space, Count);
        MiCountMany(PagesMappedAhead, Count);
    }
    return Count;
}

MI_FAULT_RESULT MiResolveTransitionFault(PMI_FAULT Fault)
{
    PFN_NUMBER Frame = Fault->Pte.Trans.PageFrameNumber;
    PMMPFN Pfn = MiPfn(Frame);
    BOOLEAN ReadAhead;

    MiLockPfn(Pfn);
    if (MiReadPte(Fault->PointerPte).Long != Fault->Pte.Long)
    {
        MiUnlockPfn(Pfn);
        return MiFaultRetry; /* the frame was taken for another use meanwhile */
    }
    if (Pfn->e1.ReadInProgress)
    {
        Fault->InPage = Pfn->u1.InPage;
        MiReferenceInPage(Fault->InPage);
        MiUnlockPfn(Pfn);
        MiCount(CollidedFaults);
        return MiFaultNeedRead;
    }
    ReadAhead = Pfn->e1.ReadAhead;
    MiActivateTransitionFrame(Pfn);
    Pfn->e1.Priority = MiPagePriority(Fault) & 7u;
    MiMakeEntryValid(Fault, Frame, FALSE, Fault->Protection);
    MiUnlockPfn(Pfn);
    MiCount(TransitionFaults);
    if ((ReadAhead || Fault->JustRead) && Fault->Space->WriteWatchCount == 0 &&
        !__atomic_load_n(&Fault->Space->Vm.MaximumHard, __ATOMIC_RELAXED))
    {
        ULONG Ahead = MiMapReadAhead(Fault);

        MiContinueReadAhead(Fault);
        if (Ahead != 0)
        {
            PortFillTb(Fault->Space->System ? 0 : Fault->Space->TopLevel,
                       Fault->Va & ~(ULONG_PTR)(PAGE_SIZE - 1), Ahead + 1, FALSE);
        }
    }
    return MiFaultResolved;
}
