/* SPDX-License-Identifier: MIT */
/*
 * The kinds of faults that find or make a page: demand zero, transition from standby and from modified, the
 * paging file with its neighbours, absent page tables; and what the entry says afterwards.
 */
#include "pages.h"

#define BASE TEST_BASE

static PEPROCESS Process;

static int setup(void **State)
{
    static const TEST_MACHINE Machine = {
        .RamMegabytes = 8, .Deterministic = TRUE, .Seed = 7, .PagingFiles = 1, .Workers = TRUE
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

/* ---- Demand zero --------------------------------------------------------------------------------------- */

static void a_page_that_nobody_wrote_reads_as_zero_and_stays_clean(void **State)
{
    ULONG64 Faults = 0;
    MMPTE Pte;

    (void)State;
    TestCounted(MiCounterDemandZeroFaults, &Faults);
    TestCommit(Process, BASE, 4, MM_READWRITE);
    for (ULONG Word = 0; Word < 512; Word += 73)
    {
        assert_int_equal(TestGet(BASE + PAGE_SIZE + 8 * Word), 0);
    }
    assert_int_equal(TestCounted(MiCounterDemandZeroFaults, &Faults), 1);
    Pte = TestPte(Process, BASE + PAGE_SIZE);
    assert_true(Pte.Hard.Valid && Pte.Hard.Owner && Pte.Hard.Accessed && !Pte.Hard.Dirty &&
                Pte.Hard.NoExecute);
    assert_int_equal(MiProtectionFromValidPte(Pte), MM_READWRITE);
    assert_int_equal(TestPte(Process, BASE).Long, 0);
}

static void a_page_that_was_only_read_costs_no_slot(void **State)
{
    ULONG64 Faults = 0;

    (void)State;
    TestCommit(Process, BASE, 1, MM_READWRITE);
    assert_int_equal(TestGet(BASE), 0);
    TestTrim(Process, BASE, 1);
    assert_int_equal(TestPfn(Process, BASE)->e1.PageLocation, StandbyPageList);
    TestEvict(Process, BASE, 1);
    assert_int_equal(TestSlotsInUse(), 0);
    assert_true(MiIsDemandZero(TestPte(Process, BASE)));
    TestCounted(MiCounterDemandZeroFaults, &Faults);
    assert_int_equal(TestGet(BASE), 0);
    assert_int_equal(TestCounted(MiCounterDemandZeroFaults, &Faults), 1);
}

static void a_first_write_makes_the_page_dirty_and_a_later_one_too(void **State)
{
    (void)State;
    TestCommit(Process, BASE, 2, MM_READWRITE);
    TestPut(BASE, 1);
    assert_true(TestPte(Process, BASE).Hard.Dirty);
    assert_int_equal(TestGet(BASE + PAGE_SIZE), 0);
    assert_false(TestPte(Process, BASE + PAGE_SIZE).Hard.Dirty);
    TestPut(BASE + PAGE_SIZE, 2);
    assert_true(TestPte(Process, BASE + PAGE_SIZE).Hard.Dirty);
}

static void frames_come_zeroed_although_they_held_something(void **State)
{
    (void)State;
    /* All frames of the machine pass through here once with contents, and then again as new pages. */
    TestCommit(Process, BASE, 4096, MM_READWRITE);
    for (ULONG Page = 0; Page < 2500; Page++)
    {
        TestPut(BASE + Page * PAGE_SIZE + 8, ~0ull);
    }
    for (ULONG Page = 2500; Page < 3500; Page++)
    {
        assert_int_equal(TestGet(BASE + Page * PAGE_SIZE + 8), 0);
    }
}

/* ---- Transition ---------------------------------------------------------------------------------------- */

static void a_trimmed_clean_page_comes_back_from_standby(void **State)
{
    ULONG64 Soft = 0, Modified = 0, Hard = 0;
    PFN_NUMBER Frame;

    (void)State;
    TestCommit(Process, BASE, 1, MM_READWRITE);
    assert_int_equal(TestGet(BASE), 0);
    Frame = TestPte(Process, BASE).Hard.PageFrameNumber;
    TestTrim(Process, BASE, 1);
    assert_true(MiIsTransition(TestPte(Process, BASE)));
    TestCounted(MiCounterTransitionFaults, &Soft);
    TestCounted(MiCounterTransitionModified, &Modified);
    TestCounted(MiCounterPageReads, &Hard);
    assert_int_equal(TestGet(BASE), 0);
    assert_int_equal(TestCounted(MiCounterTransitionFaults, &Soft), 1);
    assert_int_equal(TestCounted(MiCounterTransitionModified, &Modified), 0);
    assert_int_equal(TestCounted(MiCounterPageReads, &Hard), 0);
    assert_int_equal(TestPte(Process, BASE).Hard.PageFrameNumber, Frame);
    assert_int_equal(MiStandbyPages(), 0);
}

static void a_trimmed_dirty_page_comes_back_from_the_modified_list_and_is_still_modified(void **State)
{
    ULONG64 Modified = 0;
    PMMPFN Pfn;

    (void)State;
    TestCommit(Process, BASE, 1, MM_READWRITE);
    TestPut(BASE, 0x1234);
    Pfn = TestPfn(Process, BASE);
    TestTrim(Process, BASE, 1);
    assert_int_equal(Pfn->e1.PageLocation, ModifiedPageList);
    TestCounted(MiCounterTransitionModified, &Modified);
    assert_int_equal(TestGet(BASE), 0x1234);
    assert_int_equal(TestCounted(MiCounterTransitionModified, &Modified), 1);
    /* The entry is clean: nothing was written through it. The frame knows better. */
    assert_false(TestPte(Process, BASE).Hard.Dirty);
    assert_true(Pfn->e1.Modified);
    TestEvict(Process, BASE, 1);
    assert_true(MiIsPagedOut(TestPte(Process, BASE)));
    assert_int_equal(TestGet(BASE), 0x1234);
}

/* ---- Paging file --------------------------------------------------------------------------------------- */

static void a_page_comes_back_from_the_paging_file_clean_and_with_its_slot(void **State)
{
    ULONG64 Hard = 0, Reads = 0;
    MMPTE Out;

    (void)State;
    TestCommit(Process, BASE, 1, MM_READWRITE);
    TestFillPages(BASE, 1, 99);
    TestEvict(Process, BASE, 1);
    Out = TestPte(Process, BASE);
    assert_true(MiIsPagedOut(Out));
    assert_int_equal(Out.Soft.Protection, MM_READWRITE);
    assert_int_equal(TestSlotsInUse(), 1);
    TestCounted(MiCounterPagingFileFaults, &Hard);
    TestCounted(MiCounterPageReads, &Reads);
    TestComparePages(BASE, 1, 99);
    assert_int_equal(TestCounted(MiCounterPagingFileFaults, &Hard), 1);
    assert_int_equal(TestCounted(MiCounterPageReads, &Reads), 1);
    assert_int_equal(MiSpaceHardFaultCount(&Process->Space), 1);
    assert_false(TestPte(Process, BASE).Hard.Dirty);
    /* Unchanged, it needs no second write ... */
    TestEvict(Process, BASE, 1);
    assert_int_equal(TestPte(Process, BASE).Long, Out.Long);
    /* ... and changed, its old slot is given back when the page is trimmed. */
    TestPut(BASE, 5);
    assert_int_equal(TestSlotsInUse(), 1);
    TestTrim(Process, BASE, 1);
    assert_int_equal(TestSlotsInUse(), 0);
}

static void pages_trimmed_together_are_written_together_in_address_order(void **State)
{
    ULONG64 Writes = 0;
    MMPTE First;

    (void)State;
    TestCommit(Process, BASE, 100, MM_READWRITE);
    TestFillPages(BASE, 100, 3);
    TestCounted(MiCounterPageWrites, &Writes);
    TestEvict(Process, BASE, 100);
    assert_int_equal(TestCounted(MiCounterPageWrites, &Writes), 1);
    First = TestPte(Process, BASE);
    for (ULONG Page = 0; Page < 100; Page++)
    {
        MMPTE Pte = TestPte(Process, BASE + Page * PAGE_SIZE);

        assert_true(MiIsPagedOut(Pte));
        assert_int_equal(Pte.Soft.PageFileHigh, First.Soft.PageFileHigh + Page);
    }
}

static void reading_in_order_reads_ahead_in_growing_clusters(void **State)
{
    ULONG64 Reads = 0, Ahead = 0, Hits = 0, Soft = 0;

    (void)State;
    TestCommit(Process, BASE, 512, MM_READWRITE);
    TestFillPages(BASE, 512, 11);
    TestEvict(Process, BASE, 512);
    TestCounted(MiCounterPageReads, &Reads);
    TestCounted(MiCounterReadAheadPages, &Ahead);
    TestCounted(MiCounterReadAheadHits, &Hits);
    TestCounted(MiCounterPageFaults, &Soft);
    TestComparePages(BASE, 512, 11);
    /* 1, 8, 16, 32, 64, 64, ... pages: a dozen reads at most, and every page that came along was used. */
    assert_in_range(TestCounted(MiCounterPageReads, &Reads), 9, 14);
    assert_true(TestCounted(MiCounterReadAheadPages, &Ahead) >= 490);
    assert_true(TestCounted(MiCounterReadAheadHits, &Hits) >= 490);
    assert_in_range(TestCounted(MiCounterPageFaults, &Soft), 16, 60);
}

static void reading_at_random_reads_single_pages(void **State)
{
    ULONG64 Reads = 0, Pages = 0;

    (void)State;
    TestCommit(Process, BASE, 512, MM_READWRITE);
    TestFillPages(BASE, 512, 12);
    TestEvict(Process, BASE, 512);
    TestCounted(MiCounterPageReads, &Reads);
    TestCounted(MiCounterPagesInput, &Pages);
    for (ULONG Page = 0; Page < 50; Page++)
    {
        ULONG_PTR Index = Page * 211 % 512;

        assert_int_equal(TestGet(BASE + Index * PAGE_SIZE), 12 + Index * 512);
    }
    assert_int_equal(TestCounted(MiCounterPageReads, &Reads), 50);
    assert_int_equal(TestCounted(MiCounterPagesInput, &Pages), 50);
}

static void pages_that_came_along_and_were_not_used_wait_on_standby(void **State)
{
    (void)State;
    TestCommit(Process, BASE, 64, MM_READWRITE);
    TestFillPages(BASE, 64, 13);
    TestEvict(Process, BASE, 64);
    assert_int_equal(TestGet(BASE), 13);
    assert_int_equal(TestGet(BASE + PAGE_SIZE), 13 + 512); /* in order: the second read is a cluster */
    while (PortPollIo())
    {
    }
    assert_true(MiStandbyPages() != 0);
    assert_true(MiIsTransition(TestPte(Process, BASE + 40 * PAGE_SIZE)) ||
                MiIsPagedOut(TestPte(Process, BASE + 40 * PAGE_SIZE)));
    MiPurgeStandby(7);
    TestComparePages(BASE, 64, 13);
}

static void prefetching_brings_pages_to_standby_without_waiting(void **State)
{
    ULONG64 Soft = 0, Hard = 0;

    (void)State;
    TestCommit(Process, BASE, 4, MM_READWRITE);
    TestFillPages(BASE, 4, 14);
    TestEvict(Process, BASE, 4);
    MiPrefetchAddress(&Process->Space, BASE, 4);
    assert_true(TestPfn(Process, BASE)->e1.ReadInProgress);
    while (PortPollIo())
    {
    }
    assert_int_equal(TestPfn(Process, BASE)->e1.PageLocation, StandbyPageList);
    TestCounted(MiCounterTransitionFaults, &Soft);
    TestCounted(MiCounterPagingFileFaults, &Hard);
    TestComparePages(BASE, 4, 14);
    assert_true(TestCounted(MiCounterTransitionFaults, &Soft) != 0);
    assert_int_equal(TestCounted(MiCounterPagingFileFaults, &Hard), 0);
}

/* ---- Page tables --------------------------------------------------------------------------------------- */

static void page_tables_leave_memory_and_come_back(void **State)
{
    const ULONG_PTR Step = MI_LEVEL_BYTES(1);
    PFN_NUMBER Before;
    SIZE_T Tables;

    (void)State;
    TestCommit(Process, BASE, 8 * 512, MM_READWRITE);
    for (ULONG Table = 0; Table < 8; Table++)
    {
        TestPut(BASE + Table * Step, Table + 1);
    }
    Tables = Process->Space.PageTablePages;
    TestEvict(Process, BASE, 8 * 512);
    Before = MiAvailablePages();
    assert_true(MiTrimPageTables(&Process->Space) >= 8);
    MiFlushModifiedPages();
    MiPurgeStandby(7);
    assert_true(MiTrimPageTables(&Process->Space) !=
                0); /* and the tables above them, now that nothing is in transition */
    MiFlushModifiedPages();
    MiPurgeStandby(7);
    assert_true(MiAvailablePages() >= Before + 9);
    assert_int_equal(Process->Space.PageTablePages, Tables); /* still charged, still the process's */
    for (ULONG Table = 0; Table < 8; Table++)
    {
        assert_int_equal(TestGet(BASE + Table * Step), Table + 1);
        assert_int_equal(TestGet(BASE + Table * Step + PAGE_SIZE), 0);
    }
    assert_int_equal(Process->Space.PageTablePages, Tables);
}

static void a_page_table_is_deleted_while_it_is_being_written(void **State)
{
    const ULONG_PTR Step = MI_LEVEL_BYTES(1);

    (void)State;
    TestCommit(Process, BASE, 4 * 512, MM_READWRITE);
    for (ULONG Table = 0; Table < 4; Table++)
    {
        TestPut(BASE + Table * Step, Table + 1);
    }
    TestEvict(Process, BASE, 4 * 512);
    assert_true(MiTrimPageTables(&Process->Space) != 0);
    /* The write is begun and not ended; the tables come back meanwhile, and the process ends. */
    __atomic_fetch_add(&MiState.Paging->Flushers, 1, __ATOMIC_RELAXED);
    assert_true(MiModifiedWriterStep(NULL));
    __atomic_fetch_sub(&MiState.Paging->Flushers, 1, __ATOMIC_RELAXED);
    assert_true(MiState.Paging->PagesInFlight != 0);
    TestEnter(NULL);
    TestDeleteProcess(Process);
    while (PortPollIo())
    {
    }
    assert_int_equal(TestSlotsInUse(), 0);
    Process = TestCreateProcess();
    TestEnter(Process);
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
#define TEST(Name) cmocka_unit_test_setup_teardown(Name, setup, teardown)
        TEST(a_page_that_nobody_wrote_reads_as_zero_and_stays_clean),
        TEST(a_page_that_was_only_read_costs_no_slot),
        TEST(a_first_write_makes_the_page_dirty_and_a_later_one_too),
        TEST(frames_come_zeroed_although_they_held_something),
        TEST(a_trimmed_clean_page_comes_back_from_standby),
        TEST(a_trimmed_dirty_page_comes_back_from_the_modified_list_and_is_still_modified),
        TEST(a_page_comes_back_from_the_paging_file_clean_and_with_its_slot),
        TEST(pages_trimmed_together_are_written_together_in_address_order),
        TEST(reading_in_order_reads_ahead_in_growing_clusters),
        TEST(reading_at_random_reads_single_pages),
        TEST(pages_that_came_along_and_were_not_used_wait_on_standby),
        TEST(prefetching_brings_pages_to_standby_without_waiting),
        TEST(page_tables_leave_memory_and_come_back),
        TEST(a_page_table_is_deleted_while_it_is_being_written),
    };

    return cmocka_run_group_tests_name("fault kinds", Tests, NULL, NULL);
}
