/* SPDX-License-Identifier: MIT */
/*
 * What the files of the RtlHeap family share: private heaps, their trailers, heaps of fixed size.
 *
 * A block of a private heap ends with a trailer of eight bytes: how many bytes of it were not asked for, its user flags,
 * and a check value over both and the address. It is encoded, it lies behind the caller's bytes, and so it is also what
 * an overrun damages first: free, size and validate find that out.
 */
#ifndef NTMM_HEAP_API_H
#define NTMM_HEAP_API_H

#include "heap/front.h"
#include "heap/granule.h"

#pragma GCC visibility push(default) /* the public functions are what libntheap.so shows */
#include "nt/heap.h"
#pragma GCC visibility pop

/* The largest block of a heap of fixed size: slightly less than 1024 KB, as documented for 64-bit processes. */
#define HEAP_FIXED_LARGEST ((SIZE_T)0xff000)

/* A heap in one range of memory, or the first memory of one that grows. HEAP.Lock or the caller serializes. */
typedef struct _HEAP_FIXED
{
    PUCHAR Base;
    SIZE_T Reserved;
    SIZE_T Committed;
    SIZE_T CommitStep;
    SIZE_T Largest; /* block that can be asked for: the virtual memory threshold */
    SIZE_T Regions; /* of the arena; 0: the caller's memory */
    HEAP_GRANULES Range;
    ULONG MapUnits;
    PRTL_HEAP_COMMIT_ROUTINE CommitRoutine;
    BOOLEAN Executable;
} HEAP_FIXED, *PHEAP_FIXED;

typedef struct _HEAP_BLOCK_INFO
{
    SIZE_T Usable; /* all bytes of the block, trailer included */
    SIZE_T Requested;
    ULONG UserFlags; /* HEAP_SETTABLE_USER_*, HEAP_BLOCK_TAGGED */
    PVOID UserValue;
    USHORT Tag; /* 0: none */
} HEAP_BLOCK_INFO, *PHEAP_BLOCK_INFO;

/* ---- fixed.c ---- */

PHEAP_FIXED RtlpCreateFixed(PHEAP Heap, PVOID Base, SIZE_T Reserve, SIZE_T Commit,
                            PRTL_HEAP_PARAMETERS Parameters);
VOID RtlpDestroyFixed(PHEAP_FIXED Fixed);
PVOID RtlpAllocateFixed(PHEAP_FIXED Fixed, SIZE_T Size);
VOID RtlpFreeFixed(PHEAP Heap, PVOID Block);
BOOLEAN RtlpResizeFixed(PHEAP_FIXED Fixed, PVOID Block, SIZE_T Size);
SIZE_T RtlpFixedSize(const HEAP_FIXED *Fixed, const VOID *Block); /* 0: no block */

/*
 * What lies there is the one range's business: everything of a heap that does not grow; of one that the caller gave its first memory and that
 * grows from there on, what lies in that memory.
 */
static inline BOOLEAN RtlpIsOfRange(PHEAP Heap, const VOID *Block)
{
    return Heap->Fixed != NULL &&
           ((Heap->Flags & HEAP_GROWABLE) == 0 ||
            (SIZE_T)((ULONG_PTR)Block - (ULONG_PTR)Heap->Fixed->Base) < Heap->Fixed->Reserved);
}

/* ---- rtlheap.c ---- */

/* The heap behind a handle, or NULL. */
PHEAP RtlpHeapOf(PVOID HeapHandle);
/* FALSE if Block is no block of Heap or its trailer is damaged: *Damage says which. */
BOOLEAN RtlpReadBlock(PHEAP Heap, const VOID *Block, PHEAP_BLOCK_INFO Info, HEAP_DAMAGE *Damage);
VOID RtlpWriteTrailer(PHEAP Heap, PVOID Block, const HEAP_BLOCK_INFO *Info);
/* Usable bytes of a block of Heap without looking at the trailer; 0 if there is none. */
SIZE_T RtlpUsableSize(PHEAP Heap, const VOID *Block);

/* ---- side.c ---- */

/* The whole heap, no other thread is inside; may be entered again. Nothing with HEAP_NO_SERIALIZE. */
VOID RtlpEnterHeap(PHEAP Heap, ULONG Flags);
/* FALSE if another thread has the heap's lock. */
BOOLEAN RtlpTryEnterHeap(PHEAP Heap);
VOID RtlpLeaveHeap(PHEAP Heap, ULONG Flags);
/*
 * For one block: others may be inside with blocks of their own, each with the slot of its side. HEAP_WHOLE: the whole heap was
 * entered. Not entered again before it is left.
 */
#define HEAP_WHOLE MAXULONG
ULONG RtlpEnterSideSlow(PHEAP Heap, ULONG Flags);
VOID RtlpLeaveSideSlow(PHEAP Heap, ULONG Side, ULONG Flags);
/* One more, if there are processors for it and memory. */
VOID RtlpAddSide(PHEAP Heap);

static inline BOOLEAN RtlpTryLock(PHEAP_LOCK Lock)
{
    ULONG Free = 0;

    if (!__atomic_compare_exchange_n(&Lock->State, &Free, 1, FALSE, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
    {
        return FALSE;
    }

    RTLP_ACQUIRED(Lock);

    return TRUE;
}

/* The ring of freed blocks that wait, a heap's one range, and a lock of the caller's are the whole heap's. */
static inline BOOLEAN RtlpHasSides(PHEAP Heap, ULONG Flags)
{
    return ((Heap->Flags | Flags) & (HEAP_NO_SERIALIZE | HEAP_FREE_CHECKING_ENABLED | HEAP_CALLERS_LOCK)) ==
               0 &&
           Heap->Fixed == NULL;
}

static inline ULONG RtlpEnterSide(PHEAP Heap, ULONG Flags)
{
    return HEAP_LIKELY(HEAP_LOAD(&Heap->SideCount) == 0 && RtlpHasSides(Heap, Flags) &&
                       RtlpTryLock(&Heap->Lock))
               ? 0
               : RtlpEnterSideSlow(Heap, Flags);
}

static inline VOID RtlpLeaveSide(PHEAP Heap, ULONG Side, ULONG Flags)
{
    if (HEAP_LIKELY(Side == 0))
    {
        RtlpReleaseLock(&Heap->Lock);
    }
    else
    {
        RtlpLeaveSideSlow(Heap, Side, Flags);
    }
}

static inline PHEAP_SLOT RtlpSlotOfSide(PHEAP Heap, ULONG Side)
{
    return Side == 0 || Side == HEAP_WHOLE ? Heap->Slot : Heap->Sides[Side - 1]->Slot;
}

/* ---- rtlheaptag.c ---- */

#define HEAP_BLOCK_TAGGED 0x1000 /* in a trailer's user flags: the block has a tag in front of the trailer */

/* The tag that flags of a call name; 0: none, or one that the heap does not have. */
USHORT RtlpTagOfFlags(PHEAP Heap, ULONG Flags);
/* Counts an allocation (Blocks 1), a free (-1) or a change of size (0) by Bytes, modulo 2^64. Tag 0: nothing. */
VOID RtlpCountTag(PHEAP Heap, USHORT Tag, LONG Blocks, SIZE_T Bytes);

/* ---- heapcheck.c ---- */

/*
 * HEAP_FREE_CHECKING_ENABLED: a freed block is filled with a pattern and waits; when it leaves the ring, the pattern must be
 * whole. RtlpDelayFree returns the block that is to be freed now, or NULL; Info is that block's. Flush: none comes in.
 */
#define HEAP_RING_BLOCKS 64
/* Room for Blocks blocks that wait; a ring that a destroyed heap left is used again and has the same size. */
BOOLEAN RtlpCreateRing(PHEAP Heap, ULONG Blocks);
PVOID RtlpDelayFree(PHEAP Heap, PVOID Block, SIZE_T *Usable, BOOLEAN Flush);
/* TRUE if Block waits in the ring. */
BOOLEAN RtlpIsDelayed(PHEAP Heap, const VOID *Block, SIZE_T Usable);
VOID RtlpFreeDelayed(PHEAP Heap);
/* HEAP_GENERATE_EXCEPTIONS: raises Status, of a call on Heap (NULL: the handle was none). May not return. */
VOID RtlpRaise(PHEAP Heap, NTSTATUS Status);

/* ---- globalapi.c ---- */

/* The handle of a block of the process heap whose user value is UserValue; NULL: it is not a movable one. The heap is entered. */
HANDLE RtlpHandleOfMovable(const VOID *Block, PVOID UserValue);

/* ---- walk.c: the heap is locked ---- */

/* One thing in a heap: a region, a block in use, a free range, an uncommitted range. */
typedef enum _HEAP_ITEM_KIND
{
    HeapItemRegion,
    HeapItemBusy,
    HeapItemFree,
    HeapItemUncommitted,
    HeapItemEnd
} HEAP_ITEM_KIND;

typedef struct _HEAP_ITEM
{
    HEAP_ITEM_KIND Kind;
    PUCHAR Address;
    SIZE_T Size;
    ULONG Region;     /* counted in order of addresses */
    SIZE_T Committed; /* of a region */
    SIZE_T Uncommitted;
} HEAP_ITEM, *PHEAP_ITEM;

/* The item behind *Item, in order of addresses; start with Kind HeapItemEnd and Address NULL. */
VOID RtlpNextItem(PHEAP Heap, PHEAP_ITEM Item);
/* How long the item of that kind at that address is now; its own size if there is none. */
SIZE_T RtlpItemSize(PHEAP Heap, const HEAP_ITEM *Item);
/* TRUE if the heap's structures agree with each other and every trailer is whole. */
BOOLEAN RtlpCheckHeap(PHEAP Heap);
/* TRUE if a subsegment's map, counts and summary agree. */
BOOLEAN RtlpCheckSubsegment(const HEAP_DESCRIPTOR *Subsegment);

#endif
