/* SPDX-License-Identifier: MIT */
/* __try and __except of nt/seh.h: which handler runs, what it sees, and that every way out of a block leaves no frame behind. */
#include "ke_test.h"

#include "nt/ex.h"
#include "nt/rtl.h"
#include "nt/seh.h"

/* A block inside a block has the same hidden name. */
#pragma GCC diagnostic ignored "-Wshadow"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_handler_runs_only_after_an_exception, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(every_way_out_takes_the_frame_along, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(a_filter_passes_an_exception_on, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(nothing_is_resumed, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(blocks_nest_deeply, setup_threaded, teardown),
    };

    return cmocka_run_group_tests_name("ke.seh", tests, NULL, NULL);
}
