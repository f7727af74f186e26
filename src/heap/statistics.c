/* SPDX-License-Identifier: MIT */
/*
 * NTHEAP_STATISTICS=1: what the malloc heap did, in a few lines on stderr when the process ends.
 *
 * The counters are kept anyway (HEAP_COUNTERS, HEAP_SPANS); walking the subsegments of all slots is left out, because other
 * threads may still run.
 */
#include "heap/heap.h"

typedef struct _HEAP_LINE
{
    CHAR Text[160];
    ULONG Length;
} HEAP_LINE, *PHEAP_LINE;

static VOID RtlpAddText(PHEAP_LINE Line, const char *Text)
{
    while (*Text != 0 && Line->Length < sizeof(Line->Text) - 2)
    {
        Line->Text[Line->Length] = *Text;
        Line->Length += 1;
        Text += 1;
    }
}

static VOID RtlpPrintCounter(const char *Name, ULONG64 Value, const char *Unit)
{
    HEAP_LINE Line = { .Length = 0 };
    CHAR Digits[24];
    ULONG Place = sizeof(Digits) - 1;

    Digits[Place] = 0;
    do
    {
        Place -= 1;
        Digits[Place] = (CHAR)('0' + Value % 10);
        Value /= 10;
    } while (Value != 0);

    RtlpAddText(&Line, "ntheap: ");
    RtlpAddText(&Line, Name);
    RtlpAddText(&Line, " ");
    RtlpAddText(&Line, Digits + Place);
    RtlpAddText(&Line, Unit);
    RtlpAddText(&Line, "\n");
    Line.Text[Line.Length] = 0;
    RtlpGroundPrint(Line.Text);
}

VOID RtlpPrintStatistics(VOID)
{
    PHEAP Heap = &RtlpMallocHeap;

    RtlpAcquireLock(&Heap->BackLock);

    const HEAP_COUNTERS Counters = Heap->Counters;
    const PHEAP_SPANS Small = &Heap->Pools[HeapPoolSmall];
    const PHEAP_SPANS Large = &Heap->Pools[HeapPoolLarge];

    RtlpPrintCounter("reserved for blocks up to 512 KiB", Small->Reserved / 1024, " KiB");
    RtlpPrintCounter("reserved for larger blocks", Large->Reserved / 1024, " KiB");
    RtlpPrintCounter("in use", Counters.InUsePages * (HEAP_PAGE / 1024), " KiB");
    RtlpPrintCounter("free and not given back, small", Small->DirtyPages * (HEAP_PAGE / 1024), " KiB");
    RtlpPrintCounter("free and not given back, large", Large->DirtyPages * (HEAP_PAGE / 1024), " KiB");
    RtlpPrintCounter("given back so far", Counters.Purged * (HEAP_PAGE / 1024), " KiB");
    RtlpPrintCounter("moved into longer blocks", Counters.Moved * (HEAP_PAGE / 1024), " KiB");
    RtlpPrintCounter("most in use", Counters.PeakPages * (HEAP_PAGE / 1024), " KiB");
    RtlpPrintCounter("free and not given back then", Counters.PeakDirtyPages * (HEAP_PAGE / 1024), " KiB");
    RtlpPrintCounter("subsegments", Counters.Subsegments, "");
    RtlpPrintCounter("subsegments made", Counters.SubsegmentsMade, "");
    RtlpPrintCounter("metadata", RtlpArena.MetadataUsed / 1024, " KiB");
    RtlpReleaseLock(&Heap->BackLock);
}
