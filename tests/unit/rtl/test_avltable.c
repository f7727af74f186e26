/* SPDX-License-Identifier: MIT */
/* Generic AVL tables against an array of flags: inserting, finding, deleting, enumerating, memory that does not come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "nt/avltable.h"

#define KEYS 512u

typedef struct _ELEMENT
{
    ULONG Key;
    ULONG Value;
} ELEMENT;

static ULONG Blocks;
static BOOLEAN Refuse;

static RTL_GENERIC_COMPARE_RESULTS NTAPI Compare(PRTL_AVL_TABLE Table, PVOID First, PVOID Second)
{
    ULONG A = ((ELEMENT *)First)->Key;
    ULONG B = ((ELEMENT *)Second)->Key;

    (void)Table;
    return A < B ? GenericLessThan : (A > B ? GenericGreaterThan : GenericEqual);
}

static PVOID NTAPI Allocate(PRTL_AVL_TABLE Table, CLONG Bytes)
{
    assert_ptr_equal(Table->TableContext, &Blocks);
    assert_int_equal(Bytes, sizeof(RTL_BALANCED_LINKS) + sizeof(ELEMENT));
    if (Refuse)
    {
        return NULL;
    }
    Blocks++;
    return malloc(Bytes);
}

static VOID NTAPI Free(PRTL_AVL_TABLE Table, PVOID Buffer)
{
    (void)Table;
    Blocks--;
    free(Buffer);
}

static void CheckOrder(PRTL_AVL_TABLE Table, const ULONG *Values)
{
    ELEMENT *Element = RtlEnumerateGenericTableAvl(Table, TRUE);
    PVOID Restart = NULL;
    ULONG Index = 0;

    for (ULONG Key = 0; Key < KEYS; Key++)
    {
        if (Values[Key] == 0)
        {
            continue;
        }
        assert_non_null(Element);
        assert_int_equal(Element->Key, Key);
        assert_int_equal(Element->Value, Values[Key]);
        assert_ptr_equal(RtlGetElementGenericTableAvl(Table, Index), Element);
        assert_ptr_equal(RtlEnumerateGenericTableWithoutSplayingAvl(Table, &Restart), Element);
        Element = RtlEnumerateGenericTableAvl(Table, FALSE);
        Index++;
    }
    assert_null(Element);
    assert_null(RtlGetElementGenericTableAvl(Table, Index));
    assert_null(RtlEnumerateGenericTableWithoutSplayingAvl(Table, &Restart));
    assert_int_equal(RtlNumberGenericTableElementsAvl(Table), Index);
    assert_int_equal(RtlIsGenericTableEmptyAvl(Table), Index == 0);
}

static void a_table_agrees_with_an_array(void **state)
{
    static ULONG Values[KEYS];
    ULONG64 Random = 88172645463325252ull;
    RTL_AVL_TABLE Table;

    (void)state;
    RtlInitializeGenericTableAvl(&Table, Compare, Allocate, Free, &Blocks);
    for (ULONG Step = 1; Step < 20000; Step++)
    {
        ELEMENT Probe;
        BOOLEAN New = FALSE;
        ELEMENT *Found;

        Random ^= Random << 13;
        Random ^= Random >> 7;
        Random ^= Random << 17;
        Probe = (ELEMENT){ (ULONG)(Random % KEYS), Step };
        switch ((Random >> 32) % 3)
        {
        case 0:
            Found = RtlInsertElementGenericTableAvl(&Table, &Probe, sizeof(Probe), &New);
            assert_int_equal(New, Values[Probe.Key] == 0);
            Values[Probe.Key] = New ? Step : Values[Probe.Key];
            assert_int_equal(Found->Value, Values[Probe.Key]);
            break;
        case 1:
            assert_int_equal(RtlDeleteElementGenericTableAvl(&Table, &Probe), Values[Probe.Key] != 0);
            Values[Probe.Key] = 0;
            break;
        default:
            Found = RtlLookupElementGenericTableAvl(&Table, &Probe);
            assert_int_equal(Found != NULL, Values[Probe.Key] != 0);
            break;
        }
        if (Step % 997 == 0)
        {
            CheckOrder(&Table, Values);
        }
    }
    for (ELEMENT *Element; (Element = RtlGetElementGenericTableAvl(&Table, 0)) != NULL;)
    {
        ELEMENT Copy = *Element;

        assert_true(RtlDeleteElementGenericTableAvl(&Table, &Copy));
    }
    assert_int_equal(Blocks, 0);
}

static void no_memory_inserts_nothing(void **state)
{
    ELEMENT Element = { 1, 1 };
    BOOLEAN New = TRUE;
    RTL_AVL_TABLE Table;

    (void)state;
    RtlInitializeGenericTableAvl(&Table, Compare, Allocate, Free, &Blocks);
    Refuse = TRUE;
    assert_null(RtlInsertElementGenericTableAvl(&Table, &Element, sizeof(Element), &New));
    Refuse = FALSE;
    assert_false(New);
    assert_true(RtlIsGenericTableEmptyAvl(&Table));
    assert_null(RtlEnumerateGenericTableAvl(&Table, TRUE));
}

static void an_enumeration_survives_the_end_of_its_element(void **state)
{
    RTL_AVL_TABLE Table;
    ULONG Seen = 0;

    (void)state;
    RtlInitializeGenericTableAvl(&Table, Compare, Allocate, Free, &Blocks);
    for (ULONG Key = 0; Key < 100; Key++)
    {
        ELEMENT Element = { Key, Key };

        assert_non_null(RtlInsertElementGenericTableAvl(&Table, &Element, sizeof(Element), NULL));
    }
    for (ELEMENT *Element = RtlEnumerateGenericTableAvl(&Table, TRUE); Element != NULL;
         Element = RtlEnumerateGenericTableAvl(&Table, FALSE))
    {
        ELEMENT Copy = *Element;

        assert_int_equal(Copy.Key, Seen);
        Seen++;
        assert_true(RtlDeleteElementGenericTableAvl(&Table, &Copy));
    }
    assert_int_equal(Seen, 100);
    assert_int_equal(Blocks, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_agrees_with_an_array),
        cmocka_unit_test(no_memory_inserts_nothing),
        cmocka_unit_test(an_enumeration_survives_the_end_of_its_element),
    };

    return cmocka_run_group_tests_name("rtl.avltable", tests, NULL, NULL);
}
