/* SPDX-License-Identifier: MIT */
/*
 * Reads for which a thread waits (PortPerformIo) on a file around the page cache: many threads at once, more than there are rings, against the
 * contents; cut and failing transfers; and that readers really look for their answers where Linux has io_uring. The test brings its
 * own page frames: anonymous memory where the direct map would be.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "../rtl/seed.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "storage_test.h"

#define THREADS     12u
#define READ_PAGES  16u
#define FILE_PAGES  1024u
#define ARENA_PAGES (FILE_PAGES + THREADS * READ_PAGES)

static char Folder[64];
static PORT_STORAGE *Storage;
static ULONG64 Seed;

typedef struct
{
    PORT_IO Io;
    PFN_NUMBER Frames[PORT_IO_MAXIMUM_PAGES];
    ULONG Completions;
} REQUEST;

static VOID on_completion(PORT_IO *Io)
{
    ((REQUEST *)Io->Context)->Completions += 1;
}

static NTSTATUS perform(REQUEST *request, PFN_NUMBER frame, ULONG64 page, ULONG count, BOOLEAN write)
{
    memset(request, 0, sizeof(*request));
    request->Io.Storage = Storage;
    request->Io.Offset = page << PAGE_SHIFT;
    request->Io.Frames = request->Frames;
    request->Io.Count = count;
    request->Io.Write = write;
    request->Io.Completion = on_completion;
    request->Io.Context = request;
    for (ULONG index = 0; index < count; index += 1)
    {
        request->Frames[index] = frame + index;
    }
    PortPerformIo(&request->Io);
    return request->Completions == 1 ? request->Io.Status : STATUS_UNSUCCESSFUL;
}

/* Reads of one to READ_PAGES pages into the thread's own frames. Returns the number of bad ones. */
static void *read_at_random(void *argument)
{
    ULONG64 index = (ULONG64)(uintptr_t)argument;
    test_random random = { Seed + index };
    PFN_NUMBER frame = FILE_PAGES + index * READ_PAGES;
    ULONG64 rounds = test_iterations(400);
    ULONG64 bad = 0;
    REQUEST request;

    for (ULONG64 round = 0; round < rounds; round += 1)
    {
        ULONG count = 1 + (ULONG)test_below(&random, READ_PAGES);
        ULONG64 page = test_below(&random, FILE_PAGES - count + 1);

        for (ULONG each = 0; each < count; each += 1)
        {
            memset(PortDirectMap(frame + each), 0xee, PAGE_SIZE);
        }
        bad += perform(&request, frame, page, count, FALSE) != STATUS_SUCCESS ||
               request.Io.Information != (SIZE_T)count << PAGE_SHIFT;
        for (ULONG each = 0; each < count; each += 1)
        {
            bad += !holds(frame + each, page + each, 1);
        }
    }
    return (void *)(uintptr_t)bad;
}

static void many_threads_read_what_is_there(void **state)
{
    pthread_t threads[THREADS];
    HOST_STORAGE_COUNTERS counters;

    (void)state;
    Seed = test_seed("waited for").state;
    for (ULONG64 index = 0; index < THREADS; index += 1)
    {
        assert_int_equal(pthread_create(&threads[index], NULL, read_at_random, (void *)(uintptr_t)index), 0);
    }
    for (ULONG64 index = 0; index < THREADS; index += 1)
    {
        void *bad;

        pthread_join(threads[index], &bad);
        assert_null(bad);
    }
    HostStorageQueryCounters(Storage, &counters);
    assert_int_equal(counters.Errors, 0);
    assert_true(counters.Polled <= counters.Reads);
}

/* The first read of a storage always looks: nothing is known of the disk yet. */
static void a_reader_looks_for_its_answer(void **state)
{
    HOST_STORAGE_COUNTERS counters;
    REQUEST request;

    (void)state;
    if (HostStorageQueryEngine() != HostStorageUring || !HostStorageIsUncached(Storage))
    {
        print_message("skipped: this Linux refuses io_uring, or O_DIRECT below %s\n", Folder);
        skip();
    }
    assert_int_equal(perform(&request, FILE_PAGES, 7, 1, FALSE), STATUS_SUCCESS);
    assert_true(holds(FILE_PAGES, 7, 1));
    HostStorageQueryCounters(Storage, &counters);
    assert_int_equal(counters.Polled, 1);
    /* Large reads take longer than a sleep costs. */
    assert_int_equal(perform(&request, 0, 0, 64, FALSE), STATUS_SUCCESS);
    HostStorageQueryCounters(Storage, &counters);
    assert_int_equal(counters.Polled, 1);
}

static void cut_and_failing_reads_say_so(void **state)
{
    HOST_STORAGE_FAULT cut = {
        .Storage = Storage, .Kind = HOST_FAULT_READ, .Nth = 1, .Count = 3, .ShortBytes = 5000
    };
    HOST_STORAGE_FAULT error = {
        .Storage = Storage, .Kind = HOST_FAULT_READ, .Nth = 1, .Count = 1, .Error = EIO
    };
    REQUEST request;

    (void)state;
    assert_true(HostStorageInject(&cut));
    assert_int_equal(perform(&request, FILE_PAGES, 100, 8, FALSE), STATUS_SUCCESS);
    for (ULONG each = 0; each < 8; each += 1)
    {
        assert_true(holds(FILE_PAGES + each, 100 + each, 1));
    }
    assert_true(HostStorageInject(&error));
    assert_int_equal(perform(&request, FILE_PAGES, 5, 1, FALSE), STATUS_IO_DEVICE_ERROR);
    assert_int_equal(perform(&request, FILE_PAGES, 5, 1, FALSE), STATUS_SUCCESS);
    assert_true(holds(FILE_PAGES, 5, 1));
    /* Behind the end: what is there, then zeros. */
    assert_int_equal(perform(&request, FILE_PAGES, FILE_PAGES - 1, 2, FALSE), STATUS_SUCCESS);
    assert_int_equal(request.Io.Information, PAGE_SIZE);
    assert_true(holds(FILE_PAGES, FILE_PAGES - 1, 1));
    assert_int_equal(*(ULONG64 *)PortDirectMap(FILE_PAGES + 1), 0);
    assert_int_equal(perform(&request, FILE_PAGES, FILE_PAGES, 1, FALSE), STATUS_END_OF_FILE);
}

/* ---- The suite ----------------------------------------------------------------------------------------- */

static int begin(void **state)
{
    char path[96];
    REQUEST request;

    (void)state;
    snprintf(path, sizeof(path), "%s/polled", Folder);
    if (open_named(path, PORT_STORAGE_READ | PORT_STORAGE_WRITE | PORT_STORAGE_CREATE | PORT_STORAGE_UNCACHED,
                   &Storage) != STATUS_SUCCESS ||
        PortSetStorageSize(Storage, FILE_PAGES << PAGE_SHIFT) != STATUS_SUCCESS)
    {
        return -1;
    }
    for (ULONG64 page = 0; page < FILE_PAGES; page += 1)
    {
        fill(page, page, 1);
    }
    for (ULONG64 page = 0; page < FILE_PAGES; page += 64)
    {
        if (perform(&request, page, page, 64, TRUE) != STATUS_SUCCESS)
        {
            return -1;
        }
    }
    return 0;
}

static int end(void **state)
{
    char path[96];

    (void)state;
    HostStorageClearFaults();
    PortCloseStorage(Storage);
    snprintf(path, sizeof(path), "%s/polled", Folder);
    unlink(path);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_reader_looks_for_its_answer, begin, end),
        cmocka_unit_test_setup_teardown(many_threads_read_what_is_there, begin, end),
        cmocka_unit_test_setup_teardown(cut_and_failing_reads_say_so, begin, end),
    };
    const char *place = getenv("TMPDIR");
    int failures;

    snprintf(Folder, sizeof(Folder), "%.40s/ntmm-polled-XXXXXX", place != NULL ? place : "/var/tmp");
    if (!map_frames(ARENA_PAGES) || mkdtemp(Folder) == NULL)
    {
        perror("test_storagepoll");
        return 1;
    }
    failures = cmocka_run_group_tests_name("storage.poll", tests, NULL, NULL);
    rmdir(Folder);
    return failures;
}
