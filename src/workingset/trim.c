/* SPDX-License-Identifier: MIT */
/*
 * Taking pages out of working sets. Entries become invalid first, then the TB is flushed once for the batch,
 * and only then do the frames go to their lists; until then each is kept by a reference. Dirtiness is read in
 * the exchange that invalidates the entry: a processor that would make the page dirty later has to walk and
 * finds it gone.
 */
#include "space/session.h"
#include "workingset/walk.h"

VOID MiBeginTrimBatch(MI_TRIM_BATCH_LIST *Batch, PMI_ADDRESS_SPACE Space)
{
    Batch->Space = Space;
    Batch->Count = 0;
    MiInitializeFlushList(&Batch->Flush, Space->System ? 0 : Space->TopLevel);
}

/*
 * The prototype's side of losing one mapping: with the last one it becomes transition. Frame locked; keeps
 * one reference for the batch.
 */
static VOID MiUnmapShared(PMMPFN Pfn)
{
    MiIncrementReferenceCount(Pfn);
    KiRequire(Pfn->u1.ShareCount != 0);
    if (MiAddShares(Pfn, -1) == 0)
    {
        MMPTE Proto = MiMakeTransitionPte(MiPfnFrame(Pfn), (ULONG)Pfn->OriginalPte.Soft.Protection);

        MiWritePte(Pfn->PteAddress, Proto);
        Pfn->e1.PageLocation = TransitionPage;
        MiDecrementReferenceCount(Pfn);
    }
}

VOID MiTrimEntry(MI_TRIM_BATCH_LIST *Batch, PMMPTE PointerPte, ULONG_PTR Va, ULONG Protection, BOOLEAN Front)
{
    MMPTE Old = MiReadPte(PointerPte);
    PFN_NUMBER Frame = Old.Hard.PageFrameNumber;
    PMMPFN Pfn = MiPfn(Frame);
    MMPTE New;

    KiRequire(Old.Hard.Valid && Batch->Count < MI_TRIM_BATCH);
    MiLockPfn(Pfn);
    if ((Old.Long & MM_PTE_SHARED) != 0)
    {
        ULONG Kept = Protection == MI_KEEP_PROTECTION ? MiProtectionFromValidPte(Old) : Protection;

        New = MiIsSectionPrototype(Pfn->PteAddress) ? MiMakeLookupPte(Kept)
                                                    : MiMakePrototypePte(Pfn->PteAddress, Kept);
        Old = MiExchangePte(PointerPte, New);
        MiUnmapShared(Pfn);
        MiDecrementPageTableShare(PointerPte);
    }
    else
    {
        if (Protection != MI_KEEP_PROTECTION)
        {
            Pfn->OriginalPte.Soft.Protection = Protection & 31u;
        }
        New = MiMakeTransitionPte(Frame, (ULONG)Pfn->OriginalPte.Soft.Protection);
        Old = MiExchangePte(PointerPte, New);
        KiRequire(Pfn->u1.ShareCount == 1 && Pfn->PteAddress == PointerPte);
        MiWriteShareCount(Pfn, 0);
        Pfn->e1.PageLocation = TransitionPage;
    }
    MiUnlockPfn(Pfn);
    MiAddWorkingSetPages(Batch->Space, -1);
    Batch->Frames[Batch->Count] = Frame;
    Batch->Dirty[Batch->Count] = Old.Hard.Dirty;
    Batch->Front[Batch->Count] = Front;
    Batch->Count++;
    MiAddToFlushList(&Batch->Flush, Va, 1);
}

VOID MiEndTrimBatch(MI_TRIM_BATCH_LIST *Batch)
{
    MiFlushTb(&Batch->Flush);
    for (ULONG Index = 0; Index < Batch->Count; Index++)
    {
        PMMPFN Pfn = MiPfn(Batch->Frames[Index]);

        MiLockPfn(Pfn);
        if (Batch->Dirty[Index])
        {
            MiSetFrameModified(Pfn);
        }
        if (Batch->Front[Index] && Pfn->ReferenceCount == 1 && !Pfn->e1.Modified && !Pfn->e1.Deleted)
        {
            Pfn->ReferenceCount = 0;
            MiInsertStandbyAtFront(Pfn);
        }
        else
        {
            MiDecrementReferenceCount(Pfn);
        }
        MiUnlockPfn(Pfn);
    }
    Batch->Count = 0;
}

VOID MiSetFrameModified(PMMPFN Pfn)
{
    Pfn->e1.Modified = 1;
    MiNoteModified(Pfn);
    if (MiIsPagedOut(Pfn->OriginalPte))
    {
        MMPTE Slot = Pfn->OriginalPte;

        Pfn->OriginalPte.Soft.PageFileHigh = 0;
        Pfn->OriginalPte.Soft.PageFileLow = 0;
        MiReleasePageFileSpace(Slot);
    }
}

/* ---- Whole ranges -------------------------------------------------------------------------------------- */

typedef struct _MI_TRIM_RANGE
{
    PMI_ADDRESS_SPACE Space;
    BOOLEAN Front;
    SIZE_T Removed;
} MI_TRIM_RANGE;

static BOOLEAN MiTrimTable(PVOID Context, PMMPTE First, ULONG_PTR Va, ULONG Count)
{
    MI_TRIM_RANGE *Range = Context;
    PMMPFN Table = MiPtePage(First);
    MI_TRIM_BATCH_LIST Batch;
    ULONG Index = 0;

    MiBeginTrimBatch(&Batch, Range->Space);
    while (Index < Count)
    {
        KIRQL OldIrql = KiRaiseIrqlToDispatch();

        MiLockPageTable(Table);
        for (; Index < Count && !MiIsTrimBatchFull(&Batch); Index++)
        {
            MMPTE Pte = MiReadPte(&First[Index]);

            if (Pte.Hard.Valid && (Pte.Long & MM_PTE_STAYS) == 0)
            {
                MiTrimEntry(&Batch, &First[Index], Va + ((ULONG_PTR)Index << PAGE_SHIFT), MI_KEEP_PROTECTION,
                            Range->Front);
            }
        }
        Range->Removed += Batch.Count;
        MiEndTrimBatch(&Batch);
        MiUnlockPageTable(Table);
        KiLowerIrqlFromDispatch(OldIrql);
    }
    return TRUE;
}

SIZE_T MiTrimRange(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn, BOOLEAN Front)
{
    MI_TRIM_RANGE Range = { .Space = Space, .Front = Front };

    MiUpdatePeakWorkingSet(Space);
    MiVisitTables(Space, StartVpn, EndVpn, MiTrimTable, &Range);
    MiCountMany(PagesTrimmed, Range.Removed);
    return Range.Removed;
}

SIZE_T MiEmptyWorkingSet(PMI_ADDRESS_SPACE Space)
{
    MI_SPACE_SLOT *Slot = MiLockSpaceShared(Space);
    SIZE_T Removed = MiTrimRange(Space, Space->LowestVpn, Space->HighestVpn, FALSE);

    MiUnlockSpaceShared(Space, Slot);
    MiTrimPageTables(Space);
    return Removed;
}

static BOOLEAN MiEmptySessionWorkingSet(PMM_SESSION_SPACE Session, PVOID Context)
{
    UNREFERENCED_PARAMETER(Context);
    MiEmptyWorkingSet(&Session->Space);
    return TRUE;
}

VOID MiEmptyKernelWorkingSets(void)
{
    MiForEachSession(MiEmptySessionWorkingSet, NULL);
    MiEmptyWorkingSet(&MiState.Space->System);
}
