/* SPDX-License-Identifier: MIT */
/* The pool as the kernel's own structures use it: contents, alignment, charges, misuse, failure, and random traffic checked against a model. */
#include "boot.h"

#include "pool/expool.h"

#define TAG MI_TAG('T', 'e', 's', 't')

/* ---- One block -------------------------------------------------------------------------------------------- */

static void assert_zero(const UCHAR *Block, SIZE_T Bytes)
{
    for (SIZE_T Index = 0; Index < Bytes; Index++)
    {
        if (Block[Index] != 0)
        {
            fail_msg("byte %zu of %zu is 0x%02x", Index, Bytes, Block[Index]);
        }
    }
}

static void blocks_of_every_size_are_zeroed_and_aligned(void **state)
{
    (void)state;
    for (SIZE_T bytes = 1; bytes <= 3 * PAGE_SIZE; bytes += bytes < 2100 ? 1 : 97)
    {
        UCHAR *block = MiAllocatePool(bytes, TAG);

        assert_non_null(block);
        assert_zero(block, bytes);
        assert_int_equal((ULONG_PTR)block % (bytes >= PAGE_SIZE ? PAGE_SIZE : 16), 0);
        memset(block, 0xff, bytes);
        MiFreePool(block, TAG);
    }
    MiCheckPool();
}

static void counts_follow_blocks_and_pages(void **state)
{
    SIZE_T blocks = MiPoolBlocksInUse();
    SIZE_T pages = MiPoolPagesInUse();
    SIZE_T bytes = MiPoolBytesInUse();
    PVOID small;
    PVOID large;

    (void)state;
    small = MiAllocatePool(100, TAG);
    large = MiAllocatePool(5 * PAGE_SIZE - 1, TAG);
    assert_int_equal(MiPoolBlocksInUse(), blocks + 2);
    assert_int_equal(MiPoolBytesInUse(), bytes + 128 + 5 * PAGE_SIZE /* with the header: the class of 128 */);
    assert_true(MiPoolPagesInUse() >= pages + 5 && MiPoolPagesInUse() <= pages + 7);
    MiFreePool(small, TAG);
    MiFreePool(large, TAG);
    assert_int_equal(MiPoolBlocksInUse(), blocks);
    assert_int_equal(MiPoolBytesInUse(), bytes);
}

static void every_page_is_charged_and_returned(void **state)
{
    SIZE_T committed = MiState.Physical->CommittedPages;
    LONG64 resident = MiState.Physical->ResidentAvailable;
    SIZE_T pages = MiPoolPagesInUse();
    PVOID blocks[200];

    (void)state;
    for (ULONG i = 0; i < 200; i++)
    {
        blocks[i] = MiAllocatePool(64 + i * 40, TAG);
        assert_non_null(blocks[i]);
    }
    assert_int_equal(MiState.Physical->CommittedPages - committed, MiPoolPagesInUse() - pages);
    assert_int_equal(resident - MiState.Physical->ResidentAvailable, MiPoolPagesInUse() - pages);
    for (ULONG i = 0; i < 200; i++)
    {
        MiFreePool(blocks[i], TAG);
    }
    MiTrimPool();
    assert_int_equal(MiState.Physical->CommittedPages - committed, MiPoolPagesInUse() - pages);
    assert_true(MiPoolPagesInUse() <= pages);
}

/* ---- Misuse ------------------------------------------------------------------------------------------------ */

static void free_with_wrong_tag(void *block)
{
    MiFreePool(block, TAG + 1);
}

static void free_block(void *block)
{
    MiFreePool(block, TAG);
}

static void free_inside(void *block)
{
    MiFreePool((UCHAR *)block + 16, TAG);
}

static void allocate_at_high_irql(void *unused)
{
    KIRQL old;

    (void)unused;
    KeRaiseIrql(HIGH_LEVEL, &old);
    MiAllocatePool(16, TAG);
}

static void misuse_is_a_bug_check_with_the_documented_parameters(void **state)
{
    SIZE_T sizes[] = { 100, PAGE_SIZE, 3 * PAGE_SIZE };
    PVOID block;

    (void)state;
    for (ULONG i = 0; i < 3; i++)
    {
        block = MiAllocatePool(sizes[i], TAG);
        TestExpectBugCheck(BAD_POOL_CALLER, free_with_wrong_tag, block);
        assert_int_equal(TestBugCheckParameters[0], 0x0A);
        assert_int_equal(TestBugCheckParameters[1], (ULONG_PTR)block);
        assert_int_equal(TestBugCheckParameters[2], TAG);
        assert_int_equal(TestBugCheckParameters[3], TAG + 1);
        TestExpectBugCheck(BAD_POOL_CALLER, free_inside, block);
        assert_int_equal(TestBugCheckParameters[0], 0x99);
        assert_int_equal(TestBugCheckParameters[1], (ULONG_PTR)block + 16);
        MiFreePool(block, TAG);
    }
    block = MiAllocatePool(100, TAG);
    MiFreePool(block, TAG);
    TestExpectBugCheck(BAD_POOL_CALLER, free_block, block);
    assert_int_equal(TestBugCheckParameters[0], 0x07);
    assert_int_equal(TestBugCheckParameters[3], (ULONG_PTR)block);
    TestExpectBugCheck(BAD_POOL_CALLER, free_block, NULL);
    assert_int_equal(TestBugCheckParameters[0], 0x40);
    TestExpectBugCheck(BAD_POOL_CALLER, free_block, PortDirectMap(MiState.Translation->SystemTopLevel));
    assert_int_equal(TestBugCheckParameters[0], 0x41);
    assert_null(MiAllocatePool(16, 0)); /* ExAllocatePool2: no tag is an invalid parameter */
    TestExpectBugCheck(BAD_POOL_CALLER, allocate_at_high_irql, NULL);
    assert_int_equal(TestBugCheckParameters[0], 0x08);
    assert_int_equal(TestBugCheckParameters[1], HIGH_LEVEL);
    MiCheckPool();
}

static void free_run_twice(void *block)
{
    MiFreePool(block, TAG);
    MiFreePool(block, TAG);
}

static void a_page_freed_twice_is_no_block_any_more(void **state)
{
    (void)state;
    TestExpectBugCheck(BAD_POOL_CALLER, free_run_twice, MiAllocatePool(2 * PAGE_SIZE, TAG));
    assert_int_equal(TestBugCheckParameters[0], 0x41);
}

static void shutdown_pool(void *unused)
{
    (void)unused;
    MiShutdownPool();
}

static void blocks_left_at_the_end_are_reported(void **state)
{
    static const TEST_MACHINE machine = { .Last = TestPool, .Deterministic = TRUE };
    PVOID small;
    PVOID large;

    (void)state;
    TestBootMachine(&machine);
    small = MiAllocatePool(40, TAG);
    large = MiAllocatePool(2 * PAGE_SIZE, TAG);
    TestExpectBugCheck(DRIVER_VERIFIER_DETECTED_VIOLATION, shutdown_pool, NULL);
    assert_int_equal(TestBugCheckParameters[0], 0x62);
    assert_int_equal(TestBugCheckParameters[1], TAG);
    assert_int_equal(TestBugCheckParameters[3], 2);
    MiFreePool(small, TAG);
    MiFreePool(large, TAG);
    TestShutdownMachine();
}

/* ---- Failure ----------------------------------------------------------------------------------------------- */

static void a_failed_allocation_changes_nothing(void **state)
{
    static const KI_INJECT kinds[] = { KiInjectPool, KiInjectCommit, KiInjectFrame };
    /* Small ones of classes in which no structure of the kernel has left a free block. */
    static const SIZE_T sizes[] = { 24, 1800, PAGE_SIZE, 6 * PAGE_SIZE };

    (void)state;
    for (ULONG kind = 0; kind < 3; kind++)
    {
        for (ULONG size = 0; size < 4; size++)
        {
            SIZE_T committed;
            PFN_NUMBER available;
            PVOID block;

            MiTrimPool();
            committed = MiState.Physical->CommittedPages;
            available = MiAvailablePages();
            KiSetInjection(kinds[kind], 1, TRUE); /* once is not enough: the pool asks again for one page */
            block = MiAllocatePool(sizes[size], TAG);
            KiSetInjection(kinds[kind], 0, FALSE);
            if (kinds[kind] == KiInjectFrame && sizes[size] <= PAGE_SIZE)
            {
                assert_non_null(block); /* a single frame comes from the reserve then */
                MiFreePool(block, TAG);
                continue;
            }
            assert_null(block);
            assert_int_equal(MiState.Physical->CommittedPages, committed);
            assert_int_equal(MiAvailablePages(), available);
        }
    }
}

static void half_of_the_reserve_stays_for_paging_out(void **state)
{
    PVOID *list = NULL;
    PFN_NUMBER reserve = MiState.Physical->MinimumReserve;
    ULONG count = 0;

    (void)state;
    MiState.Physical->CommitLimit += 1000; /* not the limit that is meant here */
    MiState.Physical->ResidentAvailable += 1000;
    ExpPool()->Sources[0].PageLimit *= 2;
    for (PVOID *block = MiAllocatePool(PAGE_SIZE, TAG); block != NULL; block = MiAllocatePool(PAGE_SIZE, TAG))
    {
        *block = list;
        list = block;
        count++;
    }
    assert_int_equal(MiAvailablePages(), reserve / 2);
    assert_true(count > 1000);
    while (list != NULL)
    {
        PVOID *block = list;

        list = *block;
        MiFreePool(block, TAG);
    }
    MiState.Physical->CommitLimit -= 1000;
    MiState.Physical->ResidentAvailable -= 1000;
    ExpPool()->Sources[0].PageLimit /= 2;
}

/* ---- Random traffic ---------------------------------------------------------------------------------------- */

#define LIVE_BLOCKS 400

typedef struct
{
    UCHAR *block;
    SIZE_T bytes;
    UCHAR fill;
} live_block;

static void verify_and_free(live_block *live)
{
    for (SIZE_T i = 0; i < live->bytes; i++)
    {
        if (live->block[i] != live->fill)
        {
            fail_msg("byte %zu of a block of %zu bytes changed", i, live->bytes);
        }
    }
    MiFreePool(live->block, TAG);
    live->block = NULL;
}

static void traffic(TEST_RANDOM random, ULONG64 steps, BOOLEAN alone)
{
    live_block *live = calloc(LIVE_BLOCKS, sizeof(*live));

    for (ULONG64 step = 0; step < steps; step++)
    {
        live_block *slot = &live[TestBelow(&random, LIVE_BLOCKS)];

        if (slot->block != NULL)
        {
            verify_and_free(slot);
            continue;
        }
        slot->bytes = 1 + TestBelow(&random, TestBelow(&random, 16) == 0 ? 3 * PAGE_SIZE : 700);
        slot->fill = (UCHAR)TestDraw(&random);
        slot->block = MiAllocatePool(slot->bytes, TAG);
        if (slot->block != NULL)
        {
            assert_zero(slot->block, slot->bytes);
            memset(slot->block, slot->fill, slot->bytes);
        }
        if (alone && step % 4096 == 0)
        {
            MiCheckPool();
        }
    }
    for (ULONG i = 0; i < LIVE_BLOCKS; i++)
    {
        if (live[i].block != NULL)
        {
            verify_and_free(&live[i]);
        }
    }
    free(live);
}

static void random_traffic_keeps_contents(void **state)
{
    (void)state;
    traffic(TestSeed(__func__), TestIterations(60000), TRUE);
    MiCheckPool();
}

static void traffic_thread(ULONG index, void *context)
{
    TEST_RANDOM random = *(TEST_RANDOM *)context;

    random.State += index;
    traffic(random, TestIterations(20000), FALSE);
}

static void threads_do_not_meet_in_blocks(void **state)
{
    TEST_RANDOM random = TestSeed(__func__);

    (void)state;
    TestRunThreads(4, traffic_thread, &random);
    MiCheckPool();
}

#define DETERMINISTIC(test) cmocka_unit_test_setup_teardown(test, TestSetupDeterministic, TestTeardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DETERMINISTIC(blocks_of_every_size_are_zeroed_and_aligned),
        DETERMINISTIC(counts_follow_blocks_and_pages),
        DETERMINISTIC(every_page_is_charged_and_returned),
        DETERMINISTIC(misuse_is_a_bug_check_with_the_documented_parameters),
        DETERMINISTIC(a_page_freed_twice_is_no_block_any_more),
        cmocka_unit_test(blocks_left_at_the_end_are_reported),
        DETERMINISTIC(a_failed_allocation_changes_nothing),
        DETERMINISTIC(half_of_the_reserve_stays_for_paging_out),
        DETERMINISTIC(random_traffic_keeps_contents),
        cmocka_unit_test_setup_teardown(threads_do_not_meet_in_blocks, TestSetupThreaded, TestTeardown),
    };

    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
