/* SPDX-License-Identifier: MIT */
/*
 * Kernel stacks. They are never paged: a waiting thread's frames hold wait blocks and buffers that others write to at DISPATCH_LEVEL.
 * Running over the lower end meets the guard page. The processor would have to push the trap frame of that fault there as well, and fails:
 * a double fault (KiCheckTrapStack).
 */
#include "translation/kernelstack.h"

static VOID MiMarkStackFrame(PFN_NUMBER Frame)
{
    PMMPFN Pfn = MiPfn(Frame);
    KIRQL OldIrql = KiRaiseIrqlToDispatch();

    MiLockPfn(Pfn);
    Pfn->e1.Kernel = 1;
    MiUnlockPfn(Pfn);
    KiLowerIrqlFromDispatch(OldIrql);
}

static PFN_NUMBER MiTakeStackFrame(void)
{
    PFN_NUMBER Frame = MiAllocatePage(0);

    while (Frame == 0 && KiCurrentThread()->Irql < DISPATCH_LEVEL && MiWaitForAvailablePages())
    {
        Frame = MiAllocatePage(0);
    }
    return Frame;
}

/* Unmaps and frees the frames behind the first Pages from Va on. */
static VOID MiFreeStackFrames(ULONG_PTR Va, ULONG Pages)
{
    PFN_NUMBER Frames[MI_LARGE_KERNEL_STACK_PAGES];

    for (ULONG Index = 0; Index < Pages; Index++)
    {
        Frames[Index] = MiReadSystemPte(Va + ((ULONG_PTR)Index << PAGE_SHIFT)).Hard.PageFrameNumber;
    }
    MiUnmapSystemPtes(Va, Pages);
    for (ULONG Index = 0; Index < Pages; Index++)
    {
        MiFreePage(Frames[Index]);
    }
}

static BOOLEAN MiFillStack(ULONG_PTR Va, ULONG Pages)
{
    MMPTE Template = MiMakeValidPte(0, MM_READWRITE, FALSE);

    Template.Long |= MM_PTE_DIRTY;
    for (ULONG Index = 0; Index < Pages; Index++)
    {
        PFN_NUMBER Frame = MiTakeStackFrame();

        if (Frame == 0)
        {
            MiFreeStackFrames(Va, Index);
            return FALSE;
        }
        MiMarkStackFrame(Frame);
        MiMapSystemPtes(Va + ((ULONG_PTR)Index << PAGE_SHIFT), &Frame, 1, Template);
    }
    return TRUE;
}

static BOOLEAN MiChargeStack(ULONG Pages)
{
    if (!MiChargeCommitment(Pages, KiCurrentThread()->Irql < DISPATCH_LEVEL ? 0 : MI_COMMIT_NO_EXTEND))
    {
        return FALSE;
    }
    if (!MiChargeResidentAvailable(Pages))
    {
        MiReturnCommitment(Pages);
        return FALSE;
    }
    return TRUE;
}

static VOID MiReturnStackCharge(ULONG Pages)
{
    MiReturnResidentAvailable(Pages);
    MiReturnCommitment(Pages);
}

NTSTATUS MiCreateKernelStack(ULONG Pages, PKI_KERNEL_STACK Stack)
{
    ULONG_PTR Guard;

    KiRequire(Pages <= MI_LARGE_KERNEL_STACK_PAGES);
    if (!MiChargeStack(Pages))
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Guard = MiReserveSystemPtes(Pages + 1);
    if (Guard == 0 || !MiFillStack(Guard + PAGE_SIZE, Pages))
    {
        if (Guard != 0)
        {
            MiReleaseSystemPtes(Guard, Pages + 1);
        }
        MiReturnStackCharge(Pages);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    *Stack = (KI_KERNEL_STACK){ .Guard = Guard,
                                .Limit = Guard + PAGE_SIZE,
                                .Base = Guard + ((ULONG_PTR)(Pages + 1) << PAGE_SHIFT) };
    __atomic_fetch_add(&MiState.Translation->KernelStackPages, Pages, __ATOMIC_RELAXED);
    return STATUS_SUCCESS;
}

VOID MiDeleteKernelStack(const KI_KERNEL_STACK *Stack)
{
    ULONG Pages = (ULONG)((Stack->Base - Stack->Limit) >> PAGE_SHIFT);

    MiFreeStackFrames(Stack->Limit, Pages);
    MiReleaseSystemPtes(Stack->Guard, Pages + 1);
    MiReturnStackCharge(Pages);
    __atomic_fetch_sub(&MiState.Translation->KernelStackPages, Pages, __ATOMIC_RELAXED);
}

SIZE_T MiKernelStackPages(void)
{
    return __atomic_load_n(&MiState.Translation->KernelStackPages, __ATOMIC_RELAXED);
}

VOID MiCallOnKernelStack(const KI_KERNEL_STACK *Stack, VOID (*Routine)(PVOID), PVOID Context)
{
    PKTHREAD Thread = KiCurrentThread();
    KI_KERNEL_STACK Previous = Thread->KernelStack;

    Thread->KernelStack = *Stack;
    PortCallOnStack(Routine, Context, Stack->Limit, Stack->Base);
    Thread->KernelStack = Previous;
}

/* ---- For drivers ----------------------------------------------------------------------------------------- */

VOID NTAPI IoGetStackLimits(PULONG_PTR LowLimit, PULONG_PTR HighLimit)
{
    const KI_KERNEL_STACK *Stack = &KiCurrentThread()->KernelStack;

    if (Stack->Base != 0)
    {
        *LowLimit = Stack->Limit;
        *HighLimit = Stack->Base;
    }
    else
    {
        PortQueryThreadStack(LowLimit, HighLimit);
    }
}

PVOID NTAPI IoGetInitialStack(VOID)
{
    ULONG_PTR Low;
    ULONG_PTR High;

    IoGetStackLimits(&Low, &High);
    return (PVOID)High;
}

/* Of the caller: this function's own frame lies right below. On another stack (a signal's): nothing is known. */
static __attribute__((noinline)) SIZE_T MiRemainingStack(void)
{
    ULONG_PTR Here = (ULONG_PTR)__builtin_frame_address(0);
    ULONG_PTR Low;
    ULONG_PTR High;

    IoGetStackLimits(&Low, &High);
    return Here > Low && Here <= High ? Here - Low : 0;
}

ULONG_PTR NTAPI IoGetRemainingStackSize(VOID)
{
    return MiRemainingStack();
}

typedef struct _MI_STACK_CALLOUT
{
    PEXPAND_STACK_CALLOUT Callout;
    PVOID Parameter;
} MI_STACK_CALLOUT;

/* An exception cannot leave the stack that it was raised on: nobody would give that stack back. */
static VOID MiRunCallout(PVOID Context)
{
    const MI_STACK_CALLOUT *Call = Context;
    KI_EXCEPTION_FRAME Frame;

    if (KiCurrentThread()->Irql >= DISPATCH_LEVEL)
    {
        Call->Callout(Call->Parameter); /* nothing may be raised here anyway */
        return;
    }
    if (KiTry(&Frame))
    {
        Call->Callout(Call->Parameter);
        KiEndTry(&Frame);
        return;
    }
    KiBugCheckMessage(KMODE_EXCEPTION_NOT_HANDLED, (ULONG)Frame.Record.ExceptionCode,
                      (ULONG_PTR)Frame.Record.ExceptionAddress, Frame.Record.ExceptionInformation[0],
                      Frame.Record.ExceptionInformation[1],
                      "an exception left the callout of KeExpandKernelStackAndCallout");
}

NTSTATUS NTAPI KeExpandKernelStackAndCalloutEx(PEXPAND_STACK_CALLOUT Callout, PVOID Parameter, SIZE_T Size,
                                               BOOLEAN Wait, PVOID Context)
{
    MI_STACK_CALLOUT Call = { .Callout = Callout, .Parameter = Parameter };
    KI_KERNEL_STACK Stack;
    KIRQL Irql = KiCurrentThread()->Irql;

    UNREFERENCED_PARAMETER(Context);
    if (Size > MAXIMUM_EXPANSION_SIZE)
    {
        return STATUS_INVALID_PARAMETER_3;
    }
    if (Irql > (Wait ? APC_LEVEL : DISPATCH_LEVEL))
    {
        KiBugCheckMessage(IRQL_NOT_LESS_OR_EQUAL, 0, Irql, 0, (ULONG_PTR)__builtin_return_address(0),
                          "KeExpandKernelStackAndCallout was called at IRQL %u", Irql);
    }
    if (MiRemainingStack() >= Size)
    {
        MiRunCallout(&Call);
        return STATUS_SUCCESS;
    }
    if (!NT_SUCCESS(MiCreateKernelStack(MI_LARGE_KERNEL_STACK_PAGES, &Stack)))
    {
        return STATUS_NO_MEMORY;
    }
    MiCallOnKernelStack(&Stack, MiRunCallout, &Call);
    KiRequire(KiCurrentThread()->Irql == Irql);
    MiDeleteKernelStack(&Stack);
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI KeExpandKernelStackAndCallout(PEXPAND_STACK_CALLOUT Callout, PVOID Parameter, SIZE_T Size)
{
    return KeExpandKernelStackAndCalloutEx(Callout, Parameter, Size, KiCurrentThread()->Irql < DISPATCH_LEVEL,
                                           NULL);
}
