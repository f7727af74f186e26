/* SPDX-License-Identifier: MIT */
/*
 * What is done to ranges of committed pages: lock, write watch, prefetch, offer, reclaim, discard.
 *
 * Offering stands on MEM_RESET, as the page of OfferVirtualMemory compares the two: the pages leave the
 * working set, are not written to a paging file and are the first to go; MEM_RESET_UNDO tells at reclaiming
 * whether something was lost. Windows also refuses accesses to offered pages until they are reclaimed; here
 * such an access (a mistake of the program) succeeds.
 */
#include "api.h"

/* ---- Lock ---------------------------------------------------------------------------------------------- */

BOOL WINAPI VirtualLock(LPVOID lpAddress, SIZE_T dwSize)
{
    PVOID Base = lpAddress;
    SIZE_T Size = dwSize;

    return WinapiFinish(NtLockVirtualMemory(NtCurrentProcess(), &Base, &Size, MAP_PROCESS));
}

BOOL WINAPI VirtualUnlockEx(HANDLE Process, LPVOID Address, SIZE_T Size)
{
    PVOID Base = Address;
    SIZE_T Rounded = Size;

    return WinapiFinish(
        NtUnlockVirtualMemory(Process != NULL ? Process : NtCurrentProcess(), &Base, &Rounded, MAP_PROCESS));
}

BOOL WINAPI VirtualUnlock(LPVOID lpAddress, SIZE_T dwSize)
{
    return VirtualUnlockEx(NtCurrentProcess(), lpAddress, dwSize);
}

/* ---- Write watch --------------------------------------------------------------------------------------- */

/* These two return 0 for success. */
#define WINAPI_WATCH_FAILED ((UINT)-1)

UINT WINAPI GetWriteWatch(DWORD dwFlags, PVOID lpBaseAddress, SIZE_T dwRegionSize, PVOID *lpAddresses,
                          ULONG_PTR *lpdwCount, LPDWORD lpdwGranularity)
{
    NTSTATUS Status = NtGetWriteWatch(NtCurrentProcess(), dwFlags, lpBaseAddress, dwRegionSize, lpAddresses,
                                      lpdwCount, lpdwGranularity);

    return WinapiFinish(Status) ? 0 : WINAPI_WATCH_FAILED;
}

UINT WINAPI ResetWriteWatch(LPVOID lpBaseAddress, SIZE_T dwRegionSize)
{
    NTSTATUS Status = NtResetWriteWatch(NtCurrentProcess(), lpBaseAddress, dwRegionSize);

    return WinapiFinish(Status) ? 0 : WINAPI_WATCH_FAILED;
}

/* ---- Prefetch ------------------------------------------------------------------------------------------ */

C_ASSERT(sizeof(WIN32_MEMORY_RANGE_ENTRY) == sizeof(MEMORY_RANGE_ENTRY));
C_ASSERT(offsetof(WIN32_MEMORY_RANGE_ENTRY, NumberOfBytes) == offsetof(MEMORY_RANGE_ENTRY, NumberOfBytes));

BOOL WINAPI PrefetchVirtualMemory(HANDLE hProcess, ULONG_PTR NumberOfEntries,
                                  PWIN32_MEMORY_RANGE_ENTRY VirtualAddresses, ULONG Flags)
{
    ULONG Information = Flags;

    return WinapiFinish(NtSetInformationVirtualMemory(hProcess, VmPrefetchInformation, NumberOfEntries,
                                                      (PMEMORY_RANGE_ENTRY)VirtualAddresses, &Information,
                                                      sizeof(Information)));
}

/* ---- Offer, reclaim, discard: these return an error code ----------------------------------------------- */

static NTSTATUS WinapiReset(PVOID Address, SIZE_T Bytes, ULONG Type)
{
    PVOID Base = Address;
    SIZE_T Size = Bytes;

    return NtAllocateVirtualMemory(NtCurrentProcess(), &Base, 0, &Size, Type, PAGE_READWRITE);
}

/* Whole pages. */
static NTSTATUS WinapiCheckPages(const VOID *Address, SIZE_T Size)
{
    return ((ULONG_PTR)Address & (PAGE_SIZE - 1)) == 0 && Size != 0 && (Size & (PAGE_SIZE - 1)) == 0
               ? STATUS_SUCCESS
               : STATUS_INVALID_PARAMETER;
}

/*
 * All of it committed private memory that can be read and written; only such can be given up and used again.
 */
static NTSTATUS WinapiCheckWritable(PVOID Address, SIZE_T Size)
{
    PUCHAR Next = Address;
    PUCHAR End = Next + Size;

    while (Next < End)
    {
        MEMORY_BASIC_INFORMATION Information;
        NTSTATUS Status = NtQueryVirtualMemory(NtCurrentProcess(), Next, MemoryBasicInformation, &Information,
                                               sizeof(Information), NULL);

        if (!NT_SUCCESS(Status))
        {
            return Status;
        }
        if (Information.State != MEM_COMMIT)
        {
            return STATUS_NOT_COMMITTED;
        }
        if (Information.Type != MEM_PRIVATE || Information.Protect != PAGE_READWRITE)
        {
            return STATUS_INVALID_PAGE_PROTECTION;
        }
        Next = (PUCHAR)Information.BaseAddress + Information.RegionSize;
    }
    return STATUS_SUCCESS;
}

static NTSTATUS WinapiSetRange(VIRTUAL_MEMORY_INFORMATION_CLASS Class, PVOID Address, SIZE_T Size,
                               ULONG Information)
{
    MEMORY_RANGE_ENTRY Range = { .VirtualAddress = Address, .NumberOfBytes = Size };

    return NtSetInformationVirtualMemory(NtCurrentProcess(), Class, 1, &Range, &Information,
                                         sizeof(Information));
}

/* Resets the pages, gives them a priority on the standby list and takes them out of the working set. */
static DWORD WinapiGiveUp(PVOID Address, SIZE_T Size, ULONG Priority)
{
    NTSTATUS Status = WinapiCheckPages(Address, Size);
    PVOID Base = Address;
    SIZE_T Rounded = Size;

    if (NT_SUCCESS(Status))
    {
        Status = WinapiCheckWritable(Address, Size);
    }
    if (!NT_SUCCESS(Status))
    {
        return WinapiErrorOfStatus(Status);
    }
    /* Documented: what was locked is unlocked. That nothing was locked is no failure. */
    NtUnlockVirtualMemory(NtCurrentProcess(), &Base, &Rounded, MAP_PROCESS);
    Status = WinapiReset(Address, Size, MEM_RESET);
    if (!NT_SUCCESS(Status))
    {
        return WinapiErrorOfStatus(Status);
    }
    /* Advice from here on: the contents are free to go already, whether or not they go soon. */
    (VOID) WinapiSetRange(VmPagePriorityInformation, Address, Size, Priority);
    (VOID) WinapiSetRange(VmRemoveFromWorkingSetInformation, Address, Size, 0);
    return ERROR_SUCCESS;
}

DWORD WINAPI OfferVirtualMemory(PVOID VirtualAddress, SIZE_T Size, OFFER_PRIORITY Priority)
{
    if (Priority < VmOfferPriorityVeryLow || Priority > VmOfferPriorityNormal)
    {
        return ERROR_INVALID_PARAMETER;
    }
    /* VeryLow .. Normal become the memory priorities very low (1) .. below normal (4). */
    return WinapiGiveUp(VirtualAddress, Size, (ULONG)Priority);
}

DWORD WINAPI DiscardVirtualMemory(PVOID VirtualAddress, SIZE_T Size)
{
    return WinapiGiveUp(VirtualAddress, Size, MEMORY_PRIORITY_LOWEST);
}

DWORD WINAPI ReclaimVirtualMemory(void const *VirtualAddress, SIZE_T Size)
{
    PVOID Address = (PVOID)(ULONG_PTR)VirtualAddress;
    NTSTATUS Status = WinapiCheckPages(Address, Size);

    if (NT_SUCCESS(Status))
    {
        Status = WinapiCheckWritable(Address, Size);
    }
    if (NT_SUCCESS(Status))
    {
        /* STATUS_DEVICE_BUSY, documented ERROR_BUSY: reclaimed, but something of it was lost. */
        Status = WinapiReset(Address, Size, MEM_RESET_UNDO);
    }
    if (NT_SUCCESS(Status) || Status == STATUS_DEVICE_BUSY)
    {
        PAGE_PRIORITY_INFORMATION Priority = { .PagePriority = MEMORY_PRIORITY_NORMAL };

        /* As the pages of the process usually are; without an answer, as those of most processes are. */
        (VOID) NtQueryInformationProcess(NtCurrentProcess(), ProcessPagePriority, &Priority, sizeof(Priority),
                                         NULL);
        (VOID) WinapiSetRange(VmPagePriorityInformation, Address, Size, Priority.PagePriority);
    }
    return WinapiErrorOfStatus(Status);
}
