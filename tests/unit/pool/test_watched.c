/* SPDX-License-Identifier: MIT */
/*
 * What special pool and the verifier make of blocks that do not come straight from the machine's pool: session pool and lookaside lists; and
 * that memory that is missing for their own records changes nothing. The driver is the section "driver" of this program.
 * Sources: Microsoft Learn, "Special Pool", "Pool Tracking", lookaside list pages, bug checks 0xC1, 0xC2, 0xC4, 0xCC, 0xCD.
 */
#include "process.h"

#include "nt/ex.h"
#include "pool/special.h"
#include "pool/verifier.h"
#include "space/session.h"
#include "translation/systemptes.h"

#define TAG    MI_TAG('W', 't', 'c', 'h')
#define DRIVER __attribute__((section("driver"), noinline))

extern UCHAR DriverStart[] __asm__("__start_driver");
extern UCHAR DriverEnd[] __asm__("__stop_driver");

static EX_DRIVER *Driver;

/* The empty statement keeps the call from becoming a jump, which would hide who called. */
#define STAY() __asm__ volatile("")

DRIVER static void *DriverAllocate(POOL_TYPE Type, SIZE_T Bytes)
{
    void *Block = ExAllocatePoolWithTag(Type, Bytes, TAG);

    STAY();
    return Block;
}

DRIVER static void DriverFree(void *Block)
{
    ExFreePoolWithTag(Block, TAG);
    STAY();
}

static NPAGED_LOOKASIDE_LIST Nonpaged;
static PAGED_LOOKASIDE_LIST Paged;
static LOOKASIDE_LIST_EX Extended;

DRIVER static void *DriverTake(ULONG Kind)
{
    void *Entry = Kind == 0   ? ExAllocateFromNPagedLookasideList(&Nonpaged)
                  : Kind == 1 ? ExAllocateFromPagedLookasideList(&Paged)
                              : ExAllocateFromLookasideListEx(&Extended);

    STAY();
    return Entry;
}

DRIVER static void DriverGive(ULONG Kind, void *Entry)
{
    if (Kind == 0)
    {
        ExFreeToNPagedLookasideList(&Nonpaged, Entry);
    }
    else if (Kind == 1)
    {
        ExFreeToPagedLookasideList(&Paged, Entry);
    }
    else
    {
        ExFreeToLookasideListEx(&Extended, Entry);
    }
    STAY();
}

DRIVER static void DriverGiveTwice(void *Entry)
{
    ExFreeToNPagedLookasideList(&Nonpaged, Entry);
    ExFreeToNPagedLookasideList(&Nonpaged, Entry);
    STAY();
}

static void Free(void *Block)
{
    ExFreePoolWithTag(Block, TAG);
}

static void Write(void *Address)
{
    *(volatile UCHAR *)Address = 1;
}

static void On(ULONG Flags)
{
    EX_VERIFIER_SETTINGS Settings = { .Flags = Flags, .AllDrivers = TRUE };

    assert_int_equal(ExSetVerifier(&Settings), STATUS_SUCCESS);
}

static PEPROCESS InSession(ULONG SessionId)
{
    PEPROCESS Process;

    assert_int_equal(PsCreateProcessInSession("member", SessionId, &Process), STATUS_SUCCESS);
    return Process;
}

static void Leave(PEPROCESS Process)
{
    PsSetThreadProcess(NULL);
    ObDereferenceObjectBody(Process);
}

/* ---- Session pool ---------------------------------------------------------------------------------------------- */

static void session_blocks_can_be_special(void)
{
    static const POOL_TYPE Types[] = { PagedPoolSession, NonPagedPoolSessionNx };
    EX_SPECIAL_POOL_SETTINGS Settings = { .Tag = "Wtch" };
    PEPROCESS First = InSession(1);
    PEPROCESS Second = InSession(2);

    assert_int_equal(ExSetSpecialPool(&Settings), STATUS_SUCCESS);
    for (ULONG Kind = 0; Kind < RTL_NUMBER_OF(Types); Kind++)
    {
        EX_SESSION_USAGE Usage;
        ULONG Pool = Kind == 0;
        PUCHAR Block, Other;

        PsSetThreadProcess(First);
        Block = ExAllocatePoolWithTag(Types[Kind], 90, TAG);
        assert_true(ExpIsSpecialBlock(Block));
        memset(Block, 1, 90);
        ExQuerySessionPool(&First->Session->Pool, &Usage);
        assert_int_equal(Usage.Blocks[Pool], 1);
        assert_int_equal(Usage.Bytes[Pool], PAGE_SIZE);
        PsSetThreadProcess(Second);
        if (Kind != 0)
        {
            TestExpectBugCheck(BAD_POOL_CALLER, Free, Block); /* it has none of this tag */
        }
        Other = ExAllocatePoolWithTag(Types[Kind], 90, TAG);
        assert_true(ExpIsSpecialBlock(Other));
        memset(Other, 2, 90);
        assert_int_equal(Kind == 0, Other == Block); /* both are the first of their space */
        TestExpectBugCheck(BAD_POOL_CALLER, Free, Other + (Kind == 0 ? 16 * PAGE_SIZE : -PAGE_SIZE));
        PsSetThreadProcess(First);
        assert_int_equal(Block[89], 1);
        TestExpectBugCheck(PAGE_FAULT_BEYOND_END_OF_ALLOCATION, Write, Block + 96);
        Block[-5] ^= 0x41;
        TestExpectBugCheck(SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION, Free, Block);
        assert_int_equal(TestBugCheckParameters[3], 0x23);
        Block[-5] ^= 0x41;
        MiCheckPool();
        Free(Block);
        TestExpectBugCheck(PAGE_FAULT_IN_FREED_SPECIAL_POOL, Write, Block);
        TestExpectBugCheck(SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION, Free, Block);
        assert_int_equal(TestBugCheckParameters[3], 0x20);
        ExQuerySessionPool(&First->Session->Pool, &Usage);
        assert_int_equal(Usage.Blocks[Pool] + Usage.Bytes[Pool], 0);
        PsSetThreadProcess(Second);
        assert_int_equal(Other[89], 2);
        MiCheckPool();
        Free(Other);
    }
    PsSetThreadProcess(NULL);
    ObDereferenceObjectBody(First);
    ObDereferenceObjectBody(Second);
}

static void session_blocks_are_tracked_by_session(void)
{
    PEPROCESS First = InSession(1);
    PEPROCESS Second = InSession(2);
    PUCHAR Blocks[2];
    PUCHAR Large;

    On(DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS);
    PsSetThreadProcess(First);
    Blocks[0] = DriverAllocate(PagedPoolSession, 101);
    PsSetThreadProcess(Second);
    Blocks[1] = DriverAllocate(PagedPoolSession, 101);
    Large = DriverAllocate(PagedPoolSession, 9000);
    assert_ptr_equal(Blocks[0], Blocks[1]);
    assert_int_equal(Driver->Blocks[1], 3);
    assert_int_equal(Driver->Bytes[1], 9202);
    assert_int_equal(ExReportDriverPool(Driver), 3);
    Blocks[1][103] ^= 0x41; /* the pattern is that of this session's block */
    TestExpectBugCheck(BAD_POOL_HEADER, Free, Blocks[1]);
    assert_int_equal(TestBugCheckParameters[0], 0x21);
    Blocks[1][103] ^= 0x41;
    DriverFree(Blocks[1]);
    assert_int_equal(Driver->Blocks[1], 2);
    DriverFree(Large);
    PsSetThreadProcess(First);
    assert_int_equal(Driver->Bytes[1], 101);
    DriverFree(Blocks[0]);
    assert_int_equal(Driver->Blocks[1], 0);
    Leave(First);
    ObDereferenceObjectBody(Second);
}

static void verified_drivers_get_special_session_blocks(void)
{
    PEPROCESS Process = InSession(1);
    PUCHAR Block;

    On(DRIVER_VERIFIER_SPECIAL_POOLING | DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS);
    PsSetThreadProcess(Process);
    Block = DriverAllocate(PagedPoolSession, 64);
    assert_true(ExpIsSpecialBlock(Block));
    assert_int_equal(Driver->Blocks[1], 1);
    TestExpectBugCheck(PAGE_FAULT_BEYOND_END_OF_ALLOCATION, Write, Block + 64);
    DriverFree(Block);
    assert_int_equal(Driver->Blocks[1], 0);
    Leave(Process);
}

/* Addresses of freed blocks are the session's, and go with it. */
static void freed_special_blocks_go_with_their_session(void)
{
    EX_SPECIAL_POOL_SETTINGS Settings = { .Tag = "*" };

    assert_int_equal(ExSetSpecialPool(&Settings), STATUS_SUCCESS);
    for (ULONG Round = 0; Round < 5; Round++)
    {
        PEPROCESS Process = InSession(Round);

        PsSetThreadProcess(Process);
        for (ULONG Index = 0; Index < 300; Index++)
        {
            PUCHAR Block = ExAllocatePoolWithTag(PagedPoolSession, 1 + Index * 13, TAG);

            assert_true(ExpIsSpecialBlock(Block));
            memset(Block, 0x77, 1 + Index * 13);
            Free(Block);
        }
        MiCheckPool();
        Leave(Process);
    }
}

/* ---- Lookaside lists ------------------------------------------------------------------------------------------- */

static void MakeLists(void)
{
    ExInitializeNPagedLookasideList(&Nonpaged, NULL, NULL, 0, 64, TAG, 0);
    ExInitializePagedLookasideList(&Paged, NULL, NULL, 0, 64, TAG, 0);
    assert_int_equal(ExInitializeLookasideListEx(&Extended, NULL, NULL, NonPagedPoolNx, 0, 64, TAG, 0),
                     STATUS_SUCCESS);
}

static void DeleteLists(void)
{
    ExDeleteNPagedLookasideList(&Nonpaged);
    ExDeletePagedLookasideList(&Paged);
    ExDeleteLookasideListEx(&Extended);
}

static void entries_are_tracked_as_the_drivers(void)
{
    MakeLists();
    for (ULONG Kind = 0; Kind < 3; Kind++)
    {
        ULONG Pool = Kind == 1;
        void *Early = DriverTake(Kind);
        void *Entries[3];

        DriverGive(Kind, Early); /* the list keeps it */
        On(DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS);
        for (ULONG Index = 0; Index < 3; Index++)
        {
            Entries[Index] = DriverTake(Kind);
            assert_ptr_not_equal(Entries[Index], Early);
        }
        assert_int_equal(Driver->Blocks[Pool], 3);
        assert_int_equal(Driver->Bytes[Pool], 192);
        DriverGive(Kind, Entries[1]);
        assert_int_equal(Driver->Blocks[Pool], 2);
        assert_int_equal(ExReportDriverPool(Driver), 2); /* a leak would be reported */
        DriverGive(Kind, Entries[0]);
        DriverGive(Kind, Entries[2]);
        assert_int_equal(Driver->Blocks[Pool], 0);
        assert_int_equal(ExSetVerifier(NULL), STATUS_SUCCESS);
        assert_ptr_equal(DriverTake(Kind), Early); /* where it was left */
        DriverGive(Kind, Early);
    }
    assert_int_equal(Nonpaged.L.TotalAllocates, 5);
    assert_int_equal(Nonpaged.L.AllocateMisses, 4);
    DeleteLists();
}

static void entries_that_were_freed_are_inaccessible(void)
{
    MakeLists();
    On(DRIVER_VERIFIER_SPECIAL_POOLING);
    for (ULONG Kind = 0; Kind < 3; Kind++)
    {
        PUCHAR Entry = DriverTake(Kind);

        assert_true(ExpIsSpecialBlock(Entry));
        TestExpectBugCheck(PAGE_FAULT_BEYOND_END_OF_ALLOCATION, Write, Entry + 64);
        DriverGive(Kind, Entry);
        TestExpectBugCheck(PAGE_FAULT_IN_FREED_SPECIAL_POOL, Write, Entry);
    }
    TestExpectBugCheck(SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION, DriverGiveTwice, DriverTake(0));
    On(DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS);
    TestExpectBugCheck(DRIVER_VERIFIER_DETECTED_VIOLATION, DriverGiveTwice, DriverTake(0));
    assert_int_equal(TestBugCheckParameters[0], 0x13); /* said of the driver, not of the list */
    DeleteLists();
}

static ULONG Calls;

static PVOID NTAPI OwnAllocate(POOL_TYPE Type, SIZE_T Bytes, ULONG Tag)
{
    Calls++;
    return ExAllocatePoolWithTag(Type, Bytes, Tag);
}

static VOID NTAPI OwnFree(PVOID Entry)
{
    Calls += 100;
    ExFreePool(Entry);
}

static void own_routines_are_called(void)
{
    ExInitializeNPagedLookasideList(&Nonpaged, OwnAllocate, OwnFree, 0, 64, TAG, 0);
    On(DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS);
    DriverGive(0, DriverTake(0));
    assert_int_equal(Calls, 101);
    DriverGive(0, DriverTake(0)); /* not kept meanwhile */
    assert_int_equal(Calls, 202);
    ExDeleteNPagedLookasideList(&Nonpaged);
    assert_int_equal(Calls, 202);
}

/* ---- Failures ------------------------------------------------------------------------------------------------------ */

/* All that the verifier allocates for itself, and what goes on when it does not get it. */
static void UseAll(PULONG64 Served)
{
    static const POOL_TYPE Types[] = { NonPagedPoolNx, PagedPool, NonPagedPoolNx };
    static const SIZE_T Sizes[] = { 100, 200, 6000 };
    EX_VERIFIER_SETTINGS Settings = { .Flags = DRIVER_VERIFIER_SPECIAL_POOLING |
                                               DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS };
    EX_SPECIAL_POOL_SETTINGS Special = { .Tag = "Wtch" };
    BOOLEAN Suspected = NT_SUCCESS(ExAddSuspect("test"));
    BOOLEAN Loaded =
        NT_SUCCESS(ExRegisterDriver("test", DriverStart, (SIZE_T)(DriverEnd - DriverStart), &Driver));
    ULONG64 Tracked = 0;
    void *Blocks[RTL_NUMBER_OF(Types)];
    EX_VERIFIER_COUNTERS Counters;
    ULONG Flags;

    assert_int_equal(ExSetVerifier(&Settings), STATUS_SUCCESS); /* needs nothing */
    (void)ExSetSpecialPool(&Special);
    assert_int_equal(MmIsDriverVerifyingByAddress(DriverStart), Loaded && Suspected);
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Types); Index++)
    {
        Blocks[Index] = DriverAllocate(Types[Index], Sizes[Index]);
        *Served += Blocks[Index] != NULL;
        if (Blocks[Index] != NULL)
        {
            memset(Blocks[Index], 0x5c, Sizes[Index]);
        }
    }
    ExQueryVerifier(&Flags, &Counters);
    if (Loaded && Suspected)
    {
        Tracked = Driver->Blocks[0] + Driver->Blocks[1];
        /* Each block that was served is tracked, or counted as not tracked. */
        assert_int_equal(Counters.AllocationsSucceeded,
                         (Blocks[0] != NULL) + (Blocks[1] != NULL) + (Blocks[2] != NULL));
        assert_true(Tracked <= Counters.AllocationsSucceeded);
        assert_true(Tracked + Counters.UnTrackedPool >= Counters.AllocationsSucceeded);
    }
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Types); Index++)
    {
        if (Blocks[Index] != NULL)
        {
            DriverFree(Blocks[Index]);
        }
    }
    if (Loaded)
    {
        assert_int_equal(Driver->Blocks[0] + Driver->Blocks[1], 0);
        ExUnregisterDriver(Driver);
    }
    assert_int_equal(ExRemoveSuspect("test"), Suspected ? STATUS_SUCCESS : STATUS_NOT_FOUND);
    assert_int_equal(ExSetVerifier(NULL), STATUS_SUCCESS);
    assert_int_equal(ExSetSpecialPool(NULL), STATUS_SUCCESS);
}

static void every_failure_leaves_nothing_behind(void)
{
    static const KI_INJECT Kinds[] = { KiInjectPool, KiInjectFrame, KiInjectCommit };

    ExUnregisterDriver(Driver);
    for (ULONG Kind = 0; Kind < RTL_NUMBER_OF(Kinds); Kind++)
    {
        ULONG64 Failures = 1;
        ULONG64 Served = 0;
        ULONG64 Rounds = 0;

        for (ULONG64 Nth = 1; Failures != 0; Nth++, Rounds++)
        {
            MiTrimPool();
            MiTrimSystemPtes();
            KiSetInjection(Kinds[Kind], Nth, FALSE);
            UseAll(&Served);
            KiQueryInjection(Kinds[Kind], &Failures);
            KiSetInjection(Kinds[Kind], 0, FALSE);
            MiCheckPool();
        }
        assert_true(Rounds > 3 && Served > Rounds);
    }
    assert_int_equal(ExRegisterDriver("test", DriverStart, (SIZE_T)(DriverEnd - DriverStart), &Driver),
                     STATUS_SUCCESS);
}

/* The machine is booted inside the test: cmocka takes SIGSEGV, our page fault, right before it. */
#define NATIVE(Name)                                                                                         \
    static void Name##_natively(void **State)                                                                \
    {                                                                                                        \
        TestSetupDeterministic(State);                                                                       \
        assert_int_equal(ExRegisterDriver("test", DriverStart, (SIZE_T)(DriverEnd - DriverStart), &Driver),  \
                         STATUS_SUCCESS);                                                                    \
        Name();                                                                                              \
        assert_int_equal(ExSetVerifier(NULL), STATUS_SUCCESS);                                               \
        ExUnregisterDriver(Driver);                                                                          \
        ExSetSpecialPool(NULL);                                                                              \
        MiTrimPool();                                                                                        \
        TestTeardown(State);                                                                                 \
    }

/* The machine is damaged afterwards. */
#define DAMAGED(Name)                                                                                        \
    static void Name##_natively(void **State)                                                                \
    {                                                                                                        \
        TestSetupDeterministic(State);                                                                       \
        assert_int_equal(ExRegisterDriver("test", DriverStart, (SIZE_T)(DriverEnd - DriverStart), &Driver),  \
                         STATUS_SUCCESS);                                                                    \
        Name();                                                                                              \
        TestAbandonMachine();                                                                                \
    }

NATIVE(session_blocks_can_be_special)
NATIVE(session_blocks_are_tracked_by_session)
NATIVE(verified_drivers_get_special_session_blocks)
NATIVE(freed_special_blocks_go_with_their_session)
NATIVE(entries_are_tracked_as_the_drivers)
DAMAGED(entries_that_were_freed_are_inaccessible)
NATIVE(own_routines_are_called)
NATIVE(every_failure_leaves_nothing_behind)

int main(void)
{
    const struct CMUnitTest Tests[] = {
#define TEST(Name) { #Name, Name##_natively, NULL, NULL, NULL }
        TEST(session_blocks_can_be_special),
        TEST(session_blocks_are_tracked_by_session),
        TEST(verified_drivers_get_special_session_blocks),
        TEST(freed_special_blocks_go_with_their_session),
        TEST(entries_are_tracked_as_the_drivers),
        TEST(entries_that_were_freed_are_inaccessible),
        TEST(own_routines_are_called),
        TEST(every_failure_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(Tests, NULL, NULL);
}
