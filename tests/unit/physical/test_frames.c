/* SPDX-License-Identifier: MIT */
/* Taking and giving single frames: never-used ones, zeroing, the reserve, other processors' caches, waiting. */
#include "frames.h"

static int setup(void **state)
{
    static const TEST_MACHINE machine = { .Deterministic = TRUE, .Seed = 3, .Last = TestPhysical };

    (void)state;
    TestBootMachine(&machine);
    return 0;
}

static int setup_processors(void **state)
{
    static const TEST_MACHINE machine = { .Processors = 2, .Last = TestPhysical };

    (void)state;
    TestBootMachine(&machine);
    return 0;
}

static void boot_touches_no_descriptor(void **state)
{
    MI_PHYSICAL_STATE *physical = MiState.Physical;

    (void)state;
    assert_int_equal(physical->NumberOfPages, 4096);
    assert_int_equal(MiAvailablePages(), 4096);
    assert_int_equal(MiZeroedPages() + MiFreePages(), 4096);
    for (PFN_NUMBER frame = physical->Runs[0].BasePage; frame <= physical->HighestPage; frame++)
    {
        static const MMPFN untouched;

        assert_memory_equal(MiPfn(frame), &untouched, sizeof(untouched));
    }
}

static void an_allocated_frame_is_active_and_referenced_once(void **state)
{
    PFN_NUMBER frame = MiAllocatePage(MI_PAGE_ZEROED);
    PMMPFN pfn = MiPfn(frame);

    (void)state;
    assert_int_equal(pfn->e1.PageLocation, ActiveAndValid);
    assert_int_equal(pfn->ReferenceCount, 1);
    assert_int_equal(pfn->u1.ShareCount, 0);
    assert_null(pfn->PteAddress);
    assert_int_equal(pfn->e1.Priority, MI_DEFAULT_PRIORITY);
    assert_int_equal(pfn->e1.Kernel, 0);
    assert_int_equal(MiAvailablePages(), MiState.Physical->NumberOfPages - 1);
    MiFreePage(frame);
    assert_int_equal(MiAvailablePages(), MiState.Physical->NumberOfPages);
    MiCheckPhysical(3);
}

/* The first word of each leads to the next one. */
static void fill_all(PFN_NUMBER list)
{
    for (PFN_NUMBER frame = list; frame != 0; frame = *(PFN_NUMBER *)PortDirectMap(frame))
    {
        memset((UCHAR *)PortDirectMap(frame) + 8, 0xa5, PAGE_SIZE - 8);
    }
}

static void assert_zero(PFN_NUMBER frame)
{
    const ULONG64 *words = PortDirectMap(frame);

    for (ULONG word = 0; word < PAGE_SIZE / 8; word++)
    {
        assert_true(words[word] == 0);
    }
}

static void zeroed_frames_are_zero_whatever_was_in_them(void **state)
{
    PFN_NUMBER list;
    ULONG count;

    (void)state;
    for (ULONG round = 0; round < 2; round++)
    {
        list = take_all(0, &count);
        fill_all(list);
        give_all(list);
        list = 0;
        for (ULONG i = 0; i < count; i++)
        {
            PFN_NUMBER frame = MiAllocatePage(MI_PAGE_ZEROED);

            assert_int_not_equal(frame, 0);
            assert_zero(frame);
            *(PFN_NUMBER *)PortDirectMap(frame) = list;
            list = frame;
        }
        give_all(list);
        MiCheckPhysical(3);
    }
}

static void ordinary_requests_leave_the_reserve(void **state)
{
    PFN_NUMBER reserve = MiState.Physical->MinimumReserve;
    PFN_NUMBER list;
    PFN_NUMBER kept = 0;
    ULONG count;

    (void)state;
    list = take_all(0, &count);
    assert_int_equal(MiAvailablePages(), reserve);
    assert_int_equal(count, MiState.Physical->NumberOfPages - reserve);
    assert_int_equal(MiAllocatePage(MI_PAGE_ZEROED), 0);
    for (PFN_NUMBER i = 0; i < reserve; i++)
    {
        PFN_NUMBER frame = MiAllocatePage(MI_PAGE_MUST_SUCCEED);

        assert_int_not_equal(frame, 0);
        *(PFN_NUMBER *)PortDirectMap(frame) = kept;
        kept = frame;
    }
    assert_int_equal(MiAvailablePages(), 0);
    assert_int_equal(MiAllocatePage(MI_PAGE_MUST_SUCCEED), 0);
    MiCheckPhysical(3);
    give_all(kept);
    give_all(list);
}

static void runs_are_consecutive(void **state)
{
    ULONG got;
    PFN_NUMBER first = MiAllocatePageRun(32, MI_PAGE_ZEROED, MI_ANY_PLACE, &got);

    (void)state;
    assert_int_equal(got, 32);
    for (ULONG i = 0; i < got; i++)
    {
        assert_int_equal(MiPfn(first + i)->ReferenceCount, 1);
        assert_int_equal(MiPfn(first + i)->e1.PageLocation, ActiveAndValid);
        assert_int_equal(MiPfn(first + i)->e1.Kernel, 0);
        MiFreePage(first + i);
    }
}

static void give_run(PFN_NUMBER first, ULONG count)
{
    for (ULONG i = 0; i < count; i++)
    {
        assert_int_equal(MiPfn(first + i)->ReferenceCount, 1);
        assert_int_equal(MiPfn(first + i)->e1.PageLocation, ActiveAndValid);
        MiFreePage(first + i);
    }
}

static void a_run_lies_where_it_is_wanted_if_it_can(void **state)
{
    ULONG got[5];
    PFN_NUMBER other = MiAllocatePage(0);
    PFN_NUMBER first = MiAllocatePageRun(32, 0, 100, &got[0]);
    PFN_NUMBER second = MiAllocatePageRun(40, 0, first + 32, &got[1]);
    PFN_NUMBER before = MiAllocatePageRun(20, 0, first - 20, &got[2]);
    PFN_NUMBER again = MiAllocatePageRun(32, 0, first, &got[3]);
    PFN_NUMBER single = MiAllocatePageRun(1, 0, first, &got[4]);

    (void)state;
    assert_int_equal(first % 512, 100);
    assert_int_equal(got[0], 32);
    assert_int_equal(second, first + 32); /* it goes on behind */
    assert_int_equal(got[1], 40);
    assert_int_equal(before, first - 20); /* passed over, not lost */
    assert_int_equal(got[2], 20);
    assert_int_equal(again % 512, 100); /* these are taken: others that lie alike */
    assert_int_not_equal(again, first);
    assert_int_equal(got[3], 32);
    assert_int_equal(got[4], 1);
    MiCheckPhysical(3);
    give_run(first, got[0]);
    give_run(second, got[1]);
    give_run(before, got[2]);
    give_run(again, got[3]);
    give_run(single, 1);
    MiFreePage(other);
}

static void the_nth_frame_can_be_made_to_fail(void **state)
{
    ULONG64 failed;
    PFN_NUMBER first;

    (void)state;
    KiSetInjection(KiInjectFrame, 2, FALSE);
    first = MiAllocatePage(0);
    assert_int_not_equal(first, 0);
    assert_int_equal(MiAllocatePage(0), 0);
    MiFreePage(MiAllocatePage(0));
    assert_int_equal(KiQueryInjection(KiInjectFrame, &failed), 3);
    assert_int_equal(failed, 1);
    KiSetInjection(KiInjectFrame, 0, FALSE);
    MiFreePage(first);
}

static ULONG low_calls;

static VOID note_low(void)
{
    low_calls++;
}

static void the_rooms_above_hear_of_low_memory(void **state)
{
    ULONG count;
    PFN_NUMBER list;

    (void)state;
    low_calls = 0;
    MiState.Physical->Operations.AvailableLow = note_low;
    MiFreePage(MiAllocatePage(0));
    assert_int_equal(low_calls, 0);
    list = take_all(0, &count);
    assert_true(low_calls > 0);
    give_all(list);
}

static void a_wait_for_what_cannot_come_ends(void **state)
{
    ULONG count;
    PFN_NUMBER list = take_all(0, &count);
    ULONG64 begin = KiQueryTime();

    (void)state;
    assert_false(MiWaitForAvailablePages());
    assert_true(KiQueryTime() - begin >= 59ull * 1000000000);
    assert_int_equal(MiState.Physical->AvailableWaiters, 0);
    give_all(list);
    assert_true(MiWaitForAvailablePages());
}

static void the_zero_page_thread_zeroes_free_frames(void **state)
{
    ULONG count;
    PFN_NUMBER list = take_all(0, &count);

    (void)state;
    fill_all(list);
    give_all(list);
    assert_true(MiFreePages() >= count - MI_PAGE_CACHE_DEPTH);
    while (MiZeroPagesStep(NULL))
    {
    }
    assert_true(MiFreePages() <= MI_PAGE_CACHE_DEPTH);
    assert_true(MiQueryCounter(MiCounterPagesZeroed) >= count - MI_PAGE_CACHE_DEPTH);
    assert_int_equal(MiAvailablePages(), MiState.Physical->NumberOfPages);
    /* They really are. */
    list = 0;
    for (ULONG i = 0; i < count; i++)
    {
        PFN_NUMBER frame = MiAllocatePage(MI_PAGE_ZEROED);

        assert_int_not_equal(frame, 0);
        assert_zero(frame);
        *(PFN_NUMBER *)PortDirectMap(frame) = list;
        list = frame;
    }
    assert_true(MiQueryCounter(MiCounterPagesZeroedOnDemand) <= MI_PAGE_CACHE_DEPTH);
    give_all(list);
    assert_int_equal(MiAvailablePages(), MiState.Physical->NumberOfPages);
    MiCheckPhysical(3);
}

/* ---- Several processors ------------------------------------------------------------------------------------- */

static void fill_own_cache(ULONG index, void *context)
{
    (void)index;
    (void)context;
    MiFreePage(MiAllocatePage(0));
    MiFreePage(MiAllocatePage(MI_PAGE_ZEROED));
}

/* An idle processor's cache would otherwise count as available while nobody could have it. */
static void frames_in_another_processors_cache_can_be_had(void **state)
{
    static const TEST_MACHINE machine = { .Processors = 8, .Last = TestPhysical };
    ULONG count;
    PFN_NUMBER list;

    (void)state;
    TestBootMachine(&machine);
    TestRunThreads(8, fill_own_cache, NULL);
    list = take_all(0, &count);
    assert_int_equal(MiAvailablePages(), MiState.Physical->MinimumReserve);
    give_all(list);
}

static void churn(ULONG index, void *context)
{
    TEST_RANDOM random = { .State = ((TEST_RANDOM *)context)->State + index };
    PFN_NUMBER held[256] = { 0 };

    for (ULONG64 step = TestIterations(100000); step > 0; step--)
    {
        PFN_NUMBER *slot = &held[TestBelow(&random, 256)];

        if (*slot != 0)
        {
            assert_int_equal(*(ULONG *)PortDirectMap(*slot), (ULONG)*slot);
            MiFreePage(*slot);
            *slot = 0;
        }
        else if (TestBelow(&random, 500) == 0)
        {
            PFN_NUMBER run = MiAllocateContiguousPages(8, 1, ~0ull, 4);

            if (run != 0)
            {
                assert_int_equal(run % 4, 0);
                MiFreeContiguousPages(run, 8);
            }
        }
        else
        {
            *slot = MiAllocatePage(TestBelow(&random, 2) != 0 ? MI_PAGE_ZEROED : 0);
            if (*slot != 0)
            {
                *(ULONG *)PortDirectMap(*slot) = (ULONG)*slot;
            }
        }
    }
    for (ULONG i = 0; i < 256; i++)
    {
        if (held[i] != 0)
        {
            MiFreePage(held[i]);
        }
    }
}

static void no_frame_is_given_to_two_threads(void **state)
{
    TEST_RANDOM random = TestSeed(__func__);

    (void)state;
    TestRunThreads(4, churn, &random);
    MiCheckPhysical(3);
}

#define TEST(test)            cmocka_unit_test_setup_teardown(test, setup, TestTeardown)
#define TEST_PROCESSORS(test) cmocka_unit_test_setup_teardown(test, setup_processors, TestTeardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(boot_touches_no_descriptor),
        TEST(an_allocated_frame_is_active_and_referenced_once),
        TEST(zeroed_frames_are_zero_whatever_was_in_them),
        TEST(ordinary_requests_leave_the_reserve),
        TEST(runs_are_consecutive),
        TEST(a_run_lies_where_it_is_wanted_if_it_can),
        TEST(the_nth_frame_can_be_made_to_fail),
        TEST(the_rooms_above_hear_of_low_memory),
        TEST(a_wait_for_what_cannot_come_ends),
        TEST(the_zero_page_thread_zeroes_free_frames),
        cmocka_unit_test_teardown(frames_in_another_processors_cache_can_be_had, TestTeardown),
        TEST_PROCESSORS(no_frame_is_given_to_two_threads),
    };

    return cmocka_run_group_tests_name("frames", tests, NULL, NULL);
}
