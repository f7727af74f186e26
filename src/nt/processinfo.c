/* SPDX-License-Identifier: MIT */
/*
 * NtQueryInformationProcess and NtSetInformationProcess: the classes that concern memory. Structures that
 * grew over time are told apart by the length of the buffer.
 */
#include "nt/job.h"
#include "rtl/memory.h"
#include "space/session.h"

typedef union _NT_PROCESS_INFORMATION
{
    PROCESS_BASIC_INFORMATION Basic;
    QUOTA_LIMITS_EX Quota;
    VM_COUNTERS_EX2 Counters;
    POOLED_USAGE_AND_LIMITS Pool;
    PAGE_PRIORITY_INFORMATION Priority;
    ULONG HandleCount;
    PROCESS_SESSION_INFORMATION Session;
    struct
    {
        UNICODE_STRING String;
        WCHAR Text[RTL_FIELD_SIZE(EPROCESS, ImageFileName)];
    } Name;
} NT_PROCESS_INFORMATION;

static SIZE_T NtpBytes(SIZE_T Pages)
{
    return Pages << PAGE_SHIFT;
}

/*
 * Each fills Information and returns its size; 0: Length is wrong. Buffer is the caller's, for strings that
 * point into it.
 */
static ULONG NtpQueryProcessBasic(PEPROCESS Process, NT_PROCESS_INFORMATION *Information, ULONG Length,
                                  PVOID Buffer)
{
    UNREFERENCED_PARAMETER(Buffer);
    Information->Basic.ExitStatus = __atomic_load_n(&Process->ExitStatus, __ATOMIC_ACQUIRE);
    Information->Basic.AffinityMask = KeQueryActiveProcessors();
    Information->Basic.BasePriority = 8;
    Information->Basic.UniqueProcessId = (ULONG_PTR)Process->UniqueProcessId;
    return Length == sizeof(Information->Basic) ? sizeof(Information->Basic) : 0;
}

static ULONG NtpQueryQuota(PEPROCESS Process, NT_PROCESS_INFORMATION *Information, ULONG Length, PVOID Buffer)
{
    const MMSUPPORT *Vm = &Process->Space.Vm;
    QUOTA_LIMITS_EX *Quota = &Information->Quota;

    UNREFERENCED_PARAMETER(Buffer);
    Quota->PagedPoolLimit = MAXSIZE_T;
    Quota->NonPagedPoolLimit = MAXSIZE_T;
    Quota->MinimumWorkingSetSize = NtpBytes(Vm->MinimumWorkingSetSize);
    Quota->MaximumWorkingSetSize = NtpBytes(Vm->MaximumWorkingSetSize);
    Quota->PagefileLimit =
        Process->Space.CommitChargeLimit != 0 ? NtpBytes(Process->Space.CommitChargeLimit) : MAXSIZE_T;
    Quota->TimeLimit.QuadPart = -1;
    Quota->Flags = (Vm->MinimumHard ? QUOTA_LIMITS_HARDWS_MIN_ENABLE : QUOTA_LIMITS_HARDWS_MIN_DISABLE) |
                   (Vm->MaximumHard ? QUOTA_LIMITS_HARDWS_MAX_ENABLE : QUOTA_LIMITS_HARDWS_MAX_DISABLE);
    return Length == sizeof(QUOTA_LIMITS) || Length == sizeof(QUOTA_LIMITS_EX) ? Length : 0;
}

static ULONG NtpQueryVmCounters(PEPROCESS Process, NT_PROCESS_INFORMATION *Information, ULONG Length,
                                PVOID Buffer)
{
    PMI_ADDRESS_SPACE Space = &Process->Space;
    VM_COUNTERS_EX *Counters = &Information->Counters.CountersEx;
    BOOLEAN Live = Space->Slots != NULL;

    UNREFERENCED_PARAMETER(Buffer);
    if (Live)
    {
        MiUpdatePeakWorkingSet(Space);
        Counters->PageFaultCount = (ULONG)MiSpaceFaultCount(Space);
        Counters->WorkingSetSize = NtpBytes(MiWorkingSetPages(Space));
    }
    Counters->PeakVirtualSize = Space->PeakVirtualSize;
    Counters->VirtualSize = Space->VirtualSize;
    Counters->PeakWorkingSetSize = NtpBytes(Space->Vm.PeakWorkingSetSize);
    Counters->PagefileUsage = NtpBytes(MiSpaceCommitCharge(Space));
    Counters->PeakPagefileUsage = NtpBytes(Space->CommitChargePeak);
    Counters->PrivateUsage = Counters->PagefileUsage;
    Information->Counters.PrivateWorkingSetSize = Counters->WorkingSetSize;
    return Length == sizeof(VM_COUNTERS) || Length == sizeof(VM_COUNTERS_EX) ||
                   Length == sizeof(VM_COUNTERS_EX2)
               ? Length
               : 0;
}

static ULONG NtpQueryPooled(PEPROCESS Process, NT_PROCESS_INFORMATION *Information, ULONG Length,
                            PVOID Buffer)
{
    POOLED_USAGE_AND_LIMITS *Pool = &Information->Pool;

    UNREFERENCED_PARAMETER(Buffer);
    Pool->PagedPoolLimit = MAXSIZE_T;
    Pool->NonPagedPoolLimit = MAXSIZE_T;
    Pool->PeakPagefileUsage = NtpBytes(Process->Space.CommitChargePeak);
    Pool->PagefileUsage = NtpBytes(MiSpaceCommitCharge(&Process->Space));
    Pool->PagefileLimit =
        Process->Space.CommitChargeLimit != 0 ? NtpBytes(Process->Space.CommitChargeLimit) : MAXSIZE_T;
    return Length == sizeof(*Pool) ? sizeof(*Pool) : 0;
}

static ULONG NtpQueryPriority(PEPROCESS Process, NT_PROCESS_INFORMATION *Information, ULONG Length,
                              PVOID Buffer)
{
    UNREFERENCED_PARAMETER(Buffer);
    Information->Priority.PagePriority = Process->Space.Vm.MemoryPriority;
    return Length == sizeof(Information->Priority) ? sizeof(Information->Priority) : 0;
}

static ULONG NtpQueryHandles(PEPROCESS Process, NT_PROCESS_INFORMATION *Information, ULONG Length,
                             PVOID Buffer)
{
    UNREFERENCED_PARAMETER(Buffer);
    Information->HandleCount = Process->HandleTable != NULL ? ObHandleCount(Process->HandleTable) : 0;
    return Length == sizeof(ULONG) ? sizeof(ULONG) : 0;
}

static ULONG NtpQuerySession(PEPROCESS Process, NT_PROCESS_INFORMATION *Information, ULONG Length,
                             PVOID Buffer)
{
    UNREFERENCED_PARAMETER(Buffer);
    Information->Session.SessionId = MmGetSessionId(Process);
    return Length == sizeof(Information->Session) ? sizeof(Information->Session) : 0;
}

static ULONG NtpQueryName(PEPROCESS Process, NT_PROCESS_INFORMATION *Information, ULONG Length, PVOID Buffer)
{
    ULONG Characters = 0;
    ULONG Size;

    while (Characters < sizeof(Process->ImageFileName) && Process->ImageFileName[Characters] != 0)
    {
        Information->Name.Text[Characters] = (UCHAR)Process->ImageFileName[Characters];
        Characters++;
    }
    Size = (ULONG)(sizeof(UNICODE_STRING) + (Characters + 1) * sizeof(WCHAR));
    Information->Name.String.Length = (USHORT)(Characters * sizeof(WCHAR));
    Information->Name.String.MaximumLength = (USHORT)((Characters + 1) * sizeof(WCHAR));
    Information->Name.String.Buffer = (PWCH)((ULONG_PTR)Buffer + sizeof(UNICODE_STRING));
    if (Characters == sizeof(Process->ImageFileName))
    {
        Size -= sizeof(WCHAR);
    }
    return Length >= Size ? Size : 0;
}

/* ---- Working-set watch --------------------------------------------------------------------------------- */

#define NT_WATCH_TAG MI_TAG('N', 't', 'W', 's')

/*
 * Both classes: entries of one size each, oldest first, then one whose FaultingPc is NULL and whose FaultingVa says how many faults were
 * lost for want of room. Asking takes them away.
 */
static NTSTATUS NtpStoreFaults(const MI_WATCHED_FAULT *Faults, ULONG Count, ULONG Lost, BOOLEAN Extended,
                               PVOID Buffer)
{
    SIZE_T Size = Extended ? sizeof(PROCESS_WS_WATCH_INFORMATION_EX) : sizeof(PROCESS_WS_WATCH_INFORMATION);
    NTSTATUS Status = STATUS_SUCCESS;

    for (ULONG Index = 0; Index <= Count && NT_SUCCESS(Status); Index++)
    {
        PROCESS_WS_WATCH_INFORMATION_EX Entry = { .BasicInfo = { .FaultingPc = NULL } };

        if (Index < Count)
        {
            Entry.BasicInfo.FaultingPc = Faults[Index].Pc;
            Entry.BasicInfo.FaultingVa = (PVOID)Faults[Index].Va;
            Entry.FaultingThreadId = Faults[Index].Thread;
        }
        else
        {
            Entry.BasicInfo.FaultingVa = (PVOID)(ULONG_PTR)Lost;
        }
        Status = NtStore(NtMember(Buffer, Index * Size), &Entry, Size);
    }
    return Status;
}

static NTSTATUS NtpTakeWatchedFaults(PEPROCESS Process, BOOLEAN Extended, PVOID Buffer, ULONG Length,
                                     PULONG Needed)
{
    ULONG Size = Extended ? sizeof(PROCESS_WS_WATCH_INFORMATION_EX) : sizeof(PROCESS_WS_WATCH_INFORMATION);
    MI_WATCHED_FAULT *Faults = MiAllocatePool(MI_WATCH_ENTRIES * sizeof(*Faults), NT_WATCH_TAG);
    ULONG Room = Length / Size;
    ULONG Count = 0;
    ULONG Lost = 0;
    NTSTATUS Status;

    if (Faults == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Room = Room > MI_WATCH_ENTRIES + 1 ? MI_WATCH_ENTRIES + 1 : Room;
    Status =
        Room == 0 ? STATUS_BUFFER_TOO_SMALL : MiTakeFaults(&Process->Space, Room - 1, Faults, &Count, &Lost);
    *Needed = (Count + 1) * Size;
    if (NT_SUCCESS(Status))
    {
        Status = NtpStoreFaults(Faults, Count, Lost, Extended, Buffer);
    }
    MiFreePool(Faults, NT_WATCH_TAG);
    return Status;
}

static NTSTATUS NtpQueryWatch(HANDLE ProcessHandle, BOOLEAN Extended, PVOID Buffer, ULONG Length,
                              PULONG ReturnLength)
{
    ULONG Needed = 0;
    PEPROCESS Process;
    NTSTATUS Status = NtProbeOutputBuffer(Buffer, Length);

    if (NT_SUCCESS(Status) && ReturnLength != NULL)
    {
        Status = NtProbeOutput(ReturnLength, sizeof(*ReturnLength));
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtReferenceProcess(ProcessHandle, PROCESS_QUERY_INFORMATION | PROCESS_VM_READ, &Process);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = NtpTakeWatchedFaults(Process, Extended, Buffer, Length, &Needed);
    ObDereferenceObjectBody(Process);
    if (ReturnLength != NULL && (NT_SUCCESS(Status) || Status == STATUS_BUFFER_TOO_SMALL))
    {
        (VOID) NtStore(ReturnLength, &Needed, sizeof(Needed));
    }
    return Status;
}

static NTSTATUS NtpStartWatch(HANDLE ProcessHandle)
{
    PEPROCESS Process;
    NTSTATUS Status = NtReferenceProcess(ProcessHandle, PROCESS_SET_INFORMATION, &Process);

    if (NT_SUCCESS(Status))
    {
        Status = Process->Space.TopLevel == 0 || __atomic_load_n(&Process->Terminating, __ATOMIC_ACQUIRE)
                     ? STATUS_PROCESS_IS_TERMINATING
                     : MiStartFaultWatch(&Process->Space);
        ObDereferenceObjectBody(Process);
    }
    return Status;
}

/* ---- Classes ------------------------------------------------------------------------------------------- */

typedef struct _NT_PROCESS_CLASS
{
    PROCESSINFOCLASS Class;
    ULONG (*Query)(PEPROCESS Process, NT_PROCESS_INFORMATION *Information, ULONG Length, PVOID Buffer);
    ULONG Usual; /* the length that STATUS_INFO_LENGTH_MISMATCH reports */
} NT_PROCESS_CLASS;

static const NT_PROCESS_CLASS NtProcessClasses[] = {
    { ProcessBasicInformation, NtpQueryProcessBasic, sizeof(PROCESS_BASIC_INFORMATION) },
    { ProcessQuotaLimits, NtpQueryQuota, sizeof(QUOTA_LIMITS_EX) },
    { ProcessVmCounters, NtpQueryVmCounters, sizeof(VM_COUNTERS_EX2) },
    { ProcessPooledUsageAndLimits, NtpQueryPooled, sizeof(POOLED_USAGE_AND_LIMITS) },
    { ProcessHandleCount, NtpQueryHandles, sizeof(ULONG) },
    { ProcessSessionInformation, NtpQuerySession, sizeof(PROCESS_SESSION_INFORMATION) },
    { ProcessImageFileName, NtpQueryName,
      sizeof(UNICODE_STRING) + RTL_FIELD_SIZE(EPROCESS, ImageFileName) * sizeof(WCHAR) },
    { ProcessPagePriority, NtpQueryPriority, sizeof(PAGE_PRIORITY_INFORMATION) },
};

#define NT_LAST_PROCESS_CLASS ProcessWorkingSetControl

static NTSTATUS NtpQueryInformationProcess(HANDLE ProcessHandle, PROCESSINFOCLASS ProcessInformationClass,
                                           PVOID ProcessInformation, ULONG ProcessInformationLength,
                                           PULONG ReturnLength)
{
    const NT_PROCESS_CLASS *Class = NULL;
    NT_PROCESS_INFORMATION Information;
    PEPROCESS Process;
    ULONG Size;
    NTSTATUS Status;

    if (ProcessInformationClass == ProcessWorkingSetWatch ||
        ProcessInformationClass == ProcessWorkingSetWatchEx)
    {
        return NtpQueryWatch(ProcessHandle, ProcessInformationClass == ProcessWorkingSetWatchEx,
                             ProcessInformation, ProcessInformationLength, ReturnLength);
    }
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(NtProcessClasses); Index++)
    {
        Class = NtProcessClasses[Index].Class == ProcessInformationClass ? &NtProcessClasses[Index] : Class;
    }
    if (Class == NULL)
    {
        return (ULONG)ProcessInformationClass > NT_LAST_PROCESS_CLASS ? STATUS_INVALID_INFO_CLASS
                                                                      : STATUS_NOT_IMPLEMENTED;
    }
    Status = NtProbe(ProcessInformation, ProcessInformationLength);
    if (NT_SUCCESS(Status) && ReturnLength != NULL)
    {
        Status = NtProbeOutput(ReturnLength, sizeof(*ReturnLength));
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtReferenceProcess(ProcessHandle, PROCESS_QUERY_LIMITED_INFORMATION, &Process);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    RtlZeroMemory(&Information, sizeof(Information));
    Size = Class->Query(Process, &Information, ProcessInformationLength, ProcessInformation);
    ObDereferenceObjectBody(Process);
    Status = Size != 0 ? NtStore(ProcessInformation, &Information, Size) : STATUS_INFO_LENGTH_MISMATCH;
    if (ReturnLength != NULL && (NT_SUCCESS(Status) || Status == STATUS_INFO_LENGTH_MISMATCH))
    {
        Size = Size != 0 ? Size : Class->Usual;
        (VOID) NtStore(ReturnLength, &Size, sizeof(Size));
    }
    return Status;
}

/* ---- Set ----------------------------------------------------------------------------------------------- */

static NTSTATUS NtpSetQuota(HANDLE ProcessHandle, PVOID Buffer, ULONG Length)
{
    ULONG Known = QUOTA_LIMITS_HARDWS_MIN_ENABLE | QUOTA_LIMITS_HARDWS_MIN_DISABLE |
                  QUOTA_LIMITS_HARDWS_MAX_ENABLE | QUOTA_LIMITS_HARDWS_MAX_DISABLE;
    QUOTA_LIMITS_EX Quota;
    PEPROCESS Process;
    NTSTATUS Status;

    RtlZeroMemory(&Quota, sizeof(Quota));
    if (Length != sizeof(QUOTA_LIMITS) && Length != sizeof(QUOTA_LIMITS_EX))
    {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    Status = NtCapture(&Quota, Buffer, Length);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Length == sizeof(QUOTA_LIMITS))
    {
        Quota.Flags = 0;
    }
    if ((Quota.Flags & ~Known) != 0)
    {
        return (Quota.Flags & ~(Known | QUOTA_LIMITS_USE_DEFAULT_LIMITS)) != 0 ? STATUS_INVALID_PARAMETER
                                                                               : STATUS_NOT_IMPLEMENTED;
    }
    Status = NtReferenceProcess(ProcessHandle, PROCESS_SET_QUOTA, &Process);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Process->Space.TopLevel == 0 || __atomic_load_n(&Process->Terminating, __ATOMIC_ACQUIRE))
    {
        Status = STATUS_PROCESS_IS_TERMINATING;
    }
    else
    {
        BOOLEAN Empty = Quota.MinimumWorkingSetSize == MAXSIZE_T && Quota.MaximumWorkingSetSize == MAXSIZE_T;
        SIZE_T Minimum;
        SIZE_T Maximum;

        /* Documented: what a job limits can be emptied, but a change of the limits is silently ignored. */
        if (!Empty && PsQueryJobWorkingSet(Process, &Minimum, &Maximum))
        {
            ObDereferenceObjectBody(Process);
            return STATUS_SUCCESS;
        }
        Status = MiSetWorkingSetLimits(
            &Process->Space, Empty ? MAXSIZE_T : Quota.MinimumWorkingSetSize >> PAGE_SHIFT,
            Empty ? MAXSIZE_T : Quota.MaximumWorkingSetSize >> PAGE_SHIFT, Quota.Flags);
    }
    ObDereferenceObjectBody(Process);
    return Status;
}

static NTSTATUS NtpSetPriority(HANDLE ProcessHandle, PVOID Buffer, ULONG Length)
{
    PAGE_PRIORITY_INFORMATION Priority;
    PEPROCESS Process;
    NTSTATUS Status;

    if (Length != sizeof(Priority))
    {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    Status = NtCapture(&Priority, Buffer, sizeof(Priority));
    if (NT_SUCCESS(Status) && Priority.PagePriority > MEMORY_PRIORITY_NORMAL)
    {
        Status = STATUS_INVALID_PARAMETER;
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtReferenceProcess(ProcessHandle, PROCESS_SET_INFORMATION, &Process);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Process->Space.Vm.MemoryPriority = (UCHAR)Priority.PagePriority;
    ObDereferenceObjectBody(Process);
    return STATUS_SUCCESS;
}

static NTSTATUS NtpSetInformationProcess(HANDLE ProcessHandle, PROCESSINFOCLASS ProcessInformationClass,
                                         PVOID ProcessInformation, ULONG ProcessInformationLength)
{
    switch (ProcessInformationClass)
    {
    case ProcessQuotaLimits:
        return NtpSetQuota(ProcessHandle, ProcessInformation, ProcessInformationLength);
    case ProcessWorkingSetWatch:
    case ProcessWorkingSetWatchEx:
        return NtpStartWatch(ProcessHandle);
    case ProcessPagePriority:
        return NtpSetPriority(ProcessHandle, ProcessInformation, ProcessInformationLength);
    default:
        return (ULONG)ProcessInformationClass > NT_LAST_PROCESS_CLASS ? STATUS_INVALID_INFO_CLASS
                                                                      : STATUS_NOT_IMPLEMENTED;
    }
}

NT_SERVICE(QueryInformationProcess,
           (HANDLE ProcessHandle, PROCESSINFOCLASS ProcessInformationClass, PVOID ProcessInformation,
            ULONG ProcessInformationLength, PULONG ReturnLength),
           (ProcessHandle, ProcessInformationClass, ProcessInformation, ProcessInformationLength,
            ReturnLength))
NT_SERVICE(SetInformationProcess,
           (HANDLE ProcessHandle, PROCESSINFOCLASS ProcessInformationClass, PVOID ProcessInformation,
            ULONG ProcessInformationLength),
           (ProcessHandle, ProcessInformationClass, ProcessInformation, ProcessInformationLength))
