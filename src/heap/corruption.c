/* SPDX-License-Identifier: MIT */
/*
 * What happens when the heap finds damage: say which kind, where and in which heap, and end the process.
 *
 * That is HeapEnableTerminationOnCorruption of the documentation, and it ends with STATUS_HEAP_CORRUPTION in the machine as
 * on Windows; on Linux with SIGABRT and that status in the message. Going on would let whoever damaged the heap choose what is written
 * next. Nothing here allocates. Tests set a handler; with it the operation that found the damage fails instead.
 */
#include "heap/heap.h"

static const char *const RtlpDamageText[HeapDamageKinds] = {
    [HeapDamageDoubleFree] = "a block was freed twice",
    [HeapDamageInvalidFree] = "an address that is no block was given to the heap",
    [HeapDamageInteriorFree] = "an address inside a block was given to the heap",
    [HeapDamageWrongHeap] = "a block was given to a heap that it does not belong to",
    [HeapDamageMetadata] = "the heap's own structures disagree",
    [HeapDamageTail] = "a block was written to beyond its end",
    [HeapDamageFreed] = "a freed block was written to",
};

static PCHAR RtlpAppendText(PCHAR Place, const char *Text)
{
    while (*Text != 0)
    {
        *Place = *Text;
        Place += 1;
        Text += 1;
    }

    return Place;
}

static PCHAR RtlpAppendAddress(PCHAR Place, const VOID *Address)
{
    Place = RtlpAppendText(Place, "0x");
    for (int Shift = 60; Shift >= 0; Shift -= 4)
    {
        *Place = "0123456789abcdef"[((ULONG_PTR)Address >> Shift) & 15];
        Place += 1;
    }

    return Place;
}

VOID RtlpReportDamage(HEAP_DAMAGE Damage, PHEAP Heap, const VOID *Address)
{
    (VOID) __atomic_fetch_add(&RtlpDamageCount[Damage], 1, __ATOMIC_RELAXED);
    if (RtlpDamageHandler != NULL)
    {
        RtlpDamageHandler(Damage, Heap, Address);
        return;
    }

    CHAR Message[256];
    PCHAR Place = RtlpAppendText(Message, "ntheap: STATUS_HEAP_CORRUPTION (0xc0000374): ");

    Place = RtlpAppendText(Place, RtlpDamageText[Damage]);
    Place = RtlpAppendText(Place, ": block ");
    Place = RtlpAppendAddress(Place, Address);
    Place = RtlpAppendText(Place, ", heap ");
    Place = RtlpAppendAddress(Place, Heap);
    Place = RtlpAppendText(Place, "\n");
    *Place = 0;
    RtlpGroundPrint(Message);
    RtlpAbandonHeap(Heap);
    RtlpGroundAbort(STATUS_HEAP_CORRUPTION);
}
