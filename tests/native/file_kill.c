/* SPDX-License-Identifier: MIT */
/*
 * What was flushed survives kill -9. Again and again a child boots a machine, writes numbered records through a view (and every third through the
 * cache), flushes, and then acknowledges the number over a pipe; the parent kills it at a random moment and looks at the file with ordinary reads: every
 * acknowledged record is there, and no page holds anything that was never written.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "nt/file.h"

#define RECORDS 64u /* pages of the file, and a part of one */
#define TAIL    100u

static char Path[96];

static HANDLE open_file(void)
{
    static WCHAR text[96];
    UNICODE_STRING name = { .Buffer = text };
    OBJECT_ATTRIBUTES attributes;
    IO_STATUS_BLOCK block;
    HANDLE handle;

    for (size_t index = 0; Path[index] != 0; index++)
    {
        text[index] = (UCHAR)Path[index];
        name.Length = (USHORT)((index + 1) * sizeof(WCHAR));
    }
    InitializeObjectAttributes(&attributes, &name, 0, NULL, NULL);
    if (NtCreateFile(&handle, GENERIC_READ | GENERIC_WRITE, &attributes, &block, NULL, 0, FILE_SHARE_READ,
                     FILE_OPEN, FILE_NON_DIRECTORY_FILE, NULL, 0) != STATUS_SUCCESS)
    {
        _exit(2);
    }
    return handle;
}

/* Version and record, at both ends of the page. */
static ULONG64 stamp(ULONG64 version, ULONG record)
{
    return (version << 16) | (record << 4) | 5;
}

static void put_word(ULONG_PTR va, ULONG64 word)
{
    for (ULONG byte = 0; byte < 8; byte++)
    {
        if (TestVmTryPut(va + byte, (UCHAR)(word >> (8 * byte))) != STATUS_SUCCESS)
        {
            _exit(3);
        }
    }
}

static void write_and_flush(HANDLE file, ULONG_PTR base, ULONG64 version, ULONG record)
{
    PVOID address = (PVOID)(base + record * PAGE_SIZE);
    ULONG64 word = stamp(version, record);
    SIZE_T size = PAGE_SIZE;
    IO_STATUS_BLOCK block;
    NTSTATUS status;

    if (version % 3 != 0)
    {
        put_word(base + record * PAGE_SIZE, word);
        put_word(base + record * PAGE_SIZE + TAIL - 8, word);
        status = NtFlushVirtualMemory(NtCurrentProcess(), &address, &size, &block);
    }
    else
    {
        LARGE_INTEGER offset = { .QuadPart = record * PAGE_SIZE };
        UCHAR bytes[TAIL] = { 0 };

        memcpy(bytes, &word, 8);
        memcpy(bytes + TAIL - 8, &word, 8);
        status = NtWriteFile(file, NULL, NULL, NULL, &block, bytes, TAIL, &offset, NULL);
        status = NT_SUCCESS(status) ? NtFlushBuffersFile(file, &block) : status;
    }
    if (!NT_SUCCESS(status))
    {
        _exit(4);
    }
}

/* Never returns. */
static void run_child(int acknowledge, ULONG64 version, ULONG64 seed)
{
    static const TEST_MACHINE machine = { .RamMegabytes = 16, .Processors = 2, .Workers = TRUE };
    TEST_RANDOM random = { .State = seed };
    HANDLE file, section;
    PVOID base = NULL;
    SIZE_T size = 0;

    TestEnterProcess(&machine);
    file = open_file();
    if (NtCreateSection(&section, SECTION_ALL_ACCESS, NULL, NULL, PAGE_READWRITE, SEC_COMMIT, file) !=
            STATUS_SUCCESS ||
        NtMapViewOfSection(section, NtCurrentProcess(), &base, 0, 0, NULL, &size, ViewShare, 0,
                           PAGE_READWRITE) != STATUS_SUCCESS)
    {
        _exit(5);
    }
    for (;; version++)
    {
        ULONG record = (ULONG)TestBelow(&random, RECORDS);
        ULONG64 message[2] = { version, record };

        write_and_flush(file, (ULONG_PTR)base, version, record);
        if (version % 16 == 0)
        {
            TestVmTrimAll();
        }
        if (write(acknowledge, message, sizeof(message)) != sizeof(message))
        {
            _exit(6);
        }
    }
}

/* The newest acknowledged version of each record; Torn: the death before came while it was being written, and nothing was acknowledged since. */
static ULONG64 Acknowledged[RECORDS];
static BOOLEAN Torn[RECORDS];

/* FALSE: neither what was acknowledged nor something newer. */
static BOOLEAN is_intact(ULONG64 word, ULONG record, ULONG64 newest)
{
    ULONG64 version = word >> 16;

    if (word == 0)
    {
        return Acknowledged[record] == 0;
    }
    return version >= Acknowledged[record] && version <= newest && word == stamp(version, record);
}

/* The record that was being written when death came may have any part of its new bytes; one at most. */
static void check_file(ULONG64 newest)
{
    int descriptor = open(Path, O_RDONLY);
    ULONG torn = 0;

    assert_int_equal(lseek(descriptor, 0, SEEK_END), (RECORDS - 1) * PAGE_SIZE + TAIL);
    for (ULONG record = 0; record < RECORDS; record++)
    {
        ULONG64 words[2] = { 0, 0 };

        assert_int_equal(pread(descriptor, &words[0], 8, record * PAGE_SIZE), 8);
        assert_int_equal(pread(descriptor, &words[1], 8, record * PAGE_SIZE + TAIL - 8), 8);
        if (!Torn[record] && !(is_intact(words[0], record, newest) && is_intact(words[1], record, newest)))
        {
            Torn[record] = TRUE;
            torn += 1;
        }
    }
    assert_true(torn <= 1);
    close(descriptor);
}

static void note_acknowledged(const ULONG64 *message, ULONG64 *version)
{
    Acknowledged[message[1]] = message[0];
    Torn[message[1]] = FALSE;
    *version = message[0] + 1;
}

static void one_life(ULONG64 *version, TEST_RANDOM *random)
{
    struct timespec moment = { 0, (long)TestBelow(random, 40000000) };
    ULONG64 message[2], first = *version;
    int pipes[2], status;
    pid_t child;

    assert_int_equal(pipe(pipes), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
    {
        close(pipes[0]);
        run_child(pipes[1], *version, TestDraw(random));
    }
    close(pipes[1]);
    /* The moment counts from the first acknowledgement, so that each life does something. */
    if (read(pipes[0], message, sizeof(message)) == sizeof(message))
    {
        note_acknowledged(message, version);
        nanosleep(&moment, NULL);
    }
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    while (read(pipes[0], message, sizeof(message)) == sizeof(message))
    {
        note_acknowledged(message, version);
    }
    close(pipes[0]);
    assert_true(*version > first);
    check_file(*version);
    *version += 1; /* what was begun has its version for itself */
}

static void what_was_flushed_survives_kill_9(void **state)
{
    const char *base = getenv("TMPDIR");
    TEST_RANDOM random = TestSeed("kill");
    ULONG64 version = 1;
    int descriptor;

    (void)state;
    snprintf(Path, sizeof(Path), "%s/ntmm-kill-%d", base != NULL ? base : "/tmp", (int)getpid());
    descriptor = open(Path, O_CREAT | O_TRUNC | O_RDWR, 0600);
    assert_int_equal(ftruncate(descriptor, (RECORDS - 1) * PAGE_SIZE + TAIL), 0);
    close(descriptor);
    for (ULONG64 life = 0; life < TestIterations(150); life++)
    {
        one_life(&version, &random);
    }
    print_message("%llu records were acknowledged\n", (unsigned long long)version);
    unlink(Path);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(what_was_flushed_survives_kill_9) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
