/* SPDX-License-Identifier: MIT */
/*
 * Special pool: each block in a page of its own, between pages that cannot be accessed, at the end of its page (overruns
 * fault) or at its start (underruns fault). What the block does not use of its page is filled with a pattern that is
 * looked at when it is freed; a freed block's page loses its memory, and its addresses wait at the end of a long queue
 * before they serve again. Theory: docs/pool.md.
 */
#ifndef NTMM_POOL_SPECIAL_H
#define NTMM_POOL_SPECIAL_H

#include "pool/expool.h"

/* Which requests go to special pool, besides those of verified drivers (verifier.h) and POOL_FLAG_SPECIAL_POOL. */
typedef struct _EX_SPECIAL_POOL_SETTINGS
{
    CHAR Tag[4];         /* as gflags: ? is any character, * any that follow; the first 0: no tag chooses */
    SIZE_T MinimumBytes; /* sizes choose when MaximumBytes is not 0 */
    SIZE_T MaximumBytes;
    BOOLEAN Underruns;   /* blocks at the start of their pages */
    SIZE_T MaximumPages; /* of blocks in use; 0: a quarter of nonpaged pool's limit */
    ULONG MaximumFreed;  /* freed blocks of each pool whose addresses are kept; 0: as many as make sense */
} EX_SPECIAL_POOL_SETTINGS;

typedef struct _EX_SPECIAL_POOL_COUNTERS
{
    SIZE_T Blocks; /* in use */
    SIZE_T PeakBlocks;
    SIZE_T Freed;       /* kept inaccessible */
    SIZE_T Allocations; /* since boot */
    SIZE_T Fallbacks;   /* that normal pool had to serve */
} EX_SPECIAL_POOL_COUNTERS;

/*
 * Switches special pool on, changes what it takes, or (NULL) off: blocks stay what they are, and the addresses of freed ones are
 * given back. At any time; PASSIVE_LEVEL. STATUS_INVALID_PARAMETER (sizes), STATUS_INSUFFICIENT_RESOURCES.
 */
NTSTATUS ExSetSpecialPool(const EX_SPECIAL_POOL_SETTINGS *Settings);
VOID ExQuerySpecialPool(EX_SPECIAL_POOL_COUNTERS *Counters);

/*
 * A fault on a system address that nothing will resolve, or at an IRQL at which nothing can: a bug check when the address belongs to special
 * pool (0xCC, 0xCD; 0xD5, 0xD6 when Instruction is a driver's), else returns.
 */
VOID ExCheckSpecialPoolFault(ULONG_PTR Va, BOOLEAN Write, PVOID Instruction);

/*
 * A fault on a system address at DISPATCH_LEVEL or above: bug check 0xC5 when the allocator touched it, because its lists or a lookaside list
 * were damaged; else returns. Access: of the bug check's third parameter.
 */
VOID ExCheckPoolFault(ULONG_PTR Va, ULONG_PTR Access, PVOID Instruction);

/* ---- For the room itself -------------------------------------------------------------------------------- */

BOOLEAN ExpIsSpecialRequest(SIZE_T Bytes, ULONG Tag);

/* Which end of the page: EX_POOL_PRIORITY's XxxSpecialPoolOverrun and XxxSpecialPoolUnderrun go before the settings. */
typedef enum _EX_SPECIAL_END
{
    ExSpecialDefault,
    ExSpecialOverruns,
    ExSpecialUnderruns
} EX_SPECIAL_END;

/* From a paged source or ExSourceMapped. Checked, at most PAGE_SIZE bytes; NULL: normal pool must serve it, which is counted. */
PVOID ExpAllocateSpecial(PEX_POOL_SOURCE Source, SIZE_T Bytes, ULONG Tag, ULONG HeaderType,
                         EX_SPECIAL_END End, EX_QUOTA_BLOCK *Billed);
BOOLEAN ExpIsSpecialBlock(const VOID *Address);
VOID ExpFreeSpecial(PEX_POOL_SOURCE Source, ULONG Page, PVOID Address, ULONG Tag);
/* Patterns of all blocks and the counts of the lists. Quiescent machine. */
VOID ExpCheckSpecialBlocks(PEX_POOL_SOURCE Source);
VOID ExpReleaseFreedSpecial(void); /* of all but sessions */
/* Special pool, or the verifier's use of it, was switched on or off: what is kept of freed blocks. PASSIVE_LEVEL. */
VOID ExpUpdateSpecial(void);
VOID ExpReleaseFreedOf(PEX_POOL_SOURCE Source);

#endif
