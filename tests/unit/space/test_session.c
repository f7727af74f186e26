/* SPDX-License-Identifier: MIT */
/*
 * Sessions: processes of one see the same memory at the same addresses of session space, those of another see other memory there; session
 * pool and views live in it, page out and come back; and everything goes with the last process. Sources: Windows Internals, 7th ed.,
 * part 1, chapter 5 ("Session space", "System working sets"); Microsoft Learn, MmMapViewInSessionSpace, POOL_TYPE, bug checks 0xAB, 0xBA.
 */
#include "session_test.h"

#include "nt/psinfo.h"

#define TAG2 MI_TAG('S', 'e', 's', '2')

/* ---- Addresses -------------------------------------------------------------------------------------------- */

static void a_session_is_seen_by_its_processes_and_by_no_other(void **State)
{
    PEPROCESS First = InSession(1);
    PEPROCESS Second = InSession(1);
    PEPROCESS Foreign = InSession(2);
    KAPC_STATE Outer;
    KAPC_STATE Inner;
    ULONG *Block;
    ULONG *Other;

    (void)State;
    assert_ptr_equal(First->Session, Second->Session);
    assert_ptr_not_equal(First->Session, Foreign->Session);
    assert_int_equal(First->Session->ProcessCount, 2);
    KeStackAttachProcess((PRKPROCESS)(PVOID)First, &Outer);
    Block = ExAllocatePoolWithTag(PagedPoolSession, BYTES, TAG);
    assert_true(MiIsSessionAddress((ULONG_PTR)Block));
    Fill(Block, 1);
    KeStackAttachProcess((PRKPROCESS)(PVOID)Second, &Inner);
    Check(Block, 1);
    Fill(Block, 2);
    KeUnstackDetachProcess(&Inner);
    Check(Block, 2);
    KeStackAttachProcess((PRKPROCESS)(PVOID)Foreign, &Inner);
    Other = ExAllocatePoolWithTag(PagedPoolSession, BYTES, TAG);
    assert_ptr_equal(Other, Block); /* both are the first of their pool */
    Fill(Other, 3);
    KeUnstackDetachProcess(&Inner);
    Check(Block, 2);
    KeStackAttachProcess((PRKPROCESS)(PVOID)Foreign, &Inner);
    Check(Other, 3);
    ExFreePoolWithTag(Other, TAG);
    KeUnstackDetachProcess(&Inner);
    Check(Block, 2);
    ExFreePoolWithTag(Block, TAG);
    KeUnstackDetachProcess(&Outer);
    MiCheckSessions(2);
    ObDereferenceObjectBody(First);
    ObDereferenceObjectBody(Second);
    ObDereferenceObjectBody(Foreign);
}

static void RaiseInNoSession(void *Context)
{
    (void)ExAllocatePool2(POOL_FLAG_PAGED | POOL_FLAG_SESSION | POOL_FLAG_RAISE_ON_FAILURE, 100, TAG);
    *(BOOLEAN *)Context = TRUE;
}

static void ReadByte(void *Address)
{
    UCHAR Value = *(volatile UCHAR *)Address;

    (void)Value;
}

static void who_is_in_no_session_has_nothing_of_it(void **State)
{
    PEPROCESS Process = TestNewProcess("outside");
    BOOLEAN Returned = FALSE;
    KAPC_STATE ApcState;
    PVOID Base = NULL;
    SIZE_T Size = 0;
    EXCEPTION_RECORD Record;

    (void)State;
    for (ULONG Attached = 0; Attached < 2; Attached++)
    {
        if (Attached != 0)
        {
            KeStackAttachProcess((PRKPROCESS)(PVOID)Process, &ApcState);
        }
        assert_null(ExAllocatePoolWithTag(PagedPoolSession, 100, TAG));
        assert_null(ExAllocatePoolWithTag(NonPagedPoolSession, 100, TAG));
        assert_int_equal(KiGuardedCall(RaiseInNoSession, &Returned, &Record), STATUS_INSUFFICIENT_RESOURCES);
        assert_false(Returned);
        assert_int_equal(MmMapViewInSessionSpace(NULL, &Base, &Size), STATUS_INVALID_SESSION);
        assert_int_equal(MmUnmapViewInSessionSpace((PVOID)(ULONG_PTR)PORT_SESSION_START),
                         STATUS_INVALID_SESSION);
        assert_false(MmIsAddressValid((PVOID)(ULONG_PTR)PORT_SESSION_START));
        if (Attached != 0)
        {
            KeUnstackDetachProcess(&ApcState);
        }
    }
    assert_int_equal(PsCreateProcessInSession("nowhere", MM_NO_SESSION, &Process), STATUS_INVALID_PARAMETER);
    TestExpectBugCheck(PAGE_FAULT_IN_NONPAGED_AREA, ReadByte, (PVOID)(ULONG_PTR)PORT_SESSION_START);
    assert_int_equal(TestBugCheckParameters[0], PORT_SESSION_START);
    ObDereferenceObjectBody(Process);
}

static void an_address_of_a_session_without_memory_is_a_bug_check(void **State)
{
    PEPROCESS Process = InSession(1);

    (void)State;
    PsSetThreadProcess(Process);
    TestExpectBugCheck(PAGE_FAULT_IN_NONPAGED_AREA, ReadByte,
                       (PVOID)(ULONG_PTR)(PORT_SESSION_START + 0x5000));
    PsSetThreadProcess(NULL);
    ObDereferenceObjectBody(Process);
}

/* Simulated processors see what the pool sees, in kernel mode; user mode has no access. */
static void session_space_is_for_kernel_mode(void **State)
{
    PEPROCESS Process = InSession(4);
    ULONG64 *Block;
    ULONG64 Value = 0;

    (void)State;
    PsSetThreadProcess(Process);
    Block = ExAllocatePoolWithTag(PagedPoolSession, 64, TAG);
    *Block = 0x1122334455667788ull;
    assert_int_equal(HostSetThreadSimulated(TRUE), STATUS_SUCCESS);
    assert_int_equal(HostSimRead((ULONG_PTR)Block, &Value, sizeof(Value), NULL), STATUS_SUCCESS);
    assert_int_equal(Value, 0x1122334455667788ull);
    KiCurrentThread()->CurrentMode = UserMode;
    assert_int_equal(HostSimRead((ULONG_PTR)Block, &Value, sizeof(Value), NULL), STATUS_ACCESS_VIOLATION);
    KiCurrentThread()->CurrentMode = KernelMode;
    Value = 42;
    assert_int_equal(HostSimWrite((ULONG_PTR)Block, &Value, sizeof(Value), NULL), STATUS_SUCCESS);
    MiEmptyWorkingSet(&Process->Session->Space); /* the simulated processor's TB is told */
    Value = 0;
    assert_int_equal(HostSimRead((ULONG_PTR)Block, &Value, sizeof(Value), NULL), STATUS_SUCCESS);
    assert_int_equal(Value, 42);
    assert_int_equal(HostSetThreadSimulated(FALSE), STATUS_SUCCESS);
    assert_int_equal(*Block, 42);
    ExFreePool(Block);
    PsSetThreadProcess(NULL);
    ObDereferenceObjectBody(Process);
}

/* ---- Life ------------------------------------------------------------------------------------------------- */

static void children_inherit_the_session_and_services_tell_it(void **State)
{
    PEPROCESS Process = InSession(7);
    PROCESS_SESSION_INFORMATION Information;
    HANDLE Child;
    PEPROCESS Body;

    (void)State;
    PsSetThreadProcess(Process);
    assert_int_equal(
        NtCreateProcessEx(&Child, PROCESS_ALL_ACCESS, NULL, NtCurrentProcess(), 0, NULL, NULL, NULL, 0),
        STATUS_SUCCESS);
    assert_int_equal(
        NtQueryInformationProcess(Child, ProcessSessionInformation, &Information, sizeof(Information), NULL),
        STATUS_SUCCESS);
    assert_int_equal(Information.SessionId, 7);
    assert_int_equal(NtQueryInformationProcess(Child, ProcessSessionInformation, &Information, 2, NULL),
                     STATUS_INFO_LENGTH_MISMATCH);
    assert_int_equal(
        ObReferenceObjectByHandle(Child, PROCESS_ALL_ACCESS, NULL, KernelMode, (PVOID *)&Body, NULL),
        STATUS_SUCCESS);
    assert_ptr_equal(Body->Session, Process->Session);
    assert_int_equal(Process->Session->ProcessCount, 2);
    ObDereferenceObjectBody(Body);
    assert_int_equal(NtTerminateProcess(Child, STATUS_SUCCESS), STATUS_SUCCESS);
    assert_int_equal(NtClose(Child), STATUS_SUCCESS);
    assert_int_equal(Process->Session->ProcessCount, 1);
    PsSetThreadProcess(NULL);
    ObDereferenceObjectBody(Process);
    Process = TestNewProcess("outside");
    assert_int_equal(MmGetSessionId(Process), 0);
    assert_null(Process->Session);
    ObDereferenceObjectBody(Process);
}

static void it_ends_with_its_last_process_and_begins_anew(void **State)
{
    PEPROCESS First = InSession(3);
    PEPROCESS Second = InSession(3);
    PMM_SESSION_SPACE Session = MmGetSessionById(3);
    SIZE_T Commit;
    ULONG *Block;

    (void)State;
    assert_ptr_equal(Session, First->Session);
    ObDereferenceObjectBody(Session);
    PsTerminateProcessObject(First, STATUS_SUCCESS);
    ObDereferenceObjectBody(First);
    PsSetThreadProcess(Second);
    Block = ExAllocatePoolWithTag(PagedPoolSession, BYTES, TAG);
    Fill(Block, 1);
    ExFreePoolWithTag(Block, TAG);
    Commit = MiSpaceCommitCharge(&Second->Session->Space);
    assert_true(Commit > MI_SESSION_TABLES); /* a slab is kept */
    PsSetThreadProcess(NULL);
    ObDereferenceObjectBody(Second);
    assert_null(MmGetSessionById(3));
    assert_int_equal(MiState.Space->SessionCount, 0);
    MiTrimPool();
    TestAssertNothingLeft();
    Second = InSession(3);
    PsSetThreadProcess(Second);
    assert_int_equal(MiSpaceCommitCharge(&Second->Session->Space), MI_SESSION_TABLES);
    Block = ExAllocatePoolZero(PagedPoolSession, BYTES, TAG);
    for (ULONG Word = 0; Word < BYTES / sizeof(ULONG); Word++)
    {
        assert_int_equal(Block[Word], 0);
    }
    ExFreePool(Block);
    PsSetThreadProcess(NULL);
    ObDereferenceObjectBody(Second);
}

/* ---- Pool ------------------------------------------------------------------------------------------------- */

static void tags_are_counted_by_session(void **State)
{
    PEPROCESS First = InSession(1);
    PEPROCESS Second = InSession(2);
    EX_SESSION_USAGE Usage;
    SYSTEM_POOLTAG Sums;
    PVOID Blocks[3];
    KAPC_STATE ApcState;

    (void)State;
    PsSetThreadProcess(First);
    Blocks[0] = ExAllocatePoolWithTag(PagedPoolSession, 100, TAG);
    Blocks[1] = ExAllocatePoolWithTag(PagedPoolSession, 3 * PAGE_SIZE, TAG2);
    Blocks[2] = ExAllocatePoolWithTag(NonPagedPoolSessionNx, 200, TAG);
    ExQuerySessionPool(&First->Session->Pool, &Usage);
    assert_int_equal(Usage.Blocks[0], 1);
    assert_int_equal(Usage.Blocks[1], 2);
    assert_int_equal(Usage.Bytes[0], 224);
    assert_int_equal(Usage.Bytes[1], 128 + 3 * PAGE_SIZE);
    assert_false(MiIsSessionAddress((ULONG_PTR)Blocks[2])); /* of all processes, at any IRQL */
    assert_false(ExQueryPoolTag(TAG2, &Sums));
    ExQuerySessionPool(&Second->Session->Pool, &Usage);
    assert_int_equal(Usage.Blocks[0] + Usage.Blocks[1], 0);
    KeStackAttachProcess((PRKPROCESS)(PVOID)Second, &ApcState);
    MiCheckPool();
    KeUnstackDetachProcess(&ApcState);
    MiCheckPool();
    for (ULONG Index = 0; Index < 3; Index++)
    {
        ExFreePool(Blocks[Index]);
    }
    ExQuerySessionPool(&First->Session->Pool, &Usage);
    assert_int_equal(Usage.Blocks[0] + Usage.Blocks[1] + Usage.Bytes[0] + Usage.Bytes[1], 0);
    PsSetThreadProcess(NULL);
    ObDereferenceObjectBody(First);
    ObDereferenceObjectBody(Second);
}

static void Free(void *Block)
{
    ExFreePool(Block);
}

static void session_blocks_are_freed_in_their_session(void **State)
{
    PEPROCESS First = InSession(1);
    PEPROCESS Second = InSession(2);
    PVOID Paged;
    PVOID Nonpaged;
    KAPC_STATE ApcState;

    (void)State;
    PsSetThreadProcess(First);
    Paged = ExAllocatePoolWithTag(PagedPoolSession, 100, TAG);
    Nonpaged = ExAllocatePoolWithTag(NonPagedPoolSession, 100, TAG);
    KeStackAttachProcess((PRKPROCESS)(PVOID)Second, &ApcState);
    TestExpectBugCheck(BAD_POOL_CALLER, Free, Nonpaged);
    assert_int_equal(TestBugCheckParameters[0], 0x99);
    TestExpectBugCheck(BAD_POOL_CALLER, Free, Paged);
    assert_int_equal(TestBugCheckParameters[0], 0x99);
    KeUnstackDetachProcess(&ApcState);
    ExFreePool(Paged);
    ExFreePool(Nonpaged);
    TestExpectBugCheck(BAD_POOL_CALLER, Free, Paged);
    PsSetThreadProcess(NULL);
    TestExpectBugCheck(BAD_POOL_CALLER, Free, Paged);
    ObDereferenceObjectBody(First);
    ObDereferenceObjectBody(Second);
}

static void EndProcess(void *Process)
{
    ObDereferenceObjectBody(Process);
}

static void LeakPool(void)
{
    PEPROCESS Process = InSession(9);

    PsSetThreadProcess(Process);
    (void)ExAllocatePoolWithTag(PagedPoolSession, 100, TAG);
    (void)ExAllocatePoolWithTag(PagedPoolSession, 5000, TAG);
    (void)ExAllocatePoolWithTag(NonPagedPoolSession, 200, TAG2);
    PsSetThreadProcess(NULL);
    TestExpectBugCheck(SESSION_HAS_VALID_POOL_ON_EXIT, EndProcess, Process);
    assert_int_equal(TestBugCheckParameters[0], 9);
    assert_int_equal(TestBugCheckParameters[1], 128 + 2 * PAGE_SIZE);
    assert_int_equal(TestBugCheckParameters[2], 224);
    assert_int_equal(TestBugCheckParameters[3], 1ull << 32 | 2);
}

static void LeakView(void)
{
    PEPROCESS Process = InSession(8);
    PSECTION Section = NewSection(0x10000);
    SIZE_T Size = 0;
    PVOID Base;

    PsSetThreadProcess(Process);
    assert_int_equal(MmMapViewInSessionSpace(Section, &Base, &Size), STATUS_SUCCESS);
    PsSetThreadProcess(NULL);
    TestExpectBugCheck(SESSION_HAS_VALID_VIEWS_ON_EXIT, EndProcess, Process);
    assert_int_equal(TestBugCheckParameters[0], 8);
    assert_int_equal(TestBugCheckParameters[1], 1);
}

/* ---- Paging ------------------------------------------------------------------------------------------------- */

static void session_pool_goes_to_the_paging_file_and_comes_back(void **State)
{
    enum
    {
        Count = 200
    };
    static const TEST_MACHINE Machine = { .RamMegabytes = 16, .PagingFiles = 1, .Workers = TRUE };
    ULONG *Blocks[2][Count];
    PEPROCESS Processes[2];

    (void)State;
    TestShutdownMachine();
    TestBootMachine(&Machine);
    for (ULONG Session = 0; Session < 2; Session++)
    {
        Processes[Session] = InSession(Session + 1);
        PsSetThreadProcess(Processes[Session]);
        for (ULONG Index = 0; Index < Count; Index++)
        {
            Blocks[Session][Index] = ExAllocatePoolWithTag(PagedPoolSession, BYTES, TAG);
            Fill(Blocks[Session][Index], Session * 1000 + Index);
        }
    }
    assert_ptr_equal(Blocks[0][0], Blocks[1][0]);
    for (ULONG Round = 0; Round < 3; Round++)
    {
        for (ULONG Session = 0; Session < 2; Session++)
        {
            PageOut(Processes[Session]->Session);
        }
        for (ULONG Session = 0; Session < 2; Session++)
        {
            PsSetThreadProcess(Processes[Session]);
            for (ULONG Index = 0; Index < Count; Index++)
            {
                Check(Blocks[Session][Index], Session * 1000 + Index);
            }
            MiCheckWorkingSet(&Processes[Session]->Session->Space);
        }
    }
    TestStopWorkers();
    for (ULONG Session = 0; Session < 2; Session++)
    {
        assert_true(MiSpaceHardFaultCount(&Processes[Session]->Session->Space) > 0);
        PsSetThreadProcess(Processes[Session]);
        for (ULONG Index = 0; Index < Count; Index++)
        {
            ExFreePoolWithTag(Blocks[Session][Index], TAG);
        }
        PsSetThreadProcess(NULL);
        ObDereferenceObjectBody(Processes[Session]);
    }
}

/* The working set of a session has limits of its own and ages like any other. */
static void a_session_keeps_its_working_set_limit(void **State)
{
    enum
    {
        Pages = 200,
        Limit = 60
    };
    PEPROCESS Process = InSession(5);
    PMI_ADDRESS_SPACE Space = &Process->Session->Space;
    UCHAR *Block;

    (void)State;
    assert_int_equal(MiSetWorkingSetLimits(Space, 20, Limit, QUOTA_LIMITS_HARDWS_MAX_ENABLE), STATUS_SUCCESS);
    PsSetThreadProcess(Process);
    Block = ExAllocatePoolWithTag(PagedPoolSession, Pages * PAGE_SIZE, TAG);
    assert_non_null(Block);
    for (ULONG Page = 0; Page < Pages; Page++)
    {
        Block[Page * PAGE_SIZE] = (UCHAR)(Page + 1);
        assert_true(MiWorkingSetPages(Space) <= Limit);
    }
    for (ULONG Page = 0; Page < Pages; Page++)
    {
        assert_int_equal(Block[Page * PAGE_SIZE], (UCHAR)(Page + 1));
        assert_true(MiWorkingSetPages(Space) <= Limit);
    }
    assert_true(MiTrimWorkingSet(Space, 10, 0) <= 10);
    MiCheckWorkingSet(Space);
    ExFreePool(Block);
    PsSetThreadProcess(NULL);
    ObDereferenceObjectBody(Process);
}

/* While memory is short the working-set manager comes by sessions, too. */
static void the_working_set_manager_trims_sessions(void **State)
{
    static const TEST_MACHINE Machine = {
        .RamMegabytes = 8, .Deterministic = TRUE, .Seed = 3, .PagingFiles = 1, .Workers = TRUE
    };
    enum
    {
        Pages = 1200
    };
    PEPROCESS Process;
    UCHAR *Blocks[3];

    (void)State;
    TestShutdownMachine();
    TestBootMachine(&Machine);
    Process = InSession(1);
    PsSetThreadProcess(Process);
    for (ULONG Index = 0; Index < 3; Index++)
    {
        Blocks[Index] = ExAllocatePoolWithTag(PagedPoolSession, Pages * PAGE_SIZE, TAG);
        assert_non_null(Blocks[Index]);
        for (ULONG Page = 0; Page < Pages; Page++)
        {
            Blocks[Index][Page * PAGE_SIZE + Index] = (UCHAR)(Page + Index);
        }
    }
    for (ULONG Index = 0; Index < 3; Index++)
    {
        for (ULONG Page = 0; Page < Pages; Page++)
        {
            assert_int_equal(Blocks[Index][Page * PAGE_SIZE + Index], (UCHAR)(Page + Index));
        }
    }
    assert_true(MiSpaceHardFaultCount(&Process->Session->Space) > 0);
    TestStopWorkers();
    MiCheckWorkingSet(&Process->Session->Space);
    for (ULONG Index = 0; Index < 3; Index++)
    {
        ExFreePool(Blocks[Index]);
    }
    PsSetThreadProcess(NULL);
    ObDereferenceObjectBody(Process);
}

/* What ends in a bug check leaves the session as it was: the machine is given up. */
#define FATAL(Name, Routine)                                                                                 \
    static void Name##_natively(void **State)                                                                \
    {                                                                                                        \
        TestSetupDeterministic(State);                                                                       \
        Routine();                                                                                           \
        TestAbandonMachine();                                                                                \
    }

NATIVE(a_session_is_seen_by_its_processes_and_by_no_other)
NATIVE(who_is_in_no_session_has_nothing_of_it)
NATIVE(an_address_of_a_session_without_memory_is_a_bug_check)
NATIVE(session_space_is_for_kernel_mode)
NATIVE(children_inherit_the_session_and_services_tell_it)
NATIVE(it_ends_with_its_last_process_and_begins_anew)
NATIVE(tags_are_counted_by_session)
NATIVE(session_blocks_are_freed_in_their_session)
FATAL(pool_left_at_the_end_is_a_bug_check, LeakPool)
FATAL(views_left_at_the_end_are_a_bug_check, LeakView)
NATIVE(session_pool_goes_to_the_paging_file_and_comes_back)
NATIVE(a_session_keeps_its_working_set_limit)
NATIVE(the_working_set_manager_trims_sessions)

int main(void)
{
    const struct CMUnitTest Tests[] = {
        TEST(a_session_is_seen_by_its_processes_and_by_no_other),
        TEST(who_is_in_no_session_has_nothing_of_it),
        TEST(an_address_of_a_session_without_memory_is_a_bug_check),
        TEST(session_space_is_for_kernel_mode),
        TEST(children_inherit_the_session_and_services_tell_it),
        TEST(it_ends_with_its_last_process_and_begins_anew),
        TEST(tags_are_counted_by_session),
        TEST(session_blocks_are_freed_in_their_session),
        TEST(pool_left_at_the_end_is_a_bug_check),
        TEST(views_left_at_the_end_are_a_bug_check),
        TEST(session_pool_goes_to_the_paging_file_and_comes_back),
        TEST(a_session_keeps_its_working_set_limit),
        TEST(the_working_set_manager_trims_sessions),
    };
    return cmocka_run_group_tests(Tests, NULL, NULL);
}
