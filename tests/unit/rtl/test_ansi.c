/* SPDX-License-Identifier: MIT */
/* 8-bit strings and the ANSI code page, which is UTF-8. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "nt/ntstatus.h"
#include "nt/rtl.h"

static STRING text(PCSTR Text)
{
    STRING String;

    RtlInitString(&String, Text);
    return String;
}

static void comparison_knows_case_prefix_and_length(void **state)
{
    STRING one = text("Driver"), other = text("dRIVER"), longer = text("DriverEntry"), empty = text("");
    STRING high = text("\xC3\xA4");

    (void)state;
    assert_true(RtlEqualString(&one, &other, TRUE));
    assert_false(RtlEqualString(&one, &other, FALSE));
    assert_int_equal(RtlCompareString(&one, &other, TRUE), 0);
    assert_true(RtlCompareString(&one, &other, FALSE) < 0);
    assert_true(RtlCompareString(&one, &longer, FALSE) < 0);
    assert_true(RtlCompareString(&longer, &one, FALSE) > 0);
    assert_true(RtlCompareString(&high, &one, TRUE) > 0); /* bytes are unsigned */
    assert_true(RtlPrefixString(&other, &longer, TRUE));
    assert_false(RtlPrefixString(&other, &longer, FALSE));
    assert_false(RtlPrefixString(&longer, &one, TRUE));
    assert_true(RtlPrefixString(&empty, &one, FALSE));
}

static void upper_string_takes_what_fits(void **state)
{
    CHAR buffer[6] = "######";
    STRING target = { 0, 4, buffer }, source = text("abz{\xC3\xA4");

    (void)state;
    RtlUpperString(&target, &source);
    assert_int_equal(target.Length, 4);
    assert_memory_equal(buffer, "ABZ{##", 6);
    target.MaximumLength = 6;
    RtlUpperString(&target, &source);
    assert_int_equal(target.Length, 6);
    assert_memory_equal(buffer, "ABZ{\xC3\xA4", 6);
    assert_int_equal(RtlUpperChar('q'), 'Q');
    assert_int_equal(RtlUpperChar('@'), '@');
}

static void buffers_are_converted_as_far_as_there_is_room(void **state)
{
    WCHAR wide[4] = { '#', '#', '#', '#' };
    CHAR narrow[5] = "#####";
    ULONG bytes;

    (void)state;
    assert_int_equal(RtlMultiByteToUnicodeN(wide, 6, &bytes, "a\xC3\xA4z!", 5), STATUS_SUCCESS);
    assert_int_equal(bytes, 6);
    assert_memory_equal(wide, u"a\u00e4z#", 8);
    assert_int_equal(RtlMultiByteToUnicodeSize(&bytes, "a\xC3\xA4z!", 5), STATUS_SUCCESS);
    assert_int_equal(bytes, 8);
    /* Half a character is left away. */
    assert_int_equal(RtlUnicodeToMultiByteN(narrow, 2, &bytes, u"a\u00e4", 4), STATUS_SUCCESS);
    assert_int_equal(bytes, 1);
    assert_memory_equal(narrow, "a####", 5);
    assert_int_equal(RtlUnicodeToMultiByteSize(&bytes, u"a\u00e4", 4), STATUS_SUCCESS);
    assert_int_equal(bytes, 3);
    assert_int_equal(RtlUnicodeToMultiByteN(narrow, 5, NULL, u"\u00e4", 2), STATUS_SUCCESS);
    assert_memory_equal(narrow, "\xC3\xA4###", 5);
    assert_int_equal(RtlUnicodeToMultiByteN(narrow, 5, &bytes, NULL, 0), STATUS_SUCCESS);
    assert_int_equal(bytes, 0);
}

static void sizes_include_the_terminator(void **state)
{
    STRING ansi = text("a\xC3\xA4"), empty = text(NULL);
    UNICODE_STRING wide;

    (void)state;
    RtlInitUnicodeString(&wide, u"a\u00e4");
    assert_int_equal(RtlAnsiStringToUnicodeSize(&ansi), 6);
    assert_int_equal(RtlUnicodeStringToAnsiSize(&wide), 4);
    assert_int_equal(RtlxAnsiStringToUnicodeSize(&empty), 2);
}

static void an_initializer_says_what_is_too_long(void **state)
{
    static WCHAR huge[40000];
    UNICODE_STRING string = { 1, 2, NULL };
    UTF8_STRING utf8;

    (void)state;
    for (unsigned i = 0; i < 39999; i += 1)
    {
        huge[i] = 'x';
    }
    assert_int_equal(RtlInitUnicodeStringEx(&string, huge), STATUS_NAME_TOO_LONG);
    assert_int_equal(string.Length, 1);
    assert_null(string.Buffer);
    assert_int_equal(RtlInitUnicodeStringEx(&string, u"ab"), STATUS_SUCCESS);
    assert_int_equal(string.MaximumLength, 6);
    RtlInitUTF8String(&utf8, "\xC3\xA4");
    assert_int_equal(utf8.Length, 2);
    assert_int_equal(utf8.MaximumLength, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comparison_knows_case_prefix_and_length),
        cmocka_unit_test(upper_string_takes_what_fits),
        cmocka_unit_test(buffers_are_converted_as_far_as_there_is_room),
        cmocka_unit_test(sizes_include_the_terminator),
        cmocka_unit_test(an_initializer_says_what_is_too_long),
    };

    return cmocka_run_group_tests_name("rtl.ansi", tests, NULL, NULL);
}
