/* SPDX-License-Identifier: MIT */
/*
 * Sessions in use: views of sections, locked and moved memory, sessions at the same time, and a session's life with every failure. Sources as in test_session.c;
 * Microsoft Learn, MmMapViewInSessionSpace, MmProbeAndLockPages.
 */
#include "session_test.h"

#include "mdl/mdl.h"

/* ---- Views ---------------------------------------------------------------------------------------------------- */

static void views_are_the_sessions(void **State)
{
    PEPROCESS First = InSession(1);
    PEPROCESS Second = InSession(1);
    PEPROCESS Foreign = InSession(2);
    PSECTION Sections[2] = { NewSection(0x20000), NewSection(0x20000) };
    KAPC_STATE ApcState;
    PVOID Base;
    PVOID Other;
    PVOID System;
    SIZE_T Size = 0;

    (void)State;
    PsSetThreadProcess(First);
    assert_int_equal(MmMapViewInSessionSpace(Sections[0], &Base, &Size), STATUS_SUCCESS);
    assert_int_equal(Size, 0x20000);
    assert_true(MiIsSessionAddress((ULONG_PTR)Base));
    Fill(Base, 1);
    KeStackAttachProcess((PRKPROCESS)(PVOID)Foreign, &ApcState);
    Size = 0;
    assert_int_equal(MmMapViewInSessionSpace(Sections[1], &Other, &Size), STATUS_SUCCESS);
    assert_ptr_equal(Other, Base);
    Fill(Other, 2);
    KeUnstackDetachProcess(&ApcState);
    PageOut(First->Session);
    PageOut(Foreign->Session);
    KeStackAttachProcess((PRKPROCESS)(PVOID)Second, &ApcState);
    Check(Base, 1);
    KeUnstackDetachProcess(&ApcState);
    Size = 0;
    assert_int_equal(MmMapViewInSystemSpace(Sections[1], &System, &Size), STATUS_SUCCESS);
    assert_false(MiIsSessionAddress((ULONG_PTR)System));
    Check(System, 2);
    assert_int_equal(MmUnmapViewInSessionSpace(System), STATUS_NOT_MAPPED_VIEW);
    assert_int_equal(MmUnmapViewInSystemSpace(Base), STATUS_NOT_MAPPED_VIEW);
    assert_int_equal(MmUnmapViewInSystemSpace(System), STATUS_SUCCESS);
    assert_int_equal(MmUnmapViewInSessionSpace(Base), STATUS_SUCCESS);
    assert_int_equal(MmUnmapViewInSessionSpace(Base), STATUS_NOT_MAPPED_VIEW);
    KeStackAttachProcess((PRKPROCESS)(PVOID)Foreign, &ApcState);
    Check(Other, 2);
    assert_int_equal(MmUnmapViewInSessionSpace(Other), STATUS_SUCCESS);
    KeUnstackDetachProcess(&ApcState);
    MiCheckSessions(2);
    PsSetThreadProcess(NULL);
    ObDereferenceObjectBody(Sections[0]);
    ObDereferenceObjectBody(Sections[1]);
    ObDereferenceObjectBody(First);
    ObDereferenceObjectBody(Second);
    ObDereferenceObjectBody(Foreign);
}

/* What a driver does with a buffer of session pool: lock it, look at it from anywhere through a system address. */
static void session_pool_can_be_locked_and_seen_by_all(void **State)
{
    PEPROCESS Process = InSession(1);
    ULONG *Block;
    PULONG Mapped;
    PMDL Mdl;

    (void)State;
    PsSetThreadProcess(Process);
    Block = ExAllocatePoolWithTag(PagedPoolSession, 2 * PAGE_SIZE, TAG);
    Fill(Block, 6);
    assert_true(MmIsAddressValid(Block));
    Mdl = IoAllocateMdl(Block, 2 * PAGE_SIZE, FALSE, FALSE, NULL);
    MmProbeAndLockPages(Mdl, KernelMode, IoWriteAccess);
    MiEmptyWorkingSet(&Process->Session->Space);
    Mapped = MmGetSystemAddressForMdlSafe(Mdl, NormalPagePriority);
    PsSetThreadProcess(NULL);
    Check(Mapped, 6);
    Fill(Mapped, 7);
    PsSetThreadProcess(Process);
    Check(Block, 7);
    MmUnlockPages(Mdl);
    IoFreeMdl(Mdl);
    ExFreePool(Block);
    PsSetThreadProcess(NULL);
    ObDereferenceObjectBody(Process);
}

/* Memory of sessions moves out of the way of contiguous allocations, as that of processes does. */
static void session_pages_move_for_contiguous_memory(void **State)
{
    enum
    {
        Count = 600
    };
    PEPROCESS Process = InSession(1);
    PHYSICAL_ADDRESS Highest = { .QuadPart = -1 };
    ULONG *Blocks[Count];
    PVOID Contiguous;

    (void)State;
    PsSetThreadProcess(Process);
    for (ULONG Index = 0; Index < Count; Index++)
    {
        Blocks[Index] = ExAllocatePoolWithTag(PagedPoolSession, BYTES, TAG);
        Fill(Blocks[Index], Index);
    }
    Contiguous = MmAllocateContiguousMemory((SIZE_T)8 << 20, Highest); /* half of the machine */
    assert_non_null(Contiguous);
    for (ULONG Index = 0; Index < Count; Index++)
    {
        Check(Blocks[Index], Index);
        ExFreePoolWithTag(Blocks[Index], TAG);
    }
    MmFreeContiguousMemory(Contiguous);
    PsSetThreadProcess(NULL);
    ObDereferenceObjectBody(Process);
}

/* ---- Failure ---------------------------------------------------------------------------------------------------- */

/* One life of a session, whatever fails. TRUE: nothing did. */
static BOOLEAN LiveOnce(void)
{
    PEPROCESS Process;
    PSECTION Section = NULL;
    PVOID Object;
    LARGE_INTEGER SectionSize = { .QuadPart = 0x10000 };
    SIZE_T Size = 0;
    PVOID Base;
    PVOID Blocks[3];
    NTSTATUS Status = PsCreateProcessInSession("unlucky", 1, &Process);
    BOOLEAN Whole = TRUE;

    if (!NT_SUCCESS(Status))
    {
        assert_true(Status == STATUS_INSUFFICIENT_RESOURCES || Status == STATUS_COMMITMENT_LIMIT ||
                    Status == STATUS_NO_MEMORY);
        assert_int_equal(MiState.Space->SessionCount, 0);
        return FALSE;
    }
    PsSetThreadProcess(Process);
    Blocks[0] = ExAllocatePoolWithTag(PagedPoolSession, 100, TAG);
    Blocks[1] = ExAllocatePoolWithTag(PagedPoolSession, 20000, TAG);
    Blocks[2] = ExAllocatePoolWithTag(NonPagedPoolSession, 100, TAG);
    if (NT_SUCCESS(MmCreateSection(&Object, SECTION_ALL_ACCESS, NULL, &SectionSize, PAGE_READWRITE,
                                   SEC_COMMIT, NULL, NULL)))
    {
        Section = Object;
        Status = MmMapViewInSessionSpace(Section, &Base, &Size);
        Whole = NT_SUCCESS(Status);
        if (NT_SUCCESS(Status))
        {
            assert_int_equal(MmUnmapViewInSessionSpace(Base), STATUS_SUCCESS);
        }
        ObDereferenceObjectBody(Section);
    }
    for (ULONG Index = 0; Index < 3; Index++)
    {
        Whole = Whole && Blocks[Index] != NULL;
        if (Blocks[Index] != NULL)
        {
            ExFreePool(Blocks[Index]);
        }
    }
    MiCheckSessions(2);
    PsSetThreadProcess(NULL);
    ObDereferenceObjectBody(Process);
    return Whole && Section != NULL;
}

static void every_failure_leaves_nothing_behind(void **State)
{
    static const KI_INJECT Kinds[] = { KiInjectPool, KiInjectCommit, KiInjectFrame };

    (void)State;
    for (ULONG Kind = 0; Kind < RTL_NUMBER_OF(Kinds); Kind++)
    {
        ULONG64 Failed = 1;
        ULONG64 Nth = 1;

        for (; Failed != 0; Nth++)
        {
            BOOLEAN Whole;

            MiTrimPool();
            KiSetInjection(Kinds[Kind], Nth, FALSE);
            Whole = LiveOnce();
            KiQueryInjection(Kinds[Kind], &Failed);
            KiSetInjection(Kinds[Kind], 0, FALSE);
            assert_true(Whole || Failed != 0);
            assert_int_equal(MiState.Space->SessionCount, 0);
            MiTrimPool();
            TestAssertNothingLeft();
        }
        assert_true(Nth > 5);
    }
}

/* ---- At the same time ------------------------------------------------------------------------------------------- */

#define THREADS 4u

typedef struct _RACE
{
    PEPROCESS Processes[THREADS];
    ULONG Rounds;
} RACE;

/* Two threads in each session, each in a process of its own, all at the same addresses. */
static void Race(ULONG Index, void *Context)
{
    RACE *Run = Context;
    ULONG *Blocks[16] = { NULL };
    ULONG Seeds[16] = { 0 };

    PsSetThreadProcess(Run->Processes[Index]);
    for (ULONG Round = 0; Round < Run->Rounds; Round++)
    {
        ULONG Slot = (Round * 7 + Index) % 16;

        if (Blocks[Slot] != NULL)
        {
            Check(Blocks[Slot], Seeds[Slot]);
            ExFreePoolWithTag(Blocks[Slot], TAG);
        }
        Blocks[Slot] = ExAllocatePoolWithTag(PagedPoolSession, BYTES, TAG);
        assert_non_null(Blocks[Slot]);
        Seeds[Slot] = Index * 100000 + Round;
        Fill(Blocks[Slot], Seeds[Slot]);
        if (Round % 16 == 5)
        {
            MiEmptyWorkingSet(&Run->Processes[Index]->Session->Space);
        }
    }
    for (ULONG Slot = 0; Slot < 16; Slot++)
    {
        if (Blocks[Slot] != NULL)
        {
            Check(Blocks[Slot], Seeds[Slot]);
            ExFreePoolWithTag(Blocks[Slot], TAG);
        }
    }
    PsSetThreadProcess(NULL);
}

static void two_sessions_run_at_the_same_time(void **State)
{
    static const TEST_MACHINE Machine = {
        .RamMegabytes = 16, .Processors = 2, .PagingFiles = 1, .Workers = TRUE
    };
    RACE Run = { .Rounds = (ULONG)TestIterations(200) };

    (void)State;
    TestShutdownMachine();
    TestBootMachine(&Machine);
    for (ULONG Index = 0; Index < THREADS; Index++)
    {
        Run.Processes[Index] = InSession(Index % 2 + 1);
    }
    TestRunThreads(THREADS, Race, &Run);
    TestStopWorkers();
    for (ULONG Index = 0; Index < THREADS; Index++)
    {
        ObDereferenceObjectBody(Run.Processes[Index]);
    }
    assert_int_equal(MiState.Space->SessionCount, 0);
}

/* Sessions come and go while others ask for the same number. */
static void Churn(ULONG Index, void *Context)
{
    ULONG Rounds = *(const ULONG *)Context;

    for (ULONG Round = 0; Round < Rounds; Round++)
    {
        PEPROCESS Process = InSession((Round + Index) % 2 + 1);
        ULONG *Block;

        PsSetThreadProcess(Process);
        Block = ExAllocatePoolWithTag(PagedPoolSession, BYTES, TAG);
        Fill(Block, Round);
        Check(Block, Round);
        ExFreePoolWithTag(Block, TAG);
        PsSetThreadProcess(NULL);
        ObDereferenceObjectBody(Process);
    }
}

static void sessions_come_and_go_at_the_same_time(void **State)
{
    static const TEST_MACHINE Machine = {
        .RamMegabytes = 16, .Processors = 2, .PagingFiles = 1, .Workers = TRUE
    };
    ULONG Rounds = (ULONG)TestIterations(100);

    (void)State;
    TestShutdownMachine();
    TestBootMachine(&Machine);
    TestRunThreads(3, Churn, &Rounds);
    TestStopWorkers();
    assert_int_equal(MiState.Space->SessionCount, 0);
}

NATIVE(views_are_the_sessions)
NATIVE(session_pool_can_be_locked_and_seen_by_all)
NATIVE(session_pages_move_for_contiguous_memory)
NATIVE(every_failure_leaves_nothing_behind)
NATIVE(two_sessions_run_at_the_same_time)
NATIVE(sessions_come_and_go_at_the_same_time)

int main(void)
{
    const struct CMUnitTest Tests[] = {
        TEST(views_are_the_sessions),
        TEST(session_pool_can_be_locked_and_seen_by_all),
        TEST(session_pages_move_for_contiguous_memory),
        TEST(every_failure_leaves_nothing_behind),
        TEST(two_sessions_run_at_the_same_time),
        TEST(sessions_come_and_go_at_the_same_time),
    };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
