/* SPDX-License-Identifier: MIT */
/*
 * Large pages for nonpaged memory: who gets them, that every question about an address has the same answer as with small pages, and that
 * a part that changes makes small pages of them. A random mix is compared with an array that has a line for each page.
 */
#include "mdl_test.h"

#include "host.h"

#define LARGE      MI_LEVEL_BYTES(1)
#define WINDOW_AT  0x2000000000ull
#define NOWHERE_AT 0x2200000000ull

static PHYSICAL_ADDRESS At(ULONG64 Address)
{
    return (PHYSICAL_ADDRESS){ .QuadPart = (LONG64)Address };
}

static PHYSICAL_ADDRESS Everywhere(void)
{
    return At(MAXLONG64);
}

/* 2 MiB of consecutive pages, mapped by a large page. */
static PMDL LargeMdl(void)
{
    PMDL Mdl = MmAllocatePagesForMdlEx(At(0), Everywhere(), At(LARGE), LARGE, MmCached,
                                       MM_ALLOCATE_REQUIRE_CONTIGUOUS_CHUNKS);

    assert_non_null(Mdl);
    assert_int_equal(MmGetMdlByteCount(Mdl), LARGE);
    return Mdl;
}

static void FreeLargeMdl(PMDL Mdl)
{
    MmFreePagesFromMdl(Mdl);
    ExFreePool(Mdl);
}

/* ---- Who gets them ------------------------------------------------------------------------------------------------------ */

MDL_TEST(noncached_memory_of_2_megabytes_is_a_large_page)
{
    PUCHAR Block = MmAllocateNonCachedMemory(LARGE);
    ULONG64 Physical = (ULONG64)MmGetPhysicalAddress(Block).QuadPart;

    assert_true(MiIsLargePageAt((ULONG_PTR)Block));
    assert_int_equal(MiSystemLargePages(), 1);
    assert_int_equal(Physical % LARGE, 0);
    assert_true(MiReadSystemPte((ULONG_PTR)Block + 0x1000).Hard.CacheDisable);
    MiCheckSystemPtes(3);
    for (ULONG_PTR Offset = 0x123; Offset < LARGE; Offset += 0x7001)
    {
        assert_int_equal(MmGetPhysicalAddress(Block + Offset).QuadPart, Physical + Offset);
        assert_true(MmIsAddressValid(Block + Offset));
        assert_true(MmIsNonPagedSystemAddressValid(Block + Offset));
        Poke(Block + Offset, (UCHAR)(Offset >> 12));
        assert_int_equal(Peek(MmGetVirtualForPhysical(At(Physical + Offset))), (UCHAR)(Offset >> 12));
    }
    assert_int_equal(MiSystemLargePages(), 1); /* none of these questions has split it */
    MmFreeNonCachedMemory(Block, LARGE);
    assert_int_equal(MiSystemLargePages(), 0);
    assert_false(MmIsAddressValid(Block));
}

MDL_TEST(more_than_2_megabytes_has_large_pages_and_small_ones)
{
    PUCHAR Block = MmAllocateContiguousMemorySpecifyCache(LARGE + 3 * PAGE_SIZE, At(0), Everywhere(), At(0),
                                                          MmWriteCombined);

    assert_int_equal(MiSystemLargePages(), 1);
    assert_true(MiIsLargePageAt((ULONG_PTR)Block));
    assert_false(MiIsLargePageAt((ULONG_PTR)Block + LARGE));
    for (ULONG_PTR Offset = 0; Offset < LARGE + 3 * PAGE_SIZE; Offset += PAGE_SIZE)
    {
        Poke(Block + Offset, 1);
        assert_int_equal(MmGetPhysicalAddress(Block + Offset).QuadPart - MmGetPhysicalAddress(Block).QuadPart,
                         Offset);
    }
    MmFreeContiguousMemory(Block);
    Block =
        MmAllocateContiguousMemorySpecifyCache(LARGE - PAGE_SIZE, At(0), Everywhere(), At(0), MmNonCached);
    assert_int_equal(MiSystemLargePages(), 0);
    MmFreeContiguousMemory(Block);
}

MDL_TEST(a_run_that_is_not_aligned_is_mapped_by_small_pages)
{
    PFN_NUMBER Last = MiState.Physical->HighestPage / MI_PTES_PER_PAGE * MI_PTES_PER_PAGE - 2;
    PUCHAR Block =
        MmAllocateContiguousMemorySpecifyCache(LARGE, At(((Last - MI_PTES_PER_PAGE) << PAGE_SHIFT)),
                                               At((Last << PAGE_SHIFT) + PAGE_SIZE - 1), At(0), MmNonCached);

    assert_non_null(Block);
    assert_int_equal(MiSystemLargePages(), 0);
    Poke(Block + LARGE - 1, 9);
    MmFreeContiguousMemory(Block);
}

MDL_TEST(device_memory_of_2_megabytes_is_mapped_large)
{
    HOST_DEVICE_PARAMETERS Parameters = { .PhysicalAddress = WINDOW_AT, .Bytes = 3 * LARGE };
    PUCHAR Mapped;
    PVOID Memory;
    PUCHAR Inside;

    assert_int_equal(HostAddDevice(&Parameters, &Memory), STATUS_SUCCESS);
    Inside = Memory;
    Mapped = MmMapIoSpace(At(WINDOW_AT + 0x1008), 2 * LARGE, MmNonCached);
    assert_int_equal((ULONG_PTR)Mapped % LARGE, 0x1008);
    assert_int_equal(MiSystemLargePages(), 1); /* the first 2 MiB are not whole, the last are not either */
    for (ULONG_PTR Offset = 0; Offset < 2 * LARGE; Offset += 0x13001)
    {
        Poke(Mapped + Offset, (UCHAR)Offset);
        assert_int_equal(Inside[0x1008 + Offset], (UCHAR)Offset);
        assert_int_equal(MmGetPhysicalAddress(Mapped + Offset).QuadPart, WINDOW_AT + 0x1008 + Offset);
    }
    MmUnmapIoSpace(Mapped, 2 * LARGE);
    assert_int_equal(MiSystemLargePages(), 0);
    Mapped = MmMapIoSpace(At(WINDOW_AT), 3 * LARGE, MmNonCached);
    assert_int_equal(MiSystemLargePages(), 3);
    MmUnmapIoSpace(Mapped, 3 * LARGE);
}

MDL_TEST(nonpaged_pool_without_a_long_run_takes_2_megabytes_where_they_are)
{
    PFN_NUMBER Held[64];
    ULONG Count = 0;
    PUCHAR Block;

    /* No six MiB are left in one piece. */
    for (PFN_NUMBER Frame = 1023; Frame < MiState.Physical->HighestPage; Frame += 1024)
    {
        PFN_NUMBER Taken = MiAllocateContiguousPages(1, Frame, Frame, 1);

        if (Taken != 0)
        {
            Held[Count++] = Taken;
        }
    }
    Block = ExAllocatePoolWithTag(NonPagedPoolNx, 3 * LARGE, MI_TAG_MDL);
    assert_non_null(Block);
    assert_true(MiIsSystemPteAddress((ULONG_PTR)Block));
    assert_true(MiIsLargePageAt((ULONG_PTR)Block) && MiSystemLargePages() >= 1);
    MiCheckSystemPtes(3);
    for (ULONG_PTR Offset = 0; Offset < 3 * LARGE; Offset += PAGE_SIZE)
    {
        Poke(Block + Offset, (UCHAR)(Offset >> 12));
        assert_int_equal(Peek(MmGetVirtualForPhysical(MmGetPhysicalAddress(Block + Offset))),
                         (UCHAR)(Offset >> 12));
    }
    ExFreePoolWithTag(Block, MI_TAG_MDL);
    assert_int_equal(MiSystemLargePages(), 0);
    while (Count != 0)
    {
        MiFreeContiguousPages(Held[--Count], 1);
    }
}

/* ---- MDLs --------------------------------------------------------------------------------------------------------------- */

MDL_TEST(mdls_describe_memory_behind_large_pages)
{
    PUCHAR Block = MmAllocateNonCachedMemory(2 * LARGE);
    PFN_NUMBER First = (PFN_NUMBER)(MmGetPhysicalAddress(Block).QuadPart >> PAGE_SHIFT);
    PMDL Mdl = NewMdl((ULONG_PTR)Block + LARGE - PAGE_SIZE + 8, 2 * PAGE_SIZE);

    MmBuildMdlForNonPagedPool(Mdl);
    assert_int_equal(MmGetMdlPfnArray(Mdl)[0], First + MI_PTES_PER_PAGE - 1);
    assert_int_equal(MmGetMdlPfnArray(Mdl)[2], First + MI_PTES_PER_PAGE + 1);
    IoFreeMdl(Mdl);
    Mdl = NewMdl((ULONG_PTR)Block + 7 * PAGE_SIZE, PAGE_SIZE);
    assert_int_equal(TryLock(Mdl, KernelMode, IoWriteAccess), STATUS_SUCCESS);
    assert_int_equal(MmGetMdlPfnArray(Mdl)[0], First + 7);
    assert_int_equal(References(First + 7), 2);
    UnlockAndFree(Mdl);
    assert_int_equal(MiSystemLargePages(), 2);
    MmFreeNonCachedMemory(Block, 2 * LARGE);
}

static void WriteTo(void *Address)
{
    EnterKernel();
    *(volatile UCHAR *)Address = 1;
}

static void ExpectReadOnly(PUCHAR Address)
{
    TestExpectBugCheck(ATTEMPTED_WRITE_TO_READONLY_MEMORY, WriteTo, Address);
    assert_int_equal(TestBugCheckParameters[0], (ULONG_PTR)Address);
    KiResumeAfterBugCheck(KiCurrentThread());
    LeaveKernel();
}

MDL_TEST(protection_of_the_whole_keeps_the_large_page_and_of_a_part_splits_it)
{
    PMDL Mdl = LargeMdl();
    PUCHAR Mapped = SystemAddress(Mdl);
    PMDL Part;
    PUCHAR Inside;

    assert_true(MiIsLargePageAt((ULONG_PTR)Mapped));
    Poke(Mapped + 5 * PAGE_SIZE, 0x55);
    assert_int_equal(MmProtectMdlSystemAddress(Mdl, PAGE_READONLY), STATUS_SUCCESS);
    assert_true(MiIsLargePageAt((ULONG_PTR)Mapped));
    ExpectReadOnly(Mapped + 5 * PAGE_SIZE);
    assert_int_equal(Peek(Mapped + 5 * PAGE_SIZE), 0x55);
    Part = NewMdl(4 * PAGE_SIZE, 4 * PAGE_SIZE); /* pages for MDLs have no address: they begin at 0 */
    IoBuildPartialMdl(Mdl, Part, (PVOID)(ULONG_PTR)(4 * PAGE_SIZE), 4 * PAGE_SIZE);
    Inside = Part->MappedSystemVa;
    assert_ptr_equal(Inside, Mapped + 4 * PAGE_SIZE);
    /* No memory is needed for it. */
    KiSetInjection(KiInjectFrame, 1, TRUE);
    KiSetInjection(KiInjectPool, 1, TRUE);
    assert_int_equal(MmProtectMdlSystemAddress(Part, PAGE_READWRITE), STATUS_SUCCESS);
    KiSetInjection(KiInjectFrame, 0, FALSE);
    KiSetInjection(KiInjectPool, 0, FALSE);
    assert_int_equal(MiSystemLargePages(), 0);
    MiCheckSystemPtes(3);
    Poke(Mapped + 5 * PAGE_SIZE, 0x56);
    assert_int_equal(Peek(Mapped + 5 * PAGE_SIZE), 0x56);
    ExpectReadOnly(Mapped + 3 * PAGE_SIZE);
    ExpectReadOnly(Mapped + 8 * PAGE_SIZE);
    IoFreeMdl(Part);
    MmUnmapLockedPages(Mapped, Mdl);
    FreeLargeMdl(Mdl);
}

MDL_TEST(no_access_and_back_again)
{
    PMDL Mdl = LargeMdl();
    PUCHAR Mapped = SystemAddress(Mdl);

    Poke(Mapped + LARGE - 1, 3);
    assert_int_equal(MmProtectMdlSystemAddress(Mdl, PAGE_NOACCESS), STATUS_SUCCESS);
    assert_false(MmIsAddressValid(Mapped));
    assert_int_equal(MmProtectMdlSystemAddress(Mdl, PAGE_READWRITE), STATUS_SUCCESS);
    assert_int_equal(Peek(Mapped + LARGE - 1), 3);
    MmUnmapLockedPages(Mapped, Mdl);
    FreeLargeMdl(Mdl);
}

MDL_TEST(advancing_an_mdl_over_a_part_of_a_large_page_splits_it)
{
    ULONG_PTR Va = TestVmAllocate(0, PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PUCHAR Block = MmAllocateContiguousMemory(2 * LARGE, Everywhere());
    PUCHAR Aligned = (PUCHAR)(((ULONG_PTR)Block + LARGE - 1) & ~(LARGE - 1));
    PMDL Mdl = NewMdl((ULONG_PTR)Aligned, LARGE);
    PUCHAR Mapped;

    assert_int_equal(TryLock(Mdl, KernelMode, IoWriteAccess), STATUS_SUCCESS);
    Mapped = SystemAddress(Mdl);
    assert_true(MiIsLargePageAt((ULONG_PTR)Mapped) == (MmGetMdlPfnArray(Mdl)[0] % MI_PTES_PER_PAGE == 0));
    assert_int_equal(MiSystemLargePages(), 1);
    Poke(Mapped + 5 * PAGE_SIZE, 0x11);
    assert_int_equal(MmAdvanceMdl(Mdl, 5 * PAGE_SIZE), STATUS_SUCCESS);
    assert_int_equal(MiSystemLargePages(), 0);
    assert_false(MmIsAddressValid(Mapped + 4 * PAGE_SIZE));
    assert_int_equal(Peek(Mdl->MappedSystemVa), 0x11);
    MiCheckSystemPtes(3);
    UnlockAndFree(Mdl);
    MmFreeContiguousMemory(Block);
    TestVmFree(Va, 0, MEM_RELEASE);
}

static void FreeMappingAddress(void *Address)
{
    MmFreeMappingAddress(Address, MI_TAG_MDL);
}

MDL_TEST(reserved_addresses_take_large_pages_where_they_fit)
{
    PUCHAR Address = MmAllocateMappingAddress(2 * LARGE, MI_TAG_MDL);
    PMDL Mdl = LargeMdl();
    PUCHAR Mapped = MmMapLockedPagesWithReservedMapping(Address, MI_TAG_MDL, Mdl, MmCached);

    assert_ptr_equal(Mapped, Address);
    Poke(Mapped + LARGE - 1, 7);
    TestExpectBugCheck(SYSTEM_PTE_MISUSE, FreeMappingAddress, Address);
    assert_int_equal(TestBugCheckParameters[0], 0x103);
    KiResumeAfterBugCheck(KiCurrentThread());
    LeaveKernel();
    MmUnmapReservedMapping(Address, MI_TAG_MDL, Mdl);
    MmFreeMappingAddress(Address, MI_TAG_MDL);
    FreeLargeMdl(Mdl);
}

/* ---- Failures ------------------------------------------------------------------------------------------------------------ */

MDL_TEST(every_failure_leaves_nothing_behind)
{
    for (KI_INJECT Kind = KiInjectFrame; Kind <= KiInjectCommit; Kind++)
    {
        for (ULONG64 Nth = 1;; Nth++)
        {
            ULONG64 Failed = 0;
            PVOID Block;
            PVOID Io;

            MiTrimSystemPtes();
            KiSetInjection(Kind, Nth, TRUE);
            Block = MmAllocateNonCachedMemory(LARGE + PAGE_SIZE);
            Io = MmMapIoSpace(At(NOWHERE_AT), 2 * LARGE, MmNonCached);
            KiQueryInjection(Kind, &Failed);
            KiSetInjection(Kind, 0, FALSE);
            MiCheckSystemPtes(3);
            if (Block != NULL)
            {
                MmFreeNonCachedMemory(Block, LARGE + PAGE_SIZE);
            }
            if (Io != NULL)
            {
                MmUnmapIoSpace(Io, 2 * LARGE);
            }
            assert_int_equal(MiSystemPtesInUse(), 0);
            assert_int_equal(MiSystemLargePages(), 0);
            if (Failed == 0)
            {
                break;
            }
        }
    }
}

/* ---- Against an array ------------------------------------------------------------------------------------------------------- */

#define RUNS      12u
#define RUN_PAGES 2000u

/* A run, and for each of its pages the frame that is mapped there. */
typedef struct _RUN
{
    ULONG_PTR Va;
    SIZE_T Pages;
    PFN_NUMBER Frames[RUN_PAGES];
} RUN;

static void CheckRun(const RUN *Run)
{
    for (SIZE_T Page = 0; Page < Run->Pages; Page++)
    {
        MMPTE Pte = MiReadSystemPte(Run->Va + (Page << PAGE_SHIFT));

        assert_int_equal(Pte.Hard.Valid, Run->Frames[Page] != 0);
        assert_int_equal(Pte.Hard.PageFrameNumber, Run->Frames[Page]);
        assert_false(Pte.Hard.LargePage);
        assert_int_equal((Pte.Long & MM_PTE_PHYSICAL) != 0, Run->Frames[Page] != 0);
    }
}

static void ReserveAndMap(TEST_RANDOM *Random, RUN *Run, MMPTE Template)
{
    PFN_NUMBER First = (NOWHERE_AT >> PAGE_SHIFT) + TestBelow(Random, 4) * 256;

    Run->Pages = 1 + TestBelow(Random, TestBelow(Random, 2) == 0 ? RUN_PAGES : 700);
    for (SIZE_T Page = 0; Page < Run->Pages; Page++)
    {
        Run->Frames[Page] = First + Page;
    }
    if (TestBelow(Random, 3) == 0)
    {
        Run->Va = MiReserveSystemPtesForRun(First, Run->Pages);
        MiMapSystemRun(Run->Va, First, Run->Pages, Template);
        return;
    }
    if (TestBelow(Random, 2) == 0)
    {
        SIZE_T Broken = TestBelow(Random, Run->Pages);

        Run->Frames[Broken] += 1u << 20; /* one page does not fit in */
    }
    Run->Va = MiReserveSystemPtesForFrames(Run->Frames, Run->Pages);
    MiMapSystemPtes(Run->Va, Run->Frames, Run->Pages, Template);
}

static void UnmapPart(TEST_RANDOM *Random, RUN *Run)
{
    SIZE_T First = TestBelow(Random, Run->Pages);
    SIZE_T Pages = 1 + TestBelow(Random, Run->Pages - First);

    MiUnmapSystemPtes(Run->Va + (First << PAGE_SHIFT), Pages);
    memset(Run->Frames + First, 0, Pages * sizeof(PFN_NUMBER));
}

MDL_TEST(a_random_mix_of_large_and_small_pages_maps_what_was_asked)
{
    static RUN Runs[RUNS];
    TEST_RANDOM Random = TestSeed("a_random_mix_of_large_and_small_pages_maps_what_was_asked");
    MMPTE Template = MiMakeMappingTemplate(MM_READWRITE | MM_NOCACHE);
    ULONG Seen = 0;

    Template.Long |= MM_PTE_PHYSICAL;
    memset(Runs, 0, sizeof(Runs));
    for (ULONG64 Step = TestIterations(1500); Step != 0; Step--)
    {
        RUN *Run = &Runs[TestBelow(&Random, RUNS)];

        if (Run->Pages == 0)
        {
            ReserveAndMap(&Random, Run, Template);
        }
        else if (TestBelow(&Random, 3) == 0)
        {
            MiUnmapSystemPtes(Run->Va, Run->Pages);
            MiReleaseSystemPtes(Run->Va, Run->Pages);
            Run->Pages = 0;
        }
        else if (TestBelow(&Random, 2) == 0)
        {
            UnmapPart(&Random, Run);
        }
        else
        {
            (void)MiSystemPte(Run->Va + (TestBelow(&Random, Run->Pages) << PAGE_SHIFT));
        }
        CheckRun(Run);
        MiCheckSystemPtes(Step % 16 == 0 ? 3 : 2);
        Seen = MiSystemLargePages() > Seen ? MiSystemLargePages() : Seen;
        if (Step % 64 == 0)
        {
            MiTrimSystemPtes();
        }
    }
    assert_true(Seen >= 3);
    for (ULONG Index = 0; Index < RUNS; Index++)
    {
        if (Runs[Index].Pages != 0)
        {
            MiUnmapSystemPtes(Runs[Index].Va, Runs[Index].Pages);
            MiReleaseSystemPtes(Runs[Index].Va, Runs[Index].Pages);
        }
    }
    assert_int_equal(MiSystemLargePages(), 0);
}

/* ---- Several at once -------------------------------------------------------------------------------------------------------- */

static void SplitAndRead(ULONG Index, void *Context)
{
    ULONG_PTR Va = (ULONG_PTR)Context;

    for (ULONG Page = Index; Page < MI_PTES_PER_PAGE; Page += 3)
    {
        MMPTE Pte = MiReadSystemPte(Va + ((ULONG_PTR)Page << PAGE_SHIFT));

        if (!Pte.Hard.Valid || Pte.Hard.PageFrameNumber != (NOWHERE_AT >> PAGE_SHIFT) + Page ||
            MiReadPte(MiSystemPte(Va + ((ULONG_PTR)Page << PAGE_SHIFT))).Long != Pte.Long)
        {
            abort();
        }
    }
}

static void several_threads_split_one_page_once(void **state)
{
    static const TEST_MACHINE Machine = { .RamMegabytes = 16, .Processors = 2 };
    MMPTE Template;

    (void)state;
    TestBootMachine(&Machine);
    Template = MiMakeMappingTemplate(MM_READWRITE | MM_NOCACHE);
    Template.Long |= MM_PTE_PHYSICAL;
    for (ULONG Round = 0; Round < 50; Round++)
    {
        ULONG_PTR Va = MiReserveSystemPtesForRun(NOWHERE_AT >> PAGE_SHIFT, MI_PTES_PER_PAGE);

        MiMapSystemRun(Va, NOWHERE_AT >> PAGE_SHIFT, MI_PTES_PER_PAGE, Template);
        assert_int_equal(MiSystemLargePages(), 1);
        TestRunThreads(3, SplitAndRead, (void *)Va);
        assert_int_equal(MiSystemLargePages(), 0);
        MiCheckSystemPtes(3);
        MiUnmapSystemPtes(Va, MI_PTES_PER_PAGE);
        MiReleaseSystemPtes(Va, MI_PTES_PER_PAGE);
    }
    TestShutdownMachine();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(noncached_memory_of_2_megabytes_is_a_large_page),
        cmocka_unit_test(more_than_2_megabytes_has_large_pages_and_small_ones),
        cmocka_unit_test(a_run_that_is_not_aligned_is_mapped_by_small_pages),
        cmocka_unit_test(device_memory_of_2_megabytes_is_mapped_large),
        cmocka_unit_test(nonpaged_pool_without_a_long_run_takes_2_megabytes_where_they_are),
        cmocka_unit_test(mdls_describe_memory_behind_large_pages),
        cmocka_unit_test(protection_of_the_whole_keeps_the_large_page_and_of_a_part_splits_it),
        cmocka_unit_test(no_access_and_back_again),
        cmocka_unit_test(advancing_an_mdl_over_a_part_of_a_large_page_splits_it),
        cmocka_unit_test(reserved_addresses_take_large_pages_where_they_fit),
        cmocka_unit_test(every_failure_leaves_nothing_behind),
        cmocka_unit_test(a_random_mix_of_large_and_small_pages_maps_what_was_asked),
        cmocka_unit_test(several_threads_split_one_page_once),
    };

    return cmocka_run_group_tests_name("mdl.largepage", tests, NULL, NULL);
}
