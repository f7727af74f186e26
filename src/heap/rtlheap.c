/* SPDX-License-Identifier: MIT */
/*
 * RtlAllocateHeap to RtlSizeHeap: the blocks of private heaps, and the trailer that each of them ends with.
 *
 * Where a call finds damage, RtlpReportDamage ends the process; with a test's handler the call fails. A failed call
 * changes nothing.
 */
#include "heap/api.h"

#define HEAP_TRAILER    sizeof(ULONG64)
#define HEAP_TAIL_BYTES 16
#define HEAP_TAIL_FILL  0xAB
#define HEAP_SLACK_BITS 24
#define HEAP_FLAG_SHIFT 8 /* of HEAP_SETTABLE_USER_VALUE */

/* ---- trailers ---- */

static ULONG64 RtlpTrailer(const VOID *Block, SIZE_T Slack, ULONG UserFlags, ULONG64 Tag)
{
    const ULONG64 Low = Slack | (ULONG64)(UserFlags >> HEAP_FLAG_SHIFT & 0xff) << HEAP_SLACK_BITS;
    const ULONG64 Check = (Low ^ Tag << 40 ^ (ULONG_PTR)Block ^ RtlpArena.Key) * 0x9e3779b97f4a7c15ull;

    return (Low | Check >> 32 << 32) ^ (ULONG_PTR)(RtlpArena.Key & MAXULONG);
}

VOID RtlpWriteTrailer(PHEAP Heap, PVOID Block, const HEAP_BLOCK_INFO *Info)
{
    const SIZE_T Slack = Info->Usable - HEAP_TRAILER - Info->Requested;
    PUCHAR End = (PUCHAR)Block + Info->Usable - HEAP_TRAILER;
    const ULONG64 Trailer = RtlpTrailer(Block, Slack, Info->UserFlags, Info->Tag);

    if ((Heap->Flags & HEAP_TAIL_CHECKING_ENABLED) != 0)
    {
        __builtin_memset((PUCHAR)Block + Info->Requested, HEAP_TAIL_FILL, Slack);
    }

    __builtin_memcpy(End, &Trailer, HEAP_TRAILER);
    if ((Info->UserFlags & HEAP_BLOCK_TAGGED) != 0)
    {
        const ULONG64 Tag = Info->Tag ^ RtlpArena.Key;

        End -= sizeof(Tag);
        __builtin_memcpy(End, &Tag, sizeof(Tag));
    }

    if ((Info->UserFlags & HEAP_SETTABLE_USER_VALUE) != 0)
    {
        __builtin_memcpy(End - sizeof(PVOID), &Info->UserValue, sizeof(PVOID));
    }
}

SIZE_T RtlpUsableSize(PHEAP Heap, const VOID *Block)
{
    if (RtlpIsOfRange(Heap, Block))
    {
        return RtlpFixedSize(Heap->Fixed, Block);
    }

    PHEAP_DESCRIPTOR Descriptor = RtlpLookup(Block);

    return Descriptor != NULL && RtlpHeapOfSpan(Descriptor) == Heap ? RtlpBlockSizeIn(Descriptor, Block) : 0;
}

static BOOLEAN RtlpTailIsWhole(const UCHAR *From, const UCHAR *To)
{
    while (From < To && *From == HEAP_TAIL_FILL)
    {
        From += 1;
    }

    return From >= To;
}

BOOLEAN RtlpReadBlock(PHEAP Heap, const VOID *Block, PHEAP_BLOCK_INFO Info, HEAP_DAMAGE *Damage)
{
    Info->Usable = RtlpUsableSize(Heap, Block);
    if (Info->Usable < HEAP_TRAILER)
    {
        PHEAP_DESCRIPTOR Descriptor = RtlpLookup(Block);

        *Damage = !RtlpIsOfRange(Heap, Block) && Descriptor != NULL
                      ? RtlpDiagnoseBlock(Heap, Descriptor, Block)
                      : HeapDamageInvalidFree;
        return FALSE;
    }

    const UCHAR *End = (const UCHAR *)Block + Info->Usable - HEAP_TRAILER;
    ULONG64 Trailer;

    __builtin_memcpy(&Trailer, End, HEAP_TRAILER);

    const ULONG64 Low = (Trailer ^ RtlpArena.Key) & MAXULONG;
    const SIZE_T Slack = Low & ((1u << HEAP_SLACK_BITS) - 1);

    Info->UserFlags = (ULONG)(Low >> HEAP_SLACK_BITS) << HEAP_FLAG_SHIFT;
    Info->Requested = Info->Usable - HEAP_TRAILER - Slack;
    Info->UserValue = NULL;
    Info->Tag = 0;
    *Damage = HeapDamageTail;
    if (RtlpIsDelayed(Heap, Block, Info->Usable))
    {
        *Damage = HeapDamageDoubleFree;
        return FALSE;
    }

    ULONG64 Tag = 0;

    if ((Info->UserFlags & HEAP_BLOCK_TAGGED) != 0 && Info->Usable >= HEAP_TRAILER + sizeof(Tag))
    {
        End -= sizeof(Tag);
        __builtin_memcpy(&Tag, End, sizeof(Tag));
        Tag ^= RtlpArena.Key;
    }

    if (RtlpTrailer(Block, Slack, Info->UserFlags, Tag) != Trailer || Slack > Info->Usable - HEAP_TRAILER ||
        Tag > HEAP_MAXIMUM_TAG)
    {
        return FALSE;
    }

    Info->Tag = (USHORT)Tag;

    if ((Info->UserFlags & HEAP_SETTABLE_USER_VALUE) != 0)
    {
        End -= sizeof(PVOID);
        __builtin_memcpy(&Info->UserValue, End, sizeof(PVOID));
    }

    return (Heap->Flags & HEAP_TAIL_CHECKING_ENABLED) == 0 ||
           RtlpTailIsWhole((const UCHAR *)Block + Info->Requested, End);
}

/* ---- blocks ---- */

/* Heap is NULL if the handle was none. No lock is held. */
static PVOID RtlpFailAllocation(PHEAP Heap, ULONG Flags, NTSTATUS Status)
{
    if ((((Heap != NULL ? Heap->Flags : 0) | Flags) & HEAP_GENERATE_EXCEPTIONS) != 0)
    {
        RtlpRaise(Heap, Status);
    }

    return NULL;
}

/* As documented, a block that a heap of fixed size can never have is told from memory that ran out. */
static NTSTATUS RtlpFailureStatus(PHEAP Heap, SIZE_T Size)
{
    return (Heap->Flags & HEAP_GROWABLE) == 0 && Heap->Fixed != NULL && Size > Heap->Fixed->Largest
               ? STATUS_BUFFER_TOO_SMALL
               : STATUS_NO_MEMORY;
}

static PVOID RtlpAllocateInside(PHEAP Heap, PHEAP_SLOT Slot, SIZE_T Size, BOOLEAN *Zeroed)
{
    *Zeroed = FALSE;
    if (Heap->Fixed != NULL)
    {
        PVOID Block = RtlpAllocateFixed(Heap->Fixed, Size);

        if (Block != NULL || (Heap->Flags & HEAP_GROWABLE) == 0)
        {
            return Block;
        }
    }

    if (RtlpPageHeap)
    {
        return RtlpAllocateGuarded(Heap, Size, 16);
    }

    PVOID Block = Size <= HEAP_FRONT_END_LIMIT ? RtlpAllocateFront(Slot, Size)
                                               : RtlpAllocateBig(Heap, Slot, Size, HEAP_PAGE, Zeroed);

    if (HEAP_UNLIKELY(Block == NULL) && Size <= RtlpArena.Size)
    {
        /* What the slot keeps at hand of other sizes goes back before an allocation fails. */
        RtlpReceive(Slot);
        RtlpTrimSlot(Slot);
        RtlpFlushSpanCache(Slot);
        Block = Size <= HEAP_FRONT_END_LIMIT ? RtlpAllocateFront(Slot, Size)
                                             : RtlpAllocateBig(Heap, Slot, Size, HEAP_PAGE, Zeroed);
    }

    return Block;
}

static SIZE_T RtlpExtraBytes(PHEAP Heap, ULONG Flags, USHORT Tag)
{
    return HEAP_TRAILER + (Tag != 0 ? sizeof(ULONG64) : 0) +
           ((Flags & HEAP_SETTABLE_USER_VALUE) != 0 ? sizeof(PVOID) : 0) +
           ((Heap->Flags & HEAP_TAIL_CHECKING_ENABLED) != 0 ? HEAP_TAIL_BYTES : 0);
}

/* The heap is entered, Slot the caller's. */
static PVOID RtlpAllocateInHeap(PHEAP Heap, PHEAP_SLOT Slot, ULONG Flags, SIZE_T Size, USHORT Tag)
{
    const ULONG All = Heap->Flags | Flags;
    BOOLEAN Zeroed;

    if (Size > HEAP_MAXIMUM_REQUEST || (Heap->MaximumAllocation != 0 && Size > Heap->MaximumAllocation))
    {
        return NULL;
    }

    PVOID Block = RtlpAllocateInside(Heap, Slot, Size + RtlpExtraBytes(Heap, Flags, Tag), &Zeroed);

    if (Block == NULL)
    {
        return NULL;
    }

    HEAP_BLOCK_INFO Info = { .Usable = RtlpUsableSize(Heap, Block), .Requested = Size, .Tag = Tag };

    Info.UserFlags =
        (Flags & (HEAP_SETTABLE_USER_VALUE | HEAP_SETTABLE_USER_FLAGS)) | (Tag != 0 ? HEAP_BLOCK_TAGGED : 0);
    if ((All & HEAP_ZERO_MEMORY) != 0 && !Zeroed)
    {
        __builtin_memset(Block, 0, Size);
    }

    RtlpWriteTrailer(Heap, Block, &Info);
    RtlpCountTag(Heap, Tag, 1, Size);

    return Block;
}

PVOID NTAPI RtlAllocateHeap(PVOID HeapHandle, ULONG Flags, SIZE_T Size)
{
    PHEAP Heap = RtlpHeapOf(HeapHandle);

    if (Heap == NULL)
    {
        return RtlpFailAllocation(NULL, Flags, STATUS_ACCESS_VIOLATION);
    }

    const ULONG Side = RtlpEnterSide(Heap, Flags);
    PVOID Block =
        RtlpAllocateInHeap(Heap, RtlpSlotOfSide(Heap, Side), Flags, Size, RtlpTagOfFlags(Heap, Flags));

    RtlpLeaveSide(Heap, Side, Flags);

    return Block != NULL ? Block : RtlpFailAllocation(Heap, Flags, RtlpFailureStatus(Heap, Size));
}

static VOID RtlpFreeNow(PHEAP Heap, PHEAP_SLOT Slot, PVOID Block, SIZE_T Usable)
{
    /* A second free must not find a whole trailer, even where the maps would tell nothing. */
    __builtin_memset((PUCHAR)Block + Usable - HEAP_TRAILER, 0, HEAP_TRAILER);
    if (RtlpIsOfRange(Heap, Block))
    {
        RtlpFreeFixed(Heap, Block);
    }
    else
    {
        RtlpFreeFront(Slot, Block);
    }
}

/* The heap is entered; Info is what RtlpReadBlock found. */
static VOID RtlpFreeInHeap(PHEAP Heap, PHEAP_SLOT Slot, PVOID Block, const HEAP_BLOCK_INFO *Info)
{
    SIZE_T Usable = Info->Usable;

    RtlpCountTag(Heap, Info->Tag, -1, 0 - Info->Requested);
    if ((Heap->Flags & HEAP_FREE_CHECKING_ENABLED) != 0)
    {
        Block = RtlpDelayFree(Heap, Block, &Usable, FALSE);
    }

    if (Block != NULL)
    {
        RtlpFreeNow(Heap, Slot, Block, Usable);
    }
}

VOID RtlpFreeDelayed(PHEAP Heap)
{
    SIZE_T Usable = 0;

    if ((Heap->Flags & HEAP_FREE_CHECKING_ENABLED) != 0)
    {
        for (PVOID Block; (Block = RtlpDelayFree(Heap, NULL, &Usable, TRUE)) != NULL;)
        {
            RtlpFreeNow(Heap, Heap->Slot, Block, Usable);
        }
    }
}

LOGICAL NTAPI RtlFreeHeap(PVOID HeapHandle, ULONG Flags, PVOID BaseAddress)
{
    PHEAP Heap = RtlpHeapOf(HeapHandle);
    HEAP_BLOCK_INFO Info;
    HEAP_DAMAGE Damage;

    if (Heap == NULL)
    {
        return FALSE;
    }

    if (BaseAddress == NULL)
    {
        return TRUE;
    }

    const ULONG Side = RtlpEnterSide(Heap, Flags);
    const BOOLEAN Sound = RtlpReadBlock(Heap, BaseAddress, &Info, &Damage);

    if (Sound)
    {
        RtlpFreeInHeap(Heap, RtlpSlotOfSide(Heap, Side), BaseAddress, &Info);
    }

    RtlpLeaveSide(Heap, Side, Flags);
    if (!Sound)
    {
        RtlpReportDamage(Damage, Heap, BaseAddress);
    }

    return Sound;
}

/* Changes a block in place if its memory permits; Info becomes the new one. */
static BOOLEAN RtlpResizeInPlace(PHEAP Heap, PVOID Block, SIZE_T Size, SIZE_T Extra, PHEAP_BLOCK_INFO Info)
{
    /* Pages that cannot be given back stay, as many as the trailer can tell. */
    BOOLEAN Done = Size + Extra <= Info->Usable && Info->Usable - Size < (SIZE_T)1 << HEAP_SLACK_BITS &&
                   (Info->Usable <= HEAP_FRONT_END_LIMIT || Size + Extra > Info->Usable / 2);

    if (RtlpIsOfRange(Heap, Block))
    {
        Done = RtlpResizeFixed(Heap->Fixed, Block, Size + Extra);
    }
    else if (RtlpLookup(Block)->Kind == HeapKindPages)
    {
        Done = RtlpResizeBig(Heap, RtlpLookup(Block), Size + Extra, TRUE) != NULL || Done;
    }

    if (Done)
    {
        RtlpCountTag(Heap, Info->Tag, 0, Size - Info->Requested);
        Info->Usable = RtlpUsableSize(Heap, Block);
        Info->Requested = Size;
        RtlpWriteTrailer(Heap, Block, Info);
    }

    return Done;
}

PVOID NTAPI RtlReAllocateHeap(PVOID HeapHandle, ULONG Flags, PVOID BaseAddress, SIZE_T Size)
{
    PHEAP Heap = RtlpHeapOf(HeapHandle);
    HEAP_BLOCK_INFO Info;
    HEAP_DAMAGE Damage;
    PVOID Result = NULL;

    if (Heap == NULL || BaseAddress == NULL)
    {
        return RtlpFailAllocation(Heap, Flags, STATUS_ACCESS_VIOLATION);
    }

    const ULONG Side = RtlpEnterSide(Heap, Flags);
    const BOOLEAN Sound = RtlpReadBlock(Heap, BaseAddress, &Info, &Damage);

    if (Sound && Size <= HEAP_MAXIMUM_REQUEST &&
        (Heap->MaximumAllocation == 0 || Size <= Heap->MaximumAllocation))
    {
        PHEAP_SLOT Slot = RtlpSlotOfSide(Heap, Side);
        const SIZE_T Old = Info.Requested;
        const USHORT NewTag = RtlpTagOfFlags(Heap, Flags);
        const USHORT Tag = NewTag != 0 ? NewTag : Info.Tag;
        const ULONG Kept =
            Info.UserFlags | (Flags & HEAP_SETTABLE_USER_VALUE) | (Tag != 0 ? HEAP_BLOCK_TAGGED : 0);

        if (Kept == Info.UserFlags && Tag == Info.Tag &&
            RtlpResizeInPlace(Heap, BaseAddress, Size, RtlpExtraBytes(Heap, Kept, Tag), &Info))
        {
            Result = BaseAddress;
            if (((Heap->Flags | Flags) & HEAP_ZERO_MEMORY) != 0 && Size > Old)
            {
                __builtin_memset((PUCHAR)Result + Old, 0, Size - Old);
            }
        }
        else if ((Flags & HEAP_REALLOC_IN_PLACE_ONLY) == 0)
        {
            Result = RtlpAllocateInHeap(Heap, Slot, (Flags & HEAP_ZERO_MEMORY) | Kept, Size, Tag);
            if (Result != NULL)
            {
                __builtin_memcpy(Result, BaseAddress, Old < Size ? Old : Size);
                if (Info.UserValue != NULL)
                {
                    HEAP_BLOCK_INFO New = { .Usable = RtlpUsableSize(Heap, Result),
                                            .Requested = Size,
                                            .UserFlags = Kept,
                                            .Tag = Tag };

                    New.UserValue = Info.UserValue;
                    RtlpWriteTrailer(Heap, Result, &New);
                }

                RtlpFreeInHeap(Heap, Slot, BaseAddress, &Info);
            }
        }
    }

    RtlpLeaveSide(Heap, Side, Flags);
    if (!Sound)
    {
        RtlpReportDamage(Damage, Heap, BaseAddress);
        return NULL;
    }

    return Result != NULL ? Result : RtlpFailAllocation(Heap, Flags, RtlpFailureStatus(Heap, Size));
}

SIZE_T NTAPI RtlSizeHeap(PVOID HeapHandle, ULONG Flags, PVOID BaseAddress)
{
    PHEAP Heap = RtlpHeapOf(HeapHandle);
    HEAP_BLOCK_INFO Info = { 0 };
    HEAP_DAMAGE Damage;

    if (Heap == NULL)
    {
        return (SIZE_T)-1;
    }

    const ULONG Side = RtlpEnterSide(Heap, Flags);
    const BOOLEAN Sound = RtlpReadBlock(Heap, BaseAddress, &Info, &Damage);

    RtlpLeaveSide(Heap, Side, Flags);

    return Sound ? Info.Requested : (SIZE_T)-1;
}
