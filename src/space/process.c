/* SPDX-License-Identifier: MIT */
/*
 * Processes: objects that own an address space and a handle table. A process dies in two steps, as the book describes it: when it is
 * terminated everything in its user half goes at once and waiters are told; its structure and its top-level page stay until
 * the last reference is gone, because threads may still run in the (by then empty) space.
 */
#include "space/space.h"
#include "nt/psinfo.h"
#include "pool/expool.h"
#include "rtl/memory.h"
#include "space/job.h"
#include "space/session.h"

/* ---- The lists ------------------------------------------------------------------------------------------- */

static KIRQL PspLockProcessList(void)
{
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Space->ProcessListLock);

    KiNoteLockAcquired(&MiState.Space->ProcessListLock, KiLockProcessList, FALSE);
    return OldIrql;
}

static VOID PspUnlockProcessList(KIRQL OldIrql)
{
    KiNoteLockReleased(&MiState.Space->ProcessListLock);
    KiReleaseSpinLock(&MiState.Space->ProcessListLock, OldIrql);
}

/* A removed entry leads to itself, so that a walker who kept it can tell. */
static VOID PspUnlink(PLIST_ENTRY Entry)
{
    if (Entry->Flink != NULL)
    {
        RemoveEntryList(Entry);
        InitializeListHead(Entry);
    }
}

/* Among the processes last: from then on others find it, and may end it. */
static VOID PspListProcess(PEPROCESS Process)
{
    MI_SPACE_STATE *State = MiState.Space;
    KIRQL OldIrql;

    if (Process->Space.TopLevel != 0)
    {
        OldIrql = KiAcquireSpinLock(&State->WorkingSetListLock);
        InsertTailList(&State->WorkingSetList, &Process->Space.Vm.WorkingSetLinks);
        KiReleaseSpinLock(&State->WorkingSetListLock, OldIrql);
    }
    OldIrql = PspLockProcessList();
    InsertTailList(&State->ProcessList, &Process->ActiveProcessLinks);
    PspUnlockProcessList(OldIrql);
}

static VOID PspUnlistWorkingSet(PEPROCESS Process)
{
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Space->WorkingSetListLock);

    PspUnlink(&Process->Space.Vm.WorkingSetLinks);
    KiReleaseSpinLock(&MiState.Space->WorkingSetListLock, OldIrql);
}

/* ---- Death ----------------------------------------------------------------------------------------------- */

#define PS_CHARGE_ROUNDS 10000u

/*
 * Services and faults of other threads that were under way charge before they lock the space and return what they do not need
 * after they unlocked it. What they do in between finds the space deleted, so they end soon; a charge that nobody
 * gives back is a bug check of the caller's.
 */
static VOID PspAwaitCharges(PMI_ADDRESS_SPACE Space)
{
    LARGE_INTEGER Millisecond = { .QuadPart = -10000 };

    for (ULONG Round = 0; Round < PS_CHARGE_ROUNDS && !KiIsDeterministic() && MiSpaceCommitCharge(Space) != 1;
         Round++)
    {
        KeDelayExecutionThread(KernelMode, FALSE, &Millisecond);
    }
}

static VOID PspDeleteUserHalf(PEPROCESS Process)
{
    PMI_ADDRESS_SPACE Space = &Process->Space;

    PspUnlistWorkingSet(Process);
    MiUpdatePeakWorkingSet(Space);
    MiLockSpaceExclusive(Space);
    Space->Deleting = TRUE;
    if (Space->Vm.MinimumHard)
    {
        Space->Vm.MinimumHard = FALSE;
        MiReturnResidentAvailable(Space->Vm.MinimumWorkingSetSize);
    }
    MiUnlockSpaceExclusive(Space);
    if (__atomic_load_n(&Process->NumberOfLockedPages, __ATOMIC_ACQUIRE) != 0)
    {
        KiBugCheckMessage(
            PROCESS_HAS_LOCKED_PAGES, 0, (ULONG_PTR)Process, Process->NumberOfLockedPages, 0,
            "process %s ends, but %llu of its pages are still locked: a driver did not call MmUnlockPages",
            Process->ImageFileName, (ULONG64)Process->NumberOfLockedPages);
    }
    if (MiState.Space->DeleteAddressSpace != NULL)
    {
        MiState.Space->DeleteAddressSpace(Space);
    }
    PspAwaitCharges(Space);
    if (Space->VadCount != 0 || MiSpaceCommitCharge(Space) != 1 ||
        __atomic_load_n(&Space->PageTablePages, __ATOMIC_ACQUIRE) != 1 || Space->CommittedPageTables != 1)
    {
        KiBugCheckMessage(
            MEMORY_MANAGEMENT, 0x5003, (ULONG_PTR)Process, Space->VadCount, MiSpaceCommitCharge(Space),
            "process %s ends with %llu VADs, %llu pages committed, %llu page tables", Process->ImageFileName,
            (ULONG64)Space->VadCount, (ULONG64)MiSpaceCommitCharge(Space), (ULONG64)Space->PageTablePages);
    }
    __atomic_store_n(&Process->SpaceDeleted, TRUE, __ATOMIC_RELEASE);
}

#define PS_END_ROUNDS 20u

/*
 * Threads find out where they come back to user mode; one that computes is interrupted, and again a little later if it was in code that cannot be
 * left. Whoever is in a Linux system call goes on, and ends when that returns.
 */
BOOLEAN PsEndOtherThreads(PEPROCESS Process)
{
    PKTHREAD Self = KiCurrentThread();
    LONG Own = Self->Process == (PKPROCESS)(PVOID)Process;
    LARGE_INTEGER Millisecond = { .QuadPart = -10000 };

    for (ULONG Round = 0; Round < PS_END_ROUNDS && !KiIsDeterministic() &&
                          __atomic_load_n(&Process->ActiveThreads, __ATOMIC_ACQUIRE) > Own;
         Round++)
    {
        if (Round != 0)
        {
            KeDelayExecutionThread(KernelMode, FALSE, &Millisecond);
        }
        KiEndThreadsOfProcess((PKPROCESS)(PVOID)Process, Self);
    }
    return __atomic_load_n(&Process->ActiveThreads, __ATOMIC_ACQUIRE) <= Own;
}

VOID PsTerminateProcessObject(PEPROCESS Process, NTSTATUS ExitStatus)
{
    if (__atomic_exchange_n(&Process->Terminating, TRUE, __ATOMIC_ACQ_REL))
    {
        KeWaitForSingleObject(&Process->Header, Executive, KernelMode, FALSE, NULL);
        return;
    }
    __atomic_store_n(&Process->ExitStatus, ExitStatus, __ATOMIC_RELEASE);
    (VOID) PsEndOtherThreads(Process);
    ObCloseAllHandles(Process->HandleTable);
    PspDeleteUserHalf(Process);
    PsLeaveJob(Process);
    KeSetEvent((PKEVENT)(PVOID)&Process->Header, 0, FALSE);
}

static VOID PspDeleteTopLevel(PMI_ADDRESS_SPACE Space)
{
    KiRequire(KiCurrentThread()->SpaceState != Space);
    MiDeleteTopLevel(Space->TopLevel);
    MiReturnFixedTables(Space, 1);
}

/* Also of a process that never became complete: what is there goes. */
VOID PsDeleteProcessObject(PVOID Object)
{
    PEPROCESS Process = Object;
    KIRQL OldIrql;

    if (Process->Space.TopLevel != 0 && !__atomic_load_n(&Process->Terminating, __ATOMIC_ACQUIRE))
    {
        PsTerminateProcessObject(Process, STATUS_SUCCESS);
    }
    OldIrql = PspLockProcessList();
    PspUnlink(&Process->ActiveProcessLinks);
    PspUnlockProcessList(OldIrql);
    if (Process->Space.TopLevel != 0)
    {
        PspDeleteTopLevel(&Process->Space);
        __atomic_fetch_sub(&MiState.Space->ProcessCount, 1, __ATOMIC_RELAXED);
    }
    MiLeaveSession(Process);
    if (Process->Job != NULL)
    {
        ObDereferenceObjectBody(Process->Job);
    }
    if (Process->HandleTable != NULL && Process->HandleTable != MiState.Ob->KernelTable)
    {
        ObDeleteHandleTable(Process->HandleTable);
    }
    MiDeleteFaultWatch(&Process->Space);
    MiUninitializeAddressSpace(&Process->Space);
}

/* ---- Birth ----------------------------------------------------------------------------------------------- */

/* The object without handle table and page table; nobody knows it yet. */
static NTSTATUS PspAllocateProcess(PCSTR Name, PEPROCESS *Result)
{
    PVOID Object;
    PEPROCESS Process;
    NTSTATUS Status = ObCreateObjectBody(&MiState.Space->ProcessType, sizeof(EPROCESS), &Object);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Process = Object;
    Status = MiInitializeUserSpace(&Process->Space, Process);
    if (!NT_SUCCESS(Status))
    {
        ObDereferenceObjectBody(Process);
        return Status;
    }
    KeInitializeEvent((PKEVENT)(PVOID)&Process->Header, NotificationEvent, FALSE);
    Process->UniqueProcessId = __atomic_add_fetch(&MiState.Space->NextProcessId, 4, __ATOMIC_RELAXED);
    Process->ExitStatus = STATUS_PENDING;
    Process->LastActive = KiQueryTime();
    for (ULONG Index = 0; Name != NULL && Name[Index] != 0 && Index + 1 < sizeof(Process->ImageFileName);
         Index++)
    {
        Process->ImageFileName[Index] = Name[Index];
    }
    *Result = Process;
    return STATUS_SUCCESS;
}

static NTSTATUS PspCreateTopLevel(PMI_ADDRESS_SPACE Space, PMM_SESSION_SPACE Session)
{
    NTSTATUS Status = MiCreateFixedTables(Space, 1, MiCreateTopLevel);

    if (NT_SUCCESS(Status) && Session != NULL)
    {
        MiShareSessionTables(Space->TopLevel, Session->Space.TopLevel);
    }
    return Status;
}

NTSTATUS PsCreateProcessWithSession(PCSTR Name, PMM_SESSION_SPACE Session, PEPROCESS *Process)
{
    PEPROCESS New;
    NTSTATUS Status = PspAllocateProcess(Name, &New);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = ObCreateHandleTable(&New->HandleTable);
    if (NT_SUCCESS(Status))
    {
        Status = PspCreateTopLevel(&New->Space, Session);
    }
    if (!NT_SUCCESS(Status))
    {
        ObDereferenceObjectBody(New);
        return Status;
    }
    if (Session != NULL)
    {
        MiEnterSession(Session, New);
    }
    __atomic_fetch_add(&MiState.Space->ProcessCount, 1, __ATOMIC_RELAXED);
    PspListProcess(New);
    *Process = New;
    return STATUS_SUCCESS;
}

NTSTATUS PsCreateProcessObject(PCSTR Name, PEPROCESS *Process)
{
    return PsCreateProcessWithSession(Name, NULL, Process);
}

/* The owner of kernel threads: without user space, its handles are the kernel's. */
NTSTATUS PsCreateInitialSystemProcess(void)
{
    PEPROCESS Process;
    NTSTATUS Status = PspAllocateProcess("System", &Process);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Process->HandleTable = MiState.Ob->KernelTable;
    Process->SpaceDeleted = TRUE;
    Process->Space.Deleting = TRUE;
    Process->Space.LowestVpn = 1;
    Process->Space.HighestVpn = 0;
    MiState.Space->InitialSystemProcess = Process;
    PspListProcess(Process);
    return STATUS_SUCCESS;
}

/* ---- Finding --------------------------------------------------------------------------------------------- */

/* The first process at or behind Entry that can still be referenced. List locked. */
static PEPROCESS PspReferenceFrom(PLIST_ENTRY Entry)
{
    for (; Entry != &MiState.Space->ProcessList; Entry = Entry->Flink)
    {
        PEPROCESS Process = CONTAINING_RECORD(Entry, EPROCESS, ActiveProcessLinks);

        if (Process != PsInitialSystemProcess && ObReferenceObjectSafe(Process))
        {
            return Process;
        }
    }
    return NULL;
}

VOID PsForEachProcess(BOOLEAN (*Routine)(PEPROCESS Process, PVOID Context), PVOID Context)
{
    KIRQL OldIrql = PspLockProcessList();
    PEPROCESS Process = PspReferenceFrom(MiState.Space->ProcessList.Flink);

    PspUnlockProcessList(OldIrql);
    while (Process != NULL)
    {
        PEPROCESS Next = NULL;
        BOOLEAN More = Routine(Process, Context);

        if (More)
        {
            /* Referenced, hence still listed. */
            OldIrql = PspLockProcessList();
            Next = PspReferenceFrom(Process->ActiveProcessLinks.Flink);
            PspUnlockProcessList(OldIrql);
        }
        ObDereferenceObjectBody(Process);
        Process = Next;
    }
}

NTSTATUS NTAPI PsLookupProcessByProcessId(HANDLE ProcessId, PEPROCESS *Process)
{
    MI_SPACE_STATE *State = MiState.Space;
    NTSTATUS Status = STATUS_INVALID_CID;
    KIRQL OldIrql = PspLockProcessList();

    for (PLIST_ENTRY Entry = State->ProcessList.Flink; Entry != &State->ProcessList; Entry = Entry->Flink)
    {
        PEPROCESS Candidate = CONTAINING_RECORD(Entry, EPROCESS, ActiveProcessLinks);

        if (Candidate->UniqueProcessId == (ULONG64)(ULONG_PTR)ProcessId)
        {
            if (ObReferenceObjectSafe(Candidate))
            {
                *Process = Candidate;
                Status = STATUS_SUCCESS;
            }
            break;
        }
    }
    PspUnlockProcessList(OldIrql);
    return Status;
}

HANDLE NTAPI PsGetProcessId(PEPROCESS Process)
{
    return (HANDLE)(ULONG_PTR)Process->UniqueProcessId;
}

NTSTATUS NTAPI PsGetProcessExitStatus(PEPROCESS Process)
{
    return __atomic_load_n(&Process->ExitStatus, __ATOMIC_ACQUIRE);
}

/* ---- Quota of pool ------------------------------------------------------------------------------------- */

NTSTATUS NTAPI PsChargeProcessPoolQuota(PEPROCESS Process, POOL_TYPE PoolType, ULONG_PTR Amount)
{
    return ExChargeProcessQuota(Process->UniqueProcessId, ((ULONG)PoolType & 1) != 0, Amount);
}

VOID NTAPI PsChargePoolQuota(PEPROCESS Process, POOL_TYPE PoolType, ULONG_PTR Amount)
{
    NTSTATUS Status = PsChargeProcessPoolQuota(Process, PoolType, Amount);

    if (!NT_SUCCESS(Status))
    {
        ExRaiseStatus(Status);
    }
}

VOID NTAPI PsReturnPoolQuota(PEPROCESS Process, POOL_TYPE PoolType, ULONG_PTR Amount)
{
    ExReturnProcessQuota(Process->UniqueProcessId, ((ULONG)PoolType & 1) != 0, Amount);
}
