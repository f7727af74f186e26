/* SPDX-License-Identifier: MIT */
/*
 * Large pages of user mode (MEM_LARGE_PAGES): regions in which every 2 MiB are one run of frames behind one entry of level 1. Such a region is whole from
 * its first moment to its last: frames, commitment and the tables above are had first, VAD and entries come with the space locked once, and everything goes
 * together. So no fault ever fills anything in it, nothing of it is paged, aged, trimmed or moved, and no leaf table ever exists there. The frames
 * are the kernel's kind, like those of AWE: an MDL may keep some of them for longer. Theory: docs/virtual.md.
 */
#include "virtual/range.h"

#define MI_TAG_LARGE    MI_TAG('M', 'm', 'L', 'p')
#define MI_LARGE_BATCH  16u /* pages whose frames go after one flush */
#define MI_LARGE_ROUNDS 3u  /* of driving out what is in the way */
#define MI_LARGE_FRAMES MI_PTES_PER_PAGE

typedef struct _MI_LARGE_REGION
{
    PMMVAD Vad;
    ULONG Protection;
    SIZE_T Pages; /* large ones */
    SIZE_T Taken;
    PFN_NUMBER *Frames; /* the first of each page */
    ULONG_PTR TriedVpn; /* tables were made for a region there; 0: nowhere */
} MI_LARGE_REGION;

/* Documented: the memory is always read/write. */
BOOLEAN MiIsLargePageProtection(ULONG Protection)
{
    return Protection == MM_READWRITE || Protection == MM_EXECUTE_READWRITE;
}

/* ---- Frames -------------------------------------------------------------------------------------------------- */

static VOID MiReleaseLargeFrame(PFN_NUMBER First)
{
    for (PFN_NUMBER Frame = First; Frame < First + MI_LARGE_FRAMES; Frame++)
    {
        MiReleaseOwnedFrame(Frame);
    }
    MiReturnResidentAvailable(MI_LARGE_FRAMES);
}

/* Of a preferred node, of any, or of a window out of which pages can move. */
static PFN_NUMBER MiFindLargeFrame(ULONG PreferredNode)
{
    const PFN_NUMBER Highest = MiState.Physical->HighestPage;
    MI_VACATE_REQUEST Vacate = { .Count = MI_LARGE_FRAMES, .Highest = Highest, .Align = MI_LARGE_FRAMES };
    PFN_NUMBER Frame = 0;

    if (PreferredNode != 0)
    {
        Frame =
            MiAllocateContiguousPagesOnNode(MI_LARGE_FRAMES, 0, Highest, MI_LARGE_FRAMES, PreferredNode - 1);
    }
    if (Frame == 0)
    {
        Frame = MiAllocateContiguousPages(MI_LARGE_FRAMES, 0, Highest, MI_LARGE_FRAMES);
    }
    return Frame != 0 ? Frame : MiVacateFrames(&Vacate);
}

/*
 * Whatever stands in the way and cannot move leaves memory. Pages first; page tables go when nothing below them is there, standby included. The documentation
 * says that it may affect the whole system, and so it does, rather than refuse. FALSE: it has been tried.
 */
static BOOLEAN MiClearTheWay(PULONG Round)
{
    if (*Round == MI_LARGE_ROUNDS)
    {
        return FALSE;
    }
    if (*Round != 0)
    {
        MiPurgeStandby(MI_PRIORITIES - 1);
    }
    MiDriveOut();
    *Round += 1;
    return TRUE;
}

/* All of them, or none. */
static NTSTATUS MiTakeLargeFrames(MI_LARGE_REGION *Region, ULONG PreferredNode)
{
    ULONG Round = 0;

    while (Region->Taken < Region->Pages)
    {
        PFN_NUMBER Frame;

        if (!MiChargeResidentAvailable(MI_LARGE_FRAMES))
        {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        do
        {
            Frame = MiFindLargeFrame(PreferredNode);
        } while (Frame == 0 && MiClearTheWay(&Round));
        if (Frame == 0)
        {
            MiReturnResidentAvailable(MI_LARGE_FRAMES);
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        Region->Frames[Region->Taken++] = Frame;
    }
    return STATUS_SUCCESS;
}

/* ---- Making a region ------------------------------------------------------------------------------------------- */

static NTSTATUS MiPrepareLargeRegion(MI_LARGE_REGION *Region, const MI_ALLOCATION *Allocation)
{
    PMMVAD Vad;

    Region->Pages = Allocation->Size / MI_LEVEL_BYTES(1);
    Vad = MiAllocateVadPatiently(Allocation->Size >> PAGE_SHIFT);
    if (Vad == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Vad->u.VadType = VadLargePages;
    Vad->u.Protection = Region->Protection & 31u;
    Vad->u.CommitProtection = Region->Protection & 31u;
    Vad->u.PrivateMemory = 1;
    Vad->u.MemCommit = 1;
    Vad->u.PreferredNode = Allocation->PreferredNode & 31u;
    Vad->u.TopDown = (Allocation->Type & MEM_TOP_DOWN) != 0;
    Vad->CommitCharge = Allocation->Size >> PAGE_SHIFT;
    Region->Vad = Vad;
    Region->Frames = MiAllocatePool(Region->Pages * sizeof(PFN_NUMBER), MI_TAG_LARGE);
    return Region->Frames != NULL ? MiTakeLargeFrames(Region, Allocation->PreferredNode)
                                  : STATUS_INSUFFICIENT_RESOURCES;
}

static VOID MiWriteLargeEntry(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, PFN_NUMBER Frame, ULONG Protection)
{
    MMPTE Pte = MiMakeValidPte(Frame, Protection, TRUE);
    PMMPTE Entry;
    ULONG Level = MiWalk(Space->TopLevel, Va, &Entry);

    KiRequire(Level == 1 && MiReadPte(Entry).Long == 0);
    Pte.Long |= MM_PTE_LARGE_PAGE | MM_PTE_DIRTY | MM_PTE_PHYSICAL;
    MiWritePte(Entry, Pte);
    MiAddUsedEntries(Entry, 1);
    MiIncrementPageTableShare(Entry);
}

/* Tables that an attempt made elsewhere, or in vain. Space exclusive. */
static VOID MiForgetTriedTables(PMI_ADDRESS_SPACE Space, MI_LARGE_REGION *Region)
{
    if (Region->TriedVpn != 0)
    {
        MiFreeEmptyTables(Space, Region->TriedVpn, Region->TriedVpn + MiVadPages(Region->Vad) - 1);
        Region->TriedVpn = 0;
    }
}

/* No VAD is there, so leaf tables that are left are empty: they came back from a paging file, or were made by somebody who was refused. */
static VOID MiFreeLeafTables(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    MI_RANGE Range;
    MI_CHUNK Chunk;

    MiBeginRange(&Range, Space, StartVpn, EndVpn);
    while ((Chunk = MiNextChunk(&Range)) != MiChunkEnd)
    {
        if (Chunk == MiChunkTable)
        {
            MiFreeEmptyTables(Space, Range.Vpn, Range.NextVpn - 1);
        }
    }
}

/* One attempt, space locked. STATUS_RETRY: it was unlocked meanwhile. */
static NTSTATUS MiTryPlaceLargeRegion(PMI_ADDRESS_SPACE Space, const MI_ALLOCATION *Allocation,
                                      MI_LARGE_REGION *Region)
{
    PMMVAD Vad = Region->Vad;
    SIZE_T Pages = MiVadPages(Vad);
    ULONG_PTR StartVpn;
    BOOLEAN Dropped;
    NTSTATUS Status = Space->Deleting ? STATUS_PROCESS_IS_TERMINATING
                                      : MiChooseAddress(Space, Allocation, Pages, &StartVpn);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Region->TriedVpn != StartVpn)
    {
        MiForgetTriedTables(Space, Region);
    }
    Region->TriedVpn = StartVpn;
    MiFreeLeafTables(Space, StartVpn, StartVpn + Pages - 1);
    Status = MiMakeTablesResident(Space, StartVpn, StartVpn + Pages - 1, MI_LARGE_PAGE_TABLES, &Dropped);
    if (!NT_SUCCESS(Status) || Dropped)
    {
        return NT_SUCCESS(Status) ? STATUS_RETRY : Status;
    }
    Vad->StartingVpn = StartVpn;
    Vad->EndingVpn = StartVpn + Pages - 1;
    MiLinkVad(Space, Vad);
    for (SIZE_T Index = 0; Index < Region->Pages; Index++)
    {
        MiWriteLargeEntry(Space, MiVaOf(StartVpn) + Index * MI_LEVEL_BYTES(1), Region->Frames[Index],
                          Region->Protection);
    }
    Space->LargePages += Region->Pages;
    return STATUS_SUCCESS;
}

static NTSTATUS MiPlaceLargeRegion(PMI_ADDRESS_SPACE Space, const MI_ALLOCATION *Allocation,
                                   MI_LARGE_REGION *Region)
{
    NTSTATUS Status = STATUS_RETRY;

    for (ULONG Round = 0; Round < MI_MAXIMUM_RESTARTS && Status == STATUS_RETRY; Round++)
    {
        MiLockSpaceExclusive(Space);
        Status = MiTryPlaceLargeRegion(Space, Allocation, Region);
        if (!NT_SUCCESS(Status) && Status != STATUS_RETRY && !Space->Deleting)
        {
            MiForgetTriedTables(Space, Region);
        }
        MiUnlockSpaceExclusive(Space);
    }
    return Status == STATUS_RETRY ? STATUS_NO_MEMORY : Status;
}

/* Documented: size and alignment are multiples of the large-page minimum. */
static NTSTATUS MiCheckLargeRequest(const MI_ALLOCATION *Allocation, ULONG Protection)
{
    if ((Allocation->Base & (MI_LEVEL_BYTES(1) - 1)) != 0)
    {
        return STATUS_INVALID_PARAMETER_2;
    }
    if ((Allocation->Size & (MI_LEVEL_BYTES(1) - 1)) != 0)
    {
        return STATUS_INVALID_PARAMETER_4;
    }
    if (!MiIsLargePageProtection(Protection))
    {
        return STATUS_INVALID_PAGE_PROTECTION;
    }
    return STATUS_SUCCESS;
}

NTSTATUS MiAllocateLargePages(PMI_ADDRESS_SPACE Space, PMI_ALLOCATION Allocation, ULONG Protection)
{
    MI_LARGE_REGION Region = { .Protection = Protection };
    MI_ALLOCATION Request = *Allocation;
    SIZE_T Charge = Allocation->Size >> PAGE_SHIFT;
    NTSTATUS Status = MiCheckLargeRequest(Allocation, Protection);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Request.Alignment < MI_LEVEL_BYTES(1))
    {
        Request.Alignment = MI_LEVEL_BYTES(1);
    }
    /* Documented: job limits do not concern large pages. */
    Status = MiChargeSpaceCommit(Space, Charge, MI_COMMIT_BEYOND_SPACE);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = MiPrepareLargeRegion(&Region, &Request);
    Status = NT_SUCCESS(Status) ? MiPlaceLargeRegion(Space, &Request, &Region) : Status;
    if (NT_SUCCESS(Status))
    {
        Allocation->Base = MiVaOf(Region.Vad->StartingVpn);
        MiCountMany(LargePagesMade, Region.Pages);
    }
    else
    {
        for (SIZE_T Index = 0; Index < Region.Taken; Index++)
        {
            MiReleaseLargeFrame(Region.Frames[Index]);
        }
        if (Region.Vad != NULL)
        {
            MiDestroyVad(Region.Vad);
        }
        MiReturnSpaceCommit(Space, Charge);
        MiCount(LargePageFailures);
    }
    if (Region.Frames != NULL)
    {
        MiFreePool(Region.Frames, MI_TAG_LARGE);
    }
    return Status;
}

/* ---- Deleting, changing ----------------------------------------------------------------------------------------- */

static VOID MiEndLargeBatch(MI_FLUSH_LIST *Flush, PFN_NUMBER *Frames, PULONG Count)
{
    MiFlushTb(Flush);
    for (ULONG Index = 0; Index < *Count; Index++)
    {
        MiReleaseLargeFrame(Frames[Index]);
    }
    *Count = 0;
}

VOID MiDeleteLargePages(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    PFN_NUMBER Frames[MI_LARGE_BATCH];
    ULONG Count = 0;
    MI_FLUSH_LIST Flush;
    MI_RANGE Range;
    MI_CHUNK Chunk;

    MiInitializeFlushList(&Flush, Space->TopLevel);
    MiBeginRange(&Range, Space, StartVpn, EndVpn);
    while ((Chunk = MiNextChunk(&Range)) != MiChunkEnd)
    {
        MMPTE Zero = { .Long = 0 };
        MMPTE Old;

        if (Chunk != MiChunkLarge)
        {
            continue;
        }
        Old = MiExchangePte(Range.PointerPte, Zero);
        MiAddUsedEntries(Range.PointerPte, -1);
        MiDecrementPageTableShare(Range.PointerPte);
        MiAddToFlushList(&Flush, MiVaOf(Range.Vpn), MI_PTES_PER_PAGE);
        Space->LargePages--;
        Frames[Count++] = Old.Hard.PageFrameNumber;
        if (Count == MI_LARGE_BATCH)
        {
            MiEndLargeBatch(&Flush, Frames, &Count);
        }
    }
    MiEndLargeBatch(&Flush, Frames, &Count);
}

VOID MiWidenToLargePages(PULONG_PTR StartVpn, PULONG_PTR EndVpn)
{
    *StartVpn &= ~(ULONG_PTR)(MI_PTES_PER_PAGE - 1);
    *EndVpn |= MI_PTES_PER_PAGE - 1;
}

VOID MiProtectLargePages(PMI_ADDRESS_SPACE Space, PMMVAD Vad, ULONG_PTR StartVpn, ULONG_PTR EndVpn,
                         ULONG Protection)
{
    MI_FLUSH_LIST Flush;
    MI_RANGE Range;
    MI_CHUNK Chunk;

    MiInitializeFlushList(&Flush, Space->TopLevel);
    MiBeginRange(&Range, Space, StartVpn, EndVpn);
    while ((Chunk = MiNextChunk(&Range)) != MiChunkEnd)
    {
        MMPTE Old = MiReadPte(Range.PointerPte);
        MMPTE New = MiMakeValidPte(Old.Hard.PageFrameNumber, Protection, TRUE);

        KiRequire(Chunk == MiChunkLarge);
        New.Long |= MM_PTE_LARGE_PAGE | MM_PTE_DIRTY | (Old.Long & MM_PTE_STAYS);
        if (MiProtectionFromValidPte(Old) != Protection)
        {
            MiWritePte(Range.PointerPte, New);
            MiAddToFlushList(&Flush, MiVaOf(Range.Vpn), MI_PTES_PER_PAGE);
        }
    }
    MiFlushTb(&Flush);
    if (MiIsWholeVad(Vad, StartVpn, EndVpn))
    {
        Vad->u.CommitProtection = Protection & 31u;
    }
}
