/* SPDX-License-Identifier: MIT */
/*
 * Between the files of the host's storage: the storage itself, the state of a request inside
 * PORT_IO.Reserved, the steps of a transfer that all engines share, and the table by which an engine is
 * reached.
 */
#ifndef NTMM_PORT_HOST_STORAGE_ENGINE_H
#define NTMM_PORT_HOST_STORAGE_ENGINE_H

#include "storage.h"

#include <sys/types.h>
#include <sys/uio.h>

typedef struct _HOST_MEMORY_FILE HOST_MEMORY_FILE;

typedef struct _HOST_CIPHER HOST_CIPHER;

struct _PORT_STORAGE
{
    int Descriptor;
    int TailDescriptor; /* through the page cache: for the last, partial page of a file that is uncached; -1: none */
    ULONG Flags;
    BOOLEAN Created;          /* by this open */
    BOOLEAN Uncached;         /* atomic: falls to FALSE when Linux refuses an O_DIRECT transfer after all */
    BOOLEAN Cut;              /* atomic: scratch, and somebody else was seen to have made it shorter */
    BOOLEAN TellsHoles;       /* atomic: the file system knows what was written (SEEK_DATA) */
    ULONG InFlight;           /* atomic: requests started and not yet through with their completion */
    ULONG64 Capacity;         /* atomic: HostStorageSetCapacity */
    ULONG64 Size;             /* atomic: what PortSetStorageSize made it; 0: nobody has */
    HOST_MEMORY_FILE *Memory; /* of a storage in memory: its name */
    PORT_STORAGE *Next;       /* HostStorages.List, under HostStorages.Lock */
    HOST_STORAGE_COUNTERS Counters; /* atomic, relaxed */
    ULONG64 ReadTime;               /* atomic: nanoseconds of small reads that somebody waited for, a mean */
    ULONG PollPause;                /* atomic: so many of them do not look for their answer */
    HOST_CIPHER *Cipher;            /* PORT_STORAGE_ENCRYPTED */
    char Path[];
};

/* PORT_IO.Reserved. Owner: whoever carries the request: its starter, the queue, then one engine thread. */
typedef struct _HOST_IO
{
    PORT_IO *Next;
    ULONG64 Done;    /* bytes moved */
    ULONG *Finished; /* PortPerformIo in deterministic mode: becomes 1 */
    LONG64 Delay[2]; /* injected: seconds, nanoseconds (a struct __kernel_timespec for io_uring) */
    ULONG Limit;     /* of the attempt under way: bytes that it may move */
    LONG Error;      /* of the attempt under way: injected errno */
    ULONG Stalls;    /* attempts without progress in a row */
    BOOLEAN Delayed; /* io_uring: the ring's next answer ends the delay */
    BOOLEAN Clipped; /* the attempt ends with the file, inside a page */
    PUCHAR Copy;     /* encrypted: what is written instead of the frames */
} HOST_IO;

C_ASSERT(sizeof(HOST_IO) <= sizeof(((PORT_IO *)0)->Reserved));

static inline HOST_IO *HostIo(PORT_IO *Io)
{
    return (HOST_IO *)(PVOID)Io->Reserved;
}

/* ---- Engines ------------------------------------------------------------------------------------------- */

typedef struct _HOST_STORAGE_ENGINE
{
    HOST_STORAGE_ENGINE_KIND Kind;
    NTSTATUS (*Start)(void);     /* PASSIVE; STATUS_NOT_SUPPORTED: Linux has no such thing */
    VOID (*Stop)(void);          /* nothing is in flight; returns when its threads are gone */
    VOID (*Submit)(PORT_IO *Io); /* never faults, never waits */
} HOST_STORAGE_ENGINE;

extern const HOST_STORAGE_ENGINE HostUringEngine;
extern const HOST_STORAGE_ENGINE HostPoolEngine;
extern const HOST_STORAGE_ENGINE HostDeterministicEngine;

/*
 * The intake of an engine: a stack that anybody pushes to with one compare-and-swap (also inside a signal
 * handler that interrupted another push), and that the engine takes as a whole, oldest first.
 */
typedef struct _HOST_IO_INTAKE
{
    PORT_IO *Newest;
} HOST_IO_INTAKE;

VOID HostIntakePush(HOST_IO_INTAKE *Intake, PORT_IO *Io);
PORT_IO *HostIntakeTake(HOST_IO_INTAKE *Intake);

static inline BOOLEAN HostIntakeIsEmpty(HOST_IO_INTAKE *Intake)
{
    return __atomic_load_n(&Intake->Newest, __ATOMIC_SEQ_CST) == NULL;
}

/* A first-in first-out list of one owner. */
typedef struct _HOST_IO_LIST
{
    PORT_IO *First, *Last;
} HOST_IO_LIST;

VOID HostListAppend(HOST_IO_LIST *List, PORT_IO *Chain);
PORT_IO *HostListRemove(HOST_IO_LIST *List);

/* The engine that runs. Only while a storage is open. */
const HOST_STORAGE_ENGINE *HostCurrentEngine(void);

/*
 * Creates an engine thread: signals blocked except those of its own faults, named, hooks called around
 * Routine.
 */
NTSTATUS HostStartEngineThread(ULONG Index, VOID (*Routine)(VOID), ULONG64 *Handle);
VOID HostJoinEngineThread(ULONG64 Handle);

VOID HostFutexSleep(ULONG *Word, ULONG Value);
VOID HostFutexWakeUp(ULONG *Word, ULONG Count);

/* ---- The steps of a transfer --------------------------------------------------------------------------- */

/* Checks the request. FALSE: it has its final status already. */
BOOLEAN HostIoBegin(PORT_IO *Io);

/* Begins an attempt: asks the fault rules; sets Limit, Error and Delay. */
VOID HostIoDecide(PORT_IO *Io);

/* An errno of our own: the write lies beyond the end of a client's file. */
#define HOST_ERROR_END_OF_FILE 4095

/* Where the attempt goes: around the page cache or, with the end of a client's file, through it. */
int HostIoDescriptor(const PORT_IO *Io);

/*
 * Describes what the attempt moves: at most PORT_IO_MAXIMUM_PAGES pieces, consecutive frames in one piece.
 * Offset gets the place in the file. Returns the number of pieces.
 */
ULONG HostIoDescribe(PORT_IO *Io, struct iovec *Vector, off_t *Offset);

/*
 * Takes the attempt's result (bytes, or -errno) in. TRUE: the request has its final status; FALSE: attempt
 * again.
 */
BOOLEAN HostIoAdvance(PORT_IO *Io, LONG64 Result);

/* Counts, calls Completion, lets the storage go. Io belongs to its starter again. */
VOID HostIoComplete(PORT_IO *Io);

/* Waits until no request of Storage is in flight. */
VOID HostIoDrain(PORT_STORAGE *Storage);

/* All of it on the calling thread, up to the final status, without HostIoComplete. */
VOID HostIoTransfer(PORT_IO *Io, BOOLEAN ObeyDelays);

/* ---- Reads that are looked for (storage_poll.c) ---------------------------------------------------------- */

/* With the io_uring engine. Nothing is in flight. */
VOID HostStartPolling(void);
VOID HostStopPolling(void);

/* As preadv, but the result is bytes or -errno. The thread has nothing else to do. */
LONG64 HostReadAndWait(PORT_STORAGE *Storage, const struct iovec *Vector, ULONG Pieces, off_t Offset);

/* Deterministic mode: starts the generator over. */
VOID HostSeedDeterministic(ULONG64 Seed);

/* ---- Scratch files that somebody cuts short (storage_scratch.c) ------------------------------------------- */

/* Whether the file is, or was at an earlier look, shorter than it was made. */
BOOLEAN HostScratchWasCut(PORT_STORAGE *Storage);
/* After fallocate had success. */
VOID HostNoteAllocated(PORT_STORAGE *Storage, ULONG64 Bytes);
/* A read that arrived (as it is in the file): whether zeros in it stand for pages that are gone. */
BOOLEAN HostScratchLostPages(const PORT_IO *Io);

/* ---- Encryption (storage_crypt.c) ----------------------------------------------------------------------- */

NTSTATUS HostCreateCipher(HOST_CIPHER **Result);
VOID HostDeleteCipher(HOST_CIPHER *Cipher); /* NULL: nothing */
/* Makes the copy that is written. FALSE: no memory. */
BOOLEAN HostEncryptIo(PORT_IO *Io);
/* The frames of a read that arrived. */
VOID HostDecryptIo(PORT_IO *Io);
VOID HostForgetCopy(PORT_IO *Io);

/* ---- Fault rules --------------------------------------------------------------------------------------- */

typedef struct _HOST_FAULT_VERDICT
{
    int Error;
    ULONG Limit;
    ULONG64 Delay;
} HOST_FAULT_VERDICT;

/* Asks the rules about one attempt of Kind on [Offset, Offset + Bytes). */
VOID HostFaultConsult(PORT_STORAGE *Storage, ULONG Kind, ULONG64 Offset, ULONG Bytes,
                      HOST_FAULT_VERDICT *Verdict);

/* Growth to Bytes: errno, or 0. */
int HostFaultConsultSize(PORT_STORAGE *Storage, ULONG64 Bytes);

/* The storage is about to go: its rules go with it. */
VOID HostFaultForget(PORT_STORAGE *Storage);

VOID HostStorageCount(PORT_STORAGE *Storage, size_t CounterOffset, ULONG64 Amount);
#define HostCount(Storage, Name, Amount)                                                                     \
    HostStorageCount(Storage, offsetof(HOST_STORAGE_COUNTERS, Name), Amount)

#endif
