/* SPDX-License-Identifier: MIT */
/*
 * File services: dispositions, access, sharing, sizes, positions, transfers of any offset and length. Sentences are those of the pages of
 * NtCreateFile, NtReadFile, NtWriteFile, NtQueryInformationFile, NtSetInformationFile and IoCheckShareAccess on Microsoft Learn.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nt/file.h"
#include "section/section.h"
#include "storage.h"

static char Path[96];
static IO_STATUS_BLOCK Iosb;

static NTSTATUS create_at(const char *path, HANDLE *handle, ACCESS_MASK access, ULONG share,
                          ULONG disposition, ULONG options)
{
    static WCHAR text[256];
    UNICODE_STRING name = { .Buffer = text };
    OBJECT_ATTRIBUTES attributes;

    for (size_t index = 0; path[index] != 0; index++)
    {
        text[index] = (UCHAR)path[index];
        name.Length = (USHORT)((index + 1) * sizeof(WCHAR));
    }
    name.MaximumLength = name.Length;
    InitializeObjectAttributes(&attributes, &name, 0, NULL, NULL);
    Iosb.Information = 0x77;
    return NtCreateFile(handle, access, &attributes, &Iosb, NULL, FILE_ATTRIBUTE_NORMAL, share, disposition,
                        options | FILE_NON_DIRECTORY_FILE, NULL, 0);
}

static NTSTATUS create(HANDLE *handle, ACCESS_MASK access, ULONG share, ULONG disposition)
{
    return create_at(Path, handle, access, share, disposition, 0);
}

static HANDLE must_create(ACCESS_MASK access, ULONG share, ULONG disposition)
{
    HANDLE handle = NULL;

    assert_int_equal(create(&handle, access, share, disposition), STATUS_SUCCESS);
    assert_non_null(handle);
    return handle;
}

#define READ_WRITE (GENERIC_READ | GENERIC_WRITE)
#define SHARE_ALL  (FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE)

static NTSTATUS write_at(HANDLE handle, LONGLONG offset, const void *buffer, ULONG length)
{
    LARGE_INTEGER position = { .QuadPart = offset };

    return NtWriteFile(handle, NULL, NULL, NULL, &Iosb, (PVOID)(ULONG_PTR)buffer, length, &position, NULL);
}

static NTSTATUS read_at(HANDLE handle, LONGLONG offset, void *buffer, ULONG length)
{
    LARGE_INTEGER position = { .QuadPart = offset };

    return NtReadFile(handle, NULL, NULL, NULL, &Iosb, buffer, length, &position, NULL);
}

static LONGLONG end_of(HANDLE handle)
{
    FILE_STANDARD_INFORMATION information;

    assert_int_equal(
        NtQueryInformationFile(handle, &Iosb, &information, sizeof(information), FileStandardInformation),
        STATUS_SUCCESS);
    return information.EndOfFile.QuadPart;
}

static NTSTATUS set_end(HANDLE handle, LONGLONG end)
{
    FILE_END_OF_FILE_INFORMATION information = { .EndOfFile = { .QuadPart = end } };

    return NtSetInformationFile(handle, &Iosb, &information, sizeof(information), FileEndOfFileInformation);
}

static off_t size_on_disk(void)
{
    struct stat information;

    return stat(Path, &information) == 0 ? information.st_size : -1;
}

/* ---- Opening ------------------------------------------------------------------------------------------- */

static void dispositions_do_what_they_say(void)
{
    HANDLE handle = NULL;

    assert_int_equal(create(&handle, READ_WRITE, 0, FILE_OPEN), STATUS_OBJECT_NAME_NOT_FOUND);
    assert_int_equal(create(&handle, READ_WRITE, 0, FILE_OVERWRITE), STATUS_OBJECT_NAME_NOT_FOUND);
    assert_null(handle);
    assert_int_equal(Iosb.Information, 0x77);
    assert_int_equal(size_on_disk(), -1);

    handle = must_create(READ_WRITE, 0, FILE_CREATE);
    assert_int_equal(Iosb.Information, FILE_CREATED);
    assert_int_equal(write_at(handle, 0, "abc", 3), STATUS_SUCCESS);
    assert_int_equal(NtClose(handle), STATUS_SUCCESS);
    assert_int_equal(size_on_disk(), 3);

    assert_int_equal(create(&handle, READ_WRITE, 0, FILE_CREATE), STATUS_OBJECT_NAME_COLLISION);
    handle = must_create(READ_WRITE, 0, FILE_OPEN_IF);
    assert_int_equal(Iosb.Information, FILE_OPENED);
    assert_int_equal(end_of(handle), 3);
    NtClose(handle);
    handle = must_create(READ_WRITE, 0, FILE_OVERWRITE);
    assert_int_equal(Iosb.Information, FILE_OVERWRITTEN);
    assert_int_equal(end_of(handle), 0);
    assert_int_equal(write_at(handle, 0, "abc", 3), STATUS_SUCCESS);
    NtClose(handle);
    handle = must_create(READ_WRITE, 0, FILE_SUPERSEDE);
    assert_int_equal(Iosb.Information, FILE_SUPERSEDED);
    assert_int_equal(end_of(handle), 0);
    NtClose(handle);
    unlink(Path);
    handle = must_create(READ_WRITE, 0, FILE_OVERWRITE_IF);
    assert_int_equal(Iosb.Information, FILE_CREATED);
    NtClose(handle);
    unlink(Path);
    handle = must_create(READ_WRITE, 0, FILE_OPEN_IF);
    assert_int_equal(Iosb.Information, FILE_CREATED);
    NtClose(handle);
}

static void nonsense_is_refused(void)
{
    HANDLE handle;

    assert_int_equal(create(&handle, READ_WRITE, 8, FILE_OPEN_IF), STATUS_INVALID_PARAMETER);
    assert_int_equal(create(&handle, READ_WRITE, 0, 6), STATUS_INVALID_PARAMETER);
    assert_int_equal(create_at(Path, &handle, FILE_READ_DATA, 0, FILE_OPEN_IF, FILE_SYNCHRONOUS_IO_NONALERT),
                     STATUS_INVALID_PARAMETER); /* needs SYNCHRONIZE */
    assert_int_equal(create_at(Path, &handle, GENERIC_READ, 0, FILE_OPEN_IF, FILE_DELETE_ON_CLOSE),
                     STATUS_INVALID_PARAMETER); /* needs DELETE */
    assert_int_equal(create_at(Path, &handle, GENERIC_READ, 0, FILE_OPEN_IF, FILE_DIRECTORY_FILE),
                     STATUS_INVALID_PARAMETER);
    assert_int_equal(create_at("/", &handle, GENERIC_READ, 0, FILE_OPEN, 0), STATUS_FILE_IS_A_DIRECTORY);
    assert_int_equal(create_at("", &handle, GENERIC_READ, 0, FILE_OPEN, 0), STATUS_OBJECT_NAME_INVALID);
    assert_int_equal(create_at("/dev/null", &handle, GENERIC_READ, 0, FILE_OPEN, 0),
                     STATUS_INVALID_PARAMETER);
    assert_int_equal(size_on_disk(), -1);
    assert_int_equal(read_at((HANDLE)0x4444, 0, Path, 1), STATUS_INVALID_HANDLE);
}

/* Documented table of IoCheckShareAccess: each open must permit what the others do, and the other way round. */
static void sharing_is_mutual(void)
{
    static const ACCESS_MASK access[] = { FILE_READ_DATA, FILE_WRITE_DATA, DELETE,
                                          FILE_READ_DATA | FILE_WRITE_DATA, FILE_READ_ATTRIBUTES };
    static const ULONG needs[] = { FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_SHARE_DELETE,
                                   FILE_SHARE_READ | FILE_SHARE_WRITE, 0 };

    NtClose(must_create(READ_WRITE, 0, FILE_CREATE));
    for (ULONG first = 0; first < RTL_NUMBER_OF(access); first++)
    {
        for (ULONG first_share = 0; first_share < 8; first_share++)
        {
            HANDLE one = must_create(access[first], first_share, FILE_OPEN);

            for (ULONG second = 0; second < RTL_NUMBER_OF(access); second++)
            {
                for (ULONG share = 0; share < 8; share++)
                {
                    BOOLEAN plain = needs[first] == 0 || needs[second] == 0;
                    BOOLEAN allowed =
                        plain || ((needs[second] & ~first_share) == 0 && (needs[first] & ~share) == 0);
                    HANDLE two;
                    NTSTATUS status = create(&two, access[second], share, FILE_OPEN);

                    assert_int_equal(status, allowed ? STATUS_SUCCESS : STATUS_SHARING_VIOLATION);
                    if (NT_SUCCESS(status))
                    {
                        NtClose(two);
                    }
                }
            }
            NtClose(one);
        }
    }
    IoCheckFiles();
    assert_true(IsListEmpty(&MiState.Io->Files));
}

static void names_of_one_file_meet_in_one_block(void)
{
    char second[128], native[128];
    HANDLE one, two, three;
    PFILE_OBJECT first_object, second_object;

    snprintf(second, sizeof(second), "%s.link", Path);
    snprintf(native, sizeof(native), "\\??\\%s", Path);
    one = must_create(READ_WRITE, SHARE_ALL, FILE_CREATE);
    assert_int_equal(link(Path, second), 0);
    assert_int_equal(create_at(second, &two, READ_WRITE, SHARE_ALL, FILE_OPEN, 0), STATUS_SUCCESS);
    assert_int_equal(create_at(native, &three, READ_WRITE, SHARE_ALL, FILE_OPEN, 0), STATUS_SUCCESS);
    assert_int_equal(NtReferenceFile(one, 0, &first_object, NULL), STATUS_SUCCESS);
    assert_int_equal(NtReferenceFile(two, 0, &second_object, NULL), STATUS_SUCCESS);
    assert_ptr_not_equal(first_object, second_object);
    assert_ptr_equal(first_object->SectionObjectPointer, second_object->SectionObjectPointer);
    assert_int_equal(IoFileOf(first_object)->References, 3);
    ObDereferenceObjectBody(first_object);
    ObDereferenceObjectBody(second_object);
    NtClose(one);
    NtClose(two);
    NtClose(three);
    unlink(second);
}

static void a_deleted_file_goes_with_its_last_handle(void)
{
    FILE_DISPOSITION_INFORMATION yes = { .DeleteFile = TRUE };
    HANDLE one = must_create(READ_WRITE | DELETE, SHARE_ALL, FILE_CREATE);
    HANDLE two = must_create(READ_WRITE, SHARE_ALL, FILE_OPEN);
    HANDLE three;

    assert_int_equal(NtSetInformationFile(two, &Iosb, &yes, sizeof(yes), FileDispositionInformation),
                     STATUS_ACCESS_DENIED);
    assert_int_equal(NtSetInformationFile(one, &Iosb, &yes, sizeof(yes), FileDispositionInformation),
                     STATUS_SUCCESS);
    assert_int_equal(create(&three, GENERIC_READ, SHARE_ALL, FILE_OPEN), STATUS_DELETE_PENDING);
    NtClose(one);
    assert_int_equal(size_on_disk(), 0);
    assert_int_equal(write_at(two, 0, "x", 1), STATUS_SUCCESS);
    NtClose(two);
    assert_int_equal(size_on_disk(), -1);

    assert_int_equal(create_at(Path, &one, READ_WRITE | DELETE, SHARE_ALL, FILE_CREATE, FILE_DELETE_ON_CLOSE),
                     STATUS_SUCCESS);
    assert_int_equal(size_on_disk(), 0);
    NtClose(one);
    assert_int_equal(size_on_disk(), -1);
}

static void a_file_that_may_only_be_read_is_only_read(void)
{
    int descriptor = open(Path, O_CREAT | O_RDWR, 0444);
    UCHAR byte = 0;
    HANDLE handle;

    assert_int_equal(write(descriptor, "q", 1), 1);
    close(descriptor);
    if (access(Path, W_OK) == 0)
    {
        print_message("skipped: root may write everything\n");
        return;
    }
    assert_int_equal(create(&handle, GENERIC_WRITE, 0, FILE_OPEN), STATUS_ACCESS_DENIED);
    assert_int_equal(create(&handle, GENERIC_READ, 0, FILE_OVERWRITE), STATUS_ACCESS_DENIED);
    handle = must_create(GENERIC_READ, 0, FILE_OPEN);
    assert_int_equal(read_at(handle, 0, &byte, 1), STATUS_SUCCESS);
    assert_int_equal(byte, 'q');
    NtClose(handle);
}

static void rights_are_those_of_the_handle(void)
{
    HANDLE reader, appender, copy, handle = must_create(READ_WRITE, SHARE_ALL, FILE_CREATE);
    UCHAR byte = 'a';

    reader = must_create(GENERIC_READ, SHARE_ALL, FILE_OPEN);
    appender = must_create(FILE_APPEND_DATA | SYNCHRONIZE, SHARE_ALL, FILE_OPEN);
    assert_int_equal(write_at(reader, 0, &byte, 1), STATUS_ACCESS_DENIED);
    assert_int_equal(set_end(reader, 10), STATUS_ACCESS_DENIED);
    assert_int_equal(NtFlushBuffersFile(reader, &Iosb), STATUS_ACCESS_DENIED);
    assert_int_equal(read_at(appender, 0, &byte, 1), STATUS_ACCESS_DENIED);
    assert_int_equal(write_at(handle, 0, "12345", 5), STATUS_SUCCESS);
    assert_int_equal(write_at(appender, 0, "678", 3), STATUS_SUCCESS); /* at the end all the same */
    assert_int_equal(end_of(handle), 8);
    assert_int_equal(read_at(reader, 5, &byte, 1), STATUS_SUCCESS);
    assert_int_equal(byte, '6');
    assert_int_equal(NtFlushBuffersFile(appender, &Iosb), STATUS_SUCCESS);
    assert_int_equal(
        NtDuplicateObject(NtCurrentProcess(), reader, NtCurrentProcess(), &copy, FILE_WRITE_DATA, 0, 0),
        STATUS_ACCESS_DENIED);
    assert_int_equal(NtDuplicateObject(NtCurrentProcess(), reader, NtCurrentProcess(), &copy,
                                       FILE_READ_DATA | SYNCHRONIZE, 0, 0),
                     STATUS_SUCCESS);
    assert_int_equal(read_at(copy, 5, &byte, 1), STATUS_SUCCESS);
    NtClose(copy);
    NtClose(reader);
    NtClose(appender);
    NtClose(handle);
}

/* ---- Transfers ----------------------------------------------------------------------------------------- */

static void any_offset_and_length_against_a_buffer(void)
{
    enum
    {
        LIMIT = 200000
    };
    TEST_RANDOM random = TestSeed("file transfers");
    UCHAR *model = calloc(1, LIMIT), *buffer = malloc(LIMIT);
    HANDLE handle = must_create(READ_WRITE, SHARE_ALL, FILE_CREATE);
    ULONG64 end = 0;

    for (ULONG64 round = 0; round < TestIterations(400); round++)
    {
        ULONG offset = (ULONG)TestBelow(&random, LIMIT);
        ULONG length = (ULONG)TestBelow(&random, TestBelow(&random, 4) == 0 ? 100000 : 6000);
        NTSTATUS status;

        length = length < LIMIT - offset ? length : LIMIT - offset;
        switch (TestBelow(&random, 8))
        {
        case 0:
            assert_int_equal(set_end(handle, offset), STATUS_SUCCESS);
            if (offset < end)
            {
                memset(model + offset, 0, end - offset);
            }
            end = offset;
            break;
        case 1:
        case 2:
        case 3:
            for (ULONG index = 0; index < length; index++)
            {
                buffer[index] = (UCHAR)TestDraw(&random);
            }
            assert_int_equal(write_at(handle, offset, buffer, length), STATUS_SUCCESS);
            assert_int_equal(Iosb.Information, length);
            memcpy(model + offset, buffer, length);
            end = length != 0 && offset + length > end ? offset + length : end;
            break;
        default:
            memset(buffer, 0x5a, LIMIT);
            status = read_at(handle, offset, buffer, length);
            if (length != 0 && offset >= end)
            {
                assert_int_equal(status, STATUS_END_OF_FILE);
                break;
            }
            length = length == 0 || offset + length <= end ? length : (ULONG)(end - offset);
            assert_int_equal(status, STATUS_SUCCESS);
            if (length != 0)
            {
                assert_int_equal(Iosb.Information, length);
                assert_memory_equal(buffer, model + offset, length);
            }
            assert_int_equal(buffer[length], 0x5a);
        }
        assert_int_equal(end_of(handle), end);
    }
    NtClose(handle);
    {
        int descriptor = open(Path, O_RDONLY);

        assert_int_equal(read(descriptor, buffer, LIMIT), end);
        assert_memory_equal(buffer, model, end);
        close(descriptor);
    }
    free(model);
    free(buffer);
}

static void the_position_moves_with_transfers(void)
{
    FILE_POSITION_INFORMATION position = { .CurrentByteOffset = { .QuadPart = 2 } };
    LARGE_INTEGER special = { .HighPart = -1, .LowPart = FILE_WRITE_TO_END_OF_FILE };
    HANDLE handle = must_create(READ_WRITE, SHARE_ALL, FILE_CREATE);
    UCHAR bytes[8];

    assert_int_equal(NtWriteFile(handle, NULL, NULL, NULL, &Iosb, (PVOID)(ULONG_PTR) "abc", 3, NULL, NULL),
                     STATUS_SUCCESS);
    assert_int_equal(NtWriteFile(handle, NULL, NULL, NULL, &Iosb, (PVOID)(ULONG_PTR) "def", 3, NULL, NULL),
                     STATUS_SUCCESS);
    assert_int_equal(NtReadFile(handle, NULL, NULL, NULL, &Iosb, bytes, 1, NULL, NULL), STATUS_END_OF_FILE);
    assert_int_equal(Iosb.Status, STATUS_END_OF_FILE);
    assert_int_equal(
        NtSetInformationFile(handle, &Iosb, &position, sizeof(position), FilePositionInformation),
        STATUS_SUCCESS);
    assert_int_equal(NtReadFile(handle, NULL, NULL, NULL, &Iosb, bytes, 8, NULL, NULL), STATUS_SUCCESS);
    assert_int_equal(Iosb.Information, 4);
    assert_memory_equal(bytes, "cdef", 4);
    assert_int_equal(read_at(handle, 1, bytes, 1), STATUS_SUCCESS);
    special.LowPart = FILE_USE_FILE_POINTER_POSITION;
    assert_int_equal(NtReadFile(handle, NULL, NULL, NULL, &Iosb, bytes, 1, &special, NULL), STATUS_SUCCESS);
    assert_int_equal(bytes[0], 'c');
    special.LowPart = FILE_WRITE_TO_END_OF_FILE;
    assert_int_equal(NtReadFile(handle, NULL, NULL, NULL, &Iosb, bytes, 1, &special, NULL),
                     STATUS_INVALID_PARAMETER);
    assert_int_equal(NtWriteFile(handle, NULL, NULL, NULL, &Iosb, (PVOID)(ULONG_PTR) "g", 1, &special, NULL),
                     STATUS_SUCCESS);
    assert_int_equal(
        NtQueryInformationFile(handle, &Iosb, &position, sizeof(position), FilePositionInformation),
        STATUS_SUCCESS);
    assert_int_equal(position.CurrentByteOffset.QuadPart, 7);
    NtClose(handle);
}

static void without_buffering_pages_only(void)
{
    static UCHAR buffer[2 * PAGE_SIZE];
    HANDLE handle;

    assert_int_equal(create_at(Path, &handle, READ_WRITE, 0, FILE_CREATE, FILE_NO_INTERMEDIATE_BUFFERING),
                     STATUS_SUCCESS);
    assert_int_equal(write_at(handle, 0, buffer, 100), STATUS_INVALID_PARAMETER);
    assert_int_equal(write_at(handle, 100, buffer, PAGE_SIZE), STATUS_INVALID_PARAMETER);
    memset(buffer, 0x31, sizeof(buffer));
    assert_int_equal(write_at(handle, PAGE_SIZE, buffer, PAGE_SIZE), STATUS_SUCCESS);
    assert_int_equal(read_at(handle, 0, buffer, 2 * PAGE_SIZE), STATUS_SUCCESS);
    assert_int_equal(buffer[0], 0);
    assert_int_equal(buffer[PAGE_SIZE], 0x31);
    NtClose(handle);
}

static void a_bad_buffer_is_its_owners_problem(void)
{
    static UCHAR buffer[3 * PAGE_SIZE];
    HANDLE handle = must_create(READ_WRITE, 0, FILE_CREATE);
    NTSTATUS status;

    assert_int_equal(write_at(handle, 0, buffer, sizeof(buffer)), STATUS_SUCCESS);
    assert_int_equal(read_at(handle, 0, (PVOID)PORT_SYSTEM_START, 100), STATUS_ACCESS_VIOLATION);
    assert_int_equal(read_at(handle, 0, (PVOID)8, 100), STATUS_ACCESS_VIOLATION);
    status = NtReadFile(handle, NULL, NULL, NULL, (PVOID)8, buffer, 1, NULL, NULL);
    assert_int_equal(status, STATUS_ACCESS_VIOLATION);
    assert_int_equal(write_at(handle, 0, (PVOID)8, 100), STATUS_ACCESS_VIOLATION);
    assert_int_equal(end_of(handle), sizeof(buffer));
    assert_int_equal(write_at(handle, 100000, (PVOID)8, 100), STATUS_ACCESS_VIOLATION);
    assert_int_equal(end_of(handle), sizeof(buffer)); /* a failed call changes nothing */
    assert_int_equal(write_at(handle, -5, buffer, 1), STATUS_INVALID_PARAMETER);
    assert_int_equal(write_at(handle, MAXLONGLONG, buffer, 2), STATUS_INVALID_PARAMETER);
    NtClose(handle);
}

static void a_full_disk_changes_nothing(void)
{
    static UCHAR buffer[8 * PAGE_SIZE];
    HANDLE handle = must_create(READ_WRITE, 0, FILE_CREATE);
    PORT_STORAGE *storage = HostStorageFind(Path);
    HOST_STORAGE_FAULT fault = {
        .Storage = storage, .Kind = HOST_FAULT_WRITE, .Nth = 1, .Count = 0, .Error = EIO
    };

    assert_non_null(storage);
    assert_int_equal(write_at(handle, 0, buffer, 100), STATUS_SUCCESS);
    HostStorageSetCapacity(storage, 4 * PAGE_SIZE);
    assert_int_equal(write_at(handle, 50, buffer, sizeof(buffer)), STATUS_DISK_FULL);
    assert_int_equal(end_of(handle), 100);
    assert_int_equal(set_end(handle, 5 * PAGE_SIZE), STATUS_DISK_FULL);
    assert_int_equal(end_of(handle), 100);
    HostStorageSetCapacity(storage, ~0ull);
    NtClose(handle);
    assert_int_equal(create_at(Path, &handle, READ_WRITE, 0, FILE_OPEN, FILE_NO_INTERMEDIATE_BUFFERING),
                     STATUS_SUCCESS);
    fault.Storage = HostStorageFind(Path);
    assert_true(HostStorageInject(&fault));
    assert_int_equal(write_at(handle, PAGE_SIZE, buffer, PAGE_SIZE), STATUS_IO_DEVICE_ERROR);
    assert_int_equal(Iosb.Status, STATUS_IO_DEVICE_ERROR);
    assert_int_equal(end_of(handle), 100);
    HostStorageClearFaults();
    NtClose(handle);
}

/* ---- Information --------------------------------------------------------------------------------------- */

static void information_is_what_linux_says(void)
{
    UCHAR room[300];
    FILE_NAME_INFORMATION *name = (PVOID)room;
    FILE_BASIC_INFORMATION basic;
    FILE_STANDARD_INFORMATION standard;
    FILE_INTERNAL_INFORMATION internal;
    FILE_ACCESS_INFORMATION access;
    FILE_ALLOCATION_INFORMATION allocation = { .AllocationSize = { .QuadPart = 40 } };
    HANDLE handle = must_create(READ_WRITE, 0, FILE_CREATE);
    struct stat information;

    assert_int_equal(write_at(handle, 0, room, 123), STATUS_SUCCESS);
    assert_int_equal(
        NtQueryInformationFile(handle, &Iosb, &standard, sizeof(standard), FileStandardInformation),
        STATUS_SUCCESS);
    assert_int_equal(Iosb.Information, sizeof(standard));
    assert_int_equal(standard.EndOfFile.QuadPart, 123);
    assert_int_equal(standard.NumberOfLinks, 1);
    assert_false(standard.Directory || standard.DeletePending);
    assert_int_equal(NtQueryInformationFile(handle, &Iosb, &basic, sizeof(basic), FileBasicInformation),
                     STATUS_SUCCESS);
    assert_int_equal(
        NtQueryInformationFile(handle, &Iosb, &internal, sizeof(internal), FileInternalInformation),
        STATUS_SUCCESS);
    assert_int_equal(stat(Path, &information), 0);
    assert_int_equal(internal.IndexNumber.QuadPart, information.st_ino);
    assert_int_equal(basic.LastWriteTime.QuadPart / 10000000 - 11644473600, information.st_mtim.tv_sec);
    assert_int_equal(NtQueryInformationFile(handle, &Iosb, &access, sizeof(access), FileAccessInformation),
                     STATUS_SUCCESS);
    assert_int_equal(access.AccessFlags, FILE_GENERIC_READ | FILE_GENERIC_WRITE);
    assert_int_equal(NtQueryInformationFile(handle, &Iosb, room, sizeof(room), FileNameInformation),
                     STATUS_SUCCESS);
    assert_int_equal(name->FileNameLength, strlen(Path) * 2);
    assert_int_equal(name->FileName[1], Path[1]);
    assert_int_equal(NtQueryInformationFile(handle, &Iosb, room, 12, FileNameInformation),
                     STATUS_BUFFER_OVERFLOW);
    assert_int_equal(name->FileNameLength, strlen(Path) * 2);
    assert_int_equal(NtQueryInformationFile(handle, &Iosb, room, 4, FileNameInformation),
                     STATUS_INFO_LENGTH_MISMATCH);
    assert_int_equal(NtQueryInformationFile(handle, &Iosb, room, sizeof(room), (FILE_INFORMATION_CLASS)3333),
                     STATUS_INVALID_INFO_CLASS);
    assert_int_equal(NtQueryInformationFile(handle, &Iosb, room, sizeof(room), FileAllInformation),
                     STATUS_NOT_IMPLEMENTED);
    assert_int_equal(
        NtSetInformationFile(handle, &Iosb, &allocation, sizeof(allocation), FileAllocationInformation),
        STATUS_SUCCESS);
    assert_int_equal(end_of(handle), 40);
    assert_int_equal(size_on_disk(), 40);
    NtClose(handle);
}

static void a_file_can_be_waited_for_and_signals_events(void)
{
    LARGE_INTEGER now = { .QuadPart = 0 }, zero = { .QuadPart = 0 };
    HANDLE handle = must_create(READ_WRITE, 0, FILE_CREATE), event;

    assert_int_equal(NtCreateEvent(&event, EVENT_ALL_ACCESS, NULL, NotificationEvent, FALSE), STATUS_SUCCESS);
    assert_int_equal(NtWaitForSingleObject(handle, FALSE, &now), STATUS_SUCCESS);
    assert_int_equal(NtWaitForSingleObject(event, FALSE, &now), STATUS_TIMEOUT);
    assert_int_equal(NtWriteFile(handle, event, NULL, NULL, &Iosb, Path, 5, &zero, NULL), STATUS_SUCCESS);
    assert_int_equal(NtWaitForSingleObject(event, FALSE, &now), STATUS_SUCCESS);
    NtClose(event);
    NtClose(handle);
}

static NTSTATUS create_and_write(ULONG_PTR context)
{
    HANDLE handle;
    NTSTATUS status = create(&handle, READ_WRITE, 0, FILE_OPEN_IF);

    (void)context;
    if (NT_SUCCESS(status))
    {
        UCHAR byte = 1;

        status = write_at(handle, 5000, &byte, 1);
        NtClose(handle);
        MiTrimUnusedSegments(MI_TRIM_ALL_SEGMENTS); /* what the file keeps in memory */
    }
    return status;
}

static void every_failure_leaves_nothing(void)
{
    assert_int_equal(create_and_write(0), STATUS_SUCCESS); /* the page of handles stays */
    unlink(Path);
    TestWithFailures(KiInjectPool, create_and_write, 0);
    TestWithFailures(KiInjectFrame, create_and_write, 0);
    TestWithFailures(KiInjectRead, create_and_write, 0);
    TestWithFailures(KiInjectWrite, create_and_write, 0);
    assert_true(IsListEmpty(&MiState.Io->Files));
}

/* Not in fixtures: cmocka takes the signals for itself between those and the test. */
static void run_in_machine(void (*test)(void))
{
    const char *base = getenv("TMPDIR");

    snprintf(Path, sizeof(Path), "%s/ntmm-file-%d", base != NULL ? base : "/tmp", (int)getpid());
    unlink(Path);
    TestEnterProcess(NULL);
    test();
    TestLeaveProcess();
    unlink(Path);
}

#define FILE_TESTS(X)                                                                                        \
    X(dispositions_do_what_they_say)                                                                         \
    X(nonsense_is_refused)                                                                                   \
    X(sharing_is_mutual)                                                                                     \
    X(names_of_one_file_meet_in_one_block)                                                                   \
    X(a_deleted_file_goes_with_its_last_handle)                                                              \
    X(a_file_that_may_only_be_read_is_only_read)                                                             \
    X(rights_are_those_of_the_handle)                                                                        \
    X(any_offset_and_length_against_a_buffer)                                                                \
    X(the_position_moves_with_transfers)                                                                     \
    X(without_buffering_pages_only)                                                                          \
    X(a_bad_buffer_is_its_owners_problem)                                                                    \
    X(a_full_disk_changes_nothing)                                                                           \
    X(information_is_what_linux_says)                                                                        \
    X(a_file_can_be_waited_for_and_signals_events)                                                           \
    X(every_failure_leaves_nothing)

#define FILE_WRAPPER(Name)                                                                                   \
    static void Name##_in_a_machine(void **state)                                                            \
    {                                                                                                        \
        (void)state;                                                                                         \
        run_in_machine(Name);                                                                                \
    }
FILE_TESTS(FILE_WRAPPER)

#define FILE_ENTRY(Name) cmocka_unit_test(Name##_in_a_machine),

int main(void)
{
    const struct CMUnitTest tests[] = { FILE_TESTS(FILE_ENTRY) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
