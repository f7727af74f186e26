/* SPDX-License-Identifier: MIT */
/* Page tables: walking, linking, taking empty ones out, the shared system half, flush lists. */
#include "boot.h"

static int setup(void **state)
{
    static const TEST_MACHINE machine = { .Deterministic = TRUE, .Seed = 11, .Last = TestTranslation };

    (void)state;
    TestBootMachine(&machine);
    return 0;
}

/* An address in the middle of the user window, at the start of what one top-level entry maps. */
static ULONG_PTR user_address(void)
{
    ULONG_PTR step = MI_LEVEL_BYTES(MI_TOP_LEVEL) / 512 * 3;

    return (PORT_USER_LOWEST + (PORT_USER_HIGHEST - PORT_USER_LOWEST) / 2) / step * step;
}

/* Links tables until the walk reaches level 0. Returns how many it took. */
static ULONG build(PFN_NUMBER top, ULONG_PTR va)
{
    PMMPTE entry;
    ULONG made = 0;

    while (MiWalk(top, va, &entry) != 0)
    {
        PFN_NUMBER frame = MiAllocatePage(MI_PAGE_ZEROED);

        assert_int_not_equal(frame, 0);
        MiLinkPageTable(entry, frame, TRUE);
        made++;
    }
    return made;
}

static PMMPTE pte_of(PFN_NUMBER top, ULONG_PTR va)
{
    PMMPTE entry;

    assert_int_equal(MiWalk(top, va, &entry), 0);
    return entry;
}

static void a_walk_stops_where_a_table_is_missing(void **state)
{
    PFN_NUMBER top = MiCreateTopLevel();
    ULONG_PTR va = user_address();
    PMMPTE entry;

    (void)state;
    assert_int_equal(MiWalk(top, va, &entry), MI_TOP_LEVEL);
    assert_ptr_equal(entry, MiTableEntry(top, va, MI_TOP_LEVEL));
    assert_int_equal(build(top, va), 3);
    assert_int_equal(MiWalk(top, va, &entry), 0);
    assert_int_equal(MiPtePage(entry)->e1.PageTable, 1);
    assert_int_equal(build(top, va + PAGE_SIZE), 0);
    assert_ptr_equal(pte_of(top, va + PAGE_SIZE), entry + 1);
    assert_int_equal(build(top, va + MI_LEVEL_BYTES(1)), 1);
    assert_int_equal(
        MiDeleteEmptyPageTables(top, pte_of(top, va + MI_LEVEL_BYTES(1)), va + MI_LEVEL_BYTES(1)), 1);
    assert_int_equal(MiDeleteEmptyPageTables(top, entry, va), 3);
    assert_int_equal(MiWalk(top, va, &entry), MI_TOP_LEVEL);
    MiDeleteTopLevel(top);
}

static void tables_count_what_is_in_them(void **state)
{
    PFN_NUMBER top = MiCreateTopLevel();
    ULONG_PTR va = user_address();
    PMMPFN page;
    PMMPTE pte;

    (void)state;
    build(top, va);
    pte = pte_of(top, va);
    page = MiPtePage(pte);
    assert_int_equal(page->u1.ShareCount, 1);
    assert_int_equal(page->u1.UsedPageTableEntries, 0);
    assert_int_equal(MiPfn(top)->u1.UsedPageTableEntries, 1);
    assert_int_equal(MiPfn(top)->u1.ShareCount, 2);
    assert_ptr_equal(page->PteAddress, MiTableEntry(MiPfnFrame(MiPtePage(page->PteAddress)), va, 1));

    *pte = MiMakeDemandZeroPte(MM_READWRITE);
    MiAddUsedEntries(pte, 1);
    assert_int_equal(MiDeleteEmptyPageTables(top, pte, va), 0); /* not empty */
    pte->Long = 0;
    MiAddUsedEntries(pte, -1);
    assert_int_equal(MiDeleteEmptyPageTables(top, pte, va), 3);
    assert_int_equal(MiPfn(top)->u1.UsedPageTableEntries, 0);
    MiCheckPhysical(3);
    MiDeleteTopLevel(top);
}

static void delete_top_level(void *top)
{
    MiDeleteTopLevel((PFN_NUMBER)(ULONG_PTR)top);
}

static void a_space_that_is_not_empty_cannot_be_deleted(void **state)
{
    PFN_NUMBER top = MiCreateTopLevel();
    ULONG_PTR va = user_address();

    (void)state;
    build(top, va);
    TestExpectBugCheck(KMODE_EXCEPTION_NOT_HANDLED, delete_top_level, (void *)(ULONG_PTR)top);
    MiDeleteEmptyPageTables(top, pte_of(top, va), va);
    MiDeleteTopLevel(top);
}

static void every_space_shares_the_system_half(void **state)
{
    PFN_NUMBER system = MiState.Translation->SystemTopLevel;
    PFN_NUMBER top = MiCreateTopLevel();
    ULONG_PTR va = PORT_SYSTEM_START + 5 * MI_LEVEL_BYTES(2) + 7 * MI_LEVEL_BYTES(1) + 3 * PAGE_SIZE;
    PFN_NUMBER later;

    (void)state;
    assert_true(build(system, va) >= 2);
    assert_ptr_equal(pte_of(top, va), pte_of(system, va));
    later = MiCreateTopLevel();
    assert_ptr_equal(pte_of(later, va), pte_of(system, va));
    assert_int_equal(MiPfn(top)->u1.UsedPageTableEntries, 0); /* not its own */
    MiDeleteTopLevel(top);
    MiDeleteTopLevel(later);
    assert_int_equal(MiDeleteEmptyPageTables(system, pte_of(system, va), va) >= 2, 1);
    /* That took the shared level away, which lives as long as the machine: put it back. */
    if (!MiTableEntry(system, va, MI_TOP_LEVEL)->Hard.Valid)
    {
        MiLinkPageTable(MiTableEntry(system, va, MI_TOP_LEVEL), MiAllocatePage(MI_PAGE_ZEROED), FALSE);
    }
}

static void no_frame_means_no_space(void **state)
{
    (void)state;
    KiSetInjection(KiInjectFrame, 1, FALSE);
    assert_int_equal(MiCreateTopLevel(), 0);
    KiSetInjection(KiInjectFrame, 0, FALSE);
}

static void flush_lists_merge_neighbours_and_flush_early_when_full(void **state)
{
    MI_FLUSH_LIST list;
    ULONG64 before = MiQueryCounter(MiCounterTbFlushes);

    (void)state;
    MiInitializeFlushList(&list, 0);
    MiFlushTb(&list);
    assert_int_equal(MiQueryCounter(MiCounterTbFlushes), before);
    for (ULONG i = 0; i < 100; i++)
    {
        MiAddToFlushList(&list, PORT_SYSTEM_START + i * PAGE_SIZE, 1);
    }
    assert_int_equal(list.Count, 1);
    assert_int_equal(list.Ranges[0].Pages, 100);
    for (ULONG i = 0; i < MI_FLUSH_RANGES - 1; i++)
    {
        MiAddToFlushList(&list, PORT_SYSTEM_START + (1000 + 2 * i) * PAGE_SIZE, 1);
    }
    assert_int_equal(list.Count, MI_FLUSH_RANGES);
    assert_int_equal(MiQueryCounter(MiCounterTbFlushes), before);
    MiAddToFlushList(&list, PORT_SYSTEM_START, 1);
    assert_int_equal(list.Count, 1);
    assert_int_equal(MiQueryCounter(MiCounterTbFlushes), before + 1);
    MiFlushTb(&list);
    assert_int_equal(list.Count, 0);
    assert_int_equal(MiQueryCounter(MiCounterTbFlushes), before + 2);
}

/* A model of which pages have entries; tables must be there exactly as long as they are needed. */
static void random_entries_leave_no_table_behind(void **state)
{
    TEST_RANDOM random = TestSeed(__func__);
    PFN_NUMBER top = MiCreateTopLevel();
    ULONG_PTR base = user_address();
    ULONG_PTR used[64] = { 0 };

    (void)state;
    for (ULONG64 step = TestIterations(20000); step > 0; step--)
    {
        ULONG_PTR *slot = &used[TestBelow(&random, 64)];

        if (*slot == 0)
        {
            ULONG_PTR va = base + TestBelow(&random, 4) * MI_LEVEL_BYTES(2) +
                           TestBelow(&random, 4) * MI_LEVEL_BYTES(1) + TestBelow(&random, 512) * PAGE_SIZE;
            PMMPTE pte;

            build(top, va);
            pte = pte_of(top, va);
            if (pte->Long == 0)
            {
                *pte = MiMakeDemandZeroPte(MM_READWRITE);
                MiAddUsedEntries(pte, 1);
                *slot = va;
            }
        }
        else
        {
            PMMPTE pte = pte_of(top, *slot);

            pte->Long = 0;
            MiAddUsedEntries(pte, -1);
            MiDeleteEmptyPageTables(top, pte, *slot);
            *slot = 0;
        }
    }
    for (ULONG i = 0; i < 64; i++)
    {
        if (used[i] != 0)
        {
            PMMPTE pte = pte_of(top, used[i]);

            pte->Long = 0;
            MiAddUsedEntries(pte, -1);
            MiDeleteEmptyPageTables(top, pte, used[i]);
        }
    }
    assert_int_equal(MiPfn(top)->u1.UsedPageTableEntries, 0);
    MiDeleteTopLevel(top);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, TestTeardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_walk_stops_where_a_table_is_missing),
        TEST(tables_count_what_is_in_them),
        TEST(a_space_that_is_not_empty_cannot_be_deleted),
        TEST(every_space_shares_the_system_half),
        TEST(no_frame_means_no_space),
        TEST(flush_lists_merge_neighbours_and_flush_early_when_full),
        TEST(random_entries_leave_no_table_behind),
    };

    return cmocka_run_group_tests_name("tables", tests, NULL, NULL);
}
