/* SPDX-License-Identifier: MIT */
/* What lies behind an address, which RAM there is; and the allocator of system PTEs. */
#include "mdl_test.h"

MDL_TEST(a_physical_address_is_the_frame_and_the_offset)
{
    ULONG_PTR Va = TestVmAllocate(0, 2 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PMDL Mdl = LockedMdl(Va, PAGE_SIZE, IoWriteAccess);
    PUCHAR System = SystemAddress(Mdl);
    PHYSICAL_ADDRESS Physical = MmGetPhysicalAddress((PVOID)(Va + 0x123));

    assert_int_equal(Physical.QuadPart, (MmGetMdlPfnArray(Mdl)[0] << PAGE_SHIFT) + 0x123);
    assert_int_equal(MmGetPhysicalAddress(System + 0x123).QuadPart, Physical.QuadPart);
    assert_int_equal(MmGetPhysicalAddress(MmGetVirtualForPhysical(Physical)).QuadPart, Physical.QuadPart);
    Poke(System + 0x123, 0x21);
    assert_int_equal(Peek(MmGetVirtualForPhysical(Physical)), 0x21);
    assert_int_equal(MmGetPhysicalAddress((PVOID)(Va + PAGE_SIZE)).QuadPart, 0); /* never touched */
    Physical.QuadPart = (LONG64)1 << 50;
    assert_null(MmGetVirtualForPhysical(Physical));
    UnlockAndFree(Mdl);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(an_address_is_valid_while_an_access_would_not_fault)
{
    ULONG_PTR Va = TestVmAllocate(0, PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PUCHAR Block = MiAllocatePool(64, MI_TAG_MDL);
    PMDL Mdl;
    PUCHAR System;

    assert_false(MmIsAddressValid((PVOID)Va));
    Mdl = LockedMdl(Va, PAGE_SIZE, IoReadAccess);
    assert_true(MmIsAddressValid((PVOID)Va));
    assert_false(MmIsNonPagedSystemAddressValid((PVOID)Va));
    System = SystemAddress(Mdl);
    assert_true(MmIsAddressValid(System));
    assert_true(MmIsNonPagedSystemAddressValid(System));
    MmUnmapLockedPages(System, Mdl);
    assert_false(MmIsAddressValid(System));
    assert_false(MmIsNonPagedSystemAddressValid(System));
    assert_true(MmIsAddressValid(Block));
    assert_true(MmIsNonPagedSystemAddressValid(Block));
    assert_false(MmIsAddressValid((PVOID)(ULONG_PTR)PORT_SYSTEM_START));
    assert_false(MmIsAddressValid(NULL));
    UnlockAndFree(Mdl);
    TestVmTrimAll();
    assert_false(MmIsAddressValid((PVOID)Va));
    MiFreePool(Block, MI_TAG_MDL);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(the_ranges_of_physical_memory_end_with_an_empty_one)
{
    PPHYSICAL_MEMORY_RANGE Ranges = MmGetPhysicalMemoryRanges();
    ULONG64 Bytes = 0;
    ULONG Count = 0;

    assert_non_null(Ranges);
    for (; Ranges[Count].NumberOfBytes.QuadPart != 0; Count++)
    {
        Bytes += (ULONG64)Ranges[Count].NumberOfBytes.QuadPart;
    }
    assert_int_equal(Ranges[Count].BaseAddress.QuadPart, 0);
    assert_int_equal(Count, MiState.Physical->RunCount);
    assert_int_equal(Bytes >> PAGE_SHIFT, MiState.Physical->NumberOfPages);
    ExFreePool(Ranges);
    assert_null(MmGetPhysicalMemoryRangesEx2(NULL, 0x80));
    KiSetInjection(KiInjectPool, 1, FALSE);
    assert_null(MmGetPhysicalMemoryRangesEx(NULL));
    KiSetInjection(KiInjectPool, 0, FALSE);
}

MDL_TEST(a_machine_of_16_megabytes_is_small_and_no_server)
{
    assert_int_equal(MmQuerySystemSize(), MmSmallSystem);
    assert_false(MmIsThisAnNtAsSystem());
}

/* ---- System PTEs ------------------------------------------------------------------------------------------------------ */

MDL_TEST(system_ptes_are_reserved_in_runs_and_given_back_in_parts)
{
    ULONG_PTR First = MiReserveSystemPtes(5);
    ULONG_PTR Second = MiReserveSystemPtes(600); /* over the border of a table */
    ULONG_PTR Third;

    assert_true(MiIsSystemPteAddress(First) && MiIsSystemPteAddress(Second));
    assert_true(MiAreSystemPtesReserved(First, 5) && MiAreSystemPtesReserved(Second, 600));
    assert_int_equal(MiSystemPtesInUse(), 605);
    MiReleaseSystemPtes(First + PAGE_SIZE, 2);
    assert_false(MiAreSystemPtesReserved(First, 5));
    Third = MiReserveSystemPtes(2);
    assert_int_equal(Third, First + PAGE_SIZE); /* the lowest place that fits */
    MiReleaseSystemPtes(Second, 600);
    MiReleaseSystemPtes(First, 5);
    assert_int_equal(MiSystemPtesInUse(), 0);
    assert_true(MiTrimSystemPtes() >= 2);
    assert_int_equal(MiReserveSystemPtes(0), 0);
    assert_int_equal(MiReserveSystemPtes((SIZE_T)MiSystemPtesTotal() + 1), 0);
}

MDL_TEST(no_table_for_a_run_means_no_run)
{
    MiTrimSystemPtes();
    for (KI_INJECT Kind = KiInjectFrame; Kind <= KiInjectCommit; Kind += KiInjectCommit - KiInjectFrame)
    {
        KiSetInjection(Kind, 1, FALSE);
        assert_int_equal(MiReserveSystemPtes(1), 0);
        KiSetInjection(Kind, 0, FALSE);
    }
    assert_int_equal(MiSystemPtesInUse(), 0);
}

static void ReleaseTwice(void *Context)
{
    MiReleaseSystemPtes(*(ULONG_PTR *)Context, 2);
    MiReleaseSystemPtes(*(ULONG_PTR *)Context, 2);
}

/* The lock stays held where the machine stopped. */
static void giving_system_ptes_back_twice_stops_the_machine(void **state)
{
    ULONG_PTR Va;

    (void)state;
    TestBootMachine(NULL);
    Va = MiReserveSystemPtes(2);
    TestExpectBugCheck(SYSTEM_PTE_MISUSE, ReleaseTwice, &Va);
    assert_int_equal(TestBugCheckParameters[0], 9);
    TestAbandonMachine();
}

MDL_TEST(a_random_mix_of_runs_never_overlaps)
{
    enum
    {
        Runs = 64
    };
    TEST_RANDOM Random = TestSeed("a_random_mix_of_runs_never_overlaps");
    struct
    {
        ULONG_PTR Va;
        SIZE_T Pages;
    } Held[Runs] = { { 0, 0 } };
    ULONG InUse = 0;

    for (ULONG64 Step = TestIterations(20000); Step != 0; Step--)
    {
        ULONG Index = (ULONG)TestBelow(&Random, Runs);

        if (Held[Index].Va != 0)
        {
            MiReleaseSystemPtes(Held[Index].Va, Held[Index].Pages);
            InUse -= (ULONG)Held[Index].Pages;
            Held[Index].Va = 0;
            continue;
        }
        Held[Index].Pages = 1 + TestBelow(&Random, TestBelow(&Random, 8) == 0 ? 1500 : 20);
        Held[Index].Va = MiReserveSystemPtes(Held[Index].Pages);
        assert_true(Held[Index].Va != 0);
        InUse += (ULONG)Held[Index].Pages;
        assert_int_equal(MiSystemPtesInUse(), InUse); /* each bit is set once: runs do not overlap */
        if (Step % 64 == 0)
        {
            MiTrimSystemPtes();
            assert_int_equal(MiSystemPte(Held[Index].Va)->Long, 0);
        }
    }
    for (ULONG Index = 0; Index < Runs; Index++)
    {
        if (Held[Index].Va != 0)
        {
            MiReleaseSystemPtes(Held[Index].Va, Held[Index].Pages);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_physical_address_is_the_frame_and_the_offset),
        cmocka_unit_test(an_address_is_valid_while_an_access_would_not_fault),
        cmocka_unit_test(the_ranges_of_physical_memory_end_with_an_empty_one),
        cmocka_unit_test(a_machine_of_16_megabytes_is_small_and_no_server),
        cmocka_unit_test(system_ptes_are_reserved_in_runs_and_given_back_in_parts),
        cmocka_unit_test(no_table_for_a_run_means_no_run),
        cmocka_unit_test(giving_system_ptes_back_twice_stops_the_machine),
        cmocka_unit_test(a_random_mix_of_runs_never_overlaps),
    };

    return cmocka_run_group_tests_name("mdl.query", tests, NULL, NULL);
}
