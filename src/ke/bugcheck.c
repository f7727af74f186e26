/* SPDX-License-Identifier: MIT */
/*
 * The end of the machine, as readable as it can be made: code and name, what it means, the four parameters
 * with their meaning, a message of the room that gave up, a back trace. Then the hook, which tests use to
 * leave with a jump, then the port halts. A second bug check on the same thread while this is being printed
 * halts at once; one on another thread waits until the first is done.
 */
#include "ke/ki.h"
#include "rtl/format.h"

#define KI_BACK_TRACE_DEPTH 32

static VOID KiPrintParameters(const KI_BUG_CHECK_TEXT *Text, const ULONG_PTR Parameters[4])
{
    ULONG Index;

    for (Index = 0; Index < 4; Index += 1)
    {
        PCSTR Meaning = Text != NULL ? Text->Parameters[Index] : NULL;

        KiPrint("    P%u = 0x%016zx%s%s\n", Index + 1, Parameters[Index], Meaning != NULL ? "  " : "",
                Meaning != NULL ? Meaning : "");
    }
}

static DECLSPEC_NOINLINE VOID KiPrintBackTrace(void)
{
    PVOID Frames[KI_BACK_TRACE_DEPTH];
    ULONG Count = PortCaptureBackTrace(Frames, KI_BACK_TRACE_DEPTH, 3);
    ULONG Index;

    for (Index = 0; Index < Count; Index += 1)
    {
        CHAR Name[160];

        /* A return address may already belong to the next function: the call did not return. */
        PortDescribeAddress((PUCHAR)Frames[Index] - 1, Name, sizeof(Name));
        if (Name[0] != 0)
        {
            KiPrint("    #%-2u %s\n", Index, Name);
        }
        else
        {
            KiPrint("    #%-2u %p\n", Index, Frames[Index]);
        }
    }
}

static VOID KiPrintBugCheck(ULONG Code, const ULONG_PTR Parameters[4], PCSTR Message)
{
    const KI_BUG_CHECK_TEXT *Text = KiFindBugCheckText(Code);
    PKTHREAD Thread = PortGetCurrentThread();

    KiPrint("*** STOP: 0x%08X %s\n", Code, Text != NULL ? Text->Name : "(unknown code)");
    if (Text != NULL && Text->Meaning != NULL)
    {
        KiPrint("    %s\n", Text->Meaning);
    }
    KiPrintParameters(Text, Parameters);
    if (Message != NULL)
    {
        KiPrint("    %s\n", Message);
    }
    if (Thread != NULL)
    {
        KiPrint("    processor %u, IRQL %u\n", Thread->Processor, Thread->Irql);
    }
    KiPrintBackTrace();
}

/* One bug check at a time; a second one of the same thread never comes back. */
static VOID KiEnterBugCheck(KI_STATE *State)
{
    PKTHREAD Expected = NULL;
    PKTHREAD Self = PortGetCurrentThread();

    /* A thread that is not ours has no KTHREAD; the state itself stands for it. */
    Self = Self != NULL ? Self : (PKTHREAD)(PVOID)State;
    while (!__atomic_compare_exchange_n(&State->BugCheckThread, &Expected, Self, FALSE, __ATOMIC_ACQUIRE,
                                        __ATOMIC_ACQUIRE))
    {
        if (Expected == Self)
        {
            PortHalt(); /* without a word: it may have been the printing that stumbled */
        }
        Expected = NULL;
        PortYield();
    }
    __atomic_store_n(&State->BugCheckActive, TRUE, __ATOMIC_RELEASE);
}

static DECLSPEC_NORETURN DECLSPEC_NOINLINE VOID KiBugCheck(ULONG Code, const ULONG_PTR Parameters[4],
                                                           PCSTR Message)
{
    KI_STATE *State = MiState.Ke;
    KI_BUG_CHECK_HOOK *Hook;

    if (State == NULL)
    {
        KiPrintBugCheck(Code, Parameters, Message);
        PortHalt();
    }
    KiEnterBugCheck(State);
    KiPrintBugCheck(Code, Parameters, Message);
    Hook = State->BugCheckHook;
    if (Hook != NULL)
    {
        /* The hook may jump away: the next bug check is the first one again. */
        __atomic_store_n(&State->BugCheckActive, FALSE, __ATOMIC_RELEASE);
        __atomic_store_n(&State->BugCheckThread, NULL, __ATOMIC_RELEASE);
        Hook(Code, Parameters, State->BugCheckHookContext);
    }
    PortHalt();
}

DECLSPEC_NORETURN VOID NTAPI KeBugCheckEx(ULONG BugCheckCode, ULONG_PTR BugCheckParameter1,
                                          ULONG_PTR BugCheckParameter2, ULONG_PTR BugCheckParameter3,
                                          ULONG_PTR BugCheckParameter4)
{
    const ULONG_PTR Parameters[4] = { BugCheckParameter1, BugCheckParameter2, BugCheckParameter3,
                                      BugCheckParameter4 };

    KiBugCheck(BugCheckCode, Parameters, NULL);
}

DECLSPEC_NORETURN VOID NTAPI KeBugCheck(ULONG BugCheckCode)
{
    const ULONG_PTR Parameters[4] = { 0, 0, 0, 0 };

    KiBugCheck(BugCheckCode, Parameters, NULL);
}

DECLSPEC_NORETURN VOID KiBugCheckMessage(ULONG Code, ULONG_PTR P1, ULONG_PTR P2, ULONG_PTR P3, ULONG_PTR P4,
                                         PCSTR Format, ...)
{
    const ULONG_PTR Parameters[4] = { P1, P2, P3, P4 };
    CHAR Message[320];
    va_list Arguments;

    va_start(Arguments, Format);
    RtlpFormat(Message, sizeof(Message), Format, Arguments);
    va_end(Arguments);
    KiBugCheck(Code, Parameters, Message);
}

/*
 * The end that an assertion has on Windows when no debugger takes it: STATUS_ASSERTION_FAILURE, not handled.
 */
DECLSPEC_NORETURN VOID KiAssertionFailed(PCSTR Expression, PCSTR File, ULONG Line)
{
    KiBugCheckMessage(KMODE_EXCEPTION_NOT_HANDLED, (ULONG)STATUS_ASSERTION_FAILURE,
                      (ULONG_PTR)__builtin_return_address(0), Line, 0, "assertion failed: %s (%s:%u)",
                      Expression, File, Line);
}

static VOID KiResetThread(PKTHREAD Thread)
{
    if (Thread->Irql >= DISPATCH_LEVEL)
    {
        PortLeaveDispatch(Thread->Processor);
    }
    Thread->Irql = PASSIVE_LEVEL;
    Thread->ExceptionFrames = NULL;
    Thread->HeldLockCount = 0;
    Thread->FaultDepth = 0;
    Thread->KernelStack = (KI_KERNEL_STACK){ 0, 0, 0 };
    Thread->CurrentMode = KernelMode;
    Thread->PreviousMode = KernelMode;
}

VOID KiResumeAfterBugCheck(PKTHREAD Thread)
{
    ULONG Index;

    /* Deterministic mode: the jump may have left the steps of workers. */
    for (Index = 0; KiIsDeterministic() && Index < MiState.Ke->WorkerCount; Index += 1)
    {
        KiResetThread(&MiState.Ke->Workers[Index]->Thread);
        MiState.Ke->Workers[Index]->Running = FALSE;
    }
    PortSetCurrentThread(Thread);
    KiResetThread(Thread);
}
