/* SPDX-License-Identifier: MIT */
/*
 * The Windows API over the memory services, for native programs: what <windows.h> brings.
 *
 * The same C source compiles here and with mingw-w64 or Microsoft's compiler. Functions return FALSE (or
 * NULL, or 0) on failure and leave an ERROR_* code for GetLastError; what each does, and how it fails, stands
 * on the page of its name on Microsoft Learn (memoryapi.h, sysinfoapi.h, processthreadsapi.h, handleapi.h,
 * synchapi.h, errhandlingapi.h) and, one floor below, above the service in nt/ntmmapi.h. PSAPI functions are
 * in <psapi.h>, as on Windows. winnt.h's list routines are not here (they are no part of the API); its Rtl
 * memory macros and Interlocked are.
 */
#ifndef NTMM_NT_WINAPI_H
#define NTMM_NT_WINAPI_H

#include "nt/windef.h"

#include "nt/context.h"
#include "nt/exception.h"
#include "nt/interlocked.h"
#include "nt/jobs.h"
#include "nt/mmtypes.h"
#include "nt/winerror.h"

EXTERN_C_START

/* ---- status codes that user mode knows as DWORD ---- */

#if !defined(NTMM_NT_NTSTATUS_H) && !defined(WIN32_NO_STATUS)
#define NTMM_USER_MODE_STATUS           1
#define STATUS_WAIT_0                   ((DWORD)0x00000000)
#define STATUS_ABANDONED_WAIT_0         ((DWORD)0x00000080)
#define STATUS_USER_APC                 ((DWORD)0x000000C0)
#define STATUS_TIMEOUT                  ((DWORD)0x00000102)
#define STATUS_PENDING                  ((DWORD)0x00000103)
#define DBG_EXCEPTION_HANDLED           ((DWORD)0x00010001)
#define DBG_CONTINUE                    ((DWORD)0x00010002)
#define STATUS_SEGMENT_NOTIFICATION     ((DWORD)0x40000005)
#define DBG_TERMINATE_THREAD            ((DWORD)0x40010003)
#define DBG_TERMINATE_PROCESS           ((DWORD)0x40010004)
#define DBG_CONTROL_C                   ((DWORD)0x40010005)
#define DBG_PRINTEXCEPTION_C            ((DWORD)0x40010006)
#define DBG_RIPEXCEPTION                ((DWORD)0x40010007)
#define DBG_CONTROL_BREAK               ((DWORD)0x40010008)
#define STATUS_GUARD_PAGE_VIOLATION     ((DWORD)0x80000001)
#define STATUS_DATATYPE_MISALIGNMENT    ((DWORD)0x80000002)
#define STATUS_BREAKPOINT               ((DWORD)0x80000003)
#define STATUS_SINGLE_STEP              ((DWORD)0x80000004)
#define DBG_EXCEPTION_NOT_HANDLED       ((DWORD)0x80010001)
#define STATUS_ACCESS_VIOLATION         ((DWORD)0xC0000005)
#define STATUS_IN_PAGE_ERROR            ((DWORD)0xC0000006)
#define STATUS_INVALID_HANDLE           ((DWORD)0xC0000008)
#define STATUS_INVALID_PARAMETER        ((DWORD)0xC000000D)
#define STATUS_NO_MEMORY                ((DWORD)0xC0000017)
#define STATUS_ILLEGAL_INSTRUCTION      ((DWORD)0xC000001D)
#define STATUS_NONCONTINUABLE_EXCEPTION ((DWORD)0xC0000025)
#define STATUS_INVALID_DISPOSITION      ((DWORD)0xC0000026)
#define STATUS_ARRAY_BOUNDS_EXCEEDED    ((DWORD)0xC000008C)
#define STATUS_INTEGER_DIVIDE_BY_ZERO   ((DWORD)0xC0000094)
#define STATUS_INTEGER_OVERFLOW         ((DWORD)0xC0000095)
#define STATUS_PRIVILEGED_INSTRUCTION   ((DWORD)0xC0000096)
#define STATUS_STACK_OVERFLOW           ((DWORD)0xC00000FD)
#define STATUS_CONTROL_C_EXIT           ((DWORD)0xC000013A)
#define STATUS_STACK_BUFFER_OVERRUN     ((DWORD)0xC0000409)
#define STATUS_HEAP_CORRUPTION          ((DWORD)0xC0000374)
#define STATUS_ASSERTION_FAILURE        ((DWORD)0xC0000420)
#endif

/* ---- memory by value ---- */

#ifndef RtlCopyMemory
#define RtlCopyMemory(Destination, Source, Length) __builtin_memcpy((Destination), (Source), (Length))
#define RtlMoveMemory(Destination, Source, Length) __builtin_memmove((Destination), (Source), (Length))
#define RtlFillMemory(Destination, Length, Fill)   __builtin_memset((Destination), (Fill), (Length))
#define RtlZeroMemory(Destination, Length)         __builtin_memset((Destination), 0, (Length))
#define RtlEqualMemory(Source1, Source2, Length)   (!__builtin_memcmp((Source1), (Source2), (Length)))
#endif
#define CopyMemory RtlCopyMemory
#define MoveMemory RtlMoveMemory
#define FillMemory RtlFillMemory
#define ZeroMemory RtlZeroMemory

/* ---- errors ---- */

WINBASEAPI DWORD WINAPI GetLastError(VOID);
WINBASEAPI VOID WINAPI SetLastError(_In_ DWORD dwErrCode);

/* ---- virtual memory ---- */

#define NUMA_NO_PREFERRED_NODE ((DWORD)-1)

WINBASEAPI LPVOID WINAPI VirtualAlloc(_In_opt_ LPVOID lpAddress, _In_ SIZE_T dwSize,
                                      _In_ DWORD flAllocationType, _In_ DWORD flProtect);
WINBASEAPI LPVOID WINAPI VirtualAllocEx(_In_ HANDLE hProcess, _In_opt_ LPVOID lpAddress, _In_ SIZE_T dwSize,
                                        _In_ DWORD flAllocationType, _In_ DWORD flProtect);
/* Nodes of NUMA. Failure: ERROR_INVALID_PARAMETER (no such node or processor). */
WINBASEAPI BOOL WINAPI GetNumaHighestNodeNumber(_Out_ PULONG HighestNodeNumber);
WINBASEAPI BOOL WINAPI GetNumaAvailableMemoryNode(_In_ UCHAR Node, _Out_ PULONGLONG AvailableBytes);
WINBASEAPI BOOL WINAPI GetNumaAvailableMemoryNodeEx(_In_ USHORT Node, _Out_ PULONGLONG AvailableBytes);
WINBASEAPI BOOL WINAPI GetNumaNodeProcessorMask(_In_ UCHAR Node, _Out_ PULONGLONG ProcessorMask);
WINBASEAPI BOOL WINAPI GetNumaNodeProcessorMaskEx(_In_ USHORT Node, _Out_ PGROUP_AFFINITY ProcessorMask);
WINBASEAPI BOOL WINAPI GetNumaProcessorNode(_In_ UCHAR Processor, _Out_ PUCHAR NodeNumber);
WINBASEAPI LPVOID WINAPI VirtualAllocExNuma(_In_ HANDLE hProcess, _In_opt_ LPVOID lpAddress,
                                            _In_ SIZE_T dwSize, _In_ DWORD flAllocationType,
                                            _In_ DWORD flProtect, _In_ DWORD nndPreferred);
WINBASEAPI PVOID WINAPI VirtualAlloc2(_In_opt_ HANDLE Process, _In_opt_ PVOID BaseAddress, _In_ SIZE_T Size,
                                      _In_ ULONG AllocationType, _In_ ULONG PageProtection,
                                      _Inout_opt_ MEM_EXTENDED_PARAMETER *ExtendedParameters,
                                      _In_ ULONG ParameterCount);
WINBASEAPI PVOID WINAPI VirtualAllocFromApp(_In_opt_ PVOID BaseAddress, _In_ SIZE_T Size,
                                            _In_ ULONG AllocationType, _In_ ULONG Protection);
WINBASEAPI PVOID WINAPI VirtualAlloc2FromApp(_In_opt_ HANDLE Process, _In_opt_ PVOID BaseAddress,
                                             _In_ SIZE_T Size, _In_ ULONG AllocationType,
                                             _In_ ULONG PageProtection,
                                             _Inout_opt_ MEM_EXTENDED_PARAMETER *ExtendedParameters,
                                             _In_ ULONG ParameterCount);
WINBASEAPI BOOL WINAPI VirtualFree(_In_ LPVOID lpAddress, _In_ SIZE_T dwSize, _In_ DWORD dwFreeType);
WINBASEAPI BOOL WINAPI VirtualFreeEx(_In_ HANDLE hProcess, _In_ LPVOID lpAddress, _In_ SIZE_T dwSize,
                                     _In_ DWORD dwFreeType);
WINBASEAPI BOOL WINAPI VirtualProtect(_In_ LPVOID lpAddress, _In_ SIZE_T dwSize, _In_ DWORD flNewProtect,
                                      _Out_ PDWORD lpflOldProtect);
WINBASEAPI BOOL WINAPI VirtualProtectEx(_In_ HANDLE hProcess, _In_ LPVOID lpAddress, _In_ SIZE_T dwSize,
                                        _In_ DWORD flNewProtect, _Out_ PDWORD lpflOldProtect);
WINBASEAPI BOOL WINAPI VirtualProtectFromApp(_In_ PVOID Address, _In_ SIZE_T Size, _In_ ULONG NewProtection,
                                             _Out_ PULONG OldProtection);
WINBASEAPI SIZE_T WINAPI VirtualQuery(_In_opt_ LPCVOID lpAddress, _Out_ PMEMORY_BASIC_INFORMATION lpBuffer,
                                      _In_ SIZE_T dwLength);
WINBASEAPI SIZE_T WINAPI VirtualQueryEx(_In_ HANDLE hProcess, _In_opt_ LPCVOID lpAddress,
                                        _Out_ PMEMORY_BASIC_INFORMATION lpBuffer, _In_ SIZE_T dwLength);
WINBASEAPI BOOL WINAPI
QueryVirtualMemoryInformation(_In_ HANDLE Process, _In_ const VOID *VirtualAddress,
                              _In_ WIN32_MEMORY_INFORMATION_CLASS MemoryInformationClass,
                              _Out_writes_bytes_(MemoryInformationSize) PVOID MemoryInformation,
                              _In_ SIZE_T MemoryInformationSize, _Out_opt_ PSIZE_T ReturnSize);
WINBASEAPI BOOL WINAPI VirtualLock(_In_ LPVOID lpAddress, _In_ SIZE_T dwSize);
WINBASEAPI BOOL WINAPI VirtualUnlock(_In_ LPVOID lpAddress, _In_ SIZE_T dwSize);
WINBASEAPI BOOL WINAPI VirtualUnlockEx(_In_opt_ HANDLE Process, _In_ LPVOID Address, _In_ SIZE_T Size);
WINBASEAPI BOOL WINAPI ReadProcessMemory(_In_ HANDLE hProcess, _In_ LPCVOID lpBaseAddress,
                                         _Out_writes_bytes_(nSize) LPVOID lpBuffer, _In_ SIZE_T nSize,
                                         _Out_opt_ SIZE_T *lpNumberOfBytesRead);
WINBASEAPI BOOL WINAPI WriteProcessMemory(_In_ HANDLE hProcess, _In_ LPVOID lpBaseAddress,
                                          _In_reads_bytes_(nSize) LPCVOID lpBuffer, _In_ SIZE_T nSize,
                                          _Out_opt_ SIZE_T *lpNumberOfBytesWritten);
WINBASEAPI UINT WINAPI GetWriteWatch(_In_ DWORD dwFlags, _In_ PVOID lpBaseAddress, _In_ SIZE_T dwRegionSize,
                                     _Out_writes_opt_(*lpdwCount) PVOID *lpAddresses,
                                     _Inout_opt_ ULONG_PTR *lpdwCount, _Out_opt_ LPDWORD lpdwGranularity);
WINBASEAPI UINT WINAPI ResetWriteWatch(_In_ LPVOID lpBaseAddress, _In_ SIZE_T dwRegionSize);

typedef struct _WIN32_MEMORY_RANGE_ENTRY
{
    PVOID VirtualAddress;
    SIZE_T NumberOfBytes;
} WIN32_MEMORY_RANGE_ENTRY, *PWIN32_MEMORY_RANGE_ENTRY;

WINBASEAPI BOOL WINAPI PrefetchVirtualMemory(_In_ HANDLE hProcess, _In_ ULONG_PTR NumberOfEntries,
                                             _In_reads_(NumberOfEntries)
                                                 PWIN32_MEMORY_RANGE_ENTRY VirtualAddresses,
                                             _In_ ULONG Flags);

/* These return an error code. Addresses and sizes are multiples of the page size. */
WINBASEAPI DWORD WINAPI OfferVirtualMemory(_Inout_updates_(Size) PVOID VirtualAddress, _In_ SIZE_T Size,
                                           _In_ OFFER_PRIORITY Priority);
WINBASEAPI DWORD WINAPI ReclaimVirtualMemory(_In_reads_(Size) void const *VirtualAddress, _In_ SIZE_T Size);
WINBASEAPI DWORD WINAPI DiscardVirtualMemory(_Inout_updates_(Size) PVOID VirtualAddress, _In_ SIZE_T Size);

/* ---- physical pages (AWE) and large pages ---- */

WINBASEAPI BOOL WINAPI AllocateUserPhysicalPages(_In_ HANDLE hProcess, _Inout_ PULONG_PTR NumberOfPages,
                                                 _Out_writes_(*NumberOfPages) PULONG_PTR PageArray);
WINBASEAPI BOOL WINAPI FreeUserPhysicalPages(_In_ HANDLE hProcess, _Inout_ PULONG_PTR NumberOfPages,
                                             _In_reads_(*NumberOfPages) PULONG_PTR PageArray);
WINBASEAPI BOOL WINAPI MapUserPhysicalPages(_In_ PVOID VirtualAddress, _In_ ULONG_PTR NumberOfPages,
                                            _In_reads_opt_(NumberOfPages) PULONG_PTR PageArray);
WINBASEAPI BOOL WINAPI MapUserPhysicalPagesScatter(_In_reads_(NumberOfPages) PVOID *VirtualAddresses,
                                                   _In_ ULONG_PTR NumberOfPages,
                                                   _In_reads_opt_(NumberOfPages) PULONG_PTR PageArray);
WINBASEAPI SIZE_T WINAPI GetLargePageMinimum(VOID);

/* ---- working sets ---- */

WINBASEAPI BOOL WINAPI GetProcessWorkingSetSize(_In_ HANDLE hProcess, _Out_ PSIZE_T lpMinimumWorkingSetSize,
                                                _Out_ PSIZE_T lpMaximumWorkingSetSize);
WINBASEAPI BOOL WINAPI SetProcessWorkingSetSize(_In_ HANDLE hProcess, _In_ SIZE_T dwMinimumWorkingSetSize,
                                                _In_ SIZE_T dwMaximumWorkingSetSize);
WINBASEAPI BOOL WINAPI GetProcessWorkingSetSizeEx(_In_ HANDLE hProcess, _Out_ PSIZE_T lpMinimumWorkingSetSize,
                                                  _Out_ PSIZE_T lpMaximumWorkingSetSize, _Out_ PDWORD Flags);
WINBASEAPI BOOL WINAPI SetProcessWorkingSetSizeEx(_In_ HANDLE hProcess, _In_ SIZE_T dwMinimumWorkingSetSize,
                                                  _In_ SIZE_T dwMaximumWorkingSetSize, _In_ DWORD Flags);

/* ---- the machine ---- */

#define PROCESSOR_ARCHITECTURE_INTEL   0
#define PROCESSOR_ARCHITECTURE_AMD64   9
#define PROCESSOR_ARCHITECTURE_UNKNOWN 0xFFFF
#define PROCESSOR_AMD_X8664            8664

typedef struct _SYSTEM_INFO
{
    _ANONYMOUS_UNION union
    {
        DWORD dwOemId;
        _ANONYMOUS_STRUCT struct
        {
            WORD wProcessorArchitecture;
            WORD wReserved;
        } DUMMYSTRUCTNAME;
    } DUMMYUNIONNAME;
    DWORD dwPageSize;
    LPVOID lpMinimumApplicationAddress;
    LPVOID lpMaximumApplicationAddress;
    DWORD_PTR dwActiveProcessorMask;
    DWORD dwNumberOfProcessors;
    DWORD dwProcessorType;
    DWORD dwAllocationGranularity;
    WORD wProcessorLevel;
    WORD wProcessorRevision;
} SYSTEM_INFO, *LPSYSTEM_INFO;

typedef struct _MEMORYSTATUSEX
{
    DWORD dwLength; /* sizeof, set by the caller */
    DWORD dwMemoryLoad;
    DWORDLONG ullTotalPhys;
    DWORDLONG ullAvailPhys;
    DWORDLONG ullTotalPageFile; /* commit limit */
    DWORDLONG ullAvailPageFile;
    DWORDLONG ullTotalVirtual;
    DWORDLONG ullAvailVirtual;
    DWORDLONG ullAvailExtendedVirtual;
} MEMORYSTATUSEX, *LPMEMORYSTATUSEX;

typedef struct _MEMORYSTATUS
{
    DWORD dwLength;
    DWORD dwMemoryLoad;
    SIZE_T dwTotalPhys;
    SIZE_T dwAvailPhys;
    SIZE_T dwTotalPageFile;
    SIZE_T dwAvailPageFile;
    SIZE_T dwTotalVirtual;
    SIZE_T dwAvailVirtual;
} MEMORYSTATUS, *LPMEMORYSTATUS;

WINBASEAPI VOID WINAPI GetSystemInfo(_Out_ LPSYSTEM_INFO lpSystemInfo);
WINBASEAPI VOID WINAPI GetNativeSystemInfo(_Out_ LPSYSTEM_INFO lpSystemInfo);
WINBASEAPI VOID WINAPI GlobalMemoryStatus(_Out_ LPMEMORYSTATUS lpBuffer);
WINBASEAPI BOOL WINAPI GlobalMemoryStatusEx(_Inout_ LPMEMORYSTATUSEX lpBuffer);
WINBASEAPI BOOL WINAPI GetPhysicallyInstalledSystemMemory(_Out_ PULONGLONG TotalMemoryInKilobytes);
#define FILE_CACHE_MAX_HARD_ENABLE  0x00000001
#define FILE_CACHE_MAX_HARD_DISABLE 0x00000002
#define FILE_CACHE_MIN_HARD_ENABLE  0x00000004
#define FILE_CACHE_MIN_HARD_DISABLE 0x00000008

WINBASEAPI BOOL WINAPI GetSystemFileCacheSize(_Out_ PSIZE_T lpMinimumFileCacheSize,
                                              _Out_ PSIZE_T lpMaximumFileCacheSize, _Out_ PDWORD lpFlags);
WINBASEAPI BOOL WINAPI SetSystemFileCacheSize(_In_ SIZE_T MinimumFileCacheSize,
                                              _In_ SIZE_T MaximumFileCacheSize, _In_ DWORD Flags);

typedef enum _MEMORY_RESOURCE_NOTIFICATION_TYPE
{
    LowMemoryResourceNotification,
    HighMemoryResourceNotification
} MEMORY_RESOURCE_NOTIFICATION_TYPE;

WINBASEAPI HANDLE WINAPI
CreateMemoryResourceNotification(_In_ MEMORY_RESOURCE_NOTIFICATION_TYPE NotificationType);
WINBASEAPI BOOL WINAPI QueryMemoryResourceNotification(_In_ HANDLE ResourceNotificationHandle,
                                                       _Out_ PBOOL ResourceState);

/* ---- processes, handles, waiting ---- */

#define WAIT_OBJECT_0      0x00000000
#define WAIT_ABANDONED     0x00000080
#define WAIT_ABANDONED_0   0x00000080
#define WAIT_FAILED        0xFFFFFFFF
#define WAIT_IO_COMPLETION 0x000000C0
#define STILL_ACTIVE       0x00000103

#define MAXIMUM_WAIT_OBJECTS 64

WINBASEAPI HANDLE WINAPI GetCurrentProcess(VOID);
WINBASEAPI DWORD WINAPI GetCurrentProcessId(VOID);
WINBASEAPI DWORD WINAPI GetProcessId(_In_ HANDLE Process);
WINBASEAPI HANDLE WINAPI OpenProcess(_In_ DWORD dwDesiredAccess, _In_ BOOL bInheritHandle,
                                     _In_ DWORD dwProcessId);
WINBASEAPI BOOL WINAPI CloseHandle(_In_ HANDLE hObject);
WINBASEAPI BOOL WINAPI DuplicateHandle(_In_ HANDLE hSourceProcessHandle, _In_ HANDLE hSourceHandle,
                                       _In_ HANDLE hTargetProcessHandle, _Out_ LPHANDLE lpTargetHandle,
                                       _In_ DWORD dwDesiredAccess, _In_ BOOL bInheritHandle,
                                       _In_ DWORD dwOptions);
#define HANDLE_FLAG_INHERIT            0x00000001
#define HANDLE_FLAG_PROTECT_FROM_CLOSE 0x00000002
WINBASEAPI BOOL WINAPI GetHandleInformation(_In_ HANDLE hObject, _Out_ LPDWORD lpdwFlags);
WINBASEAPI BOOL WINAPI SetHandleInformation(_In_ HANDLE hObject, _In_ DWORD dwMask, _In_ DWORD dwFlags);
WINBASEAPI DWORD WINAPI WaitForSingleObject(_In_ HANDLE hHandle, _In_ DWORD dwMilliseconds);
WINBASEAPI DWORD WINAPI WaitForMultipleObjects(_In_ DWORD nCount, _In_reads_(nCount) const HANDLE *lpHandles,
                                               _In_ BOOL bWaitAll, _In_ DWORD dwMilliseconds);
WINBASEAPI VOID WINAPI Sleep(_In_ DWORD dwMilliseconds);

/* ---- jobs ---- */

WINBASEAPI HANDLE WINAPI CreateJobObjectA(_In_opt_ LPSECURITY_ATTRIBUTES lpJobAttributes,
                                          _In_opt_ LPCSTR lpName);
WINBASEAPI HANDLE WINAPI CreateJobObjectW(_In_opt_ LPSECURITY_ATTRIBUTES lpJobAttributes,
                                          _In_opt_ LPCWSTR lpName);
WINBASEAPI HANDLE WINAPI OpenJobObjectA(_In_ DWORD dwDesiredAccess, _In_ BOOL bInheritHandle,
                                        _In_ LPCSTR lpName);
WINBASEAPI HANDLE WINAPI OpenJobObjectW(_In_ DWORD dwDesiredAccess, _In_ BOOL bInheritHandle,
                                        _In_ LPCWSTR lpName);
#ifdef UNICODE
#define CreateJobObject CreateJobObjectW
#define OpenJobObject   OpenJobObjectW
#else
#define CreateJobObject CreateJobObjectA
#define OpenJobObject   OpenJobObjectA
#endif
WINBASEAPI BOOL WINAPI AssignProcessToJobObject(_In_ HANDLE hJob, _In_ HANDLE hProcess);
WINBASEAPI BOOL WINAPI TerminateJobObject(_In_ HANDLE hJob, _In_ UINT uExitCode);
WINBASEAPI BOOL WINAPI IsProcessInJob(_In_ HANDLE ProcessHandle, _In_opt_ HANDLE JobHandle,
                                      _Out_ PBOOL Result);
WINBASEAPI BOOL WINAPI QueryInformationJobObject(_In_opt_ HANDLE hJob,
                                                 _In_ JOBOBJECTINFOCLASS JobObjectInformationClass,
                                                 _Out_writes_bytes_(cbJobObjectInformationLength)
                                                     LPVOID lpJobObjectInformation,
                                                 _In_ DWORD cbJobObjectInformationLength,
                                                 _Out_opt_ LPDWORD lpReturnLength);
WINBASEAPI BOOL WINAPI SetInformationJobObject(_In_ HANDLE hJob,
                                               _In_ JOBOBJECTINFOCLASS JobObjectInformationClass,
                                               _In_reads_bytes_(cbJobObjectInformationLength)
                                                   LPVOID lpJobObjectInformation,
                                               _In_ DWORD cbJobObjectInformationLength);

/* ---- exceptions ---- */

typedef LONG(CALLBACK *PVECTORED_EXCEPTION_HANDLER)(struct _EXCEPTION_POINTERS *ExceptionInfo);

WINBASEAPI PVOID WINAPI AddVectoredExceptionHandler(_In_ ULONG First,
                                                    _In_ PVECTORED_EXCEPTION_HANDLER Handler);
WINBASEAPI ULONG WINAPI RemoveVectoredExceptionHandler(_In_ PVOID Handle);
WINBASEAPI VOID WINAPI RaiseException(_In_ DWORD dwExceptionCode, _In_ DWORD dwExceptionFlags,
                                      _In_ DWORD nNumberOfArguments,
                                      _In_reads_opt_(nNumberOfArguments) const ULONG_PTR *lpArguments);

EXTERN_C_END

#endif
