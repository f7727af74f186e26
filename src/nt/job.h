/* SPDX-License-Identifier: MIT */
/* What the services of jobs and of processes share. */
#ifndef NTMM_NT_JOB_H
#define NTMM_NT_JOB_H

#include "nt/nt.h"
#include "space/job.h"

/* A job by handle, referenced. */
NTSTATUS NtReferenceJob(HANDLE Handle, ACCESS_MASK Access, PEJOB *Job);

/* Process gets the working-set limits of its jobs, if they set any. */
VOID NtApplyJobWorkingSet(PEPROCESS Process);

/*
 * PsAssignProcessToJob and what follows: the job's working-set limits, or, documented, the end of a process that is one too many. New: the
 * process is only being created.
 */
NTSTATUS NtJoinJob(PEPROCESS Process, PEJOB Job, BOOLEAN New);

#endif
