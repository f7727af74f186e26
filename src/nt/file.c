/* SPDX-License-Identifier: MIT */
/*
 * Creating and opening files. The parameters are checked here; who may open what beside whom is the business of the room io.
 */
#include "nt/file.h"
#include "mapping/cache.h"

#define NT_UNSUPPORTED_OPTIONS                                                                               \
    (~(ULONG)(FILE_WRITE_THROUGH | FILE_SEQUENTIAL_ONLY | FILE_NO_INTERMEDIATE_BUFFERING |                   \
              FILE_SYNCHRONOUS_IO_ALERT | FILE_SYNCHRONOUS_IO_NONALERT | FILE_NON_DIRECTORY_FILE |           \
              FILE_RANDOM_ACCESS | FILE_DELETE_ON_CLOSE))

NTSTATUS NtReferenceFile(HANDLE Handle, ACCESS_MASK Access, PFILE_OBJECT *FileObject, ACCESS_MASK *Granted)
{
    OB_HANDLE_TABLE *Table = NtTableOfHandle(&Handle);
    ACCESS_MASK Rights;
    PVOID Object;
    NTSTATUS Status =
        ObReferenceHandle(Table, Handle, Access, &MiState.Io->FileType, NtPreviousMode(), &Object, &Rights);

    if (NT_SUCCESS(Status))
    {
        *FileObject = Object;
        if (Granted != NULL)
        {
            *Granted = NtPreviousMode() == KernelMode ? FILE_ALL_ACCESS : Rights;
        }
    }
    return Status;
}

NTSTATUS NtFinishIo(PIO_STATUS_BLOCK IoStatusBlock, NTSTATUS Status, ULONG_PTR Information)
{
    IO_STATUS_BLOCK Block = { .Information = Information };
    NTSTATUS Stored;

    Block.Status = Status;
    Stored = NtStore(IoStatusBlock, &Block, sizeof(Block));
    return NT_SUCCESS(Status) && !NT_SUCCESS(Stored) ? Stored : Status;
}

static NTSTATUS NtpCheckCreate(ACCESS_MASK Access, ULONG ShareAccess, ULONG Disposition, ULONG Options,
                               PVOID EaBuffer)
{
    const ULONG Synchronous = FILE_SYNCHRONOUS_IO_ALERT | FILE_SYNCHRONOUS_IO_NONALERT;

    if ((ShareAccess & ~(ULONG)FILE_SHARE_VALID_FLAGS) != 0 || Disposition > FILE_MAXIMUM_DISPOSITION ||
        (Options & ~(ULONG)FILE_VALID_OPTION_FLAGS) != 0 || (Options & Synchronous) == Synchronous ||
        ((Options & Synchronous) != 0 && (Access & SYNCHRONIZE) == 0) ||
        ((Options & FILE_DIRECTORY_FILE) != 0 && (Options & FILE_NON_DIRECTORY_FILE) != 0) ||
        ((Options & FILE_DELETE_ON_CLOSE) != 0 && (Access & DELETE) == 0) ||
        ((Options & FILE_NO_INTERMEDIATE_BUFFERING) != 0 && (Access & FILE_APPEND_DATA) != 0 &&
         (Access & FILE_WRITE_DATA) == 0) ||
        Access == 0)
    {
        return STATUS_INVALID_PARAMETER;
    }
    return (Options & NT_UNSUPPORTED_OPTIONS) != 0 || EaBuffer != NULL ? STATUS_NOT_IMPLEMENTED
                                                                       : STATUS_SUCCESS;
}

NTSTATUS NtSetFileSizeLocked(PFILE_OBJECT FileObject, ULONG64 Bytes)
{
    return MiSetMappedFileSize(FileObject, Bytes);
}

/* What an overwriting open does to the contents; then the size that the caller asked for beforehand is tried. */
static NTSTATUS NtpPrepareContents(PFILE_OBJECT FileObject, const IO_OPEN *Open)
{
    PIO_FCB File = IoFileOf(FileObject);
    NTSTATUS Status = STATUS_SUCCESS;

    /* Documented (MmFlushImageSection): what runs cannot be opened for writing. */
    if ((FileObject->WriteAccess || Open->Truncate) &&
        !MmFlushImageSection(FileObject->SectionObjectPointer, MmFlushForWrite))
    {
        return STATUS_SHARING_VIOLATION;
    }
    IoLockSizeExclusive(File);
    if (Open->Truncate)
    {
        Status = NtSetFileSizeLocked(FileObject, 0);
    }
    else
    {
        (VOID) IoRefreshFileSize(File); /* somebody else may have written since it was opened first */
    }
    IoUnlockSizeExclusive(File);
    return Status;
}

static NTSTATUS NtpOpenAndInsert(PIO_OPEN Open, ULONG Attributes, PHANDLE FileHandle)
{
    PFILE_OBJECT FileObject;
    NTSTATUS Status = IoOpenFile(Open, &FileObject);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = NtpPrepareContents(FileObject, Open);
    if (NT_SUCCESS(Status))
    {
        Status = NtInsertNewHandle(FileObject, Open->Access, Attributes, FileHandle);
    }
    if (!NT_SUCCESS(Status) && Open->Information == FILE_CREATED)
    {
        (VOID) IoSetDisposition(FileObject, TRUE); /* a failed call leaves no new file behind */
    }
    ObDereferenceObjectBody(FileObject);
    return Status;
}

static NTSTATUS NtpCreateFile(PHANDLE FileHandle, ACCESS_MASK DesiredAccess,
                              POBJECT_ATTRIBUTES ObjectAttributes, PIO_STATUS_BLOCK IoStatusBlock,
                              PLARGE_INTEGER AllocationSize, ULONG FileAttributes, ULONG ShareAccess,
                              ULONG CreateDisposition, ULONG CreateOptions, PVOID EaBuffer, ULONG EaLength)
{
    IO_OPEN Open = { .Access = IoMapFileAccess(DesiredAccess),
                     .ShareAccess = ShareAccess,
                     .Disposition = CreateDisposition,
                     .Options = CreateOptions };
    LARGE_INTEGER Allocation = { .QuadPart = 0 };
    NT_ATTRIBUTES Attributes;
    NTSTATUS Status = NtpCheckCreate(Open.Access, ShareAccess, CreateDisposition, CreateOptions, EaBuffer);

    UNREFERENCED_PARAMETER(FileAttributes); /* of a new file; Linux has no such attributes */
    UNREFERENCED_PARAMETER(EaLength);
    if (NT_SUCCESS(Status) && AllocationSize != NULL)
    {
        Status = NtCapture(&Allocation, AllocationSize, sizeof(Allocation));
        Status = NT_SUCCESS(Status) && Allocation.QuadPart < 0 ? STATUS_INVALID_PARAMETER : Status;
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtProbeOutputBuffer(IoStatusBlock, sizeof(*IoStatusBlock));
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtProbeOutput(FileHandle, sizeof(*FileHandle));
    }
    if (NT_SUCCESS(Status))
    {
        Status = ObjectAttributes == NULL ? STATUS_INVALID_PARAMETER
                                          : NtCaptureAttributes(ObjectAttributes, &Attributes);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Open.Name = Attributes.Name;
    Status = Attributes.Name.Length == 0 ? STATUS_OBJECT_NAME_INVALID
                                         : NtpOpenAndInsert(&Open, Attributes.Attributes, FileHandle);
    NtFreeString(&Attributes.Name);
    return NT_SUCCESS(Status) ? NtFinishIo(IoStatusBlock, Status, (ULONG_PTR)Open.Information) : Status;
}

static NTSTATUS NtpOpenFile(PHANDLE FileHandle, ACCESS_MASK DesiredAccess,
                            POBJECT_ATTRIBUTES ObjectAttributes, PIO_STATUS_BLOCK IoStatusBlock,
                            ULONG ShareAccess, ULONG OpenOptions)
{
    return NtpCreateFile(FileHandle, DesiredAccess, ObjectAttributes, IoStatusBlock, NULL, 0, ShareAccess,
                         FILE_OPEN, OpenOptions, NULL, 0);
}

NT_SERVICE(CreateFile,
           (PHANDLE FileHandle, ACCESS_MASK DesiredAccess, POBJECT_ATTRIBUTES ObjectAttributes,
            PIO_STATUS_BLOCK IoStatusBlock, PLARGE_INTEGER AllocationSize, ULONG FileAttributes,
            ULONG ShareAccess, ULONG CreateDisposition, ULONG CreateOptions, PVOID EaBuffer, ULONG EaLength),
           (FileHandle, DesiredAccess, ObjectAttributes, IoStatusBlock, AllocationSize, FileAttributes,
            ShareAccess, CreateDisposition, CreateOptions, EaBuffer, EaLength))
NT_SERVICE(OpenFile,
           (PHANDLE FileHandle, ACCESS_MASK DesiredAccess, POBJECT_ATTRIBUTES ObjectAttributes,
            PIO_STATUS_BLOCK IoStatusBlock, ULONG ShareAccess, ULONG OpenOptions),
           (FileHandle, DesiredAccess, ObjectAttributes, IoStatusBlock, ShareAccess, OpenOptions))
