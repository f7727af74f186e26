/* SPDX-License-Identifier: MIT */
/*
 * Clones: pages in every state are shared copy-on-write, charges are full, nothing is left when all are gone.
 */
#include "process.h"

#include "nt/wdm_mm.h"

static HANDLE clone_current(PEPROCESS *process)
{
    HANDLE handle;
    PVOID object;

    assert_int_equal(NtCreateProcessEx(&handle, PROCESS_ALL_ACCESS, NULL, NtCurrentProcess(),
                                       PROCESS_CREATE_FLAGS_INHERIT_HANDLES, NULL, NULL, NULL, 0),
                     STATUS_SUCCESS);
    assert_int_equal(
        ObReferenceHandle(PsGetCurrentProcess()->HandleTable, handle, 0, NULL, KernelMode, &object, NULL),
        STATUS_SUCCESS);
    *process = object;
    return handle;
}

static void end_clone(HANDLE handle, PEPROCESS process)
{
    MiCheckSpace(&process->Space, 2);
    MiCheckWorkingSet(&process->Space);
    assert_int_equal(NtTerminateProcess(handle, STATUS_SUCCESS), STATUS_SUCCESS);
    assert_int_equal(NtClose(handle), STATUS_SUCCESS);
    ObDereferenceObjectBody(process);
}

/* 64 pages: paged out, standby, modified, valid clean, valid dirty, never touched. */
static ULONG_PTR mixed(void)
{
    ULONG_PTR base = TestVmAllocate(0, 64 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    TestVmFill(base, 48, 1);
    TestVmPageOut();
    TestVmCheck(base, 32, 1);
    TestVmTrimAll();
    TestVmFill(base, 16, 1);
    TestVmTrimAll();
    TestVmFill(base, 8, 1);
    return base;
}

static void clones_have_the_same_contents_and_go_apart(void **state)
{
    ULONG_PTR base = mixed();
    PEPROCESS child;
    HANDLE handle = clone_current(&child);

    (void)state;
    assert_int_equal(child->Space.CommitCharge - child->Space.CommittedPageTables, 64);
    TestRunInProcess(child);
    TestVmCheck(base, 48, 1);
    TestVmCheckZero(base + 48 * PAGE_SIZE, 16);
    TEST_EXPECT_REGION(base, 64 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    TestVmFill(base, 24, 2);
    TestRunInProcess(TestUserProcess);
    TestVmCheck(base, 48, 1);
    TestVmFill(base + 20 * PAGE_SIZE, 30, 3);
    TestRunInProcess(child);
    TestVmCheck(base, 24, 2);
    TestVmCheck(base + 24 * PAGE_SIZE, 24, 1);
    TestVmCheckZero(base + 48 * PAGE_SIZE, 16);
    TestVmPageOut();
    TestRunInProcess(TestUserProcess);
    TestVmPageOut();
    TestVmCheck(base, 20, 1);
    TestVmCheck(base + 20 * PAGE_SIZE, 30, 3);
    TestRunInProcess(child);
    TestVmCheck(base, 24, 2);
    TestVmCheck(base + 24 * PAGE_SIZE, 24, 1);
    TestRunInProcess(TestUserProcess);
    end_clone(handle, child);
    TestVmCheck(base, 20, 1);
    TestVmFill(base, 64, 4);
    assert_int_equal(MiCloneBlocksInUse(), 0);
}

static void clones_of_clones_share_one_page(void **state)
{
    ULONG_PTR base = mixed();
    PEPROCESS child[4];
    HANDLE handle[4];

    (void)state;
    for (ULONG index = 0; index < 4; index++)
    {
        handle[index] = clone_current(&child[index]);
        if (index % 2 == 0)
        {
            TestVmPageOut();
        }
    }
    for (ULONG index = 0; index < 4; index++)
    {
        TestRunInProcess(child[index]);
        TestVmCheck(base, 48, 1);
        TestVmFill(base + index * PAGE_SIZE, 10, 10 + index);
        TestRunInProcess(TestUserProcess);
    }
    TestVmCheck(base, 48, 1);
    for (ULONG index = 0; index < 4; index++)
    {
        TestRunInProcess(child[index]);
        TestVmCheck(base + index * PAGE_SIZE, 10, 10 + index);
        TestVmCheck(base + 20 * PAGE_SIZE, 20, 1);
        TestRunInProcess(TestUserProcess);
        end_clone(handle[index], child[index]);
    }
    TestVmCheck(base, 48, 1);
}

static void the_child_outlives_the_parent(void **state)
{
    ULONG_PTR base = mixed();
    PEPROCESS child;
    HANDLE handle = clone_current(&child);

    (void)state;
    TestVmFree(base, 0, MEM_RELEASE);
    TestRunInProcess(child);
    TestVmCheck(base, 48, 1);
    TestVmFill(base, 64, 2);
    TestVmCheck(base, 64, 2);
    TestRunInProcess(TestUserProcess);
    end_clone(handle, child);
}

static void allocations_look_alike_in_the_child(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 64 * PAGE_SIZE, MEM_RESERVE, PAGE_READONLY);
    ULONG_PTR watched =
        TestVmAllocate(0, 16 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT | MEM_WRITE_WATCH, PAGE_READWRITE);
    ULONG_PTR secured = TestVmAllocate(0, 16 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    HANDLE lock1 = MmSecureVirtualMemory((PVOID)secured, PAGE_SIZE, PAGE_READWRITE);
    HANDLE lock2 = MmSecureVirtualMemoryEx((PVOID)(secured + PAGE_SIZE), PAGE_SIZE, PAGE_READWRITE,
                                           MM_SECURE_NO_INHERIT);
    PVOID address = (PVOID)secured, list[16];
    SIZE_T size = 4 * PAGE_SIZE;
    ULONG_PTR count = 16;
    ULONG granularity;
    PEPROCESS child;
    HANDLE handle;
    UCHAR value;

    (void)state;
    TestVmAllocate(base, 16 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    TestVmFill(base, 8, 1);
    TestVmProtect(base + 2 * PAGE_SIZE, PAGE_SIZE, PAGE_READONLY);
    TestVmProtect(base + 3 * PAGE_SIZE, PAGE_SIZE, PAGE_READWRITE | PAGE_GUARD);
    TestVmProtect(base + 4 * PAGE_SIZE, PAGE_SIZE, PAGE_NOACCESS);
    TestVmFree(base + 5 * PAGE_SIZE, PAGE_SIZE, MEM_DECOMMIT);
    TestVmPut(watched + PAGE_SIZE, 1);
    assert_int_equal(NtLockVirtualMemory(NtCurrentProcess(), &address, &size, MAP_PROCESS), STATUS_SUCCESS);
    handle = clone_current(&child);
    TestRunInProcess(child);
    TEST_EXPECT_REGION(base, 2 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    TEST_EXPECT_REGION(base + 2 * PAGE_SIZE, PAGE_SIZE, MEM_COMMIT, PAGE_READONLY);
    TEST_EXPECT_REGION(base + 3 * PAGE_SIZE, PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE | PAGE_GUARD);
    TEST_EXPECT_REGION(base + 4 * PAGE_SIZE, PAGE_SIZE, MEM_COMMIT, PAGE_NOACCESS);
    TEST_EXPECT_REGION(base + 5 * PAGE_SIZE, PAGE_SIZE, MEM_RESERVE, 0);
    TEST_EXPECT_REGION(base + 6 * PAGE_SIZE, 10 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(TestVmQuery(base).AllocationProtect, PAGE_READONLY);
    assert_int_equal(TestVmTryGet(base + 3 * PAGE_SIZE, &value), STATUS_GUARD_PAGE_VIOLATION);
    TestVmCheck(base + 3 * PAGE_SIZE, 1, 1);
    assert_int_equal(TestVmTryPut(base + 2 * PAGE_SIZE, 1), STATUS_ACCESS_VIOLATION);
    TestVmProtect(base + 4 * PAGE_SIZE, PAGE_SIZE, PAGE_READWRITE);
    TestVmCheck(base + 4 * PAGE_SIZE, 1, 1);
    assert_int_equal(child->Space.Vm.LockedPages, 0);
    assert_int_equal(
        NtGetWriteWatch(NtCurrentProcess(), 0, (PVOID)watched, 16 * PAGE_SIZE, list, &count, &granularity),
        STATUS_SUCCESS);
    assert_int_equal(count, 1);
    TestVmPut(watched + 2 * PAGE_SIZE, 1);
    count = 16;
    assert_int_equal(
        NtGetWriteWatch(NtCurrentProcess(), 0, (PVOID)watched, 16 * PAGE_SIZE, list, &count, &granularity),
        STATUS_SUCCESS);
    assert_int_equal(count, 2);
    assert_int_equal(TestVmTryProtect(secured, PAGE_SIZE, PAGE_READONLY), STATUS_INVALID_PAGE_PROTECTION);
    TestVmProtect(secured + PAGE_SIZE, PAGE_SIZE, PAGE_READONLY);
    TestRunInProcess(TestUserProcess);
    assert_int_equal(TestVmTryGet(base + 3 * PAGE_SIZE, &value), STATUS_GUARD_PAGE_VIOLATION);
    assert_int_equal(TestUserProcess->Space.Vm.LockedPages, 4);
    TestVmTrimAll();
    assert_int_equal(MiWorkingSetPages(&TestUserProcess->Space), 4);
    TestVmPut(secured, 5); /* the private copy of a locked page is locked */
    TestVmTrimAll();
    assert_int_equal(MiWorkingSetPages(&TestUserProcess->Space), 4);
    end_clone(handle, child);
    MmUnsecureVirtualMemory(lock1);
    MmUnsecureVirtualMemory(lock2);
}

static void services_work_on_shared_pages(void **state)
{
    ULONG_PTR base = mixed();
    PEPROCESS child;
    HANDLE handle = clone_current(&child);

    (void)state;
    TestRunInProcess(child);
    TestVmFree(base + 4 * PAGE_SIZE, 4 * PAGE_SIZE, MEM_DECOMMIT);
    TestVmAllocate(base + 4 * PAGE_SIZE, 4 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    TestVmCheckZero(base + 4 * PAGE_SIZE, 4);
    TestVmProtect(base + 8 * PAGE_SIZE, 40 * PAGE_SIZE, PAGE_READONLY);
    assert_int_equal(TestVmTryPut(base + 9 * PAGE_SIZE, 1), STATUS_ACCESS_VIOLATION);
    TestVmProtect(base + 8 * PAGE_SIZE, 40 * PAGE_SIZE, PAGE_READWRITE);
    TestVmFill(base + 8 * PAGE_SIZE, 2, 5);
    assert_int_equal(TestVmTryAllocate(base, 64 * PAGE_SIZE, MEM_RESET, PAGE_READWRITE), STATUS_SUCCESS);
    TestRunInProcess(TestUserProcess);
    assert_int_equal(NtWriteVirtualMemory(handle, (PVOID)(base + 12 * PAGE_SIZE), "child only", 11, NULL),
                     STATUS_SUCCESS);
    TestVmCheck(base, 48, 1);
    end_clone(handle, child);
    TestVmCheck(base, 48, 1);
}

static void sparse_spaces_are_cloned_by_what_exists(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 1ull << 36, MEM_RESERVE, PAGE_READWRITE);
    PEPROCESS child;
    HANDLE handle;

    (void)state;
    for (ULONG index = 0; index < 200; index++) /* more tables than are noted at a time */
    {
        TestVmAllocate(base + ((ULONG_PTR)index << 21), PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
        TestVmPut(base + ((ULONG_PTR)index << 21), (UCHAR)index);
    }
    handle = clone_current(&child);
    TestRunInProcess(child);
    for (ULONG index = 0; index < 200; index++)
    {
        assert_int_equal(TestVmGet(base + ((ULONG_PTR)index << 21)), (UCHAR)index);
    }
    TestRunInProcess(TestUserProcess);
    end_clone(handle, child);
}

static void a_clone_that_cannot_be_charged_fails(void **state)
{
    SIZE_T pages = (MiState.Physical->CommitMaximum - MiState.Physical->CommittedPages) * 2 / 3;
    ULONG_PTR base = TestVmAllocate(0, pages << PAGE_SHIFT, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    SIZE_T committed = MiState.Physical->CommittedPages;
    HANDLE handle = (HANDLE)0x77;

    (void)state;
    TestVmFill(base, 16, 1);
    committed = MiState.Physical->CommittedPages;
    assert_int_equal(
        NtCreateProcess(&handle, PROCESS_ALL_ACCESS, NULL, NtCurrentProcess(), FALSE, NULL, NULL, NULL),
        STATUS_COMMITMENT_LIMIT);
    assert_ptr_equal(handle, 0x77);
    assert_int_equal(MiState.Physical->CommittedPages, committed);
    assert_int_equal(MiState.Space->ProcessCount, 1);
    TestVmCheck(base, 16, 1);
}

static NTSTATUS clone_and_end(ULONG_PTR base)
{
    HANDLE handle;
    NTSTATUS status =
        NtCreateProcess(&handle, PROCESS_ALL_ACCESS, NULL, NtCurrentProcess(), FALSE, NULL, NULL, NULL);

    KiSetInjection(KiInjectPool, 0, FALSE);
    if (NT_SUCCESS(status))
    {
        assert_int_equal(NtTerminateProcess(handle, STATUS_SUCCESS), STATUS_SUCCESS);
        assert_int_equal(NtClose(handle), STATUS_SUCCESS);
    }
    assert_int_equal(MiState.Space->ProcessCount, 1);
    TestVmFill(base, 48, 1); /* private again: nothing of the clone is left in the way */
    assert_int_equal(MiCloneBlocksInUse(), 0);
    return status;
}

static void every_failure_leaves_the_parent_as_it_was(void **state)
{
    ULONG_PTR base = mixed();

    (void)state;
    for (ULONG64 nth = 1; nth < 200; nth++)
    {
        SIZE_T charge = TestVmCharge();

        KiSetInjection(KiInjectPool, nth, FALSE);
        clone_and_end(base);
        assert_int_equal(TestVmCharge(), charge);
        KiSetInjection(KiInjectCommit, nth % 8 + 1, FALSE);
        clone_and_end(base);
        KiSetInjection(KiInjectCommit, 0, FALSE);
        KiSetInjection(KiInjectFrame, nth % 8 + 1, FALSE);
        clone_and_end(base);
        KiSetInjection(KiInjectFrame, 0, FALSE);
        assert_int_equal(TestVmCharge(), charge);
    }
    TestVmCheck(base, 48, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_PROCESS(clones_have_the_same_contents_and_go_apart),
        TEST_IN_PROCESS(clones_of_clones_share_one_page),
        TEST_IN_PROCESS(the_child_outlives_the_parent),
        TEST_IN_PROCESS(allocations_look_alike_in_the_child),
        TEST_IN_PROCESS(services_work_on_shared_pages),
        TEST_IN_PROCESS(sparse_spaces_are_cloned_by_what_exists),
        TEST_IN_PROCESS(a_clone_that_cannot_be_charged_fails),
        TEST_IN_PROCESS(every_failure_leaves_the_parent_as_it_was),
    };

    return cmocka_run_group_tests_name("virtual.clone", tests, NULL, NULL);
}
