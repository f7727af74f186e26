/* SPDX-License-Identifier: MIT */
/*
 * The cache manager, for file systems: file data through views of the file's data section in system space.
 *
 * All functions: IRQL PASSIVE_LEVEL (<= APC_LEVEL for CcIsFileCached and CcGetFileSizePointer). Functions that copy raise an exception
 * (STATUS_INVALID_USER_BUFFER for the buffer, the I/O status for the file) where the page says so. Source: Microsoft Learn, the pages of the functions (ntifs.h).
 */
#ifndef NTMM_NT_CCAPI_H
#define NTMM_NT_CCAPI_H

#include "nt/ex.h"
#include "nt/mdl.h"
#include "nt/ntioapi.h"

EXTERN_C_START

#define VACB_MAPPING_GRANULARITY 0x40000u

typedef struct _CC_FILE_SIZES
{
    LARGE_INTEGER AllocationSize;
    LARGE_INTEGER FileSize;
    LARGE_INTEGER ValidDataLength;
} CC_FILE_SIZES, *PCC_FILE_SIZES;

typedef BOOLEAN NTAPI ACQUIRE_FOR_LAZY_WRITE(_In_ PVOID Context, _In_ BOOLEAN Wait);
typedef ACQUIRE_FOR_LAZY_WRITE *PACQUIRE_FOR_LAZY_WRITE;
typedef VOID NTAPI RELEASE_FROM_LAZY_WRITE(_In_ PVOID Context);
typedef RELEASE_FROM_LAZY_WRITE *PRELEASE_FROM_LAZY_WRITE;
typedef BOOLEAN NTAPI ACQUIRE_FOR_READ_AHEAD(_In_ PVOID Context, _In_ BOOLEAN Wait);
typedef ACQUIRE_FOR_READ_AHEAD *PACQUIRE_FOR_READ_AHEAD;
typedef VOID NTAPI RELEASE_FROM_READ_AHEAD(_In_ PVOID Context);
typedef RELEASE_FROM_READ_AHEAD *PRELEASE_FROM_READ_AHEAD;

typedef struct _CACHE_MANAGER_CALLBACKS
{
    PACQUIRE_FOR_LAZY_WRITE AcquireForLazyWrite;
    PRELEASE_FROM_LAZY_WRITE ReleaseFromLazyWrite;
    PACQUIRE_FOR_READ_AHEAD AcquireForReadAhead;
    PRELEASE_FROM_READ_AHEAD ReleaseFromReadAhead;
} CACHE_MANAGER_CALLBACKS, *PCACHE_MANAGER_CALLBACKS;

typedef struct _CACHE_UNINITIALIZE_EVENT
{
    struct _CACHE_UNINITIALIZE_EVENT *Next;
    KEVENT Event;
} CACHE_UNINITIALIZE_EVENT, *PCACHE_UNINITIALIZE_EVENT;

/* Begins to cache the file of FileObject. Raises STATUS_INSUFFICIENT_RESOURCES. Callbacks may be NULL here. */
NTKERNELAPI VOID NTAPI CcInitializeCacheMap(_In_ PFILE_OBJECT FileObject, _In_ PCC_FILE_SIZES FileSizes,
                                            _In_ BOOLEAN PinAccess,
                                            _In_opt_ PCACHE_MANAGER_CALLBACKS Callbacks,
                                            _In_opt_ PVOID LazyWriteContext);
/* Ends it for this file object. TruncateSize: what is beyond is purged. Returns whether the file is not cached any more. */
NTKERNELAPI BOOLEAN NTAPI CcUninitializeCacheMap(_In_ PFILE_OBJECT FileObject,
                                                 _In_opt_ PLARGE_INTEGER TruncateSize,
                                                 _In_opt_ PCACHE_UNINITIALIZE_EVENT UninitializeEvent);
NTKERNELAPI BOOLEAN NTAPI CcIsFileCached(_In_ PFILE_OBJECT FileObject);

/* FALSE: Wait is FALSE, and it could not be done without waiting. */
NTKERNELAPI BOOLEAN NTAPI CcCopyRead(_In_ PFILE_OBJECT FileObject, _In_ PLARGE_INTEGER FileOffset,
                                     _In_ ULONG Length, _In_ BOOLEAN Wait,
                                     _Out_writes_bytes_(Length) PVOID Buffer,
                                     _Out_ PIO_STATUS_BLOCK IoStatus);
NTKERNELAPI BOOLEAN NTAPI CcCopyWrite(_In_ PFILE_OBJECT FileObject, _In_ PLARGE_INTEGER FileOffset,
                                      _In_ ULONG Length, _In_ BOOLEAN Wait,
                                      _In_reads_bytes_(Length) PVOID Buffer);
NTKERNELAPI BOOLEAN NTAPI CcZeroData(_In_ PFILE_OBJECT FileObject, _In_ PLARGE_INTEGER StartOffset,
                                     _In_ PLARGE_INTEGER EndOffset, _In_ BOOLEAN Wait);

/* FileOffset NULL: all of it. Length 0: to the end. */
NTKERNELAPI VOID NTAPI CcFlushCache(_In_ PSECTION_OBJECT_POINTERS SectionObjectPointer,
                                    _In_opt_ PLARGE_INTEGER FileOffset, _In_ ULONG Length,
                                    _Out_opt_ PIO_STATUS_BLOCK IoStatus);
/* FALSE: user mode maps the file. Flags: 1 = uninitialize the cache maps of all file objects. */
NTKERNELAPI BOOLEAN NTAPI CcPurgeCacheSection(_In_ PSECTION_OBJECT_POINTERS SectionObjectPointer,
                                              _In_opt_ PLARGE_INTEGER FileOffset, _In_ ULONG Length,
                                              _In_ ULONG Flags);
NTKERNELAPI VOID NTAPI CcSetFileSizes(_In_ PFILE_OBJECT FileObject, _In_ PCC_FILE_SIZES FileSizes);

/*
 * The cache's own pages instead of a copy: a chain of MDLs, locked, for data inside the file; appended to *MdlChain, which is NULL or a chain of the caller's.
 * CcMdlRead ends at the end of the file (IoStatus->Information). They raise STATUS_INSUFFICIENT_RESOURCES, STATUS_COMMITMENT_LIMIT, STATUS_END_OF_FILE, and what the file's
 * device says; nothing is locked then. Each chain goes by one of the functions below, which frees it. With CcPrepareMdlWrite the pages become
 * modified whether they are written or not; CcMdlWriteComplete writes the data at once if the file object has FO_WRITE_THROUGH, and raises what that says.
 */
NTKERNELAPI VOID NTAPI CcMdlRead(_In_ PFILE_OBJECT FileObject, _In_ PLARGE_INTEGER FileOffset,
                                 _In_ ULONG Length, _Inout_ PMDL *MdlChain, _Out_ PIO_STATUS_BLOCK IoStatus);
NTKERNELAPI VOID NTAPI CcMdlReadComplete(_In_ PFILE_OBJECT FileObject, _In_ PMDL MdlChain);
NTKERNELAPI VOID NTAPI CcPrepareMdlWrite(_In_ PFILE_OBJECT FileObject, _In_ PLARGE_INTEGER FileOffset,
                                         _In_ ULONG Length, _Inout_ PMDL *MdlChain,
                                         _Out_ PIO_STATUS_BLOCK IoStatus);
NTKERNELAPI VOID NTAPI CcMdlWriteComplete(_In_ PFILE_OBJECT FileObject, _In_ PLARGE_INTEGER FileOffset,
                                          _In_ PMDL MdlChain);
NTKERNELAPI VOID NTAPI CcMdlWriteAbort(_In_ PFILE_OBJECT FileObject, _In_ PMDL MdlChain);

/*
 * Mapping and pinning: data of a cached file where it lies in the cache. *Bcb stands for the range until it is given back; *Buffer is where FileOffset is.
 * A range lies inside the file's section and in one aligned view of VACB_MAPPING_GRANULARITY. Pages stay pageable; the address stays.
 *
 * FALSE: PIN_WAIT (MAP_WAIT) is not set and it would have to wait for the disk or for another owner; or PIN_IF_BCB is set and there is no BCB yet (*Bcb is NULL then).
 * Raised: STATUS_INSUFFICIENT_RESOURCES, the I/O status of the disk, STATUS_END_OF_FILE (behind the section), STATUS_INVALID_PARAMETER (no range, or more than one view).
 * Nothing is mapped or pinned then. Docs: docs/cache.md, section 2.
 */
#define MAP_WAIT          1
#define MAP_NO_READ       16 /* read nothing now */
#define MAP_HIGH_PRIORITY 64

#define PIN_WAIT                     1
#define PIN_EXCLUSIVE                2 /* nobody else has it pinned meanwhile */
#define PIN_NO_READ                  4 /* read nothing now */
#define PIN_IF_BCB                   8 /* only if it is pinned or dirty already */
#define PIN_CALLER_TRACKS_DIRTY_DATA 32
#define PIN_HIGH_PRIORITY            64
#define PIN_VERIFY_REQUIRED          128

/* What a pinned Bcb points to. Read only. */
typedef struct _PUBLIC_BCB
{
    CSHORT NodeTypeCode;
    CSHORT NodeByteSize;
    ULONG MappedLength;             /* whole pages: the range, and what it adjoins */
    LARGE_INTEGER MappedFileOffset; /* of the first of them */
} PUBLIC_BCB, *PPUBLIC_BCB;

/* For reading. The lowest bit of *Bcb is set. < DISPATCH_LEVEL. */
NTKERNELAPI BOOLEAN NTAPI CcMapData(_In_ PFILE_OBJECT FileObject, _In_ PLARGE_INTEGER FileOffset,
                                    _In_ ULONG Length, _In_ ULONG Flags, _Outptr_ PVOID *Bcb,
                                    _Outptr_ PVOID *Buffer);
/* *Bcb of CcMapData becomes a pinned one, with one CcUnpinData for both; one that is pinned already stays what it is. */
NTKERNELAPI BOOLEAN NTAPI CcPinMappedData(_In_ PFILE_OBJECT FileObject, _In_ PLARGE_INTEGER FileOffset,
                                          _In_ ULONG Length, _In_ ULONG Flags, _Inout_ PVOID *Bcb);
NTKERNELAPI BOOLEAN NTAPI CcPinRead(_In_ PFILE_OBJECT FileObject, _In_ PLARGE_INTEGER FileOffset,
                                    _In_ ULONG Length, _In_ ULONG Flags, _Outptr_ PVOID *Bcb,
                                    _Outptr_ PVOID *Buffer);
/*
 * Dirty from the beginning; with Zero the range is zeroed, else those whole pages of it are that are not in memory: what the file has of them is not read.
 * PIN_CALLER_TRACKS_DIRTY_DATA: neither, and all other flags are ignored.
 */
NTKERNELAPI BOOLEAN NTAPI CcPreparePinWrite(_In_ PFILE_OBJECT FileObject, _In_ PLARGE_INTEGER FileOffset,
                                            _In_ ULONG Length, _In_ BOOLEAN Zero, _In_ ULONG Flags,
                                            _Outptr_ PVOID *Bcb, _Outptr_ PVOID *Buffer);

/* Has been modified, and the log up to *Lsn speaks of it. Not for what is only mapped. <= APC_LEVEL. */
NTKERNELAPI VOID NTAPI CcSetDirtyPinnedData(_In_ PVOID BcbVoid, _In_opt_ PLARGE_INTEGER Lsn);

/* For each of the four above; by the thread that called it, but for: */
NTKERNELAPI VOID NTAPI CcUnpinData(_In_ PVOID Bcb);
/* OwnerPointer, with the two lowest bits set, takes the current thread's place, for all pins that it has of the BCB; CcUnpinDataForThread gives them back. */
NTKERNELAPI VOID NTAPI CcSetBcbOwnerPointer(_In_ PVOID Bcb, _In_ PVOID OwnerPointer);
NTKERNELAPI VOID NTAPI CcUnpinDataForThread(_In_ PVOID Bcb, _In_ ERESOURCE_THREAD ResourceThreadId);

/* Mapped once more; the result has the read-only indicator and is given back by CcUnpinData. */
NTKERNELAPI PVOID NTAPI CcRemapBcb(_In_ PVOID Bcb);
/* Kept beyond CcUnpinData, until CcUnpinRepinnedBcb; that takes it exclusively and writes it, if WriteThrough. Information: bytes written. */
NTKERNELAPI VOID NTAPI CcRepinBcb(_In_ PVOID Bcb);
NTKERNELAPI VOID NTAPI CcUnpinRepinnedBcb(_In_ PVOID Bcb, _In_ BOOLEAN WriteThrough,
                                          _Out_ PIO_STATUS_BLOCK IoStatus);
NTKERNELAPI PFILE_OBJECT NTAPI CcGetFileObjectFromBcb(_In_ PVOID Bcb);

/*
 * Logs. FlushToLsnRoutine is called at PASSIVE_LEVEL, without locks, before BCBs of the file are written that have LSNs; when it returns the log up to Lsn
 * is on the disk. The file is cached. Any IRQL.
 */
typedef VOID NTAPI FLUSH_TO_LSN(_In_ PVOID LogHandle, _In_ LARGE_INTEGER Lsn);
typedef FLUSH_TO_LSN *PFLUSH_TO_LSN;
NTKERNELAPI VOID NTAPI CcSetLogHandleForFile(_In_ PFILE_OBJECT FileObject, _In_ PVOID LogHandle,
                                             _In_ PFLUSH_TO_LSN FlushToLsnRoutine);
/*
 * Calls the routine for each dirty BCB of files with this log, at the caller's IRQL and without locks. Returns the oldest LSN of them; 0: none. <= DISPATCH_LEVEL.
 */
typedef VOID NTAPI DIRTY_PAGE_ROUTINE(_In_ PFILE_OBJECT FileObject, _In_ PLARGE_INTEGER FileOffset,
                                      _In_ ULONG Length, _In_ PLARGE_INTEGER OldestLsn,
                                      _In_ PLARGE_INTEGER NewestLsn, _In_ PVOID Context1,
                                      _In_ PVOID Context2);
typedef DIRTY_PAGE_ROUTINE *PDIRTY_PAGE_ROUTINE;
NTKERNELAPI LARGE_INTEGER NTAPI CcGetDirtyPages(_In_ PVOID LogHandle,
                                                _In_ PDIRTY_PAGE_ROUTINE DirtyPageRoutine,
                                                _In_ PVOID Context1, _In_ PVOID Context2);

/* Reading ahead and the lazy writer for the file, on at first. <= APC_LEVEL. */
NTKERNELAPI VOID NTAPI CcSetAdditionalCacheAttributes(_In_ PFILE_OBJECT FileObject,
                                                      _In_ BOOLEAN DisableReadAhead,
                                                      _In_ BOOLEAN DisableWriteBehind);

/* Valid pages of the range, which lies in the cache, are modified from now on. TRUE: there was one. < DISPATCH_LEVEL. */
NTKERNELAPI BOOLEAN NTAPI MmSetAddressRangeModified(_In_ PVOID Address, _In_ SIZE_T Length);

EXTERN_C_END

#endif
