/* SPDX-License-Identifier: MIT */
/*
 * The malloc family over the process heap: what libntheap.so puts in the place of the C library's.
 *
 * Results and errno are those of the C library's manual pages: NULL and ENOMEM where there is no memory, a block of no
 * bytes is a block, realloc to no bytes frees. The fork handlers make the child's heap usable whatever other threads of
 * the parent were doing.
 */
#include "heap/api.h"
#include "ntheap.h"

#include <errno.h>
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <unistd.h>

HEAP_TOUCHED static const CHAR RtlpStatisticsOption[] = "NTHEAP_STATISTICS";

#define HEAP_EXPORT __attribute__((visibility("default")))

static DECLSPEC_NOINLINE PVOID RtlpNoMemory(VOID)
{
    errno = ENOMEM;

    return NULL;
}

/* What a thread keeps at hand of other sizes goes back before an allocation fails. FALSE: it would not help. */
static BOOLEAN RtlpMakeRoom(PHEAP_SLOT Slot, SIZE_T Size)
{
    if (Slot == NULL || Slot == &RtlpEmptySlot || Size > RtlpArena.Size)
    {
        return FALSE;
    }

    RtlpReceive(Slot);
    RtlpTrimSlot(Slot);
    RtlpFlushSpanCache(Slot);

    return TRUE;
}

static DECLSPEC_NOINLINE PVOID RtlpMallocPages(SIZE_T Size, BOOLEAN *Zeroed)
{
    PHEAP_SLOT Slot = RtlpThreadSlot;

    if (Slot == &RtlpEmptySlot)
    {
        Slot = RtlpAttachThread();
    }

    PVOID Block = NULL;

    *Zeroed = FALSE;
    if (Slot == &RtlpEmptySlot && RtlpCheckModeHeap() != NULL)
    {
        Block = RtlAllocateHeap(RtlpCheckModeHeap(), 0, Size);
    }
    else if (Slot != NULL)
    {
        Block = RtlpAllocateBig(&RtlpMallocHeap, Slot, Size, HEAP_PAGE, Zeroed);
        if (HEAP_UNLIKELY(Block == NULL) && RtlpMakeRoom(Slot, Size))
        {
            Block = RtlpAllocateBig(&RtlpMallocHeap, Slot, Size, HEAP_PAGE, Zeroed);
        }
    }

    return HEAP_LIKELY(Block != NULL) ? Block : RtlpNoMemory();
}

static DECLSPEC_NOINLINE PVOID RtlpMallocBig(SIZE_T Size)
{
    BOOLEAN Zeroed;
    PVOID Block = RtlpTakeCachedSpan(RtlpThreadSlot, Size);

    if (HEAP_LIKELY(Block != NULL))
    {
        return Block;
    }

    return RtlpMallocPages(Size, &Zeroed);
}

static DECLSPEC_NOINLINE PVOID RtlpMallocSlow(PHEAP_SLOT Slot, SIZE_T Size)
{
    if (Size > HEAP_FRONT_END_LIMIT)
    {
        BOOLEAN Zeroed;

        return RtlpMallocPages(Size, &Zeroed);
    }

    PVOID Block = HEAP_UNLIKELY(Slot == &RtlpEmptySlot && RtlpCheckModeHeap() != NULL)
                      ? RtlAllocateHeap(RtlpCheckModeHeap(), 0, Size)
                      : RtlpAllocateSlow(Slot, RtlpBucketOf(Size), Size);

    if (HEAP_UNLIKELY(Block == NULL) && RtlpMakeRoom(RtlpThreadSlot, Size))
    {
        Block = RtlpAllocateSlow(RtlpThreadSlot, RtlpBucketOf(Size), Size);
    }

    return HEAP_LIKELY(Block != NULL) ? Block : RtlpNoMemory();
}

/* TRUE if Block may be one of the check mode's heap; that heap finds out. */
static BOOLEAN RtlpIsCheckModeBlock(const HEAP_DESCRIPTOR *Descriptor)
{
    return RtlpThreadSlot == &RtlpEmptySlot && Descriptor != NULL && Descriptor->Kind != HeapKindNone &&
           RtlpHeapOfSpan(Descriptor) != &RtlpMallocHeap && RtlpCheckModeHeap() != NULL;
}

static SIZE_T RtlpMallocSize(PVOID Block)
{
    const HEAP_DESCRIPTOR *Descriptor = RtlpLookup(Block);

    if (!RtlpIsCheckModeBlock(Descriptor))
    {
        const SIZE_T Usable = RtlpBlockSize(Block);

        /* In page-heap mode a block of no bytes begins at its guard page. */
        return RtlpPageHeap && Usable != 0 ? Descriptor->Requested : Usable;
    }

    const SIZE_T Size = RtlSizeHeap(RtlpCheckModeHeap(), 0, Block);

    if (Size == (SIZE_T)-1)
    {
        RtlpReportDamage(HeapDamageInvalidFree, RtlpCheckModeHeap(), Block);
    }

    return Size;
}

/* Every call is the last thing it does: the fast path needs no stack. */
static inline PVOID RtlpMallocFront(SIZE_T Size)
{
    PHEAP_SLOT Slot = RtlpThreadSlot;

    if (HEAP_UNLIKELY(Size > HEAP_KEPT_LIMIT))
    {
        return RtlpMallocBig(Size);
    }

    PHEAP_ACTIVE Active = &Slot->Active[RtlpBucketTable[(Size + 15) >> 4]];

    HEAP_OPAQUE(Active); /* else it is computed twice */

    const ULONG64 End = Active->Ready;

    if (HEAP_LIKELY(End > Active->ReadyKept))
    {
        return RtlpTakeReady(Slot, Active, End);
    }

    const ULONG64 Bits = Active->Bits;

    return HEAP_LIKELY(Bits != 0) ? RtlpTakeClaimed(Slot, Active, Bits) : RtlpMallocSlow(Slot, Size);
}

HEAP_EXPORT void *malloc(size_t size)
{
    return RtlpMallocFront(size);
}

HEAP_EXPORT void free(void *block)
{
    RtlpFreeFront(RtlpThreadSlot, block);
}

HEAP_EXPORT void *calloc(size_t count, size_t size)
{
    size_t Bytes;

    if (HEAP_UNLIKELY(__builtin_mul_overflow(count, size, &Bytes)))
    {
        return RtlpNoMemory();
    }

    if (HEAP_UNLIKELY(Bytes > HEAP_FRONT_END_LIMIT))
    {
        BOOLEAN Zeroed = FALSE;
        void *Big = RtlpMallocPages(Bytes, &Zeroed);

        return Big == NULL || Zeroed ? Big : memset(Big, 0, Bytes);
    }

    void *Block = RtlpMallocFront(Bytes);

    return HEAP_LIKELY(Block != NULL) ? memset(Block, 0, Bytes) : NULL;
}

HEAP_EXPORT void *realloc(void *block, size_t size)
{
    if (block == NULL)
    {
        return malloc(size);
    }

    if (size == 0)
    {
        free(block);
        return NULL;
    }

    PHEAP_DESCRIPTOR Descriptor = RtlpLookup(block);

    if (HEAP_UNLIKELY(RtlpIsCheckModeBlock(Descriptor)))
    {
        void *Checked = RtlReAllocateHeap(RtlpCheckModeHeap(), 0, block, size);

        return Checked != NULL ? Checked : RtlpNoMemory();
    }

    const SIZE_T Old = RtlpBlockSize(block);

    if (Old == 0)
    {
        return RtlpNoMemory();
    }

    if (Descriptor->Kind == HeapKindPages)
    {
        void *Same = RtlpResizeBig(&RtlpMallocHeap, Descriptor, size, FALSE);

        if (Same != NULL)
        {
            return Same;
        }
    }
    else if (size <= Old && (size >= Old / 2 || Old <= 64))
    {
        return block;
    }

    if (size > HEAP_FRONT_END_LIMIT && size <= HEAP_BACK_END_LIMIT)
    {
        /* A growing array leaves sizes behind that it will not come back to. */
        RtlpOfferEmpty(RtlpThreadSlot, (ULONG)((size + HEAP_PAGE - 1) / HEAP_PAGE));
    }

    void *Block = malloc(size);

    if (Block != NULL)
    {
        memcpy(Block, block, Old < size ? Old : size);
        if (Descriptor->Kind == HeapKindPages)
        {
            RtlpFreeOutgrown(&RtlpMallocHeap, Descriptor);
        }
        else
        {
            free(block);
        }
    }

    return Block;
}

HEAP_EXPORT void *reallocarray(void *block, size_t count, size_t size)
{
    size_t Bytes;

    return __builtin_mul_overflow(count, size, &Bytes) ? RtlpNoMemory() : realloc(block, Bytes);
}

static void *RtlpMallocAligned(size_t Alignment, size_t Size)
{
    if (Alignment <= 16)
    {
        return malloc(Size);
    }

    PHEAP_SLOT Slot = RtlpThreadSlot;

    if (Slot == &RtlpEmptySlot)
    {
        Slot = RtlpAttachThread();
    }

    PVOID Block = Slot != NULL ? RtlpAllocateAligned(&RtlpMallocHeap, Slot, Size, Alignment) : NULL;

    if (HEAP_UNLIKELY(Block == NULL) && RtlpMakeRoom(Slot, Size))
    {
        Block = RtlpAllocateAligned(&RtlpMallocHeap, Slot, Size, Alignment);
    }

    return Block != NULL ? Block : RtlpNoMemory();
}

HEAP_EXPORT int posix_memalign(void **result, size_t alignment, size_t size)
{
    if (alignment < sizeof(void *) || (alignment & (alignment - 1)) != 0)
    {
        return EINVAL;
    }

    const int Saved = errno;
    void *Block = RtlpMallocAligned(alignment, size);

    errno = Saved;
    if (Block == NULL)
    {
        return ENOMEM;
    }

    *result = Block;

    return 0;
}

HEAP_EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
    if (alignment == 0 || (alignment & (alignment - 1)) != 0)
    {
        errno = EINVAL;
        return NULL;
    }

    return RtlpMallocAligned(alignment, size);
}

HEAP_EXPORT void *memalign(size_t alignment, size_t size)
{
    size_t Power = 16;

    if (alignment > SIZE_MAX / 2 + 1)
    {
        errno = EINVAL;
        return NULL;
    }

    /* glibc rounds an alignment that is no power of two up. */
    while (Power < alignment)
    {
        Power *= 2;
    }

    return RtlpMallocAligned(Power, size);
}

HEAP_EXPORT void *valloc(size_t size)
{
    return RtlpMallocAligned(HEAP_PAGE, size);
}

HEAP_EXPORT void *pvalloc(size_t size)
{
    if (size > HEAP_MAXIMUM_REQUEST)
    {
        return RtlpNoMemory();
    }

    return RtlpMallocAligned(HEAP_PAGE, size == 0 ? HEAP_PAGE : (size + HEAP_PAGE - 1) & ~(HEAP_PAGE - 1));
}

HEAP_EXPORT size_t malloc_usable_size(void *block)
{
    return block != NULL ? RtlpMallocSize(block) : 0;
}

HEAP_EXPORT int malloc_trim(size_t keep)
{
    UNREFERENCED_PARAMETER(keep);
    (VOID) RtlpMakeRoom(RtlpThreadSlot, 0);

    return NtheapPurge() != 0;
}

#if !defined(NTHEAP_TSAN)
/*
 * The fork handlers come with the second thread's first allocation. If the first thread is inside the C library's fork just then, past the handlers, they
 * come too late for that fork, and its child finds locks held by a thread that it has not. So they come before a fork in a process that has begun threads.
 */
pid_t __fork(void); /* glibc's own, exported */

HEAP_EXPORT pid_t fork(void)
{
    if (!__libc_single_threaded)
    {
        RtlpExpectFork();
    }

    return __fork();
}
#endif

/* ---- the process's beginning and end ---- */

__attribute__((constructor)) static void RtlpMallocStarts(void)
{
    /* In page-heap mode threads have no slots, by whose coming they could be told. The check mode's heap tells itself. */
    if (RtlpPageHeap)
    {
        RtlpExpectFork();
    }

    /* What is said at the end: the programs of coreutils close standard error before. */
    if (RtlpGroundOption(RtlpStatisticsOption) != 0 || RtlpGroundOption(RtlpCheckOption) != 0)
    {
        RtlpGroundKeepOutput();
    }
}

__attribute__((destructor)) static void RtlpMallocEnds(void)
{
    if (RtlpGroundOption(RtlpStatisticsOption) != 0)
    {
        RtlpPrintStatistics();
    }

    RtlpCheckModeEnd();
}
