/* SPDX-License-Identifier: MIT */
/*
 * The services of virtual memory on views: lock, read and write of a process's memory, MDLs, secured ranges, removal from the working set,
 * and those that are only for private memory. Sources: Microsoft Learn, VirtualLock, NtReadVirtualMemory, MmProbeAndLockPages,
 * MmSecureVirtualMemory, VirtualAlloc (MEM_RESET), GetWriteWatch.
 */
#include "views.h"

#include "mdl/mdl.h"
#include "nt/mm.h"

static ULONG_PTR MapNew(PSECTION *Section, ULONG Protect)
{
    *Section = TestSectionOf(0x10000, PAGE_READWRITE, SEC_COMMIT);
    return TestMapIn(TestUserProcess, *Section, 0, 0, Protect);
}

static VOID LockPages(PVOID Context)
{
    MmProbeAndLockPages(Context, UserMode, IoWriteAccess);
}

static void a_view_is_locked_and_unlocked(void **State)
{
    PSECTION Section;
    ULONG_PTR Base = MapNew(&Section, PAGE_READWRITE);
    PVOID Where = (PVOID)Base;
    SIZE_T Size = 0x4000;

    (void)State;
    assert_int_equal(NtLockVirtualMemory(NtCurrentProcess(), &Where, &Size, MAP_PROCESS), STATUS_SUCCESS);
    assert_int_equal(TestUserProcess->Space.Vm.LockedPages, 4);
    TestVmTrimAll();
    assert_int_equal(MiQueryWorkingSetExBlock(&TestUserProcess->Space, Base).Locked, 1);
    assert_int_equal(NtUnlockVirtualMemory(NtCurrentProcess(), &Where, &Size, MAP_PROCESS), STATUS_SUCCESS);
    assert_int_equal(NtLockVirtualMemory(NtCurrentProcess(), &Where, &Size, MAP_PROCESS), STATUS_SUCCESS);
    TestUnmapIn(TestUserProcess, Base); /* takes the locks along */
    assert_int_equal(TestUserProcess->Space.Vm.LockedPages, 0);
    ObDereferenceObjectBody(Section);
}

static void other_processes_memory_is_read_and_written_through_views(void **State)
{
    PSECTION Section;
    ULONG_PTR Base = MapNew(&Section, PAGE_READWRITE);
    PEPROCESS Other = TestNewProcess("other");
    ULONG_PTR Theirs = TestMapIn(Other, Section, 0, 0, PAGE_WRITECOPY);
    HANDLE Handle = TestOpenProcess(Other, PROCESS_ALL_ACCESS);
    UCHAR Value = 5;
    SIZE_T Done;

    (void)State;
    TestVmPut(Base + 0x1000, 4);
    assert_int_equal(NtWriteVirtualMemory(Handle, (PVOID)Theirs, &Value, 1, &Done), STATUS_SUCCESS);
    assert_int_equal(TestVmGet(Base), 0); /* into a copy of theirs */
    assert_int_equal(NtReadVirtualMemory(Handle, (PVOID)(Theirs + 0x1000), &Value, 1, &Done), STATUS_SUCCESS);
    assert_int_equal(Value, 4);
    assert_int_equal(NtReadVirtualMemory(Handle, (PVOID)Theirs, &Value, 1, &Done), STATUS_SUCCESS);
    assert_int_equal(Value, 5);
    NtClose(Handle);
    TestEndProcess(Other);
    TestUnmapIn(TestUserProcess, Base);
    ObDereferenceObjectBody(Section);
}

static void an_mdl_holds_pages_of_a_view_beyond_its_end(void **State)
{
    PSECTION Section;
    ULONG_PTR Base = MapNew(&Section, PAGE_READWRITE);
    PMDL Mdl = IoAllocateMdl((PVOID)Base, 0x3000, FALSE, FALSE, NULL);
    PUCHAR Frame;

    (void)State;
    TestVmPut(Base + 0x1000, 1);
    assert_int_equal(KiGuardedCall(LockPages, Mdl, NULL), STATUS_SUCCESS);
    Frame = PortDirectMap(MmGetMdlPfnArray(Mdl)[1]);
    assert_int_equal(Frame[0], 1);
    TestVmTrimAll();
    Frame[0] = 2; /* a device writes */
    assert_int_equal(TestVmGet(Base + 0x1000), 2);
    TestUnmapIn(TestUserProcess, Base);
    Frame[0] = 3;
    MmUnlockPages(Mdl);
    TestVmWriteOut();
    MiPurgeStandby(7);
    Base = TestMapIn(TestUserProcess, Section, 0, 0, PAGE_READONLY);
    assert_int_equal(TestVmGet(Base + 0x1000), 3); /* and the page was written out */
    Mdl = (IoFreeMdl(Mdl), IoAllocateMdl((PVOID)Base, 0x1000, FALSE, FALSE, NULL));
    assert_int_equal(KiGuardedCall(LockPages, Mdl, NULL), STATUS_ACCESS_VIOLATION);
    IoFreeMdl(Mdl);
    TestUnmapIn(TestUserProcess, Base);
    ObDereferenceObjectBody(Section);
}

static void a_section_goes_while_an_mdl_holds_its_page(void **State)
{
    PSECTION Section;
    ULONG_PTR Base = MapNew(&Section, PAGE_READWRITE);
    PMDL Mdl = IoAllocateMdl((PVOID)Base, 0x1000, FALSE, FALSE, NULL);
    PUCHAR Frame;

    (void)State;
    assert_int_equal(KiGuardedCall(LockPages, Mdl, NULL), STATUS_SUCCESS);
    Frame = PortDirectMap(MmGetMdlPfnArray(Mdl)[0]);
    TestUnmapIn(TestUserProcess, Base);
    ObDereferenceObjectBody(Section);
    Frame[0] = 1; /* still nobody else's */
    MmUnlockPages(Mdl);
    IoFreeMdl(Mdl);
}

static void a_secured_view_cannot_be_unmapped(void **State)
{
    PSECTION Section;
    ULONG_PTR Base = MapNew(&Section, PAGE_READWRITE);
    HANDLE Secure = MmSecureVirtualMemory((PVOID)(Base + 0x1000), 0x2000, PAGE_READWRITE);

    (void)State;
    assert_non_null(Secure);
    assert_int_equal(MiUnmapView(&TestUserProcess->Space, Base, 0), STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(TestVmTryProtect(Base + 0x1000, 0x1000, PAGE_NOACCESS), STATUS_INVALID_PAGE_PROTECTION);
    MmUnsecureVirtualMemory(Secure);
    TestUnmapIn(TestUserProcess, Base);
    ObDereferenceObjectBody(Section);
}

static void what_is_for_private_memory_refuses_views(void **State)
{
    PSECTION Section;
    ULONG_PTR Base = MapNew(&Section, PAGE_READWRITE);
    PVOID Written[4];
    ULONG_PTR Count = 4;
    ULONG Granularity;

    (void)State;
    TestVmPut(Base, 1);
    assert_int_equal(TestVmTryAllocate(Base, 0x1000, MEM_RESET, PAGE_READWRITE),
                     STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(TestVmTryAllocate(Base, 0x1000, MEM_COMMIT, PAGE_EXECUTE_READ),
                     STATUS_SECTION_PROTECTION);
    TestVmAllocate(Base, 0x1000, MEM_COMMIT, PAGE_READWRITE); /* it is committed already */
    assert_int_equal(TestVmTryFree(Base, 0, MEM_RELEASE), STATUS_UNABLE_TO_DELETE_SECTION);
    assert_int_equal(
        NtGetWriteWatch(NtCurrentProcess(), 0, (PVOID)Base, 0x1000, Written, &Count, &Granularity),
        STATUS_INVALID_PARAMETER_1);
    assert_int_equal(MiRemoveRangeFromWorkingSet(&TestUserProcess->Space, Base, 0x1000), STATUS_SUCCESS);
    assert_int_equal(MiPrefetchRange(&TestUserProcess->Space, Base, 0x10000), STATUS_SUCCESS);
    assert_int_equal(TestVmGet(Base), 1);
    TestUnmapIn(TestUserProcess, Base);
    ObDereferenceObjectBody(Section);
}

static void prefetched_pages_of_a_view_need_no_read(void **State)
{
    PSECTION Section;
    ULONG_PTR Base = MapNew(&Section, PAGE_READWRITE);
    ULONG_PTR Second;
    ULONG64 Reads;

    (void)State;
    TestFill(Base, 16, 1);
    TestVmPageOut();
    Second = TestMapIn(TestUserProcess, Section, 0, 0, PAGE_READONLY); /* has no page tables */
    assert_int_equal(MiPrefetchRange(&TestUserProcess->Space, Second, 0x10000), STATUS_SUCCESS);
    while (MiState.Paging->InPageInUse != 0)
    {
        PortPollIo();
    }
    Reads = MiQueryCounter(MiCounterPageReads);
    TestCheck(Second, 16, 1);
    TestCheck(Base, 16, 1);
    assert_true(MiQueryCounter(MiCounterPageReads) <= Reads + 1); /* the page table that both views are in */
    TestUnmapIn(TestUserProcess, Second);
    TestUnmapIn(TestUserProcess, Base);
    ObDereferenceObjectBody(Section);
}

/* A page that cannot be read in is an error of the access, and the next one tries again. */
static void a_page_that_cannot_be_read_is_tried_again(void **State)
{
    PSECTION Section;
    ULONG_PTR Base = MapNew(&Section, PAGE_READWRITE);
    UCHAR Value;

    (void)State;
    TestVmPut(Base, 9);
    for (ULONG Trim = 0; Trim < 2; Trim++)
    {
        TestVmPageOut();
        if (Trim == 1)
        {
            MiTrimPrototypePages();
            TestVmPageOut();
        }
        KiSetInjection(KiInjectRead, 1, FALSE);
        assert_int_equal(TestVmTryGet(Base, &Value), STATUS_IN_PAGE_ERROR);
        KiSetInjection(KiInjectRead, 0, FALSE);
        assert_int_equal(TestVmGet(Base), 9);
    }
    TestUnmapIn(TestUserProcess, Base);
    ObDereferenceObjectBody(Section);
}

/* The prototype PTEs are in the paging file when the section goes, and cannot be read at first. */
static void a_section_goes_although_its_prototype_ptes_are_hard_to_read(void **State)
{
    PSECTION Section;
    ULONG_PTR Base = MapNew(&Section, PAGE_READWRITE);
    ULONG64 Failed = 0;

    (void)State;
    TestFill(Base, 16, 1);
    TestVmPageOut();
    MiTrimPrototypePages();
    TestVmPageOut();
    TestUnmapIn(TestUserProcess, Base);
    KiSetInjection(KiInjectRead, 1, FALSE);
    ObDereferenceObjectBody(Section);
    KiQueryInjection(KiInjectRead, &Failed);
    KiSetInjection(KiInjectRead, 0, FALSE);
    assert_int_equal(Failed, 1); /* and the fixture finds no slot in use */
}

/* They cannot be read at all: their slots stay taken and are counted, everything else comes back, and paging goes on. */
static void prototype_ptes_that_cannot_be_read_are_given_up(void **State)
{
    SIZE_T Charged;
    PSECTION Section;
    ULONG_PTR Base;

    (void)State;
    MiTrimPool();
    Charged = MiState.Physical->CommittedPages;
    Base = MapNew(&Section, PAGE_READWRITE);
    TestFill(Base, 16, 1);
    TestVmPageOut();
    MiTrimPrototypePages();
    TestVmPageOut();
    TestUnmapIn(TestUserProcess, Base);
    KiSetInjection(KiInjectRead, 1, TRUE);
    ObDereferenceObjectBody(Section);
    KiSetInjection(KiInjectRead, 0, FALSE);
    MiTrimPool();
    assert_int_equal(MiQueryCounter(MiCounterPrototypePagesLost), 1);
    assert_int_equal(MiState.Section->NumberOfControlAreas, 0);
    assert_true(MiState.Physical->CommittedPages <= Charged + 4); /* page tables of the process */
    Base = MapNew(&Section, PAGE_READWRITE);
    TestFill(Base, 16, 3);
    TestVmPageOut();
    TestCheck(Base, 16, 3);
    TestUnmapIn(TestUserProcess, Base);
    ObDereferenceObjectBody(Section);
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        TEST_IN_PROCESS(a_view_is_locked_and_unlocked),
        TEST_IN_PROCESS(other_processes_memory_is_read_and_written_through_views),
        TEST_IN_PROCESS(an_mdl_holds_pages_of_a_view_beyond_its_end),
        TEST_IN_PROCESS(a_section_goes_while_an_mdl_holds_its_page),
        TEST_IN_PROCESS(a_secured_view_cannot_be_unmapped),
        TEST_IN_PROCESS(what_is_for_private_memory_refuses_views),
        TEST_IN_PROCESS(prefetched_pages_of_a_view_need_no_read),
        TEST_IN_PROCESS(a_section_goes_although_its_prototype_ptes_are_hard_to_read),
        TEST_IN_PROCESS(a_page_that_cannot_be_read_is_tried_again),
        TEST_IN_PROCESS(prototype_ptes_that_cannot_be_read_are_given_up),
    };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
