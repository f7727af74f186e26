/* SPDX-License-Identifier: MIT */
/* Paging files: creation and its statuses, the commit limit, growth within what the disk has, slots. */
#include "pages.h"

#include <errno.h>

#define MEGABYTE 256u /* pages */

static int setup(void **State)
{
    static const TEST_MACHINE Machine = { .RamMegabytes = 4,
                                          .Deterministic = TRUE,
                                          .Seed = 4,
                                          .PagingFiles = 1,
                                          .PagingMegabytes = 1,
                                          .PagingMaximum = 64 };

    (void)State;
    TestBootMachine(&Machine);
    return 0;
}

static int teardown(void **State)
{
    (void)State;
    HostStorageClearFaults();
    TestShutdownMachine();
    return 0;
}

static NTSTATUS Create(const WCHAR *Name, ULONG64 MinimumPages, ULONG64 MaximumPages)
{
    UNICODE_STRING String = { .Buffer = (PWCH)(ULONG_PTR)Name };

    while (Name[String.Length / sizeof(WCHAR)] != 0)
    {
        String.Length += sizeof(WCHAR);
    }
    String.MaximumLength = String.Length;
    return MiCreatePagingFile(&String, MinimumPages << PAGE_SHIFT, MaximumPages << PAGE_SHIFT);
}

/* ---- Creation ------------------------------------------------------------------------------------------ */

static void a_paging_file_raises_the_commit_limit_by_its_slots(void **State)
{
    SIZE_T Limit = MiState.Physical->CommitLimit;
    SIZE_T Maximum = MiState.Physical->CommitMaximum;

    (void)State;
    assert_int_equal(Create(u"\\\\.\\Memory\\two", 2 * MEGABYTE, 5 * MEGABYTE), STATUS_SUCCESS);
    assert_int_equal(MiState.Physical->CommitLimit, Limit + 2 * MEGABYTE - 1); /* slot 0 names nothing */
    assert_int_equal(MiState.Physical->CommitMaximum, Maximum + 5 * MEGABYTE - 1);
    assert_int_equal(MiState.Paging->FileCount, 2);
}

static void sizes_and_names_that_make_no_sense_are_refused_and_change_nothing(void **State)
{
    SIZE_T Limit = MiState.Physical->CommitLimit;

    (void)State;
    assert_int_equal(Create(u"\\\\.\\Memory\\x", MEGABYTE - 1, 2 * MEGABYTE), STATUS_INVALID_PARAMETER_2);
    assert_int_equal(Create(u"\\\\.\\Memory\\x", 2 * MEGABYTE, 2 * MEGABYTE - 1), STATUS_INVALID_PARAMETER_3);
    assert_int_equal(Create(u"\\\\.\\Memory\\x", MEGABYTE, 0x100000000ull), STATUS_INVALID_PARAMETER_3);
    assert_int_equal(Create(u"", MEGABYTE, MEGABYTE), STATUS_OBJECT_NAME_INVALID);
    assert_int_equal(Create(u"/there/is/no/such/folder/file", MEGABYTE, MEGABYTE),
                     STATUS_OBJECT_PATH_NOT_FOUND);
    assert_int_equal(Create(u"/proc", MEGABYTE, MEGABYTE), STATUS_INVALID_PARAMETER);
    assert_int_equal(MiState.Physical->CommitLimit, Limit);
    assert_int_equal(MiState.Paging->FileCount, 1);
}

static void a_full_disk_refuses_a_paging_file_and_nothing_is_left(void **State)
{
    SIZE_T Limit = MiState.Physical->CommitLimit;

    (void)State;
    HostStorageSetCapacity(NULL, 512 << PAGE_SHIFT);
    assert_int_equal(Create(u"\\\\.\\Memory\\full", 3 * MEGABYTE, 3 * MEGABYTE), STATUS_DISK_FULL);
    assert_int_equal(MiState.Physical->CommitLimit, Limit);
    assert_int_equal(MiState.Paging->FileCount, 1);
    HostStorageClearFaults();
    assert_int_equal(Create(u"\\\\.\\Memory\\full", 3 * MEGABYTE, 3 * MEGABYTE), STATUS_SUCCESS);
}

static void there_are_sixteen_paging_files_at_most(void **State)
{
    WCHAR Name[] = u"\\\\.\\Memory\\many?";

    (void)State;
    for (ULONG Index = 1; Index < MI_MAXIMUM_PAGING_FILES; Index++)
    {
        Name[RTL_NUMBER_OF(Name) - 2] = (WCHAR)(u'a' + Index);
        assert_int_equal(Create(Name, MEGABYTE, MEGABYTE), STATUS_SUCCESS);
    }
    assert_int_equal(Create(u"\\\\.\\Memory\\toomany", MEGABYTE, MEGABYTE), STATUS_INSUFFICIENT_RESOURCES);
}

static void creating_a_file_again_grows_it_to_its_new_minimum(void **State)
{
    SIZE_T Limit = MiState.Physical->CommitLimit;

    (void)State;
    assert_int_equal(Create(u"\\\\.\\Memory\\page0", 3 * MEGABYTE, 64 * MEGABYTE), STATUS_SUCCESS);
    assert_int_equal(MiState.Paging->Files[0]->Size, 3 * MEGABYTE);
    assert_int_equal(MiState.Physical->CommitLimit, Limit + 2 * MEGABYTE);
    assert_int_equal(Create(u"\\\\.\\Memory\\page0", 2 * MEGABYTE, 64 * MEGABYTE), STATUS_SUCCESS);
    assert_int_equal(MiState.Paging->Files[0]->Size, 3 * MEGABYTE);
    assert_int_equal(Create(u"\\\\.\\Memory\\page0", 2 * MEGABYTE, 63 * MEGABYTE),
                     STATUS_INVALID_PARAMETER_3);
    assert_int_equal(MiState.Paging->FileCount, 1);
}

static void creating_a_file_again_raises_its_maximum_while_it_is_in_use(void **State)
{
    SIZE_T Limit = MiState.Physical->CommitLimit;
    SIZE_T Maximum = MiState.Physical->CommitMaximum;
    PMMPAGING_FILE File = MiState.Paging->Files[0];
    PMMPAGING_FILE Chosen;
    SIZE_T First[3];
    ULONG Got;

    (void)State;
    for (ULONG Index = 0; Index < 3; Index++)
    {
        First[Index] = MiAllocateSlots(33, &Chosen, &Got);
        assert_int_equal(Got, 33);
    }
    MiFreeSlots(File, First[1], 33);
    assert_int_equal(Create(u"\\\\.\\Memory\\page0", MEGABYTE, 80 * MEGABYTE + 5), STATUS_SUCCESS);
    assert_int_equal(File->MaximumSize, 80 * MEGABYTE + 5);
    assert_int_equal(File->Size, MEGABYTE);
    assert_int_equal(MiState.Physical->CommitLimit, Limit);
    assert_int_equal(MiState.Physical->CommitMaximum, Maximum + 16 * MEGABYTE + 5);
    assert_int_equal(File->FreeSpace, MEGABYTE - 1 - 66);
    assert_true(RtlSummaryAreBitsSet(&File->Bitmap, First[0], 33));
    assert_true(RtlSummaryAreBitsClear(&File->Bitmap, First[1], 33));
    assert_true(RtlSummaryAreBitsSet(&File->Bitmap, First[2], 33));
    MiCheckPaging(2);
    /* A larger minimum and a larger maximum in one call. */
    assert_int_equal(Create(u"\\\\.\\Memory\\page0", 90 * MEGABYTE, 100 * MEGABYTE), STATUS_SUCCESS);
    assert_int_equal(File->Size, 90 * MEGABYTE);
    MiCheckPaging(2);
    /* The disk has no room for the minimum: nothing changes. */
    HostStorageSetCapacity(NULL, 95 * MEGABYTE << PAGE_SHIFT);
    Maximum = MiState.Physical->CommitMaximum;
    assert_int_equal(Create(u"\\\\.\\Memory\\page0", 110 * MEGABYTE, 120 * MEGABYTE), STATUS_DISK_FULL);
    assert_int_equal(MiState.Physical->CommitMaximum, Maximum);
    assert_int_equal(File->MaximumSize, 100 * MEGABYTE);
    assert_int_equal(File->MinimumSize, 90 * MEGABYTE);
    HostStorageClearFaults();
    MiFreeSlots(File, First[0], 33);
    MiFreeSlots(File, First[2], 33);
    MiCheckPaging(2);
}

/* ---- Page tables ------------------------------------------------------------------------------------------ */

/* What a fault in committed memory makes was charged with it: at the end of all growth it still succeeds, and nothing is charged. */
static void faults_in_committed_memory_need_no_commitment(void **State)
{
    PEPROCESS Process = TestCreateProcess();
    PMI_ADDRESS_SPACE Space = &Process->Space;
    ULONG_PTR Base = (TEST_BASE | (MI_LEVEL_BYTES(1) - 1)) + 1;
    SIZE_T Rest;

    (void)State;
    TestEnter(Process);
    TestCommit(Process, Base, 3 * 512, MM_READWRITE);
    assert_int_equal(Space->CommittedPageTables, 1 + 3 + 1 + 1);
    while (MiExtendPagingFiles(1000000))
    {
    }
    Rest = MiState.Physical->CommitLimit - MiState.Physical->CommittedPages;
    assert_true(MiChargeCommitment(Rest, 0));
    for (ULONG Table = 0; Table < 3; Table++)
    {
        TestPut(Base + Table * MI_LEVEL_BYTES(1), 1);
    }
    assert_int_equal(Space->PageTablePages, 1 + 3 + 1 + 1);
    assert_int_equal(MiState.Physical->CommittedPages, MiState.Physical->CommitLimit);
    TestEnter(NULL);
    TestDeleteProcess(Process);
    MiReturnCommitment(Rest);
}

/* ---- Contents ------------------------------------------------------------------------------------------ */

static VOID Completed(PORT_IO *Io)
{
    (void)Io;
}

/* What lies on the disk in the first Pages slots: how many of their words are Word. */
static ULONG64 CountOnDisk(SIZE_T Pages, ULONG64 Word)
{
    WCHAR Text[] = u"\\\\.\\Memory\\page0";
    UNICODE_STRING Name = { .Length = sizeof(Text) - sizeof(WCHAR),
                            .MaximumLength = sizeof(Text),
                            .Buffer = Text };
    PORT_STORAGE *Storage;
    PFN_NUMBER Frame = MiAllocatePage(0);
    ULONG64 Count = 0;

    assert_int_equal(PortOpenStorage(&Name, PORT_STORAGE_READ, &Storage), STATUS_SUCCESS);
    for (SIZE_T Slot = 1; Slot <= Pages; Slot++)
    {
        PORT_IO Io = { .Storage = Storage,
                       .Offset = Slot << PAGE_SHIFT,
                       .Frames = &Frame,
                       .Count = 1,
                       .Completion = Completed };

        PortPerformIo(&Io);
        assert_int_equal(Io.Status, STATUS_SUCCESS);
        for (ULONG Index = 0; Index < PAGE_SIZE / 8; Index++)
        {
            Count += ((const ULONG64 *)PortDirectMap(Frame))[Index] == Word;
        }
    }
    PortCloseStorage(Storage);
    MiFreePage(Frame);
    return Count;
}

/* Writes 300 pages full of one word into slots 1..300, through the frames of a buffer, and frees the slots. */
static void WriteSlots(ULONG64 Word, BOOLEAN ReadBack)
{
    PFN_NUMBER Frames[100];
    PMMPAGING_FILE File;
    ULONG Got;

    for (ULONG Index = 0; Index < 100; Index++)
    {
        Frames[Index] = MiAllocatePage(0);
    }
    MiState.Paging->Files[0]->Hint = 1;
    for (ULONG Round = 0; Round < 3; Round++)
    {
        SIZE_T First = MiAllocateSlots(100, &File, &Got);
        PORT_IO Io = { .Storage = File->Storage,
                       .Offset = First << PAGE_SHIFT,
                       .Frames = Frames,
                       .Count = 100,
                       .Write = TRUE,
                       .Completion = Completed };

        assert_int_equal(Got, 100);
        for (ULONG Index = 0; Index < 100 * PAGE_SIZE / 8; Index++)
        {
            ((ULONG64 *)PortDirectMap(Frames[Index / 512]))[Index % 512] = Word;
        }
        PortPerformIo(&Io);
        assert_int_equal(Io.Status, STATUS_SUCCESS);
        for (ULONG Index = 0; Index < 100; Index++)
        {
            assert_int_equal(*(ULONG64 *)PortDirectMap(Frames[Index]),
                             Word); /* the page itself is not touched */
            memset(PortDirectMap(Frames[Index]), 0, PAGE_SIZE);
        }
        Io.Write = FALSE;
        PortPerformIo(&Io);
        for (ULONG Index = 0; Index < 100 * PAGE_SIZE / 8 && ReadBack; Index++)
        {
            assert_int_equal(((ULONG64 *)PortDirectMap(Frames[Index / 512]))[Index % 512], Word);
        }
        MiFreeSlots(File, First, 100);
        File->Hint = First + 100; /* the next round uses the next slots */
    }
    for (ULONG Index = 0; Index < 100; Index++)
    {
        MiFreePage(Frames[Index]);
    }
}

#define SECRET 0x7365637265747321ull

static void slots_that_were_used_are_cleared(void **State)
{
    (void)State;
    assert_int_equal(Create(u"\\\\.\\Memory\\page0", 4 * MEGABYTE, 64 * MEGABYTE), STATUS_SUCCESS);
    WriteSlots(SECRET, TRUE);
    assert_int_equal(CountOnDisk(300, SECRET), 300 * 512);
    assert_int_equal(MiClearPagingFile(MiState.Paging->Files[0]), STATUS_SUCCESS);
    assert_int_equal(CountOnDisk(300, SECRET), 0);
    assert_int_equal(CountOnDisk(300, 0), 300 * 512);
    WriteSlots(SECRET, TRUE);
    assert_true(HostStorageInject(&(HOST_STORAGE_FAULT){
        .Storage = TestStorage(0), .Kind = HOST_FAULT_WRITE, .Nth = 1, .Count = 1, .Error = EIO }));
    assert_int_equal(MiClearPagingFile(MiState.Paging->Files[0]), STATUS_IO_DEVICE_ERROR);
    HostStorageClearFaults();
    assert_true(CountOnDisk(300, SECRET) != 0 &&
                CountOnDisk(300, SECRET) < 300 * 512); /* the others were cleared */
}

/* ClearPageFileAtShutdown: counted where it arrives, since the file itself is gone with its machine. */
static void shutdown_clears_paging_files_when_asked_to(void **State)
{
    HOST_STORAGE_COUNTERS Before, After;

    (void)State;
    for (ULONG Clear = 0; Clear < 2; Clear++)
    {
        TestShutdownMachine();
        TestBootMachine(
            &(TEST_MACHINE){ .Deterministic = TRUE, .Seed = 1, .PagingFiles = 1, .Clear = Clear != 0 });
        WriteSlots(SECRET, TRUE);
        HostStorageQueryCounters(NULL, &Before);
        TestShutdownMachine();
        HostStorageQueryCounters(NULL, &After);
        assert_int_equal(After.PagesWritten - Before.PagesWritten, Clear != 0 ? 300 : 0);
        setup(State);
    }
}

static void encrypted_slots_tell_nothing_and_come_back_as_they_were(void **State)
{
    (void)State;
    TestShutdownMachine();
    TestBootMachine(&(TEST_MACHINE){ .Deterministic = TRUE, .Seed = 1, .PagingFiles = 1, .Encrypt = TRUE });
    WriteSlots(SECRET, TRUE);
    assert_int_equal(CountOnDisk(300, SECRET), 0);
    assert_true(CountOnDisk(300, 0) < 10); /* everything was written, and equal pages differ */
    WriteSlots(0, TRUE);
    assert_true(CountOnDisk(300, 0) < 10);
}

/* ---- Growth -------------------------------------------------------------------------------------------- */

static SIZE_T Room(void)
{
    return MiState.Physical->CommitLimit - MiState.Physical->CommittedPages;
}

static void commitment_beyond_the_limit_grows_the_file_up_to_its_maximum(void **State)
{
    ULONG64 Grown = 0, Bytes = 0;
    SIZE_T First = Room() + 1;
    SIZE_T Rest;

    (void)State;
    TestCounted(MiCounterPagingFileExtensions, &Grown);
    assert_false(MiChargeCommitment(First, MI_COMMIT_NO_EXTEND));
    assert_true(MiChargeCommitment(First, 0));
    assert_int_equal(TestCounted(MiCounterPagingFileExtensions, &Grown), 1);
    assert_int_equal(PortQueryStorageSize(TestStorage(0), &Bytes), STATUS_SUCCESS);
    assert_int_equal(Bytes, MiState.Paging->Files[0]->Size << PAGE_SHIFT);
    Rest = MiState.Physical->CommitMaximum - MiState.Physical->CommittedPages;
    assert_true(MiChargeCommitment(Rest, 0));
    assert_int_equal(MiState.Paging->Files[0]->Size, 64 * MEGABYTE);
    assert_false(MiChargeCommitment(1, 0));
    MiReturnCommitment(First + Rest);
}

static void commitment_beyond_the_maximum_fails_and_changes_nothing(void **State)
{
    PEPROCESS Process = TestCreateProcess();
    SIZE_T Pages = MiState.Physical->CommitMaximum - MiState.Physical->CommittedPages + 1;
    SIZE_T Charged = MiState.Physical->CommittedPages;
    SIZE_T Space = Process->Space.CommitCharge;
    SIZE_T Size = MiState.Paging->Files[0]->Size;

    (void)State;
    assert_int_equal(MiChargeSpaceCommit(&Process->Space, Pages, 0), STATUS_COMMITMENT_LIMIT);
    assert_int_equal(MiState.Physical->CommittedPages, Charged);
    assert_int_equal(Process->Space.CommitCharge, Space);
    assert_int_equal(MiState.Paging->Files[0]->Size, Size);
    TestDeleteProcess(Process);
}

static void a_file_grows_by_what_is_needed_when_the_disk_has_no_more(void **State)
{
    SIZE_T Limit = MiState.Physical->CommitLimit;
    SIZE_T Pages = Room() + 10;

    (void)State;
    HostStorageSetCapacity(TestStorage(0), (ULONG64)(MEGABYTE + Pages) << PAGE_SHIFT);
    assert_true(MiChargeCommitment(Pages, 0));
    assert_true(MiState.Physical->CommitLimit > Limit);
    assert_true(MiState.Paging->Files[0]->Size <= MEGABYTE + Pages);
    MiReturnCommitment(Pages);
}

static void a_disk_that_is_full_refuses_commitment(void **State)
{
    SIZE_T Limit = MiState.Physical->CommitLimit;
    SIZE_T Pages = Room() + 10;
    ULONG64 Failures = 0;

    (void)State;
    TestCounted(MiCounterCommitFailures, &Failures);
    HostStorageSetCapacity(TestStorage(0), MEGABYTE << PAGE_SHIFT);
    assert_false(MiChargeCommitment(Pages, 0));
    assert_int_equal(TestCounted(MiCounterCommitFailures, &Failures), 1);
    assert_int_equal(MiState.Physical->CommitLimit, Limit);
    assert_int_equal(MiState.Paging->Files[0]->Size, MEGABYTE);
}

/* ---- Slots --------------------------------------------------------------------------------------------- */

static void slots_come_in_clusters_never_slot_zero_and_all_of_them(void **State)
{
    static UCHAR Owned[MEGABYTE];
    SIZE_T Left = MEGABYTE - 1;
    PMMPAGING_FILE File;
    ULONG Got;

    (void)State;
    memset(Owned, 0, sizeof(Owned));
    while (Left != 0)
    {
        SIZE_T First = MiAllocateSlots(30, &File, &Got);

        assert_true(First != 0 && Got != 0 && Got <= 30 && First + Got <= MEGABYTE);
        assert_true(File == MiState.Paging->Files[0]);
        for (ULONG Index = 0; Index < Got; Index++)
        {
            assert_int_equal(Owned[First + Index], 0);
            Owned[First + Index] = 1;
        }
        Left -= Got;
        assert_int_equal(File->FreeSpace, Left);
    }
    assert_int_equal(MiAllocateSlots(1, &File, &Got), 0);
    assert_int_equal(MiState.Paging->Files[0]->PeakUsage, MEGABYTE - 1);
    MiFreeSlots(MiState.Paging->Files[0], 100, 7);
    assert_int_equal(MiAllocateSlots(30, &File, &Got), 100);
    assert_int_equal(Got, 7);
    MiFreeSlots(MiState.Paging->Files[0], 1, MEGABYTE - 1);
    MiCheckPaging(2);
}

static void FreeTwice(void *Context)
{
    MiFreeSlots(MiState.Paging->Files[0], *(SIZE_T *)Context, 1);
}

static void freeing_a_slot_twice_stops_the_machine(void **State)
{
    PMMPAGING_FILE File;
    ULONG Got;
    SIZE_T Slot = MiAllocateSlots(1, &File, &Got);

    (void)State;
    MiFreeSlots(File, Slot, 1);
    TestExpectBugCheck(MEMORY_MANAGEMENT, FreeTwice, &Slot);
    TestAbandonMachine();
    setup(NULL);
}

static void files_take_turns_by_the_room_they_have(void **State)
{
    ULONG Count[2] = { 0, 0 };
    PMMPAGING_FILE Files[10];
    SIZE_T Slots[10];
    ULONG Got;

    (void)State;
    assert_int_equal(Create(u"\\\\.\\Memory\\second", MEGABYTE, MEGABYTE), STATUS_SUCCESS);
    for (ULONG Index = 0; Index < 10; Index++)
    {
        Slots[Index] = MiAllocateSlots(20, &Files[Index], &Got);
        assert_int_equal(Got, 20);
        Count[Files[Index]->PageFileNumber]++;
    }
    assert_int_equal(Count[0], 5);
    assert_int_equal(Count[1], 5);
    for (ULONG Index = 0; Index < 10; Index++)
    {
        MiFreeSlots(Files[Index], Slots[Index], 20);
    }
}

static void a_slot_can_be_made_to_fail(void **State)
{
    PMMPAGING_FILE File;
    ULONG Got;

    (void)State;
    KiSetInjection(KiInjectSlot, 1, FALSE);
    assert_int_equal(MiAllocateSlots(1, &File, &Got), 0);
    assert_int_equal(MiAllocateSlots(1, &File, &Got), 1);
    KiSetInjection(KiInjectSlot, 0, FALSE);
    MiFreeSlots(File, 1, 1);
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
#define TEST(Name) cmocka_unit_test_setup_teardown(Name, setup, teardown)
        TEST(a_paging_file_raises_the_commit_limit_by_its_slots),
        TEST(sizes_and_names_that_make_no_sense_are_refused_and_change_nothing),
        TEST(a_full_disk_refuses_a_paging_file_and_nothing_is_left),
        TEST(there_are_sixteen_paging_files_at_most),
        TEST(creating_a_file_again_grows_it_to_its_new_minimum),
        TEST(creating_a_file_again_raises_its_maximum_while_it_is_in_use),
        TEST(faults_in_committed_memory_need_no_commitment),
        TEST(slots_that_were_used_are_cleared),
        TEST(shutdown_clears_paging_files_when_asked_to),
        TEST(encrypted_slots_tell_nothing_and_come_back_as_they_were),
        TEST(commitment_beyond_the_limit_grows_the_file_up_to_its_maximum),
        TEST(commitment_beyond_the_maximum_fails_and_changes_nothing),
        TEST(a_file_grows_by_what_is_needed_when_the_disk_has_no_more),
        TEST(a_disk_that_is_full_refuses_commitment),
        TEST(slots_come_in_clusters_never_slot_zero_and_all_of_them),
        TEST(freeing_a_slot_twice_stops_the_machine),
        TEST(files_take_turns_by_the_room_they_have),
        TEST(a_slot_can_be_made_to_fail),
    };

    return cmocka_run_group_tests_name("paging files", Tests, NULL, NULL);
}
