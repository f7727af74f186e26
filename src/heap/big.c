/* SPDX-License-Identifier: MIT */
/*
 * Blocks of whole pages: up to 512 KiB from the back end's small pool, larger ones from regions for large blocks.
 *
 * Freed pages are used again before new ones, whatever the sizes: a page fault costs more than anything the allocator
 * does. A slot keeps a few short spans of its own, so that a loop over a buffer does not take the heap's lock. A block
 * grows into free pages behind it, else, if it is long, by moving its pages instead of copying them.
 */
#include "heap/front.h"

#define HEAP_MOVE_PAGES 256 /* from here on moving page tables is cheaper than copying */

static SIZE_T RtlpPagesFor(SIZE_T Size)
{
    return (Size + HEAP_PAGE - 1) >> HEAP_PAGE_SHIFT;
}

PVOID RtlpAllocateBig(PHEAP Heap, PHEAP_SLOT Slot, SIZE_T Size, SIZE_T Alignment, BOOLEAN *Zeroed)
{
    const SIZE_T Aligned = Alignment > HEAP_PAGE ? Alignment : HEAP_PAGE;
    const SIZE_T Pages = Size == 0 ? 1 : RtlpPagesFor(Size);

    /* Pages are counted in 32 bits: 16 TiB, more than an arena. */
    if (Size > HEAP_MAXIMUM_REQUEST || Aligned > HEAP_MAXIMUM_REQUEST ||
        Pages + Aligned / HEAP_PAGE > MAXULONG / 2)
    {
        return NULL;
    }

    if (RtlpPageHeap)
    {
        *Zeroed = FALSE;
        return RtlpAllocateGuarded(Heap, Size, Alignment == HEAP_PAGE ? 16 : Alignment);
    }

    PVOID Cached = Aligned == HEAP_PAGE ? RtlpTakeCachedSpan(Slot, Size) : NULL;

    if (Cached != NULL)
    {
        *Zeroed = FALSE;
        return Cached;
    }

    RtlpAcquireLock(&Heap->BackLock);

    PHEAP_DESCRIPTOR Span = RtlpAllocateSpan(Heap, (ULONG)Pages, Aligned, HeapKindPages);

    if (Span != NULL)
    {
        *Zeroed = Span->Zeroed;
    }

    RtlpReleaseLock(&Heap->BackLock);
    if (Span != NULL && RtlpKeptSpans(Slot, Pages) != NULL && Slot != &RtlpEmptySlot)
    {
        RtlpOwnSpan(Slot, Span);
    }

    return Span != NULL ? Span->Base : NULL;
}

VOID RtlpFreeBig(PHEAP Heap, PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Descriptor)
{
    if (!RtlpCacheSpan(Slot, Descriptor))
    {
        RtlpFreeOutgrown(Heap, Descriptor);
    }
}

VOID RtlpFreeOutgrown(PHEAP Heap, PHEAP_DESCRIPTOR Descriptor)
{
    RtlpAcquireLock(&Heap->BackLock);
    RtlpFreeSpan(Heap, Descriptor);
    RtlpReleaseLock(&Heap->BackLock);
}

VOID RtlpFlushSpanCache(PHEAP_SLOT Slot)
{
    RtlpAcquireLock(&Slot->Heap->BackLock);
    for (ULONG Place = 0; Place < HEAP_SPAN_CACHE; Place += 1)
    {
        while (Slot->Cached[Place] != 0)
        {
            PHEAP_DESCRIPTOR Span = HEAP_DESCRIPTOR_AT(Slot->Cached[Place]);

            Slot->Cached[Place] = Span->Next;
            RtlpFreeSpan(Slot->Heap, Span);
        }
    }

    for (ULONG Place = HEAP_BUCKETS; Place < HEAP_ALL_BUCKETS; Place += 1)
    {
        PHEAP_ACTIVE Kept = &Slot->Active[Place];

        while (RtlpIsReady(Kept))
        {
            RtlpFreeSpan(Slot->Heap, RtlpLookup(RtlpTakeReady(Slot, Kept, Kept->Ready)));
        }
    }

    Slot->CachedPages = 0;
    RtlpReleaseLock(&Slot->Heap->BackLock);
}

/* A new span that holds the pages of Span, which becomes clean free memory. Large pool only; BackLock is held. */
static PHEAP_DESCRIPTOR RtlpMoveSpan(PHEAP Heap, PHEAP_DESCRIPTOR Span, ULONG Pages)
{
    PCHEAP_PAGE_OPERATIONS Operations = RtlpArena.Operations;
    const SIZE_T OldSize = Span->Pages * HEAP_PAGE;
    /* No other pages are to be brought to where these go. */
    PHEAP_DESCRIPTOR New = RtlpAllocateSpan(Heap, Pages, HEAP_PAGE, HeapKindNone);

    if (New == NULL)
    {
        return NULL;
    }

    if (!RtlpGroundMove(Span->Base, New->Base, OldSize))
    {
        (VOID) Operations->Commit(New->Base, OldSize, Heap->Executable);
        RtlpFreeSpan(Heap, New);
        return NULL;
    }

    /* The pages left a hole. If it cannot be opened again it is lost address space, until the heap's end. */
    if (Operations->Commit(Span->Base, OldSize, Heap->Executable))
    {
        RtlpFreeUntouchedSpan(Heap, Span);
    }

    HEAP_STORE(&New->Kind, HeapKindPages);

    return New;
}

PVOID RtlpResizeBig(PHEAP Heap, PHEAP_DESCRIPTOR Descriptor, SIZE_T Size, BOOLEAN InPlace)
{
    const BOOLEAN WasLarge = Descriptor->Pages > HEAP_BACK_END_PAGES;
    const SIZE_T Pages = RtlpPagesFor(Size);

    /* A block stays in its pool, and what the front end serves goes there. */
    if (Size > HEAP_MAXIMUM_REQUEST || Pages > MAXULONG / 2 || Size <= HEAP_FRONT_END_LIMIT ||
        WasLarge != (Pages > HEAP_BACK_END_PAGES))
    {
        return NULL;
    }

    if (Pages == Descriptor->Pages)
    {
        return Descriptor->Base;
    }

    RtlpAcquireLock(&Heap->BackLock);
    HEAP_STORE(&Descriptor->Owner, HEAP_NO_OWNER); /* who frees it finds where it is to be kept */

    BOOLEAN Done = RtlpResizeSpan(Heap, Descriptor, (ULONG)Pages);

    if (!Done && !InPlace && WasLarge && Pages > Descriptor->Pages && Descriptor->Pages >= HEAP_MOVE_PAGES &&
        RtlpArena.Operations->CommitOnTouch)
    {
        PHEAP_DESCRIPTOR Moved = RtlpMoveSpan(Heap, Descriptor, (ULONG)Pages);

        if (Moved != NULL)
        {
            Descriptor = Moved;
            Done = TRUE;
        }
    }

    RtlpReleaseLock(&Heap->BackLock);

    return Done ? Descriptor->Base : NULL;
}

SIZE_T RtlpBigSize(const HEAP_DESCRIPTOR *Descriptor)
{
    return Descriptor->Pages * HEAP_PAGE;
}
