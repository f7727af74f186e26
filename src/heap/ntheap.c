/* SPDX-License-Identifier: MIT */
/*
 * The library's own functions (include/ntheap.h): statistics, purging, the handler of HEAP_GENERATE_EXCEPTIONS.
 */
#include "heap/api.h"
#include "heap/span.h"

#pragma GCC visibility push(default)
#include "ntheap.h"
#pragma GCC visibility pop

VOID NtheapPrintStatistics(VOID)
{
    RtlpPrintStatistics();
}

SIZE_T NtheapPurge(VOID)
{
    PHEAP Heap = &RtlpMallocHeap;

    RtlpAcquireLock(&Heap->BackLock);

    const ULONG64 Before = Heap->Counters.Purged;

    RtlpPurge(Heap, HeapPoolSmall, 0);
    RtlpPurge(Heap, HeapPoolLarge, 0);

    (VOID) RtlpReleaseEmptyRegions(Heap); /* which count against RLIMIT_DATA without pages, too */

    const SIZE_T Given = (SIZE_T)(Heap->Counters.Purged - Before) * HEAP_PAGE;

    RtlpReleaseLock(&Heap->BackLock);

    return Given;
}

NTHEAP_EXCEPTION_HANDLER *NtheapSetExceptionHandler(NTHEAP_EXCEPTION_HANDLER *Handler)
{
    return __atomic_exchange_n(&RtlpExceptionHandler, Handler, __ATOMIC_ACQ_REL);
}
