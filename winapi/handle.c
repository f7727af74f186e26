/* SPDX-License-Identifier: MIT */
/*
 * Processes, handles and waiting: as much as a program needs to work on the memory of others and to wait for
 * a memory resource notification. Source: the pages of the functions on Microsoft Learn (processthreadsapi.h,
 * handleapi.h, synchapi.h).
 */
#include "api.h"

/* ---- Processes ----------------------------------------------------------------------------------------- */

HANDLE WINAPI GetCurrentProcess(VOID)
{
    return NtCurrentProcess();
}

DWORD WINAPI GetProcessId(HANDLE Process)
{
    PROCESS_BASIC_INFORMATION Information;
    NTSTATUS Status =
        NtQueryInformationProcess(Process, ProcessBasicInformation, &Information, sizeof(Information), NULL);

    if (!NT_SUCCESS(Status))
    {
        WinapiFail(Status);
        return 0;
    }
    return (DWORD)Information.UniqueProcessId;
}

DWORD WINAPI GetCurrentProcessId(VOID)
{
    return GetProcessId(NtCurrentProcess());
}

HANDLE WINAPI OpenProcess(DWORD dwDesiredAccess, BOOL bInheritHandle, DWORD dwProcessId)
{
    OBJECT_ATTRIBUTES Attributes;
    CLIENT_ID ClientId = { .UniqueProcess = (HANDLE)(ULONG_PTR)dwProcessId };
    HANDLE Process = NULL;
    NTSTATUS Status;

    InitializeObjectAttributes(&Attributes, NULL, bInheritHandle ? OBJ_INHERIT : 0, NULL, NULL);
    Status = NtOpenProcess(&Process, dwDesiredAccess, &Attributes, &ClientId);
    if (!NT_SUCCESS(Status))
    {
        WinapiFail(Status);
        return NULL;
    }
    return Process;
}

/* ---- Handles ------------------------------------------------------------------------------------------- */

BOOL WINAPI CloseHandle(HANDLE hObject)
{
    return WinapiFinish(NtClose(hObject));
}

BOOL WINAPI DuplicateHandle(HANDLE hSourceProcessHandle, HANDLE hSourceHandle, HANDLE hTargetProcessHandle,
                            LPHANDLE lpTargetHandle, DWORD dwDesiredAccess, BOOL bInheritHandle,
                            DWORD dwOptions)
{
    return WinapiFinish(NtDuplicateObject(hSourceProcessHandle, hSourceHandle, hTargetProcessHandle,
                                          lpTargetHandle, dwDesiredAccess, bInheritHandle ? OBJ_INHERIT : 0,
                                          dwOptions));
}

BOOL WINAPI GetHandleInformation(HANDLE hObject, LPDWORD lpdwFlags)
{
    OBJECT_HANDLE_FLAG_INFORMATION Flags;
    NTSTATUS Status = NtQueryObject(hObject, ObjectHandleFlagInformation, &Flags, sizeof(Flags), NULL);

    if (NT_SUCCESS(Status))
    {
        *lpdwFlags = (Flags.Inherit ? HANDLE_FLAG_INHERIT : 0u) |
                     (Flags.ProtectFromClose ? HANDLE_FLAG_PROTECT_FROM_CLOSE : 0u);
    }
    return WinapiFinish(Status);
}

BOOL WINAPI SetHandleInformation(HANDLE hObject, DWORD dwMask, DWORD dwFlags)
{
    OBJECT_HANDLE_FLAG_INFORMATION Flags;
    NTSTATUS Status = NtQueryObject(hObject, ObjectHandleFlagInformation, &Flags, sizeof(Flags), NULL);

    if (!NT_SUCCESS(Status))
    {
        return WinapiFail(Status);
    }
    if ((dwMask & HANDLE_FLAG_INHERIT) != 0)
    {
        Flags.Inherit = (dwFlags & HANDLE_FLAG_INHERIT) != 0;
    }
    if ((dwMask & HANDLE_FLAG_PROTECT_FROM_CLOSE) != 0)
    {
        Flags.ProtectFromClose = (dwFlags & HANDLE_FLAG_PROTECT_FROM_CLOSE) != 0;
    }
    return WinapiFinish(NtSetInformationObject(hObject, ObjectHandleFlagInformation, &Flags, sizeof(Flags)));
}

/* ---- Waiting ------------------------------------------------------------------------------------------- */

/* NULL: for ever. */
static PLARGE_INTEGER WinapiTimeout(PLARGE_INTEGER Timeout, DWORD Milliseconds)
{
    if (Milliseconds == INFINITE)
    {
        return NULL;
    }
    Timeout->QuadPart = -(LONGLONG)Milliseconds * WINAPI_NS100_PER_MILLISECOND;
    return Timeout;
}

/* WAIT_OBJECT_0 + n, WAIT_ABANDONED_0 + n and WAIT_TIMEOUT are the statuses themselves. */
static DWORD WinapiWaitResult(NTSTATUS Status)
{
    if (!NT_SUCCESS(Status))
    {
        WinapiFail(Status);
        return WAIT_FAILED;
    }
    return (DWORD)Status;
}

DWORD WINAPI WaitForSingleObject(HANDLE hHandle, DWORD dwMilliseconds)
{
    LARGE_INTEGER Timeout;

    return WinapiWaitResult(NtWaitForSingleObject(hHandle, FALSE, WinapiTimeout(&Timeout, dwMilliseconds)));
}

DWORD WINAPI WaitForMultipleObjects(DWORD nCount, const HANDLE *lpHandles, BOOL bWaitAll,
                                    DWORD dwMilliseconds)
{
    LARGE_INTEGER Timeout;

    if (nCount == 0 || nCount > MAXIMUM_WAIT_OBJECTS)
    {
        WinapiFailWith(ERROR_INVALID_PARAMETER);
        return WAIT_FAILED;
    }
    return WinapiWaitResult(NtWaitForMultipleObjects(nCount, (HANDLE *)(ULONG_PTR)lpHandles,
                                                     bWaitAll ? WaitAll : WaitAny, FALSE,
                                                     WinapiTimeout(&Timeout, dwMilliseconds)));
}

VOID WINAPI Sleep(DWORD dwMilliseconds)
{
    LARGE_INTEGER Interval;

    /* Documented: 0 gives the rest of the time slice away. For ever: the longest time there is. */
    if (dwMilliseconds == 0)
    {
        NtYieldExecution();
        return;
    }
    if (WinapiTimeout(&Interval, dwMilliseconds) == NULL)
    {
        Interval.QuadPart = MINLONGLONG;
    }
    NtDelayExecution(FALSE, &Interval);
}
