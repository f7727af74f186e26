/* SPDX-License-Identifier: MIT */
/* `ntmm run sort`: files, one process with the job, results. */
#include "job.h"
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

typedef struct _TOOL_SORT
{
    PTOOL_OPTIONS Options;
    SORT_JOB Job;
    TOOL_OUTPUT Output, Words;
    NTMM_STATISTICS Statistics;
} TOOL_SORT, *PTOOL_SORT;

static int ToolWriteCounts(PTOOL_SORT Run)
{
    CHAR Text[160];
    int Length = snprintf(Text, sizeof(Text), "lines %llu\nwords %llu\ndistinct %llu\n", Run->Job.Lines,
                          Run->Job.Words, Run->Job.DistinctWords);

    ssize_t Written = write(Run->Words.File, Text, (size_t)Length);

    if (Written != Length)
    {
        return ToolFail(TOOL_FAILED, "%s: cannot be written: %s", Run->Words.Path,
                        strerror(Written < 0 ? errno : ENOSPC));
    }
    return ToolSettleOutput(&Run->Words);
}

/* Both results are on the disk before the first one appears. */
static int ToolCommitSort(PTOOL_SORT Run)
{
    BOOLEAN Words = Run->Options->Words != NULL;
    int Code = Words ? ToolWriteCounts(Run) : TOOL_OK;

    if (Code == TOOL_OK)
    {
        Code = ToolCommitOutput(&Run->Output);
    }
    return Code == TOOL_OK && Words ? ToolCommitOutput(&Run->Words) : Code;
}

static VOID ToolDescribeSort(const SORT_JOB *Job, PTOOL_RESULT Result)
{
    Result->Job = "sort";
    snprintf(
        Result->Text, sizeof(Result->Text),
        "sorted %llu lines, %llu bytes: read %.2f s, sort %.2f s, merge and count %.2f s, together %.2f s\n"
        "counted %llu words, %llu of them distinct\n",
        Job->Lines, Job->InputBytes, Job->Seconds[JobRead], Job->Seconds[JobSort], Job->Seconds[JobMerge],
        Job->Seconds[JobDone], Job->Words, Job->DistinctWords);
    ToolAddNumber(Result, "bytes", Job->InputBytes);
    ToolAddNumber(Result, "lines", Job->Lines);
    ToolAddNumber(Result, "words", Job->Words);
    ToolAddNumber(Result, "distinctWords", Job->DistinctWords);
    ToolAddTime(Result, "read", Job->Seconds[JobRead]);
    ToolAddTime(Result, "sort", Job->Seconds[JobSort]);
    ToolAddTime(Result, "merge", Job->Seconds[JobMerge]);
    ToolAddTime(Result, "all", Job->Seconds[JobDone]);
}

static int ToolFinishSort(PTOOL_SORT Run, PEPROCESS Process, NTSTATUS Status, NTSTATUS ExitStatus)
{
    TOOL_RESULT Result = { .Process = Process };
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
    Code = ToolCommitSort(Run);
    if (Code == TOOL_OK)
    {
        ToolDescribeSort(&Run->Job, &Result);
        Code = ToolPrintReport(&Run->Statistics, &Result, Run->Options->Json);
    }
    if (Code == TOOL_OK && Run->Options->Inspect)
    {
        ToolPrintViews(Process, Run->Job.Sorted);
    }
    return Code;
}

static int ToolSortInMachine(PVOID Context)
{
    PTOOL_SORT Run = Context;
    PEPROCESS Process;
    NTSTATUS ExitStatus = STATUS_SUCCESS;
    NTSTATUS Status = NtmmCreateProcess("sort", &Process);
    int Code;

    if (!NT_SUCCESS(Status))
    {
        return ToolFail(TOOL_FAILED, "%s", NtmmLastMessage());
    }
    ToolStartProgress(&Run->Job.Status, Run->Options->Quiet);
    Status = NtmmRun(Process, SortJobMain, &Run->Job, &ExitStatus);
    ToolStopProgress();
    Code = ToolFinishSort(Run, Process, Status, ExitStatus);
    NtmmCloseProcess(Process);
    return Code;
}

int ToolRunSort(PTOOL_OPTIONS Options)
{
    static TOOL_SORT Run; /* large */
    PSORT_JOB Job = &Run.Job;
    int Code = ToolOpenInput(Options->Inputs[0], &Job->Input, &Job->InputBytes);

    if (Code != TOOL_OK)
    {
        return Code;
    }
    Run.Options = Options;
    posix_fadvise(Job->Input, 0, 0, POSIX_FADV_SEQUENTIAL);
    Code = ToolOpenOutput(&Run.Output, Options->Output);
    if (Code == TOOL_OK && Options->Words != NULL)
    {
        Code = ToolOpenOutput(&Run.Words, Options->Words);
    }
    if (Code == TOOL_OK)
    {
        Job->InputPath = Options->Inputs[0];
        Job->Output = Run.Output.File;
        Job->OutputPath = Options->Output;
        Job->RamBytes = Options->Machine.RamBytes;
        Job->Processors = Options->Machine.Processors;
        Job->Cancel = &ToolCancelled;
        Code = ToolRunMachine(Options, ToolSortInMachine, &Run);
    }
    ToolDiscardOutput(&Run.Output);
    ToolDiscardOutput(&Run.Words);
    close(Job->Input);
    return Code;
}
