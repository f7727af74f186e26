/* SPDX-License-Identifier: MIT */
/*
 * Job objects. Source: the pages of the functions on Microsoft Learn (jobapi.h, jobapi2.h, winbase.h). Names live in the namespace of
 * all programs of the machine.
 */
#include "api.h"

static HANDLE WinapiCreateJob(const SECURITY_ATTRIBUTES *Security, LPCWSTR Wide, LPCSTR Narrow)
{
    BOOL Named = Wide != NULL || Narrow != NULL;
    OBJECT_ATTRIBUTES Attributes;
    WINAPI_NAME Name;
    HANDLE Job = NULL;
    NTSTATUS Status;

    if (Named && !WinapiObjectName(Wide, Narrow, &Name))
    {
        return NULL;
    }
    InitializeObjectAttributes(&Attributes, Named ? &Name.String : NULL,
                               OBJ_OPENIF | (Security != NULL && Security->bInheritHandle ? OBJ_INHERIT : 0),
                               NULL, NULL);
    Status = NtCreateJobObject(&Job, JOB_OBJECT_ALL_ACCESS, &Attributes);
    if (!NT_SUCCESS(Status))
    {
        WinapiFail(Status);
        return NULL;
    }
    WinapiFailWith(Status == STATUS_OBJECT_NAME_EXISTS ? ERROR_ALREADY_EXISTS : ERROR_SUCCESS);
    return Job;
}

HANDLE WINAPI CreateJobObjectW(LPSECURITY_ATTRIBUTES lpJobAttributes, LPCWSTR lpName)
{
    return WinapiCreateJob(lpJobAttributes, lpName, NULL);
}

HANDLE WINAPI CreateJobObjectA(LPSECURITY_ATTRIBUTES lpJobAttributes, LPCSTR lpName)
{
    return WinapiCreateJob(lpJobAttributes, NULL, lpName);
}

static HANDLE WinapiOpenJob(DWORD Access, BOOL Inherit, LPCWSTR Wide, LPCSTR Narrow)
{
    OBJECT_ATTRIBUTES Attributes;
    WINAPI_NAME Name;
    HANDLE Job = NULL;
    NTSTATUS Status;

    if (Wide == NULL && Narrow == NULL)
    {
        WinapiFailWith(ERROR_INVALID_PARAMETER);
        return NULL;
    }
    if (!WinapiObjectName(Wide, Narrow, &Name))
    {
        return NULL;
    }
    InitializeObjectAttributes(&Attributes, &Name.String, Inherit ? OBJ_INHERIT : 0, NULL, NULL);
    Status = NtOpenJobObject(&Job, Access, &Attributes);
    if (!NT_SUCCESS(Status))
    {
        WinapiFail(Status);
        return NULL;
    }
    return Job;
}

HANDLE WINAPI OpenJobObjectW(DWORD dwDesiredAccess, BOOL bInheritHandle, LPCWSTR lpName)
{
    return WinapiOpenJob(dwDesiredAccess, bInheritHandle, lpName, NULL);
}

HANDLE WINAPI OpenJobObjectA(DWORD dwDesiredAccess, BOOL bInheritHandle, LPCSTR lpName)
{
    return WinapiOpenJob(dwDesiredAccess, bInheritHandle, NULL, lpName);
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
