/* SPDX-License-Identifier: MIT */
/* MmGetSystemRoutineAddress: every exported name is found and leads to its function, and nothing else is. */
#include "process.h"

#include "nt/ex.h"
#include "nt/expool.h"
#include "nt/mm.h"
#include "nt/rtl.h"

static PVOID Find(const char *Name)
{
    WCHAR Wide[128];
    UNICODE_STRING String = { .Buffer = Wide, .MaximumLength = sizeof(Wide) };

    for (; Name[String.Length / sizeof(WCHAR)] != 0; String.Length += sizeof(WCHAR))
    {
        Wide[String.Length / sizeof(WCHAR)] = (WCHAR)Name[String.Length / sizeof(WCHAR)];
    }
    return MmGetSystemRoutineAddress(&String);
}

static void every_listed_routine_is_found(void **state)
{
    static const char *const Names[] = {
#define NT_ROUTINE(Name) #Name,
#include "nt/routines.def"
#undef NT_ROUTINE
    };

    (void)state;
    assert_true(RTL_NUMBER_OF(Names) > 300);
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Names); Index++)
    {
        assert_non_null(Find(Names[Index]));
        assert_true(Index == 0 || strcmp(Names[Index - 1], Names[Index]) < 0);
    }
}

static void a_routine_can_be_called_by_its_address(void **state)
{
    PVOID(NTAPI * Allocate)(POOL_FLAGS, SIZE_T, ULONG);
    VOID(NTAPI * Free)(PVOID, ULONG);
    PVOID Found = Find("ExAllocatePool2");
    PVOID Block;

    (void)state;
    memcpy(&Allocate, &Found, sizeof(Found));
    Found = Find("ExFreePoolWithTag");
    memcpy(&Free, &Found, sizeof(Found));
    Block = Allocate(POOL_FLAG_NON_PAGED, 100, 'tseT');
    assert_non_null(Block);
    Free(Block, 'tseT');
}

static void what_is_no_export_is_not_found(void **state)
{
    (void)state;
    assert_null(Find("ExAllocatePool2x"));
    assert_null(Find("ExAllocatePoo"));
    assert_null(Find("exallocatepool2"));
    assert_null(Find("MiAllocatePage"));
    assert_null(Find(""));
    assert_null(Find("zzz"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_PROCESS(every_listed_routine_is_found),
        TEST_IN_PROCESS(a_routine_can_be_called_by_its_address),
        TEST_IN_PROCESS(what_is_no_export_is_not_found),
    };

    return cmocka_run_group_tests_name("nt.routines", tests, NULL, NULL);
}
