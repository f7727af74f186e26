/* SPDX-License-Identifier: MIT */
/*
 * Working sets: their limits, emptying them, and which pages are in them. Source: the pages of the functions
 * on Microsoft Learn (memoryapi.h, psapi.h).
 */
#include "api.h"

#include "nt/winpsapi.h"

C_ASSERT(sizeof(PSAPI_WORKING_SET_BLOCK) == sizeof(MEMORY_WORKING_SET_BLOCK));
C_ASSERT(sizeof(PSAPI_WORKING_SET_EX_INFORMATION) == sizeof(MEMORY_WORKING_SET_EX_INFORMATION));
C_ASSERT(sizeof(PSAPI_WS_WATCH_INFORMATION) == sizeof(PROCESS_WS_WATCH_INFORMATION));
C_ASSERT(sizeof(PSAPI_WS_WATCH_INFORMATION_EX) == sizeof(PROCESS_WS_WATCH_INFORMATION_EX));

/* ---- Limits -------------------------------------------------------------------------------------------- */

BOOL WINAPI GetProcessWorkingSetSizeEx(HANDLE hProcess, PSIZE_T lpMinimumWorkingSetSize,
                                       PSIZE_T lpMaximumWorkingSetSize, PDWORD Flags)
{
    QUOTA_LIMITS_EX Limits;
    NTSTATUS Status = NtQueryInformationProcess(hProcess, ProcessQuotaLimits, &Limits, sizeof(Limits), NULL);

    if (!NT_SUCCESS(Status))
    {
        return WinapiFail(Status);
    }
    *lpMinimumWorkingSetSize = Limits.MinimumWorkingSetSize;
    *lpMaximumWorkingSetSize = Limits.MaximumWorkingSetSize;
    if (Flags != NULL)
    {
        *Flags = Limits.Flags;
    }
    return TRUE;
}

BOOL WINAPI GetProcessWorkingSetSize(HANDLE hProcess, PSIZE_T lpMinimumWorkingSetSize,
                                     PSIZE_T lpMaximumWorkingSetSize)
{
    return GetProcessWorkingSetSizeEx(hProcess, lpMinimumWorkingSetSize, lpMaximumWorkingSetSize, NULL);
}

BOOL WINAPI SetProcessWorkingSetSizeEx(HANDLE hProcess, SIZE_T dwMinimumWorkingSetSize,
                                       SIZE_T dwMaximumWorkingSetSize, DWORD Flags)
{
    QUOTA_LIMITS_EX Limits = { .MinimumWorkingSetSize = dwMinimumWorkingSetSize,
                               .MaximumWorkingSetSize = dwMaximumWorkingSetSize,
                               .Flags = Flags };

    /* To the service 0 means "as it is"; to this function it is no size. */
    if (dwMinimumWorkingSetSize == 0 || dwMaximumWorkingSetSize == 0)
    {
        return WinapiFailWith(ERROR_INVALID_PARAMETER);
    }
    return WinapiFinish(NtSetInformationProcess(hProcess, ProcessQuotaLimits, &Limits, sizeof(Limits)));
}

BOOL WINAPI SetProcessWorkingSetSize(HANDLE hProcess, SIZE_T dwMinimumWorkingSetSize,
                                     SIZE_T dwMaximumWorkingSetSize)
{
    return SetProcessWorkingSetSizeEx(hProcess, dwMinimumWorkingSetSize, dwMaximumWorkingSetSize, 0);
}

BOOL WINAPI K32EmptyWorkingSet(HANDLE hProcess)
{
    return SetProcessWorkingSetSizeEx(hProcess, MAXSIZE_T, MAXSIZE_T, 0);
}

/* ---- Pages --------------------------------------------------------------------------------------------- */

BOOL WINAPI K32QueryWorkingSet(HANDLE hProcess, PVOID pv, DWORD cb)
{
    return WinapiFinish(NtQueryVirtualMemory(hProcess, NULL, MemoryWorkingSetInformation, pv, cb, NULL));
}

BOOL WINAPI K32QueryWorkingSetEx(HANDLE hProcess, PVOID pv, DWORD cb)
{
    return WinapiFinish(NtQueryVirtualMemory(hProcess, NULL, MemoryWorkingSetExInformation, pv, cb, NULL));
}

/* ---- Faults of a process, as they come ----------------------------------------------------------------- */

BOOL WINAPI K32InitializeProcessForWsWatch(HANDLE hProcess)
{
    return WinapiFinish(NtSetInformationProcess(hProcess, ProcessWorkingSetWatch, NULL, 0));
}

BOOL WINAPI K32GetWsChanges(HANDLE hProcess, PPSAPI_WS_WATCH_INFORMATION lpWatchInfo, DWORD cb)
{
    return WinapiFinish(NtQueryInformationProcess(hProcess, ProcessWorkingSetWatch, lpWatchInfo, cb, NULL));
}

BOOL WINAPI K32GetWsChangesEx(HANDLE hProcess, PPSAPI_WS_WATCH_INFORMATION_EX lpWatchInfoEx, PDWORD cb)
{
    ULONG Length = 0;
    NTSTATUS Status =
        NtQueryInformationProcess(hProcess, ProcessWorkingSetWatchEx, lpWatchInfoEx, *cb, &Length);

    if (NT_SUCCESS(Status))
    {
        *cb = Length;
    }
    return WinapiFinish(Status);
}
