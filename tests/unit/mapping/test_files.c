/* SPDX-License-Identifier: MIT */
/*
 * Data sections of real files, and the cache beside them: one page for everybody, read once, written in time, lost never. After each test the file
 * is compared with ordinary system calls.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "mapping/cache.h"
#include "nt/file.h"
#include "paging/mapped.h"
#include "storage.h"

static char Path[96];
static IO_STATUS_BLOCK Iosb;

/* ---- Helpers ------------------------------------------------------------------------------------------- */

static NTSTATUS try_open(HANDLE *handle, ACCESS_MASK access, ULONG disposition, ULONG options)
{
    static WCHAR text[256];
    UNICODE_STRING name = { .Buffer = text };
    OBJECT_ATTRIBUTES attributes;

    for (size_t index = 0; Path[index] != 0; index++)
    {
        text[index] = (UCHAR)Path[index];
        name.Length = (USHORT)((index + 1) * sizeof(WCHAR));
    }
    InitializeObjectAttributes(&attributes, &name, 0, NULL, NULL);
    return NtCreateFile(handle, access, &attributes, &Iosb, NULL, FILE_ATTRIBUTE_NORMAL,
                        FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, disposition,
                        options | FILE_NON_DIRECTORY_FILE, NULL, 0);
}

static HANDLE open_file(void)
{
    HANDLE handle;

    assert_int_equal(try_open(&handle, GENERIC_READ | GENERIC_WRITE | DELETE, FILE_OPEN_IF, 0),
                     STATUS_SUCCESS);
    return handle;
}

static NTSTATUS try_section(HANDLE file, ULONG64 size, ULONG protect, HANDLE *section)
{
    LARGE_INTEGER maximum = { .QuadPart = (LONGLONG)size };

    return NtCreateSection(section, SECTION_ALL_ACCESS, NULL, size != 0 ? &maximum : NULL, protect,
                           SEC_COMMIT, file);
}

static NTSTATUS try_map(HANDLE section, ULONG64 offset, SIZE_T size, ULONG protect, ULONG_PTR *base)
{
    LARGE_INTEGER start = { .QuadPart = (LONGLONG)offset };
    PVOID address = NULL;
    NTSTATUS status =
        NtMapViewOfSection(section, NtCurrentProcess(), &address, 0, 0, &start, &size, ViewShare, 0, protect);

    *base = (ULONG_PTR)address;
    return status;
}

/* The whole file, or Size bytes of it, as one view. */
static ULONG_PTR map_file(HANDLE file, ULONG64 size, ULONG protect)
{
    HANDLE section;
    ULONG_PTR base;

    assert_int_equal(try_section(file, size, protect, &section), STATUS_SUCCESS);
    assert_int_equal(try_map(section, 0, 0, protect, &base), STATUS_SUCCESS);
    NtClose(section);
    return base;
}

static void unmap(ULONG_PTR base)
{
    assert_int_equal(NtUnmapViewOfSection(NtCurrentProcess(), (PVOID)base), STATUS_SUCCESS);
}

static NTSTATUS flush_view(ULONG_PTR base, SIZE_T size)
{
    PVOID address = (PVOID)base;

    return NtFlushVirtualMemory(NtCurrentProcess(), &address, &size, &Iosb);
}

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

static NTSTATUS set_end(HANDLE handle, LONGLONG end)
{
    FILE_END_OF_FILE_INFORMATION information = { .EndOfFile = { .QuadPart = end } };

    return NtSetInformationFile(handle, &Iosb, &information, sizeof(information), FileEndOfFileInformation);
}

static UCHAR pattern(ULONG64 offset)
{
    return (UCHAR)(offset * 31 + (offset >> 12) * 7 + 5);
}

/* A file with a pattern, made by Linux. */
static void make_file(ULONG64 size)
{
    int descriptor = open(Path, O_CREAT | O_TRUNC | O_RDWR, 0600);
    UCHAR *bytes = malloc(size + 1);

    for (ULONG64 offset = 0; offset < size; offset++)
    {
        bytes[offset] = pattern(offset);
    }
    assert_int_equal(write(descriptor, bytes, size), size);
    close(descriptor);
    free(bytes);
}

static UCHAR byte_on_disk(ULONG64 offset)
{
    int descriptor = open(Path, O_RDONLY);
    UCHAR byte = 0xee;

    assert_int_equal(pread(descriptor, &byte, 1, (off_t)offset), 1);
    close(descriptor);
    return byte;
}

static off_t size_on_disk(void)
{
    struct stat information;

    return stat(Path, &information) == 0 ? information.st_size : -1;
}

static ULONG64 pages_read(void)
{
    return MiQueryCounter(MiCounterMappedPagesInput);
}

/* ---- One page for everybody ---------------------------------------------------------------------------- */

static void a_view_shows_the_file_and_zeros_behind_its_end(void)
{
    ULONG64 size = 5 * PAGE_SIZE + 123;
    HANDLE file, section;
    ULONG_PTR base;

    make_file(size);
    file = open_file();
    base = map_file(file, 0, PAGE_READONLY);
    for (ULONG64 offset = 0; offset < size; offset += 61)
    {
        assert_int_equal(TestVmGet(base + offset), pattern(offset));
    }
    assert_int_equal(TestVmGet(base + size - 1), pattern(size - 1));
    for (ULONG64 offset = size; offset < 6 * PAGE_SIZE; offset++)
    {
        assert_int_equal(TestVmGet(base + offset), 0);
    }
    unmap(base);
    assert_int_equal(try_section(file, size + 1, PAGE_READONLY, &section), STATUS_SECTION_TOO_BIG);
    NtClose(file);
    assert_int_equal(size_on_disk(), size);
}

static void views_handles_and_the_cache_see_each_other(void)
{
    HANDLE one, two;
    ULONG_PTR first, second;
    UCHAR buffer[64];

    make_file(200000);
    one = open_file();
    two = open_file();
    first = map_file(one, 0, PAGE_READWRITE);
    second = map_file(two, 0, PAGE_READWRITE);
    TestVmPut(first + 100000, 0xa1);
    assert_int_equal(TestVmGet(second + 100000), 0xa1);
    assert_int_equal(read_at(two, 100000, buffer, 1), STATUS_SUCCESS);
    assert_int_equal(buffer[0], 0xa1);
    memset(buffer, 0xb2, sizeof(buffer));
    assert_int_equal(write_at(one, 4090, buffer, 20), STATUS_SUCCESS);
    assert_int_equal(TestVmGet(second + 4095), 0xb2);
    assert_int_equal(TestVmGet(first + 4109), 0xb2);
    assert_int_equal(TestVmGet(first + 4110), pattern(4110));
    unmap(first);
    NtClose(one);
    assert_int_equal(TestVmGet(second + 100000), 0xa1);
    unmap(second);
    NtClose(two);
    assert_int_equal(byte_on_disk(100000), 0xa1);
    assert_int_equal(byte_on_disk(4095), 0xb2);
    assert_int_equal(byte_on_disk(4110), pattern(4110));
}

static void a_repeated_job_reads_the_disk_once(void)
{
    ULONG64 before, first;

    make_file(100 * PAGE_SIZE);
    before = pages_read();
    for (ULONG round = 0; round < 3; round++)
    {
        HANDLE file = open_file();
        ULONG_PTR base = map_file(file, 0, PAGE_READONLY);

        for (ULONG page = 0; page < 100; page++)
        {
            assert_int_equal(TestVmGet(base + page * PAGE_SIZE), pattern(page * PAGE_SIZE));
        }
        unmap(base);
        NtClose(file);
        first = round == 0 ? pages_read() : first;
    }
    assert_int_equal(first - before, 100);
    assert_int_equal(pages_read(), first);
    MiPurgeStandby(MI_PRIORITIES - 1);
}

/* The disk is not asked for what nobody will see; what a page keeps of itself is read. */
static void pages_overwritten_as_a_whole_are_not_read(void)
{
    static UCHAR buffer[40 * PAGE_SIZE];
    HOST_STORAGE_FAULT fault = { .Kind = HOST_FAULT_READ, .Nth = 1, .Count = 0, .Error = EIO };
    PFILE_OBJECT object;
    PFN_NUMBER frame;
    ULONG64 before;
    ULONG_PTR base;
    HANDLE file;

    make_file(100 * PAGE_SIZE);
    file = open_file();
    before = pages_read();
    memset(buffer, 0x5a, sizeof(buffer));
    assert_int_equal(write_at(file, 10 * PAGE_SIZE, buffer, 40 * PAGE_SIZE), STATUS_SUCCESS);
    assert_int_equal(pages_read(), before);
    assert_int_equal(write_at(file, 60 * PAGE_SIZE + 100, buffer, 20 * PAGE_SIZE), STATUS_SUCCESS);
    assert_in_range(pages_read() - before, 2, 2 + 2 * MI_READ_CLUSTER);
    before = pages_read();
    base = map_file(file, 0, PAGE_READWRITE);
    assert_int_equal(TestVmGet(base + 30 * PAGE_SIZE + 5), 0x5a);
    assert_int_equal(TestVmGet(base + 60 * PAGE_SIZE + 99), pattern(60 * PAGE_SIZE + 99));
    assert_int_equal(TestVmGet(base + 60 * PAGE_SIZE + 100), 0x5a);
    assert_int_equal(TestVmGet(base + 80 * PAGE_SIZE + 100), pattern(80 * PAGE_SIZE + 100));
    TestVmPut(base + 30 * PAGE_SIZE + 6, 0x11);
    memset(buffer, 0x5b, PAGE_SIZE); /* what is in memory is overwritten where it is */
    assert_int_equal(write_at(file, 31 * PAGE_SIZE, buffer, PAGE_SIZE), STATUS_SUCCESS);
    assert_int_equal(TestVmGet(base + 31 * PAGE_SIZE), 0x5b);
    assert_int_equal(pages_read(), before);
    /* A buffer that could not be read to its end spoils nothing. */
    assert_int_equal(
        ObReferenceObjectByHandle(file, 0, *IoFileObjectType, KernelMode, (PVOID *)&object, NULL),
        STATUS_SUCCESS);
    frame = MiBeginOverwrite(object->SectionObjectPointer->DataSectionObject, 98);
    assert_int_not_equal(frame, 0);
    memset(PortDirectMap(frame), 0x66, 100);
    assert_false(MiEndOverwrite(object->SectionObjectPointer->DataSectionObject, 98, frame, FALSE));
    assert_int_equal(TestVmGet(base + 98 * PAGE_SIZE + 7), pattern(98 * PAGE_SIZE + 7));
    /* A page that comes between the two steps stays what it is, and the frame is free again. */
    frame = MiBeginOverwrite(object->SectionObjectPointer->DataSectionObject, 95);
    assert_int_not_equal(frame, 0);
    assert_int_equal(TestVmGet(base + 95 * PAGE_SIZE + 7), pattern(95 * PAGE_SIZE + 7));
    assert_false(MiEndOverwrite(object->SectionObjectPointer->DataSectionObject, 95, frame, TRUE));
    assert_int_equal(MiBeginOverwrite(object->SectionObjectPointer->DataSectionObject, 95), 0);
    assert_int_equal(MiBeginOverwrite(object->SectionObjectPointer->DataSectionObject, 100), 0);
    ObDereferenceObject(object);
    assert_int_equal(TestVmGet(base + 95 * PAGE_SIZE + 8), pattern(95 * PAGE_SIZE + 8));
    unmap(base);
    NtClose(file);
    assert_int_equal(byte_on_disk(10 * PAGE_SIZE - 1), pattern(10 * PAGE_SIZE - 1));
    assert_int_equal(byte_on_disk(10 * PAGE_SIZE), 0x5a);
    assert_int_equal(byte_on_disk(30 * PAGE_SIZE + 6), 0x11);
    assert_int_equal(byte_on_disk(31 * PAGE_SIZE), 0x5b);
    assert_int_equal(byte_on_disk(50 * PAGE_SIZE), pattern(50 * PAGE_SIZE));
    assert_int_equal(byte_on_disk(80 * PAGE_SIZE + 99), 0x5a);
    MiTrimUnusedSegments(MI_TRIM_ALL_SEGMENTS);
    MiPurgeStandby(MI_PRIORITIES - 1);
    file = open_file(); /* a disk that cannot be read can be written */
    fault.Storage = HostStorageFind(Path);
    assert_true(HostStorageInject(&fault));
    assert_int_equal(write_at(file, PAGE_SIZE, buffer, 1), STATUS_IO_DEVICE_ERROR);
    assert_int_equal(write_at(file, PAGE_SIZE, buffer, PAGE_SIZE), STATUS_SUCCESS);
    HostStorageClearFaults();
    NtClose(file);
    assert_int_equal(byte_on_disk(PAGE_SIZE), 0x5b);
    assert_int_equal(byte_on_disk(2 * PAGE_SIZE - 1), 0x5b);
}

static void sequential_reads_are_clustered(void)
{
    HANDLE file;
    ULONG_PTR base;
    ULONG64 reads = MiQueryCounter(MiCounterMappedFileReads);

    make_file(1500 * PAGE_SIZE); /* across chunks of prototype PTEs */
    file = open_file();
    base = map_file(file, 0, PAGE_READONLY);
    for (ULONG page = 0; page < 1500; page++)
    {
        assert_int_equal(TestVmGet(base + page * PAGE_SIZE + 77), pattern(page * PAGE_SIZE + 77));
    }
    assert_true(MiQueryCounter(MiCounterMappedFileReads) - reads < 60);
    unmap(base);
    NtClose(file);
}

static NTSTATUS prefetch(ULONG_PTR base, SIZE_T size)
{
    MEMORY_RANGE_ENTRY range = { (PVOID)base, size };
    ULONG flags = 0;

    return NtSetInformationVirtualMemory(NtCurrentProcess(), VmPrefetchInformation, 1, &range, &flags,
                                         sizeof(flags));
}

static void finish_reads(void)
{
    while (MiState.Paging->InPageInUse != 0)
    {
        PortPollIo();
    }
}

static void what_was_prefetched_is_not_read_again(void)
{
    ULONG64 size = 700 * PAGE_SIZE + 99; /* two chunks, neither of which anybody has seen */
    HANDLE file;
    ULONG_PTR base;
    ULONG64 before, reads;

    make_file(size);
    file = open_file();
    base = map_file(file, 0, PAGE_READONLY);
    before = pages_read();
    reads = MiQueryCounter(MiCounterMappedFileReads);
    assert_int_equal(prefetch(base + 10 * PAGE_SIZE, 680 * PAGE_SIZE), STATUS_SUCCESS);
    assert_true(pages_read() == before + 680 && MiQueryCounter(MiCounterMappedFileReads) - reads <= 40);
    finish_reads();
    for (ULONG page = 10; page < 690; page += 3)
    {
        assert_int_equal(TestVmGet(base + page * PAGE_SIZE), pattern(page * PAGE_SIZE));
    }
    assert_int_equal(pages_read(), before + 680);
    /* What is in memory is passed over, and so is what lies behind the end of the view. */
    assert_int_equal(prefetch(base, 702 * PAGE_SIZE), STATUS_SUCCESS);
    finish_reads();
    assert_int_equal(pages_read(), before + 701);
    assert_int_equal(TestVmGet(base + size - 1), pattern(size - 1));
    unmap(base);
    NtClose(file);
}

static void prefetching_is_advice(void)
{
    HOST_STORAGE_FAULT fault = { .Kind = HOST_FAULT_READ, .Nth = 1, .Count = 0, .Error = EIO };
    HANDLE file;
    ULONG_PTR base;
    UCHAR byte;

    make_file(64 * PAGE_SIZE);
    file = open_file();
    base = map_file(file, 0, PAGE_READWRITE);
    for (ULONG kind = 0; kind < KiInjectThread; kind++)
    {
        KiSetInjection((KI_INJECT)kind, 1, TRUE);
        assert_int_equal(prefetch(base, 64 * PAGE_SIZE), STATUS_SUCCESS);
        finish_reads();
        KiSetInjection((KI_INJECT)kind, 0, FALSE);
    }
    MiPurgeStandby(MI_PRIORITIES - 1);
    fault.Storage = HostStorageFind(Path);
    assert_true(HostStorageInject(&fault));
    assert_int_equal(prefetch(base, 64 * PAGE_SIZE), STATUS_SUCCESS);
    finish_reads();
    assert_int_equal(TestVmTryGet(base + 5 * PAGE_SIZE, &byte), STATUS_IN_PAGE_ERROR);
    HostStorageClearFaults();
    assert_int_equal(TestVmGet(base + 5 * PAGE_SIZE), pattern(5 * PAGE_SIZE));
    unmap(base);
    NtClose(file);
}

/* The cache unmaps its views without waiting for page tables, which would have to be read: those of system space stay in memory. */
static void page_tables_of_system_space_stay(void)
{
    HANDLE file;
    UCHAR byte;

    make_file(40 * VACB_MAPPING_GRANULARITY);
    file = open_file();
    for (ULONG64 offset = 0; offset < 40 * VACB_MAPPING_GRANULARITY; offset += VACB_MAPPING_GRANULARITY)
    {
        assert_int_equal(read_at(file, (LONGLONG)offset, &byte, 1), STATUS_SUCCESS);
        assert_int_equal(byte, pattern(offset));
    }
    assert_true(MiState.Space->System.PageTablePages > 4);
    MiEmptyWorkingSet(&MiState.Space->System);
    assert_int_equal(MiTrimPageTables(&MiState.Space->System), 0);
    NtClose(file);
}

static void who_jumps_gets_blocks_while_there_is_room(void)
{
    HANDLE file;
    ULONG_PTR base;
    ULONG64 before;

    make_file(200 * PAGE_SIZE);
    file = open_file();
    base = map_file(file, 0, PAGE_READONLY);
    before = pages_read();
    assert_int_equal(TestVmGet(base + 77 * PAGE_SIZE), pattern(77 * PAGE_SIZE));
    assert_int_equal(pages_read() - before, 32);
    for (ULONG page = 64; page < 96; page++)
    {
        assert_int_equal(TestVmGet(base + page * PAGE_SIZE + 9), pattern(page * PAGE_SIZE + 9));
    }
    assert_int_equal(pages_read() - before, 32);
    assert_int_equal(TestVmGet(base + 199 * PAGE_SIZE), pattern(199 * PAGE_SIZE));
    assert_int_equal(pages_read() - before, 32 + 8); /* the file ends inside the block */
    unmap(base);
    NtClose(file);
}

static void who_jumps_in_vain_gets_single_pages(void)
{
    const ULONG pages = 40000; /* more than the machine's memory */
    HANDLE file;
    ULONG_PTR base;
    ULONG64 before = 0;

    make_file(3 * PAGE_SIZE);
    assert_int_equal(truncate(Path, (off_t)pages * PAGE_SIZE), 0);
    file = open_file();
    base = map_file(file, 0, PAGE_READONLY);
    for (ULONG touch = 0; touch < 300; touch++)
    {
        before = touch == 200 ? pages_read() : before;
        assert_int_equal(TestVmGet(base + (3 + (touch * 7919ull) % (pages - 3)) * PAGE_SIZE), 0);
    }
    assert_int_equal(pages_read() - before, 100);
    unmap(base);
    NtClose(file);
}

static void a_writer_in_order_changes_only_what_he_writes(void)
{
    HANDLE file;
    ULONG_PTR base;
    int descriptor;

    make_file(300 * PAGE_SIZE);
    file = open_file();
    base = map_file(file, 0, PAGE_READWRITE);
    for (ULONG page = 0; page < 200; page++)
    {
        TestVmPut(base + page * PAGE_SIZE + 3, (UCHAR)(page + 1));
    }
    /* Somebody else on Linux writes what he did not: it is not overwritten with what the machine had read. */
    descriptor = open(Path, O_WRONLY);
    assert_true(descriptor >= 0);
    for (ULONG page = 200; page < 300; page++)
    {
        assert_int_equal(pwrite(descriptor, "!", 1, (off_t)page * PAGE_SIZE + 3), 1);
    }
    close(descriptor);
    assert_int_equal(flush_view(base, 0), STATUS_SUCCESS);
    for (ULONG page = 0; page < 300; page++)
    {
        assert_int_equal(byte_on_disk(page * PAGE_SIZE + 3), page < 200 ? (UCHAR)(page + 1) : '!');
        assert_int_equal(byte_on_disk(page * PAGE_SIZE + 4), pattern(page * PAGE_SIZE + 4));
    }
    unmap(base);
    NtClose(file);
}

static void copies_stay_private(void)
{
    HANDLE file;
    ULONG_PTR base, shared;

    make_file(3 * PAGE_SIZE);
    file = open_file();
    base = map_file(file, 0, PAGE_WRITECOPY);
    shared = map_file(file, 0, PAGE_READWRITE);
    TestVmPut(base + 10, 0x77);
    assert_int_equal(TestVmGet(base + 11), pattern(11));
    assert_int_equal(TestVmGet(shared + 10), pattern(10));
    TestVmPut(shared + PAGE_SIZE, 0x78);
    assert_int_equal(TestVmGet(base + PAGE_SIZE), 0x78);
    unmap(base);
    unmap(shared);
    NtClose(file);
    assert_int_equal(byte_on_disk(10), pattern(10));
    assert_int_equal(byte_on_disk(PAGE_SIZE), 0x78);
}

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
    for (ULONG second = 0; second < 4; second++)
    {
        KiAdvanceTime(1000000000ull);
        while (KiStepWorkers())
        {
        }
    }
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

/* ---- Everything at once against an oracle of bytes ----------------------------------------------------- */

#define MODEL_FILES 2u
#define MODEL_BYTES 300000u

typedef struct
{
    char Path[128];
    HANDLE Handle;
    HANDLE Section;
    ULONG_PTR Base; /* 0: not mapped */
    ULONG64 Mapped; /* bytes of the section */
    ULONG64 End;
    UCHAR *Bytes;
} MODEL_FILE;

static MODEL_FILE Files[MODEL_FILES];

static void model_map(MODEL_FILE *file)
{
    if (file->Base == 0 && file->End != 0)
    {
        assert_int_equal(try_section(file->Handle, 0, PAGE_READWRITE, &file->Section), STATUS_SUCCESS);
        assert_int_equal(try_map(file->Section, 0, 0, PAGE_READWRITE, &file->Base), STATUS_SUCCESS);
        file->Mapped = file->End;
    }
}

static void model_unmap(MODEL_FILE *file)
{
    if (file->Base != 0)
    {
        unmap(file->Base);
        NtClose(file->Section);
        file->Base = 0;
    }
}

static void model_resize(MODEL_FILE *file, ULONG64 end)
{
    NTSTATUS status = set_end(file->Handle, (LONGLONG)end);

    /* The segment of a mapped file may be longer than the section, never shorter. */
    if (file->Base != 0 && end < file->End)
    {
        assert_int_equal(status, STATUS_USER_MAPPED_FILE);
        return;
    }
    assert_int_equal(status, STATUS_SUCCESS);
    if (end < file->End)
    {
        memset(file->Bytes + end, 0, file->End - end);
    }
    file->End = end;
}

static void model_access(MODEL_FILE *file, TEST_RANDOM *random, ULONG kind)
{
    static UCHAR buffer[20000];
    ULONG64 offset = TestBelow(random, MODEL_BYTES - sizeof(buffer));
    ULONG length = 1 + (ULONG)TestBelow(random, sizeof(buffer) - 1);

    switch (kind)
    {
    case 0: /* cached write */
        for (ULONG index = 0; index < length; index++)
        {
            buffer[index] = (UCHAR)TestDraw(random);
        }
        assert_int_equal(write_at(file->Handle, (LONGLONG)offset, buffer, length), STATUS_SUCCESS);
        memcpy(file->Bytes + offset, buffer, length);
        file->End = offset + length > file->End ? offset + length : file->End;
        break;
    case 1: /* cached read */
        if (offset < file->End)
        {
            assert_int_equal(read_at(file->Handle, (LONGLONG)offset, buffer, length), STATUS_SUCCESS);
            length = offset + length < file->End ? length : (ULONG)(file->End - offset);
            assert_int_equal(Iosb.Information, length);
            assert_memory_equal(buffer, file->Bytes + offset, length);
        }
        else
        {
            assert_int_equal(read_at(file->Handle, (LONGLONG)offset, buffer, length), STATUS_END_OF_FILE);
        }
        break;
    default: /* through the view */
        if (file->Base != 0)
        {
            offset %= file->Mapped;
            assert_int_equal(TestVmGet(file->Base + offset), file->Bytes[offset]);
            file->Bytes[offset] = (UCHAR)TestDraw(random);
            TestVmPut(file->Base + offset, file->Bytes[offset]);
        }
    }
}

static void model_step(MODEL_FILE *file, TEST_RANDOM *random)
{
    ULONG kind = (ULONG)TestBelow(random, 40);

    memcpy(Path, file->Path, sizeof(Path));
    switch (kind)
    {
    case 0:
        model_unmap(file);
        break;
    case 1:
    case 2:
    case 3:
        model_map(file);
        break;
    case 4:
        model_resize(file, TestBelow(random, MODEL_BYTES));
        break;
    case 5:
        TestVmTrimAll();
        break;
    case 6:
        MiEmptyWorkingSet(&MiState.Space->System);
        break;
    case 7:
        MiPurgeStandby(MI_PRIORITIES - 1);
        break;
    case 8:
        assert_int_equal(NtFlushBuffersFile(file->Handle, &Iosb), STATUS_SUCCESS);
        break;
    case 9:
        if (file->Base != 0)
        {
            assert_int_equal(flush_view(file->Base, 0), STATUS_SUCCESS);
        }
        break;
    case 10:
        KiAdvanceTime(TestBelow(random, 2000000000ull));
        KiStepWorkers();
        break;
    case 11: /* closed and opened again */
        if (file->Base == 0)
        {
            NtClose(file->Handle);
            file->Handle = open_file();
        }
        break;
    case 12:
        MiHurryMappedWriter();
        MiMappedWriterStep(NULL);
        break;
    default:
        model_access(file, random, kind % 8);
    }
}

static void model_compare_disk(const MODEL_FILE *file)
{
    int descriptor = open(file->Path, O_RDONLY);
    UCHAR *bytes = malloc(MODEL_BYTES + 1);

    assert_int_equal(read(descriptor, bytes, MODEL_BYTES + 1), file->End);
    assert_memory_equal(bytes, file->Bytes, file->End);
    close(descriptor);
    free(bytes);
    unlink(file->Path);
}

static void several_files_agree_with_an_oracle(void)
{
    TEST_RANDOM random = TestSeed("files model");
    char saved[96];

    memcpy(saved, Path, sizeof(saved));
    for (ULONG index = 0; index < MODEL_FILES; index++)
    {
        MODEL_FILE *file = &Files[index];

        snprintf(file->Path, sizeof(file->Path), "%s.%u", saved, index);
        memcpy(Path, file->Path, sizeof(Path));
        file->Handle = open_file();
        file->Bytes = calloc(1, MODEL_BYTES);
        file->End = 0;
        file->Base = 0;
    }
    for (ULONG64 step = 0; step < TestIterations(4000); step++)
    {
        model_step(&Files[TestBelow(&random, MODEL_FILES)], &random);
        if (step % 500 == 0)
        {
            MiCheckSections(2);
            IoCheckFiles();
        }
    }
    for (ULONG index = 0; index < MODEL_FILES; index++)
    {
        model_unmap(&Files[index]);
        NtClose(Files[index].Handle);
        model_compare_disk(&Files[index]);
        free(Files[index].Bytes);
    }
    memcpy(Path, saved, sizeof(Path));
}

/* ---- The suite: not in fixtures, cmocka takes the signals for itself between those and the test --------- */

static void run_in_machine(void (*test)(void))
{
    static const TEST_MACHINE machine = {
        .Deterministic = TRUE, .Seed = 1, .PagingFiles = 1, .Workers = TRUE, .RamMegabytes = 16
    };
    const char *base = getenv("TMPDIR");

    snprintf(Path, sizeof(Path), "%s/ntmm-mapped-%d", base != NULL ? base : "/tmp", (int)getpid());
    unlink(Path);
    TestEnterProcess(&machine);
    test();
    TestLeaveProcess();
    HostStorageClearFaults();
    unlink(Path);
}

#define FILE_TESTS(X)                                                                                        \
    X(a_view_shows_the_file_and_zeros_behind_its_end)                                                        \
    X(views_handles_and_the_cache_see_each_other)                                                            \
    X(a_repeated_job_reads_the_disk_once)                                                                    \
    X(pages_overwritten_as_a_whole_are_not_read)                                                             \
    X(sequential_reads_are_clustered)                                                                        \
    X(what_was_prefetched_is_not_read_again)                                                                 \
    X(prefetching_is_advice)                                                                                 \
    X(page_tables_of_system_space_stay)                                                                      \
    X(who_jumps_gets_blocks_while_there_is_room)                                                             \
    X(who_jumps_in_vain_gets_single_pages)                                                                   \
    X(a_writer_in_order_changes_only_what_he_writes)                                                         \
    X(copies_stay_private)                                                                                   \
    X(a_flush_reaches_the_file_and_nothing_more)                                                             \
    X(the_mapped_writer_writes_without_being_asked)                                                          \
    X(the_dirty_bit_is_never_lost)                                                                           \
    X(a_writable_section_makes_its_file_longer)                                                              \
    X(an_empty_file_cannot_be_mapped)                                                                        \
    X(a_mapped_file_is_not_made_shorter)                                                                     \
    X(a_file_that_somebody_made_longer_is_made_shorter)                                                      \
    X(growth_brings_zeros)                                                                                   \
    X(a_file_that_somebody_shortens_is_an_in_page_error)                                                     \
    X(a_failed_write_keeps_the_page)                                                                         \
    X(a_failed_read_is_an_error_of_that_page_alone)                                                          \
    X(every_failure_leaves_nothing)                                                                          \
    X(several_files_agree_with_an_oracle)

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
