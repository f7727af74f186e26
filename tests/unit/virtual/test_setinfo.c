/* SPDX-License-Identifier: MIT */
/* NtSetInformationVirtualMemory: prefetch, page priority, removal from the working set. */
#include "process.h"

static NTSTATUS set(VIRTUAL_MEMORY_INFORMATION_CLASS class, ULONG value, ULONG_PTR base, SIZE_T size)
{
    MEMORY_RANGE_ENTRY range = { .VirtualAddress = (PVOID)base, .NumberOfBytes = size };

    return NtSetInformationVirtualMemory(NtCurrentProcess(), class, 1, &range, &value, sizeof(value));
}

static MEMORY_WORKING_SET_EX_BLOCK page(ULONG_PTR va)
{
    MEMORY_WORKING_SET_EX_INFORMATION entry = { .VirtualAddress = (PVOID)va };

    assert_int_equal(NtQueryVirtualMemory(NtCurrentProcess(), NULL, MemoryWorkingSetExInformation, &entry,
                                          sizeof(entry), NULL),
                     STATUS_SUCCESS);
    return entry.u1.VirtualAttributes;
}

static void prefetched_pages_are_in_memory_without_being_in_the_working_set(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 128 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    ULONG64 reads;

    (void)state;
    TestVmFill(base, 100, 1);
    TestVmPageOut();
    assert_int_equal(page(base + 50 * PAGE_SIZE).Invalid.Location, MemoryLocationPagefile);
    assert_int_equal(set(VmPrefetchInformation, 0, base, 128 * PAGE_SIZE), STATUS_SUCCESS);
    while (MiState.Paging->InPageInUse != 0)
    {
        assert_true(PortPollIo());
    }
    for (ULONG index = 0; index < 100; index++)
    {
        assert_int_equal(page(base + index * PAGE_SIZE).Valid, 0);
        assert_int_equal(page(base + index * PAGE_SIZE).Invalid.Location, MemoryLocationResident);
    }
    reads = MiQueryCounter(MiCounterPageReads);
    TestVmCheck(base, 100, 1);
    assert_int_equal(MiQueryCounter(MiCounterPageReads), reads);
}

static void priority_decides_the_standby_list(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 32 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    SYSTEM_MEMORY_LIST_INFORMATION lists;

    (void)state;
    TestVmFill(base, 32, 1);
    assert_int_equal(set(VmPagePriorityInformation, 2, base, 8 * PAGE_SIZE), STATUS_SUCCESS);
    assert_int_equal(page(base).Priority, 2);
    assert_int_equal(page(base + 8 * PAGE_SIZE).Priority, 5);
    TestVmWriteOut();
    assert_int_equal(NtQuerySystemInformation(SystemMemoryListInformation, &lists, sizeof(lists), NULL),
                     STATUS_SUCCESS);
    assert_int_equal(lists.PageCountByPriority[2], 8);
    assert_int_equal(lists.PageCountByPriority[5], 24);
    assert_int_equal(set(VmPagePriorityInformation, 1, base + 4 * PAGE_SIZE, 10 * PAGE_SIZE), STATUS_SUCCESS);
    assert_int_equal(NtQuerySystemInformation(SystemMemoryListInformation, &lists, sizeof(lists), NULL),
                     STATUS_SUCCESS);
    assert_int_equal(lists.PageCountByPriority[1], 10);
    assert_int_equal(lists.PageCountByPriority[2], 4);
    assert_int_equal(lists.PageCountByPriority[5], 18);
    MiPurgeStandby(2);
    assert_int_equal(page(base).Invalid.Location, MemoryLocationPagefile);
    assert_int_equal(page(base + 20 * PAGE_SIZE).Invalid.Location, MemoryLocationResident);
    TestVmCheck(base, 32, 1);
}

static void the_priority_of_an_allocation_holds_for_new_pages(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 8 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PAGE_PRIORITY_INFORMATION process = { .PagePriority = 3 };
    ULONG_PTR other;

    (void)state;
    assert_int_equal(set(VmPagePriorityInformation, 0, base, 8 * PAGE_SIZE), STATUS_SUCCESS);
    TestVmPut(base, 1);
    assert_int_equal(page(base).Priority, 0);
    assert_int_equal(
        NtSetInformationProcess(NtCurrentProcess(), ProcessPagePriority, &process, sizeof(process)),
        STATUS_SUCCESS);
    other = TestVmAllocate(0, PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    TestVmPut(other, 1);
    assert_int_equal(page(other).Priority, 3);
}

static void ranges_leave_the_working_set(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 32 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    (void)state;
    TestVmFill(base, 32, 1);
    assert_int_equal(set(VmRemoveFromWorkingSetInformation, 0, base + 5 * PAGE_SIZE, 20 * PAGE_SIZE),
                     STATUS_SUCCESS);
    assert_int_equal(MiWorkingSetPages(&TestUserProcess->Space), 12);
    TestVmCheck(base, 32, 1);
}

static void parameters_are_checked(void **state)
{
    MEMORY_RANGE_ENTRY ranges[2] = {
        { .VirtualAddress = (PVOID)PORT_USER_LOWEST, .NumberOfBytes = PAGE_SIZE },
        { .VirtualAddress = (PVOID)(PORT_USER_HIGHEST + 1), .NumberOfBytes = 1 }
    };
    ULONG value = 0;

    (void)state;
    assert_int_equal(NtSetInformationVirtualMemory(NtCurrentProcess(), MaxVmInfoClass, 1, ranges, &value, 4),
                     STATUS_INVALID_PARAMETER_2);
    assert_int_equal(
        NtSetInformationVirtualMemory(NtCurrentProcess(), VmPrefetchInformation, 0, ranges, &value, 4),
        STATUS_INVALID_PARAMETER_3);
    assert_int_equal(
        NtSetInformationVirtualMemory(NtCurrentProcess(), VmPrefetchInformation, 1, ranges, &value, 3),
        STATUS_INVALID_PARAMETER_6);
    assert_int_equal(
        NtSetInformationVirtualMemory(NtCurrentProcess(), VmPrefetchInformation, 2, ranges, &value, 4),
        STATUS_INVALID_ADDRESS);
    assert_int_equal(
        NtSetInformationVirtualMemory(NtCurrentProcess(), VmCfgCallTargetInformation, 1, ranges, &value, 4),
        STATUS_NOT_IMPLEMENTED);
    value = 6;
    assert_int_equal(
        NtSetInformationVirtualMemory(NtCurrentProcess(), VmPagePriorityInformation, 1, ranges, &value, 4),
        STATUS_INVALID_PARAMETER_5);
    value = 1;
    assert_int_equal(
        NtSetInformationVirtualMemory(NtCurrentProcess(), VmPrefetchInformation, 1, ranges, &value, 4),
        STATUS_INVALID_PARAMETER_5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_PROCESS(prefetched_pages_are_in_memory_without_being_in_the_working_set),
        TEST_IN_PROCESS(priority_decides_the_standby_list),
        TEST_IN_PROCESS(the_priority_of_an_allocation_holds_for_new_pages),
        TEST_IN_PROCESS(ranges_leave_the_working_set),
        TEST_IN_PROCESS(parameters_are_checked),
    };

    return cmocka_run_group_tests_name("virtual.setinfo", tests, NULL, NULL);
}
