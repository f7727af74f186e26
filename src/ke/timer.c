/* SPDX-License-Identifier: MIT */
/*
 * Timers and deferred procedure calls. Set timers stand in one list by due time, under DispatcherLock; one
 * system thread sleeps until the first is due, signals it, queues its DPC, and runs all queued DPCs at
 * DISPATCH_LEVEL one after the other. In deterministic mode the same work is done by whoever waits. A list is
 * enough: the memory manager itself sets no timers (its workers have periods), clients set few.
 */
#include "ke/ki.h"

static KI_TIMER_QUEUE *KiTimers(void)
{
    return MiState.Ke->Timers;
}

VOID KiWakeTimerThread(void)
{
    if (!KiIsDeterministic())
    {
        PortUnparkThread(&KiTimers()->Thread.Port);
    }
}

/* ---- DPCs ---------------------------------------------------------------------------------------------- */

VOID NTAPI KeInitializeDpc(PRKDPC Dpc, PKDEFERRED_ROUTINE DeferredRoutine, PVOID DeferredContext)
{
    __builtin_memset(Dpc, 0, sizeof(*Dpc));
    Dpc->Type = DpcObject;
    Dpc->Importance = MediumImportance;
    Dpc->DeferredRoutine = DeferredRoutine;
    Dpc->DeferredContext = DeferredContext;
}

VOID NTAPI KeSetImportanceDpc(PRKDPC Dpc, KDPC_IMPORTANCE Importance)
{
    Dpc->Importance = (UCHAR)Importance;
}

VOID NTAPI KeSetTargetProcessorDpc(PRKDPC Dpc, CCHAR Number)
{
    Dpc->Number = (USHORT)Number;
}

/* DispatcherLock held. FALSE: it stands in the queue already. */
static BOOLEAN KiQueueDpc(PRKDPC Dpc, PVOID SystemArgument1, PVOID SystemArgument2)
{
    KI_TIMER_QUEUE *Queue = KiTimers();

    if (Dpc->DpcData != NULL)
    {
        return FALSE;
    }
    Dpc->DpcData = Queue;
    Dpc->SystemArgument1 = SystemArgument1;
    Dpc->SystemArgument2 = SystemArgument2;
    Dpc->DpcListEntry.Next = NULL;
    if (Dpc->Importance == HighImportance && Queue->FirstDpc != NULL)
    {
        Dpc->DpcListEntry.Next = Queue->FirstDpc;
        Queue->FirstDpc = &Dpc->DpcListEntry;
        return TRUE;
    }
    *(Queue->FirstDpc != NULL ? &Queue->LastDpc->Next : &Queue->FirstDpc) = &Dpc->DpcListEntry;
    Queue->LastDpc = &Dpc->DpcListEntry;
    return TRUE;
}

BOOLEAN NTAPI KeInsertQueueDpc(PRKDPC Dpc, PVOID SystemArgument1, PVOID SystemArgument2)
{
    KIRQL OldIrql = KiAcquireDispatcherLock();
    BOOLEAN Inserted = KiQueueDpc(Dpc, SystemArgument1, SystemArgument2);

    KiReleaseDispatcherLock(OldIrql);
    if (Inserted)
    {
        KiWakeTimerThread();
    }
    return Inserted;
}

BOOLEAN NTAPI KeRemoveQueueDpc(PRKDPC Dpc)
{
    KI_TIMER_QUEUE *Queue = KiTimers();
    KIRQL OldIrql = KiAcquireDispatcherLock();
    PSINGLE_LIST_ENTRY Previous = NULL;
    PSINGLE_LIST_ENTRY Entry = Queue->FirstDpc;

    while (Entry != NULL && Entry != &Dpc->DpcListEntry)
    {
        Previous = Entry;
        Entry = Entry->Next;
    }
    if (Entry != NULL)
    {
        *(Previous != NULL ? &Previous->Next : &Queue->FirstDpc) = Entry->Next;
        Queue->LastDpc = Queue->LastDpc == Entry ? Previous : Queue->LastDpc;
        Dpc->DpcData = NULL;
    }
    KiReleaseDispatcherLock(OldIrql);
    return Entry != NULL;
}

/* Takes the first DPC off the queue and runs it. */
static BOOLEAN KiRunDpc(void)
{
    KI_TIMER_QUEUE *Queue = KiTimers();
    KIRQL OldIrql = KiAcquireDispatcherLock();
    PSINGLE_LIST_ENTRY Entry = Queue->FirstDpc;
    KDPC Copy;
    PRKDPC Dpc;

    if (Entry == NULL)
    {
        KiReleaseDispatcherLock(OldIrql);
        return FALSE;
    }
    Queue->FirstDpc = Entry->Next;
    Queue->DpcActive += 1;
    Dpc = CONTAINING_RECORD(Entry, KDPC, DpcListEntry);
    Copy = *Dpc; /* the routine may free the object, or queue it again */
    Dpc->DpcData = NULL;
    KiNoteLockReleased(&MiState.Ke->DispatcherLock);
    KiReleaseSpinLockFromDispatch(&MiState.Ke->DispatcherLock);
    Copy.DeferredRoutine(Dpc, Copy.DeferredContext, Copy.SystemArgument1, Copy.SystemArgument2);
    KiAcquireSpinLockAtDispatch(&MiState.Ke->DispatcherLock);
    KiNoteLockAcquired(&MiState.Ke->DispatcherLock, KiLockDispatcher, FALSE);
    Queue->DpcActive -= 1;
    KiReleaseDispatcherLock(OldIrql);
    return TRUE;
}

VOID NTAPI KeFlushQueuedDpcs(VOID)
{
    KI_TIMER_QUEUE *Queue = KiTimers();
    BOOLEAN Busy = TRUE;

    while (Busy)
    {
        KIRQL OldIrql = KiAcquireDispatcherLock();

        Busy = Queue->FirstDpc != NULL || Queue->DpcActive != 0;
        KiReleaseDispatcherLock(OldIrql);
        if (Busy && KiIsDeterministic())
        {
            KiServeTimers();
        }
        else if (Busy)
        {
            KiWakeTimerThread();
            PortYield();
        }
    }
}

/* ---- Timers -------------------------------------------------------------------------------------------- */

/* DueTime while set: nanoseconds of KiQueryTime. TimerListEntry.Flink == NULL: not set. */

VOID NTAPI KeInitializeTimerEx(PKTIMER Timer, TIMER_TYPE Type)
{
    __builtin_memset(Timer, 0, sizeof(*Timer));
    KiInitializeHeader(&Timer->Header,
                       Type == NotificationTimer ? TimerNotificationObject : TimerSynchronizationObject,
                       FALSE);
}

VOID NTAPI KeInitializeTimer(PKTIMER Timer)
{
    KeInitializeTimerEx(Timer, NotificationTimer);
}

static VOID KiInsertTimer(PKTIMER Timer)
{
    PLIST_ENTRY Head = &KiTimers()->Timers;
    PLIST_ENTRY Entry = Head->Blink;

    while (Entry != Head &&
           CONTAINING_RECORD(Entry, KTIMER, TimerListEntry)->DueTime.QuadPart > Timer->DueTime.QuadPart)
    {
        Entry = Entry->Blink;
    }
    InsertHeadList(Entry, &Timer->TimerListEntry);
}

/* TRUE: it was set. */
static BOOLEAN KiRemoveTimer(PKTIMER Timer)
{
    if (Timer->TimerListEntry.Flink == NULL)
    {
        return FALSE;
    }
    RemoveEntryList(&Timer->TimerListEntry);
    Timer->TimerListEntry.Flink = NULL;
    return TRUE;
}

BOOLEAN NTAPI KeSetTimerEx(PKTIMER Timer, LARGE_INTEGER DueTime, LONG Period, PKDPC Dpc)
{
    ULONG64 Deadline = KiTimeoutToDeadline(&DueTime);
    KIRQL OldIrql = KiAcquireDispatcherLock();
    BOOLEAN WasSet = KiRemoveTimer(Timer);

    Timer->Header.SignalState = 0;
    Timer->DueTime.QuadPart = Deadline;
    Timer->Period = (ULONG)Period;
    Timer->Dpc = Dpc;
    KiInsertTimer(Timer);
    KiReleaseDispatcherLock(OldIrql);
    KiWakeTimerThread();
    return WasSet;
}

BOOLEAN NTAPI KeSetTimer(PKTIMER Timer, LARGE_INTEGER DueTime, PKDPC Dpc)
{
    return KeSetTimerEx(Timer, DueTime, 0, Dpc);
}

BOOLEAN NTAPI KeSetCoalescableTimer(PKTIMER Timer, LARGE_INTEGER DueTime, ULONG Period, ULONG TolerableDelay,
                                    PKDPC Dpc)
{
    UNREFERENCED_PARAMETER(TolerableDelay);
    return KeSetTimerEx(Timer, DueTime, (LONG)Period, Dpc);
}

BOOLEAN NTAPI KeCancelTimer(PKTIMER Timer)
{
    KIRQL OldIrql = KiAcquireDispatcherLock();
    BOOLEAN WasSet = KiRemoveTimer(Timer);

    KiReleaseDispatcherLock(OldIrql);
    return WasSet;
}

BOOLEAN NTAPI KeReadStateTimer(PKTIMER Timer)
{
    return __atomic_load_n(&Timer->Header.SignalState, __ATOMIC_ACQUIRE) != 0;
}

/* Signals the first timer if it is due. */
static BOOLEAN KiExpireTimer(void)
{
    KI_TIMER_QUEUE *Queue = KiTimers();
    ULONG64 Now = KiQueryTime();
    PKI_WAIT Woken = NULL;
    KIRQL OldIrql = KiAcquireDispatcherLock();
    PKTIMER Timer = CONTAINING_RECORD(Queue->Timers.Flink, KTIMER, TimerListEntry);

    if (IsListEmpty(&Queue->Timers) || Timer->DueTime.QuadPart > Now)
    {
        KiReleaseDispatcherLock(OldIrql);
        return FALSE;
    }
    KiRemoveTimer(Timer);
    Timer->Header.SignalState = 1;
    if (Timer->Period != 0)
    {
        Timer->DueTime.QuadPart += Timer->Period * 1000000ull;
        KiInsertTimer(Timer);
    }
    if (Timer->Dpc != NULL)
    {
        KiQueueDpc(Timer->Dpc, NULL, NULL);
    }
    KiSatisfyWaiters(&Timer->Header, &Woken);
    KiReleaseDispatcherLockAndWake(OldIrql, Woken);
    return TRUE;
}

ULONG64 KiNextTimer(void)
{
    KI_TIMER_QUEUE *Queue = KiTimers();
    KIRQL OldIrql = KiAcquireDispatcherLock();
    ULONG64 Next = ~0ull;

    if (!IsListEmpty(&Queue->Timers))
    {
        Next = CONTAINING_RECORD(Queue->Timers.Flink, KTIMER, TimerListEntry)->DueTime.QuadPart;
    }
    KiReleaseDispatcherLock(OldIrql);
    return Next;
}

BOOLEAN KiServeTimers(void)
{
    BOOLEAN Any = FALSE;

    while (KiExpireTimer() || KiRunDpc())
    {
        Any = TRUE;
    }
    return Any;
}

/* ---- The thread ---------------------------------------------------------------------------------------- */

static VOID KiTimerThread(PVOID Context)
{
    KI_TIMER_QUEUE *Queue = Context;

    while (!__atomic_load_n(&Queue->Stop, __ATOMIC_ACQUIRE))
    {
        ULONG64 Next;

        KiStartWorkThreads();
        if (KiServeTimers())
        {
            continue;
        }
        Next = KiNextTimer();
        PortParkThread(&Queue->Thread.Port, Next == ~0ull ? Next : Next + MiState.Ke->BootClock);
    }
}

NTSTATUS KiStartTimers(void)
{
    KI_TIMER_QUEUE *Queue = KiTimers();
    NTSTATUS Status;

    if (KiIsDeterministic())
    {
        KiStartWorkThreads();
        return STATUS_SUCCESS;
    }
    Status = KiStartThread(&Queue->Thread, KiTimerThread, Queue, ~0u);
    Queue->ThreadStarted = NT_SUCCESS(Status);
    return Status;
}

VOID KiStopTimers(void)
{
    KI_TIMER_QUEUE *Queue = KiTimers();

    __atomic_store_n(&Queue->Stop, 1, __ATOMIC_RELEASE);
    if (Queue->ThreadStarted)
    {
        KiWakeTimerThread();
        KiJoinThread(&Queue->Thread);
    }
}
