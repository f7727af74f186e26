/* SPDX-License-Identifier: MIT */
/*
 * What the creator of a heap says: its lock, the Lock of RtlCreateHeap, an ERESOURCE from nonpaged pool, which every call that is serialized
 * has while it works, and RtlLockHeap keeps; how much is committed at first. Sources: Microsoft Learn, "RtlCreateHeap" (ntifs.h: Lock, HEAP_NO_SERIALIZE),
 * "ExAcquireResourceExclusiveLite".
 */
#include "native_test.h"

#include "nt/ex.h"
#include "nt/expool.h"
#include "nt/heapapi.h"
#include "nt/ntobapi.h"
#include "nt/ps.h"
#include "nt/psinfo.h"
#include "nt/winerror.h"
#include "nt/seh.h"

static PERESOURCE Lock;

static VOID Begin(VOID)
{
    NativeBoot(32, 2, 64);
    Lock = ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Lock), 'kcoL');
    assert_non_null(Lock);
    assert_int_equal(ExInitializeResourceLite(Lock), STATUS_SUCCESS);
}

static VOID End(VOID)
{
    assert_int_equal(ExDeleteResourceLite(Lock), STATUS_SUCCESS);
    ExFreePool(Lock);
    NativeShutdown();
}

/* ---- One thread: who has the resource when ------------------------------------------------------------------------------ */

static PUCHAR CallersMemory;
static ULONG Commits;
static BOOLEAN OwnedInside;

static NTSTATUS NTAPI Commit(PVOID Base, PVOID *Address, PSIZE_T Size)
{
    (void)Base;
    (void)Address;
    *Size = (*Size + 4095) & ~(SIZE_T)4095;
    Commits += 1;
    OwnedInside = ExIsResourceAcquiredExclusiveLite(Lock);
    return STATUS_SUCCESS;
}

static NTSTATUS OwnerMain(PVOID Context)
{
    RTL_HEAP_PARAMETERS Parameters = { .Length = sizeof(Parameters), .CommitRoutine = Commit };
    PVOID Heap, Block;

    (void)Context;
    CHECK(RtlCreateHeap(HEAP_GROWABLE | HEAP_NO_SERIALIZE, NULL, 0, 0, Lock, NULL) == NULL);
    Heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, Lock, NULL);
    CHECK(Heap != NULL && !ExIsResourceAcquiredExclusiveLite(Lock));
    CHECK(RtlLockHeap(Heap) && ExIsResourceAcquiredExclusiveLite(Lock));
    CHECK(RtlLockHeap(Heap));
    Block = RtlAllocateHeap(Heap, 0, 100);
    CHECK(Block != NULL && RtlFreeHeap(Heap, 0, Block));
    CHECK(RtlUnlockHeap(Heap) && ExIsResourceAcquiredExclusiveLite(Lock));
    CHECK(RtlUnlockHeap(Heap) && !ExIsResourceAcquiredExclusiveLite(Lock));
    CHECK(!RtlUnlockHeap(Heap));

    /* Whoever has the resource already may go in, and still has it afterwards. */
    KeEnterCriticalRegion();
    CHECK(ExAcquireResourceExclusiveLite(Lock, TRUE));
    Block = RtlAllocateHeap(Heap, HEAP_ZERO_MEMORY, 100);
    CHECK(Block != NULL && ExIsResourceAcquiredSharedLite(Lock) == 1);
    CHECK(!RtlUnlockHeap(Heap)); /* it is not the heap that was locked */
    ExReleaseResourceLite(Lock);
    KeLeaveCriticalRegion();
    CHECK(RtlValidateHeap(Heap, 0, NULL) && RtlFreeHeap(Heap, 0, Block) && RtlDestroyHeap(Heap) == NULL);

    /* The commit routine runs inside of the heap: with the resource, unless the call does without. */
    CallersMemory = NativeAllocate(1 << 18, PAGE_READWRITE);
    Parameters.InitialReserve = 1 << 18;
    Parameters.InitialCommit = 4096;
    Heap = RtlCreateHeap(0, CallersMemory, 1 << 18, 4096, Lock, &Parameters);
    CHECK(Heap != NULL && RtlAllocateHeap(Heap, 0, 40000) != NULL && Commits == 1 && OwnedInside);
    CHECK(RtlAllocateHeap(Heap, HEAP_NO_SERIALIZE, 40000) != NULL && Commits == 2 && !OwnedInside);
    CHECK(RtlDestroyHeap(Heap) == NULL && !ExIsResourceAcquiredExclusiveLite(Lock));

    /* A heap that takes a destroyed one's place has a lock of its own again. */
    Heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);
    CHECK(RtlLockHeap(Heap) && !ExIsResourceAcquiredExclusiveLite(Lock) && RtlUnlockHeap(Heap));
    CHECK(RtlDestroyHeap(Heap) == NULL);
    return STATUS_SUCCESS;
}

/* Learn, "RtlAllocateHeap" and "HeapReAlloc": the statuses that are raised; always after the lock was given back. */
static NTSTATUS RaiseMain(PVOID Context)
{
    RTL_HEAP_PARAMETERS Parameters = { .Length = sizeof(Parameters), .VirtualMemoryThreshold = 1000 };
    PVOID Heap = RtlCreateHeap(HEAP_GENERATE_EXCEPTIONS, NULL, 4096, 0, Lock, &Parameters);
    const NTSTATUS Statuses[3] = { STATUS_BUFFER_TOO_SMALL, STATUS_ACCESS_VIOLATION, STATUS_NO_MEMORY };
    volatile ULONG Caught = 0;

    (void)Context;
    CHECK(Heap != NULL);
    for (ULONG Index = 0; Index < 3; Index++)
    {
        __try
        {
            (void)(Index == 0   ? RtlAllocateHeap(Heap, 0, 2000)
                   : Index == 1 ? RtlReAllocateHeap(Heap, 0, NULL, 1)
                                : NULL);
            while (Index == 2)
            {
                (void)RtlAllocateHeap(Heap, 0, 900);
            }
        }
        __except (EXCEPTION_EXECUTE_HANDLER)
        {
            Caught +=
                (NTSTATUS)GetExceptionCode() == Statuses[Index] && !ExIsResourceAcquiredExclusiveLite(Lock);
        }
    }
    CHECK(Caught == 3 && RtlValidateHeap(Heap, 0, NULL) && RtlDestroyHeap(Heap) == NULL);
    return STATUS_SUCCESS;
}

/* Damage is found inside of the heap; the process ends, and the resource, which is not its, must not stay taken. */
static NTSTATUS DamageMain(PVOID Context)
{
    PVOID Heap = RtlCreateHeap(HEAP_GROWABLE | HEAP_FREE_CHECKING_ENABLED, NULL, 0, 0, Lock, NULL);
    PUCHAR Blocks[100];

    (void)Context;
    CHECK(Heap != NULL && RtlMultipleAllocateHeap(Heap, 0, 50, 100, (PVOID *)Blocks) == 100);
    CHECK(RtlFreeHeap(Heap, 0, Blocks[0]));
    Blocks[0][5] ^= 1;
    (void)RtlMultipleFreeHeap(Heap, 0, 99, (PVOID *)Blocks + 1);
    return STATUS_UNSUCCESSFUL;
}

static void the_heap_takes_the_callers_resource(void **state)
{
    NTSTATUS ExitStatus = STATUS_PENDING;
    PEPROCESS Process;

    (void)state;
    Begin();
    Commits = 0;
    Process = NativeProcess("owner");
    NativeRun(Process, OwnerMain, NULL);
    NativeRun(Process, RaiseMain, NULL);
    assert_int_equal(NtmmRun(Process, DamageMain, NULL, &ExitStatus), STATUS_UNHANDLED_EXCEPTION);
    assert_int_equal(ExitStatus, STATUS_HEAP_CORRUPTION);
    NtmmCloseProcess(Process);
    End();
}

/* ---- What is committed at first ------------------------------------------------------------------------------------------ */

/* Learn, "HeapCreate": dwInitialSize is committed, or there is no heap. It serves blocks of every size. */
static NTSTATUS InitialMain(PVOID Context)
{
    PVOID Heap = HeapCreate(0, 0, 0); /* metadata for heaps comes in steps */
    SIZE_T Before, Created;

    (void)Context;
    CHECK(Heap != NULL && HeapDestroy(Heap));
    Before = NativeCommitted();
    Heap = HeapCreate(0, 9 * MIB + 1, 0);
    Created = NativeCommitted();
    CHECK(Heap != NULL && Created - Before >= 9 * MIB + 1 && Created - Before < 10 * MIB);
    for (ULONG Index = 0; Index < 8; Index++)
    {
        CHECK(HeapAlloc(Heap, 0, 400000) != NULL);
        for (ULONG Small = 0; Small < 100; Small++)
        {
            CHECK(HeapAlloc(Heap, 0, 100 + Small * 40) != NULL);
        }
    }
    CHECK(NativeCommitted() < Created + 256 * 1024); /* 5 MiB of blocks */
    CHECK(HeapValidate(Heap, 0, NULL) && HeapDestroy(Heap) && NativeCommitted() < Before + 256 * 1024);
    SetLastError(0);
    CHECK(HeapCreate(0, 500 * MIB, 0) == NULL && GetLastError() == ERROR_NOT_ENOUGH_MEMORY);
    CHECK(NativeCommitted() < Before + 512 * 1024);
    for (ULONG Round = 0; Round < 8;
         Round++) /* the maps of a fixed heap are kept for the next one, not lost */
    {
        CHECK(HeapCreate(0, 500 * MIB, 600 * MIB) == NULL && GetLastError() == ERROR_NOT_ENOUGH_MEMORY);
        Created = Round == 0 ? NativeCommitted() : Created;
    }
    CHECK(NativeCommitted() <= Created && GetProcessHeaps(0, NULL) == 1);
    return STATUS_SUCCESS;
}

static void the_initial_size_is_committed_or_there_is_no_heap(void **state)
{
    PEPROCESS Process;

    (void)state;
    Begin();
    Process = NativeProcess("initial");
    NativeRun(Process, InitialMain, NULL);
    NtmmCloseProcess(Process);
    End();
}

/* ---- Two threads: each call waits for who has the resource -------------------------------------------------------------- */

typedef struct _WAIT_TEST
{
    PVOID Heap;
    PVOID Block, Tagged;
    ULONG Turn;    /* (atomic) the holder has the resource in this turn */
    ULONG Called;  /* (atomic) the other is about to call */
    ULONG Given;   /* (atomic) the holder is about to release it */
    ULONG Through; /* (atomic) the other's call returned */
} WAIT_TEST;

#define CALLS 17

static NTSTATUS CallNumber(WAIT_TEST *Test, ULONG Number)
{
    WCHAR Names[] = { 'a', 0, 0 };
    RTL_HEAP_WALK_ENTRY Entry = { 0 };
    HEAP_SUMMARY Summary = { .cb = sizeof(Summary) };
    ULONG Value;

    switch (Number)
    {
    case 0:
        Test->Block = RtlAllocateHeap(Test->Heap, HEAP_SETTABLE_USER_VALUE, 100);
        CHECK(Test->Block != NULL);
        break;
    case 1:
        Test->Block = RtlReAllocateHeap(Test->Heap, 0, Test->Block, 5000);
        CHECK(Test->Block != NULL);
        break;
    case 2:
        CHECK(RtlSizeHeap(Test->Heap, 0, Test->Block) == 5000);
        break;
    case 3:
        CHECK(RtlValidateHeap(Test->Heap, 0, NULL));
        break;
    case 4:
        CHECK(RtlValidateHeap(Test->Heap, 0, Test->Block));
        break;
    case 5:
        CHECK(RtlSetUserValueHeap(Test->Heap, 0, Test->Block, Test));
        break;
    case 6:
        CHECK(RtlSetUserFlagsHeap(Test->Heap, 0, Test->Block, 0, HEAP_SETTABLE_USER_FLAG1));
        break;
    case 7:
        CHECK(RtlGetUserInfoHeap(Test->Heap, 0, Test->Block, NULL, &Value) &&
              Value == HEAP_SETTABLE_USER_FLAG1);
        break;
    case 8:
        CHECK(RtlWalkHeap(Test->Heap, &Entry) == STATUS_SUCCESS);
        break;
    case 9:
        CHECK(RtlCompactHeap(Test->Heap, 0) != 0);
        break;
    case 10:
        CHECK(RtlCreateTagHeap(Test->Heap, 0, NULL, Names) == 1u << HEAP_TAG_SHIFT);
        break;
    case 11:
        CHECK(RtlMultipleAllocateHeap(Test->Heap, 1u << HEAP_TAG_SHIFT, 64, 1, &Test->Tagged) == 1);
        break;
    case 12:
        CHECK(RtlQueryTagHeap(Test->Heap, 0, 1, FALSE, NULL) != NULL);
        break;
    case 13:
        CHECK(RtlMultipleFreeHeap(Test->Heap, 0, 1, &Test->Tagged) == 1);
        break;
    case 14:
        CHECK(HeapSummary(Test->Heap, 0, &Summary) && Summary.cbAllocated >= 5000);
        break;
    case 15:
        CHECK(RtlLockHeap(Test->Heap) && RtlUnlockHeap(Test->Heap));
        break;
    default:
        CHECK(RtlFreeHeap(Test->Heap, 0, Test->Block));
        break;
    }
    return STATUS_SUCCESS;
}

static VOID Await(ULONG *Number, ULONG Value)
{
    LARGE_INTEGER Time = { .QuadPart = -500 };

    while (__atomic_load_n(Number, __ATOMIC_ACQUIRE) < Value)
    {
        (void)NtDelayExecution(FALSE, &Time);
    }
}

static NTSTATUS HolderMain(PVOID Context)
{
    WAIT_TEST *Test = Context;
    LARGE_INTEGER Time = { .QuadPart = -20000 };

    for (ULONG Number = 0; Number < CALLS; Number++)
    {
        KeEnterCriticalRegion();
        CHECK(ExAcquireResourceExclusiveLite(Lock, TRUE));
        __atomic_store_n(&Test->Turn, Number + 1, __ATOMIC_RELEASE);
        Await(&Test->Called, Number + 1);
        (void)NtDelayExecution(FALSE, &Time); /* a call that does not wait comes through now */
        __atomic_store_n(&Test->Given, Number + 1, __ATOMIC_RELEASE);
        ExReleaseResourceLite(Lock);
        KeLeaveCriticalRegion();
        Await(&Test->Through, Number + 1);
    }
    return STATUS_SUCCESS;
}

static NTSTATUS CallerMain(PVOID Context)
{
    WAIT_TEST *Test = Context;

    for (ULONG Number = 0; Number < CALLS; Number++)
    {
        Await(&Test->Turn, Number + 1);
        __atomic_store_n(&Test->Called, Number + 1, __ATOMIC_RELEASE);

        const NTSTATUS Status = CallNumber(Test, Number);
        const BOOLEAN Waited = __atomic_load_n(&Test->Given, __ATOMIC_ACQUIRE) > Number;

        __atomic_store_n(&Test->Through, Number + 1, __ATOMIC_RELEASE);
        if (Status != STATUS_SUCCESS || !Waited)
        {
            __atomic_store_n(&Test->Through, CALLS, __ATOMIC_RELEASE);
            __atomic_store_n(&Test->Called, CALLS, __ATOMIC_RELEASE);
            return Status != STATUS_SUCCESS ? Status : (NTSTATUS)(100000 + Number);
        }
    }
    return STATUS_SUCCESS;
}

/* Context: where its handle goes. */
static NTSTATUS CreateMain(PVOID Context)
{
    PVOID *Heap = Context;

    *Heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, Lock, NULL);
    CHECK(*Heap != NULL);
    return STATUS_SUCCESS;
}

static void every_call_waits_for_the_callers_resource(void **state)
{
    static WAIT_TEST Test;
    NTMM_THREAD_PARAMETERS Parameters = { .Size = sizeof(Parameters), .Context = &Test };
    PNTMM_THREAD Threads[2];
    NTSTATUS ExitStatus;
    PEPROCESS Process;

    (void)state;
    Begin();
    memset(&Test, 0, sizeof(Test));
    Process = NativeProcess("waiter");
    NativeRun(Process, CreateMain, &Test.Heap);
    for (ULONG Index = 0; Index < 2; Index++)
    {
        Parameters.Routine = Index == 0 ? HolderMain : CallerMain;
        assert_int_equal(NtmmCreateThread(Process, &Parameters, &Threads[Index]), STATUS_SUCCESS);
    }
    for (ULONG Index = 0; Index < 2; Index++)
    {
        assert_int_equal(NtmmJoinThread(Threads[Index], &ExitStatus), STATUS_SUCCESS);
        assert_int_equal(ExitStatus, STATUS_SUCCESS);
    }
    NtmmCloseProcess(Process);
    End();
}

/* ---- Many threads, and clones ------------------------------------------------------------------------------------------- */

#define THREADS 4
#define ROUNDS  400
#define CLONES  4

typedef struct _MANY_TEST
{
    PVOID Heap;
    ULONG Count; /* the resource's */
    ULONG Stop;  /* (atomic) */
    PEPROCESS Children[CLONES];
} MANY_TEST;

/* The resource guards the heap and what its owner keeps beside it. */
static NTSTATUS ManyMain(PVOID Context)
{
    MANY_TEST *Test = Context;

    for (ULONG Round = 0; Round < ROUNDS; Round++)
    {
        PVOID Block = RtlAllocateHeap(Test->Heap, 0, 1 + Round * 37 % 3000);

        CHECK(Block != NULL);
        if (Round % 2 == 0)
        {
            CHECK(RtlLockHeap(Test->Heap));
            Test->Count += 1;
            CHECK(RtlUnlockHeap(Test->Heap));
        }
        else
        {
            KeEnterCriticalRegion();
            CHECK(ExAcquireResourceExclusiveLite(Lock, TRUE));
            Test->Count += 1;
            ExReleaseResourceLite(Lock);
            KeLeaveCriticalRegion();
        }
        CHECK(RtlFreeHeap(Test->Heap, 0, Block));
    }
    return STATUS_SUCCESS;
}

static NTSTATUS BusyMain(PVOID Context)
{
    MANY_TEST *Test = Context;

    while (__atomic_load_n(&Test->Stop, __ATOMIC_ACQUIRE) == 0)
    {
        CHECK(ManyMain(Context) == STATUS_SUCCESS);
    }
    return STATUS_SUCCESS;
}

static NTSTATUS CloneMain(PVOID Context)
{
    MANY_TEST *Test = Context;

    for (ULONG Index = 0; Index < CLONES; Index++)
    {
        CHECK(RtlPrepareForProcessCloning() == STATUS_SUCCESS && ExIsResourceAcquiredExclusiveLite(Lock));
        CHECK(NativeClone(&Test->Children[Index]) == STATUS_SUCCESS);
        CHECK(RtlCompleteProcessCloning(TRUE) == STATUS_SUCCESS && !ExIsResourceAcquiredExclusiveLite(Lock));
    }
    return STATUS_SUCCESS;
}

static NTSTATUS ClonedMain(PVOID Context)
{
    MANY_TEST *Test = Context;

    CHECK(RtlValidateHeap(Test->Heap, 0, NULL) && !ExIsResourceAcquiredExclusiveLite(Lock));
    CHECK(ManyMain(Context) == STATUS_SUCCESS && RtlDestroyHeap(Test->Heap) == NULL);
    return STATUS_SUCCESS;
}

static VOID StartThreads(PEPROCESS Process, NTMM_ROUTINE *Routine, PVOID Context, PNTMM_THREAD *Threads)
{
    NTMM_THREAD_PARAMETERS Parameters = { .Size = sizeof(Parameters),
                                          .Routine = Routine,
                                          .Context = Context };

    for (ULONG Index = 0; Index < THREADS; Index++)
    {
        assert_int_equal(NtmmCreateThread(Process, &Parameters, &Threads[Index]), STATUS_SUCCESS);
    }
}

static VOID JoinThreads(PNTMM_THREAD *Threads)
{
    for (ULONG Index = 0; Index < THREADS; Index++)
    {
        NTSTATUS ExitStatus;

        assert_int_equal(NtmmJoinThread(Threads[Index], &ExitStatus), STATUS_SUCCESS);
        assert_int_equal(ExitStatus, STATUS_SUCCESS);
    }
}

static void threads_and_clones_share_the_resource(void **state)
{
    static MANY_TEST Test;
    PNTMM_THREAD Threads[THREADS];
    PEPROCESS Process;

    (void)state;
    Begin();
    memset(&Test, 0, sizeof(Test));
    Process = NativeProcess("many");
    NativeRun(Process, CreateMain, &Test.Heap);
    StartThreads(Process, ManyMain, &Test, Threads);
    JoinThreads(Threads);
    assert_int_equal(Test.Count, THREADS * ROUNDS);

    StartThreads(Process, BusyMain, &Test, Threads);
    NativeRun(Process, CloneMain, &Test);
    __atomic_store_n(&Test.Stop, 1, __ATOMIC_RELEASE);
    JoinThreads(Threads);
    for (ULONG Child = 0; Child < CLONES; Child++)
    {
        NativeRun(Test.Children[Child], ClonedMain, &Test);
        ObDereferenceObject(Test.Children[Child]);
    }
    NativeRun(Process, ClonedMain, &Test); /* the parent's own */
    NtmmCloseProcess(Process);
    End();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_heap_takes_the_callers_resource),
        cmocka_unit_test(the_initial_size_is_committed_or_there_is_no_heap),
        cmocka_unit_test(every_call_waits_for_the_callers_resource),
        cmocka_unit_test(threads_and_clones_share_the_resource),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
