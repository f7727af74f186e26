/* SPDX-License-Identifier: MIT */
/* Native threads: stacks in NT memory that grow and end, several threads that page, processes that take turns. */
#include "native_test.h"
#include "ke/ke.h"
#include "port.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>

static PNTMM_THREAD Start(PEPROCESS Process, NTMM_ROUTINE *Routine, PVOID Context, SIZE_T Reserve,
                          SIZE_T Commit)
{
    NTMM_THREAD_PARAMETERS Parameters = { .Size = sizeof(Parameters),
                                          .Routine = Routine,
                                          .Context = Context,
                                          .StackReserve = Reserve,
                                          .StackCommit = Commit };
    PNTMM_THREAD Thread = NULL;

    return NtmmCreateThread(Process, &Parameters, &Thread) == STATUS_SUCCESS ? Thread : NULL;
}

/* ---- Stacks in NT memory ------------------------------------------------------------------------------------------------ */

#if NTMM_TSAN
/* There threads do not run on NT memory; their stacks are used as memory by what would be called on them. */
#define ON_STACK(Local) ((PVOID)((PUCHAR)PortGetCurrentThread()->StackBase - 1))

static __attribute__((noinline)) ULONG Descend(ULONG Levels)
{
    volatile UCHAR *Top = PortGetCurrentThread()->StackBase;
    ULONG Level;

    for (Level = 1; Level <= Levels; Level++)
    {
        Top[-1536 * (LONG_PTR)Level] = (UCHAR)Level;
    }
    while (--Level != 0 && Top[-1536 * (LONG_PTR)Level] == (UCHAR)Level)
    {
    }
    return Level == 0 ? Levels : ~0u;
}
#else
#define ON_STACK(Local) ((PVOID)(Local))

/* Uses about 1.5 KiB a level: no frame jumps over the guard page. */
static __attribute__((noinline)) ULONG Descend(ULONG Levels)
{
    volatile UCHAR Room[1024];

    for (ULONG Index = 0; Index < sizeof(Room); Index += 64)
    {
        Room[Index] = (UCHAR)Levels;
    }
    if (Levels != 0 && Descend(Levels - 1) != Levels - 1)
    {
        return ~0u;
    }
    return Room[0] == (UCHAR)Levels && Room[960] == (UCHAR)Levels ? Levels : ~0u;
}
#endif

typedef struct _STACK_TEST
{
    ULONG Levels;
    ULONG_PTR Here;
    SIZE_T CommitBefore, CommitAfter;
} STACK_TEST;

static SIZE_T CommittedStack(PVOID Address)
{
    MEMORY_REGION_INFORMATION Region;

    return NT_SUCCESS(NtQueryVirtualMemory(NtCurrentProcess(), Address, MemoryRegionInformation, &Region,
                                           sizeof(Region), NULL))
               ? Region.CommitSize
               : 0;
}

static NTSTATUS StackMain(PVOID Context)
{
    STACK_TEST *Test = Context;
    ULONG Local = 0;

    Test->Here = (ULONG_PTR)ON_STACK(&Local);
    Test->CommitBefore = CommittedStack(ON_STACK(&Local));
    Local = Descend(Test->Levels);
    Test->CommitAfter = CommittedStack(ON_STACK(&Local));
    return Local == Test->Levels ? STATUS_SUCCESS : STATUS_UNSUCCESSFUL;
}

static void a_stack_in_nt_memory_grows_through_its_guard_page(void **state)
{
    STACK_TEST Test = { .Levels = 100 };
    NTSTATUS ExitStatus;
    PNTMM_THREAD Thread;
    PEPROCESS Process;

    (void)state;
    NativeBoot(16, 2, 0);
    Process = NativeProcess("stack");
    Thread = Start(Process, StackMain, &Test, MIB, 8192);
    assert_non_null(Thread);
    assert_int_equal(NtmmJoinThread(Thread, &ExitStatus), STATUS_SUCCESS);
    assert_int_equal(ExitStatus, STATUS_SUCCESS);
    assert_true(Test.Here < (ULONG_PTR)1 << 46);
    assert_int_equal(Test.CommitBefore, 12288); /* two pages and the guard page */
    assert_in_range(Test.CommitAfter, 100 * 1024, 400 * 1024);
    assert_in_range(NativeCounter("StackGrowths"), 20, 100);
    NtmmCloseProcess(Process);
    NativeShutdown();
}

static void a_stack_that_is_used_up_ends_the_process(void **state)
{
    STACK_TEST Test = { .Levels = 100000 };
    NTSTATUS ExitStatus;
    PNTMM_THREAD Thread;
    PEPROCESS Process;

    (void)state;
    NativeBoot(16, 2, 0);
    Process = NativeProcess("overflow");
    Thread = Start(Process, StackMain, &Test, 128 * 1024, 8192);
    assert_non_null(Thread);
    assert_int_equal(NtmmJoinThread(Thread, &ExitStatus), STATUS_UNHANDLED_EXCEPTION);
    assert_int_equal(ExitStatus, STATUS_STACK_OVERFLOW);
    assert_non_null(strstr(NativeText, "STATUS_STACK_OVERFLOW"));
    assert_non_null(strstr(NativeText, "Descend"));
    NtmmCloseProcess(Process);
    NativeShutdown();
}

/* Stacks of sixteen threads, services called on them, in a machine that pages. */
static NTSTATUS StackServiceMain(PVOID Context)
{
    for (ULONG Round = 0; Round < 20; Round++)
    {
        PUCHAR Memory = NativeAllocate(256 * 1024, PAGE_READWRITE);
        PVOID Base = Memory;
        SIZE_T Size = 0;

        memset(Memory, (int)Round, 256 * 1024);
        if (Descend(40 + Round) != 40 + Round || Memory[99999] != Round)
        {
            return (NTSTATUS)(0x100 + Round);
        }
        if (NtFreeVirtualMemory(NtCurrentProcess(), &Base, &Size, MEM_RELEASE) != STATUS_SUCCESS)
        {
            return (NTSTATUS)(0x200 + Round);
        }
    }
    return (NTSTATUS)(ULONG_PTR)Context;
}

static void services_work_on_stacks_that_are_paged(void **state)
{
    PNTMM_THREAD Threads[16];
    NTSTATUS ExitStatus;
    PEPROCESS Process;

    (void)state;
    NativeBoot(3, 2, 32);
    Process = NativeProcess("services");
    for (ULONG Index = 0; Index < 16; Index++)
    {
        Threads[Index] = Start(Process, StackServiceMain, (PVOID)(ULONG_PTR)Index, 256 * 1024, 4096);
        assert_non_null(Threads[Index]);
    }
    for (ULONG Index = 0; Index < 16; Index++)
    {
        assert_int_equal(NtmmJoinThread(Threads[Index], &ExitStatus), STATUS_SUCCESS);
        assert_int_equal(ExitStatus, Index);
    }
    NtmmCloseProcess(Process);
    NativeShutdown();
}

static NTSTATUS ReadHere(PVOID Buffer)
{
    int File = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    LONG_PTR Got = NtmmRead(File, Buffer, 4);

    close(File);
    return (NTSTATUS)Got;
}

static NTSTATUS HostStackMain(PVOID Context)
{
    UCHAR OnStack[4] = { 0 };
    ULONG_PTR Here = (ULONG_PTR)ON_STACK(OnStack);

    (void)Context;
    if (NtmmCallOnHostStack(ReadHere, OnStack) != 4 || memcmp(OnStack, "\177ELF", 4) != 0)
    {
        return STATUS_UNSUCCESSFUL;
    }
    return Here < (ULONG_PTR)1 << 46 ? STATUS_SUCCESS : STATUS_INVALID_ADDRESS;
}

static void the_host_stack_can_be_used_for_linux_calls(void **state)
{
    NTSTATUS ExitStatus;
    PEPROCESS Process;

    (void)state;
    NativeBoot(8, 1, 0);
    Process = NativeProcess("hoststack");
    assert_int_equal(NtmmJoinThread(Start(Process, HostStackMain, NULL, MIB, 0), &ExitStatus),
                     STATUS_SUCCESS);
    assert_int_equal(ExitStatus, STATUS_SUCCESS);
    NtmmCloseProcess(Process);
    NativeShutdown();
}

static NTSTATUS ExitOnStackMain(PVOID Context)
{
    (void)Context;
    NtmmExitProcess(0x42);
}

static void a_thread_on_an_nt_stack_can_end_its_process(void **state)
{
    NTSTATUS ExitStatus;
    PEPROCESS Process;

    (void)state;
    NativeBoot(8, 1, 0);
    Process = NativeProcess("exits");
    assert_int_equal(NtmmJoinThread(Start(Process, ExitOnStackMain, NULL, MIB, 0), &ExitStatus),
                     STATUS_PROCESS_IS_TERMINATING);
    assert_int_equal(ExitStatus, 0x42);
    assert_string_equal(NativeText, "");
    NtmmCloseProcess(Process);
    NativeShutdown();
}

/* ---- A stack whose pages are taken all the time --------------------------------------------------------------------------- */

static ULONG Trimming; /* (atomic) */

static __attribute__((noinline)) ULONG Step(ULONG Value)
{
    __asm__ volatile("" : "+r"(Value));
    return Value + 1;
}

/* Calls upon calls: TSan's runtime notes each of them, and takes its locks now and then. */
static NTSTATUS StepMain(PVOID Context)
{
    (void)Context;
    while (__atomic_load_n(&Trimming, __ATOMIC_RELAXED) != 0)
    {
        ULONG Value = 0;

        for (ULONG Count = 0; Count < 20000; Count++)
        {
            Value = Step(Value);
        }
        CHECK(Value == 20000 && Descend(20) == 20);
    }
    return STATUS_SUCCESS;
}

static NTSTATUS TrimMain(PVOID Context)
{
    QUOTA_LIMITS Empty = { .MinimumWorkingSetSize = (SIZE_T)-1, .MaximumWorkingSetSize = (SIZE_T)-1 };
    NTSTATUS Status = STATUS_SUCCESS;

    (void)Context;
    for (ULONG Round = 0; Round < 3000 && NT_SUCCESS(Status); Round++)
    {
        Status = NtSetInformationProcess(NtCurrentProcess(), ProcessQuotaLimits, &Empty, sizeof(Empty));
    }
    __atomic_store_n(&Trimming, 0, __ATOMIC_RELAXED);
    return Status;
}

static void a_stack_can_be_trimmed_at_any_time(void **state)
{
    PNTMM_THREAD Threads[2];
    NTSTATUS ExitStatus;
    PEPROCESS Process;

    (void)state;
    NativeBoot(8, 2, 32);
    Process = NativeProcess("trimmed");
    Trimming = 1;
    Threads[0] = Start(Process, StepMain, NULL, MIB, 4096);
    Threads[1] = Start(Process, TrimMain, NULL, MIB, 4096);
    for (ULONG Index = 0; Index < 2; Index++)
    {
        assert_int_equal(NtmmJoinThread(Threads[Index], &ExitStatus), STATUS_SUCCESS);
        assert_int_equal(ExitStatus, STATUS_SUCCESS);
    }
    NtmmCloseProcess(Process);
    NativeShutdown();
}

/* ---- More data than RAM ---------------------------------------------------------------------------------------------------- */

typedef struct _PAGING_TEST
{
    volatile ULONG64 *Data;
    SIZE_T Count; /* of each thread */
    ULONG Index;
} PAGING_TEST;

static ULONG64 Value(ULONG64 Place, ULONG64 Round)
{
    return (Place + Round) * 0x9e3779b97f4a7c15ull;
}

static NTSTATUS PagingMain(PVOID Context)
{
    PAGING_TEST *Test = Context;
    volatile ULONG64 *Data = Test->Data + Test->Index * Test->Count;

    for (ULONG Round = 0; Round < 3; Round++)
    {
        for (SIZE_T Place = 0; Place < Test->Count; Place += 64)
        {
            if (Round != 0 && Data[Place] != Value(Place, Round - 1))
            {
                return (NTSTATUS)(0x1000 + Round);
            }
            Data[Place] = Value(Place, Round);
        }
    }
    return STATUS_SUCCESS;
}

static NTSTATUS PagingLeader(PVOID Context)
{
    static PAGING_TEST Tests[2];
    SIZE_T Bytes = (SIZE_T)(ULONG_PTR)Context;
    volatile ULONG64 *Data = NativeAllocate(Bytes, PAGE_READWRITE);
    PNTMM_THREAD Other;
    NTSTATUS First, Second;

    for (ULONG Index = 0; Index < 2; Index++)
    {
        Tests[Index] = (PAGING_TEST){ Data, Bytes / 2 / sizeof(ULONG64), Index };
    }
    Other = Start(NtmmCurrentProcess(), PagingMain, &Tests[1], 64 * 1024, 4096);
    if (Other == NULL)
    {
        return STATUS_NO_MEMORY;
    }
    First = PagingMain(&Tests[0]);
    if (NtmmJoinThread(Other, &Second) != STATUS_SUCCESS)
    {
        return STATUS_UNSUCCESSFUL;
    }
    return First != STATUS_SUCCESS ? First : Second;
}

static void two_threads_page_more_data_than_ram(void **state)
{
    NTSTATUS ExitStatus;
    PEPROCESS Process;

    (void)state;
    NativeBoot(4, 2, 24);
    Process = NativeProcess("paging");
    assert_int_equal(NtmmRun(Process, PagingLeader, (PVOID)(16 * MIB), &ExitStatus), STATUS_SUCCESS);
    assert_int_equal(ExitStatus, STATUS_SUCCESS);
    assert_true(NativeCounter("PagesOutput") > 3 * 2048);
    assert_true(NativeCounter("PagesInput") > 2 * 2048);
    NtmmCloseProcess(Process);
    NativeShutdown();
}

/* ---- Several processes ------------------------------------------------------------------------------------------------------- */

typedef struct _TURN_TEST
{
    PEPROCESS Process;
    ULONG Index;
    ULONG_PTR Address;
    NTSTATUS Status, ExitStatus;
} TURN_TEST;

/* Without randomization every process gets the same addresses. */
static NTSTATUS TurnMain(PVOID Context)
{
    TURN_TEST *Test = Context;
    volatile ULONG *Data = NativeAllocate(2 * MIB, PAGE_READWRITE);

    Test->Address = (ULONG_PTR)Data;
    for (ULONG Round = 0; Round < 8; Round++)
    {
        for (ULONG Place = 0; Place < 2 * MIB / sizeof(ULONG); Place += 16)
        {
            if (Round != 0 && Data[Place] != (Place ^ (Round - 1) ^ Test->Index << 20))
            {
                return (NTSTATUS)(0x2000 + Round);
            }
            Data[Place] = Place ^ Round ^ Test->Index << 20;
        }
    }
    return (NTSTATUS)Test->Index;
}

static void *TurnThread(void *Context)
{
    TURN_TEST *Test = Context;

    Test->Status = NtmmRun(Test->Process, TurnMain, Test, &Test->ExitStatus);
    return NULL;
}

static void processes_take_turns_and_do_not_see_each_other(void **state)
{
    TURN_TEST Tests[4];
    pthread_t Threads[4];

    (void)state;
    NativeBoot(6, 2, 32);
    for (ULONG Index = 0; Index < 4; Index++)
    {
        Tests[Index] = (TURN_TEST){ .Process = NativeProcess("turn"), .Index = Index };
        assert_int_equal(pthread_create(&Threads[Index], NULL, TurnThread, &Tests[Index]), 0);
    }
    for (ULONG Index = 0; Index < 4; Index++)
    {
        pthread_join(Threads[Index], NULL);
        assert_int_equal(Tests[Index].Status, STATUS_SUCCESS);
        assert_int_equal(Tests[Index].ExitStatus, Index);
        assert_int_equal(Tests[Index].Address, Tests[0].Address);
        NtmmCloseProcess(Tests[Index].Process);
    }
    NativeShutdown();
}

static BOOLEAN Spinning;

static NTSTATUS SpinMain(PVOID Context)
{
    volatile ULONG *Word = NativeAllocate(PAGE_SIZE, PAGE_READWRITE);

    (void)Context;
    while (*Word != ~0u)
    {
        __atomic_store_n(&Spinning, TRUE, __ATOMIC_RELAXED);
        *Word = 1;
    }
    return STATUS_UNSUCCESSFUL;
}

static void terminating_a_process_ends_its_threads(void **state)
{
    PNTMM_THREAD Threads[3];
    NTSTATUS ExitStatus;
    PEPROCESS Process;

    (void)state;
    NativeBoot(8, 2, 0);
    Spinning = FALSE;
    Process = NativeProcess("spins");
    for (ULONG Index = 0; Index < 3; Index++)
    {
        Threads[Index] = Start(Process, SpinMain, NULL, Index == 1 ? MIB : 0, 0);
        assert_non_null(Threads[Index]);
    }
    while (!__atomic_load_n(&Spinning, __ATOMIC_RELAXED))
    {
        usleep(1000);
    }
    assert_int_equal(NtmmTerminateProcess(Process, 0x99), STATUS_SUCCESS);
    assert_int_equal(NtmmTerminateProcess(Process, 0x98), STATUS_PROCESS_IS_TERMINATING);
    for (ULONG Index = 0; Index < 3; Index++)
    {
        assert_int_equal(NtmmJoinThread(Threads[Index], &ExitStatus), STATUS_PROCESS_IS_TERMINATING);
        assert_int_equal(ExitStatus, 0x99);
    }
    assert_string_equal(NativeText, "");
    NtmmCloseProcess(Process);
    NativeShutdown();
}

/* ---- Ending threads that do not come by ---------------------------------------------------------------------------------------- */

static volatile ULONG Arrived;

/* Under ThreadSanitizer nobody is interrupted: this one looks at NT memory now and then. */
static NTSTATUS ComputeMain(PVOID Context)
{
    volatile ULONG *Word = NativeAllocate(PAGE_SIZE, PAGE_READWRITE);
    volatile ULONG64 Sum = 0;

    (void)Context;
    *Word = 1;
    __atomic_fetch_add(&Arrived, 1, __ATOMIC_RELAXED);
    while (Sum != ~0ull)
    {
        Sum = Sum * 2 % 1000003 + 1;
#if NTMM_TSAN
        *Word = (ULONG)Sum;
#endif
    }
    return STATUS_UNSUCCESSFUL;
}

static NTSTATUS WaitMain(PVOID Context)
{
    HANDLE Event;

    (void)Context;
    NtCreateEvent(&Event, EVENT_ALL_ACCESS, NULL, NotificationEvent, FALSE);
    __atomic_fetch_add(&Arrived, 1, __ATOMIC_RELAXED);
    NtWaitForSingleObject(Event, FALSE, NULL);
    return STATUS_UNSUCCESSFUL;
}

static VOID SpinGuarded(PVOID Context)
{
    ComputeMain(Context);
}

/* A guarded call keeps exceptions, not the end of its thread. */
static NTSTATUS GuardedMain(PVOID Context)
{
    EXCEPTION_RECORD Record;

    NtmmGuardedCall(SpinGuarded, Context, &Record);
    return STATUS_UNSUCCESSFUL;
}

static void StartThree(PEPROCESS Process, PNTMM_THREAD Threads[3])
{
    Arrived = 0;
    Threads[0] = Start(Process, ComputeMain, NULL, 0, 0);
    Threads[1] = Start(Process, WaitMain, NULL, MIB, 0);
    Threads[2] = Start(Process, GuardedMain, NULL, 0, 0);
    while (__atomic_load_n(&Arrived, __ATOMIC_RELAXED) != 3)
    {
        usleep(1000);
    }
}

static void threads_that_compute_or_wait_end_with_their_process(void **state)
{
    PNTMM_THREAD Threads[3];
    NTSTATUS ExitStatus;
    PEPROCESS Process;

    (void)state;
    NativeBoot(8, 2, 0);
    Process = NativeProcess("busy");
    StartThree(Process, Threads);
    assert_int_equal(NtmmTerminateProcess(Process, 0x99), STATUS_SUCCESS);
    for (ULONG Index = 0; Index < 3; Index++)
    {
        assert_int_equal(NtmmJoinThread(Threads[Index], &ExitStatus), STATUS_PROCESS_IS_TERMINATING);
        assert_int_equal(ExitStatus, 0x99);
    }
    assert_string_equal(NativeText, "");
    NtmmCloseProcess(Process);
    NativeShutdown();
}

static NTSTATUS EndOthersMain(PVOID Context)
{
    volatile ULONG *Word = NativeAllocate(PAGE_SIZE, PAGE_READWRITE);
    NTSTATUS Status = NtTerminateProcess(NULL, 0);

    (void)Context;
    *Word = 7; /* the caller and its memory go on */
    return NT_SUCCESS(Status) && *Word == 7 ? 0x55 : Status;
}

static void a_thread_can_end_all_others_of_its_process(void **state)
{
    PNTMM_THREAD Threads[3];
    NTSTATUS ExitStatus;
    PEPROCESS Process;

    (void)state;
#if NTMM_TSAN
    skip(); /* nobody is interrupted, and the memory that they look at stays */
#endif
    NativeBoot(8, 2, 0);
    Process = NativeProcess("alone");
    StartThree(Process, Threads);
    assert_int_equal(NtmmRun(Process, EndOthersMain, NULL, &ExitStatus), STATUS_SUCCESS);
    assert_int_equal(ExitStatus, 0x55);
    for (ULONG Index = 0; Index < 3; Index++)
    {
        assert_int_equal(NtmmJoinThread(Threads[Index], &ExitStatus), STATUS_THREAD_IS_TERMINATING);
    }
    assert_int_equal(NtmmQueryExitStatus(Process), STATUS_PENDING);
    assert_string_equal(NativeText, "");
    NtmmTerminateProcess(Process, 0);
    NtmmCloseProcess(Process);
    NativeShutdown();
}

/* ---- System calls -------------------------------------------------------------------------------------------------------------- */

static NTSTATUS SystemCallMain(PVOID Context)
{
    PUCHAR Memory = NativeAllocate(3 * MIB, PAGE_READWRITE);
    PUCHAR Other = NativeAllocate(3 * MIB, PAGE_READWRITE);
    int File = *(int *)Context;

    for (SIZE_T Place = 0; Place < 3 * MIB; Place++)
    {
        Memory[Place] = (UCHAR)(Place * 7 >> 3);
    }
    if (NtmmWriteAt(File, Memory, 3 * MIB, 0) != (LONG_PTR)(3 * MIB) ||
        NtmmReadAt(File, Other, 3 * MIB, 0) != (LONG_PTR)(3 * MIB))
    {
        return STATUS_UNSUCCESSFUL;
    }
    if (memcmp(Memory, Other, 3 * MIB) != 0)
    {
        return STATUS_DATA_ERROR;
    }
    if (NtmmRead(File, (PVOID)(ULONG_PTR)0x7777000, 100) != -1 || errno != EFAULT)
    {
        return STATUS_ACCESS_VIOLATION;
    }
    return NtmmTouchRange(Other + MIB, MIB, TRUE);
}

static void linux_system_calls_reach_nt_memory(void **state)
{
    CHAR Name[] = "ntmm-native-XXXXXX";
    int File = mkstemp(Name);
    NTSTATUS ExitStatus;
    PEPROCESS Process;

    (void)state;
    assert_true(File >= 0);
    unlink(Name);
    NativeBoot(4, 1, 16);
    Process = NativeProcess("calls");
    assert_int_equal(NtmmRun(Process, SystemCallMain, &File, &ExitStatus), STATUS_SUCCESS);
    assert_int_equal(ExitStatus, STATUS_SUCCESS);
    NtmmCloseProcess(Process);
    NativeShutdown();
    close(File);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stack_in_nt_memory_grows_through_its_guard_page),
        cmocka_unit_test(a_stack_that_is_used_up_ends_the_process),
        cmocka_unit_test(services_work_on_stacks_that_are_paged),
        cmocka_unit_test(the_host_stack_can_be_used_for_linux_calls),
        cmocka_unit_test(a_thread_on_an_nt_stack_can_end_its_process),
        cmocka_unit_test(a_stack_can_be_trimmed_at_any_time),
        cmocka_unit_test(two_threads_page_more_data_than_ram),
        cmocka_unit_test(processes_take_turns_and_do_not_see_each_other),
        cmocka_unit_test(terminating_a_process_ends_its_threads),
        cmocka_unit_test(threads_that_compute_or_wait_end_with_their_process),
        cmocka_unit_test(a_thread_can_end_all_others_of_its_process),
        cmocka_unit_test(linux_system_calls_reach_nt_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
