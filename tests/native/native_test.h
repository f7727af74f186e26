/* SPDX-License-Identifier: MIT */
/* What the tests of the embedding API share: a machine for each test, captured reports, memory in short. */
#ifndef NTMM_NATIVE_TEST_H
#define NTMM_NATIVE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ntmm.h"

#include "nt/ps.h"
#include "nt/psinfo.h"

#define MIB ((SIZE_T)1 << 20)

/* In a function that runs in an NT process: the line is its exit status. */
#define CHECK(Condition)                                                                                     \
    do                                                                                                       \
    {                                                                                                        \
        if (!(Condition))                                                                                    \
        {                                                                                                    \
            return (NTSTATUS)__LINE__;                                                                       \
        }                                                                                                    \
    } while (0)

static CHAR NativeText[65536]; /* what was printed since NativeBoot */
static SIZE_T NativeLength;

/* Also to standard error: a bug check ends the test, and its text must not go with it. */
static inline VOID NativePrint(PVOID Context, PCSTR Text, SIZE_T Length)
{
    (void)Context;
    fwrite(Text, 1, Length, stderr);
    if (Length < sizeof(NativeText) - NativeLength)
    {
        memcpy(NativeText + NativeLength, Text, Length);
        NativeLength += Length;
        NativeText[NativeLength] = 0;
    }
}

static inline VOID NativeForgetText(VOID)
{
    NativeLength = 0;
    NativeText[0] = 0;
}

/* PagingMegabytes 0: no paging file. */
static inline VOID NativeBoot(ULONG RamMegabytes, ULONG Processors, ULONG PagingMegabytes)
{
    NTMM_PARAMETERS Parameters = { .Size = sizeof(Parameters),
                                   .RamBytes = RamMegabytes * MIB,
                                   .Processors = Processors,
                                   .TimeSliceMicroseconds = 2000 };

    if (PagingMegabytes != 0)
    {
        Parameters.PagingFileCount = 1;
        Parameters.PagingFiles[0] = (NTMM_PAGING_FILE){ "\\\\.\\Memory\\page", PagingMegabytes * MIB, 0 };
    }
    NativeForgetText();
    NtmmSetOutput(NativePrint, NULL);
    if (NtmmBoot(&Parameters) != STATUS_SUCCESS)
    {
        fail_msg("boot: %s", NtmmLastMessage());
    }
}

static inline VOID NativeShutdown(VOID)
{
    if (NtmmShutdown() != STATUS_SUCCESS)
    {
        fail_msg("shutdown: %s", NtmmLastMessage());
    }
    NtmmSetOutput(NULL, NULL);
}

static inline PEPROCESS NativeProcess(PCSTR Name)
{
    PEPROCESS Process;

    assert_int_equal(NtmmCreateProcess(Name, &Process), STATUS_SUCCESS);
    return Process;
}

/* Routine succeeds in the process; else its status is the line of a CHECK. */
static inline VOID NativeRun(PEPROCESS Process, NTMM_ROUTINE *Routine, PVOID Context)
{
    NTSTATUS ExitStatus = STATUS_PENDING;

    assert_int_equal(NtmmRun(Process, Routine, Context, &ExitStatus), STATUS_SUCCESS);
    assert_int_equal(ExitStatus, STATUS_SUCCESS);
}

/* The same in a process of its own. */
static inline VOID NativeRunAlone(PCSTR Name, NTMM_ROUTINE *Routine, PVOID Context)
{
    PEPROCESS Process = NativeProcess(Name);

    NativeRun(Process, Routine, Context);
    NtmmCloseProcess(Process);
}

/* What block or page Number holds at Offset. */
static inline UCHAR NativeByte(ULONG Number, SIZE_T Offset)
{
    return (UCHAR)(Number * 31 + Offset * 7 + (Offset >> 12));
}

/* Of user-mode code: a clone of its process, which the caller dereferences. */
static inline NTSTATUS NativeClone(PEPROCESS *Clone)
{
    HANDLE Handle;
    NTSTATUS Status =
        NtCreateProcessEx(&Handle, PROCESS_ALL_ACCESS, NULL, NtCurrentProcess(), 0, NULL, NULL, NULL, 0);

    if (NT_SUCCESS(Status))
    {
        Status = ObReferenceObjectByHandle(Handle, 0, NULL, KernelMode, (PVOID *)Clone, NULL);
        NtClose(Handle);
    }
    return Status;
}

/* Of user-mode code: committed memory, or the process ends. */
static inline PVOID NativeAllocate(SIZE_T Bytes, ULONG Protect)
{
    PVOID Base = NULL;
    SIZE_T Size = Bytes;

    if (!NT_SUCCESS(
            NtAllocateVirtualMemory(NtCurrentProcess(), &Base, 0, &Size, MEM_RESERVE | MEM_COMMIT, Protect)))
    {
        NtmmExitProcess(STATUS_NO_MEMORY);
    }
    return Base;
}

static inline ULONG64 NativeCounter(PCSTR Identifier)
{
    static NTMM_STATISTICS Statistics;

    Statistics.Size = sizeof(Statistics);
    assert_int_equal(NtmmQueryStatistics(&Statistics), STATUS_SUCCESS);
    for (ULONG Index = 0; Index < Statistics.CounterCount; Index++)
    {
        if (strcmp(Statistics.Counters[Index].Identifier, Identifier) == 0)
        {
            return Statistics.Counters[Index].Value;
        }
    }
    fail_msg("no counter %s", Identifier);
    return 0;
}

/* By the process that calls. */
static inline SIZE_T NativeCommitted(void)
{
    VM_COUNTERS Counters;

    return NT_SUCCESS(NtQueryInformationProcess(NtCurrentProcess(), ProcessVmCounters, &Counters,
                                                sizeof(Counters), NULL))
               ? Counters.PagefileUsage
               : 0;
}

#endif
