/* SPDX-License-Identifier: MIT */
/*
 * Random pool traffic against an oracle. Threads on two processors allocate, check, hand to each other and
 * free blocks of all pool types and of 0 bytes to 2 MiB, at PASSIVE_LEVEL, APC_LEVEL and DISPATCH_LEVEL, in a
 * machine with less memory than they want: so paged blocks go to the paging file meanwhile. The oracle is
 * what each thread wrote down: every byte is a function of the block's number, alignment and page rules
 * follow from size and type, and the sums of each tag must be those of the thread that alone uses it.
 */
#include "boot.h"

#include "pool/expool.h"

#define SLOTS  256u
#define SHARED 32u

typedef struct
{
    PUCHAR Block;
    SIZE_T Bytes;
    POOL_TYPE Type;
    ULONG Tag;
    ULONG Seed;
} MODEL_BLOCK;

typedef struct
{
    KSPIN_LOCK Lock;
    MODEL_BLOCK Blocks[SHARED]; /* handed from thread to thread */
    ULONG64 Allocs[4];          /* by the tag's thread */
    ULONG64 Frees[4];
    ULONG64 Refused;
    ULONG64 Steps;
    ULONG64 Seed;
    BOOLEAN Passive; /* never above APC_LEVEL */
} MODEL;

static const POOL_TYPE Types[] = { NonPagedPoolNx,        PagedPool,
                                   NonPagedPool,          NonPagedPoolCacheAligned,
                                   PagedPoolCacheAligned, NonPagedPoolNxCacheAligned };

static BOOLEAN IsPaged(POOL_TYPE Type)
{
    return ((ULONG)Type & 1) != 0;
}

/* Mostly small, some of whole pages, a few large. */
static SIZE_T DrawSize(TEST_RANDOM *Random)
{
    ULONG64 Kind = TestBelow(Random, 100);

    if (Kind < 60)
    {
        return TestBelow(Random, 300);
    }
    if (Kind < 90)
    {
        return TestBelow(Random, 4200);
    }
    return Kind < 99 ? TestBelow(Random, 40000) : TestBelow(Random, 2u << 20);
}

/* Every 64th byte, the first and the last ones: enough to see a page that is not its own. */
static void Fill(const MODEL_BLOCK *Entry, BOOLEAN Write)
{
    for (SIZE_T Byte = 0; Byte < Entry->Bytes; Byte += Byte + 64 < Entry->Bytes && Byte > 64 ? 64 : 1)
    {
        UCHAR Value = (UCHAR)(Entry->Seed + Byte * 7 + (Byte >> 12));

        if (Write)
        {
            Entry->Block[Byte] = Value;
        }
        else if (Entry->Block[Byte] != Value)
        {
            fail_msg("byte %llu of the block of %llu bytes at %p (type %x) is %02x instead of %02x",
                     (ULONG64)Byte, (ULONG64)Entry->Bytes, (void *)Entry->Block, (unsigned)Entry->Type,
                     Entry->Block[Byte], Value);
        }
    }
}

static void CheckAddress(const MODEL_BLOCK *Entry)
{
    ULONG_PTR Va = (ULONG_PTR)Entry->Block;

    assert_int_equal(Va & 15, 0);
    if (((ULONG)Entry->Type & 4) != 0)
    {
        assert_int_equal(Va & 63, 0);
    }
    if (Entry->Bytes >= PAGE_SIZE)
    {
        assert_int_equal(Va & (PAGE_SIZE - 1), 0);
    }
    else if (Entry->Bytes != 0)
    {
        assert_int_equal(Va >> PAGE_SHIFT, (Va + Entry->Bytes - 1) >> PAGE_SHIFT);
    }
}

static KIRQL RaiseAtRandom(const MODEL *Model, TEST_RANDOM *Random, BOOLEAN Paged)
{
    static const KIRQL Levels[] = { PASSIVE_LEVEL, APC_LEVEL, DISPATCH_LEVEL };
    KIRQL OldIrql;

    KeRaiseIrql(Levels[TestBelow(Random, Paged || Model->Passive ? 2 : 3)], &OldIrql);
    return OldIrql;
}

static void AllocateOne(MODEL *Model, TEST_RANDOM *Random, ULONG Index, MODEL_BLOCK *Entry)
{
    BOOLEAN Zero = TestBelow(Random, 4) == 0;
    KIRQL OldIrql;

    Entry->Bytes = DrawSize(Random);
    Entry->Type = Types[TestBelow(Random, RTL_NUMBER_OF(Types))];
    Entry->Tag = MI_TAG('M', 'd', 'l', '0' + Index);
    Entry->Seed = (ULONG)TestDraw(Random);
    OldIrql = RaiseAtRandom(Model, Random, IsPaged(Entry->Type));
    Entry->Block = ExAllocatePoolWithTag((POOL_TYPE)((ULONG)Entry->Type | (Zero ? POOL_ZERO_ALLOCATION : 0)),
                                         Entry->Bytes, Entry->Tag);
    KeLowerIrql(OldIrql);
    if (Entry->Block == NULL)
    {
        __atomic_fetch_add(&Model->Refused, 1, __ATOMIC_RELAXED);
        return;
    }
    __atomic_fetch_add(&Model->Allocs[Index], 1, __ATOMIC_RELAXED);
    CheckAddress(Entry);
    for (SIZE_T Byte = 0; Zero && Byte < Entry->Bytes; Byte += 61)
    {
        assert_int_equal(Entry->Block[Byte], 0);
    }
    Fill(Entry, TRUE);
}

static void FreeOne(MODEL *Model, TEST_RANDOM *Random, MODEL_BLOCK *Entry)
{
    KIRQL OldIrql;

    if (Entry->Block == NULL)
    {
        return;
    }
    Fill(Entry, FALSE);
    OldIrql = RaiseAtRandom(Model, Random, IsPaged(Entry->Type));
    ExFreePoolWithTag(Entry->Block, Entry->Tag);
    KeLowerIrql(OldIrql);
    __atomic_fetch_add(&Model->Frees[(Entry->Tag >> 24) - '0'], 1, __ATOMIC_RELAXED);
    Entry->Block = NULL;
}

/* What another thread allocated becomes ours, and ours its. */
static void Exchange(MODEL *Model, TEST_RANDOM *Random, MODEL_BLOCK *Entry)
{
    MODEL_BLOCK *Shared = &Model->Blocks[TestBelow(Random, SHARED)];
    KIRQL OldIrql = KiAcquireSpinLock(&Model->Lock);
    MODEL_BLOCK Mine = *Entry;

    *Entry = *Shared;
    *Shared = Mine;
    KiReleaseSpinLock(&Model->Lock, OldIrql);
}

static void RunModel(ULONG Index, void *Context)
{
    MODEL *Model = Context;
    TEST_RANDOM Random = { .State = Model->Seed * 31 + Index };
    MODEL_BLOCK *Blocks = calloc(SLOTS, sizeof(*Blocks));

    assert_non_null(Blocks);
    for (ULONG64 Step = 0; Step < Model->Steps; Step++)
    {
        MODEL_BLOCK *Entry = &Blocks[TestBelow(&Random, SLOTS)];
        ULONG64 What = TestBelow(&Random, 16);

        if (What == 0)
        {
            Exchange(Model, &Random, Entry);
        }
        else if (Entry->Block == NULL)
        {
            AllocateOne(Model, &Random, Index, Entry);
        }
        else if (What < 3)
        {
            Fill(Entry, FALSE);
        }
        else
        {
            FreeOne(Model, &Random, Entry);
        }
    }
    for (ULONG Slot = 0; Slot < SLOTS; Slot++)
    {
        FreeOne(Model, &Random, &Blocks[Slot]);
    }
    free(Blocks);
}

static void CheckSums(MODEL *Model, ULONG Threads)
{
    for (ULONG Index = 0; Index < Threads; Index++)
    {
        SYSTEM_POOLTAG Sums;

        assert_true(ExQueryPoolTag(MI_TAG('M', 'd', 'l', '0' + Index), &Sums));
        assert_int_equal(Sums.NonPagedAllocs + Sums.PagedAllocs, Model->Allocs[Index]);
        assert_int_equal(Sums.NonPagedFrees + Sums.PagedFrees, Model->Frees[Index]);
        assert_int_equal(Model->Allocs[Index], Model->Frees[Index]);
        assert_int_equal(Sums.NonPagedUsed, 0);
        assert_int_equal(Sums.PagedUsed, 0);
    }
}

static void RunMachine(const TEST_MACHINE *Machine, ULONG Threads, ULONG64 Steps, const char *Name)
{
    static MODEL Model;
    TEST_RANDOM Random = TestSeed(Name);

    TestBootMachine(Machine);
    memset(&Model, 0, sizeof(Model));
    Model.Seed = Random.State;
    Model.Steps = TestIterations(Steps);
    if (Machine->Deterministic)
    {
        RunModel(0, &Model);
    }
    else
    {
        TestRunThreads(Threads, RunModel, &Model);
    }
    for (ULONG Slot = 0; Slot < SHARED; Slot++)
    {
        FreeOne(&Model, &Random, &Model.Blocks[Slot]);
    }
    print_message("%llu blocks, %llu refused, %llu hard faults on paged pool\n",
                  Model.Allocs[0] + Model.Allocs[1], Model.Refused,
                  MiSpaceHardFaultCount(&MiState.Space->System));
    assert_true(Model.Allocs[0] > Model.Refused);
    CheckSums(&Model, Threads);
    MiTrimPool();
    MiCheckPool();
    TestStopWorkers();
    MiTrimPool();
    TestShutdownMachine();
}

static void traffic_of_one_thread_is_as_the_oracle_says(void **State)
{
    static const TEST_MACHINE Machine = { .RamMegabytes = 64, .Deterministic = TRUE, .Seed = 7 };

    (void)State;
    RunMachine(&Machine, 1, 20000, "pool, one thread");
}

static void traffic_of_two_processors_is_as_the_oracle_says(void **State)
{
    static const TEST_MACHINE Machine = { .RamMegabytes = 64, .Processors = 2 };

    (void)State;
    RunMachine(&Machine, 2, 15000, "pool, two processors");
}

static void traffic_under_pressure_is_as_the_oracle_says(void **State)
{
    static const TEST_MACHINE Machine = {
        .RamMegabytes = 8, .Processors = 2, .PagingFiles = 1, .PagingMegabytes = 64, .Workers = TRUE
    };

    (void)State;
    RunMachine(&Machine, 4, 6000, "pool, four threads under pressure");
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(traffic_of_one_thread_is_as_the_oracle_says),
        cmocka_unit_test(traffic_of_two_processors_is_as_the_oracle_says),
        cmocka_unit_test(traffic_under_pressure_is_as_the_oracle_says),
    };
    return cmocka_run_group_tests(Tests, NULL, NULL);
}
