/* SPDX-License-Identifier: MIT */
/*
 * The cache manager: file data through views of the file's one data section in system space. Theory: docs/cache.md.
 *
 * Locks. [K] = CC_STATE.Lock; [C] = atomic.
 */
#ifndef NTMM_MAPPING_CACHE_H
#define NTMM_MAPPING_CACHE_H

#include "io/io.h"
#include "mapping/mapping.h"
#include "nt/ccapi.h"
#include "nt/mm.h"

#define CC_VIEW_PAGES (VACB_MAPPING_GRANULARITY >> PAGE_SHIFT)
#define CC_VIEWS      256u /* of all files */

struct _SHARED_CACHE_MAP;

/* A view of 256 KiB of a file in system space. */
typedef struct _VACB
{
    LIST_ENTRY Links; /* [K] CC_STATE.Unused (least recently used first) while ActiveCount is 0 */
    struct _SHARED_CACHE_MAP *CacheMap; /* [K] NULL: no view */
    ULONG64 Offset;                     /* [K] of the file */
    ULONG_PTR Base;                     /* [K] */
    ULONG ActiveCount;                  /* [K] */
} VACB, *PVACB;

/* Of a file that is cached, however often: SectionObjectPointers->SharedCacheMap. */
typedef struct _SHARED_CACHE_MAP
{
    LIST_ENTRY Links;          /* [K] */
    ULONG OpenCount;           /* [K] file objects, and calls in progress */
    PIO_FCB File;              /* fixed */
    PFILE_OBJECT FileObject;   /* fixed, referenced */
    PCONTROL_AREA ControlArea; /* fixed; a section reference */
    volatile LONG Dirty;       /* [C] written through a view since the last flush */
    CC_FILE_SIZES FileSizes;   /* [K] */
    PCACHE_MANAGER_CALLBACKS Callbacks;
    PVOID LazyWriteContext;
} SHARED_CACHE_MAP, *PSHARED_CACHE_MAP;

/* Of a file object: FILE_OBJECT.PrivateCacheMap. Hints, racy. */
typedef struct _PRIVATE_CACHE_MAP
{
    ULONG64 NextOffset;  /* where a sequential reader would go on */
    ULONG64 AheadOffset; /* up to where has been read ahead */
    ULONG Window;        /* pages */
} PRIVATE_CACHE_MAP, *PPRIVATE_CACHE_MAP;

typedef struct _MI_MAPPING_STATE
{
    EX_PUSH_LOCK Lock;
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

/* The view of the file that holds Offset, in use until CcpReleaseView. Waits for one. STATUS_INSUFFICIENT_RESOURCES, STATUS_NO_MEMORY. PASSIVE_LEVEL. */
NTSTATUS CcpGetView(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, PVACB *View);
VOID CcpReleaseView(PVACB View);
/* Unmaps the views of the range that nobody uses; waits for those that somebody does. */
VOID CcpUnmapViews(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, ULONG64 Length);
/* What was written through the views of the range is known to the frames afterwards. */
VOID CcpCollectDirty(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, ULONG64 Length);

/* ---- Maps (cachemap.c) --------------------------------------------------------------------------------- */

/* The file's cache map, kept from going away; NULL: it is not cached. */
PSHARED_CACHE_MAP CcpReferenceMap(PSECTION_OBJECT_POINTERS Pointers);
VOID CcpDereferenceMap(PSHARED_CACHE_MAP CacheMap);
VOID CcpLock(void);
VOID CcpUnlock(void);

/* The file is longer / about to be shorter. Size lock of the file held exclusively. */
VOID CcpNoteFileSize(PIO_FCB File, ULONG64 Size);
VOID CcpForgetBeyond(PIO_FCB File, ULONG64 Size);

/* Makes the file object cached if it is not yet. Any size. */
NTSTATUS CcpInitializeFile(PFILE_OBJECT FileObject);

/* Cached transfers with a status instead of an exception; *Done also after a failure. Size lock held shared or exclusively. */
NTSTATUS CcpRead(PFILE_OBJECT FileObject, ULONG64 Offset, PVOID Buffer, SIZE_T Length, PSIZE_T Done);
NTSTATUS CcpWrite(PFILE_OBJECT FileObject, ULONG64 Offset, const VOID *Buffer, SIZE_T Length, PSIZE_T Done);

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
