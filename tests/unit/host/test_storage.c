/* SPDX-License-Identifier: MIT */
/*
 * Storage of the host port. Every sentence about transfers is tried on each engine (io_uring, thread pool,
 * deterministic) and each kind of medium (page cache, O_DIRECT, memory). The test brings its own page frames: anonymous memory where the direct map would be.
 * Each test ends with as many descriptors and threads as it began with.
 */
#include "storage_request.h"

#define FILE_PAGES 2048u

/* ---- Sentences about transfers: for every setting ------------------------------------------------------ */

static void what_is_written_from_scattered_frames_is_read_into_others(void **state)
{
    PORT_STORAGE *storage = open_or_skip(state);
    test_random random = test_seed("round trip");
    static REQUEST request;

    assert_int_equal(PortSetStorageSize(storage, FILE_PAGES << PAGE_SHIFT), STATUS_SUCCESS);
    for (ULONG64 round = 1; round <= 60; round += 1)
    {
        ULONG count =
            round == 1 ? PORT_IO_MAXIMUM_PAGES : 1 + (ULONG)test_below(&random, PORT_IO_MAXIMUM_PAGES);
        ULONG64 page = test_below(&random, FILE_PAGES - count + 1);

        prepare(&request, storage, page, count, TRUE);
        choose_frames(&request, &random, 0, 1024, count);
        for (ULONG index = 0; index < count; index += 1)
        {
            fill(request.Frames[index], page + index, round);
        }
        assert_int_equal(run(&request), STATUS_SUCCESS);
        assert_int_equal(request.Io.Information, count << PAGE_SHIFT);

        prepare(&request, storage, page, count, FALSE);
        choose_frames(&request, &random, 2048, 1024, count);
        if ((round & 1) != 0)
        {
            PortPerformIo(&request.Io);
            assert_int_equal(request.Completions, 1);
        }
        else
        {
            run(&request);
        }
        assert_int_equal(request.Io.Status, STATUS_SUCCESS);
        assert_int_equal(request.Io.Information, count << PAGE_SHIFT);
        for (ULONG index = 0; index < count; index += 1)
        {
            assert_true(holds(request.Frames[index], page + index, round));
        }
    }
    assert_int_equal(PortFlushStorage(storage), STATUS_SUCCESS);
    PortCloseStorage(storage);
}

/* One client of the next test: its own frames and its own part of the file. */
typedef struct
{
    PORT_STORAGE *Storage;
    ULONG64 FirstPage;
    PFN_NUMBER FirstFrame;
    ULONG Requests, PagesEach, Rounds;
    ULONG64 Seed;
    BOOLEAN Failed;
} CLIENT;

static BOOLEAN verify_round(REQUEST *requests, const CLIENT *client, const ULONG64 *versions)
{
    BOOLEAN good = TRUE;

    for (ULONG index = 0; index < client->Requests; index += 1)
    {
        REQUEST *request = &requests[index];
        ULONG64 page = request->Io.Offset >> PAGE_SHIFT;

        while (__atomic_load_n(&request->Completions, __ATOMIC_ACQUIRE) == 0)
        {
            if (!PortPollIo())
            {
                sched_yield();
            }
        }
        good = good && request->Io.Status == STATUS_SUCCESS &&
               request->Io.Information == (SIZE_T)request->Io.Count << PAGE_SHIFT;
        for (ULONG each = 0; each < request->Io.Count && !request->Io.Write; each += 1)
        {
            good =
                good && holds(request->Frames[each], page + each, versions[page + each - client->FirstPage]);
        }
    }
    sched_yield();
    for (ULONG index = 0; index < client->Requests; index += 1)
    {
        good = good && __atomic_load_n(&requests[index].Completions, __ATOMIC_ACQUIRE) == 1;
    }
    return good;
}

/* Rounds of requests on different pages, all in flight together, in an order of their own. */
static void *run_client(void *argument)
{
    CLIENT *client = argument;
    REQUEST *requests = calloc(client->Requests, sizeof(REQUEST));
    ULONG64 *versions = calloc((size_t)client->Requests * client->PagesEach, sizeof(ULONG64));
    test_random random = { client->Seed };

    for (ULONG64 round = 1; round <= client->Rounds && !client->Failed; round += 1)
    {
        for (ULONG index = 0; index < client->Requests; index += 1)
        {
            ULONG64 slot = (index * 7 + round) % client->Requests;
            ULONG count = 1 + (ULONG)test_below(&random, client->PagesEach);
            ULONG64 page = client->FirstPage + slot * client->PagesEach;
            BOOLEAN write = test_below(&random, 2) != 0;

            prepare(&requests[index], client->Storage, page, count, write);
            choose_frames(&requests[index], &random, client->FirstFrame + index * client->PagesEach,
                          client->PagesEach, count);
            for (ULONG each = 0; each < count && write; each += 1)
            {
                versions[slot * client->PagesEach + each] = round;
                fill(requests[index].Frames[each], page + each, round);
            }
            PortStartIo(&requests[index].Io);
        }
        client->Failed = !verify_round(requests, client, versions);
    }
    free(versions);
    free(requests);
    return NULL;
}

static void requests_in_flight_together_complete_once_with_the_right_contents(void **state)
{
    const SETTING *setting = *state;
    PORT_STORAGE *storage = open_or_skip(state);
    test_random random = test_seed("in flight");
    ULONG rounds = (ULONG)test_iterations(20);
    CLIENT clients[5];
    pthread_t threads[4];

    assert_int_equal(PortSetStorageSize(storage, FILE_PAGES << PAGE_SHIFT), STATUS_SUCCESS);
    /* 64 at once from one thread; then, where there are threads, 4 x 40, more than the ring takes. */
    clients[4] = (CLIENT){ storage, 0, 0, 64, 16, rounds, test_draw(&random), FALSE };
    run_client(&clients[4]);
    assert_false(clients[4].Failed);
    assert_int_equal(PortSetStorageSize(storage, 0), STATUS_SUCCESS);
    assert_int_equal(PortSetStorageSize(storage, FILE_PAGES << PAGE_SHIFT), STATUS_SUCCESS);
    for (ULONG index = 0; index < 4 && setting->Engine != HostStorageDeterministic; index += 1)
    {
        clients[index] =
            (CLIENT){ storage, index * 512, index * 1024, 40, 8, rounds, test_draw(&random), FALSE };
        assert_int_equal(pthread_create(&threads[index], NULL, run_client, &clients[index]), 0);
    }
    for (ULONG index = 0; index < 4 && setting->Engine != HostStorageDeterministic; index += 1)
    {
        pthread_join(threads[index], NULL);
        assert_false(clients[index].Failed);
    }
    PortCloseStorage(storage);
}

static void short_transfers_are_continued(void **state)
{
    static const ULONG cuts[] = { 1, 511, 1000, 4095, 4096, 4097, 12288, 40000 };
    PORT_STORAGE *storage = open_or_skip(state);
    static REQUEST request;

    for (ULONG index = 0; index < RTL_NUMBER_OF(cuts); index += 1)
    {
        HOST_STORAGE_FAULT fault = { .Storage = storage,
                                     .Kind = HOST_FAULT_READ | HOST_FAULT_WRITE,
                                     .Nth = 1,
                                     .Count = 3,
                                     .ShortBytes = cuts[index] };
        HOST_STORAGE_COUNTERS before, after;

        HostStorageQueryCounters(storage, &before);
        assert_true(HostStorageInject(&fault));
        write_pages(storage, 0, 24, index + 1);
        assert_true(HostStorageInject(&fault));
        prepare(&request, storage, 0, 24, FALSE);
        for (ULONG each = 0; each < 24; each += 1)
        {
            request.Frames[each] = 100 + 2 * (23 - each);
        }
        assert_int_equal(run(&request), STATUS_SUCCESS);
        assert_int_equal(request.Io.Information, 24 * PAGE_SIZE);
        for (ULONG each = 0; each < 24; each += 1)
        {
            assert_true(holds(request.Frames[each], each, index + 1));
        }
        HostStorageQueryCounters(storage, &after);
        assert_int_equal(after.Injected - before.Injected, 6);
        assert_true(after.ShortTransfers - before.ShortTransfers >= 4);
        assert_int_equal(after.Writes - before.Writes, 1);
        assert_int_equal(after.PagesRead - before.PagesRead, 24);
    }
    PortCloseStorage(storage);
}

static void a_device_that_never_moves_a_byte_ends_in_an_error(void **state)
{
    PORT_STORAGE *storage = open_or_skip(state);
    HOST_STORAGE_FAULT fault = { .Storage = storage, .Kind = HOST_FAULT_READ, .Nth = 1, .Error = EAGAIN };
    static REQUEST request;

    write_pages(storage, 0, 2, 1);
    assert_true(HostStorageInject(&fault));
    prepare(&request, storage, 0, 1, FALSE);
    request.Frames[0] = 10;
    assert_int_equal(run(&request), STATUS_INSUFFICIENT_RESOURCES);
    assert_int_equal(request.Io.Information, 0);
    PortCloseStorage(storage);
}

static void interrupted_transfers_are_tried_again(void **state)
{
    static const int errors[] = { EINTR, EAGAIN, ECANCELED };
    PORT_STORAGE *storage = open_or_skip(state);
    static REQUEST request;

    for (ULONG index = 0; index < RTL_NUMBER_OF(errors); index += 1)
    {
        HOST_STORAGE_FAULT fault = {
            .Kind = HOST_FAULT_READ | HOST_FAULT_WRITE, .Nth = 1, .Count = 20, .Error = errors[index]
        };

        assert_true(HostStorageInject(&fault));
        write_pages(storage, 3, 2, index + 1);
        assert_true(HostStorageInject(&fault));
        prepare(&request, storage, 3, 2, FALSE);
        request.Frames[0] = 10;
        request.Frames[1] = 20;
        assert_int_equal(run(&request), STATUS_SUCCESS);
        assert_true(holds(10, 3, index + 1) && holds(20, 4, index + 1));
    }
    PortCloseStorage(storage);
}

static void the_nth_transfer_fails_and_the_others_do_not(void **state)
{
    static const struct
    {
        int Error;
        NTSTATUS Status;
    } expected[] = { { EIO, STATUS_IO_DEVICE_ERROR },
                     { ENOSPC, STATUS_DISK_FULL },
                     { EDQUOT, STATUS_DISK_FULL },
                     { ESTALE, STATUS_DEVICE_NOT_CONNECTED },
                     { ENODEV, STATUS_DEVICE_NOT_CONNECTED } };
    PORT_STORAGE *storage = open_or_skip(state);
    static REQUEST request;

    write_pages(storage, 0, 8, 1);
    for (ULONG index = 0; index < RTL_NUMBER_OF(expected); index += 1)
    {
        HOST_STORAGE_FAULT fault = {
            .Storage = storage, .Kind = HOST_FAULT_READ, .Nth = 3, .Count = 2, .Error = expected[index].Error
        };

        assert_true(HostStorageInject(&fault));
        write_pages(storage, 0, 8, 1); /* another kind: not counted */
        for (ULONG nth = 1; nth <= 6; nth += 1)
        {
            NTSTATUS status = nth == 3 || nth == 4 ? expected[index].Status : STATUS_SUCCESS;

            prepare(&request, storage, nth, 1, FALSE);
            request.Frames[0] = 50;
            if ((nth & 1) != 0)
            {
                run(&request);
            }
            else
            {
                PortPerformIo(&request.Io);
            }
            assert_int_equal(request.Io.Status, status);
            assert_int_equal(request.Io.Information, NT_SUCCESS(status) ? PAGE_SIZE : 0);
            assert_true(!NT_SUCCESS(status) || holds(50, nth, 1));
        }
    }
    PortCloseStorage(storage);
}

static void reading_beyond_the_end_fills_zeros(void **state)
{
    PORT_STORAGE *storage = open_or_skip(state);
    static REQUEST request;
    ULONG64 size;

    write_pages(storage, 0, 2, 9);
    assert_int_equal(PortSetStorageSize(storage, 5000), STATUS_SUCCESS);
    assert_int_equal(PortQueryStorageSize(storage, &size), STATUS_SUCCESS);
    assert_int_equal(size, 5000);

    prepare(&request, storage, 0, 4, FALSE);
    for (ULONG index = 0; index < 4; index += 1)
    {
        request.Frames[index] = 30 - index;
        memset(PortDirectMap(request.Frames[index]), 0xee, PAGE_SIZE);
    }
    assert_int_equal(run(&request), STATUS_SUCCESS);
    assert_int_equal(request.Io.Information, 5000);
    assert_true(holds(30, 0, 9));
    for (ULONG byte = 904; byte < PAGE_SIZE; byte += 1)
    {
        assert_int_equal(((UCHAR *)PortDirectMap(29))[byte], 0);
    }
    assert_int_equal(*(ULONG64 *)PortDirectMap(29), word_of(1, 9, 0));
    assert_true(holds(28, 0, 0) && holds(27, 0, 0));

    prepare(&request, storage, 2, 2, FALSE);
    memset(PortDirectMap(30), 0xee, PAGE_SIZE);
    request.Frames[0] = 30;
    request.Frames[1] = 28;
    assert_int_equal(run(&request), STATUS_END_OF_FILE);
    assert_int_equal(request.Io.Information, 0);
    assert_true(holds(30, 0, 0));
    PortCloseStorage(storage);
}

static void nonsense_fails_by_completion_not_by_crash(void **state)
{
    PORT_STORAGE *storage = open_or_skip(state);
    static REQUEST request;

    prepare(&request, storage, 0, 0, FALSE);
    assert_int_equal(run(&request), STATUS_INVALID_PARAMETER);
    prepare(&request, storage, 0, PORT_IO_MAXIMUM_PAGES + 1, FALSE);
    assert_int_equal(run(&request), STATUS_INVALID_PARAMETER);
    prepare(&request, storage, 0, 1, FALSE);
    request.Io.Offset = 512;
    assert_int_equal(run(&request), STATUS_INVALID_PARAMETER);
    prepare(&request, storage, 0, 1, FALSE);
    request.Io.Offset = 0x7ffffffffffff000ull;
    assert_int_equal(run(&request), STATUS_INVALID_PARAMETER);
    PortCloseStorage(storage);
}

static void a_disk_that_ends_early_is_full_in_the_middle_of_a_write(void **state)
{
    PORT_STORAGE *storage = open_or_skip(state);
    static REQUEST request;
    ULONG64 size;

    assert_int_equal(PortSetStorageSize(storage, 16 * PAGE_SIZE), STATUS_SUCCESS);
    HostStorageSetCapacity(storage, 20 * PAGE_SIZE + 100);
    assert_int_equal(PortSetStorageSize(storage, 21 * PAGE_SIZE), STATUS_DISK_FULL);
    assert_int_equal(PortQueryStorageSize(storage, &size), STATUS_SUCCESS);
    assert_int_equal(size, 16 * PAGE_SIZE);
    assert_int_equal(PortSetStorageSize(storage, 20 * PAGE_SIZE), STATUS_SUCCESS);

    prepare(&request, storage, 18, 5, TRUE);
    for (ULONG index = 0; index < 5; index += 1)
    {
        request.Frames[index] = 40 + 3 * index;
        fill(request.Frames[index], 18 + index, 2);
    }
    assert_int_equal(run(&request), STATUS_DISK_FULL);
    assert_int_equal(request.Io.Information, 2 * PAGE_SIZE);
    HostStorageSetCapacity(storage, ~0ull);
    assert_int_equal(run(&request), STATUS_SUCCESS);

    HostStorageSetCapacity(NULL, 1 * PAGE_SIZE);
    assert_int_equal(PortSetStorageSize(storage, 64 * PAGE_SIZE), STATUS_DISK_FULL);
    HostStorageClearFaults();
    assert_int_equal(PortSetStorageSize(storage, 64 * PAGE_SIZE), STATUS_SUCCESS);
    PortCloseStorage(storage);
}

static void closing_waits_for_requests_in_flight(void **state)
{
    PORT_STORAGE *storage = open_or_skip(state);
    HOST_STORAGE_FAULT fault = { .Storage = storage, .Kind = HOST_FAULT_WRITE, .Nth = 2, .Delay = 5000000 };
    static REQUEST requests[24];

    assert_true(HostStorageInject(&fault));
    for (ULONG index = 0; index < RTL_NUMBER_OF(requests); index += 1)
    {
        prepare(&requests[index], storage, index, 1, TRUE);
        requests[index].Frames[0] = index;
        PortStartIo(&requests[index].Io);
    }
    PortCloseStorage(storage);
    for (ULONG index = 0; index < RTL_NUMBER_OF(requests); index += 1)
    {
        assert_int_equal(__atomic_load_n(&requests[index].Completions, __ATOMIC_ACQUIRE), 1);
        assert_int_equal(requests[index].Io.Status, STATUS_SUCCESS);
    }
}

static void a_flush_or_a_growth_can_fail(void **state)
{
    PORT_STORAGE *storage = open_or_skip(state);
    HOST_STORAGE_FAULT fault = { .Kind = HOST_FAULT_FLUSH, .Nth = 1, .Count = 1, .Error = EIO };
    ULONG64 size;

    assert_true(HostStorageInject(&fault));
    assert_int_equal(PortFlushStorage(storage), STATUS_IO_DEVICE_ERROR);
    assert_int_equal(PortFlushStorage(storage), STATUS_SUCCESS);
    fault.Kind = HOST_FAULT_GROW;
    fault.Error = ENOSPC;
    assert_true(HostStorageInject(&fault));
    assert_int_equal(PortSetStorageSize(storage, 1 << 20), STATUS_DISK_FULL);
    assert_int_equal(PortQueryStorageSize(storage, &size), STATUS_SUCCESS);
    assert_int_equal(size, 0);
    assert_int_equal(PortSetStorageSize(storage, 1 << 20), STATUS_SUCCESS);
    assert_int_equal(PortSetStorageSize(storage, 4096), STATUS_SUCCESS);
    assert_int_equal(PortQueryStorageSize(storage, &size), STATUS_SUCCESS);
    assert_int_equal(size, 4096);
    PortCloseStorage(storage);
}

/* ---- Sentences about single settings ------------------------------------------------------------------- */

static void record_order(ULONG64 seed, ULONG order[32])
{
    static const SETTING setting = { HostStorageDeterministic, MEMORY };
    static REQUEST requests[32];
    PORT_STORAGE *storage;

    assert_true(HostStorageSetDeterministic(TRUE, seed));
    storage = open_medium(&setting);
    CompletionCount = 0;
    for (ULONG index = 0; index < 32; index += 1)
    {
        prepare(&requests[index], storage, index, 1, TRUE);
        requests[index].Frames[0] = index;
        PortStartIo(&requests[index].Io);
    }
    assert_int_equal(CompletionCount, 0);
    while (PortPollIo())
    {
    }
    assert_int_equal(CompletionCount, 32);
    memcpy(order, CompletionOrder, 32 * sizeof(ULONG));
    PortCloseStorage(storage);
}

static void the_seed_decides_the_order_of_completions(void **state)
{
    ULONG first[32], second[32], third[32];

    (void)state;
    record_order(7, first);
    record_order(8, second);
    record_order(7, third);
    assert_memory_equal(first, third, sizeof(first));
    assert_memory_not_equal(first, second, sizeof(first));
}

static void a_refused_direct_transfer_goes_through_the_cache(void **state)
{
    PORT_STORAGE *storage = open_or_skip(state);
    HOST_STORAGE_FAULT fault = {
        .Storage = storage, .Kind = HOST_FAULT_WRITE, .Nth = 1, .Count = 1, .Error = EINVAL
    };

    assert_true(HostStorageInject(&fault));
    write_pages(storage, 0, 4, 1);
    assert_false(HostStorageIsUncached(storage));
    PortCloseStorage(storage);
}

static void a_delay_holds_up_only_its_own_request(void **state)
{
    PORT_STORAGE *storage = open_or_skip(state);
    HOST_STORAGE_FAULT fault = {
        .Storage = storage, .Kind = HOST_FAULT_READ, .Nth = 1, .Count = 1, .Delay = 150000000
    };
    static REQUEST slow, quick;
    ULONG64 start;
    struct timespec now;

    write_pages(storage, 0, 2, 1);
    assert_true(HostStorageInject(&fault));
    prepare(&slow, storage, 0, 1, FALSE);
    slow.Frames[0] = 10;
    prepare(&quick, storage, 1, 1, FALSE);
    quick.Frames[0] = 11;
    clock_gettime(CLOCK_MONOTONIC, &now);
    start = (ULONG64)now.tv_sec * 1000000000u + (ULONG64)now.tv_nsec;
    PortStartIo(&slow.Io);
    usleep(20000); /* the rule is to meet the slow one */
    run(&quick);
    assert_int_equal(__atomic_load_n(&slow.Completions, __ATOMIC_ACQUIRE), 0);
    await(&slow);
    clock_gettime(CLOCK_MONOTONIC, &now);
    assert_true((ULONG64)now.tv_sec * 1000000000u + (ULONG64)now.tv_nsec - start >= fault.Delay);
    assert_true(holds(10, 0, 1) && holds(11, 1, 1));
    PortCloseStorage(storage);
}

static ULONG HooksStarted, HooksStopped, HookCompletions;

static PVOID hook_start(ULONG Index)
{
    __atomic_fetch_add(&HooksStarted, 1, __ATOMIC_RELAXED);
    PortSetCurrentThread((struct _KTHREAD *)(uintptr_t)(0x1000 + Index));
    return (PVOID)(uintptr_t)(0x1000 + Index);
}

static VOID hook_stop(PVOID Thread)
{
    if (Thread == (PVOID)PortGetCurrentThread())
    {
        __atomic_fetch_add(&HooksStopped, 1, __ATOMIC_RELAXED);
    }
}

static VOID hook_completion(PORT_IO *Io)
{
    if (PortGetCurrentThread() != NULL)
    {
        __atomic_fetch_add(&HookCompletions, 1, __ATOMIC_RELAXED);
    }
    on_completion(Io);
}

static void completions_run_on_threads_that_the_embedder_knows(void **state)
{
    const HOST_STORAGE_HOOKS hooks = { hook_start, hook_stop }, none = { NULL, NULL };
    PORT_STORAGE *storage;
    static REQUEST request;

    HooksStarted = HooksStopped = HookCompletions = 0;
    HostStorageSetHooks(&hooks);
    storage = open_or_skip(state);
    for (ULONG index = 0; index < 8; index += 1)
    {
        prepare(&request, storage, index, 1, TRUE);
        request.Io.Completion = hook_completion;
        request.Frames[0] = index;
        assert_int_equal(run(&request), STATUS_SUCCESS);
    }
    PortCloseStorage(storage);
    HostStorageSetHooks(&none);
    assert_int_equal(HookCompletions, 8);
    assert_true(HooksStarted != 0);
    assert_int_equal(HooksStarted, HooksStopped);
}

static void the_engine_lives_from_the_first_open_to_the_last_close(void **state)
{
    const SETTING *setting = *state;

    PortCloseStorage(open_or_skip(state));
    for (ULONG index = 0; index < 50; index += 1)
    {
        PORT_STORAGE *storage = open_medium(setting);

        assert_false(HostStorageSelectEngine(HostStoragePool));
        write_pages(storage, 0, 1 + index, index);
        PortCloseStorage(storage);
        assert_true(HostStorageSelectEngine(setting->Engine));
    }
}

/* ---- The suite ----------------------------------------------------------------------------------------- */

static SETTING UringCached = { HostStorageUring, CACHED }, UringDirect = { HostStorageUring, DIRECT },
               UringMemory = { HostStorageUring, MEMORY }, PoolCached = { HostStoragePool, CACHED },
               PoolDirect = { HostStoragePool, DIRECT }, PoolMemory = { HostStoragePool, MEMORY },
               DeterministicCached = { HostStorageDeterministic, CACHED },
               DeterministicDirect = { HostStorageDeterministic, DIRECT },
               DeterministicMemory = { HostStorageDeterministic, MEMORY };

#define EVERY_SENTENCE(setting)                                                                              \
    WITH(what_is_written_from_scattered_frames_is_read_into_others, setting),                                \
        WITH(requests_in_flight_together_complete_once_with_the_right_contents, setting),                    \
        WITH(short_transfers_are_continued, setting),                                                        \
        WITH(a_device_that_never_moves_a_byte_ends_in_an_error, setting),                                    \
        WITH(interrupted_transfers_are_tried_again, setting),                                                \
        WITH(the_nth_transfer_fails_and_the_others_do_not, setting),                                         \
        WITH(reading_beyond_the_end_fills_zeros, setting),                                                   \
        WITH(nonsense_fails_by_completion_not_by_crash, setting),                                            \
        WITH(a_disk_that_ends_early_is_full_in_the_middle_of_a_write, setting),                              \
        WITH(closing_waits_for_requests_in_flight, setting), WITH(a_flush_or_a_growth_can_fail, setting)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERY_SENTENCE(UringCached),
        EVERY_SENTENCE(UringDirect),
        EVERY_SENTENCE(UringMemory),
        EVERY_SENTENCE(PoolCached),
        EVERY_SENTENCE(PoolDirect),
        EVERY_SENTENCE(PoolMemory),
        EVERY_SENTENCE(DeterministicCached),
        EVERY_SENTENCE(DeterministicDirect),
        EVERY_SENTENCE(DeterministicMemory),
        WITH(a_refused_direct_transfer_goes_through_the_cache, UringDirect),
        WITH(a_refused_direct_transfer_goes_through_the_cache, PoolDirect),
        WITH(a_delay_holds_up_only_its_own_request, UringCached),
        WITH(a_delay_holds_up_only_its_own_request, PoolCached),
        WITH(completions_run_on_threads_that_the_embedder_knows, UringMemory),
        WITH(completions_run_on_threads_that_the_embedder_knows, PoolMemory),
        WITH(the_engine_lives_from_the_first_open_to_the_last_close, UringMemory),
        WITH(the_engine_lives_from_the_first_open_to_the_last_close, PoolMemory),
        ALONE(the_seed_decides_the_order_of_completions),
    };
    int failures;

    if (!begin_suite())
    {
        return 1;
    }
    failures = cmocka_run_group_tests_name("storage", tests, NULL, NULL);
    rmdir(Folder);
    return failures;
}
