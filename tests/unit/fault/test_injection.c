/* SPDX-License-Identifier: MIT */
/*
 * Every frame, slot, read, write, charge and pool block of one scenario is made to fail once, one after the
 * other, until nothing is left to fail. Whatever fails, the process is told with a status that fits, nothing
 * is lost, and everything comes back at the end.
 */
#include "pages.h"

#define BASE   TEST_BASE
#define PAGES  48u
#define TABLES 5u /* enough for page tables to leave memory */

static PEPROCESS Parent, Child;
static ULONG64 Contents[2][PAGES];
static KI_INJECT Kind;

static ULONG_PTR AddressOf(ULONG Page)
{
    return BASE + Page % TABLES * MI_LEVEL_BYTES(1) + Page / TABLES * PAGE_SIZE;
}

/* Statuses that a failure of this kind may end in. */
static BOOLEAN IsExpected(NTSTATUS Status)
{
    switch (Kind)
    {
    case KiInjectRead:
        return Status == STATUS_IN_PAGE_ERROR;
    case KiInjectCommit:
        return Status == STATUS_COMMITMENT_LIMIT;
    case KiInjectPool:
        return Status == STATUS_INSUFFICIENT_RESOURCES || Status == STATUS_NO_MEMORY;
    default:
        return FALSE; /* a frame or a slot that is not there, or a write that fails, is nothing that a process
                         learns of */
    }
}

/* An operation fails at most once, with a status that fits, and then succeeds. */
static NTSTATUS Retried(NTSTATUS Status)
{
    if (!NT_SUCCESS(Status))
    {
        ULONG64 Failed = 0;

        KiQueryInjection(Kind, &Failed);
        assert_int_equal(Failed, 1);
        assert_true(IsExpected(Status));
    }
    return Status;
}

static void Write(ULONG Process, ULONG Page, ULONG64 Value)
{
    TestEnter(Process == 0 ? Parent : Child);
    if (!NT_SUCCESS(Retried(TestWrite(AddressOf(Page), Value, NULL))))
    {
        assert_int_equal(TestWrite(AddressOf(Page), Value, NULL), STATUS_SUCCESS);
    }
    Contents[Process][Page] = Value;
}

static void Check(ULONG Process)
{
    TestEnter(Process == 0 ? Parent : Child);
    for (ULONG Page = 0; Page < PAGES; Page++)
    {
        ULONG64 Value = ~0ull;

        if (!NT_SUCCESS(Retried(TestRead(AddressOf(Page), &Value, NULL))))
        {
            assert_int_equal(TestRead(AddressOf(Page), &Value, NULL), STATUS_SUCCESS);
        }
        assert_int_equal(Value, Contents[Process][Page]);
    }
    TestEnter(NULL);
}

static PEPROCESS Create(void)
{
    PEPROCESS Process = NULL;

    if (!NT_SUCCESS(Retried(PsCreateProcessObject("injected", &Process))))
    {
        assert_null(Process);
        assert_int_equal(PsCreateProcessObject("injected", &Process), STATUS_SUCCESS);
    }
    return Process;
}

static void Commit(ULONG_PTR Va)
{
    PMMVAD Vad = MiAllocateVad(Va >> PAGE_SHIFT, (Va >> PAGE_SHIFT) + PAGES - 1);
    MI_TABLE_BUDGET Tables = { .Charged = 0 };

    if (Vad == NULL)
    {
        Retried(STATUS_INSUFFICIENT_RESOURCES);
        Vad = MiAllocateVad(Va >> PAGE_SHIFT, (Va >> PAGE_SHIFT) + PAGES - 1);
        assert_non_null(Vad);
    }
    if (!NT_SUCCESS(Retried(MiChargeSpaceCommit(&Parent->Space, PAGES, 0))))
    {
        assert_int_equal(MiChargeSpaceCommit(&Parent->Space, PAGES, 0), STATUS_SUCCESS);
    }
    Vad->u.Protection = MM_READWRITE;
    Vad->u.CommitProtection = MM_READWRITE;
    Vad->u.MemCommit = 1;
    Vad->u.PrivateMemory = 1;
    Vad->CommitCharge = PAGES;
    MiLockSpaceExclusive(&Parent->Space);
    while (!MiPromiseTables(&Parent->Space, Vad, &Tables))
    {
        Retried(STATUS_COMMITMENT_LIMIT);
    }
    MiInsertVad(&Parent->Space, Vad);
    MiUnlockSpaceExclusive(&Parent->Space);
}

static void Evict(PEPROCESS Process)
{
    MiEmptyWorkingSet(&Process->Space);
    MiFlushModifiedPages();
    MiPurgeStandby(7);
    MiTrimPageTables(&Process->Space);
    MiFlushModifiedPages();
    MiPurgeStandby(7);
}

/* Injection is on from here to the process's end, except where the test's own helpers could not go on. */
static void Scenario(ULONG64 Nth)
{
    memset(Contents, 0, sizeof(Contents));
    KiSetInjection(Kind, Nth, FALSE);
    Parent = Create();
    Child = Create();
    for (ULONG Table = 0; Table < TABLES; Table++)
    {
        Commit(BASE + Table * MI_LEVEL_BYTES(1));
    }
    for (ULONG Page = 0; Page < PAGES; Page += 2)
    {
        Write(0, Page, Nth * 1000 + Page);
    }
    Check(0);
    Evict(Parent);
    Check(0);
    for (ULONG Page = 0; Page < PAGES; Page += 3)
    {
        Write(0, Page, Nth * 2000 + Page);
    }
    Evict(Parent);
}

static void ShareAndGoOn(ULONG64 Nth)
{
    ULONG64 Count, Failed;

    /* TestShare asserts that it gets what it needs: carried out without injection, which then counts on. */
    Count = KiQueryInjection(Kind, &Failed);
    KiSetInjection(Kind, 0, FALSE);
    for (ULONG Table = 0; Table < TABLES; Table++)
    {
        TestShare(Parent, Child, BASE + Table * MI_LEVEL_BYTES(1), PAGES);
    }
    memcpy(Contents[1], Contents[0], sizeof(Contents[0]));
    KiSetInjection(Kind, Failed == 0 ? Nth - Count : 0, FALSE);
    Check(1);
    for (ULONG Page = 0; Page < PAGES; Page += 5)
    {
        Write(1, Page, Nth * 3000 + Page);
        Write(0, Page, Nth * 4000 + Page);
    }
    Evict(Child);
    Evict(Parent);
    Check(1);
    Check(0);
}

/* TRUE: something was made to fail. */
static BOOLEAN RunOnce(ULONG64 Nth)
{
    const PEPROCESS *List;
    PEPROCESS Processes[3] = { NULL };
    ULONG64 Failed = 0, Later = 0;

    Scenario(Nth);
    KiQueryInjection(Kind, &Failed);
    ShareAndGoOn(Nth);
    KiQueryInjection(Kind, &Later);
    KiSetInjection(Kind, 0, FALSE);
    KiAdvanceTime(10000000000ull); /* paging files that rest after an error */
    Processes[0] = Parent;
    Processes[1] = Child;
    List = Processes;
    MiFlushModifiedPages();
    TestCheckMachine(List);
    TestDeleteProcess(Child);
    TestDeleteProcess(Parent);
    MiPurgeStandby(7);
    assert_int_equal(TestSlotsInUse(), 0);
    assert_int_equal(MiCloneBlocksInUse(), 0);
    return Failed + Later != 0;
}

static void Walk(KI_INJECT What, ULONG64 Least)
{
    static const TEST_MACHINE Machine = {
        .RamMegabytes = 4, .Deterministic = TRUE, .Seed = 10, .PagingFiles = 1, .Workers = TRUE
    };
    ULONG64 Nth = 1;

    TestBootMachine(&Machine);
    TestDeleteProcess(TestCreateProcess()); /* the room virtual's part, and the pools' first slabs */
    Kind = What;
    while (RunOnce(Nth))
    {
        Nth++;
    }
    print_message("%llu failures\n", Nth - 1);
    assert_true(Nth > Least);
    TestStopWorkers();
    TestShutdownMachine(); /* nothing is left of any of the runs */
}

static void every_frame_may_be_missing_once(void **State)
{
    (void)State;
    Walk(KiInjectFrame, 100);
}

static void every_slot_may_be_missing_once(void **State)
{
    (void)State;
    Walk(KiInjectSlot, 3);
}

static void every_read_may_fail_once(void **State)
{
    (void)State;
    Walk(KiInjectRead, 50);
}

static void every_write_may_fail_once(void **State)
{
    (void)State;
    Walk(KiInjectWrite, 3);
}

static void every_charge_may_be_refused_once(void **State)
{
    (void)State;
    Walk(KiInjectCommit, 5);
}

static void every_pool_block_may_be_missing_once(void **State)
{
    (void)State;
    Walk(KiInjectPool, 5);
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(every_frame_may_be_missing_once),
        cmocka_unit_test(every_slot_may_be_missing_once),
        cmocka_unit_test(every_read_may_fail_once),
        cmocka_unit_test(every_write_may_fail_once),
        cmocka_unit_test(every_charge_may_be_refused_once),
        cmocka_unit_test(every_pool_block_may_be_missing_once),
    };

    return cmocka_run_group_tests_name("injection", Tests, NULL, NULL);
}
