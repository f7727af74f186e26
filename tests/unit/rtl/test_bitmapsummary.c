/* SPDX-License-Identifier: MIT */
/*
 * RTL_BITMAP_SUMMARY: it answers exactly as RtlFindClearBits does, its index is never too low, and at a
 * hundred million bits a search still reads next to nothing. The oracle is an array with one byte for each
 * bit.
 */
#include "seed.h"

#include <string.h>

#include "rtl/bitmapsummary.h"
#include "rtl/bitscan.h"

static RTL_BITMAP_SUMMARY make(ULONG64 size, ULONG64 clear)
{
    RTL_BITMAP_SUMMARY summary;

    RtlInitializeBitMapSummary(&summary, malloc(RtlBitMapSummaryBytes(size) + 1), size, clear);
    return summary;
}

static void a_new_map_is_clear_up_to_the_given_number_and_set_beyond(void **state)
{
    RTL_BITMAP_SUMMARY summary = make(10000, 6000);

    (void)state;
    assert_int_equal(summary.NumberOfClearBits, 6000);
    assert_true(RtlSummaryAreBitsClear(&summary, 0, 6000));
    assert_true(RtlSummaryAreBitsSet(&summary, 6000, 4000));
    assert_false(RtlSummaryAreBitsClear(&summary, 5999, 2));
    assert_false(RtlSummaryAreBitsSet(&summary, 9999, 2));
    assert_false(RtlSummaryAreBitsSet(&summary, 9000, 0));
    assert_int_equal(RtlSummaryFindClearBits(&summary, 1, 6000), 0);
    assert_int_equal(RtlSummaryFindClearBits(&summary, 6001, 0), RTL_BITMAP_SUMMARY_NOT_FOUND);
    RtlSummaryClearBits(&summary, 6000, 1000); /* the file grows */
    assert_int_equal(RtlSummaryFindClearBits(&summary, 7000, 0), 0);
    assert_int_equal(RtlSummaryFindClearBits(&summary, 0, 0), RTL_BITMAP_SUMMARY_NOT_FOUND);
    free(summary.Buffer);
}

static void a_map_of_no_bits_has_nothing_to_find(void **state)
{
    RTL_BITMAP_SUMMARY summary = make(0, 0);
    ULONG64 found = 7;

    (void)state;
    assert_int_equal(RtlSummaryFindClearBits(&summary, 1, 0), RTL_BITMAP_SUMMARY_NOT_FOUND);
    assert_int_equal(RtlSummaryFindClusterAndSet(&summary, 64, 0, &found), RTL_BITMAP_SUMMARY_NOT_FOUND);
    assert_int_equal(found, 0);
    free(summary.Buffer);
}

static void a_run_across_the_boundary_of_two_groups_is_found(void **state)
{
    RTL_BITMAP_SUMMARY summary = make(3 * 4096, 0);

    (void)state;
    RtlSummaryClearBits(&summary, 4096, 40);
    RtlSummaryClearBits(&summary, 4096 - 24, 24);
    assert_int_equal(RtlSummaryFindClearBits(&summary, 64, 0), 4096 - 24);
    assert_int_equal(RtlSummaryFindClearBits(&summary, 40, 4096), 4096);
    assert_int_equal(RtlSummaryFindClearBits(&summary, 41, 4096), 4096 - 24);
    assert_int_equal(RtlSummaryFindClearBits(&summary, 65, 0), RTL_BITMAP_SUMMARY_NOT_FOUND);
    assert_int_equal(RtlCheckBitMapSummary(&summary), RTL_BITMAP_SUMMARY_NOT_FOUND);
    free(summary.Buffer);
}

static void a_cluster_is_as_long_as_it_gets(void **state)
{
    RTL_BITMAP_SUMMARY summary = make(100000, 100000);
    ULONG64 found;

    (void)state;
    assert_int_equal(RtlSummaryFindClusterAndSet(&summary, 64, 500, &found), 500);
    assert_int_equal(found, 64);
    RtlSummarySetBits(&summary, 0, 100000);
    RtlSummaryClearBits(&summary, 50000, 17);
    RtlSummaryClearBits(&summary, 70000, 30);
    assert_int_equal(RtlSummaryFindClusterAndSet(&summary, 64, 0, &found), 70000);
    assert_int_equal(found, 30);
    assert_int_equal(RtlSummaryFindClusterAndSet(&summary, 5, 0, &found), 50000);
    assert_int_equal(found, 5);
    assert_int_equal(RtlSummaryFindClusterAndSet(&summary, 64, 0, &found), 50005);
    assert_int_equal(found, 12);
    assert_int_equal(RtlSummaryFindClusterAndSet(&summary, 64, 0, &found), RTL_BITMAP_SUMMARY_NOT_FOUND);
    assert_int_equal(found, 0);
    free(summary.Buffer);
}

static void check_finds_a_bound_that_is_too_low_and_a_wrong_count(void **state)
{
    RTL_BITMAP_SUMMARY summary = make(300 * 4096, 300 * 4096);

    (void)state;
    summary.Bounds[0][77] = 3;
    assert_int_equal(RtlCheckBitMapSummary(&summary), 77 * 4096);
    summary.Bounds[0][77] = 255;
    summary.Bounds[1][1] = 254;
    assert_int_equal(RtlCheckBitMapSummary(&summary), 64 * 4096);
    summary.Bounds[1][1] = 255;
    summary.NumberOfClearBits -= 1;
    assert_int_equal(RtlCheckBitMapSummary(&summary), 300 * 4096);
    free(summary.Buffer);
}

/* ---------------------------------------------------------------------------------------- the model test */

static ULONG64 model_find(const unsigned char *bits, ULONG64 size, ULONG64 count, ULONG64 hint)
{
    ULONG64 before = RTL_BITMAP_SUMMARY_NOT_FOUND, run = 0;

    /* From the end towards the front, so that run is always the length of the run that starts here. */
    ULONG64 after = RTL_BITMAP_SUMMARY_NOT_FOUND;
    for (ULONG64 i = size; i-- > 0;)
    {
        run = bits[i] == 0 ? run + 1 : 0;
        if (run >= count)
        {
            *(i >= hint ? &after : &before) = i;
        }
    }
    return after != RTL_BITMAP_SUMMARY_NOT_FOUND ? after : before;
}

static ULONG64 model_longest(const unsigned char *bits, ULONG64 size, ULONG64 wanted)
{
    ULONG64 best = 0, run = 0;

    for (ULONG64 i = 0; i < size; i += 1)
    {
        run = bits[i] == 0 ? run + 1 : 0;
        best = run > best ? run : best;
    }
    return best < wanted ? best : wanted;
}

static ULONG64 any_length(test_random *random, ULONG64 most)
{
    static const ULONG64 scales[] = { 2, 4, 70, 70, 300, 9000 };
    ULONG64 scale = scales[test_below(random, 6)];

    return test_below(random, (scale < most ? scale : most) + 1);
}

static void one_round(RTL_BITMAP_SUMMARY *summary, unsigned char *bits, test_random *random,
                      unsigned pressure)
{
    ULONG64 size = summary->SizeOfBitMap;
    ULONG64 from = test_below(random, size);
    ULONG64 count = any_length(random, size - from), found, expected;

    if (test_below(random, 100) < pressure)
    {
        if (test_below(random, 2))
        {
            RtlSummarySetBits(summary, from, count);
            memset(bits + from, 1, count);
        }
        count = 1 + any_length(random, 300);
        expected = model_find(bits, size, count, from);
        found = RtlSummaryFindClearBitsAndSet(summary, count, from);
        assert_int_equal(found, expected);
        if (found != RTL_BITMAP_SUMMARY_NOT_FOUND)
        {
            memset(bits + found, 1, count);
        }
    }
    else if (test_below(random, 4) == 0)
    {
        count = 1 + test_below(random, 255);
        ULONG64 longest = model_longest(bits, size, count), length;

        expected = longest != 0 ? model_find(bits, size, longest, from) : RTL_BITMAP_SUMMARY_NOT_FOUND;
        found = RtlSummaryFindClusterAndSet(summary, count, from, &length);
        assert_int_equal(found, expected);
        assert_int_equal(length, longest);
        memset(bits + (longest != 0 ? found : 0), 1, longest);
    }
    else
    {
        RtlSummaryClearBits(summary, from, count);
        memset(bits + from, 0, count);
    }
}

static void summary_agrees_with_an_array_of_bytes(void **state)
{
    test_random random = test_seed(__func__);
    uint64_t iterations = test_iterations(6000);

    (void)state;
    for (uint64_t i = 0; i < iterations;)
    {
        ULONG64 size = 1 + test_below(&random, test_below(&random, 2) ? 20000 : 400000); /* 1 and 2 levels */
        ULONG64 clear = test_below(&random, size + 1);
        RTL_BITMAP_SUMMARY summary = make(size, clear);
        unsigned char *bits = malloc(size);
        unsigned pressure = 50;

        memset(bits, 1, size);
        memset(bits, 0, clear);
        for (unsigned round = 0; round < 300 && i < iterations; round += 1, i += 1)
        {
            ULONG64 bit = test_below(&random, size), clears = 0;

            if (round % 50 == 0)
            {
                pressure = 20 + (unsigned)test_below(&random, 80);
            }
            one_round(&summary, bits, &random, pressure);
            assert_int_equal(RtlSummaryTestBit(&summary, bit), bits[bit]);
            if (round % 8 == 0)
            {
                for (ULONG64 j = 0; j < size; j += 1)
                {
                    clears += bits[j] == 0;
                }
                assert_int_equal(summary.NumberOfClearBits, clears);
                assert_int_equal(RtlCheckBitMapSummary(&summary), RTL_BITMAP_SUMMARY_NOT_FOUND);
            }
        }
        free(bits);
        free(summary.Buffer);
    }
}

/*
 * 268 million bits (a paging file of 1 TiB), every second one set: no pair of clear bits anywhere but at
 * the very end. After the first disappointment a search must not read the map again. To prove it without a
 * clock, the map's words are made unreadable to the search: a run is planted behind the index's back and must
 * not be seen.
 */
static void a_search_reads_only_groups_whose_bound_is_large_enough(void **state)
{
    const ULONG64 size = 1ull << 28;
    RTL_BITMAP_SUMMARY summary = make(size, size);

    (void)state;
    assert_int_equal(summary.Levels, 3);
    memset(summary.Buffer, 0x55, size / 8);
    summary.NumberOfClearBits = size / 2;
    assert_int_equal(RtlSummaryFindClearBits(&summary, 2, 12345), RTL_BITMAP_SUMMARY_NOT_FOUND);
    RtlSummaryClearBits(&summary, size - 64, 64);

    summary.Buffer[1000] = 0; /* 32 clear bits the index does not know of */
    assert_int_equal(RtlSummaryFindClearBits(&summary, 8, 12345), size - 64 - 1);
    assert_int_equal(RtlSummaryFindClearBits(&summary, 64, 12345), size - 64 - 1);
    assert_int_equal(RtlSummaryFindClearBitsAndSet(&summary, 1, 12345), 12345);
    assert_int_equal(RtlSummaryFindClearBits(&summary, 1, 12345), 12347);
    free(summary.Buffer);
}

/* However the first bits were used, the larger map says the same of them, and all beyond is set. */
static void a_larger_map_takes_over_the_bits_of_a_smaller_one(void **state)
{
    static const ULONG64 sizes[] = { 1, 63, 64, 65, 4095, 4096, 4097, 70000 };
    test_random random = test_seed(__func__);

    (void)state;
    for (SIZE_T index = 0; index < sizeof(sizes) / sizeof(sizes[0]); index++)
    {
        ULONG64 size = sizes[index], larger = size + 5000, clear = size - size / 3;
        RTL_BITMAP_SUMMARY old = make(size, clear), new = make(larger, size);

        for (ULONG64 bit = 0; bit < clear; bit += 1 + test_below(&random, 9))
        {
            RtlSummarySetBits(&old, bit, 1);
        }
        RtlCopyBitMapSummary(&new, &old, size);
        assert_int_equal(new.NumberOfClearBits, old.NumberOfClearBits);
        for (ULONG64 bit = 0; bit < larger; bit++)
        {
            assert_int_equal(RtlSummaryTestBit(&new, bit), bit >= size || RtlSummaryTestBit(&old, bit));
        }
        assert_int_equal(RtlCheckBitMapSummary(&new), RTL_BITMAP_SUMMARY_NOT_FOUND);
        free(old.Buffer);
        free(new.Buffer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_map_is_clear_up_to_the_given_number_and_set_beyond),
        cmocka_unit_test(a_map_of_no_bits_has_nothing_to_find),
        cmocka_unit_test(a_run_across_the_boundary_of_two_groups_is_found),
        cmocka_unit_test(a_cluster_is_as_long_as_it_gets),
        cmocka_unit_test(check_finds_a_bound_that_is_too_low_and_a_wrong_count),
        cmocka_unit_test(a_larger_map_takes_over_the_bits_of_a_smaller_one),
        cmocka_unit_test(summary_agrees_with_an_array_of_bytes),
        cmocka_unit_test(a_search_reads_only_groups_whose_bound_is_large_enough),
    };

    return cmocka_run_group_tests_name("rtl.bitmapsummary", tests, NULL, NULL);
}
