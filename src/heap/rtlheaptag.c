/* SPDX-License-Identifier: MIT */
/*
 * Heap tags: names for what blocks are for, with counters. RtlCreateTagHeap makes them, HEAP_MAKE_TAG_FLAGS puts one into the
 * flags of RtlAllocateHeap and RtlReAllocateHeap, RtlQueryTagHeap and RtlWalkHeap tell.
 *
 * A tagged block keeps its tag in front of its trailer, whose check value covers it (rtlheap.c). Tags are never removed
 * before the heap is destroyed; the next heap uses the memory again. The whole heap's locks guard it, counters are atomic.
 */
#include "heap/api.h"

#define HEAP_TAG_CHUNK 31 /* tags */
#define HEAP_TAG_UNITS (sizeof(HEAP_TAGS) / HEAP_UNIT)

typedef struct _HEAP_TAG_ENTRY
{
    RTL_HEAP_TAG_INFO Info;
    WCHAR Name[24]; /* ends with 0 */
} HEAP_TAG_ENTRY, *PHEAP_TAG_ENTRY;

typedef struct _HEAP_TAGS
{
    struct _HEAP_TAGS *Next;
    ULONG64 Unused[7];
    HEAP_TAG_ENTRY Entries[HEAP_TAG_CHUNK];
} HEAP_TAGS, *PHEAP_TAGS;

C_ASSERT(sizeof(HEAP_TAGS) % HEAP_UNIT == 0);

static PHEAP_TAG_ENTRY RtlpTagEntry(PHEAP Heap, ULONG Tag)
{
    PHEAP_TAGS Tags = Heap->Tags;

    if (Tag == 0 || Tag > Heap->TagCount)
    {
        return NULL;
    }

    for (Tag -= 1; Tag >= HEAP_TAG_CHUNK; Tag -= HEAP_TAG_CHUNK)
    {
        Tags = Tags->Next;
    }

    return &Tags->Entries[Tag];
}

USHORT RtlpTagOfFlags(PHEAP Heap, ULONG Flags)
{
    const ULONG Tag = (Flags & HEAP_TAG_MASK) >> HEAP_TAG_SHIFT;

    return (USHORT)(Tag <= Heap->TagCount ? Tag : 0);
}

VOID RtlpCountTag(PHEAP Heap, USHORT Tag, LONG Blocks, SIZE_T Bytes)
{
    PHEAP_TAG_ENTRY Entry = RtlpTagEntry(Heap, Tag);

    if (Entry != NULL)
    {
        /* Threads on several sides of the heap count at once. */
        (VOID) __atomic_fetch_add(&Entry->Info.NumberOfAllocations, Blocks > 0, __ATOMIC_RELAXED);
        (VOID) __atomic_fetch_add(&Entry->Info.NumberOfFrees, Blocks < 0, __ATOMIC_RELAXED);
        (VOID) __atomic_fetch_add(&Entry->Info.BytesAllocated, Bytes, __ATOMIC_RELAXED);
    }
}

/* Room for Count tags in all. */
static BOOLEAN RtlpGrowTags(PHEAP Heap, ULONG Count)
{
    PHEAP_TAGS *Place = &Heap->Tags;

    for (ULONG Room = 0; Room < Count; Room += HEAP_TAG_CHUNK)
    {
        if (*Place == NULL)
        {
            PHEAP_TAGS New = RtlpAllocateMetadata(HEAP_TAG_UNITS);

            if (New == NULL)
            {
                return FALSE;
            }

            New->Next = NULL;
            *Place = New;
        }

        Place = &(*Place)->Next;
    }

    return TRUE;
}

static VOID RtlpAddTag(PHEAP Heap, PCWSTR Prefix, PCWSTR Name)
{
    const ULONG Most = sizeof(((PHEAP_TAG_ENTRY)NULL)->Name) / sizeof(WCHAR) - 1;
    ULONG Length = 0;

    Heap->TagCount += 1;

    PHEAP_TAG_ENTRY Entry = RtlpTagEntry(Heap, Heap->TagCount);

    __builtin_memset(Entry, 0, sizeof(*Entry));
    for (; Prefix != NULL && *Prefix != 0 && Length < Most; Prefix += 1, Length += 1)
    {
        Entry->Name[Length] = *Prefix;
    }

    for (; *Name != 0 && Length < Most; Name += 1, Length += 1)
    {
        Entry->Name[Length] = *Name;
    }
}

static PCWSTR RtlpNextName(PCWSTR Name)
{
    while (*Name != 0)
    {
        Name += 1;
    }

    return Name + 1;
}

ULONG NTAPI RtlCreateTagHeap(PVOID HeapHandle, ULONG Flags, PWSTR TagPrefix, PWSTR TagNames)
{
    PHEAP Heap = RtlpHeapOf(HeapHandle);
    ULONG Count = 0;
    ULONG First = 0;

    if (Heap == NULL || !Heap->Private || TagNames == NULL)
    {
        return 0;
    }

    for (PCWSTR Name = TagNames; *Name != 0; Name = RtlpNextName(Name))
    {
        Count += 1;
    }

    RtlpEnterHeap(Heap, Flags);
    if (Count != 0 && Count <= HEAP_MAXIMUM_TAG - Heap->TagCount &&
        RtlpGrowTags(Heap, Heap->TagCount + Count))
    {
        First = Heap->TagCount + 1;
        for (PCWSTR Name = TagNames; *Name != 0; Name = RtlpNextName(Name))
        {
            RtlpAddTag(Heap, TagPrefix, Name);
        }
    }

    RtlpLeaveHeap(Heap, Flags);

    return First << HEAP_TAG_SHIFT;
}

PWSTR NTAPI RtlQueryTagHeap(PVOID HeapHandle, ULONG Flags, USHORT TagIndex, BOOLEAN ResetCounters,
                            PRTL_HEAP_TAG_INFO TagInfo)
{
    PHEAP Heap = RtlpHeapOf(HeapHandle);
    PHEAP_TAG_ENTRY Entry = NULL;

    if (Heap == NULL)
    {
        return NULL;
    }

    RtlpEnterHeap(Heap, Flags);
    Entry = RtlpTagEntry(Heap, TagIndex);
    if (Entry != NULL && TagInfo != NULL)
    {
        *TagInfo = Entry->Info;
    }

    if (Entry != NULL && ResetCounters)
    {
        /* What is allocated stays allocated. */
        Entry->Info.NumberOfAllocations = 0;
        Entry->Info.NumberOfFrees = 0;
    }

    RtlpLeaveHeap(Heap, Flags);

    return Entry != NULL ? Entry->Name : NULL;
}
