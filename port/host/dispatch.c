/* SPDX-License-Identifier: MIT */
/*
 * DISPATCH_LEVEL of the host port. A "processor" is no CPU here but a lock: who runs at DISPATCH_LEVEL owns the word
 * of its processor number. The kernel enters and leaves so often that the locked instruction of an ordinary lock would
 * be most of what a pool allocation costs, so a thread that is mostly alone on its number goes in and out by plain
 * stores (its bias), and the rare other one pays. Why that is right: docs/ke.md, "Dispatch lock of the host".
 *
 * It runs inside the SIGSEGV handler as well: atomics and raw system calls only. It is never entered by a thread that
 * is inside already: the kernel counts, and the port's signal handlers do not raise IRQL when they interrupted kernel mode.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "host_machine.h"
#include "host_thread.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HOST_SPIN_COUNT   200u
#define HOST_FIRST_STREAK 64u
#define HOST_SHORT_SLEEP  1000000u /* nanoseconds */

typedef struct _HOST_DISPATCH
{
    volatile ULONG Owned; /* futex word */
    volatile ULONG Sleepers;
    volatile ULONG *LastOwner; /* the owner's, as what follows, and PortDispatchBias of the processor */
    ULONG Streak;              /* how often LastOwner came without another one in between */
    ULONG Threshold;           /* the streak that earns the bias */
    UCHAR Padding[64 - 24];
} HOST_DISPATCH;

C_ASSERT(sizeof(HOST_DISPATCH) == 64);

static HOST_DISPATCH HostDispatch[PORT_MAXIMUM_PROCESSORS] __attribute__((aligned(64)));
PORT_DISPATCH_BIAS PortDispatchBias[PORT_MAXIMUM_PROCESSORS] __attribute__((aligned(64)));
static ULONG HostLongestStreak;
static BOOLEAN HostHaveBarrier;

_Thread_local volatile ULONG PortDispatchInside __attribute__((tls_model("initial-exec")));
/* The processors of which the thread has had the bias. */
static _Thread_local ULONG64 HostBiased __attribute__((tls_model("initial-exec")));

C_ASSERT(PORT_MAXIMUM_PROCESSORS <= 64);

__attribute__((constructor)) static void HostRegisterBarrier(void)
{
    HostHaveBarrier =
        HostSystemCall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0, 0, 0, 0) == 0;
}

/* Every running thread of the process executes a full fence between call and return. FALSE: not to be had. */
static BOOLEAN HostBarrier(void)
{
    return HostHaveBarrier &&
           HostSystemCall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0, 0, 0, 0) == 0;
}

/* ---- The word ------------------------------------------------------------------------------------------ */

static BOOLEAN HostTryDispatch(HOST_DISPATCH *Dispatch)
{
    return __atomic_load_n(&Dispatch->Owned, __ATOMIC_RELAXED) == 0 &&
           __atomic_exchange_n(&Dispatch->Owned, 1, __ATOMIC_ACQUIRE) == 0;
}

static DECLSPEC_NOINLINE VOID HostWaitForDispatch(HOST_DISPATCH *Dispatch)
{
    for (;;)
    {
        for (ULONG Spin = 0; Spin < HOST_SPIN_COUNT; Spin += 1)
        {
            if (HostTryDispatch(Dispatch))
            {
                return;
            }
            PortPause();
        }
        __atomic_fetch_add(&Dispatch->Sleepers, 1, __ATOMIC_SEQ_CST);
        HostFutexWaitFor(&Dispatch->Owned, 1, HostBarrier() ? ~0ull : HOST_SHORT_SLEEP);
        __atomic_fetch_sub(&Dispatch->Sleepers, 1, __ATOMIC_SEQ_CST);
    }
}

static FORCEINLINE VOID HostTakeOwned(HOST_DISPATCH *Dispatch)
{
    if (__builtin_expect(__atomic_exchange_n(&Dispatch->Owned, 1, __ATOMIC_ACQUIRE) != 0, 0))
    {
        HostWaitForDispatch(Dispatch);
    }
}

static FORCEINLINE VOID HostGiveOwned(HOST_DISPATCH *Dispatch)
{
    __atomic_store_n(&Dispatch->Owned, 0, __ATOMIC_RELEASE);
    __atomic_signal_fence(__ATOMIC_SEQ_CST); /* the sleeper's membarrier makes a fence of it */
    if (__builtin_expect(__atomic_load_n(&Dispatch->Sleepers, __ATOMIC_RELAXED) != 0, 0))
    {
        HostFutexWakeOne(&Dispatch->Owned);
    }
}

/* ---- The bias ------------------------------------------------------------------------------------------ */

/* Owned is held, and another thread has the bias: takes it away and waits until that thread is not inside. */
static VOID HostRevokeBias(HOST_DISPATCH *Dispatch, ULONG Processor, volatile ULONG *Inside)
{
    ULONG Spin = 0;

    __atomic_store_n(&PortDispatchBias[Processor].Inside, NULL, __ATOMIC_SEQ_CST);
    while (!HostBarrier()) /* it worked when the bias was given */
    {
        PortYield();
    }
    while (__atomic_load_n(Inside, __ATOMIC_ACQUIRE) == Processor + 1)
    {
        if (++Spin % HOST_SPIN_COUNT == 0)
        {
            PortYield();
        }
        PortPause();
    }
    if (Dispatch->Threshold < HostLongestStreak)
    {
        Dispatch->Threshold *= 2;
    }
}

/* Owned is held: the thread may have come often enough to go by its bias, from this time on. */
static VOID HostConsiderBias(HOST_DISPATCH *Dispatch, ULONG Processor)
{
    if (Dispatch->LastOwner != &PortDispatchInside)
    {
        Dispatch->LastOwner = &PortDispatchInside;
        Dispatch->Streak = 0;
    }
    else if (++Dispatch->Streak >= Dispatch->Threshold && HostHaveBarrier && HostCurrentThread() != NULL)
    {
        Dispatch->Streak = 0;
        HostBiased |= 1ull << Processor;
        __atomic_store_n(&PortDispatchInside, Processor + 1, __ATOMIC_RELAXED);
        __atomic_store_n(&PortDispatchBias[Processor].Inside, &PortDispatchInside, __ATOMIC_RELAXED);
        HostGiveOwned(Dispatch); /* releases both stores to who takes Owned next */
    }
}

static DECLSPEC_NOINLINE VOID HostEnterOwned(HOST_DISPATCH *Dispatch, ULONG Processor)
{
    volatile ULONG *Inside;

    HostTakeOwned(Dispatch);
    Inside = __atomic_load_n(&PortDispatchBias[Processor].Inside, __ATOMIC_RELAXED);
    if (Inside != NULL)
    {
        HostRevokeBias(Dispatch, Processor, Inside);
    }
    HostConsiderBias(Dispatch, Processor);
}

/*
 * Whoever takes a bias away looks into the thread's storage for as long as it holds Owned. So taking Owned once of every
 * processor of which the thread has had the bias makes sure that nobody does any more.
 */
VOID HostGiveBiasUp(VOID)
{
    for (ULONG Processor = 0; HostBiased != 0; Processor += 1, HostBiased >>= 1)
    {
        HOST_DISPATCH *Dispatch = &HostDispatch[Processor];

        if ((HostBiased & 1) == 0)
        {
            continue;
        }
        HostTakeOwned(Dispatch);
        if (__atomic_load_n(&PortDispatchBias[Processor].Inside, __ATOMIC_RELAXED) == &PortDispatchInside)
        {
            __atomic_store_n(&PortDispatchBias[Processor].Inside, NULL, __ATOMIC_RELAXED);
        }
        HostGiveOwned(Dispatch);
    }
}

VOID HostInitializeDispatch(ULONG LongestStreak)
{
    HostLongestStreak = LongestStreak;
    __builtin_memset(HostDispatch, 0, sizeof(HostDispatch));
    __builtin_memset(PortDispatchBias, 0, sizeof(PortDispatchBias));
    for (ULONG Processor = 0; Processor < PORT_MAXIMUM_PROCESSORS; Processor += 1)
    {
        HostDispatch[Processor].Threshold =
            LongestStreak < HOST_FIRST_STREAK ? LongestStreak : HOST_FIRST_STREAK;
    }
}

/* ---- What the kernel calls ----------------------------------------------------------------------------- */

VOID PortEnterDispatch(ULONG Processor)
{
    if (__builtin_expect(!PortTryEnterDispatch(Processor), 0))
    {
        HostEnterOwned(&HostDispatch[Processor], Processor);
    }
}

VOID PortLeaveDispatch(ULONG Processor)
{
    if (__builtin_expect(PortDispatchInside != 0, 1))
    {
        PortLeaveTriedDispatch();
        return;
    }
    HostGiveOwned(&HostDispatch[Processor]);
}
