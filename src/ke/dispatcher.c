/* SPDX-License-Identifier: MIT */
/*
 * The objects that threads wait on: events, semaphores, mutants. Each operation changes the state under
 * DispatcherLock, lets wait.c complete the waits that this satisfies, and wakes those threads after the lock
 * is released. The priority increment and the Wait hint of the documented functions change nothing here:
 * there are no priorities, and a wait that follows simply takes the lock again.
 */
#include "ke/ki.h"

/* ---- Events -------------------------------------------------------------------------------------------- */

VOID NTAPI KeInitializeEvent(PRKEVENT Event, EVENT_TYPE Type, BOOLEAN State)
{
    KiInitializeHeader(&Event->Header,
                       Type == NotificationEvent ? EventNotificationObject : EventSynchronizationObject,
                       State != FALSE);
}

LONG NTAPI KeSetEvent(PRKEVENT Event, KPRIORITY Increment, BOOLEAN Wait)
{
    PKI_WAIT Woken = NULL;
    LONG Previous;
    KIRQL OldIrql;

    KiVerify(KiVerifySetEvent, Event);
    OldIrql = KiAcquireDispatcherLock();
    Previous = Event->Header.SignalState;
    UNREFERENCED_PARAMETER(Increment);
    UNREFERENCED_PARAMETER(Wait);
    Event->Header.SignalState = 1;
    KiSatisfyWaiters(&Event->Header, &Woken);
    KiReleaseDispatcherLockAndWake(OldIrql, Woken);
    return Previous;
}

LONG NTAPI KePulseEvent(PRKEVENT Event, KPRIORITY Increment, BOOLEAN Wait)
{
    KIRQL OldIrql = KiAcquireDispatcherLock();
    LONG Previous = Event->Header.SignalState;
    PKI_WAIT Woken = NULL;

    UNREFERENCED_PARAMETER(Increment);
    UNREFERENCED_PARAMETER(Wait);
    Event->Header.SignalState = 1;
    KiSatisfyWaiters(&Event->Header, &Woken);
    Event->Header.SignalState = 0;
    KiReleaseDispatcherLockAndWake(OldIrql, Woken);
    return Previous;
}

LONG NTAPI KeResetEvent(PRKEVENT Event)
{
    KIRQL OldIrql = KiAcquireDispatcherLock();
    LONG Previous = Event->Header.SignalState;

    Event->Header.SignalState = 0;
    KiReleaseDispatcherLock(OldIrql);
    return Previous;
}

VOID NTAPI KeClearEvent(PRKEVENT Event)
{
    (void)KeResetEvent(Event);
}

/* A look without the lock, which everybody else holds; unseen by TSan for that reason. */
PORT_UNSEEN_BY_TSAN
LONG NTAPI KeReadStateEvent(PRKEVENT Event)
{
    return *(const volatile LONG *)&Event->Header.SignalState;
}

/* ---- Semaphores ---------------------------------------------------------------------------------------- */

VOID NTAPI KeInitializeSemaphore(PRKSEMAPHORE Semaphore, LONG Count, LONG Limit)
{
    KiInitializeHeader(&Semaphore->Header, SemaphoreObject, Count);
    Semaphore->Limit = Limit;
}

LONG NTAPI KeReleaseSemaphore(PRKSEMAPHORE Semaphore, KPRIORITY Increment, LONG Adjustment, BOOLEAN Wait)
{
    KIRQL OldIrql = KiAcquireDispatcherLock();
    LONG Previous = Semaphore->Header.SignalState;
    PKI_WAIT Woken = NULL;

    UNREFERENCED_PARAMETER(Increment);
    UNREFERENCED_PARAMETER(Wait);
    if (Adjustment < 0 || Adjustment > Semaphore->Limit - Previous)
    {
        KiReleaseDispatcherLock(OldIrql);
        ExRaiseStatus(STATUS_SEMAPHORE_LIMIT_EXCEEDED);
    }
    Semaphore->Header.SignalState = Previous + Adjustment;
    KiSatisfyWaiters(&Semaphore->Header, &Woken);
    KiReleaseDispatcherLockAndWake(OldIrql, Woken);
    return Previous;
}

LONG NTAPI KeReadStateSemaphore(PRKSEMAPHORE Semaphore)
{
    return __atomic_load_n(&Semaphore->Header.SignalState, __ATOMIC_ACQUIRE);
}

/* ---- Mutants (kernel name: mutex) ---------------------------------------------------------------------- */

VOID NTAPI KeInitializeMutex(PRKMUTEX Mutex, ULONG Level)
{
    UNREFERENCED_PARAMETER(Level);
    __builtin_memset(Mutex, 0, sizeof(*Mutex));
    KiInitializeHeader(&Mutex->Header, MutantObject, 1);
    Mutex->ApcDisable = 1;
}

/* The mutant's owner lets go for the last time, or ends. DispatcherLock held. */
static VOID KiFreeMutant(PRKMUTEX Mutex, PKI_WAIT *Woken)
{
    RemoveEntryList(&Mutex->MutantListEntry);
    Mutex->OwnerThread->CriticalRegion -= Mutex->ApcDisable;
    Mutex->OwnerThread = NULL;
    Mutex->Header.SignalState = 1;
    KiSatisfyWaiters(&Mutex->Header, Woken);
}

LONG NTAPI KeReleaseMutex(PRKMUTEX Mutex, BOOLEAN Wait)
{
    KIRQL OldIrql = KiAcquireDispatcherLock();
    LONG Previous = Mutex->Header.SignalState;
    PKI_WAIT Woken = NULL;

    UNREFERENCED_PARAMETER(Wait);
    if (Mutex->OwnerThread != KiCurrentThread())
    {
        NTSTATUS Status = Mutex->Abandoned ? STATUS_ABANDONED : STATUS_MUTANT_NOT_OWNED;

        KiReleaseDispatcherLock(OldIrql);
        ExRaiseStatus(Status);
    }
    if (Previous == 0)
    {
        KiFreeMutant(Mutex, &Woken);
    }
    else
    {
        Mutex->Header.SignalState += 1;
    }
    KiReleaseDispatcherLockAndWake(OldIrql, Woken);
    return Previous;
}

LONG NTAPI KeReadStateMutex(PRKMUTEX Mutex)
{
    return __atomic_load_n(&Mutex->Header.SignalState, __ATOMIC_ACQUIRE);
}

VOID KiAbandonMutants(PKTHREAD Thread)
{
    KIRQL OldIrql = KiAcquireDispatcherLock();
    PKI_WAIT Woken = NULL;

    while (!IsListEmpty(&Thread->MutantList))
    {
        PRKMUTEX Mutex = CONTAINING_RECORD(Thread->MutantList.Flink, KMUTANT, MutantListEntry);

        Mutex->Abandoned = TRUE;
        KiFreeMutant(Mutex, &Woken);
    }
    KiReleaseDispatcherLockAndWake(OldIrql, Woken);
}

/* ---- Objects of other rooms ---------------------------------------------------------------------------- */

VOID KiSignalHeader(DISPATCHER_HEADER *Header)
{
    KIRQL OldIrql = KiAcquireDispatcherLock();
    PKI_WAIT Woken = NULL;

    Header->SignalState = 1;
    KiSatisfyWaiters(Header, &Woken);
    KiReleaseDispatcherLockAndWake(OldIrql, Woken);
}
