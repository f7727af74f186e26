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
    KSPIN_LOCK Lock;     /* [S] level SystemPtes: the bitmap, the leaf tables of the region */
    ULONG_PTR Base;      /* fixed: 1 GiB aligned */
    ULONG Count;         /* fixed: entries of the region */
    ULONG Hint;          /* [S] no entry below it is free */
    volatile ULONG Used; /* [S], read anywhere */
    ULONG LeafTables;    /* [S] each is charged: commitment and resident-available */
    RTL_BITMAP Bitmap;   /* [S] one bit for each entry, set = reserved */
    ULONG Bits[];
} MI_SYSTEM_PTES;

NTSTATUS MiInitializeSystemPtes(void); /* by MiInitializeTranslation */
VOID MiShutdownSystemPtes(void);       /* bug-checks SYSTEM_PTE_MISUSE when entries are still reserved */

ULONG_PTR MiSystemPteBase(void); /* the first address of the region; it ends with the system window */
BOOLEAN MiIsSystemPteAddress(ULONG_PTR Va); /* in the region (reserved or not) */

/* Reserves Pages consecutive entries, all zero, whose tables exist. The address of the first; 0: no room, or no memory for a table. */
ULONG_PTR MiReserveSystemPtes(SIZE_T Pages);

/* Gives entries back, any part of what was reserved; they are zero and flushed already. */
VOID MiReleaseSystemPtes(ULONG_PTR Va, SIZE_T Pages);

/* Whether all of them are reserved: the region's own idea, for checks of what drivers hand in. */
BOOLEAN MiAreSystemPtesReserved(ULONG_PTR Va, SIZE_T Pages);

/* The entry of a reserved address. */
PMMPTE MiSystemPte(ULONG_PTR Va);

/* Makes reserved, zero entries map Frames; Template has everything but the frame. / Makes them zero again and flushes. */
VOID MiMapSystemPtes(ULONG_PTR Va, const PFN_NUMBER *Frames, SIZE_T Pages, MMPTE Template);
VOID MiUnmapSystemPtes(ULONG_PTR Va, SIZE_T Pages);

/* Gives back leaf tables under which nothing is reserved; returns how many. */
ULONG MiTrimSystemPtes(void);

ULONG MiSystemPtesInUse(void);
ULONG MiSystemPtesTotal(void);

#endif
