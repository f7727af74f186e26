/* SPDX-License-Identifier: MIT */
/*
 * Pages that several address spaces share are described once, by a prototype PTE; the entries of the spaces
 * point at it while they are invalid. The fault resolves the prototype first, by the same kinds as a private
 * page, and then maps its frame.
 */
#include "fault/resolve.h"

/* Maps the active or reactivated frame of Prototype. Frame locked on entry, unlocked on exit. */
static MI_FAULT_RESULT MiMapShared(PMI_FAULT Fault, PMMPFN Pfn)
{
    MiIncrementPageTableShare(Fault->PointerPte);
    MiMakeEntryValid(Fault, MiPfnFrame(Pfn), TRUE, Fault->Protection);
    MiUnlockPfn(Pfn);
    MiCount(PrototypeFaults);
    return MiFaultResolved;
}

/* The prototype PTE itself while its frame is in use. Readers look at frame and transition bits only. */
static VOID MiMakePrototypeValid(PMMPTE Prototype, PMMPFN Pfn)
{
    MMPTE Pte = MiMakeValidPte(MiPfnFrame(Pfn), (ULONG)Pfn->OriginalPte.Soft.Protection, FALSE);
    MiWritePte(Prototype, Pte);
}

static MI_FAULT_RESULT MiResolveResident(PMI_FAULT Fault, PMMPTE Prototype, MMPTE Proto)
{
    PMMPFN Pfn = MiPfn(Proto.Hard.Valid ? Proto.Hard.PageFrameNumber : Proto.Trans.PageFrameNumber);

    MiLockPfn(Pfn);
    if (MiReadPte(Prototype).Long != Proto.Long)
    {
        MiUnlockPfn(Pfn);
        return MiFaultRetry;
    }
    if (Proto.Hard.Valid)
    {
        Pfn->u1.ShareCount++;
        return MiMapShared(Fault, Pfn);
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
    MiMakePrototypeValid(Prototype, Pfn);
    MiCount(TransitionFaults);
    return MiMapShared(Fault, Pfn);
}

static MI_FAULT_RESULT MiResolvePrototypeDemandZero(PMI_FAULT Fault, PMMPTE Prototype, MMPTE Proto)
{
    PFN_NUMBER Frame = MiAllocatePage(MI_PAGE_ZEROED);
    PMMPFN Pfn;

    if (Frame == 0)
    {
        return MiFaultNeedFrame;
    }
    Pfn = MiPfn(Frame);
    MiLockPfn(Pfn);
    Pfn->u1.ShareCount = 1;
    Pfn->PteAddress = Prototype;
    Pfn->OriginalPte = Proto;
    Pfn->e1.PrototypePte = 1;
    Pfn->e1.Priority = MiPagePriority(Fault) & 7u;
    MiMakePrototypeValid(Prototype, Pfn);
    MiCount(DemandZeroFaults);
    return MiMapShared(Fault, Pfn);
}

MI_FAULT_RESULT MiResolvePrototypeFault(PMI_FAULT Fault)
{
    PMMPTE Prototype = MiPrototypeOf(Fault->Pte);
    PMMPFN ProtoPage = MiPtePage(Prototype);
    MI_FAULT_RESULT Result;
    MMPTE Proto;

    MiLockPrototypePage(ProtoPage);
    Proto = MiReadPte(Prototype);
    if (Proto.Hard.Valid || MiIsTransition(Proto))
    {
        Result = MiResolveResident(Fault, Prototype, Proto);
    }
    else if (MiIsPagedOut(Proto))
    {
        Result = MiStartInPage(Fault, Prototype, Proto, TRUE);
        if (Result == MiFaultNeedRead)
        {
            MiCount(PagingFileFaults);
        }
    }
    else
    {
        Result = MiResolvePrototypeDemandZero(Fault, Prototype, Proto);
    }
    MiUnlockPrototypePage(ProtoPage);
    return Result;
}
