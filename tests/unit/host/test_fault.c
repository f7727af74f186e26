/* SPDX-License-Identifier: MIT */
/*
 * Faults of native code: what a guarded call gets to see, who is asked in which order, that the handler nests, and that
 * what does not concern NT reaches whoever had the signal before.
 */
#include "host_test.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static PFN_NUMBER Top;

__attribute__((noinline)) static VOID ReadAt(PVOID Address)
{
    (void)READ64(Address);
}

__attribute__((noinline)) static VOID WriteAt(PVOID Address)
{
    READ64(Address) = 1;
}

__attribute__((noinline)) static VOID ExecuteAt(PVOID Address)
{
    ((void (*)(void))(ULONG_PTR)Address)();
}

__attribute__((noinline)) static VOID WriteFarAway(PVOID Address)
{
    /* An address that no processor takes. Through inline assembly, so that no sanitizer computes a shadow of it. */
    __asm__ volatile("movq $1, (%0)" : : "r"(Address) : "memory");
}

static void CheckRecord(VOID (*Routine)(PVOID), ULONG_PTR Address, ULONG Kind, ULONG_PTR Reported)
{
    EXCEPTION_RECORD Record;

    memset(&Record, 0xcc, sizeof(Record));
    assert_int_equal(HostGuardedCall(Routine, (PVOID)Address, &Record), STATUS_ACCESS_VIOLATION);
    assert_int_equal(Record.ExceptionCode, STATUS_ACCESS_VIOLATION);
    assert_int_equal(Record.NumberParameters, 2);
    assert_true(Record.ExceptionInformation[0] == Kind);
    assert_true(Record.ExceptionInformation[1] == Reported);
    assert_null(Record.ExceptionRecord);
    if (Kind == 8)
    {
        assert_true((ULONG_PTR)Record.ExceptionAddress == Address);
    }
    else
    {
        assert_in_range((ULONG_PTR)Record.ExceptionAddress, (ULONG_PTR)Routine, (ULONG_PTR)Routine + 512);
    }
}

static void a_guarded_call_gets_the_record_back(void **State)
{
    (void)State;
    Top = TestStartSpace(NULL);
    assert_int_equal(HostGuardedCall(ReadAt, &Top, NULL), STATUS_SUCCESS);
    CheckRecord(ReadAt, BASE + 8, 0, BASE + 8);
    assert_int_equal(TestLastFaultStatus, 0);
    CheckRecord(WriteAt, BASE + 16, 1, BASE + 16);
    assert_int_equal(TestLastFaultStatus, PORT_FAULT_WRITE);
    CheckRecord(ExecuteAt, BASE + 32, 8, BASE + 32);
    assert_int_equal(TestLastFaultStatus, PORT_FAULT_EXECUTE);
    assert_int_equal(TestFaults, 3);

    /* Denied by a valid PTE: the present bit says so. */
    TestMap(Top, BASE, TestAllocateFrame(), PRESENT | USER | NOEXEC);
    assert_int_equal(HostGuardedCall(ReadAt, (PVOID)BASE, NULL), STATUS_SUCCESS);
    CheckRecord(WriteAt, BASE, 1, BASE);
    assert_int_equal(TestLastFaultStatus, PORT_FAULT_PRESENT | PORT_FAULT_WRITE);
    CheckRecord(ExecuteAt, BASE, 8, BASE);
    assert_int_equal(TestLastFaultStatus, PORT_FAULT_PRESENT | PORT_FAULT_EXECUTE);
    TestStopSpace();
}

static void some_addresses_are_violations_without_asking(void **State)
{
    (void)State;
    Top = TestStartSpace(NULL);
#if !NTMM_ASAN && !NTMM_TSAN
    CheckRecord(ReadAt, 16, 0, 16);
    CheckRecord(WriteAt, 0xfff8, 1, 0xfff8);
#endif
    CheckRecord(WriteFarAway, 0x8000, 1, 0x8000);
    CheckRecord(WriteFarAway, 0xdead000000000000ull, 0, ~(ULONG_PTR)0);
    CheckRecord(WriteFarAway, 0xffff800000000000ull, 1, 0xffff800000000000ull);
    assert_int_equal(TestFaults, 0);
    TestStopSpace();
}

static void a_wild_pointer_of_a_client_is_an_exception(void **State)
{
    PUCHAR Unmapped = mmap(NULL, PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    (void)State;
    Top = TestStartSpace(NULL);
    munmap(Unmapped, PAGE_SIZE);
    TestThread.CurrentMode = UserMode;
    CheckRecord(WriteFarAway, (ULONG_PTR)Unmapped, 1, (ULONG_PTR)Unmapped);
    TestThread.CurrentMode = KernelMode;
    TestStopSpace();
}

static void user_mode_does_not_reach_supervisor_pages(void **State)
{
    (void)State;
    Top = TestStartSpace(NULL);
    PortSetSystemSpace(Top);
    TestMap(Top, SYSTEM_BASE, TestAllocateFrame(), PRESENT | WRITABLE | NOEXEC);
    TestThread.CurrentMode = UserMode;
    CheckRecord(WriteAt, SYSTEM_BASE, 1, SYSTEM_BASE);
    assert_int_equal(TestLastFaultStatus, PORT_FAULT_PRESENT | PORT_FAULT_WRITE | PORT_FAULT_USER);
    TestThread.CurrentMode = KernelMode;
    assert_int_equal(HostGuardedCall(WriteAt, (PVOID)SYSTEM_BASE, NULL), STATUS_SUCCESS);
    PortSetSystemSpace(0);
    TestStopSpace();
}

/* Demand zero, as simple as can be. Touches pageable system memory itself: the handler has to nest. */
static NTSTATUS DemandZero(ULONG FaultStatus, ULONG_PTR Address)
{
    (void)FaultStatus;
    if (HostIsUserAddress(Address))
    {
        READ64(SYSTEM_BASE + (Address & 0xff000)) += 1;
    }
    TestMap(Top, Address & ~(ULONG_PTR)0xfff, TestAllocateFrame(), USER_DATA);
    errno = 4711;
    return STATUS_SUCCESS;
}

static void faults_nest_and_keep_errno(void **State)
{
    ULONG Index;

    (void)State;
    Top = TestStartSpace(NULL);
    PortSetSystemSpace(Top);
    TestResolver = DemandZero;
    errno = 33;
    for (Index = 0; Index < 100; Index += 1)
    {
        READ64(BASE + Index * PAGE_SIZE) = Index;
    }
    assert_int_equal(errno, 33);
    for (Index = 0; Index < 100; Index += 1)
    {
        assert_true(READ64(BASE + Index * PAGE_SIZE) == Index);
        assert_true(READ64(SYSTEM_BASE + Index * PAGE_SIZE) == 1);
    }
    assert_int_equal(TestFaults, 200);
    PortSetSystemSpace(0);
    TestStopSpace();
}

static NTSTATUS FailsInside(ULONG FaultStatus, ULONG_PTR Address)
{
    EXCEPTION_RECORD Record;

    (void)FaultStatus;
    if (Address == BASE)
    {
        /* A guarded access inside the fault handler, and an exception through two of its activations. */
        assert_int_equal(HostGuardedCall(ReadAt, (PVOID)(BASE + PAGE_SIZE), &Record),
                         STATUS_ACCESS_VIOLATION);
        assert_true(Record.ExceptionInformation[1] == BASE + PAGE_SIZE);
        (void)READ64(BASE + 2 * PAGE_SIZE);
    }
    return STATUS_ACCESS_VIOLATION;
}

static void an_exception_leaves_nested_handlers(void **State)
{
    ULONG Index;

    (void)State;
    Top = TestStartSpace(NULL);
    TestResolver = FailsInside;
    for (Index = 0; Index < 3000; Index += 1)
    {
        EXCEPTION_RECORD Record;

        assert_int_equal(HostGuardedCall(ReadAt, (PVOID)BASE, &Record), STATUS_ACCESS_VIOLATION);
        assert_true(Record.ExceptionInformation[1] == BASE + 2 * PAGE_SIZE);
        assert_int_equal(TestThread.FaultDepth, 0);
    }
    TestMap(Top, BASE + 3 * PAGE_SIZE, TestAllocateFrame(), USER_DATA);
    READ64(BASE + 3 * PAGE_SIZE) = 5;
    TestStopSpace();
}

static ULONG HookCalls;
static NTSTATUS HookCode;
static ULONG64 HookRip;
static ULONG HookDepth;

static VOID Hook(const HOST_UNHANDLED_EXCEPTION *Exception)
{
    HookCalls += 1;
    HookCode = (NTSTATUS)Exception->Record->ExceptionCode;
    HookRip = Exception->Registers->Rip;
    HookDepth = Exception->BackTraceCount;
    assert_true((ULONG64)Exception->BackTrace[0] == HookRip);
}

static SIZE_T ReportLength;
static char Report[8192];

static VOID CatchReport(PCSTR Text, SIZE_T Length)
{
    if (ReportLength + Length < sizeof(Report))
    {
        memcpy(Report + ReportLength, Text, Length);
        ReportLength += Length;
    }
}

static void an_exception_that_reaches_the_base_frame_is_reported(void **State)
{
    KI_EXCEPTION_FRAME Frame;

    (void)State;
    Top = TestStartSpace(NULL);
    HostUnhandledExceptionHook = Hook;
    assert_int_equal(HostGuardedCall(ReadAt, (PVOID)BASE, NULL), STATUS_ACCESS_VIOLATION);
    assert_int_equal(HookCalls, 0);
    if (KiTry(&Frame))
    {
        Frame.Base = TRUE;
        ReadAt((PVOID)BASE);
        assert_true(FALSE);
    }
    assert_int_equal(HookCalls, 1);
    assert_int_equal(HookCode, STATUS_ACCESS_VIOLATION);
    assert_in_range(HookRip, (ULONG64)(ULONG_PTR)ReadAt, (ULONG64)(ULONG_PTR)ReadAt + 512);
    assert_true(HookDepth >= 2);

    HostUnhandledExceptionHook = NULL;
    HostDebugPrintHook = CatchReport;
    if (KiTry(&Frame))
    {
        Frame.Base = TRUE;
        WriteAt((PVOID)(BASE + 0x123458));
        assert_true(FALSE);
    }
    HostDebugPrintHook = NULL;
    Report[ReportLength] = 0;
    assert_non_null(strstr(Report, "unhandled exception 0xC0000005"));
    assert_non_null(strstr(Report, "writing address 0x"));
    assert_non_null(strstr(Report, "rip "));
    assert_non_null(strstr(Report, "#1 "));
    TestStopSpace();
}

/* Runs Routine in a child; returns how it ended. */
static int InChild(void (*Routine)(void))
{
    int Status = 0;
    pid_t Child = fork();

    assert_true(Child >= 0);
    if (Child == 0)
    {
        if (freopen("/dev/null", "w", stderr) == NULL)
        {
            _exit(0);
        }
        Routine();
        _exit(0);
    }
    assert_int_equal(waitpid(Child, &Status, 0), Child);
    return Status;
}

static void TouchForeignMemory(void)
{
    PUCHAR Memory = mmap(NULL, PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    *(volatile UCHAR *)Memory = 1;
}

static void SendTheSignal(void)
{
    raise(SIGSEGV);
}

static void FaultWithoutFrame(void)
{
    (void)READ64(BASE + 0x5000);
}

static VOID MyHandler(int Signal)
{
    (void)Signal;
    _exit(77);
}

static void real_bugs_of_the_process_still_end_it(void **State)
{
    struct sigaction Default = { .sa_handler = SIG_DFL }, Old;
    int Status;

    (void)State;
    sigaction(SIGSEGV, &Default, &Old); /* cmocka has a handler of its own */
    Top = TestStartSpace(NULL);
    Status = InChild(TouchForeignMemory);
    assert_true(WIFSIGNALED(Status) ? WTERMSIG(Status) == SIGSEGV : WEXITSTATUS(Status) != 0);
    Status = InChild(SendTheSignal);
    assert_true(WIFSIGNALED(Status) ? WTERMSIG(Status) == SIGSEGV : WEXITSTATUS(Status) != 0);
    Status = InChild(FaultWithoutFrame);
    assert_true(WIFSIGNALED(Status) ? WTERMSIG(Status) == SIGABRT : WEXITSTATUS(Status) != 0);
    TestStopSpace();
    sigaction(SIGSEGV, &Old, NULL);
}

static void an_older_handler_gets_what_is_not_ours(void **State)
{
    struct sigaction Mine = { .sa_handler = MyHandler }, Old;
    int Status;

    (void)State;
    sigaction(SIGSEGV, &Mine, &Old);
    Top = TestStartSpace(NULL);
    Status = InChild(TouchForeignMemory);
    assert_true(WIFEXITED(Status));
    assert_int_equal(WEXITSTATUS(Status), 77);
    TestStopSpace();
    sigaction(SIGSEGV, &Old, &Mine);
    assert_true(Mine.sa_handler == MyHandler);
}

static void without_a_space_there_is_no_user_memory(void **State)
{
    (void)State;
    TestStart(NULL);
    CheckRecord(ReadAt, BASE, 0, BASE);
    assert_int_equal(TestFaults, 0);
    TestStop();
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(a_guarded_call_gets_the_record_back),
        cmocka_unit_test(some_addresses_are_violations_without_asking),
        cmocka_unit_test(a_wild_pointer_of_a_client_is_an_exception),
        cmocka_unit_test(user_mode_does_not_reach_supervisor_pages),
        cmocka_unit_test(faults_nest_and_keep_errno),
        cmocka_unit_test(an_exception_leaves_nested_handlers),
        cmocka_unit_test(an_exception_that_reaches_the_base_frame_is_reported),
        cmocka_unit_test(real_bugs_of_the_process_still_end_it),
        cmocka_unit_test(an_older_handler_gets_what_is_not_ours),
        cmocka_unit_test(without_a_space_there_is_no_user_memory),
    };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
