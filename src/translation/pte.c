/* SPDX-License-Identifier: MIT */
/* Protections in their three languages: PAGE_* of the services, MM_* of software PTEs and VADs, hardware bits. */
#include "translation/pte.h"
#include "nt/mmtypes.h"

#define R  MM_PTE_NO_EXECUTE
#define X  0ull
#define W  (MM_PTE_DIRTY1 | MM_PTE_WRITE)
#define C  (MM_PTE_COPY_ON_WRITE | MM_PTE_WRITE)
#define NC (MM_PTE_CACHE_DISABLE)
#define WC (MM_PTE_CACHE_DISABLE | MM_PTE_WRITE_THROUGH)
#define ROW(Cache)                                                                                           \
    R | Cache, R | Cache, X | MM_PTE_EXECUTE_ONLY | Cache, X | Cache, R | W | Cache, R | C | Cache,          \
        X | W | Cache, X | C | Cache

/* Rows: plain, nocache, guard, writecombine. */
const ULONG64 MmProtectToPteMask[32] = { ROW(0ull), ROW(NC), ROW(0ull), ROW(WC) };

#undef R
#undef X
#undef W
#undef C
#undef ROW

ULONG MiProtectionFromValidPte(MMPTE Pte)
{
    BOOLEAN Execute = (Pte.Long & MM_PTE_NO_EXECUTE) == 0;
    ULONG Protection;

    if ((Pte.Long & MM_PTE_COPY_ON_WRITE) != 0)
    {
        Protection = Execute ? MM_EXECUTE_WRITECOPY : MM_WRITECOPY;
    }
    else if ((Pte.Long & MM_PTE_WRITE) != 0)
    {
        Protection = Execute ? MM_EXECUTE_READWRITE : MM_READWRITE;
    }
    else if (Execute)
    {
        Protection = (Pte.Long & MM_PTE_EXECUTE_ONLY) != 0 ? MM_EXECUTE : MM_EXECUTE_READ;
    }
    else
    {
        Protection = MM_READONLY;
    }
    if ((Pte.Long & WC) == WC)
    {
        return Protection | MM_WRITECOMBINE;
    }
    return (Pte.Long & NC) != 0 ? Protection | MM_NOCACHE : Protection;
}

ULONG MiMakeProtectionMask(ULONG Win32Protect)
{
    static const struct
    {
        ULONG Win32;
        ULONG Protection;
    } Table[] = {
        { PAGE_NOACCESS, MM_NOACCESS },
        { PAGE_READONLY, MM_READONLY },
        { PAGE_READWRITE, MM_READWRITE },
        { PAGE_WRITECOPY, MM_WRITECOPY },
        { PAGE_EXECUTE, MM_EXECUTE },
        { PAGE_EXECUTE_READ, MM_EXECUTE_READ },
        { PAGE_EXECUTE_READWRITE, MM_EXECUTE_READWRITE },
        { PAGE_EXECUTE_WRITECOPY, MM_EXECUTE_WRITECOPY },
    };
    ULONG Modifiers = Win32Protect & (PAGE_GUARD | PAGE_NOCACHE | PAGE_WRITECOMBINE);
    ULONG Access = Win32Protect & ~(ULONG)(PAGE_GUARD | PAGE_NOCACHE | PAGE_WRITECOMBINE);

    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Table); Index++)
    {
        if (Table[Index].Win32 != Access)
        {
            continue;
        }
        if (Modifiers == 0)
        {
            return Table[Index].Protection;
        }
        /* One modifier at most, and none of them on PAGE_NOACCESS. */
        if (Access == PAGE_NOACCESS || (Modifiers & (Modifiers - 1)) != 0)
        {
            return MM_INVALID_PROTECTION;
        }
        return Table[Index].Protection | (Modifiers == PAGE_GUARD     ? MM_GUARD_PAGE
                                          : Modifiers == PAGE_NOCACHE ? MM_NOCACHE
                                                                      : MM_WRITECOMBINE);
    }
    return MM_INVALID_PROTECTION;
}

ULONG MiWin32Protection(ULONG Protection)
{
    static const ULONG Access[8] = { PAGE_NOACCESS,          PAGE_READONLY,         PAGE_EXECUTE,
                                     PAGE_EXECUTE_READ,      PAGE_READWRITE,        PAGE_WRITECOPY,
                                     PAGE_EXECUTE_READWRITE, PAGE_EXECUTE_WRITECOPY };
    ULONG Result = Access[Protection & MM_PROTECTION_ACCESS_MASK];

    if (Protection == MM_DECOMMIT)
    {
        return 0;
    }
    if ((Protection & MM_PROTECTION_ACCESS_MASK) == 0)
    {
        return PAGE_NOACCESS;
    }
    switch (Protection & MM_WRITECOMBINE)
    {
    case MM_NOCACHE:
        return Result | PAGE_NOCACHE;
    case MM_GUARD_PAGE:
        return Result | PAGE_GUARD;
    case MM_WRITECOMBINE:
        return Result | PAGE_WRITECOMBINE;
    default:
        return Result;
    }
}

BOOLEAN MiIsAccessAllowed(ULONG Protection, MI_ACCESS Access)
{
    static const UCHAR Allowed[8] = { 0, 1, 1 | 4, 1 | 4, 1 | 2, 1 | 2, 1 | 2 | 4, 1 | 2 | 4 };
    UCHAR Wanted = Access == MiAccessRead ? 1 : (Access == MiAccessWrite ? 2 : 4);

    return (Allowed[Protection & MM_PROTECTION_ACCESS_MASK] & Wanted) != 0;
}
