/* SPDX-License-Identifier: MIT */
/*
 * Page-table pages leave memory too, once nothing that they map is in memory (their entries all say "paging
 * file" or "demand zero"). The entry above becomes a transition like that of any page; how many entries are
 * used travels in OriginalPte. Only under the exclusive lock of the space, and only when the lock can be had
 * at once: nobody waits for this.
 */
#include "workingset/workingset.h"

/* Below this a space is left alone: it would need the tables again at its next fault. */
#define MI_TABLES_WORTH_TRIMMING 4u

typedef struct _MI_TABLE_TRIM
{
    PMI_ADDRESS_SPACE Space;
    MI_FLUSH_LIST Flush;
    ULONG Count;
    SIZE_T Total;
    PFN_NUMBER Frames[MI_TRIM_BATCH];
} MI_TABLE_TRIM;

/* After this no processor walks through the tables of the batch, and they go to the modified list. */
static VOID MiEndTableBatch(MI_TABLE_TRIM *Trim)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();

    MiFlushTb(&Trim->Flush);
    for (ULONG Index = 0; Index < Trim->Count; Index++)
    {
        PMMPFN Pfn = MiPfn(Trim->Frames[Index]);

        MiLockPfn(Pfn);
        MiDecrementReferenceCount(Pfn);
        MiUnlockPfn(Pfn);
    }
    KiLowerIrqlFromDispatch(OldIrql);
    Trim->Total += Trim->Count;
    Trim->Count = 0;
}

/* The table under Entry, if nothing in it is valid or in transition and nobody holds it. */
static VOID MiTrimTablePage(MI_TABLE_TRIM *Trim, PMMPTE Entry, ULONG_PTR Va)
{
    MMPTE Pte = MiReadPte(Entry);
    PMMPFN Pfn = MiPfn(Pte.Hard.PageFrameNumber);
    KIRQL OldIrql;

    if (__atomic_load_n(&Pfn->u1.ShareCount, __ATOMIC_ACQUIRE) != 1)
    {
        return;
    }
    OldIrql = KiRaiseIrqlToDispatch();
    MiLockPfn(Pfn);
    if (Pfn->ReferenceCount == 1)
    {
        Pfn->OriginalPte = MiMakeDemandZeroPte(MM_READWRITE);
        Pfn->OriginalPte.Soft.UsedPageTableEntries = Pfn->u1.UsedPageTableEntries & 1023u;
        MiWritePte(Entry, MiMakeTransitionPte(MiPfnFrame(Pfn), MM_READWRITE));
        Pfn->u1.InPage = NULL;
        Pfn->e1.Modified = 1;
        Pfn->e1.PageLocation = TransitionPage;
        Trim->Frames[Trim->Count++] = MiPfnFrame(Pfn);
        MiAddToFlushList(&Trim->Flush, Va, 1);
    }
    MiUnlockPfn(Pfn);
    KiLowerIrqlFromDispatch(OldIrql);
    if (Trim->Count == MI_TRIM_BATCH)
    {
        MiEndTableBatch(Trim);
    }
}

/* The tables below Table, whose entries are of Level (1: they map leaf tables). */
static VOID MiTrimTablesBelow(MI_TABLE_TRIM *Trim, PFN_NUMBER Table, ULONG Level, ULONG_PTR Va,
                              ULONG_PTR LastVa)
{
    ULONG_PTR End = Va | (MI_LEVEL_BYTES(Level + 1) - 1);

    End = End < LastVa ? End : LastVa;
    for (; Va <= End; Va = (Va | (MI_LEVEL_BYTES(Level) - 1)) + 1)
    {
        PMMPTE Entry = MiTableEntry(Table, Va, Level);
        MMPTE Pte = MiReadPte(Entry);

        if ((Pte.Long & (MM_PTE_VALID | MM_PTE_LARGE_PAGE)) != MM_PTE_VALID)
        {
            continue;
        }
        if (Level > 1)
        {
            MiTrimTablesBelow(Trim, Pte.Hard.PageFrameNumber, Level - 1, Va, LastVa);
        }
        /* What stands below the entries that spaces share by copying stays. */
        if (Level < MI_TOP_LEVEL || !Trim->Space->Kernel)
        {
            MiTrimTablePage(Trim, Entry, Va);
        }
    }
}

SIZE_T MiTrimPageTables(PMI_ADDRESS_SPACE Space)
{
    MI_TABLE_TRIM Trim = { .Space = Space };

    if (Space->System ||
        __atomic_load_n(&Space->PageTablePages, __ATOMIC_RELAXED) < MI_TABLES_WORTH_TRIMMING ||
        !MiTryLockSpaceExclusive(Space))
    {
        return 0;
    }
    MiInitializeFlushList(&Trim.Flush, Space->TopLevel);
    MiTrimTablesBelow(&Trim, Space->TopLevel, MI_TOP_LEVEL, Space->LowestVpn << PAGE_SHIFT,
                      (Space->HighestVpn << PAGE_SHIFT) | (PAGE_SIZE - 1));
    MiEndTableBatch(&Trim);
    MiUnlockSpaceExclusive(Space);
    MiCountMany(PageTablePagesTrimmed, Trim.Total);
    return Trim.Total;
}
