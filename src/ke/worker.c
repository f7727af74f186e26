/* SPDX-License-Identifier: MIT */
/*
 * System workers, written as steps so that one source serves both modes.
 *
 * Threaded: each worker is a thread that waits for its event or its period and runs the step until it reports
 * that nothing is left.
 *
 * Deterministic: there is one thread. Whoever has to wait becomes the scheduler: it polls I/O, runs timers
 * and steps each ready worker once, in an order drawn from the seed, nested on its own stack but under the
 * worker's KTHREAD (own IRQL, own exception frames, own held locks). When nothing is ready, virtual time
 * jumps to the next due moment; when there is none, nobody can ever end the wait, and that is reported as the
 * deadlock it is.
 */
#include "ke/ki.h"

/*
 * Virtual nanoseconds that one round of steps costs: so that timeouts pass even if a worker is always busy.
 */
#define KI_ROUND_COST 1000ull
/* A wait without a timeout that lasted so long (virtual time) while only periodic work ran will never end. */
#define KI_DEADLOCK_TIME (3600ull * 1000000000ull)

/* ---- Time ---------------------------------------------------------------------------------------------- */

ULONG64 KiQueryTime(void)
{
    if (KiIsDeterministic())
    {
        return MiState.Ke->VirtualTime;
    }
    return PortQueryClock() - MiState.Ke->BootClock;
}

VOID KiAdvanceTime(ULONG64 Nanoseconds)
{
    KiRequire(KiIsDeterministic());
    MiState.Ke->VirtualTime += Nanoseconds;
}

ULONG64 KiDraw(void)
{
    ULONG64 Value;

    MiState.Ke->RandomState += 0x9e3779b97f4a7c15ull;
    Value = MiState.Ke->RandomState;
    Value = (Value ^ (Value >> 30)) * 0xbf58476d1ce4e5b9ull;
    Value = (Value ^ (Value >> 27)) * 0x94d049bb133111ebull;
    return Value ^ (Value >> 31);
}

/* ---- Threaded mode ------------------------------------------------------------------------------------- */

static VOID KiWorkerThread(PVOID Context)
{
    KI_WORKER *Worker = Context;
    LARGE_INTEGER Period;

    Period.QuadPart = -(LONGLONG)((Worker->Period + 99) / 100);
    for (;;)
    {
        KeWaitForSingleObject(&Worker->Event, Executive, KernelMode, FALSE,
                              Worker->Period != 0 ? &Period : NULL);
        do
        {
            if (__atomic_load_n(&Worker->Stop, __ATOMIC_ACQUIRE))
            {
                return;
            }
        } while (Worker->Routine(Worker->Context));
    }
}

/* ---- Deterministic mode -------------------------------------------------------------------------------- */

static BOOLEAN KiIsWorkerReady(const KI_WORKER *Worker)
{
    return !Worker->Running && (Worker->Event.Header.SignalState > 0 ||
                                (Worker->Period != 0 && Worker->NextDue <= MiState.Ke->VirtualTime));
}

static VOID KiStepWorker(KI_WORKER *Worker)
{
    PKTHREAD Stepper = KiCurrentThread();

    Worker->Running = TRUE;
    Worker->NextDue = MiState.Ke->VirtualTime + Worker->Period;
    KeClearEvent(&Worker->Event);
    PortSetCurrentThread(&Worker->Thread);
    if (Worker->Routine(Worker->Context))
    {
        KeSetEvent(&Worker->Event, 0, FALSE);
    }
    KiRequire(Worker->Thread.Irql == PASSIVE_LEVEL);
    ASSERT(Worker->Thread.HeldLockCount == 0);
    PortSetCurrentThread(Stepper);
    Worker->Running = FALSE;
}

BOOLEAN KiStepWorkers(void)
{
    KI_WORKER *Ready[KI_MAXIMUM_WORKERS];
    ULONG Count = 0;
    ULONG Index;
    BOOLEAN Ran;

    if (!KiIsDeterministic() || KiCurrentThread()->Irql > APC_LEVEL)
    {
        return FALSE;
    }
    Ran = PortPollIo();
    Ran |= KiServeTimers();
    for (Index = 0; Index < MiState.Ke->WorkerCount; Index += 1)
    {
        if (KiIsWorkerReady(MiState.Ke->Workers[Index]))
        {
            Ready[Count] = MiState.Ke->Workers[Index];
            Count += 1;
        }
    }
    for (; Count != 0; Count -= 1)
    {
        Index = (ULONG)(KiDraw() % Count);
        /*
         * A step may have run, or even stopped, others of the list (it waited, and became the scheduler
         * itself).
         */
        if (!Ready[Index]->Stop && KiIsWorkerReady(Ready[Index]))
        {
            KiStepWorker(Ready[Index]);
            Ran = TRUE;
        }
        Ready[Index] = Ready[Count - 1];
    }
    if (Ran)
    {
        MiState.Ke->VirtualTime += KI_ROUND_COST;
    }
    return Ran;
}

static ULONG64 KiNextDueTime(void)
{
    ULONG64 Next = KiNextTimer();
    ULONG Index;

    for (Index = 0; Index < MiState.Ke->WorkerCount; Index += 1)
    {
        const KI_WORKER *Worker = MiState.Ke->Workers[Index];

        if (Worker->Period != 0 && !Worker->Running && Worker->NextDue < Next)
        {
            Next = Worker->NextDue;
        }
    }
    return Next;
}

BOOLEAN KiRunUntil(const volatile ULONG *Flag, ULONG64 Deadline)
{
    ULONG64 Begin = MiState.Ke->VirtualTime;

    while (*Flag == 0)
    {
        ULONG64 Next;

        if (MiState.Ke->VirtualTime >= Deadline)
        {
            return FALSE;
        }
        if (KiStepWorkers() && (Deadline != ~0ull || MiState.Ke->VirtualTime - Begin < KI_DEADLOCK_TIME))
        {
            continue;
        }
        Next = KiNextDueTime();
        Next = Next < Deadline ? Next : Deadline;
        if (Next == ~0ull || (Deadline == ~0ull && MiState.Ke->VirtualTime - Begin >= KI_DEADLOCK_TIME))
        {
            KiAssertionFailed("deadlock: nothing that is left can end this wait", __FILE__, __LINE__);
        }
        if (Next > MiState.Ke->VirtualTime)
        {
            MiState.Ke->VirtualTime = Next;
        }
    }
    return TRUE;
}

/* ---- Both ---------------------------------------------------------------------------------------------- */

static BOOLEAN KiListWorker(KI_WORKER *Worker)
{
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Ke->ThreadListLock);
    BOOLEAN Room = MiState.Ke->WorkerCount < KI_MAXIMUM_WORKERS;

    if (Room)
    {
        MiState.Ke->Workers[MiState.Ke->WorkerCount] = Worker;
        MiState.Ke->WorkerCount += 1;
    }
    KiReleaseSpinLock(&MiState.Ke->ThreadListLock, OldIrql);
    return Room;
}

static VOID KiUnlistWorker(KI_WORKER *Worker)
{
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Ke->ThreadListLock);
    ULONG Index = 0;

    while (Index < MiState.Ke->WorkerCount && MiState.Ke->Workers[Index] != Worker)
    {
        Index += 1;
    }
    KiRequire(Index < MiState.Ke->WorkerCount);
    MiState.Ke->WorkerCount -= 1;
    /* The others keep their order, so that a seed means the same afterwards. */
    for (; Index < MiState.Ke->WorkerCount; Index += 1)
    {
        MiState.Ke->Workers[Index] = MiState.Ke->Workers[Index + 1];
    }
    KiReleaseSpinLock(&MiState.Ke->ThreadListLock, OldIrql);
}

NTSTATUS KiStartWorker(KI_WORKER *Worker, PCSTR Name, BOOLEAN (*Routine)(PVOID), PVOID Context,
                       ULONG64 Period)
{
    NTSTATUS Status = STATUS_SUCCESS;

    __builtin_memset(Worker, 0, sizeof(*Worker));
    Worker->Name = Name;
    Worker->Routine = Routine;
    Worker->Context = Context;
    Worker->Period = Period;
    KeInitializeEvent(&Worker->Event, SynchronizationEvent, FALSE);
    if (!KiListWorker(Worker))
    {
        Worker->Routine = NULL;
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    if (KiIsDeterministic())
    {
        KiInitializeThread(&Worker->Thread, ~0u);
        Worker->Thread.SystemThread = TRUE;
        Worker->NextDue = MiState.Ke->VirtualTime + Period;
        return STATUS_SUCCESS;
    }
    Status = KiStartThread(&Worker->Thread, KiWorkerThread, Worker, ~0u);
    if (!NT_SUCCESS(Status))
    {
        KiUnlistWorker(Worker);
        Worker->Routine = NULL;
    }
    return Status;
}

VOID KiStopWorker(KI_WORKER *Worker)
{
    if (Worker->Routine == NULL)
    {
        return; /* never started */
    }
    KiRequire(!Worker->Running);
    __atomic_store_n(&Worker->Stop, TRUE, __ATOMIC_RELEASE);
    if (!KiIsDeterministic())
    {
        KeSetEvent(&Worker->Event, 0, FALSE);
        KiJoinThread(&Worker->Thread);
    }
    KiUnlistWorker(Worker);
    Worker->Routine = NULL;
}

VOID KiWakeWorker(KI_WORKER *Worker)
{
    if (Worker->Routine == NULL)
    {
        return; /* a machine without system threads: its embedder steps by hand */
    }
    KeSetEvent(&Worker->Event, 0, FALSE);
}
