/* SPDX-License-Identifier: MIT */
/*
 * Runs a Windows program of this folder natively: boots a machine, makes an NT process in it and calls the
 * program's main (here named WinapiProgramMain) as its user-mode code. Afterwards the machine goes down,
 * which checks that everything came back.
 */
#include "ntmm.h"

#include <stdio.h>

int WinapiProgramMain(void);

static NTSTATUS RunProgram(PVOID Context)
{
    *(int *)Context = WinapiProgramMain();
    return STATUS_SUCCESS;
}

static int RunInProcess(void)
{
    int Result = 1;
    NTSTATUS ExitStatus = STATUS_SUCCESS;
    PEPROCESS Process;
    NTSTATUS Status = NtmmCreateProcess("program", &Process);

    if (!NT_SUCCESS(Status))
    {
        fprintf(stderr, "%s\n", NtmmLastMessage());
        return 1;
    }
    Status = NtmmRun(Process, RunProgram, &Result, &ExitStatus);
    fflush(stdout);
    if (Status != STATUS_SUCCESS)
    {
        fprintf(stderr, "%s\n", NtmmLastMessage());
        Result = 1;
    }
    NtmmCloseProcess(Process);
    return Result;
}

int main(void)
{
    NTMM_PARAMETERS Parameters = {
        .Size = sizeof(Parameters),
        .Processors = 2,
        .RamBytes = (ULONG64)64 << 20,
        .PagingFileCount = 1,
        .PagingFiles = { { .Path = "\\\\.\\Memory\\winapi", .MinimumBytes = (ULONG64)256 << 20 } },
    };
    int Result;

    if (!NT_SUCCESS(NtmmBoot(&Parameters)))
    {
        fprintf(stderr, "%s\n", NtmmLastMessage());
        return 1;
    }
    Result = RunInProcess();
    if (!NT_SUCCESS(NtmmShutdown()))
    {
        fprintf(stderr, "%s\n", NtmmLastMessage());
        return 1;
    }
    return Result;
}
