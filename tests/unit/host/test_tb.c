/* SPDX-License-Identifier: MIT */
/*
 * The native TB: what a real processor promises about translations, accessed and dirty bits and invalidation must hold
 * for real pointers on Linux, and what the port promises on top of it: wide fills, few system calls, few mappings.
 */
#include "host_test.h"

#include <unistd.h>

static HOST_COUNTERS Counters(void)
{
    HOST_COUNTERS Values;

    HostQueryCounters(&Values);
    return Values;
}

/* Mappings of the RAM file in /proc/self/maps, without the direct map. */
static SIZE_T CountLinuxMappings(void)
{
    FILE *Maps = fopen("/proc/self/maps", "r");
    char Line[512];
    SIZE_T Count = 0;

    assert_non_null(Maps);
    while (fgets(Line, sizeof(Line), Maps) != NULL)
    {
        Count += strstr(Line, "ntmm-ram") != NULL;
    }
    fclose(Maps);
    return Count - 1;
}

static void a_valid_pte_is_an_ordinary_pointer(void **State)
{
    PFN_NUMBER Top = TestStartSpace(NULL);
    PFN_NUMBER Frame = TestAllocateFrame();

    (void)State;
    ((ULONG64 *)PortDirectMap(Frame))[5] = 0x1234567890abcdefull;
    TestMap(Top, BASE, Frame, USER_DATA);
    assert_true(READ64(BASE + 40) == 0x1234567890abcdefull);
    READ64(BASE + 48) = 77;
    assert_true(((ULONG64 *)PortDirectMap(Frame))[6] == 77);
    assert_int_equal(TestFaults, 0);
    TestStopSpace();
}

static void the_lowest_and_the_highest_page_of_the_window_work(void **State)
{
    PFN_NUMBER Top = TestStartSpace(NULL);
    ULONG_PTR Addresses[] = { PORT_USER_LOWEST, PORT_USER_HIGHEST & ~0xfffull, BASE - PAGE_SIZE };
    SIZE_T Index;

    (void)State;
    for (Index = 0; Index < 3; Index += 1)
    {
        if (!HostIsOccupied(Addresses[Index], Addresses[Index]))
        {
            TestMap(Top, Addresses[Index], TestAllocateFrame(), USER_DATA);
            READ64(Addresses[Index]) = Index + 100;
            assert_true(READ64(Addresses[Index]) == Index + 100);
            TestFlush(Top, Addresses[Index], 1);
            assert_true(READ64(Addresses[Index]) == Index + 100);
        }
    }
    PortFlushTb(Top, NULL, 0);
    TestStopSpace();
}

static void accessed_and_dirty_tell_the_truth(void **State)
{
    PFN_NUMBER Top = TestStartSpace(NULL);
    volatile ULONG64 *Pte = TestMap(Top, BASE, TestAllocateFrame(), USER_DATA);

    (void)State;
    assert_true((*Pte & (ACCESSED | DIRTY)) == 0);
    (void)READ64(BASE);
    assert_true((*Pte & (ACCESSED | DIRTY)) == ACCESSED);
    assert_true((*TestEntry(Top, BASE, 1) & ACCESSED) != 0);
    assert_true((*TestEntry(Top, BASE, 3) & ACCESSED) != 0);
    READ64(BASE + 8) = 1;
    assert_true((*Pte & (ACCESSED | DIRTY)) == (ACCESSED | DIRTY));

    /* Cleared and flushed, the next access sets them again; a read does not make the page dirty. */
    *Pte &= ~(ACCESSED | DIRTY);
    TestFlush(Top, BASE, 1);
    (void)READ64(BASE);
    assert_true((*Pte & (ACCESSED | DIRTY)) == ACCESSED);
    READ64(BASE) = 2;
    assert_true((*Pte & DIRTY) != 0);

    /* Cleared without a flush, the TB still has the old bits, as on hardware. */
    *Pte &= ~(ACCESSED | DIRTY);
    READ64(BASE) = 3;
    assert_true((*Pte & (ACCESSED | DIRTY)) == 0);
    assert_int_equal(TestFaults, 0);
    TestStopSpace();
}

static void a_flush_shows_the_new_frame(void **State)
{
    PFN_NUMBER Top = TestStartSpace(NULL);
    PFN_NUMBER First = TestAllocateFrame(), Second = TestAllocateFrame();

    (void)State;
    *(ULONG64 *)PortDirectMap(First) = 1;
    *(ULONG64 *)PortDirectMap(Second) = 2;
    TestMap(Top, BASE, First, USER_DATA);
    assert_true(READ64(BASE) == 1);
    TestMap(Top, BASE, Second, USER_DATA);
    assert_true(READ64(BASE) == 1); /* stale, but allowed to be */
    TestFlush(Top, BASE, 1);
    assert_true(READ64(BASE) == 2);
    PortFlushTb(Top, NULL, 0);
    TestMap(Top, BASE, First, USER_DATA);
    assert_true(READ64(BASE) == 1);
    TestStopSpace();
}

static void a_page_that_was_never_loaded_costs_no_system_call(void **State)
{
    PFN_NUMBER Top = TestStartSpace(NULL);
    HOST_COUNTERS Before;
    ULONG Index;

    (void)State;
    for (Index = 0; Index < 64; Index += 1)
    {
        TestMap(Top, BASE + Index * PAGE_SIZE, TestAllocateFrame(), USER_DATA);
    }
    Before = Counters();
    for (Index = 0; Index < 64; Index += 1)
    {
        TestFlush(Top, BASE + Index * PAGE_SIZE, 1);
    }
    TestFlush(Top, PORT_USER_LOWEST, (PORT_USER_HIGHEST - PORT_USER_LOWEST) >> PAGE_SHIFT);
    assert_true(Counters().FlushCalls == Before.FlushCalls);
    assert_true(Counters().FlushRangesIdle == Before.FlushRangesIdle + 65);
    TestStopSpace();
}

static void neighbours_come_along_only_if_their_bits_say_so(void **State)
{
    PFN_NUMBER Top = TestStartSpace(NULL);
    PFN_NUMBER Frames = TestAllocateFrames(64);
    ULONG Index;

    (void)State;
    for (Index = 0; Index < 64; Index += 1)
    {
        TestMap(Top, BASE + Index * PAGE_SIZE, Frames + Index, USER_DATA | (Index < 32 ? ACCESSED : 0));
    }
    assert_true(TestSignals() == 0);
    (void)READ64(BASE + 16 * PAGE_SIZE);
    assert_true(Counters().PagesWide == 31);
    for (Index = 0; Index < 32; Index += 1)
    {
        (void)READ64(BASE + Index * PAGE_SIZE);
    }
    assert_true(TestSignals() == 1);
    /* No bit was invented: the others are untouched, none is dirty. */
    for (Index = 0; Index < 64; Index += 1)
    {
        assert_true((*TestPte(Top, BASE + Index * PAGE_SIZE) & (ACCESSED | DIRTY)) ==
                    (Index < 32 ? ACCESSED : 0));
    }
    (void)READ64(BASE + 40 * PAGE_SIZE);
    assert_true(TestSignals() == 2);
    assert_true((*TestPte(Top, BASE + 41 * PAGE_SIZE) & ACCESSED) == 0);
    /* Another protection, another frame order: not along. */
    TestMap(Top, BASE + 100 * PAGE_SIZE, Frames, USER_DATA | ACCESSED);
    TestMap(Top, BASE + 101 * PAGE_SIZE, Frames + 1, (USER_DATA & ~WRITABLE) | ACCESSED);
    TestMap(Top, BASE + 99 * PAGE_SIZE, Frames + 1, USER_DATA | ACCESSED);
    Index = (ULONG)Counters().PagesWide;
    (void)READ64(BASE + 100 * PAGE_SIZE);
    assert_true(Counters().PagesWide == Index);
    TestStopSpace();
}

/* A clean page that came along with a dirty one, writable, would lose what is written to it. */
static void a_write_takes_dirty_neighbours_along_only(void **State)
{
    PFN_NUMBER Top = TestStartSpace(NULL);
    PFN_NUMBER Frames = TestAllocateFrames(16);
    ULONG64 Wide;

    (void)State;
    for (ULONG Index = 0; Index < 16; Index += 1)
    {
        TestMap(Top, BASE + Index * PAGE_SIZE, Frames + Index,
                USER_DATA | ACCESSED | (Index >= 4 && Index < 8 ? DIRTY : 0));
    }
    Wide = Counters().PagesWide;
    READ64(BASE + 5 * PAGE_SIZE) = 1;
    assert_true(Counters().PagesWide == Wide + 3);
    for (ULONG Index = 0; Index < 16; Index += 1)
    {
        assert_true(((*TestPte(Top, BASE + Index * PAGE_SIZE) & DIRTY) != 0) == (Index >= 4 && Index < 8));
    }
    READ64(BASE + 8 * PAGE_SIZE) = 1;
    READ64(BASE + 3 * PAGE_SIZE) = 1;
    assert_true((*TestPte(Top, BASE + 8 * PAGE_SIZE) & DIRTY) != 0);
    assert_true((*TestPte(Top, BASE + 3 * PAGE_SIZE) & DIRTY) != 0);
    /* Reading takes clean ones along, which are read-only until they are written. */
    (void)READ64(BASE + 12 * PAGE_SIZE);
    READ64(BASE + 11 * PAGE_SIZE) = 1;
    READ64(BASE + 13 * PAGE_SIZE) = 1;
    assert_true((*TestPte(Top, BASE + 11 * PAGE_SIZE) & DIRTY) != 0);
    assert_true((*TestPte(Top, BASE + 13 * PAGE_SIZE) & DIRTY) != 0);
    assert_true((*TestPte(Top, BASE + 12 * PAGE_SIZE) & DIRTY) == 0);
    TestStopSpace();
}

static void a_large_page_is_one_mapping(void **State)
{
    PFN_NUMBER Top = TestStartSpace(NULL);
    PFN_NUMBER Frames = (TestAllocateFrames(1024) + 511) & ~(PFN_NUMBER)511;
    volatile ULONG64 *Pde = TestEntry(Top, BASE, 1);
    ULONG Index;

    (void)State;
    *Pde = (Frames << PAGE_SHIFT) | USER_DATA | LARGE;
    for (Index = 0; Index < 512; Index += 1)
    {
        *(ULONG64 *)PortDirectMap(Frames + Index) = Index;
    }
    for (Index = 0; Index < 512; Index += 1)
    {
        assert_true(READ64(BASE + Index * PAGE_SIZE) == Index);
    }
    assert_true(TestSignals() == 1);
    assert_true((*Pde & (ACCESSED | DIRTY)) == ACCESSED);
    READ64(BASE + 300 * PAGE_SIZE) = 1;
    assert_true((*Pde & DIRTY) != 0);
    assert_true(CountLinuxMappings() == 1);
    TestStopSpace();
}

static void hints_load_consecutive_frames_at_once(void **State)
{
    PFN_NUMBER Top = TestStartSpace(NULL);
    PFN_NUMBER Frames = TestAllocateFrames(1024);
    ULONG Index;

    (void)State;
    PortSetSystemSpace(Top);
    for (Index = 0; Index < 1024; Index += 1)
    {
        TestMap(Top, SYSTEM_BASE + Index * PAGE_SIZE, Frames + Index, PRESENT | WRITABLE | NOEXEC);
    }
    PortFillTb(0, SYSTEM_BASE, 1024, TRUE);
    assert_true(Counters().PagesHinted == 1024);
    for (Index = 0; Index < 1024; Index += 1)
    {
        READ64(SYSTEM_BASE + Index * PAGE_SIZE) = Index;
        assert_true((*TestPte(Top, SYSTEM_BASE + Index * PAGE_SIZE) & (ACCESSED | DIRTY)) ==
                    (ACCESSED | DIRTY));
    }
    assert_true(TestSignals() == 0);
    assert_true(CountLinuxMappings() == 1);
    /* Holes in the range are no error. */
    PortFillTb(0, SYSTEM_BASE - 10 * PAGE_SIZE, 20, FALSE);
    TestFlush(0, SYSTEM_BASE, 1024);
    assert_true(READ64(SYSTEM_BASE + 8 * PAGE_SIZE) == 8);
    PortSetSystemSpace(0);
    TestStopSpace();
}

static void the_number_of_mappings_is_known_exactly(void **State)
{
    PFN_NUMBER Top = TestStartSpace(NULL);
    PFN_NUMBER Frames = TestAllocateFrames(512);
    unsigned Seed = 12345;
    ULONG Round;

    (void)State;
    for (Round = 0; Round < 20000; Round += 1)
    {
        ULONG Page = (ULONG)rand_r(&Seed) % 700;
        ULONG_PTR Address = BASE + 0x100000 + Page * PAGE_SIZE;

        switch (rand_r(&Seed) % 4)
        {
        case 0:
            TestMap(Top, Address, Frames + (rand_r(&Seed) % 8 == 0 ? (ULONG)rand_r(&Seed) % 512 : Page % 512),
                    (rand_r(&Seed) % 4 == 0 ? USER_DATA & ~WRITABLE : USER_DATA) |
                        (rand_r(&Seed) % 2 ? ACCESSED : 0));
            TestFlush(Top, Address, 1);
            break;
        case 1:
            TestFlush(Top, Address, 1 + (ULONG)rand_r(&Seed) % 20);
            break;
        default:
            if ((*TestPte(Top, Address) & PRESENT) != 0)
            {
                if ((*TestPte(Top, Address) & WRITABLE) != 0 && rand_r(&Seed) % 2)
                {
                    READ64(Address) = 1;
                }
                (void)READ64(Address);
            }
            break;
        }
        if (Round % 500 == 0)
        {
            assert_int_equal(Counters().Mappings, CountLinuxMappings());
        }
    }
    PortFlushTb(Top, NULL, 0);
    assert_int_equal(Counters().Mappings, 0);
    assert_int_equal(CountLinuxMappings(), 0);
    TestStopSpace();
}

static void the_budget_of_mappings_is_kept(void **State)
{
    HOST_PARAMETERS Parameters = { .RamBytes = 64 << 20, .MaximumMappings = 100 };
    PFN_NUMBER Top = TestStartSpace(&Parameters);
    PFN_NUMBER Frames = TestAllocateFrames(4000);
    ULONG Index;

    (void)State;
    assert_int_equal(Counters().MaximumMappings, 100);
    for (Index = 0; Index < 4000; Index += 1)
    {
        /* Descending frames: nothing merges. Spread over many regions. */
        TestMap(Top, BASE + Index * 37ull * PAGE_SIZE, Frames + 3999 - Index, USER_DATA);
        READ64(BASE + Index * 37ull * PAGE_SIZE) = Index;
        assert_in_range(Counters().Mappings, 1, 100);
    }
    for (Index = 0; Index < 4000; Index += 1)
    {
        assert_true(READ64(BASE + Index * 37ull * PAGE_SIZE) == Index);
    }
    assert_true(Counters().PagesEvicted > 4000);
    assert_true(CountLinuxMappings() == Counters().Mappings);
    TestStopSpace();
}

static void a_refill_of_the_same_frame_revives_the_mapping(void **State)
{
    PFN_NUMBER Top = TestStartSpace(NULL);
    HOST_COUNTERS Before;

    (void)State;
    TestMap(Top, BASE, TestAllocateFrame(), USER_DATA);
    READ64(BASE) = 9;
    TestFlush(Top, BASE, 1);
    Before = Counters();
    assert_true(READ64(BASE) == 9);
    assert_true(Counters().FillsRevived == Before.FillsRevived + 1);
    TestStopSpace();
}

/* Whole regions share a call; one that is not as it was, and parts of regions, are dealt with as ever. */
static void whole_regions_are_revived_with_one_call(void **State)
{
    PFN_NUMBER Top = TestStartSpace(NULL);
    PFN_NUMBER Frames = TestAllocateFrames(2048);
    ULONG64 Revived;
    ULONG Index;

    (void)State;
    for (Index = 0; Index < 2048; Index += 1)
    {
        *(ULONG64 *)PortDirectMap(Frames + Index) = Index + 1;
        TestMap(Top, BASE + Index * PAGE_SIZE, Frames + Index, USER_DATA | ACCESSED);
    }
    PortFillTb(Top, BASE, 2048, FALSE);
    TestFlush(Top, BASE, 2048);
    Revived = Counters().FillsRevived;
    PortFillTb(Top, BASE, 2048, FALSE);
    assert_int_equal(Counters().FillsRevived - Revived, 1);
    for (Index = 0; Index < 2048; Index += 1)
    {
        assert_int_equal(READ64(BASE + Index * PAGE_SIZE), Index + 1);
    }
    assert_int_equal(TestSignals(), 0);
    assert_int_equal(Counters().Mappings, CountLinuxMappings());
    /* One page of the third region has another frame now. */
    TestFlush(Top, BASE, 2048);
    TestMap(Top, BASE + 1100 * PAGE_SIZE, Frames + 5, USER_DATA | ACCESSED);
    PortFillTb(Top, BASE + 3 * PAGE_SIZE, 2045, FALSE);
    for (Index = 0; Index < 2048; Index += 1)
    {
        assert_int_equal(READ64(BASE + Index * PAGE_SIZE), (Index == 1100 ? 5 : Index) + 1);
    }
    assert_int_equal(Counters().Mappings, CountLinuxMappings());
    /* Read-only while clean, after the whole was writable. */
    PortFillTb(Top, BASE, 2048, TRUE);
    TestFlush(Top, BASE, 2048);
    for (Index = 0; Index < 2048; Index += 1)
    {
        *TestPte(Top, BASE + Index * PAGE_SIZE) &= ~DIRTY;
    }
    PortFillTb(Top, BASE, 2048, FALSE);
    READ64(BASE + 700 * PAGE_SIZE) = 4711;
    assert_true((*TestPte(Top, BASE + 700 * PAGE_SIZE) & DIRTY) != 0);
    assert_true((*TestPte(Top, BASE + 701 * PAGE_SIZE) & DIRTY) == 0);
    assert_int_equal(*(ULONG64 *)PortDirectMap(Frames + 700), 4711);
    assert_int_equal(Counters().Mappings, CountLinuxMappings());
    TestStopSpace();
}

static void ranges_of_a_batch_share_system_calls(void **State)
{
    PFN_NUMBER Top = TestStartSpace(NULL);
    PORT_TB_RANGE Ranges[100];
    HOST_COUNTERS Before;
    ULONG Index;

    (void)State;
    for (Index = 0; Index < 100; Index += 1)
    {
        TestMap(Top, BASE + Index * PAGE_SIZE, TestAllocateFrame(), USER_DATA);
        READ64(BASE + Index * PAGE_SIZE) = Index;
        Ranges[99 - Index] = (PORT_TB_RANGE){ BASE + Index * PAGE_SIZE, 1 };
    }
    Before = Counters();
    PortFlushTb(Top, Ranges, 100);
    assert_in_range(Counters().FlushCalls - Before.FlushCalls, 1, 2);
    assert_true(Counters().PagesFlushed - Before.PagesFlushed == 100);
    for (Index = 0; Index < 100; Index += 1)
    {
        assert_true(READ64(BASE + Index * PAGE_SIZE) == Index);
    }
    assert_true(Counters().Signals - Before.Signals > 0);
    TestStopSpace();
}

static void code_in_a_page_runs(void **State)
{
    /* mov eax, 0x2a; ret */
    static const UCHAR Code[] = { 0xb8, 0x2a, 0, 0, 0, 0xc3 };
    PFN_NUMBER Top = TestStartSpace(NULL);
    PFN_NUMBER Frame = TestAllocateFrame();
    int (*Function)(void) = (int (*)(void))(BASE + 0x100);

    (void)State;
    memcpy((PUCHAR)PortDirectMap(Frame) + 0x100, Code, sizeof(Code));
    TestMap(Top, BASE, Frame, PRESENT | USER);
    assert_int_equal(Function(), 42);
    assert_true((*TestPte(Top, BASE) & ACCESSED) != 0);
    TestStopSpace();
}

static void many_machines_follow_one_another(void **State)
{
    ULONG Round;

    (void)State;
    for (Round = 0; Round < 20; Round += 1)
    {
        PFN_NUMBER Top = TestStartSpace(NULL);

        TestMap(Top, BASE, TestAllocateFrame(), USER_DATA);
        assert_true(READ64(BASE) == 0);
        READ64(BASE) = Round + 1;
        TestStopSpace();
    }
    assert_true((long)CountLinuxMappings() == -1); /* the direct map is gone, too */
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(a_valid_pte_is_an_ordinary_pointer),
        cmocka_unit_test(the_lowest_and_the_highest_page_of_the_window_work),
        cmocka_unit_test(accessed_and_dirty_tell_the_truth),
        cmocka_unit_test(a_flush_shows_the_new_frame),
        cmocka_unit_test(a_page_that_was_never_loaded_costs_no_system_call),
        cmocka_unit_test(neighbours_come_along_only_if_their_bits_say_so),
        cmocka_unit_test(a_write_takes_dirty_neighbours_along_only),
        cmocka_unit_test(a_large_page_is_one_mapping),
        cmocka_unit_test(hints_load_consecutive_frames_at_once),
        cmocka_unit_test(the_number_of_mappings_is_known_exactly),
        cmocka_unit_test(the_budget_of_mappings_is_kept),
        cmocka_unit_test(a_refill_of_the_same_frame_revives_the_mapping),
        cmocka_unit_test(whole_regions_are_revived_with_one_call),
        cmocka_unit_test(ranges_of_a_batch_share_system_calls),
        cmocka_unit_test(code_in_a_page_runs),
        cmocka_unit_test(many_machines_follow_one_another),
    };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
