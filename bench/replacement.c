/* SPDX-License-Identifier: MIT */
/*
 * How well page replacement chooses: misses of six (and more) access patterns on a simulated processor of a deterministic machine, against plain CLOCK,
 * LRU and Belady's optimum with as many frames as the machine had for the process. A miss is a reference to a page that
 * is not in memory; pages that read-ahead had brought count as misses here, so that only the choice of victims is judged.
 */
#include "support_machine.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RAM_MIB 16
#define PAGES   (4u * RAM_MIB * 256u)

typedef uint32_t PAGE;

/* ---- Random numbers and patterns ------------------------------------------------------------------------------ */

static uint64_t Seed;

static uint64_t Random(void)
{
    Seed ^= Seed << 13;
    Seed ^= Seed >> 7;
    Seed ^= Seed << 17;
    return Seed * 0x2545F4914F6CDD1Dull;
}

static double *ZipfTable;

static void MakeZipf(double Exponent)
{
    double Sum = 0;

    ZipfTable = malloc(PAGES * sizeof(double));
    for (size_t Index = 0; Index < PAGES; Index++)
    {
        Sum += 1.0 / pow((double)(Index + 1), Exponent);
        ZipfTable[Index] = Sum;
    }
    for (size_t Index = 0; Index < PAGES; Index++)
    {
        ZipfTable[Index] /= Sum;
    }
}

static size_t Zipf(void)
{
    double Draw = (double)(Random() >> 11) * 0x1p-53;
    size_t Low = 0;
    size_t High = PAGES - 1;

    while (Low < High)
    {
        size_t Middle = (Low + High) / 2;
        if (ZipfTable[Middle] < Draw)
        {
            Low = Middle + 1;
        }
        else
        {
            High = Middle;
        }
    }
    return Low;
}

static const char *const Names[] = {
    "sequential", "loop 1.1 x memory", "uniform",           "zipf 0.9",
    "phases",     "scan + hot set",    "loop 0.9 x memory", "zipf 0.9 + scan"
};
#define PATTERNS (sizeof(Names) / sizeof(Names[0]))

static PAGE Reference(size_t Pattern, size_t Index, size_t Count, size_t Frames, const PAGE *Shuffle,
                      size_t *Scan)
{
    switch (Pattern)
    {
    case 0:
        return (PAGE)(Index % PAGES);
    case 1:
        return (PAGE)(Index % (Frames + Frames / 10));
    case 2:
        return (PAGE)(Random() % PAGES);
    case 3:
        return Shuffle[Zipf()];
    case 4:
        return Shuffle[((Index / (Count / 8)) * 977 * 16 + Random() % (Frames * 3 / 4)) % PAGES];
    case 5:
        return Random() % 2 != 0 ? Shuffle[Random() % (Frames / 2)]
                                 : Shuffle[Frames / 2 + (*Scan)++ % (PAGES - Frames / 2)];
    case 6:
        return (PAGE)(Index % (Frames - Frames / 10));
    default:
        return Random() % 4 != 0 ? Shuffle[Zipf()] : (PAGE)((*Scan)++ % PAGES);
    }
}

static void MakeTrace(PAGE *Trace, size_t Count, size_t Pattern, size_t Frames)
{
    PAGE *Shuffle = malloc(PAGES * sizeof(PAGE));
    size_t Scan = 0;

    Seed = 88172645463325252ull + Pattern;
    for (size_t Index = 0; Index < PAGES; Index++)
    {
        Shuffle[Index] = (PAGE)Index;
    }
    for (size_t Index = PAGES - 1; Index > 0; Index--)
    {
        size_t Other = Random() % (Index + 1);
        PAGE Page = Shuffle[Index];

        Shuffle[Index] = Shuffle[Other];
        Shuffle[Other] = Page;
    }
    for (size_t Index = 0; Index < Count; Index++)
    {
        Trace[Index] = Reference(Pattern, Index, Count, Frames, Shuffle, &Scan);
    }
    free(Shuffle);
}

/* ---- The yardsticks ---------------------------------------------------------------------------------------------- */

static size_t MissesLru(const PAGE *Trace, size_t Count, size_t Frames)
{
    PAGE *Next = malloc((PAGES + 1) * sizeof(PAGE));
    PAGE *Previous = malloc((PAGES + 1) * sizeof(PAGE));
    char *Resident = calloc(PAGES, 1);
    const PAGE Head = PAGES;
    size_t Held = 0;
    size_t Misses = 0;

    Next[Head] = Previous[Head] = Head;
    for (size_t Index = 0; Index < Count; Index++)
    {
        PAGE Page = Trace[Index];

        if (Resident[Page])
        {
            Next[Previous[Page]] = Next[Page];
            Previous[Next[Page]] = Previous[Page];
        }
        else
        {
            Misses++;
            if (Held == Frames)
            {
                PAGE Victim = Previous[Head];

                Previous[Head] = Previous[Victim];
                Next[Previous[Victim]] = Head;
                Resident[Victim] = 0;
                Held--;
            }
            Resident[Page] = 1;
            Held++;
        }
        Next[Page] = Next[Head];
        Previous[Page] = Head;
        Previous[Next[Head]] = Page;
        Next[Head] = Page;
    }
    free(Next);
    free(Previous);
    free(Resident);
    return Misses;
}

static size_t MissesClock(const PAGE *Trace, size_t Count, size_t Frames)
{
    PAGE *Frame = malloc(Frames * sizeof(PAGE));
    char *Used = calloc(Frames, 1);
    int32_t *Where = malloc(PAGES * sizeof(int32_t));
    size_t Hand = 0;
    size_t Held = 0;
    size_t Misses = 0;

    memset(Where, 255, PAGES * sizeof(int32_t));
    for (size_t Index = 0; Index < Count; Index++)
    {
        PAGE Page = Trace[Index];
        size_t Slot;

        if (Where[Page] >= 0)
        {
            Used[Where[Page]] = 1;
            continue;
        }
        Misses++;
        if (Held < Frames)
        {
            Slot = Held++;
        }
        else
        {
            while (Used[Hand])
            {
                Used[Hand] = 0;
                Hand = (Hand + 1) % Frames;
            }
            Slot = Hand;
            Where[Frame[Slot]] = -1;
            Hand = (Hand + 1) % Frames;
        }
        Frame[Slot] = Page;
        Where[Page] = (int32_t)Slot;
        Used[Slot] = 1;
    }
    free(Frame);
    free(Used);
    free(Where);
    return Misses;
}

typedef struct
{
    uint32_t NextUse;
    PAGE Page;
} CANDIDATE;

static void HeapPush(CANDIDATE *Heap, size_t *Size, CANDIDATE New)
{
    size_t Index = (*Size)++;

    while (Index != 0 && Heap[(Index - 1) / 2].NextUse < New.NextUse)
    {
        Heap[Index] = Heap[(Index - 1) / 2];
        Index = (Index - 1) / 2;
    }
    Heap[Index] = New;
}

static CANDIDATE HeapPop(CANDIDATE *Heap, size_t *Size)
{
    CANDIDATE Top = Heap[0];
    CANDIDATE Last = Heap[--*Size];
    size_t Index = 0;

    for (;;)
    {
        size_t Child = 2 * Index + 1;

        if (Child >= *Size)
        {
            break;
        }
        if (Child + 1 < *Size && Heap[Child + 1].NextUse > Heap[Child].NextUse)
        {
            Child++;
        }
        if (Heap[Child].NextUse <= Last.NextUse)
        {
            break;
        }
        Heap[Index] = Heap[Child];
        Index = Child;
    }
    Heap[Index] = Last;
    return Top;
}

/* Belady: the victim is the page whose next use is farthest away. */
static size_t MissesOptimal(const PAGE *Trace, size_t Count, size_t Frames)
{
    uint32_t *NextUse = malloc(Count * sizeof(uint32_t));
    uint32_t *Latest = malloc(PAGES * sizeof(uint32_t));
    uint32_t *Current = malloc(PAGES * sizeof(uint32_t));
    char *Resident = calloc(PAGES, 1);
    CANDIDATE *Heap = malloc((Count + 1) * sizeof(CANDIDATE));
    size_t HeapSize = 0;
    size_t Held = 0;
    size_t Misses = 0;

    memset(Latest, 255, PAGES * sizeof(uint32_t));
    for (size_t Index = Count; Index-- > 0;)
    {
        NextUse[Index] = Latest[Trace[Index]];
        Latest[Trace[Index]] = (uint32_t)Index;
    }
    for (size_t Index = 0; Index < Count; Index++)
    {
        PAGE Page = Trace[Index];

        if (!Resident[Page])
        {
            Misses++;
            while (Held == Frames)
            {
                CANDIDATE Victim = HeapPop(Heap, &HeapSize);

                if (Resident[Victim.Page] && Current[Victim.Page] == Victim.NextUse)
                {
                    Resident[Victim.Page] = 0;
                    Held--;
                }
            }
            Resident[Page] = 1;
            Held++;
        }
        Current[Page] = NextUse[Index];
        HeapPush(Heap, &HeapSize, (CANDIDATE){ NextUse[Index], Page });
    }
    free(NextUse);
    free(Latest);
    free(Current);
    free(Resident);
    free(Heap);
    return Misses;
}

/* ---- The machine -------------------------------------------------------------------------------------------------- */

static ULONG64 QueryMisses(void)
{
    return MiQueryCounter(MiCounterDemandZeroFaults) + MiQueryCounter(MiCounterPagingFileFaults) +
           MiQueryCounter(MiCounterReadAheadHits);
}

static size_t RunMachine(const PAGE *Trace, size_t Count, ULONG_PTR Base)
{
    PHOST_SIM Simulated = HostCurrentSim();
    ULONG64 Before = QueryMisses();
    EXCEPTION_RECORD Record;

    for (size_t Index = 0; Index < Count; Index++)
    {
        ULONG Access = Trace[Index] % 4 == 0 ? PORT_FAULT_WRITE : 0;

        BENCH_CHECK(HostSimTouch(Simulated, Base + ((ULONG_PTR)Trace[Index] << PAGE_SHIFT), Access, &Record));
    }
    return (size_t)(QueryMisses() - Before);
}

int main(int argc, char **argv)
{
    size_t Count = argc > 1 ? (size_t)strtoull(argv[1], NULL, 0) : 1000000;
    PAGE *Trace = malloc(Count * sizeof(PAGE));
    FILE *Json = BenchOpenJson("replacement");
    double Worst = 0;

    MakeZipf(0.9);
    fprintf(Json, ",\n  \"ram_mib\": %d,\n  \"references\": %zu,\n  \"patterns\": [", RAM_MIB, Count);
    printf("%d MiB of RAM, %u pages of private memory, %zu references; miss ratios\n", RAM_MIB, PAGES, Count);
    printf("%-20s %8s %8s %8s %8s %8s %11s %9s\n", "pattern", "frames", "ntmm", "CLOCK", "LRU", "optimal",
           "ntmm/CLOCK", "ntmm/opt");
    for (size_t Pattern = 0; Pattern < PATTERNS; Pattern++)
    {
        BENCH_MACHINE Machine = { .RamBytes = (ULONG64)RAM_MIB << 20,
                                  .Processors = 1,
                                  .Deterministic = TRUE,
                                  .PagingFile = "\\\\.\\Memory\\replacement",
                                  .PagingFileBytes = 256ull << 20 };
        KAPC_STATE Attached;
        PEPROCESS Process;
        ULONG_PTR Base;
        size_t Frames;
        size_t Misses[4];

        BenchBoot(&Machine);
        Process = BenchCreateProcess("replacement");
        Base = BenchAllocate(Process, PAGES);
        BENCH_CHECK(HostSetThreadSimulated(TRUE));
        KeStackAttachProcess((PRKPROCESS)Process, &Attached);
        Frames = MiAvailablePages() - PAGES / 512 - 3; /* less the page tables that the process will need */
        MakeTrace(Trace, Count, Pattern, Frames);
        Misses[0] = RunMachine(Trace, Count, Base);
        KeUnstackDetachProcess(&Attached);
        BENCH_CHECK(HostSetThreadSimulated(FALSE));
        BenchEndProcess(Process);
        BenchShutdown();
        Misses[1] = MissesClock(Trace, Count, Frames);
        Misses[2] = MissesLru(Trace, Count, Frames);
        Misses[3] = MissesOptimal(Trace, Count, Frames);
        Worst = fmax(Worst, (double)Misses[0] / (double)Misses[1]);
        printf("%-20s %8zu %8.4f %8.4f %8.4f %8.4f %11.3f %9.3f\n", Names[Pattern], Frames,
               (double)Misses[0] / (double)Count, (double)Misses[1] / (double)Count,
               (double)Misses[2] / (double)Count, (double)Misses[3] / (double)Count,
               (double)Misses[0] / (double)Misses[1], (double)Misses[0] / (double)Misses[3]);
        fflush(stdout);
        fprintf(
            Json,
            "%s\n    {\"pattern\": \"%s\", \"frames\": %zu, \"ntmm\": %zu, \"clock\": %zu, \"lru\": %zu, \"optimal\": %zu}",
            Pattern == 0 ? "" : ",", Names[Pattern], Frames, Misses[0], Misses[1], Misses[2], Misses[3]);
    }
    printf("worst against CLOCK: %.3f (mark: at most 1.05)\n", Worst);
    fprintf(Json, "\n  ],\n  \"worst_against_clock\": %.4f", Worst);
    BenchCloseJson(Json);
    free(Trace);
    free(ZipfTable);
    return 0;
}
