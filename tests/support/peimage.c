/* SPDX-License-Identifier: MIT */
/*
 * Writes PE32+ files. The layout is that of an ordinary linker: headers, sections in order at the next file alignment,
 * base relocations last.
 */
#include "peimage.h"

#include <stdlib.h>
#include <string.h>

#define NEW_HEADER 0x80u

static ULONG RoundUp(ULONG Value, ULONG Alignment)
{
    return (Value + Alignment - 1) / Alignment * Alignment;
}

static ULONG SectionAlignmentOf(const PE_TEST_IMAGE *Image)
{
    return Image->SectionAlignment != 0 ? Image->SectionAlignment : 0x1000;
}

static ULONG FileAlignmentOf(const PE_TEST_IMAGE *Image)
{
    return Image->FileAlignment != 0 ? Image->FileAlignment : 0x200;
}

static ULONG AllSections(const PE_TEST_IMAGE *Image)
{
    return Image->SectionCount + (Image->Fixups != NULL ? 1 : 0);
}

static ULONG HeaderBytes(const PE_TEST_IMAGE *Image)
{
    return NEW_HEADER + (ULONG)sizeof(IMAGE_NT_HEADERS64) +
           AllSections(Image) * (ULONG)sizeof(IMAGE_SECTION_HEADER);
}

static ULONG VirtualBytes(const PE_TEST_SECTION *Section)
{
    return Section->VirtualSize != 0 ? Section->VirtualSize : Section->DataBytes;
}

ULONG PeSectionRva(const PE_TEST_IMAGE *Image, ULONG Index)
{
    ULONG Rva = RoundUp(RoundUp(HeaderBytes(Image), FileAlignmentOf(Image)), SectionAlignmentOf(Image));

    for (ULONG Section = 0; Section < Index; Section += 1)
    {
        Rva += RoundUp(VirtualBytes(&Image->Sections[Section]), SectionAlignmentOf(Image));
    }
    return Rva;
}

/* One block for each page that has fix-ups, each padded to four bytes. */
static UCHAR *MakeRelocations(const PE_TEST_IMAGE *Image, ULONG *Bytes)
{
    UCHAR *Directory = calloc(Image->FixupCount + 1, 12);
    ULONG End = 0;

    for (ULONG First = 0; Directory != NULL && First < Image->FixupCount;)
    {
        IMAGE_BASE_RELOCATION Block = { Image->Fixups[First] & ~0xfffu, sizeof(Block) };
        ULONG Start = End;

        End += (ULONG)sizeof(Block);
        while (First < Image->FixupCount && (Image->Fixups[First] & ~0xfffu) == Block.VirtualAddress)
        {
            USHORT Entry = (USHORT)(IMAGE_REL_BASED_DIR64 << 12 | (Image->Fixups[First] & 0xfff));

            memcpy(Directory + End, &Entry, sizeof(Entry));
            End += (ULONG)sizeof(Entry);
            First += 1;
        }
        End = RoundUp(End, 4);
        Block.SizeOfBlock = End - Start;
        memcpy(Directory + Start, &Block, sizeof(Block));
    }
    *Bytes = End;
    return Directory;
}

static IMAGE_NT_HEADERS64 MakeHeaders(const PE_TEST_IMAGE *Image, ULONG RelocationBytes)
{
    ULONG End = PeSectionRva(Image, Image->SectionCount);
    IMAGE_NT_HEADERS64 Headers = { .Signature = IMAGE_NT_SIGNATURE };

    Headers.FileHeader.Machine = Image->Machine != 0 ? Image->Machine : IMAGE_FILE_MACHINE_AMD64;
    Headers.FileHeader.NumberOfSections = (USHORT)AllSections(Image);
    Headers.FileHeader.SizeOfOptionalHeader = sizeof(IMAGE_OPTIONAL_HEADER64);
    Headers.FileHeader.Characteristics = IMAGE_FILE_EXECUTABLE_IMAGE | Image->Characteristics;
    Headers.OptionalHeader.Magic = IMAGE_NT_OPTIONAL_HDR64_MAGIC;
    Headers.OptionalHeader.AddressOfEntryPoint = Image->EntryPoint;
    Headers.OptionalHeader.ImageBase = Image->Base != 0 ? Image->Base : 0x140000000;
    Headers.OptionalHeader.SectionAlignment = SectionAlignmentOf(Image);
    Headers.OptionalHeader.FileAlignment = FileAlignmentOf(Image);
    Headers.OptionalHeader.MajorOperatingSystemVersion = 10;
    Headers.OptionalHeader.MajorSubsystemVersion = 6;
    Headers.OptionalHeader.MinorSubsystemVersion = 2;
    Headers.OptionalHeader.SizeOfHeaders = RoundUp(HeaderBytes(Image), FileAlignmentOf(Image));
    Headers.OptionalHeader.Subsystem = IMAGE_SUBSYSTEM_WINDOWS_CUI;
    Headers.OptionalHeader.DllCharacteristics = Image->DllCharacteristics;
    Headers.OptionalHeader.SizeOfStackReserve = 0x100000;
    Headers.OptionalHeader.SizeOfStackCommit = 0x1000;
    Headers.OptionalHeader.NumberOfRvaAndSizes = IMAGE_NUMBEROF_DIRECTORY_ENTRIES;
    Headers.OptionalHeader.SizeOfImage = End + RoundUp(RelocationBytes, SectionAlignmentOf(Image));
    if (RelocationBytes != 0)
    {
        Headers.OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_BASERELOC] =
            (IMAGE_DATA_DIRECTORY){ End, RelocationBytes };
    }
    return Headers;
}

UCHAR *PeBuildImage(const PE_TEST_IMAGE *Image, SIZE_T *Bytes)
{
    PE_TEST_SECTION Sections[PE_TEST_SECTIONS + 1];
    IMAGE_DOS_HEADER Dos = { .e_magic = IMAGE_DOS_SIGNATURE, .e_lfanew = NEW_HEADER };
    ULONG RelocationBytes = 0;
    UCHAR *Relocations = Image->Fixups != NULL ? MakeRelocations(Image, &RelocationBytes) : NULL;
    IMAGE_NT_HEADERS64 Headers = MakeHeaders(Image, RelocationBytes);
    ULONG Offset = Headers.OptionalHeader.SizeOfHeaders;
    ULONG Total = Offset;
    UCHAR *File;

    memcpy(Sections, Image->Sections, sizeof(Image->Sections));
    Sections[Image->SectionCount] =
        (PE_TEST_SECTION){ ".reloc", RelocationBytes, PE_RDATA | IMAGE_SCN_MEM_DISCARDABLE, Relocations,
                           RelocationBytes };
    for (ULONG Index = 0; Index < AllSections(Image); Index += 1)
    {
        Total += RoundUp(Sections[Index].DataBytes, FileAlignmentOf(Image));
    }
    File = calloc(1, Total);
    if (File == NULL)
    {
        abort();
    }
    memcpy(File, &Dos, sizeof(Dos));
    memcpy(File + NEW_HEADER, &Headers, sizeof(Headers));
    for (ULONG Index = 0; Index < AllSections(Image); Index += 1)
    {
        IMAGE_SECTION_HEADER Header = { .Misc.VirtualSize = VirtualBytes(&Sections[Index]) };

        memcpy(Header.Name, Sections[Index].Name, strnlen(Sections[Index].Name, sizeof(Header.Name)));
        Header.VirtualAddress = PeSectionRva(Image, Index);
        Header.SizeOfRawData = RoundUp(Sections[Index].DataBytes, FileAlignmentOf(Image));
        Header.PointerToRawData = Header.SizeOfRawData != 0 ? Offset : 0;
        Header.Characteristics = Sections[Index].Characteristics;
        memcpy(File + NEW_HEADER + sizeof(Headers) + Index * sizeof(Header), &Header, sizeof(Header));
        if (Sections[Index].DataBytes != 0)
        {
            memcpy(File + Offset, Sections[Index].Data, Sections[Index].DataBytes);
        }
        Offset += Header.SizeOfRawData;
    }
    free(Relocations);
    *Bytes = Total;
    return File;
}

IMAGE_NT_HEADERS64 *PeHeaders(UCHAR *File)
{
    return (IMAGE_NT_HEADERS64 *)(void *)(File + NEW_HEADER);
}

IMAGE_SECTION_HEADER *PeSectionHeaders(UCHAR *File)
{
    return (IMAGE_SECTION_HEADER *)(void *)(File + NEW_HEADER + sizeof(IMAGE_NT_HEADERS64));
}
