/* SPDX-License-Identifier: MIT */
/*
 * Sections of large pages and their views, large and small. Sources: Microsoft Learn, CreateFileMapping (SEC_LARGE_PAGES), MapViewOfFile
 * (FILE_MAP_LARGE_PAGES), "Creating a File Mapping Using Large Pages", "Large-Page Support", ZwMapViewOfSection (MEM_LARGE_PAGES).
 */
#include "process.h"

#include "mapping/mapping.h"
#include "mdl/mdl.h"
#include "nt/boot.h"
#include "nt/mm.h"

#define LARGE     MI_LEVEL_BYTES(1)
#define PER_LARGE (LARGE / PAGE_SIZE)

#define LARGE_TEST(Name) cmocka_unit_test_setup_teardown(Name, TestEnterLarge, TestLeaveFixture)

static NTSTATUS TryCreate(SIZE_T Size, ULONG Protect, ULONG Attributes, HANDLE *Section)
{
    LARGE_INTEGER Maximum = { .QuadPart = (LONGLONG)Size };

    *Section = NULL;
    return NtCreateSection(Section, SECTION_ALL_ACCESS, NULL, &Maximum, Protect, Attributes, NULL);
}

static HANDLE Create(SIZE_T Pages)
{
    HANDLE Section;

    assert_int_equal(TryCreate(Pages * LARGE, PAGE_EXECUTE_READWRITE, SEC_COMMIT | SEC_LARGE_PAGES, &Section),
                     STATUS_SUCCESS);
    return Section;
}

static NTSTATUS TryMap(HANDLE Section, ULONG_PTR *Base, ULONG64 Offset, SIZE_T Size, ULONG Type,
                       ULONG Protect)
{
    LARGE_INTEGER Start = { .QuadPart = (LONGLONG)Offset };

    return NtMapViewOfSection(Section, NtCurrentProcess(), (PVOID *)Base, 0, 0, &Start, &Size, ViewUnmap,
                              Type, Protect);
}

static ULONG_PTR Map(HANDLE Section, ULONG64 Offset, SIZE_T Size, ULONG Type, ULONG Protect)
{
    ULONG_PTR Base = 0;

    assert_int_equal(TryMap(Section, &Base, Offset, Size, Type, Protect), STATUS_SUCCESS);
    return Base;
}

static void Unmap(ULONG_PTR Base)
{
    assert_int_equal(NtUnmapViewOfSection(NtCurrentProcess(), (PVOID)Base), STATUS_SUCCESS);
}

/* ---- What may be asked for --------------------------------------------------------------------------------------- */

static void illegal_sections_and_views_are_refused(void **State)
{
    HANDLE Section;
    HANDLE Small;
    ULONG_PTR Base = 0;

    (void)State;
    assert_int_equal(TryCreate(LARGE, PAGE_READWRITE, SEC_RESERVE | SEC_LARGE_PAGES, &Section),
                     STATUS_INVALID_PARAMETER_6); /* "SEC_COMMIT must also be specified" */
    assert_int_equal(TryCreate(LARGE, PAGE_READWRITE, SEC_COMMIT | SEC_NOCACHE | SEC_LARGE_PAGES, &Section),
                     STATUS_INVALID_PARAMETER_6);
    assert_int_equal(TryCreate(LARGE + 1, PAGE_READWRITE, SEC_COMMIT | SEC_LARGE_PAGES, &Section),
                     STATUS_INVALID_PARAMETER_4);
    assert_int_equal(TryCreate(0x10000, PAGE_READWRITE, SEC_COMMIT, &Small), STATUS_SUCCESS);
    assert_int_equal(TryMap(Small, &Base, 0, 0, MEM_LARGE_PAGES, PAGE_READWRITE), STATUS_INVALID_PARAMETER_9);
    NtClose(Small);
    Section = Create(3);
    /* "The base address and view size must also be multiples of the minimum large page size." */
    assert_int_equal(TryMap(Section, &Base, 0x10000, LARGE, MEM_LARGE_PAGES, PAGE_READWRITE),
                     STATUS_MAPPED_ALIGNMENT);
    assert_int_equal(TryMap(Section, &Base, LARGE, LARGE + 0x10000, MEM_LARGE_PAGES, PAGE_READWRITE),
                     STATUS_INVALID_VIEW_SIZE);
    assert_int_equal(TryMap(Section, &Base, LARGE, 3 * LARGE, MEM_LARGE_PAGES, PAGE_READWRITE),
                     STATUS_INVALID_VIEW_SIZE);
    assert_int_equal(TryMap(Section, &Base, 0, LARGE, MEM_LARGE_PAGES, PAGE_WRITECOPY),
                     STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(TryMap(Section, &Base, 0, LARGE, MEM_LARGE_PAGES, PAGE_READWRITE | PAGE_GUARD),
                     STATUS_INVALID_PAGE_PROTECTION);
    Base = Map(Section, 0, 0, MEM_LARGE_PAGES, PAGE_READWRITE);
    Unmap(Base);
    Base += 0x10000;
    assert_int_equal(TryMap(Section, &Base, 0, LARGE, MEM_LARGE_PAGES, PAGE_READWRITE),
                     STATUS_MAPPED_ALIGNMENT);
    Base -= 0x10000;
    assert_int_equal(TryMap(Section, &Base, LARGE, LARGE, MEM_LARGE_PAGES, PAGE_READONLY), STATUS_SUCCESS);
    assert_int_equal(TryMap(Section, &Base, LARGE, LARGE, MEM_LARGE_PAGES, PAGE_READONLY),
                     STATUS_CONFLICTING_ADDRESSES);
    NtClose(Section);
}

/* ---- What it is -------------------------------------------------------------------------------------------------- */

static void views_of_both_kinds_show_the_same_bytes(void **State)
{
    SIZE_T Committed = MiState.Physical->CommittedPages;
    LONG64 Resident = MiState.Physical->ResidentAvailable;
    HANDLE Section = Create(3);
    ULONG_PTR Large = Map(Section, 0, 0, MEM_LARGE_PAGES, PAGE_READWRITE);
    ULONG_PTR Again = Map(Section, LARGE, LARGE, MEM_LARGE_PAGES, PAGE_READONLY);
    ULONG_PTR Small = Map(Section, 0, 0, 0, PAGE_READWRITE);

    (void)State;
    assert_true(MiState.Physical->CommittedPages >= Committed + 3 * PER_LARGE);
    assert_true(MiState.Physical->ResidentAvailable <= Resident - (LONG64)(3 * PER_LARGE));
    assert_int_equal(Large % LARGE, 0);
    assert_int_equal(TestUserProcess->Space.LargePages, 4);
    TestVmCheckZero(Large, 3 * PER_LARGE);
    TestVmFill(Large, 3 * PER_LARGE, 1);
    for (SIZE_T Page = 0; Page < 3 * PER_LARGE; Page += 17)
    {
        assert_int_equal(TestVmGet(Small + Page * PAGE_SIZE), TestVmGet(Large + Page * PAGE_SIZE));
        TestVmPut(Small + Page * PAGE_SIZE + 9, (UCHAR)(Page + 3));
        assert_int_equal(TestVmGet(Large + Page * PAGE_SIZE + 9), (UCHAR)(Page + 3));
        assert_int_equal(MmGetPhysicalAddress((PVOID)(Small + Page * PAGE_SIZE)).QuadPart,
                         MmGetPhysicalAddress((PVOID)(Large + Page * PAGE_SIZE)).QuadPart);
    }
    assert_int_equal(TestVmGet(Again + 13 * PAGE_SIZE), TestVmGet(Large + LARGE + 13 * PAGE_SIZE));
    TestVmPageOut(); /* small views are trimmed; the pages stay */
    MmCheckSystem(3);
    assert_int_equal(TestVmGet(Small + 34 * PAGE_SIZE + 9), 34 + 3);
    TestVmCheck(Large, 1, 1);
    TEST_EXPECT_REGION(Large, 3 * LARGE, MEM_COMMIT, PAGE_READWRITE);
    TEST_EXPECT_REGION(Again, LARGE, MEM_COMMIT, PAGE_READONLY);
    assert_int_equal(TestVmQuery(Large).Type, MEM_MAPPED);
    assert_int_equal(TestVmTryPut(Again, 1), STATUS_ACCESS_VIOLATION);
    assert_int_equal(TestWorkingSetBlock(Large + PAGE_SIZE).LargePage, 1);
    assert_int_equal(TestWorkingSetBlock(Large + PAGE_SIZE).Shared, 1);
    assert_int_equal(TestWorkingSetBlock(Large + PAGE_SIZE).ShareCount, 3);
    assert_int_equal(TestWorkingSetBlock(Small + 34 * PAGE_SIZE).LargePage, 0);
    /* The views keep what the handle made. */
    NtClose(Section);
    Unmap(Small);
    Unmap(Again);
    assert_int_equal(TestUserProcess->Space.LargePages, 3);
    TestVmCheck(Large, 1, 1);
    Unmap(Large);
    assert_int_equal(TestUserProcess->Space.LargePages, 0);
    assert_int_equal(TestUserProcess->Space.PageTablePages, 1);
    assert_true(MiState.Physical->CommittedPages <= Committed + 8);
    assert_true(MiState.Physical->ResidentAvailable >= Resident - 8);
}

static void two_processes_share_them(void **State)
{
    HANDLE Section = Create(2);
    ULONG_PTR Here = Map(Section, 0, 0, MEM_LARGE_PAGES, PAGE_READWRITE);
    PEPROCESS Other = TestNewProcess("other");
    HANDLE Handle = TestOpenProcess(Other, PROCESS_ALL_ACCESS);
    PVOID There = NULL;
    SIZE_T Size = 0;
    UCHAR Byte = 77;
    SIZE_T Copied;

    (void)State;
    assert_int_equal(NtMapViewOfSection(Section, Handle, &There, 0, 0, NULL, &Size, ViewUnmap,
                                        MEM_LARGE_PAGES, PAGE_READWRITE),
                     STATUS_SUCCESS);
    assert_int_equal(Size, 2 * LARGE);
    TestVmPut(Here + LARGE + 5, 66);
    assert_int_equal(ZwReadVirtualMemory(Handle, (PVOID)((ULONG_PTR)There + LARGE + 5), &Byte, 1, &Copied),
                     STATUS_SUCCESS);
    assert_int_equal(Byte, 66);
    Byte = 55;
    assert_int_equal(ZwWriteVirtualMemory(Handle, (PVOID)((ULONG_PTR)There + 9), &Byte, 1, &Copied),
                     STATUS_SUCCESS);
    assert_int_equal(TestVmGet(Here + 9), 55);
    assert_int_equal(Other->Space.LargePages, 2);
    NtClose(Handle);
    TestEndProcess(Other); /* with its view */
    assert_int_equal(TestVmGet(Here + 9), 55);
    assert_int_equal(NtClose(Section), STATUS_SUCCESS);
    /* The process ends with the last view: the teardown counts. */
}

static void protections_of_large_views(void **State)
{
    HANDLE Section = Create(2);
    ULONG_PTR Large = Map(Section, 0, 0, MEM_LARGE_PAGES, PAGE_READWRITE);
    ULONG_PTR Copy = Map(Section, 0, 0, 0, PAGE_WRITECOPY);

    (void)State;
    TestVmPut(Large, 1);
    assert_int_equal(TestVmProtect(Large + 5 * PAGE_SIZE, 1, PAGE_READONLY), PAGE_READWRITE);
    TEST_EXPECT_REGION(Large, LARGE, MEM_COMMIT, PAGE_READONLY);
    TEST_EXPECT_REGION(Large + LARGE, LARGE, MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(TestVmTryPut(Large, 2), STATUS_ACCESS_VIOLATION);
    assert_int_equal(TestVmTryProtect(Large, LARGE, PAGE_EXECUTE_READ), STATUS_SECTION_PROTECTION);
    assert_int_equal(TestVmTryProtect(Large, LARGE, PAGE_NOACCESS), STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(TestVmTryProtect(Large, LARGE, PAGE_WRITECOPY), STATUS_INVALID_PAGE_PROTECTION);
    assert_int_equal(TestVmTryFree(Large, 0, MEM_RELEASE), STATUS_UNABLE_TO_DELETE_SECTION);
    assert_int_equal(TestVmProtect(Large, LARGE, PAGE_READWRITE), PAGE_READONLY);
    TestVmPut(Large, 3);
    /* A small view of the same section copies what it writes to. */
    assert_int_equal(TestVmGet(Copy), 3);
    TestVmPut(Copy, 4);
    assert_int_equal(TestVmGet(Large), 3);
    assert_int_equal(TestVmGet(Copy), 4);
    assert_int_equal(TestVmGet(Copy + PAGE_SIZE), 0);
    Unmap(Copy);
    Unmap(Large);
    NtClose(Section);
}

static void locked_frames_outlive_the_section(void **State)
{
    HANDLE Section = Create(1);
    ULONG_PTR Large = Map(Section, 0, 0, MEM_LARGE_PAGES, PAGE_READWRITE);
    PUCHAR Mapped;
    PMDL Mdl;

    (void)State;
    TestVmPut(Large + 100 * PAGE_SIZE, 9);
    Mdl = IoAllocateMdl((PVOID)(Large + 100 * PAGE_SIZE), 4 * PAGE_SIZE, FALSE, FALSE, NULL);
    MmProbeAndLockPages(Mdl, UserMode, IoModifyAccess);
    Mapped = MmGetSystemAddressForMdlSafe(Mdl, NormalPagePriority);
    Unmap(Large);
    NtClose(Section);
    assert_int_equal(Mapped[0], 9);
    MmUnlockPages(Mdl);
    IoFreeMdl(Mdl);
}

static void the_kernel_sees_them_in_system_space(void **State)
{
    HANDLE Handle = Create(1);
    ULONG_PTR Large = Map(Handle, 0, 0, MEM_LARGE_PAGES, PAGE_READWRITE);
    PVOID Section;
    PVOID Base;
    SIZE_T Size = 0;

    (void)State;
    TestVmPut(Large + 7 * PAGE_SIZE, 123);
    assert_int_equal(ObReferenceObjectByHandle(Handle, SECTION_MAP_READ, NULL, KernelMode, &Section, NULL),
                     STATUS_SUCCESS);
    assert_int_equal(MmMapViewInSystemSpace(Section, &Base, &Size), STATUS_SUCCESS);
    TestRunInProcess(NULL);
    {
        UCHAR Byte = 0;

        assert_int_equal(HostSimRead((ULONG_PTR)Base + 7 * PAGE_SIZE, &Byte, 1, NULL), STATUS_SUCCESS);
        assert_int_equal(Byte, 123);
    }
    TestRunInProcess(TestUserProcess);
    assert_int_equal(MmUnmapViewInSystemSpace(Base), STATUS_SUCCESS);
    ObDereferenceObject(Section);
    Unmap(Large);
    NtClose(Handle);
}

/* ---- Failures ------------------------------------------------------------------------------------------------------ */

static NTSTATUS UseOnce(ULONG_PTR Context)
{
    HANDLE Section;
    ULONG_PTR Base = 0;
    NTSTATUS Status = TryCreate(2 * LARGE, PAGE_READWRITE, SEC_COMMIT | SEC_LARGE_PAGES, &Section);

    (void)Context;
    if (!NT_SUCCESS(Status))
    {
        assert_null(Section);
        return Status;
    }
    Status = TryMap(Section, &Base, 0, 0, MEM_LARGE_PAGES, PAGE_READWRITE);
    if (NT_SUCCESS(Status))
    {
        TestVmFill(Base, 2 * PER_LARGE, 5);
        TestVmCheck(Base, 2 * PER_LARGE, 5);
        Unmap(Base);
    }
    NtClose(Section);
    return Status;
}

static void whatever_fails_nothing_is_left(void **State)
{
    static const KI_INJECT Kinds[] = { KiInjectFrame, KiInjectPool, KiInjectCommit };
    HANDLE Section;
    LONG64 Resident;

    (void)State;
    assert_int_equal(UseOnce(0), STATUS_SUCCESS);
    Resident = MiState.Physical->ResidentAvailable;
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Kinds); Index++)
    {
        TestWithFailures(Kinds[Index], UseOnce, 0);
        assert_int_equal(TestUserProcess->Space.LargePages, 0);
        assert_int_equal(TestUserProcess->Space.PageTablePages, 1);
    }
    assert_int_equal(TryCreate(17 * LARGE, PAGE_READWRITE, SEC_COMMIT | SEC_LARGE_PAGES, &Section),
                     STATUS_INSUFFICIENT_RESOURCES);
    assert_true(MiState.Physical->ResidentAvailable >= Resident - 64);
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        LARGE_TEST(illegal_sections_and_views_are_refused),
        LARGE_TEST(views_of_both_kinds_show_the_same_bytes),
        LARGE_TEST(two_processes_share_them),
        LARGE_TEST(protections_of_large_views),
        LARGE_TEST(locked_frames_outlive_the_section),
        LARGE_TEST(the_kernel_sees_them_in_system_space),
        LARGE_TEST(whatever_fails_nothing_is_left),
    };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
