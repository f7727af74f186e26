/* SPDX-License-Identifier: MIT */
/*
 * Address Windowing Extensions: physical pages by number, windows onto them, and random use against an oracle. Sources: Microsoft Learn,
 * AllocateUserPhysicalPages, MapUserPhysicalPages, MapUserPhysicalPagesScatter, FreeUserPhysicalPages, VirtualAlloc (MEM_PHYSICAL),
 * "Address Windowing Extensions".
 */
#include "process.h"

#include "mdl/mdl.h"

#define PAGES 16u

static ULONG_PTR Frames[PAGES];

static ULONG_PTR Allocate(ULONG_PTR *Numbers, ULONG_PTR Count)
{
    assert_int_equal(NtAllocateUserPhysicalPages(NtCurrentProcess(), &Count, Numbers), STATUS_SUCCESS);
    return Count;
}

static void Free(ULONG_PTR *Numbers, ULONG_PTR Count)
{
    ULONG_PTR Freed = Count;

    assert_int_equal(NtFreeUserPhysicalPages(NtCurrentProcess(), &Freed, Numbers), STATUS_SUCCESS);
    assert_int_equal(Freed, Count);
}

static NTSTATUS MapAt(ULONG_PTR Va, ULONG_PTR Count, ULONG_PTR *Numbers)
{
    return NtMapUserPhysicalPages((PVOID)Va, Count, Numbers);
}

static ULONG_PTR Window(SIZE_T Pages)
{
    return TestVmAllocate(0, Pages * PAGE_SIZE, MEM_RESERVE | MEM_PHYSICAL, PAGE_READWRITE);
}

static void pages_are_seen_through_windows(void **State)
{
    LONG64 Resident = MiState.Physical->ResidentAvailable;
    SIZE_T Charge = TestVmCharge();
    ULONG_PTR Base = Window(2 * PAGES);
    UCHAR Value;

    (void)State;
    assert_int_equal(Allocate(Frames, PAGES), PAGES);
    assert_true(MiState.Physical->ResidentAvailable <= Resident - PAGES); /* and what describes them */
    assert_int_equal(TestVmTryGet(Base, &Value), STATUS_ACCESS_VIOLATION);
    assert_int_equal(MapAt(Base, PAGES, Frames), STATUS_SUCCESS);
    TestVmCheckZero(Base, PAGES);
    for (ULONG Page = 0; Page < PAGES; Page++)
    {
        TestVmPut(Base + Page * PAGE_SIZE, (UCHAR)(7 + Page));
    }
    TestVmPageOut(); /* never these */
    assert_int_equal(TestVmGet(Base), 7);
    assert_int_equal(MapAt(Base, PAGES, NULL), STATUS_SUCCESS);
    assert_int_equal(TestVmTryGet(Base, &Value), STATUS_ACCESS_VIOLATION);
    assert_int_equal(MapAt(Base + PAGES * PAGE_SIZE, PAGES, Frames), STATUS_SUCCESS);
    for (ULONG Page = 0; Page < PAGES; Page++)
    {
        assert_int_equal(TestVmGet(Base + (PAGES + Page) * PAGE_SIZE), 7 + Page);
    }
    Free(Frames, PAGES); /* unmaps */
    assert_int_equal(TestVmTryGet(Base + PAGES * PAGE_SIZE, &Value), STATUS_ACCESS_VIOLATION);
    TestVmFree(Base, 0, MEM_RELEASE);
    assert_int_equal(TestVmCharge(), Charge);
}

static void wrong_frames_and_addresses_are_refused(void **State)
{
    ULONG_PTR Base = Window(PAGES);
    ULONG_PTR Private = TestVmAllocate(0, 0x10000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    ULONG_PTR Other[3];
    PVOID Addresses[2] = { (PVOID)Base, (PVOID)Private };

    (void)State;
    Allocate(Frames, 4);
    assert_int_equal(MapAt(Private, 1, Frames), STATUS_INVALID_PARAMETER_1);
    assert_int_equal(MapAt(Base + (PAGES - 1) * PAGE_SIZE, 2, Frames), STATUS_INVALID_PARAMETER_1);
    assert_int_equal(MapAt(~(ULONG_PTR)0xfff, 2, Frames), STATUS_INVALID_PARAMETER_1);
    assert_int_equal(MapAt(Base, ~(ULONG_PTR)0, Frames), STATUS_INVALID_PARAMETER_2);
    assert_int_equal(MapAt(Base, ~(ULONG_PTR)0, NULL), STATUS_INVALID_PARAMETER_1);
    assert_int_equal(MapAt(Base, 0, NULL), STATUS_SUCCESS);
    assert_int_equal(NtMapUserPhysicalPagesScatter(Addresses, 2, Frames), STATUS_INVALID_PARAMETER_1);
    Other[0] = Frames[0];
    Other[1] = Frames[0];
    assert_int_equal(MapAt(Base, 2, Other), STATUS_CONFLICTING_ADDRESSES); /* twice */
    Other[1] = 1;                                                          /* somebody's, or nobody's */
    assert_int_equal(MapAt(Base, 2, Other), STATUS_CONFLICTING_ADDRESSES);
    Other[1] = ~(ULONG_PTR)0;
    assert_int_equal(MapAt(Base, 2, Other), STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(TestVmTryGet(Base, &(UCHAR){ 0 }), STATUS_ACCESS_VIOLATION); /* nothing came */
    assert_int_equal(MapAt(Base, 1, Frames), STATUS_SUCCESS);
    assert_int_equal(MapAt(Base, 1, Frames), STATUS_SUCCESS);                        /* it is there already */
    assert_int_equal(MapAt(Base + 0x1000, 1, Frames), STATUS_CONFLICTING_ADDRESSES); /* one address only */
    assert_int_equal(MapAt(Base, 1, &Frames[1]), STATUS_SUCCESS);                    /* makes room */
    assert_int_equal(MapAt(Base + 0x1000, 1, Frames), STATUS_SUCCESS);
    Other[0] = Frames[3];
    Other[1] = 1;
    Other[2] = Frames[2];
    {
        ULONG_PTR Count = 3;

        assert_int_equal(NtFreeUserPhysicalPages(NtCurrentProcess(), &Count, Other),
                         STATUS_CONFLICTING_ADDRESSES);
        assert_int_equal(Count, 1);
    }
    Free(Frames, 3);
}

static void a_window_is_no_ordinary_memory(void **State)
{
    ULONG_PTR Base = Window(PAGES);
    PVOID Address = (PVOID)(Base + 0x1000);
    SIZE_T Size = 0x1000;
    MEMORY_BASIC_INFORMATION Region;
    PEPROCESS Child = TestNewProcess("child");

    (void)State;
    Allocate(Frames, 2);
    assert_int_equal(MapAt(Base, 2, Frames), STATUS_SUCCESS);
    TestVmFill(Base, 2, 3);
    assert_int_equal(TestVmTryProtect(Base, 0x1000, PAGE_READONLY), STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(TestVmTryAllocate(Base, 0x1000, MEM_COMMIT, PAGE_READWRITE),
                     STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(NtFreeVirtualMemory(NtCurrentProcess(), &Address, &Size, MEM_DECOMMIT),
                     STATUS_UNABLE_TO_FREE_VM);
    assert_int_equal(NtFreeVirtualMemory(NtCurrentProcess(), &Address, &Size, MEM_RELEASE),
                     STATUS_FREE_VM_NOT_AT_BASE);
    Region = TestVmQuery(Base);
    assert_int_equal(Region.Type, MEM_PRIVATE);
    assert_int_equal(Region.AllocationProtect, PAGE_READWRITE);
    assert_int_equal(Region.State, MEM_COMMIT);
    assert_int_equal(Region.RegionSize, 0x2000);
    assert_int_equal(TestVmQuery(Base + 0x2000).State, MEM_RESERVE);
    /* Documented: children do not get it. */
    assert_int_equal(MiCloneAddressSpace(&TestUserProcess->Space, &Child->Space), STATUS_SUCCESS);
    assert_null(MiLocateVad(&Child->Space, Base >> PAGE_SHIFT));
    assert_int_equal(Child->Space.AwePages, 0);
    TestEndProcess(Child);
    TestVmFree(Base, 0, MEM_RELEASE);
    /* The pages outlive their window. */
    Base = Window(PAGES);
    assert_int_equal(MapAt(Base, 2, Frames), STATUS_SUCCESS);
    TestVmCheck(Base, 2, 3);
    assert_int_equal(TestUserProcess->Space.AwePages, 2);
    /* The process ends with pages and mappings: the teardown counts frames and commitment. */
}

/* An MDL holds frames that their process frees: they go with it. */
static void locked_pages_stay_until_they_are_unlocked(void **State)
{
    ULONG_PTR Base = Window(PAGES);
    PMDL Mdl;
    PFN_NUMBER Frame;

    (void)State;
    Allocate(Frames, 1);
    assert_int_equal(MapAt(Base, 1, Frames), STATUS_SUCCESS);
    TestVmPut(Base, 5);
    Mdl = IoAllocateMdl((PVOID)Base, PAGE_SIZE, FALSE, FALSE, NULL);
    MmProbeAndLockPages(Mdl, UserMode, IoReadAccess);
    Frame = MmGetMdlPfnArray(Mdl)[0];
    assert_int_equal(Frame, Frames[0]);
    Free(Frames, 1);
    assert_int_equal(*(UCHAR *)PortDirectMap(Frame), 5);
    assert_int_equal(MiPfn(Frame)->ReferenceCount, 1);
    MmUnlockPages(Mdl);
    IoFreeMdl(Mdl);
    assert_int_equal(MiPfn(Frame)->ReferenceCount, 0);
    TestVmFree(Base, 0, MEM_RELEASE);
}

static void one_gets_what_there_is(void **State)
{
    ULONG_PTR *Numbers = calloc(MiState.Physical->NumberOfPages, sizeof(*Numbers));
    ULONG_PTR Count = ~(ULONG_PTR)0;
    ULONG_PTR More = 1;

    (void)State;
    assert_int_equal(NtAllocateUserPhysicalPages(NtCurrentProcess(), &Count, Numbers), STATUS_SUCCESS);
    assert_true(Count > 0 && Count < MiState.Physical->NumberOfPages);
    assert_false(NT_SUCCESS(NtAllocateUserPhysicalPages(NtCurrentProcess(), &More, Frames)));
    for (ULONG_PTR Index = 1; Index < Count; Index++)
    {
        assert_int_not_equal(Numbers[Index], Numbers[Index - 1]);
    }
    Free(Numbers, Count);
    free(Numbers);
}

/* ---- Failures, random use -------------------------------------------------------------------------------------- */

static NTSTATUS UseOnce(ULONG_PTR Base)
{
    ULONG_PTR Count = 3;
    NTSTATUS Status = NtAllocateUserPhysicalPages(NtCurrentProcess(), &Count, Frames);
    ULONG_PTR Freed = Count;

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = MapAt(Base, Count, Frames);
    if (NT_SUCCESS(Status))
    {
        TestVmFill(Base, Count, 1);
        TestVmCheck(Base, Count, 1);
    }
    assert_int_equal(NtFreeUserPhysicalPages(NtCurrentProcess(), &Freed, Frames), STATUS_SUCCESS);
    return NT_SUCCESS(Status) && Count < 3 ? STATUS_INSUFFICIENT_RESOURCES : Status;
}

static void whatever_fails_nothing_is_left(void **State)
{
    static const KI_INJECT Kinds[] = { KiInjectFrame, KiInjectPool, KiInjectCommit };
    ULONG_PTR Base = Window(PAGES);

    (void)State;
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Kinds); Index++)
    {
        TestWithFailures(Kinds[Index], UseOnce, Base);
        assert_int_equal(TestUserProcess->Space.AwePages, 0);
    }
    TestVmFree(Base, 0, MEM_RELEASE);
}

#define SLOTS 1200u /* of the window: three page tables */

static void random_use_agrees_with_an_oracle(void **State)
{
    static ULONG Shown[SLOTS]; /* index of the page + 1, 0: nothing */
    static ULONG At[PAGES];    /* slot + 1 */
    static UCHAR Contents[PAGES];
    TEST_RANDOM Random = TestSeed("awe");
    ULONG_PTR Base = Window(SLOTS);

    (void)State;
    memset(Shown, 0, sizeof(Shown));
    memset(At, 0, sizeof(At));
    memset(Contents, 0, sizeof(Contents));
    Allocate(Frames, PAGES);
    for (ULONG64 Step = TestIterations(4000); Step > 0; Step--)
    {
        ULONG Page = (ULONG)TestBelow(&Random, PAGES);
        ULONG Slot = (ULONG)TestBelow(&Random, SLOTS);
        ULONG_PTR Va = Base + (ULONG_PTR)Slot * PAGE_SIZE;
        UCHAR Value;

        switch (TestBelow(&Random, 6))
        {
        case 0: /* map */
        case 1:
            assert_int_equal(MapAt(Va, 1, &Frames[Page]), At[Page] == 0 || At[Page] == Slot + 1
                                                              ? STATUS_SUCCESS
                                                              : STATUS_CONFLICTING_ADDRESSES);
            if (At[Page] == 0)
            {
                if (Shown[Slot] != 0)
                {
                    At[Shown[Slot] - 1] = 0;
                }
                Shown[Slot] = Page + 1;
                At[Page] = Slot + 1;
            }
            break;
        case 2: /* unmap where something is */
            if (At[Page] != 0)
            {
                PVOID Address = (PVOID)(Base + (ULONG_PTR)(At[Page] - 1) * PAGE_SIZE);

                assert_int_equal(NtMapUserPhysicalPagesScatter(&Address, 1, NULL), STATUS_SUCCESS);
                Shown[At[Page] - 1] = 0;
                At[Page] = 0;
            }
            break;
        case 3: /* a new page for an old one */
        {
            Free(&Frames[Page], 1);
            if (At[Page] != 0)
            {
                Shown[At[Page] - 1] = 0;
                At[Page] = 0;
            }
            Allocate(&Frames[Page], 1);
            Contents[Page] = 0;
            break;
        }
        case 4:
            if (At[Page] != 0)
            {
                Contents[Page] = (UCHAR)TestDraw(&Random);
                TestVmPut(Base + (ULONG_PTR)(At[Page] - 1) * PAGE_SIZE + 9, Contents[Page]);
            }
            break;
        default:
            Slot = At[Page] != 0 ? At[Page] - 1 : Slot;
            Va = Base + (ULONG_PTR)Slot * PAGE_SIZE;
            assert_int_equal(TestVmTryGet(Va + 9, &Value),
                             Shown[Slot] != 0 ? STATUS_SUCCESS : STATUS_ACCESS_VIOLATION);
            assert_true(Shown[Slot] == 0 || Value == Contents[Shown[Slot] - 1]);
            break;
        }
        if (Step % 256 == 0)
        {
            MiCheckSpace(&TestUserProcess->Space, 2);
        }
    }
    Free(Frames, PAGES);
    TestVmFree(Base, 0, MEM_RELEASE);
    assert_int_equal(TestUserProcess->Space.PageTablePages, 1);
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        TEST_IN_PROCESS(pages_are_seen_through_windows),
        TEST_IN_PROCESS(wrong_frames_and_addresses_are_refused),
        TEST_IN_PROCESS(a_window_is_no_ordinary_memory),
        TEST_IN_PROCESS(locked_pages_stay_until_they_are_unlocked),
        TEST_IN_PROCESS(one_gets_what_there_is),
        TEST_IN_PROCESS(whatever_fails_nothing_is_left),
        TEST_IN_PROCESS(random_use_agrees_with_an_oracle),
    };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
