/* SPDX-License-Identifier: MIT */
/* Booting and taking down machines: again and again, with wrong parameters, with paging files that cannot be had. */
#include "native_test.h"

#include "nt/ps.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/wait.h>

static void boots_and_shuts_down_again_and_again(void **state)
{
    (void)state;
    for (ULONG Round = 0; Round < 20; Round++)
    {
        NativeBoot(4 + Round, 1 + Round % 4, Round % 2 == 0 ? 8 : 0);
        NativeShutdown();
    }
}

static void file_descriptors_are_given_back(void **state)
{
    int Before = dup(0);
    int After;

    (void)state;
    close(Before);
    for (ULONG Round = 0; Round < 3; Round++)
    {
        NativeBoot(8, 2, 16);
        NativeShutdown();
    }
    After = dup(0);
    close(After);
    assert_int_equal(Before, After);
}

static void one_machine_at_a_time(void **state)
{
    NTMM_PARAMETERS Parameters = { .Size = sizeof(Parameters), .RamBytes = 4 * MIB };

    (void)state;
    NativeBoot(4, 1, 0);
    assert_int_equal(NtmmBoot(&Parameters), STATUS_DEVICE_ALREADY_ATTACHED);
    assert_non_null(strstr(NtmmLastMessage(), "shut it down first"));
    NativeShutdown();
    assert_int_equal(NtmmShutdown(), STATUS_INVALID_DEVICE_STATE);
}

static void wrong_parameters_are_refused(void **state)
{
    static const struct
    {
        NTMM_PARAMETERS Parameters;
        NTSTATUS Status;
        PCSTR Message;
    } Cases[] = {
        { { .Size = 8 }, STATUS_INFO_LENGTH_MISMATCH, "sizeof" },
        { { .Size = sizeof(NTMM_PARAMETERS), .RamBytes = 4096 }, STATUS_INVALID_PARAMETER, "at least 1 MiB" },
        { { .Size = sizeof(NTMM_PARAMETERS), .RamBytes = ~0ull }, STATUS_INVALID_PARAMETER, "at most" },
        { { .Size = sizeof(NTMM_PARAMETERS), .Processors = 65 }, STATUS_INVALID_PARAMETER, "processors" },
        { { .Size = sizeof(NTMM_PARAMETERS), .Runs = 65 }, STATUS_INVALID_PARAMETER, "runs" },
        { { .Size = sizeof(NTMM_PARAMETERS), .PagingFileCount = 17 },
          STATUS_INVALID_PARAMETER,
          "paging files" },
        { { .Size = sizeof(NTMM_PARAMETERS), .PagingFileCount = 1 }, STATUS_INVALID_PARAMETER, "path" },
        { { .Size = sizeof(NTMM_PARAMETERS), .PagingFileCount = 1, .PagingFiles = { { "x", 4096, 0 } } },
          STATUS_INVALID_PARAMETER,
          "at least 1 MiB" },
        { { .Size = sizeof(NTMM_PARAMETERS),
            .PagingFileCount = 1,
            .PagingFiles = { { "x", 2 << 20, 1 << 20 } } },
          STATUS_INVALID_PARAMETER,
          "smaller" },
    };

    (void)state;
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Cases); Index++)
    {
        assert_int_equal(NtmmBoot(&Cases[Index].Parameters), Cases[Index].Status);
        assert_non_null(strstr(NtmmLastMessage(), Cases[Index].Message));
    }
}

static NTSTATUS BootWithPagingFile(PCSTR Path, ULONG64 Bytes)
{
    NTMM_PARAMETERS Parameters = { .Size = sizeof(Parameters),
                                   .RamBytes = 8 * MIB,
                                   .PagingFileCount = 1,
                                   .PagingFiles = { { Path, Bytes, 0 } } };

    return NtmmBoot(&Parameters);
}

static void paging_files_that_cannot_be_had_leave_nothing_behind(void **state)
{
    (void)state;
    assert_int_equal(BootWithPagingFile("/no/such/folder/page", 4 * MIB), STATUS_OBJECT_PATH_NOT_FOUND);
    assert_non_null(strstr(NtmmLastMessage(), "folder does not exist"));
    assert_int_equal(BootWithPagingFile("/tmp", 4 * MIB), STATUS_INVALID_PARAMETER);
    assert_non_null(strstr(NtmmLastMessage(), "regular file"));
    /* More than any disk here has. */
    assert_int_equal(BootWithPagingFile("ntmm-native-full.page", (ULONG64)15 << 40), STATUS_DISK_FULL);
    assert_non_null(strstr(NtmmLastMessage(), "no room"));
    assert_int_equal(access("ntmm-native-full.page", F_OK), -1);
    NativeBoot(8, 1, 0);
    NativeShutdown();
}

static void a_paging_file_in_use_is_refused_and_kept(void **state)
{
    int File = open("ntmm-native-used.page", O_RDWR | O_CREAT, 0600);

    (void)state;
    assert_true(File >= 0);
    close(File);
    assert_int_equal(BootWithPagingFile("ntmm-native-used.page", 4 * MIB), STATUS_SUCCESS);
    /* A second machine is another Linux process. */
    if (fork() == 0)
    {
        char *Arguments[] = { "machine", "boot-in-use", NULL };

        execv("/proc/self/exe", Arguments);
        _exit(99);
    }
    else
    {
        int Result = 0;

        assert_true(wait(&Result) > 0);
        assert_int_equal(Result, 0);
    }
    assert_int_equal(NtmmShutdown(), STATUS_SUCCESS);
    assert_int_equal(unlink("ntmm-native-used.page"), 0);
}

static int BootInUse(void)
{
    NTSTATUS Status = BootWithPagingFile("ntmm-native-used.page", 4 * MIB);

    return Status == STATUS_SHARING_VIOLATION && strstr(NtmmLastMessage(), "another machine") != NULL ? 0 : 1;
}

static void processes_that_are_left_keep_the_machine_up(void **state)
{
    PEPROCESS Process;

    (void)state;
    NativeBoot(8, 1, 0);
    Process = NativeProcess("left");
    assert_int_equal(NtmmShutdown(), STATUS_DEVICE_BUSY);
    assert_non_null(strstr(NtmmLastMessage(), "close them"));
    NtmmCloseProcess(Process);
    NativeShutdown();
}

static NTSTATUS MakeSection(PWCH Text, USHORT Bytes, ULONG Flags)
{
    UNICODE_STRING Name = { .Length = Bytes, .MaximumLength = Bytes, .Buffer = Text };
    OBJECT_ATTRIBUTES Attributes = { .Length = sizeof(Attributes), .ObjectName = &Name, .Attributes = Flags };
    LARGE_INTEGER Size = { .QuadPart = MIB };
    HANDLE Section = NULL;
    NTSTATUS Status =
        NtCreateSection(&Section, SECTION_ALL_ACCESS, &Attributes, &Size, PAGE_READWRITE, SEC_COMMIT, NULL);

    if (NT_SUCCESS(Status))
    {
        NtClose(Section);
    }
    return Status;
}

static void permanent_objects_end_with_the_machine(void **state)
{
    WCHAR Text[] = u"\\BaseNamedObjects\\Kept";
    USHORT Bytes = sizeof(Text) - sizeof(WCHAR);

    (void)state;
    NativeBoot(8, 1, 0);
    assert_int_equal(MakeSection(Text, Bytes, 0), STATUS_SUCCESS);
    assert_int_equal(MakeSection(Text, Bytes, OBJ_PERMANENT), STATUS_SUCCESS);
    assert_int_equal(MakeSection(Text, Bytes, OBJ_PERMANENT), STATUS_OBJECT_NAME_COLLISION);
    Text[0] = u'/';
    assert_int_equal(MakeSection(Text, Bytes, OBJ_PERMANENT), STATUS_SUCCESS);
    NativeShutdown();
}

static void object_names_can_be_compared_with_case(void **state)
{
    WCHAR Text[] = u"\\BaseNamedObjects\\Kept";
    USHORT Bytes = sizeof(Text) - sizeof(WCHAR);

    (void)state;
    for (ULONG Case = 0; Case < 2; Case++)
    {
        NTMM_PARAMETERS Parameters = { .Size = sizeof(Parameters),
                                       .RamBytes = 8 * MIB,
                                       .CaseSensitiveNames = Case != 0 };

        assert_int_equal(NtmmBoot(&Parameters), STATUS_SUCCESS);
        Text[sizeof(Text) / sizeof(WCHAR) - 2] = u't';
        assert_int_equal(MakeSection(Text, Bytes, OBJ_PERMANENT), STATUS_SUCCESS);
        Text[sizeof(Text) / sizeof(WCHAR) - 2] = u'T';
        assert_int_equal(MakeSection(Text, Bytes, OBJ_CASE_INSENSITIVE), STATUS_OBJECT_NAME_COLLISION);
        assert_int_equal(MakeSection(Text, Bytes, 0),
                         Case != 0 ? STATUS_SUCCESS : STATUS_OBJECT_NAME_COLLISION);
        NativeShutdown();
    }
}

static void a_driver_gets_kernel_handles_by_pointer(void **state)
{
    PEPROCESS Process;
    HANDLE Handle = NULL;
    PVOID Object;

    (void)state;
    NativeBoot(8, 1, 0);
    Process = NativeProcess("target");
    assert_int_equal(ObOpenObjectByPointer(Process, OBJ_KERNEL_HANDLE, NULL, PROCESS_ALL_ACCESS, NULL,
                                           KernelMode, &Handle),
                     STATUS_SUCCESS);
    assert_true((LONG_PTR)Handle < 0);
    assert_int_equal(ObReferenceObjectByHandle(Handle, 0, NULL, UserMode, &Object, NULL),
                     STATUS_INVALID_HANDLE);
    assert_int_equal(ObReferenceObjectByHandle(Handle, 0, NULL, KernelMode, &Object, NULL), STATUS_SUCCESS);
    assert_ptr_equal(Object, Process);
    ObDereferenceObjectDeferDelete(Object);
    assert_int_equal(NtClose(Handle), STATUS_SUCCESS);
    assert_int_equal(NtClose(Handle), STATUS_INVALID_HANDLE);
    NtmmCloseProcess(Process);
    NativeShutdown();
}

static void *CreateAndClose(void *Context)
{
    PEPROCESS Process;

    (void)Context;
    for (ULONG Round = 0; Round < 20; Round++)
    {
        if (NtmmCreateProcess("foreign", &Process) != STATUS_SUCCESS)
        {
            return (void *)1;
        }
        NtmmCloseProcess(Process);
    }
    return NtmmShutdown() == STATUS_INVALID_DEVICE_STATE ? NULL : (void *)2;
}

static void any_thread_of_the_program_may_call(void **state)
{
    pthread_t Threads[4];
    void *Result;

    (void)state;
    NativeBoot(16, 2, 0);
    for (ULONG Index = 0; Index < 4; Index++)
    {
        assert_int_equal(pthread_create(&Threads[Index], NULL, CreateAndClose, NULL), 0);
    }
    for (ULONG Index = 0; Index < 4; Index++)
    {
        assert_int_equal(pthread_join(Threads[Index], &Result), 0);
        assert_null(Result);
    }
    NativeShutdown();
}

static void without_a_machine_everything_says_so(void **state)
{
    NTMM_STATISTICS *Statistics = calloc(1, sizeof(*Statistics));
    PEPROCESS Process;

    (void)state;
    Statistics->Size = sizeof(*Statistics);
    assert_int_equal(NtmmCreateProcess("x", &Process), STATUS_INVALID_DEVICE_STATE);
    assert_int_equal(NtmmQueryStatistics(Statistics), STATUS_INVALID_DEVICE_STATE);
    NativeForgetText();
    NtmmShowMemory(NativePrint, NULL);
    assert_string_equal(NativeText, "no machine is running\n");
    free(Statistics);
}

static void statuses_have_names_and_words(void **state)
{
    CHAR Text[128];

    (void)state;
    assert_string_equal(NtmmStatusName(STATUS_DISK_FULL), "STATUS_DISK_FULL");
    assert_string_equal(NtmmStatusName(STATUS_SUCCESS), "STATUS_SUCCESS");
    assert_null(NtmmStatusName((NTSTATUS)0xE0001234));
    assert_string_equal(NtmmFormatStatus(STATUS_DISK_FULL, Text, sizeof(Text)),
                        "STATUS_DISK_FULL (0xC000007F): the disk is full");
    assert_string_equal(NtmmFormatStatus((NTSTATUS)0xE0001234, Text, sizeof(Text)),
                        "unknown status (0xE0001234)");
}

static void views_show_the_machine(void **state)
{
    PEPROCESS Process;

    (void)state;
    NativeBoot(16, 1, 16);
    Process = NativeProcess("viewed");
    NtmmShowMemory(NativePrint, NULL);
    NtmmShowPageLists(NativePrint, NULL);
    NtmmShowPool(NativePrint, NULL);
    NtmmShowVerifier(NativePrint, NULL);
    NtmmShowProcesses(NativePrint, NULL);
    NtmmShowVads(Process, NativePrint, NULL);
    NtmmShowPte(Process, (PVOID)(ULONG_PTR)0x12345000, NativePrint, NULL);
    NtmmShowPfn(1, NativePrint, NULL);
    NtmmShowPfn(~0ull, NativePrint, NULL);
    assert_non_null(strstr(NativeText, "Physical Memory:                 4096"));
    assert_non_null(strstr(NativeText, "Image: viewed"));
    assert_non_null(
        strstr(NativeText, " Proc  Nonp           2          0          2 ")); /* System and this one */
    assert_non_null(strstr(NativeText, "Driver Verifier is off"));
    assert_non_null(strstr(NativeText, "Special pool: off"));
    assert_non_null(strstr(NativeText, "Total VADs: 0"));
    assert_non_null(strstr(NativeText, "PXE at"));
    assert_non_null(strstr(NativeText, "PFN 00000001"));
    assert_non_null(strstr(NativeText, "is no page frame"));
    NtmmCloseProcess(Process);
    NativeShutdown();
}

int main(int count, char **arguments)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(boots_and_shuts_down_again_and_again),
        cmocka_unit_test(file_descriptors_are_given_back),
        cmocka_unit_test(one_machine_at_a_time),
        cmocka_unit_test(wrong_parameters_are_refused),
        cmocka_unit_test(paging_files_that_cannot_be_had_leave_nothing_behind),
        cmocka_unit_test(a_paging_file_in_use_is_refused_and_kept),
        cmocka_unit_test(processes_that_are_left_keep_the_machine_up),
        cmocka_unit_test(permanent_objects_end_with_the_machine),
        cmocka_unit_test(object_names_can_be_compared_with_case),
        cmocka_unit_test(a_driver_gets_kernel_handles_by_pointer),
        cmocka_unit_test(any_thread_of_the_program_may_call),
        cmocka_unit_test(without_a_machine_everything_says_so),
        cmocka_unit_test(statuses_have_names_and_words),
        cmocka_unit_test(views_show_the_machine),
    };

    if (count > 1 && strcmp(arguments[1], "boot-in-use") == 0)
    {
        return BootInUse();
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
