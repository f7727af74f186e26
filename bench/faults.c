/* SPDX-License-Identifier: MIT */
/*
 * What a fault costs, on simulated processors: demand zero with zeroed pages at hand, and soft (transition) faults, with one processor and with two
 * in one process. In the same run and in turns with it: first touches of anonymous memory on the Linux it runs on, and a control that touches
 * as much memory in the same way without any kernel and with nothing shared (support_pair.h, support_control.c). Everything twice: with pages that fit into
 * the caches, and with many more, where the second processor waits for the same memory as the first.
 *
 * Frames are given out in random order, as in any machine that has run for a while (TakePages). Each processor works in page tables of its own.
 *
 * `faults --only in_cache|large` measures one of them and writes no JSON. `faults --count zero|soft` makes a fixed number of faults of one kind and nothing else: for callgrind (scripts/count_instructions.sh).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "support_machine.h"
#include "support_pair.h"

#include <stdlib.h>
#include <string.h>

#define COUNTED_PAGES 2048u

/* Each processor's half is a multiple of what a page table maps. */
static const struct
{
    const char *Name;
    ULONG Pages;
    ULONG Rounds;
} Footprints[] = { { "in_cache", 1024, 400 }, { "large", 32768, 20 } };

#define FOOTPRINTS (sizeof(Footprints) / sizeof(Footprints[0]))

typedef struct
{
    PEPROCESS Process;
    ULONG Pages;
    ULONG_PTR Allocated; /* 0: nothing */
    ULONG_PTR Base;      /* where page tables begin */
} FAULTS;

typedef struct
{
    void *Thread;
    KAPC_STATE Attached;
} INSIDE;

static void Touch(ULONG_PTR Base, ULONG Pages, ULONG Access)
{
    PHOST_SIM Simulated = HostCurrentSim();
    EXCEPTION_RECORD Record;

    for (ULONG Page = 0; Page < Pages; Page++)
    {
        BENCH_CHECK(HostSimTouch(Simulated, Base + ((ULONG_PTR)Page << PAGE_SHIFT), Access, &Record));
    }
}

/* ---- The side of ntmm ------------------------------------------------------------------------------------------ */

/* A process that has touched pages in random order. The calling thread is the machine's boot thread. */
static PEPROCESS TakePages(ULONG Pages)
{
    PEPROCESS Process = BenchCreateProcess("holder");
    ULONG_PTR Base = BenchAllocate(Process, Pages);
    ULONG *Order = malloc(Pages * sizeof(*Order));
    KAPC_STATE Attached;

    BENCH_CHECK(Order != NULL ? STATUS_SUCCESS : STATUS_NO_MEMORY);
    for (ULONG Page = 0; Page < Pages; Page++)
    {
        Order[Page] = Page;
    }
    BenchShuffle(Order, Pages);
    BENCH_CHECK(HostSetThreadSimulated(TRUE));
    KeStackAttachProcess((PRKPROCESS)Process, &Attached);
    for (ULONG Page = 0; Page < Pages; Page++)
    {
        Touch(Base + ((ULONG_PTR)Order[Page] << PAGE_SHIFT), 1, PORT_FAULT_WRITE);
    }
    KeUnstackDetachProcess(&Attached);
    BENCH_CHECK(HostSetThreadSimulated(FALSE));
    free(Order);
    return Process;
}

static void ZeroPages(void)
{
    while (MiZeroPagesStep(NULL))
    {
    }
}

static void FaultsBegin(PVOID Context, ULONG Pages)
{
    FAULTS *Faults = Context;

    /* Its pages come free in the order of their addresses, which is a random one of the frames. */
    BenchEndProcess(TakePages(Pages));
    ZeroPages();
    Faults->Pages = Pages;
    Faults->Allocated = 0;
    Faults->Process = BenchCreateProcess("faults");
}

static void FaultsEnd(PVOID Context)
{
    BenchEndProcess(((FAULTS *)Context)->Process);
    ZeroPages();
}

static PVOID FaultsEnter(PVOID Context, ULONG Processor)
{
    INSIDE *Inside = malloc(sizeof(*Inside));

    BENCH_CHECK(Inside != NULL ? STATUS_SUCCESS : STATUS_NO_MEMORY);
    Inside->Thread = BenchEnter(Processor);
    BENCH_CHECK(HostSetThreadSimulated(TRUE));
    KeStackAttachProcess((PRKPROCESS)((FAULTS *)Context)->Process, &Inside->Attached);
    return Inside;
}

static void FaultsLeave(PVOID Context, PVOID Thread)
{
    INSIDE *Inside = Thread;

    UNREFERENCED_PARAMETER(Context);
    KeUnstackDetachProcess(&Inside->Attached);
    BENCH_CHECK(HostSetThreadSimulated(FALSE));
    BenchLeave(Inside->Thread);
    free(Inside);
}

static void FaultsPrepare(PVOID Context, BENCH_PAIR_KIND Kind)
{
    const ULONG_PTR Reach = (ULONG_PTR)MI_PTES_PER_PAGE << PAGE_SHIFT;
    FAULTS *Faults = Context;

    if (Kind == BenchPairSoft)
    {
        MiEmptyWorkingSet(&Faults->Process->Space);
        return;
    }
    if (Faults->Allocated != 0)
    {
        BenchFree(Faults->Process, Faults->Allocated);
        ZeroPages();
    }
    Faults->Allocated = BenchAllocate(Faults->Process, Faults->Pages + MI_PTES_PER_PAGE);
    Faults->Base = (Faults->Allocated + Reach - 1) & ~(Reach - 1);
}

static void FaultsWork(PVOID Context, BENCH_PAIR_KIND Kind, ULONG First, ULONG Count)
{
    const FAULTS *Faults = Context;

    Touch(Faults->Base + ((ULONG_PTR)First << PAGE_SHIFT), Count,
          Kind == BenchPairZero ? PORT_FAULT_WRITE : 0);
}

/* ---- Counting -------------------------------------------------------------------------------------------------- */

/* A fixed number of faults of one kind, for callgrind. Page tables exist already; MmAccessFault is entered once for each page. */
static void CountOnly(const char *Kind)
{
    PEPROCESS Process = BenchCreateProcess("faults");
    ULONG_PTR Base = BenchAllocate(Process, COUNTED_PAGES);
    KAPC_STATE Attached;
    ULONG64 Before;

    BENCH_CHECK(HostSetThreadSimulated(TRUE));
    KeStackAttachProcess((PRKPROCESS)Process, &Attached);
    if (strcmp(Kind, "soft") == 0)
    {
        /* Without MmAccessFault, so that the counting is not switched on. */
        for (ULONG Page = 0; Page < COUNTED_PAGES; Page++)
        {
            BENCH_CHECK(MiFaultAddress(&Process->Space, Base + ((ULONG_PTR)Page << PAGE_SHIFT), MiAccessWrite,
                                       KernelMode, NULL));
        }
        MiEmptyWorkingSet(&Process->Space);
    }
    Before = MiQueryCounter(MiCounterPageFaults);
    Touch(Base, COUNTED_PAGES, strcmp(Kind, "soft") == 0 ? 0 : PORT_FAULT_WRITE);
    printf("faults %llu\n", (unsigned long long)(MiQueryCounter(MiCounterPageFaults) - Before));
    KeUnstackDetachProcess(&Attached);
    BENCH_CHECK(HostSetThreadSimulated(FALSE));
    BenchEndProcess(Process);
}

/* ---- Reporting -------------------------------------------------------------------------------------------------- */

enum
{
    SideFaults,
    SideControl,
    SideLinux,
    SideCount
};

static void PrintFootprint(ULONG Index, const BENCH_PAIR_SIDE *Sides)
{
    static const char *const Kinds[] = { "demand-zero fault", "soft fault" };
    const BENCH_PAIR_SIDE *Ours = &Sides[SideFaults];

    printf("\n%u pages (%u MiB), medians of %u rounds in turns; ns a page\n", Footprints[Index].Pages,
           Footprints[Index].Pages >> 8, Footprints[Index].Rounds);
    printf("  %-28s %13s %14s %8s\n", "", "1 processor", "2 processors", "speedup");
    for (ULONG Kind = 0; Kind < BENCH_PAIR_KINDS; Kind++)
    {
        const BENCH_PAIR_SIDE *Control = &Sides[SideControl];

        printf("  %-28s %13.1f %14.1f %8.2f   (mark: 1.7; %.2f of the control's)\n", Kinds[Kind],
               Ours->Result[Kind].One, Ours->Result[Kind].Two, Ours->Result[Kind].Speedup,
               Ours->Result[Kind].Speedup / Control->Result[Kind].Speedup);
        printf("    %-26s %13.1f %14.1f %8.2f\n", "control, nothing shared", Control->Result[Kind].One,
               Control->Result[Kind].Two, Control->Result[Kind].Speedup);
    }
    printf("  %-28s %13.1f %14.1f %8.2f\n", "Linux anonymous page fault", Sides[SideLinux].Result[0].One,
           Sides[SideLinux].Result[0].Two, Sides[SideLinux].Result[0].Speedup);
    printf("  of Linux's fault, 1 processor: demand zero %.3f, soft %.3f (mark: 0.3)\n",
           Ours->Result[BenchPairZero].One / Sides[SideLinux].Result[0].One,
           Ours->Result[BenchPairSoft].One / Sides[SideLinux].Result[0].One);
}

static void WriteResult(FILE *Json, const char *Name, const BENCH_PAIR_SIDE *Side, ULONG Kind)
{
    fprintf(Json, ",\n     \"%s\": {\"one_ns\": %.1f, \"two_ns\": %.1f, \"speedup\": %.3f}", Name,
            Side->Result[Kind].One, Side->Result[Kind].Two, Side->Result[Kind].Speedup);
}

static void WriteFootprint(FILE *Json, ULONG Index, const BENCH_PAIR_SIDE *Sides)
{
    fprintf(Json, "%s\n    {\"footprint\": \"%s\", \"pages\": %u, \"rounds\": %u", Index == 0 ? "" : ",",
            Footprints[Index].Name, Footprints[Index].Pages, Footprints[Index].Rounds);
    WriteResult(Json, "demand_zero", &Sides[SideFaults], BenchPairZero);
    WriteResult(Json, "demand_zero_control", &Sides[SideControl], BenchPairZero);
    WriteResult(Json, "soft", &Sides[SideFaults], BenchPairSoft);
    WriteResult(Json, "soft_control", &Sides[SideControl], BenchPairSoft);
    WriteResult(Json, "linux", &Sides[SideLinux], BenchPairZero);
    fprintf(Json, "}");
}

static void MeasureFootprint(ULONG Index, FILE *Json)
{
    FAULTS Faults = { 0 };
    BENCH_PAIR_SIDE Sides[SideCount] = { [SideFaults] = { .Name = "ntmm",
                                                          .Kinds = 2,
                                                          .Context = &Faults,
                                                          .Begin = FaultsBegin,
                                                          .End = FaultsEnd,
                                                          .Enter = FaultsEnter,
                                                          .Leave = FaultsLeave,
                                                          .Prepare = FaultsPrepare,
                                                          .Work = FaultsWork } };

    BenchControl(&Sides[SideControl]);
    BenchLinux(&Sides[SideLinux]);
    BenchMeasurePair(Sides, SideCount, Footprints[Index].Pages, Footprints[Index].Rounds);
    PrintFootprint(Index, Sides);
    if (Json != NULL)
    {
        WriteFootprint(Json, Index, Sides);
    }
}

static void MeasureAll(const char *Only)
{
    double Transfer = BenchLineTransfer();
    double Arithmetic = BenchArithmetic();
    FILE *Json = NULL;

    printf("the second processor is worth %.2f for arithmetic; a line takes %.0f ns from one to the other\n",
           Arithmetic, Transfer);
    if (Only == NULL)
    {
        Json = BenchOpenJson("faults");
        fprintf(Json,
                ",\n  \"pfn_bytes\": %zu,\n  \"arithmetic_two\": %.3f,\n  \"line_transfer_ns\": %.1f,\n"
                "  \"footprints\": [",
                sizeof(MMPFN), Arithmetic, Transfer);
    }
    for (ULONG Index = 0; Index < FOOTPRINTS; Index++)
    {
        if (Only == NULL || strcmp(Only, Footprints[Index].Name) == 0)
        {
            MeasureFootprint(Index, Json);
        }
    }
    if (Json != NULL)
    {
        fprintf(Json, "\n  ]");
        BenchCloseJson(Json);
    }
    printf("\nPFN database: %zu bytes a frame\n", sizeof(MMPFN));
}

int main(int argc, char **argv)
{
    BENCH_MACHINE Machine = { .RamBytes = 512ull << 20, .Processors = 2, .NoWorkers = TRUE };

    BenchBoot(&Machine);
    if (argc > 2 && strcmp(argv[1], "--count") == 0)
    {
        CountOnly(argv[2]);
    }
    else
    {
        MeasureAll(argc > 2 && strcmp(argv[1], "--only") == 0 ? argv[2] : NULL);
    }
    BenchShutdown();
    return 0;
}
