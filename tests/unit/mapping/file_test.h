/* SPDX-License-Identifier: MIT */
/*
 * What tests of mapped files share: one file of Linux, opened, mapped, read and written through NT's services and looked at with ordinary system
 * calls; a machine around each test.
 */
#ifndef NTMM_TESTS_FILE_TEST_H
#define NTMM_TESTS_FILE_TEST_H

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

static inline NTSTATUS try_open(HANDLE *handle, ACCESS_MASK access, ULONG disposition, ULONG options)
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

static inline HANDLE open_file(void)
{
    HANDLE handle;

    assert_int_equal(try_open(&handle, GENERIC_READ | GENERIC_WRITE | DELETE, FILE_OPEN_IF, 0),
                     STATUS_SUCCESS);
    return handle;
}

static inline NTSTATUS try_section(HANDLE file, ULONG64 size, ULONG protect, HANDLE *section)
{
    LARGE_INTEGER maximum = { .QuadPart = (LONGLONG)size };

    return NtCreateSection(section, SECTION_ALL_ACCESS, NULL, size != 0 ? &maximum : NULL, protect,
                           SEC_COMMIT, file);
}

static inline NTSTATUS try_map(HANDLE section, ULONG64 offset, SIZE_T size, ULONG protect, ULONG_PTR *base)
{
    LARGE_INTEGER start = { .QuadPart = (LONGLONG)offset };
    PVOID address = NULL;
    NTSTATUS status =
        NtMapViewOfSection(section, NtCurrentProcess(), &address, 0, 0, &start, &size, ViewShare, 0, protect);

    *base = (ULONG_PTR)address;
    return status;
}

/* The whole file, or Size bytes of it, as one view. */
static inline ULONG_PTR map_file(HANDLE file, ULONG64 size, ULONG protect)
{
    HANDLE section;
    ULONG_PTR base;

    assert_int_equal(try_section(file, size, protect, &section), STATUS_SUCCESS);
    assert_int_equal(try_map(section, 0, 0, protect, &base), STATUS_SUCCESS);
    NtClose(section);
    return base;
}

static inline void unmap(ULONG_PTR base)
{
    assert_int_equal(NtUnmapViewOfSection(NtCurrentProcess(), (PVOID)base), STATUS_SUCCESS);
}

static inline NTSTATUS flush_view(ULONG_PTR base, SIZE_T size)
{
    PVOID address = (PVOID)base;

    return NtFlushVirtualMemory(NtCurrentProcess(), &address, &size, &Iosb);
}

static inline NTSTATUS write_at(HANDLE handle, LONGLONG offset, const void *buffer, ULONG length)
{
    LARGE_INTEGER position = { .QuadPart = offset };

    return NtWriteFile(handle, NULL, NULL, NULL, &Iosb, (PVOID)(ULONG_PTR)buffer, length, &position, NULL);
}

static inline NTSTATUS read_at(HANDLE handle, LONGLONG offset, void *buffer, ULONG length)
{
    LARGE_INTEGER position = { .QuadPart = offset };

    return NtReadFile(handle, NULL, NULL, NULL, &Iosb, buffer, length, &position, NULL);
}

static inline NTSTATUS set_end(HANDLE handle, LONGLONG end)
{
    FILE_END_OF_FILE_INFORMATION information = { .EndOfFile = { .QuadPart = end } };

    return NtSetInformationFile(handle, &Iosb, &information, sizeof(information), FileEndOfFileInformation);
}

static inline UCHAR pattern(ULONG64 offset)
{
    return (UCHAR)(offset * 31 + (offset >> 12) * 7 + 5);
}

/* A file with a pattern, made by Linux. */
static inline void make_file(ULONG64 size)
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

static inline UCHAR byte_on_disk(ULONG64 offset)
{
    int descriptor = open(Path, O_RDONLY);
    UCHAR byte = 0xee;

    assert_int_equal(pread(descriptor, &byte, 1, (off_t)offset), 1);
    close(descriptor);
    return byte;
}

static inline off_t size_on_disk(void)
{
    struct stat information;

    return stat(Path, &information) == 0 ? information.st_size : -1;
}

static inline ULONG64 pages_read(void)
{
    return MiQueryCounter(MiCounterMappedPagesInput);
}

/* Not in fixtures: cmocka takes the signals for itself between those and the test. */

static inline void run_in_machine(void (*test)(void))
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

#define FILE_WRAPPER(Name)                                                                                   \
    static void Name##_in_a_machine(void **state)                                                            \
    {                                                                                                        \
        (void)state;                                                                                         \
        run_in_machine(Name);                                                                                \
    }

#define FILE_ENTRY(Name) cmocka_unit_test(Name##_in_a_machine),

/* The program that runs the tests of a list. */
#define FILE_PROGRAM(Tests)                                                                                  \
    Tests(FILE_WRAPPER)                                                                                      \
                                                                                                             \
        int                                                                                                  \
        main(void)                                                                                           \
    {                                                                                                        \
        const struct CMUnitTest tests[] = { Tests(FILE_ENTRY) };                                             \
                                                                                                             \
        return cmocka_run_group_tests(tests, NULL, NULL);                                                    \
    }

#endif
