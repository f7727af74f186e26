/* SPDX-License-Identifier: MIT */
/*
 * Memory constants and structures that user mode and kernel mode share: protections, allocation types,
 * extended parameters, the information classes of NtQueryVirtualMemory and NtSetInformationVirtualMemory,
 * sections.
 *
 * What concerns whole processes (quota limits, VM counters) is in nt/psinfo.h, what concerns the whole
 * machine (SYSTEM_*_INFORMATION) in nt/sysinfo.h, exceptions in nt/exception.h; this header brings them all.
 *
 * Sources: Microsoft Learn ("Memory Protection Constants", VirtualAlloc2, MEMORY_BASIC_INFORMATION,
 * MEM_EXTENDED_PARAMETER, ZwQueryVirtualMemory, ZwSetInformationVirtualMemory, ZwCreateSection and the pages
 * of the structures); for the information classes that have no page there, the public symbols of ntoskrnl.
 */
#ifndef NTMM_NT_MMTYPES_H
#define NTMM_NT_MMTYPES_H

#include "nt/exception.h"
#include "nt/ntdef.h"
#include "nt/psinfo.h"
#include "nt/sysinfo.h"

EXTERN_C_START

/* ---- page protection ---- */

#define PAGE_NOACCESS          0x00000001
#define PAGE_READONLY          0x00000002
#define PAGE_READWRITE         0x00000004
#define PAGE_WRITECOPY         0x00000008
#define PAGE_EXECUTE           0x00000010
#define PAGE_EXECUTE_READ      0x00000020
#define PAGE_EXECUTE_READWRITE 0x00000040
#define PAGE_EXECUTE_WRITECOPY 0x00000080
/* Modifiers. */
#define PAGE_GUARD        0x00000100
#define PAGE_NOCACHE      0x00000200
#define PAGE_WRITECOMBINE 0x00000400
/* Control Flow Guard: at allocation TARGETS_INVALID, at a change of protection TARGETS_NO_UPDATE. */
#define PAGE_TARGETS_INVALID    0x40000000
#define PAGE_TARGETS_NO_UPDATE  0x40000000
#define PAGE_REVERT_TO_FILE_MAP 0x80000000
/* Enclaves: accepted as names only. */
#define PAGE_ENCLAVE_THREAD_CONTROL 0x80000000
#define PAGE_ENCLAVE_UNVALIDATED    0x20000000
#define PAGE_ENCLAVE_MASK           0x10000000
#define PAGE_ENCLAVE_DECOMMIT       (PAGE_ENCLAVE_MASK | 0)
#define PAGE_ENCLAVE_SS_FIRST       (PAGE_ENCLAVE_MASK | 1)
#define PAGE_ENCLAVE_SS_REST        (PAGE_ENCLAVE_MASK | 2)

/* ---- allocation, free and state ---- */

#define MEM_COMMIT                  0x00001000
#define MEM_RESERVE                 0x00002000
#define MEM_REPLACE_PLACEHOLDER     0x00004000
#define MEM_RESERVE_PLACEHOLDER     0x00040000
#define MEM_RESET                   0x00080000
#define MEM_TOP_DOWN                0x00100000
#define MEM_WRITE_WATCH             0x00200000
#define MEM_PHYSICAL                0x00400000
#define MEM_ROTATE                  0x00800000
#define MEM_DIFFERENT_IMAGE_BASE_OK 0x00800000
#define MEM_RESET_UNDO              0x01000000
#define MEM_LARGE_PAGES             0x20000000
#define MEM_4MB_PAGES               0x80000000
#define MEM_64K_PAGES               (MEM_LARGE_PAGES | MEM_PHYSICAL)

#define MEM_COALESCE_PLACEHOLDERS      0x00000001
#define MEM_UNMAP_WITH_TRANSIENT_BOOST 0x00000001
#define MEM_PRESERVE_PLACEHOLDER       0x00000002
#define MEM_DECOMMIT                   0x00004000
#define MEM_RELEASE                    0x00008000

/* State and Type of MEMORY_BASIC_INFORMATION, beside MEM_COMMIT and MEM_RESERVE. */
#define MEM_FREE    0x00010000
#define MEM_PRIVATE 0x00020000
#define MEM_MAPPED  0x00040000
#define MEM_IMAGE   0x01000000

#define WRITE_WATCH_FLAG_RESET 0x00000001

/* MapType of NtLockVirtualMemory and NtUnlockVirtualMemory: in the working set, in physical memory. */
#define MAP_PROCESS 1
#define MAP_SYSTEM  2

/* The priorities that a process or thread gives to its pages; the higher, the later they are reused. */
#define MEMORY_PRIORITY_LOWEST       0
#define MEMORY_PRIORITY_VERY_LOW     1
#define MEMORY_PRIORITY_LOW          2
#define MEMORY_PRIORITY_MEDIUM       3
#define MEMORY_PRIORITY_BELOW_NORMAL 4
#define MEMORY_PRIORITY_NORMAL       5

typedef struct _MEMORY_PRIORITY_INFORMATION
{
    ULONG MemoryPriority;
} MEMORY_PRIORITY_INFORMATION, *PMEMORY_PRIORITY_INFORMATION;

typedef enum OFFER_PRIORITY
{
    VmOfferPriorityVeryLow = 1,
    VmOfferPriorityLow,
    VmOfferPriorityBelowNormal,
    VmOfferPriorityNormal
} OFFER_PRIORITY;

/* ---- extended parameters ---- */

typedef struct _MEM_ADDRESS_REQUIREMENTS
{
    PVOID LowestStartingAddress;
    PVOID HighestEndingAddress;
    SIZE_T Alignment;
} MEM_ADDRESS_REQUIREMENTS, *PMEM_ADDRESS_REQUIREMENTS;

#define MEM_EXTENDED_PARAMETER_GRAPHICS            0x00000001
#define MEM_EXTENDED_PARAMETER_NONPAGED            0x00000002
#define MEM_EXTENDED_PARAMETER_ZERO_PAGES_OPTIONAL 0x00000004
#define MEM_EXTENDED_PARAMETER_NONPAGED_LARGE      0x00000008
#define MEM_EXTENDED_PARAMETER_NONPAGED_HUGE       0x00000010
#define MEM_EXTENDED_PARAMETER_SOFT_FAULT_PAGES    0x00000020
#define MEM_EXTENDED_PARAMETER_EC_CODE             0x00000040
#define MEM_EXTENDED_PARAMETER_IMAGE_NO_HPAT       0x00000080

#define MEM_EXTENDED_PARAMETER_NUMA_NODE_MANDATORY MINLONG64
#define MEM_EXTENDED_PARAMETER_TYPE_BITS           8

typedef enum MEM_EXTENDED_PARAMETER_TYPE
{
    MemExtendedParameterInvalidType = 0,
    MemExtendedParameterAddressRequirements,
    MemExtendedParameterNumaNode,
    MemExtendedParameterPartitionHandle,
    MemExtendedParameterUserPhysicalHandle,
    MemExtendedParameterAttributeFlags,
    MemExtendedParameterImageMachine,
    MemExtendedParameterMax
} MEM_EXTENDED_PARAMETER_TYPE,
    *PMEM_EXTENDED_PARAMETER_TYPE;

typedef struct DECLSPEC_ALIGN(8) MEM_EXTENDED_PARAMETER
{
    _ANONYMOUS_STRUCT struct
    {
        __extension__ ULONG64 Type : MEM_EXTENDED_PARAMETER_TYPE_BITS;
        __extension__ ULONG64 Reserved : 64 - MEM_EXTENDED_PARAMETER_TYPE_BITS;
    } DUMMYSTRUCTNAME;
    _ANONYMOUS_UNION union
    {
        ULONG64 ULong64;
        PVOID Pointer;
        SIZE_T Size;
        HANDLE Handle;
        ULONG ULong;
    } DUMMYUNIONNAME;
} MEM_EXTENDED_PARAMETER, *PMEM_EXTENDED_PARAMETER;

typedef enum MEM_SECTION_EXTENDED_PARAMETER_TYPE
{
    MemSectionExtendedParameterInvalidType = 0,
    MemSectionExtendedParameterUserPhysicalFlags,
    MemSectionExtendedParameterNumaNode,
    MemSectionExtendedParameterSigningLevel,
    MemSectionExtendedParameterMax
} MEM_SECTION_EXTENDED_PARAMETER_TYPE,
    *PMEM_SECTION_EXTENDED_PARAMETER_TYPE;

#define MEMORY_CURRENT_PARTITION_HANDLE      ((HANDLE)(LONG_PTR)-1)
#define MEMORY_SYSTEM_PARTITION_HANDLE       ((HANDLE)(LONG_PTR)-2)
#define MEMORY_EXISTING_VAD_PARTITION_HANDLE ((HANDLE)(LONG_PTR)-3)
#define MEMORY_PARTITION_QUERY_ACCESS        0x0001
#define MEMORY_PARTITION_MODIFY_ACCESS       0x0002
#define MEMORY_PARTITION_ALL_ACCESS                                                                          \
    (STANDARD_RIGHTS_REQUIRED | SYNCHRONIZE | MEMORY_PARTITION_QUERY_ACCESS | MEMORY_PARTITION_MODIFY_ACCESS)

/* ---- NtQueryVirtualMemory ---- */

typedef enum _MEMORY_INFORMATION_CLASS
{
    MemoryBasicInformation,           /* MEMORY_BASIC_INFORMATION */
    MemoryWorkingSetInformation,      /* MEMORY_WORKING_SET_INFORMATION */
    MemoryMappedFilenameInformation,  /* UNICODE_STRING with its buffer behind it */
    MemoryRegionInformation,          /* MEMORY_REGION_INFORMATION */
    MemoryWorkingSetExInformation,    /* MEMORY_WORKING_SET_EX_INFORMATION[], with addresses */
    MemorySharedCommitInformation,    /* MEMORY_SHARED_COMMIT_INFORMATION */
    MemoryImageInformation,           /* MEMORY_IMAGE_INFORMATION */
    MemoryRegionInformationEx,        /* MEMORY_REGION_INFORMATION */
    MemoryPrivilegedBasicInformation, /* MEMORY_BASIC_INFORMATION */
    MemoryEnclaveImageInformation,
    MemoryBasicInformationCapped,
    MemoryPhysicalContiguityInformation, /* MEMORY_PHYSICAL_CONTIGUITY_INFORMATION */
    MemoryBadInformation,
    MemoryBadInformationAllProcesses,
    MemoryImageExtensionInformation,
    MaxMemoryInfoClass
} MEMORY_INFORMATION_CLASS;

typedef struct _MEMORY_BASIC_INFORMATION
{
    PVOID BaseAddress;       /* of the page asked for, rounded down */
    PVOID AllocationBase;    /* of the reservation; NULL when free */
    ULONG AllocationProtect; /* at reservation; 0 when free */
    USHORT PartitionId;
    SIZE_T RegionSize; /* bytes from BaseAddress with the same attributes */
    ULONG State;       /* MEM_COMMIT, MEM_RESERVE, MEM_FREE */
    ULONG Protect;     /* 0 when reserved, PAGE_NOACCESS when free */
    ULONG Type;        /* MEM_PRIVATE, MEM_MAPPED, MEM_IMAGE; 0 when free */
} MEMORY_BASIC_INFORMATION, *PMEMORY_BASIC_INFORMATION;

/* Protection of the two working-set blocks below, in the encoding of the pages "PSAPI_WORKING_SET_BLOCK". */
typedef struct _MEMORY_WORKING_SET_BLOCK
{
    __extension__ ULONG_PTR Protection : 5;
    __extension__ ULONG_PTR ShareCount : 3; /* 7 means seven or more */
    __extension__ ULONG_PTR Shared : 1;
    __extension__ ULONG_PTR Node : 3;
    __extension__ ULONG_PTR VirtualPage : 52;
} MEMORY_WORKING_SET_BLOCK, *PMEMORY_WORKING_SET_BLOCK;

typedef struct _MEMORY_WORKING_SET_INFORMATION
{
    ULONG_PTR NumberOfEntries;
    MEMORY_WORKING_SET_BLOCK WorkingSetInfo[ANYSIZE_ARRAY];
} MEMORY_WORKING_SET_INFORMATION, *PMEMORY_WORKING_SET_INFORMATION;

typedef enum _MEMORY_WORKING_SET_EX_LOCATION
{
    MemoryLocationInvalid,
    MemoryLocationResident,
    MemoryLocationPagefile,
    MemoryLocationReserved
} MEMORY_WORKING_SET_EX_LOCATION;

typedef union _MEMORY_WORKING_SET_EX_BLOCK
{
    ULONG_PTR Flags;
    _ANONYMOUS_STRUCT struct
    {
        __extension__ ULONG_PTR Valid : 1;
        __extension__ ULONG_PTR ShareCount : 3;
        __extension__ ULONG_PTR Win32Protection : 11; /* PAGE_* */
        __extension__ ULONG_PTR Shared : 1;
        __extension__ ULONG_PTR Node : 6;
        __extension__ ULONG_PTR Locked : 1;
        __extension__ ULONG_PTR LargePage : 1;
        __extension__ ULONG_PTR Priority : 3;
        __extension__ ULONG_PTR Reserved : 3;
        __extension__ ULONG_PTR SharedOriginal : 1;
        __extension__ ULONG_PTR Bad : 1;
        __extension__ ULONG_PTR Win32GraphicsProtection : 4;
        __extension__ ULONG_PTR ReservedUlong : 28;
    } DUMMYSTRUCTNAME;
    struct
    {
        __extension__ ULONG_PTR Valid : 1;
        __extension__ ULONG_PTR Reserved0 : 14;
        __extension__ ULONG_PTR Shared : 1;
        __extension__ ULONG_PTR Reserved1 : 5;
        __extension__ ULONG_PTR PageTable : 1;
        __extension__ ULONG_PTR Location : 2; /* MEMORY_WORKING_SET_EX_LOCATION */
        __extension__ ULONG_PTR Priority : 3;
        __extension__ ULONG_PTR ModifiedList : 1;
        __extension__ ULONG_PTR Reserved2 : 2;
        __extension__ ULONG_PTR SharedOriginal : 1;
        __extension__ ULONG_PTR Bad : 1;
        __extension__ ULONG_PTR ReservedUlong : 32;
    } Invalid;
} MEMORY_WORKING_SET_EX_BLOCK, *PMEMORY_WORKING_SET_EX_BLOCK;

typedef struct _MEMORY_WORKING_SET_EX_INFORMATION
{
    PVOID VirtualAddress;
    _ANONYMOUS_UNION union
    {
        MEMORY_WORKING_SET_EX_BLOCK VirtualAttributes;
        ULONG_PTR Long;
    } u1;
} MEMORY_WORKING_SET_EX_INFORMATION, *PMEMORY_WORKING_SET_EX_INFORMATION;

typedef struct _MEMORY_REGION_INFORMATION
{
    PVOID AllocationBase;
    ULONG AllocationProtect;
    _ANONYMOUS_UNION union
    {
        ULONG RegionType;
        _ANONYMOUS_STRUCT struct
        {
            ULONG Private : 1;
            ULONG MappedDataFile : 1;
            ULONG MappedImage : 1;
            ULONG MappedPageFile : 1;
            ULONG MappedPhysical : 1;
            ULONG DirectMapped : 1;
            ULONG SoftwareEnclave : 1;
            ULONG PageSize64K : 1;
            ULONG PlaceholderReservation : 1;
            ULONG MappedAwe : 1;
            ULONG MappedWriteWatch : 1;
            ULONG PageSizeLarge : 1;
            ULONG PageSizeHuge : 1;
            ULONG Reserved : 19;
        } DUMMYSTRUCTNAME;
    } DUMMYUNIONNAME;
    SIZE_T RegionSize; /* bytes reserved */
    SIZE_T CommitSize; /* bytes charged */
    ULONG_PTR PartitionId;
    ULONG_PTR NodePreference;
} MEMORY_REGION_INFORMATION, *PMEMORY_REGION_INFORMATION;

/* The same under its user-mode name; QueryVirtualMemoryInformation fills it. */
typedef enum WIN32_MEMORY_INFORMATION_CLASS
{
    MemoryRegionInfo
} WIN32_MEMORY_INFORMATION_CLASS;

typedef struct WIN32_MEMORY_REGION_INFORMATION
{
    PVOID AllocationBase;
    ULONG AllocationProtect;
    _ANONYMOUS_UNION union
    {
        ULONG Flags;
        _ANONYMOUS_STRUCT struct
        {
            ULONG Private : 1;
            ULONG MappedDataFile : 1;
            ULONG MappedImage : 1;
            ULONG MappedPageFile : 1;
            ULONG MappedPhysical : 1;
            ULONG DirectMapped : 1;
            ULONG Reserved : 26;
        } DUMMYSTRUCTNAME;
    } DUMMYUNIONNAME;
    SIZE_T RegionSize;
    SIZE_T CommitSize;
} WIN32_MEMORY_REGION_INFORMATION, *PWIN32_MEMORY_REGION_INFORMATION;

typedef struct _MEMORY_SHARED_COMMIT_INFORMATION
{
    SIZE_T CommitSize;
} MEMORY_SHARED_COMMIT_INFORMATION, *PMEMORY_SHARED_COMMIT_INFORMATION;

typedef struct _MEMORY_IMAGE_INFORMATION
{
    PVOID ImageBase;
    SIZE_T SizeOfImage;
    _ANONYMOUS_UNION union
    {
        ULONG ImageFlags;
        _ANONYMOUS_STRUCT struct
        {
            ULONG ImagePartialMap : 1;
            ULONG ImageNotExecutable : 1;
            ULONG ImageSigningLevel : 4;
            ULONG ImageExtensionPresent : 1;
            ULONG Reserved : 25;
        } DUMMYSTRUCTNAME;
    } DUMMYUNIONNAME;
} MEMORY_IMAGE_INFORMATION, *PMEMORY_IMAGE_INFORMATION;

/* ---- NtSetInformationVirtualMemory ---- */

typedef enum _VIRTUAL_MEMORY_INFORMATION_CLASS
{
    VmPrefetchInformation,     /* ULONG flags, 0 */
    VmPagePriorityInformation, /* ULONG MEMORY_PRIORITY_* */
    VmCfgCallTargetInformation,
    VmPageDirtyStateInformation, /* ULONG flags, 0 */
    VmImageHotPatchInformation,
    VmPhysicalContiguityInformation,
    VmVirtualMachinePrepopulateInformation,
    VmRemoveFromWorkingSetInformation,
    MaxVmInfoClass
} VIRTUAL_MEMORY_INFORMATION_CLASS,
    *PVIRTUAL_MEMORY_INFORMATION_CLASS;

typedef struct _MEMORY_RANGE_ENTRY
{
    PVOID VirtualAddress;
    SIZE_T NumberOfBytes;
} MEMORY_RANGE_ENTRY, *PMEMORY_RANGE_ENTRY;

/* ---- sections ---- */

#define SEC_HUGE_PAGES             0x00020000
#define SEC_PARTITION_OWNER_HANDLE 0x00040000
#define SEC_64K_PAGES              0x00080000
#define SEC_BASED                  0x00200000
#define SEC_NO_CHANGE              0x00400000
#define SEC_FILE                   0x00800000
#define SEC_IMAGE                  0x01000000
#define SEC_PROTECTED_IMAGE        0x02000000
#define SEC_RESERVE                0x04000000
#define SEC_COMMIT                 0x08000000
#define SEC_NOCACHE                0x10000000
#define SEC_GLOBAL                 0x20000000
#define SEC_WRITECOMBINE           0x40000000
#define SEC_LARGE_PAGES            0x80000000
#define SEC_IMAGE_NO_EXECUTE       (SEC_IMAGE | SEC_NOCACHE)

#define SECTION_QUERY                0x0001
#define SECTION_MAP_WRITE            0x0002
#define SECTION_MAP_READ             0x0004
#define SECTION_MAP_EXECUTE          0x0008
#define SECTION_EXTEND_SIZE          0x0010
#define SECTION_MAP_EXECUTE_EXPLICIT 0x0020
#define SECTION_ALL_ACCESS                                                                                   \
    (STANDARD_RIGHTS_REQUIRED | SECTION_QUERY | SECTION_MAP_WRITE | SECTION_MAP_READ | SECTION_MAP_EXECUTE | \
     SECTION_EXTEND_SIZE)

#define SESSION_QUERY_ACCESS  0x0001
#define SESSION_MODIFY_ACCESS 0x0002

/* Whether a view is passed on to child processes. */
typedef enum _SECTION_INHERIT
{
    ViewShare = 1,
    ViewUnmap = 2
} SECTION_INHERIT;

typedef enum _SECTION_INFORMATION_CLASS
{
    SectionBasicInformation,
    SectionImageInformation,
    SectionRelocationInformation,
    SectionOriginalBaseInformation,
    SectionInternalImageInformation,
    MaxSectionInfoClass
} SECTION_INFORMATION_CLASS;

typedef struct _SECTION_BASIC_INFORMATION
{
    PVOID BaseAddress; /* of a SEC_BASED section, else NULL */
    ULONG AllocationAttributes;
    LARGE_INTEGER MaximumSize;
} SECTION_BASIC_INFORMATION, *PSECTION_BASIC_INFORMATION;

typedef struct _SECTION_IMAGE_INFORMATION
{
    PVOID TransferAddress;
    ULONG ZeroBits;
    SIZE_T MaximumStackSize;
    SIZE_T CommittedStackSize;
    ULONG SubSystemType;
    _ANONYMOUS_UNION union
    {
        _ANONYMOUS_STRUCT struct
        {
            USHORT SubSystemMinorVersion;
            USHORT SubSystemMajorVersion;
        } DUMMYSTRUCTNAME;
        ULONG SubSystemVersion;
    } DUMMYUNIONNAME;
    _ANONYMOUS_UNION union
    {
        _ANONYMOUS_STRUCT struct
        {
            USHORT MajorOperatingSystemVersion;
            USHORT MinorOperatingSystemVersion;
        } DUMMYSTRUCTNAME2;
        ULONG OperatingSystemVersion;
    } DUMMYUNIONNAME2;
    USHORT ImageCharacteristics;
    USHORT DllCharacteristics;
    USHORT Machine;
    BOOLEAN ImageContainsCode;
    _ANONYMOUS_UNION union
    {
        UCHAR ImageFlags;
        _ANONYMOUS_STRUCT struct
        {
            __extension__ UCHAR ComPlusNativeReady : 1;
            __extension__ UCHAR ComPlusILOnly : 1;
            __extension__ UCHAR ImageDynamicallyRelocated : 1;
            __extension__ UCHAR ImageMappedFlat : 1;
            __extension__ UCHAR BaseBelow4gb : 1;
            __extension__ UCHAR ComPlusPrefer32bit : 1;
            __extension__ UCHAR Reserved : 2;
        } DUMMYSTRUCTNAME3;
    } DUMMYUNIONNAME3;
    ULONG LoaderFlags;
    ULONG ImageFileSize;
    ULONG CheckSum;
} SECTION_IMAGE_INFORMATION, *PSECTION_IMAGE_INFORMATION;

EXTERN_C_END

#endif
