/* SPDX-License-Identifier: MIT */
/*
 * What is at an address: regions of pages alike (MemoryBasicInformation) and whole allocations
 * (MemoryRegionInformation). A region is found by walking the tables that exist; a hole of any size is one
 * step. Works under the shared lock; only a page table that is not in memory needs the exclusive one for a
 * moment.
 */
#include "virtual/range.h"

/* State and protection of the pages of one chunk, in the units in which regions are merged. */
typedef struct _MI_PAGE_STATE
{
    BOOLEAN Committed;
    ULONG Protection; /* MM_*, when committed */
} MI_PAGE_STATE;

static MI_PAGE_STATE MiStateOfEntry(const MMVAD *Vad, ULONG_PTR Vpn, MMPTE Pte)
{
    MI_PAGE_STATE State = { .Protection = 0 };

    State.Committed = MiIsEntryCommitted(Vad, Vpn, Pte, &State.Protection);
    if (!State.Committed)
    {
        State.Protection = 0;
    }
    return State;
}

static BOOLEAN MiIsSameState(MI_PAGE_STATE First, MI_PAGE_STATE Second)
{
    return First.Committed == Second.Committed && First.Protection == Second.Protection;
}

/* The state of the pages from Vpn on that are alike, and how many they are; entries from PointerPte on, NULL: no page table. */
static ULONG_PTR MiMeasureAlike(const MMVAD *Vad, ULONG_PTR Vpn, ULONG_PTR EndVpn, PMMPTE PointerPte,
                                MI_PAGE_STATE *State)
{
    ULONG_PTR Count;

    if (PointerPte != NULL)
    {
        *State = MiStateOfEntry(Vad, Vpn, MiReadPte(PointerPte));
        return 1;
    }
    Count = MiMeasureZeroEntries(Vad, Vpn, EndVpn, &State->Committed, &State->Protection);
    State->Protection = State->Committed ? State->Protection : 0;
    return Count;
}

/*
 * The pages from Vpn on that are alike, inside Vad. STATUS_RETRY: the page table of *AbsentVpn must be
 * brought in first. Space locked.
 */
static NTSTATUS MiMeasureRegion(PMI_ADDRESS_SPACE Space, const MMVAD *Vad, ULONG_PTR Vpn,
                                MI_PAGE_STATE *State, PULONG_PTR EndVpn, PULONG_PTR AbsentVpn)
{
    BOOLEAN First = TRUE;
    MI_RANGE Range;
    MI_CHUNK Chunk;

    MiBeginRange(&Range, Space, Vpn, Vad->EndingVpn);
    while ((Chunk = MiNextChunk(&Range)) != MiChunkEnd)
    {
        ULONG_PTR Here = Range.Vpn;

        if (Chunk == MiChunkAbsent)
        {
            *AbsentVpn = Range.Vpn;
            return STATUS_RETRY;
        }
        while (Here < Range.NextVpn)
        {
            PMMPTE PointerPte = Chunk == MiChunkTable ? &Range.PointerPte[Here - Range.Vpn] : NULL;
            MI_PAGE_STATE This = { .Committed = TRUE };
            ULONG_PTR Count = Range.NextVpn - Here;

            if (Chunk == MiChunkLarge)
            {
                This.Protection = MiProtectionFromValidPte(MiReadPte(Range.PointerPte));
            }
            else
            {
                Count = MiMeasureAlike(Vad, Here, Range.NextVpn - 1, PointerPte, &This);
            }

            if (First)
            {
                *State = This;
                First = FALSE;
            }
            else if (!MiIsSameState(*State, This))
            {
                *EndVpn = Here - 1;
                return STATUS_SUCCESS;
            }
            Here += Count;
        }
    }
    *EndVpn = Vad->EndingVpn;
    return STATUS_SUCCESS;
}

/* What kind of memory a VAD is (MEM_*). */
static ULONG MiTypeOfVad(const MMVAD *Vad)
{
    if (Vad->u.VadType == VadImageMap)
    {
        return MEM_IMAGE;
    }
    return Vad->ControlArea != NULL || Vad->u.VadType == VadDevicePhysicalMemory ? MEM_MAPPED : MEM_PRIVATE;
}

static VOID MiDescribeFree(PMI_ADDRESS_SPACE Space, ULONG_PTR Vpn, PMEMORY_BASIC_INFORMATION Information)
{
    PMMVAD Next = MiLocateVadInRange(Space, Vpn, MiVpnOf(PORT_USER_HIGHEST));
    ULONG_PTR End = Next != NULL ? Next->StartingVpn : MiVpnOf(PORT_USER_HIGHEST) + 1;

    Information->RegionSize = MiVaOf(End - Vpn);
    Information->State = MEM_FREE;
    Information->Protect = PAGE_NOACCESS;
}

static NTSTATUS MiTryQueryBasic(PMI_ADDRESS_SPACE Space, ULONG_PTR Vpn, PMEMORY_BASIC_INFORMATION Information,
                                PULONG_PTR AbsentVpn)
{
    MI_PAGE_STATE State = { 0 };
    ULONG_PTR EndVpn;
    PMMVAD Vad;
    NTSTATUS Status;

    if (Space->Deleting)
    {
        return STATUS_PROCESS_IS_TERMINATING;
    }
    Vad = MiLocateVad(Space, Vpn);
    if (Vad == NULL)
    {
        MiDescribeFree(Space, Vpn, Information);
        return STATUS_SUCCESS;
    }
    Status = MiMeasureRegion(Space, Vad, Vpn, &State, &EndVpn, AbsentVpn);
    if (Status != STATUS_SUCCESS)
    {
        return Status;
    }
    Information->AllocationBase = (PVOID)MiVaOf(Vad->StartingVpn);
    Information->AllocationProtect = MiWin32Protection(Vad->u.Protection);
    Information->RegionSize = MiVaOf(EndVpn - Vpn + 1);
    Information->State = State.Committed ? MEM_COMMIT : MEM_RESERVE;
    Information->Protect = State.Committed ? MiWin32Protection(State.Protection) : 0;
    Information->Type = MiTypeOfVad(Vad);
    return STATUS_SUCCESS;
}

/* Brings one page table in for a query. */
static NTSTATUS MiBringTableIn(PMI_ADDRESS_SPACE Space, ULONG_PTR Vpn)
{
    NTSTATUS Status = STATUS_SUCCESS;
    BOOLEAN Dropped;

    MiLockSpaceExclusive(Space);
    if (!Space->Deleting && MiLocateVad(Space, Vpn) != NULL)
    {
        Status = MiBringPageTableIn(Space, MiVaOf(Vpn), &Dropped);
    }
    MiUnlockSpaceExclusive(Space);
    return Status;
}

NTSTATUS MiQueryBasicInformation(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, PMEMORY_BASIC_INFORMATION Information)
{
    NTSTATUS Status = STATUS_RETRY;

    if (Va > PORT_USER_HIGHEST)
    {
        return STATUS_INVALID_PARAMETER;
    }
    for (ULONG Round = 0; Round < MI_MAXIMUM_RESTARTS && Status == STATUS_RETRY; Round++)
    {
        ULONG_PTR AbsentVpn = 0;
        MI_SPACE_SLOT *Slot;

        *Information = (MEMORY_BASIC_INFORMATION){ .BaseAddress = PAGE_ALIGN(Va) };
        Slot = MiLockSpaceShared(Space);
        Status = MiTryQueryBasic(Space, MiVpnOf(Va), Information, &AbsentVpn);
        MiUnlockSpaceShared(Space, Slot);
        if (Status == STATUS_RETRY)
        {
            NTSTATUS Brought = MiBringTableIn(Space, AbsentVpn);

            if (!NT_SUCCESS(Brought))
            {
                return Brought;
            }
        }
    }
    return Status == STATUS_RETRY ? STATUS_NO_MEMORY : Status;
}

static VOID MiDescribeRegionType(const MMVAD *Vad, PMEMORY_REGION_INFORMATION Information)
{
    PCONTROL_AREA ControlArea = Vad->ControlArea;

    Information->Private = (Vad->u.PrivateMemory || Vad->u.VadType == VadAwe) & 1u;
    Information->MappedPhysical = Vad->u.VadType == VadDevicePhysicalMemory;
    Information->PageSizeLarge = MiIsLargeVad(Vad);
    if (ControlArea != NULL)
    {
        Information->MappedDataFile = ControlArea->Backing == MiBackingDataFile;
        Information->MappedImage = Vad->u.VadType == VadImageMap;
        Information->MappedPageFile = ControlArea->Backing == MiBackingPagingFile;
        Information->MappedPhysical = ControlArea->Backing == MiBackingPhysical;
    }
}

NTSTATUS MiQueryRegionInformation(PMI_ADDRESS_SPACE Space, ULONG_PTR Va,
                                  PMEMORY_REGION_INFORMATION Information)
{
    NTSTATUS Status = STATUS_SUCCESS;
    MI_SPACE_SLOT *Slot;
    PMMVAD Vad;

    if (Va > PORT_USER_HIGHEST)
    {
        return STATUS_INVALID_PARAMETER;
    }
    *Information = (MEMORY_REGION_INFORMATION){ .NodePreference = ~(ULONG_PTR)0 };
    Slot = MiLockSpaceShared(Space);
    Vad = Space->Deleting ? NULL : MiLocateVad(Space, MiVpnOf(Va));
    if (Vad == NULL)
    {
        Status = Space->Deleting ? STATUS_PROCESS_IS_TERMINATING : STATUS_INVALID_ADDRESS;
    }
    else
    {
        Information->AllocationBase = (PVOID)MiVaOf(Vad->StartingVpn);
        Information->AllocationProtect = MiWin32Protection(Vad->u.Protection);
        MiDescribeRegionType(Vad, Information);
        Information->PlaceholderReservation = Vad->u.Placeholder & 1u;
        Information->MappedWriteWatch = Vad->u.VadType == VadWriteWatch;
        Information->RegionSize = MiVaOf(MiVadPages(Vad));
        Information->CommitSize = MiVaOf(Vad->CommitCharge);
    }
    MiUnlockSpaceShared(Space, Slot);
    return Status;
}
