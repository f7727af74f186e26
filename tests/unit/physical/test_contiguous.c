/* SPDX-License-Identifier: MIT */
/* Consecutive frames, memory with holes, and memory of which no frame was used yet. */
#include "frames.h"

static void boot(ULONG runs, ULONG64 hole)
{
    TEST_MACHINE machine = {
        .Deterministic = TRUE, .Seed = 7, .Runs = runs, .HoleBytes = hole, .Last = TestPhysical
    };

    TestBootMachine(&machine);
}

static void assert_in_one_run(PFN_NUMBER first, PFN_NUMBER count)
{
    MI_PHYSICAL_STATE *physical = MiState.Physical;

    for (ULONG i = 0; i < physical->RunCount; i++)
    {
        const MI_MEMORY_RUN *run = &physical->Runs[i];

        if (first >= run->BasePage && first + count <= run->BasePage + run->PageCount)
        {
            return;
        }
    }
    fail_msg("frames %llx..%llx are in no run", (ULONG64)first, (ULONG64)(first + count - 1));
}

static void assert_zero_run(PFN_NUMBER first, PFN_NUMBER count)
{
    const ULONG64 *words = PortDirectMap(first);

    for (PFN_NUMBER word = 0; word < count * PAGE_SIZE / 8; word++)
    {
        assert_true(words[word] == 0);
    }
}

static void alignment_and_limits_are_kept(void **state)
{
    (void)state;
    boot(1, 0);
    for (PFN_NUMBER align = 1; align <= 512; align *= 2)
    {
        PFN_NUMBER run = MiAllocateContiguousPages(10, 1, ~0ull, align);

        assert_int_not_equal(run, 0);
        assert_int_equal(run % align, 0);
        assert_zero_run(run, 10);
        MiFreeContiguousPages(run, 10);
    }
    PFN_NUMBER low = MiAllocateContiguousPages(16, 100, 200, 1);

    assert_true(low == 0 || (low >= 100 && low + 15 <= 200));
    if (low != 0)
    {
        MiFreeContiguousPages(low, 16);
    }
    assert_int_equal(MiAllocateContiguousPages(102, 100, 200, 1), 0);
    assert_int_equal(MiAllocateContiguousPages(0, 1, ~0ull, 1), 0);
    assert_int_equal(MiAllocateContiguousPages(~0ull >> 12, 1, ~0ull, 1), 0);
    MiCheckPhysical(3);
    TestShutdownMachine();
}

static void a_run_is_found_among_used_frames(void **state)
{
    PFN_NUMBER list;
    PFN_NUMBER kept = 0;
    PFN_NUMBER run;
    ULONG count;

    (void)state;
    boot(1, 0);
    list = take_all(MI_PAGE_MUST_SUCCEED, &count);
    while (list != 0)
    {
        PFN_NUMBER frame = list;

        list = *(PFN_NUMBER *)PortDirectMap(frame);
        if (frame % 16 == 0) /* one in sixteen stays in use */
        {
            *(PFN_NUMBER *)PortDirectMap(frame) = kept;
            kept = frame;
        }
        else
        {
            memset(PortDirectMap(frame), 0x5a, PAGE_SIZE);
            MiFreePage(frame);
        }
    }
    run = MiAllocateContiguousPages(15, 1, ~0ull, 1);
    assert_int_not_equal(run, 0);
    assert_int_equal(run % 16, 1);
    assert_zero_run(run, 15);
    MiFreeContiguousPages(run, 15);
    assert_int_equal(MiAllocateContiguousPages(17, 1, ~0ull, 1), 0);
    MiCheckPhysical(3);
    give_all(kept);
    run = MiAllocateContiguousPages(1000, 1, ~0ull, 256);
    assert_int_not_equal(run, 0);
    MiFreeContiguousPages(run, 1000);
    TestShutdownMachine();
}

static void standby_frames_can_be_part_of_a_run(void **state)
{
    PMMPTE table;
    PFN_NUMBER rest;
    PFN_NUMBER rest_count;
    PFN_NUMBER run;

    (void)state;
    boot(1, 0);
    table = make_table();
    for (ULONG i = 0; i < 300; i++)
    {
        trim(make_active(&table[i], 5), FALSE);
    }
    rest_count = MiAvailablePages() - 700;
    rest = MiAllocateContiguousPages(rest_count, 1, ~0ull, 1);
    assert_int_not_equal(rest, 0);
    run = MiAllocateContiguousPages(250, 1, 300, 1);
    assert_int_not_equal(run, 0);
    assert_true(MiStandbyPages() < 300);
    MiCheckPhysical(3);
    MiFreeContiguousPages(run, 250);
    MiPurgeStandby(7);
    MiFreeContiguousPages(rest, rest_count);
    free_table(table);
    TestShutdownMachine();
}

static void holes_are_never_handed_out(void **state)
{
    PFN_NUMBER list;
    PFN_NUMBER runs[8];
    ULONG count;

    (void)state;
    boot(4, 3 << 20);
    assert_int_equal(MiState.Physical->RunCount, 4);
    assert_true(MiState.Physical->HighestPage > MiState.Physical->NumberOfPages);
    for (ULONG i = 0; i < 8; i++)
    {
        runs[i] = MiAllocateContiguousPages(300 + i, 1, ~0ull, 1);
        assert_int_not_equal(runs[i], 0);
        assert_in_one_run(runs[i], 300 + i);
    }
    assert_int_equal(MiAllocateContiguousPages(1025, 1, ~0ull, 1), 0); /* a run has 1024 */
    for (ULONG i = 0; i < 8; i++)
    {
        MiFreeContiguousPages(runs[i], 300 + i);
    }
    list = take_all(0, &count);
    assert_int_equal(count, MiState.Physical->NumberOfPages - MiState.Physical->MinimumReserve);
    for (PFN_NUMBER frame = list; frame != 0; frame = *(PFN_NUMBER *)PortDirectMap(frame))
    {
        assert_in_one_run(frame, 1);
    }
    give_all(list);
    MiCheckPhysical(3);
    TestShutdownMachine();
}

static void a_tebibyte_boots_at_once(void **state)
{
    TEST_MACHINE machine = {
        .Deterministic = TRUE, .Seed = 7, .RamMegabytes = 1 << 20, .Last = TestPhysical
    };
    ULONG64 begin = PortQueryClock();

    (void)state;
    if (PORT_DIRECT_MAP_SIZE < 2ull << 40)
    {
        skip(); /* ThreadSanitizer leaves no room for it */
    }
    TestBootMachine(&machine);
    print_message("booting 1 TiB: %llu us\n", (PortQueryClock() - begin) / 1000);
    assert_int_equal(MiAvailablePages(), 1ull << 28);
    MiFreePage(MiAllocatePage(MI_PAGE_ZEROED));
    TestShutdownMachine();
    assert_true(PortQueryClock() - begin < 1000000000ull);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(alignment_and_limits_are_kept, TestTeardown),
        cmocka_unit_test_teardown(a_run_is_found_among_used_frames, TestTeardown),
        cmocka_unit_test_teardown(standby_frames_can_be_part_of_a_run, TestTeardown),
        cmocka_unit_test_teardown(holes_are_never_handed_out, TestTeardown),
        cmocka_unit_test_teardown(a_tebibyte_boots_at_once, TestTeardown),
    };

    return cmocka_run_group_tests_name("contiguous", tests, NULL, NULL);
}
