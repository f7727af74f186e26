/* SPDX-License-Identifier: MIT */
/*
 * Faults on entries that are valid: another processor was faster, or the access is one that the entry does
 * not let through: a write to a copy-on-write page, the first write to a watched page, or a real violation.
 */
#include "fault/resolve.h"

/* The last user of a page shared by clones takes it over instead of copying it. Prototype page locked. */
static BOOLEAN MiTakeOverSharedPage(PMI_FAULT Fault, PMMPFN Pfn, ULONG Protection)
{
    PMMCLONE_BLOCK Block = CONTAINING_RECORD(Pfn->PteAddress, MMCLONE_BLOCK, ProtoPte);
    MMPTE Pte;

    if (!Pfn->e1.PrototypePte || Pfn->u1.ShareCount != 1 || MiIsSectionPrototype(Pfn->PteAddress) ||
        __atomic_load_n(&Block->References, __ATOMIC_ACQUIRE) != 1)
    {
        return FALSE;
    }
    Pfn->e1.PrototypePte = 0;
    Pfn->PteAddress = Fault->PointerPte;
    Pfn->OriginalPte.Soft.Protection = Protection & 31u;
    Pte = MiMakeValidPte(MiPfnFrame(Pfn), Protection, !Fault->Space->Kernel);
    Pte.Long |= MM_PTE_DIRTY | (Fault->Pte.Long & MM_PTE_LOCKED_MASK);
    MiWritePte(Fault->PointerPte, Pte);
    MiNoteWatchedWrite(Fault);
    Block->ProtoPte.Long = 0;
    return TRUE;
}

/* Removes this mapping from the shared frame after the private copy has taken its place. */
static VOID MiLeaveSharedPage(PMMPFN Pfn, BOOLEAN Dirty)
{
    PMMPTE Prototype;
    BOOLEAN Clone;

    MiLockPfn(Pfn);
    Prototype = Pfn->PteAddress;
    Clone = Pfn->e1.PrototypePte && !MiIsSectionPrototype(Prototype);
    if (Dirty)
    {
        MiSetFrameModified(Pfn);
    }
    KiRequire(Pfn->u1.ShareCount != 0);
    if (MiAddShares(Pfn, -1) == 0)
    {
        MMPTE Proto = MiMakeTransitionPte(MiPfnFrame(Pfn), (ULONG)Pfn->OriginalPte.Soft.Protection);

        MiWritePte(Prototype, Proto);
        Pfn->e1.PageLocation = TransitionPage;
        MiDecrementReferenceCount(Pfn);
    }
    MiUnlockPfn(Pfn);
    if (Clone)
    {
        MiDereferenceCloneBlock(Prototype);
    }
}

static MI_FAULT_RESULT MiCopyOnWrite(PMI_FAULT Fault)
{
    MMPFNENTRY Entry;
    PFN_NUMBER OldFrame = Fault->Pte.Hard.PageFrameNumber;
    PMMPFN OldPfn = MiPfn(OldFrame);
    ULONG Protection = MiProtectionFromValidPte(Fault->Pte) & ~1u; /* WRITECOPY -> READWRITE */
    PFN_NUMBER Frame;
    PMMPFN Pfn;
    MMPTE Pte;
    MI_FLUSH_LIST Flush;
    PMMPFN ProtoPage;
    BOOLEAN Taken;

    if ((Fault->Pte.Long & MM_PTE_SHARED) == 0)
    {
        /* Nobody shares it: write-copy means just writable. */
        MiClearPteBits(Fault->PointerPte, MM_PTE_COPY_ON_WRITE);
        return MiResolveWatchedWrite(Fault);
    }
    ProtoPage = MiPtePage(OldPfn->PteAddress);
    MiLockPrototypePage(ProtoPage);
    MiLockPfn(OldPfn);
    {
        PMMPTE Prototype = OldPfn->PteAddress;

        Taken = MiTakeOverSharedPage(Fault, OldPfn, Protection);
        MiUnlockPfn(OldPfn);
        MiUnlockPrototypePage(ProtoPage);
        if (Taken)
        {
            MiDereferenceCloneBlock(Prototype);
            MiCount(WriteCopiesAvoided);
            return MiFaultResolved;
        }
    }
    Frame = MiAllocatePage(MiPreferredNode(Fault));
    if (Frame == 0)
    {
        return MiFaultNeedFrame;
    }
    MiCopySharedFrame(Frame, OldFrame);
    Pfn = MiPfn(Frame);
    MiWriteShareCount(Pfn, 1);
    Pfn->PteAddress = Fault->PointerPte;
    Pfn->OriginalPte = MiMakeDemandZeroPte(Protection);
    Entry = MiReadPfnEntry(Pfn);
    Entry.Priority = MiPagePriority(Fault) & 7u;
    Entry.Modified = 1;
    MiWritePfnEntry(Pfn, Entry);
    Pte = MiMakeValidPte(Frame, Protection, !Fault->Space->Kernel);
    Pte.Long |= MM_PTE_DIRTY | (Fault->Pte.Long & MM_PTE_LOCKED_MASK);
    Pte = MiExchangePte(Fault->PointerPte, Pte);
    MiNoteWatchedWrite(Fault);
    MiInitializeFlushList(&Flush, Fault->Space->System ? 0 : Fault->Space->TopLevel);
    MiAddToFlushList(&Flush, Fault->Va & ~(ULONG_PTR)(PAGE_SIZE - 1), 1);
    MiFlushTb(&Flush);
    MiLeaveSharedPage(OldPfn, Pte.Hard.Dirty);
    MiCount(WriteCopies);
    return MiFaultResolved;
}

MI_FAULT_RESULT MiResolveValidFault(PMI_FAULT Fault)
{
    MMPTE Pte = Fault->Pte;

    if (Fault->Mode == UserMode && (Pte.Long & MM_PTE_OWNER) == 0)
    {
        Fault->Status = STATUS_ACCESS_VIOLATION;
        return MiFaultFailed;
    }
    if (Fault->Access == MiAccessExecute && (Pte.Long & MM_PTE_NO_EXECUTE) != 0)
    {
        Fault->Status = STATUS_ACCESS_VIOLATION;
        return MiFaultFailed;
    }
    if (Fault->Access == MiAccessWrite)
    {
        if ((Pte.Long & MM_PTE_WRITE) == 0)
        {
            Fault->Status = STATUS_ACCESS_VIOLATION;
            return MiFaultFailed;
        }
        if ((Pte.Long & MM_PTE_COPY_ON_WRITE) != 0)
        {
            return MiCopyOnWrite(Fault);
        }
        if ((Pte.Long & MM_PTE_DIRTY1) == 0)
        {
            return MiResolveWatchedWrite(Fault);
        }
    }
    MiCount(SpuriousFaults);
    return MiFaultResolved;
}

VOID MiClearGuard(PMI_FAULT Fault)
{
    MMPTE Pte = Fault->Pte;
    ULONG Protection = Fault->Protection & ~MM_GUARD_PAGE;

    if (Pte.Long == 0)
    {
        MiAddUsedEntries(Fault->PointerPte, 1);
        MiWritePte(Fault->PointerPte, Fault->ControlArea != NULL ? MiMakeLookupPte(Protection)
                                                                 : MiMakeDemandZeroPte(Protection));
        return;
    }
    if (MiIsTransition(Pte))
    {
        PMMPFN Pfn = MiPfn(Pte.Trans.PageFrameNumber);

        MiLockPfn(Pfn);
        if (MiReadPte(Fault->PointerPte).Long == Pte.Long)
        {
            Pfn->OriginalPte.Soft.Protection = Protection & 31u;
            Pte.Trans.Protection = Protection & 31u;
            MiWritePte(Fault->PointerPte, Pte);
            MiUnlockPfn(Pfn);
            return;
        }
        MiUnlockPfn(Pfn);
        Pte = MiReadPte(
            Fault->PointerPte); /* the frame was taken meanwhile: a software entry now, and it stays one */
    }
    Pte.Soft.Protection = Protection & 31u;
    MiWritePte(Fault->PointerPte, Pte);
}
