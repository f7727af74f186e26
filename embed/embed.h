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

#include <pthread.h>

/* ---- The machine (machine.c) --------------------------------------------------------------------------------- */

typedef struct _NTMM_MACHINE
{
    volatile BOOLEAN Running;
    volatile ULONG OpenProcesses; /* atomic: created and not yet closed */
    KTHREAD BootThread;
    KEVENT MayReport; /* taken by a thread from the first line of its report until its process is over */
    NTMM_PARAMETERS Parameters; /* as booted, without the strings */
    NTMM_PRINT *Print;
    PVOID PrintContext;
    pthread_mutex_t DriverLock;
    PNTMM_DRIVER Drivers; /* DriverLock */
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
    BOOLEAN Reported;  /* an exception ended it and was reported already */
    BOOLEAN Reporting; /* it has taken NtmmMachine.MayReport */
    BOOLEAN Exiting;   /* NtmmExitProcess */
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

/* One report at a time, and one for each process: the thread that reports ends its process and calls NtmmpEndReport. */
VOID NtmmpReportException(const HOST_UNHANDLED_EXCEPTION *Exception);
VOID NtmmpEndReport(PNTMM_USER User);

/* Writes at most HOST_BACK_TRACE_DEPTH code addresses, the interrupted instruction first. */
ULONG NtmmpBackTrace(const HOST_UNHANDLED_EXCEPTION *Exception, PVOID *Frames);

/* "function+0x12 (module)", from the module's full symbol table; opens files, allocates nothing. */
VOID NtmmpDescribeAddress(const VOID *Address, PSTR Buffer, SIZE_T Size);

/* A module's file, mapped. FALSE: it cannot be read. NtmmpPart: NULL when it reaches beyond the end. */
typedef struct _NTMM_IMAGE
{
    const UCHAR *Bytes;
    SIZE_T Size;
} NTMM_IMAGE;

BOOLEAN NtmmpMapImage(PCSTR Path, NTMM_IMAGE *Image);
const VOID *NtmmpPart(const NTMM_IMAGE *Image, ULONG64 Offset, ULONG64 Length);
VOID NtmmpUnmapImage(const NTMM_IMAGE *Image);

/* ---- Drivers (module.c) -------------------------------------------------------------------------------------------------- */

#define NTMM_MAXIMUM_SECTIONS_OF_DRIVER 48u

typedef struct _NTMM_MODULE
{
    ULONG_PTR Base, End; /* of what the dynamic linker loaded; End exclusive */
    ULONG_PTR
    CodeStart; /* the driver's code: the module, or a section of one that holds more than the driver */
    SIZE_T CodeBytes;
    BOOLEAN IsKernel; /* ntmm itself is in it */
    ULONG SectionCount;
    struct _MI_SECTION_SOURCE
        *Sections; /* room for NTMM_MAXIMUM_SECTIONS_OF_DRIVER; what may become pageable, or is */
} NTMM_MODULE;

typedef struct _NTMM_PLACE
{
    ULONG_PTR Address; /* of which the driver is asked for */
    ULONG_PTR Bias;    /* what is added to addresses in the file */
} NTMM_PLACE;

/* Reads the sections of a file that is loaded from Module's Base to End. FALSE: its table is bad, or does not fit. */
BOOLEAN NtmmpReadSections(const NTMM_IMAGE *Image, const NTMM_PLACE *Place, NTMM_MODULE *Module);

/* The module that contains Address. STATUS_NOT_FOUND, STATUS_INVALID_IMAGE_FORMAT, STATUS_NOT_SUPPORTED, with a message. */
NTSTATUS NtmmpReadModule(const VOID *Address, NTMM_MODULE *Module);

/* driver.c: settings, checked with a message (NULL: off) and as the kernel has them. */
struct _EX_VERIFIER_SETTINGS;
struct _EX_SPECIAL_POOL_SETTINGS;
NTSTATUS NtmmpCheckWatch(const NTMM_VERIFIER *Verifier, const NTMM_SPECIAL_POOL *SpecialPool);
VOID NtmmpReadVerifier(const NTMM_VERIFIER *Verifier, struct _EX_VERIFIER_SETTINGS *Settings);
VOID NtmmpReadSpecialPool(const NTMM_SPECIAL_POOL *SpecialPool, struct _EX_SPECIAL_POOL_SETTINGS *Settings);

/* viewpool.c: in builds with AddressSanitizer its reports tell which block of pool they are about. */
VOID NtmmpWatchSanitizer(VOID);

/* driver.c: at shutdown. */
VOID NtmmpForgetDrivers(VOID);

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
