/* SPDX-License-Identifier: MIT */
/*
 * System workers, timers and DPCs in both modes; in deterministic mode that the same seed gives the same
 * order, another seed another one, that virtual time jumps, and that a wait which nobody can end is reported.
 */
#include "ke_test.h"

/* ---- Threaded ------------------------------------------------------------------------------------------ */

typedef struct
{
    KI_WORKER Worker;
    KEVENT Done;
    volatile LONG Left;
    volatile LONG Runs;
} JOB;

static BOOLEAN run_job(PVOID context)
{
    JOB *job = context;

    __atomic_fetch_add(&job->Runs, 1, __ATOMIC_RELAXED);
    if (__atomic_load_n(&job->Left, __ATOMIC_RELAXED) == 0)
    {
        return FALSE;
    }
    if (__atomic_sub_fetch(&job->Left, 1, __ATOMIC_RELAXED) == 0)
    {
        KeSetEvent(&job->Done, 0, FALSE);
        return FALSE;
    }
    return TRUE;
}

static void start_job(JOB *job, LONG left, ULONG64 period)
{
    memset(job, 0, sizeof(*job));
    job->Left = left;
    KeInitializeEvent(&job->Done, NotificationEvent, FALSE);
    assert_int_equal(KiStartWorker(&job->Worker, "job", run_job, job, period), STATUS_SUCCESS);
}

static void worker_runs_until_nothing_is_left(void **state)
{
    static JOB job;

    (void)state;
    start_job(&job, 5, 0);
    KiWakeWorker(&job.Worker);
    assert_int_equal(KeWaitForSingleObject(&job.Done, Executive, KernelMode, FALSE, NULL), STATUS_SUCCESS);
    KiStopWorker(&job.Worker);
    assert_int_equal(job.Left, 0);
    assert_true(job.Runs >= 5);
}

static void worker_with_a_period_wakes_itself(void **state)
{
    static JOB job;

    (void)state;
    start_job(&job, 3, 2000000);
    assert_int_equal(KeWaitForSingleObject(&job.Done, Executive, KernelMode, FALSE, NULL), STATUS_SUCCESS);
    KiStopWorker(&job.Worker);
}

static void worker_that_never_ran_can_be_stopped(void **state)
{
    static JOB job;

    (void)state;
    start_job(&job, 0, 0);
    KiStopWorker(&job.Worker);
    assert_int_equal(job.Runs, 0);
}

/* ---- Timers and DPCs (both modes) ---------------------------------------------------------------------- */

static volatile LONG DpcRuns;
static volatile LONG DpcWrongIrql;
static KEVENT DpcDone;

static VOID NTAPI count_dpc(PKDPC dpc, PVOID context, PVOID argument1, PVOID argument2)
{
    (void)dpc;
    (void)argument1;
    (void)argument2;
    if (KeGetCurrentIrql() != DISPATCH_LEVEL)
    {
        __atomic_fetch_add(&DpcWrongIrql, 1, __ATOMIC_RELAXED);
    }
    __atomic_fetch_add(&DpcRuns, 1, __ATOMIC_RELAXED);
    KeSetEvent(context, 0, FALSE);
}

static void timer_signals_and_queues_its_dpc(void **state)
{
    static KTIMER timer;
    static KDPC dpc;
    ULONG64 begin = KiQueryTime();

    (void)state;
    DpcRuns = DpcWrongIrql = 0;
    KeInitializeEvent(&DpcDone, NotificationEvent, FALSE);
    KeInitializeTimer(&timer);
    KeInitializeDpc(&dpc, count_dpc, &DpcDone);
    assert_false(KeSetTimer(&timer, relative_milliseconds(10), &dpc));
    assert_false(KeReadStateTimer(&timer));
    assert_int_equal(KeWaitForSingleObject(&timer, Executive, KernelMode, FALSE, NULL), STATUS_SUCCESS);
    assert_true(KiQueryTime() - begin >= 10000000ull);
    assert_int_equal(KeWaitForSingleObject(&DpcDone, Executive, KernelMode, FALSE, NULL), STATUS_SUCCESS);
    KeFlushQueuedDpcs();
    assert_true(KeReadStateTimer(&timer));
    assert_false(KeCancelTimer(&timer));
    assert_int_equal(DpcRuns, 1);
    assert_int_equal(DpcWrongIrql, 0);
}

static void synchronization_timer_repeats(void **state)
{
    static KTIMER timer;
    ULONG64 begin = KiQueryTime();

    (void)state;
    KeInitializeTimerEx(&timer, SynchronizationTimer);
    assert_false(KeSetTimerEx(&timer, relative_milliseconds(5), 5, NULL));
    for (int i = 0; i < 3; i += 1)
    {
        assert_int_equal(KeWaitForSingleObject(&timer, Executive, KernelMode, FALSE, NULL), STATUS_SUCCESS);
    }
    assert_true(KiQueryTime() - begin >= 15000000ull);
    assert_true(KeCancelTimer(&timer));
    assert_false(KeCancelTimer(&timer));
}

static void cancelled_timer_does_not_fire(void **state)
{
    static KTIMER timers[3];
    LARGE_INTEGER timeout = relative_milliseconds(30);

    (void)state;
    for (int i = 0; i < 3; i += 1)
    {
        KeInitializeTimer(&timers[i]);
        assert_false(KeSetTimer(&timers[i], relative_milliseconds(10 * (3 - i)), NULL));
    }
    assert_true(KeSetTimer(&timers[0], relative_milliseconds(15), NULL));
    assert_true(KeCancelTimer(&timers[1]));
    assert_int_equal(KeWaitForSingleObject(&timers[2], Executive, KernelMode, FALSE, NULL), STATUS_SUCCESS);
    assert_int_equal(KeWaitForSingleObject(&timers[0], Executive, KernelMode, FALSE, NULL), STATUS_SUCCESS);
    assert_int_equal(KeWaitForSingleObject(&timers[1], Executive, KernelMode, FALSE, &timeout),
                     STATUS_TIMEOUT);
}

static void dpc_is_queued_once_and_can_be_removed(void **state)
{
    static KDPC first, second;
    KIRQL irql;

    (void)state;
    DpcRuns = 0;
    KeInitializeEvent(&DpcDone, NotificationEvent, FALSE);
    KeInitializeDpc(&first, count_dpc, &DpcDone);
    KeInitializeDpc(&second, count_dpc, &DpcDone);
    /*
     * The test owns the DPC thread's processor or not: at DISPATCH_LEVEL nothing is guaranteed but the two
     * results.
     */
    KeRaiseIrql(DISPATCH_LEVEL, &irql);
    assert_true(KeInsertQueueDpc(&first, NULL, NULL));
    KeLowerIrql(irql);
    assert_int_equal(KeWaitForSingleObject(&DpcDone, Executive, KernelMode, FALSE, NULL), STATUS_SUCCESS);
    KeFlushQueuedDpcs();
    assert_false(KeRemoveQueueDpc(&second));
    assert_int_equal(DpcRuns, 1);
}

/* ---- Deterministic ------------------------------------------------------------------------------------- */

#define ACTORS 5

static KI_WORKER Actors[ACTORS];
static char Trace[4096];
static size_t TraceLength;
static LONG StepsLeft;
static KEVENT TraceDone;

static BOOLEAN act(PVOID context)
{
    ULONG self = (ULONG)(uintptr_t)context;

    assert_ptr_equal(KiCurrentThread(), &Actors[self].Thread);
    if (TraceLength + 1 < sizeof(Trace))
    {
        Trace[TraceLength] = (char)('a' + self);
        TraceLength += 1;
        Trace[TraceLength] = 0;
    }
    StepsLeft -= 1;
    if (StepsLeft <= 0)
    {
        KeSetEvent(&TraceDone, 0, FALSE);
        return FALSE;
    }
    KiWakeWorker(&Actors[(self * 3 + 1) % ACTORS]);
    if (self == 2)
    {
        LARGE_INTEGER interval = relative_milliseconds(1);

        KeDelayExecutionThread(KernelMode, FALSE, &interval);
    }
    return self == 4;
}

static char *trace_of(ULONG64 seed, ULONG64 *time)
{
    machine_up_with(TRUE, seed);
    TraceLength = 0;
    StepsLeft = 200;
    KeInitializeEvent(&TraceDone, NotificationEvent, FALSE);
    for (ULONG i = 0; i < ACTORS; i += 1)
    {
        assert_int_equal(KiStartWorker(&Actors[i], "actor", act, (PVOID)(uintptr_t)i, i == 0 ? 700000 : 0),
                         STATUS_SUCCESS);
        KiWakeWorker(&Actors[i]);
    }
    assert_int_equal(KeWaitForSingleObject(&TraceDone, Executive, KernelMode, FALSE, NULL), STATUS_SUCCESS);
    assert_ptr_equal(KiCurrentThread(), &TestThread);
    for (ULONG i = 0; i < ACTORS; i += 1)
    {
        KiStopWorker(&Actors[i]);
    }
    *time = KiQueryTime();
    machine_down();
    return strdup(Trace);
}

static void same_seed_same_order(void **state)
{
    ULONG64 first_time, second_time, third_time;
    char *first = trace_of(7, &first_time);
    char *second = trace_of(7, &second_time);
    char *third = trace_of(8, &third_time);

    (void)state;
    assert_string_equal(first, second);
    assert_int_equal(first_time, second_time);
    assert_string_not_equal(first, third);
    free(first);
    free(second);
    free(third);
}

static void virtual_time_jumps_to_the_deadline(void **state)
{
    LARGE_INTEGER hours = { .QuadPart = -10000000ll * 3600 * 5 };
    ULONG64 clock = PortQueryClock();
    KEVENT event;

    (void)state;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    assert_int_equal(KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &hours), STATUS_TIMEOUT);
    assert_int_equal(KiQueryTime(), 3600ull * 5 * 1000000000ull);
    assert_true(PortQueryClock() - clock < 5000000000ull);
}

static void advancing_time_makes_workers_due(void **state)
{
    static JOB job;

    (void)state;
    start_job(&job, 100, 1000000000);
    assert_false(KiStepWorkers());
    KiAdvanceTime(1000000000);
    assert_true(KiStepWorkers());
    assert_int_equal(job.Runs, 1);
    KiStopWorker(&job.Worker);
}

static void wait_that_nobody_can_end_is_reported(void **state)
{
    KEVENT event;

    (void)state;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    EXPECT_BUG_CHECK(KMODE_EXCEPTION_NOT_HANDLED,
                     KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, NULL));
    assert_non_null(strstr(Printed, "deadlock"));
}

static void wait_with_only_periodic_work_is_reported(void **state)
{
    static JOB job;
    KEVENT event;

    (void)state;
    start_job(&job, 0, 1000000000);
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    EXPECT_BUG_CHECK(KMODE_EXCEPTION_NOT_HANDLED,
                     KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, NULL));
    assert_non_null(strstr(Printed, "deadlock"));
    assert_true(job.Runs > 100);
    KiStopWorker(&job.Worker);
}

static BOOLEAN bug_check_in_step(PVOID context)
{
    KIRQL irql;

    (void)context;
    KeRaiseIrql(DISPATCH_LEVEL, &irql);
    KeBugCheckEx(MEMORY_MANAGEMENT, 1, 2, 3, 4);
}

static void machine_survives_a_caught_bug_check_in_a_step(void **state)
{
    static KI_WORKER worker;

    (void)state;
    assert_int_equal(KiStartWorker(&worker, "bad", bug_check_in_step, NULL, 0), STATUS_SUCCESS);
    KiWakeWorker(&worker);
    EXPECT_BUG_CHECK(MEMORY_MANAGEMENT, KiStepWorkers());
    assert_ptr_equal(KiCurrentThread(), &TestThread);
    assert_int_equal(KeGetCurrentIrql(), PASSIVE_LEVEL);
    KiStopWorker(&worker);
}

static void return_nothing(PVOID context)
{
    (void)context;
}

static void threads_do_not_start_in_deterministic_mode(void **state)
{
    static KTHREAD thread;

    (void)state;
    assert_int_equal(KiStartThread(&thread, return_nothing, NULL, ~0u), STATUS_NOT_SUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(worker_runs_until_nothing_is_left, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(worker_with_a_period_wakes_itself, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(worker_that_never_ran_can_be_stopped, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(timer_signals_and_queues_its_dpc, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(synchronization_timer_repeats, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(cancelled_timer_does_not_fire, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(dpc_is_queued_once_and_can_be_removed, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(worker_runs_until_nothing_is_left, setup_deterministic, teardown),
        cmocka_unit_test_setup_teardown(worker_with_a_period_wakes_itself, setup_deterministic, teardown),
        cmocka_unit_test_setup_teardown(worker_that_never_ran_can_be_stopped, setup_deterministic, teardown),
        cmocka_unit_test_setup_teardown(timer_signals_and_queues_its_dpc, setup_deterministic, teardown),
        cmocka_unit_test_setup_teardown(synchronization_timer_repeats, setup_deterministic, teardown),
        cmocka_unit_test_setup_teardown(cancelled_timer_does_not_fire, setup_deterministic, teardown),
        cmocka_unit_test_setup_teardown(dpc_is_queued_once_and_can_be_removed, setup_deterministic, teardown),
        cmocka_unit_test(same_seed_same_order),
        cmocka_unit_test_setup_teardown(virtual_time_jumps_to_the_deadline, setup_deterministic, teardown),
        cmocka_unit_test_setup_teardown(advancing_time_makes_workers_due, setup_deterministic, teardown),
        cmocka_unit_test_setup_teardown(wait_that_nobody_can_end_is_reported, setup_deterministic, teardown),
        cmocka_unit_test_setup_teardown(wait_with_only_periodic_work_is_reported, setup_deterministic,
                                        teardown),
        cmocka_unit_test_setup_teardown(machine_survives_a_caught_bug_check_in_a_step, setup_deterministic,
                                        teardown),
        cmocka_unit_test_setup_teardown(threads_do_not_start_in_deterministic_mode, setup_deterministic,
                                        teardown),
    };

    return cmocka_run_group_tests_name("ke.worker", tests, NULL, NULL);
}
