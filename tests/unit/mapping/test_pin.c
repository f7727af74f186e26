/* SPDX-License-Identifier: MIT */
/*
 * Mapping and pinning in the cache, as a file system uses it: one range, one BCB, one owner at a time where it matters; nothing of a logged file reaches the disk
 * before its log. Sources: Microsoft Learn, CcMapData, CcPinRead, CcPinMappedData, CcPreparePinWrite, CcSetDirtyPinnedData, CcUnpinData(ForThread),
 * CcSetBcbOwnerPointer, CcRemapBcb, CcRepinBcb, CcUnpinRepinnedBcb, CcGetDirtyPages, CcSetLogHandleForFile, MmSetAddressRangeModified.
 */
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

static UCHAR pattern(ULONG64 offset)
{
    return (UCHAR)(offset * 37 + (offset >> 12) * 11 + 3);
}

static UCHAR byte_on_disk(ULONG64 offset)
{
    int descriptor = open(Path, O_RDONLY);
    UCHAR byte = 0;

    assert_int_equal(pread(descriptor, &byte, 1, (off_t)offset), 1);
    close(descriptor);
    return byte;
}

static void open_it(void)
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

static void close_it(void)
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

static VOID perform(PVOID context)
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

static NTSTATUS try_call(CALL *call)
{
    return KiGuardedCall(perform, call, NULL);
}

static BOOLEAN may(KIND kind, ULONG64 offset, ULONG length, ULONG flags, CALL *call)
{
    *call = (CALL){ .Kind = kind, .Offset = offset, .Length = length, .Flags = flags };
    assert_int_equal(try_call(call), STATUS_SUCCESS);
    return call->Result;
}

static UCHAR *get(KIND kind, ULONG64 offset, ULONG length, ULONG flags, PVOID *bcb)
{
    CALL call;

    assert_true(may(kind, offset, length, flags, &call));
    *bcb = call.Bcb;
    return call.Buffer;
}

static NTSTATUS flush(void)
{
    IO_STATUS_BLOCK block;

    CcFlushCache(File->SectionObjectPointer, NULL, 0, &block);
    return block.Status;
}

static BOOLEAN purge(void)
{
    return CcPurgeCacheSection(File->SectionObjectPointer, NULL, 0, 0);
}

static PSHARED_CACHE_MAP cache_map(void)
{
    return File->SectionObjectPointer->SharedCacheMap;
}

static ULONG bcbs(void)
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

static void let_time_pass(ULONG seconds)
{
    for (ULONG second = 0; second < seconds; second++)
    {
        KiAdvanceTime(1000000000ull);
        while (KiStepWorkers())
        {
        }
    }
}

/* ---- Mapping ------------------------------------------------------------------------------------------- */

static void mapped_data_lies_in_the_cache(void)
{
    PVOID bcb, again;
    UCHAR *bytes;

    open_it();
    bytes = get(MAP, VIEW - 5000, 5000, MAP_WAIT, &bcb);
    assert_int_equal((ULONG_PTR)bcb & 1, 1); /* the read-only indicator */
    for (ULONG index = 0; index < 5000; index++)
    {
        assert_int_equal(bytes[index], pattern(VIEW - 5000 + index));
    }
    assert_ptr_equal(CcGetFileObjectFromBcb(bcb), cache_map()->FileObject);
    assert_false(purge()); /* somebody has mapped something */
    MiEmptyWorkingSet(&MiState.Space->System);
    MiPurgeStandby(MI_PRIORITIES - 1);
    assert_int_equal(bytes[1], pattern(VIEW - 4999)); /* pageable, at the same address */
    again = CcRemapBcb(bcb);
    CcUnpinData(bcb);
    assert_int_equal(bytes[2], pattern(VIEW - 4998));
    CcUnpinData(again);
    assert_true(purge());
    close_it();
}

static void a_range_lies_in_one_view_of_the_section(void)
{
    static const struct
    {
        ULONG64 Offset;
        ULONG Length;
        NTSTATUS Status;
    } Cases[] = {
        { 0, 0, STATUS_INVALID_PARAMETER },
        { VIEW - 1, 2, STATUS_INVALID_PARAMETER },
        { 0, VIEW + 1, STATUS_INVALID_PARAMETER },
        { ~0ull, 1, STATUS_INVALID_PARAMETER },
        { 1ull << 62, 1, STATUS_END_OF_FILE },
        { ROUND_TO_PAGES(SIZE), 1, STATUS_END_OF_FILE },
        { SIZE - 1, PAGE_SIZE, STATUS_END_OF_FILE },
        { VIEW, VIEW, STATUS_SUCCESS },
        { SIZE - 1, 1, STATUS_SUCCESS },
    };

    open_it();
    for (ULONG index = 0; index < RTL_NUMBER_OF(Cases); index++)
    {
        for (ULONG kind = MAP; kind <= PREPARE; kind++)
        {
            CALL call = { .Kind = (KIND)kind,
                          .Offset = Cases[index].Offset,
                          .Length = Cases[index].Length,
                          .Flags = PIN_WAIT };

            if (kind != PIN_MAPPED)
            {
                assert_int_equal(try_call(&call), Cases[index].Status);
                if (Cases[index].Status == STATUS_SUCCESS)
                {
                    CcUnpinData(call.Bcb);
                }
            }
        }
    }
    close_it();
}

static void who_may_not_wait_is_told_so(void)
{
    CALL call;

    open_it();
    assert_false(may(MAP, 0, 10, 0, &call));
    assert_false(may(PIN, VIEW, 10, 0, &call));
    let_time_pass(1); /* the reads that were started end */
    assert_true(may(MAP, 0, 10, 0, &call));
    CcUnpinData(call.Bcb);
    assert_true(may(PIN, VIEW, 10, 0, &call));
    assert_int_equal(((UCHAR *)call.Buffer)[3], pattern(VIEW + 3));
    CcUnpinData(call.Bcb);
    /* Nothing is read for these, so nothing has to be waited for. */
    assert_true(purge());
    MiPurgeStandby(MI_PRIORITIES - 1);
    {
        ULONG64 reads = IoFileOf(File)->Reads + MiState.Paging->InPageInUse;

        assert_true(may(MAP, 2 * VIEW, 10, MAP_NO_READ, &call));
        CcUnpinData(call.Bcb);
        assert_true(may(PIN, 2 * VIEW, 10, PIN_NO_READ, &call));
        assert_int_equal(IoFileOf(File)->Reads + MiState.Paging->InPageInUse, reads);
        assert_int_equal(MiCountSegmentPages(cache_map()->ControlArea->Segment), 0);
        assert_int_equal(((UCHAR *)call.Buffer)[5], pattern(2 * VIEW + 5));
        CcUnpinData(call.Bcb);
    }
    close_it();
}

/* ---- Pinning ------------------------------------------------------------------------------------------- */

static void a_range_has_one_bcb_however_often_it_is_pinned(void)
{
    PVOID first, second;
    PUBLIC_BCB *public;
    UCHAR *bytes;

    open_it();
    bytes = get(PIN, 3 * PAGE_SIZE + 10, 2 * PAGE_SIZE, PIN_WAIT, &first);
    public = first;
    assert_int_equal((ULONG_PTR)first & 1, 0);
    assert_int_equal(public->MappedFileOffset.QuadPart, 3 * PAGE_SIZE);
    assert_int_equal(public->MappedLength, 3 * PAGE_SIZE);
    assert_int_equal(bytes[0], pattern(3 * PAGE_SIZE + 10));
    bytes = get(PIN, 4 * PAGE_SIZE, 1, PIN_WAIT, &second); /* inside */
    assert_ptr_equal(second, first);
    assert_int_equal(bytes[0], pattern(4 * PAGE_SIZE));
    assert_int_equal(bcbs(), 1);
    CcUnpinData(first);
    assert_false(purge());
    CcUnpinData(second);
    assert_int_equal(bcbs(), 0);
    assert_true(purge());
    close_it();
}

static void overlapping_ranges_share_their_bcbs(void)
{
    PVOID left, right, both, part;
    PUBLIC_BCB *public;
    CALL call;

    open_it();
    (void)get(PIN, 0, 2 * PAGE_SIZE, PIN_WAIT, &left);
    (void)get(PIN, 4 * PAGE_SIZE, PAGE_SIZE, PIN_WAIT, &right);
    (void)get(PIN, PAGE_SIZE, 7 * PAGE_SIZE, PIN_WAIT, &both); /* and two gaps */
    public = both;
    assert_int_equal(public->MappedFileOffset.QuadPart, 0);
    assert_int_equal(public->MappedLength, 8 * PAGE_SIZE);
    assert_int_equal(bcbs(), 4);
    CcUnpinData(left);
    CcUnpinData(right);
    CcSetBcbOwnerPointer(both, OTHER);
    (void)get(PIN, 2 * PAGE_SIZE, 100, PIN_WAIT, &part);
    assert_int_equal(bcbs(), 4);
    /* Part of what another one has: shared at most. */
    assert_false(may(PIN, 6 * PAGE_SIZE, 1, PIN_EXCLUSIVE, &call));
    assert_false(may(PIN, 0, 1, PIN_EXCLUSIVE, &call));
    CcUnpinData(part);
    CcUnpinDataForThread(both, (ERESOURCE_THREAD)OTHER);
    assert_int_equal(bcbs(), 0);
    (void)get(PIN, 0, 2 * PAGE_SIZE, PIN_WAIT, &left);
    assert_true(may(PIN, 0, 5 * PAGE_SIZE, PIN_EXCLUSIVE, &call)); /* the same thread's, and nobody else's */
    CcUnpinData(call.Bcb);
    CcUnpinData(left);
    close_it();
}

static void exclusive_means_nobody_else(void)
{
    PVOID bcb;
    CALL call;

    open_it();
    (void)get(PIN, 0, PAGE_SIZE, PIN_WAIT | PIN_EXCLUSIVE, &bcb);
    assert_true(may(PIN, 0, PAGE_SIZE, 0, &call)); /* its owner may, in either way */
    CcUnpinData(call.Bcb);
    CcSetBcbOwnerPointer(bcb, OTHER);
    assert_false(may(PIN, 0, PAGE_SIZE, 0, &call));
    assert_false(may(PIN, 10, 1, PIN_EXCLUSIVE, &call));
    assert_false(may(PREPARE, 10, 1, 0, &call));
    assert_true(may(MAP, 0, PAGE_SIZE, 0, &call)); /* mapping is no lock */
    CcUnpinData(call.Bcb);
    CcUnpinDataForThread(bcb, (ERESOURCE_THREAD)OTHER);
    assert_true(may(PIN, 0, PAGE_SIZE, 0, &call));
    CcSetBcbOwnerPointer(call.Bcb, OTHER);
    bcb = call.Bcb;
    assert_true(may(PIN, 0, PAGE_SIZE, 0, &call)); /* shared by two */
    CcUnpinDataForThread(bcb, (ERESOURCE_THREAD)OTHER);
    CcUnpinData(call.Bcb);
    close_it();
}

static void Unpin(void *bcb)
{
    CcUnpinData(bcb);
}

static void SetDirty(void *bcb)
{
    CcSetDirtyPinnedData(bcb, NULL);
}

static void misuse_is_a_bug_check(void)
{
    PVOID bcb, mapped;

    open_it();
    (void)get(PIN, 0, PAGE_SIZE, PIN_WAIT, &bcb);
    CcSetBcbOwnerPointer(bcb, OTHER);
    TestExpectBugCheck(RESOURCE_NOT_OWNED, Unpin, bcb); /* CcUnpinDataForThread is meant */
    assert_int_equal(TestBugCheckParameters[0], (ULONG_PTR)bcb);
    KiResumeAfterBugCheck(KiCurrentThread());
    KiReleasePushLockExclusive(&MiState.Mapping->Lock); /* the bug check came under it */
    CcUnpinDataForThread(bcb, (ERESOURCE_THREAD)OTHER);
    (void)get(MAP, 0, PAGE_SIZE, MAP_WAIT, &mapped);
    TestExpectBugCheck(CACHE_MANAGER, SetDirty,
                       mapped); /* "data that is mapped but not pinned cannot safely be modified" */
    KiResumeAfterBugCheck(KiCurrentThread());
    CcUnpinData(mapped);
    close_it();
}

static void mapped_data_is_pinned_in_place(void)
{
    UCHAR *bytes;
    CALL call;
    PVOID bcb;

    open_it();
    bytes = get(MAP, 100, 5000, MAP_WAIT, &bcb);
    call = (CALL){
        .Kind = PIN_MAPPED, .Offset = 100, .Length = 5000, .Flags = PIN_WAIT | PIN_IF_BCB, .Bcb = bcb
    };
    assert_int_equal(try_call(&call), STATUS_SUCCESS);
    assert_false(call.Result); /* "the pin fails and Bcb is set to NULL" */
    assert_null(call.Bcb);
    call.Bcb = bcb;
    call.Flags = PIN_WAIT;
    assert_int_equal(try_call(&call), STATUS_SUCCESS);
    assert_true(call.Result);
    assert_int_equal((ULONG_PTR)call.Bcb & 1, 0);
    assert_int_equal(bytes[7], pattern(107)); /* the pointer remains valid */
    bcb = call.Bcb;
    assert_int_equal(try_call(&call), STATUS_SUCCESS); /* pinned already */
    assert_ptr_equal(call.Bcb, bcb);
    CcUnpinData(bcb); /* one for both */
    assert_int_equal(bcbs(), 0);
    assert_true(purge());
    close_it();
}

/* ---- Dirty --------------------------------------------------------------------------------------------- */

static ULONG64 LogLsn; /* flushed up to */
static ULONG LogCalls;
static UCHAR SeenOnDisk; /* when the log was flushed */
static ULONG64 Watched;

static VOID NTAPI flush_log(PVOID handle, LARGE_INTEGER lsn)
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

static VOID NTAPI note_dirty(PFILE_OBJECT file, PLARGE_INTEGER offset, ULONG length, PLARGE_INTEGER oldest,
                             PLARGE_INTEGER newest, PVOID context1, PVOID context2)
{
    PAGES *pages = context1;

    assert_ptr_equal(file, cache_map()->FileObject);
    assert_null(context2);
    *pages = (PAGES){ pages->Count + 1, offset->QuadPart, oldest->QuadPart, newest->QuadPart, length };
}

static LONGLONG dirty_pages(PAGES *pages)
{
    *pages = (PAGES){ 0 };
    return CcGetDirtyPages(&LogLsn, note_dirty, pages, NULL).QuadPart;
}

static void change(ULONG64 offset, UCHAR byte, LONGLONG lsn)
{
    LARGE_INTEGER number = { .QuadPart = lsn };
    PVOID bcb;

    *get(PIN, offset, 1, PIN_WAIT | PIN_EXCLUSIVE, &bcb) = byte;
    CcSetDirtyPinnedData(bcb, lsn != 0 ? &number : NULL);
    CcUnpinData(bcb);
}

static void begin_log(void)
{
    LogLsn = 0;
    LogCalls = 0;
    CcSetLogHandleForFile(File, &LogLsn, flush_log);
}

static void the_log_is_written_before_the_data(void)
{
    PAGES pages;
    KIRQL irql;

    open_it();
    begin_log();
    Watched = 5 * PAGE_SIZE + 1;
    change(Watched, 0x77, 40);
    change(Watched + 1, 0x78, 20);
    change(9 * PAGE_SIZE, 0x79, 50);
    change(2 * VIEW, 0x7a, 30);
    KeRaiseIrql(DISPATCH_LEVEL, &irql);
    assert_int_equal(dirty_pages(&pages), 20);
    KeLowerIrql(irql);
    assert_int_equal(pages.Count, 3);
    assert_int_equal(pages.Offset, 2 * VIEW);
    assert_int_equal(pages.Length, PAGE_SIZE);
    assert_int_equal(pages.Oldest, 30);
    assert_int_equal(CcGetDirtyPages(&Watched, note_dirty, &pages, NULL).QuadPart, 0); /* another log */
    assert_int_equal(byte_on_disk(Watched), pattern(Watched));
    assert_int_equal(flush(), STATUS_SUCCESS);
    assert_int_equal(LogLsn, 50);
    assert_int_equal(LogCalls, 1);
    assert_int_equal(SeenOnDisk, pattern(Watched));
    assert_int_equal(byte_on_disk(Watched), 0x77);
    assert_int_equal(byte_on_disk(Watched + 1), 0x78);
    assert_int_equal(byte_on_disk(9 * PAGE_SIZE), 0x79);
    assert_int_equal(byte_on_disk(2 * VIEW), 0x7a);
    assert_int_equal(dirty_pages(&pages), 0);
    assert_int_equal(pages.Count, 0);
    assert_int_equal(bcbs(), 0);
    close_it();
}

/* User mode's flush of a view of the same file, too. */
static void a_flushed_view_waits_for_the_log(void)
{
    HANDLE section;
    PVOID base = NULL;
    SIZE_T size = 0;

    open_it();
    begin_log();
    Watched = PAGE_SIZE;
    change(Watched, 0x41, 7);
    KiCurrentThread()->CurrentMode = UserMode;
    assert_int_equal(
        NtCreateSection(&section, SECTION_ALL_ACCESS, NULL, NULL, PAGE_READWRITE, SEC_COMMIT, Handle),
        STATUS_SUCCESS);
    assert_int_equal(NtMapViewOfSection(section, NtCurrentProcess(), &base, 0, 0, NULL, &size, ViewShare, 0,
                                        PAGE_READWRITE),
                     STATUS_SUCCESS);
    assert_int_equal(NtFlushVirtualMemory(NtCurrentProcess(), &base, &size, &Iosb), STATUS_SUCCESS);
    assert_int_equal(LogLsn, 7);
    assert_int_equal(SeenOnDisk, pattern(Watched));
    assert_int_equal(byte_on_disk(Watched), 0x41);
    assert_int_equal(NtUnmapViewOfSection(NtCurrentProcess(), base), STATUS_SUCCESS);
    NtClose(section);
    close_it();
}

static void the_mapped_page_writer_leaves_logged_files_alone(void)
{
    PVOID bcb;

    open_it();
    begin_log();
    Watched = 3;
    CcSetAdditionalCacheAttributes(File, FALSE, TRUE); /* no lazy writer */
    change(3, 0x51, 1);
    change(VIEW + 3, 0x52, 2);
    MiEmptyWorkingSet(&MiState.Space->System);
    let_time_pass(3);
    assert_int_equal(byte_on_disk(3), pattern(3));
    assert_int_equal(MiListTotal(&MiState.Physical->ModifiedNoWriteList), 2);
    assert_int_equal(LogCalls, 0);
    /* Such a page is used again like any other one. */
    assert_int_equal(*get(MAP, VIEW + 3, 1, MAP_WAIT, &bcb), 0x52);
    assert_int_equal(MiListTotal(&MiState.Physical->ModifiedNoWriteList), 1);
    CcUnpinData(bcb);
    MmCheckSystem(3);
    CcSetAdditionalCacheAttributes(File, FALSE, FALSE);
    let_time_pass(2);
    assert_int_equal(LogLsn, 2);
    assert_int_equal(byte_on_disk(3), 0x51);
    assert_int_equal(byte_on_disk(VIEW + 3), 0x52);
    assert_int_equal(MiListTotal(&MiState.Physical->ModifiedNoWriteList), 0);
    close_it();
}

static void the_lazy_writer_passes_over_who_is_changing(void)
{
    PVOID bcb;
    UCHAR *bytes;

    open_it();
    change(PAGE_SIZE, 0x31, 0);
    bytes = get(PIN, 0, 1, PIN_WAIT | PIN_EXCLUSIVE, &bcb);
    *bytes = 0x30;
    CcSetDirtyPinnedData(bcb, NULL);
    CcSetBcbOwnerPointer(bcb, OTHER);
    let_time_pass(3);
    assert_int_equal(byte_on_disk(0), pattern(0));
    assert_int_equal(byte_on_disk(PAGE_SIZE), 0x31);
    CcUnpinDataForThread(bcb, (ERESOURCE_THREAD)OTHER);
    let_time_pass(2);
    assert_int_equal(byte_on_disk(0), 0x30);
    assert_int_equal(bcbs(), 0);
    close_it();
}

/* Dirty BCBs keep a file cached that nobody has open any more, until they are written. */
static void a_closed_file_is_written_and_then_gone(void)
{
    CACHE_UNINITIALIZE_EVENT event = { .Next = NULL };

    open_it();
    begin_log();
    Watched = 0;
    KeInitializeEvent(&event.Event, NotificationEvent, FALSE);
    change(0, 0x61, 9);
    assert_false(CcUninitializeCacheMap(File, NULL, &event));
    assert_int_equal(KeReadStateEvent(&event.Event), 0);
    let_time_pass(2);
    assert_int_not_equal(KeReadStateEvent(&event.Event), 0);
    assert_false(CcIsFileCached(File));
    assert_int_equal(LogLsn, 9);
    assert_int_equal(byte_on_disk(0), 0x61);
    close_it();
}

static void what_is_dirty_at_the_end_of_the_machine_is_written(void)
{
    open_it();
    change(VIEW, 0x62, 0);
    close_it(); /* and the machine ends */
}

static void prepared_pages_are_dirty_and_zero(void)
{
    PAGES pages;
    UCHAR *bytes;
    CALL call = { .Kind = PREPARE, .Offset = 100, .Length = 2 * PAGE_SIZE, .Zero = TRUE, .Flags = PIN_WAIT };

    open_it();
    begin_log();
    assert_int_equal(try_call(&call), STATUS_SUCCESS);
    assert_true(call.Result);
    bytes = call.Buffer;
    assert_int_equal(bytes[-1], pattern(99));
    for (ULONG index = 0; index < 2 * PAGE_SIZE; index++)
    {
        assert_int_equal(bytes[index], 0);
    }
    assert_int_equal(bytes[2 * PAGE_SIZE], pattern(100 + 2 * PAGE_SIZE));
    assert_int_equal(dirty_pages(&pages), 0); /* no LSN yet */
    assert_int_equal(pages.Count, 1);
    bytes[5] = 0x44;
    CcUnpinData(call.Bcb);
    assert_int_equal(flush(), STATUS_SUCCESS);
    assert_int_equal(LogCalls, 0);
    assert_int_equal(byte_on_disk(99), pattern(99));
    assert_int_equal(byte_on_disk(105), 0x44);
    assert_int_equal(byte_on_disk(106), 0);
    /* The caller keeps the books: no flag but this one counts, and Zero does not. */
    call.Offset = VIEW;
    call.Flags = PIN_CALLER_TRACKS_DIRTY_DATA | PIN_IF_BCB | PIN_EXCLUSIVE;
    assert_int_equal(try_call(&call), STATUS_SUCCESS);
    assert_true(call.Result);
    assert_int_equal(((UCHAR *)call.Buffer)[1], pattern(VIEW + 1));
    (void)dirty_pages(&pages);
    assert_int_equal(pages.Count, 0);
    assert_true(MmSetAddressRangeModified(call.Buffer, 2 * PAGE_SIZE));
    assert_int_equal(MiReadPfnEntry(MiPfn(MmGetPhysicalAddress(call.Buffer).QuadPart >> PAGE_SHIFT)).Modified,
                     1);
    assert_false(MmSetAddressRangeModified(&MiState, 1)); /* not in the cache */
    assert_false(MmSetAddressRangeModified(call.Buffer, 0));
    CcUnpinData(call.Bcb);
    assert_int_equal(bcbs(), 0);
    close_it();
}

static ULONG64 pages_read(void)
{
    return MiQueryCounter(MiCounterMappedPagesInput);
}

/* Documented: pages to be completely overwritten may be zeros. What of a page stays is read. */
static void what_is_prepared_as_a_whole_is_not_read(void)
{
    HOST_STORAGE_FAULT fault = { .Kind = HOST_FAULT_READ, .Nth = 1, .Count = 0, .Error = EIO };
    CALL call = { .Kind = PREPARE, .Offset = 2 * PAGE_SIZE, .Length = 8 * PAGE_SIZE, .Flags = PIN_WAIT };
    ULONG64 before;
    UCHAR *bytes;

    open_it();
    before = pages_read();
    assert_int_equal(try_call(&call), STATUS_SUCCESS);
    assert_true(call.Result);
    bytes = call.Buffer;
    for (ULONG index = 0; index < 8 * PAGE_SIZE; index++)
    {
        assert_int_equal(bytes[index], 0);
        bytes[index] = 0x31;
    }
    assert_int_equal(pages_read(), before);
    CcUnpinData(call.Bcb);
    /* Both ends in the middle of a page; no waiting is needed for what lies between. */
    call = (CALL){ .Kind = PREPARE, .Offset = 20 * PAGE_SIZE + 5, .Length = 4 * PAGE_SIZE };
    assert_int_equal(try_call(&call), STATUS_SUCCESS);
    assert_false(call.Result);
    call.Flags = PIN_WAIT;
    assert_int_equal(try_call(&call), STATUS_SUCCESS);
    assert_true(call.Result);
    bytes = call.Buffer;
    assert_int_equal(bytes[-1], pattern(20 * PAGE_SIZE + 4));
    assert_int_equal(bytes[0], pattern(20 * PAGE_SIZE + 5));
    assert_int_equal(bytes[PAGE_SIZE], 0);
    assert_int_equal(bytes[4 * PAGE_SIZE], pattern(24 * PAGE_SIZE + 5));
    assert_int_equal(pages_read(), before + 2);
    memset(bytes, 0x32, 4 * PAGE_SIZE);
    CcUnpinData(call.Bcb);
    call = (CALL){ .Kind = PREPARE, .Offset = 30 * PAGE_SIZE, .Length = 2 * PAGE_SIZE };
    assert_int_equal(try_call(&call), STATUS_SUCCESS);
    assert_true(call.Result);
    memset(call.Buffer, 0x33, 2 * PAGE_SIZE);
    CcUnpinData(call.Bcb);
    /* In memory already: it keeps what it has. */
    call = (CALL){ .Kind = PREPARE, .Offset = 30 * PAGE_SIZE, .Length = 3 * PAGE_SIZE };
    assert_int_equal(try_call(&call), STATUS_SUCCESS);
    assert_true(call.Result);
    assert_int_equal(((UCHAR *)call.Buffer)[PAGE_SIZE], 0x33);
    assert_int_equal(((UCHAR *)call.Buffer)[2 * PAGE_SIZE], 0);
    CcUnpinData(call.Bcb);
    assert_int_equal(pages_read(), before + 2);
    /* An end that cannot be read: the pages between are as they were. */
    fault.Storage = HostStorageFind(Path);
    assert_true(HostStorageInject(&fault));
    call =
        (CALL){ .Kind = PREPARE, .Offset = 40 * PAGE_SIZE, .Length = 3 * PAGE_SIZE + 1, .Flags = PIN_WAIT };
    assert_int_equal(try_call(&call), STATUS_IO_DEVICE_ERROR);
    HostStorageClearFaults();
    assert_int_equal(get(MAP, 41 * PAGE_SIZE, 1, MAP_WAIT, &call.Bcb)[0], pattern(41 * PAGE_SIZE));
    CcUnpinData(call.Bcb);
    assert_int_equal(flush(), STATUS_SUCCESS);
    assert_int_equal(byte_on_disk(2 * PAGE_SIZE - 1), pattern(2 * PAGE_SIZE - 1));
    assert_int_equal(byte_on_disk(2 * PAGE_SIZE), 0x31);
    assert_int_equal(byte_on_disk(10 * PAGE_SIZE), pattern(10 * PAGE_SIZE));
    assert_int_equal(byte_on_disk(20 * PAGE_SIZE + 4), pattern(20 * PAGE_SIZE + 4));
    assert_int_equal(byte_on_disk(24 * PAGE_SIZE + 4), 0x32);
    assert_int_equal(byte_on_disk(24 * PAGE_SIZE + 5), pattern(24 * PAGE_SIZE + 5));
    assert_int_equal(byte_on_disk(31 * PAGE_SIZE), 0x33);
    assert_int_equal(byte_on_disk(32 * PAGE_SIZE), 0);
    assert_int_equal(byte_on_disk(42 * PAGE_SIZE), pattern(42 * PAGE_SIZE));
    close_it();
}

/* ---- Write-through ------------------------------------------------------------------------------------- */

static void a_repinned_bcb_is_written_through(void)
{
    HOST_STORAGE_FAULT fault = { .Kind = HOST_FAULT_WRITE, .Nth = 1, .Count = 0, .Error = EIO };
    LARGE_INTEGER lsn = { .QuadPart = 5 };
    IO_STATUS_BLOCK block;
    PAGES pages;
    PVOID bcb;

    open_it();
    begin_log();
    Watched = 10;
    *get(PIN, 10, PAGE_SIZE, PIN_WAIT, &bcb) = 0x11;
    CcSetDirtyPinnedData(bcb, &lsn);
    CcRepinBcb(bcb);
    CcRepinBcb(bcb);
    CcUnpinData(bcb);
    assert_false(purge()); /* still there */
    CcUnpinRepinnedBcb(bcb, FALSE, &block);
    assert_int_equal(block.Status, STATUS_SUCCESS);
    assert_int_equal(block.Information, 0);
    assert_int_equal(byte_on_disk(10), pattern(10));
    CcRepinBcb(bcb);
    fault.Storage = HostStorageFind(Path);
    assert_true(HostStorageInject(&fault));
    CcUnpinRepinnedBcb(bcb, TRUE, &block);
    assert_int_equal(block.Status, STATUS_IO_DEVICE_ERROR);
    assert_int_equal(block.Information, 0);
    assert_int_equal(dirty_pages(&pages), 5); /* with its LSNs, for another try */
    HostStorageClearFaults();
    CcUnpinRepinnedBcb(bcb, TRUE, &block);
    assert_int_equal(block.Status, STATUS_SUCCESS);
    assert_int_equal(block.Information, 2 * PAGE_SIZE);
    assert_int_equal(byte_on_disk(10), 0x11);
    assert_int_equal(LogCalls, 2);
    assert_int_equal(dirty_pages(&pages), 0);
    assert_int_equal(bcbs(), 0);
    close_it();
}

/* ---- Truncation ---------------------------------------------------------------------------------------- */

static NTSTATUS set_end(LONGLONG end)
{
    FILE_END_OF_FILE_INFORMATION information = { .EndOfFile = { .QuadPart = end } };

    return NtSetInformationFile(Handle, &Iosb, &information, sizeof(information), FileEndOfFileInformation);
}

static void what_is_held_is_not_cut_off(void)
{
    PVOID bcb;
    UCHAR *bytes;

    open_it();
    change(VIEW + 5 * PAGE_SIZE, 0x71, 0);
    bytes = get(PIN, PAGE_SIZE, PAGE_SIZE, PIN_WAIT, &bcb);
    KiCurrentThread()->CurrentMode = UserMode;
    assert_int_equal(set_end(2 * PAGE_SIZE - 1), STATUS_SUCCESS); /* the last page is part of the file */
    assert_int_equal(bcbs(), 1);                                  /* the dirty one is gone with its page */
    assert_int_equal(set_end(PAGE_SIZE), STATUS_USER_MAPPED_FILE);
    KiCurrentThread()->CurrentMode = KernelMode;
    assert_int_equal(bytes[1], pattern(PAGE_SIZE + 1));
    CcUnpinData(bcb);
    (void)get(MAP, PAGE_SIZE, PAGE_SIZE - 1, MAP_WAIT, &bcb);
    KiCurrentThread()->CurrentMode = UserMode;
    assert_int_equal(set_end(PAGE_SIZE), STATUS_USER_MAPPED_FILE);
    KiCurrentThread()->CurrentMode = KernelMode;
    CcUnpinData(bcb);
    KiCurrentThread()->CurrentMode = UserMode;
    assert_int_equal(set_end(PAGE_SIZE), STATUS_SUCCESS);
    assert_int_equal(set_end(SIZE), STATUS_SUCCESS);
    KiCurrentThread()->CurrentMode = KernelMode;
    assert_int_equal(*get(MAP, VIEW + 5 * PAGE_SIZE, 1, MAP_WAIT, &bcb), 0);
    CcUnpinData(bcb);
    close_it();
}

/* ---- Failures ------------------------------------------------------------------------------------------ */

static void every_failure_leaves_nothing(void)
{
    static const KI_INJECT Kinds[] = { KiInjectFrame, KiInjectPool, KiInjectCommit, KiInjectRead };
    ULONG failures = 0;

    open_it();
    for (ULONG kind = 0; kind < RTL_NUMBER_OF(Kinds); kind++)
    {
        for (ULONG what = 0; what < 12; what++)
        {
            ULONG64 failed = 1;

            for (ULONG64 nth = 1; failed != 0; nth++)
            {
                CALL call = { .Kind = what % 3 == 0   ? MAP
                                      : what % 3 == 1 ? PIN
                                                      : PREPARE,
                              .Offset = 2 * PAGE_SIZE,
                              .Length = 9 * PAGE_SIZE,
                              .Zero = TRUE,
                              .Flags = PIN_WAIT };
                PVOID bcb = NULL;
                NTSTATUS status;

                assert_int_equal(flush(), STATUS_SUCCESS);
                assert_true(purge());
                MiPurgeStandby(MI_PRIORITIES - 1);
                if (what >= 6)
                {
                    (void)get(PIN, 5 * PAGE_SIZE, 1, PIN_WAIT, &bcb); /* makes it a chain */
                    CcSetBcbOwnerPointer(bcb, OTHER);
                }
                KiSetInjection(Kinds[kind], nth, Kinds[kind] != KiInjectFrame);
                status = try_call(&call);
                KiQueryInjection(Kinds[kind], &failed);
                KiSetInjection(Kinds[kind], 0, FALSE);
                failures += !NT_SUCCESS(status);
                if (NT_SUCCESS(status))
                {
                    assert_true(call.Result);
                    CcUnpinData(call.Bcb);
                }
                else
                {
                    assert_true(status == STATUS_INSUFFICIENT_RESOURCES || status == STATUS_NO_MEMORY ||
                                status == STATUS_IO_DEVICE_ERROR || status == STATUS_COMMITMENT_LIMIT);
                    assert_int_equal(bcbs(), bcb != NULL ? 1 : 0);
                }
                if (bcb != NULL)
                {
                    CcUnpinDataForThread(bcb, (ERESOURCE_THREAD)OTHER);
                }
            }
        }
    }
    assert_true(failures > 30);
    close_it();
}

/* ---- The suite ----------------------------------------------------------------------------------------- */

static void run_in_machine(void (*test)(void))
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
    if (test == what_is_dirty_at_the_end_of_the_machine_is_written)
    {
        assert_int_equal(byte_on_disk(VIEW), 0x62);
    }
    unlink(Path);
}

#define PIN_TESTS(X)                                                                                         \
    X(mapped_data_lies_in_the_cache)                                                                         \
    X(a_range_lies_in_one_view_of_the_section)                                                               \
    X(who_may_not_wait_is_told_so)                                                                           \
    X(a_range_has_one_bcb_however_often_it_is_pinned)                                                        \
    X(overlapping_ranges_share_their_bcbs)                                                                   \
    X(exclusive_means_nobody_else)                                                                           \
    X(misuse_is_a_bug_check)                                                                                 \
    X(mapped_data_is_pinned_in_place)                                                                        \
    X(the_log_is_written_before_the_data)                                                                    \
    X(a_flushed_view_waits_for_the_log)                                                                      \
    X(the_mapped_page_writer_leaves_logged_files_alone)                                                      \
    X(the_lazy_writer_passes_over_who_is_changing)                                                           \
    X(a_closed_file_is_written_and_then_gone)                                                                \
    X(what_is_dirty_at_the_end_of_the_machine_is_written)                                                    \
    X(prepared_pages_are_dirty_and_zero)                                                                     \
    X(what_is_prepared_as_a_whole_is_not_read)                                                               \
    X(a_repinned_bcb_is_written_through)                                                                     \
    X(what_is_held_is_not_cut_off)                                                                           \
    X(every_failure_leaves_nothing)

#define PIN_WRAPPER(Name)                                                                                    \
    static void Name##_in_a_machine(void **state)                                                            \
    {                                                                                                        \
        (void)state;                                                                                         \
        run_in_machine(Name);                                                                                \
    }
PIN_TESTS(PIN_WRAPPER)

#define PIN_ENTRY(Name) cmocka_unit_test(Name##_in_a_machine),

int main(void)
{
    const struct CMUnitTest tests[] = { PIN_TESTS(PIN_ENTRY) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
