/* SPDX-License-Identifier: MIT */
/*
 * Address spaces: the VAD tree, free-range search, charges, working-set bookkeeping, processes, attach. Theory: docs/space.md.
 *
 * MI_ADDRESS_SPACE is the memory half of a process; the system half of the address space is one more MI_ADDRESS_SPACE
 * (MiState.Space->System), and so is session space, once for each session (session.h): faults, trimming and VADs work alike in all.
 *
 * Locks. Space->Lock (cache-aware push lock): shared = faults, trimming, queries; exclusive = anything that changes VADs, makes
 * entries zero, or frees page-table pages. Under the shared lock entries change under their page table's lock.
 * [X] exclusive; [S] shared + page table lock; [C] atomic; [W] working-set list lock; [L] process list lock;
 * [J] job lock; [Z] session lock.
 *
 * An EPROCESS is an object. Its user half goes when it is terminated, its top-level page with the last reference: a thread
 * that runs in a space (owner or attached) has a reference to its process.
 */
#ifndef NTMM_SPACE_H
#define NTMM_SPACE_H

#include "nt/mmtypes.h"
#include "ob/ob.h"
#include "pool/pool.h"
#include "rtl/avl.h"
#include "translation/translation.h"

/* ---- VADs ------------------------------------------------------------------------------------------------- */

typedef enum _MI_VAD_TYPE
{
    VadNone = 0,
    VadDevicePhysicalMemory = 1,
    VadImageMap = 2,
    VadAwe = 3,
    VadWriteWatch = 4,
    VadLargePages = 5,
    VadRotatePhysical = 6,
    VadLargePageSection = 7
} MI_VAD_TYPE;

typedef struct _MMVAD_FLAGS
{
    ULONG VadType : 3;
    ULONG Protection : 5; /* MM_*: of the allocation (AllocationProtect) */
    ULONG MemCommit : 1;  /* everything in it is committed unless its PTE says otherwise */
    ULONG PrivateMemory : 1;
    ULONG Placeholder : 1;
    ULONG NoChange : 1;
    ULONG Stack : 1; /* user stack: its guard page grows downwards */
    ULONG TopDown : 1;
    ULONG Reserved : 1; /* not to be freed by user mode (occupied by the surroundings) */
    ULONG
    WasPlaceholder : 1; /* a placeholder was replaced by this: MEM_PRESERVE_PLACEHOLDER is legal at release */
    ULONG Priority : 4; /* page priority + 1, 0 = the process's */
    ULONG
    CommitProtection : 5; /* MM_*: what zero entries of a MemCommit VAD mean (Protection, unless changed since) */
    ULONG PreferredNode : 5; /* NUMA node + 1, 0 = that of the processor that faults */
    ULONG NoInherit : 1;     /* view: ViewUnmap */
    ULONG UserView : 1;      /* view: counted as user mode's reference of the control area */
    ULONG WritableView : 1;  /* view: and as a writable one */
    ULONG CacheView : 1;     /* view: of the system cache */
    ULONG Spare : 30;
} MMVAD_FLAGS;

/* A range protected against change (MmSecureVirtualMemory). */
typedef struct _MMSECURE_ENTRY
{
    struct _MMSECURE_ENTRY *Next;
    ULONG_PTR StartVpn;
    ULONG_PTR EndVpn;
    ULONG ProbeMode;
    ULONG Flags;
} MMSECURE_ENTRY, *PMMSECURE_ENTRY;

typedef struct _MMVAD
{
    RTL_BALANCED_NODE VadNode; /* [X] */
    ULONG_PTR StartingVpn;     /* [X] */
    ULONG_PTR EndingVpn;       /* [X] inclusive */
    ULONG_PTR SubtreeStart;    /* augmentation: lowest StartingVpn below this node */
    ULONG_PTR SubtreeEnd;      /* highest EndingVpn */
    ULONG_PTR SubtreeGap;   /* largest free gap between VADs below: pages from its first 64 KiB boundary on */
    MMVAD_FLAGS u;          /* [X] */
    USHORT ReadAheadWindow; /* pages; hint, racy */
    USHORT ReadMisses;      /* reads with neighbours, less those that were used; hint, racy */
    BOOLEAN TablesPromised; /* [X] all page tables above its pages are charged (tablecharge.c) */
    BOOLEAN SubtreePromised; /* augmentation: that is so for some VAD below this node, or for itself */
    SIZE_T CommitCharge;     /* [X] pages */
    ULONG_PTR ReadAheadNext; /* vpn at which a sequential reader would fault next; hint, racy */
    union
    {
        struct _MI_WRITE_WATCH *WriteWatch; /* VadWriteWatch */
        struct _MMVAD *Next;                /* in no tree: chains of those who work on several */
    } u1;
    struct _CONTROL_AREA *ControlArea; /* fixed: a view of a section, which it references; NULL: none */
    ULONG64 FirstPage;                 /* fixed: of the segment, mapped at StartingVpn */
    PMMSECURE_ENTRY Secured;           /* [X] */
} MMVAD, *PMMVAD;

/* One bit per page, set at the first write since the last reset. [C] */
typedef struct _MI_WRITE_WATCH
{
    SIZE_T Pages;
    volatile ULONG64 Bits[];
} MI_WRITE_WATCH;

/* ---- Working set of a space (the public name is MMSUPPORT) ---------------------------------------------------- */

typedef struct _MMSUPPORT
{
    LIST_ENTRY WorkingSetLinks;   /* [W] all spaces, for the working-set manager */
    SIZE_T MinimumWorkingSetSize; /* pages */
    SIZE_T MaximumWorkingSetSize;
    SIZE_T PeakWorkingSetSize; /* [C] brought up to date before anything shrinks and by queries */
    BOOLEAN MinimumHard;       /* QUOTA_LIMITS_HARDWS_MIN_ENABLE */
    BOOLEAN MaximumHard;
    UCHAR MemoryPriority;                 /* page priority 0..7, default 5 */
    volatile BOOLEAN BeingTrimmed;        /* [C] one trimmer at a time */
    ULONG_PTR Hand;                       /* vpn where the next trim goes on; owned by the trimmer */
    ULONG64 AgeCount[MM_MAXIMUM_AGE + 1]; /* [C] pages by age, as of the last capture of accessed bits */
    SIZE_T LockedPages;                   /* [X] pages locked by MAP_PROCESS / MAP_SYSTEM */
    ULONG64 LastFaultCount;
} MMSUPPORT, *PMMSUPPORT;

/* What each processor keeps of a space, on its own line: the shared side of the lock, and counts. */
typedef struct _MI_SPACE_SLOT
{
    EX_PUSH_LOCK Lock;
    volatile LONG64
        WorkingSetPages; /* valid leaf entries made minus taken by this processor; at DISPATCH_LEVEL on it */
    volatile ULONG64 PageFaultCount;
    volatile ULONG64 HardFaultCount;
    volatile LONG64 PrivatePages;
    UCHAR Padding[64 - 5 * 8];
} MI_SPACE_SLOT;

C_ASSERT(sizeof(MI_SPACE_SLOT) == sizeof(KI_CACHE_AWARE_SLOT));

typedef struct _MI_ADDRESS_SPACE
{
    PFN_NUMBER TopLevel;       /* fixed */
    BOOLEAN System;            /* fixed: the one of system space */
    BOOLEAN Kernel;            /* fixed: system space or a session's, for kernel mode only */
    volatile BOOLEAN Deleting; /* [X] no new memory */
    ULONG_PTR LowestVpn;       /* fixed: allocatable range */
    ULONG_PTR HighestVpn;
    RTL_AVL_TREE VadRoot; /* [X] */
    SIZE_T VadCount;      /* [X] */
    MI_SPACE_SLOT *Slots; /* [processor]; the lock */
    MMSUPPORT Vm;
    /* [C] pages: private memory + page tables, and MI_CHARGE_IN_JOB: read it with MiSpaceCommitCharge */
    volatile SIZE_T CommitCharge;
    volatile SIZE_T CommitChargePeak; /* [C] */
    SIZE_T CommitChargeLimit;         /* 0 = none */
    volatile SIZE_T PageTablePages;   /* [C] that exist, the top level included */
    /* [C] that are charged: they exist, or are promised to a VAD, or both. [X] but for the top level */
    volatile SIZE_T CommittedPageTables;
    volatile SIZE_T WriteWatchCount; /* [X] VADs of type VadWriteWatch; read by faults */
    volatile BOOLEAN VadNodes;       /* [X] the same of NUMA nodes */
    volatile BOOLEAN VadPriorities; /* [X] some VAD has, or had, a page priority of its own; read by faults */
    SIZE_T VirtualSize;             /* [X] bytes reserved */
    SIZE_T PeakVirtualSize;         /* [X] */
    ULONG_PTR
    RandomBias; /* ASLR: pages added to LowestVpn for bottom-up / taken from HighestVpn for top-down */
    ULONG_PTR TopDownBias;
    struct _MI_FAULT_WATCH *volatile Watch; /* [C] set once: working-set watch (watch.c) */
    RTL_AVL_TREE CloneRoot;                 /* [X] clone descriptors (room virtual) */
    RTL_AVL_TREE AweRoot;                   /* [X] physical pages that the process owns, by frame (awe.c) */
    SIZE_T AwePages;                        /* [X] how many */
    ULONG64 AweStamp;                       /* [X] of the last call that named some */
    SIZE_T LargePages;                      /* [X] mapped in it */
    struct _EPROCESS *Process;              /* NULL: system, session */
} MI_ADDRESS_SPACE, *PMI_ADDRESS_SPACE;

typedef struct _EPROCESS
{
    DISPATCHER_HEADER Header;      /* as a notification event: signaled when terminated */
    ULONG64 UniqueProcessId;       /* fixed */
    LIST_ENTRY ActiveProcessLinks; /* [L] MI_SPACE_STATE.ProcessListLock */
    NTSTATUS ExitStatus;           /* STATUS_PENDING until terminated; whoever sets Terminating */
    volatile BOOLEAN Terminating;  /* [C] set once */
    volatile BOOLEAN SpaceDeleted; /* [C] user half empty for good */
    OB_HANDLE_TABLE *HandleTable;  /* fixed */
    volatile LONG ActiveThreads;   /* [C] */
    ULONG64
    LastActive; /* balance set manager: when a thread of it last ran, or something in it was faulted in */
    ULONG64 LastFaultCount;      /* balance set manager */
    volatile BOOLEAN SwappedOut; /* balance set manager: all of its working set was taken; readable by all */
    struct _EJOB *Job; /* [J] MI_SPACE_STATE.JobLock: the immediate job, referenced until deletion */
    BOOLEAN LeftJob;   /* [J] it has ended and joins no job any more */
    struct _MM_SESSION_SPACE *Session; /* fixed, referenced until deletion; NULL: in no session */
    LIST_ENTRY SessionProcessLinks;    /* [Z] */
    CHAR ImageFileName[16];            /* fixed */
    /* [C] pages that MDLs lock in its user half (room mdl) */
    volatile SIZE_T NumberOfLockedPages;
    PVOID volatile Peb; /* [C] set once, by user mode (RtlGetCurrentPeb): in the user half; the kernel does not follow it */
    MI_ADDRESS_SPACE Space;
} EPROCESS;

#define PsInitialSystemProcess (MiState.Space->InitialSystemProcess)

#define MI_MAXIMUM_OCCUPIED 64u

typedef struct _MI_SPACE_STATE
{
    MI_ADDRESS_SPACE System;
    KSPIN_LOCK ProcessListLock; /* [L] */
    LIST_ENTRY ProcessList; /* [L] until the object is deleted: take ObReferenceObjectSafe under the lock */
    volatile SIZE_T ProcessCount; /* [C] without the initial system process */
    volatile ULONG64 NextProcessId;
    KSPIN_LOCK WorkingSetListLock; /* [W] */
    LIST_ENTRY WorkingSetList;
    OB_TYPE ProcessType;
    OB_TYPE JobType;
    OB_TYPE SessionType;
    KSPIN_LOCK SessionLock; /* [Z] the list of sessions and those of their processes; a leaf */
    LIST_ENTRY SessionList; /* [Z] until the object is deleted: take ObReferenceObjectSafe under the lock */
    volatile SIZE_T SessionCount;   /* [C] */
    KSPIN_LOCK JobLock;             /* [J] everything of all jobs, charges of processes in jobs; a leaf */
    PEPROCESS InitialSystemProcess; /* fixed: owner of kernel threads, without user space */
    BOOLEAN Randomize;
    volatile ULONG64 RandomState;                        /* [C] */
    VOID (*DeleteAddressSpace)(PMI_ADDRESS_SPACE Space); /* handed in by room virtual: frees all VADs */
    /* Handed in by room virtual: the pages of a session's pool come and go. */
    NTSTATUS (*AttachSessionPool)(struct _MM_SESSION_SPACE *Session);
    VOID (*DetachSessionPool)(struct _MM_SESSION_SPACE *Session);
    PORT_ADDRESS_RANGE Occupied[MI_MAXIMUM_OCCUPIED]; /* fixed: ascending, apart; never user memory of ours */
    ULONG OccupiedCount;
} MI_SPACE_STATE;

#define MI_DEFAULT_MINIMUM_WORKING_SET 50u /* pages: documented defaults of SetProcessWorkingSetSize */
#define MI_DEFAULT_MAXIMUM_WORKING_SET 345u

/* Randomize: ASLR for processes (off in deterministic mode unless asked for). Seed 0: from the port's entropy. */
NTSTATUS MiInitializeSpace(BOOLEAN Randomize, ULONG64 Seed);
VOID MiShutdownSpace(void); /* bug-checks when processes are left */

/* ---- Locking ----------------------------------------------------------------------------------------------- */

static FORCEINLINE ULONG MiSpaceLockLevel(const MI_ADDRESS_SPACE *Space)
{
    return !Space->Kernel ? KiLockAddressSpace : Space->System ? KiLockSystemSpace : KiLockSessionSpace;
}

static FORCEINLINE MI_SPACE_SLOT *MiLockSpaceShared(PMI_ADDRESS_SPACE Space)
{
    MI_SPACE_SLOT *Slot =
        (MI_SPACE_SLOT *)KiAcquireCacheAwareShared((PKI_CACHE_AWARE_SLOT)(PVOID)Space->Slots);
    KiNoteLockAcquired(Space, MiSpaceLockLevel(Space), FALSE);
    return Slot;
}

static FORCEINLINE VOID MiUnlockSpaceShared(PMI_ADDRESS_SPACE Space, MI_SPACE_SLOT *Slot)
{
    UNREFERENCED_PARAMETER(Space);
    KiNoteLockReleased(Space);
    KiReleaseCacheAwareShared((PKI_CACHE_AWARE_SLOT)(PVOID)Slot);
}

/* Faults are kept out of the space: dirty bits are to tell the truth from now on (PortFillTbForWriter). */
static FORCEINLINE VOID MiSettleWriterOf(PMI_ADDRESS_SPACE Space)
{
    if (__builtin_expect(PortIsSpaceOfWriter(Space->TopLevel), 0))
    {
        PortSettleWriter();
    }
}

static FORCEINLINE VOID MiLockSpaceExclusive(PMI_ADDRESS_SPACE Space)
{
    KiAcquireCacheAwareExclusive((PKI_CACHE_AWARE_SLOT)(PVOID)Space->Slots);
    KiNoteLockAcquired(Space, MiSpaceLockLevel(Space), FALSE);
    MiSettleWriterOf(Space);
}

BOOLEAN MiTryLockSpaceExclusive(PMI_ADDRESS_SPACE Space);

static FORCEINLINE VOID MiUnlockSpaceExclusive(PMI_ADDRESS_SPACE Space)
{
    KiNoteLockReleased(Space);
    KiReleaseCacheAwareExclusive((PKI_CACHE_AWARE_SLOT)(PVOID)Space->Slots);
}

/* ---- Working-set counts: at DISPATCH_LEVEL ------------------------------------------------------------------- */

static FORCEINLINE VOID MiAddWorkingSetPages(PMI_ADDRESS_SPACE Space, LONG64 Delta)
{
    volatile LONG64 *Pages = &Space->Slots[KiCurrentProcessor()].WorkingSetPages;
    __atomic_store_n(Pages, __atomic_load_n(Pages, __ATOMIC_RELAXED) + Delta, __ATOMIC_RELAXED);
}

SIZE_T MiWorkingSetPages(PMI_ADDRESS_SPACE Space); /* the sum */
ULONG64 MiSpaceFaultCount(PMI_ADDRESS_SPACE Space);
ULONG64 MiSpaceHardFaultCount(PMI_ADDRESS_SPACE Space);
VOID MiUpdatePeakWorkingSet(PMI_ADDRESS_SPACE Space); /* call before taking pages away */

/* ---- VAD tree: space locked ------------------------------------------------------------------------------------ */

PMMVAD MiLocateVad(PMI_ADDRESS_SPACE Space, ULONG_PTR Vpn); /* shared is enough */
PMMVAD MiLocateVadInRange(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn,
                          ULONG_PTR EndVpn); /* the lowest that overlaps */
PMMVAD MiFirstVad(PMI_ADDRESS_SPACE Space);
PMMVAD MiNextVad(PMMVAD Vad);
PMMVAD MiPreviousVad(PMMVAD Vad);

/* A VAD block from pool, or NULL. It is in no tree. */
PMMVAD MiAllocateVad(ULONG_PTR StartVpn, ULONG_PTR EndVpn);
VOID MiFreeVad(PMMVAD Vad);
VOID MiInsertVad(PMI_ADDRESS_SPACE Space, PMMVAD Vad); /* the range is free; adds to VirtualSize */
VOID MiRemoveVad(PMI_ADDRESS_SPACE Space, PMMVAD Vad); /* withdraws the promise of its page tables */
VOID MiResizeVad(PMI_ADDRESS_SPACE Space, PMMVAD Vad, ULONG_PTR StartVpn,
                 ULONG_PTR EndVpn); /* shrink, or grow into free space */

typedef struct _MI_FIND_RANGE
{
    SIZE_T Pages;
    ULONG_PTR AlignPages; /* power of two, >= 16 for user allocations (64 KiB) */
    ULONG_PTR LowestVpn;  /* inclusive limits of the result */
    ULONG_PTR HighestVpn;
    BOOLEAN TopDown;
    BOOLEAN Randomize; /* apply the space's bias first, without it when that fails */
} MI_FIND_RANGE;

/*
 * The lowest (TopDown: highest) hole that fits, without what the surroundings occupy. O(log n); for alignments beyond 64 KiB
 * the lowest only as far as a bounded number of candidates goes, then any. AlignPages below 16 counts as 16.
 * STATUS_NO_MEMORY when there is no hole.
 */
NTSTATUS MiFindEmptyRange(PMI_ADDRESS_SPACE Space, const MI_FIND_RANGE *Find, ULONG_PTR *StartVpn);

/* Inside the space's limits and touching nothing that the surroundings occupy. Says nothing about VADs. Needs no lock. */
BOOLEAN MiIsRangeAllocatable(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn);

/* ---- Charges ------------------------------------------------------------------------------------------------------ */

/* Commitment of a space: its own limit, then the system's, both STATUS_COMMITMENT_LIMIT. Flags: MI_COMMIT_*. Fails without effect. */
NTSTATUS MiChargeSpaceCommit(PMI_ADDRESS_SPACE Space, SIZE_T Pages, ULONG Flags);
VOID MiReturnSpaceCommit(PMI_ADDRESS_SPACE Space, SIZE_T Pages);

/*
 * In CommitCharge: the process is in a job. Set once, in the same atomic step that tells how much the jobs are charged for what is there already;
 * from then on the word changes under JobLock only.
 */
#define MI_CHARGE_IN_JOB ((SIZE_T)1 << 63)

static FORCEINLINE SIZE_T MiSpaceCommitCharge(const MI_ADDRESS_SPACE *Space)
{
    return __atomic_load_n(&Space->CommitCharge, __ATOMIC_ACQUIRE) & ~MI_CHARGE_IN_JOB;
}

/* ---- Charges of page tables (tablecharge.c): space exclusive ------------------------------------------------------- */

/* Commitment for page tables that is charged to the space already, and what it must be before one tries again. */
typedef struct _MI_TABLE_BUDGET
{
    SIZE_T Charged;
    SIZE_T Wanted;
} MI_TABLE_BUDGET, *PMI_TABLE_BUDGET;

/*
 * Charges the page tables that Vad may need and that are neither promised nor there, from the budget first. The VAD is in the tree, or will be at once.
 * What is above leaf tables in its range is in memory. FALSE, without effect: Budget->Wanted pages must be had, with the space unlocked.
 */
BOOLEAN MiPromiseTables(PMI_ADDRESS_SPACE Space, PMMVAD Vad, PMI_TABLE_BUDGET Budget);
/* Paging files may grow for it. STATUS_COMMITMENT_LIMIT. Space not locked, PASSIVE_LEVEL. */
NTSTATUS MiRaiseTableBudget(PMI_ADDRESS_SPACE Space, PMI_TABLE_BUDGET Budget);
VOID MiReturnTableBudget(PMI_ADDRESS_SPACE Space, PMI_TABLE_BUDGET Budget);
/*
 * The range is not promised any more: it is in no VAD, or in one that makes no promise. What other VADs share with it, and tables that
 * exist, stay charged.
 */
VOID MiWithdrawTables(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn);
/* TablesPromised of a VAD in the tree becomes what it is said to be; when FALSE, with MiWithdrawTables. */
VOID MiSetTablesPromised(PMI_ADDRESS_SPACE Space, PMMVAD Vad, BOOLEAN Promised);
/* What MiPromiseTables would charge if Before and After (may be NULL) were the promised VADs next to the range. */
SIZE_T MiCountTablesToPromise(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn,
                              const MMVAD *Before, const MMVAD *After);
/* Shared is enough. Whether the table that the entry of Level (1..MI_TOP_LEVEL) for Va names is promised. */
BOOLEAN MiIsTablePromised(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, ULONG Level);

/* A service makes this table: charged unless promised. FALSE: the limit. */
BOOLEAN MiChargePageTable(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, ULONG Level);
/* Count tables on the way to Va, from Level upwards, are gone (or were not made). */
VOID MiReturnPageTables(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, ULONG Level, ULONG Count);

/* ---- Working-set watch (watch.c) ----------------------------------------------------------------------------------- */

#define MI_WATCH_ENTRIES 1024u

typedef struct _MI_WATCHED_FAULT
{
    PVOID Pc;
    ULONG_PTR Va; /* bit 0: a page was read for it */
    ULONG_PTR Thread;
} MI_WATCHED_FAULT;

/* From now on faults of user mode are remembered. STATUS_INSUFFICIENT_RESOURCES; a second call changes nothing. */
NTSTATUS MiStartFaultWatch(PMI_ADDRESS_SPACE Space);
VOID MiRecordFault(PMI_ADDRESS_SPACE Space, PVOID Pc, ULONG_PTR Va,
                   ULONG_PTR Thread); /* IRQL <= DISPATCH_LEVEL */

/*
 * Takes what was remembered, oldest first. Buffer has room for MI_WATCH_ENTRIES. *Lost: how many came after the room was full.
 * STATUS_UNSUCCESSFUL (no watch), STATUS_NO_MORE_ENTRIES.
 */
NTSTATUS MiTakeFaults(PMI_ADDRESS_SPACE Space, ULONG Room, MI_WATCHED_FAULT *Buffer, PULONG Count,
                      PULONG Lost);
VOID MiDeleteFaultWatch(PMI_ADDRESS_SPACE Space);

/* ---- Processes --------------------------------------------------------------------------------------------------- */

/*
 * A new, empty process with one reference, listed. Name (may be NULL) is cut to 15 characters. STATUS_INSUFFICIENT_RESOURCES,
 * STATUS_COMMITMENT_LIMIT, STATUS_NO_MEMORY. PASSIVE_LEVEL, no lock held: may wait for a frame.
 */
NTSTATUS PsCreateProcessObject(PCSTR Name, PEPROCESS *Process);

/* The same in a session, which the process references (session.h). PsCreateProcessObject: in none. */
NTSTATUS PsCreateProcessWithSession(PCSTR Name, struct _MM_SESSION_SPACE *Session, PEPROCESS *Process);

/*
 * Marks it terminating, sets ExitStatus, closes its handles, deletes the user half of the address space (all pages, commitment,
 * page tables given back), signals it. Once: a later call changes nothing and returns when the first is done. The
 * top-level page and its charge go with the last reference. PASSIVE_LEVEL.
 */
VOID PsTerminateProcessObject(PEPROCESS Process, NTSTATUS ExitStatus);

/*
 * Ends the threads of Process but the calling one, as far as they can be ended now; the others end when they come back to user mode. TRUE: none
 * is left. PASSIVE_LEVEL.
 */
BOOLEAN PsEndOtherThreads(PEPROCESS Process);

/* Calls Routine for every process but the initial system process, referenced meanwhile, until FALSE. PASSIVE_LEVEL. */
VOID PsForEachProcess(BOOLEAN (*Routine)(PEPROCESS Process, PVOID Context), PVOID Context);

/* The process whose address space is in use. Threads that know nothing of processes belong to the initial system process. */
static FORCEINLINE PEPROCESS MiCurrentProcess(void)
{
    PEPROCESS Process = (PEPROCESS)(PVOID)KiCurrentThread()->AttachedProcess;

    return Process != NULL ? Process : PsInitialSystemProcess;
}

/* The space that user addresses of the current thread mean; NULL for a kernel worker that is attached to nothing. */
static FORCEINLINE PMI_ADDRESS_SPACE MiCurrentSpace(void)
{
    return (PMI_ADDRESS_SPACE)KiCurrentThread()->SpaceState;
}

/*
 * Public (wdm_ke.h, ps.h): PsGetCurrentProcess, PsGetCurrentProcessId, PsGetProcessId, PsGetProcessExitStatus,
 * PsLookupProcessByProcessId, KeStackAttachProcess, KeUnstackDetachProcess, KeAttachProcess, KeDetachProcess. Attaching takes
 * no reference: the caller has one.
 */

/* Makes Process the owner of the calling thread (NULL: the system), loads its space, references it. Not while attached. */
VOID PsSetThreadProcess(PEPROCESS Process);

/* ---- Between the files of this room ------------------------------------------------------------------------------- */

/* Lock and limits of a zeroed structure. STATUS_INSUFFICIENT_RESOURCES. */
NTSTATUS MiInitializeAddressSpace(PMI_ADDRESS_SPACE Space, ULONG_PTR LowestVpn, ULONG_PTR HighestVpn);
NTSTATUS MiInitializeUserSpace(PMI_ADDRESS_SPACE Space, PEPROCESS Process);
VOID MiUninitializeAddressSpace(PMI_ADDRESS_SPACE Space); /* also of one that never was initialized */
/*
 * The tables that a space has all its life, as many as Create makes (it returns the topmost; 0: no frame): charged, also as nonpageable.
 * STATUS_COMMITMENT_LIMIT, STATUS_INSUFFICIENT_RESOURCES, STATUS_NO_MEMORY. May wait for a frame. And their charge, when they are deleted.
 */
NTSTATUS MiCreateFixedTables(PMI_ADDRESS_SPACE Space, SIZE_T Tables, PFN_NUMBER (*Create)(void));
VOID MiReturnFixedTables(PMI_ADDRESS_SPACE Space, SIZE_T Tables);
NTSTATUS MiReadOccupiedRanges(MI_SPACE_STATE *State);
ULONG64 MiSpaceRandom(void); /* a number of the seeded sequence; any thread */
NTSTATUS PsCreateInitialSystemProcess(void);
VOID PsDeleteProcessObject(PVOID Object); /* ProcessType.Delete */

/*
 * Level 1: root summary against limits and counts; 2: tree order, balance, augmentation, no overlap, sizes and charges. Space
 * locked exclusively, or quiescent. Bug-checks MEMORY_MANAGEMENT with what it found.
 */
VOID MiCheckSpace(PMI_ADDRESS_SPACE Space, ULONG Level);
VOID MiCheckTableCharge(PMI_ADDRESS_SPACE Space); /* a part of level 2 */

#endif
