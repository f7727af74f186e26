/* SPDX-License-Identifier: MIT */
/*
 * What the host port must inline: the layout of the Linux process and the current thread. Sanitizers reserve
 * large parts of the address space for their shadow memory, so each of them gets windows of its own.
 */
#ifndef NTMM_PORT_HOST_INLINE_H
#define NTMM_PORT_HOST_INLINE_H

#if NTMM_TSAN
/* TSan (x86-64): application memory is 0x1000-0x80_0000_0000 and 0x5500_0000_0000-0x5680_0000_0000. */
#define PORT_USER_LOWEST     0x0000000000010000ull
#define PORT_USER_HIGHEST    0x0000006fffffffffull
#define PORT_SYSTEM_START    0x0000558000000000ull
#define PORT_SYSTEM_END      0x000055ffffffffffull
#define PORT_SESSION_START   0x0000550000000000ull
#define PORT_SESSION_END     0x0000550fffffffffull
#define PORT_DIRECT_MAP_BASE 0x0000560000000000ull
#define PORT_DIRECT_MAP_SIZE 0x0000007000000000ull
#elif NTMM_ASAN
/* ASan (x86-64): high application memory begins at 0x1000_7fff_8000. */
#define PORT_USER_LOWEST     0x0000100100000000ull
#define PORT_USER_HIGHEST    0x00003fffffffffffull
#define PORT_SYSTEM_START    0x0000400000000000ull
#define PORT_SYSTEM_END      0x000040ffffffffffull
#define PORT_SESSION_START   0x0000410000000000ull
#define PORT_SESSION_END     0x0000410fffffffffull
#define PORT_DIRECT_MAP_BASE 0x0000480000000000ull
#define PORT_DIRECT_MAP_SIZE 0x0000080000000000ull
#elif defined(NTMM_LAYOUT_VALGRIND) && NTMM_LAYOUT_VALGRIND
/* Valgrind's client addresses end below 0x2000_0000_0000. */
#define PORT_USER_LOWEST     0x0000008000000000ull
#define PORT_USER_HIGHEST    0x000000ffffffffffull
#define PORT_SYSTEM_START    0x0000010000000000ull
#define PORT_SYSTEM_END      0x0000017fffffffffull
#define PORT_SESSION_START   0x0000018000000000ull
#define PORT_SESSION_END     0x0000018fffffffffull
#define PORT_DIRECT_MAP_BASE 0x0000020000000000ull
#define PORT_DIRECT_MAP_SIZE 0x0000010000000000ull
#else
#define PORT_USER_LOWEST     0x0000000000010000ull
#define PORT_USER_HIGHEST    0x00003fffffffffffull
#define PORT_SYSTEM_START    0x0000400000000000ull
#define PORT_SYSTEM_END      0x000040ffffffffffull
#define PORT_SESSION_START   0x0000410000000000ull
#define PORT_SESSION_END     0x0000410fffffffffull
#define PORT_DIRECT_MAP_BASE 0x0000480000000000ull
#define PORT_DIRECT_MAP_SIZE 0x0000080000000000ull
#endif

#define PORT_MAXIMUM_PROCESSORS 64
#define PORT_MAXIMUM_NODES      16

#if NTMM_ASAN || NTMM_TSAN
#define PORT_STACK_SCALE 4u
#else
#define PORT_STACK_SCALE 1u
#endif

/*
 * The run of PortFillTbForWriter whose dirty bits are late: the frame of its page table (0: there is none), and the top-level page of its space, which is
 * written before.
 */
typedef struct _PORT_WRITER
{
    volatile unsigned long long Table, Space;
} PORT_WRITER;

extern PORT_WRITER PortWriter;

/* Whether dirty bits in this page table may be late. By somebody who has its lock, or keeps faults out of its space. */
static inline int PortIsTableOfWriter(unsigned long long Table)
{
    return __atomic_load_n(&PortWriter.Table, __ATOMIC_ACQUIRE) == Table;
}

static inline int PortIsSpaceOfWriter(unsigned long long TopLevel)
{
    return __atomic_load_n(&PortWriter.Table, __ATOMIC_ACQUIRE) != 0 &&
           __atomic_load_n(&PortWriter.Space, __ATOMIC_RELAXED) == TopLevel;
}

struct _KTHREAD;

extern _Thread_local struct _KTHREAD *PortCurrentThread __attribute__((tls_model("initial-exec")));

static inline struct _KTHREAD *PortGetCurrentThread(void)
{
    return PortCurrentThread;
}

static inline void PortSetCurrentThread(struct _KTHREAD *Thread)
{
    PortCurrentThread = Thread;
}

/*
 * DISPATCH_LEVEL by a bias (dispatch.c): PortDispatchInside is the processor number + 1 inside which the calling thread is by its bias, 0: none. Written by
 * the thread alone. PortDispatchBias has, for each processor, the PortDispatchInside of the thread that may go by it, or a null pointer.
 */
typedef struct _PORT_DISPATCH_BIAS
{
    volatile unsigned *volatile Inside;
    unsigned long long Padding[7];
} PORT_DISPATCH_BIAS;

extern PORT_DISPATCH_BIAS PortDispatchBias[PORT_MAXIMUM_PROCESSORS];
extern _Thread_local volatile unsigned PortDispatchInside __attribute__((tls_model("initial-exec")));

static inline int PortTryEnterDispatch(unsigned Processor)
{
    if (__builtin_expect(
            __atomic_load_n(&PortDispatchBias[Processor].Inside, __ATOMIC_RELAXED) != &PortDispatchInside, 0))
    {
        return 0;
    }
    __atomic_store_n(&PortDispatchInside, Processor + 1, __ATOMIC_RELAXED);
    __atomic_signal_fence(__ATOMIC_SEQ_CST); /* the membarrier of who takes the bias makes a fence of it */
    if (__builtin_expect(
            __atomic_load_n(&PortDispatchBias[Processor].Inside, __ATOMIC_RELAXED) == &PortDispatchInside, 1))
    {
        return 1;
    }
    __atomic_store_n(&PortDispatchInside, 0, __ATOMIC_RELEASE);
    return 0;
}

static inline void PortLeaveTriedDispatch(void)
{
    __atomic_store_n(&PortDispatchInside, 0, __ATOMIC_RELEASE);
}

static inline int PortTryLeaveDispatch(void)
{
    if (__builtin_expect(PortDispatchInside == 0, 0))
    {
        return 0;
    }
    PortLeaveTriedDispatch();
    return 1;
}

/*
 * The way into a system service. PORT_SERVICE_ENTRY(Name, Body) defines the function Name with the parameters of Body, at most six in
 * registers and PORT_SERVICE_STACK_ARGUMENTS on the stack. It is a jump, unless the calling thread's stack lies in NT
 * memory: the kernel does not run on pageable memory of one address space, so Body is then called on the thread's Linux stack, as a
 * processor changes to the kernel stack at a system call (service.c).
 */
#define PORT_SERVICE_STACK_ARGUMENTS 10

typedef struct _PORT_SERVICE_STACK
{
    unsigned long long Low, High; /* the stack in NT memory; High == 0: the thread has none */
    unsigned long long Host;      /* 16-byte aligned, everything below is free */
} PORT_SERVICE_STACK;

extern _Thread_local PORT_SERVICE_STACK PortServiceStack __attribute__((tls_model("initial-exec")));

#define PORT_SERVICE_ENTRY(Name, Body)                                                                       \
    __asm__(".text\n"                                                                                        \
            ".p2align 4\n"                                                                                   \
            ".globl " #Name "\n"                                                                             \
            ".type " #Name ",@function\n" #Name ":\n"                                                        \
            "    .cfi_startproc\n"                                                                           \
            "    movq PortServiceStack@gottpoff(%rip), %rax\n"                                               \
            "    cmpq $0, %fs:8(%rax)\n"                                                                     \
            "    je " #Body "\n"                                                                             \
            "    leaq " #Body "(%rip), %r11\n"                                                               \
            "    jmp PortEnterService\n"                                                                     \
            "    .cfi_endproc\n"                                                                             \
            ".size " #Name ", .-" #Name "\n");

/* For the definition of Body: only the assembler refers to it. */
#define PORT_SERVICE_BODY __attribute__((used, visibility("hidden")))

static inline void PortPause(void)
{
    __builtin_ia32_pause();
}

#endif
