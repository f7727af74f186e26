/* SPDX-License-Identifier: MIT */
/*
 * Making room for physically consecutive frames by moving what lives there. A page on a list moves with its transition entry, under its
 * frame's lock alone; a private page in use moves with its valid entry, which is a transition one until the TB is flushed and the
 * contents are copied (whoever touches it meanwhile waits for the page table's lock). Pages that several entries share are
 * trimmed and move as listed ones. What stays: the kernel's own frames, page tables, and frames that somebody holds by a
 * reference (locked pages, transfers): a device may be writing there.
 *
 * Nothing is written to a paging file, and nobody loses a page of his working set, locked pages included.
 */
#include "space/session.h"
#include "workingset/walk.h"

#define MI_VACATE_ROUNDS  4u
#define MI_VACATE_WINDOWS 32u

typedef struct _MI_VACATION
{
    PFN_NUMBER First;
    PFN_NUMBER Count;
    volatile ULONG64 *Ours; /* a bit for each frame that is claimed already */
    PFN_NUMBER Claimed;
    PMI_ADDRESS_SPACE Space; /* whose tables are visited */
    BOOLEAN Short;           /* no frame to move to */
} MI_VACATION;

static BOOLEAN MiIsInside(const MI_VACATION *Vacation, PFN_NUMBER Frame)
{
    return Frame - Vacation->First < Vacation->Count;
}

static BOOLEAN MiIsOurs(const MI_VACATION *Vacation, PFN_NUMBER Frame)
{
    PFN_NUMBER Bit = Frame - Vacation->First;

    return ((Vacation->Ours[Bit / 64] >> (Bit % 64)) & 1) != 0;
}

/* The frame belongs to nobody any more, and to us. */
static VOID MiNoteOurs(MI_VACATION *Vacation, PFN_NUMBER Frame)
{
    PFN_NUMBER Bit = Frame - Vacation->First;

    Vacation->Ours[Bit / 64] |= 1ull << (Bit % 64);
    Vacation->Claimed++;
}

/* Where a page may move: a frame outside. One from inside, which came free meanwhile, is claimed on the way. 0: none. */
static PFN_NUMBER MiTakeDestination(MI_VACATION *Vacation)
{
    PFN_NUMBER Frame = MiAllocatePage(0);

    while (Frame != 0 && MiIsInside(Vacation, Frame))
    {
        MiWritePfnEntry(MiPfn(Frame), (MMPFNENTRY){ .PageLocation = ActiveAndValid, .Kernel = 1 });
        MiNoteOurs(Vacation, Frame);
        Frame = MiAllocatePage(0);
    }
    Vacation->Short = Frame == 0;
    return Frame;
}

/* What described the page describes it at its new frame; the old one is ours. Both locked, the contents copied. */
static VOID MiHandOver(MI_VACATION *Vacation, PMMPFN From, PMMPFN To)
{
    To->PteAddress = From->PteAddress;
    To->OriginalPte = From->OriginalPte;
    MiWritePfnEntry(To, From->e1);
    From->PteAddress = NULL;
    From->OriginalPte.Long = 0;
    From->ReferenceCount = 1;
    From->u1.InPage = NULL;
    MiWritePfnEntry(From, (MMPFNENTRY){ .PageLocation = ActiveAndValid, .Kernel = 1 });
    MiNoteOurs(Vacation, MiPfnFrame(From));
}

/* ---- Pages on lists ------------------------------------------------------------------------------------------------------ */

/* From is locked; it may be on a list. FALSE: it is not, or not movable. DISPATCH_LEVEL. */
static BOOLEAN MiMoveListedPage(MI_VACATION *Vacation, PMMPFN From, PMMPFN To)
{
    MMPFNENTRY Entry = MiReadPfnEntry(From);
    PMMPTE PointerPte = From->PteAddress;
    MMPTE Pte;

    if (From->ReferenceCount != 0 || Entry.PageTable || PointerPte == NULL ||
        (!MiIsOnModifiedList(Entry) && Entry.PageLocation != StandbyPageList) || !MiTryLockPfn(To))
    {
        return FALSE;
    }
    Pte = MiReadPte(PointerPte);
    KiRequire(MiIsTransition(Pte) && Pte.Trans.PageFrameNumber == MiPfnFrame(From));
    MiUnlinkPage(From);
    MiCopyFrame(MiPfnFrame(To), MiPfnFrame(From));
    MiHandOver(Vacation, From, To);
    To->ReferenceCount = 0;
    Pte.Trans.PageFrameNumber = MiPfnFrame(To) & ((1ull << 40) - 1);
    MiWritePte(PointerPte, Pte);
    MiInsertPageInList(To);
    MiUnlockPfn(To);
    return TRUE;
}

/* A look without the lock; whoever acts on it looks again. Plain, and unseen by TSan: the owner's writes are plain too. */
PORT_UNSEEN_BY_TSAN
static DECLSPEC_NOINLINE BOOLEAN MiMayBeListedModified(const MMPFN *Pfn)
{
    return MiIsOnModifiedList(*(const volatile MMPFNENTRY *)&Pfn->e1);
}

/* Claims every frame that nobody uses, and moves what is on the modified list. */
static VOID MiClaimIdleFrames(MI_VACATION *Vacation)
{
    for (PFN_NUMBER Frame = Vacation->First; Frame < Vacation->First + Vacation->Count && !Vacation->Short;
         Frame++)
    {
        PMMPFN Pfn = MiPfn(Frame);
        PFN_NUMBER To = 0;
        KIRQL OldIrql;

        if (MiIsOurs(Vacation, Frame))
        {
            continue;
        }
        OldIrql = KiRaiseIrqlToDispatch();
        if (MiTakeThisFrame(Frame))
        {
            MiWritePfnEntry(Pfn, (MMPFNENTRY){ .PageLocation = ActiveAndValid, .Kernel = 1 });
            MiNoteOurs(Vacation, Frame);
        }
        else if (MiMayBeListedModified(Pfn))
        {
            To = MiTakeDestination(Vacation);
            if (To != 0)
            {
                MiLockPfn(Pfn);
                To = MiMoveListedPage(Vacation, Pfn, MiPfn(To)) ? 0 : To;
                MiUnlockPfn(Pfn);
            }
        }
        KiLowerIrqlFromDispatch(OldIrql);
        if (To != 0)
        {
            MiFreePage(To);
        }
    }
}

/* ---- Pages in use -------------------------------------------------------------------------------------------------------- */

/* A private page that only this valid entry maps and nobody holds. Page table locked, DISPATCH_LEVEL. FALSE: it stays. */
static BOOLEAN MiMoveValidPage(MI_VACATION *Vacation, PMMPTE PointerPte, ULONG_PTR Va, PMMPFN From, PMMPFN To)
{
    MMPFNENTRY Entry;
    MI_FLUSH_LIST Flush;
    MMPTE Pte;

    MiLockPfn(From);
    Entry = MiReadPfnEntry(From);
    if (From->ReferenceCount != 1 || From->u1.ShareCount != 1 || From->PteAddress != PointerPte ||
        Entry.PageLocation != ActiveAndValid || Entry.Kernel || Entry.PageTable || Entry.PrototypePte ||
        !MiTryLockPfn(To))
    {
        MiUnlockPfn(From);
        return FALSE;
    }
    Pte = MiExchangePte(PointerPte,
                        MiMakeTransitionPte(MiPfnFrame(From), (ULONG)From->OriginalPte.Soft.Protection));
    MiInitializeFlushList(&Flush, Vacation->Space->System ? 0 : Vacation->Space->TopLevel);
    MiAddToFlushList(&Flush, Va, 1);
    MiFlushTb(&Flush);
    MiCopyFrame(MiPfnFrame(To), MiPfnFrame(From));
    To->u1.InPage = NULL;
    MiWriteShareCount(To, 1);
    To->ReferenceCount = 1;
    MiHandOver(Vacation, From, To);
    Pte.Long = (Pte.Long & ~MM_PTE_FRAME_MASK) | ((ULONG64)MiPfnFrame(To) << MM_PTE_FRAME_SHIFT);
    MiWritePte(PointerPte, Pte);
    MiUnlockPfn(To);
    MiUnlockPfn(From);
    return TRUE;
}

static VOID MiVacateEntry(MI_VACATION *Vacation, MI_TRIM_BATCH_LIST *Batch, PMMPTE PointerPte, ULONG_PTR Va,
                          MMPTE Pte)
{
    PFN_NUMBER Frame = Pte.Hard.PageFrameNumber;

    if ((Pte.Long & MM_PTE_SHARED) != 0)
    {
        if ((Pte.Long & MM_PTE_LOCKED_MASK) == 0)
        {
            MiTrimEntry(Batch, PointerPte, Va, MI_KEEP_PROTECTION, FALSE);
        }
    }
    else
    {
        PFN_NUMBER To = MiTakeDestination(Vacation);

        if (To != 0 && !MiMoveValidPage(Vacation, PointerPte, Va, MiPfn(Frame), MiPfn(To)))
        {
            MiFreePage(To);
        }
    }
}

static BOOLEAN MiVacateTable(PVOID Context, PMMPTE First, ULONG_PTR Va, ULONG Count)
{
    MI_VACATION *Vacation = Context;
    PMMPFN Table = MiPtePage(First);
    MI_TRIM_BATCH_LIST Batch;
    ULONG Index = 0;

    MiBeginTrimBatch(&Batch, Vacation->Space);
    while (Index < Count && !Vacation->Short)
    {
        KIRQL OldIrql = KiRaiseIrqlToDispatch();
        ULONG End = Index + MI_TRIM_BATCH < Count ? Index + MI_TRIM_BATCH : Count;

        MiLockPageTable(Table);
        for (; Index < End && !Vacation->Short; Index++)
        {
            MMPTE Pte = MiReadPte(&First[Index]);

            if (Pte.Hard.Valid && (Pte.Long & MM_PTE_PHYSICAL) == 0 &&
                MiIsInside(Vacation, Pte.Hard.PageFrameNumber))
            {
                MiVacateEntry(Vacation, &Batch, &First[Index], Va + ((ULONG_PTR)Index << PAGE_SHIFT), Pte);
            }
        }
        MiEndTrimBatch(&Batch);
        MiUnlockPageTable(Table);
        KiLowerIrqlFromDispatch(OldIrql);
    }
    return !Vacation->Short && Vacation->Claimed != Vacation->Count;
}

static VOID MiVacateSpace(MI_VACATION *Vacation, PMI_ADDRESS_SPACE Space)
{
    MI_SPACE_SLOT *Slot = MiLockSpaceShared(Space);

    Vacation->Space = Space;
    if (!Space->Deleting)
    {
        MiUpdatePeakWorkingSet(Space);
        MiVisitTables(Space, Space->LowestVpn, Space->HighestVpn, MiVacateTable, Vacation);
    }
    MiUnlockSpaceShared(Space, Slot);
}

static BOOLEAN MiVacateProcess(PEPROCESS Process, PVOID Context)
{
    MI_VACATION *Vacation = Context;

    if (!__atomic_load_n(&Process->SpaceDeleted, __ATOMIC_ACQUIRE))
    {
        MiVacateSpace(Vacation, &Process->Space);
    }
    return !Vacation->Short && Vacation->Claimed != Vacation->Count;
}

static BOOLEAN MiVacateSession(PMM_SESSION_SPACE Session, PVOID Context)
{
    MI_VACATION *Vacation = Context;

    MiVacateSpace(Vacation, &Session->Space);
    return !Vacation->Short && Vacation->Claimed != Vacation->Count;
}

/* ---- Windows ------------------------------------------------------------------------------------------------------------- */

/* A look without locks: what may become ours. Plain, and unseen by TSan: whoever acts on it looks again under the lock. */
PORT_UNSEEN_BY_TSAN
static DECLSPEC_NOINLINE BOOLEAN MiMayMove(const MMPFN *Pfn)
{
    MMPFNENTRY Entry = *(const volatile MMPFNENTRY *)&Pfn->e1;

    switch (Entry.PageLocation)
    {
    case ZeroedPageList:
    case FreePageList:
    case StandbyPageList:
    case ModifiedPageList:
    case ModifiedNoWritePageList:
        return !Entry.PageTable;
    case ActiveAndValid:
        return !Entry.Kernel && !Entry.PageTable && *(const volatile USHORT *)&Pfn->ReferenceCount == 1;
    default:
        return FALSE;
    }
}

static BOOLEAN MiIsRunFresh(PFN_NUMBER Frame)
{
    const MI_PHYSICAL_STATE *Physical = MiState.Physical;

    for (ULONG Index = 0; Index < Physical->RunCount; Index++)
    {
        const MI_MEMORY_RUN *Run = &Physical->Runs[Index];

        if (Frame >= __atomic_load_n(&Run->Fresh, __ATOMIC_ACQUIRE) &&
            Frame < __atomic_load_n(&Run->FreshEnd, __ATOMIC_ACQUIRE))
        {
            return TRUE;
        }
    }
    return FALSE;
}

/* The first frame of the next window from Frame on in which everything may move; 0: none. */
static PFN_NUMBER MiNextWindow(const MI_VACATE_REQUEST *Request, PFN_NUMBER Frame, PFN_NUMBER Highest)
{
    PFN_NUMBER Align = Request->Align != 0 ? Request->Align : 1;
    PFN_NUMBER First = (Frame + Align - 1) / Align * Align;

    for (Frame = First; First != 0 && First + Request->Count - 1 <= Highest && Frame <= Highest;)
    {
        PFN_NUMBER Last = First + Request->Count - 1;

        if (Request->Boundary != 0 && First / Request->Boundary != Last / Request->Boundary)
        {
            First = (Last / Request->Boundary * Request->Boundary + Align - 1) / Align * Align;
            Frame = First;
            continue;
        }
        if (!MiIsRamFrame(Frame) || MiIsRunFresh(Frame) || !MiMayMove(MiPfn(Frame)))
        {
            First = (Frame + Align) / Align * Align;
            Frame = First;
            continue;
        }
        if (Frame == Last)
        {
            return First;
        }
        Frame++;
    }
    return 0;
}

static VOID MiGiveBackClaimed(const MI_VACATION *Vacation)
{
    for (PFN_NUMBER Frame = Vacation->First; Frame < Vacation->First + Vacation->Count; Frame++)
    {
        if (MiIsOurs(Vacation, Frame))
        {
            MiFreePage(Frame);
        }
    }
}

static BOOLEAN MiVacateWindow(MI_VACATION *Vacation)
{
    for (ULONG Round = 0; Round < MI_VACATE_ROUNDS && !Vacation->Short; Round++)
    {
        PFN_NUMBER Before = Vacation->Claimed;

        MiDrainPageCaches();
        MiClaimIdleFrames(Vacation);
        if (Vacation->Claimed != Vacation->Count && !Vacation->Short)
        {
            PsForEachProcess(MiVacateProcess, Vacation);
        }
        if (Vacation->Claimed != Vacation->Count && !Vacation->Short)
        {
            MiForEachSession(MiVacateSession, Vacation);
            MiVacateSpace(Vacation, &MiState.Space->System);
            MiClaimIdleFrames(Vacation);
        }
        if (Vacation->Claimed == Vacation->Count)
        {
            return TRUE;
        }
        if (Vacation->Claimed == Before)
        {
            break;
        }
    }
    return FALSE;
}

PFN_NUMBER MiVacateFrames(const MI_VACATE_REQUEST *Request)
{
    PFN_NUMBER Highest =
        Request->Highest < MiState.Physical->HighestPage ? Request->Highest : MiState.Physical->HighestPage;
    SIZE_T Bytes = (Request->Count + 63) / 64 * sizeof(ULONG64);
    MI_VACATION Vacation = { .Count = Request->Count };
    PFN_NUMBER Window = Request->Lowest != 0 ? Request->Lowest : 1;
    PFN_NUMBER Found = 0;

    if (Request->Count == 0 || MiAvailablePages() < Request->Count + MiState.Physical->MinimumReserve)
    {
        return 0;
    }
    Vacation.Ours = MiAllocatePool(Bytes, MI_TAG('M', 'm', 'V', 'c'));
    for (ULONG Try = 0; Vacation.Ours != NULL && Found == 0 && Try < MI_VACATE_WINDOWS; Try++)
    {
        Vacation.First = MiNextWindow(Request, Window, Highest);
        if (Vacation.First == 0)
        {
            break;
        }
        if (MiVacateWindow(&Vacation))
        {
            Found = Vacation.First;
            break;
        }
        MiGiveBackClaimed(&Vacation);
        for (SIZE_T Word = 0; Word < Bytes / sizeof(ULONG64); Word++)
        {
            Vacation.Ours[Word] = 0;
        }
        Vacation.Claimed = 0;
        Vacation.Short = FALSE;
        Window = Vacation.First + Request->Count;
    }
    if (Vacation.Ours != NULL)
    {
        MiFreePool((PVOID)(ULONG_PTR)Vacation.Ours, MI_TAG('M', 'm', 'V', 'c'));
    }
    for (PFN_NUMBER Frame = Found; Found != 0 && Frame < Found + Request->Count; Frame++)
    {
        MiZeroFrame(Frame);
    }
    return Found;
}
