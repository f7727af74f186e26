/* SPDX-License-Identifier: MIT */
/*
 * Pages shared by clones: prototype PTEs, copy on write, taking a page over, and what happens to all of it
 * when pages and page tables leave memory.
 */
#include "pages.h"

#define BASE TEST_BASE

static PEPROCESS Parent, Child;

static int setup(void **State)
{
    static const TEST_MACHINE Machine = {
        .RamMegabytes = 8, .Deterministic = TRUE, .Seed = 5, .PagingFiles = 1, .Workers = TRUE
    };

    (void)State;
    TestBootMachine(&Machine);
    Parent = TestCreateProcess();
    Child = TestCreateProcess();
    return 0;
}

static int teardown(void **State)
{
    const PEPROCESS Processes[] = { Parent, Child, NULL };

    (void)State;
    TestCheckMachine(Processes);
    TestEnter(NULL);
    TestDeleteProcess(Child);
    TestDeleteProcess(Parent);
    TestShutdownMachine(); /* proves that no clone block is left */
    return 0;
}

static void Fill(SIZE_T Pages, ULONG64 Seed)
{
    TestCommit(Parent, BASE, Pages, MM_READWRITE);
    TestEnter(Parent);
    TestFillPages(BASE, Pages, Seed);
}

static void both_see_the_same_page_in_one_frame(void **State)
{
    (void)State;
    Fill(1, 20);
    TestShare(Parent, Child, BASE, 1);
    TestEnter(Child);
    TestComparePages(BASE, 1, 20);
    TestEnter(Parent);
    TestComparePages(BASE, 1, 20);
    assert_int_equal(TestPte(Parent, BASE).Hard.PageFrameNumber, TestPte(Child, BASE).Hard.PageFrameNumber);
    assert_int_equal(TestPfn(Parent, BASE)->u1.ShareCount, 2);
    assert_true(TestPte(Child, BASE).Hard.SharedPage && TestPte(Child, BASE).Hard.CopyOnWrite);
    assert_false(TestPte(Child, BASE).Hard.Dirty1);
}

static void a_write_copies_and_the_other_does_not_see_it(void **State)
{
    ULONG64 Copies = 0, Avoided = 0;

    (void)State;
    Fill(2, 21);
    TestShare(Parent, Child, BASE, 2);
    TestCounted(MiCounterWriteCopies, &Copies);
    TestCounted(MiCounterWriteCopiesAvoided, &Avoided);
    TestEnter(Child);
    TestPut(BASE, 1);
    TestEnter(Parent);
    TestPut(BASE + PAGE_SIZE, 2);
    assert_int_equal(TestGet(BASE), 21);
    TestEnter(Child);
    assert_int_equal(TestGet(BASE), 1);
    assert_int_equal(TestGet(BASE + 8), 22); /* the rest of the page came along */
    assert_int_equal(TestGet(BASE + PAGE_SIZE), 21 + 512);
    assert_int_equal(TestCounted(MiCounterWriteCopies, &Copies), 2);
    assert_int_equal(TestCounted(MiCounterWriteCopiesAvoided, &Avoided), 0);
}

static void the_last_user_takes_the_page_over_without_copying(void **State)
{
    ULONG64 Copies = 0, Avoided = 0;
    PFN_NUMBER Frame;

    (void)State;
    Fill(1, 22);
    TestShare(Parent, Child, BASE, 1);
    TestEnter(Child);
    TestPut(BASE, 1);
    TestEnter(Parent);
    Frame = TestPte(Parent, BASE).Hard.PageFrameNumber;
    assert_int_equal(MiCloneBlocksInUse(), 1);
    TestCounted(MiCounterWriteCopies, &Copies);
    TestCounted(MiCounterWriteCopiesAvoided, &Avoided);
    TestPut(BASE + 16, 7);
    assert_int_equal(TestCounted(MiCounterWriteCopies, &Copies), 0);
    assert_int_equal(TestCounted(MiCounterWriteCopiesAvoided, &Avoided), 1);
    assert_int_equal(TestPte(Parent, BASE).Hard.PageFrameNumber, Frame);
    assert_false(TestPte(Parent, BASE).Hard.SharedPage);
    assert_int_equal(MiCloneBlocksInUse(), 0);
    assert_int_equal(TestGet(BASE), 22);
    assert_int_equal(TestGet(BASE + 16), 7);
    /* It is a private page again, with a life of its own. */
    TestEvict(Parent, BASE, 1);
    assert_true(MiIsPagedOut(TestPte(Parent, BASE)));
    assert_int_equal(TestGet(BASE + 16), 7);
}

static void pages_shared_in_every_state_keep_their_contents(void **State)
{
    (void)State;
    Fill(8, 23);
    TestEvict(Parent, BASE + 2 * PAGE_SIZE, 2); /* 2, 3: in the paging file */
    TestTrim(Parent, BASE + 4 * PAGE_SIZE, 2);  /* 4, 5: modified */
    TestEvict(Parent, BASE + 6 * PAGE_SIZE, 2);
    TestComparePages(BASE + 6 * PAGE_SIZE, 2, 23 + 6 * 512);
    TestTrim(Parent, BASE + 6 * PAGE_SIZE, 2); /* 6, 7: standby, with a slot */
    TestShare(Parent, Child, BASE, 8);
    TestEnter(Child);
    TestComparePages(BASE, 8, 23);
    TestFillPages(BASE, 8, 24);
    TestEnter(Parent);
    TestComparePages(BASE, 8, 23);
    TestEnter(Child);
    TestComparePages(BASE, 8, 24);
}

static void shared_pages_go_out_once_and_come_back_for_both(void **State)
{
    ULONG64 Written = 0, Reads = 0;

    (void)State;
    Fill(16, 25);
    TestShare(Parent, Child, BASE, 16);
    TestEnter(Child);
    TestComparePages(BASE, 16, 25);
    TestCounted(MiCounterPagesOutput, &Written);
    TestTrim(Parent, BASE, 16);
    assert_true(MiIsPrototype(TestPte(Parent, BASE)));
    assert_int_equal(TestPfn(Child, BASE)->e1.PageLocation, ActiveAndValid); /* the child still maps it */
    TestEvict(Child, BASE, 16);
    assert_int_equal(TestCounted(MiCounterPagesOutput, &Written), 16);
    assert_int_equal(TestSlotsInUse(), 16);
    TestCounted(MiCounterPageReads, &Reads);
    TestComparePages(BASE, 16, 25);
    assert_int_equal(TestCounted(MiCounterPageReads, &Reads), 16);
    TestEnter(Parent);
    TestComparePages(BASE, 16, 25);
    assert_int_equal(TestCounted(MiCounterPageReads, &Reads), 0);
    assert_int_equal(TestPte(Parent, BASE).Hard.PageFrameNumber, TestPte(Child, BASE).Hard.PageFrameNumber);
}

static void a_page_that_nobody_wrote_is_made_once_for_both(void **State)
{
    (void)State;
    Fill(2, 26);
    TestProtect(Parent, BASE, 1, MM_READWRITE);
    TestCommit(Parent, BASE + 0x10000, 1, MM_READWRITE);
    TestProtect(Parent, BASE + 0x10000, 1, MM_READWRITE); /* a demand-zero entry instead of none */
    TestShare(Parent, Child, BASE + 0x10000, 1);
    assert_int_equal(TestGet(BASE + 0x10000), 0);
    TestEnter(Child);
    assert_int_equal(TestGet(BASE + 0x10000), 0);
    assert_int_equal(TestPte(Parent, BASE + 0x10000).Hard.PageFrameNumber,
                     TestPte(Child, BASE + 0x10000).Hard.PageFrameNumber);
    TestPut(BASE + 0x10000, 3);
    TestEnter(Parent);
    assert_int_equal(TestGet(BASE + 0x10000), 0);
}

static void a_clone_of_a_clone_shares_the_same_page(void **State)
{
    PEPROCESS Grandchild = TestCreateProcess();
    const PEPROCESS Processes[] = { Parent, Child, Grandchild, NULL };

    (void)State;
    Fill(4, 27);
    TestShare(Parent, Child, BASE, 4);
    TestEnter(Child);
    TestComparePages(BASE, 2, 27); /* two valid, two prototype entries */
    TestShare(Child, Grandchild, BASE, 4);
    assert_int_equal(MiCloneBlocksInUse(), 4);
    TestEnter(Grandchild);
    TestComparePages(BASE, 4, 27);
    assert_int_equal(TestPfn(Grandchild, BASE)->u1.ShareCount, 3);
    TestFillPages(BASE, 4, 28);
    TestEnter(Parent);
    TestComparePages(BASE, 4, 27);
    TestCheckMachine(Processes);
    TestEnter(NULL);
    TestDeleteProcess(Grandchild);
    TestEnter(Child);
    TestComparePages(BASE, 4, 27);
}

static void the_page_goes_with_its_last_reference_wherever_it_is(void **State)
{
    (void)State;
    Fill(4, 29);
    TestShare(Parent, Child, BASE, 4);
    TestEvict(Parent, BASE, 2);                /* 0, 1: in the paging file */
    TestTrim(Parent, BASE + 2 * PAGE_SIZE, 1); /* 2: on a list; 3: valid in the parent */
    assert_int_equal(TestSlotsInUse(), 2);
    TestEnter(NULL);
    TestDecommit(Child, BASE, 4);
    assert_int_equal(MiCloneBlocksInUse(), 4);
    TestDecommit(Parent, BASE, 4);
    assert_int_equal(MiCloneBlocksInUse(), 0);
    assert_int_equal(TestSlotsInUse(), 0);
}

static void a_page_table_of_prototype_entries_leaves_memory_and_comes_back(void **State)
{
    (void)State;
    TestCommit(Parent, BASE, 6 * 512, MM_READWRITE);
    TestEnter(Parent);
    for (ULONG Table = 0; Table < 6; Table++)
    {
        TestFillPages(BASE + Table * MI_LEVEL_BYTES(1), 3, 30 + Table);
    }
    for (ULONG Table = 0; Table < 6; Table++)
    {
        TestShare(Parent, Child, BASE + Table * MI_LEVEL_BYTES(1), 3);
    }
    /* In the parent's tables prototypes stand beside private pages that are out. */
    for (ULONG Table = 0; Table < 6; Table++)
    {
        TestFillPages(BASE + Table * MI_LEVEL_BYTES(1), 1, 50 + Table);
    }
    TestEvict(Parent, BASE, 6 * 512);
    assert_true(MiTrimPageTables(&Parent->Space) >= 6);
    assert_true(MiTrimPageTables(&Child->Space) >= 6);
    MiFlushModifiedPages();
    MiPurgeStandby(7);
    TestEnter(Child);
    for (ULONG Table = 0; Table < 6; Table++)
    {
        TestComparePages(BASE + Table * MI_LEVEL_BYTES(1), 3, 30 + Table);
    }
    TestEnter(Parent);
    for (ULONG Table = 0; Table < 6; Table++)
    {
        TestComparePages(BASE + Table * MI_LEVEL_BYTES(1), 1, 50 + Table);
        TestComparePages(BASE + Table * MI_LEVEL_BYTES(1) + PAGE_SIZE, 2, 30 + Table + 512);
    }
}

static void a_shared_guard_page_raises_once_in_each_process(void **State)
{
    (void)State;
    Fill(1, 31);
    TestProtect(Parent, BASE, 1, MM_READWRITE | MM_GUARD_PAGE);
    TestShare(Parent, Child, BASE, 1);
    for (ULONG Turn = 0; Turn < 2; Turn++)
    {
        ULONG64 Value;

        TestEnter(Turn == 0 ? Child : Parent);
        assert_int_equal(TestRead(BASE, &Value, NULL), STATUS_GUARD_PAGE_VIOLATION);
        TestComparePages(BASE, 1, 31);
        TestPut(BASE, Turn);
    }
    assert_int_equal(TestGet(BASE), 1);
    TestEnter(Child);
    assert_int_equal(TestGet(BASE), 0);
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
#define TEST(Name) cmocka_unit_test_setup_teardown(Name, setup, teardown)
        TEST(both_see_the_same_page_in_one_frame),
        TEST(a_write_copies_and_the_other_does_not_see_it),
        TEST(the_last_user_takes_the_page_over_without_copying),
        TEST(pages_shared_in_every_state_keep_their_contents),
        TEST(shared_pages_go_out_once_and_come_back_for_both),
        TEST(a_page_that_nobody_wrote_is_made_once_for_both),
        TEST(a_clone_of_a_clone_shares_the_same_page),
        TEST(the_page_goes_with_its_last_reference_wherever_it_is),
        TEST(a_page_table_of_prototype_entries_leaves_memory_and_comes_back),
        TEST(a_shared_guard_page_raises_once_in_each_process),
    };

    return cmocka_run_group_tests_name("clones", Tests, NULL, NULL);
}
