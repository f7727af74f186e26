/* SPDX-License-Identifier: MIT */
/*
 * The host port's own interface, for tests, tools and embedders: what a machine inside a Linux process has beyond
 * port.h. Configuration, guarded calls, the report of an unhandled exception, gang scheduling, access to NT memory from Linux
 * system calls, counters. Simulated processors are in host_sim.h. Theory: docs/host-port.md.
 */
#ifndef NTMM_PORT_HOST_H
#define NTMM_PORT_HOST_H

#include "port.h"

#include <sys/types.h>

/* ---- The machine ------------------------------------------------------------------------------------------- */

#define HOST_MAXIMUM_RUNS 64

typedef struct _HOST_PARAMETERS
{
    ULONG64 RamBytes;      /* all runs together; rounded down to pages. Costs nothing until touched. */
    ULONG RunCount;        /* runs of RAM, 0 = 1 */
    ULONG64 HoleBytes;     /* between two runs, at least one page */
    ULONG ProcessorCount;  /* 1..PORT_MAXIMUM_PROCESSORS, 0 = 1 */
    BOOLEAN Deterministic; /* one thread, no time slices */
    ULONG MaximumMappings; /* host mappings of NT pages at a time; 0 = as many as vm.max_map_count leaves */
    ULONG TimeSlice;       /* of a natively loaded address space, in microseconds; 0 = 10000 */
    ULONG
    NodeCount; /* of NUMA, 1..PORT_MAXIMUM_NODES, 0 = 1: RAM and processors are shared out evenly, in order */
    ULONG PageColours; /* a power of two up to 256, 0 = 1: a memfd's offsets say nothing about caches */
    BOOLEAN
    PopulateRam; /* all of RAM has its memory from the start, in pages of 2 MiB where Linux has them */
} HOST_PARAMETERS;

/*
 * Builds the machine: RAM, windows, signal handlers. Before the first thread becomes one of ours. Fails without leaving
 * anything behind: INVALID_PARAMETER, DEVICE_ALREADY_ATTACHED (one machine at a time), INSUFFICIENT_RESOURCES,
 * CONFLICTING_ADDRESSES (something of the process lies in the system window or in the direct map).
 */
NTSTATUS HostInitializeMachine(const HOST_PARAMETERS *Parameters);

/* Takes it away again, when no thread is one of ours any more. The next machine may follow. */
VOID HostShutdownMachine(VOID);

BOOLEAN HostIsDeterministic(VOID);

/* ---- Exceptions -------------------------------------------------------------------------------------------- */

/*
 * Runs Routine(Context) and gives the exception back that nobody inside handled: its code (and *Record when wanted),
 * STATUS_SUCCESS when Routine returned. The calling thread must be one of ours.
 */
NTSTATUS HostGuardedCall(VOID (*Routine)(PVOID), PVOID Context, EXCEPTION_RECORD *Record);

/* The registers of the interrupted code, in the order of Linux's gregset_t. */
typedef struct _HOST_REGISTERS
{
    ULONG64 R8, R9, R10, R11, R12, R13, R14, R15;
    ULONG64 Rdi, Rsi, Rbp, Rbx, Rdx, Rax, Rcx, Rsp, Rip, EFlags;
} HOST_REGISTERS;

#define HOST_BACK_TRACE_DEPTH 48

typedef struct _HOST_UNHANDLED_EXCEPTION
{
    const EXCEPTION_RECORD *Record;
    const HOST_REGISTERS *Registers;
    ULONG BackTraceCount;
    PVOID BackTrace[HOST_BACK_TRACE_DEPTH]; /* innermost first: the faulting instruction itself */
} HOST_UNHANDLED_EXCEPTION;

/*
 * Called on the faulting thread, inside the signal handler, before an exception that nobody handled ends the thread (its
 * outermost frame has Base set) or, where there is no frame at all, the process. The default prints
 * HostReportException through PortDebugPrint.
 */
extern VOID (*HostUnhandledExceptionHook)(const HOST_UNHANDLED_EXCEPTION *Exception);
VOID HostReportException(const HOST_UNHANDLED_EXCEPTION *Exception);

/* ---- Devices ------------------------------------------------------------------------------------------------ */

#define HOST_MAXIMUM_DEVICES 16

/*
 * What answers at a range of physical addresses above RAM. With Read or Write every access to it calls back, on the accessing
 * thread, at its IRQL, with no lock held: Bytes is 1, 2, 4 or 8, Offset counts from PhysicalAddress; a missing routine reads all ones,
 * or loses the write. Without both the range is memory, which the owner sees as well.
 */
typedef struct _HOST_DEVICE_PARAMETERS
{
    ULONG64 PhysicalAddress; /* page aligned */
    SIZE_T Bytes;            /* multiple of the page size */
    ULONG64 (*Read)(PVOID Context, ULONG64 Offset, ULONG Bytes);
    VOID (*Write)(PVOID Context, ULONG64 Offset, ULONG Bytes, ULONG64 Value);
    PVOID Context;
} HOST_DEVICE_PARAMETERS;

/*
 * *Memory (for memory; otherwise NULL or ignored): where the owner sees it, until the device or the machine goes. INVALID_PARAMETER,
 * CONFLICTING_ADDRESSES (RAM or another device), INSUFFICIENT_RESOURCES, INVALID_DEVICE_STATE (no machine).
 */
NTSTATUS HostAddDevice(const HOST_DEVICE_PARAMETERS *Parameters, PVOID *Memory);
/* NOT_FOUND. Who has it mapped reads all ones from now on. */
NTSTATUS HostRemoveDevice(ULONG64 PhysicalAddress);

/* A device in I/O space: Count ports from First on. Offset counts from First; Bytes is 1, 2 or 4. One of the routines may be NULL. */
typedef struct _HOST_IO_PORTS
{
    ULONG First;
    ULONG Count;
    ULONG64 (*Read)(PVOID Context, ULONG64 Offset, ULONG Bytes);
    VOID (*Write)(PVOID Context, ULONG64 Offset, ULONG Bytes, ULONG64 Value);
    PVOID Context;
} HOST_IO_PORTS;

/* As HostAddDevice. / The range that begins at First. NOT_FOUND. A call that has begun may still come. */
NTSTATUS HostAddIoPorts(const HOST_IO_PORTS *Ports);
NTSTATUS HostRemoveIoPorts(ULONG First);

/* ---- Address spaces and threads ---------------------------------------------------------------------------- */

/*
 * TRUE: the calling thread becomes a simulated processor: it reaches NT memory through HostSim... (host_sim.h) only, of any address
 * space, at any time, in parallel with everybody. FALSE: back to native pointers (may wait for the space to be loaded).
 */
NTSTATUS HostSetThreadSimulated(BOOLEAN Simulated);
BOOLEAN HostIsThreadSimulated(VOID);

/* The space that the calling thread was told by PortLoadAddressSpace. */
PFN_NUMBER HostCurrentSpace(VOID);

/*
 * At the end of a system service, when back in user mode: if the time slice of the loaded space is over, waits until it is
 * loaded again. Optional: the preemption signal is repeated until it finds the thread in user mode.
 */
VOID HostCheckPreempt(VOID);

/* ---- Linux system calls and NT memory ---------------------------------------------------------------------- */

/*
 * A Linux system call that is given an NT address whose page is not loaded fails with EFAULT: the kernel raises no
 * signal for its own accesses. HostTouchForSyscall faults the range in (one access per page; Write: as a write,
 * contents unchanged); the pages may be trimmed again at any time, so it is right only for small buffers of
 * restartable calls. The exception of the first bad page is the status.
 */
NTSTATUS HostTouchForSyscall(PVOID Address, SIZE_T Length, BOOLEAN Write);

/* Always right: read(2), write(2), ... through a bounce buffer. EFAULT only where the NT memory is really inaccessible. */
ssize_t HostRead(int File, PVOID Buffer, SIZE_T Length);
ssize_t HostWrite(int File, const VOID *Buffer, SIZE_T Length);
ssize_t HostPread(int File, PVOID Buffer, SIZE_T Length, off_t Offset);
ssize_t HostPwrite(int File, const VOID *Buffer, SIZE_T Length, off_t Offset);

/* ---- Counters ---------------------------------------------------------------------------------------------- */

#define HOST_COUNTER_LIST(Counter)                                                                                 \
    Counter(Signals, "SIGSEGV and SIGBUS that concerned NT addresses") Counter(                                    \
        Fills,                                                                                                     \
        "TB fills that loaded something") Counter(FillsSpurious,                                                   \
                                                  "faults whose page another thread had loaded already")           \
        Counter(WriterPages, "pages loaded for a writer with their dirty bits clear") Counter(                     \
            WriterPagesClean, "of these, pages that he had not written to when it was asked")                      \
            Counter(FillsRevived,                                                                                  \
                    "fills that only gave access back to a mapping of the same frames (mprotect)")                 \
                Counter(PagesFilled, "pages loaded, neighbours included") Counter(                                 \
                    PagesWide, "pages loaded because they are neighbours of a faulting page")                      \
                    Counter(PagesHinted, "pages loaded by PortFillTb") Counter(                                    \
                        Flushes, "calls of PortFlushTb") Counter(FlushRanges, "ranges in them")                    \
                        Counter(FlushRangesIdle, "ranges that held nothing, at the cost of no system call")        \
                            Counter(FlushCalls, "system calls made to flush") Counter(PagesFlushed,                \
                                                                                      "pages taken away")          \
                                Counter(PagesFlushedAlong,                                                         \
                                        "pages taken away without need, to save a system call")                    \
                                    Counter(PagesEvicted,                                                          \
                                            "pages taken away to stay within the number of mappings")              \
                                        Counter(WindowFlushes, "times the whole user window was emptied") Counter( \
                                            PageFaults, "calls of MmAccessFault by the signal handler")            \
                                            Counter(Exceptions, "exceptions raised to native code") Counter(       \
                                                GangSwitches, "times another address space was loaded")            \
                                                Counter(GangPreemptions, "preemption signals sent") Counter(       \
                                                    GangWaits,                                                     \
                                                    "times a thread waited for its address space")                 \
                                                    Counter(SimMisses, "TB misses of simulated processors")        \
                                                        Counter(                                                   \
                                                            SimPageFaults,                                         \
                                                            "calls of MmAccessFault by simulated processors")      \
                                                            Counter(DeviceReads,                                   \
                                                                    "reads of device registers")                   \
                                                                Counter(DeviceWrites,                              \
                                                                        "writes to device registers")

typedef struct _HOST_COUNTERS
{
#define HOST_COUNTER_FIELD(Name, Text) ULONG64 Name;
    HOST_COUNTER_LIST(HOST_COUNTER_FIELD)
#undef HOST_COUNTER_FIELD
    ULONG64 Mappings;        /* host mappings of NT pages now */
    ULONG64 MaximumMappings; /* their limit */
} HOST_COUNTERS;

VOID HostQueryCounters(HOST_COUNTERS *Counters);

#endif
