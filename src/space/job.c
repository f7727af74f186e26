/* SPDX-License-Identifier: MIT */
/*
 * Jobs: who is in which, what they are charged, their limits. Everything of all jobs is under one spin lock, because a charge concerns a
 * whole chain of jobs at once and must be exact: checked against all limits first, then added to all.
 */
#include "space/job.h"

static KIRQL PspLockJobs(void)
{
    return KiAcquireSpinLock(&MiState.Space->JobLock);
}

static VOID PspUnlockJobs(KIRQL OldIrql)
{
    KiReleaseSpinLock(&MiState.Space->JobLock, OldIrql);
}

static PEJOB PspJobOf(PMI_ADDRESS_SPACE Space)
{
    return Space->Process->Job;
}

static BOOLEAN PspIsInChain(PEJOB Chain, PEJOB Job)
{
    while (Chain != NULL && Chain != Job)
    {
        Chain = Chain->Parent;
    }
    return Chain != NULL;
}

/* ---- Charges: jobs locked -------------------------------------------------------------------------------- */

static BOOLEAN PspExceeds(SIZE_T Charged, SIZE_T Pages, SIZE_T Limit)
{
    return Charged > Limit || Pages > Limit - Charged;
}

/* Whether the limits of the chain, up to End, permit Pages more for a process that has Charged. */
static BOOLEAN PspPermits(PEJOB Job, PEJOB End, SIZE_T Charged, SIZE_T Pages, SIZE_T NewToJob)
{
    for (; Job != End; Job = Job->Parent)
    {
        const MI_JOB_LIMITS *Limits = &Job->Limits;

        if (((Limits->Flags & JOB_OBJECT_LIMIT_PROCESS_MEMORY) != 0 &&
             PspExceeds(Charged, Pages, Limits->ProcessMemoryLimit >> PAGE_SHIFT)) ||
            ((Limits->Flags & JOB_OBJECT_LIMIT_JOB_MEMORY) != 0 &&
             PspExceeds(Job->CommitCharge, NewToJob, Limits->JobMemoryLimit >> PAGE_SHIFT)))
        {
            return FALSE;
        }
    }
    return TRUE;
}

static VOID PspNotePeaks(PEJOB Job, SIZE_T Charged)
{
    for (; Job != NULL; Job = Job->Parent)
    {
        Job->PeakJobCharge = Job->PeakJobCharge < Job->CommitCharge ? Job->CommitCharge : Job->PeakJobCharge;
        Job->PeakProcessCharge = Job->PeakProcessCharge < Charged ? Charged : Job->PeakProcessCharge;
    }
}

BOOLEAN MiTryChargeJobs(PMI_ADDRESS_SPACE Space, SIZE_T Pages, BOOLEAN Force)
{
    KIRQL OldIrql = PspLockJobs();
    SIZE_T Charged = MiSpaceCommitCharge(Space);
    SIZE_T Limit = __atomic_load_n(&Space->CommitChargeLimit, __ATOMIC_RELAXED);
    BOOLEAN Permitted = Force || ((Limit == 0 || !PspExceeds(Charged, Pages, Limit)) &&
                                  PspPermits(PspJobOf(Space), NULL, Charged, Pages, Pages));

    if (Permitted)
    {
        __atomic_store_n(&Space->CommitCharge, (Charged + Pages) | MI_CHARGE_IN_JOB, __ATOMIC_RELAXED);
        for (PEJOB Job = PspJobOf(Space); Job != NULL; Job = Job->Parent)
        {
            Job->CommitCharge += Pages;
        }
    }
    PspUnlockJobs(OldIrql);
    return Permitted;
}

SIZE_T MiReturnJobCharge(PMI_ADDRESS_SPACE Space, SIZE_T Pages)
{
    KIRQL OldIrql = PspLockJobs();
    SIZE_T Charged = MiSpaceCommitCharge(Space);

    if (Pages <= Charged)
    {
        __atomic_store_n(&Space->CommitCharge, (Charged - Pages) | MI_CHARGE_IN_JOB, __ATOMIC_RELAXED);
        for (PEJOB Job = PspJobOf(Space); Job != NULL; Job = Job->Parent)
        {
            KiRequire(Job->CommitCharge >= Pages);
            Job->CommitCharge -= Pages;
        }
    }
    PspUnlockJobs(OldIrql);
    return Charged;
}

VOID MiNoteJobPeaks(PMI_ADDRESS_SPACE Space)
{
    KIRQL OldIrql = PspLockJobs();

    PspNotePeaks(PspJobOf(Space), MiSpaceCommitCharge(Space));
    PspUnlockJobs(OldIrql);
}

/* ---- Membership ------------------------------------------------------------------------------------------ */

/* Whether Job, which Current is not above, may become the immediate job of a process of Current. */
static BOOLEAN PspMayNest(PEJOB Current, PEJOB Job)
{
    if (Current == NULL || PspIsInChain(Job->Parent, Current))
    {
        return TRUE;
    }
    return Job->Parent == NULL && Job->Accounting.TotalProcesses == 0;
}

/* Everything that can go wrong. Jobs locked. */
static NTSTATUS PspCheckAssignment(PEPROCESS Process, PEJOB Job, BOOLEAN Enforce)
{
    PEJOB Current = Process->Job;
    PEJOB End = PspIsInChain(Job, Current) ? Current : NULL;
    SIZE_T Charged = MiSpaceCommitCharge(&Process->Space);

    if (Process->LeftJob)
    {
        return STATUS_PROCESS_IS_TERMINATING;
    }
    if (!PspMayNest(Current, Job))
    {
        return STATUS_ACCESS_DENIED;
    }
    for (PEJOB New = Job; New != End; New = New->Parent)
    {
        if ((New->Limits.Flags & JOB_OBJECT_LIMIT_ACTIVE_PROCESS) != 0 &&
            New->Accounting.ActiveProcesses >= New->Limits.ActiveProcessLimit)
        {
            return STATUS_QUOTA_EXCEEDED;
        }
    }
    return Enforce && !PspPermits(Job, End, 0, Charged, Charged) ? STATUS_COMMITMENT_LIMIT : STATUS_SUCCESS;
}

static VOID PspJoin(PEPROCESS Process, PEJOB Job)
{
    PEJOB Current = Process->Job;
    SIZE_T Charged = __atomic_fetch_or(&Process->Space.CommitCharge, MI_CHARGE_IN_JOB, __ATOMIC_RELAXED) &
                     ~MI_CHARGE_IN_JOB;

    if (Current != NULL && !PspIsInChain(Job, Current))
    {
        ObReferenceObjectBody(Current);
        Job->Parent = Current;
    }
    for (PEJOB New = Job; New != Current; New = New->Parent)
    {
        New->CommitCharge += Charged;
        New->Accounting.TotalProcesses++;
        New->Accounting.ActiveProcesses++;
    }
    ObReferenceObjectBody(Job);
    Process->Job = Job;
    PspNotePeaks(Job, Charged);
}

NTSTATUS PsAssignProcessToJob(PEPROCESS Process, PEJOB Job, BOOLEAN Enforce)
{
    KIRQL OldIrql = PspLockJobs();
    PEJOB Current = Process->Job;
    NTSTATUS Status = STATUS_SUCCESS;

    if (PspIsInChain(Current, Job))
    {
        Current = NULL; /* it is in it already */
    }
    else
    {
        Status = PspCheckAssignment(Process, Job, Enforce);
        if (NT_SUCCESS(Status))
        {
            PspJoin(Process, Job);
        }
    }
    PspUnlockJobs(OldIrql);
    if (NT_SUCCESS(Status) && Current != NULL)
    {
        ObDereferenceObjectBody(Current);
    }
    return Status;
}

/*
 * A child leaves a job of the chain if the job lets it go (silently, or at its creator's wish) and so the ones below that. It
 * stays in the lowest job that does not.
 */
NTSTATUS PsQueryJobOfChild(PEPROCESS Parent, BOOLEAN Breakaway, PEJOB *Result)
{
    KIRQL OldIrql = PspLockJobs();
    ULONG Permission =
        JOB_OBJECT_LIMIT_SILENT_BREAKAWAY_OK | (Breakaway ? (ULONG)JOB_OBJECT_LIMIT_BREAKAWAY_OK : 0);
    PEJOB Immediate = Parent->Job;
    PEJOB Job = Immediate;
    NTSTATUS Status = STATUS_SUCCESS;

    while (Job != NULL && (Job->Limits.Flags & Permission) != 0)
    {
        Job = Job->Parent;
    }
    if (Breakaway && Immediate != NULL && Job == Immediate)
    {
        Job = NULL;
        Status = STATUS_ACCESS_DENIED;
    }
    if (Job != NULL)
    {
        ObReferenceObjectBody(Job);
    }
    PspUnlockJobs(OldIrql);
    *Result = Job;
    return Status;
}

PEJOB PsReferenceJobOfProcess(PEPROCESS Process)
{
    KIRQL OldIrql = PspLockJobs();
    PEJOB Job = Process->Job;

    if (Job != NULL)
    {
        ObReferenceObjectBody(Job);
    }
    PspUnlockJobs(OldIrql);
    return Job;
}

BOOLEAN PsIsProcessInJob(PEPROCESS Process, PEJOB Job)
{
    KIRQL OldIrql = PspLockJobs();
    BOOLEAN In = Job == NULL ? Process->Job != NULL : PspIsInChain(Process->Job, Job);

    PspUnlockJobs(OldIrql);
    return In;
}

VOID PsLeaveJob(PEPROCESS Process)
{
    ULONG64 Faults = MiSpaceFaultCount(&Process->Space);
    KIRQL OldIrql = PspLockJobs();

    Process->LeftJob = TRUE;
    for (PEJOB Job = Process->Job; Job != NULL; Job = Job->Parent)
    {
        Job->Accounting.ActiveProcesses--;
        Job->Accounting.PageFaultCount += Faults;
    }
    PspUnlockJobs(OldIrql);
}

typedef struct _PSP_JOB_WALK
{
    PEJOB Job;
    BOOLEAN (*Routine)(PEPROCESS Process, PVOID Context);
    PVOID Context;
} PSP_JOB_WALK;

static BOOLEAN PspVisitOfJob(PEPROCESS Process, PVOID Context)
{
    const PSP_JOB_WALK *Walk = Context;
    KIRQL OldIrql = PspLockJobs();
    BOOLEAN Active = !Process->LeftJob && PspIsInChain(Process->Job, Walk->Job);

    PspUnlockJobs(OldIrql);
    return Active ? Walk->Routine(Process, Walk->Context) : TRUE;
}

VOID PsForEachProcessOfJob(PEJOB Job, BOOLEAN (*Routine)(PEPROCESS Process, PVOID Context), PVOID Context)
{
    PSP_JOB_WALK Walk = { .Job = Job, .Routine = Routine, .Context = Context };

    PsForEachProcess(PspVisitOfJob, &Walk);
}

static BOOLEAN PspTerminateOfJob(PEPROCESS Process, PVOID Context)
{
    /* One that ends already may be the caller's own, which closes its last handle of the job: not waited for. */
    if (!__atomic_load_n(&Process->Terminating, __ATOMIC_ACQUIRE))
    {
        PsTerminateProcessObject(Process, *(const NTSTATUS *)Context);
    }
    return TRUE;
}

VOID PsTerminateJob(PEJOB Job, NTSTATUS ExitStatus)
{
    PsForEachProcessOfJob(Job, PspTerminateOfJob, &ExitStatus);
}

/* ---- Limits, accounting ---------------------------------------------------------------------------------- */

VOID PsQueryJobLimits(PEJOB Job, MI_JOB_LIMITS *Limits)
{
    KIRQL OldIrql = PspLockJobs();

    *Limits = Job->Limits;
    PspUnlockJobs(OldIrql);
}

VOID PsSetJobLimits(PEJOB Job, const MI_JOB_LIMITS *Limits)
{
    KIRQL OldIrql = PspLockJobs();

    Job->Limits = *Limits;
    PspUnlockJobs(OldIrql);
}

static BOOLEAN PspAddFaults(PEPROCESS Process, PVOID Context)
{
    MI_JOB_ACCOUNTING *Accounting = Context;

    Accounting->PageFaultCount += MiSpaceFaultCount(&Process->Space);
    return TRUE;
}

VOID PsQueryJobAccounting(PEJOB Job, MI_JOB_ACCOUNTING *Accounting)
{
    KIRQL OldIrql = PspLockJobs();

    *Accounting = Job->Accounting;
    PspUnlockJobs(OldIrql);
    PsForEachProcessOfJob(Job, PspAddFaults, Accounting);
}

VOID PsQueryJobPeaks(PEJOB Job, SIZE_T *JobPages, SIZE_T *ProcessPages)
{
    KIRQL OldIrql = PspLockJobs();

    *JobPages = Job->PeakJobCharge;
    *ProcessPages = Job->PeakProcessCharge;
    PspUnlockJobs(OldIrql);
}

VOID PsCountTerminatedByJob(PEJOB Job)
{
    KIRQL OldIrql = PspLockJobs();

    Job->Accounting.TotalProcesses++;
    Job->Accounting.TotalTerminatedProcesses++;
    PspUnlockJobs(OldIrql);
}

BOOLEAN PsQueryJobWorkingSet(PEPROCESS Process, SIZE_T *Minimum, SIZE_T *Maximum)
{
    KIRQL OldIrql = PspLockJobs();
    BOOLEAN Found = FALSE;

    for (PEJOB Job = Process->Job; Job != NULL; Job = Job->Parent)
    {
        if ((Job->Limits.Flags & JOB_OBJECT_LIMIT_WORKINGSET) != 0 &&
            (!Found || Job->Limits.MaximumWorkingSetSize < *Maximum))
        {
            *Minimum = Job->Limits.MinimumWorkingSetSize;
            *Maximum = Job->Limits.MaximumWorkingSetSize;
            Found = TRUE;
        }
    }
    PspUnlockJobs(OldIrql);
    return Found;
}

/* ---- The object ------------------------------------------------------------------------------------------ */

NTSTATUS PsCreateJobObject(PEJOB *Job)
{
    PVOID Object;
    NTSTATUS Status = ObCreateObjectBody(&MiState.Space->JobType, sizeof(EJOB), &Object);

    if (NT_SUCCESS(Status))
    {
        *Job = Object;
        KeInitializeEvent((PKEVENT)(PVOID) & (*Job)->Header, NotificationEvent, FALSE);
    }
    return Status;
}

VOID PsCloseJobObject(PVOID Object)
{
    MI_JOB_LIMITS Limits;

    PsQueryJobLimits(Object, &Limits);
    if ((Limits.Flags & JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE) != 0)
    {
        PsTerminateJob(Object, STATUS_SUCCESS);
    }
}

VOID PsDeleteJobObject(PVOID Object)
{
    PEJOB Job = Object;

    KiRequire(Job->CommitCharge == 0 && Job->Accounting.ActiveProcesses == 0);
    if (Job->Parent != NULL)
    {
        ObDereferenceObjectBody(Job->Parent);
    }
}
