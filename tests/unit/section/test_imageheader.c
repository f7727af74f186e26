/* SPDX-License-Identifier: MIT */
/*
 * The headers of PE32+ files: what a sound one says, and which status each malformed one gets. Each bad file is a sound one with one
 * field changed. Sources: Microsoft Learn, "PE Format"; [MS-ERREF] 2.3.1.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nt/ntstatus.h"
#include "peimage.h"
#include "section/image.h"

static const UCHAR Code[600] = { 0xc3 };
static const ULONG Fixups[] = { 0x2010, 0x2018 };

static const PE_TEST_IMAGE Sample = {
    .DllCharacteristics = IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE | IMAGE_DLLCHARACTERISTICS_NX_COMPAT |
                          IMAGE_DLLCHARACTERISTICS_HIGH_ENTROPY_VA,
    .EntryPoint = 0x1000,
    .SectionCount = 5,
    .Sections = { { ".text", 0, PE_TEXT, Code, sizeof(Code) },
                  { ".rdata", 0, PE_RDATA, Code, 0x100 },
                  { ".data", 0x2345, PE_DATA, Code, 0x30 },
                  { ".shared", 0, PE_SHARED, Code, 0x30 },
                  { ".bss", 0x15000, PE_BSS, NULL, 0 } },
    .Fixups = Fixups,
    .FixupCount = 2,
};

static MI_IMAGE_DESCRIPTION Image;

static NTSTATUS Parse(const UCHAR *File, SIZE_T Bytes)
{
    SIZE_T Needed = 0;

    return MiParseImage(File, Bytes, Bytes, &Image, &Needed);
}

static UCHAR *Sound(SIZE_T *Bytes)
{
    UCHAR *File = PeBuildImage(&Sample, Bytes);

    assert_int_equal(Parse(File, *Bytes), STATUS_SUCCESS);
    return File;
}

static void a_sound_file_is_described(void **State)
{
    SIZE_T Bytes;
    UCHAR *File = Sound(&Bytes);
    IMAGE_DATA_DIRECTORY Directory;

    (void)State;
    assert_int_equal(Image.PreferredBase, 0x140000000);
    assert_int_equal(Image.SizeOfImage, 0x1D000);
    assert_int_equal(Image.HeaderPages, 1);
    assert_int_equal(Image.HeaderBytes, Image.SizeOfHeaders);
    assert_int_equal(Image.EntryPoint, 0x1000);
    assert_int_equal(Image.Machine, IMAGE_FILE_MACHINE_AMD64);
    assert_false(Image.MachineMismatch);
    assert_true(Image.ContainsCode);
    assert_int_equal(Image.SectionCount, 6);
    assert_string_equal(Image.Sections[0].Name, ".text");
    assert_int_equal(Image.Sections[0].VirtualAddress, 0x1000);
    assert_int_equal(Image.Sections[0].Pages, 1);
    assert_int_equal(Image.Sections[0].RawOffset, Image.SizeOfHeaders);
    assert_int_equal(Image.Sections[0].RawBytes, 0x400);
    assert_int_equal(Image.Sections[2].Pages, 3);
    assert_int_equal(Image.Sections[2].RawBytes, 0x200);
    assert_true(Image.Sections[3].Shared);
    assert_int_equal(Image.Sections[4].Pages, 0x15);
    assert_int_equal(Image.Sections[4].RawBytes, 0);
    assert_true(MiImageDirectory(&Image, IMAGE_DIRECTORY_ENTRY_BASERELOC, &Directory));
    assert_int_equal(Directory.VirtualAddress, 0x1C000);
    assert_int_equal(Directory.Size, 12);
    assert_false(MiImageDirectory(&Image, IMAGE_DIRECTORY_ENTRY_IMPORT, &Directory));
    assert_false(MiImageDirectory(&Image, 16, &Directory));
    assert_memory_equal(File + Image.ImageBaseOffset, &Image.PreferredBase, 8);
    free(File);
}

static void sections_are_found_by_address(void **State)
{
    SIZE_T Bytes;
    UCHAR *File = Sound(&Bytes);

    (void)State;
    assert_null(MiImageSectionOf(&Image, 0));
    assert_null(MiImageSectionOf(&Image, 0xfff));
    assert_ptr_equal(MiImageSectionOf(&Image, 0x1000), &Image.Sections[0]);
    assert_ptr_equal(MiImageSectionOf(&Image, 0x1fff), &Image.Sections[0]);
    assert_ptr_equal(MiImageSectionOf(&Image, 0x5fff), &Image.Sections[2]);
    assert_ptr_equal(MiImageSectionOf(&Image, 0x6000), &Image.Sections[3]);
    assert_ptr_equal(MiImageSectionOf(&Image, 0x1Cfff), &Image.Sections[5]);
    assert_null(MiImageSectionOf(&Image, 0x1D000));
    assert_null(MiImageSectionOf(&Image, MAXULONG));
    free(File);
}

static void characteristics_become_protections(void **State)
{
    static const struct
    {
        ULONG Characteristics;
        ULONG Protection;
    } Rows[] = {
        { 0, PAGE_NOACCESS },
        { IMAGE_SCN_MEM_READ, PAGE_READONLY },
        { IMAGE_SCN_MEM_WRITE, PAGE_WRITECOPY },
        { IMAGE_SCN_MEM_READ | IMAGE_SCN_MEM_WRITE, PAGE_WRITECOPY },
        { IMAGE_SCN_MEM_EXECUTE, PAGE_EXECUTE },
        { IMAGE_SCN_MEM_EXECUTE | IMAGE_SCN_MEM_READ, PAGE_EXECUTE_READ },
        { IMAGE_SCN_MEM_EXECUTE | IMAGE_SCN_MEM_WRITE, PAGE_EXECUTE_WRITECOPY },
        { IMAGE_SCN_MEM_EXECUTE | IMAGE_SCN_MEM_READ | IMAGE_SCN_MEM_WRITE, PAGE_EXECUTE_WRITECOPY },
        { IMAGE_SCN_MEM_SHARED | IMAGE_SCN_MEM_READ, PAGE_READONLY },
        { IMAGE_SCN_MEM_SHARED | IMAGE_SCN_MEM_READ | IMAGE_SCN_MEM_WRITE, PAGE_READWRITE },
        { IMAGE_SCN_MEM_SHARED | IMAGE_SCN_MEM_EXECUTE | IMAGE_SCN_MEM_READ, PAGE_EXECUTE_READ },
        { IMAGE_SCN_MEM_SHARED | IMAGE_SCN_MEM_EXECUTE | IMAGE_SCN_MEM_WRITE, PAGE_EXECUTE_READWRITE },
    };

    (void)State;
    for (size_t Row = 0; Row < sizeof(Rows) / sizeof(Rows[0]); Row += 1)
    {
        SIZE_T Bytes;
        UCHAR *File = PeBuildImage(&Sample, &Bytes);

        PeSectionHeaders(File)[0].Characteristics = Rows[Row].Characteristics;
        assert_int_equal(Parse(File, Bytes), STATUS_SUCCESS);
        assert_int_equal(Image.Sections[0].Protection, Rows[Row].Protection);
        free(File);
    }
}

static void what_is_no_pe_file_gets_its_own_status(void **State)
{
    static UCHAR File[0x200];
    IMAGE_DOS_HEADER *Dos = (IMAGE_DOS_HEADER *)(void *)File;
    SIZE_T Needed;

    (void)State;
    assert_int_equal(MiParseImage(File, 0, 0, &Image, &Needed), STATUS_MAPPED_FILE_SIZE_ZERO);
    assert_int_equal(Parse(File, 1), STATUS_INVALID_IMAGE_NOT_MZ);
    assert_int_equal(Parse(File, sizeof(File)), STATUS_INVALID_IMAGE_NOT_MZ);
    memcpy(File, "\177ELF", 4);
    assert_int_equal(Parse(File, sizeof(File)), STATUS_INVALID_IMAGE_NOT_MZ);
    memset(File, 0, 4);
    Dos->e_magic = IMAGE_DOS_SIGNATURE;
    assert_int_equal(Parse(File, 2), STATUS_INVALID_IMAGE_PROTECT);
    assert_int_equal(Parse(File, sizeof(File)), STATUS_INVALID_IMAGE_PROTECT);
    Dos->e_lfanew = sizeof(File) - 1;
    assert_int_equal(Parse(File, sizeof(File)), STATUS_INVALID_IMAGE_PROTECT);
    Dos->e_lfanew = -4;
    assert_int_equal(Parse(File, sizeof(File)), STATUS_INVALID_IMAGE_PROTECT);
    Dos->e_lfanew = 0x80;
    assert_int_equal(Parse(File, sizeof(File)), STATUS_INVALID_IMAGE_PROTECT);
    memcpy(File + 0x80, "LE", 2);
    assert_int_equal(Parse(File, sizeof(File)), STATUS_INVALID_IMAGE_LE_FORMAT);
    memcpy(File + 0x80, "LX", 2);
    assert_int_equal(Parse(File, sizeof(File)), STATUS_INVALID_IMAGE_LE_FORMAT);
    memcpy(File + 0x80, "NE", 2);
    File[0x80 + 0x36] = 1; /* OS/2 */
    assert_int_equal(Parse(File, sizeof(File)), STATUS_INVALID_IMAGE_NE_FORMAT);
    File[0x80 + 0x36] = 2; /* Windows */
    assert_int_equal(Parse(File, sizeof(File)), STATUS_INVALID_IMAGE_WIN_16);
    assert_int_equal(Parse(File, 0x90), STATUS_INVALID_IMAGE_NE_FORMAT);
}

typedef void (*SPOIL)(UCHAR *File, IMAGE_NT_HEADERS64 *Headers, IMAGE_SECTION_HEADER *Sections);

#define SPOILER(Name, Statement)                                                                             \
    static void Name(UCHAR *File, IMAGE_NT_HEADERS64 *Headers, IMAGE_SECTION_HEADER *Sections)               \
    {                                                                                                        \
        (void)File;                                                                                          \
        (void)Headers;                                                                                       \
        (void)Sections;                                                                                      \
        Statement;                                                                                           \
    }

SPOILER(Pe32, Headers->OptionalHeader.Magic = IMAGE_NT_OPTIONAL_HDR32_MAGIC)
SPOILER(RomImage, Headers->OptionalHeader.Magic = IMAGE_ROM_OPTIONAL_HDR_MAGIC)
SPOILER(UnknownMachine, Headers->FileHeader.Machine = IMAGE_FILE_MACHINE_I386)
SPOILER(NotExecutable, Headers->FileHeader.Characteristics = 0)
SPOILER(TooManySections, Headers->FileHeader.NumberOfSections = 97)
SPOILER(NoOptionalHeader, Headers->FileHeader.SizeOfOptionalHeader = 0)
SPOILER(ShortOptionalHeader, Headers->FileHeader.SizeOfOptionalHeader = 111)
SPOILER(HugeOptionalHeader, Headers->FileHeader.SizeOfOptionalHeader = 0xffff)
SPOILER(OddBase, Headers->OptionalHeader.ImageBase += 0x1000)
SPOILER(WrappingBase, Headers->OptionalHeader.ImageBase = 0xffffffffffff0000)
SPOILER(SectionAlignmentNoPower, Headers->OptionalHeader.SectionAlignment = 0x3000)
SPOILER(SectionAlignmentZero, Headers->OptionalHeader.SectionAlignment = 0)
SPOILER(SectionAlignmentOther, Headers->OptionalHeader.SectionAlignment = 0x2000)
SPOILER(FileAlignmentZero, Headers->OptionalHeader.FileAlignment = 0)
SPOILER(FileAlignmentSmall, Headers->OptionalHeader.FileAlignment = 0x100)
SPOILER(FileAlignmentLarge, Headers->OptionalHeader.FileAlignment = 0x2000)
SPOILER(FlatAlignmentsDiffer, Headers->OptionalHeader.SectionAlignment = 0x200;
        Headers->OptionalHeader.FileAlignment = 0x100)
SPOILER(NoImage, Headers->OptionalHeader.SizeOfImage = 0)
SPOILER(ShortImage, Headers->OptionalHeader.SizeOfImage -= 0x1000)
SPOILER(LongImage, Headers->OptionalHeader.SizeOfImage += 0x1000)
SPOILER(HugeImage, Headers->OptionalHeader.SizeOfImage = 0xffffffff)
SPOILER(NoHeaders, Headers->OptionalHeader.SizeOfHeaders = 0)
SPOILER(ShortHeaders, Headers->OptionalHeader.SizeOfHeaders = 0x100)
SPOILER(LongHeaders, Headers->OptionalHeader.SizeOfHeaders = 0x1001)
SPOILER(HugeHeaders, Headers->OptionalHeader.SizeOfHeaders = 0xffffffff)
SPOILER(EntryOutside, Headers->OptionalHeader.AddressOfEntryPoint = 0x1D000)
SPOILER(SectionMisplaced, Sections[1].VirtualAddress += 0x1000)
SPOILER(SectionOverHeaders, Sections[0].VirtualAddress = 0)
SPOILER(SectionsOverlap, Sections[1].VirtualAddress = Sections[0].VirtualAddress)
SPOILER(SectionUnaligned, Sections[1].VirtualAddress += 8)
SPOILER(SectionHuge, Sections[5].Misc.VirtualSize = 0xffffffff)
SPOILER(RawBehindFile, Sections[0].PointerToRawData = 0x10000)
SPOILER(RawWraps, Sections[0].PointerToRawData = 0xfffffe00)
SPOILER(RawTooLong, Sections[0].SizeOfRawData = 0xfffffe00)
SPOILER(RawUnaligned, Sections[0].PointerToRawData += 4)
SPOILER(HeaderUnaligned, ((IMAGE_DOS_HEADER *)(void *)File)->e_lfanew = 0x82;
        memmove(File + 0x82, File + 0x80, 0x200 - 0x82))

static void a_bad_field_gets_its_status(void **State)
{
    static const struct
    {
        const char *Name;
        SPOIL Spoil;
        NTSTATUS Status;
    } Rows[] = {
#define BAD(Name) { #Name, Name, STATUS_INVALID_IMAGE_FORMAT }
        { "Pe32", Pe32, STATUS_INVALID_IMAGE_WIN_32 },
        BAD(RomImage),
        BAD(UnknownMachine),
        BAD(NotExecutable),
        BAD(TooManySections),
        BAD(NoOptionalHeader),
        BAD(ShortOptionalHeader),
        BAD(HugeOptionalHeader),
        BAD(OddBase),
        BAD(WrappingBase),
        BAD(SectionAlignmentNoPower),
        BAD(SectionAlignmentZero),
        BAD(SectionAlignmentOther),
        BAD(FileAlignmentZero),
        BAD(FileAlignmentSmall),
        BAD(FileAlignmentLarge),
        BAD(FlatAlignmentsDiffer),
        BAD(NoImage),
        BAD(ShortImage),
        BAD(LongImage),
        BAD(HugeImage),
        BAD(NoHeaders),
        BAD(ShortHeaders),
        BAD(LongHeaders),
        BAD(HugeHeaders),
        BAD(EntryOutside),
        BAD(SectionMisplaced),
        BAD(SectionOverHeaders),
        BAD(SectionsOverlap),
        BAD(SectionUnaligned),
        BAD(SectionHuge),
        BAD(RawBehindFile),
        BAD(RawWraps),
        BAD(RawTooLong),
        BAD(RawUnaligned),
        BAD(HeaderUnaligned),
    };

    (void)State;
    for (size_t Row = 0; Row < sizeof(Rows) / sizeof(Rows[0]); Row += 1)
    {
        SIZE_T Bytes;
        UCHAR *File = Sound(&Bytes);
        NTSTATUS Status;

        Rows[Row].Spoil(File, PeHeaders(File), PeSectionHeaders(File));
        Status = Parse(File, Bytes);
        if (Status != Rows[Row].Status)
        {
            fail_msg("%s: 0x%08x, expected 0x%08x", Rows[Row].Name, (unsigned)Status,
                     (unsigned)Rows[Row].Status);
        }
        free(File);
    }
}

static void another_machine_is_described_and_marked(void **State)
{
    PE_TEST_IMAGE Arm = Sample;
    SIZE_T Bytes;
    UCHAR *File;

    (void)State;
    Arm.Machine = IMAGE_FILE_MACHINE_ARM64;
    File = PeBuildImage(&Arm, &Bytes);
    assert_int_equal(Parse(File, Bytes), STATUS_SUCCESS);
    assert_true(Image.MachineMismatch);
    free(File);
}

/* The caller sees growing parts of the file, and the parser asks for more until it has what it needs. */
static void a_small_window_asks_for_more(void **State)
{
    SIZE_T Bytes;
    UCHAR *File = Sound(&Bytes);
    SIZE_T Window = 0;
    NTSTATUS Status = STATUS_BUFFER_TOO_SMALL;

    (void)State;
    while (Status == STATUS_BUFFER_TOO_SMALL)
    {
        SIZE_T Needed = 0;
        UCHAR *Part = malloc(Window + 1);

        memcpy(Part, File, Window);
        Status = MiParseImage(Part, Window, Bytes, &Image, &Needed);
        if (Status == STATUS_BUFFER_TOO_SMALL)
        {
            assert_true(Needed > Window && Needed <= Bytes);
            Window = Needed;
        }
        free(Part);
    }
    assert_int_equal(Status, STATUS_SUCCESS);
    assert_true(Window <= Image.SizeOfHeaders);
    free(File);
}

/* Cut anywhere, the file is bad: never sound, never a crash. */
static void no_part_of_a_file_is_a_sound_file(void **State)
{
    SIZE_T Bytes;
    UCHAR *File = Sound(&Bytes);

    (void)State;
    for (SIZE_T Length = 0; Length < Bytes; Length += 1)
    {
        UCHAR *Part = malloc(Length + 1);

        memcpy(Part, File, Length);
        assert_false(NT_SUCCESS(Parse(Part, Length)));
        free(Part);
    }
    free(File);
}

static void directories_without_room_do_not_exist(void **State)
{
    SIZE_T Bytes;
    UCHAR *File = Sound(&Bytes);
    IMAGE_DATA_DIRECTORY Directory;

    (void)State;
    PeHeaders(File)->OptionalHeader.NumberOfRvaAndSizes = 5;
    assert_int_equal(Parse(File, Bytes), STATUS_SUCCESS);
    assert_false(MiImageDirectory(&Image, IMAGE_DIRECTORY_ENTRY_BASERELOC, &Directory));
    PeHeaders(File)->OptionalHeader.NumberOfRvaAndSizes = 0xffffffff;
    assert_int_equal(Parse(File, Bytes), STATUS_SUCCESS);
    assert_true(MiImageDirectory(&Image, IMAGE_DIRECTORY_ENTRY_BASERELOC, &Directory));
    PeHeaders(File)->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_BASERELOC].Size = 0xffffffff;
    assert_int_equal(Parse(File, Bytes), STATUS_SUCCESS);
    assert_false(MiImageDirectory(&Image, IMAGE_DIRECTORY_ENTRY_BASERELOC, &Directory));
    free(File);
}

/* SectionAlignment below a page: in memory as in the file. */
static void flat_images_are_the_file_as_it_is(void **State)
{
    PE_TEST_IMAGE Flat = { .SectionAlignment = 0x200,
                           .EntryPoint = 0x400,
                           .SectionCount = 1,
                           .Sections = { { ".text", 0, PE_TEXT, Code, sizeof(Code) } } };
    SIZE_T Bytes;
    UCHAR *File = PeBuildImage(&Flat, &Bytes);

    (void)State;
    assert_int_equal(Parse(File, Bytes), STATUS_SUCCESS);
    assert_true(Image.Flat);
    assert_int_equal(Image.SectionCount, 0);
    assert_int_equal(Image.HeaderPages, Image.SizeOfImage / PAGE_SIZE);
    assert_int_equal(Image.HeaderBytes, Bytes);
    PeSectionHeaders(File)[0].VirtualAddress += 0x200;
    assert_int_equal(Parse(File, Bytes), STATUS_INVALID_IMAGE_FORMAT);
    free(File);
}

static void section_image_information_is_filled(void **State)
{
    SIZE_T Bytes;
    UCHAR *File = Sound(&Bytes);
    SECTION_IMAGE_INFORMATION Information;

    (void)State;
    MiImageInformation(&Image, 0x180000000, &Information);
    assert_ptr_equal(Information.TransferAddress, (PVOID)0x180001000);
    assert_int_equal(Information.MaximumStackSize, 0x100000);
    assert_int_equal(Information.CommittedStackSize, 0x1000);
    assert_int_equal(Information.SubSystemType, IMAGE_SUBSYSTEM_WINDOWS_CUI);
    assert_int_equal(Information.SubSystemMajorVersion, 6);
    assert_int_equal(Information.SubSystemMinorVersion, 2);
    assert_int_equal(Information.Machine, IMAGE_FILE_MACHINE_AMD64);
    assert_int_equal(Information.DllCharacteristics, Sample.DllCharacteristics);
    assert_int_equal(Information.ImageFileSize, Bytes);
    assert_true(Information.ImageContainsCode);
    assert_true(Information.ImageDynamicallyRelocated);
    assert_false(Information.BaseBelow4gb);
    MiImageInformation(&Image, Image.PreferredBase, &Information);
    assert_false(Information.ImageDynamicallyRelocated);
    free(File);
}

/* In pieces or at once; carries fold back. */
static void checksums_add_words_with_carry(void **State)
{
    static const UCHAR Bytes[] = { 0xff, 0xff, 0x02, 0x00, 0x34, 0x12, 0x56 };
    ULONG Sum = 0;
    ULONG Pieces = 0;

    (void)State;
    MiImageChecksumPiece(Bytes, sizeof(Bytes), &Sum);
    assert_int_equal(Sum, 0x0002 + 0x1234 + 0x56);
    MiImageChecksumPiece(Bytes, 4, &Pieces);
    MiImageChecksumPiece(Bytes + 4, 3, &Pieces);
    assert_int_equal(Pieces, Sum);
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(a_sound_file_is_described),
        cmocka_unit_test(sections_are_found_by_address),
        cmocka_unit_test(characteristics_become_protections),
        cmocka_unit_test(what_is_no_pe_file_gets_its_own_status),
        cmocka_unit_test(a_bad_field_gets_its_status),
        cmocka_unit_test(another_machine_is_described_and_marked),
        cmocka_unit_test(a_small_window_asks_for_more),
        cmocka_unit_test(no_part_of_a_file_is_a_sound_file),
        cmocka_unit_test(directories_without_room_do_not_exist),
        cmocka_unit_test(flat_images_are_the_file_as_it_is),
        cmocka_unit_test(section_image_information_is_filled),
        cmocka_unit_test(checksums_add_words_with_carry),
    };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
