/* SPDX-License-Identifier: MIT */
/*
 * The cache manager, for file systems: file data through views of the file's data section in system space.
 *
 * All functions: IRQL PASSIVE_LEVEL (<= APC_LEVEL for CcIsFileCached and CcGetFileSizePointer). Functions that copy raise an exception
 * (STATUS_INVALID_USER_BUFFER for the buffer, the I/O status for the file) where the page says so. Source: Microsoft Learn, the pages of the functions (ntifs.h).
 */
#ifndef NTMM_NT_CCAPI_H
#define NTMM_NT_CCAPI_H

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

EXTERN_C_END

#endif
