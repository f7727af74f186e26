/* SPDX-License-Identifier: MIT */
/*
 * Address Windowing Extensions: physical pages that a program allocates and maps itself. Thin: the services
 * check everything. Source: the pages of the functions on Microsoft Learn (memoryapi.h).
 */
#include "api.h"

BOOL WINAPI AllocateUserPhysicalPages(HANDLE hProcess, PULONG_PTR NumberOfPages, PULONG_PTR PageArray)
{
    return WinapiFinish(NtAllocateUserPhysicalPages(hProcess, NumberOfPages, PageArray));
}

BOOL WINAPI FreeUserPhysicalPages(HANDLE hProcess, PULONG_PTR NumberOfPages, PULONG_PTR PageArray)
{
    return WinapiFinish(NtFreeUserPhysicalPages(hProcess, NumberOfPages, PageArray));
}

BOOL WINAPI MapUserPhysicalPages(PVOID VirtualAddress, ULONG_PTR NumberOfPages, PULONG_PTR PageArray)
{
    return WinapiFinish(NtMapUserPhysicalPages(VirtualAddress, NumberOfPages, PageArray));
}

BOOL WINAPI MapUserPhysicalPagesScatter(PVOID *VirtualAddresses, ULONG_PTR NumberOfPages,
                                        PULONG_PTR PageArray)
{
    return WinapiFinish(NtMapUserPhysicalPagesScatter(VirtualAddresses, NumberOfPages, PageArray));
}
