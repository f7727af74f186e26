/* SPDX-License-Identifier: MIT */
/*
 * Random numbers, hashes and CRCs: published test vectors, and the statistical promises that clients rely on.
 */
#include "seed.h"

#include <string.h>

#include "rtl/hash.h"
#include "rtl/random.h"

static void generators_give_the_published_numbers(void **state)
{
    ULONG64 seed = 1234567;
    RTLP_RANDOM random = { { 1, 2, 3, 4 } };

    (void)state;
    assert_int_equal(RtlpSplitMix64(&seed), 6457827717110365317ull);
    assert_int_equal(RtlpSplitMix64(&seed), 3203168211198807973ull);
    assert_int_equal(RtlpSplitMix64(&seed), 9817491932198370423ull);
    assert_int_equal(RtlpRandom64(&random), 11520);
    assert_int_equal(RtlpRandom64(&random), 0);
    assert_int_equal(RtlpRandom64(&random), 1509978240);
    assert_int_equal(RtlpRandom64(&random), 1215971899390074240ull);
}

static void equal_seeds_give_equal_sequences_and_other_seeds_others(void **state)
{
    RTLP_RANDOM one, same, other;

    (void)state;
    RtlpSeedRandom(&one, 0);
    RtlpSeedRandom(&same, 0);
    RtlpSeedRandom(&other, 1);
    for (unsigned i = 0; i < 100; i += 1)
    {
        ULONG64 number = RtlpRandom64(&one);

        assert_int_equal(number, RtlpRandom64(&same));
        assert_int_not_equal(number, RtlpRandom64(&other));
    }
}

static void bounded_numbers_are_uniform(void **state)
{
    enum
    {
        DRAWS = 120000
    };
    RTLP_RANDOM random;
    unsigned counts[12] = { 0 };

    (void)state;
    RtlpSeedRandom(&random, 42);
    for (unsigned i = 0; i < DRAWS; i += 1)
    {
        counts[RtlpRandomBelow(&random, 12)] += 1;
    }
    for (unsigned i = 0; i < 12; i += 1)
    {
        assert_in_range(counts[i], DRAWS / 12 - 600, DRAWS / 12 + 600); /* over six standard deviations */
    }
}

/* For a bound of 3/4 * 2^64 a modulo or a bare product would draw a third of the numbers twice as often. */
static void a_huge_bound_is_not_biased(void **state)
{
    enum
    {
        DRAWS = 90000
    };
    const ULONG64 third = 1ull << 62;
    RTLP_RANDOM random;
    unsigned counts[3] = { 0 }, residues[3] = { 0 };

    (void)state;
    RtlpSeedRandom(&random, 43);
    for (unsigned i = 0; i < DRAWS; i += 1)
    {
        ULONG64 number = RtlpRandomBelow(&random, 3 * third);

        assert_true(number < 3 * third);
        counts[number / third] += 1;
        residues[number % 3] += 1;
    }
    for (unsigned i = 0; i < 3; i += 1)
    {
        assert_in_range(counts[i], DRAWS / 3 - 900, DRAWS / 3 + 900);
        assert_in_range(residues[i], DRAWS / 3 - 900, DRAWS / 3 + 900);
    }
}

static void between_includes_both_ends(void **state)
{
    RTLP_RANDOM random;
    unsigned low = 0, high = 0;

    (void)state;
    RtlpSeedRandom(&random, 44);
    for (unsigned i = 0; i < 1000; i += 1)
    {
        ULONG64 number = RtlpRandomBetween(&random, 10, 13);

        assert_in_range(number, 10, 13);
        low += number == 10;
        high += number == 13;
    }
    assert_true(low > 0 && high > 0);
    assert_int_equal(RtlpRandomBetween(&random, 7, 7), 7);
    ULONG64 bits = 0;
    for (unsigned i = 0; i < 64; i += 1)
    {
        bits |= RtlpRandomBetween(&random, 0, MAXULONG64);
    }
    assert_int_equal(bits, MAXULONG64);
}

static void random_ex_stays_below_maxlong_and_advances_the_seed(void **state)
{
    ULONG seed = 0, before, buckets[16] = { 0 };

    (void)state;
    for (unsigned i = 0; i < 160000; i += 1)
    {
        before = seed;
        ULONG number = RtlRandomEx(&seed);

        assert_int_not_equal(seed, before);
        assert_true(number <= MAXLONG - 1);
        buckets[number / 0x08000000] += 1;
    }
    for (unsigned i = 0; i < 16; i += 1)
    {
        assert_in_range(buckets[i], 10000 - 700, 10000 + 700);
    }
}

static void hash_is_a_bijection_that_flips_half_the_bits(void **state)
{
    unsigned long total = 0;

    (void)state;
    assert_int_equal(RtlpHash64(0), 0);
    for (unsigned i = 0; i < 1000; i += 1)
    {
        for (unsigned bit = 0; bit < 64; bit += 1)
        {
            int flipped =
                __builtin_popcountll(RtlpHash64(i * 4096ull) ^ RtlpHash64(i * 4096ull ^ 1ull << bit));

            assert_in_range(flipped, 8, 56);
            total += (unsigned)flipped;
        }
    }
    assert_in_range(total / 640, 3150, 3250); /* 32 of 64 on average, times 100 */
    assert_int_not_equal(RtlpHashPair64(1, 2), RtlpHashPair64(2, 1));
}

static void crcs_give_the_catalogued_check_values_and_can_be_chained(void **state)
{
    static const char text[] = "123456789";

    (void)state;
    assert_int_equal(RtlCrc32(text, 9, 0), 0xcbf43926);
    assert_int_equal(RtlCrc64(text, 9, ~0ull), 0x75d4b74f024eceeaull);
    assert_int_equal(RtlCrc32(text, 0, 0), 0);
    for (unsigned cut = 0; cut <= 9; cut += 1)
    {
        assert_int_equal(RtlCrc32(text + cut, 9 - cut, RtlCrc32(text, cut, 0)), 0xcbf43926);
        assert_int_equal(RtlCrc64(text + cut, 9 - cut, RtlCrc64(text, cut, ~0ull)), 0x75d4b74f024eceeaull);
    }
}

static void crc_tables_follow_from_the_polynomials(void **state)
{
    (void)state;
    for (unsigned value = 0; value < 256; value += 1)
    {
        unsigned char byte = (unsigned char)value;
        ULONG register32 = value;
        ULONG64 register64 = value;

        for (unsigned bit = 0; bit < 8; bit += 1)
        {
            register32 = register32 >> 1 ^ (register32 & 1 ? 0xedb88320u : 0);
            register64 = register64 >> 1 ^ (register64 & 1 ? 0x92c64265d32139a4ull : 0);
        }
        assert_int_equal(~RtlCrc32(&byte, 1, ~0u), register32);
        assert_int_equal(RtlCrc64(&byte, 1, 0), register64);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generators_give_the_published_numbers),
        cmocka_unit_test(equal_seeds_give_equal_sequences_and_other_seeds_others),
        cmocka_unit_test(bounded_numbers_are_uniform),
        cmocka_unit_test(a_huge_bound_is_not_biased),
        cmocka_unit_test(between_includes_both_ends),
        cmocka_unit_test(random_ex_stays_below_maxlong_and_advances_the_seed),
        cmocka_unit_test(hash_is_a_bijection_that_flips_half_the_bits),
        cmocka_unit_test(crcs_give_the_catalogued_check_values_and_can_be_chained),
        cmocka_unit_test(crc_tables_follow_from_the_polynomials),
    };

    return cmocka_run_group_tests_name("rtl.random", tests, NULL, NULL);
}
