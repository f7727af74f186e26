/* SPDX-License-Identifier: MIT */
/*
 * Requests of storage for tests: engines and media to be tried, requests with their completions, and fixtures that find every descriptor and
 * thread given back.
 */
#ifndef NTMM_TEST_HOST_STORAGE_REQUEST_H
#define NTMM_TEST_HOST_STORAGE_REQUEST_H

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

static char Folder[64];
static char FilePath[96];
static size_t DescriptorsBefore, ThreadsBefore;

/* ---- Helpers ------------------------------------------------------------------------------------------- */

static inline size_t entries_of(const char *path)
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

static inline PORT_STORAGE *open_medium(const SETTING *setting)
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

static inline VOID on_completion(PORT_IO *Io)
{
    REQUEST *request = Io->Context;
    ULONG place = __atomic_fetch_add(&CompletionCount, 1, __ATOMIC_RELAXED);

    if (place < RTL_NUMBER_OF(CompletionOrder))
    {
        __atomic_store_n(&CompletionOrder[place], (ULONG)(Io->Offset >> PAGE_SHIFT), __ATOMIC_RELAXED);
    }
    __atomic_fetch_add(&request->Completions, 1, __ATOMIC_RELEASE);
}

static inline void prepare(REQUEST *request, PORT_STORAGE *storage, ULONG64 page, ULONG count, BOOLEAN write)
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

static inline void await(REQUEST *request)
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

static inline NTSTATUS run(REQUEST *request)
{
    request->Completions = 0;
    PortStartIo(&request->Io);
    await(request);
    return request->Io.Status;
}

/* Frames in every pattern between all consecutive and all scattered. */
static inline void choose_frames(REQUEST *request, test_random *random, PFN_NUMBER base, ULONG room,
                                 ULONG count)
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

static inline void write_pages(PORT_STORAGE *storage, ULONG64 page, ULONG count, ULONG64 version)
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

/* ---- Set-up and tear-down ------------------------------------------------------------------------------ */

static inline int begin(void **state)
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

static inline int end(void **state)
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
static inline PORT_STORAGE *open_or_skip(void **state)
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

static inline void *do_nothing(void *argument)
{
    return argument;
}

static inline BOOLEAN begin_suite(void)
{
    const char *place = getenv("TMPDIR");
    pthread_t first;

    /* Thread sanitizer starts a thread of its own beside the first one: before threads are counted. */
    if (pthread_create(&first, NULL, do_nothing, NULL) == 0)
    {
        pthread_join(first, NULL);
    }
    snprintf(Folder, sizeof(Folder), "%.40s/ntmm-storage-XXXXXX", place != NULL ? place : "/var/tmp");
    if (!map_frames(ARENA_PAGES) || mkdtemp(Folder) == NULL)
    {
        perror("storage");
        return FALSE;
    }
    return TRUE;
}

/* Fixtures around each test, which gets a SETTING or none. */
#define WITH(test, setting)                                                                                  \
    {                                                                                                        \
#test " [" #setting "]", test, begin, end, &setting                                                  \
    }
#define ALONE(test)                                                                                          \
    {                                                                                                        \
#test, test, begin, end, NULL                                                                        \
    }

#endif
