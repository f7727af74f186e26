/* SPDX-License-Identifier: MIT */
/*
 * Clients' files on the host's storage: bytes at the end, sizes, identity, names. Every sentence about transfers on each engine, with and without
 * the page cache and in memory; after each the file is looked at with ordinary system calls.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage_test.h"

#define FRAMES 64u

static char Folder[64], FilePath[96];

#define DATA (PORT_STORAGE_READ | PORT_STORAGE_WRITE | PORT_STORAGE_DATA)

static PORT_STORAGE *open_or_skip(void **state)
{
    const SETTING *setting = *state;
    ULONG flags = DATA | PORT_STORAGE_CREATE | (setting->Medium == DIRECT ? PORT_STORAGE_UNCACHED : 0);
    PORT_STORAGE *storage = NULL;
    NTSTATUS status =
        open_named(setting->Medium == MEMORY ? "\\\\.\\Memory\\data" : FilePath, flags, &storage);

    if (status == STATUS_NOT_SUPPORTED)
    {
        print_message("skipped: this Linux refuses io_uring\n");
        skip();
    }
    assert_int_equal(status, STATUS_SUCCESS);
    return storage;
}

static VOID on_completion(PORT_IO *Io)
{
    __atomic_store_n((ULONG *)Io->Context, 1, __ATOMIC_RELEASE);
}

/* Count pages from Page on, through PortStartIo or (odd frames first) PortPerformIo. */
static NTSTATUS transfer(PORT_STORAGE *storage, ULONG64 page, ULONG count, PFN_NUMBER frame, BOOLEAN write,
                         SIZE_T *bytes)
{
    PFN_NUMBER frames[FRAMES];
    ULONG done = 0;
    PORT_IO io = { .Storage = storage,
                   .Offset = page << PAGE_SHIFT,
                   .Frames = frames,
                   .Count = count,
                   .Write = write,
                   .Completion = on_completion,
                   .Context = &done };

    for (ULONG index = 0; index < count; index += 1)
    {
        frames[index] = frame + index;
    }
    if ((page & 1) != 0)
    {
        PortPerformIo(&io);
    }
    else
    {
        PortStartIo(&io);
        while (__atomic_load_n(&done, __ATOMIC_ACQUIRE) == 0)
        {
            if (!PortPollIo())
            {
                usleep(20);
            }
        }
    }
    *bytes = io.Information;
    return io.Status;
}

static UCHAR *bytes_of(PFN_NUMBER frame)
{
    return PortDirectMap(frame);
}

static void fill_bytes(PFN_NUMBER frame, ULONG count, UCHAR seed)
{
    for (SIZE_T byte = 0; byte < (SIZE_T)count << PAGE_SHIFT; byte += 1)
    {
        bytes_of(frame)[byte] = (UCHAR)(seed + byte * 7 + (byte >> 8));
    }
}

static ULONG64 size_of(PORT_STORAGE *storage)
{
    ULONG64 size = 0;

    assert_int_equal(PortQueryStorageSize(storage, &size), STATUS_SUCCESS);
    return size;
}

/* ---- Transfers ----------------------------------------------------------------------------------------- */

static void a_write_never_makes_the_file_longer(void **state)
{
    static const ULONG64 ends[] = { 1, 100, 511, 512, 4095, 4096, 4097, 8192, 10000, 12287 };
    PORT_STORAGE *storage = open_or_skip(state);
    SIZE_T bytes;

    for (ULONG index = 0; index < RTL_NUMBER_OF(ends); index += 1)
    {
        ULONG64 end = ends[index];

        assert_int_equal(PortSetStorageSize(storage, 0), STATUS_SUCCESS);
        assert_int_equal(PortSetStorageSize(storage, end), STATUS_SUCCESS);
        fill_bytes(10, 4, (UCHAR)index);
        assert_int_equal(transfer(storage, 0, 4, 10, TRUE, &bytes), STATUS_SUCCESS);
        assert_int_equal(bytes, end);
        assert_int_equal(size_of(storage), end);
        memset(bytes_of(20), 0xee, 4 * PAGE_SIZE);
        assert_int_equal(transfer(storage, 0, 4, 20, FALSE, &bytes), STATUS_SUCCESS);
        assert_int_equal(bytes, end);
        assert_memory_equal(bytes_of(20), bytes_of(10), end);
        for (ULONG64 byte = end; byte < 4 * PAGE_SIZE; byte += 1)
        {
            assert_int_equal(bytes_of(20)[byte], 0);
        }
        assert_int_equal(transfer(storage, 3, 1, 10, TRUE, &bytes), STATUS_END_OF_FILE);
        assert_int_equal(bytes, 0);
        assert_int_equal(transfer(storage, 4, 1, 10, TRUE, &bytes), STATUS_END_OF_FILE);
        assert_int_equal(size_of(storage), end);
    }
    PortCloseStorage(storage);
}

/* A short transfer may end anywhere, the end of the file included. */
static void short_writes_do_not_make_it_longer_either(void **state)
{
    static const ULONG cuts[] = { 1, 50, 99, 100, 4095, 4096, 5000 };
    PORT_STORAGE *storage = open_or_skip(state);
    SIZE_T bytes;

    for (ULONG index = 0; index < RTL_NUMBER_OF(cuts); index += 1)
    {
        HOST_STORAGE_FAULT fault = {
            .Storage = storage, .Kind = HOST_FAULT_WRITE, .Nth = 1, .Count = 5, .ShortBytes = cuts[index]
        };

        assert_int_equal(PortSetStorageSize(storage, 2 * PAGE_SIZE + 100), STATUS_SUCCESS);
        fill_bytes(10, 4, (UCHAR)(50 + index));
        assert_true(HostStorageInject(&fault));
        assert_int_equal(transfer(storage, 0, 4, 10, TRUE, &bytes), STATUS_SUCCESS);
        HostStorageClearFaults();
        assert_int_equal(bytes, 2 * PAGE_SIZE + 100);
        assert_int_equal(size_of(storage), 2 * PAGE_SIZE + 100);
        assert_int_equal(transfer(storage, 0, 4, 20, FALSE, &bytes), STATUS_SUCCESS);
        assert_memory_equal(bytes_of(20), bytes_of(10), 2 * PAGE_SIZE + 100);
    }
    PortCloseStorage(storage);
}

static void a_file_that_somebody_made_shorter_is_not_made_longer_by_us(void **state)
{
    const SETTING *setting = *state;
    PORT_STORAGE *storage = open_or_skip(state);
    SIZE_T bytes;

    if (setting->Medium != MEMORY)
    {
        assert_int_equal(PortSetStorageSize(storage, 4 * PAGE_SIZE), STATUS_SUCCESS);
        fill_bytes(10, 4, 9);
        assert_int_equal(transfer(storage, 0, 4, 10, TRUE, &bytes), STATUS_SUCCESS);
        assert_int_equal(truncate(FilePath, PAGE_SIZE + 10), 0);
        assert_int_equal(transfer(storage, 0, 4, 10, TRUE, &bytes), STATUS_SUCCESS);
        assert_int_equal(bytes, PAGE_SIZE + 10);
        assert_int_equal(transfer(storage, 2, 1, 12, TRUE, &bytes), STATUS_END_OF_FILE);
        assert_int_equal(transfer(storage, 2, 1, 12, FALSE, &bytes), STATUS_END_OF_FILE);
        assert_int_equal(size_of(storage), PAGE_SIZE + 10);
    }
    PortCloseStorage(storage);
}

static void errors_leave_the_size_alone(void **state)
{
    PORT_STORAGE *storage = open_or_skip(state);
    HOST_STORAGE_FAULT fault = { .Storage = storage, .Kind = HOST_FAULT_WRITE, .Nth = 2, .Error = EIO };
    HOST_STORAGE_FAULT grow = {
        .Storage = storage, .Kind = HOST_FAULT_GROW, .Nth = 1, .Count = 1, .Error = EIO
    };
    SIZE_T bytes;

    assert_int_equal(PortSetStorageSize(storage, PAGE_SIZE + 100), STATUS_SUCCESS);
    fill_bytes(10, 2, 3);
    assert_true(HostStorageInject(&fault)); /* the tail is the second attempt */
    assert_int_equal(transfer(storage, 0, 2, 10, TRUE, &bytes), STATUS_IO_DEVICE_ERROR);
    assert_int_equal(bytes, PAGE_SIZE);
    HostStorageClearFaults();
    assert_int_equal(size_of(storage), PAGE_SIZE + 100);
    assert_true(HostStorageInject(&grow));
    assert_int_equal(PortSetStorageSize(storage, 9 * PAGE_SIZE), STATUS_IO_DEVICE_ERROR);
    assert_int_equal(size_of(storage), PAGE_SIZE + 100);
    HostStorageSetCapacity(storage, 4 * PAGE_SIZE);
    assert_int_equal(PortSetStorageSize(storage, 5 * PAGE_SIZE), STATUS_DISK_FULL);
    assert_int_equal(size_of(storage), PAGE_SIZE + 100);
    assert_int_equal(PortSetStorageSize(storage, 4 * PAGE_SIZE), STATUS_SUCCESS);
    PortCloseStorage(storage);
}

/* ---- Names, identity ----------------------------------------------------------------------------------- */

static void two_opens_of_one_file_say_who_it_is(void **state)
{
    PORT_STORAGE_INFORMATION first, second, third;
    PORT_STORAGE *one, *two, *other;
    char link_path[128], other_path[128];

    (void)state;
    snprintf(link_path, sizeof(link_path), "%s.link", FilePath);
    snprintf(other_path, sizeof(other_path), "%s.other", FilePath);
    assert_int_equal(open_named(FilePath, DATA | PORT_STORAGE_CREATE, &one), STATUS_SUCCESS);
    assert_int_equal(link(FilePath, link_path), 0);
    assert_int_equal(open_named(link_path, PORT_STORAGE_READ | PORT_STORAGE_DATA, &two), STATUS_SUCCESS);
    assert_int_equal(open_named(other_path, DATA | PORT_STORAGE_CREATE | PORT_STORAGE_NEW, &other),
                     STATUS_SUCCESS);
    assert_int_equal(PortSetStorageSize(one, 1234), STATUS_SUCCESS);
    assert_int_equal(PortQueryStorageInformation(one, &first), STATUS_SUCCESS);
    assert_int_equal(PortQueryStorageInformation(two, &second), STATUS_SUCCESS);
    assert_int_equal(PortQueryStorageInformation(other, &third), STATUS_SUCCESS);
    assert_true(first.Device == second.Device && first.File == second.File);
    assert_true(first.File != third.File);
    assert_true(first.Created && !second.Created && third.Created);
    assert_int_equal(second.Size, 1234);
    assert_int_equal(first.Links, 2);
    assert_true(first.LastWriteTime > 0x01d0000000000000 && !first.ReadOnly);

    assert_int_equal(PortDeleteStorage(two), STATUS_SUCCESS);
    assert_int_equal(access(link_path, F_OK), -1);
    assert_int_equal(access(FilePath, F_OK), 0);
    PortCloseStorage(two);
    PortCloseStorage(one);
    assert_int_equal(PortDeleteStorage(other), STATUS_SUCCESS);
    PortCloseStorage(other);
    assert_int_equal(access(other_path, F_OK), -1);
}

static void opening_says_what_is_wrong(void **state)
{
    PORT_STORAGE *storage;

    (void)state;
    assert_int_equal(open_named(Folder, DATA, &storage), STATUS_FILE_IS_A_DIRECTORY);
    assert_int_equal(open_named(FilePath, DATA, &storage), STATUS_OBJECT_NAME_NOT_FOUND);
    assert_int_equal(open_named("/nowhere/at/all", DATA | PORT_STORAGE_CREATE, &storage),
                     STATUS_OBJECT_PATH_NOT_FOUND);
    assert_int_equal(open_named(FilePath, DATA | PORT_STORAGE_CREATE, &storage), STATUS_SUCCESS);
    PortCloseStorage(storage);
    assert_int_equal(open_named(FilePath, DATA | PORT_STORAGE_CREATE | PORT_STORAGE_NEW, &storage),
                     STATUS_OBJECT_NAME_COLLISION);
    assert_int_equal(open_named("\\\\.\\Memory\\none", DATA, &storage), STATUS_OBJECT_NAME_NOT_FOUND);
}

static void a_deleted_file_in_memory_has_no_name_but_lives(void **state)
{
    PORT_STORAGE *storage, *again;
    PORT_STORAGE_INFORMATION first, second;
    SIZE_T bytes;

    (void)state;
    assert_int_equal(open_named("\\\\.\\Memory\\gone", DATA | PORT_STORAGE_CREATE, &storage), STATUS_SUCCESS);
    assert_int_equal(PortSetStorageSize(storage, PAGE_SIZE), STATUS_SUCCESS);
    assert_int_equal(PortDeleteStorage(storage), STATUS_SUCCESS);
    assert_int_equal(PortDeleteStorage(storage), STATUS_SUCCESS);
    assert_int_equal(open_named("\\\\.\\Memory\\gone", DATA, &again), STATUS_OBJECT_NAME_NOT_FOUND);
    assert_int_equal(open_named("\\\\.\\Memory\\gone", DATA | PORT_STORAGE_CREATE | PORT_STORAGE_NEW, &again),
                     STATUS_SUCCESS);
    assert_int_equal(PortQueryStorageInformation(storage, &first), STATUS_SUCCESS);
    assert_int_equal(PortQueryStorageInformation(again, &second), STATUS_SUCCESS);
    assert_true(first.File != second.File);
    fill_bytes(10, 1, 1);
    assert_int_equal(transfer(storage, 0, 1, 10, TRUE, &bytes), STATUS_SUCCESS);
    assert_int_equal(bytes, PAGE_SIZE);
    PortCloseStorage(storage);
    PortCloseStorage(again);
}

static void probing_for_the_disk_does_not_touch_an_empty_file(void **state)
{
    PORT_STORAGE *storage;
    struct stat before, after;
    int descriptor = open(FilePath, O_CREAT | O_RDWR, 0600);

    (void)state;
    assert_true(descriptor >= 0);
    assert_int_equal(fstat(descriptor, &before), 0);
    usleep(20000);
    assert_int_equal(open_named(FilePath, DATA | PORT_STORAGE_UNCACHED, &storage), STATUS_SUCCESS);
    assert_int_equal(fstat(descriptor, &after), 0);
    assert_int_equal(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
    PortCloseStorage(storage);
    close(descriptor);
}

static void holes_stay_holes(void **state)
{
    PORT_STORAGE *storage;
    struct stat information;

    (void)state;
    assert_int_equal(open_named(FilePath, DATA | PORT_STORAGE_CREATE, &storage), STATUS_SUCCESS);
    assert_int_equal(truncate(FilePath, 64 << 20), 0);
    assert_int_equal(PortSetStorageSize(storage, (64 << 20) + PAGE_SIZE), STATUS_SUCCESS);
    assert_int_equal(stat(FilePath, &information), 0);
    assert_int_equal(information.st_size, (64 << 20) + PAGE_SIZE);
    assert_true(information.st_blocks * 512 < 1 << 20);
    PortCloseStorage(storage);
}

/* ---- The suite ----------------------------------------------------------------------------------------- */

static int begin(void **state)
{
    const SETTING *setting = *state;

    snprintf(FilePath, sizeof(FilePath), "%s/data", Folder);
    if (setting != NULL && setting->Engine == HostStorageDeterministic)
    {
        return HostStorageSetDeterministic(TRUE, 1) ? 0 : -1;
    }
    return HostStorageSelectEngine(setting != NULL ? setting->Engine : HostStorageAutomatic) ? 0 : -1;
}

static int end(void **state)
{
    char path[128];

    (void)state;
    HostStorageClearFaults();
    HostStorageSetCapacity(NULL, ~0ull);
    assert_null(HostStorageFind(""));
    unlink(FilePath);
    snprintf(path, sizeof(path), "%s.link", FilePath);
    unlink(path);
    snprintf(path, sizeof(path), "%s.other", FilePath);
    unlink(path);
    return 0;
}

static SETTING UringCached = { HostStorageUring, CACHED }, UringDirect = { HostStorageUring, DIRECT },
               UringMemory = { HostStorageUring, MEMORY }, PoolDirect = { HostStoragePool, DIRECT },
               PoolMemory = { HostStoragePool, MEMORY },
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
    WITH(a_write_never_makes_the_file_longer, setting),                                                      \
        WITH(short_writes_do_not_make_it_longer_either, setting),                                            \
        WITH(a_file_that_somebody_made_shorter_is_not_made_longer_by_us, setting),                           \
        WITH(errors_leave_the_size_alone, setting)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EVERY_SENTENCE(UringCached),
        EVERY_SENTENCE(UringDirect),
        EVERY_SENTENCE(UringMemory),
        EVERY_SENTENCE(PoolDirect),
        EVERY_SENTENCE(PoolMemory),
        EVERY_SENTENCE(DeterministicCached),
        EVERY_SENTENCE(DeterministicDirect),
        EVERY_SENTENCE(DeterministicMemory),
        ALONE(two_opens_of_one_file_say_who_it_is),
        ALONE(opening_says_what_is_wrong),
        ALONE(a_deleted_file_in_memory_has_no_name_but_lives),
        ALONE(probing_for_the_disk_does_not_touch_an_empty_file),
        ALONE(holes_stay_holes),
    };
    const char *base = getenv("TMPDIR");
    int result;

    snprintf(Folder, sizeof(Folder), "%s/ntmm-data-XXXXXX", base != NULL ? base : "/tmp");
    if (mkdtemp(Folder) == NULL || !map_frames(FRAMES))
    {
        perror("setup");
        return 1;
    }
    result = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(Folder);
    return result;
}
