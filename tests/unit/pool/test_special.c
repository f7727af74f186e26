/* SPDX-License-Identifier: MIT */
/*
 * Special pool: what it takes, where its blocks lie, what stops the machine. Accesses are native: the faults are real ones.
 * Sources: Microsoft Learn, "Special Pool", bug checks 0xC1, 0xCC, 0xCD, 0xD5, 0xD6.
 */
#include "boot.h"

#include "pool/special.h"
#include "pool/verifier.h"
#include "translation/systemptes.h"

#define TAG  MI_TAG('T', 'e', 's', 't')
#define TAG2 MI_TAG('O', 't', 'h', 'r')

static const POOL_TYPE Types[] = { NonPagedPoolNx, PagedPool };

static BOOLEAN IsSpecial(PVOID Block)
{
    PEX_POOL_SOURCE Source = ExpFindSource(ExpPool(), Block);

    return Source != NULL &&
           Source->Pages[((ULONG_PTR)Block - Source->Base) >> PAGE_SHIFT].Kind == ExPageSpecial;
}

static void On(PCSTR Tag, SIZE_T Minimum, SIZE_T Maximum, BOOLEAN Underruns)
{
    EX_SPECIAL_POOL_SETTINGS Settings = { .MinimumBytes = Minimum,
                                          .MaximumBytes = Maximum,
                                          .Underruns = Underruns };

    for (ULONG Index = 0; Tag != NULL && Index < 4 && Tag[Index] != 0; Index++)
    {
        Settings.Tag[Index] = Tag[Index];
    }
    assert_int_equal(ExSetSpecialPool(&Settings), STATUS_SUCCESS);
}

static void *Allocate(POOL_TYPE Type, SIZE_T Bytes)
{
    void *Block = ExAllocatePoolWithTag(Type, Bytes, TAG);

    assert_non_null(Block);
    return Block;
}

/* Code that is a driver's when a test says so. */
__attribute__((section("driver"), noinline)) static void DriverWrite(void *Address)
{
    *(volatile UCHAR *)Address = 1;
}

__attribute__((noinline)) static void Write(void *Address)
{
    *(volatile UCHAR *)Address = 1;
}

__attribute__((noinline)) static void Read(void *Address)
{
    (void)*(volatile UCHAR *)Address;
}

__attribute__((noinline)) static void WriteHigh(void *Address)
{
    KIRQL OldIrql;

    KeRaiseIrql(DISPATCH_LEVEL, &OldIrql);
    *(volatile UCHAR *)Address = 1;
}

static void Free(void *Block)
{
    ExFreePoolWithTag(Block, TAG);
}

extern UCHAR DriverStart[] __asm__("__start_driver");
extern UCHAR DriverEnd[] __asm__("__stop_driver");

/* ---- What it takes ---------------------------------------------------------------------------------------- */

static void chosen(POOL_TYPE Type, SIZE_T Bytes, ULONG Tag, BOOLEAN Expected)
{
    void *Block = ExAllocatePoolWithTag(Type, Bytes, Tag);

    assert_non_null(Block);
    assert_int_equal(IsSpecial(Block), Expected);
    ExFreePoolWithTag(Block, Tag);
}

static void tags_with_wildcards_and_sizes_choose(void)
{
    chosen(NonPagedPoolNx, 100, TAG, FALSE);
    On("Test", 0, 0, FALSE);
    chosen(NonPagedPoolNx, 100, TAG, TRUE);
    chosen(NonPagedPoolNx, 100, TAG | EX_PROTECTED_TAG, TRUE);
    chosen(PagedPool, 100, TAG, TRUE);
    chosen(NonPagedPoolNx, 100, TAG2, FALSE);
    chosen(NonPagedPoolNx, PAGE_SIZE, TAG, TRUE);
    chosen(NonPagedPoolNx, PAGE_SIZE + 1, TAG, FALSE); /* documented: blocks of more than a page never */
    On("T?s?", 0, 0, FALSE);
    chosen(NonPagedPoolNx, 100, TAG, TRUE);
    chosen(NonPagedPoolNx, 100, MI_TAG('T', 'x', 's', 'y'), TRUE);
    chosen(NonPagedPoolNx, 100, MI_TAG('T', 'e', 'x', 't'), FALSE);
    On("Te*", 0, 0, FALSE);
    chosen(NonPagedPoolNx, 100, TAG, TRUE);
    chosen(NonPagedPoolNx, 100, MI_TAG('T', 'a', 's', 't'), FALSE);
    On("*", 0, 0, FALSE);
    chosen(NonPagedPoolNx, 100, TAG2, TRUE);
    On(NULL, 40, 60, FALSE);
    chosen(NonPagedPoolNx, 39, TAG, FALSE);
    chosen(NonPagedPoolNx, 40, TAG, TRUE);
    chosen(NonPagedPoolNx, 60, TAG, TRUE);
    chosen(NonPagedPoolNx, 61, TAG, FALSE);
    ExSetSpecialPool(NULL);
    chosen(NonPagedPoolNx, 50, TAG, FALSE);
}

static void flag_of_pool2_chooses(void)
{
    void *Block = ExAllocatePool2(POOL_FLAG_NON_PAGED | POOL_FLAG_SPECIAL_POOL, 100, TAG);

    assert_true(IsSpecial(Block));
    for (ULONG Byte = 0; Byte < 100; Byte++)
    {
        assert_int_equal(((UCHAR *)Block)[Byte], 0);
    }
    ExFreePoolWithTag(Block, TAG);
}

static void blocks_end_or_begin_with_their_page(void)
{
    for (ULONG Underruns = 0; Underruns < 2; Underruns++)
    {
        On("Test", 0, 0, Underruns != 0);
        for (SIZE_T Bytes = 1; Bytes <= PAGE_SIZE; Bytes += 61)
        {
            for (ULONG Type = 0; Type < RTL_NUMBER_OF(Types); Type++)
            {
                UCHAR *Block = Allocate(Types[Type], Bytes);

                assert_true(IsSpecial(Block));
                assert_int_equal(BYTE_OFFSET(Block), Underruns != 0 ? 0 : (PAGE_SIZE - Bytes) & ~15ull);
                memset(Block, 0xab, Bytes);
                MiCheckPool();
                ExFreePoolWithTag(Block, TAG);
            }
        }
    }
    MiCheckPool();
}

static void invalid_settings_change_nothing(void)
{
    EX_SPECIAL_POOL_SETTINGS Settings = { .MinimumBytes = 10, .MaximumBytes = 9 };

    On("Test", 0, 0, FALSE);
    assert_int_equal(ExSetSpecialPool(&Settings), STATUS_INVALID_PARAMETER);
    Settings.MaximumBytes = PAGE_SIZE + 1;
    assert_int_equal(ExSetSpecialPool(&Settings), STATUS_INVALID_PARAMETER);
    chosen(NonPagedPoolNx, 50, TAG, TRUE);
}

static void normal_pool_serves_when_pages_run_out(void)
{
    EX_SPECIAL_POOL_SETTINGS Settings = { .Tag = "Test", .MaximumPages = 3 };
    EX_SPECIAL_POOL_COUNTERS Counters;
    void *Blocks[5];

    assert_int_equal(ExSetSpecialPool(&Settings), STATUS_SUCCESS);
    for (ULONG Index = 0; Index < 5; Index++)
    {
        Blocks[Index] = Allocate(Types[Index & 1], 100);
        assert_int_equal(IsSpecial(Blocks[Index]), Index < 3);
    }
    ExQuerySpecialPool(&Counters);
    assert_int_equal(Counters.Blocks, 3);
    assert_int_equal(Counters.Allocations, 3);
    assert_int_equal(Counters.Fallbacks, 2);
    for (ULONG Index = 0; Index < 5; Index++)
    {
        ExFreePoolWithTag(Blocks[Index], TAG);
    }
    ExQuerySpecialPool(&Counters);
    assert_int_equal(Counters.Blocks, 0);
    assert_int_equal(Counters.Freed, 3);
}

static void addresses_of_freed_blocks_wait_long(void)
{
    EX_SPECIAL_POOL_SETTINGS Settings = { .Tag = "Test", .MaximumFreed = 50 };
    void *First;

    assert_int_equal(ExSetSpecialPool(&Settings), STATUS_SUCCESS);
    for (ULONG Type = 0; Type < RTL_NUMBER_OF(Types); Type++)
    {
        First = Allocate(Types[Type], 100);
        ExFreePoolWithTag(First, TAG);
        for (ULONG Round = 0; Round < 50; Round++)
        {
            void *Block = Allocate(Types[Type], 100);

            assert_ptr_not_equal(Block, First);
            ExFreePoolWithTag(Block, TAG);
        }
    }
    for (ULONG Round = 0; Round < 2000; Round++)
    {
        ExFreePoolWithTag(Allocate(Types[Round & 1], 100), TAG);
    }
    MiCheckPool();
}

static void quota_of_special_blocks_comes_back(void)
{
    SIZE_T Usage[2], Peak[2];
    void *Block;

    On("Test", 0, 0, FALSE);
    Block = ExAllocatePoolWithQuotaTag(NonPagedPoolNx, 100, TAG);
    assert_true(IsSpecial(Block));
    ExQueryPoolQuota(MiCurrentProcess()->UniqueProcessId, Usage, Peak);
    assert_true(Usage[0] >= 100);
    ExFreePoolWithTag(Block, TAG);
    ExQueryPoolQuota(MiCurrentProcess()->UniqueProcessId, Usage, Peak);
    assert_int_equal(Usage[0], 0);
}

/* ---- What it finds ------------------------------------------------------------------------------------------ */

static void Expect(ULONG Code, void (*Routine)(void *), void *Context, ULONG_PTR P1, ULONG_PTR P2)
{
    TestExpectBugCheck(Code, Routine, Context);
    assert_int_equal(TestBugCheckParameters[0], P1);
    assert_int_equal(TestBugCheckParameters[1], P2);
}

static void access_behind_a_block_faults_at_once(void)
{
    On("Test", 0, 0, FALSE);
    for (ULONG Type = 0; Type < RTL_NUMBER_OF(Types); Type++)
    {
        UCHAR *Block = Allocate(Types[Type], 96);

        Block[95] = 1;
        Expect(PAGE_FAULT_BEYOND_END_OF_ALLOCATION, Write, Block + 96, (ULONG_PTR)Block + 96, 1);
        assert_true(TestBugCheckParameters[2] != 0);
        Expect(PAGE_FAULT_BEYOND_END_OF_ALLOCATION, Read, Block + 100, (ULONG_PTR)Block + 100, 0);
        ExFreePoolWithTag(Block, TAG);
    }
}

static void access_before_a_block_faults_at_once(void)
{
    On("Test", 0, 0, TRUE);
    for (ULONG Type = 0; Type < RTL_NUMBER_OF(Types); Type++)
    {
        UCHAR *Block = Allocate(Types[Type], 96);

        Expect(PAGE_FAULT_BEYOND_END_OF_ALLOCATION, Write, Block - 1, (ULONG_PTR)Block - 1, 1);
        ExFreePoolWithTag(Block, TAG);
    }
}

static void access_to_a_freed_block_faults_at_once(void)
{
    On("Test", 0, 0, FALSE);
    for (ULONG Type = 0; Type < RTL_NUMBER_OF(Types); Type++)
    {
        UCHAR *Block = Allocate(Types[Type], 96);

        *Block = 1;
        ExFreePoolWithTag(Block, TAG);
        Expect(PAGE_FAULT_IN_FREED_SPECIAL_POOL, Write, Block, (ULONG_PTR)Block, 1);
        Expect(PAGE_FAULT_IN_FREED_SPECIAL_POOL, Read, Block + 5, (ULONG_PTR)Block + 5, 0);
        Expect(PAGE_FAULT_IN_FREED_SPECIAL_POOL, WriteHigh, Block, (ULONG_PTR)Block, 1);
        Expect(SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION, Free, Block, (ULONG_PTR)Block, 0);
        assert_int_equal(TestBugCheckParameters[3], 0x20);
    }
}

static void drivers_have_codes_of_their_own(void)
{
    EX_DRIVER *Driver;
    UCHAR *Block;

    On("Test", 0, 0, FALSE);
    assert_int_equal(ExRegisterDriver("test", DriverStart, (SIZE_T)(DriverEnd - DriverStart), &Driver),
                     STATUS_SUCCESS);
    Block = Allocate(NonPagedPoolNx, 96);
    Expect(DRIVER_PAGE_FAULT_BEYOND_END_OF_ALLOCATION, DriverWrite, Block + 96, (ULONG_PTR)Block + 96, 1);
    assert_in_range(TestBugCheckParameters[2], (ULONG_PTR)DriverStart, (ULONG_PTR)DriverEnd);
    Expect(PAGE_FAULT_BEYOND_END_OF_ALLOCATION, Write, Block + 96, (ULONG_PTR)Block + 96, 1);
    ExFreePoolWithTag(Block, TAG);
    Expect(DRIVER_PAGE_FAULT_IN_FREED_SPECIAL_POOL, DriverWrite, Block, (ULONG_PTR)Block, 1);
    ExUnregisterDriver(Driver);
    Expect(PAGE_FAULT_IN_FREED_SPECIAL_POOL, DriverWrite, Block, (ULONG_PTR)Block, 1);
}

static void damaged_patterns_are_found_when_the_block_is_freed(void)
{
    UCHAR *Block;
    UCHAR Saved;

    On("Test", 0, 0, FALSE);
    Block = Allocate(NonPagedPoolNx, 90); /* aligned to 16: 6 bytes behind it */
    Saved = Block[93];
    Block[93] = (UCHAR)(Saved ^ 0x41);
    Expect(SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION, Free, Block, (ULONG_PTR)Block, (ULONG_PTR)Block + 93);
    assert_int_equal(TestBugCheckParameters[3], 0x24);
    Block[93] = (UCHAR)(Saved ^ 0x40);
    Expect(SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION, Free, Block, (ULONG_PTR)Block, (ULONG_PTR)Block + 93);
    assert_int_equal(TestBugCheckParameters[3], 0x32);
    Block[93] = Saved;
    Saved = Block[-100];
    Block[-100] = (UCHAR)(Saved ^ 0x41);
    Expect(SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION, Free, Block, (ULONG_PTR)Block, (ULONG_PTR)Block - 100);
    assert_int_equal(TestBugCheckParameters[3], 0x23);
    Block[-100] = Saved;
    Expect(SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION, Free, Block + 16, (ULONG_PTR)Block + 16, 90);
    assert_int_equal(TestBugCheckParameters[2], 96);
    assert_int_equal(TestBugCheckParameters[3], 0x21);
    ExFreePoolWithTag(Block, TAG);
}

static void AllocatePagedHigh(void *Context)
{
    KIRQL OldIrql;

    (void)Context;
    KeRaiseIrql(DISPATCH_LEVEL, &OldIrql);
    Allocate(PagedPool, 100);
}

static void FreeHigh(void *Block)
{
    KIRQL OldIrql;

    KeRaiseIrql(DISPATCH_LEVEL, &OldIrql);
    ExFreePoolWithTag(Block, TAG);
}

static void wrong_irql_has_its_own_code(void)
{
    void *Block;

    On("Test", 0, 0, FALSE);
    Expect(SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION, AllocatePagedHigh, NULL, DISPATCH_LEVEL, PagedPool);
    assert_int_equal(TestBugCheckParameters[2], 100);
    assert_int_equal(TestBugCheckParameters[3], 0x30);
    Block = Allocate(PagedPool, 100);
    Expect(SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION, FreeHigh, Block, DISPATCH_LEVEL, PagedPool);
    assert_int_equal(TestBugCheckParameters[2], (ULONG_PTR)Block);
    assert_int_equal(TestBugCheckParameters[3], 0x31);
    ExFreePoolWithTag(Block, TAG);
}

/* ---- Failure, paging, threads -------------------------------------------------------------------------------- */

static void every_failure_leaves_nothing_behind(void)
{
    static const KI_INJECT Kinds[] = { KiInjectPool, KiInjectFrame, KiInjectCommit };

    for (ULONG Kind = 0; Kind < RTL_NUMBER_OF(Kinds); Kind++)
    {
        BOOLEAN Failed = TRUE;

        for (ULONG64 Nth = 1; Failed; Nth++)
        {
            EX_SPECIAL_POOL_SETTINGS Settings = { .Tag = "Test" };
            ULONG64 Failures = 0;

            ExSetSpecialPool(NULL);
            MiTrimPool();
            MiTrimSystemPtes();
            KiSetInjection(Kinds[Kind], Nth, FALSE);
            if (NT_SUCCESS(ExSetSpecialPool(&Settings)))
            {
                for (ULONG Type = 0; Type < RTL_NUMBER_OF(Types); Type++)
                {
                    void *Block = ExAllocatePoolWithTag(Types[Type], 100, TAG);

                    if (Block != NULL)
                    {
                        memset(Block, 1, 100);
                        ExFreePoolWithTag(Block, TAG);
                    }
                }
            }
            KiQueryInjection(Kinds[Kind], &Failures);
            KiSetInjection(Kinds[Kind], 0, FALSE);
            MiCheckPool();
            Failed = Failures != 0;
        }
    }
}

static void traffic(ULONG Index, void *Context)
{
    TEST_RANDOM Random = { .State = *(ULONG64 *)Context + Index };
    UCHAR *Blocks[32] = { NULL };
    SIZE_T Bytes[32];

    for (ULONG64 Step = 0; Step < TestIterations(2000); Step++)
    {
        ULONG64 Slot = TestBelow(&Random, 32);

        if (Blocks[Slot] == NULL)
        {
            Bytes[Slot] = TestBelow(&Random, PAGE_SIZE + 200);
            Blocks[Slot] = ExAllocatePoolWithTag(Types[TestBelow(&Random, 2)], Bytes[Slot], TAG);
            if (Blocks[Slot] != NULL)
            {
                memset(Blocks[Slot], (int)Slot, Bytes[Slot]);
            }
            continue;
        }
        for (SIZE_T Byte = 0; Byte < Bytes[Slot]; Byte += 7)
        {
            assert_int_equal(Blocks[Slot][Byte], Slot);
        }
        ExFreePoolWithTag(Blocks[Slot], TAG);
        Blocks[Slot] = NULL;
    }
    for (ULONG Slot = 0; Slot < 32; Slot++)
    {
        if (Blocks[Slot] != NULL)
        {
            ExFreePoolWithTag(Blocks[Slot], TAG);
        }
    }
}

static void threads_under_pressure(void **State)
{
    static const TEST_MACHINE Machine = {
        .RamMegabytes = 6, .Processors = 2, .PagingFiles = 1, .PagingMegabytes = 32, .Workers = TRUE
    };
    EX_SPECIAL_POOL_SETTINGS Settings = { .Tag = "Test", .MaximumFreed = 200 };
    TEST_RANDOM Random = TestSeed(__func__);

    (void)State;
    TestBootMachine(&Machine);
    assert_int_equal(ExSetSpecialPool(&Settings), STATUS_SUCCESS);
    TestRunThreads(4, traffic, &Random.State);
    MiCheckPool();
    assert_int_equal(ExSetSpecialPool(NULL), STATUS_SUCCESS);
    TestStopWorkers();
    MiTrimPool();
    TestShutdownMachine();
}

/* The machine is booted inside the test: cmocka takes SIGSEGV, our page fault, right before it. */
#define NATIVE(Name)                                                                                         \
    static void Name##_natively(void **State)                                                                \
    {                                                                                                        \
        TestSetupDeterministic(State);                                                                       \
        Name();                                                                                              \
        assert_int_equal(ExSetSpecialPool(NULL), STATUS_SUCCESS);                                            \
        MiTrimPool();                                                                                        \
        TestTeardown(State);                                                                                 \
    }

NATIVE(tags_with_wildcards_and_sizes_choose)
NATIVE(flag_of_pool2_chooses)
NATIVE(blocks_end_or_begin_with_their_page)
NATIVE(invalid_settings_change_nothing)
NATIVE(normal_pool_serves_when_pages_run_out)
NATIVE(addresses_of_freed_blocks_wait_long)
NATIVE(quota_of_special_blocks_comes_back)
NATIVE(access_behind_a_block_faults_at_once)
NATIVE(access_before_a_block_faults_at_once)
NATIVE(access_to_a_freed_block_faults_at_once)
NATIVE(drivers_have_codes_of_their_own)
NATIVE(damaged_patterns_are_found_when_the_block_is_freed)
NATIVE(wrong_irql_has_its_own_code)
NATIVE(every_failure_leaves_nothing_behind)

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(tags_with_wildcards_and_sizes_choose_natively),
        cmocka_unit_test(flag_of_pool2_chooses_natively),
        cmocka_unit_test(blocks_end_or_begin_with_their_page_natively),
        cmocka_unit_test(invalid_settings_change_nothing_natively),
        cmocka_unit_test(normal_pool_serves_when_pages_run_out_natively),
        cmocka_unit_test(addresses_of_freed_blocks_wait_long_natively),
        cmocka_unit_test(quota_of_special_blocks_comes_back_natively),
        cmocka_unit_test(access_behind_a_block_faults_at_once_natively),
        cmocka_unit_test(access_before_a_block_faults_at_once_natively),
        cmocka_unit_test(access_to_a_freed_block_faults_at_once_natively),
        cmocka_unit_test(drivers_have_codes_of_their_own_natively),
        cmocka_unit_test(damaged_patterns_are_found_when_the_block_is_freed_natively),
        cmocka_unit_test(wrong_irql_has_its_own_code_natively),
        cmocka_unit_test(every_failure_leaves_nothing_behind_natively),
        cmocka_unit_test(threads_under_pressure),
    };
    return cmocka_run_group_tests(Tests, NULL, NULL);
}
