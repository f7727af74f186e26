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
    assert_int_equal(query(SystemVerifierTriageInformation, &basic, sizeof(basic)), STATUS_NOT_IMPLEMENTED);
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
    assert_int_equal(command(MemoryCaptureAccessedBits),
                     STATUS_SUCCESS); /* all were reset, none was used since */
    assert_int_equal(TestUserProcess->Space.Vm.AgeCount[0], 64);
    assert_int_equal(command(MemoryCaptureAndResetAccessedBits), STATUS_SUCCESS);
    TestVmCheck(base, 24, 1);
    assert_int_equal(command(MemoryCaptureAccessedBits), STATUS_SUCCESS);
    assert_int_equal(TestUserProcess->Space.Vm.AgeCount[0], 24);
    assert_int_equal(TestUserProcess->Space.Vm.AgeCount[1], 40);
    assert_int_equal(command(MemoryCaptureAccessedBits), STATUS_SUCCESS); /* captured, not reset */
    assert_int_equal(TestUserProcess->Space.Vm.AgeCount[0], 24);
    assert_int_equal(command(MemoryCommandMax), STATUS_INVALID_PARAMETER);
    assert_int_equal(NtSetSystemInformation(SystemMemoryListInformation, &lists, 8),
                     STATUS_INFO_LENGTH_MISMATCH);
    assert_int_equal(NtSetSystemInformation(SystemFileCacheInformation, &lists, 8), STATUS_NOT_IMPLEMENTED);
    assert_int_equal(NtSetSystemInformation((SYSTEM_INFORMATION_CLASS)9999, &lists, 8),
                     STATUS_INVALID_INFO_CLASS);
}

/* ---- Pools ------------------------------------------------------------------------------------------------ */

#define POOL_TAG MI_TAG('S', 'y', 's', 'T')

static ULONG64 table[8192];

static const SYSTEM_POOLTAG *find_tag(ULONG tag)
{
    const SYSTEM_POOLTAG_INFORMATION *tags = (PVOID)table;

    assert_int_equal(query(SystemPoolTagInformation, table, sizeof(table)), STATUS_SUCCESS);
    for (ULONG i = 0; i < tags->Count; i++)
    {
        if (tags->TagInfo[i].TagUlong == tag)
        {
            return &tags->TagInfo[i];
        }
    }
    return NULL;
}

static void pool_tags_are_counted_by_pool(void **state)
{
    ULONG returned = 0;
    PVOID nonpaged;
    PVOID paged;

    (void)state;
    assert_null(find_tag(POOL_TAG));
    assert_non_null(find_tag(MI_TAG('P', 'r', 'o', 'c')));
    nonpaged = ExAllocatePoolWithTag(NonPagedPoolNx, 100, POOL_TAG);
    paged = ExAllocatePoolWithTag(PagedPool, 10000, POOL_TAG);
    assert_int_equal(find_tag(POOL_TAG)->NonPagedAllocs, 1);
    assert_int_equal(find_tag(POOL_TAG)->NonPagedUsed, 128);
    assert_int_equal(find_tag(POOL_TAG)->PagedAllocs, 1);
    assert_int_equal(find_tag(POOL_TAG)->PagedUsed, 3 * PAGE_SIZE);
    ExFreePoolWithTag(nonpaged, POOL_TAG);
    ExFreePoolWithTag(paged, POOL_TAG);
    assert_int_equal(find_tag(POOL_TAG)->NonPagedFrees, 1);
    assert_int_equal(find_tag(POOL_TAG)->NonPagedUsed + find_tag(POOL_TAG)->PagedUsed, 0);
    assert_int_equal(NtQuerySystemInformation(SystemPoolTagInformation, table, 8, &returned),
                     STATUS_INFO_LENGTH_MISMATCH);
    assert_true(returned > sizeof(SYSTEM_POOLTAG_INFORMATION) &&
                (returned - 8) % sizeof(SYSTEM_POOLTAG) == 0);
    assert_int_equal(NtQuerySystemInformation(SystemPoolTagInformation, table, returned, &returned),
                     STATUS_SUCCESS);
}

static void big_blocks_are_listed_with_address_size_and_pool(void **state)
{
    const SYSTEM_BIGPOOL_INFORMATION *blocks = (PVOID)table;
    PVOID nonpaged = ExAllocatePoolWithTag(NonPagedPoolNx, 5000, POOL_TAG);
    PVOID paged = ExAllocatePoolWithTag(PagedPool, 9000, POOL_TAG);
    ULONG found = 0;

    (void)state;
    assert_int_equal(query(SystemBigPoolInformation, table, sizeof(table)), STATUS_SUCCESS);
    for (ULONG i = 0; i < blocks->Count; i++)
    {
        const SYSTEM_BIGPOOL_ENTRY *entry = &blocks->AllocatedInfo[i];

        if (entry->TagUlong == POOL_TAG)
        {
            PVOID block = entry->NonPaged ? nonpaged : paged;

            assert_int_equal((ULONG_PTR)entry->VirtualAddress & ~(ULONG_PTR)1, (ULONG_PTR)block);
            assert_int_equal(entry->SizeInBytes, entry->NonPaged ? 2 * PAGE_SIZE : 3 * PAGE_SIZE);
            found += entry->NonPaged ? 1 : 16;
        }
    }
    assert_int_equal(found, 17);
    ExFreePool(nonpaged);
    ExFreePool(paged);
}

static void pool_pages_and_lookaside_lists_are_reported(void **state)
{
    const SYSTEM_LOOKASIDE_INFORMATION *lists = (PVOID)table;
    SYSTEM_PERFORMANCE_INFORMATION before, after;
    NPAGED_LOOKASIDE_LIST lookaside;
    ULONG returned = 0;
    PVOID paged;

    (void)state;
    assert_int_equal(query(SystemPerformanceInformation, &before, sizeof(before)), STATUS_SUCCESS);
    paged = ExAllocatePoolWithTag(PagedPool, 9000, POOL_TAG);
    assert_int_equal(query(SystemPerformanceInformation, &after, sizeof(after)), STATUS_SUCCESS);
    assert_int_equal(after.PagedPoolPages - before.PagedPoolPages, 3);
    assert_int_equal(before.AvailablePagedPoolPages - after.AvailablePagedPoolPages, 3);
    assert_int_equal(after.PagedPoolAllocs - before.PagedPoolAllocs, 1);
    assert_int_equal(after.NonPagedPoolPages, MiPoolPagesInUse());
    ExFreePool(paged);
    ExInitializeNPagedLookasideList(&lookaside, NULL, NULL, 0, 200, POOL_TAG, 0);
    ExFreeToNPagedLookasideList(&lookaside, ExAllocateFromNPagedLookasideList(&lookaside));
    assert_int_equal(NtQuerySystemInformation(SystemLookasideInformation, table, sizeof(table), &returned),
                     STATUS_SUCCESS);
    assert_int_equal(returned, sizeof(*lists));
    assert_int_equal(lists->Tag, POOL_TAG);
    assert_int_equal(lists->Size, 200);
    assert_int_equal(lists->TotalAllocates, 1);
    assert_int_equal(lists->TotalFrees, 1);
    ExDeleteNPagedLookasideList(&lookaside);
}

/* SystemPageFileInformation(Ex): sizes, use now and at its peak; what Windows shows as % Usage and % Usage Peak. */
static void paging_files_tell_their_use(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 64 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    struct
    {
        SYSTEM_PAGEFILE_INFORMATION_EX Information;
        WCHAR Name[64];
    } file;

    (void)state;
    assert_int_equal(query(SystemPageFileInformationEx, &file, sizeof(file)), STATUS_SUCCESS);
    assert_int_equal(file.Information.TotalInUse, 0);
    assert_int_equal(file.Information.NextEntryOffset, 0);
    TestVmFill(base, 64, 1);
    TestVmPageOut();
    assert_int_equal(query(SystemPageFileInformationEx, &file, sizeof(file)), STATUS_SUCCESS);
    assert_true(file.Information.TotalInUse >= 64 && file.Information.TotalInUse < 80); /* and page tables */
    assert_int_equal(file.Information.PeakUsage, file.Information.TotalInUse);
    assert_true(file.Information.MaximumSize >= file.Information.MinimumSize);
    assert_int_equal(file.Information.TotalSize, MiState.Paging->Files[0]->Size);
    TestVmFree(base, 0, MEM_RELEASE);
    assert_int_equal(query(SystemPageFileInformationEx, &file, sizeof(file)), STATUS_SUCCESS);
    assert_true(file.Information.TotalInUse < 16);
    assert_true(file.Information.PeakUsage >= 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_PROCESS(the_machine_is_described),
        TEST_IN_PROCESS(processes_are_listed_with_their_memory),
        TEST_IN_PROCESS(pool_tags_are_counted_by_pool),
        TEST_IN_PROCESS(big_blocks_are_listed_with_address_size_and_pool),
        TEST_IN_PROCESS(pool_pages_and_lookaside_lists_are_reported),
        TEST_IN_PROCESS(paging_files_tell_their_use),
        TEST_IN_PROCESS(commands_move_pages_from_list_to_list),
    };

    return cmocka_run_group_tests_name("nt.system", tests, NULL, NULL);
}
