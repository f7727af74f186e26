/* SPDX-License-Identifier: MIT */
/*
 * From names and errors of one system to those of the other: UTF-16 object names become UTF-8 Linux paths,
 * errno becomes NTSTATUS. Names below \\.\Memory\ are files in anonymous memory (memfd), listed here while
 * somebody has them open; a memfd rather than a buffer of ours, so that every size, error and transfer takes
 * the same way as on a disk.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "storage_name.h"

#include "storage_engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct _HOST_MEMORY_FILE
{
    struct _HOST_MEMORY_FILE *Next;
    int Descriptor;
    ULONG References;
    BOOLEAN Forgotten; /* not in the list any more */
    char Name[];
};

static const struct
{
    int Error;
    NTSTATUS Status;
} HostErrors[] = {
    { 0, STATUS_SUCCESS },
    { HOST_ERROR_END_OF_FILE, STATUS_END_OF_FILE },
    { ENOSPC, STATUS_DISK_FULL },
    { EDQUOT, STATUS_DISK_FULL },
    { EFBIG, STATUS_DISK_FULL },
    { EIO, STATUS_IO_DEVICE_ERROR },
    { EREMOTEIO, STATUS_IO_DEVICE_ERROR },
    { EILSEQ, STATUS_DATA_ERROR },
    { EBADMSG, STATUS_CRC_ERROR },
    { EUCLEAN, STATUS_DISK_CORRUPT_ERROR },
    { ENOENT, STATUS_OBJECT_NAME_NOT_FOUND },
    { ENOTDIR, STATUS_OBJECT_PATH_NOT_FOUND },
    { ELOOP, STATUS_OBJECT_PATH_NOT_FOUND },
    { ENAMETOOLONG, STATUS_NAME_TOO_LONG },
    { EEXIST, STATUS_OBJECT_NAME_COLLISION },
    { EACCES, STATUS_ACCESS_DENIED },
    { EPERM, STATUS_ACCESS_DENIED },
    { ETXTBSY, STATUS_SHARING_VIOLATION },
    { EROFS, STATUS_MEDIA_WRITE_PROTECTED },
    { ENOMEM, STATUS_INSUFFICIENT_RESOURCES },
    { ENOBUFS, STATUS_INSUFFICIENT_RESOURCES },
    { ENOLCK, STATUS_INSUFFICIENT_RESOURCES },
    { EMFILE, STATUS_TOO_MANY_OPENED_FILES },
    { ENFILE, STATUS_INSUFFICIENT_RESOURCES },
    { EAGAIN, STATUS_INSUFFICIENT_RESOURCES },
    { ESTALE, STATUS_DEVICE_NOT_CONNECTED },
    { ENXIO, STATUS_DEVICE_NOT_CONNECTED },
    { ENODEV, STATUS_DEVICE_NOT_CONNECTED },
    { ENOTCONN, STATUS_DEVICE_NOT_CONNECTED },
    { ESHUTDOWN, STATUS_DEVICE_NOT_CONNECTED },
    { ENOMEDIUM, STATUS_NO_MEDIA_IN_DEVICE },
    { ETIMEDOUT, STATUS_IO_TIMEOUT },
    { EBUSY, STATUS_DEVICE_BUSY },
    { ECANCELED, STATUS_CANCELLED },
    { EBADF, STATUS_INVALID_HANDLE },
    { EISDIR, STATUS_INVALID_PARAMETER },
    { EINVAL, STATUS_INVALID_PARAMETER },
    { EOVERFLOW, STATUS_INVALID_PARAMETER },
    { EOPNOTSUPP, STATUS_NOT_SUPPORTED },
    { ENOSYS, STATUS_NOT_SUPPORTED },
};

NTSTATUS HostStatusFromErrno(int Error)
{
    for (size_t Index = 0; Index < RTL_NUMBER_OF(HostErrors); Index += 1)
    {
        if (HostErrors[Index].Error == Error)
        {
            return HostErrors[Index].Status;
        }
    }
    return STATUS_IO_DEVICE_ERROR;
}

/* ---- Names --------------------------------------------------------------------------------------------- */

/* One code point from *Text (Count units are left): returns the units it took, 0 if they are no UTF-16. */
static ULONG HostDecodeUtf16(const WCHAR *Text, ULONG Count, ULONG *CodePoint)
{
    *CodePoint = Text[0];
    if (Text[0] < 0xd800 || Text[0] > 0xdfff)
    {
        return 1;
    }
    if (Text[0] > 0xdbff || Count < 2 || Text[1] < 0xdc00 || Text[1] > 0xdfff)
    {
        return 0;
    }
    *CodePoint = 0x10000u + ((ULONG)(Text[0] - 0xd800) << 10) + (ULONG)(Text[1] - 0xdc00);
    return 2;
}

static char *HostEncodeUtf8(char *Out, ULONG CodePoint)
{
    if (CodePoint < 0x80)
    {
        *Out++ = (char)CodePoint;
        return Out;
    }
    if (CodePoint < 0x800)
    {
        *Out++ = (char)(0xc0 | (CodePoint >> 6));
    }
    else
    {
        if (CodePoint < 0x10000)
        {
            *Out++ = (char)(0xe0 | (CodePoint >> 12));
        }
        else
        {
            *Out++ = (char)(0xf0 | (CodePoint >> 18));
            *Out++ = (char)(0x80 | ((CodePoint >> 12) & 0x3f));
        }
        *Out++ = (char)(0x80 | ((CodePoint >> 6) & 0x3f));
    }
    *Out++ = (char)(0x80 | (CodePoint & 0x3f));
    return Out;
}

static BOOLEAN HostHasPrefix(const WCHAR *Text, ULONG Count, PCSTR Prefix)
{
    ULONG Index;

    for (Index = 0; Prefix[Index] != 0; Index += 1)
    {
        if (Index >= Count || Text[Index] != (WCHAR)(UCHAR)Prefix[Index])
        {
            return FALSE;
        }
    }
    return TRUE;
}

NTSTATUS HostPathFromName(PCUNICODE_STRING Name, char *Path, BOOLEAN *InMemory)
{
    const WCHAR *Text = Name->Buffer;
    ULONG Left = Name->Length / sizeof(WCHAR);
    BOOLEAN Native = FALSE;
    char *Out = Path;

    *InMemory = FALSE;
    if (HostHasPrefix(Text, Left, "\\\\.\\Memory\\"))
    {
        *InMemory = TRUE;
        Text += 11;
        Left -= 11;
    }
    else if (HostHasPrefix(Text, Left, "\\??\\") || HostHasPrefix(Text, Left, "\\\\?\\"))
    {
        Native = TRUE;
        Text += 4;
        Left -= 4;
    }
    if (Left == 0)
    {
        return STATUS_OBJECT_NAME_INVALID;
    }
    while (Left != 0)
    {
        ULONG CodePoint;
        ULONG Taken = HostDecodeUtf16(Text, Left, &CodePoint);

        if (Taken == 0 || CodePoint == 0)
        {
            return STATUS_OBJECT_NAME_INVALID;
        }
        if (Out - Path > HOST_PATH_SIZE - 5)
        {
            return STATUS_NAME_TOO_LONG;
        }
        Out = HostEncodeUtf8(Out, Native && CodePoint == '\\' ? '/' : CodePoint);
        Text += Taken;
        Left -= Taken;
    }
    *Out = 0;
    return STATUS_SUCCESS;
}

/* ---- Files in memory ----------------------------------------------------------------------------------- */

static HOST_MEMORY_FILE *HostMemoryFiles; /* guarded by the caller's lock of open and close */

static HOST_MEMORY_FILE *HostFindMemoryFile(PCSTR Name)
{
    HOST_MEMORY_FILE *File;

    for (File = HostMemoryFiles; File != NULL && strcmp(File->Name, Name) != 0; File = File->Next)
    {
    }
    return File;
}

static NTSTATUS HostCreateMemoryFile(PCSTR Name, HOST_MEMORY_FILE **Created)
{
    size_t Size = strlen(Name) + 1;
    HOST_MEMORY_FILE *File = malloc(sizeof(*File) + Size);

    if (File == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    File->Descriptor = memfd_create("ntmm-storage", MFD_CLOEXEC);
    if (File->Descriptor < 0)
    {
        NTSTATUS Status = HostStatusFromErrno(errno);

        free(File);
        return Status;
    }
    File->References = 0;
    File->Forgotten = FALSE;
    memcpy(File->Name, Name, Size);
    File->Next = HostMemoryFiles;
    HostMemoryFiles = File;
    *Created = File;
    return STATUS_SUCCESS;
}

VOID HostForgetMemoryFile(HOST_MEMORY_FILE *File)
{
    HOST_MEMORY_FILE **Link = &HostMemoryFiles;

    if (File->Forgotten)
    {
        return;
    }
    while (*Link != File)
    {
        Link = &(*Link)->Next;
    }
    *Link = File->Next;
    File->Forgotten = TRUE;
}

VOID HostDereferenceMemoryFile(HOST_MEMORY_FILE *File)
{
    if (File->References > 1)
    {
        File->References -= 1;
        return;
    }
    HostForgetMemoryFile(File);
    close(File->Descriptor);
    free(File);
}

NTSTATUS HostOpenMemoryFile(PCSTR Name, int Mode, ULONG Flags, HOST_MEMORY_FILE **File, int *Descriptor,
                            BOOLEAN *Created)
{
    NTSTATUS Status = STATUS_SUCCESS;
    char Path[40];

    *File = HostFindMemoryFile(Name);
    *Created = FALSE;
    if (*File == NULL)
    {
        Status = (Flags & PORT_STORAGE_CREATE) != 0 ? HostCreateMemoryFile(Name, File)
                                                    : STATUS_OBJECT_NAME_NOT_FOUND;
        *Created = NT_SUCCESS(Status);
    }
    else if ((Flags & PORT_STORAGE_NEW) != 0)
    {
        *File = NULL;
        Status = STATUS_OBJECT_NAME_COLLISION;
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    /* An open file description of its own, so that access modes and locks are those of this open. */
    (*File)->References += 1;
    snprintf(Path, sizeof(Path), "/proc/self/fd/%d", (*File)->Descriptor);
    *Descriptor = open(Path, Mode);
    if (*Descriptor < 0)
    {
        Status = HostStatusFromErrno(errno);
        HostDereferenceMemoryFile(*File);
        *File = NULL;
    }
    return Status;
}
