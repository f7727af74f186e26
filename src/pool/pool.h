/* SPDX-License-Identifier: MIT */
/*
 * Kernel memory for the kernel's own structures: blocks of nonpaged pool with a tag, as every client of the pools gets them.
 * What the files of the room share is in expool.h. Theory: docs/pool.md.
 */
#ifndef NTMM_POOL_H
#define NTMM_POOL_H

#include "nt/expool.h"
#include "physical/physical.h"

#define MI_TAG(a, b, c, d) ((ULONG)(a) | ((ULONG)(b) << 8) | ((ULONG)(c) << 16) | ((ULONG)(d) << 24))

NTSTATUS MiInitializePool(void);
VOID MiShutdownPool(void); /* bug-checks when blocks are left: prints tag and count */

/*
 * Nonpaged, zeroed memory aligned to 16 bytes (page for sizes from a page on). NULL when there is none (or injected). IRQL <=
 * DISPATCH_LEVEL; page tables may be locked.
 */
static FORCEINLINE PVOID MiAllocatePool(SIZE_T Bytes, ULONG Tag)
{
    return ExAllocatePool2(POOL_FLAG_NON_PAGED, Bytes, Tag);
}

/* The same on cache lines of its own, for what every processor has one of. */
static FORCEINLINE PVOID MiAllocateCacheAlignedPool(SIZE_T Bytes, ULONG Tag)
{
    return ExAllocatePool2(POOL_FLAG_NON_PAGED | POOL_FLAG_CACHE_ALIGNED, Bytes, Tag);
}

/* The tag must be the one of the allocation: BAD_POOL_CALLER otherwise, and for anything that is no allocated block. IRQL <= DISPATCH_LEVEL. */
static FORCEINLINE VOID MiFreePool(PVOID Block, ULONG Tag)
{
    ExFreePoolWithTag(Block, Tag);
}

/*
 * Gives back what is kept for the next allocations: the blocks that processors have at hand, and empty slabs. At DISPATCH_LEVEL
 * only those of nonpaged pool that the current processor may touch.
 */
VOID MiTrimPool(void);

SIZE_T MiPoolBytesInUse(void); /* of blocks of all pools, with headers and what rounding added */
SIZE_T MiPoolBlocksInUse(void);
SIZE_T MiPoolPagesInUse(void); /* of nonpaged pool; each is charged: commitment and resident-available */
VOID MiCheckPool(
    void); /* every slab: free blocks, counts, lists; BAD_POOL_HEADER with what it found. Quiescent machine */

#endif
