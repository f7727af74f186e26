/* SPDX-License-Identifier: MIT */
/*
 * What the storage engines are made of: the intake that requests are pushed to, threads that the kernel
 * accepts as its own, sleeping on a word; and the smallest engine, the deterministic one, which has no
 * thread at all.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "storage_engine.h"

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- Queues -------------------------------------------------------------------------------------------- */

VOID HostIntakePush(HOST_IO_INTAKE *Intake, PORT_IO *Io)
{
    PORT_IO *Newest = __atomic_load_n(&Intake->Newest, __ATOMIC_RELAXED);

    do
    {
        HostIo(Io)->Next = Newest;
    } while (
        !__atomic_compare_exchange_n(&Intake->Newest, &Newest, Io, TRUE, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
}

PORT_IO *HostIntakeTake(HOST_IO_INTAKE *Intake)
{
    PORT_IO *Newest = __atomic_exchange_n(&Intake->Newest, NULL, __ATOMIC_SEQ_CST);
    PORT_IO *Oldest = NULL;

    while (Newest != NULL)
    {
        PORT_IO *Next = HostIo(Newest)->Next;

        HostIo(Newest)->Next = Oldest;
        Oldest = Newest;
        Newest = Next;
    }
    return Oldest;
}

VOID HostListAppend(HOST_IO_LIST *List, PORT_IO *Chain)
{
    if (Chain == NULL)
    {
        return;
    }
    if (List->First == NULL)
    {
        List->First = Chain;
    }
    else
    {
        HostIo(List->Last)->Next = Chain;
    }
    while (HostIo(Chain)->Next != NULL)
    {
        Chain = HostIo(Chain)->Next;
    }
    List->Last = Chain;
}

PORT_IO *HostListRemove(HOST_IO_LIST *List)
{
    PORT_IO *First = List->First;

    if (First != NULL)
    {
        List->First = HostIo(First)->Next;
        HostIo(First)->Next = NULL;
    }
    return First;
}

/* ---- Threads ------------------------------------------------------------------------------------------- */

static HOST_STORAGE_HOOKS HostStorageHooks;

typedef struct _HOST_ENGINE_THREAD
{
    ULONG Index;
    VOID (*Routine)(VOID);
} HOST_ENGINE_THREAD;

VOID HostStorageSetHooks(const HOST_STORAGE_HOOKS *Hooks)
{
    HostStorageHooks = *Hooks;
}

static void *HostEngineThreadMain(void *Argument)
{
    HOST_ENGINE_THREAD Self = *(HOST_ENGINE_THREAD *)Argument;
    PVOID Thread = NULL;
    char Name[16];

    free(Argument);
    snprintf(Name, sizeof(Name), "ntmm-io-%u", Self.Index);
    pthread_setname_np(pthread_self(), Name);
    if (HostStorageHooks.Start != NULL)
    {
        Thread = HostStorageHooks.Start(Self.Index);
    }
    Self.Routine();
    if (HostStorageHooks.Stop != NULL)
    {
        HostStorageHooks.Stop(Thread);
    }
    return NULL;
}

NTSTATUS HostStartEngineThread(ULONG Index, VOID (*Routine)(VOID), ULONG64 *Handle)
{
    HOST_ENGINE_THREAD *Start = malloc(sizeof(*Start));
    sigset_t Blocked, Before;
    pthread_t Created;
    int Error;

    if (Start == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Start->Index = Index;
    Start->Routine = Routine;
    /* Signals sent to the process are for others; a fault of the thread's own must arrive. */
    sigfillset(&Blocked);
    sigdelset(&Blocked, SIGSEGV);
    sigdelset(&Blocked, SIGBUS);
    sigdelset(&Blocked, SIGILL);
    sigdelset(&Blocked, SIGFPE);
    sigdelset(&Blocked, SIGTRAP);
    sigdelset(&Blocked, SIGABRT);
    pthread_sigmask(SIG_SETMASK, &Blocked, &Before);
    Error = pthread_create(&Created, NULL, HostEngineThreadMain, Start);
    pthread_sigmask(SIG_SETMASK, &Before, NULL);
    if (Error != 0)
    {
        free(Start);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    *Handle = (ULONG64)Created;
    return STATUS_SUCCESS;
}

VOID HostJoinEngineThread(ULONG64 Handle)
{
    pthread_join((pthread_t)Handle, NULL);
}

VOID HostFutexSleep(ULONG *Word, ULONG Value)
{
    syscall(SYS_futex, Word, FUTEX_WAIT_PRIVATE, Value, NULL, NULL, 0);
}

VOID HostFutexWakeUp(ULONG *Word, ULONG Count)
{
    syscall(SYS_futex, Word, FUTEX_WAKE_PRIVATE, Count, NULL, NULL, 0);
}

/* ---- The deterministic engine -------------------------------------------------------------------------- */

/* One thread only: nothing is locked. */
static struct
{
    HOST_IO_LIST Queue;
    ULONG Queued;
    BOOLEAN Running;
    ULONG64 Random;
} HostDeterministic;

VOID HostSeedDeterministic(ULONG64 Seed)
{
    HostDeterministic.Random = Seed;
}

/* splitmix64 (Steele, Lea, Flood 2014). */
static ULONG64 HostDraw(void)
{
    ULONG64 Value = HostDeterministic.Random += 0x9e3779b97f4a7c15ull;

    Value = (Value ^ (Value >> 30)) * 0xbf58476d1ce4e5b9ull;
    Value = (Value ^ (Value >> 27)) * 0x94d049bb133111ebull;
    return Value ^ (Value >> 31);
}

static NTSTATUS HostDeterministicStart(void)
{
    HostDeterministic.Running = TRUE;
    return STATUS_SUCCESS;
}

static VOID HostDeterministicStop(void)
{
    HostDeterministic.Running = FALSE;
}

static VOID HostDeterministicSubmit(PORT_IO *Io)
{
    HostListAppend(&HostDeterministic.Queue, Io);
    HostDeterministic.Queued += 1;
}

BOOLEAN PortPollIo(void)
{
    ULONG Turns;

    if (!HostDeterministic.Running || HostDeterministic.Queued == 0)
    {
        return FALSE;
    }
    /* Turn the queue until the drawn one is in front. */
    for (Turns = (ULONG)(HostDraw() % HostDeterministic.Queued); Turns != 0; Turns -= 1)
    {
        HostListAppend(&HostDeterministic.Queue, HostListRemove(&HostDeterministic.Queue));
    }
    HostDeterministic.Queued -= 1;
    {
        PORT_IO *Io = HostListRemove(&HostDeterministic.Queue);

        HostIoTransfer(Io, FALSE);
        HostIoComplete(Io);
    }
    return TRUE;
}

const HOST_STORAGE_ENGINE HostDeterministicEngine = { .Kind = HostStorageDeterministic,
                                                      .Start = HostDeterministicStart,
                                                      .Stop = HostDeterministicStop,
                                                      .Submit = HostDeterministicSubmit };
