/* SPDX-License-Identifier: MIT */
/*
 * The headers of a PE32+ file, checked and described. Headers are copied out of the window before they are looked at: the window may
 * be unaligned, and each check must see what the next one uses. All sums are 64 bits wide; no field of the file has
 * more than 32 that is added to another one, so none can wrap.
 *
 * Sources: Microsoft Learn, "PE Format"; NTSTATUS values ([MS-ERREF] 2.3.1) for what each STATUS_INVALID_IMAGE_... means.
 */
#include "section/image.h"

#include "nt/ntstatus.h"
#include "rtl/memory.h"

#define MI_SECTOR_SIZE 512u

/* Offsets in the header of an NE file: which system it is for. Source: Microsoft, "Executable-file Header Format". */
#define MI_NE_HEADER_BYTES  0x40u
#define MI_NE_TARGET_SYSTEM 0x36u
#define MI_NE_WINDOWS       2u
#define MI_NE_WINDOWS_386   4u

typedef struct _MI_WINDOW
{
    const UCHAR *Bytes;
    SIZE_T Length;
    ULONG64 FileSize;
    PSIZE_T Needed;
} MI_WINDOW;

/* Copies a header. STATUS_BUFFER_TOO_SMALL, or OutsideFile when the file itself ends before. */
static NTSTATUS MiReadWindow(const MI_WINDOW *Window, ULONG64 Offset, PVOID Target, SIZE_T Length,
                             NTSTATUS OutsideFile)
{
    ULONG64 End = Offset + Length;

    if (End > Window->FileSize)
    {
        return OutsideFile;
    }
    if (End > Window->Length)
    {
        *Window->Needed = (SIZE_T)End;
        return STATUS_BUFFER_TOO_SMALL;
    }
    RtlCopyMemory(Target, Window->Bytes + Offset, Length);
    return STATUS_SUCCESS;
}

static BOOLEAN MiIsPowerOfTwo(ULONG Value)
{
    return Value != 0 && (Value & (Value - 1)) == 0;
}

static ULONG64 MiRoundUp(ULONG64 Value, ULONG64 Alignment)
{
    return (Value + Alignment - 1) & ~(Alignment - 1);
}

static NTSTATUS MiStatusOfNewExecutable(const MI_WINDOW *Window, ULONG64 Offset)
{
    UCHAR Header[MI_NE_HEADER_BYTES];
    NTSTATUS Status = MiReadWindow(Window, Offset, Header, sizeof(Header), STATUS_INVALID_IMAGE_NE_FORMAT);
    UCHAR System;

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    System = Header[MI_NE_TARGET_SYSTEM];
    return System == MI_NE_WINDOWS || System == MI_NE_WINDOWS_386 ? STATUS_INVALID_IMAGE_WIN_16
                                                                  : STATUS_INVALID_IMAGE_NE_FORMAT;
}

/* The file offset of the PE signature, or what the file is instead. */
static NTSTATUS MiFindNewHeader(const MI_WINDOW *Window, ULONG64 *Offset)
{
    IMAGE_DOS_HEADER Dos;
    USHORT Magic;
    ULONG Signature;
    NTSTATUS Status = MiReadWindow(Window, 0, &Magic, sizeof(Magic), STATUS_INVALID_IMAGE_NOT_MZ);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Magic != IMAGE_DOS_SIGNATURE)
    {
        return STATUS_INVALID_IMAGE_NOT_MZ;
    }
    Status = MiReadWindow(Window, 0, &Dos, sizeof(Dos), STATUS_INVALID_IMAGE_PROTECT);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Dos.e_lfanew <= 0 || (ULONG64)Dos.e_lfanew + sizeof(USHORT) > Window->FileSize)
    {
        return STATUS_INVALID_IMAGE_PROTECT;
    }
    *Offset = (ULONG64)Dos.e_lfanew;
    Status = MiReadWindow(Window, *Offset, &Magic, sizeof(Magic), STATUS_INVALID_IMAGE_PROTECT);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    switch (Magic)
    {
    case IMAGE_OS2_SIGNATURE:
        return MiStatusOfNewExecutable(Window, *Offset);
    case IMAGE_OS2_SIGNATURE_LE:
    case 0x584C: /* LX: the same family */
        return STATUS_INVALID_IMAGE_LE_FORMAT;
    default:
        break;
    }
    Status = MiReadWindow(Window, *Offset, &Signature, sizeof(Signature), STATUS_INVALID_IMAGE_PROTECT);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Signature != IMAGE_NT_SIGNATURE)
    {
        return STATUS_INVALID_IMAGE_PROTECT;
    }
    return *Offset % 4 == 0 && *Offset < MI_IMAGE_MAXIMUM_HEADERS ? STATUS_SUCCESS
                                                                  : STATUS_INVALID_IMAGE_FORMAT;
}

static NTSTATUS MiCheckFileHeader(const IMAGE_FILE_HEADER *Header, USHORT Magic, PMI_IMAGE_DESCRIPTION Image)
{
    if (Magic == IMAGE_NT_OPTIONAL_HDR32_MAGIC)
    {
        return STATUS_INVALID_IMAGE_WIN_32;
    }
    switch (Header->Machine)
    {
    case IMAGE_FILE_MACHINE_AMD64:
        Image->MachineMismatch = FALSE;
        break;
    case IMAGE_FILE_MACHINE_ARM64:
    case IMAGE_FILE_MACHINE_IA64:
        Image->MachineMismatch = TRUE;
        break;
    default:
        return STATUS_INVALID_IMAGE_FORMAT;
    }
    if (Magic != IMAGE_NT_OPTIONAL_HDR64_MAGIC ||
        (Header->Characteristics & IMAGE_FILE_EXECUTABLE_IMAGE) == 0 ||
        Header->NumberOfSections > MI_IMAGE_MAXIMUM_SECTIONS ||
        Header->SizeOfOptionalHeader < UFIELD_OFFSET(IMAGE_OPTIONAL_HEADER64, DataDirectory))
    {
        return STATUS_INVALID_IMAGE_FORMAT;
    }
    Image->Machine = Header->Machine;
    Image->Characteristics = Header->Characteristics;
    Image->TimeDateStamp = Header->TimeDateStamp;
    return STATUS_SUCCESS;
}

static BOOLEAN MiIsAlignmentSound(const IMAGE_OPTIONAL_HEADER64 *Header)
{
    if (!MiIsPowerOfTwo(Header->SectionAlignment) || !MiIsPowerOfTwo(Header->FileAlignment))
    {
        return FALSE;
    }
    if (Header->SectionAlignment < PAGE_SIZE)
    {
        return Header->FileAlignment == Header->SectionAlignment; /* a flat image */
    }
    return Header->FileAlignment >= MI_SECTOR_SIZE && Header->FileAlignment <= 0x10000 &&
           Header->FileAlignment <= Header->SectionAlignment;
}

/* TableEnd: where the section table ends in the file. */
static NTSTATUS MiCheckOptionalHeader(const IMAGE_OPTIONAL_HEADER64 *Header, ULONG64 TableEnd,
                                      PMI_IMAGE_DESCRIPTION Image)
{
    ULONG64 Size = MiRoundUp(Header->SizeOfImage, PAGE_SIZE);

    if (!MiIsAlignmentSound(Header) || Header->ImageBase % MI_IMAGE_BASE_ALIGNMENT != 0 ||
        Header->SizeOfImage == 0 || Size > MI_IMAGE_MAXIMUM_SIZE ||
        Header->ImageBase + Size < Header->ImageBase || Header->SizeOfHeaders < TableEnd ||
        Header->SizeOfHeaders > Header->SizeOfImage || Header->SizeOfHeaders > Image->FileSize ||
        Header->AddressOfEntryPoint >= Header->SizeOfImage)
    {
        return STATUS_INVALID_IMAGE_FORMAT;
    }
    Image->PreferredBase = Header->ImageBase;
    Image->SizeOfImage = (ULONG)Size;
    Image->SizeOfHeaders = Header->SizeOfHeaders;
    Image->EntryPoint = Header->AddressOfEntryPoint;
    Image->SectionAlignment = Header->SectionAlignment;
    Image->FileAlignment = Header->FileAlignment;
    Image->CheckSum = Header->CheckSum;
    Image->LoaderFlags = Header->LoaderFlags;
    Image->StackReserve = Header->SizeOfStackReserve;
    Image->StackCommit = Header->SizeOfStackCommit;
    Image->DllCharacteristics = Header->DllCharacteristics;
    Image->Subsystem = Header->Subsystem;
    Image->MajorSubsystemVersion = Header->MajorSubsystemVersion;
    Image->MinorSubsystemVersion = Header->MinorSubsystemVersion;
    Image->MajorOperatingSystemVersion = Header->MajorOperatingSystemVersion;
    Image->MinorOperatingSystemVersion = Header->MinorOperatingSystemVersion;
    Image->ContainsCode = Header->SizeOfCode != 0;
    Image->Flat = Header->SectionAlignment < PAGE_SIZE;
    return STATUS_SUCCESS;
}

/* Directories beyond what the optional header has room for do not exist, whatever NumberOfRvaAndSizes says. */
static VOID MiTakeDirectories(const IMAGE_OPTIONAL_HEADER64 *Header, USHORT HeaderSize,
                              PMI_IMAGE_DESCRIPTION Image)
{
    ULONG Room =
        (HeaderSize - UFIELD_OFFSET(IMAGE_OPTIONAL_HEADER64, DataDirectory)) / sizeof(IMAGE_DATA_DIRECTORY);
    ULONG Count = Header->NumberOfRvaAndSizes < Room ? Header->NumberOfRvaAndSizes : Room;

    for (ULONG Index = 0; Index < IMAGE_NUMBEROF_DIRECTORY_ENTRIES; Index++)
    {
        Image->Directories[Index] =
            Index < Count ? Header->DataDirectory[Index] : (IMAGE_DATA_DIRECTORY){ 0, 0 };
    }
}

/* Source: Windows Internals, part 1, chapter 5, "Copy-on-write": writable pages of images are copied unless they are shared. */
static ULONG MiSectionProtection(ULONG Characteristics)
{
    static const ULONG Protections[8] = {
        /* none, R, W, RW */ PAGE_NOACCESS,
        PAGE_READONLY,
        PAGE_WRITECOPY,
        PAGE_WRITECOPY,
        /* X, XR, XW, XRW */ PAGE_EXECUTE,
        PAGE_EXECUTE_READ,
        PAGE_EXECUTE_WRITECOPY,
        PAGE_EXECUTE_WRITECOPY,
    };
    ULONG Index = ((Characteristics & IMAGE_SCN_MEM_READ) != 0 ? 1u : 0u) |
                  ((Characteristics & IMAGE_SCN_MEM_WRITE) != 0 ? 2u : 0u) |
                  ((Characteristics & IMAGE_SCN_MEM_EXECUTE) != 0 ? 4u : 0u);
    ULONG Protection = Protections[Index];

    if ((Characteristics & IMAGE_SCN_MEM_SHARED) == 0)
    {
        return Protection;
    }
    return Protection == PAGE_WRITECOPY           ? PAGE_READWRITE
           : Protection == PAGE_EXECUTE_WRITECOPY ? PAGE_EXECUTE_READWRITE
                                                  : Protection;
}

/* Next: where the section must begin; moved to where the next one must. */
static NTSTATUS MiTakeSection(const IMAGE_SECTION_HEADER *Header, PMI_IMAGE_DESCRIPTION Image, ULONG64 *Next)
{
    ULONG Virtual = Header->Misc.VirtualSize != 0 ? Header->Misc.VirtualSize : Header->SizeOfRawData;
    ULONG Raw = Header->PointerToRawData != 0 ? Header->SizeOfRawData : 0;
    PMI_IMAGE_SECTION Section = &Image->Sections[Image->SectionCount];
    ULONG64 Bytes = MiRoundUp(Virtual, PAGE_SIZE);

    if (Virtual == 0)
    {
        return STATUS_SUCCESS; /* occupies nothing, wherever it claims to be */
    }
    if (Header->VirtualAddress != *Next || *Next + Virtual > Image->SizeOfImage ||
        (Raw != 0 && Header->PointerToRawData % MI_SECTOR_SIZE != 0) ||
        (ULONG64)Header->PointerToRawData + Raw > Image->FileSize)
    {
        return STATUS_INVALID_IMAGE_FORMAT;
    }
    /* Of raw data, what the pages of the section have room for is mapped. */
    Raw = Raw < Bytes ? Raw : (ULONG)Bytes;
    Section->VirtualAddress = Header->VirtualAddress;
    Section->Pages = (ULONG)(Bytes >> PAGE_SHIFT);
    Section->RawOffset = Raw != 0 ? Header->PointerToRawData : 0;
    Section->RawBytes = Raw;
    Section->Characteristics = Header->Characteristics;
    Section->Protection = MiSectionProtection(Header->Characteristics);
    Section->Shared = (Header->Characteristics & IMAGE_SCN_MEM_SHARED) != 0;
    RtlCopyMemory(Section->Name, Header->Name, IMAGE_SIZEOF_SHORT_NAME);
    Section->Name[IMAGE_SIZEOF_SHORT_NAME] = 0;
    Image->ContainsCode |= (Header->Characteristics & (IMAGE_SCN_CNT_CODE | IMAGE_SCN_MEM_EXECUTE)) != 0;
    Image->SectionCount++;
    *Next += MiRoundUp(Virtual, Image->SectionAlignment);
    return STATUS_SUCCESS;
}

/* A flat image lies in memory as in the file, so each section must be where it is in the file. */
static NTSTATUS MiCheckFlatSection(const IMAGE_SECTION_HEADER *Header, PMI_IMAGE_DESCRIPTION Image)
{
    ULONG64 End =
        (ULONG64)Header->VirtualAddress +
        (Header->Misc.VirtualSize > Header->SizeOfRawData ? Header->Misc.VirtualSize : Header->SizeOfRawData);

    if ((Header->SizeOfRawData != 0 && Header->PointerToRawData != Header->VirtualAddress) ||
        (ULONG64)Header->PointerToRawData + Header->SizeOfRawData > Image->FileSize ||
        End > Image->SizeOfImage)
    {
        return STATUS_INVALID_IMAGE_FORMAT;
    }
    Image->ContainsCode |= (Header->Characteristics & (IMAGE_SCN_CNT_CODE | IMAGE_SCN_MEM_EXECUTE)) != 0;
    return STATUS_SUCCESS;
}

static NTSTATUS MiTakeSections(const MI_WINDOW *Window, ULONG64 Table, ULONG Count,
                               PMI_IMAGE_DESCRIPTION Image)
{
    ULONG64 Next = MiRoundUp(Image->SizeOfHeaders, Image->SectionAlignment);
    NTSTATUS Status = STATUS_SUCCESS;

    Image->SectionCount = 0;
    for (ULONG Index = 0; Index < Count && NT_SUCCESS(Status); Index++)
    {
        IMAGE_SECTION_HEADER Header;

        Status = MiReadWindow(Window, Table + (ULONG64)Index * sizeof(Header), &Header, sizeof(Header),
                              STATUS_INVALID_IMAGE_FORMAT);
        if (NT_SUCCESS(Status))
        {
            Status = Image->Flat ? MiCheckFlatSection(&Header, Image) : MiTakeSection(&Header, Image, &Next);
        }
    }
    if (!NT_SUCCESS(Status) || Image->Flat)
    {
        return Status;
    }
    return MiRoundUp(Image->SizeOfImage, Image->SectionAlignment) == Next ? STATUS_SUCCESS
                                                                          : STATUS_INVALID_IMAGE_FORMAT;
}

static VOID MiPlaceHeaders(PMI_IMAGE_DESCRIPTION Image)
{
    if (Image->Flat)
    {
        Image->HeaderPages = Image->SizeOfImage >> PAGE_SHIFT;
        Image->HeaderBytes =
            Image->FileSize < Image->SizeOfImage ? (ULONG)Image->FileSize : Image->SizeOfImage;
        return;
    }
    Image->HeaderBytes = Image->SizeOfHeaders;
    Image->HeaderPages = (ULONG)(MiRoundUp(Image->SizeOfHeaders, PAGE_SIZE) >> PAGE_SHIFT);
}

NTSTATUS MiParseImage(const VOID *Bytes, SIZE_T WindowBytes, ULONG64 FileSize, PMI_IMAGE_DESCRIPTION Image,
                      PSIZE_T Needed)
{
    MI_WINDOW Window = { Bytes, WindowBytes, FileSize, Needed };
    IMAGE_NT_HEADERS64 Headers = { 0 };
    ULONG64 Offset = 0;
    ULONG64 Table;
    ULONG64 TableEnd;
    SIZE_T Optional;
    NTSTATUS Status;

    if (FileSize == 0)
    {
        return STATUS_MAPPED_FILE_SIZE_ZERO;
    }
    Status = MiFindNewHeader(&Window, &Offset);
    if (NT_SUCCESS(Status))
    {
        Status = MiReadWindow(&Window, Offset, &Headers,
                              UFIELD_OFFSET(IMAGE_NT_HEADERS64, OptionalHeader) + sizeof(USHORT),
                              STATUS_INVALID_IMAGE_FORMAT);
    }
    if (NT_SUCCESS(Status))
    {
        Status = MiCheckFileHeader(&Headers.FileHeader, Headers.OptionalHeader.Magic, Image);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Optional = Headers.FileHeader.SizeOfOptionalHeader < sizeof(IMAGE_OPTIONAL_HEADER64)
                   ? Headers.FileHeader.SizeOfOptionalHeader
                   : sizeof(IMAGE_OPTIONAL_HEADER64);
    Table =
        Offset + UFIELD_OFFSET(IMAGE_NT_HEADERS64, OptionalHeader) + Headers.FileHeader.SizeOfOptionalHeader;
    TableEnd = Table + (ULONG64)Headers.FileHeader.NumberOfSections * sizeof(IMAGE_SECTION_HEADER);
    Status = MiReadWindow(&Window, Offset + UFIELD_OFFSET(IMAGE_NT_HEADERS64, OptionalHeader),
                          &Headers.OptionalHeader, Optional, STATUS_INVALID_IMAGE_FORMAT);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Image->FileSize = FileSize;
    Image->ImageBaseOffset = (ULONG)Offset + UFIELD_OFFSET(IMAGE_NT_HEADERS64, OptionalHeader.ImageBase);
    Status = MiCheckOptionalHeader(&Headers.OptionalHeader, TableEnd, Image);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    MiTakeDirectories(&Headers.OptionalHeader, (USHORT)Optional, Image);
    Status = MiTakeSections(&Window, Table, Headers.FileHeader.NumberOfSections, Image);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    MiPlaceHeaders(Image);
    return STATUS_SUCCESS;
}
