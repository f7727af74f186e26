/* SPDX-License-Identifier: MIT */
/*
 * What becomes of a program when the disk below it fails: a paging file that vanishes (its name is taken away), one that somebody cuts short. The
 * process that needs a page that is gone gets STATUS_IN_PAGE_ERROR; all other pages, other processes and the machine live on.
 */
#include "native_test.h"

#include <fcntl.h>

#define RAM_PAGES   (8 * MIB / PAGE_SIZE)
#define WORK_PAGES  (4 * RAM_PAGES)
#define PAGING_FILE "/tmp/ntmm-test-vanishing"

static ULONG64 *Memory;
static ULONG Damaged;
static ULONG Wrong;

static char Path[64];

static void boot_with_real_file(void)
{
    NTMM_PARAMETERS Parameters = { .Size = sizeof(Parameters), .RamBytes = 8 * MIB, .Processors = 2 };

    snprintf(Path, sizeof(Path), PAGING_FILE "-%d", (int)getpid());
    Parameters.PagingFileCount = 2;
    Parameters.PagingFiles[0] = (NTMM_PAGING_FILE){ Path, 64 * MIB, 64 * MIB };
    Parameters.PagingFiles[1] = (NTMM_PAGING_FILE){ "\\\\.\\Memory\\second", 48 * MIB, 48 * MIB };
    NativeForgetText();
    NtmmSetOutput(NativePrint, NULL);
    if (NtmmBoot(&Parameters) != STATUS_SUCCESS)
    {
        fail_msg("boot: %s", NtmmLastMessage());
    }
}

static ULONG64 *page(ULONG Page)
{
    return Memory + (SIZE_T)Page * (PAGE_SIZE / sizeof(ULONG64));
}

static NTSTATUS Fill(PVOID Context)
{
    (void)Context;
    Memory = NativeAllocate(WORK_PAGES * PAGE_SIZE, PAGE_READWRITE);
    for (ULONG Page = 0; Page < WORK_PAGES; Page++)
    {
        *page(Page) = 1000003ull * Page + 7;
    }
    return STATUS_SUCCESS;
}

static VOID ReadPage(PVOID Context)
{
    const ULONG Page = *(ULONG *)Context;

    Wrong += *page(Page) != 1000003ull * Page + 7;
}

static NTSTATUS Verify(PVOID Context)
{
    (void)Context;
    Damaged = Wrong = 0;
    for (ULONG Page = 0; Page < WORK_PAGES; Page++)
    {
        EXCEPTION_RECORD Record;
        NTSTATUS Status = NtmmGuardedCall(ReadPage, &Page, &Record);

        if (Status == STATUS_IN_PAGE_ERROR)
        {
            Damaged++;
            Wrong += Record.NumberParameters != 3 || Record.ExceptionInformation[0] != 0 ||
                     Record.ExceptionInformation[1] != (ULONG_PTR)page(Page) ||
                     NT_SUCCESS((NTSTATUS)Record.ExceptionInformation[2]);
        }
        else
        {
            Wrong += Status != STATUS_SUCCESS;
        }
    }
    return STATUS_SUCCESS;
}

/* Linux keeps a file as long as it is open: nothing is lost. */
static void a_paging_file_that_vanishes_is_used_to_the_end(void **State)
{
    PEPROCESS Process;

    (void)State;
    boot_with_real_file();
    Process = NativeProcess("vanished");
    NativeRun(Process, Fill, NULL);
    assert_int_equal(unlink(Path), 0);
    NativeRun(Process, Verify, NULL);
    assert_int_equal(Damaged, 0);
    assert_int_equal(Wrong, 0);
    NtmmCloseProcess(Process);
    NativeShutdown();
    assert_int_equal(access(Path, F_OK), -1);
}

static void a_paging_file_cut_short_costs_only_what_was_in_it(void **State)
{
    PEPROCESS Process;
    PEPROCESS Other;

    (void)State;
    boot_with_real_file();
    Process = NativeProcess("cut");
    NativeRun(Process, Fill, NULL);
    assert_int_equal(truncate(Path, 1 * (off_t)MIB), 0);
    NativeRun(Process, Verify, NULL);
    print_message("%u damaged, %u wrong of %u\n", Damaged, Wrong, (ULONG)WORK_PAGES);
    assert_true(Damaged != 0 && Damaged < WORK_PAGES);
    assert_int_equal(Wrong, 0); /* zeros would be wrong: what is gone is an error, never something else */
    NtmmCloseProcess(Process);
    /* Nothing is written into that file any more; the other one serves whoever comes later. */
    Other = NativeProcess("later");
    NativeRun(Other, Fill, NULL);
    NativeRun(Other, Verify, NULL);
    assert_int_equal(Damaged, 0);
    assert_int_equal(Wrong, 0);
    NtmmCloseProcess(Other);
    NativeShutdown();
    unlink(Path);
}

int main(void)
{
    const struct CMUnitTest Tests[] = { cmocka_unit_test(a_paging_file_that_vanishes_is_used_to_the_end),
                                        cmocka_unit_test(a_paging_file_cut_short_costs_only_what_was_in_it) };

    return cmocka_run_group_tests_name("native.storageerrors", Tests, NULL, NULL);
}
