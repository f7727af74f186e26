/* SPDX-License-Identifier: MIT */
/*
 * Opening files. The file is opened on the port first, which tells who it is; only then it turns out whether it is known
 * already. In that case the new storage is closed again, and all opens go through the one that came first: one storage, one size, one set
 * of sections for a file, whatever names it was reached by.
 */
#include "io/io.h"

#define IO_TAG_FCB  MI_TAG('I', 'o', 'F', 'c')
#define IO_TAG_NAME MI_TAG('I', 'o', 'N', 'm')

static VOID IopLockFiles(void)
{
    KiAcquirePushLockExclusive(&MiState.Io->FilesLock);
    KiNoteLockAcquired(&MiState.Io->FilesLock, KiLockFileList, FALSE);
}

static VOID IopUnlockFiles(void)
{
    KiNoteLockReleased(&MiState.Io->FilesLock);
    KiReleasePushLockExclusive(&MiState.Io->FilesLock);
}

/* ---- Access and sharing -------------------------------------------------------------------------------- */

ACCESS_MASK IoMapFileAccess(ACCESS_MASK Access)
{
    ACCESS_MASK Mapped = Access & FILE_ALL_ACCESS;

    Mapped |= (Access & GENERIC_READ) != 0 ? FILE_GENERIC_READ : 0;
    Mapped |= (Access & GENERIC_WRITE) != 0 ? FILE_GENERIC_WRITE : 0;
    Mapped |= (Access & GENERIC_EXECUTE) != 0 ? FILE_GENERIC_EXECUTE : 0;
    Mapped |= (Access & (GENERIC_ALL | MAXIMUM_ALLOWED)) != 0 ? FILE_ALL_ACCESS : 0;
    return Mapped;
}

/* Documented (IoCheckShareAccess): who only asks for attributes takes no part in sharing. */
static BOOLEAN IopTakesPart(PFILE_OBJECT FileObject)
{
    return FileObject->ReadAccess || FileObject->WriteAccess || FileObject->DeleteAccess;
}

static BOOLEAN IopMayShare(const SHARE_ACCESS *Sharing, PFILE_OBJECT FileObject)
{
    if (!IopTakesPart(FileObject))
    {
        return TRUE;
    }
    return (!FileObject->ReadAccess || Sharing->SharedRead == Sharing->OpenCount) &&
           (!FileObject->WriteAccess || Sharing->SharedWrite == Sharing->OpenCount) &&
           (!FileObject->DeleteAccess || Sharing->SharedDelete == Sharing->OpenCount) &&
           (Sharing->Readers == 0 || FileObject->SharedRead) &&
           (Sharing->Writers == 0 || FileObject->SharedWrite) &&
           (Sharing->Deleters == 0 || FileObject->SharedDelete);
}

/* Sign +1: comes, -1: goes. */
static VOID IopUpdateSharing(PSHARE_ACCESS Sharing, PFILE_OBJECT FileObject, LONG Sign)
{
    ULONG One = (ULONG)Sign;

    if (!IopTakesPart(FileObject))
    {
        return;
    }
    Sharing->OpenCount += One;
    Sharing->Readers += FileObject->ReadAccess ? One : 0;
    Sharing->Writers += FileObject->WriteAccess ? One : 0;
    Sharing->Deleters += FileObject->DeleteAccess ? One : 0;
    Sharing->SharedRead += FileObject->SharedRead ? One : 0;
    Sharing->SharedWrite += FileObject->SharedWrite ? One : 0;
    Sharing->SharedDelete += FileObject->SharedDelete ? One : 0;
}

/* ---- File control blocks ------------------------------------------------------------------------------- */

static PIO_FCB IopFindFile(const PORT_STORAGE_INFORMATION *Information)
{
    LIST_ENTRY *Head = &MiState.Io->Files;

    for (LIST_ENTRY *Entry = Head->Flink; Entry != Head; Entry = Entry->Flink)
    {
        PIO_FCB File = CONTAINING_RECORD(Entry, IO_FCB, Links);

        if (File->File == Information->File && File->Device == Information->Device)
        {
            return File;
        }
    }
    return NULL;
}

/* Writable if it can be had: who opens it for writing later shares the storage with who only reads. */
static NTSTATUS IopOpenStorage(const IO_OPEN *Open, PORT_STORAGE **Storage, PBOOLEAN Writable)
{
    ULONG Flags = PORT_STORAGE_READ | PORT_STORAGE_WRITE | PORT_STORAGE_DATA | PORT_STORAGE_UNCACHED;
    NTSTATUS Status;

    if (Open->Disposition == FILE_CREATE)
    {
        Flags |= PORT_STORAGE_CREATE | PORT_STORAGE_NEW;
    }
    else if (Open->Disposition != FILE_OPEN && Open->Disposition != FILE_OVERWRITE)
    {
        Flags |= PORT_STORAGE_CREATE;
    }
    Status = PortOpenStorage(&Open->Name, Flags, Storage);
    *Writable = NT_SUCCESS(Status);
    if (Status == STATUS_ACCESS_DENIED || Status == STATUS_MEDIA_WRITE_PROTECTED ||
        Status == STATUS_SHARING_VIOLATION)
    {
        NTSTATUS Second = PortOpenStorage(
            &Open->Name, PORT_STORAGE_READ | PORT_STORAGE_DATA | PORT_STORAGE_UNCACHED, Storage);

        Status = NT_SUCCESS(Second) ? Second : Status;
    }
    if (Status == STATUS_FILE_IS_A_DIRECTORY && (Open->Options & FILE_NON_DIRECTORY_FILE) == 0)
    {
        return STATUS_NOT_IMPLEMENTED; /* handles of directories */
    }
    return Status;
}

/* The block of the file behind Storage, which it takes over; a new one, or the one that there is. */
static NTSTATUS IopEnterFile(PORT_STORAGE *Storage, BOOLEAN Writable, PIO_FCB *File, PBOOLEAN Created)
{
    PORT_STORAGE_INFORMATION Information;
    NTSTATUS Status = PortQueryStorageInformation(Storage, &Information);
    PIO_FCB Known = NT_SUCCESS(Status) ? IopFindFile(&Information) : NULL;

    *Created = NT_SUCCESS(Status) && Information.Created;
    if (Known != NULL)
    {
        PortCloseStorage(Storage);
        *File = Known;
        return STATUS_SUCCESS;
    }
    if (NT_SUCCESS(Status))
    {
        Known = MiAllocatePool(sizeof(*Known), IO_TAG_FCB);
        Status = Known == NULL ? STATUS_INSUFFICIENT_RESOURCES : STATUS_SUCCESS;
    }
    if (!NT_SUCCESS(Status))
    {
        if (*Created)
        {
            (VOID) PortDeleteStorage(Storage);
        }
        PortCloseStorage(Storage);
        return Status;
    }
    Known->Device = Information.Device;
    Known->File = Information.File;
    Known->Storage = Storage;
    Known->Writable = Writable;
    Known->FileSize = (LONG64)Information.Size;
    InsertTailList(&MiState.Io->Files, &Known->Links);
    *File = Known;
    return STATUS_SUCCESS;
}

/* FilesLock held; returns the block if nobody uses it any more: IopCloseFile without the lock. */
static PIO_FCB IopLeaveFile(PIO_FCB File)
{
    if (--File->References != 0)
    {
        return NULL;
    }
    RemoveEntryList(&File->Links);
    return File;
}

static VOID IopCloseFile(PIO_FCB File)
{
    if (File != NULL)
    {
        KiRequire(File->SectionObjectPointers.DataSectionObject == NULL &&
                  File->SectionObjectPointers.ImageSectionObject == NULL &&
                  File->SectionObjectPointers.SharedCacheMap == NULL);
        PortCloseStorage(File->Storage);
        MiFreePool(File, IO_TAG_FCB);
    }
}

/* ---- File objects -------------------------------------------------------------------------------------- */

/* Whether this open is possible beside the others. FilesLock held. */
static NTSTATUS IopAdmit(PIO_FCB File, PFILE_OBJECT FileObject, const IO_OPEN *Open)
{
    BOOLEAN Overwrites = Open->Disposition == FILE_OVERWRITE || Open->Disposition == FILE_OVERWRITE_IF ||
                         Open->Disposition == FILE_SUPERSEDE;

    if (File->DeletePending)
    {
        return STATUS_DELETE_PENDING;
    }
    if ((FileObject->WriteAccess || Overwrites) && !File->Writable)
    {
        return STATUS_ACCESS_DENIED;
    }
    if ((Open->Options & FILE_DELETE_ON_CLOSE) != 0 && !File->Writable)
    {
        return STATUS_CANNOT_DELETE;
    }
    return IopMayShare(&File->Sharing, FileObject) ? STATUS_SUCCESS : STATUS_SHARING_VIOLATION;
}

static VOID IopDescribe(PFILE_OBJECT FileObject, const IO_OPEN *Open)
{
    FileObject->Type = IO_TYPE_FILE;
    FileObject->Size = (CSHORT)sizeof(*FileObject);
    FileObject->ReadAccess = (Open->Access & (FILE_READ_DATA | FILE_EXECUTE)) != 0;
    FileObject->WriteAccess = (Open->Access & (FILE_WRITE_DATA | FILE_APPEND_DATA)) != 0;
    FileObject->DeleteAccess = (Open->Access & DELETE) != 0;
    FileObject->SharedRead = (Open->ShareAccess & FILE_SHARE_READ) != 0;
    FileObject->SharedWrite = (Open->ShareAccess & FILE_SHARE_WRITE) != 0;
    FileObject->SharedDelete = (Open->ShareAccess & FILE_SHARE_DELETE) != 0;
    FileObject->Flags = FO_SYNCHRONOUS_IO;
    FileObject->Flags |= (Open->Options & FILE_NO_INTERMEDIATE_BUFFERING) != 0 ? FO_NO_INTERMEDIATE_BUFFERING
                                                                               : FO_CACHE_SUPPORTED;
    FileObject->Flags |= (Open->Options & FILE_WRITE_THROUGH) != 0 ? FO_WRITE_THROUGH : 0;
    FileObject->Flags |= (Open->Options & FILE_SEQUENTIAL_ONLY) != 0 ? FO_SEQUENTIAL_ONLY : 0;
    FileObject->Flags |= (Open->Options & FILE_RANDOM_ACCESS) != 0 ? FO_RANDOM_ACCESS : 0;
    FileObject->Flags |= (Open->Options & FILE_DELETE_ON_CLOSE) != 0 ? FO_DELETE_ON_CLOSE : 0;
    KeInitializeEvent(&FileObject->Lock, SynchronizationEvent, FALSE);
    KeInitializeEvent(&FileObject->Event, NotificationEvent, TRUE);
}

static NTSTATUS IopCreateFileObject(const IO_OPEN *Open, PFILE_OBJECT *FileObject)
{
    PVOID Name = MiAllocatePool(Open->Name.Length, IO_TAG_NAME);
    PVOID Body;
    NTSTATUS Status = Name == NULL ? STATUS_INSUFFICIENT_RESOURCES
                                   : ObCreateObjectBody(&MiState.Io->FileType, sizeof(FILE_OBJECT), &Body);

    if (!NT_SUCCESS(Status))
    {
        if (Name != NULL)
        {
            MiFreePool(Name, IO_TAG_NAME);
        }
        return Status;
    }
    *FileObject = Body;
    RtlCopyMemory(Name, Open->Name.Buffer, Open->Name.Length);
    (*FileObject)->FileName =
        (UNICODE_STRING){ .Length = Open->Name.Length, .MaximumLength = Open->Name.Length, .Buffer = Name };
    IopDescribe(*FileObject, Open);
    __atomic_fetch_add(&MiState.Io->FileObjects, 1, __ATOMIC_RELAXED);
    return STATUS_SUCCESS;
}

static VOID IopTellOutcome(PIO_OPEN Open, BOOLEAN Created)
{
    BOOLEAN Overwrites = Open->Disposition == FILE_OVERWRITE || Open->Disposition == FILE_OVERWRITE_IF;

    Open->Truncate = !Created && (Overwrites || Open->Disposition == FILE_SUPERSEDE);
    Open->Information = Created                               ? FILE_CREATED
                        : Overwrites                          ? FILE_OVERWRITTEN
                        : Open->Disposition == FILE_SUPERSEDE ? FILE_SUPERSEDED
                                                              : FILE_OPENED;
}

/* FilesLock held. *Unused: a block to close without the lock. */
static NTSTATUS IopOpenLocked(PIO_OPEN Open, PFILE_OBJECT FileObject, PIO_FCB *Unused)
{
    PORT_STORAGE *Storage;
    BOOLEAN Writable;
    BOOLEAN Created;
    PIO_FCB File;
    NTSTATUS Status = IopOpenStorage(Open, &Storage, &Writable);

    if (NT_SUCCESS(Status))
    {
        Status = IopEnterFile(Storage, Writable, &File, &Created);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    File->References++;
    Status = IopAdmit(File, FileObject, Open);
    if (!NT_SUCCESS(Status))
    {
        if (Created)
        {
            (VOID) PortDeleteStorage(File->Storage);
        }
        *Unused = IopLeaveFile(File);
        return Status;
    }
    FileObject->FsContext = File;
    FileObject->SectionObjectPointer = &File->SectionObjectPointers;
    File->Handles++;
    IopUpdateSharing(&File->Sharing, FileObject, 1);
    IopTellOutcome(Open, Created);
    return STATUS_SUCCESS;
}

NTSTATUS IoOpenFile(PIO_OPEN Open, PFILE_OBJECT *FileObject)
{
    PIO_FCB Unused = NULL;
    NTSTATUS Status = IopCreateFileObject(Open, FileObject);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    IopLockFiles();
    Status = IopOpenLocked(Open, *FileObject, &Unused);
    IopUnlockFiles();
    IopCloseFile(Unused);
    if (!NT_SUCCESS(Status))
    {
        ObDereferenceObjectBody(*FileObject);
        *FileObject = NULL;
    }
    return Status;
}

/* The last handle went, or the open never got one. */
static VOID IopCleanup(PVOID Object)
{
    PFILE_OBJECT FileObject = Object;
    PIO_FCB File = IoFileOf(FileObject);

    if (File == NULL || (FileObject->Flags & FO_CLEANUP_COMPLETE) != 0)
    {
        return;
    }
    if (MiState.Io->Operations.Cleanup != NULL)
    {
        MiState.Io->Operations.Cleanup(FileObject);
    }
    IopLockFiles();
    FileObject->Flags |= FO_CLEANUP_COMPLETE;
    IopUpdateSharing(&File->Sharing, FileObject, -1);
    File->Handles--;
    if ((FileObject->Flags & FO_DELETE_ON_CLOSE) != 0)
    {
        File->DeletePending = TRUE;
    }
    if (File->DeletePending && File->Handles == 0)
    {
        (VOID) PortDeleteStorage(File->Storage); /* nobody is there whom one could tell */
    }
    IopUnlockFiles();
}

static VOID IopDeleteFileObject(PVOID Object)
{
    PFILE_OBJECT FileObject = Object;
    PIO_FCB File = IoFileOf(FileObject);

    IopCleanup(FileObject);
    if (File != NULL)
    {
        IopLockFiles();
        File = IopLeaveFile(File);
        IopUnlockFiles();
        IopCloseFile(File);
    }
    MiFreePool(FileObject->FileName.Buffer, IO_TAG_NAME);
    __atomic_fetch_sub(&MiState.Io->FileObjects, 1, __ATOMIC_RELAXED);
}

NTSTATUS IoSetDisposition(PFILE_OBJECT FileObject, BOOLEAN Delete)
{
    PIO_FCB File = IoFileOf(FileObject);

    if (Delete && !File->Writable)
    {
        return STATUS_CANNOT_DELETE;
    }
    IopLockFiles();
    File->DeletePending = Delete;
    FileObject->DeletePending = Delete;
    IopUnlockFiles();
    return STATUS_SUCCESS;
}

/* ---- Locks of a file ----------------------------------------------------------------------------------- */

VOID IoLockFileObject(PFILE_OBJECT FileObject)
{
    while (__atomic_exchange_n(&FileObject->Busy, 1, __ATOMIC_ACQUIRE) != 0)
    {
        __atomic_fetch_add(&FileObject->Waiters, 1, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&FileObject->Busy, __ATOMIC_SEQ_CST) != 0)
        {
            KeWaitForSingleObject(&FileObject->Lock, Executive, KernelMode, FALSE, NULL);
        }
        __atomic_fetch_sub(&FileObject->Waiters, 1, __ATOMIC_SEQ_CST);
    }
}

VOID IoUnlockFileObject(PFILE_OBJECT FileObject)
{
    __atomic_store_n(&FileObject->Busy, 0, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&FileObject->Waiters, __ATOMIC_SEQ_CST) != 0)
    {
        KeSetEvent(&FileObject->Lock, 0, FALSE);
    }
}

VOID IoLockSizeShared(PIO_FCB File)
{
    KiAcquirePushLockShared(&File->SizeLock);
    KiNoteLockAcquired(&File->SizeLock, KiLockFile, FALSE);
}

VOID IoUnlockSizeShared(PIO_FCB File)
{
    KiNoteLockReleased(&File->SizeLock);
    KiReleasePushLockShared(&File->SizeLock);
}

VOID IoLockSizeExclusive(PIO_FCB File)
{
    KiAcquirePushLockExclusive(&File->SizeLock);
    KiNoteLockAcquired(&File->SizeLock, KiLockFile, FALSE);
}

VOID IoUnlockSizeExclusive(PIO_FCB File)
{
    KiNoteLockReleased(&File->SizeLock);
    KiReleasePushLockExclusive(&File->SizeLock);
}

/* ---- Beginning and end --------------------------------------------------------------------------------- */

NTSTATUS IoInitializeSystem(void)
{
    IO_STATE *Io = PortAllocateBootMemory(sizeof(*Io));

    if (Io == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    InitializeListHead(&Io->Files);
    Io->FileType = (OB_TYPE){ .Name = "File",
                              .AllAccess = FILE_ALL_ACCESS,
                              .PoolTag = MI_TAG('F', 'i', 'l', 'e'),
                              .Delete = IopDeleteFileObject,
                              .Close = IopCleanup };
    MiState.Io = Io;
    return STATUS_SUCCESS;
}

VOID IoShutdownSystem(void)
{
    IO_STATE *Io = MiState.Io;

    if (Io == NULL)
    {
        return;
    }
    KiRequire(Io->FileObjects == 0 && IsListEmpty(&Io->Files));
    PortFreeBootMemory(Io, sizeof(*Io));
    MiState.Io = NULL;
}

VOID IoCheckFiles(void)
{
    LIST_ENTRY *Head = &MiState.Io->Files;

    IopLockFiles();
    for (LIST_ENTRY *Entry = Head->Flink; Entry != Head; Entry = Entry->Flink)
    {
        PIO_FCB File = CONTAINING_RECORD(Entry, IO_FCB, Links);
        SHARE_ACCESS *Sharing = &File->Sharing;

        KiRequire(File->References != 0 && File->Handles <= File->References);
        KiRequire(Sharing->OpenCount <= File->Handles);
        KiRequire(Sharing->Readers <= Sharing->OpenCount && Sharing->Writers <= Sharing->OpenCount &&
                  Sharing->Deleters <= Sharing->OpenCount && Sharing->SharedRead <= Sharing->OpenCount &&
                  Sharing->SharedWrite <= Sharing->OpenCount && Sharing->SharedDelete <= Sharing->OpenCount);
    }
    IopUnlockFiles();
}
