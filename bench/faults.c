/* SPDX-License-Identifier: MIT */
/*
 * What a fault costs. On simulated processors: demand zero with zeroed pages at hand, and soft (transition) faults, per page, with one and with two
 * processors in one process; beside it, in the same run, anonymous page faults of the Linux it runs on (first touch of 4 KiB pages, after a round
 * that made the host provide the memory). Threads are pinned; trials alternate between one and two threads; the best round of each counts.
 *
 * `faults --count zero|soft` makes a fixed number of faults of one kind and nothing else: for callgrind (scripts/count_instructions.sh).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "support_machine.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGES_EACH      8192u
#define ROUNDS          25
#define TRIALS          5
#define MAXIMUM_THREADS 2

typedef struct
{
    PEPROCESS Process;
    ULONG_PTR Base;
    ULONG Threads;
    ULONG Arrived;     /* atomic: at the barrier, all rounds together */
    double DemandZero; /* seconds for all pages of all threads, best round */
    double Soft;
} RUN;

typedef struct
{
    RUN *Run;
    ULONG Index;
} WORKER;

static void TouchAll(ULONG_PTR Base, ULONG Access)
{
    PHOST_SIM Simulated = HostCurrentSim();
    EXCEPTION_RECORD Record;

    for (ULONG Page = 0; Page < PAGES_EACH; Page++)
    {
        BENCH_CHECK(HostSimTouch(Simulated, Base + ((ULONG_PTR)Page << PAGE_SHIFT), Access, &Record));
    }
}

/* A barrier of turning threads: one that slept would begin its round late, by as much as a round takes. */
static void Meet(RUN *Run)
{
    ULONG Mine = __atomic_fetch_add(&Run->Arrived, 1, __ATOMIC_ACQ_REL);
    ULONG Full = (Mine / Run->Threads + 1) * Run->Threads;

    for (ULONG Turn = 1; (LONG)(__atomic_load_n(&Run->Arrived, __ATOMIC_ACQUIRE) - Full) < 0; Turn++)
    {
        if (Turn % 4096 == 0)
        {
            sched_yield();
        }
    }
}

static double Timed(RUN *Run, ULONG_PTR Base, ULONG Access)
{
    double Start;

    Meet(Run);
    Start = BenchNow();
    TouchAll(Base, Access);
    Meet(Run);
    return BenchNow() - Start;
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

static void *Work(void *Argument)
{
    WORKER *Worker = Argument;
    RUN *Run = Worker->Run;
    void *Thread = BenchEnter(Worker->Index);
    KAPC_STATE Attached;

    Pin(Worker->Index);
    BENCH_CHECK(HostSetThreadSimulated(TRUE));
    KeStackAttachProcess((PRKPROCESS)Run->Process, &Attached);
    for (int Round = 0; Round < ROUNDS; Round++)
    {
        ULONG_PTR Base;
        double Seconds;

        if (Worker->Index == 0)
        {
            Run->Base = BenchAllocate(Run->Process, (SIZE_T)Run->Threads * PAGES_EACH);
        }
        Meet(Run);
        Base = Run->Base + ((ULONG_PTR)Worker->Index * PAGES_EACH << PAGE_SHIFT);
        Seconds = Timed(Run, Base, PORT_FAULT_WRITE);
        Run->DemandZero = Worker->Index == 0 && Seconds < Run->DemandZero ? Seconds : Run->DemandZero;
        if (Worker->Index == 0)
        {
            MiEmptyWorkingSet(&Run->Process->Space);
        }
        Seconds = Timed(Run, Base, 0);
        Run->Soft = Worker->Index == 0 && Seconds < Run->Soft ? Seconds : Run->Soft;
        if (Worker->Index == 0)
        {
            BenchFree(Run->Process, Run->Base);
            while (MiZeroPagesStep(NULL))
            {
            }
        }
    }
    KeUnstackDetachProcess(&Attached);
    BENCH_CHECK(HostSetThreadSimulated(FALSE));
    BenchLeave(Thread);
    return NULL;
}

static void Measure(RUN *Run, ULONG Threads)
{
    pthread_t Handles[MAXIMUM_THREADS];
    WORKER Workers[MAXIMUM_THREADS];

    memset(Run, 0, sizeof(*Run));
    Run->Threads = Threads;
    Run->DemandZero = Run->Soft = 1e9;
    Run->Process = BenchCreateProcess("faults");
    for (ULONG Index = 0; Index < Threads; Index++)
    {
        Workers[Index] = (WORKER){ Run, Index };
        pthread_create(&Handles[Index], NULL, Work, &Workers[Index]);
    }
    for (ULONG Index = 0; Index < Threads; Index++)
    {
        pthread_join(Handles[Index], NULL);
    }
    BenchEndProcess(Run->Process);
}

static void Keep(RUN *Best, const RUN *Run)
{
    Best->DemandZero = Run->DemandZero < Best->DemandZero ? Run->DemandZero : Best->DemandZero;
    Best->Soft = Run->Soft < Best->Soft ? Run->Soft : Best->Soft;
}

static double MeasureLinux(void)
{
    const SIZE_T Bytes = (SIZE_T)PAGES_EACH << PAGE_SHIFT;
    double Best = 1e9;

    for (int Round = 0; Round < ROUNDS; Round++)
    {
        volatile char *Memory =
            mmap(NULL, Bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        double Start;

        madvise((void *)Memory, Bytes, MADV_NOHUGEPAGE);
        Start = BenchNow();
        for (ULONG Page = 0; Page < PAGES_EACH; Page++)
        {
            Memory[(SIZE_T)Page << PAGE_SHIFT] = 1;
        }
        Start = BenchNow() - Start;
        Best = Start < Best ? Start : Best;
        munmap((void *)Memory, Bytes);
    }
    return Best / PAGES_EACH * 1e9;
}

/* A fixed number of faults of one kind, for callgrind. Page tables exist already; MmAccessFault is entered once for each page. */
static void CountOnly(const char *Kind)
{
    RUN Run = { .Threads = 1 };
    KAPC_STATE Attached;
    ULONG64 Before;

    Run.Process = BenchCreateProcess("faults");
    Run.Base = BenchAllocate(Run.Process, PAGES_EACH);
    BENCH_CHECK(HostSetThreadSimulated(TRUE));
    KeStackAttachProcess((PRKPROCESS)Run.Process, &Attached);
    Before = MiQueryCounter(MiCounterPageFaults);
    if (strcmp(Kind, "soft") == 0)
    {
        /* Without MmAccessFault, so that the counting is not switched on. */
        for (ULONG Page = 0; Page < PAGES_EACH; Page++)
        {
            BENCH_CHECK(MiFaultAddress(&Run.Process->Space, Run.Base + ((ULONG_PTR)Page << PAGE_SHIFT),
                                       MiAccessWrite, KernelMode, NULL));
        }
        MiEmptyWorkingSet(&Run.Process->Space);
        Before = MiQueryCounter(MiCounterPageFaults);
    }
    TouchAll(Run.Base, strcmp(Kind, "soft") == 0 ? 0 : PORT_FAULT_WRITE);
    printf("faults %llu\n", (unsigned long long)(MiQueryCounter(MiCounterPageFaults) - Before));
    KeUnstackDetachProcess(&Attached);
    BENCH_CHECK(HostSetThreadSimulated(FALSE));
    BenchEndProcess(Run.Process);
}

int main(int argc, char **argv)
{
    BOOLEAN Count = argc > 2 && strcmp(argv[1], "--count") == 0;
    BENCH_MACHINE Machine = { .RamBytes = 512ull << 20, .Processors = 2, .NoWorkers = TRUE };
    RUN One = { .DemandZero = 1e9, .Soft = 1e9 };
    RUN Two = One;
    double Linux = 0;
    double Zero;
    double Soft;
    FILE *Json;

    BenchBoot(&Machine);
    if (Count)
    {
        CountOnly(argv[2]);
        BenchShutdown();
        return 0;
    }
    /* In turns, the best of each: what else runs on the machine takes a processor away from two threads sooner than from one. */
    for (int Trial = 0; Trial < TRIALS; Trial++)
    {
        RUN Run;
        double Fault = MeasureLinux();

        Linux = Trial == 0 || Fault < Linux ? Fault : Linux;
        Measure(&Run, 1);
        Keep(&One, &Run);
        Measure(&Run, 2);
        Keep(&Two, &Run);
    }
    BenchShutdown();
    Zero = One.DemandZero / PAGES_EACH * 1e9;
    Soft = One.Soft / PAGES_EACH * 1e9;
    printf("Linux anonymous page fault        %8.0f ns\n", Linux);
    printf("demand-zero fault, 1 processor    %8.0f ns   %.3f x Linux (mark: 0.3)\n", Zero, Zero / Linux);
    printf("soft fault, 1 processor           %8.0f ns   %.3f x Linux (mark: 0.3)\n", Soft, Soft / Linux);
    printf("demand zero, 2 processors against 1: %.2f x the pages per second (mark: 1.7)\n",
           2 * One.DemandZero / Two.DemandZero);
    printf("soft faults, 2 processors against 1: %.2f x the pages per second (mark: 1.7)\n",
           2 * One.Soft / Two.Soft);
    printf("PFN database: %zu bytes a frame\n", sizeof(MMPFN));
    Json = BenchOpenJson("faults");
    fprintf(
        Json,
        ",\n  \"linux_anonymous_fault_ns\": %.1f,\n  \"demand_zero_ns\": %.1f,\n  \"soft_ns\": %.1f,\n"
        "  \"demand_zero_ratio\": %.4f,\n  \"soft_ratio\": %.4f,\n  \"demand_zero_two_processors\": %.3f,\n"
        "  \"soft_two_processors\": %.3f,\n  \"pfn_bytes\": %zu",
        Linux, Zero, Soft, Zero / Linux, Soft / Linux, 2 * One.DemandZero / Two.DemandZero,
        2 * One.Soft / Two.Soft, sizeof(MMPFN));
    BenchCloseJson(Json);
    return 0;
}
