/* SPDX-License-Identifier: MIT */
/*
 * Driver Verifier. The driver is the section "driver" of this program: functions in it are a driver's, those outside are not.
 * Sources: Microsoft Learn, Driver Verifier options, bug checks 0xC4, 0xC7, 0xE4, 0xD1, MmIsVerifierEnabled.
 */
#include "boot.h"

#include "pool/special.h"
#include "pool/verifier.h"
#include "translation/systemptes.h"

#define TAG    MI_TAG('T', 'e', 's', 't')
#define TAG2   MI_TAG('O', 't', 'h', 'r')
#define DRIVER __attribute__((section("driver"), noinline))

extern UCHAR DriverStart[] __asm__("__start_driver");
extern UCHAR DriverEnd[] __asm__("__stop_driver");

static EX_DRIVER *Driver;

/* The empty statement keeps the call from becoming a jump, which would hide who called. */
#define STAY() __asm__ volatile("")

/* ---- What the driver does ----------------------------------------------------------------------------------- */

DRIVER static void *DriverAllocate(POOL_TYPE Type, SIZE_T Bytes, ULONG Tag)
{
    void *Block = ExAllocatePoolWithTag(Type, Bytes, Tag);

    STAY();
    return Block;
}

DRIVER static void DriverFree(void *Block)
{
    ExFreePoolWithTag(Block, TAG);
    STAY();
}

DRIVER static void DriverFreeTwice(void *Block)
{
    ExFreePoolWithTag(Block, TAG);
    ExFreePoolWithTag(Block, TAG);
    STAY();
}

DRIVER static void DriverAllocateNothing(void *Context)
{
    (void)Context;
    ExAllocatePoolWithTag(NonPagedPoolNx, 0, TAG);
    STAY();
}

DRIVER static void DriverAllocateAt(void *Irql)
{
    KIRQL OldIrql;

    KeRaiseIrql((KIRQL)(ULONG_PTR)Irql, &OldIrql);
    ExAllocatePoolWithTag((ULONG_PTR)Irql == DISPATCH_LEVEL ? PagedPool : NonPagedPoolNx, 100, TAG);
    STAY();
}

DRIVER static void DriverFreeAtDispatch(void *Block)
{
    KIRQL OldIrql;

    KeRaiseIrql(DISPATCH_LEVEL, &OldIrql);
    ExFreePoolWithTag(Block, TAG);
    STAY();
}

DRIVER static void DriverTouchAtDispatch(void *Address)
{
    KIRQL OldIrql;

    KeRaiseIrql(DISPATCH_LEVEL, &OldIrql);
    *(volatile UCHAR *)Address += 1;
    KeLowerIrql(OldIrql);
    STAY();
}

DRIVER static void DriverTouchWithSpinLock(void *Address)
{
    KSPIN_LOCK Lock;
    KIRQL OldIrql;

    KeInitializeSpinLock(&Lock);
    KeAcquireSpinLock(&Lock, &OldIrql);
    *(volatile UCHAR *)Address += 1;
    KeReleaseSpinLock(&Lock, OldIrql);
    STAY();
}

DRIVER static void DriverRaiseDown(void *Context)
{
    KIRQL OldIrql;

    (void)Context;
    KeRaiseIrql(APC_LEVEL, &OldIrql);
    KeRaiseIrql(PASSIVE_LEVEL, &OldIrql);
    STAY();
}

DRIVER static void DriverLowerUp(void *Context)
{
    (void)Context;
    KeLowerIrql(APC_LEVEL);
    STAY();
}

DRIVER static void DriverAcquireHigh(void *Lock)
{
    KIRQL OldIrql;

    KeRaiseIrql(DISPATCH_LEVEL + 1, &OldIrql);
    KeAcquireSpinLock(Lock, &OldIrql);
    STAY();
}

DRIVER static void DriverReleaseLow(void *Lock)
{
    KeReleaseSpinLock(Lock, PASSIVE_LEVEL);
    STAY();
}

DRIVER static void DriverAcquireAtDpcLow(void *Lock)
{
    KeAcquireSpinLockAtDpcLevel(Lock);
    STAY();
}

DRIVER static void DriverReleaseFromDpcLow(void *Lock)
{
    KeReleaseSpinLockFromDpcLevel(Lock);
    STAY();
}

DRIVER static void DriverAcquireMutexHigh(void *Mutex)
{
    KIRQL OldIrql;

    KeRaiseIrql(DISPATCH_LEVEL, &OldIrql);
    ExAcquireFastMutex(Mutex);
    STAY();
}

DRIVER static void DriverReleaseMutexLow(void *Mutex)
{
    ExReleaseFastMutex(Mutex);
    STAY();
}

DRIVER static void DriverSetEventHigh(void *Event)
{
    KIRQL OldIrql;

    KeRaiseIrql(DISPATCH_LEVEL + 1, &OldIrql);
    KeSetEvent(Event, 0, FALSE);
    STAY();
}

DRIVER static void DriverAcquireResource(void *Resource)
{
    ExAcquireResourceExclusiveLite(Resource, TRUE);
    STAY();
}

DRIVER static void DriverReleaseResource(void *Resource)
{
    ExReleaseResourceLite(Resource);
    STAY();
}

DRIVER static void DriverInitializeResource(void *Resource)
{
    ExInitializeResourceLite(Resource);
    STAY();
}

DRIVER static void DriverAcquireUnsafe(void *Mutex)
{
    ExAcquireFastMutexUnsafe(Mutex);
    STAY();
}

DRIVER static void DriverReleaseUnsafe(void *Mutex)
{
    ExReleaseFastMutexUnsafe(Mutex);
    STAY();
}

DRIVER static void DriverEnterRegion(void *Context)
{
    (void)Context;
    KeEnterCriticalRegion();
    STAY();
}

DRIVER static void DriverLeaveRegion(void *Context)
{
    (void)Context;
    KeLeaveCriticalRegion();
    STAY();
}

DRIVER static void DriverRegionAtDispatch(void *Leave)
{
    KIRQL OldIrql;

    KeRaiseIrql(DISPATCH_LEVEL, &OldIrql);
    if (Leave != NULL)
    {
        KeLeaveCriticalRegion();
    }
    else
    {
        KeEnterCriticalRegion();
    }
    STAY();
}

DRIVER static void DriverInitializeList(void *List)
{
    ExInitializeNPagedLookasideList(List, NULL, NULL, POOL_NX_ALLOCATION, 100, TAG, 0);
    STAY();
}

DRIVER static void DriverInitializeTinyList(void *List)
{
    ExInitializePagedLookasideList(List, NULL, NULL, 0, 4, TAG, 0);
    STAY();
}

DRIVER static void DriverDeleteList(void *List)
{
    ExDeleteNPagedLookasideList(List);
    STAY();
}

static void Free(void *Block)
{
    ExFreePoolWithTag(Block, TAG);
}

/* ---- Helpers ------------------------------------------------------------------------------------------------- */

static void On(ULONG Flags)
{
    EX_VERIFIER_SETTINGS Settings = { .Flags = Flags };

    assert_int_equal(ExSetVerifier(&Settings), STATUS_SUCCESS);
    ExVerifyDriver(Driver, TRUE);
}

static void Expect(void (*Routine)(void *), void *Context, ULONG_PTR P1, ULONG_PTR P2, ULONG_PTR P3)
{
    TestExpectBugCheck(DRIVER_VERIFIER_DETECTED_VIOLATION, Routine, Context);
    assert_int_equal(TestBugCheckParameters[0], P1);
    assert_int_equal(TestBugCheckParameters[1], P2);
    assert_int_equal(TestBugCheckParameters[2], P3);
}

static EX_VERIFIER_COUNTERS Counters(void)
{
    EX_VERIFIER_COUNTERS Result;
    ULONG Flags;

    ExQueryVerifier(&Flags, &Result);
    return Result;
}

/* ---- Settings -------------------------------------------------------------------------------------------------- */

static void it_is_switched_while_the_machine_runs(void)
{
    EX_VERIFIER_SETTINGS Settings = { .Flags = DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS };
    DRIVER_OBJECT Object = { .DriverStart = DriverStart };
    ULONG Flags = 1;

    assert_int_equal(MmIsVerifierEnabled(&Flags), STATUS_NOT_IMPLEMENTED);
    assert_int_equal(Flags, 0);
    assert_false(MmIsDriverVerifying(&Object));
    assert_int_equal(ExSetVerifier(&Settings), STATUS_SUCCESS);
    assert_int_equal(MmIsVerifierEnabled(&Flags), STATUS_SUCCESS);
    assert_int_equal(Flags, DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS);
    assert_false(MmIsDriverVerifying(&Object));
    ExVerifyDriver(Driver, TRUE);
    assert_true(MmIsDriverVerifying(&Object));
    assert_true(MmIsDriverVerifyingByAddress((PVOID)(ULONG_PTR)DriverFree));
    assert_false(MmIsDriverVerifyingByAddress((PVOID)(ULONG_PTR)Free));
    ExVerifyDriver(Driver, FALSE);
    assert_false(MmIsDriverVerifying(&Object));
    Settings.AllDrivers = TRUE;
    assert_int_equal(ExSetVerifier(&Settings), STATUS_SUCCESS);
    assert_true(MmIsDriverSuspectForVerifier(&Object));
    Settings.Flags = 0x80000000u;
    assert_int_equal(ExSetVerifier(&Settings), STATUS_INVALID_PARAMETER);
    Settings.Flags = 0;
    Settings.Probability = EX_VERIFIER_CERTAIN + 1;
    assert_int_equal(ExSetVerifier(&Settings), STATUS_INVALID_PARAMETER);
    assert_true(MmIsDriverVerifying(&Object));
    assert_int_equal(ExSetVerifier(NULL), STATUS_SUCCESS);
    assert_false(MmIsDriverVerifying(&Object));
}

static void drivers_do_not_overlap(void)
{
    EX_DRIVER *Other;

    assert_int_equal(ExRegisterDriver("x", DriverStart + 4, 1, &Other), STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(ExRegisterDriver("x", DriverStart, 0, &Other), STATUS_INVALID_PARAMETER);
    assert_int_equal(ExRegisterDriver("x", DriverEnd, 1, &Other), STATUS_SUCCESS);
    ExUnregisterDriver(Other);
}

/* ---- Pool ------------------------------------------------------------------------------------------------------- */

static void Unload(void *Context)
{
    (void)Context;
    ExUnloadDriver(Driver);
}

static void AllocateWhileUnloading(void *Context)
{
    (void)Context;
    DriverAllocate(NonPagedPoolNx, 10, TAG);
}

static void leaks_are_reported_at_unload(void)
{
    void *Blocks[4];
    void *Foreign;

    On(DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS);
    Foreign = ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG);
    Blocks[0] = DriverAllocate(NonPagedPoolNx, 100, TAG);
    Blocks[1] = DriverAllocate(PagedPool, 200, TAG);
    Blocks[2] = DriverAllocate(NonPagedPoolNx, 20000, TAG);
    Blocks[3] = DriverAllocate(NonPagedPoolNxCacheAligned, 50, TAG);
    assert_int_equal(Driver->Blocks[0], 3);
    assert_int_equal(Driver->Bytes[0], 20150);
    assert_int_equal(Driver->Blocks[1], 1);
    assert_int_equal(Driver->Bytes[1], 200);
    Free(Blocks[3]); /* whoever frees it */
    DriverFree(Foreign);
    assert_int_equal(ExReportDriverPool(Driver), 3);
    Expect(Unload, NULL, 0x62, (ULONG_PTR)Driver->Name, 0);
    assert_int_equal(TestBugCheckParameters[3], 3);
    Expect(AllocateWhileUnloading, NULL, 0x61, 200, 20100);
    assert_int_equal(TestBugCheckParameters[3], 3);
    for (ULONG Index = 0; Index < 3; Index++)
    {
        DriverFree(Blocks[Index]);
    }
    assert_int_equal(Driver->Blocks[0] + Driver->Blocks[1], 0);
    assert_int_equal(Driver->PeakBlocks[0], 3);
    assert_int_equal(ExReportDriverPool(Driver), 0);
    ExUnloadDriver(Driver);
    assert_int_equal(ExRegisterDriver("test", DriverStart, (SIZE_T)(DriverEnd - DriverStart), &Driver),
                     STATUS_SUCCESS);
}

static void switching_off_forgets_what_was_tracked(void)
{
    void *Blocks[3];

    On(DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS);
    for (ULONG Index = 0; Index < 3; Index++)
    {
        Blocks[Index] = DriverAllocate(NonPagedPoolNx, Index == 2 ? 9000 : 100, TAG);
    }
    assert_int_equal(ExSetVerifier(NULL), STATUS_SUCCESS);
    assert_int_equal(Driver->Blocks[0], 0);
    DriverFree(Blocks[0]);
    On(DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS);
    DriverFree(Blocks[1]);
    DriverFree(Blocks[2]);
    MiCheckPool();
}

static void special_pool_serves_verified_drivers(void)
{
    EX_SPECIAL_POOL_COUNTERS Before, After;
    void *Block;

    On(DRIVER_VERIFIER_SPECIAL_POOLING | DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS);
    ExQuerySpecialPool(&Before);
    Block = DriverAllocate(NonPagedPoolNx, 64, TAG);
    Free(ExAllocatePoolWithTag(NonPagedPoolNx, 64, TAG));
    ExQuerySpecialPool(&After);
    assert_int_equal(After.Allocations, Before.Allocations + 1);
    assert_int_equal(BYTE_OFFSET(Block), PAGE_SIZE - 64);
    assert_int_equal(Driver->Blocks[0], 1);
    DriverFree(Block);
    assert_int_equal(Driver->Blocks[0], 0);
}

static void bad_requests_have_codes_of_their_own(void)
{
    void *Block;

    On(0);
    Expect(DriverAllocateNothing, NULL, 0x00, PASSIVE_LEVEL, NonPagedPoolNx);
    Expect(DriverAllocateAt, (void *)DISPATCH_LEVEL, 0x01, DISPATCH_LEVEL, PagedPool);
    assert_int_equal(TestBugCheckParameters[3], 100);
    Expect(DriverAllocateAt, (void *)(DISPATCH_LEVEL + 1), 0x02, DISPATCH_LEVEL + 1, NonPagedPoolNx);
    Block = ExAllocatePoolWithTag(PagedPool, 100, TAG);
    Expect(DriverFreeAtDispatch, Block, 0x11, DISPATCH_LEVEL, 1);
    assert_int_equal(TestBugCheckParameters[3], (ULONG_PTR)Block);
    Expect(DriverFree, (PUCHAR)Block + 16, 0x10, (ULONG_PTR)Block + 16, 0);
    Free(Block);
    Expect(DriverFree, (PVOID)(PORT_USER_LOWEST + 64), 0x10, PORT_USER_LOWEST + 64, 0);
    Block = ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG);
    Expect(DriverFreeTwice, Block, 0x13, 0, (ULONG_PTR)Block - 16);
}

/* ---- Low resources ---------------------------------------------------------------------------------------------- */

static ULONG64 FailurePattern(EX_VERIFIER_SETTINGS *Settings, ULONG Tag, ULONG *Failures)
{
    ULONG64 Pattern = 0;

    *Failures = 0;
    assert_int_equal(ExSetVerifier(Settings), STATUS_SUCCESS);
    for (ULONG Index = 0; Index < 64; Index++)
    {
        void *Block = DriverAllocate(NonPagedPoolNx, 100, Tag);

        Pattern |= (ULONG64)(Block == NULL) << Index;
        *Failures += Block == NULL;
        if (Block != NULL)
        {
            ExFreePoolWithTag(Block, Tag);
        }
    }
    return Pattern;
}

static void requests_fail_by_seed_probability_and_tag(void)
{
    EX_VERIFIER_SETTINGS Settings = { .Flags = DRIVER_VERIFIER_INJECT_ALLOCATION_FAILURES,
                                      .AllDrivers = TRUE,
                                      .Probability = 5000,
                                      .Seed = 7 };
    ULONG64 First, Second;
    ULONG Failures;

    First = FailurePattern(&Settings, TAG, &Failures);
    assert_in_range(Failures, 15, 50);
    Second = FailurePattern(&Settings, TAG, &Failures);
    assert_true(First == Second);
    Settings.Seed = 8;
    assert_true(FailurePattern(&Settings, TAG, &Failures) != First);
    memcpy(Settings.Include[0], "Te*", 3);
    FailurePattern(&Settings, TAG2, &Failures);
    assert_int_equal(Failures, 0);
    assert_true(FailurePattern(&Settings, TAG, &Failures) != 0);
    memcpy(Settings.Exclude[3], "Tes?", 4);
    assert_true(FailurePattern(&Settings, TAG, &Failures) == 0);
    memset(Settings.Exclude, 0, sizeof(Settings.Exclude));
    Settings.Probability = EX_VERIFIER_CERTAIN;
    FailurePattern(&Settings, TAG, &Failures);
    assert_int_equal(Failures, 64);
    assert_true(Counters().AllocationsFailedDeliberately >= 64);
    assert_non_null(Driver);
    Free(ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG)); /* nobody else's fail */
    Settings.DelayNanoseconds = 1000000000;
    FailurePattern(&Settings, TAG, &Failures);
    assert_int_equal(Failures, 0);
    KiAdvanceTime(2000000000);
    assert_null(DriverAllocate(NonPagedPoolNx, 100, TAG));
}

/* ---- IRQL --------------------------------------------------------------------------------------------------------- */

static void pageable_memory_is_inaccessible_at_raised_irql(void)
{
    PUCHAR Block = ExAllocatePoolWithTag(PagedPool, 100, TAG);

    *Block = 1;
    DriverTouchAtDispatch(Block); /* resident: nobody notices */
    On(DRIVER_VERIFIER_FORCE_IRQL_CHECKING);
    *Block = 1;
    TestExpectBugCheck(DRIVER_IRQL_NOT_LESS_OR_EQUAL, DriverTouchAtDispatch, Block);
    assert_int_equal(TestBugCheckParameters[0], (ULONG_PTR)Block);
    assert_int_equal(TestBugCheckParameters[1], DISPATCH_LEVEL);
    assert_in_range(TestBugCheckParameters[3], (ULONG_PTR)DriverStart, (ULONG_PTR)DriverEnd);
    *Block = 1;
    TestExpectBugCheck(DRIVER_IRQL_NOT_LESS_OR_EQUAL, DriverTouchWithSpinLock, Block);
    assert_true(Counters().Trims >= 2);
    assert_true(Counters().RaiseIrqls >= 1 && Counters().AcquireSpinLocks >= 1);
    assert_int_equal(*Block, 1); /* what was trimmed is there */
    ExVerifyDriver(Driver, FALSE);
    DriverTouchAtDispatch(Block);
    assert_int_equal(*Block, 2);
    Free(Block);
}

static void irql_rules_of_locks_are_checked(void)
{
    KSPIN_LOCK Lock;
    FAST_MUTEX Mutex;
    KEVENT Event;

    On(0);
    KeInitializeSpinLock(&Lock);
    ExInitializeFastMutex(&Mutex);
    KeInitializeEvent(&Event, NotificationEvent, FALSE);
    Expect(DriverRaiseDown, NULL, 0x30, APC_LEVEL, PASSIVE_LEVEL);
    Expect(DriverLowerUp, NULL, 0x31, PASSIVE_LEVEL, APC_LEVEL);
    Expect(DriverAcquireHigh, &Lock, 0x42, DISPATCH_LEVEL + 1, (ULONG_PTR)&Lock);
    Expect(DriverReleaseLow, &Lock, 0x32, PASSIVE_LEVEL, (ULONG_PTR)&Lock);
    Expect(DriverAcquireAtDpcLow, &Lock, 0x40, PASSIVE_LEVEL, (ULONG_PTR)&Lock);
    Expect(DriverReleaseFromDpcLow, &Lock, 0x41, PASSIVE_LEVEL, (ULONG_PTR)&Lock);
    Expect(DriverAcquireMutexHigh, &Mutex, 0x33, DISPATCH_LEVEL, (ULONG_PTR)&Mutex);
    Expect(DriverReleaseMutexLow, &Mutex, 0x34, PASSIVE_LEVEL, (ULONG_PTR)&Mutex);
    Expect(DriverSetEventHigh, &Event, 0x80, DISPATCH_LEVEL + 1, (ULONG_PTR)&Event);
}

static void locks_want_apcs_disabled(void)
{
    UCHAR Storage[sizeof(ERESOURCE) + 8] __attribute__((aligned(16)));
    ERESOURCE Resource;
    FAST_MUTEX Mutex;

    On(0);
    ExInitializeFastMutex(&Mutex);
    DriverInitializeResource(&Resource);
    Expect(DriverAcquireResource, &Resource, 0x37, PASSIVE_LEVEL, 0);
    assert_int_equal(TestBugCheckParameters[3], (ULONG_PTR)&Resource);
    Expect(DriverAcquireResource, Storage + 1, 0x3D, 0, 0);
    Expect(DriverInitializeResource, &Resource, 0xD0, (ULONG_PTR)&Resource, 0);
    DriverEnterRegion(NULL);
    DriverAcquireResource(&Resource);
    DriverLeaveRegion(NULL);
    Expect(DriverReleaseResource, &Resource, 0x38, PASSIVE_LEVEL, 0);
    DriverEnterRegion(NULL);
    DriverReleaseResource(&Resource);
    DriverAcquireUnsafe(&Mutex);
    DriverReleaseUnsafe(&Mutex);
    DriverLeaveRegion(NULL);
    Expect(DriverAcquireUnsafe, &Mutex, 0x39, PASSIVE_LEVEL, 0);
    Expect(DriverReleaseUnsafe, &Mutex, 0x3A, PASSIVE_LEVEL, 0);
    assert_int_equal(TestBugCheckParameters[3], (ULONG_PTR)&Mutex);
    Expect(DriverLeaveRegion, NULL, 0x3E, 0, 0);
    Expect(DriverRegionAtDispatch, NULL, 0x11A, DISPATCH_LEVEL, 0);
    Expect(DriverRegionAtDispatch, &Mutex, 0x11B, DISPATCH_LEVEL, 0);
    ExDeleteResourceLite(&Resource);
}

static void lookaside_lists_are_made_and_deleted_once(void)
{
    NPAGED_LOOKASIDE_LIST List;
    PAGED_LOOKASIDE_LIST Tiny;

    On(0);
    memset(&List, 0, sizeof(List));
    Expect(DriverDeleteList, &List, 0xCB, (ULONG_PTR)&List, 0);
    DriverInitializeList(&List);
    Expect(DriverInitializeList, &List, 0xCA, (ULONG_PTR)&List, 0);
    DriverDeleteList(&List);
    Expect(DriverInitializeTinyList, &Tiny, 0xCD, (ULONG_PTR)&Tiny, 4);
    assert_int_equal(TestBugCheckParameters[3], LOOKASIDE_MINIMUM_BLOCK_SIZE);
    Expect(DriverDeleteList, &List, 0xCB, (ULONG_PTR)&List, 0);
}

/* ---- Objects in freed memory -------------------------------------------------------------------------------------- */

static VOID NTAPI NoWork(PVOID Context)
{
    (void)Context;
}

static VOID NTAPI NoDpc(struct _KDPC *Dpc, PVOID Context, PVOID Argument1, PVOID Argument2)
{
    (void)Dpc;
    (void)Context;
    (void)Argument1;
    (void)Argument2;
}

static void ExpectInRange(ULONG Code, ULONG_PTR P1, PUCHAR Block, PVOID Object)
{
    TestExpectBugCheck(Code, DriverFree, Block);
    assert_int_equal(TestBugCheckParameters[0], P1);
    assert_int_equal(TestBugCheckParameters[1], (ULONG_PTR)Object);
    assert_int_equal(TestBugCheckParameters[2], (ULONG_PTR)Block);
}

static void freed_memory_must_hold_no_object_in_use(void)
{
    LARGE_INTEGER Later = { .QuadPart = -10000000 };
    PUCHAR Block;
    PKTIMER Timer;
    PRKDPC Dpc;
    PWORK_QUEUE_ITEM Item;
    PERESOURCE Resource;
    PNPAGED_LOOKASIDE_LIST List;

    On(EX_VERIFIER_MISCELLANEOUS | DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS);
    Block = DriverAllocate(NonPagedPoolNx, 1000, TAG);
    Timer = (PKTIMER)(PVOID)(Block + 64);
    KeInitializeTimer(Timer);
    KeSetTimer(Timer, Later, NULL);
    ExpectInRange(TIMER_OR_DPC_INVALID, 0x0, Block, Timer);
    KeCancelTimer(Timer);
    Dpc = (PRKDPC)(PVOID)(Block + 64);
    KeInitializeDpc(Dpc, NoDpc, NULL);
    KeInsertQueueDpc(Dpc, NULL, NULL);
    ExpectInRange(TIMER_OR_DPC_INVALID, 0x1, Block, Dpc);
    KeRemoveQueueDpc(Dpc);
    Item = (PWORK_QUEUE_ITEM)(PVOID)(Block + 128);
    ExInitializeWorkItem(Item, NoWork, NULL);
    ExQueueWorkItem(Item, DelayedWorkQueue);
    ExpectInRange(WORKER_INVALID, 0x0, Block, Item);
    while (KiStepWorkers())
    {
    }
    Resource = (PERESOURCE)(PVOID)(Block + 256);
    ExInitializeResourceLite(Resource);
    ExpectInRange(DRIVER_VERIFIER_DETECTED_VIOLATION, 0xD2, Block, Resource);
    assert_true(TestBugCheckParameters[3] >= 1000);
    ExDeleteResourceLite(Resource);
    List = (PNPAGED_LOOKASIDE_LIST)(PVOID)(((ULONG_PTR)Block + 511) & ~63ull);
    ExInitializeNPagedLookasideList(List, NULL, NULL, 0, 64, TAG2, 0);
    ExpectInRange(DRIVER_VERIFIER_DETECTED_VIOLATION, 0xCC, Block, List);
    ExDeleteNPagedLookasideList(List);
    DriverFree(Block);
}

/* ---- Threads -------------------------------------------------------------------------------------------------------- */

DRIVER static void DriverTraffic(ULONG Index, void *Context)
{
    (void)Context;
    for (ULONG Round = 0; Round < 3000; Round++)
    {
        void *Block =
            ExAllocatePoolWithTag(Round % 3 == 0 ? PagedPool : NonPagedPoolNx, Round % 5000 + 1, TAG);

        if (Block != NULL)
        {
            *(volatile UCHAR *)Block = (UCHAR)Index;
            ExFreePoolWithTag(Block, TAG);
        }
    }
}

static void Switch(ULONG Index, void *Context)
{
    if (Index != 0)
    {
        DriverTraffic(Index, Context);
        return;
    }
    for (ULONG Round = 0; Round < 60; Round++)
    {
        EX_VERIFIER_SETTINGS Settings = { .Flags = Round % 4 == 0 ? EX_VERIFIER_FLAGS
                                                                  : DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS,
                                          .AllDrivers = TRUE,
                                          .Seed = Round };

        assert_int_equal(ExSetVerifier(Round % 5 == 0 ? NULL : &Settings), STATUS_SUCCESS);
        PortYield();
    }
}

static void it_is_switched_under_traffic(void **State)
{
    static const TEST_MACHINE Machine = { .RamMegabytes = 32, .Processors = 2 };

    (void)State;
    TestBootMachine(&Machine);
    assert_int_equal(ExRegisterDriver("test", DriverStart, (SIZE_T)(DriverEnd - DriverStart), &Driver),
                     STATUS_SUCCESS);
    TestRunThreads(4, Switch, NULL);
    assert_int_equal(ExSetVerifier(NULL), STATUS_SUCCESS);
    ExUnregisterDriver(Driver);
    ExSetSpecialPool(NULL);
    MiTrimPool();
    TestShutdownMachine();
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

NATIVE(it_is_switched_while_the_machine_runs)
NATIVE(drivers_do_not_overlap)
NATIVE(leaks_are_reported_at_unload)
NATIVE(switching_off_forgets_what_was_tracked)
NATIVE(special_pool_serves_verified_drivers)
NATIVE(bad_requests_have_codes_of_their_own)
NATIVE(requests_fail_by_seed_probability_and_tag)
NATIVE(pageable_memory_is_inaccessible_at_raised_irql)
NATIVE(irql_rules_of_locks_are_checked)
NATIVE(locks_want_apcs_disabled)
NATIVE(lookaside_lists_are_made_and_deleted_once)
NATIVE(freed_memory_must_hold_no_object_in_use)

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(it_is_switched_while_the_machine_runs_natively),
        cmocka_unit_test(drivers_do_not_overlap_natively),
        cmocka_unit_test(leaks_are_reported_at_unload_natively),
        cmocka_unit_test(switching_off_forgets_what_was_tracked_natively),
        cmocka_unit_test(special_pool_serves_verified_drivers_natively),
        cmocka_unit_test(bad_requests_have_codes_of_their_own_natively),
        cmocka_unit_test(requests_fail_by_seed_probability_and_tag_natively),
        cmocka_unit_test(pageable_memory_is_inaccessible_at_raised_irql_natively),
        cmocka_unit_test(irql_rules_of_locks_are_checked_natively),
        cmocka_unit_test(locks_want_apcs_disabled_natively),
        cmocka_unit_test(lookaside_lists_are_made_and_deleted_once_natively),
        cmocka_unit_test(freed_memory_must_hold_no_object_in_use_natively),
        cmocka_unit_test(it_is_switched_under_traffic),
    };
    return cmocka_run_group_tests(Tests, NULL, NULL);
}
