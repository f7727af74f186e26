/* SPDX-License-Identifier: MIT */
/*
 * VirtualAlloc2, which mingw-w64's import libraries do not all have: on Windows it is looked up in
 * kernelbase.dll.
 */
#ifndef NTMM_TESTS_WINAPI_ALLOC2_H
#define NTMM_TESTS_WINAPI_ALLOC2_H

#include "show.h"

#ifndef MEM_RESERVE_PLACEHOLDER
#define MEM_COALESCE_PLACEHOLDERS 0x00000001
#define MEM_PRESERVE_PLACEHOLDER  0x00000002
#define MEM_REPLACE_PLACEHOLDER   0x00004000
#define MEM_RESERVE_PLACEHOLDER   0x00040000
#endif

static inline PVOID Allocate2(PVOID Base, SIZE_T Size, ULONG Type, ULONG Protect,
                              MEM_EXTENDED_PARAMETER *Parameters, ULONG Count)
{
#ifdef _WIN32
    typedef PVOID(WINAPI * FUNCTION)(HANDLE, PVOID, SIZE_T, ULONG, ULONG, MEM_EXTENDED_PARAMETER *, ULONG);
    union
    {
        FARPROC Address;
        FUNCTION Function;
    } Entry = { .Address = GetProcAddress(GetModuleHandleA("kernelbase.dll"), "VirtualAlloc2") };

    return Entry.Function(NULL, Base, Size, Type, Protect, Parameters, Count);
#else
    return VirtualAlloc2(NULL, Base, Size, Type, Protect, Parameters, Count);
#endif
}

#endif
