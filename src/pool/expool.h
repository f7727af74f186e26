/* SPDX-License-Identifier: MIT */
/*
 * The pools behind ExAllocatePool and its family: what the files of the room share. One allocator serves
 * nonpaged and paged pool; what differs is the source of the pages. What the allocator must know of a page
 * stands in descriptors beside the pages, so that nothing pageable is touched while a lock is held. Theory:
 * docs/pool.md.
 *
 * Locks: [C] EX_POOL_SLABS.Lock of the slab's home, [R] the source's RunLock, [D] at DISPATCH_LEVEL on the processor
 * that it belongs to.
 */
#ifndef NTMM_POOL_EXPOOL_H
#define NTMM_POOL_EXPOOL_H

#include "nt/sysinfo.h"
#include "pool/pool.h"

/* ---- The header of a block (public symbols; x64) ------------------------------------------------------ */

typedef struct _POOL_HEADER
{
    _ANONYMOUS_UNION union
    {
        _ANONYMOUS_STRUCT struct
        {
            ULONG
            PreviousSize : 8; /* of the block before it, in units of 16 bytes; 0: the first of its page */
            ULONG PoolIndex : 8;
            ULONG BlockSize : 8; /* with the header, in the same units */
            ULONG PoolType : 8;  /* EX_HEADER_*; 0: free */
            ULONG PoolTag;
        } DUMMYSTRUCTNAME;
        ULONG64 Quad; /* the same eight bytes, for reading and writing them at once */
    } DUMMYUNIONNAME;
    _ANONYMOUS_UNION union
    {
        ULONG64 ProcessBilled; /* the quota block that is charged, or 0; ExpSeal */
        _ANONYMOUS_STRUCT struct
        {
            USHORT AllocatorBackTraceIndex;
            USHORT PoolTagHash;
        } DUMMYSTRUCTNAME2;
    } DUMMYUNIONNAME2;
} POOL_HEADER, *PPOOL_HEADER;

C_ASSERT(sizeof(POOL_HEADER) == 16);

#define EX_HEADER_PAGED         0x01u
#define EX_HEADER_IN_USE        0x02u
#define EX_HEADER_CACHE_ALIGNED 0x04u
#define EX_HEADER_QUOTA         0x08u
#define EX_HEADER_TRACKED       0x10u /* the verifier has a record of it */
#define EX_HEADER_SESSION       0x20u

#define EX_HEADER_TYPE_SHIFT 24
#define EX_HEADER_TYPE       0xff000000ull
#define EX_HEADER_SIZES      0x00ffffffull /* PreviousSize, PoolIndex, BlockSize */
#define EX_HEADER_SEALED     0x0000ffffull /* PreviousSize, PoolIndex */

#define EX_POOL_UNIT     16u
#define EX_POOL_LARGEST  4064u       /* bytes of the largest block with a header: BlockSize has eight bits */
#define EX_PROTECTED_TAG 0x80000000u /* such a block can only be freed with its tag */
#define EX_CACHE_LINE    64u

/* ---- Pages, classes, sources -------------------------------------------------------------------------- */

#define EX_POOL_CLASSES     32u
#define EX_POOL_CLASS_SPACE 32u
#define EX_BIN_DEPTH        62u

typedef enum _EX_PAGE_KIND
{
    ExPageNone = 0,
    ExPageSlab = 0x61,
    ExPageRun = 0x62,     /* the first of whole pages: an entry of the big-page table */
    ExPageInRun = 0x63,   /* one of the others */
    ExPageSpecial = 0x64, /* a block of special pool, between two pages without a translation */
    ExPageSpecialFreed = 0x65
} EX_PAGE_KIND;

/* The descriptor of a page that belongs to a pool. */
typedef struct _EX_POOL_PAGE
{
    ULONG Flink; /* [C]/[R] page numbers, 0 = none */
    ULONG Blink;
    union
    {
        ULONG64 Free[2]; /* [C] slab: a set bit is a block that neither a caller nor a processor's bin has */
        struct
        {
            SIZE_T Bytes;                   /* as asked for */
            struct _EX_QUOTA_BLOCK *Billed; /* or NULL */
        } Run;
        struct
        {
            USHORT Bytes;  /* as asked for */
            USHORT Offset; /* of the block in its page */
            UCHAR Fill;
            struct _EX_QUOTA_BLOCK *Billed;
        } Special;
    } u;
    volatile UCHAR Kind; /* EX_PAGE_KIND */
    UCHAR Class;
    UCHAR InUse;    /* [C] slab: blocks that are not free */
    UCHAR PoolType; /* run, special: EX_HEADER_*; slab: offset of its first block, in cache lines */
    union
    {
        volatile ULONG Tag; /* run, special */
        ULONG Home;         /* slab: whose lists it is on, as long as it is a slab */
    };
} EX_POOL_PAGE;

C_ASSERT(sizeof(EX_POOL_PAGE) == 32);

/* A size of blocks in a source. Written once. */
typedef struct _EX_POOL_CLASS
{
    ULONG Size;       /* of a block with its header */
    ULONG Blocks;     /* in a page */
    ULONG Reciprocal; /* 2^32 / Size, rounded up */
    ULONG Depth;      /* of a processor's bin */
    ULONG EmptyLimit; /* slabs without a used block that a home keeps */
    ULONG Colours;    /* how many offsets of the first block there are, a cache line apart */
} EX_POOL_CLASS;

/*
 * The slabs of one class and one home. Each processor is the home of the slabs that it made: it fills its bin from them, and blocks return to them whoever
 * frees them. So two processors have no block in the same page, and write no line of memory in turns, unless one frees what the other allocated.
 */
typedef struct _EX_POOL_SLABS
{
    KSPIN_LOCK Lock;
    ULONG Partial;         /* [C] slabs with free blocks */
    ULONG Full;            /* [C] */
    volatile SIZE_T Slabs; /* [C], read anywhere */
    ULONG Empty;           /* [C] slabs of Partial without a used block: kept for the next allocations */
    UCHAR Padding[64 - 28];
} EX_POOL_SLABS;

C_ASSERT(sizeof(EX_POOL_SLABS) == 64);

/* What the fast paths must know of a class, of whatever source. */
typedef struct _EX_CLASS_FACTS
{
    ULONG Sizes; /* PreviousSize, PoolIndex and BlockSize of a block that is not the first in its slab */
    USHORT Size; /* of a block with its header */
    USHORT Last; /* a block whose data begin further back in the page has no neighbour behind it */
} EX_CLASS_FACTS;

typedef struct _EX_POOL_SOURCE EX_POOL_SOURCE, *PEX_POOL_SOURCE;

/*
 * Where pages come from. Called at the caller's IRQL (paged: <= APC_LEVEL), without locks of this room. Pages
 * are charged; what cannot be had changes nothing.
 */
typedef struct _EX_POOL_SOURCE_OPERATIONS
{
    ULONG (*GetPages)(PEX_POOL_SOURCE Source, ULONG Wanted, PULONG Pages); /* single pages; how many */
    VOID (*PutPages)(PEX_POOL_SOURCE Source, ULONG Count, const ULONG *Pages);
    ULONG (*GetRun)(PEX_POOL_SOURCE Source, SIZE_T Count); /* consecutive; the first, zero-filled, or 0 */
    VOID (*PutRun)(PEX_POOL_SOURCE Source, ULONG First, SIZE_T Count);
    /* For special pool: a page whose neighbours cannot be accessed, or 0; takes the page's memory away, its addresses
     * stay reserved; gives the addresses back. */
    ULONG (*GetGuarded)(PEX_POOL_SOURCE Source);
    VOID (*RevokeGuarded)(PEX_POOL_SOURCE Source, ULONG Page);
    VOID (*PutGuarded)(PEX_POOL_SOURCE Source, ULONG Page);
} EX_POOL_SOURCE_OPERATIONS;

#define EX_GUARDED_PAGES 3u /* of addresses: the page, and one on each side */

typedef enum _EX_SOURCE
{
    ExSourceNonpaged, /* frames through the direct map */
    ExSourcePaged,
    ExSourceMapped, /* nonpaged frames at addresses of system PTEs: no slabs */
    ExSourceMaximum
} EX_SOURCE;

struct _EX_POOL_SOURCE
{
    const EX_POOL_SOURCE_OPERATIONS *Operations; /* NULL: there is no such pool (yet) */
    ULONG_PTR Base;                              /* address of page number 0, which is never used */
    SIZE_T Span;                                 /* bytes of addresses */
    EX_POOL_PAGE *Pages;                         /* by page number */
    volatile UCHAR *Map; /* by page number: class + 1 of a slab, else 0. What most frees need, in one byte */
    BOOLEAN Paged;
    BOOLEAN
    Session;      /* of a session: no bins of processors, no rows of tags; several have the same addresses */
    PVOID Region; /* whoever gives the pages knows them by this */
    volatile SIZE_T PagesInUse;
    volatile SIZE_T PeakPages;
    SIZE_T PageLimit;
    KSPIN_LOCK RunLock;
    ULONG Runs; /* [R] first pages */
    volatile SIZE_T RunCount;
    volatile SIZE_T RunPages;
    volatile SIZE_T SpecialPages; /* [R] blocks of special pool: one page each */
    ULONG SpecialBlocks;          /* [R] their pages; those of freed blocks, oldest first: */
    ULONG FirstFreed;             /* [R] through Flink */
    ULONG LastFreed;              /* [R] */
    volatile ULONG FreedCount;    /* [R] */
    ULONG Homes;                  /* processors; 1 of a session; 0: no slabs */
    EX_POOL_SLABS *Slabs;         /* [home][class] */
    EX_POOL_CLASS Classes[EX_POOL_CLASSES];
};

static FORCEINLINE EX_POOL_SLABS *ExpSlabsOf(const EX_POOL_SOURCE *Source, ULONG Home, ULONG Class)
{
    return &Source->Slabs[Home * EX_POOL_CLASSES + Class];
}

static FORCEINLINE PUCHAR ExpPageAddress(const EX_POOL_SOURCE *Source, ULONG Page)
{
    return (PUCHAR)(Source->Base + ((ULONG_PTR)Page << PAGE_SHIFT));
}

/* ---- What each processor has -------------------------------------------------------------------------- */

/* The sums of one tag on one processor. [D]; read anywhere, so each field is one store. */
typedef struct _EX_TAG_ROW
{
    volatile ULONG Tag; /* 0: unused */
    ULONG Reserved;
    struct
    {
        volatile ULONG Allocs;
        volatile ULONG Frees;
        volatile SIZE_T Bytes; /* given minus taken back: meaningful when summed over the processors */
    } Pool[2];                 /* nonpaged, paged */
    UCHAR Padding[64 - 40];
} EX_TAG_ROW;

C_ASSERT(sizeof(EX_TAG_ROW) == 64);

#define EX_TAG_BITS     10u
#define EX_TAG_ROWS     (1u << EX_TAG_BITS)
#define EX_TAG_OVERFLOW 0x6c66764fu /* 'Ovfl': the tags for which a full table had no row */

/* Free blocks of one class that are at hand; with what the fast paths must know of the class. */
typedef struct _EX_POOL_BIN
{
    ULONG Count;
    ULONG Depth;
    ULONG64 Reserved;
    PUCHAR Blocks[EX_BIN_DEPTH];
} EX_POOL_BIN;

C_ASSERT(sizeof(EX_POOL_BIN) == 512);

typedef struct _EX_POOL_PROCESSOR
{
    EX_TAG_ROW Tags[EX_TAG_ROWS + 1]; /* the last: EX_TAG_OVERFLOW */
    UCHAR Padding[64 * 63];
    EX_POOL_BIN Bins[2][EX_POOL_CLASS_SPACE];
    UCHAR Rest[0x20000 - sizeof(EX_TAG_ROW) * (EX_TAG_ROWS + 64) -
               sizeof(EX_POOL_BIN) * 2 * EX_POOL_CLASS_SPACE];
} EX_POOL_PROCESSOR;

C_ASSERT(sizeof(EX_POOL_PROCESSOR) == 0x20000); /* found by a shift; what nobody touches costs nothing */

/* ---- Quota -------------------------------------------------------------------------------------------- */

/* What a process is charged for pool. Lives as long as blocks are charged to it, which may be longer than the
 * process. */
typedef struct _EX_QUOTA_BLOCK
{
    LIST_ENTRY Links;
    ULONG64 ProcessId;
    SIZE_T Usage[2]; /* nonpaged, paged; EX_POOL.QuotaLock */
    SIZE_T Peak[2];
    SIZE_T Limit[2]; /* 0: none */
    ULONG Charges;   /* blocks; a block with a limit stays */
} EX_QUOTA_BLOCK;

/* ---- Session pool (session.c) --------------------------------------------------------------------------- */

/* The sums of one tag in one session. [T] EX_SESSION_POOL.TagLock, a leaf. */
typedef struct _EX_SESSION_TAG
{
    ULONG Tag;       /* 0: unused */
    ULONG Allocs[2]; /* nonpaged, paged */
    ULONG Frees[2];
    SIZE_T Bytes[2];
} EX_SESSION_TAG;

#define EX_SESSION_TAGS 127u

/*
 * What a session has of pool: paged blocks in its own space, and a share of the machine's nonpaged pool, which has to be seen at any IRQL
 * whatever process runs. Its tags are counted here, not among those of the machine.
 */
typedef struct _EX_SESSION_POOL
{
    EX_POOL_SOURCE Source; /* Operations NULL: not attached */
    EX_POOL_SLABS Slabs[EX_POOL_CLASSES];
    KSPIN_LOCK TagLock;
    EX_SESSION_TAG Tags[EX_SESSION_TAGS + 1]; /* [T] the last: EX_TAG_OVERFLOW */
} EX_SESSION_POOL;

typedef struct _EX_SESSION_USAGE
{
    SIZE_T Blocks[2]; /* nonpaged, paged */
    SIZE_T Bytes[2];  /* with headers and what rounding added */
} EX_SESSION_USAGE;

/* What special pool takes and has taken (special.h). */
typedef struct _EX_SPECIAL_POOL
{
    volatile BOOLEAN On;
    BOOLEAN Underruns;
    CHAR Tag[4];         /* pattern: ? is any character, * any that follow; first 0: none */
    SIZE_T MinimumBytes; /* sizes choose when MaximumBytes is not 0 */
    SIZE_T MaximumBytes;
    SIZE_T PageLimit;
    SIZE_T FreedLimit;
    volatile SIZE_T Blocks; /* atomic */
    volatile SIZE_T PeakBlocks;
    volatile SIZE_T Allocations;
    volatile SIZE_T Fallbacks;
    struct _EX_FREE_TRACE *Traces; /* [DriverLock] who freed the last blocks; NULL: nobody wants to know */
} EX_SPECIAL_POOL;

#define EX_TRACE_DEPTH     8u
#define EX_TRACKED_BITS    8u
#define EX_REPORTED_BLOCKS 32u

/* What the verifier does (verifier.h). [V] EX_POOL.DriverLock; read without it where a moment's delay does not matter. */
typedef struct _EX_VERIFIER
{
    volatile BOOLEAN On; /* [V] */
    BOOLEAN AllDrivers;  /* [V] */
    ULONG Flags;         /* [V], read anywhere */
    ULONG Probability;   /* [V] */
    volatile ULONG64 RandomState;
    ULONG64 FailuresFrom;                      /* [V] */
    CHAR Include[8][4];                        /* [V] */
    CHAR Exclude[8][4];                        /* [V] */
    VOID (*Trim)(void);                        /* fixed at boot; NULL: nothing is pageable */
    LIST_ENTRY Buckets[1u << EX_TRACKED_BITS]; /* [V] EX_TRACKED.Links by address */
    LIST_ENTRY Suspects;                       /* [V] EX_SUSPECT.Links */
    struct _EX_VERIFIER_COUNTERS
    {
        ULONG64 RaiseIrqls; /* named as in MM_DRIVER_VERIFIER_DATA (public symbols) */
        ULONG64 AcquireSpinLocks;
        ULONG64 AllocationsAttempted;
        ULONG64 AllocationsSucceeded;
        ULONG64 AllocationsFailed;
        ULONG64 AllocationsFailedDeliberately;
        ULONG64 AllocationsSucceededSpecialPool;
        ULONG64 AllocationsWithNoTag;
        ULONG64 TrimRequests;
        ULONG64 Trims;         /* of pageable memory, before IRQL rises */
        ULONG64 UnTrackedPool; /* blocks for which there was no memory to track them */
    } Counters;                /* atomic */
} EX_VERIFIER;

/* The part of MiState. */
typedef struct _MI_POOL_STATE
{
    ULONG64 Cookie;
    UCHAR ClassOf[EX_POOL_LARGEST / EX_POOL_UNIT + 2]; /* by size with header in units */
    EX_CLASS_FACTS Facts[EX_POOL_CLASS_SPACE];
    volatile ULONG Watch; /* not 0: special pool or the verifier wants to see requests: no fast path */
    EX_POOL_SOURCE Sources[ExSourceMaximum];
    EX_POOL_PROCESSOR *Processors;
    ULONG ProcessorCount;
    ULONG64 (*CurrentProcessId)(void);        /* handed in by room space's users; NULL: the system alone */
    EX_SESSION_POOL *(*CurrentSession)(void); /* handed in by room space; NULL, or returns NULL: no session */
    KSPIN_LOCK QuotaLock;                     /* leaf */
    LIST_ENTRY QuotaBlocks;
    KSPIN_LOCK LookasideLock; /* leaf */
    LIST_ENTRY Lookasides[2]; /* nonpaged, paged: GENERAL_LOOKASIDE_POOL.ListEntry */
    EX_SPECIAL_POOL Special;
    EX_VERIFIER Verifier;
    KSPIN_LOCK DriverLock; /* leaf */
    LIST_ENTRY Drivers;    /* [DriverLock] EX_DRIVER.Links */
    volatile ULONG DriverCount;
} EX_POOL;

static FORCEINLINE EX_POOL *ExpPool(void)
{
    return MiState.Pool;
}

/*
 * Room virtual hands in the paged pool: page numbers 1 .. Pages - 1 at Base. STATUS_INSUFFICIENT_RESOURCES.
 * Taking it away wants it empty.
 */
NTSTATUS ExpAttachSource(EX_SOURCE Number, const EX_POOL_SOURCE_OPERATIONS *Operations, ULONG_PTR Base,
                         SIZE_T Pages, SIZE_T PageLimit);
NTSTATUS ExpAttachPagedPool(const EX_POOL_SOURCE_OPERATIONS *Operations, PVOID Region, ULONG_PTR Base,
                            SIZE_T Pages);
VOID ExpDetachPagedPool(void);
/* Without a look at what is left: the end of MiShutdownPool, or of a damaged machine. */
VOID ExpDeletePools(void);

/* ---- sources.c, mapped.c -------------------------------------------------------------------------------- */

/* Pages of nonpaged pool, charged against its limit, commitment and resident-available memory. */
BOOLEAN ExpChargePages(PEX_POOL_SOURCE Source, SIZE_T Pages);
VOID ExpReturnPages(PEX_POOL_SOURCE Source, SIZE_T Pages);
PFN_NUMBER ExpTakeFrames(ULONG Wanted, ULONG Flags, PULONG Got); /* consecutive ones, MI_PAGE_*; 0: none */
VOID ExpMarkKernelFrame(PFN_NUMBER Frame);
NTSTATUS ExpAttachMappedPool(void);

/* The source in whose addresses Address lies, or NULL. */
static FORCEINLINE PEX_POOL_SOURCE ExpFindSource(EX_POOL *Pool, const VOID *Address)
{
    for (ULONG Number = 0; Number < ExSourceMaximum; Number++)
    {
        if ((ULONG_PTR)Address - Pool->Sources[Number].Base < Pool->Sources[Number].Span)
        {
            return &Pool->Sources[Number];
        }
    }
    return NULL;
}

/* ---- session.c ------------------------------------------------------------------------------------------- */

/*
 * The pages of a session's pool: page numbers 1 .. Pages - 1 at Base; Region is the owner's. STATUS_INSUFFICIENT_RESOURCES. / Everything that is
 * empty goes back to where it came from; blocks in use must not be left. Inside or outside of the session.
 */
NTSTATUS ExpAttachSessionPool(EX_SESSION_POOL *Pool, const EX_POOL_SOURCE_OPERATIONS *Operations,
                              PVOID Region, ULONG_PTR Base, SIZE_T Pages);
VOID ExpDetachSessionPool(EX_SESSION_POOL *Pool);

/* The session that the current thread runs in, if it has a pool. */
static FORCEINLINE EX_SESSION_POOL *ExpCurrentSession(void)
{
    return ExpPool()->CurrentSession != NULL ? ExpPool()->CurrentSession() : NULL;
}

/* The paged source of the current session if Address lies in it, or NULL. */
PEX_POOL_SOURCE ExpFindSessionSource(const VOID *Address);
PEX_POOL_SOURCE ExpFindAnySource(const VOID *Address); /* the same, or the machine's */
/* A free block of the class, or NULL. / A free block goes back. Caller's IRQL. */
PUCHAR ExpPopSessionBlock(PEX_POOL_SOURCE Source, ULONG Class);
VOID ExpPushSessionBlock(PEX_POOL_SOURCE Source, ULONG Class, PUCHAR Block);
VOID ExpCountSessionAllocation(EX_SESSION_POOL *Pool, ULONG Tag, ULONG Paged, SIZE_T Bytes);
/* Bug-checks BAD_POOL_CALLER when the current thread runs in no session, or in one that has no such block. */
VOID ExpCountSessionFree(PVOID Address, ULONG Tag, ULONG Paged, SIZE_T Bytes);

VOID ExQuerySessionPool(EX_SESSION_POOL *Pool, EX_SESSION_USAGE *Usage);
/* The sums of each tag, until FALSE. */
VOID ExQuerySessionTags(EX_SESSION_POOL *Pool, BOOLEAN (*Routine)(const SYSTEM_POOLTAG *Tag, PVOID Context),
                        PVOID Context);
VOID ExReportSessionLeaks(EX_SESSION_POOL *Pool); /* prints them */

/* ---- slabs.c ------------------------------------------------------------------------------------------ */

/* Fills the bin of the current processor from its slabs. [D] TRUE: it has a block now. */
BOOLEAN ExpRefillBin(PEX_POOL_SOURCE Source, ULONG Class, EX_POOL_BIN *Bin);
/* The same from the slabs of all others, for want of pages. */
BOOLEAN ExpRefillBinFromOthers(PEX_POOL_SOURCE Source, ULONG Class, EX_POOL_BIN *Bin);
/* New slabs of the class for the current processor. Caller's IRQL. FALSE: no pages. */
BOOLEAN ExpGrowClass(PEX_POOL_SOURCE Source, ULONG Class);
/* Gives Count blocks of a bin back to their slabs. [D] Pages that became empty are in Empty (at most Count).
 */
ULONG ExpFlushBin(PEX_POOL_SOURCE Source, ULONG Class, EX_POOL_BIN *Bin, ULONG Count, PULONG Empty);
VOID ExpReleasePages(PEX_POOL_SOURCE Source, ULONG Count, const ULONG *Pages);
VOID ExpInitializeClasses(PEX_POOL_SOURCE Source);
VOID ExpReleaseEmptySlabs(PEX_POOL_SOURCE Source); /* those that are kept although they are empty */
VOID ExpLinkPage(PEX_POOL_SOURCE Source, PULONG Head, ULONG Page);
VOID ExpUnlinkPage(PEX_POOL_SOURCE Source, PULONG Head, ULONG Page);

/* ---- bigpool.c ---------------------------------------------------------------------------------------- */

/* Locks of a source's runs and special blocks. */
KIRQL ExpLockRuns(PEX_POOL_SOURCE Source);
VOID ExpUnlockRuns(PEX_POOL_SOURCE Source, KIRQL OldIrql);

PVOID ExpAllocateRun(PEX_POOL_SOURCE Source, SIZE_T Bytes, ULONG Tag, ULONG HeaderType,
                     EX_QUOTA_BLOCK *Billed);
VOID ExpFreeRun(PEX_POOL_SOURCE Source, ULONG Page, PVOID Address, ULONG Tag);
VOID ExpCheckRuns(PEX_POOL_SOURCE Source); /* the patterns behind them. Quiescent machine */

/* ---- tags.c ------------------------------------------------------------------------------------------- */

EX_TAG_ROW *ExpFindTagRow(EX_POOL_PROCESSOR *Processor, ULONG Tag);

/* Where the tag's row is if no other tag came first. */
static FORCEINLINE EX_TAG_ROW *ExpLikelyTagRow(EX_POOL_PROCESSOR *Processor, ULONG Tag)
{
    return &Processor->Tags[(Tag * 0x9E3779B1u) >> (32 - EX_TAG_BITS)];
}

static FORCEINLINE EX_TAG_ROW *ExpTagRow(EX_POOL_PROCESSOR *Processor, ULONG Tag)
{
    EX_TAG_ROW *Row = ExpLikelyTagRow(Processor, Tag);

    return __builtin_expect(__atomic_load_n(&Row->Tag, __ATOMIC_RELAXED) == Tag, 1)
               ? Row
               : ExpFindTagRow(Processor, Tag);
}

static FORCEINLINE VOID ExpCountAllocation(EX_TAG_ROW *Row, ULONG Paged, SIZE_T Bytes)
{
    __atomic_store_n(&Row->Pool[Paged].Allocs, Row->Pool[Paged].Allocs + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&Row->Pool[Paged].Bytes, Row->Pool[Paged].Bytes + Bytes, __ATOMIC_RELAXED);
}

static FORCEINLINE VOID ExpCountFree(EX_TAG_ROW *Row, ULONG Paged, SIZE_T Bytes)
{
    __atomic_store_n(&Row->Pool[Paged].Frees, Row->Pool[Paged].Frees + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&Row->Pool[Paged].Bytes, Row->Pool[Paged].Bytes - Bytes, __ATOMIC_RELAXED);
}

/* Counts one big block. Any IRQL <= DISPATCH_LEVEL. */
VOID ExpCountRun(ULONG Tag, ULONG Paged, SIZE_T Bytes, BOOLEAN Allocated);

/* The sums of all processors. Calls Routine for each tag until FALSE. */
VOID ExQueryPoolTags(BOOLEAN (*Routine)(const SYSTEM_POOLTAG *Tag, PVOID Context), PVOID Context);
/* One tag. FALSE: never used. */
BOOLEAN ExQueryPoolTag(ULONG Tag, SYSTEM_POOLTAG *Sums);
/* Writes at most Count entries; returns how many big blocks there are. */
SIZE_T ExQueryBigPool(SYSTEM_BIGPOOL_ENTRY *Entries, SIZE_T Count);

typedef struct _EX_POOL_USAGE
{
    SIZE_T Pages;
    SIZE_T PeakPages;
    SIZE_T LimitPages;
    SIZE_T Blocks;
    SIZE_T Bytes; /* of blocks with their headers and what rounding added */
    SIZE_T Allocs;
    SIZE_T Frees;
} EX_POOL_USAGE;

VOID ExQueryPoolUsage(BOOLEAN Paged, EX_POOL_USAGE *Usage);
/* Pages that may still be had before the pool's limit, which is *Limit. */
SIZE_T ExQueryPoolLeft(BOOLEAN Paged, PSIZE_T Limit);

/* ---- expool.c ------------------------------------------------------------------------------------------- */

/* As ExAllocatePoolWithTag, or with Quota as ExAllocatePoolWithQuotaTag, and as ExFreePool, when ReturnAddress calls. */
PVOID ExpAllocateFor(POOL_TYPE PoolType, SIZE_T Bytes, ULONG Tag, BOOLEAN Quota, PVOID ReturnAddress);
VOID ExpFreeFor(PVOID P, PVOID ReturnAddress);
/* What a block costs its process. */
SIZE_T ExpQuotaOf(SIZE_T Bytes, ULONG HeaderType);

/* ---- quota.c ------------------------------------------------------------------------------------------ */

/* Charges the current process. STATUS_QUOTA_EXCEEDED, STATUS_INSUFFICIENT_RESOURCES. */
NTSTATUS ExpChargeQuota(ULONG Paged, SIZE_T Bytes, EX_QUOTA_BLOCK **Billed);
VOID ExpReturnQuota(EX_QUOTA_BLOCK *Billed, ULONG Paged, SIZE_T Bytes);
BOOLEAN ExpIsQuotaBlock(const VOID *Address);
/* The same for any process, without a block of pool. Returning more than was charged is bug check QUOTA_UNDERFLOW. */
NTSTATUS ExChargeProcessQuota(ULONG64 ProcessId, BOOLEAN Paged, SIZE_T Bytes);
VOID ExReturnProcessQuota(ULONG64 ProcessId, BOOLEAN Paged, SIZE_T Bytes);
/* Bytes of pool that a process is charged now and was at most. */
VOID ExQueryPoolQuota(ULONG64 ProcessId, SIZE_T Usage[2], SIZE_T Peak[2]);
NTSTATUS ExSetPoolQuotaLimit(ULONG64 ProcessId, BOOLEAN Paged, SIZE_T Limit);

/* ---- header.c ----------------------------------------------------------------------------------------- */

/* The tag as four characters for a message. */
typedef struct _EX_TAG_TEXT
{
    CHAR Text[5];
} EX_TAG_TEXT;

EX_TAG_TEXT ExpTagText(ULONG Tag);

/* What is wrong with the header of a block that is freed, or beside it: always a bug check. */
DECLSPEC_NORETURN VOID ExpReportBadBlock(PEX_POOL_SOURCE Source, ULONG Page, PVOID Address,
                                         PVOID ReturnAddress);
DECLSPEC_NORETURN VOID ExpReportBadAddress(PVOID Address, PVOID ReturnAddress);
DECLSPEC_NORETURN VOID ExpReportWrongTag(PVOID Address, ULONG Found, ULONG Tag);
DECLSPEC_NORETURN VOID ExpReportFreeBlockDamage(PPOOL_HEADER Header);
/* Says whose blocks are left and stops the machine. */
VOID ExpReportLeaks(void);
BOOLEAN ExpPrintTagLeak(const SYSTEM_POOLTAG *Tag); /* a line, if there are blocks left; whether there are */
VOID ExpCheckSource(PEX_POOL_SOURCE Source);        /* a session's: only inside of it */

/* ---- poolfault.c -------------------------------------------------------------------------------------- */

/* Bug check 0x13A: Kind is its first parameter. */
DECLSPEC_NORETURN VOID ExpReportCorruptState(ULONG_PTR Kind, const EX_POOL_CLASS *Class, const VOID *Address);

/* Which block an address belongs to; nothing is changed and no lock taken, for debuggers and reports. */
typedef struct _EX_POOL_PLACE
{
    PVOID Block;   /* the data of the block, or of whole pages */
    SIZE_T Bytes;  /* as asked for, or as much as its size class holds */
    BOOLEAN Exact; /* as asked for */
    BOOLEAN InUse;
    BOOLEAN Paged;
    BOOLEAN Special;
    ULONG Tag;
    PVOID Previous; /* the block that ends there, when the address is in the header of Block; or NULL */
    ULONG PreviousTag;
    BOOLEAN PreviousInUse;
} EX_POOL_PLACE;

/* FALSE: no pool, or none that is in use. A paged block's header must be in memory, or be allowed to come there. */
BOOLEAN ExFindPoolBlock(const VOID *Address, EX_POOL_PLACE *Place);

/* ---- patterns.c --------------------------------------------------------------------------------------- */

#define EX_TAIL_BYTES 64u /* behind whole pages of nonpaged pool */

UCHAR ExpDrawFill(ULONG_PTR Key); /* the pattern of a boot and a page or block */
VOID ExpFill(PUCHAR Start, const UCHAR *End, UCHAR Fill);
const UCHAR *ExpFindOther(const UCHAR *Start, const UCHAR *End,
                          UCHAR Fill); /* the first byte that is not Fill, or End */
/* The bytes from Bytes to Extent of a block. / Bug check 0x19, 0x21 when one of them was written. May fault. */
VOID ExpFillTail(PVOID Block, SIZE_T Bytes, SIZE_T Extent);
VOID ExpCheckTail(PVOID Block, SIZE_T Bytes, SIZE_T Extent, ULONG Tag);

/* ---- lookaside.c -------------------------------------------------------------------------------------- */

/* Adapts the depth of all lookaside lists to their use since the last call: the balance set manager's, once a
 * second. */
VOID ExAdjustLookasideDepth(void);
/* A list that was not deleted, in a range of memory (End is its last byte), or NULL. */
PVOID ExpFindLookasideInRange(ULONG_PTR Start, ULONG_PTR End);
/* Writes at most Count entries; returns how many lists there are. */
SIZE_T ExQueryLookasides(SYSTEM_LOOKASIDE_INFORMATION *Entries, SIZE_T Count);

/* ---- Headers ------------------------------------------------------------------------------------------ */

#if NTMM_ASAN
void __asan_poison_memory_region(void const volatile *Address, SIZE_T Size);
void __asan_unpoison_memory_region(void const volatile *Address, SIZE_T Size);
#define ExpPoison(Address, Size)   __asan_poison_memory_region((Address), (Size))
#define ExpUnpoison(Address, Size) __asan_unpoison_memory_region((Address), (Size))
#if defined(__clang__)
#define EX_UNCHECKED __attribute__((noinline, no_sanitize("address")))
#else
#define EX_UNCHECKED __attribute__((noinline, no_sanitize_address))
#endif
#define EX_HEADER_ACCESS static EX_UNCHECKED __attribute__((unused))
#else
#define EX_UNCHECKED
#define ExpPoison(Address, Size)   ((void)0)
#define ExpUnpoison(Address, Size) ((void)0)
#define EX_HEADER_ACCESS           static FORCEINLINE
#endif

/* Not of sessions: what is shadowed is the address, and other sessions have other memory there. */
#define ExpPoisonIn(Source, Address, Size) ((Source)->Session ? ((void)0) : ExpPoison((Address), (Size)))

EX_HEADER_ACCESS ULONG64 ExpReadQuad(const POOL_HEADER *Header)
{
    return __atomic_load_n(&Header->Quad, __ATOMIC_RELAXED);
}

EX_HEADER_ACCESS ULONG64 ExpReadBilled(const POOL_HEADER *Header)
{
    return __atomic_load_n(&Header->ProcessBilled, __ATOMIC_RELAXED);
}

EX_HEADER_ACCESS VOID ExpWriteHeader(PPOOL_HEADER Header, ULONG64 Quad, ULONG64 Billed)
{
    __atomic_store_n(&Header->Quad, Quad, __ATOMIC_RELAXED);
    __atomic_store_n(&Header->ProcessBilled, Billed, __ATOMIC_RELAXED);
}

EX_HEADER_ACCESS VOID ExpWriteQuad(PPOOL_HEADER Header, ULONG64 Quad)
{
    __atomic_store_n(&Header->Quad, Quad, __ATOMIC_RELAXED);
}

/*
 * ProcessBilled as it stands in a header. It seals the header's address and, of what stays the same as long as the slab is one, the two bytes that
 * the fast paths do not compare: PreviousSize and PoolIndex.
 */
static FORCEINLINE ULONG64 ExpSeal(const EX_POOL *Pool, const POOL_HEADER *Header, ULONG64 Quad,
                                   ULONG64 Billed)
{
    return Billed ^ Pool->Cookie ^ (ULONG_PTR)Header ^ (Quad & EX_HEADER_SEALED);
}

/*
 * PreviousSize, PoolIndex and BlockSize of a block. A slab begins with what its blocks leave over of the page, or a part of
 * it, which is less than a block: that is the previous size of the first one.
 */
static FORCEINLINE ULONG64 ExpSizesAt(ULONG Units, const VOID *Block)
{
    ULONG Offset = (ULONG)BYTE_OFFSET(Block) / EX_POOL_UNIT;

    return (ULONG64)Units << 16 | (Offset < Units ? Offset : Units);
}

/* The blocks of a slab. */
static FORCEINLINE PUCHAR ExpSlabBase(const EX_POOL_SOURCE *Source, ULONG Page)
{
    return ExpPageAddress(Source, Page) + (SIZE_T)Source->Pages[Page].PoolType * EX_CACHE_LINE;
}

/* Which block of its slab an address lies in; Blocks or more: none. */
static FORCEINLINE ULONG ExpBlockNumber(const EX_POOL_SOURCE *Source, ULONG Page, const VOID *Address)
{
    ULONG Offset = (ULONG)((PUCHAR)(ULONG_PTR)Address - ExpSlabBase(Source, Page));

    return Offset < PAGE_SIZE
               ? (ULONG)(((ULONG64)Offset * Source->Classes[Source->Pages[Page].Class].Reciprocal) >> 32)
               : MAXULONG;
}

/* Whether Block is where a block of the class starts, in a slab of it. */
static FORCEINLINE BOOLEAN ExpIsSlabBlock(const EX_POOL_SOURCE *Source, const EX_POOL_CLASS *Class,
                                          const VOID *Block)
{
    SIZE_T Offset = (ULONG_PTR)Block - Source->Base;
    ULONG Page = (ULONG)(Offset >> PAGE_SHIFT);
    ULONG Number;

    if (Offset >= Source->Span ||
        __atomic_load_n(&Source->Pages[Page].Kind, __ATOMIC_RELAXED) != ExPageSlab ||
        &Source->Classes[Source->Pages[Page].Class] != Class)
    {
        return FALSE;
    }
    Number = ExpBlockNumber(Source, Page, Block);
    return Number < Class->Blocks &&
           (const UCHAR *)Block == ExpSlabBase(Source, Page) + (SIZE_T)Number * Class->Size;
}

#endif
