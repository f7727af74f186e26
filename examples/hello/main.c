/* SPDX-License-Identifier: MIT */
/*
 * The smallest useful program on ntmm: a machine with 16 MiB of RAM, one process, 48 MiB of private memory used through an ordinary
 * pointer, and a mistake that ends the process but not the program.
 */
#include <ntmm.h>

#include <stdio.h>

#define BYTES ((SIZE_T)48 << 20)

/* User-mode code of the NT process. */
static NTSTATUS Fill(PVOID Context)
{
    PVOID Base = NULL;
    SIZE_T Size = BYTES;
    NTSTATUS Status = NtAllocateVirtualMemory(NtCurrentProcess(), &Base, 0, &Size, MEM_RESERVE | MEM_COMMIT,
                                              PAGE_READWRITE);
    unsigned *Numbers = Base;
    unsigned long long Sum = 0;

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    for (unsigned Index = 0; Index < BYTES / sizeof(*Numbers); Index++)
    {
        Numbers[Index] = Index; /* page faults, and soon pages that leave for the paging file */
    }
    for (unsigned Index = 0; Index < BYTES / sizeof(*Numbers); Index++)
    {
        Sum += Numbers[Index]; /* and come back */
    }
    *(unsigned long long *)Context = Sum;
    return STATUS_SUCCESS;
}

static NTSTATUS Stumble(PVOID Context)
{
    *(volatile int *)Context = 1; /* an address that nobody allocated */
    return STATUS_SUCCESS;
}

static int Failed(void)
{
    fprintf(stderr, "hello: %s\n", NtmmLastMessage());
    return 1;
}

int main(void)
{
    NTMM_PARAMETERS Parameters = { .Size = sizeof(Parameters),
                                   .RamBytes = 16 << 20,
                                   .PagingFileCount = 1,
                                   .PagingFiles = { { "\\\\.\\Memory\\hello", 64 << 20, 0 } } };
    unsigned long long Sum = 0;
    CHAR Text[128];
    NTSTATUS ExitStatus;
    PEPROCESS Process;

    if (!NT_SUCCESS(NtmmBoot(&Parameters)) || !NT_SUCCESS(NtmmCreateProcess("hello", &Process)))
    {
        return Failed();
    }
    if (!NT_SUCCESS(NtmmRun(Process, Fill, &Sum, &ExitStatus)) || !NT_SUCCESS(ExitStatus))
    {
        return Failed();
    }
    printf("the sum of the numbers in 48 MiB, kept in 16 MiB of RAM: %llu\n", Sum);

    NtmmRun(Process, Stumble, (PVOID)(ULONG_PTR)0x300000000000ull, &ExitStatus);
    printf("the process ended with %s\n", NtmmFormatStatus(ExitStatus, Text, sizeof(Text)));

    NtmmCloseProcess(Process);
    return NT_SUCCESS(NtmmShutdown()) ? 0 : Failed();
}
