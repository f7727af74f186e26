/* SPDX-License-Identifier: MIT */
/* Exceptions of native code: guarded calls get the exact record; what nobody handles ends the process and not the machine. */
#include "native_test.h"

#include "nt/wdm_ke.h"

/* ---- Guarded ------------------------------------------------------------------------------------------------------------ */

typedef struct _ACCESS_CASE
{
    PUCHAR Address;
    ULONG_PTR Kind;
} ACCESS_CASE;

static VOID Access(PVOID Context)
{
    const ACCESS_CASE *Case = Context;

    switch (Case->Kind)
    {
    case EXCEPTION_READ_FAULT:
        (void)*(volatile UCHAR *)Case->Address;
        break;
    case EXCEPTION_WRITE_FAULT:
        *(volatile UCHAR *)Case->Address = 1;
        break;
    default:
        ((VOID(*)(VOID))(ULONG_PTR)Case->Address)();
        break;
    }
}

static NTSTATUS Try(PVOID Address, ULONG_PTR Kind, PEXCEPTION_RECORD Record)
{
    ACCESS_CASE Case = { Address, Kind };

    memset(Record, 0xcc, sizeof(*Record));
    return NtmmGuardedCall(Access, &Case, Record);
}

static BOOLEAN Is(const EXCEPTION_RECORD *Record, NTSTATUS Code, ULONG_PTR Kind, PVOID Address)
{
    return (NTSTATUS)Record->ExceptionCode == Code && Record->NumberParameters == 2 &&
           Record->ExceptionInformation[0] == Kind && Record->ExceptionInformation[1] == (ULONG_PTR)Address &&
           Record->ExceptionFlags == 0 && Record->ExceptionRecord == NULL;
}

static NTSTATUS GuardedMain(PVOID Context)
{
    EXCEPTION_RECORD Record;
    PUCHAR Page = NativeAllocate(4 * PAGE_SIZE, PAGE_READWRITE);
    PVOID Base = Page + PAGE_SIZE;
    SIZE_T Size = PAGE_SIZE;
    ULONG Old;

    (void)Context;
    CHECK(Try(Page, EXCEPTION_WRITE_FAULT, &Record) == STATUS_SUCCESS && *Page == 1);
    CHECK(Try(Page + 4 * PAGE_SIZE, EXCEPTION_READ_FAULT, &Record) == STATUS_ACCESS_VIOLATION);
    CHECK(Is(&Record, STATUS_ACCESS_VIOLATION, EXCEPTION_READ_FAULT, Page + 4 * PAGE_SIZE));
    CHECK(Try(NULL, EXCEPTION_WRITE_FAULT, &Record) == STATUS_ACCESS_VIOLATION);
    CHECK(Is(&Record, STATUS_ACCESS_VIOLATION, EXCEPTION_WRITE_FAULT, NULL));
    CHECK(Try(Page + 5, EXCEPTION_EXECUTE_FAULT, &Record) == STATUS_ACCESS_VIOLATION);
    CHECK(Is(&Record, STATUS_ACCESS_VIOLATION, EXCEPTION_EXECUTE_FAULT, Page + 5));
    CHECK(Record.ExceptionAddress == Page + 5);

    CHECK(NtProtectVirtualMemory(NtCurrentProcess(), &Base, &Size, PAGE_READONLY, &Old) == STATUS_SUCCESS);
    CHECK(Try(Page + PAGE_SIZE + 7, EXCEPTION_READ_FAULT, &Record) == STATUS_SUCCESS);
    CHECK(Try(Page + PAGE_SIZE + 7, EXCEPTION_WRITE_FAULT, &Record) == STATUS_ACCESS_VIOLATION);
    CHECK(Is(&Record, STATUS_ACCESS_VIOLATION, EXCEPTION_WRITE_FAULT, Page + PAGE_SIZE + 7));

    CHECK(NtProtectVirtualMemory(NtCurrentProcess(), &Base, &Size, PAGE_READWRITE | PAGE_GUARD, &Old) ==
          STATUS_SUCCESS);
    CHECK(Try(Page + PAGE_SIZE + 9, EXCEPTION_READ_FAULT, &Record) == STATUS_GUARD_PAGE_VIOLATION);
    CHECK(Is(&Record, STATUS_GUARD_PAGE_VIOLATION, EXCEPTION_READ_FAULT, Page + PAGE_SIZE + 9));
    CHECK(Try(Page + PAGE_SIZE + 9, EXCEPTION_READ_FAULT, &Record) == STATUS_SUCCESS);
    return 0x600D;
}

static void guarded_calls_get_the_exact_record(void **state)
{
    NTSTATUS ExitStatus;
    PEPROCESS Process;

    (void)state;
    NativeBoot(8, 1, 0);
    Process = NativeProcess("guarded");
    assert_int_equal(NtmmRun(Process, GuardedMain, NULL, &ExitStatus), STATUS_SUCCESS);
    assert_int_equal(ExitStatus, 0x600D);
    assert_string_equal(NativeText, "");
    NtmmCloseProcess(Process);
    NativeShutdown();
}

static VOID RaiseInside(PVOID Context)
{
    ExRaiseStatus(*(PNTSTATUS)Context);
}

static VOID CallGuardedInside(PVOID Context)
{
    NTSTATUS Inner = STATUS_DATATYPE_MISALIGNMENT;

    if (NtmmGuardedCall(RaiseInside, &Inner, NULL) == Inner)
    {
        ExRaiseStatus(*(PNTSTATUS)Context);
    }
}

static NTSTATUS NestedMain(PVOID Context)
{
    NTSTATUS Outer = STATUS_NO_MEMORY;

    (void)Context;
    return NtmmGuardedCall(CallGuardedInside, &Outer, NULL) == Outer ? 7 : 8;
}

static void guarded_calls_nest(void **state)
{
    NTSTATUS ExitStatus;
    PEPROCESS Process;

    (void)state;
    NativeBoot(8, 1, 0);
    Process = NativeProcess("nested");
    assert_int_equal(NtmmRun(Process, NestedMain, NULL, &ExitStatus), STATUS_SUCCESS);
    assert_int_equal(ExitStatus, 7);
    NtmmCloseProcess(Process);
    NativeShutdown();
}

/* ---- Unhandled ---------------------------------------------------------------------------------------------------------- */

static __attribute__((noinline)) VOID CrashHere(volatile UCHAR *Address)
{
    *Address = 1;
    __asm__ volatile("" ::: "memory"); /* no tail call: the caller belongs to the back trace */
}

static __attribute__((noinline)) NTSTATUS CrashMain(PVOID Context)
{
    PUCHAR First = NativeAllocate(PAGE_SIZE, PAGE_READONLY);

    (void)Context;
    NativeAllocate(64 * 1024, PAGE_READWRITE);
    CrashHere(First + 0x123);
    return STATUS_SUCCESS;
}

static NTSTATUS WorkMain(PVOID Context)
{
    PULONG Numbers = NativeAllocate(MIB, PAGE_READWRITE);

    for (ULONG Index = 0; Index < MIB / sizeof(ULONG); Index++)
    {
        Numbers[Index] = Index ^ (ULONG)(ULONG_PTR)Context;
    }
    for (ULONG Index = 0; Index < MIB / sizeof(ULONG); Index++)
    {
        CHECK(Numbers[Index] == (Index ^ (ULONG)(ULONG_PTR)Context));
    }
    return 0x600D;
}

static void an_unhandled_exception_ends_the_process_only(void **state)
{
    PEPROCESS Good, Bad;
    NTSTATUS ExitStatus;

    (void)state;
    NativeBoot(16, 2, 0);
    Good = NativeProcess("good");
    Bad = NativeProcess("bad");
    assert_int_equal(NtmmRun(Bad, CrashMain, NULL, &ExitStatus), STATUS_UNHANDLED_EXCEPTION);
    assert_int_equal(ExitStatus, STATUS_ACCESS_VIOLATION);
    assert_int_equal(NtmmQueryExitStatus(Bad), STATUS_ACCESS_VIOLATION);
    assert_int_equal(NtmmQueryExitStatus(Good), STATUS_PENDING);
    assert_int_equal(NtmmRun(Good, WorkMain, (PVOID)5, &ExitStatus), STATUS_SUCCESS);
    assert_int_equal(ExitStatus, 0x600D);
    assert_int_equal(NtmmRun(Bad, WorkMain, NULL, &ExitStatus), STATUS_PROCESS_IS_TERMINATING);
    assert_int_equal(ExitStatus, STATUS_ACCESS_VIOLATION);
    NtmmCloseProcess(Bad);
    NtmmCloseProcess(Good);
    NativeShutdown();
}

static void the_report_says_what_happened_where(void **state)
{
    PEPROCESS Process;

    (void)state;
    NativeBoot(8, 1, 0);
    Process = NativeProcess("reported");
    assert_int_equal(NtmmRun(Process, CrashMain, NULL, NULL), STATUS_UNHANDLED_EXCEPTION);
    assert_non_null(strstr(NativeText, "process reported"));
    assert_non_null(strstr(NativeText, "STATUS_ACCESS_VIOLATION (0xC0000005)"));
    assert_non_null(strstr(NativeText, "writing address 0x"));
    assert_non_null(strstr(NativeText, "PAGE_READONLY; allocated at"));
    assert_non_null(strstr(NativeText, "4 KiB, committed"));
    assert_non_null(strstr(NativeText, "next below  nothing"));
    assert_non_null(strstr(NativeText, "next above  0x"));
    assert_non_null(strstr(NativeText, "rip 0"));
    assert_non_null(strstr(NativeText, "CrashHere+0x"));
    assert_non_null(strstr(NativeText, "CrashMain+0x"));
    assert_non_null(strstr(NativeText, "NtmmRun"));
    NtmmCloseProcess(Process);
    NativeShutdown();
}

/* ---- Several threads at once ---------------------------------------------------------------------------------------------- */

#define CRASHING_THREADS 4u

static volatile ULONG Arrived;

static NTSTATUS CrashTogether(PVOID Context)
{
    PUCHAR Page = Context;

    __atomic_fetch_add(&Arrived, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&Arrived, __ATOMIC_SEQ_CST) < CRASHING_THREADS)
    {
        NtYieldExecution();
    }
    CrashHere(Page);
    return STATUS_SUCCESS;
}

static ULONG CountText(PCSTR Text)
{
    ULONG Count = 0;

    for (PCSTR Found = NativeText; (Found = strstr(Found, Text)) != NULL; Found += strlen(Text))
    {
        Count++;
    }
    return Count;
}

static void threads_that_fail_together_give_one_report(void **state)
{
    PNTMM_THREAD Threads[CRASHING_THREADS];
    PEPROCESS Process;
    PSTR Start;

    (void)state;
    NativeBoot(16, CRASHING_THREADS, 0);
    for (ULONG Round = 0; Round < 8; Round++)
    {
        NativeForgetText();
        Arrived = 0;
        Process = NativeProcess("together");
        for (ULONG Index = 0; Index < CRASHING_THREADS; Index++)
        {
            NTMM_THREAD_PARAMETERS Parameters = { .Size = sizeof(Parameters),
                                                  .Processor = Index + 1,
                                                  .Routine = CrashTogether,
                                                  .Context = (PVOID)16 };

            assert_int_equal(NtmmCreateThread(Process, &Parameters, &Threads[Index]), STATUS_SUCCESS);
        }
        for (ULONG Index = 0; Index < CRASHING_THREADS; Index++)
        {
            NTSTATUS ExitStatus = STATUS_SUCCESS;

            NtmmJoinThread(Threads[Index], &ExitStatus);
            assert_int_equal(ExitStatus, STATUS_ACCESS_VIOLATION);
        }
        assert_int_equal(NtmmQueryExitStatus(Process), STATUS_ACCESS_VIOLATION);
        assert_int_equal(CountText("ends: unhandled exception"), 1);
        assert_int_equal(CountText("rip 0"), 1);
        assert_int_equal(CountText("  #0 "), 1);
        Start = strstr(NativeText, "ntmm: process together");
        assert_ptr_equal(Start, NativeText);
        NtmmCloseProcess(Process);
    }
    NativeShutdown();
}

static NTSTATUS RaiseMain(PVOID Context)
{
    (void)Context;
    ExRaiseStatus(STATUS_INSUFFICIENT_RESOURCES);
}

static void an_exception_that_a_function_raised_is_reported_too(void **state)
{
    PEPROCESS Process;
    NTSTATUS ExitStatus;

    (void)state;
    NativeBoot(8, 1, 0);
    Process = NativeProcess("raised");
    assert_int_equal(NtmmRun(Process, RaiseMain, NULL, &ExitStatus), STATUS_UNHANDLED_EXCEPTION);
    assert_int_equal(ExitStatus, STATUS_INSUFFICIENT_RESOURCES);
    assert_non_null(strstr(NativeText, "STATUS_INSUFFICIENT_RESOURCES"));
    NtmmCloseProcess(Process);
    NativeShutdown();
}

/* ---- Ending on purpose --------------------------------------------------------------------------------------------------- */

static NTSTATUS ExitMain(PVOID Context)
{
    NativeAllocate(MIB, PAGE_READWRITE);
    if (Context != NULL)
    {
        NtmmExitProcess(0x77);
    }
    return 0x11;
}

static void exit_process_does_not_come_back(void **state)
{
    PEPROCESS Process;
    NTSTATUS ExitStatus;

    (void)state;
    NativeBoot(8, 1, 0);
    Process = NativeProcess("exits");
    assert_int_equal(NtmmRun(Process, ExitMain, NULL, &ExitStatus), STATUS_SUCCESS);
    assert_int_equal(ExitStatus, 0x11);
    assert_int_equal(NtmmRun(Process, ExitMain, Process, &ExitStatus), STATUS_PROCESS_IS_TERMINATING);
    assert_int_equal(ExitStatus, 0x77);
    assert_string_equal(NativeText, "");
    NtmmCloseProcess(Process);
    NativeShutdown();
}

static NTSTATUS RunInsideMain(PVOID Context)
{
    return NtmmRun(Context, WorkMain, NULL, NULL);
}

static void run_is_not_for_user_mode(void **state)
{
    PEPROCESS Process;
    NTSTATUS ExitStatus;

    (void)state;
    NativeBoot(8, 1, 0);
    Process = NativeProcess("inside");
    assert_int_equal(NtmmRun(Process, RunInsideMain, Process, &ExitStatus), STATUS_SUCCESS);
    assert_int_equal(ExitStatus, STATUS_INVALID_DEVICE_STATE);
    NtmmCloseProcess(Process);
    NativeShutdown();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guarded_calls_get_the_exact_record),
        cmocka_unit_test(guarded_calls_nest),
        cmocka_unit_test(an_unhandled_exception_ends_the_process_only),
        cmocka_unit_test(the_report_says_what_happened_where),
        cmocka_unit_test(threads_that_fail_together_give_one_report),
        cmocka_unit_test(an_exception_that_a_function_raised_is_reported_too),
        cmocka_unit_test(exit_process_does_not_come_back),
        cmocka_unit_test(run_is_not_for_user_mode),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
