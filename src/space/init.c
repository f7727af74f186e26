/* SPDX-License-Identifier: MIT */
/* Birth and death of the room: the system's address space, the initial system process, what the surroundings occupy, randomization. */
#include "space/session.h"
#include "nt/psinfo.h"
#include "space/job.h"
#include "translation/systemptes.h"

#define MI_SPACE_SLOT_TAG MI_TAG('M', 'm', 'S', 'l')

/*
 * How far allocations may start from their end of the space: 24 bits of 64 KiB bottom-up, 17 bits top-down, as documented for
 * high-entropy randomization, and at most a 16th of the window where the port's is small.
 */
#define MI_BOTTOM_UP_BITS 24u
#define MI_TOP_DOWN_BITS  17u

ULONG64 MiSpaceRandom(void)
{
    /* splitmix64 */
    ULONG64 Value = __atomic_add_fetch(&MiState.Space->RandomState, 0x9E3779B97F4A7C15ull, __ATOMIC_RELAXED);

    Value = (Value ^ (Value >> 30)) * 0xBF58476D1CE4E5B9ull;
    Value = (Value ^ (Value >> 27)) * 0x94D049BB133111EBull;
    return Value ^ (Value >> 31);
}

static ULONG_PTR MiDrawBias(ULONG_PTR Pages, ULONG Bits)
{
    ULONG_PTR Steps = Pages / 16 / 16;

    if (Steps > (ULONG_PTR)1 << Bits)
    {
        Steps = (ULONG_PTR)1 << Bits;
    }
    return Steps != 0 ? MiSpaceRandom() % Steps * 16 : 0;
}

/* ---- What every space has -------------------------------------------------------------------------------- */

NTSTATUS MiInitializeAddressSpace(PMI_ADDRESS_SPACE Space, ULONG_PTR LowestVpn, ULONG_PTR HighestVpn)
{
    Space->Slots =
        MiAllocateCacheAlignedPool(MiState.Ke->ProcessorCount * sizeof(MI_SPACE_SLOT), MI_SPACE_SLOT_TAG);
    if (Space->Slots == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Space->LowestVpn = LowestVpn;
    Space->HighestVpn = HighestVpn;
    Space->Vm.MinimumWorkingSetSize = MI_DEFAULT_MINIMUM_WORKING_SET;
    Space->Vm.MaximumWorkingSetSize = MI_DEFAULT_MAXIMUM_WORKING_SET;
    Space->Vm.MemoryPriority = MI_DEFAULT_PRIORITY;
    return STATUS_SUCCESS;
}

VOID MiUninitializeAddressSpace(PMI_ADDRESS_SPACE Space)
{
    if (Space->Slots != NULL)
    {
        MiFreePool(Space->Slots, MI_SPACE_SLOT_TAG);
        Space->Slots = NULL;
    }
}

NTSTATUS MiCreateFixedTables(PMI_ADDRESS_SPACE Space, SIZE_T Tables, PFN_NUMBER (*Create)(void))
{
    NTSTATUS Status = MiChargeSpaceCommit(Space, Tables, 0);
    PFN_NUMBER TopLevel;

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (!MiChargeResidentAvailable(Tables))
    {
        MiReturnSpaceCommit(Space, Tables);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    TopLevel = Create();
    while (TopLevel == 0 && MiWaitForAvailablePages())
    {
        TopLevel = Create();
    }
    if (TopLevel == 0)
    {
        MiReturnResidentAvailable(Tables);
        MiReturnSpaceCommit(Space, Tables);
        return STATUS_NO_MEMORY;
    }
    Space->TopLevel = TopLevel;
    Space->PageTablePages = Tables;
    Space->CommittedPageTables = Tables;
    return STATUS_SUCCESS;
}

VOID MiReturnFixedTables(PMI_ADDRESS_SPACE Space, SIZE_T Tables)
{
    Space->TopLevel = 0;
    Space->PageTablePages -= Tables;
    Space->CommittedPageTables -= Tables;
    MiReturnSpaceCommit(Space, Tables);
    MiReturnResidentAvailable(Tables);
}

NTSTATUS MiInitializeUserSpace(PMI_ADDRESS_SPACE Space, PEPROCESS Process)
{
    NTSTATUS Status =
        MiInitializeAddressSpace(Space, PORT_USER_LOWEST >> PAGE_SHIFT, PORT_USER_HIGHEST >> PAGE_SHIFT);

    Space->Process = Process;
    if (NT_SUCCESS(Status) && MiState.Space->Randomize)
    {
        Space->RandomBias = MiDrawBias(Space->HighestVpn - Space->LowestVpn, MI_BOTTOM_UP_BITS);
        Space->TopDownBias = MiDrawBias(Space->HighestVpn - Space->LowestVpn, MI_TOP_DOWN_BITS);
    }
    return Status;
}

/* ---- The system's ---------------------------------------------------------------------------------------- */

static NTSTATUS MiInitializeSystemSpace(PMI_ADDRESS_SPACE System)
{
    NTSTATUS Status = MiInitializeAddressSpace(System, PORT_SYSTEM_START >> PAGE_SHIFT,
                                               (MiSystemPteBase() >> PAGE_SHIFT) - 1);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    System->System = TRUE;
    System->Kernel = TRUE;
    System->TopLevel = MiState.Translation->SystemTopLevel;
    System->Vm.MaximumWorkingSetSize = MiState.Physical->NumberOfPages;
    InsertTailList(&MiState.Space->WorkingSetList, &System->Vm.WorkingSetLinks);
    return STATUS_SUCCESS;
}

NTSTATUS MiInitializeSpace(BOOLEAN Randomize, ULONG64 Seed)
{
    MI_SPACE_STATE *State = PortAllocateBootMemory(sizeof(*State));
    NTSTATUS Status;

    if (State == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    MiState.Space = State;
    InitializeListHead(&State->ProcessList);
    InitializeListHead(&State->WorkingSetList);
    InitializeListHead(&State->SessionList);
    State->Randomize = Randomize;
    State->RandomState = Seed != 0 ? Seed : PortQueryEntropy();
    State->ProcessType = (OB_TYPE){ .Name = "Process",
                                    .PoolTag = MI_TAG('P', 'r', 'o', 'c'),
                                    .AllAccess = PROCESS_ALL_ACCESS,
                                    .Delete = PsDeleteProcessObject };
    State->JobType = (OB_TYPE){ .Name = "Job",
                                .PoolTag = MI_TAG('J', 'o', 'b', ' '),
                                .AllAccess = JOB_OBJECT_ALL_ACCESS,
                                .Close = PsCloseJobObject,
                                .Delete = PsDeleteJobObject };
    State->SessionType =
        (OB_TYPE){ .Name = "Session",
                   .PoolTag = MI_TAG('M', 'm', 'S', 's'),
                   .AllAccess = STANDARD_RIGHTS_REQUIRED | SESSION_QUERY_ACCESS | SESSION_MODIFY_ACCESS,
                   .Delete = MiDeleteSessionObject };
    ExpPool()->CurrentSession = MiCurrentSessionPool;
    Status = MiReadOccupiedRanges(State);
    if (NT_SUCCESS(Status))
    {
        Status = MiInitializeSystemSpace(&State->System);
    }
    if (NT_SUCCESS(Status))
    {
        Status = PsCreateInitialSystemProcess();
    }
    if (!NT_SUCCESS(Status))
    {
        MiShutdownSpace();
    }
    return Status;
}

VOID MiShutdownSpace(void)
{
    MI_SPACE_STATE *State = MiState.Space;

    if (State == NULL)
    {
        return;
    }
    if (State->ProcessCount != 0 || State->SessionCount != 0 || State->System.VadCount != 0)
    {
        KiBugCheckMessage(REFERENCE_BY_POINTER, (ULONG_PTR)&State->ProcessType, State->SessionCount,
                          State->ProcessCount, State->System.VadCount,
                          "the machine ends with %llu processes, %llu sessions and %llu system VADs left",
                          (ULONG64)State->ProcessCount, (ULONG64)State->SessionCount,
                          (ULONG64)State->System.VadCount);
    }
    ExpPool()->CurrentSession = NULL;
    if (State->InitialSystemProcess != NULL)
    {
        ObDereferenceObjectBody(State->InitialSystemProcess);
    }
    MiUninitializeAddressSpace(&State->System);
    PortFreeBootMemory(State, sizeof(*State));
    MiState.Space = NULL;
}

BOOLEAN MiTryLockSpaceExclusive(PMI_ADDRESS_SPACE Space)
{
    if (!KiTryAcquireCacheAwareExclusive((PKI_CACHE_AWARE_SLOT)(PVOID)Space->Slots))
    {
        return FALSE;
    }
    KiNoteLockAcquired(Space, MiSpaceLockLevel(Space), TRUE);
    MiSettleWriterOf(Space);
    return TRUE;
}
