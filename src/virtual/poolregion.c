/* SPDX-License-Identifier: MIT */
/*
 * The pages of a paged pool: a region of a kernel space, whose pages are committed and decommitted like those of a private region of a
 * process. So paged pool ages, is trimmed, goes to the paging files and comes back by the same code as everything else. The
 * region's VAD exists while pages are in use: who is idle owns nothing.
 */
#include "virtual/poolregion.h"
#include "virtual/range.h"

static FORCEINLINE ULONG_PTR MiRegionVpn(const MI_POOL_REGION *Region, ULONG Page)
{
    return Region->BaseVpn + Page;
}

/* ---- The region --------------------------------------------------------------------------------------- */

/* Lock held. FALSE: no pool for the VAD, or somebody else is in the region. */
static BOOLEAN MiOpenPagedRegion(PMI_POOL_REGION Region)
{
    PMI_ADDRESS_SPACE Space = Region->Space;
    ULONG_PTR EndVpn = Region->BaseVpn + Region->Pages - 1;
    BOOLEAN IsFree;
    PMMVAD Vad;

    if (Region->Vad != NULL)
    {
        return TRUE;
    }
    Vad = MiAllocateVad(Region->BaseVpn, EndVpn);
    if (Vad == NULL)
    {
        return FALSE;
    }
    Vad->u.PrivateMemory = 1;
    Vad->u.Protection = MM_READWRITE;
    Vad->u.CommitProtection = MM_READWRITE;
    MiLockSpaceExclusive(Space);
    IsFree = MiLocateVadInRange(Space, Region->BaseVpn, EndVpn) == NULL;
    if (IsFree)
    {
        MiLinkVad(Space, Vad);
    }
    MiUnlockSpaceExclusive(Space);
    if (!IsFree)
    {
        MiDestroyVad(Vad);
        return FALSE;
    }
    Region->Vad = Vad;
    return TRUE;
}

/* Lock held. */
static VOID MiCloseIdleRegion(PMI_POOL_REGION Region)
{
    PMI_ADDRESS_SPACE Space = Region->Space;

    if (Region->PagesInUse != 0 || Region->Vad == NULL)
    {
        return;
    }
    MiLockSpaceExclusive(Space);
    MiUnlinkVad(Space, Region->Vad);
    MiUnlockSpaceExclusive(Space);
    MiDestroyVad(Region->Vad);
    Region->Vad = NULL;
}

/* ---- Pages -------------------------------------------------------------------------------------------- */

static VOID MiCountPagedPages(PEX_POOL_SOURCE Source, LONG64 Delta)
{
    PMI_POOL_REGION Region = Source->Region;
    SIZE_T InUse = Region->PagesInUse + (SIZE_T)Delta;

    Region->PagesInUse = InUse;
    __atomic_store_n(&Source->PagesInUse, InUse, __ATOMIC_RELAXED);
    if (InUse > Source->PeakPages)
    {
        __atomic_store_n(&Source->PeakPages, InUse, __ATOMIC_RELAXED);
    }
}

/* One attempt. FALSE: the space had to be unlocked. */
static BOOLEAN MiTryDecommitPaged(PMI_POOL_REGION Region, ULONG_PTR StartVpn, ULONG_PTR EndVpn,
                                  PSIZE_T Returned)
{
    PMI_ADDRESS_SPACE Space = Region->Space;
    BOOLEAN Dropped = FALSE;
    NTSTATUS Status;

    MiLockSpaceExclusive(Space);
    Status = MiMakeTablesResident(Space, StartVpn, EndVpn, MI_EXISTING_TABLES, &Dropped);
    if (NT_SUCCESS(Status) && !Dropped)
    {
        *Returned = MiCountCommitted(Space, Region->Vad, StartVpn, EndVpn);
        MiDeletePages(Space, StartVpn, EndVpn);
        Region->Vad->CommitCharge -= *Returned;
    }
    MiUnlockSpaceExclusive(Space);
    if (!NT_SUCCESS(Status) && Status != STATUS_NO_MEMORY)
    {
        KiBugCheckMessage(KERNEL_DATA_INPAGE_ERROR, 0, (ULONG_PTR)(ULONG)Status, MiVaOf(StartVpn), 0,
                          "the page tables of paged pool at %p could not be read in: status %08x",
                          (PVOID)MiVaOf(StartVpn), (ULONG)Status);
    }
    return NT_SUCCESS(Status) && !Dropped;
}

static ULONG MiGetPagedRun(PEX_POOL_SOURCE Source, SIZE_T Count)
{
    PMI_POOL_REGION Region = Source->Region;
    ULONG First = RTL_BITMAP_NOT_FOUND;

    KiAcquirePushLockExclusive(&Region->Lock);
    if (Count < Region->Pages && MiOpenPagedRegion(Region))
    {
        First = RtlFindClearBitsAndSet(&Region->Used, (ULONG)Count, 1);
        if (First != RTL_BITMAP_NOT_FOUND &&
            !NT_SUCCESS(MiCommitPages(Region->Space, MiRegionVpn(Region, First),
                                      MiRegionVpn(Region, First) + Count - 1, MM_READWRITE)))
        {
            RtlClearBits(&Region->Used, First, (ULONG)Count);
            First = RTL_BITMAP_NOT_FOUND;
        }
    }
    if (First != RTL_BITMAP_NOT_FOUND)
    {
        MiCountPagedPages(Source, (LONG64)Count);
    }
    MiCloseIdleRegion(Region);
    KiReleasePushLockExclusive(&Region->Lock);
    return First != RTL_BITMAP_NOT_FOUND ? First : 0;
}

/* FreeAddresses: the page numbers may be used again. */
static VOID MiDecommitPagedRun(PEX_POOL_SOURCE Source, ULONG First, SIZE_T Count, BOOLEAN FreeAddresses)
{
    PMI_POOL_REGION Region = Source->Region;
    SIZE_T Returned = 0;

    KiAcquirePushLockExclusive(&Region->Lock);
    while (!MiTryDecommitPaged(Region, MiRegionVpn(Region, First), MiRegionVpn(Region, First) + Count - 1,
                               &Returned))
    {
        MiWaitForAvailablePages();
    }
    MiReturnSpaceCommit(Region->Space, Returned);
    if (FreeAddresses)
    {
        RtlClearBits(&Region->Used, First, (ULONG)Count);
    }
    MiCountPagedPages(Source, -(LONG64)Count);
    MiCloseIdleRegion(Region);
    KiReleasePushLockExclusive(&Region->Lock);
}

static VOID MiPutPagedRun(PEX_POOL_SOURCE Source, ULONG First, SIZE_T Count)
{
    MiDecommitPagedRun(Source, First, Count, TRUE);
}

/* ---- Pages between guards, for special pool: the neighbours of the page are never committed ---------------- */

static ULONG MiGetPagedGuarded(PEX_POOL_SOURCE Source)
{
    PMI_POOL_REGION Region = Source->Region;
    ULONG First = RTL_BITMAP_NOT_FOUND;

    KiAcquirePushLockExclusive(&Region->Lock);
    if (MiOpenPagedRegion(Region))
    {
        First = RtlFindClearBitsAndSet(&Region->Used, EX_GUARDED_PAGES, 1);
        if (First != RTL_BITMAP_NOT_FOUND &&
            !NT_SUCCESS(MiCommitPages(Region->Space, MiRegionVpn(Region, First + 1),
                                      MiRegionVpn(Region, First + 1), MM_READWRITE)))
        {
            RtlClearBits(&Region->Used, First, EX_GUARDED_PAGES);
            First = RTL_BITMAP_NOT_FOUND;
        }
    }
    if (First != RTL_BITMAP_NOT_FOUND)
    {
        MiCountPagedPages(Source, 1);
    }
    MiCloseIdleRegion(Region);
    KiReleasePushLockExclusive(&Region->Lock);
    return First != RTL_BITMAP_NOT_FOUND ? First + 1 : 0;
}

static VOID MiRevokePagedGuarded(PEX_POOL_SOURCE Source, ULONG Page)
{
    MiDecommitPagedRun(Source, Page, 1, FALSE);
}

static VOID MiPutPagedGuarded(PEX_POOL_SOURCE Source, ULONG Page)
{
    PMI_POOL_REGION Region = Source->Region;

    KiAcquirePushLockExclusive(&Region->Lock);
    RtlClearBits(&Region->Used, Page - 1, EX_GUARDED_PAGES);
    KiReleasePushLockExclusive(&Region->Lock);
}

/* As many as one call gives, consecutive if there are any such; else one. */
static ULONG MiGetPagedPages(PEX_POOL_SOURCE Source, ULONG Wanted, PULONG Pages)
{
    ULONG First = MiGetPagedRun(Source, Wanted);

    if (First == 0 && Wanted > 1)
    {
        Wanted = 1;
        First = MiGetPagedRun(Source, 1);
    }
    for (ULONG Index = 0; First != 0 && Index < Wanted; Index++)
    {
        Pages[Index] = First + Index;
    }
    return First != 0 ? Wanted : 0;
}

static VOID MiPutPagedPages(PEX_POOL_SOURCE Source, ULONG Count, const ULONG *Pages)
{
    for (ULONG Index = 0; Index < Count;)
    {
        ULONG Next = Index + 1;

        while (Next < Count && Pages[Next] == Pages[Index] + (Next - Index))
        {
            Next++;
        }
        MiPutPagedRun(Source, Pages[Index], Next - Index);
        Index = Next;
    }
}

const EX_POOL_SOURCE_OPERATIONS MiPoolRegionOperations = { .GetPages = MiGetPagedPages,
                                                           .PutPages = MiPutPagedPages,
                                                           .GetRun = MiGetPagedRun,
                                                           .PutRun = MiPutPagedRun,
                                                           .GetGuarded = MiGetPagedGuarded,
                                                           .RevokeGuarded = MiRevokePagedGuarded,
                                                           .PutGuarded = MiPutPagedGuarded };

/* ---- Birth and death ---------------------------------------------------------------------------------- */

NTSTATUS MiInitializePoolRegion(PMI_POOL_REGION Region, PMI_ADDRESS_SPACE Space, ULONG_PTR BaseVpn,
                                ULONG Pages)
{
    Region->Space = Space;
    Region->BaseVpn = BaseVpn;
    Region->Pages = Pages;
    Region->Bits = PortAllocateBootMemory(Pages / 8);
    if (Region->Bits == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    RtlInitializeBitMap(&Region->Used, Region->Bits, Pages);
    RtlSetBit(&Region->Used, 0);
    return STATUS_SUCCESS;
}

VOID MiDeletePoolRegion(PMI_POOL_REGION Region)
{
    if (Region->Bits != NULL)
    {
        PortFreeBootMemory(Region->Bits, Region->Pages / 8);
        Region->Bits = NULL;
    }
}
