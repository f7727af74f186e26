/* SPDX-License-Identifier: MIT */
/*
 * Page-table pages: made when something below them is first wanted, brought back when they had left memory.
 * Those of committed memory are charged with it (space/tablecharge.c), so a fault in it needs no commitment. Others are charged when they are
 * made, and paging files grow for them. When these cannot, a service is refused, and a fault, which can only be one on a view of a file or of
 * SEC_RESERVE, ends in STATUS_IN_PAGE_ERROR.
 */
#include "fault/resolve.h"

#define MI_COMMIT_ROUNDS 8u

BOOLEAN MiFindFaultCommitment(PMI_FAULT Fault)
{
    BOOLEAN (*Extend)(SIZE_T) = MiState.Physical->Operations.ExtendCommitLimit;
    BOOLEAN Grown = Extend != NULL && Fault->CommitRounds < MI_COMMIT_ROUNDS && Extend(1);

    /* Once without growth, too: others may have given something back. */
    if (Grown || Fault->CommitRounds == 0)
    {
        Fault->CommitRounds++;
        return TRUE;
    }
    Fault->Status = Fault->Service ? STATUS_COMMITMENT_LIMIT : STATUS_IN_PAGE_ERROR;
    Fault->IoStatus = STATUS_COMMITMENT_LIMIT;
    return FALSE;
}

/* The entry above is zero: a new, empty page. Parent's page locked. */
static MI_FAULT_RESULT MiMakePageTable(PMI_FAULT Fault)
{
    BOOLEAN Promised = Fault->Vad != NULL && Fault->Vad->TablesPromised;
    PFN_NUMBER Frame;

    if (!Promised && !MiChargePageTable(Fault->Space, Fault->Va, Fault->Level))
    {
        return MiFaultNeedCommit;
    }
    Frame = MiAllocatePage(MI_PAGE_ZEROED);
    if (Frame == 0)
    {
        if (!Promised)
        {
            MiReturnPageTables(Fault->Space, Fault->Va, Fault->Level, 1);
        }
        return MiFaultNeedFrame;
    }
    MiLinkPageTable(Fault->PointerPte, Frame, !Fault->Space->Kernel);
    __atomic_fetch_add(&Fault->Space->PageTablePages, 1, __ATOMIC_RELAXED);
    MiCount(PageTableFaults);
    return MiFaultRetry;
}

/* The page-table page is on a list or in I/O. Parent's page locked. */
static MI_FAULT_RESULT MiReturnPageTable(PMI_FAULT Fault)
{
    PMMPFN Pfn = MiPfn(Fault->Pte.Trans.PageFrameNumber);
    MMPTE Pte;

    MiLockPfn(Pfn);
    if (MiReadPte(Fault->PointerPte).Long != Fault->Pte.Long)
    {
        MiUnlockPfn(Pfn);
        return MiFaultRetry;
    }
    if (Pfn->e1.ReadInProgress)
    {
        Fault->InPage = Pfn->u1.InPage;
        MiReferenceInPage(Fault->InPage);
        MiUnlockPfn(Pfn);
        return MiFaultNeedRead;
    }
    MiActivateTransitionFrame(Pfn);
    MiMarkPageTable(Pfn);
    Pfn->u1.UsedPageTableEntries = Pfn->OriginalPte.Soft.UsedPageTableEntries;
    /* The kernel writes into it without any dirty bit: whatever copy there is will be stale. */
    MiSetFrameModified(Pfn);
    Pte.Long = MM_PTE_VALID | MM_PTE_DIRTY1 | MM_PTE_WRITE | MM_PTE_ACCESSED | MM_PTE_DIRTY |
               (Fault->Space->Kernel ? 0 : MM_PTE_OWNER) | ((ULONG64)MiPfnFrame(Pfn) << MM_PTE_FRAME_SHIFT);
    MiWritePte(Fault->PointerPte, Pte);
    MiUnlockPfn(Pfn);
    MiCount(PageTableFaults);
    return MiFaultRetry;
}

MI_FAULT_RESULT MiResolvePageTableFault(PMI_FAULT Fault)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    MI_FAULT_RESULT Result;

    Fault->Table = MiPtePage(Fault->PointerPte);
    MiLockPageTable(Fault->Table);
    Fault->Pte = MiReadPte(Fault->PointerPte);
    if (Fault->Pte.Hard.Valid)
    {
        Result = MiFaultRetry;
    }
    else if (Fault->Pte.Long == 0)
    {
        Result = MiMakePageTable(Fault);
    }
    else if (MiIsTransition(Fault->Pte))
    {
        Result = MiReturnPageTable(Fault);
    }
    else
    {
        Result = MiStartInPage(Fault, Fault->PointerPte, Fault->Pte, FALSE);
    }
    MiUnlockPageTable(Fault->Table);
    KiLowerIrqlFromDispatch(OldIrql);
    return Result;
}

/* Waits for what is missing with the space unlocked. */
static NTSTATUS MiWaitForPageTable(PMI_FAULT Fault, MI_FAULT_RESULT Result)
{
    if (Result == MiFaultNeedBlock)
    {
        MiWaitForInPageBlock();
        return STATUS_SUCCESS;
    }
    if (Result == MiFaultNeedCommit)
    {
        return MiFindFaultCommitment(Fault) ? STATUS_SUCCESS : Fault->Status;
    }
    if (Result == MiFaultNeedFrame)
    {
        return MiWaitForAvailablePages() ? STATUS_SUCCESS : STATUS_NO_MEMORY;
    }
    return MiFinishInPage(Fault) ? STATUS_SUCCESS : Fault->Status;
}

/* The tables above Va down to the one whose entries are of level Lowest. */
static NTSTATUS MiMakeTable(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, ULONG Lowest, PMMPTE *PointerPte,
                            PBOOLEAN Dropped, BOOLEAN Create)
{
    MI_FAULT Fault = {
        .Space = Space, .Va = Va, .Access = MiAccessRead, .Mode = KernelMode, .Service = TRUE
    };
    ULONG FrameWaits = 0;

    for (;;)
    {
        /* The page that was read for us is held until this attempt is over, also if others were faster to make it valid. */
        PFN_NUMBER Hold = Fault.HeldFrame;
        MI_FAULT_RESULT Result = MiFaultResolved;
        NTSTATUS Status;

        Fault.HeldFrame = 0;
        Fault.Level = MiWalk(Space->TopLevel, Va, &Fault.PointerPte);
        if (Fault.Level > Lowest && (Create || MiReadPte(Fault.PointerPte).Long != 0))
        {
            Result = MiResolvePageTableFault(&Fault);
        }
        if (Hold != 0)
        {
            MiReleaseHeldFrame(Hold);
        }
        if (Result == MiFaultResolved)
        {
            *PointerPte = Fault.PointerPte;
            return STATUS_SUCCESS;
        }
        if (Result == MiFaultRetry)
        {
            continue;
        }
        *Dropped = TRUE;
        MiUnlockSpaceExclusive(Space);
        Status = Result == MiFaultNeedFrame && ++FrameWaits > 100 ? STATUS_NO_MEMORY
                                                                  : MiWaitForPageTable(&Fault, Result);
        MiLockSpaceExclusive(Space);
        if (!NT_SUCCESS(Status))
        {
            if (Fault.HeldFrame != 0)
            {
                MiReleaseHeldFrame(Fault.HeldFrame);
            }
            return Status;
        }
    }
}

NTSTATUS MiMakePageTableResident(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, PMMPTE *PointerPte, PBOOLEAN Dropped)
{
    return MiMakeTable(Space, Va, 0, PointerPte, Dropped, TRUE);
}

NTSTATUS MiMakeUpperTables(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, PBOOLEAN Dropped)
{
    PMMPTE Entry;

    return MiMakeTable(Space, Va, 1, &Entry, Dropped, TRUE);
}

NTSTATUS MiBringPageTableIn(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, PBOOLEAN Dropped)
{
    PMMPTE Entry;

    return MiMakeTable(Space, Va, 0, &Entry, Dropped, FALSE);
}
