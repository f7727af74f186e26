/* SPDX-License-Identifier: MIT */
/* Reading and writing other processes, whatever state their pages are in; MmCopyMemory. */
#include "process.h"

#include "nt/wdm_mm.h"

static PEPROCESS other;
static ULONG_PTR there; /* 64 pages in it */
static HANDLE handle;

static void begin(void **state)
{
    (void)state;
    other = TestNewProcess("other");
    TestRunInProcess(other);
    there = TestVmAllocate(0, 64 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    TestVmFill(there, 64, 1);
    TestRunInProcess(TestUserProcess);
    handle = TestOpenProcess(other, PROCESS_VM_READ | PROCESS_VM_WRITE | PROCESS_VM_OPERATION);
}

static void finish(void)
{
    MiCheckWorkingSet(&other->Space);
    assert_int_equal(NtClose(handle), STATUS_SUCCESS);
    TestEndProcess(other);
}

static void copies_reach_pages_in_every_state(void **state)
{
    static UCHAR first[64 * PAGE_SIZE], second[64 * PAGE_SIZE];
    SIZE_T copied = 0;

    begin(state);
    assert_int_equal(NtReadVirtualMemory(handle, (PVOID)there, first, sizeof(first), &copied),
                     STATUS_SUCCESS);
    assert_int_equal(copied, sizeof(first));
    TestRunInProcess(other);
    TestVmPageOut();
    TestRunInProcess(TestUserProcess);
    assert_int_equal(NtReadVirtualMemory(handle, (PVOID)there, second, sizeof(second), &copied),
                     STATUS_SUCCESS);
    assert_memory_equal(first, second, sizeof(first));
    for (ULONG index = 0; index < sizeof(second); index++)
    {
        second[index] = (UCHAR)(index * 7 + index / 256);
    }
    /* An odd range over page borders, to pages that are paged out. */
    TestRunInProcess(other);
    TestVmPageOut();
    TestRunInProcess(TestUserProcess);
    assert_int_equal(NtWriteVirtualMemory(handle, (PVOID)(there + 777), second, 60 * PAGE_SIZE, &copied),
                     STATUS_SUCCESS);
    assert_int_equal(copied, 60 * PAGE_SIZE);
    TestRunInProcess(other);
    TestVmPageOut(); /* what was written must be in the paging file */
    TestRunInProcess(TestUserProcess);
    assert_int_equal(NtReadVirtualMemory(handle, (PVOID)(there + 777), first, 60 * PAGE_SIZE, NULL),
                     STATUS_SUCCESS);
    assert_memory_equal(first, second, 60 * PAGE_SIZE);
    finish();
}

static void short_copies_need_no_pool(void **state)
{
    UCHAR buffer[300] = { 0 };

    begin(state);
    KiSetInjection(KiInjectPool, 1, TRUE);
    assert_int_equal(NtWriteVirtualMemory(handle, (PVOID)(there + PAGE_SIZE - 100), "hello, world", 13, NULL),
                     STATUS_SUCCESS);
    assert_int_equal(
        NtReadVirtualMemory(handle, (PVOID)(there + PAGE_SIZE - 100), buffer, sizeof(buffer), NULL),
        STATUS_SUCCESS);
    KiSetInjection(KiInjectPool, 0, FALSE);
    assert_string_equal((char *)buffer, "hello, world");
    finish();
}

static void a_bad_end_gives_a_partial_copy(void **state)
{
    static UCHAR buffer[8 * PAGE_SIZE];
    SIZE_T copied;

    begin(state);
    assert_int_equal(
        NtReadVirtualMemory(handle, (PVOID)(there + 60 * PAGE_SIZE), buffer, sizeof(buffer), &copied),
        STATUS_PARTIAL_COPY);
    assert_int_equal(copied, 4 * PAGE_SIZE);
    assert_int_equal(
        NtWriteVirtualMemory(handle, (PVOID)(there + 60 * PAGE_SIZE), buffer, sizeof(buffer), &copied),
        STATUS_PARTIAL_COPY);
    assert_int_equal(copied, 4 * PAGE_SIZE);
    assert_int_equal(NtReadVirtualMemory(handle, (PVOID)(there + 64 * PAGE_SIZE), buffer, 1, &copied),
                     STATUS_PARTIAL_COPY);
    assert_int_equal(copied, 0);
    finish();
}

static void protections_of_the_other_process_count(void **state)
{
    UCHAR byte = 1;
    SIZE_T copied;

    begin(state);
    TestRunInProcess(other);
    TestVmProtect(there, PAGE_SIZE, PAGE_READONLY);
    TestVmProtect(there + PAGE_SIZE, PAGE_SIZE, PAGE_NOACCESS);
    TestRunInProcess(TestUserProcess);
    assert_int_equal(NtWriteVirtualMemory(handle, (PVOID)there, &byte, 1, &copied), STATUS_PARTIAL_COPY);
    assert_int_equal(NtReadVirtualMemory(handle, (PVOID)there, &byte, 1, &copied), STATUS_SUCCESS);
    assert_int_equal(NtReadVirtualMemory(handle, (PVOID)(there + PAGE_SIZE), &byte, 1, &copied),
                     STATUS_PARTIAL_COPY);
    finish();
}

static void rights_and_buffers_are_checked(void **state)
{
    HANDLE weak;
    UCHAR byte = 0;
    SIZE_T copied = 7;

    begin(state);
    weak = TestOpenProcess(other, PROCESS_VM_READ);
    assert_int_equal(NtWriteVirtualMemory(weak, (PVOID)there, &byte, 1, &copied), STATUS_ACCESS_DENIED);
    assert_int_equal(NtReadVirtualMemory(weak, (PVOID)there, &byte, 1, &copied), STATUS_SUCCESS);
    assert_int_equal(NtReadVirtualMemory(weak, (PVOID)(PORT_USER_HIGHEST - 1), &byte, 8, &copied),
                     STATUS_ACCESS_VIOLATION);
    assert_int_equal(NtReadVirtualMemory(weak, (PVOID)there, (PVOID)PORT_SYSTEM_START, 1, &copied),
                     STATUS_ACCESS_VIOLATION);
    assert_int_equal(NtReadVirtualMemory(weak, (PVOID)there, (PVOID)PORT_DIRECT_MAP_BASE, 1, &copied),
                     STATUS_ACCESS_VIOLATION);
    assert_int_equal(NtReadVirtualMemory(weak, (PVOID)there, &byte, 0, &copied), STATUS_SUCCESS);
    assert_int_equal(copied, 0);
    assert_int_equal(NtClose(weak), STATUS_SUCCESS);
    assert_int_equal(NtReadVirtualMemory(weak, (PVOID)there, &byte, 1, &copied), STATUS_INVALID_HANDLE);
    finish();
}

static void processes_are_isolated(void **state)
{
    ULONG_PTR mine;

    begin(state);
    mine = TestVmAllocate(there, 64 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(mine, there);
    TestVmFill(mine, 64, 9);
    TestRunInProcess(other);
    TestVmCheck(there, 64, 1);
    TestVmFill(there, 64, 2);
    TestRunInProcess(TestUserProcess);
    TestVmCheck(mine, 64, 9);
    finish();
}

static void copy_virtual_memory_works_between_any_two(void **state)
{
    static UCHAR kernel[3 * PAGE_SIZE], back[3 * PAGE_SIZE];
    PEPROCESS third = TestNewProcess("third");
    ULONG_PTR target;
    SIZE_T copied;

    begin(state);
    TestRunInProcess(third);
    target = TestVmAllocate(0, 8 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    TestRunInProcess(TestUserProcess);
    assert_int_equal(MmCopyVirtualMemory(other, (PVOID)(there + 10), third, (PVOID)(target + 4000),
                                         sizeof(kernel), UserMode, &copied),
                     STATUS_SUCCESS);
    assert_int_equal(copied, sizeof(kernel));
    assert_int_equal(MmCopyVirtualMemory(other, (PVOID)(there + 10), TestUserProcess, kernel, sizeof(kernel),
                                         KernelMode, &copied),
                     STATUS_SUCCESS);
    assert_int_equal(MmCopyVirtualMemory(third, (PVOID)(target + 4000), TestUserProcess, back, sizeof(back),
                                         KernelMode, &copied),
                     STATUS_SUCCESS);
    assert_memory_equal(kernel, back, sizeof(back));
    TestEndProcess(third);
    assert_int_equal(MmCopyVirtualMemory(other, (PVOID)(there + 62 * PAGE_SIZE), TestUserProcess, kernel,
                                         sizeof(kernel), KernelMode, &copied),
                     STATUS_PARTIAL_COPY);
    assert_int_equal(copied, 2 * PAGE_SIZE);
    finish();
}

static void copy_memory_reads_virtual_and_physical_addresses(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 4 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    MM_COPY_ADDRESS source;
    UCHAR buffer[100];
    PMMPTE pte;
    SIZE_T copied;

    (void)state;
    KiCurrentThread()->CurrentMode = KernelMode;
    TestVmPut(base + PAGE_SIZE - 1, 0x5a);
    source.VirtualAddress = (PVOID)(base + PAGE_SIZE - 50);
    assert_int_equal(MmCopyMemory(buffer, source, sizeof(buffer), MM_COPY_MEMORY_VIRTUAL, &copied),
                     STATUS_SUCCESS);
    assert_int_equal(copied, sizeof(buffer));
    assert_int_equal(buffer[49], 0x5a);
    assert_int_equal(MiWalk(TestUserProcess->Space.TopLevel, base, &pte), 0);
    source.PhysicalAddress.QuadPart =
        (LONGLONG)((ULONG64)MiReadPte(pte).Hard.PageFrameNumber << PAGE_SHIFT) + PAGE_SIZE - 1;
    buffer[0] = 0;
    assert_int_equal(MmCopyMemory(buffer, source, 1, MM_COPY_MEMORY_PHYSICAL, &copied), STATUS_SUCCESS);
    assert_int_equal(buffer[0], 0x5a);
    source.PhysicalAddress.QuadPart = (LONGLONG)((MiState.Physical->HighestPage + 1) << PAGE_SHIFT) - 10;
    assert_int_equal(MmCopyMemory(buffer, source, 100, MM_COPY_MEMORY_PHYSICAL, &copied),
                     STATUS_INVALID_ADDRESS);
    assert_int_equal(copied, 10);
    source.VirtualAddress = (PVOID)(base + 4 * PAGE_SIZE - 30);
    assert_int_equal(MmCopyMemory(buffer, source, 100, MM_COPY_MEMORY_VIRTUAL, &copied),
                     STATUS_ACCESS_VIOLATION);
    assert_int_equal(copied, 30);
    source.VirtualAddress = (PVOID)PORT_SYSTEM_START; /* nothing there: a status, no bug check */
    assert_false(NT_SUCCESS(MmCopyMemory(buffer, source, 1, MM_COPY_MEMORY_VIRTUAL, &copied)));
    assert_int_equal(MmCopyMemory(buffer, source, 1, 3, &copied), STATUS_INVALID_PARAMETER_4);
    KiCurrentThread()->CurrentMode = UserMode;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_PROCESS(copies_reach_pages_in_every_state),
        TEST_IN_PROCESS(short_copies_need_no_pool),
        TEST_IN_PROCESS(a_bad_end_gives_a_partial_copy),
        TEST_IN_PROCESS(protections_of_the_other_process_count),
        TEST_IN_PROCESS(rights_and_buffers_are_checked),
        TEST_IN_PROCESS(processes_are_isolated),
        TEST_IN_PROCESS(copy_virtual_memory_works_between_any_two),
        TEST_IN_PROCESS(copy_memory_reads_virtual_and_physical_addresses),
    };

    return cmocka_run_group_tests_name("virtual.copy", tests, NULL, NULL);
}
