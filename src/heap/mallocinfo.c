/* SPDX-License-Identifier: MIT */
/*
 * What the C library's <malloc.h> has beside the malloc family: mallinfo, mallopt, malloc_stats, malloc_info.
 *
 * They tell what the back end of malloc's heap has: whole pages, blocks in use and the free ones between them together. Without
 * these functions a program would get the C library's, which tell of a heap that nothing is in; and linked statically as a whole
 * it would get the C library's malloc a second time, and not be linked.
 */
#include "heap/api.h"

#include <errno.h>
#include <malloc.h>
#include <stdio.h>

#define HEAP_EXPORT __attribute__((visibility("default")))

HEAP_EXPORT struct mallinfo2 mallinfo2(void)
{
    struct mallinfo2 Info = { 0 };
    PHEAP Heap = RtlpCheckModeHeap();

    Heap = Heap != NULL ? Heap : &RtlpMallocHeap;
    RtlpAcquireLock(&Heap->BackLock);
    Info.uordblks = Heap->Counters.InUsePages * HEAP_PAGE;
    Info.fordblks =
        (Heap->Pools[HeapPoolSmall].DirtyPages + Heap->Pools[HeapPoolLarge].DirtyPages) * HEAP_PAGE;
    RtlpReleaseLock(&Heap->BackLock);
    Info.arena = Info.uordblks + Info.fordblks;
    Info.keepcost = Info.fordblks; /* what malloc_trim would give back */

    return Info;
}

static int RtlpShortCount(size_t Count)
{
    return Count < MAXLONG ? (int)Count : MAXLONG;
}

HEAP_EXPORT struct mallinfo mallinfo(void)
{
    const struct mallinfo2 Long = mallinfo2();

    return (struct mallinfo){ .arena = RtlpShortCount(Long.arena),
                              .uordblks = RtlpShortCount(Long.uordblks),
                              .fordblks = RtlpShortCount(Long.fordblks),
                              .keepcost = RtlpShortCount(Long.keepcost) };
}

/* Every parameter is a hint about how the C library's malloc works, and says nothing here. As there, 1 also for unknown ones. */
HEAP_EXPORT int mallopt(int parameter, int value)
{
    UNREFERENCED_PARAMETER(parameter);
    UNREFERENCED_PARAMETER(value);

    return 1;
}

HEAP_EXPORT void malloc_stats(void)
{
    RtlpPrintStatistics();
}

HEAP_EXPORT int malloc_info(int options, FILE *stream)
{
    const struct mallinfo2 Info = mallinfo2();

    if (options != 0)
    {
        return EINVAL;
    }

    /* The elements that the manual page shows for all heaps together. */
    return fprintf(stream,
                   "<malloc version=\"1\">\n"
                   "<total type=\"rest\" count=\"0\" size=\"%zu\"/>\n"
                   "<system type=\"current\" size=\"%zu\"/>\n"
                   "<aspace type=\"total\" size=\"%zu\"/>\n"
                   "</malloc>\n",
                   Info.fordblks, Info.arena, Info.arena) < 0
               ? -1
               : 0;
}
