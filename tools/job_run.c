/* SPDX-License-Identifier: MIT */
/*
 * The second phase: threads take pieces of the text until none is left. What a thread uses for one piece (the piece, the
 * references, the sorted copy, the words seen) is about three times the piece and fits into its share of RAM.
 */
#include "job_internal.h"

#include <string.h>

/* The sorted copy; every line ends with a newline, also the last one of a text that has none. */
static SIZE_T JobCopySorted(PUCHAR Target, const UCHAR *Text, const JOB_LINE *Lines, SIZE_T Count)
{
    PUCHAR Out = Target;

    for (SIZE_T Index = 0; Index < Count; Index++)
    {
        memcpy(Out, Text + Lines[Index].Offset, Lines[Index].Length);
        Out += Lines[Index].Length;
        *Out++ = '\n';
    }
    return (SIZE_T)(Out - Target);
}

/* Asks for the whole piece at once: two threads read pieces of one allocation, which does not look sequential. A hint. */
static VOID JobPrefetchPiece(PJOB_STATE State, const JOB_RUN *Run)
{
    MEMORY_RANGE_ENTRY Range = { State->Text + Run->Offset, Run->Length };
    ULONG Flags = 0;

    NtSetInformationVirtualMemory(NtCurrentProcess(), VmPrefetchInformation, 1, &Range, &Flags,
                                  sizeof(Flags));
}

static BOOLEAN JobSortRun(PJOB_STATE State, PJOB_COLLECTOR Collector, PJOB_RUN Run)
{
    const UCHAR *Text = State->Text + Run->Offset;
    PJOB_LINE Lines;
    SIZE_T Count;

    JobPrefetchPiece(State, Run);
    Count = JobCountLines(Text, Run->Length);
    Lines = JobAllocate(State, (Count + Count / 2 + 1) * sizeof(JOB_LINE), "the references to lines");
    Run->Sorted = JobAllocate(State, Run->Length + 1, "the sorted text");
    if (Lines == NULL || Run->Sorted == NULL)
    {
        return FALSE;
    }
    JobFindLines(Text, Run->Length, Lines);
    if (!JobCollectWords(State, Collector, Text, Run->Length))
    {
        return FALSE;
    }
    JobSortLines(Text, Lines, Lines + Count, Count);
    Run->SortedLength = JobCopySorted(Run->Sorted, Text, Lines, Count);
    JobDecommit(State->Text + Run->Offset, Run->Length);
    JobFree(Lines);
    __atomic_fetch_add(&State->Lines, Count, __ATOMIC_RELAXED);
    return TRUE;
}

VOID JobSortWork(PJOB_THREAD Thread)
{
    PJOB_STATE State = Thread->State;

    while (!JobIsOver(State))
    {
        ULONG Index = __atomic_fetch_add(&State->NextRun, 1, __ATOMIC_RELAXED);

        if (Index >= State->RunCount ||
            !JobSortRun(State, &State->Collectors[Thread->Index], &State->Runs[Index]))
        {
            return;
        }
        JobProgress(State, State->Runs[Index].Length);
    }
}
