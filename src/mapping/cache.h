/* SPDX-License-Identifier: MIT */
/*
 * The cache manager: file data through views of the file's one data section in system space. Theory: docs/cache.md.
 *
 * Locks. [K] = MI_MAPPING_STATE.Lock; [D] = MI_MAPPING_STATE.DirtyLock; [C] = atomic.
 */
#ifndef NTMM_MAPPING_CACHE_H
#define NTMM_MAPPING_CACHE_H

#include "io/io.h"
#include "mapping/mapping.h"
#include "nt/ccapi.h"
#include "nt/mm.h"
#include "rtl/avl.h"

#define CC_VIEW_PAGES (VACB_MAPPING_GRANULARITY >> PAGE_SHIFT)
#define CC_VIEWS      256u /* of all files */

struct _SHARED_CACHE_MAP;

/* A view of 256 KiB of a file in system space. */
typedef struct _VACB
{
    LIST_ENTRY Links; /* [K] MI_MAPPING_STATE.Unused (least recently used first) while ActiveCount is 0 */
    struct _SHARED_CACHE_MAP *CacheMap; /* [K] NULL: no view */
    ULONG64 Offset;                     /* [K] of the file */
    ULONG_PTR Base;                     /* [K] */
    ULONG ActiveCount;                  /* [K] */
    ULONG Holds; /* [K] of ActiveCount: for as long as a file system likes (pins, maps) */
} VACB, *PVACB;

/* Of a file that is cached, however often: SectionObjectPointers->SharedCacheMap. */
typedef struct _SHARED_CACHE_MAP
{
    LIST_ENTRY Links;          /* [K] */
    ULONG OpenCount;           /* [K] file objects, BCBs, mapped ranges, and calls in progress */
    ULONG FileObjects;         /* [K] of these */
    PIO_FCB File;              /* fixed */
    PFILE_OBJECT FileObject;   /* fixed, referenced */
    PCONTROL_AREA ControlArea; /* fixed; a section reference */
    volatile LONG Dirty;       /* [C] written through a view since the last flush */
    CC_FILE_SIZES FileSizes;   /* [K] */
    PCACHE_MANAGER_CALLBACKS Callbacks;
    PVOID LazyWriteContext;
    RTL_AVL_TREE Bcbs;                            /* [K] by offset; they never overlap */
    LIST_ENTRY Mappings;                          /* [K] CC_MAPPING */
    PCACHE_UNINITIALIZE_EVENT UninitializeEvents; /* [K] signaled when the map goes */
    PVOID volatile LogHandle;          /* [C] the file is written only behind its log; see FlushToLsn */
    PFLUSH_TO_LSN volatile FlushToLsn; /* [C] NULL: it has none */
    volatile LONG NoReadAhead, NoWriteBehind; /* [C] */
} SHARED_CACHE_MAP, *PSHARED_CACHE_MAP;

/* Of a file object: FILE_OBJECT.PrivateCacheMap. Hints, racy. */
typedef struct _PRIVATE_CACHE_MAP
{
    ULONG64 NextOffset;  /* where a sequential reader would go on */
    ULONG64 AheadOffset; /* up to where has been read ahead */
    ULONG Window;        /* pages */
    ULONG Granule;       /* pages: of a read-ahead, a power of two */
} PRIVATE_CACHE_MAP, *PPRIVATE_CACHE_MAP;

/*
 * Who has a BCB, and how often: a thread, or an owner pointer in its place (CcSetBcbOwnerPointer).
 */
typedef struct _CC_OWNER
{
    struct _CC_OWNER *Next;
    ULONG_PTR Owner;
    ULONG Count;       /* 0: the record is free */
    BOOLEAN Allocated; /* from pool */
} CC_OWNER, *PCC_OWNER;

#define CC_NTC_BCB     ((CSHORT)0x4342) /* of what a Bcb pointer leads to */
#define CC_NTC_CHAIN   ((CSHORT)0x4343)
#define CC_NTC_MAPPING ((CSHORT)0x434d)

/*
 * Buffer control block: a range of whole pages of a file inside one view of the cache. It exists while somebody has it or waits for it, and while it is dirty.
 */
typedef struct _CC_BCB
{
    PUBLIC_BCB Public;                           /* fixed */
    RTL_BALANCED_NODE Node;                      /* [K] SHARED_CACHE_MAP.Bcbs */
    PSHARED_CACHE_MAP CacheMap;                  /* fixed; referenced */
    PVACB View;                                  /* [K] held while Pins + Maps + Repins is not 0 */
    ULONG Pins, Maps, Repins;                    /* [K] */
    ULONG Users;                                 /* [K] calls that wait for it or write it */
    PCC_OWNER Owners;                            /* [K] */
    CC_OWNER FirstOwner;                         /* [K] spares an allocation */
    BOOLEAN Exclusive;                           /* [K] the only owner has it so */
    ULONG ExclusiveWaiters;                      /* [K] */
    LIST_ENTRY DirtyLinks;                       /* [D] MI_MAPPING_STATE.DirtyBcbs; Flink NULL: not there */
    BOOLEAN Dirty;                               /* [D] */
    BOOLEAN Forgotten;                           /* [D] its last visitor frees it */
    ULONG Visitors;                              /* [D] CcGetDirtyPages looks at it */
    ULONG Writes;                                /* [D] under way */
    LONGLONG OldestLsn, NewestLsn;               /* [D] of what is dirty; 0: none */
    LONGLONG WritingOldestLsn, WritingNewestLsn; /* [D] of what is being written */
} CC_BCB, *PCC_BCB;

/* A pinned range that is not exactly inside of one BCB. Its BCBs ascend and adjoin. */
typedef struct _CC_CHAIN
{
    PUBLIC_BCB Public;        /* fixed */
    ULONG Pins, Maps, Repins; /* [K] each counts in all of its BCBs, too */
    ULONG Count;              /* fixed */
    PCC_BCB Bcbs[];           /* fixed */
} CC_CHAIN, *PCC_CHAIN;

/* What CcMapData returns, with the read-only indicator. */
typedef struct _CC_MAPPING
{
    PUBLIC_BCB Public;          /* fixed */
    LIST_ENTRY Links;           /* [K] SHARED_CACHE_MAP.Mappings */
    PSHARED_CACHE_MAP CacheMap; /* fixed; referenced */
    PVACB View;                 /* fixed; held */
    ULONG Maps;                 /* [K] */
} CC_MAPPING, *PCC_MAPPING;

typedef struct _MI_MAPPING_STATE
{
    EX_PUSH_LOCK Lock;
    KSPIN_LOCK DirtyLock;
    LIST_ENTRY DirtyBcbs; /* [D] of all files, in the order in which they became dirty */
    KEVENT BcbReleased;   /* notification: somebody let go of a BCB that another one waits for */
    LIST_ENTRY CacheMaps; /* [K] */
    LIST_ENTRY Unused;    /* [K] views nobody uses at the moment */
    VACB *Views;          /* [K] CC_VIEWS */
    KEVENT ViewFreed;     /* notification: a view became unused while somebody waited for one */
    KI_WORKER LazyWriter;
    volatile ULONG64 CopyReads, CopyReadBytes, CopyWrites, CopyWriteBytes, LazyWrites, ViewMisses; /* [C] */
} MI_MAPPING_STATE;

NTSTATUS CcpInitialize(void);
NTSTATUS CcpStartWorkers(void);
VOID CcpStopWorkers(void);
VOID CcpShutdown(void); /* no file is cached any more */

/* ---- Views (cacheview.c) ------------------------------------------------------------------------------- */

/* The view of the file that holds Offset, in use until CcpReleaseView. Waits for one, or STATUS_CANT_WAIT. STATUS_INSUFFICIENT_RESOURCES, STATUS_NO_MEMORY. PASSIVE_LEVEL. */
NTSTATUS CcpGetView(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, BOOLEAN Wait, PVACB *View);
VOID CcpReleaseView(PVACB View);
/* A view in use is held from now on / not held, and not in use for that, any more. Lock held. */
VOID CcpHoldView(PVACB View);
VOID CcpUnholdView(PVACB View);
/* Unmaps the views of the range that nobody uses; waits for those that somebody does. Those that are held only lose their pages of the range. */
VOID CcpUnmapViews(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, ULONG64 Length);
/* What was written through the views of the range is known to the frames afterwards. */
VOID CcpCollectDirty(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, ULONG64 Length);

/* ---- Maps (cachemap.c) --------------------------------------------------------------------------------- */

/* The file's cache map, kept from going away; NULL: it is not cached. */
PSHARED_CACHE_MAP CcpReferenceMap(PSECTION_OBJECT_POINTERS Pointers);
VOID CcpDereferenceMap(PSHARED_CACHE_MAP CacheMap);
VOID CcpDereferenceMaps(PSHARED_CACHE_MAP CacheMap, ULONG Count); /* so often */
VOID CcpLock(void);
VOID CcpUnlock(void);

/* The file is longer / about to be shorter. Size lock of the file held exclusively. */
VOID CcpNoteFileSize(PIO_FCB File, ULONG64 Size);
VOID CcpForgetBeyond(PIO_FCB File, ULONG64 Size);
/* Whether a file system has mapped or pinned something of the range. */
BOOLEAN CcpIsHeld(PSECTION_OBJECT_POINTERS Pointers, ULONG64 Offset, ULONG64 Length);

/* Makes the file object cached if it is not yet. Any size. */
NTSTATUS CcpInitializeFile(PFILE_OBJECT FileObject);

/*
 * Cached transfers with a status instead of an exception; *Done also after a failure. Size lock held shared or exclusively. Fresh: the file has zeros from there
 * on, because the caller has just made it longer, exclusively; pages of that are not read.
 */
#define CC_NOTHING_FRESH (~0ull)
/* Whether the cache's section reaches to End: not if somebody else made the file longer. CcpNoteFileSize mends that. Size lock held. */
BOOLEAN CcpCovers(PFILE_OBJECT FileObject, ULONG64 End);
NTSTATUS CcpRead(PFILE_OBJECT FileObject, ULONG64 Offset, PVOID Buffer, SIZE_T Length, PSIZE_T Done);
NTSTATUS CcpWrite(PFILE_OBJECT FileObject, ULONG64 Offset, const VOID *Buffer, SIZE_T Length, ULONG64 Fresh,
                  PSIZE_T Done);

/* Brings the pages in, or says what the disk says. */
NTSTATUS CcpTouch(ULONG_PTR Va, SIZE_T Length, BOOLEAN Write);
/* Starts reading what of the range is not in memory. */
VOID CcpStartReads(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, ULONG64 Length);
/* Whether a copy of the range would not wait for the disk. A moment's truth. */
BOOLEAN CcpIsResident(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, ULONG64 Length);

/* ---- Pages that need not be read (overwrite.c) --------------------------------------------------------- */

/* Whether a write makes the page of Offset without what the disk has of it. */
BOOLEAN CcpNeedsNoRead(ULONG64 Offset, ULONG64 Length, ULONG64 Fresh);
/*
 * Makes such a page, if it is not in memory: the bytes at Offset, zeros around them. FALSE, and nothing has changed: it goes the way of all others, which also
 * says what is wrong with the buffer.
 */
BOOLEAN CcpOverwritePage(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, const VOID *Buffer, SIZE_T Length);

/* A range in a view that somebody is about to write to from Offset to End. */
typedef struct _CC_OVERWRITE
{
    PSHARED_CACHE_MAP CacheMap;
    ULONG64 Offset, End;
    ULONG64 First; /* Offset's page */
    ULONG Pages;   /* up to that of End, in one view */
    ULONG_PTR Va;  /* of First */
    BOOLEAN Wait;
} CC_OVERWRITE;

/*
 * The pages are in memory afterwards: those that the range covers as a whole, with zeros, if they were not before; the others as they are. After a failure
 * nothing has changed, unless a page that somebody else read at the same moment could not be read. STATUS_CANT_WAIT: the disk would have to be waited for.
 */
NTSTATUS CcpBringInToOverwrite(const CC_OVERWRITE *Range);

/* ---- Buffer control blocks (bcb.c) --------------------------------------------------------------------- */

/* The first BCB that ends behind Offset, or NULL. Lock held. */
PCC_BCB CcpFindBcb(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset);
static FORCEINLINE ULONG64 CcpBcbOffset(const CC_BCB *Bcb)
{
    return (ULONG64)Bcb->Public.MappedFileOffset.QuadPart;
}
static FORCEINLINE ULONG64 CcpBcbEnd(const CC_BCB *Bcb)
{
    return CcpBcbOffset(Bcb) + Bcb->Public.MappedLength;
}
/* A new one of pages that no other one has, with one user; referenced map. Lock held. NULL: no pool. */
PCC_BCB CcpMakeBcb(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, ULONG Length);
/* One user less. TRUE: it is gone, and its map is to be dereferenced without the lock. Lock held. */
BOOLEAN CcpLeaveBcb(PCC_BCB Bcb);

/*
 * Takes it for Owner. The caller is a user of it, and may lend a record for as long as it is taken. STATUS_CANT_WAIT, STATUS_INSUFFICIENT_RESOURCES (not with
 * a record). Lock held; Wait gives it up for a time.
 */
NTSTATUS CcpOwnBcb(PCC_BCB Bcb, ULONG_PTR Owner, BOOLEAN Exclusive, BOOLEAN Wait, PCC_OWNER Record);
/* Once less, and NewOwner has what Owner had. Bug-check RESOURCE_NOT_OWNED if Owner does not have it. Lock held. */
VOID CcpDisownBcb(PCC_BCB Bcb, ULONG_PTR Owner);
VOID CcpRenameOwner(PCC_BCB Bcb, ULONG_PTR Owner, ULONG_PTR NewOwner);

/* It is to be written. Any lock of this room may be held. Lsn 0: none. */
VOID CcpDirtyBcb(PCC_BCB Bcb, LONGLONG Lsn);
BOOLEAN CcpIsBcbDirty(PCC_BCB Bcb);
/* A write begins (the newest LSN of what it writes, or 0) and ends. */
LONGLONG CcpBeginBcbWrite(PCC_BCB Bcb);
VOID CcpEndBcbWrite(PCC_BCB Bcb, BOOLEAN Success);
/* BCBs inside the range that nobody has are not dirty any more. */
VOID CcpForgetBcbs(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, ULONG64 Length);

/* ---- Flushing (cacheflush.c) --------------------------------------------------------------------------- */

/*
 * Writes what is modified of the range, behind the log if the file has one. Wait FALSE: passes over what somebody has pinned exclusively; STATUS_CANT_WAIT if
 * so. The caller has a reference of the control area, no locks but KiLockFile.
 */
NTSTATUS CcpFlushSegment(PCONTROL_AREA ControlArea, ULONG64 Offset, ULONG64 Bytes, BOOLEAN Wait);
/* Takes a repinned BCB exclusively, writes it, lets go. *Written: bytes, if it was dirty. */
NTSTATUS CcpWriteThrough(PCC_BCB Bcb, PULONG Written);
/* The machine ends: what cannot be written is not dirty any more, so that its files can be closed. */
VOID CcpGiveUpBcbs(void);

/* ---- Files and their sections (filesection.c, flushview.c) --------------------------------------------- */

/*
 * Changes the size as sections and cache permit. Size lock held exclusively. STATUS_USER_MAPPED_FILE (shorter than what user mode maps),
 * STATUS_DISK_FULL ...
 */
NTSTATUS MiSetMappedFileSize(PFILE_OBJECT FileObject, ULONG64 Size);
/*
 * The file was made longer for a call that failed: it becomes Size bytes long again, also if user mode maps it, because nobody can have a section of what is
 * behind. The size lock has been held exclusively all the time.
 */
VOID MiTakeBackFileGrowth(PFILE_OBJECT FileObject, ULONG64 Size);
/* Takes pages that nobody maps out of memory, whatever is in them. FALSE: some were mapped. The caller has a reference. */
BOOLEAN MiPurgeSegmentPages(PCONTROL_AREA ControlArea, ULONG64 FirstPage, ULONG64 Pages);

/*
 * NtFlushVirtualMemory with captured parameters: *Size 0 means to the end of the view. *IoStatus is that of the write. STATUS_NOT_MAPPED_VIEW; *Base and
 * *Size come back when the call succeeds.
 */
NTSTATUS MiFlushView(PMI_ADDRESS_SPACE Space, PULONG_PTR Base, PSIZE_T Size, NTSTATUS *IoStatus);

#endif
