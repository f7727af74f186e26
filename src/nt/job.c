/* SPDX-License-Identifier: MIT */
/* Jobs: create, open, assign, ask, end. Their limits and accounting are in jobinfo.c. */
#include "nt/job.h"

/* ---- Creating and opening ------------------------------------------------------------------------------ */

static NTSTATUS NtpOpenNamedJob(PHANDLE JobHandle, ACCESS_MASK DesiredAccess, const NT_ATTRIBUTES *Attributes)
{
    return NtOpenNamed(&MiState.Space->JobType, Attributes, DesiredAccess, JobHandle);
}

static NTSTATUS NtpCreateNewJob(PHANDLE JobHandle, ACCESS_MASK DesiredAccess, const NT_ATTRIBUTES *Attributes)
{
    PEJOB Job;
    NTSTATUS Status = PsCreateJobObject(&Job);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = NtPublishObject(Job, Attributes, DesiredAccess, JobHandle);
    ObDereferenceObjectBody(Job);
    return Status;
}

static NTSTATUS NtpCreateJobObject(PHANDLE JobHandle, ACCESS_MASK DesiredAccess,
                                   POBJECT_ATTRIBUTES ObjectAttributes)
{
    NT_ATTRIBUTES Attributes;
    NTSTATUS Status = NtCaptureAttributes(ObjectAttributes, &Attributes);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = NtpCreateNewJob(JobHandle, DesiredAccess, &Attributes);
    if (Status == STATUS_OBJECT_NAME_COLLISION && (Attributes.Attributes & OBJ_OPENIF) != 0)
    {
        Status = NtpOpenNamedJob(JobHandle, DesiredAccess, &Attributes);
        Status = NT_SUCCESS(Status) ? STATUS_OBJECT_NAME_EXISTS : Status;
    }
    NtFreeString(&Attributes.Name);
    return Status;
}

static NTSTATUS NtpOpenJobObject(PHANDLE JobHandle, ACCESS_MASK DesiredAccess,
                                 POBJECT_ATTRIBUTES ObjectAttributes)
{
    return NtOpenByName(JobHandle, DesiredAccess, ObjectAttributes, NtpOpenNamedJob);
}

NTSTATUS NtReferenceJob(HANDLE Handle, ACCESS_MASK Access, PEJOB *Job)
{
    OB_HANDLE_TABLE *Table = NtTableOfHandle(&Handle);
    PVOID Object;
    NTSTATUS Status =
        ObReferenceHandle(Table, Handle, Access, &MiState.Space->JobType, NtPreviousMode(), &Object, NULL);

    if (NT_SUCCESS(Status))
    {
        *Job = Object;
    }
    return Status;
}

/* ---- Processes and their jobs -------------------------------------------------------------------------- */

VOID NtApplyJobWorkingSet(PEPROCESS Process)
{
    SIZE_T Minimum;
    SIZE_T Maximum;

    if (PsQueryJobWorkingSet(Process, &Minimum, &Maximum))
    {
        /* What was legal when the limit was set, and a process that ends meanwhile needs none. */
        (VOID) MiSetWorkingSetLimits(&Process->Space, Minimum >> PAGE_SHIFT, Maximum >> PAGE_SHIFT, 0);
    }
}

NTSTATUS NtJoinJob(PEPROCESS Process, PEJOB Job, BOOLEAN New)
{
    NTSTATUS Status = PsAssignProcessToJob(Process, Job, New);

    if (NT_SUCCESS(Status))
    {
        NtApplyJobWorkingSet(Process);
    }
    else if (Status == STATUS_QUOTA_EXCEEDED)
    {
        /* Documented: the association fails and the process is ended. */
        PsCountTerminatedByJob(Job);
        PsTerminateProcessObject(Process, Status);
    }
    return Status;
}

static NTSTATUS NtpAssignProcessToJobObject(HANDLE JobHandle, HANDLE ProcessHandle)
{
    PEJOB Job;
    PEPROCESS Process;
    NTSTATUS Status = NtReferenceJob(JobHandle, JOB_OBJECT_ASSIGN_PROCESS, &Job);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = NtReferenceProcess(ProcessHandle, PROCESS_SET_QUOTA | PROCESS_TERMINATE, &Process);
    if (NT_SUCCESS(Status))
    {
        Status = Process == PsInitialSystemProcess ? STATUS_ACCESS_DENIED : NtJoinJob(Process, Job, FALSE);
        ObDereferenceObjectBody(Process);
    }
    ObDereferenceObjectBody(Job);
    return Status;
}

static NTSTATUS NtpIsProcessInJob(HANDLE ProcessHandle, HANDLE JobHandle)
{
    PEJOB Job = NULL;
    PEPROCESS Process;
    NTSTATUS Status = NtReferenceProcess(ProcessHandle, PROCESS_QUERY_LIMITED_INFORMATION, &Process);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (JobHandle != NULL)
    {
        Status = NtReferenceJob(JobHandle, JOB_OBJECT_QUERY, &Job);
    }
    if (NT_SUCCESS(Status))
    {
        Status = PsIsProcessInJob(Process, Job) ? STATUS_PROCESS_IN_JOB : STATUS_PROCESS_NOT_IN_JOB;
    }
    if (Job != NULL)
    {
        ObDereferenceObjectBody(Job);
    }
    ObDereferenceObjectBody(Process);
    return Status;
}

static NTSTATUS NtpTerminateJobObject(HANDLE JobHandle, NTSTATUS ExitStatus)
{
    PEJOB Job;
    NTSTATUS Status = NtReferenceJob(JobHandle, JOB_OBJECT_TERMINATE, &Job);

    if (NT_SUCCESS(Status))
    {
        PsTerminateJob(Job, ExitStatus);
        ObDereferenceObjectBody(Job);
    }
    return Status;
}

NT_SERVICE(CreateJobObject,
           (PHANDLE JobHandle, ACCESS_MASK DesiredAccess, POBJECT_ATTRIBUTES ObjectAttributes),
           (JobHandle, DesiredAccess, ObjectAttributes))
NT_SERVICE(OpenJobObject, (PHANDLE JobHandle, ACCESS_MASK DesiredAccess, POBJECT_ATTRIBUTES ObjectAttributes),
           (JobHandle, DesiredAccess, ObjectAttributes))
NT_SERVICE(AssignProcessToJobObject, (HANDLE JobHandle, HANDLE ProcessHandle), (JobHandle, ProcessHandle))
NT_SERVICE(IsProcessInJob, (HANDLE ProcessHandle, HANDLE JobHandle), (ProcessHandle, JobHandle))
NT_SERVICE(TerminateJobObject, (HANDLE JobHandle, NTSTATUS ExitStatus), (JobHandle, ExitStatus))
