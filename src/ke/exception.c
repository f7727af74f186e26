/* SPDX-License-Identifier: MIT */
/*
 * Exceptions inside the kernel. There is no unwinding by tables: a guarded region is a frame on a list of the
 * thread with a jump buffer, raising copies the record into the innermost frame and jumps there. That works
 * from anywhere on the thread, from the host's SIGSEGV handler on its alternate stack too, because the
 * handler runs with nothing masked.
 *
 * What a jump restores: IRQL (below DISPATCH_LEVEL on both sides), modes and fault depth. What it cannot
 * restore is a lock; debug builds check that none was taken inside the region and is still held.
 */
#include "ke/ki.h"
#include "nt/exception.h"
#include "nt/rtl.h"
#include "nt/seh.h"

/*
 * Jumps of clients' blocks. The compilers' own are no contract between a client and us: clang's loses the base pointer of functions that
 * realign their stack. All registers that a function keeps, the stack pointer, the return address.
 *
 * NtmmLeaveTry is called where the scope of a block ends, by return, goto and break, too. If its __finally is still to run, the context of
 * this call is kept, the function goes on at the block's mark, which leads it to its __finally block, and NtmmNextTry behind that one returns
 * from this call a second time. All of it happens while the function is active, and the compiler knows (returns_twice) that mark
 * and call return twice: it is what setjmp and longjmp permit.
 */
#define KI_SAVE_CONTEXT(Offset)                                                                              \
    "    movq %rbx, " #Offset "+0(%rdi)\n"                                                                   \
    "    movq %rbp, " #Offset "+8(%rdi)\n"                                                                   \
    "    movq %r12, " #Offset "+16(%rdi)\n"                                                                  \
    "    movq %r13, " #Offset "+24(%rdi)\n"                                                                  \
    "    movq %r14, " #Offset "+32(%rdi)\n"                                                                  \
    "    movq %r15, " #Offset "+40(%rdi)\n"                                                                  \
    "    leaq 8(%rsp), %rdx\n"                                                                               \
    "    movq %rdx, " #Offset "+48(%rdi)\n"                                                                  \
    "    movq (%rsp), %rdx\n"                                                                                \
    "    movq %rdx, " #Offset "+56(%rdi)\n"
#define KI_GO_TO_CONTEXT(Offset)                                                                             \
    "    movq " #Offset "+0(%rdi), %rbx\n"                                                                   \
    "    movq " #Offset "+8(%rdi), %rbp\n"                                                                   \
    "    movq " #Offset "+16(%rdi), %r12\n"                                                                  \
    "    movq " #Offset "+24(%rdi), %r13\n"                                                                  \
    "    movq " #Offset "+32(%rdi), %r14\n"                                                                  \
    "    movq " #Offset "+40(%rdi), %r15\n"                                                                  \
    "    movq " #Offset "+48(%rdi), %rsp\n"                                                                  \
    "    movl $1, %eax\n"                                                                                    \
    "    jmp *" #Offset "+56(%rdi)\n"
#define KI_FUNCTION(Name, Visibility, Code)                                                                  \
    __asm__(".text\n.p2align 4\n.globl " #Name "\n" Visibility ".type " #Name ",@function\n" #Name           \
            ":\n" Code ".size " #Name ", .-" #Name "\n")
/* Calls Question(%rdi), and goes on at the context if the answer is yes. */
#define KI_ASK_AND_GO(Question, Offset)                                                                      \
    "    pushq %rdi\n"                                                                                       \
    "    call " #Question "\n"                                                                               \
    "    popq %rdi\n"                                                                                        \
    "    testb %al, %al\n"                                                                                   \
    "    jnz 1f\n"                                                                                           \
    "    ret\n"                                                                                              \
    "1:\n" KI_GO_TO_CONTEXT(Offset)
#define KI_HIDDEN(Name) ".hidden " #Name "\n"

/* Offsets in NTMM_TRY. */
C_ASSERT(__builtin_offsetof(NTMM_TRY, Mark) == 0);
C_ASSERT(__builtin_offsetof(NTMM_TRY, Back) == 64);

BOOLEAN KiMustFinishTry(NTMM_TRY *Try) __attribute__((used, visibility("hidden")));
BOOLEAN KiEndPassOfTry(NTMM_TRY *Try) __attribute__((used, visibility("hidden")));

KI_FUNCTION(NtmmMarkTry, "", KI_SAVE_CONTEXT(0) "    xorl %eax, %eax\n    ret\n");
KI_FUNCTION(NtmmLeaveTry, "", KI_SAVE_CONTEXT(64) KI_ASK_AND_GO(KiMustFinishTry, 0));
KI_FUNCTION(NtmmNextTry, "", KI_ASK_AND_GO(KiEndPassOfTry, 64));

#if NTMM_TSAN
#define KiLongJumpToClient(Buffer) KiLongJumpTo(Buffer, 1)
#else
DECLSPEC_NORETURN void KiLongJumpToClient(PVOID *Buffer);
KI_FUNCTION(NtmmSetJump, "", KI_SAVE_CONTEXT(0) "    xorl %eax, %eax\n    ret\n");
KI_FUNCTION(KiLongJumpToClient, KI_HIDDEN(KiLongJumpToClient), KI_GO_TO_CONTEXT(0));
#endif

static VOID KiPushFrame(PKI_EXCEPTION_FRAME Frame, PVOID *ClientJump)
{
    PKTHREAD Thread = KiCurrentThread();

    Frame->ClientJump = ClientJump;

    Frame->Previous = Thread->ExceptionFrames;
    Frame->Irql = Thread->Irql;
    Frame->CurrentMode = Thread->CurrentMode;
    Frame->PreviousMode = Thread->PreviousMode;
    Frame->HeldLockCount = Thread->HeldLockCount;
    Frame->FaultDepth = Thread->FaultDepth;
    Frame->Base = FALSE;
    Thread->ExceptionFrames = Frame;
}

VOID KiPushExceptionFrame(PKI_EXCEPTION_FRAME Frame)
{
    ASSERT(KiCurrentThread()->Irql < DISPATCH_LEVEL);
    KiPushFrame(Frame, NULL);
}

VOID KiEndTry(PKI_EXCEPTION_FRAME Frame)
{
    PKTHREAD Thread = KiCurrentThread();

    KiRequire(Thread->ExceptionFrames == Frame);
    Thread->ExceptionFrames = Frame->Previous;
}

BOOLEAN KiUnwindToFrame(const EXCEPTION_RECORD *Record)
{
    PKTHREAD Thread = KiCurrentThread();
    PKI_EXCEPTION_FRAME Frame = Thread->ExceptionFrames;

    if (Frame == NULL)
    {
        return FALSE;
    }
    if (Thread->Irql >= DISPATCH_LEVEL)
    {
        KiBugCheckMessage(KMODE_EXCEPTION_NOT_HANDLED, (ULONG)Record->ExceptionCode,
                          (ULONG_PTR)Record->ExceptionAddress, Record->ExceptionInformation[0],
                          Record->ExceptionInformation[1], "an exception was raised at IRQL %u",
                          Thread->Irql);
    }
    ASSERT(Thread->HeldLockCount == Frame->HeldLockCount);
    Frame->Record = *Record;
    Thread->ExceptionFrames = Frame->Previous;
    Thread->Irql = Frame->Irql;
    Thread->CurrentMode = Frame->CurrentMode;
    Thread->PreviousMode = Frame->PreviousMode;
    Thread->FaultDepth = Frame->FaultDepth;
    if (Frame->ClientJump != NULL)
    {
        KiLongJumpToClient(Frame->ClientJump);
    }
    KiLongJump(Frame->JumpBuffer);
}

VOID KiEndUserMode(VOID)
{
    PKTHREAD Thread = KiCurrentThread();
    PKI_EXCEPTION_FRAME Frame = Thread->ExceptionFrames;
    EXCEPTION_RECORD Record = { .ExceptionCode = DBG_TERMINATE_THREAD,
                                .ExceptionFlags = EXCEPTION_NONCONTINUABLE };

    if (!__atomic_load_n(&Thread->EndPending, __ATOMIC_ACQUIRE))
    {
        return;
    }
    while (Frame != NULL && !Frame->Base)
    {
        Frame = Frame->Previous;
    }
    if (Frame != NULL)
    {
        /* Frames of the client's own are passed over: nobody inside can keep the thread. */
        Thread->ExceptionFrames = Frame;
        KiUnwindToFrame(&Record);
    }
}

/* ---- Raising ------------------------------------------------------------------------------------------- */

static DECLSPEC_NORETURN VOID KiRaise(const EXCEPTION_RECORD *Record)
{
    KiUnwindToFrame(Record);
    KeBugCheckEx(KMODE_EXCEPTION_NOT_HANDLED, (ULONG)Record->ExceptionCode,
                 (ULONG_PTR)Record->ExceptionAddress, Record->ExceptionInformation[0],
                 Record->ExceptionInformation[1]);
}

static DECLSPEC_NORETURN VOID KiRaiseFrom(NTSTATUS Status, PVOID Address)
{
    EXCEPTION_RECORD Record;

    __builtin_memset(&Record, 0, sizeof(Record));
    Record.ExceptionCode = Status;
    Record.ExceptionFlags = EXCEPTION_NONCONTINUABLE;
    Record.ExceptionAddress = Address;
    KiRaise(&Record);
}

DECLSPEC_NORETURN VOID NTAPI ExRaiseStatus(NTSTATUS Status)
{
    KiRaiseFrom(Status, __builtin_return_address(0));
}

DECLSPEC_NORETURN VOID NTAPI ExRaiseAccessViolation(VOID)
{
    KiRaiseFrom(STATUS_ACCESS_VIOLATION, __builtin_return_address(0));
}

DECLSPEC_NORETURN VOID NTAPI ExRaiseDatatypeMisalignment(VOID)
{
    KiRaiseFrom(STATUS_DATATYPE_MISALIGNMENT, __builtin_return_address(0));
}

VOID NTAPI RtlRaiseException(PEXCEPTION_RECORD ExceptionRecord)
{
    if (ExceptionRecord->ExceptionAddress == NULL)
    {
        ExceptionRecord->ExceptionAddress = __builtin_return_address(0);
    }
    KiRaise(ExceptionRecord);
}

NTSTATUS NTAPI NtRaiseException(PEXCEPTION_RECORD ExceptionRecord, PCONTEXT ContextRecord,
                                BOOLEAN FirstChance)
{
    PKTHREAD Thread = KiCurrentThread();
    PKI_EXCEPTION_FRAME Frame = Thread->ExceptionFrames;

    if (ContextRecord != NULL)
    {
        return STATUS_NOT_IMPLEMENTED; /* to continue there nobody could */
    }
    while (!FirstChance && Frame != NULL && !Frame->Base)
    {
        Frame = Frame->Previous;
    }
    Thread->ExceptionFrames = Frame;
    KiRaise(ExceptionRecord);
}

/* ---- __try of clients (nt/seh.h) ----------------------------------------------------------------------- */

C_ASSERT(sizeof(KI_EXCEPTION_FRAME) <= sizeof(((NTMM_TRY *)NULL)->Frame));

static PKI_EXCEPTION_FRAME KiFrameOfTry(NTMM_TRY *Try)
{
    return (PKI_EXCEPTION_FRAME)(PVOID)Try->Frame;
}

VOID NtmmEnterTry(NTMM_TRY *Try)
{
    KiPushFrame(KiFrameOfTry(Try), Try->Jump);
    Try->Pushed = TRUE;
}

/* Only an exception has taken the frame already. */
static BOOLEAN KiPopTry(NTMM_TRY *Try)
{
    if (!Try->Pushed)
    {
        return FALSE;
    }
    Try->Pushed = FALSE;
    KiEndTry(KiFrameOfTry(Try));
    return TRUE;
}

/* The end of the scope, however it is left; with the frame still there, it was from inside the block. */
BOOLEAN KiMustFinishTry(NTMM_TRY *Try)
{
    Try->Left = KiPopTry(Try) && Try->HasFinally;
    Try->Raised |= Try->Left;
    return (BOOLEAN)Try->Left;
}

PEXCEPTION_POINTERS NtmmPointersOfTry(NTMM_TRY *Try)
{
    Try->Pointers.ExceptionRecord = &KiFrameOfTry(Try)->Record;
    Try->Pointers.ContextRecord = NULL;
    return &Try->Pointers;
}

BOOLEAN NtmmDecideTry(NTMM_TRY *Try, LONG Filter)
{
    Try->Pushed = FALSE;
    Try->Raised = TRUE;
    if (Filter == EXCEPTION_CONTINUE_SEARCH)
    {
        KiRaise(&KiFrameOfTry(Try)->Record);
    }
    if (Filter < 0)
    {
        ExRaiseStatus(STATUS_NONCONTINUABLE_EXCEPTION);
    }
    return TRUE;
}

/* Behind a block that ended well in its last pass; otherwise in that of the block: an exception took the frame, or the block was left. */
BOOLEAN NtmmFinallyTry(NTMM_TRY *Try)
{
    if (Try->Pass == NTMM_TRY_LEARN)
    {
        Try->HasFinally = TRUE;
        return FALSE;
    }
    if (Try->Pass == NTMM_TRY_BLOCK && !Try->Left)
    {
        Try->Pushed = FALSE;
        Try->Raised = TRUE;
        Try->Finally = TRUE;
    }
    return TRUE;
}

/* The end of a pass. TRUE: of the __finally block of a block that was left; go on leaving. */
BOOLEAN KiEndPassOfTry(NTMM_TRY *Try)
{
    KiPopTry(Try);
    if (Try->Finally)
    {
        KiRaise(&KiFrameOfTry(Try)->Record);
    }
    Try->Pass = Try->Raised ? 0 : Try->Pass - 1;
    return (BOOLEAN)Try->Left;
}

VOID NtmmBreakTry(NTMM_TRY *Try)
{
    if (Try->Pass != 0)
    {
        KiBugCheckMessage(KMODE_EXCEPTION_NOT_HANDLED, (ULONG)STATUS_NOT_IMPLEMENTED,
                          (ULONG_PTR)__builtin_return_address(0), 0, 0,
                          "break out of a __try statement does not reach the loop or switch around it: use "
                          "__leave or goto (nt/seh.h)");
    }
}

/* ---- Guarded copy -------------------------------------------------------------------------------------- */

/*
 * One string instruction: it can be resumed at every byte after a fault that was resolved, needs no library,
 * and no sanitizer runtime stands between us and the exception.
 */
static inline VOID KiCopyBytes(PVOID Destination, const volatile void *Source, SIZE_T Length)
{
    __asm__ volatile("rep movsb" : "+D"(Destination), "+S"(Source), "+c"(Length) : : "memory");
}

typedef ULONG KI_UNALIGNED_ULONG __attribute__((aligned(1), may_alias));
typedef ULONG64 KI_UNALIGNED_ULONG64 __attribute__((aligned(1), may_alias));

/* Small operands of services: one load and one store. */
static inline BOOLEAN KiCopySmall(PVOID Destination, const volatile void *Source, SIZE_T Length)
{
    switch (Length)
    {
    case 1:
        *(volatile UCHAR *)Destination = *(const volatile UCHAR *)Source;
        return TRUE;
    case 4:
        *(volatile KI_UNALIGNED_ULONG *)Destination = *(const volatile KI_UNALIGNED_ULONG *)Source;
        return TRUE;
    case 8:
        *(volatile KI_UNALIGNED_ULONG64 *)Destination = *(const volatile KI_UNALIGNED_ULONG64 *)Source;
        return TRUE;
    default:
        return FALSE;
    }
}

/*
 * Bytes until Source or Destination reaches a page boundary: a fault inside the piece means that nothing of
 * it was copied.
 */
static SIZE_T KiPieceLength(PVOID Destination, const volatile void *Source, SIZE_T Length)
{
    SIZE_T ToSourcePage = PAGE_SIZE - ((ULONG_PTR)Source & (PAGE_SIZE - 1));
    SIZE_T ToDestinationPage = PAGE_SIZE - ((ULONG_PTR)Destination & (PAGE_SIZE - 1));

    Length = Length < ToSourcePage ? Length : ToSourcePage;
    return Length < ToDestinationPage ? Length : ToDestinationPage;
}

NTSTATUS KiGuardedCopy(PVOID Destination, const volatile void *Source, SIZE_T Length, PSIZE_T Copied)
{
    KI_EXCEPTION_FRAME Frame;
    volatile SIZE_T Done = 0;
    volatile NTSTATUS Status = STATUS_SUCCESS;

    if (KiTry(&Frame))
    {
        while (Done < Length)
        {
            /* Numbers until the access: either may be NULL or nonsense of a caller's. */
            PUCHAR To = (PUCHAR)((ULONG_PTR)Destination + Done);
            const volatile UCHAR *From = (const volatile UCHAR *)((ULONG_PTR)Source + Done);
            SIZE_T Piece = KiPieceLength(To, From, Length - Done);

            if (!KiCopySmall(To, From, Piece))
            {
                KiCopyBytes(To, From, Piece);
            }
            Done += Piece;
        }
        KiEndTry(&Frame);
    }
    else
    {
        Status = (NTSTATUS)Frame.Record.ExceptionCode;
    }
    if (Copied != NULL)
    {
        *Copied = Done;
    }
    return Status;
}
