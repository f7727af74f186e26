/* SPDX-License-Identifier: MIT */
/*
 * Large files through views: where views and frames lie, how much is read at once, writing in order. What is read is compared with what Linux wrote, what is
 * written with what Linux reads.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "process.h"

#include <fcntl.h>
#include <unistd.h>

#include "mapping/view.h"
#include "nt/boot.h"
#include "nt/file.h"

#define REGION ((ULONG64)2 << 20)

static char Path[96];
static IO_STATUS_BLOCK Iosb;

static UCHAR pattern(ULONG64 page)
{
    return (UCHAR)(page * 7 + (page >> 8) + 5);
}

/* Each page of the file has its pattern in the byte at its beginning and its end. */
static void make_file(ULONG64 pages)
{
    int descriptor = open(Path, O_CREAT | O_TRUNC | O_RDWR, 0600);
    UCHAR bytes[PAGE_SIZE] = { 0 };

    for (ULONG64 page = 0; page < pages; page++)
    {
        bytes[0] = bytes[PAGE_SIZE - 1] = pattern(page);
        assert_int_equal(write(descriptor, bytes, sizeof(bytes)), sizeof(bytes));
    }
    close(descriptor);
}

static ULONG_PTR map(ULONG64 offset, ULONG protect, PVOID wanted)
{
    static WCHAR text[256];
    UNICODE_STRING name = { .Buffer = text };
    LARGE_INTEGER start = { .QuadPart = (LONGLONG)offset };
    OBJECT_ATTRIBUTES attributes;
    HANDLE file, section;
    PVOID base = wanted;
    SIZE_T size = 0;

    for (size_t index = 0; Path[index] != 0; index++)
    {
        text[index] = (UCHAR)Path[index];
        name.Length = (USHORT)((index + 1) * sizeof(WCHAR));
    }
    InitializeObjectAttributes(&attributes, &name, 0, NULL, NULL);
    assert_int_equal(NtCreateFile(&file, GENERIC_READ | GENERIC_WRITE, &attributes, &Iosb, NULL,
                                  FILE_ATTRIBUTE_NORMAL, FILE_SHARE_READ | FILE_SHARE_WRITE, FILE_OPEN,
                                  FILE_NON_DIRECTORY_FILE, NULL, 0),
                     STATUS_SUCCESS);
    assert_int_equal(NtCreateSection(&section, SECTION_ALL_ACCESS, NULL, NULL, protect, SEC_COMMIT, file),
                     STATUS_SUCCESS);
    assert_int_equal(
        NtMapViewOfSection(section, NtCurrentProcess(), &base, 0, 0, &start, &size, ViewShare, 0, protect),
        STATUS_SUCCESS);
    NtClose(section);
    NtClose(file);
    return (ULONG_PTR)base;
}

static void unmap(ULONG_PTR base)
{
    assert_int_equal(NtUnmapViewOfSection(NtCurrentProcess(), (PVOID)base), STATUS_SUCCESS);
}

static void check_page(ULONG_PTR base, ULONG64 page)
{
    assert_int_equal(TestVmGet(base + page * PAGE_SIZE), pattern(page));
    assert_int_equal(TestVmGet(base + page * PAGE_SIZE + PAGE_SIZE - 1), pattern(page));
}

static PFN_NUMBER frame_of(ULONG_PTR address)
{
    PMMPTE entry;

    assert_int_equal(MiWalk(MiCurrentSpace()->TopLevel, address, &entry), 0);
    assert_true(MiReadPte(entry).Hard.Valid);
    return MiReadPte(entry).Hard.PageFrameNumber;
}

static void large_views_lie_in_2_mib_as_their_files_do(void)
{
    ULONG_PTR base[4];

    make_file(2000); /* the last 464 pages are less than a region */
    base[0] = map(0, PAGE_READONLY, NULL);
    base[1] = map(REGION, PAGE_READONLY, NULL);
    assert_int_equal(base[0] % REGION, 0);
    assert_int_equal(base[1] % REGION, 0);
    unmap(base[1]);
    /* What the caller says, and what cannot lie so, is as it was. */
    base[1] = map(0, PAGE_READONLY, (PVOID)(base[1] + 0x50000));
    check_page(base[1], 1999);
    base[2] = map(0x10000, PAGE_READONLY, NULL);
    check_page(base[2] - 0x10000, 16);
    base[3] = map(3 * REGION, PAGE_READONLY, NULL);
    check_page(base[3] - 3 * REGION, 1536);
    for (ULONG index = 0; index < 4; index++)
    {
        unmap(base[index]);
    }
}

static void frames_of_a_file_lie_in_2_mib_as_its_pages_do(void)
{
    ULONG alike = 0;
    ULONG_PTR base;

    make_file(2048);
    base = map(0, PAGE_READONLY, NULL);
    for (ULONG64 page = 0; page < 2048; page++)
    {
        check_page(base, page);
        alike += frame_of(base + page * PAGE_SIZE) % 512 == page % 512;
    }
    /* A preference: the machine has other things in its memory. */
    assert_true(alike > 1800);
    unmap(base);
}

static void a_reader_in_order_gets_ever_more_at_once(void)
{
    ULONG64 reads = MiQueryCounter(MiCounterMappedFileReads);
    ULONG64 faults = MiQueryCounter(MiCounterPageFaults);
    ULONG_PTR base;

    make_file(4096);
    base = map(0, PAGE_READONLY, NULL);
    for (ULONG64 page = 0; page < 4096; page++)
    {
        check_page(base, page);
    }
    assert_true(MiQueryCounter(MiCounterMappedFileReads) - reads < 40);
    assert_true(MiQueryCounter(MiCounterPageFaults) - faults < 120);
    unmap(base);
}

/* What is in memory is mapped over several tables with one fault, when he goes on in order; and stands by again afterwards, each page of it. */
static void a_second_reader_in_order_gets_several_tables_at_once(void)
{
    ULONG64 reads, faults, ahead, first, second;
    PFN_NUMBER standby;
    ULONG_PTR base;

    make_file(6144 + 100);
    base = map(0, PAGE_READONLY, NULL);
    for (ULONG64 page = 0; page < 6144 + 100; page++)
    {
        check_page(base, page);
    }
    unmap(base);
    standby = MiStandbyPages();
    reads = MiQueryCounter(MiCounterMappedFileReads);
    faults = MiQueryCounter(MiCounterPageFaults);
    ahead = MiQueryCounter(MiCounterPagesMappedAhead);
    base = map(0, PAGE_READONLY, NULL);
    for (ULONG64 page = 0; page < 6144 + 100; page++)
    {
        check_page(base, page);
    }
    first = MiQueryCounter(MiCounterPageFaults) - faults;
    assert_true(first < 40); /* 12 tables and a piece; what is available bounds the window */
    assert_int_equal(MiQueryCounter(MiCounterPagesMappedAhead) - ahead + first, 6144 + 100);
    assert_int_equal(MiQueryCounter(MiCounterMappedFileReads), reads);
    assert_true(MiStandbyPages() <= standby - 6144);
    assert_true(MiWorkingSetPages(MiCurrentSpace()) >= 6144 + 100);
    MmCheckSystem(3);
    unmap(base);
    assert_in_range(MiStandbyPages(), standby - 16, standby + 16); /* page tables come and go */
    /* A page that is not like the others ends what comes along, and is not changed by it. */
    base = map(0, PAGE_READONLY, NULL);
    {
        PVOID address = (PVOID)(base + 3000 * PAGE_SIZE);
        SIZE_T size = PAGE_SIZE;
        ULONG old;

        assert_int_equal(NtProtectVirtualMemory(NtCurrentProcess(), &address, &size, PAGE_NOACCESS, &old),
                         STATUS_SUCCESS);
    }
    faults = MiQueryCounter(MiCounterPageFaults);
    for (ULONG64 page = 0; page < 6144; page++)
    {
        if (page != 3000)
        {
            check_page(base, page);
        }
    }
    second = MiQueryCounter(MiCounterPageFaults) - faults;
    assert_in_range(second, first, 64);
    {
        PMMPTE entry;

        assert_int_equal(MiWalk(MiCurrentSpace()->TopLevel, base + 3000 * PAGE_SIZE, &entry), 0);
        assert_int_equal(MiReadPte(entry).Hard.Valid, 0);
    }
    MmCheckSystem(3);
    unmap(base);
}

static void who_goes_on_jumping_gets_ever_larger_blocks(void)
{
    ULONG64 reads, pages;
    ULONG_PTR base;

    make_file(6144);
    base = map(0, PAGE_READONLY, NULL);
    reads = MiQueryCounter(MiCounterMappedFileReads);
    pages = MiQueryCounter(MiCounterMappedPagesInput);
    for (ULONG64 touch = 0; touch < 8; touch++)
    {
        check_page(base, (touch * 1031 + 100) % 6144);
    }
    assert_int_equal(MiQueryCounter(MiCounterMappedFileReads) - reads, 8);
    assert_int_equal(MiQueryCounter(MiCounterMappedPagesInput) - pages, 8 * 32); /* he may want no more */
    for (ULONG64 touch = 8; touch < 3000; touch++)
    {
        check_page(base, (touch * 1031 + 100) % 6144);
    }
    /* The whole file was read, no page twice, in far fewer reads than there are blocks of 32. */
    assert_int_equal(MiQueryCounter(MiCounterMappedPagesInput) - pages, 6144);
    assert_true(MiQueryCounter(MiCounterMappedFileReads) - reads < 120);
    unmap(base);
}

static UCHAR byte_on_disk(int descriptor, ULONG64 offset)
{
    UCHAR byte = 0xee;

    assert_int_equal(pread(descriptor, &byte, 1, (off_t)offset), 1);
    return byte;
}

/* Flushing passes over chunks in which nothing was modified since they were found clean; what was modified never waits for that. */
static void what_is_written_after_a_flush_is_flushed_again(void)
{
    ULONG64 state = 99;
    int descriptor;
    ULONG_PTR base;

    make_file(2048 + 7);
    base = map(0, PAGE_READWRITE, NULL);
    descriptor = open(Path, O_RDONLY);
    for (ULONG round = 0; round < 400; round++)
    {
        ULONG64 page = (state = state * 6364136223846793005ull + 1442695040888963407ull, state >> 33) % 2055;
        ULONG64 first = round % 3 == 0 ? 0 : round % 3 == 1 ? page : page & ~511ull;
        PVOID address = (PVOID)(base + first * PAGE_SIZE);
        SIZE_T size = round % 3 == 0 ? 0 : round % 3 == 1 ? PAGE_SIZE : (page % 512 + 1) * PAGE_SIZE;

        TestVmPut(base + page * PAGE_SIZE + round, (UCHAR)(round + 1));
        if (round % 5 == 0)
        {
            MiEmptyWorkingSet(MiCurrentSpace());
        }
        assert_int_equal(NtFlushVirtualMemory(NtCurrentProcess(), &address, &size, &Iosb), STATUS_SUCCESS);
        assert_int_equal(byte_on_disk(descriptor, page * PAGE_SIZE + round), (UCHAR)(round + 1));
        if (round % 50 == 0)
        {
            MmCheckSystem(3);
        }
    }
    TestVmPut(base + 1000 * PAGE_SIZE + 3000, 0x77);
    unmap(base); /* the last close */
    assert_int_equal(byte_on_disk(descriptor, 1000 * PAGE_SIZE + 3000), 0x77);
    close(descriptor);
}

/* More than the machine has memory: pages are trimmed and written behind the writer while he goes on. */
static void what_a_writer_in_order_writes_reaches_the_file(void)
{
    const ULONG64 pages = 20000;
    PVOID address;
    SIZE_T size = 0;
    int descriptor;
    ULONG_PTR base;

    make_file(1);
    assert_int_equal(truncate(Path, (off_t)pages * PAGE_SIZE), 0);
    base = map(0, PAGE_READWRITE, NULL);
    address = (PVOID)base;
    for (ULONG64 page = 0; page < pages; page++)
    {
        if (page % 1000 != 999)
        {
            TestVmPut(base + page * PAGE_SIZE + (page * 97) % PAGE_SIZE, (UCHAR)(page % 255 + 1));
        }
    }
    descriptor = open(Path, O_RDWR);
    /* He passed over this one, and somebody else did not. */
    assert_int_equal(pwrite(descriptor, "!", 1, (off_t)(pages - 1) * PAGE_SIZE), 1);
    assert_int_equal(NtFlushVirtualMemory(NtCurrentProcess(), &address, &size, &Iosb), STATUS_SUCCESS);
    for (ULONG64 page = 0; page < pages; page++)
    {
        assert_int_equal(byte_on_disk(descriptor, page * PAGE_SIZE + (page * 97) % PAGE_SIZE),
                         page % 1000 == 999 ? 0 : page % 255 + 1);
    }
    assert_int_equal(byte_on_disk(descriptor, (pages - 1) * PAGE_SIZE), '!');
    close(descriptor);
    unmap(base);
}

/* Nothing but this test is at work: what was read, and how, depends on no clock. */
static void run_in_machine(void (*test)(void))
{
    static const TEST_MACHINE machine = {
        .Deterministic = TRUE, .Seed = 1, .PagingFiles = 1, .Workers = TRUE, .RamMegabytes = 64
    };
    const char *base = getenv("TMPDIR");

    snprintf(Path, sizeof(Path), "%s/ntmm-large-%d", base != NULL ? base : "/tmp", (int)getpid());
    unlink(Path);
    TestEnterProcess(&machine);
    test();
    TestLeaveProcess();
    unlink(Path);
}

#define LARGE_TESTS(X)                                                                                       \
    X(large_views_lie_in_2_mib_as_their_files_do)                                                            \
    X(frames_of_a_file_lie_in_2_mib_as_its_pages_do)                                                         \
    X(a_reader_in_order_gets_ever_more_at_once)                                                              \
    X(a_second_reader_in_order_gets_several_tables_at_once)                                                  \
    X(who_goes_on_jumping_gets_ever_larger_blocks)                                                           \
    X(what_is_written_after_a_flush_is_flushed_again)                                                        \
    X(what_a_writer_in_order_writes_reaches_the_file)

#define LARGE_WRAPPER(Name)                                                                                  \
    static void Name##_in_a_machine(void **state)                                                            \
    {                                                                                                        \
        (void)state;                                                                                         \
        run_in_machine(Name);                                                                                \
    }
LARGE_TESTS(LARGE_WRAPPER)

#define LARGE_ENTRY(Name) cmocka_unit_test(Name##_in_a_machine),

int main(void)
{
    const struct CMUnitTest tests[] = { LARGE_TESTS(LARGE_ENTRY) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
