/* SPDX-License-Identifier: MIT */
/* What the files of the sort job share. All memory here comes from NtAllocateVirtualMemory. */
#ifndef NTMM_TOOLS_JOB_INTERNAL_H
#define NTMM_TOOLS_JOB_INTERNAL_H

#include "job.h"

/* A line: its first eight bytes as a number that compares as they do, and where it lies in its piece. */
typedef struct _JOB_LINE
{
    ULONG64 Key;
    ULONG Offset;
    ULONG Length; /* without its newline */
} JOB_LINE, *PJOB_LINE;

/* One piece of the text, and its lines sorted, each with its newline: an allocation of its own, since the pager looks for
 * sequential readers in each allocation. */
typedef struct _JOB_RUN
{
    SIZE_T Offset; /* in Text */
    SIZE_T Length;
    PUCHAR Sorted;
    SIZE_T SortedLength; /* Length, + 1 if the last line had no newline */
} JOB_RUN, *PJOB_RUN;

/* ---- Words (job_words.c) --------------------------------------------------------------------------------------- */

#define JOB_PARTITIONS 64u

/* Collected words of one partition: a chain of blocks, each filled with records. */
typedef struct _JOB_BLOCK
{
    struct _JOB_BLOCK *Next;
    SIZE_T Used, Size; /* bytes of Records */
    UCHAR Records[];
} JOB_BLOCK, *PJOB_BLOCK;

typedef struct _JOB_WORD_ENTRY
{
    ULONG64 Hash; /* 0: empty */
    const UCHAR *Text;
    SIZE_T Length;
} JOB_WORD_ENTRY;

typedef struct _JOB_ARENA
{
    PUCHAR Base;
    SIZE_T Reserved;
    SIZE_T BlockBytes;    /* records of a word are kept together in blocks of so many bytes, or a multiple */
    volatile SIZE_T Used; /* atomic */
} JOB_ARENA, *PJOB_ARENA;

/* What one thread collects. */
typedef struct _JOB_COLLECTOR
{
    PJOB_ARENA Arena;
    PJOB_BLOCK Blocks[JOB_PARTITIONS];
    JOB_WORD_ENTRY *Seen; /* the words of the current piece */
    SIZE_T SeenSlots, SeenCount;
    ULONG64 Words;
    ULONG64 Records;
} JOB_COLLECTOR, *PJOB_COLLECTOR;

/* ---- The whole job ------------------------------------------------------------------------------------------------ */

typedef struct _JOB_STATE
{
    PSORT_JOB Job;
    PUCHAR Text;
    PJOB_RUN Runs;
    ULONG RunCount;
    SIZE_T PieceBytes;
    volatile ULONG NextRun; /* atomic */
    volatile SIZE_T NextRead;
    volatile NTSTATUS Failed; /* the first failure; everybody stops */
    volatile ULONG64 Lines;
    JOB_ARENA Words;
    JOB_COLLECTOR Collectors[JOB_MAXIMUM_THREADS];
} JOB_STATE, *PJOB_STATE;

typedef struct _JOB_THREAD
{
    PJOB_STATE State;
    ULONG Index;
    VOID (*Work)(struct _JOB_THREAD *Thread);
} JOB_THREAD, *PJOB_THREAD;

/* NULL, and the job has failed with a message that names Purpose. Committed / only reserved / committed later. */
PVOID JobAllocate(PJOB_STATE State, SIZE_T Bytes, PCSTR Purpose);
PVOID JobReserve(PJOB_STATE State, SIZE_T Bytes, PCSTR Purpose);
BOOLEAN JobCommit(PJOB_STATE State, PVOID Address, SIZE_T Bytes, PCSTR Purpose);
VOID JobFree(PVOID Address);
VOID JobDecommit(PVOID Address, SIZE_T Bytes); /* whole pages inside the range */

/* Says why, unless somebody was faster. Returns FALSE. */
BOOLEAN JobFail(PJOB_STATE State, NTSTATUS Status, PCSTR Format, ...) __attribute__((format(printf, 3, 4)));

static inline BOOLEAN JobIsOver(PJOB_STATE State)
{
    return __atomic_load_n(&State->Failed, __ATOMIC_RELAXED) != STATUS_SUCCESS ||
           __atomic_load_n(State->Job->Cancel, __ATOMIC_RELAXED) != 0;
}

static inline VOID JobProgress(PJOB_STATE State, ULONG64 Bytes)
{
    __atomic_fetch_add(&State->Job->Status.Done, Bytes, __ATOMIC_RELAXED);
}

/* job_run.c: sorts the pieces, collects the words. */
VOID JobSortWork(PJOB_THREAD Thread);

/* job_lines.c: the lines of a piece, and sorting them. */
SIZE_T JobCountLines(const UCHAR *Text, SIZE_T Length);
VOID JobFindLines(const UCHAR *Text, SIZE_T Length, PJOB_LINE Lines);
VOID JobSortLines(const UCHAR *Text, PJOB_LINE Lines, PJOB_LINE Room, SIZE_T Count);
int JobCompareText(const UCHAR *First, SIZE_T FirstLength, const UCHAR *Second, SIZE_T SecondLength);
ULONG64 JobKeyOf(const UCHAR *Text, SIZE_T Length);

/* job_merge.c: merges the sorted pieces into the output file. */
VOID JobMergeWork(PJOB_STATE State);

/* job_words.c */
BOOLEAN JobCollectWords(PJOB_STATE State, PJOB_COLLECTOR Collector, const UCHAR *Text, SIZE_T Length);
VOID JobCountWords(PJOB_STATE State);

#endif
