/* SPDX-License-Identifier: MIT */
/*
 * What the host port must inline: the layout of the Linux process and the current thread. Sanitizers reserve
 * large parts of the address space for their shadow memory, so each of them gets windows of its own.
 */
#ifndef NTMM_PORT_HOST_INLINE_H
#define NTMM_PORT_HOST_INLINE_H

#if defined(__SANITIZE_ADDRESS__)
#define NTMM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NTMM_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define NTMM_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define NTMM_TSAN 1
#endif
#endif

#if defined(NTMM_TSAN)
/* TSan (x86-64): application memory is 0x1000-0x80_0000_0000 and 0x5500_0000_0000-0x5680_0000_0000. */
#define PORT_USER_LOWEST     0x0000000000010000ull
#define PORT_USER_HIGHEST    0x0000006fffffffffull
#define PORT_SYSTEM_START    0x0000558000000000ull
#define PORT_SYSTEM_END      0x000055ffffffffffull
#define PORT_DIRECT_MAP_BASE 0x0000560000000000ull
#define PORT_DIRECT_MAP_SIZE 0x0000007000000000ull
#elif defined(NTMM_ASAN)
/* ASan (x86-64): high application memory begins at 0x1000_7fff_8000. */
#define PORT_USER_LOWEST     0x0000100100000000ull
#define PORT_USER_HIGHEST    0x00003fffffffffffull
#define PORT_SYSTEM_START    0x0000400000000000ull
#define PORT_SYSTEM_END      0x000040ffffffffffull
#define PORT_DIRECT_MAP_BASE 0x0000480000000000ull
#define PORT_DIRECT_MAP_SIZE 0x0000080000000000ull
#elif defined(NTMM_LAYOUT_VALGRIND) && NTMM_LAYOUT_VALGRIND
/* Valgrind's client addresses end below 0x2000_0000_0000. */
#define PORT_USER_LOWEST     0x0000008000000000ull
#define PORT_USER_HIGHEST    0x000000ffffffffffull
#define PORT_SYSTEM_START    0x0000010000000000ull
#define PORT_SYSTEM_END      0x0000017fffffffffull
#define PORT_DIRECT_MAP_BASE 0x0000020000000000ull
#define PORT_DIRECT_MAP_SIZE 0x0000010000000000ull
#else
#define PORT_USER_LOWEST     0x0000000000010000ull
#define PORT_USER_HIGHEST    0x00003fffffffffffull
#define PORT_SYSTEM_START    0x0000400000000000ull
#define PORT_SYSTEM_END      0x000040ffffffffffull
#define PORT_DIRECT_MAP_BASE 0x0000480000000000ull
#define PORT_DIRECT_MAP_SIZE 0x0000080000000000ull
#endif

#define PORT_MAXIMUM_PROCESSORS 64

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

static inline void PortPause(void)
{
    __builtin_ia32_pause();
}

#endif
