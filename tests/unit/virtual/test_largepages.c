/* SPDX-License-Identifier: MIT */
/*
 * Large pages of processes: which requests are legal, what such memory is and is not, and that everything comes back. Sources: Microsoft Learn, "Large-Page
 * Support", VirtualAlloc (MEM_LARGE_PAGES), VirtualProtect, PSAPI_WORKING_SET_EX_BLOCK, GetLargePageMinimum.
 */
#include "process.h"

#include "mdl/mdl.h"

#define LARGE      MI_LEVEL_BYTES(1)
#define LARGE_TYPE (MEM_RESERVE | MEM_COMMIT | MEM_LARGE_PAGES)
#define PER_LARGE  (LARGE / PAGE_SIZE)

#define LARGE_TEST(Name) cmocka_unit_test_setup_teardown(Name, TestEnterLarge, TestLeaveFixture)

static ULONG_PTR Allocate(SIZE_T Pages)
{
    return TestVmAllocate(0, Pages * LARGE, LARGE_TYPE, PAGE_READWRITE);
}

/* ---- What it is ------------------------------------------------------------------------------------------------------ */

static void a_region_is_there_as_a_whole(void **State)
{
    SIZE_T Charge = TestVmCharge();
    LONG64 Resident = MiState.Physical->ResidentAvailable;
    SIZE_T WorkingSet = MiWorkingSetPages(&TestUserProcess->Space);
    ULONG64 Faults = MiQueryCounter(MiCounterDemandZeroFaults);
    ULONG_PTR Base = Allocate(3);

    (void)State;
    assert_int_equal(Base % LARGE, 0);
    assert_int_equal(TestVmCharge(), Charge + 3 * PER_LARGE);
    assert_true(MiState.Physical->ResidentAvailable <= Resident - (LONG64)(3 * PER_LARGE));
    assert_int_equal(TestUserProcess->Space.LargePages, 3);
    assert_int_equal(TestUserProcess->Space.PageTablePages, 3); /* top level, and two above no leaf table */
    TEST_EXPECT_REGION(Base, 3 * LARGE, MEM_COMMIT, PAGE_READWRITE);
    TEST_EXPECT_REGION(Base + 5 * PAGE_SIZE, 3 * LARGE - 5 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(TestVmQuery(Base).Type, MEM_PRIVATE);
    TestVmCheckZero(Base, 3 * PER_LARGE);
    TestVmFill(Base, 3 * PER_LARGE, 1);
    TestVmPageOut(); /* documented: never pageable, never in the working set */
    TestVmCheck(Base, 3 * PER_LARGE, 1);
    assert_int_equal(MiWorkingSetPages(&TestUserProcess->Space), WorkingSet);
    assert_int_equal(MiQueryCounter(MiCounterDemandZeroFaults), Faults);
    MiCheckSpace(&TestUserProcess->Space, 2);
    MiCheckWorkingSet(&TestUserProcess->Space);
    TestVmFree(Base, 0, MEM_RELEASE);
    assert_int_equal(TestVmCharge(), Charge);
    assert_int_equal(TestUserProcess->Space.LargePages, 0);
    assert_int_equal(TestUserProcess->Space.PageTablePages, 1);
    assert_int_equal(TestVmQuery(Base).State, MEM_FREE);
    assert_int_equal(TestVmTryGet(Base, &(UCHAR){ 0 }), STATUS_ACCESS_VIOLATION);
}

static void frames_lie_together_on_a_border(void **State)
{
    ULONG_PTR Base = Allocate(2);

    (void)State;
    for (SIZE_T Page = 0; Page < 2 * PER_LARGE; Page++)
    {
        PFN_NUMBER First =
            (PFN_NUMBER)(MmGetPhysicalAddress((PVOID)(Base + Page / PER_LARGE * LARGE)).QuadPart >> 12);
        ULONG64 Physical = (ULONG64)MmGetPhysicalAddress((PVOID)(Base + Page * PAGE_SIZE + 0x123)).QuadPart;

        assert_int_equal(First % PER_LARGE, 0);
        assert_int_equal(Physical, ((ULONG64)First + Page % PER_LARGE) * PAGE_SIZE + 0x123);
    }
}

static void queries_tell_large_pages(void **State)
{
    ULONG_PTR Base = Allocate(1);
    ULONG_PTR Small = TestVmAllocate(0, 0x10000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    MEMORY_REGION_INFORMATION Region;
    VM_COUNTERS_EX Counters;
    MEMORY_WORKING_SET_EX_BLOCK Large = TestWorkingSetBlock(Base + 77 * PAGE_SIZE);

    (void)State;
    assert_int_equal(Large.Valid, 1);
    assert_int_equal(Large.LargePage, 1);
    assert_int_equal(Large.Locked, 1);
    assert_int_equal(Large.Win32Protection, PAGE_READWRITE);
    assert_int_equal(Large.Shared, 0);
    TestVmPut(Small, 1);
    assert_int_equal(TestWorkingSetBlock(Small).LargePage, 0);
    assert_int_equal(NtQueryVirtualMemory(NtCurrentProcess(), (PVOID)Base, MemoryRegionInformation, &Region,
                                          sizeof(Region), NULL),
                     STATUS_SUCCESS);
    assert_int_equal(Region.PageSizeLarge, 1);
    assert_int_equal(Region.Private, 1);
    assert_int_equal(Region.RegionSize, LARGE);
    assert_int_equal(Region.CommitSize, LARGE);
    assert_int_equal(NtQueryVirtualMemory(NtCurrentProcess(), (PVOID)Small, MemoryRegionInformation, &Region,
                                          sizeof(Region), NULL),
                     STATUS_SUCCESS);
    assert_int_equal(Region.PageSizeLarge, 0);
    assert_int_equal(
        NtQueryInformationProcess(NtCurrentProcess(), ProcessVmCounters, &Counters, sizeof(Counters), NULL),
        STATUS_SUCCESS);
    assert_true(Counters.PrivateUsage >= LARGE);
    assert_true(Counters.WorkingSetSize < LARGE);
}

/* ---- What is legal ---------------------------------------------------------------------------------------------------- */

static void illegal_requests_are_refused(void **State)
{
    static const ULONG Protections[] = { PAGE_NOACCESS,
                                         PAGE_READONLY,
                                         PAGE_EXECUTE,
                                         PAGE_EXECUTE_READ,
                                         PAGE_READWRITE | PAGE_GUARD,
                                         PAGE_READWRITE | PAGE_NOCACHE,
                                         PAGE_READWRITE | PAGE_WRITECOMBINE };
    ULONG_PTR Base = Allocate(1);

    (void)State;
    TestVmFree(Base, 0, MEM_RELEASE);
    assert_int_equal(TestVmTryAllocate(0, LARGE - PAGE_SIZE, LARGE_TYPE, PAGE_READWRITE),
                     STATUS_INVALID_PARAMETER_4);
    assert_int_equal(TestVmTryAllocate(0, LARGE + 1, LARGE_TYPE, PAGE_READWRITE), STATUS_INVALID_PARAMETER_4);
    assert_int_equal(TestVmTryAllocate(Base + 0x10000, LARGE, LARGE_TYPE, PAGE_READWRITE),
                     STATUS_INVALID_PARAMETER_2);
    assert_int_equal(TestVmTryAllocate(0, LARGE, MEM_RESERVE | MEM_LARGE_PAGES, PAGE_READWRITE),
                     STATUS_INVALID_PARAMETER_5);
    assert_int_equal(TestVmTryAllocate(Base, LARGE, MEM_COMMIT | MEM_LARGE_PAGES, PAGE_READWRITE),
                     STATUS_INVALID_PARAMETER_5);
    assert_int_equal(TestVmTryAllocate(0, LARGE, LARGE_TYPE | MEM_WRITE_WATCH, PAGE_READWRITE),
                     STATUS_INVALID_PARAMETER_5);
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Protections); Index++)
    {
        assert_int_equal(TestVmTryAllocate(0, LARGE, LARGE_TYPE, Protections[Index]),
                         STATUS_INVALID_PAGE_PROTECTION);
    }
    assert_int_equal(TestVmAllocate(Base, LARGE, LARGE_TYPE, PAGE_EXECUTE_READWRITE), Base);
    assert_int_equal(TestVmTryAllocate(Base, LARGE, LARGE_TYPE, PAGE_READWRITE),
                     STATUS_CONFLICTING_ADDRESSES);
    TestVmFree(Base, 0, MEM_RELEASE);
    Base = TestVmAllocate(0, 2 * LARGE, LARGE_TYPE | MEM_TOP_DOWN, PAGE_READWRITE);
    assert_int_equal(Base % LARGE, 0);
    assert_true(Base > PORT_USER_HIGHEST / 2);
}

/* MEM_EXTENDED_PARAMETER: "The allocation is mapped using large pages." */
static void an_extended_parameter_asks_for_them_as_well(void **State)
{
    MEM_EXTENDED_PARAMETER Parameter = { .Type = MemExtendedParameterAttributeFlags,
                                         .ULong64 = MEM_EXTENDED_PARAMETER_NONPAGED_LARGE };
    PVOID Base = NULL;
    SIZE_T Size = LARGE;

    (void)State;
    assert_int_equal(NtAllocateVirtualMemoryEx(NtCurrentProcess(), &Base, &Size, MEM_RESERVE | MEM_COMMIT,
                                               PAGE_READWRITE, &Parameter, 1),
                     STATUS_SUCCESS);
    assert_int_equal(TestUserProcess->Space.LargePages, 1);
    assert_int_equal(TestWorkingSetBlock((ULONG_PTR)Base).LargePage, 1);
    TestVmFree((ULONG_PTR)Base, 0, MEM_RELEASE);
    Base = NULL;
    assert_int_equal(NtAllocateVirtualMemoryEx(NtCurrentProcess(), &Base, &Size, MEM_RESERVE, PAGE_READWRITE,
                                               &Parameter, 1),
                     STATUS_INVALID_PARAMETER_5);
    Parameter.ULong64 = MEM_EXTENDED_PARAMETER_NONPAGED_HUGE;
    assert_int_equal(NtAllocateVirtualMemoryEx(NtCurrentProcess(), &Base, &Size,
                                               MEM_RESERVE | MEM_COMMIT | MEM_LARGE_PAGES, PAGE_READWRITE,
                                               &Parameter, 1),
                     STATUS_NOT_IMPLEMENTED);
}

/*
 * MEM_64K_PAGES: "a hint to the operating system to map the memory using 64K pages, if possible ... pageable ... allocated on demand ... Size and BaseAddress
 * must both be multiples of 64K". x64 has no such pages.
 */
static void pages_of_64k_are_a_hint(void **State)
{
    const ULONG Type = MEM_RESERVE | MEM_COMMIT | MEM_64K_PAGES;
    static const ULONG Illegal[] = { MEM_RESERVE | MEM_COMMIT | MEM_64K_PAGES | MEM_WRITE_WATCH,
                                     MEM_COMMIT | MEM_64K_PAGES };
    PVOID Base = NULL;
    SIZE_T Size = 0x30000;
    PVOID Wrong = NULL;
    SIZE_T Bytes = 0x30000 + PAGE_SIZE;

    (void)State;
    assert_int_equal(
        NtAllocateVirtualMemoryEx(NtCurrentProcess(), &Wrong, &Bytes, Type, PAGE_READWRITE, NULL, 0),
        STATUS_INVALID_PARAMETER);
    assert_int_equal(
        NtAllocateVirtualMemoryEx(NtCurrentProcess(), &Base, &Size, Type, PAGE_EXECUTE_READWRITE, NULL, 0),
        STATUS_SUCCESS);
    assert_int_equal((ULONG_PTR)Base & 0xffff, 0);
    assert_int_equal(Size, 0x30000);
    assert_int_equal(TestUserProcess->Space.LargePages, 0);
    assert_int_equal(TestVmGet((ULONG_PTR)Base + Size - 1), 0);
    TestVmFill((ULONG_PTR)Base, Size / PAGE_SIZE, 9);
    TestVmTrimAll(); /* it is pageable */
    TestVmCheck((ULONG_PTR)Base, Size / PAGE_SIZE, 9);
    TestVmFree((ULONG_PTR)Base, 0, MEM_RELEASE);
    Wrong = (PVOID)((ULONG_PTR)Base + PAGE_SIZE);
    assert_int_equal(
        NtAllocateVirtualMemoryEx(NtCurrentProcess(), &Wrong, &Size, Type, PAGE_READWRITE, NULL, 0),
        STATUS_INVALID_PARAMETER);
    assert_int_equal(NtAllocateVirtualMemoryEx(NtCurrentProcess(), &Base, &Size, Type | MEM_TOP_DOWN,
                                               PAGE_READWRITE, NULL, 0),
                     STATUS_SUCCESS);
    TestVmFree((ULONG_PTR)Base, 0, MEM_RELEASE);
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Illegal); Index++)
    {
        assert_int_equal(NtAllocateVirtualMemoryEx(NtCurrentProcess(), &Base, &Size, Illegal[Index],
                                                   PAGE_READWRITE, NULL, 0),
                         STATUS_INVALID_PARAMETER_5);
    }
}

/* Documented: reserved and committed as a single operation. */
static void a_region_is_never_split(void **State)
{
    ULONG_PTR Base = Allocate(2);

    (void)State;
    TestVmFill(Base, 2 * PER_LARGE, 3);
    assert_int_equal(TestVmTryFree(Base, LARGE, MEM_DECOMMIT), STATUS_UNABLE_TO_FREE_VM);
    assert_int_equal(TestVmTryFree(Base, 2 * LARGE, MEM_DECOMMIT), STATUS_UNABLE_TO_FREE_VM);
    assert_int_equal(TestVmTryFree(Base, 0, MEM_DECOMMIT), STATUS_UNABLE_TO_FREE_VM);
    assert_int_equal(TestVmTryFree(Base, LARGE, MEM_RELEASE), STATUS_FREE_VM_NOT_AT_BASE);
    assert_int_equal(TestVmTryFree(Base + LARGE, LARGE, MEM_RELEASE), STATUS_FREE_VM_NOT_AT_BASE);
    assert_int_equal(TestVmTryFree(Base + LARGE, 0, MEM_RELEASE), STATUS_FREE_VM_NOT_AT_BASE);
    assert_int_equal(TestVmTryAllocate(Base, 4 * PAGE_SIZE, MEM_RESET, PAGE_READWRITE), STATUS_SUCCESS);
    TestVmCheck(Base, 2 * PER_LARGE, 3); /* permission to forget is no duty */
    TestVmFree(Base, 2 * LARGE, MEM_RELEASE);
}

static void protections_change_by_whole_large_pages(void **State)
{
    ULONG_PTR Base = Allocate(3);
    PVOID Address = (PVOID)(Base + LARGE + 3 * PAGE_SIZE + 1);
    SIZE_T Size = 2;
    ULONG Old;

    (void)State;
    TestVmFill(Base, 3 * PER_LARGE, 2);
    assert_int_equal(
        NtProtectVirtualMemory(NtCurrentProcess(), &Address, &Size, PAGE_EXECUTE_READWRITE, &Old),
        STATUS_SUCCESS);
    assert_int_equal((ULONG_PTR)Address, Base + LARGE); /* every page that contains one of the bytes */
    assert_int_equal(Size, LARGE);
    assert_int_equal(Old, PAGE_READWRITE);
    TEST_EXPECT_REGION(Base, LARGE, MEM_COMMIT, PAGE_READWRITE);
    TEST_EXPECT_REGION(Base + LARGE, LARGE, MEM_COMMIT, PAGE_EXECUTE_READWRITE);
    TEST_EXPECT_REGION(Base + 2 * LARGE, LARGE, MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(HostSimExecute(Base + LARGE, NULL), STATUS_SUCCESS);
    assert_int_equal(HostSimExecute(Base, NULL), STATUS_ACCESS_VIOLATION);
    assert_int_equal(TestVmTryProtect(Base, LARGE, PAGE_READONLY), STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(TestVmTryProtect(Base, LARGE, PAGE_NOACCESS), STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(TestVmTryProtect(Base, LARGE, PAGE_READWRITE | PAGE_GUARD),
                     STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(TestVmProtect(Base, 3 * LARGE, PAGE_EXECUTE_READWRITE), PAGE_READWRITE);
    TEST_EXPECT_REGION(Base, 3 * LARGE, MEM_COMMIT, PAGE_EXECUTE_READWRITE);
    /* Documented: committing what is committed does not fail; the protection is the new one. */
    assert_int_equal(TestVmTryAllocate(Base, PAGE_SIZE, MEM_COMMIT, PAGE_READONLY),
                     STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(TestVmTryAllocate(Base, PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE), STATUS_SUCCESS);
    TEST_EXPECT_REGION(Base, LARGE, MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(HostSimExecute(Base, NULL), STATUS_ACCESS_VIOLATION);
    TestVmCheck(Base, 3 * PER_LARGE, 2);
}

static void locks_cost_no_quota_and_are_remembered(void **State)
{
    ULONG_PTR Room = TestVmAllocate(0, 5 * LARGE, MEM_RESERVE, PAGE_READWRITE);
    ULONG_PTR Base = (Room + LARGE - 1) & ~(ULONG_PTR)(LARGE - 1);
    PVOID Address = (PVOID)(Base + PAGE_SIZE);
    SIZE_T Size = LARGE;
    SIZE_T Locked = TestUserProcess->Space.Vm.LockedPages;

    (void)State;
    TestVmFree(Room, 0, MEM_RELEASE);
    assert_int_equal(TestVmAllocate(Base, 2 * LARGE, LARGE_TYPE, PAGE_READWRITE), Base);
    assert_int_equal(NtUnlockVirtualMemory(NtCurrentProcess(), &Address, &Size, MAP_PROCESS),
                     STATUS_NOT_LOCKED);
    assert_int_equal(NtLockVirtualMemory(NtCurrentProcess(), &Address, &Size, MAP_PROCESS), STATUS_SUCCESS);
    assert_int_equal(NtLockVirtualMemory(NtCurrentProcess(), &Address, &Size, MAP_PROCESS),
                     STATUS_WAS_LOCKED);
    assert_int_equal(TestUserProcess->Space.Vm.LockedPages, Locked);
    Address = (PVOID)Base; /* the same two pages */
    Size = 2 * LARGE;
    assert_int_equal(NtUnlockVirtualMemory(NtCurrentProcess(), &Address, &Size, MAP_PROCESS), STATUS_SUCCESS);
    assert_int_equal(NtUnlockVirtualMemory(NtCurrentProcess(), &Address, &Size, MAP_PROCESS),
                     STATUS_NOT_LOCKED);
    /* A lock that fails behind the region is undone in it. */
    assert_int_equal(TestVmQuery(Base + 2 * LARGE).State, MEM_FREE);
    Size = 3 * LARGE;
    assert_false(NT_SUCCESS(NtLockVirtualMemory(NtCurrentProcess(), &Address, &Size, MAP_PROCESS)));
    Size = 2 * LARGE;
    assert_int_equal(NtUnlockVirtualMemory(NtCurrentProcess(), &Address, &Size, MAP_PROCESS),
                     STATUS_NOT_LOCKED);
    assert_int_equal(TestUserProcess->Space.Vm.LockedPages, Locked);
}

static void other_services_see_ordinary_bytes(void **State)
{
    ULONG_PTR Base = Allocate(2);
    PEPROCESS Child = TestNewProcess("child");
    UCHAR Buffer[3 * PAGE_SIZE];
    SIZE_T Copied;
    HANDLE Secured;

    (void)State;
    /* Across the border of the two pages. */
    memset(Buffer, 0x5c, sizeof(Buffer));
    assert_int_equal(ZwWriteVirtualMemory(ZwCurrentProcess(), (PVOID)(Base + LARGE - PAGE_SIZE - 5), Buffer,
                                          sizeof(Buffer), &Copied),
                     STATUS_SUCCESS);
    assert_int_equal(Copied, sizeof(Buffer));
    assert_int_equal(TestVmGet(Base + LARGE - PAGE_SIZE - 6), 0);
    assert_int_equal(TestVmGet(Base + LARGE - PAGE_SIZE - 5), 0x5c);
    assert_int_equal(TestVmGet(Base + LARGE + 2 * PAGE_SIZE - 6), 0x5c);
    assert_int_equal(TestVmGet(Base + LARGE + 2 * PAGE_SIZE - 5), 0);
    memset(Buffer, 0, sizeof(Buffer));
    assert_int_equal(ZwReadVirtualMemory(ZwCurrentProcess(), (PVOID)(Base + LARGE - PAGE_SIZE - 5), Buffer,
                                         sizeof(Buffer), &Copied),
                     STATUS_SUCCESS);
    assert_int_equal(Buffer[0], 0x5c);
    assert_int_equal(Buffer[sizeof(Buffer) - 1], 0x5c);
    /* A secured part keeps the whole. */
    Secured = MmSecureVirtualMemory((PVOID)(Base + LARGE), PAGE_SIZE, PAGE_READWRITE);
    assert_non_null(Secured);
    assert_int_equal(TestVmTryFree(Base, 0, MEM_RELEASE), STATUS_INVALID_PAGE_PROTECTION);
    MmUnsecureVirtualMemory(Secured);
    /* Not documented, and no copy can be promised: refused. */
    assert_int_equal(MiCloneAddressSpace(&TestUserProcess->Space, &Child->Space), STATUS_NOT_SUPPORTED);
    assert_int_equal(Child->Space.VadCount, 0);
    TestEndProcess(Child);
    TestVmFree(Base, 0, MEM_RELEASE);
    Child = TestNewProcess("child");
    assert_int_equal(MiCloneAddressSpace(&TestUserProcess->Space, &Child->Space), STATUS_SUCCESS);
    TestEndProcess(Child);
}

static void locked_frames_outlive_their_region(void **State)
{
    ULONG_PTR Base = Allocate(1);
    PFN_NUMBER Available;
    PUCHAR Mapped;
    PMDL Mdl;

    (void)State;
    TestVmPut(Base + 200 * PAGE_SIZE + 9, 7);
    Mdl = IoAllocateMdl((PVOID)(Base + 200 * PAGE_SIZE), 100 * PAGE_SIZE, FALSE, FALSE, NULL);
    MmProbeAndLockPages(Mdl, UserMode, IoModifyAccess);
    for (ULONG Page = 0; Page < 100; Page++)
    {
        assert_int_equal(MmGetMdlPfnArray(Mdl)[Page], MmGetMdlPfnArray(Mdl)[0] + Page);
    }
    Mapped = MmGetSystemAddressForMdlSafe(Mdl, NormalPagePriority);
    assert_non_null(Mapped);
    assert_int_equal(Mapped[9], 7);
    Mapped[PAGE_SIZE] = 8;
    assert_int_equal(TestVmGet(Base + 201 * PAGE_SIZE), 8);
    Available = MiAvailablePages();
    TestVmFree(Base, 0, MEM_RELEASE);
    assert_true(MiAvailablePages() >= Available + PER_LARGE - 100);
    assert_true(MiAvailablePages() <= Available + PER_LARGE - 100 + 8);
    assert_int_equal(Mapped[9], 7);
    assert_int_equal(Mapped[PAGE_SIZE], 8);
    MmUnlockPages(Mdl);
    IoFreeMdl(Mdl);
    assert_true(MiAvailablePages() >= Available + PER_LARGE);
}

/* ---- Memory that is short ------------------------------------------------------------------------------------------------ */

static void pages_move_out_of_the_way(void **State)
{
    /* More than RAM has, so that hardly two frames on standby lie together as they should. */
    ULONG_PTR Small = TestVmAllocate(0, 40u << 20, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    ULONG_PTR Base;

    (void)State;
    TestVmFill(Small, (40u << 20) / PAGE_SIZE, 9);
    Base = Allocate(3);
    TestVmCheckZero(Base, 3 * PER_LARGE);
    TestVmFill(Base, 3 * PER_LARGE, 4);
    TestVmCheck(Small, (40u << 20) / PAGE_SIZE, 9);
    TestVmCheck(Base, 3 * PER_LARGE, 4);
}

static void too_much_is_refused_and_nothing_is_left(void **State)
{
    SIZE_T Charge = TestVmCharge();
    LONG64 Resident = MiState.Physical->ResidentAvailable;
    SIZE_T Tables = TestUserProcess->Space.PageTablePages;
    ULONG64 Failures = MiQueryCounter(MiCounterLargePageFailures);

    (void)State;
    assert_int_equal(TestVmTryAllocate(0, 17 * LARGE, LARGE_TYPE, PAGE_READWRITE),
                     STATUS_INSUFFICIENT_RESOURCES);
    assert_int_equal(TestVmTryAllocate(0, MiState.Physical->CommitMaximum / PER_LARGE * LARGE + LARGE,
                                       LARGE_TYPE, PAGE_READWRITE),
                     STATUS_COMMITMENT_LIMIT);
    assert_int_equal(TestVmCharge(), Charge);
    assert_true(MiState.Physical->ResidentAvailable >= Resident - 16); /* what the pool keeps */
    assert_int_equal(TestUserProcess->Space.PageTablePages, Tables);
    assert_int_equal(TestUserProcess->Space.VadCount, 0);
    assert_true(MiQueryCounter(MiCounterLargePageFailures) > Failures);
}

/* A frame in every window that cannot move. */
static void a_fragmented_machine_has_none(void **State)
{
    PFN_NUMBER *Held = calloc(MiState.Physical->NumberOfPages, sizeof(*Held));
    SIZE_T Count = 0;
    PFN_NUMBER Frame;

    (void)State;
    while ((Frame = MiAllocatePage(MI_PAGE_MUST_SUCCEED)) != 0)
    {
        Held[Count++] = Frame;
    }
    for (SIZE_T Index = 0; Index < Count; Index++)
    {
        if (Held[Index] % PER_LARGE != 100)
        {
            MiFreePage(Held[Index]);
            Held[Index] = 0;
        }
    }
    assert_int_equal(TestVmTryAllocate(0, LARGE, LARGE_TYPE, PAGE_READWRITE), STATUS_INSUFFICIENT_RESOURCES);
    for (SIZE_T Index = 0; Index < Count; Index++)
    {
        if (Held[Index] != 0)
        {
            MiFreePage(Held[Index]);
        }
    }
    free(Held);
    TestVmFree(Allocate(4), 0, MEM_RELEASE);
}

static NTSTATUS UseOnce(ULONG_PTR Base)
{
    NTSTATUS Status = TestVmTryAllocate(Base, 2 * LARGE, LARGE_TYPE, PAGE_READWRITE);

    if (NT_SUCCESS(Status))
    {
        TestVmFill(Base, 2 * PER_LARGE, 1);
        TestVmCheck(Base, 2 * PER_LARGE, 1);
        TestVmFree(Base, 0, MEM_RELEASE);
    }
    return Status;
}

static void whatever_fails_nothing_is_left(void **State)
{
    static const KI_INJECT Kinds[] = { KiInjectFrame, KiInjectPool, KiInjectCommit };
    ULONG_PTR Base = Allocate(2);
    LONG64 Resident;

    (void)State;
    TestVmFree(Base, 0, MEM_RELEASE);
    Resident = MiState.Physical->ResidentAvailable;
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Kinds); Index++)
    {
        TestWithFailures(Kinds[Index], UseOnce, Base);
        assert_int_equal(TestUserProcess->Space.LargePages, 0);
        assert_int_equal(TestUserProcess->Space.PageTablePages, 1);
    }
    assert_true(MiState.Physical->ResidentAvailable >= Resident - 64);
}

/* Documented: "Large-page allocations are not subject to job limits." */
static void job_limits_do_not_concern_large_pages(void **State)
{
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION Limits = { .BasicLimitInformation.LimitFlags =
                                                        JOB_OBJECT_LIMIT_PROCESS_MEMORY,
                                                    .ProcessMemoryLimit = LARGE / 2 };
    HANDLE Job;

    (void)State;
    assert_int_equal(NtCreateJobObject(&Job, JOB_OBJECT_ALL_ACCESS, NULL), STATUS_SUCCESS);
    assert_int_equal(
        NtSetInformationJobObject(Job, JobObjectExtendedLimitInformation, &Limits, sizeof(Limits)),
        STATUS_SUCCESS);
    assert_int_equal(NtAssignProcessToJobObject(Job, NtCurrentProcess()), STATUS_SUCCESS);
    assert_int_equal(TestVmTryAllocate(0, LARGE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE),
                     STATUS_COMMITMENT_LIMIT);
    TestVmFree(Allocate(2), 0, MEM_RELEASE);
    assert_int_equal(NtClose(Job), STATUS_SUCCESS);
}

/* The process ends with it; the teardown counts frames, commitment and nonpageable pages. */
static void the_end_of_the_process_is_the_end_of_it(void **State)
{
    ULONG_PTR Small = TestVmAllocate(0, 0x10000, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    ULONG_PTR Base = Allocate(5);

    (void)State;
    TestVmFill(Small, 16, 1);
    TestVmFill(Base, 5 * PER_LARGE, 1);
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        LARGE_TEST(a_region_is_there_as_a_whole),
        LARGE_TEST(frames_lie_together_on_a_border),
        LARGE_TEST(queries_tell_large_pages),
        LARGE_TEST(illegal_requests_are_refused),
        LARGE_TEST(an_extended_parameter_asks_for_them_as_well),
        LARGE_TEST(pages_of_64k_are_a_hint),
        LARGE_TEST(a_region_is_never_split),
        LARGE_TEST(protections_change_by_whole_large_pages),
        LARGE_TEST(locks_cost_no_quota_and_are_remembered),
        LARGE_TEST(other_services_see_ordinary_bytes),
        LARGE_TEST(locked_frames_outlive_their_region),
        LARGE_TEST(pages_move_out_of_the_way),
        LARGE_TEST(too_much_is_refused_and_nothing_is_left),
        LARGE_TEST(a_fragmented_machine_has_none),
        LARGE_TEST(whatever_fails_nothing_is_left),
        LARGE_TEST(job_limits_do_not_concern_large_pages),
        LARGE_TEST(the_end_of_the_process_is_the_end_of_it),
    };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
