/* SPDX-License-Identifier: MIT */
/* Commitment and nonpageable pages: limits, peaks, growth, injection, and books that do not balance. */
#include "boot.h"

static int setup(void **state)
{
    static const TEST_MACHINE machine = { .Deterministic = TRUE, .Seed = 9, .Last = TestPhysical };

    (void)state;
    TestBootMachine(&machine);
    return 0;
}

static void the_limit_is_memory_less_the_reserve(void **state)
{
    MI_PHYSICAL_STATE *physical = MiState.Physical;

    (void)state;
    assert_int_equal(physical->CommitLimit, physical->NumberOfPages - physical->MinimumReserve);
    assert_true(MiChargeCommitment(physical->CommitLimit, 0));
    assert_int_equal(physical->CommittedPages, physical->CommitLimit);
    assert_false(MiChargeCommitment(1, 0));
    assert_int_equal(physical->CommittedPages, physical->CommitLimit);
    assert_int_equal(MiQueryCounter(MiCounterCommitFailures), 1);
    MiReturnCommitment(1);
    assert_true(MiChargeCommitment(1, MI_COMMIT_NO_EXTEND));
    assert_true(MiChargeCommitment(0, 0));
    MiReturnCommitment(physical->CommitLimit);
    assert_int_equal(physical->CommittedPages, 0);
    assert_int_equal(physical->PeakCommitment, physical->CommitLimit);
}

static void absurd_sizes_do_not_wrap(void **state)
{
    (void)state;
    assert_true(MiChargeCommitment(10, 0));
    assert_false(MiChargeCommitment(~(SIZE_T)0, 0));
    assert_false(MiChargeCommitment(~(SIZE_T)0 - 9, 0));
    assert_int_equal(MiState.Physical->CommittedPages, 10);
    MiReturnCommitment(10);
    assert_false(MiChargeResidentAvailable((SIZE_T)1 << 62));
}

static ULONG extensions;
static SIZE_T extend_by;

static BOOLEAN extend(SIZE_T pages)
{
    (void)pages;
    extensions++;
    MiAdjustCommitLimit((LONG64)extend_by, 0);
    return extend_by != 0;
}

static void paging_files_grow_before_a_charge_fails(void **state)
{
    MI_PHYSICAL_STATE *physical = MiState.Physical;
    SIZE_T limit = physical->CommitLimit;

    (void)state;
    physical->Operations.ExtendCommitLimit = extend;
    MiAdjustCommitLimit(0, 100);
    extensions = 0;
    extend_by = 40;
    assert_false(MiChargeCommitment(limit + 1, MI_COMMIT_NO_EXTEND));
    assert_int_equal(extensions, 0);
    assert_true(MiChargeCommitment(limit + 1, 0));
    assert_int_equal(extensions, 1);
    assert_true(MiChargeCommitment(60, 0));
    assert_int_equal(extensions, 2);
    assert_int_equal(physical->CommitLimit, limit + 80);
    assert_false(MiChargeCommitment(40, 0)); /* beyond the maximum: nobody is asked */
    assert_int_equal(extensions, 2);
    extend_by = 0;
    assert_false(MiChargeCommitment(30, 0));
    assert_int_equal(extensions, 3);
    MiReturnCommitment(limit + 61);
    MiAdjustCommitLimit(-80, -100);
}

static ULONG low;

static VOID commit_low(void)
{
    low++;
}

static void files_grow_ahead_of_those_who_cannot_wait(void **state)
{
    MI_PHYSICAL_STATE *physical = MiState.Physical;
    SIZE_T limit = physical->CommitLimit;
    SIZE_T headroom = physical->CommitHeadroom;

    (void)state;
    assert_true(headroom != 0);
    physical->Operations.ExtendCommitLimit = extend;
    physical->Operations.CommitLow = commit_low;
    low = extensions = 0;
    assert_true(MiChargeCommitment(limit - headroom + 1, MI_COMMIT_NO_EXTEND));
    assert_int_equal(low, 0); /* nothing can grow */
    MiAdjustCommitLimit(0, (LONG64)headroom);
    MiReturnCommitment(1);
    assert_true(MiChargeCommitment(1, MI_COMMIT_NO_EXTEND));
    assert_int_equal(low, 1);
    extend_by = 0;
    MiKeepCommitHeadroom();
    assert_int_equal(extensions, 1);
    assert_true(MiChargeCommitment(1, MI_COMMIT_NO_EXTEND));
    assert_int_equal(low, 1); /* it was tried just now */
    physical->NextGrowth = 0;
    extend_by = headroom;
    MiKeepCommitHeadroom();
    assert_int_equal(extensions, 2);
    assert_true(MiChargeCommitment(1, MI_COMMIT_NO_EXTEND));
    assert_int_equal(low, 1);                 /* there is room again */
    assert_false(MiMakeCommitRoom(headroom)); /* there is; nobody has to grow */
    assert_int_equal(extensions, 2);
    physical->Operations.CommitLow = NULL;
    MiReturnCommitment(physical->CommittedPages);
    MiAdjustCommitLimit(-(LONG64)headroom, -(LONG64)headroom);
}

static void check(void *unused)
{
    (void)unused;
    MiCheckPhysical(1);
}

static void a_charge_beyond_the_limit_is_found(void **state)
{
    (void)state;
    MiState.Physical->CommittedPages = MiState.Physical->CommitLimit;
    check(NULL);
    MiState.Physical->CommittedPages++;
    TestExpectBugCheck(MEMORY_MANAGEMENT, check, NULL);
    MiState.Physical->CommittedPages = 0;
}

static void a_charge_can_be_made_to_fail(void **state)
{
    (void)state;
    KiSetInjection(KiInjectCommit, 1, TRUE);
    assert_false(MiChargeCommitment(1, 0));
    assert_false(MiChargeCommitment(1, MI_COMMIT_NO_EXTEND));
    KiSetInjection(KiInjectCommit, 0, FALSE);
    assert_int_equal(MiState.Physical->CommittedPages, 0);
}

static void nonpageable_pages_have_a_limit_of_their_own(void **state)
{
    LONG64 all = MiState.Physical->ResidentAvailable;

    (void)state;
    assert_int_equal(all, MiState.Physical->NumberOfPages - MiState.Physical->LowThreshold);
    assert_true(MiChargeResidentAvailable((SIZE_T)all));
    assert_false(MiChargeResidentAvailable(1));
    MiReturnResidentAvailable((SIZE_T)all);
    assert_int_equal(MiState.Physical->ResidentAvailable, all);
}

static void return_too_much(void *unused)
{
    (void)unused;
    MiReturnCommitment(11);
}

static void more_returned_than_charged_stops_the_machine(void **state)
{
    (void)state;
    assert_true(MiChargeCommitment(10, 0));
    TestExpectBugCheck(KMODE_EXCEPTION_NOT_HANDLED, return_too_much, NULL);
    MiState.Physical->CommittedPages = 0;
}

static void charge_and_return(ULONG index, void *context)
{
    (void)context;
    for (ULONG64 step = TestIterations(50000); step > 0; step--)
    {
        SIZE_T pages = 1 + (step + index) % 300;

        if (MiChargeCommitment(pages, 0))
        {
            assert_true(__atomic_load_n(&MiState.Physical->CommittedPages, __ATOMIC_RELAXED) <=
                        MiState.Physical->CommitLimit);
            MiReturnCommitment(pages);
        }
    }
}

static void charges_of_threads_never_pass_the_limit(void **state)
{
    static const TEST_MACHINE machine = { .Processors = 2, .Last = TestPhysical };
    SIZE_T most;

    (void)state;
    TestBootMachine(&machine);
    most = MiState.Physical->CommitLimit - 500;
    assert_true(MiChargeCommitment(most, 0));
    TestRunThreads(4, charge_and_return, NULL);
    MiReturnCommitment(most);
    assert_true(MiState.Physical->PeakCommitment <= MiState.Physical->CommitLimit);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, TestTeardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_limit_is_memory_less_the_reserve),
        TEST(absurd_sizes_do_not_wrap),
        TEST(files_grow_ahead_of_those_who_cannot_wait),
        TEST(a_charge_beyond_the_limit_is_found),
        TEST(paging_files_grow_before_a_charge_fails),
        TEST(a_charge_can_be_made_to_fail),
        TEST(nonpageable_pages_have_a_limit_of_their_own),
        TEST(more_returned_than_charged_stops_the_machine),
        cmocka_unit_test_teardown(charges_of_threads_never_pass_the_limit, TestTeardown),
    };

    return cmocka_run_group_tests_name("commit", tests, NULL, NULL);
}
