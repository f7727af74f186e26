/* SPDX-License-Identifier: MIT */
/*
 * What tests of mapping and pinning share: a file of more than two views of the cache with a pattern, the calls of a file system on it with what they raise as a
 * status, a log, and a machine around each test.
 */
#ifndef NTMM_TESTS_PIN_TEST_H
#define NTMM_TESTS_PIN_TEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "mapping/cache.h"
#include "nt/boot.h"
#include "nt/file.h"
#include "storage.h"

#define VIEW  VACB_MAPPING_GRANULARITY
#define SIZE  (2 * VIEW + 3 * PAGE_SIZE + 100u)
#define OTHER ((PVOID)((ULONG_PTR)&OtherOwner | 3))

static char Path[96];
static HANDLE Handle;
static PFILE_OBJECT File;
static IO_STATUS_BLOCK Iosb;
static ULONG64 OtherOwner;

/* ---- Helpers ------------------------------------------------------------------------------------------- */

static inline UCHAR pattern(ULONG64 offset)
{
    return (UCHAR)(offset * 37 + (offset >> 12) * 11 + 3);
}

static inline UCHAR byte_on_disk(ULONG64 offset)
{
    int descriptor = open(Path, O_RDONLY);
    UCHAR byte = 0;

    assert_int_equal(pread(descriptor, &byte, 1, (off_t)offset), 1);
    close(descriptor);
    return byte;
}

static inline void open_it(void)
{
    UCHAR *bytes = malloc(SIZE);
    static WCHAR text[96];
    UNICODE_STRING name = { .Buffer = text };
    OBJECT_ATTRIBUTES attributes;
    int descriptor = open(Path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

    for (ULONG index = 0; index < SIZE; index++)
    {
        bytes[index] = pattern(index);
    }
    assert_int_equal(write(descriptor, bytes, SIZE), SIZE);
    close(descriptor);
    free(bytes);
    for (size_t index = 0; Path[index] != 0; index++)
    {
        text[index] = (UCHAR)Path[index];
        name.Length = (USHORT)((index + 1) * sizeof(WCHAR));
    }
    InitializeObjectAttributes(&attributes, &name, 0, NULL, NULL);
    assert_int_equal(NtCreateFile(&Handle, GENERIC_READ | GENERIC_WRITE, &attributes, &Iosb, NULL, 0, 0,
                                  FILE_OPEN, FILE_NON_DIRECTORY_FILE, NULL, 0),
                     STATUS_SUCCESS);
    assert_int_equal(NtReferenceFile(Handle, 0, &File, NULL), STATUS_SUCCESS);
    assert_int_equal(CcpInitializeFile(File), STATUS_SUCCESS);
    KiCurrentThread()->CurrentMode = KernelMode; /* a file system */
}

static inline void close_it(void)
{
    KiCurrentThread()->CurrentMode = UserMode;
    ObDereferenceObjectBody(File);
    NtClose(Handle);
}

typedef enum
{
    MAP,
    PIN,
    PIN_MAPPED,
    PREPARE
} KIND;

typedef struct
{
    KIND Kind;
    ULONG64 Offset;
    ULONG Length, Flags;
    BOOLEAN Zero;
    PVOID Bcb, Buffer;
    BOOLEAN Result;
} CALL;

static inline VOID perform(PVOID context)
{
    CALL *call = context;
    LARGE_INTEGER offset = { .QuadPart = (LONGLONG)call->Offset };

    switch (call->Kind)
    {
    case MAP:
        call->Result = CcMapData(File, &offset, call->Length, call->Flags, &call->Bcb, &call->Buffer);
        break;
    case PIN:
        call->Result = CcPinRead(File, &offset, call->Length, call->Flags, &call->Bcb, &call->Buffer);
        break;
    case PIN_MAPPED:
        call->Result = CcPinMappedData(File, &offset, call->Length, call->Flags, &call->Bcb);
        break;
    case PREPARE:
        call->Result = CcPreparePinWrite(File, &offset, call->Length, call->Zero, call->Flags, &call->Bcb,
                                         &call->Buffer);
        break;
    }
}

static inline NTSTATUS try_call(CALL *call)
{
    return KiGuardedCall(perform, call, NULL);
}

static inline BOOLEAN may(KIND kind, ULONG64 offset, ULONG length, ULONG flags, CALL *call)
{
    *call = (CALL){ .Kind = kind, .Offset = offset, .Length = length, .Flags = flags };
    assert_int_equal(try_call(call), STATUS_SUCCESS);
    return call->Result;
}

static inline UCHAR *get(KIND kind, ULONG64 offset, ULONG length, ULONG flags, PVOID *bcb)
{
    CALL call;

    assert_true(may(kind, offset, length, flags, &call));
    *bcb = call.Bcb;
    return call.Buffer;
}

static inline NTSTATUS flush(void)
{
    IO_STATUS_BLOCK block;

    CcFlushCache(File->SectionObjectPointer, NULL, 0, &block);
    return block.Status;
}

static inline BOOLEAN purge(void)
{
    return CcPurgeCacheSection(File->SectionObjectPointer, NULL, 0, 0);
}

static inline PSHARED_CACHE_MAP cache_map(void)
{
    return File->SectionObjectPointer->SharedCacheMap;
}

static inline ULONG bcbs(void)
{
    ULONG count = 0;

    CcpLock();
    for (PRTL_BALANCED_NODE node = RtlAvlFirst(&cache_map()->Bcbs); node != NULL; node = RtlAvlNext(node))
    {
        count++;
    }
    CcpUnlock();
    return count;
}

static inline void let_time_pass(ULONG seconds)
{
    for (ULONG second = 0; second < seconds; second++)
    {
        KiAdvanceTime(1000000000ull);
        while (KiStepWorkers())
        {
        }
    }
}

/* ---- Dirty --------------------------------------------------------------------------------------------- */

static ULONG64 LogLsn; /* flushed up to */
static ULONG LogCalls;
static UCHAR SeenOnDisk; /* when the log was flushed */
static ULONG64 Watched;

static inline VOID NTAPI flush_log(PVOID handle, LARGE_INTEGER lsn)
{
    assert_ptr_equal(handle, &LogLsn);
    assert_int_equal(KeGetCurrentIrql(), PASSIVE_LEVEL);
    LogLsn = (ULONG64)lsn.QuadPart;
    LogCalls++;
    SeenOnDisk = byte_on_disk(Watched);
}

typedef struct
{
    ULONG Count;
    LONGLONG Offset, Oldest, Newest;
    ULONG Length;
} PAGES;

static inline VOID NTAPI note_dirty(PFILE_OBJECT file, PLARGE_INTEGER offset, ULONG length,
                                    PLARGE_INTEGER oldest, PLARGE_INTEGER newest, PVOID context1,
                                    PVOID context2)
{
    PAGES *pages = context1;

    assert_ptr_equal(file, cache_map()->FileObject);
    assert_null(context2);
    *pages = (PAGES){ pages->Count + 1, offset->QuadPart, oldest->QuadPart, newest->QuadPart, length };
}

static inline LONGLONG dirty_pages(PAGES *pages)
{
    *pages = (PAGES){ 0 };
    return CcGetDirtyPages(&LogLsn, note_dirty, pages, NULL).QuadPart;
}

static inline void change(ULONG64 offset, UCHAR byte, LONGLONG lsn)
{
    LARGE_INTEGER number = { .QuadPart = lsn };
    PVOID bcb;

    *get(PIN, offset, 1, PIN_WAIT | PIN_EXCLUSIVE, &bcb) = byte;
    CcSetDirtyPinnedData(bcb, lsn != 0 ? &number : NULL);
    CcUnpinData(bcb);
}

static inline void begin_log(void)
{
    LogLsn = 0;
    LogCalls = 0;
    CcSetLogHandleForFile(File, &LogLsn, flush_log);
}

/* ---- The suite ----------------------------------------------------------------------------------------- */

/* After: the machine has ended, the file is still there. */
static inline void run_in_machine(void (*test)(void), void (*after)(void))
{
    static const TEST_MACHINE machine = {
        .Deterministic = TRUE, .Seed = 1, .PagingFiles = 1, .Workers = TRUE
    };
    const char *base = getenv("TMPDIR");

    snprintf(Path, sizeof(Path), "%s/ntmm-pin-%d", base != NULL ? base : "/tmp", (int)getpid());
    TestEnterProcess(&machine);
    test();
    TestLeaveProcess();
    HostStorageClearFaults();
    if (after != NULL)
    {
        after(); /* the file is as the machine left it */
    }
    unlink(Path);
}

#define PIN_ENTRY(Name) cmocka_unit_test(Name##_in_a_machine),

#endif
