/* SPDX-License-Identifier: MIT */
/*
 * More threads for a process, and stacks in NT memory. A thread on such a stack begins on its Linux stack, where its base
 * frame lies, and calls the user's routine with another stack pointer; kernel code never runs there, because faults are
 * handled on the alternate signal stack and functions of the API and services go back to the Linux stack first, as a
 * processor would at a system call.
 */
#include "embed.h"

#include <stdlib.h>

#if NTMM_ASAN
#include <sanitizer/asan_interface.h>
#endif

struct _NTMM_THREAD
{
    KTHREAD Thread;
    NTMM_USER User;
    NTSTATUS Status;
    NTSTATUS ExitStatus;
};

/* ---- Changing stacks ------------------------------------------------------------------------------------------------ */

/* rdi routine, rsi context, rdx new stack, rcx where to save the old. The frame pointers stay a chain across both stacks. */
__asm__(".text\n"
        ".p2align 4\n"
        ".globl NtmmpCallOnStack\n"
        ".hidden NtmmpCallOnStack\n"
        ".type NtmmpCallOnStack,@function\n"
        "NtmmpCallOnStack:\n"
        "    .cfi_startproc\n"
        "    pushq %rbp\n"
        "    .cfi_def_cfa_offset 16\n"
        "    .cfi_offset %rbp, -16\n"
        "    movq %rsp, %rbp\n"
        "    .cfi_def_cfa_register %rbp\n"
        "    movq %rsp, (%rcx)\n" /* a multiple of 16: the return address and rbp lie above */
        "    movq %rdx, %rsp\n"
        "    movq %rdi, %rax\n"
        "    movq %rsi, %rdi\n"
        "    call *%rax\n"
        "    leave\n"
        "    .cfi_def_cfa %rsp, 8\n"
        "    ret\n"
        "    .cfi_endproc\n"
        ".size NtmmpCallOnStack, .-NtmmpCallOnStack\n");

/* Room above the first frame: a service's entry copies as many stack arguments as a service can have. */
#define NTMM_STACK_MARGIN 256

NTSTATUS NtmmpCallOnUserStack(PNTMM_USER User)
{
#if NTMM_TSAN
    /*
     * The runtime uses the stack that it is called on while it holds its locks. A fault there, for a page that was trimmed or
     * merely not in the TB, would enter instrumented code that waits for the same locks.
     */
    return User->Routine(User->Context);
#else
    NTSTATUS Result;

    PortServiceStack.Low = (ULONG_PTR)User->Stack.DeallocationStack;
    PortServiceStack.High = (ULONG_PTR)User->Stack.StackBase;
    Result = NtmmpCallOnStack(User->Routine, User->Context,
                              (ULONG_PTR)User->Stack.StackBase - NTMM_STACK_MARGIN, &PortServiceStack.Host);
    NtmmpLeaveUserStack();
    return Result;
#endif
}

VOID NtmmpLeaveUserStack(VOID)
{
    PortServiceStack = (PORT_SERVICE_STACK){ 0, 0, 0 };
}

NTMM_ENTRY(NTSTATUS, CallOnHostStack, (NTMM_ROUTINE * Routine, PVOID Context))
{
    return Routine(Context);
}

/* ---- The life of a thread -------------------------------------------------------------------------------------------- */

static NTSTATUS NtmmpPrepareStack(PNTMM_THREAD Thread, const NTMM_THREAD_PARAMETERS *Parameters)
{
    NTSTATUS Status;
    CHAR Text[128];

    if (Parameters->StackReserve == 0 && Parameters->StackCommit == 0)
    {
        return STATUS_SUCCESS;
    }
    Status = MmCreateUserStack(&Thread->User.Process->Space, Parameters->StackReserve,
                               Parameters->StackCommit, &Thread->User.Stack);
    if (!NT_SUCCESS(Status))
    {
        return NtmmpFail(Status, "a stack of %zu KiB cannot be had: %s", Parameters->StackReserve >> 10,
                         NtmmFormatStatus(Status, Text, sizeof(Text)));
    }
    Thread->User.HasStack = TRUE;
    return STATUS_SUCCESS;
}

static VOID NtmmpDeleteStack(PNTMM_USER User)
{
    if (User->HasStack)
    {
#if NTMM_ASAN
        /* Left by a jump: what the sanitizer wrote about its frames would outlive them. */
        __asan_unpoison_memory_region(
            User->Stack.DeallocationStack,
            (SIZE_T)((PUCHAR)User->Stack.StackBase - (PUCHAR)User->Stack.DeallocationStack));
#endif
        MmDeleteUserStack(&User->Process->Space, &User->Stack);
    }
}

static VOID NtmmpThreadMain(PVOID Context)
{
    PNTMM_THREAD Thread = Context;
    PKTHREAD Kernel = KiCurrentThread();

    Kernel->SystemThread = FALSE;
    if (Thread->User.HasStack)
    {
        Kernel->StackBase = Thread->User.Stack.StackBase;
        Kernel->StackLimit = Thread->User.Stack.StackLimit;
        Kernel->DeallocationStack = Thread->User.Stack.DeallocationStack;
    }
    Thread->Status = NtmmpRunUser(&Thread->User, &Thread->ExitStatus);
    NtmmpDeleteStack(&Thread->User);
}

static NTSTATUS NtmmpStartThread(PNTMM_THREAD Thread, const NTMM_THREAD_PARAMETERS *Parameters)
{
    NTSTATUS Status = NtmmpPrepareStack(Thread, Parameters);
    CHAR Text[128];

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    ObReferenceObjectBody(Thread->User.Process);
    Status = KiStartThread(&Thread->Thread, NtmmpThreadMain, Thread, Parameters->Processor - 1);
    if (!NT_SUCCESS(Status))
    {
        NtmmpDeleteStack(&Thread->User);
        ObDereferenceObjectBody(Thread->User.Process);
        return NtmmpFail(Status, "no new thread: %s", NtmmFormatStatus(Status, Text, sizeof(Text)));
    }
    return STATUS_SUCCESS;
}

NTMM_ENTRY(NTSTATUS, CreateThread,
           (PEPROCESS Process, const NTMM_THREAD_PARAMETERS *Parameters, PNTMM_THREAD *Thread))
{
    PNTMM_THREAD New;
    NTMM_VISIT Visit;
    NTSTATUS Status;

    if (Parameters->Size != sizeof(*Parameters))
    {
        return NtmmpFail(STATUS_INFO_LENGTH_MISMATCH, "NTMM_THREAD_PARAMETERS.Size must be its sizeof");
    }
    New = calloc(1, sizeof(*New));
    if (New == NULL)
    {
        return NtmmpFail(STATUS_INSUFFICIENT_RESOURCES, "no memory for a thread");
    }
    New->User.Process = Process;
    New->User.Routine = Parameters->Routine;
    New->User.Context = Parameters->Context;
    New->User.Result = STATUS_PENDING;
    Status = NtmmpEnter(&Visit);
    if (NT_SUCCESS(Status))
    {
        Status = NtmmpStartThread(New, Parameters);
        NtmmpLeave(&Visit);
    }
    if (!NT_SUCCESS(Status))
    {
        free(New);
        return Status;
    }
    *Thread = New;
    return STATUS_SUCCESS;
}

NTMM_ENTRY(NTSTATUS, JoinThread, (PNTMM_THREAD Thread, PNTSTATUS ExitStatus))
{
    NTMM_VISIT Visit;
    NTSTATUS Status = NtmmpEnter(&Visit);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    KiJoinThread(&Thread->Thread);
    ObDereferenceObjectBody(Thread->User.Process);
    NtmmpLeave(&Visit);
    Status = Thread->Status;
    if (ExitStatus != NULL)
    {
        *ExitStatus = Thread->ExitStatus;
    }
    free(Thread);
    return Status;
}
