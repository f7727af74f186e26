/* SPDX-License-Identifier: MIT */
/*
 * The check mode of malloc: NTHEAP_CHECK=1.
 *
 * Blocks of the malloc family then come from a private heap with HEAP_TAIL_CHECKING_ENABLED and HEAP_FREE_CHECKING_ENABLED:
 * each has a filled end and an encoded trailer, so that an overrun into a neighbour is found when the block is freed; a
 * freed block is filled and waits behind a thousand others, so that memory is not used again soon and a write through an
 * old pointer is found. When the process ends, all blocks are looked at once more. It costs time, and 32 bytes a block
 * where page-heap mode costs two pages. Threads have no slots: every call leaves the fast path, which does not know of
 * this mode. Blocks with an alignment above 16 are blocks of whole pages, without these checks.
 */
#include "heap/api.h"

HEAP_TOUCHED const CHAR RtlpCheckOption[] = "NTHEAP_CHECK";

#define HEAP_CHECK_DELAY 1024 /* freed blocks that wait */

static PVOID RtlpCheckHeapHandle; /* (atomic) NULL until it is decided, RtlpNoCheckHeap if it is off */
static CHAR RtlpNoCheckHeap;

static PVOID RtlpCreateCheckHeap(VOID)
{
    PHEAP Heap = RtlCreateHeap(HEAP_GROWABLE | HEAP_TAIL_CHECKING_ENABLED | HEAP_FREE_CHECKING_ENABLED, NULL,
                               0, 0, NULL, NULL);

    if (Heap != NULL)
    {
        Heap->Ring = NULL;
        if (!RtlpCreateRing(Heap, HEAP_CHECK_DELAY))
        {
            Heap->Flags &= ~(ULONG)HEAP_FREE_CHECKING_ENABLED;
            (VOID) RtlDestroyHeap(Heap);
            Heap = NULL;
        }
    }

    return Heap;
}

PVOID RtlpCheckModeHeap(VOID)
{
    PVOID Heap = __atomic_load_n(&RtlpCheckHeapHandle, __ATOMIC_ACQUIRE);

    if (HEAP_UNLIKELY(Heap == NULL))
    {
        PVOID Expected = NULL;

        if (!RtlpInitializeArena(&RtlpLinuxPageOperations))
        {
            return NULL;
        }

        Heap =
            RtlpPageHeap || RtlpGroundOption(RtlpCheckOption) == 0 ? &RtlpNoCheckHeap : RtlpCreateCheckHeap();
        if (Heap == NULL)
        {
            return NULL;
        }

        if (!__atomic_compare_exchange_n(&RtlpCheckHeapHandle, &Expected, Heap, FALSE, __ATOMIC_ACQ_REL,
                                         __ATOMIC_ACQUIRE))
        {
            if (Heap != &RtlpNoCheckHeap)
            {
                (VOID) RtlDestroyHeap(Heap);
            }

            Heap = Expected;
        }
    }

    return Heap != &RtlpNoCheckHeap ? Heap : NULL;
}

VOID RtlpCheckModeEnd(VOID)
{
    PHEAP Heap = RtlpCheckModeHeap();
    HEAP_ITEM Item = { .Kind = HeapItemEnd };

    if (Heap == NULL)
    {
        return;
    }

    RtlpEnterHeap(Heap, 0);
    RtlpFreeDelayed(Heap);
    for (RtlpNextItem(Heap, &Item); Item.Kind != HeapItemEnd; RtlpNextItem(Heap, &Item))
    {
        HEAP_BLOCK_INFO Info;
        HEAP_DAMAGE Damage;

        if (Item.Kind == HeapItemBusy && !RtlpReadBlock(Heap, Item.Address, &Info, &Damage))
        {
            RtlpReportDamage(Damage, Heap, Item.Address);
        }
    }

    RtlpLeaveHeap(Heap, 0);
}
