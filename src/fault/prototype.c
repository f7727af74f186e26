/* SPDX-License-Identifier: MIT */
/*
 * Pages that several address spaces share are described once, by a prototype PTE: of a clone block, at which the entries
 * of the spaces point while they are invalid, or of a section, which is found through the VAD. The fault resolves the
 * prototype first, by the same kinds as a private page, and then maps its frame.
 */
#include "fault/resolve.h"

VOID MiMapShared(PMI_FAULT Fault, PMMPFN Pfn)
{
    MiIncrementPageTableShare(Fault->PointerPte);
    if (Fault->Pte.Long == 0)
    {
        MiAddUsedEntries(Fault->PointerPte, 1);
    }
    MiMakeEntryValid(Fault, MiPfnFrame(Pfn), TRUE, Fault->Protection);
    MiCount(PrototypeFaults);
}

/* Maps the active or reactivated frame of Prototype. Frame locked on entry, unlocked on exit. */
static MI_FAULT_RESULT MiMapAndUnlock(PMI_FAULT Fault, PMMPFN Pfn)
{
    MiMapShared(Fault, Pfn);
    MiUnlockPfn(Pfn);
    return MiFaultResolved;
}

/* The prototype PTE itself while its frame is in use. Readers look at frame and transition bits only. */
VOID MiMakePrototypeValid(PMMPTE Prototype, PMMPFN Pfn)
{
    MMPTE Pte = MiMakeValidPte(MiPfnFrame(Pfn), (ULONG)Pfn->OriginalPte.Soft.Protection, FALSE);
    MiWritePte(Prototype, Pte);
}

MI_FAULT_RESULT MiResolveResident(PMI_FAULT Fault, PMMPTE Prototype, MMPTE Proto)
{
    PMMPFN Pfn = MiPfn(Proto.Hard.Valid ? Proto.Hard.PageFrameNumber : Proto.Trans.PageFrameNumber);

    MiLockPfn(Pfn);
    if (MiReadPte(Prototype).Long != Proto.Long)
    {
        MiUnlockPfn(Pfn);
        return MiFaultRetry;
    }
    Fault->CameAlong = FALSE;
    if (Proto.Hard.Valid)
    {
        MiAddShares(Pfn, 1);
        return MiMapAndUnlock(Fault, Pfn);
    }
    if (Pfn->e1.ReadInProgress)
    {
        Fault->InPage = Pfn->u1.InPage;
        MiReferenceInPage(Fault->InPage);
        MiUnlockPfn(Pfn);
        MiCount(CollidedFaults);
        return MiFaultNeedRead;
    }
    Fault->CameAlong = Pfn->e1.ReadAhead;
    MiActivateTransitionFrame(Pfn);
    MiMakePrototypeValid(Prototype, Pfn);
    MiCount(TransitionFaults);
    return MiMapAndUnlock(Fault, Pfn);
}

VOID MiMapNewPrototypePage(PMI_FAULT Fault, PMMPTE Prototype, PFN_NUMBER Frame, MMPTE OriginalPte)
{
    PMMPFN Pfn = MiPfn(Frame);

    MiLockPfn(Pfn);
    MiWriteShareCount(Pfn, 1);
    Pfn->PteAddress = Prototype;
    Pfn->OriginalPte = OriginalPte;
    Pfn->e1.PrototypePte = 1;
    Pfn->e1.Priority = MiPagePriority(Fault) & 7u;
    if (MiIsSectionPrototype(Prototype))
    {
        MiIncrementPageTableShare(Prototype);
    }
    MiMakePrototypeValid(Prototype, Pfn);
    MiMapShared(Fault, Pfn);
    MiUnlockPfn(Pfn);
}

MI_FAULT_RESULT MiResolvePrototypeDemandZero(PMI_FAULT Fault, PMMPTE Prototype, MMPTE OriginalPte)
{
    PFN_NUMBER Frame = MiAllocatePage(MI_PAGE_ZEROED);

    if (Frame == 0)
    {
        return MiFaultNeedFrame;
    }
    MiMapNewPrototypePage(Fault, Prototype, Frame, OriginalPte);
    MiCount(DemandZeroFaults);
    return MiFaultResolved;
}

MI_FAULT_RESULT MiReadPrototype(PMI_FAULT Fault, PMMPTE Prototype, MMPTE Proto)
{
    MI_FAULT_RESULT Result = MiStartInPage(Fault, Prototype, Proto, TRUE);

    if (Result == MiFaultNeedRead)
    {
        MiCount(PagingFileFaults);
    }
    return Result;
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
        Result = MiReadPrototype(Fault, Prototype, Proto);
    }
    else
    {
        Result = MiResolvePrototypeDemandZero(Fault, Prototype, Proto);
    }
    MiUnlockPrototypePage(ProtoPage);
    return Result;
}
