/* SPDX-License-Identifier: MIT */
/*
 * Physical memory: the PFN database, the page lists, zeroing, and commitment. Theory: docs/physical.md.
 *
 * A frame that was never used has an all-zero descriptor and lies above its run's `Fresh` mark; it counts as zeroed (or free,
 * if the port cannot promise zeros) without being linked, so booting costs nothing per frame.
 *
 * Locks. [P] = under the frame's lock (MMPFN.Lock); [L] = list lock and frame lock;
 * [C] = atomic. A frame's lock comes before a list's; whoever starts from a list may only try the frame's.
 * The PTE that points at a frame in transition changes only under that frame's lock.
 */
#ifndef NTMM_PHYSICAL_H
#define NTMM_PHYSICAL_H

#include "ke/ke.h"
#include "physical/mmpte.h"

typedef enum _MMLISTS
{
    ZeroedPageList = 0,
    FreePageList = 1,
    StandbyPageList = 2,
    ModifiedPageList = 3,
    ModifiedNoWritePageList = 4,
    BadPageList = 5,
    ActiveAndValid = 6,
    TransitionPage = 7
} MMLISTS;

struct _MMINPAGE_SUPPORT;

/* MMPFN.Flags */
/*
 * The page holds PTEs and counts those with a frame behind them (e1.PageTable). Here, too, because whoever has one of these entries may ask
 * while e1 changes: the end of a write that began before the page came back writes it.
 */
#define MI_PFN_COUNTS_SHARES 0x1u
#define MI_PFN_BAD                                                                                           \
    0x2u /* the hardware is: to the bad list as soon as it is free. Set and cleared under the frame's lock */

/* MMPFN.Place: the frame's NUMA node, written when the frame is first used, and on a list in parts: which part, written under the frame's lock. */
#define MI_PFN_NODE_SHIFT 3
#define MI_PFN_PART_MASK  7u

typedef struct _MMPFNENTRY
{
    USHORT PageLocation : 3;    /* MMLISTS */
    USHORT Modified : 1;        /* newer than its copy in the backing store */
    USHORT ReadInProgress : 1;  /* u1.InPage says who reads */
    USHORT WriteInProgress : 1; /* the writer owns the slot until it completes */
    USHORT PrototypePte : 1;    /* PteAddress is a prototype PTE */
    USHORT PageTable : 1;       /* holds PTEs: u1.ShareCount counts valid and transition entries + 1 */
    USHORT ReadAhead : 1;       /* came along in a read and was not used yet */
    USHORT Deleted : 1;         /* its owner let go while references remain: frees itself with the last one */
    USHORT Priority : 3;
    USHORT CacheAttribute : 2; /* 0 = cached, 1 = not, 2 = write-combined */
    USHORT
    Kernel : 1; /* active: the kernel's own, no PTE owns it; free, zeroed: held by a processor's cache */
} MMPFNENTRY;

typedef struct _MMPFN
{
    union
    {
        struct
        {
            ULONG Flink; /* [L] frame numbers, 0 = none */
            ULONG Blink;
        };
        struct
        {
            volatile ULONG ShareCount; /* active: mapping PTEs; page table: see PageTable. [C]/[P] */
            volatile ULONG UsedPageTableEntries; /* page table: entries that are not zero. PTE lock */
        };
        struct _MMINPAGE_SUPPORT *InPage; /* [P] while ReadInProgress */
    } u1;
    PMMPTE PteAddress;      /* the PTE (or prototype PTE) that owns it, in the direct map [P] */
    MMPTE OriginalPte;      /* what PteAddress becomes when the frame is taken away [P] */
    volatile UCHAR Lock;    /* of the frame's state */
    volatile UCHAR PteLock; /* of the PTEs that this page holds (page-table page, page of prototype PTEs) */
    volatile UCHAR Flags;   /* [C] MI_PFN_BAD, MI_PFN_COUNTS_SHARES */
    volatile UCHAR Place;   /* [P] node and part of a list */
    USHORT ReferenceCount;  /* [P] 1 for ShareCount > 0, + I/O and locks; 0 = on a list */
    MMPFNENTRY e1;          /* [P] */
} MMPFN, *PMMPFN;

C_ASSERT(sizeof(MMPFN) == 32);

typedef struct _MMPFNLIST
{
    KSPIN_LOCK Lock;
    volatile ULONG64 Total; /* [L], read anywhere */
    ULONG Flink;
    ULONG Blink;
    MMLISTS ListName;
    ULONG Priority;
    ULONG Part; /* of an MI_QUEUE */
    UCHAR Padding[28];
} MMPFNLIST, *PMMPFNLIST;

C_ASSERT(sizeof(MMPFNLIST) == 64);

/*
 * A list from whose middle many processors take: standby, modified. It is a ring of parts with a lock each, filled one after the other: frames
 * are added to the newest part, and once that holds half of all, at least PartPages, and the next one is empty, the next one is the newest. Taken from
 * the oldest part that has any, so the order is that of one queue; and processors whose pages were trimmed one after the other take them back
 * out of different parts.
 */
#define MI_QUEUE_PARTS 8u
typedef struct _MI_QUEUE
{
    MMPFNLIST Parts[MI_QUEUE_PARTS];
    volatile ULONG Newest; /* changes under the lock of the newest part; read anywhere */
    UCHAR Padding[60];
} MI_QUEUE, *PMI_QUEUE;

typedef struct _MI_MEMORY_RUN
{
    PFN_NUMBER BasePage;
    PFN_NUMBER PageCount;
    PFN_NUMBER Fresh; /* first frame never used. FreshLock */
    PFN_NUMBER
    FreshEnd; /* end of the frames never used (contiguous allocations take from there). FreshLock */
    PFN_NUMBER Prepared; /* end of what the port was told to get ready; 0: nothing. FreshLock */
    BOOLEAN Zeroed;
    USHORT Node;
} MI_MEMORY_RUN;

/*
 * A NUMA node: its zeroed and free frames by colour (frame number modulo the number of colours), as Windows keeps them
 * (MmFreePagesByColor), or, where the port knows of no colours, by home: stretches of frames that one processor prefers to others.
 * Indices: ZeroedPageList, FreePageList.
 */
typedef struct _MI_NODE
{
    PMMPFNLIST Lists[2];          /* [kind][colour] */
    volatile PFN_NUMBER Fresh[2]; /* never used frames of zeroed / other runs. FreshLock */
} MI_NODE;

#define MI_ANY_NODE         (~0u)
#define MI_MAXIMUM_COLOURS  256u
#define MI_MAXIMUM_RUNS     64
#define MI_MAXIMUM_HOMES    16u
#define MI_HOME_SHIFT       6 /* 64 frames: their descriptors are 32 lines that no other stretch shares */
#define MI_PAGE_CACHE_DEPTH 64
#define MI_PRIORITIES       8
#define MI_DEFAULT_PRIORITY 5

/*
 * Frames that a processor holds ready, refilled at DISPATCH_LEVEL on that processor. The lock is taken by others only when
 * the lists are empty: then they help themselves, because idle processors must not hoard the last frames.
 */
typedef struct _MI_PAGE_CACHE
{
    KSPIN_LOCK Lock;
    ULONG ZeroedCount;
    ULONG FreeCount;
    ULONG Zeroed[MI_PAGE_CACHE_DEPTH];
    ULONG Free[MI_PAGE_CACHE_DEPTH];
    ULONG NextColour[2]; /* where the next refill begins, or the processor's home; its own */
    UCHAR Padding[64 - 24];
} MI_PAGE_CACHE;

C_ASSERT(sizeof(MI_PAGE_CACHE) % 64 == 0);

/* What higher rooms hand in at start; each may be NULL. Called at <= DISPATCH_LEVEL, no locks of this room held. */
typedef struct _MI_PHYSICAL_OPERATIONS
{
    VOID (*AvailableLow)(void);                 /* fewer than LowThreshold pages available */
    VOID (*ModifiedHigh)(void);                 /* a modified list grew over its threshold */
    VOID (*AvailabilityChanged)(void);          /* the low/high memory notification state may have changed */
    BOOLEAN (*ExtendCommitLimit)(SIZE_T Pages); /* grow paging files; may wait; IRQL < DISPATCH */
    VOID(*CommitLow)
    (void); /* less than CommitHeadroom can be charged: MiKeepCommitHeadroom is to be called */
} MI_PHYSICAL_OPERATIONS;

/* Counters of this room, per processor (see physical/counters.h for the names). */
#include "physical/counters.h"

typedef struct _MI_PHYSICAL_STATE
{
    MMPFN *PfnDatabase;
    PFN_NUMBER HighestPage;     /* grows when memory is added. FreshLock, read anywhere */
    PFN_NUMBER DatabaseFrames;  /* frames for which there are descriptors */
    volatile UCHAR *BlockLocks; /* one for each MI_BLOCK_FRAMES descriptors, behind them */
    PFN_NUMBER NumberOfPages;
    MI_MEMORY_RUN Runs[MI_MAXIMUM_RUNS];
    ULONG RunCount;
    EX_PUSH_LOCK RunsLock; /* the table of runs, marks of bad frames */
    KSPIN_LOCK FreshLock;
    MI_NODE Nodes[PORT_MAXIMUM_NODES];
    ULONG NodeCount;
    ULONG Colours;           /* lists of a kind and node, a power of two: by colour, or homes of processors */
    ULONG ColourShift;       /* 0: colours of caches; MI_HOME_SHIFT: homes */
    volatile ULONG NextFree; /* [C] where the zero-page thread goes on */
    PMMPFNLIST ColouredLists; /* what the nodes' lists point into */
    SIZE_T ColouredBytes;
    MI_QUEUE StandbyList[MI_PRIORITIES];
    volatile ULONG StandbyUsed;   /* [C] bit n: priority n ever had a page */
    ULONG PartPages;              /* see MI_QUEUE */
    MI_QUEUE ModifiedList;        /* to the paging files */
    MMPFNLIST ModifiedMappedList; /* to mapped files */
    MMPFNLIST ModifiedNoWriteList;
    MMPFNLIST BadList;
    MI_PAGE_CACHE *PageCache; /* [processor] */
    volatile ULONG64 RepurposedByPriority[MI_PRIORITIES];

    PFN_NUMBER MinimumReserve; /* below this only MI_PAGE_MUST_SUCCEED requests get frames */
    PFN_NUMBER LowThreshold;   /* below this AvailableLow is called */
    PFN_NUMBER ModifiedThreshold;
    PFN_NUMBER LowMemoryThreshold, HighMemoryThreshold; /* notification events */

    KEVENT AvailableEvent; /* notification: pages are available */
    volatile ULONG AvailableWaiters;

    volatile SIZE_T CommitLimit;   /* pages */
    volatile SIZE_T CommitMaximum; /* with all paging files at their maximum */
    volatile SIZE_T CommittedPages;
    volatile SIZE_T PeakCommitment;
    SIZE_T CommitHeadroom;             /* fixed: files grow ahead when less is left */
    volatile ULONG64 NextGrowth;       /* when that is tried again after a failure (KiQueryTime) */
    volatile LONG64 ResidentAvailable; /* pages that may still become nonpageable */

    KI_WORKER ZeroWorker;
    MI_PHYSICAL_OPERATIONS Operations;
    MI_COUNTER_BLOCK *Counters; /* [processor] */
} MI_PHYSICAL_STATE;

/* How many frames a list has, as a hint: nobody stops it from changing. */
static FORCEINLINE ULONG64 MiListTotal(const MMPFNLIST *List)
{
    return __atomic_load_n(&List->Total, __ATOMIC_RELAXED);
}

static FORCEINLINE ULONG64 MiQueueTotal(const MI_QUEUE *Queue)
{
    ULONG64 Sum = 0;

    for (ULONG Part = 0; Part < MI_QUEUE_PARTS; Part++)
    {
        Sum += MiListTotal(&Queue->Parts[Part]);
    }
    return Sum;
}

/* ---- Frames and descriptors ----------------------------------------------------------------------------- */

static FORCEINLINE PMMPFN MiPfn(PFN_NUMBER PageFrame)
{
    return &MiState.Physical->PfnDatabase[PageFrame];
}

static FORCEINLINE PFN_NUMBER MiPfnFrame(const MMPFN *Pfn)
{
    return (PFN_NUMBER)(Pfn - MiState.Physical->PfnDatabase);
}

static FORCEINLINE ULONG MiPfnNode(const MMPFN *Pfn)
{
    return (ULONG)__atomic_load_n(&Pfn->Place, __ATOMIC_RELAXED) >> MI_PFN_NODE_SHIFT;
}

static FORCEINLINE BOOLEAN MiIsPfnBad(const MMPFN *Pfn)
{
    return (__atomic_load_n(&Pfn->Flags, __ATOMIC_RELAXED) & MI_PFN_BAD) != 0;
}

static FORCEINLINE ULONG MiFrameColour(PFN_NUMBER PageFrame)
{
    return (ULONG)(PageFrame >> MiState.Physical->ColourShift) & (MiState.Physical->Colours - 1);
}

static FORCEINLINE BOOLEAN MiIsFrame(PFN_NUMBER PageFrame)
{
    return PageFrame != 0 && PageFrame <= MiState.Physical->HighestPage;
}

/* RAM that firmware reported or that was added. Others are device memory, or nothing: they have no descriptor. */
static FORCEINLINE BOOLEAN MiIsRamFrame(PFN_NUMBER PageFrame)
{
    const MI_PHYSICAL_STATE *Physical = MiState.Physical;

    for (ULONG Index = 0; Index < Physical->RunCount; Index++)
    {
        if (PageFrame - Physical->Runs[Index].BasePage < Physical->Runs[Index].PageCount)
        {
            return TRUE;
        }
    }
    return FALSE;
}

/*
 * The state bits of a frame whose lock is not held, by somebody to whom the frame belongs (taken off every list) or who only wants a
 * hint. Others may look at any time, so it is one load and one store.
 */
static FORCEINLINE MMPFNENTRY MiReadPfnEntry(const MMPFN *Pfn)
{
    union
    {
        USHORT Value;
        MMPFNENTRY Entry;
    } u = { .Value = __atomic_load_n((const volatile USHORT *)(const VOID *)&Pfn->e1, __ATOMIC_RELAXED) };
    return u.Entry;
}

/* Modified, and nobody uses it: on the list of a writer, or on the one that no writer may touch. */
static FORCEINLINE BOOLEAN MiIsOnModifiedList(MMPFNENTRY Entry)
{
    return Entry.PageLocation == ModifiedPageList || Entry.PageLocation == ModifiedNoWritePageList;
}

static FORCEINLINE VOID MiWritePfnEntry(PMMPFN Pfn, MMPFNENTRY Entry)
{
    union
    {
        MMPFNENTRY Entry;
        USHORT Value;
    } u = { .Entry = Entry };
    __atomic_store_n((volatile USHORT *)(PVOID)&Pfn->e1, u.Value, __ATOMIC_RELEASE);
}

/* A new frame, the caller's own, comes along in a read for which nobody has asked. */
static FORCEINLINE VOID MiMarkReadAhead(PMMPFN Pfn)
{
    MMPFNENTRY Entry = MiReadPfnEntry(Pfn);

    Entry.ReadAhead = 1;
    MiWritePfnEntry(Pfn, Entry);
}

/* The page that holds a PTE: its descriptor carries the PTE lock. */
static FORCEINLINE PMMPFN MiPtePage(const volatile MMPTE *PointerPte)
{
    return MiPfn(PortDirectMapFrame(PointerPte));
}

/*
 * A frame's lock is its byte. Who treats many frames that lie together (a view of a file is mapped, or goes) locks their block instead, with one atomic
 * operation for all of them: it holds those frames whose byte is 0, and whoever sets a byte meanwhile finds the block locked, takes that back and waits. Each
 * side writes first and then looks at what the other one wrote, so at least one of them sees the other.
 */
#define MI_BLOCK_FRAMES 512u

static FORCEINLINE volatile UCHAR *MiBlockLock(const MMPFN *Pfn)
{
    return &MiState.Physical->BlockLocks[MiPfnFrame(Pfn) / MI_BLOCK_FRAMES];
}

static FORCEINLINE BOOLEAN MiTakePfn(PMMPFN Pfn)
{
    if (__builtin_expect(__atomic_exchange_n(&Pfn->Lock, 1, __ATOMIC_SEQ_CST) != 0, 0))
    {
        return FALSE;
    }
    if (__builtin_expect(__atomic_load_n(MiBlockLock(Pfn), __ATOMIC_SEQ_CST) != 0, 0))
    {
        KiReleaseByteLock(&Pfn->Lock);
        return FALSE;
    }
    return TRUE;
}

VOID MiWaitForPfn(PMMPFN Pfn); /* lists.c */

/* At DISPATCH_LEVEL, without a block. */
static FORCEINLINE VOID MiLockPfn(PMMPFN Pfn)
{
    if (!MiTakePfn(Pfn))
    {
        MiWaitForPfn(Pfn);
    }
    KiNoteLockAcquired(Pfn, KiLockPfn, FALSE);
}

static FORCEINLINE BOOLEAN MiTryLockPfn(PMMPFN Pfn)
{
    if (__atomic_load_n(&Pfn->Lock, __ATOMIC_RELAXED) != 0 || !MiTakePfn(Pfn))
    {
        return FALSE;
    }
    KiNoteLockAcquired(Pfn, KiLockPfn, TRUE);
    return TRUE;
}

static FORCEINLINE VOID MiUnlockPfn(PMMPFN Pfn)
{
    KiNoteLockReleased(Pfn);
    KiReleaseByteLock(&Pfn->Lock);
}

/* ---- Boot ------------------------------------------------------------------------------------------------ */

NTSTATUS MiInitializePhysical(void);   /* after KiInitializeSystem */
NTSTATUS MiStartPhysicalWorkers(void); /* the zero-page thread */
VOID MiStopPhysicalWorkers(void);
VOID MiShutdownPhysical(void);

/* ---- Memory that comes and goes (runs.c) ------------------------------------------------------------------- */

/*
 * A new run of RAM: its frames are free at once. STATUS_CONFLICTING_ADDRESSES (overlaps), STATUS_INVALID_PARAMETER (the port cannot reach it, or there are
 * no descriptors for it), STATUS_INSUFFICIENT_RESOURCES (too many runs). PASSIVE_LEVEL, RunsLock held.
 */
NTSTATUS MiAddMemoryRun(PFN_NUMBER BasePage, PFN_NUMBER PageCount);

/*
 * Takes the frames of the range, all of which are RAM, out of use as far as they are available; returns how many are still in use. Call again after
 * trimming and writing; MiRemoveMemoryRun when it is 0, MiReleaseClaimedFrames to give up. RunsLock held throughout.
 */
PFN_NUMBER MiClaimFrames(PFN_NUMBER BasePage, PFN_NUMBER PageCount);
/* One run as it is now. */
VOID MiReadRun(ULONG Index, MI_MEMORY_RUN *Run);
/* The RAM that there is, in ascending order, runs that touch joined; room for MI_MAXIMUM_RUNS. Returns how many. */
ULONG MiQueryMemoryRanges(PORT_MEMORY_RUN *Ranges);
/* Serializes whatever changes the runs or marks frames. Held while memory is trimmed and written. PASSIVE_LEVEL. */
VOID MiLockRuns(void);
VOID MiUnlockRuns(void);
VOID MiReleaseClaimedFrames(PFN_NUMBER BasePage, PFN_NUMBER PageCount);
/* All frames are claimed: the run loses them, and the commit limit. STATUS_INSUFFICIENT_RESOURCES (commitment needs them; too many runs). */
NTSTATUS MiRemoveMemoryRun(PFN_NUMBER BasePage, PFN_NUMBER PageCount);

/* Takes this very frame off the free, zeroed, bad or a standby list; it is active then, with one reference. FALSE: it is in use. */
BOOLEAN MiTakeThisFrame(PFN_NUMBER Frame);
/* The same for a good frame, in RAM or not, that is on the free or the zeroed list. DISPATCH_LEVEL. */
BOOLEAN MiTakeFreeFrame(PFN_NUMBER Frame);

/* ---- Frames whose hardware is bad (bad.c) ------------------------------------------------------------------------ */

/*
 * The frames of the range are not given out any more: available ones go to the bad list at once, others when their owners let go. *Waiting: how many
 * still have an owner. Frames that are marked already, and what is no RAM, are passed over. Each marked frame counts as lost for commitment:
 * STATUS_INSUFFICIENT_RESOURCES when there is not that much left, nothing is marked then. PASSIVE_LEVEL, RunsLock held.
 */
NTSTATUS MiMarkFramesBad(PFN_NUMBER BasePage, PFN_NUMBER PageCount, PFN_NUMBER *Marked, PFN_NUMBER *Waiting);
/* Takes the mark away again; returns how many had it. */
PFN_NUMBER MiMarkFramesGood(PFN_NUMBER BasePage, PFN_NUMBER PageCount);
/* For the room's own files: the never-used frames of the run from Low to High (or all beside them, on the nearer side) become ordinary free ones. */
VOID MiUseUpFresh(MI_MEMORY_RUN *Run, PFN_NUMBER Low, PFN_NUMBER High);
/* Frames of the range that lie in RAM. */
PFN_NUMBER MiCountFrames(PFN_NUMBER BasePage, PFN_NUMBER PageCount);
/* What the processors hold ready goes back to the lists. */
VOID MiDrainPageCaches(void);

/* ---- Taking and giving frames (allocate.c) --------------------------------------------------------------- */

#define MI_PAGE_ZEROED       0x1u /* contents zero */
#define MI_PAGE_MUST_SUCCEED 0x2u /* may use the reserve (page out path, kernel structures) */
/* A preference for a NUMA node, instead of the current processor's: other nodes follow when it has neither zeroed nor free frames. */
#define MI_PAGE_NODE_SHIFT    8
#define MI_PAGE_ON_NODE(Node) (((ULONG)(Node) + 1) << MI_PAGE_NODE_SHIFT)

/*
 * Takes one frame off the lists (zeroed, free, standby by priority; the old owner's PTE is put back to its backing
 * address). The descriptor comes with PageLocation ActiveAndValid, ShareCount 0, ReferenceCount 1, everything
 * else clear. 0: none at hand now (or injected): wait with MiWaitForAvailablePages and run the whole fault again. IRQL <= DISPATCH_LEVEL.
 */
PFN_NUMBER MiAllocatePage(ULONG Flags);

/*
 * Up to Count consecutive frames, at least one if there is any; returns the first, *Got says how many. Place: the number that the first one should have; or
 * if that one is not free, the same number modulo 512, so that pages and frames that lie alike in 2 MiB can be one mapping of the port's.
 * A preference only. Frames are taken from standby in the order in which they stand there, consecutive or not.
 */
#define MI_ANY_PLACE (~(PFN_NUMBER)0)
PFN_NUMBER MiAllocatePageRun(ULONG Count, ULONG Flags, PFN_NUMBER Place, PULONG Got);

/* A frame that no PTE owns, straight back to the free list. ReferenceCount must be 1 or 0, no lock held. */
VOID MiFreePage(PFN_NUMBER PageFrame);

/* Same with the frame's lock held; the lock is released. */
VOID MiFreeLockedPage(PMMPFN Pfn);

/* Physically consecutive frames (kernel structures); NULL when there is no such run. Contents zero. */
PFN_NUMBER MiAllocateContiguousPages(PFN_NUMBER Count, PFN_NUMBER Lowest, PFN_NUMBER Highest,
                                     PFN_NUMBER AlignPages);
/* The same from the memory of one node only (MI_ANY_NODE: from any). */
PFN_NUMBER MiAllocateContiguousPagesOnNode(PFN_NUMBER Count, PFN_NUMBER Lowest, PFN_NUMBER Highest,
                                           PFN_NUMBER AlignPages, ULONG Node);
VOID MiFreeContiguousPages(PFN_NUMBER PageFrame, PFN_NUMBER Count);

/* Waits until frames are available. FALSE: the bounded wait passed and nothing can come. IRQL < DISPATCH_LEVEL. */
BOOLEAN MiWaitForAvailablePages(void);

PFN_NUMBER MiAvailablePages(void); /* zeroed + free + standby */
PFN_NUMBER MiZeroedPages(void);
PFN_NUMBER MiFreePages(void);
PFN_NUMBER MiStandbyPages(void);
/* What a node has at hand: zeroed and free frames, those in its processors' caches left out. */
PFN_NUMBER MiNodeFreePages(ULONG Node);

/* ---- Lists (lists.c): frame lock held ---------------------------------------------------------------------- */

/* Puts a frame whose ReferenceCount is 0 on the list of its state: modified, or standby by priority. */
VOID MiInsertPageInList(PMMPFN Pfn);
VOID MiInsertNoWritePage(PMMPFN Pfn);    /* modified, and not the mapped page writer's to write */
VOID MiInsertZeroedPage(PMMPFN Pfn);     /* contents are zero, nobody owns it: onto its node's zeroed list */
VOID MiInsertStandbyAtFront(PMMPFN Pfn); /* to be reused first within its priority */
VOID MiUnlinkPage(PMMPFN Pfn);           /* from standby / modified / modified-no-write */

/*
 * Up to Wanted zeroed or free frames of a node, of consecutive colours from *Colour on, locked and unlinked; homes: as many as there are from
 * *Colour, then from the next, and *Colour stays.
 */
ULONG MiRemoveColouredLocked(ULONG Node, MMLISTS Kind, PULONG Colour, ULONG Wanted, PMMPFN *Pfns);

/* A frame that was never used: says to which node it belongs. Nobody else can reach it. */
static FORCEINLINE VOID MiBeginFrame(PMMPFN Pfn, const MI_MEMORY_RUN *Run, MMPFNENTRY Entry)
{
    if (Run->Node != 0)
    {
        C_ASSERT(PORT_MAXIMUM_NODES <= 0x100 >> MI_PFN_NODE_SHIFT);
        __atomic_store_n(&Pfn->Place, (UCHAR)(Run->Node << MI_PFN_NODE_SHIFT), __ATOMIC_RELAXED);
    }
    MiWritePfnEntry(Pfn, Entry);
}

/* The first frame of List, locked and unlinked (ReferenceCount 0), or NULL. Frames whose lock is taken are passed over. */
PMMPFN MiRemoveHeadLocked(PMMPFNLIST List);
PMMPFN MiRemoveOldestLocked(PMI_QUEUE Queue); /* the same of a list in parts */
/*
 * The first one for which Suitable says TRUE, likewise; at most 512 are asked, and those that are not suitable stand at the end of the list
 * afterwards. Suitable is called with the frame's and the list's lock held.
 */
PMMPFN MiRemoveSuitableLocked(PMMPFNLIST List, BOOLEAN (*Suitable)(PMMPFN Pfn, PVOID Context), PVOID Context);
/* The same for this frame, if it is the first of the oldest part. FALSE: it is not, or its lock is taken. */
BOOLEAN MiRemoveIfOldestLocked(PMI_QUEUE Queue, PMMPFN Pfn);
/* Up to Wanted of them at once; returns how many. Their order is the list's. */
ULONG MiRemoveHeadsLocked(PMMPFNLIST List, ULONG Wanted, PMMPFN *Pfns);

/*
 * Drops one reference: with the last one the frame goes to its list, or, if Deleted, to the free list (its paging-file slot
 * must be gone by then). Frame lock held. TRUE when the frame was freed.
 */
BOOLEAN MiDecrementReferenceCount(PMMPFN Pfn);

static FORCEINLINE VOID MiIncrementReferenceCount(PMMPFN Pfn)
{
    KiRequire(Pfn->ReferenceCount != 0xffff);
    Pfn->ReferenceCount++;
}

/* Drops one mapping; with the last one also its reference. Frame lock held. */
BOOLEAN MiDecrementShareCount(PMMPFN Pfn);

/*
 * Whether the page that holds PointerPte counts its valid and transition entries: a page table, or a page of a section's prototype PTEs.
 * Those of clones, and what describes such pages themselves, are in pool. Fixed as long as the entry has a frame behind it.
 */
static FORCEINLINE BOOLEAN MiCountsShares(const volatile MMPTE *PointerPte)
{
    return (__atomic_load_n(&MiPtePage(PointerPte)->Flags, __ATOMIC_RELAXED) & MI_PFN_COUNTS_SHARES) != 0;
}

/* The frame holds PTEs from now on; until it is taken from its owner or freed. Its own frame, or locked. */
static FORCEINLINE VOID MiMarkPageTable(PMMPFN Pfn)
{
    MMPFNENTRY Entry = MiReadPfnEntry(Pfn);

    Entry.PageTable = 1;
    MiWritePfnEntry(Pfn, Entry);
    __atomic_fetch_or(&Pfn->Flags, MI_PFN_COUNTS_SHARES, __ATOMIC_RELAXED);
}

static FORCEINLINE VOID MiForgetPageTable(PMMPFN Pfn)
{
    if ((__atomic_load_n(&Pfn->Flags, __ATOMIC_RELAXED) & MI_PFN_COUNTS_SHARES) != 0)
    {
        __atomic_fetch_and(&Pfn->Flags, (UCHAR)~MI_PFN_COUNTS_SHARES, __ATOMIC_RELAXED);
    }
}

/* How many PTEs map the frame (locked). One store: walks of page tables read it without the lock. */
static FORCEINLINE VOID MiWriteShareCount(PMMPFN Pfn, ULONG Count)
{
    __atomic_store_n(&Pfn->u1.ShareCount, Count, __ATOMIC_RELAXED);
}

/* Returns what is left. */
static FORCEINLINE ULONG MiAddShares(PMMPFN Pfn, LONG Delta)
{
    ULONG Count = Pfn->u1.ShareCount + (ULONG)Delta;

    MiWriteShareCount(Pfn, Count);
    return Count;
}

/* So many transition or valid entries came into the page that holds PointerPte, or left it. */
static FORCEINLINE VOID MiAddPageTableShares(PMMPTE PointerPte, ULONG Count)
{
    __atomic_fetch_add(&MiPtePage(PointerPte)->u1.ShareCount, Count, __ATOMIC_RELAXED);
}

static FORCEINLINE VOID MiTakePageTableShares(PMMPTE PointerPte, ULONG Count)
{
    __atomic_fetch_sub(&MiPtePage(PointerPte)->u1.ShareCount, Count, __ATOMIC_RELEASE);
}

/* A transition or valid entry in the page that holds PointerPte came or went. */
static FORCEINLINE VOID MiIncrementPageTableShare(PMMPTE PointerPte)
{
    __atomic_fetch_add(&MiPtePage(PointerPte)->u1.ShareCount, 1, __ATOMIC_RELAXED);
}

static FORCEINLINE VOID MiDecrementPageTableShare(PMMPTE PointerPte)
{
    __atomic_fetch_sub(&MiPtePage(PointerPte)->u1.ShareCount, 1, __ATOMIC_RELEASE);
}

/*
 * Whoever takes a frame away writes its PTE first and the share count of the table afterwards, without the table's lock. So a table whose entries
 * are gone waits here until only its own share is left; nobody can add one any more. On a machine with one thread a share too many is a bug.
 */
static FORCEINLINE VOID MiWaitForLastShare(PMMPFN Table)
{
    KiWaitForWord(&Table->u1.ShareCount, 1);
}

/*
 * The frame (locked, unlinked, unreferenced) is taken from its owner: the owning PTE gets OriginalPte back in one store and
 * its page table loses an entry.
 */
VOID MiRestoreOwnerPte(PMMPFN Pfn);
VOID MiWriteBackOriginalPte(
    PMMPFN Pfn); /* the same for a frame that is still referenced (a read that failed) */

/* Purges standby lists up to and including priority Highest to the free list; returns the number of pages. */
PFN_NUMBER MiPurgeStandby(ULONG Highest);

/* ---- Zeroing (zero.c) ---------------------------------------------------------------------------------------- */

VOID MiZeroFrame(PFN_NUMBER PageFrame);
VOID MiCopyFrame(PFN_NUMBER Destination, PFN_NUMBER Source);
/* The same of a page that other programs may be writing to at this moment: the copy has of each word what was there before or after. */
VOID MiCopySharedFrame(PFN_NUMBER Destination, PFN_NUMBER Source);
BOOLEAN MiZeroPagesStep(PVOID Context); /* the zero-page thread's step */

/* Fresh frames of the run will soon be used that the port has not been told of: the zero-page thread is to be woken. FreshLock held. */
BOOLEAN MiWantsPreparing(const MI_MEMORY_RUN *Run);

/* ---- Commitment (commit.c), pages ----------------------------------------------------------------------------- */

#define MI_COMMIT_NO_EXTEND 0x1u /* IRQL or locks forbid waiting for a paging file to grow */
#define MI_COMMIT_BEYOND_SPACE                                                                               \
    0x2u /* MiChargeSpaceCommit: limits of processes and jobs do not count, the machine's does */

/* FALSE (nothing charged): the limit, after growing paging files as far as they go. */
BOOLEAN MiChargeCommitment(SIZE_T Pages, ULONG Flags);
/*
 * Somebody who could not wait was refused: makes files grow until Pages can be charged. TRUE: they did, try again. IRQL < DISPATCH_LEVEL, no lock at
 * or behind KiLockPagingFileList.
 */
BOOLEAN MiMakeCommitRoom(SIZE_T Pages);
VOID MiKeepCommitHeadroom(void); /* a step of the balance set manager */
VOID MiReturnCommitment(SIZE_T Pages);
VOID MiAdjustCommitLimit(LONG64 LimitDelta, LONG64 MaximumDelta);

/* Pages that become nonpageable (locked, kernel structures). FALSE: too many already. */
BOOLEAN MiChargeResidentAvailable(SIZE_T Pages);
VOID MiReturnResidentAvailable(SIZE_T Pages);

/* ---- Invariants ------------------------------------------------------------------------------------------------ */

/*
 * Level 1: counts against lists' totals; 2: walks every list; 3: every frame (quiescent machine). Bug-checks
 * PFN_LIST_CORRUPT with what it found.
 */
VOID MiCheckPhysical(ULONG Level);

#endif
