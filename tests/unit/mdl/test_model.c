/* SPDX-License-Identifier: MIT */
/*
 * Random locking, mapping, parting, advancing and writing against a copy of the contents, while trimming and paging go on: on one
 * simulated processor over several processes (every byte that a process or a mapping sees is compared), and with several threads
 * whose mappings are real pointers.
 */
#include "mdl_test.h"

#define PROCESSES 3u
#define PAGES     48u
#define MDLS      24u

typedef struct _MODEL_MDL
{
    PMDL Mdl;
    PMDL Part;   /* built from Mdl, or NULL */
    PUCHAR User; /* where it is mapped in Viewer's user half, or NULL */
    ULONG Viewer;
    SIZE_T UserOffset; /* of the first byte of that mapping */
    SIZE_T UserBytes;
    ULONG Owner;
    SIZE_T Offset; /* of the first byte in the buffer */
    BOOLEAN Write;
} MODEL_MDL;

typedef struct _MODEL
{
    TEST_RANDOM Random;
    PEPROCESS Process[PROCESSES];
    ULONG_PTR Base[PROCESSES];
    UCHAR Contents[PROCESSES][PAGES * PAGE_SIZE];
    MODEL_MDL Mdls[MDLS];
} MODEL;

static MODEL Model;

static void Lock(MODEL_MDL *Entry)
{
    SIZE_T Length = 1 + TestBelow(&Model.Random, 6 * PAGE_SIZE);
    LOCKING Locking = { .Mode = UserMode };

    Entry->Owner = (ULONG)TestBelow(&Model.Random, PROCESSES);
    Entry->Offset = TestBelow(&Model.Random, PAGES * PAGE_SIZE - Length);
    Entry->Write = TestBelow(&Model.Random, 2) != 0;
    Entry->Part = NULL;
    Entry->User = NULL;
    Entry->Mdl = NewMdl(Model.Base[Entry->Owner] + Entry->Offset, (ULONG)Length);
    Locking.Mdl = Entry->Mdl;
    Locking.Process = Model.Process[Entry->Owner];
    Locking.Operation = Entry->Write ? IoWriteAccess : IoReadAccess;
    assert_int_equal(KiGuardedCall(RunLocking, &Locking, NULL), STATUS_SUCCESS);
}

static void DropPart(MODEL_MDL *Entry)
{
    if (Entry->Part != NULL)
    {
        IoFreeMdl(Entry->Part);
        Entry->Part = NULL;
    }
}

static void RunUserMapping(PVOID Context)
{
    MODEL_MDL *Entry = Context;

    Entry->User = MmMapLockedPagesSpecifyCache(Entry->Mdl, UserMode, MmCached, NULL, FALSE,
                                               NormalPagePriority | MdlMappingNoExecute);
}

static void UnmapUser(MODEL_MDL *Entry)
{
    if (Entry->User != NULL)
    {
        TestRunInProcess(Model.Process[Entry->Viewer]);
        MmUnmapLockedPages(Entry->User, Entry->Mdl);
        TestRunInProcess(TestUserProcess);
        Entry->User = NULL;
    }
}

static void MapUser(MODEL_MDL *Entry)
{
    UnmapUser(Entry);
    if (Entry->Mdl->ByteCount != 0)
    {
        Entry->Viewer = (ULONG)TestBelow(&Model.Random, PROCESSES);
        Entry->UserOffset = Entry->Offset;
        Entry->UserBytes = Entry->Mdl->ByteCount;
        TestRunInProcess(Model.Process[Entry->Viewer]);
        assert_int_equal(KiGuardedCall(RunUserMapping, Entry, NULL), STATUS_SUCCESS);
        TestRunInProcess(TestUserProcess);
    }
}

/* A process sees another's buffer, and writes into it if the pages are locked for that. */
static void UseUser(MODEL_MDL *Entry)
{
    UCHAR *Expected = &Model.Contents[Entry->Owner][Entry->UserOffset];

    if (Entry->User == NULL)
    {
        return;
    }
    TestRunInProcess(Model.Process[Entry->Viewer]);
    for (ULONG Count = 0; Count < 16; Count++)
    {
        SIZE_T At = TestBelow(&Model.Random, Entry->UserBytes);

        assert_int_equal(TestVmGet((ULONG_PTR)Entry->User + At), Expected[At]);
        /* Only pages that are still locked are written through the mapping: the lock tells the memory manager. */
        if (Entry->Write && Entry->UserOffset + At >= Entry->Offset)
        {
            Expected[At] = (UCHAR)TestDraw(&Model.Random);
            TestVmPut((ULONG_PTR)Entry->User + At, Expected[At]);
        }
    }
    TestRunInProcess(TestUserProcess);
}

static void Unlock(MODEL_MDL *Entry)
{
    DropPart(Entry);
    UnmapUser(Entry);
    UnlockAndFree(Entry->Mdl);
    Entry->Mdl = NULL;
}

/* What the mapping shows is what the model holds; sometimes the "device" writes. */
static void UseMapping(PMDL Mdl, const MODEL_MDL *Entry, SIZE_T Offset)
{
    ULONG Guard = TestBelow(&Model.Random, 3) == 0 ? MdlMappingWithGuardPtes : 0;
    PUCHAR System = MmGetSystemAddressForMdlSafe(Mdl, NormalPagePriority | MdlMappingNoExecute | Guard);
    UCHAR *Expected = &Model.Contents[Entry->Owner][Offset];

    if (ADDRESS_AND_SIZE_TO_SPAN_PAGES(MmGetMdlVirtualAddress(Mdl), MmGetMdlByteCount(Mdl)) == 0 &&
        (Mdl->MdlFlags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL)) == 0)
    {
        assert_null(System); /* advanced to its very end, it spans no page (NTMM_SEED=1795913981725782) */
        return;
    }
    assert_non_null(System);
    EnterKernel();
    if (Mdl->ByteCount != 0)
    {
        assert_memory_equal(System, Expected, Mdl->ByteCount);
    }
    for (ULONG Count = 0; Entry->Write && Count < 16 && Mdl->ByteCount != 0; Count++)
    {
        SIZE_T At = TestBelow(&Model.Random, Mdl->ByteCount);

        Expected[At] = (UCHAR)TestDraw(&Model.Random);
        System[At] = Expected[At];
    }
    LeaveKernel();
}

static void MakePart(MODEL_MDL *Entry)
{
    SIZE_T Skip;
    ULONG Length;

    DropPart(Entry);
    if (Entry->Mdl->ByteCount < 2)
    {
        return;
    }
    Skip = TestBelow(&Model.Random, Entry->Mdl->ByteCount - 1);
    Length = 1 + (ULONG)TestBelow(&Model.Random, Entry->Mdl->ByteCount - Skip);
    Entry->Part = NewMdl(MiMdlVa(Entry->Mdl) + Skip, Length);
    IoBuildPartialMdl(Entry->Mdl, Entry->Part, (PVOID)(MiMdlVa(Entry->Mdl) + Skip), Length);
    UseMapping(Entry->Part, Entry, Entry->Offset + Skip);
}

static void Advance(MODEL_MDL *Entry)
{
    ULONG Bytes = (ULONG)TestBelow(&Model.Random, Entry->Mdl->ByteCount + 1);

    DropPart(Entry);
    /* What was passed is no longer locked: a private page may then be copied or read anew under its owner. */
    UnmapUser(Entry);
    assert_int_equal(MmAdvanceMdl(Entry->Mdl, Bytes), STATUS_SUCCESS);
    Entry->Offset += Bytes;
}

static void UseMemory(void)
{
    ULONG Owner = (ULONG)TestBelow(&Model.Random, PROCESSES);

    TestRunInProcess(Model.Process[Owner]);
    for (ULONG Count = 0; Count < 16; Count++)
    {
        SIZE_T At = TestBelow(&Model.Random, PAGES * PAGE_SIZE);

        assert_int_equal(TestVmGet(Model.Base[Owner] + At), Model.Contents[Owner][At]);
        Model.Contents[Owner][At] = (UCHAR)TestDraw(&Model.Random);
        TestVmPut(Model.Base[Owner] + At, Model.Contents[Owner][At]);
    }
    TestRunInProcess(TestUserProcess);
}

static void PageOut(void)
{
    for (ULONG Owner = 0; Owner < PROCESSES; Owner++)
    {
        MiEmptyWorkingSet(&Model.Process[Owner]->Space);
    }
    MiFlushModifiedPages();
    MiPurgeStandby(7);
}

static void Step(void)
{
    MODEL_MDL *Entry = &Model.Mdls[TestBelow(&Model.Random, MDLS)];

    if (Entry->Mdl == NULL)
    {
        Lock(Entry);
        return;
    }
    switch (TestBelow(&Model.Random, 16))
    {
    case 0:
    case 1:
        Unlock(Entry);
        break;
    case 2:
        MakePart(Entry);
        break;
    case 3:
        Advance(Entry);
        break;
    case 4:
        if ((Entry->Mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA) != 0)
        {
            DropPart(Entry);
            MmUnmapLockedPages(Entry->Mdl->MappedSystemVa, Entry->Mdl);
        }
        break;
    case 5:
        MiEmptyWorkingSet(&Model.Process[Entry->Owner]->Space);
        break;
    case 6:
        PageOut();
        break;
    case 7:
    case 8:
        UseMemory();
        break;
    case 9:
        MapUser(Entry);
        break;
    case 10:
    case 11:
        UseUser(Entry);
        break;
    default:
        UseMapping(Entry->Mdl, Entry, Entry->Offset);
        break;
    }
}

static void CheckCounts(void)
{
    SIZE_T Locked[PROCESSES] = { 0 };

    for (ULONG Index = 0; Index < MDLS; Index++)
    {
        if (Model.Mdls[Index].Mdl != NULL)
        {
            Locked[Model.Mdls[Index].Owner] += MiMdlPages(Model.Mdls[Index].Mdl);
        }
    }
    for (ULONG Owner = 0; Owner < PROCESSES; Owner++)
    {
        assert_int_equal(Model.Process[Owner]->NumberOfLockedPages, Locked[Owner]);
        MiCheckWorkingSet(&Model.Process[Owner]->Space);
    }
}

MDL_TEST(random_locking_and_mapping_agrees_with_a_model)
{
    memset(&Model, 0, sizeof(Model));
    Model.Random = TestSeed("random_locking_and_mapping_agrees_with_a_model");
    for (ULONG Owner = 0; Owner < PROCESSES; Owner++)
    {
        Model.Process[Owner] = TestNewProcess("model");
        TestRunInProcess(Model.Process[Owner]);
        Model.Base[Owner] = TestVmAllocate(0, PAGES * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    }
    TestRunInProcess(TestUserProcess);
    for (ULONG64 Count = TestIterations(6000); Count != 0; Count--)
    {
        Step();
        if (Count % 256 == 0)
        {
            CheckCounts();
        }
    }
    for (ULONG Index = 0; Index < MDLS; Index++)
    {
        if (Model.Mdls[Index].Mdl != NULL)
        {
            Unlock(&Model.Mdls[Index]);
        }
    }
    CheckCounts();
    PageOut();
    for (ULONG Owner = 0; Owner < PROCESSES; Owner++)
    {
        TestRunInProcess(Model.Process[Owner]);
        for (SIZE_T At = 0; At < PAGES * PAGE_SIZE; At += 61)
        {
            assert_int_equal(TestVmGet(Model.Base[Owner] + At), Model.Contents[Owner][At]);
        }
        TestRunInProcess(TestUserProcess);
        TestEndProcess(Model.Process[Owner]);
    }
}

/* ---- Several threads ----------------------------------------------------------------------------------------------------- */

#define THREADS      4u
#define SHARED_PAGES 16u

typedef struct _SHARED_RUN
{
    PEPROCESS Process;
    ULONG_PTR Base;
    ULONG64 Steps;
    ULONG64 Seed;
    volatile ULONG Wrong;
} SHARED_RUN;

/* Each thread owns every fourth 16-byte piece of the pages that all lock, and expects its own last values in it, through any mapping. */
static void LockAndWrite(ULONG Index, void *Context)
{
    SHARED_RUN *Run = Context;
    TEST_RANDOM Random = { .State = Run->Seed + Index };
    ULONG64 Last[SHARED_PAGES] = { 0 };

    for (ULONG64 Step = 0; Step < Run->Steps; Step++)
    {
        ULONG First = (ULONG)TestBelow(&Random, SHARED_PAGES);
        ULONG Count = 1 + (ULONG)TestBelow(&Random, SHARED_PAGES - First);
        PMDL Mdl = IoAllocateMdl((PVOID)(Run->Base + (ULONG_PTR)First * PAGE_SIZE), Count * PAGE_SIZE, FALSE,
                                 FALSE, NULL);
        LOCKING Locking = { Mdl, Run->Process, UserMode, IoWriteAccess };
        PUCHAR System;

        if (Mdl == NULL)
        {
            continue;
        }
        if (KiGuardedCall(RunLocking, &Locking, NULL) != STATUS_SUCCESS)
        {
            IoFreeMdl(Mdl);
            __atomic_fetch_add(&Run->Wrong, 1, __ATOMIC_RELAXED);
            continue;
        }
        System = SystemAddress(Mdl);
        if (TestBelow(&Random, 8) == 0)
        {
            MiEmptyWorkingSet(&Run->Process->Space);
        }
        for (ULONG Page = 0; System != NULL && Page < Count; Page++)
        {
            volatile ULONG64 *Mine =
                (volatile ULONG64 *)(PVOID)(System + (ULONG_PTR)Page * PAGE_SIZE + Index * 16);

            if (*Mine != Last[First + Page])
            {
                __atomic_fetch_add(&Run->Wrong, 1, __ATOMIC_RELAXED);
            }
            *Mine = Last[First + Page] = TestDraw(&Random);
        }
        MmUnlockPages(Mdl);
        IoFreeMdl(Mdl);
    }
}

static void threads_that_lock_the_same_pages_keep_their_values(void **state)
{
    static const TEST_MACHINE Machine = { .Processors = 2, .PagingFiles = 1, .Workers = TRUE };
    SHARED_RUN Run = { .Steps = TestIterations(400),
                       .Seed = TestSeed("threads_that_lock_the_same_pages_keep_their_values").State };

    (void)state;
    TestEnterProcess(&Machine);
    Run.Process = TestUserProcess;
    Run.Base = TestVmAllocate(0, SHARED_PAGES * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    EnterKernel();
    TestRunThreads(THREADS, LockAndWrite, &Run);
    LeaveKernel();
    assert_int_equal(Run.Wrong, 0);
    assert_int_equal(TestUserProcess->NumberOfLockedPages, 0);
    TestVmFree(Run.Base, 0, MEM_RELEASE);
    TestLeaveProcess();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_locking_and_mapping_agrees_with_a_model),
        cmocka_unit_test(threads_that_lock_the_same_pages_keep_their_values),
    };

    return cmocka_run_group_tests_name("mdl.model", tests, NULL, NULL);
}
