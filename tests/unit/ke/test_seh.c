/* SPDX-License-Identifier: MIT */
/* __try, __except and __finally of nt/seh.h: which handler runs, what it sees, and that every way out of a block leaves no frame behind. */
#include "ke_test.h"

#include "nt/ex.h"
#include "nt/rtl.h"
#include "nt/seh.h"

static void no_frame_is_left(void)
{
    assert_null(KiCurrentThread()->ExceptionFrames);
}

static NTSTATUS caught(NTSTATUS status)
{
    __try
    {
        if (!NT_SUCCESS(status))
        {
            ExRaiseStatus(status);
        }
    }
    __except (EXCEPTION_EXECUTE_HANDLER)
    {
        return (NTSTATUS)GetExceptionCode() + 1;
    }
    return STATUS_SUCCESS;
}

static void the_handler_runs_only_after_an_exception(void **state)
{
    (void)state;
    assert_int_equal(caught(STATUS_SUCCESS), STATUS_SUCCESS);
    no_frame_is_left();
    assert_int_equal(caught(STATUS_NO_MEMORY), STATUS_NO_MEMORY + 1);
    no_frame_is_left();
}

static int leave_early(int how)
{
    volatile int passed = 0;

    for (volatile int i = 0; i < 3; i += 1)
    {
        __try
        {
            if (how == 0)
            {
                return 7;
            }
            if (how == 1)
            {
                goto out;
            }
            if (how == 2)
            {
                __leave;
            }
            passed += 10;
        }
        __except (EXCEPTION_EXECUTE_HANDLER)
        {
            return -1;
        }
        passed += 1;
    }
out:
    return passed;
}

static void every_way_out_takes_the_frame_along(void **state)
{
    (void)state;
    assert_int_equal(leave_early(0), 7);
    no_frame_is_left();
    assert_int_equal(leave_early(1), 0);
    no_frame_is_left();
    assert_int_equal(leave_early(2), 3);
    no_frame_is_left();
    assert_int_equal(leave_early(3), 33);
    no_frame_is_left();
}

static LONG filter(ULONG code, PEXCEPTION_POINTERS pointers)
{
    assert_int_equal((ULONG)pointers->ExceptionRecord->ExceptionCode, code);
    return code == (ULONG)STATUS_ACCESS_VIOLATION ? EXCEPTION_EXECUTE_HANDLER : EXCEPTION_CONTINUE_SEARCH;
}

static int nested(NTSTATUS status)
{
    volatile int handler = 0;

    __try
    {
        __try
        {
            ExRaiseStatus(status);
        }
        __except (filter((ULONG)GetExceptionCode(), GetExceptionInformation()))
        {
            handler = 1;
        }
        if (handler == 1)
        {
            ExRaiseAccessViolation(); /* the outer block's affair */
        }
    }
    __except (EXCEPTION_EXECUTE_HANDLER)
    {
        handler += 10;
    }
    return handler;
}

static void a_filter_passes_an_exception_on(void **state)
{
    (void)state;
    assert_int_equal(nested(STATUS_ACCESS_VIOLATION), 11);
    no_frame_is_left();
    assert_int_equal(nested(STATUS_NO_MEMORY), 10);
    no_frame_is_left();
}

static ULONG resume(void)
{
    __try
    {
        __try
        {
            ExRaiseStatus(STATUS_NO_MEMORY);
        }
        __except (EXCEPTION_CONTINUE_EXECUTION)
        {
            return 1;
        }
    }
    __except (EXCEPTION_EXECUTE_HANDLER)
    {
        return (ULONG)GetExceptionCode();
    }
    return 2;
}

static void nothing_is_resumed(void **state)
{
    (void)state;
    assert_int_equal(resume(), (ULONG)STATUS_NONCONTINUABLE_EXCEPTION);
    no_frame_is_left();
}

static void raise_deeply(ULONG depth)
{
    __try
    {
        if (depth == 0)
        {
            ExRaiseStatus(STATUS_DATA_ERROR);
        }
        raise_deeply(depth - 1);
    }
    __except (depth % 8 == 7 ? EXCEPTION_EXECUTE_HANDLER : EXCEPTION_CONTINUE_SEARCH)
    {
        if (depth != 31)
        {
            ExRaiseStatus(STATUS_DATA_ERROR);
        }
    }
}

static void blocks_nest_deeply(void **state)
{
    (void)state;
    for (ULONG round = 0; round < 1000; round += 1)
    {
        raise_deeply(31);
        no_frame_is_left();
    }
}

/* ---- __finally ------------------------------------------------------------------------------------------ */

/* How the block ends: 0 by its end, 1 by __leave, 2 by an exception. Digits: the block's end, the finally block, its word for abnormal, the handler. */
static ULONG finally(ULONG how)
{
    volatile ULONG trace = 0;

    __try
    {
        __try
        {
            if (how == 1)
            {
                __leave;
            }
            if (how == 2)
            {
                ExRaiseStatus(STATUS_DATA_ERROR);
            }
            trace += 1;
        }
        __finally
        {
            trace += 10;
            trace += AbnormalTermination() ? 100 : 0;
        }
        trace += 1000;
    }
    __except (GetExceptionCode() == STATUS_DATA_ERROR ? EXCEPTION_EXECUTE_HANDLER : EXCEPTION_CONTINUE_SEARCH)
    {
        trace += 10000;
    }
    return trace;
}

static void the_finally_block_runs_however_the_block_ends(void **state)
{
    (void)state;
    assert_int_equal(finally(0), 1011);
    no_frame_is_left();
    assert_int_equal(finally(1), 1010);
    no_frame_is_left();
    assert_int_equal(finally(2), 10110);
    no_frame_is_left();
}

static ULONG finally_raises(void)
{
    volatile ULONG trace = 0;

    __try
    {
        __try
        {
            ExRaiseStatus(STATUS_DATA_ERROR);
        }
        __finally
        {
            trace += 1;
            ExRaiseStatus(STATUS_NO_MEMORY); /* takes the place of the first */
        }
    }
    __except (EXCEPTION_EXECUTE_HANDLER)
    {
        trace += GetExceptionCode() == STATUS_NO_MEMORY ? 10 : 100;
    }
    return trace;
}

static void finally_blocks_may_raise_and_nest(void **state)
{
    volatile ULONG order = 0;

    (void)state;
    assert_int_equal(finally_raises(), 11);
    no_frame_is_left();
    for (volatile int round = 0; round < 2; round += 1)
    {
        __try
        {
            __try
            {
                __try
                {
                    if (round == 1)
                    {
                        ExRaiseStatus(STATUS_DATA_ERROR);
                    }
                }
                __finally
                {
                    order = order * 10 + 1;
                }
            }
            __finally
            {
                order = order * 10 + 2;
            }
        }
        __except (EXCEPTION_EXECUTE_HANDLER)
        {
            order = order * 10 + 3;
        }
    }
    assert_int_equal(order, 12123);
    no_frame_is_left();
}

/* As drivers give back what they took. */
static NTSTATUS take_and_give(NTSTATUS status, ULONG *held)
{
    volatile NTSTATUS result =
        STATUS_UNSUCCESSFUL; /* changed in the block, read behind it: as with __except */

    __try
    {
        *held += 1;
        if (!NT_SUCCESS(status))
        {
            result = status;
            __leave;
        }
        result = STATUS_SUCCESS;
    }
    __finally
    {
        *held -= 1;
    }
    return result;
}

static void what_is_taken_is_given_back(void **state)
{
    ULONG held = 0;

    (void)state;
    assert_int_equal(take_and_give(STATUS_SUCCESS, &held), STATUS_SUCCESS);
    assert_int_equal(held, 0);
    assert_int_equal(take_and_give(STATUS_NO_MEMORY, &held), STATUS_NO_MEMORY);
    assert_int_equal(held, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_handler_runs_only_after_an_exception, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(every_way_out_takes_the_frame_along, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(a_filter_passes_an_exception_on, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(nothing_is_resumed, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(blocks_nest_deeply, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(the_finally_block_runs_however_the_block_ends, setup_threaded,
                                        teardown),
        cmocka_unit_test_setup_teardown(finally_blocks_may_raise_and_nest, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(what_is_taken_is_given_back, setup_threaded, teardown),
    };

    return cmocka_run_group_tests_name("ke.seh", tests, NULL, NULL);
}
