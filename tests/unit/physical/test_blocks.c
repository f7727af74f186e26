/* SPDX-License-Identifier: MIT */
/* Locks of frames, one by one and by the block: who holds what, and that the two ways shut each other out. */
#include "frames.h"

#define FRAMES 600u /* touches two blocks at least */

static int setup(void **state)
{
    static const TEST_MACHINE machine = { .Deterministic = TRUE, .Seed = 5, .Last = TestPhysical };

    (void)state;
    TestBootMachine(&machine);
    return 0;
}

/* So many whole blocks; the machine is at DISPATCH_LEVEL until give_blocks. */
static PMMPFN take_blocks(ULONG count, KIRQL *irql)
{
    PFN_NUMBER first = MiAllocateContiguousPages(count * MI_BLOCK_FRAMES, 1, ~0ull, MI_BLOCK_FRAMES);

    assert_int_not_equal(first, 0);
    *irql = KiRaiseIrqlToDispatch();
    return MiPfn(first);
}

static void give_blocks(PMMPFN pfn, ULONG count, KIRQL irql)
{
    KiLowerIrqlFromDispatch(irql);
    MiFreeContiguousPages(MiPfnFrame(pfn), count * MI_BLOCK_FRAMES);
}

static void a_block_holds_its_frames_but_those_that_are_locked(void **state)
{
    MI_BLOCK block = { .Lock = NULL };
    KIRQL irql;
    PMMPFN pfn = take_blocks(1, &irql);

    (void)state;
    MiLockPfn(&pfn[7]);
    assert_true(MiTryLockPfnInBlock(&pfn[6], &block));
    assert_ptr_equal(block.Lock, MiBlockLock(pfn));
    assert_false(MiTryLockPfnInBlock(&pfn[7], &block));
    MiUnlockPfnInBlock(&pfn[6], &block);
    assert_ptr_equal(block.Lock, MiBlockLock(pfn)); /* until its end */
    assert_false(MiTryLockPfn(&pfn[6]));
    assert_false(MiTryLockPfn(&pfn[MI_BLOCK_FRAMES - 1]));
    assert_int_equal(pfn[6].Lock, 0); /* taken back */
    MiUnlockPfn(&pfn[7]);
    assert_true(MiTryLockPfnInBlock(&pfn[7], &block));
    MiEndBlock(&block);
    assert_null(block.Lock);
    assert_true(MiTryLockPfn(&pfn[6]));
    MiUnlockPfn(&pfn[6]);
    give_blocks(pfn, 1, irql);
}

static void a_block_that_is_taken_leaves_single_locks(void **state)
{
    MI_BLOCK block = { .Lock = NULL };
    KIRQL irql;
    PMMPFN pfn = take_blocks(2, &irql);

    (void)state;
    *MiBlockLock(&pfn[MI_BLOCK_FRAMES]) = 1; /* another processor */
    assert_true(MiTryLockPfnInBlock(&pfn[MI_BLOCK_FRAMES - 1], &block));
    assert_false(MiTryLockPfnInBlock(&pfn[MI_BLOCK_FRAMES], &block));
    assert_null(block.Lock); /* the next block's turn ended the last one's */
    assert_true(MiTryLockPfn(&pfn[MI_BLOCK_FRAMES - 1]));
    MiUnlockPfn(&pfn[MI_BLOCK_FRAMES - 1]);
    *MiBlockLock(&pfn[MI_BLOCK_FRAMES]) = 0;
    assert_true(MiTryLockPfnInBlock(&pfn[MI_BLOCK_FRAMES], &block));
    MiEndBlock(&block);
    give_blocks(pfn, 2, irql);
}

typedef struct
{
    PMMPFN pfn;
    ULONG counts[FRAMES]; /* of a frame: whoever holds it changes it, and not atomically */
    ULONG expected[4][FRAMES];
} SHARED;

static void count_by_either_lock(ULONG index, void *context)
{
    SHARED *shared = context;
    TEST_RANDOM random = { .State = 4711 + index };

    for (ULONG64 step = TestIterations(3000); step > 0; step--)
    {
        ULONG first = TestBelow(&random, FRAMES);
        ULONG count = 1 + TestBelow(&random, FRAMES - first);
        BOOLEAN many = TestBelow(&random, 3) == 0;
        MI_BLOCK block = { .Lock = NULL };
        MI_LIST_RUN run = { .List = NULL };
        KIRQL irql = KiRaiseIrqlToDispatch();

        count = many ? count : 1;
        for (ULONG frame = first; frame < first + count; frame++)
        {
            MiLockPfnInRun(&shared->pfn[frame], many, &block, &run);
            shared->counts[frame]++;
            shared->expected[index][frame]++;
            MiUnlockPfnInBlock(&shared->pfn[frame], &block);
        }
        MiEndBlock(&block);
        KiLowerIrqlFromDispatch(irql);
    }
}

static void blocks_and_single_locks_shut_each_other_out(void **state)
{
    static const TEST_MACHINE machine = { .Processors = 2, .Last = TestPhysical };
    static SHARED shared;
    PFN_NUMBER first;

    (void)state;
    TestBootMachine(&machine);
    first = MiAllocateContiguousPages(FRAMES, 1, ~0ull, 1);
    assert_int_not_equal(first, 0);
    shared = (SHARED){ .pfn = MiPfn(first) };
    TestRunThreads(4, count_by_either_lock, &shared);
    for (ULONG frame = 0; frame < FRAMES; frame++)
    {
        assert_int_equal(shared.counts[frame], shared.expected[0][frame] + shared.expected[1][frame] +
                                                   shared.expected[2][frame] + shared.expected[3][frame]);
    }
    MiFreeContiguousPages(first, FRAMES);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, TestTeardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_block_holds_its_frames_but_those_that_are_locked),
        TEST(a_block_that_is_taken_leaves_single_locks),
        cmocka_unit_test_teardown(blocks_and_single_locks_shut_each_other_out, TestTeardown),
    };

    return cmocka_run_group_tests_name("blocks", tests, NULL, NULL);
}
