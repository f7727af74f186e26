/* SPDX-License-Identifier: MIT */
/*
 * The engine of the model tests: operations are numbers made from a seed in advance, so that any part of a run can be run again. An
 * operation draws all it needs from a seed of its own and from the model's state. A difference ends the process with the seed and
 * the last operations.
 */
#include "model.h"

#include "host.h"
#include "host_sim.h"
#include "pages.h"

#include "nt/boot.h"

#include <unistd.h>

const MODEL_KIND ModelKinds[] = {
    { "allocate", 10, ModelRunAllocate, TRUE },
    { "commit", 8, ModelRunCommit, TRUE },
    { "large", 4, ModelRunLarge, TRUE },
    { "placeholder", 6, ModelRunPlaceholder, TRUE },
    { "free", 12, ModelRunFree, TRUE },
    { "protect", 10, ModelRunProtect, TRUE },
    { "lock", 5, ModelRunLock, FALSE },
    { "reset", 5, ModelRunReset, TRUE },
    { "touch", 70, ModelRunTouch, TRUE },
    { "transfer", 12, ModelRunTransfer, TRUE },
    { "copy", 4, ModelRunCopy, TRUE },
    { "query", 10, ModelRunQuery, TRUE },
    { "walk", 1, ModelRunWalk, FALSE },
    { "query-ws", 4, ModelRunQueryWs, TRUE },
    { "watch", 12, ModelRunWatch, TRUE },
    { "bad-call", 4, ModelRunBadCall, TRUE },
    { "fork", 4, ModelRunFork, FALSE },
    { "end", 2, ModelRunEnd, FALSE },
    { "limits", 3, ModelRunLimits, FALSE },
    { "job", 4, ModelRunJob, FALSE },
    { "command", 5, ModelRunCommand, FALSE },
    { "advice", 5, ModelRunAdvice, TRUE },
    { "time", 6, ModelRunTime, FALSE },
    { "paging-file", 1, ModelRunPagingFile, FALSE },
    { NULL, 0, NULL, FALSE },
};

/* ---- Reporting ------------------------------------------------------------------------------------------------------------------ */

VOID ModelLog(MODEL *Model, const char *Format, ...)
{
    char *Line = Model->Log[Model->LogNext % MODEL_LOG_LINES];
    int Length = snprintf(Line, MODEL_LOG_LENGTH, "%llu: ", Model->Number);
    va_list Arguments;

    va_start(Arguments, Format);
    vsnprintf(Line + Length, MODEL_LOG_LENGTH - (size_t)Length, Format, Arguments);
    va_end(Arguments);
    Model->LogNext++;
    if (Model->Trace)
    {
        fprintf(stderr, "%s\n", Line);
    }
}

char *ModelSignature;

/* The first word counts. */
static VOID ModelSign(const char *Text)
{
    if (ModelSignature != NULL && ModelSignature[0] == 0)
    {
        snprintf(ModelSignature, MODEL_SIGNATURE_LENGTH, "%s", Text);
    }
}

VOID ModelFail(MODEL *Model, const char *Format, ...)
{
    ULONG First = Model->LogNext > MODEL_LOG_LINES ? Model->LogNext - MODEL_LOG_LINES : 0;
    va_list Arguments;

    ModelSign(Format);
    fprintf(stderr, "\nmodel: seed %llu, operation %llu: ", Model->Seed, Model->Number);
    va_start(Arguments, Format);
    vfprintf(stderr, Format, Arguments);
    va_end(Arguments);
    fprintf(stderr, "\nThe last operations:\n");
    for (ULONG Index = First; Index < Model->LogNext; Index++)
    {
        fprintf(stderr, "  %s\n", Model->Log[Index % MODEL_LOG_LINES]);
    }
    fflush(NULL);
    _exit(66);
}

static SIZE_T ModelCountZeros(const UCHAR *Bytes)
{
    SIZE_T Zeros = 0;

    for (SIZE_T Index = 0; Bytes != NULL && Index < PAGE_SIZE; Index++)
    {
        Zeros += Bytes[Index] == 0;
    }
    return Bytes != NULL ? Zeros : PAGE_SIZE;
}

VOID ModelFailContents(MODEL *Model, MODEL_SPACE *Space, ULONG_PTR BadVa, UCHAR Seen)
{
    static UCHAR Now[PAGE_SIZE]; /* who fails ends the program */
    const MODEL_PAGE *Page = ModelPageAt(Space, BadVa);
    SIZE_T Offset = BadVa & (PAGE_SIZE - 1);
    SIZE_T Different = 0;
    SIZE_T Copied = 0;

    ZwReadVirtualMemory(Space->Handle, (PVOID)(BadVa - Offset), Now, PAGE_SIZE, &Copied);
    for (SIZE_T Index = 0; Index < PAGE_SIZE; Index++)
    {
        Different += Now[Index] != (Page->Bytes != NULL ? Page->Bytes[Index] : 0);
    }
    ModelFail(
        Model,
        "process %llu has wrong contents at %p: 0x%02x, not 0x%02x; the page now: %llu bytes, %llu of them wrong, %llu zero "
        "(should be %llu); %s%s%s%sPTE 0x%llx",
        Space->Process->UniqueProcessId, (PVOID)BadVa, Seen, Page->Bytes != NULL ? Page->Bytes[Offset] : 0,
        (ULONG64)Copied, (ULONG64)Different, (ULONG64)ModelCountZeros(Now),
        (ULONG64)ModelCountZeros(Page->Bytes), Page->MayDrop ? "reset, " : "",
        Page->HasOther ? "or another, " : "", Page->Written ? "written, " : "",
        Page->Unknown ? "unknown, " : "", (ULONG64)TestPte(Space->Process, BadVa).Long);
}

VOID ModelExpect(MODEL *Model, const char *What, ULONG64 Expected, ULONG64 Actual)
{
    if (Expected != Actual)
    {
        ModelSign(What);
        ModelFail(Model, "%s is 0x%llx, not 0x%llx", What, Actual, Expected);
    }
}

/* ---- Operations ------------------------------------------------------------------------------------------------------------------- */

static ULONG ModelWeight(ULONG Kind, BOOLEAN Shared)
{
    return Shared && !ModelKinds[Kind].Shared ? 0 : ModelKinds[Kind].Weight;
}

VOID ModelGenerate(ULONG64 Seed, MODEL_OPERATION *Operations, SIZE_T Count, BOOLEAN Shared)
{
    TEST_RANDOM Random = { .State = Seed };
    ULONG Weights = 0;

    for (ULONG Kind = 0; ModelKinds[Kind].Name != NULL; Kind++)
    {
        Weights += ModelWeight(Kind, Shared);
    }
    for (SIZE_T Index = 0; Index < Count; Index++)
    {
        ULONG64 Draw = TestBelow(&Random, Weights);
        ULONG Kind = 0;

        while (Draw >= ModelWeight(Kind, Shared))
        {
            Draw -= ModelWeight(Kind, Shared);
            Kind++;
        }
        Operations[Index].Kind = Kind;
        Operations[Index].Seed = TestDraw(&Random);
    }
}

VOID ModelRunOperation(MODEL *Model, const MODEL_OPERATION *Operation, ULONG64 Number)
{
    TEST_RANDOM Random = { .State = Operation->Seed };

    Model->Number = Number;
    ModelKinds[Operation->Kind].Routine(Model, &Random);
    MiCheckPhysical(1); /* nothing ever passes the commit limit */
}

/* ---- Picking ------------------------------------------------------------------------------------------------------------------------ */

MODEL_SPACE *ModelPickSpace(MODEL *Model, TEST_RANDOM *Random)
{
    ULONG Slot = (ULONG)TestBelow(Random, MODEL_SPACES);

    while (Model->Space[Slot] == NULL)
    {
        Slot = (Slot + 1) % MODEL_SPACES;
    }
    return Model->Space[Slot];
}

MODEL_REGION *ModelPickRegion(MODEL_SPACE *Space, TEST_RANDOM *Random)
{
    ULONG64 Draw = TestDraw(Random);

    if (Space->Count == 0)
    {
        return NULL;
    }
    /* Half of the time one of six, so that things happen to the same pages again and again. */
    return Space->Region[(Draw & 0x10000) != 0 ? Draw % Space->Count : (Draw % 6) * 7 % Space->Count];
}

ULONG_PTR ModelPickAddress(MODEL_SPACE *Space, TEST_RANDOM *Random)
{
    MODEL_REGION *Region = ModelPickRegion(Space, Random);
    ULONG64 Way = TestBelow(Random, 32);
    ULONG_PTR Offset = TestBelow(Random, 4) == 0 ? TestBelow(Random, PAGE_SIZE) : 0;

    if (Region == NULL || Way == 0)
    {
        /* Anywhere: mostly free. */
        return Space->Low + (TestDraw(Random) % ((Space->High - Space->Low) / PAGE_SIZE)) * PAGE_SIZE +
               Offset;
    }
    if (Way == 1 && Region->Base + Region->Pages * PAGE_SIZE < Space->High)
    {
        return Region->Base + Region->Pages * PAGE_SIZE + Offset; /* just behind it */
    }
    if (Way < 10)
    {
        return Region->Base + Offset;
    }
    if (Way < 20)
    {
        return Region->Base + TestBelow(Random, Region->Pages < 5 ? Region->Pages : 5) * PAGE_SIZE + Offset;
    }
    return Region->Base + TestBelow(Random, Region->Pages) * PAGE_SIZE + Offset;
}

/* ---- Invariants --------------------------------------------------------------------------------------------------------------------- */

/* Everything that a process says about itself, against the model. */
static VOID ModelCheckCharges(MODEL *Model, MODEL_SPACE *Space)
{
    PMI_ADDRESS_SPACE Real = &Space->Process->Space;

    if (!Space->Shared)
    {
        ModelExpect(Model, "the number of reservations", Space->Count, Real->VadCount);
        ModelExpect(Model, "the commitment of the process",
                    ModelCommittedInSpace(Space) + Real->CommittedPageTables, MiSpaceCommitCharge(Real));
        ModelExpect(Model, "the number of locked pages", ModelLockedInSpace(Space), Real->Vm.LockedPages);
    }
}

static VOID ModelCheckContents(MODEL *Model, MODEL_SPACE *Space, MODEL_REGION *Region)
{
    for (SIZE_T Page = 0; Page < Region->Pages; Page++)
    {
        ULONG_PTR Va = Region->Base + Page * PAGE_SIZE;
        ULONG Protect = Region->Page[Page].Protect;
        SIZE_T Copied;
        ULONG_PTR BadVa;

        if (!Region->Page[Page].Committed || Protect == PAGE_NOACCESS || (Protect & PAGE_GUARD) != 0)
        {
            continue;
        }
        ModelExpect(Model, "the status of a look at a page", STATUS_SUCCESS,
                    (ULONG)ZwReadVirtualMemory(Space->Handle, (PVOID)Va, Model->Buffer, PAGE_SIZE, &Copied));
        if (!ModelVerify(Space, Va, PAGE_SIZE, Model->Buffer, &BadVa))
        {
            ModelFailContents(Model, Space, BadVa, Model->Buffer[BadVa - Va]);
        }
    }
}

VOID ModelTakeBaseline(MODEL *Model)
{
    Model->Baseline = MiState.Physical->CommittedPages - MiPoolPagesInUse();
}

VOID ModelCheck(MODEL *Model, BOOLEAN Pages)
{
    SIZE_T Charged = Model->Baseline;

    ModelLog(Model, "check");
    while (MiState.Ke->Deterministic && KiStepWorkers())
    {
    }
    for (ULONG Slot = 0; Slot < MODEL_SPACES; Slot++)
    {
        MODEL_SPACE *Space = Model->Space[Slot];

        if (Space == NULL)
        {
            continue;
        }
        for (ULONG Index = 0; Index < Space->Count && Pages; Index++)
        {
            ModelCheckContents(Model, Space, Space->Region[Index]);
        }
        ModelCheckCharges(Model, Space);
        if (!Model->Native)
        {
            MiCheckSpace(&Space->Process->Space, 2);
            MiCheckWorkingSet(&Space->Process->Space);
        }
    }
    for (ULONG Slot = 0; Slot < MODEL_SPACES && !Model->Native; Slot++)
    {
        Charged += Model->Space[Slot] != NULL ? MiSpaceCommitCharge(&Model->Space[Slot]->Process->Space) : 0;
    }
    ModelCheckJobs(Model);
    if (!Model->Native)
    {
        MmCheckSystem(3);
        ModelExpect(Model, "the commitment of the machine", Charged + MiPoolPagesInUse(),
                    MiState.Physical->CommittedPages);
    }
}

MODEL_MACHINE ModelLookAtMachine(const MODEL *Model)
{
    SIZE_T Maximum = MiState.Physical->CommitMaximum;
    SIZE_T Limit = __atomic_load_n(&MiState.Physical->CommitLimit, __ATOMIC_RELAXED);
    SIZE_T Charged = __atomic_load_n(&MiState.Physical->CommittedPages, __ATOMIC_RELAXED);

    return (MODEL_MACHINE){ .Room = Charged < Maximum ? Maximum - Charged : 0,
                            .RoomNow = Charged < Limit ? Limit - Charged : 0,
                            .Frames =
                                Model->Native ? 0 : MiAvailablePages() }; /* others take some meanwhile */
}

/* ---- Accesses of processes ---------------------------------------------------------------------------------------------- */

typedef struct _MODEL_NATIVE_ACCESS
{
    volatile UCHAR *Va;
    UCHAR *Bytes;
    SIZE_T Length;
    SIZE_T Pause; /* here the others get time to take the page away */
    BOOLEAN Write;
} MODEL_NATIVE_ACCESS;

/* Byte after byte, so that the first that is bad is the one in the record. */
static VOID ModelAccessByPointer(PVOID Context)
{
    const MODEL_NATIVE_ACCESS *Access = Context;

    for (SIZE_T Index = 0; Index < Access->Length; Index++)
    {
        if (Index == Access->Pause)
        {
            usleep(500);
        }
        if (Access->Write)
        {
            Access->Va[Index] = Access->Bytes[Index];
        }
        else
        {
            Access->Bytes[Index] = Access->Va[Index];
        }
    }
}

static NTSTATUS ModelAccessNatively(ULONG_PTR Va, SIZE_T Length, MI_ACCESS Access, UCHAR *Bytes,
                                    EXCEPTION_RECORD *Record)
{
    MODEL_NATIVE_ACCESS Native = { (volatile UCHAR *)Va, Bytes, Length, MAXSIZE_T, Access == MiAccessWrite };
    NTSTATUS Status;

    if (Length > 1 && Va / PAGE_SIZE % 8 == Length % 8)
    {
        Native.Pause = Length / 2;
    }
    KiCurrentThread()->CurrentMode = UserMode;
    Status = HostGuardedCall(ModelAccessByPointer, &Native, Record);
    KiCurrentThread()->CurrentMode = KernelMode;
    return Status;
}

NTSTATUS ModelAccess(MODEL_SPACE *Space, ULONG_PTR Va, SIZE_T Length, MI_ACCESS Access, UCHAR *Bytes,
                     EXCEPTION_RECORD *Record)
{
    PKTHREAD Thread = KiCurrentThread();
    KAPC_STATE State;
    NTSTATUS Status;

    if (Space->Pointers)
    {
        return ModelAccessNatively(Va, Length, Access, Bytes, Record);
    }
    KeStackAttachProcess((PRKPROCESS)(PVOID)Space->Process, &State);
    Thread->CurrentMode = UserMode;
    Status = Access == MiAccessWrite  ? HostSimWrite(Va, Bytes, Length, Record)
             : Access == MiAccessRead ? HostSimRead(Va, Bytes, Length, Record)
                                      : HostSimExecute(Va, Record);
    Thread->CurrentMode = KernelMode;
    KeUnstackDetachProcess(&State);
    return Status;
}
