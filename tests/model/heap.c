/* SPDX-License-Identifier: MIT */
/*
 * Heaps of an NT process against an oracle: random calls on heaps of all kinds in a machine whose memory they exceed, the contents of every
 * block, the walk against the table, validation; once more while every few commitment charges fail; and a fixed story in which the
 * n-th charge fails, for n = 1, 2, ... until none does. NTMM_SEED repeats a run.
 */
#include "../native/native_test.h"

#include <time.h>

#include "ke/ke.h"
#include "nt/heap.h"
#include "nt/peb.h"

#define SLOTS 500u

typedef struct _BLOCK
{
    PUCHAR Address; /* NULL: none */
    SIZE_T Size;
    UCHAR Fill;
    ULONG_PTR Value; /* user value; 0: it has none */
} BLOCK;

typedef struct _MODEL
{
    ULONG64 Random;
    PVOID Heap;
    SIZE_T Largest; /* request; 0: as programs ask */
    ULONG Steps;
    BOOLEAN MayFail;
    ULONG Flags; /* of RtlCreateHeap */
    SIZE_T Reserve;
    BOOLEAN PageHeap;
    ULONG Failures; /* calls that failed */
    BLOCK Blocks[SLOTS];
} MODEL;

#define CHECK(Condition)                                                                                     \
    do                                                                                                       \
    {                                                                                                        \
        if (!(Condition))                                                                                    \
        {                                                                                                    \
            return (NTSTATUS)__LINE__;                                                                       \
        }                                                                                                    \
    } while (0)

#define TRY(Expression)                                                                                      \
    do                                                                                                       \
    {                                                                                                        \
        NTSTATUS Line = (Expression);                                                                        \
        if (Line != STATUS_SUCCESS)                                                                          \
        {                                                                                                    \
            return Line;                                                                                     \
        }                                                                                                    \
    } while (0)

static ULONG64 Draw(MODEL *Model, ULONG64 Bound)
{
    Model->Random = Model->Random * 6364136223846793005ull + 1442695040888963407ull;
    return (Model->Random >> 24) % Bound;
}

static SIZE_T DrawSize(MODEL *Model)
{
    const ULONG64 Kind = Draw(Model, 1000);

    if (Model->Largest != 0)
    {
        return (SIZE_T)Draw(Model, Model->Largest);
    }
    return (SIZE_T)Draw(Model, Kind < 700 ? 300 : Kind < 950 ? 5000 : Kind < 998 ? 120000 : 1500000);
}

static BOOLEAN IsFilled(const UCHAR *From, SIZE_T Size, UCHAR Fill)
{
    return Size == 0 || (From[0] == Fill && memcmp(From, From + 1, Size - 1) == 0);
}

static NTSTATUS AllocateStep(MODEL *Model, BLOCK *Block)
{
    const BOOLEAN Zero = Draw(Model, 3) == 0;
    const BOOLEAN Value = Draw(Model, 5) == 0;
    const SIZE_T Size = DrawSize(Model);

    Block->Address = RtlAllocateHeap(
        Model->Heap, (Zero ? HEAP_ZERO_MEMORY : 0) | (Value ? HEAP_SETTABLE_USER_VALUE : 0), Size);
    if (Block->Address == NULL)
    {
        Model->Failures++;
        CHECK(Model->MayFail);
        return STATUS_SUCCESS;
    }
    Block->Size = Size;
    Block->Value = Value ? (ULONG_PTR)Draw(Model, MAXULONG) + 1 : 0;
    Block->Fill = (UCHAR)Draw(Model, 256);
    CHECK(((ULONG_PTR)Block->Address & 15) == 0 && (!Zero || IsFilled(Block->Address, Size, 0)));
    CHECK(!Value || RtlSetUserValueHeap(Model->Heap, 0, Block->Address, (PVOID)Block->Value));
    memset(Block->Address, Block->Fill, Size);
    return STATUS_SUCCESS;
}

static NTSTATUS CheckBlock(MODEL *Model, const BLOCK *Block)
{
    PVOID Value = NULL;

    CHECK(RtlSizeHeap(Model->Heap, 0, Block->Address) == Block->Size);
    CHECK(IsFilled(Block->Address, Block->Size, Block->Fill));
    CHECK(RtlGetUserInfoHeap(Model->Heap, 0, Block->Address, &Value, NULL) &&
          (ULONG_PTR)Value == Block->Value);
    return STATUS_SUCCESS;
}

static NTSTATUS ReallocateStep(MODEL *Model, BLOCK *Block)
{
    const SIZE_T Size = DrawSize(Model);
    const BOOLEAN InPlace = Draw(Model, 4) == 0;
    PUCHAR New =
        RtlReAllocateHeap(Model->Heap, InPlace ? HEAP_REALLOC_IN_PLACE_ONLY : 0, Block->Address, Size);

    if (New == NULL)
    {
        Model->Failures += !InPlace;
        CHECK(InPlace || Model->MayFail);
        return CheckBlock(Model, Block);
    }
    CHECK(!InPlace || New == Block->Address);
    CHECK(IsFilled(New, Size < Block->Size ? Size : Block->Size, Block->Fill));
    Block->Address = New;
    Block->Size = Size;
    memset(New, Block->Fill, Size);
    return CheckBlock(Model, Block);
}

static NTSTATUS FreeStep(MODEL *Model, BLOCK *Block)
{
    TRY(CheckBlock(Model, Block));
    CHECK(RtlFreeHeap(Model->Heap, 0, Block->Address));
    Block->Address = NULL;
    return STATUS_SUCCESS;
}

/* Every block of the table is in the walk, and nothing else; regions hold what is in them. */
static NTSTATUS CompareWithWalk(MODEL *Model)
{
    RTL_HEAP_WALK_ENTRY Entry = { .DataAddress = NULL };
    ULONG Busy = 0, Live = 0;
    SIZE_T Bytes = 0, LiveBytes = 0;
    NTSTATUS Status;

    CHECK(RtlValidateHeap(Model->Heap, 0, NULL));
    while ((Status = RtlWalkHeap(Model->Heap, &Entry)) == STATUS_SUCCESS)
    {
        if ((Entry.Flags & RTL_HEAP_BUSY) != 0)
        {
            Busy++;
            Bytes += Entry.DataSize;
        }
    }
    CHECK(Status == STATUS_NO_MORE_ENTRIES);
    for (ULONG Index = 0; Index < SLOTS; Index++)
    {
        if (Model->Blocks[Index].Address != NULL)
        {
            Live++;
            LiveBytes += Model->Blocks[Index].Size;
            CHECK(RtlValidateHeap(Model->Heap, 0, Model->Blocks[Index].Address));
        }
    }
    CHECK(Busy == Live && Bytes == LiveBytes);
    return STATUS_SUCCESS;
}

static NTSTATUS Step(MODEL *Model)
{
    BLOCK *Block = &Model->Blocks[Draw(Model, SLOTS)];

    if (Block->Address == NULL)
    {
        return AllocateStep(Model, Block);
    }
    return Draw(Model, 3) == 0 ? ReallocateStep(Model, Block) : FreeStep(Model, Block);
}

static NTSTATUS EmptyAndDestroy(MODEL *Model)
{
    for (ULONG Index = 0; Index < SLOTS; Index++)
    {
        if (Model->Blocks[Index].Address != NULL)
        {
            TRY(FreeStep(Model, &Model->Blocks[Index]));
        }
    }
    TRY(CompareWithWalk(Model));
    CHECK(RtlDestroyHeap(Model->Heap) == NULL);
    return STATUS_SUCCESS;
}

static NTSTATUS ModelMain(PVOID Context)
{
    MODEL *Model = Context;

    if (Model->PageHeap)
    {
        RtlGetCurrentPeb()->NtGlobalFlag |= FLG_HEAP_PAGE_ALLOCS;
    }
    Model->Heap = RtlCreateHeap(Model->Flags, NULL, Model->Reserve, 0, NULL, NULL);
    CHECK(Model->Heap != NULL);
    for (ULONG Number = 0; Number < Model->Steps; Number++)
    {
        if (Model->MayFail && Model->Reserve == 0 && Draw(Model, 20) == 0)
        {
            (VOID) RtlCompactHeap(Model->Heap, 0); /* what was given back must be committed again */
            KiSetInjection(KiInjectCommit, 1 + Draw(Model, 2), TRUE);
        }
        TRY(Step(Model));
        KiSetInjection(KiInjectCommit, 0, FALSE);
        if (Number % 1000 == 999)
        {
            if (Draw(Model, 4) == 0)
            {
                (VOID) RtlCompactHeap(Model->Heap, 0);
            }
            TRY(CompareWithWalk(Model));
        }
    }
    return EmptyAndDestroy(Model);
}

static ULONG64 Seed(void)
{
    const char *Text = getenv("NTMM_SEED");
    const ULONG64 Value = Text != NULL ? strtoull(Text, NULL, 0) : (ULONG64)time(NULL) * 1000003u;

    print_message("NTMM_SEED=%llu\n", (unsigned long long)Value);
    return Value;
}

static ULONG Steps(ULONG Usual)
{
    const char *Text = getenv("NTMM_ITERATIONS");

    return Text != NULL ? (ULONG)strtoul(Text, NULL, 0) : Usual;
}

static void RunModel(MODEL *Model)
{
    NTSTATUS ExitStatus = STATUS_PENDING;
    PEPROCESS Process;

    Model->Random = Seed();
    NativeBoot(16, 1, 128);
    Process = NativeProcess("model");
    assert_int_equal(NtmmRun(Process, ModelMain, Model, &ExitStatus), STATUS_SUCCESS);
    assert_int_equal(ExitStatus, STATUS_SUCCESS);
    NtmmCloseProcess(Process);
    NativeShutdown();
}

static void a_growable_heap_agrees_with_the_oracle(void **state)
{
    static MODEL Model = { .Flags = HEAP_GROWABLE };

    (void)state;
    Model.Steps = Steps(30000);
    RunModel(&Model);
}

static void a_checked_heap_agrees_with_the_oracle(void **state)
{
    static MODEL Model = { .Flags = HEAP_GROWABLE | HEAP_TAIL_CHECKING_ENABLED | HEAP_FREE_CHECKING_ENABLED |
                                    HEAP_NO_SERIALIZE };

    (void)state;
    Model.Steps = Steps(20000);
    RunModel(&Model);
}

static void a_heap_of_fixed_size_agrees_with_the_oracle(void **state)
{
    static MODEL Model = { .Reserve = 512 * 1024, .MayFail = TRUE, .Largest = 6000 };

    (void)state;
    Model.Steps = Steps(20000);
    RunModel(&Model);
    assert_true(Model.Failures != 0);
}

static void a_page_heap_agrees_with_the_oracle(void **state)
{
    static MODEL Model = { .Flags = HEAP_GROWABLE, .PageHeap = TRUE };

    (void)state;
    Model.Steps = Steps(3000);
    RunModel(&Model);
}

static void a_checked_page_heap_agrees_with_the_oracle(void **state)
{
    static MODEL Model = { .Flags = HEAP_GROWABLE | HEAP_TAIL_CHECKING_ENABLED | HEAP_FREE_CHECKING_ENABLED,
                           .PageHeap = TRUE };

    (void)state;
    Model.Steps = Steps(3000);
    RunModel(&Model);
}

static void failing_charges_change_nothing(void **state)
{
    static MODEL Model = { .Flags = HEAP_GROWABLE, .MayFail = TRUE };

    (void)state;
    Model.Steps = Steps(30000);
    RunModel(&Model);
    assert_true(Model.Failures != 0);
}

/* ---- Every charge ------------------------------------------------------------------------------------------------------- */

/* The story runs once for each charge: it writes the ends of blocks, as every page costs a fault. */
#define END 40u

static VOID FillEnds(PUCHAR Block, SIZE_T Size, UCHAR Fill)
{
    memset(Block, Fill, END);
    memset(Block + Size - END, Fill, END);
}

static BOOLEAN AreEndsFilled(const UCHAR *Block, SIZE_T Size, UCHAR Fill)
{
    return IsFilled(Block, END, Fill) && IsFilled(Block + Size - END, END, Fill);
}

/* From the n-th charge on all fail, until a call has failed: the kernel itself tries some charges twice. */
typedef struct _STORY
{
    ULONG Failed; /* calls */
    ULONG64 Refused;
} STORY;

static VOID Failed(STORY *Story)
{
    ULONG64 Refused;

    (void)KiQueryInjection(KiInjectCommit, &Refused);
    KiSetInjection(KiInjectCommit, 0, FALSE);
    Story->Failed++;
    Story->Refused += Refused;
}

static PVOID Again(STORY *Story, PVOID Heap, PVOID Block, SIZE_T Size)
{
    PVOID Result = Block == NULL ? RtlAllocateHeap(Heap, 0, Size) : RtlReAllocateHeap(Heap, 0, Block, Size);

    if (Result == NULL)
    {
        Failed(Story);
        Result = Block == NULL ? RtlAllocateHeap(Heap, 0, Size) : RtlReAllocateHeap(Heap, 0, Block, Size);
    }
    return Result;
}

static PVOID CreateAgain(STORY *Story, ULONG Flags, SIZE_T Reserve)
{
    PVOID Heap = RtlCreateHeap(Flags, NULL, Reserve, 0, NULL, NULL);

    if (Heap == NULL)
    {
        Failed(Story);
        Heap = RtlCreateHeap(Flags, NULL, Reserve, 0, NULL, NULL);
    }
    return Heap;
}

static NTSTATUS StoryMain(PVOID Context)
{
    STORY *Story = Context;
    PUCHAR Blocks[60];
    PVOID Heap, Fixed;

    Heap = RtlProcessHeap();
    if (Heap == NULL)
    {
        Failed(Story);
        Heap = RtlProcessHeap();
    }
    CHECK(Heap != NULL && RtlGetCurrentPeb()->ProcessHeap == Heap);
    Fixed = CreateAgain(Story, 0, 0x40000);
    CHECK(Fixed != NULL);
    for (ULONG Index = 0; Index < 60; Index++)
    {
        Blocks[Index] = Again(Story, Heap, NULL, 40 + 1500 * (SIZE_T)Index);
        CHECK(Blocks[Index] != NULL);
        FillEnds(Blocks[Index], 40 + 1500 * (SIZE_T)Index, (UCHAR)Index);
        CHECK(Index % 4 != 0 || Again(Story, Fixed, NULL, 9000) != NULL);
    }
    for (ULONG Index = 0; Index < 60; Index += 3)
    {
        Blocks[Index] = Again(Story, Heap, Blocks[Index], 100000);
        CHECK(Blocks[Index] != NULL && AreEndsFilled(Blocks[Index], 40 + 1500 * (SIZE_T)Index, (UCHAR)Index));
        FillEnds(Blocks[Index], 100000, (UCHAR)Index);
    }
    CHECK(RtlValidateHeap(Heap, 0, NULL) && RtlValidateHeap(Fixed, 0, NULL));
    for (ULONG Index = 0; Index < 60; Index++)
    {
        CHECK(
            AreEndsFilled(Blocks[Index], Index % 3 == 0 ? 100000 : 40 + 1500 * (SIZE_T)Index, (UCHAR)Index));
        CHECK(RtlFreeHeap(Heap, 0, Blocks[Index]));
    }
    Blocks[0] = Again(Story, Heap, NULL, 3 * MIB);
    CHECK(Blocks[0] != NULL); /* also where no new region can be had: in what the small blocks left */
    FillEnds(Blocks[0], 3 * MIB, 7);
    CHECK(AreEndsFilled(Blocks[0], 3 * MIB, 7));
    CHECK(RtlDestroyHeap(Fixed) == NULL && RtlValidateHeap(Heap, 0, NULL));
    return STATUS_SUCCESS;
}

static void every_charge_may_fail(void **state)
{
    ULONG64 Refused = 1;
    ULONG Calls = 0;
    ULONG Nth;

    (void)state;
    NativeBoot(32, 1, 64);
    for (Nth = 1; Refused != 0; Nth++)
    {
        STORY Story = { 0 };
        NTSTATUS ExitStatus = STATUS_PENDING;
        PEPROCESS Process = NativeProcess("story");

        KiSetInjection(KiInjectCommit, Nth, TRUE);
        assert_int_equal(NtmmRun(Process, StoryMain, &Story, &ExitStatus), STATUS_SUCCESS);
        if (ExitStatus != STATUS_SUCCESS)
        {
            print_message("charge %u\n", Nth);
        }
        assert_int_equal(ExitStatus, STATUS_SUCCESS);
        (void)KiQueryInjection(KiInjectCommit, &Refused);
        KiSetInjection(KiInjectCommit, 0, FALSE);
        Refused += Story.Refused;
        Calls += Story.Failed;
        assert_true(Story.Failed <= 1);
        NtmmCloseProcess(Process);
    }
    print_message("%u charges, %u calls failed\n", Nth - 2, Calls);
    assert_true(Nth > 20 && Calls > 20);
    NativeShutdown();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_growable_heap_agrees_with_the_oracle),
        cmocka_unit_test(a_checked_heap_agrees_with_the_oracle),
        cmocka_unit_test(a_heap_of_fixed_size_agrees_with_the_oracle),
        cmocka_unit_test(a_page_heap_agrees_with_the_oracle),
        cmocka_unit_test(a_checked_page_heap_agrees_with_the_oracle),
        cmocka_unit_test(failing_charges_change_nothing),
        cmocka_unit_test(every_charge_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
