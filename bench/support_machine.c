/* SPDX-License-Identifier: MIT */
/* Shared parts of the benchmarks: see support_machine.h. */
#include "support_machine.h"
#include "storage.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>

static KTHREAD BenchBootThread;

void BenchCheck(NTSTATUS Status, const char *Expression, const char *File, int Line)
{
    if (!NT_SUCCESS(Status))
    {
        fflush(stdout);
        fprintf(stderr, "%s:%d: %s: status %08x\n", File, Line, Expression, (unsigned)Status);
        exit(1);
    }
}

void *BenchEnter(ULONG Processor)
{
    KTHREAD *Thread = calloc(1, sizeof(*Thread));

    if (Thread == NULL)
    {
        fprintf(stderr, "bench: out of memory\n");
        exit(1);
    }
    KiAdoptCurrentThread(Thread, Processor);
    return Thread;
}

void BenchLeave(void *Thread)
{
    KiAbandonCurrentThread(Thread);
    free(Thread);
}

static PVOID BenchStorageStart(ULONG Index)
{
    UNREFERENCED_PARAMETER(Index);
    return BenchEnter(~0u);
}

static VOID BenchStorageStop(PVOID Thread)
{
    BenchLeave(Thread);
}

static void BenchCreatePagingFile(const BENCH_MACHINE *Machine)
{
    WCHAR Name[256];
    UNICODE_STRING String = { .Buffer = Name };
    SIZE_T Length = strlen(Machine->PagingFile);

    for (SIZE_T Index = 0; Index < Length && Index < 255; Index++)
    {
        Name[Index] = (UCHAR)Machine->PagingFile[Index];
        String.Length += (USHORT)sizeof(WCHAR);
    }
    String.MaximumLength = String.Length;
    BENCH_CHECK(MiCreatePagingFile(&String, Machine->PagingFileBytes, Machine->PagingFileBytes));
}

void BenchBoot(const BENCH_MACHINE *Machine)
{
    HOST_PARAMETERS Host = { .RamBytes = Machine->RamBytes,
                             .ProcessorCount = Machine->Processors,
                             .Deterministic = Machine->Deterministic,
                             .PopulateRam = Machine->PopulateRam };
    MM_BOOT_PARAMETERS Boot = { .Deterministic = Machine->Deterministic,
                                .NoWorkers = Machine->NoWorkers,
                                .Seed = 1 };

    BENCH_CHECK(HostInitializeMachine(&Host));
    if (Machine->Deterministic)
    {
        HostStorageSetDeterministic(TRUE, 1);
    }
    else
    {
        static const HOST_STORAGE_HOOKS Hooks = { BenchStorageStart, BenchStorageStop };
        HostStorageSetHooks(&Hooks);
    }
    BENCH_CHECK(MmInitializeSystem(&Boot, &BenchBootThread));
    if (Machine->PagingFile != NULL)
    {
        BenchCreatePagingFile(Machine);
    }
}

void BenchShutdown(void)
{
    MmShutdownSystem(&BenchBootThread);
    HostStorageSetDeterministic(FALSE, 0);
    HostShutdownMachine();
}

PEPROCESS BenchCreateProcess(const char *Name)
{
    PEPROCESS Process;

    BENCH_CHECK(PsCreateProcessObject(Name, &Process));
    return Process;
}

void BenchEndProcess(PEPROCESS Process)
{
    PsTerminateProcessObject(Process, STATUS_SUCCESS);
    ObDereferenceObjectBody(Process);
}

ULONG_PTR BenchAllocate(PEPROCESS Process, SIZE_T Pages)
{
    MI_ALLOCATION Allocation = { .Size = Pages << PAGE_SHIFT,
                                 .Type = MEM_RESERVE | MEM_COMMIT,
                                 .Protect = PAGE_READWRITE };

    BENCH_CHECK(MiAllocateVirtualMemory(&Process->Space, &Allocation));
    return Allocation.Base;
}

void BenchFree(PEPROCESS Process, ULONG_PTR Base)
{
    SIZE_T Size = 0;

    BENCH_CHECK(MiFreeVirtualMemory(&Process->Space, &Base, &Size, MEM_RELEASE));
}

double BenchNow(void)
{
    struct timespec Time;

    clock_gettime(CLOCK_MONOTONIC, &Time);
    return (double)Time.tv_sec + (double)Time.tv_nsec * 1e-9;
}

FILE *BenchOpenJson(const char *Name)
{
    const char *Folder = getenv("NTMM_BENCH_JSON");
    struct utsname System;
    char Path[512];
    FILE *Json;

    if (Folder == NULL)
    {
        Folder = "build/bench-results";
        mkdir("build", 0777);
    }
    mkdir(Folder, 0777);
    snprintf(Path, sizeof(Path), "%s/%s.json", Folder, Name);
    Json = fopen(Path, "w");
    if (Json == NULL)
    {
        fprintf(stderr, "bench: cannot write %s: %s (set NTMM_BENCH_JSON to a folder)\n", Path,
                strerror(errno));
        exit(1);
    }
    uname(&System);
    fprintf(Json, "{\n  \"bench\": \"%s\",\n  \"system\": \"%s %s\"", Name, System.sysname, System.release);
    return Json;
}

void BenchCloseJson(FILE *Json)
{
    fprintf(Json, "\n}\n");
    if (fclose(Json) != 0)
    {
        fprintf(stderr, "bench: writing the JSON result failed: %s\n", strerror(errno));
        exit(1);
    }
}
