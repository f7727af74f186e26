/* SPDX-License-Identifier: MIT */
/*
 * The page-heap mode: every block ends at a guard page, and a freed block's pages fault on any access.
 *
 * Switched on for the whole process by NTHEAP_PAGE_HEAP=1 (what gflags /p /enable NAME /full does on Windows). The block
 * lies at the end of its pages, as close to the guard page as its alignment permits; the bytes between, and those before
 * it, hold a pattern that free checks. Freed blocks wait, sealed, until 64 MiB of address space of them have gathered: a
 * use after free or a second free meets them there. One block costs at least two pages and two mappings.
 */
#include "heap/heap.h"

#define HEAP_QUARANTINE_PAGES 16384
#define HEAP_GUARD_FILL       0xF9

static PUCHAR RtlpGuardedStart(const HEAP_DESCRIPTOR *Descriptor)
{
    return Descriptor->Base + Descriptor->Committed;
}

SIZE_T RtlpGuardedSize(const HEAP_DESCRIPTOR *Descriptor, const VOID *Block)
{
    const SIZE_T Requested = Descriptor->Requested;

    return Block != RtlpGuardedStart(Descriptor) ? 0 : Requested == 0 ? 1 : Requested;
}

/* Drops the oldest of the quarantine until Pages fit. */
static VOID RtlpEndQuarantine(PHEAP Heap, SIZE_T Pages)
{
    while (Heap->QuarantineFirst != 0 && Heap->QuarantinePages + Pages > HEAP_QUARANTINE_PAGES)
    {
        PHEAP_DESCRIPTOR Oldest = HEAP_DESCRIPTOR_AT(Heap->QuarantineFirst);

        Heap->QuarantineFirst = Oldest->Next;
        Heap->QuarantinePages -= Oldest->Pages;
        if (Heap->QuarantineFirst == 0)
        {
            Heap->QuarantineLast = 0;
        }

        RtlpSetPageMap(Oldest->Base, Oldest->Pages, 0);
        if (!RtlpArena.Operations->CommitOnTouch ||
            RtlpArena.Operations->Commit(Oldest->Base, Oldest->Pages * HEAP_PAGE, FALSE))
        {
            RtlpFreeUntouchedSpan(Heap, Oldest);
        }
    }
}

PVOID RtlpAllocateGuarded(PHEAP Heap, SIZE_T Size, SIZE_T Alignment)
{
    if (!RtlpInitializeArena(&RtlpPageOperations) || Size > HEAP_MAXIMUM_REQUEST || Alignment > HEAP_REGION)
    {
        return NULL;
    }

    const SIZE_T Need = (Size == 0 ? 1 : Size) + (Alignment > HEAP_PAGE ? Alignment : 0);
    const SIZE_T Pages = (Need + HEAP_PAGE - 1) / HEAP_PAGE + 1;

    if (Pages > MAXULONG / 2)
    {
        return NULL;
    }

    RtlpAcquireLock(&Heap->BackLock);

    PHEAP_DESCRIPTOR Span = RtlpAllocateSpan(Heap, (ULONG)Pages, HEAP_PAGE, HeapKindGuarded);

    if (Span != NULL)
    {
        PUCHAR End = Span->Base + (Pages - 1) * HEAP_PAGE;
        PUCHAR Start = (PUCHAR)((ULONG_PTR)(End - Size) & ~(Alignment - 1));
        const SIZE_T Data = (SIZE_T)(End - Span->Base);

        Span->Requested = Size;
        Span->Committed = (SIZE_T)(Start - Span->Base);
        RtlpArena.Operations->Decommit(End, HEAP_PAGE, TRUE);
        __builtin_memset(Span->Base, HEAP_GUARD_FILL, Span->Committed);
        __builtin_memset(Start, 0, Size);
        __builtin_memset(Start + Size, HEAP_GUARD_FILL, Data - Span->Committed - Size);
        RtlpSetPageMap(Span->Base, Pages, RtlpDescriptorNumber(Span));
    }

    RtlpReleaseLock(&Heap->BackLock);

    return Span != NULL ? RtlpGuardedStart(Span) : NULL;
}

static BOOLEAN RtlpIsFilled(const UCHAR *From, const UCHAR *To)
{
    for (; From < To; From += 1)
    {
        if (*From != HEAP_GUARD_FILL)
        {
            return FALSE;
        }
    }

    return TRUE;
}

VOID RtlpFreeGuarded(PHEAP Heap, PHEAP_DESCRIPTOR Descriptor, PVOID Block)
{
    const PUCHAR Start = RtlpGuardedStart(Descriptor);
    const PUCHAR End = Descriptor->Base + (SIZE_T)(Descriptor->Pages - 1) * HEAP_PAGE;

    if (Block != Start)
    {
        RtlpReportDamage(HeapDamageInteriorFree, Heap, Block);
        return;
    }

    if (!RtlpIsFilled(Descriptor->Base, Start) || !RtlpIsFilled(Start + Descriptor->Requested, End))
    {
        RtlpReportDamage(HeapDamageTail, Heap, Block);
        return;
    }

    RtlpAcquireLock(&Heap->BackLock);
    RtlpEndQuarantine(Heap, Descriptor->Pages);
    RtlpArena.Operations->Decommit(Descriptor->Base, (SIZE_T)Descriptor->Pages * HEAP_PAGE, TRUE);
    Descriptor->Kind = HeapKindQuarantined;
    Descriptor->Next = 0;
    if (Heap->QuarantineLast != 0)
    {
        HEAP_DESCRIPTOR_AT(Heap->QuarantineLast)->Next = RtlpDescriptorNumber(Descriptor);
    }
    else
    {
        Heap->QuarantineFirst = RtlpDescriptorNumber(Descriptor);
    }

    Heap->QuarantineLast = RtlpDescriptorNumber(Descriptor);
    Heap->QuarantinePages += Descriptor->Pages;
    RtlpReleaseLock(&Heap->BackLock);
}
