/* SPDX-License-Identifier: MIT */
/*
 * The executive's locks and lists: fast and guarded mutexes, resources, rundown protection, interlocked and
 * sequenced lists, work items, probing.
 */
#include "ke_test.h"

#include "nt/irp.h"

#define THREADS 4

static LONG Counter; /* plain: the lock under test guards it */
static volatile LONG Shared;

static void run(VOID (*routine)(PVOID), uint64_t rounds)
{
    static KTHREAD threads[THREADS];

    Counter = 0;
    Shared = 0;
    for (ULONG i = 0; i < THREADS; i += 1)
    {
        assert_int_equal(KiStartThread(&threads[i], routine, (PVOID)(uintptr_t)rounds, i), STATUS_SUCCESS);
    }
    for (ULONG i = 0; i < THREADS; i += 1)
    {
        KiJoinThread(&threads[i]);
    }
}

/* ---- Mutexes ------------------------------------------------------------------------------------------- */

static FAST_MUTEX Mutex;

static void with_fast_mutex(PVOID context)
{
    for (uint64_t i = 0; i < (uintptr_t)context; i += 1)
    {
        if (i % 4 != 0)
        {
            ExAcquireFastMutex(&Mutex);
        }
        else if (!ExTryToAcquireFastMutex(&Mutex))
        {
            continue;
        }
        Counter += 1;
        __atomic_fetch_add(&Shared, 1, __ATOMIC_RELAXED);
        ExReleaseFastMutex(&Mutex);
    }
}

static void fast_mutex_excludes(void **state)
{
    (void)state;
    ExInitializeFastMutex(&Mutex);
    run(with_fast_mutex, iterations(10000));
    assert_int_equal(Counter, Shared);
    assert_int_equal(Mutex.Count, 1);
}

static void fast_mutex_raises_to_apc_level(void **state)
{
    (void)state;
    ExInitializeFastMutex(&Mutex);
    ExAcquireFastMutex(&Mutex);
    assert_int_equal(KeGetCurrentIrql(), APC_LEVEL);
    assert_true(KeAreAllApcsDisabled());
    assert_false(ExTryToAcquireFastMutex(&Mutex));
    ExReleaseFastMutex(&Mutex);
    assert_int_equal(KeGetCurrentIrql(), PASSIVE_LEVEL);
    EXPECT_BUG_CHECK(THREAD_NOT_MUTEX_OWNER, ExReleaseFastMutex(&Mutex));
    ExAcquireFastMutexUnsafe(&Mutex);
    EXPECT_BUG_CHECK(MUTEX_ALREADY_OWNED, ExAcquireFastMutexUnsafe(&Mutex));
}

static void guarded_mutex_enters_a_guarded_region(void **state)
{
    KGUARDED_MUTEX mutex;

    (void)state;
    KeInitializeGuardedMutex(&mutex);
    KeAcquireGuardedMutex(&mutex);
    assert_true(KeAreAllApcsDisabled());
    assert_int_equal(KeGetCurrentIrql(), PASSIVE_LEVEL);
    assert_false(KeTryToAcquireGuardedMutex(&mutex));
    KeReleaseGuardedMutex(&mutex);
    assert_false(KeAreAllApcsDisabled());
    EXPECT_BUG_CHECK(APC_INDEX_MISMATCH, KeLeaveGuardedRegion());
    EXPECT_BUG_CHECK(APC_INDEX_MISMATCH, KeLeaveCriticalRegion());
}

/* ---- Resources ----------------------------------------------------------------------------------------- */

static ERESOURCE Resource;

static void resource_counts_recursion(void **state)
{
    (void)state;
    assert_int_equal(ExInitializeResourceLite(&Resource), STATUS_SUCCESS);
    assert_true(ExAcquireResourceSharedLite(&Resource, TRUE));
    assert_true(ExAcquireResourceSharedLite(&Resource, TRUE));
    assert_int_equal(ExIsResourceAcquiredSharedLite(&Resource), 2);
    assert_false(ExIsResourceAcquiredExclusiveLite(&Resource));
    assert_false(ExAcquireResourceExclusiveLite(&Resource, FALSE));
    ExReleaseResourceLite(&Resource);
    ExReleaseResourceLite(&Resource);
    assert_true(ExAcquireResourceExclusiveLite(&Resource, FALSE));
    assert_true(ExAcquireResourceExclusiveLite(&Resource, TRUE));
    assert_true(ExAcquireResourceSharedLite(&Resource, FALSE));
    assert_int_equal(ExIsResourceAcquiredLite(&Resource), 3);
    for (int i = 0; i < 3; i += 1)
    {
        assert_true(ExIsResourceAcquiredExclusiveLite(&Resource));
        ExReleaseResourceLite(&Resource);
    }
    assert_false(ExIsResourceAcquiredExclusiveLite(&Resource));
    EXPECT_BUG_CHECK(RESOURCE_NOT_OWNED, ExReleaseResourceLite(&Resource));
    assert_int_equal(ExDeleteResourceLite(&Resource), STATUS_SUCCESS);
}

static void with_resource(PVOID context)
{
    for (uint64_t i = 0; i < (uintptr_t)context; i += 1)
    {
        if (i % 5 == 0)
        {
            ExAcquireResourceExclusiveLite(&Resource, TRUE);
            Counter += 1;
            __atomic_fetch_add(&Shared, 1, __ATOMIC_RELAXED);
        }
        else
        {
            ExAcquireResourceSharedLite(&Resource, TRUE);
            if (Counter < 0)
            {
                __atomic_fetch_add(&Shared, 1, __ATOMIC_RELAXED);
            }
        }
        ExReleaseResourceLite(&Resource);
    }
}

static void resource_excludes(void **state)
{
    (void)state;
    ExInitializeResourceLite(&Resource);
    run(with_resource, iterations(10000));
    assert_int_equal(Counter, Shared);
    ExDeleteResourceLite(&Resource);
}

/* ---- Rundown ------------------------------------------------------------------------------------------- */

static EX_RUNDOWN_REF Rundown;
static volatile LONG Alive;
static volatile LONG Violations;

static void use_while_alive(PVOID context)
{
    (void)context;
    while (ExAcquireRundownProtection(&Rundown))
    {
        if (!__atomic_load_n(&Alive, __ATOMIC_RELAXED))
        {
            __atomic_fetch_add(&Violations, 1, __ATOMIC_RELAXED);
        }
        PortYield();
        ExReleaseRundownProtection(&Rundown);
    }
}

static void rundown_waits_for_the_last_user(void **state)
{
    static KTHREAD threads[3];

    (void)state;
    Violations = 0;
    for (int round = 0; round < 30; round += 1)
    {
        ExInitializeRundownProtection(&Rundown);
        Alive = 1;
        for (ULONG i = 0; i < 3; i += 1)
        {
            assert_int_equal(KiStartThread(&threads[i], use_while_alive, NULL, i), STATUS_SUCCESS);
        }
        PortYield();
        ExWaitForRundownProtectionRelease(&Rundown);
        __atomic_store_n(&Alive, 0, __ATOMIC_RELAXED);
        assert_false(ExAcquireRundownProtection(&Rundown));
        for (ULONG i = 0; i < 3; i += 1)
        {
            KiJoinThread(&threads[i]);
        }
    }
    assert_int_equal(Violations, 0);
    ExReInitializeRundownProtection(&Rundown);
    assert_true(ExAcquireRundownProtectionEx(&Rundown, 3));
    ExReleaseRundownProtectionEx(&Rundown, 3);
    ExWaitForRundownProtectionRelease(&Rundown);
}

/* ---- Lists --------------------------------------------------------------------------------------------- */

static void interlocked_lists_return_the_old_end(void **state)
{
    LIST_ENTRY head, a, b, c;
    SINGLE_LIST_ENTRY stack = { NULL }, x, y;
    KSPIN_LOCK lock = 0;
    LARGE_INTEGER sum = { .QuadPart = 5 }, add = { .QuadPart = -7 };
    ULONG small = 40;

    (void)state;
    InitializeListHead(&head);
    assert_null(ExInterlockedInsertHeadList(&head, &b, &lock));
    assert_ptr_equal(ExInterlockedInsertHeadList(&head, &a, &lock), &b);
    assert_ptr_equal(ExInterlockedInsertTailList(&head, &c, &lock), &b);
    assert_ptr_equal(ExInterlockedRemoveHeadList(&head, &lock), &a);
    assert_ptr_equal(ExInterlockedRemoveHeadList(&head, &lock), &b);
    assert_ptr_equal(ExInterlockedRemoveHeadList(&head, &lock), &c);
    assert_null(ExInterlockedRemoveHeadList(&head, &lock));
    assert_null(ExInterlockedPushEntryList(&stack, &x, &lock));
    assert_ptr_equal(ExInterlockedPushEntryList(&stack, &y, &lock), &x);
    assert_ptr_equal(ExInterlockedPopEntryList(&stack, &lock), &y);
    assert_ptr_equal(ExInterlockedPopEntryList(&stack, &lock), &x);
    assert_null(ExInterlockedPopEntryList(&stack, &lock));
    assert_int_equal(ExInterlockedAddLargeInteger(&sum, add, &lock).QuadPart, 5);
    assert_int_equal(sum.QuadPart, -2);
    assert_int_equal(ExInterlockedAddUlong(&small, 2, &lock), 40);
    assert_int_equal(small, 42);
}

typedef struct
{
    SLIST_ENTRY Link;
    LONG Owner; /* plain: who popped the entry owns it */
} NODE;

static SLIST_HEADER Stack;
static NODE Nodes[64];

static void push_and_pop(PVOID context)
{
    for (uint64_t i = 0; i < (uintptr_t)context; i += 1)
    {
        NODE *node = (NODE *)InterlockedPopEntrySList(&Stack);

        if (node != NULL)
        {
            if (node->Owner != 0)
            {
                __atomic_fetch_add(&Violations, 1, __ATOMIC_RELAXED);
            }
            node->Owner = 1;
            PortPause();
            node->Owner = 0;
            InterlockedPushEntrySList(&Stack, &node->Link);
        }
    }
}

static void sequenced_list_gives_each_entry_to_one(void **state)
{
    ULONG count = 0;

    (void)state;
    InitializeSListHead(&Stack);
    Violations = 0;
    assert_null(InterlockedPopEntrySList(&Stack));
    for (ULONG i = 0; i < RTL_NUMBER_OF(Nodes); i += 1)
    {
        Nodes[i].Owner = 0;
        assert_ptr_equal(InterlockedPushEntrySList(&Stack, &Nodes[i].Link),
                         i == 0 ? NULL : &Nodes[i - 1].Link);
    }
    assert_int_equal(ExQueryDepthSList(&Stack), RTL_NUMBER_OF(Nodes));
    run(push_and_pop, iterations(20000));
    assert_int_equal(Violations, 0);
    assert_int_equal(QueryDepthSList(&Stack), RTL_NUMBER_OF(Nodes));
    for (PSLIST_ENTRY entry = InterlockedFlushSList(&Stack); entry != NULL; entry = entry->Next)
    {
        count += 1;
    }
    assert_int_equal(count, RTL_NUMBER_OF(Nodes));
    assert_int_equal(ExQueryDepthSList(&Stack), 0);
}

/* ---- Work items ---------------------------------------------------------------------------------------- */

static KEVENT WorkDone, WorkGate;
static volatile LONG WorkRuns;

static VOID NTAPI last_item(PVOID parameter)
{
    (void)parameter;
    __atomic_fetch_add(&WorkRuns, 1, __ATOMIC_RELAXED);
    KeSetEvent(&WorkDone, 0, FALSE);
}

static VOID NTAPI waiting_item(PVOID parameter)
{
    assert_true(KeGetCurrentIrql() == PASSIVE_LEVEL);
    KeWaitForSingleObject(parameter, Executive, KernelMode, FALSE, NULL);
    __atomic_fetch_add(&WorkRuns, 1, __ATOMIC_RELAXED);
}

static VOID NTAPI opening_item(PVOID parameter)
{
    __atomic_fetch_add(&WorkRuns, 1, __ATOMIC_RELAXED);
    KeSetEvent(parameter, 0, FALSE);
}

static void work_items_may_wait_for_each_other(void **state)
{
    static WORK_QUEUE_ITEM items[3];
    KIRQL irql;

    (void)state;
    WorkRuns = 0;
    KeInitializeEvent(&WorkDone, NotificationEvent, FALSE);
    KeInitializeEvent(&WorkGate, NotificationEvent, FALSE);
    ExInitializeWorkItem(&items[0], waiting_item, &WorkGate);
    ExInitializeWorkItem(&items[1], opening_item, &WorkGate);
    ExInitializeWorkItem(&items[2], last_item, NULL);
    KeRaiseIrql(DISPATCH_LEVEL, &irql);
    ExQueueWorkItem(&items[0], CriticalWorkQueue);
    ExQueueWorkItem(&items[1], DelayedWorkQueue);
    ExQueueWorkItem(&items[2], DelayedWorkQueue);
    KeLowerIrql(irql);
    assert_int_equal(KeWaitForSingleObject(&WorkDone, Executive, KernelMode, FALSE, NULL), STATUS_SUCCESS);
    while (__atomic_load_n(&WorkRuns, __ATOMIC_RELAXED) != 3)
    {
        sleep_milliseconds(1);
    }
}

static void queued_items_run_before_the_machine_ends(void **state)
{
    static WORK_QUEUE_ITEM items[8];

    (void)state;
    WorkRuns = 0;
    machine_up_with(FALSE, 0);
    KeInitializeEvent(&WorkDone, NotificationEvent, FALSE);
    for (int i = 0; i < 8; i += 1)
    {
        ExInitializeWorkItem(&items[i], last_item, NULL);
        ExQueueWorkItem(&items[i], DelayedWorkQueue);
    }
    machine_down();
    assert_int_equal(WorkRuns, 8);
}

/* ---- Probing ------------------------------------------------------------------------------------------- */

static NTSTATUS probe(ULONG_PTR address, SIZE_T length, ULONG alignment)
{
    KI_EXCEPTION_FRAME frame;

    if (KiTry(&frame))
    {
        ProbeForRead((PVOID)address, length, alignment);
        KiEndTry(&frame);
        return STATUS_SUCCESS;
    }
    return frame.Record.ExceptionCode;
}

static void probes_know_the_user_window(void **state)
{
    (void)state;
    assert_int_equal(probe(PORT_USER_LOWEST, 100, 4), STATUS_SUCCESS);
    assert_int_equal(probe(PORT_USER_LOWEST + 1, 100, 4), STATUS_DATATYPE_MISALIGNMENT);
    assert_int_equal(probe(PORT_USER_HIGHEST - 99, 100, 1), STATUS_SUCCESS);
    assert_int_equal(probe(PORT_USER_HIGHEST - 98, 100, 1), STATUS_ACCESS_VIOLATION);
    assert_int_equal(probe(PORT_SYSTEM_START, 1, 1), STATUS_ACCESS_VIOLATION);
    assert_int_equal(probe(PORT_USER_LOWEST, ~(SIZE_T)0, 1), STATUS_ACCESS_VIOLATION);
    assert_int_equal(probe(PORT_SYSTEM_START + 1, 0, 8), STATUS_SUCCESS);
}

/* ---- Threads ------------------------------------------------------------------------------------------- */

static void priority_is_kept_and_zero_is_reserved(void **state)
{
    PKTHREAD thread = KeGetCurrentThread();

    (void)state;
    assert_int_equal(KeQueryPriorityThread(thread), 8);
    assert_int_equal(KeSetPriorityThread(thread, LOW_REALTIME_PRIORITY), 8);
    assert_int_equal(KeSetPriorityThread(thread, HIGH_PRIORITY + 1), LOW_REALTIME_PRIORITY);
    assert_int_equal(KeSetPriorityThread(thread, LOW_PRIORITY), LOW_REALTIME_PRIORITY);
    assert_int_equal(KeSetPriorityThread(thread, HIGH_PRIORITY), LOW_REALTIME_PRIORITY);
    assert_int_equal(KeQueryPriorityThread(thread), HIGH_PRIORITY);
}

static void kf_raise_irql_returns_the_old_one(void **state)
{
    (void)state;
    assert_int_equal(KfRaiseIrql(APC_LEVEL), PASSIVE_LEVEL);
    assert_int_equal(KfRaiseIrql(DISPATCH_LEVEL), APC_LEVEL);
    assert_int_equal(KeGetCurrentIrql(), DISPATCH_LEVEL);
    KeLowerIrql(PASSIVE_LEVEL);
}

static DECLSPEC_NOINLINE USHORT trace_from_here(ULONG skip, ULONG count, PVOID *frames, PULONG hash)
{
    USHORT found = RtlCaptureStackBackTrace(skip, count, frames, hash);

    __asm__ volatile("" ::: "memory"); /* no tail call: this frame is to be in the trace */
    return found;
}

static void back_trace_begins_in_its_caller(void **state)
{
    PVOID all[16] = { NULL }, outer[16] = { NULL };
    const ULONG_PTR here = (ULONG_PTR)trace_from_here;
    ULONG hash, sum = 0;
    USHORT count;

    (void)state;
    count = trace_from_here(0, 16, all, &hash);
    assert_true(count >= 3);
    assert_true((ULONG_PTR)all[0] > here && (ULONG_PTR)all[0] < here + 0x1000);
    for (USHORT i = 0; i < count; i += 1)
    {
        sum += (ULONG)(ULONG_PTR)all[i];
    }
    assert_int_equal(hash, sum);
    assert_int_equal(trace_from_here(0, 2, outer, NULL), 2);
    assert_ptr_equal(outer[0], all[0]);
    assert_int_equal(trace_from_here(1, 16, outer, NULL), count - 1);
    assert_ptr_equal(outer[1], all[2]); /* (the first one is behind another call of this function) */
    assert_int_equal(trace_from_here(1000, 16, outer, &hash), 0);
    assert_int_equal(hash, 0);
    assert_int_equal(trace_from_here(0, 0, NULL, NULL), 0);
}

/* ---- Remove locks -------------------------------------------------------------------------------------- */

static IO_REMOVE_LOCK Remove;
static KEVENT Entered;

static void use_for_a_while(PVOID context)
{
    (void)context;
    assert_int_equal(IoAcquireRemoveLock(&Remove, NULL), STATUS_SUCCESS);
    KeSetEvent(&Entered, 0, FALSE);
    while (IoAcquireRemoveLock(&Remove, NULL) == STATUS_SUCCESS)
    {
        IoReleaseRemoveLock(&Remove, NULL);
    }
    sleep_milliseconds(1);
    Shared = 1;
    IoReleaseRemoveLock(&Remove, NULL);
}

static void remove_lock_waits_for_whoever_is_inside(void **state)
{
    static KTHREAD thread;

    (void)state;
    for (ULONG round = 0; round < 20; round += 1)
    {
        Shared = 0;
        IoInitializeRemoveLock(&Remove, 'tseT', 0, 0);
        KeInitializeEvent(&Entered, NotificationEvent, FALSE);
        assert_int_equal(IoAcquireRemoveLock(&Remove, NULL), STATUS_SUCCESS);
        assert_int_equal(KiStartThread(&thread, use_for_a_while, NULL, 1), STATUS_SUCCESS);
        KeWaitForSingleObject(&Entered, Executive, KernelMode, FALSE, NULL);
        IoReleaseRemoveLockAndWait(&Remove, NULL);
        assert_int_equal(Shared, 1);
        assert_int_equal(IoAcquireRemoveLock(&Remove, NULL), STATUS_DELETE_PENDING);
        KiJoinThread(&thread);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fast_mutex_excludes, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(fast_mutex_raises_to_apc_level, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(guarded_mutex_enters_a_guarded_region, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(resource_counts_recursion, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(resource_excludes, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(rundown_waits_for_the_last_user, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(interlocked_lists_return_the_old_end, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(sequenced_list_gives_each_entry_to_one, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(work_items_may_wait_for_each_other, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(work_items_may_wait_for_each_other, setup_deterministic, teardown),
        cmocka_unit_test(queued_items_run_before_the_machine_ends),
        cmocka_unit_test_setup_teardown(probes_know_the_user_window, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(remove_lock_waits_for_whoever_is_inside, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(priority_is_kept_and_zero_is_reserved, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(kf_raise_irql_returns_the_old_one, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(back_trace_begins_in_its_caller, setup_threaded, teardown),
    };

    return cmocka_run_group_tests_name("ke.executive", tests, NULL, NULL);
}
