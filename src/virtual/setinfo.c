/* SPDX-License-Identifier: MIT */
/*
 * What NtSetInformationVirtualMemory does with ranges: prefetching, page priority, removal from the working
 * set. All of it is advice: pages that do not exist are passed over.
 */
#include "virtual/range.h"

#define MI_PREFETCH_STEP 64u

/*
 * Where no page table is in memory: the next page of a view that may have pages in memory, in a paging file or in a file, or the end of the hole.
 * Space locked.
 */
static ULONG_PTR MiSkipToView(PMI_ADDRESS_SPACE Space, ULONG_PTR Vpn, ULONG_PTR HoleEnd)
{
    PMMVAD Vad = MiLocateVadInRange(Space, Vpn, HoleEnd - 1);

    while (Vad != NULL && Vad->StartingVpn < HoleEnd)
    {
        ULONG_PTR End = Vad->EndingVpn + 1 < HoleEnd ? Vad->EndingVpn + 1 : HoleEnd;

        Vpn = Vpn > Vad->StartingVpn ? Vpn : Vad->StartingVpn;
        while (Vad->ControlArea != NULL && Vpn < End)
        {
            ULONG64 Page = Vad->FirstPage + (Vpn - Vad->StartingVpn);

            /* A file has its pages whether anybody has seen them or not. */
            if (Vad->ControlArea->Backing == MiBackingDataFile ||
                MiLookUpChunk(Vad->ControlArea->Segment, Page) != NULL)
            {
                return Vpn;
            }
            Vpn += MI_CHUNK_PAGES - Page % MI_CHUNK_PAGES;
        }
        Vad = MiNextVad(Vad);
    }
    return HoleEnd;
}

/* The part of [Base, Base + Size) that has page tables in memory, and views without, one piece after the other. */
NTSTATUS MiPrefetchRange(PMI_ADDRESS_SPACE Space, ULONG_PTR Base, SIZE_T Size)
{
    ULONG_PTR Vpn = MiVpnOf(Base);
    ULONG_PTR EndVpn = MiVpnOf(Base + Size - 1);

    while (Vpn <= EndVpn)
    {
        MI_SPACE_SLOT *Slot = MiLockSpaceShared(Space);
        BOOLEAN Deleting = Space->Deleting;
        MI_CHUNK Chunk = MiChunkEnd;
        ULONG_PTR End = EndVpn + 1;
        MI_RANGE Range;

        MiBeginRange(&Range, Space, Vpn, EndVpn);
        if (!Deleting)
        {
            Chunk = MiNextChunk(&Range);
            End = Range.NextVpn;
        }
        if (Chunk == MiChunkLarge)
        {
            Vpn = End; /* is always there */
        }
        if (Chunk == MiChunkHole || Chunk == MiChunkAbsent)
        {
            Vpn = MiSkipToView(Space, Vpn, End);
            End = Vpn + MI_PREFETCH_STEP < End ? Vpn + MI_PREFETCH_STEP : End;
        }
        MiUnlockSpaceShared(Space, Slot);
        if (Deleting)
        {
            return STATUS_PROCESS_IS_TERMINATING;
        }
        for (; Vpn < End; Vpn += MI_PREFETCH_STEP)
        {
            ULONG_PTR Left = End - Vpn;

            MiPrefetchAddress(Space, MiVaOf(Vpn), (ULONG)(Left < MI_PREFETCH_STEP ? Left : MI_PREFETCH_STEP));
        }
        Vpn = End;
    }
    return STATUS_SUCCESS;
}

/* ---- Priority ------------------------------------------------------------------------------------------ */

typedef struct _MI_PRIORITY_CHANGE
{
    MI_VISITOR Visitor;
    ULONG Priority;
} MI_PRIORITY_CHANGE;

static VOID MiNoBatch(PMI_VISITOR Visitor)
{
    UNREFERENCED_PARAMETER(Visitor);
}

static VOID MiPriorityVisit(PMI_VISITOR Visitor, PMMPTE PointerPte, ULONG_PTR Vpn, MMPTE Pte)
{
    MI_PRIORITY_CHANGE *Change = CONTAINING_RECORD(Visitor, MI_PRIORITY_CHANGE, Visitor);
    PMMPFN Pfn;

    UNREFERENCED_PARAMETER(Vpn);
    if ((!Pte.Hard.Valid && !MiIsTransition(Pte)) || (Pte.Hard.Valid && (Pte.Long & MM_PTE_PHYSICAL) != 0))
    {
        return;
    }
    Pfn = MiPfn(Pte.Hard.Valid ? Pte.Hard.PageFrameNumber : Pte.Trans.PageFrameNumber);
    MiLockPfn(Pfn);
    if (Pte.Hard.Valid || MiReadPte(PointerPte).Long == Pte.Long)
    {
        BOOLEAN Standby = Pfn->e1.PageLocation == StandbyPageList;

        /* The list follows the priority. */
        if (Standby)
        {
            MiUnlinkPage(Pfn);
        }
        Pfn->e1.Priority = Change->Priority & 7u;
        if (Standby)
        {
            MiInsertPageInList(Pfn);
        }
    }
    MiUnlockPfn(Pfn);
}

NTSTATUS MiSetPriorityRange(PMI_ADDRESS_SPACE Space, ULONG_PTR Base, SIZE_T Size, ULONG Priority)
{
    MI_PRIORITY_CHANGE Change = { .Visitor = { .Begin = MiNoBatch,
                                               .Visit = MiPriorityVisit,
                                               .End = MiNoBatch,
                                               .Space = Space,
                                               .SkipZero = TRUE },
                                  .Priority = Priority };
    ULONG_PTR StartVpn = MiVpnOf(Base);
    ULONG_PTR EndVpn = MiVpnOf(Base + Size - 1);
    NTSTATUS Status = STATUS_SUCCESS;

    MiLockSpaceExclusive(Space);
    if (Space->Deleting)
    {
        Status = STATUS_PROCESS_IS_TERMINATING;
    }
    else
    {
        MI_RANGE Range;
        MI_CHUNK Chunk;

        MiBeginRange(&Range, Space, StartVpn, EndVpn);
        while ((Chunk = MiNextChunk(&Range)) != MiChunkEnd)
        {
            if (Chunk == MiChunkTable)
            {
                MiVisitEntries(&Change.Visitor, Range.Vpn, Range.NextVpn - 1);
            }
        }
        /* Pages of whole allocations that come later get it, too. */
        for (PMMVAD Vad = MiLocateVadInRange(Space, StartVpn, EndVpn);
             Vad != NULL && Vad->StartingVpn <= EndVpn; Vad = MiNextVad(Vad))
        {
            if (Vad->StartingVpn >= StartVpn && Vad->EndingVpn <= EndVpn)
            {
                Vad->u.Priority = (Priority + 1) & 15u;
                Space->VadPriorities = TRUE;
            }
        }
    }
    MiUnlockSpaceExclusive(Space);
    return Status;
}

NTSTATUS MiRemoveRangeFromWorkingSet(PMI_ADDRESS_SPACE Space, ULONG_PTR Base, SIZE_T Size)
{
    MI_SPACE_SLOT *Slot = MiLockSpaceShared(Space);
    BOOLEAN Deleting = Space->Deleting;

    if (!Deleting)
    {
        MiTrimRange(Space, MiVpnOf(Base), MiVpnOf(Base + Size - 1), FALSE);
    }
    MiUnlockSpaceShared(Space, Slot);
    return Deleting ? STATUS_PROCESS_IS_TERMINATING : STATUS_SUCCESS;
}
