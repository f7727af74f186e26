/* SPDX-License-Identifier: MIT */
/* The machine of boot.h: one table of rooms, brought up in order and down in reverse, with the books compared at the end. */
#include "boot.h"

#include "host.h"
#include "host_thread.h"
#include "storage.h"

#include "io/io.h"
#include "mapping/mapping.h"
#include "mdl/mdl.h"
#include "nt/nt.h"

#include <time.h>

KTHREAD TestBootThread;
ULONG_PTR TestBugCheckParameters[4];

static TEST_MACHINE TestMachine;
static ULONG TestRooms;
static BOOLEAN TestWorkersRun;

/* What the machine has when it is booted and has done nothing. */
static struct
{
    PFN_NUMBER Available;
    SIZE_T Committed;
    LONG64 ResidentAvailable;
    SIZE_T PoolBlocks;
    SIZE_T PoolPages;
    LONG64 Objects;
    SIZE_T Processes;
} TestBooted;

/* ---- Rooms ------------------------------------------------------------------------------------------------- */

static NTSTATUS BootKe(void)
{
    KI_PARAMETERS Parameters = { .Deterministic = TestMachine.Deterministic, .Seed = TestMachine.Seed };

    return KiInitializeSystem(&Parameters, &TestBootThread);
}

static void ShutdownKe(void)
{
    KiShutdownSystem(&TestBootThread);
}

static NTSTATUS BootOb(void)
{
    return ObInitializeSystem(TestMachine.CaseSensitive);
}

static NTSTATUS BootSpace(void)
{
    return MiInitializeSpace(TestMachine.Randomize, TestMachine.Seed);
}

static NTSTATUS BootPaging(void)
{
    MI_PAGING_PARAMETERS Parameters = { .ClearAtShutdown = TestMachine.Clear,
                                        .Encrypt = TestMachine.Encrypt };

    return MiInitializePaging(&Parameters);
}

/* Nothing above is left: every frame is free and nothing is charged. */
static void ShutdownPhysical(void)
{
    assert_int_equal(MiState.Physical->CommittedPages, 0);
    assert_int_equal(MiAvailablePages(), MiState.Physical->NumberOfPages);
    MiCheckPhysical(3);
    MiShutdownPhysical();
}

static const struct
{
    NTSTATUS (*Up)(void);
    void (*Down)(void);
} Rooms[] = {
    { BootKe, ShutdownKe },
    { MiInitializePhysical, ShutdownPhysical },
    { MiInitializeTranslation, MiShutdownTranslation },
    { MiInitializePool, MiShutdownPool },
    { BootOb, ObShutdownSystem },
    { IoInitializeSystem, IoShutdownSystem },
    { BootSpace, MiShutdownSpace },
    { MiInitializeSection, MiShutdownSection },
    { BootPaging, MiShutdownPaging },
    { MiInitializeWorkingSets, MiShutdownWorkingSets },
    { MiInitializeFault, MiShutdownFault },
    { MiInitializeVirtual, MiShutdownVirtual },
    { MiInitializeMapping, MiShutdownMapping },
    { MiInitializeMdl, MiShutdownMdl },
    { NtInitializeServices, NtShutdownServices },
};

/* ---- Paging files and workers -------------------------------------------------------------------------------- */

/* The threads of the storage engine take locks and set events: they are threads of the kernel, too. */
static PVOID StartStorageThread(ULONG Index)
{
    PKTHREAD Thread = malloc(sizeof(*Thread));

    if (Thread == NULL)
    {
        abort();
    }
    KiAdoptCurrentThread(Thread, Index % MiState.Ke->ProcessorCount);
    return Thread;
}

static void StopStorageThread(PVOID Thread)
{
    KiAbandonCurrentThread(Thread);
    free(Thread);
}

static void ConfigureStorage(void)
{
    static const HOST_STORAGE_HOOKS Hooks = { StartStorageThread, StopStorageThread };
    static const HOST_STORAGE_HOOKS NoHooks = { NULL, NULL };

    assert_true(HostStorageSetDeterministic(TestMachine.Deterministic, TestMachine.Seed));
    HostStorageSetHooks(TestMachine.Deterministic ? &NoHooks : &Hooks);
}

static void CreatePagingFiles(void)
{
    ULONG64 Minimum = (ULONG64)(TestMachine.PagingMegabytes != 0 ? TestMachine.PagingMegabytes : 16) << 20;
    ULONG64 Maximum = TestMachine.PagingMaximum != 0 ? (ULONG64)TestMachine.PagingMaximum << 20 : Minimum;

    for (ULONG Index = 0; Index < TestMachine.PagingFiles; Index++)
    {
        WCHAR Text[] = u"\\\\.\\Memory\\page0";
        UNICODE_STRING Name = { .Length = sizeof(Text) - sizeof(WCHAR),
                                .MaximumLength = sizeof(Text),
                                .Buffer = Text };

        Text[RTL_NUMBER_OF(Text) - 2] = (WCHAR)(u'0' + Index);
        assert_int_equal(MiCreatePagingFile(&Name, Minimum, Maximum), STATUS_SUCCESS);
    }
}

void TestStopWorkers(void)
{
    if (TestWorkersRun)
    {
        TestWorkersRun = FALSE;
        MiStopMappingWorkers();
        MiStopWorkingSetWorkers();
        MiStopPagingWorkers();
        MiStopPhysicalWorkers();
    }
}

/* ---- Books ------------------------------------------------------------------------------------------------- */

static void TakeBooks(void)
{
    memset(&TestBooted, 0, sizeof(TestBooted));
    if (MiState.Pool != NULL)
    {
        MiTrimPool();
        TestBooted.PoolBlocks = MiPoolBlocksInUse();
        TestBooted.PoolPages = MiPoolPagesInUse();
    }
    if (MiState.Physical != NULL)
    {
        TestBooted.Available = MiAvailablePages();
        TestBooted.Committed = MiState.Physical->CommittedPages;
        TestBooted.ResidentAvailable = MiState.Physical->ResidentAvailable;
        /* What takes a frame is charged, or the frames of what is promised would not be there one day. */
        assert_true(MiState.Physical->NumberOfPages - TestBooted.Available <= TestBooted.Committed);
    }
    TestBooted.Objects = MiState.Ob != NULL ? MiState.Ob->ObjectCount : 0;
    TestBooted.Processes = MiState.Space != NULL ? MiState.Space->ProcessCount : 0;
}

void TestFinishReads(void)
{
    time_t Start = time(NULL);

    while (MiState.Paging != NULL && __atomic_load_n(&MiState.Paging->InPageInUse, __ATOMIC_ACQUIRE) != 0 &&
           time(NULL) - Start < 60)
    {
        if (!PortPollIo())
        {
            PortYield();
        }
    }
}

void TestAssertNothingLeft(void)
{
    TestFinishReads();
    if (MiState.Section != NULL)
    {
        MiTrimUnusedSegments(~0ull); /* files are kept in memory after their last use */
        assert_int_equal(MiState.Section->NumberOfControlAreas, 0);
    }
    if (MiState.Space != NULL)
    {
        assert_int_equal(MiState.Space->ProcessCount, TestBooted.Processes);
        assert_int_equal(MiState.Space->System.VadCount, 0);
        assert_int_equal(MiState.Space->System.CommitCharge, 0);
    }
    if (MiState.Ob != NULL)
    {
        assert_int_equal(MiState.Ob->ObjectCount, TestBooted.Objects);
    }
    if (MiState.Translation != NULL)
    {
        assert_int_equal(MiSystemPtesInUse(), 0);
        MiCheckSystemPtes(3);
        MiTrimSystemPtes();
    }
    if (MiState.Pool != NULL)
    {
        MiTrimPool();
        MiCheckPool();
        assert_int_equal(MiPoolBlocksInUse(), TestBooted.PoolBlocks);
        assert_int_equal(MiPoolPagesInUse(), TestBooted.PoolPages);
    }
    if (MiState.Physical != NULL)
    {
        MiCheckPhysical(3);
        assert_int_equal(MiAvailablePages(), TestBooted.Available);
        assert_int_equal(MiState.Physical->CommittedPages, TestBooted.Committed);
        assert_int_equal(MiState.Physical->ResidentAvailable, TestBooted.ResidentAvailable);
    }
    if (MiState.Paging != NULL)
    {
        MiCheckPaging(2);
        for (ULONG Index = 0; Index < MiState.Paging->FileCount; Index++)
        {
            assert_true(MiState.Paging->Files[Index]->FreeSpace == MiState.Paging->Files[Index]->Size - 1 ||
                        MiQueryCounter(MiCounterPageTablesLost) != 0 ||
                        MiQueryCounter(MiCounterPrototypePagesLost) != 0);
        }
        assert_int_equal(MiState.Paging->InPageInUse, 0);
    }
    if (MiState.Fault != NULL)
    {
        assert_int_equal(MiCloneBlocksInUse(), 0);
    }
}

/* ---- The machine ------------------------------------------------------------------------------------------- */

void TestBootMachine(const TEST_MACHINE *Machine)
{
    static const TEST_MACHINE Default = { .Deterministic = TRUE, .Seed = 1 };
    HOST_PARAMETERS Host;
    ULONG Last;

    if (MiState.Ke != NULL)
    {
        TestAbandonMachine(); /* the test before this one failed */
    }
    TestMachine = Machine != NULL ? *Machine : Default;
    Host = (HOST_PARAMETERS){
        .RamBytes = (ULONG64)(TestMachine.RamMegabytes != 0 ? TestMachine.RamMegabytes : 16) << 20,
        .RunCount = TestMachine.Runs,
        .HoleBytes = TestMachine.HoleBytes,
        .ProcessorCount = TestMachine.Processors,
        .NodeCount = TestMachine.Nodes,
        .PageColours = TestMachine.Colours,
        .Deterministic = TestMachine.Deterministic,
    };
    assert_int_equal(HostInitializeMachine(&Host), STATUS_SUCCESS);
    Last = TestMachine.Last != TestAllRooms ? (ULONG)TestMachine.Last
                                            : (ULONG)(sizeof(Rooms) / sizeof(Rooms[0]));
    for (TestRooms = 0; TestRooms < Last; TestRooms++)
    {
        assert_int_equal(Rooms[TestRooms].Up(), STATUS_SUCCESS);
    }
    ConfigureStorage();
    CreatePagingFiles();
    TakeBooks();
    if (TestMachine.Workers)
    {
        assert_int_equal(MiStartPhysicalWorkers(), STATUS_SUCCESS);
        assert_int_equal(MiStartPagingWorkers(), STATUS_SUCCESS);
        assert_int_equal(MiStartWorkingSetWorkers(), STATUS_SUCCESS);
        assert_int_equal(MiStartMappingWorkers(), STATUS_SUCCESS);
        TestWorkersRun = TRUE;
    }
}

void TestShutdownMachine(void)
{
    TestStopWorkers();
    TestAssertNothingLeft();
    while (TestRooms > 0)
    {
        Rooms[--TestRooms].Down();
    }
    HostShutdownMachine();
}

void TestAbandonMachine(void)
{
    struct _KI_STATE *Ke = MiState.Ke;

    HostStorageClearFaults();
    if (TestWorkersRun)
    {
        abort(); /* nothing can stop them any more: the failure is in the output, the process ends */
    }
    for (ULONG Index = 0; MiState.Paging != NULL && Index < MiState.Paging->FileCount; Index++)
    {
        PortCloseStorage(
            MiState.Paging->Files[Index]->Storage); /* its engine's threads must not outlive the machine */
    }
    memset(&MiState, 0, sizeof(MiState));
    MiState.Ke = Ke;
    TestRooms = 0;
    KiShutdownSystem(&TestBootThread);
    HostShutdownMachine();
}

int TestSetupDeterministic(void **State)
{
    (void)State;
    TestBootMachine(NULL);
    return 0;
}

int TestSetupThreaded(void **State)
{
    static const TEST_MACHINE Machine = { .Processors = 2 };

    (void)State;
    TestBootMachine(&Machine);
    return 0;
}

int TestTeardown(void **State)
{
    (void)State;
    if (MiState.Ke != NULL)
    {
        TestShutdownMachine();
    }
    return 0;
}

/* ---- Bug checks -------------------------------------------------------------------------------------------- */

static jmp_buf BugCheckJump;
static ULONG BugCheckCode;
static char BugCheckText[16384];
static size_t BugCheckTextLength;

/* An expected bug check is not worth printing; an unexpected one is. */
static void CollectText(PCSTR Text, SIZE_T Length)
{
    if (Length >= sizeof(BugCheckText) - BugCheckTextLength)
    {
        Length = sizeof(BugCheckText) - BugCheckTextLength - 1;
    }
    memcpy(BugCheckText + BugCheckTextLength, Text, Length);
    BugCheckTextLength += Length;
    BugCheckText[BugCheckTextLength] = 0;
}

static VOID BugCheckHook(ULONG Code, const ULONG_PTR Parameters[4], PVOID Context)
{
    (void)Context;
    BugCheckCode = Code;
    memcpy(TestBugCheckParameters, Parameters, sizeof(TestBugCheckParameters));
    longjmp(BugCheckJump, 1);
}

void TestExpectBugCheck(ULONG Code, void (*Routine)(void *), void *Context)
{
    BugCheckTextLength = 0;
    BugCheckText[0] = 0;
    HostDebugPrintHook = CollectText;
    MiState.Ke->BugCheckHook = BugCheckHook;
    if (setjmp(BugCheckJump) == 0)
    {
        Routine(Context);
        HostDebugPrintHook = NULL;
        MiState.Ke->BugCheckHook = NULL;
        fail_msg("no bug check; 0x%x was expected", Code);
    }
    HostDebugPrintHook = NULL;
    MiState.Ke->BugCheckHook = NULL;
    KiResumeAfterBugCheck(&TestBootThread);
    if (BugCheckCode != Code)
    {
        fail_msg("bug check 0x%x instead of 0x%x:\n%s", BugCheckCode, Code, BugCheckText);
    }
}

/* ---- Threads ----------------------------------------------------------------------------------------------- */

typedef struct
{
    KTHREAD Thread;
    ULONG Index;
    void (*Routine)(ULONG Index, void *Context);
    void *Context;
} TEST_THREAD;

static VOID RunTestThread(PVOID Context)
{
    TEST_THREAD *Thread = Context;

    Thread->Routine(Thread->Index, Thread->Context);
}

void TestRunThreads(ULONG Count, void (*Routine)(ULONG Index, void *Context), void *Context)
{
    TEST_THREAD *Threads = calloc(Count, sizeof(*Threads));

    assert_non_null(Threads);
    for (ULONG Index = 0; Index < Count; Index++)
    {
        Threads[Index].Index = Index;
        Threads[Index].Routine = Routine;
        Threads[Index].Context = Context;
        assert_int_equal(KiStartThread(&Threads[Index].Thread, RunTestThread, &Threads[Index],
                                       Index % MiState.Ke->ProcessorCount),
                         STATUS_SUCCESS);
    }
    for (ULONG Index = 0; Index < Count; Index++)
    {
        KiJoinThread(&Threads[Index].Thread);
    }
    free(Threads);
}

/* ---- Random numbers ---------------------------------------------------------------------------------------- */

TEST_RANDOM TestSeed(const char *Name)
{
    const char *Text = getenv("NTMM_SEED");
    TEST_RANDOM Random = { .State = Text != NULL ? strtoull(Text, NULL, 0) : (ULONG64)time(NULL) * 1000003u };

    print_message("%s: NTMM_SEED=%llu\n", Name, Random.State);
    return Random;
}

/* A linear congruential generator with mixed output; not the generator of the kernel. */
ULONG64 TestDraw(TEST_RANDOM *Random)
{
    Random->State = Random->State * 6364136223846793005ull + 1442695040888963407ull;
    ULONG64 Value = Random->State;

    Value ^= Value >> 33;
    Value *= 0xff51afd7ed558ccdull;
    return Value ^ (Value >> 29);
}

ULONG64 TestBelow(TEST_RANDOM *Random, ULONG64 Bound)
{
    return TestDraw(Random) % Bound;
}

ULONG64 TestIterations(ULONG64 Usual)
{
    const char *Text = getenv("NTMM_ITERATIONS");

    return Text != NULL ? strtoull(Text, NULL, 0) : Usual;
}
