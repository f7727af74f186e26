/* SPDX-License-Identifier: MIT */
/*
 * What a block of nonpaged pool costs, tag tracking and header checks included, against the user-mode
 * allocators that people know: the same program, the same sizes, the same order. Each runs in a child of this program,
 * the allocators loaded before the C library's own, in turns; the best of many short rounds counts.
 *
 * Memory is the same for both sides: pages of 4 KiB, which Linux has given before the rounds that count. The pool and
 * mimalloc run with pages of 2 MiB, too, as the direct map of a kernel has them.
 *
 * pairs: allocate and free at once. lifetimes: a table of blocks of 16 to 4000 bytes, one of which is
 * replaced at a time; overhead is what the allocator holds for each byte that is in use.
 *
 * Two workers, each bound to a processor of its own, do the same work one alone and both at once, in turns. "apart" is the control of that: the
 * workers are two processes with a machine (a heap) each, which share nothing at all: what the second processor is worth to this very code and memory.
 */
#define _GNU_SOURCE
#include "support_machine.h"

#include "pool/expool.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define TAG       0x68636e42u /* 'Bnch' */
#define SLOTS     8192u
#define SIZES     65536u
#define FILLS     1000000u /* before anything is measured */
#define PAIRS     200000u  /* of a round */
#define LIFETIMES 100000u
#define ROUNDS    100u
#define TURNS     4u
#define RAM_BYTES (512ull << 20)

typedef struct
{
    double Pair;     /* ns */
    double Lifetime; /* ns for one free and one allocation */
    double Pair2;    /* the same on two processors, ns of each */
    double Lifetime2;
    double Overhead; /* bytes held for each byte in use */
} RESULT;

/* What the workers share: threads, or processes. */
typedef struct
{
    volatile ULONG Arrived;
    double Nanoseconds[2]; /* of the last round */
    RESULT Best;           /* the first worker's */
} SHARED;

typedef struct
{
    pthread_t Thread;
    SHARED *Shared;
    ULONG Number;    /* 0, 1 */
    ULONG Processor; /* of its machine */
    BOOLEAN UsePool;
    ULONG64 Random;
    ULONG NextSize;
    void **Slots;
} WORKER;

static USHORT Sizes[SIZES];

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

/* ns for one of Count. */
static double Pairs(WORKER *Worker, ULONG Count)
{
    double Start = BenchNow();

    for (ULONG Index = 0; Index < Count; Index++)
    {
        Give(Worker->UsePool, Take(Worker->UsePool, Sizes[Index % SIZES]));
    }
    return (BenchNow() - Start) * 1e9 / Count;
}

static double Lifetimes(WORKER *Worker, ULONG Count)
{
    ULONG64 State = Worker->Random; /* not written in the loop: the other worker's is beside it */
    ULONG NextSize = Worker->NextSize;
    double Start = BenchNow();

    for (ULONG Index = 0; Index < Count; Index++)
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
        Worker->Slots[Slot] = Take(Worker->UsePool, Sizes[NextSize++ % SIZES]);
    }
    Worker->Random = State;
    Worker->NextSize = NextSize;
    return (BenchNow() - Start) * 1e9 / Count;
}

/* ---- Workers ------------------------------------------------------------------------------------------------- */

/* Both are here. Who waits does not sleep: that a processor has to wake up is no cost of an allocator. */
static void Meet(SHARED *Shared)
{
    ULONG Goal = (__atomic_fetch_add(&Shared->Arrived, 1, __ATOMIC_ACQ_REL) | 1) + 1;

    for (ULONG Spin = 0; (LONG)(__atomic_load_n(&Shared->Arrived, __ATOMIC_ACQUIRE) - Goal) < 0; Spin++)
    {
        PortPause();
        if (Spin % 1024 == 1023)
        {
            sched_yield();
        }
    }
}

static void BindTo(ULONG Number)
{
    cpu_set_t Set;

    CPU_ZERO(&Set);
    CPU_SET(Number, &Set);
    (void)sched_setaffinity(0, sizeof(Set), &Set); /* with one processor there is nothing to be seen anyway */
}

/* One round, of the first worker or of both. What the slower one took is what it took. */
static void Round(WORKER *Worker, BOOLEAN Both, double (*Work)(WORKER *, ULONG), ULONG Count, double *Best)
{
    SHARED *Shared = Worker->Shared;

    Meet(Shared);
    if (Both || Worker->Number == 0)
    {
        Shared->Nanoseconds[Worker->Number] = Work(Worker, Count);
    }
    Meet(Shared);
    if (Worker->Number == 0)
    {
        *Best =
            fmin(*Best, Both ? fmax(Shared->Nanoseconds[0], Shared->Nanoseconds[1]) : Shared->Nanoseconds[0]);
    }
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

/* The first worker is alone until it has its blocks: the overhead is its. */
static void Fill(WORKER *Worker)
{
    double Before = HeldBytes(Worker->UsePool);

    if (Worker->Number != 0)
    {
        Meet(Worker->Shared);
    }
    Lifetimes(Worker, FILLS);
    if (Worker->Number == 0)
    {
        Worker->Shared->Best.Overhead = (HeldBytes(Worker->UsePool) - Before) / (SLOTS * 2008.0);
        Meet(Worker->Shared);
    }
}

static void *RunWorker(void *Context)
{
    WORKER *Worker = Context;
    RESULT *Best = &Worker->Shared->Best;
    void *Thread;

    BindTo(Worker->Number);
    Thread = Worker->UsePool ? BenchEnter(Worker->Processor) : NULL;
    Worker->Random = 0x9e3779b97f4a7c15ull * (Worker->Number + 1);
    Worker->Slots = calloc(SLOTS, sizeof(*Worker->Slots));
    Fill(Worker);
    for (ULONG Index = 0; Index < ROUNDS; Index++)
    {
        Round(Worker, FALSE, Pairs, PAIRS, &Best->Pair);
        Round(Worker, TRUE, Pairs, PAIRS, &Best->Pair2);
        Round(Worker, FALSE, Lifetimes, LIFETIMES, &Best->Lifetime);
        Round(Worker, TRUE, Lifetimes, LIFETIMES, &Best->Lifetime2);
    }
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

/* RAM of a computer is there; that of the host comes into being page by page, at the first touch. */
static void TouchRam(void)
{
    for (SIZE_T Offset = PAGE_SIZE; Offset < RAM_BYTES; Offset += PAGE_SIZE)
    {
        (void)*(volatile UCHAR *)(PORT_DIRECT_MAP_BASE + Offset);
    }
}

typedef struct
{
    BOOLEAN UsePool;
    BOOLEAN LargePages; /* of the pool's machine */
    BOOLEAN Apart;
} WAY;

static void RunWorkers(const WAY *Way, SHARED *Shared, ULONG First, ULONG Count)
{
    static const ULONG Processors = 2;
    BENCH_MACHINE Machine = {
        .RamBytes = RAM_BYTES, .Processors = Processors, .NoWorkers = TRUE, .PopulateRam = Way->LargePages
    };
    WORKER Workers[2] = { 0 };

    if (Way->UsePool)
    {
        BenchBoot(&Machine);
        if (!Way->LargePages)
        {
            TouchRam();
        }
    }
    for (ULONG Index = 0; Index < Count; Index++)
    {
        Workers[Index] = (WORKER){
            .Shared = Shared, .Number = First + Index, .Processor = Index, .UsePool = Way->UsePool
        };
        pthread_create(&Workers[Index].Thread, NULL, RunWorker, &Workers[Index]);
    }
    for (ULONG Index = 0; Index < Count; Index++)
    {
        pthread_join(Workers[Index].Thread, NULL);
    }
    if (Way->UsePool)
    {
        BenchShutdown();
    }
}

static RESULT Measure(const WAY *Way)
{
    SHARED *Shared = mmap(NULL, sizeof(*Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t Child = -1;
    int Status = 0;

    if (Shared == MAP_FAILED || (Way->Apart && (Child = fork()) < 0))
    {
        perror("pool");
        exit(1);
    }
    if (Child == 0)
    {
        RunWorkers(Way, Shared, 1, 1);
        _exit(0);
    }
    Shared->Best = (RESULT){ 1e9, 1e9, 1e9, 1e9, 0 };
    RunWorkers(Way, Shared, 0, Way->Apart ? 1 : 2);
    if (Way->Apart && (waitpid(Child, &Status, 0) != Child || Status != 0))
    {
        fprintf(stderr, "pool: the second process failed\n");
        exit(1);
    }
    return Shared->Best;
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
    PeerPoolApart,
    PeerPoolLarge,
    PeerPoolLargeApart,
    PeerMimalloc,
    PeerMimallocApart,
    PeerMimallocLarge,
    PeerMimallocLargeApart,
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
        printf("%-17s is not installed\n", Peer->Name);
        return;
    }
    printf("%-17s %8.1f %10.1f %10.1f %14.1f %10.2f %9.2f %9.2f\n", Peer->Name, Result->Pair,
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

/* Two processors for one, and what two that share nothing get with the same code and memory. */
static void PrintSpeedup(const PEER *Peer, const PEER *Apart)
{
    const RESULT *Result = &Peer->Best;
    const RESULT *Control = &Apart->Best;

    if (Result->Pair != 0 && Control->Pair != 0)
    {
        printf("%s, two processors: pairs %.2f x (apart %.2f x), lifetimes %.2f x (apart %.2f x)\n",
               Peer->Name, 2 * Result->Pair / Result->Pair2, 2 * Control->Pair / Control->Pair2,
               2 * Result->Lifetime / Result->Lifetime2, 2 * Control->Lifetime / Control->Lifetime2);
    }
}

/* Runs one way in this process. FALSE: no such mode. */
static BOOLEAN RunMode(const char *Mode)
{
    static const struct
    {
        const char *Mode;
        WAY Way;
    } Modes[] = { { "--pool", { .UsePool = TRUE } },
                  { "--pool-large", { .UsePool = TRUE, .LargePages = TRUE } },
                  { "--pool-apart", { .UsePool = TRUE, .Apart = TRUE } },
                  { "--pool-large-apart", { .UsePool = TRUE, .LargePages = TRUE, .Apart = TRUE } },
                  { "--malloc", { .UsePool = FALSE } },
                  { "--malloc-apart", { .Apart = TRUE } } };

    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Modes); Index++)
    {
        if (strcmp(Modes[Index].Mode, Mode) == 0)
        {
            RESULT Result = Measure(&Modes[Index].Way);

            printf("%f %f %f %f %f\n", Result.Pair, Result.Lifetime, Result.Pair2, Result.Lifetime2,
                   Result.Overhead);
            return TRUE;
        }
    }
    return FALSE;
}

#define MIMALLOC       "/usr/lib/x86_64-linux-gnu/libmimalloc.so.2.0"
#define MIMALLOC_LARGE "MIMALLOC_LARGE_OS_PAGES=1 MIMALLOC_EAGER_COMMIT_DELAY=0"

int main(int Count, char **Arguments)
{
    static PEER Peers[] = {
        [PeerPool] = { .Name = "pool", .Library = "", .Environment = "", .Mode = "--pool" },
        [PeerPoolApart] = { .Name = "pool_apart", .Library = "", .Environment = "", .Mode = "--pool-apart" },
        [PeerPoolLarge] = { .Name = "pool_2m", .Library = "", .Environment = "", .Mode = "--pool-large" },
        [PeerPoolLargeApart] = { .Name = "pool_2m_apart",
                                 .Library = "",
                                 .Environment = "",
                                 .Mode = "--pool-large-apart" },
        [PeerMimalloc] = { .Name = "mimalloc", .Library = MIMALLOC, .Environment = "", .Mode = "--malloc" },
        [PeerMimallocApart] = { .Name = "mimalloc_apart",
                                .Library = MIMALLOC,
                                .Environment = "",
                                .Mode = "--malloc-apart" },
        [PeerMimallocLarge] = { .Name = "mimalloc_2m",
                                .Library = MIMALLOC,
                                .Environment = MIMALLOC_LARGE,
                                .Mode = "--malloc" },
        [PeerMimallocLargeApart] = { .Name = "mimalloc_2m_apart",
                                     .Library = MIMALLOC,
                                     .Environment = MIMALLOC_LARGE,
                                     .Mode = "--malloc-apart" },
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
        return RunMode(Arguments[1]) ? 0 : 2;
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
    printf("%-17s %8s %10s %10s %14s %10s %9s %9s\n", "", "pair", "lifetime", "pair, two", "lifetime, two",
           "overhead", "pairs x", "lives x");
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Peers); Index++)
    {
        PrintLine(Json, &Peers[Index]);
    }
    PrintRatios("4 KiB pages", &Peers[PeerPool].Best, &Peers[PeerMimalloc].Best);
    PrintRatios("2 MiB pages", &Peers[PeerPoolLarge].Best, &Peers[PeerMimallocLarge].Best);
    PrintSpeedup(&Peers[PeerPool], &Peers[PeerPoolApart]);
    PrintSpeedup(&Peers[PeerPoolLarge], &Peers[PeerPoolLargeApart]);
    PrintSpeedup(&Peers[PeerMimalloc], &Peers[PeerMimallocApart]);
    PrintSpeedup(&Peers[PeerMimallocLarge], &Peers[PeerMimallocLargeApart]);
    BenchCloseJson(Json);
    return 0;
}
