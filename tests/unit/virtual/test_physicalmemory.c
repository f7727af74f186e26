/* SPDX-License-Identifier: MIT */
/* Memory that is added and removed while the machine runs: MmAddPhysicalMemory, MmRemovePhysicalMemory. */
#include "process.h"

#include "nt/mm.h"

#define MEGABYTE (1ull << 20)

/* Room in the paging file for everything: what lies in memory that is removed has to go there. */
static int enter(void **state)
{
    static const TEST_MACHINE machine = {
        .Deterministic = TRUE, .Seed = 1, .PagingFiles = 1, .PagingMegabytes = 64, .Workers = TRUE
    };

    (void)state;
    TestEnterProcess(&machine);
    return 0;
}

#define TEST_WITH_PAGING_FILE(Name) cmocka_unit_test_setup_teardown(Name, enter, TestLeaveFixture)

static PHYSICAL_ADDRESS at(PFN_NUMBER frame)
{
    PHYSICAL_ADDRESS address = { .QuadPart = (LONGLONG)(frame << PAGE_SHIFT) };
    return address;
}

static NTSTATUS add(PFN_NUMBER frame, ULONG64 bytes)
{
    PHYSICAL_ADDRESS start = at(frame);
    LARGE_INTEGER size = { .QuadPart = (LONGLONG)bytes };
    return MmAddPhysicalMemory(&start, &size);
}

static NTSTATUS take_out(PFN_NUMBER frame, ULONG64 bytes)
{
    PHYSICAL_ADDRESS start = at(frame);
    LARGE_INTEGER size = { .QuadPart = (LONGLONG)bytes };
    return MmRemovePhysicalMemory(&start, &size);
}

static PFN_NUMBER top(void)
{
    return MiState.Physical->HighestPage + 1;
}

static void added_memory_is_available_and_can_be_committed(void **state)
{
    PFN_NUMBER available = MiAvailablePages();
    PFN_NUMBER pages = MiState.Physical->NumberOfPages;
    SIZE_T limit = MiState.Physical->CommitLimit;
    PFN_NUMBER base = top() + 16;

    (void)state;
    assert_int_equal(add(base, 8 * MEGABYTE), STATUS_SUCCESS);
    assert_int_equal(MiAvailablePages(), available + 2048);
    assert_int_equal(MiState.Physical->NumberOfPages, pages + 2048);
    assert_int_equal(MiState.Physical->CommitLimit, limit + 2048);
    MiCheckPhysical(3);
    assert_int_equal(take_out(base, 8 * MEGABYTE), STATUS_SUCCESS);
    assert_int_equal(MiState.Physical->NumberOfPages, pages);
    assert_int_equal(MiState.Physical->CommitLimit, limit);
    MiCheckPhysical(3);
}

static void pages_survive_the_removal_of_the_memory_they_are_in(void **state)
{
    PFN_NUMBER base = top();
    ULONG_PTR memory;
    SIZE_T there = 0;

    (void)state;
    assert_int_equal(add(base, 16 * MEGABYTE), STATUS_SUCCESS);
    memory = TestVmAllocate(0, 20 * MEGABYTE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    TestVmFill(memory, 5120, 77);
    for (PFN_NUMBER frame = base; frame < base + 4096; frame++)
    {
        there += MiPfn(frame)->e1.PageLocation == ActiveAndValid && !MiPfn(frame)->e1.Kernel;
    }
    assert_true(there > 100); /* the test is about something */
    assert_int_equal(take_out(base, 16 * MEGABYTE), STATUS_SUCCESS);
    MiCheckPhysical(3);
    TestVmCheck(memory, 5120, 77);
}

static void a_part_can_be_removed_and_come_back(void **state)
{
    PFN_NUMBER base = top();
    PFN_NUMBER pages = MiState.Physical->NumberOfPages;

    (void)state;
    assert_int_equal(add(base, 4 * MEGABYTE), STATUS_SUCCESS);
    assert_int_equal(take_out(base + 256, MEGABYTE), STATUS_SUCCESS); /* from the middle: two runs remain */
    assert_int_equal(MiState.Physical->NumberOfPages, pages + 768);
    MiCheckPhysical(3);
    assert_int_equal(take_out(base + 256, MEGABYTE),
                     STATUS_CONFLICTING_ADDRESSES); /* is not there any more */
    assert_int_equal(add(base + 256, MEGABYTE), STATUS_SUCCESS);
    MiCheckPhysical(3);
    assert_int_equal(take_out(base, MEGABYTE), STATUS_SUCCESS);
    assert_int_equal(take_out(base + 256, MEGABYTE), STATUS_SUCCESS);
    assert_int_equal(take_out(base + 512, 2 * MEGABYTE), STATUS_SUCCESS);
    assert_int_equal(MiState.Physical->NumberOfPages, pages);
}

static void memory_in_use_by_the_kernel_stays(void **state)
{
    PFN_NUMBER pages = MiState.Physical->NumberOfPages;
    PFN_NUMBER available = MiAvailablePages();

    (void)state;
    /* The first frames hold page tables and pool. */
    assert_int_equal(take_out(MiState.Physical->Runs[0].BasePage, MEGABYTE), STATUS_INSUFFICIENT_RESOURCES);
    assert_int_equal(MiState.Physical->NumberOfPages, pages);
    assert_int_equal(MiAvailablePages(), available);
    MiCheckPhysical(3);
}

static void bad_ranges_are_refused(void **state)
{
    PFN_NUMBER base = top();

    (void)state;
    assert_int_equal(add(base, 0), STATUS_INVALID_PARAMETER_2);
    assert_int_equal(add(base, PAGE_SIZE + 1), STATUS_INVALID_PARAMETER_2);
    assert_int_equal(add(0, PAGE_SIZE), STATUS_INVALID_PARAMETER_1);
    assert_int_equal(add(base - 1, PAGE_SIZE), STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(add(MiState.Physical->DatabaseFrames, PAGE_SIZE), STATUS_INVALID_PARAMETER);
    assert_int_equal(take_out(base, PAGE_SIZE), STATUS_CONFLICTING_ADDRESSES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_WITH_PAGING_FILE(added_memory_is_available_and_can_be_committed),
        TEST_WITH_PAGING_FILE(pages_survive_the_removal_of_the_memory_they_are_in),
        TEST_WITH_PAGING_FILE(a_part_can_be_removed_and_come_back),
        TEST_WITH_PAGING_FILE(memory_in_use_by_the_kernel_stays),
        TEST_WITH_PAGING_FILE(bad_ranges_are_refused),
    };

    return cmocka_run_group_tests_name("virtual.physicalmemory", tests, NULL, NULL);
}
