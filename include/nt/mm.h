/* SPDX-License-Identifier: MIT */
/*
 * The memory manager for kernel clients: what wdm.h, ntddk.h and ntifs.h declare as MmXxx, with pools
 * (nt/expool.h), MDLs (nt/mdl.h), and what copies and secures memory (nt/wdm_mm.h).
 *
 * Above each prototype: what it does, IRQL, and how it fails. Sizes in bytes, physical addresses in bytes.
 * Sources: Microsoft Learn, the MmXxx pages.
 */
#ifndef NTMM_NT_MM_H
#define NTMM_NT_MM_H

#include "nt/expool.h"
#include "nt/io.h"
#include "nt/mdl.h"
#include "nt/mmtypes.h"
#include "nt/wdm_ke.h"
#include "nt/wdm_mm.h"

EXTERN_C_START

/* ---- contiguous and noncached memory ---- */

typedef ULONG NODE_REQUIREMENT;
#define MM_ANY_NODE_OK 0x80000000

/*
 * Nonpaged, physically contiguous, page-aligned memory, not above HighestAcceptableAddress. NULL: no such
 * run. IRQL <= DISPATCH_LEVEL (pages are moved or trimmed out of the way only at <= APC_LEVEL).
 */
NTKERNELAPI PVOID NTAPI MmAllocateContiguousMemory(_In_ SIZE_T NumberOfBytes,
                                                   _In_ PHYSICAL_ADDRESS HighestAcceptableAddress);
/* A multiple of BoundaryAddressMultiple (0: none) is not crossed. */
NTKERNELAPI PVOID NTAPI MmAllocateContiguousMemorySpecifyCache(_In_ SIZE_T NumberOfBytes,
                                                               _In_ PHYSICAL_ADDRESS LowestAcceptableAddress,
                                                               _In_ PHYSICAL_ADDRESS HighestAcceptableAddress,
                                                               _In_ PHYSICAL_ADDRESS BoundaryAddressMultiple,
                                                               _In_ MEMORY_CACHING_TYPE CacheType);
NTKERNELAPI PVOID NTAPI MmAllocateContiguousMemorySpecifyCacheNode(
    _In_ SIZE_T NumberOfBytes, _In_ PHYSICAL_ADDRESS LowestAcceptableAddress,
    _In_ PHYSICAL_ADDRESS HighestAcceptableAddress, _In_ PHYSICAL_ADDRESS BoundaryAddressMultiple,
    _In_ MEMORY_CACHING_TYPE CacheType, _In_ NODE_REQUIREMENT PreferredNode);
/* Protect: PAGE_READWRITE or PAGE_EXECUTE_READWRITE, with PAGE_NOCACHE or PAGE_WRITECOMBINE. */
NTKERNELAPI PVOID NTAPI MmAllocateContiguousNodeMemory(_In_ SIZE_T NumberOfBytes,
                                                       _In_ PHYSICAL_ADDRESS LowestAcceptableAddress,
                                                       _In_ PHYSICAL_ADDRESS HighestAcceptableAddress,
                                                       _In_ PHYSICAL_ADDRESS BoundaryAddressMultiple,
                                                       _In_ ULONG Protect,
                                                       _In_ NODE_REQUIREMENT PreferredNode);
NTKERNELAPI VOID NTAPI MmFreeContiguousMemory(_In_ PVOID BaseAddress);
NTKERNELAPI VOID NTAPI MmFreeContiguousMemorySpecifyCache(_In_ PVOID BaseAddress, _In_ SIZE_T NumberOfBytes,
                                                          _In_ MEMORY_CACHING_TYPE CacheType);

/* IRQL <= APC_LEVEL. NULL: no memory. */
NTKERNELAPI PVOID NTAPI MmAllocateNonCachedMemory(_In_ SIZE_T NumberOfBytes);
NTKERNELAPI VOID NTAPI MmFreeNonCachedMemory(_In_ PVOID BaseAddress, _In_ SIZE_T NumberOfBytes);

/* ---- device memory ---- */

/*
 * Maps device registers or memory. IRQL <= DISPATCH_LEVEL. NULL: no system PTEs, or a conflicting cache
 * attribute.
 */
NTKERNELAPI PVOID NTAPI MmMapIoSpace(_In_ PHYSICAL_ADDRESS PhysicalAddress, _In_ SIZE_T NumberOfBytes,
                                     _In_ MEMORY_CACHING_TYPE CacheType);
/* Protect: PAGE_READONLY, PAGE_READWRITE, PAGE_EXECUTE*, with PAGE_NOCACHE or PAGE_WRITECOMBINE. */
NTKERNELAPI PVOID NTAPI MmMapIoSpaceEx(_In_ PHYSICAL_ADDRESS PhysicalAddress, _In_ SIZE_T NumberOfBytes,
                                       _In_ ULONG Protect);
NTKERNELAPI VOID NTAPI MmUnmapIoSpace(_In_ PVOID BaseAddress, _In_ SIZE_T NumberOfBytes);

/* How a frame is mapped now.   STATUS_NOT_FOUND: it is not. */
NTKERNELAPI NTSTATUS NTAPI MmGetCacheAttribute(_In_ PHYSICAL_ADDRESS PhysicalAddress,
                                               _Out_ MEMORY_CACHING_TYPE *CacheType);

typedef enum _MM_ROTATE_DIRECTION
{
    MmToFrameBuffer,
    MmToFrameBufferNoCopy,
    MmToRegularMemory,
    MmToRegularMemoryNoCopy,
    MmMaximumRotateDirection
} MM_ROTATE_DIRECTION,
    *PMM_ROTATE_DIRECTION;

typedef NTSTATUS NTAPI MM_ROTATE_COPY_CALLBACK_FUNCTION(_In_ PMDL DestinationMdl, _In_ PMDL SourceMdl,
                                                        _In_ PVOID Context);
typedef MM_ROTATE_COPY_CALLBACK_FUNCTION *PMM_ROTATE_COPY_CALLBACK_FUNCTION;

/*
 * Exchanges the pages behind a MEM_ROTATE region. Microsoft Learn names the routine and says no rules for it ("reserved for system use"):
 * STATUS_NOT_IMPLEMENTED, and nothing is touched.
 */
NTKERNELAPI NTSTATUS NTAPI MmRotatePhysicalView(_In_ PVOID VirtualAddress, _Inout_ PSIZE_T NumberOfBytes,
                                                _In_opt_ PMDLX NewMdl, _In_ MM_ROTATE_DIRECTION Direction,
                                                _In_ PMM_ROTATE_COPY_CALLBACK_FUNCTION CopyFunction,
                                                _In_opt_ PVOID Context);

/* ---- addresses ---- */

/* The physical address behind a valid virtual one (0: not valid). Any IRQL; the caller keeps the page. */
NTKERNELAPI PHYSICAL_ADDRESS NTAPI MmGetPhysicalAddress(_In_ PVOID BaseAddress);
NTKERNELAPI PVOID NTAPI MmGetVirtualForPhysical(_In_ PHYSICAL_ADDRESS PhysicalAddress);
/* Whether an access would fault now. IRQL <= DISPATCH_LEVEL; the answer may be stale at once. */
NTKERNELAPI BOOLEAN NTAPI MmIsAddressValid(_In_ PVOID VirtualAddress);
NTKERNELAPI BOOLEAN NTAPI MmIsNonPagedSystemAddressValid(_In_ PVOID VirtualAddress);
NTKERNELAPI PVOID NTAPI MmGetSystemRoutineAddress(_In_ PUNICODE_STRING SystemRoutineName);

/* ---- pageable code and data of drivers: IRQL <= APC_LEVEL ---- */

NTKERNELAPI PVOID NTAPI MmLockPagableDataSection(_In_ PVOID AddressWithinSection);
NTKERNELAPI VOID NTAPI MmLockPagableSectionByHandle(_In_ PVOID ImageSectionHandle);
NTKERNELAPI VOID NTAPI MmUnlockPagableImageSection(_In_ PVOID ImageSectionHandle);
#define MmLockPagableCodeSection(Address) MmLockPagableDataSection((PVOID)(ULONG_PTR)(Address))
NTKERNELAPI PVOID NTAPI MmPageEntireDriver(_In_ PVOID AddressWithinSection);
NTKERNELAPI VOID NTAPI MmResetDriverPaging(_In_ PVOID AddressWithinSection);

/* ---- physical memory ---- */

typedef struct _PHYSICAL_MEMORY_RANGE
{
    PHYSICAL_ADDRESS BaseAddress;
    LARGE_INTEGER NumberOfBytes;
} PHYSICAL_MEMORY_RANGE, *PPHYSICAL_MEMORY_RANGE;

#define MM_GET_PHYSICAL_MEMORY_RANGES_INCLUDE_FILE_ONLY      0x1
#define MM_GET_PHYSICAL_MEMORY_RANGES_INCLUDE_ALL_PARTITIONS 0x2

/* An array from nonpaged pool (ExFreePool), ended by a zero entry. PASSIVE_LEVEL. NULL: no memory. */
NTKERNELAPI PPHYSICAL_MEMORY_RANGE NTAPI MmGetPhysicalMemoryRanges(VOID);
NTKERNELAPI PPHYSICAL_MEMORY_RANGE NTAPI MmGetPhysicalMemoryRangesEx(_In_opt_ PVOID PartitionObject);
NTKERNELAPI PPHYSICAL_MEMORY_RANGE NTAPI MmGetPhysicalMemoryRangesEx2(_In_opt_ PVOID PartitionObject,
                                                                      _In_ ULONG Flags);
/* PASSIVE_LEVEL.   STATUS_INVALID_PARAMETER_n, STATUS_CONFLICTING_ADDRESSES, STATUS_INSUFFICIENT_RESOURCES */
NTKERNELAPI NTSTATUS NTAPI MmAddPhysicalMemory(_In_ PPHYSICAL_ADDRESS StartAddress,
                                               _Inout_ PLARGE_INTEGER NumberOfBytes);
NTKERNELAPI NTSTATUS NTAPI MmRemovePhysicalMemory(_In_ PPHYSICAL_ADDRESS StartAddress,
                                                  _Inout_ PLARGE_INTEGER NumberOfBytes);
/*
 * The frames of the range that are RAM are not given out any more / are again; *NumberOfBytes: how many bytes changed their state. What is
 * in use goes out of use when its owner lets go of it, after an attempt to trim and write it. Statuses as above.
 */
NTKERNELAPI NTSTATUS NTAPI MmMarkPhysicalMemoryAsBad(_In_ PPHYSICAL_ADDRESS StartAddress,
                                                     _Inout_ PLARGE_INTEGER NumberOfBytes);
NTKERNELAPI NTSTATUS NTAPI MmMarkPhysicalMemoryAsGood(_In_ PPHYSICAL_ADDRESS StartAddress,
                                                      _Inout_ PLARGE_INTEGER NumberOfBytes);
NTKERNELAPI MM_SYSTEMSIZE NTAPI MmQuerySystemSize(VOID);
NTKERNELAPI BOOLEAN NTAPI MmIsThisAnNtAsSystem(VOID);

/* ---- sections ---- */

typedef enum _MMFLUSH_TYPE
{
    MmFlushForDelete,
    MmFlushForWrite
} MMFLUSH_TYPE;

/* As NtCreateSection, for kernel callers, with a file handle or a file object. PASSIVE_LEVEL. */
NTKERNELAPI NTSTATUS NTAPI MmCreateSection(_Outptr_ PVOID *SectionObject, _In_ ACCESS_MASK DesiredAccess,
                                           _In_opt_ POBJECT_ATTRIBUTES ObjectAttributes,
                                           _In_ PLARGE_INTEGER InputMaximumSize,
                                           _In_ ULONG SectionPageProtection, _In_ ULONG AllocationAttributes,
                                           _In_opt_ HANDLE FileHandle, _In_opt_ PFILE_OBJECT FileObject);

/* Views in system or session space; *ViewSize 0: the whole section. IRQL <= APC_LEVEL.   STATUS_NO_MEMORY */
NTKERNELAPI NTSTATUS NTAPI MmMapViewInSystemSpace(_In_ PVOID Section, _Outptr_ PVOID *MappedBase,
                                                  _Inout_ PSIZE_T ViewSize);
NTKERNELAPI NTSTATUS NTAPI MmMapViewInSystemSpaceEx(_In_ PVOID Section, _Outptr_ PVOID *MappedBase,
                                                    _Inout_ PSIZE_T ViewSize,
                                                    _Inout_ PLARGE_INTEGER SectionOffset,
                                                    _In_ ULONG_PTR Flags);
NTKERNELAPI NTSTATUS NTAPI MmUnmapViewInSystemSpace(_In_ PVOID MappedBase);
NTKERNELAPI NTSTATUS NTAPI MmMapViewInSessionSpace(_In_ PVOID Section, _Outptr_ PVOID *MappedBase,
                                                   _Inout_ PSIZE_T ViewSize);
NTKERNELAPI NTSTATUS NTAPI MmMapViewInSessionSpaceEx(_In_ PVOID Section, _Outptr_ PVOID *MappedBase,
                                                     _Inout_ PSIZE_T ViewSize,
                                                     _Inout_ PLARGE_INTEGER SectionOffset,
                                                     _In_ ULONG_PTR Flags);
NTKERNELAPI NTSTATUS NTAPI MmUnmapViewInSessionSpace(_In_ PVOID MappedBase);

/* For file systems. IRQL <= APC_LEVEL. */
NTKERNELAPI BOOLEAN NTAPI MmCanFileBeTruncated(_In_ PSECTION_OBJECT_POINTERS SectionPointer,
                                               _In_opt_ PLARGE_INTEGER NewFileSize);
NTKERNELAPI BOOLEAN NTAPI MmFlushImageSection(_In_ PSECTION_OBJECT_POINTERS SectionObjectPointer,
                                              _In_ MMFLUSH_TYPE FlushType);
NTKERNELAPI BOOLEAN NTAPI MmForceSectionClosed(_In_ PSECTION_OBJECT_POINTERS SectionObjectPointer,
                                               _In_ BOOLEAN DelayClose);
#define MM_FORCE_CLOSED_DATA     0x1
#define MM_FORCE_CLOSED_IMAGE    0x2
#define MM_FORCE_CLOSED_LATER_OK 0x4
NTKERNELAPI BOOLEAN NTAPI MmForceSectionClosedEx(_In_ PSECTION_OBJECT_POINTERS SectionObjectPointer,
                                                 _In_ ULONG ForceCloseFlags);
NTKERNELAPI ULONG NTAPI MmDoesFileHaveUserWritableReferences(_In_ PSECTION_OBJECT_POINTERS SectionPointer);
/* Whether the thread is inside of a page fault, whose I/O is what the caller serves. IRQL <= DISPATCH_LEVEL */
NTKERNELAPI BOOLEAN NTAPI MmIsRecursiveIoFault(VOID);

/* ---- verifier ---- */

#define DRIVER_VERIFIER_SPECIAL_POOLING            0x0001
#define DRIVER_VERIFIER_FORCE_IRQL_CHECKING        0x0002
#define DRIVER_VERIFIER_INJECT_ALLOCATION_FAILURES 0x0004
#define DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS     0x0008
#define DRIVER_VERIFIER_IO_CHECKING                0x0010

/* VerifierFlags: the options in force.   STATUS_NOT_IMPLEMENTED: the verifier is off. PASSIVE_LEVEL */
NTKERNELAPI NTSTATUS NTAPI MmIsVerifierEnabled(_Out_ PULONG VerifierFlags);
/* Whether the driver, or the code at an address, is being verified. IRQL <= DISPATCH_LEVEL. */
NTKERNELAPI LOGICAL NTAPI MmIsDriverVerifying(_In_ PDRIVER_OBJECT DriverObject);
NTKERNELAPI LOGICAL NTAPI MmIsDriverVerifyingByAddress(_In_ PVOID AddressWithinSection);
NTKERNELAPI LOGICAL NTAPI MmIsDriverSuspectForVerifier(_In_ PDRIVER_OBJECT DriverObject);

/* Marks a function as pageable; debug builds check that IRQL allows paging. */
#if defined(DBG) && DBG
#define PAGED_CODE()                                                                                         \
    do                                                                                                       \
    {                                                                                                        \
        if (KeGetCurrentIrql() > APC_LEVEL)                                                                  \
        {                                                                                                    \
            RtlAssert((PVOID) "PAGED_CODE at IRQL <= APC_LEVEL", (PVOID)__FILE__, __LINE__, NULL);           \
        }                                                                                                    \
    } while (0)
#else
#define PAGED_CODE() ((void)0)
#endif

EXTERN_C_END

#endif
