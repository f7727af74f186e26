/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the kernel room share: a machine with two processors around a test, threads, and a way to
 * catch the bug check that a statement must end in (the hook jumps out).
 */
#ifndef NTMM_TESTS_KE_TEST_H
#define NTMM_TESTS_KE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "host.h"
#include "host_thread.h"
#include "ke/ke.h"

#define TEST_PROCESSORS 2

static KTHREAD TestThread;

static __attribute__((unused)) void machine_up_with(BOOLEAN deterministic, ULONG64 seed)
{
    HOST_PARAMETERS host = { .RamBytes = 16 << 20,
                             .ProcessorCount = TEST_PROCESSORS,
                             .Deterministic = deterministic };
    KI_PARAMETERS parameters = { .Deterministic = deterministic, .Seed = seed };

    assert_int_equal(HostInitializeMachine(&host), STATUS_SUCCESS);
    assert_int_equal(KiInitializeSystem(&parameters, &TestThread), STATUS_SUCCESS);
}

static __attribute__((unused)) void machine_down(void)
{
    KiShutdownSystem(&TestThread);
    HostShutdownMachine();
}

static __attribute__((unused)) int setup_threaded(void **state)
{
    (void)state;
    machine_up_with(FALSE, 0);
    return 0;
}

static __attribute__((unused)) int setup_deterministic(void **state)
{
    (void)state;
    machine_up_with(TRUE, 42);
    return 0;
}

static __attribute__((unused)) int teardown(void **state)
{
    (void)state;
    machine_down();
    return 0;
}

/* NTMM_ITERATIONS makes the stress tests longer. */
static __attribute__((unused)) uint64_t iterations(uint64_t usual)
{
    const char *text = getenv("NTMM_ITERATIONS");

    return text != NULL ? strtoull(text, NULL, 0) : usual;
}

/* ---- Catching bug checks ------------------------------------------------------------------------------- */

static jmp_buf BugCheckJump;
static ULONG BugCheckCode;
static ULONG_PTR BugCheckParameters[4];
static char Printed[16384];
static size_t PrintedLength;

static __attribute__((unused)) void bug_check_hook(ULONG code, const ULONG_PTR parameters[4], PVOID context)
{
    (void)context;
    BugCheckCode = code;
    memcpy(BugCheckParameters, parameters, sizeof(BugCheckParameters));
    longjmp(BugCheckJump, 1);
}

static __attribute__((unused)) void capture_print(PCSTR text, SIZE_T length)
{
    if (length >= sizeof(Printed) - PrintedLength)
    {
        length = sizeof(Printed) - PrintedLength - 1;
    }
    memcpy(Printed + PrintedLength, text, length);
    PrintedLength += length;
    Printed[PrintedLength] = 0;
}

static __attribute__((unused)) void begin_capture(void)
{
    PrintedLength = 0;
    Printed[0] = 0;
    HostDebugPrintHook = capture_print;
}

#define EXPECT_BUG_CHECK(code, statement)                                                                    \
    do                                                                                                       \
    {                                                                                                        \
        begin_capture();                                                                                     \
        MiState.Ke->BugCheckHook = bug_check_hook;                                                           \
        if (setjmp(BugCheckJump) == 0)                                                                       \
        {                                                                                                    \
            statement;                                                                                       \
            HostDebugPrintHook = NULL;                                                                       \
            fail_msg("no bug check: %s", #statement);                                                        \
        }                                                                                                    \
        HostDebugPrintHook = NULL;                                                                           \
        MiState.Ke->BugCheckHook = NULL;                                                                     \
        KiResumeAfterBugCheck(&TestThread);                                                                  \
        assert_int_equal(BugCheckCode, code);                                                                \
    } while (0)

/* Sleeps the calling thread; for tests that must let others come to rest. */
static __attribute__((unused)) void sleep_milliseconds(int milliseconds)
{
    LARGE_INTEGER interval = { .QuadPart = -10000ll * milliseconds };

    KeDelayExecutionThread(KernelMode, FALSE, &interval);
}

static __attribute__((unused)) LARGE_INTEGER relative_milliseconds(int milliseconds)
{
    LARGE_INTEGER interval = { .QuadPart = -10000ll * milliseconds };

    return interval;
}

#endif
