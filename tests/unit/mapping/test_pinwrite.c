/* SPDX-License-Identifier: MIT */
/*
 * What is pinned and written: prepared pages, dirty BCBs until they are on the disk, nothing of a logged file before its log, write-through, truncation, and every failure.
 * Sources: Microsoft Learn, CcPreparePinWrite, CcSetDirtyPinnedData, CcRepinBcb, CcUnpinRepinnedBcb, CcGetDirtyPages, CcSetLogHandleForFile, MmSetAddressRangeModified.
 */
#include "pin_test.h"

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

static void it_has_been_written(void)
{
    assert_int_equal(byte_on_disk(VIEW), 0x62);
}

#define PIN_TESTS(X)                                                                                         \
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
        run_in_machine(                                                                                      \
            Name, Name == what_is_dirty_at_the_end_of_the_machine_is_written ? it_has_been_written : NULL);  \
    }
PIN_TESTS(PIN_WRAPPER)

int main(void)
{
    const struct CMUnitTest tests[] = { PIN_TESTS(PIN_ENTRY) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
