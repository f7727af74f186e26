/* SPDX-License-Identifier: MIT */
/*
 * The lists of free spans (spanlist.c) as span.c and rtlheap.c use them. HEAP.BackLock is held.
 */
#ifndef NTMM_HEAP_SPAN_H
#define NTMM_HEAP_SPAN_H

#include "heap/heap.h"

ULONG RtlpDescriptorUnits(const HEAP_DESCRIPTOR *Descriptor);
/* Lets the first and the last page of a span lead to Number. */
VOID RtlpMapEnds(const HEAP_DESCRIPTOR *Span, ULONG Number);
VOID RtlpInsertFree(PHEAP Heap, PHEAP_DESCRIPTOR Span);
VOID RtlpRemoveFree(PHEAP Heap, PHEAP_DESCRIPTOR Span);
/* The shortest free span of at least Pages pages, or NULL. It stays on its list. */
PHEAP_DESCRIPTOR RtlpFindBest(PHEAP_BINS_SET Bins, ULONG Pages);
/* Gives the regions that nothing is in back to the arena, and their memory to the system. FALSE if there are none. */
BOOLEAN RtlpReleaseEmptyRegions(PHEAP Heap);

#endif
