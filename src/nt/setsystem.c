/* SPDX-License-Identifier: MIT */
/* NtSetSystemInformation: commands to the page lists, settings of Driver Verifier. */
#include "nt/systeminfo.h"

/*
 * How far low-priority standby reaches (documented by the tools that use the command: priorities 0 and 1 are
 * "low").
 */
#define NT_LOW_PRIORITY 1u

static BOOLEAN NtpEmptyWorkingSet(PEPROCESS Process, PVOID Context)
{
    UNREFERENCED_PARAMETER(Context);
    if (Process->Space.TopLevel != 0 && !__atomic_load_n(&Process->Terminating, __ATOMIC_ACQUIRE))
    {
        MiEmptyWorkingSet(&Process->Space);
    }
    return TRUE;
}

static BOOLEAN NtpCaptureWorkingSet(PEPROCESS Process, PVOID Context)
{
    UNREFERENCED_PARAMETER(Context);
    if (Process->Space.TopLevel != 0 && !__atomic_load_n(&Process->Terminating, __ATOMIC_ACQUIRE))
    {
        MiCaptureAccessedBits(&Process->Space);
    }
    return TRUE;
}

/* One pass of the clock that takes nothing: accessed bits become ages. */
static BOOLEAN NtpSampleWorkingSet(PEPROCESS Process, PVOID Context)
{
    UNREFERENCED_PARAMETER(Context);
    if (Process->Space.TopLevel != 0 && !__atomic_load_n(&Process->Terminating, __ATOMIC_ACQUIRE))
    {
        MiTrimWorkingSet(&Process->Space, MAXSIZE_T, MM_MAXIMUM_AGE + 1);
    }
    return TRUE;
}

static NTSTATUS NtpRunMemoryCommand(SYSTEM_MEMORY_LIST_COMMAND Command)
{
    switch (Command)
    {
    case MemoryCaptureAccessedBits:
        PsForEachProcess(NtpCaptureWorkingSet, NULL);
        return STATUS_SUCCESS;
    case MemoryCaptureAndResetAccessedBits:
        PsForEachProcess(NtpCaptureWorkingSet, NULL);
        PsForEachProcess(NtpSampleWorkingSet, NULL);
        return STATUS_SUCCESS;
    case MemoryEmptyWorkingSets:
        PsForEachProcess(NtpEmptyWorkingSet, NULL);
        MiEmptyKernelWorkingSets();
        return STATUS_SUCCESS;
    case MemoryFlushModifiedList:
        MiFlushModifiedPages();
        return STATUS_SUCCESS;
    case MemoryPurgeStandbyList:
        MiPurgeStandby(MI_PRIORITIES - 1);
        return STATUS_SUCCESS;
    case MemoryPurgeLowPriorityStandbyList:
        MiPurgeStandby(NT_LOW_PRIORITY);
        return STATUS_SUCCESS;
    default:
        return STATUS_INVALID_PARAMETER;
    }
}

static NTSTATUS NtpCommandMemoryLists(const VOID *Buffer, ULONG Length)
{
    ULONG Command;
    NTSTATUS Status = Length == sizeof(Command) ? NtCapture(&Command, Buffer, sizeof(Command))
                                                : STATUS_INFO_LENGTH_MISMATCH;

    return NT_SUCCESS(Status) ? NtpRunMemoryCommand((SYSTEM_MEMORY_LIST_COMMAND)Command) : Status;
}

static NTSTATUS NtpSetSystemInformation(SYSTEM_INFORMATION_CLASS SystemInformationClass,
                                        PVOID SystemInformation, ULONG SystemInformationLength)
{
    switch (SystemInformationClass)
    {
    case SystemMemoryListInformation:
        return NtpCommandMemoryLists(SystemInformation, SystemInformationLength);
    case SystemVerifierInformation:
        return NtpSetVerifierFlags(SystemInformation, SystemInformationLength);
    case SystemVerifierAddDriverInformation:
    case SystemVerifierRemoveDriverInformation:
        return NtpNameVerifiedDriver(SystemInformation, SystemInformationLength,
                                     SystemInformationClass == SystemVerifierAddDriverInformation);
    default:
        return (ULONG)SystemInformationClass > SystemPageFileInformationEx ? STATUS_INVALID_INFO_CLASS
                                                                           : STATUS_NOT_IMPLEMENTED;
    }
}

NT_SERVICE(SetSystemInformation,
           (SYSTEM_INFORMATION_CLASS SystemInformationClass, PVOID SystemInformation,
            ULONG SystemInformationLength),
           (SystemInformationClass, SystemInformation, SystemInformationLength))
