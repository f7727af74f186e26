/* SPDX-License-Identifier: MIT */
/*
 * Private memory: everything between the system services and the page tables that concerns memory which
 * belongs to one process alone. Every function works on any space, whoever the caller is; parameters are
 * captured kernel values. Each validates first and performs then: a call that fails has changed nothing.
 * Theory: docs/virtual.md.
 *
 * Locks: all of them take the space's lock themselves (IRQL PASSIVE_LEVEL, no lock held on entry).
 */
#ifndef NTMM_VIRTUAL_H
#define NTMM_VIRTUAL_H

#include "fault/fault.h"

/* Hands the hooks of this room to `space` and `fault`. */
NTSTATUS MiInitializeVirtual(void);
VOID MiShutdownVirtual(void);

/* ---- Allocate, free, protect (allocate.c, commit.c, reset.c, placeholder.c, free.c, protect.c) --------- */

#define MI_ALLOCATION_GRANULARITY 0x10000ull

/* The captured parameters of NtAllocateVirtualMemory(Ex); Base and Size come back when the call succeeds. */
typedef struct _MI_ALLOCATION
{
    ULONG_PTR Base;
    SIZE_T Size;
    ULONG_PTR ZeroBits;
    ULONG Type;        /* MEM_* */
    ULONG Protect;     /* PAGE_* */
    BOOLEAN Extended;  /* placeholders are legal */
    BOOLEAN Whole64K;  /* base and size must be multiples of 64 KiB */
    ULONG_PTR Lowest;  /* address requirements; 0: none */
    ULONG_PTR Highest; /* last byte */
    SIZE_T Alignment;
    ULONG PreferredNode; /* NUMA node + 1; 0: none. For new regions only */
} MI_ALLOCATION, *PMI_ALLOCATION;

NTSTATUS MiAllocateVirtualMemory(PMI_ADDRESS_SPACE Space, PMI_ALLOCATION Allocation);
NTSTATUS MiFreeVirtualMemory(PMI_ADDRESS_SPACE Space, PULONG_PTR Base, PSIZE_T Size, ULONG FreeType);
NTSTATUS MiProtectVirtualMemory(PMI_ADDRESS_SPACE Space, PULONG_PTR Base, PSIZE_T Size, ULONG NewProtect,
                                PULONG OldProtect);

/* ---- Query (query.c, queryws.c) ------------------------------------------------------------------------ */

NTSTATUS MiQueryBasicInformation(PMI_ADDRESS_SPACE Space, ULONG_PTR Va,
                                 PMEMORY_BASIC_INFORMATION Information);
NTSTATUS MiQueryRegionInformation(PMI_ADDRESS_SPACE Space, ULONG_PTR Va,
                                  PMEMORY_REGION_INFORMATION Information);

/*
 * Writes at most Count blocks for the valid pages from *Vpn on and moves *Vpn behind what was looked at;
 * fewer than Count: the end.
 */
ULONG MiQueryWorkingSetBlocks(PMI_ADDRESS_SPACE Space, PULONG_PTR Vpn, PMEMORY_WORKING_SET_BLOCK Blocks,
                              ULONG Count);
MEMORY_WORKING_SET_EX_BLOCK MiQueryWorkingSetExBlock(PMI_ADDRESS_SPACE Space, ULONG_PTR Va);

/* ---- Lock (lock.c) ------------------------------------------------------------------------------------- */

NTSTATUS MiLockVirtualMemory(PMI_ADDRESS_SPACE Space, PULONG_PTR Base, PSIZE_T Size, ULONG MapType,
                             KPROCESSOR_MODE Mode);
NTSTATUS MiUnlockVirtualMemory(PMI_ADDRESS_SPACE Space, PULONG_PTR Base, PSIZE_T Size, ULONG MapType);

/* ---- Copy (copy.c) ------------------------------------------------------------------------------------- */

/*
 * Between kernel memory and any space, whatever state its pages are in. *Copied says how far it came; a fault
 * of the space ends it with the fault's status.
 */
NTSTATUS MiReadSpace(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, PVOID Buffer, SIZE_T Length, KPROCESSOR_MODE Mode,
                     PSIZE_T Copied);
NTSTATUS MiWriteSpace(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, const VOID *Buffer, SIZE_T Length,
                      KPROCESSOR_MODE Mode, PSIZE_T Copied);

/*
 * Between a buffer of the caller (captured access) and another space. STATUS_PARTIAL_COPY: the space was not
 * accessible all the way; STATUS_ACCESS_VIOLATION: the buffer was not.
 */
NTSTATUS MiTransferSpace(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, PVOID Buffer, SIZE_T Length, BOOLEAN Write,
                         KPROCESSOR_MODE Mode, PSIZE_T Copied);

/* ---- Write watch (writewatch.c) ------------------------------------------------------------------------ */

/*
 * Up to Count written pages from *Va on (ascending) of the write-watch region in [Base, Base + Size); *Va
 * moves on. Nothing is reset. STATUS_INVALID_PARAMETER_1.
 */
NTSTATUS MiCollectWrites(PMI_ADDRESS_SPACE Space, ULONG_PTR Base, SIZE_T Size, PULONG_PTR Va,
                         PVOID *Addresses, ULONG Count, PULONG Got);
/* Forgets the writes to these pages / to the whole range. */
NTSTATUS MiForgetWrites(PMI_ADDRESS_SPACE Space, PVOID *Addresses, ULONG Count);
NTSTATUS MiResetWriteWatch(PMI_ADDRESS_SPACE Space, ULONG_PTR Base, SIZE_T Size);

/* ---- Ranges of NtSetInformationVirtualMemory (setinfo.c) ----------------------------------------------- */

NTSTATUS MiPrefetchRange(PMI_ADDRESS_SPACE Space, ULONG_PTR Base, SIZE_T Size);
NTSTATUS MiSetPriorityRange(PMI_ADDRESS_SPACE Space, ULONG_PTR Base, SIZE_T Size, ULONG Priority);
NTSTATUS MiRemoveRangeFromWorkingSet(PMI_ADDRESS_SPACE Space, ULONG_PTR Base, SIZE_T Size);

/* ---- Physical pages of user mode (awe.c): PASSIVE_LEVEL ------------------------------------------------- */

typedef struct _MI_AWE_PAGE MI_AWE_PAGE, *PMI_AWE_PAGE;

/*
 * Up to *Count frames, zeroed, charged as nonpageable, chained; *Count says how many. PreferredNode: NUMA node + 1, or 0. They are given to a space
 * (all of them, or STATUS_PROCESS_IS_TERMINATING), or released. STATUS_COMMITMENT_LIMIT, STATUS_INSUFFICIENT_RESOURCES: not even one.
 */
NTSTATUS MiAllocateAwePages(PSIZE_T Count, ULONG PreferredNode, PMI_AWE_PAGE *Pages);
NTSTATUS MiOwnAwePages(PMI_ADDRESS_SPACE Space, PMI_AWE_PAGE Pages);
VOID MiReleaseAwePages(PMI_AWE_PAGE Pages);
/* The numbers of up to Room frames of a chain; *Page moves on. Returns how many. */
ULONG MiListAwePages(PMI_AWE_PAGE *Page, ULONG_PTR *Frames, ULONG Room);

/*
 * Which frames go where: to Base and the pages behind it, or each to an address of its own. Frames NULL, and 0 for an address of its own: what is
 * there is unmapped. What was mapped at an address makes room. A frame may be mapped at one address only: it is nowhere, or there already.
 */
typedef struct _MI_AWE_MAP
{
    ULONG_PTR Base;
    const ULONG_PTR *Addresses; /* NULL: from Base on */
    const ULONG_PTR *Frames;
    SIZE_T Count;
} MI_AWE_MAP;

/*
 * All or nothing. STATUS_INVALID_PARAMETER_1 (not in a MEM_PHYSICAL region), STATUS_CONFLICTING_ADDRESSES (a frame that is not the process's, is mapped
 * elsewhere or named twice), STATUS_COMMITMENT_LIMIT, STATUS_NO_MEMORY (page tables).
 */
NTSTATUS MiMapAwePages(PMI_ADDRESS_SPACE Space, const MI_AWE_MAP *Map);
/* Frees frames, mapped or not, up to the first that is not the process's: STATUS_CONFLICTING_ADDRESSES. *Freed says how many. */
NTSTATUS MiFreeAwePages(PMI_ADDRESS_SPACE Space, const ULONG_PTR *Frames, SIZE_T Count, PSIZE_T Freed);

/* ---- Stacks (stack.c) ---------------------------------------------------------------------------------- */

/*
 * A user stack: [DeallocationStack, StackBase) is reserved, [StackLimit, StackBase) committed, the page below
 * StackLimit a guard page.
 */
typedef struct _MI_USER_STACK
{
    PVOID StackBase;
    PVOID StackLimit;
    PVOID DeallocationStack;
} MI_USER_STACK, *PMI_USER_STACK;

/* Sizes in bytes, 0: 1 MiB reserved, 4 pages committed. */
NTSTATUS MmCreateUserStack(PMI_ADDRESS_SPACE Space, SIZE_T Reserve, SIZE_T Commit, PMI_USER_STACK Stack);
NTSTATUS MmDeleteUserStack(PMI_ADDRESS_SPACE Space, PMI_USER_STACK Stack);
NTSTATUS MiGrowUserStack(PMI_ADDRESS_SPACE Space, ULONG_PTR Va);

/* ---- Whole spaces (clone.c, delete.c) ------------------------------------------------------------------ */

/*
 * Fills the empty Child with a copy-on-write image of Parent. On failure Child may hold a part and is to be
 * terminated.
 */
NTSTATUS MiCloneAddressSpace(PMI_ADDRESS_SPACE Parent, PMI_ADDRESS_SPACE Child);
VOID MiDeleteAddressSpace(PMI_ADDRESS_SPACE Space);

#endif
