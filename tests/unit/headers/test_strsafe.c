/* SPDX-License-Identifier: MIT */
/*
 * ntstrsafe.h: every function by its documented results, and random calls with guards around the destination against an oracle that computes the
 * whole text first and cuts it afterwards. Source: Microsoft Learn, the pages named like the functions.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ntifs.h"
#include "ntstrsafe.h"

#define ROOM 24u

static void widen(WCHAR *to, const char *from)
{
    while ((*to++ = (UCHAR)*from++) != 0)
    {
    }
}

static BOOLEAN equal(const WCHAR *wide, const char *narrow)
{
    while (*wide == (UCHAR)*narrow && *narrow != 0)
    {
        wide++;
        narrow++;
    }
    return *wide == (UCHAR)*narrow;
}

static void formatted_text_is_cut_and_terminated(void **state)
{
    WCHAR wide[16];
    CHAR narrow[16];

    (void)state;
    assert_int_equal(RtlStringCchPrintfA(narrow, 16, "%s-%04d", "abc", 42), STATUS_SUCCESS);
    assert_string_equal(narrow, "abc-0042");
    assert_int_equal(RtlStringCbPrintfA(narrow, 8, "%s-%04d", "abc", 42), STATUS_BUFFER_OVERFLOW);
    assert_string_equal(narrow, "abc-004");
    assert_int_equal(RtlStringCbPrintfA(narrow, 9, "%s-%04d", "abc", 42), STATUS_SUCCESS);
    assert_int_equal(RtlStringCchPrintfA(narrow, 0, "x"), STATUS_INVALID_PARAMETER);
    assert_int_equal(RtlStringCchPrintfA(narrow, (SIZE_T)NTSTRSAFE_MAX_CCH + 1, "x"),
                     STATUS_INVALID_PARAMETER);
    assert_int_equal(RtlStringCchPrintfA(narrow, 1, "%s", ""), STATUS_SUCCESS);
    assert_int_equal(RtlStringCchPrintfW(wide, 16, u"%s %S %c", u"wide", "bytes", 'x'), STATUS_SUCCESS);
    assert_true(equal(wide, "wide bytes x"));
    assert_int_equal(RtlStringCbPrintfW(wide, 7 * sizeof(WCHAR) + 1, u"%u", 12345678u),
                     STATUS_BUFFER_OVERFLOW);
    assert_true(equal(wide, "123456"));
}

static void wide_and_narrow_formats_mean_their_own_kind_of_text(void **state)
{
    UNICODE_STRING unicode = RTL_CONSTANT_STRING(u"uni");
    ANSI_STRING ansi = { .Length = 4, .MaximumLength = 4, .Buffer = (PSTR)(ULONG_PTR) "ansi" };
    WCHAR wide[80];
    CHAR narrow[80];

    (void)state;
    assert_int_equal(RtlStringCchPrintfW(wide, 80, u"%s|%ls|%ws|%hs|%S|%hS|%lS|%wZ|%Z|%hZ", u"a", u"b", u"c",
                                         "d", "e", "f", u"g", &unicode, &ansi, &ansi),
                     STATUS_SUCCESS);
    assert_true(equal(wide, "a|b|c|d|e|f|g|uni|ansi|ansi"));
    assert_int_equal(RtlStringCchPrintfA(narrow, 80, "%s|%ls|%ws|%hs|%S|%hS|%lS|%wZ|%Z|%hZ", "a", u"b", u"c",
                                         "d", u"e", "f", u"g", &unicode, &ansi, &ansi),
                     STATUS_SUCCESS);
    assert_string_equal(narrow, "a|b|c|d|e|f|g|uni|ansi|ansi");
    assert_int_equal(RtlStringCchPrintfW(wide, 80, u"%p %I64x %Ix %I32d %ld %llu", (PVOID)(ULONG_PTR)0xbeef,
                                         0x123456789abcull, (ULONG_PTR)0xfeed, -5, -6, ~0ull),
                     STATUS_SUCCESS);
    assert_true(equal(wide, "000000000000BEEF 123456789abc feed -5 -6 18446744073709551615"));
    assert_int_equal(RtlStringCchPrintfW(wide, 80, u"%-5s|%5s|%.2s|%*d|%%|%y", u"ab", u"cd", u"efg", 4, 7),
                     STATUS_SUCCESS);
    assert_true(equal(wide, "ab   |   cd|ef|   7|%|%y"));
    assert_int_equal(RtlStringCchPrintfW(wide, 80, u"%s%S", (PCWSTR)NULL, (PCSTR)NULL), STATUS_SUCCESS);
    assert_true(equal(wide, "(null)(null)"));
}

static void bytes_become_utf16_and_back(void **state)
{
    static const WCHAR expected[] = { '[', 0x20ac, 0xd83d, 0xde00, ']', 0 };
    WCHAR wide[16];
    CHAR narrow[16];

    (void)state;
    assert_int_equal(RtlStringCchPrintfW(wide, 16, u"[%S]", "\xE2\x82\xAC\xF0\x9F\x98\x80"), STATUS_SUCCESS);
    assert_memory_equal(wide, expected, sizeof(expected));
    assert_int_equal(RtlStringCchPrintfA(narrow, 16, "%S", expected + 1), STATUS_SUCCESS);
    assert_string_equal(narrow, "\xE2\x82\xAC\xF0\x9F\x98\x80]");
}

static void runtime_functions_have_the_results_of_microsoft(void **state)
{
    CHAR narrow[8] = "#######";
    WCHAR wide[8];

    (void)state;
    assert_int_equal(_snprintf(narrow, 4, "%d", 123), 3);
    assert_string_equal(narrow, "123");
    narrow[4] = '#';
    assert_int_equal(_snprintf(narrow, 4, "%d", 1234), 4); /* fits, without a terminator */
    assert_memory_equal(narrow, "1234#", 5);
    assert_int_equal(_snprintf(narrow, 4, "%d", 56789), -1);
    assert_memory_equal(narrow, "5678#", 5);
    assert_int_equal(_snwprintf(wide, 8, u"%s", u"abcdefgh"), 8);
    assert_int_equal(_snwprintf(wide, 7, u"%s", u"abcdefgh"), -1);
    assert_int_equal(_snwprintf(NULL, 0, u"%s", u""), 0);
}

/* ---- Flags -------------------------------------------------------------------------------------------------- */

static void flags_say_what_becomes_of_the_rest(void **state)
{
    CHAR text[8];
    PSTR end = NULL;
    SIZE_T remaining = 0;

    (void)state;
    assert_int_equal(RtlStringCchCopyExA(text, 8, "abc", &end, &remaining, STRSAFE_FILL_BYTE('x')),
                     STATUS_SUCCESS);
    assert_memory_equal(text, "abc\0xxxx", 8);
    assert_ptr_equal(end, text + 3);
    assert_int_equal(remaining, 5);
    assert_int_equal(RtlStringCchCopyExA(text, 4, "abcdef", &end, &remaining, 0), STATUS_BUFFER_OVERFLOW);
    assert_string_equal(text, "abc");
    assert_ptr_equal(end, text + 3);
    assert_int_equal(remaining, 1);
    assert_int_equal(RtlStringCchCopyExA(text, 4, "abcdef", &end, &remaining, STRSAFE_NO_TRUNCATION),
                     STATUS_BUFFER_OVERFLOW);
    assert_string_equal(text, "");
    assert_int_equal(remaining, 4);
    assert_int_equal(RtlStringCchCopyExA(text, 4, "abcdef", &end, &remaining, STRSAFE_FAILURE_BYTE('y')),
                     STATUS_BUFFER_OVERFLOW);
    assert_string_equal(text, "yyy");
    assert_int_equal(remaining, 1);
    assert_int_equal(RtlStringCchCopyExA(text, 4, "abcdef", &end, &remaining, STRSAFE_FAILURE_BYTE(0)),
                     STATUS_BUFFER_OVERFLOW);
    assert_memory_equal(text, "\0\0\0", 4);
    assert_int_equal(remaining, 4);
    assert_int_equal(RtlStringCchCopyExA(text, 4, "abcdef", NULL, NULL, STRSAFE_NULL_ON_FAILURE),
                     STATUS_BUFFER_OVERFLOW);
    assert_string_equal(text, "");
    assert_int_equal(RtlStringCchCopyExA(text, 4, "a", NULL, NULL, 0x10000), STATUS_INVALID_PARAMETER);
    /* Appending keeps what was there. */
    assert_int_equal(RtlStringCchCopyA(text, 8, "ab"), STATUS_SUCCESS);
    assert_int_equal(RtlStringCbCatExA(text, 5, "cdef", &end, &remaining, STRSAFE_NO_TRUNCATION),
                     STATUS_BUFFER_OVERFLOW);
    assert_string_equal(text, "ab");
    assert_int_equal(remaining, 3);
    assert_int_equal(RtlStringCbCatNExA(text, 5, "cdef", 2, &end, &remaining, STRSAFE_NO_TRUNCATION),
                     STATUS_SUCCESS);
    assert_string_equal(text, "abcd");
}

static void bytes_are_counted_in_bytes(void **state)
{
    WCHAR wide[8];
    SIZE_T remaining = 0;
    PWSTR end;

    (void)state;
    assert_int_equal(RtlStringCbCopyExW(wide, sizeof(wide) - 1, u"abc", &end, &remaining, 0), STATUS_SUCCESS);
    assert_int_equal(remaining, 4 * sizeof(WCHAR) + 1); /* seven characters and a byte */
    assert_int_equal(RtlStringCbCatNW(wide, sizeof(wide), u"defghij", 3 * sizeof(WCHAR)), STATUS_SUCCESS);
    assert_true(equal(wide, "abcdef"));
    assert_int_equal(RtlStringCbCopyNExW(wide, sizeof(wide), u"uvwxyz", 2 * sizeof(WCHAR), NULL, NULL, 0),
                     STATUS_SUCCESS);
    assert_true(equal(wide, "uv"));
    assert_int_equal(
        RtlStringCbPrintfExW(wide, sizeof(wide), &end, &remaining, STRSAFE_FILL_BYTE(0xff), u"%d", 77),
        STATUS_SUCCESS);
    assert_int_equal(remaining, 6 * sizeof(WCHAR));
    assert_int_equal(wide[7], 0xffff);
    assert_ptr_equal(end, wide + 2);
}

static void nulls_are_errors_unless_they_are_to_be_ignored(void **state)
{
    CHAR text[4] = "abc";
    PSTR end = text;
    SIZE_T remaining = 9;

    (void)state;
    assert_int_equal(RtlStringCchCopyExA(NULL, 0, "", NULL, NULL, 0), STATUS_INVALID_PARAMETER);
    assert_int_equal(RtlStringCchCopyExA(NULL, 0, "", &end, &remaining, STRSAFE_IGNORE_NULLS),
                     STATUS_SUCCESS);
    assert_null(end);
    assert_int_equal(remaining, 0);
    assert_int_equal(RtlStringCchCopyExA(NULL, 0, "x", NULL, NULL, STRSAFE_IGNORE_NULLS),
                     STATUS_INVALID_PARAMETER);
    assert_int_equal(RtlStringCchCopyExA(NULL, 4, "", NULL, NULL, STRSAFE_IGNORE_NULLS),
                     STATUS_INVALID_PARAMETER);
    assert_int_equal(RtlStringCchCatExA(text, 4, NULL, NULL, NULL, STRSAFE_IGNORE_NULLS), STATUS_SUCCESS);
    assert_string_equal(text, "abc");
    assert_int_equal(RtlStringCchCopyExA(text, 4, NULL, NULL, NULL, STRSAFE_IGNORE_NULLS), STATUS_SUCCESS);
    assert_string_equal(text, "");
    assert_int_equal(RtlStringCchCopyExA(text, 0, "x", NULL, NULL, 0),
                     STATUS_BUFFER_OVERFLOW); /* a buffer without room */
    assert_int_equal(RtlStringCchPrintfExA(NULL, 0, NULL, NULL, STRSAFE_IGNORE_NULLS, NULL), STATUS_SUCCESS);
    assert_int_equal(RtlStringCchPrintfExA(text, 4, NULL, NULL, 0, NULL), STATUS_INVALID_PARAMETER);
}

/* ---- Against an oracle -------------------------------------------------------------------------------------------- */

static ULONG64 seed = 88172645463325252ull;

static ULONG draw(ULONG bound)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (ULONG)(seed % bound);
}

static void random_text(char *text, ULONG length)
{
    for (ULONG index = 0; index < length; index++)
    {
        text[index] = (char)('a' + draw(26));
    }
    text[length] = 0;
}

/* Room characters, and what is behind them stays. Both kinds of characters do the same. */
static void texts_are_put_together_as_the_oracle_says(void **state)
{
    (void)state;
    for (ULONG round = 0; round < 20000; round++)
    {
        char before[ROOM], source[ROOM * 2], whole[ROOM * 3], narrow[ROOM + 8];
        WCHAR wide[ROOM + 8], wide_source[ROOM * 2];
        SIZE_T room = 1 + draw(ROOM), limit = draw(ROOM * 2), remaining = 0, wide_remaining = 0;
        ULONG old = draw((ULONG)room);
        BOOLEAN append = draw(2) != 0;
        NTSTATUS status, wide_status;
        PSTR end;
        PWSTR wide_end;
        SIZE_T length;

        random_text(before, old);
        random_text(source, draw(ROOM * 2 - 1));
        snprintf(whole, sizeof(whole), "%s%.*s", append ? before : "", (int)limit, source);
        memset(narrow, '#', sizeof(narrow));
        memset(wide, '#', sizeof(wide));
        memcpy(narrow, before, old + 1);
        widen(wide, before);
        widen(wide_source, source);
        status = append ? RtlStringCchCatNExA(narrow, room, source, limit, &end, &remaining, 0)
                        : RtlStringCchCopyNExA(narrow, room, source, limit, &end, &remaining, 0);
        wide_status =
            append ? RtlStringCchCatNExW(wide, room, wide_source, limit, &wide_end, &wide_remaining, 0)
                   : RtlStringCchCopyNExW(wide, room, wide_source, limit, &wide_end, &wide_remaining, 0);
        length = strlen(whole);
        assert_int_equal(status, length < room ? STATUS_SUCCESS : STATUS_BUFFER_OVERFLOW);
        whole[length < room ? length : room - 1] = 0;
        assert_string_equal(narrow, whole);
        assert_int_equal(narrow[room], '#');
        assert_int_equal(remaining, room - strlen(whole));
        assert_ptr_equal(end, narrow + strlen(whole));
        assert_int_equal(wide_status, status);
        assert_true(equal(wide, whole));
        assert_int_equal(wide[room], 0x2323);
        assert_int_equal(wide_remaining, remaining);
        assert_ptr_equal(wide_end, wide + strlen(whole));
    }
}

/* ---- UNICODE_STRINGs -------------------------------------------------------------------------------------------------- */

static void counted_strings_are_initialized_and_validated(void **state)
{
    static WCHAR long_text[40000];
    UNICODE_STRING string = { 1, 1, NULL };

    (void)state;
    assert_int_equal(RtlUnicodeStringInit(&string, u"abc"), STATUS_SUCCESS);
    assert_int_equal(string.Length, 6);
    assert_int_equal(string.MaximumLength, 8);
    assert_int_equal(RtlUnicodeStringValidate(&string), STATUS_SUCCESS);
    for (ULONG index = 0; index + 1 < RTL_NUMBER_OF(long_text); index++)
    {
        long_text[index] = 'x';
    }
    assert_int_equal(RtlUnicodeStringInit(&string, long_text), STATUS_INVALID_PARAMETER);
    assert_null(string.Buffer);
    assert_int_equal(RtlUnicodeStringInit(&string, NULL), STATUS_SUCCESS);
    assert_int_equal(string.MaximumLength, 0);
    assert_int_equal(RtlUnicodeStringInitEx(NULL, u"x", STRSAFE_IGNORE_NULLS), STATUS_SUCCESS);
    assert_int_equal(RtlUnicodeStringInit(NULL, u"x"), STATUS_INVALID_PARAMETER);
    string = (UNICODE_STRING){ 3, 8, long_text };
    assert_int_equal(RtlUnicodeStringValidate(&string), STATUS_INVALID_PARAMETER);
    string = (UNICODE_STRING){ 10, 8, long_text };
    assert_int_equal(RtlUnicodeStringValidate(&string), STATUS_INVALID_PARAMETER);
    string = (UNICODE_STRING){ 0, 8, NULL };
    assert_int_equal(RtlUnicodeStringValidate(&string), STATUS_INVALID_PARAMETER);
    assert_int_equal(RtlUnicodeStringValidate(NULL), STATUS_INVALID_PARAMETER);
    assert_int_equal(RtlUnicodeStringValidateEx(NULL, STRSAFE_IGNORE_NULLS), STATUS_SUCCESS);
}

static void counted_strings_are_filled_to_their_last_character(void **state)
{
    WCHAR buffer[6] = u"######";
    UNICODE_STRING string = { 0, 4 * sizeof(WCHAR), buffer };
    UNICODE_STRING source = RTL_CONSTANT_STRING(u"abcdef");
    UNICODE_STRING rest = { 0 };

    (void)state;
    assert_int_equal(RtlUnicodeStringCopyString(&string, u"abcd"), STATUS_SUCCESS); /* no terminator */
    assert_int_equal(string.Length, 8);
    assert_int_equal(buffer[4], '#');
    assert_int_equal(RtlUnicodeStringCopy(&string, &source), STATUS_BUFFER_OVERFLOW);
    assert_int_equal(string.Length, 8);
    assert_int_equal(RtlUnicodeStringCchCopyN(&string, &source, 2), STATUS_SUCCESS);
    assert_int_equal(string.Length, 4);
    assert_int_equal(RtlUnicodeStringCatStringEx(&string, u"x", &rest, 0), STATUS_SUCCESS);
    assert_int_equal(rest.MaximumLength, 2);
    assert_ptr_equal(rest.Buffer, buffer + 3);
    assert_int_equal(RtlUnicodeStringCatStringEx(&string, u"yz", &rest, STRSAFE_NO_TRUNCATION),
                     STATUS_BUFFER_OVERFLOW);
    assert_int_equal(string.Length, 6);
    assert_int_equal(RtlUnicodeStringCatString(&string, u"yz"), STATUS_BUFFER_OVERFLOW);
    assert_int_equal(string.Length, 8);
    assert_memory_equal(buffer, u"abxy##", 12);
    assert_int_equal(RtlUnicodeStringPrintf(&string, u"%d", 1234), STATUS_SUCCESS);
    assert_int_equal(string.Length, 8);
    assert_int_equal(RtlUnicodeStringPrintf(&string, u"%d", 12345), STATUS_BUFFER_OVERFLOW);
    assert_memory_equal(buffer, u"1234##", 12);
    assert_int_equal(
        RtlUnicodeStringPrintfEx(&string, &rest, STRSAFE_FILL_BYTE(0x20) | STRSAFE_FILL_BEHIND, u"%u", 5),
        STATUS_SUCCESS);
    assert_int_equal(buffer[3], 0x2020);
    assert_int_equal(rest.MaximumLength, 6);
    assert_int_equal(RtlUnicodeStringPrintfEx(&string, NULL, STRSAFE_ZERO_LENGTH_ON_FAILURE, u"%u", 55555),
                     STATUS_BUFFER_OVERFLOW);
    assert_int_equal(string.Length, 0);
    assert_int_equal(RtlUnicodeStringCbCatN(&string, &source, 3 * sizeof(WCHAR)), STATUS_SUCCESS);
    assert_int_equal(string.Length, 6);
    assert_int_equal(RtlUnicodeStringCopyEx(NULL, NULL, NULL, STRSAFE_IGNORE_NULLS), STATUS_SUCCESS);
    assert_int_equal(RtlUnicodeStringCopy(&string, NULL), STATUS_INVALID_PARAMETER);
    string.Length = 3;
    assert_int_equal(RtlUnicodeStringCat(&string, &source), STATUS_INVALID_PARAMETER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formatted_text_is_cut_and_terminated),
        cmocka_unit_test(wide_and_narrow_formats_mean_their_own_kind_of_text),
        cmocka_unit_test(bytes_become_utf16_and_back),
        cmocka_unit_test(runtime_functions_have_the_results_of_microsoft),
        cmocka_unit_test(flags_say_what_becomes_of_the_rest),
        cmocka_unit_test(bytes_are_counted_in_bytes),
        cmocka_unit_test(nulls_are_errors_unless_they_are_to_be_ignored),
        cmocka_unit_test(texts_are_put_together_as_the_oracle_says),
        cmocka_unit_test(counted_strings_are_initialized_and_validated),
        cmocka_unit_test(counted_strings_are_filled_to_their_last_character),
    };

    return cmocka_run_group_tests_name("headers.strsafe", tests, NULL, NULL);
}
