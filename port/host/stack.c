/* SPDX-License-Identifier: MIT */
/*
 * Stacks that are not Linux's: the kernel's own, in system PTEs. A call changes the stack pointer and comes back by returning; kernel
 * code on such a stack takes faults on the thread's alternate signal stack, like everywhere.
 */
#include "host_thread.h"

#if NTMM_ASAN
#include <sanitizer/common_interface_defs.h>

#include <sanitizer/asan_interface.h>
#endif

/* rdi: the routine, rsi: its argument, rdx: the end of the stack, a multiple of 16. */
VOID HostCallOnStack(VOID (*Routine)(PVOID), PVOID Context, ULONG_PTR High);
__asm__(".text\n"
        ".p2align 4\n"
        ".globl HostCallOnStack\n"
        ".hidden HostCallOnStack\n"
        ".type HostCallOnStack,@function\n"
        "HostCallOnStack:\n"
        "    .cfi_startproc\n"
        "    pushq %rbp\n"
        "    .cfi_def_cfa_offset 16\n"
        "    .cfi_offset %rbp, -16\n"
        "    movq %rsp, %rbp\n"
        "    .cfi_def_cfa_register %rbp\n"
        "    movq %rdx, %rsp\n"
        "    movq %rdi, %rax\n"
        "    movq %rsi, %rdi\n"
        "    call *%rax\n"
        "    leave\n"
        "    .cfi_def_cfa %rsp, 8\n"
        "    ret\n"
        "    .cfi_endproc\n"
        ".size HostCallOnStack, .-HostCallOnStack\n");

#if NTMM_ASAN
typedef struct _HOST_STACK_CALL
{
    VOID (*Routine)(PVOID);
    PVOID Context;
    const void *Bottom; /* of the stack that the call came from */
    size_t Size;
} HOST_STACK_CALL;

/* The sanitizer wants to know on which stack it is, for calls that never return (jumps) and for stacks of its own. */
static VOID HostSwitchedCall(PVOID Context)
{
    HOST_STACK_CALL *Call = Context;

    __sanitizer_finish_switch_fiber(NULL, &Call->Bottom, &Call->Size);
    Call->Routine(Call->Context);
    __sanitizer_start_switch_fiber(NULL, Call->Bottom, Call->Size);
}

VOID PortCallOnStack(VOID (*Routine)(PVOID), PVOID Context, ULONG_PTR Low, ULONG_PTR High)
{
    HOST_STACK_CALL Call = { .Routine = Routine, .Context = Context };
    void *Fake = NULL;

    __sanitizer_start_switch_fiber(&Fake, (const void *)Low, High - Low);
    HostCallOnStack(HostSwitchedCall, &Call, High);
    __sanitizer_finish_switch_fiber(Fake, NULL, NULL);
    /* What a jump left behind about frames would outlive them. */
    __asan_unpoison_memory_region((void *)Low, High - Low);
}
#else
VOID PortCallOnStack(VOID (*Routine)(PVOID), PVOID Context, ULONG_PTR Low, ULONG_PTR High)
{
    (void)Low;
    HostCallOnStack(Routine, Context, High);
}
#endif

VOID PortQueryThreadStack(ULONG_PTR *Low, ULONG_PTR *High)
{
    PHOST_THREAD Host = HostCurrentThread();

    *Low = Host->StackLow;
    *High = Host->StackHigh;
}
