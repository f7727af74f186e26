/* SPDX-License-Identifier: MIT */
/*
 * Ranges: the walk in chunks, visiting entries in batches, getting page tables into memory and giving empty
 * ones back.
 */
#include "virtual/range.h"

MI_CHUNK MiNextChunk(PMI_RANGE Range)
{
    ULONG_PTR Vpn = Range->NextVpn;
    PMMPTE Entry;
    ULONG Level;
    ULONG_PTR Span;
    ULONG_PTR Next;
    BOOLEAN Large;
    BOOLEAN Hole;

    Range->Vpn = Vpn;
    if (Vpn > Range->EndVpn)
    {
        return MiChunkEnd;
    }
    Level = MiWalk(Range->Space->TopLevel, MiVaOf(Vpn), &Entry);
    Span = (ULONG_PTR)1 << (9 * (Level == 0 ? 1 : Level));
    Next = (Vpn | (Span - 1)) + 1;
    Hole = Level != 0 && MiReadPte(Entry).Long == 0;
    Large = Level == 1 && MiIsLargePte(MiReadPte(Entry));
    Range->PointerPte = Entry;
    Range->Level = Level;
    if (Hole)
    {
        /* Neighbours of the same level that are empty, too, save a walk each. */
        while (Next <= Range->EndVpn && MI_PTE_INDEX(MiVaOf(Next), Level) != 0 &&
               MiReadPte(++Entry).Long == 0)
        {
            Next += Span;
        }
    }
    Range->NextVpn = Next <= Range->EndVpn ? Next : Range->EndVpn + 1;
    return Hole ? MiChunkHole : Level == 0 ? MiChunkTable : Large ? MiChunkLarge : MiChunkAbsent;
}

static VOID MiVisitBatch(PMI_VISITOR Visitor, PMMPTE First, ULONG_PTR Vpn, ULONG_PTR Index, ULONG_PTR End)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();

    Visitor->Begin(Visitor);
    while (Index < End)
    {
        MMPTE Pte = MiReadPte(&First[Index]);
        ULONG_PTR Count = 1;

        if (Pte.Long != 0 || !Visitor->SkipZero)
        {
            Count = Visitor->VisitRun != NULL
                        ? Visitor->VisitRun(Visitor, &First[Index], Vpn + Index, End - Index)
                        : 0;
            if (Count == 0)
            {
                Visitor->Visit(Visitor, &First[Index], Vpn + Index, Pte);
                Count = 1;
            }
        }
        Index += Count;
    }
    Visitor->End(Visitor);
    KiLowerIrqlFromDispatch(OldIrql);
}

static VOID MiVisitTable(PMI_VISITOR Visitor, PMMPTE First, ULONG_PTR Vpn, ULONG_PTR Count)
{
    ULONG_PTR Batch = Visitor->Batch != 0 ? Visitor->Batch : MI_ENTRY_BATCH;
    ULONG_PTR Index = 0;

    while (Index < Count)
    {
        ULONG_PTR End;

        while (Visitor->SkipZero && Index < Count && MiReadPte(&First[Index]).Long == 0)
        {
            Index++;
        }
        End = Index + Batch < Count ? Index + Batch : Count;
        if (Index < End)
        {
            MiVisitBatch(Visitor, First, Vpn, Index, End);
        }
        Index = End;
    }
}

VOID MiVisitEntries(PMI_VISITOR Visitor, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    MI_RANGE Range;
    MI_CHUNK Chunk;

    MiBeginRange(&Range, Visitor->Space, StartVpn, EndVpn);
    while ((Chunk = MiNextChunk(&Range)) != MiChunkEnd)
    {
        if (Chunk == MiChunkTable)
        {
            MiVisitTable(Visitor, Range.PointerPte, Range.Vpn, Range.NextVpn - Range.Vpn);
        }
        KiRequire(Chunk != MiChunkAbsent);
    }
}

/* Whether a chunk has the tables that are asked for. */
static BOOLEAN MiHasTables(MI_CHUNK Chunk, const MI_RANGE *Range, ULONG Which)
{
    switch (Chunk)
    {
    case MiChunkHole:
        return Which == MI_LARGE_PAGE_TABLES ? Range->Level == 1 : Which != MI_CREATE_TABLES;
    case MiChunkAbsent:
        return Which == MI_UPPER_TABLES && Range->Level == 1;
    default:
        return TRUE;
    }
}

/* One table more. */
static NTSTATUS MiMakeTableResident(PMI_RANGE Range, MI_CHUNK Chunk, ULONG Which, PBOOLEAN Dropped)
{
    ULONG_PTR Va = MiVaOf(Range->Vpn);
    ULONG_PTR Pages = MI_PTES_PER_PAGE;
    NTSTATUS Status;
    PMMPTE PointerPte;

    if (Which == MI_CREATE_TABLES)
    {
        Status = MiMakePageTableResident(Range->Space, Va, &PointerPte, Dropped);
    }
    else if (Which == MI_LARGE_PAGE_TABLES && Chunk == MiChunkHole)
    {
        Status = MiMakeUpperTables(Range->Space, Va, Dropped);
        Pages *= MI_PTES_PER_PAGE;
    }
    else
    {
        Status = MiBringPageTableIn(Range->Space, Va, Dropped);
    }
    Range->NextVpn = (Range->Vpn | (Pages - 1)) + 1;
    return Status;
}

NTSTATUS MiMakeTablesResident(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn, ULONG Which,
                              PBOOLEAN Dropped)
{
    MI_RANGE Range;
    MI_CHUNK Chunk;

    *Dropped = FALSE;
    MiBeginRange(&Range, Space, StartVpn, EndVpn);
    while ((Chunk = MiNextChunk(&Range)) != MiChunkEnd)
    {
        NTSTATUS Status;

        if (MiHasTables(Chunk, &Range, Which))
        {
            continue;
        }
        Status = MiMakeTableResident(&Range, Chunk, Which, Dropped);
        if (!NT_SUCCESS(Status) || *Dropped)
        {
            return Status;
        }
    }
    return STATUS_SUCCESS;
}

VOID MiFreeEmptyTables(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    MI_RANGE Range;
    MI_CHUNK Chunk;

    MiBeginRange(&Range, Space, StartVpn, EndVpn);
    while ((Chunk = MiNextChunk(&Range)) != MiChunkEnd)
    {
        PMMPFN Table = MiPtePage(Range.PointerPte);

        /*
         * In front of a hole an interior table may be empty, too: one that was made for a leaf which could
         * not be had.
         */
        if (Chunk != MiChunkAbsent && MiPfnFrame(Table) != Space->TopLevel &&
            Table->u1.UsedPageTableEntries == 0)
        {
            ULONG Freed = MiDeleteEmptyPageTables(Space->TopLevel, Range.PointerPte, MiVaOf(Range.Vpn));

            __atomic_fetch_sub(&Space->PageTablePages, Freed, __ATOMIC_RELAXED);
            MiReturnPageTables(Space, MiVaOf(Range.Vpn), Range.Level + 1, Freed);
        }
    }
}

/* The entry of a view: the section says what is committed, the entry, if there is one, how it may be used. */
static BOOLEAN MiIsViewEntryCommitted(const MMVAD *Vad, ULONG_PTR Vpn, MMPTE Pte, PULONG Protection)
{
    BOOLEAN Committed = TRUE;

    *Protection = Pte.Long == 0 ? MiViewProtection(Vad, Vpn) : MiProtectionFromPte(Pte);
    if (Pte.Long == 0 || MiIsLookup(Pte))
    {
        MiMeasureCommitted(Vad->ControlArea->Segment, Vad->FirstPage + (Vpn - Vad->StartingVpn), 1,
                           &Committed);
    }
    return Committed;
}

ULONG_PTR MiMeasureZeroEntries(const MMVAD *Vad, ULONG_PTR Vpn, ULONG_PTR EndVpn, PBOOLEAN Committed,
                               PULONG Protection)
{
    ULONG_PTR Count = EndVpn - Vpn + 1;
    MMPTE Zero = { .Long = 0 };

    if (Vad->ControlArea != NULL)
    {
        ULONG64 Page = Vad->FirstPage + (Vpn - Vad->StartingVpn);

        if (Vad->u.VadType == VadImageMap)
        {
            PSUBSECTION Subsection = MiLocateSubsection(Vad->ControlArea, Page);
            ULONG64 Left =
                Subsection == NULL ? 1 : Subsection->StartingPage + Subsection->PtesInSubsection - Page;

            Count = Count < Left ? Count : (ULONG_PTR)Left;
        }
        *Protection = MiViewProtection(Vad, Vpn);
        return (ULONG_PTR)MiMeasureCommitted(Vad->ControlArea->Segment, Page, Count, Committed);
    }
    *Committed = MiIsEntryCommitted(Vad, Vpn, Zero, Protection);
    return Count;
}

BOOLEAN MiIsEntryCommitted(const MMVAD *Vad, ULONG_PTR Vpn, MMPTE Pte, PULONG Protection)
{
    ULONG Value;

    if (Vad->ControlArea != NULL)
    {
        return MiIsViewEntryCommitted(Vad, Vpn, Pte, Protection);
    }
    if (Pte.Long == 0)
    {
        *Protection = Vad->u.CommitProtection;
        return Vad->u.MemCommit;
    }
    if (MiIsDecommitted(Pte))
    {
        *Protection = 0;
        return FALSE;
    }
    Value = MiProtectionFromPte(Pte);
    if (Vad->u.PrivateMemory && MiIsCopyOnWrite(Value))
    {
        Value &= ~1u; /* shared with a clone: for its owner it is read-write */
    }
    *Protection = Value;
    return TRUE;
}

/* Where no page table is. */
static SIZE_T MiCountCommittedHole(const MMVAD *Vad, ULONG_PTR Vpn, ULONG_PTR EndVpn)
{
    SIZE_T Sum = 0;

    while (Vpn <= EndVpn)
    {
        BOOLEAN Committed;
        ULONG Protection;
        ULONG_PTR Count = MiMeasureZeroEntries(Vad, Vpn, EndVpn, &Committed, &Protection);

        Sum += Committed ? Count : 0;
        Vpn += Count;
    }
    return Sum;
}

SIZE_T MiCountCommitted(PMI_ADDRESS_SPACE Space, const MMVAD *Vad, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    SIZE_T Committed = 0;
    MI_RANGE Range;
    MI_CHUNK Chunk;

    if (Vad->ControlArea == NULL && MiIsWholeVad(Vad, StartVpn, EndVpn))
    {
        return Vad->CommitCharge;
    }
    MiBeginRange(&Range, Space, StartVpn, EndVpn);
    while ((Chunk = MiNextChunk(&Range)) != MiChunkEnd)
    {
        ULONG_PTR Count = Range.NextVpn - Range.Vpn;

        KiRequire(Chunk != MiChunkAbsent);
        if (Chunk == MiChunkLarge)
        {
            Committed += Count;
            continue;
        }
        if (Chunk == MiChunkHole)
        {
            Committed += MiCountCommittedHole(Vad, Range.Vpn, Range.NextVpn - 1);
            continue;
        }
        for (ULONG_PTR Index = 0; Index < Count; Index++)
        {
            ULONG Protection;

            Committed +=
                MiIsEntryCommitted(Vad, Range.Vpn + Index, MiReadPte(&Range.PointerPte[Index]), &Protection);
        }
    }
    return Committed;
}

NTSTATUS MiLocateRange(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn, PMMVAD *Vad)
{
    if (Space->Deleting)
    {
        return STATUS_PROCESS_IS_TERMINATING;
    }
    *Vad = MiLocateVad(Space, StartVpn);
    if (*Vad == NULL || EndVpn > (*Vad)->EndingVpn)
    {
        return STATUS_CONFLICTING_ADDRESSES;
    }
    return STATUS_SUCCESS;
}

/* ---- Placing VADs --------------------------------------------------------------------------------------- */

BOOLEAN MiDeservesTables(const MI_ADDRESS_SPACE *Space, const MMVAD *Vad)
{
    if (MiIsLargeVad(Vad))
    {
        return FALSE; /* its tables exist from the beginning to the end */
    }
    return Vad->u.MemCommit ||
           (Vad->ControlArea != NULL && (Space->Kernel || MiIsSegmentCommitted(Vad->ControlArea->Segment)));
}

/* The VAD is in the tree, or will be at once. */
static NTSTATUS MiTryPromise(PMI_ADDRESS_SPACE Space, PMMVAD Vad, PMI_TABLE_BUDGET Budget)
{
    BOOLEAN Dropped;
    NTSTATUS Status =
        MiMakeTablesResident(Space, Vad->StartingVpn, Vad->EndingVpn, MI_UPPER_TABLES, &Dropped);

    if (!NT_SUCCESS(Status) || Dropped)
    {
        return NT_SUCCESS(Status) ? STATUS_RETRY : Status;
    }
    return MiPromiseTables(Space, Vad, Budget) ? STATUS_SUCCESS : STATUS_RETRY;
}

NTSTATUS MiPromiseVadTables(PMI_ADDRESS_SPACE Space, PMMVAD Vad, PMI_TABLE_BUDGET Budget)
{
    NTSTATUS Status = MiTryPromise(Space, Vad, Budget);

    if (NT_SUCCESS(Status))
    {
        MiSetTablesPromised(Space, Vad, TRUE);
    }
    return Status;
}

NTSTATUS MiChooseEmptyRange(PMI_ADDRESS_SPACE Space, const VOID *Context, SIZE_T Pages, ULONG_PTR *StartVpn)
{
    UNREFERENCED_PARAMETER(Pages);
    return MiFindEmptyRange(Space, Context, StartVpn);
}

/* One attempt, space locked. STATUS_RETRY: it was unlocked meanwhile, or the budget must be raised. */
static NTSTATUS MiTryPlaceVad(PMI_ADDRESS_SPACE Space, PMMVAD Vad, MI_CHOOSE_ADDRESS Choose,
                              const VOID *Context, PMI_TABLE_BUDGET Budget)
{
    SIZE_T Pages = MiVadPages(Vad);
    ULONG_PTR StartVpn;
    NTSTATUS Status =
        Space->Deleting ? STATUS_PROCESS_IS_TERMINATING : Choose(Space, Context, Pages, &StartVpn);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Vad->StartingVpn = StartVpn;
    Vad->EndingVpn = StartVpn + Pages - 1;
    if (MiDeservesTables(Space, Vad))
    {
        Status = MiTryPromise(Space, Vad, Budget);
    }
    if (NT_SUCCESS(Status))
    {
        MiLinkVad(Space, Vad);
    }
    return Status;
}

NTSTATUS MiPlaceVadBy(PMI_ADDRESS_SPACE Space, PMMVAD Vad, MI_CHOOSE_ADDRESS Choose, const VOID *Context)
{
    MI_TABLE_BUDGET Budget = { .Charged = 0 };
    NTSTATUS Status = STATUS_RETRY;

    for (ULONG Round = 0; Round < MI_MAXIMUM_RESTARTS && Status == STATUS_RETRY; Round++)
    {
        NTSTATUS Raised;

        MiLockSpaceExclusive(Space);
        Status = MiTryPlaceVad(Space, Vad, Choose, Context, &Budget);
        MiUnlockSpaceExclusive(Space);
        Raised = MiRaiseTableBudget(Space, &Budget);
        Status = NT_SUCCESS(Raised) ? Status : Raised;
    }
    MiReturnTableBudget(Space, &Budget);
    return Status == STATUS_RETRY ? STATUS_NO_MEMORY : Status;
}

VOID MiDestroyVad(PMMVAD Vad)
{
    while (Vad->Secured != NULL)
    {
        PMMSECURE_ENTRY Entry = Vad->Secured;

        Vad->Secured = Entry->Next;
        MiFreePool(Entry, MI_TAG_SECURE);
    }
    if (Vad->u.VadType == VadWriteWatch && Vad->u1.WriteWatch != NULL)
    {
        MiFreeWriteWatch(Vad->u1.WriteWatch);
    }
    if (Vad->ControlArea != NULL)
    {
        MiDereferenceControlArea(Vad->ControlArea, Vad->u.CacheView ? MiCacheViewReference : MiViewReference,
                                 Vad->u.UserView, Vad->u.WritableView);
    }
    MiFreeVad(Vad);
}
