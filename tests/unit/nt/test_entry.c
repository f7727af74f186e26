/* SPDX-License-Identifier: MIT */
/* The entries of services: previous mode, probing, capturing, output parameters only on success. */
#include "process.h"

static void nt_takes_the_mode_of_its_caller_and_zw_is_trusted(void **state)
{
    PKTHREAD thread = KiCurrentThread();
    SIZE_T size = PAGE_SIZE;
    PVOID base = NULL;

    (void)state;
    assert_int_equal(
        NtAllocateVirtualMemory(NtCurrentProcess(), &base, 0, &size, MEM_RESERVE, PAGE_READWRITE),
        STATUS_SUCCESS);
    assert_int_equal(thread->CurrentMode, UserMode);
    thread->PreviousMode = UserMode;
    size = 0;
    assert_int_equal(ZwFreeVirtualMemory(NtCurrentProcess(), &base, &size, MEM_RELEASE), STATUS_SUCCESS);
    assert_int_equal(thread->CurrentMode, UserMode);
    assert_int_equal(thread->PreviousMode, UserMode);
    assert_int_equal(NtFreeVirtualMemory((HANDLE)0x123450, &base, &size, MEM_RELEASE), STATUS_INVALID_HANDLE);
    assert_int_equal(thread->CurrentMode, UserMode);
}

static void pointers_into_the_system_are_access_violations(void **state)
{
    static const ULONG_PTR bad[] = { PORT_SYSTEM_START,
                                     PORT_SYSTEM_END - 7,
                                     PORT_SYSTEM_START - 2,
                                     PORT_DIRECT_MAP_BASE,
                                     PORT_DIRECT_MAP_BASE + PORT_DIRECT_MAP_SIZE - 8,
                                     ~(ULONG_PTR)0 - 3,
                                     0,
                                     8,
                                     0x8000000000000000 };
    SIZE_T size = PAGE_SIZE;
    PVOID base = NULL;
    ULONG old;

    (void)state;
    /* Not in a fixture: cmocka takes the signals for itself between that and the test. */
    TestEnterProcess(NULL);
    for (ULONG index = 0; index < RTL_NUMBER_OF(bad); index++)
    {
        assert_int_equal(NtAllocateVirtualMemory(NtCurrentProcess(), (PVOID *)bad[index], 0, &size,
                                                 MEM_RESERVE, PAGE_READWRITE),
                         STATUS_ACCESS_VIOLATION);
        assert_int_equal(NtAllocateVirtualMemory(NtCurrentProcess(), &base, 0, (PSIZE_T)bad[index],
                                                 MEM_RESERVE, PAGE_READWRITE),
                         STATUS_ACCESS_VIOLATION);
        assert_int_equal(
            NtProtectVirtualMemory(NtCurrentProcess(), &base, &size, PAGE_READONLY, (PULONG)bad[index]),
            STATUS_ACCESS_VIOLATION);
        assert_int_equal(NtQueryVirtualMemory(NtCurrentProcess(), NULL, MemoryBasicInformation,
                                              (PVOID)bad[index], sizeof(MEMORY_BASIC_INFORMATION), NULL),
                         STATUS_ACCESS_VIOLATION);
        assert_int_equal(NtCreateEvent((PHANDLE)bad[index], EVENT_ALL_ACCESS, NULL, NotificationEvent, FALSE),
                         STATUS_ACCESS_VIOLATION);
        assert_int_equal(NtQuerySystemInformation(SystemBasicInformation, (PVOID)bad[index],
                                                  sizeof(SYSTEM_BASIC_INFORMATION), &old),
                         STATUS_ACCESS_VIOLATION);
    }
    assert_int_equal(TestUserProcess->Space.VadCount, 0);
    assert_int_equal(ObHandleCount(TestUserProcess->HandleTable), 0);
    TestLeaveProcess();
}

/* NULL means "none" where a parameter is optional; the others of these no mode of user's may name. */
static void pointers_into_the_system_are_access_violations_for_sections_too(void **state)
{
    static const ULONG_PTR bad[] = { PORT_SYSTEM_START,    PORT_SYSTEM_END - 7, PORT_SYSTEM_START - 2,
                                     PORT_DIRECT_MAP_BASE, ~(ULONG_PTR)0 - 3,   8,
                                     0x8000000000000000 };
    LARGE_INTEGER bytes = { .QuadPart = 4 * PAGE_SIZE };
    LARGE_INTEGER offset = { .QuadPart = 0 };
    SECTION_BASIC_INFORMATION information;
    HANDLE section, other;
    PVOID base = NULL;
    SIZE_T size = 0;

    (void)state;
    TestEnterProcess(NULL);
    assert_int_equal(
        NtCreateSection(&section, SECTION_ALL_ACCESS, NULL, &bytes, PAGE_READWRITE, SEC_COMMIT, NULL),
        STATUS_SUCCESS);
    for (ULONG index = 0; index < RTL_NUMBER_OF(bad); index++)
    {
        PVOID pointer = (PVOID)bad[index];

        assert_int_equal(
            NtCreateSection(pointer, SECTION_ALL_ACCESS, NULL, &bytes, PAGE_READWRITE, SEC_COMMIT, NULL),
            STATUS_ACCESS_VIOLATION);
        assert_int_equal(
            NtCreateSection(&other, SECTION_ALL_ACCESS, pointer, &bytes, PAGE_READWRITE, SEC_COMMIT, NULL),
            STATUS_ACCESS_VIOLATION);
        assert_int_equal(
            NtCreateSection(&other, SECTION_ALL_ACCESS, NULL, pointer, PAGE_READWRITE, SEC_COMMIT, NULL),
            STATUS_ACCESS_VIOLATION);
        assert_int_equal(NtOpenSection(&other, SECTION_ALL_ACCESS, pointer), STATUS_ACCESS_VIOLATION);
        assert_int_equal(NtMapViewOfSection(section, NtCurrentProcess(), pointer, 0, 0, NULL, &size,
                                            ViewShare, 0, PAGE_READWRITE),
                         STATUS_ACCESS_VIOLATION);
        assert_int_equal(NtMapViewOfSection(section, NtCurrentProcess(), &base, 0, 0, pointer, &size,
                                            ViewShare, 0, PAGE_READWRITE),
                         STATUS_ACCESS_VIOLATION);
        assert_int_equal(NtMapViewOfSection(section, NtCurrentProcess(), &base, 0, 0, &offset, pointer,
                                            ViewShare, 0, PAGE_READWRITE),
                         STATUS_ACCESS_VIOLATION);
        assert_int_equal(NtMapViewOfSectionEx(section, NtCurrentProcess(), pointer, &offset, &size, 0,
                                              PAGE_READWRITE, NULL, 0),
                         STATUS_ACCESS_VIOLATION);
        assert_int_equal(NtExtendSection(section, pointer), STATUS_ACCESS_VIOLATION);
        assert_int_equal(NtQuerySection(section, SectionBasicInformation, pointer, sizeof(information), NULL),
                         STATUS_ACCESS_VIOLATION);
        assert_int_equal(
            NtQuerySection(section, SectionBasicInformation, &information, sizeof(information), pointer),
            STATUS_ACCESS_VIOLATION);
        assert_null(base);
        assert_int_equal(size, 0);
    }
    assert_int_equal(TestUserProcess->Space.VadCount, 0);
    assert_int_equal(ObHandleCount(TestUserProcess->HandleTable), 1);
    assert_int_equal(
        NtQuerySection(section, SectionBasicInformation, &information, sizeof(information), NULL),
        STATUS_SUCCESS);
    assert_int_equal(information.MaximumSize.QuadPart, 4 * PAGE_SIZE);
    NtClose(section);
    TestLeaveProcess();
}

static NTSTATUS allocate_ex(PVOID *base, SIZE_T size, MEM_EXTENDED_PARAMETER *parameters, ULONG count)
{
    return NtAllocateVirtualMemoryEx(NtCurrentProcess(), base, &size, MEM_RESERVE | MEM_COMMIT,
                                     PAGE_READWRITE, parameters, count);
}

static void address_requirements_are_met(void **state)
{
    MEM_ADDRESS_REQUIREMENTS requirements = { 0 };
    MEM_EXTENDED_PARAMETER parameter = { .Type = MemExtendedParameterAddressRequirements,
                                         .Pointer = &requirements };
    ULONG_PTR low = PORT_USER_LOWEST + 0x1000000000ull;
    PVOID base = NULL;

    (void)state;
    assert_int_equal(allocate_ex(&base, PAGE_SIZE, &parameter, 1), STATUS_SUCCESS); /* all zero: none */
    requirements.LowestStartingAddress = (PVOID)low;
    requirements.HighestEndingAddress = (PVOID)(low + 0x1ffffff);
    requirements.Alignment = 0x800000;
    for (ULONG index = 0; index < 3; index++)
    {
        base = NULL;
        assert_int_equal(allocate_ex(&base, PAGE_SIZE, &parameter, 1), STATUS_SUCCESS);
        assert_true((ULONG_PTR)base >= low && (ULONG_PTR)base < low + 0x2000000);
        assert_int_equal((ULONG_PTR)base % 0x800000, 0);
    }
    base = NULL;
    assert_int_equal(allocate_ex(&base, 0x1800000, &parameter, 1), STATUS_NO_MEMORY);
    assert_null(base);
    base = (PVOID)low;
    assert_int_equal(allocate_ex(&base, PAGE_SIZE, &parameter, 1), STATUS_INVALID_PARAMETER);
    base = NULL;
    requirements.Alignment = 0x30000;
    assert_int_equal(allocate_ex(&base, PAGE_SIZE, &parameter, 1), STATUS_INVALID_PARAMETER);
    requirements.Alignment = 0x1000;
    assert_int_equal(allocate_ex(&base, PAGE_SIZE, &parameter, 1), STATUS_INVALID_PARAMETER);
    requirements.Alignment = 0;
    requirements.LowestStartingAddress = (PVOID)(low + 0x1000);
    assert_int_equal(allocate_ex(&base, PAGE_SIZE, &parameter, 1), STATUS_INVALID_PARAMETER);
    requirements.LowestStartingAddress = NULL;
    requirements.HighestEndingAddress = (PVOID)(PORT_USER_HIGHEST + PAGE_SIZE);
    assert_int_equal(allocate_ex(&base, PAGE_SIZE, &parameter, 1), STATUS_INVALID_PARAMETER);
}

static void extended_parameters_are_checked(void **state)
{
    MEM_EXTENDED_PARAMETER parameters[2] = { { .Type = MemExtendedParameterNumaNode, .ULong64 = 0 },
                                             { .Type = MemExtendedParameterNumaNode, .ULong64 = 0 } };
    PVOID base = NULL;

    (void)state;
    assert_int_equal(allocate_ex(&base, PAGE_SIZE, parameters, 1), STATUS_SUCCESS);
    base = NULL;
    assert_int_equal(allocate_ex(&base, PAGE_SIZE, parameters, 2), STATUS_INVALID_PARAMETER); /* twice */
    assert_int_equal(allocate_ex(&base, PAGE_SIZE, NULL, 1), STATUS_INVALID_PARAMETER);
    assert_int_equal(allocate_ex(&base, PAGE_SIZE, parameters, 0), STATUS_INVALID_PARAMETER);
    parameters[0].ULong64 = 1;
    assert_int_equal(allocate_ex(&base, PAGE_SIZE, parameters, 1), STATUS_INVALID_PARAMETER);
    parameters[0].Type = MemExtendedParameterInvalidType;
    assert_int_equal(allocate_ex(&base, PAGE_SIZE, parameters, 1), STATUS_INVALID_PARAMETER);
    parameters[0].Type = MemExtendedParameterMax;
    assert_int_equal(allocate_ex(&base, PAGE_SIZE, parameters, 1), STATUS_INVALID_PARAMETER);
    parameters[0].Type = MemExtendedParameterAttributeFlags;
    parameters[0].ULong64 = MEM_EXTENDED_PARAMETER_NONPAGED;
    assert_int_equal(allocate_ex(&base, PAGE_SIZE, parameters, 1), STATUS_NOT_IMPLEMENTED);
    parameters[0].ULong64 = 0x10000;
    assert_int_equal(allocate_ex(&base, PAGE_SIZE, parameters, 1), STATUS_INVALID_PARAMETER);
    parameters[0].Reserved = 1;
    assert_int_equal(allocate_ex(&base, PAGE_SIZE, parameters, 1), STATUS_INVALID_PARAMETER);
    assert_null(base);
    assert_int_equal(TestUserProcess->Space.VadCount, 1);
}

static void paging_files_are_created_by_service(void **state)
{
    static WCHAR text[] = u"\\\\.\\Memory\\second";
    UNICODE_STRING name = { .Length = sizeof(text) - 2, .MaximumLength = sizeof(text), .Buffer = text };
    LARGE_INTEGER minimum = { .QuadPart = 4 << 20 }, maximum = { .QuadPart = 8 << 20 };
    SYSTEM_PAGEFILE_INFORMATION_EX *entry;
    static ULONG64 buffer[256];
    SIZE_T limit = MiState.Physical->CommitLimit;
    ULONG returned = 0;

    (void)state;
    assert_int_equal(NtCreatePagingFile(&name, &maximum, &minimum, 0), STATUS_INVALID_PARAMETER_3);
    minimum.QuadPart = -1;
    assert_int_equal(NtCreatePagingFile(&name, &minimum, &maximum, 0), STATUS_INVALID_PARAMETER_2);
    minimum.QuadPart = 4 << 20;
    name.Length = 0;
    assert_int_equal(NtCreatePagingFile(&name, &minimum, &maximum, 0), STATUS_OBJECT_NAME_INVALID);
    name.Length = 3;
    assert_int_equal(NtCreatePagingFile(&name, &minimum, &maximum, 0), STATUS_OBJECT_NAME_INVALID);
    name.Length = sizeof(text) - 2;
    assert_int_equal(NtCreatePagingFile(&name, &minimum, &maximum, 0), STATUS_SUCCESS);
    assert_true(MiState.Physical->CommitLimit > limit);
    assert_int_equal(NtQuerySystemInformation(SystemPageFileInformationEx, buffer, 8, &returned),
                     STATUS_INFO_LENGTH_MISMATCH);
    assert_int_equal(NtQuerySystemInformation(SystemPageFileInformationEx, buffer, sizeof(buffer), &returned),
                     STATUS_SUCCESS);
    entry = (SYSTEM_PAGEFILE_INFORMATION_EX *)buffer;
    assert_int_not_equal(entry->NextEntryOffset, 0);
    assert_int_equal(entry->TotalSize, (16 << 20) >> PAGE_SHIFT);
    entry = (SYSTEM_PAGEFILE_INFORMATION_EX *)((UCHAR *)buffer + entry->NextEntryOffset);
    assert_int_equal(entry->NextEntryOffset, 0);
    assert_int_equal(entry->TotalSize, (4 << 20) >> PAGE_SHIFT);
    assert_int_equal(entry->MaximumSize, (8 << 20) >> PAGE_SHIFT);
    assert_int_equal(entry->TotalInUse, 0);
    assert_int_equal(entry->PageFileName.Length, sizeof(text) - 2);
    assert_memory_equal(entry->PageFileName.Buffer, text, sizeof(text));
}

/* A new paging file stays for the life of the machine: books are not compared. */
static int leave_with_more_files(void **state)
{
    (void)state;
    TestRunInProcess(NULL);
    TestStopWorkers();
    TestEndProcess(TestUserProcess);
    assert_int_equal(HostSetThreadSimulated(FALSE), STATUS_SUCCESS);
    TestAbandonMachine();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_PROCESS(nt_takes_the_mode_of_its_caller_and_zw_is_trusted),
        cmocka_unit_test(pointers_into_the_system_are_access_violations),
        cmocka_unit_test(pointers_into_the_system_are_access_violations_for_sections_too),
        TEST_IN_PROCESS(address_requirements_are_met),
        TEST_IN_PROCESS(extended_parameters_are_checked),
        cmocka_unit_test_setup_teardown(paging_files_are_created_by_service, TestEnterFixture,
                                        leave_with_more_files),
    };

    return cmocka_run_group_tests_name("nt.entry", tests, NULL, NULL);
}
