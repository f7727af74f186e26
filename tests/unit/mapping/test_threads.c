/* SPDX-License-Identifier: MIT */
/*
 * Threads that map, write, trim, protect and unmap views of the same sections in several processes at once, with workers and a paging file.
 * Each thread owns one word of every page, so what it wrote last is what it must read.
 */
#include "views.h"

#define THREADS 4u
#define SHARED  3u
#define PAGES   600u /* two chunks */
#define ROUNDS  60u

static PSECTION Sections[SHARED];
static PEPROCESS Bodies[THREADS];
static ULONG64 Last[SHARED][THREADS][PAGES];

static void Touch(ULONG_PTR Base, ULONG Index, ULONG Section, TEST_RANDOM *Random)
{
    for (ULONG Count = 0; Count < 40; Count++)
    {
        ULONG Page = (ULONG)TestBelow(Random, PAGES);
        ULONG_PTR Va = Base + (ULONG_PTR)Page * PAGE_SIZE + Index * sizeof(ULONG64);
        ULONG64 Value = 0;

        assert_int_equal(HostSimRead(Va, &Value, sizeof(Value), NULL), STATUS_SUCCESS);
        assert_true(Value == Last[Section][Index][Page]);
        Value = TestDraw(Random);
        assert_int_equal(HostSimWrite(Va, &Value, sizeof(Value), NULL), STATUS_SUCCESS);
        Last[Section][Index][Page] = Value;
    }
}

static void OneRound(ULONG Index, TEST_RANDOM *Random)
{
    ULONG Section = (ULONG)TestBelow(Random, SHARED);
    MI_VIEW View = TestViewOf(Sections[Section], 0, (SIZE_T)PAGES * PAGE_SIZE, PAGE_READWRITE);
    PMI_ADDRESS_SPACE Space = &Bodies[Index]->Space;
    ULONG_PTR Base;
    SIZE_T Size = 64 * PAGE_SIZE;
    ULONG Old;

    assert_int_equal(MiMapView(Space, &View), STATUS_SUCCESS);
    Touch(View.Base, Index, Section, Random);
    switch (TestBelow(Random, 4))
    {
    case 0:
        MiEmptyWorkingSet(Space);
        break;
    case 1:
        Base = View.Base + TestBelow(Random, PAGES - 64) * PAGE_SIZE;
        assert_int_equal(MiProtectVirtualMemory(Space, &Base, &Size, PAGE_READONLY, &Old), STATUS_SUCCESS);
        assert_int_equal(MiProtectVirtualMemory(Space, &Base, &Size, PAGE_READWRITE, &Old), STATUS_SUCCESS);
        break;
    case 2:
        MiEmptyWorkingSet(Space);
        MiFlushModifiedPages();
        MiPurgeStandby(7);
        MiTrimPrototypePages();
        break;
    default:
        break;
    }
    Touch(View.Base, Index, Section, Random);
    assert_int_equal(MiUnmapView(Space, View.Base, 0), STATUS_SUCCESS);
}

static void Work(ULONG Index, void *Context)
{
    TEST_RANDOM Random = { .State = *(ULONG64 *)Context + Index };

    assert_int_equal(HostSetThreadSimulated(TRUE), STATUS_SUCCESS);
    TestRunInProcess(Bodies[Index]);
    KiCurrentThread()->CurrentMode = KernelMode;
    for (ULONG Round = 0; Round < ROUNDS; Round++)
    {
        OneRound(Index, &Random);
    }
    TestRunInProcess(NULL);
    assert_int_equal(HostSetThreadSimulated(FALSE), STATUS_SUCCESS);
}

static void threads_share_sections_without_losing_a_word(void **State)
{
    static const TEST_MACHINE Machine = {
        .RamMegabytes = 6, .Processors = 4, .PagingFiles = 1, .PagingMegabytes = 32, .Workers = TRUE
    };
    TEST_RANDOM Random = TestSeed("mapping.threads");

    (void)State;
    TestBootMachine(&Machine);
    for (ULONG Index = 0; Index < SHARED; Index++)
    {
        Sections[Index] = TestSectionOf((ULONG64)PAGES * PAGE_SIZE, PAGE_READWRITE, SEC_COMMIT);
    }
    for (ULONG Index = 0; Index < THREADS; Index++)
    {
        Bodies[Index] = TestNewProcess("body");
    }
    TestRunThreads(THREADS, Work, &Random.State);
    TestStopWorkers();
    MiCheckSections(3);
    for (ULONG Index = 0; Index < THREADS; Index++)
    {
        MiCheckSpace(&Bodies[Index]->Space, 2);
        MiCheckWorkingSet(&Bodies[Index]->Space);
        TestEndProcess(Bodies[Index]);
    }
    for (ULONG Index = 0; Index < SHARED; Index++)
    {
        ObDereferenceObjectBody(Sections[Index]);
    }
    TestShutdownMachine();
}

int main(void)
{
    const struct CMUnitTest Tests[] = { cmocka_unit_test(threads_share_sections_without_losing_a_word) };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
