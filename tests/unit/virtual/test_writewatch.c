/* SPDX-License-Identifier: MIT */
/* Write watch: which pages were written since allocation or reset. */
#include "process.h"

static ULONG_PTR base;

static ULONG_PTR written(ULONG flags, ULONG_PTR first, SIZE_T pages, PVOID *list, ULONG_PTR room)
{
    ULONG_PTR count = room;
    ULONG granularity = 0;

    assert_int_equal(NtGetWriteWatch(NtCurrentProcess(), flags, (PVOID)(base + first * PAGE_SIZE),
                                     pages * PAGE_SIZE, list, &count, &granularity),
                     STATUS_SUCCESS);
    assert_int_equal(granularity, PAGE_SIZE);
    return count;
}

static void writes_are_listed_in_ascending_order(void **state)
{
    PVOID list[512];

    (void)state;
    base = TestVmAllocate(0, 1024 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH, PAGE_READWRITE);
    assert_int_equal(written(0, 0, 1024, list, 512), 0);
    TestVmGet(base + 3 * PAGE_SIZE); /* reading is not writing */
    TestVmPut(base + 700 * PAGE_SIZE, 1);
    TestVmPut(base + 3 * PAGE_SIZE, 1);
    TestVmPut(base + 64 * PAGE_SIZE, 1);
    assert_int_equal(written(0, 0, 1024, list, 512), 3);
    assert_ptr_equal(list[0], base + 3 * PAGE_SIZE);
    assert_ptr_equal(list[1], base + 64 * PAGE_SIZE);
    assert_ptr_equal(list[2], base + 700 * PAGE_SIZE);
    assert_int_equal(written(0, 4, 100, list, 512), 1);
    assert_int_equal(written(0, 0, 1024, list, 2), 2);
    assert_int_equal(written(WRITE_WATCH_FLAG_RESET, 0, 1024, list, 2), 2);
    assert_int_equal(written(0, 0, 1024, list, 512), 1); /* only what was listed is forgotten */
    assert_ptr_equal(list[0], base + 700 * PAGE_SIZE);
    TestVmPut(base + 3 * PAGE_SIZE, 2);
    assert_int_equal(written(0, 0, 1024, list, 512), 2);
}

static void reset_forgets_and_keeps_contents(void **state)
{
    static PVOID list[512];

    (void)state;
    base = TestVmAllocate(0, 256 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH, PAGE_READWRITE);
    TestVmFill(base, 256, 1);
    assert_int_equal(written(0, 0, 256, list, 512), 256);
    assert_int_equal(NtResetWriteWatch(NtCurrentProcess(), (PVOID)(base + 100 * PAGE_SIZE), 56 * PAGE_SIZE),
                     STATUS_SUCCESS);
    assert_int_equal(written(0, 0, 256, list, 512), 200);
    assert_int_equal(written(WRITE_WATCH_FLAG_RESET, 0, 256, list, 512), 200);
    assert_int_equal(written(0, 0, 256, list, 512), 0);
    TestVmPageOut(); /* pages whose writes are forgotten are dirty all the same */
    TestVmCheck(base, 256, 1);
    assert_int_equal(written(0, 0, 256, list, 512), 0);
    TestVmFill(base + 10 * PAGE_SIZE, 3, 2);
    assert_int_equal(written(0, 0, 256, list, 512), 3);
    TestVmPageOut();
    TestVmFill(base + 11 * PAGE_SIZE, 3, 3);
    assert_int_equal(written(0, 0, 256, list, 512), 4);
    TestVmProtect(base, 256 * PAGE_SIZE, PAGE_READONLY);
    TestVmProtect(base, 256 * PAGE_SIZE, PAGE_READWRITE);
    TestVmPut(base + 200 * PAGE_SIZE, 1);
    assert_int_equal(written(0, 0, 256, list, 512), 5);
}

static void writes_by_services_are_writes(void **state)
{
    PVOID list[16];

    (void)state;
    base = TestVmAllocate(0, 16 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH, PAGE_READWRITE);
    assert_int_equal(NtWriteVirtualMemory(NtCurrentProcess(), (PVOID)(base + 5 * PAGE_SIZE), "x", 1, NULL),
                     STATUS_SUCCESS);
    assert_int_equal(written(0, 0, 16, list, 16), 1);
    assert_ptr_equal(list[0], base + 5 * PAGE_SIZE);
    /* Of pages that are there already: only read, forgotten, or of the other process. */
    TestVmGet(base + 7 * PAGE_SIZE);
    assert_int_equal(NtResetWriteWatch(NtCurrentProcess(), (PVOID)base, 16 * PAGE_SIZE), STATUS_SUCCESS);
    for (ULONG page = 5; page < 8; page++)
    {
        assert_int_equal(
            NtWriteVirtualMemory(NtCurrentProcess(), (PVOID)(base + page * PAGE_SIZE + 4095), "ab", 2, NULL),
            STATUS_SUCCESS);
        assert_int_equal(written(0, 0, 16, list, 16), page - 3);
        assert_ptr_equal(list[page - 4], base + (page + 1) * PAGE_SIZE);
    }
    assert_ptr_equal(list[0], base + 5 * PAGE_SIZE);
    assert_int_equal(TestVmGet(base + 8 * PAGE_SIZE), 'b');
}

/* The page is there and shared with a clone: the write that makes it private is one, by pointer and by service. */
static void writes_that_copy_are_writes(void **state)
{
    PVOID list[16];
    HANDLE clone;

    (void)state;
    base = TestVmAllocate(0, 16 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH, PAGE_READWRITE);
    TestVmFill(base, 16, 1);
    assert_int_equal(
        NtCreateProcessEx(&clone, PROCESS_ALL_ACCESS, NULL, NtCurrentProcess(), 0, NULL, NULL, NULL, 0),
        STATUS_SUCCESS);
    assert_int_equal(NtResetWriteWatch(NtCurrentProcess(), (PVOID)base, 16 * PAGE_SIZE), STATUS_SUCCESS);
    TestVmPut(base + 2 * PAGE_SIZE, 9);
    assert_int_equal(NtWriteVirtualMemory(NtCurrentProcess(), (PVOID)(base + 4 * PAGE_SIZE), "x", 1, NULL),
                     STATUS_SUCCESS);
    assert_int_equal(written(0, 0, 16, list, 16), 2);
    assert_ptr_equal(list[0], base + 2 * PAGE_SIZE);
    assert_ptr_equal(list[1], base + 4 * PAGE_SIZE);
    assert_int_equal(NtTerminateProcess(clone, STATUS_SUCCESS), STATUS_SUCCESS);
    /* And of the pages that are nobody else's again. */
    TestVmPut(base + 6 * PAGE_SIZE, 9);
    assert_int_equal(written(0, 0, 16, list, 16), 3);
    assert_ptr_equal(list[2], base + 6 * PAGE_SIZE);
    assert_int_equal(NtClose(clone), STATUS_SUCCESS);
}

static void splitting_keeps_the_bits(void **state)
{
    PVOID list[64];

    (void)state;
    base = TestVmAllocate(0, 256 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH, PAGE_READWRITE);
    TestVmPut(base + 20 * PAGE_SIZE, 1);
    TestVmPut(base + 90 * PAGE_SIZE, 1);
    TestVmPut(base + 200 * PAGE_SIZE, 1);
    TestVmFree(base, 16 * PAGE_SIZE, MEM_RELEASE);
    assert_int_equal(written(0, 16, 240, list, 64), 3);
    TestVmFree(base + 64 * PAGE_SIZE, 16 * PAGE_SIZE, MEM_RELEASE);
    assert_int_equal(written(0, 16, 48, list, 64), 1);
    assert_ptr_equal(list[0], base + 20 * PAGE_SIZE);
    assert_int_equal(written(0, 80, 176, list, 64), 2);
    assert_ptr_equal(list[0], base + 90 * PAGE_SIZE);
    assert_ptr_equal(list[1], base + 200 * PAGE_SIZE);
    TestVmPut(base + 255 * PAGE_SIZE, 1);
    assert_int_equal(written(0, 80, 176, list, 64), 3);
}

static void parameters_are_checked(void **state)
{
    ULONG_PTR other = TestVmAllocate(0, PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PVOID list[1];
    ULONG_PTR count = 1;
    ULONG granularity = 7;

    (void)state;
    base = TestVmAllocate(0, 16 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH, PAGE_READWRITE);
    assert_int_equal(
        NtGetWriteWatch(NtCurrentProcess(), 2, (PVOID)base, PAGE_SIZE, list, &count, &granularity),
        STATUS_INVALID_PARAMETER_2);
    assert_int_equal(
        NtGetWriteWatch(NtCurrentProcess(), 0, (PVOID)other, PAGE_SIZE, list, &count, &granularity),
        STATUS_INVALID_PARAMETER_1);
    assert_int_equal(
        NtGetWriteWatch(NtCurrentProcess(), 0, (PVOID)base, 17 * PAGE_SIZE, list, &count, &granularity),
        STATUS_INVALID_PARAMETER_1);
    assert_int_equal(NtGetWriteWatch(NtCurrentProcess(), 0, (PVOID)(PORT_USER_HIGHEST + 1), PAGE_SIZE, list,
                                     &count, &granularity),
                     STATUS_INVALID_PARAMETER_3);
    assert_int_equal(NtGetWriteWatch(NtCurrentProcess(), 0, (PVOID)base, 0, list, &count, &granularity),
                     STATUS_INVALID_PARAMETER_4);
    count = 0;
    assert_int_equal(
        NtGetWriteWatch(NtCurrentProcess(), 0, (PVOID)base, PAGE_SIZE, list, &count, &granularity),
        STATUS_INVALID_PARAMETER_5);
    assert_int_equal(granularity, 7);
    assert_int_equal(NtResetWriteWatch(NtCurrentProcess(), (PVOID)other, PAGE_SIZE),
                     STATUS_INVALID_PARAMETER_1);
    assert_int_equal(NtResetWriteWatch(NtCurrentProcess(), (PVOID)base, 0), STATUS_INVALID_PARAMETER_3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_PROCESS(writes_are_listed_in_ascending_order),
        TEST_IN_PROCESS(reset_forgets_and_keeps_contents),
        TEST_IN_PROCESS(writes_by_services_are_writes),
        TEST_IN_PROCESS(writes_that_copy_are_writes),
        TEST_IN_PROCESS(splitting_keeps_the_bits),
        TEST_IN_PROCESS(parameters_are_checked),
    };

    return cmocka_run_group_tests_name("virtual.writewatch", tests, NULL, NULL);
}
