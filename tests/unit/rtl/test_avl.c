/* SPDX-License-Identifier: MIT */
/*
 * AVL trees: sentences about order, shape and summaries, and a model test against a sorted array. The client
 * here is a small copy of what the VAD tree does: nodes are ranges [Start, End), the summary is the extent of
 * the subtree and the largest gap inside it.
 */
#include "seed.h"

#include <string.h>

#include "rtl/avl.h"

typedef struct
{
    RTL_BALANCED_NODE Links;
    uint64_t Start, End;           /* key */
    uint64_t Lowest, Highest, Gap; /* summary of the subtree */
} RANGE;

static RANGE *range_of(const RTL_BALANCED_NODE *node)
{
    return CONTAINING_RECORD((RTL_BALANCED_NODE *)(uintptr_t)node, RANGE, Links);
}

static RANGE summary_of(const RANGE *range)
{
    RANGE fresh = *range;

    fresh.Lowest = range->Start;
    fresh.Highest = range->End;
    fresh.Gap = 0;
    if (range->Links.Left != NULL)
    {
        const RANGE *left = range_of(range->Links.Left);
        uint64_t between = range->Start - left->Highest;

        fresh.Lowest = left->Lowest;
        fresh.Gap = left->Gap > between ? left->Gap : between;
    }
    if (range->Links.Right != NULL)
    {
        const RANGE *right = range_of(range->Links.Right);
        uint64_t between = right->Lowest - range->End;

        fresh.Highest = right->Highest;
        fresh.Gap = fresh.Gap > right->Gap ? fresh.Gap : right->Gap;
        fresh.Gap = fresh.Gap > between ? fresh.Gap : between;
    }

    return fresh;
}

static BOOLEAN range_update(PRTL_BALANCED_NODE node)
{
    RANGE *range = range_of(node);
    RANGE fresh = summary_of(range);
    BOOLEAN changed =
        fresh.Lowest != range->Lowest || fresh.Highest != range->Highest || fresh.Gap != range->Gap;

    *range = fresh;
    return changed;
}

static BOOLEAN range_verify(const RTL_BALANCED_NODE *node)
{
    const RANGE *range = range_of(node);
    RANGE fresh = summary_of(range);

    return fresh.Lowest == range->Lowest && fresh.Highest == range->Highest && fresh.Gap == range->Gap;
}

static LONG range_compare(const RTL_BALANCED_NODE *first, const RTL_BALANCED_NODE *second)
{
    const RANGE *a = range_of(first), *b = range_of(second);

    return a->End <= b->Start ? -1 : b->End <= a->Start ? 1 : 0;
}

static const RTL_AVL_OPERATIONS operations = { range_update, range_verify };

static void insert_with(RTL_AVL_TREE *tree, RANGE *range, PCRTL_AVL_OPERATIONS ops)
{
    PRTL_BALANCED_NODE parent = NULL, node = tree->Root;
    BOOLEAN right = FALSE;

    while (node != NULL)
    {
        parent = node;
        right = range->Start >= range_of(node)->End;
        node = node->Children[right];
    }
    RtlAvlInsertNodeEx(tree, parent, right, &range->Links, ops);
}

static void insert(RTL_AVL_TREE *tree, RANGE *range)
{
    insert_with(tree, range, &operations);
}

static RANGE *make(uint64_t start, uint64_t end)
{
    RANGE *range = test_malloc(sizeof(*range));

    memset(range, 0xcd, sizeof(*range));
    range->Start = start;
    range->End = end;
    return range;
}

static int height(const RTL_BALANCED_NODE *node)
{
    if (node == NULL)
    {
        return 0;
    }
    int left = height(node->Left), right = height(node->Right);
    return 1 + (left > right ? left : right);
}

static void clear(RTL_AVL_TREE *tree)
{
    while (tree->Root != NULL)
    {
        RANGE *range = range_of(tree->Root);

        RtlAvlRemoveNode(tree, tree->Root, &operations);
        assert_null(RtlAvlCheck(tree, range_compare, &operations));
        test_free(range);
    }
}

static void empty_tree_has_no_first_and_no_last(void **state)
{
    RTL_AVL_TREE tree;

    (void)state;
    RtlAvlInitialize(&tree);
    assert_true(RtlAvlIsEmpty(&tree));
    assert_null(RtlAvlFirst(&tree));
    assert_null(RtlAvlLast(&tree));
    assert_null(RtlAvlCheck(&tree, range_compare, &operations));
}

static void ascending_insertions_stay_logarithmic(void **state)
{
    RTL_AVL_TREE tree = { NULL };

    (void)state;
    for (uint64_t i = 0; i < 1023; i += 1)
    {
        insert(&tree, make(2 * i, 2 * i + 1));
        assert_null(RtlAvlCheck(&tree, range_compare, &operations));
    }
    assert_int_equal(height(tree.Root), 10); /* a perfect tree of 1023 nodes */
    clear(&tree);
}

static void walk_forward_and_backward_visits_every_node_in_order(void **state)
{
    RTL_AVL_TREE tree = { NULL };
    uint64_t expected = 0;

    (void)state;
    for (uint64_t i = 0; i < 500; i += 1)
    {
        uint64_t key = (i * 211) % 500; /* 211 is prime to 500: a permutation */

        insert(&tree, make(key, key + 1));
    }
    for (PRTL_BALANCED_NODE node = RtlAvlFirst(&tree); node != NULL; node = RtlAvlNext(node), expected += 1)
    {
        assert_int_equal(range_of(node)->Start, expected);
    }
    assert_int_equal(expected, 500);
    for (PRTL_BALANCED_NODE node = RtlAvlLast(&tree); node != NULL; node = RtlAvlPrevious(node))
    {
        expected -= 1;
        assert_int_equal(range_of(node)->Start, expected);
    }
    assert_int_equal(expected, 0);
    clear(&tree);
}

static void update_path_carries_a_changed_range_to_the_root(void **state)
{
    RTL_AVL_TREE tree = { NULL };
    RANGE *last = NULL;

    (void)state;
    for (uint64_t i = 0; i < 64; i += 1)
    {
        last = make(10 * i, 10 * i + 8);
        insert(&tree, last);
    }
    assert_int_equal(range_of(tree.Root)->Gap, 2);
    assert_int_equal(range_of(tree.Root)->Highest, 638);
    last->Start += 5;
    last->End += 100;
    assert_non_null(RtlAvlCheck(&tree, range_compare, &operations));
    RtlAvlUpdatePath(&tree, &last->Links, &operations);
    assert_null(RtlAvlCheck(&tree, range_compare, &operations));
    assert_int_equal(range_of(tree.Root)->Gap, 7);
    assert_int_equal(range_of(tree.Root)->Highest, 738);
    clear(&tree);
}

static void tree_without_operations_never_touches_summaries(void **state)
{
    RTL_AVL_TREE tree = { NULL };
    RANGE *ranges[40];

    (void)state;
    for (unsigned i = 0; i < 40; i += 1)
    {
        ranges[i] = make(i, i + 1);
        insert_with(&tree, ranges[i], NULL);
    }
    for (unsigned i = 0; i < 40; i += 1)
    {
        assert_int_equal(ranges[i]->Gap, 0xcdcdcdcdcdcdcdcdull);
        RtlAvlRemoveNode(&tree, &ranges[i]->Links, NULL);
        assert_null(RtlAvlCheck(&tree, range_compare, NULL));
        test_free(ranges[i]);
    }
}

static void check_names_the_damaged_node(void **state)
{
    RTL_AVL_TREE tree = { NULL };
    RANGE *ranges[100];

    (void)state;
    for (unsigned i = 0; i < 100; i += 1)
    {
        ranges[i] = make(3 * i, 3 * i + 2);
        insert(&tree, ranges[i]);
    }
    for (unsigned i = 0; i < 100; i += 1)
    {
        RANGE saved = *ranges[i];

        ranges[i]->Links.ParentValue ^= 1; /* wrong balance */
        assert_non_null(RtlAvlCheck(&tree, range_compare, &operations));
        *ranges[i] = saved;
        ranges[i]->Links.ParentValue = (ULONG_PTR)&ranges[i]->Links | (saved.Links.ParentValue & 3);
        assert_non_null(RtlAvlCheck(&tree, range_compare, &operations));
        *ranges[i] = saved;
        ranges[i]->Gap += 1; /* stale summary */
        assert_ptr_equal(RtlAvlCheck(&tree, range_compare, &operations), &ranges[i]->Links);
        *ranges[i] = saved;
        if (saved.Links.Left != NULL)
        {
            ranges[i]->Links.Right = ranges[i]->Links.Left; /* shared child */
            assert_non_null(RtlAvlCheck(&tree, range_compare, &operations));
            *ranges[i] = saved;
        }
        ranges[i]->Start = ranges[i]->End = 1000; /* out of order (all but the last) */
        if (i != 99)
        {
            assert_non_null(RtlAvlCheck(&tree, range_compare, NULL));
        }
        *ranges[i] = saved;
        assert_null(RtlAvlCheck(&tree, range_compare, &operations));
    }
    clear(&tree);
}

/* The model: slot i of an array says which node occupies [i * 16, i * 16 + length). */
enum
{
    SLOTS = 300
};

static uint64_t largest_gap_of_model(RANGE **model)
{
    uint64_t gap = 0;
    const RANGE *previous = NULL;

    for (unsigned i = 0; i < SLOTS; i += 1)
    {
        if (model[i] != NULL)
        {
            if (previous != NULL && model[i]->Start - previous->End > gap)
            {
                gap = model[i]->Start - previous->End;
            }
            previous = model[i];
        }
    }

    return gap;
}

static void compare_with_model(const RTL_AVL_TREE *tree, RANGE **model)
{
    PRTL_BALANCED_NODE node = RtlAvlFirst(tree);

    assert_null(RtlAvlCheck(tree, range_compare, &operations));
    for (unsigned i = 0; i < SLOTS; i += 1)
    {
        if (model[i] != NULL)
        {
            assert_ptr_equal(node, &model[i]->Links);
            node = RtlAvlNext(node);
        }
    }
    assert_null(node);
    if (tree->Root != NULL)
    {
        assert_int_equal(range_of(tree->Root)->Gap, largest_gap_of_model(model));
    }
}

static void tree_agrees_with_a_sorted_array(void **state)
{
    test_random random = test_seed(__func__);
    uint64_t iterations = test_iterations(20000);
    RTL_AVL_TREE tree = { NULL };
    RANGE *model[SLOTS] = { NULL };
    unsigned pressure = 50;

    (void)state;
    for (uint64_t i = 0; i < iterations; i += 1)
    {
        unsigned slot = (unsigned)test_below(&random, SLOTS);

        if (i % 500 == 0)
        {
            pressure = (unsigned)test_below(&random, 101); /* trees that fill up, empty, or hover */
        }
        if (model[slot] == NULL)
        {
            if (test_below(&random, 100) < pressure)
            {
                model[slot] = make(16 * slot, 16 * slot + 1 + test_below(&random, 16));
                insert(&tree, model[slot]);
            }
        }
        else if (test_below(&random, 4) == 0)
        {
            model[slot]->End = model[slot]->Start + 1 + test_below(&random, 16);
            RtlAvlUpdatePath(&tree, &model[slot]->Links, &operations);
        }
        else if (test_below(&random, 8) == 0)
        {
            RANGE *other = make(model[slot]->Start, model[slot]->Start + 1 + test_below(&random, 16));

            RtlAvlReplaceNode(&tree, &model[slot]->Links, &other->Links, &operations);
            test_free(model[slot]);
            model[slot] = other;
        }
        else if (test_below(&random, 100) >= pressure)
        {
            RtlAvlRemoveNode(&tree, &model[slot]->Links, &operations);
            test_free(model[slot]);
            model[slot] = NULL;
        }
        compare_with_model(&tree, model);
    }
    clear(&tree);
}

/*
 * A summary that most changes leave alone (the greatest of few different weights), so that walks towards the
 * root end early. This is where a node that was moved into a removed node's place is easily forgotten.
 */
typedef struct
{
    RTL_BALANCED_NODE Links;
    unsigned Key, Weight, Heaviest;
} LOAD;

static LOAD *load_of(const RTL_BALANCED_NODE *node)
{
    return CONTAINING_RECORD((RTL_BALANCED_NODE *)(uintptr_t)node, LOAD, Links);
}

static unsigned heaviest_of(const RTL_BALANCED_NODE *node)
{
    unsigned heaviest = load_of(node)->Weight;

    for (unsigned side = 0; side < 2; side += 1)
    {
        if (node->Children[side] != NULL && load_of(node->Children[side])->Heaviest > heaviest)
        {
            heaviest = load_of(node->Children[side])->Heaviest;
        }
    }

    return heaviest;
}

static BOOLEAN load_update(PRTL_BALANCED_NODE node)
{
    unsigned heaviest = heaviest_of(node);
    BOOLEAN changed = heaviest != load_of(node)->Heaviest;

    load_of(node)->Heaviest = heaviest;
    return changed;
}

static BOOLEAN load_verify(const RTL_BALANCED_NODE *node)
{
    return load_of(node)->Heaviest == heaviest_of(node);
}

static LONG load_compare(const RTL_BALANCED_NODE *first, const RTL_BALANCED_NODE *second)
{
    return (LONG)load_of(first)->Key - (LONG)load_of(second)->Key;
}

static void summaries_stay_right_when_walks_end_early(void **state)
{
    static const RTL_AVL_OPERATIONS load_operations = { load_update, load_verify };
    test_random random = test_seed(__func__);
    uint64_t iterations = test_iterations(20000);
    RTL_AVL_TREE tree = { NULL };
    LOAD loads[200] = { 0 };
    BOOLEAN present[200] = { 0 };

    (void)state;
    for (uint64_t i = 0; i < iterations; i += 1)
    {
        unsigned key = (unsigned)test_below(&random, 200);
        PRTL_BALANCED_NODE parent = NULL;
        BOOLEAN right = FALSE;

        if (present[key])
        {
            RtlAvlRemoveNode(&tree, &loads[key].Links, &load_operations);
        }
        else
        {
            loads[key].Key = key;
            loads[key].Weight = (unsigned)test_below(&random, 4);
            for (PRTL_BALANCED_NODE node = tree.Root; node != NULL; node = node->Children[right])
            {
                parent = node;
                right = key > load_of(node)->Key;
            }
            RtlAvlInsertNodeEx(&tree, parent, right, &loads[key].Links, &load_operations);
        }
        present[key] = !present[key];
        assert_null(RtlAvlCheck(&tree, load_compare, &load_operations));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_tree_has_no_first_and_no_last),
        cmocka_unit_test(ascending_insertions_stay_logarithmic),
        cmocka_unit_test(walk_forward_and_backward_visits_every_node_in_order),
        cmocka_unit_test(update_path_carries_a_changed_range_to_the_root),
        cmocka_unit_test(tree_without_operations_never_touches_summaries),
        cmocka_unit_test(check_names_the_damaged_node),
        cmocka_unit_test(tree_agrees_with_a_sorted_array),
        cmocka_unit_test(summaries_stay_right_when_walks_end_early),
    };

    return cmocka_run_group_tests_name("rtl.avl", tests, NULL, NULL);
}
