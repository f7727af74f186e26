/* SPDX-License-Identifier: MIT */
/*
 * What the Windows programs of this folder print with. Nothing that differs between machines is printed:
 * addresses appear as offsets from a base that the program names, sizes in pages.
 */
#ifndef NTMM_TESTS_WINAPI_SHOW_H
#define NTMM_TESTS_WINAPI_SHOW_H

#include <windows.h>

#include <stdio.h>
#include <string.h>

#define PAGE        4096u
#define GRANULARITY 65536u

/* "name: yes", or "name: no, error 487". */
static inline int Show(const char *Name, int Result)
{
    if (Result)
    {
        printf("%s: yes\n", Name);
    }
    else
    {
        printf("%s: no, error %u\n", Name, (unsigned)GetLastError());
    }
    SetLastError(0);
    return Result;
}

static inline const char *StateName(DWORD State)
{
    return State == MEM_COMMIT    ? "commit"
           : State == MEM_RESERVE ? "reserve"
           : State == MEM_FREE    ? "free"
                                  : "?";
}

static inline const char *TypeName(DWORD Type)
{
    return Type == MEM_PRIVATE  ? "private"
           : Type == MEM_MAPPED ? "mapped"
           : Type == MEM_IMAGE  ? "image"
           : Type == 0          ? "-"
                                : "?";
}

/* The region that Address lies in, relative to Base. Of a free one only the state. */
static inline void ShowRegion(const char *Name, const void *Base, const void *Address)
{
    MEMORY_BASIC_INFORMATION Information;
    SIZE_T Size = VirtualQuery(Address, &Information, sizeof(Information));

    if (Size != sizeof(Information))
    {
        printf("%s: query returned %u, error %u\n", Name, (unsigned)Size, (unsigned)GetLastError());
    }
    else if (Information.State == MEM_FREE)
    {
        printf("%s: free, protect %#x, type %s, allocation %s, %#x\n", Name, (unsigned)Information.Protect,
               TypeName((DWORD)Information.Type), Information.AllocationBase == NULL ? "none" : "some",
               (unsigned)Information.AllocationProtect);
    }
    else
    {
        printf("%s: %s, +%u pages, %u pages, protect %#x, %s, allocation at %d, %#x\n", Name,
               StateName((DWORD)Information.State),
               (unsigned)((ULONG_PTR)Information.BaseAddress - (ULONG_PTR)Base) / PAGE,
               (unsigned)(Information.RegionSize / PAGE), (unsigned)Information.Protect,
               TypeName((DWORD)Information.Type),
               (int)((LONG_PTR)Information.AllocationBase - (LONG_PTR)Base) / (int)PAGE,
               (unsigned)Information.AllocationProtect);
    }
}

/* All regions of a reservation of so many pages. */
static inline void ShowRegions(const char *Name, const void *Base, unsigned Pages)
{
    const char *Next = Base;
    const char *End = Next + (SIZE_T)Pages * PAGE;

    while (Next < End)
    {
        MEMORY_BASIC_INFORMATION Information;

        ShowRegion(Name, Base, Next);
        if (VirtualQuery(Next, &Information, sizeof(Information)) != sizeof(Information))
        {
            break;
        }
        Next = (const char *)Information.BaseAddress + Information.RegionSize;
    }
}

/* How many of so many bytes are Value. */
static inline unsigned CountBytes(const void *Memory, SIZE_T Size, unsigned char Value)
{
    const volatile unsigned char *Bytes = Memory;
    unsigned Count = 0;

    for (SIZE_T Index = 0; Index < Size; Index++)
    {
        Count += Bytes[Index] == Value;
    }
    return Count;
}

#endif
