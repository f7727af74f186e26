/* SPDX-License-Identifier: MIT */
/*
 * MDLs of cached file data: they show and change the file's only pages, stay good whatever becomes of the cache's views, and leave nothing when they cannot be
 * made. Sources: Microsoft Learn, CcMdlRead, CcMdlReadComplete, CcPrepareMdlWrite, CcMdlWriteComplete, CcMdlWriteAbort.
 */
#include "mdl_test.h"

#include "host_sim.h"
#include "process.h"
#include "storage.h"

#include "mapping/cache.h"
#include "nt/file.h"

#include <errno.h>

#define SIZE (3 * VACB_MAPPING_GRANULARITY / 2 + 777u) /* two views, the end inside a page */

static HANDLE Handle;
static PFILE_OBJECT File;
static IO_STATUS_BLOCK Iosb;

static UCHAR Pattern(ULONG64 Offset)
{
    return (UCHAR)(Offset * 13 + (Offset >> 12) + 3);
}

static void OpenIt(ULONG Options)
{
    WCHAR Text[] = u"\\\\.\\Memory\\cached";
    UNICODE_STRING Name = { sizeof(Text) - sizeof(WCHAR), sizeof(Text), Text };
    OBJECT_ATTRIBUTES Attributes;
    LARGE_INTEGER Offset = { .QuadPart = 0 };
    UCHAR *Bytes = malloc(SIZE);

    for (ULONG Index = 0; Index < SIZE; Index++)
    {
        Bytes[Index] = Pattern(Index);
    }
    InitializeObjectAttributes(&Attributes, &Name, 0, NULL, NULL);
    assert_int_equal(NtCreateFile(&Handle, GENERIC_READ | GENERIC_WRITE, &Attributes, &Iosb, NULL, 0, 0,
                                  FILE_OPEN_IF, Options | FILE_NON_DIRECTORY_FILE, NULL, 0),
                     STATUS_SUCCESS);
    assert_int_equal(NtWriteFile(Handle, NULL, NULL, NULL, &Iosb, Bytes, SIZE, &Offset, NULL),
                     STATUS_SUCCESS);
    free(Bytes);
    assert_int_equal(NtReferenceFile(Handle, 0, &File, NULL), STATUS_SUCCESS);
    KiCurrentThread()->CurrentMode = KernelMode; /* a file system */
}

static void CloseIt(void)
{
    KiCurrentThread()->CurrentMode = UserMode;
    ObDereferenceObjectBody(File);
    NtClose(Handle);
}

typedef struct
{
    LARGE_INTEGER Offset;
    ULONG Length;
    BOOLEAN Write;
    PMDL Chain;
    IO_STATUS_BLOCK Block;
} REQUEST;

static VOID Make(PVOID Context)
{
    REQUEST *Request = Context;

    if (Request->Write)
    {
        CcPrepareMdlWrite(File, &Request->Offset, Request->Length, &Request->Chain, &Request->Block);
    }
    else
    {
        CcMdlRead(File, &Request->Offset, Request->Length, &Request->Chain, &Request->Block);
    }
}

static NTSTATUS TryMake(REQUEST *Request)
{
    return KiGuardedCall(Make, Request, NULL);
}

/* Every byte of the chain, which begins at Offset of the file. */
static void Visit(PMDL Chain, ULONG64 Offset, void (*Routine)(UCHAR *Byte, ULONG64 Offset))
{
    for (; Chain != NULL; Chain = Chain->Next)
    {
        UCHAR *Bytes = MmGetSystemAddressForMdlSafe(Chain, NormalPagePriority);

        assert_non_null(Bytes);
        for (ULONG Index = 0; Index < MmGetMdlByteCount(Chain); Index++)
        {
            Routine(&Bytes[Index], Offset++);
        }
    }
}

static void IsPattern(UCHAR *Byte, ULONG64 Offset)
{
    assert_int_equal(*Byte, Pattern(Offset));
}

static void Complement(UCHAR *Byte, ULONG64 Offset)
{
    UNREFERENCED_PARAMETER(Offset);
    *Byte ^= 0xff;
}

static void IsComplement(UCHAR *Byte, ULONG64 Offset)
{
    assert_int_equal(*Byte, (UCHAR)~Pattern(Offset));
}

static SIZE_T LockedPages(void)
{
    return __atomic_load_n(&MiState.Mdl->LockedPages, __ATOMIC_RELAXED);
}

static void a_chain_shows_the_file_whatever_becomes_of_the_views(void)
{
    REQUEST Request = { .Offset.QuadPart = 1234, .Length = 0xffffffff };
    IO_STATUS_BLOCK Block;

    OpenIt(0);
    assert_int_equal(TryMake(&Request), STATUS_SUCCESS);
    assert_int_equal(Request.Block.Information, SIZE - 1234); /* to the end of the file */
    assert_non_null(Request.Chain->Next);
    assert_null(Request.Chain->Next->Next);
    assert_int_equal(LockedPages(), BYTES_TO_PAGES(SIZE));
    CcFlushCache(File->SectionObjectPointer, NULL, 0, &Block);
    CcPurgeCacheSection(File->SectionObjectPointer, NULL, 0, 0);
    MiEmptyWorkingSet(&MiState.Space->System);
    MiPurgeStandby(MI_PRIORITIES - 1);
    Visit(Request.Chain, 1234, IsPattern);
    CcMdlReadComplete(File, Request.Chain);
    assert_int_equal(LockedPages(), 0);
    CloseIt();
}

static void reading_behind_the_end_raises(void)
{
    REQUEST Request = { .Offset.QuadPart = SIZE, .Length = 1 };

    OpenIt(0);
    assert_int_equal(TryMake(&Request), STATUS_END_OF_FILE);
    Request.Write = TRUE;
    Request.Offset.QuadPart = SIZE - 1;
    Request.Length = 2;
    assert_int_equal(TryMake(&Request), STATUS_END_OF_FILE);
    assert_null(Request.Chain);
    CloseIt();
}

static void CheckWritten(ULONG64 Offset, ULONG Length)
{
    UCHAR *Bytes = malloc(SIZE);
    SIZE_T Done;

    IoLockSizeShared(IoFileOf(File));
    assert_int_equal(CcpRead(File, 0, Bytes, SIZE, &Done), STATUS_SUCCESS);
    for (ULONG64 Each = 0; Each < SIZE; Each++)
    {
        (Each >= Offset && Each < Offset + Length ? IsComplement : IsPattern)(&Bytes[Each], Each);
    }
    assert_int_equal(IoReadStorage(IoFileOf(File), 0, Bytes, SIZE, &Done), STATUS_SUCCESS);
    for (ULONG64 Each = 0; Each < SIZE; Each++)
    {
        (Each >= Offset && Each < Offset + Length ? IsComplement : IsPattern)(&Bytes[Each], Each);
    }
    IoUnlockSizeShared(IoFileOf(File));
    free(Bytes);
}

static void what_is_written_into_a_chain_is_in_the_file(void)
{
    REQUEST Request = { .Offset.QuadPart = VACB_MAPPING_GRANULARITY - 5000, .Length = 9999, .Write = TRUE };
    IO_STATUS_BLOCK Block;

    OpenIt(0);
    CcFlushCache(File->SectionObjectPointer, NULL, 0, &Block);
    assert_int_equal(TryMake(&Request), STATUS_SUCCESS);
    assert_int_equal(Request.Block.Information, 9999);
    Visit(Request.Chain, 0, Complement);
    /* Written while the chain is there: the pages are written again for what came later. */
    CcFlushCache(File->SectionObjectPointer, NULL, 0, &Block);
    Visit(Request.Chain, 0, Complement);
    Visit(Request.Chain, 0, Complement);
    CcMdlWriteComplete(File, &Request.Offset, Request.Chain);
    CcFlushCache(File->SectionObjectPointer, NULL, 0, &Block);
    assert_int_equal(Block.Status, STATUS_SUCCESS);
    CheckWritten((ULONG64)Request.Offset.QuadPart, Request.Length);
    CloseIt();
}

static void write_through_reaches_the_disk_with_the_completion(void)
{
    REQUEST Request = { .Offset.QuadPart = 8192, .Length = 4096, .Write = TRUE };

    OpenIt(FILE_WRITE_THROUGH);
    assert_int_equal(TryMake(&Request), STATUS_SUCCESS);
    Visit(Request.Chain, 0, Complement);
    CcMdlWriteComplete(File, &Request.Offset, Request.Chain);
    CheckWritten(8192, 4096);
    CloseIt();
}

static void an_aborted_write_gives_the_pages_back(void)
{
    REQUEST Request = { .Offset.QuadPart = 100, .Length = 50000, .Write = TRUE };

    OpenIt(0);
    assert_int_equal(TryMake(&Request), STATUS_SUCCESS);
    assert_int_not_equal(LockedPages(), 0);
    CcMdlWriteAbort(File, Request.Chain);
    assert_int_equal(LockedPages(), 0);
    CloseIt();
}

static void a_chain_that_fails_leaves_nothing_locked(void)
{
    static const KI_INJECT Kinds[] = { KiInjectFrame, KiInjectPool, KiInjectCommit, KiInjectRead };

    OpenIt(0);
    for (ULONG Kind = 0; Kind < RTL_NUMBER_OF(Kinds); Kind++)
    {
        ULONG64 Failed = 1;

        for (ULONG64 Nth = 1; Failed != 0; Nth++)
        {
            REQUEST Request = { .Offset.QuadPart = 10, .Length = SIZE - 20, .Write = (BOOLEAN)(Nth & 1) };
            IO_STATUS_BLOCK Block;
            NTSTATUS Status;

            CcFlushCache(File->SectionObjectPointer, NULL, 0, &Block);
            CcPurgeCacheSection(File->SectionObjectPointer, NULL, 0, 0);
            KiSetInjection(Kinds[Kind], Nth, Kinds[Kind] != KiInjectFrame); /* for a frame one would wait */
            Status = TryMake(&Request);
            KiQueryInjection(Kinds[Kind], &Failed);
            KiSetInjection(Kinds[Kind], 0, FALSE);
            if (!NT_SUCCESS(Status))
            {
                assert_true(Status == STATUS_INSUFFICIENT_RESOURCES || Status == STATUS_NO_MEMORY ||
                            Status == STATUS_IO_DEVICE_ERROR || Status == STATUS_COMMITMENT_LIMIT);
                assert_null(Request.Chain);
                assert_int_equal(LockedPages(), 0);
                continue;
            }
            Visit(Request.Chain, 10, IsPattern);
            CcMdlReadComplete(File, Request.Chain);
        }
    }
    CloseIt();
}

/* ---- The suite: not in fixtures, cmocka takes the signals for itself between those and the test --------- */

#define CHAIN_TESTS(X)                                                                                       \
    X(a_chain_shows_the_file_whatever_becomes_of_the_views)                                                  \
    X(reading_behind_the_end_raises)                                                                         \
    X(what_is_written_into_a_chain_is_in_the_file)                                                           \
    X(write_through_reaches_the_disk_with_the_completion)                                                    \
    X(an_aborted_write_gives_the_pages_back)                                                                 \
    X(a_chain_that_fails_leaves_nothing_locked)

#define CHAIN_WRAPPER(Name)                                                                                  \
    static void Name##_in_a_machine(void **State)                                                            \
    {                                                                                                        \
        static const TEST_MACHINE Machine = {                                                                \
            .Deterministic = TRUE, .Seed = 1, .PagingFiles = 1, .Workers = TRUE                              \
        };                                                                                                   \
                                                                                                             \
        (void)State;                                                                                         \
        TestEnterProcess(&Machine);                                                                          \
        Name();                                                                                              \
        TestLeaveProcess();                                                                                  \
    }
CHAIN_TESTS(CHAIN_WRAPPER)

#define CHAIN_ENTRY(Name) cmocka_unit_test(Name##_in_a_machine),

int main(void)
{
    const struct CMUnitTest Tests[] = { CHAIN_TESTS(CHAIN_ENTRY) };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
