/* SPDX-License-Identifier: MIT */
/*
 * IRQL and spin locks: raising and lowering, exclusion on two processors for each kind of lock, and that
 * DISPATCH_LEVEL makes a thread the only one of its processor.
 */
#include "ke_test.h"

#define THREADS 4

/* ---- IRQL ---------------------------------------------------------------------------------------------- */

static void irql_goes_up_and_down(void **state)
{
    KIRQL first, second;

    (void)state;
    assert_int_equal(KeGetCurrentIrql(), PASSIVE_LEVEL);
    KeRaiseIrql(APC_LEVEL, &first);
    KeRaiseIrql(DISPATCH_LEVEL, &second);
    assert_int_equal(first, PASSIVE_LEVEL);
    assert_int_equal(second, APC_LEVEL);
    KeRaiseIrql(HIGH_LEVEL, &second);
    assert_int_equal(KeGetCurrentIrql(), HIGH_LEVEL);
    KeLowerIrql(second);
    assert_int_equal(KeGetCurrentIrql(), DISPATCH_LEVEL);
    KeLowerIrql(APC_LEVEL);
    KeLowerIrql(first);
    assert_int_equal(KeRaiseIrqlToDpcLevel(), PASSIVE_LEVEL);
    KeLowerIrql(PASSIVE_LEVEL);
}

static void raising_downwards_is_a_bug_check(void **state)
{
    KIRQL old;

    (void)state;
    KeRaiseIrql(DISPATCH_LEVEL, &old);
    EXPECT_BUG_CHECK(IRQL_NOT_GREATER_OR_EQUAL, KeRaiseIrql(APC_LEVEL, &old));
    assert_int_equal(BugCheckParameters[0], DISPATCH_LEVEL);
    assert_int_equal(BugCheckParameters[1], APC_LEVEL);
}

static void lowering_upwards_is_a_bug_check(void **state)
{
    (void)state;
    EXPECT_BUG_CHECK(IRQL_NOT_LESS_OR_EQUAL, KeLowerIrql(DISPATCH_LEVEL));
}

static void releasing_a_free_spin_lock_is_a_bug_check(void **state)
{
    KSPIN_LOCK lock;

    (void)state;
    KeInitializeSpinLock(&lock);
    EXPECT_BUG_CHECK(SPIN_LOCK_NOT_OWNED, KeReleaseSpinLock(&lock, PASSIVE_LEVEL));
}

static void single_thread_reports_its_own_spin_lock(void **state)
{
    KSPIN_LOCK lock;
    KIRQL irql;

    (void)state;
    KeInitializeSpinLock(&lock);
    KeAcquireSpinLock(&lock, &irql);
    assert_false(KeTestSpinLock(&lock));
    assert_false(KeTryToAcquireSpinLockAtDpcLevel(&lock));
    EXPECT_BUG_CHECK(SPIN_LOCK_ALREADY_OWNED, KeAcquireSpinLockAtDpcLevel(&lock));
}

/* ---- Exclusion ----------------------------------------------------------------------------------------- */

static KSPIN_LOCK Lock;
static EX_SPIN_LOCK SharedLock;
static UCHAR Bytes[4];
static LONG Counter;                       /* plain: the lock guards it */
static LONG PerProcessor[TEST_PROCESSORS]; /* plain: DISPATCH_LEVEL guards it */
static volatile LONG Violations;
static volatile LONG Converted;

static void with_spin_lock(PVOID context)
{
    for (uint64_t i = 0; i < (uintptr_t)context; i += 1)
    {
        KIRQL irql;

        KeAcquireSpinLock(&Lock, &irql);
        Counter += 1;
        KeReleaseSpinLock(&Lock, irql);
    }
}

static void with_queued_lock(PVOID context)
{
    for (uint64_t i = 0; i < (uintptr_t)context; i += 1)
    {
        KLOCK_QUEUE_HANDLE handle;

        KeAcquireInStackQueuedSpinLock(&Lock, &handle);
        Counter += 1;
        KeReleaseInStackQueuedSpinLock(&handle);
    }
}

/* The bytes around the lock are not the lock's. */
static void with_byte_lock(PVOID context)
{
    for (uint64_t i = 0; i < (uintptr_t)context; i += 1)
    {
        KIRQL irql = KiRaiseIrqlToDispatch();

        KiAcquireByteLock(&Bytes[1]);
        Counter += 1;
        Bytes[0] += 1;
        KiReleaseByteLock(&Bytes[1]);
        KiLowerIrqlFromDispatch(irql);
        __atomic_fetch_add(&Bytes[2], 1, __ATOMIC_RELAXED);
    }
}

static void with_shared_lock(PVOID context)
{
    for (uint64_t i = 0; i < (uintptr_t)context; i += 1)
    {
        KIRQL irql;

        if (i % 4 == 0)
        {
            irql = ExAcquireSpinLockExclusive(&SharedLock);
            Counter += 1;
            ExReleaseSpinLockExclusive(&SharedLock, irql);
            continue;
        }
        irql = ExAcquireSpinLockShared(&SharedLock);
        if (Counter < 0)
        {
            __atomic_fetch_add(&Violations, 1, __ATOMIC_RELAXED);
        }
        if (i % 4 == 1 && ExTryConvertSharedSpinLockExclusive(&SharedLock))
        {
            Counter += 1;
            __atomic_fetch_add(&Converted, 1, __ATOMIC_RELAXED);
            ExReleaseSpinLockExclusive(&SharedLock, irql);
        }
        else
        {
            ExReleaseSpinLockShared(&SharedLock, irql);
        }
    }
}

static void with_dispatch_level(PVOID context)
{
    for (uint64_t i = 0; i < (uintptr_t)context; i += 1)
    {
        KIRQL irql = KeRaiseIrqlToDpcLevel();

        PerProcessor[KeGetCurrentProcessorNumber()] += 1;
        if (i % 1000 == 0)
        {
            PortYield();
        }
        KeLowerIrql(irql);
    }
}

static void run(VOID (*routine)(PVOID), uint64_t rounds)
{
    static KTHREAD threads[THREADS];

    Lock = 0;
    SharedLock = 0;
    Counter = 0;
    Violations = 0;
    for (ULONG i = 0; i < THREADS; i += 1)
    {
        assert_int_equal(KiStartThread(&threads[i], routine, (PVOID)(uintptr_t)rounds, i), STATUS_SUCCESS);
    }
    for (ULONG i = 0; i < THREADS; i += 1)
    {
        KiJoinThread(&threads[i]);
    }
    assert_int_equal(Violations, 0);
    assert_int_equal(Lock, 0);
    assert_int_equal(SharedLock, 0);
}

static void spin_lock_excludes(void **state)
{
    uint64_t rounds = iterations(50000);

    (void)state;
    run(with_spin_lock, rounds);
    assert_int_equal(Counter, THREADS * rounds);
}

static void queued_spin_lock_excludes(void **state)
{
    uint64_t rounds = iterations(50000);

    (void)state;
    run(with_queued_lock, rounds);
    assert_int_equal(Counter, THREADS * rounds);
}

static void byte_lock_excludes_and_leaves_its_neighbours_alone(void **state)
{
    uint64_t rounds = iterations(50000);

    (void)state;
    memset(Bytes, 0, sizeof(Bytes));
    run(with_byte_lock, rounds);
    assert_int_equal(Counter, THREADS * rounds);
    assert_int_equal(Bytes[0], (UCHAR)(THREADS * rounds));
    assert_int_equal(Bytes[1], 0);
    assert_int_equal(Bytes[2], (UCHAR)(THREADS * rounds));
    assert_int_equal(Bytes[3], 0);
}

static void reader_writer_spin_lock_excludes(void **state)
{
    uint64_t rounds = iterations(50000);

    (void)state;
    Converted = 0;
    run(with_shared_lock, rounds);
    assert_int_equal(Counter, THREADS * ((rounds + 3) / 4) + (uint64_t)Converted);
}

static void dispatch_level_owns_the_processor(void **state)
{
    uint64_t rounds = iterations(50000);

    (void)state;
    memset(PerProcessor, 0, sizeof(PerProcessor));
    run(with_dispatch_level, rounds);
    assert_int_equal(PerProcessor[0], THREADS / 2 * rounds);
    assert_int_equal(PerProcessor[1], THREADS / 2 * rounds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(irql_goes_up_and_down, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(raising_downwards_is_a_bug_check, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(lowering_upwards_is_a_bug_check, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(releasing_a_free_spin_lock_is_a_bug_check, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(single_thread_reports_its_own_spin_lock, setup_deterministic,
                                        teardown),
        cmocka_unit_test_setup_teardown(spin_lock_excludes, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(queued_spin_lock_excludes, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(byte_lock_excludes_and_leaves_its_neighbours_alone, setup_threaded,
                                        teardown),
        cmocka_unit_test_setup_teardown(reader_writer_spin_lock_excludes, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(dispatch_level_owns_the_processor, setup_threaded, teardown),
    };

    return cmocka_run_group_tests_name("ke.spinlock", tests, NULL, NULL);
}
