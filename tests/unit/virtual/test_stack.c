/* SPDX-License-Identifier: MIT */
/* User stacks: the guard page moves down, the last page never is one. */
#include "process.h"

static MI_USER_STACK make(SIZE_T reserve, SIZE_T commit)
{
    MI_USER_STACK stack;

    assert_int_equal(MmCreateUserStack(&TestUserProcess->Space, reserve, commit, &stack), STATUS_SUCCESS);
    KiCurrentThread()->StackBase = stack.StackBase;
    KiCurrentThread()->StackLimit = stack.StackLimit;
    KiCurrentThread()->DeallocationStack = stack.DeallocationStack;
    return stack;
}

static void drop(MI_USER_STACK *stack)
{
    KiCurrentThread()->StackBase = NULL;
    KiCurrentThread()->StackLimit = NULL;
    KiCurrentThread()->DeallocationStack = NULL;
    assert_int_equal(MmDeleteUserStack(&TestUserProcess->Space, stack), STATUS_SUCCESS);
}

static void a_new_stack_is_reserved_guarded_and_committed(void **state)
{
    MI_USER_STACK stack = make(0, 0);
    ULONG_PTR limit = (ULONG_PTR)stack.StackLimit;
    ULONG_PTR bottom = (ULONG_PTR)stack.DeallocationStack;

    (void)state;
    assert_int_equal((ULONG_PTR)stack.StackBase - bottom, 1 << 20);
    TEST_EXPECT_REGION(bottom, limit - PAGE_SIZE - bottom, MEM_RESERVE, 0);
    TEST_EXPECT_REGION(limit - PAGE_SIZE, PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE | PAGE_GUARD);
    TEST_EXPECT_REGION(limit, (ULONG_PTR)stack.StackBase - limit, MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(TestVmCharge(), 5);
    drop(&stack);
    assert_int_equal(TestVmCharge(), 0);
}

static void touching_the_guard_page_grows_the_stack(void **state)
{
    MI_USER_STACK stack = make(1 << 20, PAGE_SIZE);
    ULONG_PTR top = (ULONG_PTR)stack.StackBase;

    (void)state;
    for (ULONG page = 0; page < 100; page++)
    {
        TestVmPut(top - page * PAGE_SIZE - 8, (UCHAR)page);
        assert_ptr_equal(KiCurrentThread()->StackLimit, top - (page + 1) * PAGE_SIZE);
        assert_int_equal(TestVmCharge(), page + 2);
    }
    TEST_EXPECT_REGION(top - 101 * PAGE_SIZE, PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE | PAGE_GUARD);
    for (ULONG page = 0; page < 100; page++)
    {
        assert_int_equal(TestVmGet(top - page * PAGE_SIZE - 8), (UCHAR)page);
    }
    assert_int_equal(MiQueryCounter(MiCounterStackGrowths), 99);
    drop(&stack);
}

static void skipping_the_guard_page_is_an_access_violation(void **state)
{
    MI_USER_STACK stack = make(1 << 20, PAGE_SIZE);

    (void)state;
    assert_int_equal(TestVmTryPut((ULONG_PTR)stack.StackBase - 3 * PAGE_SIZE, 1), STATUS_ACCESS_VIOLATION);
    drop(&stack);
}

static void the_end_is_a_stack_overflow(void **state)
{
    MI_USER_STACK stack = make(0x10000, PAGE_SIZE);
    ULONG_PTR top = (ULONG_PTR)stack.StackBase;
    ULONG_PTR bottom = (ULONG_PTR)stack.DeallocationStack;
    ULONG_PTR va = top - 8;
    EXCEPTION_RECORD record;
    UCHAR value = 1;
    NTSTATUS status;

    (void)state;
    /* Reserve of 64 KiB is enlarged where it does not hold a stack at all; here it does. */
    while ((status = HostSimWrite(va, &value, 1, &record)) == STATUS_SUCCESS)
    {
        va -= PAGE_SIZE;
    }
    assert_int_equal(status, STATUS_STACK_OVERFLOW);
    assert_int_equal(va & ~(ULONG_PTR)(PAGE_SIZE - 1), bottom + PAGE_SIZE);
    /* The page is there now, to handle the exception on; the last one never is. */
    TestVmPut(va, 1);
    assert_int_equal(TestVmTryPut(bottom + 8, 1), STATUS_ACCESS_VIOLATION);
    assert_int_equal(TestVmQuery(bottom).State, MEM_RESERVE);
    drop(&stack);
}

static void growth_that_cannot_be_committed_is_a_stack_overflow(void **state)
{
    MI_USER_STACK stack = make(1 << 20, PAGE_SIZE);
    ULONG_PTR top = (ULONG_PTR)stack.StackBase;

    (void)state;
    TestUserProcess->Space.CommitChargeLimit = TestUserProcess->Space.CommitCharge;
    assert_int_equal(TestVmTryPut(top - PAGE_SIZE - 8, 1), STATUS_STACK_OVERFLOW);
    TestUserProcess->Space.CommitChargeLimit = 0;
    TestVmPut(top - PAGE_SIZE - 8, 1);
    drop(&stack);
}

static NTSTATUS create(ULONG_PTR context)
{
    MI_USER_STACK stack;
    NTSTATUS status = MmCreateUserStack(&TestUserProcess->Space, context, 0x3000, &stack);

    if (NT_SUCCESS(status))
    {
        assert_int_equal(MmDeleteUserStack(&TestUserProcess->Space, &stack), STATUS_SUCCESS);
    }
    return status;
}

static void every_failure_leaves_nothing_behind(void **state)
{
    (void)state;
    TestWithFailures(KiInjectPool, create, 1 << 20);
    TestWithFailures(KiInjectCommit, create, 1 << 20);
    TestWithFailures(KiInjectFrame, create, 1 << 20);
    assert_int_equal(TestUserProcess->Space.PageTablePages, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST_IN_PROCESS(a_new_stack_is_reserved_guarded_and_committed),
        TEST_IN_PROCESS(touching_the_guard_page_grows_the_stack),
        TEST_IN_PROCESS(skipping_the_guard_page_is_an_access_violation),
        TEST_IN_PROCESS(the_end_is_a_stack_overflow),
        TEST_IN_PROCESS(growth_that_cannot_be_committed_is_a_stack_overflow),
        TEST_IN_PROCESS(every_failure_leaves_nothing_behind),
    };

    return cmocka_run_group_tests_name("virtual.stack", tests, NULL, NULL);
}
