/* SPDX-License-Identifier: MIT */
/*
 * Pages of data files that are in memory already are mapped together with the page that was wanted: 16 of them, and for who goes on in order as many again
 * with each fault, at last over several page tables. They cost a few nanoseconds each then instead of a signal: counts are changed once for all, neighbours
 * leave their list with one lock of it, and the port gets whole runs. They count as used, as the port has to load them as used ones (PortFillTb); if that
 * was wrong, the clock finds out.
 */
#include "fault/resolve.h"

#define MI_FILE_AROUND         16u   /* pages mapped with one fault */
#define MI_FILE_AROUND_FAR     64u   /* at least for a reader whose pages are read for him */
#define MI_FILE_AROUND_FURTHER 8192u /* at most, for one that goes on in order */

/* What is the same for all neighbours of a fault. */
typedef struct _MI_AROUND
{
    MI_LIST_RUN Lists;
    MI_BLOCK Block;
    MMPTE Template;  /* the entry of who is not mapped yet, as the fault's was */
    MMPTE Valid;     /* of who is, without its frame */
    MMPTE Prototype; /* likewise */
} MI_AROUND;

/*
 * One neighbour; its prototype's page and the page table are locked, whose counts the caller keeps. FALSE: it cannot be mapped without work.
 */
static FORCEINLINE BOOLEAN MiMapNeighbour(MI_AROUND *Around, PMMPTE PointerPte, PMMPTE Prototype)
{
    MMPTE Proto = MiReadPte(Prototype);
    MMPTE Pte = Around->Valid;
    PMMPFN Pfn;

    if ((!Proto.Hard.Valid && !MiIsTransition(Proto)) || MiReadPte(PointerPte).Long != Around->Template.Long)
    {
        return FALSE;
    }
    Pfn = MiPfn(Proto.Hard.PageFrameNumber);
    if (!MiTryLockPfnInBlock(Pfn, &Around->Block))
    {
        return FALSE;
    }
    if (MiReadPte(Prototype).Long != Proto.Long || Pfn->e1.ReadInProgress ||
        Pfn->OriginalPte.Soft.Protection != MM_READWRITE)
    {
        MiUnlockPfnInBlock(Pfn, &Around->Block);
        return FALSE;
    }
    if (Proto.Hard.Valid)
    {
        MiAddShares(Pfn, 1);
    }
    else
    {
        Proto.Long = Around->Prototype.Long | (Proto.Long & MM_PTE_FRAME_MASK);
        MiActivateFrame(Pfn, &Around->Lists);
        MiWritePte(Prototype, Proto);
    }
    Pte.Long |= Proto.Long & MM_PTE_FRAME_MASK;
    MiWritePte(PointerPte, Pte);
    MiUnlockPfnInBlock(Pfn, &Around->Block);
    return TRUE;
}

/* How many pages from the fault's own on lie in the same table, chunk and view. */
static ULONG MiAroundLimit(PMI_FAULT Fault, ULONG Limit)
{
    ULONG_PTR Vpn = Fault->Va >> PAGE_SHIFT;
    ULONG InTable = MI_PTES_PER_PAGE - (ULONG)(Vpn % MI_PTES_PER_PAGE);
    ULONG InChunk = MI_CHUNK_PAGES - (ULONG)(Fault->SegmentPage % MI_CHUNK_PAGES);

    Limit = Limit < InTable ? Limit : InTable;
    Limit = Limit < InChunk ? Limit : InChunk;
    return Fault->Vad->EndingVpn - Vpn < Limit ? (ULONG)(Fault->Vad->EndingVpn - Vpn) + 1 : Limit;
}

/* Who goes on in order gets as many as are read for him at once. */
static ULONG MiOrderedWindow(PMI_FAULT Fault)
{
    ULONG Window = __atomic_load_n(&Fault->Vad->ReadAheadWindow, __ATOMIC_RELAXED);

    return Window < MI_FILE_AROUND_FAR ? MI_FILE_AROUND_FAR : Window;
}

/*
 * Who begins where the last pages that were mapped for him ended gets twice as many, but no large part of what is available: others would have to give it.
 * The hints are those of reading: he may come to the end of what is in memory.
 */
static ULONG MiResidentWindow(PMI_FAULT Fault)
{
    ULONG Last = __atomic_load_n(&Fault->Vad->ReadAheadWindow, __ATOMIC_RELAXED);
    PFN_NUMBER Room = MiAvailablePages() / 8;

    if (Fault->Va >> PAGE_SHIFT != __atomic_load_n(&Fault->Vad->ReadAheadNext, __ATOMIC_RELAXED) ||
        Last < MI_FILE_AROUND || Room < 2 * MI_FILE_AROUND)
    {
        return MI_FILE_AROUND;
    }
    Last = 2 * Last < MI_FILE_AROUND_FURTHER ? 2 * Last : MI_FILE_AROUND_FURTHER;
    return Last < Room ? Last : (ULONG)Room;
}

/* Pages before the fault's own that came in the block which was just read for it, or earlier: same table, view and chunk. */
static ULONG MiMapBefore(PMI_FAULT Fault, MI_AROUND *Around, PMMPTE Prototype)
{
    ULONG_PTR Vpn = Fault->Va >> PAGE_SHIFT;
    ULONG Limit = (ULONG)(Fault->SegmentPage % MI_CHUNK_PAGES);
    ULONG InTable = (ULONG)(Vpn % MI_PTES_PER_PAGE);
    ULONG Count = 0;

    Limit = Limit < InTable ? Limit : InTable;
    Limit = Vpn - Fault->Vad->StartingVpn < Limit ? (ULONG)(Vpn - Fault->Vad->StartingVpn) : Limit;
    while (Count < Limit && MiMapNeighbour(Around, Fault->PointerPte - Count - 1, Prototype - Count - 1))
    {
        Count++;
    }
    return Count;
}

static VOID MiBeginAround(MI_AROUND *Around, PMI_FAULT Fault)
{
    *Around = (MI_AROUND){ .Template = Fault->Pte, .Prototype = MiMakeValidPte(0, MM_READWRITE, FALSE) };
    Around->Valid = MiMakeValidPte(0, Fault->Protection, !Fault->Space->Kernel);
    Around->Valid.Long |= MM_PTE_SHARED;
}

/* Count pages were mapped in the table of PointerPte, which is locked. */
static VOID MiEndAround(MI_AROUND *Around, PMI_FAULT Fault, PMMPTE PointerPte, ULONG Count)
{
    MiEndListRun(&Around->Lists);
    MiEndBlock(&Around->Block);
    if (Count != 0)
    {
        MiAddPageTableShares(PointerPte, Count);
        if (Around->Template.Long == 0)
        {
            MiAddUsedEntries(PointerPte, (LONG)Count);
        }
        MiAddWorkingSetPages(Fault->Space, Count);
        MiCountMany(PagesMappedAhead, Count);
    }
}

/*
 * Up to Limit pages from the fault's own on, which is mapped, and with Jumped those before it. Returns how many there are with it, *Before of them in
 * front of it.
 */
static ULONG MiMapNeighbours(PMI_FAULT Fault, PMMPTE Prototype, ULONG Limit, BOOLEAN Jumped, PULONG Before)
{
    MI_AROUND Around;
    ULONG Count = 1;

    MiBeginAround(&Around, Fault);
    while (Count < Limit && MiMapNeighbour(&Around, &Fault->PointerPte[Count], &Prototype[Count]))
    {
        Count++;
    }
    *Before = Jumped ? MiMapBefore(Fault, &Around, Prototype) : 0;
    Count += *Before;
    MiEndAround(&Around, Fault, Fault->PointerPte, Count - 1);
    return Count;
}

/* The port is told of the pages that were mapped: a writer who goes on in order is going to write to them. */
static VOID MiLoadAround(PMI_FAULT Fault, ULONG_PTR First, ULONG Count, BOOLEAN GoesOn)
{
    if (GoesOn && Fault->Access == MiAccessWrite && !Fault->Space->Kernel &&
        MiIsWritable(Fault->Protection) && !MiIsCopyOnWrite(Fault->Protection))
    {
        PortFillTbForWriter(Fault->Space->TopLevel, First, Count);
    }
    else
    {
        PortFillTb(Fault->Space->System ? 0 : Fault->Space->TopLevel, First, Count, FALSE);
    }
}

/*
 * For a reader in order: the pages of his window that lie behind the table, if that ends with the chunk. Whole tables, because the port maps one with one
 * entry, and keeps that until a part of it is treated in another way.
 */
static ULONG MiCountFurther(PMI_FAULT Fault, ULONG Window, ULONG Count)
{
    ULONG_PTR Vpn = Fault->Va >> PAGE_SHIFT;

    return Fault->Pte.Long == 0 && Fault->Access == MiAccessRead && Window > Count &&
                   (Vpn + Count) % MI_PTES_PER_PAGE == 0 && (Fault->SegmentPage + Count) % MI_CHUNK_PAGES == 0
               ? Window - Count
               : 0;
}

VOID MiMapFileAround(PMI_FAULT Fault, PMMPTE Prototype, BOOLEAN InOrder)
{
    ULONG_PTR First = Fault->Va & ~(ULONG_PTR)(PAGE_SIZE - 1);
    BOOLEAN Jumped = Fault->JustRead && Fault->Jumped;
    ULONG Window;
    ULONG Before;
    ULONG Count;

    if (Fault->Vad == NULL || Fault->Space->WriteWatchCount != 0 ||
        __atomic_load_n(&Fault->Space->Vm.MaximumHard, __ATOMIC_RELAXED) ||
        MiAvailablePages() < MiState.Physical->LowThreshold)
    {
        return;
    }
    if (Jumped && !MiViewFits(Fault->Vad))
    {
        return; /* whether the neighbours are of use shows when they are used */
    }
    if (Fault->CameAlong)
    {
        MiCreditNeighbours(Fault->Vad, 1);
    }
    Fault->GoesOn = InOrder && !Jumped;
    Window = InOrder ? MiOrderedWindow(Fault) : MiResidentWindow(Fault);
    Count = MiMapNeighbours(Fault, Prototype, MiAroundLimit(Fault, Window), Jumped, &Before);
    if (!InOrder)
    {
        MiNoteRead(Fault, Count);
        Fault->Further = MiCountFurther(Fault, Window, Count);
    }
    if (Count > 1)
    {
        MiLoadAround(Fault, First - ((ULONG_PTR)Before << PAGE_SHIFT), Count,
                     !Jumped && (InOrder || Window > MI_FILE_AROUND));
    }
}

/* ---- Behind the table ---------------------------------------------------------------------------------- */

/* The chunk begins with a page in memory: it is worth a page table. */
static BOOLEAN MiIsChunkInMemory(PSEGMENT Segment, ULONG64 Page)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    PMMPTE Prototype = MiLockPrototype(Segment, Page);
    BOOLEAN InMemory = FALSE;

    if (Prototype != NULL)
    {
        MMPTE Pte = MiReadPte(Prototype);

        InMemory = Pte.Hard.Valid || MiIsTransition(Pte);
        MiUnlockPrototype(Prototype);
    }
    KiLowerIrqlFromDispatch(OldIrql);
    return InMemory;
}

/* The table of Next->Va, made if there was none. FALSE: it takes more than that. */
static BOOLEAN MiFindTable(PMI_FAULT Next)
{
    for (;;)
    {
        Next->Level = MiWalk(Next->Space->TopLevel, Next->Va, &Next->PointerPte);
        if (Next->Level == 0)
        {
            return TRUE;
        }
        if (MiReadPte(Next->PointerPte).Long != 0 || MiResolvePageTableFault(Next) != MiFaultRetry)
        {
            return FALSE;
        }
    }
}

/* Up to Limit pages from the first of a table, and of a chunk, on. Returns how many. */
static ULONG MiMapTable(PMI_FAULT Fault, ULONG_PTR Vpn, ULONG Limit)
{
    MI_FAULT Next = { .Space = Fault->Space,
                      .Va = Vpn << PAGE_SHIFT,
                      .Access = MiAccessRead,
                      .Mode = KernelMode,
                      .Vad = Fault->Vad,
                      .Protection = Fault->Protection };
    PSEGMENT Segment = Fault->ControlArea->Segment;
    ULONG64 Page = Fault->Vad->FirstPage + (Vpn - Fault->Vad->StartingVpn);
    PMMPTE Prototype;
    MI_AROUND Around;
    ULONG Count = 0;
    KIRQL OldIrql;

    if (!MiIsChunkInMemory(Segment, Page) || !MiFindTable(&Next))
    {
        return 0;
    }
    Limit = Limit < MI_PTES_PER_PAGE ? Limit : MI_PTES_PER_PAGE;
    OldIrql = KiRaiseIrqlToDispatch();
    Next.Table = MiPtePage(Next.PointerPte);
    MiLockPageTable(Next.Table);
    Prototype = MiLockPrototype(Segment, Page);
    if (Prototype != NULL)
    {
        MiBeginAround(&Around, &Next);
        while (Count < Limit && MiMapNeighbour(&Around, &Next.PointerPte[Count], &Prototype[Count]))
        {
            Count++;
        }
        MiEndAround(&Around, &Next, Next.PointerPte, Count);
        MiUnlockPrototype(Prototype);
    }
    MiUnlockPageTable(Next.Table);
    KiLowerIrqlFromDispatch(OldIrql);
    return Count;
}

VOID MiMapFileFurther(PMI_FAULT Fault)
{
    PMMVAD Vad = Fault->Vad;
    ULONG_PTR First = ((Fault->Va >> PAGE_SHIFT) | (MI_PTES_PER_PAGE - 1)) + 1;
    ULONG_PTR Vpn = First;
    ULONG_PTR End = First + Fault->Further;

    C_ASSERT(MI_PTES_PER_PAGE == MI_CHUNK_PAGES);
    End = End <= Vad->EndingVpn ? End & ~(ULONG_PTR)(MI_PTES_PER_PAGE - 1) : Vad->EndingVpn + 1;
    while (Vpn < End)
    {
        ULONG Count = MiMapTable(Fault, Vpn, (ULONG)(End - Vpn));

        Vpn += Count;
        if (Count != MI_PTES_PER_PAGE)
        {
            break;
        }
    }
    if (Vpn != First)
    {
        PortFillTb(Fault->Space->System ? 0 : Fault->Space->TopLevel, First << PAGE_SHIFT, Vpn - First,
                   FALSE);
        __atomic_store_n(&Vad->ReadAheadNext, Vpn, __ATOMIC_RELAXED);
        __atomic_store_n(&Vad->ReadAheadWindow, (USHORT)(Vpn - (Fault->Va >> PAGE_SHIFT)), __ATOMIC_RELAXED);
    }
}
