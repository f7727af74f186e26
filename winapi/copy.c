/* SPDX-License-Identifier: MIT */
/*
 * Copying from and to a process. A write makes code pages writable for its length, as debuggers that set
 * breakpoints expect, and refuses data pages that are read-only. Source: ReadProcessMemory and
 * WriteProcessMemory on Microsoft Learn.
 */
#include "api.h"

BOOL WINAPI ReadProcessMemory(HANDLE hProcess, LPCVOID lpBaseAddress, LPVOID lpBuffer, SIZE_T nSize,
                              SIZE_T *lpNumberOfBytesRead)
{
    return WinapiFinish(
        NtReadVirtualMemory(hProcess, (PVOID)(ULONG_PTR)lpBaseAddress, lpBuffer, nSize, lpNumberOfBytesRead));
}

/* Whether all of the range is code that can be read but not written. */
static BOOLEAN WinapiIsReadOnlyCode(HANDLE Process, LPCVOID Address, SIZE_T Size)
{
    ULONG_PTR Next = (ULONG_PTR)Address;
    ULONG_PTR End = Next + Size;

    while (Next < End)
    {
        MEMORY_BASIC_INFORMATION Information;
        NTSTATUS Status = NtQueryVirtualMemory(Process, (PVOID)Next, MemoryBasicInformation, &Information,
                                               sizeof(Information), NULL);

        if (!NT_SUCCESS(Status) || Information.State != MEM_COMMIT ||
            (Information.Protect != PAGE_EXECUTE && Information.Protect != PAGE_EXECUTE_READ))
        {
            return FALSE;
        }
        Next = (ULONG_PTR)Information.BaseAddress + Information.RegionSize;
    }
    return Size != 0 && End > (ULONG_PTR)Address;
}

BOOL WINAPI WriteProcessMemory(HANDLE hProcess, LPVOID lpBaseAddress, LPCVOID lpBuffer, SIZE_T nSize,
                               SIZE_T *lpNumberOfBytesWritten)
{
    PVOID Base = lpBaseAddress;
    SIZE_T Size = nSize;
    BOOLEAN Protected = FALSE;
    ULONG OldProtect = 0;
    NTSTATUS Status;

    /* Several kinds of code in one range stay as they are, and the write ends at the first page. */
    if (WinapiIsReadOnlyCode(hProcess, lpBaseAddress, nSize))
    {
        Status = NtProtectVirtualMemory(hProcess, &Base, &Size, PAGE_EXECUTE_READWRITE, &OldProtect);
        if (!NT_SUCCESS(Status))
        {
            return WinapiFail(Status);
        }
        Protected = TRUE;
    }
    Status = NtWriteVirtualMemory(hProcess, lpBaseAddress, (PVOID)(ULONG_PTR)lpBuffer, nSize,
                                  lpNumberOfBytesWritten);
    if (Protected)
    {
        NtProtectVirtualMemory(hProcess, &Base, &Size, OldProtect, &OldProtect);
    }
    return WinapiFinish(Status);
}
