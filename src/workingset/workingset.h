/* SPDX-License-Identifier: MIT */
/*
 * Working sets. There is no separate list: the valid entries of a space's page tables are its working set,
 * each with an age in its WsleAge bits. Ageing and trimming walk the tables in address order from a hand,
 * like a clock. Theory: docs/workingset.md.
 */
#ifndef NTMM_WORKINGSET_H
#define NTMM_WORKINGSET_H

#include "paging/paging.h"
#include "section/section.h"

typedef struct _MI_WORKING_SET_STATE
{
    KI_WORKER WorkingSetManager; /* woken when available memory is low */
    KI_WORKER BalanceSetManager; /* once a second */
    KEVENT LowMemoryEvent;       /* notification events: \KernelObjects\LowMemoryCondition ... */
    KEVENT HighMemoryEvent;
    KEVENT LowCommitEvent;
    KEVENT HighCommitEvent;
    KEVENT LowPoolEvent[2]; /* nonpaged, paged: little of it is left */
    KEVENT HighPoolEvent[2];
    EX_PUSH_LOCK TrimLock; /* one round of the working-set manager at a time */
    ULONG64 LastBalance;
    volatile ULONG TrimRounds;
} MI_WORKING_SET_STATE;

NTSTATUS MiInitializeWorkingSets(void);
NTSTATUS MiStartWorkingSetWorkers(void); /* on failure: stop them */
VOID MiStopWorkingSetWorkers(void);
VOID MiShutdownWorkingSets(void);

/*
 * Frames that are being taken out of page tables under one page-table lock: PTEs are invalid already, the TB
 * not yet flushed.
 */
#define MI_TRIM_BATCH 64u
typedef struct _MI_TRIM_BATCH_LIST
{
    PMI_ADDRESS_SPACE Space;
    ULONG Count;
    MI_FLUSH_LIST Flush;
    PFN_NUMBER Frames[MI_TRIM_BATCH];
    BOOLEAN Dirty[MI_TRIM_BATCH];
    BOOLEAN Front[MI_TRIM_BATCH]; /* to the front of standby: to be reused first */
} MI_TRIM_BATCH_LIST;

/*
 * Takes one valid, unlocked leaf entry out of the working set: it becomes transition (or its prototype form).
 * Protection MI_KEEP_PROTECTION or the one that the invalid entry shall carry. Page table locked, or space
 * exclusive; DISPATCH_LEVEL. The batch must be ended with MiEndTrimBatch under the same lock.
 */
#define MI_KEEP_PROTECTION (~0u)
VOID MiBeginTrimBatch(MI_TRIM_BATCH_LIST *Batch, PMI_ADDRESS_SPACE Space);
VOID MiTrimEntry(MI_TRIM_BATCH_LIST *Batch, PMMPTE PointerPte, ULONG_PTR Va, ULONG Protection, BOOLEAN Front);
VOID MiEndTrimBatch(MI_TRIM_BATCH_LIST *Batch);

FORCEINLINE BOOLEAN MiIsTrimBatchFull(const MI_TRIM_BATCH_LIST *Batch)
{
    return Batch->Count == MI_TRIM_BATCH;
}

/* A page was written to: it is newer than its copy in the backing store, whose slot goes. Frame locked. */
VOID MiSetFrameModified(PMMPFN Pfn);

/*
 * Tells frames that pages of views are dirty, and takes the dirty bits of their entries away. Returns how many. Inclusive vpns; space locked. dirty.c
 */
SIZE_T MiCollectDirtyBits(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn);
/* Frames of shared pages that are valid are modified from now on, whatever their entries say. The same parameters and result. */
SIZE_T MiMarkModified(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn);

/*
 * Removes every unlocked valid entry of the range (inclusive vpns). Space locked shared or exclusive
 * (Exclusive says which). Returns pages removed.
 */
SIZE_T MiTrimRange(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn, BOOLEAN Front);

/* Empties the working set (not below locked pages). Takes the shared lock itself. */
SIZE_T MiEmptyWorkingSet(PMI_ADDRESS_SPACE Space);
VOID MiEmptyKernelWorkingSets(void); /* those of all sessions and of the system; PASSIVE_LEVEL */

/*
 * Takes up to Pages old pages away from the space; one clock pass at most, ageing what was used. Returns
 * pages removed.
 */
SIZE_T MiTrimWorkingSet(PMI_ADDRESS_SPACE Space, SIZE_T Pages, ULONG MinimumAge);

/* Vm.AgeCount as of now: how many pages were last used how long ago (0: their accessed bit is set). Changes no entry. */
VOID MiCaptureAccessedBits(PMI_ADDRESS_SPACE Space);
/*
 * Consecutive frames by moving the pages that live there (move.c): Count frames in [Lowest, Highest], aligned to Align (0: 1), not across a
 * multiple of Boundary (0: none). Their contents are zero, they belong to the kernel. 0: no such window without frames that cannot move.
 * IRQL <= APC_LEVEL, no locks held.
 */
typedef struct _MI_VACATE_REQUEST
{
    PFN_NUMBER Count;
    PFN_NUMBER Lowest;
    PFN_NUMBER Highest;
    PFN_NUMBER Align;
    PFN_NUMBER Boundary;
} MI_VACATE_REQUEST;

PFN_NUMBER MiVacateFrames(const MI_VACATE_REQUEST *Request);

/* What lives in memory leaves it as far as it can. PASSIVE_LEVEL, no locks. */
VOID MiDriveOut(void);

/*
 * The first of 512 frames that lie together on a border of 2 MiB; zeroed, the kernel's, charged as nonpageable. 0: none. PreferredNode: NUMA node + 1, or 0. *Round:
 * how much was driven out of memory for this already, 0 for the first page that somebody wants. PASSIVE_LEVEL, no locks.
 */
#define MI_LARGE_FRAMES MI_PTES_PER_PAGE
PFN_NUMBER MiTakeLargeFrame(ULONG PreferredNode, PULONG Round);

/*
 * Takes page-table pages away under which nothing is in memory; only if the space's lock is free. Returns
 * pages removed. tables.c
 */
SIZE_T MiTrimPageTables(PMI_ADDRESS_SPACE Space);

/*
 * The same for pages of prototype PTEs. Also retires control areas of files that nobody refers to and that have no page left. No
 * locks, PASSIVE_LEVEL. prototypes.c
 */
SIZE_T MiTrimPrototypePages(void);

/*
 * A space with a hard maximum that is reached makes room for one more page. Called by the fault handler
 * before it takes locks.
 */
VOID MiEnforceWorkingSetLimit(PMI_ADDRESS_SPACE Space);

/* Whether the pair is legal: STATUS_BAD_WORKING_SET_LIMIT. */
NTSTATUS MiCheckWorkingSetLimits(SIZE_T Minimum, SIZE_T Maximum);

/*
 * Sets limits in pages (0 keeps one; both ~0: empty the working set). STATUS_BAD_WORKING_SET_LIMIT (minimum >
 * maximum or < 20), STATUS_INSUFFICIENT_RESOURCES (a hard minimum that memory cannot give).
 */
NTSTATUS MiSetWorkingSetLimits(PMI_ADDRESS_SPACE Space, SIZE_T Minimum, SIZE_T Maximum, ULONG HardFlags);

BOOLEAN MiWorkingSetManagerStep(PVOID Context);
BOOLEAN MiBalanceSetManagerStep(PVOID Context);

/* Takes the working sets of idle processes as a whole (outswap.c). The balance set manager's, once a second while memory is short. */
VOID MiSwapIdleProcesses(void);

/* Brings the notification events in line with the amount of available memory and commitment. */
VOID MiUpdateMemoryNotifications(void);

/* Every valid entry counted once, share counts of page tables right. Level 2. Space must be quiescent. */
VOID MiCheckWorkingSet(PMI_ADDRESS_SPACE Space);

#endif
