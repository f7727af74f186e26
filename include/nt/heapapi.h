/* SPDX-License-Identifier: MIT */
/*
 * The heap functions of the Windows API: HeapCreate, HeapAlloc and their family.
 *
 * Names, values and signatures are those of Microsoft Learn (heapapi.h, winnt.h). Implemented by src/heap/heapapi.c on the
 * functions of nt/heap.h. A program that uses libntheap alone gets GetLastError from it too.
 */
#ifndef NTMM_NT_HEAPAPI_H
#define NTMM_NT_HEAPAPI_H

#include "nt/heap.h"
#include "nt/windef.h"

EXTERN_C_START

typedef struct _PROCESS_HEAP_ENTRY
{
    PVOID lpData; /* NULL to begin */
    DWORD cbData; /* MAXULONG stands for more, as for the sizes of a region */
    BYTE cbOverhead;
    BYTE iRegionIndex;
    WORD wFlags;
    _ANONYMOUS_UNION union
    {
        struct
        {
            HANDLE hMem;
            DWORD dwReserved[3];
        } Block;
        struct
        {
            DWORD dwCommittedSize;
            DWORD dwUnCommittedSize;
            LPVOID lpFirstBlock;
            LPVOID lpLastBlock;
        } Region;
    } DUMMYUNIONNAME;
} PROCESS_HEAP_ENTRY, *LPPROCESS_HEAP_ENTRY, *PPROCESS_HEAP_ENTRY;

#define PROCESS_HEAP_REGION            0x0001
#define PROCESS_HEAP_UNCOMMITTED_RANGE 0x0002
#define PROCESS_HEAP_ENTRY_BUSY        0x0004
#define PROCESS_HEAP_SEG_ALLOC         0x0008
#define PROCESS_HEAP_ENTRY_MOVEABLE    0x0010
#define PROCESS_HEAP_ENTRY_DDESHARE    0x0020

typedef struct _HEAP_SUMMARY
{
    DWORD cb;
    SIZE_T cbAllocated;
    SIZE_T cbCommitted;
    SIZE_T cbReserved;
    SIZE_T cbMaxReserve;
} HEAP_SUMMARY, *PHEAP_SUMMARY, *LPHEAP_SUMMARY;

WINBASEAPI HANDLE WINAPI HeapCreate(_In_ DWORD flOptions, _In_ SIZE_T dwInitialSize,
                                    _In_ SIZE_T dwMaximumSize);
WINBASEAPI BOOL WINAPI HeapDestroy(_In_ HANDLE hHeap);
WINBASEAPI LPVOID WINAPI HeapAlloc(_In_ HANDLE hHeap, _In_ DWORD dwFlags, _In_ SIZE_T dwBytes);
WINBASEAPI LPVOID WINAPI HeapReAlloc(_In_ HANDLE hHeap, _In_ DWORD dwFlags, _In_ LPVOID lpMem,
                                     _In_ SIZE_T dwBytes);
WINBASEAPI BOOL WINAPI HeapFree(_In_ HANDLE hHeap, _In_ DWORD dwFlags, _In_opt_ LPVOID lpMem);
WINBASEAPI SIZE_T WINAPI HeapSize(_In_ HANDLE hHeap, _In_ DWORD dwFlags, _In_ LPCVOID lpMem);
WINBASEAPI BOOL WINAPI HeapValidate(_In_ HANDLE hHeap, _In_ DWORD dwFlags, _In_opt_ LPCVOID lpMem);
WINBASEAPI SIZE_T WINAPI HeapCompact(_In_ HANDLE hHeap, _In_ DWORD dwFlags);
WINBASEAPI BOOL WINAPI HeapLock(_In_ HANDLE hHeap);
WINBASEAPI BOOL WINAPI HeapUnlock(_In_ HANDLE hHeap);
WINBASEAPI BOOL WINAPI HeapWalk(_In_ HANDLE hHeap, _Inout_ LPPROCESS_HEAP_ENTRY lpEntry);
WINBASEAPI BOOL WINAPI HeapSummary(_In_ HANDLE hHeap, _In_ DWORD dwFlags, _Out_ LPHEAP_SUMMARY lpSummary);
WINBASEAPI BOOL WINAPI HeapSetInformation(_In_opt_ HANDLE HeapHandle,
                                          _In_ HEAP_INFORMATION_CLASS HeapInformationClass,
                                          _In_opt_ PVOID HeapInformation, _In_ SIZE_T HeapInformationLength);
WINBASEAPI BOOL WINAPI HeapQueryInformation(_In_opt_ HANDLE HeapHandle,
                                            _In_ HEAP_INFORMATION_CLASS HeapInformationClass,
                                            _Out_opt_ PVOID HeapInformation,
                                            _In_ SIZE_T HeapInformationLength,
                                            _Out_opt_ PSIZE_T ReturnLength);
WINBASEAPI HANDLE WINAPI GetProcessHeap(VOID);
WINBASEAPI DWORD WINAPI GetProcessHeaps(_In_ DWORD NumberOfHeaps, _Out_ PHANDLE ProcessHeaps);

WINBASEAPI DWORD WINAPI GetLastError(VOID);
WINBASEAPI VOID WINAPI SetLastError(_In_ DWORD dwErrCode);

EXTERN_C_END

#endif
