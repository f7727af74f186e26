/* SPDX-License-Identifier: MIT */
/*
 * Large pages among the system PTEs: entries of level 1 that map 2 MiB themselves. The leaf table that such an entry takes the place of is kept,
 * empty, beside it; so a large page can be split or unmapped at any time without needing memory, at any IRQL up to DISPATCH_LEVEL.
 */
#include "translation/systemptes.h"

static PULONG MiSparedTable(MI_SYSTEM_PTES *Ptes, ULONG_PTR Va)
{
    return &Ptes->SparedTables[(Va - Ptes->Base) / MI_LEVEL_BYTES(1)];
}

/* A table that stands aside has no entry that leads to it. */
static VOID MiSetTableParent(PFN_NUMBER Table, PMMPTE Parent)
{
    PMMPFN Pfn = MiPfn(Table);

    MiLockPfn(Pfn);
    Pfn->PteAddress = Parent;
    MiUnlockPfn(Pfn);
}

static VOID MiCountLargePages(MI_SYSTEM_PTES *Ptes, LONG Change)
{
    __atomic_store_n(&Ptes->LargePages, Ptes->LargePages + (ULONG)Change, __ATOMIC_RELAXED);
}

VOID MiMapLargePage(ULONG_PTR Va, PFN_NUMBER Frame, MMPTE Template)
{
    MI_SYSTEM_PTES *Ptes = MiState.Translation->SystemPtes;
    PMMPTE Entry = MiSystemTableEntry(Va);
    KIRQL OldIrql = MiLockSystemPtes(Ptes);
    MMPTE Table = MiReadPte(Entry);

    ASSERT(MI_PTE_INDEX(Va, 0) == 0 && Frame % MI_PTES_PER_PAGE == 0);
    KiRequire(Table.Hard.Valid && !Table.Hard.LargePage);
    *MiSparedTable(Ptes, Va) = (ULONG)Table.Hard.PageFrameNumber;
    MiSetTableParent(Table.Hard.PageFrameNumber, NULL);
    MiCountLargePages(Ptes, 1);
    MiWritePte(Entry,
               (MMPTE){ .Long = Template.Long | MM_PTE_LARGE_PAGE | ((ULONG64)Frame << MM_PTE_FRAME_SHIFT) });
    MiUnlockSystemPtes(Ptes, OldIrql);
}

/* The table that stands aside takes the large page's place, as it is. Locked. */
static VOID MiPutTableBack(MI_SYSTEM_PTES *Ptes, ULONG_PTR Va, PMMPTE Entry)
{
    PFN_NUMBER Table = *MiSparedTable(Ptes, Va);

    *MiSparedTable(Ptes, Va) = 0;
    MiSetTableParent(Table, Entry);
    MiCountLargePages(Ptes, -1);
    MiWritePte(Entry, MiMakeTablePte(Table, FALSE));
}

BOOLEAN MiUnmapLargePage(ULONG_PTR Va)
{
    MI_SYSTEM_PTES *Ptes = MiState.Translation->SystemPtes;
    PMMPTE Entry = MiSystemTableEntry(Va);
    BOOLEAN Large;
    KIRQL OldIrql;

    if (!MiIsLargePte(MiReadPte(Entry)))
    {
        return FALSE;
    }
    OldIrql = MiLockSystemPtes(Ptes);
    Large = MiIsLargePte(MiReadPte(Entry));
    if (Large)
    {
        MiPutTableBack(Ptes, Va, Entry);
    }
    MiUnlockSystemPtes(Ptes, OldIrql);
    return Large;
}

VOID MiSplitLargePage(ULONG_PTR Va)
{
    MI_SYSTEM_PTES *Ptes = MiState.Translation->SystemPtes;
    ULONG_PTR Start = Va & ~(MI_LEVEL_BYTES(1) - 1);
    PMMPTE Entry = MiSystemTableEntry(Va);
    KIRQL OldIrql = MiLockSystemPtes(Ptes);
    MMPTE Large = MiReadPte(Entry);
    BOOLEAN Split = MiIsLargePte(Large); /* nobody was faster */

    if (Split)
    {
        PMMPTE First = PortDirectMap(*MiSparedTable(Ptes, Va));

        for (ULONG Index = 0; Index < MI_PTES_PER_PAGE; Index++)
        {
            MiWritePte(&First[Index], MiSmallPteOf(Large, Start + ((ULONG_PTR)Index << PAGE_SHIFT)));
        }
        MiPutTableBack(Ptes, Va, Entry);
    }
    MiUnlockSystemPtes(Ptes, OldIrql);
    if (Split)
    {
        MI_FLUSH_LIST Flush;

        MiInitializeFlushList(&Flush, 0);
        MiAddToFlushList(&Flush, Start, MI_PTES_PER_PAGE);
        MiFlushTb(&Flush);
    }
}

BOOLEAN MiIsLargePageAt(ULONG_PTR Va)
{
    return MI_PTE_INDEX(Va, 0) == 0 && MiIsLargePte(MiReadPte(MiSystemTableEntry(Va)));
}

VOID MiChangeLargePage(ULONG_PTR Va, MMPTE Pte)
{
    MI_SYSTEM_PTES *Ptes = MiState.Translation->SystemPtes;
    PMMPTE Entry = MiSystemTableEntry(Va);
    KIRQL OldIrql = MiLockSystemPtes(Ptes);

    KiRequire(MiIsLargePte(MiReadPte(Entry)));
    MiWritePte(Entry, (MMPTE){ .Long = Pte.Long | MM_PTE_LARGE_PAGE });
    MiUnlockSystemPtes(Ptes, OldIrql);
}

/* ---- Invariants ---------------------------------------------------------------------------------------------------------- */

static VOID MiReportSystemPtes(ULONG_PTR Va, ULONG64 Found, ULONG64 Expected, PCSTR What)
{
    KiBugCheckMessage(SYSTEM_PTE_MISUSE, 0x10A, Va, (ULONG_PTR)Found, (ULONG_PTR)Expected,
                      "system PTEs at %p: %s: %llx, not %llx", (PVOID)Va, What, Found, Expected);
}

/* Entries that nobody reserved are zero; all are while the table stands aside. */
static VOID MiCheckLeafTable(const MI_SYSTEM_PTES *Ptes, ULONG_PTR Va, PFN_NUMBER Table, BOOLEAN Spared)
{
    const volatile MMPTE *First = PortDirectMap(Table);
    ULONG Base = (ULONG)((Va - Ptes->Base) >> PAGE_SHIFT);

    for (ULONG Index = 0; Index < MI_PTES_PER_PAGE; Index++)
    {
        MMPTE Pte = MiReadPte(&First[Index]);

        if (Pte.Long != 0 && (Spared || !RtlCheckBit(&Ptes->Bitmap, Base + Index)))
        {
            MiReportSystemPtes(Va + ((ULONG_PTR)Index << PAGE_SHIFT), Pte.Long, 0,
                               "an entry that nobody reserved, or whose table stands aside, is used");
        }
    }
}

static VOID MiCheckLargePage(MI_SYSTEM_PTES *Ptes, ULONG_PTR Va, MMPTE Large, PFN_NUMBER Spared)
{
    if (Spared == 0 || MiPfn(Spared)->PteAddress != NULL || !MiReadPfnEntry(MiPfn(Spared)).PageTable)
    {
        MiReportSystemPtes(Va, Spared, Large.Long, "a large page has no table for its end");
    }
    if (Large.Hard.PageFrameNumber % MI_PTES_PER_PAGE != 0)
    {
        MiReportSystemPtes(Va, Large.Long, 0, "a large page is not aligned");
    }
    if (!RtlAreBitsSet(&Ptes->Bitmap, (ULONG)((Va - Ptes->Base) >> PAGE_SHIFT), MI_PTES_PER_PAGE))
    {
        MiReportSystemPtes(Va, Large.Long, 0, "a large page that nobody reserved");
    }
}

VOID MiCheckSystemPtes(ULONG Level)
{
    MI_SYSTEM_PTES *Ptes = MiState.Translation->SystemPtes;
    KIRQL OldIrql = MiLockSystemPtes(Ptes);
    ULONG Tables = 0;
    ULONG Large = 0;

    for (ULONG_PTR Va = Ptes->Base; Va - 1 < PORT_SYSTEM_END; Va += MI_LEVEL_BYTES(1))
    {
        MMPTE Pte = MiReadPte(MiSystemTableEntry(Va));
        PFN_NUMBER Spared = *MiSparedTable(Ptes, Va);
        BOOLEAN IsLarge = MiIsLargePte(Pte);

        if (IsLarge)
        {
            MiCheckLargePage(Ptes, Va, Pte, Spared);
        }
        else if (Spared != 0)
        {
            MiReportSystemPtes(Va, Spared, 0, "a table stands aside for no large page");
        }
        Tables += Pte.Hard.Valid;
        Large += IsLarge;
        if (Level >= 3 && Pte.Hard.Valid)
        {
            MiCheckLeafTable(Ptes, Va, IsLarge ? Spared : Pte.Hard.PageFrameNumber, IsLarge);
        }
    }
    if (Tables != Ptes->LeafTables || Large != Ptes->LargePages)
    {
        MiReportSystemPtes(Ptes->Base, ((ULONG64)Tables << 32) + Large,
                           ((ULONG64)Ptes->LeafTables << 32) + Ptes->LargePages, "tables and large pages");
    }
    MiUnlockSystemPtes(Ptes, OldIrql);
}
