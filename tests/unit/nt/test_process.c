/* SPDX-License-Identifier: MIT */
/*
 * Process services: handles and rights, opening, duplicating, ending, what a process tells about its memory.
 */
#include "process.h"

static NTSTATUS open_id(ULONG64 id, HANDLE *handle)
{
    OBJECT_ATTRIBUTES attributes;
    CLIENT_ID client = { .UniqueProcess = (HANDLE)(ULONG_PTR)id };

    InitializeObjectAttributes(&attributes, NULL, 0, NULL, NULL);
    return NtOpenProcess(handle, PROCESS_ALL_ACCESS, &attributes, &client);
}

static void processes_are_opened_by_identifier(void **state)
{
    PEPROCESS other = TestNewProcess("other");
    HANDLE handle = TestOpenProcess(other, PROCESS_QUERY_LIMITED_INFORMATION);
    PROCESS_BASIC_INFORMATION basic;
    ULONG returned = 0;

    (void)state;
    assert_int_equal(
        NtQueryInformationProcess(handle, ProcessBasicInformation, &basic, sizeof(basic), &returned),
        STATUS_SUCCESS);
    assert_int_equal(basic.UniqueProcessId, other->UniqueProcessId);
    assert_int_equal(basic.ExitStatus, STATUS_PENDING);
    assert_int_equal(returned, sizeof(basic));
    assert_int_equal(NtTerminateProcess(handle, 1), STATUS_ACCESS_DENIED);
    assert_int_equal(NtClose(handle), STATUS_SUCCESS);
    assert_int_equal(NtClose(handle), STATUS_INVALID_HANDLE);
    TestEndProcess(other);
    assert_int_equal(open_id(0x777770, &handle), STATUS_INVALID_CID);
    assert_int_equal(NtOpenProcess(&handle, PROCESS_ALL_ACCESS, NULL, NULL), STATUS_INVALID_PARAMETER_MIX);
    assert_int_equal(NtClose(NtCurrentProcess()), STATUS_SUCCESS);
}

static void memory_services_want_vm_operation(void **state)
{
    PEPROCESS other = TestNewProcess("other");
    HANDLE weak = TestOpenProcess(other, PROCESS_VM_READ | PROCESS_QUERY_LIMITED_INFORMATION);
    HANDLE strong = TestOpenProcess(other, PROCESS_VM_OPERATION);
    MEMORY_BASIC_INFORMATION region;
    MEMORY_WORKING_SET_INFORMATION list;
    PVOID base = NULL;
    SIZE_T size = 8 * PAGE_SIZE;
    ULONG old;

    (void)state;
    assert_int_equal(NtAllocateVirtualMemory(weak, &base, 0, &size, MEM_COMMIT, PAGE_READWRITE),
                     STATUS_ACCESS_DENIED);
    assert_null(base);
    assert_int_equal(NtAllocateVirtualMemory(strong, &base, 0, &size, MEM_COMMIT, PAGE_READWRITE),
                     STATUS_SUCCESS);
    assert_int_equal(
        NtQueryVirtualMemory(strong, base, MemoryBasicInformation, &region, sizeof(region), NULL),
        STATUS_ACCESS_DENIED);
    assert_int_equal(NtQueryVirtualMemory(weak, base, MemoryBasicInformation, &region, sizeof(region), NULL),
                     STATUS_SUCCESS);
    assert_int_equal(region.RegionSize, 8 * PAGE_SIZE);
    assert_int_equal(NtQueryVirtualMemory(weak, base, MemoryWorkingSetInformation, &list, sizeof(list), NULL),
                     STATUS_ACCESS_DENIED);
    assert_int_equal(NtProtectVirtualMemory(weak, &base, &size, PAGE_READONLY, &old), STATUS_ACCESS_DENIED);
    assert_int_equal(NtProtectVirtualMemory(strong, &base, &size, PAGE_READONLY, &old), STATUS_SUCCESS);
    /* Dead processes have no memory. */
    PsTerminateProcessObject(other, STATUS_SUCCESS);
    assert_int_equal(NtAllocateVirtualMemory(strong, &base, 0, &size, MEM_RESERVE, PAGE_READWRITE),
                     STATUS_PROCESS_IS_TERMINATING);
    assert_int_equal(NtFreeVirtualMemory(strong, &base, &size, MEM_RELEASE), STATUS_PROCESS_IS_TERMINATING);
    assert_int_equal(NtProtectVirtualMemory(strong, &base, &size, PAGE_READONLY, &old),
                     STATUS_PROCESS_IS_TERMINATING);
    assert_int_equal(NtQueryVirtualMemory(weak, base, MemoryBasicInformation, &region, sizeof(region), NULL),
                     STATUS_PROCESS_IS_TERMINATING);
    assert_int_equal(NtLockVirtualMemory(strong, &base, &size, MAP_PROCESS), STATUS_PROCESS_IS_TERMINATING);
    assert_int_equal(NtReadVirtualMemory(weak, base, &old, sizeof(old), NULL), STATUS_PARTIAL_COPY);
    NtClose(weak);
    NtClose(strong);
    ObDereferenceObjectBody(other);
}

static void waiting_for_a_process_ends_with_it(void **state)
{
    PEPROCESS other = TestNewProcess("other");
    HANDLE handle = TestOpenProcess(other, PROCESS_TERMINATE | SYNCHRONIZE | PROCESS_QUERY_INFORMATION);
    LARGE_INTEGER none = { .QuadPart = 0 };
    PROCESS_BASIC_INFORMATION basic;

    (void)state;
    ObDereferenceObjectBody(other); /* the handle's reference is left */
    assert_int_equal(NtWaitForSingleObject(handle, FALSE, &none), STATUS_TIMEOUT);
    assert_int_equal(NtTerminateProcess(handle, 0x1234), STATUS_SUCCESS);
    assert_int_equal(NtWaitForSingleObject(handle, FALSE, NULL), STATUS_SUCCESS);
    assert_int_equal(NtTerminateProcess(handle, 1), STATUS_PROCESS_IS_TERMINATING);
    assert_int_equal(NtQueryInformationProcess(handle, ProcessBasicInformation, &basic, sizeof(basic), NULL),
                     STATUS_SUCCESS);
    assert_int_equal(basic.ExitStatus, 0x1234);
    assert_int_equal(NtClose(handle), STATUS_SUCCESS);
    assert_int_equal(NtTerminateProcess(NULL, 0), STATUS_SUCCESS); /* no other thread is there to be ended */
}

static void handles_are_duplicated_between_processes(void **state)
{
    PEPROCESS other = TestNewProcess("other");
    HANDLE process = TestOpenProcess(other, PROCESS_DUP_HANDLE);
    HANDLE event, copy = NULL, back = NULL;

    (void)state;
    assert_int_equal(NtCreateEvent(&event, EVENT_QUERY_STATE | SYNCHRONIZE, NULL, NotificationEvent, FALSE),
                     STATUS_SUCCESS);
    assert_int_equal(
        NtDuplicateObject(NtCurrentProcess(), event, process, &copy, 0, 0, DUPLICATE_SAME_ACCESS),
        STATUS_SUCCESS);
    assert_int_equal(ObHandleCount(other->HandleTable), 1);
    assert_int_equal(NtDuplicateObject(process, copy, NtCurrentProcess(), &back, EVENT_MODIFY_STATE, 0, 0),
                     STATUS_SUCCESS); /* more than the source grants */
    assert_int_equal(NtSetEvent(back, NULL), STATUS_SUCCESS);
    assert_int_equal(NtClose(back), STATUS_SUCCESS);
    assert_int_equal(
        NtDuplicateObject(process, copy, NtCurrentProcess(), &back, SYNCHRONIZE, 0, DUPLICATE_CLOSE_SOURCE),
        STATUS_SUCCESS);
    assert_int_equal(ObHandleCount(other->HandleTable), 0);
    assert_int_equal(NtSetEvent(back, NULL), STATUS_ACCESS_DENIED);
    assert_int_equal(NtDuplicateObject(NtCurrentProcess(), event, NULL, NULL, 0, 0, DUPLICATE_CLOSE_SOURCE),
                     STATUS_SUCCESS);
    assert_int_equal(NtClose(event), STATUS_INVALID_HANDLE);
    assert_int_equal(NtDuplicateObject(NtCurrentProcess(), (HANDLE)0x5550, process, &copy, 0, 0, 0),
                     STATUS_INVALID_HANDLE);
    NtClose(back);
    NtClose(process);
    TestEndProcess(other);
}

static void children_inherit_what_is_inheritable(void **state)
{
    OBJECT_ATTRIBUTES attributes;
    HANDLE plain, inherited, shielded, child = NULL, none = NULL;
    OBJECT_HANDLE_FLAG_INFORMATION flags = { .ProtectFromClose = TRUE, .Inherit = TRUE };
    PEPROCESS body;
    PVOID object;

    (void)state;
    InitializeObjectAttributes(&attributes, NULL, OBJ_INHERIT, NULL, NULL);
    assert_int_equal(NtCreateEvent(&plain, EVENT_ALL_ACCESS, NULL, NotificationEvent, FALSE), STATUS_SUCCESS);
    assert_int_equal(NtCreateEvent(&inherited, EVENT_QUERY_STATE, &attributes, NotificationEvent, FALSE),
                     STATUS_SUCCESS);
    assert_int_equal(NtDuplicateObject(NtCurrentProcess(), plain, NtCurrentProcess(), &shielded, 0, 0,
                                       DUPLICATE_SAME_ACCESS),
                     STATUS_SUCCESS);
    assert_int_equal(NtSetInformationObject(shielded, ObjectHandleFlagInformation, &flags, sizeof(flags)),
                     STATUS_SUCCESS);
    assert_int_equal(NtClose(shielded), STATUS_HANDLE_NOT_CLOSABLE);
    assert_int_equal(NtClose(plain), STATUS_SUCCESS); /* leaves a hole below */
    assert_int_equal(NtCreateProcessEx(&child, PROCESS_ALL_ACCESS, NULL, NtCurrentProcess(),
                                       PROCESS_CREATE_FLAGS_INHERIT_HANDLES, NULL, NULL, NULL, 0),
                     STATUS_SUCCESS);
    assert_int_equal(NtReferenceProcess(child, 0, &body), STATUS_SUCCESS);
    assert_int_equal(ObHandleCount(body->HandleTable), 2);
    ObCheckHandleTable(body->HandleTable);
    /* At the same value, with the same rights and attributes. */
    assert_int_equal(ObReferenceHandle(body->HandleTable, inherited, EVENT_MODIFY_STATE,
                                       &MiState.Ob->EventType, UserMode, &object, NULL),
                     STATUS_ACCESS_DENIED);
    assert_int_equal(ObReferenceHandle(body->HandleTable, inherited, EVENT_QUERY_STATE,
                                       &MiState.Ob->EventType, UserMode, &object, NULL),
                     STATUS_SUCCESS);
    ObDereferenceObjectBody(object);
    assert_int_equal(ObCloseHandleIn(body->HandleTable, shielded), STATUS_HANDLE_NOT_CLOSABLE);
    assert_int_equal(ObInsertHandle(body->HandleTable, body, 0, &none), STATUS_SUCCESS);
    assert_ptr_equal(none, plain); /* the lowest free one */
    ObDereferenceObjectBody(body);
    assert_int_equal(NtTerminateProcess(child, 0), STATUS_SUCCESS);
    NtClose(child);
    /* Without the flag: nothing. */
    assert_int_equal(
        NtCreateProcessEx(&child, PROCESS_ALL_ACCESS, NULL, NtCurrentProcess(), 0, NULL, NULL, NULL, 0),
        STATUS_SUCCESS);
    assert_int_equal(NtReferenceProcess(child, 0, &body), STATUS_SUCCESS);
    assert_int_equal(ObHandleCount(body->HandleTable), 0);
    ObDereferenceObjectBody(body);
    assert_int_equal(NtTerminateProcess(child, 0), STATUS_SUCCESS);
    NtClose(child);
    assert_int_equal(NtQueryObject(shielded, ObjectHandleFlagInformation, &flags, sizeof(flags), NULL),
                     STATUS_SUCCESS);
    assert_true(flags.Inherit && flags.ProtectFromClose);
    flags.ProtectFromClose = FALSE;
    assert_int_equal(NtSetInformationObject(shielded, ObjectHandleFlagInformation, &flags, sizeof(flags)),
                     STATUS_SUCCESS);
    NtClose(shielded);
    NtClose(inherited);
    assert_int_equal(NtQueryObject(shielded, ObjectHandleFlagInformation, &flags, sizeof(flags), NULL),
                     STATUS_INVALID_HANDLE);
    assert_int_equal(NtQueryObject(shielded, ObjectHandleFlagInformation, &flags, 1, NULL),
                     STATUS_INFO_LENGTH_MISMATCH);
    assert_int_equal(NtQueryObject(shielded, (OBJECT_INFORMATION_CLASS)99, &flags, 2, NULL),
                     STATUS_INVALID_INFO_CLASS);
}

static void creating_processes_checks_its_parameters(void **state)
{
    HANDLE handle = NULL;

    (void)state;
    assert_int_equal(NtCreateProcessEx(&handle, PROCESS_ALL_ACCESS, NULL, NULL, 0, NULL, NULL, NULL, 0),
                     STATUS_INVALID_PARAMETER);
    assert_int_equal(
        NtCreateProcessEx(&handle, PROCESS_ALL_ACCESS, NULL, NtCurrentProcess(), 0x8000, NULL, NULL, NULL, 0),
        STATUS_INVALID_PARAMETER);
    assert_int_equal(
        NtCreateProcessEx(&handle, PROCESS_ALL_ACCESS, NULL, NtCurrentProcess(), 0, (HANDLE)4, NULL, NULL, 0),
        STATUS_NOT_IMPLEMENTED);
    assert_int_equal(
        NtCreateProcessEx(&handle, PROCESS_ALL_ACCESS, NULL, (HANDLE)0x4440, 0, NULL, NULL, NULL, 0),
        STATUS_INVALID_HANDLE);
    assert_null(handle);
    assert_int_equal(MiState.Space->ProcessCount, 1);
}

static void counters_follow_the_memory(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 100 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    VM_COUNTERS_EX counters;
    ULONG returned;

    (void)state;
    TestVmFill(base, 40, 1);
    TestVmTrimAll();
    TestVmFill(base, 10, 1);
    assert_int_equal(NtQueryInformationProcess(NtCurrentProcess(), ProcessVmCounters, &counters,
                                               sizeof(counters), &returned),
                     STATUS_SUCCESS);
    assert_int_equal(returned, sizeof(counters));
    assert_int_equal(counters.VirtualSize, 100 * PAGE_SIZE);
    assert_int_equal(counters.WorkingSetSize, 10 * PAGE_SIZE);
    assert_int_equal(counters.PeakWorkingSetSize, 40 * PAGE_SIZE);
    assert_int_equal(counters.PrivateUsage >> PAGE_SHIFT, 100 + TestUserProcess->Space.CommittedPageTables);
    assert_int_equal(counters.PageFaultCount, 50);
    TestVmFree(base, 0, MEM_RELEASE);
    assert_int_equal(NtQueryInformationProcess(NtCurrentProcess(), ProcessVmCounters, &counters,
                                               sizeof(VM_COUNTERS), &returned),
                     STATUS_SUCCESS);
    assert_int_equal(counters.VirtualSize, 0);
    assert_int_equal(counters.WorkingSetSize, 0);
    assert_int_equal(counters.PeakVirtualSize, 100 * PAGE_SIZE);
    assert_true(counters.PeakPagefileUsage >= 100 * PAGE_SIZE);
    assert_int_equal(
        NtQueryInformationProcess(NtCurrentProcess(), ProcessVmCounters, &counters, 12, &returned),
        STATUS_INFO_LENGTH_MISMATCH);
    assert_int_equal(
        NtQueryInformationProcess(NtCurrentProcess(), (PROCESSINFOCLASS)5000, &counters, 12, NULL),
        STATUS_INVALID_INFO_CLASS);
}

static void faults_are_watched(void **state)
{
    static PROCESS_WS_WATCH_INFORMATION faults[MI_WATCH_ENTRIES + 1];
    static PROCESS_WS_WATCH_INFORMATION_EX extended[64];
    ULONG_PTR base = TestVmAllocate(0, 8 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    ULONG returned = 0;

    (void)state;
    assert_int_equal(NtQueryInformationProcess(NtCurrentProcess(), ProcessWorkingSetWatch, faults,
                                               sizeof(faults), &returned),
                     STATUS_UNSUCCESSFUL);
    assert_int_equal(NtSetInformationProcess(NtCurrentProcess(), ProcessWorkingSetWatch, NULL, 0),
                     STATUS_SUCCESS);
    assert_int_equal(NtQueryInformationProcess(NtCurrentProcess(), ProcessWorkingSetWatch, faults,
                                               sizeof(faults), &returned),
                     STATUS_NO_MORE_ENTRIES);
    TestVmFill(base, 3, 1);
    assert_int_equal(
        NtQueryInformationProcess(NtCurrentProcess(), ProcessWorkingSetWatch, faults, 48, &returned),
        STATUS_BUFFER_TOO_SMALL);
    assert_int_equal(returned, 4 * sizeof(faults[0]));
    assert_int_equal(NtQueryInformationProcess(NtCurrentProcess(), ProcessWorkingSetWatch, faults,
                                               sizeof(faults), &returned),
                     STATUS_SUCCESS);
    assert_int_equal(returned, 4 * sizeof(faults[0]));
    for (ULONG i = 0; i < 3; i++)
    {
        /* Demand zero: nothing was read. */
        assert_int_equal((ULONG_PTR)faults[i].FaultingVa & ~(ULONG_PTR)(PAGE_SIZE - 1), base + i * PAGE_SIZE);
        assert_int_equal((ULONG_PTR)faults[i].FaultingVa & 1, 0);
    }
    assert_null(faults[3].FaultingPc);
    assert_null(faults[3].FaultingVa);
    TestVmPageOut();
    (void)TestVmGet(base);
    assert_int_equal(NtQueryInformationProcess(NtCurrentProcess(), ProcessWorkingSetWatchEx, extended,
                                               sizeof(extended), &returned),
                     STATUS_SUCCESS);
    assert_int_equal(returned, 2 * sizeof(extended[0]));
    assert_int_equal((ULONG_PTR)extended[0].BasicInfo.FaultingVa & 1, 1); /* read from the paging file */
    assert_ptr_equal((PVOID)extended[0].FaultingThreadId, KiCurrentThread());
    /* Room for so many; the rest is counted. */
    for (ULONG i = 0; i < MI_WATCH_ENTRIES + 5; i++)
    {
        TestVmTrimAll();
        (void)TestVmGet(base);
    }
    assert_int_equal(NtQueryInformationProcess(NtCurrentProcess(), ProcessWorkingSetWatch, faults,
                                               sizeof(faults), &returned),
                     STATUS_SUCCESS);
    assert_int_equal(returned, sizeof(faults));
    assert_int_equal((ULONG_PTR)faults[MI_WATCH_ENTRIES].FaultingVa, 5);
}

static void working_set_limits_are_set_and_kept(void **state)
{
    ULONG_PTR base = TestVmAllocate(0, 100 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    QUOTA_LIMITS_EX quota;
    QUOTA_LIMITS small;

    (void)state;
    memset(&quota, 0, sizeof(quota));
    quota.MinimumWorkingSetSize = 20 * PAGE_SIZE;
    quota.MaximumWorkingSetSize = 30 * PAGE_SIZE;
    quota.Flags = QUOTA_LIMITS_HARDWS_MAX_ENABLE;
    assert_int_equal(NtSetInformationProcess(NtCurrentProcess(), ProcessQuotaLimits, &quota, sizeof(quota)),
                     STATUS_SUCCESS);
    TestVmFill(base, 100, 1);
    assert_true(MiWorkingSetPages(&TestUserProcess->Space) <= 30);
    TestVmCheck(base, 100, 1);
    memset(&quota, 0, sizeof(quota));
    assert_int_equal(
        NtQueryInformationProcess(NtCurrentProcess(), ProcessQuotaLimits, &quota, sizeof(quota), NULL),
        STATUS_SUCCESS);
    assert_int_equal(quota.MinimumWorkingSetSize, 20 * PAGE_SIZE);
    assert_int_equal(quota.MaximumWorkingSetSize, 30 * PAGE_SIZE);
    assert_int_equal(quota.Flags, QUOTA_LIMITS_HARDWS_MAX_ENABLE | QUOTA_LIMITS_HARDWS_MIN_DISABLE);
    memset(&small, 0xff, sizeof(small)); /* both -1: empty the working set */
    assert_int_equal(NtSetInformationProcess(NtCurrentProcess(), ProcessQuotaLimits, &small, sizeof(small)),
                     STATUS_SUCCESS);
    assert_int_equal(MiWorkingSetPages(&TestUserProcess->Space), 0);
    memset(&small, 0, sizeof(small));
    small.MinimumWorkingSetSize = 40 * PAGE_SIZE;
    small.MaximumWorkingSetSize = 30 * PAGE_SIZE;
    assert_int_equal(NtSetInformationProcess(NtCurrentProcess(), ProcessQuotaLimits, &small, sizeof(small)),
                     STATUS_BAD_WORKING_SET_LIMIT);
    quota.Flags = 0x100;
    assert_int_equal(NtSetInformationProcess(NtCurrentProcess(), ProcessQuotaLimits, &quota, sizeof(quota)),
                     STATUS_INVALID_PARAMETER);
    assert_int_equal(NtSetInformationProcess(NtCurrentProcess(), ProcessQuotaLimits, &quota, 8),
                     STATUS_INFO_LENGTH_MISMATCH);
}

static void the_image_name_is_told(void **state)
{
    struct
    {
        UNICODE_STRING String;
        WCHAR Text[32];
    } name;
    ULONG returned;

    (void)state;
    assert_int_equal(
        NtQueryInformationProcess(NtCurrentProcess(), ProcessImageFileName, &name, sizeof(name), &returned),
        STATUS_SUCCESS);
    assert_int_equal(name.String.Length, 8);
    assert_ptr_equal(name.String.Buffer, name.Text);
    assert_memory_equal(name.Text, u"test", 8);
    assert_int_equal(
        NtQueryInformationProcess(NtCurrentProcess(), ProcessImageFileName, &name, 10, &returned),
        STATUS_INFO_LENGTH_MISMATCH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_PROCESS(processes_are_opened_by_identifier),
        TEST_IN_PROCESS(memory_services_want_vm_operation),
        TEST_IN_PROCESS(waiting_for_a_process_ends_with_it),
        TEST_IN_PROCESS(handles_are_duplicated_between_processes),
        TEST_IN_PROCESS(children_inherit_what_is_inheritable),
        TEST_IN_PROCESS(creating_processes_checks_its_parameters),
        TEST_IN_PROCESS(counters_follow_the_memory),
        TEST_IN_PROCESS(faults_are_watched),
        TEST_IN_PROCESS(working_set_limits_are_set_and_kept),
        TEST_IN_PROCESS(the_image_name_is_told),
    };

    return cmocka_run_group_tests_name("nt.process", tests, NULL, NULL);
}
