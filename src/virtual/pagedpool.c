/* SPDX-License-Identifier: MIT */
/*
 * The pages of the machine's paged pool: one region at the upper end of the system window. Handed to room pool as
 * a page source.
 */
#include "virtual/pagedpool.h"

#define MI_PAGED_POOL_MINIMUM 0x10000ull /* pages of addresses: 256 MiB */
#define MI_PAGED_POOL_MAXIMUM 0x4000000ull

static ULONG64 MiCurrentProcessNumber(void)
{
    return MiCurrentProcess()->UniqueProcessId;
}

ULONG_PTR MiPagedPoolStartVpn(void)
{
    return MiState.Virtual->Paged.BaseVpn;
}

/* ---- Birth and death ---------------------------------------------------------------------------------- */

NTSTATUS MiInitializePagedPool(void)
{
    PMI_ADDRESS_SPACE Space = &MiState.Space->System;
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
    Status = MiInitializePoolRegion(&State->Paged, Space, Space->HighestVpn + 1 - Pages, (ULONG)Pages);
    if (NT_SUCCESS(Status))
    {
        Status = ExpAttachPagedPool(&MiPoolRegionOperations, &State->Paged,
                                    State->Paged.BaseVpn << PAGE_SHIFT, Pages);
    }
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
    MiDeletePoolRegion(&State->Paged);
    PortFreeBootMemory(State, sizeof(*State));
    MiState.Virtual = NULL;
}
