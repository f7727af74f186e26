/* SPDX-License-Identifier: MIT */
/*
 * The VirtualAlloc family: allocate, free, protect and query, in the calling process or in another one. Each
 * function is its service with the Win32 rules in front: what may be combined, which size must be zero.
 * Source: the pages of the functions on Microsoft Learn (memoryapi.h).
 */
#include "api.h"

/* ---- Allocate ------------------------------------------------------------------------------------------ */

LPVOID WINAPI VirtualAllocEx(HANDLE hProcess, LPVOID lpAddress, SIZE_T dwSize, DWORD flAllocationType,
                             DWORD flProtect)
{
    PVOID Base = lpAddress;
    SIZE_T Size = dwSize;
    NTSTATUS Status = NtAllocateVirtualMemory(hProcess, &Base, 0, &Size, flAllocationType, flProtect);

    if (!NT_SUCCESS(Status))
    {
        WinapiFail(Status);
        return NULL;
    }
    return Base;
}

LPVOID WINAPI VirtualAlloc(LPVOID lpAddress, SIZE_T dwSize, DWORD flAllocationType, DWORD flProtect)
{
    return VirtualAllocEx(NtCurrentProcess(), lpAddress, dwSize, flAllocationType, flProtect);
}

static PVOID WinapiAllocateExtended(HANDLE Process, PVOID Address, SIZE_T Size, ULONG Type, ULONG Protect,
                                    MEM_EXTENDED_PARAMETER *Parameters, ULONG Count)
{
    PVOID Base = Address;
    SIZE_T Rounded = Size;
    NTSTATUS Status = NtAllocateVirtualMemoryEx(Process != NULL ? Process : NtCurrentProcess(), &Base,
                                                &Rounded, Type, Protect, Parameters, Count);

    if (!NT_SUCCESS(Status))
    {
        WinapiFail(Status);
        return NULL;
    }
    return Base;
}

LPVOID WINAPI VirtualAllocExNuma(HANDLE hProcess, LPVOID lpAddress, SIZE_T dwSize, DWORD flAllocationType,
                                 DWORD flProtect, DWORD nndPreferred)
{
    MEM_EXTENDED_PARAMETER Parameter = { .Type = MemExtendedParameterNumaNode };

    if (nndPreferred == NUMA_NO_PREFERRED_NODE)
    {
        return VirtualAllocEx(hProcess, lpAddress, dwSize, flAllocationType, flProtect);
    }
    /* The services accept placeholders where there are extended parameters; this function knows none. */
    if ((flAllocationType & (MEM_RESERVE_PLACEHOLDER | MEM_REPLACE_PLACEHOLDER)) != 0)
    {
        WinapiFailWith(ERROR_INVALID_PARAMETER);
        return NULL;
    }
    Parameter.ULong = nndPreferred;
    return WinapiAllocateExtended(hProcess, lpAddress, dwSize, flAllocationType, flProtect, &Parameter, 1);
}

PVOID WINAPI VirtualAlloc2(HANDLE Process, PVOID BaseAddress, SIZE_T Size, ULONG AllocationType,
                           ULONG PageProtection, MEM_EXTENDED_PARAMETER *ExtendedParameters,
                           ULONG ParameterCount)
{
    return WinapiAllocateExtended(Process, BaseAddress, Size, AllocationType, PageProtection,
                                  ExtendedParameters, ParameterCount);
}

/*
 * The ...FromApp functions are for code that may not make memory writable and executable at once; their pages
 * list the protections that they refuse.
 */
static BOOLEAN WinapiIsWritableCode(ULONG Protection)
{
    return (Protection & (PAGE_EXECUTE_READWRITE | PAGE_EXECUTE_WRITECOPY)) != 0;
}

PVOID WINAPI VirtualAlloc2FromApp(HANDLE Process, PVOID BaseAddress, SIZE_T Size, ULONG AllocationType,
                                  ULONG PageProtection, MEM_EXTENDED_PARAMETER *ExtendedParameters,
                                  ULONG ParameterCount)
{
    if (WinapiIsWritableCode(PageProtection))
    {
        WinapiFailWith(ERROR_INVALID_PARAMETER);
        return NULL;
    }
    return VirtualAlloc2(Process, BaseAddress, Size, AllocationType, PageProtection, ExtendedParameters,
                         ParameterCount);
}

PVOID WINAPI VirtualAllocFromApp(PVOID BaseAddress, SIZE_T Size, ULONG AllocationType, ULONG Protection)
{
    if (WinapiIsWritableCode(Protection))
    {
        WinapiFailWith(ERROR_INVALID_PARAMETER);
        return NULL;
    }
    return VirtualAlloc(BaseAddress, Size, AllocationType, Protection);
}

/* ---- Free ---------------------------------------------------------------------------------------------- */

BOOL WINAPI VirtualFreeEx(HANDLE hProcess, LPVOID lpAddress, SIZE_T dwSize, DWORD dwFreeType)
{
    const DWORD Placeholders = MEM_PRESERVE_PLACEHOLDER | MEM_COALESCE_PLACEHOLDERS;
    PVOID Base = lpAddress;
    SIZE_T Size = dwSize;

    /* The service could release a part; the page of VirtualFree says that dwSize must be 0 then. */
    if ((dwFreeType & MEM_RELEASE) != 0 && (dwFreeType & Placeholders) == 0 && dwSize != 0)
    {
        return WinapiFailWith(ERROR_INVALID_PARAMETER);
    }
    return WinapiFinish(NtFreeVirtualMemory(hProcess, &Base, &Size, dwFreeType));
}

BOOL WINAPI VirtualFree(LPVOID lpAddress, SIZE_T dwSize, DWORD dwFreeType)
{
    return VirtualFreeEx(NtCurrentProcess(), lpAddress, dwSize, dwFreeType);
}

/* ---- Protect ------------------------------------------------------------------------------------------- */

BOOL WINAPI VirtualProtectEx(HANDLE hProcess, LPVOID lpAddress, SIZE_T dwSize, DWORD flNewProtect,
                             PDWORD lpflOldProtect)
{
    PVOID Base = lpAddress;
    SIZE_T Size = dwSize;

    return WinapiFinish(NtProtectVirtualMemory(hProcess, &Base, &Size, flNewProtect, lpflOldProtect));
}

BOOL WINAPI VirtualProtect(LPVOID lpAddress, SIZE_T dwSize, DWORD flNewProtect, PDWORD lpflOldProtect)
{
    return VirtualProtectEx(NtCurrentProcess(), lpAddress, dwSize, flNewProtect, lpflOldProtect);
}

BOOL WINAPI VirtualProtectFromApp(PVOID Address, SIZE_T Size, ULONG NewProtection, PULONG OldProtection)
{
    if (WinapiIsWritableCode(NewProtection))
    {
        return WinapiFailWith(ERROR_INVALID_PARAMETER);
    }
    return VirtualProtect(Address, Size, NewProtection, OldProtection);
}

/* ---- Query --------------------------------------------------------------------------------------------- */

SIZE_T WINAPI VirtualQueryEx(HANDLE hProcess, LPCVOID lpAddress, PMEMORY_BASIC_INFORMATION lpBuffer,
                             SIZE_T dwLength)
{
    SIZE_T Returned = 0;
    NTSTATUS Status = NtQueryVirtualMemory(hProcess, (PVOID)(ULONG_PTR)lpAddress, MemoryBasicInformation,
                                           lpBuffer, dwLength, &Returned);

    if (!NT_SUCCESS(Status))
    {
        WinapiFail(Status);
        return 0;
    }
    return Returned;
}

SIZE_T WINAPI VirtualQuery(LPCVOID lpAddress, PMEMORY_BASIC_INFORMATION lpBuffer, SIZE_T dwLength)
{
    return VirtualQueryEx(NtCurrentProcess(), lpAddress, lpBuffer, dwLength);
}

BOOL WINAPI QueryVirtualMemoryInformation(HANDLE Process, const VOID *VirtualAddress,
                                          WIN32_MEMORY_INFORMATION_CLASS MemoryInformationClass,
                                          PVOID MemoryInformation, SIZE_T MemoryInformationSize,
                                          PSIZE_T ReturnSize)
{
    /* WIN32_MEMORY_REGION_INFORMATION is the first part of what the service tells. */
    MEMORY_REGION_INFORMATION Region;
    PWIN32_MEMORY_REGION_INFORMATION Information = MemoryInformation;
    NTSTATUS Status;

    if (MemoryInformationClass != MemoryRegionInfo)
    {
        return WinapiFailWith(ERROR_INVALID_PARAMETER);
    }
    if (MemoryInformationSize < sizeof(*Information))
    {
        return WinapiFail(STATUS_INFO_LENGTH_MISMATCH);
    }
    if (Information == NULL)
    {
        return WinapiFail(STATUS_ACCESS_VIOLATION);
    }
    Status = NtQueryVirtualMemory(Process, (PVOID)(ULONG_PTR)VirtualAddress, MemoryRegionInformationEx,
                                  &Region, sizeof(Region), NULL);
    if (!NT_SUCCESS(Status))
    {
        return WinapiFail(Status);
    }
    *Information = (WIN32_MEMORY_REGION_INFORMATION){ .AllocationBase = Region.AllocationBase,
                                                      .AllocationProtect = Region.AllocationProtect,
                                                      .Flags = Region.RegionType,
                                                      .RegionSize = Region.RegionSize,
                                                      .CommitSize = Region.CommitSize };
    if (ReturnSize != NULL)
    {
        *ReturnSize = sizeof(*Information);
    }
    return TRUE;
}
