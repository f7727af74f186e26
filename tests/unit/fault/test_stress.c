/* SPDX-License-Identifier: MIT */
/*
 * Three processes with more pages than the machine has frames, touched, trimmed, written out, purged,
 * discarded and protected at random, with every page's contents known. By four threads on two processors at
 * once (what ThreadSanitizer watches), and by one thread deterministically: NTMM_SEED repeats a run,
 * NTMM_ITERATIONS makes it longer.
 */
#include "pages.h"

#define SPACES  3
#define PAGES   640 /* of each space: in four page tables */
#define BLOCK   16  /* pages in a row that belong to one thread */
#define THREADS 4
#define SHARED  64 /* the first pages of space 1 begin as a clone of space 0's */

static PEPROCESS Processes[SPACES + 1];
static ULONG64 Contents[SPACES][PAGES]; /* the owner's */
static ULONG Workers;                   /* threads of this run */

/* Assertions of cmocka belong to its own thread. */
#define CHECK(Expression) ((Expression) ? (void)0 : Fail(#Expression, __LINE__))

static void Fail(const char *Expression, int Line)
{
    fprintf(stderr, "stress: %s, line %d\n", Expression, Line);
    abort();
}

/* Blocks are spread over four page tables, so that tables empty and come back too. */
static ULONG_PTR AddressOf(ULONG Page)
{
    return TEST_BASE + (Page / BLOCK % 4) * MI_LEVEL_BYTES(1) +
           (Page / BLOCK / 4 * BLOCK + Page % BLOCK) * PAGE_SIZE;
}

static ULONG OwnerOf(ULONG Space, ULONG Page)
{
    return (Page / BLOCK + Space) % Workers;
}

/* ---- Operations on a page of the thread's own ---------------------------------------------------------- */

static void CheckPage(ULONG Space, ULONG Page)
{
    ULONG64 First = 0, Last = 0;

    CHECK(HostSimRead(AddressOf(Page), &First, 8, NULL) == STATUS_SUCCESS);
    CHECK(HostSimRead(AddressOf(Page) + PAGE_SIZE - 8, &Last, 8, NULL) == STATUS_SUCCESS);
    CHECK(First == Contents[Space][Page] && Last == First);
}

static void WritePage(ULONG Space, ULONG Page, ULONG64 Value)
{
    CHECK(HostSimWrite(AddressOf(Page), &Value, 8, NULL) == STATUS_SUCCESS);
    CHECK(HostSimWrite(AddressOf(Page) + PAGE_SIZE - 8, &Value, 8, NULL) == STATUS_SUCCESS);
    Contents[Space][Page] = Value;
}

static void DiscardPage(ULONG Space, ULONG Page)
{
    PMI_ADDRESS_SPACE Target = &Processes[Space]->Space;
    MI_DELETE_BATCH Batch;
    BOOLEAN Dropped = FALSE;
    PMMPTE PointerPte;
    KIRQL OldIrql;

    MiLockSpaceExclusive(Target);
    CHECK(MiMakePageTableResident(Target, AddressOf(Page), &PointerPte, &Dropped) == STATUS_SUCCESS);
    OldIrql = KiRaiseIrqlToDispatch();
    MiBeginDeleteBatch(&Batch, Target);
    MiDeleteEntry(&Batch, PointerPte, AddressOf(Page), MiMakeDemandZeroPte(MM_READWRITE));
    MiEndDeleteBatch(&Batch);
    KiLowerIrqlFromDispatch(OldIrql);
    MiUnlockSpaceExclusive(Target);
    Contents[Space][Page] = 0;
}

static void ProtectPage(ULONG Space, ULONG Page)
{
    ULONG64 Value = 1;

    CheckPage(Space, Page); /* the entry is not zero any more */
    TestProtect(Processes[Space], AddressOf(Page), 1, MM_READONLY);
    CheckPage(Space, Page);
    CHECK(HostSimWrite(AddressOf(Page), &Value, 8, NULL) == STATUS_ACCESS_VIOLATION);
    TestProtect(Processes[Space], AddressOf(Page), 1, MM_READWRITE | MM_GUARD_PAGE);
    CHECK(HostSimRead(AddressOf(Page), &Value, 8, NULL) == STATUS_GUARD_PAGE_VIOLATION);
    CheckPage(Space, Page);
}

/* ---- What happens to everybody's pages ----------------------------------------------------------------- */

static void Disturb(ULONG Kind, PEPROCESS Process, TEST_RANDOM *Random)
{
    switch (Kind)
    {
    case 0:
        TestTrim(Process, AddressOf((ULONG)TestBelow(Random, PAGES)), 1 + TestBelow(Random, 200));
        break;
    case 1:
        MiTrimWorkingSet(&Process->Space, 1 + TestBelow(Random, 100), (ULONG)TestBelow(Random, 3));
        break;
    case 2:
        MiPurgeStandby((ULONG)TestBelow(Random, 8));
        break;
    case 3:
        MiEmptyWorkingSet(&Process->Space);
        break;
    case 4:
        MiTrimPageTables(&Process->Space);
        break;
    case 5:
        MiPrefetchAddress(&Process->Space, AddressOf((ULONG)TestBelow(Random, PAGES)), 8);
        break;
    case 6:
        MiFlushModifiedPages();
        break;
    default:
        KiWakeWorker(&MiState.Paging->ModifiedWriter);
        break;
    }
}

static void Step(ULONG Thread, TEST_RANDOM *Random)
{
    ULONG Space = (ULONG)TestBelow(Random, SPACES);
    ULONG Page = (ULONG)TestBelow(Random, PAGES);
    ULONG Kind = (ULONG)TestBelow(Random, 100);
    ULONG Length = Kind < 20 ? BLOCK - Page % BLOCK : 1;

    while (OwnerOf(Space, Page) != Thread)
    {
        Page = (Page + BLOCK) % PAGES;
    }
    TestEnter(Processes[Space]);
    if (Kind < 40)
    {
        for (ULONG Index = 0; Index < Length; Index++)
        {
            CheckPage(Space, Page + Index);
        }
    }
    else if (Kind < 80)
    {
        WritePage(Space, Page, TestDraw(Random) | 1);
    }
    else if (Kind < 84)
    {
        DiscardPage(Space, Page);
    }
    else if (Kind < 88)
    {
        ProtectPage(Space, Page);
    }
    else if (TestBelow(Random, 4) == 0)
    {
        Disturb((ULONG)TestBelow(Random, TestBelow(Random, 20) == 0 ? 8 : 6), Processes[Space], Random);
    }
}

/* ---- Runs ---------------------------------------------------------------------------------------------- */

static void BuildProcesses(void)
{
    for (ULONG Space = 0; Space < SPACES; Space++)
    {
        Processes[Space] = TestCreateProcess();
    }
    memset(Contents, 0, sizeof(Contents));
    for (ULONG Space = 0; Space < SPACES; Space++)
    {
        for (ULONG Table = 0; Table < 4; Table++)
        {
            if (Space != 1)
            {
                TestCommit(Processes[Space], TEST_BASE + Table * MI_LEVEL_BYTES(1), PAGES / 4, MM_READWRITE);
            }
        }
    }
    TestEnter(Processes[0]);
    for (ULONG Page = 0; Page < SHARED; Page++)
    {
        WritePage(0, Page, Page + 1);
        Contents[1][Page] = Page + 1;
    }
    for (ULONG Table = 0; Table < 4; Table++)
    {
        TestShare(Processes[0], Processes[1], TEST_BASE + Table * MI_LEVEL_BYTES(1), PAGES / 4);
    }
}

static void CheckAll(void)
{
    for (ULONG Space = 0; Space < SPACES; Space++)
    {
        TestEnter(Processes[Space]);
        for (ULONG Page = 0; Page < PAGES; Page++)
        {
            CheckPage(Space, Page);
        }
    }
}

static void EndProcesses(void)
{
    TestCheckMachine(Processes);
    TestEnter(NULL);
    for (ULONG Space = 0; Space < SPACES; Space++)
    {
        TestDeleteProcess(Processes[Space]);
    }
}

typedef struct
{
    ULONG64 Seed;
    ULONG64 Steps;
} RUN;

static void RunThread(ULONG Index, void *Context)
{
    const RUN *Run = Context;
    TEST_RANDOM Random = { .State = Run->Seed + Index * 7919 };

    for (ULONG64 Done = 0; Done < Run->Steps; Done++)
    {
        Step(Index, &Random);
    }
    TestEnter(NULL);
}

static void four_threads_on_two_processors_see_their_contents(void **State)
{
    static const TEST_MACHINE Machine = {
        .RamMegabytes = 5, .Processors = 2, .PagingFiles = 2, .PagingMegabytes = 8, .Workers = TRUE
    };
    RUN Run = { .Seed = TestSeed("stress").State, .Steps = TestIterations(4000) };

    (void)State;
    TestBootMachine(&Machine);
    Workers = THREADS;
    BuildProcesses();
    TestEnter(NULL);
    TestRunThreads(THREADS, RunThread, &Run);
    CheckAll();
    TestStopWorkers();
    EndProcesses();
    print_message("%llu hard faults, %llu written, %llu collided, %llu repurposed, %llu tables trimmed\n",
                  MiQueryCounter(MiCounterPagingFileFaults), MiQueryCounter(MiCounterPagesOutput),
                  MiQueryCounter(MiCounterCollidedFaults), MiQueryCounter(MiCounterPagesRepurposed),
                  MiQueryCounter(MiCounterPageTablePagesTrimmed));
    assert_true(MiQueryCounter(MiCounterPagingFileFaults) != 0);
    TestShutdownMachine();
}

/* One run from its seed; a sum over what happened. */
static ULONG64 RunDeterministic(ULONG64 Seed, ULONG64 Steps)
{
    TEST_MACHINE Machine = {
        .RamMegabytes = 4, .Deterministic = TRUE, .Seed = Seed, .PagingFiles = 1, .Workers = TRUE
    };
    TEST_RANDOM Random = { .State = Seed };
    ULONG64 Sum = 0;

    TestBootMachine(&Machine);
    Workers = 1;
    BuildProcesses();
    for (ULONG64 Done = 0; Done < Steps; Done++)
    {
        Step(0, &Random);
        if (Done % 1000 == 999)
        {
            MiCheckPaging(2);
        }
    }
    CheckAll();
    TestStopWorkers();
    for (ULONG Counter = 0; Counter < MiCounterMaximum; Counter++)
    {
        Sum = Sum * 31 + MiQueryCounter((MI_COUNTER)Counter);
    }
    EndProcesses();
    TestShutdownMachine();
    return Sum;
}

static void a_seed_means_the_same_run(void **State)
{
    ULONG64 Seed = TestSeed("deterministic stress").State;
    ULONG64 Steps = TestIterations(12000);
    ULONG64 First = RunDeterministic(Seed, Steps);

    (void)State;
    assert_true(First == RunDeterministic(Seed, Steps));
    RunDeterministic(Seed + 1, Steps);
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(a_seed_means_the_same_run),
        cmocka_unit_test(four_threads_on_two_processors_see_their_contents),
    };

    return cmocka_run_group_tests_name("stress", Tests, NULL, NULL);
}
