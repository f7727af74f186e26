/* SPDX-License-Identifier: MIT */
/*
 * The allocator of system PTEs: one bitmap, first fit from the lowest free entry, so that few leaf tables serve many mappings. The
 * region's upper tables are made at boot, because they hang on a page that the whole system window shares; its leaf tables come
 * when a run is reserved in them and go when MiTrimSystemPtes finds nothing reserved below. Leaf tables are this room's alone:
 * they change under its lock, hold no counts of entries (the bitmap is the count) and are never trimmed.
 */
#include "translation/systemptes.h"

#define MI_GIGABYTE           (1ull << 30)
#define MI_PTES_PER_GIGABYTE  (MI_PTES_PER_PAGE * MI_PTES_PER_PAGE)
#define MI_MAXIMUM_GIGABYTES  64u
#define MI_SYSTEM_PTE_LEVEL_1 1u
#define MI_ANY_PHASE          (~0u)

KIRQL MiLockSystemPtes(MI_SYSTEM_PTES *Ptes)
{
    KIRQL OldIrql = KiAcquireSpinLock(&Ptes->Lock);

    KiNoteLockAcquired(&Ptes->Lock, KiLockSystemPtes, FALSE);
    return OldIrql;
}

VOID MiUnlockSystemPtes(MI_SYSTEM_PTES *Ptes, KIRQL OldIrql)
{
    KiNoteLockReleased(&Ptes->Lock);
    KiReleaseSpinLock(&Ptes->Lock, OldIrql);
}

/* The structure, its bitmap, and a frame number for each leaf table. */
static SIZE_T MiSystemPtesBytes(ULONG Count)
{
    return sizeof(MI_SYSTEM_PTES) + Count / 8 + Count / MI_PTES_PER_PAGE * sizeof(ULONG);
}

static ULONG_PTR MiAddressOfIndex(const MI_SYSTEM_PTES *Ptes, ULONG Index)
{
    return Ptes->Base + ((ULONG_PTR)Index << PAGE_SHIFT);
}

PMMPTE MiSystemTableEntry(ULONG_PTR Va)
{
    PFN_NUMBER Table = MiState.Translation->SystemTopLevel;

    for (ULONG Level = MI_TOP_LEVEL; Level > MI_SYSTEM_PTE_LEVEL_1; Level--)
    {
        MMPTE Pte = MiReadPte(MiTableEntry(Table, Va, Level));

        KiRequire(Pte.Hard.Valid);
        Table = Pte.Hard.PageFrameNumber;
    }
    return MiTableEntry(Table, Va, MI_SYSTEM_PTE_LEVEL_1);
}

static VOID MiFlushSystemRange(ULONG_PTR Va, SIZE_T Pages)
{
    MI_FLUSH_LIST Flush;

    MiInitializeFlushList(&Flush, 0);
    MiAddToFlushList(&Flush, Va, Pages);
    MiFlushTb(&Flush);
}

/* As many frames as a large page has, one after the other. */
static BOOLEAN MiAreConsecutive(const PFN_NUMBER *Frames)
{
    SIZE_T Count = 1;

    if (Frames[MI_PTES_PER_PAGE - 1] != Frames[0] + MI_PTES_PER_PAGE - 1)
    {
        return FALSE;
    }
    while (Count < MI_PTES_PER_PAGE && Frames[Count] == Frames[0] + Count)
    {
        Count++;
    }
    return Count == MI_PTES_PER_PAGE;
}

/* ---- Boot ---------------------------------------------------------------------------------------------------------- */

/* Four entries for each page of RAM, in whole gigabytes: each costs one page of level 1, held by an extra used entry. */
NTSTATUS MiInitializeSystemPtes(void)
{
    ULONG64 Wanted = (ULONG64)MiState.Physical->NumberOfPages * 4;
    ULONG Gigabytes = (ULONG)((Wanted + MI_PTES_PER_GIGABYTE - 1) / MI_PTES_PER_GIGABYTE);
    PFN_NUMBER TopLevel = MiState.Translation->SystemTopLevel;
    MI_SYSTEM_PTES *Ptes;
    ULONG Count;

    Gigabytes = Gigabytes < MI_MAXIMUM_GIGABYTES ? Gigabytes : MI_MAXIMUM_GIGABYTES;
    Count = Gigabytes * MI_PTES_PER_GIGABYTE;
    Ptes = PortAllocateBootMemory(MiSystemPtesBytes(Count));
    if (Ptes == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    MiState.Translation->SystemPtes = Ptes;
    Ptes->Base = (ULONG_PTR)PORT_SYSTEM_END + 1 - Gigabytes * MI_GIGABYTE;
    Ptes->Count = Count;
    RtlInitializeBitMap(&Ptes->Bitmap, Ptes->Bits, Count);
    Ptes->SparedTables = Ptes->Bits + Count / 32;
    for (ULONG_PTR Va = Ptes->Base; Va - 1 < PORT_SYSTEM_END; Va += MI_GIGABYTE)
    {
        MMPTE Upper = MiReadPte(MiTableEntry(TopLevel, Va, MI_TOP_LEVEL));
        PMMPTE Entry = MiTableEntry(Upper.Hard.PageFrameNumber, Va, MI_SYSTEM_PTE_LEVEL_1 + 1);
        PFN_NUMBER Frame = MiAllocateBootTable();

        if (Frame == 0)
        {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        MiLinkPageTable(Entry, Frame, FALSE);
        MiAddUsedEntries(PortDirectMap(Frame), 1);
    }
    return STATUS_SUCCESS;
}

VOID MiShutdownSystemPtes(void)
{
    MI_SYSTEM_PTES *Ptes = MiState.Translation->SystemPtes;
    PFN_NUMBER TopLevel = MiState.Translation->SystemTopLevel;

    if (Ptes == NULL)
    {
        return;
    }
    if (Ptes->Used != 0)
    {
        KiBugCheckMessage(SYSTEM_PTE_MISUSE, 0x02, (ULONG_PTR)Ptes, 0, Ptes->Used,
                          "the machine ends with %u system PTEs reserved", Ptes->Used);
    }
    MiTrimSystemPtes();
    for (ULONG_PTR Va = Ptes->Base; Va - 1 < PORT_SYSTEM_END; Va += MI_GIGABYTE)
    {
        MMPTE Upper = MiReadPte(MiTableEntry(TopLevel, Va, MI_TOP_LEVEL));
        MMPTE Table = MiReadPte(MiTableEntry(Upper.Hard.PageFrameNumber, Va, MI_SYSTEM_PTE_LEVEL_1 + 1));

        if (Table.Hard.Valid)
        {
            MiAddUsedEntries(PortDirectMap(Table.Hard.PageFrameNumber), -1);
            MiDeleteEmptyPageTables(TopLevel, PortDirectMap(Table.Hard.PageFrameNumber), Va);
        }
    }
    MiState.Translation->SystemPtes = NULL;
    PortFreeBootMemory(Ptes, MiSystemPtesBytes(Ptes->Count));
}

/* ---- Asking ------------------------------------------------------------------------------------------------------------ */

ULONG_PTR MiSystemPteBase(void)
{
    return MiState.Translation->SystemPtes->Base;
}

BOOLEAN MiIsSystemPteAddress(ULONG_PTR Va)
{
    return Va >= MiState.Translation->SystemPtes->Base && Va <= PORT_SYSTEM_END;
}

ULONG MiSystemPtesInUse(void)
{
    return __atomic_load_n(&MiState.Translation->SystemPtes->Used, __ATOMIC_RELAXED);
}

ULONG MiSystemPtesTotal(void)
{
    return MiState.Translation->SystemPtes->Count;
}

ULONG MiSystemLargePages(void)
{
    return __atomic_load_n(&MiState.Translation->SystemPtes->LargePages, __ATOMIC_RELAXED);
}

PMMPTE MiSystemPte(ULONG_PTR Va)
{
    MMPTE Table = MiReadPte(MiSystemTableEntry(Va));

    if (MiIsLargePte(Table))
    {
        MiSplitLargePage(Va);
        Table = MiReadPte(MiSystemTableEntry(Va));
    }
    KiRequire(Table.Hard.Valid && !Table.Hard.LargePage);
    return MiTableEntry(Table.Hard.PageFrameNumber, Va, 0);
}

MMPTE MiReadSystemPte(ULONG_PTR Va)
{
    return MiReadLeafPte(MiState.Translation->SystemTopLevel, Va);
}

BOOLEAN MiAreSystemPtesReserved(ULONG_PTR Va, SIZE_T Pages)
{
    MI_SYSTEM_PTES *Ptes = MiState.Translation->SystemPtes;
    ULONG_PTR Index;
    KIRQL OldIrql;
    BOOLEAN Reserved;

    if (!MiIsSystemPteAddress(Va) || Pages == 0)
    {
        return FALSE;
    }
    Index = (Va - Ptes->Base) >> PAGE_SHIFT;
    if (Pages > Ptes->Count - Index)
    {
        return FALSE;
    }
    OldIrql = MiLockSystemPtes(Ptes);
    Reserved = RtlAreBitsSet(&Ptes->Bitmap, (ULONG)Index, (ULONG)Pages);
    MiUnlockSystemPtes(Ptes, OldIrql);
    return Reserved;
}

/* ---- Reserving ----------------------------------------------------------------------------------------------------------- */

/* A leaf table for the zero entry. FALSE: no frame, or nothing may be charged any more. Locked. */
static BOOLEAN MiMakeLeafTable(MI_SYSTEM_PTES *Ptes, PMMPTE Entry)
{
    PFN_NUMBER Frame;

    if (!MiChargeCommitment(1, MI_COMMIT_NO_EXTEND))
    {
        return FALSE;
    }
    if (!MiChargeResidentAvailable(1))
    {
        MiReturnCommitment(1);
        return FALSE;
    }
    Frame = MiAllocatePage(MI_PAGE_ZEROED);
    if (Frame == 0)
    {
        MiReturnResidentAvailable(1);
        MiReturnCommitment(1);
        return FALSE;
    }
    MiLinkPageTable(Entry, Frame, FALSE);
    Ptes->LeafTables++;
    return TRUE;
}

static BOOLEAN MiMakeLeafTables(MI_SYSTEM_PTES *Ptes, ULONG Index, ULONG Pages)
{
    ULONG_PTR Va = MiAddressOfIndex(Ptes, Index) & ~(MI_LEVEL_BYTES(1) - 1);
    ULONG_PTR End = MiAddressOfIndex(Ptes, Index) + ((ULONG_PTR)Pages << PAGE_SHIFT);

    for (; Va < End; Va += MI_LEVEL_BYTES(1))
    {
        PMMPTE Entry = MiSystemTableEntry(Va);

        if (!MiReadPte(Entry).Hard.Valid && !MiMakeLeafTable(Ptes, Entry))
        {
            return FALSE;
        }
    }
    return TRUE;
}

/* Entries for a run, set in the bitmap; entry number Phase of it on a border of 2 MiB where that can be had. Locked. */
static ULONG MiFindSystemPtes(MI_SYSTEM_PTES *Ptes, ULONG Pages, ULONG Phase)
{
    if (Phase != MI_ANY_PHASE && Pages <= Ptes->Count - MI_PTES_PER_PAGE)
    {
        ULONG Index = RtlFindClearBits(&Ptes->Bitmap, Pages + MI_PTES_PER_PAGE - 1, Ptes->Hint);

        if (Index != RTL_BITMAP_NOT_FOUND)
        {
            Index += (0u - (Index + Phase)) % MI_PTES_PER_PAGE;
            RtlSetBits(&Ptes->Bitmap, Index, Pages);
            return Index;
        }
    }
    return RtlFindClearBitsAndSet(&Ptes->Bitmap, Pages, Ptes->Hint);
}

/* 0: no run of so many is free, or a leaf table is missing. */
static ULONG_PTR MiTryReserveInPhase(SIZE_T Pages, ULONG Phase)
{
    MI_SYSTEM_PTES *Ptes = MiState.Translation->SystemPtes;
    ULONG_PTR Va = 0;
    ULONG Index;
    KIRQL OldIrql;

    if (Pages == 0 || Pages > Ptes->Count)
    {
        return 0;
    }
    OldIrql = MiLockSystemPtes(Ptes);
    Index = MiFindSystemPtes(Ptes, (ULONG)Pages, Phase);
    if (Index != RTL_BITMAP_NOT_FOUND)
    {
        if (MiMakeLeafTables(Ptes, Index, (ULONG)Pages))
        {
            Va = MiAddressOfIndex(Ptes, Index);
            __atomic_store_n(&Ptes->Used, Ptes->Used + (ULONG)Pages, __ATOMIC_RELAXED);
            Ptes->Hint = Index == Ptes->Hint ? Index + (ULONG)Pages : Ptes->Hint;
        }
        else
        {
            RtlClearBits(&Ptes->Bitmap, Index, (ULONG)Pages);
        }
    }
    MiUnlockSystemPtes(Ptes, OldIrql);
    return Va;
}

static ULONG_PTR MiReserveInPhase(SIZE_T Pages, ULONG Phase)
{
    ULONG_PTR Va = MiTryReserveInPhase(Pages, Phase);

    /* Leaf tables are charged with a lock held. Who may wait makes paging files grow for them now. */
    while (Va == 0 && KeGetCurrentIrql() <= APC_LEVEL && MiMakeCommitRoom(Pages / MI_PTES_PER_PAGE + 2))
    {
        Va = MiTryReserveInPhase(Pages, Phase);
    }
    return Va;
}

ULONG_PTR MiReserveSystemPtes(SIZE_T Pages)
{
    return MiReserveInPhase(Pages, MI_ANY_PHASE);
}

ULONG_PTR MiReserveSystemPtesForRun(PFN_NUMBER Frame, SIZE_T Pages)
{
    ULONG Phase = (0u - (ULONG)Frame) % MI_PTES_PER_PAGE;

    return MiReserveInPhase(Pages, Pages >= Phase + MI_PTES_PER_PAGE ? Phase : MI_ANY_PHASE);
}

ULONG_PTR MiReserveSystemPtesForFrames(const PFN_NUMBER *Frames, SIZE_T Pages)
{
    for (SIZE_T Index = 0; Index + MI_PTES_PER_PAGE <= Pages; Index++)
    {
        if (Frames[Index] % MI_PTES_PER_PAGE == 0 && MiAreConsecutive(Frames + Index))
        {
            return MiReserveInPhase(Pages, (ULONG)Index % MI_PTES_PER_PAGE);
        }
    }
    return MiReserveInPhase(Pages, MI_ANY_PHASE);
}

VOID MiReleaseSystemPtes(ULONG_PTR Va, SIZE_T Pages)
{
    MI_SYSTEM_PTES *Ptes = MiState.Translation->SystemPtes;
    ULONG Index = (ULONG)((Va - Ptes->Base) >> PAGE_SHIFT);
    KIRQL OldIrql = MiLockSystemPtes(Ptes);

    if (!RtlAreBitsSet(&Ptes->Bitmap, Index, (ULONG)Pages))
    {
        KiBugCheckMessage(SYSTEM_PTE_MISUSE, 0x09, Va, Pages, 0,
                          "%llu system PTEs at %p are given back, but not all of them are reserved",
                          (ULONG64)Pages, (PVOID)Va);
    }
    RtlClearBits(&Ptes->Bitmap, Index, (ULONG)Pages);
    Ptes->Hint = Index < Ptes->Hint ? Index : Ptes->Hint;
    __atomic_store_n(&Ptes->Used, Ptes->Used - (ULONG)Pages, __ATOMIC_RELAXED);
    MiUnlockSystemPtes(Ptes, OldIrql);
}

ULONG MiTrimSystemPtes(void)
{
    MI_SYSTEM_PTES *Ptes = MiState.Translation->SystemPtes;
    KIRQL OldIrql = MiLockSystemPtes(Ptes);
    ULONG Trimmed = 0;

    for (ULONG Index = 0; Index < Ptes->Count && Ptes->LeafTables != 0; Index += MI_PTES_PER_PAGE)
    {
        ULONG_PTR Va = MiAddressOfIndex(Ptes, Index);
        MMPTE Table = MiReadPte(MiSystemTableEntry(Va));

        if (Table.Hard.Valid && RtlAreBitsClear(&Ptes->Bitmap, Index, MI_PTES_PER_PAGE))
        {
            MiDeleteEmptyPageTables(MiState.Translation->SystemTopLevel,
                                    PortDirectMap(Table.Hard.PageFrameNumber), Va);
            Ptes->LeafTables--;
            Trimmed++;
        }
    }
    MiUnlockSystemPtes(Ptes, OldIrql);
    MiReturnResidentAvailable(Trimmed);
    if (Trimmed != 0)
    {
        MiReturnCommitment(Trimmed);
    }
    return Trimmed;
}

/* ---- Mapping -------------------------------------------------------------------------------------------------------------- */

/* Writes the entries; Frames, or where it is NULL the run from Frame on. */
static VOID MiWriteSystemPtes(ULONG_PTR Va, const PFN_NUMBER *Frames, PFN_NUMBER Frame, SIZE_T Pages,
                              MMPTE Template)
{
    PMMPTE PointerPte = NULL;
    BOOLEAN Large = FALSE;

    for (SIZE_T Index = 0; Index < Pages;)
    {
        ULONG_PTR Page = Va + (Index << PAGE_SHIFT);
        PFN_NUMBER This = Frames != NULL ? Frames[Index] : Frame + Index;

        if (MI_PTE_INDEX(Page, 0) == 0 && Pages - Index >= MI_PTES_PER_PAGE && This % MI_PTES_PER_PAGE == 0 &&
            (Frames == NULL || MiAreConsecutive(Frames + Index)))
        {
            MiMapLargePage(Page, This, Template);
            Large = TRUE;
            PointerPte = NULL;
            Index += MI_PTES_PER_PAGE;
            continue;
        }
        PointerPte = PointerPte == NULL || MI_PTE_INDEX(Page, 0) == 0 ? MiSystemPte(Page) : PointerPte + 1;
        ASSERT(MiReadPte(PointerPte).Long == 0);
        MiWritePte(PointerPte, (MMPTE){ .Long = Template.Long | ((ULONG64)This << MM_PTE_FRAME_SHIFT) });
        Index++;
    }
    if (Large)
    {
        /* Processors may have kept the upper entries that led to the leaf tables. */
        MiFlushSystemRange(Va, Pages);
    }
    PortFillTb(0, Va, Pages, (Template.Long & MM_PTE_DIRTY1) != 0);
}

VOID MiMapSystemPtes(ULONG_PTR Va, const PFN_NUMBER *Frames, SIZE_T Pages, MMPTE Template)
{
    MiWriteSystemPtes(Va, Frames, 0, Pages, Template);
}

VOID MiMapSystemRun(ULONG_PTR Va, PFN_NUMBER Frame, SIZE_T Pages, MMPTE Template)
{
    MiWriteSystemPtes(Va, NULL, Frame, Pages, Template);
}

VOID MiUnmapSystemPtes(ULONG_PTR Va, SIZE_T Pages)
{
    MMPTE Zero = { .Long = 0 };
    PMMPTE PointerPte = NULL;

    for (SIZE_T Index = 0; Index < Pages;)
    {
        ULONG_PTR Page = Va + (Index << PAGE_SHIFT);

        if (MI_PTE_INDEX(Page, 0) == 0 && Pages - Index >= MI_PTES_PER_PAGE && MiUnmapLargePage(Page))
        {
            PointerPte = NULL;
            Index += MI_PTES_PER_PAGE;
            continue;
        }
        PointerPte = PointerPte == NULL || MI_PTE_INDEX(Page, 0) == 0 ? MiSystemPte(Page) : PointerPte + 1;
        MiWritePte(PointerPte, Zero);
        Index++;
    }
    MiFlushSystemRange(Va, Pages);
}
