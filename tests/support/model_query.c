/* SPDX-License-Identifier: MIT */
/* The operations that look: queries and walks of whole address spaces, write watch, copies between processes, calls that must fail. */
#include "model.h"

#include "nt/wdm_mm.h"

#define MODEL_WATCH_ROOM 24u

static SIZE_T ModelQueryOne(MODEL *Model, MODEL_SPACE *Space, ULONG_PTR Va)
{
    MEMORY_BASIC_INFORMATION Expected;
    MEMORY_BASIC_INFORMATION Actual;
    SIZE_T Length = 0;
    NTSTATUS Status = ZwQueryVirtualMemory(Space->Handle, (PVOID)Va, MemoryBasicInformation, &Actual,
                                           sizeof(Actual), &Length);

    ModelExpect(Model, "the status of a query", (ULONG)ModelQuery(Space, Va, &Expected), (ULONG)Status);
    if (Space->Shared && Expected.State == MEM_FREE)
    {
        return Expected.RegionSize; /* somebody else's memory may come in between */
    }
    ModelExpect(Model, "the length returned", sizeof(Actual), Length);
    ModelExpect(Model, "BaseAddress", (ULONG_PTR)Expected.BaseAddress, (ULONG_PTR)Actual.BaseAddress);
    ModelExpect(Model, "AllocationBase", (ULONG_PTR)Expected.AllocationBase,
                (ULONG_PTR)Actual.AllocationBase);
    ModelExpect(Model, "AllocationProtect", Expected.AllocationProtect, Actual.AllocationProtect);
    ModelExpect(Model, "State", Expected.State, Actual.State);
    ModelExpect(Model, "Protect", Expected.Protect, Actual.Protect);
    ModelExpect(Model, "Type", Expected.Type, Actual.Type);
    ModelExpect(Model, "RegionSize", Expected.RegionSize, Actual.RegionSize);
    return Actual.RegionSize;
}

static VOID ModelQueryAllocation(MODEL *Model, MODEL_SPACE *Space, ULONG_PTR Va)
{
    MODEL_REGION *Region = ModelRegionAt(Space, Va);
    MEMORY_REGION_INFORMATION Actual;
    NTSTATUS Status = ZwQueryVirtualMemory(Space->Handle, (PVOID)Va, MemoryRegionInformation, &Actual,
                                           sizeof(Actual), NULL);

    if (Region == NULL)
    {
        if (!Space->Shared)
        {
            ModelExpect(Model, "the status of a region query", (ULONG)STATUS_INVALID_ADDRESS, (ULONG)Status);
        }
        return;
    }
    ModelExpect(Model, "the status of a region query", STATUS_SUCCESS, (ULONG)Status);
    ModelExpect(Model, "AllocationBase", Region->Base, (ULONG_PTR)Actual.AllocationBase);
    ModelExpect(Model, "AllocationProtect", Region->Protect, Actual.AllocationProtect);
    ModelExpect(Model, "RegionSize", Region->Pages * PAGE_SIZE, Actual.RegionSize);
    ModelExpect(Model, "CommitSize", ModelCommitted(Region) * PAGE_SIZE, Actual.CommitSize);
    ModelExpect(Model, "PlaceholderReservation", Region->Placeholder, Actual.PlaceholderReservation);
    ModelExpect(Model, "MappedWriteWatch", Region->Watch, Actual.MappedWriteWatch);
    ModelExpect(Model, "Private", 1, Actual.Private);
    ModelExpect(Model, "PageSizeLarge", Region->Large, Actual.PageSizeLarge);
}

VOID ModelRunQuery(MODEL *Model, TEST_RANDOM *Random)
{
    MODEL_SPACE *Space = ModelPickSpace(Model, Random);
    ULONG_PTR Va = ModelPickAddress(Space, Random);

    ModelLog(Model, "process %llu query %p", Space->Process->UniqueProcessId, (PVOID)Va);
    ModelQueryOne(Model, Space, Va);
    ModelQueryAllocation(Model, Space, Va);
}

/* The whole space, as VirtualQuery loops do; every page is seen exactly once. */
VOID ModelRunWalk(MODEL *Model, TEST_RANDOM *Random)
{
    MODEL_SPACE *Space = ModelPickSpace(Model, Random);
    VM_COUNTERS_EX Counters;
    ULONG_PTR Va = Space->Low;
    SIZE_T Reserved = 0;

    ModelLog(Model, "process %llu walk", Space->Process->UniqueProcessId);
    if (Space->Shared)
    {
        return;
    }
    while (Va <= Space->High)
    {
        Va += ModelQueryOne(Model, Space, Va);
    }
    for (ULONG Index = 0; Index < Space->Count; Index++)
    {
        ModelQueryAllocation(Model, Space, Space->Region[Index]->Base);
        Reserved += Space->Region[Index]->Pages * PAGE_SIZE;
    }
    ModelExpect(Model, "the status of counters", STATUS_SUCCESS,
                (ULONG)ZwQueryInformationProcess(Space->Handle, ProcessVmCounters, &Counters,
                                                 sizeof(Counters), NULL));
    ModelExpect(Model, "VirtualSize", Reserved, Counters.VirtualSize);
    ModelExpect(Model, "PagefileUsage",
                (ModelCommittedInSpace(Space) + Space->Process->Space.CommittedPageTables) * PAGE_SIZE,
                Counters.PagefileUsage);
}

/* What is valid must have the right protection, what is locked must be valid. */
VOID ModelRunQueryWs(MODEL *Model, TEST_RANDOM *Random)
{
    MODEL_SPACE *Space = ModelPickSpace(Model, Random);
    MEMORY_WORKING_SET_EX_INFORMATION Entries[8];

    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Entries); Index++)
    {
        Entries[Index].VirtualAddress = (PVOID)ModelPickAddress(Space, Random);
    }
    ModelLog(Model, "process %llu working set of %p...", Space->Process->UniqueProcessId,
             Entries[0].VirtualAddress);
    ModelExpect(Model, "the status", STATUS_SUCCESS,
                (ULONG)ZwQueryVirtualMemory(Space->Handle, NULL, MemoryWorkingSetExInformation, Entries,
                                            sizeof(Entries), NULL));
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Entries); Index++)
    {
        ULONG_PTR Va = (ULONG_PTR)Entries[Index].VirtualAddress;
        MODEL_PAGE *Page = ModelPageAt(Space, Va);
        MEMORY_WORKING_SET_EX_BLOCK Block = Entries[Index].u1.VirtualAttributes;
        BOOLEAN Large;

        if (Page == NULL)
        {
            if (!Space->Shared)
            {
                ModelExpect(Model, "Valid of a free page", 0, Block.Valid);
            }
            continue;
        }
        Large = ModelRegionAt(Space, Va)->Large;
        if (Page->Lock != 0)
        {
            ModelExpect(Model, "Valid of a locked page", 1, Block.Valid);
            ModelExpect(Model, "Locked", 1, Block.Locked);
        }
        if (Block.Valid)
        {
            ModelExpect(Model, "whether a valid page is committed", 1, Page->Committed);
            ModelExpect(Model, "Locked", Page->Lock != 0 || Large, Block.Locked);
            ModelExpect(Model, "LargePage", Large, Block.LargePage);
        }
        if (Large)
        {
            ModelExpect(Model, "Valid of a large page", 1, Block.Valid);
            ModelExpect(Model, "the protection of a large page", Page->Protect, Block.Win32Protection);
        }
    }
}

/* ---- Write watch --------------------------------------------------------------------------------------------------------------------- */

VOID ModelRunWatch(MODEL *Model, TEST_RANDOM *Random)
{
    MODEL_SPACE *Space = ModelPickSpace(Model, Random);
    MODEL_REGION *Region = ModelPickRegion(Space, Random);
    BOOLEAN Get = TestBelow(Random, 3) != 0;
    BOOLEAN Reset = !Get || TestBelow(Random, 2) == 0;
    PVOID Expected[MODEL_WATCH_ROOM];
    PVOID Actual[MODEL_WATCH_ROOM];
    ULONG_PTR Room = 1 + TestBelow(Random, MODEL_WATCH_ROOM);
    ULONG_PTR Count;
    ULONG_PTR RealCount = Room;
    ULONG Granularity = 0;
    ULONG_PTR Base;
    SIZE_T Size;
    NTSTATUS Status;
    NTSTATUS RealStatus;

    for (ULONG Try = 0; Try < 16 && Region != NULL && !Region->Watch; Try++)
    {
        Region = ModelPickRegion(Space, Random);
    }
    if (Region == NULL)
    {
        return;
    }
    Base = Region->Base + TestBelow(Random, 2) * TestBelow(Random, Region->Pages) * PAGE_SIZE;
    Size = 1 + TestBelow(Random, Region->Base + Region->Pages * PAGE_SIZE - Base + TestBelow(Random, 2));
    Size = Size <= Space->High - Base ? Size : 1;
    ModelLog(Model, "process %llu %s watch base %p size 0x%llx reset %u", Space->Process->UniqueProcessId,
             Get ? "get" : "reset", (PVOID)Base, (ULONG64)Size, Reset);
    if (!Get)
    {
        Status = ModelGetWrites(Space, Base, Size, TRUE, ~(ULONG_PTR)0, NULL, &Count);
        ModelExpect(Model, "the status", (ULONG)Status,
                    (ULONG)ZwResetWriteWatch(Space->Handle, (PVOID)Base, Size));
        return;
    }
    Status = ModelGetWrites(Space, Base, Size, Reset, Room, Expected, &Count);
    RealStatus = ZwGetWriteWatch(Space->Handle, Reset ? WRITE_WATCH_FLAG_RESET : 0, (PVOID)Base, Size, Actual,
                                 &RealCount, &Granularity);
    ModelExpect(Model, "the status", (ULONG)Status, (ULONG)RealStatus);
    ModelExpect(Model, "the number of addresses", NT_SUCCESS(Status) ? Count : Room, RealCount);
    for (ULONG_PTR Index = 0; Index < Count && NT_SUCCESS(Status); Index++)
    {
        ModelExpect(Model, "a written address", (ULONG_PTR)Expected[Index], (ULONG_PTR)Actual[Index]);
    }
    ModelExpect(Model, "the granularity", NT_SUCCESS(Status) ? PAGE_SIZE : 0, Granularity);
}

/* ---- Copies between processes ------------------------------------------------------------------------------------------------------------ */

VOID ModelRunCopy(MODEL *Model, TEST_RANDOM *Random)
{
    MODEL_SPACE *From = ModelPickSpace(Model, Random);
    MODEL_SPACE *To = ModelPickSpace(Model, Random);
    ULONG_PTR FromVa = ModelPickAddress(From, Random);
    ULONG_PTR ToVa = ModelPickAddress(To, Random);
    SIZE_T Length =
        1 +
        TestBelow(Random, PAGE_SIZE); /* a page: one piece, so that what was read first is what is written */
    ULONG_PTR FaultVa;
    ULONG_PTR BadVa;
    SIZE_T Read;
    SIZE_T Written = 0;
    SIZE_T RealDone = ~(SIZE_T)0;
    SIZE_T Looked;
    NTSTATUS ReadStatus;
    NTSTATUS WriteStatus = STATUS_SUCCESS;
    NTSTATUS Actual;

    if (FromVa + Length - 1 > From->High || ToVa + Length - 1 > To->High || From == To)
    {
        return;
    }
    ModelLog(Model, "copy 0x%llx bytes from process %llu %p to process %llu %p", (ULONG64)Length,
             From->Process->UniqueProcessId, (PVOID)FromVa, To->Process->UniqueProcessId, (PVOID)ToVa);
    ReadStatus = ModelTouch(From, FromVa, Length, MiAccessRead, NULL, &Read, &FaultVa);
    /* What will be copied, seen by a second pair of eyes; the page is resident or not, that must not matter. */
    if (Read != 0)
    {
        ModelExpect(Model, "the status of the look", STATUS_SUCCESS,
                    (ULONG)ZwReadVirtualMemory(From->Handle, (PVOID)FromVa, Model->Shadow, Read, &Looked));
        if (!ModelVerify(From, FromVa, Read, Model->Shadow, &BadVa))
        {
            ModelFailContents(Model, From, BadVa, Model->Shadow[BadVa - FromVa]);
        }
        WriteStatus = ModelTouch(To, ToVa, Read, MiAccessWrite, Model->Shadow, &Written, &FaultVa);
    }
    Actual = MmCopyVirtualMemory(From->Process, (PVOID)FromVa, To->Process, (PVOID)ToVa, Length, KernelMode,
                                 &RealDone);
    ModelExpect(
        Model, "the status",
        (ULONG)(NT_SUCCESS(ReadStatus) && NT_SUCCESS(WriteStatus) ? STATUS_SUCCESS : STATUS_PARTIAL_COPY),
        (ULONG)Actual);
    ModelExpect(Model, "the number of bytes", Written, RealDone);
}

/* ---- Calls that must fail and change nothing ------------------------------------------------------------------------------------------------ */

VOID ModelRunBadCall(MODEL *Model, TEST_RANDOM *Random)
{
    static const struct
    {
        ULONG Type;
        ULONG Protect;
        NTSTATUS Status;
    } Bad[] = {
        { 0, PAGE_READWRITE, STATUS_INVALID_PARAMETER_5 },
        { MEM_TOP_DOWN, PAGE_READWRITE, STATUS_INVALID_PARAMETER_5 },
        { MEM_COMMIT | MEM_RELEASE, PAGE_READWRITE, STATUS_INVALID_PARAMETER_5 },
        { MEM_RESET | MEM_COMMIT, PAGE_READWRITE, STATUS_INVALID_PARAMETER_5 },
        { MEM_COMMIT | MEM_WRITE_WATCH, PAGE_READWRITE, STATUS_INVALID_PARAMETER_5 },
        { MEM_COMMIT | MEM_RESERVE, 0, STATUS_INVALID_PAGE_PROTECTION },
        { MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE | PAGE_READONLY, STATUS_INVALID_PAGE_PROTECTION },
        { MEM_COMMIT | MEM_RESERVE, PAGE_WRITECOPY, STATUS_INVALID_PAGE_PROTECTION },
        { MEM_COMMIT | MEM_RESERVE, PAGE_EXECUTE_WRITECOPY, STATUS_INVALID_PAGE_PROTECTION },
        { MEM_COMMIT | MEM_RESERVE, PAGE_NOACCESS | PAGE_GUARD, STATUS_INVALID_PAGE_PROTECTION },
        { MEM_COMMIT | MEM_RESERVE, PAGE_READWRITE | PAGE_GUARD | PAGE_NOCACHE,
          STATUS_INVALID_PAGE_PROTECTION },
        { MEM_COMMIT | MEM_RESERVE, 0x800 | PAGE_READWRITE, STATUS_INVALID_PAGE_PROTECTION },
    };
    MODEL_SPACE *Space = ModelPickSpace(Model, Random);
    ULONG64 Which = TestBelow(Random, RTL_NUMBER_OF(Bad) + 4);
    PVOID Base = NULL;
    PVOID OldBase = Base;
    SIZE_T Size = 0x3000;
    ULONG Old = 0;

    ModelLog(Model, "process %llu bad call %llu", Space->Process->UniqueProcessId, Which);
    if (Which < RTL_NUMBER_OF(Bad))
    {
        ModelExpect(Model, "the status", (ULONG)Bad[Which].Status,
                    (ULONG)ZwAllocateVirtualMemory(Space->Handle, &Base, 0, &Size, Bad[Which].Type,
                                                   Bad[Which].Protect));
    }
    else
    {
        MODEL_REGION *Region = ModelPickRegion(Space, Random);

        Base = Region != NULL && Space->High - Region->Base > Size ? (PVOID)Region->Base : (PVOID)Space->Low;
        OldBase = Base;
        switch (Which - RTL_NUMBER_OF(Bad))
        {
        case 0:
            ModelExpect(Model, "the status", (ULONG)STATUS_INVALID_PARAMETER_4,
                        (ULONG)ZwFreeVirtualMemory(Space->Handle, &Base, &Size, MEM_RELEASE | MEM_DECOMMIT));
            break;
        case 1:
            ModelExpect(Model, "the status", (ULONG)STATUS_INVALID_PAGE_PROTECTION,
                        (ULONG)ZwProtectVirtualMemory(Space->Handle, &Base, &Size,
                                                      PAGE_READWRITE | PAGE_EXECUTE, &Old));
            break;
        case 2:
            ModelExpect(Model, "the status", (ULONG)STATUS_INVALID_HANDLE,
                        (ULONG)ZwFreeVirtualMemory((HANDLE)(ULONG_PTR)0x7ff0, &Base, &Size, MEM_RELEASE));
            break;
        default:
            ModelExpect(Model, "the status", (ULONG)STATUS_INVALID_PARAMETER,
                        (ULONG)ZwLockVirtualMemory(Space->Handle, &Base, &Size, 4));
            break;
        }
    }
    ModelExpect(Model, "the base after a failure", (ULONG_PTR)OldBase, (ULONG_PTR)Base);
    ModelExpect(Model, "the size after a failure", 0x3000, Size);
    ModelExpect(Model, "the old protection after a failure", 0, Old);
}
