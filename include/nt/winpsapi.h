/* SPDX-License-Identifier: MIT */
/*
 * The process status API: working sets and memory counters of processes and of the machine; what <psapi.h>
 * brings.
 *
 * As on current Windows the functions are K32Xxx in kernel32 and the old names are macros. Sizes in bytes,
 * except those of PERFORMANCE_INFORMATION, which are in pages. Source: Microsoft Learn, psapi.h.
 */
#ifndef NTMM_NT_WINPSAPI_H
#define NTMM_NT_WINPSAPI_H

#include "nt/winapi.h"

EXTERN_C_START

/* ---- working sets ---- */

typedef union _PSAPI_WORKING_SET_BLOCK
{
    ULONG_PTR Flags;
    _ANONYMOUS_STRUCT struct
    {
        __extension__ ULONG_PTR Protection : 5;
        __extension__ ULONG_PTR ShareCount : 3;
        __extension__ ULONG_PTR Shared : 1;
        __extension__ ULONG_PTR Reserved : 3;
        __extension__ ULONG_PTR VirtualPage : 52;
    } DUMMYSTRUCTNAME;
} PSAPI_WORKING_SET_BLOCK, *PPSAPI_WORKING_SET_BLOCK;

typedef struct _PSAPI_WORKING_SET_INFORMATION
{
    ULONG_PTR NumberOfEntries;
    PSAPI_WORKING_SET_BLOCK WorkingSetInfo[1];
} PSAPI_WORKING_SET_INFORMATION, *PPSAPI_WORKING_SET_INFORMATION;

typedef union _PSAPI_WORKING_SET_EX_BLOCK
{
    ULONG_PTR Flags;
    _ANONYMOUS_UNION union
    {
        _ANONYMOUS_STRUCT struct
        {
            __extension__ ULONG_PTR Valid : 1;
            __extension__ ULONG_PTR ShareCount : 3;
            __extension__ ULONG_PTR Win32Protection : 11;
            __extension__ ULONG_PTR Shared : 1;
            __extension__ ULONG_PTR Node : 6;
            __extension__ ULONG_PTR Locked : 1;
            __extension__ ULONG_PTR LargePage : 1;
            __extension__ ULONG_PTR Reserved : 7;
            __extension__ ULONG_PTR Bad : 1;
            __extension__ ULONG_PTR ReservedUlong : 32;
        } DUMMYSTRUCTNAME;
        struct
        {
            __extension__ ULONG_PTR Valid : 1;
            __extension__ ULONG_PTR Reserved0 : 14;
            __extension__ ULONG_PTR Shared : 1;
            __extension__ ULONG_PTR Reserved1 : 15;
            __extension__ ULONG_PTR Bad : 1;
            __extension__ ULONG_PTR ReservedUlong : 32;
        } Invalid;
    } DUMMYUNIONNAME;
} PSAPI_WORKING_SET_EX_BLOCK, *PPSAPI_WORKING_SET_EX_BLOCK;

typedef struct _PSAPI_WORKING_SET_EX_INFORMATION
{
    PVOID VirtualAddress;
    PSAPI_WORKING_SET_EX_BLOCK VirtualAttributes;
} PSAPI_WORKING_SET_EX_INFORMATION, *PPSAPI_WORKING_SET_EX_INFORMATION;

typedef struct _PSAPI_WS_WATCH_INFORMATION
{
    LPVOID FaultingPc;
    LPVOID FaultingVa;
} PSAPI_WS_WATCH_INFORMATION, *PPSAPI_WS_WATCH_INFORMATION;

typedef struct _PSAPI_WS_WATCH_INFORMATION_EX
{
    PSAPI_WS_WATCH_INFORMATION BasicInfo;
    ULONG_PTR FaultingThreadId;
    ULONG_PTR Flags;
} PSAPI_WS_WATCH_INFORMATION_EX, *PPSAPI_WS_WATCH_INFORMATION_EX;

WINBASEAPI BOOL WINAPI K32EmptyWorkingSet(_In_ HANDLE hProcess);
/* ERROR_BAD_LENGTH when the buffer is too small; NumberOfEntries then tells how many there are. */
WINBASEAPI BOOL WINAPI K32QueryWorkingSet(_In_ HANDLE hProcess, _Out_writes_bytes_(cb) PVOID pv,
                                          _In_ DWORD cb);
WINBASEAPI BOOL WINAPI K32QueryWorkingSetEx(_In_ HANDLE hProcess, _Inout_updates_bytes_(cb) PVOID pv,
                                            _In_ DWORD cb);
WINBASEAPI BOOL WINAPI K32InitializeProcessForWsWatch(_In_ HANDLE hProcess);
WINBASEAPI BOOL WINAPI K32GetWsChanges(_In_ HANDLE hProcess,
                                       _Out_writes_bytes_(cb) PPSAPI_WS_WATCH_INFORMATION lpWatchInfo,
                                       _In_ DWORD cb);
WINBASEAPI BOOL WINAPI K32GetWsChangesEx(_In_ HANDLE hProcess,
                                         _Out_writes_bytes_(*cb) PPSAPI_WS_WATCH_INFORMATION_EX lpWatchInfoEx,
                                         _Inout_ PDWORD cb);

/* ---- counters ---- */

typedef struct _PROCESS_MEMORY_COUNTERS
{
    DWORD cb;
    DWORD PageFaultCount;
    SIZE_T PeakWorkingSetSize;
    SIZE_T WorkingSetSize;
    SIZE_T QuotaPeakPagedPoolUsage;
    SIZE_T QuotaPagedPoolUsage;
    SIZE_T QuotaPeakNonPagedPoolUsage;
    SIZE_T QuotaNonPagedPoolUsage;
    SIZE_T PagefileUsage;
    SIZE_T PeakPagefileUsage;
} PROCESS_MEMORY_COUNTERS, *PPROCESS_MEMORY_COUNTERS;

typedef struct _PROCESS_MEMORY_COUNTERS_EX
{
    DWORD cb;
    DWORD PageFaultCount;
    SIZE_T PeakWorkingSetSize;
    SIZE_T WorkingSetSize;
    SIZE_T QuotaPeakPagedPoolUsage;
    SIZE_T QuotaPagedPoolUsage;
    SIZE_T QuotaPeakNonPagedPoolUsage;
    SIZE_T QuotaNonPagedPoolUsage;
    SIZE_T PagefileUsage;
    SIZE_T PeakPagefileUsage;
    SIZE_T PrivateUsage;
} PROCESS_MEMORY_COUNTERS_EX, *PPROCESS_MEMORY_COUNTERS_EX;

typedef struct _PROCESS_MEMORY_COUNTERS_EX2
{
    DWORD cb;
    DWORD PageFaultCount;
    SIZE_T PeakWorkingSetSize;
    SIZE_T WorkingSetSize;
    SIZE_T QuotaPeakPagedPoolUsage;
    SIZE_T QuotaPagedPoolUsage;
    SIZE_T QuotaPeakNonPagedPoolUsage;
    SIZE_T QuotaNonPagedPoolUsage;
    SIZE_T PagefileUsage;
    SIZE_T PeakPagefileUsage;
    SIZE_T PrivateUsage;
    SIZE_T PrivateWorkingSetSize;
    ULONG64 SharedCommitUsage;
} PROCESS_MEMORY_COUNTERS_EX2, *PPROCESS_MEMORY_COUNTERS_EX2;

typedef struct _PERFORMANCE_INFORMATION
{
    DWORD cb;
    SIZE_T CommitTotal;
    SIZE_T CommitLimit;
    SIZE_T CommitPeak;
    SIZE_T PhysicalTotal;
    SIZE_T PhysicalAvailable;
    SIZE_T SystemCache;
    SIZE_T KernelTotal;
    SIZE_T KernelPaged;
    SIZE_T KernelNonpaged;
    SIZE_T PageSize; /* bytes */
    DWORD HandleCount;
    DWORD ProcessCount;
    DWORD ThreadCount;
} PERFORMANCE_INFORMATION, *PPERFORMANCE_INFORMATION, PERFORMACE_INFORMATION, *PPERFORMACE_INFORMATION;

typedef struct _ENUM_PAGE_FILE_INFORMATION
{
    DWORD cb;
    DWORD Reserved;
    SIZE_T TotalSize;
    SIZE_T TotalInUse;
    SIZE_T PeakUsage;
} ENUM_PAGE_FILE_INFORMATION, *PENUM_PAGE_FILE_INFORMATION;

typedef BOOL(CALLBACK *PENUM_PAGE_FILE_CALLBACKW)(LPVOID pContext, PENUM_PAGE_FILE_INFORMATION pPageFileInfo,
                                                  LPCWSTR lpFilename);
typedef BOOL(CALLBACK *PENUM_PAGE_FILE_CALLBACKA)(LPVOID pContext, PENUM_PAGE_FILE_INFORMATION pPageFileInfo,
                                                  LPCSTR lpFilename);

WINBASEAPI BOOL WINAPI K32GetProcessMemoryInfo(_In_ HANDLE Process,
                                               _Out_writes_bytes_(cb) PPROCESS_MEMORY_COUNTERS ppsmemCounters,
                                               _In_ DWORD cb);
WINBASEAPI BOOL WINAPI K32GetPerformanceInfo(_Out_writes_bytes_(cb)
                                                 PPERFORMANCE_INFORMATION pPerformanceInformation,
                                             _In_ DWORD cb);
WINBASEAPI BOOL WINAPI K32EnumPageFilesW(_In_ PENUM_PAGE_FILE_CALLBACKW pCallBackRoutine,
                                         _In_ LPVOID pContext);
WINBASEAPI BOOL WINAPI K32EnumPageFilesA(_In_ PENUM_PAGE_FILE_CALLBACKA pCallBackRoutine,
                                         _In_ LPVOID pContext);

/* ---- the old names ---- */

#define EmptyWorkingSet             K32EmptyWorkingSet
#define QueryWorkingSet             K32QueryWorkingSet
#define QueryWorkingSetEx           K32QueryWorkingSetEx
#define InitializeProcessForWsWatch K32InitializeProcessForWsWatch
#define GetWsChanges                K32GetWsChanges
#define GetWsChangesEx              K32GetWsChangesEx
#define GetProcessMemoryInfo        K32GetProcessMemoryInfo
#define GetPerformanceInfo          K32GetPerformanceInfo
#define EnumPageFilesW              K32EnumPageFilesW
#define EnumPageFilesA              K32EnumPageFilesA

EXTERN_C_END

#endif
