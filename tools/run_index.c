/* SPDX-License-Identifier: MIT */
/* `ntmm run index`: files, two processes that share the work, the result. */
#include "index.h"
#include "tool.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct _TOOL_INDEX
{
    PTOOL_OPTIONS Options;
    INDEX_JOB Job;
    INDEX_FILE Files[INDEX_MAXIMUM_FILES];
    INDEX_WORKER Workers[INDEX_PROCESSES];
    PEPROCESS Processes[INDEX_PROCESSES];
    TOOL_OUTPUT Output;
    NTMM_STATISTICS Statistics;
} TOOL_INDEX, *PTOOL_INDEX;

/* ---- In the machine ------------------------------------------------------------------------------------------------------- */

/* A process that ended otherwise than by returning has left no message. */
static NTSTATUS ToolIndexEnded(PINDEX_JOB Job, NTSTATUS Status, NTSTATUS ExitStatus)
{
    NTSTATUS Failed = __atomic_load_n(&Job->Failed, __ATOMIC_ACQUIRE);

    if (NT_SUCCESS(Failed) && !NT_SUCCESS(Status))
    {
        CHAR Text[160];

        snprintf(
            Job->Message, sizeof(Job->Message), "a process of the job ended: %s",
            NtmmFormatStatus(Status == STATUS_UNHANDLED_EXCEPTION ? ExitStatus : Status, Text, sizeof(Text)));
        Job->Failed = Status;
        Failed = Status;
    }
    return Failed;
}

static NTSTATUS ToolIndexOne(PTOOL_INDEX Run, NTMM_ROUTINE *Routine)
{
    NTSTATUS ExitStatus = STATUS_SUCCESS;
    NTSTATUS Status = NtmmRun(Run->Processes[0], Routine, &Run->Workers[0], &ExitStatus);

    return ToolIndexEnded(&Run->Job, Status, ExitStatus);
}

/* One thread in each process. */
static NTSTATUS ToolIndexAll(PTOOL_INDEX Run, NTMM_ROUTINE *Routine)
{
    PNTMM_THREAD Threads[INDEX_PROCESSES];
    NTSTATUS Status = STATUS_SUCCESS;
    ULONG Started = 0;

    for (; Started < INDEX_PROCESSES && NT_SUCCESS(Status); Started += NT_SUCCESS(Status) ? 1 : 0)
    {
        NTMM_THREAD_PARAMETERS Parameters = { .Size = sizeof(Parameters),
                                              .Routine = Routine,
                                              .Context = &Run->Workers[Started] };

        Status = NtmmCreateThread(Run->Processes[Started], &Parameters, &Threads[Started]);
    }
    Status = ToolIndexEnded(&Run->Job, Status, STATUS_SUCCESS);
    while (Started-- > 0)
    {
        NTSTATUS ExitStatus = STATUS_SUCCESS;
        NTSTATUS Joined = NtmmJoinThread(Threads[Started], &ExitStatus);

        Status = ToolIndexEnded(&Run->Job, Joined, ExitStatus);
    }
    return Status;
}

static VOID ToolIndexPhases(PTOOL_INDEX Run)
{
    PINDEX_JOB Job = &Run->Job;
    double Start = JobClock();
    double Middle;

    JobBeginPhase(&Job->Status, JobIndex, Job->InputBytes);
    if (!NT_SUCCESS(ToolIndexOne(Run, IndexPrepare)) || !NT_SUCCESS(ToolIndexAll(Run, IndexScan)))
    {
        return;
    }
    Middle = JobClock();
    JobBeginPhase(&Job->Status, JobMerge, Job->RunBytes);
    ToolIndexOne(Run, IndexMerge);
    Job->Seconds[JobIndex] = Middle - Start;
    Job->Seconds[JobMerge] = JobClock() - Middle;
    Job->Seconds[JobDone] = JobClock() - Start;
}

static VOID ToolDescribeIndex(const INDEX_JOB *Job, PTOOL_RESULT Result)
{
    Result->Job = "index";
    snprintf(Result->Text, sizeof(Result->Text),
             "indexed %u files, %llu bytes: index %.2f s, merge %.2f s, together %.2f s\n"
             "%llu words, %llu of them distinct, %llu places, %llu runs\n",
             Job->FileCount, Job->InputBytes, Job->Seconds[JobIndex], Job->Seconds[JobMerge],
             Job->Seconds[JobDone], Job->Words, Job->DistinctWords, Job->Postings, Job->Runs);
    ToolAddNumber(Result, "files", Job->FileCount);
    ToolAddNumber(Result, "bytes", Job->InputBytes);
    ToolAddNumber(Result, "words", Job->Words);
    ToolAddNumber(Result, "distinctWords", Job->DistinctWords);
    ToolAddNumber(Result, "places", Job->Postings);
    ToolAddNumber(Result, "runs", Job->Runs);
    ToolAddTime(Result, "index", Job->Seconds[JobIndex]);
    ToolAddTime(Result, "merge", Job->Seconds[JobMerge]);
    ToolAddTime(Result, "all", Job->Seconds[JobDone]);
}

static int ToolFinishIndex(PTOOL_INDEX Run)
{
    TOOL_RESULT Result = { .Process = Run->Processes[0] };
    int Code;

    if (__atomic_load_n(&ToolCancelled, __ATOMIC_RELAXED) != 0 && NT_SUCCESS(Run->Job.Failed))
    {
        return ToolFail(TOOL_FAILED, "stopped");
    }
    if (!NT_SUCCESS(Run->Job.Failed))
    {
        return ToolFail(TOOL_FAILED, "%s", Run->Job.Message);
    }
    Run->Statistics.Size = sizeof(Run->Statistics);
    NtmmQueryStatistics(&Run->Statistics);
    Code = ToolCommitOutput(&Run->Output);
    if (Code == TOOL_OK)
    {
        ToolDescribeIndex(&Run->Job, &Result);
        Code = ToolPrintReport(&Run->Statistics, &Result, Run->Options->Json);
    }
    if (Code == TOOL_OK && Run->Options->Inspect)
    {
        ToolPrintViews(Run->Processes[0], Run->Job.View);
    }
    return Code;
}

static int ToolIndexInMachine(PVOID Context)
{
    static const PCSTR Names[INDEX_PROCESSES] = { "index", "indexer" };
    PTOOL_INDEX Run = Context;
    ULONG Created = 0;
    int Code = TOOL_OK;

    for (; Created < INDEX_PROCESSES && Code == TOOL_OK; Created++)
    {
        Run->Workers[Created].Job = &Run->Job;
        Run->Workers[Created].Number = Created;
        if (!NT_SUCCESS(NtmmCreateProcess(Names[Created], &Run->Processes[Created])))
        {
            Code = ToolFail(TOOL_FAILED, "%s", NtmmLastMessage());
            break;
        }
    }
    if (Code == TOOL_OK)
    {
        ToolStartProgress(&Run->Job.Status, Run->Options->Quiet);
        ToolIndexPhases(Run);
        JobBeginPhase(&Run->Job.Status, JobDone, 0);
        ToolStopProgress();
        Code = ToolFinishIndex(Run);
    }
    while (Created-- > 0)
    {
        NtmmCloseProcess(Run->Processes[Created]);
    }
    return Code;
}

/* ---- Files ---------------------------------------------------------------------------------------------------------------- */

/* Looks whether each file can be read now: later it is opened by name again, by the machine. */
static int ToolMeasureFiles(PTOOL_INDEX Run)
{
    PTOOL_OPTIONS Options = Run->Options;

    if (Options->InputCount > INDEX_MAXIMUM_FILES)
    {
        return ToolFail(TOOL_MISUSED, "index: takes at most %u files", INDEX_MAXIMUM_FILES);
    }
    for (ULONG Index = 0; Index < Options->InputCount; Index++)
    {
        int File;
        int Code = ToolOpenInput(Options->Inputs[Index], &File, &Run->Files[Index].Bytes);

        if (Code != TOOL_OK)
        {
            return Code;
        }
        close(File);
        Run->Files[Index].Path = Options->Inputs[Index];
        Run->Job.InputBytes += Run->Files[Index].Bytes;
    }
    return TOOL_OK;
}

int ToolRunIndex(PTOOL_OPTIONS Options)
{
    static TOOL_INDEX Run; /* large */
    int Code;

    Run.Options = Options;
    Code = ToolMeasureFiles(&Run);
    if (Code == TOOL_OK)
    {
        Code = ToolOpenOutput(&Run.Output, Options->Output);
    }
    if (Code == TOOL_OK)
    {
        Run.Job.Files = Run.Files;
        Run.Job.FileCount = Options->InputCount;
        Run.Job.Output = Run.Output.File;
        Run.Job.OutputPath = Options->Output;
        Run.Job.RamBytes = Options->Machine.RamBytes;
        Run.Job.Cancel = &ToolCancelled;
        Code = ToolRunMachine(Options, ToolIndexInMachine, &Run);
    }
    ToolDiscardOutput(&Run.Output);
    return Code;
}
