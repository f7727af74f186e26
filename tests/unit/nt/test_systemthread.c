/* SPDX-License-Identifier: MIT */
/*
 * System threads on kernel stacks of their own: how large they are, that they are charged and given back, what happens at their lower end,
 * larger stacks for a call. Sources: Microsoft Learn, PsCreateSystemThread, PsTerminateSystemThread, IoGetStackLimits,
 * IoGetRemainingStackSize, KeExpandKernelStackAndCallout(Ex), bug checks 0x7F, 0x7E, 0x50; Windows Internals, "Kernel stacks".
 */
#include "boot.h"

#include "nt/nt.h"
#include "nt/ps.h"
#include "translation/kernelstack.h"

static const TEST_MACHINE machine = { .Processors = 2, .PagingFiles = 1, .Workers = TRUE };

static PEPROCESS owner; /* of the handles */

/* In the test itself: cmocka gives each function signal handlers of its own. */
static void enter(void)
{
    TestBootMachine(&machine);
    assert_int_equal(PsCreateProcessObject("owner", &owner), STATUS_SUCCESS);
    PsSetThreadProcess(owner);
}

static void leave(void)
{
    PsSetThreadProcess(NULL);
    PsTerminateProcessObject(owner, STATUS_SUCCESS);
    ObDereferenceObjectBody(owner);
    TestShutdownMachine();
}

static struct
{
    ULONG_PTR low, high, remaining, frame;
    PVOID initial;
    SIZE_T pages;
    PEPROCESS process;
    HANDLE id;
    KEVENT started, go;
} seen;

static VOID NTAPI look_around(PVOID context)
{
    int here = 0;

    (void)context;
    IoGetStackLimits(&seen.low, &seen.high);
    seen.remaining = IoGetRemainingStackSize();
    seen.initial = IoGetInitialStack();
    seen.frame = (ULONG_PTR)&here;
    seen.pages = MiKernelStackPages();
    seen.process = PsGetCurrentProcess();
    seen.id = PsGetCurrentThreadId();
    assert_true(PsIsSystemThread(PsGetCurrentThread()));
    assert_int_equal(KeGetCurrentIrql(), PASSIVE_LEVEL);
    PsTerminateSystemThread(0x77);
    fail();
}

static NTSTATUS run(PKSTART_ROUTINE routine, PVOID context, HANDLE process, CLIENT_ID *id)
{
    HANDLE handle = NULL;
    NTSTATUS status = PsCreateSystemThread(&handle, THREAD_ALL_ACCESS, NULL, process, id, routine, context);
    PVOID thread = NULL;

    if (!NT_SUCCESS(status))
    {
        assert_null(handle);
        return status;
    }
    /* As drivers do it. */
    assert_int_equal(ObReferenceObjectByHandle(handle, SYNCHRONIZE, NULL, KernelMode, &thread, NULL),
                     STATUS_SUCCESS);
    assert_int_equal(ZwClose(handle), STATUS_SUCCESS);
    assert_int_equal(KeWaitForSingleObject(thread, Executive, KernelMode, FALSE, NULL), STATUS_SUCCESS);
    status = ((PKTHREAD)thread)->ExitStatus;
    ObDereferenceObject(thread);
    return status;
}

static void await_reaper(void)
{
    LARGE_INTEGER interval = { .QuadPart = -10000 };

    while (__atomic_load_n(&MiState.Nt->SystemThreads, __ATOMIC_ACQUIRE) != 0)
    {
        KeDelayExecutionThread(KernelMode, FALSE, &interval);
    }
}

static void a_system_thread_runs_on_a_kernel_stack(void **state)
{
    CLIENT_ID id;

    (void)state;
    enter();
    assert_int_equal(run(look_around, NULL, NULL, &id), 0x77);
    assert_int_equal(seen.high - seen.low, (SIZE_T)KERNEL_STACK_SIZE * PORT_STACK_SCALE);
    assert_true(MiIsSystemPteAddress(seen.low) && MiIsSystemPteAddress(seen.high - 1));
    assert_true(seen.frame > seen.low && seen.frame < seen.high);
    assert_true(seen.remaining > 0 && seen.remaining < seen.high - seen.low);
    assert_ptr_equal(seen.initial, (PVOID)seen.high);
    assert_int_equal(seen.pages, MI_KERNEL_STACK_PAGES);
    assert_ptr_equal(seen.process, PsInitialSystemProcess);
    assert_ptr_equal(seen.id, id.UniqueThread);
    assert_ptr_equal(id.UniqueProcess, PsGetProcessId(PsInitialSystemProcess));
    await_reaper();
    assert_int_equal(MiKernelStackPages(), 0);
    assert_int_equal(PsTerminateSystemThread(0), STATUS_INVALID_PARAMETER);
    leave();
}

static VOID NTAPI wait_to_go(PVOID context)
{
    (void)context;
    KeSetEvent(&seen.started, 0, FALSE);
    KeWaitForSingleObject(&seen.go, Executive, KernelMode, FALSE, NULL);
    seen.process = PsGetCurrentProcess();
}

static void a_stack_is_charged_while_it_exists(void **state)
{
    SIZE_T committed;
    LONG64 resident;
    HANDLE handle;
    LARGE_INTEGER none = { .QuadPart = 0 };

    (void)state;
    enter();
    committed = MiState.Physical->CommittedPages;
    resident = MiState.Physical->ResidentAvailable;
    KeInitializeEvent(&seen.started, NotificationEvent, FALSE);
    KeInitializeEvent(&seen.go, NotificationEvent, FALSE);
    assert_int_equal(PsCreateSystemThread(&handle, THREAD_ALL_ACCESS, NULL, NULL, NULL, wait_to_go, NULL),
                     STATUS_SUCCESS);
    KeWaitForSingleObject(&seen.started, Executive, KernelMode, FALSE, NULL);
    assert_true(MiState.Physical->CommittedPages >= committed + MI_KERNEL_STACK_PAGES);
    assert_true(MiState.Physical->ResidentAvailable <= resident - (LONG64)MI_KERNEL_STACK_PAGES);
    assert_int_equal(ZwWaitForSingleObject(handle, FALSE, &none), STATUS_TIMEOUT);
    KeSetEvent(&seen.go, 0, FALSE);
    assert_int_equal(ZwWaitForSingleObject(handle, FALSE, NULL), STATUS_SUCCESS);
    ZwClose(handle);
    await_reaper(); /* the fixture compares the rest */
    leave();
}

static void a_thread_may_belong_to_a_process(void **state)
{
    PEPROCESS process;
    HANDLE handle;

    (void)state;
    enter();
    assert_int_equal(PsCreateProcessObject("host", &process), STATUS_SUCCESS);
    assert_int_equal(ObInsertHandle(owner->HandleTable, process, PROCESS_ALL_ACCESS, &handle),
                     STATUS_SUCCESS);
    KeInitializeEvent(&seen.started, NotificationEvent, FALSE);
    KeInitializeEvent(&seen.go, NotificationEvent, TRUE);
    assert_int_equal(run(wait_to_go, NULL, handle, NULL), STATUS_SUCCESS);
    assert_ptr_equal(seen.process, process);
    await_reaper();
    ZwClose(handle);
    PsTerminateProcessObject(process, STATUS_SUCCESS);
    ObDereferenceObjectBody(process);
    leave();
}

/* ---- The lower end --------------------------------------------------------------------------------------- */

static __attribute__((noinline)) ULONG go_down(ULONG depth, volatile UCHAR *above)
{
    volatile UCHAR room[512];

    room[0] = above != NULL ? above[0] : 1;
    room[sizeof(room) - 1] = (UCHAR)depth;
    return depth == 0 ? room[0] : go_down(depth - 1, room) + room[0];
}

static VOID go_down_for_ever(PVOID context)
{
    (void)context;
    go_down(100000, NULL);
}

static KI_KERNEL_STACK stack;

static void overflow(void *context)
{
    (void)context;
    MiCallOnKernelStack(&stack, go_down_for_ever, NULL);
}

static VOID touch_guard(PVOID context)
{
    (void)context;
    *(volatile UCHAR *)(stack.Guard + 100) = 1;
}

static void stray(void *context)
{
    (void)context;
    MiCallOnKernelStack(&stack, touch_guard, NULL);
}

static void running_over_is_a_double_fault(void **state)
{
    (void)state;
    enter();
    assert_int_equal(MiCreateKernelStack(MI_KERNEL_STACK_PAGES, &stack), STATUS_SUCCESS);
    TestExpectBugCheck(UNEXPECTED_KERNEL_MODE_TRAP, overflow, NULL);
    assert_int_equal(TestBugCheckParameters[0], 8);
    assert_true(TestBugCheckParameters[1] < stack.Limit + 0x400);
    assert_true(TestBugCheckParameters[2] >= stack.Guard && TestBugCheckParameters[2] < stack.Limit);
    /* With room on the stack the same page is an ordinary bad address. */
    TestExpectBugCheck(PAGE_FAULT_IN_NONPAGED_AREA, stray, NULL);
    assert_int_equal(TestBugCheckParameters[0], stack.Guard + 100);
    MiDeleteKernelStack(&stack);
    leave();
}

/* ---- More stack for a call ------------------------------------------------------------------------------- */

static VOID NTAPI deep(PVOID context)
{
    IoGetStackLimits(&seen.low, &seen.high);
    seen.remaining = IoGetRemainingStackSize();
    *(ULONG *)context = go_down(60, NULL); /* more than 30 KiB */
}

static VOID NTAPI shallow(PVOID context)
{
    (void)context;
    IoGetStackLimits(&seen.low, &seen.high);
}

static VOID NTAPI expand(PVOID context)
{
    ULONG_PTR low, high;
    ULONG sum = 0;

    IoGetStackLimits(&low, &high);
    assert_int_equal(KeExpandKernelStackAndCallout(shallow, NULL, 1024), STATUS_SUCCESS);
    assert_int_equal(seen.low, low); /* there was room */
    assert_int_equal(KeExpandKernelStackAndCallout(deep, &sum, MAXIMUM_EXPANSION_SIZE + 1),
                     STATUS_INVALID_PARAMETER_3);
    assert_int_equal(KeExpandKernelStackAndCalloutEx(deep, &sum, MAXIMUM_EXPANSION_SIZE, TRUE, NULL),
                     STATUS_SUCCESS);
    assert_int_equal(sum, 61);
    assert_true(seen.remaining >= MAXIMUM_EXPANSION_SIZE);
    if (PORT_STACK_SCALE == 1)
    {
        assert_int_equal(seen.high - seen.low, KERNEL_LARGE_STACK_SIZE);
    }
    IoGetStackLimits(&seen.low, &seen.high);
    assert_int_equal(seen.low, low);
    assert_int_equal(seen.high, high);
    *(ULONG *)context = sum;
}

static void a_callout_gets_the_room_that_it_asks_for(void **state)
{
    ULONG sum = 0;

    (void)state;
    enter();
    assert_int_equal(run(expand, &sum, NULL, NULL), STATUS_SUCCESS);
    assert_int_equal(sum, 61);
    await_reaper();
    assert_int_equal(MiKernelStackPages(), 0);
    /* A thread of the surroundings has a large stack already. */
    assert_int_equal(KeExpandKernelStackAndCallout(deep, &sum, MAXIMUM_EXPANSION_SIZE), STATUS_SUCCESS);
    assert_false(MiIsSystemPteAddress(seen.low));
    leave();
}

static VOID NTAPI raise_status(PVOID context)
{
    (void)context;
    ExRaiseStatus(STATUS_INVALID_PARAMETER);
}

static void callout_raises(void *context)
{
    (void)context;
    KeExpandKernelStackAndCallout(raise_status, NULL, 1024);
}

static void exceptions_do_not_leave_a_callout(void **state)
{
    (void)state;
    enter();
    TestExpectBugCheck(KMODE_EXCEPTION_NOT_HANDLED, callout_raises, NULL);
    assert_int_equal((NTSTATUS)TestBugCheckParameters[0], STATUS_INVALID_PARAMETER);
    leave();
}

/* ---- Failures -------------------------------------------------------------------------------------------- */

static void a_thread_that_cannot_be_made_leaves_nothing(void **state)
{
    static const KI_INJECT kinds[] = { KiInjectFrame, KiInjectCommit, KiInjectPool, KiInjectThread };

    (void)state;
    enter();
    TestStopWorkers(); /* theirs are not to fail */
    for (ULONG kind = 0; kind < RTL_NUMBER_OF(kinds); kind++)
    {
        for (ULONG64 nth = 1;; nth++)
        {
            ULONG64 failed = 0;
            NTSTATUS status;

            KiSetInjection(kinds[kind], nth, FALSE);
            status = run(look_around, NULL, NULL, NULL);
            KiQueryInjection(kinds[kind], &failed);
            KiSetInjection(kinds[kind], 0, FALSE);
            await_reaper();
            assert_int_equal(MiKernelStackPages(), 0);
            if (failed == 0)
            {
                assert_int_equal(status, 0x77);
                break;
            }
            assert_true(nth < 100);
        }
    }
    leave();
}

static void many_come_and_go(void **state)
{
    (void)state;
    enter();
    for (ULONG i = 0; i < 200; i++)
    {
        assert_int_equal(run(look_around, NULL, NULL, NULL), 0x77);
    }
    await_reaper();
    assert_int_equal(MiKernelStackPages(), 0);
    leave();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_system_thread_runs_on_a_kernel_stack),
        cmocka_unit_test(a_stack_is_charged_while_it_exists),
        cmocka_unit_test(a_thread_may_belong_to_a_process),
        cmocka_unit_test(running_over_is_a_double_fault),
        cmocka_unit_test(a_callout_gets_the_room_that_it_asks_for),
        cmocka_unit_test(exceptions_do_not_leave_a_callout),
        cmocka_unit_test(a_thread_that_cannot_be_made_leaves_nothing),
        cmocka_unit_test(many_come_and_go),
    };

    return cmocka_run_group_tests_name("nt.systemthread", tests, NULL, NULL);
}
