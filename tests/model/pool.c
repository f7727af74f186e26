/* SPDX-License-Identifier: MIT */
/*
 * Random pool traffic against an oracle. Threads on two processors allocate, check, hand to each other and
 * free blocks of all pool types and of 0 bytes to 2 MiB, at PASSIVE_LEVEL, APC_LEVEL and DISPATCH_LEVEL, in a
 * machine with less memory than they want: so paged blocks go to the paging file meanwhile. The oracle is
 * what each thread wrote down: every byte is a function of the block's number, alignment and page rules
 * follow from size and type, and the sums of each tag must be those of the thread that alone uses it.
 * In some runs Driver Verifier and special pool are switched on, changed and off at random meanwhile. One thread alone then knows
 * for each block whether it must be special and whether it is tracked.
 */
#include "boot.h"

#include "pool/special.h"
#include "pool/verifier.h"
#include "translation/systemptes.h"

#define SLOTS  256u
#define SHARED 32u

typedef struct
{
    PUCHAR Block;
    SIZE_T Bytes;
    POOL_TYPE Type;
    ULONG Tag;
    ULONG Seed;
    ULONG64 Epoch; /* of the verifier that tracks it; 0: none */
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
    /* Switching: the code that allocates is a driver, and what is on is known when there is one thread. */
    BOOLEAN Switch;
    BOOLEAN Alone;
    EX_DRIVER *Driver;
    ULONG64 Epoch; /* a new one whenever the verifier goes off */
    BOOLEAN VerifierOn;
    EX_VERIFIER_SETTINGS Verifier;
    BOOLEAN Chosen; /* the driver, by ExVerifyDriver */
    BOOLEAN SpecialOn;
    EX_SPECIAL_POOL_SETTINGS Special;
    ULONG64 Tracked; /* blocks of this epoch */
    ULONG64 Switches;
    ULONG64 SpecialBlocks;
} MODEL;

static const POOL_TYPE Types[] = { NonPagedPoolNx,        PagedPool,
                                   NonPagedPool,          NonPagedPoolCacheAligned,
                                   PagedPoolCacheAligned, NonPagedPoolNxCacheAligned };

static BOOLEAN IsPaged(POOL_TYPE Type)
{
    return ((ULONG)Type & 1) != 0;
}

/* The calls of the driver; the empty statement keeps them from becoming jumps, which would hide who called. */
#define DRIVER __attribute__((section("driver"), noinline))

extern UCHAR DriverStart[] __asm__("__start_driver");
extern UCHAR DriverEnd[] __asm__("__stop_driver");

DRIVER static PVOID DriverAllocate(POOL_TYPE Type, SIZE_T Bytes, ULONG Tag)
{
    PVOID Block = ExAllocatePoolWithTag(Type, Bytes, Tag);

    __asm__ volatile("");
    return Block;
}

DRIVER static void DriverFree(PVOID Block, ULONG Tag)
{
    ExFreePoolWithTag(Block, Tag);
    __asm__ volatile("");
}

DRIVER static KIRQL DriverRaise(KIRQL Irql)
{
    KIRQL OldIrql;

    KeRaiseIrql(Irql, &OldIrql);
    __asm__ volatile("");
    return OldIrql;
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

    return DriverRaise(Levels[TestBelow(Random, Paged || Model->Passive ? 2 : 3)]);
}

/* ---- Switching -------------------------------------------------------------------------------------------------- */

static void SwitchVerifier(MODEL *Model, TEST_RANDOM *Random)
{
    static const ULONG Flags[] = { DRIVER_VERIFIER_SPECIAL_POOLING, DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS,
                                   DRIVER_VERIFIER_INJECT_ALLOCATION_FAILURES, EX_VERIFIER_MISCELLANEOUS,
                                   DRIVER_VERIFIER_FORCE_IRQL_CHECKING };
    EX_VERIFIER_SETTINGS Settings = { .AllDrivers = TestBelow(Random, 2) == 0,
                                      .Probability = 1 + (ULONG)TestBelow(Random, 2000),
                                      .Seed = TestDraw(Random) };
    BOOLEAN On = TestBelow(Random, 3) != 0;

    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Flags); Index++)
    {
        Settings.Flags |=
            TestBelow(Random, 2) != 0 && (Index < 4 || TestBelow(Random, 4) == 0) ? Flags[Index] : 0;
    }
    assert_int_equal(ExSetVerifier(On ? &Settings : NULL), STATUS_SUCCESS);
    if (!On)
    {
        Model->Epoch++;
        Model->Tracked = 0;
    }
    Model->VerifierOn = On;
    Model->Verifier = Settings;
}

static void SwitchSpecial(MODEL *Model, TEST_RANDOM *Random)
{
    EX_SPECIAL_POOL_SETTINGS Settings = { .Underruns = TestBelow(Random, 2) == 0,
                                          .MaximumPages = TestBelow(Random, 3) == 0 ? 20 : 0,
                                          .MaximumFreed = (ULONG)TestBelow(Random, 200) };
    BOOLEAN On = TestBelow(Random, 3) != 0;

    if (TestBelow(Random, 2) == 0)
    {
        memcpy(Settings.Tag, "Md?*", 4);
    }
    if (TestBelow(Random, 2) == 0)
    {
        Settings.MinimumBytes = TestBelow(Random, 2000);
        Settings.MaximumBytes = Settings.MinimumBytes + TestBelow(Random, PAGE_SIZE - 2000);
    }
    if (ExSetSpecialPool(On ? &Settings : NULL) == STATUS_SUCCESS)
    {
        Model->SpecialOn = On;
        Model->Special = Settings;
    }
}

static void CheckDriver(const MODEL *Model)
{
    EX_DRIVER *Driver = Model->Driver;
    KIRQL OldIrql = KiAcquireSpinLock(&ExpPool()->DriverLock);
    ULONG64 Blocks = Driver->Blocks[0] + Driver->Blocks[1];

    KiReleaseSpinLock(&ExpPool()->DriverLock, OldIrql);
    if (Model->Alone)
    {
        assert_int_equal(Blocks, Model->Tracked);
    }
}

/* Several threads may switch at once: what they note then is nobody's oracle, so only one notes it at a time. */
static void SwitchAtRandom(MODEL *Model, TEST_RANDOM *Random)
{
    MODEL Scratch = { .Driver = Model->Driver };
    MODEL *Noted = Model->Alone ? Model : &Scratch;
    ULONG64 What = TestBelow(Random, 5);

    CheckDriver(Model);
    __atomic_fetch_add(&Model->Switches, 1, __ATOMIC_RELAXED);
    if (What < 2)
    {
        SwitchVerifier(Noted, Random);
    }
    else if (What < 4)
    {
        SwitchSpecial(Noted, Random);
    }
    else
    {
        Noted->Chosen = TestBelow(Random, 2) == 0;
        ExVerifyDriver(Model->Driver, Noted->Chosen);
    }
}

static BOOLEAN IsVerified(const MODEL *Model)
{
    return Model->VerifierOn && (Model->Verifier.AllDrivers || Model->Chosen);
}

static BOOLEAN IsOfSpecialSize(const MODEL *Model, SIZE_T Bytes)
{
    return Model->SpecialOn && Model->Special.MaximumBytes != 0 && Bytes >= Model->Special.MinimumBytes &&
           Bytes <= Model->Special.MaximumBytes;
}

/* What the settings say about a block that was just allocated, when nobody else can have changed them. */
static void CheckWatched(MODEL *Model, MODEL_BLOCK *Entry, const EX_SPECIAL_POOL_COUNTERS *Before,
                         ULONG64 Untracked)
{
    EX_SPECIAL_POOL_COUNTERS After;
    EX_VERIFIER_COUNTERS Counters;
    SIZE_T Bytes = Entry->Bytes != 0 ? Entry->Bytes : 1;
    BOOLEAN Special = ExpIsSpecialBlock(Entry->Block);
    ULONG Flags = IsVerified(Model) ? Model->Verifier.Flags : 0;
    BOOLEAN Tracks = (Flags & DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS) != 0;
    BOOLEAN Wanted = Bytes <= PAGE_SIZE &&
                     ((Model->SpecialOn && Model->Special.Tag[0] != 0) || IsOfSpecialSize(Model, Bytes) ||
                      (Flags & DRIVER_VERIFIER_SPECIAL_POOLING) != 0);
    /* The verifier's record of the block is a block, too. */
    BOOLEAN RecordWanted = Tracks && IsOfSpecialSize(Model, sizeof(EX_TRACKED));

    ExQuerySpecialPool(&After);
    Model->SpecialBlocks += Special;
    assert_int_equal(After.Allocations - Before->Allocations + After.Fallbacks - Before->Fallbacks,
                     Wanted + RecordWanted);
    assert_true(Wanted || !Special);
    assert_true(!Wanted || Special || After.Fallbacks != Before->Fallbacks);
    if (Special && Model->SpecialOn)
    {
        SIZE_T Alignment = ((ULONG)Entry->Type & 4) != 0 ? 64 : 16;

        assert_int_equal(BYTE_OFFSET(Entry->Block),
                         Model->Special.Underruns ? 0 : (PAGE_SIZE - Bytes) & ~(Alignment - 1));
    }
    ExQueryVerifier(&Flags, &Counters);
    if (Tracks && Counters.UnTrackedPool == Untracked)
    {
        Entry->Epoch = Model->Epoch;
        Model->Tracked++;
    }
}

static void AllocateOne(MODEL *Model, TEST_RANDOM *Random, ULONG Index, MODEL_BLOCK *Entry)
{
    BOOLEAN Zero = TestBelow(Random, 4) == 0;
    EX_SPECIAL_POOL_COUNTERS Before;
    EX_VERIFIER_COUNTERS Counters = { 0 };
    ULONG Flags;
    KIRQL OldIrql;

    Entry->Epoch = 0;
    Entry->Bytes = DrawSize(Random);
    if (Model->Switch && Entry->Bytes == 0)
    {
        Entry->Bytes = 1; /* a verified driver must not ask for nothing */
    }
    ExQuerySpecialPool(&Before);
    ExQueryVerifier(&Flags, &Counters);
    Entry->Type = Types[TestBelow(Random, RTL_NUMBER_OF(Types))];
    Entry->Tag = MI_TAG('M', 'd', 'l', '0' + Index);
    Entry->Seed = (ULONG)TestDraw(Random);
    OldIrql = RaiseAtRandom(Model, Random, IsPaged(Entry->Type));
    Entry->Block = DriverAllocate((POOL_TYPE)((ULONG)Entry->Type | (Zero ? POOL_ZERO_ALLOCATION : 0)),
                                  Entry->Bytes, Entry->Tag);
    KeLowerIrql(OldIrql);
    if (Entry->Block == NULL)
    {
        __atomic_fetch_add(&Model->Refused, 1, __ATOMIC_RELAXED);
        return;
    }
    __atomic_fetch_add(&Model->Allocs[Index], 1, __ATOMIC_RELAXED);
    CheckAddress(Entry);
    if (Model->Alone)
    {
        CheckWatched(Model, Entry, &Before, Counters.UnTrackedPool);
    }
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
    DriverFree(Entry->Block, Entry->Tag);
    KeLowerIrql(OldIrql);
    if (Model->Alone && Entry->Epoch == Model->Epoch)
    {
        Model->Tracked--;
    }
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

        if (Model->Switch && TestBelow(&Random, 150) == 0)
        {
            SwitchAtRandom(Model, &Random);
        }
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

static void RunMachine(const TEST_MACHINE *Machine, ULONG Threads, ULONG64 Steps, BOOLEAN Switch,
                       const char *Name)
{
    static MODEL Model;
    TEST_RANDOM Random = TestSeed(Name);

    TestBootMachine(Machine);
    memset(&Model, 0, sizeof(Model));
    Model.Seed = Random.State;
    Model.Steps = TestIterations(Steps);
    Model.Switch = Switch;
    Model.Alone = Switch && Threads == 1;
    Model.Epoch = 1;
    if (Switch)
    {
        assert_int_equal(
            ExRegisterDriver("model", DriverStart, (SIZE_T)(DriverEnd - DriverStart), &Model.Driver),
            STATUS_SUCCESS);
    }
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
    if (Switch)
    {
        print_message("%llu switches, %llu special blocks\n", Model.Switches, Model.SpecialBlocks);
        assert_int_equal(Model.Driver->Blocks[0] + Model.Driver->Blocks[1], 0);
        assert_int_equal(ExSetVerifier(NULL), STATUS_SUCCESS);
        assert_int_equal(ExSetSpecialPool(NULL), STATUS_SUCCESS);
        ExUnregisterDriver(Model.Driver);
    }
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
    RunMachine(&Machine, 1, 20000, FALSE, "pool, one thread");
}

static void traffic_of_two_processors_is_as_the_oracle_says(void **State)
{
    static const TEST_MACHINE Machine = { .RamMegabytes = 64, .Processors = 2 };

    (void)State;
    RunMachine(&Machine, 2, 15000, FALSE, "pool, two processors");
}

static void traffic_under_pressure_is_as_the_oracle_says(void **State)
{
    static const TEST_MACHINE Machine = {
        .RamMegabytes = 8, .Processors = 2, .PagingFiles = 1, .PagingMegabytes = 64, .Workers = TRUE
    };

    (void)State;
    RunMachine(&Machine, 4, 6000, FALSE, "pool, four threads under pressure");
}

static void one_thread_knows_what_is_watched(void **State)
{
    static const TEST_MACHINE Machine = { .RamMegabytes = 64, .Deterministic = TRUE, .Seed = 7 };

    (void)State;
    RunMachine(&Machine, 1, 12000, TRUE, "pool, one thread, watched");
}

static void watching_is_switched_under_traffic(void **State)
{
    static const TEST_MACHINE Machine = { .RamMegabytes = 64, .Processors = 2 };

    (void)State;
    RunMachine(&Machine, 3, 4000, TRUE, "pool, three threads, watched");
}

static void watching_is_switched_under_pressure(void **State)
{
    static const TEST_MACHINE Machine = {
        .RamMegabytes = 8, .Processors = 2, .PagingFiles = 1, .PagingMegabytes = 64, .Workers = TRUE
    };

    (void)State;
    RunMachine(&Machine, 3, 2500, TRUE, "pool, three threads under pressure, watched");
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(traffic_of_one_thread_is_as_the_oracle_says),
        cmocka_unit_test(traffic_of_two_processors_is_as_the_oracle_says),
        cmocka_unit_test(traffic_under_pressure_is_as_the_oracle_says),
        cmocka_unit_test(one_thread_knows_what_is_watched),
        cmocka_unit_test(watching_is_switched_under_traffic),
        cmocka_unit_test(watching_is_switched_under_pressure),
    };
    return cmocka_run_group_tests(Tests, NULL, NULL);
}
