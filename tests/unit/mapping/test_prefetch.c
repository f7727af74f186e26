/* SPDX-License-Identifier: MIT */
/*
 * MmPrefetchPages: afterwards the pages are in memory, and only those; what is read once is not read again; errors leave nothing behind.
 * Source: Microsoft Learn, MmPrefetchPages.
 */
#include "process.h"

#include "mapping/cache.h"
#include "nt/file.h"
#include "nt/mdl.h"

#define PAGES 1100u /* over three chunks of prototype PTEs */

static HANDLE File;
static HANDLE Section;
static PFILE_OBJECT FileObject;

static UCHAR PatternOf(ULONG64 Page)
{
    return (UCHAR)(Page * 37 + (Page >> 8) + 11);
}

/* A file in memory with a mark in each page, its section, and nothing of it in the machine's memory. */
static void OpenSample(void)
{
    WCHAR Text[] = u"\\\\.\\Memory\\prefetch";
    UNICODE_STRING Name = { .Length = sizeof(Text) - sizeof(WCHAR),
                            .MaximumLength = sizeof(Text),
                            .Buffer = Text };
    UCHAR *Page = calloc(1, PAGE_SIZE);
    OBJECT_ATTRIBUTES Attributes;
    IO_STATUS_BLOCK Iosb;
    PVOID Body;

    InitializeObjectAttributes(&Attributes, &Name, 0, NULL, NULL);
    assert_int_equal(NtCreateFile(&File, GENERIC_READ | GENERIC_WRITE, &Attributes, &Iosb, NULL,
                                  FILE_ATTRIBUTE_NORMAL, FILE_SHARE_READ, FILE_CREATE,
                                  FILE_SYNCHRONOUS_IO_NONALERT | FILE_NO_INTERMEDIATE_BUFFERING, NULL, 0),
                     STATUS_SUCCESS);
    for (ULONG Index = 0; Index < PAGES; Index++)
    {
        LARGE_INTEGER Offset = { .QuadPart = (LONGLONG)Index * PAGE_SIZE };

        Page[5] = PatternOf(Index);
        assert_int_equal(NtWriteFile(File, NULL, NULL, NULL, &Iosb, Page, PAGE_SIZE, &Offset, NULL),
                         STATUS_SUCCESS);
    }
    free(Page);
    assert_int_equal(
        NtCreateSection(&Section, SECTION_ALL_ACCESS, NULL, NULL, PAGE_READONLY, SEC_COMMIT, File),
        STATUS_SUCCESS);
    assert_int_equal(ObReferenceHandle(NtTableOfHandle(&File), File, 0, NULL, KernelMode, &Body, NULL),
                     STATUS_SUCCESS);
    FileObject = Body;
}

static void CloseSample(void)
{
    ObDereferenceObjectBody(FileObject);
    NtClose(Section);
    NtClose(File);
}

static PREAD_LIST NewList(ULONG Entries)
{
    PREAD_LIST List = calloc(1, sizeof(READ_LIST) + Entries * sizeof(FILE_SEGMENT_ELEMENT));

    List->FileObject = FileObject;
    List->NumberOfEntries = Entries;
    return List;
}

static ULONG64 PagesRead(void)
{
    return MiQueryCounter(MiCounterMappedPagesInput);
}

static void CheckView(ULONG First, ULONG Pages, BOOLEAN Resident)
{
    ULONG64 Before = PagesRead();
    PVOID Base = NULL;
    SIZE_T Size = 0;

    assert_int_equal(NtMapViewOfSection(Section, NtCurrentProcess(), &Base, 0, 0, NULL, &Size, ViewUnmap, 0,
                                        PAGE_READONLY),
                     STATUS_SUCCESS);
    for (ULONG Page = First; Page < First + Pages; Page++)
    {
        assert_int_equal(TestVmGet((ULONG_PTR)Base + (SIZE_T)Page * PAGE_SIZE + 5), PatternOf(Page));
    }
    assert_int_equal(PagesRead() == Before, Resident);
    assert_int_equal(NtUnmapViewOfSection(NtCurrentProcess(), Base), STATUS_SUCCESS);
}

static void pages_are_in_memory_afterwards_and_only_those(void **State)
{
    PREAD_LIST List = NewList(300);
    ULONG64 Before;

    (void)State;
    OpenSample();
    List->FileObject = FileObject;
    Before = PagesRead();
    for (ULONG Index = 0; Index < 300; Index++)
    {
        List->List[Index].Alignment =
            (ULONGLONG)(400 + Index) * PAGE_SIZE + (Index % 4); /* flags in the low bits */
    }
    assert_int_equal(MmPrefetchPages(1, &List), STATUS_SUCCESS);
    assert_int_equal(PagesRead() - Before, 300);
    assert_int_equal(MiCountSegmentPages(
                         FileObject->SectionObjectPointer->DataSectionObject != NULL
                             ? ((PCONTROL_AREA)FileObject->SectionObjectPointer->DataSectionObject)->Segment
                             : NULL),
                     300);
    CheckView(400, 300, TRUE);
    Before = PagesRead();
    assert_int_equal(MmPrefetchPages(1, &List), STATUS_SUCCESS); /* nothing is left to read */
    assert_int_equal(PagesRead(), Before);
    CheckView(0, 20, FALSE);
    CloseSample();
    free(List);
}

static void lists_name_pages_in_any_order_several_times_and_behind_the_end(void **State)
{
    TEST_RANDOM Random = TestSeed("lists_name_pages_in_any_order_several_times_and_behind_the_end");
    static BOOLEAN Wanted[PAGES];
    PREAD_LIST Lists[3];
    ULONG64 Before;
    ULONG Count = 0;

    (void)State;
    memset(Wanted, 0, sizeof(Wanted));
    OpenSample();
    for (ULONG List = 0; List < 3; List++)
    {
        Lists[List] = NewList(60 + List);
        for (ULONG Index = 0; Index < Lists[List]->NumberOfEntries; Index++)
        {
            ULONG Page = (ULONG)TestBelow(&Random, PAGES + 20);

            Lists[List]->List[Index].Alignment = (ULONGLONG)Page * PAGE_SIZE;
            Count += Page < PAGES && !Wanted[Page];
            Wanted[Page < PAGES ? Page : 0] |= Page < PAGES;
        }
    }
    Before = PagesRead();
    assert_int_equal(MmPrefetchPages(3, Lists), STATUS_SUCCESS);
    assert_int_equal(PagesRead() - Before, Count);
    for (ULONG Page = 0; Page < PAGES; Page++)
    {
        if (Wanted[Page])
        {
            CheckView(Page, 1, TRUE);
        }
    }
    MiCheckSections(3);
    CloseSample();
    for (ULONG List = 0; List < 3; List++)
    {
        free(Lists[List]);
    }
}

static void lists_without_a_section_of_a_file_are_refused(void **State)
{
    PREAD_LIST Good = NewList(1);
    PREAD_LIST Bad = NewList(1);
    PREAD_LIST Both[2] = { Good, Bad };
    ULONG64 Before;

    (void)State;
    OpenSample();
    Good->FileObject = FileObject;
    Bad->FileObject = FileObject;
    Bad->IsImage = TRUE; /* there is no image section */
    Before = PagesRead();
    assert_int_equal(MmPrefetchPages(2, Both), STATUS_INVALID_PARAMETER_1);
    assert_int_equal(MmPrefetchPages(0, Both), STATUS_INVALID_PARAMETER_1);
    assert_int_equal(PagesRead(), Before); /* not the good one either */
    Bad->FileObject = NULL;
    assert_int_equal(MmPrefetchPages(1, &Bad), STATUS_INVALID_PARAMETER_1);
    Good->NumberOfEntries = 0;
    assert_int_equal(MmPrefetchPages(1, &Good), STATUS_SUCCESS);
    CloseSample();
    free(Good);
    free(Bad);
}

static void every_failure_leaves_nothing_and_the_pages_can_be_read_later(void **State)
{
    static const KI_INJECT Kinds[] = { KiInjectFrame, KiInjectPool, KiInjectCommit, KiInjectRead };
    PREAD_LIST List = NewList(200);

    (void)State;
    OpenSample();
    List->FileObject = FileObject;
    for (ULONG Index = 0; Index < 200; Index++)
    {
        List->List[Index].Alignment = (ULONGLONG)(Index * 5) * PAGE_SIZE;
    }
    for (ULONG Kind = 0; Kind < RTL_NUMBER_OF(Kinds); Kind++)
    {
        for (ULONG64 Nth = 1;; Nth += 1 + Nth / 8)
        {
            ULONG64 Failed = 0;
            NTSTATUS Status;

            TestVmPageOut();
            MiPurgeStandby(MI_PRIORITIES - 1);
            KiSetInjection(Kinds[Kind], Nth, FALSE);
            Status = MmPrefetchPages(1, &List);
            KiQueryInjection(Kinds[Kind], &Failed);
            KiSetInjection(Kinds[Kind], 0, FALSE);
            assert_true(Status == STATUS_SUCCESS || Status == STATUS_INSUFFICIENT_RESOURCES ||
                        Status == STATUS_IO_DEVICE_ERROR || Status == STATUS_NO_MEMORY);
            assert_true(Failed != 0 || Status == STATUS_SUCCESS);
            assert_true(Kinds[Kind] != KiInjectRead || Failed == 0 || Status == STATUS_IO_DEVICE_ERROR);
            MiCheckSections(3);
            if (Failed == 0)
            {
                break;
            }
        }
    }
    for (ULONG Index = 0; Index < 200; Index++)
    {
        CheckView(Index * 5, 1, TRUE);
    }
    CloseSample();
    free(List);
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        TEST_IN_PROCESS(pages_are_in_memory_afterwards_and_only_those),
        TEST_IN_PROCESS(lists_name_pages_in_any_order_several_times_and_behind_the_end),
        TEST_IN_PROCESS(lists_without_a_section_of_a_file_are_refused),
        TEST_IN_PROCESS(every_failure_leaves_nothing_and_the_pages_can_be_read_later),
    };

    return cmocka_run_group_tests_name("mapping.prefetch", Tests, NULL, NULL);
}
