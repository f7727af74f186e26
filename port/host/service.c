/* SPDX-License-Identifier: MIT */
/*
 * System services on behalf of threads whose stack lies in NT memory. Kernel code may not run there: such a stack can be paged out,
 * it exists in one address space only, and other threads write into the waits and transfers of a waiting thread's frames. So the entry
 * of every service (PORT_SERVICE_ENTRY) comes here when the thread has such a stack, and goes on on its Linux stack.
 */
#include "host.h"

_Thread_local PORT_SERVICE_STACK PortServiceStack __attribute__((tls_model("initial-exec")));

/*
 * r11: the service; rax: the offset of PortServiceStack from %fs; all other registers and the stack as the client left them. The
 * stack arguments are copied, as many as a service can have; what lies there belongs to the client in any case.
 */
__asm__(".text\n"
        ".p2align 4\n"
        ".globl PortEnterService\n"
        ".hidden PortEnterService\n"
        ".type PortEnterService,@function\n"
        "PortEnterService:\n"
        "    .cfi_startproc\n"
        "    cmpq %fs:0(%rax), %rsp\n"
        "    jb 1f\n"
        "    cmpq %fs:8(%rax), %rsp\n"
        "    jae 1f\n"
        "    pushq %rbp\n"
        "    .cfi_def_cfa_offset 16\n"
        "    .cfi_offset %rbp, -16\n"
        "    movq %rsp, %rbp\n"
        "    .cfi_def_cfa_register %rbp\n"
        "    movq %fs:16(%rax), %rsp\n"
        "    .set Argument, 10\n"
        "    .rept 10\n"
        "    .set Argument, Argument - 1\n"
        "    pushq 16 + 8 * Argument(%rbp)\n"
        "    .endr\n"
        "    call *%r11\n"
        "    leave\n"
        "    .cfi_def_cfa %rsp, 8\n"
        "    ret\n"
        "1:  .cfi_def_cfa %rsp, 8\n"
        "    .cfi_restore %rbp\n"
        "    jmp *%r11\n"
        "    .cfi_endproc\n"
        ".size PortEnterService, .-PortEnterService\n");

C_ASSERT(PORT_SERVICE_STACK_ARGUMENTS == 10);
C_ASSERT(offsetof(PORT_SERVICE_STACK, High) == 8 && offsetof(PORT_SERVICE_STACK, Host) == 16);
