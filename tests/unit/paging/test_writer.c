/* SPDX-License-Identifier: MIT */
/*
 * The modified page writer, and pages that are touched, changed or deleted while they are being written;
 * disks that fail, fill up, fall short or lose their files. Whatever happens, contents are right or the
 * process is told.
 */
#include "pages.h"

#include <errno.h>

#define BASE TEST_BASE

static PEPROCESS Process;

static int Boot(const TEST_MACHINE *Machine)
{
    Process = TestBootInProcess(Machine);
    return 0;
}

static int setup(void **State)
{
    static const TEST_MACHINE Machine = { .RamMegabytes = 8,
                                          .Deterministic = TRUE,
                                          .Seed = 6,
                                          .PagingFiles = 1,
                                          .PagingMegabytes = 4,
                                          .PagingMaximum = 64,
                                          .Workers = TRUE };

    (void)State;
    return Boot(&Machine);
}

static int setup_two_files(void **State)
{
    static const TEST_MACHINE Machine = { .RamMegabytes = 8,
                                          .Deterministic = TRUE,
                                          .Seed = 6,
                                          .PagingFiles = 2,
                                          .PagingMegabytes = 4,
                                          .Workers = TRUE };

    (void)State;
    return Boot(&Machine);
}

static int setup_fixed(void **State)
{
    static const TEST_MACHINE Machine = { .RamMegabytes = 16,
                                          .Deterministic = TRUE,
                                          .Seed = 6,
                                          .PagingFiles = 1,
                                          .PagingMegabytes = 4,
                                          .Workers = TRUE };

    (void)State;
    return Boot(&Machine);
}

static int setup_no_file(void **State)
{
    static const TEST_MACHINE Machine = {
        .RamMegabytes = 8, .Deterministic = TRUE, .Seed = 6, .Workers = TRUE
    };

    (void)State;
    return Boot(&Machine);
}

static int teardown(void **State)
{
    (void)State;
    return TestShutdownWithProcess(Process);
}

/* Dirty pages on the modified list. */
static void MakeModified(SIZE_T Pages, ULONG64 Seed)
{
    TestCommit(Process, BASE, Pages, MM_READWRITE);
    TestFillPages(BASE, Pages, Seed);
    TestTrim(Process, BASE, Pages);
    assert_int_equal(MiModifiedPages(), Pages);
}

/* Begins one write of what is on the modified list; it ends with FinishIo. */
static void BeginWrite(void)
{
    __atomic_fetch_add(&MiState.Paging->Flushers, 1, __ATOMIC_RELAXED);
    assert_true(MiModifiedWriterStep(NULL));
    __atomic_fetch_sub(&MiState.Paging->Flushers, 1, __ATOMIC_RELAXED);
    assert_true(MiState.Paging->PagesInFlight != 0);
}

static void FinishIo(void)
{
    while (PortPollIo())
    {
    }
    assert_int_equal(MiState.Paging->PagesInFlight, 0);
    assert_int_equal(MiState.Paging->WritesInFlight, 0);
}

static void Inject(PORT_STORAGE *Storage, ULONG64 Count, int Error, ULONG Short)
{
    HOST_STORAGE_FAULT Fault = { .Storage = Storage,
                                 .Kind = HOST_FAULT_WRITE,
                                 .Nth = 1,
                                 .Count = Count,
                                 .Error = Error,
                                 .ShortBytes = Short };

    assert_true(HostStorageInject(&Fault));
}

/* ---- While a page is being written --------------------------------------------------------------------- */

static void a_written_page_goes_to_standby_with_its_slot(void **State)
{
    PMMPFN Pfn;

    (void)State;
    MakeModified(3, 1);
    Pfn = TestPfn(Process, BASE);
    BeginWrite();
    assert_true(Pfn->e1.WriteInProgress);
    assert_int_equal(Pfn->ReferenceCount, 1);
    FinishIo();
    assert_int_equal(Pfn->e1.PageLocation, StandbyPageList);
    assert_false(Pfn->e1.Modified);
    assert_true(MiIsPagedOut(Pfn->OriginalPte));
    assert_int_equal(TestSlotsInUse(), 3);
}

static void a_page_that_is_read_while_it_is_being_written_keeps_its_slot(void **State)
{
    PMMPFN Pfn;

    (void)State;
    MakeModified(1, 2);
    Pfn = TestPfn(Process, BASE);
    BeginWrite();
    TestComparePages(BASE, 1, 2); /* no wait: it is there */
    assert_true(Pfn->e1.WriteInProgress);
    FinishIo();
    assert_true(MiIsPagedOut(Pfn->OriginalPte));
    TestTrim(Process, BASE, 1);
    assert_int_equal(Pfn->e1.PageLocation, StandbyPageList);
}

static void a_page_that_is_changed_while_it_is_being_written_is_written_again(void **State)
{
    PMMPFN Pfn;

    (void)State;
    for (ULONG Form = 0; Form < 2; Form++)
    {
        if (Form == 0)
        {
            MakeModified(1, 3);
        }
        else
        {
            TestTrim(Process, BASE, 1);
        }
        Pfn = TestPfn(Process, BASE);
        BeginWrite();
        TestPut(BASE + 8, 1000 + Form);
        if (Form == 1)
        {
            TestTrim(Process, BASE, 1); /* trimmed, too, before the write ends */
            FinishIo();
            assert_int_equal(Pfn->e1.PageLocation, ModifiedPageList);
            assert_int_equal(TestSlotsInUse(), 0);
        }
        else
        {
            FinishIo();
            TestTrim(Process, BASE, 1);
            assert_int_equal(Pfn->e1.PageLocation, ModifiedPageList);
            assert_int_equal(TestSlotsInUse(), 0);
        }
        TestEvict(Process, BASE, 1);
        assert_int_equal(TestGet(BASE + 8), 1000 + Form);
        TestPut(BASE, 3);
    }
}

static void a_page_that_is_decommitted_while_it_is_being_written_goes_when_the_write_ends(void **State)
{
    PFN_NUMBER Available;

    (void)State;
    MakeModified(5, 4);
    BeginWrite();
    Available = MiAvailablePages();
    TestDecommit(Process, BASE, 5);
    assert_int_equal(MiAvailablePages(), Available);
    assert_int_equal(TestSlotsInUse(), 5); /* the write's */
    FinishIo();
    assert_int_equal(MiAvailablePages(), Available + 5);
    assert_int_equal(TestSlotsInUse(), 0);
}

/* ---- When the writer writes ---------------------------------------------------------------------------- */

static void the_writer_begins_when_the_modified_list_is_long(void **State)
{
    SIZE_T Threshold = MiState.Physical->ModifiedThreshold;

    (void)State;
    MakeModified(Threshold - 1, 5);
    KiAdvanceTime(1000000000);
    KiStepWorkers();
    assert_int_equal(MiQueryCounter(MiCounterPageWrites), 0);
    TestCommit(Process, BASE + 0x10000000, 1, MM_READWRITE);
    TestPut(BASE + 0x10000000, 1);
    TestTrim(Process, BASE + 0x10000000, 1);
    while (KiStepWorkers())
    {
    }
    assert_true(MiQueryCounter(MiCounterPageWrites) != 0);
    assert_int_equal(MiModifiedPages(), 0);
}

/* Written ahead of need: the last slots are for those who have no memory left, or ask for it. */
static void writing_ahead_leaves_a_reserve_of_slots(void **State)
{
    PMMPAGING_FILE File = MiState.Paging->Files[0];
    SIZE_T Left = MI_WRITE_CLUSTER + MiSlotReserve() / 2; /* a cluster more would touch the reserve */
    SIZE_T Written = File->FreeSpace - Left;
    SIZE_T Modified = MiState.Physical->ModifiedThreshold + MI_WRITE_CLUSTER;

    (void)State;
    assert_true(MiSlotReserve() / 2 != 0 && File->MaximumSize == File->Size);
    MakeModified(Written, 7);
    MiFlushModifiedPages();
    assert_int_equal(File->FreeSpace, Left);
    TestCommit(Process, BASE + 0x10000000, Modified, MM_READWRITE);
    TestFillPages(BASE + 0x10000000, Modified, 8);
    TestTrim(Process, BASE + 0x10000000, Modified);
    for (ULONG Second = 0; Second < 3; Second++)
    {
        KiAdvanceTime(1000000000);
        while (KiStepWorkers())
        {
        }
    }
    assert_int_equal(MiModifiedPages(), Modified);
    assert_int_equal(File->FreeSpace, Left);
    MiFlushModifiedPages();
    assert_int_equal(File->FreeSpace, 0);
    assert_int_equal(MiModifiedPages(), Modified - Left);
    TestComparePages(BASE, Written, 7);
    TestComparePages(BASE + 0x10000000, Modified, 8);
}

static void both_paging_files_are_written_to(void **State)
{
    (void)State;
    MakeModified(1000, 6);
    TestEvict(Process, BASE, 1000);
    assert_int_equal(TestSlotsInUse(), 1000);
    assert_true(MiState.Paging->Files[0]->WritePages >= 300);
    assert_true(MiState.Paging->Files[1]->WritePages >= 300);
    TestComparePages(BASE, 1000, 6);
}

static void without_a_paging_file_modified_pages_stay_and_a_flush_returns(void **State)
{
    ULONG64 Before = KiQueryTime();

    (void)State;
    MakeModified(10, 7);
    MiFlushModifiedPages();
    assert_true(KiQueryTime() == Before);
    assert_int_equal(MiModifiedPages(), 10);
    assert_int_equal(MiPurgeStandby(7), 0);
    TestComparePages(BASE, 10, 7);
}

/* ---- Disks that fail ----------------------------------------------------------------------------------- */

static void a_page_that_could_not_be_written_stays_modified_and_is_retried_later(void **State)
{
    ULONG64 Errors = 0;

    (void)State;
    MakeModified(20, 8);
    TestCounted(MiCounterPageWriteErrors, &Errors);
    Inject(TestStorage(0), 3, EIO, 0);
    BeginWrite();
    FinishIo();
    assert_int_equal(TestCounted(MiCounterPageWriteErrors, &Errors), 1);
    assert_int_equal(MiModifiedPages(), 20);
    assert_int_equal(TestSlotsInUse(), 0);
    /* The file rests: nothing is tried, and nothing grows because of that. */
    MiState.Paging->Flushers++;
    assert_false(MiModifiedWriterStep(NULL));
    MiState.Paging->Flushers--;
    assert_int_equal(MiWritableSlots(), 0);
    assert_int_equal(MiState.Paging->Files[0]->Size, 4 * 256);
    for (ULONG Try = 0; Try < 3; Try++)
    {
        MiFlushModifiedPages(); /* the rest doubles with each error, and a flush has not that much patience */
    }
    assert_int_equal(TestCounted(MiCounterPageWriteErrors, &Errors), 2);
    assert_int_equal(MiModifiedPages(), 0);
    assert_int_equal(MiState.Paging->Files[0]->WriteErrors, 0);
    MiPurgeStandby(7);
    TestComparePages(BASE, 20, 8);
    assert_int_equal(MiState.Paging->Files[0]->Size, 4 * 256);
}

static void a_disk_that_never_writes_again_keeps_its_pages_in_memory(void **State)
{
    (void)State;
    MakeModified(20, 9);
    Inject(TestStorage(0), 0, EIO, 0);
    MiFlushModifiedPages(); /* gives up */
    assert_int_equal(MiModifiedPages(), 20);
    MiPurgeStandby(7);
    TestComparePages(BASE, 20, 9);
    assert_int_equal(MiState.Paging->Files[0]->Size, 4 * 256);
}

static void when_one_file_fails_the_other_takes_its_pages(void **State)
{
    (void)State;
    MakeModified(300, 10);
    Inject(TestStorage(0), 0, ENOSPC, 0);
    MiFlushModifiedPages();
    assert_int_equal(MiModifiedPages(), 0);
    assert_int_equal(MiState.Paging->Files[1]->Size - 1 - MiState.Paging->Files[1]->FreeSpace, 300);
    MiPurgeStandby(7);
    TestComparePages(BASE, 300, 10);
}

static void a_disk_that_fills_up_in_the_middle_of_a_cluster_loses_nothing(void **State)
{
    (void)State;
    MakeModified(100, 11);
    HostStorageSetCapacity(TestStorage(0), 40 << PAGE_SHIFT);
    MiFlushModifiedPages();
    MiPurgeStandby(7);
    TestComparePages(BASE, 100, 11);
    HostStorageSetCapacity(TestStorage(0), ~0ull);
    TestEvict(Process, BASE, 100);
    TestComparePages(BASE, 100, 11);
}

static void a_short_write_is_continued(void **State)
{
    (void)State;
    MakeModified(50, 12);
    Inject(TestStorage(0), 2, 0, 5 * PAGE_SIZE);
    MiFlushModifiedPages();
    assert_int_equal(MiQueryCounter(MiCounterPageWriteErrors), 0);
    MiPurgeStandby(7);
    TestComparePages(BASE, 50, 12);
}

static void a_file_that_became_shorter_costs_only_the_pages_that_are_gone(void **State)
{
    EXCEPTION_RECORD Record;
    SIZE_T First;

    (void)State;
    MakeModified(64, 13);
    TestEvict(Process, BASE, 64);
    First = (SIZE_T)TestPte(Process, BASE).Soft.PageFileHigh;
    assert_int_equal(PortSetStorageSize(TestStorage(0), (First + 32) << PAGE_SHIFT), STATUS_SUCCESS);
    TestComparePages(BASE, 32, 13); /* clusters that reach beyond the end included */
    for (ULONG Page = 32; Page < 64; Page += 7)
    {
        ULONG64 Value;

        assert_int_equal(TestRead(BASE + Page * PAGE_SIZE, &Value, &Record), STATUS_IN_PAGE_ERROR);
        assert_int_equal((NTSTATUS)Record.ExceptionInformation[2], STATUS_END_OF_FILE);
    }
    /* The machine lives, also with this file: it is written, and grows again. */
    TestCommit(Process, BASE + 0x10000000, 200, MM_READWRITE);
    TestFillPages(BASE + 0x10000000, 200, 14);
    TestEvict(Process, BASE + 0x10000000, 200);
    TestComparePages(BASE + 0x10000000, 200, 14);
}

static void an_injected_write_error_is_an_error_like_others(void **State)
{
    (void)State;
    MakeModified(4, 15);
    KiSetInjection(KiInjectWrite, 1, FALSE);
    MiFlushModifiedPages();
    assert_int_equal(MiQueryCounter(MiCounterPageWriteErrors), 1);
    assert_int_equal(MiModifiedPages(), 0);
    MiPurgeStandby(7);
    TestComparePages(BASE, 4, 15);
}

static void the_file_grows_when_it_has_no_slot_left(void **State)
{
    (void)State;
    TestCommit(Process, BASE, 1100, MM_READWRITE);
    TestFillPages(BASE, 1100, 16);
    TestEvict(Process, BASE, 1100);
    assert_true(MiState.Paging->Files[0]->Size > 4 * 256);
    assert_int_equal(TestSlotsInUse(), 1100);
    TestComparePages(BASE, 1100, 16);
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
#define TEST(Name, Setup) cmocka_unit_test_setup_teardown(Name, Setup, teardown)
        TEST(a_written_page_goes_to_standby_with_its_slot, setup),
        TEST(a_page_that_is_read_while_it_is_being_written_keeps_its_slot, setup),
        TEST(a_page_that_is_changed_while_it_is_being_written_is_written_again, setup),
        TEST(a_page_that_is_decommitted_while_it_is_being_written_goes_when_the_write_ends, setup),
        TEST(the_writer_begins_when_the_modified_list_is_long, setup),
        TEST(writing_ahead_leaves_a_reserve_of_slots, setup_fixed),
        TEST(both_paging_files_are_written_to, setup_two_files),
        TEST(without_a_paging_file_modified_pages_stay_and_a_flush_returns, setup_no_file),
        TEST(a_page_that_could_not_be_written_stays_modified_and_is_retried_later, setup),
        TEST(a_disk_that_never_writes_again_keeps_its_pages_in_memory, setup),
        TEST(when_one_file_fails_the_other_takes_its_pages, setup_two_files),
        TEST(a_disk_that_fills_up_in_the_middle_of_a_cluster_loses_nothing, setup),
        TEST(a_short_write_is_continued, setup),
        TEST(a_file_that_became_shorter_costs_only_the_pages_that_are_gone, setup),
        TEST(an_injected_write_error_is_an_error_like_others, setup),
        TEST(the_file_grows_when_it_has_no_slot_left, setup),
    };

    return cmocka_run_group_tests_name("writer", Tests, NULL, NULL);
}
