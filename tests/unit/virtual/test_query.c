/* SPDX-License-Identifier: MIT */
/* NtQueryVirtualMemory: how regions are merged, working sets, regions as a whole. */
#include "process.h"

static NTSTATUS query(ULONG_PTR va, MEMORY_INFORMATION_CLASS class, PVOID buffer, SIZE_T length,
                      SIZE_T *returned)
{
    return NtQueryVirtualMemory(NtCurrentProcess(), (PVOID)va, class, buffer, length, returned);
}

static void pages_alike_are_one_region(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 32 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    MEMORY_BASIC_INFORMATION region;

    (void)state;
    TestVmFill(base, 8, 1); /* touched or not, paged out or not */
    TestVmPageOut();
    TestVmFill(base + 4 * PAGE_SIZE, 8, 1);
    TEST_EXPECT_REGION(base, 32 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    TestVmProtect(base + 10 * PAGE_SIZE, 5 * PAGE_SIZE, PAGE_READONLY);
    TestVmFree(base + 20 * PAGE_SIZE, 2 * PAGE_SIZE, MEM_DECOMMIT);
    TEST_EXPECT_REGION(base, 10 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    TEST_EXPECT_REGION(base + 10 * PAGE_SIZE, 5 * PAGE_SIZE, MEM_COMMIT, PAGE_READONLY);
    TEST_EXPECT_REGION(base + 15 * PAGE_SIZE, 5 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    TEST_EXPECT_REGION(base + 20 * PAGE_SIZE, 2 * PAGE_SIZE, MEM_RESERVE, 0);
    TEST_EXPECT_REGION(base + 22 * PAGE_SIZE, 10 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    region = TestVmQuery(base + 12 * PAGE_SIZE + 77);
    assert_ptr_equal(region.BaseAddress, base + 12 * PAGE_SIZE);
    assert_ptr_equal(region.AllocationBase, base);
    assert_int_equal(region.AllocationProtect, PAGE_READWRITE);
    assert_int_equal(region.RegionSize, 3 * PAGE_SIZE);
    assert_int_equal(region.Type, MEM_PRIVATE);
}

static void neighbouring_allocations_are_two_regions(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 32 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    (void)state;
    TestVmAllocate(base + 32 * PAGE_SIZE, 16 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    TEST_EXPECT_REGION(base, 32 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
}

static void free_regions_reach_to_the_next_allocation(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, PAGE_SIZE, MEM_RESERVE, PAGE_READWRITE);
    ULONG_PTR next = TestVmAllocate(base + 0x100000, PAGE_SIZE, MEM_RESERVE, PAGE_READWRITE);
    MEMORY_BASIC_INFORMATION region = TestVmQuery(base + PAGE_SIZE);

    (void)state;
    assert_int_equal(region.State, MEM_FREE);
    assert_int_equal(region.Protect, PAGE_NOACCESS);
    assert_int_equal(region.RegionSize, next - base - PAGE_SIZE);
    assert_null(region.AllocationBase);
    assert_int_equal(region.AllocationProtect, 0);
    assert_int_equal(region.Type, 0);
    region = TestVmQuery(next + PAGE_SIZE);
    assert_int_equal((ULONG_PTR)region.BaseAddress + region.RegionSize, PORT_USER_HIGHEST + 1);
    assert_int_equal(TestVmQuery(0).State, MEM_FREE);
}

static void a_walk_over_a_huge_reservation_is_short(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 1ull << 37, MEM_RESERVE, PAGE_READWRITE);
    ULONG regions = 0;

    (void)state;
    TestVmAllocate(base + (1ull << 36) + 0x5000, 0x3000, MEM_COMMIT, PAGE_READWRITE);
    for (ULONG_PTR va = base; va < base + (1ull << 37); regions++)
    {
        MEMORY_BASIC_INFORMATION region = TestVmQuery(va);
        va = (ULONG_PTR)region.BaseAddress + region.RegionSize;
    }
    assert_int_equal(regions, 3);
}

static void lengths_and_addresses_are_checked(void **state)
{
    MEMORY_BASIC_INFORMATION region;
    SIZE_T returned = 0;

    (void)state;
    assert_int_equal(query(0, MemoryBasicInformation, &region, sizeof(region) - 1, &returned),
                     STATUS_INFO_LENGTH_MISMATCH);
    assert_int_equal(returned, sizeof(region));
    assert_int_equal(query(PORT_USER_HIGHEST + 1, MemoryBasicInformation, &region, sizeof(region), NULL),
                     STATUS_INVALID_PARAMETER);
    assert_int_equal(query(0, MaxMemoryInfoClass, &region, sizeof(region), NULL), STATUS_INVALID_INFO_CLASS);
    assert_int_equal(query(0, MemoryEnclaveImageInformation, &region, sizeof(region), NULL),
                     STATUS_NOT_IMPLEMENTED);
    assert_int_equal(query(0, MemoryMappedFilenameInformation, &region, sizeof(region), NULL),
                     STATUS_INVALID_ADDRESS);
}

static void the_working_set_lists_resident_pages(void **state)
{
    static struct
    {
        ULONG_PTR NumberOfEntries;
        MEMORY_WORKING_SET_BLOCK WorkingSetInfo[300];
    } list;
    ULONG_PTR base = TestVmAllocate(0, 256 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    SIZE_T returned;

    (void)state;
    TestVmFill(base, 200, 1);
    TestVmProtect(base, PAGE_SIZE, PAGE_READONLY);
    assert_int_equal(query(0, MemoryWorkingSetInformation, &list, sizeof(ULONG_PTR), &returned),
                     STATUS_INFO_LENGTH_MISMATCH);
    assert_int_equal(list.NumberOfEntries, 200);
    assert_int_equal(query(0, MemoryWorkingSetInformation, &list, sizeof(list), &returned), STATUS_SUCCESS);
    assert_int_equal(list.NumberOfEntries, 200);
    assert_int_equal(returned, 201 * 8);
    for (ULONG index = 0; index < 200; index++)
    {
        assert_int_equal(list.WorkingSetInfo[index].VirtualPage, (base >> PAGE_SHIFT) + index);
        assert_int_equal(list.WorkingSetInfo[index].Protection, index == 0 ? 1 : 4);
        assert_int_equal(list.WorkingSetInfo[index].Shared, 0);
    }
    TestVmTrimAll();
    assert_int_equal(query(0, MemoryWorkingSetInformation, &list, sizeof(list), &returned), STATUS_SUCCESS);
    assert_int_equal(list.NumberOfEntries, 0);
}

static void single_pages_say_where_they_are(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 16 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    MEMORY_WORKING_SET_EX_INFORMATION pages[5];

    (void)state;
    TestVmFill(base, 3, 1);
    TestVmPageOut();
    TestVmGet(base);
    TestVmFill(base + PAGE_SIZE, 1, 2);
    TestVmTrimAll();
    TestVmGet(base);
    for (ULONG index = 0; index < 5; index++)
    {
        pages[index].VirtualAddress = (PVOID)(base + index * PAGE_SIZE);
        pages[index].u1.Long = ~0ull;
    }
    pages[4].VirtualAddress = (PVOID)(base + 100 * PAGE_SIZE);
    assert_int_equal(query(0, MemoryWorkingSetExInformation, pages, sizeof(pages) - 1, NULL),
                     STATUS_INFO_LENGTH_MISMATCH);
    assert_int_equal(query(0, MemoryWorkingSetExInformation, pages, sizeof(pages), NULL), STATUS_SUCCESS);
    assert_int_equal(pages[0].u1.VirtualAttributes.Valid, 1);
    assert_int_equal(pages[0].u1.VirtualAttributes.Win32Protection, PAGE_READWRITE);
    assert_int_equal(pages[0].u1.VirtualAttributes.Locked, 0);
    assert_int_equal(pages[0].u1.VirtualAttributes.Priority, 5);
    assert_int_equal(pages[1].u1.VirtualAttributes.Valid, 0);
    assert_int_equal(pages[1].u1.VirtualAttributes.Invalid.Location, MemoryLocationResident);
    assert_int_equal(pages[1].u1.VirtualAttributes.Invalid.ModifiedList, 1);
    assert_int_equal(pages[3].u1.Long, 0);
    assert_int_equal(pages[4].u1.Long, 0);
}

static void regions_tell_size_and_charge(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 32 * PAGE_SIZE, MEM_RESERVE | MEM_WRITE_WATCH, PAGE_READWRITE);
    MEMORY_REGION_INFORMATION region;
    SIZE_T returned;

    (void)state;
    TestVmAllocate(base + PAGE_SIZE, 3 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(query(base + 5 * PAGE_SIZE, MemoryRegionInformation, &region, sizeof(region), &returned),
                     STATUS_SUCCESS);
    assert_ptr_equal(region.AllocationBase, base);
    assert_int_equal(region.AllocationProtect, PAGE_READWRITE);
    assert_int_equal(region.RegionSize, 32 * PAGE_SIZE);
    assert_int_equal(region.CommitSize, 3 * PAGE_SIZE);
    assert_true(region.Private && region.MappedWriteWatch && !region.PlaceholderReservation);
    assert_int_equal(query(base, MemoryRegionInformation, &region, 32, &returned), STATUS_SUCCESS);
    assert_int_equal(returned, 32);
    assert_int_equal(query(base + 32 * PAGE_SIZE, MemoryRegionInformation, &region, sizeof(region), NULL),
                     STATUS_INVALID_ADDRESS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_PROCESS(pages_alike_are_one_region),
        TEST_IN_PROCESS(neighbouring_allocations_are_two_regions),
        TEST_IN_PROCESS(free_regions_reach_to_the_next_allocation),
        TEST_IN_PROCESS(a_walk_over_a_huge_reservation_is_short),
        TEST_IN_PROCESS(lengths_and_addresses_are_checked),
        TEST_IN_PROCESS(the_working_set_lists_resident_pages),
        TEST_IN_PROCESS(single_pages_say_where_they_are),
        TEST_IN_PROCESS(regions_tell_size_and_charge),
    };

    return cmocka_run_group_tests_name("virtual.query", tests, NULL, NULL);
}
