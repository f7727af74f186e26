/* SPDX-License-Identifier: MIT */
/*
 * Dispatcher objects and waits: the sentences of the documentation, then many threads at once.
 */
#include "ke_test.h"

/* ---- Events -------------------------------------------------------------------------------------------- */

static void notification_event_stays_signaled(void **state)
{
    KEVENT event;

    (void)state;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    assert_int_equal(KeReadStateEvent(&event), 0);
    assert_int_equal(KeSetEvent(&event, IO_NO_INCREMENT, FALSE), 0);
    assert_int_equal(KeSetEvent(&event, IO_NO_INCREMENT, FALSE), 1);
    assert_int_equal(KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, NULL), STATUS_SUCCESS);
    assert_int_equal(KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, NULL), STATUS_SUCCESS);
    assert_int_equal(KeResetEvent(&event), 1);
    assert_int_equal(KeReadStateEvent(&event), 0);
}

static void synchronization_event_satisfies_one_wait(void **state)
{
    LARGE_INTEGER zero = { .QuadPart = 0 };
    KEVENT event;

    (void)state;
    KeInitializeEvent(&event, SynchronizationEvent, TRUE);
    assert_int_equal(KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &zero), STATUS_SUCCESS);
    assert_int_equal(KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &zero), STATUS_TIMEOUT);
}

static void zero_timeout_polls_at_dispatch_level(void **state)
{
    LARGE_INTEGER zero = { .QuadPart = 0 };
    KEVENT event;
    KIRQL irql;

    (void)state;
    KeInitializeEvent(&event, SynchronizationEvent, FALSE);
    KeRaiseIrql(DISPATCH_LEVEL, &irql);
    assert_int_equal(KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &zero), STATUS_TIMEOUT);
    KeSetEvent(&event, IO_NO_INCREMENT, FALSE);
    assert_int_equal(KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &zero), STATUS_SUCCESS);
    KeLowerIrql(irql);
}

static void waiting_at_dispatch_level_is_a_bug_check(void **state)
{
    KEVENT event;
    KIRQL irql;

    (void)state;
    KeInitializeEvent(&event, SynchronizationEvent, TRUE);
    KeRaiseIrql(DISPATCH_LEVEL, &irql);
    EXPECT_BUG_CHECK(ATTEMPTED_SWITCH_FROM_DPC,
                     KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, NULL));
    assert_int_equal(KeGetCurrentIrql(), PASSIVE_LEVEL);
}

static void relative_timeout_lasts_as_long_as_it_says(void **state)
{
    LARGE_INTEGER timeout = relative_milliseconds(30);
    ULONG64 begin = KiQueryTime();
    KEVENT event;

    (void)state;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    assert_int_equal(KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &timeout), STATUS_TIMEOUT);
    assert_true(KiQueryTime() - begin >= 30000000ull);
    assert_true(KiQueryTime() - begin < 10000000000ull);
}

static void absolute_timeout_is_a_date(void **state)
{
    ULONG64 begin = KiQueryTime();
    LARGE_INTEGER date;
    KEVENT event;

    (void)state;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    date.QuadPart = 1;
    assert_int_equal(KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &date), STATUS_TIMEOUT);
    KeQuerySystemTime(&date);
    date.QuadPart += 200000;
    assert_int_equal(KeWaitForSingleObject(&event, Executive, KernelMode, FALSE, &date), STATUS_TIMEOUT);
    assert_true(KiQueryTime() - begin >= 19000000ull);
}

/* ---- Semaphores and mutexes ---------------------------------------------------------------------------- */

static void semaphore_counts_and_has_a_limit(void **state)
{
    LARGE_INTEGER zero = { .QuadPart = 0 };
    KI_EXCEPTION_FRAME frame;
    volatile int raised = 0;
    KSEMAPHORE semaphore;

    (void)state;
    KeInitializeSemaphore(&semaphore, 1, 3);
    assert_int_equal(KeReleaseSemaphore(&semaphore, 0, 2, FALSE), 1);
    assert_int_equal(KeReadStateSemaphore(&semaphore), 3);
    if (KiTry(&frame))
    {
        KeReleaseSemaphore(&semaphore, 0, 1, FALSE);
        KiEndTry(&frame);
    }
    else
    {
        raised = frame.Record.ExceptionCode == STATUS_SEMAPHORE_LIMIT_EXCEEDED;
    }
    assert_true(raised);
    for (int i = 0; i < 3; i += 1)
    {
        assert_int_equal(KeWaitForSingleObject(&semaphore, Executive, KernelMode, FALSE, &zero),
                         STATUS_SUCCESS);
    }
    assert_int_equal(KeWaitForSingleObject(&semaphore, Executive, KernelMode, FALSE, &zero), STATUS_TIMEOUT);
}

static void mutex_is_recursive_and_enters_a_critical_region(void **state)
{
    KMUTEX mutex;

    (void)state;
    KeInitializeMutex(&mutex, 0);
    assert_int_equal(KeReadStateMutex(&mutex), 1);
    assert_false(KeAreApcsDisabled());
    assert_int_equal(KeWaitForSingleObject(&mutex, Executive, KernelMode, FALSE, NULL), STATUS_SUCCESS);
    assert_int_equal(KeWaitForMutexObject(&mutex, Executive, KernelMode, FALSE, NULL), STATUS_SUCCESS);
    assert_true(KeAreApcsDisabled());
    assert_int_equal(KeReleaseMutex(&mutex, FALSE), -1);
    assert_true(KeAreApcsDisabled());
    assert_int_equal(KeReleaseMutex(&mutex, FALSE), 0);
    assert_false(KeAreApcsDisabled());
    assert_int_equal(KeReadStateMutex(&mutex), 1);
}

static void releasing_a_foreign_mutex_raises(void **state)
{
    KI_EXCEPTION_FRAME frame;
    volatile NTSTATUS raised = 0;
    KMUTEX mutex;

    (void)state;
    KeInitializeMutex(&mutex, 0);
    if (KiTry(&frame))
    {
        KeReleaseMutex(&mutex, FALSE);
        KiEndTry(&frame);
    }
    else
    {
        raised = frame.Record.ExceptionCode;
    }
    assert_int_equal(raised, STATUS_MUTANT_NOT_OWNED);
    EXPECT_BUG_CHECK(KMODE_EXCEPTION_NOT_HANDLED, KeReleaseMutex(&mutex, FALSE));
    assert_int_equal(BugCheckParameters[0], (ULONG)STATUS_MUTANT_NOT_OWNED);
}

static void own_mutex_and_leave(PVOID context)
{
    KeWaitForSingleObject(context, Executive, KernelMode, FALSE, NULL);
}

static void thread_end_abandons_its_mutexes(void **state)
{
    static KTHREAD thread;
    KMUTEX mutex;

    (void)state;
    KeInitializeMutex(&mutex, 0);
    assert_int_equal(KiStartThread(&thread, own_mutex_and_leave, &mutex, ~0u), STATUS_SUCCESS);
    KiJoinThread(&thread);
    assert_int_equal(KeWaitForSingleObject(&mutex, Executive, KernelMode, FALSE, NULL),
                     STATUS_ABANDONED_WAIT_0);
    KeReleaseMutex(&mutex, FALSE);
    assert_int_equal(KeWaitForSingleObject(&mutex, Executive, KernelMode, FALSE, NULL), STATUS_SUCCESS);
    KeReleaseMutex(&mutex, FALSE);
}

/* ---- Several objects ----------------------------------------------------------------------------------- */

static void wait_any_returns_the_first_signaled(void **state)
{
    LARGE_INTEGER zero = { .QuadPart = 0 };
    KEVENT events[3];
    PVOID objects[3] = { &events[0], &events[1], &events[2] };

    (void)state;
    for (int i = 0; i < 3; i += 1)
    {
        KeInitializeEvent(&events[i], SynchronizationEvent, i > 0);
    }
    assert_int_equal(KeWaitForMultipleObjects(3, objects, WaitAny, Executive, KernelMode, FALSE, NULL, NULL),
                     STATUS_WAIT_1);
    assert_int_equal(KeWaitForMultipleObjects(3, objects, WaitAny, Executive, KernelMode, FALSE, NULL, NULL),
                     STATUS_WAIT_2);
    assert_int_equal(KeWaitForMultipleObjects(3, objects, WaitAny, Executive, KernelMode, FALSE, &zero, NULL),
                     STATUS_TIMEOUT);
}

static void wait_all_takes_all_or_nothing(void **state)
{
    LARGE_INTEGER zero = { .QuadPart = 0 };
    KWAIT_BLOCK blocks[4];
    KEVENT events[4];
    PVOID objects[4];

    (void)state;
    for (int i = 0; i < 4; i += 1)
    {
        KeInitializeEvent(&events[i], SynchronizationEvent, i != 2);
        objects[i] = &events[i];
    }
    assert_int_equal(
        KeWaitForMultipleObjects(4, objects, WaitAll, Executive, KernelMode, FALSE, &zero, blocks),
        STATUS_TIMEOUT);
    assert_int_equal(KeReadStateEvent(&events[0]), 1);
    KeSetEvent(&events[2], 0, FALSE);
    assert_int_equal(
        KeWaitForMultipleObjects(4, objects, WaitAll, Executive, KernelMode, FALSE, &zero, blocks),
        STATUS_WAIT_0);
    for (int i = 0; i < 4; i += 1)
    {
        assert_int_equal(KeReadStateEvent(&events[i]), 0);
    }
}

static void too_many_objects_are_a_bug_check(void **state)
{
    KEVENT event;
    PVOID objects[4] = { &event, &event, &event, &event };

    (void)state;
    KeInitializeEvent(&event, NotificationEvent, TRUE);
    EXPECT_BUG_CHECK(MAXIMUM_WAIT_OBJECTS_EXCEEDED,
                     KeWaitForMultipleObjects(4, objects, WaitAny, Executive, KernelMode, FALSE, NULL, NULL));
}

typedef struct
{
    KTHREAD Thread;
    KEVENT Events[3];
    NTSTATUS Status;
    WAIT_TYPE Type;
} MULTI_WAITER;

static void wait_for_three(PVOID context)
{
    MULTI_WAITER *waiter = context;
    PVOID objects[3] = { &waiter->Events[0], &waiter->Events[1], &waiter->Events[2] };

    waiter->Status =
        KeWaitForMultipleObjects(3, objects, waiter->Type, Executive, KernelMode, FALSE, NULL, NULL);
}

static void sleeping_wait_all_ends_with_the_last_object(void **state)
{
    static MULTI_WAITER waiter;

    (void)state;
    waiter.Type = WaitAll;
    waiter.Status = STATUS_PENDING;
    for (int i = 0; i < 3; i += 1)
    {
        KeInitializeEvent(&waiter.Events[i], i == 0 ? NotificationEvent : SynchronizationEvent, FALSE);
    }
    assert_int_equal(KiStartThread(&waiter.Thread, wait_for_three, &waiter, ~0u), STATUS_SUCCESS);
    sleep_milliseconds(10);
    KeSetEvent(&waiter.Events[1], 0, FALSE);
    KeSetEvent(&waiter.Events[0], 0, FALSE);
    sleep_milliseconds(10);
    assert_int_equal(KeReadStateEvent(&waiter.Events[1]), 1);
    KeSetEvent(&waiter.Events[2], 0, FALSE);
    KiJoinThread(&waiter.Thread);
    assert_int_equal(waiter.Status, STATUS_WAIT_0);
    assert_int_equal(KeReadStateEvent(&waiter.Events[0]), 1);
    assert_int_equal(KeReadStateEvent(&waiter.Events[1]), 0);
    assert_int_equal(KeReadStateEvent(&waiter.Events[2]), 0);
}

static void sleeping_wait_any_consumes_one_object(void **state)
{
    static MULTI_WAITER waiter;

    (void)state;
    waiter.Type = WaitAny;
    for (int i = 0; i < 3; i += 1)
    {
        KeInitializeEvent(&waiter.Events[i], SynchronizationEvent, FALSE);
    }
    assert_int_equal(KiStartThread(&waiter.Thread, wait_for_three, &waiter, ~0u), STATUS_SUCCESS);
    sleep_milliseconds(10);
    KeSetEvent(&waiter.Events[1], 0, FALSE);
    KeSetEvent(&waiter.Events[2], 0, FALSE);
    KiJoinThread(&waiter.Thread);
    assert_int_equal(waiter.Status, STATUS_WAIT_1);
    assert_int_equal(KeReadStateEvent(&waiter.Events[1]), 0);
    assert_int_equal(KeReadStateEvent(&waiter.Events[2]), 1);
}

/* ---- Many threads -------------------------------------------------------------------------------------- */

typedef struct
{
    KTHREAD Thread;
    KEVENT *Mine, *Other;
    uint64_t Rounds;
} PLAYER;

static void play(PVOID context)
{
    PLAYER *player = context;

    for (uint64_t i = 0; i < player->Rounds; i += 1)
    {
        KeWaitForSingleObject(player->Mine, Executive, KernelMode, FALSE, NULL);
        KeSetEvent(player->Other, IO_NO_INCREMENT, FALSE);
    }
}

static void ping_pong_between_processors(void **state)
{
    static PLAYER players[2];
    KEVENT events[2];
    uint64_t rounds = iterations(20000);
    ULONG64 begin;

    (void)state;
    KeInitializeEvent(&events[0], SynchronizationEvent, FALSE);
    KeInitializeEvent(&events[1], SynchronizationEvent, FALSE);
    begin = KiQueryTime();
    for (ULONG i = 0; i < 2; i += 1)
    {
        players[i].Mine = &events[i];
        players[i].Other = &events[1 - i];
        players[i].Rounds = rounds;
        assert_int_equal(KiStartThread(&players[i].Thread, play, &players[i], i), STATUS_SUCCESS);
    }
    KeSetEvent(&events[0], 0, FALSE);
    KiJoinThread(&players[0].Thread);
    KiJoinThread(&players[1].Thread);
    print_message("ping-pong: %llu ns per round trip\n",
                  (KiQueryTime() - begin) / (rounds == 0 ? 1 : rounds));
    assert_int_equal(KeReadStateEvent(&events[0]), 1);
}

#define CROWD 6

static KSEMAPHORE CrowdSemaphore;
static KMUTEX CrowdMutex;
static KEVENT CrowdStop;
static volatile LONG CrowdInside;
static LONG CrowdOverflow, CrowdCounter;
static LONG CrowdTaken;

static void crowd_member(PVOID context)
{
    PVOID both[2] = { &CrowdMutex, &CrowdSemaphore };
    uint64_t rounds = (uintptr_t)context;

    for (uint64_t i = 0; i < rounds; i += 1)
    {
        LARGE_INTEGER timeout = { .QuadPart = -(LONGLONG)(i % 50) };

        if (i % 3 == 0)
        {
            if (KeWaitForMultipleObjects(2, both, WaitAll, Executive, KernelMode, FALSE, &timeout, NULL) ==
                STATUS_WAIT_0)
            {
                CrowdCounter += 1;
                KeReleaseMutex(&CrowdMutex, FALSE);
                __atomic_fetch_add(&CrowdTaken, 1, __ATOMIC_RELAXED);
                KeReleaseSemaphore(&CrowdSemaphore, 0, 1, FALSE);
            }
            continue;
        }
        if (KeWaitForSingleObject(&CrowdSemaphore, Executive, KernelMode, FALSE,
                                  i % 3 == 1 ? &timeout : NULL) == STATUS_SUCCESS)
        {
            if (__atomic_add_fetch(&CrowdInside, 1, __ATOMIC_RELAXED) > 2)
            {
                __atomic_fetch_add(&CrowdOverflow, 1, __ATOMIC_RELAXED);
            }
            __atomic_fetch_sub(&CrowdInside, 1, __ATOMIC_RELAXED);
            KeReleaseSemaphore(&CrowdSemaphore, 0, 1, FALSE);
        }
        KeWaitForSingleObject(&CrowdMutex, Executive, KernelMode, FALSE, NULL);
        CrowdCounter += 1;
        __atomic_fetch_add(&CrowdTaken, 1, __ATOMIC_RELAXED);
        KeReleaseMutex(&CrowdMutex, FALSE);
    }
}

static void crowd_with_timeouts_loses_nothing(void **state)
{
    static KTHREAD threads[CROWD];

    (void)state;
    KeInitializeSemaphore(&CrowdSemaphore, 2, 2);
    KeInitializeMutex(&CrowdMutex, 0);
    KeInitializeEvent(&CrowdStop, NotificationEvent, FALSE);
    CrowdCounter = CrowdTaken = CrowdOverflow = 0;
    for (ULONG i = 0; i < CROWD; i += 1)
    {
        assert_int_equal(KiStartThread(&threads[i], crowd_member, (PVOID)(uintptr_t)iterations(3000), i),
                         STATUS_SUCCESS);
    }
    for (ULONG i = 0; i < CROWD; i += 1)
    {
        KiJoinThread(&threads[i]);
    }
    assert_int_equal(CrowdOverflow, 0);
    assert_int_equal(CrowdCounter, CrowdTaken);
    assert_int_equal(KeReadStateSemaphore(&CrowdSemaphore), 2);
    assert_int_equal(KeReadStateMutex(&CrowdMutex), 1);
}

static void return_at_once(PVOID context)
{
    __atomic_fetch_add((LONG *)context, 1, __ATOMIC_RELAXED);
}

static void threads_come_and_go(void **state)
{
    static KTHREAD threads[8];
    LONG count = 0;
    LARGE_INTEGER zero = { .QuadPart = 0 };

    (void)state;
    for (int round = 0; round < 20; round += 1)
    {
        for (ULONG i = 0; i < 8; i += 1)
        {
            assert_int_equal(KiStartThread(&threads[i], return_at_once, &count, ~0u), STATUS_SUCCESS);
        }
        for (ULONG i = 0; i < 8; i += 1)
        {
            KiJoinThread(&threads[i]);
            assert_int_equal(KeWaitForSingleObject(&threads[i], Executive, KernelMode, FALSE, &zero),
                             STATUS_SUCCESS);
        }
    }
    assert_int_equal(count, 160);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(notification_event_stays_signaled, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(synchronization_event_satisfies_one_wait, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(zero_timeout_polls_at_dispatch_level, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(waiting_at_dispatch_level_is_a_bug_check, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(relative_timeout_lasts_as_long_as_it_says, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(absolute_timeout_is_a_date, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(semaphore_counts_and_has_a_limit, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(mutex_is_recursive_and_enters_a_critical_region, setup_threaded,
                                        teardown),
        cmocka_unit_test_setup_teardown(releasing_a_foreign_mutex_raises, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(thread_end_abandons_its_mutexes, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(wait_any_returns_the_first_signaled, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(wait_all_takes_all_or_nothing, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(too_many_objects_are_a_bug_check, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(sleeping_wait_all_ends_with_the_last_object, setup_threaded,
                                        teardown),
        cmocka_unit_test_setup_teardown(sleeping_wait_any_consumes_one_object, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(ping_pong_between_processors, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(crowd_with_timeouts_loses_nothing, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(threads_come_and_go, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(relative_timeout_lasts_as_long_as_it_says, setup_deterministic,
                                        teardown),
        cmocka_unit_test_setup_teardown(absolute_timeout_is_a_date, setup_deterministic, teardown),
        cmocka_unit_test_setup_teardown(wait_any_returns_the_first_signaled, setup_deterministic, teardown),
        cmocka_unit_test_setup_teardown(releasing_a_foreign_mutex_raises, setup_deterministic, teardown),
    };

    return cmocka_run_group_tests_name("ke.dispatcher", tests, NULL, NULL);
}
