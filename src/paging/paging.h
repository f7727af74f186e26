/* SPDX-License-Identifier: MIT */
/*
 * Paging files and page I/O: slots, clustered reads (MMINPAGE_SUPPORT), the modified page writer. Theory:
 * docs/paging.md.
 *
 * A slot is named by (file number, page offset) as a software PTE holds it; offset 0 of every file is never
 * used, so that PageFileHigh == 0 means "no slot". A slot belongs to exactly one PTE, prototype PTE, frame
 * (OriginalPte) or write in flight.
 */
#ifndef NTMM_PAGING_H
#define NTMM_PAGING_H

#include "rtl/bitmap.h"
#include "rtl/bitmapsummary.h"
#include "space/space.h"

#define MI_MAXIMUM_PAGING_FILES 16
#define MI_WRITE_CLUSTER        128u /* pages per write */
#define MI_READ_CLUSTER         64u  /* pages per read of a paging file at most */
#define MI_FILE_CLUSTER         512u /* of a file: a chunk of prototype PTEs */
#define MI_WRITES_IN_FLIGHT     4u
#define MI_INPAGE_BLOCKS        128u

typedef struct _MMPAGING_FILE
{
    ULONG PageFileNumber;
    PORT_STORAGE *Storage;
    KSPIN_LOCK Lock;      /* bitmap, sizes */
    volatile SIZE_T Size; /* pages now, slot 0 included */
    SIZE_T MinimumSize;
    SIZE_T MaximumSize;
    volatile SIZE_T FreeSpace; /* slots */
    SIZE_T PeakUsage;
    SIZE_T Hint;        /* where the last cluster ended */
    SIZE_T HighestSlot; /* that was ever given out */
    RTL_BITMAP_SUMMARY Bitmap;
    PVOID BitmapMemory;
    SIZE_T BitmapBytes;
    ULONG64 WriteRetryTime; /* after an error: no writes before (KiQueryTime) */
    ULONG WriteErrors;      /* in a row */
    volatile ULONG64 Reads, ReadPages, Writes, WritePages;
    WCHAR Name[256];
    USHORT NameLength; /* bytes */
    EX_PUSH_LOCK ExtendLock;
} MMPAGING_FILE, *PMMPAGING_FILE;

/* One read: the pages it brings, and who waits for it. */
typedef struct _MMINPAGE_SUPPORT
{
    PORT_IO Io;
    KEVENT Event;             /* notification: the read is complete, Status valid */
    volatile LONG References; /* the reader + every collided waiter + the I/O */
    NTSTATUS Status;
    ULONG Count;         /* pages it brings: Frames[0] up to Frames[Count - 1] */
    ULONG ExtraFrames;   /* read behind them for Finish, and freed: at most one */
    SIZE_T MinimumBytes; /* less than this is a failed read: the file has become shorter */
    /*
     * Files that are not in memory as they are on disk: called at the end of the read, successful or not, before anybody sees the pages; makes
     * them of the Bytes that were read (zeros behind them). IRQL <= DISPATCH_LEVEL, no locks. NULL: nothing to do.
     */
    VOID (*Finish)(struct _MMINPAGE_SUPPORT *InPage, BOOLEAN Success, SIZE_T Bytes);
    PVOID FinishContext;
    ULONG64 FinishArgument;
    PKTHREAD
    Performer; /* the faulting thread, if it shall do the transfer itself once it holds no locks
                  (MiFinishInPage) */
    PFN_NUMBER Frames[MI_FILE_CLUSTER + 1];
    struct _MMINPAGE_SUPPORT *Next; /* free list */
} MMINPAGE_SUPPORT, *PMMINPAGE_SUPPORT;

typedef struct _MI_WRITE_BLOCK
{
    PORT_IO Io;
    PMMPAGING_FILE File;
    SIZE_T FirstSlot;
    ULONG Count;
    BOOLEAN Busy;
    PFN_NUMBER Frames[MI_WRITE_CLUSTER];
} MI_WRITE_BLOCK;

typedef struct _MI_PAGING_STATE
{
    BOOLEAN ClearAtShutdown;   /* ClearPageFileAtShutdown. Boot */
    BOOLEAN Encrypt;           /* paging files that are created. Boot */
    EX_PUSH_LOCK FileListLock; /* creation, deletion, extension */
    PMMPAGING_FILE Files[MI_MAXIMUM_PAGING_FILES];
    volatile ULONG FileCount;
    KSPIN_LOCK InPageLock;
    PMMINPAGE_SUPPORT InPageFree;
    PMMINPAGE_SUPPORT InPageBlocks;
    volatile ULONG InPageInUse;
    KEVENT InPageFreed; /* notification: a block came back while somebody waited for one */
    volatile ULONG InPageWaiters;
    KSPIN_LOCK WriterLock;
    MI_WRITE_BLOCK *WriteBlocks; /* MI_WRITES_IN_FLIGHT */
    volatile ULONG WritesInFlight;
    volatile ULONG PagesInFlight; /* being written */
    volatile ULONG64 PagesEnded;  /* written, or tried */
    KEVENT WriteDone;             /* notification-like: set at each completion */
    KI_WORKER ModifiedWriter;
    volatile ULONG Flushers; /* threads that want everything written, not only down to the threshold */
    struct _MI_MAPPED_WRITE *MappedWrites; /* MI_MAPPED_WRITES */
    KI_WORKER MappedWriter;
    ULONG64 MappedLazyTime;       /* when what is modified then will be written; the mapped writer's */
    ULONG64 MappedBudget;         /* pages that it shall still write for that; the mapped writer's */
    volatile ULONG MappedHurry;   /* [C] all of it, now */
    volatile ULONG64 MappedStuck; /* [C] listed pages when no file took any of them */
    /* Handed in by room mapping: memory is short, and there are pages that only the lazy writer may write, because a log precedes them. <= APC_LEVEL, no locks. */
    VOID (*volatile NoWritePagesShort)(void);
} MI_PAGING_STATE;

/*
 * What the machine wants of its paging files, as Windows reads it from the registry at boot: ClearPageFileAtShutdown (used slots are overwritten
 * with zeros before the files are closed), NtfsEncryptPagingFile (contents are encrypted with a key that lives and dies with the machine).
 */
typedef struct _MI_PAGING_PARAMETERS
{
    BOOLEAN ClearAtShutdown;
    BOOLEAN Encrypt;
} MI_PAGING_PARAMETERS;

NTSTATUS MiInitializePaging(const MI_PAGING_PARAMETERS *Parameters); /* NULL: neither */
NTSTATUS MiStartPagingWorkers(void);
VOID MiStopPagingWorkers(void); /* waits for writes in flight */
VOID MiShutdownPaging(void);    /* closes all files; their slots must be free */

/*
 * Creates a paging file (sizes in bytes, rounded to pages). Minimum is allocated now.
 * STATUS_INVALID_PARAMETER_2/_3 (sizes), STATUS_INSUFFICIENT_RESOURCES (16 exist), STATUS_DISK_FULL, what
 * PortOpenStorage says. The commit limit grows by the size. Called again with a name that exists: grows to the minimum if it is smaller,
 * and to a larger maximum; a maximum smaller than before is STATUS_INVALID_PARAMETER_3, nothing is changed then.
 */
NTSTATUS MiCreatePagingFile(PCUNICODE_STRING Name, ULONG64 MinimumSize, ULONG64 MaximumSize);

/*
 * Grows paging files so that the commit limit rises by at least Pages if they can; TRUE when it rose at all.
 * Files that rest after an error do not grow. May wait.
 */
BOOLEAN MiExtendPagingFiles(SIZE_T Pages);

/* Up to Count consecutive slots; *Got >= 1. 0: none free. At DISPATCH_LEVEL or below. */
SIZE_T MiAllocateSlots(ULONG Count, PMMPAGING_FILE *File, PULONG Got);
VOID MiFreeSlots(PMMPAGING_FILE File, SIZE_T First, ULONG Count);

/* Slots into which pages could be written now: of files that do not rest after an error. */
SIZE_T MiWritableSlots(void);
BOOLEAN MiIsFileResting(const MMPAGING_FILE *File);

/*
 * The reserve for critical writes: so many slots are used only while memory is short or somebody flushes, not for writing ahead of need.
 */
SIZE_T MiSlotReserve(void);

/* Overwrites every slot that was ever used with zeros. Nothing of the file is in use. PASSIVE_LEVEL. STATUS of the first write that failed. */
NTSTATUS MiClearPagingFile(PMMPAGING_FILE File);

/* Frees the slot that a software PTE (or OriginalPte) names, if any. */
VOID MiReleasePageFileSpace(MMPTE Pte);

/* ---- Reads --------------------------------------------------------------------------------------------- */

PMMINPAGE_SUPPORT MiAllocateInPage(void); /* one reference, event clear; NULL: none (wait and retry) */
VOID MiWaitForInPageBlock(void);          /* until one may be free. IRQL < DISPATCH_LEVEL, no locks */
VOID MiReferenceInPage(PMMINPAGE_SUPPORT InPage);
VOID MiDereferenceInPage(PMMINPAGE_SUPPORT InPage);

/*
 * Starts the read of InPage->Count frames (Frames[], in transition with ReadInProgress, InPage set, one
 * reference for the I/O) from consecutive slots beginning at the one that First names. Its completion ends
 * the transition of each frame: success: clears ReadInProgress and drops the I/O's reference (to standby
 * unless somebody holds it); failure: the owning PTE gets OriginalPte back once nobody holds the frame. Takes
 * a reference of InPage for itself.
 */
VOID MiStartPageFileRead(PMMINPAGE_SUPPORT InPage, MMPTE First, BOOLEAN Synchronous);
/*
 * The same from any storage, from a page-aligned Offset on: Count + ExtraFrames frames. MinimumBytes, Finish and its parameters are as the caller
 * set them (MiAllocateInPage: everything must be there, no Finish).
 */
VOID MiStartStorageRead(PMMINPAGE_SUPPORT InPage, PORT_STORAGE *Storage, ULONG64 Offset, BOOLEAN Synchronous);
#define MI_WHOLE_READ (~(SIZE_T)0) /* MinimumBytes: all that was asked for */
/*
 * Waits for the end of the read. A synchronous one is done here, by the thread that began it: it has nothing
 * else to do, and two thread switches are saved. That thread must come here soon; others may be waiting for
 * it.
 */
NTSTATUS MiWaitForInPage(PMMINPAGE_SUPPORT InPage);

/* Drops a hold that a faulting thread has on a frame (see above). */
VOID MiReleaseHeldFrame(PFN_NUMBER Frame);

/* ---- Writes -------------------------------------------------------------------------------------------- */

BOOLEAN MiModifiedWriterStep(PVOID Context);
VOID MiWakePageWriters(void); /* of paging files and of mapped files, if they have something to do */

/*
 * Writes out all modified pages that can be written; returns when they are, or when nothing more can be
 * written. PASSIVE_LEVEL.
 */
VOID MiFlushModifiedPages(void);

PFN_NUMBER MiModifiedPages(void);
/* Of these, as many as can be written: there are slots for them, or their files take them. A moment's truth. */
PFN_NUMBER MiWritableModifiedPages(void);

/* Level 2: usage counts against bitmaps. */
VOID MiCheckPaging(ULONG Level);

#endif
