/* SPDX-License-Identifier: MIT */
/*
 * Processes, and running C functions as their user-mode code. A thread in user mode is an ordinary thread of the
 * program whose KTHREAD says UserMode and belongs to the process: the host port loads the process's address space for it, and every fault
 * that nobody resolves comes back to the base frame that is set up here, which ends the process.
 */
#include "embed.h"
#include "nt/ps.h"
#include "space/session.h"

_Thread_local PNTMM_USER NtmmpCurrentUser;

BOOLEAN NtmmpIsTerminating(PEPROCESS Process)
{
    return __atomic_load_n(&Process->Terminating, __ATOMIC_ACQUIRE);
}

/* ---- Life and death ------------------------------------------------------------------------------------------------ */

/* SessionId MM_NO_SESSION: in none. */
static NTSTATUS NtmmpCreateProcess(PCSTR Name, ULONG SessionId, PEPROCESS *Process)
{
    NTMM_VISIT Visit;
    NTSTATUS Status = NtmmpEnter(&Visit);
    CHAR Text[128];

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = SessionId == MM_NO_SESSION ? PsCreateProcessObject(Name, Process)
                                        : PsCreateProcessInSession(Name, SessionId, Process);
    if (NT_SUCCESS(Status))
    {
        __atomic_fetch_add(&NtmmMachine.OpenProcesses, 1, __ATOMIC_RELAXED);
    }
    NtmmpLeave(&Visit);
    return NT_SUCCESS(Status)
               ? Status
               : NtmmpFail(Status, "process %s cannot be created: %s", Name != NULL ? Name : "",
                           NtmmFormatStatus(Status, Text, sizeof(Text)));
}

NTMM_ENTRY(NTSTATUS, CreateProcess, (PCSTR Name, PEPROCESS *Process))
{
    return NtmmpCreateProcess(Name, MM_NO_SESSION, Process);
}

NTMM_ENTRY(NTSTATUS, CreateProcessInSession, (PCSTR Name, ULONG SessionId, PEPROCESS *Process))
{
    return SessionId == MM_NO_SESSION ? NtmmpFail(STATUS_INVALID_PARAMETER, "no session has the number ~0")
                                      : NtmmpCreateProcess(Name, SessionId, Process);
}

NTMM_ENTRY(NTSTATUS, TerminateProcess, (PEPROCESS Process, NTSTATUS ExitStatus))
{
    NTMM_VISIT Visit;
    NTSTATUS Status = NtmmpEnter(&Visit);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (NtmmpIsTerminating(Process))
    {
        Status =
            NtmmpFail(STATUS_PROCESS_IS_TERMINATING, "process %s is over already", Process->ImageFileName);
    }
    else
    {
        PsTerminateProcessObject(Process, ExitStatus);
    }
    NtmmpLeave(&Visit);
    return Status;
}

NTSTATUS NtmmQueryExitStatus(PEPROCESS Process)
{
    return PsGetProcessExitStatus(Process);
}

NTMM_ENTRY(VOID, CloseProcess, (PEPROCESS Process))
{
    NTMM_VISIT Visit;

    if (NT_SUCCESS(NtmmpEnter(&Visit)))
    {
        ObDereferenceObjectBody(Process);
        __atomic_fetch_sub(&NtmmMachine.OpenProcesses, 1, __ATOMIC_RELAXED);
        NtmmpLeave(&Visit);
    }
}

PEPROCESS NtmmCurrentProcess(void)
{
    return NtmmpCurrentUser != NULL ? NtmmpCurrentUser->Process : NULL;
}

/* ---- In user mode ---------------------------------------------------------------------------------------------------- */

/* Reported so far is what the hardware found; an exception raised by a function arrives here without a report. */
static DECLSPEC_NOINLINE NTSTATUS NtmmpEndByException(PNTMM_USER User)
{
    NTSTATUS Code = (NTSTATUS)User->Base.Record.ExceptionCode;
    PEPROCESS Process = User->Process;

    NtmmpLeaveUserStack();
    if (User->Exiting || NtmmpIsTerminating(Process))
    {
        NtmmpEndReport(User);
        User->Result = PsGetProcessExitStatus(Process);
        return NtmmpFail(STATUS_PROCESS_IS_TERMINATING, "process %s is over: it was ended with status 0x%08X",
                         Process->ImageFileName, (ULONG)User->Result);
    }
    if (Code == DBG_TERMINATE_THREAD)
    {
        User->Result = KiCurrentThread()->ExitStatus;
        return STATUS_THREAD_IS_TERMINATING;
    }
    if (!User->Reported)
    {
        HOST_REGISTERS Registers = { .Rip = (ULONG64)(ULONG_PTR)User->Base.Record.ExceptionAddress };
        HOST_UNHANDLED_EXCEPTION Exception = { .Record = &User->Base.Record, .Registers = &Registers };

        Exception.BackTrace[0] = User->Base.Record.ExceptionAddress;
        Exception.BackTraceCount = 1;
        NtmmpReportException(&Exception);
    }
    PsTerminateProcessObject(Process, Code);
    NtmmpEndReport(User);
    User->Result = Code;
    return NtmmpFail(STATUS_UNHANDLED_EXCEPTION,
                     "process %s was ended by an exception that it did not handle (%s)",
                     Process->ImageFileName, NtmmStatusName(Code) != NULL ? NtmmStatusName(Code) : "unknown");
}

static DECLSPEC_NOINLINE NTSTATUS NtmmpCallUser(PNTMM_USER User)
{
    return User->HasStack ? NtmmpCallOnUserStack(User) : User->Routine(User->Context);
}

/* Nothing is inlined, neither here nor into it: the sanitizers' frames do not survive the arrival of a jump. */
static DECLSPEC_NOINLINE NTSTATUS NtmmpRunFramed(PNTMM_USER User)
{
    PKTHREAD Thread = KiCurrentThread();

    if (KiTry(&User->Base))
    {
        User->Base.Base = TRUE;
        Thread->PreviousMode = UserMode;
        Thread->CurrentMode = UserMode;
        User->Result = NtmmpCallUser(User);
        Thread->CurrentMode = KernelMode;
        Thread->PreviousMode = KernelMode;
        KiEndTry(&User->Base);
        return STATUS_SUCCESS;
    }
    return NtmmpEndByException(User);
}

NTSTATUS NtmmpRunUser(PNTMM_USER User, PNTSTATUS ExitStatus)
{
    NTSTATUS Status;

    if (NtmmpIsTerminating(User->Process))
    {
        *ExitStatus = PsGetProcessExitStatus(User->Process);
        return NtmmpFail(STATUS_PROCESS_IS_TERMINATING, "process %s is over already",
                         User->Process->ImageFileName);
    }
    PsSetThreadProcess(User->Process);
    NtmmpCurrentUser = User;
    if (NtmmpIsTerminating(
            User->Process)) /* after it belongs to it: whoever ends the process now sees the thread */
    {
        User->Result = PsGetProcessExitStatus(User->Process);
        Status = STATUS_PROCESS_IS_TERMINATING;
    }
    else
    {
        Status = NtmmpRunFramed(User);
    }
    NtmmpCurrentUser = NULL;
    PsSetThreadProcess(NULL);
    *ExitStatus = User->Result;
    return Status;
}

NTSTATUS NtmmRun(PEPROCESS Process, NTMM_ROUTINE *Routine, PVOID Context, PNTSTATUS ExitStatus)
{
    NTMM_USER User = { .Process = Process, .Routine = Routine, .Context = Context, .Result = STATUS_PENDING };
    NTSTATUS Ignored;
    NTMM_VISIT Visit;
    NTSTATUS Status;

    if (NtmmpCurrentUser != NULL)
    {
        return NtmmpFail(STATUS_INVALID_DEVICE_STATE,
                         "NtmmRun is not for user-mode code: create a thread with NtmmCreateThread");
    }
    Status = NtmmpEnter(&Visit);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = NtmmpRunUser(&User, ExitStatus != NULL ? ExitStatus : &Ignored);
    NtmmpLeave(&Visit);
    return Status;
}

NTMM_ENTRY(DECLSPEC_NORETURN VOID, ExitProcess, (NTSTATUS ExitStatus))
{
    PNTMM_USER User = NtmmpCurrentUser;
    EXCEPTION_RECORD Record = { .ExceptionCode = DBG_TERMINATE_PROCESS,
                                .ExceptionFlags = EXCEPTION_NONCONTINUABLE };

    if (User == NULL)
    {
        KiBugCheckMessage(INVALID_PROCESS_ATTACH_ATTEMPT, 0, 0, 0, 0,
                          "NtmmExitProcess is for user-mode code only");
    }
    NtmmTerminateProcess(User->Process, ExitStatus);
    User->Exiting = TRUE;
    KiCurrentThread()->ExceptionFrames = &User->Base;
    KiUnwindToFrame(&Record);
    PortHalt();
}

/* ---- Helpers for user-mode code ------------------------------------------------------------------------------------------ */

NTSTATUS NtmmGuardedCall(VOID (*Routine)(PVOID Context), PVOID Context, PEXCEPTION_RECORD Record)
{
    if (PortGetCurrentThread() == NULL)
    {
        return NtmmpFail(STATUS_INVALID_DEVICE_STATE,
                         "a guarded call needs a thread of the machine: call it within NtmmRun");
    }
    return HostGuardedCall(Routine, Context, Record);
}

NTSTATUS NtmmTouchRange(PVOID Address, SIZE_T Length, BOOLEAN Write)
{
    return HostTouchForSyscall(Address, Length, Write);
}

NTMM_ENTRY(LONG_PTR, Read, (int File, PVOID Buffer, SIZE_T Length))
{
    return HostRead(File, Buffer, Length);
}

NTMM_ENTRY(LONG_PTR, Write, (int File, const VOID *Buffer, SIZE_T Length))
{
    return HostWrite(File, Buffer, Length);
}

NTMM_ENTRY(LONG_PTR, ReadAt, (int File, PVOID Buffer, SIZE_T Length, ULONG64 Offset))
{
    return HostPread(File, Buffer, Length, (off_t)Offset);
}

NTMM_ENTRY(LONG_PTR, WriteAt, (int File, const VOID *Buffer, SIZE_T Length, ULONG64 Offset))
{
    return HostPwrite(File, Buffer, Length, (off_t)Offset);
}
