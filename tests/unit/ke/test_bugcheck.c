/* SPDX-License-Identifier: MIT */
/*
 * What the machine says when it stops, failure injection, the lock order, debug output.
 */
#include "ke_test.h"

#include <sys/wait.h>
#include <unistd.h>

#include "ke/ki.h"

/* ---- Bug checks ---------------------------------------------------------------------------------------- */

static void bug_check_explains_itself(void **state)
{
    (void)state;
    EXPECT_BUG_CHECK(PAGE_FAULT_IN_NONPAGED_AREA,
                     KeBugCheckEx(PAGE_FAULT_IN_NONPAGED_AREA, 0x1234, 2, 0x5678, 0));
    assert_int_equal(BugCheckParameters[0], 0x1234);
    assert_int_equal(BugCheckParameters[2], 0x5678);
    assert_non_null(strstr(Printed, "*** STOP: 0x00000050 PAGE_FAULT_IN_NONPAGED_AREA"));
    assert_non_null(strstr(Printed, "P1 = 0x0000000000001234  address"));
    assert_non_null(strstr(Printed, "#0 "));
}

static void unknown_codes_are_printed_too(void **state)
{
    (void)state;
    EXPECT_BUG_CHECK(0xDEADu, KeBugCheck(0xDEADu));
    assert_non_null(strstr(Printed, "0x0000DEAD (unknown code)"));
}

static void message_of_the_room_is_printed(void **state)
{
    (void)state;
    EXPECT_BUG_CHECK(MEMORY_MANAGEMENT,
                     KiBugCheckMessage(MEMORY_MANAGEMENT, 0x41792, 0, 0, 0, "PTE %p of %s", (PVOID)16, "x"));
    assert_non_null(strstr(Printed, "PTE 0000000000000010 of x"));
}

static void require_names_the_expression(void **state)
{
    volatile int zero = 0;

    (void)state;
    EXPECT_BUG_CHECK(KMODE_EXCEPTION_NOT_HANDLED, KiRequire(zero == 1));
    assert_int_equal(BugCheckParameters[0], (ULONG)STATUS_ASSERTION_FAILURE);
    assert_non_null(strstr(Printed, "assertion failed: zero == 1"));
}

static void damaged_list_is_a_bug_check(void **state)
{
    LIST_ENTRY head, entry;

    (void)state;
    InitializeListHead(&head);
    InsertTailList(&head, &entry);
    entry.Blink = &entry;
    EXPECT_BUG_CHECK(KERNEL_SECURITY_CHECK_FAILURE, RemoveEntryList(&entry));
    assert_int_equal(BugCheckParameters[0], FAST_FAIL_CORRUPT_LIST_ENTRY);
}

static void second_print(PCSTR text, SIZE_T length)
{
    (void)text;
    (void)length;
    KeBugCheck(PFN_LIST_CORRUPT);
}

/* Without a hook the process ends by abort(), also when the report itself stumbles. */
static void machine_halts(void **state)
{
    (void)state;
    for (int nested = 0; nested < 2; nested += 1)
    {
        int status;
        pid_t child = fork();

        if (child == 0)
        {
            begin_capture();
            signal(SIGABRT, SIG_DFL);
            if (nested)
            {
                HostDebugPrintHook = second_print;
            }
            alarm(20);
            KeBugCheck(MEMORY_MANAGEMENT);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGABRT);
    }
}

/* ---- Injection ----------------------------------------------------------------------------------------- */

static void nth_event_fails_once(void **state)
{
    ULONG64 failed;

    (void)state;
    assert_false(KiInject(KiInjectPool));
    KiSetInjection(KiInjectPool, 3, FALSE);
    assert_false(KiInject(KiInjectFrame));
    assert_false(KiInject(KiInjectPool));
    assert_false(KiInject(KiInjectPool));
    assert_true(KiInject(KiInjectPool));
    assert_false(KiInject(KiInjectPool));
    assert_int_equal(KiQueryInjection(KiInjectPool, &failed), 4);
    assert_int_equal(failed, 1);
    KiSetInjection(KiInjectPool, 0, FALSE);
    assert_null(MiState.Ke->Injection);
}

static void sticky_injection_fails_from_there_on(void **state)
{
    ULONG64 failed;

    (void)state;
    KiSetInjection(KiInjectWrite, 2, TRUE);
    assert_false(KiInject(KiInjectWrite));
    assert_true(KiInject(KiInjectWrite));
    assert_true(KiInject(KiInjectWrite));
    assert_int_equal(KiQueryInjection(KiInjectWrite, &failed), 3);
    assert_int_equal(failed, 2);
    KiSetInjection(KiInjectWrite, 0, FALSE);
}

static void count_injections(PVOID context)
{
    for (int i = 0; i < 10000; i += 1)
    {
        if (KiInject(KiInjectCommit))
        {
            __atomic_fetch_add((LONG *)context, 1, __ATOMIC_RELAXED);
        }
    }
}

static void threads_count_together(void **state)
{
    static KTHREAD threads[3];
    LONG failures = 0;

    (void)state;
    KiSetInjection(KiInjectCommit, 15000, FALSE);
    for (ULONG i = 0; i < 3; i += 1)
    {
        assert_int_equal(KiStartThread(&threads[i], count_injections, &failures, i), STATUS_SUCCESS);
    }
    for (ULONG i = 0; i < 3; i += 1)
    {
        KiJoinThread(&threads[i]);
    }
    assert_int_equal(failures, 1);
    assert_int_equal(KiQueryInjection(KiInjectCommit, NULL), 30000);
    KiSetInjection(KiInjectCommit, 0, FALSE);
}

static void thread_creation_can_be_made_to_fail(void **state)
{
    static KTHREAD thread;

    (void)state;
    KiSetInjection(KiInjectThread, 1, FALSE);
    assert_int_equal(KiStartThread(&thread, count_injections, NULL, ~0u), STATUS_INSUFFICIENT_RESOURCES);
    KiSetInjection(KiInjectThread, 0, FALSE);
}

/* ---- Lock order ---------------------------------------------------------------------------------------- */

#if DBG
static void lock_order_is_enforced(void **state)
{
    int low = 0, high = 0;

    (void)state;
    KiNoteLockAcquired(&low, KiLockPageTable, FALSE);
    KiNoteLockAcquired(&high, KiLockPfn, FALSE);
    KiNoteLockReleased(&low);
    KiNoteLockReleased(&high);
    assert_int_equal(KiCurrentThread()->HeldLockCount, 0);

    KiNoteLockAcquired(&high, KiLockPfn, FALSE);
    EXPECT_BUG_CHECK(KMODE_EXCEPTION_NOT_HANDLED, KiNoteLockAcquired(&low, KiLockPageTable, FALSE));
    assert_non_null(strstr(Printed, "acquiring PageTable"));
    assert_non_null(strstr(Printed, "while holding Pfn"));

    /* A try-acquisition may come out of order; taking the same lock twice never may. */
    KiNoteLockAcquired(&high, KiLockPfn, FALSE);
    KiNoteLockAcquired(&low, KiLockPageTable, TRUE);
    EXPECT_BUG_CHECK(KMODE_EXCEPTION_NOT_HANDLED, KiNoteLockAcquired(&low, KiLockPageTable, TRUE));
    EXPECT_BUG_CHECK(KMODE_EXCEPTION_NOT_HANDLED, KiNoteLockReleased(&low));
}

static void same_level_goes_by_address_where_allowed(void **state)
{
    char locks[2] = { 0 };

    (void)state;
    KiNoteLockAcquired(&locks[0], KiLockAddressSpace, FALSE);
    KiNoteLockAcquired(&locks[1], KiLockAddressSpace, FALSE);
    KiNoteLockReleased(&locks[0]);
    EXPECT_BUG_CHECK(KMODE_EXCEPTION_NOT_HANDLED, KiNoteLockAcquired(&locks[0], KiLockAddressSpace, FALSE));
    KiNoteLockAcquired(&locks[0], KiLockCommit, FALSE);
    EXPECT_BUG_CHECK(KMODE_EXCEPTION_NOT_HANDLED, KiNoteLockAcquired(&locks[1], KiLockCommit, FALSE));
}

static void signaling_under_a_higher_lock_is_reported(void **state)
{
    KEVENT event;
    int port = 0;

    (void)state;
    KeInitializeEvent(&event, NotificationEvent, FALSE);
    KiNoteLockAcquired(&port, KiLockPort, FALSE);
    EXPECT_BUG_CHECK(KMODE_EXCEPTION_NOT_HANDLED, KeSetEvent(&event, 0, FALSE));
    /* The check comes after the acquisition: give the dispatcher lock back by hand. */
    MiState.Ke->DispatcherLock = 0;
}
#endif

/* ---- DbgPrint ------------------------------------------------------------------------------------------ */

static void debug_print_takes_windows_formats(void **state)
{
    UNICODE_STRING wide = RTL_CONSTANT_STRING(u"wide");
    ANSI_STRING narrow = RTL_CONSTANT_STRING("narrow");
    char *text = malloc(3000);

    (void)state;
    begin_capture();
    DbgPrint("%wZ %Z %ws %I64x %lu %s\n", &wide, &narrow, u"ws", 0x1122334455667788ull, 7u, (PSTR)NULL);
    assert_string_equal(Printed, "wide narrow ws 1122334455667788 7 (null)\n");
    memset(text, 'x', 2999);
    text[2999] = 0;
    begin_capture();
    DbgPrintEx(DPFLTR_DEFAULT_ID, DPFLTR_ERROR_LEVEL, "%s", text);
    HostDebugPrintHook = NULL;
    assert_int_equal(PrintedLength, 511);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bug_check_explains_itself, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(unknown_codes_are_printed_too, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(message_of_the_room_is_printed, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(require_names_the_expression, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(damaged_list_is_a_bug_check, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(machine_halts, setup_deterministic, teardown),
        cmocka_unit_test_setup_teardown(nth_event_fails_once, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(sticky_injection_fails_from_there_on, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(threads_count_together, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(thread_creation_can_be_made_to_fail, setup_threaded, teardown),
#if DBG
        cmocka_unit_test_setup_teardown(lock_order_is_enforced, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(same_level_goes_by_address_where_allowed, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(signaling_under_a_higher_lock_is_reported, setup_deterministic,
                                        teardown),
#endif
        cmocka_unit_test_setup_teardown(debug_print_takes_windows_formats, setup_threaded, teardown),
    };

    return cmocka_run_group_tests_name("ke.bugcheck", tests, NULL, NULL);
}
