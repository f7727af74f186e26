/* SPDX-License-Identifier: MIT */
/*
 * Large pages of user mode (MEM_LARGE_PAGES): regions in which every 2 MiB are one run of frames behind one entry of level 1. Such a region is whole from
 * its first moment to its last: frames, commitment and the tables above are had first, VAD and entries come with the space locked once, and everything goes
 * together. So no fault ever fills anything in it, nothing of it is paged, aged, trimmed or moved, and no leaf table ever exists there. The frames
 * are the kernel's kind, like those of AWE: an MDL may keep some of them for longer. Theory: docs/virtual.md.
 */
#include "virtual/range.h"

#define MI_TAG_LARGE   MI_TAG('M', 'm', 'L', 'p')
#define MI_LARGE_BATCH 16u /* pages whose frames go after one flush */

typedef struct _MI_LARGE_REGION
{
    PMMVAD Vad;
    ULONG Protection;
    SIZE_T Pages; /* large ones */
    SIZE_T Taken;
    PFN_NUMBER *Frames; /* the first of each page */
} MI_LARGE_REGION;

typedef struct _MI_LARGE_PLACE
{
    const MI_ALLOCATION *Allocation;
    PMMVAD Vad;
    const PFN_NUMBER *Frames;
    ULONG Protection;
    ULONG_PTR TriedVpn; /* tables were made for it there; 0: nowhere */
} MI_LARGE_PLACE;

/* Documented: the memory is always read/write. */
static BOOLEAN MiIsLargePageProtection(ULONG Protection)
{
    return Protection == MM_READWRITE || Protection == MM_EXECUTE_READWRITE;
}

/* A view may be for less, but it is never copied, and what is there can be reached. */
BOOLEAN MiIsLargeViewProtection(ULONG Protection)
{
    return MiIsLargePageProtection(Protection) || Protection == MM_READONLY || Protection == MM_EXECUTE_READ;
}

BOOLEAN MiFitsLargeVad(const MMVAD *Vad, ULONG Protection)
{
    return Vad->u.VadType == VadLargePages ? MiIsLargePageProtection(Protection)
                                           : MiIsLargeViewProtection(Protection);
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

/* All of them, or none. */
static NTSTATUS MiTakeLargeFrames(MI_LARGE_REGION *Region, ULONG PreferredNode)
{
    ULONG Round = 0;

    while (Region->Taken < Region->Pages)
    {
        PFN_NUMBER Frame = MiTakeLargeFrame(PreferredNode, &Round);

        if (Frame == 0)
        {
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

/* Bits: MM_PTE_SHARED: the frames are a section's. */
static VOID MiWriteLargeEntry(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, PFN_NUMBER Frame, ULONG Protection,
                              ULONG64 Bits)
{
    MMPTE Pte = MiMakeValidPte(Frame, Protection, TRUE);
    PMMPTE Entry;
    ULONG Level = MiWalk(Space->TopLevel, Va, &Entry);

    KiRequire(Level == 1 && MiReadPte(Entry).Long == 0);
    Pte.Long |= MM_PTE_LARGE_PAGE | MM_PTE_DIRTY | MM_PTE_PHYSICAL | Bits;
    MiWritePte(Entry, Pte);
    MiAddUsedEntries(Entry, 1);
    MiIncrementPageTableShare(Entry);
}

/* Tables that an attempt made elsewhere, or in vain. Space exclusive. */
static VOID MiForgetTriedTables(PMI_ADDRESS_SPACE Space, MI_LARGE_PLACE *Place)
{
    if (Place->TriedVpn != 0)
    {
        MiFreeEmptyTables(Space, Place->TriedVpn, Place->TriedVpn + MiVadPages(Place->Vad) - 1);
        Place->TriedVpn = 0;
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

/* Twice, because a page of the directory that was in transition shows only when it is valid which leaf tables are left below it. */
static NTSTATUS MiMakeLargeTables(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    NTSTATUS Status = STATUS_SUCCESS;
    BOOLEAN Dropped = FALSE;

    for (ULONG Pass = 0; Pass < 2 && NT_SUCCESS(Status) && !Dropped; Pass++)
    {
        MiFreeLeafTables(Space, StartVpn, EndVpn);
        Status = MiMakeTablesResident(Space, StartVpn, EndVpn, MI_LARGE_PAGE_TABLES, &Dropped);
    }
    return NT_SUCCESS(Status) && Dropped ? STATUS_RETRY : Status;
}

/* One attempt, space locked. STATUS_RETRY: it was unlocked meanwhile. */
static NTSTATUS MiTryPlaceLargeVad(PMI_ADDRESS_SPACE Space, MI_LARGE_PLACE *Place)
{
    PMMVAD Vad = Place->Vad;
    SIZE_T Pages = MiVadPages(Vad);
    ULONG_PTR StartVpn;
    NTSTATUS Status = Space->Deleting ? STATUS_PROCESS_IS_TERMINATING
                                      : MiChooseAddress(Space, Place->Allocation, Pages, &StartVpn);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Place->TriedVpn != StartVpn)
    {
        MiForgetTriedTables(Space, Place);
    }
    Place->TriedVpn = StartVpn;
    Status = MiMakeLargeTables(Space, StartVpn, StartVpn + Pages - 1);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Vad->StartingVpn = StartVpn;
    Vad->EndingVpn = StartVpn + Pages - 1;
    MiLinkVad(Space, Vad);
    for (SIZE_T Index = 0; Index < Pages / MI_PTES_PER_PAGE; Index++)
    {
        MiWriteLargeEntry(Space, MiVaOf(StartVpn) + Index * MI_LEVEL_BYTES(1), Place->Frames[Index],
                          Place->Protection, Vad->ControlArea != NULL ? MM_PTE_SHARED : 0);
    }
    Space->LargePages += Pages / MI_PTES_PER_PAGE;
    return STATUS_SUCCESS;
}

NTSTATUS MiPlaceLargeVad(PMI_ADDRESS_SPACE Space, const MI_ALLOCATION *Allocation, PMMVAD Vad,
                         const PFN_NUMBER *Frames, ULONG Protection)
{
    MI_LARGE_PLACE Place = {
        .Allocation = Allocation, .Vad = Vad, .Frames = Frames, .Protection = Protection
    };
    NTSTATUS Status = STATUS_RETRY;

    for (ULONG Round = 0; Round < MI_MAXIMUM_RESTARTS && Status == STATUS_RETRY; Round++)
    {
        MiLockSpaceExclusive(Space);
        Status = MiTryPlaceLargeVad(Space, &Place);
        if (!NT_SUCCESS(Status) && Status != STATUS_RETRY && !Space->Deleting)
        {
            MiForgetTriedTables(Space, &Place);
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
    Status = NT_SUCCESS(Status)
                 ? MiPlaceLargeVad(Space, &Request, Region.Vad, Region.Frames, Region.Protection)
                 : Status;
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
        if ((Old.Long & MM_PTE_SHARED) == 0)
        {
            Frames[Count++] = Old.Hard.PageFrameNumber;
        }
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
        New.Long |= MM_PTE_LARGE_PAGE | MM_PTE_DIRTY | (Old.Long & (MM_PTE_STAYS | MM_PTE_SHARED));
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
