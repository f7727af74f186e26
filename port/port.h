/* SPDX-License-Identifier: MIT */
/*
 * The boundary: all that the kernel asks of the machine it runs on. Both ports (host, pc) implement every
 * function here; nothing else outside src/ is called by the kernel. Each contract is written once, above its
 * prototype. "Never faults" means: may be called at any IRQL, from the page-fault path, with spin locks held.
 */
#ifndef NTMM_PORT_H
#define NTMM_PORT_H

#include "nt/ntdef.h"
#include "nt/ntstatus.h"

/*
 * port_inline.h belongs to the port and supplies what must be inlined:
 *   PORT_USER_LOWEST, PORT_USER_HIGHEST      first and last byte of the user window (64 KiB aligned / -1)
 *   PORT_SYSTEM_START, PORT_SYSTEM_END       first and last byte of the system window (512 GiB aligned / -1)
 *   PORT_SESSION_START, PORT_SESSION_END     first and last byte of the session window (512 GiB aligned / -1, within one entry of a top level)
 *   PORT_DIRECT_MAP_BASE, PORT_DIRECT_MAP_SIZE
 *   PORT_MAXIMUM_PROCESSORS, PORT_MAXIMUM_NODES
 *   PORT_STACK_SCALE                         kernel stacks are so many times as large as on Windows (sanitizers' frames are large)
 *   struct _KTHREAD *PortGetCurrentThread(void);         NULL before KiInitializeThread of this thread
 *   void PortSetCurrentThread(struct _KTHREAD *Thread);
 *   void PortPause(void);                                a spin-wait hint to the processor
 *   int PortTryEnterDispatch(ULONG Processor);           PortEnterDispatch if that takes a few instructions only; 0: not entered
 *   void PortLeaveTriedDispatch(void);                   leaves what the one above has entered
 *   int PortTryLeaveDispatch(void);                      the same, if that is how the thread is inside; 0: PortLeaveDispatch has to
 *   PORT_SERVICE_ENTRY(Name, Body)                       defines Name, through which clients reach the service Body
 *   PORT_SERVICE_BODY                                    attributes of Body's declaration
 */
#include "port_inline.h"

/*
 * Of a function that looks at what others may be changing, or copies it, and can live with what it finds: TSan does not see its accesses. Plain loads
 * through volatile pointers in a function of its own.
 */
#define PORT_UNSEEN_BY_TSAN __attribute__((no_sanitize_thread))

/* ---- Memory ------------------------------------------------------------------------------------------- */

/* One run of RAM that firmware reports. Runs are ascending; those that touch belong to different nodes. */
typedef struct _PORT_MEMORY_RUN
{
    PFN_NUMBER BasePage;
    PFN_NUMBER PageCount;
    BOOLEAN Zeroed; /* every byte of the run reads as zero at boot */
    USHORT Node;    /* of NUMA, below PortQueryNodeCount() */
} PORT_MEMORY_RUN;

/* Fills Runs (at most Count) and returns how many runs there are. Called once, at boot. */
ULONG PortQueryMemoryRuns(PORT_MEMORY_RUN *Runs, ULONG Count);

/*
 * NUMA: how many nodes the machine has (1..PORT_MAXIMUM_NODES, fixed from boot on), and to which one a processor belongs. How many colours pages
 * have (a power of two, up to 256): frames whose numbers differ by a multiple of it compete for the same sets of a cache that is indexed by
 * physical addresses. 1 where frame numbers say nothing about that.
 */
ULONG PortQueryNodeCount(void);
USHORT PortQueryProcessorNode(ULONG Processor);
ULONG PortQueryPageColours(void);

/* A page frame as a pointer: one add. Valid for every frame of every run, for reading and writing, at any IRQL. */
FORCEINLINE PVOID PortDirectMap(PFN_NUMBER PageFrame)
{
    return (PVOID)(PORT_DIRECT_MAP_BASE + (PageFrame << PAGE_SHIFT));
}

/* The frame behind a direct-map pointer. */
FORCEINLINE PFN_NUMBER PortDirectMapFrame(const volatile void *Address)
{
    return ((ULONG_PTR)Address - PORT_DIRECT_MAP_BASE) >> PAGE_SHIFT;
}

/*
 * Zero-filled, page-aligned nonpaged memory for structures that live as long as the machine (PFN database,
 * MiState). The port may back it lazily: untouched pages cost nothing. NULL when there is none.
 */
PVOID PortAllocateBootMemory(SIZE_T Bytes);
VOID PortFreeBootMemory(PVOID Address, SIZE_T Bytes);

/*
 * RAM appears while the machine runs: makes these frames usable like those of PortQueryMemoryRuns. Run->BasePage and PageCount come in, Zeroed and
 * Node go out. STATUS_INVALID_PARAMETER (beyond the direct map, or a device's), STATUS_INSUFFICIENT_RESOURCES. IRQL PASSIVE_LEVEL.
 */
NTSTATUS PortAddMemory(PORT_MEMORY_RUN *Run);

/*
 * Gives frames back to the outside if the port can (host: punches a hole into the RAM file); afterwards they
 * read as zero. Optional work: returns FALSE when nothing was done and the contents are unchanged.
 */
BOOLEAN PortDiscardFrames(PFN_NUMBER PageFrame, PFN_NUMBER Count);

/*
 * A hint: most of these frames, which were never used, will be used soon. The port may get their memory ready (host: in pages of 2 MiB, where Linux has
 * them); contents do not change, and they may be taken into use meanwhile. May take milliseconds. IRQL PASSIVE_LEVEL, no locks.
 */
VOID PortPrepareFrames(PFN_NUMBER PageFrame, PFN_NUMBER Count);

/*
 * Physical addresses outside all runs are devices', or nobody's. The kernel maps them with valid PTEs that have bit 62 set (ignored by
 * processors); a port may tell by it that no RAM is meant. What answers there is the port's affair; they have no direct map.
 */

/* ---- Translation -------------------------------------------------------------------------------------- */

/*
 * Address ranges of the user window that the surroundings occupy (host: the Linux process itself); the
 * address space code never hands them out. Returns the number of ranges, writes at most Count.
 */
typedef struct _PORT_ADDRESS_RANGE
{
    ULONG_PTR Start;
    ULONG_PTR End; /* last byte */
} PORT_ADDRESS_RANGE;

ULONG PortQueryOccupiedRanges(PORT_ADDRESS_RANGE *Ranges, ULONG Count);

/*
 * The current thread runs in the address space whose top-level page is TopLevel from now on (0: none, only
 * the system window). On the host this may wait until the space can be loaded (gang scheduling): IRQL < DISPATCH.
 * The session window is translated through the same page as the user window; several spaces may have the same entry there.
 */
VOID PortLoadAddressSpace(PFN_NUMBER TopLevel);

/* A run of pages whose cached translations must go. */
typedef struct _PORT_TB_RANGE
{
    ULONG_PTR Start; /* page aligned */
    SIZE_T Pages;
} PORT_TB_RANGE;

/*
 * Invalidates the translations of Ranges in the space TopLevel (0: system window, held by all spaces) on
 * every processor that may hold them. Ranges == NULL: all of that space. The caller changed the PTEs before.
 * Ranges in the session window are meant in every space, whatever TopLevel says: the spaces of a session share the tables.
 * On return no processor accesses the old frames through these addresses any more. Never faults.
 */
VOID PortFlushTb(PFN_NUMBER TopLevel, const PORT_TB_RANGE *Ranges, ULONG Count);

/* The top-level page through which system addresses are translated (its system half is shared by all spaces). At boot; 0 at shutdown. */
VOID PortSetSystemSpace(PFN_NUMBER TopLevel);

/*
 * Tells the port that PTEs for this range became valid and are about to be used: it may load them into its TB
 * now (host: one mmap for a physically consecutive run). A hint. Sets accessed/dirty bits only as a walk for
 * an access of that kind would. Never faults.
 */
VOID PortFillTb(PFN_NUMBER TopLevel, ULONG_PTR Start, SIZE_T Pages, BOOLEAN Write);

/*
 * The same for somebody who is about to write to these pages one after the other: user pages of one page table, whose lock the caller has, valid and writable,
 * their dirty bits clear. The port may load them with write access at once; then their dirty bits are late: PortSettleWriter sets those of pages whose
 * contents have changed since, and whoever writes to another of them from then on sets its bit as ever. So the kernel calls it before it looks at a dirty bit or
 * changes an entry: whenever it has got the lock of a page table for which PortIsTableOfWriter is true, or has locked a space for which
 * PortIsSpaceOfWriter is true against faults. A page on which the writer puts what was there before stays clean.
 * There is one such run; the next one settles it.
 */
VOID PortFillTbForWriter(PFN_NUMBER TopLevel, ULONG_PTR Start, SIZE_T Pages);
VOID PortSettleWriter(VOID);

/*
 * A driver's code and data may lie where the surroundings' loader put them, outside of both windows. PortBeginAlias: from now on the pages
 * [Start, Start + Pages) of the system window are seen at Target, and nowhere else; their contents are what was at Target before. The caller
 * keeps these pages valid and writable meanwhile, and nothing else in use in the GiB of Start, of the pages before and behind included. Start and
 * Target are congruent modulo 1 GiB, and aliases in one GiB have the same distance. PortEndAlias: ordinary memory with the same contents takes
 * the place; the pages must be valid. Access: PORT_FAULT_WRITE, PORT_FAULT_EXECUTE, as the ordinary memory is to permit it. Keep: what was at Target at the
 * beginning is kept and comes back at the end, whatever has become of the pages, which need not be valid then. IRQL PASSIVE_LEVEL.
 *   STATUS_NOT_SUPPORTED (drivers are loaded into the system window here), STATUS_CONFLICTING_ADDRESSES (Target lies in a window, or
 *   is an alias), STATUS_INSUFFICIENT_RESOURCES
 */
NTSTATUS PortBeginAlias(ULONG_PTR Start, SIZE_T Pages, ULONG_PTR Target, ULONG Access, BOOLEAN Keep);
VOID PortEndAlias(ULONG_PTR Start);

/* ---- Processors, threads, time ------------------------------------------------------------------------- */

ULONG PortQueryProcessorCount(void);

/* The storage of a port thread inside KTHREAD. */
typedef struct _PORT_THREAD
{
    ULONG64 Opaque[16];
} PORT_THREAD;

struct _KTHREAD;

/*
 * Starts Routine(Context) on a new thread whose PortGetCurrentThread() is Thread. The thread ends by returning.
 * The memory of Thread stays valid until PortJoinThread returned.
 */
NTSTATUS PortCreateThread(struct _KTHREAD *Thread, PORT_THREAD *Port, VOID (*Routine)(PVOID), PVOID Context);
VOID PortJoinThread(PORT_THREAD *Port);

/*
 * Calls Routine(Context) with the stack [Low, High), both page-aligned and mapped, and comes back when it returns. The kernel may jump from
 * frame to frame on that stack, not off it. / The stack that the surroundings gave the calling thread: [Low, High).
 */
VOID PortCallOnStack(VOID (*Routine)(PVOID), PVOID Context, ULONG_PTR Low, ULONG_PTR High);
VOID PortQueryThreadStack(ULONG_PTR *Low, ULONG_PTR *High);

/* Makes the calling, foreign thread one of ours / lets it go. */
VOID PortAdoptThread(struct _KTHREAD *Thread, PORT_THREAD *Port);
VOID PortAbandonThread(struct _KTHREAD *Thread, PORT_THREAD *Port);

/*
 * The thread is to look whether it has to leave user mode (KiEndUserMode): now, if it is there; it does so itself when it comes back. A hint: code
 * that cannot be left safely goes on. Never faults.
 */
VOID PortInterruptThread(PORT_THREAD *Port);

/*
 * Parks the calling thread (Port is its own) until an unpark, which is remembered if it came first (one token), or
 * until PortQueryClock() >= Deadline (nanoseconds; ~0 = never). May return early. FALSE: the deadline passed.
 */
BOOLEAN PortParkThread(PORT_THREAD *Port, ULONG64 Deadline);
VOID PortUnparkThread(PORT_THREAD *Port);
VOID PortYield(void);

/*
 * Masks what would let another thread of ours run on this thread's processor (IRQL >= DISPATCH_LEVEL): from
 * Enter to Leave the caller is the only thread of that processor number. Not nested; the kernel counts. Never faults.
 */
VOID PortEnterDispatch(ULONG Processor);
VOID PortLeaveDispatch(ULONG Processor);

/* Nanoseconds, monotonic. / 100 ns units since 1601-01-01 UTC. */
ULONG64 PortQueryClock(void);
ULONG64 PortQuerySystemTime(void);
ULONG64 PortQueryEntropy(void);

/*
 * One access of 1, 2 or 4 bytes to x86's I/O space. Where nothing answers: all ones, and what is written is lost. Any IRQL; on the host the code of a
 * simulated device runs on the calling thread.
 */
ULONG PortReadIoPort(USHORT Port, ULONG Bytes);
VOID PortWriteIoPort(USHORT Port, ULONG Bytes, ULONG Value);

/* ---- Storage ------------------------------------------------------------------------------------------- */

typedef struct _PORT_STORAGE PORT_STORAGE;

#define PORT_STORAGE_READ      0x1u
#define PORT_STORAGE_WRITE     0x2u
#define PORT_STORAGE_CREATE    0x4u  /* create when absent */
#define PORT_STORAGE_EXCLUSIVE 0x8u  /* nobody else may use it as a paging file at the same time */
#define PORT_STORAGE_UNCACHED  0x10u /* around the surroundings' page cache (O_DIRECT) where it can be had */
#define PORT_STORAGE_SCRATCH   0x20u /* contents mean nothing after close */
/*
 * A client's file: its size counts bytes and belongs to whoever sets it, so a write never makes it longer. What lies beyond the end is left out,
 * and Information says how far the write came; a write wholly beyond is an END_OF_FILE. Holes that it has stay holes.
 */
#define PORT_STORAGE_DATA 0x40u
/* Contents are unreadable for everybody else, and for ever after close. NOT_SUPPORTED where the port has no cipher. */
#define PORT_STORAGE_ENCRYPTED 0x100u
#define PORT_STORAGE_NEW       0x80u /* with CREATE: OBJECT_NAME_COLLISION when it exists */

/*
 * Opens a backing file. Statuses: OBJECT_NAME_NOT_FOUND, OBJECT_PATH_NOT_FOUND, ACCESS_DENIED, SHARING_VIOLATION, INVALID_PARAMETER (no file;
 * FILE_IS_A_DIRECTORY for a directory opened as DATA), MEDIA_WRITE_PROTECTED, INSUFFICIENT_RESOURCES.
 */
NTSTATUS PortOpenStorage(PCUNICODE_STRING Name, ULONG Flags, PORT_STORAGE **Storage);
VOID PortCloseStorage(PORT_STORAGE *Storage);
NTSTATUS PortQueryStorageSize(PORT_STORAGE *Storage, ULONG64 *Bytes);

/* Sets the size; growth really allocates (STATUS_DISK_FULL otherwise, size unchanged). */
NTSTATUS PortSetStorageSize(PORT_STORAGE *Storage, ULONG64 Bytes);
NTSTATUS PortFlushStorage(PORT_STORAGE *Storage);

/* Two storages of the same file have the same Device and File. Times in 100 ns units since 1601. */
typedef struct _PORT_STORAGE_INFORMATION
{
    ULONG64 Device;
    ULONG64 File;
    ULONG64 Size;           /* bytes */
    ULONG64 AllocationSize; /* bytes that it occupies */
    LONG64 CreationTime, LastAccessTime, LastWriteTime, ChangeTime;
    ULONG Links;
    BOOLEAN ReadOnly; /* nobody has the permission to write it */
    BOOLEAN Created;  /* by this open */
} PORT_STORAGE_INFORMATION;

NTSTATUS PortQueryStorageInformation(PORT_STORAGE *Storage, PORT_STORAGE_INFORMATION *Information);

/* Takes its name away; the storage stays usable until it is closed. Nothing if another file has the name meanwhile. */
NTSTATUS PortDeleteStorage(PORT_STORAGE *Storage);

/* One asynchronous vectored transfer between consecutive bytes of a file and page frames. */
typedef struct _PORT_IO PORT_IO;
typedef VOID PORT_IO_COMPLETION(PORT_IO *Io);

#define PORT_IO_MAXIMUM_PAGES 512 /* 2 MiB */

struct _PORT_IO
{
    PORT_STORAGE *Storage;
    ULONG64 Offset;           /* page aligned */
    const PFN_NUMBER *Frames; /* Count frames; stays valid until completion */
    ULONG Count;              /* 1..PORT_IO_MAXIMUM_PAGES */
    BOOLEAN Write;
    PORT_IO_COMPLETION *Completion;
    PVOID Context;
    /* out */
    NTSTATUS Status;     /* SUCCESS, END_OF_FILE, DISK_FULL, IO_DEVICE_ERROR, ... : the whole transfer */
    SIZE_T Information;  /* bytes transferred */
    ULONG64 Reserved[8]; /* the port's */
};

/*
 * Starts Io. Completion is called exactly once, on some thread, not holding any of the port's locks; it may take
 * spin locks and set events and must not wait. Short transfers are continued by the port; reading beyond the end of the file
 * fills zeros and reports END_OF_FILE only if nothing at all was there (a read that found a part is a SUCCESS whose Information
 * is less than was asked for). A write beyond the end extends the file. Cannot fail synchronously. Never faults.
 */
VOID PortStartIo(PORT_IO *Io);

/*
 * The same for a caller that has nothing to do before the transfer is over (a fault that reads its own page): the port may
 * carry it out on the calling thread, which spares the way to another thread and back. Completion, of this and
 * in deterministic mode of other requests too, has run on return; Io stays valid until then. IRQL <= APC_LEVEL, no lock held that
 * a completion takes.
 */
VOID PortPerformIo(PORT_IO *Io);

/*
 * Deterministic mode only: completes pending transfers on the calling thread; TRUE when it completed one.
 * In threaded mode does nothing and returns FALSE.
 */
BOOLEAN PortPollIo(void);

/* ---- The end, and talking ------------------------------------------------------------------------------ */

VOID PortDebugPrint(PCSTR Text, SIZE_T Length);

/* Writes at most Count return addresses of the caller's stack; returns how many. Never faults. */
ULONG PortCaptureBackTrace(PVOID *Frames, ULONG Count, ULONG Skip);

/* Describes a code address ("symbol+0x12 (module)"), or leaves an empty string. */
VOID PortDescribeAddress(PVOID Address, PSTR Buffer, SIZE_T Size);

/* The machine stops here (host: abort). */
DECLSPEC_NORETURN VOID PortHalt(VOID);

/* ---- What the port calls in the kernel ----------------------------------------------------------------- */

/*
 * The page-fault entry: FaultStatus is the x86 page-fault error code (bit 0 present, 1 write, 2 user, 4 execute).
 * STATUS_SUCCESS: run the access again. Otherwise the port raises the exception in Record (already filled in) to
 * the interrupted code. Defined in src/fault.
 */
struct _EXCEPTION_RECORD;
NTSTATUS MmAccessFault(ULONG FaultStatus, PVOID Address, KPROCESSOR_MODE Mode,
                       struct _EXCEPTION_RECORD *Record);

/*
 * The room ke, for the port's fault handler (src/ke/below.c). All of it concerns the current thread, never faults, and
 * may be called inside the handler.
 *
 * KiEndUserMode: the current thread leaves user mode, if that is pending, for its base frame.
 * KiCheckTrapStack: the fault at Address came while the stack pointer was in the system window; a bug check if a trap frame has no room.
 * KiQueryModeAddress: where Thread keeps its current mode (KTHREAD.CurrentMode), for ports that read it often.
 * KiQueryExceptionScope: what would become of an exception now.
 * KiUnwindToFrame: raises Record to the innermost exception frame; returns FALSE if there is none.
 * KiGuardedCall: runs Routine(Context) in a frame of its own; STATUS_SUCCESS or the exception's code, *Record optional.
 * KiGuardedCopy: copies from or to memory that may fault; *Copied (optional) says how far it came. IRQL <= APC_LEVEL.
 */
typedef enum _KI_EXCEPTION_SCOPE
{
    KiExceptionUnframed, /* no frame: nobody can take it */
    KiExceptionFramed,   /* somebody inside the thread waits for it */
    KiExceptionBase      /* only the thread's outermost frame is left: unhandled */
} KI_EXCEPTION_SCOPE;

VOID KiEndUserMode(VOID);
VOID KiCheckTrapStack(ULONG_PTR StackPointer, ULONG_PTR Address, PVOID Instruction);
const volatile KPROCESSOR_MODE *KiQueryModeAddress(const struct _KTHREAD *Thread);
KI_EXCEPTION_SCOPE KiQueryExceptionScope(VOID);
BOOLEAN KiUnwindToFrame(const struct _EXCEPTION_RECORD *Record);
NTSTATUS KiGuardedCall(VOID (*Routine)(PVOID), PVOID Context, struct _EXCEPTION_RECORD *Record);
NTSTATUS KiGuardedCopy(PVOID Destination, const volatile void *Source, SIZE_T Length, PSIZE_T Copied);

#define PORT_FAULT_PRESENT 0x01u
#define PORT_FAULT_WRITE   0x02u
#define PORT_FAULT_USER    0x04u
#define PORT_FAULT_EXECUTE 0x10u

#endif
