/* SPDX-License-Identifier: MIT */
/*
 * The arena: one reservation of address space that every heap of the process lives in, and the metadata beside it.
 *
 * One range makes the question "whose is this address?" a subtraction and a compare, and the page map behind it a plain
 * array. Three reservations, each far from the others: the arena (a tebibyte, less if the system grants less; then a part of
 * what it grants is left to the program's other mappings), the page map (a thousandth of it), the metadata (a thirty-second). Address space costs nothing until it is committed.
 * Regions of 4 MiB are handed out lowest first; the last page of each run is never committed: a guard page.
 */
#include "heap/heap.h"

HEAP_TOUCHED static const CHAR RtlpPageHeapOption[] = "NTHEAP_PAGE_HEAP";

#define HEAP_ARENA_SMALLEST ((SIZE_T)1 << 24)
#define HEAP_METADATA_LEAST ((SIZE_T)1 << 22)
#define HEAP_METADATA_MOST  ((SIZE_T)1 << 34) /* HEAP_ACTIVE.Word: 2^31 words to either side */
#define RtlpRegionMap       (RtlpProcess.RegionMap)
#define RtlpDonated         (RtlpProcess.Donated)

#if defined(__SANITIZE_THREAD__)
#define HEAP_ARENA_FIRST_TRY ((SIZE_T)1 << 34)
#elif defined(__SANITIZE_ADDRESS__)
#define HEAP_ARENA_FIRST_TRY ((SIZE_T)1 << 36)
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define HEAP_ARENA_FIRST_TRY ((SIZE_T)1 << 34)
#endif
#endif
#ifndef HEAP_ARENA_FIRST_TRY
#define HEAP_ARENA_FIRST_TRY HEAP_ARENA_LARGEST
#endif

/* Where address space is limited, stacks and libraries need some of it, too. */
static BOOLEAN RtlpLeavesRoom(PCHEAP_PAGE_OPERATIONS Operations, SIZE_T Size)
{
    const SIZE_T Others = Size / 4;
    PVOID Room = Size < HEAP_ARENA_FIRST_TRY ? Operations->Reserve(Others, HEAP_PAGE) : NULL;

    if (Room != NULL)
    {
        Operations->Release(Room, Others);
    }

    return Room != NULL || Size == HEAP_ARENA_FIRST_TRY;
}

static BOOLEAN RtlpReserveArena(PHEAP_ARENA Arena, SIZE_T Size)
{
    PCHEAP_PAGE_OPERATIONS Operations = Arena->Operations;
    const SIZE_T MapSize = Size / HEAP_PAGE * sizeof(ULONG);
    const SIZE_T Share =
        Size / (Size < HEAP_ARENA_FIRST_TRY ? 16 : 32); /* threads are not fewer in a small one */
    const SIZE_T MetadataSize = Share < HEAP_METADATA_LEAST  ? HEAP_METADATA_LEAST
                                : Share > HEAP_METADATA_MOST ? HEAP_METADATA_MOST
                                                             : Share;
    PUCHAR Base = Operations->Reserve(Size, HEAP_REGION);

    if (Base == NULL)
    {
        return FALSE;
    }

    PULONG Map = Operations->Reserve(MapSize, HEAP_PAGE);
    PUCHAR Metadata = Operations->Reserve(MetadataSize, HEAP_PAGE);

    if (Map == NULL || Metadata == NULL || !RtlpLeavesRoom(Operations, Size) ||
        !Operations->Commit(Metadata, HEAP_METADATA_STEP, FALSE))
    {
        Operations->Release(Base, Size);
        if (Map != NULL)
        {
            Operations->Release(Map, MapSize);
        }

        if (Metadata != NULL)
        {
            Operations->Release(Metadata, MetadataSize);
        }

        return FALSE;
    }

    Arena->Base = Base;
    Arena->Size = Size;
    Arena->PageMap = Map;
    Arena->Metadata = Metadata;
    Arena->MetadataSize = MetadataSize;
    Arena->MetadataCommitted = HEAP_METADATA_STEP;
    /* Number 0 means none; its descriptor is what the page map leads to where there is nothing. */
    Arena->MetadataUsed = HEAP_UNIT;
    ((PHEAP_DESCRIPTOR)(PVOID)Metadata)->Owner = HEAP_NO_OWNER;

    return TRUE;
}

/*
 * A random number by which neighbouring stretches of memory lie half a place to one and a half of four apart, up or down: which of them go to
 * the same place nobody knows.
 */
static ULONG64 RtlpDrawScatter(VOID)
{
    const ULONG64 Random = RtlpGroundEntropy();
    const ULONG64 Halves = 1 + (Random >> 63) + (Random >> 60 & 4); /* 1, 2, 5, 6: of places */

    return Halves << (HEAP_SCATTER_SHIFT - 1) | (Random & ((1ull << (HEAP_SCATTER_SHIFT - 1)) - 1)) | 1;
}

BOOLEAN RtlpInitializeArena(PCHEAP_PAGE_OPERATIONS Operations)
{
    if (!RtlpHasProcess())
    {
        return FALSE;
    }

    if (HEAP_LIKELY(__atomic_load_n(&RtlpArena.State, __ATOMIC_ACQUIRE) == 2))
    {
        return TRUE;
    }

    RtlpAcquireLock(&RtlpArena.Lock);
    if (RtlpArena.State != 2)
    {
        SIZE_T Size = HEAP_ARENA_FIRST_TRY;

        RtlpArena.Operations = Operations;
        while (Size >= HEAP_ARENA_SMALLEST && !RtlpReserveArena(&RtlpArena, Size))
        {
            Size = Size / 8 * 7 & ~(HEAP_REGION - 1);
        }

        if (Size >= HEAP_ARENA_SMALLEST)
        {
            RtlpArena.Key = RtlpGroundEntropy() | 1;
            RtlpArena.Scatter = RtlpDrawScatter();
            RtlpPageHeap = RtlpGroundOption(RtlpPageHeapOption) != 0;
            RtlInitializeBitMap(&RtlpRegionMap, RtlpProcess.RegionBits, (ULONG)(Size >> HEAP_REGION_SHIFT));
            __atomic_store_n(&RtlpArena.State, 2, __ATOMIC_RELEASE);
        }
    }

    const BOOLEAN Ready = RtlpArena.State == 2;

    RtlpReleaseLock(&RtlpArena.Lock);

    return Ready;
}

PVOID RtlpAllocateMetadata(SIZE_T Units)
{
    PHEAP_ARENA Arena = &RtlpArena;
    const SIZE_T Size = Units * HEAP_UNIT;
    PVOID Result = NULL;

    RtlpAcquireLock(&Arena->Lock);

    const SIZE_T Used = Arena->MetadataUsed + Size;
    BOOLEAN Room = Used <= Arena->MetadataSize;

    if (Room && Used > Arena->MetadataCommitted)
    {
        const SIZE_T More =
            (Used - Arena->MetadataCommitted + HEAP_METADATA_STEP - 1) & ~(HEAP_METADATA_STEP - 1);

        Room = Arena->MetadataCommitted + More <= Arena->MetadataSize &&
               Arena->Operations->Commit(Arena->Metadata + Arena->MetadataCommitted, More, FALSE);
        if (Room)
        {
            Arena->MetadataCommitted += More;
        }
    }

    if (Room)
    {
        Result = Arena->Metadata + Arena->MetadataUsed;
        HEAP_STORE(&Arena->MetadataUsed, Used);
    }

    RtlpReleaseLock(&Arena->Lock);

    return Result;
}

VOID RtlpDonateDescriptor(PHEAP_DESCRIPTOR Descriptor, ULONG Units)
{
    Descriptor->Owner = HEAP_NO_OWNER;
    Descriptor->Kind = HeapKindNone;
    RtlpAcquireLock(&RtlpArena.Lock);
    Descriptor->Next = RtlpDonated[Units];
    HEAP_STORE(&RtlpDonated[Units], RtlpDescriptorNumber(Descriptor));
    RtlpReleaseLock(&RtlpArena.Lock);
}

PHEAP_DESCRIPTOR RtlpAdoptDescriptor(ULONG Units)
{
    PHEAP_DESCRIPTOR Descriptor = NULL;

    if (HEAP_LOAD(&RtlpDonated[Units]) != 0)
    {
        RtlpAcquireLock(&RtlpArena.Lock);
        if (RtlpDonated[Units] != 0)
        {
            Descriptor = HEAP_DESCRIPTOR_AT(RtlpDonated[Units]);
            HEAP_STORE(&RtlpDonated[Units], Descriptor->Next);
        }

        RtlpReleaseLock(&RtlpArena.Lock);
    }

    return Descriptor;
}

PUCHAR RtlpAllocateRegions(SIZE_T Count)
{
    PHEAP_ARENA Arena = &RtlpArena;
    PUCHAR Result = NULL;

    if (Count == 0 || Count > RtlpRegionMap.SizeOfBitMap)
    {
        return NULL;
    }

    RtlpAcquireLock(&Arena->Lock);

    const ULONG Index = RtlFindClearBits(&RtlpRegionMap, (ULONG)Count, 0);

    if (Index != RTL_BITMAP_NOT_FOUND)
    {
        const SIZE_T End = ((SIZE_T)Index + Count) << HEAP_REGION_SHIFT;
        BOOLEAN Room = TRUE;

        if (End > Arena->MapCommitted)
        {
            /* One page of the map for one region. */
            PUCHAR Map = (PUCHAR)Arena->PageMap;
            const SIZE_T From = Arena->MapCommitted / HEAP_PAGE * sizeof(ULONG);
            const SIZE_T To = End / HEAP_PAGE * sizeof(ULONG);

            Room = Arena->Operations->Commit(Map + From, To - From, FALSE);
            if (Room)
            {
                Arena->MapCommitted = End;
                HEAP_STORE(&Arena->Limit, End);
            }
        }

        if (Room)
        {
            RtlSetBits(&RtlpRegionMap, Index, (ULONG)Count);
            Result = Arena->Base + ((SIZE_T)Index << HEAP_REGION_SHIFT);
        }
    }

    RtlpReleaseLock(&Arena->Lock);

    return Result;
}

VOID RtlpFreeRegions(PUCHAR Base, SIZE_T Count)
{
    PHEAP_ARENA Arena = &RtlpArena;
    const ULONG Index = (ULONG)((SIZE_T)(Base - Arena->Base) >> HEAP_REGION_SHIFT);

    RtlpAcquireLock(&Arena->Lock);
    RtlClearBits(&RtlpRegionMap, Index, (ULONG)Count);
    RtlpReleaseLock(&Arena->Lock);
}

VOID RtlpSetPageMap(const VOID *Base, SIZE_T Pages, ULONG Number)
{
    PULONG Map = RtlpArena.PageMap + ((SIZE_T)((const UCHAR *)Base - RtlpArena.Base) >> HEAP_PAGE_SHIFT);

    for (SIZE_T Index = 0; Index < Pages; Index += 1)
    {
        HEAP_STORE(&Map[Index], Number);
    }
}
