/* SPDX-License-Identifier: MIT */
/*
 * Image sections as programs use them: PE files made byte by byte are mapped, their code is called, their data written, in one process and in
 * two; pages leave memory and come back. Where mingw-w64 is present, a DLL that it has made, too.
 * Sources: Microsoft Learn, NtCreateSection, NtMapViewOfSection, CreateFileMapping (SEC_IMAGE), "PE Format".
 */
#include "native_test.h"

#include "nt/ntioapi.h"
#include "nt/sysinfo.h"
#include "peimage.h"
#include "port.h"

#define MS __attribute__((ms_abi))

/* Preferred base: inside the user window of every preset. */
#define BASE (((PORT_USER_LOWEST + 0x40000000) & ~0xffffull))

enum
{
    TextRva = 0x1000,
    ConstantRva = 0x2000,
    DataRva = 0x3000,
    SharedRva = 0x5000,
    BssRva = 0x6000,
    RelocRva = 0x26000
};

static CHAR Folder[64];

/*
 * 0: add ecx, edx         40: load the DWORD that the address at 42 points to (a fix-up)
 * 80: the same for the pointer in .rdata (a fix-up there)
 */
static UCHAR Text[0x1000];
static UCHAR Constant[0x600];
static UCHAR Data[0x1800];
static UCHAR Shared[0x200];

static const ULONG Fixups[] = { TextRva + 42, ConstantRva + 8, ConstantRva + 0x500, DataRva + 0xffc };

static VOID Absolute(PUCHAR Place, ULONG Rva)
{
    ULONG64 Address = BASE + Rva;

    memcpy(Place, &Address, sizeof(Address));
}

static PE_TEST_IMAGE Sample(VOID)
{
    static const UCHAR Add[] = { 0x89, 0xc8, 0x01, 0xd0, 0xc3 };
    static const UCHAR Load[] = { 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0x8b, 0x00, 0xc3 };
    ULONG Value = 0x12345678;

    memset(Text, 0xcc, sizeof(Text));
    memcpy(Text, Add, sizeof(Add));
    memcpy(Text + 40, Load, sizeof(Load));
    Absolute(Text + 42, DataRva + 16);
    Absolute(Constant + 8, DataRva);
    Absolute(Constant + 0x500, TextRva);
    memcpy(Data + 16, &Value, sizeof(Value));
    Absolute(Data + 0xffc, SharedRva); /* crosses a page */
    memset(Shared, 0x55, sizeof(Shared));
    return (PE_TEST_IMAGE){ .Base = BASE,
                            .EntryPoint = TextRva,
                            .DllCharacteristics = IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE |
                                                  IMAGE_DLLCHARACTERISTICS_HIGH_ENTROPY_VA,
                            .SectionCount = 5,
                            .Sections = { { ".text", 0, PE_TEXT, Text, sizeof(Text) },
                                          { ".rdata", 0, PE_RDATA, Constant, sizeof(Constant) },
                                          { ".data", 0, PE_DATA, Data, sizeof(Data) },
                                          { ".shared", 0, PE_SHARED, Shared, sizeof(Shared) },
                                          { ".bss", 0x20000, PE_BSS, NULL, 0 } },
                            .Fixups = Fixups,
                            .FixupCount = RTL_NUMBER_OF(Fixups) };
}

static VOID WriteFileBytes(PCSTR Name, const UCHAR *Bytes, SIZE_T Size)
{
    CHAR Path[128];
    FILE *File;

    snprintf(Path, sizeof(Path), "%s/%s", Folder, Name);
    File = fopen(Path, "wb");
    assert_non_null(File);
    assert_int_equal(fwrite(Bytes, 1, Size, File), Size);
    assert_int_equal(fclose(File), 0);
}

static VOID WriteSample(PCSTR Name, const PE_TEST_IMAGE *Image)
{
    SIZE_T Size;
    PUCHAR Bytes = PeBuildImage(Image, &Size);

    WriteFileBytes(Name, Bytes, Size);
    free(Bytes);
}

/* ---- Services in short: user-mode code ---- */

static NTSTATUS OpenImage(PCSTR Name, ULONG Attributes, ULONG Protect, HANDLE *Section)
{
    CHAR Path[160];
    WCHAR Wide[160];
    UNICODE_STRING String;
    OBJECT_ATTRIBUTES Object;
    IO_STATUS_BLOCK IoStatus;
    HANDLE File;
    NTSTATUS Status;
    int Length =
        snprintf(Path, sizeof(Path), "%s%s%s", Name[0] == '/' ? "" : Folder, Name[0] == '/' ? "" : "/", Name);

    for (int Index = 0; Index <= Length; Index += 1)
    {
        Wide[Index] = (WCHAR)Path[Index];
    }
    RtlInitUnicodeString(&String, Wide);
    InitializeObjectAttributes(&Object, &String, 0, NULL, NULL);
    Status = NtOpenFile(&File, FILE_GENERIC_READ | FILE_GENERIC_EXECUTE, &Object, &IoStatus, FILE_SHARE_READ,
                        FILE_SYNCHRONOUS_IO_NONALERT);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = NtCreateSection(Section, SECTION_ALL_ACCESS | SECTION_MAP_EXECUTE, NULL, NULL, Protect,
                             Attributes, File);
    NtClose(File);
    return Status;
}

static NTSTATUS MapSection(HANDLE Section, PUCHAR *View)
{
    SIZE_T Size = 0;

    *View = NULL;
    return NtMapViewOfSection(Section, NtCurrentProcess(), (PVOID *)(PVOID)View, 0, 0, NULL, &Size, ViewUnmap,
                              0, PAGE_EXECUTE_WRITECOPY);
}

/* Fails the process with the line as its exit status. */
#define MUST(Condition)                                                                                      \
    do                                                                                                       \
    {                                                                                                        \
        if (!(Condition))                                                                                    \
        {                                                                                                    \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #Condition);                                  \
            return (NTSTATUS)(0xE0000000u + __LINE__);                                                       \
        }                                                                                                    \
    } while (0)

static ULONG64 WordAt(const UCHAR *Place)
{
    ULONG64 Word;

    memcpy(&Word, Place, sizeof(Word));
    return Word;
}

/* What every view of the sample shows whose pages were made for Base. */
static NTSTATUS CheckContents(const UCHAR *View, ULONG64 Base)
{
    MUST(View[0] == 'M' && View[1] == 'Z');
    MUST(WordAt(View + ConstantRva + 8) == Base + DataRva);
    MUST(WordAt(View + ConstantRva + 0x500) == Base + TextRva);
    MUST(WordAt(View + DataRva + 0xffc) == Base + SharedRva);
    MUST(View[DataRva + 16] == 0x78 && View[DataRva + 0x17ff] == 0);
    MUST(View[DataRva + 0x1800] == 0 && View[DataRva + 0x1fff] == 0);
    MUST(View[BssRva] == 0 && View[BssRva + 0x1ffff] == 0);
    MUST(View[TextRva + 5] == 0xcc && View[TextRva + 0xfff] == 0xcc);
    MUST(WordAt(View + 0x80 + FIELD_OFFSET(IMAGE_NT_HEADERS64, OptionalHeader.ImageBase)) == Base);
    return STATUS_SUCCESS;
}

static NTSTATUS CallCode(PUCHAR View)
{
    int(MS * Add)(int, int);
    int(MS * Load)(void);
    PVOID Entry = View + TextRva;
    PVOID Loader = View + TextRva + 40;

    memcpy(&Add, &Entry, sizeof(Add));
    memcpy(&Load, &Loader, sizeof(Load));
    MUST(Add(40, 2) == 42);
    MUST(Load() == 0x12345678);
    return STATUS_SUCCESS;
}

/* ---- Tests ---- */

static NTSTATUS MapAndCall(PVOID Context)
{
    HANDLE Section;
    PUCHAR View;
    NTSTATUS Status;

    (void)Context;
    MUST(OpenImage("sample.exe", SEC_IMAGE, PAGE_EXECUTE, &Section) == STATUS_SUCCESS);
    MUST(MapSection(Section, &View) == STATUS_SUCCESS);
    MUST((ULONG64)(ULONG_PTR)View == BASE);
    Status = CheckContents(View, BASE);
    Status = NT_SUCCESS(Status) ? CallCode(View) : Status;
    MUST(NtUnmapViewOfSection(NtCurrentProcess(), View) == STATUS_SUCCESS);
    MUST(NtClose(Section) == STATUS_SUCCESS);
    return Status;
}

static void an_image_is_mapped_and_its_code_runs(void **State)
{
    (void)State;
    NativeBoot(16, 2, 16);
    NativeRunAlone("image", MapAndCall, NULL);
    NativeShutdown();
}

static NTSTATUS QueryEverything(PVOID Context)
{
    static const struct
    {
        ULONG Rva, Bytes, Protect;
    } Rows[] = { { 0, 0x1000, PAGE_READONLY },           { TextRva, 0x1000, PAGE_EXECUTE_READ },
                 { ConstantRva, 0x1000, PAGE_READONLY }, { DataRva, 0x2000, PAGE_WRITECOPY },
                 { SharedRva, 0x1000, PAGE_READWRITE },  { BssRva, 0x20000, PAGE_WRITECOPY },
                 { RelocRva, 0x1000, PAGE_READONLY } };
    SECTION_IMAGE_INFORMATION Image;
    SECTION_BASIC_INFORMATION Basic;
    MEMORY_IMAGE_INFORMATION Memory;
    MEMORY_BASIC_INFORMATION Region;
    UCHAR Name[512];
    HANDLE Section;
    PUCHAR View;
    PVOID Original;
    ULONG_PTR Delta;

    (void)Context;
    MUST(OpenImage("sample.exe", SEC_IMAGE, PAGE_EXECUTE, &Section) == STATUS_SUCCESS);
    MUST(MapSection(Section, &View) == STATUS_SUCCESS);
    for (ULONG Row = 0; Row < RTL_NUMBER_OF(Rows); Row += 1)
    {
        MUST(NtQueryVirtualMemory(NtCurrentProcess(), View + Rows[Row].Rva, MemoryBasicInformation, &Region,
                                  sizeof(Region), NULL) == STATUS_SUCCESS);
        MUST(Region.BaseAddress == View + Rows[Row].Rva && Region.RegionSize == Rows[Row].Bytes);
        MUST(Region.AllocationBase == View && Region.AllocationProtect == PAGE_EXECUTE_WRITECOPY);
        MUST(Region.State == MEM_COMMIT && Region.Type == MEM_IMAGE && Region.Protect == Rows[Row].Protect);
    }
    MUST(NtQuerySection(Section, SectionImageInformation, &Image, sizeof(Image), NULL) == STATUS_SUCCESS);
    MUST(Image.TransferAddress == View + TextRva && Image.Machine == IMAGE_FILE_MACHINE_AMD64);
    MUST(Image.SubSystemType == IMAGE_SUBSYSTEM_WINDOWS_CUI && Image.ImageContainsCode);
    MUST(NtQuerySection(Section, SectionBasicInformation, &Basic, sizeof(Basic), NULL) == STATUS_SUCCESS);
    MUST((Basic.AllocationAttributes & SEC_IMAGE) != 0 && Basic.MaximumSize.QuadPart == RelocRva + 0x1000);
    MUST(NtQuerySection(Section, SectionOriginalBaseInformation, &Original, sizeof(Original), NULL) ==
         STATUS_SUCCESS);
    MUST(Original == (PVOID)(ULONG_PTR)BASE);
    MUST(NtQuerySection(Section, SectionRelocationInformation, &Delta, sizeof(Delta), NULL) ==
         STATUS_SUCCESS);
    MUST(Delta == 0);
    MUST(NtQueryVirtualMemory(NtCurrentProcess(), View + DataRva, MemoryImageInformation, &Memory,
                              sizeof(Memory), NULL) == STATUS_SUCCESS);
    MUST(Memory.ImageBase == View && Memory.SizeOfImage == RelocRva + 0x1000);
    MUST(!Memory.ImagePartialMap && !Memory.ImageNotExecutable);
    MUST(NtQueryVirtualMemory(NtCurrentProcess(), View, MemoryMappedFilenameInformation, Name, sizeof(Name),
                              NULL) == STATUS_SUCCESS);
    MUST(((UNICODE_STRING *)(PVOID)Name)->Length > 20);
    return STATUS_SUCCESS;
}

static void queries_tell_what_an_image_is(void **State)
{
    (void)State;
    NativeBoot(16, 2, 16);
    NativeRunAlone("image", QueryEverything, NULL);
    NativeShutdown();
}

/* .data is copied by the first write, .shared is everybody's; neither reaches the file. */
static NTSTATUS WriteData(PVOID Context)
{
    HANDLE Section;
    PUCHAR View;

    (void)Context;
    MUST(OpenImage("sample.exe", SEC_IMAGE, PAGE_EXECUTE, &Section) == STATUS_SUCCESS);
    MUST(MapSection(Section, &View) == STATUS_SUCCESS);
    MUST(View[DataRva] == 0 && View[SharedRva] == 0x55);
    View[DataRva] = 7;
    View[BssRva + 0x10000] = 8;
    View[SharedRva] = 9;
    MUST(View[DataRva] == 7 && View[BssRva + 0x10000] == 8);
    return STATUS_SUCCESS; /* the view stays until the process ends */
}

static NTSTATUS SeeOthersData(PVOID Context)
{
    HANDLE Section;
    PUCHAR View;

    (void)Context;
    MUST(OpenImage("sample.exe", SEC_IMAGE, PAGE_EXECUTE, &Section) == STATUS_SUCCESS);
    MUST(MapSection(Section, &View) == STATUS_SUCCESS);
    MUST((ULONG64)(ULONG_PTR)View == BASE);
    MUST(View[DataRva] == 0 && View[BssRva + 0x10000] == 0);
    MUST(View[SharedRva] == 9 && View[SharedRva + 1] == 0x55);
    return CheckContents(View, BASE);
}

static void data_is_private_and_shared_sections_are_shared(void **State)
{
    PEPROCESS Writer, Reader;

    (void)State;
    NativeBoot(16, 2, 16);
    Writer = NativeProcess("writer");
    Reader = NativeProcess("reader");
    NativeRun(Writer, WriteData, NULL);
    NativeRun(Reader, SeeOthersData, NULL);
    NtmmCloseProcess(Writer);
    NtmmCloseProcess(Reader);
    NativeShutdown();
}

/* Everything leaves memory: clean pages are read again, fix-ups applied again; shared and copied ones come from the paging file. */
static NTSTATUS ForgetPages(VOID)
{
    static const ULONG Commands[] = { MemoryEmptyWorkingSets, MemoryFlushModifiedList,
                                      MemoryPurgeStandbyList };

    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Commands); Index += 1)
    {
        ULONG Command = Commands[Index];

        MUST(NtSetSystemInformation(SystemMemoryListInformation, &Command, sizeof(Command)) ==
             STATUS_SUCCESS);
    }
    return STATUS_SUCCESS;
}

static NTSTATUS LeaveAndReturn(PVOID Context)
{
    HANDLE Section;
    PUCHAR View;
    NTSTATUS Status = STATUS_SUCCESS;

    (void)Context;
    MUST(NT_SUCCESS(OpenImage("sample.exe", SEC_IMAGE, PAGE_EXECUTE, &Section)));
    MUST(NT_SUCCESS(MapSection(Section, &View)));
    for (ULONG Round = 1; Round < 4 && NT_SUCCESS(Status); Round += 1)
    {
        View[DataRva + 0x1100] = (UCHAR)Round;
        View[SharedRva + 8] = (UCHAR)(Round + 1);
        Status = ForgetPages();
        MUST(View[DataRva + 0x1100] == Round && View[SharedRva + 8] == Round + 1 &&
             View[SharedRva + 9] == 0x55);
        Status = NT_SUCCESS(Status) ? CheckContents(View, (ULONG64)(ULONG_PTR)View) : Status;
        Status = NT_SUCCESS(Status) ? CallCode(View) : Status;
    }
    return Status;
}

static void pages_leave_and_come_back(void **State)
{
    (void)State;
    NativeBoot(16, 2, 16);
    NativeRunAlone("image", LeaveAndReturn, NULL);
    NativeShutdown();
}

/* The second view cannot have the base: its pages are still those of the base, and the status says so. */
static NTSTATUS MapTwice(PVOID Context)
{
    HANDLE Section;
    PUCHAR First, Second, Third;
    PVOID Named = (PVOID)(ULONG_PTR)(BASE + 0x10000000);
    SIZE_T Size = 0;
    LARGE_INTEGER Offset = { .QuadPart = 0x10000 };

    (void)Context;
    MUST(OpenImage("sample.exe", SEC_IMAGE, PAGE_EXECUTE, &Section) == STATUS_SUCCESS);
    MUST(MapSection(Section, &First) == STATUS_SUCCESS);
    MUST(MapSection(Section, &Second) == STATUS_IMAGE_NOT_AT_BASE);
    MUST(First != Second);
    MUST(CheckContents(Second, BASE) == STATUS_SUCCESS);
    MUST(NtMapViewOfSection(Section, NtCurrentProcess(), &Named, 0, 0, NULL, &Size, ViewUnmap, 0,
                            PAGE_EXECUTE_WRITECOPY) == STATUS_IMAGE_NOT_AT_BASE);
    MUST(Named == (PVOID)(ULONG_PTR)(BASE + 0x10000000));
    MUST(NtUnmapViewOfSection(NtCurrentProcess(), First) == STATUS_SUCCESS);
    MUST(MapSection(Section, &First) == STATUS_SUCCESS);
    /* A part of it: at its place in the image. */
    MUST(NtUnmapViewOfSection(NtCurrentProcess(), First) == STATUS_SUCCESS);
    Third = NULL;
    Size = 0x8000;
    MUST(NtMapViewOfSection(Section, NtCurrentProcess(), (PVOID *)(PVOID)&Third, 0, 0, &Offset, &Size,
                            ViewUnmap, 0, PAGE_EXECUTE_WRITECOPY) == STATUS_SUCCESS);
    MUST(Third == (PUCHAR)(ULONG_PTR)(BASE + 0x10000) && Size == 0x8000 && Third[0] == 0);
    Offset.QuadPart = 0x30000;
    MUST(NtMapViewOfSection(Section, NtCurrentProcess(), (PVOID *)(PVOID)&Third, 0, 0, &Offset, &Size,
                            ViewUnmap, 0, PAGE_EXECUTE_WRITECOPY) == STATUS_INVALID_VIEW_SIZE);
    return STATUS_SUCCESS;
}

static void a_view_elsewhere_is_not_at_its_base(void **State)
{
    (void)State;
    NativeBoot(16, 2, 16);
    NativeRunAlone("image", MapTwice, NULL);
    NativeShutdown();
}

static NTSTATUS MapWithoutExecute(PVOID Context)
{
    MEMORY_IMAGE_INFORMATION Memory;
    MEMORY_BASIC_INFORMATION Region;
    HANDLE Section;
    SIZE_T Size = 0;
    PUCHAR View;

    (void)Context;
    MUST(OpenImage("sample.exe", SEC_IMAGE_NO_EXECUTE, PAGE_READONLY, &Section) == STATUS_SUCCESS);
    View = NULL;
    MUST(NT_SUCCESS(NtMapViewOfSection(Section, NtCurrentProcess(), (PVOID *)(PVOID)&View, 0, 0, NULL, &Size,
                                       ViewUnmap, 0, PAGE_READONLY)));
    MUST(NtQueryVirtualMemory(NtCurrentProcess(), View + TextRva, MemoryBasicInformation, &Region,
                              sizeof(Region), NULL) == STATUS_SUCCESS);
    MUST(Region.Protect == PAGE_READONLY && Region.Type == MEM_IMAGE);
    MUST(NtQueryVirtualMemory(NtCurrentProcess(), View, MemoryImageInformation, &Memory, sizeof(Memory),
                              NULL) == STATUS_SUCCESS);
    MUST(Memory.ImageNotExecutable);
    MUST(View[TextRva] == 0x89);
    return STATUS_SUCCESS;
}

static void an_image_may_be_mapped_without_execute(void **State)
{
    (void)State;
    NativeBoot(16, 2, 16);
    NativeRunAlone("image", MapWithoutExecute, NULL);
    NativeShutdown();
}

static NTSTATUS RefuseBadFiles(PVOID Context)
{
    static const struct
    {
        PCSTR Name;
        NTSTATUS Status;
    } Rows[] = { { "empty", STATUS_MAPPED_FILE_SIZE_ZERO },
                 { "text", STATUS_INVALID_IMAGE_NOT_MZ },
                 { "dos", STATUS_INVALID_IMAGE_PROTECT },
                 { "pe32", STATUS_INVALID_IMAGE_WIN_32 },
                 { "cut", STATUS_INVALID_IMAGE_FORMAT } };
    HANDLE Section;

    (void)Context;
    for (ULONG Row = 0; Row < RTL_NUMBER_OF(Rows); Row += 1)
    {
        for (ULONG Again = 0; Again < 2; Again += 1)
        {
            MUST(OpenImage(Rows[Row].Name, SEC_IMAGE, PAGE_EXECUTE, &Section) == Rows[Row].Status);
        }
    }
    MUST(NtCreateSection(&Section, SECTION_ALL_ACCESS, NULL, NULL, PAGE_EXECUTE, SEC_IMAGE, NULL) ==
         STATUS_INVALID_FILE_FOR_SECTION);
    return STATUS_SUCCESS;
}

static void bad_files_are_refused(void **State)
{
    PE_TEST_IMAGE Image = Sample();
    UCHAR Dos[128] = { 'M', 'Z' };
    SIZE_T Size;
    PUCHAR Bytes = PeBuildImage(&Image, &Size);

    (void)State;
    WriteFileBytes("empty", Bytes, 0);
    WriteFileBytes("text", (const UCHAR *)"hello, world\n", 13);
    WriteFileBytes("dos", Dos, sizeof(Dos));
    WriteFileBytes("cut", Bytes, Size - 0x200);
    PeHeaders(Bytes)->OptionalHeader.Magic = IMAGE_NT_OPTIONAL_HDR32_MAGIC;
    WriteFileBytes("pe32", Bytes, Size);
    free(Bytes);
    NativeBoot(16, 2, 16);
    NativeRunAlone("image", RefuseBadFiles, NULL);
    NativeShutdown();
}

static NTSTATUS MapOtherMachine(PVOID Context)
{
    HANDLE Section;
    PUCHAR View;

    (void)Context;
    MUST(OpenImage("arm.dll", SEC_IMAGE, PAGE_EXECUTE, &Section) == STATUS_SUCCESS);
    MUST(MapSection(Section, &View) == STATUS_IMAGE_MACHINE_TYPE_MISMATCH);
    MUST(View[0] == 'M');
    return STATUS_SUCCESS;
}

static void another_machine_s_image_says_so(void **State)
{
    PE_TEST_IMAGE Image = Sample();

    (void)State;
    Image.Machine = IMAGE_FILE_MACHINE_ARM64;
    WriteSample("arm.dll", &Image);
    NativeBoot(16, 2, 16);
    NativeRunAlone("image", MapOtherMachine, NULL);
    NativeShutdown();
}

/* The file is still in the cache: its image is what was written, not what the disk had. */
static NTSTATUS WriteAndMap(PVOID Context)
{
    PE_TEST_IMAGE Image = Sample();
    CHAR Path[160];
    WCHAR Wide[160];
    UNICODE_STRING String;
    OBJECT_ATTRIBUTES Object;
    IO_STATUS_BLOCK IoStatus;
    LARGE_INTEGER Offset = { .QuadPart = 0 };
    HANDLE File, Section;
    SIZE_T Size;
    PUCHAR Bytes = PeBuildImage(&Image, &Size);
    PUCHAR View;
    NTSTATUS Status;
    int Length = snprintf(Path, sizeof(Path), "%s/written.exe", Folder);

    (void)Context;
    for (int Index = 0; Index <= Length; Index += 1)
    {
        Wide[Index] = (WCHAR)Path[Index];
    }
    RtlInitUnicodeString(&String, Wide);
    InitializeObjectAttributes(&Object, &String, 0, NULL, NULL);
    MUST(NtCreateFile(&File, GENERIC_READ | GENERIC_WRITE | GENERIC_EXECUTE, &Object, &IoStatus, NULL,
                      FILE_ATTRIBUTE_NORMAL, FILE_SHARE_READ, FILE_CREATE, FILE_SYNCHRONOUS_IO_NONALERT, NULL,
                      0) == STATUS_SUCCESS);
    Status = NtWriteFile(File, NULL, NULL, NULL, &IoStatus, Bytes, (ULONG)Size, &Offset, NULL);
    free(Bytes);
    MUST(Status == STATUS_SUCCESS);
    MUST(NtCreateSection(&Section, SECTION_ALL_ACCESS | SECTION_MAP_EXECUTE, NULL, NULL, PAGE_EXECUTE,
                         SEC_IMAGE, File) == STATUS_SUCCESS);
    MUST(MapSection(Section, &View) == STATUS_SUCCESS);
    Status = CheckContents(View, BASE);
    return NT_SUCCESS(Status) ? CallCode(View) : Status;
}

static void an_image_of_a_file_in_the_cache_is_what_was_written(void **State)
{
    (void)State;
    NativeBoot(16, 2, 16);
    NativeRunAlone("image", WriteAndMap, NULL);
    NativeShutdown();
}

/* Documented (MmFlushImageSection): the file of an image in use cannot be opened for writing; once nobody uses it, its pages are forgotten. */
static NTSTATUS WriteBehindImage(PVOID Context)
{
    CHAR Path[160];
    WCHAR Wide[160];
    UNICODE_STRING String;
    OBJECT_ATTRIBUTES Object;
    IO_STATUS_BLOCK IoStatus;
    LARGE_INTEGER Offset = { .QuadPart = 0x400 }; /* of .text */
    UCHAR Subtract[] = { 0x89, 0xc8, 0x29, 0xd0, 0xc3 };
    int(MS * Function)(int, int);
    HANDLE File, Section;
    PVOID Entry;
    PUCHAR View;
    int Length = snprintf(Path, sizeof(Path), "%s/changed.exe", Folder);

    (void)Context;
    for (int Index = 0; Index <= Length; Index += 1)
    {
        Wide[Index] = (WCHAR)Path[Index];
    }
    RtlInitUnicodeString(&String, Wide);
    InitializeObjectAttributes(&Object, &String, 0, NULL, NULL);
    MUST(OpenImage("changed.exe", SEC_IMAGE, PAGE_EXECUTE, &Section) == STATUS_SUCCESS);
    MUST(MapSection(Section, &View) == STATUS_SUCCESS);
    MUST(View[TextRva] == 0x89 && View[TextRva + 2] == 0x01);
    MUST(NtOpenFile(&File, FILE_GENERIC_WRITE, &Object, &IoStatus, FILE_SHARE_READ | FILE_SHARE_WRITE,
                    FILE_SYNCHRONOUS_IO_NONALERT) == STATUS_SHARING_VIOLATION);
    MUST(NtUnmapViewOfSection(NtCurrentProcess(), View) == STATUS_SUCCESS);
    MUST(NtClose(Section) == STATUS_SUCCESS);
    MUST(NtOpenFile(&File, FILE_GENERIC_WRITE, &Object, &IoStatus, FILE_SHARE_READ | FILE_SHARE_WRITE,
                    FILE_SYNCHRONOUS_IO_NONALERT) == STATUS_SUCCESS);
    MUST(NtWriteFile(File, NULL, NULL, NULL, &IoStatus, Subtract, sizeof(Subtract), &Offset, NULL) ==
         STATUS_SUCCESS);
    MUST(NtClose(File) == STATUS_SUCCESS);
    MUST(OpenImage("changed.exe", SEC_IMAGE, PAGE_EXECUTE, &Section) == STATUS_SUCCESS);
    MUST(MapSection(Section, &View) == STATUS_SUCCESS);
    Entry = View + TextRva;
    memcpy(&Function, &Entry, sizeof(Function));
    MUST(Function(40, 2) == 38);
    return STATUS_SUCCESS;
}

static void what_runs_cannot_be_written_to(void **State)
{
    PE_TEST_IMAGE Image = Sample();

    (void)State;
    WriteSample("changed.exe", &Image);
    NativeBoot(16, 2, 16);
    NativeRunAlone("image", WriteBehindImage, NULL);
    NativeShutdown();
}

/* ---- Relocation ---- */

static ULONG64 RandomBase;

static NTSTATUS MapRelocated(PVOID Context)
{
    MEMORY_WORKING_SET_EX_INFORMATION Page;
    SECTION_IMAGE_INFORMATION Image;
    HANDLE Section;
    PUCHAR View;
    NTSTATUS Status;
    ULONG_PTR Delta;

    (void)Context;
    MUST(OpenImage("sample.exe", SEC_IMAGE, PAGE_EXECUTE, &Section) == STATUS_SUCCESS);
    MUST(MapSection(Section, &View) == STATUS_SUCCESS);
    MUST(RandomBase == 0 || RandomBase == (ULONG64)(ULONG_PTR)View);
    RandomBase = (ULONG64)(ULONG_PTR)View;
    MUST(NtQuerySection(Section, SectionImageInformation, &Image, sizeof(Image), NULL) == STATUS_SUCCESS);
    MUST(Image.ImageDynamicallyRelocated && Image.TransferAddress == View + TextRva);
    MUST(NtQuerySection(Section, SectionRelocationInformation, &Delta, sizeof(Delta), NULL) ==
         STATUS_SUCCESS);
    MUST(Delta == RandomBase - BASE);
    Status = CheckContents(View, RandomBase);
    Status = NT_SUCCESS(Status) ? CallCode(View) : Status;
    Page.VirtualAddress = View + ConstantRva;
    MUST(NtQueryVirtualMemory(NtCurrentProcess(), NULL, MemoryWorkingSetExInformation, &Page, sizeof(Page),
                              NULL) == STATUS_SUCCESS);
    MUST(Page.u1.VirtualAttributes.Valid && Page.u1.VirtualAttributes.Shared);
    return Status;
}

static VOID BootRandom(VOID)
{
    NTMM_PARAMETERS Parameters = { .Size = sizeof(Parameters),
                                   .RamBytes = 16 * MIB,
                                   .Processors = 2,
                                   .Randomize = TRUE,
                                   .Seed = 77,
                                   .PagingFileCount = 1,
                                   .PagingFiles = { { "\\\\.\\Memory\\page", 16 * MIB, 0 } } };

    NtmmSetOutput(NativePrint, NULL);
    assert_int_equal(NtmmBoot(&Parameters), STATUS_SUCCESS);
}

static void a_random_base_is_everybodys_and_survives_paging(void **State)
{
    PEPROCESS First, Second;

    (void)State;
    BootRandom();
    First = NativeProcess("first");
    Second = NativeProcess("second");
    RandomBase = 0;
    NativeRun(First, MapRelocated, NULL);
    NativeRun(Second, MapRelocated, NULL);
    assert_true(RandomBase != BASE);
    NtmmCloseProcess(First);
    NativeRunAlone("image", LeaveAndReturn, NULL);
    NtmmCloseProcess(Second);
    NativeShutdown();
}

/* ---- A file of an ordinary linker ---- */

#ifdef NTMM_TEST_DLL
static NTSTATUS MapRealDll(PVOID Context)
{
    SECTION_IMAGE_INFORMATION Image;
    HANDLE Section;
    PUCHAR View;
    int(MS * Entry)(PVOID, ULONG, PVOID);

    (void)Context;
    MUST(OpenImage(NTMM_TEST_DLL, SEC_IMAGE, PAGE_EXECUTE, &Section) == STATUS_SUCCESS);
    MUST(NT_SUCCESS(MapSection(Section, &View)));
    MUST(NtQuerySection(Section, SectionImageInformation, &Image, sizeof(Image), NULL) == STATUS_SUCCESS);
    memcpy(&Entry, &Image.TransferAddress, sizeof(Entry));
    /* tests/native/image_sample/sample.c: sums up a table of pointers to its own numbers, twice. */
    MUST(Entry(View, 1000, NULL) == 1000 + 1 + 20 + 300);
    MUST(Entry(View, 1000, NULL) == 1001 + 1 + 20 + 300);
    return STATUS_SUCCESS;
}
#endif

static void a_dll_of_mingw_runs(void **State)
{
    (void)State;
    NativeBoot(16, 2, 16);
#ifdef NTMM_TEST_DLL
    NativeRunAlone("image", MapRealDll, NULL);
#else
    print_message("x86_64-w64-mingw32-gcc is not installed: no DLL of an ordinary linker\n");
#endif
    NativeShutdown();
}

static int MakeFolder(void **State)
{
    PE_TEST_IMAGE Image = Sample();

    (void)State;
    strcpy(Folder, "/tmp/ntmm-images-XXXXXX");
    if (mkdtemp(Folder) == NULL)
    {
        return -1;
    }
    WriteSample("sample.exe", &Image);
    return 0;
}

static int RemoveFolder(void **State)
{
    static const PCSTR Names[] = { "sample.exe", "empty",   "text",        "dos",        "cut",
                                   "pe32",       "arm.dll", "written.exe", "changed.exe" };
    CHAR Path[128];

    (void)State;
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Names); Index += 1)
    {
        snprintf(Path, sizeof(Path), "%s/%s", Folder, Names[Index]);
        unlink(Path);
    }
    return rmdir(Folder);
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(an_image_is_mapped_and_its_code_runs),
        cmocka_unit_test(queries_tell_what_an_image_is),
        cmocka_unit_test(data_is_private_and_shared_sections_are_shared),
        cmocka_unit_test(pages_leave_and_come_back),
        cmocka_unit_test(a_view_elsewhere_is_not_at_its_base),
        cmocka_unit_test(an_image_may_be_mapped_without_execute),
        cmocka_unit_test(bad_files_are_refused),
        cmocka_unit_test(another_machine_s_image_says_so),
        cmocka_unit_test(an_image_of_a_file_in_the_cache_is_what_was_written),
        cmocka_unit_test(what_runs_cannot_be_written_to),
        cmocka_unit_test(a_random_base_is_everybodys_and_survives_paging),
        cmocka_unit_test(a_dll_of_mingw_runs),
    };

    return cmocka_run_group_tests(Tests, MakeFolder, RemoveFolder);
}
