/* SPDX-License-Identifier: MIT */
/*
 * Waiting. One spin lock (DispatcherLock) guards the state and the wait list of every dispatcher object. A
 * waiter puts one wait block per object on the lists and sleeps; whoever changes an object's state completes
 * the waits that become satisfied, on behalf of the waiters: it consumes the states, unlinks all their blocks
 * and records the status, all under the lock. So a woken thread has nothing left to compete for.
 *
 * The waker sets KI_WAIT.Satisfied after it let the lock go. From then on the waiter's stack is the waiter's
 * again; only its KTHREAD is still touched (unpark), which KTHREAD.PendingWakes keeps alive.
 */
#include "ke/ki.h"

/* ---- Sleeping and waking ------------------------------------------------------------------------------- */

static BOOLEAN KiSleepOn(const volatile ULONG *Flag, ULONG64 Deadline, BOOLEAN MayEnd)
{
    PKTHREAD Thread = KiCurrentThread();

    if (KiIsDeterministic())
    {
        return KiRunUntil(Flag, Deadline);
    }
    if (Deadline != ~0ull)
    {
        Deadline += MiState.Ke->BootClock;
    }
    while (__atomic_load_n(Flag, __ATOMIC_ACQUIRE) == 0)
    {
        if (MayEnd && __atomic_load_n(&Thread->EndPending, __ATOMIC_ACQUIRE))
        {
            return FALSE; /* as if the time were over: the thread ends when it leaves the service */
        }
        if (!PortParkThread(&Thread->Port, Deadline))
        {
            return __atomic_load_n(Flag, __ATOMIC_ACQUIRE) != 0;
        }
    }
    return TRUE;
}

BOOLEAN KiSleepUntil(const volatile ULONG *Flag, ULONG64 Deadline)
{
    return KiSleepOn(Flag, Deadline, FALSE);
}

/* A wait that somebody asked for, which says something about how busy the thread is. */
static BOOLEAN KiSleepInWait(const volatile ULONG *Flag, ULONG64 Deadline, KPROCESSOR_MODE Mode)
{
    PKTHREAD Thread = KiCurrentThread();
    BOOLEAN Woken;

    __atomic_store_n(&Thread->WaitStart, KiQueryTime() | 1, __ATOMIC_RELAXED);
    Woken = KiSleepOn(Flag, Deadline, Mode == UserMode);
    __atomic_store_n(&Thread->WaitStart, 0, __ATOMIC_RELAXED);
    return Woken;
}

VOID KiWakeThread(PKTHREAD Thread, volatile ULONG *Flag)
{
    if (KiIsDeterministic())
    {
        __atomic_store_n(Flag, 1, __ATOMIC_RELEASE);
        return;
    }
    __atomic_fetch_add(&Thread->PendingWakes, 1, __ATOMIC_RELAXED);
    __atomic_store_n(Flag, 1, __ATOMIC_RELEASE);
    PortUnparkThread(&Thread->Port);
    __atomic_fetch_sub(&Thread->PendingWakes, 1, __ATOMIC_RELEASE);
}

ULONG64 KiTimeoutToDeadline(const LARGE_INTEGER *Timeout)
{
    ULONG64 Now = KiQueryTime();
    ULONG64 Units;

    if (Timeout == NULL)
    {
        return ~0ull;
    }
    if (Timeout->QuadPart <= 0)
    {
        Units = 0 - (ULONG64)Timeout->QuadPart;
    }
    else
    {
        LARGE_INTEGER System;

        KeQuerySystemTime(&System);
        Units = Timeout->QuadPart > System.QuadPart ? (ULONG64)(Timeout->QuadPart - System.QuadPart) : 0;
    }
    return Units >= (~0ull - Now) / 100 ? ~0ull - 1 : Now + Units * 100;
}

/* ---- The dispatcher lock ------------------------------------------------------------------------------- */

KIRQL KiAcquireDispatcherLock(void)
{
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Ke->DispatcherLock);

    KiNoteLockAcquired(&MiState.Ke->DispatcherLock, KiLockDispatcher, FALSE);
    return OldIrql;
}

VOID KiReleaseDispatcherLock(KIRQL OldIrql)
{
    KiNoteLockReleased(&MiState.Ke->DispatcherLock);
    KiReleaseSpinLock(&MiState.Ke->DispatcherLock, OldIrql);
}

VOID KiReleaseDispatcherLockAndWake(KIRQL OldIrql, PKI_WAIT Woken)
{
    KiReleaseDispatcherLock(OldIrql);
    while (Woken != NULL)
    {
        PKI_WAIT Next = Woken->NextWoken;

        KiWakeThread(Woken->Thread, &Woken->Satisfied);
        Woken = Next;
    }
}

/* ---- Objects as waits see them (DispatcherLock held) --------------------------------------------------- */

VOID KiInitializeHeader(DISPATCHER_HEADER *Header, KOBJECTS Type, LONG State)
{
    __builtin_memset(Header, 0, sizeof(*Header));
    Header->Type = (UCHAR)Type;
    Header->SignalState = State;
    InitializeListHead(&Header->WaitListHead);
}

static BOOLEAN KiIsSignaledFor(const DISPATCHER_HEADER *Header, PKTHREAD Thread)
{
    if (Header->Type == MutantObject && CONTAINING_RECORD(Header, KMUTANT, Header)->OwnerThread == Thread)
    {
        return TRUE;
    }
    return Header->SignalState > 0;
}

static NTSTATUS KiTakeMutant(PKMUTANT Mutant, PKTHREAD Thread)
{
    NTSTATUS Status = STATUS_SUCCESS;

    Mutant->Header.SignalState -= 1;
    if (Mutant->Header.SignalState == 0)
    {
        Mutant->OwnerThread = Thread;
        Thread->CriticalRegion += Mutant->ApcDisable;
        InsertTailList(&Thread->MutantList, &Mutant->MutantListEntry);
        if (Mutant->Abandoned)
        {
            Mutant->Abandoned = FALSE;
            Status = STATUS_ABANDONED;
        }
    }
    return Status;
}

/* A wait of Thread ends with Header: consumes its state. STATUS_ABANDONED or success. */
static NTSTATUS KiConsume(DISPATCHER_HEADER *Header, PKTHREAD Thread)
{
    switch (Header->Type)
    {
    case EventSynchronizationObject:
    case TimerSynchronizationObject:
        Header->SignalState = 0;
        return STATUS_SUCCESS;
    case SemaphoreObject:
        Header->SignalState -= 1;
        return STATUS_SUCCESS;
    case MutantObject:
        return KiTakeMutant(CONTAINING_RECORD(Header, KMUTANT, Header), Thread);
    default:
        return STATUS_SUCCESS;
    }
}

static DISPATCHER_HEADER *KiWaitObject(PKI_WAIT Wait, ULONG Index)
{
    return Wait->Blocks[Index].Object;
}

/* If Wait can end now, consumes and returns TRUE with Wait->Status. The blocks may or may not be linked. */
static BOOLEAN KiTrySatisfy(PKI_WAIT Wait)
{
    ULONG Index;

    for (Index = 0; Index < Wait->Count; Index += 1)
    {
        BOOLEAN Signaled = KiIsSignaledFor(KiWaitObject(Wait, Index), Wait->Thread);

        if (Signaled && !Wait->All)
        {
            NTSTATUS Status = KiConsume(KiWaitObject(Wait, Index), Wait->Thread);
            Wait->Status =
                (Status == STATUS_SUCCESS ? STATUS_WAIT_0 : STATUS_ABANDONED_WAIT_0) + (NTSTATUS)Index;
            return TRUE;
        }
        if (!Signaled && Wait->All)
        {
            return FALSE;
        }
    }
    if (!Wait->All)
    {
        return FALSE;
    }
    Wait->Status = STATUS_WAIT_0;
    for (Index = 0; Index < Wait->Count; Index += 1)
    {
        if (KiConsume(KiWaitObject(Wait, Index), Wait->Thread) != STATUS_SUCCESS &&
            Wait->Status == STATUS_WAIT_0)
        {
            Wait->Status = STATUS_ABANDONED_WAIT_0 + (NTSTATUS)Index;
        }
    }
    return TRUE;
}

static VOID KiLinkBlocks(PKI_WAIT Wait)
{
    ULONG Index;

    for (Index = 0; Index < Wait->Count; Index += 1)
    {
        InsertTailList(&KiWaitObject(Wait, Index)->WaitListHead, &Wait->Blocks[Index].WaitListEntry);
    }
}

static VOID KiUnlinkBlocks(PKI_WAIT Wait)
{
    ULONG Index;

    for (Index = 0; Index < Wait->Count; Index += 1)
    {
        RemoveEntryList(&Wait->Blocks[Index].WaitListEntry);
    }
}

VOID KiSatisfyWaiters(DISPATCHER_HEADER *Header, PKI_WAIT *Woken)
{
    PLIST_ENTRY Entry = Header->WaitListHead.Flink;

    while (Header->SignalState > 0 && Entry != &Header->WaitListHead)
    {
        PKI_WAIT Wait = CONTAINING_RECORD(Entry, KWAIT_BLOCK, WaitListEntry)->SparePtr;

        if (!KiTrySatisfy(Wait))
        {
            Entry = Entry->Flink; /* a wait for all, whose other objects are not signaled */
            continue;
        }
        KiUnlinkBlocks(Wait);
        Wait->Completed = TRUE;
        Wait->NextWoken = NULL;
        while (*Woken != NULL)
        {
            Woken = &(*Woken)->NextWoken;
        }
        *Woken = Wait;
        Entry = Header->WaitListHead.Flink; /* the neighbours may have been blocks of the same wait */
    }
}

/* ---- The waits ----------------------------------------------------------------------------------------- */

/* Mutants cannot be acquired recursively without end. */
static BOOLEAN KiIsMutantLimitReached(PKI_WAIT Wait)
{
    ULONG Index;

    for (Index = 0; Index < Wait->Count; Index += 1)
    {
        DISPATCHER_HEADER *Header = KiWaitObject(Wait, Index);

        if (Header->Type == MutantObject && Header->SignalState == (LONG)MINLONG &&
            CONTAINING_RECORD(Header, KMUTANT, Header)->OwnerThread == Wait->Thread)
        {
            return TRUE;
        }
    }
    return FALSE;
}

static NTSTATUS KiWait(PKI_WAIT Wait, PLARGE_INTEGER Timeout, KPROCESSOR_MODE Mode)
{
    BOOLEAN Poll = Timeout != NULL && Timeout->QuadPart == 0;
    ULONG64 Deadline = Poll ? 0 : KiTimeoutToDeadline(Timeout);
    KIRQL OldIrql;

    if (!Poll && Wait->Thread->Irql > APC_LEVEL)
    {
        KeBugCheckEx(ATTEMPTED_SWITCH_FROM_DPC, (ULONG_PTR)Wait->Thread, (ULONG_PTR)KiWaitObject(Wait, 0),
                     Wait->Thread->Irql, 0);
    }
    OldIrql = KiAcquireDispatcherLock();
    if (KiIsMutantLimitReached(Wait))
    {
        KiReleaseDispatcherLock(OldIrql);
        ExRaiseStatus(STATUS_MUTANT_LIMIT_EXCEEDED);
    }
    if (KiTrySatisfy(Wait) || Poll)
    {
        KiReleaseDispatcherLock(OldIrql);
        return Wait->Status;
    }
    KiLinkBlocks(Wait);
    KiReleaseDispatcherLock(OldIrql);
    if (KiSleepInWait(&Wait->Satisfied, Deadline, Mode))
    {
        return Wait->Status;
    }
    OldIrql = KiAcquireDispatcherLock();
    if (!Wait->Completed)
    {
        KiUnlinkBlocks(Wait);
        KiReleaseDispatcherLock(OldIrql);
        return STATUS_TIMEOUT;
    }
    /* Satisfied at the last moment: the waker is about to touch Wait. */
    KiReleaseDispatcherLock(OldIrql);
    KiSleepUntil(&Wait->Satisfied, ~0ull);
    return Wait->Status;
}

static VOID KiInitializeBlock(PKI_WAIT Wait, ULONG Index, PVOID Object)
{
    PKWAIT_BLOCK Block = &Wait->Blocks[Index];

    Block->Object = Object;
    Block->Thread = Wait->Thread;
    Block->WaitKey = (USHORT)Index;
    Block->SparePtr = Wait;
}

NTSTATUS NTAPI KeWaitForSingleObject(PVOID Object, KWAIT_REASON WaitReason, KPROCESSOR_MODE WaitMode,
                                     BOOLEAN Alertable, PLARGE_INTEGER Timeout)
{
    KWAIT_BLOCK Block;
    KI_WAIT Wait = { .Thread = KiCurrentThread(), .Blocks = &Block, .Count = 1, .Status = STATUS_TIMEOUT };

    UNREFERENCED_PARAMETER(WaitReason);
    UNREFERENCED_PARAMETER(Alertable);
    KiInitializeBlock(&Wait, 0, Object);
    return KiWait(&Wait, Timeout, WaitMode);
}

NTSTATUS NTAPI KeWaitForMultipleObjects(ULONG Count, PVOID Object[], WAIT_TYPE WaitType,
                                        KWAIT_REASON WaitReason, KPROCESSOR_MODE WaitMode, BOOLEAN Alertable,
                                        PLARGE_INTEGER Timeout, PKWAIT_BLOCK WaitBlockArray)
{
    KWAIT_BLOCK Blocks[THREAD_WAIT_OBJECTS];
    KI_WAIT Wait = { .Thread = KiCurrentThread(), .Count = Count, .Status = STATUS_TIMEOUT };
    ULONG Index;

    UNREFERENCED_PARAMETER(WaitReason);
    UNREFERENCED_PARAMETER(Alertable);
    if (Count == 0 || Count > (WaitBlockArray != NULL ? MAXIMUM_WAIT_OBJECTS : THREAD_WAIT_OBJECTS))
    {
        KeBugCheckEx(MAXIMUM_WAIT_OBJECTS_EXCEEDED, Count, (ULONG_PTR)WaitBlockArray, 0, 0);
    }
    Wait.Blocks = WaitBlockArray != NULL ? WaitBlockArray : Blocks;
    Wait.All = WaitType == WaitAll;
    for (Index = 0; Index < Count; Index += 1)
    {
        KiInitializeBlock(&Wait, Index, Object[Index]);
    }
    return KiWait(&Wait, Timeout, WaitMode);
}

NTSTATUS NTAPI KeDelayExecutionThread(KPROCESSOR_MODE WaitMode, BOOLEAN Alertable, PLARGE_INTEGER Interval)
{
    const volatile ULONG Never = 0;

    UNREFERENCED_PARAMETER(Alertable);
    if (KiCurrentThread()->Irql > APC_LEVEL)
    {
        KeBugCheckEx(ATTEMPTED_SWITCH_FROM_DPC, (ULONG_PTR)KiCurrentThread(), 0, KiCurrentThread()->Irql, 0);
    }
    if (Interval->QuadPart == 0 && !KiIsDeterministic())
    {
        PortYield();
        return STATUS_SUCCESS;
    }
    KiSleepInWait(&Never, KiTimeoutToDeadline(Interval), WaitMode);
    return STATUS_SUCCESS;
}
