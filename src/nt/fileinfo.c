/* SPDX-License-Identifier: MIT */
/* NtQueryInformationFile and NtSetInformationFile: the documented classes that make sense for plain files. */
#include "nt/file.h"
#include "mapping/cache.h"

typedef union _NT_FILE_INFORMATION
{
    FILE_BASIC_INFORMATION Basic;
    FILE_STANDARD_INFORMATION Standard;
    FILE_INTERNAL_INFORMATION Internal;
    FILE_ACCESS_INFORMATION Access;
    FILE_POSITION_INFORMATION Position;
    FILE_MODE_INFORMATION Mode;
    FILE_DISPOSITION_INFORMATION Disposition;
    FILE_ALLOCATION_INFORMATION Allocation;
    FILE_END_OF_FILE_INFORMATION EndOfFile;
} NT_FILE_INFORMATION;

typedef struct _NT_FILE_CLASS
{
    FILE_INFORMATION_CLASS Class;
    ULONG Length;
    ACCESS_MASK QueryAccess; /* any of these, 0: none needed */
    ACCESS_MASK SetAccess;
    BOOLEAN Query;
    BOOLEAN Set;
} NT_FILE_CLASS;

#define NT_DATA_ACCESS (FILE_READ_DATA | FILE_WRITE_DATA | FILE_APPEND_DATA)

static const NT_FILE_CLASS NtFileClasses[] = {
    { FileBasicInformation, sizeof(FILE_BASIC_INFORMATION), FILE_READ_ATTRIBUTES, 0, TRUE, FALSE },
    { FileStandardInformation, sizeof(FILE_STANDARD_INFORMATION), 0, 0, TRUE, FALSE },
    { FileInternalInformation, sizeof(FILE_INTERNAL_INFORMATION), 0, 0, TRUE, FALSE },
    { FileAccessInformation, sizeof(FILE_ACCESS_INFORMATION), 0, 0, TRUE, FALSE },
    { FileNameInformation, sizeof(FILE_NAME_INFORMATION), 0, 0, TRUE, FALSE },
    { FileDispositionInformation, sizeof(FILE_DISPOSITION_INFORMATION), 0, DELETE, FALSE, TRUE },
    { FilePositionInformation, sizeof(FILE_POSITION_INFORMATION), NT_DATA_ACCESS, NT_DATA_ACCESS, TRUE,
      TRUE },
    { FileModeInformation, sizeof(FILE_MODE_INFORMATION), 0, 0, TRUE, FALSE },
    { FileAllocationInformation, sizeof(FILE_ALLOCATION_INFORMATION), 0, FILE_WRITE_DATA, FALSE, TRUE },
    { FileEndOfFileInformation, sizeof(FILE_END_OF_FILE_INFORMATION), 0, FILE_WRITE_DATA, FALSE, TRUE },
};

/* Documented classes that are not there (missing) and numbers that are none (invalid). */
static NTSTATUS NtpFindFileClass(FILE_INFORMATION_CLASS Class, BOOLEAN Set, const NT_FILE_CLASS **Found)
{
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(NtFileClasses); Index++)
    {
        *Found = &NtFileClasses[Index];
        if ((*Found)->Class == Class)
        {
            if (Set ? (*Found)->Set : (*Found)->Query)
            {
                return STATUS_SUCCESS;
            }
            return Set && Class == FileBasicInformation ? STATUS_NOT_IMPLEMENTED : STATUS_INVALID_INFO_CLASS;
        }
    }
    switch (Class)
    {
    case FileRenameInformation:
    case FileAllInformation:
    case FileNetworkOpenInformation:
    case FileAttributeTagInformation:
    case FileValidDataLengthInformation:
        return STATUS_NOT_IMPLEMENTED;
    default:
        return STATUS_INVALID_INFO_CLASS;
    }
}

/* ---- Querying ------------------------------------------------------------------------------------------ */

static ULONG NtpFileMode(const FILE_OBJECT *FileObject)
{
    ULONG Mode = FILE_SYNCHRONOUS_IO_NONALERT;

    Mode |= (FileObject->Flags & FO_WRITE_THROUGH) != 0 ? FILE_WRITE_THROUGH : 0;
    Mode |= (FileObject->Flags & FO_SEQUENTIAL_ONLY) != 0 ? FILE_SEQUENTIAL_ONLY : 0;
    Mode |= (FileObject->Flags & FO_NO_INTERMEDIATE_BUFFERING) != 0 ? FILE_NO_INTERMEDIATE_BUFFERING : 0;
    Mode |= (FileObject->Flags & FO_DELETE_ON_CLOSE) != 0 ? FILE_DELETE_ON_CLOSE : 0;
    return Mode;
}

static VOID NtpFillFromStorage(FILE_INFORMATION_CLASS Class, const PORT_STORAGE_INFORMATION *Storage,
                               PIO_FCB File, NT_FILE_INFORMATION *Information)
{
    if (Class == FileBasicInformation)
    {
        Information->Basic.CreationTime.QuadPart = Storage->CreationTime;
        Information->Basic.LastAccessTime.QuadPart = Storage->LastAccessTime;
        Information->Basic.LastWriteTime.QuadPart = Storage->LastWriteTime;
        Information->Basic.ChangeTime.QuadPart = Storage->ChangeTime;
        Information->Basic.FileAttributes =
            Storage->ReadOnly ? FILE_ATTRIBUTE_READONLY : FILE_ATTRIBUTE_NORMAL;
    }
    else if (Class == FileStandardInformation)
    {
        Information->Standard.AllocationSize.QuadPart = (LONGLONG)Storage->AllocationSize;
        Information->Standard.EndOfFile.QuadPart = (LONGLONG)Storage->Size;
        Information->Standard.NumberOfLinks = Storage->Links;
        Information->Standard.DeletePending = File->DeletePending;
    }
    else
    {
        Information->Internal.IndexNumber.QuadPart = (LONGLONG)Storage->File;
    }
}

static NTSTATUS NtpFillInformation(PFILE_OBJECT FileObject, ACCESS_MASK Granted, FILE_INFORMATION_CLASS Class,
                                   NT_FILE_INFORMATION *Information)
{
    PIO_FCB File = IoFileOf(FileObject);
    PORT_STORAGE_INFORMATION Storage;
    NTSTATUS Status;

    switch (Class)
    {
    case FileAccessInformation:
        Information->Access.AccessFlags = Granted;
        return STATUS_SUCCESS;
    case FilePositionInformation:
        Information->Position.CurrentByteOffset = FileObject->CurrentByteOffset;
        return STATUS_SUCCESS;
    case FileModeInformation:
        Information->Mode.Mode = NtpFileMode(FileObject);
        return STATUS_SUCCESS;
    default:
        Status = PortQueryStorageInformation(File->Storage, &Storage);
        if (NT_SUCCESS(Status))
        {
            NtpFillFromStorage(Class, &Storage, File, Information);
        }
        return Status;
    }
}

/* As much of the name as fits. */
static NTSTATUS NtpStoreFileName(PFILE_OBJECT FileObject, PVOID Buffer, ULONG Length, PULONG Stored)
{
    const ULONG Head = FIELD_OFFSET(FILE_NAME_INFORMATION, FileName);
    ULONG NameLength = FileObject->FileName.Length;
    ULONG Copied = NameLength < Length - Head ? NameLength : (Length - Head) & ~1u;
    NTSTATUS Status = NtStore(Buffer, &NameLength, sizeof(NameLength));

    if (NT_SUCCESS(Status))
    {
        Status = NtStore(NtMember(Buffer, Head), FileObject->FileName.Buffer, Copied);
    }
    *Stored = Head + Copied;
    return NT_SUCCESS(Status) && Copied < NameLength ? STATUS_BUFFER_OVERFLOW : Status;
}

static NTSTATUS NtpQueryInformationFile(HANDLE FileHandle, PIO_STATUS_BLOCK IoStatusBlock,
                                        PVOID FileInformation, ULONG Length,
                                        FILE_INFORMATION_CLASS FileInformationClass)
{
    NT_FILE_INFORMATION Information = { .Basic = { .FileAttributes = 0 } };
    const NT_FILE_CLASS *Class;
    PFILE_OBJECT FileObject;
    ACCESS_MASK Granted;
    ULONG Stored;
    NTSTATUS Status = NtpFindFileClass(FileInformationClass, FALSE, &Class);

    if (NT_SUCCESS(Status))
    {
        Status = Length < Class->Length ? STATUS_INFO_LENGTH_MISMATCH
                                        : NtProbeOutputBuffer(IoStatusBlock, sizeof(*IoStatusBlock));
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtReferenceFile(FileHandle, 0, &FileObject, &Granted);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Stored = Class->Length;
    if (Class->QueryAccess != 0 && (Granted & Class->QueryAccess) == 0)
    {
        ObDereferenceObjectBody(FileObject);
        return STATUS_ACCESS_DENIED;
    }
    if (FileInformationClass == FileNameInformation)
    {
        Status = NtpStoreFileName(FileObject, FileInformation, Length, &Stored);
    }
    else
    {
        Status = NtpFillInformation(FileObject, Granted, FileInformationClass, &Information);
        Status = NT_SUCCESS(Status) ? NtStore(FileInformation, &Information, Class->Length) : Status;
    }
    ObDereferenceObjectBody(FileObject);
    return NT_SUCCESS(Status) || Status == STATUS_BUFFER_OVERFLOW ? NtFinishIo(IoStatusBlock, Status, Stored)
                                                                  : Status;
}

/* ---- Setting ------------------------------------------------------------------------------------------- */

static NTSTATUS NtpSetFileEnd(PFILE_OBJECT FileObject, LONGLONG Bytes)
{
    PIO_FCB File = IoFileOf(FileObject);
    NTSTATUS Status;

    if (Bytes < 0)
    {
        return STATUS_INVALID_PARAMETER;
    }
    IoLockSizeExclusive(File);
    Status = NtSetFileSizeLocked(FileObject, (ULONG64)Bytes);
    IoUnlockSizeExclusive(File);
    return Status;
}

/* Documented: less than the end of the file moves the end. Space beyond the end cannot be reserved. */
static NTSTATUS NtpSetAllocation(PFILE_OBJECT FileObject, LONGLONG Bytes)
{
    NTSTATUS Status = IoRefreshFileSize(IoFileOf(FileObject));

    if (!NT_SUCCESS(Status) || Bytes < 0)
    {
        return NT_SUCCESS(Status) ? STATUS_INVALID_PARAMETER : Status;
    }
    if ((ULONG64)Bytes < IoFileSize(IoFileOf(FileObject)))
    {
        return NtpSetFileEnd(FileObject, Bytes);
    }
    return (ULONG64)Bytes <= ROUND_TO_PAGES(IoFileSize(IoFileOf(FileObject))) ? STATUS_SUCCESS
                                                                              : STATUS_NOT_IMPLEMENTED;
}

static NTSTATUS NtpSetPosition(PFILE_OBJECT FileObject, LONGLONG Position)
{
    if (Position < 0 ||
        ((FileObject->Flags & FO_NO_INTERMEDIATE_BUFFERING) != 0 && (Position & (PAGE_SIZE - 1)) != 0))
    {
        return STATUS_INVALID_PARAMETER;
    }
    IoLockFileObject(FileObject);
    FileObject->CurrentByteOffset.QuadPart = Position;
    IoUnlockFileObject(FileObject);
    return STATUS_SUCCESS;
}

static NTSTATUS NtpApplyInformation(PFILE_OBJECT FileObject, FILE_INFORMATION_CLASS Class,
                                    const NT_FILE_INFORMATION *Information)
{
    switch (Class)
    {
    case FileDispositionInformation:
        if (Information->Disposition.DeleteFile &&
            !MmFlushImageSection(FileObject->SectionObjectPointer, MmFlushForDelete))
        {
            return STATUS_CANNOT_DELETE;
        }
        return IoSetDisposition(FileObject, Information->Disposition.DeleteFile != 0);
    case FilePositionInformation:
        return NtpSetPosition(FileObject, Information->Position.CurrentByteOffset.QuadPart);
    case FileAllocationInformation:
        return NtpSetAllocation(FileObject, Information->Allocation.AllocationSize.QuadPart);
    default:
        return NtpSetFileEnd(FileObject, Information->EndOfFile.EndOfFile.QuadPart);
    }
}

static NTSTATUS NtpSetInformationFile(HANDLE FileHandle, PIO_STATUS_BLOCK IoStatusBlock,
                                      PVOID FileInformation, ULONG Length,
                                      FILE_INFORMATION_CLASS FileInformationClass)
{
    NT_FILE_INFORMATION Information;
    const NT_FILE_CLASS *Class;
    PFILE_OBJECT FileObject;
    ACCESS_MASK Granted;
    NTSTATUS Status = NtpFindFileClass(FileInformationClass, TRUE, &Class);

    if (NT_SUCCESS(Status))
    {
        Status = Length < Class->Length ? STATUS_INFO_LENGTH_MISMATCH
                                        : NtCapture(&Information, FileInformation, Class->Length);
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtProbeOutputBuffer(IoStatusBlock, sizeof(*IoStatusBlock));
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtReferenceFile(FileHandle, 0, &FileObject, &Granted);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if ((Granted & Class->SetAccess) == 0)
    {
        Status = STATUS_ACCESS_DENIED;
    }
    else
    {
        Status = NtpApplyInformation(FileObject, FileInformationClass, &Information);
    }
    ObDereferenceObjectBody(FileObject);
    return NT_SUCCESS(Status) ? NtFinishIo(IoStatusBlock, Status, 0) : Status;
}

NT_SERVICE(QueryInformationFile,
           (HANDLE FileHandle, PIO_STATUS_BLOCK IoStatusBlock, PVOID FileInformation, ULONG Length,
            FILE_INFORMATION_CLASS FileInformationClass),
           (FileHandle, IoStatusBlock, FileInformation, Length, FileInformationClass))
NT_SERVICE(SetInformationFile,
           (HANDLE FileHandle, PIO_STATUS_BLOCK IoStatusBlock, PVOID FileInformation, ULONG Length,
            FILE_INFORMATION_CLASS FileInformationClass),
           (FileHandle, IoStatusBlock, FileInformation, Length, FileInformationClass))
