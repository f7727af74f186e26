/* SPDX-License-Identifier: MIT */
/*
 * Questions to the description of an image: which section an address is in, where a directory is, what NtQuerySection says,
 * what the checksum of a file is.
 */
#include "section/image.h"

#include "rtl/memory.h"

const MI_IMAGE_SECTION *MiImageSectionOf(const MI_IMAGE_DESCRIPTION *Image, ULONG Rva)
{
    ULONG Low = 0;
    ULONG High = Image->SectionCount;

    while (Low < High)
    {
        ULONG Middle = (Low + High) / 2;
        const MI_IMAGE_SECTION *Section = &Image->Sections[Middle];

        if (Rva < Section->VirtualAddress)
        {
            High = Middle;
        }
        else if ((Rva - Section->VirtualAddress) >> PAGE_SHIFT >= Section->Pages)
        {
            Low = Middle + 1;
        }
        else
        {
            return Section;
        }
    }
    return NULL;
}

BOOLEAN MiImageDirectory(const MI_IMAGE_DESCRIPTION *Image, ULONG Index, IMAGE_DATA_DIRECTORY *Directory)
{
    IMAGE_DATA_DIRECTORY Found;

    if (Index >= IMAGE_NUMBEROF_DIRECTORY_ENTRIES || Index == IMAGE_DIRECTORY_ENTRY_SECURITY)
    {
        return FALSE;
    }
    Found = Image->Directories[Index];
    if (Found.VirtualAddress == 0 || Found.Size == 0 ||
        (ULONG64)Found.VirtualAddress + Found.Size > Image->SizeOfImage)
    {
        return FALSE;
    }
    *Directory = Found;
    return TRUE;
}

BOOLEAN MiImageIsRelocatable(const MI_IMAGE_DESCRIPTION *Image)
{
    return (Image->Characteristics & IMAGE_FILE_RELOCS_STRIPPED) == 0;
}

VOID MiImageInformation(const MI_IMAGE_DESCRIPTION *Image, ULONG64 Base,
                        SECTION_IMAGE_INFORMATION *Information)
{
    RtlZeroMemory(Information, sizeof(*Information));
    Information->TransferAddress = (PVOID)(ULONG_PTR)(Base + Image->EntryPoint);
    Information->MaximumStackSize = Image->StackReserve;
    Information->CommittedStackSize = Image->StackCommit;
    Information->SubSystemType = Image->Subsystem;
    Information->SubSystemMajorVersion = Image->MajorSubsystemVersion;
    Information->SubSystemMinorVersion = Image->MinorSubsystemVersion;
    Information->MajorOperatingSystemVersion = Image->MajorOperatingSystemVersion;
    Information->MinorOperatingSystemVersion = Image->MinorOperatingSystemVersion;
    Information->ImageCharacteristics = Image->Characteristics;
    Information->DllCharacteristics = Image->DllCharacteristics;
    Information->Machine = Image->Machine;
    Information->ImageContainsCode = Image->ContainsCode;
    Information->ImageDynamicallyRelocated = Base != Image->PreferredBase;
    Information->ImageMappedFlat = Image->Flat;
    Information->BaseBelow4gb = Base + Image->SizeOfImage <= 0x100000000ull;
    Information->LoaderFlags = Image->LoaderFlags;
    Information->ImageFileSize = Image->FileSize > MAXULONG ? MAXULONG : (ULONG)Image->FileSize;
    Information->CheckSum = Image->CheckSum;
}

VOID MiImageChecksumPiece(const UCHAR *Bytes, SIZE_T Length, ULONG *Sum)
{
    ULONG Total = *Sum;

    for (SIZE_T Index = 0; Index < Length; Index += 2)
    {
        ULONG High = Index + 1 < Length ? Bytes[Index + 1] : 0u;

        Total += Bytes[Index] | (High << 8);
        Total = (Total & 0xffff) + (Total >> 16);
    }
    *Sum = Total;
}
