/* SPDX-License-Identifier: MIT */
/*
 * Push locks: many threads on two processors against a shadow count of who is inside; a writer gets in
 * although readers never stop coming; readers get in although writers never stop; cache-aware locks.
 */
#include "ke_test.h"

#define THREADS 6
#define LOCKS   3

typedef struct
{
    volatile LONG Readers;
    volatile LONG Writers;
    LONG Plain; /* guarded by the lock: ThreadSanitizer watches it */
} SHADOW;

static EX_PUSH_LOCK Locks[LOCKS];
static SHADOW Shadows[LOCKS];
static volatile LONG Violations;
static LONG ExclusiveRounds[LOCKS];

static void enter_shared(SHADOW *shadow)
{
    __atomic_fetch_add(&shadow->Readers, 1, __ATOMIC_RELAXED);
    if (__atomic_load_n(&shadow->Writers, __ATOMIC_RELAXED) != 0)
    {
        __atomic_fetch_add(&Violations, 1, __ATOMIC_RELAXED);
    }
}

static void leave_shared(SHADOW *shadow)
{
    if (__atomic_load_n(&shadow->Writers, __ATOMIC_RELAXED) != 0)
    {
        __atomic_fetch_add(&Violations, 1, __ATOMIC_RELAXED);
    }
    __atomic_fetch_sub(&shadow->Readers, 1, __ATOMIC_RELAXED);
}

static void enter_exclusive(SHADOW *shadow)
{
    if (__atomic_add_fetch(&shadow->Writers, 1, __ATOMIC_RELAXED) != 1 ||
        __atomic_load_n(&shadow->Readers, __ATOMIC_RELAXED) != 0)
    {
        __atomic_fetch_add(&Violations, 1, __ATOMIC_RELAXED);
    }
    shadow->Plain += 1;
}

static void leave_exclusive(SHADOW *shadow)
{
    if (__atomic_sub_fetch(&shadow->Writers, 1, __ATOMIC_RELAXED) != 0 ||
        __atomic_load_n(&shadow->Readers, __ATOMIC_RELAXED) != 0)
    {
        __atomic_fetch_add(&Violations, 1, __ATOMIC_RELAXED);
    }
}

static uint32_t draw(uint32_t *random)
{
    *random = *random * 1664525u + 1013904223u;
    return *random >> 8;
}

static void dwell(uint32_t *random)
{
    uint32_t chance = draw(random) % 64;

    if (chance == 0)
    {
        PortYield();
    }
    for (; chance < 40; chance += 1)
    {
        PortPause();
    }
}

typedef struct
{
    KTHREAD Thread;
    uint32_t Random;
    uint64_t Rounds;
    LONG Exclusive[LOCKS];
} WORKER;

static void stress(PVOID context)
{
    WORKER *worker = context;

    for (uint64_t i = 0; i < worker->Rounds; i += 1)
    {
        ULONG which = draw(&worker->Random) % LOCKS;
        EX_PUSH_LOCK *lock = &Locks[which];
        SHADOW *shadow = &Shadows[which];

        switch (draw(&worker->Random) % 8)
        {
        case 0:
            KiAcquirePushLockExclusive(lock);
            break;
        case 1:
            if (!KiTryAcquirePushLockExclusive(lock))
            {
                continue;
            }
            break;
        case 2:
            if (!KiTryAcquirePushLockShared(lock))
            {
                continue;
            }
            enter_shared(shadow);
            dwell(&worker->Random);
            leave_shared(shadow);
            KiReleasePushLockShared(lock);
            continue;
        default:
            KiAcquirePushLockShared(lock);
            enter_shared(shadow);
            dwell(&worker->Random);
            leave_shared(shadow);
            KiReleasePushLockShared(lock);
            continue;
        }
        enter_exclusive(shadow);
        worker->Exclusive[which] += 1;
        dwell(&worker->Random);
        leave_exclusive(shadow);
        KiReleasePushLockExclusive(lock);
    }
}

static void nobody_meets_inside(void **state)
{
    static WORKER workers[THREADS];

    (void)state;
    memset(Locks, 0, sizeof(Locks));
    memset(Shadows, 0, sizeof(Shadows));
    memset(workers, 0, sizeof(workers));
    Violations = 0;
    for (ULONG i = 0; i < THREADS; i += 1)
    {
        workers[i].Random = 12345 + i;
        workers[i].Rounds = iterations(20000);
        assert_int_equal(KiStartThread(&workers[i].Thread, stress, &workers[i], i), STATUS_SUCCESS);
    }
    memset(ExclusiveRounds, 0, sizeof(ExclusiveRounds));
    for (ULONG i = 0; i < THREADS; i += 1)
    {
        KiJoinThread(&workers[i].Thread);
        for (ULONG k = 0; k < LOCKS; k += 1)
        {
            ExclusiveRounds[k] += workers[i].Exclusive[k];
        }
    }
    assert_int_equal(Violations, 0);
    for (ULONG k = 0; k < LOCKS; k += 1)
    {
        assert_int_equal(Shadows[k].Plain, ExclusiveRounds[k]);
        assert_int_equal(Locks[k], 0);
    }
}

/* ---- Fairness ------------------------------------------------------------------------------------------ */

static EX_PUSH_LOCK FairLock;
static volatile LONG FairStop;
static volatile LONG FairPasses;

static void hold_shared_again_and_again(PVOID context)
{
    (void)context;
    while (!__atomic_load_n(&FairStop, __ATOMIC_RELAXED))
    {
        KiAcquirePushLockShared(&FairLock);
        sleep_milliseconds(2);
        KiReleasePushLockShared(&FairLock);
        __atomic_fetch_add(&FairPasses, 1, __ATOMIC_RELAXED);
    }
}

static void hold_exclusive_again_and_again(PVOID context)
{
    (void)context;
    while (!__atomic_load_n(&FairStop, __ATOMIC_RELAXED))
    {
        KiAcquirePushLockExclusive(&FairLock);
        __atomic_fetch_add(&FairPasses, 1, __ATOMIC_RELAXED);
        KiReleasePushLockExclusive(&FairLock);
    }
}

/* Three readers whose holds overlap leave the lock never free; a writer must get through all the same. */
static void readers_do_not_starve_a_writer(void **state)
{
    static KTHREAD readers[3];

    (void)state;
    FairLock = 0;
    FairStop = 0;
    for (ULONG i = 0; i < 3; i += 1)
    {
        assert_int_equal(KiStartThread(&readers[i], hold_shared_again_and_again, NULL, i), STATUS_SUCCESS);
    }
    sleep_milliseconds(5);
    for (int i = 0; i < 10; i += 1)
    {
        LONG before = __atomic_load_n(&FairPasses, __ATOMIC_RELAXED);

        KiAcquirePushLockExclusive(&FairLock);
        /* Readers that were inside may leave; nobody new may pass. Each of the three at most twice. */
        assert_true(__atomic_load_n(&FairPasses, __ATOMIC_RELAXED) - before <= 6);
        KiReleasePushLockExclusive(&FairLock);
    }
    __atomic_store_n(&FairStop, 1, __ATOMIC_RELAXED);
    for (ULONG i = 0; i < 3; i += 1)
    {
        KiJoinThread(&readers[i]);
    }
}

static void writers_do_not_starve_a_reader(void **state)
{
    static KTHREAD writers[3];

    (void)state;
    FairLock = 0;
    FairStop = 0;
    for (ULONG i = 0; i < 3; i += 1)
    {
        assert_int_equal(KiStartThread(&writers[i], hold_exclusive_again_and_again, NULL, i), STATUS_SUCCESS);
    }
    for (int i = 0; i < 200; i += 1)
    {
        KiAcquirePushLockShared(&FairLock);
        KiReleasePushLockShared(&FairLock);
    }
    __atomic_store_n(&FairStop, 1, __ATOMIC_RELAXED);
    for (ULONG i = 0; i < 3; i += 1)
    {
        KiJoinThread(&writers[i]);
    }
    assert_int_equal(FairLock, 0);
}

static void waiting_writer_stops_new_readers(void **state)
{
    static KTHREAD writer;

    (void)state;
    FairLock = 0;
    __atomic_store_n(&FairStop, 0, __ATOMIC_RELAXED);
    KiAcquirePushLockShared(&FairLock);
    assert_int_equal(KiStartThread(&writer, hold_exclusive_again_and_again, NULL, 1), STATUS_SUCCESS);
    sleep_milliseconds(20);
    assert_false(KiTryAcquirePushLockShared(&FairLock));
    __atomic_store_n(&FairStop, 1, __ATOMIC_RELAXED);
    KiReleasePushLockShared(&FairLock);
    KiJoinThread(&writer);
    assert_true(KiTryAcquirePushLockShared(&FairLock));
    KiReleasePushLockShared(&FairLock);
}

/* ---- Cache-aware --------------------------------------------------------------------------------------- */

static KI_CACHE_AWARE_SLOT Slots[TEST_PROCESSORS] __attribute__((aligned(64)));
static SHADOW SlotShadow;

static void stress_cache_aware(PVOID context)
{
    WORKER *worker = context;

    for (uint64_t i = 0; i < worker->Rounds; i += 1)
    {
        uint32_t choice = draw(&worker->Random) % 16;

        if (choice == 0 || (choice == 1 && KiTryAcquireCacheAwareExclusive(Slots)))
        {
            if (choice == 0)
            {
                KiAcquireCacheAwareExclusive(Slots);
            }
            enter_exclusive(&SlotShadow);
            worker->Exclusive[0] += 1;
            dwell(&worker->Random);
            leave_exclusive(&SlotShadow);
            KiReleaseCacheAwareExclusive(Slots);
        }
        else
        {
            PKI_CACHE_AWARE_SLOT slot = KiAcquireCacheAwareShared(Slots);

            enter_shared(&SlotShadow);
            dwell(&worker->Random);
            leave_shared(&SlotShadow);
            KiReleaseCacheAwareShared(slot);
        }
    }
}

static void cache_aware_excludes_all_processors(void **state)
{
    static WORKER workers[THREADS];
    LONG exclusive = 0;

    (void)state;
    memset(Slots, 0, sizeof(Slots));
    memset(workers, 0, sizeof(workers));
    memset(&SlotShadow, 0, sizeof(SlotShadow));
    Violations = 0;
    for (ULONG i = 0; i < THREADS; i += 1)
    {
        workers[i].Random = 99 + i;
        workers[i].Rounds = iterations(20000);
        assert_int_equal(KiStartThread(&workers[i].Thread, stress_cache_aware, &workers[i], i),
                         STATUS_SUCCESS);
    }
    for (ULONG i = 0; i < THREADS; i += 1)
    {
        KiJoinThread(&workers[i].Thread);
        exclusive += workers[i].Exclusive[0];
    }
    assert_int_equal(Violations, 0);
    assert_int_equal(SlotShadow.Plain, exclusive);
    for (ULONG i = 0; i < TEST_PROCESSORS; i += 1)
    {
        assert_int_equal(Slots[i].Lock, 0);
    }
}

static void the_free_lock_is_fast(void **state)
{
    EX_PUSH_LOCK lock = 0;
    KSPIN_LOCK spin = 0;
    uint64_t rounds = iterations(1000000);
    ULONG64 begin = PortQueryClock();
    ULONG64 middle;
    ULONG64 end;

    (void)state;
    for (uint64_t i = 0; i < rounds; i += 1)
    {
        KiAcquirePushLockShared(&lock);
        KiReleasePushLockShared(&lock);
    }
    middle = PortQueryClock();
    for (uint64_t i = 0; i < rounds; i += 1)
    {
        KIRQL irql = KiAcquireSpinLock(&spin);
        KiReleaseSpinLock(&spin, irql);
    }
    end = PortQueryClock();
    print_message("uncontended pairs: push lock shared %.1f ns, spin lock with IRQL %.1f ns\n",
                  (double)(middle - begin) / (double)rounds, (double)(end - middle) / (double)rounds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nobody_meets_inside, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(readers_do_not_starve_a_writer, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(writers_do_not_starve_a_reader, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(waiting_writer_stops_new_readers, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(cache_aware_excludes_all_processors, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(the_free_lock_is_fast, setup_threaded, teardown),
    };

    return cmocka_run_group_tests_name("ke.pushlock", tests, NULL, NULL);
}
