/* SPDX-License-Identifier: MIT */
/*
 * __try, __except and __finally for C compilers that do not know them (gcc and clang for Linux), as drivers use them around
 * ProbeForRead, MmProbeAndLockPages and accesses of user buffers. The kernel finds the handler by a frame that the
 * block leaves on the thread (one jump buffer); nothing is unwound by tables. What differs from the compilers of Windows:
 *   - continue inside the block means the block itself, like __leave (which belongs to the innermost loop or block, therefore); break out of
 *     the statement is a bug check that says so, since the loop around it cannot be reached. return and goto are as ever, and run the __finally block;
 *   - a local variable that the block changes and the handler or __finally block reads must be volatile, as with setjmp;
 *   - EXCEPTION_CONTINUE_EXECUTION cannot resume: it raises STATUS_NONCONTINUABLE_EXCEPTION;
 *   - __finally blocks do not run when the thread is ended meanwhile;
 *   - nothing of this in C++ (where __try belongs to the C++ library).
 * At DISPATCH_LEVEL an exception is a bug check. Compilers for Windows use their own. Source: Microsoft Learn,
 * "Handling Exceptions" (kernel), "try-except statement", "try-finally statement", "AbnormalTermination".
 */
#ifndef NTMM_NT_SEH_H
#define NTMM_NT_SEH_H

#include "nt/exception.h"

#if defined(_WIN32)
#define GetExceptionCode()        _exception_code()
#define GetExceptionInformation() ((PEXCEPTION_POINTERS)_exception_info())
#define AbnormalTermination()     _abnormal_termination()
#elif !defined(__cplusplus)

/* A block inside a block has the same hidden name: nothing to warn a driver of (-Wshadow). */
#pragma GCC system_header

/* Passes of the statement: what there is, the block, what follows a block that ended well; 0: over. */
#define NTMM_TRY_LEARN 3
#define NTMM_TRY_BLOCK 2

typedef struct _NTMM_TRY
{
    PVOID Mark[8]; /* where the block begins, for a __finally block after return and goto */
    PVOID Back[8]; /* the call that leaves the scope, for the way back */
    PVOID Jump[32];
    PVOID Frame[80]; /* the kernel's */
    EXCEPTION_POINTERS Pointers;
    LONG Pass;
    LONG Pushed;     /* the frame is on the thread */
    LONG Raised;     /* the block ended abnormally */
    LONG Finally;    /* by an exception, which goes on behind what follows */
    LONG HasFinally; /* it is a __finally block that follows */
    LONG Left;       /* it runs on the way out of the scope */
} NTMM_TRY;

VOID NtmmEnterTry(NTMM_TRY *Try);
/* The end of the scope; returns twice where a __finally block is still to run, which it does in between. */
VOID NtmmLeaveTry(NTMM_TRY *Try) __attribute__((returns_twice));
int NtmmMarkTry(PVOID *Mark) __attribute__((returns_twice));
/* The exception that arrived, for filter and handler. */
PEXCEPTION_POINTERS NtmmPointersOfTry(NTMM_TRY *Try);
/* What the filter said. Returns TRUE for the handler; otherwise the exception goes on to the next block. */
BOOLEAN NtmmDecideTry(NTMM_TRY *Try, LONG Filter);
/* Whether the block behind __finally is to run now. */
BOOLEAN NtmmFinallyTry(NTMM_TRY *Try);
/* From the block to what follows, and from there on. */
VOID NtmmNextTry(NTMM_TRY *Try);
/* Behind the passes: bug check if they were broken off. */
VOID NtmmBreakTry(NTMM_TRY *Try);

#if defined(__SANITIZE_THREAD__)
#define NTMM_JUMP_OF_THE_LIBRARY 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define NTMM_JUMP_OF_THE_LIBRARY 1
#endif
#endif
#if defined(NTMM_JUMP_OF_THE_LIBRARY)
int NtmmSetJump(PVOID *Buffer) __asm__("_setjmp") __attribute__((returns_twice));
#else
int NtmmSetJump(PVOID *Buffer) __attribute__((returns_twice));
#endif

#define __try                                                                                                \
    for (NTMM_TRY NtmmTry_ __attribute__((cleanup(NtmmLeaveTry))) = { .Pass = NTMM_TRY_LEARN };              \
         NtmmTry_.Pass != 0; NtmmBreakTry(&NtmmTry_))                                                        \
        for (; NtmmTry_.Pass != 0; NtmmNextTry(&NtmmTry_))                                                   \
            if (NtmmTry_.Pass == NTMM_TRY_BLOCK &&                                                           \
                (NtmmEnterTry(&NtmmTry_),                                                                    \
                 NtmmMarkTry(NtmmTry_.Mark) == 0 && NtmmSetJump(NtmmTry_.Jump) == 0))
/* clang-format off */
#define __except(...) else if (NtmmTry_.Pass == NTMM_TRY_BLOCK && NtmmDecideTry(&NtmmTry_, (__VA_ARGS__)))
#define __finally     else if (NtmmFinallyTry(&NtmmTry_))
/* clang-format on */
#define __leave continue
#define AbnormalTermination()     (NtmmTry_.Raised != 0)
#define GetExceptionCode()        (NtmmPointersOfTry(&NtmmTry_)->ExceptionRecord->ExceptionCode)
#define GetExceptionInformation() NtmmPointersOfTry(&NtmmTry_)

#endif

#endif
