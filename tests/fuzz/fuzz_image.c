/* SPDX-License-Identifier: MIT */
/*
 * PE files from anywhere: the parser, the relocation index, and every page fixed up. The first two bytes choose how much of the file
 * the parser sees at first; it must ask for more and come to the same end as with the whole file. What it describes must lie within
 * file and image, or the process ends.
 */
#include "fuzz_target.h"

#include "nt/ntstatus.h"
#include "section/image.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRE(Condition)                                                                                   \
    do                                                                                                       \
    {                                                                                                        \
        if (!(Condition))                                                                                    \
        {                                                                                                    \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

static void CheckDescription(const MI_IMAGE_DESCRIPTION *Image)
{
    ULONG64 End = (ULONG64)Image->HeaderPages << PAGE_SHIFT;

    REQUIRE(Image->SizeOfImage != 0 && Image->SizeOfImage % PAGE_SIZE == 0 && End <= Image->SizeOfImage);
    REQUIRE(Image->HeaderBytes <= End && Image->HeaderBytes <= Image->FileSize);
    REQUIRE(Image->ImageBaseOffset + 8u <= Image->HeaderBytes);
    REQUIRE(Image->EntryPoint < Image->SizeOfImage && Image->SectionCount <= MI_IMAGE_MAXIMUM_SECTIONS);
    for (ULONG Index = 0; Index < Image->SectionCount; Index++)
    {
        const MI_IMAGE_SECTION *Section = &Image->Sections[Index];

        REQUIRE(Section->VirtualAddress % PAGE_SIZE == 0 && Section->VirtualAddress >= End &&
                Section->Pages != 0);
        End = Section->VirtualAddress + ((ULONG64)Section->Pages << PAGE_SHIFT);
        REQUIRE(End <= Image->SizeOfImage);
        REQUIRE(Section->RawBytes <= (ULONG64)Section->Pages << PAGE_SHIFT);
        REQUIRE(Section->RawOffset + Section->RawBytes <= Image->FileSize);
        REQUIRE(MiImageSectionOf(Image, Section->VirtualAddress) == Section);
        REQUIRE(MiImageSectionOf(Image, (ULONG)(End - 1)) == Section);
    }
}

/* Bytes of the image at Rva, as an in-page read would find them. */
static void ReadImage(const MI_IMAGE_DESCRIPTION *Image, const uint8_t *File, ULONG Rva, UCHAR *Bytes,
                      ULONG Count)
{
    for (ULONG Index = 0; Index < Count; Index++)
    {
        const MI_IMAGE_SECTION *Section = MiImageSectionOf(Image, Rva + Index);
        ULONG Offset = Rva + Index - (Section != NULL ? Section->VirtualAddress : 0);

        Bytes[Index] = Section != NULL ? (Offset < Section->RawBytes ? File[Section->RawOffset + Offset] : 0)
                       : Offset < Image->HeaderBytes ? File[Offset]
                                                     : 0;
    }
}

static void Relocate(const MI_IMAGE_DESCRIPTION *Image, const uint8_t *File)
{
    IMAGE_DATA_DIRECTORY Place = { 0, 0 };
    MI_IMAGE_RELOCATIONS *Index;
    UCHAR *Directory;
    SIZE_T Bytes;

    if (MiImageDirectory(Image, IMAGE_DIRECTORY_ENTRY_BASERELOC, &Place) && Place.Size > 65536)
    {
        Place.Size = 65536; /* mostly zeros: the file is short */
    }
    Directory = malloc(Place.Size + 1);
    ReadImage(Image, File, Place.VirtualAddress, Directory, Place.Size);
    if (MiMeasureRelocations(Image, Directory, Place.Size, &Bytes) == STATUS_SUCCESS && Bytes < 1u << 20)
    {
        void *Memory = malloc(Bytes);

        if (MiBuildRelocationIndex(Image, Directory, Place.Size, Memory, &Index) == STATUS_SUCCESS)
        {
            for (ULONG Each = 0; Each < Index->StraddlingCount; Each++)
            {
                ReadImage(Image, File, Index->Straddling[Each].VirtualAddress, Index->Straddling[Each].Field,
                          8);
            }
            for (ULONG Page = 0; Page < Index->Pages; Page++)
            {
                UCHAR Contents[PAGE_SIZE];

                if (MiPageHasRelocations(Index, Page))
                {
                    ReadImage(Image, File, Page << PAGE_SHIFT, Contents, PAGE_SIZE);
                    MiRelocatePage(Index, Page, 0x7ff612340000, Contents);
                }
            }
        }
        free(Memory);
    }
    free(Directory);
}

int LLVMFuzzerTestOneInput(const uint8_t *Data, size_t Size)
{
    static MI_IMAGE_DESCRIPTION Image;
    static MI_IMAGE_DESCRIPTION Whole;
    SECTION_IMAGE_INFORMATION Information;
    size_t Window;
    NTSTATUS Status;
    SIZE_T Needed = 0;

    if (Size < 2)
    {
        return 0;
    }
    Window = Data[0] | (size_t)Data[1] << 8;
    Data += 2;
    Size -= 2;
    Window = Window < Size ? Window : Size;
    for (;;)
    {
        uint8_t *Part = malloc(Window + 1); /* of its own: the sanitizer sees a read behind it */

        if (Window != 0)
        {
            memcpy(Part, Data, Window);
        }
        Status = MiParseImage(Part, Window, Size, &Image, &Needed);
        free(Part);
        if (Status != STATUS_BUFFER_TOO_SMALL)
        {
            break;
        }
        REQUIRE(Needed > Window && Needed <= Size);
        Window = Needed;
    }
    REQUIRE(MiParseImage(Data, Size, Size, &Whole, &Needed) == Status);
    if (NT_SUCCESS(Status))
    {
        CheckDescription(&Image);
        MiImageInformation(&Image, Image.PreferredBase, &Information);
        Relocate(&Image, Data);
    }
    return 0;
}
