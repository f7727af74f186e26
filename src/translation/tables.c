/* SPDX-License-Identifier: MIT */
/* Page-table pages: linking them into the tree, taking empty ones out, and the top level of a space. */
#include "translation/systemptes.h"

VOID MiLinkPageTable(PMMPTE Parent, PFN_NUMBER Frame, BOOLEAN User)
{
    PMMPFN Pfn = MiPfn(Frame);
    MMPFNENTRY Entry;

    MiWriteShareCount(Pfn, 1);
    Pfn->u1.UsedPageTableEntries = 0;
    Pfn->PteAddress = Parent;
    Pfn->OriginalPte = MiMakeDemandZeroPte(MM_READWRITE);
    MiMarkPageTable(Pfn);
    Entry = MiReadPfnEntry(Pfn);
    Entry.Modified = 1; /* its contents are what the kernel wrote: there is no other copy */
    MiWritePfnEntry(Pfn, Entry);
    MiIncrementPageTableShare(Parent);
    MiAddUsedEntries(Parent, 1);
    MiWritePte(Parent, MiMakeTablePte(Frame, User));
}

/*
 * Nobody owns the page any more. It goes with its last reference: it may be in a write that began before it came back into memory, or
 * be held by the fault that read it in and found that it is not needed any more.
 */
static VOID MiReleaseTablePage(PFN_NUMBER Frame)
{
    PMMPFN Pfn = MiPfn(Frame);
    KIRQL OldIrql = KiRaiseIrqlToDispatch();

    MiLockPfn(Pfn);
    KiRequire(!MiIsPagedOut(Pfn->OriginalPte));
    Pfn->u1.InPage = NULL;
    Pfn->PteAddress = NULL;
    Pfn->OriginalPte.Long = 0;
    Pfn->e1.PageLocation = TransitionPage;
    Pfn->e1.PageTable = 0;
    Pfn->e1.Modified = 0;
    Pfn->e1.Deleted = 1;
    MiDecrementReferenceCount(Pfn);
    MiUnlockPfn(Pfn);
    KiLowerIrqlFromDispatch(OldIrql);
}

ULONG MiDeleteEmptyPageTables(PFN_NUMBER TopLevel, PMMPTE PointerPte, ULONG_PTR Va)
{
    PMMPFN Page = MiPtePage(PointerPte);
    MI_FLUSH_LIST Flush;
    PFN_NUMBER Empty[MI_TOP_LEVEL];
    ULONG Count = 0;

    while (MiPfnFrame(Page) != TopLevel && Page->u1.UsedPageTableEntries == 0)
    {
        PMMPTE Parent = Page->PteAddress;
        MMPTE Zero = { .Long = 0 };

        if (MiIsSystemAddress(Va) && MiPfnFrame(MiPtePage(Parent)) == MiState.Translation->SystemTopLevel)
        {
            break; /* every space has a copy of this entry */
        }
        if (MiIsSessionAddress(Va) && MiPfnFrame(MiPtePage(Parent)) == TopLevel)
        {
            break; /* so has every process of the session */
        }

        MiWaitForLastShare(Page);
        MiWritePte(Parent, Zero);
        MiAddUsedEntries(Parent, -1);
        MiDecrementPageTableShare(Parent);
        Empty[Count++] = MiPfnFrame(Page);
        Page = MiPtePage(Parent);
        if (Count == MI_TOP_LEVEL)
        {
            break;
        }
    }
    if (Count != 0)
    {
        /* After this no processor walks through the pages that were unlinked. */
        MiInitializeFlushList(&Flush, MiIsSystemAddress(Va) ? 0 : TopLevel);
        MiAddToFlushList(&Flush, Va & ~(ULONG_PTR)(PAGE_SIZE - 1), 1);
        MiFlushTb(&Flush);
    }
    for (ULONG Index = 0; Index < Count; Index++)
    {
        MiReleaseTablePage(Empty[Index]);
    }
    return Count;
}

static PFN_NUMBER MiAllocateTopLevel(void)
{
    PFN_NUMBER Frame = MiAllocatePage(MI_PAGE_ZEROED);
    MMPFNENTRY Entry;
    PMMPFN Pfn;

    if (Frame == 0)
    {
        return 0;
    }
    Pfn = MiPfn(Frame);
    MiWriteShareCount(Pfn, 1);
    Pfn->u1.UsedPageTableEntries = 0;
    MiMarkPageTable(Pfn);
    Entry = MiReadPfnEntry(Pfn);
    Entry.Kernel = 1;
    MiWritePfnEntry(Pfn, Entry);
    return Frame;
}

PFN_NUMBER MiCreateTopLevel(void)
{
    PFN_NUMBER Frame = MiAllocateTopLevel();

    if (Frame != 0 && MiState.Translation->SystemTopLevel != 0)
    {
        ULONG First = MI_PTE_INDEX(PORT_SYSTEM_START, MI_TOP_LEVEL);
        ULONG Last = MI_PTE_INDEX(PORT_SYSTEM_END, MI_TOP_LEVEL);
        PMMPTE From = PortDirectMap(MiState.Translation->SystemTopLevel);
        PMMPTE To = PortDirectMap(Frame);

        for (ULONG Index = First; Index <= Last; Index++)
        {
            To[Index] = From[Index];
        }
    }
    return Frame;
}

VOID MiDeleteTopLevel(PFN_NUMBER TopLevel)
{
    KiRequire(MiPfn(TopLevel)->u1.UsedPageTableEntries == 0);
    MiWaitForLastShare(MiPfn(TopLevel));
    PortFlushTb(TopLevel, NULL, 0);
    MiFreePage(TopLevel);
}

/* ---- Sessions ------------------------------------------------------------------------------------------ */

PFN_NUMBER MiCreateSessionTables(void)
{
    PFN_NUMBER TopLevel = MiAllocateTopLevel();
    PFN_NUMBER Below = TopLevel != 0 ? MiAllocatePage(MI_PAGE_ZEROED) : 0;

    if (Below != 0)
    {
        MiLinkPageTable(MiTableEntry(TopLevel, PORT_SESSION_START, MI_TOP_LEVEL), Below, FALSE);
        return TopLevel;
    }
    if (TopLevel != 0)
    {
        MiDeleteTopLevel(TopLevel);
    }
    return 0;
}

VOID MiDeleteSessionTables(PFN_NUMBER SessionTopLevel)
{
    PMMPTE Parent = MiTableEntry(SessionTopLevel, PORT_SESSION_START, MI_TOP_LEVEL);
    PFN_NUMBER Below = Parent->Hard.PageFrameNumber;
    MMPTE Zero = { .Long = 0 };

    KiRequire(MiPfn(Below)->u1.UsedPageTableEntries == 0);
    MiWaitForLastShare(MiPfn(Below));
    MiWritePte(Parent, Zero);
    MiAddUsedEntries(Parent, -1);
    MiDecrementPageTableShare(Parent);
    PortFlushTb(SessionTopLevel, NULL, 0);
    MiReleaseTablePage(Below);
    MiDeleteTopLevel(SessionTopLevel);
}

VOID MiShareSessionTables(PFN_NUMBER TopLevel, PFN_NUMBER SessionTopLevel)
{
    MiWritePte(MiTableEntry(TopLevel, PORT_SESSION_START, MI_TOP_LEVEL),
               MiReadPte(MiTableEntry(SessionTopLevel, PORT_SESSION_START, MI_TOP_LEVEL)));
}

/* ---- Birth and death ------------------------------------------------------------------------------------ */

/* What fits into RAM and the paging files is promised to somebody else: these pages are not there for it. */
static BOOLEAN MiChargeBootTable(void)
{
    if (!MiChargeCommitment(1, 0))
    {
        return FALSE;
    }
    if (!MiChargeResidentAvailable(1))
    {
        MiReturnCommitment(1);
        return FALSE;
    }
    MiState.Translation->BootTables++;
    return TRUE;
}

PFN_NUMBER MiAllocateBootTable(void)
{
    return MiChargeBootTable() ? MiAllocatePage(MI_PAGE_ZEROED) : 0;
}

/* The system half: the second-level pages exist from boot on, so that all spaces share them by copying their entries. */
NTSTATUS MiInitializeTranslation(void)
{
    MI_TRANSLATION_STATE *Translation = PortAllocateBootMemory(sizeof(*Translation));
    PFN_NUMBER TopLevel;

    if (Translation == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    MiState.Translation = Translation;
    TopLevel = MiChargeBootTable() ? MiCreateTopLevel() : 0;
    if (TopLevel == 0)
    {
        MiShutdownTranslation();
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Translation->SystemTopLevel = TopLevel;
    for (ULONG_PTR Va = PORT_SYSTEM_START; Va - 1 < PORT_SYSTEM_END; Va += MI_LEVEL_BYTES(MI_TOP_LEVEL))
    {
        PFN_NUMBER Frame = MiAllocateBootTable();

        if (Frame == 0)
        {
            MiShutdownTranslation();
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        MiLinkPageTable(MiTableEntry(TopLevel, Va, MI_TOP_LEVEL), Frame, FALSE);
    }
    PortSetSystemSpace(TopLevel);
    if (!NT_SUCCESS(MiInitializeSystemPtes()))
    {
        MiShutdownTranslation();
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    return STATUS_SUCCESS;
}

VOID MiShutdownTranslation(void)
{
    MI_TRANSLATION_STATE *Translation = MiState.Translation;

    if (Translation == NULL)
    {
        return;
    }
    if (Translation->SystemTopLevel != 0)
    {
        PFN_NUMBER TopLevel = Translation->SystemTopLevel;

        MiShutdownSystemPtes();
        PortSetSystemSpace(0);
        for (ULONG_PTR Va = PORT_SYSTEM_START; Va - 1 < PORT_SYSTEM_END; Va += MI_LEVEL_BYTES(MI_TOP_LEVEL))
        {
            PMMPTE Entry = MiTableEntry(TopLevel, Va, MI_TOP_LEVEL);

            if (Entry->Hard.Valid)
            {
                PMMPTE Child = MiTableEntry(Entry->Hard.PageFrameNumber, Va, MI_TOP_LEVEL - 1);
                Translation->SystemTopLevel = 0;
                MiDeleteEmptyPageTables(TopLevel, Child, Va);
            }
        }
        MiDeleteTopLevel(TopLevel);
    }
    MiReturnCommitment(Translation->BootTables);
    MiReturnResidentAvailable(Translation->BootTables);
    PortFreeBootMemory(Translation, sizeof(*Translation));
    MiState.Translation = NULL;
}
