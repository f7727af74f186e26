/* SPDX-License-Identifier: MIT */
/* Conversions of strings that allocate: what they give, what they say when they cannot, and that all of it comes back. */
#include "boot.h"

#include "nt/rtl.h"
#include "pool/expool.h"

#define TAG MI_TAG('S', 't', 'r', 'g')

static ULONG InUse(void)
{
    SYSTEM_POOLTAG Use = { 0 };

    ExQueryPoolTag(TAG, &Use);
    return Use.PagedAllocs - Use.PagedFrees;
}

static void conversion_allocates_a_terminated_string(void **State)
{
    ANSI_STRING Ansi, Back;
    UNICODE_STRING Wide;
    ULONG Before;

    TestSetupDeterministic(State);
    Before = InUse();
    RtlInitAnsiString(&Ansi, "a\xC3\xA4\xF0\x9F\x98\x80");
    assert_int_equal(RtlAnsiStringToUnicodeString(&Wide, &Ansi, TRUE), STATUS_SUCCESS);
    assert_int_equal(InUse(), Before + 1);
    assert_int_equal(Wide.Length, 8);
    assert_int_equal(Wide.MaximumLength, 10);
    assert_memory_equal(Wide.Buffer, u"a\u00e4\U0001F600", 10);
    assert_int_equal(RtlUnicodeStringToAnsiString(&Back, &Wide, TRUE), STATUS_SUCCESS);
    assert_int_equal(Back.Length, Ansi.Length);
    assert_int_equal(Back.MaximumLength, Ansi.Length + 1);
    assert_string_equal(Back.Buffer, Ansi.Buffer);
    RtlFreeAnsiString(&Back);
    assert_null(Back.Buffer);
    assert_int_equal(Back.MaximumLength, 0);
    RtlFreeUnicodeString(&Wide);
    RtlFreeUnicodeString(&Wide); /* empty: left alone */
    assert_int_equal(InUse(), Before);
    assert_int_equal(RtlUTF8StringToUnicodeString(&Wide, &Ansi, TRUE), STATUS_SUCCESS);
    assert_int_equal(RtlUnicodeStringToUTF8String(&Back, &Wide, TRUE), STATUS_SUCCESS);
    assert_string_equal(Back.Buffer, Ansi.Buffer);
    RtlFreeUTF8String(&Back);
    RtlFreeUnicodeString(&Wide);
    assert_int_equal(InUse(), Before);
    MiTrimPool();
    TestTeardown(State);
}

static void own_buffers_need_room_for_the_terminator(void **State)
{
    WCHAR Units[4] = { '#', '#', '#', '#' };
    CHAR Bytes[4] = "####";
    UNICODE_STRING Wide = { 2, 6, Units }, Source;
    ANSI_STRING Ansi, Target = { 1, 3, Bytes };

    (void)State;
    RtlInitAnsiString(&Ansi, "abc");
    assert_int_equal(RtlAnsiStringToUnicodeString(&Wide, &Ansi, FALSE), STATUS_BUFFER_OVERFLOW);
    assert_int_equal(Wide.Length, 2);
    assert_int_equal(Units[0], '#');
    Wide.MaximumLength = 8;
    assert_int_equal(RtlAnsiStringToUnicodeString(&Wide, &Ansi, FALSE), STATUS_SUCCESS);
    assert_memory_equal(Units, u"abc", 8);
    assert_int_equal(Wide.MaximumLength, 8);
    RtlInitUnicodeString(&Source, u"xyz");
    assert_int_equal(RtlUnicodeStringToAnsiString(&Target, &Source, FALSE), STATUS_BUFFER_OVERFLOW);
    assert_int_equal(Target.Length, 1);
    Target.MaximumLength = 4;
    assert_int_equal(RtlUnicodeStringToAnsiString(&Target, &Source, FALSE), STATUS_SUCCESS);
    assert_memory_equal(Bytes, "xyz", 4);
}

static void case_changes_in_place_or_in_a_copy(void **State)
{
    WCHAR Units[] = u"Stra\u00dfe \u00e4\u03c9";
    UNICODE_STRING Wide, Copy;

    TestSetupDeterministic(State);
    RtlInitUnicodeString(&Wide, Units);
    assert_int_equal(RtlUpcaseUnicodeString(&Copy, &Wide, TRUE), STATUS_SUCCESS);
    assert_int_equal(Copy.Length, Wide.Length);
    assert_int_equal(Copy.MaximumLength, Wide.Length);
    assert_memory_equal(Copy.Buffer, u"STRA\u00dfE \u00c4\u03a9", Wide.Length);
    assert_true(RtlEqualUnicodeString(&Copy, &Wide, TRUE));
    RtlFreeUnicodeString(&Copy);
    assert_int_equal(RtlUpcaseUnicodeString(&Wide, &Wide, FALSE), STATUS_SUCCESS);
    assert_memory_equal(Units, u"STRA\u00dfE \u00c4\u03a9", sizeof(Units));
    assert_int_equal(RtlDowncaseUnicodeString(&Wide, &Wide, FALSE), STATUS_SUCCESS);
    assert_memory_equal(Units, u"stra\u00dfe \u00e4\u03c9", sizeof(Units));
    RtlInitEmptyUnicodeString(&Copy, Units, 4);
    assert_int_equal(RtlUpcaseUnicodeString(&Copy, &Wide, FALSE), STATUS_BUFFER_OVERFLOW);
    assert_int_equal(Units[0], 's');
    RtlInitUnicodeString(&Wide, NULL);
    assert_int_equal(RtlUpcaseUnicodeString(&Copy, &Wide, TRUE), STATUS_SUCCESS);
    assert_non_null(Copy.Buffer);
    assert_int_equal(Copy.Length, 0);
    RtlFreeUnicodeString(&Copy);
    MiTrimPool();
    TestTeardown(State);
}

static void what_is_too_long_is_refused(void **State)
{
    static CHAR Bytes[40000];
    static WCHAR Units[30000];
    ANSI_STRING Ansi = { sizeof(Bytes), sizeof(Bytes), Bytes };
    UNICODE_STRING Wide = { sizeof(Units), sizeof(Units), Units };
    UNICODE_STRING Target = { 0, 0, NULL };

    (void)State;
    memset(Bytes, 'x', sizeof(Bytes));
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Units); Index++)
    {
        Units[Index] = 0x20AC; /* three bytes each */
    }
    assert_int_equal(RtlAnsiStringToUnicodeString(&Target, &Ansi, TRUE), STATUS_INVALID_PARAMETER_2);
    assert_null(Target.Buffer);
    assert_int_equal(RtlUnicodeStringToAnsiString(&Ansi, &Wide, TRUE), STATUS_INVALID_PARAMETER_2);
    assert_ptr_equal(Ansi.Buffer, Bytes);
}

static void without_memory_nothing_changes(void **State)
{
    ANSI_STRING Ansi;
    UNICODE_STRING Wide = { 4, 6, NULL };

    (void)State;
    RtlInitAnsiString(&Ansi, "text");
    KiSetInjection(KiInjectPool, 1, FALSE);
    assert_int_equal(RtlAnsiStringToUnicodeString(&Wide, &Ansi, TRUE), STATUS_NO_MEMORY);
    KiSetInjection(KiInjectPool, 0, FALSE);
    assert_null(Wide.Buffer);
    assert_int_equal(Wide.Length, 4);
    assert_int_equal(Wide.MaximumLength, 6);
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
#define TEST(Name) cmocka_unit_test_setup_teardown(Name, TestSetupDeterministic, TestTeardown)
        cmocka_unit_test(conversion_allocates_a_terminated_string),
        TEST(own_buffers_need_room_for_the_terminator),
        cmocka_unit_test(case_changes_in_place_or_in_a_copy),
        TEST(what_is_too_long_is_refused),
        TEST(without_memory_nothing_changes),
    };
    return cmocka_run_group_tests_name("pool.strings", Tests, NULL, NULL);
}
