/* SPDX-License-Identifier: MIT */
/*
 * Control areas of images. All image sections of a file share one, found through SectionObjectPointers->ImageSectionObject; so its base is
 * chosen once, and pages that were fixed up for that base are everybody's.
 *
 * The file is read around the cache, from the storage.
 *
 * Sources: Microsoft Learn, NtCreateSection, CreateFileMapping (SEC_IMAGE); Windows Internals, 7th ed., part 1, chapter 5, "Image
 * randomization".
 */
#include "section/imagemap.h"

#include "io/io.h"
#include "nt/ntstatus.h"

#define MI_TAG_IMAGE      MI_TAG('M', 'm', 'I', 'm')
#define MI_TAG_RELOCATION MI_TAG('M', 'm', 'R', 'l')
#define MI_FIRST_WINDOW   PAGE_SIZE
#define MI_FOUR_GIGABYTES 0x100000000ull
#define MI_BASE_TRIES     32u

/* ---- Reading the file ------------------------------------------------------------------------------------- */

static NTSTATUS MiReadFileExactly(PIO_FCB File, ULONG64 Offset, PVOID Buffer, SIZE_T Length)
{
    SIZE_T Done = 0;
    NTSTATUS Status = IoReadStorage(File, Offset, Buffer, Length, &Done);

    return NT_SUCCESS(Status) && Done != Length ? STATUS_END_OF_FILE : Status;
}

/* Headers: with a page at first, then with as many as the parser wants. */
static NTSTATUS MiReadHeaders(PIO_FCB File, PMI_IMAGE_DESCRIPTION Image)
{
    ULONG64 FileSize = IoFileSize(File);
    SIZE_T Window = FileSize < MI_FIRST_WINDOW ? (SIZE_T)FileSize : MI_FIRST_WINDOW;

    for (;;)
    {
        PVOID Buffer = Window != 0 ? MiAllocatePool(Window, MI_TAG_IMAGE) : NULL;
        SIZE_T Needed = 0;
        NTSTATUS Status = STATUS_SUCCESS;

        if (Window != 0)
        {
            Status =
                Buffer != NULL ? MiReadFileExactly(File, 0, Buffer, Window) : STATUS_INSUFFICIENT_RESOURCES;
        }
        if (NT_SUCCESS(Status))
        {
            Status = MiParseImage(Buffer, Window, FileSize, Image, &Needed);
        }
        if (Buffer != NULL)
        {
            MiFreePool(Buffer, MI_TAG_IMAGE);
        }
        if (Status != STATUS_BUFFER_TOO_SMALL)
        {
            return Status;
        }
        Window = Needed;
    }
}

/* Bytes of the image as the file has them, zeros where it has none. */
static NTSTATUS MiReadImageBytes(PIO_FCB File, const MI_IMAGE_DESCRIPTION *Image, ULONG Rva, PUCHAR Buffer,
                                 SIZE_T Length)
{
    NTSTATUS Status = STATUS_SUCCESS;

    RtlZeroMemory(Buffer, Length);
    for (SIZE_T Done = 0; Done < Length && NT_SUCCESS(Status);)
    {
        ULONG Address = Rva + (ULONG)Done;
        const MI_IMAGE_SECTION *Section = MiImageSectionOf(Image, Address);
        ULONG Start = Section != NULL ? Section->VirtualAddress : 0;
        ULONG64 End = Section != NULL ? Start + ((ULONG64)Section->Pages << PAGE_SHIFT)
                                      : (Address | (PAGE_SIZE - 1)) + 1ull; /* headers or nothing: by pages */
        ULONG Bytes = Section != NULL ? Section->RawBytes : Image->HeaderBytes;
        SIZE_T Piece = End - Address < Length - Done ? (SIZE_T)(End - Address) : Length - Done;

        if (Address - Start < Bytes)
        {
            ULONG Left = Bytes - (Address - Start);

            Status = MiReadFileExactly(File, (Section != NULL ? Section->RawOffset : 0) + (Address - Start),
                                       Buffer + Done, Piece < Left ? Piece : Left);
        }
        Done += Piece;
    }
    return Status;
}

/* ---- The base --------------------------------------------------------------------------------------------- */

static BOOLEAN MiIsBaseUsable(ULONG64 Base, ULONG Size)
{
    ULONG64 End = Base + Size - 1;

    if (Base < PORT_USER_LOWEST || End > PORT_USER_HIGHEST || End < Base)
    {
        return FALSE;
    }
    for (ULONG Index = 0; Index < MiState.Space->OccupiedCount; Index++)
    {
        const PORT_ADDRESS_RANGE *Range = &MiState.Space->Occupied[Index];

        if (Base <= Range->End && End >= Range->Start)
        {
            return FALSE;
        }
    }
    return TRUE;
}

/*
 * Random: as many bits of 64 KiB as documented, downwards from the top of the user window, or of its first 2 GiB for images that may
 * want to be low. Not random: the highest place that is free.
 */
static ULONG64 MiDrawBase(const MI_IMAGE_DESCRIPTION *Image, BOOLEAN Random)
{
    BOOLEAN High = Image->PreferredBase >= MI_FOUR_GIGABYTES ||
                   (Image->DllCharacteristics & IMAGE_DLLCHARACTERISTICS_HIGH_ENTROPY_VA) != 0;
    BOOLEAN Dll = (Image->Characteristics & IMAGE_FILE_DLL) != 0;
    ULONG64 Top = High || PORT_USER_LOWEST >= 0x80000000ull ? PORT_USER_HIGHEST + 1ull : 0x80000000ull;
    ULONG64 Room = (Top - PORT_USER_LOWEST) / MI_IMAGE_BASE_ALIGNMENT / 2;
    ULONG64 Steps = 1ull << (High ? (Dll ? 19 : 17) : (Dll ? 14 : 8));
    ULONG64 Highest = (Top - Image->SizeOfImage) & ~(ULONG64)(MI_IMAGE_BASE_ALIGNMENT - 1);

    Steps = Steps < Room ? Steps : Room;
    for (ULONG64 Try = 0; Try < (Random ? MI_BASE_TRIES : Room); Try++)
    {
        ULONG64 Base = Highest - (Random ? MiSpaceRandom() % Steps : Try) * MI_IMAGE_BASE_ALIGNMENT;

        if (MiIsBaseUsable(Base, Image->SizeOfImage))
        {
            return Base;
        }
    }
    return 0;
}

static ULONG64 MiChooseImageBase(const MI_IMAGE_DESCRIPTION *Image)
{
    BOOLEAN Random =
        MiState.Space->Randomize && (Image->DllCharacteristics & IMAGE_DLLCHARACTERISTICS_DYNAMIC_BASE) != 0;
    ULONG64 Base = 0;

    if (MiImageIsRelocatable(Image) && (Random || !MiIsBaseUsable(Image->PreferredBase, Image->SizeOfImage)))
    {
        Base = MiDrawBase(Image, Random);
    }
    return Base != 0 ? Base : Image->PreferredBase;
}

/* ---- Relocations ------------------------------------------------------------------------------------------ */

static NTSTATUS MiReadStraddlingFields(PIO_FCB File, PMI_IMAGE Image)
{
    PMI_IMAGE_RELOCATIONS Index = Image->Relocations;
    NTSTATUS Status = STATUS_SUCCESS;

    for (ULONG Each = 0; Each < Index->StraddlingCount && NT_SUCCESS(Status); Each++)
    {
        MI_IMAGE_STRADDLING *Straddling = &Index->Straddling[Each];
        ULONG Left = Image->Description.SizeOfImage - Straddling->VirtualAddress;

        Status = MiReadImageBytes(File, &Image->Description, Straddling->VirtualAddress, Straddling->Field,
                                  Left < sizeof(Straddling->Field) ? Left : sizeof(Straddling->Field));
    }
    return Status;
}

static NTSTATUS MiIndexRelocations(PIO_FCB File, PMI_IMAGE Image, PUCHAR Directory, SIZE_T Bytes)
{
    SIZE_T IndexBytes = 0;
    NTSTATUS Status = MiMeasureRelocations(&Image->Description, Directory, Bytes, &IndexBytes);
    PVOID Memory;

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Memory = MiAllocatePool(IndexBytes, MI_TAG_RELOCATION);
    if (Memory == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Status = MiBuildRelocationIndex(&Image->Description, Directory, Bytes, Memory, &Image->Relocations);
    if (NT_SUCCESS(Status))
    {
        Status = MiReadStraddlingFields(File, Image);
    }
    if (!NT_SUCCESS(Status))
    {
        Image->Relocations = NULL;
        MiFreePool(Memory, MI_TAG_RELOCATION);
    }
    return Status;
}

/* What Base asks for. */
static NTSTATUS MiReadRelocations(PIO_FCB File, PMI_IMAGE Image)
{
    IMAGE_DATA_DIRECTORY Place = { 0, 0 };
    PUCHAR Directory = NULL;
    NTSTATUS Status = STATUS_SUCCESS;

    if (Image->Base == Image->Description.PreferredBase)
    {
        return STATUS_SUCCESS;
    }
    if (MiImageDirectory(&Image->Description, IMAGE_DIRECTORY_ENTRY_BASERELOC, &Place))
    {
        Directory = MiAllocatePool(Place.Size, MI_TAG_RELOCATION);
        if (Directory == NULL)
        {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        Status = MiReadImageBytes(File, &Image->Description, Place.VirtualAddress, Directory, Place.Size);
    }
    if (NT_SUCCESS(Status))
    {
        Status = MiIndexRelocations(File, Image, Directory, Place.Size);
    }
    if (Directory != NULL)
    {
        MiFreePool(Directory, MI_TAG_RELOCATION);
    }
    return Status;
}

static VOID MiFreeImage(PMI_IMAGE Image)
{
    if (Image->Relocations != NULL)
    {
        MiFreePool(Image->Relocations, MI_TAG_RELOCATION);
    }
    MiFreePool(Image, MI_TAG_IMAGE);
}

static NTSTATUS MiReadImage(PIO_FCB File, PMI_IMAGE *ImageOut)
{
    PMI_IMAGE Image = MiAllocatePool(sizeof(*Image), MI_TAG_IMAGE);
    NTSTATUS Status;

    if (Image == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    ExInitializeRundownProtection(&Image->Reads);
    Status = MiReadHeaders(File, &Image->Description);
    if (NT_SUCCESS(Status))
    {
        Image->Base = MiChooseImageBase(&Image->Description);
        Status = MiReadRelocations(File, Image);
    }
    if (!NT_SUCCESS(Status))
    {
        MiFreeImage(Image);
        return Status;
    }
    *ImageOut = Image;
    return STATUS_SUCCESS;
}

/* ---- Subsections ------------------------------------------------------------------------------------------ */

static VOID MiFillSubsection(PSUBSECTION Subsection, ULONG64 StartingPage, ULONG64 Pages, ULONG Protect)
{
    Subsection->StartingPage = StartingPage;
    Subsection->PtesInSubsection = Pages;
    Subsection->FileOffset = 0;
    Subsection->FileBytes = 0;
    Subsection->Protection = MiMakeProtectionMask(Protect);
    Subsection->Flags = 0;
}

static PSUBSECTION MiAppendSubsection(PCONTROL_AREA ControlArea, PSUBSECTION Last)
{
    PSUBSECTION Subsection = &ControlArea->FollowingSubsections[ControlArea->FollowingCount++];

    Subsection->ControlArea = ControlArea;
    Last->NextSubsection = Subsection;
    return Subsection;
}

/* Headers, sections, and pages without access where section alignment leaves some. FALSE: no pool. */
static BOOLEAN MiMakeSubsections(PCONTROL_AREA ControlArea, const MI_IMAGE_DESCRIPTION *Image)
{
    PSUBSECTION Subsection = ControlArea->Subsection;
    ULONG64 Next = Image->HeaderPages;
    ULONG Room = 2 * Image->SectionCount + 1; /* each with a gap before it, and one at the end */

    ControlArea->FollowingSubsections = MiAllocatePool(Room * sizeof(SUBSECTION), MI_TAG_SUBSECTION);
    if (ControlArea->FollowingSubsections == NULL)
    {
        return FALSE;
    }
    MiFillSubsection(Subsection, 0, Image->HeaderPages, Image->Flat ? PAGE_EXECUTE_WRITECOPY : PAGE_READONLY);
    Subsection->FileBytes = Image->HeaderBytes;
    for (ULONG Index = 0; Index <= Image->SectionCount; Index++)
    {
        const MI_IMAGE_SECTION *Section = Index < Image->SectionCount ? &Image->Sections[Index] : NULL;
        ULONG64 Start = (Section != NULL ? Section->VirtualAddress : Image->SizeOfImage) >> PAGE_SHIFT;

        if (Start > Next)
        {
            Subsection = MiAppendSubsection(ControlArea, Subsection);
            MiFillSubsection(Subsection, Next, Start - Next, PAGE_NOACCESS);
        }
        if (Section == NULL)
        {
            return TRUE;
        }
        Subsection = MiAppendSubsection(ControlArea, Subsection);
        MiFillSubsection(Subsection, Start, Section->Pages, Section->Protection);
        Subsection->FileOffset = Section->RawOffset;
        Subsection->FileBytes = Section->RawBytes;
        Subsection->Flags =
            Section->Shared && MiIsWritable(Subsection->Protection) ? MI_SUBSECTION_GLOBAL : 0;
        Next = Start + Section->Pages;
    }
    return TRUE;
}

/* Pages that everybody writes to go to the paging file: their charge is the control area's. */
static BOOLEAN MiChargeSharedPages(PCONTROL_AREA ControlArea)
{
    SIZE_T Pages = 0;

    for (PSUBSECTION Subsection = ControlArea->Subsection; Subsection != NULL;
         Subsection = Subsection->NextSubsection)
    {
        Pages += (Subsection->Flags & MI_SUBSECTION_GLOBAL) != 0 ? Subsection->PtesInSubsection : 0;
    }
    if (Pages != 0 && !MiChargeCommitment(Pages, 0))
    {
        return FALSE;
    }
    ControlArea->Segment->NumberOfCommittedPages = Pages;
    return TRUE;
}

/* ---- The control area ------------------------------------------------------------------------------------- */

VOID MiReleaseImage(PCONTROL_AREA ControlArea)
{
    PCONTROL_AREA Original = MiImageOf(ControlArea)->Original;

    ExWaitForRundownProtectionRelease(&MiImageOf(ControlArea)->Reads);
    MiFreeImage(MiImageOf(ControlArea));
    ObDereferenceObjectBody(ControlArea->FilePointer);
    if (Original != NULL)
    {
        MiDereferenceControlArea(Original, MiSectionReference, FALSE, FALSE);
    }
}

/* Not yet anchored, or somebody else was faster: nobody but us has it. */
static VOID MiAbandonControlArea(PCONTROL_AREA ControlArea)
{
    MiEndCreation(ControlArea);
    MiDereferenceControlArea(ControlArea, MiSectionReference, FALSE, FALSE);
}

static NTSTATUS MiMakeImageControlArea(PFILE_OBJECT FileObject, PMI_IMAGE Image, PVOID volatile *Anchor,
                                       PCONTROL_AREA *ControlAreaOut)
{
    PCONTROL_AREA ControlArea = MiAllocateControlArea(MiBackingImage, Image->Description.SizeOfImage, Anchor);
    NTSTATUS Status;

    if (ControlArea == NULL)
    {
        MiFreeImage(Image);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    ObReferenceObjectBody(FileObject);
    ControlArea->FilePointer = FileObject;
    ControlArea->Segment->ImageInformation = Image;
    if (!MiMakeSubsections(ControlArea, &Image->Description))
    {
        MiAbandonControlArea(ControlArea);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Status =
        MiChargeSharedPages(ControlArea) ? MiPromiseChunks(ControlArea->Segment) : STATUS_COMMITMENT_LIMIT;
    if (!NT_SUCCESS(Status))
    {
        MiAbandonControlArea(ControlArea);
        return Status;
    }
    *ControlAreaOut = ControlArea;
    return STATUS_SUCCESS;
}

NTSTATUS MiCreateImageMap(PVOID File, PULONG64 Size, ULONG Protection, ULONG Attributes,
                          PCONTROL_AREA *ControlAreaOut)
{
    PFILE_OBJECT FileObject = File;
    PIO_FCB Fcb = IoFileOf(FileObject);
    PVOID volatile *Anchor = &FileObject->SectionObjectPointer->ImageSectionObject;
    PCONTROL_AREA ControlArea = MiReferenceAnchoredControlArea(Anchor);

    UNREFERENCED_PARAMETER(Protection);
    UNREFERENCED_PARAMETER(Attributes);
    while (ControlArea == NULL)
    {
        PMI_IMAGE Image;
        NTSTATUS Status = IoRefreshFileSize(Fcb);

        if (NT_SUCCESS(Status))
        {
            Status = MiReadImage(Fcb, &Image);
        }
        if (NT_SUCCESS(Status))
        {
            Status = MiMakeImageControlArea(FileObject, Image, Anchor, &ControlArea);
        }
        if (!NT_SUCCESS(Status))
        {
            return Status;
        }
        if (MiAnchorControlArea(ControlArea))
        {
            MiEndCreation(ControlArea);
        }
        else
        {
            MiAbandonControlArea(ControlArea);
            ControlArea = MiReferenceAnchoredControlArea(Anchor);
        }
    }
    if (*Size > ControlArea->Segment->SizeOfSegment)
    {
        MiDereferenceControlArea(ControlArea, MiSectionReference, FALSE, FALSE);
        return STATUS_SECTION_TOO_BIG;
    }
    *Size = ControlArea->Segment->SizeOfSegment;
    *ControlAreaOut = ControlArea;
    return STATUS_SUCCESS;
}

/* Pages that everybody shall share cannot be in two control areas. */
static BOOLEAN MiHasSharedPages(PCONTROL_AREA ControlArea)
{
    for (PSUBSECTION Subsection = ControlArea->Subsection; Subsection != NULL;
         Subsection = Subsection->NextSubsection)
    {
        if ((Subsection->Flags & MI_SUBSECTION_GLOBAL) != 0)
        {
            return TRUE;
        }
    }
    return FALSE;
}

BOOLEAN MiMayRelocateImageMap(PCONTROL_AREA ControlArea)
{
    const MI_IMAGE_DESCRIPTION *Image = &MiImageOf(ControlArea)->Description;

    return MiImageIsRelocatable(Image) && !Image->MachineMismatch && !MiHasSharedPages(ControlArea);
}

NTSTATUS MiRelocateImageMap(PCONTROL_AREA ControlArea, ULONG64 Base, PCONTROL_AREA *Relocated)
{
    PFILE_OBJECT FileObject = ControlArea->FilePointer;
    PMI_IMAGE Image = MiAllocatePool(sizeof(*Image), MI_TAG_IMAGE);
    NTSTATUS Status;

    if (Image == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    ExInitializeRundownProtection(&Image->Reads);
    Image->Description = MiImageOf(ControlArea)->Description;
    Image->Base = Base;
    Status = MiReadRelocations(IoFileOf(FileObject), Image);
    if (!NT_SUCCESS(Status))
    {
        MiFreeImage(Image);
        return Status;
    }
    MiReferenceControlArea(ControlArea, MiSectionReference, FALSE, FALSE);
    Status = MiMakeImageControlArea(FileObject, Image, NULL, Relocated);
    if (!NT_SUCCESS(Status))
    {
        MiDereferenceControlArea(ControlArea, MiSectionReference, FALSE, FALSE);
        return Status;
    }
    Image->Original = ControlArea;
    return STATUS_SUCCESS;
}

ULONG MiImagePageBytes(PSUBSECTION Subsection, ULONG64 Page, PULONG64 FileOffset)
{
    ULONG64 Position = (Page - Subsection->StartingPage) << PAGE_SHIFT;

    *FileOffset = Subsection->FileOffset + Position;
    if (Position >= Subsection->FileBytes)
    {
        return 0;
    }
    return Subsection->FileBytes - Position < PAGE_SIZE ? (ULONG)(Subsection->FileBytes - Position)
                                                        : PAGE_SIZE;
}
