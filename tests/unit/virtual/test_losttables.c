/* SPDX-License-Identifier: MIT */
/*
 * A process ends whose page tables are in a paging file that cannot be read any more. Nobody can say what they named; the machine lives on, and
 * gives back all that it still knows of.
 */
#include "process.h"

#include "storage.h"

#include <errno.h>

#define TABLES 8u

static const ULONG_PTR Step = MI_LEVEL_BYTES(1);

static int enter(void **state)
{
    static const TEST_MACHINE machine = { .Deterministic = TRUE, .Seed = 3, .PagingFiles = 1 };

    (void)state;
    TestEnterProcess(&machine);
    return 0;
}

/* A process whose pages are paged out, and its tables, Levels of them. */
static PEPROCESS paged_out_process(ULONG levels)
{
    PEPROCESS other = TestNewProcess("lost");
    ULONG_PTR base;

    TestRunInProcess(other);
    base = TestVmAllocate(0, TABLES * Step, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    for (ULONG table = 0; table < TABLES; table++)
    {
        TestVmFill(base + table * Step, 3, table);
    }
    MiEmptyWorkingSet(&other->Space);
    for (ULONG level = 0; level <= levels; level++)
    {
        MiFlushModifiedPages();
        MiPurgeStandby(MI_PRIORITIES - 1);
        if (level < levels)
        {
            assert_true(MiTrimPageTables(&other->Space) != 0);
        }
    }
    TestRunInProcess(TestUserProcess);
    return other;
}

static void end_unreadable_process(ULONG levels)
{
    PEPROCESS other;
    ULONG_PTR mine;
    SIZE_T charged;

    MiTrimPool();
    charged = MiState.Physical->CommittedPages;
    other = paged_out_process(levels);
    assert_true(MiState.Physical->CommittedPages > charged + TABLES * 512);
    assert_true(HostStorageInject(&(HOST_STORAGE_FAULT){ .Kind = HOST_FAULT_READ, .Nth = 1, .Error = EIO }));
    TestEndProcess(other);
    MiTrimPool(); /* it keeps empty pages */
    HostStorageClearFaults();
    assert_true(MiQueryCounter(MiCounterPageTablesLost) != 0);
    assert_int_equal(MiState.Physical->CommittedPages,
                     charged); /* whatever it was, it is not promised any more */
    /* And on it goes: paging works, with the slots that are left. */
    mine = TestVmAllocate(0, 64 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    TestVmFill(mine, 64, 9);
    TestVmPageOut();
    TestVmCheck(mine, 64, 9);
    TestVmFree(mine, 0, MEM_RELEASE);
}

static void leaf_tables_that_cannot_be_read_are_given_up(void **state)
{
    (void)state;
    end_unreadable_process(1);
}

static void tables_above_that_cannot_be_read_take_those_below_along(void **state)
{
    (void)state;
    end_unreadable_process(2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(leaf_tables_that_cannot_be_read_are_given_up, enter,
                                        TestLeaveFixture),
        cmocka_unit_test_setup_teardown(tables_above_that_cannot_be_read_take_those_below_along, enter,
                                        TestLeaveFixture),
    };

    return cmocka_run_group_tests_name("virtual.losttables", tests, NULL, NULL);
}
