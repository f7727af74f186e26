/* SPDX-License-Identifier: MIT */
/* The page lists: standby by priority, modified, deletion, purging; and the checks that watch them. */
#include "frames.h"

static int setup(void **state)
{
    static const TEST_MACHINE machine = { .Deterministic = TRUE, .Seed = 5, .Last = TestPhysical };

    (void)state;
    TestBootMachine(&machine);
    return 0;
}

static void clean_pages_stand_by_and_dirty_ones_do_not_count_as_available(void **state)
{
    MI_PHYSICAL_STATE *physical = MiState.Physical;
    PMMPTE table = make_table();
    PMMPFN clean = make_active(&table[0], 5);
    PMMPFN dirty = make_active(&table[1], 5);
    PFN_NUMBER available = MiAvailablePages();

    (void)state;
    trim(clean, FALSE);
    assert_int_equal(clean->e1.PageLocation, StandbyPageList);
    assert_int_equal(MiQueueTotal(&physical->StandbyList[5]), 1);
    assert_int_equal(MiAvailablePages(), available + 1);
    trim(dirty, TRUE);
    assert_int_equal(dirty->e1.PageLocation, ModifiedPageList);
    assert_int_equal(MiQueueTotal(&physical->ModifiedList), 1);
    assert_int_equal(MiAvailablePages(), available + 1);
    MiCheckPhysical(3);
    discard(clean);
    discard(dirty);
    assert_int_equal(MiAvailablePages(), available + 2);
    free_table(table);
}

static void standby_is_repurposed_by_priority_and_the_owner_gets_its_entry_back(void **state)
{
    MI_PHYSICAL_STATE *physical = MiState.Physical;
    PMMPTE table = make_table();
    PMMPFN pfns[MI_PRIORITIES];
    PFN_NUMBER list;
    ULONG count;

    (void)state;
    for (ULONG priority = 0; priority < MI_PRIORITIES; priority++)
    {
        pfns[priority] = make_active(&table[priority], priority);
    }
    list = take_all(0, &count);
    for (ULONG priority = MI_PRIORITIES; priority > 0; priority--)
    {
        trim(pfns[priority - 1], FALSE);
    }
    assert_int_equal(MiPtePage(table)->u1.ShareCount, 1 + MI_PRIORITIES);
    for (ULONG priority = 0; priority < MI_PRIORITIES; priority++)
    {
        PFN_NUMBER frame;

        physical->MinimumReserve = 0; /* the last frames of the lists are the standby ones */
        do
        {
            frame = MiAllocatePage(MI_PAGE_ZEROED);
            assert_int_not_equal(frame, 0);
            *(PFN_NUMBER *)PortDirectMap(frame) = list;
            list = frame;
        } while (physical->RepurposedByPriority[priority] == 0);
        assert_int_equal(frame, MiPfnFrame(pfns[priority]));
        assert_int_equal(table[priority].Long, MiMakeDemandZeroPte(MM_READWRITE).Long);
        assert_int_equal(MiPtePage(table)->u1.ShareCount, MI_PRIORITIES - priority);
    }
    assert_int_equal(MiQueryCounter(MiCounterPagesRepurposed), MI_PRIORITIES);
    physical->MinimumReserve = 16;
    give_all(list);
    free_table(table);
}

static void a_page_at_the_front_is_reused_first(void **state)
{
    PMMPTE table = make_table();
    PMMPFN pfns[3];
    KIRQL irql;

    (void)state;
    for (ULONG i = 0; i < 3; i++)
    {
        pfns[i] = make_active(&table[i], 5);
        trim(pfns[i], FALSE);
    }
    irql = KiRaiseIrqlToDispatch();
    MiLockPfn(pfns[2]);
    MiUnlinkPage(pfns[2]);
    MiInsertStandbyAtFront(pfns[2]);
    MiUnlockPfn(pfns[2]);
    KiLowerIrqlFromDispatch(irql);
    assert_int_equal(MiState.Physical->StandbyList[5].Parts[0].Flink, MiPfnFrame(pfns[2]));
    MiCheckPhysical(3);
    for (ULONG i = 0; i < 3; i++)
    {
        discard(pfns[i]);
    }
    free_table(table);
}

/* A queue goes on in its next part when the newest is large enough and the next one empty; its order stays that of one list. */
static void a_queue_in_parts_keeps_its_order(void **state)
{
    MI_QUEUE *queue = &MiState.Physical->ModifiedList;
    ULONG each = MiState.Physical->PartPages;
    PMMPTE table = make_table();
    PMMPFN pfns[MI_PTES_PER_PAGE];
    ULONG count = 4 * each < MI_PTES_PER_PAGE ? 4 * each : MI_PTES_PER_PAGE;
    KIRQL irql;

    (void)state;
    for (ULONG index = 0; index < count; index++)
    {
        pfns[index] = make_active(&table[index], 5);
        trim(pfns[index], TRUE);
        assert_int_equal(MiQueueTotal(queue), index + 1);
    }
    assert_int_equal(MiListTotal(&queue->Parts[0]), each);
    assert_int_equal(MiListTotal(&queue->Parts[1]), each);
    assert_int_equal(MiListTotal(&queue->Parts[2]), 2 * each); /* half of all */
    assert_int_equal(queue->Newest, 3);
    MiCheckPhysical(3);
    for (ULONG index = 0; index < count; index += 3)
    {
        discard(pfns[index]); /* from the middle of any part */
    }
    MiCheckPhysical(3);
    for (ULONG index = 0; index < count; index++)
    {
        if (index % 3 == 0)
        {
            continue;
        }
        irql = KiRaiseIrqlToDispatch();
        assert_ptr_equal(MiRemoveOldestLocked(queue), pfns[index]);
        MiInsertPageInList(pfns[index]);
        MiUnlockPfn(pfns[index]);
        KiLowerIrqlFromDispatch(irql);
        discard(pfns[index]);
    }
    assert_int_equal(MiQueueTotal(queue), 0);
    assert_null(MiRemoveOldestLocked(queue));
    free_table(table);
}

/* As trim and as a fault, but many with one lock of their list: the order is that in which they went, whichever list they are on. */
static void many_frames_go_and_come_back_with_one_lock(void **state)
{
    MI_QUEUE *queue = &MiState.Physical->StandbyList[5];
    PMMPTE table = make_table();
    PMMPFN pfns[300];
    MI_LIST_RUN run = { .List = NULL };
    MI_BLOCK block = { .Lock = NULL };
    KIRQL irql;

    (void)state;
    for (ULONG index = 0; index < 300; index++)
    {
        pfns[index] = make_active(&table[index], index % 100 == 99 ? 3 : 5);
        pfns[index]->e1.Modified = index % 50 == 20;
        pfns[index]->ReferenceCount += index == 200; /* somebody else's */
    }
    irql = KiRaiseIrqlToDispatch();
    for (ULONG index = 0; index < 300; index++)
    {
        MiLockPfnInRun(pfns[index], index % 7 != 0, &block, &run);
        table[index] = MiMakeTransitionPte(MiPfnFrame(pfns[index]), MM_READWRITE);
        MiWriteShareCount(pfns[index], 0);
        pfns[index]->e1.PageLocation = TransitionPage;
        MiReleaseInRun(pfns[index], &run);
        MiUnlockPfnInBlock(pfns[index], &block);
    }
    MiEndListRun(&run);
    MiEndBlock(&block);
    assert_null(run.List);
    assert_int_equal(MiQueueTotal(queue), 300 - 3 - 6 - 1);
    assert_int_equal(MiQueueTotal(&MiState.Physical->StandbyList[3]), 3);
    assert_int_equal(MiQueueTotal(&MiState.Physical->ModifiedList), 6);
    MiLockPfn(pfns[200]);
    MiDecrementReferenceCount(pfns[200]);
    MiUnlockPfn(pfns[200]);
    KiLowerIrqlFromDispatch(irql);
    MiCheckPhysical(3);
    irql = KiRaiseIrqlToDispatch();
    assert_true(MiRemoveIfOldestLocked(queue, pfns[0]));
    MiInsertPageInList(pfns[0]);
    MiUnlockPfn(pfns[0]);
    for (ULONG index = 0; index < 300; index++)
    {
        assert_true(MiTryLockPfn(pfns[index]));
        MiUnlinkPageInRun(pfns[index], &run);
        assert_int_equal(pfns[index]->e1.PageLocation, TransitionPage);
        MiUnlockPfn(pfns[index]);
    }
    MiEndListRun(&run);
    assert_int_equal(MiQueueTotal(queue), 0);
    for (ULONG index = 0; index < 300; index++)
    {
        MiLockPfn(pfns[index]);
        MiInsertPageInList(pfns[index]);
        MiUnlockPfn(pfns[index]);
    }
    /* Against the order of the list, and every third one alone: whoever stays still knows his neighbours. */
    for (ULONG index = 300; index-- > 0;)
    {
        if (index % 3 != 0 || index < 60)
        {
            assert_true(MiTryLockPfn(pfns[index]));
            MiUnlinkPageInRun(pfns[index], &run);
            MiUnlockPfn(pfns[index]);
        }
    }
    MiEndListRun(&run);
    assert_int_equal(MiQueueTotal(queue), 80 - 1 - 2); /* without those of priority 3 and the modified ones */
    for (ULONG index = 0; index < 300; index++)
    {
        if (index % 3 != 0 || index < 60)
        {
            MiLockPfn(pfns[index]);
            MiInsertPageInList(pfns[index]);
            MiUnlockPfn(pfns[index]);
        }
    }
    KiLowerIrqlFromDispatch(irql);
    MiCheckPhysical(3);
    for (ULONG index = 0; index < 300; index++)
    {
        discard(pfns[index]);
    }
    free_table(table);
}

/* All parts are in use: the newest one takes everything until the oldest has been used up. */
static void a_queue_whose_parts_are_all_in_use_waits_for_the_oldest(void **state)
{
    MI_QUEUE *queue = &MiState.Physical->StandbyList[5];
    PMMPTE table = make_table();
    PMMPFN pfns[MI_PTES_PER_PAGE];
    ULONG last = MI_QUEUE_PARTS - 1;
    ULONG count = 0;

    (void)state;
    MiState.Physical->PartPages = 1;
    while (queue->Newest != last || MiListTotal(&queue->Parts[last]) < 200)
    {
        pfns[count] = make_active(&table[count], 5);
        trim(pfns[count], FALSE);
        count++;
        assert_true(count < MI_PTES_PER_PAGE);
    }
    assert_true(2 * MiListTotal(&queue->Parts[last]) >= MiQueueTotal(queue));
    discard(pfns[0]); /* the only one of part 0 */
    assert_int_equal(MiListTotal(&queue->Parts[0]), 0);
    pfns[0] = make_active(&table[0], 5);
    trim(pfns[0], FALSE);
    assert_int_equal(MiListTotal(&queue->Parts[0]), 0);
    assert_int_equal(queue->Newest, 0);
    pfns[count] = make_active(&table[count], 5);
    trim(pfns[count], FALSE);
    count++;
    assert_int_equal(MiListTotal(&queue->Parts[0]), 1);
    MiCheckPhysical(3);
    assert_int_equal(MiPurgeStandby(5), count);
    MiCheckPhysical(3);
    free_table(table);
}

static void purging_frees_standby_up_to_a_priority(void **state)
{
    PMMPTE table = make_table();
    PMMPFN high;

    (void)state;
    for (ULONG i = 0; i < 20; i++)
    {
        trim(make_active(&table[i], i % 4), FALSE);
    }
    high = make_active(&table[20], 7);
    trim(high, FALSE);
    assert_int_equal(MiStandbyPages(), 21);
    assert_int_equal(MiPurgeStandby(3), 20);
    assert_int_equal(MiStandbyPages(), 1);
    assert_int_equal(table[3].Long, MiMakeDemandZeroPte(MM_READWRITE).Long);
    assert_int_equal(high->e1.PageLocation, StandbyPageList);
    MiCheckPhysical(3);
    assert_int_equal(MiPurgeStandby(7), 1);
    free_table(table);
}

static void a_locked_frame_is_passed_over(void **state)
{
    PMMPTE table = make_table();
    PMMPFN first = make_active(&table[0], 5);
    PMMPFN second = make_active(&table[1], 5);
    KIRQL irql;

    (void)state;
    trim(first, FALSE);
    trim(second, FALSE);
    irql = KiRaiseIrqlToDispatch();
    __atomic_store_n(&first->Lock, 1, __ATOMIC_RELAXED); /* somebody else's */
    assert_ptr_equal(MiRemoveOldestLocked(&MiState.Physical->StandbyList[5]), second);
    __atomic_store_n(&first->Lock, 0, __ATOMIC_RELEASE);
    assert_int_equal(second->e1.PageLocation, TransitionPage);
    MiInsertPageInList(second);
    MiUnlockPfn(second);
    KiLowerIrqlFromDispatch(irql);
    discard(first);
    discard(second);
    free_table(table);
}

static void a_deleted_page_is_freed_with_its_last_reference(void **state)
{
    PMMPTE table = make_table();
    PMMPFN pfn = make_active(&table[0], 5);
    PFN_NUMBER available = MiAvailablePages();
    KIRQL irql = KiRaiseIrqlToDispatch();

    (void)state;
    MiLockPfn(pfn);
    MiIncrementReferenceCount(pfn); /* I/O */
    pfn->e1.Deleted = 1;
    table[0].Long = 0;
    MiDecrementPageTableShare(&table[0]);
    assert_false(MiDecrementShareCount(pfn));
    assert_int_equal(pfn->e1.PageLocation, TransitionPage);
    assert_true(MiDecrementReferenceCount(pfn));
    MiUnlockPfn(pfn);
    KiLowerIrqlFromDispatch(irql);
    assert_int_equal(MiAvailablePages(), available + 1);
    assert_int_equal(pfn->e1.PageLocation, FreePageList);
    MiCheckPhysical(3);
    free_table(table);
}

static ULONG modified_calls;

static VOID note_modified(void)
{
    modified_calls++;
}

static void the_writer_is_called_when_the_modified_list_is_long(void **state)
{
    PMMPTE table = make_table();
    PMMPFN pfns[200];
    ULONG threshold = (ULONG)MiState.Physical->ModifiedThreshold;

    (void)state;
    assert_true(threshold <= 200);
    MiState.Physical->Operations.ModifiedHigh = note_modified;
    modified_calls = 0;
    for (ULONG i = 0; i < threshold; i++)
    {
        assert_int_equal(modified_calls, 0);
        pfns[i] = make_active(&table[i], 5);
        trim(pfns[i], TRUE);
    }
    assert_int_equal(modified_calls, 1);
    for (ULONG i = 0; i < threshold; i++)
    {
        discard(pfns[i]);
    }
    free_table(table);
}

/* ---- The checks --------------------------------------------------------------------------------------------- */

static void check(void *level)
{
    MiCheckPhysical((ULONG)(ULONG_PTR)level);
}

static void expect_corrupt(ULONG_PTR which, ULONG_PTR level)
{
    TestExpectBugCheck(PFN_LIST_CORRUPT, check, (void *)level);
    assert_int_equal(TestBugCheckParameters[0], which);
}

static void planted_damage_is_found(void **state)
{
    MI_PHYSICAL_STATE *physical = MiState.Physical;
    PMMPTE table = make_table();
    PMMPFN first = make_active(&table[0], 5);
    PMMPFN second = make_active(&table[1], 5);
    PMMPFN active = make_active(&table[2], 5);
    MMPTE pte = table[2];

    (void)state;
    trim(first, FALSE);
    trim(second, FALSE);
    MiCheckPhysical(3);

    second->u1.Blink = 0;
    expect_corrupt(0x1, 2);
    second->u1.Blink = (ULONG)MiPfnFrame(first);
    second->ReferenceCount = 1;
    expect_corrupt(0x1, 2);
    second->ReferenceCount = 0;
    second->e1.Priority = 4;
    expect_corrupt(0x1, 2);
    second->e1.Priority = 5;
    physical->StandbyList[5].Parts[0].Total++;
    expect_corrupt(0x2, 2);
    physical->StandbyList[5].Parts[0].Total--;
    table[2].Hard.PageFrameNumber ^= 1;
    expect_corrupt(0x3, 3);
    table[2] = pte;
    active->u1.ShareCount = 0;
    expect_corrupt(0x4, 3);
    active->u1.ShareCount = 1;
    table[0].Trans.Transition = 0;
    expect_corrupt(0x5, 3);
    table[0].Trans.Transition = 1;
    active->e1.PageLocation = FreePageList;
    expect_corrupt(0x6, 3);
    active->e1.PageLocation = ActiveAndValid;
    MiCheckPhysical(3);

    trim(active, FALSE);
    discard(active);
    discard(first);
    discard(second);
    free_table(table);
}

static void free_twice(void *frame)
{
    MiFreePage((PFN_NUMBER)(ULONG_PTR)frame);
}

static void a_free_frame_cannot_be_freed(void **state)
{
    PFN_NUMBER frame = MiAllocatePage(0);

    (void)state;
    MiFreePage(frame);
    TestExpectBugCheck(PFN_LIST_CORRUPT, free_twice, (void *)(ULONG_PTR)frame);
    TestAbandonMachine();
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, TestTeardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(clean_pages_stand_by_and_dirty_ones_do_not_count_as_available),
        TEST(standby_is_repurposed_by_priority_and_the_owner_gets_its_entry_back),
        TEST(a_page_at_the_front_is_reused_first),
        TEST(a_queue_in_parts_keeps_its_order),
        TEST(many_frames_go_and_come_back_with_one_lock),
        TEST(a_queue_whose_parts_are_all_in_use_waits_for_the_oldest),
        TEST(purging_frees_standby_up_to_a_priority),
        TEST(a_locked_frame_is_passed_over),
        TEST(a_deleted_page_is_freed_with_its_last_reference),
        TEST(the_writer_is_called_when_the_modified_list_is_long),
        TEST(planted_damage_is_found),
        TEST(a_free_frame_cannot_be_freed),
    };

    return cmocka_run_group_tests_name("lists", tests, NULL, NULL);
}
