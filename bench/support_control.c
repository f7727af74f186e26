/* SPDX-License-Identifier: MIT */
/*
 * Two sides to measure faults against (support_pair.h). The control touches memory as a fault does: one line of the page, the page's descriptor
 * under a lock in it, the entry that maps it, and computes meanwhile for about as long as the fault's instructions take. Each processor's half has
 * descriptors, entries and pages of its own: nothing is shared. The other side is Linux: first touches of anonymous memory.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "support_machine.h"
#include "support_pair.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define COMPUTING 32u

/* A frame's descriptor, of the size of the kernel's. */
typedef struct
{
    ULONG64 Words[4];
} DESCRIPTOR;

static struct
{
    ULONG Pages;
    ULONG *Order;
    UCHAR *Memory;
    DESCRIPTOR *Descriptors;
    ULONG64 *Entries;
    volatile ULONG64 Sink;
} Control;

static void ControlBegin(PVOID Context, ULONG Pages)
{
    SIZE_T Bytes = (SIZE_T)Pages << PAGE_SHIFT;

    UNREFERENCED_PARAMETER(Context);
    Control.Pages = Pages;
    Control.Order = malloc(Pages * sizeof(*Control.Order));
    Control.Descriptors = aligned_alloc(PAGE_SIZE, Pages * sizeof(*Control.Descriptors));
    Control.Entries = aligned_alloc(PAGE_SIZE, Pages * sizeof(*Control.Entries));
    Control.Memory = mmap(NULL, Bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    BENCH_CHECK(Control.Order != NULL && Control.Descriptors != NULL && Control.Entries != NULL &&
                        Control.Memory != MAP_FAILED
                    ? STATUS_SUCCESS
                    : STATUS_NO_MEMORY);
    for (ULONG Index = 0; Index < Pages; Index++)
    {
        Control.Order[Index] = Index;
    }
    BenchShuffle(Control.Order, Pages / 2);
    BenchShuffle(Control.Order + Pages / 2, Pages / 2);
}

static void ControlEnd(PVOID Context)
{
    UNREFERENCED_PARAMETER(Context);
    munmap(Control.Memory, (SIZE_T)Control.Pages << PAGE_SHIFT);
    free(Control.Entries);
    free(Control.Descriptors);
    free(Control.Order);
}

/* As freeing, zeroing and trimming do. */
static void ControlPrepare(PVOID Context, BENCH_PAIR_KIND Kind)
{
    UNREFERENCED_PARAMETER(Context);
    for (ULONG Index = 0; Index < Control.Pages; Index++)
    {
        ULONG Page = Control.Order[Index];

        if (Kind == BenchPairZero)
        {
            memset(Control.Memory + ((SIZE_T)Page << PAGE_SHIFT), 0, PAGE_SIZE);
        }
        Control.Descriptors[Page] = (DESCRIPTOR){ { Index, 0, 0, 0 } };
        Control.Entries[Index] = 0;
    }
}

/* Each step begins when the one before is over. */
static void ControlWork(PVOID Context, BENCH_PAIR_KIND Kind, ULONG First, ULONG Count)
{
    ULONG64 Last = 0;

    UNREFERENCED_PARAMETER(Context);
    for (ULONG Index = First; Index < First + Count; Index++)
    {
        ULONG Page = Control.Order[Index];
        DESCRIPTOR *Descriptor = &Control.Descriptors[Page];
        volatile UCHAR *Byte;

        __atomic_fetch_or(&Descriptor->Words[3], 1 + Last, __ATOMIC_ACQUIRE);
        Descriptor->Words[1] = (ULONG64)(ULONG_PTR)&Control.Entries[Index];
        __atomic_store_n(&Control.Entries[Index], Page, __ATOMIC_RELEASE);
        __atomic_fetch_and(&Descriptor->Words[3], ~1ull, __ATOMIC_RELEASE);
        Byte = Control.Memory + ((SIZE_T)Page << PAGE_SHIFT);
        Last = *Byte;
        if (Kind == BenchPairZero)
        {
            *Byte = (UCHAR)Last;
        }
        for (ULONG Turn = 0; Turn < COMPUTING; Turn++)
        {
            Last ^= Last << 13; /* 0 stays 0: time that depends on what was read */
            Last ^= Last >> 7;
            Last ^= Last << 17;
        }
    }
    if (Last != 0)
    {
        Control.Sink = Last;
    }
}

void BenchControl(BENCH_PAIR_SIDE *Side)
{
    *Side = (BENCH_PAIR_SIDE){ .Name = "control",
                               .Kinds = 2,
                               .Begin = ControlBegin,
                               .End = ControlEnd,
                               .Prepare = ControlPrepare,
                               .Work = ControlWork };
}

/* ---- Linux ------------------------------------------------------------------------------------------------------ */

static struct
{
    SIZE_T Bytes;
    char *Memory;
} Linux;

static void LinuxBegin(PVOID Context, ULONG Pages)
{
    UNREFERENCED_PARAMETER(Context);
    Linux.Bytes = (SIZE_T)Pages << PAGE_SHIFT;
    Linux.Memory = NULL;
}

static void LinuxEnd(PVOID Context)
{
    UNREFERENCED_PARAMETER(Context);
    munmap(Linux.Memory, Linux.Bytes);
}

static void LinuxPrepare(PVOID Context, BENCH_PAIR_KIND Kind)
{
    UNREFERENCED_PARAMETER(Kind);
    if (Linux.Memory != NULL)
    {
        LinuxEnd(Context);
    }
    Linux.Memory =
        mmap(NULL, Linux.Bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    BENCH_CHECK(Linux.Memory != MAP_FAILED ? STATUS_SUCCESS : STATUS_NO_MEMORY);
    madvise(Linux.Memory, Linux.Bytes, MADV_NOHUGEPAGE);
}

static void LinuxWork(PVOID Context, BENCH_PAIR_KIND Kind, ULONG First, ULONG Count)
{
    volatile char *Memory = Linux.Memory;

    UNREFERENCED_PARAMETER(Context);
    UNREFERENCED_PARAMETER(Kind);
    for (ULONG Page = First; Page < First + Count; Page++)
    {
        Memory[(SIZE_T)Page << PAGE_SHIFT] = 1;
    }
}

void BenchLinux(BENCH_PAIR_SIDE *Side)
{
    *Side = (BENCH_PAIR_SIDE){ .Name = "Linux",
                               .Kinds = 1,
                               .Begin = LinuxBegin,
                               .End = LinuxEnd,
                               .Prepare = LinuxPrepare,
                               .Work = LinuxWork };
}
