/* SPDX-License-Identifier: MIT */
/* Data sections of real files, and the cache beside them: one page for everybody, read once. */
#include "file_test.h"

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

/* ---- The suite ------------------------------------------------------------------------------------------ */

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
    X(copies_stay_private)

FILE_PROGRAM(FILE_TESTS)
