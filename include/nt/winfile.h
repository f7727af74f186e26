/* SPDX-License-Identifier: MIT */
/*
 * The Windows API of files and file mappings, as much as a program needs that maps them. What each function does, and how it fails, stands on
 * the page of its name on Microsoft Learn (fileapi.h, memoryapi.h, winbase.h). File names are Linux paths; backslashes are slashes.
 */
#ifndef NTMM_NT_WINFILE_H
#define NTMM_NT_WINFILE_H

#include "nt/windef.h"

#include "nt/mmtypes.h"

EXTERN_C_START

#ifndef FILE_SHARE_READ
#define FILE_SHARE_READ   0x00000001
#define FILE_SHARE_WRITE  0x00000002
#define FILE_SHARE_DELETE 0x00000004
#endif
#ifndef FILE_ATTRIBUTE_NORMAL
#define FILE_ATTRIBUTE_READONLY  0x00000001
#define FILE_ATTRIBUTE_DIRECTORY 0x00000010
#define FILE_ATTRIBUTE_ARCHIVE   0x00000020
#define FILE_ATTRIBUTE_NORMAL    0x00000080
#endif
#define CREATE_NEW        1
#define CREATE_ALWAYS     2
#define OPEN_EXISTING     3
#define OPEN_ALWAYS       4
#define TRUNCATE_EXISTING 5

#define FILE_FLAG_WRITE_THROUGH   0x80000000
#define FILE_FLAG_OVERLAPPED      0x40000000
#define FILE_FLAG_NO_BUFFERING    0x20000000
#define FILE_FLAG_RANDOM_ACCESS   0x10000000
#define FILE_FLAG_SEQUENTIAL_SCAN 0x08000000
#define FILE_FLAG_DELETE_ON_CLOSE 0x04000000

#define FILE_BEGIN               0
#define FILE_CURRENT             1
#define FILE_END                 2
#define INVALID_FILE_SIZE        ((DWORD)0xFFFFFFFF)
#define INVALID_SET_FILE_POINTER ((DWORD)-1)

#define FILE_MAP_COPY        SECTION_QUERY
#define FILE_MAP_WRITE       SECTION_MAP_WRITE
#define FILE_MAP_READ        SECTION_MAP_READ
#define FILE_MAP_ALL_ACCESS  SECTION_ALL_ACCESS
#define FILE_MAP_EXECUTE     SECTION_MAP_EXECUTE_EXPLICIT
#define FILE_MAP_LARGE_PAGES 0x20000000

typedef struct _OVERLAPPED
{
    ULONG_PTR Internal;
    ULONG_PTR InternalHigh;
    _ANONYMOUS_UNION union
    {
        _ANONYMOUS_STRUCT struct
        {
            DWORD Offset;
            DWORD OffsetHigh;
        } DUMMYSTRUCTNAME;
        PVOID Pointer;
    } DUMMYUNIONNAME;
    HANDLE hEvent;
} OVERLAPPED, *LPOVERLAPPED;

WINBASEAPI HANDLE WINAPI CreateFileA(_In_ LPCSTR lpFileName, _In_ DWORD dwDesiredAccess,
                                     _In_ DWORD dwShareMode,
                                     _In_opt_ LPSECURITY_ATTRIBUTES lpSecurityAttributes,
                                     _In_ DWORD dwCreationDisposition, _In_ DWORD dwFlagsAndAttributes,
                                     _In_opt_ HANDLE hTemplateFile);
WINBASEAPI HANDLE WINAPI CreateFileW(_In_ LPCWSTR lpFileName, _In_ DWORD dwDesiredAccess,
                                     _In_ DWORD dwShareMode,
                                     _In_opt_ LPSECURITY_ATTRIBUTES lpSecurityAttributes,
                                     _In_ DWORD dwCreationDisposition, _In_ DWORD dwFlagsAndAttributes,
                                     _In_opt_ HANDLE hTemplateFile);
WINBASEAPI BOOL WINAPI DeleteFileA(_In_ LPCSTR lpFileName);
WINBASEAPI BOOL WINAPI DeleteFileW(_In_ LPCWSTR lpFileName);
WINBASEAPI BOOL WINAPI ReadFile(_In_ HANDLE hFile, _Out_writes_bytes_(nNumberOfBytesToRead) LPVOID lpBuffer,
                                _In_ DWORD nNumberOfBytesToRead, _Out_opt_ LPDWORD lpNumberOfBytesRead,
                                _Inout_opt_ LPOVERLAPPED lpOverlapped);
WINBASEAPI BOOL WINAPI WriteFile(_In_ HANDLE hFile, _In_reads_bytes_(nNumberOfBytesToWrite) LPCVOID lpBuffer,
                                 _In_ DWORD nNumberOfBytesToWrite, _Out_opt_ LPDWORD lpNumberOfBytesWritten,
                                 _Inout_opt_ LPOVERLAPPED lpOverlapped);
WINBASEAPI BOOL WINAPI SetFilePointerEx(_In_ HANDLE hFile, _In_ LARGE_INTEGER liDistanceToMove,
                                        _Out_opt_ PLARGE_INTEGER lpNewFilePointer, _In_ DWORD dwMoveMethod);
WINBASEAPI BOOL WINAPI SetEndOfFile(_In_ HANDLE hFile);
WINBASEAPI BOOL WINAPI GetFileSizeEx(_In_ HANDLE hFile, _Out_ PLARGE_INTEGER lpFileSize);
WINBASEAPI DWORD WINAPI GetFileSize(_In_ HANDLE hFile, _Out_opt_ LPDWORD lpFileSizeHigh);
WINBASEAPI BOOL WINAPI FlushFileBuffers(_In_ HANDLE hFile);

WINBASEAPI HANDLE WINAPI CreateFileMappingA(_In_ HANDLE hFile, _In_opt_ LPSECURITY_ATTRIBUTES lpAttributes,
                                            _In_ DWORD flProtect, _In_ DWORD dwMaximumSizeHigh,
                                            _In_ DWORD dwMaximumSizeLow, _In_opt_ LPCSTR lpName);
WINBASEAPI HANDLE WINAPI CreateFileMappingW(_In_ HANDLE hFile, _In_opt_ LPSECURITY_ATTRIBUTES lpAttributes,
                                            _In_ DWORD flProtect, _In_ DWORD dwMaximumSizeHigh,
                                            _In_ DWORD dwMaximumSizeLow, _In_opt_ LPCWSTR lpName);
WINBASEAPI HANDLE WINAPI OpenFileMappingA(_In_ DWORD dwDesiredAccess, _In_ BOOL bInheritHandle,
                                          _In_ LPCSTR lpName);
WINBASEAPI HANDLE WINAPI OpenFileMappingW(_In_ DWORD dwDesiredAccess, _In_ BOOL bInheritHandle,
                                          _In_ LPCWSTR lpName);
WINBASEAPI LPVOID WINAPI MapViewOfFile(_In_ HANDLE hFileMappingObject, _In_ DWORD dwDesiredAccess,
                                       _In_ DWORD dwFileOffsetHigh, _In_ DWORD dwFileOffsetLow,
                                       _In_ SIZE_T dwNumberOfBytesToMap);
WINBASEAPI LPVOID WINAPI MapViewOfFileEx(_In_ HANDLE hFileMappingObject, _In_ DWORD dwDesiredAccess,
                                         _In_ DWORD dwFileOffsetHigh, _In_ DWORD dwFileOffsetLow,
                                         _In_ SIZE_T dwNumberOfBytesToMap, _In_opt_ LPVOID lpBaseAddress);
WINBASEAPI PVOID WINAPI MapViewOfFileNuma2(_In_ HANDLE FileMappingHandle, _In_ HANDLE ProcessHandle,
                                           _In_ ULONG64 Offset, _In_opt_ PVOID BaseAddress,
                                           _In_ SIZE_T ViewSize, _In_ ULONG AllocationType,
                                           _In_ ULONG PageProtection, _In_ ULONG PreferredNode);
WINBASEAPI PVOID WINAPI MapViewOfFile3(_In_ HANDLE FileMapping, _In_opt_ HANDLE Process,
                                       _In_opt_ PVOID BaseAddress, _In_ ULONG64 Offset, _In_ SIZE_T ViewSize,
                                       _In_ ULONG AllocationType, _In_ ULONG PageProtection,
                                       _Inout_opt_ MEM_EXTENDED_PARAMETER *ExtendedParameters,
                                       _In_ ULONG ParameterCount);
WINBASEAPI BOOL WINAPI UnmapViewOfFile(_In_ LPCVOID lpBaseAddress);
WINBASEAPI BOOL WINAPI UnmapViewOfFileEx(_In_ PVOID BaseAddress, _In_ ULONG UnmapFlags);
WINBASEAPI BOOL WINAPI UnmapViewOfFile2(_In_ HANDLE Process, _In_ PVOID BaseAddress, _In_ ULONG UnmapFlags);
WINBASEAPI BOOL WINAPI FlushViewOfFile(_In_ LPCVOID lpBaseAddress, _In_ SIZE_T dwNumberOfBytesToFlush);

FORCEINLINE PVOID MapViewOfFile2(HANDLE FileMappingHandle, HANDLE ProcessHandle, ULONG64 Offset,
                                 PVOID BaseAddress, SIZE_T ViewSize, ULONG AllocationType,
                                 ULONG PageProtection)
{
    return MapViewOfFileNuma2(FileMappingHandle, ProcessHandle, Offset, BaseAddress, ViewSize, AllocationType,
                              PageProtection, (ULONG)-1);
}

#ifdef UNICODE
#define CreateFile        CreateFileW
#define DeleteFile        DeleteFileW
#define CreateFileMapping CreateFileMappingW
#define OpenFileMapping   OpenFileMappingW
#else
#define CreateFile        CreateFileA
#define DeleteFile        DeleteFileA
#define CreateFileMapping CreateFileMappingA
#define OpenFileMapping   OpenFileMappingA
#endif

EXTERN_C_END

#endif
