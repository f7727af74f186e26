/* SPDX-License-Identifier: MIT */
/*
 * Job objects. Source: the pages of the functions on Microsoft Learn (jobapi.h, jobapi2.h, winbase.h). Names live in the namespace of
 * all programs of the machine.
 */
#include "api.h"

static NTSTATUS WinapiCreateJob(PHANDLE Handle, POBJECT_ATTRIBUTES Attributes, const void *Context)
{
    (void)Context;
    return NtCreateJobObject(Handle, JOB_OBJECT_ALL_ACCESS, Attributes);
}

HANDLE WINAPI CreateJobObjectW(LPSECURITY_ATTRIBUTES lpJobAttributes, LPCWSTR lpName)
{
    HANDLE Job;

    WinapiCreateNamed(WinapiCreateJob, NULL, lpJobAttributes, lpName, NULL, &Job);
    return Job;
}

HANDLE WINAPI CreateJobObjectA(LPSECURITY_ATTRIBUTES lpJobAttributes, LPCSTR lpName)
{
    HANDLE Job;

    WinapiCreateNamed(WinapiCreateJob, NULL, lpJobAttributes, NULL, lpName, &Job);
    return Job;
}

HANDLE WINAPI OpenJobObjectW(DWORD dwDesiredAccess, BOOL bInheritHandle, LPCWSTR lpName)
{
    return WinapiOpenNamed(NtOpenJobObject, dwDesiredAccess, bInheritHandle, lpName, NULL);
}

HANDLE WINAPI OpenJobObjectA(DWORD dwDesiredAccess, BOOL bInheritHandle, LPCSTR lpName)
{
    return WinapiOpenNamed(NtOpenJobObject, dwDesiredAccess, bInheritHandle, NULL, lpName);
}

BOOL WINAPI AssignProcessToJobObject(HANDLE hJob, HANDLE hProcess)
{
    return WinapiFinish(NtAssignProcessToJobObject(hJob, hProcess));
}

BOOL WINAPI TerminateJobObject(HANDLE hJob, UINT uExitCode)
{
    return WinapiFinish(NtTerminateJobObject(hJob, (NTSTATUS)uExitCode));
}

BOOL WINAPI IsProcessInJob(HANDLE ProcessHandle, HANDLE JobHandle, PBOOL Result)
{
    NTSTATUS Status = NtIsProcessInJob(ProcessHandle, JobHandle);

    if (NT_SUCCESS(Status))
    {
        *Result = Status == STATUS_PROCESS_IN_JOB;
    }
    return WinapiFinish(Status);
}

BOOL WINAPI QueryInformationJobObject(HANDLE hJob, JOBOBJECTINFOCLASS JobObjectInformationClass,
                                      LPVOID lpJobObjectInformation, DWORD cbJobObjectInformationLength,
                                      LPDWORD lpReturnLength)
{
    return WinapiFinish(NtQueryInformationJobObject(hJob, JobObjectInformationClass, lpJobObjectInformation,
                                                    cbJobObjectInformationLength, lpReturnLength));
}

BOOL WINAPI SetInformationJobObject(HANDLE hJob, JOBOBJECTINFOCLASS JobObjectInformationClass,
                                    LPVOID lpJobObjectInformation, DWORD cbJobObjectInformationLength)
{
    return WinapiFinish(NtSetInformationJobObject(hJob, JobObjectInformationClass, lpJobObjectInformation,
                                                  cbJobObjectInformationLength));
}
