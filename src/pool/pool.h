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
VOID MiFreePool(PVOID Block, ULONG Tag);

SIZE_T MiPoolBytesInUse(void);
SIZE_T MiPoolBlocksInUse(void);
SIZE_T MiPoolPagesInUse(void);
VOID MiCheckPool(void);

#endif
