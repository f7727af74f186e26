/* SPDX-License-Identifier: MIT */
/*
 * What the heap asks of the ground it stands on: five page operations, and a way to wait.
 *
 * Plain Linux provides them with mmap (ground_linux.c); inside the machine the NT services do (ground_nt.c, compiled with
 * NTHEAP_GROUND_NT). Tests hand in tables of their own: to fail the N-th commit, or to see every page that is given back.
 */
#ifndef NTMM_HEAP_GROUND_H
#define NTMM_HEAP_GROUND_H

#include "nt/ntdef.h"
#include "nt/ntstatus.h"

/*
 * Constants that every program reads lie in a page that relocation has made anyway, and that is read-only afterwards: they
 * would be all that a small program touches of .rodata, 16 KiB.
 */
#if defined(__linux__) && !defined(NTHEAP_GROUND_NT)
#define HEAP_TOUCHED __attribute__((section(".data.rel.ro")))
#else
#define HEAP_TOUCHED
#endif

typedef struct _HEAP_PAGE_OPERATIONS
{
    /* Address space without memory, aligned to Alignment (a power of two); NULL if there is none. */
    PVOID (*Reserve)(SIZE_T Size, SIZE_T Alignment);
    /* Makes reserved pages readable and writable. FALSE if the memory cannot be promised. */
    BOOLEAN (*Commit)(PVOID Base, SIZE_T Size, BOOLEAN Executable);
    /* Gives memory back; the address space stays. Seal: access faults until the next Commit. Without Seal and with
     * CommitOnTouch the next touch finds zeroes. */
    VOID (*Decommit)(PVOID Base, SIZE_T Size, BOOLEAN Seal);
    /* Gives address space back, committed or not. */
    VOID (*Release)(PVOID Base, SIZE_T Size);
    SIZE_T (*QueryPageSize)(VOID);
    /* A decommitted page comes back by itself when touched: no second Commit is needed. */
    BOOLEAN CommitOnTouch;
} HEAP_PAGE_OPERATIONS, *PHEAP_PAGE_OPERATIONS;
typedef const HEAP_PAGE_OPERATIONS *PCHEAP_PAGE_OPERATIONS;

#if defined(NTHEAP_GROUND_NT)
extern const HEAP_PAGE_OPERATIONS RtlpNtPageOperations;
#define RtlpPageOperations     RtlpNtPageOperations
#define RtlpGroundHasResources TRUE
#else
extern const HEAP_PAGE_OPERATIONS RtlpLinuxPageOperations;
#define RtlpPageOperations     RtlpLinuxPageOperations
#define RtlpGroundHasResources FALSE
#endif

/*
 * Moves pages from one committed range to another without copying; the old range is sealed then, until the next Commit. FALSE
 * if that cannot be done: then From is as it was, and To is readable and writable, of undefined contents.
 */
BOOLEAN RtlpGroundMove(PVOID From, PVOID To, SIZE_T Size);

/*
 * Every change of page tables is dear, as where a hypervisor without support of the processor's shadows them: there every move makes all
 * pages of the process strange to the processor, and pages given back come as dearly again. Known after the first move.
 */
BOOLEAN RtlpGroundPagesAreDear(VOID);

#if !defined(NTHEAP_GROUND_NT)
typedef enum _HEAP_MOVES
{
    HeapMovesUnknown,
    HeapMovesCheap,
    HeapMovesDear
} HEAP_MOVES;

extern ULONG RtlpGroundMoves; /* (atomic) HEAP_MOVES */
#endif

/* Committed pages will be written now: they may come together. */
VOID RtlpGroundTouch(PVOID Base, SIZE_T Size);

/* Sleeps while *Address is Value (it may wake early); wakes one sleeper. */
VOID RtlpGroundWait(ULONG *Address, ULONG Value);
VOID RtlpGroundWake(ULONG *Address);

/*
 * A lock that the caller of RtlCreateHeap brought: an ERESOURCE, for exclusive use. FALSE (without Wait): another thread has it. Where there
 * are no such locks, RtlpGroundHasResources is FALSE and nothing of it is called.
 */
BOOLEAN RtlpGroundAcquireResource(PVOID Resource, BOOLEAN Wait);
VOID RtlpGroundReleaseResource(PVOID Resource);

/* Lets others run for some tens of microseconds. */
VOID RtlpGroundPause(VOID);
/* Lets others run that wait for this processor, if there are any. */
VOID RtlpGroundYield(VOID);

/* Milliseconds of a coarse, cheap clock; bits that an attacker does not know; who calls. */
ULONG64 RtlpGroundMilliseconds(VOID);
ULONG64 RtlpGroundEntropy(VOID);
ULONG_PTR RtlpGroundThread(VOID);
ULONG RtlpGroundProcessors(VOID);
/* Which part the thread is to use of what is cut up for processors: any number. It may want another one from now on. */
ULONG RtlpGroundPart(VOID);
VOID RtlpGroundChangePart(VOID);

/* The value of an environment variable as a number, 0 if it is not set. Works before the C library is ready. */
ULONG64 RtlpGroundOption(const char *Name);

/* The heap is the process's default one now: whoever wants to know can see it from outside. */
VOID RtlpGroundSetProcessHeap(PVOID Heap);

/* One line for the user, without allocating. KeepOutput: also when the program has closed what it goes to (Linux). */
VOID RtlpGroundPrint(const char *Text);
VOID RtlpGroundKeepOutput(VOID);
/* Raises an exception that the caller of the heap may handle. No lock is held. Where there are none, ends the process. */
VOID RtlpGroundRaise(NTSTATUS Status);
/* Ends the process with Status; nobody can handle that. */
DECLSPEC_NORETURN VOID RtlpGroundAbort(NTSTATUS Status);

#endif
