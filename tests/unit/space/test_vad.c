/* SPDX-License-Identifier: MIT */
/*
 * The VAD tree and the search for free addresses against a model that cannot be wrong: one byte for each page of a small
 * window, searched one page after the other.
 */
#include "boot.h"

#define MODEL_PAGES 4096u /* 16 MiB of address space */
#define MODEL_VADS  200u

static int setup(void **state)
{
    static const TEST_MACHINE machine = { .RamMegabytes = 16, .Deterministic = TRUE, .Seed = 13 };

    (void)state;
    TestBootMachine(&machine);
    return 0;
}

/* ---- A space and its model ---------------------------------------------------------------------------------- */

static PEPROCESS process;
static PMI_ADDRESS_SPACE space;
static ULONG_PTR base; /* first page of the window */
static PMMVAD owner[MODEL_PAGES];
static PMMVAD vads[MODEL_VADS];

static void begin_model(void)
{
    assert_int_equal(PsCreateProcessObject("model", &process), STATUS_SUCCESS);
    space = &process->Space;
    base = ((space->LowestVpn + (space->HighestVpn - space->LowestVpn) / 2) | 0xffff) + 1;
    memset(owner, 0, sizeof(owner));
    memset(vads, 0, sizeof(vads));
}

static void mark(PMMVAD vad, PMMVAD value)
{
    for (ULONG_PTR vpn = vad->StartingVpn; vpn <= vad->EndingVpn; vpn++)
    {
        owner[vpn - base] = value;
    }
}

static PMMVAD add(ULONG_PTR start, ULONG_PTR end)
{
    PMMVAD vad = MiAllocateVad(start, end);

    assert_non_null(vad);
    MiLockSpaceExclusive(space);
    MiInsertVad(space, vad);
    MiUnlockSpaceExclusive(space);
    mark(vad, vad);
    return vad;
}

static void drop(PMMVAD vad)
{
    mark(vad, NULL);
    MiLockSpaceExclusive(space);
    MiRemoveVad(space, vad);
    MiUnlockSpaceExclusive(space);
    MiFreeVad(vad);
}

static void end_model(void)
{
    for (PMMVAD vad = MiFirstVad(space); vad != NULL; vad = MiFirstVad(space))
    {
        drop(vad);
    }
    assert_int_equal(space->VadCount, 0);
    assert_int_equal(space->VirtualSize, 0);
    PsTerminateProcessObject(process, STATUS_SUCCESS);
    ObDereferenceObjectBody(process);
}

static BOOLEAN model_is_free(ULONG_PTR start, SIZE_T pages)
{
    for (SIZE_T i = 0; i < pages; i++)
    {
        if (owner[start + i - base] != NULL)
        {
            return FALSE;
        }
    }
    return TRUE;
}

/* 0: no place. */
static ULONG_PTR model_find(const MI_FIND_RANGE *find)
{
    ULONG_PTR align = find->AlignPages < 16 ? 16 : find->AlignPages;
    ULONG_PTR first = (find->LowestVpn + align - 1) / align * align;
    ULONG_PTR found = 0;

    for (ULONG_PTR start = first; start + find->Pages - 1 <= find->HighestVpn; start += align)
    {
        if (model_is_free(start, find->Pages))
        {
            found = start;
            if (!find->TopDown)
            {
                break;
            }
        }
    }
    return found;
}

static MI_FIND_RANGE draw_find(TEST_RANDOM *random)
{
    static const ULONG aligns[] = { 1, 16, 16, 16, 16, 32, 128, 512 };
    ULONG_PTR low = TestBelow(random, 3) == 0 ? TestBelow(random, MODEL_PAGES) : 0;
    ULONG_PTR high = TestBelow(random, 3) == 0 ? TestBelow(random, MODEL_PAGES) : MODEL_PAGES - 1;
    MI_FIND_RANGE find = {
        .Pages = 1 + TestBelow(random, TestBelow(random, 4) == 0 ? 600 : 40),
        .AlignPages = aligns[TestBelow(random, 8)],
        .LowestVpn = base + (low < high ? low : high),
        .HighestVpn = base + (low < high ? high : low),
        .TopDown = TestBelow(random, 2) != 0,
    };
    return find;
}

static void compare_search(const MI_FIND_RANGE *find)
{
    ULONG_PTR expected = model_find(find);
    ULONG_PTR found = 0;
    NTSTATUS status = MiFindEmptyRange(space, find, &found);

    if (status != (expected != 0 ? STATUS_SUCCESS : STATUS_NO_MEMORY) || found != expected)
    {
        fail_msg("%llu pages aligned to %llu in %llx..%llx %s: %llx, expected %llx", (ULONG64)find->Pages,
                 (ULONG64)find->AlignPages, (ULONG64)(find->LowestVpn - base),
                 (ULONG64)(find->HighestVpn - base), find->TopDown ? "top down" : "bottom up",
                 (ULONG64)(found - base), (ULONG64)(expected - base));
    }
}

/* ---- Random operations -------------------------------------------------------------------------------------- */

static void step_insert(TEST_RANDOM *random, ULONG slot)
{
    MI_FIND_RANGE find = draw_find(random);
    ULONG_PTR start = 0;

    if (TestBelow(random, 4) == 0)
    {
        /* Anywhere, as splitting and placeholders do. */
        start = base + TestBelow(random, MODEL_PAGES - find.Pages);
        if (model_is_free(start, find.Pages))
        {
            vads[slot] = add(start, start + find.Pages - 1);
        }
        return;
    }
    compare_search(&find);
    if (NT_SUCCESS(MiFindEmptyRange(space, &find, &start)))
    {
        vads[slot] = add(start, start + find.Pages - 1);
    }
}

/* The free pages right before and behind a VAD. */
static void room_around(const MMVAD *vad, ULONG_PTR *low, ULONG_PTR *high)
{
    *low = vad->StartingVpn;
    *high = vad->EndingVpn;
    while (*low > base && owner[*low - 1 - base] == NULL)
    {
        --*low;
    }
    while (*high < base + MODEL_PAGES - 1 && owner[*high + 1 - base] == NULL)
    {
        ++*high;
    }
}

static void step_resize(TEST_RANDOM *random, PMMVAD vad)
{
    ULONG_PTR low;
    ULONG_PTR high;
    ULONG_PTR start;
    ULONG_PTR end;

    room_around(vad, &low, &high);
    start = low + TestBelow(random, vad->EndingVpn - low + 1);
    end = start + TestBelow(random, high - start + 1);
    mark(vad, NULL);
    MiLockSpaceExclusive(space);
    MiResizeVad(space, vad, start, end);
    MiUnlockSpaceExclusive(space);
    mark(vad, vad);
}

static void step_locate(TEST_RANDOM *random)
{
    ULONG_PTR start = base + TestBelow(random, MODEL_PAGES);
    ULONG_PTR end = start + TestBelow(random, base + MODEL_PAGES - start);
    PMMVAD lowest = NULL;
    MI_SPACE_SLOT *slot = MiLockSpaceShared(space);

    assert_ptr_equal(MiLocateVad(space, start), owner[start - base]);
    for (ULONG_PTR vpn = start; vpn <= end && lowest == NULL; vpn++)
    {
        lowest = owner[vpn - base];
    }
    assert_ptr_equal(MiLocateVadInRange(space, start, end), lowest);
    MiUnlockSpaceShared(space, slot);
}

static void compare_walk(void)
{
    PMMVAD vad = MiFirstVad(space);
    PMMVAD previous = NULL;
    SIZE_T bytes = 0;

    for (ULONG page = 0; page < MODEL_PAGES; page++)
    {
        bytes += owner[page] != NULL ? PAGE_SIZE : 0;
        if (owner[page] != NULL && owner[page] != previous)
        {
            assert_ptr_equal(vad, owner[page]);
            assert_ptr_equal(MiPreviousVad(vad), previous);
            previous = vad;
            vad = MiNextVad(vad);
        }
    }
    assert_null(vad);
    assert_int_equal(space->VirtualSize, bytes);
    assert_true(space->PeakVirtualSize >= bytes);
}

static void random_operations_agree_with_the_model(void **state)
{
    TEST_RANDOM random = TestSeed(__func__);
    ULONG64 steps = TestIterations(60000);

    (void)state;
    begin_model();
    for (ULONG64 step = 0; step < steps; step++)
    {
        ULONG slot = (ULONG)TestBelow(&random, MODEL_VADS);
        MI_FIND_RANGE find = draw_find(&random);
        /* Alternate between filling up and thinning out. */
        ULONG fill = step / 2000 % 2 == 0 ? 6 : 3;

        if (vads[slot] == NULL)
        {
            if (TestBelow(&random, 8) < fill)
            {
                step_insert(&random, slot);
            }
        }
        else if (TestBelow(&random, 8) < fill)
        {
            step_resize(&random, vads[slot]);
        }
        else
        {
            drop(vads[slot]);
            vads[slot] = NULL;
        }
        compare_search(&find);
        step_locate(&random);
        MiCheckSpace(space, step % 64 == 0 ? 2 : 1);
        if (step % 512 == 0)
        {
            compare_walk();
        }
    }
    end_model();
}

/* ---- Single properties -------------------------------------------------------------------------------------- */

static void holes_too_small_for_64k_alignment_are_not_looked_at(void **state)
{
    MI_FIND_RANGE find = { .Pages = 1, .AlignPages = 16 };
    ULONG_PTR found;

    (void)state;
    begin_model();
    for (ULONG page = 0; page < MODEL_PAGES; page += 16)
    {
        add(base + page, base + page);
    }
    find.LowestVpn = base;
    find.HighestVpn = base + MODEL_PAGES - 1;
    assert_int_equal(MiFindEmptyRange(space, &find, &found), STATUS_NO_MEMORY);
    assert_int_equal(((PMMVAD)(PVOID)space->VadRoot.Root)->SubtreeGap, 0);
    drop(owner[1600]);
    assert_int_equal(MiFindEmptyRange(space, &find, &found), STATUS_SUCCESS);
    assert_int_equal(found, base + 1600);
    find.Pages = 17;
    assert_int_equal(MiFindEmptyRange(space, &find, &found), STATUS_NO_MEMORY);
    end_model();
}

static void large_alignment_is_found_among_many_holes_that_do_not_fit(void **state)
{
    MI_FIND_RANGE find = { .Pages = 16, .AlignPages = 512, .TopDown = FALSE };
    ULONG_PTR found;

    (void)state;
    begin_model();
    find.LowestVpn = base;
    find.HighestVpn = base + 0x100000;
    /* 1,000 holes of 496 pages, none at a multiple of 512 - except the 900th. */
    for (ULONG i = 0; i < 1000; i++)
    {
        ULONG_PTR start = base + (ULONG_PTR)i * 512;
        PMMVAD vad = MiAllocateVad(start, start + 15);

        if (i == 900)
        {
            MiFreeVad(vad);
            continue;
        }
        MiInsertVad(space, vad);
    }
    assert_int_equal(MiFindEmptyRange(space, &find, &found), STATUS_SUCCESS);
    assert_int_equal(found % 512, 0);
    find.HighestVpn = base + 1000 * 512 - 1;
    assert_int_equal(MiFindEmptyRange(space, &find, &found), STATUS_SUCCESS);
    assert_int_equal(found, base + 900 * 512);
    find.HighestVpn = base + 900 * 512 - 1;
    assert_int_equal(MiFindEmptyRange(space, &find, &found), STATUS_NO_MEMORY);
    for (PMMVAD vad = MiFirstVad(space); vad != NULL; vad = MiFirstVad(space))
    {
        MiRemoveVad(space, vad);
        MiFreeVad(vad);
    }
    end_model();
}

static void what_the_surroundings_occupy_is_never_handed_out(void **state)
{
    MI_SPACE_STATE *all = MiState.Space;
    PORT_ADDRESS_RANGE saved[MI_MAXIMUM_OCCUPIED];
    ULONG saved_count = all->OccupiedCount;
    MI_FIND_RANGE find = { .Pages = 32, .AlignPages = 16 };
    ULONG_PTR found;

    (void)state;
    begin_model();
    memcpy(saved, all->Occupied, sizeof(saved));
    all->Occupied[0] = (PORT_ADDRESS_RANGE){ (base + 40) << 12, ((base + 80) << 12) - 1 };
    all->Occupied[1] = (PORT_ADDRESS_RANGE){ (base + 200) << 12, ((base + 300) << 12) - 1 };
    all->OccupiedCount = 2;
    find.LowestVpn = base + 16;
    find.HighestVpn = base + 299;
    assert_int_equal(MiFindEmptyRange(space, &find, &found), STATUS_SUCCESS);
    assert_int_equal(found, base + 80);
    find.TopDown = TRUE;
    assert_int_equal(MiFindEmptyRange(space, &find, &found), STATUS_SUCCESS);
    assert_int_equal(found, base + 160);
    find.Pages = 121;
    assert_int_equal(MiFindEmptyRange(space, &find, &found), STATUS_NO_MEMORY);
    find.Pages = 24;
    find.HighestVpn = base + 79;
    assert_int_equal(MiFindEmptyRange(space, &find, &found), STATUS_SUCCESS);
    assert_int_equal(found, base + 16);

    assert_true(MiIsRangeAllocatable(space, base, base + 39));
    assert_false(MiIsRangeAllocatable(space, base, base + 40));
    assert_false(MiIsRangeAllocatable(space, base + 79, base + 90));
    assert_true(MiIsRangeAllocatable(space, base + 80, base + 199));
    assert_false(MiIsRangeAllocatable(space, base + 250, base + 260));
    assert_false(MiIsRangeAllocatable(space, space->LowestVpn - 1, space->LowestVpn));
    assert_false(MiIsRangeAllocatable(space, space->HighestVpn, space->HighestVpn + 1));
    assert_false(MiIsRangeAllocatable(space, base + 1, base));
    memcpy(all->Occupied, saved, sizeof(saved));
    all->OccupiedCount = saved_count;
    end_model();
}

static void the_port_s_ranges_are_sorted_and_apart(void **state)
{
    const MI_SPACE_STATE *all = MiState.Space;

    (void)state;
    assert_true(all->OccupiedCount <= MI_MAXIMUM_OCCUPIED);
    for (ULONG i = 0; i < all->OccupiedCount; i++)
    {
        assert_true(all->Occupied[i].Start < all->Occupied[i].End);
        assert_int_equal(all->Occupied[i].Start % PAGE_SIZE, 0);
        assert_int_equal((all->Occupied[i].End + 1) % PAGE_SIZE, 0);
        assert_true(i == 0 || all->Occupied[i - 1].End < all->Occupied[i].Start - 1);
    }
}

static void impossible_requests_find_nothing(void **state)
{
    MI_FIND_RANGE find = { .Pages = 0, .AlignPages = 16, .LowestVpn = 0, .HighestVpn = ~(ULONG_PTR)0 };
    ULONG_PTR found;

    (void)state;
    begin_model();
    assert_int_equal(MiFindEmptyRange(space, &find, &found), STATUS_NO_MEMORY);
    find.Pages = ~(SIZE_T)0;
    assert_int_equal(MiFindEmptyRange(space, &find, &found), STATUS_NO_MEMORY);
    find.Pages = 1;
    find.LowestVpn = base + 10;
    find.HighestVpn = base + 9;
    assert_int_equal(MiFindEmptyRange(space, &find, &found), STATUS_NO_MEMORY);
    find.HighestVpn = base + 15; /* no boundary between */
    assert_int_equal(MiFindEmptyRange(space, &find, &found), STATUS_NO_MEMORY);
    find.LowestVpn = 0;
    find.HighestVpn = ~(ULONG_PTR)0;
    find.AlignPages = (ULONG_PTR)1 << 51; /* rounds up beyond everything */
    assert_int_equal(MiFindEmptyRange(space, &find, &found), STATUS_NO_MEMORY);
    end_model();
}

static void randomization_moves_allocations_and_never_out_of_reach(void **state)
{
    static const TEST_MACHINE machine = { .Deterministic = TRUE, .Seed = 77, .Randomize = TRUE };
    ULONG_PTR lowest[2];

    (void)state;
    TestBootMachine(&machine);
    for (ULONG i = 0; i < 2; i++)
    {
        MI_FIND_RANGE find = {
            .Pages = 16, .AlignPages = 16, .HighestVpn = ~(ULONG_PTR)0, .Randomize = TRUE
        };
        ULONG_PTR found;

        begin_model();
        assert_true(space->RandomBias != 0 && space->RandomBias % 16 == 0);
        assert_int_equal(MiFindEmptyRange(space, &find, &lowest[i]), STATUS_SUCCESS);
        assert_true(lowest[i] >= space->LowestVpn + space->RandomBias);
        find.TopDown = TRUE;
        assert_int_equal(MiFindEmptyRange(space, &find, &found), STATUS_SUCCESS);
        assert_true(found + 15 <= space->HighestVpn - space->TopDownBias);
        /* Where the bias leaves nothing, the rest of the space does. */
        find.HighestVpn = space->LowestVpn + 63;
        find.TopDown = FALSE;
        if (MiIsRangeAllocatable(space, space->LowestVpn, space->LowestVpn + 63))
        {
            assert_int_equal(MiFindEmptyRange(space, &find, &found), STATUS_SUCCESS);
        }
        end_model();
    }
    assert_true(lowest[0] != lowest[1]);
    TestShutdownMachine();
}

/* ---- Misuse and damage -------------------------------------------------------------------------------------- */

static void insert(void *vad)
{
    MiInsertVad(space, vad);
}

static void grow(void *vad)
{
    MiResizeVad(space, vad, ((PMMVAD)vad)->StartingVpn, ((PMMVAD)vad)->EndingVpn + 5);
}

static void vads_that_would_overlap_stop_the_machine(void **state)
{
    PMMVAD vad;
    PMMVAD neighbour;

    (void)state;
    begin_model();
    add(base + 10, base + 20);
    neighbour = add(base + 5, base + 7);
    vad = MiAllocateVad(base + 20, base + 30);
    TestExpectBugCheck(MEMORY_MANAGEMENT, insert, vad);
    assert_int_equal(TestBugCheckParameters[0], 0x1236);
    TestExpectBugCheck(MEMORY_MANAGEMENT, grow, neighbour);
    assert_int_equal(TestBugCheckParameters[0], 0x1236);
    MiFreeVad(vad);
    MiCheckSpace(space, 2);
    end_model();
}

static void check(void *unused)
{
    (void)unused;
    MiCheckSpace(space, 2);
}

static void expect_damage(ULONG_PTR which)
{
    TestExpectBugCheck(MEMORY_MANAGEMENT, check, NULL);
    assert_int_equal(TestBugCheckParameters[0], which);
}

static void planted_damage_is_found(void **state)
{
    PMMVAD vad[10];
    ULONG_PTR gap;

    (void)state;
    begin_model();
    for (ULONG i = 0; i < 10; i++)
    {
        vad[i] = add(base + 100 * i, base + 100 * i + 50);
    }
    MiCheckSpace(space, 2);
    gap = vad[3]->SubtreeGap;
    vad[3]->SubtreeGap = gap + 1;
    expect_damage(0x1235);
    vad[3]->SubtreeGap = gap;
    vad[3]->StartingVpn = base + 150; /* into its neighbour; the summary of leaves says so too */
    expect_damage(0x1235);
    vad[3]->StartingVpn = base + 300;
    space->VadCount++;
    expect_damage(0x1238);
    space->VadCount--;
    vad[5]->CommitCharge = 1;
    expect_damage(0x3452);
    vad[5]->CommitCharge = 0;
    MiCheckSpace(space, 2);
    end_model();
}

/* ---- Size --------------------------------------------------------------------------------------------------- */

static ULONG64 time_operations(ULONG count, ULONG64 *insert_time)
{
    MI_FIND_RANGE find = { .Pages = 1, .AlignPages = 16, .HighestVpn = ~(ULONG_PTR)0 };
    TEST_RANDOM random = { .State = 1 };
    ULONG64 begin = PortQueryClock();
    ULONG_PTR start;
    ULONG64 per_search;

    for (ULONG i = 0; i < count; i++)
    {
        PMMVAD vad;

        find.TopDown = (i & 1) != 0;
        assert_int_equal(MiFindEmptyRange(space, &find, &start), STATUS_SUCCESS);
        vad = MiAllocateVad(start, start + TestBelow(&random, 1));
        assert_non_null(vad);
        MiInsertVad(space, vad);
    }
    *insert_time = (PortQueryClock() - begin) / count;
    find.TopDown = FALSE;
    begin = PortQueryClock();
    for (ULONG i = 0; i < 10000; i++)
    {
        assert_int_equal(MiFindEmptyRange(space, &find, &start), STATUS_SUCCESS);
        assert_null(MiLocateVad(space, start));
    }
    per_search = (PortQueryClock() - begin) / 10000;
    MiCheckSpace(space, 2);
    for (PMMVAD vad = MiFirstVad(space); vad != NULL; vad = MiFirstVad(space))
    {
        MiRemoveVad(space, vad);
        MiFreeVad(vad);
    }
    return per_search;
}

static void a_million_regions_stay_logarithmic(void **state)
{
    static const TEST_MACHINE machine = { .RamMegabytes = 192, .Deterministic = TRUE };

    (void)state;
    TestBootMachine(&machine);
    for (ULONG count = 1000; count <= TestIterations(1000000); count *= 1000)
    {
        ULONG64 insert_time;
        ULONG64 search_time;

        begin_model();
        search_time = time_operations(count, &insert_time);
        print_message("%7u regions: find and insert %llu ns, find %llu ns\n", count, insert_time,
                      search_time);
        end_model();
    }
    TestShutdownMachine();
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, TestTeardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(random_operations_agree_with_the_model),
        TEST(holes_too_small_for_64k_alignment_are_not_looked_at),
        TEST(large_alignment_is_found_among_many_holes_that_do_not_fit),
        TEST(what_the_surroundings_occupy_is_never_handed_out),
        TEST(the_port_s_ranges_are_sorted_and_apart),
        TEST(impossible_requests_find_nothing),
        cmocka_unit_test_teardown(randomization_moves_allocations_and_never_out_of_reach, TestTeardown),
        TEST(vads_that_would_overlap_stop_the_machine),
        TEST(planted_damage_is_found),
        cmocka_unit_test_teardown(a_million_regions_stay_logarithmic, TestTeardown),
    };

    return cmocka_run_group_tests_name("vad", tests, NULL, NULL);
}
