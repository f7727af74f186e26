/* SPDX-License-Identifier: MIT */
/*
 * One address space is loaded natively at a time, because all threads of a Linux process see the same mappings. The
 * threads that run in it are its gang; a thread of another space waits until the gang has left. Threads leave when
 * they wait for something in the kernel (HostBeforePark), load another space, end, or when their time slice is over
 * and others wait. The last one to leave loads the space at the head of the queue and wakes all of its threads: the queue is served in
 * order of arrival, so no space starves. Threads without a user space (system workers) and simulated processors never take part.
 *
 * Preemption. There is no timer: the thread at the head of the queue sleeps until the slice is over and then sends every
 * running thread a signal, again and again until they have left. In user mode the handler itself gives the space up. In
 * kernel mode, in the fault handler, or with one of the port's locks held it only leaves a note; the fault handler
 * and HostCheckPreempt look at the note, and any wait does what it asks anyway.
 *
 * TSan delivers asynchronous signals late, if its sigaction is used, and must not be entered by one that it knows nothing of, so there
 * the handler leaves a note in any case, and the mappings of the loaded space are taken away: the next access of
 * every running thread is a fault, whose handler finds the note.
 *
 * Lock order: HostGang.Lock, then the TB lock (HostLoadNativeSpace).
 */
#include "host_sim.h"
#include "host_machine.h"
#include "host_thread.h"

#include <errno.h>
#include <link.h>
#include <linux/futex.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <ucontext.h>

#define HOST_PREEMPT_SIGNAL   (SIGRTMIN + 3)
#define HOST_INTERRUPT_SIGNAL (SIGRTMIN + 4)
#define HOST_PREEMPT_PERIOD   2000000ull /* nanoseconds between two signals to a gang that does not go */
#define HOST_LOCK_SPINS       200

typedef struct _HOST_GANG_LIST
{
    HOST_LOCK Lock;
    LIST_ENTRY Running; /* members of the loaded space's gang */
    LIST_ENTRY Queue;   /* waiting threads, first come first served */
    PFN_NUMBER Loaded;  /* the space in the user window; the gang may be empty */
    ULONG64 SliceEnd;   /* of the loaded space; means nothing while nobody waits */
    ULONG64 NextSignal;
    LONG ProcessId;
    ULONG_PTR ProgramStart, ProgramEnd; /* the program's own code */
    HOST_SIGNAL_ACTION PreviousAction;
    HOST_SIGNAL_ACTION PreviousInterrupt;
} HOST_GANG_LIST;

static HOST_GANG_LIST HostGang;

/* ---- Futexes and locks ------------------------------------------------------------------------------------------ */

VOID HostFutexWaitFor(volatile ULONG *Word, ULONG Value, ULONG64 Nanoseconds)
{
    struct timespec Limit = { (time_t)(Nanoseconds / 1000000000u), (long)(Nanoseconds % 1000000000u) };

    HostSystemCall(SYS_futex, (ULONG_PTR)Word, FUTEX_WAIT_PRIVATE, Value,
                   Nanoseconds == ~0ull ? 0 : (ULONG_PTR)&Limit, 0, 0);
}

VOID HostFutexWakeOne(volatile ULONG *Word)
{
    HostSystemCall(SYS_futex, (ULONG_PTR)Word, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
}

VOID HostWaitForLock(HOST_LOCK *Lock)
{
    ULONG Spin;

    for (Spin = 0; Spin < HOST_LOCK_SPINS; Spin += 1)
    {
        ULONG Free = 0;

        if (__atomic_load_n(&Lock->Word, __ATOMIC_RELAXED) == 0 &&
            __atomic_compare_exchange_n(&Lock->Word, &Free, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        {
            return;
        }
        PortPause();
    }
    while (__atomic_exchange_n(&Lock->Word, 2, __ATOMIC_ACQUIRE) != 0)
    {
        HostFutexWaitFor(&Lock->Word, 2, ~0ull);
    }
}

VOID HostWakeLock(HOST_LOCK *Lock)
{
    HostFutexWakeOne(&Lock->Word);
}

/* ---- Lists (gang lock held) -------------------------------------------------------------------------------------- */

static VOID HostInitializeList(PLIST_ENTRY Head)
{
    Head->Flink = Head->Blink = Head;
}

static BOOLEAN HostIsListEmpty(const LIST_ENTRY *Head)
{
    return Head->Flink == Head;
}

static VOID HostAppend(PLIST_ENTRY Head, PHOST_LOCAL Local)
{
    Local->GangLink.Flink = Head;
    Local->GangLink.Blink = Head->Blink;
    Head->Blink->Flink = &Local->GangLink;
    Head->Blink = &Local->GangLink;
}

static VOID HostRemove(PHOST_LOCAL Local)
{
    Local->GangLink.Flink->Blink = Local->GangLink.Blink;
    Local->GangLink.Blink->Flink = Local->GangLink.Flink;
}

static PHOST_LOCAL HostLocalOf(PLIST_ENTRY Link)
{
    return (PHOST_LOCAL)(PVOID)((PUCHAR)Link - offsetof(HOST_LOCAL, GangLink));
}

/* ---- Switching --------------------------------------------------------------------------------------------------- */

static VOID HostRunLocal(PHOST_LOCAL Local)
{
    Local->State = HostGangRunning;
    __atomic_store_n(&Local->Preempt, 0, __ATOMIC_RELAXED);
    HostAppend(&HostGang.Running, Local);
}

/* Emptying a window full of mappings takes long: a slice that was dear to begin is longer, so switching never takes over. */
static VOID HostLoad(PFN_NUMBER Space)
{
    ULONG64 Start = PortQueryClock();
    ULONG64 Now = Start;

    if (HostGang.Loaded != Space)
    {
        HostLoadNativeSpace(Space);
        HostGang.Loaded = Space;
        HostCount(&HostCounters()->GangSwitches, 1);
        Now = PortQueryClock();
    }
    HostGang.SliceEnd = Now + (Now - Start) * 4 + (ULONG64)HostMachine.Parameters.TimeSlice * 1000;
    HostGang.NextSignal = HostGang.SliceEnd;
}

/* The gang is empty: the next space's turn, if anybody waits. */
static VOID HostSwitch(void)
{
    PLIST_ENTRY Link = HostGang.Queue.Flink;
    PFN_NUMBER Space;

    if (Link == &HostGang.Queue)
    {
        return;
    }
    Space = HostLocalOf(Link)->Space;
    HostLoad(Space);
    while (Link != &HostGang.Queue)
    {
        PHOST_LOCAL Local = HostLocalOf(Link);

        Link = Link->Flink;
        if (Local->Space == Space)
        {
            HostRemove(Local);
            HostRunLocal(Local);
            __atomic_store_n(&Local->Wake, 1, __ATOMIC_RELEASE);
            HostFutexWakeOne(&Local->Wake);
        }
    }
}

static VOID HostLeaveLocked(void)
{
    HostRemove(&HostLocal);
    HostLocal.State = HostGangOut;
    __atomic_store_n(&HostLocal.Preempt, 0, __ATOMIC_RELAXED);
    if (HostIsListEmpty(&HostGang.Running))
    {
        HostSwitch();
    }
}

static VOID HostLeaveGang(void)
{
    HostAcquireLock(&HostGang.Lock);
    if (HostLocal.State == HostGangRunning)
    {
        HostLeaveLocked();
    }
    HostReleaseLock(&HostGang.Lock);
}

/* The slice is over and the calling thread is the one that waits longest: asks the gang to leave. */
static VOID HostPreemptGang(void)
{
    PLIST_ENTRY Link;

    for (Link = HostGang.Running.Flink; Link != &HostGang.Running; Link = Link->Flink)
    {
        PHOST_LOCAL Local = HostLocalOf(Link);

        __atomic_store_n(&Local->Preempt, 1, __ATOMIC_RELEASE);
        HostSystemCall(SYS_tgkill, (ULONG_PTR)HostGang.ProcessId, (ULONG_PTR)Local->Tid,
                       (ULONG_PTR)HOST_PREEMPT_SIGNAL, 0, 0, 0);
        HostCount(&HostCounters()->GangPreemptions, 1);
    }
#if NTMM_TSAN
    PortFlushTb(HostGang.Loaded, NULL, 0);
#endif
}

/* Waits in the queue until somebody has loaded the space and made this thread run. */
static VOID HostWaitForTurn(void)
{
    ULONG64 Timeout = (ULONG64)HostMachine.Parameters.TimeSlice * 1000;

    HostCount(&HostCounters()->GangWaits, 1);
    while (__atomic_load_n(&HostLocal.Wake, __ATOMIC_ACQUIRE) == 0)
    {
        ULONG64 Now;

        HostFutexWaitFor(&HostLocal.Wake, 0, Timeout);
        HostAcquireLock(&HostGang.Lock);
        Now = PortQueryClock();
        if (HostLocal.State == HostGangWaiting && HostGang.Queue.Flink == &HostLocal.GangLink &&
            Now >= HostGang.NextSignal)
        {
            HostPreemptGang();
            HostGang.NextSignal = Now + HOST_PREEMPT_PERIOD;
        }
        Timeout = HostGang.NextSignal > Now ? HostGang.NextSignal - Now : HOST_PREEMPT_PERIOD;
        HostReleaseLock(&HostGang.Lock);
    }
}

static VOID HostEnqueue(void)
{
    __atomic_store_n(&HostLocal.Wake, 0, __ATOMIC_RELAXED);
    HostLocal.State = HostGangWaiting;
    HostAppend(&HostGang.Queue, &HostLocal);
}

/* HostLocal.Space is the space to run in. */
static VOID HostJoinGang(void)
{
    BOOLEAN Wait = FALSE;

    HostAcquireLock(&HostGang.Lock);
    if (HostIsListEmpty(&HostGang.Queue) && HostIsListEmpty(&HostGang.Running))
    {
        HostLoad(HostLocal.Space);
        HostRunLocal(&HostLocal);
    }
    else if (HostGang.Loaded == HostLocal.Space &&
             (HostIsListEmpty(&HostGang.Queue) || PortQueryClock() < HostGang.SliceEnd))
    {
        HostRunLocal(&HostLocal);
    }
    else
    {
        if (HostIsListEmpty(&HostGang.Queue) && PortQueryClock() > HostGang.SliceEnd)
        {
            /* Nobody counted while nobody waited. At least a fifth of a slice from now on. */
            HostGang.SliceEnd = PortQueryClock() + (ULONG64)HostMachine.Parameters.TimeSlice * 200;
            HostGang.NextSignal = HostGang.SliceEnd;
        }
        HostEnqueue();
        Wait = TRUE;
    }
    HostReleaseLock(&HostGang.Lock);
    if (Wait)
    {
        HostWaitForTurn();
    }
}

VOID HostYieldGang(VOID)
{
    BOOLEAN Wait = FALSE;

    HostAcquireLock(&HostGang.Lock);
    __atomic_store_n(&HostLocal.Preempt, 0, __ATOMIC_RELAXED);
    if (HostLocal.State == HostGangRunning && !HostIsListEmpty(&HostGang.Queue))
    {
        HostRemove(&HostLocal);
        HostEnqueue();
        if (HostIsListEmpty(&HostGang.Running))
        {
            HostSwitch();
        }
        Wait = TRUE;
    }
    HostReleaseLock(&HostGang.Lock);
    if (Wait)
    {
        HostWaitForTurn();
    }
}

VOID HostCheckPreempt(VOID)
{
    if (HostIsPreempted())
    {
        HostYieldGang();
    }
}

/* ---- What threads do ----------------------------------------------------------------------------------------------- */

static VOID HostParkBegins(VOID)
{
    if (HostLocal.State == HostGangRunning)
    {
        HostLeaveGang();
    }
}

static VOID HostParkEnded(VOID)
{
    if (HostLocal.Space != 0 && !HostLocal.Simulated && HostLocal.State == HostGangOut)
    {
        HostJoinGang();
    }
}

static VOID HostThreadBegins(VOID)
{
    static ULONG Begun;

    /* Not by Tid: threads that begin together are often at work together, and get stripes of their own. */
    HostLocal =
        (HOST_LOCAL){ .Tid = HostCurrentThread()->Tid,
                      .CounterStripe = __atomic_fetch_add(&Begun, 1, __ATOMIC_RELAXED) % HOST_COUNTER_STRIPES,
                      .Mode = KiQueryModeAddress(PortGetCurrentThread()) };
}

static VOID HostThreadEnds(VOID)
{
    PortLoadAddressSpace(0);
    if (HostLocal.Sim != NULL)
    {
        HostReleaseSim();
    }
    HostLocal.Simulated = FALSE;
}

VOID PortLoadAddressSpace(PFN_NUMBER TopLevel)
{
    if (HostLocal.State == HostGangRunning && HostLocal.Space != TopLevel)
    {
        HostLeaveGang();
    }
    HostLocal.Space = TopLevel;
    if (HostLocal.Simulated)
    {
        HostLocal.Sim->Space = TopLevel;
    }
    else if (TopLevel != 0 && HostLocal.State == HostGangOut)
    {
        HostJoinGang();
    }
}

NTSTATUS HostSetThreadSimulated(BOOLEAN Simulated)
{
    NTSTATUS Status;

    if (HostLocal.Simulated == Simulated)
    {
        return STATUS_SUCCESS;
    }
    if (Simulated)
    {
        Status = HostAcquireSim();
        if (!NT_SUCCESS(Status))
        {
            return Status;
        }
        HostParkBegins();
        HostLocal.Simulated = TRUE;
        return STATUS_SUCCESS;
    }
    HostLocal.Simulated = FALSE;
    HostReleaseSim();
    HostParkEnded();
    return STATUS_SUCCESS;
}

BOOLEAN HostIsThreadSimulated(VOID)
{
    return HostLocal.Simulated;
}

PFN_NUMBER HostCurrentSpace(VOID)
{
    return HostLocal.Space;
}

/* ---- The signal ---------------------------------------------------------------------------------------------------- */

#if NTMM_TSAN
#define HOST_NOT_SANITIZED __attribute__((no_sanitize_thread))
#else
#define HOST_NOT_SANITIZED
#endif

HOST_NOT_SANITIZED static void HostPreemptHandler(int Signal, siginfo_t *Info, void *Context)
{
#if NTMM_TSAN
    (void)Context;
#else
    ULONG_PTR StackPointer = (ULONG_PTR)((ucontext_t *)Context)->uc_mcontext.gregs[REG_RSP];

    if (PortGetCurrentThread() != NULL && *HostLocal.Mode == UserMode && HostLocal.LockDepth == 0 &&
        HostLocal.State == HostGangRunning && HostIsPreempted() && !HostIsOnSignalStack(StackPointer))
    {
        int SavedErrno = errno;

        HostYieldGang();
        errno = SavedErrno;
    }
#endif
    (void)Signal;
    (void)Info;
}

#if !NTMM_TSAN
/* The program's own code: not a library's, which may hold a lock there (the C library's above all). */
static BOOLEAN HostIsProgramCode(ULONG_PTR Address)
{
    return Address >= HostGang.ProgramStart && Address < HostGang.ProgramEnd;
}
#endif

/* The program is the first object that the dynamic linker knows. Asked at start: a signal handler may not ask. */
static int HostNoteProgramCode(struct dl_phdr_info *Object, size_t Size, void *Context)
{
    (void)Size;
    (void)Context;
    for (int Index = 0; Index < Object->dlpi_phnum; Index += 1)
    {
        const ElfW(Phdr) *Segment = &Object->dlpi_phdr[Index];

        if (Segment->p_type == PT_LOAD && (Segment->p_flags & PF_X) != 0)
        {
            HostGang.ProgramStart = Object->dlpi_addr + Segment->p_vaddr;
            HostGang.ProgramEnd = HostGang.ProgramStart + Segment->p_memsz;
            break;
        }
    }
    return 1;
}

HOST_NOT_SANITIZED static void HostInterruptHandler(int Signal, siginfo_t *Info, void *Context)
{
#if NTMM_TSAN
    (void)Context;
#else
    const greg_t *Registers = ((ucontext_t *)Context)->uc_mcontext.gregs;

    if (PortGetCurrentThread() != NULL && *HostLocal.Mode == UserMode && HostLocal.LockDepth == 0 &&
        !HostIsOnSignalStack((ULONG_PTR)Registers[REG_RSP]) &&
        HostIsProgramCode((ULONG_PTR)Registers[REG_RIP]))
    {
        KiEndUserMode();
    }
#endif
    (void)Signal;
    (void)Info;
}

VOID PortInterruptThread(PORT_THREAD *Port)
{
    HostSystemCall(SYS_tgkill, (ULONG_PTR)HostGang.ProcessId, (ULONG_PTR)HostThread(Port)->Tid,
                   (ULONG_PTR)HOST_INTERRUPT_SIGNAL, 0, 0, 0);
}

VOID HostInitializeGang(VOID)
{
    HostGang = (HOST_GANG_LIST){ .ProcessId = (LONG)getpid() };
    HostInitializeList(&HostGang.Running);
    HostInitializeList(&HostGang.Queue);
    dl_iterate_phdr(HostNoteProgramCode, NULL);
    HostSetSignalAction(HOST_PREEMPT_SIGNAL, (ULONG_PTR)HostPreemptHandler, &HostGang.PreviousAction);
    HostSetSignalAction(HOST_INTERRUPT_SIGNAL, (ULONG_PTR)HostInterruptHandler, &HostGang.PreviousInterrupt);
    HostBeforePark = HostParkBegins;
    HostAfterPark = HostParkEnded;
    HostThreadBegin = HostThreadBegins;
    HostThreadEnd = HostThreadEnds;
}

VOID HostShutdownGang(VOID)
{
    HostBeforePark = NULL;
    HostAfterPark = NULL;
    HostThreadBegin = NULL;
    HostThreadEnd = NULL;
    HostSystemCall(SYS_rt_sigaction, (ULONG_PTR)HOST_PREEMPT_SIGNAL, (ULONG_PTR)&HostGang.PreviousAction, 0,
                   sizeof(HostGang.PreviousAction.Mask), 0, 0);
    HostSystemCall(SYS_rt_sigaction, (ULONG_PTR)HOST_INTERRUPT_SIGNAL, (ULONG_PTR)&HostGang.PreviousInterrupt,
                   0, sizeof(HostGang.PreviousInterrupt.Mask), 0, 0);
}
