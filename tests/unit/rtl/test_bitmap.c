/* SPDX-License-Identifier: MIT */
/*
 * RTL_BITMAP: the sentences of its documentation, and a model test of every function against an array with
 * one byte for each bit. Maps are allocated to the exact ULONG, so that a sanitizer sees any read beyond the
 * last one.
 */
#include "seed.h"

#include <string.h>

#include "rtl/bitmap.h"

static RTL_BITMAP make(ULONG bits)
{
    RTL_BITMAP map;
    SIZE_T bytes = ((SIZE_T)bits + 31) / 32 * 4;
    PULONG buffer = malloc(bytes != 0 ? bytes : 1);

    memset(buffer, 0xa5, bytes);
    RtlInitializeBitMap(&map, buffer, bits);
    RtlClearAllBits(&map);
    return map;
}

static void initialize_leaves_the_contents_alone(void **state)
{
    ULONG buffer[2] = { 0x80000001, 2 };
    RTL_BITMAP map;

    (void)state;
    RtlInitializeBitMap(&map, buffer, 40);
    assert_int_equal(map.SizeOfBitMap, 40);
    assert_ptr_equal(map.Buffer, buffer);
    assert_int_equal(RtlNumberOfSetBits(&map), 3);
    assert_true(RtlTestBit(&map, 0) && RtlTestBit(&map, 31) && RtlTestBit(&map, 33));
    assert_int_equal(RtlCheckBit(&map, 33), 1);
    assert_int_equal(RtlCheckBit(&map, 32), 0);
}

static void are_bits_clear_is_false_for_no_bits_and_beyond_the_map(void **state)
{
    RTL_BITMAP map = make(100);

    (void)state;
    assert_true(RtlAreBitsClear(&map, 0, 100));
    assert_true(RtlAreBitsClear(&map, 99, 1));
    assert_false(RtlAreBitsClear(&map, 5, 0));
    assert_false(RtlAreBitsClear(&map, 0, 101));
    assert_false(RtlAreBitsClear(&map, 100, 1));
    assert_false(RtlAreBitsClear(&map, 0xffffffff, 2));
    RtlSetAllBits(&map);
    assert_true(RtlAreBitsSet(&map, 0, 100));
    assert_false(RtlAreBitsSet(&map, 50, 0));
    assert_false(RtlAreBitsSet(&map, 99, 2));
    free(map.Buffer);
}

static void find_clear_bits_starts_at_the_hint_and_wraps_around(void **state)
{
    RTL_BITMAP map = make(200);

    (void)state;
    RtlSetAllBits(&map);
    RtlClearBits(&map, 10, 5);
    RtlClearBits(&map, 190, 10);
    assert_int_equal(RtlFindClearBits(&map, 3, 0), 10);
    assert_int_equal(RtlFindClearBits(&map, 3, 12), 12);
    assert_int_equal(RtlFindClearBits(&map, 3, 13), 190);
    assert_int_equal(RtlFindClearBits(&map, 5, 196), 10);
    assert_int_equal(RtlFindClearBits(&map, 10, 191), 190);
    assert_int_equal(RtlFindClearBits(&map, 11, 0), 0xffffffff); /* a run never wraps */
    assert_int_equal(RtlFindClearBits(&map, 3, 5000), 10);
    assert_int_equal(RtlFindSetBits(&map, 100, 20), 20);
    assert_int_equal(RtlFindSetBits(&map, 176, 0), 0xffffffff);
    free(map.Buffer);
}

static void find_clear_bits_and_set_hands_out_every_bit_once(void **state)
{
    RTL_BITMAP map = make(1000);

    (void)state;
    for (unsigned i = 0; i < 142; i += 1)
    {
        assert_int_equal(RtlFindClearBitsAndSet(&map, 7, 0), 7 * i);
    }
    assert_int_equal(RtlFindClearBitsAndSet(&map, 7, 0), 0xffffffff);
    assert_int_equal(RtlNumberOfClearBits(&map), 6);
    assert_int_equal(RtlFindSetBitsAndClear(&map, 500, 100), 100);
    assert_int_equal(RtlNumberOfClearBits(&map), 506);
    free(map.Buffer);
}

static void longest_runs_are_sorted_from_longest_to_shortest(void **state)
{
    RTL_BITMAP map = make(300);
    RTL_BITMAP_RUN runs[4];

    (void)state;
    RtlSetAllBits(&map);
    RtlClearBits(&map, 3, 1);
    RtlClearBits(&map, 10, 70);
    RtlClearBits(&map, 100, 5);
    RtlClearBits(&map, 200, 100);
    RtlClearBits(&map, 120, 2);
    assert_int_equal(RtlFindClearRuns(&map, runs, 4, TRUE), 4);
    assert_int_equal(runs[0].StartingIndex, 200);
    assert_int_equal(runs[0].NumberOfBits, 100);
    assert_int_equal(runs[1].StartingIndex, 10);
    assert_int_equal(runs[2].StartingIndex, 100);
    assert_int_equal(runs[3].NumberOfBits, 2);
    assert_int_equal(RtlFindClearRuns(&map, runs, 2, FALSE), 2);
    assert_int_equal(runs[0].StartingIndex, 3);
    assert_int_equal(runs[1].StartingIndex, 10);
    assert_int_equal(RtlFindClearRuns(&map, runs, 0, TRUE), 0);
    free(map.Buffer);
}

static void significant_bits_of_zero_are_minus_one(void **state)
{
    (void)state;
    assert_int_equal(RtlFindMostSignificantBit(0), -1);
    assert_int_equal(RtlFindLeastSignificantBit(0), -1);
    for (int i = 0; i < 64; i += 1)
    {
        assert_int_equal(RtlFindMostSignificantBit((2ull << i) - 1), i);
        assert_int_equal(RtlFindLeastSignificantBit(~0ull << i), i);
        assert_int_equal(RtlNumberOfSetBitsUlongPtr(~0ull << i), 64 - i);
    }
}

/* ------------------------------------------------------------------------------------- the model test */

enum
{
    LARGEST = 700
};

typedef struct
{
    RTL_BITMAP map;
    unsigned char bits[LARGEST];
    unsigned size;
} pair;

static unsigned run_at(const pair *p, unsigned from, unsigned char value)
{
    unsigned end = from;

    while (end < p->size && p->bits[end] == value)
    {
        end += 1;
    }
    return end - from;
}

static ULONG model_find(const pair *p, unsigned count, unsigned hint, unsigned char value)
{
    if (hint >= p->size)
    {
        hint = 0;
    }
    if (count == 0)
    {
        return hint;
    }
    for (unsigned i = 0; i < p->size; i += 1)
    {
        unsigned start = (hint + i) % p->size;

        if (run_at(p, start, value) >= count)
        {
            return start;
        }
    }
    return RTL_BITMAP_NOT_FOUND;
}

static void model_fill(pair *p, unsigned from, unsigned count, unsigned char value)
{
    memset(p->bits + from, value, count);
}

static unsigned model_count(const pair *p, unsigned from, unsigned count, unsigned char value)
{
    unsigned total = 0;

    for (unsigned i = from; i < from + count; i += 1)
    {
        total += p->bits[i] == value;
    }
    return total;
}

static void compare_runs(const pair *p, test_random *random)
{
    unsigned from = (unsigned)test_below(random, p->size + 1);
    unsigned start = from, best = 0, best_at = 0, first = 0;
    ULONG index;

    while (start < p->size && p->bits[start] != 0)
    {
        start += 1;
    }
    assert_int_equal(RtlFindNextForwardRunClear(&p->map, from, &index), run_at(p, start, 0));
    assert_true(start == p->size || index == start);

    for (unsigned i = 0; i < p->size; i += 1)
    {
        if (run_at(p, i, 0) > best)
        {
            best = run_at(p, i, 0);
            best_at = i;
        }
    }
    assert_int_equal(RtlFindLongestRunClear(&p->map, &index), best);
    assert_true(best == 0 || index == best_at);

    while (first < p->size && p->bits[first] != 0)
    {
        first += 1;
    }
    assert_int_equal(RtlFindFirstRunClear(&p->map, &index), run_at(p, first, 0));
    assert_true(best == 0 || index == first);

    int last = (int)(from < p->size ? from : p->size - 1);
    while (last >= 0 && p->bits[last] != 0)
    {
        last -= 1;
    }
    int begin = last;
    while (begin > 0 && p->bits[begin - 1] == 0)
    {
        begin -= 1;
    }
    assert_int_equal(RtlFindLastBackwardRunClear(&p->map, from, &index), last < 0 ? 0 : last - begin + 1);
    assert_true(last < 0 || (int)index == begin);
}

static void compare_clear_runs(const pair *p, test_random *random)
{
    RTL_BITMAP_RUN runs[LARGEST], expected[LARGEST];
    unsigned room = 1 + (unsigned)test_below(random, 12), total = 0;

    for (unsigned i = 0; i < p->size; i += expected[total - 1].NumberOfBits)
    {
        while (i < p->size && p->bits[i] != 0)
        {
            i += 1;
        }
        if (i == p->size)
        {
            break;
        }
        expected[total].StartingIndex = i;
        expected[total].NumberOfBits = run_at(p, i, 0);
        total += 1;
    }

    unsigned wanted = room < total ? room : total;
    assert_int_equal(RtlFindClearRuns(&p->map, runs, room, FALSE), wanted);
    assert_memory_equal(runs, expected, wanted * sizeof(runs[0]));

    for (unsigned i = 1; i < total; i += 1) /* stable insertion sort, longest first */
    {
        RTL_BITMAP_RUN run = expected[i];
        unsigned j = i;

        for (; j > 0 && expected[j - 1].NumberOfBits < run.NumberOfBits; j -= 1)
        {
            expected[j] = expected[j - 1];
        }
        expected[j] = run;
    }
    assert_int_equal(RtlFindClearRuns(&p->map, runs, room, TRUE), wanted);
    assert_memory_equal(runs, expected, wanted * sizeof(runs[0]));
}

static void change(pair *p, test_random *random)
{
    unsigned from = (unsigned)test_below(random, p->size);
    unsigned longest = test_below(random, 3) == 0 ? p->size - from : 1 + (p->size - from) / 20;
    unsigned count = (unsigned)test_below(random, longest + 1);
    unsigned found;

    switch (test_below(random, 8))
    {
    case 0:
        RtlSetBit(&p->map, from);
        model_fill(p, from, 1, 1);
        break;
    case 1:
        RtlClearBit(&p->map, from);
        model_fill(p, from, 1, 0);
        break;
    case 2:
    case 3:
        RtlSetBits(&p->map, from, count);
        model_fill(p, from, count, 1);
        break;
    case 4:
    case 5:
        RtlClearBits(&p->map, from, count);
        model_fill(p, from, count, 0);
        break;
    case 6:
        found = RtlFindClearBitsAndSet(&p->map, count, from);
        assert_int_equal(found, model_find(p, count, from, 0));
        model_fill(p, found == RTL_BITMAP_NOT_FOUND ? 0 : found, found == RTL_BITMAP_NOT_FOUND ? 0 : count,
                   1);
        break;
    default:
        found = RtlFindSetBitsAndClear(&p->map, count, from);
        assert_int_equal(found, model_find(p, count, from, 1));
        model_fill(p, found == RTL_BITMAP_NOT_FOUND ? 0 : found, found == RTL_BITMAP_NOT_FOUND ? 0 : count,
                   0);
        break;
    }
}

static void compare(const pair *p, test_random *random)
{
    unsigned from = (unsigned)test_below(random, p->size);
    unsigned count = (unsigned)test_below(random, 1 + (p->size - from) / (1 + test_below(random, 30)));
    unsigned hint = (unsigned)test_below(random, p->size + 3);

    for (unsigned i = 0; i < p->size; i += 1)
    {
        assert_int_equal(RtlTestBit(&p->map, i), p->bits[i]);
    }
    assert_int_equal(RtlNumberOfSetBits(&p->map), model_count(p, 0, p->size, 1));
    assert_int_equal(RtlNumberOfClearBits(&p->map), model_count(p, 0, p->size, 0));
    assert_int_equal(RtlNumberOfSetBitsInRange(&p->map, from, count), model_count(p, from, count, 1));
    assert_int_equal(RtlNumberOfClearBitsInRange(&p->map, from, count), model_count(p, from, count, 0));
    assert_int_equal(RtlAreBitsClear(&p->map, from, count), count != 0 && run_at(p, from, 0) >= count);
    assert_int_equal(RtlAreBitsSet(&p->map, from, count), count != 0 && run_at(p, from, 1) >= count);
    assert_int_equal(RtlFindClearBits(&p->map, count, hint), model_find(p, count, hint, 0));
    assert_int_equal(RtlFindSetBits(&p->map, count, hint), model_find(p, count, hint, 1));
    compare_runs(p, random);
    compare_clear_runs(p, random);
}

static void bitmap_agrees_with_an_array_of_bytes(void **state)
{
    test_random random = test_seed(__func__);
    uint64_t iterations = test_iterations(20000);

    (void)state;
    for (uint64_t i = 0; i < iterations;)
    {
        pair p = { .size = 1 + (unsigned)test_below(&random, test_below(&random, 2) ? LARGEST : 140) };

        p.map = make(p.size);
        if (test_below(&random, 2))
        {
            RtlSetAllBits(&p.map);
            model_fill(&p, 0, p.size, 1);
        }
        for (unsigned round = 0; round < 200 && i < iterations; round += 1, i += 1)
        {
            change(&p, &random);
            compare(&p, &random);
        }
        free(p.map.Buffer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(initialize_leaves_the_contents_alone),
        cmocka_unit_test(are_bits_clear_is_false_for_no_bits_and_beyond_the_map),
        cmocka_unit_test(find_clear_bits_starts_at_the_hint_and_wraps_around),
        cmocka_unit_test(find_clear_bits_and_set_hands_out_every_bit_once),
        cmocka_unit_test(longest_runs_are_sorted_from_longest_to_shortest),
        cmocka_unit_test(significant_bits_of_zero_are_minus_one),
        cmocka_unit_test(bitmap_agrees_with_an_array_of_bytes),
    };

    return cmocka_run_group_tests_name("rtl.bitmap", tests, NULL, NULL);
}
