/* SPDX-License-Identifier: MIT */
/*
 * Progress on standard error. The thread that shows it is an ordinary one of the program: it visits the machine a few times a second to
 * ask for its counters.
 */
#include "job.h"
#include "tool.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define TOOL_BAR 30

typedef struct _TOOL_PROGRESS
{
    const JOB_STATUS *Status;
    pthread_t Thread;
    BOOLEAN Started;
    BOOLEAN Terminal;
    BOOLEAN Stop; /* atomic */
    JOB_PHASE Shown;
    double LastTime;
    ULONG64 LastFaults, LastInput, LastOutput;
    NTMM_STATISTICS Statistics;
} TOOL_PROGRESS;

static TOOL_PROGRESS Progress;

static ULONG64 ToolCounter(PCSTR Identifier)
{
    for (ULONG Index = 0; Index < Progress.Statistics.CounterCount; Index++)
    {
        if (strcmp(Progress.Statistics.Counters[Index].Identifier, Identifier) == 0)
        {
            return Progress.Statistics.Counters[Index].Value;
        }
    }
    return 0;
}

static VOID ToolShowBar(JOB_PHASE Phase)
{
    ULONG64 Total = __atomic_load_n(&Progress.Status->Total, __ATOMIC_RELAXED);
    ULONG64 Done = __atomic_load_n(&Progress.Status->Done, __ATOMIC_RELAXED);
    ULONG Percent = Total != 0 ? (ULONG)((Done < Total ? Done : Total) * 100 / Total) : 0;
    CHAR Bar[TOOL_BAR + 1];
    double Now = JobClock();
    double Elapsed = Now - Progress.LastTime;
    ULONG64 Faults, Input, Output;

    Progress.Statistics.Size = sizeof(Progress.Statistics);
    if (!NT_SUCCESS(NtmmQueryStatistics(&Progress.Statistics)))
    {
        return;
    }
    Faults = ToolCounter("PageFaults");
    Input = ToolCounter("PagesInput");
    Output = ToolCounter("PagesOutput");
    for (ULONG Index = 0; Index < TOOL_BAR; Index++)
    {
        Bar[Index] = Index < Percent * TOOL_BAR / 100 ? '#' : '.';
    }
    Bar[TOOL_BAR] = 0;
    fprintf(stderr, "\r%-5s [%s] %3u%%  %7.0f faults/s  %6.0f pages/s in  %6.0f pages/s out ",
            JobPhaseName(Phase), Bar, Percent, (double)(Faults - Progress.LastFaults) / Elapsed,
            (double)(Input - Progress.LastInput) / Elapsed, (double)(Output - Progress.LastOutput) / Elapsed);
    fflush(stderr);
    Progress.LastFaults = Faults;
    Progress.LastInput = Input;
    Progress.LastOutput = Output;
    Progress.LastTime = Now;
}

static VOID ToolShowPhase(JOB_PHASE Phase)
{
    if (Phase != Progress.Shown && Phase != JobNothing)
    {
        if (!Progress.Terminal && Phase != JobDone)
        {
            fprintf(stderr, "ntmm: %s\n", JobPhaseName(Phase));
        }
        Progress.Shown = Phase;
    }
}

static void *ToolProgressMain(void *Context)
{
    (void)Context;
    while (!__atomic_load_n(&Progress.Stop, __ATOMIC_RELAXED))
    {
        JOB_PHASE Phase = __atomic_load_n(&Progress.Status->Phase, __ATOMIC_ACQUIRE);

        ToolShowPhase(Phase);
        if (Progress.Terminal && Phase != JobNothing && Phase != JobDone)
        {
            ToolShowBar(Phase);
        }
        usleep(Progress.Terminal ? 250000 : 50000);
    }
    return NULL;
}

VOID ToolStartProgress(const JOB_STATUS *Status, BOOLEAN Quiet)
{
    memset(&Progress, 0, sizeof(Progress));
    Progress.Status = Status;
    Progress.Terminal = isatty(STDERR_FILENO) != 0;
    Progress.LastTime = JobClock();
    if (!Quiet)
    {
        Progress.Started = pthread_create(&Progress.Thread, NULL, ToolProgressMain, NULL) == 0;
    }
}

VOID ToolStopProgress(VOID)
{
    if (!Progress.Started)
    {
        return;
    }
    __atomic_store_n(&Progress.Stop, TRUE, __ATOMIC_RELAXED);
    pthread_join(Progress.Thread, NULL);
    Progress.Started = FALSE;
    if (Progress.Terminal)
    {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
}
