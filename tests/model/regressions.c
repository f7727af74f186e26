/* SPDX-License-Identifier: MIT */
/* What the model tests found, each reduced to the calls that showed it. The name says what was wrong. */
#include "model.h"

#include "host.h"

#include <sys/mman.h>

#define BASE  ((PORT_USER_LOWEST + 0x2000000ull) & ~0xffffull)
#define PAGES 8u

static MODEL Model;
static KAPC_STATE ApcState;
static PEPROCESS Owner;

static int Setup(void **State)
{
    static const TEST_MACHINE Machine = {
        .RamMegabytes = 4, .Deterministic = TRUE, .Seed = 1, .PagingFiles = 1, .Workers = TRUE
    };

    (void)State;
    memset(&Model, 0, sizeof(Model));
    TestBootMachine(&Machine);
    assert_int_equal(HostSetThreadSimulated(TRUE), STATUS_SUCCESS);
    assert_int_equal(PsCreateProcessObject("owner", &Owner), STATUS_SUCCESS);
    KeStackAttachProcess((PRKPROCESS)(PVOID)Owner, &ApcState);
    ModelCreateSpace(&Model);
    return 0;
}

static int Teardown(void **State)
{
    (void)State;
    for (ULONG Slot = 0; Slot < MODEL_SPACES; Slot++)
    {
        if (Model.Space[Slot] != NULL)
        {
            ModelDeleteSpace(&Model, Slot);
        }
    }
    KeUnstackDetachProcess(&ApcState);
    PsTerminateProcessObject(Owner, STATUS_SUCCESS);
    ObDereferenceObjectBody(Owner);
    assert_int_equal(HostSetThreadSimulated(FALSE), STATUS_SUCCESS);
    TestShutdownMachine();
    return 0;
}

static NTSTATUS Allocate(HANDLE Process, ULONG_PTR Address, SIZE_T Size, ULONG Type)
{
    PVOID Base = (PVOID)Address;

    return ZwAllocateVirtualMemory(Process, &Base, 0, &Size, Type, PAGE_READWRITE);
}

static void Command(ULONG Value)
{
    assert_int_equal(ZwSetSystemInformation(SystemMemoryListInformation, &Value, sizeof(Value)),
                     STATUS_SUCCESS);
}

/* Seed 62: the child could not know that the page was given up, and MEM_RESET_UNDO said that all was intact. */
static void cloning_loses_pages_that_were_reset(void **State)
{
    MODEL_SPACE *Parent = Model.Space[0];
    UCHAR Byte = 0x5a;
    HANDLE Child;
    SIZE_T Done;

    (void)State;
    assert_int_equal(Allocate(Parent->Handle, BASE, PAGES * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT),
                     STATUS_SUCCESS);
    for (ULONG Page = 0; Page < PAGES; Page++)
    {
        assert_int_equal(ZwWriteVirtualMemory(Parent->Handle, (PVOID)(BASE + Page * PAGE_SIZE), &Byte,
                                              sizeof(Byte), &Done),
                         STATUS_SUCCESS);
    }
    /* Half of them valid, half on the standby list. */
    assert_int_equal(Allocate(Parent->Handle, BASE, PAGES / 2 * PAGE_SIZE, MEM_RESET), STATUS_SUCCESS);
    Command(MemoryEmptyWorkingSets);
    assert_int_equal(Allocate(Parent->Handle, BASE, PAGES * PAGE_SIZE, MEM_RESET), STATUS_SUCCESS);
    assert_int_equal(ZwReadVirtualMemory(Parent->Handle, (PVOID)BASE, &Byte, sizeof(Byte), &Done),
                     STATUS_SUCCESS);
    assert_int_equal(
        ZwCreateProcessEx(&Child, PROCESS_ALL_ACCESS, NULL, Parent->Handle, 0, NULL, NULL, NULL, 0),
        STATUS_SUCCESS);
    assert_int_equal(Allocate(Parent->Handle, BASE, PAGES * PAGE_SIZE, MEM_RESET_UNDO), STATUS_SUCCESS);
    Command(MemoryEmptyWorkingSets);
    Command(MemoryFlushModifiedList);
    Command(MemoryPurgeStandbyList);
    for (ULONG Page = 0; Page < PAGES; Page++)
    {
        Byte = 0;
        assert_int_equal(
            ZwReadVirtualMemory(Parent->Handle, (PVOID)(BASE + Page * PAGE_SIZE), &Byte, sizeof(Byte), &Done),
            STATUS_SUCCESS);
        assert_int_equal(Byte, 0x5a);
    }
    assert_int_equal(ZwTerminateProcess(Child, STATUS_SUCCESS), STATUS_SUCCESS);
    assert_int_equal(ZwClose(Child), STATUS_SUCCESS);
}

/* Seed 2000379: what a page had before was remembered only when it had nothing. */
static void a_lock_that_fails_leaves_the_second_kind_of_lock(void **State)
{
    MODEL_SPACE *Space = Model.Space[0];
    PVOID Base = (PVOID)BASE;
    SIZE_T Size = 2 * PAGE_SIZE;
    ULONG Old;

    (void)State;
    assert_int_equal(Allocate(Space->Handle, BASE, PAGES * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT),
                     STATUS_SUCCESS);
    assert_int_equal(ZwLockVirtualMemory(Space->Handle, &Base, &Size, MAP_PROCESS), STATUS_SUCCESS);
    Base = (PVOID)(BASE + 2 * PAGE_SIZE);
    Size = PAGE_SIZE;
    assert_int_equal(ZwProtectVirtualMemory(Space->Handle, &Base, &Size, PAGE_NOACCESS, &Old),
                     STATUS_SUCCESS);
    Base = (PVOID)BASE;
    Size = 3 * PAGE_SIZE;
    assert_int_equal(ZwLockVirtualMemory(Space->Handle, &Base, &Size, MAP_PROCESS | MAP_SYSTEM),
                     STATUS_ACCESS_VIOLATION);
    Size = 2 * PAGE_SIZE;
    assert_int_equal(ZwUnlockVirtualMemory(Space->Handle, &Base, &Size, MAP_SYSTEM), STATUS_NOT_LOCKED);
    assert_int_equal(ZwUnlockVirtualMemory(Space->Handle, &Base, &Size, MAP_PROCESS), STATUS_SUCCESS);
    assert_int_equal(Space->Process->Space.Vm.LockedPages, 0);
}

/* fuzz_services: the fault of the service that looked at the parameter was taken for a defect of the process. */
static void a_parameter_in_no_memory_at_all_ends_the_process(void **State)
{
    PKTHREAD Thread;
    PVOID Nowhere = mmap(NULL, PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SIZE_T Size = PAGE_SIZE;
    NTSTATUS Status;

    Setup(State); /* here: a fixture's signal handlers are not the test's */
    assert_int_equal(munmap(Nowhere, PAGE_SIZE), 0);
    Thread = KiCurrentThread();
    Thread->CurrentMode = UserMode;
    Status = NtAllocateVirtualMemory(NtCurrentProcess(), Nowhere, 0, &Size, MEM_RESERVE, PAGE_READWRITE);
    Thread->CurrentMode = KernelMode;
    assert_int_equal(Status, STATUS_ACCESS_VIOLATION);
    Teardown(State);
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test_setup_teardown(cloning_loses_pages_that_were_reset, Setup, Teardown),
        cmocka_unit_test(a_parameter_in_no_memory_at_all_ends_the_process),
        cmocka_unit_test_setup_teardown(a_lock_that_fails_leaves_the_second_kind_of_lock, Setup, Teardown),
    };

    return cmocka_run_group_tests_name("model.regressions", Tests, NULL, NULL);
}
