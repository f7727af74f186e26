/* SPDX-License-Identifier: MIT */
/*
 * The machine: its processors, its memory and how much of it is free, the system file cache, memory resource
 * notifications. Source: the pages of the functions on Microsoft Learn (sysinfoapi.h, memoryapi.h,
 * winbase.h).
 */
#include "api.h"

#include <cpuid.h>

/* ---- What it is ---------------------------------------------------------------------------------------- */

/* Family, and model and stepping, as the page of SYSTEM_INFO has them. */
static VOID WinapiDescribeProcessor(LPSYSTEM_INFO Info)
{
    unsigned Signature = 0;
    unsigned Rest[3];

    Info->wProcessorArchitecture = PROCESSOR_ARCHITECTURE_AMD64;
    Info->dwProcessorType = PROCESSOR_AMD_X8664;
    if (__get_cpuid(1, &Signature, &Rest[0], &Rest[1], &Rest[2]) != 0)
    {
        unsigned Family = Signature >> 8 & 0xf;
        unsigned Model = (Signature >> 4 & 0xf) | (Signature >> 12 & 0xf0);

        Family += Family == 0xf ? Signature >> 20 & 0xff : 0;
        Info->wProcessorLevel = (WORD)Family;
        Info->wProcessorRevision = (WORD)(Model << 8 | (Signature & 0xf));
    }
}

VOID WINAPI GetSystemInfo(LPSYSTEM_INFO lpSystemInfo)
{
    SYSTEM_BASIC_INFORMATION Basic;
    SYSTEM_INFO Info = { .wReserved = 0 };

    ZeroMemory(&Basic, sizeof(Basic));
    if (!NT_SUCCESS(NtQuerySystemInformation(SystemBasicInformation, &Basic, sizeof(Basic), NULL)))
    {
        /* This function cannot fail; the service does not either, for a buffer of this size. */
        ZeroMemory(&Basic, sizeof(Basic));
    }
    WinapiDescribeProcessor(&Info);
    Info.dwPageSize = Basic.PageSize;
    Info.lpMinimumApplicationAddress = (LPVOID)Basic.MinimumUserModeAddress;
    Info.lpMaximumApplicationAddress = (LPVOID)Basic.MaximumUserModeAddress;
    Info.dwActiveProcessorMask = Basic.ActiveProcessorsAffinityMask;
    Info.dwNumberOfProcessors = (DWORD)Basic.NumberOfProcessors;
    Info.dwAllocationGranularity = Basic.AllocationGranularity;
    *lpSystemInfo = Info;
}

VOID WINAPI GetNativeSystemInfo(LPSYSTEM_INFO lpSystemInfo)
{
    GetSystemInfo(lpSystemInfo);
}

/* That of x64. */
SIZE_T WINAPI GetLargePageMinimum(VOID)
{
    return (SIZE_T)2 << 20;
}

/* ---- How much memory it has ---------------------------------------------------------------------------- */

BOOL WINAPI GlobalMemoryStatusEx(LPMEMORYSTATUSEX lpBuffer)
{
    SYSTEM_BASIC_INFORMATION Basic;
    SYSTEM_PERFORMANCE_INFORMATION Performance;
    VM_COUNTERS Vm;
    MEMORYSTATUSEX Status = { .dwLength = sizeof(Status) };
    NTSTATUS Result;

    if (lpBuffer->dwLength != sizeof(*lpBuffer))
    {
        return WinapiFailWith(ERROR_INVALID_PARAMETER);
    }
    Result = NtQuerySystemInformation(SystemBasicInformation, &Basic, sizeof(Basic), NULL);
    if (NT_SUCCESS(Result))
    {
        Result =
            NtQuerySystemInformation(SystemPerformanceInformation, &Performance, sizeof(Performance), NULL);
    }
    if (NT_SUCCESS(Result))
    {
        Result = NtQueryInformationProcess(NtCurrentProcess(), ProcessVmCounters, &Vm, sizeof(Vm), NULL);
    }
    if (!NT_SUCCESS(Result))
    {
        return WinapiFail(Result);
    }
    Status.ullTotalPhys = (DWORDLONG)Basic.NumberOfPhysicalPages * Basic.PageSize;
    Status.ullAvailPhys = (DWORDLONG)Performance.AvailablePages * Basic.PageSize;
    Status.ullTotalPageFile = (DWORDLONG)Performance.CommitLimit * Basic.PageSize;
    Status.ullAvailPageFile =
        (DWORDLONG)(Performance.CommitLimit - min(Performance.CommittedPages, Performance.CommitLimit)) *
        Basic.PageSize;
    Status.ullTotalVirtual = Basic.MaximumUserModeAddress - Basic.MinimumUserModeAddress + 1;
    Status.ullAvailVirtual = Status.ullTotalVirtual - min(Vm.VirtualSize, Status.ullTotalVirtual);
    Status.dwMemoryLoad =
        Status.ullTotalPhys != 0
            ? (DWORD)((Status.ullTotalPhys - Status.ullAvailPhys) * 100 / Status.ullTotalPhys)
            : 0;
    *lpBuffer = Status;
    return TRUE;
}

VOID WINAPI GlobalMemoryStatus(LPMEMORYSTATUS lpBuffer)
{
    MEMORYSTATUSEX Status = { .dwLength = sizeof(Status) };

    /* Without a result of its own; sizes that are not known are 0. */
    if (!GlobalMemoryStatusEx(&Status))
    {
        ZeroMemory(&Status, sizeof(Status));
    }
    *lpBuffer = (MEMORYSTATUS){ .dwLength = sizeof(*lpBuffer),
                                .dwMemoryLoad = Status.dwMemoryLoad,
                                .dwTotalPhys = Status.ullTotalPhys,
                                .dwAvailPhys = Status.ullAvailPhys,
                                .dwTotalPageFile = Status.ullTotalPageFile,
                                .dwAvailPageFile = Status.ullAvailPageFile,
                                .dwTotalVirtual = Status.ullTotalVirtual,
                                .dwAvailVirtual = Status.ullAvailVirtual };
}

/* All RAM of a machine is memory of its operating system: firmware takes nothing away. */
BOOL WINAPI GetPhysicallyInstalledSystemMemory(PULONGLONG TotalMemoryInKilobytes)
{
    SYSTEM_BASIC_INFORMATION Basic;
    NTSTATUS Status;

    if (TotalMemoryInKilobytes == NULL)
    {
        return WinapiFailWith(ERROR_INVALID_PARAMETER);
    }
    Status = NtQuerySystemInformation(SystemBasicInformation, &Basic, sizeof(Basic), NULL);
    if (!NT_SUCCESS(Status))
    {
        return WinapiFail(Status);
    }
    *TotalMemoryInKilobytes = (ULONGLONG)Basic.NumberOfPhysicalPages * (Basic.PageSize / 1024);
    return TRUE;
}

/* ---- The system file cache ----------------------------------------------------------------------------- */

C_ASSERT(FILE_CACHE_MAX_HARD_ENABLE == MM_WORKING_SET_MAX_HARD_ENABLE);
C_ASSERT(FILE_CACHE_MAX_HARD_DISABLE == MM_WORKING_SET_MAX_HARD_DISABLE);
C_ASSERT(FILE_CACHE_MIN_HARD_ENABLE == MM_WORKING_SET_MIN_HARD_ENABLE);
C_ASSERT(FILE_CACHE_MIN_HARD_DISABLE == MM_WORKING_SET_MIN_HARD_DISABLE);

BOOL WINAPI GetSystemFileCacheSize(PSIZE_T lpMinimumFileCacheSize, PSIZE_T lpMaximumFileCacheSize,
                                   PDWORD lpFlags)
{
    SYSTEM_FILECACHE_INFORMATION Cache;
    NTSTATUS Status = NtQuerySystemInformation(SystemFileCacheInformationEx, &Cache, sizeof(Cache), NULL);

    if (!NT_SUCCESS(Status))
    {
        return WinapiFail(Status);
    }
    *lpMinimumFileCacheSize = Cache.MinimumWorkingSet * PAGE_SIZE;
    *lpMaximumFileCacheSize = Cache.MaximumWorkingSet * PAGE_SIZE;
    *lpFlags = Cache.Flags;
    return TRUE;
}

BOOL WINAPI SetSystemFileCacheSize(SIZE_T MinimumFileCacheSize, SIZE_T MaximumFileCacheSize, DWORD Flags)
{
    SYSTEM_FILECACHE_INFORMATION Cache = { .MinimumWorkingSet = MinimumFileCacheSize,
                                           .MaximumWorkingSet = MaximumFileCacheSize,
                                           .Flags = Flags };

    return WinapiFinish(NtSetSystemInformation(SystemFileCacheInformationEx, &Cache, sizeof(Cache)));
}

/* ---- Memory resource notifications: events of the memory manager --------------------------------------- */

HANDLE WINAPI CreateMemoryResourceNotification(MEMORY_RESOURCE_NOTIFICATION_TYPE NotificationType)
{
    static WCHAR Low[] = u"\\KernelObjects\\LowMemoryCondition";
    static WCHAR High[] = u"\\KernelObjects\\HighMemoryCondition";
    UNICODE_STRING Name = { .Length = sizeof(Low) - sizeof(WCHAR),
                            .MaximumLength = sizeof(Low),
                            .Buffer = Low };
    OBJECT_ATTRIBUTES Attributes;
    HANDLE Event = NULL;
    NTSTATUS Status;

    if (NotificationType != LowMemoryResourceNotification &&
        NotificationType != HighMemoryResourceNotification)
    {
        WinapiFailWith(ERROR_INVALID_PARAMETER);
        return NULL;
    }
    if (NotificationType == HighMemoryResourceNotification)
    {
        Name.Length = sizeof(High) - sizeof(WCHAR);
        Name.MaximumLength = sizeof(High);
        Name.Buffer = High;
    }
    InitializeObjectAttributes(&Attributes, &Name, 0, NULL, NULL);
    Status = NtOpenEvent(&Event, SYNCHRONIZE | EVENT_QUERY_STATE, &Attributes);
    if (!NT_SUCCESS(Status))
    {
        WinapiFail(Status);
        return NULL;
    }
    return Event;
}

BOOL WINAPI QueryMemoryResourceNotification(HANDLE ResourceNotificationHandle, PBOOL ResourceState)
{
    EVENT_BASIC_INFORMATION Information;
    NTSTATUS Status;

    if (ResourceState == NULL)
    {
        return WinapiFailWith(ERROR_INVALID_PARAMETER);
    }
    Status = NtQueryEvent(ResourceNotificationHandle, EventBasicInformation, &Information,
                          sizeof(Information), NULL);
    if (!NT_SUCCESS(Status))
    {
        return WinapiFail(Status);
    }
    *ResourceState = Information.EventState != 0;
    return TRUE;
}
