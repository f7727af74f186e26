/* SPDX-License-Identifier: MIT */
/*
 * Reads that take their time: collided faults, pages that go away while they are being read, faults elsewhere
 * meanwhile; and what a fault does when frames or in-page blocks are wanting.
 */
#include "pages.h"

#include <errno.h>

#define BASE TEST_BASE
#define SLOW 100000000ull /* nanoseconds */

static PEPROCESS Process;

static int Boot(const TEST_MACHINE *Machine)
{
    TestBootMachine(Machine);
    Process = TestCreateProcess();
    return 0;
}

static int setup_threads(void **State)
{
    static const TEST_MACHINE Machine = {
        .RamMegabytes = 8, .Processors = 2, .PagingFiles = 1, .Workers = TRUE
    };

    (void)State;
    return Boot(&Machine);
}

static int setup(void **State)
{
    static const TEST_MACHINE Machine = {
        .RamMegabytes = 4, .Deterministic = TRUE, .Seed = 2, .PagingFiles = 1, .Workers = TRUE
    };

    (void)State;
    return Boot(&Machine);
}

static int setup_without_paging_file(void **State)
{
    static const TEST_MACHINE Machine = {
        .RamMegabytes = 4, .Deterministic = TRUE, .Seed = 2, .Workers = TRUE
    };

    (void)State;
    return Boot(&Machine);
}

static int teardown(void **State)
{
    (void)State;
    return TestShutdownWithProcess(Process);
}

/* Pages with contents, in the paging file only; the calling thread is in no process afterwards. */
static void MakeOut(SIZE_T Pages, ULONG64 Seed)
{
    TestCommit(Process, BASE, Pages, MM_READWRITE);
    TestEnter(Process);
    TestFillPages(BASE, Pages, Seed);
    TestEvict(Process, BASE, Pages);
    TestEnter(NULL);
    assert_true(MiIsPagedOut(TestPte(Process, BASE)));
}

static void Slow(int Error)
{
    HOST_STORAGE_FAULT Fault = { .Storage = TestStorage(0),
                                 .Kind = HOST_FAULT_READ,
                                 .Nth = 1,
                                 .Count = 1,
                                 .Delay = SLOW,
                                 .Error = Error };

    assert_true(HostStorageInject(&Fault));
}

static BOOLEAN IsBeingRead(ULONG_PTR Va)
{
    MMPTE Pte = TestPte(Process, Va);
    BOOLEAN Reading = FALSE;

    if (MiIsTransition(Pte))
    {
        PMMPFN Pfn = MiPfn(Pte.Trans.PageFrameNumber);
        KIRQL OldIrql = KiRaiseIrqlToDispatch();

        MiLockPfn(Pfn);
        Reading = Pfn->e1.ReadInProgress;
        MiUnlockPfn(Pfn);
        KiLowerIrqlFromDispatch(OldIrql);
    }
    return Reading;
}

static void WaitUntilRead(ULONG_PTR Va)
{
    while (!IsBeingRead(Va))
    {
        PortYield();
    }
}

/* ---- Collided faults ----------------------------------------------------------------------------------- */

static struct
{
    ULONG64 Value[3];
    NTSTATUS Status[3];
    EXCEPTION_RECORD Record[3];
} Seen;

static void ReadSamePage(ULONG Index, void *Context)
{
    (void)Context;
    TestEnter(Process);
    if (Index != 0)
    {
        WaitUntilRead(BASE);
    }
    Seen.Status[Index] = TestRead(BASE + 8 * Index, &Seen.Value[Index], &Seen.Record[Index]);
    TestEnter(NULL);
}

static void faults_on_a_page_that_is_being_read_wait_for_that_read(void **State)
{
    ULONG64 Reads = 0, Collided = 0;

    (void)State;
    MakeOut(1, 71);
    TestCounted(MiCounterPageReads, &Reads);
    TestCounted(MiCounterCollidedFaults, &Collided);
    Slow(0);
    TestRunThreads(3, ReadSamePage, NULL);
    for (ULONG Index = 0; Index < 3; Index++)
    {
        assert_int_equal(Seen.Status[Index], STATUS_SUCCESS);
        assert_int_equal(Seen.Value[Index], 71 + Index);
    }
    assert_int_equal(TestCounted(MiCounterPageReads, &Reads), 1);
    assert_true(TestCounted(MiCounterCollidedFaults, &Collided) >= 2);
}

static void a_read_that_fails_fails_for_all_who_wait_for_it(void **State)
{
    (void)State;
    MakeOut(1, 72);
    /* Or the frame that does not get the page could still have it from before. */
    while (MiZeroPagesStep(NULL))
    {
    }
    Slow(EIO);
    TestRunThreads(3, ReadSamePage, NULL);
    for (ULONG Index = 0; Index < 3; Index++)
    {
        assert_int_equal(Seen.Status[Index], STATUS_IN_PAGE_ERROR);
        assert_int_equal(Seen.Record[Index].ExceptionInformation[1], BASE + 8 * Index);
        assert_int_equal((NTSTATUS)Seen.Record[Index].ExceptionInformation[2], STATUS_IO_DEVICE_ERROR);
    }
    TestEnter(Process);
    TestComparePages(BASE, 1, 72);
}

static void ReadOrWorkElsewhere(ULONG Index, void *Context)
{
    volatile ULONG *Faults = Context;

    TestEnter(Process);
    if (Index == 0)
    {
        Seen.Status[0] = TestRead(BASE, &Seen.Value[0], NULL);
    }
    else
    {
        WaitUntilRead(BASE);
        while (IsBeingRead(BASE) && *Faults < 100)
        {
            TestPut(BASE + (8 + *Faults) * PAGE_SIZE, 5);
            *Faults += 1;
        }
    }
    TestEnter(NULL);
}

static void a_slow_read_does_not_hold_up_other_faults_of_the_process(void **State)
{
    volatile ULONG Faults = 0;

    (void)State;
    MakeOut(108, 73);
    TestDecommit(Process, BASE + 8 * PAGE_SIZE, 100);
    TestProtect(Process, BASE + 8 * PAGE_SIZE, 100, MM_READWRITE); /* demand zero, in the same page table */
    Slow(0);
    TestRunThreads(2, ReadOrWorkElsewhere, (void *)&Faults);
    assert_int_equal(Faults, 100);
    assert_int_equal(Seen.Value[0], 73);
}

static void ReadOrDecommit(ULONG Index, void *Context)
{
    (void)Context;
    if (Index == 0)
    {
        TestEnter(Process);
        Seen.Status[0] = TestRead(BASE, &Seen.Value[0], NULL);
        TestEnter(NULL);
        return;
    }
    WaitUntilRead(BASE);
    TestDecommit(Process, BASE, 1);
    Seen.Value[1] = TestSlotsInUse();
}

static void a_page_may_be_decommitted_while_it_is_being_read(void **State)
{
    (void)State;
    for (ULONG Error = 0; Error < 2; Error++)
    {
        MakeOut(1, 74);
        Slow(Error != 0 ? EIO : 0);
        TestRunThreads(2, ReadOrDecommit, NULL);
        assert_int_equal(Seen.Status[0], Error != 0 ? STATUS_IN_PAGE_ERROR : STATUS_ACCESS_VIOLATION);
        assert_int_equal(Seen.Value[1], 0); /* the slot went at once */
        TestDeleteProcess(Process);
        Process = TestCreateProcess();
    }
}

/* ---- Wanting frames and blocks ------------------------------------------------------------------------- */

static PMMINPAGE_SUPPORT Taken[MI_INPAGE_BLOCKS];
static KI_WORKER Giver;

static BOOLEAN GiveBlocksBack(PVOID Context)
{
    (void)Context;
    for (ULONG Index = 0; Index < MI_INPAGE_BLOCKS && Taken[Index] != NULL; Index++)
    {
        MiDereferenceInPage(Taken[Index]);
        Taken[Index] = NULL;
    }
    return FALSE;
}

static void a_fault_waits_for_an_in_page_block(void **State)
{
    (void)State;
    MakeOut(1, 75);
    for (ULONG Index = 0; Index < MI_INPAGE_BLOCKS; Index++)
    {
        Taken[Index] = MiAllocateInPage();
        assert_non_null(Taken[Index]);
    }
    assert_null(MiAllocateInPage());
    assert_int_equal(KiStartWorker(&Giver, "giver", GiveBlocksBack, NULL, 700000000), STATUS_SUCCESS);
    TestEnter(Process);
    TestComparePages(BASE, 1, 75);
    KiStopWorker(&Giver);
    assert_int_equal(MiState.Paging->InPageInUse, 0);
}

static void a_fault_for_which_no_frame_ever_comes_ends_in_no_memory(void **State)
{
    EXCEPTION_RECORD Record;

    (void)State;
    TestCommit(Process, BASE, 1, MM_READWRITE);
    TestEnter(Process);
    KiSetInjection(KiInjectFrame, 1, TRUE);
    assert_int_equal(TestWrite(BASE, 1, &Record), STATUS_NO_MEMORY);
    KiSetInjection(KiInjectFrame, 0, FALSE);
    TestPut(BASE, 1);
}

static void one_frame_that_does_not_come_is_waited_for(void **State)
{
    ULONG64 Failed = 0;

    (void)State;
    TestCommit(Process, BASE, 1, MM_READWRITE);
    TestEnter(Process);
    KiSetInjection(KiInjectFrame, 1, FALSE);
    TestPut(BASE, 1);
    KiQueryInjection(KiInjectFrame, &Failed);
    assert_int_equal(Failed, 1);
    KiSetInjection(KiInjectFrame, 0, FALSE);
}

/* What was promised is kept: all that can be committed can be touched. */
static void all_that_can_be_committed_without_a_paging_file_can_be_touched(void **State)
{
    SIZE_T Pages = 0;

    (void)State;
    while (MiChargeCommitment(1, 0))
    {
        Pages++;
    }
    MiReturnCommitment(Pages);
    Pages -= 12; /* page tables and the VAD's pool */
    TestCommit(Process, BASE, Pages, MM_READWRITE);
    TestEnter(Process);
    for (SIZE_T Page = 0; Page < Pages; Page++)
    {
        TestPut(BASE + Page * PAGE_SIZE, Page);
    }
    for (SIZE_T Page = 0; Page < Pages; Page++)
    {
        assert_int_equal(TestGet(BASE + Page * PAGE_SIZE), Page);
    }
}

/* Nothing can ever come: one wait of a minute, not thousands. */
static void a_fault_in_a_full_machine_ends_after_one_wait(void **State)
{
    PFN_NUMBER List = 0, Frame;
    EXCEPTION_RECORD Record;
    ULONG64 Begin;

    (void)State;
    TestCommit(Process, BASE, 2, MM_READWRITE);
    TestEnter(Process);
    TestPut(BASE, 1); /* the page table */
    while ((Frame = MiAllocatePage(0)) != 0)
    {
        *(PFN_NUMBER *)PortDirectMap(Frame) = List;
        List = Frame;
    }
    Begin = KiQueryTime();
    assert_int_equal(TestWrite(BASE + PAGE_SIZE, 1, &Record), STATUS_NO_MEMORY);
    assert_in_range(KiQueryTime() - Begin, 50ull * 1000000000, 120ull * 1000000000);
    while (List != 0)
    {
        Frame = List;
        List = *(PFN_NUMBER *)PortDirectMap(Frame);
        MiFreePage(Frame);
    }
    TestPut(BASE + PAGE_SIZE, 2);
    assert_int_equal(TestGet(BASE), 1);
}

static void clean_pages_are_found_although_the_paging_file_is_full_of_errors(void **State)
{
    HOST_STORAGE_FAULT Fault = {
        .Storage = TestStorage(0), .Kind = HOST_FAULT_WRITE, .Nth = 1, .Count = 0, .Error = EIO
    };

    (void)State;
    /*
     * 500 pages that are in the paging file, read back in: clean; then 800 new ones below them, where the
     * hand begins.
     */
    MakeOut(500, 76);
    assert_true(HostStorageInject(&Fault));
    TestEnter(Process);
    TestComparePages(BASE, 500, 76);
    TestCommit(Process, BASE - 0x10000000, 800, MM_READWRITE);
    TestFillPages(BASE - 0x10000000, 800, 77);
    HostStorageClearFaults();
    TestComparePages(BASE, 500, 76);
    TestComparePages(BASE - 0x10000000, 800, 77);
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
#define TEST(Name, Setup) cmocka_unit_test_setup_teardown(Name, Setup, teardown)
        TEST(faults_on_a_page_that_is_being_read_wait_for_that_read, setup_threads),
        TEST(a_read_that_fails_fails_for_all_who_wait_for_it, setup_threads),
        TEST(a_slow_read_does_not_hold_up_other_faults_of_the_process, setup_threads),
        TEST(a_page_may_be_decommitted_while_it_is_being_read, setup_threads),
        TEST(a_fault_waits_for_an_in_page_block, setup),
        TEST(a_fault_for_which_no_frame_ever_comes_ends_in_no_memory, setup),
        TEST(one_frame_that_does_not_come_is_waited_for, setup),
        TEST(all_that_can_be_committed_without_a_paging_file_can_be_touched, setup_without_paging_file),
        TEST(a_fault_in_a_full_machine_ends_after_one_wait, setup_without_paging_file),
        TEST(clean_pages_are_found_although_the_paging_file_is_full_of_errors, setup),
    };

    return cmocka_run_group_tests_name("in-page", Tests, NULL, NULL);
}
