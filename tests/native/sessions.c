/* SPDX-License-Identifier: MIT */
/*
 * Sessions from outside: processes of two sessions, whose driver keeps its records in session pool, at the same addresses in both, while
 * memory is short and their processes take turns. Source: Windows Internals, 7th ed., part 1, chapter 5, "Session space".
 */
#include "native_test.h"
#include "ntddk.h"
#include "port.h"

#define TAG     0x31736553u
#define RECORDS 1500u
#define BYTES   4000u

/* What the driver knows of each session: shared by all of its processes. */
typedef struct _DRIVER_SESSION
{
    PULONG Records[RECORDS];
    ULONG Sum;
} DRIVER_SESSION;

static DRIVER_SESSION Sessions[2];

/* ---- The driver: kernel mode, in the process that calls ------------------------------------------------------------ */

static NTSTATUS DriverFill(PVOID Context)
{
    DRIVER_SESSION *Session = Context;
    ULONG Number = (ULONG)(Session - Sessions);

    for (ULONG Index = 0; Index < RECORDS; Index++)
    {
        Session->Records[Index] = ExAllocatePoolWithTag(PagedPoolSession, BYTES, TAG);
        if (Session->Records[Index] == NULL)
        {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        for (ULONG Word = 0; Word < BYTES / sizeof(ULONG); Word++)
        {
            Session->Records[Index][Word] = Number << 28 | Index << 12 | Word;
        }
    }
    return STATUS_SUCCESS;
}

static NTSTATUS DriverCheck(PVOID Context)
{
    DRIVER_SESSION *Session = Context;
    ULONG Number = (ULONG)(Session - Sessions);

    for (ULONG Index = 0; Index < RECORDS; Index++)
    {
        for (ULONG Word = 0; Word < BYTES / sizeof(ULONG); Word++)
        {
            if (Session->Records[Index][Word] != (Number << 28 | Index << 12 | Word))
            {
                return STATUS_DATA_ERROR;
            }
        }
    }
    return STATUS_SUCCESS;
}

static NTSTATUS DriverFree(PVOID Context)
{
    DRIVER_SESSION *Session = Context;

    for (ULONG Index = 0; Index < RECORDS; Index++)
    {
        ExFreePoolWithTag(Session->Records[Index], TAG);
    }
    return STATUS_SUCCESS;
}

/* ---- Programs: user mode -------------------------------------------------------------------------------------------- */

static NTSTATUS Fill(PVOID Context)
{
    return NtmmCallKernel(DriverFill, Context);
}

static NTSTATUS Check(PVOID Context)
{
    PROCESS_SESSION_INFORMATION Information = { 0 };
    NTSTATUS Status = NtQueryInformationProcess(NtCurrentProcess(), ProcessSessionInformation, &Information,
                                                sizeof(Information), NULL);

    if (!NT_SUCCESS(Status) || Information.SessionId != (DRIVER_SESSION *)Context - Sessions + 1)
    {
        return STATUS_INVALID_SESSION;
    }
    for (ULONG Round = 0; Round < 3 && NT_SUCCESS(Status); Round++)
    {
        Status = NtmmCallKernel(DriverCheck, Context);
    }
    return Status;
}

static NTSTATUS Free(PVOID Context)
{
    return NtmmCallKernel(DriverFree, Context);
}

static PEPROCESS Member(ULONG Number)
{
    PEPROCESS Process;

    assert_int_equal(NtmmCreateProcessInSession("member", Number, &Process), STATUS_SUCCESS);
    return Process;
}

static void two_sessions_share_memory_but_nothing_in_it(void **state)
{
    PEPROCESS Processes[4];
    PNTMM_THREAD Threads[4];

    (void)state;
    NativeBoot(8, 2, 64);
    for (ULONG Index = 0; Index < 4; Index++)
    {
        Processes[Index] = Member(Index % 2 + 1);
    }
    NativeRun(Processes[0], Fill, &Sessions[0]);
    NativeRun(Processes[1], Fill, &Sessions[1]);
    assert_ptr_equal(Sessions[0].Records[0], Sessions[1].Records[0]);
    for (ULONG Index = 0; Index < 4; Index++)
    {
        NTMM_THREAD_PARAMETERS Parameters = { .Size = sizeof(Parameters),
                                              .Routine = Check,
                                              .Context = &Sessions[Index % 2] };

        assert_int_equal(NtmmCreateThread(Processes[Index], &Parameters, &Threads[Index]), STATUS_SUCCESS);
    }
    for (ULONG Index = 0; Index < 4; Index++)
    {
        NTSTATUS ExitStatus = STATUS_PENDING;

        assert_int_equal(NtmmJoinThread(Threads[Index], &ExitStatus), STATUS_SUCCESS);
        assert_int_equal(ExitStatus, STATUS_SUCCESS);
    }
    NativeForgetText();
    NtmmShowSessions(NativePrint, NULL);
    assert_non_null(strstr(NativeText, "SessionId: 1"));
    assert_non_null(strstr(NativeText, "SessionId: 2"));
    assert_non_null(strstr(NativeText, "Pool Ses1  Paged 1500 blocks"));
    NtmmShowProcesses(NativePrint, NULL);
    assert_non_null(strstr(NativeText, "SessionId: 2  Cid:"));
    NativeRun(Processes[2], Free, &Sessions[0]); /* not the process that allocated, but of its session */
    NativeRun(Processes[3], Free, &Sessions[1]);
    for (ULONG Index = 0; Index < 4; Index++)
    {
        NtmmCloseProcess(Processes[Index]);
    }
    NativeForgetText();
    NtmmShowSessions(NativePrint, NULL);
    assert_non_null(strstr(NativeText, "no sessions"));
    NativeShutdown();
}

static void a_number_that_is_none_is_refused(void **state)
{
    PEPROCESS Process = NULL;

    (void)state;
    NativeBoot(8, 1, 0);
    assert_int_equal(NtmmCreateProcessInSession("none", ~0u, &Process), STATUS_INVALID_PARAMETER);
    assert_null(Process);
    NativeShutdown();
}

int main(void)
{
    const struct CMUnitTest Tests[] = { cmocka_unit_test(two_sessions_share_memory_but_nothing_in_it),
                                        cmocka_unit_test(a_number_that_is_none_is_refused) };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
