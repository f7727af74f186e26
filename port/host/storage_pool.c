/* SPDX-License-Identifier: MIT */
/*
 * The storage engine for where Linux refuses io_uring: a few threads that take requests from one queue and
 * carry them out with preadv and pwritev. A starter pushes to the lock-free intake and, if a worker sleeps,
 * wakes one; the workers move the intake behind their own queue under a mutex that nobody but them ever
 * takes.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "storage_engine.h"

#include <pthread.h>

#define HOST_POOL_THREADS 4

static struct
{
    HOST_IO_INTAKE Intake;
    pthread_mutex_t Lock;
    HOST_IO_LIST Queue; /* Lock */
    ULONG Sequence;     /* futex word: changes with every push, and at the end */
    ULONG Sleepers;
    BOOLEAN Stop;
    ULONG64 Threads[HOST_POOL_THREADS];
} HostPool = { .Lock = PTHREAD_MUTEX_INITIALIZER };

static void HostPoolNotify(ULONG Count)
{
    __atomic_fetch_add(&HostPool.Sequence, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&HostPool.Sleepers, __ATOMIC_SEQ_CST) != 0)
    {
        HostFutexWakeUp(&HostPool.Sequence, Count);
    }
}

static PORT_IO *HostPoolTake(void)
{
    PORT_IO *Io;

    pthread_mutex_lock(&HostPool.Lock);
    HostListAppend(&HostPool.Queue, HostIntakeTake(&HostPool.Intake));
    Io = HostListRemove(&HostPool.Queue);
    pthread_mutex_unlock(&HostPool.Lock);
    return Io;
}

/* The next request; NULL when the engine stops. A request that came after the look changed the sequence. */
static PORT_IO *HostPoolWait(void)
{
    for (;;)
    {
        ULONG Sequence = __atomic_load_n(&HostPool.Sequence, __ATOMIC_SEQ_CST);
        PORT_IO *Io = HostPoolTake();

        if (Io != NULL || __atomic_load_n(&HostPool.Stop, __ATOMIC_SEQ_CST))
        {
            return Io;
        }
        __atomic_fetch_add(&HostPool.Sleepers, 1, __ATOMIC_SEQ_CST);
        HostFutexSleep(&HostPool.Sequence, Sequence);
        __atomic_fetch_sub(&HostPool.Sleepers, 1, __ATOMIC_SEQ_CST);
    }
}

static VOID HostPoolWork(VOID)
{
    PORT_IO *Io;

    while ((Io = HostPoolWait()) != NULL)
    {
        HostIoTransfer(Io, TRUE);
        HostIoComplete(Io);
    }
}

static VOID HostPoolSubmit(PORT_IO *Io)
{
    HostIntakePush(&HostPool.Intake, Io);
    HostPoolNotify(1);
}

static void HostPoolJoin(ULONG Count)
{
    ULONG Index;

    __atomic_store_n(&HostPool.Stop, TRUE, __ATOMIC_SEQ_CST);
    HostPoolNotify(~0u >> 1);
    for (Index = 0; Index < Count; Index += 1)
    {
        HostJoinEngineThread(HostPool.Threads[Index]);
    }
}

static VOID HostPoolStop(void)
{
    HostPoolJoin(HOST_POOL_THREADS);
}

static NTSTATUS HostPoolStart(void)
{
    ULONG Index;

    __atomic_store_n(&HostPool.Stop, FALSE, __ATOMIC_SEQ_CST);
    for (Index = 0; Index < HOST_POOL_THREADS; Index += 1)
    {
        NTSTATUS Status = HostStartEngineThread(Index, HostPoolWork, &HostPool.Threads[Index]);

        if (!NT_SUCCESS(Status))
        {
            HostPoolJoin(Index);
            return Status;
        }
    }
    return STATUS_SUCCESS;
}

const HOST_STORAGE_ENGINE HostPoolEngine = {
    .Kind = HostStoragePool, .Start = HostPoolStart, .Stop = HostPoolStop, .Submit = HostPoolSubmit
};
