/* SPDX-License-Identifier: MIT */
/*
 * Working-set limits, what the working-set manager does when memory is short, and the events that tell
 * programs so.
 */
#include "pages.h"

#define BASE TEST_BASE

static PEPROCESS Process;

static int setup(void **State)
{
    static const TEST_MACHINE Machine = {
        .RamMegabytes = 8, .Deterministic = TRUE, .Seed = 9, .PagingFiles = 1, .Workers = TRUE
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

static NTSTATUS SetLimits(SIZE_T Minimum, SIZE_T Maximum, ULONG Flags)
{
    return MiSetWorkingSetLimits(&Process->Space, Minimum, Maximum, Flags);
}

/* ---- Limits -------------------------------------------------------------------------------------------- */

static void limits_that_make_no_sense_are_refused(void **State)
{
    (void)State;
    assert_int_equal(SetLimits(19, 100, 0), STATUS_BAD_WORKING_SET_LIMIT);
    assert_int_equal(SetLimits(101, 100, 0), STATUS_BAD_WORKING_SET_LIMIT);
    assert_int_equal(SetLimits(20, MiState.Physical->NumberOfPages + 1, 0), STATUS_BAD_WORKING_SET_LIMIT);
    assert_int_equal(SetLimits(20, 30, QUOTA_LIMITS_HARDWS_MIN_ENABLE | QUOTA_LIMITS_HARDWS_MIN_DISABLE),
                     STATUS_INVALID_PARAMETER);
    assert_int_equal(SetLimits(20, 30, QUOTA_LIMITS_HARDWS_MAX_ENABLE | QUOTA_LIMITS_HARDWS_MAX_DISABLE),
                     STATUS_INVALID_PARAMETER);
    assert_int_equal(Process->Space.Vm.MinimumWorkingSetSize, 50);
    assert_int_equal(Process->Space.Vm.MaximumWorkingSetSize, 345);
    assert_int_equal(SetLimits(20, 0, 0), STATUS_SUCCESS); /* 0 keeps one */
    assert_int_equal(Process->Space.Vm.MinimumWorkingSetSize, 20);
    assert_int_equal(Process->Space.Vm.MaximumWorkingSetSize, 345);
}

static void minus_one_twice_empties_the_working_set(void **State)
{
    (void)State;
    TestCommit(Process, BASE, 30, MM_READWRITE);
    TestFillPages(BASE, 30, 1);
    assert_int_equal(SetLimits(~(SIZE_T)0, ~(SIZE_T)0, 0), STATUS_SUCCESS);
    assert_int_equal(MiWorkingSetPages(&Process->Space), 0);
    TestComparePages(BASE, 30, 1);
}

static void a_soft_maximum_does_not_bind_while_there_is_memory(void **State)
{
    (void)State;
    assert_int_equal(SetLimits(20, 25, 0), STATUS_SUCCESS);
    TestCommit(Process, BASE, 200, MM_READWRITE);
    TestFillPages(BASE, 200, 2);
    assert_int_equal(MiWorkingSetPages(&Process->Space), 200);
}

static void a_hard_maximum_is_never_exceeded(void **State)
{
    TEST_RANDOM Random = { .State = 42 };

    (void)State;
    TestCommit(Process, BASE, 600, MM_READWRITE);
    for (ULONG Turn = 0; Turn < 2; Turn++)
    {
        SIZE_T Maximum = Turn == 0 ? 300 : 20;

        if (Turn == 1)
        {
            TestFillPages(BASE, 600, 3);
        }
        assert_int_equal(SetLimits(20, Maximum, QUOTA_LIMITS_HARDWS_MAX_ENABLE), STATUS_SUCCESS);
        assert_true(MiWorkingSetPages(&Process->Space) <= Maximum);
        for (SIZE_T Index = 0; Index < 600; Index++)
        {
            TestFillPages(BASE + Index * PAGE_SIZE, 1, 3 + Index * 512);
            assert_true(MiWorkingSetPages(&Process->Space) <= Maximum);
        }
        for (ULONG Draw = 0; Draw < 1000; Draw++)
        {
            SIZE_T Index = TestBelow(&Random, 600);

            assert_int_equal(TestGet(BASE + Index * PAGE_SIZE), 3 + Index * 512);
            assert_true(MiWorkingSetPages(&Process->Space) <= Maximum);
        }
    }
    /* Sequential reads from the paging file, too, although pages come along. */
    TestEvict(Process, BASE, 600);
    for (SIZE_T Index = 0; Index < 600; Index++)
    {
        assert_int_equal(TestGet(BASE + Index * PAGE_SIZE), 3 + Index * 512);
        assert_true(MiWorkingSetPages(&Process->Space) <= 20);
    }
    assert_int_equal(SetLimits(20, 20, QUOTA_LIMITS_HARDWS_MAX_DISABLE), STATUS_SUCCESS);
    TestComparePages(BASE, 600, 3);
    assert_int_equal(MiWorkingSetPages(&Process->Space), 600);
}

static void an_access_across_pages_gets_through_the_smallest_hard_maximum(void **State)
{
    static UCHAR Out[19 * PAGE_SIZE], In[19 * PAGE_SIZE];

    (void)State;
    for (ULONG Index = 0; Index < sizeof(Out); Index++)
    {
        Out[Index] = (UCHAR)(Index * 31 >> 3);
    }
    assert_int_equal(SetLimits(20, 20, QUOTA_LIMITS_HARDWS_MAX_ENABLE), STATUS_SUCCESS);
    TestCommit(Process, BASE, 100, MM_READWRITE);
    for (ULONG Page = 0; Page < 80; Page += 20)
    {
        assert_int_equal(HostSimWrite(BASE + Page * PAGE_SIZE + 100, Out, sizeof(Out), NULL), STATUS_SUCCESS);
    }
    assert_int_equal(HostSimRead(BASE + 100, In, sizeof(In), NULL), STATUS_SUCCESS);
    assert_memory_equal(In, Out, sizeof(In));
}

static void a_hard_minimum_is_charged_and_comes_back(void **State)
{
    LONG64 Before = MiState.Physical->ResidentAvailable;
    PEPROCESS Other;

    (void)State;
    assert_int_equal(SetLimits(100, 200, QUOTA_LIMITS_HARDWS_MIN_ENABLE), STATUS_SUCCESS);
    assert_int_equal(MiState.Physical->ResidentAvailable, Before - 100);
    assert_int_equal(SetLimits(150, 200, 0), STATUS_SUCCESS);
    assert_int_equal(MiState.Physical->ResidentAvailable, Before - 150);
    assert_int_equal(SetLimits(150, 200, QUOTA_LIMITS_HARDWS_MIN_DISABLE), STATUS_SUCCESS);
    assert_int_equal(MiState.Physical->ResidentAvailable, Before);
    assert_int_equal(
        SetLimits((SIZE_T)Before + 1, MiState.Physical->NumberOfPages, QUOTA_LIMITS_HARDWS_MIN_ENABLE),
        STATUS_INSUFFICIENT_RESOURCES);
    assert_int_equal(Process->Space.Vm.MinimumWorkingSetSize, 150);
    /* A process that ends gives its own back, and gets none any more. */
    Other = TestCreateProcess();
    assert_int_equal(MiSetWorkingSetLimits(&Other->Space, 60, 100, QUOTA_LIMITS_HARDWS_MIN_ENABLE),
                     STATUS_SUCCESS);
    PsTerminateProcessObject(Other, STATUS_SUCCESS);
    assert_int_equal(MiSetWorkingSetLimits(&Other->Space, 60, 100, QUOTA_LIMITS_HARDWS_MIN_ENABLE),
                     STATUS_PROCESS_IS_TERMINATING);
    ObDereferenceObjectBody(Other);
    assert_int_equal(MiState.Physical->ResidentAvailable, Before);
}

/* ---- When memory is short ------------------------------------------------------------------------------ */

static void a_hard_minimum_stays_while_others_are_trimmed(void **State)
{
    PEPROCESS Other = TestCreateProcess();

    (void)State;
    TestCommit(Process, BASE, 120, MM_READWRITE);
    TestFillPages(BASE, 120, 4);
    assert_int_equal(SetLimits(120, 200, QUOTA_LIMITS_HARDWS_MIN_ENABLE), STATUS_SUCCESS);
    TestEnter(Other);
    TestCommit(Other, BASE, 4000, MM_READWRITE);
    TestFillPages(BASE, 4000, 5); /* twice the memory of the machine */
    assert_int_equal(MiWorkingSetPages(&Process->Space), 120);
    TestComparePages(BASE, 4000, 5);
    assert_int_equal(MiWorkingSetPages(&Process->Space), 120);
    TestEnter(Process);
    TestDeleteProcess(Other);
}

static void the_manager_goes_below_a_soft_minimum_and_never_below_a_hard_one(void **State)
{
    static PFN_NUMBER Frames[2048];
    PFN_NUMBER Count = 0;

    (void)State;
    TestCommit(Process, BASE, 120, MM_READWRITE);
    TestFillPages(BASE, 120, 8);
    assert_int_equal(SetLimits(120, 200, QUOTA_LIMITS_HARDWS_MIN_ENABLE), STATUS_SUCCESS);
    while ((Frames[Count] = MiAllocatePage(0)) != 0)
    {
        Count++;
    }
    for (ULONG Step = 0; Step < 20; Step++)
    {
        MiWorkingSetManagerStep(NULL);
    }
    assert_int_equal(MiWorkingSetPages(&Process->Space), 120);
    assert_int_equal(SetLimits(120, 200, QUOTA_LIMITS_HARDWS_MIN_DISABLE), STATUS_SUCCESS);
    for (ULONG Step = 0; Step < 20; Step++)
    {
        MiWorkingSetManagerStep(NULL);
    }
    assert_true(MiWorkingSetPages(&Process->Space) < 60);
    while (Count != 0)
    {
        MiFreePage(Frames[--Count]);
    }
    TestComparePages(BASE, 120, 8);
}

static void two_processes_larger_than_memory_both_go_on(void **State)
{
    PEPROCESS Other = TestCreateProcess();

    (void)State;
    TestCommit(Process, BASE, 1500, MM_READWRITE);
    TestFillPages(BASE, 1500, 6);
    TestEnter(Other);
    TestCommit(Other, BASE, 1500, MM_READWRITE);
    TestFillPages(BASE, 1500, 7);
    TestEnter(Process);
    TestComparePages(BASE, 1500, 6);
    TestEnter(Other);
    TestComparePages(BASE, 1500, 7);
    assert_true(MiQueryCounter(MiCounterPagesTrimmed) != 0);
    TestEnter(Process);
    TestDeleteProcess(Other);
}

static void the_low_and_high_memory_events_follow_the_available_pages(void **State)
{
    MI_WORKING_SET_STATE *Events = MiState.WorkingSet;
    PFN_NUMBER Count = 0;
    static PFN_NUMBER Frames[2048];

    (void)State;
    MiUpdateMemoryNotifications();
    assert_int_equal(KeReadStateEvent(&Events->LowMemoryEvent), 0);
    assert_int_equal(KeReadStateEvent(&Events->HighMemoryEvent), 1);
    while (MiAvailablePages() > MiState.Physical->LowMemoryThreshold)
    {
        assert_true((Frames[Count++] = MiAllocatePage(0)) != 0);
    }
    MiUpdateMemoryNotifications();
    assert_int_equal(KeReadStateEvent(&Events->LowMemoryEvent), 1);
    assert_int_equal(KeReadStateEvent(&Events->HighMemoryEvent), 0);
    /* In between neither is signaled. */
    while (MiAvailablePages() <= MiState.Physical->LowMemoryThreshold + 5)
    {
        MiFreePage(Frames[--Count]);
    }
    MiUpdateMemoryNotifications();
    assert_int_equal(KeReadStateEvent(&Events->LowMemoryEvent), 0);
    assert_int_equal(KeReadStateEvent(&Events->HighMemoryEvent), 0);
    while (Count != 0)
    {
        MiFreePage(Frames[--Count]);
    }
    KiAdvanceTime(2000000000); /* the balance set manager looks once a second */
    while (KiStepWorkers())
    {
    }
    assert_int_equal(KeReadStateEvent(&Events->HighMemoryEvent), 1);
}

static void the_commit_events_follow_the_charge(void **State)
{
    MI_WORKING_SET_STATE *Events = MiState.WorkingSet;
    SIZE_T Pages = MiState.Physical->CommitMaximum - MiState.Physical->CommittedPages;

    (void)State;
    MiUpdateMemoryNotifications();
    assert_int_equal(KeReadStateEvent(&Events->LowCommitEvent), 0);
    assert_int_equal(KeReadStateEvent(&Events->HighCommitEvent), 1);
    assert_true(MiChargeCommitment(Pages, 0));
    MiUpdateMemoryNotifications();
    assert_int_equal(KeReadStateEvent(&Events->LowCommitEvent), 1);
    assert_int_equal(KeReadStateEvent(&Events->HighCommitEvent), 0);
    MiReturnCommitment(Pages);
}

/* ---- Idle processes ------------------------------------------------------------------------------------ */

#define SECOND 1000000000ull

static void idle_processes_are_swapped_out_as_a_whole(void **State)
{
    PEPROCESS Idle = TestCreateProcess();
    PEPROCESS Touched = TestCreateProcess();
    PEPROCESS Guaranteed = TestCreateProcess();
    ULONG64 Out = MiQueryCounter(MiCounterProcessOutSwaps);
    ULONG64 In = MiQueryCounter(MiCounterProcessInSwaps);

    (void)State;
    TestCommit(Idle, BASE, 40, MM_READWRITE);
    TestCommit(Touched, BASE, 40, MM_READWRITE);
    TestCommit(Guaranteed, BASE, 40, MM_READWRITE);
    assert_int_equal(MiSetWorkingSetLimits(&Guaranteed->Space, 60, 100, QUOTA_LIMITS_HARDWS_MIN_ENABLE),
                     STATUS_SUCCESS);
    TestEnter(Guaranteed);
    TestFillPages(BASE, 40, 4);
    TestCommit(Process, BASE, 40, MM_READWRITE);
    TestEnter(Idle);
    TestFillPages(BASE, 40, 1);
    TestEnter(Touched);
    TestFillPages(BASE, 39, 2);
    TestEnter(Process); /* the thread that runs */
    TestFillPages(BASE, 40, 3);
    MiSwapIdleProcesses(); /* sees what they did */
    KiAdvanceTime(10 * SECOND);
    TestEnter(Touched);
    TestPut(BASE + 39 * PAGE_SIZE, 2 + 39 * 512);
    TestEnter(Process);
    MiSwapIdleProcesses();
    assert_int_equal(MiWorkingSetPages(&Idle->Space), 40); /* not yet long enough */
    KiAdvanceTime(6 * SECOND);
    MiSwapIdleProcesses();
    assert_true(Idle->SwappedOut);
    assert_int_equal(MiWorkingSetPages(&Idle->Space), 0);
    assert_int_equal(Idle->Space.Vm.PeakWorkingSetSize, 40);
    assert_false(Touched->SwappedOut); /* a fault of 6 seconds ago */
    assert_int_equal(MiWorkingSetPages(&Touched->Space), 40);
    assert_false(Guaranteed->SwappedOut); /* idle, too, but its minimum is a promise */
    assert_int_equal(MiWorkingSetPages(&Guaranteed->Space), 40);
    assert_false(Process->SwappedOut); /* its thread runs */
    assert_int_equal(MiWorkingSetPages(&Process->Space), 40);
    assert_int_equal(MiQueryCounter(MiCounterProcessOutSwaps) - Out, 1);
    /* It wakes. */
    TestEnter(Idle);
    TestComparePages(BASE, 40, 1);
    TestEnter(Process);
    MiSwapIdleProcesses();
    assert_false(Idle->SwappedOut);
    assert_int_equal(MiQueryCounter(MiCounterProcessInSwaps) - In, 1);
    assert_int_equal(MiWorkingSetPages(&Idle->Space), 40);
    TestDeleteProcess(Guaranteed);
    TestDeleteProcess(Idle);
    TestDeleteProcess(Touched);
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
#define TEST(Name) cmocka_unit_test_setup_teardown(Name, setup, teardown)
        TEST(limits_that_make_no_sense_are_refused),
        TEST(minus_one_twice_empties_the_working_set),
        TEST(a_soft_maximum_does_not_bind_while_there_is_memory),
        TEST(a_hard_maximum_is_never_exceeded),
        TEST(an_access_across_pages_gets_through_the_smallest_hard_maximum),
        TEST(a_hard_minimum_is_charged_and_comes_back),
        TEST(a_hard_minimum_stays_while_others_are_trimmed),
        TEST(the_manager_goes_below_a_soft_minimum_and_never_below_a_hard_one),
        TEST(two_processes_larger_than_memory_both_go_on),
        TEST(idle_processes_are_swapped_out_as_a_whole),
        TEST(the_low_and_high_memory_events_follow_the_available_pages),
        TEST(the_commit_events_follow_the_charge),
    };

    return cmocka_run_group_tests_name("limits", Tests, NULL, NULL);
}
