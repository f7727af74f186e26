/* SPDX-License-Identifier: MIT */
/*
 * Files: as much of an I/O manager and of a file system as memory services need. A FILE_OBJECT is one open of a file; all opens of
 * the same file share one file control block (IO_FCB), found by the identity that the port tells, with the storage, the size,
 * the sharing and the SECTION_OBJECT_POINTERS through which sections and the cache find what they have of the file. Theory: docs/io.md.
 *
 * Locks. [F] = IO_STATE.FilesLock; [S] = IO_FCB.SizeLock, shared to rely on it, exclusive to change; [C] = atomic.
 */
#ifndef NTMM_IO_H
#define NTMM_IO_H

#include "nt/ntioapi.h"
#include "ob/ob.h"

/* The file control block: what a file system would keep at FILE_OBJECT.FsContext. */
typedef struct _IO_FCB
{
    LIST_ENTRY Links; /* [F] */
    ULONG References; /* [F] file objects */
    ULONG64 Device;   /* identity, fixed */
    ULONG64 File;
    PORT_STORAGE *Storage; /* fixed */
    BOOLEAN Writable;      /* fixed: the storage can be written */
    BOOLEAN DeletePending; /* [F] goes with its last handle; no new opens */
    SHARE_ACCESS Sharing;  /* [F] of open handles */
    ULONG Handles;         /* [F] file objects that have a handle */
    /*
     * Serializes changes of the size with transfers that rely on it. Taken before anything of sections and the cache; faults may be taken
     * under it.
     */
    EX_PUSH_LOCK SizeLock;
    volatile LONG64
        FileSize; /* [S] bytes, as last seen or set; the storage has the truth (IoRefreshFileSize) */
    SECTION_OBJECT_POINTERS SectionObjectPointers;         /* guarded by their owners, see docs/section.md */
    volatile ULONG64 Reads, ReadBytes, Writes, WriteBytes; /* [C] transfers around the cache */
} IO_FCB, *PIO_FCB;

/*
 * What higher rooms hand in at start; may be NULL. Cleanup: the last handle of a file object is closed (IRQL PASSIVE_LEVEL, no locks).
 */
typedef struct _IO_OPERATIONS
{
    VOID (*Cleanup)(PFILE_OBJECT FileObject);
} IO_OPERATIONS;

typedef struct _IO_STATE
{
    EX_PUSH_LOCK FilesLock;
    LIST_ENTRY Files; /* [F] */
    OB_TYPE FileType; /* fixed; bodies are FILE_OBJECTs */
    IO_OPERATIONS Operations;
    volatile LONG FileObjects; /* [C] */
} IO_STATE;

NTSTATUS IoInitializeSystem(void);
VOID IoShutdownSystem(void); /* no file object is left */

static FORCEINLINE PIO_FCB IoFileOf(PFILE_OBJECT FileObject)
{
    return (PIO_FCB)FileObject->FsContext;
}

/* ---- Opening (open.c) ---------------------------------------------------------------------------------- */

typedef struct _IO_OPEN
{
    UNICODE_STRING Name;
    ACCESS_MASK Access; /* specific rights: generic ones are mapped already */
    ULONG ShareAccess;
    ULONG Disposition;
    ULONG Options;
    ULONG64 AllocationSize;
    ULONG64 Information; /* out: FILE_OPENED, FILE_CREATED, FILE_OVERWRITTEN, FILE_SUPERSEDED */
    BOOLEAN Truncate;    /* out: the caller makes the file empty before anybody sees the handle */
} IO_OPEN, *PIO_OPEN;

/*
 * A new file object with one reference. Fails with the statuses of NtCreateFile. PASSIVE_LEVEL, no locks. The rights of the handle that the
 * caller inserts are Open->Access; until then the file object's share of the sharing is undone by its last dereference.
 */
NTSTATUS IoOpenFile(PIO_OPEN Open, PFILE_OBJECT *FileObject);

/* FILE_*: GENERIC_ rights become what they mean for files; MAXIMUM_ALLOWED all. */
ACCESS_MASK IoMapFileAccess(ACCESS_MASK Access);

/* The name goes with the file's last handle, or does not any more. STATUS_CANNOT_DELETE (not writable). */
NTSTATUS IoSetDisposition(PFILE_OBJECT FileObject, BOOLEAN Delete);

/* One synchronous call at a time uses the position of a file object. IRQL <= APC_LEVEL, no locks. */
VOID IoLockFileObject(PFILE_OBJECT FileObject);
VOID IoUnlockFileObject(PFILE_OBJECT FileObject);

/* SizeLock. */
VOID IoLockSizeShared(PIO_FCB File);
VOID IoUnlockSizeShared(PIO_FCB File);
VOID IoLockSizeExclusive(PIO_FCB File);
VOID IoUnlockSizeExclusive(PIO_FCB File);

/* ---- Size and transfers (transfer.c) ------------------------------------------------------------------- */

/* Asks the storage; the size it says becomes FileSize. */
NTSTATUS IoRefreshFileSize(PIO_FCB File);
static FORCEINLINE ULONG64 IoFileSize(PIO_FCB File)
{
    return (ULONG64)__atomic_load_n(&File->FileSize, __ATOMIC_ACQUIRE);
}

/*
 * SizeLock held exclusively; sections and cache have agreed. Growth really allocates: STATUS_DISK_FULL, STATUS_MEDIA_WRITE_PROTECTED,
 * STATUS_ACCESS_DENIED; the size is unchanged then.
 */
NTSTATUS IoSetFileSize(PIO_FCB File, ULONG64 Bytes);

/*
 * Around the cache, through page frames of its own: any offset and length. Buffer may be pageable and may fault (guarded). A read ends at the end
 * of the file (STATUS_END_OF_FILE if nothing was there); a write must lie inside the file: who extends it sets its size first.
 * PASSIVE_LEVEL. *Done is what was transferred, also after a failure.
 */
NTSTATUS IoReadStorage(PIO_FCB File, ULONG64 Offset, PVOID Buffer, SIZE_T Length, PSIZE_T Done);
NTSTATUS IoWriteStorage(PIO_FCB File, ULONG64 Offset, const VOID *Buffer, SIZE_T Length, PSIZE_T Done);
NTSTATUS IoFlushStorage(PIO_FCB File); /* what was written survives a power failure */

/* The same for frames, page aligned, and waited for. Count <= PORT_IO_MAXIMUM_PAGES. *Bytes is what was transferred. */
NTSTATUS IoTransferFrames(PIO_FCB File, ULONG64 Offset, const PFN_NUMBER *Frames, ULONG Count, BOOLEAN Write,
                          PSIZE_T Bytes);

VOID IoCheckFiles(void);

#endif
