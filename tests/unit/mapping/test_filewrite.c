/* SPDX-License-Identifier: MIT */
/*
 * Changes to mapped files: written in time, lost never, whatever their size becomes and whatever fails. After each test the file is compared with
 * ordinary system calls.
 */
#include "file_test.h"

/* ---- To the disk --------------------------------------------------------------------------------------- */

static void a_flush_reaches_the_file_and_nothing_more(void)
{
    HANDLE file;
    ULONG_PTR base;

    make_file(300 * PAGE_SIZE + 5);
    file = open_file();
    base = map_file(file, 0, PAGE_READWRITE);
    for (ULONG page = 0; page < 300; page++)
    {
        TestVmPut(base + page * PAGE_SIZE, 0x11);
    }
    TestVmPut(base + 300 * PAGE_SIZE + 4, 0x12);
    TestVmPut(base + 300 * PAGE_SIZE + 5, 0x13); /* behind the end: nobody's */
    assert_int_equal(byte_on_disk(0), pattern(0));
    assert_int_equal(flush_view(base + 10 * PAGE_SIZE, 5 * PAGE_SIZE), STATUS_SUCCESS);
    assert_int_equal(byte_on_disk(9 * PAGE_SIZE), pattern(9 * PAGE_SIZE));
    assert_int_equal(byte_on_disk(10 * PAGE_SIZE), 0x11);
    assert_int_equal(byte_on_disk(14 * PAGE_SIZE), 0x11);
    assert_int_equal(byte_on_disk(15 * PAGE_SIZE), pattern(15 * PAGE_SIZE));
    assert_int_equal(flush_view(base, 0), STATUS_SUCCESS);
    for (ULONG page = 0; page < 300; page++)
    {
        assert_int_equal(byte_on_disk(page * PAGE_SIZE), 0x11);
    }
    assert_int_equal(byte_on_disk(300 * PAGE_SIZE + 4), 0x12);
    assert_int_equal(size_on_disk(), 300 * PAGE_SIZE + 5);
    assert_int_equal(flush_view(base + 64 * 0x10000000ull, 0), STATUS_NOT_MAPPED_VIEW);
    unmap(base);
    assert_int_equal(size_on_disk(), 300 * PAGE_SIZE + 5);
    NtClose(file);
}

static void let_time_pass(ULONG seconds)
{
    while (seconds-- != 0)
    {
        KiAdvanceTime(1000000000ull);
        while (KiStepWorkers())
        {
        }
    }
}

static void the_mapped_writer_writes_without_being_asked(void)
{
    HANDLE file;
    ULONG_PTR base;

    make_file(50 * PAGE_SIZE);
    file = open_file();
    base = map_file(file, 0, PAGE_READWRITE);
    for (ULONG page = 0; page < 50; page++)
    {
        TestVmPut(base + page * PAGE_SIZE, 0x21);
    }
    TestVmTrimAll();
    let_time_pass(4);
    for (ULONG page = 0; page < 50; page++)
    {
        assert_int_equal(byte_on_disk(page * PAGE_SIZE), 0x21);
    }
    assert_int_equal(MiListTotal(&MiState.Physical->ModifiedMappedList), 0);
    unmap(base);
    NtClose(file);
}

/* Write, trim, write again while the first write is under way: the second must not be lost. */
static void the_dirty_bit_is_never_lost(void)
{
    HANDLE file;
    ULONG_PTR base;

    make_file(4 * PAGE_SIZE);
    file = open_file();
    base = map_file(file, 0, PAGE_READWRITE);
    for (ULONG round = 1; round < 50; round++)
    {
        TestVmPut(base, (UCHAR)round);
        TestVmTrimAll();
        MiHurryMappedWriter();
        assert_true(MiMappedWriterStep(NULL)); /* in flight: nobody polls */
        assert_int_equal(MiState.Paging->WritesInFlight, 1);
        TestVmPut(base, (UCHAR)(round + 100));
        if ((round & 1) != 0)
        {
            TestVmTrimAll();
        }
        while (MiState.Paging->WritesInFlight != 0)
        {
            PortPollIo();
        }
        assert_int_equal(TestVmGet(base), (UCHAR)(round + 100));
        TestVmTrimAll();
        MiPurgeStandby(MI_PRIORITIES - 1);
        assert_int_equal(TestVmGet(base), (UCHAR)(round + 100));
        assert_int_equal(flush_view(base, PAGE_SIZE), STATUS_SUCCESS);
        assert_int_equal(byte_on_disk(0), (UCHAR)(round + 100));
    }
    unmap(base);
    NtClose(file);
}

/* ---- Sizes --------------------------------------------------------------------------------------------- */

static void a_writable_section_makes_its_file_longer(void)
{
    LARGE_INTEGER larger = { .QuadPart = 9 * PAGE_SIZE };
    HANDLE file, section;
    ULONG_PTR base;

    make_file(100);
    file = open_file();
    assert_int_equal(try_section(file, 5 * PAGE_SIZE, PAGE_READONLY, &section), STATUS_SECTION_TOO_BIG);
    assert_int_equal(try_section(file, 5 * PAGE_SIZE, PAGE_READWRITE, &section), STATUS_SUCCESS);
    assert_int_equal(size_on_disk(), 5 * PAGE_SIZE);
    assert_int_equal(NtExtendSection(section, &larger), STATUS_SUCCESS);
    assert_int_equal(size_on_disk(), 9 * PAGE_SIZE);
    assert_int_equal(try_map(section, 0, 0, PAGE_READWRITE, &base), STATUS_SUCCESS);
    assert_int_equal(TestVmGet(base + 99), pattern(99));
    assert_int_equal(TestVmGet(base + 100), 0);
    TestVmPut(base + 8 * PAGE_SIZE, 0x31);
    unmap(base);
    NtClose(section);
    NtClose(file);
    assert_int_equal(byte_on_disk(8 * PAGE_SIZE), 0x31);
}

static void an_empty_file_cannot_be_mapped(void)
{
    HANDLE file, section;

    make_file(0);
    file = open_file();
    assert_int_equal(try_section(file, 0, PAGE_READWRITE, &section), STATUS_MAPPED_FILE_SIZE_ZERO);
    assert_int_equal(try_section(file, 100, PAGE_READWRITE, &section), STATUS_SUCCESS);
    assert_int_equal(size_on_disk(), 100);
    NtClose(section);
    NtClose(file);
}

static void a_mapped_file_is_not_made_shorter(void)
{
    LARGE_INTEGER size = { .QuadPart = PAGE_SIZE };
    HANDLE file, other;
    PFILE_OBJECT object;
    ULONG_PTR base;

    make_file(10 * PAGE_SIZE);
    file = open_file();
    assert_int_equal(NtReferenceFile(file, 0, &object, NULL), STATUS_SUCCESS);
    assert_true(MmCanFileBeTruncated(object->SectionObjectPointer, &size));
    assert_int_equal(MmDoesFileHaveUserWritableReferences(object->SectionObjectPointer), 0);
    base = map_file(file, 0, PAGE_READWRITE);
    assert_true(MmDoesFileHaveUserWritableReferences(object->SectionObjectPointer) != 0);
    assert_false(MmCanFileBeTruncated(object->SectionObjectPointer, &size));
    assert_false(MmForceSectionClosed(object->SectionObjectPointer, FALSE));
    assert_false(MmFlushImageSection(object->SectionObjectPointer, MmFlushForDelete));
    assert_true(MmFlushImageSection(object->SectionObjectPointer, MmFlushForWrite));
    assert_int_equal(set_end(file, PAGE_SIZE), STATUS_USER_MAPPED_FILE);
    assert_int_equal(try_open(&other, GENERIC_READ | GENERIC_WRITE, FILE_OVERWRITE, 0),
                     STATUS_USER_MAPPED_FILE);
    assert_int_equal(set_end(file, 12 * PAGE_SIZE), STATUS_SUCCESS); /* longer is nobody's harm */
    assert_int_equal(size_on_disk(), 12 * PAGE_SIZE);
    unmap(base);
    assert_int_equal(set_end(file, PAGE_SIZE + 50), STATUS_SUCCESS);
    assert_int_equal(size_on_disk(), PAGE_SIZE + 50);
    assert_true(MmForceSectionClosed(object->SectionObjectPointer, FALSE));
    assert_null(object->SectionObjectPointer->DataSectionObject);
    ObDereferenceObjectBody(object);
    NtClose(file);
}

/* Somebody on Linux made the file longer than the segment that the machine has for it. */
static void a_file_that_somebody_made_longer_is_made_shorter(void)
{
    HANDLE file;
    UCHAR byte;

    make_file(10 * PAGE_SIZE);
    file = open_file();
    assert_int_equal(read_at(file, 5, &byte, 1), STATUS_SUCCESS);
    assert_int_equal(truncate(Path, 100 * PAGE_SIZE), 0);
    assert_int_equal(set_end(file, 60 * PAGE_SIZE + 7), STATUS_SUCCESS);
    assert_int_equal(size_on_disk(), 60 * PAGE_SIZE + 7);
    assert_int_equal(read_at(file, 5, &byte, 1), STATUS_SUCCESS);
    assert_int_equal(byte, pattern(5));
    NtClose(file);
}

/* What a view wrote behind the end does not become data when the file grows. */
/* Whether a write notices it or a reader has noticed it before. */
static void what_somebody_made_longer_is_written(void)
{
    UCHAR bytes[20];
    HANDLE file;

    memset(bytes, 0x72, sizeof(bytes));
    make_file(10 * PAGE_SIZE + 100);
    file = open_file();
    assert_int_equal(read_at(file, 0, bytes, 1), STATUS_SUCCESS);
    assert_int_equal(truncate(Path, 30 * PAGE_SIZE), 0);
    assert_int_equal(write_at(file, 29 * PAGE_SIZE + 50, bytes + 1, 10), STATUS_SUCCESS);
    assert_int_equal(truncate(Path, 60 * PAGE_SIZE), 0);
    assert_int_equal(read_at(file, 59 * PAGE_SIZE, bytes, 1), STATUS_SUCCESS);
    assert_int_equal(bytes[0], 0);
    assert_int_equal(write_at(file, 59 * PAGE_SIZE + 50, bytes + 1, 10), STATUS_SUCCESS);
    NtClose(file);
    assert_int_equal(size_on_disk(), 60 * PAGE_SIZE);
    assert_int_equal(byte_on_disk(29 * PAGE_SIZE + 59), 0x72);
    assert_int_equal(byte_on_disk(59 * PAGE_SIZE + 50), 0x72);
}

static void growth_brings_zeros(void)
{
    HANDLE file;
    ULONG_PTR base;
    UCHAR byte;

    make_file(100);
    file = open_file();
    base = map_file(file, 0, PAGE_READWRITE);
    TestVmPut(base + 200, 0x55);
    assert_int_equal(set_end(file, 3000), STATUS_SUCCESS);
    assert_int_equal(TestVmGet(base + 200), 0);
    assert_int_equal(read_at(file, 200, &byte, 1), STATUS_SUCCESS);
    assert_int_equal(byte, 0);
    unmap(base);
    NtClose(file);
    assert_int_equal(byte_on_disk(200), 0);
    assert_int_equal(byte_on_disk(99), pattern(99));
}

/* ---- What goes wrong ----------------------------------------------------------------------------------- */

/* Pages that a write adds to a file have nothing on the disk that anybody could see; what the file had is read. */
static void what_a_write_adds_is_not_read(void)
{
    const ULONG64 old = 10 * PAGE_SIZE + 100;
    static UCHAR bytes[3 * PAGE_SIZE];
    ULONG64 before, size;
    HANDLE file;
    UCHAR byte;

    memset(bytes, 0x71, sizeof(bytes));
    make_file(old);
    file = open_file();
    before = pages_read();
    /* Behind a gap, inside a page. */
    assert_int_equal(write_at(file, 20 * PAGE_SIZE + 10, bytes, 7), STATUS_SUCCESS);
    assert_int_equal(pages_read(), before);
    /* A log: each line makes the file a little longer. */
    for (size = 20 * PAGE_SIZE + 17; size < 40 * PAGE_SIZE; size += 333)
    {
        assert_int_equal(write_at(file, (LONGLONG)size, bytes, 333), STATUS_SUCCESS);
    }
    /* A long one that ends inside a page, at an end that was inside a page. */
    assert_int_equal(write_at(file, (LONGLONG)size, bytes, 2 * PAGE_SIZE + 50), STATUS_SUCCESS);
    size += 2 * PAGE_SIZE + 50;
    assert_int_equal(pages_read(), before);
    assert_int_equal(read_at(file, 20 * PAGE_SIZE + 9, &byte, 1), STATUS_SUCCESS);
    assert_int_equal(byte, 0);
    assert_int_equal(read_at(file, (LONGLONG)size - 1, &byte, 1), STATUS_SUCCESS);
    assert_int_equal(byte, 0x71);
    assert_int_equal(pages_read(), before);
    /* What was the last page is one like all others now. */
    assert_int_equal(write_at(file, 10 * PAGE_SIZE + 90, bytes, 5), STATUS_SUCCESS);
    assert_true(pages_read() > before);
    NtClose(file);
    assert_int_equal(size_on_disk(), size);
    assert_int_equal(byte_on_disk(10 * PAGE_SIZE + 89), pattern(10 * PAGE_SIZE + 89));
    assert_int_equal(byte_on_disk(10 * PAGE_SIZE + 94), 0x71);
    assert_int_equal(byte_on_disk(10 * PAGE_SIZE + 99), pattern(10 * PAGE_SIZE + 99));
    assert_int_equal(byte_on_disk(10 * PAGE_SIZE + 100), 0);
    assert_int_equal(byte_on_disk(20 * PAGE_SIZE + 9), 0);
    for (ULONG64 offset = 20 * PAGE_SIZE + 10; offset < size; offset += 101)
    {
        assert_int_equal(byte_on_disk(offset), 0x71);
    }
}

/* Only the page in which the file ended has something to keep, and not if all of that is written anew. */
static void the_page_of_the_old_end_is_read_if_something_of_it_stays(void)
{
    const ULONG64 old = 10 * PAGE_SIZE + 100;
    static UCHAR bytes[PAGE_SIZE];
    ULONG64 before;
    HANDLE file;

    memset(bytes, 0x72, sizeof(bytes));
    make_file(old);
    file = open_file();
    before = pages_read();
    assert_int_equal(write_at(file, 10 * PAGE_SIZE, bytes, 200), STATUS_SUCCESS);
    assert_int_equal(pages_read(), before);
    NtClose(file);
    assert_int_equal(size_on_disk(), 10 * PAGE_SIZE + 200);
    assert_int_equal(byte_on_disk(10 * PAGE_SIZE - 1), pattern(10 * PAGE_SIZE - 1));
    assert_int_equal(byte_on_disk(10 * PAGE_SIZE + 99), 0x72);
    MiTrimUnusedSegments(MI_TRIM_ALL_SEGMENTS);
    make_file(old);
    file = open_file();
    before = pages_read();
    assert_int_equal(write_at(file, 10 * PAGE_SIZE + 1, bytes, 200), STATUS_SUCCESS);
    assert_true(pages_read() > before);
    NtClose(file);
    assert_int_equal(byte_on_disk(10 * PAGE_SIZE), pattern(10 * PAGE_SIZE));
}

/* A buffer that ends in nothing: the file is as long as before, and the page that was begun is no page of it. */
static void a_write_beyond_the_end_that_fails_leaves_no_page(void)
{
    ULONG_PTR buffer;
    HANDLE file;
    UCHAR byte = 1;

    make_file(5 * PAGE_SIZE);
    file = open_file();
    buffer = TestVmAllocate(0, PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(write_at(file, 5 * PAGE_SIZE + 30, (PVOID)(buffer + PAGE_SIZE), 50),
                     STATUS_ACCESS_VIOLATION);
    assert_int_equal(size_on_disk(), 5 * PAGE_SIZE);
    assert_int_equal(write_at(file, 6 * PAGE_SIZE, &byte, 1), STATUS_SUCCESS);
    assert_int_equal(read_at(file, 5 * PAGE_SIZE + 30, &byte, 1), STATUS_SUCCESS);
    assert_int_equal(byte, 0);
    NtClose(file);
}

static void a_file_that_somebody_shortens_is_an_in_page_error(void)
{
    HANDLE file;
    ULONG_PTR base;
    UCHAR byte;

    make_file(100 * PAGE_SIZE);
    file = open_file();
    base = map_file(file, 0, PAGE_READWRITE);
    TestVmPut(base + 80 * PAGE_SIZE, 1);
    assert_int_equal(truncate(Path, 3 * PAGE_SIZE), 0);
    assert_int_equal(TestVmTryGet(base + 5 * PAGE_SIZE, &byte), STATUS_IN_PAGE_ERROR);
    assert_int_equal(TestVmGet(base + 2 * PAGE_SIZE), pattern(2 * PAGE_SIZE));
    assert_int_equal(TestVmGet(base + 80 * PAGE_SIZE), 1); /* kept */
    assert_int_equal(flush_view(base, 0), STATUS_END_OF_FILE);
    assert_int_equal(Iosb.Status, STATUS_END_OF_FILE);
    assert_int_equal(size_on_disk(), 3 * PAGE_SIZE);
    assert_int_equal(truncate(Path, 100 * PAGE_SIZE), 0);
    assert_int_equal(flush_view(base, 0), STATUS_SUCCESS);
    assert_int_equal(byte_on_disk(80 * PAGE_SIZE), 1);
    assert_int_equal(TestVmGet(base + 5 * PAGE_SIZE), 0);
    unmap(base);
    NtClose(file);
}

static void a_failed_write_keeps_the_page(void)
{
    HOST_STORAGE_FAULT fault = { .Kind = HOST_FAULT_WRITE, .Nth = 1, .Count = 0, .Error = EIO };
    HANDLE file;
    ULONG_PTR base;

    make_file(10 * PAGE_SIZE);
    file = open_file();
    base = map_file(file, 0, PAGE_READWRITE);
    TestVmPut(base + PAGE_SIZE, 0x61);
    TestVmPut(base + 2 * PAGE_SIZE, 0x62);
    fault.Storage = HostStorageFind(Path);
    assert_true(HostStorageInject(&fault));
    assert_int_equal(flush_view(base, 0), STATUS_IO_DEVICE_ERROR);
    assert_int_equal(Iosb.Status, STATUS_IO_DEVICE_ERROR);
    TestVmTrimAll();
    MiPurgeStandby(MI_PRIORITIES - 1);
    assert_int_equal(TestVmGet(base + PAGE_SIZE), 0x61);
    HostStorageClearFaults();
    HostStorageSetCapacity(HostStorageFind(Path),
                           2 * PAGE_SIZE); /* and now one page of them is one too much */
    assert_int_equal(flush_view(base, 0), STATUS_DISK_FULL);
    assert_int_equal(byte_on_disk(PAGE_SIZE), 0x61);
    assert_int_equal(TestVmGet(base + 2 * PAGE_SIZE), 0x62);
    HostStorageSetCapacity(HostStorageFind(Path), ~0ull);
    assert_int_equal(flush_view(base, 0), STATUS_SUCCESS);
    assert_int_equal(byte_on_disk(2 * PAGE_SIZE), 0x62);
    unmap(base);
    NtClose(file);
}

/* Images are read from the storage: without what it has not taken they would be others. */
static void an_image_of_what_could_not_be_written_is_refused(void)
{
    HANDLE file, section;
    ULONG_PTR base;

    make_file(2 * PAGE_SIZE);
    file = open_file();
    base = map_file(file, 0, PAGE_READWRITE);
    TestVmPut(base, 0x64);
    TestVmTrimAll();
    HostStorageSetCapacity(HostStorageFind(Path), 0);
    assert_int_equal(
        NtCreateSection(&section, SECTION_ALL_ACCESS, NULL, NULL, PAGE_READONLY, SEC_IMAGE, file),
        STATUS_DISK_FULL);
    HostStorageSetCapacity(HostStorageFind(Path), ~0ull);
    assert_int_equal(
        NtCreateSection(&section, SECTION_ALL_ACCESS, NULL, NULL, PAGE_READONLY, SEC_IMAGE, file),
        STATUS_INVALID_IMAGE_NOT_MZ);
    assert_int_equal(byte_on_disk(0), 0x64);
    unmap(base);
    NtClose(file);
}

/* What a file refuses is no memory that will soon be there: who waits for memory gets it from elsewhere. */
static void pages_that_no_file_takes_are_not_counted_on(void)
{
    HOST_STORAGE_FAULT fault = { .Kind = HOST_FAULT_WRITE, .Nth = 1, .Count = 0, .Error = ENOSPC };
    const ULONG pages = 200;
    HANDLE file;
    ULONG_PTR base;

    make_file(pages * PAGE_SIZE);
    file = open_file();
    base = map_file(file, 0, PAGE_READWRITE);
    for (ULONG page = 0; page < pages; page++)
    {
        TestVmPut(base + page * PAGE_SIZE, 0x63);
    }
    fault.Storage = HostStorageFind(Path);
    assert_true(HostStorageInject(&fault));
    TestVmTrimAll();
    assert_true(MiModifiedPages() >= pages);
    assert_true(MiWritableModifiedPages() >= pages);
    for (ULONG tries = 0; MiWritableModifiedPages() >= pages && tries < 100; tries++)
    {
        MiWakeMappedWriter();
        let_time_pass(1);
    }
    assert_true(MiModifiedPages() >= pages);
    assert_true(MiWritableModifiedPages() < pages);
    HostStorageClearFaults();
    for (ULONG tries = 0; MiListTotal(&MiState.Physical->ModifiedMappedList) != 0 && tries < 100; tries++)
    {
        let_time_pass(1);
    }
    assert_int_equal(MiListTotal(&MiState.Physical->ModifiedMappedList), 0);
    assert_int_equal(byte_on_disk((pages - 1) * PAGE_SIZE), 0x63);
    unmap(base);
    NtClose(file);
}

static void a_failed_read_is_an_error_of_that_page_alone(void)
{
    HOST_STORAGE_FAULT fault = { .Kind = HOST_FAULT_READ, .Nth = 1, .Count = 1, .Error = EIO };
    HANDLE file;
    ULONG_PTR base;
    UCHAR byte;

    make_file(128 * PAGE_SIZE);
    file = open_file();
    base = map_file(file, 0, PAGE_READONLY);
    fault.Storage = HostStorageFind(Path);
    assert_true(HostStorageInject(&fault));
    assert_int_equal(TestVmGet(base), pattern(0)); /* the cluster failed, the page alone did not */
    unmap(base);
    base = map_file(file, 0, PAGE_READONLY);
    fault.Count = 0;
    assert_true(HostStorageInject(&fault));
    assert_int_equal(TestVmTryGet(base + 60 * PAGE_SIZE, &byte), STATUS_IN_PAGE_ERROR);
    HostStorageClearFaults();
    assert_int_equal(TestVmGet(base + 60 * PAGE_SIZE), pattern(60 * PAGE_SIZE));
    assert_true(HostStorageInject(&fault));
    assert_int_equal(read_at(file, 100 * PAGE_SIZE, &byte, 1), STATUS_IO_DEVICE_ERROR);
    HostStorageClearFaults();
    assert_int_equal(read_at(file, 100 * PAGE_SIZE, &byte, 1), STATUS_SUCCESS);
    assert_int_equal(byte, pattern(100 * PAGE_SIZE));
    unmap(base);
    NtClose(file);
}

static NTSTATUS map_and_touch(ULONG_PTR context)
{
    static UCHAR whole[2 * PAGE_SIZE];
    HANDLE file = NULL, section = NULL;
    ULONG_PTR base = 0;
    UCHAR byte = 3;
    NTSTATUS status = try_open(&file, GENERIC_READ | GENERIC_WRITE, FILE_OPEN, 0);

    (void)context;
    status = NT_SUCCESS(status) ? try_section(file, 0, PAGE_READWRITE, &section) : status;
    status = NT_SUCCESS(status) ? try_map(section, 0, 0, PAGE_READWRITE, &base) : status;
    status = NT_SUCCESS(status) ? TestVmTryPut(base + 5 * PAGE_SIZE, 9) : status;
    status = NT_SUCCESS(status) ? flush_view(base, 0) : status;
    status = NT_SUCCESS(status) ? read_at(file, 7 * PAGE_SIZE, &byte, 1) : status;
    status = NT_SUCCESS(status) ? write_at(file, 8 * PAGE_SIZE, &byte, 1) : status;
    status = NT_SUCCESS(status) ? write_at(file, 14 * PAGE_SIZE, whole, sizeof(whole)) : status;
    if (base != 0)
    {
        unmap(base);
    }
    if (section != NULL)
    {
        NtClose(section);
    }
    if (file != NULL)
    {
        NtClose(file);
    }
    MiTrimUnusedSegments(MI_TRIM_ALL_SEGMENTS);
    return status;
}

static void every_failure_leaves_nothing(void)
{
    make_file(20 * PAGE_SIZE);
    assert_int_equal(map_and_touch(0), STATUS_SUCCESS);
    for (ULONG kind = 0; kind < KiInjectThread; kind++)
    {
        TestWithFailures((KI_INJECT)kind, map_and_touch, 0);
    }
    assert_int_equal(byte_on_disk(5 * PAGE_SIZE), 9);
}

/* ---- The suite ------------------------------------------------------------------------------------------ */

#define FILE_TESTS(X)                                                                                        \
    X(a_flush_reaches_the_file_and_nothing_more)                                                             \
    X(the_mapped_writer_writes_without_being_asked)                                                          \
    X(the_dirty_bit_is_never_lost)                                                                           \
    X(a_writable_section_makes_its_file_longer)                                                              \
    X(an_empty_file_cannot_be_mapped)                                                                        \
    X(a_mapped_file_is_not_made_shorter)                                                                     \
    X(a_file_that_somebody_made_longer_is_made_shorter)                                                      \
    X(what_somebody_made_longer_is_written)                                                                  \
    X(growth_brings_zeros)                                                                                   \
    X(what_a_write_adds_is_not_read)                                                                         \
    X(the_page_of_the_old_end_is_read_if_something_of_it_stays)                                              \
    X(a_write_beyond_the_end_that_fails_leaves_no_page)                                                      \
    X(a_file_that_somebody_shortens_is_an_in_page_error)                                                     \
    X(pages_that_no_file_takes_are_not_counted_on)                                                           \
    X(a_failed_write_keeps_the_page)                                                                         \
    X(an_image_of_what_could_not_be_written_is_refused)                                                      \
    X(a_failed_read_is_an_error_of_that_page_alone)                                                          \
    X(every_failure_leaves_nothing)

FILE_PROGRAM(FILE_TESTS)
