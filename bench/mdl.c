/* SPDX-License-Identifier: MIT */
/*
 * What drivers do most with buffers: a lookaside pair, an MDL made and thrown away, pages locked, mapped, unmapped and unlocked; and
 * contiguous memory of 2 MiB in a machine whose memory was fragmented by random traffic. --count KIND runs one of the first kinds alone,
 * for callgrind, which counts what happens inside the functions called Once….
 */
#include "support_machine.h"

#include "nt/ex.h"
#include "nt/expool.h"
#include "nt/mm.h"
#include "rtl/random.h"

#include <stdlib.h>
#include <string.h>

#define LOOKASIDE_PAIRS 4000000u
#define MDL_ROUNDS      1000000u
#define LOCK_PAGES      400000u /* pages in all of a measurement */
#define BENCH_TAG       0x68636e42u

static DECLSPEC_NOINLINE VOID OncePair(PNPAGED_LOOKASIDE_LIST List)
{
    ExFreeToNPagedLookasideList(List, ExAllocateFromNPagedLookasideList(List));
}

static DECLSPEC_NOINLINE VOID OnceMdl(PUCHAR Block)
{
    PMDL Mdl = IoAllocateMdl(Block + 100, 2 * PAGE_SIZE, FALSE, FALSE, NULL);

    MmBuildMdlForNonPagedPool(Mdl);
    IoFreeMdl(Mdl);
}

static DECLSPEC_NOINLINE VOID OnceLock(PMDL Mdl, PEPROCESS Process)
{
    PVOID Address;

    MmProbeAndLockProcessPages(Mdl, Process, UserMode, IoWriteAccess);
    Address = MmGetSystemAddressForMdlSafe(Mdl, NormalPagePriority | MdlMappingNoExecute);
    BENCH_CHECK(Address != NULL ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES);
    MmUnmapLockedPages(Address, Mdl);
    MmUnlockPages(Mdl);
}

static DECLSPEC_NOINLINE VOID OnceMap(PMDL Mdl)
{
    PVOID Address = MmGetSystemAddressForMdlSafe(Mdl, NormalPagePriority | MdlMappingNoExecute);

    BENCH_CHECK(Address != NULL ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES);
    MmUnmapLockedPages(Address, Mdl);
}

static double Pairs(ULONG Count)
{
    NPAGED_LOOKASIDE_LIST List;
    double Start;

    ExInitializeNPagedLookasideList(&List, NULL, NULL, POOL_NX_ALLOCATION, 256, BENCH_TAG, 0);
    ExFreeToNPagedLookasideList(&List, ExAllocateFromNPagedLookasideList(&List));
    Start = BenchNow();
    for (ULONG Index = 0; Index < Count; Index++)
    {
        OncePair(&List);
    }
    Start = BenchNow() - Start;
    ExDeleteNPagedLookasideList(&List);
    return Start / Count * 1e9;
}

static double MdlPairs(ULONG Count)
{
    PUCHAR Block = ExAllocatePool2(POOL_FLAG_NON_PAGED, 4 * PAGE_SIZE, BENCH_TAG);
    double Start = BenchNow();

    for (ULONG Index = 0; Index < Count; Index++)
    {
        OnceMdl(Block);
    }
    Start = BenchNow() - Start;
    ExFreePool(Block);
    return Start / Count * 1e9;
}

/* ns for one round of lock, map, unmap, unlock of Pages pages of a user buffer. */
static double LockRounds(PEPROCESS Process, ULONG Pages, ULONG Rounds)
{
    ULONG_PTR Base = BenchAllocate(Process, Pages);
    PMDL Mdl = IoAllocateMdl((PVOID)Base, Pages * PAGE_SIZE, FALSE, FALSE, NULL);
    double Start = 0;

    for (ULONG Index = 0; Index <= Rounds; Index++)
    {
        if (Index == 1)
        {
            Start = BenchNow(); /* the first round faulted the pages in */
        }
        OnceLock(Mdl, Process);
    }
    Start = BenchNow() - Start;
    IoFreeMdl(Mdl);
    BenchFree(Process, Base);
    return Start / Rounds * 1e9;
}

/* ns for mapping and unmapping consecutive locked pages: 512 on a border are a large page, 511 are not. */
static double MapRounds(ULONG Pages, ULONG Rounds)
{
    PHYSICAL_ADDRESS Low = { .QuadPart = 0 };
    PHYSICAL_ADDRESS High = { .QuadPart = MAXLONG64 };
    PHYSICAL_ADDRESS Chunk = { .QuadPart = 2 << 20 };
    PMDL All =
        MmAllocatePagesForMdlEx(Low, High, Chunk, 2 << 20, MmCached, MM_ALLOCATE_REQUIRE_CONTIGUOUS_CHUNKS);
    PMDL Mdl = IoAllocateMdl(NULL, Pages * PAGE_SIZE, FALSE, FALSE, NULL);
    double Start;

    BENCH_CHECK(All != NULL ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES);
    IoBuildPartialMdl(All, Mdl, NULL, Pages * PAGE_SIZE);
    OnceMap(Mdl);
    Start = BenchNow();
    for (ULONG Index = 0; Index < Rounds; Index++)
    {
        OnceMap(Mdl);
    }
    Start = BenchNow() - Start;
    IoFreeMdl(Mdl);
    MmFreePagesFromMdl(All);
    ExFreePool(All);
    return Start / Rounds * 1e9;
}

/* ---- Contiguous memory ----------------------------------------------------------------------------------------------- */

typedef struct _FRAGMENTED
{
    ULONG Percent;
    ULONG Wanted, Made;
    double Microseconds; /* of one that succeeded */
} FRAGMENTED;

#define RAM_BYTES  (256ull << 20)
#define RUN_BYTES  (2ull << 20)
#define RUNS_TRIED 8u

/* Commits all of RAM, then gives pages back at random until Percent of it is in use, and churns. */
static ULONG_PTR MakeTraffic(PEPROCESS Process, ULONG Percent, RTLP_RANDOM *Random, SIZE_T *Pages)
{
    SIZE_T InUse = (SIZE_T)(RAM_BYTES / PAGE_SIZE * Percent / 100);
    ULONG_PTR Base;

    *Pages = MiAvailablePages() - MiState.Physical->MinimumReserve - 512;
    Base = BenchAllocate(Process, *Pages);
    for (SIZE_T Page = 0; Page < *Pages; Page++)
    {
        BENCH_CHECK(
            MiFaultAddress(&Process->Space, Base + (Page << PAGE_SHIFT), MiAccessWrite, KernelMode, NULL));
    }
    for (SIZE_T Step = 0; Step < 2 * *Pages || MiState.Physical->NumberOfPages - MiAvailablePages() > InUse;
         Step++)
    {
        ULONG_PTR Va = Base + (RtlpRandomBelow(Random, *Pages) << PAGE_SHIFT);
        SIZE_T Size = PAGE_SIZE;

        if (MiState.Physical->NumberOfPages - MiAvailablePages() > InUse)
        {
            BENCH_CHECK(MiFreeVirtualMemory(&Process->Space, &Va, &Size, MEM_DECOMMIT));
        }
        else
        {
            MI_ALLOCATION Again = {
                .Base = Va, .Size = PAGE_SIZE, .Type = MEM_COMMIT, .Protect = PAGE_READWRITE
            };

            BENCH_CHECK(MiAllocateVirtualMemory(&Process->Space, &Again));
            BENCH_CHECK(MiFaultAddress(&Process->Space, Va, MiAccessWrite, KernelMode, NULL));
        }
    }
    return Base;
}

static FRAGMENTED Fragmented(ULONG Percent)
{
    BENCH_MACHINE Machine = { .RamBytes = RAM_BYTES, .Processors = 2, .NoWorkers = TRUE };
    FRAGMENTED Result = { .Percent = Percent };
    PHYSICAL_ADDRESS Highest = { .QuadPart = MAXLONG64 };
    RTLP_RANDOM Random;
    PEPROCESS Process;
    PVOID Runs[RUNS_TRIED];
    SIZE_T Pages;

    BenchBoot(&Machine);
    RtlpSeedRandom(&Random, Percent);
    Process = BenchCreateProcess("traffic");
    MakeTraffic(Process, Percent, &Random, &Pages);
    for (ULONG Index = 0; Index < RUNS_TRIED; Index++)
    {
        double Start = BenchNow();

        /* As many at a time as free memory holds; less than a run with what the machine needs is no failure of search. */
        Runs[Index] = NULL;
        if (MiAvailablePages() > RUN_BYTES / PAGE_SIZE + 2 * MiState.Physical->LowThreshold)
        {
            Result.Wanted++;
            Runs[Index] = MmAllocateContiguousMemory(RUN_BYTES, Highest);
            if (Runs[Index] != NULL)
            {
                Result.Made++;
                Result.Microseconds += (BenchNow() - Start) * 1e6;
            }
        }
    }
    for (ULONG Index = 0; Index < RUNS_TRIED; Index++)
    {
        if (Runs[Index] != NULL)
        {
            MmFreeContiguousMemory(Runs[Index]);
        }
    }
    BenchEndProcess(Process);
    BenchShutdown();
    Result.Microseconds = Result.Made != 0 ? Result.Microseconds / Result.Made : 0;
    return Result;
}

/* ---- All of it ------------------------------------------------------------------------------------------------------------ */

static int CountOnly(const char *Kind)
{
    static const BENCH_MACHINE Machine = { .RamBytes = 64ull << 20, .Processors = 1, .NoWorkers = TRUE };
    PEPROCESS Process;

    BenchBoot(&Machine);
    Process = BenchCreateProcess("buffers");
    if (strcmp(Kind, "lookaside") == 0)
    {
        Pairs(10000);
        printf("once 10000\n");
    }
    else if (strcmp(Kind, "mdl") == 0)
    {
        MdlPairs(10000);
        printf("once 10000\n");
    }
    else if (strncmp(Kind, "map", 3) == 0)
    {
        MapRounds((ULONG)atoi(Kind + 3), 499);
        printf("once 500\n");
    }
    else
    {
        /* The first round's faults count, too: one in a thousand. */
        LockRounds(Process, (ULONG)atoi(Kind + 4), 999);
        printf("once 1000\n");
    }
    BenchEndProcess(Process);
    BenchShutdown();
    return 0;
}

int main(int Count, char **Arguments)
{
    static const BENCH_MACHINE Machine = { .RamBytes = 64ull << 20, .Processors = 2, .NoWorkers = TRUE };
    static const ULONG Sizes[3] = { 1, 16, 256 };
    static const ULONG Percents[3] = { 50, 75, 90 };
    FRAGMENTED Results[3];
    double Lookaside;
    double Mdl;
    double Lock[3];
    double Large;
    double Small;
    PEPROCESS Process;
    FILE *Json;

    if (Count > 2 && strcmp(Arguments[1], "--count") == 0)
    {
        return CountOnly(Arguments[2]);
    }
    BenchBoot(&Machine);
    Process = BenchCreateProcess("buffers");
    Lookaside = Pairs(LOOKASIDE_PAIRS);
    Mdl = MdlPairs(MDL_ROUNDS);
    printf("lookaside pair                    %8.1f ns\n", Lookaside);
    printf("IoAllocateMdl, build, free        %8.1f ns\n", Mdl);
    for (ULONG Index = 0; Index < 3; Index++)
    {
        Lock[Index] = LockRounds(Process, Sizes[Index], LOCK_PAGES / Sizes[Index] / 8 + 100);
        printf("lock, map, unmap, unlock %3u pages %7.0f ns\n", Sizes[Index], Lock[Index]);
    }
    Large = MapRounds(512, 5000);
    Small = MapRounds(511, 5000);
    printf("map, unmap 512 pages, a large page %7.0f ns\nmap, unmap 511 pages               %7.0f ns\n",
           Large, Small);
    BenchEndProcess(Process);
    BenchShutdown();
    Json = BenchOpenJson("mdl");
    fprintf(
        Json,
        ",\n  \"lookaside_pair_ns\": %.1f,\n  \"mdl_build_free_ns\": %.1f,\n  \"lock_map_1_ns\": %.0f,\n"
        "  \"lock_map_16_ns\": %.0f,\n  \"lock_map_256_ns\": %.0f,\n  \"map_large_page_ns\": %.0f,\n  \"map_511_pages_ns\": %.0f,\n  \"contiguous\": [",
        Lookaside, Mdl, Lock[0], Lock[1], Lock[2], Large, Small);
    for (ULONG Index = 0; Index < 3; Index++)
    {
        Results[Index] = Fragmented(Percents[Index]);
        printf("2 MiB contiguous at %u %% use      %8.0f us, %u of %u\n", Results[Index].Percent,
               Results[Index].Microseconds, Results[Index].Made, Results[Index].Wanted);
        fprintf(Json, "%s\n    { \"percent\": %u, \"wanted\": %u, \"made\": %u, \"us\": %.0f }",
                Index == 0 ? "" : ",", Results[Index].Percent, Results[Index].Wanted, Results[Index].Made,
                Results[Index].Microseconds);
    }
    fprintf(Json, "\n  ]");
    BenchCloseJson(Json);
    return 0;
}
