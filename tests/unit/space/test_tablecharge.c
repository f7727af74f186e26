/* SPDX-License-Identifier: MIT */
/*
 * What page tables are charged, against a model that cannot be wrong: the list of all tables that promised VADs cover and of those that
 * exist, sorted, each counted once.
 */
#include "boot.h"

#define VADS   60u
#define TABLES 40u
#define SPANS  60000u
#define WINDOW (3ull << 18) /* pages: 3 GiB, whose middle gigabyte begins and ends inside */

static int setup(void **state)
{
    static const TEST_MACHINE machine = { .RamMegabytes = 16, .Deterministic = TRUE, .Seed = 14 };

    (void)state;
    TestBootMachine(&machine);
    return 0;
}

static PEPROCESS process;
static PMI_ADDRESS_SPACE space;
static ULONG_PTR base; /* first page of the window */
static PMMVAD vads[VADS];
static ULONG_PTR tables[TABLES]; /* addresses whose tables exist; 0: none */
static ULONG_PTR spans[SPANS];
static ULONG span_count;

/* ---- The model --------------------------------------------------------------------------------------------- */

static void note_spans(ULONG_PTR start, ULONG_PTR end)
{
    for (ULONG level = 1; level <= MI_TOP_LEVEL; level++)
    {
        for (ULONG_PTR index = start >> 9 * level; index <= end >> 9 * level; index++)
        {
            assert_true(span_count < SPANS);
            spans[span_count++] = index << 2 | level;
        }
    }
}

static int compare(const void *first, const void *second)
{
    ULONG_PTR a = *(const ULONG_PTR *)first, b = *(const ULONG_PTR *)second;

    return a < b ? -1 : a > b;
}

static SIZE_T expected(void)
{
    SIZE_T count = 1; /* the top level */

    span_count = 0;
    for (ULONG i = 0; i < VADS; i++)
    {
        if (vads[i] != NULL && vads[i]->TablesPromised)
        {
            note_spans(vads[i]->StartingVpn, vads[i]->EndingVpn);
        }
    }
    for (ULONG i = 0; i < TABLES; i++)
    {
        if (tables[i] != 0)
        {
            note_spans(tables[i] >> PAGE_SHIFT, tables[i] >> PAGE_SHIFT);
        }
    }
    qsort(spans, span_count, sizeof(spans[0]), compare);
    for (ULONG i = 0; i < span_count; i++)
    {
        count += i == 0 || spans[i] != spans[i - 1];
    }
    return count;
}

/* ---- What is done ------------------------------------------------------------------------------------------ */

static BOOLEAN promise(PMMVAD vad)
{
    MI_TABLE_BUDGET budget = { .Charged = 0 };
    BOOLEAN done = MiPromiseTables(space, vad, &budget);

    if (!done)
    {
        assert_true(budget.Wanted != 0);
        assert_int_equal(budget.Charged, 0);
    }
    return done;
}

static void add(TEST_RANDOM *random, ULONG slot)
{
    ULONG_PTR start = base + TestBelow(random, WINDOW);
    ULONG_PTR pages = 1 + TestBelow(random, 8) * (TestBelow(random, 2) != 0 ? 1 : 300) +
                      (TestBelow(random, 10) == 0 ? 0x40000 : 0);
    PMMVAD vad;

    if (MiLocateVadInRange(space, start, start + pages - 1) != NULL)
    {
        return;
    }
    vad = MiAllocateVad(start, start + pages - 1);
    assert_non_null(vad);
    if (TestBelow(random, 3) != 0)
    {
        assert_true(promise(vad));
    }
    MiInsertVad(space, vad);
    vads[slot] = vad;
}

/* The whole, or a part at an end: what services do when memory is released. */
static void release(TEST_RANDOM *random, ULONG slot)
{
    PMMVAD vad = vads[slot];
    ULONG_PTR start = vad->StartingVpn, end = vad->EndingVpn;
    ULONG_PTR part = 1 + TestBelow(random, end - start + 1);

    if (part == end - start + 1 || TestBelow(random, 2) == 0)
    {
        MiRemoveVad(space, vad);
        MiFreeVad(vad);
        vads[slot] = NULL;
    }
    else if (TestBelow(random, 2) == 0)
    {
        MiResizeVad(space, vad, start + part, end);
        if (vad->TablesPromised)
        {
            MiWithdrawTables(space, start, start + part - 1);
        }
    }
    else
    {
        MiResizeVad(space, vad, start, end - part);
        if (vad->TablesPromised)
        {
            MiWithdrawTables(space, end - part + 1, end);
        }
    }
}

static void change(PMMVAD vad)
{
    if (vad->TablesPromised)
    {
        MiSetTablesPromised(space, vad, FALSE);
    }
    else
    {
        assert_true(promise(vad));
        MiSetTablesPromised(space, vad, TRUE);
    }
}

static void make_tables(ULONG slot, ULONG_PTR va)
{
    PMMPTE entry;
    ULONG level;

    while ((level = MiWalk(space->TopLevel, va, &entry)) != 0)
    {
        PFN_NUMBER frame = MiAllocatePage(MI_PAGE_ZEROED);

        assert_true(frame != 0 && MiChargePageTable(space, va, level));
        MiLinkPageTable(entry, frame, TRUE);
        space->PageTablePages++;
    }
    tables[slot] = va;
}

static void delete_tables(ULONG slot)
{
    ULONG_PTR va = tables[slot];
    PMMPTE entry;
    ULONG freed;

    tables[slot] = 0;
    for (ULONG i = 0; i < TABLES; i++)
    {
        if (tables[i] != 0 && tables[i] >> 21 == va >> 21)
        {
            return; /* the table is wanted for that one, too */
        }
    }
    assert_int_equal(MiWalk(space->TopLevel, va, &entry), 0);
    freed = MiDeleteEmptyPageTables(space->TopLevel, entry, va);
    assert_true(freed != 0);
    space->PageTablePages -= freed;
    MiReturnPageTables(space, va, 1, freed);
}

static void step(TEST_RANDOM *random)
{
    ULONG slot = (ULONG)TestBelow(random, VADS);
    ULONG table = (ULONG)TestBelow(random, TABLES);

    if (TestBelow(random, 4) == 0)
    {
        if (tables[table] != 0)
        {
            delete_tables(table);
        }
        else
        {
            make_tables(table, (base + TestBelow(random, WINDOW)) << PAGE_SHIFT);
        }
    }
    else if (vads[slot] == NULL)
    {
        add(random, slot);
    }
    else if (TestBelow(random, 2) == 0)
    {
        change(vads[slot]);
    }
    else
    {
        release(random, slot);
    }
}

static void begin(void)
{
    assert_int_equal(PsCreateProcessObject("tables", &process), STATUS_SUCCESS);
    space = &process->Space;
    base = ((space->LowestVpn + (space->HighestVpn - space->LowestVpn) / 2) | 0x3ffff) + 1 - WINDOW / 2;
    memset(vads, 0, sizeof(vads));
    memset(tables, 0, sizeof(tables));
}

static void end(void)
{
    for (ULONG i = 0; i < TABLES; i++)
    {
        if (tables[i] != 0)
        {
            delete_tables(i);
        }
    }
    for (ULONG i = 0; i < VADS; i++)
    {
        if (vads[i] != NULL)
        {
            MiRemoveVad(space, vads[i]);
            MiFreeVad(vads[i]);
        }
    }
    assert_int_equal(space->CommittedPageTables, 1);
    assert_int_equal(MiSpaceCommitCharge(space), 1);
    PsTerminateProcessObject(process, STATUS_SUCCESS);
    ObDereferenceObjectBody(process);
}

/* ---- Tests ------------------------------------------------------------------------------------------------- */

static void charges_agree_with_the_model(void **state)
{
    TEST_RANDOM random = TestSeed(__func__);

    (void)state;
    /* Three gigabytes of promises take more than this machine has. */
    MiAdjustCommitLimit(100000, 100000);
    begin();
    for (ULONG64 round = TestIterations(3000); round > 0; round--)
    {
        step(&random);
        assert_int_equal(space->CommittedPageTables, expected());
        assert_int_equal(MiSpaceCommitCharge(space), space->CommittedPageTables);
        if (round % 50 == 0)
        {
            MiCheckSpace(space, 2);
        }
    }
    end();
    MiAdjustCommitLimit(-100000, -100000);
}

static void a_promise_beyond_the_limit_changes_nothing(void **state)
{
    SIZE_T rest;
    SIZE_T committed;
    MI_TABLE_BUDGET budget = { .Charged = 0 };
    PMMVAD vad;

    (void)state;
    begin();
    vad = MiAllocateVad(base + 510, base + 513); /* two leaf tables, and one of each level above */
    assert_non_null(vad);
    rest = MiState.Physical->CommitLimit - MiState.Physical->CommittedPages - 3;
    assert_true(MiChargeCommitment(rest, 0));
    committed = MiState.Physical->CommittedPages;
    assert_false(MiPromiseTables(space, vad, &budget));
    assert_int_equal(budget.Wanted, 4);
    assert_false(vad->TablesPromised);
    assert_int_equal(MiState.Physical->CommittedPages, committed);
    assert_int_equal(space->CommittedPageTables, 1);
    assert_int_equal(MiRaiseTableBudget(space, &budget), STATUS_COMMITMENT_LIMIT);
    assert_int_equal(MiState.Physical->CommittedPages, committed);
    MiReturnCommitment(1);
    budget.Wanted = 4;
    assert_int_equal(MiRaiseTableBudget(space, &budget), STATUS_SUCCESS);
    assert_true(MiPromiseTables(space, vad, &budget)); /* nothing more is charged */
    assert_int_equal(budget.Charged, 0);
    assert_int_equal(MiState.Physical->CommittedPages, MiState.Physical->CommitLimit);
    MiInsertVad(space, vad);
    assert_true(MiChargePageTable(space, (base + 512) << PAGE_SHIFT, 1)); /* promised */
    assert_false(MiChargePageTable(space, (base + 1024) << PAGE_SHIFT, 1));
    MiReturnCommitment(rest - 1);
    MiRemoveVad(space, vad);
    MiFreeVad(vad);
    end();
}

static void check(void *unused)
{
    (void)unused;
    MiCheckTableCharge(space);
}

static void a_wrong_charge_is_found(void **state)
{
    (void)state;
    begin();
    assert_int_equal(MiChargeSpaceCommit(space, 1, 0), STATUS_SUCCESS);
    space->CommittedPageTables++;
    TestExpectBugCheck(MEMORY_MANAGEMENT, check, NULL);
    space->CommittedPageTables--;
    MiReturnSpaceCommit(space, 1);
    end();
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, TestTeardown)

int main(void)
{
    const struct CMUnitTest tests[] = { TEST(charges_agree_with_the_model),
                                        TEST(a_promise_beyond_the_limit_changes_nothing),
                                        TEST(a_wrong_charge_is_found) };

    return cmocka_run_group_tests_name("tablecharge", tests, NULL, NULL);
}
