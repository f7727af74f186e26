/* SPDX-License-Identifier: MIT */
/*
 * The dispatch word of a processor: one thread at a time is inside, whichever way it went in (its bias or the lock), wherever
 * Linux stops it. A thread of the test sends the others signals all the time, whose handler sleeps: they lie still between
 * any two instructions of the way in while the rest takes the bias away, earns it, and ends. What is guarded is plain memory, so that
 * ThreadSanitizer sees an order that is missing.
 */
#include "../ke/ke_test.h"

#include "host_machine.h"

#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define THREADS      3
#define SHARED       2u /* processor numbers that all go for */
#define EARNED       8u
#define STOP_SIGNAL  (SIGRTMIN + 9)
#define STOP_PERIOD  40000u  /* nanoseconds between two signals */
#define STOP_LONGEST 300000u /* nanoseconds that one holds its thread up */

#if NTMM_TSAN
/* no_sanitize_thread would still call the runtime at the start: a signal that finds its locks taken would wait for ever. */
#if defined(__clang__)
#define NOT_SANITIZED __attribute__((disable_sanitizer_instrumentation))
#else
#define NOT_SANITIZED __attribute__((no_sanitize_thread))
#endif
#define ROUNDS 100000u
#else
#define NOT_SANITIZED
#define ROUNDS 2000000u
#endif

typedef struct
{
    volatile ULONG Inside; /* who is */
    uint64_t Entries;      /* plain: the processor guards it */
    UCHAR Padding[48];
} GUARDED;

static GUARDED Guarded[SHARED];
static volatile LONG Tids[THREADS];
static volatile ULONG Ended;
static volatile LONG Violations;
static volatile ULONG Stops;
static volatile ULONG
    Stopping; /* a signal is under way, or its thread sleeps: they never pile up on a signal stack */
static uint64_t Rounds;

static ULONG next_random(ULONG64 *random)
{
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return (ULONG)*random;
}

NOT_SANITIZED static void stop_here(int signal, siginfo_t *info, void *context)
{
    struct timespec time = { 0, (long)(1000u + Stops * 7919u % STOP_LONGEST) };

    (void)signal;
    (void)info;
    (void)context;
    Stops += 1;
    HostSystemCall(SYS_nanosleep, (ULONG_PTR)&time, 0, 0, 0, 0, 0);
    Stopping = 0; /* no atomic: TSan's runtime must not be entered from here */
}

static void go_in_and_out(ULONG processor, ULONG self)
{
    GUARDED *guarded = &Guarded[processor];

    PortEnterDispatch(processor);
    if (__atomic_exchange_n(&guarded->Inside, self, __ATOMIC_RELAXED) != 0)
    {
        __atomic_fetch_add(&Violations, 1, __ATOMIC_RELAXED);
    }
    guarded->Entries += 1;
    if (__atomic_exchange_n(&guarded->Inside, 0, __ATOMIC_RELAXED) != self)
    {
        __atomic_fetch_add(&Violations, 1, __ATOMIC_RELAXED);
    }
    PortLeaveDispatch(processor);
}

/* Bursts that earn the bias, some of them short, on one number after the other. */
static void bursts(PVOID context)
{
    ULONG self = (ULONG)(ULONG_PTR)context;
    ULONG64 random = 0x9e3779b97f4a7c15ull * self;

    __atomic_store_n(&Tids[self - 1], (LONG)syscall(SYS_gettid), __ATOMIC_RELEASE);
    for (uint64_t entries = 0; entries < Rounds;)
    {
        ULONG length = next_random(&random) % 4 == 0 ? 1 : next_random(&random) % 60;
        ULONG processor = next_random(&random) % SHARED;

        for (ULONG entry = 0; entry < length && entries < Rounds; entry += 1, entries += 1)
        {
            go_in_and_out(processor, self);
        }
        if (next_random(&random) % 8 == 0)
        {
            PortYield();
        }
    }
    __atomic_store_n(&Tids[self - 1], 0, __ATOMIC_RELEASE);
    __atomic_fetch_add(&Ended, 1, __ATOMIC_RELEASE);
}

static void stop_the_threads(void)
{
    struct timespec period = { 0, STOP_PERIOD };

    for (ULONG next = 0; __atomic_load_n(&Ended, __ATOMIC_ACQUIRE) != THREADS; next += 1)
    {
        LONG tid = __atomic_load_n(&Tids[next % THREADS], __ATOMIC_ACQUIRE);

        if (tid != 0)
        {
            __atomic_store_n(&Stopping, 1, __ATOMIC_RELAXED);
            syscall(SYS_tgkill, getpid(), tid, STOP_SIGNAL);
        }
        do
        {
            nanosleep(&period, NULL);
        } while (__atomic_load_n(&Stopping, __ATOMIC_ACQUIRE) != 0 &&
                 __atomic_load_n(&Tids[next % THREADS], __ATOMIC_ACQUIRE) != 0);
    }
}

/* A machine on which whoever comes earns the bias soon, again and again. */
static int setup_biased(void **state)
{
    HOST_PARAMETERS host = { .RamBytes = 16 << 20, .ProcessorCount = TEST_PROCESSORS };
    KI_PARAMETERS parameters = { 0 };

    (void)state;
    assert_int_equal(HostInitializeMachine(&host), STATUS_SUCCESS);
    HostInitializeDispatch(EARNED);
    assert_int_equal(KiInitializeSystem(&parameters, &TestThread), STATUS_SUCCESS);
    return 0;
}

static void start_over(void)
{
    memset(Guarded, 0, sizeof(Guarded));
    memset((void *)(uintptr_t)Tids, 0, sizeof(Tids));
    Ended = 0;
    Violations = 0;
}

static void one_is_inside_wherever_threads_are_stopped(void **state)
{
    static KTHREAD threads[THREADS];
    HOST_SIGNAL_ACTION previous;
    uint64_t passes = iterations(4);

    (void)state;
    HostSetSignalAction(STOP_SIGNAL, (ULONG_PTR)stop_here, &previous);
    Stops = 0;
    for (uint64_t pass = 0; pass < passes; pass += 1)
    {
        uint64_t entries = 0;

        start_over();
        Rounds = ROUNDS;
        for (ULONG i = 0; i < THREADS; i += 1)
        {
            assert_int_equal(KiStartThread(&threads[i], bursts, (PVOID)(uintptr_t)(i + 1), i),
                             STATUS_SUCCESS);
        }
        stop_the_threads();
        for (ULONG i = 0; i < THREADS; i += 1)
        {
            KiJoinThread(&threads[i]);
        }
        for (ULONG i = 0; i < SHARED; i += 1)
        {
            entries += Guarded[i].Entries;
        }
        assert_int_equal(Violations, 0);
        assert_int_equal(entries, THREADS * Rounds);
    }
    assert_true(Stops > 0);
    HostSystemCall(SYS_rt_sigaction, (ULONG_PTR)STOP_SIGNAL, (ULONG_PTR)&previous, 0, sizeof(previous.Mask),
                   0, 0);
}

static void earn_the_bias_and_end(PVOID context)
{
    for (ULONG i = 0; i < 200; i += 1)
    {
        go_in_and_out(0, (ULONG)(ULONG_PTR)context);
    }
}

static void visit_until_ended(PVOID context)
{
    ULONG64 random = 88172645463325252ull;

    while (__atomic_load_n(&Ended, __ATOMIC_ACQUIRE) == 0)
    {
        go_in_and_out(0, (ULONG)(ULONG_PTR)context);
        Rounds += 1;
        for (ULONG pause = next_random(&random) % 2000; pause != 0; pause -= 1)
        {
            PortPause();
        }
    }
}

/* What is looked at when the bias is taken away lies in the storage of a thread that may just be ending. */
static void threads_end_with_the_bias(void **state)
{
    static KTHREAD visitor;
    static KTHREAD thread;
    uint64_t passes = iterations(600);

    (void)state;
    start_over();
    Rounds = 0;
    assert_int_equal(KiStartThread(&visitor, visit_until_ended, (PVOID)(uintptr_t)1, 0), STATUS_SUCCESS);
    for (uint64_t pass = 0; pass < passes; pass += 1)
    {
        assert_int_equal(KiStartThread(&thread, earn_the_bias_and_end, (PVOID)(uintptr_t)2, 0),
                         STATUS_SUCCESS);
        KiJoinThread(&thread);
    }
    __atomic_store_n(&Ended, 1, __ATOMIC_RELEASE);
    KiJoinThread(&visitor);
    assert_int_equal(Violations, 0);
    assert_int_equal(Guarded[0].Entries, Rounds + passes * 200);
}

static void a_thread_has_the_bias_of_several_processors(void **state)
{
    (void)state;
    start_over();
    for (ULONG i = 0; i < 2000; i += 1)
    {
        go_in_and_out(i % SHARED, 1);
        go_in_and_out(i / 200 % SHARED, 1);
    }
    for (ULONG i = 0; i < SHARED; i += 1)
    {
        go_in_and_out(i, 1);
    }
    assert_int_equal(Violations, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_is_inside_wherever_threads_are_stopped, setup_biased, teardown),
        cmocka_unit_test_setup_teardown(threads_end_with_the_bias, setup_biased, teardown),
        cmocka_unit_test_setup_teardown(a_thread_has_the_bias_of_several_processors, setup_biased, teardown),
    };

    return cmocka_run_group_tests_name("host.dispatch", tests, NULL, NULL);
}
