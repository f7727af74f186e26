/* SPDX-License-Identifier: MIT */
/* The sort job from above: memory, threads, phases. Everything in this file runs in user mode of the NT process. */
#include "job_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define JOB_READ_BYTES  ((SIZE_T)1 << 20)
#define JOB_STACK_BYTES ((SIZE_T)256 * 1024)

PCSTR JobPhaseName(JOB_PHASE Phase)
{
    static const PCSTR Names[] = { "start", "read", "sort", "index", "merge", "done" };

    return Names[Phase];
}

double JobClock(void)
{
    struct timespec Now;

    clock_gettime(CLOCK_MONOTONIC, &Now);
    return (double)Now.tv_sec + (double)Now.tv_nsec / 1e9;
}

/* ---- Failing ---------------------------------------------------------------------------------------------------------- */

BOOLEAN JobFail(PJOB_STATE State, NTSTATUS Status, PCSTR Format, ...)
{
    NTSTATUS Nothing = STATUS_SUCCESS;

    if (__atomic_compare_exchange_n(&State->Failed, &Nothing, Status, FALSE, __ATOMIC_ACQ_REL,
                                    __ATOMIC_RELAXED))
    {
        va_list Arguments;

        va_start(Arguments, Format);
        vsnprintf(State->Job->Message, sizeof(State->Job->Message), Format, Arguments);
        va_end(Arguments);
    }
    return FALSE;
}

BOOLEAN JobIsShortage(NTSTATUS Status)
{
    return Status == STATUS_COMMITMENT_LIMIT || Status == STATUS_NO_MEMORY ||
           Status == STATUS_INSUFFICIENT_RESOURCES;
}

PCSTR JobDescribeShortage(NTSTATUS Status, PCSTR Purpose, ULONG64 Needed, CHAR Text[JOB_SHORTAGE_TEXT])
{
    CHAR Name[160];

    if (JobIsShortage(Status))
    {
        snprintf(Text, JOB_SHORTAGE_TEXT,
                 "RAM and paging files together have no room for %s (the work needs about %llu MiB): "
                 "use a larger paging file, --pagefile FILE:MINIMUM-MAXIMUM",
                 Purpose, (unsigned long long)(Needed >> 20));
    }
    else
    {
        snprintf(Text, JOB_SHORTAGE_TEXT, "no memory for %s: %s", Purpose,
                 NtmmFormatStatus(Status, Name, sizeof(Name)));
    }
    return Text;
}

static PVOID JobFailMemory(PJOB_STATE State, NTSTATUS Status, PCSTR Purpose)
{
    CHAR Text[JOB_SHORTAGE_TEXT];

    JobFail(State, Status, "%s",
            JobDescribeShortage(Status, Purpose, 2 * State->Job->InputBytes + State->Job->RamBytes, Text));
    return NULL;
}

/* ---- Memory ------------------------------------------------------------------------------------------------------------ */

PVOID JobAllocate(PJOB_STATE State, SIZE_T Bytes, PCSTR Purpose)
{
    PVOID Base = NULL;
    SIZE_T Size = Bytes;
    NTSTATUS Status = NtAllocateVirtualMemory(NtCurrentProcess(), &Base, 0, &Size, MEM_RESERVE | MEM_COMMIT,
                                              PAGE_READWRITE);

    return NT_SUCCESS(Status) ? Base : JobFailMemory(State, Status, Purpose);
}

PVOID JobReserve(PJOB_STATE State, SIZE_T Bytes, PCSTR Purpose)
{
    PVOID Base = NULL;
    SIZE_T Size = Bytes;
    NTSTATUS Status =
        NtAllocateVirtualMemory(NtCurrentProcess(), &Base, 0, &Size, MEM_RESERVE, PAGE_READWRITE);

    return NT_SUCCESS(Status) ? Base : JobFailMemory(State, Status, Purpose);
}

BOOLEAN JobCommit(PJOB_STATE State, PVOID Address, SIZE_T Bytes, PCSTR Purpose)
{
    SIZE_T Size = Bytes;
    NTSTATUS Status =
        NtAllocateVirtualMemory(NtCurrentProcess(), &Address, 0, &Size, MEM_COMMIT, PAGE_READWRITE);

    if (!NT_SUCCESS(Status))
    {
        JobFailMemory(State, Status, Purpose);
    }
    return NT_SUCCESS(Status);
}

VOID JobFree(PVOID Address)
{
    SIZE_T Size = 0;

    NtFreeVirtualMemory(NtCurrentProcess(), &Address, &Size, MEM_RELEASE);
}

VOID JobDecommit(PVOID Address, SIZE_T Bytes)
{
    PVOID Start = ALIGN_UP_POINTER_BY(Address, PAGE_SIZE);
    PUCHAR End = PAGE_ALIGN((PUCHAR)Address + Bytes);
    SIZE_T Size = (SIZE_T)(End - (PUCHAR)Start);

    if ((PUCHAR)Start < End)
    {
        NtFreeVirtualMemory(NtCurrentProcess(), &Start, &Size, MEM_DECOMMIT);
    }
}

/* ---- Reading ------------------------------------------------------------------------------------------------------------ */

static BOOLEAN JobReadPart(PJOB_STATE State, SIZE_T Offset, SIZE_T Length)
{
    PSORT_JOB Job = State->Job;

    while (Length > 0)
    {
        LONG_PTR Got = NtmmReadAt(Job->Input, State->Text + Offset, Length, Offset);

        if (Got < 0 && errno == EINTR)
        {
            continue;
        }
        if (Got <= 0)
        {
            return JobFail(State, STATUS_IO_DEVICE_ERROR, "%s: %s", Job->InputPath,
                           Got < 0 ? strerror(errno) : "became shorter while it was being read");
        }
        Offset += (SIZE_T)Got;
        Length -= (SIZE_T)Got;
    }
    return TRUE;
}

static VOID JobReadWork(PJOB_THREAD Thread)
{
    PJOB_STATE State = Thread->State;
    SIZE_T Bytes = (SIZE_T)State->Job->InputBytes;

    while (!JobIsOver(State))
    {
        SIZE_T Offset = __atomic_fetch_add(&State->NextRead, JOB_READ_BYTES, __ATOMIC_RELAXED);
        SIZE_T Length = Offset < Bytes ? Bytes - Offset : 0;

        Length = Length < JOB_READ_BYTES ? Length : JOB_READ_BYTES;
        if (Length == 0 || !JobReadPart(State, Offset, Length))
        {
            return;
        }
        JobProgress(State, Length);
    }
}

/* ---- Pieces ------------------------------------------------------------------------------------------------------------- */

/* A piece is as many whole lines as fit, at least one. */
static SIZE_T JobPieceLength(PJOB_STATE State, SIZE_T Offset)
{
    SIZE_T Rest = (SIZE_T)State->Job->InputBytes - Offset;
    SIZE_T Length = State->PieceBytes;
    const UCHAR *Newline;

    if (Rest <= Length)
    {
        return Rest;
    }
    Newline = memrchr(State->Text + Offset, '\n', Length);
    if (Newline == NULL)
    {
        Newline = memchr(State->Text + Offset + Length, '\n', Rest - Length);
    }
    return Newline != NULL ? (SIZE_T)(Newline - (State->Text + Offset)) + 1 : Rest;
}

static BOOLEAN JobCutPieces(PJOB_STATE State)
{
    SIZE_T Offset = 0;

    State->Runs = JobAllocate(State, (State->Job->InputBytes / State->PieceBytes * 2 + 2) * sizeof(JOB_RUN),
                              "the pieces");
    if (State->Runs == NULL)
    {
        return FALSE;
    }
    while (Offset < State->Job->InputBytes)
    {
        JOB_RUN Run = { .Offset = Offset, .Length = JobPieceLength(State, Offset) };

        if (Run.Length > 0xffffffffu)
        {
            return JobFail(State, STATUS_NOT_SUPPORTED, "%s: has a line of more than 4 GiB",
                           State->Job->InputPath);
        }
        State->Runs[State->RunCount++] = Run;
        Offset += Run.Length;
    }
    return TRUE;
}

/* ---- Threads ------------------------------------------------------------------------------------------------------------ */

static NTSTATUS JobThreadMain(PVOID Context)
{
    PJOB_THREAD Thread = Context;

    Thread->Work(Thread);
    return STATUS_SUCCESS;
}

/* Runs Work on every processor: once here, and on threads of the process whose stacks are NT memory, too. */
static VOID JobRunOnAll(PJOB_STATE State, VOID (*Work)(PJOB_THREAD))
{
    JOB_THREAD Threads[JOB_MAXIMUM_THREADS];
    PNTMM_THREAD Handles[JOB_MAXIMUM_THREADS];
    ULONG Count = State->Job->Processors;
    ULONG Started = 1;

    for (ULONG Index = 0; Index < Count; Index++)
    {
        Threads[Index] = (JOB_THREAD){ State, Index, Work };
    }
    for (; Started < Count; Started++)
    {
        NTMM_THREAD_PARAMETERS Parameters = { .Size = sizeof(Parameters),
                                              .Processor = Started + 1,
                                              .Routine = JobThreadMain,
                                              .Context = &Threads[Started],
                                              .StackReserve = JOB_STACK_BYTES };
        NTSTATUS Status = NtmmCreateThread(NtmmCurrentProcess(), &Parameters, &Handles[Started]);

        if (!NT_SUCCESS(Status))
        {
            JobFailMemory(State, Status, "the stack of a thread");
            break;
        }
    }
    Work(&Threads[0]);
    while (Started-- > 1)
    {
        NtmmJoinThread(Handles[Started], NULL);
    }
}

/* The last phase: one merges, another one counts; with one processor one after the other. */
static VOID JobFinishWork(PJOB_THREAD Thread)
{
    if (Thread->Index == 0)
    {
        JobMergeWork(Thread->State);
    }
    if (Thread->Index == 1 || Thread->State->Job->Processors == 1)
    {
        JobCountWords(Thread->State);
    }
}

/* ---- Phases --------------------------------------------------------------------------------------------------------------- */

static VOID JobRunPhase(PJOB_STATE State, JOB_PHASE Phase, VOID (*Work)(PJOB_THREAD))
{
    double Start = JobClock();

    if (JobIsOver(State))
    {
        return;
    }
    JobBeginPhase(&State->Job->Status, Phase, State->Job->InputBytes);
    JobRunOnAll(State, Work);
    State->Job->Seconds[Phase] = JobClock() - Start;
}

/* The piece size leaves room for two threads and what else is in memory. */
static BOOLEAN JobPrepare(PJOB_STATE State)
{
    PSORT_JOB Job = State->Job;
    SIZE_T Bytes = (SIZE_T)Job->InputBytes;

    State->PieceBytes = (SIZE_T)Job->RamBytes / 8 / (Job->Processors < 2 ? 2 : Job->Processors);
    State->PieceBytes = State->PieceBytes < 65536 ? 65536 : State->PieceBytes;
    State->Text = JobAllocate(State, Bytes + 1, "the text");
    State->Words.BlockBytes = State->PieceBytes / 64 < 65536 ? 4096 : 65536;
    /* Every word could be new and come with its head: one letter, one space, twelve bytes. Blocks are not filled to the end. */
    State->Words.Reserved = 8 * Bytes + Job->Processors * JOB_PARTITIONS * 2 * State->Words.BlockBytes;
    State->Words.Base = JobReserve(State, State->Words.Reserved, "the collected words");
    for (ULONG Index = 0; Index < Job->Processors; Index++)
    {
        State->Collectors[Index].Arena = &State->Words;
    }
    return State->Text != NULL && State->Words.Base != NULL;
}

NTSTATUS SortJobMain(PVOID Context)
{
    PSORT_JOB Job = Context;
    JOB_STATE State = { .Job = Job };

    Job->Seconds[JobDone] = JobClock();
    if (JobPrepare(&State))
    {
        JobRunPhase(&State, JobRead, JobReadWork);
        if (!JobIsOver(&State) && JobCutPieces(&State))
        {
            JobRunPhase(&State, JobSort, JobSortWork);
            JobRunPhase(&State, JobMerge, JobFinishWork);
        }
    }
    Job->Lines = State.Lines;
    Job->Sorted = State.RunCount != 0 ? State.Runs[0].Sorted : NULL;
    JobBeginPhase(&Job->Status, JobDone, 0);
    Job->Seconds[JobDone] = JobClock() - Job->Seconds[JobDone];
    if (State.Failed == STATUS_SUCCESS && __atomic_load_n(Job->Cancel, __ATOMIC_RELAXED) != 0)
    {
        JobFail(&State, STATUS_CANCELLED, "stopped");
    }
    return State.Failed;
}
