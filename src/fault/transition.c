/* SPDX-License-Identifier: MIT */
/*
 * Transition: the page is still in memory. On a list it is taken back; while it is being written it is simply used; while it is being read the
 * fault waits for that read (a collided fault).
 */
#include "fault/resolve.h"

VOID MiActivateTransitionFrame(PMMPFN Pfn)
{
    if (Pfn->e1.PageLocation == StandbyPageList || Pfn->e1.PageLocation == ModifiedPageList)
    {
        if (Pfn->e1.PageLocation == ModifiedPageList)
        {
            MiCount(TransitionModified);
        }
        MiUnlinkPage(Pfn);
    }
    if (Pfn->e1.ReadAhead)
    {
        Pfn->e1.ReadAhead = 0;
        MiCount(ReadAheadHits);
    }
    Pfn->e1.PageLocation = ActiveAndValid;
    MiIncrementReferenceCount(Pfn);
    Pfn->u1.ShareCount = 1;
    Pfn->u1.UsedPageTableEntries = 0;
}

MI_FAULT_RESULT MiResolveTransitionFault(PMI_FAULT Fault)
{
    PFN_NUMBER Frame = Fault->Pte.Trans.PageFrameNumber;
    PMMPFN Pfn = MiPfn(Frame);

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
    MiActivateTransitionFrame(Pfn);
    Pfn->e1.Priority = MiPagePriority(Fault) & 7u;
    MiMakeEntryValid(Fault, Frame, FALSE, Fault->Protection);
    MiUnlockPfn(Pfn);
    MiCount(TransitionFaults);
    return MiFaultResolved;
}
