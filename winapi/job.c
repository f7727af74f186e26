/* SPDX-License-Identifier: MIT */
/*
 * Job objects. Source: the pages of the functions on Microsoft Learn (jobapi.h, jobapi2.h, winbase.h). Names live in the namespace of
 * all programs of the machine.
 */
#include "api.h"

#define WINAPI_PREFIX       u"\\BaseNamedObjects\\"
#define WINAPI_PREFIX_CHARS (sizeof(WINAPI_PREFIX) / sizeof(WCHAR) - 1)

typedef struct _WINAPI_NAME
{
    UNICODE_STRING String;
    WCHAR Text[WINAPI_PREFIX_CHARS + MAX_PATH];
} WINAPI_NAME;

/* One of Wide and Narrow, or none. FALSE: too long. */
static BOOL WinapiObjectName(LPCWSTR Wide, LPCSTR Narrow, WINAPI_NAME *Name)
{
    SIZE_T Length = WINAPI_PREFIX_CHARS;

    __builtin_memcpy(Name->Text, WINAPI_PREFIX, WINAPI_PREFIX_CHARS * sizeof(WCHAR));
    for (SIZE_T Index = 0; Wide != NULL ? Wide[Index] != 0 : Narrow[Index] != 0; Index++)
    {
        if (Length == RTL_NUMBER_OF(Name->Text))
        {
            return WinapiFailWith(ERROR_FILENAME_EXCED_RANGE);
        }
        Name->Text[Length++] = Wide != NULL ? Wide[Index] : (UCHAR)Narrow[Index];
    }
    Name->String.Buffer = Name->Text;
    Name->String.Length = (USHORT)(Length * sizeof(WCHAR));
    Name->String.MaximumLength = Name->String.Length;
    return TRUE;
}

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
