/* SPDX-License-Identifier: MIT */
/*
 * Views of images, seen by the simulated processor, deterministically: contents and fix-ups of every page against an oracle that lays the
 * file out in memory at once; paging; failures of everything that can fail. Source: Microsoft Learn, "PE Format", NtMapViewOfSection.
 */
#include "views.h"

#include "nt/ccapi.h"
#include "nt/file.h"
#include "nt/mdl.h"
#include "nt/mm.h"
#include "peimage.h"
#include "section/imagemap.h"
#include "space/session.h"

#define BASE   (((PORT_USER_LOWEST + 0x40000000) & ~0xffffull))
#define PAGES  64u
#define BYTES  (PAGES * PAGE_SIZE)
#define RANDOM 0x40u /* fix-ups */

static UCHAR Text[0x2a00];
static UCHAR Data[0x5234];
static UCHAR Shared[0x1100];
static ULONG Fixups[RANDOM];
static UCHAR Oracle[BYTES];
static ULONG ImageBytes;
static ULONG Name;
static BOOLEAN NothingShared; /* .shared is a section like .data */
static UCHAR *Bytes;          /* the file */

static PE_TEST_IMAGE MakeSample(TEST_RANDOM *Random)
{
    PE_TEST_IMAGE Image = { .Base = BASE,
                            .EntryPoint = 0x1000,
                            .DllCharacteristics = IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE,
                            .SectionCount = 4,
                            .Sections = { { ".text", 0, PE_TEXT, Text, sizeof(Text) },
                                          { ".data", 0x7000, PE_DATA, Data, sizeof(Data) },
                                          { ".shared", 0, NothingShared ? PE_DATA : PE_SHARED, Shared,
                                            sizeof(Shared) },
                                          { ".bss", 0x3000, PE_BSS, NULL, 0 } },
                            .Fixups = Fixups,
                            .FixupCount = RANDOM };

    for (ULONG Index = 0; Index < sizeof(Text); Index++)
    {
        Text[Index] = (UCHAR)TestDraw(Random);
    }
    for (ULONG Index = 0; Index < sizeof(Data); Index++)
    {
        Data[Index] = (UCHAR)TestDraw(Random);
    }
    for (ULONG Index = 0; Index < sizeof(Shared); Index++)
    {
        Shared[Index] = (UCHAR)TestDraw(Random);
    }
    /* Eleven bytes apart at least, so that some fields cross pages and none touches another one. */
    for (ULONG Index = 0, Rva = 0x1000; Index < RANDOM; Index++)
    {
        Rva += 11 + (ULONG)TestBelow(Random, 400);
        Fixups[Index] = Rva;
    }
    return Image;
}

/* The whole image in memory, relocated at once. */
static void LayOut(const PE_TEST_IMAGE *Image, const UCHAR *File, ULONG64 Base)
{
    IMAGE_NT_HEADERS64 *Headers = PeHeaders((UCHAR *)(ULONG_PTR)File);
    IMAGE_SECTION_HEADER *Sections = PeSectionHeaders((UCHAR *)(ULONG_PTR)File);
    ULONG64 Delta = Base - Image->Base;

    memset(Oracle, 0, sizeof(Oracle));
    ImageBytes = Headers->OptionalHeader.SizeOfImage;
    assert_true(ImageBytes <= sizeof(Oracle));
    memcpy(Oracle, File, Headers->OptionalHeader.SizeOfHeaders);
    for (ULONG Index = 0; Index < Headers->FileHeader.NumberOfSections; Index++)
    {
        memcpy(Oracle + Sections[Index].VirtualAddress, File + Sections[Index].PointerToRawData,
               Sections[Index].SizeOfRawData);
    }
    for (ULONG Index = 0; Index < Image->FixupCount; Index++)
    {
        ULONG64 Value;

        memcpy(&Value, Oracle + Image->Fixups[Index], sizeof(Value));
        Value += Delta;
        memcpy(Oracle + Image->Fixups[Index], &Value, sizeof(Value));
    }
    Headers = PeHeaders(Oracle);
    Headers->OptionalHeader.ImageBase = Base;
}

/* A file in memory with the bytes; the handle is the current process's. */
static HANDLE MakeFile(const UCHAR *Contents, SIZE_T Size)
{
    WCHAR Wide[64];
    char Narrow[64];
    UNICODE_STRING String;
    OBJECT_ATTRIBUTES Attributes;
    IO_STATUS_BLOCK IoStatus;
    LARGE_INTEGER Offset = { .QuadPart = 0 };
    HANDLE File;
    int Length = snprintf(Narrow, sizeof(Narrow), "\\\\.\\Memory\\image%u", ++Name);

    for (int Index = 0; Index <= Length; Index++)
    {
        Wide[Index] = (WCHAR)Narrow[Index];
    }
    RtlInitUnicodeString(&String, Wide);
    InitializeObjectAttributes(&Attributes, &String, 0, NULL, NULL);
    assert_int_equal(NtCreateFile(&File, GENERIC_READ | GENERIC_WRITE | GENERIC_EXECUTE, &Attributes,
                                  &IoStatus, NULL, FILE_ATTRIBUTE_NORMAL, FILE_SHARE_READ, FILE_CREATE,
                                  FILE_SYNCHRONOUS_IO_NONALERT | FILE_NO_INTERMEDIATE_BUFFERING, NULL, 0),
                     STATUS_SUCCESS);
    if (Size != 0)
    {
        UCHAR *Padded = calloc(1, ROUND_TO_PAGES(Size));

        memcpy(Padded, Contents, Size);
        assert_int_equal(NtWriteFile(File, NULL, NULL, NULL, &IoStatus, Padded, (ULONG)ROUND_TO_PAGES(Size),
                                     &Offset, NULL),
                         STATUS_SUCCESS);
        free(Padded);
    }
    return File;
}

static NTSTATUS CreateImage(HANDLE File, PSECTION *Section)
{
    MI_SECTION_REQUEST Request = { .Protect = PAGE_EXECUTE, .Attributes = SEC_IMAGE, .Mode = UserMode };
    NTSTATUS Status =
        ObReferenceHandle(NtTableOfHandle(&File), File, 0, NULL, KernelMode, &Request.FileObject, NULL);

    assert_int_equal(Status, STATUS_SUCCESS);
    Status = MiCreateSection(&Request, Section);
    ObDereferenceObjectBody(Request.FileObject);
    return Status;
}

static NTSTATUS MapImage(PEPROCESS Process, PSECTION Section, ULONG_PTR *Base)
{
    MI_VIEW View = {
        .Section = Section, .Inherit = ViewUnmap, .Protect = PAGE_EXECUTE_WRITECOPY, .Mode = UserMode
    };
    NTSTATUS Status = MiMapView(&Process->Space, &View);

    *Base = NT_SUCCESS(Status) ? View.Base : 0;
    return Status;
}

static void CheckAll(ULONG_PTR Base)
{
    for (ULONG Byte = 0; Byte < ImageBytes; Byte += 1)
    {
        if (TestVmGet(Base + Byte) != Oracle[Byte])
        {
            fail_msg("byte 0x%x of the image is 0x%02x, expected 0x%02x", Byte, TestVmGet(Base + Byte),
                     Oracle[Byte]);
        }
    }
}

static PSECTION Section;
static HANDLE File;
static PE_TEST_IMAGE Sample;

static void OpenSample(const char *Test, ULONG64 Base)
{
    TEST_RANDOM Random = TestSeed(Test);
    SIZE_T Size;

    Sample = MakeSample(&Random);
    Sample.Base = Base;
    Bytes = PeBuildImage(&Sample, &Size);
    File = MakeFile(Bytes, Size);
    assert_int_equal(CreateImage(File, &Section), STATUS_SUCCESS);
    LayOut(&Sample, Bytes, MiImageOf(Section->ControlArea)->Base);
}

static void CloseSample(void)
{
    ObDereferenceObjectBody(Section);
    assert_int_equal(NtClose(File), STATUS_SUCCESS);
    free(Bytes);
}

static void every_byte_is_that_of_the_file(void **State)
{
    ULONG_PTR View;

    (void)State;
    OpenSample("every_byte", BASE);
    assert_int_equal(MiImageOf(Section->ControlArea)->Base, BASE);
    assert_int_equal(MapImage(TestUserProcess, Section, &View), STATUS_SUCCESS);
    assert_int_equal(View, BASE);
    CheckAll(View);
    TestVmPageOut();
    CheckAll(View);
    TestUnmapIn(TestUserProcess, View);
    CloseSample();
}

/* The preferred base does not exist here, so the image has another one: fix-ups in every page that wants some. */
static void an_image_at_another_base_is_relocated(void **State)
{
    ULONG_PTR View;
    ULONG64 Copies;

    (void)State;
    OpenSample("relocated", 0xffff800000000000);
    assert_true(MiImageOf(Section->ControlArea)->Base != 0xffff800000000000);
    assert_int_equal(MapImage(TestUserProcess, Section, &View), STATUS_SUCCESS);
    CheckAll(View);
    TestVmPageOut();
    Copies = MiState.Physical->CommittedPages;
    CheckAll(View);
    /* Relocated pages belong to the file: coming back costs no commitment. */
    assert_int_equal(MiState.Physical->CommittedPages, Copies);
    TestUnmapIn(TestUserProcess, View);
    CloseSample();
}

static void copies_are_private_and_shared_pages_are_not(void **State)
{
    PEPROCESS Other = TestNewProcess("other");
    ULONG_PTR DataRva = PeSectionRva(&Sample, 1);
    ULONG_PTR SharedRva, View, Second;

    (void)State;
    OpenSample("copies", BASE);
    DataRva = PeSectionRva(&Sample, 1);
    SharedRva = PeSectionRva(&Sample, 2);
    assert_int_equal(MapImage(TestUserProcess, Section, &View), STATUS_SUCCESS);
    assert_int_equal(MapImage(Other, Section, &Second), STATUS_SUCCESS);
    assert_int_equal(View, Second);
    TestVmPut(View + DataRva, (UCHAR)~Oracle[DataRva]);
    TestVmPut(View + SharedRva, (UCHAR)~Oracle[SharedRva]);
    assert_int_equal(TestVmTryPut(View + 0x1000, 0), STATUS_ACCESS_VIOLATION);
    TestVmPageOut();
    TestRunInProcess(Other);
    assert_int_equal(TestVmGet(Second + DataRva), Oracle[DataRva]);
    assert_int_equal(TestVmGet(Second + SharedRva), (UCHAR)~Oracle[SharedRva]);
    TestVmPageOut();
    TestRunInProcess(TestUserProcess);
    assert_int_equal(TestVmGet(View + DataRva), (UCHAR)~Oracle[DataRva]);
    Oracle[DataRva] = (UCHAR)~Oracle[DataRva];
    Oracle[SharedRva] = (UCHAR)~Oracle[SharedRva];
    CheckAll(View);
    TestUnmapIn(Other, Second);
    TestUnmapIn(TestUserProcess, View);
    CloseSample();
    TestEndProcess(Other);
}

/* All sections of a file have one control area, one base, one set of pages. */
static void a_file_has_one_image_control_area(void **State)
{
    PSECTION Another;
    ULONG_PTR View;
    ULONG64 Reads;

    (void)State;
    OpenSample("one_control_area", BASE);
    assert_int_equal(CreateImage(File, &Another), STATUS_SUCCESS);
    assert_ptr_equal(Another->ControlArea, Section->ControlArea);
    assert_int_equal(MapImage(TestUserProcess, Section, &View), STATUS_SUCCESS);
    CheckAll(View);
    TestUnmapIn(TestUserProcess, View);
    ObDereferenceObjectBody(Another);
    ObDereferenceObjectBody(Section);
    /* Nobody uses the image, but its pages are on standby: they are found again. */
    assert_int_equal(CreateImage(File, &Section), STATUS_SUCCESS);
    assert_int_equal(MapImage(TestUserProcess, Section, &View), STATUS_SUCCESS);
    Reads = MiQueryCounter(MiCounterPageReads);
    assert_int_equal(TestVmGet(View + 0x1000), Oracle[0x1000]);
    assert_int_equal(MiQueryCounter(MiCounterPageReads), Reads);
    TestUnmapIn(TestUserProcess, View);
    CloseSample();
}

/* A file that became shorter, a device that fails: an in-page error, and nothing else. */
static void a_page_that_cannot_be_read_is_an_in_page_error(void **State)
{
    ULONG_PTR View;

    (void)State;
    OpenSample("inpage", BASE);
    assert_int_equal(MapImage(TestUserProcess, Section, &View), STATUS_SUCCESS);
    KiSetInjection(KiInjectRead, 1, TRUE);
    {
        UCHAR Value;

        assert_int_equal(TestVmTryGet(View + 0x1000, &Value), STATUS_IN_PAGE_ERROR);
    }
    KiSetInjection(KiInjectRead, 0, FALSE);
    CheckAll(View);
    TestUnmapIn(TestUserProcess, View);
    CloseSample();
}

/* ---- Random operations of several processes against an oracle of bytes ---- */

#define USERS 3u

typedef struct _USER
{
    PEPROCESS Process;
    ULONG_PTR View; /* 0: none */
    UCHAR Private[BYTES];
} USER;

static USER Users[USERS];

/* What the user sees there: his copy, or what everybody has. */
static UCHAR *PlaceOf(USER *User, ULONG Rva)
{
    ULONG Start = PeSectionRva(&Sample, 2);

    return Rva >= Start && Rva < PeSectionRva(&Sample, 3) ? &Oracle[Rva] : &User->Private[Rva];
}

static void MapOrUnmap(USER *User)
{
    if (User->View == 0)
    {
        assert_true(NT_SUCCESS(MapImage(User->Process, Section, &User->View)));
        memcpy(User->Private, Oracle, sizeof(Oracle));
        return;
    }
    TestUnmapIn(User->Process, User->View);
    User->View = 0;
}

/* .data, .shared, .bss: all that may be written. */
static void WriteOne(USER *User, TEST_RANDOM *Random)
{
    ULONG Start = PeSectionRva(&Sample, 1);
    ULONG Rva = Start + (ULONG)TestBelow(Random, PeSectionRva(&Sample, 4) - Start);
    UCHAR Value = (UCHAR)TestDraw(Random);

    TestVmPut(User->View + Rva, Value);
    *PlaceOf(User, Rva) = Value;
}

static void ReadSome(USER *User, TEST_RANDOM *Random)
{
    for (ULONG Count = 0; Count < 20; Count++)
    {
        ULONG Rva = (ULONG)TestBelow(Random, ImageBytes);

        assert_int_equal(TestVmGet(User->View + Rva), *PlaceOf(User, Rva));
    }
}

static void many_views_agree_with_an_oracle(void **State)
{
    TEST_RANDOM Random;

    (void)State;
    OpenSample("image_model", 0xffff800000000000);
    Random = TestSeed("image_model_operations");
    for (ULONG Index = 0; Index < USERS; Index++)
    {
        Users[Index] = (USER){ .Process = Index == 0 ? TestUserProcess : TestNewProcess("user") };
    }
    for (ULONG64 Round = TestIterations(3000); Round > 0; Round--)
    {
        USER *User = &Users[TestBelow(&Random, USERS)];
        ULONG What = (ULONG)TestBelow(&Random, 100);

        TestRunInProcess(User->Process);
        if (What < 4 || User->View == 0)
        {
            MapOrUnmap(User);
        }
        else if (What < 50)
        {
            WriteOne(User, &Random);
        }
        else if (What < 90)
        {
            ReadSome(User, &Random);
        }
        else if (What < 96)
        {
            TestVmTrimAll();
        }
        else
        {
            TestVmPageOut();
        }
    }
    for (ULONG Index = 0; Index < USERS; Index++)
    {
        TestRunInProcess(Users[Index].Process);
        for (ULONG Rva = 0; Users[Index].View != 0 && Rva < ImageBytes; Rva++)
        {
            assert_int_equal(TestVmGet(Users[Index].View + Rva), *PlaceOf(&Users[Index], Rva));
        }
        if (Users[Index].View != 0)
        {
            MapOrUnmap(&Users[Index]);
        }
    }
    TestRunInProcess(TestUserProcess);
    for (ULONG Index = 1; Index < USERS; Index++)
    {
        TestEndProcess(Users[Index].Process);
    }
    CloseSample();
}

/* ---- Failures ---- */

static NTSTATUS UseImage(ULONG_PTR Context)
{
    PSECTION New = NULL;
    ULONG_PTR View = 0;
    UCHAR Value;
    NTSTATUS Status = CreateImage((HANDLE)Context, &New);

    if (NT_SUCCESS(Status))
    {
        Status = MapImage(TestUserProcess, New, &View);
    }
    for (ULONG Page = 0; Page < ImageBytes / PAGE_SIZE && NT_SUCCESS(Status); Page++)
    {
        Status = TestVmTryGet(View + Page * PAGE_SIZE, &Value);
        assert_true(!NT_SUCCESS(Status) || Value == Oracle[Page * PAGE_SIZE]);
    }
    if (NT_SUCCESS(Status))
    {
        Status = TestVmTryPut(View + PeSectionRva(&Sample, 1), 1);
    }
    if (View != 0)
    {
        TestUnmapIn(TestUserProcess, View);
    }
    if (New != NULL)
    {
        ObDereferenceObjectBody(New);
    }
    MiTrimUnusedSegments(~0ull);
    return Status;
}

static void whatever_fails_nothing_is_left(void **State)
{
    static const KI_INJECT Kinds[] = { KiInjectFrame, KiInjectPool, KiInjectCommit, KiInjectRead };

    (void)State;
    OpenSample("failures", 0xffff800000000000);
    ObDereferenceObjectBody(Section);
    MiTrimUnusedSegments(~0ull);
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Kinds); Index++)
    {
        TestWithFailures(Kinds[Index], UseImage, (ULONG_PTR)File);
    }
    assert_int_equal(NtClose(File), STATUS_SUCCESS);
    free(Bytes);
}

/* ---- Another base, and system space ------------------------------------------------------------------------ */

static NTSTATUS MapAnywhere(PSECTION Image, ULONG64 Offset, ULONG Type, ULONG_PTR *Base)
{
    MI_VIEW View = { .Section = Image,
                     .Offset = Offset,
                     .Inherit = ViewUnmap,
                     .Type = Type,
                     .Protect = PAGE_EXECUTE_WRITECOPY,
                     .Mode = UserMode };
    NTSTATUS Status = MiMapView(&TestUserProcess->Space, &View);

    *Base = NT_SUCCESS(Status) ? View.Base : 0;
    return Status;
}

static void a_view_elsewhere_is_fixed_up_if_the_caller_permits_it(void **State)
{
    ULONG_PTR First, Second, Third, Part;

    (void)State;
    NothingShared = TRUE;
    OpenSample("elsewhere", BASE);
    assert_int_equal(MapAnywhere(Section, 0, MEM_DIFFERENT_IMAGE_BASE_OK, &First), STATUS_SUCCESS);
    assert_int_equal(First, BASE);
    assert_int_equal(MapAnywhere(Section, 0, 0, &Second), STATUS_IMAGE_NOT_AT_BASE);
    CheckAll(Second); /* as at the base: fix-ups are the caller's */
    assert_int_equal(MapAnywhere(Section, 0, MEM_DIFFERENT_IMAGE_BASE_OK, &Third),
                     STATUS_IMAGE_AT_DIFFERENT_BASE);
    assert_int_equal(MapAnywhere(Section, 0x10000, MEM_DIFFERENT_IMAGE_BASE_OK, &Part),
                     STATUS_IMAGE_AT_DIFFERENT_BASE);
    assert_int_equal(MiState.Section->NumberOfControlAreas, 3);
    CheckAll(First);
    LayOut(&Sample, Bytes, Third);
    CheckAll(Third);
    TestVmPageOut();
    TestVmPut(Third + PeSectionRva(&Sample, 1), (UCHAR)~Oracle[PeSectionRva(&Sample, 1)]);
    TestUnmapIn(TestUserProcess, First);
    TestUnmapIn(TestUserProcess, Second);
    Oracle[PeSectionRva(&Sample, 1)] ^= 0xff;
    CheckAll(Third); /* the view keeps the file by itself */
    assert_false(MmFlushImageSection(((PFILE_OBJECT)Section->ControlArea->FilePointer)->SectionObjectPointer,
                                     MmFlushForWrite));
    TestUnmapIn(TestUserProcess, Third);
    LayOut(&Sample, Bytes, Part - 0x10000);
    for (ULONG Rva = 0x10000; Rva < ImageBytes; Rva++)
    {
        assert_int_equal(TestVmGet(Part + Rva - 0x10000), Oracle[Rva]);
    }
    TestUnmapIn(TestUserProcess, Part);
    assert_int_equal(MiState.Section->NumberOfControlAreas, 1);
    CloseSample();
    NothingShared = FALSE;
}

static void what_all_views_share_stays_at_one_base(void **State)
{
    ULONG_PTR First, Second;

    (void)State;
    OpenSample("shared_base", BASE);
    assert_int_equal(MapAnywhere(Section, 0, 0, &First), STATUS_SUCCESS);
    assert_int_equal(MapAnywhere(Section, 0, MEM_DIFFERENT_IMAGE_BASE_OK, &Second), STATUS_IMAGE_NOT_AT_BASE);
    CheckAll(Second);
    TestUnmapIn(TestUserProcess, First);
    TestUnmapIn(TestUserProcess, Second);
    CloseSample();
}

static NTSTATUS UseElsewhere(ULONG_PTR Context)
{
    ULONG_PTR View;
    UCHAR Value;
    NTSTATUS Status = MapAnywhere((PSECTION)Context, 0, MEM_DIFFERENT_IMAGE_BASE_OK, &View);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = TestVmTryGet(View + 0x1000, &Value);
    TestUnmapIn(TestUserProcess, View);
    return Status;
}

static void a_view_elsewhere_fails_without_a_trace(void **State)
{
    static const KI_INJECT Kinds[] = { KiInjectFrame, KiInjectPool, KiInjectCommit, KiInjectRead };
    ULONG_PTR First;

    (void)State;
    NothingShared = TRUE;
    OpenSample("elsewhere_failures", BASE);
    assert_int_equal(MapAnywhere(Section, 0, 0, &First), STATUS_SUCCESS);
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Kinds); Index++)
    {
        TestWithFailures(Kinds[Index], UseElsewhere, (ULONG_PTR)Section);
        assert_int_equal(MiState.Section->NumberOfControlAreas, 1);
    }
    TestUnmapIn(TestUserProcess, First);
    CloseSample();
    NothingShared = FALSE;
}

static void WriteText(void *View)
{
    TestVmPut((ULONG_PTR)View + 0x1000, 0);
}

static void the_kernel_sees_an_image_in_system_space(void **State)
{
    ULONG_PTR User;
    PVOID View, Part;
    SIZE_T Size = 0, PartSize = 0x1000;
    LARGE_INTEGER Offset = { .QuadPart = 0x10000 };
    ULONG_PTR DataRva;

    (void)State;
    OpenSample("system", 0xffff800000000000);
    DataRva = PeSectionRva(&Sample, 1);
    assert_int_equal(MapAnywhere(Section, 0, 0, &User), STATUS_SUCCESS);
    TestRunInProcess(NULL);
    assert_int_equal(MmMapViewInSystemSpace(Section, &View, &Size), STATUS_SUCCESS);
    assert_int_equal(Size, ImageBytes);
    assert_true(MiIsSystemAddress((ULONG_PTR)View));
    /* Copies are charged with the view. */
    assert_true(MiState.Space->System.CommitCharge >= (PeSectionRva(&Sample, 2) - DataRva) / PAGE_SIZE);
    CheckAll((ULONG_PTR)View);
    assert_int_equal(MmMapViewInSystemSpaceEx(Section, &Part, &PartSize, &Offset, 0), STATUS_SUCCESS);
    for (ULONG Byte = 0; Byte < PAGE_SIZE; Byte++)
    {
        assert_int_equal(TestVmGet((ULONG_PTR)Part + Byte), Oracle[0x10000 + Byte]);
    }
    /* What is written there is copied: nobody else sees it. */
    TestVmPut((ULONG_PTR)View + DataRva, (UCHAR)~Oracle[DataRva]);
    TestRunInProcess(TestUserProcess);
    assert_int_equal(TestVmGet(User + DataRva), Oracle[DataRva]);
    TestRunInProcess(NULL);
    Oracle[DataRva] ^= 0xff;
    CheckAll((ULONG_PTR)View);
    TestExpectBugCheck(ATTEMPTED_WRITE_TO_READONLY_MEMORY, WriteText, View);
    assert_int_equal(MmUnmapViewInSystemSpace(View), STATUS_SUCCESS);
    assert_int_equal(MmUnmapViewInSystemSpace(Part), STATUS_SUCCESS);
    assert_int_equal(MiState.Space->System.CommitCharge, 0);
    TestRunInProcess(TestUserProcess);
    TestUnmapIn(TestUserProcess, User);
    CloseSample();
}

/* All pages that have something in the file come with it, fixed up. */
static void an_image_is_prefetched(void **State)
{
    PFILE_OBJECT FileObject;
    READ_LIST *List = calloc(1, sizeof(*List) + PAGES * sizeof(FILE_SEGMENT_ELEMENT));
    ULONG64 Reads;
    ULONG_PTR View;

    (void)State;
    OpenSample("prefetched", 0xffff800000000000);
    FileObject = Section->ControlArea->FilePointer;
    List->FileObject = FileObject;
    List->IsImage = TRUE;
    List->NumberOfEntries = PAGES;
    for (ULONG Page = 0; Page < PAGES; Page++)
    {
        List->List[Page].Alignment = (ULONGLONG)Page * PAGE_SIZE;
    }
    assert_int_equal(MmPrefetchPages(1, &List), STATUS_SUCCESS);
    Reads = MiQueryCounter(MiCounterPageReads);
    assert_int_equal(MapImage(TestUserProcess, Section, &View), STATUS_SUCCESS);
    CheckAll(View);
    assert_int_equal(MiQueryCounter(MiCounterPageReads), Reads);
    TestUnmapIn(TestUserProcess, View);
    for (ULONG64 Nth = 1, Failed = 1; Failed != 0; Nth++)
    {
        TestVmPageOut();
        MiPurgeStandby(MI_PRIORITIES - 1);
        KiSetInjection(KiInjectFrame, Nth, FALSE);
        (VOID) MmPrefetchPages(1, &List);
        KiQueryInjection(KiInjectFrame, &Failed);
        KiSetInjection(KiInjectFrame, 0, FALSE);
        MiCheckSections(3);
    }
    free(List);
    CloseSample();
}

static void Prefetch(ULONG_PTR View)
{
    assert_int_equal(MiPrefetchRange(&TestUserProcess->Space, View, PAGES * PAGE_SIZE), STATUS_SUCCESS);
    TestFinishReads();
}

/* VmPrefetchInformation: what a view of an image shows is read ahead of the faults, and advice under every failure. */
static void a_view_of_an_image_is_prefetched(void **State)
{
    ULONG64 Reads, Before;
    ULONG_PTR View;

    (void)State;
    OpenSample("viewprefetched", 0xffff800000000000);
    assert_int_equal(MapImage(TestUserProcess, Section, &View), STATUS_SUCCESS);
    Before = MiQueryCounter(MiCounterPageReads);
    Prefetch(View);
    Reads = MiQueryCounter(MiCounterPageReads);
    /* Headers, .text, .data, .shared, .reloc: one read for each that has something in the file. */
    assert_int_equal(Reads - Before, 5);
    CheckAll(View);
    assert_int_equal(MiQueryCounter(MiCounterPageReads), Reads);
    Prefetch(View); /* everything is there */
    assert_int_equal(MiQueryCounter(MiCounterPageReads), Reads);
    for (ULONG64 Nth = 1, Failed = 1; Failed != 0; Nth++)
    {
        KI_INJECT Kind = (Nth & 1) != 0 ? KiInjectFrame : KiInjectRead;

        TestVmPageOut();
        KiSetInjection(Kind, (Nth + 1) / 2, FALSE);
        Prefetch(View);
        KiQueryInjection(Kind, &Failed);
        KiSetInjection(Kind, 0, FALSE);
        MiCheckSections(3);
    }
    CheckAll(View);
    TestUnmapIn(TestUserProcess, View);
    CloseSample();
}

/* Pages that all views share are in the paging file once they have been there: they come from it. */
static void shared_pages_of_an_image_are_prefetched(void **State)
{
    ULONG_PTR View, SharedRva;
    ULONG64 Reads;

    (void)State;
    OpenSample("sharedprefetched", BASE);
    SharedRva = PeSectionRva(&Sample, 2);
    assert_int_equal(MapImage(TestUserProcess, Section, &View), STATUS_SUCCESS);
    Oracle[SharedRva] ^= 0xff;
    TestVmPut(View + SharedRva, Oracle[SharedRva]);
    CheckAll(View);
    TestVmPageOut();
    assert_int_equal(TestVmGet(View), Oracle[0]); /* and the page table */
    Prefetch(View);
    Reads = MiQueryCounter(MiCounterPageReads);
    CheckAll(View);
    assert_int_equal(MiQueryCounter(MiCounterPageReads), Reads);
    TestUnmapIn(TestUserProcess, View);
    CloseSample();
}

/* The same in a session: another session maps its own view of the same pages, at the same address. */
static void sessions_see_images_of_their_own(void **State)
{
    PEPROCESS First, Second;
    PVOID View, Other;
    SIZE_T Size = 0, OtherSize = 0;
    ULONG_PTR DataRva;

    (void)State;
    OpenSample("session", 0xffff800000000000);
    DataRva = PeSectionRva(&Sample, 1);
    assert_int_equal(PsCreateProcessInSession("first", 1, &First), STATUS_SUCCESS);
    assert_int_equal(PsCreateProcessInSession("second", 2, &Second), STATUS_SUCCESS);
    TestRunInProcess(NULL);
    PsSetThreadProcess(First);
    assert_int_equal(MmMapViewInSessionSpace(Section, &View, &Size), STATUS_SUCCESS);
    assert_int_equal(Size, ImageBytes);
    assert_true(MiIsSessionAddress((ULONG_PTR)View));
    assert_true(First->Session->Space.CommitCharge >= (PeSectionRva(&Sample, 2) - DataRva) / PAGE_SIZE);
    CheckAll((ULONG_PTR)View);
    TestVmPut((ULONG_PTR)View + DataRva, (UCHAR)~Oracle[DataRva]);
    PsSetThreadProcess(Second);
    assert_int_equal(MmMapViewInSessionSpace(Section, &Other, &OtherSize), STATUS_SUCCESS);
    assert_ptr_equal(Other, View);
    CheckAll((ULONG_PTR)Other);
    PsSetThreadProcess(First);
    Oracle[DataRva] ^= 0xff;
    MiEmptyWorkingSet(&First->Session->Space);
    MiFlushModifiedPages();
    MiPurgeStandby(MI_PRIORITIES - 1);
    CheckAll((ULONG_PTR)View);
    assert_int_equal(MmUnmapViewInSessionSpace(View), STATUS_SUCCESS);
    PsSetThreadProcess(Second);
    assert_int_equal(MmUnmapViewInSessionSpace(Other), STATUS_SUCCESS);
    PsSetThreadProcess(NULL);
    TestEndProcess(First);
    TestEndProcess(Second);
    TestRunInProcess(TestUserProcess);
    CloseSample();
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        TEST_IN_PROCESS(every_byte_is_that_of_the_file),
        TEST_IN_PROCESS(an_image_at_another_base_is_relocated),
        TEST_IN_PROCESS(copies_are_private_and_shared_pages_are_not),
        TEST_IN_PROCESS(a_file_has_one_image_control_area),
        TEST_IN_PROCESS(a_page_that_cannot_be_read_is_an_in_page_error),
        TEST_IN_PROCESS(many_views_agree_with_an_oracle),
        TEST_IN_PROCESS(whatever_fails_nothing_is_left),
        TEST_IN_PROCESS(a_view_elsewhere_is_fixed_up_if_the_caller_permits_it),
        TEST_IN_PROCESS(what_all_views_share_stays_at_one_base),
        TEST_IN_PROCESS(a_view_elsewhere_fails_without_a_trace),
        TEST_IN_PROCESS(the_kernel_sees_an_image_in_system_space),
        TEST_IN_PROCESS(an_image_is_prefetched),
        TEST_IN_PROCESS(a_view_of_an_image_is_prefetched),
        TEST_IN_PROCESS(shared_pages_of_an_image_are_prefetched),
        TEST_IN_PROCESS(sessions_see_images_of_their_own),
    };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
