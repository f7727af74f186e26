/* SPDX-License-Identifier: MIT */
/*
 * What the port below asks of this room (the prototypes are in port.h). The port stands beneath the kernel and does not
 * know KTHREAD or the exception frames, but its fault handler has to know the mode of the code that it interrupted, and
 * to raise exceptions to it.
 */
#include "ke/ke.h"

const volatile KPROCESSOR_MODE *KiQueryModeAddress(const struct _KTHREAD *Thread)
{
    return &Thread->CurrentMode;
}

/* A page fault leaves a trap frame on the stack: as much as KTRAP_FRAME, KEXCEPTION_FRAME and EXCEPTION_RECORD of x64 take. */
#define KI_TRAP_ROOM 0x400u

VOID KiCheckTrapStack(ULONG_PTR StackPointer, ULONG_PTR Address, PVOID Instruction)
{
    const KI_KERNEL_STACK *Stack = &KiCurrentThread()->KernelStack;

    if (Stack->Base != 0 && StackPointer < Stack->Limit + KI_TRAP_ROOM && Address < Stack->Limit)
    {
        /* Documented: 8 is the double fault, for which the kernel stack that ran over is the usual reason. */
        KiBugCheckMessage(
            UNEXPECTED_KERNEL_MODE_TRAP, 8, StackPointer, Address, (ULONG_PTR)Instruction,
            "double fault: the kernel stack %llx..%llx has run over (stack pointer %llx, access to %llx)",
            (ULONG64)Stack->Limit, (ULONG64)Stack->Base, (ULONG64)StackPointer, (ULONG64)Address);
    }
}

KI_EXCEPTION_SCOPE KiQueryExceptionScope(VOID)
{
    PKI_EXCEPTION_FRAME Frame = KiCurrentThread()->ExceptionFrames;

    if (Frame == NULL)
    {
        return KiExceptionUnframed;
    }
    return Frame->Base ? KiExceptionBase : KiExceptionFramed;
}

NTSTATUS KiGuardedCall(VOID (*Routine)(PVOID), PVOID Context, struct _EXCEPTION_RECORD *Record)
{
    KI_EXCEPTION_FRAME Frame;

    if (KiTry(&Frame))
    {
        Routine(Context);
        KiEndTry(&Frame);
        return STATUS_SUCCESS;
    }
    if (Record != NULL)
    {
        *Record = Frame.Record;
    }
    return (NTSTATUS)Frame.Record.ExceptionCode;
}
