/* SPDX-License-Identifier: MIT */
/* NtLockVirtualMemory: locked pages stay, quotas hold, failures undo. */
#include "process.h"

static NTSTATUS lock(ULONG_PTR base, SIZE_T size, ULONG type)
{
    PVOID address = (PVOID)base;

    return NtLockVirtualMemory(NtCurrentProcess(), &address, &size, type);
}

static NTSTATUS unlock(ULONG_PTR base, SIZE_T size, ULONG type)
{
    PVOID address = (PVOID)base;

    return NtUnlockVirtualMemory(NtCurrentProcess(), &address, &size, type);
}

static void locked_pages_stay_in_the_working_set(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 32 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    (void)state;
    TestVmFill(base, 32, 1);
    TestVmPageOut();
    assert_int_equal(lock(base, 10 * PAGE_SIZE, MAP_PROCESS), STATUS_SUCCESS);
    assert_int_equal(TestUserProcess->Space.Vm.LockedPages, 10);
    TestVmTrimAll();
    assert_int_equal(MiWorkingSetPages(&TestUserProcess->Space), 10);
    TestVmCheck(base, 32, 1);
    assert_int_equal(unlock(base, 10 * PAGE_SIZE, MAP_PROCESS), STATUS_SUCCESS);
    TestVmTrimAll();
    assert_int_equal(MiWorkingSetPages(&TestUserProcess->Space), 0);
    assert_int_equal(TestUserProcess->Space.Vm.LockedPages, 0);
}

static void one_unlock_undoes_many_locks(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 4 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PVOID address = (PVOID)(base + 100);
    SIZE_T size = PAGE_SIZE;

    (void)state;
    assert_int_equal(NtLockVirtualMemory(NtCurrentProcess(), &address, &size, MAP_PROCESS), STATUS_SUCCESS);
    assert_int_equal((ULONG_PTR)address, base);
    assert_int_equal(size, 2 * PAGE_SIZE);
    assert_int_equal(lock(base + PAGE_SIZE, 2 * PAGE_SIZE, MAP_PROCESS), STATUS_WAS_LOCKED);
    assert_int_equal(TestUserProcess->Space.Vm.LockedPages, 3);
    assert_int_equal(unlock(base, 4 * PAGE_SIZE, MAP_PROCESS), STATUS_NOT_LOCKED);
    assert_int_equal(TestUserProcess->Space.Vm.LockedPages, 3);
    assert_int_equal(unlock(base, 3 * PAGE_SIZE, MAP_SYSTEM), STATUS_NOT_LOCKED);
    assert_int_equal(unlock(base, 3 * PAGE_SIZE, MAP_PROCESS), STATUS_SUCCESS);
    assert_int_equal(unlock(base, PAGE_SIZE, MAP_PROCESS), STATUS_NOT_LOCKED);
}

static void both_kinds_of_lock_count_once(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 4 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    (void)state;
    assert_int_equal(lock(base, 2 * PAGE_SIZE, MAP_PROCESS), STATUS_SUCCESS);
    assert_int_equal(lock(base, 2 * PAGE_SIZE, MAP_SYSTEM), STATUS_SUCCESS);
    assert_int_equal(TestUserProcess->Space.Vm.LockedPages, 2);
    assert_int_equal(unlock(base, 2 * PAGE_SIZE, MAP_PROCESS), STATUS_SUCCESS);
    assert_int_equal(TestUserProcess->Space.Vm.LockedPages, 2);
    assert_int_equal(unlock(base, 2 * PAGE_SIZE, MAP_SYSTEM), STATUS_SUCCESS);
    assert_int_equal(TestUserProcess->Space.Vm.LockedPages, 0);
    assert_int_equal(lock(base, PAGE_SIZE, 0), STATUS_INVALID_PARAMETER);
    assert_int_equal(lock(base, PAGE_SIZE, 4), STATUS_INVALID_PARAMETER);
    assert_int_equal(lock(base, 0, MAP_PROCESS), STATUS_INVALID_PARAMETER);
}

static void the_minimum_working_set_is_the_quota(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 256 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    QUOTA_LIMITS limits;

    (void)state;
    assert_int_equal(lock(base, 50 * PAGE_SIZE, MAP_PROCESS), STATUS_WORKING_SET_QUOTA);
    assert_int_equal(lock(base, 42 * PAGE_SIZE, MAP_PROCESS), STATUS_SUCCESS); /* 50 less an overhead of 8 */
    assert_int_equal(lock(base + 42 * PAGE_SIZE, PAGE_SIZE, MAP_PROCESS), STATUS_WORKING_SET_QUOTA);
    assert_int_equal(lock(base, 42 * PAGE_SIZE, MAP_PROCESS), STATUS_WAS_LOCKED);
    memset(&limits, 0, sizeof(limits));
    limits.MinimumWorkingSetSize = 200 * PAGE_SIZE;
    limits.MaximumWorkingSetSize = 400 * PAGE_SIZE;
    assert_int_equal(NtSetInformationProcess(NtCurrentProcess(), ProcessQuotaLimits, &limits, sizeof(limits)),
                     STATUS_SUCCESS);
    assert_int_equal(lock(base, 150 * PAGE_SIZE, MAP_PROCESS), STATUS_WAS_LOCKED);
    assert_int_equal(TestUserProcess->Space.Vm.LockedPages, 150);
}

static void what_cannot_be_accessed_cannot_be_locked_and_nothing_is(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 16 * PAGE_SIZE, MEM_RESERVE, PAGE_READWRITE);

    (void)state;
    TestVmAllocate(base, 8 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(lock(base, 2 * PAGE_SIZE, MAP_PROCESS), STATUS_SUCCESS);
    assert_int_equal(lock(base + PAGE_SIZE, 8 * PAGE_SIZE, MAP_PROCESS), STATUS_ACCESS_VIOLATION);
    assert_int_equal(TestUserProcess->Space.Vm.LockedPages, 2);
    TestVmProtect(base + 5 * PAGE_SIZE, PAGE_SIZE, PAGE_NOACCESS);
    assert_int_equal(lock(base, 8 * PAGE_SIZE, MAP_PROCESS), STATUS_ACCESS_VIOLATION);
    TestVmProtect(base + 5 * PAGE_SIZE, PAGE_SIZE, PAGE_READWRITE | PAGE_GUARD);
    assert_int_equal(lock(base, 8 * PAGE_SIZE, MAP_PROCESS), STATUS_GUARD_PAGE_VIOLATION);
    assert_int_equal(TestUserProcess->Space.Vm.LockedPages, 2);
    assert_int_equal(lock(base + 16 * PAGE_SIZE, PAGE_SIZE, MAP_PROCESS), STATUS_ACCESS_VIOLATION);
}

static void freeing_and_protecting_locked_pages_unlocks_them(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 16 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    (void)state;
    assert_int_equal(lock(base, 12 * PAGE_SIZE, MAP_PROCESS), STATUS_SUCCESS);
    TestVmProtect(base, 2 * PAGE_SIZE, PAGE_READONLY); /* still resident */
    assert_int_equal(TestUserProcess->Space.Vm.LockedPages, 12);
    TestVmProtect(base, 2 * PAGE_SIZE, PAGE_NOACCESS);
    assert_int_equal(TestUserProcess->Space.Vm.LockedPages, 10);
    TestVmFree(base + 4 * PAGE_SIZE, 2 * PAGE_SIZE, MEM_DECOMMIT);
    assert_int_equal(TestUserProcess->Space.Vm.LockedPages, 8);
    TestVmFree(base, 0, MEM_RELEASE);
    assert_int_equal(TestUserProcess->Space.Vm.LockedPages, 0);
}

static NTSTATUS lock_and_unlock(ULONG_PTR base)
{
    NTSTATUS status = lock(base, 20 * PAGE_SIZE, MAP_PROCESS);

    assert_int_equal(TestUserProcess->Space.Vm.LockedPages, NT_SUCCESS(status) ? 20 : 0);
    if (NT_SUCCESS(status))
    {
        assert_int_equal(unlock(base, 20 * PAGE_SIZE, MAP_PROCESS), STATUS_SUCCESS);
    }
    TestVmPageOut();
    return status;
}

static void every_failure_leaves_nothing_locked(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 20 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);

    (void)state;
    TestVmFill(base, 20, 1);
    TestVmPageOut();
    TestWithFailures(KiInjectPool, lock_and_unlock, base);
    TestWithFailures(KiInjectRead, lock_and_unlock, base);
    TestWithFailures(KiInjectFrame, lock_and_unlock, base);
    TestVmCheck(base, 20, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_PROCESS(locked_pages_stay_in_the_working_set),
        TEST_IN_PROCESS(one_unlock_undoes_many_locks),
        TEST_IN_PROCESS(both_kinds_of_lock_count_once),
        TEST_IN_PROCESS(the_minimum_working_set_is_the_quota),
        TEST_IN_PROCESS(what_cannot_be_accessed_cannot_be_locked_and_nothing_is),
        TEST_IN_PROCESS(freeing_and_protecting_locked_pages_unlocks_them),
        TEST_IN_PROCESS(every_failure_leaves_nothing_locked),
    };

    return cmocka_run_group_tests_name("virtual.lock", tests, NULL, NULL);
}
