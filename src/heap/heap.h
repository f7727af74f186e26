/* SPDX-License-Identifier: MIT */
/*
 * The inside of the heap: its structures, from the arena up to the affinity slot. Theory: docs/heap.md.
 *
 *   arena        one reservation of address space for all heaps; cut into regions of 4 MiB, each ended by a guard page
 *   span         a run of pages of a region: free, or a subsegment, a chunk, a medium block (back end)
 *   subsegment   a span cut into blocks of one size (front end, LFH); its map says which blocks are free
 *   chunk        a span (or a caller's memory) cut into blocks of any size, by two maps
 *   slot         the subsegments of one thread (or of a private heap), with the active one of each bucket
 *
 * Blocks carry no headers and no links, never. Every span in use has a descriptor in the metadata area, far from the
 * blocks; the page map leads from a block's address to the descriptor's number.
 *
 * Locks, in the order in which they may be held:
 *   HEAP.Lock          API calls on a private heap (recursive: RtlLockHeap)
 *   RtlpSlotLock       the list of idle slots
 *   HEAP.BackLock      spans, chunks, large blocks, user values of one heap
 *   RtlpArena.Lock     regions, metadata, list of heaps
 * A slot's own fields belong to the thread that owns the slot; (atomic) fields are everybody's.
 */
#ifndef NTMM_HEAP_HEAP_H
#define NTMM_HEAP_HEAP_H

#include "heap/bucket.h"
#include "heap/granule.h"
#include "heap/ground.h"
#include "nt/ntdef.h"
#include "nt/ntstatus.h"
#include "rtl/bitmap.h"

#define HEAP_PAGE_SHIFT   12
#define HEAP_PAGE         ((SIZE_T)1 << HEAP_PAGE_SHIFT)
#define HEAP_REGION_SHIFT 22
#define HEAP_REGION       ((SIZE_T)1 << HEAP_REGION_SHIFT)
#define HEAP_REGION_PAGES ((ULONG)(HEAP_REGION / HEAP_PAGE))
#define HEAP_UNIT_SHIFT   6
#define HEAP_UNIT         ((SIZE_T)1 << HEAP_UNIT_SHIFT) /* of metadata */

#define HEAP_BACK_END_LIMIT  ((SIZE_T)512 * 1024) /* the documented limit: larger blocks are virtual memory */
#define HEAP_BACK_END_PAGES  ((ULONG)(HEAP_BACK_END_LIMIT / HEAP_PAGE))
#define HEAP_MAXIMUM_REQUEST ((SIZE_T)1 << 46)

#define HEAP_LIKELY(x)   __builtin_expect(!!(x), 1)
#define HEAP_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define HEAP_OPAQUE(x)   __asm__("" : "+r"(x)) /* the compiler knows nothing of its value */
#define HEAP_LOAD(p)     __atomic_load_n(p, __ATOMIC_RELAXED)
#define HEAP_STORE(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)

/* A lock of three states: free, held, held and waited for. */
typedef struct _HEAP_LOCK
{
    ULONG State;
#if defined(NTHEAP_GROUND_NT)
    ULONG64 Event; /* (atomic) what waiters sleep on: handle, process id in the upper half */
#endif
} HEAP_LOCK, *PHEAP_LOCK;

/* What a descriptor describes. */
typedef enum _HEAP_KIND
{
    HeapKindNone,
    HeapKindSubsegment,
    HeapKindChunk,      /* blocks of any size, up to 16 KiB */
    HeapKindPages,      /* one block of whole pages */
    HeapKindFree,       /* a free span */
    HeapKindGuarded,    /* one block of the page-heap mode */
    HeapKindQuarantined /* the same, freed; its pages are sealed */
} HEAP_KIND;

/* Large blocks have regions of their own: small spans would cut the long runs up. */
typedef enum _HEAP_POOL
{
    HeapPoolSmall, /* subsegments, chunks, blocks up to 512 KiB */
    HeapPoolLarge,
    HeapPools
} HEAP_POOL;

/* Where a subsegment is. */
typedef enum _HEAP_SUBSEGMENT_STATE
{
    HeapSubsegmentActive,  /* a bucket takes blocks from it: its Taker, usually its own */
    HeapSubsegmentPartial, /* on its bucket's list: has free or unexposed blocks */
    HeapSubsegmentFull,    /* on no list: the next free block that is not kept ready brings it back */
    HeapSubsegmentSpare    /* empty, kept for its bucket */
} HEAP_SUBSEGMENT_STATE;

typedef struct _HEAP HEAP, *PHEAP;
typedef struct _HEAP_SLOT HEAP_SLOT, *PHEAP_SLOT;

/*
 * A block's state, a byte in its subsegment's map. A byte and not a bit, because it is read and written in one instruction each,
 * by whoever frees the block: its owner, or another thread with one compare-exchange, in the same place, so that a second free finds
 * the first whoever made it. What was never handed out is free, so a map that is all zero is right for an empty subsegment.
 */
#define HEAP_STATE_FREE  0 /* claimed blocks, too */
#define HEAP_STATE_BUSY  1
#define HEAP_STATE_SENT  2 /* freed by another thread; its owner did not collect it yet */
#define HEAP_STATE_READY 4 /* free, and waits for the next allocations */

/*
 * 64 bytes in the metadata area. A subsegment's map begins in the descriptor's last sixteen bytes and goes on behind it. Lists are
 * made of descriptor numbers. Who changes it: a subsegment's descriptor the owner of its slot, every other the holder of HEAP.BackLock.
 */
typedef struct _HEAP_DESCRIPTOR
{
    PHEAP_SLOT Owner; /* (atomic) subsegment: use RtlpOwner; pages: who may keep it; or HEAP_NO_OWNER */
    PUCHAR Base;
    __extension__ union
    {
        __extension__ struct
        {
            ULONG Reciprocal; /* 2^32 / BlockSize, rounded up: offset to index by one multiplication */
            USHORT BlockSize;
            UCHAR Claimed; /* the 64 blocks that were claimed last, or HEAP_NO_WORD */
            UCHAR Taker;   /* the bucket that blocks are ready for: its own, or one that borrowed it */
            USHORT Used;   /* blocks in use, sent, ready or claimed; with HEAP_USED_FULL if it is full */
            USHORT Capacity;
            ULONG Exposed; /* blocks that exist by now; the pages behind them are still untouched */
        };
        __extension__ struct
        {
            SIZE_T Requested; /* pages: the size asked for; chunk: no less than its longest free run */
            SIZE_T Committed; /* chunk: bytes in use; region: its bytes */
        };
    };
    __extension__ union
    {
        __extension__ struct
        {
            ULONG Next;
            ULONG Previous;
        };
        ULONG64 Rest; /* active subsegment: claimed blocks that come after the bucket's Bits */
    };
    ULONG Pages;
    UCHAR Kind;
    UCHAR Bucket;
    UCHAR Turn; /* subsegment: of each 64 blocks those from this one on come first */
    UCHAR State;
    __extension__ union
    {
        UCHAR FirstStates[16]; /* subsegment: use RtlpStates */
        __extension__ struct
        {
            UCHAR State0;   /* pages: the block's state */
            BOOLEAN Dirty;  /* free span: pages were touched */
            BOOLEAN Zeroed; /* span handed out: every byte reads zero */
            UCHAR Pool;     /* HEAP_POOL */
            PHEAP Heap;     /* no subsegment's: that of its slot */
        };
    };
} HEAP_DESCRIPTOR, *PHEAP_DESCRIPTOR;

C_ASSERT(sizeof(HEAP_DESCRIPTOR) == HEAP_UNIT);
C_ASSERT(offsetof(HEAP_DESCRIPTOR, FirstStates) == 48);

#define HEAP_USED_FULL 0x8000 /* Used is negative: a free sees by one comparison that there is more to do */

/* A subsegment's map: the states of its blocks, and one more for the rest of its pages, which is no block. */
static inline PUCHAR RtlpStates(const HEAP_DESCRIPTOR *Subsegment)
{
    return (PUCHAR)((ULONG_PTR)Subsegment + offsetof(HEAP_DESCRIPTOR, FirstStates));
}

/*
 * At the end of a subsegment's metadata: its place on the chain of those that other threads freed blocks of. Descriptors are used
 * again for subsegments of as many units only, and this is never cleared: a sender that comes late finds the same structure, and at
 * worst reports something that has been collected already.
 */
typedef struct _HEAP_REMOTE
{
    ULONG Next;       /* of the receiver's chain; written by whoever set Pending */
    ULONG Pending;    /* (atomic) it is on a chain, or on its way there */
    ULONG Descriptor; /* the subsegment's number */
    ULONG Unused;
} HEAP_REMOTE, *PHEAP_REMOTE;

/* Words, of 64 blocks each, that so many blocks take. */
static inline ULONG RtlpMapWords(ULONG Blocks)
{
    return (Blocks + 63) / 64;
}

/* Units of a subsegment's descriptor with its map and its remote part. */
static inline ULONG RtlpSubsegmentUnits(ULONG Capacity)
{
    return (ULONG)((offsetof(HEAP_DESCRIPTOR, FirstStates) + Capacity + 1 + sizeof(HEAP_REMOTE) + HEAP_UNIT -
                    1) >>
                   HEAP_UNIT_SHIFT);
}

static inline PHEAP_REMOTE RtlpRemote(const HEAP_DESCRIPTOR *Subsegment)
{
    return (PHEAP_REMOTE)((ULONG_PTR)Subsegment +
                          ((SIZE_T)RtlpSubsegmentUnits(Subsegment->Capacity) << HEAP_UNIT_SHIFT)) -
           1;
}

#define HEAP_NO_OWNER ((PHEAP_SLOT)2)
#define HEAP_NO_WORD  0xff

static inline PHEAP_SLOT RtlpOwner(const HEAP_DESCRIPTOR *Subsegment)
{
    return HEAP_LOAD(&Subsegment->Owner);
}

/*
 * A free block that waits for the next allocation of its bucket. Its state says so, and a second free sees it; it counts
 * as used, so that its subsegment is not given back. The bucket is the Taker of its subsegment, and what is ready is flushed
 * before that changes.
 */
typedef struct _HEAP_READY
{
    PVOID Block;
    PUCHAR State;
} HEAP_READY, *PHEAP_READY;

C_ASSERT(sizeof(HEAP_READY) == 16 && offsetof(HEAP_READY, State) == 8); /* RtlpStorePair */

/*
 * What allocation touches: a bucket's ready blocks, and the 64 blocks of its active subsegment that it claimed, a word. Those
 * that were free then are its Bits. They count as used, so that handing one out changes nothing but its bit and its state.
 */
typedef struct _HEAP_ACTIVE
{
    ULONG64 Bits;
    PUCHAR WordBase; /* the block of index 0 of the word */
    LONG Word;       /* where its states begin: in eight bytes, from the slot */
    USHORT BlockSize;
    USHORT Ready;      /* behind the last HEAP_READY, the next to be taken; offsets from the slot, */
    USHORT ReadyKept;  /* up to here they stay while others can be had: a freed block is not alone; */
    USHORT ReadyFirst; /* here they begin, */
    USHORT ReadyFull;  /* and here is no room for more */
    USHORT Unused;
} HEAP_ACTIVE, *PHEAP_ACTIVE;

C_ASSERT(sizeof(HEAP_ACTIVE) == 32);

/*
 * Blocks of a bucket that come from chunks before it gets subsegments. If its blocks are short it has them at once when the next thread
 * takes the slot: that thread often does what the last one did.
 */
#define HEAP_ACTIVATION       16
#define HEAP_STAY_ACTIVE_SIZE 1024

typedef struct _HEAP_BUCKET
{
    ULONG First; /* partial subsegments */
    ULONG Last;
    ULONG Subsegments; /* all of them; 0: the bucket is not activated */
    USHORT Uses;       /* allocations before activation */
    USHORT Unused;
    ULONG Spare;  /* an empty subsegment */
    ULONG Active; /* the subsegment that words are claimed of; 0: none */
} HEAP_BUCKET, *PHEAP_BUCKET;

typedef enum _HEAP_SLOT_STATE
{
    HeapSlotIdle,
    HeapSlotOwned
} HEAP_SLOT_STATE;

#define HEAP_CACHE_SPAN_PAGES 64
#define HEAP_CACHE_SLOT_PAGES 128

struct _HEAP_SLOT
{
    HEAP_ACTIVE Active[HEAP_ALL_BUCKETS];
    HEAP_BUCKET Buckets[HEAP_BUCKETS];
    ULONG64 Random;
    ULONG Cached[HEAP_SPAN_CACHE];     /* descriptor numbers of medium spans ready for reuse */
    ULONG CachedPages;                 /* of those, at most HEAP_CACHE_SLOT_PAGES */
    ULONG SparePages;                  /* of the buckets' spare subsegments */
    ULONG Together;                    /* pages that new blocks get at a time; 0 is 1 */
    PHEAP_SLOT NextIdle;               /* RtlpSlotLock */
    DECLSPEC_ALIGN(64) PHEAP Heap;     /* written once: whoever frees a block of another slot reads it */
    PHEAP_SLOT NextAll;                /* written once */
    ULONG State;                       /* (atomic) HEAP_SLOT_STATE */
    BOOLEAN Watched;                   /* the thread's end will be told */
    DECLSPEC_ALIGN(64) ULONG Reported; /* (atomic) something is in Incoming, perhaps */
    ULONG Incoming[HEAP_BUCKETS];      /* (atomic) chains of HEAP_REMOTE, by unit numbers */
};

/* Behind a slot: what is ready, of each bucket. Not a part of it, because the empty slot has none. */
#define HEAP_ALL_READY 2150

C_ASSERT(sizeof(HEAP_SLOT) + HEAP_ALL_READY * sizeof(HEAP_READY) <= MAXUSHORT);

/* A freed block changes places with one of the first four, all blocks of the same 32 KiB with the same one. */
#define HEAP_SCATTER_SHIFT 62
#define HEAP_STRETCH_SHIFT 15

/* One more way into a private heap than its own lock and slot: side.c. */
#define HEAP_MOST_SIDES 15

typedef struct _HEAP_SIDE
{
    DECLSPEC_ALIGN(64) HEAP_LOCK Lock;
    PHEAP_SLOT Slot; /* used with Lock held */
} HEAP_SIDE, *PHEAP_SIDE;

C_ASSERT(sizeof(HEAP_SIDE) == HEAP_UNIT);

typedef struct _HEAP_ARENA
{
    PUCHAR Base;
    SIZE_T Limit;    /* (atomic) bytes from Base that were ever handed out */
    PULONG PageMap;  /* (atomic entries) descriptor number of each page */
    PUCHAR Metadata; /* descriptor n is at Metadata + 64 n */
    ULONG64 Key;     /* encodes trailers */
    ULONG64 Scatter; /* times the number of a block's stretch: which ready block it changes places with */
    PCHEAP_PAGE_OPERATIONS Operations;
    SIZE_T Size;
    SIZE_T MetadataSize;
    SIZE_T MetadataUsed;      /* (atomic) written with Lock */
    SIZE_T MetadataCommitted; /* Lock */
    SIZE_T MapCommitted;      /* Lock: bytes of Base covered by the page map */
    HEAP_LOCK Lock;
    ULONG State; /* (atomic) 0, 1 being made, 2 ready */
} HEAP_ARENA, *PHEAP_ARENA;

#define HEAP_SPARE_SIZES 36

/* What is wrong with a call, or with the heap. */
typedef enum _HEAP_DAMAGE
{
    HeapDamageDoubleFree,
    HeapDamageInvalidFree,  /* no block of the heap is there */
    HeapDamageInteriorFree, /* inside a block */
    HeapDamageWrongHeap,
    HeapDamageMetadata, /* the heap's own structures disagree */
    HeapDamageTail,     /* bytes behind a block were overwritten */
    HeapDamageFreed,    /* a freed block was written to */
    HeapDamageKinds
} HEAP_DAMAGE;

typedef VOID HEAP_DAMAGE_HANDLER(HEAP_DAMAGE Damage, PVOID Heap, const VOID *Address);
typedef VOID HEAP_EXCEPTION_HANDLER(PVOID Heap, NTSTATUS Status);

#if defined(NTHEAP_GROUND_NT)
#define HEAP_ARENA_LARGEST ((SIZE_T)1 << 37)
#define HEAP_METADATA_STEP ((SIZE_T)64 * 1024)
#else
#define HEAP_ARENA_LARGEST ((SIZE_T)1 << 40)
#define HEAP_METADATA_STEP ((SIZE_T)256 * 1024)
#endif

/*
 * All that the heaps of one process share. On Linux it is one variable; in the machine each NT process has one in its own
 * memory, so that nothing of its heaps lies outside, and a clone of the process has them all. Use the names below.
 */
typedef struct _HEAP_PROCESS
{
    HEAP_ARENA Arena;
    ULONG Donated[HEAP_SPARE_SIZES]; /* Arena.Lock: lists of descriptors by their units */
    RTL_BITMAP RegionMap;            /* Arena.Lock: one bit for each region: 1 is in use */
    HEAP_LOCK ListLock;
    ULONG_PTR RestThread;               /* (atomic) who holds every lock, for a fork or a clone; 0: nobody */
    PHEAP List;                         /* ListLock */
    PHEAP Destroyed;                    /* ListLock: structures to use again, each with its slot */
    PHEAP First;                        /* (atomic) what RtlProcessHeap returns */
    BOOLEAN PageHeap;                   /* set before the first allocation, never changed */
    struct _HEAP_TABLE *Tables;         /* the process heap's lock: movable blocks (globalapi.c) */
    struct _HEAP_MOVABLE *FreeMovable;  /* the same */
    HEAP_DAMAGE_HANDLER *DamageHandler; /* tests: called instead of ending the process */
    HEAP_EXCEPTION_HANDLER *ExceptionHandler;
    ULONG64 DamageCount[HeapDamageKinds];
    ULONG RegionBits[HEAP_ARENA_LARGEST / HEAP_REGION / 32];
#if defined(NTHEAP_GROUND_NT)
    ULONG64 Id;          /* (atomic) the process's; its parent's in a clone that did not use a heap yet */
    HEAP_SLOT EmptySlot; /* nobody's: heaps there have slots of their own */
#endif
} HEAP_PROCESS, *PHEAP_PROCESS;

#if defined(NTHEAP_GROUND_NT)
/* Of the calling thread's process, the same in all of a call, made at its first use; NULL: it cannot be made. ground_nt.c */
PHEAP_PROCESS RtlpCurrentHeapProcess(VOID) __attribute__((const));
#define RtlpProcess      (*RtlpCurrentHeapProcess())
#define RtlpHasProcess() (RtlpCurrentHeapProcess() != NULL)
#define RtlpEmptySlot    (RtlpProcess.EmptySlot)
#else
extern HEAP_PROCESS RtlpProcess;
#define RtlpHasProcess() TRUE
extern HEAP_SLOT RtlpEmptySlot; /* what a thread has before its first allocation; never changed */
#endif

#define RtlpArena            (RtlpProcess.Arena)
#define RtlpPageHeap         (RtlpProcess.PageHeap)
#define RtlpHeapListLock     (RtlpProcess.ListLock)
#define RtlpHeapList         (RtlpProcess.List)
#define RtlpDamageCount      (RtlpProcess.DamageCount)
#define RtlpDamageHandler    (RtlpProcess.DamageHandler)
#define RtlpExceptionHandler (RtlpProcess.ExceptionHandler)

#define HEAP_DESCRIPTOR_AT(Number)                                                                           \
    ((PHEAP_DESCRIPTOR)(PVOID)(RtlpArena.Metadata + ((SIZE_T)(Number) << HEAP_UNIT_SHIFT)))

static inline ULONG RtlpDescriptorNumber(const HEAP_DESCRIPTOR *Descriptor)
{
    return (ULONG)(((SIZE_T)((const UCHAR *)Descriptor - RtlpArena.Metadata)) >> HEAP_UNIT_SHIFT);
}

/* NULL: the bucket has none. */
static inline PHEAP_DESCRIPTOR RtlpActiveSubsegment(const HEAP_SLOT *Slot, ULONG Bucket)
{
    const ULONG Number = Slot->Buckets[Bucket].Active;

    return Number != 0 ? HEAP_DESCRIPTOR_AT(Number) : NULL;
}

/* The descriptor of the page that holds Address; NULL outside of the arena; of kind None where there is nothing. */
static inline PHEAP_DESCRIPTOR RtlpLookup(const VOID *Address)
{
    const SIZE_T Offset = (SIZE_T)((ULONG_PTR)Address - (ULONG_PTR)RtlpArena.Base);

    if (HEAP_UNLIKELY(Offset >= HEAP_LOAD(&RtlpArena.Limit)))
    {
        return NULL;
    }

    return HEAP_DESCRIPTOR_AT(HEAP_LOAD(&RtlpArena.PageMap[Offset >> HEAP_PAGE_SHIFT]));
}

/* The back end's free spans, by whole pages; the last bin holds all that is longer than any block. */
#define HEAP_BINS (HEAP_BACK_END_PAGES + 2)
typedef struct _HEAP_BINS_SET
{
    ULONG64 Present[(HEAP_BINS + 63) / 64];
    ULONG First[HEAP_BINS];
} HEAP_BINS_SET, *PHEAP_BINS_SET;

/* The free spans of a pool. HEAP.BackLock. */
typedef struct _HEAP_SPANS
{
    HEAP_BINS_SET Clean;
    HEAP_BINS_SET Dirty;
    SIZE_T DirtyPages;
    SIZE_T DecayLow;   /* least DirtyPages since the last decay */
    ULONG64 DecayTime; /* of the last decay */
    SIZE_T Reserved;   /* bytes of regions */
} HEAP_SPANS, *PHEAP_SPANS;

typedef struct _HEAP_COUNTERS
{
    SIZE_T InUsePages;     /* pages of spans handed out */
    SIZE_T PeakPages;      /* most of InUsePages */
    SIZE_T PeakDirtyPages; /* dirty free pages at that time */
    ULONG64 Subsegments;
    ULONG64 SubsegmentsMade;
    ULONG64 Purged; /* pages */
    ULONG64 Moved;  /* pages, into longer blocks */
} HEAP_COUNTERS, *PHEAP_COUNTERS;

#define HEAP_SIGNATURE    0x48544e65u
#define HEAP_CALLERS_LOCK 0x80000000u /* in HEAP.Flags; no flag of a caller's */

struct _HEAP
{
    ULONG Signature;
    ULONG Flags;
    HEAP_LOCK Lock;   /* API; not used with a lock of the caller's */
    PVOID CallerLock; /* HEAP_CALLERS_LOCK: what RtlCreateHeap was given */
    ULONG LockDepth;
    ULONG_PTR LockOwner;
    PHEAP_SLOT Slot;                   /* private heaps: used with Lock held */
    PHEAP_SIDE Sides[HEAP_MOST_SIDES]; /* BackLock: more slots; behind SideCount those of a destroyed heap */
    ULONG SideCount;                   /* (atomic) BackLock, or all locks of all sides */
    ULONG Meetings;                    /* (atomic) of threads that wanted in at the same time */
    PHEAP NextHeap;                    /* RtlpHeapListLock */
    struct _HEAP_RING *Ring; /* HEAP_FREE_CHECKING_ENABLED: freed blocks that wait; kept for the next heap */
    struct _HEAP_FIXED *SpareFixed; /* of a destroyed heap of fixed size */
    struct _HEAP_FIXED *Fixed;      /* heaps of fixed size: fixed.c */
    struct _HEAP_TAGS *Tags;        /* Lock: rtlheaptag.c; kept for the next heap */
    ULONG TagCount;                 /* Lock */
    SIZE_T MaximumAllocation;       /* 0: no limit */
    SIZE_T DecommitBlock;           /* bytes: a free span of this length is given back at once, */
    SIZE_T DecommitTotal;           /* if more than so many bytes are free; both 0: by and by only */
    BOOLEAN Private;                /* created through the API: blocks have trailers */

    DECLSPEC_ALIGN(64) HEAP_LOCK BackLock;
    BOOLEAN Executable;
    ULONG Regions; /* descriptor numbers: lists of regions and of chunks */
    ULONG Chunks;
    ULONG Spare[HEAP_SPARE_SIZES]; /* free descriptors by their number of units */
    ULONG DecayTick;
    ULONG QuarantineFirst; /* page-heap mode: freed blocks, oldest first */
    ULONG QuarantineLast;
    SIZE_T QuarantinePages;
    HEAP_COUNTERS Counters;
    HEAP_SPANS Pools[HeapPools];
};

/* A block of HEAP_KEPT_FIRST pages and more, up to HEAP_KEPT_LIMIT, that a slot owns is as a subsegment with one block; freed, the slot keeps it. */
static inline BOOLEAN RtlpIsKept(const HEAP_DESCRIPTOR *Descriptor)
{
    return Descriptor->Kind == HeapKindPages && HEAP_LOAD(&Descriptor->State0) == HEAP_STATE_READY;
}

static inline PHEAP RtlpHeapOfSpan(const HEAP_DESCRIPTOR *Descriptor)
{
    return Descriptor->Kind == HeapKindSubsegment ? RtlpOwner(Descriptor)->Heap : Descriptor->Heap;
}

/* ---- lock.c ---- */
VOID RtlpAcquireLockSlow(PHEAP_LOCK Lock);
VOID RtlpReleaseLockSlow(PHEAP_LOCK Lock); /* one that is waited for, or held at rest */

#if defined(NTHEAP_TSAN)
void __tsan_acquire(void *Address);
void __tsan_release(void *Address);
#define RTLP_ACQUIRED(Lock)  __tsan_acquire(Lock)
#define RTLP_RELEASING(Lock) __tsan_release(Lock)
#else
#define RTLP_ACQUIRED(Lock)  ((VOID)(Lock))
#define RTLP_RELEASING(Lock) ((VOID)(Lock))
#endif

static inline VOID RtlpAcquireLock(PHEAP_LOCK Lock)
{
    ULONG Free = 0;

    if (!__atomic_compare_exchange_n(&Lock->State, &Free, 1, FALSE, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
    {
        RtlpAcquireLockSlow(Lock);
    }

    RTLP_ACQUIRED(Lock);
}

static inline VOID RtlpReleaseLock(PHEAP_LOCK Lock)
{
    ULONG Held = 1;

    RTLP_RELEASING(Lock);
    if (!__atomic_compare_exchange_n(&Lock->State, &Held, 0, FALSE, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
    {
        RtlpReleaseLockSlow(Lock);
    }
}

/* ---- corruption.c ---- */

/* Tells the handler, or says what happened and ends the process (STATUS_HEAP_CORRUPTION). */
VOID RtlpReportDamage(HEAP_DAMAGE Damage, PHEAP Heap, const VOID *Address);

/* ---- arena.c ---- */

/* Makes the arena over Operations; later calls do nothing. FALSE if there is no address space. */
BOOLEAN RtlpInitializeArena(PCHEAP_PAGE_OPERATIONS Operations);
/* Metadata, zeroed at its first use only; NULL if it cannot be committed. Never given back. */
PVOID RtlpAllocateMetadata(SIZE_T Units);
/* Address space of whole regions, uncommitted; NULL if the arena is used up. The page map behind it is committed. */
PUCHAR RtlpAllocateRegions(SIZE_T Count);
VOID RtlpFreeRegions(PUCHAR Base, SIZE_T Count);
/* Descriptors of destroyed heaps, for every heap. */
VOID RtlpDonateDescriptor(PHEAP_DESCRIPTOR Descriptor, ULONG Units);
PHEAP_DESCRIPTOR RtlpAdoptDescriptor(ULONG Units);
VOID RtlpSetPageMap(const VOID *Base, SIZE_T Pages, ULONG Number);

/* ---- span.c: HEAP.BackLock is held ---- */

PHEAP_DESCRIPTOR RtlpAllocateDescriptor(PHEAP Heap, ULONG Units);
VOID RtlpFreeDescriptor(PHEAP Heap, PHEAP_DESCRIPTOR Descriptor, ULONG Units);
/* A span of Pages pages whose base is a multiple of Alignment; Kind is set, and the map of its first and last page. */
PHEAP_DESCRIPTOR RtlpAllocateSpan(PHEAP Heap, ULONG Pages, SIZE_T Alignment, HEAP_KIND Kind);
VOID RtlpFreeSpan(PHEAP Heap, PHEAP_DESCRIPTOR Span);
/* The same for a span whose pages are zero and not there. */
VOID RtlpFreeUntouchedSpan(PHEAP Heap, PHEAP_DESCRIPTOR Span);
/* Grows (TRUE if the pages behind are free) or shrinks a span in place. */
BOOLEAN RtlpResizeSpan(PHEAP Heap, PHEAP_DESCRIPTOR Span, ULONG Pages);
/* Gives dirty free pages of a pool back until at most Keep are left. */
VOID RtlpPurge(PHEAP Heap, HEAP_POOL Pool, SIZE_T Keep);
/* Gives everything back. No block of the heap may be used any more. */
VOID RtlpReleaseAllRegions(PHEAP Heap);

/* ---- big.c: blocks of whole pages ---- */

PVOID RtlpAllocateBig(PHEAP Heap, PHEAP_SLOT Slot, SIZE_T Size, SIZE_T Alignment, BOOLEAN *Zeroed);
VOID RtlpFreeBig(PHEAP Heap, PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Descriptor);
/* The block does not wait in a slot: there is no room, or it was copied to a longer one and its pages are to be its neighbours' to grow into. */
VOID RtlpFreeOutgrown(PHEAP Heap, PHEAP_DESCRIPTOR Descriptor);
/* In place or by moving pages; NULL if the caller must copy (InPlace: if it does not fit). */
PVOID RtlpResizeBig(PHEAP Heap, PHEAP_DESCRIPTOR Descriptor, SIZE_T Size, BOOLEAN InPlace);
SIZE_T RtlpBigSize(const HEAP_DESCRIPTOR *Descriptor);
VOID RtlpFlushSpanCache(PHEAP_SLOT Slot);

/* ---- variable.c ---- */

#define HEAP_CHUNK_PAGES    16
#define HEAP_CHUNK_GRANULES (HEAP_CHUNK_PAGES * (ULONG)HEAP_PAGE / 16)
#define HEAP_CHUNK_WORDS    (HEAP_CHUNK_GRANULES / 64)
#define HEAP_CHUNK_UNITS    ((ULONG)((sizeof(HEAP_DESCRIPTOR) + 2 * HEAP_CHUNK_WORDS * 8) / HEAP_UNIT))

HEAP_GRANULES RtlpChunkGranules(PHEAP_DESCRIPTOR Chunk);
PVOID RtlpAllocateVariable(PHEAP Heap, SIZE_T Size);
VOID RtlpFreeVariable(PHEAP Heap, PHEAP_DESCRIPTOR Chunk, PVOID Block);
/* Bytes of the block that starts at Block; 0 if none does. */
SIZE_T RtlpVariableSize(PHEAP Heap, PHEAP_DESCRIPTOR Chunk, const VOID *Block);

/* ---- guarded.c: the page-heap mode ---- */

PVOID RtlpAllocateGuarded(PHEAP Heap, SIZE_T Size, SIZE_T Alignment);
VOID RtlpFreeGuarded(PHEAP Heap, PHEAP_DESCRIPTOR Descriptor, PVOID Block);
/* Bytes of the block; 0 if Block is not its start. */
SIZE_T RtlpGuardedSize(const HEAP_DESCRIPTOR *Descriptor, const VOID *Block);

/* ---- subsegment.c: by the owner of the slot ---- */

PVOID RtlpAllocateSlow(PHEAP_SLOT Slot, ULONG Bucket, SIZE_T Size);
/* A block of exactly the bucket's size, so of its alignment; no borrowed larger one. */
PVOID RtlpAllocateExact(PHEAP_SLOT Slot, ULONG Bucket);
/* No block of the subsegment is in use any more. */
VOID RtlpSubsegmentEmpty(PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Subsegment);
/* The blocks that a bucket keeps ready are free now as others are. */
VOID RtlpFlushReady(PHEAP_SLOT Slot, ULONG Bucket);
/* A full subsegment got a free block, and Used is less already: unmarks it and puts it on its bucket's list. */
VOID RtlpSubsegmentUnfull(PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Subsegment);
/* The one or the other: Used is negative or 0. */
VOID RtlpSubsegmentChanged(PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Subsegment);
VOID RtlpAppendPartial(PHEAP_BUCKET Bucket, PHEAP_DESCRIPTOR Subsegment);
VOID RtlpRemovePartial(PHEAP_BUCKET Bucket, PHEAP_DESCRIPTOR Subsegment);
/* Gives back every empty subsegment, active ones too. */
VOID RtlpTrimSlot(PHEAP_SLOT Slot);
/* Before so many new pages are touched: gives empty subsegments back if no free memory with pages will do. */
VOID RtlpOfferEmpty(PHEAP_SLOT Slot, ULONG Pages);

/* ---- slot.c ---- */

PHEAP_SLOT RtlpCreateSlot(PHEAP Heap);
/* Makes a slot of a destroyed heap new again. */
VOID RtlpResetSlot(PHEAP_SLOT Slot, PHEAP Heap);
/* Frees a block of another slot. FALSE, and nothing is done, if no block in use starts there. */
BOOLEAN RtlpFreeRemote(PHEAP_DESCRIPTOR Subsegment, const VOID *Block);
/* Collects what others freed of this slot's blocks: */
VOID RtlpReceive(PHEAP_SLOT Slot);
/* of one bucket. */
VOID RtlpReceiveBucket(PHEAP_SLOT Slot, ULONG Bucket);

/* ---- threadslot.c; ground_nt.c, where no thread has a slot ---- */

/* The calling thread's slot, made or taken over now; NULL if there is no memory. */
PHEAP_SLOT RtlpAttachThread(VOID);
/* Takes partial subsegments of a bucket from idle slots. */
BOOLEAN RtlpStealPartial(PHEAP_SLOT Slot, ULONG Bucket);

#if !defined(NTHEAP_GROUND_NT)
extern __thread PHEAP_SLOT RtlpThreadSlot;
extern HEAP RtlpMallocHeap; /* the heap of malloc */
extern HEAP_LOCK RtlpSlotLock;

VOID RtlpDetachThread(VOID);
/* A thread without a slot frees a block whose slot is idle: that slot becomes the thread's. RtlpEmptySlot if it cannot. */
PHEAP_SLOT RtlpInheritSlot(PHEAP_DESCRIPTOR Subsegment);
/* From its slow paths: the end of the first thread is told now, if there are others. */
VOID RtlpWatchFirstThread(PHEAP_SLOT Slot);
/* There may be several threads: registers the fork handlers, once. No lock of the heap is held. */
VOID RtlpExpectFork(VOID);

/* ---- checkmode.c ---- */

extern const CHAR RtlpCheckOption[]; /* the environment variable's name */

/* The heap of malloc's blocks in check mode, made at the first call; NULL in every other mode, or if it cannot be made. */
PVOID RtlpCheckModeHeap(VOID);
/* Looks at all blocks and reports the damaged ones. */
VOID RtlpCheckModeEnd(VOID);
#endif

/* ---- side.c ---- */

/* The process ends because of damage in Heap (or NULL): a lock of the caller's, which outlives the process, is given back. */
VOID RtlpAbandonHeap(PHEAP Heap);

/* ---- clone.c ---- */

/* The calling thread holds every lock of every heap, and goes through them as through open doors (lock.c). */
static inline BOOLEAN RtlpHoldsHeaps(VOID)
{
    return HEAP_UNLIKELY(HEAP_LOAD(&RtlpProcess.RestThread) != 0) &&
           HEAP_LOAD(&RtlpProcess.RestThread) == RtlpGroundThread();
}

/* Takes every lock of every heap of the process: what is copied now is whole. The caller holds none but API locks. */
VOID RtlpRestHeaps(VOID);
VOID RtlpWakeHeaps(VOID);
/* A heap comes on the list, whose lock is held: it rests as the others do. */
VOID RtlpJoinRest(PHEAP Heap);
#if defined(NTHEAP_GROUND_NT)
/* Before the first use of a heap in a clone: gives locks back that were taken for the clone to be made. */
VOID RtlpWakeClone(PHEAP_PROCESS Process);
#endif

/* ---- statistics.c ---- */

VOID RtlpPrintStatistics(VOID);

/* ---- block.c: any block, whatever holds it ---- */

/* Block lies in the span of Descriptor, whose owner is not Slot. Block first, here and where free goes else: it stays in its register. */
VOID RtlpFreeOther(PVOID Block, PHEAP_SLOT Slot, PHEAP_DESCRIPTOR Descriptor);
VOID RtlpFreeBlockSlow(PVOID Block, PHEAP_SLOT Slot);
/* Usable bytes of a block; 0 (and a report) if Block is none. */
SIZE_T RtlpBlockSize(const VOID *Block);
/* The same, silently: 0 if Block is no block of the span that Descriptor describes. */
SIZE_T RtlpBlockSizeIn(PHEAP_DESCRIPTOR Descriptor, const VOID *Block);
/* What is wrong with Block, which is no block of Heap. */
HEAP_DAMAGE RtlpDiagnoseBlock(PHEAP Heap, const HEAP_DESCRIPTOR *Descriptor, const VOID *Block);
PVOID RtlpAllocateAligned(PHEAP Heap, PHEAP_SLOT Slot, SIZE_T Size, SIZE_T Alignment);

#endif
