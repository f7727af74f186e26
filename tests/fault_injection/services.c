/* SPDX-License-Identifier: MIT */
/*
 * Every allocation, charge and transfer of every service fails once: for each scenario and each kind of event the first fails, then
 * the second, and so on until the scenario has no further event of that kind; then the same with all events from the Nth on
 * failing. Each time on a fresh machine, which afterwards must work as if nothing had happened and give everything back. A call
 * may only fail with a status that the documentation of the service names.
 */
#include "boot.h"

#include "host.h"
#include "host_sim.h"

#include "nt/boot.h"
#include "nt/nt.h"

#include <unistd.h>

#define BASE      ((PORT_USER_LOWEST + 0x2000000ull) & ~0x1fffffull)
#define FAR_BASE  (BASE + 0x200000000ull)
#define MAXIMUM_N 4000u

typedef struct
{
    HANDLE Process[2];
    PEPROCESS Body[2];
    const char *Scenario;
    KI_INJECT Kind;
    ULONG64 Nth;
    BOOLEAN Sticky;
    BOOLEAN Armed; /* failures are permitted */
} CONTEXT_OF_RUN;

static CONTEXT_OF_RUN Run;

/* ---- What may fail, and how ------------------------------------------------------------------------------------------------------ */

static const struct
{
    const char *Name;
    NTSTATUS Statuses[8];
} Kinds[KiInjectMaximum] = {
    /* A fault waits for frames; only when none can ever come is there STATUS_NO_MEMORY. */
    [KiInjectFrame] = { "frame", { STATUS_NO_MEMORY, STATUS_INSUFFICIENT_RESOURCES, STATUS_PARTIAL_COPY } },
    [KiInjectPool] = { "pool", { STATUS_INSUFFICIENT_RESOURCES, STATUS_NO_MEMORY, STATUS_PARTIAL_COPY } },
    [KiInjectCommit] = { "commit",
                         { STATUS_COMMITMENT_LIMIT, STATUS_INSUFFICIENT_RESOURCES, STATUS_NO_MEMORY,
                           STATUS_PARTIAL_COPY } },
    [KiInjectSlot] = { "slot", { STATUS_NO_MEMORY, STATUS_PARTIAL_COPY } },
    [KiInjectRead] = { "read", { STATUS_IN_PAGE_ERROR, STATUS_PARTIAL_COPY } },
    [KiInjectWrite] = { "write", { STATUS_NO_MEMORY, STATUS_PARTIAL_COPY } },
    [KiInjectThread] = { "thread", { STATUS_INSUFFICIENT_RESOURCES } },
};

static void Report(const char *What, ULONG Status)
{
    fail_msg("%s: %s fails at %s number %llu%s with 0x%08x", Run.Scenario, What, Kinds[Run.Kind].Name,
             Run.Nth, Run.Sticky ? " and later" : "", Status);
}

/* TRUE: done. FALSE: failed as it may; the scenario goes on without it. */
static BOOLEAN Done(const char *What, NTSTATUS Status)
{
    if (NT_SUCCESS(Status))
    {
        return TRUE;
    }
    for (ULONG Index = 0; Run.Armed && Index < RTL_NUMBER_OF(Kinds[0].Statuses); Index++)
    {
        if (Kinds[Run.Kind].Statuses[Index] == Status)
        {
            return FALSE;
        }
    }
    Report(What, (ULONG)Status);
    return FALSE;
}

/* ---- Calls ------------------------------------------------------------------------------------------------------------------------- */

static BOOLEAN Allocate(ULONG Process, ULONG_PTR Address, SIZE_T Size, ULONG Type, ULONG Protect)
{
    PVOID Base = (PVOID)Address;
    SIZE_T Bytes = Size;
    NTSTATUS Status = ZwAllocateVirtualMemoryEx(Run.Process[Process], &Base, &Bytes, Type, Protect, NULL, 0);

    if (!NT_SUCCESS(Status) && ((ULONG_PTR)Base != Address || Bytes != Size))
    {
        Report("a failed allocation changes its parameters", (ULONG)Status);
    }
    return Done("allocate", Status);
}

static BOOLEAN Free(ULONG Process, ULONG_PTR Address, SIZE_T Size, ULONG Type)
{
    PVOID Base = (PVOID)Address;
    SIZE_T Bytes = Size;

    return Done("free", ZwFreeVirtualMemory(Run.Process[Process], &Base, &Bytes, Type));
}

static BOOLEAN Protect(ULONG Process, ULONG_PTR Address, SIZE_T Size, ULONG NewProtect)
{
    PVOID Base = (PVOID)Address;
    ULONG Old = 0;

    return Done("protect", ZwProtectVirtualMemory(Run.Process[Process], &Base, &Size, NewProtect, &Old));
}

static SIZE_T CommitSize(ULONG Process, ULONG_PTR Address)
{
    MEMORY_REGION_INFORMATION Information;
    NTSTATUS Status = ZwQueryVirtualMemory(Run.Process[Process], (PVOID)Address, MemoryRegionInformation,
                                           &Information, sizeof(Information), NULL);

    return NT_SUCCESS(Status) ? Information.CommitSize : 0;
}

static void Command(ULONG Value)
{
    Done("a command", ZwSetSystemInformation(SystemMemoryListInformation, &Value, sizeof(Value)));
}

static UCHAR ByteOf(ULONG_PTR Va)
{
    return (UCHAR)((Va >> PAGE_SHIFT) * 37 + 11);
}

/* By the process itself, in user mode. */
static NTSTATUS Access(ULONG Process, ULONG_PTR Va, UCHAR *Byte, BOOLEAN Write)
{
    PKTHREAD Thread = KiCurrentThread();
    EXCEPTION_RECORD Record;
    KAPC_STATE State;
    NTSTATUS Status;

    KeStackAttachProcess((PRKPROCESS)(PVOID)Run.Body[Process], &State);
    Thread->CurrentMode = UserMode;
    Status = Write ? HostSimWrite(Va, Byte, 1, &Record) : HostSimRead(Va, Byte, 1, &Record);
    Thread->CurrentMode = KernelMode;
    KeUnstackDetachProcess(&State);
    if (Status == STATUS_IN_PAGE_ERROR &&
        (ULONG)Record.ExceptionInformation[2] != (ULONG)STATUS_IO_DEVICE_ERROR)
    {
        Report("the status of the device is missing", (ULONG)Record.ExceptionInformation[2]);
    }
    return Status;
}

/* Remembers which pages were really written. */
static ULONG64 Written[16];

static void Fill(ULONG Process, ULONG_PTR Base, ULONG Pages)
{
    memset(Written, 0, sizeof(Written));
    for (ULONG Page = 0; Page < Pages; Page++)
    {
        UCHAR Byte = ByteOf(Base + Page * PAGE_SIZE);

        if (Done("a write", Access(Process, Base + Page * PAGE_SIZE, &Byte, TRUE)))
        {
            Written[Page / 64] |= 1ull << (Page % 64);
        }
    }
}

static void Verify(ULONG Process, ULONG_PTR Base, ULONG Pages)
{
    for (ULONG Page = 0; Page < Pages; Page++)
    {
        BOOLEAN Known = ((Written[Page / 64] >> (Page % 64)) & 1) != 0;
        UCHAR Byte = 0;

        if (Done("a read", Access(Process, Base + Page * PAGE_SIZE, &Byte, FALSE)) &&
            Byte != (Known ? ByteOf(Base + Page * PAGE_SIZE) : 0))
        {
            Report("contents are wrong", Byte);
        }
    }
}

/* ---- Scenarios ------------------------------------------------------------------------------------------------------------------------ */

static void AllocateAndTouch(void)
{
    if (Allocate(0, BASE, 40 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE))
    {
        Fill(0, BASE, 40);
        Verify(0, BASE, 40);
        Free(0, BASE, 0, MEM_RELEASE);
    }
}

/* Page tables for parts of a reservation; a failed call changes nothing. */
static void CommitAndProtect(void)
{
    if (!Allocate(0, BASE, 0x800000, MEM_RESERVE, PAGE_READWRITE))
    {
        return;
    }
    for (ULONG Part = 0; Part < 4; Part++)
    {
        ULONG_PTR Va = BASE + Part * 0x200000 - (Part != 0 ? 2 * PAGE_SIZE : 0);
        SIZE_T Before = CommitSize(0, BASE);

        if (!Allocate(0, Va, 4 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE))
        {
            assert_int_equal(CommitSize(0, BASE), Before);
            continue;
        }
        assert_int_equal(CommitSize(0, BASE), Before + 4 * PAGE_SIZE);
        Protect(0, Va, 3 * PAGE_SIZE, PAGE_READONLY);
        Free(0, Va, 2 * PAGE_SIZE, MEM_DECOMMIT);
    }
    if (Allocate(0, FAR_BASE, 0x600000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE))
    {
        Protect(0, FAR_BASE + 0x1ff000, 2 * PAGE_SIZE, PAGE_READONLY);
        Free(0, FAR_BASE + 0x3ff000, 2 * PAGE_SIZE, MEM_DECOMMIT);
        Free(0, FAR_BASE + 0x100000, 0x10000, MEM_RELEASE); /* a split */
    }
    Free(0, BASE + 0x10000, 0x10000, MEM_RELEASE);
}

static void Clone(void)
{
    HANDLE Handle = NULL;

    if (!Allocate(0, BASE, 24 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE))
    {
        return;
    }
    Allocate(0, FAR_BASE, 5 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH, PAGE_READWRITE);
    Fill(0, BASE, 24);
    if (Done("clone",
             ZwCreateProcessEx(&Handle, PROCESS_ALL_ACCESS, NULL, Run.Process[0], 0, NULL, NULL, NULL, 0)))
    {
        UCHAR Byte = 1;
        SIZE_T Count;

        for (ULONG Page = 0; Page < 24; Page += 2)
        {
            Done("a write to the child",
                 ZwWriteVirtualMemory(Handle, (PVOID)(BASE + Page * PAGE_SIZE), &Byte, 1, &Count));
        }
        assert_int_equal(ZwTerminateProcess(Handle, STATUS_SUCCESS), STATUS_SUCCESS);
        assert_int_equal(ZwClose(Handle), STATUS_SUCCESS);
    }
    Verify(0, BASE, 24);
}

static void Lock(void)
{
    if (Allocate(0, BASE, 16 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE))
    {
        PVOID Base = (PVOID)BASE;
        SIZE_T Size = 16 * PAGE_SIZE;

        if (Done("lock", ZwLockVirtualMemory(Run.Process[0], &Base, &Size, MAP_PROCESS)))
        {
            Done("unlock", ZwUnlockVirtualMemory(Run.Process[0], &Base, &Size, MAP_PROCESS));
        }
        assert_int_equal(Run.Body[0]->Space.Vm.LockedPages, 0);
    }
}

static void Transfer(void)
{
    static UCHAR Buffer[6 * PAGE_SIZE];
    SIZE_T Count = 0;

    if (!Allocate(0, BASE, 8 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE))
    {
        return;
    }
    memset(Buffer, 0x33, sizeof(Buffer));
    if (!Done("write",
              ZwWriteVirtualMemory(Run.Process[0], (PVOID)(BASE + 100), Buffer, sizeof(Buffer), &Count)))
    {
        assert_true(Count < sizeof(Buffer));
    }
    memset(Buffer, 0, sizeof(Buffer));
    if (Count != 0)
    {
        SIZE_T Again = 0;

        Done("read", ZwReadVirtualMemory(Run.Process[0], (PVOID)(BASE + 100), Buffer, Count, &Again));
        for (SIZE_T Index = 0; Index < Again; Index++)
        {
            assert_int_equal(Buffer[Index], 0x33);
        }
    }
}

/* Out to the paging file and back, twice, once changed meanwhile. */
static void PageOutAndIn(void)
{
    if (!Allocate(0, BASE, 400 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE))
    {
        return;
    }
    Fill(0, BASE, 400);
    for (ULONG Round = 0; Round < 2; Round++)
    {
        Command(MemoryEmptyWorkingSets);
        Command(MemoryFlushModifiedList);
        Command(MemoryPurgeStandbyList);
        Verify(0, BASE, 400);
    }
    Protect(0, BASE, 30 * PAGE_SIZE, PAGE_READONLY);
    Allocate(0, BASE, 10 * PAGE_SIZE, MEM_RESET, PAGE_READWRITE);
    Free(0, BASE, 20 * PAGE_SIZE, MEM_DECOMMIT);
}

static void PagingFiles(void)
{
    WCHAR Text[] = u"\\\\.\\Memory\\extra";
    UNICODE_STRING Name = { sizeof(Text) - sizeof(WCHAR), sizeof(Text), Text };
    LARGE_INTEGER Minimum = { .QuadPart = 2 << 20 };
    LARGE_INTEGER Maximum = { .QuadPart = 6 << 20 };

    Done("create a paging file", ZwCreatePagingFile(&Name, &Minimum, &Maximum, 0));
    Minimum.QuadPart = 3 << 20;
    Done("grow a paging file", ZwCreatePagingFile(&Name, &Minimum, &Maximum, 0));
    /* More than RAM and the files as they are: they must grow. */
    Allocate(0, BASE, 14 << 20, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

static void Processes(void)
{
    PEPROCESS Process;
    HANDLE Handle;

    if (!Done("create a process", PsCreateProcessObject("injected", &Process)))
    {
        return;
    }
    if (Done("a handle",
             ObInsertHandle(PsGetCurrentProcess()->HandleTable, Process, PROCESS_ALL_ACCESS, &Handle)))
    {
        HANDLE Second = NULL;
        CLIENT_ID Id = { .UniqueProcess = PsGetProcessId(Process) };
        OBJECT_ATTRIBUTES Attributes = { .Length = sizeof(Attributes) };

        if (Done("open", ZwOpenProcess(&Second, PROCESS_ALL_ACCESS, &Attributes, &Id)))
        {
            assert_int_equal(ZwClose(Second), STATUS_SUCCESS);
        }
        assert_int_equal(ZwClose(Handle), STATUS_SUCCESS);
    }
    PsTerminateProcessObject(Process, STATUS_SUCCESS);
    ObDereferenceObjectBody(Process);
}

static void PlaceholdersAndWatch(void)
{
    PVOID Addresses[16];
    ULONG_PTR Count = RTL_NUMBER_OF(Addresses);
    ULONG Granularity;

    if (!Allocate(0, BASE, 32 * PAGE_SIZE, MEM_RESERVE | MEM_RESERVE_PLACEHOLDER, PAGE_NOACCESS))
    {
        return;
    }
    if (Free(0, BASE + 8 * PAGE_SIZE, 8 * PAGE_SIZE, MEM_RELEASE | MEM_PRESERVE_PLACEHOLDER) &&
        Allocate(0, BASE + 8 * PAGE_SIZE, 8 * PAGE_SIZE,
                 MEM_RESERVE | MEM_COMMIT | MEM_REPLACE_PLACEHOLDER | MEM_WRITE_WATCH, PAGE_READWRITE))
    {
        Fill(0, BASE + 8 * PAGE_SIZE, 8);
        if (Done("get writes",
                 ZwGetWriteWatch(Run.Process[0], WRITE_WATCH_FLAG_RESET, (PVOID)(BASE + 8 * PAGE_SIZE),
                                 8 * PAGE_SIZE, Addresses, &Count, &Granularity)) &&
            !Run.Armed)
        {
            assert_int_equal(Count, 8);
        }
        /* Splits a watched region. */
        if (Free(0, BASE + 10 * PAGE_SIZE, 2 * PAGE_SIZE, MEM_RELEASE) &&
            Free(0, BASE + 12 * PAGE_SIZE, 4 * PAGE_SIZE, MEM_RELEASE | MEM_PRESERVE_PLACEHOLDER))
        {
            Free(0, BASE + 12 * PAGE_SIZE, 20 * PAGE_SIZE, MEM_RELEASE | MEM_COALESCE_PLACEHOLDERS);
        }
    }
}

typedef struct
{
    const char *Name;
    void (*Routine)(void);
} SCENARIO;

static const SCENARIO Scenarios[] = {
    { "allocate and touch", AllocateAndTouch },
    { "commit and protect", CommitAndProtect },
    { "clone", Clone },
    { "lock", Lock },
    { "transfer", Transfer },
    { "page out and in", PageOutAndIn },
    { "paging files", PagingFiles },
    { "processes", Processes },
    { "placeholders and write watch", PlaceholdersAndWatch },
};

/* ---- The walk ------------------------------------------------------------------------------------------------------------------------- */

static PEPROCESS Owner;
static KAPC_STATE OwnerState;

static void CreateProcesses(void)
{
    for (ULONG Index = 0; Index < 2; Index++)
    {
        assert_int_equal(PsCreateProcessObject("injection", &Run.Body[Index]), STATUS_SUCCESS);
        assert_int_equal(
            ObInsertHandle(Owner->HandleTable, Run.Body[Index], PROCESS_ALL_ACCESS, &Run.Process[Index]),
            STATUS_SUCCESS);
    }
}

static void DeleteProcesses(void)
{
    for (ULONG Index = 0; Index < 2; Index++)
    {
        assert_int_equal(ZwTerminateProcess(Run.Process[Index], STATUS_SUCCESS), STATUS_SUCCESS);
        assert_int_equal(ZwClose(Run.Process[Index]), STATUS_SUCCESS);
        ObDereferenceObjectBody(Run.Body[Index]);
    }
}

/* Returns how many events were made to fail. */
static ULONG64 RunOnce(const SCENARIO *Scenario, KI_INJECT Kind, ULONG64 Nth, BOOLEAN Sticky)
{
    static const TEST_MACHINE Machine = { .RamMegabytes = 4,
                                          .Deterministic = TRUE,
                                          .Seed = 7,
                                          .PagingFiles = 1,
                                          .PagingMegabytes = 2,
                                          .PagingMaximum = 32,
                                          .Workers = TRUE };
    ULONG64 Failed = 0;

    Run.Scenario = Scenario->Name;
    Run.Kind = Kind;
    Run.Nth = Nth;
    Run.Sticky = Sticky;
    TestBootMachine(&Machine);
    assert_int_equal(HostSetThreadSimulated(TRUE), STATUS_SUCCESS);
    assert_int_equal(PsCreateProcessObject("owner", &Owner), STATUS_SUCCESS);
    KeStackAttachProcess((PRKPROCESS)(PVOID)Owner, &OwnerState);
    CreateProcesses();
    KiSetInjection(Kind, Nth, Sticky);
    Run.Armed = TRUE;
    Scenario->Routine();
    KiQueryInjection(Kind, &Failed);
    KiSetInjection(Kind, 0, FALSE);
    Run.Armed = FALSE;
    MmCheckSystem(3);
    MiCheckSpace(&Run.Body[0]->Space, 2);
    MiCheckWorkingSet(&Run.Body[0]->Space);
    DeleteProcesses();
    /* The machine goes on: the same again, and now nothing may fail. */
    CreateProcesses();
    Scenario->Routine();
    DeleteProcesses();
    KeUnstackDetachProcess(&OwnerState);
    PsTerminateProcessObject(Owner, STATUS_SUCCESS);
    ObDereferenceObjectBody(Owner);
    assert_int_equal(HostSetThreadSimulated(FALSE), STATUS_SUCCESS);
    TestShutdownMachine();
    return Failed;
}

static ULONG64 Walk(const SCENARIO *Scenario, KI_INJECT Kind, BOOLEAN Sticky)
{
    ULONG64 Nth = 1;

    /* Far into a scenario with hundreds of events one looks like the next. */
    while (Nth < MAXIMUM_N && RunOnce(Scenario, Kind, Nth, Sticky) != 0)
    {
        Nth += 1 + Nth / 24;
    }
    assert_true(Nth < MAXIMUM_N);
    return Nth - 1;
}

static void every_event_of_every_kind_may_fail_once(void **State)
{
    ULONG64 Events[KiInjectMaximum] = { 0 };

    (void)State;
    for (ULONG Kind = 0; Kind < KiInjectThread; Kind++)
    {
        for (ULONG Index = 0; Index < RTL_NUMBER_OF(Scenarios); Index++)
        {
            Events[Kind] += Walk(&Scenarios[Index], (KI_INJECT)Kind, FALSE);
        }
        print_message("%s: %llu events\n", Kinds[Kind].Name, Events[Kind]);
        assert_true(Events[Kind] != 0); /* a kind that nothing reaches is not tested */
    }
}

static void everything_may_fail_from_some_event_on(void **State)
{
    /* Without frames a fault waits its full time, and without writes memory fills: those have tests of their own. */
    static const KI_INJECT Lasting[] = { KiInjectPool, KiInjectCommit, KiInjectSlot, KiInjectRead };

    (void)State;
    for (ULONG Kind = 0; Kind < RTL_NUMBER_OF(Lasting); Kind++)
    {
        for (ULONG Index = 0; Index < RTL_NUMBER_OF(Scenarios); Index++)
        {
            Walk(&Scenarios[Index], Lasting[Kind], TRUE);
        }
    }
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(every_event_of_every_kind_may_fail_once),
        cmocka_unit_test(everything_may_fail_from_some_event_on),
    };

    alarm(500);
    return cmocka_run_group_tests_name("fault_injection.services", Tests, NULL, NULL);
}
