/* SPDX-License-Identifier: MIT */
/*
 * Counted strings: the documented statuses and lengths; upper case against the C library's locale tables;
 * UTF-8 against iconv for random valid text, and against the Unicode standard's own examples for malformed
 * text.
 */
#include "seed.h"

#include <iconv.h>
#include <locale.h>
#include <string.h>
#include <wctype.h>

#include "nt/ntstatus.h"
#include "rtl/string.h"

static UNICODE_STRING text(PCWSTR characters)
{
    UNICODE_STRING string;

    RtlInitUnicodeString(&string, characters);
    return string;
}

static void init_counts_bytes_without_the_terminator(void **state)
{
    static const WCHAR hello[] = u"hello";
    UNICODE_STRING string = text(hello);
    ANSI_STRING ansi;

    (void)state;
    assert_int_equal(string.Length, 10);
    assert_int_equal(string.MaximumLength, 12);
    assert_ptr_equal(string.Buffer, hello);
    string = text(NULL);
    assert_int_equal(string.Length, 0);
    assert_int_equal(string.MaximumLength, 0);
    assert_null(string.Buffer);
    RtlInitAnsiString(&ansi, "four");
    assert_int_equal(ansi.Length, 4);
    assert_int_equal(ansi.MaximumLength, 5);
    RtlInitAnsiString(&ansi, NULL);
    assert_int_equal(ansi.MaximumLength, 0);
}

static void a_string_too_long_is_cut_or_refused(void **state)
{
    PWSTR longest = malloc(40001 * sizeof(WCHAR));
    UNICODE_STRING string = { 1, 2, NULL };

    (void)state;
    for (unsigned i = 0; i < 40000; i += 1)
    {
        longest[i] = 'x';
    }
    longest[40000] = 0;
    assert_int_equal(RtlInitUnicodeStringEx(&string, longest), STATUS_NAME_TOO_LONG);
    assert_int_equal(string.Length, 1); /* unchanged */
    RtlInitUnicodeString(&string, longest);
    assert_int_equal(string.Length, 65532);
    assert_int_equal(string.MaximumLength, 65534);
    longest[32766] = 0;
    assert_int_equal(RtlInitUnicodeStringEx(&string, longest), STATUS_SUCCESS);
    assert_int_equal(string.Length, 65532);
    free(longest);
}

static void comparisons_see_case_only_when_asked(void **state)
{
    UNICODE_STRING lower = text(u"pagefile.sys"), upper = text(u"PageFile.SYS"), shorter = text(u"PAGE");

    (void)state;
    assert_false(RtlEqualUnicodeString(&lower, &upper, FALSE));
    assert_true(RtlEqualUnicodeString(&lower, &upper, TRUE));
    assert_int_equal(RtlCompareUnicodeString(&lower, &upper, TRUE), 0);
    assert_int_equal(RtlCompareUnicodeString(&lower, &upper, FALSE), 'p' - 'P');
    assert_true(RtlCompareUnicodeString(&shorter, &lower, TRUE) < 0);
    assert_true(RtlCompareUnicodeString(&lower, &shorter, TRUE) > 0);
    assert_true(RtlPrefixUnicodeString(&shorter, &lower, TRUE));
    assert_false(RtlPrefixUnicodeString(&shorter, &lower, FALSE));
    assert_false(RtlPrefixUnicodeString(&lower, &shorter, TRUE));
    assert_true(RtlPrefixUnicodeString(&lower, &lower, FALSE));
    shorter = lower;
    shorter.Length = 8; /* the same characters, fewer of them: a longer string is no prefix of it */
    assert_true(RtlPrefixUnicodeString(&shorter, &lower, FALSE));
    assert_false(RtlPrefixUnicodeString(&lower, &shorter, FALSE));
}

static void hash_is_x65599_and_can_ignore_case(void **state)
{
    UNICODE_STRING ab = text(u"ab"), mixed = text(u"aB");
    ULONG hash, other;

    (void)state;
    assert_int_equal(RtlHashUnicodeString(&ab, FALSE, HASH_STRING_ALGORITHM_X65599, &hash), STATUS_SUCCESS);
    assert_int_equal(hash, 97u * 65599u + 98u);
    assert_int_equal(RtlHashUnicodeString(&ab, TRUE, HASH_STRING_ALGORITHM_DEFAULT, &hash), STATUS_SUCCESS);
    assert_int_equal(RtlHashUnicodeString(&mixed, TRUE, HASH_STRING_ALGORITHM_DEFAULT, &other),
                     STATUS_SUCCESS);
    assert_int_equal(hash, 65u * 65599u + 66u);
    assert_int_equal(hash, other);
    assert_int_equal(RtlHashUnicodeString(&ab, TRUE, 2, &hash), STATUS_INVALID_PARAMETER);
    assert_int_equal(RtlHashUnicodeString(NULL, TRUE, 0, &hash), STATUS_INVALID_PARAMETER);
    assert_int_equal(RtlHashUnicodeString(&ab, TRUE, 0, NULL), STATUS_INVALID_PARAMETER);
}

static void copy_takes_what_fits_and_append_takes_all_or_nothing(void **state)
{
    WCHAR buffer[8];
    UNICODE_STRING target, source = text(u"abcdef"), tail = text(u"xyz");

    (void)state;
    for (unsigned i = 0; i < 8; i += 1)
    {
        buffer[i] = '#';
    }
    RtlInitEmptyUnicodeString(&target, buffer, 8);
    RtlCopyUnicodeString(&target, &source);
    assert_int_equal(target.Length, 8);
    assert_int_equal(buffer[3], 'd');
    assert_int_equal(buffer[4], '#'); /* no room for a terminator, none written */
    RtlCopyUnicodeString(&target, NULL);
    assert_int_equal(target.Length, 0);

    target.MaximumLength = 14;
    assert_int_equal(RtlAppendUnicodeStringToString(&target, &tail), STATUS_SUCCESS);
    assert_int_equal(RtlAppendUnicodeToString(&target, u"12"), STATUS_SUCCESS);
    assert_int_equal(RtlAppendUnicodeToString(&target, NULL), STATUS_SUCCESS);
    assert_int_equal(target.Length, 10);
    assert_memory_equal(buffer, u"xyz12", 12);
    assert_int_equal(RtlAppendUnicodeStringToString(&target, &tail), STATUS_BUFFER_TOO_SMALL);
    assert_int_equal(target.Length, 10);
    assert_memory_equal(buffer, u"xyz12", 12);
    assert_int_equal(RtlAppendUnicodeToString(&target, u"34"), STATUS_SUCCESS);
    assert_int_equal(target.Length, 14);
    assert_int_equal(buffer[7], '#');
}

static void integers_become_terminated_digits(void **state)
{
    static const struct
    {
        ULONG value, base;
        PCWSTR digits;
    } cases[] = {
        { 0, 0, u"0" },
        { 4294967295u, 10, u"4294967295" },
        { 0xBADC0FFE, 16, u"BADC0FFE" },
        { 8, 8, u"10" },
        { 0xffffffff, 2, u"11111111111111111111111111111111" },
    };
    WCHAR buffer[33];
    UNICODE_STRING string;

    (void)state;
    for (unsigned i = 0; i < 5; i += 1)
    {
        UNICODE_STRING expected = text(cases[i].digits);

        RtlInitEmptyUnicodeString(&string, buffer, expected.MaximumLength);
        assert_int_equal(RtlIntegerToUnicodeString(cases[i].value, cases[i].base, &string), STATUS_SUCCESS);
        assert_true(RtlEqualUnicodeString(&string, &expected, FALSE));
        assert_int_equal(buffer[string.Length / 2], 0);
        RtlInitEmptyUnicodeString(&string, buffer, (USHORT)(expected.MaximumLength - 1));
        assert_int_equal(RtlIntegerToUnicodeString(cases[i].value, cases[i].base, &string),
                         STATUS_BUFFER_OVERFLOW);
        assert_int_equal(string.Length, 0);
    }
    assert_int_equal(RtlIntegerToUnicodeString(1, 7, &string), STATUS_INVALID_PARAMETER);
}

static void copies_of_ansi_strings_are_cut_to_fit(void **state)
{
    char buffer[6] = "######";
    STRING target = { 2, 4, buffer }, source;

    (void)state;
    RtlInitString(&source, "abcdef");
    RtlCopyString(&target, &source);
    assert_int_equal(target.Length, 4);
    assert_memory_equal(buffer, "abcd##", 6);
    RtlCopyString(&target, NULL);
    assert_int_equal(target.Length, 0);
}

/* The table of examples on the documentation page, and the prefixes. */
static void integers_are_read_as_the_documentation_shows(void **state)
{
    static const struct
    {
        PCWSTR text;
        ULONG base, value;
    } cases[] = {
        { u"123", 10, 123 },
        { u"  -345", 10, (ULONG)-345 },
        { u"xyz", 10, 0 },
        { u"   +678abc", 10, 678 },
        { u"   +678abc", 16, 6785724 },
        { u"007", 10, 7 },
        { u"789", 8, 7 },
        { u"FGH", 16, 15 },
        { u"      ", 10, 0 },
        { u"0x1F", 0, 31 },
        { u"0o17", 0, 15 },
        { u"-0b101", 0, (ULONG)-5 },
        { u"017", 0, 17 },
        { u"0", 0, 0 },
        { u"0x", 0, 0 },
        { u"4294967295", 10, 0xffffffff },
    };
    UNICODE_STRING string = text(u"");
    ULONG value = 77;

    (void)state;
    assert_int_equal(RtlUnicodeStringToInteger(&string, 10, &value), STATUS_INVALID_PARAMETER);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i += 1)
    {
        string = text(cases[i].text);
        assert_int_equal(RtlUnicodeStringToInteger(&string, 3, &value), STATUS_INVALID_PARAMETER);
        assert_int_equal(RtlUnicodeStringToInteger(&string, cases[i].base, &value), STATUS_SUCCESS);
        assert_int_equal(value, cases[i].value);
    }
}

static void upper_case_agrees_with_the_locale_tables(void **state)
{
    unsigned changed = 0;

    (void)state;
    if (setlocale(LC_CTYPE, "C.UTF-8") == NULL)
    {
        print_message("skipped: no C.UTF-8 locale\n");
        skip();
    }
    for (unsigned c = 0; c < 0x10000; c += 1)
    {
        WCHAR upper = RtlUpcaseUnicodeChar((WCHAR)c);
        BOOLEAN covered = c < 0x180 || (c >= 0x386 && c < 0x3cf) || (c >= 0x400 && c < 0x530) ||
                          (c >= 0x561 && c <= 0x586) || (c >= 0xff41 && c < 0xff5b);

        if (upper != c)
        {
            changed += 1;
            assert_int_equal(upper, towupper((wint_t)c));
            assert_true(RtlDowncaseUnicodeChar(upper) == c || c == 0x3c2);
            assert_int_equal(RtlDowncaseUnicodeChar((WCHAR)c), c);
        }
        else if (covered && towlower(towupper((wint_t)c)) == (wint_t)c)
        {
            assert_int_equal(towupper((wint_t)c), c);
        }
    }
    assert_true(changed > 500);
    assert_int_equal(RtlUpcaseUnicodeChar(0x3c2), 0x3a3);
    assert_int_equal(RtlDowncaseUnicodeChar(0x3a3), 0x3c3);
    assert_int_equal(RtlUpcaseUnicodeChar(0xff), 0x178);
    assert_int_equal(RtlUpcaseUnicodeChar(0xdf), 0xdf);
    assert_int_equal(RtlUpcaseUnicodeChar(0xd801), 0xd801);
}

static void conversions_name_the_bad_parameter(void **state)
{
    ULONG count;
    WCHAR wide[4];
    char narrow[4];

    (void)state;
    assert_int_equal(RtlUTF8ToUnicodeN(NULL, 0, NULL, "a", 1), STATUS_INVALID_PARAMETER);
    assert_int_equal(RtlUTF8ToUnicodeN(wide, 8, &count, NULL, 1), STATUS_INVALID_PARAMETER_4);
    assert_int_equal(RtlUnicodeToUTF8N(NULL, 0, NULL, u"a", 2), STATUS_INVALID_PARAMETER);
    assert_int_equal(RtlUnicodeToUTF8N(narrow, 4, &count, NULL, 2), STATUS_INVALID_PARAMETER_4);
    assert_int_equal(RtlUnicodeToUTF8N(narrow, 4, &count, u"a", 3), STATUS_INVALID_PARAMETER_5);
    assert_int_equal(RtlUTF8ToUnicodeN(wide, 8, NULL, "a", 2), STATUS_SUCCESS); /* the null is a character */
    assert_memory_equal(wide, u"a", 4);
}

static void malformed_utf8_becomes_replacement_characters(void **state)
{
    /* Table 3-8 and its neighbours in the Unicode standard: one U+FFFD for each maximal malformed part. */
    static const struct
    {
        const char *bytes;
        PCWSTR units;
    } cases[] = {
        { "a\xF1\x80\x80\xE1\x80\xC2"
          "b\x80"
          "c\x80\xBF"
          "d",
          u"a\xFFFD\xFFFD\xFFFD"
          u"b\xFFFD"
          u"c\xFFFD\xFFFD"
          u"d" },
        { "\xC0\xAF\xE0\x80\xBF\xF0\x81\x82"
          "A",
          u"\xFFFD\xFFFD\xFFFD\xFFFD\xFFFD\xFFFD\xFFFD\xFFFD"
          u"A" },
        { "\xED\xA0\x80\xED\xBF\xBF"
          "A",
          u"\xFFFD\xFFFD\xFFFD\xFFFD\xFFFD\xFFFD"
          u"A" },
        { "\xF4\x91\x92\x93\xFF"
          "A\x80\xBF"
          "B",
          u"\xFFFD\xFFFD\xFFFD\xFFFD\xFFFD"
          u"A\xFFFD\xFFFD"
          u"B" },
        { "\xE2\x82", u"\xFFFD" },
    };

    (void)state;
    for (unsigned i = 0; i < 5; i += 1)
    {
        WCHAR units[40];
        ULONG bytes;
        UNICODE_STRING expected = text(cases[i].units);

        assert_int_equal(
            RtlUTF8ToUnicodeN(units, sizeof(units), &bytes, cases[i].bytes, (ULONG)strlen(cases[i].bytes)),
            STATUS_SOME_NOT_MAPPED);
        assert_int_equal(bytes, expected.Length);
        assert_memory_equal(units, expected.Buffer, bytes);
    }
}

static void lone_surrogates_become_replacement_characters(void **state)
{
    static const WCHAR units[] = { 'a', 0xD83D, 'b', 0xDE00, 0xDE00, 0xD83D, 0xDE00, 0xD800 };
    static const WCHAR honest[] = { 0xFFFD };
    char bytes[40];
    ULONG count;

    (void)state;
    assert_int_equal(RtlUnicodeToUTF8N(bytes, sizeof(bytes), &count, units, sizeof(units)),
                     STATUS_SOME_NOT_MAPPED);
    assert_int_equal(count, 18);
    assert_memory_equal(bytes,
                        "a\xEF\xBF\xBD"
                        "b\xEF\xBF\xBD\xEF\xBF\xBD\xF0\x9F\x98\x80\xEF\xBF\xBD",
                        18);
    assert_int_equal(RtlUnicodeToUTF8N(bytes, sizeof(bytes), &count, honest, 2), STATUS_SUCCESS);
}

static void random_text_converts_as_iconv_does_it(void **state)
{
    test_random random = test_seed(__func__);
    uint64_t iterations = test_iterations(5000);
    iconv_t converter = iconv_open("UTF-16LE", "UTF-8");

    (void)state;
    assert_true(converter != (iconv_t)-1);
    for (uint64_t i = 0; i < iterations; i += 1)
    {
        WCHAR units[64], theirs[64], ours[64];
        char utf8[256], small[256];
        ULONG count = 0, bytes, back, needed;

        while (count < 60)
        {
            static const unsigned tops[] = { 0x80, 0x800, 0x10000, 0x110000 };
            unsigned point = (unsigned)test_below(&random, tops[test_below(&random, 4)]);

            if (point >= 0x10000)
            {
                units[count++] = (WCHAR)(0xD7C0 + (point >> 10));
                units[count++] = (WCHAR)(0xDC00 + (point & 0x3ff));
            }
            else if (point < 0xD800 || point > 0xDFFF)
            {
                units[count++] = (WCHAR)point;
            }
        }
        assert_int_equal(RtlUnicodeToUTF8N(utf8, sizeof(utf8), &bytes, units, 2 * count), STATUS_SUCCESS);
        char *in = utf8, *out = (char *)theirs;
        size_t in_left = bytes, out_left = sizeof(theirs);
        assert_int_equal(iconv(converter, &in, &in_left, &out, &out_left), 0);
        assert_int_equal(sizeof(theirs) - out_left, 2 * count);
        assert_memory_equal(theirs, units, 2 * count);

        assert_int_equal(RtlUTF8ToUnicodeN(ours, sizeof(ours), &back, utf8, bytes), STATUS_SUCCESS);
        assert_int_equal(back, 2 * count);
        assert_memory_equal(ours, units, back);
        assert_int_equal(RtlUTF8ToUnicodeN(NULL, 0, &needed, utf8, bytes), STATUS_SUCCESS);
        assert_int_equal(needed, back);
        assert_int_equal(RtlUnicodeToUTF8N(NULL, 0, &needed, units, 2 * count), STATUS_SUCCESS);
        assert_int_equal(needed, bytes);

        ULONG room = (ULONG)test_below(&random, bytes);
        memset(small, '#', sizeof(small));
        assert_int_equal(RtlUnicodeToUTF8N(small, room, &needed, units, 2 * count), STATUS_BUFFER_TOO_SMALL);
        assert_in_range(needed, room >= 3 ? room - 3 : 0, room);
        assert_memory_equal(small, utf8, needed);
        assert_int_equal(small[room], '#');
        room = (ULONG)test_below(&random, back);
        assert_int_equal(RtlUTF8ToUnicodeN(ours, room, &needed, utf8, bytes), STATUS_BUFFER_TOO_SMALL);
        assert_in_range(needed, room >= 3 ? room - 3 : 0, room);
        assert_memory_equal(ours, units, needed);
    }
    iconv_close(converter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_counts_bytes_without_the_terminator),
        cmocka_unit_test(a_string_too_long_is_cut_or_refused),
        cmocka_unit_test(comparisons_see_case_only_when_asked),
        cmocka_unit_test(hash_is_x65599_and_can_ignore_case),
        cmocka_unit_test(copy_takes_what_fits_and_append_takes_all_or_nothing),
        cmocka_unit_test(integers_become_terminated_digits),
        cmocka_unit_test(copies_of_ansi_strings_are_cut_to_fit),
        cmocka_unit_test(integers_are_read_as_the_documentation_shows),
        cmocka_unit_test(upper_case_agrees_with_the_locale_tables),
        cmocka_unit_test(conversions_name_the_bad_parameter),
        cmocka_unit_test(malformed_utf8_becomes_replacement_characters),
        cmocka_unit_test(lone_surrogates_become_replacement_characters),
        cmocka_unit_test(random_text_converts_as_iconv_does_it),
    };

    return cmocka_run_group_tests_name("rtl.string", tests, NULL, NULL);
}
