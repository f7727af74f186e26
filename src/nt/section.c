/* SPDX-License-Identifier: MIT */
/* Section objects: create, open, extend, query; what the rights of a file handle must be for a section of the file. */
#include "mapping/mapping.h"
#include "nt/file.h"
#include "nt/mm.h"
#include "nt/ccapi.h"
#include "section/imagemap.h"

/* ---- Creating ------------------------------------------------------------------------------------------------- */

/* Documented (NtCreateSection): the rights that a file handle must have for a section's protection. */
static ACCESS_MASK NtpFileAccess(ULONG Protect)
{
    switch (Protect & 0xff)
    {
    case PAGE_READWRITE:
        return FILE_READ_DATA | FILE_WRITE_DATA;
    case PAGE_EXECUTE:
        return FILE_EXECUTE;
    case PAGE_EXECUTE_READ:
    case PAGE_EXECUTE_WRITECOPY:
        return FILE_EXECUTE | FILE_READ_DATA;
    case PAGE_EXECUTE_READWRITE:
        return FILE_EXECUTE | FILE_READ_DATA | FILE_WRITE_DATA;
    default:
        return FILE_READ_DATA;
    }
}

static NTSTATUS NtpOpenNamedSection(PHANDLE SectionHandle, ACCESS_MASK DesiredAccess,
                                    const NT_ATTRIBUTES *Attributes)
{
    return NtOpenNamed(&MiState.Section->SectionType, Attributes, DesiredAccess, SectionHandle);
}

/* A section with its name and handle, or nothing. */
static NTSTATUS NtpPublishSection(const MI_SECTION_REQUEST *Request, const NT_ATTRIBUTES *Attributes,
                                  ACCESS_MASK DesiredAccess, PHANDLE SectionHandle)
{
    PSECTION Section;
    NTSTATUS Status;

    if ((Request->Attributes & SEC_IMAGE) != 0 && Request->FileObject != NULL)
    {
        /* Images are read from the storage: what views and the cache have modified must be there. */
        IO_STATUS_BLOCK IoStatus;

        CcFlushCache(((PFILE_OBJECT)Request->FileObject)->SectionObjectPointer, NULL, 0, &IoStatus);
        if (!NT_SUCCESS(IoStatus.Status))
        {
            return IoStatus.Status;
        }
    }
    Status = MiCreateSection(Request, &Section);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = NtPublishObject(Section, Attributes, DesiredAccess, SectionHandle);
    ObDereferenceObjectBody(Section);
    if (Status == STATUS_OBJECT_NAME_COLLISION && (Attributes->Attributes & OBJ_OPENIF) != 0)
    {
        Status = NtpOpenNamedSection(SectionHandle, DesiredAccess, Attributes);
        Status = NT_SUCCESS(Status) ? STATUS_OBJECT_NAME_EXISTS : Status;
    }
    return Status;
}

static NTSTATUS NtpCaptureSize(PLARGE_INTEGER MaximumSize, PULONG64 Size)
{
    LARGE_INTEGER Value = { .QuadPart = 0 };
    NTSTATUS Status = MaximumSize == NULL ? STATUS_SUCCESS : NtCapture(&Value, MaximumSize, sizeof(Value));

    *Size = (ULONG64)Value.QuadPart;
    return NT_SUCCESS(Status) && Value.QuadPart < 0 ? STATUS_INVALID_PARAMETER_4 : Status;
}

static NTSTATUS NtpMakeSection(PHANDLE SectionHandle, ACCESS_MASK DesiredAccess,
                               POBJECT_ATTRIBUTES ObjectAttributes, PLARGE_INTEGER MaximumSize,
                               ULONG SectionPageProtection, ULONG AllocationAttributes, HANDLE FileHandle)
{
    MI_SECTION_REQUEST Request = { .Protect = SectionPageProtection,
                                   .Attributes = AllocationAttributes,
                                   .Mode = NtPreviousMode() };
    NT_ATTRIBUTES Attributes;
    PFILE_OBJECT File = NULL;
    NTSTATUS Status = NtProbeOutput(SectionHandle, sizeof(*SectionHandle));

    Status = NT_SUCCESS(Status) ? NtpCaptureSize(MaximumSize, &Request.Size) : Status;
    Status = NT_SUCCESS(Status) ? NtCaptureAttributes(ObjectAttributes, &Attributes) : Status;
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (FileHandle != NULL)
    {
        Status = NtReferenceFile(FileHandle, NtpFileAccess(SectionPageProtection), &File, NULL);
        Request.FileObject = File;
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtpPublishSection(&Request, &Attributes, DesiredAccess, SectionHandle);
    }
    if (File != NULL)
    {
        ObDereferenceObjectBody(File);
    }
    NtFreeString(&Attributes.Name);
    return Status;
}

static NTSTATUS NtpCreateSection(PHANDLE SectionHandle, ACCESS_MASK DesiredAccess,
                                 POBJECT_ATTRIBUTES ObjectAttributes, PLARGE_INTEGER MaximumSize,
                                 ULONG SectionPageProtection, ULONG AllocationAttributes, HANDLE FileHandle)
{
    return NtpMakeSection(SectionHandle, DesiredAccess, ObjectAttributes, MaximumSize, SectionPageProtection,
                          AllocationAttributes, FileHandle);
}

/* Which extended parameters a section may have (MEM_SECTION_EXTENDED_PARAMETER_TYPE). */
static NTSTATUS NtpCheckSectionParameters(const MEM_EXTENDED_PARAMETER *Parameters, ULONG Count)
{
    ULONG Seen = 0;

    if (Count >= MemSectionExtendedParameterMax || (Count != 0) != (Parameters != NULL))
    {
        return STATUS_INVALID_PARAMETER;
    }
    for (ULONG Index = 0; Index < Count; Index++)
    {
        MEM_EXTENDED_PARAMETER Parameter;
        NTSTATUS Status = NtCapture(&Parameter, NtElement(Parameters, Index), sizeof(Parameter));

        if (!NT_SUCCESS(Status))
        {
            return Status;
        }
        if (Parameter.Type == MemSectionExtendedParameterInvalidType ||
            Parameter.Type >= MemSectionExtendedParameterMax || Parameter.Reserved != 0 ||
            (Seen & (1u << Parameter.Type)) != 0)
        {
            return STATUS_INVALID_PARAMETER;
        }
        Seen |= 1u << Parameter.Type;
        if (Parameter.Type != MemSectionExtendedParameterNumaNode)
        {
            return STATUS_NOT_IMPLEMENTED;
        }
        if (Parameter.ULong64 > KeQueryHighestNodeNumber())
        {
            return STATUS_INVALID_PARAMETER;
        }
        /* A preference for pages that come into being later: any node is right. */
    }
    return STATUS_SUCCESS;
}

static NTSTATUS NtpCreateSectionEx(PHANDLE SectionHandle, ACCESS_MASK DesiredAccess,
                                   POBJECT_ATTRIBUTES ObjectAttributes, PLARGE_INTEGER MaximumSize,
                                   ULONG SectionPageProtection, ULONG AllocationAttributes, HANDLE FileHandle,
                                   PMEM_EXTENDED_PARAMETER ExtendedParameters, ULONG ExtendedParameterCount)
{
    NTSTATUS Status = NtpCheckSectionParameters(ExtendedParameters, ExtendedParameterCount);

    return NT_SUCCESS(Status) ? NtpMakeSection(SectionHandle, DesiredAccess, ObjectAttributes, MaximumSize,
                                               SectionPageProtection, AllocationAttributes, FileHandle)
                              : Status;
}

static NTSTATUS NtpOpenSection(PHANDLE SectionHandle, ACCESS_MASK DesiredAccess,
                               POBJECT_ATTRIBUTES ObjectAttributes)
{
    return NtOpenByName(SectionHandle, DesiredAccess, ObjectAttributes, NtpOpenNamedSection);
}

NTSTATUS NTAPI MmCreateSection(PVOID *SectionObject, ACCESS_MASK DesiredAccess,
                               POBJECT_ATTRIBUTES ObjectAttributes, PLARGE_INTEGER InputMaximumSize,
                               ULONG SectionPageProtection, ULONG AllocationAttributes, HANDLE FileHandle,
                               PFILE_OBJECT FileObject)
{
    MI_SECTION_REQUEST Request = { .Size = (ULONG64)InputMaximumSize->QuadPart,
                                   .Protect = SectionPageProtection,
                                   .Attributes = AllocationAttributes,
                                   .FileObject = FileObject,
                                   .Mode = KernelMode };
    PFILE_OBJECT File = NULL;
    PSECTION Section;
    NTSTATUS Status = STATUS_SUCCESS;

    UNREFERENCED_PARAMETER(DesiredAccess);
    UNREFERENCED_PARAMETER(ObjectAttributes); /* a name needs a handle (ZwCreateSection) */
    if (FileHandle != NULL && FileObject == NULL)
    {
        Status = NtReferenceFile(FileHandle, NtpFileAccess(SectionPageProtection), &File, NULL);
        Request.FileObject = File;
    }
    if (NT_SUCCESS(Status))
    {
        Status = MiCreateSection(&Request, &Section);
    }
    if (File != NULL)
    {
        ObDereferenceObjectBody(File);
    }
    if (NT_SUCCESS(Status))
    {
        *SectionObject = Section;
    }
    return Status;
}

/* ---- Extending, asking ---------------------------------------------------------------------------------------- */

NTSTATUS NtReferenceSection(HANDLE Handle, ACCESS_MASK Access, PSECTION *Section)
{
    OB_HANDLE_TABLE *Table = NtTableOfHandle(&Handle);
    PVOID Object;
    NTSTATUS Status = ObReferenceHandle(Table, Handle, Access, &MiState.Section->SectionType,
                                        NtPreviousMode(), &Object, NULL);

    if (NT_SUCCESS(Status))
    {
        *Section = Object;
    }
    return Status;
}

static NTSTATUS NtpExtendSection(HANDLE SectionHandle, PLARGE_INTEGER NewSectionSize)
{
    LARGE_INTEGER Size;
    PSECTION Section;
    ULONG64 Reached;
    NTSTATUS Status = NtCapture(&Size, NewSectionSize, sizeof(Size));

    Status = NT_SUCCESS(Status) ? NtProbeOutput(NewSectionSize, sizeof(Size)) : Status;
    Status = NT_SUCCESS(Status) ? NtReferenceSection(SectionHandle, SECTION_EXTEND_SIZE, &Section) : Status;
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Reached = (ULONG64)Size.QuadPart;
    Status = Size.QuadPart < 0 ? STATUS_SECTION_TOO_BIG : MiExtendSection(Section, &Reached);
    ObDereferenceObjectBody(Section);
    if (NT_SUCCESS(Status))
    {
        Size.QuadPart = (LONGLONG)Reached;
        Status = NtStore(NewSectionSize, &Size, sizeof(Size));
    }
    return Status;
}

static NTSTATUS NtpAnswer(PVOID Buffer, SIZE_T Length, const VOID *Information, SIZE_T Size)
{
    return Length < Size ? STATUS_INFO_LENGTH_MISMATCH : NtStore(Buffer, Information, Size);
}

/* What concerns images only. */
static NTSTATUS NtpQueryImageSection(PSECTION Section, SECTION_INFORMATION_CLASS Class, PVOID Buffer,
                                     SIZE_T Length, PSIZE_T Size)
{
    SECTION_IMAGE_INFORMATION Information;
    PMI_IMAGE Image;
    ULONG64 Value;

    *Size = Class == SectionImageInformation ? sizeof(Information) : sizeof(Value);
    if (Section->ControlArea->Backing != MiBackingImage)
    {
        return STATUS_SECTION_NOT_IMAGE;
    }
    Image = MiImageOf(Section->ControlArea);
    if (Class == SectionImageInformation)
    {
        MiImageInformation(&Image->Description, Image->Base, &Information);
        return NtpAnswer(Buffer, Length, &Information, sizeof(Information));
    }
    Value = Class == SectionOriginalBaseInformation ? Image->Description.PreferredBase
                                                    : Image->Base - Image->Description.PreferredBase;
    return NtpAnswer(Buffer, Length, &Value, sizeof(Value));
}

static NTSTATUS NtpQuerySectionClass(PSECTION Section, SECTION_INFORMATION_CLASS Class, PVOID Buffer,
                                     SIZE_T Length, PSIZE_T Size)
{
    SECTION_BASIC_INFORMATION Basic = { .BaseAddress = (PVOID)(Section->BasedVpn << PAGE_SHIFT),
                                        .AllocationAttributes = Section->AllocationAttributes,
                                        .MaximumSize.QuadPart = (LONGLONG)__atomic_load_n(
                                            &Section->SizeOfSection, __ATOMIC_ACQUIRE) };

    switch (Class)
    {
    case SectionBasicInformation:
        *Size = sizeof(Basic);
        return NtpAnswer(Buffer, Length, &Basic, sizeof(Basic));
    case SectionImageInformation:
    case SectionRelocationInformation:
    case SectionOriginalBaseInformation:
        return NtpQueryImageSection(Section, Class, Buffer, Length, Size);
    default:
        return STATUS_NOT_IMPLEMENTED;
    }
}

static NTSTATUS NtpQuerySection(HANDLE SectionHandle, SECTION_INFORMATION_CLASS SectionInformationClass,
                                PVOID SectionInformation, SIZE_T SectionInformationLength,
                                PSIZE_T ReturnLength)
{
    PSECTION Section;
    SIZE_T Size = 0;
    NTSTATUS Status = STATUS_SUCCESS;

    if ((ULONG)SectionInformationClass >= MaxSectionInfoClass)
    {
        return STATUS_INVALID_INFO_CLASS;
    }
    if (ReturnLength != NULL)
    {
        Status = NtProbeOutput(ReturnLength, sizeof(*ReturnLength));
    }
    Status = NT_SUCCESS(Status) ? NtReferenceSection(SectionHandle, SECTION_QUERY, &Section) : Status;
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = NtpQuerySectionClass(Section, SectionInformationClass, SectionInformation,
                                  SectionInformationLength, &Size);
    ObDereferenceObjectBody(Section);
    if (NT_SUCCESS(Status) && ReturnLength != NULL)
    {
        Status = NtStore(ReturnLength, &Size, sizeof(Size));
    }
    return Status;
}

/* The file that a view of the current process shows, referenced. */
static NTSTATUS NtpFileOfView(PVOID Address, PFILE_OBJECT *File)
{
    PMI_ADDRESS_SPACE Space = MiCurrentSpace();

    if (Space == NULL)
    {
        return STATUS_INVALID_ADDRESS;
    }
    return MiReferenceMappedFile(Space, (ULONG_PTR)Address, (PVOID *)File);
}

static NTSTATUS NtpAreMappedFilesTheSame(PVOID File1MappedAsAnImage, PVOID File2MappedAsFile)
{
    PFILE_OBJECT First;
    PFILE_OBJECT Second;
    NTSTATUS Status = NtpFileOfView(File1MappedAsAnImage, &First);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = NtpFileOfView(File2MappedAsFile, &Second);
    if (NT_SUCCESS(Status))
    {
        Status = IoFileOf(First) == IoFileOf(Second) ? STATUS_SUCCESS : STATUS_NOT_SAME_DEVICE;
        ObDereferenceObjectBody(Second);
    }
    ObDereferenceObjectBody(First);
    return Status;
}

NT_SERVICE(CreateSection,
           (PHANDLE SectionHandle, ACCESS_MASK DesiredAccess, POBJECT_ATTRIBUTES ObjectAttributes,
            PLARGE_INTEGER MaximumSize, ULONG SectionPageProtection, ULONG AllocationAttributes,
            HANDLE FileHandle),
           (SectionHandle, DesiredAccess, ObjectAttributes, MaximumSize, SectionPageProtection,
            AllocationAttributes, FileHandle))
NT_SERVICE(CreateSectionEx,
           (PHANDLE SectionHandle, ACCESS_MASK DesiredAccess, POBJECT_ATTRIBUTES ObjectAttributes,
            PLARGE_INTEGER MaximumSize, ULONG SectionPageProtection, ULONG AllocationAttributes,
            HANDLE FileHandle, PMEM_EXTENDED_PARAMETER ExtendedParameters, ULONG ExtendedParameterCount),
           (SectionHandle, DesiredAccess, ObjectAttributes, MaximumSize, SectionPageProtection,
            AllocationAttributes, FileHandle, ExtendedParameters, ExtendedParameterCount))
NT_SERVICE(OpenSection,
           (PHANDLE SectionHandle, ACCESS_MASK DesiredAccess, POBJECT_ATTRIBUTES ObjectAttributes),
           (SectionHandle, DesiredAccess, ObjectAttributes))
NT_SERVICE(ExtendSection, (HANDLE SectionHandle, PLARGE_INTEGER NewSectionSize),
           (SectionHandle, NewSectionSize))
NT_SERVICE(QuerySection,
           (HANDLE SectionHandle, SECTION_INFORMATION_CLASS SectionInformationClass, PVOID SectionInformation,
            SIZE_T SectionInformationLength, PSIZE_T ReturnLength),
           (SectionHandle, SectionInformationClass, SectionInformation, SectionInformationLength,
            ReturnLength))
NT_SERVICE(AreMappedFilesTheSame, (PVOID File1MappedAsAnImage, PVOID File2MappedAsFile),
           (File1MappedAsAnImage, File2MappedAsFile))
