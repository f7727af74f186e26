/* SPDX-License-Identifier: MIT */
/* Placeholders: reserve, split, join, replace, back again. */
#include "process.h"

#define PRESERVE (MEM_RELEASE | MEM_PRESERVE_PLACEHOLDER)
#define COALESCE (MEM_RELEASE | MEM_COALESCE_PLACEHOLDERS)

static NTSTATUS allocate_ex(ULONG_PTR *base, SIZE_T size, ULONG type, ULONG protect)
{
    return NtAllocateVirtualMemoryEx(NtCurrentProcess(), (PVOID *)base, &size, type, protect, NULL, 0);
}

static ULONG_PTR placeholder(SIZE_T pages)
{
    ULONG_PTR base = 0;

    assert_int_equal(
        allocate_ex(&base, pages * PAGE_SIZE, MEM_RESERVE | MEM_RESERVE_PLACEHOLDER, PAGE_NOACCESS),
        STATUS_SUCCESS);
    return base;
}

static NTSTATUS replace(ULONG_PTR base, SIZE_T pages, ULONG type, ULONG protect)
{
    return allocate_ex(&base, pages * PAGE_SIZE, MEM_RESERVE | MEM_REPLACE_PLACEHOLDER | type, protect);
}

static void a_placeholder_is_reserved_and_cannot_be_committed(void **state)
{
    ULONG_PTR base = placeholder(32);
    ULONG_PTR bad = 0;

    (void)state;
    TEST_EXPECT_REGION(base, 32 * PAGE_SIZE, MEM_RESERVE, 0);
    assert_int_equal(TestVmTryAllocate(base, PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE),
                     STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(TestVmTryFree(base, 0, MEM_DECOMMIT), STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(allocate_ex(&bad, PAGE_SIZE, MEM_RESERVE | MEM_RESERVE_PLACEHOLDER, PAGE_READWRITE),
                     STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(
        allocate_ex(&bad, PAGE_SIZE, MEM_RESERVE | MEM_COMMIT | MEM_RESERVE_PLACEHOLDER, PAGE_NOACCESS),
        STATUS_INVALID_PARAMETER_5);
    TestVmFree(base, 0, MEM_RELEASE);
    assert_int_equal(TestVmQuery(base).State, MEM_FREE);
}

static void it_splits_into_two_or_three(void **state)
{
    ULONG_PTR base = placeholder(48);

    (void)state;
    TestVmFree(base + 16 * PAGE_SIZE, 16 * PAGE_SIZE, PRESERVE);
    assert_int_equal(TestUserProcess->Space.VadCount, 3);
    TestVmFree(base, 8 * PAGE_SIZE, PRESERVE);
    assert_int_equal(TestUserProcess->Space.VadCount, 4);
    TestVmFree(base + 40 * PAGE_SIZE, 8 * PAGE_SIZE, PRESERVE);
    assert_int_equal(TestUserProcess->Space.VadCount, 5);
    TEST_EXPECT_REGION(base + 16 * PAGE_SIZE, 16 * PAGE_SIZE, MEM_RESERVE, 0);
    /* Not a part of one, or all of one. */
    assert_int_equal(TestVmTryFree(base, 16 * PAGE_SIZE, PRESERVE), STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(TestVmTryFree(base, 8 * PAGE_SIZE, PRESERVE), STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(TestVmTryFree(base, 0, PRESERVE), STATUS_INVALID_PARAMETER_3);
    assert_int_equal(TestVmTryFree(base + 48 * PAGE_SIZE, PAGE_SIZE, PRESERVE), STATUS_MEMORY_NOT_ALLOCATED);
    for (MEMORY_BASIC_INFORMATION region = TestVmQuery(base); region.State != MEM_FREE;
         region = TestVmQuery((ULONG_PTR)region.BaseAddress + region.RegionSize))
    {
        TestVmFree((ULONG_PTR)region.BaseAddress, 0, MEM_RELEASE);
    }
    assert_int_equal(TestUserProcess->Space.VadCount, 0);
}

static void neighbours_are_joined(void **state)
{
    ULONG_PTR base = placeholder(48);

    (void)state;
    TestVmFree(base + 16 * PAGE_SIZE, 16 * PAGE_SIZE, PRESERVE);
    assert_int_equal(TestVmTryFree(base, 40 * PAGE_SIZE, COALESCE), STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(TestVmTryFree(base, 16 * PAGE_SIZE, COALESCE), STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(TestVmTryFree(base + PAGE_SIZE, 47 * PAGE_SIZE, COALESCE), STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(TestVmTryFree(base, 0, COALESCE), STATUS_INVALID_PARAMETER_3);
    TestVmFree(base, 48 * PAGE_SIZE, COALESCE);
    assert_int_equal(TestUserProcess->Space.VadCount, 1);
    TEST_EXPECT_REGION(base, 48 * PAGE_SIZE, MEM_RESERVE, 0);
    /* Ordinary memory between them stays ordinary. */
    TestVmFree(base, 16 * PAGE_SIZE, PRESERVE);
    assert_int_equal(replace(base, 16, MEM_COMMIT, PAGE_READWRITE), STATUS_SUCCESS);
    assert_int_equal(TestVmTryFree(base, 48 * PAGE_SIZE, COALESCE), STATUS_CONFLICTING_ADDRESSES);
}

static void it_is_replaced_and_restored(void **state)
{
    ULONG_PTR base = placeholder(32);

    (void)state;
    assert_int_equal(replace(base, 16, MEM_COMMIT, PAGE_READWRITE), STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(replace(base + PAGE_SIZE, 31, MEM_COMMIT, PAGE_READWRITE), STATUS_CONFLICTING_ADDRESSES);
    TestVmFree(base, 16 * PAGE_SIZE, PRESERVE);
    assert_int_equal(replace(base, 16, MEM_COMMIT | MEM_WRITE_WATCH, PAGE_READWRITE), STATUS_SUCCESS);
    assert_int_equal(TestVmCharge(), 16);
    TestVmFill(base, 16, 1);
    TestVmCheck(base, 16, 1);
    assert_int_equal(replace(base, 16, MEM_COMMIT, PAGE_READWRITE), STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(TestVmTryFree(base, 8 * PAGE_SIZE, PRESERVE), STATUS_CONFLICTING_ADDRESSES);
    TestVmFree(base, 16 * PAGE_SIZE, PRESERVE);
    assert_int_equal(TestVmCharge(), 0);
    assert_int_equal(TestUserProcess->Space.PageTablePages, 1);
    TestVmFree(base, 32 * PAGE_SIZE, COALESCE);
    assert_int_equal(replace(base, 32, 0, PAGE_READONLY), STATUS_SUCCESS);
    TestVmAllocate(base, PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    TestVmCheckZero(base, 1);
    /* What never was a placeholder does not become one. */
    ULONG_PTR other = TestVmAllocate(0, PAGE_SIZE, MEM_RESERVE, PAGE_READWRITE);
    assert_int_equal(TestVmTryFree(other, PAGE_SIZE, PRESERVE), STATUS_CONFLICTING_ADDRESSES);
}

static NTSTATUS replace_and_restore(ULONG_PTR base)
{
    NTSTATUS status = replace(base, 16, MEM_COMMIT | MEM_WRITE_WATCH, PAGE_READWRITE);

    if (NT_SUCCESS(status))
    {
        TestVmFill(base, 16, 1);
        status = TestVmTryFree(base, 16 * PAGE_SIZE, PRESERVE);
        if (!NT_SUCCESS(status))
        {
            TestVmFree(base, 16 * PAGE_SIZE, PRESERVE); /* spares could not be had: once more */
        }
    }
    return status;
}

static NTSTATUS split_and_join(ULONG_PTR base)
{
    NTSTATUS status = TestVmTryFree(base + 4 * PAGE_SIZE, 4 * PAGE_SIZE, PRESERVE);

    if (NT_SUCCESS(status))
    {
        TestVmFree(base, 16 * PAGE_SIZE, COALESCE);
    }
    return status;
}

static void every_failure_leaves_the_placeholder(void **state)
{
    ULONG_PTR base = placeholder(16);

    (void)state;
    TestWithFailures(KiInjectPool, replace_and_restore, base);
    TestWithFailures(KiInjectCommit, replace_and_restore, base);
    TestWithFailures(KiInjectPool, split_and_join, base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_PROCESS(a_placeholder_is_reserved_and_cannot_be_committed),
        TEST_IN_PROCESS(it_splits_into_two_or_three),
        TEST_IN_PROCESS(neighbours_are_joined),
        TEST_IN_PROCESS(it_is_replaced_and_restored),
        TEST_IN_PROCESS(every_failure_leaves_the_placeholder),
    };

    return cmocka_run_group_tests_name("virtual.placeholder", tests, NULL, NULL);
}
