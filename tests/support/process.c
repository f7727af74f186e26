/* SPDX-License-Identifier: MIT */
/* The processes of process.h. */
#include "process.h"

PEPROCESS TestUserProcess;

PEPROCESS TestNewProcess(const char *Name)
{
    PEPROCESS Process;

    assert_int_equal(PsCreateProcessObject(Name, &Process), STATUS_SUCCESS);
    return Process;
}

void TestEndProcess(PEPROCESS Process)
{
    PsTerminateProcessObject(Process, STATUS_SUCCESS);
    ObDereferenceObjectBody(Process);
}

void TestRunInProcess(PEPROCESS Process)
{
    KiCurrentThread()->CurrentMode = KernelMode;
    PsSetThreadProcess(Process);
    if (Process != NULL)
    {
        KiCurrentThread()->CurrentMode = UserMode;
    }
}

void TestEnterProcess(const TEST_MACHINE *Machine)
{
    TestBootMachine(Machine);
    assert_int_equal(HostSetThreadSimulated(TRUE), STATUS_SUCCESS);
    TestUserProcess = TestNewProcess("test");
    TestRunInProcess(TestUserProcess);
}

MEMORY_WORKING_SET_EX_BLOCK TestWorkingSetBlock(ULONG_PTR Va)
{
    MEMORY_WORKING_SET_EX_INFORMATION Information = { .VirtualAddress = (PVOID)Va };

    assert_int_equal(NtQueryVirtualMemory(NtCurrentProcess(), NULL, MemoryWorkingSetExInformation,
                                          &Information, sizeof(Information), NULL),
                     STATUS_SUCCESS);
    return Information.u1.VirtualAttributes;
}

int TestEnterLarge(void **State)
{
    static const TEST_MACHINE Machine = { .RamMegabytes = 32,
                                          .Deterministic = TRUE,
                                          .Seed = 1,
                                          .PagingFiles = 1,
                                          .PagingMegabytes = 64,
                                          .Workers = TRUE };

    (void)State;
    TestEnterProcess(&Machine);
    return 0;
}

void TestLeaveProcess(void)
{
    TestRunInProcess(NULL);
    TestStopWorkers();
    MiCheckSpace(&TestUserProcess->Space, 2);
    MiCheckWorkingSet(&TestUserProcess->Space);
    TestEndProcess(TestUserProcess);
    TestUserProcess = NULL;
    TestFinishReads();
    assert_int_equal(HostSetThreadSimulated(FALSE), STATUS_SUCCESS);
    TestShutdownMachine();
}

int TestEnterFixture(void **State)
{
    static const TEST_MACHINE Machine = {
        .Deterministic = TRUE, .Seed = 1, .PagingFiles = 1, .Workers = TRUE
    };

    (void)State;
    TestEnterProcess(&Machine);
    return 0;
}

int TestLeaveFixture(void **State)
{
    (void)State;
    TestLeaveProcess();
    return 0;
}

HANDLE TestOpenProcess(PEPROCESS Process, ACCESS_MASK Access)
{
    OBJECT_ATTRIBUTES Attributes;
    CLIENT_ID Id = { .UniqueProcess = PsGetProcessId(Process) };
    HANDLE Handle;

    InitializeObjectAttributes(&Attributes, NULL, 0, NULL, NULL);
    assert_int_equal(NtOpenProcess(&Handle, Access, &Attributes, &Id), STATUS_SUCCESS);
    return Handle;
}

/* ---- Memory -------------------------------------------------------------------------------------------- */

NTSTATUS TestVmTryGet(ULONG_PTR Va, UCHAR *Value)
{
    return HostSimRead(Va, Value, 1, NULL);
}

NTSTATUS TestVmTryPut(ULONG_PTR Va, UCHAR Value)
{
    return HostSimWrite(Va, &Value, 1, NULL);
}

UCHAR TestVmGet(ULONG_PTR Va)
{
    UCHAR Value = 0;

    assert_int_equal(TestVmTryGet(Va, &Value), STATUS_SUCCESS);
    return Value;
}

void TestVmPut(ULONG_PTR Va, UCHAR Value)
{
    assert_int_equal(TestVmTryPut(Va, Value), STATUS_SUCCESS);
}

static ULONG64 Word(ULONG64 Seed, ULONG_PTR Va)
{
    return (Seed + 1) * 0x9E3779B97F4A7C15ull ^ (Va >> PAGE_SHIFT) * 0xBF58476D1CE4E5B9ull;
}

void TestVmFill(ULONG_PTR Va, SIZE_T Pages, ULONG64 Seed)
{
    for (SIZE_T Page = 0; Page < Pages; Page++, Va += PAGE_SIZE)
    {
        ULONG64 Value = Word(Seed, Va);

        assert_int_equal(HostSimWrite(Va + 8 * ((Va >> PAGE_SHIFT) % 512), &Value, sizeof(Value), NULL),
                         STATUS_SUCCESS);
    }
}

void TestVmCheck(ULONG_PTR Va, SIZE_T Pages, ULONG64 Seed)
{
    for (SIZE_T Page = 0; Page < Pages; Page++, Va += PAGE_SIZE)
    {
        ULONG64 Value = 0;

        assert_int_equal(HostSimRead(Va + 8 * ((Va >> PAGE_SHIFT) % 512), &Value, sizeof(Value), NULL),
                         STATUS_SUCCESS);
        assert_true(Value == Word(Seed, Va));
    }
}

void TestVmCheckZero(ULONG_PTR Va, SIZE_T Pages)
{
    static const UCHAR Zero[PAGE_SIZE];

    for (SIZE_T Page = 0; Page < Pages; Page++, Va += PAGE_SIZE)
    {
        UCHAR Bytes[PAGE_SIZE];

        assert_int_equal(HostSimRead(Va, Bytes, sizeof(Bytes), NULL), STATUS_SUCCESS);
        assert_memory_equal(Bytes, Zero, sizeof(Bytes));
    }
}

/* ---- Services ------------------------------------------------------------------------------------------ */

NTSTATUS TestVmTryAllocate(ULONG_PTR Base, SIZE_T Size, ULONG Type, ULONG Protect)
{
    PVOID Address = (PVOID)Base;
    SIZE_T Bytes = Size;
    NTSTATUS Status = NtAllocateVirtualMemory(NtCurrentProcess(), &Address, 0, &Bytes, Type, Protect);

    if (!NT_SUCCESS(Status))
    {
        assert_ptr_equal(Address, (PVOID)Base);
        assert_int_equal(Bytes, Size);
    }
    return Status;
}

ULONG_PTR TestVmAllocate(ULONG_PTR Base, SIZE_T Size, ULONG Type, ULONG Protect)
{
    PVOID Address = (PVOID)Base;

    assert_int_equal(NtAllocateVirtualMemory(NtCurrentProcess(), &Address, 0, &Size, Type, Protect),
                     STATUS_SUCCESS);
    return (ULONG_PTR)Address;
}

NTSTATUS TestVmTryFree(ULONG_PTR Base, SIZE_T Size, ULONG Type)
{
    PVOID Address = (PVOID)Base;
    SIZE_T Bytes = Size;
    NTSTATUS Status = NtFreeVirtualMemory(NtCurrentProcess(), &Address, &Bytes, Type);

    if (!NT_SUCCESS(Status))
    {
        assert_ptr_equal(Address, (PVOID)Base);
        assert_int_equal(Bytes, Size);
    }
    return Status;
}

void TestVmFree(ULONG_PTR Base, SIZE_T Size, ULONG Type)
{
    assert_int_equal(TestVmTryFree(Base, Size, Type), STATUS_SUCCESS);
}

NTSTATUS TestVmTryProtect(ULONG_PTR Base, SIZE_T Size, ULONG Protect)
{
    PVOID Address = (PVOID)Base;
    SIZE_T Bytes = Size;
    ULONG Old = 0x5a5a5a5a;
    NTSTATUS Status = NtProtectVirtualMemory(NtCurrentProcess(), &Address, &Bytes, Protect, &Old);

    if (!NT_SUCCESS(Status))
    {
        assert_ptr_equal(Address, (PVOID)Base);
        assert_int_equal(Bytes, Size);
        assert_int_equal(Old, 0x5a5a5a5a);
    }
    return Status;
}

ULONG TestVmProtect(ULONG_PTR Base, SIZE_T Size, ULONG Protect)
{
    PVOID Address = (PVOID)Base;
    ULONG Old = 0;

    assert_int_equal(NtProtectVirtualMemory(NtCurrentProcess(), &Address, &Size, Protect, &Old),
                     STATUS_SUCCESS);
    return Old;
}

MEMORY_BASIC_INFORMATION TestVmQuery(ULONG_PTR Va)
{
    MEMORY_BASIC_INFORMATION Information;
    SIZE_T Length = 0;

    assert_int_equal(NtQueryVirtualMemory(NtCurrentProcess(), (PVOID)Va, MemoryBasicInformation, &Information,
                                          sizeof(Information), &Length),
                     STATUS_SUCCESS);
    assert_int_equal(Length, sizeof(Information));
    return Information;
}

SIZE_T TestVmCharge(void)
{
    PMI_ADDRESS_SPACE Space = MiCurrentSpace();

    return MiSpaceCommitCharge(Space) - Space->CommittedPageTables;
}

/* ---- Out of memory ------------------------------------------------------------------------------------- */

void TestVmTrimAll(void)
{
    MiEmptyWorkingSet(MiCurrentSpace());
}

void TestVmWriteOut(void)
{
    KPROCESSOR_MODE Mode = KiCurrentThread()->CurrentMode;

    KiCurrentThread()->CurrentMode = KernelMode;
    TestVmTrimAll();
    assert_int_equal(KeGetCurrentIrql(), PASSIVE_LEVEL);
    MiFlushModifiedPages();
    assert_int_equal(KeGetCurrentIrql(), PASSIVE_LEVEL);
    KiCurrentThread()->CurrentMode = Mode;
}

void TestVmPageOut(void)
{
    TestVmWriteOut();
    MiPurgeStandby(MI_PRIORITIES - 1);
    assert_int_equal(KeGetCurrentIrql(), PASSIVE_LEVEL);
}

/* ---- Failures ------------------------------------------------------------------------------------------ */

void TestWithFailures(KI_INJECT Kind, NTSTATUS (*Routine)(ULONG_PTR Context), ULONG_PTR Context)
{
    for (ULONG64 Nth = 1;; Nth++)
    {
        SIZE_T Charge = TestVmCharge();
        SIZE_T Vads = TestUserProcess->Space.VadCount;
        SIZE_T Blocks = MiPoolBlocksInUse();
        ULONG64 Failed = 0;
        NTSTATUS Status;

        KiSetInjection(Kind, Nth, FALSE);
        Status = Routine(Context);
        KiQueryInjection(Kind, &Failed);
        KiSetInjection(Kind, 0, FALSE);
        if (NT_SUCCESS(Status) && Failed == 0)
        {
            return;
        }
        if (!NT_SUCCESS(Status))
        {
            assert_int_equal(TestVmCharge(), Charge);
            assert_int_equal(TestUserProcess->Space.VadCount, Vads);
            assert_int_equal(MiPoolBlocksInUse(), Blocks);
        }
    }
}
