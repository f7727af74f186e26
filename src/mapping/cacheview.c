/* SPDX-License-Identifier: MIT */
/*
 * Views of the cache: windows of 256 KiB of files in system space. They are ordinary views of the file's data section, so their pages are
 * the file's only pages, faults bring them in, and the system's working set ages them. A view stays mapped when nobody uses it until another
 * one is needed, the least recently used first.
 */
#include "mapping/cache.h"
#include "virtual/range.h"

#define CC_ADDRESSES 0x400000ull /* pages: where views are looked for, 16 GiB */

static PMI_ADDRESS_SPACE CcpSpace(void)
{
    return &MiState.Space->System;
}

/* ---- Mapping and unmapping ----------------------------------------------------------------------------- */

/* From the lower end of the system window; paged pool is at the upper one. */
static NTSTATUS CcpPlaceView(PMMVAD Vad)
{
    PMI_ADDRESS_SPACE Space = CcpSpace();
    MI_FIND_RANGE Find = { .Pages = CC_VIEW_PAGES,
                           .AlignPages = CC_VIEW_PAGES,
                           .LowestVpn = Space->LowestVpn,
                           .HighestVpn = Space->LowestVpn + CC_ADDRESSES };

    return MiPlaceVadBy(Space, Vad, MiChooseEmptyRange, &Find);
}

/* The view's control area is referenced by the map. */
static NTSTATUS CcpMapView(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, ULONG_PTR *Base)
{
    PMMVAD Vad = MiAllocateVadPatiently(CC_VIEW_PAGES);
    NTSTATUS Status;

    if (Vad == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    MiReferenceControlArea(CacheMap->ControlArea, MiCacheViewReference, FALSE, FALSE);
    Vad->u.Protection = MM_READWRITE;
    Vad->u.CommitProtection = MM_READWRITE;
    Vad->u.CacheView = 1;
    Vad->FirstPage = Offset >> PAGE_SHIFT;
    Vad->ControlArea = CacheMap->ControlArea;
    Status = CcpPlaceView(Vad);
    if (!NT_SUCCESS(Status))
    {
        MiDestroyVad(Vad);
        return Status;
    }
    *Base = Vad->StartingVpn << PAGE_SHIFT;
    return STATUS_SUCCESS;
}

/* Page tables of system space never leave memory (MiTrimPageTables), so nothing here can fail or wait for a disk. */
static VOID CcpUnmapView(ULONG_PTR Base)
{
    PMI_ADDRESS_SPACE Space = CcpSpace();
    PMMVAD Vad;

    MiLockSpaceExclusive(Space);
    Vad = MiLocateVad(Space, Base >> PAGE_SHIFT);
    KiRequire(Vad != NULL && Vad->u.CacheView);
    MiDeletePages(Space, Vad->StartingVpn, Vad->EndingVpn);
    MiUnlinkVad(Space, Vad);
    MiUnlockSpaceExclusive(Space);
    MiDestroyVad(Vad);
}

/* ---- Finding ------------------------------------------------------------------------------------------- */

static PVACB CcpFindView(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset)
{
    for (ULONG Index = 0; Index < CC_VIEWS; Index++)
    {
        PVACB View = &MiState.Mapping->Views[Index];

        if (View->CacheMap == CacheMap && View->Offset == Offset)
        {
            return View;
        }
    }
    return NULL;
}

/* Lock held. The least recently used view becomes one of this file, or NULL: all are in use. */
static PVACB CcpTakeUnused(void)
{
    MI_MAPPING_STATE *State = MiState.Mapping;
    PVACB View;

    if (IsListEmpty(&State->Unused))
    {
        return NULL;
    }
    View = CONTAINING_RECORD(RemoveHeadList(&State->Unused), VACB, Links);
    if (View->CacheMap != NULL)
    {
        View->CacheMap = NULL;
        CcpUnmapView(View->Base);
    }
    return View;
}

static VOID CcpReturnUnused(PVACB View)
{
    InsertHeadList(&MiState.Mapping->Unused, &View->Links);
}

/* Lock held. */
static NTSTATUS CcpFindOrMapView(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, PVACB *View)
{
    NTSTATUS Status;

    *View = CcpFindView(CacheMap, Offset);
    if (*View != NULL)
    {
        if ((*View)->ActiveCount++ == 0)
        {
            RemoveEntryList(&(*View)->Links);
        }
        return STATUS_SUCCESS;
    }
    *View = CcpTakeUnused();
    if (*View == NULL)
    {
        KeClearEvent(&MiState.Mapping->ViewFreed);
        return STATUS_RETRY;
    }
    __atomic_fetch_add(&MiState.Mapping->ViewMisses, 1, __ATOMIC_RELAXED);
    Status = CcpMapView(CacheMap, Offset, &(*View)->Base);
    if (!NT_SUCCESS(Status))
    {
        CcpReturnUnused(*View);
        return Status;
    }
    (*View)->CacheMap = CacheMap;
    (*View)->Offset = Offset;
    (*View)->ActiveCount = 1;
    return STATUS_SUCCESS;
}

NTSTATUS CcpGetView(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, BOOLEAN Wait, PVACB *View)
{
    Offset &= ~(ULONG64)(VACB_MAPPING_GRANULARITY - 1);
    for (;;)
    {
        LARGE_INTEGER Timeout = { .QuadPart = -100000 };
        NTSTATUS Status;

        CcpLock();
        Status = CcpFindOrMapView(CacheMap, Offset, View);
        CcpUnlock();
        if (Status != STATUS_RETRY)
        {
            return Status;
        }
        if (!Wait)
        {
            return STATUS_CANT_WAIT;
        }
        KeWaitForSingleObject(&MiState.Mapping->ViewFreed, Executive, KernelMode, FALSE, &Timeout);
    }
}

/* Lock held. */
static VOID CcpLeaveView(PVACB View)
{
    if (--View->ActiveCount == 0)
    {
        InsertTailList(&MiState.Mapping->Unused, &View->Links);
        KeSetEvent(&MiState.Mapping->ViewFreed, 0, FALSE);
    }
}

VOID CcpReleaseView(PVACB View)
{
    CcpLock();
    CcpLeaveView(View);
    CcpUnlock();
}

VOID CcpHoldView(PVACB View)
{
    View->Holds++;
}

VOID CcpUnholdView(PVACB View)
{
    View->Holds--;
    CcpLeaveView(View);
}

static BOOLEAN CcpIsInRange(PVACB View, PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, ULONG64 Length)
{
    return View->CacheMap == CacheMap && View->Offset + VACB_MAPPING_GRANULARITY > Offset &&
           (View->Offset < Offset || View->Offset - Offset < Length);
}

/* The view stays; its pages of the range are not mapped any more, until somebody touches them. */
static VOID CcpUnmapPart(PVACB View, ULONG64 Offset, ULONG64 Length)
{
    ULONG_PTR Vpn = View->Base >> PAGE_SHIFT;
    ULONG64 First = Offset > View->Offset ? (Offset - View->Offset) >> PAGE_SHIFT : 0;
    ULONG64 End = CC_VIEW_PAGES;

    if (Length < ~0ull - Offset && Offset + Length < View->Offset + VACB_MAPPING_GRANULARITY)
    {
        End = BYTES_TO_PAGES(Offset + Length - View->Offset);
    }
    MiLockSpaceExclusive(CcpSpace());
    MiDeletePages(CcpSpace(), Vpn + First, Vpn + End - 1);
    MiUnlockSpaceExclusive(CcpSpace());
}

/* Lock held. FALSE: some of them are in use. */
static BOOLEAN CcpTryUnmapViews(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, ULONG64 Length)
{
    BOOLEAN All = TRUE;

    for (ULONG Index = 0; Index < CC_VIEWS; Index++)
    {
        PVACB View = &MiState.Mapping->Views[Index];

        if (!CcpIsInRange(View, CacheMap, Offset, Length))
        {
            continue;
        }
        if (View->Holds != 0)
        {
            CcpUnmapPart(View, Offset, Length);
            continue;
        }
        if (View->ActiveCount != 0)
        {
            All = FALSE;
            continue;
        }
        RemoveEntryList(&View->Links);
        View->CacheMap = NULL;
        CcpUnmapView(View->Base);
        CcpReturnUnused(View);
    }
    if (!All)
    {
        KeClearEvent(&MiState.Mapping->ViewFreed);
    }
    return All;
}

VOID CcpUnmapViews(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, ULONG64 Length)
{
    for (;;)
    {
        LARGE_INTEGER Timeout = { .QuadPart = -100000 };
        BOOLEAN All;

        CcpLock();
        All = CcpTryUnmapViews(CacheMap, Offset, Length);
        CcpUnlock();
        if (All)
        {
            return;
        }
        KeWaitForSingleObject(&MiState.Mapping->ViewFreed, Executive, KernelMode, FALSE, &Timeout);
    }
}

VOID CcpCollectDirty(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, ULONG64 Length)
{
    CcpLock(); /* keeps the views */
    for (ULONG Index = 0; Index < CC_VIEWS; Index++)
    {
        PVACB View = &MiState.Mapping->Views[Index];

        if (CcpIsInRange(View, CacheMap, Offset, Length))
        {
            ULONG_PTR Vpn = View->Base >> PAGE_SHIFT;
            MI_SPACE_SLOT *Slot = MiLockSpaceShared(CcpSpace());

            MiCollectDirtyBits(CcpSpace(), Vpn, Vpn + CC_VIEW_PAGES - 1);
            MiUnlockSpaceShared(CcpSpace(), Slot);
        }
    }
    CcpUnlock();
}
