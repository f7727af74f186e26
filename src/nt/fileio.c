/* SPDX-License-Identifier: MIT */
/*
 * Reading, writing and flushing files: through the cache, or around it (FILE_NO_INTERMEDIATE_BUFFERING), and then what the cache has of the range goes to
 * the disk before, and after a write out of the cache.
 */
#include "mapping/cache.h"
#include "nt/file.h"

typedef struct _NT_TRANSFER
{
    PFILE_OBJECT FileObject;
    PKEVENT Event; /* the caller's, or NULL */
    PVOID EventObject;
    ULONG64 Offset;
    BOOLEAN UsePosition;
    BOOLEAN Append; /* at the end of the file, wherever that is then */
    PVOID Buffer;
    ULONG Length;
    BOOLEAN Write;
} NT_TRANSFER;

/* ---- Parameters ---------------------------------------------------------------------------------------- */

static NTSTATUS NtpCaptureOffset(NT_TRANSFER *Transfer, PLARGE_INTEGER ByteOffset)
{
    LARGE_INTEGER Offset;
    NTSTATUS Status;

    if (ByteOffset == NULL)
    {
        Transfer->UsePosition = TRUE;
        return STATUS_SUCCESS;
    }
    Status = NtCapture(&Offset, ByteOffset, sizeof(Offset));
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Offset.HighPart == -1 && Offset.LowPart == FILE_USE_FILE_POINTER_POSITION)
    {
        Transfer->UsePosition = TRUE;
        return STATUS_SUCCESS;
    }
    if (Transfer->Write && Offset.HighPart == -1 && Offset.LowPart == FILE_WRITE_TO_END_OF_FILE)
    {
        Transfer->Append = TRUE;
        return STATUS_SUCCESS;
    }
    if (Offset.QuadPart < 0 || Offset.QuadPart > MAXLONGLONG - (LONGLONG)Transfer->Length)
    {
        return STATUS_INVALID_PARAMETER;
    }
    Transfer->Offset = (ULONG64)Offset.QuadPart;
    return STATUS_SUCCESS;
}

static NTSTATUS NtpCaptureEvent(NT_TRANSFER *Transfer, HANDLE Event)
{
    OB_HANDLE_TABLE *Table;
    NTSTATUS Status;

    Transfer->Event = NULL;
    if (Event == NULL)
    {
        return STATUS_SUCCESS;
    }
    Table = NtTableOfHandle(&Event);
    Status = ObReferenceHandle(Table, Event, EVENT_MODIFY_STATE, &MiState.Ob->EventType, NtPreviousMode(),
                               &Transfer->EventObject, NULL);
    if (NT_SUCCESS(Status))
    {
        Transfer->Event = ((PNT_EVENT)Transfer->EventObject)->Target;
        KeClearEvent(Transfer->Event);
    }
    return Status;
}

static NTSTATUS NtpReferenceForTransfer(NT_TRANSFER *Transfer, HANDLE FileHandle)
{
    const ACCESS_MASK Writing = FILE_WRITE_DATA | FILE_APPEND_DATA;
    ACCESS_MASK Granted;
    NTSTATUS Status =
        NtReferenceFile(FileHandle, Transfer->Write ? 0 : FILE_READ_DATA, &Transfer->FileObject, &Granted);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    /* Documented: who may only append writes at the end, whatever the offset says. */
    Transfer->Append |= Transfer->Write && (Granted & Writing) == FILE_APPEND_DATA;
    if ((Transfer->Write && (Granted & Writing) == 0) ||
        (Transfer->Write && !IoFileOf(Transfer->FileObject)->Writable))
    {
        ObDereferenceObjectBody(Transfer->FileObject);
        return STATUS_ACCESS_DENIED;
    }
    return STATUS_SUCCESS;
}

/* Around the cache whole pages only. Documented for sectors; a sector is a page here. */
static BOOLEAN NtpIsAligned(const NT_TRANSFER *Transfer)
{
    return (Transfer->FileObject->Flags & FO_NO_INTERMEDIATE_BUFFERING) == 0 ||
           (((Transfer->Append ? 0 : Transfer->Offset) | Transfer->Length) & (PAGE_SIZE - 1)) == 0;
}

/* ---- The transfers ------------------------------------------------------------------------------------- */

static BOOLEAN NtpIsBuffered(const NT_TRANSFER *Transfer)
{
    return (Transfer->FileObject->Flags & FO_CACHE_SUPPORTED) != 0;
}

/* What is written around the cache must not be older than what is in it, and the other way round. */
static NTSTATUS NtpFlushRange(const NT_TRANSFER *Transfer)
{
    LARGE_INTEGER Offset = { .QuadPart = (LONGLONG)Transfer->Offset };
    IO_STATUS_BLOCK Block;

    CcFlushCache(Transfer->FileObject->SectionObjectPointer, &Offset, Transfer->Length, &Block);
    return Block.Status;
}

static NTSTATUS NtpReadLocked(const NT_TRANSFER *Transfer, PSIZE_T Done)
{
    PIO_FCB File = IoFileOf(Transfer->FileObject);

    if (Transfer->Offset + Transfer->Length > IoFileSize(File))
    {
        NTSTATUS Status = IoRefreshFileSize(File);

        if (!NT_SUCCESS(Status) || Transfer->Offset >= IoFileSize(File))
        {
            return NT_SUCCESS(Status) ? STATUS_END_OF_FILE : Status;
        }
    }
    if (NtpIsBuffered(Transfer))
    {
        return CcpRead(Transfer->FileObject, Transfer->Offset, Transfer->Buffer, Transfer->Length, Done);
    }
    (VOID) NtpFlushRange(
        Transfer); /* a page that cannot be written is newer than the disk; who goes around the cache sees the disk */
    return IoReadStorage(File, Transfer->Offset, Transfer->Buffer, Transfer->Length, Done);
}

static NTSTATUS NtpWriteInside(const NT_TRANSFER *Transfer, ULONG64 Fresh, PSIZE_T Done)
{
    PFILE_OBJECT FileObject = Transfer->FileObject;
    LARGE_INTEGER Offset = { .QuadPart = (LONGLONG)Transfer->Offset };
    NTSTATUS Status;

    if (NtpIsBuffered(Transfer))
    {
        return CcpWrite(FileObject, Transfer->Offset, Transfer->Buffer, Transfer->Length, Fresh, Done);
    }
    Status = NtpFlushRange(Transfer);
    if (NT_SUCCESS(Status))
    {
        Status =
            IoWriteStorage(IoFileOf(FileObject), Transfer->Offset, Transfer->Buffer, Transfer->Length, Done);
    }
    /* Pages that user mode maps stay what they are: documented as not coherent with transfers around the cache. */
    (VOID) CcPurgeCacheSection(FileObject->SectionObjectPointer, &Offset, Transfer->Length, 0);
    return Status;
}

/* SizeLock held exclusively: the file becomes longer first, and its old length again if nothing could be written. */
static NTSTATUS NtpWriteBeyond(NT_TRANSFER *Transfer, PSIZE_T Done)
{
    PIO_FCB File = IoFileOf(Transfer->FileObject);
    NTSTATUS Status = IoRefreshFileSize(File);
    ULONG64 Old = IoFileSize(File);

    if (Transfer->Append)
    {
        Transfer->Offset = Old;
    }
    if (NT_SUCCESS(Status))
    {
        CcpNoteFileSize(File, Old); /* somebody else may have made it longer */
        Status = Transfer->Offset + Transfer->Length > Old
                     ? NtSetFileSizeLocked(Transfer->FileObject, Transfer->Offset + Transfer->Length)
                     : STATUS_SUCCESS;
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtpWriteInside(Transfer, Old, Done);
        if (!NT_SUCCESS(Status) && Transfer->Offset + *Done < IoFileSize(File))
        {
            ULONG64 Reached = *Done != 0 && Transfer->Offset + *Done > Old ? Transfer->Offset + *Done : Old;

            MiTakeBackFileGrowth(Transfer->FileObject, Reached);
        }
    }
    return Status;
}

static NTSTATUS NtpWriteAnywhere(NT_TRANSFER *Transfer, PSIZE_T Done)
{
    PIO_FCB File = IoFileOf(Transfer->FileObject);
    NTSTATUS Status;

    if (!Transfer->Append)
    {
        IoLockSizeShared(File);
        if (Transfer->Offset + Transfer->Length <= IoFileSize(File) &&
            (!NtpIsBuffered(Transfer) ||
             CcpCovers(Transfer->FileObject, Transfer->Offset + Transfer->Length)))
        {
            Status = NtpWriteInside(Transfer, CC_NOTHING_FRESH, Done);
            IoUnlockSizeShared(File);
            return Status;
        }
        IoUnlockSizeShared(File);
    }
    IoLockSizeExclusive(File);
    Status = NtpWriteBeyond(Transfer, Done);
    IoUnlockSizeExclusive(File);
    return Status;
}

/* The file object is locked: one synchronous transfer at a time. */
static NTSTATUS NtpTransferFile(NT_TRANSFER *Transfer, PSIZE_T Done)
{
    PFILE_OBJECT FileObject = Transfer->FileObject;
    NTSTATUS Status = STATUS_SUCCESS;

    *Done = 0;
    if (Transfer->UsePosition)
    {
        Transfer->Offset = (ULONG64)FileObject->CurrentByteOffset.QuadPart;
    }
    if (!NtpIsAligned(Transfer) || Transfer->Offset > (ULONG64)MAXLONGLONG - Transfer->Length)
    {
        return STATUS_INVALID_PARAMETER;
    }
    if (Transfer->Length == 0)
    {
        return STATUS_SUCCESS;
    }
    if (NtpIsBuffered(Transfer))
    {
        Status = CcpInitializeFile(FileObject);
        if (!NT_SUCCESS(Status))
        {
            return Status;
        }
    }
    if (Transfer->Write)
    {
        Status = NtpWriteAnywhere(Transfer, Done);
        if (NT_SUCCESS(Status) && (FileObject->Flags & FO_WRITE_THROUGH) != 0)
        {
            Status = NtpFlushRange(Transfer);
            Status = NT_SUCCESS(Status) ? IoFlushStorage(IoFileOf(FileObject)) : Status;
        }
    }
    else
    {
        IoLockSizeShared(IoFileOf(FileObject));
        Status = NtpReadLocked(Transfer, Done);
        IoUnlockSizeShared(IoFileOf(FileObject));
    }
    if (NT_SUCCESS(Status))
    {
        FileObject->CurrentByteOffset.QuadPart = (LONGLONG)(Transfer->Offset + *Done);
    }
    return Status;
}

static NTSTATUS NtpReadOrWrite(NT_TRANSFER *Transfer, HANDLE FileHandle, HANDLE Event,
                               PIO_APC_ROUTINE ApcRoutine, PIO_STATUS_BLOCK IoStatusBlock,
                               PLARGE_INTEGER ByteOffset)
{
    SIZE_T Done = 0;
    NTSTATUS Status = ApcRoutine != NULL ? STATUS_NOT_IMPLEMENTED
                                         : NtProbeOutputBuffer(IoStatusBlock, sizeof(*IoStatusBlock));

    Status = NT_SUCCESS(Status) ? NtProbe(Transfer->Buffer, Transfer->Length) : Status;
    Status = NT_SUCCESS(Status) ? NtpCaptureOffset(Transfer, ByteOffset) : Status;
    Status = NT_SUCCESS(Status) ? NtpReferenceForTransfer(Transfer, FileHandle) : Status;
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = NtpCaptureEvent(Transfer, Event);
    if (NT_SUCCESS(Status))
    {
        IoLockFileObject(Transfer->FileObject);
        Status = NtpTransferFile(Transfer, &Done);
        IoUnlockFileObject(Transfer->FileObject);
        Status = NtFinishIo(IoStatusBlock, Status, Done);
        if (Transfer->Event != NULL)
        {
            KeSetEvent(Transfer->Event, EVENT_INCREMENT, FALSE);
            ObDereferenceObjectBody(Transfer->EventObject);
        }
    }
    ObDereferenceObjectBody(Transfer->FileObject);
    return Status;
}

static NTSTATUS NtpReadFile(HANDLE FileHandle, HANDLE Event, PIO_APC_ROUTINE ApcRoutine, PVOID ApcContext,
                            PIO_STATUS_BLOCK IoStatusBlock, PVOID Buffer, ULONG Length,
                            PLARGE_INTEGER ByteOffset, PULONG Key)
{
    NT_TRANSFER Transfer = { .Buffer = Buffer, .Length = Length };

    UNREFERENCED_PARAMETER(ApcContext);
    UNREFERENCED_PARAMETER(Key); /* of byte-range locks, which nobody can take */
    return NtpReadOrWrite(&Transfer, FileHandle, Event, ApcRoutine, IoStatusBlock, ByteOffset);
}

static NTSTATUS NtpWriteFile(HANDLE FileHandle, HANDLE Event, PIO_APC_ROUTINE ApcRoutine, PVOID ApcContext,
                             PIO_STATUS_BLOCK IoStatusBlock, PVOID Buffer, ULONG Length,
                             PLARGE_INTEGER ByteOffset, PULONG Key)
{
    NT_TRANSFER Transfer = { .Buffer = Buffer, .Length = Length, .Write = TRUE };

    UNREFERENCED_PARAMETER(ApcContext);
    UNREFERENCED_PARAMETER(Key);
    return NtpReadOrWrite(&Transfer, FileHandle, Event, ApcRoutine, IoStatusBlock, ByteOffset);
}

static NTSTATUS NtpFlushFile(PFILE_OBJECT FileObject)
{
    IO_STATUS_BLOCK Block;
    NTSTATUS Status;

    IoLockSizeShared(IoFileOf(FileObject));
    CcFlushCache(FileObject->SectionObjectPointer, NULL, 0, &Block);
    Status = IoFlushStorage(IoFileOf(FileObject));
    IoUnlockSizeShared(IoFileOf(FileObject));
    return NT_SUCCESS(Block.Status) ? Status : Block.Status;
}

static NTSTATUS NtpFlushBuffersFile(HANDLE FileHandle, PIO_STATUS_BLOCK IoStatusBlock)
{
    PFILE_OBJECT FileObject;
    ACCESS_MASK Granted;
    NTSTATUS Status = NtProbeOutputBuffer(IoStatusBlock, sizeof(*IoStatusBlock));

    if (NT_SUCCESS(Status))
    {
        Status = NtReferenceFile(FileHandle, 0, &FileObject, &Granted);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if ((Granted & (FILE_WRITE_DATA | FILE_APPEND_DATA)) == 0)
    {
        Status = STATUS_ACCESS_DENIED;
    }
    else
    {
        Status = NtpFlushFile(FileObject);
        Status = NtFinishIo(IoStatusBlock, Status, 0);
    }
    ObDereferenceObjectBody(FileObject);
    return Status;
}

NT_SERVICE(ReadFile,
           (HANDLE FileHandle, HANDLE Event, PIO_APC_ROUTINE ApcRoutine, PVOID ApcContext,
            PIO_STATUS_BLOCK IoStatusBlock, PVOID Buffer, ULONG Length, PLARGE_INTEGER ByteOffset,
            PULONG Key),
           (FileHandle, Event, ApcRoutine, ApcContext, IoStatusBlock, Buffer, Length, ByteOffset, Key))
NT_SERVICE(WriteFile,
           (HANDLE FileHandle, HANDLE Event, PIO_APC_ROUTINE ApcRoutine, PVOID ApcContext,
            PIO_STATUS_BLOCK IoStatusBlock, PVOID Buffer, ULONG Length, PLARGE_INTEGER ByteOffset,
            PULONG Key),
           (FileHandle, Event, ApcRoutine, ApcContext, IoStatusBlock, Buffer, Length, ByteOffset, Key))
NT_SERVICE(FlushBuffersFile, (HANDLE FileHandle, PIO_STATUS_BLOCK IoStatusBlock), (FileHandle, IoStatusBlock))
