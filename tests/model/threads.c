/* SPDX-License-Identifier: MIT */
/*
 * The model with threads: each owns a part of the addresses of every process, so that its model stays exact whatever the others do; one
 * more thread only disturbs: it empties working sets, writes and purges pages, changes limits, clones processes and ends the
 * clones. First with simulated processors over three processes, then natively with pointers in one.
 *
 *     NTMM_SEED=n, NTMM_ITERATIONS=n (operations of each thread)
 */
#include "model.h"

#include "host.h"

#include "nt/boot.h"

#include <unistd.h>

#define WORKERS    3u
#define PROCESSES  3u
#define WINDOW     0x10000000ull
#define FIRST      ((PORT_USER_LOWEST + 0x10000000ull) & ~0xfffffffull)
#define OPERATIONS 10000u

static struct
{
    ULONG64 Seed;
    ULONG64 Operations;
    ULONG Processes;
    BOOLEAN Pointers;
    PEPROCESS Owner; /* of the handles */
    PEPROCESS Body[PROCESSES];
    HANDLE Handle[PROCESSES];
    BOOLEAN LargePages;
    volatile ULONG Running;
} Run;

/* ---- A worker -------------------------------------------------------------------------------------------------------------------------- */

static MODEL *MakeModel(ULONG Index)
{
    MODEL *Model = calloc(1, sizeof(*Model));

    if (Model == NULL)
    {
        abort();
    }
    Model->Native = TRUE;
    Model->LargePages = Run.LargePages;
    Model->Seed = Run.Seed;
    Model->MaximumRegions = 12;
    for (ULONG Slot = 0; Slot < Run.Processes; Slot++)
    {
        MODEL_SPACE *Space = calloc(1, sizeof(*Space));

        if (Space == NULL)
        {
            abort();
        }
        Space->Handle = Run.Handle[Slot];
        Space->Process = Run.Body[Slot];
        Space->Low = FIRST + Index * WINDOW;
        Space->High = Space->Low + WINDOW - 1;
        Space->Shared = TRUE;
        Space->Pointers = Run.Pointers;
        Model->Space[Slot] = Space;
    }
    return Model;
}

static void FreeModel(MODEL *Model)
{
    for (ULONG Slot = 0; Slot < Run.Processes; Slot++)
    {
        ModelClearSpace(Model->Space[Slot]);
        free(Model->Space[Slot]);
    }
    free(Model);
}

static void Work(ULONG Index)
{
    MODEL *Model = MakeModel(Index);
    MODEL_OPERATION *Operations = calloc(Run.Operations, sizeof(*Operations));

    if (Operations == NULL)
    {
        abort();
    }
    ModelGenerate(Run.Seed + Index * 0x10001, Operations, Run.Operations, TRUE);
    for (ULONG64 Number = 0; Number < Run.Operations; Number++)
    {
        ModelRunOperation(Model, &Operations[Number], Number);
    }
    ModelCheck(Model, TRUE);
    free(Operations);
    FreeModel(Model);
}

/* ---- The one that disturbs ---------------------------------------------------------------------------------------------------------------- */

static void Command(ULONG Value)
{
    if (!NT_SUCCESS(ZwSetSystemInformation(SystemMemoryListInformation, &Value, sizeof(Value))))
    {
        abort();
    }
}

static void CloneAndEnd(ULONG Index)
{
    HANDLE Child;
    NTSTATUS Status =
        ZwCreateProcessEx(&Child, PROCESS_ALL_ACCESS, NULL, Run.Handle[Index], 0, NULL, NULL, NULL, 0);

    if (NT_SUCCESS(Status))
    {
        if (!NT_SUCCESS(ZwTerminateProcess(Child, STATUS_SUCCESS)) || !NT_SUCCESS(ZwClose(Child)))
        {
            abort();
        }
    }
    else if (Status != STATUS_INSUFFICIENT_RESOURCES && Status != STATUS_COMMITMENT_LIMIT &&
             !(Run.LargePages && Status == STATUS_NOT_SUPPORTED))
    {
        fprintf(stderr, "a clone fails with 0x%08x\n", (ULONG)Status);
        abort();
    }
}

static void Disturb(void)
{
    TEST_RANDOM Random = { .State = Run.Seed ^ 0x5555 };
    LARGE_INTEGER Pause = { .QuadPart = -2000 }; /* 200 us */

    while (__atomic_load_n(&Run.Running, __ATOMIC_ACQUIRE) != 0)
    {
        static const ULONG Commands[] = { MemoryEmptyWorkingSets, MemoryFlushModifiedList,
                                          MemoryPurgeStandbyList, MemoryCaptureAndResetAccessedBits };
        QUOTA_LIMITS_EX Quota = { .MinimumWorkingSetSize = 50 * PAGE_SIZE,
                                  .MaximumWorkingSetSize = (60 + TestBelow(&Random, 300)) * PAGE_SIZE };
        ULONG Index = (ULONG)TestBelow(&Random, Run.Processes);

        switch (TestBelow(&Random, 8))
        {
        case 0:
            CloneAndEnd(Index);
            break;
        case 1:
            Quota.Flags =
                TestBelow(&Random, 2) == 0 ? QUOTA_LIMITS_HARDWS_MAX_ENABLE : QUOTA_LIMITS_HARDWS_MAX_DISABLE;
            if (!NT_SUCCESS(
                    ZwSetInformationProcess(Run.Handle[Index], ProcessQuotaLimits, &Quota, sizeof(Quota))))
            {
                abort();
            }
            break;
        default:
            Command(Commands[TestBelow(&Random, RTL_NUMBER_OF(Commands))]);
            break;
        }
        KeDelayExecutionThread(KernelMode, FALSE, &Pause);
    }
}

static void RunThread(ULONG Index, void *Context)
{
    KAPC_STATE State;

    (void)Context;
    if (!Run.Pointers && HostSetThreadSimulated(TRUE) != STATUS_SUCCESS)
    {
        abort();
    }
    /* Natively the thread stays in the process whose memory it touches; handles are found in the table of that process. */
    KeStackAttachProcess((PRKPROCESS)(PVOID)Run.Owner, &State);
    if (Index < WORKERS)
    {
        Work(Index);
        __atomic_fetch_sub(&Run.Running, 1, __ATOMIC_RELEASE);
    }
    else
    {
        Disturb();
    }
    KeUnstackDetachProcess(&State);
    if (!Run.Pointers)
    {
        HostSetThreadSimulated(FALSE);
    }
}

/* ---- The test -------------------------------------------------------------------------------------------------------------------------- */

/* Large: pages of 2 MiB among the others, in a machine that has room for some. */
static void RunAll(ULONG Processes, BOOLEAN Pointers, BOOLEAN Large, ULONG64 Operations, const char *Name)
{
    const TEST_MACHINE Machine = { .RamMegabytes = Large ? 14 : 5,
                                   .Processors = 2,
                                   .PagingFiles = 2,
                                   .PagingMegabytes = 192,
                                   .Workers = TRUE };

    Run.Seed = TestSeed(Name).State;
    Run.Operations = TestIterations(Operations);
    Run.Processes = Processes;
    Run.Pointers = Pointers;
    Run.LargePages = Large;
    Run.Running = WORKERS;
    TestBootMachine(&Machine);
    for (ULONG Index = 0; Index < Processes; Index++)
    {
        assert_int_equal(PsCreateProcessObject("threads", &Run.Body[Index]), STATUS_SUCCESS);
    }
    if (Pointers)
    {
        Run.Owner = Run.Body[0];
    }
    else
    {
        assert_int_equal(PsCreateProcessObject("owner", &Run.Owner), STATUS_SUCCESS);
    }
    for (ULONG Index = 0; Index < Processes; Index++)
    {
        assert_int_equal(
            ObInsertHandle(Run.Owner->HandleTable, Run.Body[Index], PROCESS_ALL_ACCESS, &Run.Handle[Index]),
            STATUS_SUCCESS);
    }
    TestRunThreads(WORKERS + 1, RunThread, NULL);
    TestStopWorkers();
    assert_true(!Large || MiQueryCounter(MiCounterLargePagesMade) != 0);
    MmCheckSystem(3);
    for (ULONG Index = 0; Index < Processes; Index++)
    {
        MiCheckSpace(&Run.Body[Index]->Space, 2);
        MiCheckWorkingSet(&Run.Body[Index]->Space);
    }
    if (!Pointers)
    {
        PsTerminateProcessObject(Run.Owner, STATUS_SUCCESS);
        ObDereferenceObjectBody(Run.Owner);
    }
    for (ULONG Index = 0; Index < Processes; Index++)
    {
        PsTerminateProcessObject(Run.Body[Index], STATUS_SUCCESS);
        ObDereferenceObjectBody(Run.Body[Index]);
    }
    TestShutdownMachine();
}

static void threads_on_simulated_processors(void **State)
{
    (void)State;
    RunAll(PROCESSES, FALSE, FALSE, OPERATIONS, "model.threads (simulated)");
}

static void threads_with_pointers(void **State)
{
    (void)State;
    RunAll(1, TRUE, FALSE, OPERATIONS / 2, "model.threads (native)");
}

static void threads_with_large_pages(void **State)
{
    (void)State;
    RunAll(PROCESSES, FALSE, TRUE, OPERATIONS / 4, "model.threads (large pages, simulated)");
}

static void threads_with_pointers_to_large_pages(void **State)
{
    (void)State;
    RunAll(1, TRUE, TRUE, OPERATIONS / 4, "model.threads (large pages, native)");
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(threads_on_simulated_processors),
        cmocka_unit_test(threads_with_pointers),
        cmocka_unit_test(threads_with_large_pages),
        cmocka_unit_test(threads_with_pointers_to_large_pages),
    };

    alarm(500);
    return cmocka_run_group_tests_name("model.threads", Tests, NULL, NULL);
}
