/* SPDX-License-Identifier: MIT */
/*
 * The heap's ground on plain Linux: anonymous memory, a futex, the kernel's random numbers.
 *
 * Reserved address space is PROT_NONE and costs nothing; commit opens it; decommit gives the memory back with
 * MADV_DONTNEED and leaves the range open, so that the next touch is an ordinary page fault and no further call.
 */
#include "heap/ground.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* <unistd.h> declares it for programs that ask for GNU extensions; it is the same variable everywhere. */
extern char **environ;

#ifndef MAP_NORESERVE
#error "this file is for Linux"
#endif

static PVOID RtlpLinuxReserve(SIZE_T Size, SIZE_T Alignment)
{
    const int Kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    const SIZE_T Page = 4096;
    const SIZE_T Slack = Alignment > Page ? Alignment - Page : 0;
    PUCHAR Start = mmap(NULL, Size + Slack, PROT_NONE, Kind, -1, 0);

    if (Start == MAP_FAILED)
    {
        return NULL;
    }

    PUCHAR Aligned = (PUCHAR)(((ULONG_PTR)Start + Slack) & ~(Alignment - 1));

    if (Slack == 0)
    {
        return Start;
    }

    if (Aligned != Start)
    {
        (void)munmap(Start, (SIZE_T)(Aligned - Start));
    }

    if (Aligned + Size != Start + Size + Slack)
    {
        (void)munmap(Aligned + Size, (SIZE_T)(Start + Slack - Aligned));
    }

    return Aligned;
}

static BOOLEAN RtlpLinuxCommit(PVOID Base, SIZE_T Size, BOOLEAN Executable)
{
    const int Saved = errno;
    const BOOLEAN Done = mprotect(Base, Size, PROT_READ | PROT_WRITE | (Executable ? PROT_EXEC : 0)) == 0;

    errno = Saved;

    return Done;
}

static VOID RtlpLinuxDecommit(PVOID Base, SIZE_T Size, BOOLEAN Seal)
{
    const int Saved = errno;

    if (Seal)
    {
        const int Kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;

        if (mmap(Base, Size, PROT_NONE, Kind, -1, 0) == MAP_FAILED)
        {
            /* Too many mappings: give the memory back at least. */
            (void)madvise(Base, Size, MADV_DONTNEED);
        }
    }
    else if (madvise(Base, Size, MADV_DONTNEED) != 0)
    {
        /* Locked pages (mlockall) cannot be dropped; the heap counts on zeroes. */
        memset(Base, 0, Size);
    }

    errno = Saved;
}

static VOID RtlpLinuxRelease(PVOID Base, SIZE_T Size)
{
    const int Saved = errno;

    (void)munmap(Base, Size);
    errno = Saved;
}

static SIZE_T RtlpLinuxQueryPageSize(VOID)
{
    return 4096;
}

const HEAP_PAGE_OPERATIONS RtlpLinuxPageOperations = {
    .Reserve = RtlpLinuxReserve,
    .Commit = RtlpLinuxCommit,
    .Decommit = RtlpLinuxDecommit,
    .Release = RtlpLinuxRelease,
    .QueryPageSize = RtlpLinuxQueryPageSize,
    .CommitOnTouch = TRUE,
};

BOOLEAN RtlpGroundMove(PVOID From, PVOID To, SIZE_T Size)
{
    const int Saved = errno;
    PVOID Moved = mremap(From, Size, Size, MREMAP_MAYMOVE | MREMAP_FIXED, To);

    if (Moved == MAP_FAILED)
    {
        errno = Saved;
        return FALSE;
    }

    /* The old range is a hole now. It must stay ours: another mapping would land in the middle of the arena. */
    if (mmap(From, Size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) ==
        MAP_FAILED)
    {
        RtlpGroundPrint("ntheap: the address space of a moved block is lost\n");
        RtlpGroundAbort(STATUS_NO_MEMORY);
    }

    errno = Saved;

    return TRUE;
}

VOID RtlpGroundWait(ULONG *Address, ULONG Value)
{
    const int Saved = errno;

    (void)syscall(SYS_futex, Address, FUTEX_WAIT_PRIVATE, Value, NULL, NULL, 0);
    errno = Saved;
}

VOID RtlpGroundWake(ULONG *Address)
{
    const int Saved = errno;

    (void)syscall(SYS_futex, Address, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    errno = Saved;
}

ULONG64 RtlpGroundMilliseconds(VOID)
{
    struct timespec Now;

    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &Now);

    return (ULONG64)Now.tv_sec * 1000 + (ULONG64)Now.tv_nsec / 1000000;
}

ULONG64 RtlpGroundEntropy(VOID)
{
    const int Saved = errno;
    ULONG64 Bits = 0;

    if (getrandom(&Bits, sizeof(Bits), GRND_NONBLOCK) != (ssize_t)sizeof(Bits))
    {
        /* Early boot: the clock and the layout of the address space are what there is. */
        struct timespec Now;

        (void)clock_gettime(CLOCK_MONOTONIC, &Now);
        Bits = ((ULONG64)Now.tv_nsec << 32) ^ (ULONG64)Now.tv_sec ^ (ULONG_PTR)&Bits;
    }

    errno = Saved;

    return Bits;
}

ULONG_PTR RtlpGroundThread(VOID)
{
    /* The address of a thread's own variable names the thread, also after fork, and costs no system call. */
    static __thread UCHAR Identity;

    return (ULONG_PTR)&Identity;
}

ULONG RtlpGroundProcessors(VOID)
{
    ULONG64 Mask[16] = { 0 };
    ULONG Count = 0;
    const int Saved = errno;

    /* sysconf allocates in some C libraries; the system call does not. */
    if (syscall(SYS_sched_getaffinity, 0, sizeof(Mask), Mask) > 0)
    {
        for (ULONG Index = 0; Index < 16; Index += 1)
        {
            Count += (ULONG)__builtin_popcountll(Mask[Index]);
        }
    }

    errno = Saved;

    return Count != 0 ? Count : 1;
}

static ULONG64 RtlpOptionValue(const char *Entry, const char *Name, SIZE_T Length)
{
    return strncmp(Entry, Name, Length) == 0 && Entry[Length] == '=' ? strtoull(Entry + Length + 1, NULL, 0)
                                                                     : 0;
}

ULONG64 RtlpGroundOption(const char *Name)
{
    const SIZE_T Length = strlen(Name);
    ULONG64 Value = 0;

    if (environ != NULL)
    {
        for (char **Entry = environ; *Entry != NULL && Value == 0; Entry += 1)
        {
            Value = RtlpOptionValue(*Entry, Name, Length);
        }

        return Value;
    }

    /* The dynamic linker allocates before the C library has its environment. */
    static char Text[65536];
    const int File = open("/proc/self/environ", O_RDONLY | O_CLOEXEC);

    if (File >= 0)
    {
        const ssize_t Size = read(File, Text, sizeof(Text) - 1);

        for (ssize_t At = 0; At < Size && Value == 0; At += (ssize_t)strlen(Text + At) + 1)
        {
            Value = RtlpOptionValue(Text + At, Name, Length);
        }

        (void)close(File);
    }

    return Value;
}

VOID RtlpGroundPrint(const char *Text)
{
    const int Saved = errno;
    const ssize_t Written = write(STDERR_FILENO, Text, strlen(Text));

    (void)Written;
    errno = Saved;
}

VOID RtlpGroundSetProcessHeap(PVOID Heap)
{
    UNREFERENCED_PARAMETER(Heap);
}

VOID RtlpGroundRaise(NTSTATUS Status)
{
    RtlpGroundPrint(
        "ntheap: unhandled exception STATUS_NO_MEMORY (0xc0000017) of a heap with HEAP_GENERATE_EXCEPTIONS\n");
    RtlpGroundAbort(Status);
}

DECLSPEC_NORETURN VOID RtlpGroundAbort(NTSTATUS Status)
{
    UNREFERENCED_PARAMETER(Status);
    abort();
}
