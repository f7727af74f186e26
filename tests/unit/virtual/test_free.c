/* SPDX-License-Identifier: MIT */
/* NtFreeVirtualMemory: decommit and release, whole and in part, what comes back, what is refused. */
#include "process.h"

static void release_gives_everything_back(void **state)
{
    SIZE_T frames;
    ULONG_PTR base;

    (void)state;
    MiTrimPool();
    frames = MiAvailablePages();
    base = TestVmAllocate(0, 64 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    TestVmFill(base, 64, 3);
    TestVmFree(base, 0, MEM_RELEASE);
    MiTrimPool();
    assert_int_equal(TestVmCharge(), 0);
    assert_int_equal(MiAvailablePages(), frames);
    assert_int_equal(TestVmQuery(base).State, MEM_FREE);
    assert_int_equal(TestVmTryPut(base, 1), STATUS_ACCESS_VIOLATION);
}

static void decommitted_pages_are_gone_and_come_back_as_zero(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 16 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    (void)state;
    TestVmFill(base, 16, 1);
    TestVmFree(base + 4 * PAGE_SIZE, 4 * PAGE_SIZE, MEM_DECOMMIT);
    assert_int_equal(TestVmCharge(), 12);
    TEST_EXPECT_REGION(base, 4 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    TEST_EXPECT_REGION(base + 4 * PAGE_SIZE, 4 * PAGE_SIZE, MEM_RESERVE, 0);
    TEST_EXPECT_REGION(base + 8 * PAGE_SIZE, 8 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(TestVmTryPut(base + 4 * PAGE_SIZE, 1), STATUS_ACCESS_VIOLATION);
    TestVmCheck(base, 4, 1);
    TestVmAllocate(base + 5 * PAGE_SIZE, PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    TestVmCheckZero(base + 5 * PAGE_SIZE, 1);
    assert_int_equal(TestVmCharge(), 13);
    /* Decommitting what is not committed is no failure. */
    TestVmFree(base + 4 * PAGE_SIZE, 4 * PAGE_SIZE, MEM_DECOMMIT);
    TestVmFree(base + 4 * PAGE_SIZE, 4 * PAGE_SIZE, MEM_DECOMMIT);
    assert_int_equal(TestVmCharge(), 12);
}

static void decommit_with_size_zero_takes_the_whole_allocation(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 16 << 20, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    SIZE_T tables = TestUserProcess->Space.PageTablePages;

    (void)state;
    TestVmFill(base + (3 << 20), 4, 1);
    TestVmFree(base, 0, MEM_DECOMMIT);
    assert_int_equal(TestVmCharge(), 0);
    assert_int_equal(TestUserProcess->Space.PageTablePages, tables);
    TEST_EXPECT_REGION(base, 16 << 20, MEM_RESERVE, 0);
    TestVmAllocate(base + (3 << 20), PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    TestVmCheckZero(base + (3 << 20), 1);
    assert_int_equal(TestVmCharge(), 1);
}

static void the_range_comes_back_rounded_to_pages(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 16 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PVOID address = (PVOID)(base + 2 * PAGE_SIZE + 100);
    SIZE_T size = PAGE_SIZE;

    (void)state;
    assert_int_equal(NtFreeVirtualMemory(NtCurrentProcess(), &address, &size, MEM_DECOMMIT), STATUS_SUCCESS);
    assert_int_equal((ULONG_PTR)address, base + 2 * PAGE_SIZE);
    assert_int_equal(size, 2 * PAGE_SIZE);
    address = (PVOID)(base + 10);
    size = 0;
    assert_int_equal(NtFreeVirtualMemory(NtCurrentProcess(), &address, &size, MEM_RELEASE), STATUS_SUCCESS);
    assert_int_equal((ULONG_PTR)address, base);
    assert_int_equal(size, 16 * PAGE_SIZE);
}

static void release_of_a_part_shrinks_or_splits(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 64 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    (void)state;
    TestVmFill(base, 64, 5);
    TestVmFree(base, 16 * PAGE_SIZE, MEM_RELEASE);                  /* at the start */
    TestVmFree(base + 48 * PAGE_SIZE, 16 * PAGE_SIZE, MEM_RELEASE); /* at the end */
    assert_int_equal(TestUserProcess->Space.VadCount, 1);
    assert_int_equal(TestVmCharge(), 32);
    TestVmFree(base + 24 * PAGE_SIZE, 8 * PAGE_SIZE, MEM_RELEASE); /* in the middle */
    assert_int_equal(TestUserProcess->Space.VadCount, 2);
    assert_int_equal(TestVmCharge(), 24);
    TestVmCheck(base + 16 * PAGE_SIZE, 8, 5);
    assert_int_equal(TestVmQuery(base + 24 * PAGE_SIZE).State, MEM_FREE);
    assert_int_equal((ULONG_PTR)TestVmQuery(base + 33 * PAGE_SIZE).AllocationBase, base + 32 * PAGE_SIZE);
    TestVmFree(base + 32 * PAGE_SIZE, 0, MEM_RELEASE);
    assert_int_equal(TestVmCharge(), 8);
    TestVmFree(base + 16 * PAGE_SIZE, 0, MEM_RELEASE);
    assert_int_equal(TestVmCharge(), 0);
}

static void a_split_divides_the_charge_exactly(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 32 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    ULONG_PTR other = TestVmAllocate(0, 32 * PAGE_SIZE, MEM_RESERVE, PAGE_READWRITE);

    (void)state;
    TestVmFree(base + 20 * PAGE_SIZE, 4 * PAGE_SIZE, MEM_DECOMMIT);
    TestVmAllocate(other + 2 * PAGE_SIZE, 3 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    TestVmAllocate(other + 30 * PAGE_SIZE, 2 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(TestVmCharge(), 28 + 5);
    TestVmFree(base + 8 * PAGE_SIZE, 8 * PAGE_SIZE, MEM_RELEASE);
    TestVmFree(other + 4 * PAGE_SIZE, 20 * PAGE_SIZE, MEM_RELEASE);
    assert_int_equal(TestVmCharge(), 20 + 4);
    TestVmFree(base + 16 * PAGE_SIZE, 0, MEM_RELEASE);
    assert_int_equal(TestVmCharge(), 8 + 4);
    TestVmFree(other + 24 * PAGE_SIZE, 0, MEM_RELEASE);
    assert_int_equal(TestVmCharge(), 8 + 2);
}

static void statuses_are_the_documented_ones(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 16 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    (void)state;
    assert_int_equal(TestVmTryFree(base, 0, 0), STATUS_INVALID_PARAMETER_4);
    assert_int_equal(TestVmTryFree(base, 0, MEM_RELEASE | MEM_DECOMMIT), STATUS_INVALID_PARAMETER_4);
    assert_int_equal(TestVmTryFree(base, 0, MEM_DECOMMIT | MEM_PRESERVE_PLACEHOLDER),
                     STATUS_INVALID_PARAMETER_4);
    assert_int_equal(TestVmTryFree(base, 0, MEM_COALESCE_PLACEHOLDERS), STATUS_INVALID_PARAMETER_4);
    assert_int_equal(TestVmTryFree(PORT_USER_HIGHEST + 1, 0, MEM_RELEASE), STATUS_INVALID_PARAMETER_2);
    assert_int_equal(TestVmTryFree(base, MAXSIZE_T, MEM_RELEASE), STATUS_INVALID_PARAMETER_3);
    assert_int_equal(TestVmTryFree(base + 16 * PAGE_SIZE, 0, MEM_RELEASE), STATUS_MEMORY_NOT_ALLOCATED);
    assert_int_equal(TestVmTryFree(base + PAGE_SIZE, 0, MEM_RELEASE), STATUS_FREE_VM_NOT_AT_BASE);
    assert_int_equal(TestVmTryFree(base + PAGE_SIZE, 0, MEM_DECOMMIT), STATUS_FREE_VM_NOT_AT_BASE);
    assert_int_equal(TestVmTryFree(base + PAGE_SIZE, 16 * PAGE_SIZE, MEM_RELEASE), STATUS_UNABLE_TO_FREE_VM);
    assert_int_equal(TestVmTryFree(base + PAGE_SIZE, 16 * PAGE_SIZE, MEM_DECOMMIT), STATUS_UNABLE_TO_FREE_VM);
    assert_int_equal(TestVmCharge(), 16);
}

static void pages_in_every_state_are_freed(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 64 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    SIZE_T free_slots = MiState.Paging->Files[0]->FreeSpace;

    (void)state;
    TestVmFill(base, 48, 1);
    TestVmPageOut(); /* in the paging file */
    assert_true(MiState.Paging->Files[0]->FreeSpace < free_slots);
    TestVmCheck(base, 32, 1);
    TestVmTrimAll(); /* standby, with a slot */
    TestVmCheck(base, 16, 1);
    TestVmPut(base, 1);
    TestVmTrimAll();             /* modified */
    TestVmGet(base + PAGE_SIZE); /* valid */
    TestVmFree(base + 8 * PAGE_SIZE, 40 * PAGE_SIZE, MEM_DECOMMIT);
    TestVmFree(base, 0, MEM_RELEASE);
    assert_int_equal(MiState.Paging->Files[0]->FreeSpace, free_slots);
    assert_int_equal(TestVmCharge(), 0);
}

static void sparse_ranges_are_freed_without_visiting_every_page(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 1ull << 36, MEM_RESERVE, PAGE_READWRITE);

    (void)state;
    for (ULONG index = 0; index < 8; index++)
    {
        TestVmAllocate(base + ((ULONG_PTR)index << 33), PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
        TestVmPut(base + ((ULONG_PTR)index << 33), 1);
    }
    TestVmFree(base, (1ull << 36) - PAGE_SIZE, MEM_DECOMMIT);
    assert_int_equal(TestVmCharge(), 0);
    assert_int_equal(TestUserProcess->Space.PageTablePages, 1);
    TestVmFree(base, 0, MEM_RELEASE);
}

static NTSTATUS decommit_part(ULONG_PTR context)
{
    NTSTATUS status;

    TestVmAllocate(context, 16 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    status = TestVmTryFree(context + PAGE_SIZE, 5 * PAGE_SIZE, MEM_DECOMMIT);
    return status;
}

static NTSTATUS split(ULONG_PTR context)
{
    (void)context;
    ULONG_PTR base = 0;
    SIZE_T size = 16 * PAGE_SIZE;
    NTSTATUS status = NtAllocateVirtualMemory(NtCurrentProcess(), (PVOID *)&base, 0, &size,
                                              MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    if (!NT_SUCCESS(status))
    {
        return status;
    }
    status = TestVmTryFree(base + 4 * PAGE_SIZE, 4 * PAGE_SIZE, MEM_RELEASE);
    TestVmFree(base, 0, MEM_RELEASE);
    if (NT_SUCCESS(status))
    {
        TestVmFree(base + 8 * PAGE_SIZE, 0, MEM_RELEASE);
    }
    return status;
}

static void every_failure_leaves_the_memory_as_it_was(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 16 * PAGE_SIZE, MEM_RESERVE, PAGE_READWRITE);

    (void)state;
    TestWithFailures(KiInjectPool, split, 0);
    TestWithFailures(KiInjectCommit, split, 0);
    TestVmAllocate(base, 16 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    TestWithFailures(KiInjectPool, decommit_part, base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_PROCESS(release_gives_everything_back),
        TEST_IN_PROCESS(decommitted_pages_are_gone_and_come_back_as_zero),
        TEST_IN_PROCESS(decommit_with_size_zero_takes_the_whole_allocation),
        TEST_IN_PROCESS(the_range_comes_back_rounded_to_pages),
        TEST_IN_PROCESS(release_of_a_part_shrinks_or_splits),
        TEST_IN_PROCESS(a_split_divides_the_charge_exactly),
        TEST_IN_PROCESS(statuses_are_the_documented_ones),
        TEST_IN_PROCESS(pages_in_every_state_are_freed),
        TEST_IN_PROCESS(sparse_ranges_are_freed_without_visiting_every_page),
        TEST_IN_PROCESS(every_failure_leaves_the_memory_as_it_was),
    };

    return cmocka_run_group_tests_name("virtual.free", tests, NULL, NULL);
}
