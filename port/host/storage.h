/* SPDX-License-Identifier: MIT */
/*
 * What the host's storage offers beyond port.h: the choice of engine, the hooks that make its threads
 * threads of the kernel, deterministic mode, fault injection and counters. Clients are the embedding code
 * and the tests. Theory: docs/storage.md.
 */
#ifndef NTMM_PORT_HOST_STORAGE_H
#define NTMM_PORT_HOST_STORAGE_H

#include "port.h"

/* One place where an errno becomes a status; 0 is STATUS_SUCCESS. */
NTSTATUS HostStatusFromErrno(int Error);

/* ---- Engines and threads ------------------------------------------------------------------------------- */

typedef enum _HOST_STORAGE_ENGINE_KIND
{
    HostStorageAutomatic, /* io_uring, and the thread pool where the Linux kernel refuses it */
    HostStorageUring,     /* io_uring or nothing: opening fails with STATUS_NOT_SUPPORTED without it */
    HostStoragePool,
    HostStorageDeterministic
} HOST_STORAGE_ENGINE_KIND;

/*
 * For the storages opened from now on. The engine runs from the first open to the last close, so that no
 * thread outlives the machine; FALSE: a storage is open, nothing was changed. The environment variable
 * NTMM_STORAGE_ENGINE (uring, pool) replaces Automatic.
 */
BOOLEAN HostStorageSelectEngine(HOST_STORAGE_ENGINE_KIND Kind);

/* The engine that runs, else the one chosen for the next open. */
HOST_STORAGE_ENGINE_KIND HostStorageQueryEngine(void);

/*
 * Deterministic mode: no threads; PortPollIo performs one queued transfer, drawn with Seed, on its caller's
 * thread. FALSE as above.
 */
BOOLEAN HostStorageSetDeterministic(BOOLEAN Deterministic, ULONG64 Seed);

/*
 * Start runs as the first thing on each engine thread, Stop gets its result as the last (NULL: none). The
 * embedding code makes the thread a KTHREAD here. Set while no storage is open.
 */
typedef struct _HOST_STORAGE_HOOKS
{
    PVOID (*Start)(ULONG Index);
    VOID (*Stop)(PVOID Thread);
} HOST_STORAGE_HOOKS;

VOID HostStorageSetHooks(const HOST_STORAGE_HOOKS *Hooks);

/* ---- Questions ----------------------------------------------------------------------------------------- */

/*
 * TRUE: transfers go around the page cache, which PORT_STORAGE_UNCACHED asks for and the file system may
 * refuse.
 */
BOOLEAN HostStorageIsUncached(PORT_STORAGE *Storage);

/*
 * The open storage whose path ends with Suffix (UTF-8), the youngest first; NULL: none. For tests; nothing
 * is held.
 */
PORT_STORAGE *HostStorageFind(PCSTR Suffix);

typedef struct _HOST_STORAGE_COUNTERS
{
    ULONG64 Reads, Writes;           /* requests completed */
    ULONG64 PagesRead, PagesWritten; /* whole pages that they moved */
    ULONG64 Attempts;                /* transfers handed to Linux, continuations included */
    ULONG64 ShortTransfers;          /* attempts that moved less than they were asked to */
    ULONG64 Errors;                  /* requests that ended with an error */
    ULONG64 Flushes, Grows;
    ULONG64 Polled;   /* reads whose reader looked for the answer instead of sleeping at once */
    ULONG64 Injected; /* attempts that a fault rule changed */
} HOST_STORAGE_COUNTERS;

/* Of one storage, or since the process began (NULL). */
VOID HostStorageQueryCounters(PORT_STORAGE *Storage, HOST_STORAGE_COUNTERS *Counters);

/* ---- Fault injection (storage_fault.c) ----------------------------------------------------------------- */

#define HOST_FAULT_READ  0x1u
#define HOST_FAULT_WRITE 0x2u
#define HOST_FAULT_GROW  0x4u
#define HOST_FAULT_FLUSH 0x8u

/*
 * One rule. Attempts that match (Storage, Kind) are counted from the moment of injection; number Nth (1 =
 * the next) and the Count - 1 matching ones behind it are changed (Count 0: all from there on). A continued
 * transfer is a new attempt. Error, ShortBytes and Delay combine: first the delay, then the error, else the
 * cut.
 */
typedef struct _HOST_STORAGE_FAULT
{
    PORT_STORAGE *Storage; /* NULL: any */
    ULONG Kind;            /* HOST_FAULT_..., one or several */
    ULONG64 Nth;
    ULONG64 Count;
    int Error;        /* errno; 0: none */
    ULONG ShortBytes; /* the attempt moves at most so many bytes; 0: as asked */
    ULONG64 Delay;    /* nanoseconds; deterministic mode does not wait */
} HOST_STORAGE_FAULT;

#define HOST_STORAGE_MAXIMUM_FAULTS 16

/* FALSE: the table is full, or the rule says nothing. */
BOOLEAN HostStorageInject(const HOST_STORAGE_FAULT *Fault);
VOID HostStorageClearFaults(void);

/*
 * The disk behind Storage (NULL: behind every storage, future ones included) ends after Bytes: growth beyond
 * and writes beyond meet ENOSPC, also in the middle of a transfer. ~0: no limit. HostStorageClearFaults
 * lifts NULL's.
 */
VOID HostStorageSetCapacity(PORT_STORAGE *Storage, ULONG64 Bytes);

#endif
