/* SPDX-License-Identifier: MIT */
/* One processor against two: see support_pair.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "support_pair.h"
#include "support_machine.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS    2u
#define SIDES      4u
#define WARM_UP    4u /* rounds */
#define EXCHANGES  20000u
#define STEPS      200000u
#define CACHE_LINE 64u

typedef struct
{
    BENCH_PAIR_SIDE *Sides;
    ULONG Count;
    ULONG Pages;
    ULONG Rounds;
    SIZE_T CacheBytes; /* of a processor's own cache */
    double *Samples[SIDES][BENCH_PAIR_KINDS][THREADS];
    double Start[THREADS];
    double End[THREADS];
    _Alignas(128) ULONG Arrived;
    _Alignas(128) volatile ULONG64 Line;
    _Alignas(128) volatile ULONG64 Sink[THREADS][16];
} PAIR;

typedef struct
{
    PAIR *Pair;
    ULONG Index;
    UCHAR *Other; /* what fills its cache between preparing and working */
} WORKER;

/* A barrier of turning threads: one that slept would begin its round late, by as much as a round takes. */
static void Meet(PAIR *Pair)
{
    ULONG Mine = __atomic_fetch_add(&Pair->Arrived, 1, __ATOMIC_ACQ_REL);
    ULONG Full = (Mine / THREADS + 1) * THREADS;

    for (ULONG Turn = 1; (LONG)(__atomic_load_n(&Pair->Arrived, __ATOMIC_ACQUIRE) - Full) < 0; Turn++)
    {
        if (Turn % 4096 == 0)
        {
            sched_yield();
        }
    }
}

/* A thread a processor: a round is over before Linux would notice that two threads share one. */
static void Pin(ULONG Index)
{
    cpu_set_t Allowed;
    cpu_set_t One;

    if (sched_getaffinity(0, sizeof(Allowed), &Allowed) != 0 || CPU_COUNT(&Allowed) <= (int)Index)
    {
        return;
    }
    for (int Processor = 0; Processor < CPU_SETSIZE; Processor++)
    {
        if (CPU_ISSET(Processor, &Allowed) && Index-- == 0)
        {
            CPU_ZERO(&One);
            CPU_SET(Processor, &One);
            pthread_setaffinity_np(pthread_self(), sizeof(One), &One);
            return;
        }
    }
}

static void FillCache(const WORKER *Worker)
{
    ULONG64 Sum = 0;

    for (SIZE_T Byte = 0; Byte < 2 * Worker->Pair->CacheBytes; Byte += CACHE_LINE)
    {
        Sum += *(volatile UCHAR *)(Worker->Other + Byte);
    }
    Worker->Pair->Sink[Worker->Index][0] = Sum;
}

/* ns for each page. The first pages of each half bring the code and what it always needs back into the cache of the half's processor. */
static double TimedPart(const WORKER *Worker, const BENCH_PAIR_SIDE *Side, BENCH_PAIR_KIND Kind,
                        ULONG Processors)
{
    PAIR *Pair = Worker->Pair;
    ULONG Half = Pair->Pages / THREADS;
    ULONG Share = Half - BENCH_PAIR_FIRST;
    ULONG Index = Worker->Index;
    double First;
    double Last;

    FillCache(Worker);
    Side->Work(Side->Context, Kind, Index * Half, BENCH_PAIR_FIRST);
    Meet(Pair);
    Pair->Start[Index] = BenchNow();
    if (Index < Processors)
    {
        Side->Work(Side->Context, Kind, Index * Half + BENCH_PAIR_FIRST, Share);
    }
    if (Processors == 1 && Index == 0)
    {
        Side->Work(Side->Context, Kind, Half + BENCH_PAIR_FIRST, Share);
    }
    Pair->End[Index] = BenchNow();
    Meet(Pair);
    First = Pair->Start[0];
    Last = Pair->End[0];
    if (Processors == 2)
    {
        First = Pair->Start[1] < First ? Pair->Start[1] : First;
        Last = Pair->End[1] > Last ? Pair->End[1] : Last;
    }
    return (Last - First) / (THREADS * Share) * 1e9;
}

static void Round(const WORKER *Worker, ULONG Number, ULONG SideIndex, ULONG Processors)
{
    PAIR *Pair = Worker->Pair;
    const BENCH_PAIR_SIDE *Side = &Pair->Sides[SideIndex];

    for (ULONG Kind = 0; Kind < Side->Kinds; Kind++)
    {
        double Nanoseconds;

        if (Worker->Index == THREADS - 1)
        {
            Side->Prepare(Side->Context, Kind);
        }
        Meet(Pair);
        Nanoseconds = TimedPart(Worker, Side, Kind, Processors);
        if (Worker->Index == 0 && Number >= WARM_UP)
        {
            Pair->Samples[SideIndex][Kind][Processors - 1][Number - WARM_UP] = Nanoseconds;
        }
    }
}

static void *Work(void *Argument)
{
    const WORKER *Worker = Argument;
    PAIR *Pair = Worker->Pair;
    PVOID Threads[SIDES] = { NULL };

    Pin(Worker->Index);
    for (ULONG Side = 0; Side < Pair->Count; Side++)
    {
        if (Pair->Sides[Side].Enter != NULL)
        {
            Threads[Side] = Pair->Sides[Side].Enter(Pair->Sides[Side].Context, Worker->Index);
        }
    }
    for (ULONG Number = 0; Number < WARM_UP + Pair->Rounds; Number++)
    {
        for (ULONG Processors = 1; Processors <= THREADS; Processors++)
        {
            for (ULONG Side = 0; Side < Pair->Count; Side++)
            {
                Round(Worker, Number, Side, Processors);
            }
        }
    }
    for (ULONG Side = 0; Side < Pair->Count; Side++)
    {
        if (Pair->Sides[Side].Leave != NULL)
        {
            Pair->Sides[Side].Leave(Pair->Sides[Side].Context, Threads[Side]);
        }
    }
    return NULL;
}

static void RunThreads(PAIR *Pair, void *(*Function)(void *))
{
    pthread_t Handles[THREADS];
    WORKER Workers[THREADS];

    Pair->CacheBytes = sysconf(_SC_LEVEL2_CACHE_SIZE) > 0 ? (SIZE_T)sysconf(_SC_LEVEL2_CACHE_SIZE) : 1u << 20;
    for (ULONG Index = 0; Index < THREADS; Index++)
    {
        Workers[Index] = (WORKER){ Pair, Index, malloc(2 * Pair->CacheBytes) };
        BENCH_CHECK(Workers[Index].Other != NULL ? STATUS_SUCCESS : STATUS_NO_MEMORY);
        memset(Workers[Index].Other, 1, 2 * Pair->CacheBytes);
        BENCH_CHECK(pthread_create(&Handles[Index], NULL, Function, &Workers[Index]) == 0
                        ? STATUS_SUCCESS
                        : STATUS_INSUFFICIENT_RESOURCES);
    }
    for (ULONG Index = 0; Index < THREADS; Index++)
    {
        pthread_join(Handles[Index], NULL);
        free(Workers[Index].Other);
    }
}

static int CompareDoubles(const void *Left, const void *Right)
{
    double L = *(const double *)Left;
    double R = *(const double *)Right;

    return L < R ? -1 : L > R;
}

static double Median(double *Samples, ULONG Count)
{
    qsort(Samples, Count, sizeof(*Samples), CompareDoubles);
    return Count % 2 != 0 ? Samples[Count / 2] : (Samples[Count / 2 - 1] + Samples[Count / 2]) / 2;
}

void BenchMeasurePair(BENCH_PAIR_SIDE *Sides, ULONG Count, ULONG Pages, ULONG Rounds)
{
    PAIR Pair = { .Sides = Sides, .Count = Count, .Pages = Pages, .Rounds = Rounds };
    double *All = calloc((SIZE_T)Count * BENCH_PAIR_KINDS * THREADS * Rounds, sizeof(*All));
    double *Next = All;

    BENCH_CHECK(All != NULL && Count <= SIDES ? STATUS_SUCCESS : STATUS_NO_MEMORY);
    for (ULONG Side = 0; Side < Count; Side++)
    {
        for (ULONG Part = 0; Part < BENCH_PAIR_KINDS * THREADS; Part++, Next += Rounds)
        {
            Pair.Samples[Side][Part / THREADS][Part % THREADS] = Next;
        }
        if (Sides[Side].Begin != NULL)
        {
            Sides[Side].Begin(Sides[Side].Context, Pages);
        }
    }
    RunThreads(&Pair, Work);
    for (ULONG Side = 0; Side < Count; Side++)
    {
        for (ULONG Kind = 0; Kind < Sides[Side].Kinds; Kind++)
        {
            Sides[Side].Result[Kind].One = Median(Pair.Samples[Side][Kind][0], Rounds);
            Sides[Side].Result[Kind].Two = Median(Pair.Samples[Side][Kind][1], Rounds);
            Sides[Side].Result[Kind].Speedup = Sides[Side].Result[Kind].One / Sides[Side].Result[Kind].Two;
        }
        if (Sides[Side].End != NULL)
        {
            Sides[Side].End(Sides[Side].Context);
        }
    }
    free(All);
}

/* ---- What the machine gives ------------------------------------------------------------------------------------ */

static void *Exchange(void *Argument)
{
    const WORKER *Worker = Argument;
    PAIR *Pair = Worker->Pair;

    Pin(Worker->Index);
    Meet(Pair);
    Pair->Start[Worker->Index] = BenchNow();
    for (ULONG64 Turn = Worker->Index; Turn < 2 * EXCHANGES; Turn += 2)
    {
        ULONG64 Waited = 0;

        while (__atomic_load_n(&Pair->Line, __ATOMIC_ACQUIRE) != Turn)
        {
            if (++Waited % 65536 == 0)
            {
                sched_yield(); /* a machine with one processor */
            }
        }
        __atomic_store_n(&Pair->Line, Turn + 1, __ATOMIC_RELEASE);
    }
    Pair->End[Worker->Index] = BenchNow();
    return NULL;
}

double BenchLineTransfer(void)
{
    PAIR Pair = { .Line = 0 };

    RunThreads(&Pair, Exchange);
    return (Pair.End[0] - Pair.Start[0]) / (2 * EXCHANGES) * 1e9;
}

static ULONG64 Step(ULONG64 Value)
{
    Value ^= Value << 13;
    Value ^= Value >> 7;
    return Value ^ (Value << 17);
}

static void *Compute(void *Argument)
{
    const WORKER *Worker = Argument;
    PAIR *Pair = Worker->Pair;

    Pin(Worker->Index);
    for (ULONG Number = 0; Number < 2 * Pair->Rounds; Number++)
    {
        ULONG64 Value = Worker->Index + 1;
        ULONG Processors = 1 + Number % 2;

        Meet(Pair);
        Pair->Start[Worker->Index] = BenchNow();
        for (ULONG Turn = 0; Turn < STEPS / Processors && Worker->Index < Processors; Turn++)
        {
            Value = Step(Value);
        }
        Pair->Sink[Worker->Index][0] = Value;
        Pair->End[Worker->Index] = BenchNow();
        Meet(Pair);
        if (Worker->Index == 0)
        {
            double Last = Pair->End[1] > Pair->End[0] ? Pair->End[1] : Pair->End[0];

            Pair->Samples[0][0][Processors - 1][Number / 2] = Last - Pair->Start[0];
        }
    }
    return NULL;
}

double BenchArithmetic(void)
{
    double One[21];
    double Two[21];
    PAIR Pair = { .Rounds = 21, .Samples[0][0] = { One, Two } };

    RunThreads(&Pair, Compute);
    return Median(One, 21) / Median(Two, 21);
}

void BenchShuffle(ULONG *Order, ULONG Count)
{
    ULONG64 Random = 0x9E3779B97F4A7C15ull;

    for (ULONG Index = Count; Index > 1; Index--)
    {
        ULONG Other;
        ULONG Swap = Order[Index - 1];

        Random = Step(Random);
        Other = (ULONG)(Random % Index);
        Order[Index - 1] = Order[Other];
        Order[Other] = Swap;
    }
}
