/* SPDX-License-Identifier: MIT */
/*
 * Guarded regions: raising lands in the innermost one, frames nest, modes and IRQL come back; guarded copies;
 * what raises where nobody guards is a bug check. Copies from addresses that fault belong to the host port's
 * tests.
 */
#include "ke_test.h"

static volatile int Never;

static __attribute__((noinline)) void raise_deep(int depth, NTSTATUS status)
{
    if (depth == 0 && !Never)
    {
        ExRaiseStatus(status);
    }
    if (depth != 0)
    {
        raise_deep(depth - 1, status);
    }
    __asm__ volatile("" ::: "memory");
}

static void raise_lands_in_the_innermost_frame(void **state)
{
    KI_EXCEPTION_FRAME outer, inner;
    volatile int steps = 0;

    (void)state;
    if (KiTry(&outer))
    {
        if (KiTry(&inner))
        {
            raise_deep(5, STATUS_IN_PAGE_ERROR);
            KiEndTry(&inner);
        }
        else
        {
            assert_int_equal(inner.Record.ExceptionCode, STATUS_IN_PAGE_ERROR);
            assert_non_null(inner.Record.ExceptionAddress);
            steps += 1;
        }
        assert_ptr_equal(KiCurrentThread()->ExceptionFrames, &outer);
        raise_deep(2, STATUS_ACCESS_VIOLATION);
        KiEndTry(&outer);
    }
    else
    {
        assert_int_equal(outer.Record.ExceptionCode, STATUS_ACCESS_VIOLATION);
        steps += 10;
    }
    assert_int_equal(steps, 11);
    assert_null(KiCurrentThread()->ExceptionFrames);
}

static void frame_can_be_used_again_and_again(void **state)
{
    volatile LONG caught = 0;

    (void)state;
    for (volatile int i = 0; i < 70000; i += 1)
    {
        KI_EXCEPTION_FRAME frame;

        if (KiTry(&frame))
        {
            raise_deep(3, STATUS_GUARD_PAGE_VIOLATION);
            KiEndTry(&frame);
        }
        else
        {
            caught += 1;
        }
    }
    assert_int_equal(caught, 70000);
}

static void exception_in_a_handler_goes_outwards(void **state)
{
    KI_EXCEPTION_FRAME outer, inner;
    volatile NTSTATUS status = 0;

    (void)state;
    if (KiTry(&outer))
    {
        if (KiTry(&inner))
        {
            ExRaiseDatatypeMisalignment();
        }
        else
        {
            ExRaiseAccessViolation();
        }
    }
    else
    {
        status = outer.Record.ExceptionCode;
    }
    assert_int_equal(status, STATUS_ACCESS_VIOLATION);
}

static void irql_and_modes_come_back(void **state)
{
    PKTHREAD thread = KiCurrentThread();
    KI_EXCEPTION_FRAME frame;
    KIRQL irql;

    (void)state;
    thread->CurrentMode = UserMode;
    thread->PreviousMode = UserMode;
    if (KiTry(&frame))
    {
        thread->CurrentMode = KernelMode;
        thread->PreviousMode = KernelMode;
        thread->FaultDepth += 1;
        KeRaiseIrql(APC_LEVEL, &irql);
        ExRaiseStatus(STATUS_UNSUCCESSFUL);
    }
    assert_int_equal(thread->CurrentMode, UserMode);
    assert_int_equal(ExGetPreviousMode(), UserMode);
    assert_int_equal(thread->FaultDepth, 0);
    assert_int_equal(KeGetCurrentIrql(), PASSIVE_LEVEL);
    thread->CurrentMode = thread->PreviousMode = KernelMode;
}

static void unguarded_exception_is_a_bug_check(void **state)
{
    (void)state;
    EXPECT_BUG_CHECK(KMODE_EXCEPTION_NOT_HANDLED, ExRaiseStatus(STATUS_ACCESS_VIOLATION));
    assert_int_equal(BugCheckParameters[0], 0xC0000005u);
}

static void exception_at_dispatch_level_is_a_bug_check(void **state)
{
    static KI_EXCEPTION_FRAME frame;
    KIRQL irql;

    (void)state;
    if (KiTry(&frame))
    {
        KeRaiseIrql(DISPATCH_LEVEL, &irql);
        EXPECT_BUG_CHECK(KMODE_EXCEPTION_NOT_HANDLED, ExRaiseStatus(STATUS_ACCESS_VIOLATION));
        return;
    }
    fail_msg("the exception was delivered");
}

static void guarded_copy_copies(void **state)
{
    static UCHAR source[3 * PAGE_SIZE], destination[3 * PAGE_SIZE];
    static const SIZE_T lengths[] = { 0, 1, 2, 3, 4, 7, 8, 9, 100, PAGE_SIZE - 1, PAGE_SIZE, 2 * PAGE_SIZE };

    (void)state;
    for (SIZE_T i = 0; i < sizeof(source); i += 1)
    {
        source[i] = (UCHAR)(i * 31 + 7);
    }
    for (SIZE_T i = 0; i < RTL_NUMBER_OF(lengths); i += 1)
    {
        for (SIZE_T offset = 0; offset < 17; offset += 5)
        {
            SIZE_T copied = 99;

            memset(destination, 0, sizeof(destination));
            assert_int_equal(KiGuardedCopy(destination + 3, source + offset, lengths[i], &copied),
                             STATUS_SUCCESS);
            assert_int_equal(copied, lengths[i]);
            assert_memory_equal(destination + 3, source + offset, lengths[i]);
            assert_int_equal(destination[2], 0);
            assert_int_equal(destination[3 + lengths[i]], 0);
        }
    }
    assert_null(KiCurrentThread()->ExceptionFrames);
}

static void raise_in_thread(PVOID context)
{
    for (volatile int i = 0; i < 2000; i += 1)
    {
        KI_EXCEPTION_FRAME frame;

        if (KiTry(&frame))
        {
            raise_deep(i % 7, STATUS_UNSUCCESSFUL);
        }
        else
        {
            *(volatile LONG *)context += 1;
        }
    }
}

static void threads_have_their_own_frames(void **state)
{
    static KTHREAD threads[4];
    static LONG counts[4];

    (void)state;
    memset(counts, 0, sizeof(counts));
    for (ULONG i = 0; i < 4; i += 1)
    {
        assert_int_equal(KiStartThread(&threads[i], raise_in_thread, &counts[i], i), STATUS_SUCCESS);
    }
    for (ULONG i = 0; i < 4; i += 1)
    {
        KiJoinThread(&threads[i]);
        assert_int_equal(counts[i], 2000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(raise_lands_in_the_innermost_frame, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(frame_can_be_used_again_and_again, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(exception_in_a_handler_goes_outwards, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(irql_and_modes_come_back, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(unguarded_exception_is_a_bug_check, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(exception_at_dispatch_level_is_a_bug_check, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(guarded_copy_copies, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(threads_have_their_own_frames, setup_threaded, teardown),
    };

    return cmocka_run_group_tests_name("ke.exception", tests, NULL, NULL);
}
