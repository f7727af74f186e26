/* SPDX-License-Identifier: MIT */
/*
 * Threads: the KTHREAD around a port thread. A thread is either started here or a foreign one that is adopted
 * for a while; its storage belongs to the caller in both cases, so it must not go before nobody touches it
 * any more: KiRetireThread waits for wakers that are still inside PortUnparkThread.
 */
#include "ke/ki.h"

/* What a thread has that nobody gave another one: the base of the normal class. */
#define KI_NORMAL_PRIORITY 8

static ULONG KiChooseProcessor(ULONG Processor)
{
    if (Processor == ~0u)
    {
        Processor = __atomic_fetch_add(&MiState.Ke->NextProcessor, 1, __ATOMIC_RELAXED);
    }
    return Processor % MiState.Ke->ProcessorCount;
}

VOID KiInitializeThread(PKTHREAD Thread, ULONG Processor)
{
    __builtin_memset(Thread, 0, sizeof(*Thread));
    KiInitializeHeader(&Thread->Header, ThreadObject, 0);
    Thread->Processor = KiChooseProcessor(Processor);
    Thread->PreviousMode = KernelMode;
    Thread->CurrentMode = KernelMode;
    Thread->ExitStatus = STATUS_PENDING;
    Thread->Priority = KI_NORMAL_PRIORITY;
    InitializeListHead(&Thread->MutantList);
}

static VOID KiListThread(PKTHREAD Thread)
{
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Ke->ThreadListLock);

    InsertTailList(&MiState.Ke->ThreadList, &Thread->ThreadListEntry);
    KiReleaseSpinLock(&MiState.Ke->ThreadListLock, OldIrql);
}

static VOID KiUnlistThread(PKTHREAD Thread)
{
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Ke->ThreadListLock);

    RemoveEntryList(&Thread->ThreadListEntry);
    KiReleaseSpinLock(&MiState.Ke->ThreadListLock, OldIrql);
}

/* ---- The end of a thread, on that thread --------------------------------------------------------------- */

static VOID KiAwaitLastWaker(PKTHREAD Thread)
{
    while (__atomic_load_n(&Thread->PendingWakes, __ATOMIC_ACQUIRE) != 0)
    {
        PortYield();
    }
}

VOID KiRetireThread(PKTHREAD Thread)
{
    KiAbandonMutants(Thread);
    KiUnlistThread(Thread);
    KiSignalHeader(&Thread->Header);
    KiAwaitLastWaker(Thread);
}

/* ---- Threads of processes ------------------------------------------------------------------------------- */

VOID KiSetThreadProcess(PKPROCESS Process)
{
    PKTHREAD Thread = KiCurrentThread();
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Ke->ThreadListLock);

    Thread->Process = Process;
    __atomic_store_n(&Thread->EndPending, FALSE, __ATOMIC_RELAXED);
    KiReleaseSpinLock(&MiState.Ke->ThreadListLock, OldIrql);
}

VOID KiEndThreadsOfProcess(PKPROCESS Process, PKTHREAD Except)
{
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Ke->ThreadListLock);

    for (PLIST_ENTRY Entry = MiState.Ke->ThreadList.Flink; Entry != &MiState.Ke->ThreadList;
         Entry = Entry->Flink)
    {
        PKTHREAD Thread = CONTAINING_RECORD(Entry, KTHREAD, ThreadListEntry);

        /* It is listed, hence its storage stays while the lock is held. */
        if (Thread->Process == Process && Thread != Except)
        {
            __atomic_store_n(&Thread->EndPending, TRUE, __ATOMIC_RELEASE);
            PortUnparkThread(&Thread->Port);
            PortInterruptThread(&Thread->Port);
        }
    }
    KiReleaseSpinLock(&MiState.Ke->ThreadListLock, OldIrql);
}

VOID KiForEachProcessThread(VOID (*Routine)(PKPROCESS Process, ULONG64 WaitStart, PVOID Context),
                            PVOID Context)
{
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Ke->ThreadListLock);

    for (PLIST_ENTRY Entry = MiState.Ke->ThreadList.Flink; Entry != &MiState.Ke->ThreadList;
         Entry = Entry->Flink)
    {
        PKTHREAD Thread = CONTAINING_RECORD(Entry, KTHREAD, ThreadListEntry);

        if (Thread->Process != NULL)
        {
            Routine(Thread->Process, __atomic_load_n(&Thread->WaitStart, __ATOMIC_RELAXED), Context);
        }
    }
    KiReleaseSpinLock(&MiState.Ke->ThreadListLock, OldIrql);
}

/* ---- Priority ------------------------------------------------------------------------------------------ */

KPRIORITY NTAPI KeQueryPriorityThread(PKTHREAD Thread)
{
    return __atomic_load_n(&Thread->Priority, __ATOMIC_RELAXED);
}

KPRIORITY NTAPI KeSetPriorityThread(PKTHREAD Thread, KPRIORITY Priority)
{
    if (Priority <= LOW_PRIORITY || Priority > HIGH_PRIORITY)
    {
        return KeQueryPriorityThread(Thread);
    }
    return __atomic_exchange_n(&Thread->Priority, (CHAR)Priority, __ATOMIC_RELAXED);
}

/* ---- Foreign threads ----------------------------------------------------------------------------------- */

VOID KiAdoptCurrentThread(PKTHREAD Thread, ULONG Processor)
{
    KiRequire(PortGetCurrentThread() == NULL);
    KiInitializeThread(Thread, Processor);
    PortAdoptThread(Thread, &Thread->Port);
    KiListThread(Thread);
}

VOID KiAbandonCurrentThread(PKTHREAD Thread)
{
    KiRequire(PortGetCurrentThread() == Thread);
    /*
     * A test whose bug-check hook did not return may leave with a raised IRQL: the processor must not stay
     * taken.
     */
    if (Thread->Irql >= DISPATCH_LEVEL)
    {
        KeLowerIrql(PASSIVE_LEVEL);
    }
    KiRetireThread(Thread);
    PortAbandonThread(Thread, &Thread->Port);
}

/* ---- Kernel threads ------------------------------------------------------------------------------------ */

static VOID KiThreadStart(PVOID Context)
{
    PKTHREAD Thread = Context;

    KiListThread(Thread);
    Thread->StartRoutine(Thread->StartContext);
    KiRequire(Thread->Irql == PASSIVE_LEVEL);
    ASSERT(Thread->HeldLockCount == 0);
    if (Thread->ExitStatus == STATUS_PENDING)
    {
        Thread->ExitStatus = STATUS_SUCCESS;
    }
    KiRetireThread(Thread);
}

NTSTATUS KiStartThread(PKTHREAD Thread, VOID (*Routine)(PVOID), PVOID Context, ULONG Processor)
{
    if (KiIsDeterministic())
    {
        return STATUS_NOT_SUPPORTED;
    }
    if (KiInject(KiInjectThread))
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    KiInitializeThread(Thread, Processor);
    Thread->SystemThread = TRUE;
    Thread->StartRoutine = Routine;
    Thread->StartContext = Context;
    return PortCreateThread(Thread, &Thread->Port, KiThreadStart, Thread);
}

VOID KiJoinThread(PKTHREAD Thread)
{
    KeWaitForSingleObject(Thread, Executive, KernelMode, FALSE, NULL);
    PortJoinThread(&Thread->Port);
    KiAwaitLastWaker(Thread);
}
