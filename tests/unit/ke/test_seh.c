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

/* ---- a block with __finally that is left ----------------------------------------------------------------- */

static volatile ULONG64 Order;

static void step(ULONG digit)
{
    Order = Order * 10 + digit;
}

static int value_of_step(ULONG digit, int value)
{
    step(digit);
    return value;
}

/* 0: by its end, 1: return, 2: goto, 3: return from a scope inside, 4: an exception that is caught outside. */
static int left(int how)
{
    volatile int abnormal = 0;

    Order = 0;
    __try
    {
        if (how == 1)
        {
            return value_of_step(1, 101); /* before the block behind */
        }
        if (how == 2)
        {
            goto out;
        }
        for (volatile int i = 0; how == 3 && i < 10; i += 1)
        {
            UCHAR buffer[200];

            buffer[i] = (UCHAR)i;
            if (i == 5)
            {
                return (int)buffer[i] + 300;
            }
        }
        if (how == 4)
        {
            ExRaiseStatus(STATUS_DATA_ERROR);
        }
        step(2);
    }
    __finally
    {
        UCHAR other[200]; /* may lie where the block's buffer was */

        memset(other, 0xEE, sizeof(other));
        __asm__ volatile("" : : "r"(other) : "memory");
        abnormal = AbnormalTermination() ? 1 : 0;
        step(abnormal ? 8 : 7);
    }
    step(3);
    return 0;
out:
    step(4);
    return 200 + abnormal;
}

static void return_and_goto_run_the_finally_block_first(void **state)
{
    (void)state;
    for (int round = 0; round < 1000; round += 1)
    {
        assert_int_equal(left(0), 0);
        assert_int_equal(Order, 273);
        assert_int_equal(left(1), 101);
        assert_int_equal(Order, 18);
        assert_int_equal(left(2), 201);
        assert_int_equal(Order, 84);
        assert_int_equal(left(3), 305);
        assert_int_equal(Order, 8);
        no_frame_is_left();
    }
    __try
    {
        left(4);
        fail();
    }
    __except (EXCEPTION_EXECUTE_HANDLER)
    {
        step(9);
    }
    assert_int_equal(Order, 89);
    no_frame_is_left();
}

static int left_from_within(int how)
{
    for (volatile int round = 0; round < 3; round += 1)
    {
        __try
        {
            __try
            {
                __try
                {
                    if (how == 0)
                    {
                        return 10 + round;
                    }
                    if (how == 1)
                    {
                        goto next;
                    }
                    __leave;
                }
                __finally
                {
                    step(1);
                }
                step(2);
            }
            __except (EXCEPTION_EXECUTE_HANDLER)
            {
                step(9);
            }
            step(3);
        }
        __finally
        {
            step(4);
            if (how == 3)
            {
                return 77; /* instead of whatever was under way */
            }
        }
    next:
        step(5);
    }
    return 0;
}

static void blocks_around_are_left_in_order(void **state)
{
    (void)state;
    Order = 0;
    assert_int_equal(left_from_within(0), 10);
    assert_int_equal(Order, 14);
    no_frame_is_left();
    Order = 0;
    assert_int_equal(left_from_within(1), 0);
    assert_int_equal(Order, 145145145);
    no_frame_is_left();
    Order = 0;
    assert_int_equal(left_from_within(2), 0);
    assert_int_equal(Order, 123451234512345);
    no_frame_is_left();
    Order = 0;
    assert_int_equal(left_from_within(3), 77);
    assert_int_equal(Order, 1234);
    no_frame_is_left();
}

typedef struct _WIDE
{
    ULONG64 Words[6];
} WIDE;

/* Everything that a compiler may keep in registers or slots of its own across the way out and back. */
static WIDE wide(ULONG64 a, ULONG64 b, ULONG64 c, ULONG64 d, ULONG64 e, ULONG64 f)
{
    ULONG64 u = a * 3, v = b * 5, w = c * 7, x = d * 11, y = e * 13, z = f * 17;

    __try
    {
        WIDE result = { { u + v, v + w, w + x, x + y, y + z, z + u } };

        return result;
    }
    __finally
    {
        volatile ULONG64 scratch[32];

        for (ULONG i = 0; i < 32; i += 1)
        {
            scratch[i] = u ^ v ^ w ^ x ^ y ^ z ^ i;
        }
        step((ULONG)(scratch[31] == (u ^ v ^ w ^ x ^ y ^ z ^ 31)));
    }
    return (WIDE){ { 0 } }; /* (what compilers that know the keyword see is never reached) */
}

static double floating(double value)
{
    __try
    {
        return value * 2.5;
    }
    __finally
    {
        volatile double other = value;

        other = other * other + 1.0;
        step(other > 1.0);
    }
    return 0;
}

static void what_is_returned_survives_the_finally_block(void **state)
{
    (void)state;
    for (ULONG64 i = 1; i < 1000; i += 1)
    {
        WIDE got = wide(i, i + 1, i + 2, i + 3, i + 4, i + 5);

        assert_int_equal(got.Words[0], i * 3 + (i + 1) * 5);
        assert_int_equal(got.Words[3], (i + 3) * 11 + (i + 4) * 13);
        assert_int_equal(got.Words[5], (i + 5) * 17 + i * 3);
        assert_true(floating((double)i) == (double)i * 2.5);
    }
    no_frame_is_left();
}

/* As drivers do it: a lock in a block that has many ways out. */
static NTSTATUS with_lock(PFAST_MUTEX lock, int how)
{
    NTSTATUS status = STATUS_SUCCESS;

    ExAcquireFastMutex(lock);
    __try
    {
        switch (how)
        {
        case 0:
            return STATUS_NO_MEMORY;
        case 1:
            break; /* of the switch: nothing of the block's */
        case 2:
            __leave;
        default:
            goto done;
        }
        for (int i = 0; i < 4; i += 1)
        {
            if (i == 2)
            {
                break;
            }
        }
        return STATUS_DATA_ERROR;
    }
    __finally
    {
        ExReleaseFastMutex(lock);
    }
done:
    return status;
}

static void a_lock_is_released_by_every_way_out(void **state)
{
    static const NTSTATUS expected[] = { STATUS_NO_MEMORY, STATUS_DATA_ERROR, STATUS_SUCCESS,
                                         STATUS_SUCCESS };
    FAST_MUTEX lock;

    (void)state;
    ExInitializeFastMutex(&lock);
    for (int round = 0; round < 400; round += 1)
    {
        assert_int_equal(with_lock(&lock, round % 4), expected[round % 4]);
        assert_int_equal(KeGetCurrentIrql(), PASSIVE_LEVEL);
        no_frame_is_left();
    }
}

static void broken_off(PVOID context)
{
    int how = *(int *)context;

    while (how != 9)
    {
        __try
        {
            if (how == 0)
            {
                break;
            }
            ExRaiseStatus(STATUS_DATA_ERROR);
        }
        __except (EXCEPTION_EXECUTE_HANDLER)
        {
            break;
        }
    }
}

static void break_is_a_bug_check_and_not_silence(void **state)
{
    volatile int how;

    (void)state;
    for (how = 0; how < 2; how += 1)
    {
        int now = how;

        EXPECT_BUG_CHECK(KMODE_EXCEPTION_NOT_HANDLED, broken_off(&now));
        assert_int_equal(BugCheckParameters[0], (ULONG)STATUS_NOT_IMPLEMENTED);
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
        cmocka_unit_test_setup_teardown(the_finally_block_runs_however_the_block_ends, setup_threaded,
                                        teardown),
        cmocka_unit_test_setup_teardown(finally_blocks_may_raise_and_nest, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(what_is_taken_is_given_back, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(return_and_goto_run_the_finally_block_first, setup_threaded,
                                        teardown),
        cmocka_unit_test_setup_teardown(blocks_around_are_left_in_order, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(what_is_returned_survives_the_finally_block, setup_threaded,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_lock_is_released_by_every_way_out, setup_threaded, teardown),
        cmocka_unit_test_setup_teardown(break_is_a_bug_check_and_not_silence, setup_threaded, teardown),
    };

    return cmocka_run_group_tests_name("ke.seh", tests, NULL, NULL);
}
