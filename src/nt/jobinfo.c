/* SPDX-License-Identifier: MIT */
/*
 * NtQueryInformationJobObject and NtSetInformationJobObject: limits of memory and of the number of processes, accounting, the list of
 * processes. Limits of times, priorities and affinity are for a scheduler, which this machine does not have.
 */
#include "nt/job.h"
#include "rtl/memory.h"

#define NT_JOB_FLAGS                                                                                         \
    (JOB_OBJECT_LIMIT_WORKINGSET | JOB_OBJECT_LIMIT_ACTIVE_PROCESS | JOB_OBJECT_LIMIT_PROCESS_MEMORY |       \
     JOB_OBJECT_LIMIT_JOB_MEMORY | JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION |                             \
     JOB_OBJECT_LIMIT_BREAKAWAY_OK | JOB_OBJECT_LIMIT_SILENT_BREAKAWAY_OK |                                  \
     JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE)

typedef union _NT_JOB_INFORMATION
{
    JOBOBJECT_BASIC_ACCOUNTING_INFORMATION Accounting;
    JOBOBJECT_BASIC_AND_IO_ACCOUNTING_INFORMATION AccountingIo;
    JOBOBJECT_BASIC_LIMIT_INFORMATION Basic;
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION Extended;
} NT_JOB_INFORMATION;

/* ---- Query --------------------------------------------------------------------------------------------- */

static VOID NtpQueryJobAccounting(PEJOB Job, NT_JOB_INFORMATION *Information)
{
    MI_JOB_ACCOUNTING Accounting;

    PsQueryJobAccounting(Job, &Accounting);
    Information->Accounting.TotalPageFaultCount = (ULONG)Accounting.PageFaultCount;
    Information->Accounting.TotalProcesses = Accounting.TotalProcesses;
    Information->Accounting.ActiveProcesses = Accounting.ActiveProcesses;
    Information->Accounting.TotalTerminatedProcesses = Accounting.TotalTerminatedProcesses;
}

static VOID NtpDescribeLimits(const MI_JOB_LIMITS *Limits, ULONG Flags,
                              JOBOBJECT_BASIC_LIMIT_INFORMATION *Basic)
{
    Basic->LimitFlags = Limits->Flags & Flags;
    Basic->MinimumWorkingSetSize = Limits->MinimumWorkingSetSize;
    Basic->MaximumWorkingSetSize = Limits->MaximumWorkingSetSize;
    Basic->ActiveProcessLimit = Limits->ActiveProcessLimit;
}

static VOID NtpQueryBasicLimits(PEJOB Job, NT_JOB_INFORMATION *Information)
{
    MI_JOB_LIMITS Limits;

    PsQueryJobLimits(Job, &Limits);
    NtpDescribeLimits(&Limits, JOB_OBJECT_BASIC_LIMIT_VALID_FLAGS, &Information->Basic);
}

static VOID NtpQueryExtendedLimits(PEJOB Job, NT_JOB_INFORMATION *Information)
{
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION *Extended = &Information->Extended;
    MI_JOB_LIMITS Limits;
    SIZE_T JobPages;
    SIZE_T ProcessPages;

    PsQueryJobLimits(Job, &Limits);
    PsQueryJobPeaks(Job, &JobPages, &ProcessPages);
    NtpDescribeLimits(&Limits, JOB_OBJECT_EXTENDED_LIMIT_VALID_FLAGS, &Extended->BasicLimitInformation);
    Extended->ProcessMemoryLimit = Limits.ProcessMemoryLimit;
    Extended->JobMemoryLimit = Limits.JobMemoryLimit;
    Extended->PeakProcessMemoryUsed = ProcessPages << PAGE_SHIFT;
    Extended->PeakJobMemoryUsed = JobPages << PAGE_SHIFT;
}

static const struct
{
    JOBOBJECTINFOCLASS Class;
    ULONG Size;
    VOID (*Query)(PEJOB Job, NT_JOB_INFORMATION *Information);
} NtJobClasses[] = {
    { JobObjectBasicAccountingInformation, sizeof(JOBOBJECT_BASIC_ACCOUNTING_INFORMATION),
      NtpQueryJobAccounting },
    { JobObjectBasicAndIoAccountingInformation, sizeof(JOBOBJECT_BASIC_AND_IO_ACCOUNTING_INFORMATION),
      NtpQueryJobAccounting },
    { JobObjectBasicLimitInformation, sizeof(JOBOBJECT_BASIC_LIMIT_INFORMATION), NtpQueryBasicLimits },
    { JobObjectExtendedLimitInformation, sizeof(JOBOBJECT_EXTENDED_LIMIT_INFORMATION),
      NtpQueryExtendedLimits },
};

/* The identifiers as far as they fit: STATUS_BUFFER_OVERFLOW when that is not all. */
typedef struct _NT_JOB_ID_LIST
{
    PJOBOBJECT_BASIC_PROCESS_ID_LIST Buffer;
    ULONG Room;
    ULONG Stored;
    ULONG Found;
    NTSTATUS Status;
} NT_JOB_ID_LIST;

static BOOLEAN NtpListJobProcess(PEPROCESS Process, PVOID Context)
{
    NT_JOB_ID_LIST *List = Context;
    ULONG_PTR Id = (ULONG_PTR)Process->UniqueProcessId;

    if (List->Found++ < List->Room && NT_SUCCESS(List->Status))
    {
        SIZE_T Offset = offsetof(JOBOBJECT_BASIC_PROCESS_ID_LIST, ProcessIdList) + List->Stored * sizeof(Id);

        List->Status = NtStore(NtMember(List->Buffer, Offset), &Id, sizeof(Id));
        List->Stored++;
    }
    return TRUE;
}

static NTSTATUS NtpQueryJobIds(PEJOB Job, PVOID Buffer, ULONG Length, ULONG *Size)
{
    const ULONG Header = offsetof(JOBOBJECT_BASIC_PROCESS_ID_LIST, ProcessIdList);
    NT_JOB_ID_LIST List = { .Buffer = Buffer, .Room = (Length - Header) / sizeof(ULONG_PTR) };
    ULONG Counts[2];
    NTSTATUS Status;

    PsForEachProcessOfJob(Job, NtpListJobProcess, &List);
    Counts[0] = List.Found;
    Counts[1] = List.Stored;
    Status = NT_SUCCESS(List.Status) ? NtStore(Buffer, Counts, sizeof(Counts)) : List.Status;
    *Size = Header + List.Stored * (ULONG)sizeof(ULONG_PTR);
    return NT_SUCCESS(Status) && List.Stored < List.Found ? STATUS_BUFFER_OVERFLOW : Status;
}

/* The job behind the handle; without one the immediate job of the calling process. */
static NTSTATUS NtpReferenceJobForQuery(HANDLE JobHandle, PEJOB *Job)
{
    if (JobHandle != NULL)
    {
        return NtReferenceJob(JobHandle, JOB_OBJECT_QUERY, Job);
    }
    *Job = PsReferenceJobOfProcess(PsGetCurrentProcess());
    return *Job != NULL ? STATUS_SUCCESS : STATUS_ACCESS_DENIED;
}

static NTSTATUS NtpQueryJob(HANDLE JobHandle, ULONG Index, PVOID Buffer, ULONG Length, ULONG *Size)
{
    NT_JOB_INFORMATION Information;
    PEJOB Job;
    NTSTATUS Status = NtpReferenceJobForQuery(JobHandle, &Job);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Index == RTL_NUMBER_OF(NtJobClasses))
    {
        Status = NtpQueryJobIds(Job, Buffer, Length, Size);
    }
    else
    {
        RtlZeroMemory(&Information, sizeof(Information));
        NtJobClasses[Index].Query(Job, &Information);
        Status = NtStore(Buffer, &Information, *Size);
    }
    ObDereferenceObjectBody(Job);
    return Status;
}

static NTSTATUS NtpQueryInformationJobObject(HANDLE JobHandle, JOBOBJECTINFOCLASS Class, PVOID Buffer,
                                             ULONG Length, PULONG ReturnLength)
{
    ULONG Index = 0;
    ULONG Size;
    NTSTATUS Status;

    while (Index < RTL_NUMBER_OF(NtJobClasses) && NtJobClasses[Index].Class != Class)
    {
        Index++;
    }
    if (Index == RTL_NUMBER_OF(NtJobClasses) && Class != JobObjectBasicProcessIdList)
    {
        return (ULONG)Class == 0 || (ULONG)Class >= MaxJobObjectInfoClass ? STATUS_INVALID_INFO_CLASS
                                                                          : STATUS_NOT_IMPLEMENTED;
    }
    Size = Index < RTL_NUMBER_OF(NtJobClasses) ? NtJobClasses[Index].Size
                                               : (ULONG)sizeof(JOBOBJECT_BASIC_PROCESS_ID_LIST);
    if (Index < RTL_NUMBER_OF(NtJobClasses) ? Length != Size : Length < Size)
    {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    Status = NtProbeOutputBuffer(Buffer, Length);
    if (NT_SUCCESS(Status) && ReturnLength != NULL)
    {
        Status = NtProbeOutput(ReturnLength, sizeof(*ReturnLength));
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtpQueryJob(JobHandle, Index, Buffer, Length, &Size);
    }
    if (ReturnLength != NULL && (NT_SUCCESS(Status) || Status == STATUS_BUFFER_OVERFLOW))
    {
        (VOID) NtStore(ReturnLength, &Size, sizeof(Size));
    }
    return Status;
}

/* ---- Set ----------------------------------------------------------------------------------------------- */

static NTSTATUS NtpCheckWorkingSet(const JOBOBJECT_BASIC_LIMIT_INFORMATION *Basic)
{
    SIZE_T Minimum = Basic->MinimumWorkingSetSize >> PAGE_SHIFT;
    SIZE_T Maximum = Basic->MaximumWorkingSetSize >> PAGE_SHIFT;

    /* Documented: if one is not zero, the other is not either. */
    if (Basic->MinimumWorkingSetSize == 0 || Basic->MaximumWorkingSetSize == 0)
    {
        return STATUS_INVALID_PARAMETER;
    }
    return MiCheckWorkingSetLimits(Minimum, Maximum);
}

/* The limits that New makes of Limits; Valid: the flags that this class speaks of, the others stay. */
static NTSTATUS NtpMergeLimits(const JOBOBJECT_EXTENDED_LIMIT_INFORMATION *New, ULONG Valid,
                               MI_JOB_LIMITS *Limits)
{
    const JOBOBJECT_BASIC_LIMIT_INFORMATION *Basic = &New->BasicLimitInformation;
    ULONG Flags = Basic->LimitFlags;
    NTSTATUS Status = STATUS_SUCCESS;

    if ((Flags & ~Valid) != 0)
    {
        return STATUS_INVALID_PARAMETER;
    }
    if ((Flags & ~NT_JOB_FLAGS) != 0)
    {
        return STATUS_NOT_IMPLEMENTED;
    }
    if ((Flags & JOB_OBJECT_LIMIT_WORKINGSET) != 0)
    {
        Status = NtpCheckWorkingSet(Basic);
        Limits->MinimumWorkingSetSize = Basic->MinimumWorkingSetSize;
        Limits->MaximumWorkingSetSize = Basic->MaximumWorkingSetSize;
    }
    if ((Flags & JOB_OBJECT_LIMIT_ACTIVE_PROCESS) != 0)
    {
        Limits->ActiveProcessLimit = Basic->ActiveProcessLimit;
    }
    if ((Flags & JOB_OBJECT_LIMIT_PROCESS_MEMORY) != 0)
    {
        Limits->ProcessMemoryLimit = New->ProcessMemoryLimit;
    }
    if ((Flags & JOB_OBJECT_LIMIT_JOB_MEMORY) != 0)
    {
        Limits->JobMemoryLimit = New->JobMemoryLimit;
    }
    Limits->Flags = (Limits->Flags & ~Valid) | Flags;
    return Status;
}

static BOOLEAN NtpApplyToProcess(PEPROCESS Process, PVOID Context)
{
    UNREFERENCED_PARAMETER(Context);
    NtApplyJobWorkingSet(Process);
    return TRUE;
}

static NTSTATUS NtpSetInformationJobObject(HANDLE JobHandle, JOBOBJECTINFOCLASS Class, PVOID Buffer,
                                           ULONG Length)
{
    BOOLEAN ExtendedClass = Class == JobObjectExtendedLimitInformation;
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION New;
    MI_JOB_LIMITS Limits;
    PEJOB Job;
    NTSTATUS Status;

    if (!ExtendedClass && Class != JobObjectBasicLimitInformation)
    {
        return (ULONG)Class == 0 || (ULONG)Class >= MaxJobObjectInfoClass ? STATUS_INVALID_INFO_CLASS
                                                                          : STATUS_NOT_IMPLEMENTED;
    }
    if (Length != (ExtendedClass ? sizeof(New) : sizeof(New.BasicLimitInformation)))
    {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    RtlZeroMemory(&New, sizeof(New));
    Status = NtCapture(&New, Buffer, Length);
    if (NT_SUCCESS(Status))
    {
        Status = NtReferenceJob(JobHandle, JOB_OBJECT_SET_ATTRIBUTES, &Job);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    PsQueryJobLimits(Job, &Limits);
    Status = NtpMergeLimits(
        &New, ExtendedClass ? JOB_OBJECT_EXTENDED_LIMIT_VALID_FLAGS : JOB_OBJECT_BASIC_LIMIT_VALID_FLAGS,
        &Limits);
    if (NT_SUCCESS(Status))
    {
        PsSetJobLimits(Job, &Limits);
        PsForEachProcessOfJob(Job, NtpApplyToProcess, NULL);
    }
    ObDereferenceObjectBody(Job);
    return Status;
}

NT_SERVICE(QueryInformationJobObject,
           (HANDLE JobHandle, JOBOBJECTINFOCLASS JobObjectInformationClass, PVOID JobObjectInformation,
            ULONG JobObjectInformationLength, PULONG ReturnLength),
           (JobHandle, JobObjectInformationClass, JobObjectInformation, JobObjectInformationLength,
            ReturnLength))
NT_SERVICE(SetInformationJobObject,
           (HANDLE JobHandle, JOBOBJECTINFOCLASS JobObjectInformationClass, PVOID JobObjectInformation,
            ULONG JobObjectInformationLength),
           (JobHandle, JobObjectInformationClass, JobObjectInformation, JobObjectInformationLength))
