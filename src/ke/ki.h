/* SPDX-License-Identifier: MIT */
/*
 * What the files of the kernel room share with each other and with nobody else: object types, waiting, the
 * timer and DPC queue, formatting.
 */
#ifndef NTMM_KI_H
#define NTMM_KI_H

#include "ke/ke.h"

/* ---- Dispatcher objects -------------------------------------------------------------------------------- */

/* One wait of one thread; lives on its stack. KWAIT_BLOCK.SparePtr of its blocks leads here. */
typedef struct _KI_WAIT
{
    PKTHREAD Thread;
    PKWAIT_BLOCK Blocks;
    ULONG Count;
    BOOLEAN All;
    BOOLEAN Completed; /* DispatcherLock: somebody satisfied it, Status is final, the blocks are unlinked */
    NTSTATUS Status;
    volatile ULONG Satisfied;   /* the waker's last touch of this structure */
    struct _KI_WAIT *NextWoken; /* the waker's list */
} KI_WAIT, *PKI_WAIT;

KIRQL KiAcquireDispatcherLock(void);
VOID KiReleaseDispatcherLock(KIRQL OldIrql);

/* Completes the waits that Header's new state satisfies and adds them to *Woken. DispatcherLock held. */
VOID KiSatisfyWaiters(DISPATCHER_HEADER *Header, PKI_WAIT *Woken);

/* Releases DispatcherLock, then lets the threads of the list run. */
VOID KiReleaseDispatcherLockAndWake(KIRQL OldIrql, PKI_WAIT Woken);

/*
 * Sleeps until *Flag is nonzero or KiQueryTime() >= Deadline (~0: never); the one place where a thread of the
 * kernel stops running. TRUE: the flag is set. Whoever sets it does it with release order and then calls
 * KiWakeThread.
 */
BOOLEAN KiSleepUntil(const volatile ULONG *Flag, ULONG64 Deadline);

/*
 * Sets *Flag, the waker's last touch of what lies around it, and wakes Thread. Its storage stays valid
 * meanwhile.
 */
VOID KiWakeThread(PKTHREAD Thread, volatile ULONG *Flag);

/* A public timeout (NULL, relative or absolute 100 ns units) as a deadline in nanoseconds of KiQueryTime. */
ULONG64 KiTimeoutToDeadline(const LARGE_INTEGER *Timeout);

/* Mutants that the ending thread still owns become abandoned. */
VOID KiAbandonMutants(PKTHREAD Thread);

/* ---- Timers and DPCs ----------------------------------------------------------------------------------- */

typedef struct _KI_TIMER_QUEUE
{
    LIST_ENTRY Timers;                    /* DispatcherLock: ascending due time */
    PSINGLE_LIST_ENTRY FirstDpc, LastDpc; /* DispatcherLock */
    ULONG DpcActive;                      /* DispatcherLock: DPC routines that run */
    ULONG Stop;
    BOOLEAN ThreadStarted;
    KTHREAD Thread;
} KI_TIMER_QUEUE;

NTSTATUS KiStartTimers(void);
VOID KiStopTimers(void);

/* Expires what is due and runs queued DPCs. TRUE if there was anything. */
BOOLEAN KiServeTimers(void);

/* When the next timer is due; ~0 if none is set. */
ULONG64 KiNextTimer(void);

/* Lets the timer thread look again; any IRQL. */
VOID KiWakeTimerThread(void);

/* ---- Work items ---------------------------------------------------------------------------------------- */

#define KI_WORK_THREADS 2

typedef struct _KI_WORK_QUEUE
{
    KSPIN_LOCK Lock;
    LIST_ENTRY Items; /* Lock */
    ULONG Started;    /* how many of Workers run; changed by the timer thread and at shutdown only */
    KI_WORKER Workers[KI_WORK_THREADS];
} KI_WORK_QUEUE;

/* Starts the workers if there is work for them. On the timer thread; at boot in deterministic mode. */
VOID KiStartWorkThreads(void);

/* Stops them and runs what is left. */
VOID KiStopWorkThreads(void);

/* ---- Threads ------------------------------------------------------------------------------------------- */

/* Fills in Thread, without a port thread, and puts it on the list. */
VOID KiInitializeThread(PKTHREAD Thread, ULONG Processor);

/* Takes it off the list, signals it, and waits until no waker touches it any more. */
VOID KiRetireThread(PKTHREAD Thread);

/* ---- Deterministic mode -------------------------------------------------------------------------------- */

/* The single thread's way of waiting: steps workers and lets virtual time pass. */
BOOLEAN KiRunUntil(const volatile ULONG *Flag, ULONG64 Deadline);

/* The next number of the seeded sequence (splitmix64). */
ULONG64 KiDraw(void);

/* ---- Text ---------------------------------------------------------------------------------------------- */

/* Formats (rtl/format.h) and hands the text to PortDebugPrint. */
VOID KiPrint(PCSTR Format, ...) __attribute__((format(printf, 1, 2)));

/* ---- Bug checks ---------------------------------------------------------------------------------------- */

/* Name and explanation of a bug-check code; an entry with Name == NULL means unknown. */
typedef struct _KI_BUG_CHECK_TEXT
{
    ULONG Code;
    PCSTR Name;
    PCSTR Meaning;
    PCSTR Parameters[4];
} KI_BUG_CHECK_TEXT;

const KI_BUG_CHECK_TEXT *KiFindBugCheckText(ULONG Code);

#endif
