/* SPDX-License-Identifier: MIT */
/*
 * Page faults of native code. SIGSEGV is the processor's page-fault exception: the handler fills the TB from the page tables
 * if they permit the access (tb.c), asks MmAccessFault if they do not, and raises what cannot be resolved as an exception to the
 * interrupted code, by a jump to the thread's innermost exception frame. It runs on the thread's alternate stack with
 * nothing masked and may nest: kernel code running in it touches pageable memory as well. Faults that have nothing to do with NT go to
 * whoever handled the signal before, so a real bug of the process still ends in a core dump or in a sanitizer's report.
 *
 * The handler is installed by a raw system call. The sanitizers' own sigaction would wrap it: TSan counts entered handlers
 * and expects each to return, ours may leave by a jump; ASan may refuse to give the signal away at all.
 */
#include "device.h"
#include "host_machine.h"
#include "host_thread.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <ucontext.h>
#include <unistd.h>

#define HOST_SA_RESTORER     0x04000000ul
#define HOST_TRAP_STACK      12 /* #SS: a non-canonical address through rsp or rbp */
#define HOST_TRAP_PROTECTION 13 /* #GP: any other non-canonical address */
#define HOST_TRAP_PAGE_FAULT 14
#define HOST_ERROR_CODE_BITS (PORT_FAULT_WRITE | PORT_FAULT_EXECUTE)
#define HOST_LIVELOCK_LIMIT  10000000u

VOID (*HostUnhandledExceptionHook)(const HOST_UNHANDLED_EXCEPTION *Exception);

static HOST_SIGNAL_ACTION HostPreviousSegv, HostPreviousBus;

typedef struct _HOST_FAULT
{
    int Signal;
    siginfo_t *Info;
    ucontext_t *Context;
    BOOLEAN Ours; /* the thread is one of the machine's */
    KPROCESSOR_MODE Mode;
    ULONG_PTR Address;
    ULONG_PTR Paged; /* under which the page tables know it */
    ULONG Access;    /* PORT_FAULT_WRITE, _EXECUTE, _USER */
} HOST_FAULT;

/* ---- Installing ------------------------------------------------------------------------------------------------ */

/*
 * Exactly these instructions: debuggers and unwinders recognize a signal frame by them. The nop before belongs to no function:
 * unwinders look for the byte before a return address, and would find the function that happens to end there.
 */
VOID HostSignalReturn(VOID);
__asm__(".text\n"
        ".p2align 4\n"
        "    nop\n"
        ".p2align 4\n"
        ".globl HostSignalReturn\n"
        ".hidden HostSignalReturn\n"
        ".type HostSignalReturn,@function\n"
        "HostSignalReturn:\n"
        "    movq $15, %rax\n"
        "    syscall\n"
        ".size HostSignalReturn, .-HostSignalReturn\n");

long HostSetSignalAction(int Signal, ULONG_PTR Handler, HOST_SIGNAL_ACTION *Previous)
{
    HOST_SIGNAL_ACTION Action = { .Handler = Handler,
                                  .Flags =
                                      SA_SIGINFO | SA_ONSTACK | SA_NODEFER | SA_RESTART | HOST_SA_RESTORER,
                                  .Restorer = (ULONG_PTR)HostSignalReturn };

    return HostSystemCall(SYS_rt_sigaction, (ULONG_PTR)Signal, (ULONG_PTR)&Action, (ULONG_PTR)Previous,
                          sizeof(Action.Mask), 0, 0);
}

static VOID HostRestoreSignalAction(int Signal, const HOST_SIGNAL_ACTION *Action)
{
    HostSystemCall(SYS_rt_sigaction, (ULONG_PTR)Signal, (ULONG_PTR)Action, 0, sizeof(Action->Mask), 0, 0);
}

BOOLEAN HostIsOnSignalStack(ULONG_PTR StackPointer)
{
    PHOST_THREAD Host = HostCurrentThread();

    return Host != NULL && StackPointer - (ULONG_PTR)Host->SignalStack < Host->SignalStackSize;
}

/* ---- Not ours -------------------------------------------------------------------------------------------------- */

static VOID HostHandOver(const HOST_FAULT *Fault)
{
    const HOST_SIGNAL_ACTION *Previous = Fault->Signal == SIGBUS ? &HostPreviousBus : &HostPreviousSegv;
    HOST_SIGNAL_ACTION Default = { .Handler = (ULONG_PTR)SIG_DFL };

    if (Previous->Handler != (ULONG_PTR)SIG_DFL && Previous->Handler != (ULONG_PTR)SIG_IGN)
    {
        if ((Previous->Flags & SA_SIGINFO) != 0)
        {
            ((void (*)(int, siginfo_t *, void *))Previous->Handler)(Fault->Signal, Fault->Info,
                                                                    Fault->Context);
        }
        else
        {
            ((void (*)(int))Previous->Handler)(Fault->Signal);
        }
        return;
    }
    /* Returning runs the instruction again, which ends the process now. A signal that somebody sent has no instruction. */
    HostRestoreSignalAction(Fault->Signal, &Default);
    if (Fault->Info->si_code <= 0)
    {
        HostSystemCall(SYS_tgkill, (ULONG_PTR)getpid(),
                       (ULONG_PTR)HostSystemCall(SYS_gettid, 0, 0, 0, 0, 0, 0), (ULONG_PTR)Fault->Signal, 0,
                       0, 0);
    }
}

/* ---- The report ------------------------------------------------------------------------------------------------ */

static VOID HostPrintLine(PSTR Line, int Length, SIZE_T Size)
{
    PortDebugPrint(Line, Length < 0 ? 0 : (SIZE_T)Length < Size ? (SIZE_T)Length : Size - 1);
}

#define HOST_PRINT(...)                                                                                      \
    do                                                                                                       \
    {                                                                                                        \
        CHAR Line_[512];                                                                                     \
        HostPrintLine(Line_, snprintf(Line_, sizeof(Line_), __VA_ARGS__), sizeof(Line_));                    \
    } while (0)

static PCSTR HostAccessName(ULONG_PTR Kind)
{
    return Kind == 0 ? "reading" : Kind == 1 ? "writing" : Kind == 8 ? "executing" : "accessing";
}

VOID HostReportException(const HOST_UNHANDLED_EXCEPTION *Exception)
{
    const EXCEPTION_RECORD *Record = Exception->Record;
    const HOST_REGISTERS *R = Exception->Registers;
    CHAR Name[256];
    ULONG Index;

    PortDescribeAddress(Record->ExceptionAddress, Name, sizeof(Name));
    HOST_PRINT("ntmm: unhandled exception 0x%08X at %p %s\n", (ULONG)Record->ExceptionCode,
               Record->ExceptionAddress, Name);
    if (Record->NumberParameters >= 2)
    {
        HOST_PRINT("  %s address 0x%016zx\n", HostAccessName(Record->ExceptionInformation[0]),
                   Record->ExceptionInformation[1]);
    }
    for (Index = 2; Index < Record->NumberParameters && Index < EXCEPTION_MAXIMUM_PARAMETERS; Index += 1)
    {
        HOST_PRINT("  parameter %u: 0x%zx\n", Index, Record->ExceptionInformation[Index]);
    }
    HOST_PRINT("  rax %016llx  rbx %016llx  rcx %016llx  rdx %016llx\n", R->Rax, R->Rbx, R->Rcx, R->Rdx);
    HOST_PRINT("  rsi %016llx  rdi %016llx  rbp %016llx  rsp %016llx\n", R->Rsi, R->Rdi, R->Rbp, R->Rsp);
    HOST_PRINT("  r8  %016llx  r9  %016llx  r10 %016llx  r11 %016llx\n", R->R8, R->R9, R->R10, R->R11);
    HOST_PRINT("  r12 %016llx  r13 %016llx  r14 %016llx  r15 %016llx\n", R->R12, R->R13, R->R14, R->R15);
    HOST_PRINT("  rip %016llx  eflags %08llx\n", R->Rip, R->EFlags);
    for (Index = 0; Index < Exception->BackTraceCount; Index += 1)
    {
        PortDescribeAddress(Exception->BackTrace[Index], Name, sizeof(Name));
        HOST_PRINT("  #%-2u %p %s\n", Index, Exception->BackTrace[Index], Name);
    }
}

static VOID HostReport(const HOST_FAULT *Fault, const EXCEPTION_RECORD *Record)
{
    const greg_t *Registers = Fault->Context->uc_mcontext.gregs;
    HOST_UNHANDLED_EXCEPTION Exception = { .Record = Record,
                                           .Registers = (const HOST_REGISTERS *)(PCVOID)Registers };

    Exception.BackTrace[0] = (PVOID)Registers[REG_RIP];
    Exception.BackTraceCount = 1 + HostWalkFrames((ULONG_PTR)Registers[REG_RBP], Exception.BackTrace + 1,
                                                  HOST_BACK_TRACE_DEPTH - 1, 0);
    (HostUnhandledExceptionHook != NULL ? HostUnhandledExceptionHook : HostReportException)(&Exception);
}

/* ---- Raising --------------------------------------------------------------------------------------------------- */

/* Returns only when somebody else is to deal with the signal. */
static VOID HostRaise(const HOST_FAULT *Fault, EXCEPTION_RECORD *Record)
{
    if (Record->ExceptionAddress == NULL)
    {
        Record->ExceptionAddress = (PVOID)Fault->Context->uc_mcontext.gregs[REG_RIP];
    }
    HostCount(&HostCounters()->Exceptions, 1);
    if (KiQueryExceptionScope() != KiExceptionFramed)
    {
        HostReport(Fault, Record);
    }
    KiUnwindToFrame(Record);
    PortHalt();
}

static VOID HostRaiseFault(const HOST_FAULT *Fault, NTSTATUS Code, ULONG_PTR Address)
{
    EXCEPTION_RECORD Record = { .ExceptionCode = Code, .NumberParameters = 2 };

    Record.ExceptionInformation[0] =
        (Fault->Access & PORT_FAULT_EXECUTE) != 0 ? 8 : (Fault->Access & PORT_FAULT_WRITE) != 0;
    Record.ExceptionInformation[1] = Address;
    if (Code == STATUS_IN_PAGE_ERROR)
    {
        Record.NumberParameters = 3;
        Record.ExceptionInformation[2] = (ULONG_PTR)(LONG_PTR)STATUS_INSUFFICIENT_RESOURCES;
    }
    HostRaise(Fault, &Record);
}

/* ---- Resolving ------------------------------------------------------------------------------------------------- */

static VOID HostAccessDevice(const HOST_FAULT *Fault, PFN_NUMBER Frame)
{
    greg_t *Registers = Fault->Context->uc_mcontext.gregs;
    ULONG64 PhysicalAddress = ((ULONG64)Frame << PAGE_SHIFT) | (Fault->Address & (PAGE_SIZE - 1));

    if (!HostEmulateInstruction((HOST_REGISTERS *)(PVOID)Registers, PhysicalAddress,
                                (Fault->Access & PORT_FAULT_WRITE) != 0))
    {
        const UCHAR *Code = (const UCHAR *)Registers[REG_RIP];

        HOST_PRINT(
            "ntmm: an instruction that is not carried out for device registers: %02x %02x %02x %02x %02x %02x\n",
            Code[0], Code[1], Code[2], Code[3], Code[4], Code[5]);
        HostRaiseFault(Fault, STATUS_ILLEGAL_INSTRUCTION, Fault->Address);
    }
}

static VOID HostResolveFault(const HOST_FAULT *Fault)
{
    PFN_NUMBER Frame = 0;
    ULONG Round;

    for (Round = 0; Round < HOST_LIVELOCK_LIMIT; Round += 1)
    {
        EXCEPTION_RECORD Record = { .ExceptionAddress = NULL };
        HOST_FILL Fill = HostFillForFault(Fault->Paged, Fault->Access, &Frame);
        NTSTATUS Status;

        if (Fill == HostFillDone)
        {
            return;
        }
        if (Fill == HostFillDevice)
        {
            HostAccessDevice(Fault, Frame);
            return;
        }
        if (Fill == HostFillForeign && (!HostIsSessionAddress(Fault->Address) || HostLocal.Simulated))
        {
            /* No user space, or a simulated processor: there is nothing that native code could see here. */
            HostRaiseFault(Fault, STATUS_ACCESS_VIOLATION, Fault->Address);
            return;
        }
        HostCount(&HostCounters()->PageFaults, 1);
        Record.ExceptionAddress = (PVOID)Fault->Context->uc_mcontext.gregs[REG_RIP];
        Status = MmAccessFault(Fault->Access | (Fill == HostFillDenied ? PORT_FAULT_PRESENT : 0),
                               (PVOID)Fault->Address, Fault->Mode, &Record);
        if (!NT_SUCCESS(Status))
        {
            HostRaise(Fault, &Record);
            return;
        }
    }
    HostFatal("MmAccessFault says success again and again, but the page tables never permit the access",
              Fault->Address, Fault->Access);
}

typedef enum _HOST_TARGET
{
    HostTargetElsewhere, /* the process's own affair */
    HostTargetInvalid,   /* an access violation, whatever the page tables say */
    HostTargetPaged
} HOST_TARGET;

static HOST_TARGET HostClassify(HOST_FAULT *Fault)
{
    const greg_t *Registers = Fault->Context->uc_mcontext.gregs;
    KI_EXCEPTION_SCOPE Scope = Fault->Ours ? KiQueryExceptionScope() : KiExceptionUnframed;
    BOOLEAN Framed = Scope != KiExceptionUnframed;

    if (!Fault->Ours || Fault->Info->si_code <= 0)
    {
        return HostTargetElsewhere;
    }
    if (Registers[REG_TRAPNO] == HOST_TRAP_PROTECTION || Registers[REG_TRAPNO] == HOST_TRAP_STACK)
    {
        Fault->Address = ~(ULONG_PTR)0;
        Fault->Access &= PORT_FAULT_USER;
        return Framed ? HostTargetInvalid : HostTargetElsewhere;
    }
    if (Registers[REG_TRAPNO] != HOST_TRAP_PAGE_FAULT)
    {
        return HostTargetElsewhere;
    }
    if (HostIsSystemAddress(Fault->Address) || HostIsSessionAddress(Fault->Address) ||
        (HostIsUserAddress(Fault->Address) && !HostIsOccupied(Fault->Address, Fault->Address)) ||
        HostResolveAlias(&Fault->Paged))
    {
        return HostTargetPaged;
    }
    /*
     * A null pointer, the process's own part of the user window, Linux's kernel, or a wild pointer of a client: one that
     * he uses himself, or one that he gave to a service, which looks at it inside a frame.
     */
    if (Framed && (Fault->Address <= PORT_USER_HIGHEST || Fault->Address >> 47 != 0 ||
                   ((Fault->Mode == UserMode || Scope == KiExceptionFramed) && Fault->Signal == SIGSEGV &&
                    Fault->Info->si_code == SEGV_MAPERR)))
    {
        return HostTargetInvalid;
    }
    return HostTargetElsewhere;
}

static void HostFaultHandler(int Signal, siginfo_t *Info, void *Context)
{
    int SavedErrno = errno;
    ucontext_t *Interrupted = Context;
    HOST_FAULT Fault = { .Signal = Signal, .Info = Info, .Context = Interrupted };

    Fault.Address = (ULONG_PTR)Info->si_addr;
    Fault.Paged = Fault.Address;
    Fault.Access = (ULONG)Interrupted->uc_mcontext.gregs[REG_ERR] & HOST_ERROR_CODE_BITS;
    Fault.Ours = PortGetCurrentThread() != NULL;
    Fault.Mode = Fault.Ours ? *HostLocal.Mode : KernelMode;
    Fault.Access |= Fault.Mode == UserMode ? PORT_FAULT_USER : 0;
    if (Fault.Ours && Fault.Mode == UserMode)
    {
        KiEndUserMode(); /* it may touch memory that went with its process */
    }
    switch (HostClassify(&Fault))
    {
    case HostTargetPaged:
        HostCount(&HostCounters()->Signals, 1);
        if (HostIsSystemAddress((ULONG_PTR)Interrupted->uc_mcontext.gregs[REG_RSP]))
        {
            KiCheckTrapStack((ULONG_PTR)Interrupted->uc_mcontext.gregs[REG_RSP], Fault.Address,
                             (PVOID)Interrupted->uc_mcontext.gregs[REG_RIP]);
        }
        if (Signal == SIGBUS)
        {
            /* Linux has no memory for a frame of ours that was never touched before. */
            HostRaiseFault(&Fault, STATUS_IN_PAGE_ERROR, Fault.Address);
        }
        else
        {
            HostResolveFault(&Fault);
        }
        if (HostIsPreempted() && *HostLocal.Mode == UserMode &&
            !HostIsOnSignalStack((ULONG_PTR)Interrupted->uc_mcontext.gregs[REG_RSP]))
        {
            HostYieldGang();
        }
        break;
    case HostTargetInvalid:
        HostCount(&HostCounters()->Signals, 1);
        HostRaiseFault(&Fault, STATUS_ACCESS_VIOLATION, Fault.Address);
        break;
    default:
        HostHandOver(&Fault);
        break;
    }
    errno = SavedErrno;
}

NTSTATUS HostInitializeFaults(VOID)
{
    if (HostSetSignalAction(SIGSEGV, (ULONG_PTR)HostFaultHandler, &HostPreviousSegv) != 0 ||
        HostSetSignalAction(SIGBUS, (ULONG_PTR)HostFaultHandler, &HostPreviousBus) != 0)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    return STATUS_SUCCESS;
}

VOID HostShutdownFaults(VOID)
{
    HostRestoreSignalAction(SIGSEGV, &HostPreviousSegv);
    HostRestoreSignalAction(SIGBUS, &HostPreviousBus);
}

/* ---- For callers ----------------------------------------------------------------------------------------------- */

NTSTATUS HostGuardedCall(VOID (*Routine)(PVOID), PVOID Context, EXCEPTION_RECORD *Record)
{
    return KiGuardedCall(Routine, Context, Record);
}

DECLSPEC_NORETURN VOID HostFatal(PCSTR Text, ULONG64 First, ULONG64 Second)
{
    HOST_PRINT("ntmm: the host port cannot go on: %s (0x%llx, 0x%llx)\n", Text, First, Second);
    PortHalt();
}
