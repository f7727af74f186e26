/* SPDX-License-Identifier: MIT */
/*
 * Storage of the host port. Every sentence about transfers is tried on each engine (io_uring, thread pool,
 * deterministic) and each kind of medium (page cache, O_DIRECT, memory); sentences about names, sizes and
 * full disks follow. The test brings its own page frames: anonymous memory where the direct map would be.
 * Each test ends with as many descriptors and threads as it began with.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "../rtl/seed.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storage_test.h"

#define ARENA_PAGES 8192u
#define FILE_PAGES  2048u
#define KIBIBYTE    1024ull

typedef enum
{
    CACHED,
    DIRECT,
    MEMORY
} MEDIUM;

typedef struct
{
    HOST_STORAGE_ENGINE_KIND Engine;
    MEDIUM Medium;
} SETTING;

static char Folder[64];
static char FilePath[96];
static size_t DescriptorsBefore, ThreadsBefore;

/* ---- Helpers ------------------------------------------------------------------------------------------- */

static size_t entries_of(const char *path)
{
    DIR *folder = opendir(path);
    size_t count = 0;

    assert_non_null(folder);
    while (readdir(folder) != NULL)
    {
        count += 1;
    }
    closedir(folder);
    return count;
}

#define READ_WRITE (PORT_STORAGE_READ | PORT_STORAGE_WRITE)

static PORT_STORAGE *open_medium(const SETTING *setting)
{
    ULONG flags = READ_WRITE | PORT_STORAGE_CREATE | (setting->Medium == DIRECT ? PORT_STORAGE_UNCACHED : 0);
    PORT_STORAGE *storage = NULL;

    assert_int_equal(
        open_named(setting->Medium == MEMORY ? "\\\\.\\Memory\\page" : FilePath, flags, &storage),
        STATUS_SUCCESS);
    return storage;
}

typedef struct
{
    PORT_IO Io;
    PFN_NUMBER Frames[PORT_IO_MAXIMUM_PAGES];
    ULONG Completions;
} REQUEST;

static ULONG CompletionOrder[256], CompletionCount;

static VOID on_completion(PORT_IO *Io)
{
    REQUEST *request = Io->Context;
    ULONG place = __atomic_fetch_add(&CompletionCount, 1, __ATOMIC_RELAXED);

    if (place < RTL_NUMBER_OF(CompletionOrder))
    {
        __atomic_store_n(&CompletionOrder[place], (ULONG)(Io->Offset >> PAGE_SHIFT), __ATOMIC_RELAXED);
    }
    __atomic_fetch_add(&request->Completions, 1, __ATOMIC_RELEASE);
}

static void prepare(REQUEST *request, PORT_STORAGE *storage, ULONG64 page, ULONG count, BOOLEAN write)
{
    memset(&request->Io, 0xcd, sizeof(request->Io));
    request->Completions = 0;
    request->Io.Storage = storage;
    request->Io.Offset = page << PAGE_SHIFT;
    request->Io.Frames = request->Frames;
    request->Io.Count = count;
    request->Io.Write = write;
    request->Io.Completion = on_completion;
    request->Io.Context = request;
}

static void await(REQUEST *request)
{
    while (__atomic_load_n(&request->Completions, __ATOMIC_ACQUIRE) == 0)
    {
        if (!PortPollIo())
        {
            sched_yield();
        }
    }
    assert_int_equal(request->Completions, 1);
}

static NTSTATUS run(REQUEST *request)
{
    request->Completions = 0;
    PortStartIo(&request->Io);
    await(request);
    return request->Io.Status;
}

/* Frames in every pattern between all consecutive and all scattered. */
static void choose_frames(REQUEST *request, test_random *random, PFN_NUMBER base, ULONG room, ULONG count)
{
    ULONG first = (ULONG)test_below(random, room - count + 1);
    ULONG way = (ULONG)test_below(random, 3);

    for (ULONG index = 0; index < count; index += 1)
    {
        ULONG place = way == 0 ? index : way == 1 ? count - 1 - index : (index & ~3u) + (3 - (index & 3));

        request->Frames[index] = base + first + (place < count ? place : index);
    }
    if (way == 2 && (count & 3) != 0)
    {
        for (ULONG index = count & ~3u; index < count; index += 1)
        {
            request->Frames[index] = base + first + index;
        }
    }
}

/* ---- Set-up and tear-down ------------------------------------------------------------------------------ */

static int begin(void **state)
{
    const SETTING *setting = *state;

    DescriptorsBefore = entries_of("/proc/self/fd");
    ThreadsBefore = entries_of("/proc/self/task");
    snprintf(FilePath, sizeof(FilePath), "%s/storage", Folder);
    CompletionCount = 0;
    if (setting != NULL && setting->Engine == HostStorageDeterministic)
    {
        return HostStorageSetDeterministic(TRUE, 1) ? 0 : -1;
    }
    return HostStorageSelectEngine(setting != NULL ? setting->Engine : HostStorageAutomatic) ? 0 : -1;
}

static int end(void **state)
{
    PORT_STORAGE *left;

    (void)state;
    HostStorageClearFaults();
    while ((left = HostStorageFind("")) != NULL)
    {
        PortCloseStorage(left); /* of a test that failed */
    }
    unlink(FilePath);
    /* A joined thread leaves /proc a moment after pthread_join returned. */
    for (int wait = 0; wait < 1000 && entries_of("/proc/self/task") != ThreadsBefore; wait += 1)
    {
        usleep(1000);
    }
    assert_int_equal(entries_of("/proc/self/task"), ThreadsBefore);
    assert_int_equal(entries_of("/proc/self/fd"), DescriptorsBefore);
    return 0;
}

/* io_uring may be missing here; then its half of the tests says so. */
static PORT_STORAGE *open_or_skip(void **state)
{
    const SETTING *setting = *state;
    PORT_STORAGE *storage = NULL;

    if (setting->Engine == HostStorageUring &&
        open_named("\\\\.\\Memory\\probe", READ_WRITE | PORT_STORAGE_CREATE, &storage) ==
            STATUS_NOT_SUPPORTED)
    {
        print_message("skipped: this Linux refuses io_uring\n");
        skip();
    }
    if (storage != NULL)
    {
        PortCloseStorage(storage);
    }
    storage = open_medium(setting);
    assert_int_equal(HostStorageQueryEngine(), setting->Engine);
    if (setting->Medium == DIRECT && !HostStorageIsUncached(storage))
    {
        PortCloseStorage(storage);
        print_message("skipped: no O_DIRECT below %s\n", Folder);
        skip();
    }
    return storage;
}

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

static void write_pages(PORT_STORAGE *storage, ULONG64 page, ULONG count, ULONG64 version)
{
    static REQUEST request;

    prepare(&request, storage, page, count, TRUE);
    for (ULONG index = 0; index < count; index += 1)
    {
        request.Frames[index] = index;
        fill(index, page + index, version);
    }
    assert_int_equal(run(&request), STATUS_SUCCESS);
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

/* ---- Sentences about names, files and sizes ------------------------------------------------------------ */

static void opening_says_what_is_wrong(void **state)
{
    char path[128];
    PORT_STORAGE *storage = (PORT_STORAGE *)state;

    snprintf(path, sizeof(path), "%s/absent", Folder);
    assert_int_equal(open_named(path, READ_WRITE, &storage), STATUS_OBJECT_NAME_NOT_FOUND);
    snprintf(path, sizeof(path), "%s/absent/file", Folder);
    assert_int_equal(open_named(path, READ_WRITE | PORT_STORAGE_CREATE, &storage),
                     STATUS_OBJECT_PATH_NOT_FOUND);
    assert_int_equal(open_named("/proc/self/exe/file", READ_WRITE, &storage), STATUS_OBJECT_PATH_NOT_FOUND);
    assert_int_equal(open_named(Folder, READ_WRITE, &storage), STATUS_INVALID_PARAMETER);
    assert_int_equal(open_named(Folder, PORT_STORAGE_READ, &storage), STATUS_INVALID_PARAMETER);
    assert_int_equal(open_named("/dev/null", READ_WRITE, &storage), STATUS_INVALID_PARAMETER);
    snprintf(path, sizeof(path), "%s/fifo", Folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(open_named(path, PORT_STORAGE_READ, &storage), STATUS_INVALID_PARAMETER);
    unlink(path);
    assert_int_equal(open_named(FilePath, 0, &storage), STATUS_INVALID_PARAMETER);
    assert_int_equal(open_named(FilePath, 0x1000 | READ_WRITE, &storage), STATUS_INVALID_PARAMETER);
    assert_int_equal(open_named("", READ_WRITE, &storage), STATUS_OBJECT_NAME_INVALID);
    assert_int_equal(open_named("\\??\\", READ_WRITE, &storage), STATUS_OBJECT_NAME_INVALID);
    assert_int_equal(open_named("\\\\.\\Memory\\nobody", READ_WRITE, &storage), STATUS_OBJECT_NAME_NOT_FOUND);
    assert_ptr_equal(storage, state); /* nothing was written */
}

static void names_are_utf16_and_prefixes_are_understood(void **state)
{
    static const WCHAR lone[] = { '/', 't', 0xd800, 'x' };
    static const WCHAR nul[] = { '/', 't', 0, 'x' };
    static WCHAR native[128];
    UNICODE_STRING name = { sizeof(lone), sizeof(lone), (PWCH)lone };
    PORT_STORAGE *storage;
    char path[160];
    ULONG length = 0;

    (void)state;
    assert_int_equal(PortOpenStorage(&name, READ_WRITE | PORT_STORAGE_CREATE, &storage),
                     STATUS_OBJECT_NAME_INVALID);
    name.Buffer = (PWCH)nul;
    assert_int_equal(PortOpenStorage(&name, READ_WRITE | PORT_STORAGE_CREATE, &storage),
                     STATUS_OBJECT_NAME_INVALID);

    /* \??\ + the folder with backslashes + e-acute, euro, an emoji: 2, 3 and 4 bytes of UTF-8 */
    snprintf(path, sizeof(path), "\\??\\%s/", Folder);
    for (; path[length] != 0; length += 1)
    {
        native[length] = path[length] == '/' ? '\\' : (WCHAR)path[length];
    }
    native[length++] = 0xe9;
    native[length++] = 0x20ac;
    native[length++] = 0xd83d;
    native[length++] = 0xde00;
    name.Buffer = native;
    name.Length = (USHORT)(length * sizeof(WCHAR));
    assert_int_equal(PortOpenStorage(&name, READ_WRITE | PORT_STORAGE_CREATE, &storage), STATUS_SUCCESS);
    assert_ptr_equal(HostStorageFind("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"), storage);
    assert_null(HostStorageFind("other"));
    PortCloseStorage(storage);
    snprintf(path, sizeof(path), "%s/\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", Folder);
    assert_int_equal(unlink(path), 0);

    /* without a prefix a backslash is a character like any other */
    snprintf(path, sizeof(path), "%s/a\\b", Folder);
    assert_int_equal(open_named(path, READ_WRITE | PORT_STORAGE_CREATE, &storage), STATUS_SUCCESS);
    PortCloseStorage(storage);
    assert_int_equal(unlink(path), 0);
}

static void an_exclusive_file_is_not_opened_twice(void **state)
{
    const ULONG flags = READ_WRITE | PORT_STORAGE_CREATE | PORT_STORAGE_EXCLUSIVE;
    PORT_STORAGE *first, *second;

    (void)state;
    assert_int_equal(open_named(FilePath, flags, &first), STATUS_SUCCESS);
    assert_int_equal(open_named(FilePath, flags, &second), STATUS_SHARING_VIOLATION);
    PortCloseStorage(first);
    assert_int_equal(open_named(FilePath, flags, &second), STATUS_SUCCESS);
    PortCloseStorage(second);
    assert_int_equal(open_named("\\\\.\\Memory\\x", flags, &first), STATUS_SUCCESS);
    assert_int_equal(open_named("\\\\.\\Memory\\x", flags, &second), STATUS_SHARING_VIOLATION);
    PortCloseStorage(first);
}

static void a_read_only_storage_cannot_be_written(void **state)
{
    PORT_STORAGE *storage;
    static REQUEST request;

    (void)state;
    assert_int_equal(open_named(FilePath, READ_WRITE | PORT_STORAGE_CREATE, &storage), STATUS_SUCCESS);
    write_pages(storage, 0, 1, 1);
    PortCloseStorage(storage);
    assert_int_equal(open_named(FilePath, PORT_STORAGE_READ, &storage), STATUS_SUCCESS);
    prepare(&request, storage, 0, 1, TRUE);
    request.Frames[0] = 1;
    assert_int_equal(run(&request), STATUS_ACCESS_DENIED);
    assert_int_equal(PortSetStorageSize(storage, 8192), STATUS_ACCESS_DENIED);
    prepare(&request, storage, 0, 1, FALSE);
    assert_int_equal(run(&request), STATUS_SUCCESS);
    assert_true(holds(1, 0, 1));
    PortCloseStorage(storage);
}

static void a_scratch_file_gives_its_space_back(void **state)
{
    PORT_STORAGE *storage;
    struct stat information;

    (void)state;
    assert_int_equal(open_named(FilePath, READ_WRITE | PORT_STORAGE_CREATE | PORT_STORAGE_SCRATCH, &storage),
                     STATUS_SUCCESS);
    assert_int_equal(PortSetStorageSize(storage, 1 << 20), STATUS_SUCCESS);
    assert_int_equal(stat(FilePath, &information), 0);
    assert_int_equal(information.st_size, 1 << 20);
    assert_true((ULONG64)information.st_blocks * 512 >= 1 << 20); /* growth really allocates */
    PortCloseStorage(storage);
    assert_int_equal(stat(FilePath, &information), 0);
    assert_int_equal(information.st_size, 0);
}

/* What a write does that was under way while somebody made the file shorter: the file is long again, with a hole. */
static void zeros_of_a_hole_in_a_scratch_file_are_an_error(void **state)
{
    const ULONG64 Pages = 64;
    PORT_STORAGE *storage;
    BOOLEAN tells;
    REQUEST request;
    int other;

    (void)state;
    for (ULONG round = 0; round < 2; round += 1) /* the file is as long as before; the file is shorter */
    {
        assert_int_equal(
            open_named(FilePath, READ_WRITE | PORT_STORAGE_CREATE | PORT_STORAGE_SCRATCH, &storage),
            STATUS_SUCCESS);
        assert_int_equal(PortSetStorageSize(storage, Pages << PAGE_SHIFT), STATUS_SUCCESS);
        other = open(FilePath, O_WRONLY | O_CLOEXEC);
        tells = lseek(other, 0, SEEK_DATA) < 0;
        write_pages(storage, 0, 8, 1);
        prepare(&request, storage, 4, 1, TRUE);
        memset(PortDirectMap(request.Frames[0] = 1), 0, PAGE_SIZE);
        assert_int_equal(run(&request), STATUS_SUCCESS);
        prepare(&request, storage, 4, 1, FALSE);
        request.Frames[0] = 2;
        assert_int_equal(run(&request), STATUS_SUCCESS); /* zeros that were written are no loss */
        assert_int_equal(truncate(FilePath, 2 << PAGE_SHIFT), 0);
        assert_int_equal(pwrite(other, "x", 1, (off_t)((Pages - round) << PAGE_SHIFT) - 1), 1);
        close(other);
        prepare(&request, storage, 1, 1, FALSE);
        request.Frames[0] = 2;
        assert_int_equal(run(&request), STATUS_SUCCESS);
        assert_true(holds(2, 1, 1));
        prepare(&request, storage, 1, 4, FALSE);
        for (ULONG page = 0; page < 4; page += 1)
        {
            request.Frames[page] = 2 + page;
        }
        if (tells || round != 0) /* else nobody can know */
        {
            assert_int_equal(run(&request), STATUS_END_OF_FILE);
        }
        PortCloseStorage(storage);
    }
}

static void growth_allocates_the_holes_that_a_file_came_with(void **state)
{
    PORT_STORAGE *storage;
    struct stat information;

    (void)state;
    assert_int_equal(open_named(FilePath, READ_WRITE | PORT_STORAGE_CREATE, &storage), STATUS_SUCCESS);
    assert_int_equal(truncate(FilePath, 1 << 20), 0);
    assert_int_equal(PortSetStorageSize(storage, 1 << 20), STATUS_SUCCESS);
    assert_int_equal(stat(FilePath, &information), 0);
    assert_true((ULONG64)information.st_blocks * 512 >= 1 << 20);
    PortCloseStorage(storage);
}

static void an_unlinked_file_works_on_and_a_truncated_one_reads_zeros(void **state)
{
    PORT_STORAGE *storage;
    static REQUEST request;

    (void)state;
    assert_int_equal(open_named(FilePath, READ_WRITE | PORT_STORAGE_CREATE | PORT_STORAGE_UNCACHED, &storage),
                     STATUS_SUCCESS);
    write_pages(storage, 0, 8, 3);
    assert_int_equal(truncate(FilePath, 4 * PAGE_SIZE), 0);
    prepare(&request, storage, 2, 4, FALSE);
    for (ULONG index = 0; index < 4; index += 1)
    {
        request.Frames[index] = 20 + index;
    }
    assert_int_equal(run(&request), STATUS_SUCCESS);
    assert_int_equal(request.Io.Information, 2 * PAGE_SIZE); /* how a paging file knows that it was robbed */
    assert_true(holds(20, 2, 3) && holds(21, 3, 3) && holds(22, 0, 0) && holds(23, 0, 0));
    prepare(&request, storage, 4, 1, FALSE);
    assert_int_equal(run(&request), STATUS_END_OF_FILE);

    assert_int_equal(unlink(FilePath), 0);
    write_pages(storage, 0, 8, 4);
    prepare(&request, storage, 7, 1, FALSE);
    assert_int_equal(run(&request), STATUS_SUCCESS);
    assert_true(holds(20, 7, 4));
    PortCloseStorage(storage);
}

static void memory_is_shared_by_name_and_gone_with_the_last_close(void **state)
{
    PORT_STORAGE *first, *second;
    static REQUEST request;
    ULONG64 size;

    (void)state;
    assert_int_equal(open_named("\\\\.\\Memory\\m", READ_WRITE | PORT_STORAGE_CREATE, &first),
                     STATUS_SUCCESS);
    write_pages(first, 0, 3, 5);
    assert_int_equal(open_named("\\\\.\\Memory\\m", PORT_STORAGE_READ, &second), STATUS_SUCCESS);
    PortCloseStorage(first);
    prepare(&request, second, 2, 1, FALSE);
    request.Frames[0] = 77;
    assert_int_equal(run(&request), STATUS_SUCCESS);
    assert_true(holds(77, 2, 5));
    PortCloseStorage(second);
    assert_int_equal(open_named("\\\\.\\Memory\\m", READ_WRITE | PORT_STORAGE_CREATE, &first),
                     STATUS_SUCCESS);
    assert_int_equal(PortQueryStorageSize(first, &size), STATUS_SUCCESS);
    assert_int_equal(size, 0);
    PortCloseStorage(first);
}

/*
 * A real disk of 1 MiB. Runs in a child, so that its mount is nobody else's; exit codes: 0 good, 2 skipped.
 */
static int fill_real_disk(void)
{
    PORT_STORAGE *storage;
    char path[128];
    ULONG64 size = 0;
    static REQUEST request;
    int failures = 0;

    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", Folder, "tmpfs", 0, "size=1m") != 0)
    {
        return 2;
    }
    snprintf(path, sizeof(path), "%s/small", Folder);
    failures += open_named(path, READ_WRITE | PORT_STORAGE_CREATE, &storage) != STATUS_SUCCESS;
    failures += PortSetStorageSize(storage, 512 * KIBIBYTE) != STATUS_SUCCESS;
    failures += PortSetStorageSize(storage, 4096 * KIBIBYTE) != STATUS_DISK_FULL;
    failures += PortQueryStorageSize(storage, &size) != STATUS_SUCCESS || size != 512 * KIBIBYTE;
    /* a write behind the allocated part, until the disk is full */
    prepare(&request, storage, 128, 200, TRUE);
    for (ULONG index = 0; index < 200; index += 1)
    {
        request.Frames[index] = index;
        fill(index, 128 + index, 1);
    }
    PortStartIo(&request.Io);
    await(&request);
    failures += request.Io.Status != STATUS_DISK_FULL || request.Io.Information > 128 * PAGE_SIZE;
    prepare(&request, storage, 0, 100, TRUE);
    PortStartIo(&request.Io);
    await(&request);
    failures += request.Io.Status != STATUS_SUCCESS;
    PortCloseStorage(storage);
    return failures != 0;
}

static void a_really_full_disk_is_reported(void **state)
{
    pid_t child;
    int status;

    (void)state;
    fflush(NULL);
    child = fork();
    if (child == 0)
    {
        _exit(fill_real_disk());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 2)
    {
        print_message("skipped: a tmpfs cannot be mounted here (needs root)\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void errors_have_their_status(void **state)
{
    (void)state;
    assert_int_equal(HostStatusFromErrno(0), STATUS_SUCCESS);
    assert_int_equal(HostStatusFromErrno(EROFS), STATUS_MEDIA_WRITE_PROTECTED);
    assert_int_equal(HostStatusFromErrno(EFBIG), STATUS_DISK_FULL);
    assert_int_equal(HostStatusFromErrno(ENOMEM), STATUS_INSUFFICIENT_RESOURCES);
    assert_int_equal(HostStatusFromErrno(123456), STATUS_IO_DEVICE_ERROR);
}

/* ---- The suite ----------------------------------------------------------------------------------------- */

static SETTING UringCached = { HostStorageUring, CACHED }, UringDirect = { HostStorageUring, DIRECT },
               UringMemory = { HostStorageUring, MEMORY }, PoolCached = { HostStoragePool, CACHED },
               PoolDirect = { HostStoragePool, DIRECT }, PoolMemory = { HostStoragePool, MEMORY },
               DeterministicCached = { HostStorageDeterministic, CACHED },
               DeterministicDirect = { HostStorageDeterministic, DIRECT },
               DeterministicMemory = { HostStorageDeterministic, MEMORY };

#define WITH(test, setting)                                                                                  \
    {                                                                                                        \
#test " [" #setting "]", test, begin, end, &setting                                                  \
    }
#define ALONE(test)                                                                                          \
    {                                                                                                        \
#test, test, begin, end, NULL                                                                        \
    }
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

static void *do_nothing(void *argument)
{
    return argument;
}

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
        ALONE(opening_says_what_is_wrong),
        ALONE(names_are_utf16_and_prefixes_are_understood),
        ALONE(an_exclusive_file_is_not_opened_twice),
        ALONE(a_read_only_storage_cannot_be_written),
        ALONE(a_scratch_file_gives_its_space_back),
        ALONE(zeros_of_a_hole_in_a_scratch_file_are_an_error),
        ALONE(growth_allocates_the_holes_that_a_file_came_with),
        ALONE(an_unlinked_file_works_on_and_a_truncated_one_reads_zeros),
        ALONE(memory_is_shared_by_name_and_gone_with_the_last_close),
        ALONE(a_really_full_disk_is_reported),
        ALONE(errors_have_their_status),
    };
    const char *place = getenv("TMPDIR");
    pthread_t first;
    int failures;

    /* Thread sanitizer starts a thread of its own beside the first one: before threads are counted. */
    if (pthread_create(&first, NULL, do_nothing, NULL) == 0)
    {
        pthread_join(first, NULL);
    }
    snprintf(Folder, sizeof(Folder), "%.40s/ntmm-storage-XXXXXX", place != NULL ? place : "/var/tmp");
    if (!map_frames(ARENA_PAGES) || mkdtemp(Folder) == NULL)
    {
        perror("test_storage");
        return 1;
    }
    failures = cmocka_run_group_tests_name("storage", tests, NULL, NULL);
    rmdir(Folder);
    return failures;
}
