/* SPDX-License-Identifier: MIT */
/*
 * What the heap's flags for finding bugs do, and what HEAP_GENERATE_EXCEPTIONS raises.
 *
 * Free checking fills a freed block with a pattern, marks its end, and lets it wait in a ring: that is delayed reuse, and a
 * write through an old pointer is found when the block leaves the ring. A second free finds the mark.
 * In the machine HEAP_GENERATE_EXCEPTIONS raises a real exception. There is no structured exception handling under a plain
 * Linux program: the exception goes to a handler, which may leave by longjmp or by a C++ exception (no lock is held, the calls above can be
 * unwound), and without one it ends the process, as an unhandled one does on Windows.
 */
#include "heap/api.h"

#define HEAP_FREE_FILL 0xFE

#define HEAP_RING_LARGEST ((SIZE_T)64 * 1024) /* larger blocks do not wait */

typedef struct _HEAP_RING
{
    ULONG First;
    ULONG Count;
    ULONG Size;
    ULONG Unused;
    struct
    {
        PVOID Block;
        SIZE_T Usable;
    } Entries[]; /* Size of them */
} HEAP_RING, *PHEAP_RING;

BOOLEAN RtlpCreateRing(PHEAP Heap, ULONG Blocks)
{
    if (Heap->Ring == NULL)
    {
        const SIZE_T Bytes = sizeof(HEAP_RING) + Blocks * sizeof(Heap->Ring->Entries[0]);

        Heap->Ring = RtlpAllocateMetadata((Bytes + HEAP_UNIT - 1) / HEAP_UNIT);
    }

    if (Heap->Ring == NULL)
    {
        return FALSE;
    }

    Heap->Ring->Size = Blocks;
    Heap->Ring->First = 0;
    Heap->Ring->Count = 0;

    return TRUE;
}

static ULONG64 RtlpFreeMark(const VOID *Block)
{
    return ((ULONG_PTR)Block ^ RtlpArena.Key) * 0xd6e8feb86659fd93ull;
}

BOOLEAN RtlpIsDelayed(PHEAP Heap, const VOID *Block, SIZE_T Usable)
{
    ULONG64 Mark;

    if ((Heap->Flags & HEAP_FREE_CHECKING_ENABLED) == 0 || Usable < sizeof(Mark))
    {
        return FALSE;
    }

    __builtin_memcpy(&Mark, (const UCHAR *)Block + Usable - sizeof(Mark), sizeof(Mark));

    return Mark == RtlpFreeMark(Block);
}

static VOID RtlpCheckFill(PHEAP Heap, const UCHAR *Block, SIZE_T Usable)
{
    SIZE_T Index = 0;

    while (Index < Usable - sizeof(ULONG64) && Block[Index] == HEAP_FREE_FILL)
    {
        Index += 1;
    }

    if (Index != Usable - sizeof(ULONG64) || !RtlpIsDelayed(Heap, Block, Usable))
    {
        RtlpReportDamage(HeapDamageFreed, Heap, Block);
    }
}

PVOID RtlpDelayFree(PHEAP Heap, PVOID Block, SIZE_T *Usable, BOOLEAN Flush)
{
    PHEAP_RING Ring = Heap->Ring;
    PVOID Leaving = NULL;
    SIZE_T LeavingUsable = 0;

    if (!Flush && *Usable > HEAP_RING_LARGEST)
    {
        return Block;
    }

    if (Ring->Count == Ring->Size || (Flush && Ring->Count != 0))
    {
        Leaving = Ring->Entries[Ring->First].Block;
        LeavingUsable = Ring->Entries[Ring->First].Usable;
        Ring->First = (Ring->First + 1) % Ring->Size;
        Ring->Count -= 1;
        RtlpCheckFill(Heap, Leaving, LeavingUsable);
    }

    if (!Flush)
    {
        const ULONG64 Mark = RtlpFreeMark(Block);
        const ULONG Place = (Ring->First + Ring->Count) % Ring->Size;

        __builtin_memset(Block, HEAP_FREE_FILL, *Usable - sizeof(Mark));
        __builtin_memcpy((PUCHAR)Block + *Usable - sizeof(Mark), &Mark, sizeof(Mark));
        Ring->Entries[Place].Block = Block;
        Ring->Entries[Place].Usable = *Usable;
        Ring->Count += 1;
    }

    *Usable = LeavingUsable;

    return Leaving;
}

VOID RtlpRaise(PHEAP Heap, NTSTATUS Status)
{
    HEAP_EXCEPTION_HANDLER *Handler =
        RtlpHasProcess() ? __atomic_load_n(&RtlpExceptionHandler, __ATOMIC_ACQUIRE) : NULL;

    if (Handler != NULL)
    {
        Handler(Heap, Status);
        return;
    }

    RtlpGroundRaise(Status);
}
