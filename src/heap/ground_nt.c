/* SPDX-License-Identifier: MIT */
/*
 * The heap's ground inside the machine: the NT services, as user-mode code of the process whose heap it is.
 *
 * Everything lies in the process's private memory: what its heaps share (HEAP_PROCESS, found through the PEB), metadata,
 * blocks. So heaps are paged like all private memory, go with the process, and are cloned with it. Pages are committed span
 * by span, because commitment is what this ground charges for. Threads have no slots: heaps have theirs, under their locks.
 */
#include "heap/front.h"
#include "nt/ntmmapi.h"
#include "nt/ntobapi.h"
#include "nt/peb.h"
#include "nt/ps.h"
#include "nt/rtl.h"

/* ---- page operations ---- */

static PVOID RtlpNtReserve(SIZE_T Size, SIZE_T Alignment)
{
    MEM_ADDRESS_REQUIREMENTS Requirements = { .Alignment = Alignment > 0x10000 ? Alignment : 0 };
    MEM_EXTENDED_PARAMETER Parameter = { .Pointer = &Requirements };
    PVOID Base = NULL;

    Parameter.Type = MemExtendedParameterAddressRequirements;

    return NT_SUCCESS(NtAllocateVirtualMemoryEx(NtCurrentProcess(), &Base, &Size, MEM_RESERVE | MEM_TOP_DOWN,
                                                PAGE_NOACCESS, &Parameter, 1))
               ? Base
               : NULL;
}

static BOOLEAN RtlpNtCommit(PVOID Base, SIZE_T Size, BOOLEAN Executable)
{
    return NT_SUCCESS(NtAllocateVirtualMemory(NtCurrentProcess(), &Base, 0, &Size, MEM_COMMIT,
                                              Executable ? PAGE_EXECUTE_READWRITE : PAGE_READWRITE));
}

static VOID RtlpNtDecommit(PVOID Base, SIZE_T Size, BOOLEAN Seal)
{
    UNREFERENCED_PARAMETER(Seal); /* decommitted pages fault anyway */
    (VOID) NtFreeVirtualMemory(NtCurrentProcess(), &Base, &Size, MEM_DECOMMIT);
}

static VOID RtlpNtRelease(PVOID Base, SIZE_T Size)
{
    Size = 0;
    (VOID) NtFreeVirtualMemory(NtCurrentProcess(), &Base, &Size, MEM_RELEASE);
}

static SIZE_T RtlpNtQueryPageSize(VOID)
{
    return PAGE_SIZE;
}

const HEAP_PAGE_OPERATIONS RtlpNtPageOperations = {
    .Reserve = RtlpNtReserve,
    .Commit = RtlpNtCommit,
    .Decommit = RtlpNtDecommit,
    .Release = RtlpNtRelease,
    .QueryPageSize = RtlpNtQueryPageSize,
};

BOOLEAN RtlpGroundPagesAreDear(VOID)
{
    return FALSE; /* nothing is moved that would tell */
}

BOOLEAN RtlpGroundMove(PVOID From, PVOID To, SIZE_T Size)
{
    UNREFERENCED_PARAMETER(From);
    UNREFERENCED_PARAMETER(To);
    UNREFERENCED_PARAMETER(Size);

    return FALSE; /* there is no service for it */
}

/* ---- what a process's heaps share ---- */

static ULONG64 RtlpProcessMark(VOID)
{
    return (ULONG64)(ULONG_PTR)PsGetProcessId(PsGetCurrentProcess()) << 32;
}

static DECLSPEC_NOINLINE PHEAP_PROCESS RtlpMakeHeapProcess(PPEB Peb)
{
    PVOID Base = NULL;
    PVOID Expected = NULL;
    SIZE_T Size = sizeof(HEAP_PROCESS);

    if (!NT_SUCCESS(NtAllocateVirtualMemory(NtCurrentProcess(), &Base, 0, &Size,
                                            MEM_RESERVE | MEM_COMMIT | MEM_TOP_DOWN, PAGE_READWRITE)))
    {
        return NULL;
    }

    ((PHEAP_PROCESS)Base)->Id = RtlpProcessMark();
    if (!__atomic_compare_exchange_n(&Peb->HeapProcess, &Expected, Base, FALSE, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE))
    {
        RtlpNtRelease(Base, Size);
        return Expected;
    }

    return Base;
}

/* The process is a clone and one of its threads comes to its heaps for the first time. Only one of them does what is to do. */
static DECLSPEC_NOINLINE VOID RtlpEnterClone(PHEAP_PROCESS Process)
{
    const ULONG64 Mark = RtlpProcessMark();
    ULONG64 Id = HEAP_LOAD(&Process->Id);

    while (Id != Mark)
    {
        if (Id == 0)
        {
            RtlpGroundPause();
            Id = __atomic_load_n(&Process->Id, __ATOMIC_ACQUIRE);
        }
        else if (__atomic_compare_exchange_n(&Process->Id, &Id, 0, FALSE, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE))
        {
            RtlpWakeClone(Process);
            __atomic_store_n(&Process->Id, Mark, __ATOMIC_RELEASE);
            Id = Mark;
        }
    }
}

PHEAP_PROCESS RtlpCurrentHeapProcess(VOID)
{
    PPEB Peb = RtlGetCurrentPeb();

    if (Peb == NULL)
    {
        return NULL;
    }

    PHEAP_PROCESS Process = __atomic_load_n(&Peb->HeapProcess, __ATOMIC_ACQUIRE);

    if (HEAP_UNLIKELY(Process == NULL))
    {
        return RtlpMakeHeapProcess(Peb);
    }

    if (HEAP_UNLIKELY(__atomic_load_n(&Process->Id, __ATOMIC_ACQUIRE) != RtlpProcessMark()))
    {
        RtlpEnterClone(Process);
    }

    return Process;
}

PHEAP_SLOT RtlpAttachThread(VOID)
{
    return NULL;
}

BOOLEAN RtlpStealPartial(PHEAP_SLOT Slot, ULONG Bucket)
{
    UNREFERENCED_PARAMETER(Slot);
    UNREFERENCED_PARAMETER(Bucket);

    return FALSE;
}

VOID RtlpGroundSetProcessHeap(PVOID Heap)
{
    __atomic_store_n(&RtlGetCurrentPeb()->ProcessHeap, Heap, __ATOMIC_RELEASE);
}

/* ---- waiting ---- */

/* The event that waiters for a lock sleep on; 0 if it cannot be had. One that a parent made before a clone is not ours. */
static ULONG64 RtlpLockEvent(PHEAP_LOCK Lock)
{
    ULONG64 Event = __atomic_load_n(&Lock->Event, __ATOMIC_SEQ_CST);
    const ULONG64 Mark = RtlpProcessMark();
    HANDLE Handle;

    if (Event != 0 && Event >> 32 == Mark >> 32)
    {
        return Event;
    }

    if (!NT_SUCCESS(NtCreateEvent(&Handle, EVENT_ALL_ACCESS, NULL, SynchronizationEvent, FALSE)))
    {
        return 0;
    }

    const ULONG64 New = Mark | (ULONG)(ULONG_PTR)Handle;

    if (!__atomic_compare_exchange_n(&Lock->Event, &Event, New, FALSE, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
    {
        (VOID) NtClose(Handle);
        return Event;
    }

    return New;
}

/*
 * The event is there before the lock's word is looked at, and who releases the lock changes the word before he looks for an
 * event: one of both sees the other. A signal that comes too late wakes the next waiter early, who looks at the word again.
 */
VOID RtlpGroundWait(ULONG *Address, ULONG Value)
{
    PHEAP_LOCK Lock = CONTAINING_RECORD(Address, HEAP_LOCK, State);
    const ULONG64 Event = RtlpLockEvent(Lock);
    LARGE_INTEGER Millisecond = { .QuadPart = -10000 };

    if (Event == 0)
    {
        (VOID) NtDelayExecution(FALSE, &Millisecond); /* no memory for an event: look again soon */
    }
    else if (__atomic_load_n(Address, __ATOMIC_SEQ_CST) == Value)
    {
        (VOID) NtWaitForSingleObject((HANDLE)(ULONG_PTR)(ULONG)Event, FALSE, NULL);
    }
}

VOID RtlpGroundWake(ULONG *Address)
{
    PHEAP_LOCK Lock = CONTAINING_RECORD(Address, HEAP_LOCK, State);

    __atomic_thread_fence(__ATOMIC_SEQ_CST);

    const ULONG64 Event = __atomic_load_n(&Lock->Event, __ATOMIC_SEQ_CST);

    if (Event != 0 && Event >> 32 == RtlpProcessMark() >> 32)
    {
        (VOID) NtSetEvent((HANDLE)(ULONG_PTR)(ULONG)Event, NULL);
    }
}

/* In a critical region, as resources want: what a kernel component does there is not broken off by the end of the process. */
BOOLEAN RtlpGroundAcquireResource(PVOID Resource, BOOLEAN Wait)
{
    KeEnterCriticalRegion();
    if (!ExAcquireResourceExclusiveLite(Resource, Wait))
    {
        KeLeaveCriticalRegion();
        return FALSE;
    }

    return TRUE;
}

VOID RtlpGroundReleaseResource(PVOID Resource)
{
    ExReleaseResourceLite(Resource);
    KeLeaveCriticalRegion();
}

VOID RtlpGroundTouch(PVOID Base, SIZE_T Size)
{
    UNREFERENCED_PARAMETER(Base); /* a soft fault here is cheap beside a service call */
    UNREFERENCED_PARAMETER(Size);
}

VOID RtlpGroundPause(VOID)
{
    LARGE_INTEGER Time = { .QuadPart = -500 };

    (VOID) NtDelayExecution(FALSE, &Time);
}

VOID RtlpGroundYield(VOID)
{
    (VOID) NtYieldExecution();
}

/* ---- the rest ---- */

ULONG64 RtlpGroundMilliseconds(VOID)
{
    return KeQueryInterruptTime() / 10000;
}

/* Time and place; in deterministic mode the same in every run, as everything there. */
ULONG64 RtlpGroundEntropy(VOID)
{
    ULONG64 Bits = (ULONG64)KeQueryPerformanceCounter(NULL).QuadPart ^ RtlpProcessMark() ^ (ULONG_PTR)&Bits;

    Bits = (Bits ^ Bits >> 30) * 0xbf58476d1ce4e5b9ull;
    Bits = (Bits ^ Bits >> 27) * 0x94d049bb133111ebull;

    return Bits ^ Bits >> 31;
}

ULONG_PTR RtlpGroundThread(VOID)
{
    return (ULONG_PTR)PsGetCurrentThread();
}

/* Threads keep their processors here. */
ULONG RtlpGroundPart(VOID)
{
    return KeGetCurrentProcessorNumberEx(NULL);
}

VOID RtlpGroundChangePart(VOID)
{
}

ULONG RtlpGroundProcessors(VOID)
{
    return KeQueryActiveProcessorCountEx(ALL_PROCESSOR_GROUPS);
}

/* The only option of this ground: gflags' page heap. */
ULONG64 RtlpGroundOption(const char *Name)
{
    UNREFERENCED_PARAMETER(Name);

    return RtlGetCurrentPeb()->NtGlobalFlag & FLG_HEAP_PAGE_ALLOCS;
}

VOID RtlpGroundPrint(const char *Text)
{
    (VOID) DbgPrint("%s", Text);
}

VOID RtlpGroundRaise(NTSTATUS Status)
{
    EXCEPTION_RECORD Record = { .ExceptionCode = (NT_EXCEPTION_CODE)Status,
                                .ExceptionAddress = __builtin_return_address(0) };

    RtlRaiseException(&Record);
}

DECLSPEC_NORETURN VOID RtlpGroundAbort(NTSTATUS Status)
{
    EXCEPTION_RECORD Record = { .ExceptionCode = (NT_EXCEPTION_CODE)Status,
                                .ExceptionFlags = EXCEPTION_NONCONTINUABLE,
                                .ExceptionAddress = __builtin_return_address(0) };

    (VOID) NtRaiseException(&Record, NULL, FALSE);
    __builtin_unreachable();
}
