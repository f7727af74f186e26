/* SPDX-License-Identifier: MIT */
/*
 * What the files of the host port's machine (memory.c, layout.c, walk.c, tb.c, tb_window.c, fault.c, gang.c, sim.c) share and nobody
 * else sees. Everything here may run inside a signal handler: raw system calls, locks that know about signals, one record
 * per thread in static TLS.
 */
#ifndef NTMM_PORT_HOST_MACHINE_H
#define NTMM_PORT_HOST_MACHINE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "host.h"

#include <sys/syscall.h>

/* ---- Raw system calls -------------------------------------------------------------------------------------- */

/*
 * Neither errno nor the interceptors of the sanitizers are involved; the latter would touch shadow memory for every byte of a
 * window of 64 TiB. Returns the value or -errno.
 */
static inline long HostSystemCall(long Number, ULONG_PTR A, ULONG_PTR B, ULONG_PTR C, ULONG_PTR D,
                                  ULONG_PTR E, ULONG_PTR F)
{
    long Result;
    register ULONG_PTR R10 __asm__("r10") = D;
    register ULONG_PTR R8 __asm__("r8") = E;
    register ULONG_PTR R9 __asm__("r9") = F;

    __asm__ volatile("syscall"
                     : "=a"(Result)
                     : "a"(Number), "D"(A), "S"(B), "d"(C), "r"(R10), "r"(R8), "r"(R9)
                     : "rcx", "r11", "memory");
    return Result;
}

/* Maps at exactly Address with MAP_FIXED or MAP_FIXED_NOREPLACE in Flags, anywhere if 0; the address or -errno. */
static inline long HostMap(ULONG_PTR Address, SIZE_T Length, int Protection, int Flags, int File,
                           ULONG64 Offset)
{
    return HostSystemCall(SYS_mmap, Address, Length, (ULONG_PTR)Protection, (ULONG_PTR)Flags,
                          (ULONG_PTR)(long)File, Offset);
}

static inline long HostUnmap(ULONG_PTR Address, SIZE_T Length)
{
    return HostSystemCall(SYS_munmap, Address, Length, 0, 0, 0, 0);
}

static inline long HostProtect(ULONG_PTR Address, SIZE_T Length, int Protection)
{
    return HostSystemCall(SYS_mprotect, Address, Length, (ULONG_PTR)Protection, 0, 0, 0);
}

static inline long HostAdvise(ULONG_PTR Address, SIZE_T Length, int Advice)
{
    return HostSystemCall(SYS_madvise, Address, Length, (ULONG_PTR)Advice, 0, 0, 0);
}

/* ---- The thread's record ----------------------------------------------------------------------------------- */

struct _HOST_SIM;

typedef enum _HOST_GANG_STATE
{
    HostGangOut,     /* runs without user space */
    HostGangRunning, /* its space is loaded and stays so until it leaves */
    HostGangWaiting  /* for its space */
} HOST_GANG_STATE;

typedef struct _HOST_LOCAL
{
    LIST_ENTRY GangLink;      /* HostGang lock: Running or Queue */
    PFN_NUMBER Space;         /* own thread; read by others under the gang lock while queued */
    HOST_GANG_STATE State;    /* HostGang lock to change; own thread may read */
    BOOLEAN Simulated;        /* own thread */
    ULONG Wake;               /* atomic, futex: 0 wait, 1 the space is loaded */
    ULONG Preempt;            /* atomic: the slice is over, leave at the next chance */
    volatile ULONG LockDepth; /* own thread: HOST_LOCKs held; the preemption signal does nothing then */
    LONG Tid;
    ULONG CounterStripe;                  /* fixed */
    const volatile KPROCESSOR_MODE *Mode; /* of the KTHREAD; NULL for a thread that is not ours */
    ULONG_PTR LastSpurious;               /* own thread: see HostFillForFault */
    struct _HOST_SIM *Sim;                /* own thread */
} HOST_LOCAL, *PHOST_LOCAL;

extern _Thread_local HOST_LOCAL HostLocal __attribute__((tls_model("initial-exec")));

/* ---- Locks ------------------------------------------------------------------------------------------------- */

/*
 * A futex lock that may be taken inside signal handlers: while a thread holds one, nothing in it faults on NT memory and the preemption
 * signal does not park it. Order: gang, simulated TB, native TB.
 */
typedef struct _HOST_LOCK
{
    volatile ULONG Word; /* 0 free, 1 held, 2 held and somebody may sleep */
} HOST_LOCK;

VOID HostWaitForLock(HOST_LOCK *Lock);
VOID HostWakeLock(HOST_LOCK *Lock);
VOID HostFutexWaitFor(volatile ULONG *Word, ULONG Value, ULONG64 Nanoseconds);
VOID HostFutexWakeOne(volatile ULONG *Word);

static inline VOID HostAcquireLock(HOST_LOCK *Lock)
{
    ULONG Free = 0;

    HostLocal.LockDepth += 1;
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    if (__builtin_expect(
            !__atomic_compare_exchange_n(&Lock->Word, &Free, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED), 0))
    {
        HostWaitForLock(Lock);
    }
}

static inline VOID HostReleaseLock(HOST_LOCK *Lock)
{
    if (__builtin_expect(__atomic_exchange_n(&Lock->Word, 0, __ATOMIC_RELEASE) == 2, 0))
    {
        HostWakeLock(Lock);
    }
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
    HostLocal.LockDepth -= 1;
}

/* ---- The machine (memory.c) -------------------------------------------------------------------------------- */

#define HOST_MAXIMUM_OCCUPIED 256

/* One device (device.c). TB lock. */
typedef struct _HOST_DEVICE
{
    PFN_NUMBER BasePage;
    PFN_NUMBER PageCount; /* 0: the entry is free */
    PUCHAR Memory;        /* the owner's mapping; NULL: the callbacks answer */
    ULONG64 (*Read)(PVOID Context, ULONG64 Offset, ULONG Bytes);
    VOID (*Write)(PVOID Context, ULONG64 Offset, ULONG Bytes, ULONG64 Value);
    PVOID Context;
} HOST_DEVICE;

#define HOST_COUNTER_STRIPES 8

typedef struct _HOST_COUNTER_STRIPE
{
    _Alignas(128) HOST_COUNTERS Counters; /* atomic; 128: processors fetch lines in pairs */
} HOST_COUNTER_STRIPE;

typedef struct _HOST_MACHINE
{
    BOOLEAN Running;
    HOST_PARAMETERS Parameters;
    int RamFile;
    PFN_NUMBER TopFrame; /* one above the last frame */
    ULONG64 FileBytes;   /* of RamFile: RAM, and the memory of devices above it */
    ULONG DeviceCount;   /* TB lock to change */
    HOST_DEVICE Devices[HOST_MAXIMUM_DEVICES];
    HOST_IO_PORTS IoPorts[HOST_MAXIMUM_DEVICES]; /* ioport.c; Count 0: the entry is free. TB lock */
    ULONG RunCount;
    PORT_MEMORY_RUN Runs[HOST_MAXIMUM_RUNS];
    BOOLEAN LargeRefused;  /* Linux makes no large pages of RAM */
    ULONG64 *LargeRegions; /* a bit for each 2 MiB of RAM that Linux has made one page of. A hint. */
    BOOLEAN Crowded;       /* Linux would use holes in the windows for itself: leave none */
    ULONG OccupiedCount;   /* ranges inside the user window; ascending, disjoint */
    PORT_ADDRESS_RANGE Occupied[HOST_MAXIMUM_OCCUPIED];
    HOST_COUNTER_STRIPE Counters[HOST_COUNTER_STRIPES];
} HOST_MACHINE;

extern HOST_MACHINE HostMachine;

/* Whether Linux has made one page of the 2 MiB of RAM in which the frame lies. A hint, without a lock. */
BOOLEAN HostIsLargeFrame(PFN_NUMBER Frame);

/* The counters that the calling thread adds to: with two threads on one line every event would cost its transfer. */
static inline HOST_COUNTERS *HostCounters(VOID)
{
    return &HostMachine.Counters[HostLocal.CounterStripe].Counters;
}

static inline VOID HostCount(ULONG64 *Counter, ULONG64 Amount)
{
    __atomic_fetch_add(Counter, Amount, __ATOMIC_RELAXED);
}

static inline BOOLEAN HostIsUserAddress(ULONG_PTR Address)
{
    return Address >= PORT_USER_LOWEST && Address <= PORT_USER_HIGHEST;
}

static inline BOOLEAN HostIsSystemAddress(ULONG_PTR Address)
{
    return Address >= PORT_SYSTEM_START && Address <= PORT_SYSTEM_END;
}

static inline BOOLEAN HostIsSessionAddress(ULONG_PTR Address)
{
    return Address >= PORT_SESSION_START && Address <= PORT_SESSION_END;
}

/* layout.c: reserves the windows and finds out what is occupied; *MappingCount: how many mappings the process has. */
NTSTATUS HostReserveWindows(ULONG *MappingCount);
VOID HostReleaseWindows(VOID);

/* The decimal number in a file of /proc. */
ULONG64 HostReadNumber(PCSTR Name, ULONG64 Default);

/* TRUE if the surroundings occupy a part of [Start, End] (inclusive) of the user window. */
BOOLEAN HostIsOccupied(ULONG_PTR Start, ULONG_PTR End);

/* The machine cannot go on: one line, then PortHalt. */
DECLSPEC_NORETURN VOID HostFatal(PCSTR Text, ULONG64 First, ULONG64 Second);

/* ---- Walking the page tables (walk.c) ---------------------------------------------------------------------- */

#define HOST_PTE_PRESENT    0x001ull
#define HOST_PTE_WRITE      0x002ull
#define HOST_PTE_USER       0x004ull
#define HOST_PTE_ACCESSED   0x020ull
#define HOST_PTE_DIRTY      0x040ull
#define HOST_PTE_LARGE      0x080ull
#define HOST_PTE_FRAME      0x000ffffffffff000ull
#define HOST_PTE_NO_EXECUTE 0x8000000000000000ull
/* A bit that processors ignore. The kernel sets it where a frame may be no RAM, so that a damaged entry is told from a device's. */
#define HOST_PTE_PHYSICAL 0x4000000000000000ull

typedef enum _HOST_WALK
{
    HostWalkGranted,
    HostWalkNotPresent,
    HostWalkDenied /* a translation is there, but it does not permit the access */
} HOST_WALK;

/* What a TB may hold of a page after a walk. Protection: PORT_FAULT_PRESENT, _WRITE (and dirty), _USER, _EXECUTE. */
typedef struct _HOST_TRANSLATION
{
    PFN_NUMBER Frame;
    ULONG Protection;
    BOOLEAN Large;
    ULONG Index;             /* in Table */
    volatile ULONG64 *Table; /* the page-table page whose entry Index is the leaf */
    ULONG64 Leaf;
} HOST_TRANSLATION;

/*
 * Walks for an access (PORT_FAULT_WRITE, _USER, _EXECUTE). Granted: accessed bits are set in every level, dirty in the leaf if it
 * is a write, and *Translation is filled in. Otherwise nothing has changed.
 */
HOST_WALK HostWalkTables(PFN_NUMBER TopLevel, ULONG_PTR Address, ULONG Access, HOST_TRANSLATION *Translation);

/*
 * How many entries below / above the leaf, at most Limit, may go in with it: present, accessed, the same protection,
 * physically consecutive. Changes nothing.
 */
ULONG HostCountNeighbours(const HOST_TRANSLATION *Translation, BOOLEAN Above, ULONG Limit);

/* ---- The native TB (tb.c, tb_window.c) ---------------------------------------------------------------------- */

typedef enum _HOST_FILL
{
    HostFillDone,
    HostFillNotPresent,
    HostFillDenied,
    HostFillDevice, /* permitted, but each access is a device's affair */
    HostFillForeign /* a user address, but the space of this thread is not the loaded one */
} HOST_FILL;

NTSTATUS HostInitializeTb(ULONG Budget);
NTSTATUS HostInitializeWriter(VOID); /* writer.c */
VOID HostShutdownWriter(VOID);
VOID HostShutdownTb(VOID);
/* alias.c: TRUE: an address where pages of the system window are seen; it becomes the window's own. */
BOOLEAN HostResolveAlias(ULONG_PTR *Address);

HOST_FILL HostFillForFault(ULONG_PTR Address, ULONG Access, PFN_NUMBER *Frame);
VOID HostLoadNativeSpace(PFN_NUMBER TopLevel); /* gang lock held: nobody runs in the user window */
PFN_NUMBER HostSystemSpace(VOID);              /* what PortSetSystemSpace said */
ULONG64 HostQueryMappings(ULONG64 *Limit);

/* ---- Simulated TBs (sim.c) ---------------------------------------------------------------------------------- */

VOID HostFlushSimulated(PFN_NUMBER TopLevel, const PORT_TB_RANGE *Ranges, ULONG Count);
VOID HostFlushAllSimulated(VOID);
VOID HostShutdownSimulated(VOID);
VOID HostReleaseSim(VOID); /* of the calling thread */
NTSTATUS HostAcquireSim(VOID);

/* ---- Gangs (gang.c) ------------------------------------------------------------------------------------------ */

VOID HostInitializeGang(VOID);
VOID HostShutdownGang(VOID);
VOID HostYieldGang(VOID); /* gives the loaded space up if others wait, and waits for it again */

static inline BOOLEAN HostIsPreempted(VOID)
{
    return __atomic_load_n(&HostLocal.Preempt, __ATOMIC_RELAXED) != 0;
}

/* ---- Faults (fault.c) ---------------------------------------------------------------------------------------- */

NTSTATUS HostInitializeFaults(VOID);
VOID HostShutdownFaults(VOID);

/* Installs a handler by raw system call (see fault.c); Previous may be NULL. */
typedef struct _HOST_SIGNAL_ACTION
{
    ULONG_PTR Handler;
    ULONG64 Flags;
    ULONG_PTR Restorer;
    ULONG64 Mask;
} HOST_SIGNAL_ACTION;

long HostSetSignalAction(int Signal, ULONG_PTR Handler, HOST_SIGNAL_ACTION *Previous);

/* TRUE if the stack pointer of an interrupted context lies on this thread's alternate signal stack. */
BOOLEAN HostIsOnSignalStack(ULONG_PTR StackPointer);

#endif
