/* SPDX-License-Identifier: MIT */
/*
 * Backing files of the host: opening, closing, sizes, flushing, and the life of the engine that moves their
 * pages. A storage is one descriptor; what is special is said here once: growth really allocates, O_DIRECT
 * is tried rather than believed, and an engine (storage_uring.c, storage_pool.c, storage_io.c) runs exactly
 * while a storage is open, so that none of its threads outlives the machine. Theory: docs/storage.md.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "storage_engine.h"
#include "storage_name.h"
#include "host_thread.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define HOST_VALID_STORAGE_FLAGS                                                                             \
    (PORT_STORAGE_READ | PORT_STORAGE_WRITE | PORT_STORAGE_CREATE | PORT_STORAGE_EXCLUSIVE |                 \
     PORT_STORAGE_UNCACHED | PORT_STORAGE_SCRATCH | PORT_STORAGE_DATA | PORT_STORAGE_NEW |                   \
     PORT_STORAGE_ENCRYPTED)

/* Everything here is used at PASSIVE_LEVEL only, by open, close and the settings. */
static struct
{
    pthread_mutex_t Lock;
    PORT_STORAGE *List;                /* the youngest first */
    HOST_STORAGE_ENGINE_KIND Kind;     /* chosen */
    const HOST_STORAGE_ENGINE *Engine; /* runs while List is not empty; read without the lock by requests */
} HostStorages = { .Lock = PTHREAD_MUTEX_INITIALIZER };

/* ---- The engine ---------------------------------------------------------------------------------------- */

static NTSTATUS HostTryEngine(const HOST_STORAGE_ENGINE *Engine)
{
    NTSTATUS Status = Engine->Start();

    if (NT_SUCCESS(Status))
    {
        HostStorages.Engine = Engine;
    }
    return Status;
}

static HOST_STORAGE_ENGINE_KIND HostChosenKind(void)
{
    PCSTR Wish = getenv("NTMM_STORAGE_ENGINE");

    if (HostStorages.Kind != HostStorageAutomatic || Wish == NULL)
    {
        return HostStorages.Kind;
    }
    if (strcmp(Wish, "pool") == 0)
    {
        return HostStoragePool;
    }
    return strcmp(Wish, "uring") == 0 ? HostStorageUring : HostStorageAutomatic;
}

static NTSTATUS HostStartEngine(void)
{
    NTSTATUS Status;

    switch (HostChosenKind())
    {
    case HostStorageDeterministic:
        return HostTryEngine(&HostDeterministicEngine);
    case HostStoragePool:
        return HostTryEngine(&HostPoolEngine);
    case HostStorageUring:
        return HostTryEngine(&HostUringEngine);
    case HostStorageAutomatic:
    default:
        Status = HostTryEngine(&HostUringEngine);
        return NT_SUCCESS(Status) ? Status : HostTryEngine(&HostPoolEngine);
    }
}

BOOLEAN HostStorageSelectEngine(HOST_STORAGE_ENGINE_KIND Kind)
{
    BOOLEAN Idle;

    pthread_mutex_lock(&HostStorages.Lock);
    Idle = HostStorages.List == NULL;
    if (Idle)
    {
        HostStorages.Kind = Kind;
    }
    pthread_mutex_unlock(&HostStorages.Lock);
    return Idle;
}

BOOLEAN HostStorageSetDeterministic(BOOLEAN Deterministic, ULONG64 Seed)
{
    if (!HostStorageSelectEngine(Deterministic ? HostStorageDeterministic : HostStorageAutomatic))
    {
        return FALSE;
    }
    HostSeedDeterministic(Seed);
    return TRUE;
}

HOST_STORAGE_ENGINE_KIND HostStorageQueryEngine(void)
{
    HOST_STORAGE_ENGINE_KIND Kind;

    pthread_mutex_lock(&HostStorages.Lock);
    Kind = HostStorages.Engine != NULL ? HostStorages.Engine->Kind : HostChosenKind();
    pthread_mutex_unlock(&HostStorages.Lock);
    return Kind;
}

const HOST_STORAGE_ENGINE *HostCurrentEngine(void)
{
    /* Stable while a storage is open, and only then anybody asks. */
    return HostStorages.Engine;
}

/* Puts a storage on the list; the first one starts the engine. */
static NTSTATUS HostEnlistStorage(PORT_STORAGE *Storage)
{
    NTSTATUS Status = HostStorages.List == NULL ? HostStartEngine() : STATUS_SUCCESS;

    if (NT_SUCCESS(Status))
    {
        Storage->Next = HostStorages.List;
        HostStorages.List = Storage;
    }
    return Status;
}

static void HostDelistStorage(PORT_STORAGE *Storage)
{
    PORT_STORAGE **Link = &HostStorages.List;

    while (*Link != Storage)
    {
        Link = &(*Link)->Next;
    }
    *Link = Storage->Next;
    if (HostStorages.List == NULL)
    {
        HostStorages.Engine->Stop();
        HostStorages.Engine = NULL;
    }
}

/* ---- Opening ------------------------------------------------------------------------------------------- */

static int HostOpenMode(ULONG Flags)
{
    int Access = (Flags & PORT_STORAGE_WRITE) == 0  ? O_RDONLY
                 : (Flags & PORT_STORAGE_READ) == 0 ? O_WRONLY
                                                    : O_RDWR;

    /* O_NONBLOCK only until we know that it is a regular file (a FIFO would wait here for its other end). */
    return Access | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
}

/* Linux says ENOENT for a missing file and for a missing directory; NT tells them apart. */
static NTSTATUS HostStatusOfMissing(PCSTR Path)
{
    char Parent[HOST_PATH_SIZE];
    struct stat Information;
    char *Slash;

    strcpy(Parent, Path);
    Slash = strrchr(Parent, '/');
    if (Slash == NULL || Slash == Parent)
    {
        return STATUS_OBJECT_NAME_NOT_FOUND;
    }
    *Slash = 0;
    return stat(Parent, &Information) == 0 ? STATUS_OBJECT_NAME_NOT_FOUND : STATUS_OBJECT_PATH_NOT_FOUND;
}

static NTSTATUS HostOpenFile(PCSTR Path, ULONG Flags, int *Descriptor, BOOLEAN *Created)
{
    struct stat Information;

    *Created = FALSE;
    if (stat(Path, &Information) == 0)
    {
        /* Looked at before it is opened: opening some devices does something. */
        if (!S_ISREG(Information.st_mode))
        {
            return S_ISDIR(Information.st_mode) && (Flags & PORT_STORAGE_DATA) != 0
                       ? STATUS_FILE_IS_A_DIRECTORY
                       : STATUS_INVALID_PARAMETER;
        }
        if ((Flags & PORT_STORAGE_NEW) != 0)
        {
            return STATUS_OBJECT_NAME_COLLISION;
        }
        *Descriptor = open(Path, HostOpenMode(Flags));
    }
    else if (errno == ENOENT && (Flags & PORT_STORAGE_CREATE) != 0)
    {
        /* A client's file is anybody's, as the process's umask says; a paging file is nobody's. */
        *Descriptor = open(Path, HostOpenMode(Flags) | O_CREAT | O_EXCL,
                           (Flags & PORT_STORAGE_DATA) != 0 ? 0666 : 0600);
        *Created = *Descriptor >= 0;
    }
    else
    {
        *Descriptor = -1;
    }
    if (*Descriptor < 0)
    {
        return errno == ENOENT ? HostStatusOfMissing(Path) : HostStatusFromErrno(errno);
    }
    if (fstat(*Descriptor, &Information) != 0 || !S_ISREG(Information.st_mode))
    {
        close(*Descriptor);
        return STATUS_INVALID_PARAMETER;
    }
    return STATUS_SUCCESS;
}

/* Moves a real page around the cache. An empty file gets one for the time of the probe. */
static BOOLEAN HostProbeUncached(PORT_STORAGE *Storage)
{
    const ULONG Both = PORT_STORAGE_READ | PORT_STORAGE_WRITE;
    struct stat Information;
    BOOLEAN Works = FALSE;
    void *Page;

    if ((Storage->Flags & PORT_STORAGE_READ) == 0 || fstat(Storage->Descriptor, &Information) != 0 ||
        (Information.st_size == 0 && (Storage->Flags & PORT_STORAGE_DATA) != 0) ||
        (Information.st_size < PAGE_SIZE && (Storage->Flags & Both) != Both))
    {
        return TRUE; /* no way to try; HostIoAdvance falls back when a transfer is refused */
    }
    Page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (Page == MAP_FAILED)
    {
        return FALSE;
    }
    if (Information.st_size != 0)
    {
        Works = pread(Storage->Descriptor, Page, PAGE_SIZE, 0) > 0;
    }
    else
    {
        Works = pwrite(Storage->Descriptor, Page, PAGE_SIZE, 0) == PAGE_SIZE &&
                pread(Storage->Descriptor, Page, PAGE_SIZE, 0) == PAGE_SIZE;
        if (ftruncate(Storage->Descriptor, 0) != 0)
        {
            Works = FALSE;
        }
    }
    munmap(Page, PAGE_SIZE);
    return Works;
}

/* A second open file description of the same file, through the page cache. */
static int HostReopen(int Descriptor)
{
    char Path[40];

    snprintf(Path, sizeof(Path), "/proc/self/fd/%d", Descriptor);
    return open(Path, O_RDWR | O_CLOEXEC);
}

/* What follows the open: locks, O_DIRECT. The descriptor stays the caller's. */
static NTSTATUS HostPrepareStorage(PORT_STORAGE *Storage)
{
    const ULONG WrittenData = PORT_STORAGE_DATA | PORT_STORAGE_WRITE;

    int Status = fcntl(Storage->Descriptor, F_GETFL) & ~O_NONBLOCK;

    if ((Storage->Flags & PORT_STORAGE_EXCLUSIVE) != 0 && flock(Storage->Descriptor, LOCK_EX | LOCK_NB) != 0)
    {
        return errno == EWOULDBLOCK ? STATUS_SHARING_VIOLATION : HostStatusFromErrno(errno);
    }
    if ((Storage->Flags & PORT_STORAGE_UNCACHED) != 0 &&
        fcntl(Storage->Descriptor, F_SETFL, Status | O_DIRECT) == 0)
    {
        Storage->Uncached = HostProbeUncached(Storage);
        if (Storage->Uncached && (Storage->Flags & WrittenData) == WrittenData)
        {
            Storage->TailDescriptor = HostReopen(Storage->Descriptor);
            Storage->Uncached = Storage->TailDescriptor >= 0;
        }
        if (Storage->Uncached)
        {
            return STATUS_SUCCESS;
        }
    }
    return fcntl(Storage->Descriptor, F_SETFL, Status) == 0 ? STATUS_SUCCESS : HostStatusFromErrno(errno);
}

static void HostCloseDescriptors(PORT_STORAGE *Storage)
{
    close(Storage->Descriptor);
    if (Storage->TailDescriptor >= 0)
    {
        close(Storage->TailDescriptor);
    }
}

/* Under the lock. */
static NTSTATUS HostOpenLocked(PORT_STORAGE *Storage, BOOLEAN InMemory)
{
    NTSTATUS Status;

    Storage->TailDescriptor = -1;
    if (InMemory)
    {
        Status = HostOpenMemoryFile(Storage->Path, HostOpenMode(Storage->Flags), Storage->Flags,
                                    &Storage->Memory, &Storage->Descriptor, &Storage->Created);
    }
    else
    {
        Status = HostOpenFile(Storage->Path, Storage->Flags, &Storage->Descriptor, &Storage->Created);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = HostPrepareStorage(Storage);
    if (NT_SUCCESS(Status))
    {
        Status = HostEnlistStorage(Storage);
    }
    if (!NT_SUCCESS(Status))
    {
        if (Storage->Created && !InMemory)
        {
            unlink(Storage->Path);
        }
        HostCloseDescriptors(Storage);
        if (Storage->Memory != NULL)
        {
            HostDereferenceMemoryFile(Storage->Memory);
        }
    }
    return Status;
}

NTSTATUS PortOpenStorage(PCUNICODE_STRING Name, ULONG Flags, PORT_STORAGE **Storage)
{
    char Path[HOST_PATH_SIZE];
    BOOLEAN InMemory;
    PORT_STORAGE *New;
    NTSTATUS Status;

    if ((Flags & ~HOST_VALID_STORAGE_FLAGS) != 0 || (Flags & (PORT_STORAGE_READ | PORT_STORAGE_WRITE)) == 0)
    {
        return STATUS_INVALID_PARAMETER;
    }
    Status = HostPathFromName(Name, Path, &InMemory);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    New = calloc(1, sizeof(*New) + strlen(Path) + 1);
    if (New == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    New->Flags = Flags;
    New->Capacity = ~0ull;
    strcpy(New->Path, Path);
    if ((Flags & PORT_STORAGE_ENCRYPTED) != 0)
    {
        Status = HostCreateCipher(&New->Cipher);
        if (!NT_SUCCESS(Status))
        {
            free(New);
            return Status;
        }
    }

    pthread_mutex_lock(&HostStorages.Lock);
    Status = HostOpenLocked(New, InMemory);
    pthread_mutex_unlock(&HostStorages.Lock);
    if (!NT_SUCCESS(Status))
    {
        HostDeleteCipher(New->Cipher);
        free(New);
        return Status;
    }
    *Storage = New;
    return STATUS_SUCCESS;
}

VOID PortCloseStorage(PORT_STORAGE *Storage)
{
    HostIoDrain(Storage);
    HostFaultForget(Storage);
    if ((Storage->Flags & (PORT_STORAGE_SCRATCH | PORT_STORAGE_WRITE)) ==
        (PORT_STORAGE_SCRATCH | PORT_STORAGE_WRITE))
    {
        /*
         * Gives the disk its space back and spares Linux the writing of cached pages that mean nothing any
         * more.
         */
        (void)!ftruncate(Storage->Descriptor, 0);
    }
    pthread_mutex_lock(&HostStorages.Lock);
    HostDelistStorage(Storage);
    HostCloseDescriptors(Storage);
    if (Storage->Memory != NULL)
    {
        HostDereferenceMemoryFile(Storage->Memory);
    }
    pthread_mutex_unlock(&HostStorages.Lock);
    HostDeleteCipher(Storage->Cipher);
    free(Storage);
}

/* ---- Size and flush ------------------------------------------------------------------------------------ */

NTSTATUS PortQueryStorageSize(PORT_STORAGE *Storage, ULONG64 *Bytes)
{
    struct stat Information;

    if (fstat(Storage->Descriptor, &Information) != 0)
    {
        return HostStatusFromErrno(errno);
    }
    *Bytes = (ULONG64)Information.st_size;
    return STATUS_SUCCESS;
}

/*
 * Where the file system cannot allocate without writing: write zeros from Old to New. Whole pages, so that
 * it also works around the page cache; what is left of the last page of old data is not touched.
 */
static int HostWriteZeros(PORT_STORAGE *Storage, ULONG64 Old, ULONG64 New)
{
    const SIZE_T Chunk = 256 * 1024;
    ULONG64 Offset = ROUND_TO_PAGES(Old);
    void *Zeros = mmap(NULL, Chunk, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int Error = Zeros == MAP_FAILED ? ENOMEM : 0;

    while (Error == 0 && Offset < New)
    {
        ULONG64 Left = ROUND_TO_PAGES(New - Offset);
        ssize_t Written = pwrite(Storage->Descriptor, Zeros, Left < Chunk ? Left : Chunk, (off_t)Offset);

        if (Written >= PAGE_SIZE)
        {
            Offset += ALIGN_DOWN_BY(Written, PAGE_SIZE);
        }
        else if (Written >= 0)
        {
            Error = ENOSPC;
        }
        else if (errno != EINTR)
        {
            Error = errno;
        }
    }
    if (Error == 0 && ftruncate(Storage->Descriptor, (off_t)New) != 0)
    {
        Error = errno;
    }
    if (Zeros != MAP_FAILED)
    {
        munmap(Zeros, Chunk);
    }
    return Error;
}

static int HostAllocate(PORT_STORAGE *Storage, ULONG64 Old, ULONG64 New)
{
    /* From the beginning: holes that the file came with get their space as well. A client's file keeps its own. */
    off_t Start = (Storage->Flags & PORT_STORAGE_DATA) != 0 ? (off_t)Old : 0;
    int Error;

    do
    {
        Error = fallocate(Storage->Descriptor, 0, Start, (off_t)New - Start) == 0 ? 0 : errno;
    } while (Error == EINTR);
    if (Error == EOPNOTSUPP || Error == ENOSYS)
    {
        return HostWriteZeros(Storage, Old, New);
    }
    if (Error == 0)
    {
        HostNoteAllocated(Storage, New);
    }
    return Error;
}

/*
 * What the disk cannot hold is not even tried: an allocation takes all that is free before it fails, and everybody else on
 * that disk would meet a full one meanwhile.
 */
static int HostCheckRoom(PORT_STORAGE *Storage, ULONG64 New)
{
    struct statvfs Disk;
    struct stat File;
    ULONG64 Needed, Allocated;

    if (fstatvfs(Storage->Descriptor, &Disk) != 0 || fstat(Storage->Descriptor, &File) != 0 ||
        Disk.f_blocks == 0)
    {
        return 0; /* a file system that does not tell */
    }
    Allocated =
        (Storage->Flags & PORT_STORAGE_DATA) != 0 ? (ULONG64)File.st_size : (ULONG64)File.st_blocks * 512;
    Needed = New > Allocated ? New - Allocated : 0;
    return Needed / Disk.f_frsize > Disk.f_bavail ? ENOSPC : 0;
}

static NTSTATUS HostGrowStorage(PORT_STORAGE *Storage, ULONG64 Old, ULONG64 New)
{
    int Error = HostFaultConsultSize(Storage, New);

    HostCount(Storage, Grows, 1);
    if (Error == 0)
    {
        Error = HostCheckRoom(Storage, New);
    }
    if (Error == 0)
    {
        Error = HostAllocate(Storage, Old, New);
        if (Error != 0 && ftruncate(Storage->Descriptor, (off_t)Old) != 0)
        {
            Error = errno; /* the size is not what it was: say the graver thing */
        }
    }
    return HostStatusFromErrno(Error);
}

NTSTATUS PortSetStorageSize(PORT_STORAGE *Storage, ULONG64 Bytes)
{
    ULONG64 Old;
    NTSTATUS Status = PortQueryStorageSize(Storage, &Old);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if ((Storage->Flags & PORT_STORAGE_WRITE) == 0)
    {
        return STATUS_ACCESS_DENIED;
    }
    if (Bytes > (ULONG64)MAXLONGLONG)
    {
        return STATUS_DISK_FULL;
    }
    if (Bytes == Old && (Storage->Flags & PORT_STORAGE_DATA) != 0)
    {
        return STATUS_SUCCESS;
    }
    if ((Storage->Flags & PORT_STORAGE_SCRATCH) != 0 && Bytes > Old &&
        Old < __atomic_load_n(&Storage->Size, __ATOMIC_RELAXED))
    {
        return STATUS_END_OF_FILE; /* somebody cut it short: what is gone must not come back as zeros */
    }
    if (Bytes >= Old && Bytes != 0)
    {
        Status = HostGrowStorage(Storage, Old, Bytes);
    }
    else
    {
        Status =
            ftruncate(Storage->Descriptor, (off_t)Bytes) == 0 ? STATUS_SUCCESS : HostStatusFromErrno(errno);
    }
    if (NT_SUCCESS(Status))
    {
        __atomic_store_n(&Storage->Size, Bytes, __ATOMIC_RELAXED);
    }
    return Status;
}

NTSTATUS PortFlushStorage(PORT_STORAGE *Storage)
{
    HOST_FAULT_VERDICT Verdict;
    int Error;

    HostCount(Storage, Flushes, 1);
    HostFaultConsult(Storage, HOST_FAULT_FLUSH, 0, 0, &Verdict);
    Error = Verdict.Error;
    if (Error == 0 && fdatasync(Storage->Descriptor) != 0)
    {
        Error = errno;
    }
    return HostStatusFromErrno(Error);
}

/* ---- A client's file ----------------------------------------------------------------------------------- */

/* 100 ns units since 1601. */
static LONG64 HostNtTime(const struct timespec *Time)
{
    return ((LONG64)Time->tv_sec + 11644473600ll) * 10000000ll + (LONG64)Time->tv_nsec / 100;
}

NTSTATUS PortQueryStorageInformation(PORT_STORAGE *Storage, PORT_STORAGE_INFORMATION *Information)
{
    struct stat File;

    if (fstat(Storage->Descriptor, &File) != 0)
    {
        return HostStatusFromErrno(errno);
    }
    *Information = (PORT_STORAGE_INFORMATION){
        .Device = (ULONG64)File.st_dev,
        .File = (ULONG64)File.st_ino,
        .Size = (ULONG64)File.st_size,
        .AllocationSize = (ULONG64)File.st_blocks * 512,
        .LastAccessTime = HostNtTime(&File.st_atim),
        .LastWriteTime = HostNtTime(&File.st_mtim),
        .ChangeTime = HostNtTime(&File.st_ctim),
        .Links = (ULONG)File.st_nlink,
        .ReadOnly = (File.st_mode & 0222) == 0,
        .Created = Storage->Created,
    };
    /* Linux does not tell when a file was made: the earliest that is known. */
    Information->CreationTime = Information->ChangeTime < Information->LastWriteTime
                                    ? Information->ChangeTime
                                    : Information->LastWriteTime;
    return STATUS_SUCCESS;
}

NTSTATUS PortDeleteStorage(PORT_STORAGE *Storage)
{
    NTSTATUS Status = STATUS_SUCCESS;
    struct stat Named, Open;

    pthread_mutex_lock(&HostStorages.Lock);
    if (Storage->Memory != NULL)
    {
        HostForgetMemoryFile(Storage->Memory);
    }
    else if (stat(Storage->Path, &Named) == 0 && fstat(Storage->Descriptor, &Open) == 0 &&
             Named.st_dev == Open.st_dev && Named.st_ino == Open.st_ino && unlink(Storage->Path) != 0)
    {
        Status = HostStatusFromErrno(errno);
    }
    pthread_mutex_unlock(&HostStorages.Lock);
    return Status;
}

/* ---- Questions ----------------------------------------------------------------------------------------- */

BOOLEAN HostStorageIsUncached(PORT_STORAGE *Storage)
{
    return __atomic_load_n(&Storage->Uncached, __ATOMIC_RELAXED);
}

PORT_STORAGE *HostStorageFind(PCSTR Suffix)
{
    size_t Length = strlen(Suffix);
    PORT_STORAGE *Storage;

    pthread_mutex_lock(&HostStorages.Lock);
    for (Storage = HostStorages.List; Storage != NULL; Storage = Storage->Next)
    {
        size_t PathLength = strlen(Storage->Path);

        if (PathLength >= Length && strcmp(Storage->Path + PathLength - Length, Suffix) == 0)
        {
            break;
        }
    }
    pthread_mutex_unlock(&HostStorages.Lock);
    return Storage;
}
