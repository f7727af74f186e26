/* SPDX-License-Identifier: MIT */
/* The operations on processes and on the machine: clone, end, limits, lists of pages, time, paging files; and looking at memory. */
#include "model.h"

/* ---- Processes -------------------------------------------------------------------------------------------------------------------- */

static MODEL_SPACE *ModelAdoptSpace(MODEL *Model, ULONG Slot, HANDLE Handle, PEPROCESS Process)
{
    MODEL_SPACE *Space = calloc(1, sizeof(*Space));

    if (Space == NULL)
    {
        abort();
    }
    Space->Handle = Handle;
    Space->Process = Process;
    Space->Low = Process->Space.LowestVpn << PAGE_SHIFT;
    Space->High = (Process->Space.HighestVpn << PAGE_SHIFT) + PAGE_SIZE - 1;
    Space->Minimum = Process->Space.Vm.MinimumWorkingSetSize;
    Space->Maximum = Process->Space.Vm.MaximumWorkingSetSize;
    Model->Space[Slot] = Space;
    return Space;
}

static ULONG ModelFreeSlot(MODEL *Model)
{
    ULONG Slot = 0;

    while (Slot < MODEL_SPACES && Model->Space[Slot] != NULL)
    {
        Slot++;
    }
    return Slot;
}

MODEL_SPACE *ModelCreateSpace(MODEL *Model)
{
    PEPROCESS Process;
    HANDLE Handle;

    ModelExpect(Model, "the status of a new process", STATUS_SUCCESS,
                (ULONG)PsCreateProcessObject("model", &Process));
    ModelExpect(
        Model, "the status of a handle", STATUS_SUCCESS,
        (ULONG)ObInsertHandle(PsGetCurrentProcess()->HandleTable, Process, PROCESS_ALL_ACCESS, &Handle));
    return ModelAdoptSpace(Model, ModelFreeSlot(Model), Handle, Process);
}

VOID ModelDeleteSpace(MODEL *Model, ULONG Slot)
{
    MODEL_SPACE *Space = Model->Space[Slot];

    ModelLog(Model, "process %llu ends", Space->Process->UniqueProcessId);
    ModelExpect(Model, "the status of the end", STATUS_SUCCESS,
                (ULONG)ZwTerminateProcess(Space->Handle, STATUS_SUCCESS));
    ModelExpect(Model, "the status of closing", STATUS_SUCCESS, (ULONG)ZwClose(Space->Handle));
    ObDereferenceObjectBody(Space->Process);
    ModelClearSpace(Space);
    free(Space);
    Model->Space[Slot] = NULL;
}

static BOOLEAN ModelHasLargePages(const MODEL_SPACE *Space)
{
    for (ULONG Index = 0; Index < Space->Count; Index++)
    {
        if (Space->Region[Index]->Large)
        {
            return TRUE;
        }
    }
    return FALSE;
}

VOID ModelRunFork(MODEL *Model, TEST_RANDOM *Random)
{
    MODEL_SPACE *Parent = ModelPickSpace(Model, Random);
    ULONG Slot = ModelFreeSlot(Model);
    SIZE_T Needed = ModelCommittedInSpace(Parent);
    MODEL_MACHINE Machine = ModelLookAtMachine(Model);
    MODEL_SPACE *Child;
    PEPROCESS Process;
    HANDLE Handle = NULL;

    if (Slot == MODEL_SPACES)
    {
        ModelDeleteSpace(Model, (ULONG)TestBelow(Random, MODEL_SPACES));
        return;
    }
    ModelLog(Model, "process %llu is cloned", Parent->Process->UniqueProcessId);
    Machine.Actual =
        ZwCreateProcessEx(&Handle, PROCESS_ALL_ACCESS, NULL, Parent->Handle, 0, NULL, NULL, NULL, 0);
    if (ModelHasLargePages(Parent))
    {
        /* Our own: they are not shared until written, and copies need memory that may not be there. */
        ModelExpect(Model, "the status", (ULONG)STATUS_NOT_SUPPORTED, (ULONG)Machine.Actual);
        return;
    }
    if (Needed > Machine.Room ||
        (Machine.Actual == STATUS_COMMITMENT_LIMIT && Needed + 4 * MODEL_COMMIT_SLACK > Machine.Room))
    {
        ModelExpect(Model, "the status", (ULONG)STATUS_COMMITMENT_LIMIT, (ULONG)Machine.Actual);
        ModelExpect(Model, "the handle", 0, (ULONG_PTR)Handle);
        return;
    }
    if (ModelIsRefused(&Machine, Needed + 4 * MODEL_COMMIT_SLACK))
    {
        return; /* clone blocks are pool */
    }
    ModelExpect(Model, "the status", STATUS_SUCCESS, (ULONG)Machine.Actual);
    ModelExpect(Model, "the status of the handle", STATUS_SUCCESS,
                (ULONG)NtReferenceProcess(Handle, PROCESS_ALL_ACCESS, &Process));
    Child = ModelAdoptSpace(Model, Slot, Handle, Process);
    ModelCloneSpace(Parent, Child);
    Child->Job = Parent->Job;
    Child->Minimum = Parent->Minimum;
    Child->Maximum = Parent->Maximum;
}

VOID ModelRunEnd(MODEL *Model, TEST_RANDOM *Random)
{
    ULONG Slot = (ULONG)TestBelow(Random, MODEL_SPACES);
    ULONG Live = 0;

    for (ULONG Index = 0; Index < MODEL_SPACES; Index++)
    {
        Live += Model->Space[Index] != NULL;
    }
    if (Model->Space[Slot] != NULL)
    {
        ModelDeleteSpace(Model, Slot);
        Live--;
    }
    while (Live < 3)
    {
        ModelCreateSpace(Model);
        Live++;
    }
}

/* ---- Working-set limits --------------------------------------------------------------------------------------------------------------- */

VOID ModelRunLimits(MODEL *Model, TEST_RANDOM *Random)
{
    MODEL_SPACE *Space = ModelPickSpace(Model, Random);
    BOOLEAN Empty = TestBelow(Random, 6) == 0;
    SIZE_T Minimum = 10 + TestBelow(Random, 120);
    SIZE_T Maximum = Minimum - 5 + TestBelow(Random, 300);
    BOOLEAN Hard = TestBelow(Random, 2) == 0;
    QUOTA_LIMITS_EX Quota = { 0 };
    NTSTATUS Expected = STATUS_SUCCESS;
    NTSTATUS Actual;

    Quota.MinimumWorkingSetSize = Empty ? MAXSIZE_T : Minimum * PAGE_SIZE;
    Quota.MaximumWorkingSetSize = Empty ? MAXSIZE_T : Maximum * PAGE_SIZE;
    Quota.Flags = Hard ? QUOTA_LIMITS_HARDWS_MAX_ENABLE : QUOTA_LIMITS_HARDWS_MAX_DISABLE;
    ModelLog(Model, "process %llu limits %llu..%llu flags 0x%x", Space->Process->UniqueProcessId,
             (ULONG64)Minimum, (ULONG64)Maximum, Quota.Flags);
    Actual = ZwSetInformationProcess(Space->Handle, ProcessQuotaLimits, &Quota, sizeof(Quota));
    if (!Empty && (Minimum < 20 || Maximum < Minimum))
    {
        Expected = STATUS_BAD_WORKING_SET_LIMIT;
    }
    ModelExpect(Model, "the status", (ULONG)Expected, (ULONG)Actual);
    if (NT_SUCCESS(Expected) && !Empty)
    {
        Space->Minimum = Minimum;
        Space->Maximum = Maximum;
        Space->MaximumHard = Hard;
    }
    memset(&Quota, 0, sizeof(Quota));
    ModelExpect(
        Model, "the status of the query", STATUS_SUCCESS,
        (ULONG)ZwQueryInformationProcess(Space->Handle, ProcessQuotaLimits, &Quota, sizeof(Quota), NULL));
    ModelExpect(Model, "the minimum", Space->Minimum * PAGE_SIZE, Quota.MinimumWorkingSetSize);
    ModelExpect(Model, "the maximum", Space->Maximum * PAGE_SIZE, Quota.MaximumWorkingSetSize);
    ModelExpect(Model, "whether the maximum is hard", Space->MaximumHard,
                (Quota.Flags & QUOTA_LIMITS_HARDWS_MAX_ENABLE) != 0);
}

/* ---- The machine ---------------------------------------------------------------------------------------------------------------------------- */

VOID ModelRunCommand(MODEL *Model, TEST_RANDOM *Random)
{
    static const ULONG Commands[] = {
        MemoryCaptureAndResetAccessedBits, MemoryEmptyWorkingSets, MemoryFlushModifiedList,
        MemoryFlushModifiedList,           MemoryPurgeStandbyList, MemoryPurgeLowPriorityStandbyList
    };
    ULONG Command = Commands[TestBelow(Random, RTL_NUMBER_OF(Commands))];

    ModelLog(Model, "memory list command %u", Command);
    ModelExpect(Model, "the status", STATUS_SUCCESS,
                (ULONG)ZwSetSystemInformation(SystemMemoryListInformation, &Command, sizeof(Command)));
}

VOID ModelRunTime(MODEL *Model, TEST_RANDOM *Random)
{
    ULONG64 Milliseconds = TestBelow(Random, 3000);

    ModelLog(Model, "%llu ms pass", Milliseconds);
    KiAdvanceTime(Milliseconds * 1000000);
    KiStepWorkers();
}

VOID ModelRunPagingFile(MODEL *Model, TEST_RANDOM *Random)
{
    WCHAR Text[] = u"\\\\.\\Memory\\page0";
    UNICODE_STRING Name = { sizeof(Text) - sizeof(WCHAR), sizeof(Text), Text };
    LARGE_INTEGER Minimum = { .QuadPart = (LONGLONG)(1 + TestBelow(Random, 12)) << 20 };
    LARGE_INTEGER Maximum = { .QuadPart = Minimum.QuadPart + ((LONGLONG)TestBelow(Random, 12) << 20) };
    ULONG Index = (ULONG)TestBelow(Random, 4);

    if (Model->Native)
    {
        return;
    }
    if (Index < Model->PagingFiles && TestBelow(Random, 2) == 0 &&
        Model->PagingMaximum[Index] >= (ULONG64)Minimum.QuadPart)
    {
        Maximum.QuadPart = (LONGLONG)Model->PagingMaximum[Index];
    }
    Text[RTL_NUMBER_OF(Text) - 2] = (WCHAR)(u'0' + Index);
    ModelLog(Model, "paging file %u: %llu..%llu", Index, (ULONG64)Minimum.QuadPart,
             (ULONG64)Maximum.QuadPart);
    if (Index < Model->PagingFiles)
    {
        /* One that exists grows to its new minimum; its maximum may become larger, not smaller. */
        BOOLEAN Larger = (ULONG64)Maximum.QuadPart >= Model->PagingMaximum[Index];

        ModelExpect(Model, "the status", (ULONG)(Larger ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER_3),
                    (ULONG)ZwCreatePagingFile(&Name, &Minimum, &Maximum, 0));
        Model->PagingMaximum[Index] = Larger ? (ULONG64)Maximum.QuadPart : Model->PagingMaximum[Index];
    }
    else if (Index == Model->PagingFiles)
    {
        ModelExpect(Model, "the status", STATUS_SUCCESS,
                    (ULONG)ZwCreatePagingFile(&Name, &Minimum, &Maximum, 0));
        Model->PagingMaximum[Index] = (ULONG64)Maximum.QuadPart;
        Model->PagingFiles++;
    }
}

VOID ModelRunAdvice(MODEL *Model, TEST_RANDOM *Random)
{
    static const VIRTUAL_MEMORY_INFORMATION_CLASS Classes[] = { VmPrefetchInformation,
                                                                VmPagePriorityInformation,
                                                                VmRemoveFromWorkingSetInformation };
    MODEL_SPACE *Space = ModelPickSpace(Model, Random);
    VIRTUAL_MEMORY_INFORMATION_CLASS Class = Classes[TestBelow(Random, RTL_NUMBER_OF(Classes))];
    ULONG Value = Class == VmPagePriorityInformation ? (ULONG)TestBelow(Random, 6) : 0;
    MEMORY_RANGE_ENTRY Ranges[3];

    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Ranges); Index++)
    {
        Ranges[Index].VirtualAddress = (PVOID)ModelPickAddress(Space, Random);
        Ranges[Index].NumberOfBytes = 1 + TestBelow(Random, 40 * PAGE_SIZE);
        if ((ULONG_PTR)Ranges[Index].VirtualAddress + Ranges[Index].NumberOfBytes - 1 > Space->High)
        {
            Ranges[Index].NumberOfBytes = 1;
        }
    }
    ModelLog(Model, "process %llu advice %u value %u at %p, %p, %p", Space->Process->UniqueProcessId,
             (ULONG)Class, Value, Ranges[0].VirtualAddress, Ranges[1].VirtualAddress,
             Ranges[2].VirtualAddress);
    ModelExpect(Model, "the status", STATUS_SUCCESS,
                (ULONG)ZwSetInformationVirtualMemory(Space->Handle, Class, RTL_NUMBER_OF(Ranges), Ranges,
                                                     &Value, sizeof(Value)));
}
