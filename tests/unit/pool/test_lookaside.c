/* SPDX-License-Identifier: MIT */
/* Lookaside lists of all kinds: what they keep, whom they ask, how deep they grow, and that nothing is left
 * when they are deleted. */
#include "boot.h"

#include "pool/expool.h"

#define TAG MI_TAG('L', 'o', 'o', 'k')

static ULONG Allocated;
static ULONG Freed;

static PVOID NTAPI OwnAllocate(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag)
{
    Allocated++;
    return ExAllocatePoolWithTag(PoolType, NumberOfBytes, Tag);
}

static VOID NTAPI OwnFree(PVOID Buffer)
{
    Freed++;
    ExFreePool(Buffer);
}

static PVOID NTAPI OwnAllocateEx(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag,
                                 PLOOKASIDE_LIST_EX Lookaside)
{
    assert_int_equal(Lookaside->L.Size, NumberOfBytes);
    return OwnAllocate(PoolType, NumberOfBytes, Tag);
}

static VOID NTAPI OwnFreeEx(PVOID Buffer, PLOOKASIDE_LIST_EX Lookaside)
{
    assert_int_equal(Lookaside->L.Tag, TAG);
    OwnFree(Buffer);
}

static void nonpaged_list_keeps_what_is_freed(void **State)
{
    NPAGED_LOOKASIDE_LIST List;
    PVOID Entries[10];

    (void)State;
    Allocated = Freed = 0;
    ExInitializeNPagedLookasideList(&List, OwnAllocate, OwnFree, POOL_NX_ALLOCATION, 200, TAG, 0);
    for (ULONG Index = 0; Index < 10; Index++)
    {
        Entries[Index] = ExAllocateFromNPagedLookasideList(&List);
        assert_non_null(Entries[Index]);
    }
    assert_int_equal(Allocated, 10);
    for (ULONG Index = 0; Index < 10; Index++)
    {
        ExFreeToNPagedLookasideList(&List, Entries[Index]);
    }
    assert_int_equal(Freed, 10 - List.L.Depth);
    assert_ptr_equal(ExAllocateFromNPagedLookasideList(&List), Entries[List.L.Depth - 1]);
    ExFreeToNPagedLookasideList(&List, Entries[List.L.Depth - 1]);
    assert_int_equal(List.L.TotalAllocates, 11);
    assert_int_equal(List.L.AllocateMisses, 10);
    assert_int_equal(List.L.TotalFrees, 11);
    assert_int_equal(List.L.FreeMisses, 10 - List.L.Depth);
    ExDeleteNPagedLookasideList(&List);
    assert_int_equal(Freed, 10);
}

static void paged_list_works_on_pages_that_are_away(void **State)
{
    PAGED_LOOKASIDE_LIST List;
    PVOID Entries[4];

    TestSetupDeterministic(State);
    ExInitializePagedLookasideList(&List, NULL, NULL, 0, 3000, TAG, 0);
    for (ULONG Index = 0; Index < 4; Index++)
    {
        Entries[Index] = ExAllocateFromPagedLookasideList(&List);
    }
    for (ULONG Index = 0; Index < 4; Index++)
    {
        ExFreeToPagedLookasideList(&List, Entries[Index]);
    }
    assert_true(MiEmptyWorkingSet(&MiState.Space->System) != 0);
    for (ULONG Index = 4; Index > 0; Index--)
    {
        assert_ptr_equal(ExAllocateFromPagedLookasideList(&List), Entries[Index - 1]);
    }
    for (ULONG Index = 0; Index < 4; Index++)
    {
        ExFreeToPagedLookasideList(&List, Entries[Index]);
    }
    ExDeletePagedLookasideList(&List);
    MiTrimPool();
    TestTeardown(State);
}

static void extended_list_has_its_own_routines_and_checks_its_parameters(void **State)
{
    LOOKASIDE_LIST_EX List;
    PVOID Entry;

    (void)State;
    Allocated = Freed = 0;
    assert_int_equal(ExInitializeLookasideListEx(&List, NULL, NULL, NonPagedPoolMustSucceed, 0, 64, TAG, 0),
                     STATUS_INVALID_PARAMETER_4);
    assert_int_equal(ExInitializeLookasideListEx(&List, NULL, NULL, NonPagedPoolNx, 3, 64, TAG, 0),
                     STATUS_INVALID_PARAMETER_5);
    assert_int_equal(
        ExInitializeLookasideListEx(&List, OwnAllocateEx, OwnFreeEx, NonPagedPoolNx, 0, 64, TAG, 0),
        STATUS_SUCCESS);
    Entry = ExAllocateFromLookasideListEx(&List);
    assert_int_equal(Allocated, 1);
    ExFreeToLookasideListEx(&List, Entry);
    assert_int_equal(Freed, 0);
    ExFlushLookasideListEx(&List);
    assert_int_equal(Freed, 1);
    ExDeleteLookasideListEx(&List);
}

static void extended_list_fails_as_its_flags_say(void **State)
{
    LOOKASIDE_LIST_EX List;
    KI_EXCEPTION_FRAME Frame;
    volatile NTSTATUS Raised = STATUS_SUCCESS;

    (void)State;
    assert_int_equal(ExInitializeLookasideListEx(&List, NULL, NULL, NonPagedPoolNx,
                                                 EX_LOOKASIDE_LIST_EX_FLAGS_FAIL_NO_RAISE, 64, TAG, 0),
                     STATUS_SUCCESS);
    KiSetInjection(KiInjectPool, 1, TRUE);
    assert_null(ExAllocateFromLookasideListEx(&List));
    ExDeleteLookasideListEx(&List);
    assert_int_equal(ExInitializeLookasideListEx(&List, NULL, NULL, NonPagedPoolNx,
                                                 EX_LOOKASIDE_LIST_EX_FLAGS_RAISE_ON_FAIL, 64, TAG, 0),
                     STATUS_SUCCESS);
    if (KiTry(&Frame))
    {
        ExAllocateFromLookasideListEx(&List);
        KiEndTry(&Frame);
    }
    else
    {
        Raised = Frame.Record.ExceptionCode;
    }
    KiSetInjection(KiInjectPool, 0, FALSE);
    assert_int_equal(Raised, STATUS_INSUFFICIENT_RESOURCES);
    ExDeleteLookasideListEx(&List);
}

static void depth_follows_use(void **State)
{
    NPAGED_LOOKASIDE_LIST List;
    PVOID Entries[100];
    USHORT Busy;

    (void)State;
    ExInitializeNPagedLookasideList(&List, NULL, NULL, POOL_NX_ALLOCATION, 100, TAG, 0);
    for (ULONG Round = 0; Round < 20; Round++)
    {
        for (ULONG Index = 0; Index < 100; Index++)
        {
            Entries[Index] = ExAllocateFromNPagedLookasideList(&List);
        }
        for (ULONG Index = 0; Index < 100; Index++)
        {
            ExFreeToNPagedLookasideList(&List, Entries[Index]);
        }
        ExAdjustLookasideDepth();
    }
    Busy = List.L.Depth;
    assert_in_range(Busy, 90, 256);
    for (ULONG Round = 0; Round < 40; Round++)
    {
        ExAdjustLookasideDepth();
    }
    assert_int_equal(List.L.Depth, 4);
    ExDeleteNPagedLookasideList(&List);
}

static void lists_are_reported(void **State)
{
    SYSTEM_LOOKASIDE_INFORMATION Entries[4];
    SIZE_T Before = ExQueryLookasides(Entries, 0);
    PAGED_LOOKASIDE_LIST List;

    (void)State;
    ExInitializePagedLookasideList(&List, NULL, NULL, 0, 3, TAG, 0);
    assert_int_equal(ExQueryLookasides(Entries, 4), Before + 1);
    assert_int_equal(Entries[Before].Tag, TAG);
    assert_int_equal(Entries[Before].Size, sizeof(PVOID)); /* what a link takes */
    assert_int_equal(Entries[Before].Type, PagedPool);
    ExDeletePagedLookasideList(&List);
    assert_int_equal(ExQueryLookasides(Entries, 4), Before);
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
#define TEST(Name) cmocka_unit_test_setup_teardown(Name, TestSetupDeterministic, TestTeardown)
        TEST(nonpaged_list_keeps_what_is_freed),
        cmocka_unit_test(paged_list_works_on_pages_that_are_away),
        TEST(extended_list_has_its_own_routines_and_checks_its_parameters),
        TEST(extended_list_fails_as_its_flags_say),
        TEST(depth_follows_use),
        TEST(lists_are_reported),
    };
    return cmocka_run_group_tests(Tests, NULL, NULL);
}
