/* SPDX-License-Identifier: MIT */
/*
 * MEM_RESET: the contents of pages are of no interest for now, so they are neither written to nor read from a
 * paging file. A resident page becomes clean with nothing behind it; when its frame is taken, its entry goes
 * back to demand zero with ColdPage set, which is how MEM_RESET_UNDO finds out that something was lost. Pages
 * in the paging file give their slot back at once. Pages that are locked, shared with a clone, or in I/O stay
 * as they are: resetting is permission, not duty.
 */
#include "virtual/range.h"

typedef struct _MI_RESET
{
    MI_VISITOR Visitor;
    MI_FLUSH_LIST Flush;
    BOOLEAN Undo;
    BOOLEAN Lost;
} MI_RESET;

static MMPTE MiColdEntry(MMPTE Pte)
{
    MMPTE Cold = MiMakeDemandZeroPte((ULONG)Pte.Soft.Protection);

    Cold.Soft.ColdPage = 1;
    return Cold;
}

/* The frame's contents need no copy any more. Frame locked, nothing in flight. */
static VOID MiForgetContents(PMMPFN Pfn)
{
    MMPTE Original = Pfn->OriginalPte;
    BOOLEAN Listed = Pfn->e1.PageLocation == ModifiedPageList;

    if (Listed)
    {
        MiUnlinkPage(Pfn);
    }
    Pfn->OriginalPte = MiColdEntry(Original);
    Pfn->e1.Modified = 0;
    if (MiIsPagedOut(Original))
    {
        MiReleasePageFileSpace(Original);
    }
    if (Listed)
    {
        MiInsertPageInList(Pfn);
    }
}

/* They matter again, and exist in memory only. */
static VOID MiRememberContents(PMMPFN Pfn)
{
    BOOLEAN Listed = Pfn->e1.PageLocation == StandbyPageList;

    if (!Pfn->OriginalPte.Soft.ColdPage)
    {
        return;
    }
    if (Listed)
    {
        MiUnlinkPage(Pfn);
    }
    Pfn->OriginalPte.Soft.ColdPage = 0;
    MiSetFrameModified(Pfn);
    if (Listed)
    {
        MiInsertPageInList(Pfn);
    }
}

static VOID MiResetFrame(MI_RESET *Reset, PMMPTE PointerPte, ULONG_PTR Vpn, MMPTE Pte)
{
    PMMPFN Pfn = MiPfn(Pte.Hard.Valid ? Pte.Hard.PageFrameNumber : Pte.Trans.PageFrameNumber);

    MiLockPfn(Pfn);
    if (!Pte.Hard.Valid && MiReadPte(PointerPte).Long != Pte.Long)
    {
        /* The frame was taken for somebody else meanwhile: the entry is what OriginalPte was. */
        MiUnlockPfn(Pfn);
        return;
    }
    if (!Pfn->e1.ReadInProgress && !Pfn->e1.WriteInProgress)
    {
        if (Reset->Undo)
        {
            MiRememberContents(Pfn);
        }
        else
        {
            if (Pte.Hard.Valid)
            {
                MiClearPteBits(PointerPte, MM_PTE_DIRTY);
                MiAddToFlushList(&Reset->Flush, MiVaOf(Vpn), 1);
            }
            MiForgetContents(Pfn);
        }
    }
    MiUnlockPfn(Pfn);
}

static VOID MiResetBegin(PMI_VISITOR Visitor)
{
    MiInitializeFlushList(&CONTAINING_RECORD(Visitor, MI_RESET, Visitor)->Flush, Visitor->Space->TopLevel);
}

static VOID MiResetEnd(PMI_VISITOR Visitor)
{
    MiFlushTb(&CONTAINING_RECORD(Visitor, MI_RESET, Visitor)->Flush);
}

static VOID MiResetVisit(PMI_VISITOR Visitor, PMMPTE PointerPte, ULONG_PTR Vpn, MMPTE Pte)
{
    MI_RESET *Reset = CONTAINING_RECORD(Visitor, MI_RESET, Visitor);

    if (Pte.Hard.Valid || MiIsTransition(Pte))
    {
        if (!Pte.Hard.Valid || (Pte.Long & (MM_PTE_SHARED | MM_PTE_LOCKED_MASK)) == 0)
        {
            MiResetFrame(Reset, PointerPte, Vpn, Pte);
        }
        Pte = MiReadPte(PointerPte);
    }
    if (MiIsPagedOut(Pte) && !Reset->Undo)
    {
        MiWritePte(PointerPte, MiColdEntry(Pte));
        MiReleasePageFileSpace(Pte);
    }
    else if (MiIsDemandZero(Pte) && Pte.Soft.ColdPage && Reset->Undo)
    {
        Reset->Lost = TRUE;
        MiWritePte(PointerPte, MiMakeDemandZeroPte((ULONG)Pte.Soft.Protection));
    }
}

/* One attempt, space locked. STATUS_RETRY: it was unlocked meanwhile. */
static NTSTATUS MiTryReset(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn, MI_RESET *Reset)
{
    BOOLEAN Dropped;
    PMMVAD Vad;
    NTSTATUS Status = MiLocateRange(Space, StartVpn, EndVpn, &Vad);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (!Vad->u.PrivateMemory || Vad->u.Placeholder || Vad->u.Reserved)
    {
        return STATUS_CONFLICTING_ADDRESSES;
    }
    Status = MiMakeTablesResident(Space, StartVpn, EndVpn, MI_EXISTING_TABLES, &Dropped);
    if (!NT_SUCCESS(Status) || Dropped)
    {
        return NT_SUCCESS(Status) ? STATUS_RETRY : Status;
    }
    MiVisitEntries(&Reset->Visitor, StartVpn, EndVpn);
    return STATUS_SUCCESS;
}

NTSTATUS MiResetPages(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn, BOOLEAN Undo)
{
    MI_RESET Reset = { .Visitor = { .Begin = MiResetBegin,
                                    .Visit = MiResetVisit,
                                    .End = MiResetEnd,
                                    .Space = Space,
                                    .SkipZero = TRUE },
                       .Undo = Undo };
    NTSTATUS Status = STATUS_RETRY;

    for (ULONG Round = 0; Round < MI_MAXIMUM_RESTARTS && Status == STATUS_RETRY; Round++)
    {
        MiLockSpaceExclusive(Space);
        Status = MiTryReset(Space, StartVpn, EndVpn, &Reset);
        MiUnlockSpaceExclusive(Space);
    }
    if (Status == STATUS_RETRY)
    {
        return STATUS_NO_MEMORY;
    }
    return NT_SUCCESS(Status) && Reset.Lost ? STATUS_DEVICE_BUSY : Status;
}
