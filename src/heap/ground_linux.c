/* SPDX-License-Identifier: MIT */
/*
 * The heap's ground on plain Linux: anonymous memory, a futex, the kernel's random numbers.
 *
 * Reserved address space is PROT_NONE and costs nothing; commit opens it; decommit gives the memory back with
 * MADV_DONTNEED and leaves the range open, so that the next touch is an ordinary page fault and no further call.
 * System calls are made directly: errno stays as it is, and a small program does not get the pages of the C library that
 * hold its wrappers (64 KiB at a time come with the first touch).
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

/* The result, or the negative error number. */
static long RtlpSystemCall(long Number, ULONG_PTR A, ULONG_PTR B, ULONG_PTR C, ULONG_PTR D, ULONG_PTR E)
{
#if defined(__x86_64__)
    long Result;
    register ULONG_PTR R10 __asm__("r10") = D;
    register ULONG_PTR R8 __asm__("r8") = E;
    register ULONG_PTR R9 __asm__("r9") = 0;

    __asm__ volatile("syscall"
                     : "=a"(Result)
                     : "a"(Number), "D"(A), "S"(B), "d"(C), "r"(R10), "r"(R8), "r"(R9)
                     : "rcx", "r11", "memory");
#else
    const int Saved = errno;
    long Result = syscall(Number, A, B, C, D, E, 0);

    if (Result == -1)
    {
        Result = -errno;
        errno = Saved;
    }
#endif

    return Result;
}

/* Anonymous memory; NULL if there is none. Place: NULL, or what it replaces. */
static PVOID RtlpMapMemory(PVOID Place, SIZE_T Size, int Protection)
{
    const int Kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (Place != NULL ? MAP_FIXED : 0);
    const long Result = RtlpSystemCall(SYS_mmap, (ULONG_PTR)Place, Size, (ULONG_PTR)Protection,
                                       (ULONG_PTR)Kind, (ULONG_PTR)-1);

    return Result < 0 && Result > -4096 ? NULL : (PVOID)Result;
}

static VOID RtlpLinuxRelease(PVOID Base, SIZE_T Size)
{
    (void)RtlpSystemCall(SYS_munmap, (ULONG_PTR)Base, Size, 0, 0, 0);
}

static PVOID RtlpLinuxReserve(SIZE_T Size, SIZE_T Alignment)
{
    const SIZE_T Page = 4096;
    const SIZE_T Slack = Alignment > Page ? Alignment - Page : 0;
    PUCHAR Start = RtlpMapMemory(NULL, Size + Slack, PROT_NONE);

    if (Start == NULL)
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
        RtlpLinuxRelease(Start, (SIZE_T)(Aligned - Start));
    }

    if (Aligned + Size != Start + Size + Slack)
    {
        RtlpLinuxRelease(Aligned + Size, (SIZE_T)(Start + Slack - Aligned));
    }

    return Aligned;
}

static BOOLEAN RtlpLinuxCommit(PVOID Base, SIZE_T Size, BOOLEAN Executable)
{
    const ULONG_PTR Protection = PROT_READ | PROT_WRITE | (Executable ? PROT_EXEC : 0);

    return RtlpSystemCall(SYS_mprotect, (ULONG_PTR)Base, Size, Protection, 0, 0) == 0;
}

static VOID RtlpLinuxDecommit(PVOID Base, SIZE_T Size, BOOLEAN Seal)
{
    if (Seal && RtlpMapMemory(Base, Size, PROT_NONE) != NULL)
    {
        return;
    }

    /* Not to be sealed, or too many mappings: give the memory back at least. */
    if (RtlpSystemCall(SYS_madvise, (ULONG_PTR)Base, Size, MADV_DONTNEED, 0, 0) != 0 && !Seal)
    {
        /* Locked pages (mlockall) cannot be dropped; the heap counts on zeroes. */
        memset(Base, 0, Size);
    }
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

/*
 * Of the first move: what its pages cost at their next use, in nanoseconds each. A walk through cold page tables takes some hundred, a
 * visit to a hypervisor three thousand. Of four groups of pages the quickest counts, as the processor may be taken away meanwhile.
 */
#define HEAP_MOVE_GROUPS 4
#define HEAP_MOVE_GROUP  8
#define HEAP_MOVE_COST   1000

ULONG RtlpGroundMoves;

/* By the system call: the C library's way reads the processor's clock, which a program may be forbidden. */
static ULONG64 RtlpNanoseconds(VOID)
{
    struct timespec Now = { 0 };

    (void)RtlpSystemCall(SYS_clock_gettime, CLOCK_MONOTONIC, (ULONG_PTR)&Now, 0, 0, 0);

    return (ULONG64)Now.tv_sec * 1000000000 + (ULONG64)Now.tv_nsec;
}

static VOID RtlpJudgeMove(const VOID *Moved)
{
    const volatile UCHAR *Page = Moved;
    ULONG64 Least = MAXULONG64;
    ULONG64 Begin = RtlpNanoseconds();

    for (ULONG Group = 0; Group < HEAP_MOVE_GROUPS; Group += 1)
    {
        for (ULONG Index = 0; Index < HEAP_MOVE_GROUP; Index += 1, Page += RtlpLinuxQueryPageSize())
        {
            (void)*Page;
        }

        const ULONG64 End = RtlpNanoseconds();

        Least = End - Begin < Least ? End - Begin : Least;
        Begin = End;
    }

    __atomic_store_n(&RtlpGroundMoves,
                     Least > HEAP_MOVE_GROUP * HEAP_MOVE_COST ? HeapMovesDear : HeapMovesCheap,
                     __ATOMIC_RELAXED);
}

BOOLEAN RtlpGroundPagesAreDear(VOID)
{
    return __atomic_load_n(&RtlpGroundMoves, __ATOMIC_RELAXED) == HeapMovesDear;
}

BOOLEAN RtlpGroundMove(PVOID From, PVOID To, SIZE_T Size)
{
    const long Moved =
        RtlpSystemCall(SYS_mremap, (ULONG_PTR)From, Size, Size, MREMAP_MAYMOVE | MREMAP_FIXED, (ULONG_PTR)To);

    if (Moved != (long)(ULONG_PTR)To)
    {
        /* Whatever lay at To may be gone. A hole in From would mean that a part was moved, and its contents are lost. */
        if (RtlpSystemCall(SYS_msync, (ULONG_PTR)From, Size, MS_ASYNC, 0, 0) != 0 ||
            RtlpMapMemory(To, Size, PROT_READ | PROT_WRITE) == NULL)
        {
            RtlpGroundPrint("ntheap: no mappings are left to move a block\n");
            RtlpGroundAbort(STATUS_NO_MEMORY);
        }

        return FALSE;
    }

    /* The old range is a hole now. It must stay ours: another mapping would land in the middle of the arena. */
    if (RtlpMapMemory(From, Size, PROT_NONE) == NULL)
    {
        RtlpGroundPrint("ntheap: the address space of a moved block is lost\n");
        RtlpGroundAbort(STATUS_NO_MEMORY);
    }

    if (__atomic_load_n(&RtlpGroundMoves, __ATOMIC_RELAXED) == HeapMovesUnknown &&
        Size >= HEAP_MOVE_GROUPS * HEAP_MOVE_GROUP * RtlpLinuxQueryPageSize())
    {
        RtlpJudgeMove(To);
    }

    return TRUE;
}

VOID RtlpGroundTouch(PVOID Base, SIZE_T Size)
{
    /* Linux 5.14; where it is not known the pages come one by one. */
    (void)RtlpSystemCall(SYS_madvise, (ULONG_PTR)Base, Size, 23 /* MADV_POPULATE_WRITE */, 0, 0);
}

VOID RtlpGroundWait(ULONG *Address, ULONG Value)
{
    (void)RtlpSystemCall(SYS_futex, (ULONG_PTR)Address, FUTEX_WAIT_PRIVATE, Value, 0, 0);
}

VOID RtlpGroundWake(ULONG *Address)
{
    (void)RtlpSystemCall(SYS_futex, (ULONG_PTR)Address, FUTEX_WAKE_PRIVATE, 1, 0, 0);
}

VOID RtlpGroundPause(VOID)
{
    const struct timespec Time = { .tv_nsec = 50000 };

    (void)RtlpSystemCall(SYS_nanosleep, (ULONG_PTR)&Time, 0, 0, 0, 0);
}

VOID RtlpGroundYield(VOID)
{
    (void)RtlpSystemCall(SYS_sched_yield, 0, 0, 0, 0, 0);
}

ULONG64 RtlpGroundMilliseconds(VOID)
{
    struct timespec Now;

    (void)clock_gettime(CLOCK_MONOTONIC_COARSE, &Now);

    return (ULONG64)Now.tv_sec * 1000 + (ULONG64)Now.tv_nsec / 1000000;
}

ULONG64 RtlpGroundEntropy(VOID)
{
    ULONG64 Bits = 0;

    if (RtlpSystemCall(SYS_getrandom, (ULONG_PTR)&Bits, sizeof(Bits), GRND_NONBLOCK, 0, 0) !=
        (long)sizeof(Bits))
    {
        /* Early boot: the clock and the layout of the address space are what there is. */
        struct timespec Now;

        (void)clock_gettime(CLOCK_MONOTONIC, &Now);
        Bits = ((ULONG64)Now.tv_nsec << 32) ^ (ULONG64)Now.tv_sec ^ (ULONG_PTR)&Bits;
    }

    return Bits;
}

ULONG_PTR RtlpGroundThread(VOID)
{
    /* The address of a thread's own variable names the thread, also after fork, and costs no system call. */
    static __thread UCHAR Identity;

    return (ULONG_PTR)&Identity;
}

/* Threads in turn, and each for long: by processor, a thread that migrates would free all its blocks from far (measured). */
static __thread ULONG RtlpPart; /* 0: none yet */

ULONG RtlpGroundPart(VOID)
{
    static ULONG Parts; /* (atomic) */

    if (RtlpPart == 0)
    {
        RtlpPart = __atomic_add_fetch(&Parts, 1, __ATOMIC_RELAXED) | MINLONG;
    }

    return RtlpPart;
}

VOID RtlpGroundChangePart(VOID)
{
    RtlpPart = (RtlpPart + 1) | MINLONG;
}

ULONG RtlpGroundProcessors(VOID)
{
    ULONG64 Mask[16] = { 0 };
    ULONG Count = 0;

    /* sysconf allocates in some C libraries; the system call does not. */
    if (RtlpSystemCall(SYS_sched_getaffinity, 0, sizeof(Mask), (ULONG_PTR)Mask, 0, 0) > 0)
    {
        for (ULONG Index = 0; Index < 16; Index += 1)
        {
            Count += (ULONG)__builtin_popcountll(Mask[Index]);
        }
    }

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

static int RtlpKeptOutput = -1; /* the same file as standard error, for who closes that */

VOID RtlpGroundKeepOutput(VOID)
{
    RtlpKeptOutput = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100);
}

VOID RtlpGroundPrint(const char *Text)
{
    const int Saved = errno;

    if (write(STDERR_FILENO, Text, strlen(Text)) < 0 && errno == EBADF && RtlpKeptOutput >= 0)
    {
        const ssize_t Written = write(RtlpKeptOutput, Text, strlen(Text));

        (void)Written;
    }

    errno = Saved;
}

VOID RtlpGroundSetProcessHeap(PVOID Heap)
{
    UNREFERENCED_PARAMETER(Heap);
}

VOID RtlpGroundRaise(NTSTATUS Status)
{
    RtlpGroundPrint("ntheap: unhandled exception ");
    RtlpGroundPrint(Status == STATUS_NO_MEMORY          ? "STATUS_NO_MEMORY (0xc0000017)"
                    : Status == STATUS_BUFFER_TOO_SMALL ? "STATUS_BUFFER_TOO_SMALL (0xc0000023)"
                                                        : "STATUS_ACCESS_VIOLATION (0xc0000005)");
    RtlpGroundPrint(" of a heap call with HEAP_GENERATE_EXCEPTIONS\n");
    RtlpGroundAbort(Status);
}

DECLSPEC_NORETURN VOID RtlpGroundAbort(NTSTATUS Status)
{
    UNREFERENCED_PARAMETER(Status);
    abort();
}
