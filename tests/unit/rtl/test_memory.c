/* SPDX-License-Identifier: MIT */
/*
 * Rtl memory functions and whole pages, and the memcpy family of the pc port (compiled here under other
 * names), each against the C library at every small offset and length.
 */
#include "seed.h"

#include <string.h>

#include "rtl/memory.h"

#define NTMM_PORT_PC 1
#define memcpy       pc_memcpy
#define memmove      pc_memmove
#define memset       pc_memset
#define memcmp       pc_memcmp
#include "../../../src/rtl/cmemory.c"
#undef memcpy
#undef memmove
#undef memset
#undef memcmp

static void compare_memory_counts_the_bytes_before_the_first_difference(void **state)
{
    unsigned char a[64], b[64];

    (void)state;
    for (unsigned length = 0; length <= 40; length += 1)
    {
        for (unsigned offset = 0; offset < 8; offset += 1)
        {
            memset(a, 7, sizeof(a));
            memset(b, 7, sizeof(b));
            b[offset + length] = 9; /* just behind the end */
            assert_int_equal(RtlCompareMemory(a + 1, b + offset, length), length);
            for (unsigned bad = 0; bad < length; bad += 1)
            {
                b[offset + bad] ^= 0x80;
                assert_int_equal(RtlCompareMemory(a + 1, b + offset, length), bad);
                b[offset + bad] ^= 0x80;
            }
        }
    }
}

static void compare_memory_ulong_wants_aligned_arguments(void **state)
{
    ULONG words[12];

    (void)state;
    RtlFillMemoryUlong(words, sizeof(words), 0xdeadbeef);
    for (unsigned i = 0; i < 12; i += 1)
    {
        assert_int_equal(words[i], 0xdeadbeef);
    }
    assert_int_equal(RtlCompareMemoryUlong(words, sizeof(words), 0xdeadbeef), sizeof(words));
    assert_int_equal(RtlCompareMemoryUlong((char *)words + 1, 8, 0xdeadbeef), 0);
    assert_int_equal(RtlCompareMemoryUlong(words, 7, 0xdeadbeef), 0);
    assert_int_equal(RtlCompareMemoryUlong(words, 0, 0xdeadbeef), 0);
    for (unsigned i = 0; i < 12; i += 1)
    {
        for (unsigned start = 0; start < 2; start += 1)
        {
            words[i] ^= 0x00010000;
            unsigned expected = i < start ? 12 - start : i - start;
            assert_int_equal(RtlCompareMemoryUlong(words + start, 4 * (12 - start), 0xdeadbeef),
                             4 * expected);
            words[i] ^= 0x00010000;
        }
    }
}

static void zero_memory_is_zero_memory(void **state)
{
    unsigned char bytes[70];

    (void)state;
    for (unsigned length = 0; length <= 64; length += 1)
    {
        RtlFillMemory(bytes, sizeof(bytes), 0xff);
        assert_ptr_equal(RtlSecureZeroMemory(bytes + 1, length), bytes + 1);
        assert_true(RtlIsZeroMemory(bytes + 1, length));
        assert_int_equal(bytes[0], 0xff);
        assert_int_equal(bytes[length + 1], 0xff);
        for (unsigned i = 0; i < length; i += 1)
        {
            bytes[1 + i] = 0x10;
            assert_false(RtlIsZeroMemory(bytes + 1, length));
            bytes[1 + i] = 0;
        }
    }
}

static void copy_move_and_equal_are_what_their_names_say(void **state)
{
    char text[] = "0123456789";

    (void)state;
    RtlMoveMemory(text + 2, text, 5);
    assert_string_equal(text, "0101234789");
    RtlCopyMemory(text, "ab", 2);
    assert_true(RtlEqualMemory(text, "ab01", 4));
    assert_false(RtlEqualMemory(text, "ab02", 4));
    RtlZeroMemory(text, 3);
    assert_true(RtlIsZeroMemory(text, 3));
}

static void pages_are_zeroed_and_copied_whole_and_nothing_else_is(void **state)
{
    unsigned char *area = aligned_alloc(PAGE_SIZE, 6 * PAGE_SIZE);

    (void)state;
    for (unsigned i = 0; i < 6 * PAGE_SIZE; i += 1)
    {
        area[i] = (unsigned char)(i * 7 + i / PAGE_SIZE + 1);
    }
    RtlpCopyPage(area + 4 * PAGE_SIZE, area + PAGE_SIZE);
    assert_memory_equal(area + 4 * PAGE_SIZE, area + PAGE_SIZE, PAGE_SIZE);
    RtlpZeroPage(area + PAGE_SIZE);
    assert_true(RtlIsZeroMemory(area + PAGE_SIZE, PAGE_SIZE));
    for (unsigned i = 0; i < 6 * PAGE_SIZE; i += 1)
    {
        unsigned page = i / PAGE_SIZE;

        if (page != 1 && page != 4)
        {
            assert_int_equal(area[i], (unsigned char)(i * 7 + page + 1));
        }
    }
    free(area);
}

static void memcpy_family_of_the_pc_agrees_with_the_library(void **state)
{
    test_random random = test_seed(__func__);
    uint64_t iterations = test_iterations(20000);
    unsigned char ours[300], theirs[300];

    (void)state;
    for (unsigned i = 0; i < sizeof(ours); i += 1)
    {
        ours[i] = theirs[i] = (unsigned char)test_draw(&random);
    }
    for (uint64_t i = 0; i < iterations; i += 1)
    {
        unsigned from = (unsigned)test_below(&random, 150), to = (unsigned)test_below(&random, 150);
        unsigned length = (unsigned)test_below(&random, 150);
        int fill = (int)test_draw(&random);
        unsigned char copy[150];

        assert_ptr_equal(pc_memcpy(copy, ours + from, length), copy);
        assert_memory_equal(copy, ours + from, length);
        assert_ptr_equal(pc_memmove(ours + to, ours + from, length), ours + to);
        memmove(theirs + to, theirs + from, length);
        assert_memory_equal(ours, theirs, sizeof(ours));
        length /= 8;
        int here = pc_memcmp(ours + from, ours + to, length), there = memcmp(ours + from, ours + to, length);
        assert_int_equal((here > 0) - (here < 0), (there > 0) - (there < 0));
        assert_ptr_equal(pc_memset(ours + from, fill, length), ours + from);
        memset(theirs + from, fill, length);
        ours[to] = theirs[to] = (unsigned char)test_draw(&random);
        assert_memory_equal(ours, theirs, sizeof(ours));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compare_memory_counts_the_bytes_before_the_first_difference),
        cmocka_unit_test(compare_memory_ulong_wants_aligned_arguments),
        cmocka_unit_test(zero_memory_is_zero_memory),
        cmocka_unit_test(copy_move_and_equal_are_what_their_names_say),
        cmocka_unit_test(pages_are_zeroed_and_copied_whole_and_nothing_else_is),
        cmocka_unit_test(memcpy_family_of_the_pc_agrees_with_the_library),
    };

    return cmocka_run_group_tests_name("rtl.memory", tests, NULL, NULL);
}
