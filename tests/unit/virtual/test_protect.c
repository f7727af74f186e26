/* SPDX-License-Identifier: MIT */
/* NtProtectVirtualMemory on pages of every state, and the protections themselves. */
#include "process.h"

static void the_old_protection_is_that_of_the_first_page(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 4 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    (void)state;
    assert_int_equal(TestVmProtect(base + PAGE_SIZE, PAGE_SIZE, PAGE_READONLY), PAGE_READWRITE);
    assert_int_equal(TestVmProtect(base + PAGE_SIZE, 2 * PAGE_SIZE, PAGE_NOACCESS), PAGE_READONLY);
    assert_int_equal(TestVmProtect(base, 4 * PAGE_SIZE, PAGE_EXECUTE_READ), PAGE_READWRITE);
    assert_int_equal(TestVmProtect(base, 1, PAGE_READWRITE), PAGE_EXECUTE_READ);
    TEST_EXPECT_REGION(base, PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    TEST_EXPECT_REGION(base + PAGE_SIZE, 3 * PAGE_SIZE, MEM_COMMIT, PAGE_EXECUTE_READ);
    assert_int_equal(TestVmQuery(base + PAGE_SIZE).AllocationProtect, PAGE_READWRITE);
    assert_int_equal(TestVmCharge(), 4);
}

/* What each protection lets through: read, write, execute. */
static void every_protection_means_what_it_says(void **state)
{
    static const struct
    {
        ULONG Protect;
        BOOLEAN Read, Write, Execute;
    } rows[] = {
        { PAGE_NOACCESS, FALSE, FALSE, FALSE },
        { PAGE_READONLY, TRUE, FALSE, FALSE },
        { PAGE_READWRITE, TRUE, TRUE, FALSE },
        { PAGE_EXECUTE, TRUE, FALSE, TRUE },
        { PAGE_EXECUTE_READ, TRUE, FALSE, TRUE },
        { PAGE_EXECUTE_READWRITE, TRUE, TRUE, TRUE },
        { PAGE_READWRITE | PAGE_NOCACHE, TRUE, TRUE, FALSE },
        { PAGE_READWRITE | PAGE_WRITECOMBINE, TRUE, TRUE, FALSE },
    };

    (void)state;
    for (ULONG row = 0; row < RTL_NUMBER_OF(rows); row++)
    {
        for (ULONG touched = 0; touched < 2; touched++)
        {
            ULONG_PTR base = TestVmAllocate(0, 2 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
            UCHAR value;

            if (touched)
            {
                TestVmPut(base, 1);
            }
            TestVmProtect(base, PAGE_SIZE, rows[row].Protect);
            TEST_EXPECT_REGION(base, rows[row].Protect == PAGE_READWRITE ? 2 * PAGE_SIZE : PAGE_SIZE,
                               MEM_COMMIT, rows[row].Protect);
            assert_int_equal(TestVmTryGet(base, &value),
                             rows[row].Read ? STATUS_SUCCESS : STATUS_ACCESS_VIOLATION);
            assert_int_equal(TestVmTryPut(base, 2),
                             rows[row].Write ? STATUS_SUCCESS : STATUS_ACCESS_VIOLATION);
            assert_int_equal(HostSimExecute(base, NULL),
                             rows[row].Execute ? STATUS_SUCCESS : STATUS_ACCESS_VIOLATION);
            TEST_EXPECT_REGION(base, rows[row].Protect == PAGE_READWRITE ? 2 * PAGE_SIZE : PAGE_SIZE,
                               MEM_COMMIT, rows[row].Protect);
            TestVmFree(base, 0, MEM_RELEASE);
        }
    }
}

static void contents_survive_in_every_state(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 64 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    (void)state;
    TestVmFill(base, 48, 1);
    TestVmPageOut();
    TestVmCheck(base, 32, 1);
    TestVmTrimAll();
    TestVmCheck(base, 16, 1);
    TestVmPut(base + PAGE_SIZE - 1, 1);
    TestVmProtect(base, 64 * PAGE_SIZE, PAGE_NOACCESS);
    assert_int_equal(TestVmTryPut(base, 1), STATUS_ACCESS_VIOLATION);
    assert_int_equal(TestVmTryPut(base + 40 * PAGE_SIZE, 1), STATUS_ACCESS_VIOLATION);
    TestVmProtect(base + 8 * PAGE_SIZE, 16 * PAGE_SIZE, PAGE_READONLY);
    TestVmProtect(base, 64 * PAGE_SIZE, PAGE_READONLY);
    TestVmCheck(base, 48, 1);
    TestVmCheckZero(base + 48 * PAGE_SIZE, 16);
    assert_int_equal(TestVmTryPut(base + 20 * PAGE_SIZE, 1), STATUS_ACCESS_VIOLATION);
    TestVmProtect(base, 64 * PAGE_SIZE, PAGE_READWRITE);
    TestVmFill(base, 64, 2);
    TestVmPageOut();
    TestVmProtect(base + 3 * PAGE_SIZE, 7 * PAGE_SIZE, PAGE_READONLY);
    TestVmCheck(base, 64, 2);
    assert_int_equal(TestVmTryPut(base + 5 * PAGE_SIZE, 1), STATUS_ACCESS_VIOLATION);
}

static void changing_all_of_an_untouched_region_makes_no_page_table(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 8 << 20, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    (void)state;
    assert_int_equal(TestVmProtect(base, 8 << 20, PAGE_READONLY), PAGE_READWRITE);
    assert_int_equal(TestUserProcess->Space.PageTablePages, 1);
    TEST_EXPECT_REGION(base, 8 << 20, MEM_COMMIT, PAGE_READONLY);
    assert_int_equal(TestVmTryPut(base, 1), STATUS_ACCESS_VIOLATION);
    assert_int_equal(TestVmProtect(base, 8 << 20, PAGE_READWRITE), PAGE_READONLY);
    TestVmPut(base, 1);
}

static void guard_pages_raise_once(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 4 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE | PAGE_GUARD);
    UCHAR value;

    (void)state;
    TEST_EXPECT_REGION(base, 4 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE | PAGE_GUARD);
    assert_int_equal(TestVmTryGet(base, &value), STATUS_GUARD_PAGE_VIOLATION);
    assert_int_equal(TestVmTryGet(base, &value), STATUS_SUCCESS);
    TEST_EXPECT_REGION(base, PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(TestVmTryPut(base + PAGE_SIZE, 1), STATUS_GUARD_PAGE_VIOLATION);
    TestVmPut(base + PAGE_SIZE, 7);
    /* On a page with contents, resident and paged out. */
    assert_int_equal(TestVmProtect(base + PAGE_SIZE, PAGE_SIZE, PAGE_READONLY | PAGE_GUARD), PAGE_READWRITE);
    assert_int_equal(TestVmTryGet(base + PAGE_SIZE, &value), STATUS_GUARD_PAGE_VIOLATION);
    assert_int_equal(TestVmGet(base + PAGE_SIZE), 7);
    TestVmPageOut();
    TestVmProtect(base + PAGE_SIZE, PAGE_SIZE, PAGE_READWRITE | PAGE_GUARD);
    assert_int_equal(TestVmTryGet(base + PAGE_SIZE, &value), STATUS_GUARD_PAGE_VIOLATION);
    assert_int_equal(TestVmGet(base + PAGE_SIZE), 7);
    /* A guard page that is protected anew is no guard page any more. */
    assert_int_equal(TestVmProtect(base + 2 * PAGE_SIZE, PAGE_SIZE, PAGE_READWRITE),
                     PAGE_READWRITE | PAGE_GUARD);
    TestVmPut(base + 2 * PAGE_SIZE, 1);
}

static void statuses_are_the_documented_ones(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 32 * PAGE_SIZE, MEM_RESERVE, PAGE_READWRITE);
    ULONG_PTR next =
        TestVmAllocate(base + 32 * PAGE_SIZE, 16 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    (void)state;
    TestVmAllocate(base, 31 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(TestVmTryProtect(base, 32 * PAGE_SIZE, PAGE_READONLY), STATUS_NOT_COMMITTED);
    assert_int_equal(TestVmTryProtect(base + 31 * PAGE_SIZE, 2 * PAGE_SIZE, PAGE_READONLY),
                     STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(TestVmTryProtect(next + 16 * PAGE_SIZE, PAGE_SIZE, PAGE_READONLY),
                     STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(TestVmTryProtect(base, PAGE_SIZE, PAGE_WRITECOPY), STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(TestVmTryProtect(base, PAGE_SIZE, 0), STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(TestVmTryProtect(base, PAGE_SIZE, PAGE_NOACCESS | PAGE_GUARD),
                     STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(TestVmTryProtect(base, 0, PAGE_READONLY), STATUS_INVALID_PARAMETER_3);
    assert_int_equal(TestVmTryProtect(PORT_USER_HIGHEST + 1, PAGE_SIZE, PAGE_READONLY),
                     STATUS_INVALID_PARAMETER_2);
    TEST_EXPECT_REGION(base, 31 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
}

static void access_violations_tell_what_and_where(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READONLY);
    EXCEPTION_RECORD record;
    UCHAR value = 1;

    (void)state;
    assert_int_equal(HostSimWrite(base + 5, &value, 1, &record), STATUS_ACCESS_VIOLATION);
    assert_int_equal(record.ExceptionCode, STATUS_ACCESS_VIOLATION);
    assert_int_equal(record.NumberParameters, 2);
    assert_int_equal(record.ExceptionInformation[0], 1);
    assert_int_equal(record.ExceptionInformation[1], base + 5);
    assert_int_equal(HostSimExecute(base, &record), STATUS_ACCESS_VIOLATION);
    assert_int_equal(record.ExceptionInformation[0], 8);
    assert_int_equal(HostSimRead(base + PAGE_SIZE, &value, 1, &record), STATUS_ACCESS_VIOLATION);
    assert_int_equal(record.ExceptionInformation[0], 0);
    assert_int_equal(record.ExceptionInformation[1], base + PAGE_SIZE);
    /* The system half is out of reach of user mode. */
    assert_int_equal(HostSimRead(PORT_SYSTEM_START + 0x1000, &value, 1, &record), STATUS_ACCESS_VIOLATION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_PROCESS(the_old_protection_is_that_of_the_first_page),
        TEST_IN_PROCESS(every_protection_means_what_it_says),
        TEST_IN_PROCESS(contents_survive_in_every_state),
        TEST_IN_PROCESS(changing_all_of_an_untouched_region_makes_no_page_table),
        TEST_IN_PROCESS(guard_pages_raise_once),
        TEST_IN_PROCESS(statuses_are_the_documented_ones),
        TEST_IN_PROCESS(access_violations_tell_what_and_where),
    };

    return cmocka_run_group_tests_name("virtual.protect", tests, NULL, NULL);
}
