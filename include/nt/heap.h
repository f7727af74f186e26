/* SPDX-License-Identifier: MIT */
/*
 * The NT heap: RtlCreateHeap and its family, their flags and structures.
 *
 * Names, values and signatures are those of Microsoft Learn (ntifs.h, "RtlCreateHeap" and the pages it links to; winnt.h for
 * the information classes) and of the public symbols where a function of ntdll has no page. Implemented by src/heap,
 * theory in docs/heap.md.
 */
#ifndef NTMM_NT_HEAP_H
#define NTMM_NT_HEAP_H

#include "nt/ntdef.h"

EXTERN_C_START

/* ---- flags ---- */

#define HEAP_NO_SERIALIZE             0x00000001
#define HEAP_GROWABLE                 0x00000002
#define HEAP_GENERATE_EXCEPTIONS      0x00000004
#define HEAP_ZERO_MEMORY              0x00000008
#define HEAP_REALLOC_IN_PLACE_ONLY    0x00000010
#define HEAP_TAIL_CHECKING_ENABLED    0x00000020
#define HEAP_FREE_CHECKING_ENABLED    0x00000040
#define HEAP_DISABLE_COALESCE_ON_FREE 0x00000080
#define HEAP_SETTABLE_USER_VALUE      0x00000100
#define HEAP_SETTABLE_USER_FLAG1      0x00000200
#define HEAP_SETTABLE_USER_FLAG2      0x00000400
#define HEAP_SETTABLE_USER_FLAG3      0x00000800
#define HEAP_SETTABLE_USER_FLAGS      0x00000E00
#define HEAP_CLASS_0                  0x00000000 /* process heap */
#define HEAP_CLASS_1                  0x00001000 /* private heap */
#define HEAP_CLASS_2                  0x00002000 /* kernel heap; these classes are kept and shown, no more */
#define HEAP_CLASS_3                  0x00003000 /* GDI heap */
#define HEAP_CLASS_4                  0x00004000 /* user heap */
#define HEAP_CLASS_5                  0x00005000 /* console heap */
#define HEAP_CLASS_6                  0x00006000 /* user desktop heap */
#define HEAP_CLASS_7                  0x00007000 /* CSR shared heap */
#define HEAP_CLASS_8                  0x00008000 /* CSR port heap */
#define HEAP_CLASS_MASK               0x0000F000
#define HEAP_CREATE_ALIGN_16          0x00010000
#define HEAP_CREATE_ENABLE_TRACING    0x00020000
#define HEAP_CREATE_ENABLE_EXECUTE    0x00040000
#define HEAP_MAXIMUM_TAG              0x0FFF
#define HEAP_PSEUDO_TAG_FLAG                                                                                 \
    0x8000 /* in a tag's index: by size. There are none: RtlQueryTagHeap finds nothing */
#define HEAP_TAG_SHIFT 18
#define HEAP_TAG_MASK  (HEAP_MAXIMUM_TAG << HEAP_TAG_SHIFT)

typedef NTSTATUS(NTAPI *PRTL_HEAP_COMMIT_ROUTINE)(_In_ PVOID Base, _Inout_ PVOID *CommitAddress,
                                                  _Inout_ PSIZE_T CommitSize);

typedef struct _RTL_HEAP_PARAMETERS
{
    ULONG Length;
    SIZE_T SegmentReserve;
    SIZE_T SegmentCommit;
    SIZE_T DeCommitFreeBlockThreshold;
    SIZE_T DeCommitTotalFreeThreshold;
    SIZE_T MaximumAllocationSize;
    SIZE_T VirtualMemoryThreshold;
    SIZE_T InitialCommit;
    SIZE_T InitialReserve;
    PRTL_HEAP_COMMIT_ROUTINE CommitRoutine;
    SIZE_T Reserved[2];
} RTL_HEAP_PARAMETERS, *PRTL_HEAP_PARAMETERS;

/* ---- heaps and blocks ---- */

/*
 * NULL: no memory (CommitSize is committed at once where commitment is charged), or parameters that do not go together. HeapBase: the caller's memory, ReserveSize bytes of it; with HEAP_GROWABLE the
 * heap takes more of its own when that is used up. Lock: an ERESOURCE
 * from nonpaged pool that the caller initialized, and deletes when the heap is gone; every call that is serialized has it for exclusive
 * use, RtlLockHeap keeps it. It is held in a critical region, and not allowed with HEAP_NO_SERIALIZE (Learn, "RtlCreateHeap"). On plain
 * Linux there are no such locks: Lock is NULL.
 * PASSIVE_LEVEL, as for all functions here, or APC_LEVEL.
 */
NTSYSAPI PVOID NTAPI RtlCreateHeap(_In_ ULONG Flags, _In_opt_ PVOID HeapBase, _In_opt_ SIZE_T ReserveSize,
                                   _In_opt_ SIZE_T CommitSize, _In_opt_ PVOID Lock,
                                   _In_opt_ PRTL_HEAP_PARAMETERS Parameters);
/* NULL if the heap was destroyed, else HeapHandle. */
NTSYSAPI PVOID NTAPI RtlDestroyHeap(_In_ PVOID HeapHandle);
NTSYSAPI PVOID NTAPI RtlAllocateHeap(_In_ PVOID HeapHandle, _In_opt_ ULONG Flags, _In_ SIZE_T Size);
NTSYSAPI LOGICAL NTAPI RtlFreeHeap(_In_ PVOID HeapHandle, _In_opt_ ULONG Flags, _In_opt_ PVOID BaseAddress);
NTSYSAPI PVOID NTAPI RtlReAllocateHeap(_In_ PVOID HeapHandle, _In_ ULONG Flags, _In_ PVOID BaseAddress,
                                       _In_ SIZE_T Size);
/* The size that was asked for; (SIZE_T)-1 if BaseAddress is no block of the heap. */
NTSYSAPI SIZE_T NTAPI RtlSizeHeap(_In_ PVOID HeapHandle, _In_ ULONG Flags, _In_ PVOID BaseAddress);
NTSYSAPI ULONG NTAPI RtlMultipleAllocateHeap(_In_ PVOID HeapHandle, _In_ ULONG Flags, _In_ SIZE_T Size,
                                             _In_ ULONG Count, _Out_ PVOID *Array);
NTSYSAPI ULONG NTAPI RtlMultipleFreeHeap(_In_ PVOID HeapHandle, _In_ ULONG Flags, _In_ ULONG Count,
                                         _In_ PVOID *Array);

/* ---- the whole heap ---- */

NTSYSAPI BOOLEAN NTAPI RtlLockHeap(_In_ PVOID HeapHandle);
NTSYSAPI BOOLEAN NTAPI RtlUnlockHeap(_In_ PVOID HeapHandle);
NTSYSAPI BOOLEAN NTAPI RtlValidateHeap(_In_opt_ PVOID HeapHandle, _In_ ULONG Flags,
                                       _In_opt_ PVOID BaseAddress);
/* Gives free memory back; returns the size of the largest committed free block. */
NTSYSAPI SIZE_T NTAPI RtlCompactHeap(_In_ PVOID HeapHandle, _In_ ULONG Flags);
/* How many heaps the process has; the handles of the first NumberOfHeaps are stored. */
NTSYSAPI ULONG NTAPI RtlGetProcessHeaps(_In_ ULONG NumberOfHeaps, _Out_ PVOID *ProcessHeaps);
/* The process heap: what the PEB's ProcessHeap is. */
NTSYSAPI PVOID NTAPI RtlProcessHeap(VOID);

#define RTL_HEAP_BUSY              (USHORT)0x0001
#define RTL_HEAP_SEGMENT           (USHORT)0x0002
#define RTL_HEAP_SETTABLE_VALUE    (USHORT)0x0010
#define RTL_HEAP_UNCOMMITTED_RANGE (USHORT)0x0100

typedef struct _RTL_HEAP_WALK_ENTRY
{
    PVOID DataAddress; /* NULL to begin */
    SIZE_T DataSize;
    UCHAR OverheadBytes; /* 255 stands for more */
    UCHAR SegmentIndex;
    USHORT Flags;
    _ANONYMOUS_UNION union
    {
        struct
        {
            SIZE_T Settable;
            USHORT TagIndex;
            USHORT AllocatorBackTraceIndex;
            ULONG Reserved[2];
        } Block;
        struct
        {
            ULONG CommittedSize; /* MAXULONG stands for more */
            ULONG UnCommittedSize;
            PVOID FirstEntry;
            PVOID LastEntry;
        } Segment;
    } DUMMYUNIONNAME;
} RTL_HEAP_WALK_ENTRY, *PRTL_HEAP_WALK_ENTRY;

/* The entry behind *Entry; STATUS_NO_MORE_ENTRIES at the end. The caller holds the heap's lock. */
NTSYSAPI NTSTATUS NTAPI RtlWalkHeap(_In_ PVOID HeapHandle, _Inout_ PRTL_HEAP_WALK_ENTRY Entry);

typedef enum _HEAP_INFORMATION_CLASS
{
    HeapCompatibilityInformation = 0,      /* ULONG: 0 standard, 1 look-aside lists, 2 low-fragmentation */
    HeapEnableTerminationOnCorruption = 1, /* no data */
    HeapOptimizeResources = 3,             /* HEAP_OPTIMIZE_RESOURCES_INFORMATION */
    HeapTag = 7                            /* STATUS_NOT_IMPLEMENTED: nothing public says what it holds */
} HEAP_INFORMATION_CLASS;

#define HEAP_OPTIMIZE_RESOURCES_CURRENT_VERSION 1
typedef struct _HEAP_OPTIMIZE_RESOURCES_INFORMATION
{
    ULONG Version;
    ULONG Flags;
} HEAP_OPTIMIZE_RESOURCES_INFORMATION, *PHEAP_OPTIMIZE_RESOURCES_INFORMATION;

NTSYSAPI NTSTATUS NTAPI RtlSetHeapInformation(_In_opt_ PVOID HeapHandle,
                                              _In_ HEAP_INFORMATION_CLASS HeapInformationClass,
                                              _In_opt_ PVOID HeapInformation,
                                              _In_ SIZE_T HeapInformationLength);
NTSYSAPI NTSTATUS NTAPI RtlQueryHeapInformation(_In_opt_ PVOID HeapHandle,
                                                _In_ HEAP_INFORMATION_CLASS HeapInformationClass,
                                                _Out_opt_ PVOID HeapInformation,
                                                _In_ SIZE_T HeapInformationLength,
                                                _Out_opt_ PSIZE_T ReturnLength);

/* ---- copies of the process ---- */

/*
 * Before the process is cloned (NtCreateProcessEx without a section) while other threads may use its heaps: waits until none is
 * inside of one and keeps them out, so that the clone's heaps are whole and no lock is held in it. The calling thread may go on
 * using them. Public symbols of ntdll. PASSIVE_LEVEL. STATUS_NO_MEMORY: there are no heaps and none can be made;
 * STATUS_INVALID_LOCK_SEQUENCE: the thread has prepared already.
 */
NTSYSAPI NTSTATUS NTAPI RtlPrepareForProcessCloning(VOID);
/*
 * Lets the others in again, whether there is a clone now (Completed) or not. The clone need not call it: its first use of a
 * heap does the same. STATUS_INVALID_LOCK_SEQUENCE: another thread has prepared.
 */
NTSYSAPI NTSTATUS NTAPI RtlCompleteProcessCloning(_In_ LOGICAL Completed);

/* ---- tags ---- */

/* TagBase: what RtlCreateTagHeap returned; Tag: 0 for the first of its names, 1 for the next ... */
#define HEAP_MAKE_TAG_FLAGS(TagBase, Tag) ((ULONG)((TagBase) + ((ULONG)(Tag) << HEAP_TAG_SHIFT)))

typedef struct _RTL_HEAP_TAG_INFO
{
    ULONG NumberOfAllocations;
    ULONG NumberOfFrees;
    SIZE_T BytesAllocated; /* by blocks in use, as they were asked for */
} RTL_HEAP_TAG_INFO, *PRTL_HEAP_TAG_INFO;

/*
 * One tag for each string of TagNames (the last is followed by an empty one), named by TagPrefix and it, 23 characters at
 * most. What to put into the flags of an allocation; 0: no memory, no name, or more than HEAP_MAXIMUM_TAG tags.
 */
NTSYSAPI ULONG NTAPI RtlCreateTagHeap(_In_ PVOID HeapHandle, _In_ ULONG Flags, _In_opt_ PWSTR TagPrefix,
                                      _In_ PWSTR TagNames);
/* A tag's name, valid until the heap is destroyed; NULL: no such tag. ResetCounters: allocations and frees begin at 0 again. */
NTSYSAPI PWSTR NTAPI RtlQueryTagHeap(_In_ PVOID HeapHandle, _In_ ULONG Flags, _In_ USHORT TagIndex,
                                     _In_ BOOLEAN ResetCounters, _Out_opt_ PRTL_HEAP_TAG_INFO TagInfo);

/* ---- user values and flags: for blocks allocated with HEAP_SETTABLE_USER_VALUE ---- */

NTSYSAPI BOOLEAN NTAPI RtlSetUserValueHeap(_In_ PVOID HeapHandle, _In_ ULONG Flags, _In_ PVOID BaseAddress,
                                           _In_ PVOID UserValue);
NTSYSAPI BOOLEAN NTAPI RtlSetUserFlagsHeap(_In_ PVOID HeapHandle, _In_ ULONG Flags, _In_ PVOID BaseAddress,
                                           _In_ ULONG UserFlagsReset, _In_ ULONG UserFlagsSet);
NTSYSAPI BOOLEAN NTAPI RtlGetUserInfoHeap(_In_ PVOID HeapHandle, _In_ ULONG Flags, _In_ PVOID BaseAddress,
                                          _Out_opt_ PVOID *UserValue, _Out_opt_ PULONG UserFlags);

EXTERN_C_END

#endif
