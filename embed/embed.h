/* SPDX-License-Identifier: MIT */
/*
 * What the files of the embedding API share: the one machine, how an API function becomes kernel-mode code, and the state of a
 * thread that runs user-mode code. Everything mutable hangs on NtmmMachine or on the thread.
 */
#ifndef NTMM_EMBED_H
#define NTMM_EMBED_H

#include "ntmm.h"

#include "host.h"
#include "ke/ke.h"
#include "nt/boot.h"
#include "virtual/virtual.h"

/* ---- The machine (machine.c) --------------------------------------------------------------------------------- */

typedef struct _NTMM_MACHINE
{
    volatile BOOLEAN Running;
    volatile ULONG OpenProcesses; /* atomic: created and not yet closed */
    KTHREAD BootThread;
    NTMM_PARAMETERS Parameters; /* as booted, without the strings */
    NTMM_PRINT *Print;
    PVOID PrintContext;
} NTMM_MACHINE;

extern NTMM_MACHINE NtmmMachine;

/* ---- Messages (status.c) --------------------------------------------------------------------------------------- */

/* Sets the sentence for NtmmLastMessage and returns Status. */
NTSTATUS NtmmpFail(NTSTATUS Status, PCSTR Format, ...) __attribute__((format(printf, 2, 3)));

/* ---- Inside the kernel for a while (visit.c) ---------------------------------------------------------------------- */

/* A stay of the calling thread in kernel mode. A thread of the program that is no thread of ours becomes one meanwhile. */
typedef struct _NTMM_VISIT
{
    BOOLEAN Adopted;
    KPROCESSOR_MODE CurrentMode;
    KPROCESSOR_MODE PreviousMode;
    KTHREAD Thread;
} NTMM_VISIT;

/* STATUS_INVALID_DEVICE_STATE (with a message) when no machine runs; then there is nothing to leave. */
NTSTATUS NtmmpEnter(NTMM_VISIT *Visit);
VOID NtmmpLeave(NTMM_VISIT *Visit);

/*
 * Defines the API function Ntmm<Name> for user-mode code too: its body runs on the thread's Linux stack (PORT_SERVICE_ENTRY).
 */
#define NTMM_ENTRY(Result, Name, Parameters)                                                                 \
    PORT_SERVICE_BODY Result NtmmEnter##Name Parameters;                                                     \
    PORT_SERVICE_ENTRY(Ntmm##Name, NtmmEnter##Name)                                                          \
    Result NtmmEnter##Name Parameters

/* ---- User mode (process.c) ------------------------------------------------------------------------------------------ */

typedef struct _NTMM_USER
{
    PEPROCESS Process;
    NTMM_ROUTINE *Routine;
    PVOID Context;
    NTSTATUS Result;
    BOOLEAN Reported; /* an exception ended it and was reported already */
    BOOLEAN Exiting;  /* NtmmExitProcess */
    BOOLEAN HasStack;
    MI_USER_STACK Stack;
    KI_EXCEPTION_FRAME Base;
} NTMM_USER, *PNTMM_USER;

/* The calling thread's user-mode state, NULL outside. */
extern _Thread_local PNTMM_USER NtmmpCurrentUser;

/* Runs User to its end in user mode on the calling thread, which is one of ours and in kernel mode. Status as for NtmmRun. */
NTSTATUS NtmmpRunUser(PNTMM_USER User, PNTSTATUS ExitStatus);

BOOLEAN NtmmpIsTerminating(PEPROCESS Process);

/* Calls Routine(Context) with the stack pointer at Top (16-byte aligned, exclusive); where it was is stored to *Saved. */
NTSTATUS NtmmpCallOnStack(NTMM_ROUTINE *Routine, PVOID Context, ULONG_PTR Top, unsigned long long *Saved);

/* Runs User's routine on its stack in NT memory. / After an exception has left that stack. */
NTSTATUS NtmmpCallOnUserStack(PNTMM_USER User);
VOID NtmmpLeaveUserStack(VOID);

/* ---- Reports (report.c, symbols.c) ------------------------------------------------------------------------------------ */

VOID NtmmpReportException(const HOST_UNHANDLED_EXCEPTION *Exception);

/* Writes at most HOST_BACK_TRACE_DEPTH code addresses, the interrupted instruction first. */
ULONG NtmmpBackTrace(const HOST_UNHANDLED_EXCEPTION *Exception, PVOID *Frames);

/* "function+0x12 (module)", from the module's full symbol table; opens files, allocates nothing. */
VOID NtmmpDescribeAddress(const VOID *Address, PSTR Buffer, SIZE_T Size);

/* A number that others may be changing. */
#define NTMM_READ(Word) __atomic_load_n(&(Word), __ATOMIC_RELAXED)

/* ---- Printing (print.c) ------------------------------------------------------------------------------------------------ */

typedef struct _NTMM_OUT
{
    NTMM_PRINT *Print; /* NULL: PortDebugPrint */
    PVOID Context;
} NTMM_OUT;

VOID NtmmpPrint(const NTMM_OUT *Out, PCSTR Format, ...) __attribute__((format(printf, 2, 3)));

/* "PAGE_READWRITE | PAGE_GUARD" */
PCSTR NtmmpProtectionName(ULONG Win32Protect, PSTR Buffer, SIZE_T Size);

#endif
