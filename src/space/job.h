/* SPDX-License-Identifier: MIT */
/*
 * Jobs, as far as memory needs them: groups of processes with limits of their commitment and working sets. Theory: docs/space.md.
 *
 * A process knows its immediate job; that job knows its parent, and so on: the job chain. What a process is charged is charged to every job of its
 * chain. From the moment a process is in a job its charge changes only under the job lock [J], so that the sums are
 * exact; a process in no job is charged without a lock (space.h, MI_CHARGE_IN_JOB).
 *
 * References: a process has one of its immediate job until its object is deleted, a job one of its parent.
 */
#ifndef NTMM_SPACE_JOB_H
#define NTMM_SPACE_JOB_H

#include "nt/jobs.h"
#include "space/space.h"

/* As they were set; sizes in bytes. */
typedef struct _MI_JOB_LIMITS
{
    ULONG Flags; /* JOB_OBJECT_LIMIT_* */
    ULONG ActiveProcessLimit;
    SIZE_T MinimumWorkingSetSize;
    SIZE_T MaximumWorkingSetSize;
    SIZE_T ProcessMemoryLimit;
    SIZE_T JobMemoryLimit;
} MI_JOB_LIMITS;

typedef struct _MI_JOB_ACCOUNTING
{
    ULONG TotalProcesses;
    ULONG ActiveProcesses;
    ULONG TotalTerminatedProcesses; /* by limits */
    ULONG64 PageFaultCount;         /* of processes that have ended */
} MI_JOB_ACCOUNTING;

typedef struct _EJOB
{
    DISPATCHER_HEADER Header;     /* as a notification event: only a time limit would signal it */
    struct _EJOB *Parent;         /* [J] set once, when a process of the parent is assigned */
    MI_JOB_LIMITS Limits;         /* [J] */
    MI_JOB_ACCOUNTING Accounting; /* [J] */
    SIZE_T CommitCharge;          /* [J] pages: sum of the charges of its processes */
    SIZE_T PeakJobCharge;         /* [J] pages */
    SIZE_T PeakProcessCharge;     /* [J] pages */
} EJOB, *PEJOB;

/* An empty job without limits, with one reference. STATUS_INSUFFICIENT_RESOURCES. */
NTSTATUS PsCreateJobObject(PEJOB *Job);

/*
 * Puts Process into Job; charges what it is charged to the jobs that are new to it. Enforce: their memory limits count for what it has
 * already (a new process), otherwise only for what comes.
 *   STATUS_ACCESS_DENIED (no valid hierarchy would result), STATUS_QUOTA_EXCEEDED (too many active processes),
 *   STATUS_COMMITMENT_LIMIT (Enforce), STATUS_PROCESS_IS_TERMINATING. Changes nothing when it fails.
 */
NTSTATUS PsAssignProcessToJob(PEPROCESS Process, PEJOB Job, BOOLEAN Enforce);

/*
 * The job that a child of Parent belongs to, referenced, or NULL. Breakaway: the creator asked for a child outside of its job.
 *   STATUS_ACCESS_DENIED: a job of the chain does not permit that.
 */
NTSTATUS PsQueryJobOfChild(PEPROCESS Parent, BOOLEAN Breakaway, PEJOB *Job);

PEJOB PsReferenceJobOfProcess(PEPROCESS Process);       /* the immediate job; NULL: none */
BOOLEAN PsIsProcessInJob(PEPROCESS Process, PEJOB Job); /* Job NULL: any. Those that have ended count. */

/* Every process of the job and of the jobs below it that has not ended, referenced meanwhile, until FALSE. PASSIVE_LEVEL. */
VOID PsForEachProcessOfJob(PEJOB Job, BOOLEAN (*Routine)(PEPROCESS Process, PVOID Context), PVOID Context);

VOID PsQueryJobLimits(PEJOB Job, MI_JOB_LIMITS *Limits);
VOID PsSetJobLimits(PEJOB Job, const MI_JOB_LIMITS *Limits);
VOID PsQueryJobAccounting(PEJOB Job, MI_JOB_ACCOUNTING *Accounting);
VOID PsQueryJobPeaks(PEJOB Job, SIZE_T *JobPages, SIZE_T *ProcessPages);
VOID PsCountTerminatedByJob(PEJOB Job);

/* The working-set limits in bytes that the jobs of Process set (the smallest of the chain); FALSE: none does. */
BOOLEAN PsQueryJobWorkingSet(PEPROCESS Process, SIZE_T *Minimum, SIZE_T *Maximum);

/* Ends all processes of the job and of the jobs below it that do not end already. PASSIVE_LEVEL. */
VOID PsTerminateJob(PEJOB Job, NTSTATUS ExitStatus);

/* ---- Between the files of this room ------------------------------------------------------------------------------- */

/* Charges of a space whose process is in a job (charge.c calls them when it finds MI_CHARGE_IN_JOB). */
BOOLEAN MiTryChargeJobs(PMI_ADDRESS_SPACE Space, SIZE_T Pages, BOOLEAN Force);
SIZE_T MiReturnJobCharge(PMI_ADDRESS_SPACE Space, SIZE_T Pages); /* the charge before */
VOID MiNoteJobPeaks(PMI_ADDRESS_SPACE Space);

VOID PsLeaveJob(PEPROCESS Process); /* it has ended: no longer active; its job keeps what is still charged */
VOID PsDeleteJobObject(PVOID Object);
VOID PsCloseJobObject(PVOID Object); /* the last handle: JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE */

#endif
