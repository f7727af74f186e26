/* SPDX-License-Identifier: MIT */
/*
 * The sort job: sorts the lines of a text and counts its words, inside an NT process, in private memory that it uses through
 * ordinary pointers. The text may be much larger than the machine, so the order in which memory is touched is the whole art:
 *
 *   read    the file into one reservation, sequentially
 *   sort    pieces that fit into RAM: line references of one piece, merge sort, a sorted copy of the piece; then the
 *           piece's original is given back. The words of the piece are collected on the way, while its text is in memory
 *   merge   all sorted pieces, each read sequentially, into the output file: on one processor
 *   count   the collected words by partitions that fit into RAM: on the other processor, at the same time
 */
#ifndef NTMM_TOOLS_JOB_H
#define NTMM_TOOLS_JOB_H

#include <ntmm.h>

typedef enum _JOB_PHASE
{
    JobNothing,
    JobRead,
    JobSort,
    JobIndex,
    JobMerge,
    JobDone
} JOB_PHASE;

#define JOB_MAXIMUM_THREADS 64

/* How far a job is, for those who watch. */
typedef struct _JOB_STATUS
{
    JOB_PHASE Phase;     /* atomic: the progress bar looks at all of it */
    ULONG64 Done, Total; /* atomic: bytes of the phase */
} JOB_STATUS, *PJOB_STATUS;

/* What the main thread tells the job, and what it learns from it. Lives in ordinary (not NT) memory. */
typedef struct _SORT_JOB
{
    /* in */
    int Input, Output; /* open files */
    PCSTR InputPath, OutputPath;
    ULONG64 InputBytes;
    ULONG64 RamBytes; /* of the machine: pieces are made to fit */
    ULONG Processors;
    const int *Cancel; /* becomes nonzero: stop */
    /* out */
    JOB_STATUS Status;
    ULONG64 Lines, Words, DistinctWords;
    PVOID Sorted; /* where the sorted pieces lie, for those who want to look */
    double Seconds[JobDone + 1];
    CHAR Message[512]; /* why it failed */
} SORT_JOB, *PSORT_JOB;

/* User-mode code of an NT process; its context is the SORT_JOB. What it allocates goes with the process. */
NTMM_ROUTINE SortJobMain;

static inline VOID JobBeginPhase(JOB_STATUS *Status, JOB_PHASE Phase, ULONG64 Total)
{
    __atomic_store_n(&Status->Done, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&Status->Total, Total, __ATOMIC_RELAXED);
    __atomic_store_n(&Status->Phase, Phase, __ATOMIC_RELEASE);
}

PCSTR JobPhaseName(JOB_PHASE Phase);

/* The limit of commitment, no frame and no pool are the same to a user: the machine is too small for the work. */
BOOLEAN JobIsShortage(NTSTATUS Status);

/* Why there was no memory for Purpose; the work needs about Needed bytes. A status that says something else is named. */
#define JOB_SHORTAGE_TEXT 384
PCSTR JobDescribeShortage(NTSTATUS Status, PCSTR Purpose, ULONG64 Needed, CHAR Text[JOB_SHORTAGE_TEXT]);

double JobClock(void);

#endif
