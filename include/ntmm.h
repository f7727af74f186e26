/* SPDX-License-Identifier: MIT */
/*
 * ntmm inside a Linux program: boot a machine, create NT processes in it, run ordinary C functions as their user-mode code.
 *
 *     NTMM_PARAMETERS Parameters = { .Size = sizeof(Parameters), .RamBytes = 64 << 20 };
 *     PEPROCESS Process;
 *
 *     NtmmBoot(&Parameters);
 *     NtmmCreateProcess("example", &Process);
 *     NtmmRun(Process, Routine, Context, &ExitStatus);    Routine calls NtAllocateVirtualMemory & co., and uses plain pointers
 *     NtmmCloseProcess(Process);
 *     NtmmShutdown();
 *
 * One machine per Linux process at a time. Every function may be called on any thread of the program, and, where nothing
 * else is said, by the user-mode code of NT processes as well. What a function could not do is its status;
 * NtmmLastMessage says the same in one sentence that tells what to do. Theory: docs/architecture.md, docs/host-port.md.
 */
#ifndef NTMM_H
#define NTMM_H

#include "nt/exception.h"
#include "nt/ntdef.h"
#include "nt/ntmmapi.h"
#include "nt/ntobapi.h"
#include "nt/ntstatus.h"

EXTERN_C_START

/* ---- The machine ------------------------------------------------------------------------------------------- */

#define NTMM_MAXIMUM_PAGING_FILES 16
#define NTMM_MINIMUM_RAM          ((ULONG64)1 << 20)

/* Sizes in bytes. Path: a Linux path (UTF-8), or a file in anonymous memory (\\.\Memory\name). It is created when absent. */
typedef struct _NTMM_PAGING_FILE
{
    PCSTR Path;
    ULONG64 MinimumBytes; /* at least 1 MiB; really allocated at once */
    ULONG64 MaximumBytes; /* 0: the minimum */
} NTMM_PAGING_FILE;

/* Zero means the default everywhere but in Size. */
typedef struct _NTMM_PARAMETERS
{
    ULONG Size;            /* sizeof(NTMM_PARAMETERS) */
    ULONG Processors;      /* 1..64; default 1 */
    ULONG64 RamBytes;      /* default 256 MiB. Costs nothing until touched, unless PopulateRam */
    ULONG Runs;            /* of RAM, with holes of HoleBytes between; default 1 */
    ULONG PagingFileCount; /* at most 16; none: what is committed must fit into RAM */
    ULONG64 HoleBytes;
    BOOLEAN Deterministic;    /* one thread, virtual time: the same seed gives the same run */
    BOOLEAN Randomize;        /* address space layout of the processes */
    BOOLEAN ClearPagingFiles; /* overwrites them with zeros at shutdown (ClearPageFileAtShutdown) */
    BOOLEAN
    EncryptPagingFiles; /* with a key that nobody keeps; STATUS_NOT_SUPPORTED where libcrypto is missing */
    BOOLEAN
    CaseSensitiveNames; /* of objects opened without OBJ_CASE_INSENSITIVE (the registry's ObCaseInsensitive is 0) */
    BOOLEAN PopulateRam; /* RAM has all its memory from the start; booting takes longer, using it does not */
    ULONG64 Seed;        /* of both; with Randomize alone 0 draws one */
    ULONG MaximumMappings;       /* host mappings of NT pages at a time; default: what Linux leaves */
    ULONG TimeSliceMicroseconds; /* of a natively loaded address space; default 10000 */
    ULONG Nodes;                 /* of NUMA, 1..16; RAM and processors are shared out evenly; default 1 */
    ULONG PageColours; /* free and zeroed pages apart by colour: a power of two up to 256; default 1 */
    NTMM_PAGING_FILE PagingFiles[NTMM_MAXIMUM_PAGING_FILES];
    /* Both as NtmmSetVerifier and NtmmSetSpecialPool would, but before the first pool block is allocated. NULL: off. */
    const struct _NTMM_VERIFIER *Verifier;
    const struct _NTMM_SPECIAL_POOL *SpecialPool;
} NTMM_PARAMETERS, *PNTMM_PARAMETERS;

/*
 * Boots a machine; the calling thread becomes its boot thread. Nothing is left behind when it fails, paging files that it
 * created included. Not from user-mode code.
 *   STATUS_INFO_LENGTH_MISMATCH (Size), STATUS_INVALID_PARAMETER, STATUS_DEVICE_ALREADY_ATTACHED (one runs already),
 *   STATUS_CONFLICTING_ADDRESSES, STATUS_INSUFFICIENT_RESOURCES, and for paging files STATUS_DISK_FULL,
 *   STATUS_SHARING_VIOLATION (in use by another machine), STATUS_ACCESS_DENIED, STATUS_OBJECT_PATH_NOT_FOUND, ...
 */
NTSTATUS NtmmBoot(const NTMM_PARAMETERS *Parameters);

/*
 * Checks all invariants and takes the machine down; frames, commitment, pool and paging-file space must all have come back
 * (a bug check otherwise: that would be a mistake of ntmm's). On the boot thread, not from user-mode code.
 *   STATUS_INVALID_DEVICE_STATE (no machine, or another thread booted it), STATUS_DEVICE_BUSY (processes are left)
 */
NTSTATUS NtmmShutdown(void);

/* The sentence that belongs to the last failure of an Ntmm function on this thread. Never NULL. */
PCSTR NtmmLastMessage(void);

/*
 * "STATUS_DISK_FULL (0xC000007F): the disk is full", cut to Size; returns Buffer. NtmmStatusName: only the name, NULL for a
 * value without one.
 */
PCSTR NtmmFormatStatus(NTSTATUS Status, PSTR Buffer, SIZE_T Size);
PCSTR NtmmStatusName(NTSTATUS Status);

/* ---- Processes and threads ---------------------------------------------------------------------------------- */

/* User-mode code. What it returns is the exit status of its thread. */
typedef NTSTATUS NTMM_ROUTINE(PVOID Context);

/* An empty process (a name of at most 15 characters is kept). Close it with NtmmCloseProcess. */
NTSTATUS NtmmCreateProcess(PCSTR Name, PEPROCESS *Process);

/*
 * The same in the session SessionId, which begins with its first process and ends with its last. NtmmCreateProcess: in none. Processes that a
 * process creates are in its session.   STATUS_INVALID_PARAMETER: SessionId is ~0
 */
NTSTATUS NtmmCreateProcessInSession(PCSTR Name, ULONG SessionId, PEPROCESS *Process);

/*
 * Runs Routine(Context) on the calling thread as user-mode code of Process, through ordinary pointers. The stack is the
 * caller's. An exception that nobody handles is reported and ends the process. Not from user-mode code.
 *   STATUS_SUCCESS: Routine returned, *ExitStatus is what it returned
 *   STATUS_UNHANDLED_EXCEPTION: *ExitStatus is the exception code
 *   STATUS_PROCESS_IS_TERMINATING: the process was terminated before or meanwhile; *ExitStatus is the process's
 */
NTSTATUS NtmmRun(PEPROCESS Process, NTMM_ROUTINE *Routine, PVOID Context, PNTSTATUS ExitStatus);

typedef struct _NTMM_THREAD *PNTMM_THREAD;

typedef struct _NTMM_THREAD_PARAMETERS
{
    ULONG Size;      /* sizeof(NTMM_THREAD_PARAMETERS) */
    ULONG Processor; /* number + 1; 0: the next one in turn */
    NTMM_ROUTINE *Routine;
    PVOID Context;
    /*
     * Both 0: the stack is Linux's. Otherwise it lies in NT memory of the process: so many bytes reserved, so many committed at first, and it
     * grows through its guard page. Linux system calls that are given addresses of such a stack fail with EFAULT:
     * call them through NtmmCallOnHostStack. Under ThreadSanitizer it is only made: the thread runs on Linux's.
     */
    SIZE_T StackReserve;
    SIZE_T StackCommit;
} NTMM_THREAD_PARAMETERS;

/* One more thread. NtmmJoinThread waits for its end, once, and frees it; *ExitStatus as for NtmmRun. */
NTSTATUS NtmmCreateThread(PEPROCESS Process, const NTMM_THREAD_PARAMETERS *Parameters, PNTMM_THREAD *Thread);
NTSTATUS NtmmJoinThread(PNTMM_THREAD Thread, PNTSTATUS ExitStatus);

/* The process that the calling code belongs to; NULL outside of NtmmRun and threads of NtmmCreateThread. */
PEPROCESS NtmmCurrentProcess(void);

/*
 * Takes a process's memory and handles away at once and closes it for good; its threads end at their next access to NT memory or
 * system service. Called by the process's own code it returns (NtmmExitProcess does not).
 */
NTSTATUS NtmmTerminateProcess(PEPROCESS Process, NTSTATUS ExitStatus);
DECLSPEC_NORETURN VOID NtmmExitProcess(NTSTATUS ExitStatus);

/* STATUS_PENDING while it lives. */
NTSTATUS NtmmQueryExitStatus(PEPROCESS Process);

/* Gives the reference of NtmmCreateProcess back; with the last one the process is terminated. */
VOID NtmmCloseProcess(PEPROCESS Process);

/*
 * Runs Routine(Context) and hands an exception back instead of dying of it: its code, and *Record when wanted;
 * STATUS_SUCCESS when Routine returned.
 */
NTSTATUS NtmmGuardedCall(VOID (*Routine)(PVOID Context), PVOID Context, PEXCEPTION_RECORD Record);

/* Runs Routine(Context) on the thread's Linux stack, wherever the caller's is. */
NTSTATUS NtmmCallOnHostStack(NTMM_ROUTINE *Routine, PVOID Context);

/* ---- Kernel mode and devices --------------------------------------------------------------------------------- */

/*
 * Runs Routine(Context) in kernel mode, on the thread's Linux stack, as a service of a driver: previous mode is the caller's, so a driver
 * probes what it is given. Returns what Routine returns. Code outside of NtmmRun is in kernel mode anyway.
 */
NTSTATUS NtmmCallKernel(NTMM_ROUTINE *Routine, PVOID Context);

/*
 * What answers at a range of physical addresses above RAM. With Read or Write each access through MmMapIoSpace calls back on the accessing
 * thread, at its IRQL: Bytes is 1, 2, 4 or 8, Offset counts from PhysicalAddress; a missing routine reads all ones or loses the
 * write. Without both the range is memory that the owner sees as well.
 */
typedef struct _NTMM_DEVICE
{
    ULONG Size;              /* sizeof(NTMM_DEVICE) */
    ULONG64 PhysicalAddress; /* page aligned */
    SIZE_T Bytes;            /* multiple of the page size */
    ULONG64 (*Read)(PVOID Context, ULONG64 Offset, ULONG Bytes);
    VOID (*Write)(PVOID Context, ULONG64 Offset, ULONG Bytes, ULONG64 Value);
    PVOID Context;
} NTMM_DEVICE;

/*
 * *Memory: where the owner of a device with memory sees it; it may be NULL for registers. Devices go with the machine.
 *   STATUS_INFO_LENGTH_MISMATCH (Size), STATUS_INVALID_PARAMETER, STATUS_CONFLICTING_ADDRESSES (RAM or another device),
 *   STATUS_INSUFFICIENT_RESOURCES (at most 16), STATUS_NOT_FOUND
 */
NTSTATUS NtmmAddDevice(const NTMM_DEVICE *Device, PVOID *Memory);
NTSTATUS NtmmRemoveDevice(ULONG64 PhysicalAddress);

/*
 * The same for x86's I/O space: what answers READ_PORT_XXX and WRITE_PORT_XXX at Count ports from First on. Bytes is 1, 2 or 4, Offset counts from First.
 *   STATUS_INFO_LENGTH_MISMATCH (Size), STATUS_INVALID_PARAMETER (ports above 0xffff, no routine), STATUS_CONFLICTING_ADDRESSES,
 *   STATUS_INSUFFICIENT_RESOURCES (at most 16), STATUS_NOT_FOUND
 */
typedef struct _NTMM_IO_PORTS
{
    ULONG Size; /* sizeof(NTMM_IO_PORTS) */
    ULONG First;
    ULONG Count;
    ULONG64 (*Read)(PVOID Context, ULONG64 Offset, ULONG Bytes);
    VOID (*Write)(PVOID Context, ULONG64 Offset, ULONG Bytes, ULONG64 Value);
    PVOID Context;
} NTMM_IO_PORTS;

NTSTATUS NtmmAddIoPorts(const NTMM_IO_PORTS *Ports);
NTSTATUS NtmmRemoveIoPorts(ULONG First);

/* ---- Drivers and Driver Verifier -------------------------------------------------------------------------------- */

typedef struct _NTMM_DRIVER *PNTMM_DRIVER;

#define NTMM_DRIVER_VERIFY 0x1 /* Driver Verifier watches it, whenever it is on */
#define NTMM_DRIVER_PAGEABLE                                                                                 \
    0x2 /* its sections become NT's pages: those named PAGE... are paged out and come back, those named INIT... go */

/*
 * Makes known that code is a driver's: the shared object that contains Address or, where the program has both, the section of the program that
 * contains it (__attribute__((section("name"))); its .text and the like are no driver). Calls from there are the driver's for the verifier and for bug checks.
 * NTMM_DRIVER_PAGEABLE: nobody may run in the driver, or use its data, during the call. MmLockPagableCodeSection and its kin work for such drivers,
 * and for one in a shared object MmPageEntireDriver, too. A driver that is left at NtmmShutdown is unloaded then. Not from user-mode code.
 *   STATUS_INVALID_DEVICE_STATE, STATUS_INVALID_PARAMETER (Flags), STATUS_NOT_FOUND (Address is in no module), STATUS_NOT_SUPPORTED (it is in
 *   the program's .text), STATUS_INVALID_IMAGE_FORMAT, STATUS_CONFLICTING_ADDRESSES (known already),
 *   STATUS_INSUFFICIENT_RESOURCES, STATUS_COMMITMENT_LIMIT, STATUS_NO_MEMORY
 */
NTSTATUS NtmmLoadDriver(PCSTR Name, const VOID *Address, ULONG Flags, PNTMM_DRIVER *Driver);

/*
 * To be called when the driver's DriverEntry has returned STATUS_SUCCESS: the pages of its sections named INIT... (NTMM_DRIVER_PAGEABLE) are given back, and who touches
 * one from then on meets bug check 0x50. *Pages: how many. Nobody may run there. Source: Microsoft Learn, "Pageable Code in Drivers" (alloc_text INIT).
 *   STATUS_INVALID_DEVICE_STATE
 */
NTSTATUS NtmmDriverStarted(PNTMM_DRIVER Driver, PSIZE_T Pages);

/*
 * The driver goes; its sections become ordinary memory with the same contents, those named INIT... with what they had before. Blocks of pool that it holds (known while the verifier tracks pool) are
 * reported with whoever allocated them: *Blocks is their number. Blocks NULL: as on Windows, any block left is bug check 0xC4, 0x62.
 *   STATUS_IN_PAGE_ERROR, STATUS_NO_MEMORY: its pages cannot be brought back; it stays
 */
NTSTATUS NtmmUnloadDriver(PNTMM_DRIVER Driver, PULONG64 Blocks);

/* The same report at any time. Returns the number of blocks. */
ULONG64 NtmmReportDriverPool(PNTMM_DRIVER Driver);

#define NTMM_VERIFIER_SPECIAL_POOL  0x001 /* the flags of verifier.exe */
#define NTMM_VERIFIER_FORCE_IRQL    0x002
#define NTMM_VERIFIER_LOW_RESOURCES 0x004
#define NTMM_VERIFIER_TRACK_POOL    0x008
#define NTMM_VERIFIER_MISCELLANEOUS 0x800
#define NTMM_VERIFIER_STANDARD      0x80B /* all but low resources */
#define NTMM_VERIFIER_TAGS          8

/* Zero means the default everywhere but in Size. */
typedef struct _NTMM_VERIFIER
{
    ULONG Size;                          /* sizeof(NTMM_VERIFIER) */
    ULONG Flags;                         /* NTMM_VERIFIER_*; parameters and IRQL are checked always */
    BOOLEAN AllDrivers;                  /* else those loaded with NTMM_DRIVER_VERIFY */
    ULONG Probability;                   /* low resources: of 10000; default 600 */
    ULONG64 Seed;                        /* the same seed and order of requests: the same failures */
    ULONG64 DelayNanoseconds;            /* in which nothing fails */
    CHAR Include[NTMM_VERIFIER_TAGS][4]; /* tags that may fail, ? and * as wildcards; none: all */
    CHAR Exclude[NTMM_VERIFIER_TAGS][4];
} NTMM_VERIFIER;

/* Switches Driver Verifier on, changes it, or (NULL) off; at any time. STATUS_INVALID_DEVICE_STATE, STATUS_INFO_LENGTH_MISMATCH, STATUS_INVALID_PARAMETER */
NTSTATUS NtmmSetVerifier(const NTMM_VERIFIER *Verifier);

/* Which requests of anybody get a page of their own between pages that cannot be accessed. */
typedef struct _NTMM_SPECIAL_POOL
{
    ULONG Size;          /* sizeof(NTMM_SPECIAL_POOL) */
    CHAR Tag[4];         /* ? and * as wildcards; the first 0: no tag chooses */
    SIZE_T MinimumBytes; /* sizes choose when MaximumBytes is not 0 */
    SIZE_T MaximumBytes;
    BOOLEAN Underruns; /* blocks at the start of their pages */
} NTMM_SPECIAL_POOL;

/* The same for special pool. Also STATUS_INSUFFICIENT_RESOURCES. */
NTSTATUS NtmmSetSpecialPool(const NTMM_SPECIAL_POOL *SpecialPool);

/* ---- Linux system calls and NT memory ------------------------------------------------------------------------ */

/*
 * Linux does not fault NT pages in for its own system calls; it fails with EFAULT. NtmmRead and NtmmWrite go through a
 * buffer and are always right. NtmmTouchRange faults a range in, which serves small buffers of calls that may be repeated: the pages may
 * go again at any time. Results and errno are those of read(2), write(2), pread(2), pwrite(2).
 */
NTSTATUS NtmmTouchRange(PVOID Address, SIZE_T Length, BOOLEAN Write);
LONG_PTR NtmmRead(int File, PVOID Buffer, SIZE_T Length);
LONG_PTR NtmmWrite(int File, const VOID *Buffer, SIZE_T Length);
LONG_PTR NtmmReadAt(int File, PVOID Buffer, SIZE_T Length, ULONG64 Offset);
LONG_PTR NtmmWriteAt(int File, const VOID *Buffer, SIZE_T Length, ULONG64 Offset);

/* ---- Talking --------------------------------------------------------------------------------------------------- */

/* Gets text in pieces; Length bytes, not terminated. May be called inside a signal handler when it gets reports. */
typedef VOID NTMM_PRINT(PVOID Context, PCSTR Text, SIZE_T Length);

/* Where reports and DbgPrint go; NULL: standard error. While no machine runs. */
VOID NtmmSetOutput(NTMM_PRINT *Print, PVOID Context);

/* ---- Statistics -------------------------------------------------------------------------------------------------- */

#define NTMM_MAXIMUM_COUNTERS           64
#define NTMM_MAXIMUM_REPORTED_PROCESSES 32
#define NTMM_PRIORITIES                 8

typedef struct _NTMM_COUNTER
{
    PCSTR Identifier; /* "PageFaults" */
    PCSTR Name;       /* as Windows calls it: "Page Faults" */
    PCSTR Meaning;
    ULONG64 Value;
} NTMM_COUNTER;

typedef struct _NTMM_PAGING_FILE_STATISTICS
{
    CHAR Path[512];
    ULONG64 Pages, MinimumPages, MaximumPages; /* size now, at first, at most */
    ULONG64 UsedPages, PeakPages;
    ULONG64 Reads, PagesRead, Writes, PagesWritten;
} NTMM_PAGING_FILE_STATISTICS;

typedef struct _NTMM_PROCESS_STATISTICS
{
    ULONG64 ProcessId;
    CHAR Name[16];
    NTSTATUS ExitStatus; /* STATUS_PENDING while it lives */
    ULONG Threads, Handles;
    ULONG64 WorkingSetPages, PeakWorkingSetPages, MinimumWorkingSetPages, MaximumWorkingSetPages;
    ULONG64 CommitPages, PeakCommitPages, PageTablePages;
    ULONG64 VirtualBytes, PeakVirtualBytes, Regions;
    ULONG64 PageFaults, HardFaults;
} NTMM_PROCESS_STATISTICS;

/* All counts in pages. Taken one after the other while the machine runs: sums may be off by what moved meanwhile. */
typedef struct _NTMM_STATISTICS
{
    ULONG Size; /* in: sizeof(NTMM_STATISTICS) */
    ULONG Processors;
    ULONG64 Nanoseconds; /* since boot */
    ULONG64 PhysicalPages, AvailablePages, ActivePages, ZeroedPages, FreePages;
    ULONG64 StandbyPages[NTMM_PRIORITIES], RepurposedPages[NTMM_PRIORITIES];
    ULONG64 ModifiedPages, ModifiedMappedPages, ModifiedNoWritePages, BadPages;
    LONG64 ResidentAvailablePages;
    ULONG64 CommittedPages, PeakCommittedPages, CommitLimit, CommitMaximum;
    ULONG64 PoolBytes, PoolBlocks, PoolPages, KernelStackPages;
    ULONG64 HostMappings, MaximumHostMappings;
    ULONG CounterCount, HostCounterCount, PagingFileCount, ProcessCount; /* processes: all of them */
    ULONG ReportedProcessCount;
    NTMM_COUNTER Counters[NTMM_MAXIMUM_COUNTERS];     /* of the memory manager */
    NTMM_COUNTER HostCounters[NTMM_MAXIMUM_COUNTERS]; /* of the host port: TB fills, flushes, gangs */
    NTMM_PAGING_FILE_STATISTICS PagingFiles[NTMM_MAXIMUM_PAGING_FILES];
    NTMM_PROCESS_STATISTICS Processes[NTMM_MAXIMUM_REPORTED_PROCESSES];
} NTMM_STATISTICS, *PNTMM_STATISTICS;

NTSTATUS NtmmQueryStatistics(PNTMM_STATISTICS Statistics);

#define NTMM_MAXIMUM_POOL_TAGS 4096

/* What the blocks of one tag in one pool take: a line of poolmon. Counts of 32 bits, as in Windows. */
typedef struct _NTMM_POOL_TAG
{
    CHAR Tag[5]; /* terminated; what cannot be printed is a dot */
    BOOLEAN Paged;
    ULONG64 Allocations, Frees, Blocks;
    ULONG64 Bytes; /* of the blocks that are there, with headers and rounding */
} NTMM_POOL_TAG, *PNTMM_POOL_TAG;

/*
 * The tags of both pools, most bytes first. Writes at most Room of them; *Count is how many there are. Reads what SystemPoolTagInformation
 * shows.
 *   STATUS_INVALID_DEVICE_STATE (no machine)
 */
NTSTATUS NtmmQueryPoolTags(PNTMM_POOL_TAG Tags, ULONG Room, PULONG Count);

#define NTMM_MAXIMUM_SECTIONS 1024

/* What of one control area is where: a line of RAMMap's "File Summary". */
typedef struct _NTMM_SECTION
{
    PCSTR Kind;       /* "Page File", "Data File", "Image", "Physical" */
    CHAR Name[512];   /* of the file; empty: the paging file */
    ULONG64 Bytes;    /* size */
    ULONG64 Sections; /* references by section objects */
    ULONG64 Views;
    ULONG64 ActivePages, StandbyPages, ModifiedPages,
        TransitionPages; /* in memory: mapped, on the lists, in I/O */
    ULONG64 CommittedPages;
} NTMM_SECTION, *PNTMM_SECTION;

/*
 * Sections and files. Writes at most Room of them; *Count is how many there are. Taken one after the other while the machine runs.
 *   STATUS_INVALID_DEVICE_STATE (no machine)
 */
NTSTATUS NtmmQuerySections(PNTMM_SECTION Sections, ULONG Room, PULONG Count);

/* The memory of a process by kind: the upper half of VMMap. In pages. */
typedef struct _NTMM_REGIONS
{
    PCSTR Kind; /* "Image", "Mapped File", "Shareable", "Private Data", "Stack", "Page Table" */
    ULONG64 Regions;
    ULONG64 Pages;                                           /* of address space */
    ULONG64 Committed;                                       /* charged to the process */
    ULONG64 WorkingSet, PrivateWorkingSet, SharedWorkingSet; /* shared: with others, at this moment */
    ULONG64 Largest;
} NTMM_REGIONS;

#define NTMM_REGION_KINDS 6

/* STATUS_INVALID_DEVICE_STATE, STATUS_PROCESS_IS_TERMINATING, STATUS_NO_MEMORY */
NTSTATUS NtmmQueryRegions(PEPROCESS Process, NTMM_REGIONS Regions[NTMM_REGION_KINDS]);

/* The memory report as text: faults by kind, pages in and out, lists, commitment, paging files, processes, the host's TB. */
VOID NtmmPrintStatistics(const NTMM_STATISTICS *Statistics, NTMM_PRINT *Print, PVOID Context);

/* ---- Views, as in a debugger -------------------------------------------------------------------------------------- */

/* Process NULL: the current one, else the first of the list. */
VOID NtmmShowMemory(NTMM_PRINT *Print, PVOID Context);                         /* !vm */
VOID NtmmShowPageLists(NTMM_PRINT *Print, PVOID Context);                      /* !memusage */
VOID NtmmShowPool(NTMM_PRINT *Print, PVOID Context);                           /* !poolused, poolmon */
VOID NtmmShowPoolBlock(const VOID *Address, NTMM_PRINT *Print, PVOID Context); /* !pool ADDRESS */
VOID NtmmShowVerifier(NTMM_PRINT *Print, PVOID Context);                       /* !verifier, special pool */
VOID NtmmShowProcesses(NTMM_PRINT *Print, PVOID Context);                      /* !process 0 0 */
VOID NtmmShowSessions(NTMM_PRINT *Print, PVOID Context);                       /* !session, !vm 4 */
VOID NtmmShowVads(PEPROCESS Process, NTMM_PRINT *Print, PVOID Context);        /* !vad */
VOID NtmmShowSections(NTMM_PRINT *Print, PVOID Context);                   /* !ca, RAMMap's file summary */
VOID NtmmShowRegions(PEPROCESS Process, NTMM_PRINT *Print, PVOID Context); /* !address -summary, VMMap */
VOID NtmmShowHeaps(PEPROCESS Process, NTMM_PRINT *Print, PVOID Context);   /* !heap -s, !heap -stat */
VOID NtmmShowPte(PEPROCESS Process, const VOID *Address, NTMM_PRINT *Print, PVOID Context); /* !pte ADDRESS */
VOID NtmmShowPfn(ULONG64 PageFrame, NTMM_PRINT *Print, PVOID Context);                      /* !pfn FRAME */

EXTERN_C_END

#endif
