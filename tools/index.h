/* SPDX-License-Identifier: MIT */
/*
 * The index job: for every word of some files, where it stands. Two NT processes share the work and a section:
 *
 *   index   both processes have views of all files, take pieces of them from a table in a section that they share, and collect the words of a
 *           piece in private memory. A finished piece is sorted and written into a section of its own, under a name: a run
 *   merge   the first process opens all runs by name and merges them into the output file
 *
 * A word is a run of letters, digits and underscores. The index has a line for each word, in the order of bytes: the word, a tab, and FILE:LINE for each line
 * that has it, separated by spaces; FILE is the place of the file on the command line, from 1.
 */
#ifndef NTMM_TOOLS_INDEX_H
#define NTMM_TOOLS_INDEX_H

#include "job.h"

#define INDEX_PROCESSES     2u
#define INDEX_MAXIMUM_FILES 1024u

typedef struct _INDEX_FILE
{
    PCSTR Path;
    ULONG64 Bytes;
} INDEX_FILE;

/* What the main thread tells the job, and what it learns from it. Lives in ordinary (not NT) memory. */
typedef struct _INDEX_JOB
{
    /* in */
    const INDEX_FILE *Files;
    ULONG FileCount;
    int Output;
    PCSTR OutputPath;
    ULONG64 InputBytes;
    ULONG64 RamBytes;
    const int *Cancel;
    /* out */
    JOB_STATUS Status;
    volatile ULONG64 RunBytes; /* of all runs */
    ULONG64 Words, DistinctWords, Postings, Runs;
    PVOID View; /* of the first file in the first process, for those who want to look */
    double Seconds[JobDone + 1];
    volatile NTSTATUS Failed; /* the first failure; everybody stops */
    CHAR Message[512];
} INDEX_JOB, *PINDEX_JOB;

typedef struct _INDEX_WORKER
{
    PINDEX_JOB Job;
    ULONG Number; /* of the process */
    HANDLE ControlHandle;
    struct _INDEX_CONTROL *Control; /* its view */
    const UCHAR *Views[INDEX_MAXIMUM_FILES];
} INDEX_WORKER, *PINDEX_WORKER;

/* User-mode code, in this order: in the first process; in both at once; in the first one. */
NTSTATUS IndexPrepare(PVOID Worker);
NTSTATUS IndexScan(PVOID Worker);
NTSTATUS IndexMerge(PVOID Worker);

#endif
