/* SPDX-License-Identifier: MIT */
/*
 * Threads of the host port: pthreads with an alternate signal stack (page faults are handled there), parked
 * on a futex of their own. All of it except creation and joining runs inside the SIGSEGV handler as
 * well, so it uses nothing but atomics and raw system calls.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "host_thread.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define HOST_TOKEN_NONE   0u
#define HOST_TOKEN_SET    1u
#define HOST_TOKEN_PARKED 2u

#define HOST_STACK_SIZE ((SIZE_T)2 * 1024 * 1024)
#define HOST_SPIN_COUNT 200

_Thread_local struct _KTHREAD *PortCurrentThread __attribute__((tls_model("initial-exec")));
static _Thread_local PHOST_THREAD HostSelf __attribute__((tls_model("initial-exec")));

VOID (*HostBeforePark)(VOID);
VOID (*HostAfterPark)(VOID);
VOID (*HostThreadBegin)(VOID);
VOID (*HostThreadEnd)(VOID);

/* ---- Futex --------------------------------------------------------------------------------------------- */

/*
 * Waits while *Word == Value, at most until Deadline (nanoseconds of the monotonic clock; ~0 = never). Errors
 * mean "look again".
 */
static void HostFutexWait(volatile ULONG *Word, ULONG Value, ULONG64 Deadline)
{
    struct timespec Limit = { (time_t)(Deadline / 1000000000u), (long)(Deadline % 1000000000u) };
    int SavedErrno = errno;

    syscall(SYS_futex, Word, FUTEX_WAIT_BITSET_PRIVATE, Value, Deadline == ~0ull ? NULL : &Limit, NULL,
            FUTEX_BITSET_MATCH_ANY);
    errno = SavedErrno;
}

static void HostFutexWake(volatile ULONG *Word)
{
    int SavedErrno = errno;

    syscall(SYS_futex, Word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    errno = SavedErrno;
}

/* ---- Alternate signal stacks --------------------------------------------------------------------------- */

static PVOID HostMapSignalStack(PVOID Wanted, SIZE_T Size, int Flags)
{
    return mmap(Wanted, Size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | Flags, -1,
                0);
}

/*
 * ThreadSanitizer forgets the jump buffers of all frames below the stack pointer of the caller of setjmp, because it knows one stack for each
 * thread only: this one must be below the thread's own.
 */
static PVOID HostAllocateSignalStack(SIZE_T Size)
{
    PVOID Base = HostMapSignalStack(NULL, Size, 0);
#if NTMM_TSAN
    ULONG_PTR Wanted = (ULONG_PTR)__builtin_frame_address(0) & ~(ULONG_PTR)(PAGE_SIZE - 1);

    /* Linux puts it below the first thread's, which grows; those of others are there as a whole. */
    for (ULONG Try = 0; Base != MAP_FAILED && (ULONG_PTR)Base > Wanted && Try < 4096; Try++)
    {
        PVOID Lower = HostMapSignalStack((PVOID)(Wanted -= Size), Size, MAP_FIXED_NOREPLACE);

        if (Lower != MAP_FAILED)
        {
            munmap(Base, Size);
            Base = Lower;
        }
    }
#endif
    return Base;
}

NTSTATUS HostCreateSignalStack(PHOST_THREAD Host)
{
    SIZE_T Size = HOST_SIGNAL_STACK_SIZE + PAGE_SIZE;
    PUCHAR Base = HostAllocateSignalStack(Size);
    stack_t Stack = { .ss_sp = Base + PAGE_SIZE, .ss_size = HOST_SIGNAL_STACK_SIZE };

    if (Base == MAP_FAILED)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    if (mprotect(Base, PAGE_SIZE, PROT_NONE) != 0 || sigaltstack(&Stack, &Host->PreviousSignalStack) != 0)
    {
        munmap(Base, Size);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Host->SignalStack = Base;
    Host->SignalStackSize = Size;
    return STATUS_SUCCESS;
}

VOID HostDeleteSignalStack(PHOST_THREAD Host)
{
    if (Host->SignalStack != NULL)
    {
        sigaltstack(&Host->PreviousSignalStack, NULL);
        munmap(Host->SignalStack, Host->SignalStackSize);
        Host->SignalStack = NULL;
    }
}

/* ---- The life of a thread ------------------------------------------------------------------------------ */

PHOST_THREAD HostCurrentThread(void)
{
    return HostSelf;
}

static void HostFindStack(PHOST_THREAD Host)
{
    pthread_attr_t Attributes;
    void *Low;
    size_t Size;

    if (pthread_getattr_np(pthread_self(), &Attributes) != 0)
    {
        return;
    }
    if (pthread_attr_getstack(&Attributes, &Low, &Size) == 0)
    {
        Host->StackLow = (ULONG_PTR)Low;
        Host->StackHigh = (ULONG_PTR)Low + Size;
    }
    pthread_attr_destroy(&Attributes);
}

static NTSTATUS HostEnterLife(PHOST_THREAD Host)
{
    NTSTATUS Status = HostCreateSignalStack(Host);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Host->Tid = (LONG)syscall(SYS_gettid);
    HostFindStack(Host);
    HostSelf = Host;
    PortSetCurrentThread(Host->Thread);
    if (HostThreadBegin != NULL)
    {
        HostThreadBegin();
    }
    return STATUS_SUCCESS;
}

static void HostLeaveLife(PHOST_THREAD Host)
{
    if (HostThreadEnd != NULL)
    {
        HostThreadEnd();
    }
    PortSetCurrentThread(NULL);
    HostSelf = NULL;
    HostGiveBiasUp();
    HostDeleteSignalStack(Host);
}

static void *HostThreadStart(void *Argument)
{
    PHOST_THREAD Host = Argument;

    /* Not by the creator: somebody else may join the thread before pthread_create has returned to him. */
    Host->Handle = (ULONG64)pthread_self();
    if (!NT_SUCCESS(HostEnterLife(Host)))
    {
        static const char Text[] = "ntmm: no memory for the signal stack of a thread\n";
        PortDebugPrint(Text, sizeof(Text) - 1);
        PortHalt();
    }
    Host->Routine(Host->Context);
    HostLeaveLife(Host);
    return NULL;
}

NTSTATUS PortCreateThread(struct _KTHREAD *Thread, PORT_THREAD *Port, VOID (*Routine)(PVOID), PVOID Context)
{
    PHOST_THREAD Host = HostThread(Port);
    pthread_attr_t Attributes;
    pthread_t Handle;
    int Error;

    memset(Port, 0, sizeof(*Port));
    Host->Routine = Routine;
    Host->Context = Context;
    Host->Thread = Thread;
    if (pthread_attr_init(&Attributes) != 0)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    pthread_attr_setstacksize(&Attributes, HOST_STACK_SIZE);
    Error = pthread_create(&Handle, &Attributes, HostThreadStart, Host);
    pthread_attr_destroy(&Attributes);
    if (Error != 0)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    return STATUS_SUCCESS;
}

VOID PortJoinThread(PORT_THREAD *Port)
{
    if (HostBeforePark != NULL)
    {
        HostBeforePark();
    }
    pthread_join((pthread_t)HostThread(Port)->Handle, NULL);
    if (HostAfterPark != NULL)
    {
        HostAfterPark();
    }
}

VOID PortAdoptThread(struct _KTHREAD *Thread, PORT_THREAD *Port)
{
    PHOST_THREAD Host = HostThread(Port);

    memset(Port, 0, sizeof(*Port));
    Host->Thread = Thread;
    if (!NT_SUCCESS(HostEnterLife(Host)))
    {
        static const char Text[] = "ntmm: no memory for the signal stack of an adopted thread\n";
        PortDebugPrint(Text, sizeof(Text) - 1);
        PortHalt();
    }
}

VOID PortAbandonThread(struct _KTHREAD *Thread, PORT_THREAD *Port)
{
    (void)Thread;
    HostLeaveLife(HostThread(Port));
}

/* ---- Park and unpark ----------------------------------------------------------------------------------- */

static BOOLEAN HostTakeToken(PHOST_THREAD Host)
{
    return __atomic_exchange_n(&Host->Token, HOST_TOKEN_NONE, __ATOMIC_ACQUIRE) == HOST_TOKEN_SET;
}

BOOLEAN PortParkThread(PORT_THREAD *Port, ULONG64 Deadline)
{
    PHOST_THREAD Host = HostThread(Port);
    ULONG Expected = HOST_TOKEN_NONE;
    BOOLEAN Woken;

    if (HostTakeToken(Host))
    {
        return TRUE;
    }
    if (Deadline != ~0ull && PortQueryClock() >= Deadline)
    {
        return FALSE;
    }
    if (HostBeforePark != NULL)
    {
        HostBeforePark();
    }
    if (__atomic_compare_exchange_n(&Host->Token, &Expected, HOST_TOKEN_PARKED, FALSE, __ATOMIC_ACQUIRE,
                                    __ATOMIC_ACQUIRE))
    {
        HostFutexWait(&Host->Token, HOST_TOKEN_PARKED, Deadline);
    }
    Woken = HostTakeToken(Host);
    if (HostAfterPark != NULL)
    {
        HostAfterPark();
    }
    return Woken || Deadline == ~0ull || PortQueryClock() < Deadline;
}

VOID PortUnparkThread(PORT_THREAD *Port)
{
    PHOST_THREAD Host = HostThread(Port);

    /*
     * Once the token is set the thread may run, end, and its storage may go; waking a stale address is
     * harmless.
     */
    if (__atomic_exchange_n(&Host->Token, HOST_TOKEN_SET, __ATOMIC_RELEASE) == HOST_TOKEN_PARKED)
    {
        HostFutexWake(&Host->Token);
    }
}

VOID PortYield(void)
{
    sched_yield();
}
