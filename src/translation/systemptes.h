/* SPDX-License-Identifier: MIT */
/*
 * System PTEs: runs of system virtual pages for mappings that belong to no working set (locked pages of MDLs, reserved mapping
 * addresses, device memory). The region is the upper end of the system window, outside the system space's VADs, so neither the clock
 * nor working-set counts ever see its entries. Theory: docs/mdl.md.
 *
 * Everything works at IRQL <= DISPATCH_LEVEL and never waits.
 */
#ifndef NTMM_TRANSLATION_SYSTEMPTES_H
#define NTMM_TRANSLATION_SYSTEMPTES_H

#include "rtl/bitmap.h"
#include "translation/translation.h"

typedef struct _MI_SYSTEM_PTES
{
    KSPIN_LOCK Lock;           /* [S] level SystemPtes: the bitmap, the leaf tables of the region */
    ULONG_PTR Base;            /* fixed: 1 GiB aligned */
    ULONG Count;               /* fixed: entries of the region */
    ULONG Hint;                /* [S] no entry below it is free */
    volatile ULONG Used;       /* [S], read anywhere */
    ULONG LeafTables;          /* [S] each is charged: commitment and resident-available */
    RTL_BITMAP Bitmap;         /* [S] one bit for each entry, set = reserved */
    volatile ULONG LargePages; /* [S], read anywhere */
    PULONG
    SparedTables; /* fixed; what it points to [S]: for each large page the leaf table that it replaces, 0 elsewhere */
    ULONG Bits[];
} MI_SYSTEM_PTES;

/* A frame for a page table that stays as long as the machine, charged like everything that takes one. 0: there is none. */
PFN_NUMBER MiAllocateBootTable(void);

NTSTATUS MiInitializeSystemPtes(void); /* by MiInitializeTranslation */
VOID MiShutdownSystemPtes(void);       /* bug-checks SYSTEM_PTE_MISUSE when entries are still reserved */

ULONG_PTR MiSystemPteBase(void); /* the first address of the region; it ends with the system window */
BOOLEAN MiIsSystemPteAddress(ULONG_PTR Va); /* in the region (reserved or not) */

/* Reserves Pages consecutive entries, all zero, whose tables exist. The address of the first; 0: no room, or no memory for a table. */
ULONG_PTR MiReserveSystemPtes(SIZE_T Pages);

/*
 * The same for pages that will be mapped by frames which are known already: congruent with them modulo 2 MiB, if they have 2 MiB that a large
 * page can map, so that MiMapSystemPtes and MiMapSystemRun can make it. A preference.
 */
ULONG_PTR MiReserveSystemPtesForFrames(const PFN_NUMBER *Frames, SIZE_T Pages);
ULONG_PTR MiReserveSystemPtesForRun(PFN_NUMBER Frame, SIZE_T Pages);

/* Gives entries back, any part of what was reserved; they are zero and flushed already. */
VOID MiReleaseSystemPtes(ULONG_PTR Va, SIZE_T Pages);

/* Whether all of them are reserved: the region's own idea, for checks of what drivers hand in. */
BOOLEAN MiAreSystemPtesReserved(ULONG_PTR Va, SIZE_T Pages);

/* The entry of a reserved address, for changing it: a large page there is split first. / Its value, whatever the size of the page. */
PMMPTE MiSystemPte(ULONG_PTR Va);
MMPTE MiReadSystemPte(ULONG_PTR Va);

/*
 * Makes reserved, zero entries map Frames (or the run from Frame on); Template has everything but the frame. Where 2 MiB of addresses and
 * frames fit together it is a large page. / Makes them zero again and flushes.
 */
VOID MiMapSystemPtes(ULONG_PTR Va, const PFN_NUMBER *Frames, SIZE_T Pages, MMPTE Template);
VOID MiMapSystemRun(ULONG_PTR Va, PFN_NUMBER Frame, SIZE_T Pages, MMPTE Template);
VOID MiUnmapSystemPtes(ULONG_PTR Va, SIZE_T Pages);

/* Gives back leaf tables under which nothing is reserved; returns how many. */
ULONG MiTrimSystemPtes(void);

ULONG MiSystemPtesInUse(void);
ULONG MiSystemPtesTotal(void);
ULONG MiSystemLargePages(void);

/* Invariants: bug-checks SYSTEM_PTE_MISUSE. Level 3 looks at every entry. */
VOID MiCheckSystemPtes(ULONG Level);

/* ---- Between systemptes.c and largeptes.c ------------------------------------------------------------------------------ */

KIRQL MiLockSystemPtes(MI_SYSTEM_PTES *Ptes);
VOID MiUnlockSystemPtes(MI_SYSTEM_PTES *Ptes, KIRQL OldIrql);

/* The entry of level 1 that leads to the leaf table of Va, or maps a large page there. The table that holds it exists from boot on. */
PMMPTE MiSystemTableEntry(ULONG_PTR Va);

/* The 2 MiB that begin at Va, reserved and unmapped, become a large page; TB flush by the caller, before anybody uses them. / Any large page: other bits. */
VOID MiMapLargePage(ULONG_PTR Va, PFN_NUMBER Frame, MMPTE Template);
VOID MiChangeLargePage(ULONG_PTR Va, MMPTE Pte);

/* The large page that begins at Va, if there is one, is unmapped. FALSE: there is none. TB flush by the caller. */
BOOLEAN MiUnmapLargePage(ULONG_PTR Va);

BOOLEAN MiIsLargePageAt(ULONG_PTR Va); /* a large page begins at Va */

/* The large page around Va, if there is one, becomes 512 small ones that map the same. */
VOID MiSplitLargePage(ULONG_PTR Va);

#endif
