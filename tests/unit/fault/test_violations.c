/* SPDX-License-Identifier: MIT */
/*
 * Accesses that must not succeed: violations of a page's protection, guard pages, pages that cannot be read
 * in, and system addresses, where a fault that nobody resolves is a bug check. Codes and parameters are the
 * documented ones.
 */
#include "pages.h"

#include "nt/mm.h"

#include <errno.h>

#define BASE   TEST_BASE
#define SYSTEM ((ULONG_PTR)PORT_SYSTEM_START + 0x40000000u)

static PEPROCESS Process;

static int setup(void **State)
{
    static const TEST_MACHINE Machine = {
        .RamMegabytes = 8, .Deterministic = TRUE, .Seed = 3, .PagingFiles = 1, .Workers = TRUE
    };

    (void)State;
    Process = TestBootInProcess(&Machine);
    return 0;
}

static int teardown(void **State)
{
    (void)State;
    return TestShutdownWithProcess(Process);
}

typedef enum
{
    READ = 0,
    WRITE = 1,
    EXECUTE = 8
} ACCESS;

static NTSTATUS Access(ACCESS Kind, ULONG_PTR Va, EXCEPTION_RECORD *Record)
{
    ULONG64 Value = 0;

    return Kind == EXECUTE ? HostSimExecute(Va, Record)
           : Kind == WRITE ? TestWrite(Va, Value, Record)
                           : TestRead(Va, &Value, Record);
}

static void ExpectException(ACCESS Kind, ULONG_PTR Va, NTSTATUS Status)
{
    EXCEPTION_RECORD Record = { .ExceptionCode = 0 };

    assert_int_equal(Access(Kind, Va, &Record), Status);
    assert_int_equal(Record.ExceptionCode, Status);
    assert_int_equal(Record.ExceptionFlags, 0);
    assert_int_equal(Record.NumberParameters, Status == STATUS_IN_PAGE_ERROR ? 3 : 2);
    assert_int_equal(Record.ExceptionInformation[0], Kind);
    assert_int_equal(Record.ExceptionInformation[1], Va);
}

/* ---- Protections --------------------------------------------------------------------------------------- */

/*
 * Every protection against every access, on pages that were never touched, are valid, in transition and paged
 * out.
 */
static void each_protection_permits_exactly_its_accesses(void **State)
{
    static const struct
    {
        ULONG Protection;
        BOOLEAN Read, Write, Execute;
    } Table[] = {
        { MM_NOACCESS, FALSE, FALSE, FALSE },       { MM_READONLY, TRUE, FALSE, FALSE },
        { MM_EXECUTE, TRUE, FALSE, TRUE },          { MM_EXECUTE_READ, TRUE, FALSE, TRUE },
        { MM_READWRITE, TRUE, TRUE, FALSE },        { MM_WRITECOPY, TRUE, TRUE, FALSE },
        { MM_EXECUTE_READWRITE, TRUE, TRUE, TRUE }, { MM_EXECUTE_WRITECOPY, TRUE, TRUE, TRUE },
    };
    static const ACCESS Kinds[] = { READ, WRITE, EXECUTE };

    (void)State;
    for (ULONG Row = 0; Row < RTL_NUMBER_OF(Table); Row++)
    {
        const BOOLEAN Permitted[] = { Table[Row].Read, Table[Row].Write, Table[Row].Execute };

        for (ULONG Form = 0; Form < 4; Form++)
        {
            ULONG_PTR Va = BASE + (Row * 4 + Form) * MI_LEVEL_BYTES(1) + 24;

            TestCommit(Process, Va - 24, 3, MM_READWRITE);
            for (ULONG Kind = 0; Kind < 3; Kind++)
            {
                ULONG_PTR Page = Va + Kind * PAGE_SIZE;

                if (Form != 0)
                {
                    TestPut(Page, 77);
                }
                TestProtect(Process, Page & ~(ULONG_PTR)(PAGE_SIZE - 1), 1, Table[Row].Protection);
                if (Form == 2)
                {
                    TestTrim(Process, Page & ~(ULONG_PTR)(PAGE_SIZE - 1), 1);
                }
                else if (Form == 3)
                {
                    TestEvict(Process, Page & ~(ULONG_PTR)(PAGE_SIZE - 1), 1);
                }
                if (Permitted[Kind])
                {
                    assert_int_equal(Access(Kinds[Kind], Page, NULL), STATUS_SUCCESS);
                }
                else
                {
                    ExpectException(Kinds[Kind], Page, STATUS_ACCESS_VIOLATION);
                }
            }
        }
    }
}

static void reserved_decommitted_and_free_addresses_are_violations(void **State)
{
    ULONG64 Violations = 0;

    (void)State;
    TestCounted(MiCounterAccessViolations, &Violations);
    ExpectException(READ, BASE + 0x123, STATUS_ACCESS_VIOLATION);
    TestCommit(Process, BASE, 2, MM_READWRITE)->u.MemCommit = 0;
    ExpectException(WRITE, BASE, STATUS_ACCESS_VIOLATION);
    TestCommit(Process, BASE + 0x10000, 2, MM_READWRITE);
    TestPut(BASE + 0x10000, 1);
    TestDecommit(Process, BASE + 0x10000, 1);
    ExpectException(READ, BASE + 0x10000, STATUS_ACCESS_VIOLATION);
    TestPut(BASE + 0x11000, 1);
    assert_int_equal(TestCounted(MiCounterAccessViolations, &Violations), 3);
}

static void user_mode_does_not_reach_system_addresses(void **State)
{
    (void)State;
    TestCommitSystem(SYSTEM, 1, MM_READWRITE);
    ExpectException(READ, SYSTEM, STATUS_ACCESS_VIOLATION);
    KiCurrentThread()->CurrentMode = KernelMode;
    TestPut(SYSTEM, 9);
    KiCurrentThread()->CurrentMode = UserMode;
    ExpectException(WRITE, SYSTEM, STATUS_ACCESS_VIOLATION);
    ExpectException(EXECUTE, SYSTEM, STATUS_ACCESS_VIOLATION);
}

/* ---- Guard pages --------------------------------------------------------------------------------------- */

static void a_guard_page_raises_once_in_every_state(void **State)
{
    ULONG64 Guards = 0;

    (void)State;
    TestCounted(MiCounterGuardFaults, &Guards);
    for (ULONG Form = 0; Form < 4; Form++)
    {
        ULONG_PTR Va = BASE + Form * 0x10000;

        TestCommit(Process, Va, 1, Form == 0 ? MM_READWRITE | MM_GUARD_PAGE : MM_READWRITE);
        if (Form != 0)
        {
            TestPut(Va, Form);
            TestProtect(Process, Va, 1, MM_READWRITE | MM_GUARD_PAGE);
            assert_false(TestPte(Process, Va).Hard.Valid);
        }
        if (Form == 2)
        {
            TestTrim(Process, Va, 1);
        }
        else if (Form == 3)
        {
            TestEvict(Process, Va, 1);
        }
        ExpectException(Form & 1 ? WRITE : READ, Va, STATUS_GUARD_PAGE_VIOLATION);
        assert_int_equal(TestGet(Va), Form);
        TestPut(Va, 100 + Form);
    }
    assert_int_equal(TestCounted(MiCounterGuardFaults, &Guards), 4);
}

static void any_attempt_to_access_a_guard_page_raises_the_alarm_first(void **State)
{
    (void)State;
    TestCommit(Process, BASE, 1, MM_READONLY | MM_GUARD_PAGE);
    ExpectException(WRITE, BASE, STATUS_GUARD_PAGE_VIOLATION);
    ExpectException(WRITE, BASE, STATUS_ACCESS_VIOLATION);
    assert_int_equal(TestGet(BASE), 0);
}

/* ---- Pages that cannot be read ------------------------------------------------------------------------- */

static void InjectReadErrors(ULONG64 Count)
{
    HOST_STORAGE_FAULT Fault = {
        .Storage = TestStorage(0), .Kind = HOST_FAULT_READ, .Nth = 1, .Count = Count, .Error = EIO
    };

    assert_true(HostStorageInject(&Fault));
}

static void a_failed_read_is_an_in_page_error_with_its_status_and_the_page_recovers(void **State)
{
    EXCEPTION_RECORD Record;
    ULONG64 Errors = 0;
    MMPTE Out;

    (void)State;
    TestCommit(Process, BASE, 1, MM_READWRITE);
    TestFillPages(BASE, 1, 41);
    TestEvict(Process, BASE, 1);
    Out = TestPte(Process, BASE);
    TestCounted(MiCounterInPageErrors, &Errors);
    InjectReadErrors(2);
    for (ULONG Try = 0; Try < 2; Try++)
    {
        assert_int_equal(Access(Try == 0 ? READ : WRITE, BASE + 8, &Record), STATUS_IN_PAGE_ERROR);
        assert_int_equal(Record.NumberParameters, 3);
        assert_int_equal(Record.ExceptionInformation[0], Try == 0 ? READ : WRITE);
        assert_int_equal(Record.ExceptionInformation[1], BASE + 8);
        assert_int_equal((NTSTATUS)Record.ExceptionInformation[2], STATUS_IO_DEVICE_ERROR);
        assert_int_equal(TestPte(Process, BASE).Long, Out.Long);
    }
    assert_int_equal(TestCounted(MiCounterInPageErrors, &Errors), 2);
    TestComparePages(BASE, 1, 41);
}

static void a_bad_neighbour_does_not_make_a_good_page_unreadable(void **State)
{
    (void)State;
    TestCommit(Process, BASE, 64, MM_READWRITE);
    TestFillPages(BASE, 64, 42);
    TestEvict(Process, BASE, 64);
    assert_int_equal(TestGet(BASE), 42);
    InjectReadErrors(1); /* strikes the cluster that the second fault in order reads */
    TestComparePages(BASE + PAGE_SIZE, 63, 42 + 512);
}

static void what_a_page_table_maps_is_unreadable_as_long_as_the_table_is(void **State)
{
    (void)State;
    TestCommit(Process, BASE, 8 * 512, MM_READWRITE);
    for (ULONG Table = 0; Table < 8; Table++)
    {
        TestPut(BASE + Table * MI_LEVEL_BYTES(1), Table);
    }
    TestEvict(Process, BASE, 8 * 512);
    assert_true(MiTrimPageTables(&Process->Space) != 0);
    MiFlushModifiedPages();
    MiPurgeStandby(7);
    InjectReadErrors(1);
    ExpectException(READ, BASE, STATUS_IN_PAGE_ERROR);
    assert_int_equal(TestGet(BASE), 0);
    assert_int_equal(TestGet(BASE + MI_LEVEL_BYTES(1)), 1);
}

/* ---- System space -------------------------------------------------------------------------------------- */

static void TouchSystem(void *Context)
{
    const ULONG_PTR *What = Context;

    KiCurrentThread()->CurrentMode = KernelMode;
    Access((ACCESS)What[1], What[0], NULL);
}

static void ExpectStop(ULONG Code, ACCESS Kind, ULONG_PTR Va)
{
    ULONG_PTR What[] = { Va, (ULONG_PTR)Kind };

    TestExpectBugCheck(Code, TouchSystem, What);
    KiCurrentThread()->CurrentMode = UserMode;
}

static void system_pages_are_made_and_paged_like_others(void **State)
{
    ULONG Index = MI_PTE_INDEX(SYSTEM, MI_TOP_LEVEL);

    (void)State;
    TestCommitSystem(SYSTEM, 2, MM_READWRITE);
    KiCurrentThread()->CurrentMode = KernelMode;
    TestPut(SYSTEM, 1234);
    assert_false(TestPteOf(&MiState.Space->System, SYSTEM).Hard.Owner);
    MiEmptyWorkingSet(&MiState.Space->System);
    MiFlushModifiedPages();
    MiPurgeStandby(7);
    assert_true(MiIsPagedOut(TestPteOf(&MiState.Space->System, SYSTEM)));
    assert_int_equal(TestGet(SYSTEM), 1234);
    TestDeleteSystem();
    /* The tables that all spaces share stay, so the copies in the processes' top levels are still right. */
    assert_int_equal(((PMMPTE)PortDirectMap(Process->Space.TopLevel))[Index].Long,
                     ((PMMPTE)PortDirectMap(MiState.Space->System.TopLevel))[Index].Long);
    assert_true(((PMMPTE)PortDirectMap(Process->Space.TopLevel))[Index].Hard.Valid);
    TestCommitSystem(SYSTEM, 1, MM_READWRITE);
    assert_int_equal(TestGet(SYSTEM), 0);
    KiCurrentThread()->CurrentMode = UserMode;
}

static void an_invalid_system_address_stops_the_machine(void **State)
{
    (void)State;
    ExpectStop(PAGE_FAULT_IN_NONPAGED_AREA, READ, SYSTEM + 16);
    assert_int_equal(TestBugCheckParameters[0], SYSTEM + 16);
    assert_int_equal(TestBugCheckParameters[1], 0);
    assert_int_equal(TestBugCheckParameters[3], 2);
    TestCommitSystem(SYSTEM, 1, MM_READWRITE);
    KiCurrentThread()->CurrentMode = KernelMode;
    TestPut(SYSTEM, 1);
    ExpectStop(PAGE_FAULT_IN_NONPAGED_AREA, WRITE, SYSTEM + PAGE_SIZE);
    assert_int_equal(TestBugCheckParameters[0], SYSTEM + PAGE_SIZE);
    assert_int_equal(TestBugCheckParameters[1], 2);
    assert_int_equal(TestBugCheckParameters[3], 0);
}

static void writing_read_only_and_executing_data_in_the_system_stop_the_machine(void **State)
{
    (void)State;
    TestCommitSystem(SYSTEM, 1, MM_READONLY);
    KiCurrentThread()->CurrentMode = KernelMode;
    assert_int_equal(TestGet(SYSTEM), 0);
    ExpectStop(ATTEMPTED_WRITE_TO_READONLY_MEMORY, WRITE, SYSTEM);
    assert_int_equal(TestBugCheckParameters[0], SYSTEM);
    assert_int_equal(TestBugCheckParameters[1], TestPteOf(&MiState.Space->System, SYSTEM).Long);
    ExpectStop(ATTEMPTED_EXECUTE_OF_NOEXECUTE_MEMORY, EXECUTE, SYSTEM);
    assert_int_equal(TestBugCheckParameters[0], SYSTEM);
    assert_int_equal(TestBugCheckParameters[1], TestPteOf(&MiState.Space->System, SYSTEM).Long);
}

static void unreadable_kernel_data_stops_the_machine(void **State)
{
    MMPTE Out;

    (void)State;
    TestCommitSystem(SYSTEM, 1, MM_READWRITE);
    KiCurrentThread()->CurrentMode = KernelMode;
    TestPut(SYSTEM, 5);
    MiEmptyWorkingSet(&MiState.Space->System);
    MiFlushModifiedPages();
    MiPurgeStandby(7);
    Out = TestPteOf(&MiState.Space->System, SYSTEM);
    InjectReadErrors(1);
    ExpectStop(KERNEL_DATA_INPAGE_ERROR, READ, SYSTEM);
    assert_int_equal(MiReadPte((PMMPTE)TestBugCheckParameters[0]).Long, Out.Long);
    assert_int_equal((NTSTATUS)TestBugCheckParameters[1], STATUS_IO_DEVICE_ERROR);
    assert_int_equal(TestBugCheckParameters[2], SYSTEM);
    assert_int_equal(TestBugCheckParameters[3], Out.Long);
}

static void TouchAtDispatch(void *Context)
{
    KIRQL OldIrql;

    KiCurrentThread()->CurrentMode = KernelMode;
    KeRaiseIrql(DISPATCH_LEVEL, &OldIrql);
    TouchSystem(Context);
}

static void a_fault_at_dispatch_level_stops_the_machine(void **State)
{
    ULONG_PTR What[] = { BASE + 8, WRITE };

    (void)State;
    TestCommit(Process, BASE, 1, MM_READWRITE);
    TestExpectBugCheck(IRQL_NOT_LESS_OR_EQUAL, TouchAtDispatch, What);
    assert_int_equal(TestBugCheckParameters[0], BASE + 8);
    assert_int_equal(TestBugCheckParameters[1], DISPATCH_LEVEL);
    assert_int_equal(TestBugCheckParameters[2], 1);
    /* What is there needs no memory manager, at any level. */
    KiCurrentThread()->CurrentMode = UserMode;
    TestPut(BASE + 8, 1);
    KiCurrentThread()->CurrentMode = KernelMode;
    {
        KIRQL OldIrql;
        ULONG64 Value = 0;
        NTSTATUS Status;

        KeRaiseIrql(DISPATCH_LEVEL, &OldIrql);
        Status = TestRead(BASE + 8, &Value, NULL);
        KeLowerIrql(OldIrql);
        assert_int_equal(Status, STATUS_SUCCESS);
        assert_int_equal(Value, 1);
    }
    KiCurrentThread()->CurrentMode = UserMode;
}

static void a_recursive_fault_is_known_by_its_depth(void **State)
{
    (void)State;
    assert_false(MmIsRecursiveIoFault());
    KiCurrentThread()->FaultDepth++;
    assert_true(MmIsRecursiveIoFault());
    KiCurrentThread()->FaultDepth--;
    assert_false(MmIsRecursiveIoFault());
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
#define TEST(Name) cmocka_unit_test_setup_teardown(Name, setup, teardown)
        TEST(each_protection_permits_exactly_its_accesses),
        TEST(reserved_decommitted_and_free_addresses_are_violations),
        TEST(user_mode_does_not_reach_system_addresses),
        TEST(a_guard_page_raises_once_in_every_state),
        TEST(any_attempt_to_access_a_guard_page_raises_the_alarm_first),
        TEST(a_failed_read_is_an_in_page_error_with_its_status_and_the_page_recovers),
        TEST(a_bad_neighbour_does_not_make_a_good_page_unreadable),
        TEST(what_a_page_table_maps_is_unreadable_as_long_as_the_table_is),
        TEST(system_pages_are_made_and_paged_like_others),
        TEST(an_invalid_system_address_stops_the_machine),
        TEST(writing_read_only_and_executing_data_in_the_system_stop_the_machine),
        TEST(unreadable_kernel_data_stops_the_machine),
        TEST(a_fault_at_dispatch_level_stops_the_machine),
        TEST(a_recursive_fault_is_known_by_its_depth),
    };

    return cmocka_run_group_tests_name("violations", Tests, NULL, NULL);
}
