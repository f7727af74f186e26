/* SPDX-License-Identifier: MIT */
/*
 * The native TB's memory of itself: which NT pages have a host mapping, of which frame, with which access. tb.c decides by it,
 * tb_window.c keeps it true to what the system calls did. Everything under the TB lock.
 */
#ifndef NTMM_PORT_HOST_TB_H
#define NTMM_PORT_HOST_TB_H

#include "host_machine.h"

#define HOST_REGION_PAGES ((SIZE_T)512)       /* 2 MiB: one page-table page */
#define HOST_GIGA_PAGES   ((SIZE_T)512 * 512) /* 1 GiB: one page-directory page */
#define HOST_GIGA_SHIFT   30

/*
 * One record per page of a window. 0: no host mapping (a hole or a reservation). Otherwise the frame in bits 12..51 and the access
 * in the PORT_FAULT_ bits. A record with a frame but without PORT_FAULT_PRESENT is dormant: Linux still has the mapping,
 * but nobody may access it (mprotect(PROT_NONE) is the cheapest flush, and the cheapest to take back).
 */
typedef ULONG64 HOST_RECORD;

#define HOST_RECORD_ACCESS (ULONG64)(PORT_FAULT_PRESENT | PORT_FAULT_WRITE | PORT_FAULT_EXECUTE)

static inline HOST_RECORD HostMakeRecord(PFN_NUMBER Frame, ULONG Protection)
{
    return ((HOST_RECORD)Frame << PAGE_SHIFT) | (Protection & HOST_RECORD_ACCESS);
}

typedef struct _HOST_REGION
{
    USHORT Loaded;  /* pages with access */
    USHORT Mapped;  /* pages with a host mapping: Loaded + dormant */
    BOOLEAN Pieces; /* mapped or changed in parts: Linux has an entry for each page */
    BOOLEAN Whole;  /* one run: the record of its first page is kept, the others follow */
} HOST_REGION;

typedef struct _HOST_GIGA
{
    ULONG Loaded;
    ULONG Mapped;
    BOOLEAN Open;   /* the reservation is taken away: a page without a record is a hole */
    BOOLEAN Shared; /* Linux has, or would take, a part of it: never opened */
    USHORT Aliases; /* in it */
    ULONG_PTR Away; /* Aliases != 0: added to an address, where its page is seen instead (alias.c) */
} HOST_GIGA;

typedef struct _HOST_WINDOW
{
    ULONG_PTR Base;       /* 1 GiB aligned; page 0 of the records */
    SIZE_T PageCount;     /* multiple of HOST_GIGA_PAGES */
    PFN_NUMBER Space;     /* top-level page through which the window is filled; 0 = none */
    HOST_RECORD *Records; /* read by HostRecordOf */
    HOST_REGION *Regions;
    HOST_GIGA *Gigas;
    ULONG64 *UsedGigas; /* bitmap: Mapped != 0 */
    SIZE_T Loaded;      /* pages */
    SIZE_T Mappings;    /* host mappings: exactly as many as Linux makes of the records */
    SIZE_T Hand;        /* region where the next eviction begins */
} HOST_WINDOW;

#define HOST_MAXIMUM_ALIASES 64u

/* Pages of the system window that are seen at Target. */
typedef struct _HOST_ALIAS
{
    ULONG_PTR Start;
    ULONG_PTR Target;
    SIZE_T Bytes; /* 0: free */
    ULONG Access;
    BOOLEAN Keep;    /* Spare has what was at Target before */
    ULONG_PTR Spare; /* reserved addresses of that size, where the memory for later is made */
} HOST_ALIAS;

typedef struct _HOST_TB
{
    HOST_LOCK Lock;
    HOST_ALIAS Aliases[HOST_MAXIMUM_ALIASES];
    volatile ULONG AliasCount; /* in use */
    HOST_WINDOW User, System;
    HOST_WINDOW Session; /* filled through User.Space, too */
    SIZE_T Budget;
} HOST_TB;

extern HOST_TB HostTb;

static inline SIZE_T HostPageOf(const HOST_WINDOW *Window, ULONG_PTR Address)
{
    return (Address - Window->Base) >> PAGE_SHIFT;
}

static inline ULONG_PTR HostAddressOf(const HOST_WINDOW *Window, SIZE_T Page)
{
    return Window->Base + (Page << PAGE_SHIFT);
}

static inline HOST_RECORD HostRecordOf(const HOST_WINDOW *Window, SIZE_T Page)
{
    SIZE_T Index = Page % HOST_REGION_PAGES;

    return Window->Regions[Page / HOST_REGION_PAGES].Whole
               ? Window->Records[Page - Index] + (Index << PAGE_SHIFT)
               : Window->Records[Page];
}

/* Where Linux has the page. */
static inline ULONG_PTR HostNativeAddressOf(const HOST_WINDOW *Window, SIZE_T Page)
{
    return HostAddressOf(Window, Page) + Window->Gigas[Page / HOST_GIGA_PAGES].Away;
}

/* A page of a GiB with aliases that is in none of them: it is seen nowhere. TB lock. */
BOOLEAN HostIsHiddenByAlias(ULONG_PTR Address);

/* The host mappings of all windows. */
static inline SIZE_T HostCountAllMappings(void)
{
    return HostTb.User.Mappings + HostTb.System.Mappings + HostTb.Session.Mappings;
}

NTSTATUS HostCreateWindow(HOST_WINDOW *Window, ULONG_PTR Start, ULONG_PTR End);
VOID HostDeleteWindow(HOST_WINDOW *Window);

/*
 * Maps Count pages (inside one region) onto consecutive frames. Keeps the number of mappings within the budget.
 * Populate: the frames are in use, so Linux may enter them into its page tables at once.
 */
VOID HostLoadPages(HOST_WINDOW *Window, SIZE_T Page, SIZE_T Count, PFN_NUMBER Frame, ULONG Protection,
                   BOOLEAN Populate);

/* The region that begins at Page is mapped onto consecutive frames from Frame on, as a whole, and was only made dormant. FALSE: it is not. */
BOOLEAN HostIsDormantRegion(const HOST_WINDOW *Window, SIZE_T Page, PFN_NUMBER Frame);
/* Count pages of such regions get access again, with one call. FALSE: Linux refused; then nothing is loaded at all. */
BOOLEAN HostRevivePages(HOST_WINDOW *Window, SIZE_T Page, SIZE_T Count, PFN_NUMBER Frame, ULONG Protection);

/* Takes the access to [Page, End) away; each of these pages has a mapping, which stays as a dormant one. */
VOID HostUnloadPages(HOST_WINDOW *Window, SIZE_T Page, SIZE_T End);

/* Takes everything away, dormant mappings included. */
VOID HostEmptyWindow(HOST_WINDOW *Window);

/* Removes the mappings of [Page, End), whatever there is. */
VOID HostForgetPages(HOST_WINDOW *Window, SIZE_T Page, SIZE_T End);

/* The first loaded page in [Page, End), or End; skips what is empty without looking at every page. */
SIZE_T HostFindLoaded(const HOST_WINDOW *Window, SIZE_T Page, SIZE_T End);
/* The first page that is not, likewise. */
SIZE_T HostFindUnloaded(const HOST_WINDOW *Window, SIZE_T Page, SIZE_T End);

#endif
