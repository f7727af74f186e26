/* SPDX-License-Identifier: MIT */
/* Storages by name: what can be opened, files that others shorten, unlink or fill with holes, shared memory, full disks, and what their errors are called. */
#include "storage_request.h"

#define KIBIBYTE 1024ull

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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    int failures;

    if (!begin_suite())
    {
        return 1;
    }
    failures = cmocka_run_group_tests_name("storagefile", tests, NULL, NULL);
    rmdir(Folder);
    return failures;
}
