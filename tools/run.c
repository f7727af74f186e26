/* SPDX-License-Identifier: MIT */
/*
 * `ntmm run`: everything that can be wrong is looked at before the machine boots; then the job runs in a process of it, and the
 * results appear all at once or not at all.
 */
#include "job.h"
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct _TOOL_RUN
{
    TOOL_OPTIONS Options;
    SORT_JOB Job;
    TOOL_OUTPUT Output, Words;
    NTMM_STATISTICS Statistics;
    ULONG PagingFileSlots[NTMM_MAXIMUM_PAGING_FILES]; /* those that go at the end; ~0u: it was there before */
} TOOL_RUN, *PTOOL_RUN;

/* ---- Files --------------------------------------------------------------------------------------------------------------- */

static int ToolOpenInput(PCSTR Path, PSORT_JOB Job)
{
    struct stat Information;

    Job->InputPath = Path;
    Job->Input = open(Path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (Job->Input < 0)
    {
        return ToolFail(TOOL_FAILED, "%s: %s", Path,
                        errno == ENOENT   ? "there is no such file; check the name"
                        : errno == EACCES ? "no permission to read it"
                                          : strerror(errno));
    }
    if (fstat(Job->Input, &Information) != 0 || !S_ISREG(Information.st_mode))
    {
        BOOLEAN Folder = S_ISDIR(Information.st_mode);

        close(Job->Input);
        Job->Input = -1;
        return ToolFail(TOOL_FAILED, "%s: %s", Path,
                        Folder ? "is a folder; give the name of a file"
                               : "is no regular file; save it to one first");
    }
    posix_fadvise(Job->Input, 0, 0, POSIX_FADV_SEQUENTIAL);
    Job->InputBytes = (ULONG64)Information.st_size;
    return TOOL_OK;
}

static VOID ToolMarkPagingFiles(PTOOL_RUN Run)
{
    for (ULONG Index = 0; Index < Run->Options.Machine.PagingFileCount; Index++)
    {
        PCSTR Path = Run->Options.Machine.PagingFiles[Index].Path;

        Run->PagingFileSlots[Index] = access(Path, F_OK) == 0 ? ~0u : ToolRemoveOnSignal(Path);
    }
}

static VOID ToolRemovePagingFiles(PTOOL_RUN Run, BOOLEAN Ours)
{
    for (ULONG Index = 0; Index < Run->Options.Machine.PagingFileCount; Index++)
    {
        if (Run->PagingFileSlots[Index] != ~0u)
        {
            if (Ours)
            {
                unlink(Run->Options.Machine.PagingFiles[Index].Path);
            }
            ToolKeepOnSignal(Run->PagingFileSlots[Index]);
        }
    }
}

static int ToolWriteCounts(PTOOL_RUN Run)
{
    CHAR Text[160];
    int Length = snprintf(Text, sizeof(Text), "lines %llu\nwords %llu\ndistinct %llu\n", Run->Job.Lines,
                          Run->Job.Words, Run->Job.DistinctWords);

    if (write(Run->Words.File, Text, (size_t)Length) != Length)
    {
        ToolDiscardOutput(&Run->Words);
        return ToolFail(TOOL_FAILED, "%s: cannot be written: %s", Run->Words.Path, strerror(errno));
    }
    return ToolCommitOutput(&Run->Words);
}

/* ---- The job ---------------------------------------------------------------------------------------------------------------- */

static int ToolFinish(PTOOL_RUN Run, PEPROCESS Process, NTSTATUS Status, NTSTATUS ExitStatus)
{
    int Code;

    if (!NT_SUCCESS(Status))
    {
        return ToolFail(TOOL_FAILED, "%s", NtmmLastMessage());
    }
    if (!NT_SUCCESS(ExitStatus))
    {
        return ToolFail(TOOL_FAILED, "%s", Run->Job.Message);
    }
    Run->Statistics.Size = sizeof(Run->Statistics);
    NtmmQueryStatistics(&Run->Statistics);
    Code = ToolCommitOutput(&Run->Output);
    if (Code == TOOL_OK && Run->Options.Words != NULL)
    {
        Code = ToolWriteCounts(Run);
    }
    if (Code == TOOL_OK)
    {
        Code = ToolPrintReport(&Run->Statistics, &Run->Job, Run->Options.Json);
    }
    if (Code == TOOL_OK && Run->Options.Inspect)
    {
        ToolPrintViews(Process, Run->Job.Sorted);
    }
    return Code;
}

static int ToolRunJob(PTOOL_RUN Run)
{
    PEPROCESS Process;
    NTSTATUS ExitStatus = STATUS_SUCCESS;
    NTSTATUS Status = NtmmCreateProcess("sort", &Process);
    int Code;

    if (!NT_SUCCESS(Status))
    {
        return ToolFail(TOOL_FAILED, "%s", NtmmLastMessage());
    }
    ToolStartProgress(&Run->Job, Run->Options.Quiet);
    Status = NtmmRun(Process, SortJobMain, &Run->Job, &ExitStatus);
    ToolStopProgress();
    Code = ToolFinish(Run, Process, Status, ExitStatus);
    NtmmCloseProcess(Process);
    return Code;
}

static int ToolRunMachine(PTOOL_RUN Run)
{
    NTSTATUS Status;
    int Code;

    ToolMarkPagingFiles(Run);
    Status = NtmmBoot(&Run->Options.Machine);
    if (!NT_SUCCESS(Status))
    {
        ToolRemovePagingFiles(Run, FALSE);
        return ToolFail(TOOL_FAILED, "%s", NtmmLastMessage());
    }
    Code = ToolRunJob(Run);
    Status = NtmmShutdown();
    ToolRemovePagingFiles(Run, TRUE);
    if (!NT_SUCCESS(Status) && Code == TOOL_OK)
    {
        Code = ToolFail(TOOL_FAILED, "%s", NtmmLastMessage());
    }
    return Code;
}

static int ToolRunWithFiles(PTOOL_RUN Run)
{
    PTOOL_OPTIONS Options = &Run->Options;
    int Code = ToolOpenInput(Options->Input, &Run->Job);

    if (Code != TOOL_OK)
    {
        return Code;
    }
    Code = ToolOpenOutput(&Run->Output, Options->Output);
    if (Code == TOOL_OK && Options->Words != NULL)
    {
        Code = ToolOpenOutput(&Run->Words, Options->Words);
    }
    if (Code == TOOL_OK)
    {
        Run->Job.Output = Run->Output.File;
        Run->Job.OutputPath = Options->Output;
        Run->Job.RamBytes = Options->Machine.RamBytes;
        Run->Job.Processors = Options->Machine.Processors;
        Run->Job.Cancel = &ToolCancelled;
        Code = ToolRunMachine(Run);
    }
    ToolDiscardOutput(&Run->Output);
    ToolDiscardOutput(&Run->Words);
    close(Run->Job.Input);
    return Code;
}

int ToolRun(int ArgumentCount, const char **Arguments)
{
    static TOOL_RUN Run; /* large */
    int Code = ToolParseRun(ArgumentCount, Arguments, &Run.Options);
    int Signal;

    if (Code == TOOL_OK)
    {
        ToolCatchSignals();
        Code = ToolRunWithFiles(&Run);
    }
    ToolFreeOptions(&Run.Options);
    Signal = __atomic_load_n(&ToolCancelled, __ATOMIC_RELAXED);
    return Code < 0 ? TOOL_OK : Signal != 0 && Code != TOOL_OK ? 128 + Signal : Code;
}
