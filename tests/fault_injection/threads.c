/* SPDX-License-Identifier: MIT */
/* Threads that cannot be made: the first, the second, ... of several. Needs a machine with threads, unlike services.c. */
#include "boot.h"

static VOID CountThread(PVOID Context)
{
    __atomic_fetch_add((ULONG *)Context, 1, __ATOMIC_RELAXED);
}

static void a_thread_that_cannot_be_made_leaves_nothing(void **State)
{
    static const TEST_MACHINE Machine = { .RamMegabytes = 8, .Processors = 2, .PagingFiles = 1 };
    ULONG64 Failed = 1;
    ULONG Ran = 0;

    (void)State;
    for (ULONG64 Nth = 1; Failed != 0; Nth++)
    {
        KTHREAD Threads[3];
        NTSTATUS Status[3];

        TestBootMachine(&Machine);
        KiSetInjection(KiInjectThread, Nth, FALSE);
        for (ULONG Index = 0; Index < 3; Index++)
        {
            Status[Index] = KiStartThread(&Threads[Index], CountThread, &Ran, Index % 2);
        }
        KiQueryInjection(KiInjectThread, &Failed);
        KiSetInjection(KiInjectThread, 0, FALSE);
        for (ULONG Index = 0; Index < 3; Index++)
        {
            assert_int_equal(Status[Index],
                             Index + 1 == Nth ? STATUS_INSUFFICIENT_RESOURCES : STATUS_SUCCESS);
            if (NT_SUCCESS(Status[Index]))
            {
                KiJoinThread(&Threads[Index]);
            }
        }
        TestShutdownMachine();
    }
    assert_int_equal(Ran, 2 + 2 + 2 + 3);
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(a_thread_that_cannot_be_made_leaves_nothing),
    };

    return cmocka_run_group_tests_name("fault_injection.threads", Tests, NULL, NULL);
}
