/* SPDX-License-Identifier: MIT */
/* MmSecureVirtualMemory: secured ranges cannot be freed, nor access to them be taken away. */
#include "process.h"

#include "nt/wdm_mm.h"

static void secured_ranges_cannot_be_freed(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 32 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    HANDLE secured = MmSecureVirtualMemory((PVOID)(base + 8 * PAGE_SIZE + 1), 4 * PAGE_SIZE, PAGE_READWRITE);

    (void)state;
    assert_non_null(secured);
    assert_int_equal(TestVmTryFree(base, 0, MEM_RELEASE), STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(TestVmTryFree(base, 0, MEM_DECOMMIT), STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(TestVmTryFree(base + 12 * PAGE_SIZE, PAGE_SIZE, MEM_DECOMMIT),
                     STATUS_INVALID_PAGE_PROTECTION);
    TestVmFree(base + 13 * PAGE_SIZE, PAGE_SIZE, MEM_DECOMMIT);
    MmUnsecureVirtualMemory(secured);
    TestVmFree(base, 0, MEM_RELEASE);
}

static void protection_stays_as_permissive_as_probed_for(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 32 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    HANDLE writable = MmSecureVirtualMemory((PVOID)base, PAGE_SIZE, PAGE_READWRITE);
    HANDLE readable = MmSecureVirtualMemory((PVOID)(base + PAGE_SIZE), PAGE_SIZE, PAGE_READONLY);

    (void)state;
    assert_int_equal(TestVmTryProtect(base, PAGE_SIZE, PAGE_READONLY), STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(TestVmTryProtect(base, PAGE_SIZE, PAGE_NOACCESS), STATUS_INVALID_PAGE_PROTECTION);
    TestVmProtect(base, PAGE_SIZE, PAGE_EXECUTE_READWRITE);
    TestVmProtect(base + PAGE_SIZE, PAGE_SIZE, PAGE_READONLY);
    assert_int_equal(TestVmTryProtect(base + PAGE_SIZE, PAGE_SIZE, PAGE_NOACCESS),
                     STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(TestVmTryAllocate(base + PAGE_SIZE, PAGE_SIZE, MEM_COMMIT, PAGE_NOACCESS),
                     STATUS_INVALID_PAGE_PROTECTION);
    TestVmProtect(base + 2 * PAGE_SIZE, PAGE_SIZE, PAGE_NOACCESS);
    MmUnsecureVirtualMemory(writable);
    MmUnsecureVirtualMemory(readable);
    TestVmProtect(base, 2 * PAGE_SIZE, PAGE_NOACCESS);
}

static void what_is_not_accessible_is_not_secured(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 32 * PAGE_SIZE, MEM_RESERVE, PAGE_READWRITE);

    (void)state;
    TestVmAllocate(base, 2 * PAGE_SIZE, MEM_COMMIT, PAGE_READONLY);
    assert_null(MmSecureVirtualMemory((PVOID)base, PAGE_SIZE, PAGE_READWRITE));
    assert_null(MmSecureVirtualMemory((PVOID)base, 3 * PAGE_SIZE, PAGE_READONLY));
    assert_null(MmSecureVirtualMemory((PVOID)base, 0, PAGE_READONLY));
    assert_null(MmSecureVirtualMemory((PVOID)base, PAGE_SIZE, PAGE_NOACCESS));
    assert_null(MmSecureVirtualMemory((PVOID)PORT_SYSTEM_START, PAGE_SIZE, PAGE_READONLY));
    assert_null(MmSecureVirtualMemoryEx((PVOID)base, PAGE_SIZE, PAGE_READONLY, 0x100));
    KiSetInjection(KiInjectPool, 1, FALSE);
    assert_null(MmSecureVirtualMemory((PVOID)base, PAGE_SIZE, PAGE_READONLY));
    KiSetInjection(KiInjectPool, 0, FALSE);
    TestVmFree(base, 0, MEM_RELEASE);
}

static void flags_of_the_extended_form_hold(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 32 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    HANDLE fixed = MmSecureVirtualMemoryEx((PVOID)base, PAGE_SIZE, PAGE_READONLY, MM_SECURE_NO_CHANGE);
    HANDLE user;

    (void)state;
    assert_non_null(fixed);
    assert_int_equal(TestVmTryProtect(base, PAGE_SIZE, PAGE_EXECUTE_READWRITE),
                     STATUS_INVALID_PAGE_PROTECTION);
    assert_null(MmSecureVirtualMemoryEx((PVOID)(base + 8 * PAGE_SIZE), PAGE_SIZE, PAGE_READONLY,
                                        MM_SECURE_EXCLUSIVE));
    MmUnsecureVirtualMemory(fixed);
    user = MmSecureVirtualMemoryEx((PVOID)base, PAGE_SIZE, PAGE_READWRITE,
                                   MM_SECURE_EXCLUSIVE | MM_SECURE_USER_MODE_ONLY);
    assert_non_null(user);
    assert_int_equal(TestVmTryProtect(base, PAGE_SIZE, PAGE_READONLY), STATUS_INVALID_PAGE_PROTECTION);
    KiCurrentThread()->CurrentMode = KernelMode;
    TestVmProtect(base, PAGE_SIZE, PAGE_READONLY);
    KiCurrentThread()->CurrentMode = UserMode;
    /* The end of the process ends it, too. */
}

static void splitting_an_allocation_keeps_both_sides_secured(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 48 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    HANDLE left = MmSecureVirtualMemory((PVOID)base, PAGE_SIZE, PAGE_READONLY);
    HANDLE right = MmSecureVirtualMemory((PVOID)(base + 40 * PAGE_SIZE), PAGE_SIZE, PAGE_READONLY);

    (void)state;
    TestVmFree(base + 16 * PAGE_SIZE, 16 * PAGE_SIZE, MEM_RELEASE);
    assert_int_equal(TestVmTryFree(base, 0, MEM_RELEASE), STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(TestVmTryFree(base + 32 * PAGE_SIZE, 0, MEM_RELEASE), STATUS_INVALID_PAGE_PROTECTION);
    MmUnsecureVirtualMemory(right);
    TestVmFree(base + 32 * PAGE_SIZE, 0, MEM_RELEASE);
    MmUnsecureVirtualMemory(left);
    TestVmFree(base, 0, MEM_RELEASE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_PROCESS(secured_ranges_cannot_be_freed),
        TEST_IN_PROCESS(protection_stays_as_permissive_as_probed_for),
        TEST_IN_PROCESS(what_is_not_accessible_is_not_secured),
        TEST_IN_PROCESS(flags_of_the_extended_form_hold),
        TEST_IN_PROCESS(splitting_an_allocation_keeps_both_sides_secured),
    };

    return cmocka_run_group_tests_name("virtual.secure", tests, NULL, NULL);
}
