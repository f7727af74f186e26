/* SPDX-License-Identifier: MIT */
/*
 * What a block of nonpaged pool costs, tag tracking and header checks included, against the user-mode
 * allocators that people know: the same program, the same sizes, the same order. Each runs in a child of this program,
 * the allocators loaded before the C library's own, in turns; the best of the turns counts.
 *
 * Memory is the same for both sides: pages of 4 KiB, which Linux has given before the rounds that count. The pool and
 * mimalloc run with pages of 2 MiB, too, as the direct map of a kernel has them.
 *
 * pairs: allocate and free at once. lifetimes: a table of blocks of 16 to 4000 bytes, one of which is
 * replaced at a time; overhead is what the allocator holds for each byte that is in use.
 */
#include "support_machine.h"

#include "pool/expool.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TAG       0x68636e42u /* 'Bnch' */
#define SLOTS     8192u
#define SIZES     65536u
#define PAIRS     4000000u
#define LIFETIMES 3000000u
#define ROUNDS    3u
#define TURNS     2u
#define RAM_BYTES (512ull << 20)

typedef struct
{
    double Pair;     /* ns */
    double Lifetime; /* ns for one free and one allocation */
    double Pair2;    /* the same on two processors, ns of each */
    double Lifetime2;
    double Overhead; /* bytes held for each byte in use */
} RESULT;

typedef struct
{
    pthread_t Thread;
    ULONG Processor;
    BOOLEAN UsePool;
    double Pair, Lifetime;
    SIZE_T Live;
    void **Slots;
} WORKER;

static USHORT Sizes[SIZES];
static pthread_barrier_t Barrier;

static void MakeSizes(void)
{
    ULONG64 State = 88172645463325252ull;

    for (ULONG Index = 0; Index < SIZES; Index++)
    {
        State ^= State << 13;
        State ^= State >> 7;
        State ^= State << 17;
        Sizes[Index] = (USHORT)(16 + State % 3985);
    }
}

static inline void *Take(BOOLEAN UsePool, SIZE_T Bytes)
{
    UCHAR *Block = UsePool ? ExAllocatePoolWithTag(NonPagedPoolNx, Bytes, TAG) : malloc(Bytes);

    if (Block == NULL)
    {
        fprintf(stderr, "pool: out of memory\n");
        exit(1);
    }
    *(volatile UCHAR *)Block = 1;
    return Block;
}

static inline void Give(BOOLEAN UsePool, void *Block)
{
    if (UsePool)
    {
        ExFreePoolWithTag(Block, TAG);
    }
    else
    {
        free(Block);
    }
}

static double Pairs(BOOLEAN UsePool)
{
    double Start = BenchNow();

    for (ULONG Index = 0; Index < PAIRS; Index++)
    {
        Give(UsePool, Take(UsePool, Sizes[Index % SIZES]));
    }
    return (BenchNow() - Start) * 1e9 / PAIRS;
}

static double Lifetimes(WORKER *Worker)
{
    ULONG64 State = 0x9e3779b97f4a7c15ull * (Worker->Processor + 1);
    double Start = BenchNow();

    for (ULONG Index = 0; Index < LIFETIMES; Index++)
    {
        ULONG Slot;

        State ^= State << 13;
        State ^= State >> 7;
        State ^= State << 17;
        Slot = (ULONG)(State % SLOTS);
        if (Worker->Slots[Slot] != NULL)
        {
            Give(Worker->UsePool, Worker->Slots[Slot]);
        }
        Worker->Slots[Slot] = Take(Worker->UsePool, Sizes[Index % SIZES]);
    }
    return (BenchNow() - Start) * 1e9 / LIFETIMES;
}

static void *RunWorker(void *Context)
{
    WORKER *Worker = Context;
    void *Thread = Worker->UsePool ? BenchEnter(Worker->Processor) : NULL;

    Worker->Slots = calloc(SLOTS, sizeof(*Worker->Slots));
    pthread_barrier_wait(&Barrier);
    Worker->Pair = Pairs(Worker->UsePool);
    pthread_barrier_wait(&Barrier);
    Worker->Lifetime = Lifetimes(Worker);
    pthread_barrier_wait(&Barrier);
    pthread_barrier_wait(&Barrier); /* the parent looks at the memory */
    for (ULONG Slot = 0; Slot < SLOTS; Slot++)
    {
        if (Worker->Slots[Slot] != NULL)
        {
            Give(Worker->UsePool, Worker->Slots[Slot]);
        }
    }
    free(Worker->Slots);
    if (Thread != NULL)
    {
        BenchLeave(Thread);
    }
    return NULL;
}

/* Bytes that the allocator holds: pages of pool, or the process's own memory. */
static double HeldBytes(BOOLEAN UsePool)
{
    long Size = 0;
    long Resident = 0;
    FILE *File;

    if (UsePool)
    {
        return (double)(MiPoolPagesInUse() << PAGE_SHIFT);
    }
    File = fopen("/proc/self/statm", "r");
    if (File == NULL || fscanf(File, "%ld %ld", &Size, &Resident) != 2)
    {
        exit(1);
    }
    fclose(File);
    return (double)Resident * PAGE_SIZE;
}

static void RunWorkers(ULONG Count, BOOLEAN UsePool, double *Pair, double *Lifetime, double *Overhead)
{
    WORKER Workers[2] = { 0 };
    double Before = HeldBytes(UsePool);

    pthread_barrier_init(&Barrier, NULL, Count + 1);
    for (ULONG Index = 0; Index < Count; Index++)
    {
        Workers[Index].Processor = Index;
        Workers[Index].UsePool = UsePool;
        pthread_create(&Workers[Index].Thread, NULL, RunWorker, &Workers[Index]);
    }
    pthread_barrier_wait(&Barrier);
    pthread_barrier_wait(&Barrier);
    pthread_barrier_wait(&Barrier);
    *Overhead = (HeldBytes(UsePool) - Before) / (Count * SLOTS * 2008.0);
    pthread_barrier_wait(&Barrier);
    *Pair = *Lifetime = 0;
    for (ULONG Index = 0; Index < Count; Index++)
    {
        pthread_join(Workers[Index].Thread, NULL);
        *Pair = fmax(*Pair, Workers[Index].Pair);
        *Lifetime = fmax(*Lifetime, Workers[Index].Lifetime);
    }
    pthread_barrier_destroy(&Barrier);
}

static RESULT Measure(BOOLEAN UsePool)
{
    RESULT Best = { 1e9, 1e9, 1e9, 1e9, 0 };

    for (ULONG Round = 0; Round < ROUNDS; Round++)
    {
        double Pair;
        double Lifetime;
        double Overhead;

        RunWorkers(1, UsePool, &Pair, &Lifetime, &Overhead);
        Best.Overhead = Round == 0 ? Overhead : Best.Overhead;
        Best.Pair = fmin(Best.Pair, Pair);
        Best.Lifetime = fmin(Best.Lifetime, Lifetime);
        RunWorkers(2, UsePool, &Pair, &Lifetime, &Overhead);
        Best.Pair2 = fmin(Best.Pair2, Pair);
        Best.Lifetime2 = fmin(Best.Lifetime2, Lifetime);
    }
    return Best;
}

/* RAM of a computer is there; that of the host comes into being page by page, at the first touch. */
static void TouchRam(void)
{
    for (SIZE_T Offset = PAGE_SIZE; Offset < RAM_BYTES; Offset += PAGE_SIZE)
    {
        (void)*(volatile UCHAR *)(PORT_DIRECT_MAP_BASE + Offset);
    }
}

static RESULT MeasurePool(BOOLEAN LargePages)
{
    BENCH_MACHINE Machine = {
        .RamBytes = RAM_BYTES, .Processors = 2, .NoWorkers = TRUE, .PopulateRam = LargePages
    };
    RESULT Result;

    BenchBoot(&Machine);
    if (!LargePages)
    {
        TouchRam();
    }
    Result = Measure(TRUE);
    BenchShutdown();
    return Result;
}

/* ---- Children ------------------------------------------------------------------------------------------------ */

typedef struct
{
    const char *Name; /* in the JSON, too */
    const char *Library;
    const char *Environment;
    const char *Mode;
    RESULT Best;
} PEER;

enum
{
    PeerPool,
    PeerPoolLarge,
    PeerMimalloc,
    PeerMimallocLarge,
    PeerOthers
};

/* Runs this program again with the library in front of the C library. FALSE: it is not installed. */
static BOOLEAN RunPeer(PEER *Peer)
{
    RESULT Now;
    char Command[1024];
    char Self[512];
    ssize_t Length = readlink("/proc/self/exe", Self, sizeof(Self) - 1);
    FILE *Pipe;
    BOOLEAN Done;

    if (Length < 0 || (Peer->Library[0] != 0 && access(Peer->Library, R_OK) != 0))
    {
        return FALSE;
    }
    Self[Length] = 0;
    snprintf(Command, sizeof(Command), "%s LD_PRELOAD='%s' '%s' %s", Peer->Environment, Peer->Library, Self,
             Peer->Mode);
    Pipe = popen(Command, "r");
    Done = Pipe != NULL && fscanf(Pipe, "%lf %lf %lf %lf %lf", &Now.Pair, &Now.Lifetime, &Now.Pair2,
                                  &Now.Lifetime2, &Now.Overhead) == 5;
    if (Pipe != NULL)
    {
        pclose(Pipe);
    }
    if (Done)
    {
        Peer->Best = Peer->Best.Pair == 0
                         ? Now
                         : (RESULT){ fmin(Peer->Best.Pair, Now.Pair), fmin(Peer->Best.Lifetime, Now.Lifetime),
                                     fmin(Peer->Best.Pair2, Now.Pair2),
                                     fmin(Peer->Best.Lifetime2, Now.Lifetime2), Now.Overhead };
    }
    return Done;
}

static void PrintLine(FILE *Json, const PEER *Peer)
{
    const RESULT *Result = &Peer->Best;

    if (Result->Pair == 0)
    {
        printf("%-12s is not installed\n", Peer->Name);
        return;
    }
    printf("%-12s %8.1f %10.1f %10.1f %14.1f %10.2f %9.2f %9.2f\n", Peer->Name, Result->Pair,
           Result->Lifetime, Result->Pair2, Result->Lifetime2, Result->Overhead,
           2 * Result->Pair / Result->Pair2, 2 * Result->Lifetime / Result->Lifetime2);
    fprintf(Json,
            ",\n  \"%s\": { \"pair_ns\": %.2f, \"lifetime_ns\": %.2f, \"pair_two_processors_ns\": %.2f, "
            "\"lifetime_two_processors_ns\": %.2f, \"overhead\": %.3f }",
            Peer->Name, Result->Pair, Result->Lifetime, Result->Pair2, Result->Lifetime2, Result->Overhead);
}

static void PrintRatios(const char *Name, const RESULT *Pool, const RESULT *Other)
{
    if (Other->Pair != 0)
    {
        printf("%s, pool / mimalloc: pair %.2f, lifetime %.2f, two processors %.2f and %.2f, overhead %.2f\n",
               Name, Pool->Pair / Other->Pair, Pool->Lifetime / Other->Lifetime, Pool->Pair2 / Other->Pair2,
               Pool->Lifetime2 / Other->Lifetime2, Pool->Overhead / Other->Overhead);
    }
}

int main(int Count, char **Arguments)
{
    static PEER Peers[] = {
        [PeerPool] = { .Name = "pool", .Library = "", .Environment = "", .Mode = "--pool" },
        [PeerPoolLarge] = { .Name = "pool_2m", .Library = "", .Environment = "", .Mode = "--pool-large" },
        [PeerMimalloc] = { .Name = "mimalloc",
                           .Library = "/usr/lib/x86_64-linux-gnu/libmimalloc.so.2.0",
                           .Environment = "",
                           .Mode = "--malloc" },
        [PeerMimallocLarge] = { .Name = "mimalloc_2m",
                                .Library = "/usr/lib/x86_64-linux-gnu/libmimalloc.so.2.0",
                                .Environment = "MIMALLOC_LARGE_OS_PAGES=1 MIMALLOC_EAGER_COMMIT_DELAY=0",
                                .Mode = "--malloc" },
        [PeerOthers] = { .Name = "jemalloc",
                         .Library = "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2",
                         .Environment = "",
                         .Mode = "--malloc" },
        { .Name = "tcmalloc",
          .Library = "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4",
          .Environment = "",
          .Mode = "--malloc" },
        { .Name = "glibc", .Library = "", .Environment = "", .Mode = "--malloc" },
    };
    FILE *Json;

    MakeSizes();
    if (Count > 1)
    {
        RESULT Result = strcmp(Arguments[1], "--malloc") == 0
                            ? Measure(FALSE)
                            : MeasurePool(strcmp(Arguments[1], "--pool-large") == 0);

        printf("%f %f %f %f %f\n", Result.Pair, Result.Lifetime, Result.Pair2, Result.Lifetime2,
               Result.Overhead);
        return 0;
    }
    Json = BenchOpenJson("pool");
    for (ULONG Turn = 0; Turn < TURNS; Turn++)
    {
        for (ULONG Index = 0; Index < RTL_NUMBER_OF(Peers); Index++)
        {
            RunPeer(&Peers[Index]);
        }
    }
    printf(
        "ns for one allocation and one free, blocks of 16 to 4000 bytes; work of two processors for that of one\n");
    printf("%-12s %8s %10s %10s %14s %10s %9s %9s\n", "", "pair", "lifetime", "pair, two", "lifetime, two",
           "overhead", "pairs x", "lives x");
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Peers); Index++)
    {
        PrintLine(Json, &Peers[Index]);
    }
    PrintRatios("4 KiB pages", &Peers[PeerPool].Best, &Peers[PeerMimalloc].Best);
    PrintRatios("2 MiB pages", &Peers[PeerPoolLarge].Best, &Peers[PeerMimallocLarge].Best);
    BenchCloseJson(Json);
    return 0;
}
