/* SPDX-License-Identifier: MIT */
/*
 * Kernel memory for the kernel's own structures, behind the interface of the pool: nonpaged, tagged, zeroed on request. This is
 * the minimal allocator of the first milestone (size classes over page frames through the direct map); the real pools replace it
 * behind the same calls. Theory: docs/pool.md.
 */
#ifndef NTMM_POOL_H
#define NTMM_POOL_H

#include "physical/physical.h"

#define MI_TAG(a, b, c, d) ((ULONG)(a) | ((ULONG)(b) << 8) | ((ULONG)(c) << 16) | ((ULONG)(d) << 24))

NTSTATUS MiInitializePool(void);
VOID MiShutdownPool(void); /* bug-checks when blocks are left: prints tag and count */

/*
 * Nonpaged, zeroed memory aligned to 16 bytes (64 for sizes >= 64, page for sizes >= a page). NULL when there is none (or injected).
 * Charges commitment by pages. IRQL <= DISPATCH_LEVEL.
 */
PVOID MiAllocatePool(SIZE_T Bytes, ULONG Tag);

/* The tag must be the one of the allocation: BAD_POOL_CALLER otherwise, and for anything that is no allocated block. IRQL <= DISPATCH_LEVEL. */
VOID MiFreePool(PVOID Block, ULONG Tag);

/* Gives back the empty slabs that are kept for the next allocation. IRQL <= DISPATCH_LEVEL. */
VOID MiTrimPool(void);

SIZE_T MiPoolBytesInUse(void); /* of blocks, rounded up to their size class */
SIZE_T MiPoolBlocksInUse(void);
SIZE_T MiPoolPagesInUse(void); /* each is charged: commitment and resident-available */
VOID MiCheckPool(void);        /* every slab: free list, counts, lists; BAD_POOL_HEADER with what it found */

#endif
