/* SPDX-License-Identifier: MIT */
/*
 * Contiguous memory where none is: pages in use, locked in a working set, shared by clones, modified or paged pool move out of the way and
 * keep their contents; pages that a device may be writing to stay where they are; threads that use their memory meanwhile see nothing.
 */
#include "mdl_test.h"

#define RUN_PAGES 256u

static PHYSICAL_ADDRESS At(ULONG64 Address)
{
    PHYSICAL_ADDRESS Physical = { .QuadPart = (LONG64)Address };

    return Physical;
}

static PFN_NUMBER FrameAt(ULONG_PTR Va)
{
    PMMPTE PointerPte;

    if (MiWalk(TestUserProcess->Space.TopLevel, Va, &PointerPte) != 0 || !MiReadPte(PointerPte).Hard.Valid)
    {
        return 0;
    }
    return MiReadPte(PointerPte).Hard.PageFrameNumber;
}

/* So many pages that no frame is left that was never used, then every second of them given back. */
static ULONG_PTR Fragment(SIZE_T *Pages)
{
    ULONG_PTR Va;

    *Pages = MiAvailablePages() - MiState.Physical->MinimumReserve - 64;
    Va = TestVmAllocate(0, *Pages * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    for (SIZE_T Page = 0; Page < *Pages; Page++)
    {
        TestVmPut(Va + Page * PAGE_SIZE + Page % 4096, (UCHAR)(Page * 7 + 1));
    }
    for (SIZE_T Page = 1; Page < *Pages; Page += 2)
    {
        TestVmFree(Va + Page * PAGE_SIZE, PAGE_SIZE, MEM_DECOMMIT);
    }
    return Va;
}

static void CheckFragments(ULONG_PTR Va, SIZE_T Pages)
{
    for (SIZE_T Page = 0; Page < Pages; Page += 2)
    {
        assert_int_equal(TestVmGet(Va + Page * PAGE_SIZE + Page % 4096), (UCHAR)(Page * 7 + 1));
    }
}

static PVOID AllocateRun(void)
{
    return MmAllocateContiguousMemory(RUN_PAGES * PAGE_SIZE, At(MAXLONG64));
}

static void CheckRun(PUCHAR Run)
{
    PFN_NUMBER First = (PFN_NUMBER)(MmGetPhysicalAddress(Run).QuadPart >> PAGE_SHIFT);

    assert_non_null(Run);
    for (SIZE_T Page = 0; Page < RUN_PAGES; Page++)
    {
        assert_int_equal(MmGetPhysicalAddress(Run + Page * PAGE_SIZE).QuadPart >> PAGE_SHIFT, First + Page);
        assert_int_equal(Run[Page * PAGE_SIZE + Page], 0);
    }
    memset(Run, 0xee, RUN_PAGES * PAGE_SIZE);
}

MDL_TEST(pages_in_use_move_and_keep_their_contents)
{
    SIZE_T Pages;
    ULONG_PTR Va = Fragment(&Pages);
    SIZE_T WorkingSet = MiWorkingSetPages(&TestUserProcess->Space);
    PUCHAR Run = AllocateRun();

    CheckRun(Run);
    /* Nobody lost a page of his working set, and nothing went to the paging file. */
    assert_int_equal(MiWorkingSetPages(&TestUserProcess->Space), WorkingSet);
    MiCheckWorkingSet(&TestUserProcess->Space);
    MiCheckPhysical(3);
    CheckFragments(Va, Pages);
    MmFreeContiguousMemory(Run);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(pages_on_the_modified_list_move_with_their_entries)
{
    SIZE_T Pages;
    ULONG_PTR Va = Fragment(&Pages);
    PUCHAR Run;

    MiEmptyWorkingSet(&TestUserProcess->Space);
    Run = AllocateRun();
    CheckRun(Run);
    MiCheckPhysical(3);
    CheckFragments(Va, Pages);
    MmFreeContiguousMemory(Run);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(pages_shared_by_clones_move_too)
{
    PEPROCESS Child = TestNewProcess("child");
    SIZE_T Pages;
    ULONG_PTR Va = Fragment(&Pages);
    PUCHAR Run;

    /* Most of what is free goes to the page tables of the child; the rest suffices. */
    assert_int_equal(MiCloneAddressSpace(&TestUserProcess->Space, &Child->Space), STATUS_SUCCESS);
    Run = AllocateRun();
    CheckRun(Run);
    MiCheckPhysical(3);
    CheckFragments(Va, Pages);
    TestRunInProcess(Child);
    CheckFragments(Va, Pages);
    TestRunInProcess(TestUserProcess);
    MmFreeContiguousMemory(Run);
    TestEndProcess(Child);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(pages_locked_in_a_working_set_move_and_stay_locked)
{
    SIZE_T Pages;
    ULONG_PTR Va = Fragment(&Pages);
    PMMPTE PointerPte;
    PUCHAR Run;

    assert_int_equal(MiSetWorkingSetLimits(&TestUserProcess->Space, Pages / 2 + 200, Pages, 0),
                     STATUS_SUCCESS);
    for (SIZE_T Page = 0; Page < Pages; Page += 2)
    {
        PVOID Base = (PVOID)(Va + Page * PAGE_SIZE);
        SIZE_T Size = PAGE_SIZE;

        assert_int_equal(NtLockVirtualMemory(NtCurrentProcess(), &Base, &Size, MAP_PROCESS), STATUS_SUCCESS);
    }
    Run = AllocateRun();
    CheckRun(Run);
    for (SIZE_T Page = 0; Page < Pages; Page += 2)
    {
        assert_int_equal(MiWalk(TestUserProcess->Space.TopLevel, Va + Page * PAGE_SIZE, &PointerPte), 0);
        assert_true(MiReadPte(PointerPte).Hard.Valid);
        assert_int_equal(MiReadPte(PointerPte).Hard.WsleLocked, 1);
    }
    CheckFragments(Va, Pages);
    MmFreeContiguousMemory(Run);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(pages_of_an_mdl_stay_where_they_are)
{
    SIZE_T Pages;
    ULONG_PTR Va = Fragment(&Pages);
    PMDL Mdls[64];
    PFN_NUMBER Frames[64];
    PUCHAR Run;

    /* One in each possible window: nothing can be had. */
    for (ULONG Index = 0; Index < 64; Index++)
    {
        Mdls[Index] = NULL;
    }
    for (SIZE_T Page = 0, Index = 0; Page < Pages && Index < 64; Page += RUN_PAGES / 4, Index++)
    {
        Mdls[Index] = LockedMdl(Va + Page * PAGE_SIZE, PAGE_SIZE, IoWriteAccess);
        Frames[Index] = FrameAt(Va + Page * PAGE_SIZE);
    }
    Run = AllocateRun();
    for (ULONG Index = 0; Index < 64 && Mdls[Index] != NULL; Index++)
    {
        assert_int_equal(MmGetMdlPfnArray(Mdls[Index])[0], Frames[Index]);
        assert_true(References(Frames[Index]) >= 1);
        UnlockAndFree(Mdls[Index]);
    }
    if (Run != NULL)
    {
        CheckRun(Run);
        MmFreeContiguousMemory(Run);
    }
    Run = AllocateRun();
    CheckRun(Run);
    CheckFragments(Va, Pages);
    MmFreeContiguousMemory(Run);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(limits_and_boundaries_hold_for_runs_that_are_made)
{
    SIZE_T Pages;
    ULONG_PTR Va = Fragment(&Pages);
    ULONG64 Boundary = RUN_PAGES * PAGE_SIZE;
    PUCHAR Run = MmAllocateContiguousMemorySpecifyCache(128 * PAGE_SIZE, At(4 << 20), At((12 << 20) - 1),
                                                        At(Boundary), MmCached);
    ULONG64 First = (ULONG64)MmGetPhysicalAddress(Run).QuadPart;

    assert_non_null(Run);
    assert_in_range(First, 4 << 20, (12 << 20) - 128 * PAGE_SIZE);
    assert_int_equal(First / Boundary, (First + 128 * PAGE_SIZE - 1) / Boundary);
    CheckFragments(Va, Pages);
    MmFreeContiguousMemory(Run);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(every_failure_on_the_way_gives_everything_back)
{
    SIZE_T Pages;
    ULONG_PTR Va = Fragment(&Pages);

    for (KI_INJECT Kind = KiInjectFrame; Kind <= KiInjectCommit; Kind++)
    {
        ULONG64 Failed = 1;

        for (ULONG64 Nth = 1; Failed != 0 && Nth < 400; Nth += 1 + Nth / 3)
        {
            PVOID Run;

            KiSetInjection(Kind, Nth, FALSE);
            Run = AllocateRun();
            Failed = 0;
            KiQueryInjection(Kind, &Failed);
            KiSetInjection(Kind, 0, FALSE);
            if (Run != NULL)
            {
                MmFreeContiguousMemory(Run);
            }
            MiCheckPhysical(2);
        }
    }
    CheckFragments(Va, Pages);
    TestVmFree(Va, 0, MEM_RELEASE);
}

/* ---- While others work --------------------------------------------------------------------------------------------------- */

#define WRITERS 2u

typedef struct _WRITERS_RUN
{
    PEPROCESS Process;
    ULONG_PTR Base;
    SIZE_T Pages;
    ULONG64 Rounds;
    volatile ULONG Done;
    volatile ULONG Wrong;
    ULONG Made;
} WRITERS_RUN;

/* Thread 0 makes runs; the others count up a word of their own in every second page, natively. */
static void Write(ULONG Index, void *Context)
{
    WRITERS_RUN *Run = Context;
    ULONG64 Round = 0;

    if (Index == 0)
    {
        for (ULONG64 Count = 0; Count < Run->Rounds; Count++)
        {
            PVOID Memory = AllocateRun();

            if (Memory != NULL)
            {
                Run->Made++;
                MmFreeContiguousMemory(Memory);
            }
        }
        __atomic_store_n(&Run->Done, 1, __ATOMIC_RELEASE);
        return;
    }
    PsSetThreadProcess(Run->Process);
    while (__atomic_load_n(&Run->Done, __ATOMIC_ACQUIRE) == 0)
    {
        Round++;
        for (SIZE_T Page = 0; Page < Run->Pages; Page += 2)
        {
            volatile ULONG64 *Word = (volatile ULONG64 *)(Run->Base + Page * PAGE_SIZE + 2048 + 64 * Index);

            if (*Word != Round - 1)
            {
                __atomic_fetch_add(&Run->Wrong, 1, __ATOMIC_RELAXED);
            }
            *Word = Round;
        }
    }
    PsSetThreadProcess(NULL);
}

static void threads_do_not_notice_that_their_pages_move(void **state)
{
    static const TEST_MACHINE Machine = { .Processors = 2, .PagingFiles = 1, .Workers = TRUE };
    WRITERS_RUN Run = { .Rounds = TestIterations(40) };

    (void)state;
    TestEnterProcess(&Machine);
    Run.Process = TestUserProcess;
    Run.Base = Fragment(&Run.Pages);
    for (SIZE_T Page = 0; Page < Run.Pages; Page += 2)
    {
        for (ULONG Index = 1; Index <= WRITERS; Index++)
        {
            ULONG64 Zero = 0;

            assert_int_equal(
                HostSimWrite(Run.Base + Page * PAGE_SIZE + 2048 + 64 * Index, &Zero, sizeof(Zero), NULL),
                STATUS_SUCCESS);
        }
    }
    EnterKernel();
    TestRunThreads(WRITERS + 1, Write, &Run);
    LeaveKernel();
    assert_int_equal(Run.Wrong, 0);
    assert_int_not_equal(Run.Made, 0);
    TestVmFree(Run.Base, 0, MEM_RELEASE);
    TestLeaveProcess();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_in_use_move_and_keep_their_contents),
        cmocka_unit_test(pages_on_the_modified_list_move_with_their_entries),
        cmocka_unit_test(pages_shared_by_clones_move_too),
        cmocka_unit_test(pages_locked_in_a_working_set_move_and_stay_locked),
        cmocka_unit_test(pages_of_an_mdl_stay_where_they_are),
        cmocka_unit_test(limits_and_boundaries_hold_for_runs_that_are_made),
        cmocka_unit_test(every_failure_on_the_way_gives_everything_back),
        cmocka_unit_test(threads_do_not_notice_that_their_pages_move),
    };

    return cmocka_run_group_tests_name("mdl.contiguous", tests, NULL, NULL);
}
