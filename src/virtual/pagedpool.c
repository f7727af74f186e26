/* SPDX-License-Identifier: MIT */
/*
 * The pages of paged pool: one region at the upper end of the system window, whose pages are committed and
 * decommitted like those of a private region of a process. So paged pool ages, is trimmed, goes to the paging
 * files and comes back by the same code as everything else. The region's VAD exists while pages are in use:
 * an idle machine owns nothing. Handed to room pool as a page source.
 */
#include "virtual/pagedpool.h"
#include "pool/expool.h"
#include "rtl/bitmap.h"
#include "virtual/range.h"

#define MI_PAGED_POOL_MINIMUM 0x10000ull /* pages of addresses: 256 MiB */
#define MI_PAGED_POOL_MAXIMUM 0x4000000ull

static PMI_ADDRESS_SPACE MiSystemSpace(void)
{
    return &MiState.Space->System;
}

static FORCEINLINE ULONG_PTR MiPagedPoolVpn(ULONG Page)
{
    return MiState.Virtual->BaseVpn + Page;
}

/* ---- The region --------------------------------------------------------------------------------------- */

/* Lock held. FALSE: no pool for the VAD, or somebody else is in the region. */
static BOOLEAN MiOpenPagedRegion(void)
{
    struct _MI_VIRTUAL_STATE *State = MiState.Virtual;
    PMI_ADDRESS_SPACE Space = MiSystemSpace();
    ULONG_PTR EndVpn = State->BaseVpn + State->Pages - 1;
    BOOLEAN IsFree;
    PMMVAD Vad;

    if (State->Vad != NULL)
    {
        return TRUE;
    }
    Vad = MiAllocateVad(State->BaseVpn, EndVpn);
    if (Vad == NULL)
    {
        return FALSE;
    }
    Vad->u.PrivateMemory = 1;
    Vad->u.Protection = MM_READWRITE;
    Vad->u.CommitProtection = MM_READWRITE;
    MiLockSpaceExclusive(Space);
    IsFree = MiLocateVadInRange(Space, State->BaseVpn, EndVpn) == NULL;
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
    State->Vad = Vad;
    return TRUE;
}

/* Lock held. */
static VOID MiCloseIdleRegion(void)
{
    struct _MI_VIRTUAL_STATE *State = MiState.Virtual;
    PMI_ADDRESS_SPACE Space = MiSystemSpace();

    if (State->PagesInUse != 0 || State->Vad == NULL)
    {
        return;
    }
    MiLockSpaceExclusive(Space);
    MiUnlinkVad(Space, State->Vad);
    MiUnlockSpaceExclusive(Space);
    MiDestroyVad(State->Vad);
    State->Vad = NULL;
}

/* ---- Pages -------------------------------------------------------------------------------------------- */

static VOID MiCountPagedPages(PEX_POOL_SOURCE Source, LONG64 Delta)
{
    SIZE_T InUse;

    MiState.Virtual->PagesInUse += (SIZE_T)Delta;
    InUse = MiState.Virtual->PagesInUse;
    __atomic_store_n(&Source->PagesInUse, InUse, __ATOMIC_RELAXED);
    if (InUse > Source->PeakPages)
    {
        __atomic_store_n(&Source->PeakPages, InUse, __ATOMIC_RELAXED);
    }
}

/* One attempt. FALSE: the space had to be unlocked. */
static BOOLEAN MiTryDecommitPaged(ULONG_PTR StartVpn, ULONG_PTR EndVpn, PSIZE_T Returned)
{
    PMI_ADDRESS_SPACE Space = MiSystemSpace();
    BOOLEAN Dropped = FALSE;
    NTSTATUS Status;

    MiLockSpaceExclusive(Space);
    Status = MiMakeTablesResident(Space, StartVpn, EndVpn, FALSE, &Dropped);
    if (NT_SUCCESS(Status) && !Dropped)
    {
        *Returned = MiCountCommitted(Space, MiState.Virtual->Vad, StartVpn, EndVpn);
        MiDeletePages(Space, StartVpn, EndVpn);
        MiState.Virtual->Vad->CommitCharge -= *Returned;
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
    struct _MI_VIRTUAL_STATE *State = MiState.Virtual;
    ULONG First = RTL_BITMAP_NOT_FOUND;

    KiAcquirePushLockExclusive(&State->Lock);
    if (Count < State->Pages && MiOpenPagedRegion())
    {
        First = RtlFindClearBitsAndSet(&State->Used, (ULONG)Count, 1);
        if (First != RTL_BITMAP_NOT_FOUND &&
            !NT_SUCCESS(MiCommitPages(MiSystemSpace(), MiPagedPoolVpn(First),
                                      MiPagedPoolVpn(First) + Count - 1, MM_READWRITE)))
        {
            RtlClearBits(&State->Used, First, (ULONG)Count);
            First = RTL_BITMAP_NOT_FOUND;
        }
    }
    if (First != RTL_BITMAP_NOT_FOUND)
    {
        MiCountPagedPages(Source, (LONG64)Count);
    }
    MiCloseIdleRegion();
    KiReleasePushLockExclusive(&State->Lock);
    return First != RTL_BITMAP_NOT_FOUND ? First : 0;
}

/* FreeAddresses: the page numbers may be used again. */
static VOID MiDecommitPagedRun(PEX_POOL_SOURCE Source, ULONG First, SIZE_T Count, BOOLEAN FreeAddresses)
{
    struct _MI_VIRTUAL_STATE *State = MiState.Virtual;
    SIZE_T Returned = 0;

    KiAcquirePushLockExclusive(&State->Lock);
    while (!MiTryDecommitPaged(MiPagedPoolVpn(First), MiPagedPoolVpn(First) + Count - 1, &Returned))
    {
        MiWaitForAvailablePages();
    }
    MiReturnSpaceCommit(MiSystemSpace(), Returned);
    if (FreeAddresses)
    {
        RtlClearBits(&State->Used, First, (ULONG)Count);
    }
    MiCountPagedPages(Source, -(LONG64)Count);
    MiCloseIdleRegion();
    KiReleasePushLockExclusive(&State->Lock);
}

static VOID MiPutPagedRun(PEX_POOL_SOURCE Source, ULONG First, SIZE_T Count)
{
    MiDecommitPagedRun(Source, First, Count, TRUE);
}

/* ---- Pages between guards, for special pool: the neighbours of the page are never committed ---------------- */

static ULONG MiGetPagedGuarded(PEX_POOL_SOURCE Source)
{
    struct _MI_VIRTUAL_STATE *State = MiState.Virtual;
    ULONG First = RTL_BITMAP_NOT_FOUND;

    KiAcquirePushLockExclusive(&State->Lock);
    if (MiOpenPagedRegion())
    {
        First = RtlFindClearBitsAndSet(&State->Used, EX_GUARDED_PAGES, 1);
        if (First != RTL_BITMAP_NOT_FOUND &&
            !NT_SUCCESS(MiCommitPages(MiSystemSpace(), MiPagedPoolVpn(First + 1), MiPagedPoolVpn(First + 1),
                                      MM_READWRITE)))
        {
            RtlClearBits(&State->Used, First, EX_GUARDED_PAGES);
            First = RTL_BITMAP_NOT_FOUND;
        }
    }
    if (First != RTL_BITMAP_NOT_FOUND)
    {
        MiCountPagedPages(Source, 1);
    }
    MiCloseIdleRegion();
    KiReleasePushLockExclusive(&State->Lock);
    return First != RTL_BITMAP_NOT_FOUND ? First + 1 : 0;
}

static VOID MiRevokePagedGuarded(PEX_POOL_SOURCE Source, ULONG Page)
{
    MiDecommitPagedRun(Source, Page, 1, FALSE);
}

static VOID MiPutPagedGuarded(PEX_POOL_SOURCE Source, ULONG Page)
{
    struct _MI_VIRTUAL_STATE *State = MiState.Virtual;

    UNREFERENCED_PARAMETER(Source);
    KiAcquirePushLockExclusive(&State->Lock);
    RtlClearBits(&State->Used, Page - 1, EX_GUARDED_PAGES);
    KiReleasePushLockExclusive(&State->Lock);
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

static const EX_POOL_SOURCE_OPERATIONS MiPagedPoolOperations = { .GetPages = MiGetPagedPages,
                                                                 .PutPages = MiPutPagedPages,
                                                                 .GetRun = MiGetPagedRun,
                                                                 .PutRun = MiPutPagedRun,
                                                                 .GetGuarded = MiGetPagedGuarded,
                                                                 .RevokeGuarded = MiRevokePagedGuarded,
                                                                 .PutGuarded = MiPutPagedGuarded };

static ULONG64 MiCurrentProcessNumber(void)
{
    return MiCurrentProcess()->UniqueProcessId;
}

ULONG_PTR MiPagedPoolStartVpn(void)
{
    return MiState.Virtual->BaseVpn;
}

/* ---- Birth and death ---------------------------------------------------------------------------------- */

NTSTATUS MiInitializePagedPool(void)
{
    PMI_ADDRESS_SPACE Space = MiSystemSpace();
    ULONG64 Window = (Space->HighestVpn + 1 - Space->LowestVpn) / 4;
    ULONG64 Pages = MiState.Physical->NumberOfPages * 4;
    struct _MI_VIRTUAL_STATE *State = PortAllocateBootMemory(sizeof(*State));
    NTSTATUS Status;

    if (State == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    MiState.Virtual = State;
    MiInitializeDriverImages();
    Pages = Pages < MI_PAGED_POOL_MINIMUM ? MI_PAGED_POOL_MINIMUM : Pages;
    Pages = Pages > MI_PAGED_POOL_MAXIMUM ? MI_PAGED_POOL_MAXIMUM : Pages;
    Pages = (Pages > Window ? Window : Pages) & ~511ull; /* whole page tables */
    State->Pages = (ULONG)Pages;
    State->BaseVpn = Space->HighestVpn + 1 - Pages;
    State->Bits = PortAllocateBootMemory(Pages / 8);
    if (State->Bits == NULL)
    {
        MiShutdownPagedPool();
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    RtlInitializeBitMap(&State->Used, State->Bits, (ULONG)Pages);
    RtlSetBit(&State->Used, 0);
    Status = ExpAttachPagedPool(&MiPagedPoolOperations, MiVaOf(State->BaseVpn), Pages);
    if (!NT_SUCCESS(Status))
    {
        MiShutdownPagedPool();
        return Status;
    }
    ExpPool()->CurrentProcessId = MiCurrentProcessNumber;
    return STATUS_SUCCESS;
}

VOID MiShutdownPagedPool(void)
{
    struct _MI_VIRTUAL_STATE *State = MiState.Virtual;

    if (State == NULL)
    {
        return;
    }
    KiRequire(IsListEmpty(&State->Drivers.List));
    ExpDetachPagedPool();
    ExpPool()->CurrentProcessId = NULL;
    if (State->Bits != NULL)
    {
        PortFreeBootMemory(State->Bits, State->Pages / 8);
    }
    PortFreeBootMemory(State, sizeof(*State));
    MiState.Virtual = NULL;
}
