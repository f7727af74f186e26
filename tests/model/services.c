/* SPDX-License-Identifier: MIT */
/*
 * The services of private memory against the model: rounds of random operations in deterministic mode, each on a fresh machine with so
 * little memory that pages leave and come back all the time. A round runs in a process of its own, so that whatever a defect
 * does (a bug check, a crash, a hang) ends that process only, and the round is then reduced to the few operations that it takes.
 *
 *     NTMM_SEED=n        the first round's seed (printed); the next have n + 1, ...
 *     NTMM_ITERATIONS=n  operations altogether
 *     NTMM_MODEL_ROUND=n operations of a round
 *     NTMM_MODEL_ONLY=a,b,c...  these operations of the first round only, each printed (what shrinking prints)
 */
#include "model.h"

#include "host.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUND_OPERATIONS 6000u
#define USUAL_OPERATIONS 180000u
#define ROUND_SECONDS    300u
#define SHRINK_SECONDS   40u

static MODEL_OPERATION *Operations;
static ULONG *Chosen; /* indices of the operations of a run */
static SIZE_T ChosenCount;
static ULONG64 RoundSeed;
static BOOLEAN Trace;

/* ---- One round ---------------------------------------------------------------------------------------------------------------------- */

/* How much really happened: what to look at when the weights of operations change. */
static void PrintCounters(void)
{
#define PRINT_COUNTER(Identifier, Name, Meaning)                                                             \
    fprintf(stderr, "%12llu %s\n", MiQueryCounter(MiCounter##Identifier), Name);
    MI_COUNTERS(PRINT_COUNTER)
#undef PRINT_COUNTER
}

static void the_services_do_what_the_model_says(void **State)
{
    static const TEST_MACHINE Machine = { .RamMegabytes = 3,
                                          .Deterministic = TRUE,
                                          .PagingFiles = 2,
                                          .PagingMegabytes = 4,
                                          .PagingMaximum = 24,
                                          .Workers = TRUE };
    TEST_MACHINE Booted = Machine;
    MODEL *Model = calloc(1, sizeof(*Model));
    KAPC_STATE ApcState;
    PEPROCESS Owner; /* of the handles */

    (void)State;
    assert_non_null(Model);
    Booted.Seed = RoundSeed;
    if (RoundSeed % 5 == 4)
    {
        Booted.RamMegabytes = 13; /* in 3 MiB no page of 2 MiB is ever to be had */
    }
    TestBootMachine(&Booted);
    assert_int_equal(HostSetThreadSimulated(TRUE), STATUS_SUCCESS);
    assert_int_equal(PsCreateProcessObject("owner", &Owner), STATUS_SUCCESS);
    KeStackAttachProcess((PRKPROCESS)(PVOID)Owner, &ApcState);
    ModelTakeBaseline(Model);
    Model->Seed = RoundSeed;
    Model->Trace = Trace;
    Model->MaximumRegions = 4u << (RoundSeed % 6);
    Model->PagingFiles = Machine.PagingFiles;
    Model->LargePages = Booted.RamMegabytes != Machine.RamMegabytes;
    for (ULONG Index = 0; Index < Machine.PagingFiles; Index++)
    {
        Model->PagingMaximum[Index] = (ULONG64)Machine.PagingMaximum << 20;
    }
    for (ULONG Count = 0; Count < 3; Count++)
    {
        ModelCreateSpace(Model);
    }
    for (SIZE_T Index = 0; Index < ChosenCount; Index++)
    {
        ModelRunOperation(Model, &Operations[Chosen[Index]], Chosen[Index]);
        if ((Index + 1) % MODEL_CHECK_EVERY == 0)
        {
            ModelCheck(Model, FALSE);
        }
    }
    ModelCheck(Model, TRUE);
    if (Model->LargePages && ChosenCount > 2000)
    {
        assert_true(MiQueryCounter(MiCounterLargePagesMade) != 0);
    }
    if (getenv("NTMM_MODEL_STATISTICS") != NULL)
    {
        PrintCounters();
    }
    for (ULONG Slot = 0; Slot < MODEL_SPACES; Slot++)
    {
        if (Model->Space[Slot] != NULL)
        {
            ModelDeleteSpace(Model, Slot);
        }
    }
    free(Model);
    KeUnstackDetachProcess(&ApcState);
    PsTerminateProcessObject(Owner, STATUS_SUCCESS);
    ObDereferenceObjectBody(Owner);
    assert_int_equal(HostSetThreadSimulated(FALSE), STATUS_SUCCESS);
    TestShutdownMachine();
}

/* How the round died, for comparison; written by the round's process. */
static char FirstSignature[MODEL_SIGNATURE_LENGTH];

static int RunRoundHere(void)
{
    const struct CMUnitTest Tests[] = { cmocka_unit_test(the_services_do_what_the_model_says) };

    alarm(ROUND_SECONDS);
    return cmocka_run_group_tests_name("model.services", Tests, NULL, NULL);
}

/* TRUE: the round was good. */
static BOOLEAN RunRound(BOOLEAN Quiet)
{
    int Status = 0;
    pid_t Child;

    ModelSignature[0] = 0;
    fflush(NULL);
    Child = fork();
    if (Child < 0)
    {
        perror("fork");
        exit(2);
    }
    if (Child == 0)
    {
        int Null = open("/dev/null", O_WRONLY);

        if (!Trace)
        {
            dup2(Null, STDOUT_FILENO); /* cmocka's own lines */
        }
        if (Quiet)
        {
            dup2(Null, STDERR_FILENO);
        }
        Status = RunRoundHere();
        fflush(NULL);
        _exit(Status != 0 ? 1 : 0);
    }
    while (waitpid(Child, &Status, 0) < 0)
    {
    }
    if (WIFSIGNALED(Status) && !Quiet)
    {
        fprintf(stderr, "model: the round died of signal %d (%s)\n", WTERMSIG(Status),
                strsignal(WTERMSIG(Status)));
    }
    if (WIFEXITED(Status) && WEXITSTATUS(Status) == 0)
    {
        return TRUE;
    }
    if (ModelSignature[0] == 0)
    {
        snprintf(ModelSignature, MODEL_SIGNATURE_LENGTH, "exit %d", Status);
    }
    return FALSE;
}

/* ---- Shrinking ------------------------------------------------------------------------------------------------------------------------ */

/* Without the Count operations from First on. TRUE: it still fails, and they are gone for good. */
static BOOLEAN TryWithout(SIZE_T First, SIZE_T Count)
{
    ULONG *Old = Chosen;
    SIZE_T OldCount = ChosenCount;

    Chosen = malloc(OldCount * sizeof(*Chosen));
    if (Chosen == NULL)
    {
        abort();
    }
    memcpy(Chosen, Old, First * sizeof(*Chosen));
    memcpy(Chosen + First, Old + First + Count, (OldCount - First - Count) * sizeof(*Chosen));
    ChosenCount = OldCount - Count;
    if (RunRound(TRUE) || strcmp(ModelSignature, FirstSignature) != 0)
    {
        free(Chosen);
        Chosen = Old;
        ChosenCount = OldCount;
        return FALSE;
    }
    free(Old);
    return TRUE;
}

/* Halves, quarters, ... single operations, from the end, as long as there is time. */
static void Shrink(void)
{
    time_t End = time(NULL) + SHRINK_SECONDS;

    for (SIZE_T Part = ChosenCount / 2; Part > 0 && time(NULL) < End; Part = Part > 1 ? Part / 2 : 0)
    {
        SIZE_T First = ChosenCount;

        while (First >= Part && time(NULL) < End)
        {
            First -= Part;
            TryWithout(First, Part);
        }
    }
}

static void ReportFailure(void)
{
    memcpy(FirstSignature, ModelSignature, sizeof(FirstSignature));
    fprintf(stderr, "model: shrinking (%u s at most)\n", SHRINK_SECONDS);
    Shrink();
    fprintf(stderr,
            "model: %zu operations are enough. Again with:\n  NTMM_SEED=%llu NTMM_MODEL_ONLY=", ChosenCount,
            RoundSeed);
    for (SIZE_T Index = 0; Index < ChosenCount; Index++)
    {
        fprintf(stderr, "%s%u", Index == 0 ? "" : ",", Chosen[Index]);
    }
    fprintf(stderr, "\n");
    Trace = TRUE;
    RunRound(FALSE);
}

/* ---- The test --------------------------------------------------------------------------------------------------------------------------- */

static SIZE_T ReadOnly(const char *Text, SIZE_T Count)
{
    SIZE_T Length = 0;

    while (*Text != 0 && Length < Count)
    {
        char *End;

        Chosen[Length++] = (ULONG)strtoul(Text, &End, 10);
        Text = *End == ',' ? End + 1 : End;
        if (End == Text && *Text != 0)
        {
            fprintf(stderr, "NTMM_MODEL_ONLY: numbers, please\n");
            exit(2);
        }
    }
    return Length;
}

int main(void)
{
    const char *Only = getenv("NTMM_MODEL_ONLY");
    const char *Round = getenv("NTMM_MODEL_ROUND");
    SIZE_T Count = Round != NULL ? strtoull(Round, NULL, 0) : ROUND_OPERATIONS;
    ULONG64 Total = TestIterations(USUAL_OPERATIONS);
    TEST_RANDOM Random = TestSeed("model.services");

    Count = Count == 0 ? 1 : Count;
    Operations = calloc(Count, sizeof(*Operations));
    ModelSignature =
        mmap(NULL, MODEL_SIGNATURE_LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (Operations == NULL || ModelSignature == MAP_FAILED)
    {
        return 2;
    }
    for (ULONG64 Done = 0; Done < Total; Done += Count)
    {
        RoundSeed = Random.State + Done / Count;
        ModelGenerate(RoundSeed, Operations, Count, FALSE);
        free(Chosen);
        Chosen = calloc(Count, sizeof(*Chosen));
        for (SIZE_T Index = 0; Chosen != NULL && Index < Count; Index++)
        {
            Chosen[Index] = (ULONG)Index;
        }
        ChosenCount = Count;
        if (Only != NULL)
        {
            ChosenCount = ReadOnly(Only, Count);
            Trace = TRUE;
            return RunRoundHere();
        }
        if (!RunRound(FALSE))
        {
            ReportFailure();
            return 1;
        }
    }
    printf("%llu operations, no difference\n", Total);
    free(Chosen);
    free(Operations);
    return 0;
}
