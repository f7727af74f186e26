/* SPDX-License-Identifier: MIT */
/*
 * Ageing and trimming: what is used stays, what is not goes; accessed and dirty bits tell the truth through
 * every trim; page priorities decide what is reused first.
 */
#include "pages.h"

#define BASE TEST_BASE

static PEPROCESS Process;

static int setup(void **State)
{
    static const TEST_MACHINE Machine = {
        .RamMegabytes = 8, .Deterministic = TRUE, .Seed = 8, .PagingFiles = 1, .Workers = TRUE
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

static ULONG_PTR Page(SIZE_T Index)
{
    return BASE + (Index << PAGE_SHIFT);
}

static BOOLEAN IsValid(SIZE_T Index)
{
    return TestPte(Process, Page(Index)).Hard.Valid;
}

static void Make(SIZE_T Pages)
{
    TestCommit(Process, BASE, Pages, MM_READWRITE);
    for (SIZE_T Index = 0; Index < Pages; Index++)
    {
        TestPut(Page(Index), Index);
    }
}

/* ---- Ageing -------------------------------------------------------------------------------------------- */

static void used_pages_lose_their_accessed_bit_first_and_are_seen_again(void **State)
{
    (void)State;
    Make(8);
    assert_int_equal(MiTrimWorkingSet(&Process->Space, 4, 1), 0);
    for (SIZE_T Index = 0; Index < 8; Index++)
    {
        assert_true(IsValid(Index) && !TestPte(Process, Page(Index)).Hard.Accessed);
    }
    /* The TB was flushed with it: the next access walks, and sets the bit. */
    assert_int_equal(TestGet(Page(3)), 3);
    assert_true(TestPte(Process, Page(3)).Hard.Accessed);
    assert_int_equal(MiTrimWorkingSet(&Process->Space, 100, 1), 7);
    assert_true(IsValid(3));
    assert_int_equal(MiWorkingSetPages(&Process->Space), 1);
}

static void pages_grow_older_with_each_pass_and_are_taken_at_the_wanted_age(void **State)
{
    (void)State;
    Make(4);
    for (ULONG Age = 0; Age <= 9; Age++)
    {
        assert_int_equal(MiTrimWorkingSet(&Process->Space, 4, MM_MAXIMUM_AGE + 1), 0);
        assert_int_equal(TestPte(Process, BASE).Hard.WsleAge, Age < MM_MAXIMUM_AGE ? Age : MM_MAXIMUM_AGE);
    }
    assert_int_equal(TestGet(BASE), 0);
    assert_int_equal(MiTrimWorkingSet(&Process->Space, 4, MM_MAXIMUM_AGE), 3);
    assert_true(IsValid(0));
    assert_int_equal(TestPte(Process, BASE).Hard.WsleAge, 0);
}

static void hot_pages_stay_when_cold_ones_go(void **State)
{
    (void)State;
    Make(300);
    for (ULONG Round = 0; Round < 40; Round++)
    {
        for (SIZE_T Hot = 0; Hot < 300; Hot += 10)
        {
            assert_int_equal(TestGet(Page(Hot)), Hot);
        }
        MiTrimWorkingSet(&Process->Space, 20, 1);
    }
    for (SIZE_T Index = 0; Index < 300; Index++)
    {
        assert_int_equal(IsValid(Index), Index % 10 == 0);
    }
}

static void the_hand_goes_round_and_treats_all_pages_alike(void **State)
{
    ULONG Taken[64] = { 0 };
    ULONG Least = ~0u, Most = 0;

    (void)State;
    Make(64); /* one page table */
    for (ULONG Round = 0; Round < 100; Round++)
    {
        assert_int_equal(MiTrimWorkingSet(&Process->Space, 10, 0), 10);
        for (SIZE_T Index = 0; Index < 64; Index++)
        {
            Taken[Index] += !IsValid(Index);
            assert_int_equal(TestGet(Page(Index)), Index);
        }
    }
    for (SIZE_T Index = 0; Index < 64; Index++)
    {
        Least = Taken[Index] < Least ? Taken[Index] : Least;
        Most = Taken[Index] > Most ? Taken[Index] : Most;
    }
    assert_int_equal(Least, 15);
    assert_int_equal(Most, 16);
}

static void locked_pages_are_not_taken(void **State)
{
    PMMPTE PointerPte;

    (void)State;
    Make(4);
    assert_int_equal(MiWalk(Process->Space.TopLevel, Page(2), &PointerPte), 0);
    MiSetPteBits(PointerPte, 1ull << MM_PTE_LOCKED_SHIFT);
    MiEmptyWorkingSet(&Process->Space);
    assert_int_equal(MiWorkingSetPages(&Process->Space), 1);
    assert_true(IsValid(2));
    MiTrimWorkingSet(&Process->Space, 100, 0);
    assert_true(IsValid(2));
    MiClearPteBits(PointerPte, 1ull << MM_PTE_LOCKED_SHIFT);
}

static void emptying_takes_everything_and_keeps_the_peak(void **State)
{
    (void)State;
    Make(700);
    assert_int_equal(MiWorkingSetPages(&Process->Space), 700);
    assert_int_equal(MiEmptyWorkingSet(&Process->Space), 700);
    assert_int_equal(MiWorkingSetPages(&Process->Space), 0);
    assert_int_equal(Process->Space.Vm.PeakWorkingSetSize, 700);
    for (SIZE_T Index = 0; Index < 700; Index++)
    {
        assert_int_equal(TestGet(Page(Index)), Index);
    }
}

/* ---- Truth --------------------------------------------------------------------------------------------- */

static void a_write_through_an_old_translation_is_not_lost(void **State)
{
    (void)State;
    Make(1);
    TestEvict(Process, BASE, 1);
    for (ULONG64 Value = 1; Value < 20; Value++)
    {
        /*
         * Read in clean, then written: the TB holds a translation that must not let the write through unseen.
         */
        assert_int_equal(TestGet(BASE), Value - 1);
        assert_false(TestPte(Process, BASE).Hard.Dirty);
        TestPut(BASE, Value);
        assert_true(TestPte(Process, BASE).Hard.Dirty);
        if (Value % 3 == 0)
        {
            MiTrimWorkingSet(&Process->Space, 1, 1); /* clears accessed, keeps dirty */
            assert_true(TestPte(Process, BASE).Hard.Dirty);
        }
        TestEvict(Process, BASE, 1);
    }
}

static void a_trimmed_page_is_not_reachable_through_the_tb(void **State)
{
    ULONG64 Faults = 0;

    (void)State;
    Make(2);
    TestCounted(MiCounterPageFaults, &Faults);
    assert_int_equal(TestGet(BASE), 0);
    assert_int_equal(TestCounted(MiCounterPageFaults, &Faults), 0);
    TestTrim(Process, BASE, 1);
    assert_int_equal(TestGet(BASE), 0);
    assert_int_equal(TestCounted(MiCounterPageFaults, &Faults), 1);
    assert_int_equal(TestGet(Page(1)), 1); /* the neighbour's translation stayed */
    assert_int_equal(TestCounted(MiCounterPageFaults, &Faults), 0);
}

/* ---- Priorities ---------------------------------------------------------------------------------------- */

static void pages_go_to_the_standby_list_of_their_priority(void **State)
{
    (void)State;
    Process->Space.Vm.MemoryPriority = 2;
    TestCommit(Process, BASE, 3, MM_READWRITE);
    assert_int_equal(TestGet(BASE), 0);
    Process->Space.Vm.MemoryPriority = 6;
    assert_int_equal(TestGet(Page(1)), 0);
    TestTrim(Process, BASE, 2);
    assert_int_equal(MiQueueTotal(&MiState.Physical->StandbyList[2]), 1);
    assert_int_equal(MiQueueTotal(&MiState.Physical->StandbyList[6]), 1);
    assert_int_equal(MiPurgeStandby(5), 1);
    assert_int_equal(MiStandbyPages(), 1);
    /* The next use decides anew. */
    Process->Space.Vm.MemoryPriority = 1;
    assert_int_equal(TestGet(Page(1)), 0);
    TestTrim(Process, Page(1), 1);
    assert_int_equal(MiQueueTotal(&MiState.Physical->StandbyList[1]), 1);
}

static void a_region_has_its_own_priority_at_every_kind_of_fault(void **State)
{
    PMMVAD Vad = TestCommit(Process, BASE, 1, MM_READWRITE);

    (void)State;
    Vad->u.Priority = 3 + 1;
    Process->Space.VadPriorities = TRUE;
    TestPut(BASE, 1);
    assert_int_equal(TestPfn(Process, BASE)->e1.Priority, 3);
    TestTrim(Process, BASE, 1);
    assert_int_equal(TestGet(BASE), 1);
    assert_int_equal(TestPfn(Process, BASE)->e1.Priority, 3);
    TestEvict(Process, BASE, 1);
    assert_int_equal(TestGet(BASE), 1);
    assert_int_equal(TestPfn(Process, BASE)->e1.Priority, 3);
}

static void low_priority_pages_are_repurposed_first(void **State)
{
    PEPROCESS Other = TestCreateProcess();
    SIZE_T Available;

    (void)State;
    Make(400);
    TestEnter(Other);
    Other->Space.Vm.MemoryPriority = 1;
    TestCommit(Other, BASE, 400, MM_READWRITE);
    TestFillPages(BASE, 400, 9);
    TestTrim(Process, BASE, 400); /* the older ones, and of higher priority */
    TestTrim(Other, BASE, 400);
    MiFlushModifiedPages();
    /* Take all zeroed and free frames and 100 more. */
    TestEnter(Process);
    Available = MiZeroedPages() + MiFreePages();
    TestCommit(Process, BASE + 0x10000000, 3000, MM_READWRITE);
    for (SIZE_T Index = 0; Index < Available + 100 && MiState.Physical->RepurposedByPriority[1] < 100;
         Index++)
    {
        TestPut(BASE + 0x10000000 + Index * PAGE_SIZE, 1);
    }
    assert_true(MiState.Physical->RepurposedByPriority[1] >= 100);
    assert_int_equal(MiState.Physical->RepurposedByPriority[5], 0);
    assert_true(MiIsTransition(TestPte(Process, BASE)));
    assert_true(MiIsPagedOut(TestPte(Other, BASE)));
    TestEnter(Process);
    TestDeleteProcess(Other);
}

static void pages_to_the_front_are_reused_before_others_of_their_priority(void **State)
{
    MI_SPACE_SLOT *Slot;

    (void)State;
    TestCommit(Process, BASE, 2, MM_READWRITE);
    assert_int_equal(TestGet(BASE), 0);
    assert_int_equal(TestGet(Page(1)), 0);
    TestTrim(Process, BASE, 1);
    Slot = MiLockSpaceShared(&Process->Space);
    assert_int_equal(MiTrimRange(&Process->Space, Page(1) >> PAGE_SHIFT, Page(1) >> PAGE_SHIFT, TRUE), 1);
    MiUnlockSpaceShared(&Process->Space, Slot);
    assert_int_equal(MiState.Physical->StandbyList[5].Parts[0].Flink,
                     TestPte(Process, Page(1)).Trans.PageFrameNumber);
    assert_int_equal(MiState.Physical->StandbyList[5].Parts[0].Blink,
                     TestPte(Process, BASE).Trans.PageFrameNumber);
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
#define TEST(Name) cmocka_unit_test_setup_teardown(Name, setup, teardown)
        TEST(used_pages_lose_their_accessed_bit_first_and_are_seen_again),
        TEST(pages_grow_older_with_each_pass_and_are_taken_at_the_wanted_age),
        TEST(hot_pages_stay_when_cold_ones_go),
        TEST(the_hand_goes_round_and_treats_all_pages_alike),
        TEST(locked_pages_are_not_taken),
        TEST(emptying_takes_everything_and_keeps_the_peak),
        TEST(a_write_through_an_old_translation_is_not_lost),
        TEST(a_trimmed_page_is_not_reachable_through_the_tb),
        TEST(pages_go_to_the_standby_list_of_their_priority),
        TEST(a_region_has_its_own_priority_at_every_kind_of_fault),
        TEST(low_priority_pages_are_repurposed_first),
        TEST(pages_to_the_front_are_reused_before_others_of_their_priority),
    };

    return cmocka_run_group_tests_name("trimming", Tests, NULL, NULL);
}
