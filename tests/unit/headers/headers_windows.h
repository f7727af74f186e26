/* SPDX-License-Identifier: MIT */
/*
 * Sizes and values that a user-mode program sees, as static assertions. Compiled with our windows.h and,
 * where mingw-w64 is present, with its windows.h (tests/house/headers_cxx.sh): both must agree.
 */
#ifndef NTMM_TEST_HEADERS_WINDOWS_H
#define NTMM_TEST_HEADERS_WINDOWS_H

#include <stddef.h>

#include <windows.h>

#include <psapi.h>

#ifdef __cplusplus
#define HOLDS(Expression) static_assert(Expression, #Expression)
#else
#define HOLDS(Expression) _Static_assert(Expression, #Expression)
#endif

HOLDS(sizeof(DWORD) == 4 && sizeof(BOOL) == 4 && sizeof(SIZE_T) == 8 && sizeof(WCHAR) == 2);
HOLDS(sizeof(SYSTEM_INFO) == 48 && offsetof(SYSTEM_INFO, dwAllocationGranularity) == 40);
HOLDS(sizeof(MEMORYSTATUSEX) == 64);
HOLDS(sizeof(MEMORY_BASIC_INFORMATION) == 48 && offsetof(MEMORY_BASIC_INFORMATION, State) == 32);
HOLDS(sizeof(PROCESS_MEMORY_COUNTERS) == 72 && sizeof(PROCESS_MEMORY_COUNTERS_EX) == 80);
HOLDS(sizeof(PERFORMANCE_INFORMATION) == 104);
HOLDS(sizeof(PSAPI_WORKING_SET_EX_INFORMATION) == 16 && sizeof(PSAPI_WORKING_SET_INFORMATION) == 16);
HOLDS(sizeof(WIN32_MEMORY_RANGE_ENTRY) == 16);
HOLDS(sizeof(EXCEPTION_RECORD) == 0x98 && sizeof(CONTEXT) == 0x4D0);
HOLDS(EXCEPTION_ACCESS_VIOLATION == 0xC0000005u && STATUS_GUARD_PAGE_VIOLATION == 0x80000001u);
HOLDS(ERROR_INVALID_ADDRESS == 487 && ERROR_COMMITMENT_LIMIT == 1455 && ERROR_NOACCESS == 998);
HOLDS(ERROR_WORKING_SET_QUOTA == 1453 && ERROR_NOT_LOCKED == 158 && ERROR_PARTIAL_COPY == 299);
HOLDS(MEM_RESET_UNDO == 0x1000000 && MEM_WRITE_WATCH == 0x200000 && PAGE_EXECUTE_WRITECOPY == 0x80);
HOLDS(QUOTA_LIMITS_HARDWS_MAX_ENABLE == 4 && WAIT_TIMEOUT == 258 && LowMemoryResourceNotification == 0);
HOLDS(PROCESS_ALL_ACCESS == 0x1FFFFF && SECTION_ALL_ACCESS == 0xF001F);

/* Each function under its documented signature: what a program relies on when it takes an address. */
static inline int ntmm_test_signatures(void)
{
    LPVOID(WINAPI * allocate)(LPVOID, SIZE_T, DWORD, DWORD) = VirtualAlloc;
    BOOL(WINAPI * protect)(LPVOID, SIZE_T, DWORD, PDWORD) = VirtualProtect;
    SIZE_T(WINAPI * query)(LPCVOID, PMEMORY_BASIC_INFORMATION, SIZE_T) = VirtualQuery;
    UINT(WINAPI * watch)(DWORD, PVOID, SIZE_T, PVOID *, ULONG_PTR *, LPDWORD) = GetWriteWatch;
    BOOL(WINAPI * read)(HANDLE, LPCVOID, LPVOID, SIZE_T, SIZE_T *) = ReadProcessMemory;
    BOOL(WINAPI * limits)(HANDLE, SIZE_T, SIZE_T, DWORD) = SetProcessWorkingSetSizeEx;
    BOOL(WINAPI * counters)(HANDLE, PPROCESS_MEMORY_COUNTERS, DWORD) = GetProcessMemoryInfo;
    HANDLE(WINAPI * notify)(MEMORY_RESOURCE_NOTIFICATION_TYPE) = CreateMemoryResourceNotification;
    PVOID(WINAPI * handler)(ULONG, PVECTORED_EXCEPTION_HANDLER) = AddVectoredExceptionHandler;

    return allocate != 0 && protect != 0 && query != 0 && watch != 0 && read != 0 && limits != 0 &&
           counters != 0 && notify != 0 && handler != 0;
}

#endif
