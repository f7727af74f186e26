/* SPDX-License-Identifier: MIT */
/*
 * MEM_RESET and MEM_RESET_UNDO: what is not of interest is not written, and whether it is still there can be
 * found out.
 */
#include "process.h"

static NTSTATUS reset(ULONG_PTR base, SIZE_T pages)
{
    return TestVmTryAllocate(base, pages * PAGE_SIZE, MEM_RESET, PAGE_NOACCESS);
}

static NTSTATUS undo(ULONG_PTR base, SIZE_T pages)
{
    return TestVmTryAllocate(base, pages * PAGE_SIZE, MEM_RESET_UNDO, PAGE_NOACCESS);
}

static SIZE_T slots(void)
{
    return MiState.Paging->Files[0]->Size - 1 - MiState.Paging->Files[0]->FreeSpace;
}

static void reset_pages_are_not_written_to_the_paging_file(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 32 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    (void)state;
    TestVmFill(base, 32, 1);
    assert_int_equal(reset(base, 32), STATUS_SUCCESS);
    TestVmPageOut();
    assert_int_equal(slots(), 0);
    TestVmCheckZero(base, 32); /* the frames were taken: gone, and nothing was read */
    TestVmFill(base, 32, 2);
    TestVmPageOut();
    assert_true(slots() >= 32);
    TestVmCheck(base, 32, 2);
    assert_int_equal(TestVmCharge(), 32);
}

static void undo_saves_what_is_still_in_memory(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 16 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    (void)state;
    TestVmFill(base, 16, 1);
    assert_int_equal(reset(base, 16), STATUS_SUCCESS);
    assert_int_equal(undo(base, 16), STATUS_SUCCESS);
    TestVmPageOut();
    TestVmCheck(base, 16, 1);
    /* From the standby list, too. */
    assert_int_equal(reset(base, 16), STATUS_SUCCESS);
    TestVmTrimAll();
    assert_int_equal(undo(base, 16), STATUS_SUCCESS);
    TestVmPageOut();
    TestVmCheck(base, 16, 1);
}

static void undo_tells_when_something_was_lost(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 16 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    (void)state;
    TestVmFill(base, 16, 1);
    assert_int_equal(reset(base + 4 * PAGE_SIZE, 8), STATUS_SUCCESS);
    TestVmPageOut();
    assert_int_equal(undo(base, 16), STATUS_DEVICE_BUSY);
    assert_int_equal(undo(base, 16), STATUS_SUCCESS); /* told once */
    TestVmCheck(base, 4, 1);
    TestVmCheckZero(base + 4 * PAGE_SIZE, 8);
    TestVmCheck(base + 12 * PAGE_SIZE, 4, 1);
}

static void pages_in_the_paging_file_give_their_slots_back(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 16 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    (void)state;
    TestVmFill(base, 16, 1);
    TestVmPageOut();
    assert_int_equal(slots(), 16);
    assert_int_equal(reset(base, 16), STATUS_SUCCESS);
    assert_int_equal(slots(), 0);
    assert_int_equal(undo(base, 16), STATUS_DEVICE_BUSY);
    TestVmCheckZero(base, 16);
}

static void modified_and_standby_pages_lose_their_copies(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 16 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    (void)state;
    TestVmFill(base, 16, 1);
    TestVmWriteOut(); /* standby with slots */
    TestVmFill(base, 8, 2);
    TestVmTrimAll(); /* eight of them modified */
    assert_int_equal(reset(base, 16), STATUS_SUCCESS);
    assert_int_equal(slots(), 0);
    assert_int_equal(MiModifiedPages(), 0);
    MiCheckPhysical(3);
    assert_int_equal(undo(base, 16), STATUS_SUCCESS);
    TestVmCheck(base, 8, 2);
    TestVmCheck(base + 8 * PAGE_SIZE, 8, 1);
}

static void only_whole_pages_are_reset(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 16 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PVOID address = (PVOID)(base + 100);
    SIZE_T size = 3 * PAGE_SIZE;

    (void)state;
    TestVmFill(base, 16, 1);
    assert_int_equal(
        NtAllocateVirtualMemory(NtCurrentProcess(), &address, 0, &size, MEM_RESET, PAGE_NOACCESS),
        STATUS_SUCCESS);
    assert_int_equal((ULONG_PTR)address, base + PAGE_SIZE);
    assert_int_equal(size, 2 * PAGE_SIZE);
    TestVmPageOut();
    TestVmCheck(base, 1, 1);
    TestVmCheckZero(base + PAGE_SIZE, 2);
    TestVmCheck(base + 3 * PAGE_SIZE, 13, 1);
    assert_int_equal(reset(base + 15 * PAGE_SIZE, 2), STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(TestVmTryAllocate(base, PAGE_SIZE, MEM_RESET, 0), STATUS_INVALID_PAGE_PROTECTION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_PROCESS(reset_pages_are_not_written_to_the_paging_file),
        TEST_IN_PROCESS(undo_saves_what_is_still_in_memory),
        TEST_IN_PROCESS(undo_tells_when_something_was_lost),
        TEST_IN_PROCESS(pages_in_the_paging_file_give_their_slots_back),
        TEST_IN_PROCESS(modified_and_standby_pages_lose_their_copies),
        TEST_IN_PROCESS(only_whole_pages_are_reset),
    };

    return cmocka_run_group_tests_name("virtual.reset", tests, NULL, NULL);
}
