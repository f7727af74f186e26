/* SPDX-License-Identifier: MIT */
/*
 * Page-table pages: made when something below them is first wanted, brought back when they had left memory.
 * Their commitment is charged to the space when they come into being. Paging files grow for it like for any charge. When they cannot, a service is
 * refused; a fault is not, because it was promised when its page was committed, and goes beyond the limit by the table.
 */
#include "fault/resolve.h"

static BOOLEAN MiChargePageTable(PMI_FAULT Fault)
{
    BOOLEAN Must = Fault->CommitAsked && !Fault->MayRefuse;

    /* Limits of processes and jobs are for what they commit; that page tables come with it is not their business. */
    if (!NT_SUCCESS(MiChargeSpaceCommit(
            Fault->Space, 1, Must ? MI_COMMIT_MUST_SUCCEED : MI_COMMIT_NO_EXTEND | MI_COMMIT_BEYOND_SPACE)))
    {
        return FALSE;
    }
    __atomic_fetch_add(&Fault->Space->PageTablePages, 1, __ATOMIC_RELAXED);
    return TRUE;
}

static VOID MiReturnPageTableCharge(PMI_ADDRESS_SPACE Space)
{
    __atomic_fetch_sub(&Space->PageTablePages, 1, __ATOMIC_RELAXED);
    MiReturnSpaceCommit(Space, 1);
}

/* No locks held. FALSE: the service is refused. */
BOOLEAN MiFindTableCommitment(PMI_FAULT Fault)
{
    if (Fault->CommitAsked && Fault->MayRefuse)
    {
        Fault->Status = STATUS_COMMITMENT_LIMIT;
        return FALSE;
    }
    Fault->CommitAsked = TRUE;
    if (MiState.Physical->Operations.ExtendCommitLimit != NULL)
    {
        MiState.Physical->Operations.ExtendCommitLimit(1);
    }
    return TRUE;
}

/* The entry above is zero: a new, empty page. Parent's page locked. */
static MI_FAULT_RESULT MiMakePageTable(PMI_FAULT Fault)
{
    PFN_NUMBER Frame;

    if (!MiChargePageTable(Fault))
    {
        return MiFaultNeedCommit;
    }
    Frame = MiAllocatePage(MI_PAGE_ZEROED);
    if (Frame == 0)
    {
        MiReturnPageTableCharge(Fault->Space);
        return MiFaultNeedFrame;
    }
    MiLinkPageTable(Fault->PointerPte, Frame, !Fault->Space->Kernel);
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
        return MiFindTableCommitment(Fault) ? STATUS_SUCCESS : Fault->Status;
    }
    if (Result == MiFaultNeedFrame)
    {
        return MiWaitForAvailablePages() ? STATUS_SUCCESS : STATUS_NO_MEMORY;
    }
    return MiFinishInPage(Fault) ? STATUS_SUCCESS : Fault->Status;
}

static NTSTATUS MiMakeTable(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, PMMPTE *PointerPte, PBOOLEAN Dropped,
                            BOOLEAN MayRefuse)
{
    MI_FAULT Fault = {
        .Space = Space, .Va = Va, .Access = MiAccessRead, .Mode = KernelMode, .MayRefuse = MayRefuse
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
        if (Fault.Level != 0)
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
    return MiMakeTable(Space, Va, PointerPte, Dropped, FALSE);
}

NTSTATUS MiMakePageTableIfCommitAllows(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, PMMPTE *PointerPte,
                                       PBOOLEAN Dropped)
{
    return MiMakeTable(Space, Va, PointerPte, Dropped, TRUE);
}
