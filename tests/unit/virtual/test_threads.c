/* SPDX-License-Identifier: MIT */
/*
 * Services of one process called from several processors at once, over memory that is too small: no page is
 * lost, no charge is wrong, nothing is left. Run under the thread sanitizer, too.
 */
#include "pages.h"
#include "process.h"

#include <time.h>

#define THREADS 4
#define PAGES   600

static PEPROCESS shared;
static ULONG_PTR shared_base; /* PAGES pages in which each thread owns every THREADSth */

static void enter(void)
{
    assert_int_equal(HostSetThreadSimulated(TRUE), STATUS_SUCCESS);
    TestRunInProcess(shared);
}

static void leave(void)
{
    TestRunInProcess(NULL);
    assert_int_equal(HostSetThreadSimulated(FALSE), STATUS_SUCCESS);
}

/* An allocation of its own, through every service that changes it. */
static void own_region(TEST_RANDOM *random)
{
    ULONG_PTR base = TestVmAllocate(0, PAGES * PAGE_SIZE, MEM_RESERVE, PAGE_READWRITE);
    ULONG_PTR first = base + TestBelow(random, PAGES / 2) * PAGE_SIZE;
    SIZE_T pages = 1 + TestBelow(random, PAGES / 2);

    TestVmAllocate(first, pages * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    TestVmFill(first, pages, pages);
    TestVmProtect(first, pages * PAGE_SIZE, PAGE_READONLY);
    TestVmCheck(first, pages, pages);
    TestVmProtect(first, pages * PAGE_SIZE, PAGE_READWRITE);
    TestVmFree(first, PAGE_SIZE, MEM_DECOMMIT);
    TestVmAllocate(base, PAGES * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    TestVmCheckZero(first, 1);
    if (pages > 1)
    {
        TestVmCheck(first + PAGE_SIZE, pages - 1, pages);
    }
    TestVmQuery(first);
    TestVmFree(base, 0, MEM_RELEASE);
}

static void shared_region(ULONG index, ULONG64 round)
{
    for (ULONG page = index; page < PAGES; page += THREADS)
    {
        ULONG64 value = round * THREADS + index;
        ULONG64 read = 0;
        SIZE_T copied;

        assert_int_equal(HostSimWrite(shared_base + page * PAGE_SIZE, &value, sizeof(value), NULL),
                         STATUS_SUCCESS);
        assert_int_equal(NtReadVirtualMemory(NtCurrentProcess(), (PVOID)(shared_base + page * PAGE_SIZE),
                                             &read, sizeof(read), &copied),
                         STATUS_SUCCESS);
        assert_true(read == value);
    }
}

static void work(ULONG index, void *context)
{
    TEST_RANDOM random = { .State = index + 1 };
    ULONG64 rounds = TestIterations(30);

    (void)context;
    enter();
    for (ULONG64 round = 0; round < rounds; round++)
    {
        own_region(&random);
        shared_region(index, round);
        if (TestBelow(&random, 4) == 0)
        {
            TestVmTrimAll();
        }
        if (TestBelow(&random, 8) == 0)
        {
            HANDLE child;

            assert_int_equal(NtCreateProcess(&child, PROCESS_ALL_ACCESS, NULL, NtCurrentProcess(), FALSE,
                                             NULL, NULL, NULL),
                             STATUS_SUCCESS);
            assert_int_equal(NtTerminateProcess(child, 0), STATUS_SUCCESS);
            assert_int_equal(NtClose(child), STATUS_SUCCESS);
        }
    }
    leave();
}

static void services_on_several_processors_do_not_disturb_each_other(void **state)
{
    static const TEST_MACHINE machine = {
        .RamMegabytes = 6, .Processors = 2, .PagingFiles = 1, .PagingMegabytes = 32, .Workers = TRUE
    };

    (void)state;
    TestEnterProcess(&machine);
    shared = TestUserProcess;
    shared_base = TestVmAllocate(0, PAGES * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    TestRunThreads(THREADS, work, NULL);
    assert_int_equal(TestVmCharge(), PAGES);
    assert_true(MiQueryCounter(MiCounterPagesOutput) != 0); /* memory was too small indeed */
    for (ULONG page = 0; page < PAGES; page++)
    {
        ULONG64 value = 0;

        assert_int_equal(HostSimRead(shared_base + page * PAGE_SIZE, &value, sizeof(value), NULL),
                         STATUS_SUCCESS);
        assert_true(value == (TestIterations(30) - 1) * THREADS + page % THREADS);
    }
    TestLeaveProcess();
}

static PMMPFN late_table;
static ULONG_PTR late_base;

/*
 * What a processor does that takes a standby frame away, stretched: the entry of the table is written already, the share is not yet given back.
 * (NTMM_SEED=1795910715715984 of model.threads met it.)
 */
static void late_share(ULONG index, void *context)
{
    const struct timespec While = { 0, 20 * 1000 * 1000 };

    (void)context;
    enter();
    if (index == 0)
    {
        while (__atomic_load_n(&late_table->u1.UsedPageTableEntries, __ATOMIC_RELAXED) != 0)
        {
            PortYield();
        }
        nanosleep(&While, NULL);
        assert_int_equal(__atomic_load_n(&late_table->u1.ShareCount, __ATOMIC_RELAXED), 2); /* still there */
        MiDecrementPageTableShare(PortDirectMap(MiPfnFrame(late_table)));
    }
    else
    {
        TestVmFree(late_base, 0, MEM_RELEASE);
    }
    leave();
}

static void an_empty_table_waits_for_its_last_share(void **state)
{
    static const TEST_MACHINE machine = { .RamMegabytes = 6, .Processors = 2, .Workers = TRUE };
    ULONG64 tables;
    ULONG_PTR page;

    (void)state;
    TestEnterProcess(&machine);
    shared = TestUserProcess;
    tables = shared->Space.PageTablePages;
    late_base = TestVmAllocate(0, 3 * MI_LEVEL_BYTES(1), MEM_RESERVE, PAGE_READWRITE);
    page = ALIGN_UP_BY(late_base + PAGE_SIZE, MI_LEVEL_BYTES(1)); /* nobody else is in its page table */
    TestVmAllocate(page, PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    TestVmFill(page, 1, 1);
    late_table = MiPtePage(TestPfn(shared, page)->PteAddress);
    MiIncrementPageTableShare(PortDirectMap(MiPfnFrame(late_table)));
    TestRunThreads(2, late_share, NULL);
    assert_int_equal(shared->Space.PageTablePages, tables);
    TestLeaveProcess();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(services_on_several_processors_do_not_disturb_each_other),
        cmocka_unit_test(an_empty_table_waits_for_its_last_share),
    };

    return cmocka_run_group_tests_name("virtual.threads", tests, NULL, NULL);
}
