/* SPDX-License-Identifier: MIT */
/*
 * Views of sections of the paging file: what is written in one is seen in all, in every state that a page can be in, and nothing is
 * left. Sources: Microsoft Learn, ZwMapViewOfSection, "Section Objects and Views"; Windows Internals, 7th ed., part 1, chapter 5,
 * "Section objects", "Prototype PTEs".
 */
#include "views.h"

static PEPROCESS Other;

static void EnterOther(void)
{
    Other = TestNewProcess("other");
}

static void LeaveOther(void)
{
    TestRunInProcess(TestUserProcess);
    TestEndProcess(Other);
}

static void two_views_show_the_same_page(void **State)
{
    PSECTION Section = TestSectionOf(0x10000, PAGE_READWRITE, SEC_COMMIT);
    ULONG_PTR First = TestMapIn(TestUserProcess, Section, 0, 0, PAGE_READWRITE);
    ULONG_PTR Second = TestMapIn(TestUserProcess, Section, 0, 0, PAGE_READONLY);

    (void)State;
    assert_int_not_equal(First, Second);
    TestVmPut(First + 0x3000, 42);
    assert_int_equal(TestVmGet(Second + 0x3000), 42);
    assert_int_equal(TestVmGet(Second + 0x4000), 0);
    assert_int_equal(TestVmTryPut(Second + 0x3000, 1), STATUS_ACCESS_VIOLATION);
    TestUnmapIn(TestUserProcess, First);
    assert_int_equal(TestVmGet(Second + 0x3000), 42);
    ObDereferenceObjectBody(Section);
    assert_int_equal(TestVmGet(Second + 0x3000), 42);
    TestUnmapIn(TestUserProcess, Second);
}

static void two_processes_share_through_trims_and_the_paging_file(void **State)
{
    PSECTION Section = TestSectionOf(0x40000, PAGE_READWRITE, SEC_COMMIT);
    ULONG_PTR First = TestMapIn(TestUserProcess, Section, 0, 0, PAGE_READWRITE);
    ULONG_PTR Second;

    (void)State;
    EnterOther();
    Second = TestMapIn(Other, Section, 0x10000, 0x20000, PAGE_READWRITE);
    TestFill(First, 64, 7);
    TestVmPageOut();
    TestRunInProcess(Other);
    TestCheck(Second, 16, 7 + 16 * 7);
    TestFill(Second, 32, 1000);
    TestVmPageOut();
    TestRunInProcess(TestUserProcess);
    TestCheck(First, 16, 7);
    TestCheck(First + 0x10000, 32, 1000);
    TestCheck(First + 0x30000, 16, 7 + 48 * 7);
    TestUnmapIn(Other, Second);
    ObDereferenceObjectBody(Section);
    TestVmPageOut();
    TestCheck(First + 0x10000, 32, 1000);
    TestUnmapIn(TestUserProcess, First);
    LeaveOther();
}

static void prototype_ptes_leave_memory_and_come_back(void **State)
{
    PSECTION Section = TestSectionOf(0x400000, PAGE_READWRITE, SEC_COMMIT);
    ULONG_PTR Base = TestMapIn(TestUserProcess, Section, 0, 0, PAGE_READWRITE);
    PSEGMENT Segment = Section->ControlArea->Segment;

    (void)State;
    TestFill(Base, 1024, 3);
    assert_int_equal(Segment->PrototypePages, 2);
    assert_int_equal(MiCountSegmentPages(Segment), 1024);
    TestVmPageOut();
    assert_int_equal(MiCountSegmentPages(Segment), 0);
    assert_int_equal(MiTrimPrototypePages(), 2);
    TestVmWriteOut();
    MiPurgeStandby(7);
    assert_true(MiIsPagedOut(MiReadPte(&MiLookUpChunk(Segment, 0)->Pte)));
    TestCheck(Base, 1024, 3);
    TestVmPageOut();
    assert_int_equal(MiTrimPrototypePages(), 2);
    TestVmWriteOut();
    MiPurgeStandby(7);
    TestUnmapIn(TestUserProcess, Base);
    ObDereferenceObjectBody(Section); /* brings the chunks back for their slots */
}

static void a_write_copy_view_has_copies_of_its_own(void **State)
{
    PSECTION Section = TestSectionOf(0x10000, PAGE_READWRITE, SEC_COMMIT);
    ULONG_PTR Shared = TestMapIn(TestUserProcess, Section, 0, 0, PAGE_READWRITE);
    SIZE_T Before = TestVmCharge();
    ULONG_PTR Copy = TestMapIn(TestUserProcess, Section, 0, 0, PAGE_WRITECOPY);

    (void)State;
    assert_int_equal(TestVmCharge() - Before, 16);
    TestFill(Shared, 16, 1);
    TestCheck(Copy, 16, 1);
    TestVmPut(Copy + 8, 99);
    assert_int_equal(TestVmGet(Copy + 8), 99);
    assert_int_equal(TestVmGet(Shared + 8), 0);
    TestVmPut(Shared + 0x1000 + 8, 5);
    assert_int_equal(TestVmGet(Copy + 0x1000 + 8), 5); /* not copied yet: still the section's */
    TestVmPageOut();
    assert_int_equal(TestVmGet(Copy + 8), 99);
    TestUnmapIn(TestUserProcess, Copy);
    assert_int_equal(TestVmCharge(), Before);
    TestCheck(Shared, 16, 1);
    TestUnmapIn(TestUserProcess, Shared);
    ObDereferenceObjectBody(Section);
}

static SIZE_T ProtectAndCharge(ULONG_PTR Base, ULONG First, ULONG Pages, ULONG Protect)
{
    ULONG_PTR Start = Base + (ULONG_PTR)First * PAGE_SIZE;
    SIZE_T Size = (SIZE_T)Pages * PAGE_SIZE;
    ULONG Old;

    assert_int_equal(MiProtectVirtualMemory(&TestUserProcess->Space, &Start, &Size, Protect, &Old),
                     STATUS_SUCCESS);
    return MiLocateVad(&TestUserProcess->Space, Base >> PAGE_SHIFT)->CommitCharge;
}

static NTSTATUS ProtectOnce(ULONG_PTR Base)
{
    SIZE_T Size = 0x3000;
    ULONG_PTR Start = Base + 0x1000;
    SIZE_T Before = MiLocateVad(&TestUserProcess->Space, Base >> PAGE_SHIFT)->CommitCharge;
    ULONG Old;
    NTSTATUS Status = MiProtectVirtualMemory(&TestUserProcess->Space, &Start, &Size, PAGE_WRITECOPY, &Old);

    assert_int_equal(MiLocateVad(&TestUserProcess->Space, Base >> PAGE_SHIFT)->CommitCharge,
                     NT_SUCCESS(Status) ? 3 : Before);
    if (NT_SUCCESS(Status))
    {
        assert_int_equal(ProtectAndCharge(Base, 1, 3, PAGE_READWRITE), 0);
    }
    return Status;
}

static void protect_charges_what_may_be_copied_and_no_more(void **State)
{
    PSECTION Section = TestSectionOf(0x10000, PAGE_READWRITE, SEC_COMMIT);
    SIZE_T Before = TestVmCharge();
    ULONG_PTR Base = TestMapIn(TestUserProcess, Section, 0, 0, PAGE_READWRITE);
    PEPROCESS Child;

    (void)State;
    TestWithFailures(KiInjectCommit, ProtectOnce, Base);
    TestFill(Base, 16, 1);
    assert_int_equal(ProtectAndCharge(Base, 4, 4, PAGE_WRITECOPY), 4);
    assert_int_equal(ProtectAndCharge(Base, 6, 4, PAGE_WRITECOPY), 6);
    TestVmPut(Base + 0x5000, 99);
    TestVmPut(Base + 0x6000, 98);
    assert_int_equal(ProtectAndCharge(Base, 4, 1, PAGE_READWRITE), 5);
    TestVmPageOut();
    assert_int_equal(ProtectAndCharge(Base, 0, 16, PAGE_READONLY), 2); /* the copies stay */
    assert_int_equal(ProtectAndCharge(Base, 0, 16, PAGE_WRITECOPY), 16);
    assert_int_equal(MiCloneAddressSpace(&TestUserProcess->Space, &(Child = TestNewProcess("child"))->Space),
                     STATUS_SUCCESS);
    /* Copies that a child shares are copies still. */
    assert_int_equal(ProtectAndCharge(Base, 0, 16, PAGE_NOACCESS), 2);
    assert_int_equal(MiLocateVad(&Child->Space, Base >> PAGE_SHIFT)->CommitCharge, 16);
    TestEndProcess(Child);
    assert_int_equal(ProtectAndCharge(Base, 0, 16, PAGE_READONLY), 2);
    assert_int_equal(TestVmGet(Base + 0x5000), 99);
    TestUnmapIn(TestUserProcess, Base);
    assert_int_equal(TestVmCharge(), Before);
    ObDereferenceObjectBody(Section);
}

static void reserved_sections_are_committed_through_views(void **State)
{
    PSECTION Section = TestSectionOf(0x40000000, PAGE_READWRITE, SEC_RESERVE);
    MI_VIEW View = TestViewOf(Section, 0, 0, PAGE_READWRITE);
    ULONG_PTR Second;

    (void)State;
    View.CommitSize = 0x2000;
    assert_int_equal(MiMapView(&TestUserProcess->Space, &View), STATUS_SUCCESS);
    assert_int_equal(Section->ControlArea->Segment->NumberOfCommittedPages, 2);
    TestVmPut(View.Base + 0x1000, 1);
    assert_int_equal(TestVmTryPut(View.Base + 0x2000, 1), STATUS_ACCESS_VIOLATION);
    Second = TestMapIn(TestUserProcess, Section, 0, 0, PAGE_READWRITE);
    TEST_EXPECT_REGION(Second, 0x2000, MEM_COMMIT, PAGE_READWRITE);
    TEST_EXPECT_REGION(Second + 0x2000, 0x40000000 - 0x2000, MEM_RESERVE, 0);
    TestVmAllocate(Second + 0x20000000, 0x3000, MEM_COMMIT, PAGE_READWRITE);
    TestVmPut(View.Base + 0x20002000, 9);
    assert_int_equal(TestVmGet(Second + 0x20002000), 9);
    assert_int_equal(TestVmTryFree(Second, 0x1000, MEM_DECOMMIT), STATUS_UNABLE_TO_DELETE_SECTION);
    /* All of it is more than the machine has, and nothing comes of it. */
    assert_int_equal(TestVmTryAllocate(Second, 0x40000000, MEM_COMMIT, PAGE_READWRITE),
                     STATUS_COMMITMENT_LIMIT);
    assert_int_equal(Section->ControlArea->Segment->NumberOfCommittedPages, 5);
    TestUnmapIn(TestUserProcess, Second);
    TestUnmapIn(TestUserProcess, View.Base);
    ObDereferenceObjectBody(Section);
}

static void a_large_view_costs_nothing_per_page(void **State)
{
    PSECTION Section = TestSectionOf(1ull << 40, PAGE_READWRITE, SEC_RESERVE);
    SIZE_T Frames = MiAvailablePages();
    SIZE_T Committed = MiState.Physical->CommittedPages;
    SIZE_T Window =
        (PORT_USER_HIGHEST - PORT_USER_LOWEST) / 4 & ~(SIZE_T)0xffff; /* small under some sanitizers */
    ULONG_PTR Base =
        TestMapIn(TestUserProcess, Section, 0, Window < 1ull << 40 ? Window : 1ull << 40, PAGE_READWRITE);

    (void)State;
    assert_int_equal(MiState.Physical->CommittedPages, Committed);
    assert_true(Frames - MiAvailablePages() <= 4);
    TestUnmapIn(TestUserProcess, Base);
    ObDereferenceObjectBody(Section);
}

static void sections_go_in_every_order(void **State)
{
    (void)State;
    for (ULONG Order = 0; Order < 6; Order++)
    {
        PSECTION Section = TestSectionOf(0x10000, PAGE_READWRITE, SEC_COMMIT);
        ULONG_PTR Views[2] = { TestMapIn(TestUserProcess, Section, 0, 0, PAGE_READWRITE),
                               TestMapIn(TestUserProcess, Section, 0, 0, PAGE_READWRITE) };
        ULONG First = Order / 2;
        ULONG Rest = Order % 2;

        TestFill(Views[0], 16, Order);
        for (ULONG Step = 0; Step < 3; Step++)
        {
            ULONG What = Step == 0 ? First : (First + 1 + ((Step == 1) != (Rest == 0))) % 3;

            if (What == 2)
            {
                ObDereferenceObjectBody(Section);
            }
            else
            {
                TestUnmapIn(TestUserProcess, Views[What]);
            }
            MiCheckSections(3);
        }
        assert_int_equal(MiState.Section->NumberOfControlAreas, 0);
    }
}

static void a_thousand_processes_share_one_set_of_prototype_ptes(void **State)
{
    static const TEST_MACHINE Machine = { .RamMegabytes = 96, .Deterministic = TRUE, .PagingFiles = 1 };
    static PEPROCESS Processes[1000];
    PSECTION Section;

    (void)State;
    TestEnterProcess(&Machine);
    Section = TestSectionOf(0x200000, PAGE_READWRITE, SEC_COMMIT);
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Processes); Index++)
    {
        ULONG_PTR Base;

        Processes[Index] = TestNewProcess("sharer");
        TestRunInProcess(Processes[Index]);
        Base = TestMapIn(Processes[Index], Section, 0, 0, PAGE_READWRITE);
        TestVmPut(Base + Index % 512 * PAGE_SIZE + Index / 512, (UCHAR)Index);
        assert_int_equal(TestVmGet(Base + PAGE_SIZE), Index >= 1); /* what process 1 wrote */
    }
    assert_int_equal(Section->ControlArea->Segment->PrototypePages, 1);
    assert_int_equal(Section->ControlArea->NumberOfMappedViews, RTL_NUMBER_OF(Processes));
    MiCheckSections(3);
    TestRunInProcess(TestUserProcess);
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Processes); Index++)
    {
        TestEndProcess(Processes[Index]);
    }
    assert_int_equal(Section->ControlArea->NumberOfMappedViews, 0);
    ObDereferenceObjectBody(Section);
    TestLeaveProcess();
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        TEST_IN_PROCESS(two_views_show_the_same_page),
        TEST_IN_PROCESS(two_processes_share_through_trims_and_the_paging_file),
        TEST_IN_PROCESS(prototype_ptes_leave_memory_and_come_back),
        TEST_IN_PROCESS(a_write_copy_view_has_copies_of_its_own),
        TEST_IN_PROCESS(protect_charges_what_may_be_copied_and_no_more),
        TEST_IN_PROCESS(reserved_sections_are_committed_through_views),
        TEST_IN_PROCESS(a_large_view_costs_nothing_per_page),
        TEST_IN_PROCESS(sections_go_in_every_order),
        cmocka_unit_test(a_thousand_processes_share_one_set_of_prototype_ptes),
    };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
