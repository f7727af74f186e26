/* SPDX-License-Identifier: MIT */
/*
 * Files. Source: the pages of the functions on Microsoft Learn (fileapi.h). Every file is synchronous here: with an OVERLAPPED a transfer goes to
 * its offset and is over when the call returns.
 */
#include "api.h"

#undef DeleteFile /* also a member of FILE_DISPOSITION_INFORMATION */

typedef struct _WINAPI_PATH
{
    UNICODE_STRING String;
    WCHAR Text[4096];
} WINAPI_PATH;

/* \??\ and the name, unless it says by itself where it lives. */
static BOOL WinapiFileName(LPCWSTR Wide, LPCSTR Narrow, WINAPI_PATH *Path)
{
    static const WCHAR Prefix[] = u"\\??\\";
    BOOL Rooted =
        Wide != NULL ? Wide[0] == u'\\' && Wide[1] == u'\\' : Narrow[0] == '\\' && Narrow[1] == '\\';
    SIZE_T Length = 0;

    while (!Rooted && Prefix[Length] != 0)
    {
        Path->Text[Length] = Prefix[Length];
        Length++;
    }
    for (SIZE_T Index = 0; Wide != NULL ? Wide[Index] != 0 : Narrow[Index] != 0; Index++)
    {
        if (Length == RTL_NUMBER_OF(Path->Text))
        {
            return WinapiFailWith(ERROR_FILENAME_EXCED_RANGE);
        }
        Path->Text[Length++] = Wide != NULL ? Wide[Index] : (UCHAR)Narrow[Index];
    }
    Path->String.Buffer = Path->Text;
    Path->String.Length = (USHORT)(Length * sizeof(WCHAR));
    Path->String.MaximumLength = Path->String.Length;
    return TRUE;
}

static ULONG WinapiFileOptions(DWORD Flags)
{
    ULONG Options = FILE_NON_DIRECTORY_FILE | FILE_SYNCHRONOUS_IO_NONALERT;

    Options |= (Flags & FILE_FLAG_WRITE_THROUGH) != 0 ? FILE_WRITE_THROUGH : 0;
    Options |= (Flags & FILE_FLAG_NO_BUFFERING) != 0 ? FILE_NO_INTERMEDIATE_BUFFERING : 0;
    Options |= (Flags & FILE_FLAG_RANDOM_ACCESS) != 0 ? FILE_RANDOM_ACCESS : 0;
    Options |= (Flags & FILE_FLAG_SEQUENTIAL_SCAN) != 0 ? FILE_SEQUENTIAL_ONLY : 0;
    Options |= (Flags & FILE_FLAG_DELETE_ON_CLOSE) != 0 ? FILE_DELETE_ON_CLOSE : 0;
    return Options;
}

/* What the documented dispositions are below; 0xffffffff: none. */
static ULONG WinapiDisposition(DWORD Disposition)
{
    static const UCHAR Dispositions[] = { 0xff,
                                          [CREATE_NEW] = FILE_CREATE,
                                          [CREATE_ALWAYS] = FILE_OVERWRITE_IF,
                                          [OPEN_EXISTING] = FILE_OPEN,
                                          [OPEN_ALWAYS] = FILE_OPEN_IF,
                                          [TRUNCATE_EXISTING] = FILE_OVERWRITE };

    return Disposition == 0 || Disposition > TRUNCATE_EXISTING ? ~0u : Dispositions[Disposition];
}

static HANDLE WinapiCreateFile(LPCWSTR Wide, LPCSTR Narrow, DWORD Access, DWORD ShareMode,
                               const SECURITY_ATTRIBUTES *Security, DWORD Disposition, DWORD Flags)
{
    OBJECT_ATTRIBUTES Attributes;
    IO_STATUS_BLOCK Block;
    WINAPI_PATH Path;
    HANDLE File = NULL;
    NTSTATUS Status;

    if (WinapiDisposition(Disposition) == ~0u || (Wide == NULL && Narrow == NULL) ||
        (Disposition == TRUNCATE_EXISTING && (Access & GENERIC_WRITE) == 0))
    {
        WinapiFailWith(Wide == NULL && Narrow == NULL ? ERROR_PATH_NOT_FOUND : ERROR_INVALID_PARAMETER);
        return INVALID_HANDLE_VALUE;
    }
    if (!WinapiFileName(Wide, Narrow, &Path))
    {
        return INVALID_HANDLE_VALUE;
    }
    Access |= SYNCHRONIZE | FILE_READ_ATTRIBUTES | ((Flags & FILE_FLAG_DELETE_ON_CLOSE) != 0 ? DELETE : 0u);
    InitializeObjectAttributes(&Attributes, &Path.String,
                               Security != NULL && Security->bInheritHandle ? OBJ_INHERIT : 0, NULL, NULL);
    Status = NtCreateFile(&File, Access, &Attributes, &Block, NULL, FILE_ATTRIBUTE_NORMAL, ShareMode,
                          WinapiDisposition(Disposition), WinapiFileOptions(Flags), NULL, 0);
    if (!NT_SUCCESS(Status))
    {
        WinapiFail(Status);
        if (Status == STATUS_OBJECT_NAME_COLLISION)
        {
            WinapiFailWith(ERROR_FILE_EXISTS); /* documented for CREATE_NEW */
        }
        return INVALID_HANDLE_VALUE;
    }
    WinapiFailWith((Disposition == CREATE_ALWAYS && Block.Information == FILE_OVERWRITTEN) ||
                           (Disposition == OPEN_ALWAYS && Block.Information == FILE_OPENED)
                       ? ERROR_ALREADY_EXISTS
                       : ERROR_SUCCESS);
    return File;
}

HANDLE WINAPI CreateFileA(LPCSTR lpFileName, DWORD dwDesiredAccess, DWORD dwShareMode,
                          LPSECURITY_ATTRIBUTES lpSecurityAttributes, DWORD dwCreationDisposition,
                          DWORD dwFlagsAndAttributes, HANDLE hTemplateFile)
{
    UNREFERENCED_PARAMETER(hTemplateFile);
    return WinapiCreateFile(NULL, lpFileName, dwDesiredAccess, dwShareMode, lpSecurityAttributes,
                            dwCreationDisposition, dwFlagsAndAttributes);
}

HANDLE WINAPI CreateFileW(LPCWSTR lpFileName, DWORD dwDesiredAccess, DWORD dwShareMode,
                          LPSECURITY_ATTRIBUTES lpSecurityAttributes, DWORD dwCreationDisposition,
                          DWORD dwFlagsAndAttributes, HANDLE hTemplateFile)
{
    UNREFERENCED_PARAMETER(hTemplateFile);
    return WinapiCreateFile(lpFileName, NULL, dwDesiredAccess, dwShareMode, lpSecurityAttributes,
                            dwCreationDisposition, dwFlagsAndAttributes);
}

static BOOL WinapiDeleteFile(LPCWSTR Wide, LPCSTR Narrow)
{
    FILE_DISPOSITION_INFORMATION Information = { .DeleteFile = TRUE };
    HANDLE File = WinapiCreateFile(
        Wide, Narrow, DELETE, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING, 0);
    IO_STATUS_BLOCK Block;
    NTSTATUS Status;

    if (File == INVALID_HANDLE_VALUE)
    {
        return FALSE;
    }
    Status =
        NtSetInformationFile(File, &Block, &Information, sizeof(Information), FileDispositionInformation);
    NtClose(File);
    return WinapiFinish(Status);
}

BOOL WINAPI DeleteFileA(LPCSTR lpFileName)
{
    return WinapiDeleteFile(NULL, lpFileName);
}

BOOL WINAPI DeleteFileW(LPCWSTR lpFileName)
{
    return WinapiDeleteFile(lpFileName, NULL);
}

/* ---- Transfers ----------------------------------------------------------------------------------------- */

/* Documented: at the end of the file a synchronous read succeeds with 0 bytes; one with an OVERLAPPED is ERROR_HANDLE_EOF. */
static BOOL WinapiEndTransfer(NTSTATUS Status, const IO_STATUS_BLOCK *Block, LPDWORD Transferred,
                              LPOVERLAPPED Overlapped)
{
    if (Transferred != NULL)
    {
        *Transferred = NT_SUCCESS(Status) ? (DWORD)Block->Information : 0;
    }
    if (Overlapped != NULL)
    {
        Overlapped->Internal = (ULONG_PTR)(ULONG)Status;
        Overlapped->InternalHigh = NT_SUCCESS(Status) ? Block->Information : 0;
    }
    if (Status == STATUS_END_OF_FILE && Overlapped == NULL)
    {
        return TRUE;
    }
    return WinapiFinish(Status);
}

static PLARGE_INTEGER WinapiOffset(LPOVERLAPPED Overlapped, PLARGE_INTEGER Offset)
{
    if (Overlapped == NULL)
    {
        return NULL;
    }
    Offset->QuadPart = (LONGLONG)(((ULONG64)Overlapped->OffsetHigh << 32) | Overlapped->Offset);
    return Offset;
}

BOOL WINAPI ReadFile(HANDLE hFile, LPVOID lpBuffer, DWORD nNumberOfBytesToRead, LPDWORD lpNumberOfBytesRead,
                     LPOVERLAPPED lpOverlapped)
{
    IO_STATUS_BLOCK Block = { .Information = 0 };
    LARGE_INTEGER Offset;
    NTSTATUS Status =
        NtReadFile(hFile, lpOverlapped != NULL ? lpOverlapped->hEvent : NULL, NULL, NULL, &Block, lpBuffer,
                   nNumberOfBytesToRead, WinapiOffset(lpOverlapped, &Offset), NULL);

    return WinapiEndTransfer(Status, &Block, lpNumberOfBytesRead, lpOverlapped);
}

BOOL WINAPI WriteFile(HANDLE hFile, LPCVOID lpBuffer, DWORD nNumberOfBytesToWrite,
                      LPDWORD lpNumberOfBytesWritten, LPOVERLAPPED lpOverlapped)
{
    IO_STATUS_BLOCK Block = { .Information = 0 };
    LARGE_INTEGER Offset;
    NTSTATUS Status = NtWriteFile(hFile, lpOverlapped != NULL ? lpOverlapped->hEvent : NULL, NULL, NULL,
                                  &Block, (PVOID)(ULONG_PTR)lpBuffer, nNumberOfBytesToWrite,
                                  WinapiOffset(lpOverlapped, &Offset), NULL);

    return WinapiEndTransfer(Status, &Block, lpNumberOfBytesWritten, lpOverlapped);
}

BOOL WINAPI FlushFileBuffers(HANDLE hFile)
{
    IO_STATUS_BLOCK Block;

    return WinapiFinish(NtFlushBuffersFile(hFile, &Block));
}

/* ---- Size and position --------------------------------------------------------------------------------- */

BOOL WINAPI GetFileSizeEx(HANDLE hFile, PLARGE_INTEGER lpFileSize)
{
    FILE_STANDARD_INFORMATION Information;
    IO_STATUS_BLOCK Block;
    NTSTATUS Status =
        NtQueryInformationFile(hFile, &Block, &Information, sizeof(Information), FileStandardInformation);

    if (NT_SUCCESS(Status))
    {
        *lpFileSize = Information.EndOfFile;
    }
    return WinapiFinish(Status);
}

DWORD WINAPI GetFileSize(HANDLE hFile, LPDWORD lpFileSizeHigh)
{
    LARGE_INTEGER Size;

    if (!GetFileSizeEx(hFile, &Size))
    {
        return INVALID_FILE_SIZE;
    }
    if (lpFileSizeHigh != NULL)
    {
        *lpFileSizeHigh = (DWORD)Size.HighPart;
    }
    if (Size.LowPart == INVALID_FILE_SIZE)
    {
        WinapiFailWith(ERROR_SUCCESS);
    }
    return Size.LowPart;
}

static NTSTATUS WinapiGetPosition(HANDLE File, PLARGE_INTEGER Position)
{
    FILE_POSITION_INFORMATION Information = { .CurrentByteOffset = { .QuadPart = 0 } };
    IO_STATUS_BLOCK Block;
    NTSTATUS Status =
        NtQueryInformationFile(File, &Block, &Information, sizeof(Information), FilePositionInformation);

    *Position = Information.CurrentByteOffset;
    return Status;
}

BOOL WINAPI SetFilePointerEx(HANDLE hFile, LARGE_INTEGER liDistanceToMove, PLARGE_INTEGER lpNewFilePointer,
                             DWORD dwMoveMethod)
{
    FILE_POSITION_INFORMATION Information;
    LARGE_INTEGER Start = { .QuadPart = 0 };
    IO_STATUS_BLOCK Block;
    NTSTATUS Status = STATUS_SUCCESS;

    if (dwMoveMethod > FILE_END)
    {
        return WinapiFailWith(ERROR_INVALID_PARAMETER);
    }
    if (dwMoveMethod == FILE_CURRENT)
    {
        Status = WinapiGetPosition(hFile, &Start);
    }
    else if (dwMoveMethod == FILE_END && !GetFileSizeEx(hFile, &Start))
    {
        return FALSE;
    }
    if (!NT_SUCCESS(Status))
    {
        return WinapiFail(Status);
    }
    Information.CurrentByteOffset.QuadPart = Start.QuadPart + liDistanceToMove.QuadPart;
    if (Information.CurrentByteOffset.QuadPart < 0)
    {
        return WinapiFailWith(ERROR_NEGATIVE_SEEK);
    }
    Status = NtSetInformationFile(hFile, &Block, &Information, sizeof(Information), FilePositionInformation);
    if (NT_SUCCESS(Status) && lpNewFilePointer != NULL)
    {
        *lpNewFilePointer = Information.CurrentByteOffset;
    }
    return WinapiFinish(Status);
}

BOOL WINAPI SetEndOfFile(HANDLE hFile)
{
    FILE_END_OF_FILE_INFORMATION Information;
    IO_STATUS_BLOCK Block;
    NTSTATUS Status = WinapiGetPosition(hFile, &Information.EndOfFile);

    if (NT_SUCCESS(Status))
    {
        Status =
            NtSetInformationFile(hFile, &Block, &Information, sizeof(Information), FileEndOfFileInformation);
    }
    return WinapiFinish(Status);
}
