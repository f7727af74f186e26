/* SPDX-License-Identifier: MIT */
/*
 * NUMA nodes and page colours. Sources: Windows Internals 7/1, chapter 5 (NUMA: preferred nodes; page list dynamics: lists by colour); Microsoft
 * Learn: KeQueryHighestNodeNumber, KeGetCurrentNodeNumber, KeQueryNodeActiveAffinity.
 */
#include "frames.h"

static int enter_nodes(void **state)
{
    static const TEST_MACHINE machine = { .RamMegabytes = 16,
                                          .Processors = 4,
                                          .Nodes = 2,
                                          .Colours = 8,
                                          .Deterministic = TRUE,
                                          .Last = TestPhysical };

    (void)state;
    TestBootMachine(&machine);
    return 0;
}

static int enter_holes(void **state)
{
    static const TEST_MACHINE machine = { .RamMegabytes = 12,
                                          .Runs = 2,
                                          .HoleBytes = 1 << 20,
                                          .Processors = 3,
                                          .Nodes = 3,
                                          .Deterministic = TRUE,
                                          .Last = TestPhysical };

    (void)state;
    TestBootMachine(&machine);
    return 0;
}

static int enter_homes(void **state)
{
    static const TEST_MACHINE machine = {
        .RamMegabytes = 16, .Processors = 4, .Deterministic = TRUE, .Last = TestPhysical
    };

    (void)state;
    TestBootMachine(&machine);
    return 0;
}

#define TEST_ON_HOMES(Name) cmocka_unit_test_setup_teardown(Name, enter_homes, TestTeardown)
#define TEST_ON_NODES(Name) cmocka_unit_test_setup_teardown(Name, enter_nodes, TestTeardown)

static void memory_and_processors_are_shared_out_evenly(void **state)
{
    GROUP_AFFINITY affinity;
    USHORT count = 0;

    (void)state;
    assert_int_equal(KeQueryHighestNodeNumber(), 1);
    assert_int_equal(KeGetCurrentNodeNumber(), 0); /* the boot thread is on processor 0 */
    KeQueryNodeActiveAffinity(1, &affinity, &count);
    assert_int_equal(affinity.Mask, 0xc);
    assert_int_equal(affinity.Group, 0);
    assert_int_equal(count, 2);
    assert_int_equal(KeQueryNodeMaximumProcessorCount(0), 2);
    assert_int_equal(KeQueryNodeMaximumProcessorCount(2), 0);
    KeQueryNodeActiveAffinity(2, &affinity, &count);
    assert_int_equal(affinity.Mask, 0);
    assert_int_equal(count, 0);
    assert_int_equal(MiNodeFreePages(0) + MiNodeFreePages(1), MiAvailablePages());
    assert_int_equal(MiNodeFreePages(1), 2048);
}

/* A preference is met while the node has frames; then the other one helps. */
static void a_preference_is_met_as_long_as_the_node_has_frames(void **state)
{
    ULONG64 first = 0;
    ULONG other = 0;
    PFN_NUMBER frames[2100];

    (void)state;
    for (ULONG index = 0; index < 2100; index++)
    {
        frames[index] = MiAllocatePage(MI_PAGE_ZEROED | MI_PAGE_ON_NODE(1));
        assert_int_not_equal(frames[index], 0);
        if (MiPfnNode(MiPfn(frames[index])) == 1)
        {
            assert_int_equal(other, 0);
            first++;
        }
        else
        {
            other++;
        }
    }
    assert_int_equal(first, 2048);
    assert_int_equal(other, 52);
    for (ULONG index = 0; index < 2100; index++)
    {
        MiFreePage(frames[index]);
    }
    MiDrainPageCaches();
    assert_int_equal(MiNodeFreePages(1), 2048); /* each went home */
}

static void without_a_preference_the_processors_own_node_comes_first(void **state)
{
    PFN_NUMBER frame = MiAllocatePage(0);

    (void)state;
    assert_int_equal(MiPfnNode(MiPfn(frame)), 0);
    MiFreePage(frame);
}

/* Batches go round the colours, so what a processor uses is spread over the sets of a cache. */
static void a_refill_takes_consecutive_colours(void **state)
{
    PFN_NUMBER all[4096];
    PFN_NUMBER got[64];
    ULONG seen[8] = { 0 };
    ULONG count = 0;

    (void)state;
    while (count < 3000)
    {
        all[count] = MiAllocatePage(MI_PAGE_ON_NODE(0));
        count++;
    }
    for (ULONG index = 0; index < count; index++)
    {
        MiFreePage(all[index]); /* now they are on coloured lists */
    }
    MiDrainPageCaches();
    for (ULONG index = 0; index < 64; index++)
    {
        got[index] = MiAllocatePage(0);
        seen[MiFrameColour(got[index])]++;
    }
    for (ULONG colour = 0; colour < 8; colour++)
    {
        assert_int_equal(seen[colour], 8);
    }
    for (ULONG index = 0; index < 64; index++)
    {
        MiFreePage(got[index]);
    }
    MiCheckPhysical(3);
}

static void contiguous_frames_come_from_the_node_that_is_wanted(void **state)
{
    PFN_NUMBER run = MiAllocateContiguousPagesOnNode(100, 1, ~(PFN_NUMBER)0, 1, 1);

    (void)state;
    assert_int_not_equal(run, 0);
    for (PFN_NUMBER frame = run; frame < run + 100; frame++)
    {
        assert_int_equal(MiPfnNode(MiPfn(frame)), 1);
    }
    assert_int_equal(MiAllocateContiguousPagesOnNode(2049, 1, ~(PFN_NUMBER)0, 1, 1), 0);
    MiFreeContiguousPages(run, 100);
    MiCheckPhysical(3);
}

static void the_zero_thread_leaves_frames_on_their_nodes(void **state)
{
    PFN_NUMBER before = MiNodeFreePages(1);
    PFN_NUMBER frame[40];
    PFN_NUMBER zeroed;

    (void)state;
    for (ULONG index = 0; index < 40; index++)
    {
        frame[index] = MiAllocatePage(MI_PAGE_ON_NODE(1));
    }
    for (ULONG index = 0; index < 40; index++)
    {
        MiFreePage(frame[index]);
    }
    zeroed = MiZeroedPages();
    while (MiZeroPagesStep(NULL))
    {
    }
    assert_true(MiZeroedPages() >= zeroed + 40);
    assert_int_equal(MiNodeFreePages(1), before);
    MiCheckPhysical(3);
}

/* Runs and nodes need not end at the same places. */
static void nodes_are_cut_out_of_runs_with_holes(void **state)
{
    PORT_MEMORY_RUN ranges[MI_MAXIMUM_RUNS];
    PFN_NUMBER pages[3] = { 0 };

    (void)state;
    for (ULONG index = 0; index < MiState.Physical->RunCount; index++)
    {
        pages[MiState.Physical->Runs[index].Node] += MiState.Physical->Runs[index].PageCount;
    }
    assert_int_equal(pages[0], 1024);
    assert_int_equal(pages[1], 1024);
    assert_int_equal(pages[2], 1024);
    assert_int_equal(MiQueryMemoryRanges(ranges), 2); /* as firmware reported them: a hole between */
    assert_int_equal(ranges[0].PageCount, 1536);
    assert_int_equal(ranges[1].BasePage, ranges[0].BasePage + 1536 + 256);
}

/* ---- Homes: stretches of 64 frames, each preferred by one processor, where the port knows of no colours ----------- */

#define STRETCH 64u

/* Every frame that was never used goes to its list; no processor holds any. */
static void put_all_on_lists(void)
{
    ULONG count;

    give_all(take_all(0, &count));
    assert_true(count > 3000);
    MiDrainPageCaches();
}

static void frames_of_a_stretch_are_on_one_list(void **state)
{
    PFN_NUMBER frame = MiState.Physical->Runs[0].BasePage + 10 * STRETCH;

    (void)state;
    frame &= ~(PFN_NUMBER)(STRETCH - 1);
    assert_int_equal(MiState.Physical->Colours, 4);
    for (ULONG index = 0; index < STRETCH; index++)
    {
        assert_int_equal(MiFrameColour(frame + index), MiFrameColour(frame));
    }
    assert_int_equal(MiFrameColour(frame + STRETCH), (MiFrameColour(frame) + 1) % 4);
    put_all_on_lists();
    for (ULONG home = 0; home < 4; home++)
    {
        PMMPFNLIST list = &MiState.Physical->Nodes[0].Lists[FreePageList][home];

        assert_true(MiListTotal(list) > 700);
        for (ULONG next = list->Flink; next != 0; next = MiPfn(next)->u1.Flink)
        {
            assert_int_equal(MiFrameColour(next), home);
        }
    }
    MiCheckPhysical(3);
}

/* The processor's own list first, then its neighbours'; whatever it took last time. */
static void a_processor_takes_from_its_own_home_while_there_is_any(void **state)
{
    static PFN_NUMBER frames[4096];
    ULONG own = 0, others = 0;
    PFN_NUMBER available;
    ULONG64 at_home;

    (void)state;
    put_all_on_lists();
    available = MiAvailablePages();
    at_home = MiListTotal(&MiState.Physical->Nodes[0].Lists[FreePageList][0]);
    for (ULONG index = 0; index < at_home + 300; index++)
    {
        frames[index] = MiAllocatePage(0);
        assert_int_not_equal(frames[index], 0);
        if (MiFrameColour(frames[index]) == 0)
        {
            assert_int_equal(others, 0);
            own++;
        }
        else
        {
            assert_int_equal(MiFrameColour(frames[index]), 1);
            others++;
        }
    }
    assert_int_equal(own, at_home);
    assert_int_equal(others, 300);
    MiCheckPhysical(3);
    for (ULONG index = 0; index < at_home + 300; index++)
    {
        MiFreePage(frames[index]);
    }
    assert_int_equal(MiAvailablePages(), available);
    for (ULONG index = 0; index < 2 * PORT_MAXIMUM_PROCESSORS; index++)
    {
        frames[index] = MiAllocatePage(0); /* the cache is used up, and filled again: from home */
    }
    assert_int_equal(MiFrameColour(frames[2 * PORT_MAXIMUM_PROCESSORS - 1]), 0);
    for (ULONG index = 0; index < 2 * PORT_MAXIMUM_PROCESSORS; index++)
    {
        MiFreePage(frames[index]);
    }
}

/* Each list gets its share of the zero-page thread's work, and what it zeroes stays at home. */
static void the_zero_thread_serves_all_homes(void **state)
{
    PFN_NUMBER available;
    PMMPFNLIST zeroed;

    (void)state;
    put_all_on_lists();
    available = MiAvailablePages();
    for (ULONG step = 0; step < 4; step++)
    {
        assert_true(MiZeroPagesStep(NULL));
    }
    zeroed = MiState.Physical->Nodes[0].Lists[ZeroedPageList];
    for (ULONG home = 0; home < 4; home++)
    {
        assert_int_equal(MiListTotal(&zeroed[home]), 16);
        assert_int_equal(MiFrameColour(zeroed[home].Flink), home);
    }
    assert_int_equal(MiAvailablePages(), available);
    MiCheckPhysical(3);
}

/* While memory is plenty a refill is large; nearer to the reserve single frames are taken, so that nobody hoards. */
static void batches_shrink_with_what_is_available(void **state)
{
    PFN_NUMBER list = 0;
    PFN_NUMBER frame = MiAllocatePage(MI_PAGE_ZEROED);
    const MI_PAGE_CACHE *cache = &MiState.Physical->PageCache[0];

    (void)state;
    assert_int_equal(cache->ZeroedCount, 63);
    *(PFN_NUMBER *)PortDirectMap(frame) = 0;
    list = frame;
    while (MiAvailablePages() > 4 * MiState.Physical->LowThreshold)
    {
        frame = MiAllocatePage(MI_PAGE_ZEROED);
        assert_true(cache->ZeroedCount < 64);
        *(PFN_NUMBER *)PortDirectMap(frame) = list;
        list = frame;
    }
    while (cache->ZeroedCount != 0)
    {
        frame = MiAllocatePage(MI_PAGE_ZEROED);
        *(PFN_NUMBER *)PortDirectMap(frame) = list;
        list = frame;
    }
    frame = MiAllocatePage(MI_PAGE_ZEROED);
    *(PFN_NUMBER *)PortDirectMap(frame) = list;
    assert_int_equal(cache->ZeroedCount, 0);
    give_all(frame);
    MiCheckPhysical(3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_ON_NODES(memory_and_processors_are_shared_out_evenly),
        TEST_ON_NODES(a_preference_is_met_as_long_as_the_node_has_frames),
        TEST_ON_NODES(without_a_preference_the_processors_own_node_comes_first),
        TEST_ON_NODES(a_refill_takes_consecutive_colours),
        TEST_ON_NODES(contiguous_frames_come_from_the_node_that_is_wanted),
        TEST_ON_NODES(the_zero_thread_leaves_frames_on_their_nodes),
        TEST_ON_HOMES(frames_of_a_stretch_are_on_one_list),
        TEST_ON_HOMES(a_processor_takes_from_its_own_home_while_there_is_any),
        TEST_ON_HOMES(the_zero_thread_serves_all_homes),
        TEST_ON_HOMES(batches_shrink_with_what_is_available),
        cmocka_unit_test_setup_teardown(nodes_are_cut_out_of_runs_with_holes, enter_holes, TestTeardown),
    };

    return cmocka_run_group_tests_name("physical.nodes", tests, NULL, NULL);
}
