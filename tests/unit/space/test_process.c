/* SPDX-License-Identifier: MIT */
/* Processes: birth, two-step death, handles, charges, attaching, lookup, failure at every allocation, ten thousand of them. */
#include "boot.h"

static PEPROCESS create(const char *name)
{
    PEPROCESS process;

    assert_int_equal(PsCreateProcessObject(name, &process), STATUS_SUCCESS);
    return process;
}

static void a_process_begins_empty_with_documented_limits(void **state)
{
    PEPROCESS process = create("a name that is too long");
    PMI_ADDRESS_SPACE space = &process->Space;

    (void)state;
    assert_string_equal(process->ImageFileName, "a name that is ");
    assert_int_equal(process->UniqueProcessId % 4, 0);
    assert_true(process->UniqueProcessId > 4);
    assert_int_equal(PsGetProcessExitStatus(process), STATUS_PENDING);
    assert_int_equal(space->VadCount, 0);
    assert_int_equal(space->CommitCharge, 1);
    assert_int_equal(space->PageTablePages, 1);
    assert_int_equal(space->Vm.MinimumWorkingSetSize, 50);
    assert_int_equal(space->Vm.MaximumWorkingSetSize, 345);
    assert_false(space->Vm.MinimumHard || space->Vm.MaximumHard);
    assert_int_equal(space->Vm.MemoryPriority, 5);
    assert_int_equal((ULONG_PTR)space->Slots % 64, 0);
    assert_int_equal(space->LowestVpn, PORT_USER_LOWEST >> PAGE_SHIFT);
    assert_int_equal(space->HighestVpn, PORT_USER_HIGHEST >> PAGE_SHIFT);
    assert_int_equal(MiWorkingSetPages(space), 0);
    MiCheckSpace(space, 2);
    ObDereferenceObjectBody(process);
}

static void termination_signals_closes_handles_and_happens_once(void **state)
{
    PEPROCESS process = create("victim");
    PEPROCESS other = create("other");
    LARGE_INTEGER now = { .QuadPart = 0 };
    HANDLE handle;

    (void)state;
    assert_int_equal(ObInsertHandle(process->HandleTable, other, 0, &handle), STATUS_SUCCESS);
    ObDereferenceObjectBody(other);
    assert_int_equal(MiState.Space->ProcessCount, 2);
    assert_int_equal(KeWaitForSingleObject(&process->Header, Executive, KernelMode, FALSE, &now),
                     STATUS_TIMEOUT);
    PsTerminateProcessObject(process, STATUS_CONTROL_C_EXIT);
    assert_int_equal(MiState.Space->ProcessCount, 1);
    assert_int_equal(KeWaitForSingleObject(&process->Header, Executive, KernelMode, FALSE, NULL),
                     STATUS_SUCCESS);
    assert_int_equal(PsGetProcessExitStatus(process), STATUS_CONTROL_C_EXIT);
    assert_true(process->SpaceDeleted && process->Space.Deleting);
    PsTerminateProcessObject(process, STATUS_SUCCESS);
    assert_int_equal(PsGetProcessExitStatus(process), STATUS_CONTROL_C_EXIT);
    assert_int_equal(ObInsertHandle(process->HandleTable, process, 0, &handle),
                     STATUS_PROCESS_IS_TERMINATING);
    /* The structure and the top-level page stay while there is a reference. */
    assert_int_not_equal(process->Space.TopLevel, 0);
    ObDereferenceObjectBody(process);
}

static ULONG spaces_deleted;

static VOID delete_space(PMI_ADDRESS_SPACE space)
{
    spaces_deleted++;
    assert_true(space->Deleting);
    for (PMMVAD vad = MiFirstVad(space); vad != NULL; vad = MiFirstVad(space))
    {
        MiReturnSpaceCommit(space, vad->CommitCharge);
        MiRemoveVad(space, vad);
        MiFreeVad(vad);
    }
}

static PMMVAD add_vad(PEPROCESS process, ULONG_PTR start, SIZE_T pages, SIZE_T charge)
{
    PMMVAD vad = MiAllocateVad(start, start + pages - 1);

    assert_non_null(vad);
    assert_int_equal(MiChargeSpaceCommit(&process->Space, charge, 0), STATUS_SUCCESS);
    vad->CommitCharge = charge;
    MiInsertVad(&process->Space, vad);
    return vad;
}

static void the_user_half_goes_at_termination(void **state)
{
    PEPROCESS process = create("victim");
    SIZE_T committed = MiState.Physical->CommittedPages;

    (void)state;
    MiState.Space->DeleteAddressSpace = delete_space;
    spaces_deleted = 0;
    add_vad(process, process->Space.LowestVpn + 0x100, 100, 70);
    add_vad(process, process->Space.LowestVpn + 0x200, 100, 0);
    MiCheckSpace(&process->Space, 2);
    PsTerminateProcessObject(process, STATUS_SUCCESS);
    assert_int_equal(spaces_deleted, 1);
    MiTrimPool();
    assert_true(MiState.Physical->CommittedPages <= committed);
    ObDereferenceObjectBody(process);
    assert_int_equal(spaces_deleted, 1);

    process = create("dropped without termination");
    add_vad(process, process->Space.LowestVpn + 0x100, 100, 70);
    ObDereferenceObjectBody(process);
    assert_int_equal(spaces_deleted, 2);
}

static void terminate(void *process)
{
    PsTerminateProcessObject(process, STATUS_SUCCESS);
}

static void memory_left_behind_stops_the_machine(void **state)
{
    PEPROCESS process = create("leaker");

    (void)state;
    MiState.Space->DeleteAddressSpace = NULL; /* nobody deletes it */
    add_vad(process, process->Space.LowestVpn + 0x100, 100, 0);
    TestExpectBugCheck(MEMORY_MANAGEMENT, terminate, process);
    assert_int_equal(TestBugCheckParameters[0], 0x5003);
    assert_int_equal(TestBugCheckParameters[2], 1);
    TestAbandonMachine();
}

/* ---- Charges ------------------------------------------------------------------------------------------------ */

static void a_space_has_a_limit_of_its_own(void **state)
{
    PEPROCESS process = create("limited");
    PMI_ADDRESS_SPACE space = &process->Space;
    SIZE_T committed = MiState.Physical->CommittedPages;

    (void)state;
    space->CommitChargeLimit = 100;
    assert_int_equal(MiChargeSpaceCommit(space, 99, 0), STATUS_SUCCESS);
    assert_int_equal(MiChargeSpaceCommit(space, 1, 0), STATUS_COMMITMENT_LIMIT);
    assert_int_equal(MiChargeSpaceCommit(space, ~(SIZE_T)0, 0), STATUS_COMMITMENT_LIMIT);
    assert_int_equal(MiChargeSpaceCommit(space, 3, MI_COMMIT_BEYOND_SPACE), STATUS_SUCCESS);
    assert_int_equal(space->CommitCharge, 103);
    assert_int_equal(MiState.Physical->CommittedPages, committed + 102);
    MiReturnSpaceCommit(space, 102);
    assert_int_equal(space->CommitChargePeak, 103);
    space->CommitChargeLimit = 0;
    assert_int_equal(MiChargeSpaceCommit(space, MiState.Physical->CommitLimit, 0), STATUS_COMMITMENT_LIMIT);
    assert_int_equal(space->CommitCharge, 1);
    assert_int_equal(MiState.Physical->CommittedPages, committed);
    ObDereferenceObjectBody(process);
}

static void working_set_counts_are_sums_over_processors(void **state)
{
    PEPROCESS process = create("counted");
    PMI_ADDRESS_SPACE space = &process->Space;
    KIRQL irql = KiRaiseIrqlToDispatch();

    (void)state;
    MiAddWorkingSetPages(space, 5);
    KiLowerIrqlFromDispatch(irql);
    space->Slots[1].WorkingSetPages = -3; /* taken by another processor */
    assert_int_equal(MiWorkingSetPages(space), 2);
    MiUpdatePeakWorkingSet(space);
    space->Slots[0].WorkingSetPages = 0;
    space->Slots[1].WorkingSetPages = 0;
    MiUpdatePeakWorkingSet(space);
    assert_int_equal(space->Vm.PeakWorkingSetSize, 2);
    space->Slots[0].PageFaultCount = 7;
    space->Slots[1].PageFaultCount = 8;
    space->Slots[1].HardFaultCount = 2;
    assert_int_equal(MiSpaceFaultCount(space), 15);
    assert_int_equal(MiSpaceHardFaultCount(space), 2);
    ObDereferenceObjectBody(process);
}

/* ---- Attaching ---------------------------------------------------------------------------------------------- */

static void threads_without_a_process_belong_to_the_system(void **state)
{
    (void)state;
    assert_ptr_equal(PsGetCurrentProcess(), PsInitialSystemProcess);
    assert_int_equal((ULONG_PTR)PsGetCurrentProcessId(), 4);
    assert_null(MiCurrentSpace());
}

static void attaching_nests_and_comes_back(void **state)
{
    PEPROCESS first = create("first");
    PEPROCESS second = create("second");
    KAPC_STATE outer;
    KAPC_STATE inner;

    (void)state;
    KeStackAttachProcess((PKPROCESS)(PVOID)first, &outer);
    assert_ptr_equal(PsGetCurrentProcess(), first);
    assert_ptr_equal(MiCurrentSpace(), &first->Space);
    assert_int_equal((ULONG_PTR)PsGetCurrentProcessId(), 4); /* whom the thread belongs to */
    KeStackAttachProcess((PKPROCESS)(PVOID)second, &inner);
    assert_ptr_equal(MiCurrentSpace(), &second->Space);
    KeStackAttachProcess((PKPROCESS)(PVOID)second, &inner);
    KeUnstackDetachProcess(&inner);
    assert_ptr_equal(MiCurrentSpace(), &second->Space);
    inner.Process = (PKPROCESS)(PVOID)first;
    KeUnstackDetachProcess(&inner);
    assert_ptr_equal(MiCurrentSpace(), &first->Space);
    KeStackAttachProcess((PKPROCESS)(PVOID)PsInitialSystemProcess, &inner);
    assert_null(MiCurrentSpace());
    KeUnstackDetachProcess(&inner);
    assert_ptr_equal(MiCurrentSpace(), &first->Space);
    KeUnstackDetachProcess(&outer);
    assert_null(MiCurrentSpace());
    ObDereferenceObjectBody(first);
    ObDereferenceObjectBody(second);
}

static void attach(void *process)
{
    KeAttachProcess(process);
}

static void simple_attaching_does_not_nest(void **state)
{
    PEPROCESS first = create("first");
    PEPROCESS second = create("second");

    (void)state;
    KeAttachProcess((PKPROCESS)(PVOID)first);
    KeAttachProcess((PKPROCESS)(PVOID)first);
    TestExpectBugCheck(INVALID_PROCESS_ATTACH_ATTEMPT, attach, second);
    assert_int_equal(TestBugCheckParameters[0], (ULONG_PTR)second);
    assert_int_equal(TestBugCheckParameters[1], (ULONG_PTR)first);
    KeDetachProcess();
    assert_ptr_equal(PsGetCurrentProcess(), PsInitialSystemProcess);
    KeDetachProcess();
    ObDereferenceObjectBody(first);
    ObDereferenceObjectBody(second);
}

static void a_thread_keeps_its_process_alive(void **state)
{
    PEPROCESS process = create("owner");

    (void)state;
    PsSetThreadProcess(process);
    assert_int_equal(process->ActiveThreads, 1);
    ObDereferenceObjectBody(process);
    assert_ptr_equal(PsGetCurrentProcess(), process);
    assert_int_equal((ULONG_PTR)PsGetCurrentProcessId(), process->UniqueProcessId);
    PsTerminateProcessObject(process, STATUS_SUCCESS);
    assert_int_equal(MiState.Space->ProcessCount, 1);
    PsSetThreadProcess(NULL);
    assert_int_equal(MiState.Space->ProcessCount, 0);
    assert_null(MiCurrentSpace());
}

/* ---- Lookup ------------------------------------------------------------------------------------------------- */

static BOOLEAN count_process(PEPROCESS process, PVOID context)
{
    ULONG *count = context;

    (void)process;
    ++*count;
    return *count < 5;
}

static void processes_are_found_by_their_identifier(void **state)
{
    PEPROCESS processes[8];
    PEPROCESS found;
    ULONG count = 0;

    (void)state;
    for (ULONG i = 0; i < 8; i++)
    {
        processes[i] = create("many");
    }
    for (ULONG i = 0; i < 8; i++)
    {
        assert_int_equal(PsLookupProcessByProcessId(PsGetProcessId(processes[i]), &found), STATUS_SUCCESS);
        assert_ptr_equal(found, processes[i]);
        ObDereferenceObjectBody(found);
    }
    assert_int_equal(PsLookupProcessByProcessId((HANDLE)4, &found), STATUS_SUCCESS);
    assert_ptr_equal(found, PsInitialSystemProcess);
    ObDereferenceObjectBody(found);
    assert_int_equal(PsLookupProcessByProcessId((HANDLE)0x7ffffff0, &found), STATUS_INVALID_CID);
    PsForEachProcess(count_process, &count);
    assert_int_equal(count, 5);
    for (ULONG i = 0; i < 8; i++)
    {
        HANDLE id = PsGetProcessId(processes[i]);

        ObDereferenceObjectBody(processes[i]);
        assert_int_equal(PsLookupProcessByProcessId(id, &found), STATUS_INVALID_CID);
    }
    count = 0;
    PsForEachProcess(count_process, &count);
    assert_int_equal(count, 0);
}

/* ---- Failure ------------------------------------------------------------------------------------------------ */

static void creation_that_fails_leaves_nothing(void **state)
{
    static const KI_INJECT kinds[] = { KiInjectPool, KiInjectCommit };

    (void)state;
    for (ULONG kind = 0; kind < 2; kind++)
    {
        ULONG64 failed = 1;
        ULONG failures = 0;

        for (ULONG64 nth = 1; failed != 0; nth++)
        {
            PEPROCESS process = NULL;
            NTSTATUS status;

            MiTrimPool();
            KiSetInjection(kinds[kind], nth, FALSE);
            status = PsCreateProcessObject("unlucky", &process);
            KiQueryInjection(kinds[kind], &failed);
            KiSetInjection(kinds[kind], 0, FALSE);
            failures += failed != 0;
            assert_true(failed != 0
                            ? status == STATUS_INSUFFICIENT_RESOURCES || status == STATUS_COMMITMENT_LIMIT
                            : status == STATUS_SUCCESS);
            if (process != NULL)
            {
                ObDereferenceObjectBody(process);
            }
            TestAssertNothingLeft();
        }
        assert_true(failures >= (kind == 0 ? 3u : 1u));
    }
}

static void a_frame_that_fails_once_is_waited_for(void **state)
{
    ULONG64 failed = 1;

    (void)state;
    for (ULONG64 nth = 1; failed != 0; nth++)
    {
        PEPROCESS process;

        MiTrimPool();
        KiSetInjection(KiInjectFrame, nth, FALSE);
        process = create("patient");
        KiQueryInjection(KiInjectFrame, &failed);
        KiSetInjection(KiInjectFrame, 0, FALSE);
        ObDereferenceObjectBody(process);
    }
}

/* ---- Many, and at the same time ------------------------------------------------------------------------------ */

static void ten_thousand_processes(void **state)
{
    static const TEST_MACHINE machine = { .RamMegabytes = 96, .Deterministic = TRUE };
    ULONG count = (ULONG)TestIterations(10000);
    PEPROCESS *processes = calloc(count, sizeof(PEPROCESS));
    ULONG64 begin;
    PFN_NUMBER available;

    (void)state;
    TestBootMachine(&machine);
    available = MiAvailablePages();
    begin = PortQueryClock();
    for (ULONG i = 0; i < count; i++)
    {
        processes[i] = create("one of many");
    }
    print_message("%u processes: %llu ns to create, %llu bytes each\n", count,
                  (PortQueryClock() - begin) / count,
                  (ULONG64)(available - MiAvailablePages()) * PAGE_SIZE / count);
    begin = PortQueryClock();
    for (ULONG i = 0; i < count; i++)
    {
        ObDereferenceObjectBody(processes[i]);
    }
    print_message("%u processes: %llu ns to delete\n", count, (PortQueryClock() - begin) / count);
    free(processes);
    TestShutdownMachine();
}

static void live_and_die(ULONG index, void *context)
{
    PEPROCESS shared = context;

    for (ULONG64 step = TestIterations(300); step > 0; step--)
    {
        PEPROCESS process = create("short-lived");
        PEPROCESS found;
        KAPC_STATE apc;
        ULONG count = 0;

        PsSetThreadProcess(process);
        KeStackAttachProcess((PKPROCESS)(PVOID)shared, &apc);
        assert_ptr_equal(MiCurrentSpace(), &shared->Space);
        KeUnstackDetachProcess(&apc);
        assert_ptr_equal(MiCurrentSpace(), &process->Space);
        PsForEachProcess(count_process, &count);
        assert_true(count >= 2);
        if (NT_SUCCESS(PsLookupProcessByProcessId(
                (HANDLE)(ULONG_PTR)(process->UniqueProcessId - 4 * (index % 2)), &found)))
        {
            if ((step & 3) == 0 && found != shared && found != PsInitialSystemProcess)
            {
                PsTerminateProcessObject(found, STATUS_CONTROL_C_EXIT);
                assert_int_equal(PsGetProcessExitStatus(found), STATUS_CONTROL_C_EXIT);
            }
            ObDereferenceObjectBody(found);
        }
        ObDereferenceObjectBody(process);
        PsSetThreadProcess(NULL);
    }
}

static void processes_live_and_die_in_parallel(void **state)
{
    PEPROCESS shared = create("shared");

    (void)state;
    TestRunThreads(4, live_and_die, shared);
    ObDereferenceObjectBody(shared);
}

static void lock_and_change(ULONG index, void *context)
{
    PEPROCESS process = context;
    PMI_ADDRESS_SPACE space = &process->Space;
    ULONG_PTR mine = space->LowestVpn + 0x10000 + (ULONG_PTR)index * 0x1000;

    for (ULONG64 step = TestIterations(3000); step > 0; step--)
    {
        MI_SPACE_SLOT *slot;
        PMMVAD vad = MiAllocateVad(mine, mine + 10);

        MiLockSpaceExclusive(space);
        MiInsertVad(space, vad);
        MiUnlockSpaceExclusive(space);
        slot = MiLockSpaceShared(space);
        assert_ptr_equal(MiLocateVad(space, mine + 5), vad);
        MiUnlockSpaceShared(space, slot);
        while (!MiTryLockSpaceExclusive(space))
        {
            PortYield();
        }
        MiRemoveVad(space, vad);
        MiUnlockSpaceExclusive(space);
        MiFreeVad(vad);
    }
}

static void the_space_lock_keeps_the_tree_whole(void **state)
{
    PEPROCESS process = create("contended");

    (void)state;
    TestRunThreads(4, lock_and_change, process);
    MiCheckSpace(&process->Space, 2);
    ObDereferenceObjectBody(process);
}

#define TEST(test)    cmocka_unit_test_setup_teardown(test, TestSetupDeterministic, TestTeardown)
#define THREADS(test) cmocka_unit_test_setup_teardown(test, TestSetupThreaded, TestTeardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_process_begins_empty_with_documented_limits),
        TEST(termination_signals_closes_handles_and_happens_once),
        TEST(the_user_half_goes_at_termination),
        TEST(memory_left_behind_stops_the_machine),
        TEST(a_space_has_a_limit_of_its_own),
        THREADS(working_set_counts_are_sums_over_processors),
        TEST(threads_without_a_process_belong_to_the_system),
        TEST(attaching_nests_and_comes_back),
        TEST(simple_attaching_does_not_nest),
        TEST(a_thread_keeps_its_process_alive),
        TEST(processes_are_found_by_their_identifier),
        TEST(creation_that_fails_leaves_nothing),
        TEST(a_frame_that_fails_once_is_waited_for),
        cmocka_unit_test_teardown(ten_thousand_processes, TestTeardown),
        THREADS(processes_live_and_die_in_parallel),
        THREADS(the_space_lock_keeps_the_tree_whole),
    };

    return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
