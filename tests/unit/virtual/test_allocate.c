/* SPDX-License-Identifier: MIT */
/* NtAllocateVirtualMemory: rounding, flags, protections, addresses, charges, failures without effect. */
#include "process.h"

#define GRANULARITY 0x10000ull

/* Somewhere inside the user window of every build. */
static ULONG_PTR somewhere(void)
{
    return PORT_USER_LOWEST + 0x4000000000ull;
}

static void reserve_rounds_base_down_to_64k(void **state)
{
    PVOID base = (PVOID)(somewhere() + 0x1234);
    SIZE_T size = 0x100;

    (void)state;
    assert_int_equal(
        NtAllocateVirtualMemory(NtCurrentProcess(), &base, 0, &size, MEM_RESERVE, PAGE_READWRITE),
        STATUS_SUCCESS);
    assert_int_equal((ULONG_PTR)base, somewhere());
    assert_int_equal(size, 0x2000); /* through the page of the last byte asked for */
    assert_int_equal(TestVmCharge(), 0);
    TEST_EXPECT_REGION(somewhere(), 0x2000, MEM_RESERVE, 0);
}

static void commit_rounds_to_pages(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 0x20000, MEM_RESERVE, PAGE_NOACCESS);
    PVOID address = (PVOID)(base + 0x1fff);
    SIZE_T size = 2;

    (void)state;
    assert_int_equal(
        NtAllocateVirtualMemory(NtCurrentProcess(), &address, 0, &size, MEM_COMMIT, PAGE_READWRITE),
        STATUS_SUCCESS);
    assert_int_equal((ULONG_PTR)address, base + 0x1000);
    assert_int_equal(size, 0x2000); /* two bytes in two pages */
    assert_int_equal(TestVmCharge(), 2);
    TEST_EXPECT_REGION(base, 0x1000, MEM_RESERVE, 0);
    TEST_EXPECT_REGION(base + 0x1000, 0x2000, MEM_COMMIT, PAGE_READWRITE);
    TEST_EXPECT_REGION(base + 0x3000, 0x1d000, MEM_RESERVE, 0);
    assert_int_equal(TestVmQuery(base + 0x2000).AllocationProtect, PAGE_NOACCESS);
}

static void new_memory_reads_as_zero_and_keeps_what_is_written(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 40 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    (void)state;
    TestVmCheckZero(base, 40);
    TestVmFill(base, 40, 1);
    TestVmCheck(base, 40, 1);
    assert_int_equal(TestVmCharge(), 40);
}

static void a_committed_region_costs_no_page_table_until_touched(void **state)
{
    SIZE_T tables = TestUserProcess->Space.PageTablePages;
    ULONG_PTR base = TestVmAllocate(0, 16 << 20, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    (void)state;
    assert_int_equal(TestUserProcess->Space.PageTablePages, tables);
    assert_int_equal(TestVmCharge(), (16 << 20) >> PAGE_SHIFT);
    TestVmPut(base + (5 << 20), 1);
    assert_int_equal(TestUserProcess->Space.PageTablePages, tables + 3);
    TestVmFree(base, 0, MEM_RELEASE);
    assert_int_equal(TestUserProcess->Space.PageTablePages, tables);
    assert_int_equal(TestVmCharge(), 0);
}

static void commit_without_address_reserves_too(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);

    (void)state;
    assert_int_equal(base % GRANULARITY, 0);
    TestVmPut(base, 7);
    TEST_EXPECT_REGION(base, PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
}

static void commit_of_what_is_not_reserved_conflicts(void **state)
{
    ULONG_PTR base = TestVmAllocate(somewhere(), GRANULARITY, MEM_RESERVE, PAGE_READWRITE);

    (void)state;
    assert_int_equal(TestVmTryAllocate(base + GRANULARITY, PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE),
                     STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(
        TestVmTryAllocate(base + GRANULARITY - PAGE_SIZE, 2 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE),
        STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(TestVmCharge(), 0);
}

static void reserve_of_what_is_in_use_conflicts(void **state)
{
    ULONG_PTR base = TestVmAllocate(somewhere(), 2 * GRANULARITY, MEM_RESERVE, PAGE_READWRITE);

    (void)state;
    assert_int_equal(TestVmTryAllocate(base + GRANULARITY, GRANULARITY, MEM_RESERVE, PAGE_READWRITE),
                     STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(
        TestVmTryAllocate(base - GRANULARITY, GRANULARITY + 1, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE),
        STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(TestUserProcess->Space.VadCount, 1);
    assert_int_equal(TestVmCharge(), 0);
}

static void committing_again_charges_nothing_and_changes_the_protection(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 8 * PAGE_SIZE, MEM_RESERVE, PAGE_READWRITE);

    (void)state;
    TestVmAllocate(base + 2 * PAGE_SIZE, 2 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    TestVmPut(base + 2 * PAGE_SIZE, 42);
    assert_int_equal(TestVmCharge(), 2);
    TestVmAllocate(base + PAGE_SIZE, 3 * PAGE_SIZE, MEM_COMMIT, PAGE_READONLY);
    assert_int_equal(TestVmCharge(), 3);
    assert_int_equal(TestVmGet(base + 2 * PAGE_SIZE), 42);
    assert_int_equal(TestVmTryPut(base + 2 * PAGE_SIZE, 1), STATUS_ACCESS_VIOLATION);
    TEST_EXPECT_REGION(base + PAGE_SIZE, 3 * PAGE_SIZE, MEM_COMMIT, PAGE_READONLY);
    TestVmAllocate(base, 8 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(TestVmCharge(), 8);
    TestVmPut(base + 2 * PAGE_SIZE, 43);
    TEST_EXPECT_REGION(base, 8 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
}

static void committing_all_of_a_reservation_touches_no_page_table(void **state)
{
    SIZE_T tables = TestUserProcess->Space.PageTablePages;
    ULONG_PTR base = TestVmAllocate(0, 8 << 20, MEM_RESERVE, PAGE_NOACCESS);

    (void)state;
    TestVmAllocate(base, 8 << 20, MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(TestUserProcess->Space.PageTablePages, tables);
    TEST_EXPECT_REGION(base, 8 << 20, MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(TestVmQuery(base).AllocationProtect, PAGE_NOACCESS);
    TestVmPut(base + 0x1234, 9);
    assert_int_equal(TestVmGet(base + 0x1234), 9);
}

static void top_down_takes_the_highest_addresses(void **state)
{
    ULONG_PTR low = TestVmAllocate(0, GRANULARITY, MEM_RESERVE, PAGE_READWRITE);
    ULONG_PTR high = TestVmAllocate(0, GRANULARITY, MEM_RESERVE | MEM_TOP_DOWN, PAGE_READWRITE);
    ULONG_PTR next = TestVmAllocate(0, GRANULARITY, MEM_RESERVE | MEM_TOP_DOWN, PAGE_READWRITE);

    (void)state;
    assert_true(high > low);
    assert_int_equal(next, high - GRANULARITY);
    assert_true(high + GRANULARITY <= PORT_USER_HIGHEST + 1);
}

static void zero_bits_limit_the_address(void **state)
{
    PVOID base = NULL;
    SIZE_T size = PAGE_SIZE;
    NTSTATUS status;

    (void)state;
    for (ULONG bits = 22; bits <= 32; bits++)
    {
        assert_int_equal(
            NtAllocateVirtualMemory(NtCurrentProcess(), &base, bits, &size, MEM_RESERVE, PAGE_READWRITE),
            STATUS_INVALID_PARAMETER_3);
    }
    status = NtAllocateVirtualMemory(NtCurrentProcess(), &base, 1, &size, MEM_RESERVE | MEM_TOP_DOWN,
                                     PAGE_READWRITE);
    if (PORT_USER_LOWEST > 0x7fffffff)
    {
        assert_int_equal(status, STATUS_NO_MEMORY); /* the sanitizer has all low addresses */
    }
    else
    {
        assert_int_equal(status, STATUS_SUCCESS);
        assert_true((ULONG_PTR)base <= 0x7fffffff);
    }
    base = NULL;
    assert_int_equal(NtAllocateVirtualMemory(NtCurrentProcess(), &base, somewhere() >> 1, &size,
                                             MEM_RESERVE | MEM_TOP_DOWN, PAGE_READWRITE),
                     (ULONG_PTR)1 << (63 - __builtin_clzll(somewhere() >> 1)) < PORT_USER_LOWEST
                         ? STATUS_NO_MEMORY
                         : STATUS_SUCCESS);
}

static void illegal_types_are_refused(void **state)
{
    static const ULONG types[] = { 0,
                                   MEM_TOP_DOWN,
                                   MEM_COMMIT | 0x40,
                                   MEM_RESERVE | MEM_RESET,
                                   MEM_RESET | MEM_RESET_UNDO,
                                   MEM_COMMIT | MEM_WRITE_WATCH,
                                   MEM_RESERVE | MEM_LARGE_PAGES,
                                   MEM_COMMIT | MEM_LARGE_PAGES,
                                   MEM_RESERVE | MEM_COMMIT | MEM_PHYSICAL,
                                   MEM_PHYSICAL,
                                   MEM_RESERVE | MEM_RESERVE_PLACEHOLDER,
                                   MEM_RESERVE | MEM_REPLACE_PLACEHOLDER,
                                   MEM_RESERVE | MEM_ROTATE,
                                   MEM_RESERVE | MEM_4MB_PAGES };

    (void)state;
    for (ULONG index = 0; index < RTL_NUMBER_OF(types); index++)
    {
        assert_int_equal(TestVmTryAllocate(0, PAGE_SIZE, types[index], PAGE_READWRITE),
                         STATUS_INVALID_PARAMETER_5);
    }
    assert_int_equal(TestUserProcess->Space.VadCount, 0);
}

static void illegal_protections_are_refused(void **state)
{
    static const ULONG protections[] = { 0,
                                         PAGE_READONLY | PAGE_READWRITE,
                                         PAGE_WRITECOPY,
                                         PAGE_EXECUTE_WRITECOPY,
                                         PAGE_NOACCESS | PAGE_GUARD,
                                         PAGE_NOACCESS | PAGE_NOCACHE,
                                         PAGE_READWRITE | PAGE_GUARD | PAGE_NOCACHE,
                                         PAGE_READWRITE | PAGE_NOCACHE | PAGE_WRITECOMBINE,
                                         PAGE_READWRITE | PAGE_TARGETS_INVALID,
                                         0x800 };

    (void)state;
    for (ULONG index = 0; index < RTL_NUMBER_OF(protections); index++)
    {
        assert_int_equal(TestVmTryAllocate(0, PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, protections[index]),
                         STATUS_INVALID_PAGE_PROTECTION);
    }
    TestVmAllocate(0, PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_EXECUTE_READ | PAGE_TARGETS_INVALID);
}

static void illegal_addresses_and_sizes_are_refused(void **state)
{
    (void)state;
    assert_int_equal(TestVmTryAllocate(0, 0, MEM_RESERVE, PAGE_READWRITE), STATUS_INVALID_PARAMETER_4);
    assert_int_equal(TestVmTryAllocate(0, MAXSIZE_T, MEM_RESERVE, PAGE_READWRITE),
                     STATUS_INVALID_PARAMETER_4);
    assert_int_equal(TestVmTryAllocate(somewhere(), PORT_USER_HIGHEST, MEM_RESERVE, PAGE_READWRITE),
                     STATUS_INVALID_PARAMETER_4);
    assert_int_equal(TestVmTryAllocate(PORT_USER_HIGHEST + 1, PAGE_SIZE, MEM_RESERVE, PAGE_READWRITE),
                     STATUS_INVALID_PARAMETER_2);
    assert_int_equal(TestVmTryAllocate(0x1000, PAGE_SIZE, MEM_RESERVE, PAGE_READWRITE),
                     STATUS_INVALID_PARAMETER_2);
    assert_int_equal(TestVmTryAllocate(0, PORT_USER_HIGHEST - PORT_USER_LOWEST + 1 + GRANULARITY, MEM_RESERVE,
                                       PAGE_READWRITE) == STATUS_SUCCESS,
                     FALSE);
}

static void physical_regions_are_read_write(void **state)
{
    (void)state;
    assert_int_equal(TestVmTryAllocate(0, 2 << 20, MEM_RESERVE | MEM_PHYSICAL, PAGE_READONLY),
                     STATUS_INVALID_PAGE_PROTECTION);
}

static void commit_beyond_the_limit_fails_and_changes_nothing(void **state)
{
    SIZE_T limit = MiState.Physical->CommitMaximum << PAGE_SHIFT;
    SIZE_T committed = MiState.Physical->CommittedPages;
    ULONG_PTR base = TestVmAllocate(0, 2 * limit, MEM_RESERVE, PAGE_READWRITE);
    SIZE_T with_reservation = MiState.Physical->CommittedPages;

    (void)state;
    assert_true(with_reservation >= committed);
    assert_int_equal(TestVmTryAllocate(0, limit + PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE),
                     STATUS_COMMITMENT_LIMIT);
    assert_int_equal(TestVmTryAllocate(base, limit + PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE),
                     STATUS_COMMITMENT_LIMIT);
    assert_int_equal(TestVmTryAllocate(base, 2 * limit, MEM_COMMIT, PAGE_READWRITE), STATUS_COMMITMENT_LIMIT);
    assert_int_equal(MiState.Physical->CommittedPages, with_reservation);
    assert_int_equal(TestVmCharge(), 0);
    TEST_EXPECT_REGION(base, 2 * limit, MEM_RESERVE, 0);
}

static void a_process_limit_is_a_limit(void **state)
{
    (void)state;
    TestUserProcess->Space.CommitChargeLimit = TestUserProcess->Space.CommitCharge + 10;
    assert_int_equal(TestVmTryAllocate(0, 11 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE),
                     STATUS_COMMITMENT_LIMIT);
    TestVmAllocate(0, 10 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    TestUserProcess->Space.CommitChargeLimit = 0;
}

static NTSTATUS reserve_and_commit(ULONG_PTR context)
{
    return TestVmTryAllocate(context, 100 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH,
                             PAGE_READWRITE);
}

static NTSTATUS commit_part(ULONG_PTR context)
{
    return TestVmTryAllocate(context + 3 * PAGE_SIZE, 5 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
}

static void every_failure_leaves_nothing_behind(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 16 * PAGE_SIZE, MEM_RESERVE, PAGE_READWRITE);

    (void)state;
    TestWithFailures(KiInjectPool, reserve_and_commit, 0);
    TestWithFailures(KiInjectCommit, reserve_and_commit, 0);
    TestWithFailures(KiInjectPool, commit_part, base);
    TestVmFree(base, 16 * PAGE_SIZE, MEM_DECOMMIT);
    TestWithFailures(KiInjectCommit, commit_part, base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_PROCESS(reserve_rounds_base_down_to_64k),
        TEST_IN_PROCESS(commit_rounds_to_pages),
        TEST_IN_PROCESS(new_memory_reads_as_zero_and_keeps_what_is_written),
        TEST_IN_PROCESS(a_committed_region_costs_no_page_table_until_touched),
        TEST_IN_PROCESS(commit_without_address_reserves_too),
        TEST_IN_PROCESS(commit_of_what_is_not_reserved_conflicts),
        TEST_IN_PROCESS(reserve_of_what_is_in_use_conflicts),
        TEST_IN_PROCESS(committing_again_charges_nothing_and_changes_the_protection),
        TEST_IN_PROCESS(committing_all_of_a_reservation_touches_no_page_table),
        TEST_IN_PROCESS(top_down_takes_the_highest_addresses),
        TEST_IN_PROCESS(zero_bits_limit_the_address),
        TEST_IN_PROCESS(illegal_types_are_refused),
        TEST_IN_PROCESS(illegal_protections_are_refused),
        TEST_IN_PROCESS(illegal_addresses_and_sizes_are_refused),
        TEST_IN_PROCESS(physical_regions_are_read_write),
        TEST_IN_PROCESS(commit_beyond_the_limit_fails_and_changes_nothing),
        TEST_IN_PROCESS(a_process_limit_is_a_limit),
        TEST_IN_PROCESS(every_failure_leaves_nothing_behind),
    };

    return cmocka_run_group_tests_name("virtual.allocate", tests, NULL, NULL);
}
