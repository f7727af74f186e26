/* SPDX-License-Identifier: MIT */
/*
 * System threads: threads that drivers and the kernel's clients make, each on a kernel stack of its own. The object of a thread holds what
 * the thread stands on, so the thread cannot give itself up: when it has ended, a work item (the reaper) joins it, deletes its stack and lets
 * go of the reference that the running thread had.
 */
#include "nt/nt.h"
#include "nt/ps.h"
#include "translation/kernelstack.h"

typedef struct _ETHREAD
{
    KTHREAD Tcb; /* first: what is waited for */
    CLIENT_ID Cid;
    PEPROCESS Process; /* referenced until the thread belongs to it; NULL: the system */
    KI_KERNEL_STACK Stack;
    PKSTART_ROUTINE StartRoutine;
    PVOID StartContext;
    KI_EXCEPTION_FRAME Base; /* on the thread's stack everything ends here */
    BOOLEAN Ended;
    WORK_QUEUE_ITEM Reaper;
} ETHREAD;

/* ---- On the thread --------------------------------------------------------------------------------------- */

static VOID PspRunSystemThread(PVOID Context)
{
    PETHREAD Thread = Context;

    if (KiTry(&Thread->Base))
    {
        Thread->Base.Base = TRUE;
        Thread->StartRoutine(Thread->StartContext);
        KiEndTry(&Thread->Base);
    }
    else if (!Thread->Ended)
    {
        const EXCEPTION_RECORD *Record = &Thread->Base.Record;

        KiBugCheckMessage(SYSTEM_THREAD_EXCEPTION_NOT_HANDLED, (ULONG)Record->ExceptionCode,
                          (ULONG_PTR)Record->ExceptionAddress, (ULONG_PTR)Record, 0,
                          "system thread %llx let exception %x escape",
                          (ULONG64)(ULONG_PTR)Thread->Cid.UniqueThread, (ULONG)Record->ExceptionCode);
    }
}

static VOID NTAPI PspReapThread(PVOID Context)
{
    PETHREAD Thread = Context;

    KiJoinThread(&Thread->Tcb);
    MiDeleteKernelStack(&Thread->Stack);
    ObDereferenceObjectBody(Thread);
    __atomic_fetch_sub(&MiState.Nt->SystemThreads, 1, __ATOMIC_RELEASE);
}

static VOID PspSystemThreadMain(PVOID Context)
{
    PETHREAD Thread = Context;

    if (Thread->Process != NULL)
    {
        PsSetThreadProcess(Thread->Process);
        ObDereferenceObjectBody(Thread->Process);
    }
    MiCallOnKernelStack(&Thread->Stack, PspRunSystemThread, Thread);
    KiRequire(Thread->Tcb.Irql == PASSIVE_LEVEL);
    if (Thread->Process != NULL)
    {
        PsSetThreadProcess(NULL);
    }
    ExInitializeWorkItem(&Thread->Reaper, PspReapThread, Thread);
    ExQueueWorkItem(&Thread->Reaper, DelayedWorkQueue);
}

static BOOLEAN PspIsCreatedHere(const KTHREAD *Thread)
{
    return Thread->StartRoutine == PspSystemThreadMain;
}

NTSTATUS NTAPI PsTerminateSystemThread(NTSTATUS ExitStatus)
{
    PKTHREAD Current = KiCurrentThread();
    PETHREAD Thread = CONTAINING_RECORD(Current, ETHREAD, Tcb);
    EXCEPTION_RECORD Record = { .ExceptionCode = DBG_TERMINATE_THREAD,
                                .ExceptionFlags = EXCEPTION_NONCONTINUABLE };

    if (!PspIsCreatedHere(Current))
    {
        return STATUS_INVALID_PARAMETER;
    }
    if (Current->KernelStack.Base != Thread->Stack.Base)
    {
        KiBugCheckMessage(KMODE_EXCEPTION_NOT_HANDLED, (ULONG)DBG_TERMINATE_THREAD,
                          (ULONG_PTR)__builtin_return_address(0), 0, 0,
                          "a thread ends itself in a callout of KeExpandKernelStackAndCallout");
    }
    Current->ExitStatus = ExitStatus;
    Thread->Ended = TRUE;
    Current->ExceptionFrames = &Thread->Base;
    KiUnwindToFrame(&Record);
    PortHalt();
}

/* ---- Creating -------------------------------------------------------------------------------------------- */

/* The object with its stack, of which nobody knows yet; one reference. */
static NTSTATUS PspAllocateThread(PEPROCESS Process, PKSTART_ROUTINE StartRoutine, PVOID StartContext,
                                  PETHREAD *Result)
{
    PVOID Object;
    PETHREAD Thread;
    NTSTATUS Status = ObCreateObjectBody(&MiState.Nt->ThreadType, sizeof(ETHREAD), &Object);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Thread = Object;
    Status = MiCreateKernelStack(MI_KERNEL_STACK_PAGES, &Thread->Stack);
    if (!NT_SUCCESS(Status))
    {
        ObDereferenceObjectBody(Thread);
        return Status;
    }
    Thread->Cid.UniqueThread =
        (HANDLE)(ULONG_PTR)__atomic_add_fetch(&MiState.Space->NextProcessId, 4, __ATOMIC_RELAXED);
    Thread->Cid.UniqueProcess = PsGetProcessId(Process != NULL ? Process : PsInitialSystemProcess);
    Thread->StartRoutine = StartRoutine;
    Thread->StartContext = StartContext;
    Thread->Process = Process;
    *Result = Thread;
    return STATUS_SUCCESS;
}

/* The running thread has a reference of its object, and of its process until it belongs to that. */
static NTSTATUS PspStartSystemThread(PETHREAD Thread)
{
    NTSTATUS Status;

    ObReferenceObjectBody(Thread);
    if (Thread->Process != NULL)
    {
        ObReferenceObjectBody(Thread->Process);
    }
    __atomic_fetch_add(&MiState.Nt->SystemThreads, 1, __ATOMIC_RELAXED);
    Status = KiStartThread(&Thread->Tcb, PspSystemThreadMain, Thread, ~0u);
    if (!NT_SUCCESS(Status))
    {
        __atomic_fetch_sub(&MiState.Nt->SystemThreads, 1, __ATOMIC_RELAXED);
        if (Thread->Process != NULL)
        {
            ObDereferenceObjectBody(Thread->Process);
        }
        ObDereferenceObjectBody(Thread);
    }
    return Status;
}

/* Everything that can fail comes before the thread runs. */
static NTSTATUS PspCreateSystemThread(PHANDLE ThreadHandle, ULONG DesiredAccess, ULONG Attributes,
                                      PEPROCESS Process, PKSTART_ROUTINE StartRoutine, PVOID StartContext,
                                      PCLIENT_ID ClientId)
{
    PETHREAD Thread;
    HANDLE Handle = NULL;
    CLIENT_ID Cid;
    NTSTATUS Status = PspAllocateThread(Process, StartRoutine, StartContext, &Thread);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Cid = Thread->Cid;
    Status = NtInsertNewHandle(Thread, DesiredAccess, Attributes, &Handle);
    if (NT_SUCCESS(Status))
    {
        Status = PspStartSystemThread(Thread);
        if (!NT_SUCCESS(Status))
        {
            (VOID) NtClose(Handle);
        }
    }
    if (!NT_SUCCESS(Status))
    {
        MiDeleteKernelStack(&Thread->Stack);
    }
    ObDereferenceObjectBody(Thread);
    if (NT_SUCCESS(Status))
    {
        *ThreadHandle = Handle;
        if (ClientId != NULL)
        {
            *ClientId = Cid;
        }
    }
    return Status;
}

NTSTATUS NTAPI PsCreateSystemThread(PHANDLE ThreadHandle, ULONG DesiredAccess,
                                    POBJECT_ATTRIBUTES ObjectAttributes, HANDLE ProcessHandle,
                                    PCLIENT_ID ClientId, PKSTART_ROUTINE StartRoutine, PVOID StartContext)
{
    ULONG Attributes = ObjectAttributes != NULL ? ObjectAttributes->Attributes : 0;
    PEPROCESS Process = NULL;
    NTSTATUS Status = STATUS_SUCCESS;

    if (ProcessHandle != NULL)
    {
        Status = NtReferenceProcess(ProcessHandle, PROCESS_CREATE_THREAD, &Process);
    }
    if (NT_SUCCESS(Status))
    {
        Status = PspCreateSystemThread(ThreadHandle, DesiredAccess, Attributes,
                                       Process != PsInitialSystemProcess ? Process : NULL, StartRoutine,
                                       StartContext, ClientId);
    }
    if (Process != NULL)
    {
        ObDereferenceObjectBody(Process);
    }
    return Status;
}

/* ---- Asking ---------------------------------------------------------------------------------------------- */

PETHREAD NTAPI PsGetCurrentThread(VOID)
{
    return CONTAINING_RECORD(KiCurrentThread(), ETHREAD, Tcb);
}

BOOLEAN NTAPI PsIsSystemThread(PETHREAD Thread)
{
    return Thread->Tcb.SystemThread;
}

PEPROCESS NTAPI PsGetThreadProcess(PETHREAD Thread)
{
    PEPROCESS Process = (PEPROCESS)(PVOID)Thread->Tcb.Process;

    return Process != NULL ? Process : PsInitialSystemProcess;
}

/* Threads that were not created here have no identifier. */
HANDLE NTAPI PsGetThreadId(PETHREAD Thread)
{
    return PspIsCreatedHere(&Thread->Tcb) ? Thread->Cid.UniqueThread : NULL;
}

HANDLE NTAPI PsGetCurrentThreadId(VOID)
{
    return PsGetThreadId(PsGetCurrentThread());
}

/* ---- Birth and death ------------------------------------------------------------------------------------- */

#define NT_REAP_ROUNDS 5000u

VOID NtInitializeThreads(void)
{
    MiState.Nt->ThreadType =
        (OB_TYPE){ .Name = "Thread", .PoolTag = MI_TAG('T', 'h', 'r', 'e'), .AllAccess = THREAD_ALL_ACCESS };
}

VOID NtAwaitSystemThreads(void)
{
    LARGE_INTEGER Millisecond = { .QuadPart = -10000 };

    for (ULONG Round = 0;
         __atomic_load_n(&MiState.Nt->SystemThreads, __ATOMIC_ACQUIRE) != 0 && Round < NT_REAP_ROUNDS;
         Round++)
    {
        KeDelayExecutionThread(KernelMode, FALSE, &Millisecond);
    }
    if (MiState.Nt->SystemThreads != 0)
    {
        KiBugCheckMessage(REFERENCE_BY_POINTER, (ULONG_PTR)&MiState.Nt->ThreadType, 0, 0,
                          MiState.Nt->SystemThreads, "the machine ends with %u system threads running",
                          MiState.Nt->SystemThreads);
    }
}
