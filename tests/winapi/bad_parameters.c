/* SPDX-License-Identifier: MIT */
/* A catalogue of bad parameters and the error codes they bring. */
#include "show.h"

#include <psapi.h>

#define NO_HANDLE ((HANDLE)(ULONG_PTR)0xbadc)

static void Allocate(void)
{
    Show("no size", VirtualAlloc(NULL, 0, MEM_RESERVE, PAGE_READWRITE) != NULL);
    Show("no type", VirtualAlloc(NULL, PAGE, 0, PAGE_READWRITE) != NULL);
    Show("unknown type", VirtualAlloc(NULL, PAGE, MEM_RESERVE | 0x8, PAGE_READWRITE) != NULL);
    Show("no protection", VirtualAlloc(NULL, PAGE, MEM_RESERVE, 0) != NULL);
    Show("unknown protection", VirtualAlloc(NULL, PAGE, MEM_RESERVE, 0x1000) != NULL);
    Show("copy on write", VirtualAlloc(NULL, PAGE, MEM_COMMIT, PAGE_WRITECOPY) != NULL);
    Show("everything", VirtualAlloc(NULL, (SIZE_T)-1, MEM_RESERVE, PAGE_READWRITE) != NULL);
    Show("more than there is of addresses",
         VirtualAlloc(NULL, (SIZE_T)1 << 47, MEM_RESERVE, PAGE_READWRITE) != NULL);
    Show("a system address",
         VirtualAlloc((void *)(ULONG_PTR)0xffff800000000000ull, PAGE, MEM_RESERVE, PAGE_READWRITE) != NULL);
    Show("only top down", VirtualAlloc(NULL, PAGE, MEM_TOP_DOWN, PAGE_READWRITE) != NULL);
    Show("handle", VirtualAllocEx(NO_HANDLE, NULL, PAGE, MEM_RESERVE, PAGE_READWRITE) != NULL);
}

static void Free(void)
{
    Show("free with an unknown type", VirtualFree((void *)(ULONG_PTR)0x10000, 0, 0x100));
    Show("free through a handle", VirtualFreeEx(NO_HANDLE, (void *)(ULONG_PTR)0x10000, 0, MEM_RELEASE));
}

static void Query(void)
{
    MEMORY_BASIC_INFORMATION Information;

    printf("whole buffer: %u\n", (unsigned)VirtualQuery(NULL, &Information, sizeof(Information)));
    Show("short buffer", VirtualQuery(NULL, &Information, sizeof(Information) - 1) != 0);
    Show("a system address",
         VirtualQuery((void *)(ULONG_PTR)0xffff800000000000ull, &Information, sizeof(Information)) != 0);
    Show("handle", VirtualQueryEx(NO_HANDLE, NULL, &Information, sizeof(Information)) != 0);
    Show("address 0", VirtualQuery(NULL, &Information, sizeof(Information)) != 0);
    printf("address 0 is free: %d, from there: %d, type %u\n", Information.State == MEM_FREE,
           Information.BaseAddress == NULL, (unsigned)Information.Type);
}

static void Handles(void)
{
    HANDLE Copy;

    Show("close what is no handle", CloseHandle(NO_HANDLE));
    Show("duplicate it", DuplicateHandle(GetCurrentProcess(), NO_HANDLE, GetCurrentProcess(), &Copy, 0, FALSE,
                                         DUPLICATE_SAME_ACCESS));
    Show("wait for it", WaitForSingleObject(NO_HANDLE, 0) != WAIT_FAILED);
    Show("wait for nothing", WaitForMultipleObjects(0, &Copy, FALSE, 0) != WAIT_FAILED);
    Show("open a process that does not exist", OpenProcess(PROCESS_VM_READ, FALSE, 0x7ffffffe) != NULL);
}

static void Counters(void)
{
    MEMORYSTATUSEX Status = { .dwLength = sizeof(Status) - 8 };
    PROCESS_MEMORY_COUNTERS Counters;
    PERFORMANCE_INFORMATION Performance;

    Show("memory status of a wrong length", GlobalMemoryStatusEx(&Status));
    Show("counters of no process", GetProcessMemoryInfo(NO_HANDLE, &Counters, sizeof(Counters)));
    Show("counters in a short buffer",
         GetProcessMemoryInfo(GetCurrentProcess(), &Counters, sizeof(Counters) - 1));
    Show("performance in a short buffer", GetPerformanceInfo(&Performance, sizeof(Performance) - 1));
    Show("a notification of an unknown type",
         CreateMemoryResourceNotification((MEMORY_RESOURCE_NOTIFICATION_TYPE)7) != NULL);
}

int main(void)
{
    SetLastError(0);
    Allocate();
    Free();
    Query();
    Handles();
    Counters();
    return 0;
}
