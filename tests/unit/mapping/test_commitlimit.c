/* SPDX-License-Identifier: MIT */
/*
 * At the very limit of commitment. Whatever was committed can be touched, without a charge. Every other request is tried with no page
 * left to charge, with one, with two, until it succeeds: as long as it is refused nothing may have changed, and nothing ever passes the limit.
 * And on small machines without a paging file all that could be committed has frames.
 */
#include "views.h"

#include "nt/wdm_mm.h"
#include "translation/systemptes.h"

/* The paging file cannot grow. */
static const TEST_MACHINE Full = { .Deterministic = TRUE, .Seed = 1, .PagingFiles = 1, .Workers = TRUE };

static SIZE_T Taken;

/* Room pages can still be charged. */
static void LeaveRoom(SIZE_T Room)
{
    Taken = MiState.Physical->CommitLimit - MiState.Physical->CommittedPages - Room;
    assert_true(MiChargeCommitment(Taken, MI_COMMIT_NO_EXTEND));
}

static void ReturnRoom(void)
{
    assert_true(MiState.Physical->CommittedPages <= MiState.Physical->CommitLimit);
    assert_true(MiState.Physical->PeakCommitment <= MiState.Physical->CommitLimit);
    MiCheckPhysical(1);
    MiReturnCommitment(Taken);
}

/* ---- What was committed --------------------------------------------------------------------------------------------- */

#define REGIONS 12u
#define SPACING (3ull << 30)

static void committed_memory_is_there_without_a_charge(void **State)
{
    ULONG_PTR Space = TestVmAllocate(0, REGIONS * SPACING, MEM_RESERVE, PAGE_NOACCESS);
    PSECTION Section = TestSectionOf(6 << 20, PAGE_READWRITE, SEC_COMMIT);
    ULONG_PTR View = TestMapIn(TestUserProcess, Section, 0, 0, PAGE_READWRITE);
    ULONG_PTR Copies = TestMapIn(TestUserProcess, Section, 0, 0, PAGE_WRITECOPY);

    (void)State;
    TestVmFree(Space, 0, MEM_RELEASE);
    for (ULONG Index = 0; Index < REGIONS; Index++)
    {
        TestVmAllocate(Space + Index * SPACING, 16 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    }
    LeaveRoom(0);
    for (ULONG Index = 0; Index < REGIONS; Index++)
    {
        TestVmFill(Space + Index * SPACING, 16, Index);
    }
    TestFill(View, (6 << 20) >> PAGE_SHIFT, 1);
    TestCheck(Copies, (6 << 20) >> PAGE_SHIFT, 1);
    TestFill(Copies, (6 << 20) >> PAGE_SHIFT, 2);
    TestVmPageOut();
    MiTrimPageTables(&TestUserProcess->Space);
    MiTrimPrototypePages();
    for (ULONG Index = 0; Index < REGIONS; Index++)
    {
        TestVmCheck(Space + Index * SPACING, 16, Index);
    }
    TestCheck(View, (6 << 20) >> PAGE_SHIFT, 1);
    TestCheck(Copies, (6 << 20) >> PAGE_SHIFT, 2);
    assert_int_equal(MiState.Physical->CommittedPages, MiState.Physical->CommitLimit);
    MiCheckSpace(&TestUserProcess->Space, 2);
    ReturnRoom();
    TestUnmapIn(TestUserProcess, View);
    TestUnmapIn(TestUserProcess, Copies);
    ObDereferenceObjectBody(Section);
}

/* ---- What is refused ------------------------------------------------------------------------------------------------ */

typedef struct _SNAPSHOT
{
    SIZE_T Committed; /* without the pool, which may keep a page */
    SIZE_T Charge;
    SIZE_T Charged;
    SIZE_T Tables;
    SIZE_T Vads;
    SIZE_T Processes;
    SIZE_T Bytes;
} SNAPSHOT;

static SNAPSHOT Look(void)
{
    PMI_ADDRESS_SPACE Space = &TestUserProcess->Space;

    MiTrimSystemPtes();
    return (SNAPSHOT){ .Committed = MiState.Physical->CommittedPages - MiPoolPagesInUse(),
                       .Charge = MiSpaceCommitCharge(Space),
                       .Charged = Space->CommittedPageTables,
                       .Tables = Space->PageTablePages,
                       .Vads = Space->VadCount,
                       .Processes = MiState.Space->ProcessCount,
                       .Bytes = Space->VirtualSize };
}

/* Do succeeds or is refused; Undo takes back what it did. What is Expected besides STATUS_INSUFFICIENT_RESOURCES, for want of pool. */
typedef struct _REQUEST
{
    const char *Name;
    NTSTATUS (*Do)(void);
    void (*Undo)(void);
    NTSTATUS Expected;
} REQUEST;

static ULONG_PTR Region;   /* a reservation of 4 GiB */
static ULONG_PTR Parts;    /* a committed region of 4 MiB of which nothing was touched */
static ULONG_PTR Holder;   /* a placeholder of 64 KiB */
static PSECTION Committed; /* SEC_COMMIT, 4 MiB */
static PSECTION Reserved;  /* SEC_RESERVE, 4 GiB */
static ULONG_PTR Mapped;   /* a view of it */
static MI_USER_STACK Stack;
static ULONG_PTR Base;
static PVOID Made;
static HANDLE Handle;

static NTSTATUS DoCommit(void)
{
    return TestVmTryAllocate(Base = Region + (5ull << 30), 8 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT,
                             PAGE_READWRITE);
}

static void UndoCommit(void)
{
    TestVmFree(Base, 0, MEM_RELEASE);
}

static NTSTATUS DoCommitPart(void)
{
    return TestVmTryAllocate(Region + (1ull << 30) - PAGE_SIZE, 3 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
}

static void UndoCommitPart(void)
{
    TestVmFree(Region, 4ull << 30, MEM_DECOMMIT);
}

static NTSTATUS DoDecommitPart(void)
{
    return TestVmTryFree(Parts + PAGE_SIZE, PAGE_SIZE, MEM_DECOMMIT);
}

static void UndoDecommitPart(void)
{
    TestVmAllocate(Parts + PAGE_SIZE, PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    TestVmProtect(Parts, 4 << 20, PAGE_READWRITE);
}

static NTSTATUS DoReplace(void)
{
    MI_ALLOCATION Allocation = { .Base = Holder,
                                 .Size = 0x10000,
                                 .Type = MEM_RESERVE | MEM_COMMIT | MEM_REPLACE_PLACEHOLDER,
                                 .Protect = PAGE_READWRITE,
                                 .Extended = TRUE };

    return MiAllocateVirtualMemory(&TestUserProcess->Space, &Allocation);
}

static void UndoReplace(void)
{
    TestVmFree(Holder, 0x10000, MEM_RELEASE | MEM_PRESERVE_PLACEHOLDER);
}

static NTSTATUS Map(ULONG Protect)
{
    MI_VIEW View = TestViewOf(Committed, 0, 0, Protect);
    NTSTATUS Status = MiMapView(&TestUserProcess->Space, &View);

    Base = View.Base;
    return Status;
}

static NTSTATUS DoMap(void)
{
    return Map(PAGE_READWRITE);
}

static NTSTATUS DoMapCopy(void)
{
    return Map(PAGE_WRITECOPY);
}

static void UndoMap(void)
{
    TestUnmapIn(TestUserProcess, Base);
}

static NTSTATUS DoSection(void)
{
    MI_SECTION_REQUEST Request = {
        .Size = 3 << 20, .Protect = PAGE_READWRITE, .Attributes = SEC_COMMIT, .Mode = UserMode
    };

    return MiCreateSection(&Request, (PSECTION *)&Made);
}

static void UndoSection(void)
{
    ObDereferenceObjectBody(Made);
}

static NTSTATUS DoClone(void)
{
    return NtCreateProcess(&Handle, PROCESS_ALL_ACCESS, NULL, NtCurrentProcess(), FALSE, NULL, NULL, NULL);
}

static void UndoClone(void)
{
    assert_int_equal(NtTerminateProcess(Handle, STATUS_SUCCESS), STATUS_SUCCESS);
    assert_int_equal(NtClose(Handle), STATUS_SUCCESS);
}

static NTSTATUS DoProcess(void)
{
    return PsCreateProcessObject("new", (PEPROCESS *)&Made);
}

static void UndoProcess(void)
{
    TestEndProcess(Made);
}

static NTSTATUS DoStack(void)
{
    return MmCreateUserStack(&TestUserProcess->Space, 8 << 20, 0x3000, &Stack);
}

static void UndoStack(void)
{
    assert_int_equal(MmDeleteUserStack(&TestUserProcess->Space, &Stack), STATUS_SUCCESS);
}

static NTSTATUS DoSystemPtes(void)
{
    Base = MiReserveSystemPtes(4 * MI_PTES_PER_PAGE);
    return Base != 0 ? STATUS_SUCCESS : STATUS_COMMITMENT_LIMIT;
}

static void UndoSystemPtes(void)
{
    MiReleaseSystemPtes(Base, 4 * MI_PTES_PER_PAGE);
}

static NTSTATUS DoPool(void)
{
    Made = ExAllocatePoolWithTag(NonPagedPoolNx, 5 * PAGE_SIZE, 'tseT');
    return Made != NULL ? STATUS_SUCCESS : STATUS_COMMITMENT_LIMIT;
}

static NTSTATUS DoPagedPool(void)
{
    Made = ExAllocatePoolWithTag(PagedPool, 5 * PAGE_SIZE, 'tseT');
    return Made != NULL ? STATUS_SUCCESS : STATUS_COMMITMENT_LIMIT;
}

static void UndoPool(void)
{
    ExFreePoolWithTag(Made, 'tseT');
}

static NTSTATUS DoReserve(void)
{
    return TestVmTryAllocate(Base = Region + (5ull << 30), 1ull << 31, MEM_RESERVE, PAGE_NOACCESS);
}

/* Every page of SEC_RESERVE is a commitment, and its tables and chunk are made by the fault. */
static NTSTATUS DoTouchReserved(void)
{
    EXCEPTION_RECORD Record;
    UCHAR Value = 7;
    NTSTATUS Status = HostSimWrite(Mapped + (1ull << 31), &Value, 1, &Record);

    if (Status == STATUS_IN_PAGE_ERROR)
    {
        assert_int_equal(Record.NumberParameters, 3);
        assert_int_equal((ULONG)Record.ExceptionInformation[2], (ULONG)STATUS_COMMITMENT_LIMIT);
    }
    return Status;
}

/* What a fault that failed leaves: tables that it could make are charged, exist, and go with the view. */
static SNAPSHOT LookWithoutTables(void)
{
    SNAPSHOT Snapshot = Look();

    Snapshot.Committed -= Snapshot.Tables;
    Snapshot.Charge -= Snapshot.Tables;
    Snapshot.Charged -= Snapshot.Tables;
    Snapshot.Tables = 0;
    return Snapshot;
}

static void UndoNothing(void)
{
}

static const REQUEST Requests[] = {
    { "reserve", DoReserve, UndoCommit, STATUS_COMMITMENT_LIMIT },
    { "commit", DoCommit, UndoCommit, STATUS_COMMITMENT_LIMIT },
    { "commit a part", DoCommitPart, UndoCommitPart, STATUS_COMMITMENT_LIMIT },
    { "decommit a part", DoDecommitPart, UndoDecommitPart, STATUS_COMMITMENT_LIMIT },
    { "replace a placeholder", DoReplace, UndoReplace, STATUS_COMMITMENT_LIMIT },
    { "map", DoMap, UndoMap, STATUS_COMMITMENT_LIMIT },
    { "map for copies", DoMapCopy, UndoMap, STATUS_COMMITMENT_LIMIT },
    { "section", DoSection, UndoSection, STATUS_COMMITMENT_LIMIT },
    { "clone", DoClone, UndoClone, STATUS_COMMITMENT_LIMIT },
    { "process", DoProcess, UndoProcess, STATUS_COMMITMENT_LIMIT },
    { "stack", DoStack, UndoStack, STATUS_COMMITMENT_LIMIT },
    { "system PTEs", DoSystemPtes, UndoSystemPtes, STATUS_COMMITMENT_LIMIT },
    { "nonpaged pool", DoPool, UndoPool, STATUS_COMMITMENT_LIMIT },
    { "paged pool", DoPagedPool, UndoPool, STATUS_COMMITMENT_LIMIT },
    { "touch SEC_RESERVE", DoTouchReserved, UndoNothing, STATUS_IN_PAGE_ERROR },
};

static void Prepare(void)
{
    MI_ALLOCATION Allocation = { .Size = 0x10000,
                                 .Type = MEM_RESERVE | MEM_RESERVE_PLACEHOLDER,
                                 .Protect = PAGE_NOACCESS,
                                 .Extended = TRUE };

    Region = TestVmAllocate(0, 16ull << 30, MEM_RESERVE, PAGE_NOACCESS);
    TestVmFree(Region, 0, MEM_RELEASE);
    Region += 8ull << 30;
    TestVmAllocate(Region, 4ull << 30, MEM_RESERVE, PAGE_READWRITE);
    Parts = TestVmAllocate(0, 4 << 20, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    assert_int_equal(MiAllocateVirtualMemory(&TestUserProcess->Space, &Allocation), STATUS_SUCCESS);
    Holder = Allocation.Base;
    Committed = TestSectionOf(4 << 20, PAGE_READWRITE, SEC_COMMIT);
    Reserved = TestSectionOf(4ull << 30, PAGE_READWRITE, SEC_RESERVE);
    Mapped = TestMapIn(TestUserProcess, Reserved, 0, 0, PAGE_READWRITE);
    TestVmAllocate(Mapped + (1ull << 31), PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
}

static void Leave(void)
{
    TestUnmapIn(TestUserProcess, Mapped);
    ObDereferenceObjectBody(Committed);
    ObDereferenceObjectBody(Reserved);
}

static void a_refusal_changes_nothing_however_little_is_missing(void **State)
{
    (void)State;
    Prepare();
    for (ULONG Number = 0; Number < sizeof(Requests) / sizeof(Requests[0]); Number++)
    {
        const REQUEST *Request = &Requests[Number];
        NTSTATUS Status = STATUS_COMMITMENT_LIMIT;
        SIZE_T Room;

        for (Room = 0; !NT_SUCCESS(Status); Room++)
        {
            SNAPSHOT Before, After;

            LeaveRoom(Room);
            Before = Request->Undo == UndoNothing ? LookWithoutTables() : Look();
            Status = Request->Do();
            assert_true(MiState.Physical->CommittedPages <= MiState.Physical->CommitLimit);
            if (!NT_SUCCESS(Status))
            {
                if (Status != Request->Expected && Status != STATUS_INSUFFICIENT_RESOURCES)
                {
                    fail_msg("%s with %zu pages left: %08x", Request->Name, (size_t)Room, (unsigned)Status);
                }
                After = Request->Undo == UndoNothing ? LookWithoutTables() : Look();
                assert_memory_equal(&Before, &After, sizeof(Before));
            }
            MiCheckSpace(&TestUserProcess->Space, 2);
            ReturnRoom();
            assert_true(Room < 5000);
        }
        if (getenv("NTMM_SHOW") != NULL)
        {
            print_message("%s: %zu pages\n", Request->Name, (size_t)Room - 1);
        }
        Request->Undo();
    }
    Leave();
}

/* Stack growth is a fault of its own kind: it commits, and its refusal has a documented exception. */
static void a_stack_that_cannot_grow_overflows(void **State)
{
    SNAPSHOT Before, After;
    ULONG_PTR Top;

    (void)State;
    assert_int_equal(MmCreateUserStack(&TestUserProcess->Space, 8 << 20, PAGE_SIZE, &Stack), STATUS_SUCCESS);
    KiCurrentThread()->StackBase = Stack.StackBase;
    KiCurrentThread()->StackLimit = Stack.StackLimit;
    KiCurrentThread()->DeallocationStack = Stack.DeallocationStack;
    Top = (ULONG_PTR)Stack.StackBase;
    TestVmPut(Top - 8, 1);
    LeaveRoom(2);
    TestVmPut(Top - 1 * PAGE_SIZE - 8, 1);
    TestVmPut(Top - 2 * PAGE_SIZE - 8, 1);
    Before = Look();
    assert_int_equal(TestVmTryPut(Top - 3 * PAGE_SIZE - 8, 1), STATUS_STACK_OVERFLOW);
    After = Look();
    assert_memory_equal(&Before, &After, sizeof(Before));
    TestVmPut(Top - 3 * PAGE_SIZE - 8, 1); /* the old guard page is room for the handler */
    ReturnRoom();
    KiCurrentThread()->StackBase = NULL;
    KiCurrentThread()->StackLimit = NULL;
    KiCurrentThread()->DeallocationStack = NULL;
    UndoStack();
}

/* ---- Small machines without a paging file --------------------------------------------------------------------------- */

#define PIECES 600u

typedef struct _SHARE
{
    PEPROCESS Process;
    ULONG Threads;
    ULONG Count;
    ULONG_PTR Address[PIECES];
    ULONG Pages[PIECES];
    volatile ULONG Failures;
} SHARE;

/* All that can be committed: large pieces first, then smaller ones, some of them a gigabyte apart. */
static void CommitAll(SHARE *Share)
{
    ULONG_PTR Sparse = TestVmAllocate(0, 64ull << 30, MEM_RESERVE, PAGE_NOACCESS);

    TestVmFree(Sparse, 0, MEM_RELEASE);
    for (ULONG Pages = 24; Pages != 0;)
    {
        ULONG_PTR At = Share->Count % 4 == 0 ? Sparse + ((ULONG_PTR)(Share->Count % 60) << 30) +
                                                   ((ULONG_PTR)(Share->Count / 60) << 22)
                                             : 0;
        SIZE_T Size = (SIZE_T)Pages << PAGE_SHIFT;
        PVOID Address = (PVOID)At;

        assert_true(Share->Count < PIECES);
        if (NT_SUCCESS(NtAllocateVirtualMemory(NtCurrentProcess(), &Address, 0, &Size,
                                               MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE)))
        {
            Share->Address[Share->Count] = (ULONG_PTR)Address;
            Share->Pages[Share->Count++] = Pages;
        }
        else
        {
            Pages /= 2;
        }
    }
}

static void TouchShare(ULONG Index, void *Context)
{
    SHARE *Share = Context;

    assert_int_equal(HostSetThreadSimulated(TRUE), STATUS_SUCCESS);
    TestRunInProcess(Share->Process);
    for (ULONG Piece = Index; Piece < Share->Count; Piece += Share->Threads)
    {
        for (ULONG Page = 0; Page < Share->Pages[Piece]; Page++)
        {
            if (!NT_SUCCESS(TestVmTryPut(Share->Address[Piece] + Page * PAGE_SIZE, (UCHAR)Piece)))
            {
                __atomic_fetch_add(&Share->Failures, 1, __ATOMIC_RELAXED);
            }
        }
    }
    TestRunInProcess(NULL);
    assert_int_equal(HostSetThreadSimulated(FALSE), STATUS_SUCCESS);
}

static void all_that_can_be_committed_has_frames(void **State)
{
    static SHARE Share;

    (void)State;
    for (ULONG Case = 0; Case < 12; Case++)
    {
        const TEST_MACHINE Machine = { .RamMegabytes = 2 + Case % 3 * 2,
                                       .Processors = 1 + Case / 3,
                                       .Workers = TRUE };
        ULONG64 Waits;

        TestEnterProcess(&Machine);
        memset(&Share, 0, sizeof(Share));
        Share.Process = TestUserProcess;
        Share.Threads = 1 + Case / 3;
        CommitAll(&Share);
        assert_true(Share.Count != 0);
        Waits = MiQueryCounter(MiCounterFaultRetries);
        TestRunThreads(Share.Threads, TouchShare, &Share);
        assert_int_equal(Share.Failures, 0);
        if (getenv("NTMM_SHOW") != NULL)
        {
            print_message(
                "%u MiB, %u processors: %u pieces, %llu of %llu pages committed, %llu available, %llu retries\n",
                Machine.RamMegabytes, Machine.Processors, Share.Count,
                (ULONG64)MiState.Physical->CommittedPages, (ULONG64)MiState.Physical->CommitLimit,
                (ULONG64)MiAvailablePages(), MiQueryCounter(MiCounterFaultRetries) - Waits);
        }
        for (ULONG Piece = 0; Piece < Share.Count; Piece++)
        {
            assert_int_equal(TestVmGet(Share.Address[Piece]), (UCHAR)Piece);
            TestVmFree(Share.Address[Piece], 0, MEM_RELEASE);
        }
        TestLeaveProcess();
    }
}

static int Enter(void **State)
{
    (void)State;
    TestEnterProcess(&Full);
    return 0;
}

#define AT_THE_LIMIT(Name) cmocka_unit_test_setup_teardown(Name, Enter, TestLeaveFixture)

int main(void)
{
    const struct CMUnitTest Tests[] = {
        AT_THE_LIMIT(committed_memory_is_there_without_a_charge),
        AT_THE_LIMIT(a_refusal_changes_nothing_however_little_is_missing),
        AT_THE_LIMIT(a_stack_that_cannot_grow_overflows),
        cmocka_unit_test(all_that_can_be_committed_has_frames),
    };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
