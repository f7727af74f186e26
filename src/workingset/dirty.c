/* SPDX-License-Identifier: MIT */
/*
 * Dirty bits of views: what a processor noted in an entry is told to the frame, so that somebody who flushes a file knows of it. The entry
 * loses its dirty bit first, then the TB its copy of it, and only then the frame becomes modified: a write before the TB is flushed is
 * covered by that mark, one after it makes the entry dirty again.
 */
#include "workingset/walk.h"

typedef struct _MI_DIRTY_BATCH
{
    PMI_ADDRESS_SPACE Space;
    MI_FLUSH_LIST Flush;
    ULONG Count;
    PFN_NUMBER Frames[MI_TRIM_BATCH];
    SIZE_T Found;
} MI_DIRTY_BATCH;

static VOID MiEndDirtyBatch(MI_DIRTY_BATCH *Batch)
{
    MiFlushTb(&Batch->Flush);
    for (ULONG Index = 0; Index < Batch->Count; Index++)
    {
        PMMPFN Pfn = MiPfn(Batch->Frames[Index]);

        MiLockPfn(Pfn);
        MiSetFrameModified(Pfn);
        MiDecrementReferenceCount(Pfn);
        MiUnlockPfn(Pfn);
    }
    Batch->Found += Batch->Count;
    Batch->Count = 0;
}

static VOID MiTakeDirtyBit(MI_DIRTY_BATCH *Batch, PMMPTE PointerPte, MMPTE Pte, ULONG_PTR Va)
{
    PMMPFN Pfn = MiPfn(Pte.Hard.PageFrameNumber);

    MiLockPfn(Pfn);
    MiIncrementReferenceCount(Pfn);
    MiUnlockPfn(Pfn);
    __atomic_fetch_and(&PointerPte->Long, ~MM_PTE_DIRTY, __ATOMIC_ACQ_REL);
    Batch->Frames[Batch->Count++] = MiPfnFrame(Pfn);
    MiAddToFlushList(&Batch->Flush, Va, 1);
}

static BOOLEAN MiCollectFromTable(PVOID Context, PMMPTE First, ULONG_PTR Va, ULONG Count)
{
    MI_DIRTY_BATCH *Batch = Context;
    PMMPFN Table = MiPtePage(First);
    ULONG Index = 0;

    while (Index < Count)
    {
        KIRQL OldIrql = KiRaiseIrqlToDispatch();

        MiLockPageTable(Table);
        for (; Index < Count && Batch->Count < MI_TRIM_BATCH; Index++)
        {
            MMPTE Pte = MiReadPte(&First[Index]);

            if ((Pte.Long & (MM_PTE_VALID | MM_PTE_SHARED | MM_PTE_DIRTY)) ==
                (MM_PTE_VALID | MM_PTE_SHARED | MM_PTE_DIRTY))
            {
                MiTakeDirtyBit(Batch, &First[Index], Pte, Va + ((ULONG_PTR)Index << PAGE_SHIFT));
            }
        }
        MiEndDirtyBatch(Batch);
        MiUnlockPageTable(Table);
        KiLowerIrqlFromDispatch(OldIrql);
    }
    return TRUE;
}

SIZE_T MiCollectDirtyBits(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    MI_DIRTY_BATCH Batch = { .Space = Space };

    MiInitializeFlushList(&Batch.Flush, Space->System ? 0 : Space->TopLevel);
    MiVisitTables(Space, StartVpn, EndVpn, MiCollectFromTable, &Batch);
    return Batch.Found;
}

static BOOLEAN MiMarkTable(PVOID Context, PMMPTE First, ULONG_PTR Va, ULONG Count)
{
    PMMPFN Table = MiPtePage(First);
    KIRQL OldIrql = KiRaiseIrqlToDispatch();

    UNREFERENCED_PARAMETER(Va);
    MiLockPageTable(Table);
    for (ULONG Index = 0; Index < Count; Index++)
    {
        MMPTE Pte = MiReadPte(&First[Index]);

        if ((Pte.Long & (MM_PTE_VALID | MM_PTE_SHARED)) == (MM_PTE_VALID | MM_PTE_SHARED))
        {
            PMMPFN Pfn = MiPfn(Pte.Hard.PageFrameNumber);

            MiLockPfn(Pfn);
            MiSetFrameModified(Pfn);
            MiUnlockPfn(Pfn);
            *(PSIZE_T)Context += 1;
        }
    }
    MiUnlockPageTable(Table);
    KiLowerIrqlFromDispatch(OldIrql);
    return TRUE;
}

SIZE_T MiMarkModified(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    SIZE_T Marked = 0;

    MiVisitTables(Space, StartVpn, EndVpn, MiMarkTable, &Marked);
    return Marked;
}
