/* SPDX-License-Identifier: MIT */
/*
 * Sessions against a small oracle: processes come and go in a few sessions, or in none; the thread attaches to one after the other, allocates, frees
 * and rewrites blocks of session pool, maps and unmaps views, and pages everything out. The oracle is, for each session, how many processes
 * it has and what is in which block. NTMM_SEED repeats a run.
 */
#include "boot.h"

#include "mapping/mapping.h"
#include "nt/ex.h"
#include "nt/mm.h"
#include "nt/psinfo.h"
#include "space/session.h"

#define TAG       MI_TAG('M', 'd', 'S', 's')
#define SESSIONS  4u /* number 0: in none */
#define PROCESSES 6u
#define BLOCKS    24u
#define VIEWS     4u

typedef struct _MODEL_BLOCK
{
    PUCHAR Block;
    SIZE_T Bytes;
    ULONG Seed;
} MODEL_BLOCK;

typedef struct _MODEL_SESSION
{
    ULONG Processes;
    MODEL_BLOCK Blocks[BLOCKS];
    MODEL_BLOCK Views[VIEWS];
    PSECTION Sections[VIEWS];
} MODEL_SESSION;

typedef struct _MODEL
{
    MODEL_SESSION Sessions[SESSIONS];
    PEPROCESS Processes[PROCESSES];
    ULONG SessionOf[PROCESSES];
    TEST_RANDOM Random;
    ULONG64 Shared; /* blocks that lay at an address at which another session has one */
} MODEL;

/* Every 97th byte. */
static void Write(MODEL_BLOCK *Entry, ULONG Seed)
{
    Entry->Seed = Seed;
    for (SIZE_T Byte = 0; Byte < Entry->Bytes; Byte += 97)
    {
        Entry->Block[Byte] = (UCHAR)(Seed + Byte * 3);
    }
}

static void Check(const MODEL_BLOCK *Entry)
{
    for (SIZE_T Byte = 0; Byte < Entry->Bytes; Byte += 97)
    {
        assert_int_equal(Entry->Block[Byte], (UCHAR)(Entry->Seed + Byte * 3));
    }
}

static void NoteNeighbours(MODEL *Model, ULONG Number, const MODEL_BLOCK *Entry)
{
    for (ULONG Session = 1; Session < SESSIONS; Session++)
    {
        for (ULONG Index = 0; Index < BLOCKS && Session != Number; Index++)
        {
            Model->Shared += Model->Sessions[Session].Blocks[Index].Block == Entry->Block;
        }
    }
}

/* The thread runs in a process of the session. */
static void ChangeBlock(MODEL *Model, ULONG Number)
{
    MODEL_BLOCK *Entry = &Model->Sessions[Number].Blocks[TestBelow(&Model->Random, BLOCKS)];

    if (Entry->Block != NULL)
    {
        Check(Entry);
        if (TestBelow(&Model->Random, 2) == 0)
        {
            Write(Entry, (ULONG)TestDraw(&Model->Random));
            return;
        }
        ExFreePoolWithTag(Entry->Block, TAG);
        Entry->Block = NULL;
        return;
    }
    Entry->Bytes = TestBelow(&Model->Random, 4) == 0 ? TestBelow(&Model->Random, 40000)
                                                     : TestBelow(&Model->Random, 3000);
    Entry->Block = ExAllocatePoolWithTag(
        TestBelow(&Model->Random, 5) == 0 ? NonPagedPoolSession : PagedPoolSession, Entry->Bytes, TAG);
    assert_non_null(Entry->Block);
    NoteNeighbours(Model, Number, Entry);
    Write(Entry, (ULONG)TestDraw(&Model->Random));
}

static void ChangeView(MODEL *Model, ULONG Number)
{
    MODEL_SESSION *Session = &Model->Sessions[Number];
    ULONG Index = (ULONG)TestBelow(&Model->Random, VIEWS);
    MODEL_BLOCK *Entry = &Session->Views[Index];
    LARGE_INTEGER Size = { .QuadPart = 0x10000 + (LONGLONG)TestBelow(&Model->Random, 3) * 0x10000 };
    PVOID Object;

    if (Entry->Block != NULL)
    {
        Check(Entry);
        assert_int_equal(MmUnmapViewInSessionSpace(Entry->Block), STATUS_SUCCESS);
        ObDereferenceObjectBody(Session->Sections[Index]);
        Entry->Block = NULL;
        return;
    }
    assert_int_equal(
        MmCreateSection(&Object, SECTION_ALL_ACCESS, NULL, &Size, PAGE_READWRITE, SEC_COMMIT, NULL, NULL),
        STATUS_SUCCESS);
    Session->Sections[Index] = Object;
    Entry->Bytes = 0;
    assert_int_equal(MmMapViewInSessionSpace(Object, (PVOID *)&Entry->Block, &Entry->Bytes), STATUS_SUCCESS);
    assert_int_equal(Entry->Bytes, Size.QuadPart);
    Write(Entry, (ULONG)TestDraw(&Model->Random));
}

/* The last process is about to go: drivers clean up. */
static void Empty(MODEL *Model, ULONG Number)
{
    MODEL_SESSION *Session = &Model->Sessions[Number];

    for (ULONG Index = 0; Index < BLOCKS; Index++)
    {
        if (Session->Blocks[Index].Block != NULL)
        {
            Check(&Session->Blocks[Index]);
            ExFreePoolWithTag(Session->Blocks[Index].Block, TAG);
            Session->Blocks[Index].Block = NULL;
        }
    }
    for (ULONG Index = 0; Index < VIEWS; Index++)
    {
        if (Session->Views[Index].Block != NULL)
        {
            Check(&Session->Views[Index]);
            assert_int_equal(MmUnmapViewInSessionSpace(Session->Views[Index].Block), STATUS_SUCCESS);
            ObDereferenceObjectBody(Session->Sections[Index]);
            Session->Views[Index].Block = NULL;
        }
    }
}

static void EndProcess(MODEL *Model, ULONG Index)
{
    ULONG Number = Model->SessionOf[Index];
    PEPROCESS Process = Model->Processes[Index];
    PMM_SESSION_SPACE Session;
    KAPC_STATE ApcState;

    if (Number != 0 && Model->Sessions[Number].Processes == 1)
    {
        KeStackAttachProcess((PRKPROCESS)(PVOID)Process, &ApcState);
        Empty(Model, Number);
        KeUnstackDetachProcess(&ApcState);
    }
    Model->Sessions[Number].Processes--;
    Model->Processes[Index] = NULL;
    PsTerminateProcessObject(Process, STATUS_SUCCESS);
    ObDereferenceObjectBody(Process);
    Session = Number != 0 ? MmGetSessionById(Number) : NULL;
    assert_true((Session != NULL) == (Number != 0 && Model->Sessions[Number].Processes != 0));
    if (Session != NULL)
    {
        assert_int_equal(Session->ProcessCount, Model->Sessions[Number].Processes);
        ObDereferenceObjectBody(Session);
    }
}

static void BeginProcess(MODEL *Model, ULONG Index)
{
    ULONG Number = (ULONG)TestBelow(&Model->Random, SESSIONS);

    assert_int_equal(Number == 0 ? PsCreateProcessObject("model", &Model->Processes[Index])
                                 : PsCreateProcessInSession("model", Number, &Model->Processes[Index]),
                     STATUS_SUCCESS);
    Model->SessionOf[Index] = Number;
    Model->Sessions[Number].Processes++;
    assert_int_equal(MmGetSessionId(Model->Processes[Index]), Number);
}

/* What only a process of the session can see, or nobody. */
static void Visit(MODEL *Model, ULONG Index)
{
    ULONG Number = Model->SessionOf[Index];
    KAPC_STATE ApcState;

    KeStackAttachProcess((PRKPROCESS)(PVOID)Model->Processes[Index], &ApcState);
    if (Number == 0)
    {
        assert_null(ExAllocatePoolWithTag(PagedPoolSession, 100, TAG));
    }
    else if (TestBelow(&Model->Random, 8) == 0)
    {
        ChangeView(Model, Number);
    }
    else
    {
        ChangeBlock(Model, Number);
    }
    KeUnstackDetachProcess(&ApcState);
}

static void PageOut(MODEL *Model)
{
    MiEmptyKernelWorkingSets();
    if (TestBelow(&Model->Random, 2) == 0)
    {
        MiFlushModifiedPages();
        MiPurgeStandby(7);
    }
}

static void Step(MODEL *Model)
{
    ULONG Index = (ULONG)TestBelow(&Model->Random, PROCESSES);
    ULONG64 What = TestBelow(&Model->Random, 100);

    if (Model->Processes[Index] == NULL)
    {
        BeginProcess(Model, Index);
    }
    else if (What == 0)
    {
        EndProcess(Model, Index);
    }
    else if (What == 1)
    {
        PageOut(Model);
    }
    else
    {
        Visit(Model, Index);
    }
}

static void sessions_hold_what_the_oracle_says(void **State)
{
    static const TEST_MACHINE Machine = { .RamMegabytes = 8,
                                          .Deterministic = TRUE,
                                          .Seed = 11,
                                          .PagingFiles = 1,
                                          .PagingMegabytes = 32,
                                          .Workers = TRUE };
    MODEL *Model = calloc(1, sizeof(*Model));
    ULONG64 Steps = TestIterations(12000);

    (void)State;
    assert_non_null(Model);
    Model->Random = TestSeed("sessions");
    TestBootMachine(&Machine);
    for (ULONG64 Count = 0; Count < Steps; Count++)
    {
        Step(Model);
        if (Count % 512 == 0)
        {
            MiCheckSessions(2);
        }
    }
    for (ULONG Index = 0; Index < PROCESSES; Index++)
    {
        if (Model->Processes[Index] != NULL)
        {
            EndProcess(Model, Index);
        }
    }
    assert_int_equal(MiState.Space->SessionCount, 0);
    assert_true(Model->Shared != 0);
    print_message("%llu blocks lay where another session has one\n", Model->Shared);
    free(Model);
    TestStopWorkers();
    MiTrimPool();
    TestShutdownMachine();
}

int main(void)
{
    const struct CMUnitTest Tests[] = { cmocka_unit_test(sessions_hold_what_the_oracle_says) };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
