/* SPDX-License-Identifier: MIT */
/*
 * Heap tags: names, counters, tags that travel with blocks, damage to a tag, and a random run against counters of its own.
 */
#include "heap_test.h"

#include "heap/api.h"

static WCHAR names[] = { 'o', 'n', 'e', 0, 't', 'w', 'o', 0, 't', 'h', 'r', 'e', 'e', 0, 0 };
static WCHAR prefix[] = { 'P', '.', 0 };

static int is_name(PWSTR name, const char *expected)
{
    while (*expected != 0 && *name == (WCHAR)(unsigned char)*expected)
    {
        name += 1;
        expected += 1;
    }

    return *expected == 0 && *name == 0;
}

static void tags_have_names(void **state)
{
    static WCHAR none[] = { 0, 0 };
    static WCHAR longest[] = { 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm',
                               'n', 'o', 'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 0,   0 };
    PVOID heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);
    const ULONG first = RtlCreateTagHeap(heap, 0, prefix, names);

    (void)state;
    assert_int_equal(first, 1u << HEAP_TAG_SHIFT);
    assert_true(is_name(RtlQueryTagHeap(heap, 0, 1, FALSE, NULL), "P.one"));
    assert_true(is_name(RtlQueryTagHeap(heap, 0, 3, FALSE, NULL), "P.three"));
    assert_null(RtlQueryTagHeap(heap, 0, 0, FALSE, NULL));
    assert_null(RtlQueryTagHeap(heap, 0, 4, FALSE, NULL));
    assert_null(RtlQueryTagHeap(heap, 0, HEAP_PSEUDO_TAG_FLAG | 1, FALSE, NULL)); /* no tags by size */
    assert_int_equal(RtlCreateTagHeap(heap, 0, NULL, none), 0);
    assert_int_equal(RtlCreateTagHeap(heap, 0, NULL, NULL), 0);
    assert_int_equal(RtlCreateTagHeap(NULL, 0, NULL, names), 0);
    assert_int_equal(RtlCreateTagHeap(heap, 0, prefix, longest), 4u << HEAP_TAG_SHIFT);
    assert_true(is_name(RtlQueryTagHeap(heap, 0, 4, FALSE, NULL), "P.abcdefghijklmnopqrstu"));

    /* As many as there may be, and none more: three at a time. */
    for (ULONG count = 4; count + 3 <= HEAP_MAXIMUM_TAG; count += 3)
    {
        assert_int_equal(RtlCreateTagHeap(heap, 0, NULL, names) >> HEAP_TAG_SHIFT, count + 1);
    }

    assert_int_equal(RtlCreateTagHeap(heap, 0, NULL, names), 0);
    assert_true(is_name(RtlQueryTagHeap(heap, 0, 4000, FALSE, NULL), "three"));
    assert_null(RtlDestroyHeap(heap));

    /* The next heap has none of them. */
    heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);
    assert_null(RtlQueryTagHeap(heap, 0, 1, FALSE, NULL));
    assert_null(RtlDestroyHeap(heap));
}

static USHORT tag_in_walk(PVOID heap, PVOID block)
{
    RTL_HEAP_WALK_ENTRY entry = { .DataAddress = NULL };

    while (RtlWalkHeap(heap, &entry) == STATUS_SUCCESS)
    {
        if ((entry.Flags & RTL_HEAP_BUSY) != 0 && entry.DataAddress == block)
        {
            return entry.Block.TagIndex;
        }
    }

    return MAXUSHORT;
}

static void counters_follow_the_blocks(void **state)
{
    PVOID heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);
    const ULONG base = RtlCreateTagHeap(heap, 0, prefix, names);
    RTL_HEAP_TAG_INFO info;
    PVOID value = NULL;

    (void)state;
    char *block = RtlAllocateHeap(heap, HEAP_MAKE_TAG_FLAGS(base, 1) | HEAP_SETTABLE_USER_VALUE, 100);

    assert_non_null(block);
    assert_int_equal(RtlSizeHeap(heap, 0, block), 100);
    assert_int_equal(tag_in_walk(heap, block), 2);
    assert_true(RtlSetUserValueHeap(heap, 0, block, heap));
    assert_true(RtlSetUserFlagsHeap(heap, 0, block, 0, HEAP_SETTABLE_USER_FLAG2));
    assert_int_equal(tag_in_walk(heap, block), 2);
    memset(block, 'x', 100);
    block = RtlReAllocateHeap(heap, 0, block, 90000); /* keeps it */
    assert_int_equal(tag_in_walk(heap, block), 2);
    assert_true(RtlGetUserInfoHeap(heap, 0, block, &value, NULL) && value == heap && block[99] == 'x');
    assert_non_null(RtlQueryTagHeap(heap, 0, 2, TRUE, &info));
    assert_int_equal(info.NumberOfAllocations, 2);
    assert_int_equal(info.NumberOfFrees, 1);
    assert_int_equal(info.BytesAllocated, 90000);
    block = RtlReAllocateHeap(heap, HEAP_MAKE_TAG_FLAGS(base, 2), block, 80000); /* changes it */
    assert_int_equal(tag_in_walk(heap, block), 3);
    assert_true(RtlGetUserInfoHeap(heap, 0, block, &value, NULL) && value == heap);
    assert_non_null(RtlQueryTagHeap(heap, 0, 2, FALSE, &info));
    assert_int_equal(info.NumberOfAllocations, 0);
    assert_int_equal(info.NumberOfFrees, 1);
    assert_int_equal(info.BytesAllocated, 0);
    assert_true(RtlFreeHeap(heap, 0, block));
    block = RtlAllocateHeap(heap, HEAP_MAKE_TAG_FLAGS(base, 77), 10); /* no such tag: none */
    assert_int_equal(tag_in_walk(heap, block), 0);
    assert_null(RtlDestroyHeap(heap));
}

/* The tag's word is damaged by an overrun as the trailer is. */
static void a_damaged_tag_is_found(void **state)
{
    PVOID heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);
    const ULONG base = RtlCreateTagHeap(heap, 0, prefix, names);

    (void)state;
    RtlpDamageHandler = heap_collect_damage;
    for (ULONG at = 0; at < 16; at += 1)
    {
        unsigned char *block = RtlAllocateHeap(heap, HEAP_MAKE_TAG_FLAGS(base, 0), 48);

        /* 48 and 16 bytes: the tag and the trailer follow at once. */
        block[48 + at] ^= 1;
        heap_damage.count = 0;
        assert_false(RtlFreeHeap(heap, 0, block));
        assert_int_equal(heap_damage.count, 1);
        assert_int_equal(heap_damage.last, HeapDamageTail);
    }

    RtlpDamageHandler = NULL;
    assert_null(RtlDestroyHeap(heap));
}

static void run_random(ULONG flags, SIZE_T reserve)
{
    enum
    {
        slots = 100
    };
    static struct
    {
        PVOID block;
        SIZE_T size;
        ULONG tag;
    } table[slots];
    RTL_HEAP_TAG_INFO counts[4] = { { 0 } };
    test_random random = test_seed("random_calls_agree_with_counters_of_their_own");
    PVOID heap = RtlCreateHeap(flags, NULL, reserve, 0, NULL, NULL);

    memset(table, 0, sizeof(table));
    assert_int_not_equal(RtlCreateTagHeap(heap, 0, NULL, names), 0);
    for (int step = 0; step < 20000; step += 1)
    {
        const ULONG slot = (ULONG)test_below(&random, slots);
        const SIZE_T size = (SIZE_T)test_below(&random, 3000);
        const ULONG tag = (ULONG)test_below(&random, 4);

        if (table[slot].block == NULL)
        {
            table[slot].block = RtlAllocateHeap(heap, tag << HEAP_TAG_SHIFT, size);
            table[slot].size = size;
            table[slot].tag = tag;
            if (table[slot].block != NULL)
            {
                counts[tag].BytesAllocated += size;
            }
        }
        else if (test_below(&random, 2) == 0)
        {
            PVOID moved = RtlReAllocateHeap(heap, tag << HEAP_TAG_SHIFT, table[slot].block, size);

            if (moved != NULL)
            {
                counts[table[slot].tag].BytesAllocated -= table[slot].size;
                table[slot].tag = tag != 0 ? tag : table[slot].tag;
                table[slot].block = moved;
                table[slot].size = size;
                counts[table[slot].tag].BytesAllocated += size;
            }
        }
        else
        {
            counts[table[slot].tag].BytesAllocated -= table[slot].size;
            assert_true(RtlFreeHeap(heap, 0, table[slot].block));
            table[slot].block = NULL;
        }
    }

    assert_true(RtlValidateHeap(heap, 0, NULL));
    for (USHORT tag = 1; tag < 4; tag += 1)
    {
        RTL_HEAP_TAG_INFO info;
        ULONG live = 0;

        for (ULONG slot = 0; slot < slots; slot += 1)
        {
            live += table[slot].block != NULL && table[slot].tag == tag;
        }

        assert_non_null(RtlQueryTagHeap(heap, 0, tag, FALSE, &info));
        assert_int_equal(info.BytesAllocated, counts[tag].BytesAllocated);
        assert_true(info.NumberOfAllocations - info.NumberOfFrees == live);
    }

    assert_null(RtlDestroyHeap(heap));
}

static void random_calls_agree_with_counters_of_their_own(void **state)
{
    (void)state;
    run_random(HEAP_GROWABLE, 0);
    run_random(HEAP_GROWABLE | HEAP_TAIL_CHECKING_ENABLED | HEAP_FREE_CHECKING_ENABLED, 0);
    run_random(0, 0x18000); /* fails now and then */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tags_have_names),
        cmocka_unit_test(counters_follow_the_blocks),
        cmocka_unit_test(a_damaged_tag_is_found),
        cmocka_unit_test(random_calls_agree_with_counters_of_their_own),
    };

    return cmocka_run_group_tests_name("heap.tags", tests, NULL, NULL);
}
