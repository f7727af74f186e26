/* SPDX-License-Identifier: MIT */
/*
 * Gang scheduling: threads of several address spaces use the same addresses natively, and each sees only its own bytes, whether
 * it gives way by waiting, is preempted in user mode, or switches spaces itself.
 */
#include "host_test.h"

#define SPACES  3u
#define THREADS 6u
#define PAGES   20u

static PFN_NUMBER Tops[SPACES];
static KTHREAD Threads[THREADS];
static volatile ULONG Errors;
static volatile ULONG64 Rounds[THREADS];
static volatile ULONG Stop;
static BOOLEAN WithWaits;
static volatile KSPIN_LOCK MapLock;

static NTSTATUS MapOnDemand(ULONG FaultStatus, ULONG_PTR Address)
{
    volatile ULONG64 *Pte;

    (void)FaultStatus;
    while (__atomic_exchange_n(&MapLock, 1, __ATOMIC_ACQUIRE) != 0)
    {
        PortYield();
    }
    Pte = TestPte(HostCurrentSpace(), Address);
    if ((__atomic_load_n(Pte, __ATOMIC_SEQ_CST) & PRESENT) == 0)
    {
        __atomic_store_n(Pte, (TestAllocateFrame() << PAGE_SHIFT) | USER_DATA, __ATOMIC_SEQ_CST);
    }
    __atomic_store_n(&MapLock, 0, __ATOMIC_RELEASE);
    return STATUS_SUCCESS;
}

/* Like a client: user mode, ordinary memory accesses, no system calls unless it waits. */
static VOID Client(PVOID Context)
{
    ULONG Self = (ULONG)(ULONG_PTR)Context;
    ULONG Space = Self % SPACES;
    PKTHREAD Thread = KiCurrentThread();
    ULONG Page;
    ULONG64 Round;

    PortLoadAddressSpace(Tops[Space]);
    Thread->CurrentMode = UserMode;
    for (Round = 1; __atomic_load_n(&Stop, __ATOMIC_RELAXED) == 0; Round += 1)
    {
        for (Page = 0; Page < PAGES; Page += 1)
        {
            /* Each thread has its own word in each page; the address is the same in all spaces. */
            volatile ULONG64 *Word = (volatile ULONG64 *)(BASE + Page * PAGE_SIZE + (Self / SPACES) * 8);
            ULONG64 Expected = Round == 1 ? 0 : ((ULONG64)Space << 56) | (Round - 1);
            ULONG64 Seen = *Word; /* plain: between spaces the gang orders the accesses, TSan checks it */

            if (Seen != Expected)
            {
                fprintf(stderr, "thread %u saw %llx, expected %llx\n", Self, Seen, Expected);
                __atomic_fetch_add(&Errors, 1, __ATOMIC_RELAXED);
                __atomic_store_n(&Stop, 1, __ATOMIC_RELAXED);
            }
            *Word = ((ULONG64)Space << 56) | Round;
        }
        __atomic_store_n(&Rounds[Self], Round, __ATOMIC_RELAXED);
        if (WithWaits && Round % 50 == 0)
        {
            /* A short wait in the kernel: the gang loses a member. */
            Thread->CurrentMode = KernelMode;
            PortParkThread(&Thread->Port, PortQueryClock() + 100000);
            Thread->CurrentMode = UserMode;
        }
    }
    Thread->CurrentMode = KernelMode;
    PortLoadAddressSpace(0);
}

static void RunGangs(BOOLEAN Waits, ULONG Slice)
{
    HOST_PARAMETERS Parameters = { .RamBytes = 64 << 20, .ProcessorCount = 4, .TimeSlice = Slice };
    HOST_COUNTERS Counters;
    ULONG64 Deadline;
    ULONG Index;
    BOOLEAN All;

    TestStart(&Parameters);
    TestResolver = MapOnDemand;
    WithWaits = Waits;
    Stop = Errors = 0;
    for (Index = 0; Index < SPACES; Index += 1)
    {
        Tops[Index] = TestAllocateFrame();
    }
    for (Index = 0; Index < THREADS; Index += 1)
    {
        Rounds[Index] = 0;
        assert_int_equal(KiStartThread(&Threads[Index], Client, (PVOID)(ULONG_PTR)Index, ~0u),
                         STATUS_SUCCESS);
    }
    /* At least a second, and until everybody has come forward. */
    Deadline = PortQueryClock() + 1000000000ull;
    do
    {
        PortParkThread(&TestThread.Port, PortQueryClock() + 50000000ull);
        All = TRUE;
        for (Index = 0; Index < THREADS; Index += 1)
        {
            All = All && __atomic_load_n(&Rounds[Index], __ATOMIC_RELAXED) > 100;
        }
    } while ((PortQueryClock() < Deadline || !All) && Errors == 0 &&
             PortQueryClock() < Deadline + 60000000000ull);
    __atomic_store_n(&Stop, 1, __ATOMIC_RELAXED);
    for (Index = 0; Index < THREADS; Index += 1)
    {
        KiJoinThread(&Threads[Index]);
    }
    HostQueryCounters(&Counters);
    assert_int_equal(Errors, 0);
    assert_true(All);
    assert_true(Counters.GangSwitches > 10);
    assert_true(Waits || Counters.GangPreemptions > 10);
    TestStop();
}

static void preempted_threads_see_only_their_own_bytes(void **State)
{
    (void)State;
    RunGangs(FALSE, 3000);
}

static void waiting_threads_see_only_their_own_bytes(void **State)
{
    (void)State;
    RunGangs(TRUE, 10000);
}

static void a_lone_thread_switches_without_waiting(void **State)
{
    HOST_COUNTERS Counters;
    ULONG Index;

    (void)State;
    TestStart(NULL);
    TestResolver = MapOnDemand;
    for (Index = 0; Index < SPACES; Index += 1)
    {
        Tops[Index] = TestAllocateFrame();
    }
    for (Index = 0; Index < 300; Index += 1)
    {
        PortLoadAddressSpace(Tops[Index % SPACES]);
        assert_true(READ64(BASE) == Index / SPACES);
        READ64(BASE) = Index / SPACES + 1;
    }
    HostQueryCounters(&Counters);
    assert_true(Counters.GangWaits == 0);
    assert_true(Counters.GangSwitches == 300);
    PortLoadAddressSpace(0);
    TestStop();
}

static void a_top_level_frame_may_be_used_again(void **State)
{
    ULONG Round;

    (void)State;
    TestStart(NULL);
    TestResolver = MapOnDemand;
    Tops[0] = TestAllocateFrame();
    for (Round = 0; Round < 10; Round += 1)
    {
        PortLoadAddressSpace(Tops[0]);
        assert_true(READ64(BASE) == 0);
        READ64(BASE) = 1;
        PortLoadAddressSpace(0);
        /* The process is deleted, its top-level page freed and used for the next. */
        memset(PortDirectMap(Tops[0]), 0, PAGE_SIZE);
        PortFlushTb(Tops[0], NULL, 0);
    }
    TestStop();
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(preempted_threads_see_only_their_own_bytes),
        cmocka_unit_test(waiting_threads_see_only_their_own_bytes),
        cmocka_unit_test(a_lone_thread_switches_without_waiting),
        cmocka_unit_test(a_top_level_frame_may_be_used_again),
    };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
