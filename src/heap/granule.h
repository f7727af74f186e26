/* SPDX-License-Identifier: MIT */
/*
 * Blocks of any size in one range, described by two maps with one bit for 16 bytes: Busy and Start (best fit).
 *
 * The maps lie with the metadata; the range itself holds nothing but blocks. Chunks (variable.c) and heaps of fixed size
 * (fixed.c) are made of this. No locking here.
 */
#ifndef NTMM_HEAP_GRANULE_H
#define NTMM_HEAP_GRANULE_H

#include "nt/ntdef.h"

#define HEAP_GRANULE_SHIFT 4
#define HEAP_NO_GRANULE    MAXULONG

typedef struct _HEAP_GRANULES
{
    PULONG64 Busy;  /* these bytes belong to a block */
    PULONG64 Start; /* a block begins here */
    ULONG Count;    /* granules, a multiple of 64 */
} HEAP_GRANULES, *PHEAP_GRANULES;
typedef const HEAP_GRANULES *PCHEAP_GRANULES;

/* The first granule at or after From whose bit in Map is Set (or clear); Count if there is none. */
ULONG RtlpNextGranule(const ULONG64 *Map, ULONG Count, ULONG From, BOOLEAN Set);
VOID RtlpFillGranules(PULONG64 Map, ULONG From, ULONG Count, BOOLEAN Set);
/* The shortest free run of at least Count granules, or HEAP_NO_GRANULE; in *Longest the longest of all runs. */
ULONG RtlpFindGranules(PCHEAP_GRANULES Range, ULONG Count, ULONG *Longest);
VOID RtlpTakeGranules(PCHEAP_GRANULES Range, ULONG First, ULONG Count);
VOID RtlpReturnGranules(PCHEAP_GRANULES Range, ULONG First, ULONG Count);
/* Granules of the block that begins at First; 0 if none does. */
ULONG RtlpBlockGranules(PCHEAP_GRANULES Range, ULONG First);
/* Changes the length of a block in place; FALSE if what is behind it is not free. */
BOOLEAN RtlpResizeGranules(PCHEAP_GRANULES Range, ULONG First, ULONG Count);

#endif
