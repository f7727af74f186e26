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

/* ---- Edges of adding and removing ------------------------------------------------------------------------ */

static void memory_of_several_runs_is_removed_in_one_call(void **state)
{
    PFN_NUMBER pages = MiState.Physical->NumberOfPages;
    PFN_NUMBER base = top();

    (void)state;
    assert_int_equal(add(base, MEGABYTE), STATUS_SUCCESS);
    assert_int_equal(add(base + 256, MEGABYTE), STATUS_SUCCESS);
    assert_int_equal(take_out(base + 128, MEGABYTE), STATUS_SUCCESS);
    assert_int_equal(MiState.Physical->NumberOfPages, pages + 256);
    assert_int_equal(take_out(base, 2 * MEGABYTE), STATUS_CONFLICTING_ADDRESSES); /* a hole is in it now */
    assert_int_equal(take_out(base, MEGABYTE / 2), STATUS_SUCCESS);
    assert_int_equal(take_out(base + 384, MEGABYTE / 2), STATUS_SUCCESS);
    assert_int_equal(MiState.Physical->NumberOfPages, pages);
    MiCheckPhysical(3);
}

static void places_in_the_table_of_runs_are_used_again(void **state)
{
    PFN_NUMBER base = top();

    (void)state;
    for (ULONG round = 0; round < 3 * MI_MAXIMUM_RUNS; round++)
    {
        assert_int_equal(add(base, MEGABYTE / 4), STATUS_SUCCESS);
        assert_int_equal(take_out(base, MEGABYTE / 4), STATUS_SUCCESS);
    }
    for (ULONG run = MiState.Physical->RunCount; run < MI_MAXIMUM_RUNS + 1; run++)
    {
        NTSTATUS status = add(base + 128 * run, MEGABYTE / 4);
        assert_true(status == STATUS_SUCCESS || run >= MI_MAXIMUM_RUNS - 1);
    }
    assert_int_equal(add(base + 128 * (MI_MAXIMUM_RUNS + 8), MEGABYTE / 4), STATUS_INSUFFICIENT_RESOURCES);
    for (ULONG run = 0; run < MI_MAXIMUM_RUNS + 1; run++)
    {
        take_out(base + 128 * run, MEGABYTE / 4);
    }
    MiCheckPhysical(3);
}

static void adding_memory_of_which_a_part_is_there_is_refused(void **state)
{
    PFN_NUMBER base = top();
    PFN_NUMBER pages = MiState.Physical->NumberOfPages;

    (void)state;
    assert_int_equal(add(base + 64, MEGABYTE), STATUS_SUCCESS);
    assert_int_equal(add(base, MEGABYTE), STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(add(base + 100, PAGE_SIZE), STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(take_out(base + 64, MEGABYTE), STATUS_SUCCESS);
    assert_int_equal(MiState.Physical->NumberOfPages, pages);
}

/* ---- Bad memory ------------------------------------------------------------------------------------------- */

static NTSTATUS mark(PFN_NUMBER frame, ULONG64 bytes, BOOLEAN bad, ULONG64 *changed)
{
    PHYSICAL_ADDRESS start = at(frame);
    LARGE_INTEGER size = { .QuadPart = (LONGLONG)bytes };
    NTSTATUS status =
        bad ? MmMarkPhysicalMemoryAsBad(&start, &size) : MmMarkPhysicalMemoryAsGood(&start, &size);

    *changed = (ULONG64)size.QuadPart;
    return status;
}

static void bad_frames_are_not_given_out_until_they_are_good_again(void **state)
{
    PFN_NUMBER base = top();
    SIZE_T limit;
    ULONG64 changed = 0;
    PFN_NUMBER available;

    (void)state;
    assert_int_equal(add(base, MEGABYTE), STATUS_SUCCESS);
    available = MiAvailablePages();
    limit = MiState.Physical->CommitLimit;
    assert_int_equal(mark(base + 10, 20 * PAGE_SIZE, TRUE, &changed), STATUS_SUCCESS);
    assert_int_equal(changed, 20 * PAGE_SIZE);
    assert_int_equal(MiListTotal(&MiState.Physical->BadList), 20);
    assert_int_equal(MiAvailablePages(), available - 20);
    assert_int_equal(MiState.Physical->CommitLimit, limit - 20);
    MiCheckPhysical(3);
    assert_int_equal(mark(base, 30 * PAGE_SIZE, TRUE, &changed), STATUS_SUCCESS);
    assert_int_equal(changed, 10 * PAGE_SIZE); /* the others were marked already */
    assert_int_equal(MiAllocateContiguousPages(40, base, base + 60, 1), 0);
    assert_int_equal(mark(base, 30 * PAGE_SIZE, FALSE, &changed), STATUS_SUCCESS);
    assert_int_equal(changed, 30 * PAGE_SIZE);
    assert_int_equal(MiListTotal(&MiState.Physical->BadList), 0);
    assert_int_equal(MiAvailablePages(), available);
    assert_int_equal(MiState.Physical->CommitLimit, limit);
    assert_int_equal(take_out(base, MEGABYTE), STATUS_SUCCESS);
}

/* QueryWorkingSetEx tells; the contents stay; the frame goes when its owner lets go. */
static void a_bad_frame_in_use_leaves_with_its_page(void **state)
{
    ULONG_PTR memory = TestVmAllocate(0, 64 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    SIZE_T locked = PAGE_SIZE;
    PVOID base = (PVOID)memory;
    PHYSICAL_ADDRESS first = { .QuadPart = 0 };
    MEMORY_WORKING_SET_EX_BLOCK block;
    ULONG64 changed = 0;
    PMMPTE pte;

    (void)state;
    TestVmFill(memory, 64, 3);
    assert_int_equal(NtLockVirtualMemory(NtCurrentProcess(), &base, &locked, 1), STATUS_SUCCESS);
    assert_int_equal(MiWalk(TestUserProcess->Space.TopLevel, memory, &pte), 0);
    first.QuadPart = (LONGLONG)(MiReadPte(pte).Hard.PageFrameNumber << PAGE_SHIFT);
    assert_int_equal(mark((PFN_NUMBER)(first.QuadPart >> PAGE_SHIFT), PAGE_SIZE, TRUE, &changed),
                     STATUS_SUCCESS);
    assert_int_equal(MiListTotal(&MiState.Physical->BadList), 0); /* locked: it stays where it is */
    block = MiQueryWorkingSetExBlock(&TestUserProcess->Space, memory);
    assert_int_equal(block.Valid, 1);
    assert_int_equal(block.Bad, 1);
    TestVmCheck(memory, 64, 3);
    assert_int_equal(NtUnlockVirtualMemory(NtCurrentProcess(), &base, &locked, 1), STATUS_SUCCESS);
    TestVmWriteOut(); /* clean: the frame can go, the page comes back elsewhere */
    assert_int_equal(MiListTotal(&MiState.Physical->BadList), 1);
    TestVmCheck(memory, 64, 3);
    block = MiQueryWorkingSetExBlock(&TestUserProcess->Space, memory);
    assert_int_equal(block.Bad, 0);
    assert_int_equal(mark((PFN_NUMBER)(first.QuadPart >> PAGE_SHIFT), PAGE_SIZE, FALSE, &changed),
                     STATUS_SUCCESS);
    assert_int_equal(changed, PAGE_SIZE);
    TestVmFree(memory, 0, MEM_RELEASE);
}

static void bad_memory_can_be_removed(void **state)
{
    PFN_NUMBER base = top();
    SIZE_T limit = MiState.Physical->CommitLimit;
    LONG64 resident = MiState.Physical->ResidentAvailable;
    ULONG64 changed = 0;

    (void)state;
    assert_int_equal(add(base, MEGABYTE), STATUS_SUCCESS);
    assert_int_equal(mark(base + 5, 3 * PAGE_SIZE, TRUE, &changed), STATUS_SUCCESS);
    assert_int_equal(take_out(base, MEGABYTE), STATUS_SUCCESS);
    assert_int_equal(MiListTotal(&MiState.Physical->BadList), 0);
    assert_int_equal(MiState.Physical->CommitLimit, limit);
    assert_int_equal(MiState.Physical->ResidentAvailable, resident);
    assert_int_equal(add(base, MEGABYTE), STATUS_SUCCESS); /* new memory, and good */
    assert_int_equal(mark(base, MEGABYTE, FALSE, &changed), STATUS_SUCCESS);
    assert_int_equal(changed, 0);
    assert_int_equal(take_out(base, MEGABYTE), STATUS_SUCCESS);
    MiCheckPhysical(3);
}

static void marks_outside_of_memory_are_refused(void **state)
{
    ULONG64 changed = 0;

    (void)state;
    assert_int_equal(mark(top() + 5, PAGE_SIZE, TRUE, &changed), STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(mark(top() + 5, PAGE_SIZE, FALSE, &changed), STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(mark(0, PAGE_SIZE, TRUE, &changed), STATUS_INVALID_PARAMETER_1);
    assert_int_equal(mark(1, 100, TRUE, &changed), STATUS_INVALID_PARAMETER_2);
    /* More than commitment can spare. */
    assert_int_equal(mark(1, MiState.Physical->NumberOfPages << PAGE_SHIFT, TRUE, &changed),
                     STATUS_INSUFFICIENT_RESOURCES);
    assert_int_equal(MiListTotal(&MiState.Physical->BadList), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_WITH_PAGING_FILE(added_memory_is_available_and_can_be_committed),
        TEST_WITH_PAGING_FILE(pages_survive_the_removal_of_the_memory_they_are_in),
        TEST_WITH_PAGING_FILE(a_part_can_be_removed_and_come_back),
        TEST_WITH_PAGING_FILE(memory_in_use_by_the_kernel_stays),
        TEST_WITH_PAGING_FILE(bad_ranges_are_refused),
        TEST_WITH_PAGING_FILE(memory_of_several_runs_is_removed_in_one_call),
        TEST_WITH_PAGING_FILE(places_in_the_table_of_runs_are_used_again),
        TEST_WITH_PAGING_FILE(adding_memory_of_which_a_part_is_there_is_refused),
        TEST_WITH_PAGING_FILE(bad_frames_are_not_given_out_until_they_are_good_again),
        TEST_WITH_PAGING_FILE(a_bad_frame_in_use_leaves_with_its_page),
        TEST_WITH_PAGING_FILE(bad_memory_can_be_removed),
        TEST_WITH_PAGING_FILE(marks_outside_of_memory_are_refused),
    };

    return cmocka_run_group_tests_name("virtual.physicalmemory", tests, NULL, NULL);
}
