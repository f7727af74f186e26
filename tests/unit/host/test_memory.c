/* SPDX-License-Identifier: MIT */
/*
 * The machine's RAM: runs and holes as configured, nothing of it paid for before it is touched, frames that can be given
 * back, and windows that keep out of what the Linux process occupies.
 */
#include "host_test.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static ULONG64 ResidentPages(void)
{
    FILE *File = fopen("/proc/self/statm", "r");
    unsigned long long Size = 0, Resident = 0;

    assert_non_null(File);
    assert_int_equal(fscanf(File, "%llu %llu", &Size, &Resident), 2);
    fclose(File);
    return Resident;
}

static void runs_and_holes_are_as_configured(void **State)
{
    HOST_PARAMETERS Parameters = {
        .RamBytes = 1001 * PAGE_SIZE, .RunCount = 4, .HoleBytes = 10 * PAGE_SIZE, .ProcessorCount = 3
    };
    PORT_MEMORY_RUN Runs[8];
    PFN_NUMBER Total = 0;
    ULONG Index;

    (void)State;
    assert_int_equal(HostInitializeMachine(&Parameters), STATUS_SUCCESS);
    assert_int_equal(PortQueryProcessorCount(), 3);
    assert_int_equal(PortQueryMemoryRuns(Runs, 8), 4);
    assert_true(Runs[0].BasePage == 1); /* frame 0 belongs to nobody */
    for (Index = 0; Index < 4; Index += 1)
    {
        PFN_NUMBER Last = Runs[Index].BasePage + Runs[Index].PageCount - 1;

        assert_true(Index == 0 ||
                    Runs[Index].BasePage == Runs[Index - 1].BasePage + Runs[Index - 1].PageCount + 10);
        assert_true(Runs[Index].Zeroed);
        *(ULONG64 *)PortDirectMap(Runs[Index].BasePage) = Index + 1;
        *(ULONG64 *)PortDirectMap(Last) = Index + 1;
        assert_true(PortDirectMapFrame(PortDirectMap(Last)) == Last);
        Total += Runs[Index].PageCount;
    }
    assert_true(Total == 1001);
    HostShutdownMachine();
}

static void wrong_parameters_leave_nothing_behind(void **State)
{
    HOST_PARAMETERS NoRam = { .RamBytes = 100 };
    HOST_PARAMETERS TooManyRuns = { .RamBytes = 1 << 20, .RunCount = HOST_MAXIMUM_RUNS + 1 };
    HOST_PARAMETERS TooManyProcessors = { .RamBytes = 1 << 20,
                                          .ProcessorCount = PORT_MAXIMUM_PROCESSORS + 1 };
    HOST_PARAMETERS TooMuch = { .RamBytes = PORT_DIRECT_MAP_SIZE + PAGE_SIZE };
    HOST_PARAMETERS Good = { .RamBytes = 1 << 20 };

    (void)State;
    assert_int_equal(HostInitializeMachine(&NoRam), STATUS_INVALID_PARAMETER);
    assert_int_equal(HostInitializeMachine(&TooManyRuns), STATUS_INVALID_PARAMETER);
    assert_int_equal(HostInitializeMachine(&TooManyProcessors), STATUS_INVALID_PARAMETER);
    assert_int_equal(HostInitializeMachine(&TooMuch), STATUS_INVALID_PARAMETER);
    assert_int_equal(HostInitializeMachine(&Good), STATUS_SUCCESS);
    assert_int_equal(HostInitializeMachine(&Good), STATUS_DEVICE_ALREADY_ATTACHED);
    HostShutdownMachine();
    HostShutdownMachine();
    assert_int_equal(HostInitializeMachine(&Good), STATUS_SUCCESS);
    HostShutdownMachine();
}

static void a_large_machine_costs_nothing_until_touched(void **State)
{
    /* As much as the build's direct map can hold, at most 1 TiB. */
    HOST_PARAMETERS Parameters = { .RamBytes = 1ull << 40, .RunCount = 2, .HoleBytes = 1 << 30 };
    struct timespec Start, End;
    ULONG64 Before = ResidentPages();
    PORT_MEMORY_RUN Runs[2];

    (void)State;
    if (Parameters.RamBytes + (2ull << 30) > PORT_DIRECT_MAP_SIZE)
    {
        Parameters.RamBytes = PORT_DIRECT_MAP_SIZE - (2ull << 30);
    }
    clock_gettime(CLOCK_MONOTONIC, &Start);
    assert_int_equal(HostInitializeMachine(&Parameters), STATUS_SUCCESS);
    clock_gettime(CLOCK_MONOTONIC, &End);
    assert_true(End.tv_sec - Start.tv_sec < 1 ||
                (End.tv_sec - Start.tv_sec == 1 && End.tv_nsec < Start.tv_nsec));
    assert_int_equal(PortQueryMemoryRuns(Runs, 2), 2);
    *(ULONG64 *)PortDirectMap(Runs[1].BasePage + Runs[1].PageCount - 1) = 1;
    assert_true(ResidentPages() - Before < 2048);
    HostShutdownMachine();
}

static void discarded_frames_read_as_zero(void **State)
{
    PFN_NUMBER Top = TestStartSpace(NULL);
    PFN_NUMBER Frames = TestAllocateFrames(16);
    ULONG Index;

    (void)State;
    for (Index = 0; Index < 16; Index += 1)
    {
        *(ULONG64 *)PortDirectMap(Frames + Index) = Index + 1;
    }
    TestMap(Top, BASE, Frames + 4, USER_DATA);
    assert_true(READ64(BASE) == 5);
    assert_true(PortDiscardFrames(Frames + 2, 8));
    for (Index = 0; Index < 16; Index += 1)
    {
        assert_true(*(ULONG64 *)PortDirectMap(Frames + Index) == (Index >= 2 && Index < 10 ? 0 : Index + 1));
    }
    assert_true(READ64(BASE) == 0);
    READ64(BASE) = 6;
    assert_true(*(ULONG64 *)PortDirectMap(Frames + 4) == 6);
    TestStopSpace();
}

static void prepared_frames_keep_their_contents(void **State)
{
    enum
    {
        Count = 4 * 512
    };
    PFN_NUMBER Top = TestStartSpace(NULL);
    PFN_NUMBER Frames = TestAllocateFrames(Count);
    ULONG Index;

    (void)State;
    for (Index = 0; Index < Count; Index += 300)
    {
        *(ULONG64 *)PortDirectMap(Frames + Index) = Index + 1;
    }
    TestMap(Top, BASE, Frames + 600, USER_DATA);
    assert_true(READ64(BASE) == 601);
    PortPrepareFrames(Frames, Count);
    for (Index = 0; Index < Count; Index += 1)
    {
        assert_true(*(ULONG64 *)PortDirectMap(Frames + Index) == (Index % 300 == 0 ? Index + 1 : 0));
    }
    READ64(BASE) = 7;
    assert_true(*(ULONG64 *)PortDirectMap(Frames + 600) == 7);
    assert_true(PortDiscardFrames(Frames + 600, 1));
    assert_true(READ64(BASE) == 0);
    assert_true(*(ULONG64 *)PortDirectMap(Frames + 900) == 901);
    PortPrepareFrames(Frames + HostMachine.TopFrame, 4 * 512); /* beyond RAM: nothing */
    TestStopSpace();
}

/* What Linux has in its cache of the RAM file. */
static ULONG PresentPages(PFN_NUMBER First, ULONG Count)
{
    static unsigned char Present[4096];
    ULONG Sum = 0;

    assert_int_equal(mincore(PortDirectMap(First), (SIZE_T)Count << PAGE_SHIFT, Present), 0);
    for (ULONG Index = 0; Index < Count; Index += 1)
    {
        Sum += Present[Index] & 1;
    }
    return Sum;
}

static void populated_ram_is_there_from_the_start(void **State)
{
    HOST_PARAMETERS Parameters = { .RamBytes = 3000 * PAGE_SIZE,
                                   .RunCount = 2,
                                   .HoleBytes = 700 * PAGE_SIZE };
    PORT_MEMORY_RUN Runs[2];

    (void)State;
    assert_int_equal(HostInitializeMachine(&Parameters), STATUS_SUCCESS);
    assert_int_equal(PortQueryMemoryRuns(Runs, 2), 2);
    assert_int_equal(PresentPages(Runs[0].BasePage, 1500) + PresentPages(Runs[1].BasePage, 1500), 0);
    assert_false(HostIsLargeFrame(Runs[0].BasePage + 512));
    HostShutdownMachine();
    Parameters.PopulateRam = TRUE;
    assert_int_equal(HostInitializeMachine(&Parameters), STATUS_SUCCESS);
    assert_int_equal(PresentPages(Runs[0].BasePage, 1500) + PresentPages(Runs[1].BasePage, 1500), 3000);
    for (ULONG Index = 0; Index < 3000; Index += 1)
    {
        PFN_NUMBER Frame = Index < 1500 ? Runs[0].BasePage + Index : Runs[1].BasePage + Index - 1500;

        assert_int_equal(*(ULONG64 *)PortDirectMap(Frame), 0);
    }
    /* A hole in the RAM file breaks a large page up; whether Linux made one at all is its affair. */
    assert_true(PortDiscardFrames(Runs[0].BasePage + 600, 1));
    assert_false(HostIsLargeFrame(Runs[0].BasePage + 600));
    assert_false(HostIsLargeFrame(HostMachine.TopFrame));
    HostShutdownMachine();
}

static void boot_memory_is_zero_and_comes_back(void **State)
{
    SIZE_T Bytes = (SIZE_T)64 << 30;
    PUCHAR Memory = PortAllocateBootMemory(Bytes);

    (void)State;
    assert_non_null(Memory);
    assert_true(((ULONG_PTR)Memory & (PAGE_SIZE - 1)) == 0);
    assert_int_equal(Memory[Bytes - 1], 0);
    Memory[Bytes / 2] = 1;
    PortFreeBootMemory(Memory, Bytes);
}

#if !NTMM_ASAN && !NTMM_TSAN /* their own shadow memory is beyond any such limit */
static void strict_accounting_is_no_obstacle(void **State)
{
    struct rlimit Old, Small;
    PFN_NUMBER Top;

    (void)State;
    assert_int_equal(getrlimit(RLIMIT_DATA, &Old), 0);
    Small = Old;
    Small.rlim_cur =
        1ull << 30; /* less than the records of the windows would take if they were paid for at once */
    assert_int_equal(setrlimit(RLIMIT_DATA, &Small), 0);
    Top = TestStartSpace(NULL);
    TestMap(Top, BASE, TestAllocateFrame(), USER_DATA);
    READ64(BASE) = 3;
    PortFlushTb(Top, NULL, 0);
    assert_true(READ64(BASE) == 3);
    TestStopSpace();
    assert_int_equal(setrlimit(RLIMIT_DATA, &Old), 0);
}
#endif

static void what_linux_occupies_is_reported_and_left_alone(void **State)
{
    ULONG_PTR Wanted = BASE + 0x20003000;
    PUCHAR Mine = mmap((void *)Wanted, 3 * PAGE_SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    PORT_ADDRESS_RANGE Ranges[HOST_MAXIMUM_OCCUPIED];
    PFN_NUMBER Top;
    ULONG Count, Index;
    BOOLEAN Found = FALSE;

    (void)State;
    assert_true(Mine == (PUCHAR)Wanted);
    Mine[5] = 99;
    Top = TestStartSpace(NULL);
    Count = PortQueryOccupiedRanges(Ranges, HOST_MAXIMUM_OCCUPIED);
    for (Index = 0; Index < Count; Index += 1)
    {
        assert_true(Index == 0 || Ranges[Index].Start > Ranges[Index - 1].End);
        assert_true(Ranges[Index].Start >= PORT_USER_LOWEST && Ranges[Index].End <= PORT_USER_HIGHEST);
        Found = Found || (Ranges[Index].Start == BASE + 0x20000000 && Ranges[Index].End == BASE + 0x2000ffff);
    }
    assert_true(Found);
    /* NT pages around it, in the same region, come and go. */
    TestMap(Top, BASE + 0x20010000, TestAllocateFrame(), USER_DATA);
    TestMap(Top, BASE + 0x1ffff000, TestAllocateFrame(), USER_DATA);
    READ64(BASE + 0x20010000) = 1;
    READ64(BASE + 0x1ffff000) = 2;
    TestFlush(Top, BASE + 0x1ffff000, 0x40);
    assert_true(READ64(BASE + 0x20010000) == 1);
    PortFlushTb(Top, NULL, 0);
    assert_true(READ64(BASE + 0x1ffff000) == 2);
    assert_int_equal(Mine[5], 99);
    TestStopSpace();
    assert_int_equal(Mine[5], 99);
    assert_int_equal(munmap(Mine, 3 * PAGE_SIZE), 0);
}

#if !NTMM_ASAN && !NTMM_TSAN /* they need a layout of their own */
static int Again(void)
{
    return getenv("NTMM_TEST_AGAIN") != NULL;
}

/* With an unlimited stack Linux puts its mappings where NT's user window is. All of these tests must hold there, too. */
static void a_crowded_layout_is_no_obstacle(void **State)
{
    int Status = -1;
    pid_t Child;

    (void)State;
    if (Again())
    {
        return;
    }
    fflush(stdout);
    Child = fork();
    assert_true(Child >= 0);
    if (Child == 0)
    {
        struct rlimit Unlimited = { RLIM_INFINITY, RLIM_INFINITY };

        setenv("NTMM_TEST_AGAIN", "1", 1);
        if (setrlimit(RLIMIT_STACK, &Unlimited) == 0)
        {
            execl("/proc/self/exe", "test_memory", (char *)NULL);
        }
        _exit(0); /* not allowed to here */
    }
    assert_int_equal(waitpid(Child, &Status, 0), Child);
    assert_true(WIFEXITED(Status));
    assert_int_equal(WEXITSTATUS(Status), 0);
}
#endif

static void linux_maps_nothing_into_the_windows(void **State)
{
    ULONG Index;

    (void)State;
    TestStart(NULL);
    for (Index = 0; Index < 200; Index += 1)
    {
        /* A hint into the window is only a hint. */
        PUCHAR Memory = mmap((void *)(BASE + 0x100000000ull * Index), 1 << 20, PROT_READ,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        assert_true(Memory != MAP_FAILED);
        assert_false(HostIsUserAddress((ULONG_PTR)Memory) || HostIsSystemAddress((ULONG_PTR)Memory));
        munmap(Memory, 1 << 20);
    }
    TestStop();
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(runs_and_holes_are_as_configured),
        cmocka_unit_test(wrong_parameters_leave_nothing_behind),
        cmocka_unit_test(a_large_machine_costs_nothing_until_touched),
        cmocka_unit_test(discarded_frames_read_as_zero),
        cmocka_unit_test(prepared_frames_keep_their_contents),
        cmocka_unit_test(populated_ram_is_there_from_the_start),
        cmocka_unit_test(boot_memory_is_zero_and_comes_back),
#if !NTMM_ASAN && !NTMM_TSAN
        cmocka_unit_test(strict_accounting_is_no_obstacle),
        cmocka_unit_test(a_crowded_layout_is_no_obstacle),
#endif
        cmocka_unit_test(what_linux_occupies_is_reported_and_left_alone),
        cmocka_unit_test(linux_maps_nothing_into_the_windows),
    };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
