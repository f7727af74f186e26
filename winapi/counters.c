/* SPDX-License-Identifier: MIT */
/*
 * Memory counters of a process and of the machine, and the list of paging files. Source: the pages of the
 * functions on Microsoft Learn (psapi.h, sysinfoapi.h).
 */
#include "api.h"

#include "nt/rtl.h"
#include "nt/winpsapi.h"

/* ---- A process ----------------------------------------------------------------------------------------- */

BOOL WINAPI K32GetProcessMemoryInfo(HANDLE Process, PPROCESS_MEMORY_COUNTERS ppsmemCounters, DWORD cb)
{
    PROCESS_MEMORY_COUNTERS_EX2 Counters;
    VM_COUNTERS_EX2 Vm;
    NTSTATUS Status;
    DWORD Size = cb >= sizeof(PROCESS_MEMORY_COUNTERS_EX2)  ? sizeof(PROCESS_MEMORY_COUNTERS_EX2)
                 : cb >= sizeof(PROCESS_MEMORY_COUNTERS_EX) ? sizeof(PROCESS_MEMORY_COUNTERS_EX)
                                                            : sizeof(PROCESS_MEMORY_COUNTERS);

    if (cb < sizeof(PROCESS_MEMORY_COUNTERS))
    {
        return WinapiFailWith(ERROR_INSUFFICIENT_BUFFER);
    }
    Status = NtQueryInformationProcess(Process, ProcessVmCounters, &Vm, sizeof(Vm), NULL);
    if (!NT_SUCCESS(Status))
    {
        return WinapiFail(Status);
    }
    Counters =
        (PROCESS_MEMORY_COUNTERS_EX2){ .cb = Size,
                                       .PageFaultCount = Vm.CountersEx.PageFaultCount,
                                       .PeakWorkingSetSize = Vm.CountersEx.PeakWorkingSetSize,
                                       .WorkingSetSize = Vm.CountersEx.WorkingSetSize,
                                       .QuotaPeakPagedPoolUsage = Vm.CountersEx.QuotaPeakPagedPoolUsage,
                                       .QuotaPagedPoolUsage = Vm.CountersEx.QuotaPagedPoolUsage,
                                       .QuotaPeakNonPagedPoolUsage = Vm.CountersEx.QuotaPeakNonPagedPoolUsage,
                                       .QuotaNonPagedPoolUsage = Vm.CountersEx.QuotaNonPagedPoolUsage,
                                       .PagefileUsage = Vm.CountersEx.PagefileUsage,
                                       .PeakPagefileUsage = Vm.CountersEx.PeakPagefileUsage,
                                       .PrivateUsage = Vm.CountersEx.PrivateUsage,
                                       .PrivateWorkingSetSize = Vm.PrivateWorkingSetSize,
                                       .SharedCommitUsage = Vm.SharedCommitUsage };
    /* The three structures differ in length alone. */
    CopyMemory(ppsmemCounters, &Counters, Size);
    return TRUE;
}

/* ---- Answers of unknown length ------------------------------------------------------------------------- */

/* Give *Buffer back with NtFreeVirtualMemory. */
static NTSTATUS WinapiQueryList(SYSTEM_INFORMATION_CLASS Class, PVOID *Buffer)
{
    const ULONG Largest = 1u << 30;
    NTSTATUS Status = STATUS_INFO_LENGTH_MISMATCH;

    for (ULONG Length = 1u << 16; Length <= Largest && Status == STATUS_INFO_LENGTH_MISMATCH; Length *= 4)
    {
        SIZE_T Size = Length;

        *Buffer = NULL;
        Status = NtAllocateVirtualMemory(NtCurrentProcess(), Buffer, 0, &Size, MEM_RESERVE | MEM_COMMIT,
                                         PAGE_READWRITE);
        if (!NT_SUCCESS(Status))
        {
            return Status;
        }
        Status = NtQuerySystemInformation(Class, *Buffer, Length, NULL);
        if (!NT_SUCCESS(Status))
        {
            Size = 0;
            NtFreeVirtualMemory(NtCurrentProcess(), Buffer, &Size, MEM_RELEASE);
        }
    }
    return Status;
}

static VOID WinapiFreeList(PVOID Buffer)
{
    SIZE_T Size = 0;

    NtFreeVirtualMemory(NtCurrentProcess(), &Buffer, &Size, MEM_RELEASE);
}

/* ---- The machine --------------------------------------------------------------------------------------- */

static NTSTATUS WinapiCountProcesses(PPERFORMANCE_INFORMATION Information)
{
    PVOID Buffer;
    PUCHAR Next;
    NTSTATUS Status = WinapiQueryList(SystemProcessInformation, &Buffer);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Next = Buffer;
    for (;;)
    {
        PSYSTEM_PROCESS_INFORMATION Process = (PSYSTEM_PROCESS_INFORMATION)(PVOID)Next;

        Information->ProcessCount++;
        Information->HandleCount += Process->HandleCount;
        Information->ThreadCount += Process->NumberOfThreads;
        if (Process->NextEntryOffset == 0)
        {
            break;
        }
        Next += Process->NextEntryOffset;
    }
    WinapiFreeList(Buffer);
    return STATUS_SUCCESS;
}

static SIZE_T WinapiStandbyPages(const SYSTEM_MEMORY_LIST_INFORMATION *Lists)
{
    SIZE_T Pages = 0;

    for (ULONG Priority = 0; Priority < 8; Priority++)
    {
        Pages += Lists->PageCountByPriority[Priority];
    }
    return Pages;
}

BOOL WINAPI K32GetPerformanceInfo(PPERFORMANCE_INFORMATION pPerformanceInformation, DWORD cb)
{
    PERFORMANCE_INFORMATION Information = { .cb = sizeof(Information) };
    SYSTEM_PERFORMANCE_INFORMATION Performance;
    SYSTEM_MEMORY_LIST_INFORMATION Lists;
    SYSTEM_BASIC_INFORMATION Basic;
    NTSTATUS Status;

    if (cb < sizeof(Information))
    {
        return WinapiFail(STATUS_INFO_LENGTH_MISMATCH);
    }
    Status = NtQuerySystemInformation(SystemBasicInformation, &Basic, sizeof(Basic), NULL);
    if (NT_SUCCESS(Status))
    {
        Status =
            NtQuerySystemInformation(SystemPerformanceInformation, &Performance, sizeof(Performance), NULL);
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtQuerySystemInformation(SystemMemoryListInformation, &Lists, sizeof(Lists), NULL);
    }
    if (NT_SUCCESS(Status))
    {
        Status = WinapiCountProcesses(&Information);
    }
    if (!NT_SUCCESS(Status))
    {
        return WinapiFail(Status);
    }
    Information.CommitTotal = Performance.CommittedPages;
    Information.CommitLimit = Performance.CommitLimit;
    Information.CommitPeak = Performance.PeakCommitment;
    Information.PhysicalTotal = Basic.NumberOfPhysicalPages;
    Information.PhysicalAvailable = Performance.AvailablePages;
    /* Documented: the standby list and the system working set. */
    Information.SystemCache = WinapiStandbyPages(&Lists) + Performance.ResidentSystemCachePage;
    Information.KernelPaged = Performance.PagedPoolPages;
    Information.KernelNonpaged = Performance.NonPagedPoolPages;
    Information.KernelTotal = Information.KernelPaged + Information.KernelNonpaged;
    Information.PageSize = Basic.PageSize;
    *pPerformanceInformation = Information;
    return TRUE;
}

/* ---- Paging files -------------------------------------------------------------------------------------- */

typedef struct _WINAPI_PAGE_FILE_CALL
{
    PENUM_PAGE_FILE_CALLBACKW Wide;
    PENUM_PAGE_FILE_CALLBACKA Narrow;
    LPVOID Context;
} WINAPI_PAGE_FILE_CALL;

/* Longer names are cut. */
#define WINAPI_NAME_CHARACTERS 512

static BOOL WinapiCallForPageFile(const WINAPI_PAGE_FILE_CALL *Call, const SYSTEM_PAGEFILE_INFORMATION *File)
{
    ENUM_PAGE_FILE_INFORMATION Information = { .cb = sizeof(Information),
                                               .TotalSize = File->TotalSize,
                                               .TotalInUse = File->TotalInUse,
                                               .PeakUsage = File->PeakUsage };
    ULONG Characters = File->PageFileName.Length / (ULONG)sizeof(WCHAR);

    Characters = min(Characters, WINAPI_NAME_CHARACTERS - 1u);
    if (Call->Wide != NULL)
    {
        WCHAR Name[WINAPI_NAME_CHARACTERS];

        CopyMemory(Name, File->PageFileName.Buffer, Characters * sizeof(WCHAR));
        Name[Characters] = 0;
        return Call->Wide(Call->Context, &Information, Name);
    }
    CHAR Name[WINAPI_NAME_CHARACTERS * 3];
    ULONG Bytes = 0;

    RtlUnicodeToUTF8N(Name, sizeof(Name) - 1, &Bytes, File->PageFileName.Buffer, Characters * sizeof(WCHAR));
    Name[Bytes] = 0;
    return Call->Narrow(Call->Context, &Information, Name);
}

static BOOL WinapiEnumeratePageFiles(const WINAPI_PAGE_FILE_CALL *Call)
{
    PVOID Buffer;
    PUCHAR Next;
    NTSTATUS Status = WinapiQueryList(SystemPageFileInformation, &Buffer);

    if (!NT_SUCCESS(Status))
    {
        return WinapiFail(Status);
    }
    Next = Buffer;
    for (;;)
    {
        const SYSTEM_PAGEFILE_INFORMATION *File = (PSYSTEM_PAGEFILE_INFORMATION)(PVOID)Next;

        /* The buffer was zero: a machine without a paging file answers with nothing. */
        if (File->TotalSize == 0 || !WinapiCallForPageFile(Call, File) || File->NextEntryOffset == 0)
        {
            break;
        }
        Next += File->NextEntryOffset;
    }
    WinapiFreeList(Buffer);
    return TRUE;
}

BOOL WINAPI K32EnumPageFilesW(PENUM_PAGE_FILE_CALLBACKW pCallBackRoutine, LPVOID pContext)
{
    const WINAPI_PAGE_FILE_CALL Call = { .Wide = pCallBackRoutine, .Context = pContext };

    return pCallBackRoutine != NULL ? WinapiEnumeratePageFiles(&Call)
                                    : WinapiFailWith(ERROR_INVALID_PARAMETER);
}

BOOL WINAPI K32EnumPageFilesA(PENUM_PAGE_FILE_CALLBACKA pCallBackRoutine, LPVOID pContext)
{
    const WINAPI_PAGE_FILE_CALL Call = { .Narrow = pCallBackRoutine, .Context = pContext };

    return pCallBackRoutine != NULL ? WinapiEnumeratePageFiles(&Call)
                                    : WinapiFailWith(ERROR_INVALID_PARAMETER);
}
