/* SPDX-License-Identifier: MIT */
/* Memory of the machine and of the process: what must hold between the numbers, whatever they are. */
#include "show.h"

#include <psapi.h>

static void System(void)
{
    SYSTEM_INFO Info;
    SYSTEM_INFO Native;

    GetSystemInfo(&Info);
    GetNativeSystemInfo(&Native);
    printf("page %u, granularity %u, architecture %u, type %u\n", (unsigned)Info.dwPageSize,
           (unsigned)Info.dwAllocationGranularity, Info.wProcessorArchitecture,
           (unsigned)Info.dwProcessorType);
    printf("lowest address begins a 64 KiB unit above the first: %d\n",
           Info.lpMinimumApplicationAddress != NULL &&
               (ULONG_PTR)Info.lpMinimumApplicationAddress % GRANULARITY == 0);
    printf("highest address is above it: %d\n",
           Info.lpMaximumApplicationAddress > Info.lpMinimumApplicationAddress);
    printf("highest address ends a 64 KiB unit: %d\n",
           ((ULONG_PTR)Info.lpMaximumApplicationAddress + 1) % GRANULARITY == 0);
    printf("processors: %d, all in the mask: %d\n", Info.dwNumberOfProcessors >= 1,
           Info.dwNumberOfProcessors == (DWORD)__builtin_popcountll(Info.dwActiveProcessorMask));
    printf("native is the same: %d\n", memcmp(&Info, &Native, sizeof(Info)) == 0);
}

static void Status(void)
{
    MEMORYSTATUSEX Status = { .dwLength = sizeof(Status) };
    MEMORYSTATUS Old;

    Show("GlobalMemoryStatusEx", GlobalMemoryStatusEx(&Status));
    printf("length %u\n", (unsigned)Status.dwLength);
    printf("load is a percentage: %d\n", Status.dwMemoryLoad <= 100);
    printf("some memory: %d, some available: %d, not more than there is: %d\n", Status.ullTotalPhys > 0,
           Status.ullAvailPhys > 0, Status.ullAvailPhys <= Status.ullTotalPhys);
    printf("commit limit: %d, some left: %d, not more than the limit: %d\n", Status.ullTotalPageFile > 0,
           Status.ullAvailPageFile > 0, Status.ullAvailPageFile <= Status.ullTotalPageFile);
    printf("addresses: %d, some left: %d, not more than there are: %d, extended: %u\n",
           Status.ullTotalVirtual > 0, Status.ullAvailVirtual > 0,
           Status.ullAvailVirtual <= Status.ullTotalVirtual, (unsigned)Status.ullAvailExtendedVirtual);
    GlobalMemoryStatus(&Old);
    printf("GlobalMemoryStatus: length %u, the same memory: %d\n", (unsigned)Old.dwLength,
           Old.dwTotalPhys == Status.ullTotalPhys);
}

static void Performance(void)
{
    PERFORMANCE_INFORMATION Information = { .cb = 0 };
    MEMORYSTATUSEX Status = { .dwLength = sizeof(Status) };

    Show("GetPerformanceInfo", GetPerformanceInfo(&Information, sizeof(Information)));
    GlobalMemoryStatusEx(&Status);
    printf("size %u, page size %u\n", (unsigned)Information.cb, (unsigned)Information.PageSize);
    printf("the same memory: %d\n",
           (unsigned long long)Information.PhysicalTotal * Information.PageSize == Status.ullTotalPhys);
    printf("total within limit: %d, peak within limit: %d\n",
           Information.CommitTotal <= Information.CommitLimit,
           Information.CommitPeak <= Information.CommitLimit);
    printf("available within total: %d\n", Information.PhysicalAvailable <= Information.PhysicalTotal);
    printf("kernel is paged and nonpaged: %d\n",
           Information.KernelTotal == Information.KernelPaged + Information.KernelNonpaged);
    printf("processes: %d, threads: %d\n", Information.ProcessCount >= 1,
           Information.ThreadCount >= Information.ProcessCount);
}

static void Process(void)
{
    PROCESS_MEMORY_COUNTERS_EX Before = { .cb = 0 }, After = { .cb = 0 };
    PROCESS_MEMORY_COUNTERS Short;
    char *Base;

    Show("GetProcessMemoryInfo",
         GetProcessMemoryInfo(GetCurrentProcess(), (PROCESS_MEMORY_COUNTERS *)&Before, sizeof(Before)));
    Show("the short one", GetProcessMemoryInfo(GetCurrentProcess(), &Short, sizeof(Short)));
    printf("the same peak: %d\n", Short.PeakWorkingSetSize >= Before.PeakWorkingSetSize);
    Base = VirtualAlloc(NULL, 8u << 20, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    memset(Base, 1, 8u << 20);
    GetProcessMemoryInfo(GetCurrentProcess(), (PROCESS_MEMORY_COUNTERS *)&After, sizeof(After));
    printf("8 MiB more in the working set: %d\n", After.WorkingSetSize >= Before.WorkingSetSize + (7u << 20));
    printf("peak at least that: %d\n", After.PeakWorkingSetSize >= After.WorkingSetSize);
    VirtualFree(Base, 0, MEM_RELEASE);
    GetProcessMemoryInfo(GetCurrentProcess(), (PROCESS_MEMORY_COUNTERS *)&After, sizeof(After));
    printf("gone again: %d\n", After.WorkingSetSize < Before.WorkingSetSize + (7u << 20));
    printf("the peak stays: %d\n", After.PeakWorkingSetSize >= Before.WorkingSetSize + (7u << 20));
}

static void Installed(void)
{
    ULONGLONG Kilobytes = 0;
    MEMORYSTATUSEX Status = { .dwLength = sizeof(Status) };

    SetLastError(0);
    Show("installed memory without a place for it", GetPhysicallyInstalledSystemMemory(NULL));
    Show("installed memory", GetPhysicallyInstalledSystemMemory(&Kilobytes));
    GlobalMemoryStatusEx(&Status);
    printf("at least what the system has: %d\n", Kilobytes * 1024 >= Status.ullTotalPhys);
}

int main(void)
{
    System();
    Status();
    Performance();
    Process();
    Installed();
    return 0;
}
