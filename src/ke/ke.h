/* SPDX-License-Identifier: MIT */
/*
 * The kernel room: IRQL, spin locks, push locks, dispatcher objects, threads, system workers, exceptions, bug
 * checks, failure injection. What is public (KEVENT, KeSetEvent, ...) is declared in include/nt/wdm_ke.h;
 * this header adds what the rooms above need. Theory: docs/ke.md. Locks and their order: docs/locking.md.
 */
#ifndef NTMM_KE_H
#define NTMM_KE_H

#include "mistate.h"
#include "nt/bugcodes.h"
#include "nt/ntdef.h"
#include "nt/ntstatus.h"
#include "nt/wdm_ke.h"
#include "port.h"

/* ---- Dispatcher objects -------------------------------------------------------------------------------- */

/* DISPATCHER_HEADER.Type: names and values of the public symbols. */
typedef enum _KOBJECTS
{
    EventNotificationObject = 0,
    EventSynchronizationObject = 1,
    MutantObject = 2,
    ProcessObject = 3,
    QueueObject = 4,
    SemaphoreObject = 5,
    ThreadObject = 6,
    GateObject = 7,
    TimerNotificationObject = 8,
    TimerSynchronizationObject = 9,
    DpcObject = 19
} KOBJECTS;

/* For objects of other rooms that threads wait on (processes): a header that is signaled while State > 0. */
VOID KiInitializeHeader(DISPATCHER_HEADER *Header, KOBJECTS Type, LONG State);

/* Signals Header for good and wakes everybody who waits for it (the end of a process). */
VOID KiSignalHeader(DISPATCHER_HEADER *Header);

/* ---- Threads ------------------------------------------------------------------------------------------- */

typedef struct _KI_EXCEPTION_FRAME KI_EXCEPTION_FRAME;
typedef struct _KI_EXCEPTION_FRAME *PKI_EXCEPTION_FRAME;

#define KI_MAXIMUM_HELD_LOCKS 24

/* An ERESOURCE that a thread has shared, and how often; see fastmutex.c. */
#define KI_MAXIMUM_SHARED_RESOURCES 8

typedef struct _KI_SHARED_RESOURCE
{
    PERESOURCE Resource; /* NULL: free */
    ULONG Count;
} KI_SHARED_RESOURCE;

/* A stack of the kernel's own (room translation): [Limit, Base), with a page below that is never mapped. All 0: none. */
typedef struct _KI_KERNEL_STACK
{
    ULONG_PTR Guard;
    ULONG_PTR Limit;
    ULONG_PTR Base;
} KI_KERNEL_STACK, *PKI_KERNEL_STACK;

typedef struct _KTHREAD
{
    DISPATCHER_HEADER Header;     /* signaled when the thread has ended */
    KIRQL Irql;                   /* own thread only */
    KPROCESSOR_MODE PreviousMode; /* mode of the caller of the current system service */
    KPROCESSOR_MODE CurrentMode;  /* UserMode while client code runs, KernelMode inside services */
    BOOLEAN SystemThread;
    ULONG Processor;           /* the processor this thread runs on; fixed */
    ULONG CriticalRegion;      /* KeEnterCriticalRegion nesting */
    ULONG GuardedRegion;       /* KeEnterGuardedRegion nesting */
    PKPROCESS Process;         /* owner; changed under ThreadListLock (KiSetThreadProcess) */
    PKPROCESS AttachedProcess; /* address space in use: == Process unless attached */
    PVOID SpaceState;          /* room `space`: MI_ADDRESS_SPACE in use, NULL = none (kernel worker) */
    PKI_EXCEPTION_FRAME ExceptionFrames; /* innermost first */
    LIST_ENTRY ThreadListEntry;          /* KI_STATE.ThreadList */
    PORT_THREAD Port;
    PVOID StackBase;             /* user stack in NT memory, if it has one: highest address (exclusive) */
    PVOID StackLimit;            /* lowest committed address */
    PVOID DeallocationStack;     /* lowest reserved address */
    KI_KERNEL_STACK KernelStack; /* that the thread runs on now */
    NTSTATUS ExitStatus;
    BOOLEAN Terminating;
    volatile CHAR Priority; /* KeSetPriorityThread; Linux schedules, and does not ask for it */
    /* [C] it is to leave user mode for good: looked at where it would go back there, and in waits of user mode */
    volatile BOOLEAN EndPending;
    volatile ULONG64 WaitStart;  /* [C] KiQueryTime() at which it began to wait; 0: it runs */
    ULONG64 HardFaults;          /* own thread: reads that its faults waited for */
    volatile ULONG PendingWakes; /* wakers that still touch this structure; its storage stays until zero */
    LIST_ENTRY MutantList;       /* DispatcherLock: mutants that this thread owns */
    VOID (*StartRoutine)(PVOID);
    PVOID StartContext;
    KI_SHARED_RESOURCE SharedResources[KI_MAXIMUM_SHARED_RESOURCES];
    ULONG FaultDepth;    /* nesting of MmAccessFault */
    ULONG HeldLockCount; /* debug builds: lock-order checker */
    struct
    {
        const volatile void *Lock;
        UCHAR Level;
    } HeldLocks[KI_MAXIMUM_HELD_LOCKS];
} KTHREAD;

static FORCEINLINE PKTHREAD KiCurrentThread(void)
{
    return PortGetCurrentThread();
}

static FORCEINLINE ULONG KiCurrentProcessor(void)
{
    return PortGetCurrentThread()->Processor;
}

/*
 * Prepares Thread (storage of the caller's) as the running, foreign thread. Processor: ~0u picks the next one
 * round robin.
 */
VOID KiAdoptCurrentThread(PKTHREAD Thread, ULONG Processor);
VOID KiAbandonCurrentThread(PKTHREAD Thread);

/*
 * Starts / joins a kernel thread. Storage of Thread stays the caller's until KiJoinThread returned. IRQL
 * PASSIVE.
 */
NTSTATUS KiStartThread(PKTHREAD Thread, VOID (*Routine)(PVOID), PVOID Context, ULONG Processor);
VOID KiJoinThread(PKTHREAD Thread);

/* Makes Process the owner of the calling thread, which has nothing pending any more. */
VOID KiSetThreadProcess(PKPROCESS Process);

/*
 * Sends all threads of Process but Except out of user mode: at their next return to user mode, out of a wait of user mode, or, as far as the
 * port can, out of what they compute. They arrive in their base frames with DBG_TERMINATE_THREAD.
 */
VOID KiEndThreadsOfProcess(PKPROCESS Process, PKTHREAD Except);

/* The calling thread leaves user mode if that is pending: does not return then. Without a base frame nothing happens. */
VOID KiEndUserMode(VOID);

/* For every thread that belongs to a process: how long it has been waiting (0: not at all). Routine at DISPATCH_LEVEL. */
VOID KiForEachProcessThread(VOID (*Routine)(PKPROCESS Process, ULONG64 WaitStart, PVOID Context),
                            PVOID Context);

/* ---- Machine-wide state of this room ------------------------------------------------------------------- */

#define KI_MAXIMUM_WORKERS 32

typedef VOID KI_BUG_CHECK_HOOK(ULONG Code, const ULONG_PTR Parameters[4], PVOID Context);
typedef struct _KI_WORKER KI_WORKER;

/*
 * What the verifier looks at before a public function does it. Object is the new IRQL, the lock or the event; Caller is
 * whoever called the function. Called at the caller's IRQL, without locks.
 */
typedef enum _KI_VERIFY
{
    KiVerifyRaiseIrql,
    KiVerifyLowerIrql,
    KiVerifyAcquireSpinLock,
    KiVerifyReleaseSpinLock,
    KiVerifyAcquireSpinLockAtDpc,
    KiVerifyReleaseSpinLockFromDpc,
    KiVerifyAcquireFastMutex,
    KiVerifyReleaseFastMutex,
    KiVerifySetEvent,
    KiVerifyAcquireFastMutexUnsafe,
    KiVerifyReleaseFastMutexUnsafe,
    KiVerifyInitializeResource,
    KiVerifyAcquireResource,
    KiVerifyReleaseResource,
    KiVerifyEnterCriticalRegion,
    KiVerifyLeaveCriticalRegion
} KI_VERIFY;

typedef VOID KI_VERIFIER(KI_VERIFY What, ULONG_PTR Object, PVOID Caller);

typedef struct _KI_STATE
{
    ULONG ProcessorCount;
    ULONG NodeCount; /* of NUMA */
    UCHAR ProcessorNode[PORT_MAXIMUM_PROCESSORS];
    BOOLEAN Deterministic; /* one thread; workers are stepped by whoever waits; virtual time */
    BOOLEAN BugCheckActive;
    PKTHREAD BugCheckThread;   /* who is reporting one */
    ULONG64 BootClock;         /* PortQueryClock() at boot */
    ULONG64 VirtualTime;       /* deterministic mode: nanoseconds */
    ULONG64 RandomState;       /* deterministic mode: order in which workers are stepped */
    KSPIN_LOCK DispatcherLock; /* every DISPATCHER_HEADER and wait block */
    KSPIN_LOCK ThreadListLock;
    LIST_ENTRY ThreadList;
    KI_WORKER *Workers[KI_MAXIMUM_WORKERS];
    ULONG WorkerCount;
    ULONG NextProcessor;
    KI_BUG_CHECK_HOOK *BugCheckHook; /* may not return (tests) */
    PVOID BugCheckHookContext;
    struct _KI_PUSH_LOCK_BUCKETS *PushLockBuckets;
    struct _KI_INJECTION *Injection; /* NULL while nothing is injected */
    struct _KI_TIMER_QUEUE *Timers;
    struct _KI_WORK_QUEUE *Work;
    KI_VERIFIER *volatile Verifier; /* room pool's, NULL while nothing is verified */
    KSPIN_LOCK ResourceListLock;    /* leaf */
    LIST_ENTRY
    ResourceList; /* ResourceListLock: resources that were initialized while something was verified */
} KI_STATE;

typedef struct _KI_PARAMETERS
{
    BOOLEAN Deterministic;
    ULONG64 Seed;
} KI_PARAMETERS;

/*
 * First and last steps of a machine's life: allocates / frees MiState.Ke. The caller becomes an adopted
 * thread.
 */
NTSTATUS KiInitializeSystem(const KI_PARAMETERS *Parameters, PKTHREAD BootThread);
VOID KiShutdownSystem(PKTHREAD BootThread);

static FORCEINLINE BOOLEAN KiIsDeterministic(void)
{
    return MiState.Ke->Deterministic;
}

/* ---- IRQL and spin locks ------------------------------------------------------------------------------- */

/*
 * Raising to DISPATCH_LEVEL or above makes the thread the only one of its processor number
 * (PortEnterDispatch), so that per-processor data needs no further lock. These are the inlined forms;
 * KeRaiseIrql, KeAcquireSpinLock & co. are built on them.
 */
static FORCEINLINE KIRQL KiRaiseIrqlToDispatch(void)
{
    PKTHREAD Thread = PortGetCurrentThread();
    KIRQL OldIrql = Thread->Irql;

    if (OldIrql < DISPATCH_LEVEL)
    {
        if (__builtin_expect(!PortTryEnterDispatch(Thread->Processor), 0))
        {
            PortEnterDispatch(Thread->Processor);
        }
        Thread->Irql = DISPATCH_LEVEL;
    }
    return OldIrql;
}

static FORCEINLINE VOID KiLowerIrqlFromDispatch(KIRQL OldIrql)
{
    PKTHREAD Thread = PortGetCurrentThread();

    if (OldIrql < DISPATCH_LEVEL)
    {
        Thread->Irql = OldIrql;
        if (__builtin_expect(!PortTryLeaveDispatch(), 0))
        {
            PortLeaveDispatch(Thread->Processor);
        }
    }
}

/*
 * The same for a few instructions that call nothing and touch nothing that may fault, at DISPATCH_LEVEL or below: the IRQL is not written. What is
 * taken there must be the thread's processor's: *Processor.
 */
typedef enum _KI_ENTRY
{
    KiNotEntered, /* the caller goes the other way */
    KiEntered,
    KiWasInside /* at DISPATCH_LEVEL */
} KI_ENTRY;

static FORCEINLINE KI_ENTRY KiTryEnterProcessor(PULONG Processor)
{
    const KTHREAD *Thread = PortGetCurrentThread();

    *Processor = Thread->Processor;
    if (__builtin_expect(Thread->Irql < DISPATCH_LEVEL, 1))
    {
        return PortTryEnterDispatch(*Processor) ? KiEntered : KiNotEntered;
    }
    return Thread->Irql == DISPATCH_LEVEL ? KiWasInside : KiNotEntered;
}

static FORCEINLINE VOID KiLeaveProcessor(KI_ENTRY Entry)
{
    if (__builtin_expect(Entry == KiEntered, 1))
    {
        PortLeaveTriedDispatch();
    }
}

/* Slow path of the two below: spins with PortPause, then PortYield. */
VOID KiWaitForSpinLock(volatile KSPIN_LOCK *Lock);

/* At DISPATCH_LEVEL. Bit 0 of the word is the lock; the other bits are left alone. */
static FORCEINLINE VOID KiAcquireSpinLockAtDispatch(volatile KSPIN_LOCK *Lock)
{
    if (__builtin_expect((__atomic_fetch_or(Lock, 1, __ATOMIC_ACQUIRE) & 1) != 0, 0))
    {
        KiWaitForSpinLock(Lock);
    }
}

static FORCEINLINE BOOLEAN KiTryAcquireSpinLockAtDispatch(volatile KSPIN_LOCK *Lock)
{
    return (__atomic_load_n(Lock, __ATOMIC_RELAXED) & 1) == 0 &&
           (__atomic_fetch_or(Lock, 1, __ATOMIC_ACQUIRE) & 1) == 0;
}

static FORCEINLINE VOID KiReleaseSpinLockFromDispatch(volatile KSPIN_LOCK *Lock)
{
    __atomic_store_n(Lock, 0, __ATOMIC_RELEASE);
}

static FORCEINLINE KIRQL KiAcquireSpinLock(volatile KSPIN_LOCK *Lock)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    KiAcquireSpinLockAtDispatch(Lock);
    return OldIrql;
}

static FORCEINLINE VOID KiReleaseSpinLock(volatile KSPIN_LOCK *Lock, KIRQL OldIrql)
{
    KiReleaseSpinLockFromDispatch(Lock);
    KiLowerIrqlFromDispatch(OldIrql);
}

/* One round of waiting for a lock that somebody holds, Count rounds so far. On a machine with one thread it is never given back: bug check 0x0F. */
VOID KiSpin(PULONG Count, const volatile void *Lock);

/* Another processor is about to give the word this value: waits for it, and sees what was written before. Any IRQL. */
VOID KiWaitForWordSlowly(const volatile ULONG *Word, ULONG Value);

static FORCEINLINE VOID KiWaitForWord(const volatile ULONG *Word, ULONG Value)
{
    if (__builtin_expect(__atomic_load_n(Word, __ATOMIC_ACQUIRE) != Value, 0))
    {
        KiWaitForWordSlowly(Word, Value);
    }
}

/* A lock of one byte, where there is no room for more (PFN entries). No bit of it is anybody else's, so giving it back is a store. At DISPATCH_LEVEL. */
VOID KiWaitForByteLock(volatile UCHAR *Lock);

static FORCEINLINE VOID KiAcquireByteLock(volatile UCHAR *Lock)
{
    if (__builtin_expect(__atomic_exchange_n(Lock, 1, __ATOMIC_ACQUIRE) != 0, 0))
    {
        KiWaitForByteLock(Lock);
    }
}

static FORCEINLINE BOOLEAN KiTryAcquireByteLock(volatile UCHAR *Lock)
{
    return __atomic_load_n(Lock, __ATOMIC_RELAXED) == 0 &&
           __atomic_exchange_n(Lock, 1, __ATOMIC_ACQUIRE) == 0;
}

static FORCEINLINE VOID KiReleaseByteLock(volatile UCHAR *Lock)
{
    __atomic_store_n(Lock, 0, __ATOMIC_RELEASE);
}

/* ---- Push locks ---------------------------------------------------------------------------------------- */

/*
 * EX_PUSH_LOCK (8 bytes): shared/exclusive, may block, not recursive, IRQL <= APC_LEVEL. Waiters sleep in a
 * hashed table (MiState.Ke->PushLockBuckets). Writers are not starved: a waiting writer stops new readers.
 */
VOID KiAcquirePushLockExclusive(PEX_PUSH_LOCK Lock);
BOOLEAN KiTryAcquirePushLockExclusive(PEX_PUSH_LOCK Lock);
VOID KiReleasePushLockExclusive(PEX_PUSH_LOCK Lock);
VOID KiAcquirePushLockShared(PEX_PUSH_LOCK Lock);
BOOLEAN KiTryAcquirePushLockShared(PEX_PUSH_LOCK Lock);
VOID KiReleasePushLockShared(PEX_PUSH_LOCK Lock);

/*
 * Cache-aware push lock: one push lock per processor, each on its own cache line. Shared acquisition touches
 * only the current processor's line (so faults of different processors do not meet); exclusive acquisition
 * takes all.
 */
typedef struct _KI_CACHE_AWARE_SLOT
{
    EX_PUSH_LOCK Lock;
    UCHAR Padding[64 - sizeof(EX_PUSH_LOCK)];
} KI_CACHE_AWARE_SLOT, *PKI_CACHE_AWARE_SLOT;

/* Slots: an array of MiState.Ke->ProcessorCount, 64-byte aligned, zeroed. Returns the slot to release. */
static FORCEINLINE PKI_CACHE_AWARE_SLOT KiAcquireCacheAwareShared(PKI_CACHE_AWARE_SLOT Slots)
{
    PKI_CACHE_AWARE_SLOT Slot = &Slots[KiCurrentProcessor()];
    KiAcquirePushLockShared(&Slot->Lock);
    return Slot;
}

static FORCEINLINE VOID KiReleaseCacheAwareShared(PKI_CACHE_AWARE_SLOT Slot)
{
    KiReleasePushLockShared(&Slot->Lock);
}

VOID KiAcquireCacheAwareExclusive(PKI_CACHE_AWARE_SLOT Slots);
BOOLEAN KiTryAcquireCacheAwareExclusive(PKI_CACHE_AWARE_SLOT Slots);
VOID KiReleaseCacheAwareExclusive(PKI_CACHE_AWARE_SLOT Slots);

/* ---- Lock order (debug builds) ------------------------------------------------------------------------- */

/*
 * Levels in the order in which locks may be acquired; a thread may acquire only a level above all that it
 * holds, unless the level says "same level allowed" in docs/locking.md (acquire by address order or
 * try-lock).
 */
typedef enum _KI_LOCK_LEVEL
{
    KiLockMemoryRuns = 1, /* held while memory is trimmed and written */
    KiLockProcessList,
    KiLockHandleTable,
    KiLockFile,         /* IO_FCB.SizeLock: transfers fault while it is held */
    KiLockSegment,      /* SEGMENT.Lock: size and commitment of what a section maps */
    KiLockFileList,     /* IO_STATE.FilesLock */
    KiLockCache,        /* MI_MAPPING_STATE.Lock: views of cached files */
    KiLockDriverImages, /* MI_DRIVER_IMAGES.Lock: drivers' sections and their lock counts */
    KiLockAddressSpace, /* cache-aware, MI_ADDRESS_SPACE.Lock */
    KiLockSessionSpace, /* of a session */
    KiLockSystemSpace,
    KiLockClone,
    KiLockPagingFileList, /* growing a file happens inside a commitment charge */
    KiLockPageTable,      /* byte lock of a page-table page or prototype PTE page */
    KiLockPageTableChild, /* prototype page, while a page-table lock is held */
    KiLockPool,           /* clone blocks are freed with page tables locked */
    KiLockSystemPtes,     /* the pool may grow into system PTEs */
    KiLockPfn,            /* byte lock of a frame */
    KiLockPfnParent,      /* frame of the containing page table */
    KiLockPageList,
    KiLockPagingFile, /* slot bitmaps */
    KiLockCommit,
    KiLockDispatcher,
    KiLockPort
} KI_LOCK_LEVEL;

#if defined(DBG) && DBG
VOID KiNoteLockAcquired(const volatile void *Lock, KI_LOCK_LEVEL Level, BOOLEAN Try);
VOID KiNoteLockReleased(const volatile void *Lock);
#else
#define KiNoteLockAcquired(Lock, Level, Try) ((void)0)
#define KiNoteLockReleased(Lock)             ((void)0)
#endif

/* ---- Verifier (verify.c) ------------------------------------------------------------------------------- */

/* In a public function, before it does anything. */
#define KiVerify(What, Object)                                                                               \
    do                                                                                                       \
    {                                                                                                        \
        KI_VERIFIER *Verifier = __atomic_load_n(&MiState.Ke->Verifier, __ATOMIC_RELAXED);                    \
                                                                                                             \
        if (__builtin_expect(Verifier != NULL, 0))                                                           \
        {                                                                                                    \
            Verifier((What), (ULONG_PTR)(Object), __builtin_return_address(0));                              \
        }                                                                                                    \
    } while (0)

/* What is still in use and lies in a range of memory (End is its last byte); NULL: nothing. Any IRQL <= DISPATCH_LEVEL. */
PVOID KiFindTimerInRange(ULONG_PTR Start, ULONG_PTR End);
PVOID KiFindDpcInRange(ULONG_PTR Start, ULONG_PTR End);
PVOID KiFindWorkItemInRange(ULONG_PTR Start, ULONG_PTR End);
PVOID KiFindResourceInRange(ULONG_PTR Start, ULONG_PTR End);

/* ---- System workers ------------------------------------------------------------------------------------ */

/*
 * A system thread written as a step: `Routine` does a bounded piece of work and returns TRUE when there may
 * be more at once. Threaded mode: a thread waits for Event (or Period) and calls Routine until FALSE.
 * Deterministic mode: whoever waits (or calls KiStepWorkers) runs it. Routine runs at PASSIVE_LEVEL and may
 * wait.
 */
struct _KI_WORKER
{
    PCSTR Name;
    BOOLEAN (*Routine)(PVOID Context);
    PVOID Context;
    ULONG64 Period; /* nanoseconds, 0 = only when woken */
    KEVENT Event;   /* synchronization event: wakes it */
    KTHREAD Thread;
    ULONG64 NextDue; /* deterministic mode */
    BOOLEAN Running; /* deterministic mode: no re-entry */
    volatile BOOLEAN Stop;
};

NTSTATUS KiStartWorker(KI_WORKER *Worker, PCSTR Name, BOOLEAN (*Routine)(PVOID), PVOID Context,
                       ULONG64 Period);
VOID KiStopWorker(KI_WORKER *Worker); /* returns when it runs no more */

/* IRQL <= DISPATCH_LEVEL; locks below KiLockDispatcher may be held. */
VOID KiWakeWorker(KI_WORKER *Worker);

/* Deterministic mode: polls I/O and steps every worker that is woken or due, once. TRUE if anything ran. */
BOOLEAN KiStepWorkers(void);

/* Deterministic mode: lets virtual time pass (workers become due). */
VOID KiAdvanceTime(ULONG64 Nanoseconds);

/* Nanoseconds since boot; virtual in deterministic mode. */
ULONG64 KiQueryTime(void);

/* ---- Exceptions ---------------------------------------------------------------------------------------- */

/*
 * A guarded region: `if (KiTry(&Frame)) { ...; KiEndTry(&Frame); } else { Frame.Record }`. Frames nest.
 * ExRaiseStatus and faults that nobody resolves unwind to the innermost frame of the thread. Not at
 * DISPATCH_LEVEL, no locks held across it (debug builds check: HeldLockCount and IRQL at unwinding equal
 * those at KiTry).
 */
#if NTMM_TSAN
/*
 * ThreadSanitizer keeps a shadow of the call stack, which only the C library's functions unwind along with
 * it.
 */
#define KI_JUMP_BUFFER_WORDS 32
int KiSetJump(PVOID *Buffer) __asm__("_setjmp") __attribute__((returns_twice));
DECLSPEC_NORETURN void KiLongJumpTo(PVOID *Buffer, int Value) __asm__("longjmp");
#define KiLongJump(Buffer) KiLongJumpTo(Buffer, 1)
#else
#define KI_JUMP_BUFFER_WORDS 5
#define KiSetJump(Buffer)    __builtin_setjmp(Buffer)
#define KiLongJump(Buffer)   __builtin_longjmp(Buffer, 1)
#endif

struct _KI_EXCEPTION_FRAME
{
    PVOID JumpBuffer[KI_JUMP_BUFFER_WORDS];
    PVOID *ClientJump; /* of __try (nt/seh.h), whose compiler we do not know; NULL: JumpBuffer */
    PKI_EXCEPTION_FRAME Previous;
    EXCEPTION_RECORD Record;
    KIRQL Irql;
    KPROCESSOR_MODE CurrentMode;
    KPROCESSOR_MODE PreviousMode;
    ULONG HeldLockCount;
    ULONG FaultDepth;
    BOOLEAN Base; /* the thread's outermost frame: what arrives here was handled by nobody */
};

VOID KiPushExceptionFrame(PKI_EXCEPTION_FRAME Frame);
#define KiTry(Frame) (KiPushExceptionFrame(Frame), KiSetJump((Frame)->JumpBuffer) == 0)
VOID KiEndTry(PKI_EXCEPTION_FRAME Frame);

/* Copies Record into the innermost frame and continues there; without one returns FALSE. */
BOOLEAN KiUnwindToFrame(const EXCEPTION_RECORD *Record);

/*
 * Copies between kernel memory and memory that may fault; an exception ends the copy and becomes its status.
 * *Copied (optional) says how far it came. IRQL <= APC_LEVEL.
 */
NTSTATUS KiGuardedCopy(PVOID Destination, const volatile void *Source, SIZE_T Length, PSIZE_T Copied);

/* ---- Bug checks, assertions, failure injection --------------------------------------------------------- */

/*
 * KeBugCheckEx (public) prints the code's name, parameters, explanation, a back trace, then the hook, then
 * PortHalt.
 */
DECLSPEC_NORETURN VOID KiBugCheckMessage(ULONG Code, ULONG_PTR P1, ULONG_PTR P2, ULONG_PTR P3, ULONG_PTR P4,
                                         PCSTR Format, ...);
DECLSPEC_NORETURN VOID KiAssertionFailed(PCSTR Expression, PCSTR File, ULONG Line);

/*
 * For tests whose bug-check hook left with a jump: makes Thread, which ran the test, the current thread again
 * at PASSIVE_LEVEL without exception frames and remembered locks. Locks that were really held stay held: shut
 * the machine down.
 */
VOID KiResumeAfterBugCheck(PKTHREAD Thread);

#if defined(DBG) && DBG
#define ASSERT(Expression) ((Expression) ? (void)0 : KiAssertionFailed(#Expression, __FILE__, __LINE__))
#else
#define ASSERT(Expression) ((void)sizeof(!(Expression)))
#endif
/* Invariants that stay on in release builds because what follows would lose data. */
#define KiRequire(Expression) ((Expression) ? (void)0 : KiAssertionFailed(#Expression, __FILE__, __LINE__))

/* The kinds of events that can be made to fail; one counter each. */
typedef enum _KI_INJECT
{
    KiInjectFrame,  /* a page frame for a fault or an allocation */
    KiInjectPool,   /* a pool block */
    KiInjectCommit, /* a commitment charge */
    KiInjectSlot,   /* a paging-file slot */
    KiInjectRead,   /* a page read: STATUS_IO_DEVICE_ERROR */
    KiInjectWrite,  /* a page write */
    KiInjectThread, /* thread creation */
    KiInjectMaximum
} KI_INJECT;

/* Nth (1 = next) event of Kind fails once, then all again from there if Sticky. Nth 0: off. */
VOID KiSetInjection(KI_INJECT Kind, ULONG64 Nth, BOOLEAN Sticky);
/* How many events of Kind happened / were made to fail since KiSetInjection. */
ULONG64 KiQueryInjection(KI_INJECT Kind, ULONG64 *Failed);
/* TRUE: this event must fail. One predictable branch when nothing is injected. */
BOOLEAN KiInjectSlow(KI_INJECT Kind);

static FORCEINLINE BOOLEAN KiInject(KI_INJECT Kind)
{
    return __builtin_expect(__atomic_load_n(&MiState.Ke->Injection, __ATOMIC_RELAXED) != NULL, 0) &&
           KiInjectSlow(Kind);
}

#endif
