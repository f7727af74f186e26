/* SPDX-License-Identifier: MIT */
/*
 * Page-table pages: made when something below them is first wanted, brought back when they had left memory.
 * Their commitment is charged to the space when they come into being; it cannot be refused any more at that
 * point, because the fault was promised.
 */
#include "fault/resolve.h"

static VOID MiChargePageTable(PMI_ADDRESS_SPACE Space)
{
    MiChargeSpaceCommit(Space, 1, MI_COMMIT_MUST_SUCCEED);
    __atomic_fetch_add(&Space->PageTablePages, 1, __ATOMIC_RELAXED);
}

/* The entry above is zero: a new, empty page. Parent's page locked. */
static MI_FAULT_RESULT MiMakePageTable(PMI_FAULT Fault)
{
    PFN_NUMBER Frame = MiAllocatePage(MI_PAGE_ZEROED);

    if (Frame == 0)
    {
        return MiFaultNeedFrame;
    }
    MiLinkPageTable(Fault->PointerPte, Frame, !Fault->Space->System);
    MiChargePageTable(Fault->Space);
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
    Pfn->e1.PageTable = 1;
    Pfn->u1.UsedPageTableEntries = Pfn->OriginalPte.Soft.UsedPageTableEntries;
    /* The kernel writes into it without any dirty bit: whatever copy there is will be stale. */
    MiSetFrameModified(Pfn);
    Pte.Long = MM_PTE_VALID | MM_PTE_DIRTY1 | MM_PTE_WRITE | MM_PTE_ACCESSED | MM_PTE_DIRTY |
               (Fault->Space->System ? 0 : MM_PTE_OWNER) | ((ULONG64)MiPfnFrame(Pfn) << MM_PTE_FRAME_SHIFT);
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
    if (Result == MiFaultNeedFrame)
    {
        return MiWaitForAvailablePages() ? STATUS_SUCCESS : STATUS_NO_MEMORY;
    }
    return MiFinishInPage(Fault) ? STATUS_SUCCESS : Fault->Status;
}

NTSTATUS MiMakePageTableResident(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, PMMPTE *PointerPte, PBOOLEAN Dropped)
{
    MI_FAULT Fault = { .Space = Space, .Va = Va, .Access = MiAccessRead, .Mode = KernelMode };
    ULONG FrameWaits = 0;

    for (;;)
    {
        PFN_NUMBER Hold;
        MI_FAULT_RESULT Result;
        NTSTATUS Status;

        Fault.Level = MiWalk(Space->TopLevel, Va, &Fault.PointerPte);
        if (Fault.Level == 0)
        {
            *PointerPte = Fault.PointerPte;
            return STATUS_SUCCESS;
        }
        Hold = Fault.HeldFrame;
        Fault.HeldFrame = 0;
        Result = MiResolvePageTableFault(&Fault);
        if (Hold != 0)
        {
            MiReleaseHeldFrame(Hold);
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
