/* SPDX-License-Identifier: MIT */
/* MDLs as structures: what each step makes of flags and fields, and which misuse is which bug check. */
#include "mdl_test.h"

MDL_TEST(a_new_mdl_describes_its_buffer_and_nothing_more)
{
    PMDL Mdl = NewMdl(0x12345678, 0x3000);

    assert_int_equal(Mdl->MdlFlags, MDL_ALLOCATED_FIXED_SIZE);
    assert_null(Mdl->Next);
    assert_ptr_equal(MmGetMdlBaseVa(Mdl), (PVOID)0x12345000);
    assert_int_equal(MmGetMdlByteOffset(Mdl), 0x678);
    assert_int_equal(MmGetMdlByteCount(Mdl), 0x3000);
    assert_ptr_equal(MmGetMdlVirtualAddress(Mdl), (PVOID)0x12345678);
    assert_int_equal(Mdl->Size, sizeof(MDL) + 4 * sizeof(PFN_NUMBER));
    IoFreeMdl(Mdl);
    Mdl = NewMdl(0x12345678, 0x30000);
    assert_int_equal(Mdl->MdlFlags, 0);
    IoFreeMdl(Mdl);
}

MDL_TEST(the_size_of_an_mdl_counts_the_pages_that_the_buffer_touches)
{
    assert_int_equal(MmSizeOfMdl((PVOID)0x1000, 0), sizeof(MDL));
    assert_int_equal(MmSizeOfMdl((PVOID)0x1000, 1), sizeof(MDL) + 8);
    assert_int_equal(MmSizeOfMdl((PVOID)0x1fff, 2), sizeof(MDL) + 16);
    assert_int_equal(MmSizeOfMdl((PVOID)0x1000, 0x10000), sizeof(MDL) + 16 * 8);
}

MDL_TEST(guarded_mappings_have_an_empty_page_on_either_side)
{
    ULONG_PTR Va = TestVmAllocate(0, 0x6000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PMDL Mdl = LockedMdl(Va, 0x4000, IoWriteAccess);
    PUCHAR System = MmMapLockedPagesSpecifyCache(Mdl, KernelMode, MmCached, NULL, FALSE,
                                                 NormalPagePriority | MdlMappingWithGuardPtes);

    assert_non_null(System);
    assert_true((Mdl->MdlFlags & MDL_FREE_EXTRA_PTES) != 0);
    assert_int_equal(MiSystemPtesInUse(), 6);
    assert_true(MiAreSystemPtesReserved((ULONG_PTR)System - PAGE_SIZE, 6));
    assert_false(MmIsAddressValid(System - 1));
    assert_false(MmIsAddressValid(System + 0x4000));
    Poke(System + 0x3fff, 9);
    assert_int_equal(TestVmGet(Va + 0x3fff), 9);
    /* What an MDL gives up at its front takes the old guard along. */
    assert_int_equal(MmAdvanceMdl(Mdl, 0x2010), STATUS_SUCCESS);
    assert_int_equal(MiSystemPtesInUse(), 4);
    assert_true(MiAreSystemPtesReserved((ULONG_PTR)System + PAGE_SIZE, 4));
    assert_false(MmIsAddressValid(System + 0x1fff));
    assert_int_equal(Peek((PUCHAR)Mdl->MappedSystemVa + 0x1fef), 9);
    MmUnlockPages(Mdl); /* unmaps, too */
    assert_int_equal(MiSystemPtesInUse(), 0);
    assert_int_equal(Mdl->MdlFlags & MDL_FREE_EXTRA_PTES, 0);
    IoFreeMdl(Mdl);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(an_mdl_for_a_request_becomes_or_joins_the_chain_of_the_request)
{
    struct
    {
        ULONG64 Head;
        PMDL MdlAddress;
    } Irp = { 0, NULL };
    PMDL First = IoAllocateMdl((PVOID)0x1000, 1, FALSE, FALSE, (PIRP)(PVOID)&Irp);
    PMDL Second = IoAllocateMdl((PVOID)0x2000, 1, TRUE, FALSE, (PIRP)(PVOID)&Irp);
    PMDL Third = IoAllocateMdl((PVOID)0x3000, 1, TRUE, FALSE, (PIRP)(PVOID)&Irp);

    assert_ptr_equal(Irp.MdlAddress, First);
    assert_ptr_equal(First->Next, Second);
    assert_ptr_equal(Second->Next, Third);
    assert_null(Third->Next);
    IoFreeMdl(First);
    IoFreeMdl(Second);
    IoFreeMdl(Third);
}

MDL_TEST(locking_mapping_unmapping_and_unlocking_set_and_clear_their_flags)
{
    ULONG_PTR Va = TestVmAllocate(0, 0x3000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PMDL Mdl = LockedMdl(Va + 0x10, 0x2000, IoReadAccess);
    PUCHAR System;

    assert_int_equal(Mdl->MdlFlags, MDL_ALLOCATED_FIXED_SIZE | MDL_PAGES_LOCKED);
    assert_ptr_equal(Mdl->Process, TestUserProcess);
    assert_int_equal(TestUserProcess->NumberOfLockedPages, 3);
    System = SystemAddress(Mdl);
    assert_non_null(System);
    assert_int_equal((ULONG_PTR)System & 0xfff, 0x10);
    assert_int_equal(Mdl->MdlFlags, MDL_ALLOCATED_FIXED_SIZE | MDL_PAGES_LOCKED | MDL_MAPPED_TO_SYSTEM_VA);
    assert_ptr_equal(Mdl->MappedSystemVa, System);
    assert_ptr_equal(SystemAddress(Mdl), System);
    assert_int_equal(MiSystemPtesInUse(), 3);
    MmUnmapLockedPages(System, Mdl);
    assert_int_equal(Mdl->MdlFlags, MDL_ALLOCATED_FIXED_SIZE | MDL_PAGES_LOCKED);
    assert_int_equal(MiSystemPtesInUse(), 0);
    MmUnlockPages(Mdl);
    assert_int_equal(Mdl->MdlFlags & (MDL_PAGES_LOCKED | MDL_MAPPED_TO_SYSTEM_VA), 0);
    assert_int_equal(TestUserProcess->NumberOfLockedPages, 0);
    assert_int_equal(TryLock(Mdl, UserMode, IoModifyAccess), STATUS_SUCCESS);
    assert_int_equal(Mdl->MdlFlags, MDL_ALLOCATED_FIXED_SIZE | MDL_PAGES_LOCKED | MDL_WRITE_OPERATION);
    assert_non_null(SystemAddress(Mdl));
    MmUnlockPages(Mdl); /* unmaps, too */
    assert_int_equal(MiSystemPtesInUse(), 0);
    assert_int_equal(Mdl->MdlFlags & (MDL_PAGES_LOCKED | MDL_MAPPED_TO_SYSTEM_VA), 0);
    IoFreeMdl(Mdl);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(an_mdl_of_nonpaged_memory_has_its_system_address_already)
{
    PUCHAR Block = MiAllocatePool(3 * PAGE_SIZE, MI_TAG_MDL);
    PMDL Mdl = NewMdl((ULONG_PTR)Block + 0x20, 2 * PAGE_SIZE);

    MmBuildMdlForNonPagedPool(Mdl);
    assert_int_equal(Mdl->MdlFlags, MDL_ALLOCATED_FIXED_SIZE | MDL_SOURCE_IS_NONPAGED_POOL);
    assert_null(Mdl->Process);
    assert_ptr_equal(SystemAddress(Mdl), Block + 0x20);
    for (ULONG Page = 0; Page < 3; Page++)
    {
        assert_int_equal(MmGetMdlPfnArray(Mdl)[Page], PortDirectMapFrame(Block) + Page);
    }
    IoFreeMdl(Mdl);
    MiFreePool(Block, MI_TAG_MDL);
}

MDL_TEST(nonpaged_memory_can_be_locked_and_mapped_as_well)
{
    PUCHAR Block = MiAllocatePool(2 * PAGE_SIZE, MI_TAG_MDL);
    PMDL Mdl = NewMdl((ULONG_PTR)Block, 2 * PAGE_SIZE);
    PUCHAR System;

    assert_int_equal(TryLock(Mdl, UserMode, IoWriteAccess), STATUS_ACCESS_VIOLATION);
    assert_int_equal(TryLock(Mdl, KernelMode, IoWriteAccess), STATUS_SUCCESS);
    System = SystemAddress(Mdl);
    Poke(System + PAGE_SIZE, 0x5a);
    assert_int_equal(Peek(Block + PAGE_SIZE), 0x5a);
    UnlockAndFree(Mdl);
    MiFreePool(Block, MI_TAG_MDL);
}

MDL_TEST(a_partial_mdl_describes_the_same_pages)
{
    ULONG_PTR Va = TestVmAllocate(0, 0x5000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PMDL Source = LockedMdl(Va, 0x5000, IoWriteAccess);
    PMDL Part = NewMdl(Va + 0x1800, 0x2000);
    PUCHAR Mapped;

    IoBuildPartialMdl(Source, Part, (PVOID)(Va + 0x1800), 0x2000);
    assert_int_equal(Part->MdlFlags, MDL_ALLOCATED_FIXED_SIZE | MDL_PARTIAL);
    assert_int_equal(Part->ByteCount, 0x2000);
    assert_int_equal(Part->ByteOffset, 0x800);
    assert_memory_equal(MmGetMdlPfnArray(Part), MmGetMdlPfnArray(Source) + 1, 3 * sizeof(PFN_NUMBER));
    Mapped = SystemAddress(Part);
    assert_int_equal(Part->MdlFlags, MDL_ALLOCATED_FIXED_SIZE | MDL_PARTIAL | MDL_MAPPED_TO_SYSTEM_VA |
                                         MDL_PARTIAL_HAS_BEEN_MAPPED);
    Poke(Mapped, 0x77);
    assert_int_equal(TestVmGet(Va + 0x1800), 0x77);
    MmPrepareMdlForReuse(Part);
    assert_int_equal(Part->MdlFlags, MDL_ALLOCATED_FIXED_SIZE | MDL_PARTIAL);
    assert_int_equal(MiSystemPtesInUse(), 0);
    /* Length 0: to the end. The mapping that is left goes with the MDL. */
    IoBuildPartialMdl(Source, Part, (PVOID)(Va + 0x2004), 0);
    assert_int_equal(Part->ByteCount, 0x2ffc);
    assert_non_null(SystemAddress(Part));
    IoFreeMdl(Part);
    assert_int_equal(MiSystemPtesInUse(), 0);
    UnlockAndFree(Source);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(a_part_of_a_mapped_mdl_uses_the_mapping_of_its_source)
{
    ULONG_PTR Va = TestVmAllocate(0, 0x4000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PMDL Source = LockedMdl(Va, 0x4000, IoReadAccess);
    PUCHAR System = SystemAddress(Source);
    PMDL Part = NewMdl(Va + 0x1004, 0x1000);

    IoBuildPartialMdl(Source, Part, (PVOID)(Va + 0x1004), 0x1000);
    assert_ptr_equal(SystemAddress(Part), System + 0x1004);
    assert_int_equal(MiSystemPtesInUse(), 4);
    IoFreeMdl(Part);
    assert_int_equal(MiSystemPtesInUse(), 4);
    UnlockAndFree(Source);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(advancing_unlocks_and_unmaps_the_pages_it_passes)
{
    ULONG_PTR Va = TestVmAllocate(0, 0x4000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PMDL Mdl = LockedMdl(Va + 0x800, 0x3000, IoWriteAccess);
    PFN_NUMBER Third = MmGetMdlPfnArray(Mdl)[2];
    PUCHAR System = SystemAddress(Mdl);

    assert_int_equal(MmAdvanceMdl(Mdl, 0x3001), STATUS_INVALID_PARAMETER_2);
    assert_int_equal(MmAdvanceMdl(Mdl, 0x7ff), STATUS_SUCCESS);
    assert_int_equal(TestUserProcess->NumberOfLockedPages, 4);
    assert_int_equal(MmAdvanceMdl(Mdl, 0x1001), STATUS_SUCCESS);
    assert_int_equal(TestUserProcess->NumberOfLockedPages, 2);
    assert_int_equal(MiSystemPtesInUse(), 2);
    assert_int_equal(MmGetMdlPfnArray(Mdl)[0], Third);
    assert_ptr_equal(Mdl->MappedSystemVa, System + 0x1800);
    assert_ptr_equal(MmGetMdlVirtualAddress(Mdl), (PVOID)(Va + 0x2000));
    assert_int_equal(Mdl->ByteCount, 0x1800);
    Poke(Mdl->MappedSystemVa, 0x31);
    assert_int_equal(TestVmGet(Va + 0x2000), 0x31);
    assert_int_equal(MmAdvanceMdl(Mdl, 0x1800), STATUS_SUCCESS);
    assert_int_equal(Mdl->ByteCount, 0);
    UnlockAndFree(Mdl);
    assert_int_equal(MiSystemPtesInUse(), 0);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(selected_pages_become_one_buffer)
{
    ULONG_PTR Va = TestVmAllocate(0, 0x4000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    FILE_SEGMENT_ELEMENT Segments[2] = { { .Buffer = (PVOID)(Va + 0x3000) }, { .Buffer = (PVOID)Va } };
    PMDL Mdl = NewMdl(Va, 0x2000);
    PUCHAR System;

    TestVmPut(Va, 1);
    TestVmPut(Va + 0x3000, 4);
    MmProbeAndLockSelectedPages(Mdl, Segments, UserMode, IoReadAccess);
    System = SystemAddress(Mdl);
    assert_int_equal(Peek(System), 4);
    assert_int_equal(Peek(System + PAGE_SIZE), 1);
    UnlockAndFree(Mdl);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(the_mapping_can_be_protected)
{
    ULONG_PTR Va = TestVmAllocate(0, 0x2000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PMDL Mdl = LockedMdl(Va, 0x2000, IoWriteAccess);
    PUCHAR System;

    assert_int_equal(MmProtectMdlSystemAddress(Mdl, PAGE_READONLY), STATUS_NOT_MAPPED_VIEW);
    System = SystemAddress(Mdl);
    assert_int_equal(MmProtectMdlSystemAddress(Mdl, PAGE_WRITECOPY), STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(MmProtectMdlSystemAddress(Mdl, PAGE_READWRITE | PAGE_GUARD),
                     STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(MmProtectMdlSystemAddress(Mdl, 0), STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(MmProtectMdlSystemAddress(Mdl, PAGE_READONLY), STATUS_SUCCESS);
    TestVmPut(Va, 9);
    assert_int_equal(Peek(System), 9);
    assert_int_equal(MiSystemPte((ULONG_PTR)System)->Hard.Write, 0);
    assert_int_equal(MmProtectMdlSystemAddress(Mdl, PAGE_NOACCESS), STATUS_SUCCESS);
    assert_false(MmIsAddressValid(System));
    assert_int_equal(MmProtectMdlSystemAddress(Mdl, PAGE_READWRITE), STATUS_SUCCESS);
    Poke(System, 10);
    assert_int_equal(TestVmGet(Va), 10);
    UnlockAndFree(Mdl);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(mappings_conflict_with_other_caching_of_the_same_page)
{
    ULONG_PTR Va = TestVmAllocate(0, 0x1000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PMDL Mdl = LockedMdl(Va, 0x1000, IoReadAccess);

    assert_null(MmMapLockedPagesSpecifyCache(Mdl, KernelMode, MmNonCached, NULL, FALSE, NormalPagePriority));
    assert_null(MmMapLockedPagesSpecifyCache(Mdl, KernelMode, (MEMORY_CACHING_TYPE)77, NULL, FALSE,
                                             NormalPagePriority));
    assert_int_equal(MiSystemPtesInUse(), 0);
    UnlockAndFree(Mdl);
    TestVmFree(Va, 0, MEM_RELEASE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_mdl_describes_its_buffer_and_nothing_more),
        cmocka_unit_test(the_size_of_an_mdl_counts_the_pages_that_the_buffer_touches),
        cmocka_unit_test(guarded_mappings_have_an_empty_page_on_either_side),
        cmocka_unit_test(an_mdl_for_a_request_becomes_or_joins_the_chain_of_the_request),
        cmocka_unit_test(locking_mapping_unmapping_and_unlocking_set_and_clear_their_flags),
        cmocka_unit_test(an_mdl_of_nonpaged_memory_has_its_system_address_already),
        cmocka_unit_test(nonpaged_memory_can_be_locked_and_mapped_as_well),
        cmocka_unit_test(a_partial_mdl_describes_the_same_pages),
        cmocka_unit_test(a_part_of_a_mapped_mdl_uses_the_mapping_of_its_source),
        cmocka_unit_test(advancing_unlocks_and_unmaps_the_pages_it_passes),
        cmocka_unit_test(selected_pages_become_one_buffer),
        cmocka_unit_test(the_mapping_can_be_protected),
        cmocka_unit_test(mappings_conflict_with_other_caching_of_the_same_page),
    };

    return cmocka_run_group_tests_name("mdl.flags", tests, NULL, NULL);
}
