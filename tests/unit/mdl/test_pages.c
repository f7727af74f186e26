/* SPDX-License-Identifier: MIT */
/* Pages without an address, contiguous memory, reserved mapping addresses: constraints, partial success, failure, giving back. */
#include "mdl_test.h"

static PHYSICAL_ADDRESS At(ULONG64 Address)
{
    PHYSICAL_ADDRESS Physical = { .QuadPart = (LONG64)Address };

    return Physical;
}

static const ULONG64 Everywhere = ~0ull >> 1;

static void FreeMdlPages(PMDL Mdl)
{
    MmFreePagesFromMdl(Mdl);
    ExFreePool(Mdl);
}

MDL_TEST(pages_of_an_mdl_are_zero_locked_and_mapped_like_others)
{
    PMDL Mdl = MmAllocatePagesForMdl(At(0), At(Everywhere), At(0), 5 * PAGE_SIZE + 1);
    PUCHAR System;

    assert_non_null(Mdl);
    assert_int_equal(Mdl->MdlFlags, MDL_PAGES_LOCKED);
    assert_int_equal(Mdl->ByteCount, 6 * PAGE_SIZE);
    System = SystemAddress(Mdl);
    for (ULONG Offset = 0; Offset < Mdl->ByteCount; Offset += 512)
    {
        assert_int_equal(Peek(System + Offset), 0);
        Poke(System + Offset, 1);
    }
    MmUnmapLockedPages(System, Mdl);
    FreeMdlPages(Mdl);
}

MDL_TEST(pages_of_an_mdl_lie_in_the_range_that_was_asked_for)
{
    ULONG64 Low = 4 << 20;
    ULONG64 High = (6 << 20) - 1;
    PMDL Mdl = MmAllocatePagesForMdlEx(At(Low), At(High), At(0), 32 * PAGE_SIZE, MmCached,
                                       MM_ALLOCATE_FULLY_REQUIRED);

    assert_non_null(Mdl);
    for (ULONG Page = 0; Page < 32; Page++)
    {
        assert_in_range(MmGetMdlPfnArray(Mdl)[Page], Low >> PAGE_SHIFT, High >> PAGE_SHIFT);
    }
    FreeMdlPages(Mdl);
}

MDL_TEST(skip_bytes_move_the_range_upwards)
{
    PMDL Mdl =
        MmAllocatePagesForMdl(At(4 << 20), At((4 << 20) + 8 * PAGE_SIZE - 1), At(1 << 20), 20 * PAGE_SIZE);

    assert_non_null(Mdl);
    assert_true(Mdl->ByteCount > 8 * PAGE_SIZE);
    for (ULONG Page = 0; Page < Mdl->ByteCount / PAGE_SIZE; Page++)
    {
        assert_true(((MmGetMdlPfnArray(Mdl)[Page] << PAGE_SHIFT) & ((1 << 20) - 1)) < 8 * PAGE_SIZE);
    }
    FreeMdlPages(Mdl);
}

MDL_TEST(fewer_pages_than_asked_for_come_unless_all_are_required)
{
    PMDL Mdl;

    assert_null(MmAllocatePagesForMdlEx(At(0), At(Everywhere), At(0), 64 << 20, MmCached,
                                        MM_ALLOCATE_FULLY_REQUIRED));
    assert_null(MmAllocatePagesForMdlEx(At(4 << 20), At((4 << 20) + 8 * PAGE_SIZE - 1), At(0), 16 * PAGE_SIZE,
                                        MmCached, MM_ALLOCATE_FULLY_REQUIRED));
    Mdl = MmAllocatePagesForMdlEx(At(4 << 20), At((4 << 20) + 8 * PAGE_SIZE - 1), At(0), 16 * PAGE_SIZE,
                                  MmCached, 0);
    assert_non_null(Mdl);
    assert_true(Mdl->ByteCount <= 8 * PAGE_SIZE);
    FreeMdlPages(Mdl);
    Mdl = MmAllocatePagesForMdlEx(At(0), At(Everywhere), At(0), 64 << 20, MmCached, 0);
    assert_non_null(Mdl);
    assert_true(Mdl->ByteCount < 16 << 20);
    FreeMdlPages(Mdl);
}

MDL_TEST(chunks_are_contiguous_when_that_is_required)
{
    PMDL Mdl = MmAllocatePagesForMdlEx(At(0), At(Everywhere), At(16 * PAGE_SIZE), 64 * PAGE_SIZE, MmCached,
                                       MM_ALLOCATE_REQUIRE_CONTIGUOUS_CHUNKS | MM_ALLOCATE_FULLY_REQUIRED);

    assert_non_null(Mdl);
    for (ULONG Page = 0; Page < 64; Page++)
    {
        assert_int_equal(MmGetMdlPfnArray(Mdl)[Page], MmGetMdlPfnArray(Mdl)[Page / 16 * 16] + Page % 16);
        assert_int_equal(MmGetMdlPfnArray(Mdl)[Page / 16 * 16] % 16, 0);
    }
    FreeMdlPages(Mdl);
    assert_null(MmAllocatePagesForMdlEx(At(0), At(Everywhere), At(16 * PAGE_SIZE), 20 * PAGE_SIZE, MmCached,
                                        MM_ALLOCATE_REQUIRE_CONTIGUOUS_CHUNKS));
}

MDL_TEST(parameters_that_make_no_sense_get_no_pages)
{
    assert_null(MmAllocatePagesForMdl(At(0), At(Everywhere), At(0), 0));
    assert_null(MmAllocatePagesForMdl(At(2), At(1), At(0), PAGE_SIZE));
    assert_null(MmAllocatePagesForMdl(At(0), At(Everywhere), At(17), PAGE_SIZE));
    assert_null(MmAllocatePagesForMdlEx(At(0), At(Everywhere), At(0), PAGE_SIZE, MmCached, 0x8000));
    assert_null(MmAllocatePagesForMdlEx(At(0), At(Everywhere), At(0), PAGE_SIZE, (MEMORY_CACHING_TYPE)99, 0));
}

MDL_TEST(pages_that_are_not_cached_are_mapped_only_so)
{
    PMDL Mdl = MmAllocatePagesForMdlEx(At(0), At(Everywhere), At(0), PAGE_SIZE, MmNonCached, 0);
    PUCHAR System;

    assert_non_null(Mdl);
    assert_null(SystemAddress(Mdl));
    System = MmMapLockedPagesSpecifyCache(Mdl, KernelMode, MmNonCached, NULL, FALSE, NormalPagePriority);
    assert_non_null(System);
    assert_true(MiSystemPte((ULONG_PTR)System)->Hard.CacheDisable);
    Poke(System, 1);
    FreeMdlPages(Mdl);
}

/* ---- Contiguous memory ------------------------------------------------------------------------------------------------ */

static PFN_NUMBER FrameOf(PVOID Va)
{
    return (PFN_NUMBER)(MmGetPhysicalAddress(Va).QuadPart >> PAGE_SHIFT);
}

MDL_TEST(contiguous_memory_is_contiguous_and_below_its_limit)
{
    PUCHAR Block = MmAllocateContiguousMemory(10 * PAGE_SIZE + 1, At((8 << 20) - 1));

    assert_non_null(Block);
    for (ULONG Page = 0; Page < 11; Page++)
    {
        assert_int_equal(FrameOf(Block + Page * PAGE_SIZE), FrameOf(Block) + Page);
        Poke(Block + Page * PAGE_SIZE, 1);
    }
    assert_true(FrameOf(Block) + 10 < (8 << 20) >> PAGE_SHIFT);
    MmFreeContiguousMemory(Block);
    assert_null(MmAllocateContiguousMemory(0, At(Everywhere)));
    assert_null(MmAllocateContiguousMemory((SIZE_T)64 << 20, At(Everywhere)));
    assert_null(MmAllocateContiguousMemory(2 * PAGE_SIZE, At(2 * PAGE_SIZE - 2)));
}

MDL_TEST(contiguous_memory_does_not_cross_its_boundary)
{
    PVOID Blocks[24];

    for (ULONG Index = 0; Index < 24; Index++)
    {
        Blocks[Index] = MmAllocateContiguousMemorySpecifyCache(3 * PAGE_SIZE, At(1 << 20), At(Everywhere),
                                                               At(8 * PAGE_SIZE), MmCached);
        assert_non_null(Blocks[Index]);
        assert_int_equal(FrameOf(Blocks[Index]) / 8, (FrameOf(Blocks[Index]) + 2) / 8);
        assert_true(FrameOf(Blocks[Index]) >= (1 << 20) >> PAGE_SHIFT);
    }
    assert_null(MmAllocateContiguousMemorySpecifyCache(9 * PAGE_SIZE, At(0), At(Everywhere),
                                                       At(8 * PAGE_SIZE), MmCached));
    for (ULONG Index = 0; Index < 24; Index++)
    {
        MmFreeContiguousMemorySpecifyCache(Blocks[Index], 3 * PAGE_SIZE, MmCached);
    }
}

MDL_TEST(contiguous_memory_that_is_not_cached_has_addresses_of_its_own)
{
    PUCHAR Block =
        MmAllocateContiguousMemorySpecifyCache(4 * PAGE_SIZE, At(0), At(Everywhere), At(0), MmNonCached);
    PUCHAR Node;

    assert_non_null(Block);
    assert_true(MiIsSystemPteAddress((ULONG_PTR)Block));
    assert_true(MiSystemPte((ULONG_PTR)Block)->Hard.CacheDisable);
    Poke(Block + 3 * PAGE_SIZE, 4);
    assert_int_equal(Peek(MmGetVirtualForPhysical(MmGetPhysicalAddress(Block + 3 * PAGE_SIZE))), 4);
    Node = MmAllocateContiguousNodeMemory(PAGE_SIZE, At(0), At(Everywhere), At(0),
                                          PAGE_READWRITE | PAGE_NOCACHE, MM_ANY_NODE_OK);
    assert_non_null(Node);
    assert_null(MmAllocateContiguousNodeMemory(PAGE_SIZE, At(0), At(Everywhere), At(0), PAGE_READONLY,
                                               MM_ANY_NODE_OK));
    MmFreeContiguousMemory(Node);
    MmFreeContiguousMemorySpecifyCache(Block, 4 * PAGE_SIZE, MmNonCached);
}

MDL_TEST(noncached_memory_is_not_cached)
{
    PUCHAR Block = MmAllocateNonCachedMemory(3 * PAGE_SIZE);

    assert_non_null(Block);
    assert_true(MiSystemPte((ULONG_PTR)Block + 2 * PAGE_SIZE)->Hard.CacheDisable);
    Poke(Block + 2 * PAGE_SIZE, 1);
    MmFreeNonCachedMemory(Block, 3 * PAGE_SIZE);
}

MDL_TEST(pages_in_use_make_way_for_contiguous_memory)
{
    SIZE_T Pages = MiAvailablePages() - 200;
    ULONG_PTR Va = TestVmAllocate(0, Pages * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PVOID Block;

    TestVmFill(Va, Pages, 7);
    Block = MmAllocateContiguousMemory(2 << 20, At(Everywhere));
    assert_non_null(Block);
    MmFreeContiguousMemory(Block);
    TestVmCheck(Va, Pages, 7);
    TestVmFree(Va, 0, MEM_RELEASE);
}

static void FreeUnknown(void *Context)
{
    MmFreeContiguousMemory(Context);
}

MDL_TEST(freeing_what_is_no_contiguous_memory_is_a_bug_check)
{
    TestExpectBugCheck(BAD_POOL_CALLER, FreeUnknown, (PVOID)(ULONG_PTR)0x1000);
    KiResumeAfterBugCheck(KiCurrentThread());
    LeaveKernel();
}

/* ---- Reserved mapping addresses ------------------------------------------------------------------------------------------ */

#define TAG MI_TAG('T', 'e', 's', 't')

MDL_TEST(a_reserved_address_maps_one_buffer_after_the_other)
{
    ULONG_PTR Va = TestVmAllocate(0, 6 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PUCHAR Address = MmAllocateMappingAddress(3 * PAGE_SIZE, TAG);
    PMDL Large = LockedMdl(Va, 4 * PAGE_SIZE, IoReadAccess);

    assert_non_null(Address);
    assert_false(MmIsAddressValid(Address));
    assert_null(MmMapLockedPagesWithReservedMapping(Address, TAG, Large, MmCached)); /* too large */
    UnlockAndFree(Large);
    for (ULONG Page = 0; Page < 4; Page++)
    {
        PMDL Mdl = LockedMdl(Va + Page * PAGE_SIZE + 4, 2 * PAGE_SIZE, IoWriteAccess);
        PUCHAR Mapped = MmMapLockedPagesWithReservedMapping(Address, TAG, Mdl, MmCached);

        assert_ptr_equal(Mapped, Address + 4);
        assert_true((Mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA) != 0);
        Poke(Mapped, (UCHAR)(Page + 1));
        assert_int_equal(TestVmGet(Va + Page * PAGE_SIZE + 4), Page + 1);
        MmUnmapReservedMapping(Address, TAG, Mdl);
        assert_int_equal(Mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA, 0);
        UnlockAndFree(Mdl);
    }
    MmFreeMappingAddress(Address, TAG);
    assert_null(MmAllocateMappingAddress(0, TAG));
    assert_null(MmAllocateMappingAddressEx(PAGE_SIZE, TAG, 0x80));
    TestVmFree(Va, 0, MEM_RELEASE);
}

static void FreeWithOtherTag(void *Address)
{
    MmFreeMappingAddress(Address, TAG + 1);
}

static void FreeBehind(void *Address)
{
    MmFreeMappingAddress((PUCHAR)Address + PAGE_SIZE, TAG);
}

static void FreeAddress(void *Address)
{
    MmFreeMappingAddress(Address, TAG);
}

MDL_TEST(misuse_of_reserved_addresses_is_a_bug_check)
{
    ULONG_PTR Va = TestVmAllocate(0, PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PMDL Mdl = LockedMdl(Va, PAGE_SIZE, IoReadAccess);
    PVOID Address = MmAllocateMappingAddress(PAGE_SIZE, TAG);

    assert_non_null(MmMapLockedPagesWithReservedMapping(Address, TAG, Mdl, MmCached));
    TestExpectBugCheck(SYSTEM_PTE_MISUSE, FreeAddress, Address);
    KiResumeAfterBugCheck(KiCurrentThread());
    TestExpectBugCheck(SYSTEM_PTE_MISUSE, FreeWithOtherTag, Address);
    KiResumeAfterBugCheck(KiCurrentThread());
    TestExpectBugCheck(SYSTEM_PTE_MISUSE, FreeBehind, Address);
    KiResumeAfterBugCheck(KiCurrentThread());
    LeaveKernel();
    MmUnmapReservedMapping(Address, TAG, Mdl);
    MmFreeMappingAddress(Address, TAG);
    UnlockAndFree(Mdl);
    TestVmFree(Va, 0, MEM_RELEASE);
}

/* ---- Failure at every step ---------------------------------------------------------------------------------------------- */

MDL_TEST(every_failure_leaves_nothing_behind)
{
    for (KI_INJECT Kind = KiInjectFrame; Kind <= KiInjectCommit; Kind++)
    {
        for (ULONG64 Nth = 1;; Nth++)
        {
            ULONG64 Failed = 0;
            PMDL Mdl;
            PVOID Block;
            PVOID Address;

            MiTrimSystemPtes();
            KiSetInjection(Kind, Nth, TRUE);
            Mdl = MmAllocatePagesForMdl(At(0), At(Everywhere), At(0), 4 * PAGE_SIZE);
            Block = MmAllocateContiguousMemorySpecifyCache(2 * PAGE_SIZE, At(0), At(Everywhere), At(0),
                                                           MmNonCached);
            Address = MmAllocateMappingAddress(PAGE_SIZE, TAG);
            KiQueryInjection(Kind, &Failed);
            KiSetInjection(Kind, 0, FALSE);
            if (Mdl != NULL)
            {
                FreeMdlPages(Mdl);
            }
            if (Block != NULL)
            {
                MmFreeContiguousMemory(Block);
            }
            if (Address != NULL)
            {
                MmFreeMappingAddress(Address, TAG);
            }
            assert_int_equal(MiSystemPtesInUse(), 0);
            assert_int_equal(MiState.Mdl->MdlPages, 0);
            if (Failed == 0)
            {
                break;
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_of_an_mdl_are_zero_locked_and_mapped_like_others),
        cmocka_unit_test(pages_of_an_mdl_lie_in_the_range_that_was_asked_for),
        cmocka_unit_test(skip_bytes_move_the_range_upwards),
        cmocka_unit_test(fewer_pages_than_asked_for_come_unless_all_are_required),
        cmocka_unit_test(chunks_are_contiguous_when_that_is_required),
        cmocka_unit_test(parameters_that_make_no_sense_get_no_pages),
        cmocka_unit_test(pages_that_are_not_cached_are_mapped_only_so),
        cmocka_unit_test(contiguous_memory_is_contiguous_and_below_its_limit),
        cmocka_unit_test(contiguous_memory_does_not_cross_its_boundary),
        cmocka_unit_test(contiguous_memory_that_is_not_cached_has_addresses_of_its_own),
        cmocka_unit_test(noncached_memory_is_not_cached),
        cmocka_unit_test(pages_in_use_make_way_for_contiguous_memory),
        cmocka_unit_test(freeing_what_is_no_contiguous_memory_is_a_bug_check),
        cmocka_unit_test(a_reserved_address_maps_one_buffer_after_the_other),
        cmocka_unit_test(misuse_of_reserved_addresses_is_a_bug_check),
        cmocka_unit_test(every_failure_leaves_nothing_behind),
    };

    return cmocka_run_group_tests_name("mdl.pages", tests, NULL, NULL);
}
