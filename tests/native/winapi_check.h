/* SPDX-License-Identifier: MIT */
/*
 * Checks of the Windows API that only run natively, because Wine differs from the documentation there: each
 * names its page on Microsoft Learn. They run as user-mode code of an NT process, where cmocka's jumps must
 * not pass, so a check that fails is printed and counted, and the test looks at the count.
 */
#ifndef NTMM_TESTS_NATIVE_WINAPI_CHECK_H
#define NTMM_TESTS_NATIVE_WINAPI_CHECK_H

/* In this order: nt/winapi.h leaves the status codes to nt/ntstatus.h. */
#include "nt/windef.h"

#include "nt/ntstatus.h"

#include <windows.h>

#include <psapi.h>

#include "ntmm.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define PAGE 4096u

/* Threads of a program check at the same time. */
static unsigned CheckCount;
static unsigned CheckFailures;

#define CHECK(Condition)                                                                                     \
    do                                                                                                       \
    {                                                                                                        \
        __atomic_fetch_add(&CheckCount, 1, __ATOMIC_RELAXED);                                                \
        if (!(Condition))                                                                                    \
        {                                                                                                    \
            __atomic_fetch_add(&CheckFailures, 1, __ATOMIC_RELAXED);                                         \
            fprintf(stderr, "%s:%d: %s (last error %u)\n", __FILE__, __LINE__, #Condition, GetLastError());  \
        }                                                                                                    \
    } while (0)

/* A call that fails (its value is 0) with this error. */
#define CHECK_ERROR(Call, Error)                                                                             \
    do                                                                                                       \
    {                                                                                                        \
        SetLastError(0);                                                                                     \
        CHECK((Call) == 0 && GetLastError() == (Error));                                                     \
    } while (0)

static inline DWORD ProtectOf(const void *Address)
{
    MEMORY_BASIC_INFORMATION Information;

    return VirtualQuery(Address, &Information, sizeof(Information)) == sizeof(Information)
               ? Information.Protect
               : 0;
}

static inline DWORD StateOf(const void *Address)
{
    MEMORY_BASIC_INFORMATION Information;

    return VirtualQuery(Address, &Information, sizeof(Information)) == sizeof(Information) ? Information.State
                                                                                           : 0;
}

/* Whether the page is in the working set. */
static inline int IsResident(void *Address)
{
    PSAPI_WORKING_SET_EX_INFORMATION Information = { .VirtualAddress = Address };

    return QueryWorkingSetEx(GetCurrentProcess(), &Information, sizeof(Information)) &&
           Information.VirtualAttributes.Valid;
}

static inline char *Allocate(SIZE_T Pages)
{
    return VirtualAlloc(NULL, Pages * PAGE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
}

static inline NTSTATUS CallChecks(PVOID Context)
{
    (*(void (**)(void))Context)();
    return STATUS_SUCCESS;
}

/* Runs Checks in a process of a machine with so much RAM; nothing may be left when it goes down. */
static inline void RunChecks(void (*Checks)(void), unsigned Megabytes)
{
    NTMM_PARAMETERS Parameters = {
        .Size = sizeof(Parameters),
        .Processors = 2,
        .RamBytes = (ULONG64)Megabytes << 20,
        .PagingFileCount = 1,
        .PagingFiles = { { .Path = "\\\\.\\Memory\\winapi", .MinimumBytes = (ULONG64)128 << 20 } },
    };
    NTSTATUS ExitStatus = STATUS_PENDING;
    PEPROCESS Process;

    CheckCount = 0;
    CheckFailures = 0;
    assert_int_equal(NtmmBoot(&Parameters), STATUS_SUCCESS);
    assert_int_equal(NtmmCreateProcess("checks", &Process), STATUS_SUCCESS);
    assert_int_equal(NtmmRun(Process, CallChecks, &Checks, &ExitStatus), STATUS_SUCCESS);
    NtmmCloseProcess(Process);
    assert_int_equal(NtmmShutdown(), STATUS_SUCCESS);
    assert_int_not_equal(CheckCount, 0);
    assert_int_equal(CheckFailures, 0);
}

#endif
