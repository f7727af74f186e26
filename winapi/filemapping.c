/* SPDX-License-Identifier: MIT */
/* File mappings and their views. Source: the pages of the functions on Microsoft Learn (memoryapi.h, winbase.h). */
#include "api.h"

#define WINAPI_SECTION_FLAGS                                                                                 \
    (SEC_FILE | SEC_IMAGE | SEC_RESERVE | SEC_COMMIT | SEC_NOCACHE | SEC_WRITECOMBINE | SEC_LARGE_PAGES)

static ACCESS_MASK WinapiMappingAccess(DWORD Protect)
{
    ACCESS_MASK Access = STANDARD_RIGHTS_REQUIRED | SECTION_QUERY | SECTION_MAP_READ;

    Access |= Protect == PAGE_READWRITE || Protect == PAGE_EXECUTE_READWRITE ? SECTION_MAP_WRITE : 0;
    Access |= Protect >= PAGE_EXECUTE ? SECTION_MAP_EXECUTE : 0;
    return Access;
}

typedef struct _WINAPI_MAPPING
{
    HANDLE File;
    DWORD Protect;
    DWORD Kind;
    LARGE_INTEGER Size;
} WINAPI_MAPPING;

static NTSTATUS WinapiCreateSection(PHANDLE Handle, POBJECT_ATTRIBUTES Attributes, const void *Context)
{
    const WINAPI_MAPPING *Mapping = Context;
    LARGE_INTEGER Size = Mapping->Size;

    return NtCreateSection(Handle, WinapiMappingAccess(Mapping->Protect), Attributes,
                           Size.QuadPart != 0 ? &Size : NULL, Mapping->Protect, Mapping->Kind,
                           Mapping->File == INVALID_HANDLE_VALUE ? NULL : Mapping->File);
}

static HANDLE WinapiCreateMapping(HANDLE File, const SECURITY_ATTRIBUTES *Security, DWORD Protect,
                                  ULONG64 Size, LPCWSTR Wide, LPCSTR Narrow)
{
    WINAPI_MAPPING Mapping = { .File = File,
                               .Protect = Protect & ~(DWORD)WINAPI_SECTION_FLAGS,
                               .Kind = Protect & WINAPI_SECTION_FLAGS,
                               .Size = { .QuadPart = (LONGLONG)Size } };
    HANDLE Section;

    if (File == INVALID_HANDLE_VALUE && Size == 0)
    {
        WinapiFailWith(ERROR_INVALID_PARAMETER);
        return NULL;
    }
    Mapping.Kind =
        Mapping.Kind == 0 ? SEC_COMMIT : Mapping.Kind; /* documented: if no attribute is specified */
    /* Documented: a file that is too short for a mapping that cannot extend it. */
    if (WinapiCreateNamed(WinapiCreateSection, &Mapping, Security, Wide, Narrow, &Section) ==
        STATUS_SECTION_TOO_BIG)
    {
        WinapiFailWith(ERROR_NOT_ENOUGH_MEMORY);
    }
    return Section;
}

HANDLE WINAPI CreateFileMappingA(HANDLE hFile, LPSECURITY_ATTRIBUTES lpAttributes, DWORD flProtect,
                                 DWORD dwMaximumSizeHigh, DWORD dwMaximumSizeLow, LPCSTR lpName)
{
    return WinapiCreateMapping(hFile, lpAttributes, flProtect,
                               ((ULONG64)dwMaximumSizeHigh << 32) | dwMaximumSizeLow, NULL, lpName);
}

HANDLE WINAPI CreateFileMappingW(HANDLE hFile, LPSECURITY_ATTRIBUTES lpAttributes, DWORD flProtect,
                                 DWORD dwMaximumSizeHigh, DWORD dwMaximumSizeLow, LPCWSTR lpName)
{
    return WinapiCreateMapping(hFile, lpAttributes, flProtect,
                               ((ULONG64)dwMaximumSizeHigh << 32) | dwMaximumSizeLow, lpName, NULL);
}

static HANDLE WinapiOpenMapping(DWORD Access, BOOL Inherit, LPCWSTR Wide, LPCSTR Narrow)
{
    /* Documented: who asks for a copy may read; who asks to execute as well. */
    Access = Access == FILE_MAP_COPY            ? SECTION_MAP_READ
             : (Access & FILE_MAP_EXECUTE) != 0 ? (Access & ~(DWORD)FILE_MAP_EXECUTE) | SECTION_MAP_EXECUTE
                                                : Access;
    return WinapiOpenNamed(NtOpenSection, Access, Inherit, Wide, Narrow);
}

HANDLE WINAPI OpenFileMappingA(DWORD dwDesiredAccess, BOOL bInheritHandle, LPCSTR lpName)
{
    return WinapiOpenMapping(dwDesiredAccess, bInheritHandle, NULL, lpName);
}

HANDLE WINAPI OpenFileMappingW(DWORD dwDesiredAccess, BOOL bInheritHandle, LPCWSTR lpName)
{
    return WinapiOpenMapping(dwDesiredAccess, bInheritHandle, lpName, NULL);
}

/* ---- Views --------------------------------------------------------------------------------------------- */

static DWORD WinapiViewProtection(DWORD Access)
{
    BOOL Execute = (Access & FILE_MAP_EXECUTE) != 0;

    if ((Access & FILE_MAP_WRITE) != 0)
    {
        return Execute ? PAGE_EXECUTE_READWRITE : PAGE_READWRITE;
    }
    if ((Access & FILE_MAP_READ) != 0)
    {
        return Execute ? PAGE_EXECUTE_READ : PAGE_READONLY;
    }
    if ((Access & FILE_MAP_COPY) != 0)
    {
        return Execute ? PAGE_EXECUTE_WRITECOPY : PAGE_WRITECOPY;
    }
    return PAGE_NOACCESS;
}

static PVOID WinapiMapView(HANDLE Section, HANDLE Process, ULONG64 Offset, PVOID Base, SIZE_T Size,
                           ULONG Type, ULONG Protect)
{
    LARGE_INTEGER Start = { .QuadPart = (LONGLONG)Offset };
    NTSTATUS Status =
        NtMapViewOfSection(Section, Process, &Base, 0, 0, &Start, &Size, ViewShare, Type, Protect);

    if (!NT_SUCCESS(Status))
    {
        WinapiFail(Status);
        return NULL;
    }
    return Base;
}

LPVOID WINAPI MapViewOfFileEx(HANDLE hFileMappingObject, DWORD dwDesiredAccess, DWORD dwFileOffsetHigh,
                              DWORD dwFileOffsetLow, SIZE_T dwNumberOfBytesToMap, LPVOID lpBaseAddress)
{
    return WinapiMapView(hFileMappingObject, NtCurrentProcess(),
                         ((ULONG64)dwFileOffsetHigh << 32) | dwFileOffsetLow, lpBaseAddress,
                         dwNumberOfBytesToMap,
                         (dwDesiredAccess & FILE_MAP_LARGE_PAGES) != 0 ? MEM_LARGE_PAGES : 0,
                         WinapiViewProtection(dwDesiredAccess));
}

LPVOID WINAPI MapViewOfFile(HANDLE hFileMappingObject, DWORD dwDesiredAccess, DWORD dwFileOffsetHigh,
                            DWORD dwFileOffsetLow, SIZE_T dwNumberOfBytesToMap)
{
    return MapViewOfFileEx(hFileMappingObject, dwDesiredAccess, dwFileOffsetHigh, dwFileOffsetLow,
                           dwNumberOfBytesToMap, NULL);
}

PVOID WINAPI MapViewOfFileNuma2(HANDLE FileMappingHandle, HANDLE ProcessHandle, ULONG64 Offset,
                                PVOID BaseAddress, SIZE_T ViewSize, ULONG AllocationType,
                                ULONG PageProtection, ULONG PreferredNode)
{
    UNREFERENCED_PARAMETER(PreferredNode); /* a hint */
    return WinapiMapView(FileMappingHandle, ProcessHandle, Offset, BaseAddress, ViewSize, AllocationType,
                         PageProtection);
}

PVOID WINAPI MapViewOfFile3(HANDLE FileMapping, HANDLE Process, PVOID BaseAddress, ULONG64 Offset,
                            SIZE_T ViewSize, ULONG AllocationType, ULONG PageProtection,
                            MEM_EXTENDED_PARAMETER *ExtendedParameters, ULONG ParameterCount)
{
    LARGE_INTEGER Start = { .QuadPart = (LONGLONG)Offset };
    NTSTATUS Status = NtMapViewOfSectionEx(FileMapping, Process != NULL ? Process : NtCurrentProcess(),
                                           &BaseAddress, &Start, &ViewSize, AllocationType, PageProtection,
                                           ExtendedParameters, ParameterCount);

    if (!NT_SUCCESS(Status))
    {
        WinapiFail(Status);
        return NULL;
    }
    return BaseAddress;
}

BOOL WINAPI UnmapViewOfFile(LPCVOID lpBaseAddress)
{
    return WinapiFinish(NtUnmapViewOfSection(NtCurrentProcess(), (PVOID)(ULONG_PTR)lpBaseAddress));
}

BOOL WINAPI UnmapViewOfFile2(HANDLE Process, PVOID BaseAddress, ULONG UnmapFlags)
{
    return WinapiFinish(NtUnmapViewOfSectionEx(Process, BaseAddress, UnmapFlags));
}

BOOL WINAPI UnmapViewOfFileEx(PVOID BaseAddress, ULONG UnmapFlags)
{
    return UnmapViewOfFile2(NtCurrentProcess(), BaseAddress, UnmapFlags);
}

BOOL WINAPI FlushViewOfFile(LPCVOID lpBaseAddress, SIZE_T dwNumberOfBytesToFlush)
{
    PVOID Base = (PVOID)(ULONG_PTR)lpBaseAddress;
    IO_STATUS_BLOCK Block;

    return WinapiFinish(NtFlushVirtualMemory(NtCurrentProcess(), &Base, &dwNumberOfBytesToFlush, &Block));
}
