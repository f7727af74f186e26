/* SPDX-License-Identifier: MIT */
/*
 * Deleting and protecting single leaf entries of any state, for the services that change ranges. The space is
 * locked exclusively, so entries change only here and, for frames in transition, under the frame's lock by
 * whoever takes the frame.
 */
#include "fault/resolve.h"

/* ---- The batch: frames of entries that are gone, until the TB has forgotten them ------------------------ */

VOID MiBeginDeleteBatch(MI_DELETE_BATCH *Batch, PMI_ADDRESS_SPACE Space)
{
    Batch->Space = Space;
    Batch->Pages = 0;
    Batch->Count = 0;
    MiInitializeFlushList(&Batch->Flush, Space->System ? 0 : Space->TopLevel);
}

/* A page of a section loses one mapping. Frame locked. */
static VOID MiDropShare(PMMPFN Pfn, PMI_LIST_RUN Run)
{
    MMPFNENTRY Entry;

    if (MiAddShares(Pfn, -1) != 0)
    {
        return;
    }
    MiWritePte(Pfn->PteAddress,
               MiMakeTransitionPte(MiPfnFrame(Pfn), (ULONG)Pfn->OriginalPte.Soft.Protection));
    Entry = MiReadPfnEntry(Pfn);
    Entry.PageLocation = TransitionPage;
    MiWritePfnEntry(Pfn, Entry);
    MiReleaseInRun(Pfn, Run);
}

VOID MiEndDeleteBatch(MI_DELETE_BATCH *Batch)
{
    MI_LIST_RUN Run = { .List = NULL };
    MI_BLOCK Block = { .Lock = NULL };

    MiFlushTb(&Batch->Flush);
    for (ULONG Index = 0; Index < Batch->Count; Index++)
    {
        PMMPFN Pfn = MiPfn(Batch->Runs[Index].Frame);
        PMMPFN End = Pfn + Batch->Runs[Index].Count;
        BOOLEAN Many = Batch->Runs[Index].Count >= MI_BLOCK_PAYS_OFF;

        for (; Pfn != End; Pfn++)
        {
            MiLockPfnInRun(Pfn, Many, &Block, &Run);
            if (Batch->Runs[Index].Shared)
            {
                MiDropShare(Pfn, &Run);
            }
            else
            {
                MiReleaseInRun(Pfn, &Run);
            }
            MiUnlockPfnInBlock(Pfn, &Block);
        }
    }
    MiEndListRun(&Run);
    MiEndBlock(&Block);
    Batch->Pages = 0;
    Batch->Count = 0;
}

static FORCEINLINE BOOLEAN MiIsBatchFull(const MI_DELETE_BATCH *Batch)
{
    return Batch->Pages == MI_DELETE_BATCH_PAGES || Batch->Count == MI_DELETE_BATCH_RUNS;
}

/* Before an entry is changed, so that its frame finds room. */
static VOID MiMakeBatchRoom(MI_DELETE_BATCH *Batch)
{
    if (MiIsBatchFull(Batch))
    {
        MiEndDeleteBatch(Batch);
    }
}

/* There is room for one more run. */
static FORCEINLINE VOID MiAddToBatch(MI_DELETE_BATCH *Batch, PFN_NUMBER Frame, BOOLEAN Shared)
{
    MI_DELETE_RUN *Last = &Batch->Runs[Batch->Count];

    C_ASSERT(MI_DELETE_BATCH_PAGES <= 0xffff);
    if (Batch->Count != 0 && Last[-1].Shared == Shared && Last[-1].Frame + Last[-1].Count == Frame)
    {
        Last[-1].Count++;
        return;
    }
    *Last = (MI_DELETE_RUN){ .Frame = (ULONG)Frame, .Count = 1, .Shared = Shared };
    Batch->Count++;
}

/* ---- Deleting ------------------------------------------------------------------------------------------ */

/*
 * The owner lets go of a frame that is not mapped: its slot goes, and the frame with its last reference.
 * Frame locked.
 */
VOID MiAbandonFrame(PMMPFN Pfn)
{
    BOOLEAN Listed = Pfn->ReferenceCount == 0;

    if (Listed)
    {
        MiUnlinkPage(Pfn); /* first: the fields below say which list it is on */
        Pfn->ReferenceCount = 1;
    }
    MiReleasePageFileSpace(Pfn->OriginalPte);
    Pfn->OriginalPte.Long = 0;
    Pfn->PteAddress = NULL;
    Pfn->e1.Modified = 0;
    Pfn->e1.Deleted = 1;
    if (Listed)
    {
        MiDecrementReferenceCount(Pfn);
    }
}

/* A mapping of somebody else's frame goes; its reference (of RAM) is the batch's until the flush. */
static VOID MiDeletePhysical(MI_DELETE_BATCH *Batch, PMMPTE PointerPte, ULONG_PTR Va, MMPTE New)
{
    PFN_NUMBER Frame = MiReadPte(PointerPte).Hard.PageFrameNumber;

    MiMakeBatchRoom(Batch);
    MiWritePte(PointerPte, New);
    MiDecrementPageTableShare(PointerPte);
    MiAddToFlushList(&Batch->Flush, Va, 1);
    if (MiIsRamFrame(Frame))
    {
        Batch->Pages++;
        MiAddToBatch(Batch, Frame, FALSE);
    }
}

static VOID MiDeleteValid(MI_DELETE_BATCH *Batch, PMMPTE PointerPte, ULONG_PTR Va, MMPTE New)
{
    MMPTE Old = MiReadPte(PointerPte);
    PMMPFN Pfn = MiPfn(Old.Hard.PageFrameNumber);
    PMMPTE Prototype = NULL;
    BOOLEAN Clone = FALSE;

    MiMakeBatchRoom(Batch);
    MiLockPfn(Pfn);
    Old = MiExchangePte(PointerPte, New);
    if ((Old.Long & MM_PTE_SHARED) != 0)
    {
        Prototype = Pfn->PteAddress;
        Clone = !MiIsSectionPrototype(Prototype);
        MiIncrementReferenceCount(Pfn); /* the batch's */
        if (Old.Hard.Dirty)
        {
            MiSetFrameModified(Pfn);
        }
        if (MiAddShares(Pfn, -1) == 0)
        {
            MiWritePte(Prototype,
                       MiMakeTransitionPte(MiPfnFrame(Pfn), (ULONG)Pfn->OriginalPte.Soft.Protection));
            Pfn->e1.PageLocation = TransitionPage;
            MiDecrementReferenceCount(Pfn);
        }
    }
    else
    {
        KiRequire(Pfn->u1.ShareCount == 1 && Pfn->PteAddress == PointerPte);
        MiWriteShareCount(Pfn, 0);
        Pfn->e1.PageLocation = TransitionPage;
        MiAbandonFrame(Pfn); /* the mapping's reference is the batch's now */
    }
    MiUnlockPfn(Pfn);
    MiDecrementPageTableShare(PointerPte);
    MiAddWorkingSetPages(Batch->Space, -1);
    if ((Old.Long & MM_PTE_LOCKED_MASK) != 0)
    {
        Batch->Space->Vm.LockedPages--;
        MiReturnResidentAvailable(1);
    }
    Batch->Pages++;
    MiAddToBatch(Batch, MiPfnFrame(Pfn), FALSE);
    MiAddToFlushList(&Batch->Flush, Va, 1);
    if (Clone)
    {
        MiDereferenceCloneBlock(Prototype);
    }
}

/*
 * The entry's dirty bit must not be gone while the frame does not know of it: somebody may be flushing the file. Entries that the processor may not write
 * through do not become dirty any more.
 */
static FORCEINLINE VOID MiDeleteSharedEntry(PMMPTE PointerPte, MMPTE Old, MMPTE New)
{
    PMMPFN Pfn;

    if ((Old.Long & (MM_PTE_DIRTY | MM_PTE_DIRTY1)) == 0)
    {
        MiWritePte(PointerPte, New);
        return;
    }
    Pfn = MiPfn(Old.Hard.PageFrameNumber);
    MiLockPfn(Pfn);
    Old = MiExchangePte(PointerPte, New);
    if (Old.Hard.Dirty)
    {
        MiSetFrameModified(Pfn);
    }
    MiUnlockPfn(Pfn);
}

ULONG MiDeleteSharedEntries(MI_DELETE_BATCH *Batch, PMMPTE PointerPte, ULONG_PTR Va, ULONG Count, MMPTE New)
{
    BOOLEAN Clones = MiCloneBlocksInUse() != 0; /* those of the space, which is locked, stay in use */
    ULONG_PTR Section = 0;                      /* a page of prototype PTEs that is known to be one's */
    ULONG Index;

    Count = Count < MI_DELETE_BATCH_PAGES - Batch->Pages ? Count : MI_DELETE_BATCH_PAGES - Batch->Pages;
    for (Index = 0; Index < Count; Index++)
    {
        MMPTE Old = MiReadPte(&PointerPte[Index]);

        if ((Old.Long & (MM_PTE_VALID | MM_PTE_SHARED | MM_PTE_STAYS)) != (MM_PTE_VALID | MM_PTE_SHARED))
        {
            break;
        }
        if (Clones)
        {
            /* What a frame points back to stays while it is mapped. */
            PMMPTE Prototype = MiPfn(Old.Hard.PageFrameNumber)->PteAddress;

            if (((ULONG_PTR)Prototype & ~(ULONG_PTR)(PAGE_SIZE - 1)) != Section)
            {
                if (!MiIsSectionPrototype(Prototype))
                {
                    break;
                }
                Section = (ULONG_PTR)Prototype & ~(ULONG_PTR)(PAGE_SIZE - 1);
            }
        }
        if (Batch->Count == MI_DELETE_BATCH_RUNS)
        {
            break;
        }
        MiDeleteSharedEntry(&PointerPte[Index], Old, New);
        MiAddToBatch(Batch, Old.Hard.PageFrameNumber, TRUE);
    }
    if (Index != 0)
    {
        Batch->Pages += Index;
        MiAddToFlushList(&Batch->Flush, Va, Index);
        MiTakePageTableShares(PointerPte, Index);
        MiAddWorkingSetPages(Batch->Space, -(LONG64)Index);
        if (New.Long == 0)
        {
            MiAddUsedEntries(PointerPte, -(LONG)Index);
        }
    }
    return Index;
}

/* FALSE: the frame was taken meanwhile, look again. */
static BOOLEAN MiDeleteTransition(PMMPTE PointerPte, MMPTE Old, MMPTE New)
{
    PMMPFN Pfn = MiPfn(Old.Trans.PageFrameNumber);

    MiLockPfn(Pfn);
    if (MiReadPte(PointerPte).Long != Old.Long)
    {
        MiUnlockPfn(Pfn);
        return FALSE;
    }
    MiWritePte(PointerPte, New);
    MiAbandonFrame(Pfn);
    MiUnlockPfn(Pfn);
    MiDecrementPageTableShare(PointerPte);
    return TRUE;
}

VOID MiDeleteEntry(MI_DELETE_BATCH *Batch, PMMPTE PointerPte, ULONG_PTR Va, MMPTE New)
{
    for (;;)
    {
        MMPTE Old = MiReadPte(PointerPte);

        if (Old.Hard.Valid && (Old.Long & MM_PTE_PHYSICAL) != 0)
        {
            MiDeletePhysical(Batch, PointerPte, Va, New);
        }
        else if (Old.Hard.Valid)
        {
            MiDeleteValid(Batch, PointerPte, Va, New);
        }
        else if (MiIsTransition(Old))
        {
            if (!MiDeleteTransition(PointerPte, Old, New))
            {
                continue;
            }
        }
        else
        {
            MiWritePte(PointerPte, New);
            if (MiIsLookup(Old))
            {
                /* of a section, whose pages are its own affair */
            }
            else if (MiIsPrototype(Old))
            {
                MiDereferenceCloneBlock(MiPrototypeOf(Old));
            }
            else
            {
                MiReleasePageFileSpace(Old);
            }
        }
        MiAddUsedEntries(PointerPte, (LONG)(New.Long != 0) - (LONG)(Old.Long != 0));
        return;
    }
}

/* ---- Protection ---------------------------------------------------------------------------------------- */

/* A shared frame: whether it is one of clones. The frame is mapped, so what it points back to stays. */
static BOOLEAN MiIsCloneFrame(PMMPFN Pfn)
{
    BOOLEAN Clone;

    MiLockPfn(Pfn);
    Clone = !MiIsSectionPrototype(Pfn->PteAddress);
    MiUnlockPfn(Pfn);
    return Clone;
}

static VOID MiProtectValid(MI_TRIM_BATCH_LIST *Batch, PMMPTE PointerPte, ULONG_PTR Va, ULONG Protection,
                           PMMVAD Vad)
{
    const ULONG64 Kept = MM_PTE_VALID | MM_PTE_OWNER | MM_PTE_ACCESSED | MM_PTE_DIRTY | MM_PTE_FRAME_MASK |
                         MM_PTE_AGE_MASK | MM_PTE_SHARED | MM_PTE_LOCKED_MASK;
    MMPTE Old = MiReadPte(PointerPte);
    PMMPFN Pfn = MiPfn(Old.Hard.PageFrameNumber);
    BOOLEAN Shared = (Old.Long & MM_PTE_SHARED) != 0;
    MMPTE New;

    if (Shared && MiIsWritable(Protection) && MiIsCloneFrame(Pfn))
    {
        Protection |= 1u; /* copy on write */
    }
    if (MiIsGuarded(Protection) || MiIsNoAccess(Protection))
    {
        MiTrimEntry(Batch, PointerPte, Va, Protection, FALSE);
        return;
    }
    if (!Shared)
    {
        MiLockPfn(Pfn);
        Pfn->OriginalPte.Soft.Protection = Protection & 31u;
        MiUnlockPfn(Pfn);
    }
    do
    {
        Old = MiReadPte(PointerPte);
        New.Long = (Old.Long & Kept) | MmProtectToPteMask[Protection];
        if (Vad != NULL && Vad->u.VadType == VadWriteWatch && (Old.Long & MM_PTE_DIRTY1) == 0)
        {
            New.Long &= ~MM_PTE_DIRTY1;
        }
    } while (!__atomic_compare_exchange_n(&PointerPte->Long, &Old.Long, New.Long, FALSE, __ATOMIC_ACQ_REL,
                                          __ATOMIC_RELAXED));
    MiAddToFlushList(&Batch->Flush, Va, 1);
}

VOID MiProtectEntry(MI_TRIM_BATCH_LIST *Batch, PMMPTE PointerPte, ULONG_PTR Va, ULONG Protection, PMMVAD Vad)
{
    MMPTE Pte = MiReadPte(PointerPte);

    if (Pte.Hard.Valid)
    {
        MiProtectValid(Batch, PointerPte, Va, Protection, Vad);
        return;
    }
    if (MiIsPrototype(Pte))
    {
        Protection |= MiIsWritable(Protection) && !MiIsLookup(Pte); /* clones: copy on write */
        Pte.Proto.Protection = Protection & 31u;
        MiWritePte(PointerPte, Pte);
        return;
    }
    if (MiIsTransition(Pte))
    {
        PMMPFN Pfn = MiPfn(Pte.Trans.PageFrameNumber);

        MiLockPfn(Pfn);
        if (MiReadPte(PointerPte).Long == Pte.Long)
        {
            Pte.Trans.Protection = Protection & 31u;
            Pfn->OriginalPte.Soft.Protection = Protection & 31u;
            MiWritePte(PointerPte, Pte);
            MiUnlockPfn(Pfn);
            return;
        }
        MiUnlockPfn(Pfn);
        Pte = MiReadPte(PointerPte); /* its frame was taken: a software entry, and it stays one */
    }
    Pte.Soft.Protection = Protection & 31u;
    MiWritePte(PointerPte, Pte);
}
