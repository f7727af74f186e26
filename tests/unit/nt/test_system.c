/* SPDX-License-Identifier: MIT */
/* System information about memory, and the commands to the page lists. */
#include "process.h"

static NTSTATUS query(SYSTEM_INFORMATION_CLASS class, PVOID buffer, ULONG length)
{
    ULONG returned = 0;
    NTSTATUS status = NtQuerySystemInformation(class, buffer, length, &returned);

    if (status == STATUS_SUCCESS)
    {
        assert_true(returned <= length);
    }
    return status;
}

static void the_machine_is_described(void **state)
{
    SYSTEM_BASIC_INFORMATION basic;
    SYSTEM_PERFORMANCE_INFORMATION performance;
    SYSTEM_BASIC_PERFORMANCE_INFORMATION small;
    SYSTEM_FILECACHE_INFORMATION cache;
    ULONG_PTR base = TestVmAllocate(0, 64 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    (void)state;
    TestVmFill(base, 64, 1);
    TestVmPageOut();
    TestVmCheck(base, 64, 1);
    assert_int_equal(query(SystemBasicInformation, &basic, sizeof(basic)), STATUS_SUCCESS);
    assert_int_equal(basic.PageSize, 4096);
    assert_int_equal(basic.AllocationGranularity, 65536);
    assert_int_equal(basic.NumberOfPhysicalPages, MiState.Physical->NumberOfPages);
    assert_int_equal(basic.NumberOfProcessors, 1);
    assert_int_equal(basic.MinimumUserModeAddress, PORT_USER_LOWEST);
    assert_int_equal(basic.MaximumUserModeAddress, PORT_USER_HIGHEST);
    assert_int_equal(query(SystemPerformanceInformation, &performance, sizeof(performance)), STATUS_SUCCESS);
    assert_int_equal(performance.CommittedPages, MiState.Physical->CommittedPages);
    assert_int_equal(performance.CommitLimit, MiState.Physical->CommitLimit);
    assert_int_equal(performance.AvailablePages, MiAvailablePages());
    assert_true(performance.PageFaultCount >= 64 && performance.DemandZeroCount >= 64);
    assert_true(performance.DirtyPagesWriteCount >= 64 && performance.PageReadCount >= 64);
    assert_true(performance.PageReadIoCount > 0 && performance.PageReadIoCount < 64);
    assert_int_equal(query(SystemBasicPerformanceInformation, &small, sizeof(small)), STATUS_SUCCESS);
    assert_int_equal(small.CommitLimit, performance.CommitLimit);
    assert_int_equal(query(SystemFileCacheInformation, &cache, sizeof(cache)), STATUS_SUCCESS);
    assert_int_equal(query(SystemBasicInformation, &basic, 4), STATUS_INFO_LENGTH_MISMATCH);
    assert_int_equal(query(SystemPoolTagInformation, &basic, sizeof(basic)), STATUS_NOT_IMPLEMENTED);
    assert_int_equal(query((SYSTEM_INFORMATION_CLASS)9999, &basic, sizeof(basic)), STATUS_INVALID_INFO_CLASS);
}

static void processes_are_listed_with_their_memory(void **state)
{
    static ULONG64 buffer[512];
    SYSTEM_PROCESS_INFORMATION *entry = (SYSTEM_PROCESS_INFORMATION *)buffer;
    PEPROCESS other = TestNewProcess("second");
    ULONG_PTR base = TestVmAllocate(0, 10 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    ULONG returned = 0, count = 0;
    BOOLEAN found = FALSE;

    (void)state;
    TestVmFill(base, 10, 1);
    assert_int_equal(NtQuerySystemInformation(SystemProcessInformation, NULL, 0, &returned),
                     STATUS_INFO_LENGTH_MISMATCH);
    assert_int_equal(NtQuerySystemInformation(SystemProcessInformation, buffer, returned, &returned),
                     STATUS_SUCCESS);
    for (;; entry = (SYSTEM_PROCESS_INFORMATION *)((UCHAR *)entry + entry->NextEntryOffset))
    {
        count++;
        if ((ULONG_PTR)entry->UniqueProcessId == TestUserProcess->UniqueProcessId)
        {
            found = TRUE;
            assert_int_equal(entry->WorkingSetSize, 10 * PAGE_SIZE);
            assert_int_equal(entry->VirtualSize, 10 * PAGE_SIZE);
            assert_int_equal(entry->ImageName.Length, 8);
            assert_memory_equal(entry->ImageName.Buffer, u"test", 8);
        }
        if (entry->NextEntryOffset == 0)
        {
            break;
        }
    }
    assert_true(found);
    assert_int_equal(count, 2);
    TestEndProcess(other);
}

static NTSTATUS command(SYSTEM_MEMORY_LIST_COMMAND value)
{
    return NtSetSystemInformation(SystemMemoryListInformation, &value, sizeof(ULONG));
}

static void commands_move_pages_from_list_to_list(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 64 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    SYSTEM_MEMORY_LIST_INFORMATION lists;
    MEMORY_RANGE_ENTRY range = { .VirtualAddress = (PVOID)base, .NumberOfBytes = 8 * PAGE_SIZE };
    ULONG priority = 1;

    (void)state;
    TestVmFill(base, 64, 1);
    assert_int_equal(NtSetInformationVirtualMemory(NtCurrentProcess(), VmPagePriorityInformation, 1, &range,
                                                   &priority, sizeof(priority)),
                     STATUS_SUCCESS);
    assert_int_equal(command(MemoryEmptyWorkingSets), STATUS_SUCCESS);
    assert_int_equal(MiWorkingSetPages(&TestUserProcess->Space), 0);
    assert_int_equal(query(SystemMemoryListInformation, &lists, sizeof(lists)), STATUS_SUCCESS);
    assert_int_equal(lists.ModifiedPageCount, 64);
    assert_int_equal(command(MemoryFlushModifiedList), STATUS_SUCCESS);
    assert_int_equal(query(SystemMemoryListInformation, &lists, sizeof(lists)), STATUS_SUCCESS);
    assert_int_equal(lists.ModifiedPageCount, 0);
    assert_int_equal(lists.PageCountByPriority[1], 8);
    assert_int_equal(lists.PageCountByPriority[5], 56);
    assert_int_equal(command(MemoryPurgeLowPriorityStandbyList), STATUS_SUCCESS);
    assert_int_equal(query(SystemMemoryListInformation, &lists, sizeof(lists)), STATUS_SUCCESS);
    assert_int_equal(lists.PageCountByPriority[1], 0);
    assert_int_equal(lists.PageCountByPriority[5], 56);
    assert_int_equal(command(MemoryPurgeStandbyList), STATUS_SUCCESS);
    assert_int_equal(MiStandbyPages(), 0);
    TestVmCheck(base, 64, 1);
    assert_int_equal(command(MemoryCaptureAndResetAccessedBits), STATUS_SUCCESS);
    assert_int_equal(MiWorkingSetPages(&TestUserProcess->Space), 64);
    assert_int_equal(command(MemoryCaptureAccessedBits), STATUS_NOT_IMPLEMENTED);
    assert_int_equal(command(MemoryCommandMax), STATUS_INVALID_PARAMETER);
    assert_int_equal(NtSetSystemInformation(SystemMemoryListInformation, &lists, 8),
                     STATUS_INFO_LENGTH_MISMATCH);
    assert_int_equal(NtSetSystemInformation(SystemFileCacheInformation, &lists, 8), STATUS_NOT_IMPLEMENTED);
    assert_int_equal(NtSetSystemInformation((SYSTEM_INFORMATION_CLASS)9999, &lists, 8),
                     STATUS_INVALID_INFO_CLASS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_PROCESS(the_machine_is_described),
        TEST_IN_PROCESS(processes_are_listed_with_their_memory),
        TEST_IN_PROCESS(commands_move_pages_from_list_to_list),
    };

    return cmocka_run_group_tests_name("nt.system", tests, NULL, NULL);
}
