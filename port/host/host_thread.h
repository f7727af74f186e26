/* SPDX-License-Identifier: MIT */
/*
 * What thread.c, dispatch.c and debug.c offer to the other files of the host port (and to tests): the layout behind
 * PORT_THREAD, the hooks around blocking, and the alternate signal stack on which page faults are handled.
 */
#ifndef NTMM_PORT_HOST_THREAD_H
#define NTMM_PORT_HOST_THREAD_H

#include "port.h"

#include <signal.h>

/* The contents of PORT_THREAD.Opaque. Owner: the thread itself, except Token. */
typedef struct _HOST_THREAD
{
    ULONG Token;    /* futex word: 0 no token, 1 token, 2 parked */
    LONG Tid;       /* Linux thread id */
    ULONG64 Handle; /* pthread_t of a thread that PortCreateThread started */
    VOID (*Routine)(PVOID);
    PVOID Context;
    struct _KTHREAD *Thread;
    PUCHAR SignalStack;            /* mapping: guard page, then the alternate stack */
    SIZE_T SignalStackSize;        /* of the mapping */
    stack_t PreviousSignalStack;   /* put back when the thread ends or is abandoned */
    ULONG_PTR StackLow, StackHigh; /* the thread's Linux stack, for back traces */
    ULONG64 HostState[3];          /* of fault.c and gang.c: zero when the thread begins */
} HOST_THREAD, *PHOST_THREAD;

C_ASSERT(sizeof(HOST_THREAD) <= sizeof(PORT_THREAD));

static inline PHOST_THREAD HostThread(PORT_THREAD *Port)
{
    return (PHOST_THREAD)(PVOID)Port->Opaque;
}

/* dispatch.c: the calling thread will not raise its IRQL any more; what others look at in its storage is given back. */
VOID HostGiveBiasUp(VOID);
/*
 * A new machine, nobody inside: all words are as at first. Each time a bias is taken away, the streak that earns the next one is
 * twice as long, up to LongestStreak entries (1 or more).
 */
#define HOST_LONGEST_STREAK (1u << 20)
VOID HostInitializeDispatch(ULONG LongestStreak);

/* The HOST_THREAD of the calling thread; NULL for a thread that is not ours. */
PHOST_THREAD HostCurrentThread(void);

/*
 * Hooks, NULL until somebody sets them (before the second thread exists). They run on the thread they speak
 * of: around every blocking wait (park, join; also inside the fault handler: async-signal-safe only), and as
 * the first and last thing of its life as one of ours.
 */
extern VOID (*HostBeforePark)(VOID);
extern VOID (*HostAfterPark)(VOID);
extern VOID (*HostThreadBegin)(VOID);
extern VOID (*HostThreadEnd)(VOID);

/* Usable bytes of an alternate signal stack. The mapping has a guard page below them. */
#define HOST_SIGNAL_STACK_SIZE ((SIZE_T)512 * 1024)

/*
 * Gives the calling thread an alternate signal stack / takes it away. PortCreateThread and PortAdoptThread do
 * it.
 */
NTSTATUS HostCreateSignalStack(PHOST_THREAD Host);
VOID HostDeleteSignalStack(PHOST_THREAD Host);

/* Where PortDebugPrint writes; NULL: standard error. */
extern VOID (*HostDebugPrintHook)(PCSTR Text, SIZE_T Length);

/* Walks frame pointers from Frame (the value of rbp). Never faults. */
ULONG HostWalkFrames(ULONG_PTR Frame, PVOID *Frames, ULONG Count, ULONG Skip);

#endif
