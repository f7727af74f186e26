/* SPDX-License-Identifier: MIT */
/*
 * Pages for a writer in order: he gets them without a signal, and dirty bits say exactly what he wrote as soon as somebody asks. A thread that writes
 * while another asks again and again loses nothing.
 */
#include "host_test.h"

#include <time.h>

#define PAGES 64u

static PFN_NUMBER Top;
static PFN_NUMBER Frames[PAGES];

static ULONG_PTR PageAddress(ULONG Page)
{
    return BASE + (ULONG_PTR)Page * PAGE_SIZE;
}

static BOOLEAN IsDirty(ULONG Page)
{
    return (__atomic_load_n(TestPte(Top, PageAddress(Page)), __ATOMIC_ACQUIRE) & DIRTY) != 0;
}

static ULONG64 DirtyPages(void)
{
    ULONG64 Bits = 0;

    for (ULONG Page = 0; Page < PAGES; Page += 1)
    {
        Bits |= (ULONG64)IsDirty(Page) << Page;
    }
    return Bits;
}

/* Clean writable pages with their numbers in them; every eighth frame lies apart. */
static void MapPages(const HOST_PARAMETERS *Parameters)
{
    Top = TestStartSpace(Parameters);
    for (ULONG Page = 0; Page < PAGES; Page += 1)
    {
        Frames[Page] = TestAllocateFrames(Page % 8 == 0 ? 3 : 1);
        *(ULONG64 *)PortDirectMap(Frames[Page]) = Page;
        TestMap(Top, PageAddress(Page), Frames[Page], USER_DATA);
    }
}

static void CleanPages(ULONG First, ULONG End)
{
    for (ULONG Page = First; Page < End; Page += 1)
    {
        __atomic_fetch_and(TestPte(Top, PageAddress(Page)), ~(ULONG64)DIRTY, __ATOMIC_ACQ_REL);
    }
    TestFlush(Top, PageAddress(First), End - First);
}

static void a_writer_needs_no_signals_and_the_truth_comes_out(void **State)
{
    PFN_NUMBER Table;
    ULONG64 Signals;

    (void)State;
    MapPages(NULL);
    Table = PortDirectMapFrame((PVOID)(ULONG_PTR)TestPte(Top, BASE));
    PortFillTbForWriter(Top, BASE, PAGES);
    assert_true(PortIsTableOfWriter(Table));
    assert_true(PortIsSpaceOfWriter(Top));
    assert_false(PortIsTableOfWriter(Table + 1) || PortIsSpaceOfWriter(Top + 1));
    Signals = TestSignals();
    for (ULONG Page = 0; Page < 40; Page += 1)
    {
        READ64(PageAddress(Page) + 8 * (Page % 512)) = ~0ull; /* anywhere in the page, its last word too */
    }
    READ64(PageAddress(50) + PAGE_SIZE - 8) = 1;
    READ64(PageAddress(51)) = 51; /* what is there already */
    assert_true(READ64(PageAddress(52)) == 52);
    assert_true(TestSignals() == Signals);
    assert_true(DirtyPages() == 0);
    PortSettleWriter();
    assert_false(PortIsTableOfWriter(Table) || PortIsSpaceOfWriter(Top));
    assert_true(DirtyPages() == (((1ull << 40) - 1) | 1ull << 50));
    /* Who has written goes on without a signal; who has not is seen when he does. */
    READ64(PageAddress(7)) = 5;
    assert_true(TestSignals() == Signals);
    READ64(PageAddress(60)) = 5;
    assert_true(TestSignals() == Signals + 1);
    READ64(PageAddress(51)) = 51;
    assert_true(TestSignals() == Signals + 2);
    assert_true(IsDirty(60) && IsDirty(51) && !IsDirty(61));
    assert_int_equal(TestFaults, 0);
    TestStopSpace();
}

static void pages_that_are_dirty_stay_so_and_others_end_the_run(void **State)
{
    (void)State;
    MapPages(NULL);
    READ64(PageAddress(3)) = 1;
    TestMap(Top, PageAddress(20), Frames[20], USER_DATA & ~(ULONG64)WRITABLE);
    PortFillTbForWriter(Top, BASE, PAGES);
    READ64(PageAddress(3)) = 3;
    READ64(PageAddress(19)) = 1;
    READ64(PageAddress(21)) = 1;
    assert_true(DirtyPages() == (1ull << 3 | 1ull << 21));
    PortSettleWriter();
    assert_true(DirtyPages() == (1ull << 3 | 1ull << 19 | 1ull << 21));
    /* A run may end at the table's end, and not go beyond it. */
    PortFillTbForWriter(Top, PageAddress(500), 40);
    assert_false(PortIsSpaceOfWriter(Top));
    PortFillTbForWriter(Top, SYSTEM_BASE, 4);
    PortFillTbForWriter(Top + 1, BASE, 4);         /* not loaded */
    PortFillTbForWriter(Top, PageAddress(100), 4); /* nothing there */
    assert_false(PortIsSpaceOfWriter(Top));
    PortSettleWriter();
    TestStopSpace();
}

static void a_new_run_settles_the_one_before(void **State)
{
    (void)State;
    MapPages(NULL);
    PortFillTbForWriter(Top, BASE, 32);
    READ64(PageAddress(4)) = 100;
    PortFillTbForWriter(Top, PageAddress(32), 32);
    assert_true(DirtyPages() == 1ull << 4);
    READ64(PageAddress(5)) = 100;
    READ64(PageAddress(40)) = 100;
    assert_true(DirtyPages() == (1ull << 4 | 1ull << 5));
    PortSettleWriter();
    assert_true(DirtyPages() == (1ull << 4 | 1ull << 5 | 1ull << 40));
    TestStopSpace();
}

static void what_becomes_of_the_mapping_does_not_matter(void **State)
{
    (void)State;
    MapPages(NULL);
    PortFillTbForWriter(Top, BASE, PAGES);
    READ64(PageAddress(9)) = 100;
    PortFlushTb(Top, NULL, 0); /* the window is emptied */
    assert_true(DirtyPages() == 0);
    PortSettleWriter();
    assert_true(DirtyPages() == 1ull << 9);
    PortFillTbForWriter(Top, BASE, PAGES);
    READ64(PageAddress(10)) = 100;
    PortFlushTb(Top, NULL, 0);
    assert_true(READ64(PageAddress(10)) == 100); /* loaded anew, for reading */
    READ64(PageAddress(11)) = 100;
    assert_true(DirtyPages() == (1ull << 9 | 1ull << 11));
    PortSettleWriter();
    assert_true(DirtyPages() == (1ull << 9 | 1ull << 10 | 1ull << 11));
    TestStopSpace();
}

static void few_mappings_are_enough(void **State)
{
    static const HOST_PARAMETERS Few = { .RamBytes = 64 << 20, .ProcessorCount = 2, .MaximumMappings = 64 };

    (void)State;
    MapPages(&Few);
    for (ULONG Round = 0; Round < 20; Round += 1)
    {
        ULONG64 Wanted = 0;

        PortFillTbForWriter(Top, BASE, PAGES);
        for (ULONG Page = Round % 3; Page < PAGES; Page += 2 + Round % 5)
        {
            READ64(PageAddress(Page)) += 1;
            Wanted |= 1ull << Page;
        }
        PortSettleWriter();
        assert_true(DirtyPages() == Wanted);
        CleanPages(0, PAGES);
    }
    TestStopSpace();
}

/* ---- Writing while somebody asks ------------------------------------------------------------------------- */

static volatile ULONG Stop;
static KTHREAD Thread;
static ULONG64 Written[PAGES];

static VOID WriteForEver(PVOID Context)
{
    unsigned Seed = 1;

    (void)Context;
    PortLoadAddressSpace(Top);
    while (__atomic_load_n(&Stop, __ATOMIC_RELAXED) == 0)
    {
        ULONG Page = (ULONG)rand_r(&Seed) % PAGES;

        __atomic_store_n((volatile ULONG64 *)(PageAddress(Page) + 8), ++Written[Page], __ATOMIC_RELAXED);
    }
    PortLoadAddressSpace(0);
}

static ULONG64 ValueOf(ULONG Page)
{
    return __atomic_load_n((volatile ULONG64 *)PortDirectMap(Frames[Page]) + 1, __ATOMIC_RELAXED);
}

/* What a flush does: clean, flush, then save. A page that is clean at the end must have been saved as it is. */
static void no_write_is_lost_while_somebody_asks(void **State)
{
    ULONG64 Saved[PAGES] = { 0 };
    ULONG64 Saves = 0;

    (void)State;
    MapPages(NULL);
    Stop = 0;
    memset(Written, 0, sizeof(Written));
    assert_int_equal(KiStartThread(&Thread, WriteForEver, NULL, ~0u), STATUS_SUCCESS);
    /* On a busy machine the other thread may begin late. */
    for (ULONG Round = 0; Round < 400 || Saves == 0; Round += 1)
    {
        PortFillTbForWriter(Top, PageAddress(Round % 7), PAGES - Round % 7);
        PortYield();
        PortSettleWriter();
        for (ULONG Page = 0; Page < PAGES; Page += 1)
        {
            if (IsDirty(Page))
            {
                CleanPages(Page, Page + 1);
                Saved[Page] = ValueOf(Page);
                Saves += 1;
            }
        }
    }
    __atomic_store_n(&Stop, 1, __ATOMIC_RELAXED);
    KiJoinThread(&Thread);
    PortSettleWriter();
    for (ULONG Page = 0; Page < PAGES; Page += 1)
    {
        assert_true(ValueOf(Page) == Written[Page]);
        assert_true(IsDirty(Page) || Saved[Page] == Written[Page]);
    }
    assert_true(Saves != 0);
    TestStopSpace();
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(a_writer_needs_no_signals_and_the_truth_comes_out),
        cmocka_unit_test(pages_that_are_dirty_stay_so_and_others_end_the_run),
        cmocka_unit_test(a_new_run_settles_the_one_before),
        cmocka_unit_test(what_becomes_of_the_mapping_does_not_matter),
        cmocka_unit_test(few_mappings_are_enough),
        cmocka_unit_test(no_write_is_lost_while_somebody_asks),
    };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
