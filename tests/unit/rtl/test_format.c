/* SPDX-License-Identifier: MIT */
/*
 * The kernel's formatter: integer conversions against the C library's snprintf for random specifications, and
 * the conversions that only Windows has by example.
 */
#include "seed.h"

#include <string.h>

#include "rtl/format.h"

#define expect(expected, ...)                                                                                \
    do                                                                                                       \
    {                                                                                                        \
        char expect_buffer[200];                                                                             \
        memset(expect_buffer, '#', sizeof(expect_buffer));                                                   \
        assert_int_equal(RtlpFormatText(expect_buffer, sizeof(expect_buffer), __VA_ARGS__),                  \
                         strlen(expected));                                                                  \
        assert_string_equal(expect_buffer, expected);                                                        \
    } while (0)

static void plain_text_and_percent_signs_pass_through(void **state)
{
    (void)state;
    expect("", "");
    expect("100% sure", "100%% sure");
    expect("a b", "%s %s", "a", "b");
}

static void l_is_thirty_two_bits_wide_as_on_windows(void **state)
{
    (void)state;
    expect("ffffffff -1 7", "%lx %ld %u", 0xffffffffu, -1, 7);
    expect("4294967295", "%lu", 0xffffffffu);
}

static void sizes_of_microsoft_are_understood(void **state)
{
    (void)state;
    expect("123456789abcdef0 -5", "%I64x %I64d", 0x123456789abcdef0ull, -5ll);
    expect("-1 4294967295", "%I32d %I32u", -1, 0xffffffffu);
    expect("ffffffffffffffff -9", "%Ix %Id", ~(ULONG_PTR)0, (LONG_PTR)-9);
    expect("18446744073709551615 42", "%llu %zu", ~0ull, (size_t)42);
    expect("-1 255 -1 65535", "%hhd %hhu %hd %hu", 255, 255, 65535, 65535);
}

static void pointers_have_sixteen_upper_case_digits(void **state)
{
    (void)state;
    expect("FFFFF80012345678", "%p", (void *)0xfffff80012345678ull);
    expect("0000000000000000", "%p", NULL);
    expect("  000000000000BEEF|", "%18p|", (void *)0xbeef);
}

static void wide_text_is_printed_as_utf8(void **state)
{
    static const WCHAR euro[] = { 0x20ac, 'x', 0xD83D, 0xDE00, 0 };

    (void)state;
    expect("\xE2\x82\xACx\xF0\x9F\x98\x80", "%ws", euro);
    expect("\xE2\x82\xACx\xF0\x9F\x98\x80", "%ls", euro);
    expect("\xE2\x82\xACx\xF0\x9F\x98\x80|", "%-3S|", euro);
    expect("  \xE2\x82\xACx|", "%4.2S|", euro);
    expect("\xE2\x82\xAC!", "%wc%c", 0x20ac, '!');
    expect("\xE2\x82\xAC!", "%C%hC", 0x20ac, '!');
    expect("narrow", "%hs", "narrow");
    expect("narrow", "%hS", "narrow");
}

static void counted_strings_end_at_their_length(void **state)
{
    static const WCHAR name[] = u"\\PageFile.sysXXXX";
    UNICODE_STRING unicode = { 26, 26, (PWCH)(uintptr_t)name };
    ANSI_STRING ansi = { 3, 3, (PCHAR)(uintptr_t) "abcdef" };
    UNICODE_STRING empty = { 0, 0, NULL };

    (void)state;
    expect("\\PageFile.sys", "%wZ", &unicode);
    expect("[\\Page]", "[%.5wZ]", &unicode);
    expect("[  abc|abc  ]", "[%5Z|%-5hZ]", &ansi, &ansi);
    expect("(null) (null)", "%wZ %Z", &empty, NULL);
}

static void null_texts_are_named(void **state)
{
    (void)state;
    expect("(null) (null)", "%s %ws", (char *)NULL, (PWSTR)NULL);
    expect("  (nu|", "%5.3s|", (char *)NULL);
}

static void unknown_conversions_are_printed_as_they_stand(void **state)
{
    (void)state;
    expect("%q 5", "%q %d", 5);
    expect("%-08.3f", "%-08.3f");
    expect("%n", "%n");
    expect("tail %", "tail %");
    expect("tail %-5l", "tail %-5l");
}

static void precision_stops_reading_before_the_end_of_the_buffer(void **state)
{
    char *three = malloc(3); /* no terminator: a sanitizer sees any byte read beyond */
    UNICODE_STRING string = { 4, 4, malloc(4) };

    (void)state;
    memcpy(three, "abc", 3);
    memcpy(string.Buffer, u"xy", 4);
    expect("abc", "%.3s", three);
    expect("xy", "%.9wZ", &string);
    free(three);
    free(string.Buffer);
}

static void a_text_too_long_is_cut_and_its_length_returned(void **state)
{
    char buffer[8];

    (void)state;
    for (unsigned size = 0; size <= 8; size += 1)
    {
        memset(buffer, '#', sizeof(buffer));
        assert_int_equal(RtlpFormatText(buffer, size, "%s-%05d", "ab", 42), 8);
        for (unsigned i = 0; i < 8; i += 1)
        {
            char expected = i + 1 < size ? "ab-00042"[i] : i + 1 == size ? '\0' : '#';

            assert_int_equal(buffer[i], expected);
        }
    }
    assert_int_equal(RtlpFormatText(NULL, 0, "%100000d", 1), 100000);
}

static void random_specification(test_random *random, char *format, const char *size)
{
    static const char flags[] = "-+ #0", conversions[] = "diuxXo";
    char conversion = conversions[test_below(random, 6)];

    *format++ = '[';
    *format++ = '%';
    for (unsigned i = 0; i < 5; i += 1)
    {
        BOOLEAN defined = flags[i] == '#'
                              ? strchr("xXo", conversion) != NULL
                              : strchr("+ ", flags[i]) == NULL || strchr("di", conversion) != NULL;

        if (defined && test_below(random, 3) == 0)
        {
            *format++ = flags[i];
        }
    }
    if (test_below(random, 2))
    {
        format += sprintf(format, "%u", 1 + (unsigned)test_below(random, 25));
    }
    if (test_below(random, 2))
    {
        format += test_below(random, 4) ? sprintf(format, ".%u", (unsigned)test_below(random, 25))
                                        : sprintf(format, ".");
    }
    sprintf(format, "%s%c]", size, conversion);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"

static void numbers_print_as_the_library_prints_them(void **state)
{
    static const char *const sizes[] = { "", "hh", "h", "ll", "j", "z", "t" };
    test_random random = test_seed(__func__);
    uint64_t iterations = test_iterations(200000);

    (void)state;
    for (uint64_t i = 0; i < iterations; i += 1)
    {
        char format[80], ours[100], theirs[100];
        unsigned size = (unsigned)test_below(&random, 7);
        uint64_t value = test_draw(&random) >> test_below(&random, 64);
        size_t length;

        value = test_below(&random, 8) == 0 ? 0 : test_below(&random, 2) ? value : 0 - value;
        random_specification(&random, format, sizes[size]);
        if (size < 3)
        {
            length = RtlpFormatText(ours, sizeof(ours), format, (int)value);
            assert_int_equal(length, snprintf(theirs, sizeof(theirs), format, (int)value));
        }
        else
        {
            length = RtlpFormatText(ours, sizeof(ours), format, value);
            assert_int_equal(length, snprintf(theirs, sizeof(theirs), format, value));
        }
        assert_string_equal(ours, theirs);
    }
    char ours[64], theirs[64];
    for (int width = -12; width <= 12; width += 1)
    {
        for (int precision = -3; precision <= 6; precision += 1)
        {
            RtlpFormatText(ours, sizeof(ours), "[%*.*d|%*.*s]", width, precision, 123, width, precision,
                           "abcd");
            snprintf(theirs, sizeof(theirs), "[%*.*d|%*.*s]", width, precision, 123, width, precision,
                     "abcd");
            assert_string_equal(ours, theirs);
        }
    }
}

#pragma GCC diagnostic pop

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_text_and_percent_signs_pass_through),
        cmocka_unit_test(l_is_thirty_two_bits_wide_as_on_windows),
        cmocka_unit_test(sizes_of_microsoft_are_understood),
        cmocka_unit_test(pointers_have_sixteen_upper_case_digits),
        cmocka_unit_test(wide_text_is_printed_as_utf8),
        cmocka_unit_test(counted_strings_end_at_their_length),
        cmocka_unit_test(null_texts_are_named),
        cmocka_unit_test(unknown_conversions_are_printed_as_they_stand),
        cmocka_unit_test(precision_stops_reading_before_the_end_of_the_buffer),
        cmocka_unit_test(a_text_too_long_is_cut_and_its_length_returned),
        cmocka_unit_test(numbers_print_as_the_library_prints_them),
    };

    return cmocka_run_group_tests_name("rtl.format", tests, NULL, NULL);
}
