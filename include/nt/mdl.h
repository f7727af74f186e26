/* SPDX-License-Identifier: MIT */
/*
 * Memory descriptor lists: a buffer as its page frames. The array of PFN_NUMBERs follows the MDL.
 *
 * An MDL is built (IoAllocateMdl), its pages are made resident (MmProbeAndLockPages) or known to be
 * (MmBuildMdlForNonPagedPool), perhaps mapped a second time, unmapped, unlocked, freed; MdlFlags tells where
 * it is on that way. Misuse is a bug check. IRQL: <= DISPATCH_LEVEL, and <= APC_LEVEL where pageable memory
 * is concerned. Sources: Microsoft Learn, "Using MDLs", MDL, and the MmXxx and IoXxx pages named like the
 * functions.
 */
#ifndef NTMM_NT_MDL_H
#define NTMM_NT_MDL_H

#include "nt/io.h"
#include "nt/ntdef.h"
#include "nt/wdm_ke.h"

EXTERN_C_START

/* ---- the structure ---- */

typedef struct _MDL
{
    struct _MDL *Next;
    CSHORT Size; /* of the structure and the array, in bytes */
    CSHORT MdlFlags;
    USHORT AllocationProcessorNumber;
    USHORT Reserved;
    struct _EPROCESS *Process; /* whose pages are locked; NULL for system addresses */
    PVOID MappedSystemVa;      /* valid with MDL_MAPPED_TO_SYSTEM_VA or MDL_SOURCE_IS_NONPAGED_POOL */
    PVOID StartVa;             /* page-aligned */
    ULONG ByteCount;
    ULONG ByteOffset;
} MDL, *PMDL;
typedef MDL *PMDLX;

#define MDL_MAPPED_TO_SYSTEM_VA     0x0001
#define MDL_PAGES_LOCKED            0x0002
#define MDL_SOURCE_IS_NONPAGED_POOL 0x0004
#define MDL_ALLOCATED_FIXED_SIZE    0x0008
#define MDL_PARTIAL                 0x0010
#define MDL_PARTIAL_HAS_BEEN_MAPPED 0x0020
#define MDL_IO_PAGE_READ            0x0040
#define MDL_WRITE_OPERATION         0x0080
#define MDL_LOCKED_PAGE_TABLES      0x0100
#define MDL_PARENT_MAPPED_SYSTEM_VA MDL_LOCKED_PAGE_TABLES
#define MDL_FREE_EXTRA_PTES         0x0200
#define MDL_DESCRIBES_AWE           0x0400
#define MDL_IO_SPACE                0x0800
#define MDL_NETWORK_HEADER          0x1000
#define MDL_MAPPING_CAN_FAIL        0x2000
#define MDL_PAGE_CONTENTS_INVARIANT 0x4000
#define MDL_ALLOCATED_MUST_SUCCEED  MDL_PAGE_CONTENTS_INVARIANT
#define MDL_INTERNAL                0x8000

#define MDL_MAPPING_FLAGS                                                                                    \
    (MDL_MAPPED_TO_SYSTEM_VA | MDL_PAGES_LOCKED | MDL_SOURCE_IS_NONPAGED_POOL |                              \
     MDL_PARTIAL_HAS_BEEN_MAPPED | MDL_PARENT_MAPPED_SYSTEM_VA | MDL_IO_SPACE)

typedef enum _LOCK_OPERATION
{
    IoReadAccess,
    IoWriteAccess,
    IoModifyAccess
} LOCK_OPERATION;

typedef enum _MEMORY_CACHING_TYPE_ORIG
{
    MmFrameBufferCached = 2
} MEMORY_CACHING_TYPE_ORIG;

typedef enum _MEMORY_CACHING_TYPE
{
    MmNonCached = FALSE,
    MmCached = TRUE,
    MmWriteCombined = MmFrameBufferCached,
    MmHardwareCoherentCached,
    MmNonCachedUnordered,
    MmUSWCCached,
    MmMaximumCacheType,
    MmNotMapped = -1
} MEMORY_CACHING_TYPE;

/* How hard a mapping is tried; the flags may be added. */
typedef enum _MM_PAGE_PRIORITY
{
    LowPagePriority,
    NormalPagePriority = 16,
    HighPagePriority = 32
} MM_PAGE_PRIORITY;

#define MdlMappingNoWrite       0x80000000
#define MdlMappingNoExecute     0x40000000
#define MdlMappingWithGuardPtes 0x20000000

/* ---- reading and preparing an MDL: any IRQL ---- */

#define MmGetMdlByteCount(Mdl)      ((Mdl)->ByteCount)
#define MmGetMdlByteOffset(Mdl)     ((Mdl)->ByteOffset)
#define MmGetMdlBaseVa(Mdl)         ((Mdl)->StartVa)
#define MmGetMdlVirtualAddress(Mdl) ((PVOID)((ULONG_PTR)(Mdl)->StartVa + (Mdl)->ByteOffset))
#define MmGetMdlPfnArray(Mdl)       ((PPFN_NUMBER)((Mdl) + 1))

#define MmInitializeMdl(MemoryDescriptorList, BaseVa, Length)                                                \
    do                                                                                                       \
    {                                                                                                        \
        (MemoryDescriptorList)->Next = (PMDL)NULL;                                                           \
        (MemoryDescriptorList)->Size =                                                                       \
            (CSHORT)(sizeof(MDL) + sizeof(PFN_NUMBER) * ADDRESS_AND_SIZE_TO_SPAN_PAGES((BaseVa), (Length))); \
        (MemoryDescriptorList)->MdlFlags = 0;                                                                \
        (MemoryDescriptorList)->StartVa = PAGE_ALIGN(BaseVa);                                                \
        (MemoryDescriptorList)->ByteOffset = BYTE_OFFSET(BaseVa);                                            \
        (MemoryDescriptorList)->ByteCount = (ULONG)(Length);                                                 \
    } while (0)

/* Bytes that an MDL for this buffer needs. */
NTKERNELAPI SIZE_T NTAPI MmSizeOfMdl(_In_ PVOID Base, _In_ SIZE_T Length);

/* Obsolete: initializes an MDL, or allocates one. */
NTKERNELAPI PMDL NTAPI MmCreateMdl(_In_opt_ PMDL MemoryDescriptorList, _In_ PVOID Base, _In_ SIZE_T Length);

/* ---- allocating: IRQL <= DISPATCH_LEVEL ---- */

/* NULL: no memory. With an IRP the MDL becomes (or joins the chain of) the IRP's. */
NTKERNELAPI PMDL NTAPI IoAllocateMdl(_In_opt_ PVOID VirtualAddress, _In_ ULONG Length,
                                     _In_ BOOLEAN SecondaryBuffer, _In_ BOOLEAN ChargeQuota,
                                     _Inout_opt_ PIRP Irp);
/* Unmaps a partial MDL that was mapped; of others, the caller has unlocked and unmapped the pages. */
NTKERNELAPI VOID NTAPI IoFreeMdl(_In_ PMDL Mdl);
/* Length 0: from VirtualAddress to the end of the source. The target's pages are the source's. */
NTKERNELAPI VOID NTAPI IoBuildPartialMdl(_In_ PMDL SourceMdl, _Inout_ PMDL TargetMdl,
                                         _In_ PVOID VirtualAddress, _In_ ULONG Length);

/* ---- pages of the buffer ---- */

/* For buffers in nonpaged memory. IRQL <= DISPATCH_LEVEL. */
NTKERNELAPI VOID NTAPI MmBuildMdlForNonPagedPool(_Inout_ PMDLX MemoryDescriptorList);

/*
 * Bring the pages in and keep them. Raise STATUS_ACCESS_VIOLATION, STATUS_WORKING_SET_QUOTA,
 * STATUS_IN_PAGE_ERROR or STATUS_INSUFFICIENT_RESOURCES after undoing everything. IRQL <= APC_LEVEL for
 * pageable memory.
 */
NTKERNELAPI VOID NTAPI MmProbeAndLockPages(_Inout_ PMDLX MemoryDescriptorList,
                                           _In_ KPROCESSOR_MODE AccessMode, _In_ LOCK_OPERATION Operation);
NTKERNELAPI VOID NTAPI MmProbeAndLockProcessPages(_Inout_ PMDLX MemoryDescriptorList, _In_ PEPROCESS Process,
                                                  _In_ KPROCESSOR_MODE AccessMode,
                                                  _In_ LOCK_OPERATION Operation);
NTKERNELAPI VOID NTAPI MmProbeAndLockSelectedPages(_Inout_ PMDLX MemoryDescriptorList,
                                                   _In_ PFILE_SEGMENT_ELEMENT SegmentArray,
                                                   _In_ KPROCESSOR_MODE AccessMode,
                                                   _In_ LOCK_OPERATION Operation);
/* Also takes a system mapping away. IRQL <= DISPATCH_LEVEL. */
NTKERNELAPI VOID NTAPI MmUnlockPages(_Inout_ PMDLX MemoryDescriptorList);

/* ---- mapping ---- */

/*
 * KernelMode: a system address, NULL when there are no system PTEs (BugCheckOnFailure FALSE); IRQL <=
 * DISPATCH_LEVEL. UserMode: an address of the current process; raises on failure; IRQL <= APC_LEVEL.
 * Priority: MM_PAGE_PRIORITY with MdlMappingNoWrite, MdlMappingNoExecute, and for KernelMode MdlMappingWithGuardPtes: a page without access on either side
 * until it is unmapped (MDL_FREE_EXTRA_PTES).
 */
NTKERNELAPI PVOID NTAPI MmMapLockedPagesSpecifyCache(_Inout_ PMDLX MemoryDescriptorList,
                                                     _In_ KPROCESSOR_MODE AccessMode,
                                                     _In_ MEMORY_CACHING_TYPE CacheType,
                                                     _In_opt_ PVOID RequestedAddress,
                                                     _In_ ULONG BugCheckOnFailure, _In_ ULONG Priority);
/* Obsolete: the same, cached, with a bug check on failure. */
NTKERNELAPI PVOID NTAPI MmMapLockedPages(_Inout_ PMDL MemoryDescriptorList, _In_ KPROCESSOR_MODE AccessMode);
NTKERNELAPI VOID NTAPI MmUnmapLockedPages(_In_ PVOID BaseAddress, _Inout_ PMDLX MemoryDescriptorList);

/* NULL: no system PTEs. IRQL <= DISPATCH_LEVEL. */
FORCEINLINE PVOID MmGetSystemAddressForMdlSafe(PMDL Mdl, ULONG Priority)
{
    if ((Mdl->MdlFlags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL)) != 0)
    {
        return Mdl->MappedSystemVa;
    }
    return MmMapLockedPagesSpecifyCache(Mdl, KernelMode, MmCached, NULL, FALSE, Priority);
}

/* Obsolete: bug check on failure. */
FORCEINLINE PVOID MmGetSystemAddressForMdl(PMDL Mdl)
{
    if ((Mdl->MdlFlags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL)) != 0)
    {
        return Mdl->MappedSystemVa;
    }
    return MmMapLockedPages(Mdl, KernelMode);
}

/*
 * Maps the pages while DriverRoutine runs, unless they are mapped already: then it gets that address, whatever Protection says. Protection: PAGE_*, with
 * PAGE_NOCACHE or PAGE_WRITECOMBINE, or without for the pages' own caching type. The MDL stays as it is. What the routine raises is passed on.
 *   STATUS_SUCCESS: the routine was called. STATUS_INVALID_PAGE_PROTECTION, STATUS_CONFLICTING_ADDRESSES (caching type),
 *   STATUS_INVALID_PARAMETER_1 (no pages), STATUS_INSUFFICIENT_RESOURCES (system PTEs). IRQL <= DISPATCH_LEVEL
 */
typedef VOID MM_MDL_ROUTINE(_In_opt_ PVOID DriverContext, _In_ PVOID MappedVa);
typedef MM_MDL_ROUTINE *PMM_MDL_ROUTINE;
NTKERNELAPI NTSTATUS NTAPI MmMapMdl(_In_ PMDL MemoryDescriptorList, _In_ ULONG Protection,
                                    _In_ PMM_MDL_ROUTINE DriverRoutine, _In_opt_ PVOID DriverContext);

/* Before a partial MDL describes another part of its source. */
FORCEINLINE VOID MmPrepareMdlForReuse(PMDL Mdl)
{
    if ((Mdl->MdlFlags & MDL_PARTIAL_HAS_BEEN_MAPPED) != 0)
    {
        MmUnmapLockedPages(Mdl->MappedSystemVa, Mdl);
    }
}

/*
 * PAGE_* protection of the system mapping.   STATUS_INVALID_PAGE_PROTECTION, STATUS_NOT_MAPPED_VIEW. IRQL <=
 * DISPATCH_LEVEL
 */
NTKERNELAPI NTSTATUS NTAPI MmProtectMdlSystemAddress(_In_ PMDLX MemoryDescriptorList, _In_ ULONG NewProtect);

/*
 * Takes bytes off the front; pages that drop out are unlocked.   STATUS_INVALID_PARAMETER_2. IRQL <=
 * DISPATCH_LEVEL
 */
NTKERNELAPI NTSTATUS NTAPI MmAdvanceMdl(_Inout_ PMDL Mdl, _In_ ULONG NumberOfBytes);

/*
 * System addresses reserved for later mapping. Allocate and free at PASSIVE_LEVEL (APC), map at <=
 * DISPATCH_LEVEL.
 */
#define MM_MAPPING_ADDRESS_DIVISIBLE 0x1
NTKERNELAPI PVOID NTAPI MmAllocateMappingAddress(_In_ SIZE_T NumberOfBytes, _In_ ULONG PoolTag);
NTKERNELAPI PVOID NTAPI MmAllocateMappingAddressEx(_In_ SIZE_T NumberOfBytes, _In_ ULONG PoolTag,
                                                   _In_ ULONG Flags);
NTKERNELAPI VOID NTAPI MmFreeMappingAddress(_In_ PVOID BaseAddress, _In_ ULONG PoolTag);
NTKERNELAPI PVOID NTAPI MmMapLockedPagesWithReservedMapping(_In_ PVOID MappingAddress, _In_ ULONG PoolTag,
                                                            _Inout_ PMDLX MemoryDescriptorList,
                                                            _In_ MEMORY_CACHING_TYPE CacheType);
NTKERNELAPI VOID NTAPI MmUnmapReservedMapping(_In_ PVOID BaseAddress, _In_ ULONG PoolTag,
                                              _Inout_ PMDLX MemoryDescriptorList);

/* ---- pages without an address ---- */

#define MM_DONT_ZERO_ALLOCATION               0x00000001
#define MM_ALLOCATE_FROM_LOCAL_NODE_ONLY      0x00000002
#define MM_ALLOCATE_FULLY_REQUIRED            0x00000004
#define MM_ALLOCATE_NO_WAIT                   0x00000008
#define MM_ALLOCATE_PREFER_CONTIGUOUS         0x00000010
#define MM_ALLOCATE_REQUIRE_CONTIGUOUS_CHUNKS 0x00000020
#define MM_ALLOCATE_FAST_LARGE_PAGES          0x00000040
#define MM_ALLOCATE_TRIM_IF_NECESSARY         0x00000080
#define MM_ALLOCATE_AND_HOT_REMOVE            0x00000100

/*
 * Locked, zeroed pages from [LowAddress, HighAddress], then from ranges SkipBytes further up. May return
 * fewer bytes than asked (see ByteCount); NULL: none. Free with MmFreePagesFromMdl, then ExFreePool. IRQL <=
 * APC_LEVEL preferred, <= DISPATCH_LEVEL allowed.
 */
NTKERNELAPI PMDL NTAPI MmAllocatePagesForMdl(_In_ PHYSICAL_ADDRESS LowAddress,
                                             _In_ PHYSICAL_ADDRESS HighAddress,
                                             _In_ PHYSICAL_ADDRESS SkipBytes, _In_ SIZE_T TotalBytes);
NTKERNELAPI PMDL NTAPI MmAllocatePagesForMdlEx(_In_ PHYSICAL_ADDRESS LowAddress,
                                               _In_ PHYSICAL_ADDRESS HighAddress,
                                               _In_ PHYSICAL_ADDRESS SkipBytes, _In_ SIZE_T TotalBytes,
                                               _In_ MEMORY_CACHING_TYPE CacheType, _In_ ULONG Flags);
NTKERNELAPI PMDL NTAPI MmAllocateNodePagesForMdlEx(_In_ PHYSICAL_ADDRESS LowAddress,
                                                   _In_ PHYSICAL_ADDRESS HighAddress,
                                                   _In_ PHYSICAL_ADDRESS SkipBytes, _In_ SIZE_T TotalBytes,
                                                   _In_ MEMORY_CACHING_TYPE CacheType, _In_ ULONG IdealNode,
                                                   _In_ ULONG Flags);
NTKERNELAPI VOID NTAPI MmFreePagesFromMdl(_Inout_ PMDLX MemoryDescriptorList);

/* ---- device memory without an address ---- */

typedef struct _MM_PHYSICAL_ADDRESS_LIST
{
    PHYSICAL_ADDRESS PhysicalAddress;
    SIZE_T NumberOfBytes;
} MM_PHYSICAL_ADDRESS_LIST, *PMM_PHYSICAL_ADDRESS_LIST;

/*
 * An MDL for ranges of device memory, one after the other: whole pages, no RAM, less than 4 GiB together. It can be mapped by MmMapLockedPagesSpecifyCache;
 * unmap, then IoFreeMdl.
 *   STATUS_INVALID_PARAMETER_1 (a range), STATUS_INVALID_PARAMETER_2 (no ranges), STATUS_INSUFFICIENT_RESOURCES. IRQL <= DISPATCH_LEVEL
 */
NTKERNELAPI NTSTATUS NTAPI MmAllocateMdlForIoSpace(_In_reads_(NumberOfEntries)
                                                       PMM_PHYSICAL_ADDRESS_LIST PhysicalAddressList,
                                                   _In_ SIZE_T NumberOfEntries, _Outptr_ PMDL *NewMdl);

/*
 * Reads the pages that the lists name and that are not in memory, and waits until they are; nothing is mapped. The section of each file (IsImage: image
 * section) exists already. An entry is the offset of a page in the file, of images in the image; its low twelve bits are ignored, pages
 * behind the end are left out.
 *   STATUS_INVALID_PARAMETER_1 (no lists; no such section), STATUS_INSUFFICIENT_RESOURCES, statuses of reads. PASSIVE_LEVEL.
 */
NTKERNELAPI NTSTATUS NTAPI MmPrefetchPages(_In_ ULONG NumberOfLists,
                                           _In_reads_(NumberOfLists) PREAD_LIST *ReadLists);

EXTERN_C_END

#endif
