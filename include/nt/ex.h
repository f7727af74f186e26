/* SPDX-License-Identifier: MIT */
/*
 * The executive for clients: fast mutexes, push locks, reader-writer spin locks, rundown protection,
 * resources, interlocked lists, work items, raising exceptions, probing.
 *
 * Brought in by nt/wdm_ke.h. Sources: Microsoft Learn, the ExXxx pages of wdm.h, ntddk.h and ntifs.h,
 * ProbeForRead and ProbeForWrite.
 */
#ifndef NTMM_NT_EX_H
#define NTMM_NT_EX_H

#include "nt/wdm_ke.h"

EXTERN_C_START

/* ---- fast and guarded mutexes ---- */

#define FM_LOCK_BIT 0x1

typedef struct _FAST_MUTEX
{
    LONG Count; /* 1: free */
    PVOID Owner;
    ULONG Contention;
    KEVENT Event;
    ULONG OldIrql;
} FAST_MUTEX, *PFAST_MUTEX, KGUARDED_MUTEX, *PKGUARDED_MUTEX;

FORCEINLINE VOID ExInitializeFastMutex(PFAST_MUTEX FastMutex)
{
    FastMutex->Count = FM_LOCK_BIT;
    FastMutex->Owner = NULL;
    FastMutex->Contention = 0;
    FastMutex->OldIrql = PASSIVE_LEVEL;
    KeInitializeEvent(&FastMutex->Event, SynchronizationEvent, FALSE);
}

/*
 * IRQL <= APC_LEVEL; raises to APC_LEVEL while held (the Unsafe forms leave that to the caller). Not
 * recursive.
 */
NTKERNELAPI VOID NTAPI ExAcquireFastMutex(_Inout_ PFAST_MUTEX FastMutex);
NTKERNELAPI VOID NTAPI ExReleaseFastMutex(_Inout_ PFAST_MUTEX FastMutex);
NTKERNELAPI BOOLEAN NTAPI ExTryToAcquireFastMutex(_Inout_ PFAST_MUTEX FastMutex);
NTKERNELAPI VOID NTAPI ExAcquireFastMutexUnsafe(_Inout_ PFAST_MUTEX FastMutex);
NTKERNELAPI VOID NTAPI ExReleaseFastMutexUnsafe(_Inout_ PFAST_MUTEX FastMutex);

/* The same lock within a guarded region instead of APC_LEVEL. */
NTKERNELAPI VOID NTAPI KeInitializeGuardedMutex(_Out_ PKGUARDED_MUTEX GuardedMutex);
NTKERNELAPI VOID NTAPI KeAcquireGuardedMutex(_Inout_ PKGUARDED_MUTEX GuardedMutex);
NTKERNELAPI VOID NTAPI KeReleaseGuardedMutex(_Inout_ PKGUARDED_MUTEX GuardedMutex);
NTKERNELAPI BOOLEAN NTAPI KeTryToAcquireGuardedMutex(_Inout_ PKGUARDED_MUTEX GuardedMutex);
NTKERNELAPI VOID NTAPI KeAcquireGuardedMutexUnsafe(_Inout_ PKGUARDED_MUTEX GuardedMutex);
NTKERNELAPI VOID NTAPI KeReleaseGuardedMutexUnsafe(_Inout_ PKGUARDED_MUTEX GuardedMutex);

/* ---- push locks: IRQL <= APC_LEVEL, in a critical region; not recursive ---- */

typedef ULONG_PTR EX_PUSH_LOCK, *PEX_PUSH_LOCK;

NTKERNELAPI VOID NTAPI ExInitializePushLock(_Out_ PEX_PUSH_LOCK PushLock);
NTKERNELAPI VOID NTAPI ExAcquirePushLockExclusive(_Inout_ PEX_PUSH_LOCK PushLock);
NTKERNELAPI VOID NTAPI ExAcquirePushLockShared(_Inout_ PEX_PUSH_LOCK PushLock);
NTKERNELAPI VOID NTAPI ExReleasePushLockExclusive(_Inout_ PEX_PUSH_LOCK PushLock);
NTKERNELAPI VOID NTAPI ExReleasePushLockShared(_Inout_ PEX_PUSH_LOCK PushLock);

/* ---- reader-writer spin locks: IRQL <= DISPATCH_LEVEL; zero is free ---- */

typedef volatile LONG EX_SPIN_LOCK, *PEX_SPIN_LOCK;

NTKERNELAPI KIRQL NTAPI ExAcquireSpinLockExclusive(_Inout_ PEX_SPIN_LOCK SpinLock);
NTKERNELAPI KIRQL NTAPI ExAcquireSpinLockShared(_Inout_ PEX_SPIN_LOCK SpinLock);
NTKERNELAPI VOID NTAPI ExReleaseSpinLockExclusive(_Inout_ PEX_SPIN_LOCK SpinLock, _In_ KIRQL OldIrql);
NTKERNELAPI VOID NTAPI ExReleaseSpinLockShared(_Inout_ PEX_SPIN_LOCK SpinLock, _In_ KIRQL OldIrql);
NTKERNELAPI VOID NTAPI ExAcquireSpinLockExclusiveAtDpcLevel(_Inout_ PEX_SPIN_LOCK SpinLock);
NTKERNELAPI VOID NTAPI ExAcquireSpinLockSharedAtDpcLevel(_Inout_ PEX_SPIN_LOCK SpinLock);
NTKERNELAPI VOID NTAPI ExReleaseSpinLockExclusiveFromDpcLevel(_Inout_ PEX_SPIN_LOCK SpinLock);
NTKERNELAPI VOID NTAPI ExReleaseSpinLockSharedFromDpcLevel(_Inout_ PEX_SPIN_LOCK SpinLock);
NTKERNELAPI LOGICAL NTAPI ExTryConvertSharedSpinLockExclusive(_Inout_ PEX_SPIN_LOCK SpinLock);

/* ---- rundown protection ---- */

typedef struct _EX_RUNDOWN_REF
{
    _ANONYMOUS_UNION union
    {
        ULONG_PTR Count;
        PVOID Ptr;
    } DUMMYUNIONNAME;
} EX_RUNDOWN_REF, *PEX_RUNDOWN_REF;

/* Acquire and release at IRQL <= DISPATCH_LEVEL, FALSE once rundown began; the wait at IRQL <= APC_LEVEL. */
NTKERNELAPI VOID NTAPI ExInitializeRundownProtection(_Out_ PEX_RUNDOWN_REF RunRef);
NTKERNELAPI VOID NTAPI ExReInitializeRundownProtection(_Inout_ PEX_RUNDOWN_REF RunRef);
NTKERNELAPI BOOLEAN NTAPI ExAcquireRundownProtection(_Inout_ PEX_RUNDOWN_REF RunRef);
NTKERNELAPI BOOLEAN NTAPI ExAcquireRundownProtectionEx(_Inout_ PEX_RUNDOWN_REF RunRef, _In_ ULONG Count);
NTKERNELAPI VOID NTAPI ExReleaseRundownProtection(_Inout_ PEX_RUNDOWN_REF RunRef);
NTKERNELAPI VOID NTAPI ExReleaseRundownProtectionEx(_Inout_ PEX_RUNDOWN_REF RunRef, _In_ ULONG Count);
NTKERNELAPI VOID NTAPI ExWaitForRundownProtectionRelease(_Inout_ PEX_RUNDOWN_REF RunRef);
NTKERNELAPI VOID NTAPI ExRundownCompleted(_Out_ PEX_RUNDOWN_REF RunRef);

/* ---- resources: reader-writer locks with recursion, IRQL <= APC_LEVEL, in a critical region ---- */

/* Opaque; the size is that of x64 Windows. */
typedef struct _ERESOURCE
{
    LIST_ENTRY SystemResourcesList;
    ULONG_PTR Reserved[11];
} ERESOURCE, *PERESOURCE;
typedef ULONG_PTR ERESOURCE_THREAD, *PERESOURCE_THREAD;
#define ExGetCurrentResourceThread() ((ERESOURCE_THREAD)KeGetCurrentThread())

NTKERNELAPI NTSTATUS NTAPI ExInitializeResourceLite(_Out_ PERESOURCE Resource);
NTKERNELAPI NTSTATUS NTAPI ExDeleteResourceLite(_Inout_ PERESOURCE Resource);
NTKERNELAPI BOOLEAN NTAPI ExAcquireResourceExclusiveLite(_Inout_ PERESOURCE Resource, _In_ BOOLEAN Wait);
NTKERNELAPI BOOLEAN NTAPI ExAcquireResourceSharedLite(_Inout_ PERESOURCE Resource, _In_ BOOLEAN Wait);
NTKERNELAPI VOID NTAPI ExReleaseResourceLite(_Inout_ PERESOURCE Resource);
NTKERNELAPI BOOLEAN NTAPI ExIsResourceAcquiredExclusiveLite(_In_ PERESOURCE Resource);
NTKERNELAPI ULONG NTAPI ExIsResourceAcquiredSharedLite(_In_ PERESOURCE Resource);
#define ExIsResourceAcquiredLite ExIsResourceAcquiredSharedLite

/* ---- interlocked lists ---- */

typedef struct DECLSPEC_ALIGN(16) _SLIST_ENTRY
{
    struct _SLIST_ENTRY *Next;
} SLIST_ENTRY, *PSLIST_ENTRY;

typedef union DECLSPEC_ALIGN(16) _SLIST_HEADER
{
    _ANONYMOUS_STRUCT struct
    {
        ULONGLONG Alignment;
        ULONGLONG Region;
    } DUMMYSTRUCTNAME;
    struct
    {
        __extension__ ULONGLONG Depth : 16;
        __extension__ ULONGLONG Sequence : 48;
        __extension__ ULONGLONG Reserved : 4;
        __extension__ ULONGLONG NextEntry : 60; /* address / 16 */
    } HeaderX64;
} SLIST_HEADER, *PSLIST_HEADER;

/* Lock-free stacks; any IRQL at which the entries may be touched. */
NTKERNELAPI VOID NTAPI InitializeSListHead(_Out_ PSLIST_HEADER SListHead);
NTKERNELAPI PSLIST_ENTRY NTAPI InterlockedPushEntrySList(_Inout_ PSLIST_HEADER ListHead,
                                                         _Inout_ PSLIST_ENTRY ListEntry);
NTKERNELAPI PSLIST_ENTRY NTAPI InterlockedPopEntrySList(_Inout_ PSLIST_HEADER ListHead);
NTKERNELAPI PSLIST_ENTRY NTAPI InterlockedFlushSList(_Inout_ PSLIST_HEADER ListHead);
NTKERNELAPI USHORT NTAPI ExQueryDepthSList(_In_ PSLIST_HEADER SListHead);
#define ExInitializeSListHead(SListHead)                       InitializeSListHead(SListHead)
#define ExInterlockedPushEntrySList(ListHead, ListEntry, Lock) InterlockedPushEntrySList(ListHead, ListEntry)
#define ExInterlockedPopEntrySList(ListHead, Lock)             InterlockedPopEntrySList(ListHead)
#define ExInterlockedFlushSList(ListHead)                      InterlockedFlushSList(ListHead)
#define QueryDepthSList(SListHead)                             ExQueryDepthSList(SListHead)

/* Lists and counters under a spin lock; any IRQL. NULL: the list was (head, tail: is) empty. */
NTKERNELAPI PLIST_ENTRY NTAPI ExInterlockedInsertHeadList(_Inout_ PLIST_ENTRY ListHead,
                                                          _Inout_ PLIST_ENTRY ListEntry,
                                                          _Inout_ PKSPIN_LOCK Lock);
NTKERNELAPI PLIST_ENTRY NTAPI ExInterlockedInsertTailList(_Inout_ PLIST_ENTRY ListHead,
                                                          _Inout_ PLIST_ENTRY ListEntry,
                                                          _Inout_ PKSPIN_LOCK Lock);
NTKERNELAPI PLIST_ENTRY NTAPI ExInterlockedRemoveHeadList(_Inout_ PLIST_ENTRY ListHead,
                                                          _Inout_ PKSPIN_LOCK Lock);
NTKERNELAPI PSINGLE_LIST_ENTRY NTAPI ExInterlockedPushEntryList(_Inout_ PSINGLE_LIST_ENTRY ListHead,
                                                                _Inout_ PSINGLE_LIST_ENTRY ListEntry,
                                                                _Inout_ PKSPIN_LOCK Lock);
NTKERNELAPI PSINGLE_LIST_ENTRY NTAPI ExInterlockedPopEntryList(_Inout_ PSINGLE_LIST_ENTRY ListHead,
                                                               _Inout_ PKSPIN_LOCK Lock);
NTKERNELAPI LARGE_INTEGER NTAPI ExInterlockedAddLargeInteger(_Inout_ PLARGE_INTEGER Addend,
                                                             _In_ LARGE_INTEGER Increment,
                                                             _Inout_ PKSPIN_LOCK Lock);
NTKERNELAPI ULONG NTAPI ExInterlockedAddUlong(_Inout_ PULONG Addend, _In_ ULONG Increment,
                                              _Inout_ PKSPIN_LOCK Lock);

/* ---- work items ---- */

typedef enum _WORK_QUEUE_TYPE
{
    CriticalWorkQueue,
    DelayedWorkQueue,
    HyperCriticalWorkQueue,
    NormalWorkQueue,
    BackgroundWorkQueue,
    RealTimeWorkQueue,
    SuperCriticalWorkQueue,
    MaximumWorkQueue,
    CustomPriorityWorkQueue = 32
} WORK_QUEUE_TYPE;

typedef VOID NTAPI WORKER_THREAD_ROUTINE(_In_ PVOID Parameter);
typedef WORKER_THREAD_ROUTINE *PWORKER_THREAD_ROUTINE;

typedef struct _WORK_QUEUE_ITEM
{
    LIST_ENTRY List;
    PWORKER_THREAD_ROUTINE WorkerRoutine;
    PVOID Parameter;
} WORK_QUEUE_ITEM, *PWORK_QUEUE_ITEM;

FORCEINLINE VOID ExInitializeWorkItem(PWORK_QUEUE_ITEM Item, PWORKER_THREAD_ROUTINE Routine, PVOID Context)
{
    Item->WorkerRoutine = Routine;
    Item->Parameter = Context;
    Item->List.Flink = NULL;
}

/* The routine runs once, in a system thread at PASSIVE_LEVEL. IRQL <= DISPATCH_LEVEL. */
NTKERNELAPI VOID NTAPI ExQueueWorkItem(_Inout_ PWORK_QUEUE_ITEM WorkItem, _In_ WORK_QUEUE_TYPE QueueType);

/* ---- exceptions, previous mode, probing ---- */

/* Raise an exception in the current thread; they do not return. IRQL <= APC_LEVEL. */
DECLSPEC_NORETURN NTKERNELAPI VOID NTAPI ExRaiseStatus(_In_ NTSTATUS Status);
DECLSPEC_NORETURN NTKERNELAPI VOID NTAPI ExRaiseAccessViolation(VOID);
DECLSPEC_NORETURN NTKERNELAPI VOID NTAPI ExRaiseDatatypeMisalignment(VOID);

/* Whether the current system service was called from user mode. */
NTKERNELAPI KPROCESSOR_MODE NTAPI ExGetPreviousMode(VOID);

/*
 * Check that a range lies in the user half and is aligned; ProbeForWrite also that it is writable now. Raise
 * STATUS_ACCESS_VIOLATION or STATUS_DATATYPE_MISALIGNMENT. Length 0 always passes. IRQL <= APC_LEVEL.
 */
NTKERNELAPI VOID NTAPI ProbeForRead(_In_reads_bytes_(Length) const volatile VOID *Address, _In_ SIZE_T Length,
                                    _In_ ULONG Alignment);
NTKERNELAPI VOID NTAPI ProbeForWrite(_Inout_updates_bytes_(Length) volatile VOID *Address, _In_ SIZE_T Length,
                                     _In_ ULONG Alignment);

EXTERN_C_END

#endif
