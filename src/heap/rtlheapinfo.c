/* SPDX-License-Identifier: MIT */
/*
 * The rest of the RtlHeap family: walk, validate, compact, information classes, process heaps, user values, many blocks at
 * a time.
 */
#include "heap/api.h"

/* ---- walk, validate, compact ---- */

/* Sizes in entries of the Windows API, and of a region, have 32 bits: MAXULONG stands for all that is longer. */
static ULONG RtlpShortSize(SIZE_T Size)
{
    return Size < MAXULONG ? (ULONG)Size : MAXULONG;
}

static VOID RtlpDescribeItem(PHEAP Heap, const HEAP_ITEM *Item, PRTL_HEAP_WALK_ENTRY Entry)
{
    __builtin_memset(Entry, 0, sizeof(*Entry));
    Entry->DataAddress = Item->Address;
    Entry->SegmentIndex = (UCHAR)Item->Region;
    switch (Item->Kind)
    {
    case HeapItemRegion:
        Entry->Flags = RTL_HEAP_SEGMENT;
        Entry->DataSize = Item->Committed + Item->Uncommitted;
        Entry->Segment.CommittedSize = RtlpShortSize(Item->Committed);
        Entry->Segment.UnCommittedSize = RtlpShortSize(Item->Uncommitted);
        Entry->Segment.FirstEntry = Item->Address;
        Entry->Segment.LastEntry = Item->Address + Item->Committed;
        break;
    case HeapItemBusy:
    {
        HEAP_BLOCK_INFO Info;
        HEAP_DAMAGE Damage;

        Entry->Flags = RTL_HEAP_BUSY;
        Entry->DataSize = Item->Size;
        if (RtlpReadBlock(Heap, Item->Address, &Info, &Damage))
        {
            const SIZE_T Overhead = Info.Usable - Info.Requested;

            Entry->DataSize = Info.Requested;
            Entry->Block.TagIndex = Info.Tag;
            Entry->OverheadBytes = (UCHAR)(Overhead > 255 ? 255 : Overhead);
            if ((Info.UserFlags & HEAP_SETTABLE_USER_VALUE) != 0)
            {
                Entry->Flags |= RTL_HEAP_SETTABLE_VALUE;
                Entry->Block.Settable = (SIZE_T)(ULONG_PTR)Info.UserValue;
            }
        }

        break;
    }
    case HeapItemUncommitted:
        Entry->Flags = RTL_HEAP_UNCOMMITTED_RANGE;
        Entry->DataSize = Item->Size;
        break;
    case HeapItemFree:
    case HeapItemEnd:
        Entry->DataSize = Item->Size;
        break;
    }
}

NTSTATUS NTAPI RtlWalkHeap(PVOID HeapHandle, PRTL_HEAP_WALK_ENTRY Entry)
{
    PHEAP Heap = RtlpHeapOf(HeapHandle);
    HEAP_ITEM Item = { .Kind = HeapItemEnd };

    if (Heap == NULL || !Heap->Private)
    {
        return STATUS_INVALID_HANDLE;
    }

    RtlpEnterHeap(Heap, 0);
    if (Entry->DataAddress != NULL)
    {
        /* Where the last entry ended; a block's own size is asked again, its entry tells the requested one. */
        Item.Address = Entry->DataAddress;
        Item.Kind = (Entry->Flags & RTL_HEAP_SEGMENT) != 0             ? HeapItemRegion
                    : (Entry->Flags & RTL_HEAP_BUSY) != 0              ? HeapItemBusy
                    : (Entry->Flags & RTL_HEAP_UNCOMMITTED_RANGE) != 0 ? HeapItemUncommitted
                                                                       : HeapItemFree;
        Item.Size = Item.Kind == HeapItemRegion ? 0
                    : Item.Kind == HeapItemBusy ? RtlpUsableSize(Heap, Item.Address)
                                                : Entry->DataSize;
        Item.Region = Entry->SegmentIndex;
        if (Item.Size == MAXULONG)
        {
            Item.Size = RtlpItemSize(Heap, &Item);
        }
    }

    RtlpNextItem(Heap, &Item);

    const NTSTATUS Status = Item.Kind == HeapItemEnd ? STATUS_NO_MORE_ENTRIES : STATUS_SUCCESS;

    if (Status == STATUS_SUCCESS)
    {
        RtlpDescribeItem(Heap, &Item, Entry);
    }

    RtlpLeaveHeap(Heap, 0);

    return Status;
}

BOOLEAN NTAPI RtlValidateHeap(PVOID HeapHandle, ULONG Flags, PVOID BaseAddress)
{
    PHEAP Heap = RtlpHeapOf(HeapHandle);
    BOOLEAN Sound;

    if (Heap == NULL || !Heap->Private)
    {
        return FALSE;
    }

    RtlpEnterHeap(Heap, Flags);
    if (BaseAddress != NULL)
    {
        HEAP_BLOCK_INFO Info;
        HEAP_DAMAGE Damage;

        Sound = RtlpReadBlock(Heap, BaseAddress, &Info, &Damage);
    }
    else
    {
        Sound = RtlpCheckHeap(Heap);
    }

    RtlpLeaveHeap(Heap, Flags);

    return Sound;
}

SIZE_T NTAPI RtlCompactHeap(PVOID HeapHandle, ULONG Flags)
{
    PHEAP Heap = RtlpHeapOf(HeapHandle);
    HEAP_ITEM Item = { .Kind = HeapItemEnd };
    SIZE_T Longest = 0;

    if (Heap == NULL || !Heap->Private)
    {
        return 0;
    }

    RtlpEnterHeap(Heap, Flags);
    RtlpFreeDelayed(Heap);
    if ((Heap->Flags & HEAP_GROWABLE) != 0)
    {
        for (ULONG Side = Heap->SideCount + 1; Side-- > 0;)
        {
            PHEAP_SLOT Slot = RtlpSlotOfSide(Heap, Side);

            RtlpReceive(Slot);
            RtlpTrimSlot(Slot);
            RtlpFlushSpanCache(Slot);
        }

        RtlpAcquireLock(&Heap->BackLock);
        RtlpPurge(Heap, HeapPoolSmall, 0);
        RtlpPurge(Heap, HeapPoolLarge, 0);
        RtlpReleaseLock(&Heap->BackLock);
    }

    for (RtlpNextItem(Heap, &Item); Item.Kind != HeapItemEnd; RtlpNextItem(Heap, &Item))
    {
        if (Item.Kind == HeapItemFree && Item.Size > Longest)
        {
            Longest = Item.Size;
        }
    }

    RtlpLeaveHeap(Heap, Flags);

    return Longest;
}

/* The handles of heaps behind the first Skip, as many as there is room for. Returns how many heaps there are. */
static ULONG RtlpListHeaps(ULONG Skip, ULONG Room, PVOID *Heaps)
{
    ULONG Count = 0;

    RtlpAcquireLock(&RtlpHeapListLock);
    for (PHEAP Heap = RtlpHeapList; Heap != NULL; Heap = Heap->NextHeap)
    {
        if (Count >= Skip && Count - Skip < Room)
        {
            Heaps[Count - Skip] = Heap;
        }

        Count += 1;
    }

    RtlpReleaseLock(&RtlpHeapListLock);

    return Count;
}

ULONG NTAPI RtlGetProcessHeaps(ULONG NumberOfHeaps, PVOID *ProcessHeaps)
{
    return RtlProcessHeap() != NULL ? RtlpListHeaps(0, NumberOfHeaps, ProcessHeaps) : 0;
}

/* ---- information classes ---- */

/* As documented, no low-fragmentation heap without serialization, of fixed size, or with the checks switched on. */
static ULONG RtlpCompatibility(PHEAP Heap)
{
    return Heap->Fixed == NULL && (Heap->Flags & (HEAP_NO_SERIALIZE | HEAP_TAIL_CHECKING_ENABLED |
                                                  HEAP_FREE_CHECKING_ENABLED)) == 0
               ? 2
               : 0;
}

NTSTATUS NTAPI RtlQueryHeapInformation(PVOID HeapHandle, HEAP_INFORMATION_CLASS HeapInformationClass,
                                       PVOID HeapInformation, SIZE_T HeapInformationLength,
                                       PSIZE_T ReturnLength)
{
    PHEAP Heap = RtlpHeapOf(HeapHandle);

    if (HeapInformationClass != HeapCompatibilityInformation)
    {
        return STATUS_UNSUCCESSFUL;
    }

    if (Heap == NULL)
    {
        return STATUS_INVALID_HANDLE;
    }

    if (ReturnLength != NULL)
    {
        *ReturnLength = sizeof(ULONG);
    }

    if (HeapInformation == NULL || HeapInformationLength < sizeof(ULONG))
    {
        return STATUS_BUFFER_TOO_SMALL;
    }

    *(PULONG)HeapInformation = RtlpCompatibility(Heap);

    return STATUS_SUCCESS;
}

static NTSTATUS RtlpOptimizeResources(PHEAP Heap, const HEAP_OPTIMIZE_RESOURCES_INFORMATION *Information,
                                      SIZE_T Length)
{
    if (Information == NULL || Length < sizeof(*Information) ||
        Information->Version != HEAP_OPTIMIZE_RESOURCES_CURRENT_VERSION || Information->Flags != 0)
    {
        return STATUS_INVALID_PARAMETER;
    }

    if (Heap != NULL)
    {
        (VOID) RtlCompactHeap(Heap, 0);
        return STATUS_SUCCESS;
    }

    /* Without a heap: all of them. */
    PVOID Heaps[16];
    ULONG Count = RtlGetProcessHeaps(16, Heaps);

    for (ULONG Index = 0; Index < Count; Index += 1)
    {
        if (Index != 0 && Index % 16 == 0)
        {
            Count = RtlpListHeaps(Index, 16, Heaps);
        }

        if (Index < Count)
        {
            (VOID) RtlCompactHeap(Heaps[Index % 16], 0); /* one that is gone by now is no heap */
        }
    }

    return STATUS_SUCCESS;
}

NTSTATUS NTAPI RtlSetHeapInformation(PVOID HeapHandle, HEAP_INFORMATION_CLASS HeapInformationClass,
                                     PVOID HeapInformation, SIZE_T HeapInformationLength)
{
    PHEAP Heap = RtlpHeapOf(HeapHandle);

    switch (HeapInformationClass)
    {
    case HeapCompatibilityInformation:
        if (Heap == NULL)
        {
            return STATUS_INVALID_HANDLE;
        }

        if (HeapInformation == NULL || HeapInformationLength < sizeof(ULONG))
        {
            return STATUS_BUFFER_TOO_SMALL;
        }

        /* 2 is what a heap that can have it has already; nothing can be switched off or back. */
        return *(const ULONG *)HeapInformation == 2 && RtlpCompatibility(Heap) == 2 ? STATUS_SUCCESS
                                                                                    : STATUS_UNSUCCESSFUL;
    case HeapEnableTerminationOnCorruption:
        /* It cannot be switched off, so it is on. */
        return HeapInformation == NULL && HeapInformationLength == 0 ? STATUS_SUCCESS
                                                                     : STATUS_INVALID_PARAMETER;
    case HeapOptimizeResources:
        return HeapHandle != NULL && Heap == NULL
                   ? STATUS_INVALID_HANDLE
                   : RtlpOptimizeResources(Heap, HeapInformation, HeapInformationLength);
    case HeapTag:
        return STATUS_NOT_IMPLEMENTED;
    }

    return STATUS_INVALID_PARAMETER;
}

/* ---- user values and flags ---- */

BOOLEAN NTAPI RtlSetUserValueHeap(PVOID HeapHandle, ULONG Flags, PVOID BaseAddress, PVOID UserValue)
{
    PHEAP Heap = RtlpHeapOf(HeapHandle);
    HEAP_BLOCK_INFO Info;
    HEAP_DAMAGE Damage;
    BOOLEAN Done = FALSE;

    if (Heap == NULL)
    {
        return FALSE;
    }

    RtlpEnterHeap(Heap, Flags);
    if (RtlpReadBlock(Heap, BaseAddress, &Info, &Damage) && (Info.UserFlags & HEAP_SETTABLE_USER_VALUE) != 0)
    {
        Info.UserValue = UserValue;
        RtlpWriteTrailer(Heap, BaseAddress, &Info);
        Done = TRUE;
    }

    RtlpLeaveHeap(Heap, Flags);

    return Done;
}

BOOLEAN NTAPI RtlSetUserFlagsHeap(PVOID HeapHandle, ULONG Flags, PVOID BaseAddress, ULONG UserFlagsReset,
                                  ULONG UserFlagsSet)
{
    PHEAP Heap = RtlpHeapOf(HeapHandle);
    HEAP_BLOCK_INFO Info;
    HEAP_DAMAGE Damage;
    BOOLEAN Done = FALSE;

    if (Heap == NULL || ((UserFlagsReset | UserFlagsSet) & ~(ULONG)HEAP_SETTABLE_USER_FLAGS) != 0)
    {
        return FALSE;
    }

    RtlpEnterHeap(Heap, Flags);
    if (RtlpReadBlock(Heap, BaseAddress, &Info, &Damage))
    {
        Info.UserFlags = (Info.UserFlags & ~UserFlagsReset) | UserFlagsSet;
        RtlpWriteTrailer(Heap, BaseAddress, &Info);
        Done = TRUE;
    }

    RtlpLeaveHeap(Heap, Flags);

    return Done;
}

BOOLEAN NTAPI RtlGetUserInfoHeap(PVOID HeapHandle, ULONG Flags, PVOID BaseAddress, PVOID *UserValue,
                                 PULONG UserFlags)
{
    PHEAP Heap = RtlpHeapOf(HeapHandle);
    HEAP_BLOCK_INFO Info;
    HEAP_DAMAGE Damage;

    if (Heap == NULL)
    {
        return FALSE;
    }

    RtlpEnterHeap(Heap, Flags);

    const BOOLEAN Sound = RtlpReadBlock(Heap, BaseAddress, &Info, &Damage);

    RtlpLeaveHeap(Heap, Flags);
    if (!Sound)
    {
        return FALSE;
    }

    if (UserValue != NULL)
    {
        *UserValue = Info.UserValue;
    }

    if (UserFlags != NULL)
    {
        *UserFlags = Info.UserFlags & HEAP_SETTABLE_USER_FLAGS;
    }

    return TRUE;
}

/* ---- many at a time ---- */

ULONG NTAPI RtlMultipleAllocateHeap(PVOID HeapHandle, ULONG Flags, SIZE_T Size, ULONG Count, PVOID *Array)
{
    ULONG Done = 0;

    while (Done < Count)
    {
        Array[Done] = RtlAllocateHeap(HeapHandle, Flags, Size);
        if (Array[Done] == NULL)
        {
            break;
        }

        Done += 1;
    }

    return Done;
}

ULONG NTAPI RtlMultipleFreeHeap(PVOID HeapHandle, ULONG Flags, ULONG Count, PVOID *Array)
{
    ULONG Done = 0;

    while (Done < Count && RtlFreeHeap(HeapHandle, Flags, Array[Done]))
    {
        Done += 1;
    }

    return Done;
}
