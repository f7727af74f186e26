/* SPDX-License-Identifier: MIT */
/*
 * Tests a driver on Linux: boots a machine, puts the driver's device behind physical addresses, starts the driver, and lets a user-mode
 * process make requests, good and bad ones, from a buffer larger than the machine's free memory allows to keep. Then the
 * same with a driver that forgets to free a receipt. Driver Verifier watches: it tracks the driver's pool and reports what is left with
 * whoever allocated it, and makes pageable memory inaccessible whenever the driver raises IRQL. The driver is a
 * shared object whose whole pages are NT's; those of its section PAGE may be paged out.
 */
#include "counter.h"

#include <ntmm.h>

#include <stdio.h>
#include <string.h>

#define NUMBERS ((SIZE_T)1 << 20)

/* ---- The device: registers that add up what is in the window ---- */

static PULONG Window;
static ULONG Registers[8];

static ULONG64 ReadDevice(PVOID Context, ULONG64 Offset, ULONG Bytes)
{
    (void)Context;
    if (Bytes != sizeof(ULONG) || Offset >= sizeof(Registers))
    {
        return ~0ull;
    }
    return Offset == COUNTER_REGISTER_IDENTITY ? COUNTER_IDENTITY : Registers[Offset / sizeof(ULONG)];
}

static VOID WriteDevice(PVOID Context, ULONG64 Offset, ULONG Bytes, ULONG64 Value)
{
    ULONG64 Sum = 0;

    (void)Context;
    if (Bytes != sizeof(ULONG) || Offset >= sizeof(Registers))
    {
        return;
    }
    Registers[Offset / sizeof(ULONG)] = (ULONG)Value;
    if (Offset == COUNTER_REGISTER_GO)
    {
        for (ULONG Index = 0; Index < Registers[COUNTER_REGISTER_LENGTH / 4] / sizeof(ULONG); Index++)
        {
            Sum += Window[Index];
        }
        Registers[COUNTER_REGISTER_SUM / 4] = (ULONG)Sum;
        Registers[COUNTER_REGISTER_SUM_HIGH / 4] = (ULONG)(Sum >> 32);
    }
}

static NTSTATUS AddDevices(void)
{
    NTMM_DEVICE Block = { .Size = sizeof(Block),
                          .PhysicalAddress = COUNTER_REGISTERS_AT,
                          .Bytes = PAGE_SIZE,
                          .Read = ReadDevice,
                          .Write = WriteDevice };
    NTMM_DEVICE Memory = { .Size = sizeof(Memory),
                           .PhysicalAddress = COUNTER_WINDOW_AT,
                           .Bytes = COUNTER_WINDOW_BYTES };
    NTSTATUS Status = NtmmAddDevice(&Block, NULL);

    return NT_SUCCESS(Status) ? NtmmAddDevice(&Memory, (PVOID *)&Window) : Status;
}

/* ---- The program: user-mode code of a process ---- */

static int Failures;

#define EXPECT(Expression)                                                                                   \
    ((Expression) ? (void)0                                                                                  \
                  : (void)(Failures++, fprintf(stderr, "driver: line %d: %s\n", __LINE__, #Expression)))

static NTSTATUS Control(PVOID Request)
{
    return CounterControl(Request);
}

static NTSTATUS Program(PVOID Context)
{
    SIZE_T Size = NUMBERS * sizeof(ULONG) + PAGE_SIZE;
    PVOID Base = NULL;
    PCOUNTER_REQUEST Request; /* user memory, too: the stack is Linux's, and no driver would take it */
    ULONG64 Expected = 0;
    PULONG Numbers;

    (void)Context;
    EXPECT(NT_SUCCESS(NtAllocateVirtualMemory(NtCurrentProcess(), &Base, 0, &Size, MEM_RESERVE | MEM_COMMIT,
                                              PAGE_READWRITE)));
    Numbers = Base;
    Request = (PCOUNTER_REQUEST)(PVOID)&Numbers[NUMBERS];
    for (SIZE_T Index = 0; Index < NUMBERS; Index++)
    {
        Numbers[Index] = (ULONG)(Index * 2654435761u);
    }
    /* Pieces that begin and end anywhere inside pages. */
    for (SIZE_T First = 3; First + 40000 < NUMBERS; First += 40001)
    {
        Expected = 0;
        for (SIZE_T Index = 0; Index < 40000; Index++)
        {
            Expected += Numbers[First + Index];
        }
        *Request = (COUNTER_REQUEST){ .Buffer = &Numbers[First], .Length = 40000 * sizeof(ULONG) };
        EXPECT(NtmmCallKernel(Control, Request) == STATUS_SUCCESS);
        EXPECT(Request->Sum == Expected);
    }
    /* What a driver must survive. */
    *Request = (COUNTER_REQUEST){ .Buffer = (PUCHAR)Base + 4 * Size, .Length = 4096 };
    EXPECT(NtmmCallKernel(Control, Request) == STATUS_ACCESS_VIOLATION);
    *Request = (COUNTER_REQUEST){ .Buffer = Base, .Length = 3 };
    EXPECT(NtmmCallKernel(Control, Request) == STATUS_INVALID_BUFFER_SIZE);
    EXPECT(NtmmCallKernel(Control, NULL) == STATUS_ACCESS_VIOLATION);
    return STATUS_SUCCESS;
}

/* ---- The test ---- */

/* The verifier's report names each block and the calls that led to it; the tags tell the sum. */
static VOID ReportLeaks(ULONG64 Blocks)
{
    static NTMM_POOL_TAG Tags[NTMM_MAXIMUM_POOL_TAGS];
    ULONG Count = 0;
    ULONG Leaks = 0;

    NtmmQueryPoolTags(Tags, NTMM_MAXIMUM_POOL_TAGS, &Count);
    for (ULONG Index = 0; Index < Count && Index < NTMM_MAXIMUM_POOL_TAGS; Index++)
    {
        if (memcmp(Tags[Index].Tag, "Cn", 2) == 0 && Tags[Index].Blocks != 0)
        {
            Leaks++;
            printf(
                "driver: LEAK: %llu blocks (%llu bytes) with tag '%s' are left: %llu allocated, %llu freed\n",
                Tags[Index].Blocks, Tags[Index].Bytes, Tags[Index].Tag, Tags[Index].Allocations,
                Tags[Index].Frees);
        }
    }
    if (Leaks == 0 && Blocks == 0)
    {
        printf("driver: nothing of its pool is left\n");
    }
}

static NTSTATUS TestDriver(BOOLEAN Leaky)
{
    COUNTER_STATISTICS Statistics;
    NTSTATUS ExitStatus = STATUS_UNSUCCESSFUL;
    NTMM_VERIFIER Verifier = { .Size = sizeof(Verifier),
                               .Flags = NTMM_VERIFIER_FORCE_IRQL | NTMM_VERIFIER_TRACK_POOL |
                                        NTMM_VERIFIER_MISCELLANEOUS };
    PNTMM_DRIVER Driver;
    ULONG64 Blocks = 0;
    PEPROCESS Process;
    NTSTATUS Status = NtmmLoadDriver("counter", (const VOID *)(ULONG_PTR)CounterStart,
                                     NTMM_DRIVER_VERIFY | NTMM_DRIVER_PAGEABLE, &Driver);

    Status = NT_SUCCESS(Status) ? NtmmSetVerifier(&Verifier) : Status;
    Status = NT_SUCCESS(Status) ? CounterStart(Leaky) : Status;
    if (!NT_SUCCESS(Status))
    {
        fprintf(stderr, "driver: %s\n", NtmmLastMessage());
        return Status;
    }
    Status = NtmmCreateProcess("counter-test", &Process);
    if (NT_SUCCESS(Status))
    {
        Status = NtmmRun(Process, Program, NULL, &ExitStatus);
        NtmmCloseProcess(Process);
    }
    Statistics = CounterQueryStatistics();
    printf("driver: %u requests, %llu bytes through the device, %u refused\n", Statistics.Requests,
           Statistics.Bytes, Statistics.Failed);
    CounterStop();
    fflush(stdout);
    EXPECT(NT_SUCCESS(NtmmUnloadDriver(Driver, &Blocks)));
    EXPECT(NT_SUCCESS(NtmmSetVerifier(NULL)));
    ReportLeaks(Blocks);
    EXPECT(Leaky == (Blocks != 0));
    return NT_SUCCESS(Status) ? ExitStatus : Status;
}

int main(int Count, char **Arguments)
{
    NTMM_PARAMETERS Parameters = { .Size = sizeof(Parameters),
                                   .RamBytes = 8 << 20,
                                   .PagingFileCount = 1,
                                   .PagingFiles = { { "\\\\.\\Memory\\driver", 16 << 20, 0 } } };
    BOOLEAN Leaky = Count > 1 && strcmp(Arguments[1], "--leak") == 0;
    CHAR Text[128];
    NTSTATUS Status = NtmmBoot(&Parameters);

    if (NT_SUCCESS(Status))
    {
        Status = AddDevices();
    }
    if (!NT_SUCCESS(Status))
    {
        fprintf(stderr, "driver: %s\n", NtmmLastMessage());
        return 1;
    }
    Status = TestDriver(Leaky);
    printf("driver: %s, %d failed expectations\n", NtmmFormatStatus(Status, Text, sizeof(Text)), Failures);
    if (Leaky)
    {
        return 0; /* the machine would not shut down with blocks of a driver left; the report is the point */
    }
    return NT_SUCCESS(NtmmShutdown()) && NT_SUCCESS(Status) && Failures == 0 ? 0 : 1;
}
