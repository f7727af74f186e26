/* SPDX-License-Identifier: MIT */
/*
 * Heaps of NT processes with several threads, and of clones: a clone has its parent's heaps, at the same addresses and with no lock held,
 * and each changes its own. Sources: Microsoft Learn, the RtlHeap pages of ntifs.h; RtlPrepareForProcessCloning and
 * RtlCompleteProcessCloning are public symbols without a page.
 */
#include "native_test.h"

#include "nt/heapapi.h"
#include "nt/ps.h"
#include "nt/rtl.h"

/* ---- Clones ------------------------------------------------------------------------------------------------------------- */

typedef struct _CLONE_TEST
{
    PVOID Heap;
    PUCHAR Blocks[200];
    PEPROCESS Child;
} CLONE_TEST;

static NTSTATUS ChildMain(PVOID Context)
{
    CLONE_TEST *Test = Context;

    CHECK(RtlProcessHeap() == Test->Heap && RtlValidateHeap(Test->Heap, 0, NULL));
    for (ULONG Block = 0; Block < 200; Block++)
    {
        CHECK(RtlSizeHeap(Test->Heap, 0, Test->Blocks[Block]) == 100 * (SIZE_T)Block);
        for (SIZE_T Offset = 0; Offset < 100 * (SIZE_T)Block; Offset++)
        {
            CHECK(Test->Blocks[Block][Offset] == NativeByte(Block, Offset));
            Test->Blocks[Block][Offset] = 0xee;
        }
        CHECK(RtlFreeHeap(Test->Heap, 0, Test->Blocks[Block]));
        CHECK(RtlAllocateHeap(Test->Heap, 0, 3 * Block) != NULL);
    }
    CHECK(RtlValidateHeap(Test->Heap, 0, NULL));
    return STATUS_SUCCESS;
}

static NTSTATUS ParentMain(PVOID Context)
{
    CLONE_TEST *Test = Context;

    Test->Heap = RtlProcessHeap();
    for (ULONG Block = 0; Block < 200; Block++)
    {
        Test->Blocks[Block] = RtlAllocateHeap(Test->Heap, 0, 100 * (SIZE_T)Block);
        CHECK(Test->Blocks[Block] != NULL);
        for (SIZE_T Offset = 0; Offset < 100 * (SIZE_T)Block; Offset++)
        {
            Test->Blocks[Block][Offset] = NativeByte(Block, Offset);
        }
    }
    CHECK(NativeClone(&Test->Child) == STATUS_SUCCESS);
    return STATUS_SUCCESS;
}

static NTSTATUS ParentAgain(PVOID Context)
{
    CLONE_TEST *Test = Context;

    for (ULONG Block = 0; Block < 200; Block++)
    {
        for (SIZE_T Offset = 0; Offset < 100 * (SIZE_T)Block; Offset++)
        {
            CHECK(Test->Blocks[Block][Offset] == NativeByte(Block, Offset));
        }
        CHECK(RtlFreeHeap(Test->Heap, 0, Test->Blocks[Block]));
    }
    CHECK(RtlValidateHeap(Test->Heap, 0, NULL));
    return STATUS_SUCCESS;
}

static void a_clone_has_the_heaps_and_changes_its_own(void **state)
{
    static CLONE_TEST Test;
    PEPROCESS Process;

    (void)state;
    NativeBoot(32, 2, 64);
    Process = NativeProcess("parent");
    NativeRun(Process, ParentMain, &Test);
    NativeRun(Test.Child, ChildMain, &Test);
    NativeRun(Process, ParentAgain, &Test);
    ObDereferenceObject(Test.Child);
    NtmmCloseProcess(Process);
    NativeShutdown();
}

/* ---- Several at once ---------------------------------------------------------------------------------------------------- */

#define THREADS 4
#define ROUNDS  3000u

typedef struct _THREAD_TEST
{
    PVOID *Shared; /* blocks handed from thread to thread */
    ULONG Number;
    ULONG Rounds;
} THREAD_TEST;

#define PLACES 64u

/*
 * Processes in which every other pair of threads has its stack in NT memory. ASan has one shadow for all processes: two stacks at the
 * same address would mark each other's frames.
 */
#if NTMM_ASAN
#define STACK_PROCESSES 1
#else
#define STACK_PROCESSES 2
#endif

static NTSTATUS ThreadMain(PVOID Context)
{
    THREAD_TEST *Test = Context;
    ULONG Random = Test->Number * 7919u + 1;
    PVOID Heap = GetProcessHeap();

    for (ULONG Round = 0; Round < Test->Rounds; Round++)
    {
        Random = Random * 1664525u + 1013904223u;
        const SIZE_T Size = 8 + (Random >> 8) % (Round % 50 == 0 ? 60000 : 900);
        PUCHAR Block = RtlAllocateHeap(Heap, 0, Size);

        CHECK(Block != NULL);
        memset(Block, (UCHAR)Size, Size);
        Block = __atomic_exchange_n(&Test->Shared[(Random >> 20) % PLACES], Block, __ATOMIC_ACQ_REL);
        if (Block != NULL)
        {
            const SIZE_T Old = RtlSizeHeap(Heap, 0, Block);

            CHECK(Old != (SIZE_T)-1 && Block[0] == (UCHAR)Old && Block[Old - 1] == (UCHAR)Old);
            CHECK(RtlFreeHeap(Heap, 0, Block));
        }
    }
    return STATUS_SUCCESS;
}

/* No thread is left. The blocks that are shared still are all of what is busy. */
static NTSTATUS AfterwardsMain(PVOID Context)
{
    PVOID *Shared = Context;
    PVOID Heap = GetProcessHeap();
    PVOID Heaps[2];

    CHECK(RtlGetProcessHeaps(2, Heaps) == 1 && Heaps[0] == Heap && RtlValidateHeap(Heap, 0, NULL));
    for (ULONG Place = 0; Place < PLACES; Place++)
    {
        CHECK(Shared[Place] == NULL || RtlFreeHeap(Heap, 0, Shared[Place]));
    }

    RTL_HEAP_WALK_ENTRY Entry = { 0 };
    NTSTATUS Status;

    while ((Status = RtlWalkHeap(Heap, &Entry)) == STATUS_SUCCESS)
    {
        CHECK((Entry.Flags & RTL_HEAP_BUSY) == 0);
    }
    CHECK(Status == STATUS_NO_MORE_ENTRIES);
    return STATUS_SUCCESS;
}

static void threads_and_processes_use_their_heaps_at_once(void **state)
{
    static PVOID Shared[2][PLACES];
    static THREAD_TEST Tests[2 * THREADS];
    PNTMM_THREAD Threads[2 * THREADS];
    PEPROCESS Processes[2];

    (void)state;
    memset(Shared, 0, sizeof(Shared));
    NativeBoot(32, 2, 64);
    for (ULONG Index = 0; Index < 2; Index++)
    {
        Processes[Index] = NativeProcess("threads");
    }
    for (ULONG Index = 0; Index < 2 * THREADS; Index++)
    {
        NTMM_THREAD_PARAMETERS Parameters = { .Size = sizeof(Parameters), .Routine = ThreadMain };

        Tests[Index] = (THREAD_TEST){ Shared[Index % 2], Index, ROUNDS };
        Parameters.Context = &Tests[Index];
        Parameters.StackReserve = Index % 4 >= 2 && (int)(Index % 2) < STACK_PROCESSES ? MIB : 0;
        assert_int_equal(NtmmCreateThread(Processes[Index % 2], &Parameters, &Threads[Index]),
                         STATUS_SUCCESS);
    }
    for (ULONG Index = 0; Index < 2 * THREADS; Index++)
    {
        NTSTATUS ExitStatus;

        assert_int_equal(NtmmJoinThread(Threads[Index], &ExitStatus), STATUS_SUCCESS);
        assert_int_equal(ExitStatus, STATUS_SUCCESS);
    }
    for (ULONG Index = 0; Index < 2; Index++)
    {
        NativeRun(Processes[Index], AfterwardsMain, Shared[Index]);
        NtmmCloseProcess(Processes[Index]);
    }
    NativeShutdown();
}

/* ---- Clones of a process whose threads are in its heaps ------------------------------------------------------------------- */

#define CLONES 8

typedef struct _BUSY_TEST
{
    PVOID Heaps[2]; /* the process heap, a private one */
    ULONG Stop;     /* (atomic) */
    PEPROCESS Children[CLONES];
} BUSY_TEST;

static NTSTATUS BusyMain(PVOID Context)
{
    BUSY_TEST *Test = Context;
    ULONG Random = 1;

    while (__atomic_load_n(&Test->Stop, __ATOMIC_ACQUIRE) == 0)
    {
        PVOID Heap = Test->Heaps[Random >> 16 & 1];
        LARGE_INTEGER Time = { .QuadPart = -2000 };

        Random = Random * 1664525u + 1013904223u;
        CHECK(RtlLockHeap(Heap));
        if ((Random >> 24) % 32 == 0)
        {
            CHECK(NtDelayExecution(FALSE, &Time) == STATUS_SUCCESS);
        }

        PVOID Block = RtlAllocateHeap(Heap, 0, (Random >> 8) % 20000);

        CHECK(Block != NULL && RtlUnlockHeap(Heap) && RtlFreeHeap(Heap, 0, Block));
    }
    return STATUS_SUCCESS;
}

static NTSTATUS BusyStart(PVOID Context)
{
    BUSY_TEST *Test = Context;

    Test->Heaps[0] = RtlProcessHeap();
    Test->Heaps[1] = RtlCreateHeap(HEAP_GROWABLE | HEAP_CLASS_1, NULL, 0, 0, NULL, NULL);
    CHECK(Test->Heaps[0] != NULL && Test->Heaps[1] != NULL);
    return STATUS_SUCCESS;
}

static NTSTATUS CloningMain(PVOID Context)
{
    BUSY_TEST *Test = Context;

    CHECK(RtlCompleteProcessCloning(FALSE) == STATUS_SUCCESS);
    for (ULONG Index = 0; Index < CLONES; Index++)
    {
        CHECK(RtlPrepareForProcessCloning() == STATUS_SUCCESS);
        CHECK(RtlPrepareForProcessCloning() == STATUS_INVALID_LOCK_SEQUENCE);

        /* The thread that keeps the others out may go on. */
        PVOID Heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);
        PVOID Block = RtlAllocateHeap(Test->Heaps[1], 0, 60000);

        CHECK(Heap != NULL && Block != NULL && RtlFreeHeap(Test->Heaps[1], 0, Block));
        CHECK(NativeClone(&Test->Children[Index]) == STATUS_SUCCESS);
        CHECK(RtlCompleteProcessCloning(TRUE) == STATUS_SUCCESS);
        CHECK(RtlDestroyHeap(Heap) == NULL);
    }
    return STATUS_SUCCESS;
}

/* Twice at the same time, as the first use of a heap in the clone is what makes its locks free. */
static NTSTATUS ClonedMain(PVOID Context)
{
    BUSY_TEST *Test = Context;

    for (ULONG Index = 0; Index < 2; Index++)
    {
        PVOID Heap = Test->Heaps[Index];

        CHECK(RtlLockHeap(Heap) && RtlUnlockHeap(Heap) && RtlValidateHeap(Heap, 0, NULL));
        for (SIZE_T Size = 1; Size < 1000000; Size *= 3)
        {
            PVOID Block = RtlAllocateHeap(Heap, 0, Size);

            CHECK(Block != NULL && RtlFreeHeap(Heap, 0, Block));
        }
    }
    CHECK(RtlPrepareForProcessCloning() == STATUS_SUCCESS &&
          RtlCompleteProcessCloning(FALSE) == STATUS_SUCCESS);
    return STATUS_SUCCESS;
}

static void no_lock_of_a_heap_is_held_in_a_clone(void **state)
{
    static BUSY_TEST Test;
    NTMM_THREAD_PARAMETERS Parameters = { .Size = sizeof(Parameters), .Routine = BusyMain, .Context = &Test };
    PNTMM_THREAD Threads[3];
    NTSTATUS ExitStatus;
    PEPROCESS Process;

    (void)state;
    memset(&Test, 0, sizeof(Test));
    NativeBoot(32, 2, 64);
    Process = NativeProcess("busy");
    NativeRun(Process, BusyStart, &Test);
    for (ULONG Index = 0; Index < 3; Index++)
    {
        assert_int_equal(NtmmCreateThread(Process, &Parameters, &Threads[Index]), STATUS_SUCCESS);
    }
    NativeRun(Process, CloningMain, &Test);
    __atomic_store_n(&Test.Stop, 1, __ATOMIC_RELEASE);
    for (ULONG Index = 0; Index < 3; Index++)
    {
        assert_int_equal(NtmmJoinThread(Threads[Index], &ExitStatus), STATUS_SUCCESS);
        assert_int_equal(ExitStatus, STATUS_SUCCESS);
    }
    Parameters.Routine = ClonedMain;
    for (ULONG Child = 0; Child < CLONES; Child++)
    {
        for (ULONG Index = 0; Index < 2; Index++)
        {
            assert_int_equal(NtmmCreateThread(Test.Children[Child], &Parameters, &Threads[Index]),
                             STATUS_SUCCESS);
        }
        for (ULONG Index = 0; Index < 2; Index++)
        {
            assert_int_equal(NtmmJoinThread(Threads[Index], &ExitStatus), STATUS_SUCCESS);
            assert_int_equal(ExitStatus, STATUS_SUCCESS);
        }
        ObDereferenceObject(Test.Children[Child]);
    }
    NativeRun(Process, ClonedMain, &Test); /* the parent's own */
    NtmmCloseProcess(Process);
    NativeShutdown();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clone_has_the_heaps_and_changes_its_own),
        cmocka_unit_test(threads_and_processes_use_their_heaps_at_once),
        cmocka_unit_test(no_lock_of_a_heap_is_held_in_a_clone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
