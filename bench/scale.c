/* SPDX-License-Identifier: MIT */
/*
 * Scale: what regions cost when a process has 1,000 and 1,000,000 of them, what a process costs when there are 10 and 10,000, and what booting a
 * machine with 1 TiB of RAM costs while nobody touches it.
 */
#include "support_machine.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

typedef struct
{
    double Allocate; /* ns per operation */
    double Query;
    double Protect;
    double Free;
} REGION_COSTS;

static uint64_t Seed = 88172645463325252ull;

static uint64_t Random(void)
{
    Seed ^= Seed << 13;
    Seed ^= Seed >> 7;
    Seed ^= Seed << 17;
    return Seed * 0x2545F4914F6CDD1Dull;
}

static ULONG_PTR AllocateRegion(PEPROCESS Process, ULONG Type)
{
    MI_ALLOCATION Allocation = { .Size = 0x10000, .Type = Type, .Protect = PAGE_READWRITE };

    BENCH_CHECK(MiAllocateVirtualMemory(&Process->Space, &Allocation));
    return Allocation.Base;
}

/* Type: MEM_RESERVE, or with MEM_COMMIT: then page tables are promised, too. With Count regions there already: Operations random pairs of free and allocate, then queries, then protection changes of committed pages. */
static void MeasureRegions(SIZE_T Count, ULONG Type, REGION_COSTS *Costs)
{
    const SIZE_T Operations = 100000;
    PEPROCESS Process = BenchCreateProcess("regions");
    ULONG_PTR *Bases = malloc(Count * sizeof(ULONG_PTR));
    double Start;

    for (SIZE_T Index = 0; Index < Count; Index++)
    {
        Bases[Index] = AllocateRegion(Process, Type);
    }
    memset(Costs, 0, sizeof(*Costs));
    for (SIZE_T Index = 0; Index < Operations; Index++)
    {
        SIZE_T Victim = Random() % Count;
        double Middle;

        Start = BenchNow();
        BenchFree(Process, Bases[Victim]);
        Middle = BenchNow();
        Bases[Victim] = AllocateRegion(Process, Type);
        Costs->Allocate += BenchNow() - Middle;
        Costs->Free += Middle - Start;
    }
    Start = BenchNow();
    for (SIZE_T Index = 0; Index < Operations; Index++)
    {
        MEMORY_BASIC_INFORMATION Information;
        BENCH_CHECK(MiQueryBasicInformation(&Process->Space, Bases[Random() % Count] + 0x3000, &Information));
    }
    Costs->Query = (BenchNow() - Start) / (double)Operations * 1e9;
    Costs->Allocate *= 1e9 / (double)Operations;
    Costs->Free *= 1e9 / (double)Operations;
    free(Bases);
    BenchEndProcess(Process);
}

typedef struct
{
    double Create; /* ns */
    double Fault;
    double Delete;
    double Frames; /* per process, after one touched page */
} PROCESS_COSTS;

static void MeasureProcesses(SIZE_T Count, PROCESS_COSTS *Costs)
{
    PEPROCESS *Processes = malloc(Count * sizeof(PEPROCESS));
    ULONG_PTR *Bases = malloc(Count * sizeof(ULONG_PTR));
    PFN_NUMBER Available = MiAvailablePages();
    PHOST_SIM Simulated = HostCurrentSim();
    EXCEPTION_RECORD Record;
    double Start = BenchNow();

    for (SIZE_T Index = 0; Index < Count; Index++)
    {
        Processes[Index] = BenchCreateProcess("process");
        Bases[Index] = BenchAllocate(Processes[Index], 16);
    }
    Costs->Create = (BenchNow() - Start) / (double)Count * 1e9;
    Start = BenchNow();
    for (SIZE_T Index = 0; Index < Count; Index++)
    {
        KAPC_STATE Attached;

        KeStackAttachProcess((PRKPROCESS)Processes[Index], &Attached);
        BENCH_CHECK(HostSimTouch(Simulated, Bases[Index], PORT_FAULT_WRITE, &Record));
        KeUnstackDetachProcess(&Attached);
    }
    Costs->Fault = (BenchNow() - Start) / (double)Count * 1e9;
    Costs->Frames = (double)(Available - MiAvailablePages()) / (double)Count;
    Start = BenchNow();
    for (SIZE_T Index = 0; Index < Count; Index++)
    {
        BenchEndProcess(Processes[Index]);
    }
    Costs->Delete = (BenchNow() - Start) / (double)Count * 1e9;
    free(Processes);
    free(Bases);
}

static long ResidentKib(void)
{
    FILE *File = fopen("/proc/self/statm", "r");
    long Total = 0;
    long Resident = 0;

    if (File != NULL)
    {
        if (fscanf(File, "%ld %ld", &Total, &Resident) != 2)
        {
            Resident = 0;
        }
        fclose(File);
    }
    return Resident * (sysconf(_SC_PAGESIZE) / 1024);
}

int main(void)
{
    BENCH_MACHINE Machine = { .RamBytes = 1ull << 30, .Processors = 2, .NoWorkers = TRUE };
    BENCH_MACHINE Large = { .RamBytes = 1ull << 40, .Processors = 2, .NoWorkers = TRUE };
    REGION_COSTS Few, Many, FewCommitted, ManyCommitted;
    PROCESS_COSTS Ten, TenThousand, Warm;
    double Boot;
    long Before, After;
    FILE *Json;

    BenchBoot(&Machine);
    BENCH_CHECK(HostSetThreadSimulated(TRUE));
    MeasureRegions(1000, MEM_RESERVE, &Few);
    MeasureRegions(1000000, MEM_RESERVE, &Many);
    MiAdjustCommitLimit(1ll << 26, 1ll << 26); /* nobody touches the 61 GiB that are committed */
    MeasureRegions(1000, MEM_RESERVE | MEM_COMMIT, &FewCommitted);
    MeasureRegions(1000000, MEM_RESERVE | MEM_COMMIT, &ManyCommitted);
    MiAdjustCommitLimit(-(1ll << 26), -(1ll << 26));
    MeasureProcesses(10000, &Warm); /* the host provides the memory */
    MeasureProcesses(10, &Ten);
    MeasureProcesses(10000, &TenThousand);
    BENCH_CHECK(HostSetThreadSimulated(FALSE));
    BenchShutdown();
    printf("%-34s %12s %12s %8s\n", "ns per operation", "1,000", "1,000,000", "ratio");
    printf("%-34s %12.0f %12.0f %8.2f\n", "reserve a region", Few.Allocate, Many.Allocate,
           Many.Allocate / Few.Allocate);
    printf("%-34s %12.0f %12.0f %8.2f\n", "release a region", Few.Free, Many.Free, Many.Free / Few.Free);
    printf("%-34s %12.0f %12.0f %8.2f\n", "reserve and commit a region", FewCommitted.Allocate,
           ManyCommitted.Allocate, ManyCommitted.Allocate / FewCommitted.Allocate);
    printf("%-34s %12.0f %12.0f %8.2f\n", "release a committed region", FewCommitted.Free, ManyCommitted.Free,
           ManyCommitted.Free / FewCommitted.Free);
    printf("%-34s %12.0f %12.0f %8.2f\n", "query a region", Few.Query, Many.Query, Many.Query / Few.Query);
    printf("%-34s %12s %12s %8s\n", "ns per process", "10", "10,000", "ratio");
    printf("%-34s %12.0f %12.0f %8.2f\n", "create + commit 64 KiB", Ten.Create, TenThousand.Create,
           TenThousand.Create / Ten.Create);
    printf("%-34s %12.0f %12.0f %8.2f\n", "attach + first fault + detach", Ten.Fault, TenThousand.Fault,
           TenThousand.Fault / Ten.Fault);
    printf("%-34s %12.0f %12.0f %8.2f\n", "delete", Ten.Delete, TenThousand.Delete,
           TenThousand.Delete / Ten.Delete);
    printf("frames per process with one touched page: %.2f\n", TenThousand.Frames);
    Before = ResidentKib();
    Boot = BenchNow();
    BenchBoot(&Large);
    Boot = BenchNow() - Boot;
    After = ResidentKib();
    printf(
        "boot of a machine with 1 TiB of RAM: %.1f ms, %ld KiB more resident, %zu bytes of descriptor a frame, %zu frames available\n",
        Boot * 1e3, After - Before, sizeof(MMPFN), (size_t)MiAvailablePages());
    /* Shut down without level-3 checks of a quarter of a billion frames: those were never used and cost nothing. */
    BenchShutdown();
    Json = BenchOpenJson("scale");
    fprintf(
        Json,
        ",\n  \"reserve_ns\": [%.1f, %.1f],\n  \"release_ns\": [%.1f, %.1f],\n  \"query_ns\": [%.1f, %.1f],\n"
        "  \"commit_ns\": [%.1f, %.1f],\n  \"release_committed_ns\": [%.1f, %.1f],\n"
        "  \"process_create_ns\": [%.1f, %.1f],\n  \"process_first_fault_ns\": [%.1f, %.1f],\n"
        "  \"process_delete_ns\": [%.1f, %.1f],\n  \"frames_per_process\": %.3f,\n  \"boot_1tib_ms\": %.2f,\n"
        "  \"boot_1tib_resident_kib\": %ld,\n  \"pfn_bytes\": %zu",
        Few.Allocate, Many.Allocate, Few.Free, Many.Free, Few.Query, Many.Query, FewCommitted.Allocate,
        ManyCommitted.Allocate, FewCommitted.Free, ManyCommitted.Free, Ten.Create, TenThousand.Create,
        Ten.Fault, TenThousand.Fault, Ten.Delete, TenThousand.Delete, TenThousand.Frames, Boot * 1e3,
        After - Before, sizeof(MMPFN));
    BenchCloseJson(Json);
    return 0;
}
