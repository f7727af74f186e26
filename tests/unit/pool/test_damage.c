/* SPDX-License-Identifier: MIT */
/*
 * Damage that patterns find when a block is freed, and damage that leads the allocator itself astray.
 * Sources: Microsoft Learn, bug checks 0x19 (0x21), 0xC5, 0x13A, 0xC1; EX_POOL_PRIORITY.
 */
#include "boot.h"

#include "pool/special.h"
#include "pool/verifier.h"

#define TAG    MI_TAG('T', 'e', 's', 't')
#define DRIVER __attribute__((section("driver"), noinline))

extern UCHAR DriverStart[] __asm__("__start_driver");
extern UCHAR DriverEnd[] __asm__("__stop_driver");

/* What a driver's stray write does; not what AddressSanitizer should find. */
static void Flip(PUCHAR Byte)
{
    ExpUnpoison(PAGE_ALIGN(Byte), PAGE_SIZE);
    *(volatile UCHAR *)Byte ^= 0x41;
}

static void Free(void *Block)
{
    ExFreePoolWithTag(Block, TAG);
}

DRIVER static void *DriverAllocate(POOL_TYPE Type, SIZE_T Bytes)
{
    void *Block = ExAllocatePoolWithTag(Type, Bytes, TAG);

    __asm__ volatile("");
    return Block;
}

static void ExpectDamagedTail(PUCHAR Block, SIZE_T Bytes, SIZE_T Distance)
{
    UCHAR Saved = Block[Bytes + Distance];

    Flip(Block + Bytes + Distance);
    TestExpectBugCheck(BAD_POOL_HEADER, Free, Block);
    assert_int_equal(TestBugCheckParameters[0], 0x21);
    assert_int_equal(TestBugCheckParameters[1], (ULONG_PTR)Block);
    assert_int_equal(TestBugCheckParameters[2], Bytes);
    assert_int_equal(TestBugCheckParameters[3], Saved ^ 0x41);
    Block[Bytes + Distance] = Saved;
}

/* ---- Patterns -------------------------------------------------------------------------------------------------- */

static void writes_behind_whole_pages_are_found(void)
{
    static const SIZE_T Sizes[] = { 5000, 8191, 4096 + 64, 3 * PAGE_SIZE - 30 };

    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Sizes); Index++)
    {
        SIZE_T Bytes = Sizes[Index];
        PUCHAR Block = ExAllocatePoolWithTag(NonPagedPoolNx, Bytes, TAG);
        SIZE_T Tail = ROUND_TO_PAGES(Bytes) - Bytes;

        assert_non_null(Block);
        memset(Block, 0xee, Bytes);
        ExpUnpoison(PAGE_ALIGN(Block + Bytes), PAGE_SIZE);
        ExpectDamagedTail(Block, Bytes, 0);
        ExpectDamagedTail(Block, Bytes, (Tail < EX_TAIL_BYTES ? Tail : EX_TAIL_BYTES) - 1);
        MiCheckPool();
        Free(Block);
    }
}

/* Looking at everything finds it, too. */
static void CheckPool(void *Context)
{
    (void)Context;
    MiCheckPool();
}

static void writes_behind_whole_pages_are_found_by_the_check(void)
{
    PUCHAR Block = ExAllocatePoolWithTag(NonPagedPoolNx, 5000, TAG);

    Flip(Block + 5001);
    TestExpectBugCheck(BAD_POOL_HEADER, CheckPool, NULL);
    assert_int_equal(TestBugCheckParameters[0], 0x21);
    Flip(Block + 5001);
    Free(Block);
}

/* Its last page may be in the paging file, and need not come into being before somebody uses it. */
static void paged_blocks_of_nobody_verified_are_left_alone(void)
{
    PUCHAR Block = ExAllocatePoolWithTag(PagedPool, 5000, TAG);

    Flip(Block + 5001);
    Free(Block);
}

static void what_the_size_class_adds_is_checked_for_verified_drivers(void)
{
    static const POOL_TYPE Types[] = { NonPagedPoolNx, PagedPool, NonPagedPoolNxCacheAligned };
    EX_VERIFIER_SETTINGS Settings = { .Flags = DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS, .AllDrivers = TRUE };
    EX_DRIVER *Driver;

    assert_int_equal(ExRegisterDriver("test", DriverStart, (SIZE_T)(DriverEnd - DriverStart), &Driver),
                     STATUS_SUCCESS);
    assert_int_equal(ExSetVerifier(&Settings), STATUS_SUCCESS);
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Types); Index++)
    {
        for (SIZE_T Bytes = 1; Bytes < 6000; Bytes += 349)
        {
            PUCHAR Block = DriverAllocate(Types[Index], Bytes);
            BOOLEAN Large = Bytes > 4000; /* at most what 0x20 does not find */

            assert_non_null(Block);
            memset(Block, 0xee, Bytes);
            if (Large || (Bytes & 15) != 0)
            {
                ExpUnpoison(PAGE_ALIGN(Block + Bytes), PAGE_SIZE);
                ExpectDamagedTail(Block, Bytes, 0);
                ExpectDamagedTail(Block, Bytes, 15 - (Bytes & 15));
            }
            Free(Block);
        }
    }
    assert_int_equal(Driver->Blocks[0] + Driver->Blocks[1], 0);
    ExUnregisterDriver(Driver);
}

/* A record exists exactly for the blocks that were filled. */
static void blocks_from_before_the_verifier_have_no_pattern(void)
{
    EX_VERIFIER_SETTINGS Settings = { .Flags = DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS, .AllDrivers = TRUE };
    EX_DRIVER *Driver;
    PUCHAR Before, Blocks[2];

    assert_int_equal(ExRegisterDriver("test", DriverStart, (SIZE_T)(DriverEnd - DriverStart), &Driver),
                     STATUS_SUCCESS);
    Before = DriverAllocate(NonPagedPoolNx, 100);
    assert_int_equal(ExSetVerifier(&Settings), STATUS_SUCCESS);
    Blocks[0] = DriverAllocate(NonPagedPoolNx, 101);
    Blocks[1] = DriverAllocate(NonPagedPoolNx, 101);
    Flip(Before + 105);
    Free(Before);
    Flip(Blocks[0] + 105);
    assert_int_equal(ExSetVerifier(NULL), STATUS_SUCCESS);
    Free(Blocks[0]); /* forgotten */
    assert_int_equal(ExSetVerifier(&Settings), STATUS_SUCCESS);
    Flip(Blocks[1] + 105);
    Free(Blocks[1]);
    ExUnregisterDriver(Driver);
}

static void priorities_choose_the_end_of_special_pages(void)
{
    static const EX_POOL_PRIORITY Overruns[] = { LowPoolPrioritySpecialPoolOverrun,
                                                 NormalPoolPrioritySpecialPoolOverrun,
                                                 HighPoolPrioritySpecialPoolOverrun };
    static const EX_POOL_PRIORITY Underruns[] = { LowPoolPrioritySpecialPoolUnderrun,
                                                  NormalPoolPrioritySpecialPoolUnderrun,
                                                  HighPoolPrioritySpecialPoolUnderrun };

    for (ULONG Set = 0; Set < 2; Set++)
    {
        EX_SPECIAL_POOL_SETTINGS Settings = { .Tag = "Test", .Underruns = Set != 0 };

        assert_int_equal(ExSetSpecialPool(&Settings), STATUS_SUCCESS);
        for (ULONG Index = 0; Index < 3; Index++)
        {
            void *End = ExAllocatePoolWithTagPriority(NonPagedPoolNx, 64, TAG, Overruns[Index]);
            void *Start = ExAllocatePoolWithTagPriority(PagedPool, 64, TAG, Underruns[Index]);
            void *Plain = ExAllocatePoolWithTagPriority(PagedPool, 64, TAG, HighPoolPriority);
            POOL_EXTENDED_PARAMETER Parameter = { .Type = PoolExtendedParameterPriority,
                                                  .Priority = Underruns[Index] };
            void *Third = ExAllocatePool3(POOL_FLAG_NON_PAGED, 64, TAG, &Parameter, 1);

            assert_int_equal(BYTE_OFFSET(End), PAGE_SIZE - 64);
            assert_int_equal(BYTE_OFFSET(Start), 0);
            assert_int_equal(BYTE_OFFSET(Third), 0);
            assert_int_equal(BYTE_OFFSET(Plain), Set != 0 ? 0 : PAGE_SIZE - 64);
            Free(End);
            Free(Start);
            Free(Plain);
            Free(Third);
        }
    }
    assert_int_equal(ExSetSpecialPool(NULL), STATUS_SUCCESS);
    /* "Cannot activate special pool": without it they are priorities. */
    Free(ExAllocatePoolWithTagPriority(NonPagedPoolNx, 64, TAG, HighPoolPrioritySpecialPoolOverrun));
}

/* ---- The allocator astray ------------------------------------------------------------------------------------------ */

static EX_POOL_BIN *BinOf(ULONG Paged, SIZE_T Bytes)
{
    EX_POOL *Pool = ExpPool();

    return &Pool->Processors[0].Bins[Paged][Pool->ClassOf[(Bytes + 31) / 16]];
}

/* A paged-pool address that nothing is behind. */
static PUCHAR Nothing(void)
{
    const EX_POOL_SOURCE *Source = &ExpPool()->Sources[ExSourcePaged];

    return (PUCHAR)Source->Base + Source->Span - 8 * PAGE_SIZE + 64;
}

static void AllocateHigh(void *Context)
{
    KIRQL OldIrql;

    (void)Context;
    KeRaiseIrql(DISPATCH_LEVEL, &OldIrql);
    ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG);
}

static void a_fault_of_the_pool_at_dispatch_level_is_said_to_be_the_pools(void)
{
    EX_POOL_BIN *Bin;

    Free(ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG));
    Bin = BinOf(0, 100);
    assert_true(Bin->Count != 0);
    Bin->Blocks[Bin->Count - 1] = Nothing();
    TestExpectBugCheck(DRIVER_CORRUPTED_EXPOOL, AllocateHigh, NULL);
    assert_in_range(TestBugCheckParameters[0], (ULONG_PTR)Nothing(), (ULONG_PTR)Nothing() + 15);
    assert_int_equal(TestBugCheckParameters[1], DISPATCH_LEVEL);
    assert_int_equal(TestBugCheckParameters[2], 0);
    assert_true(TestBugCheckParameters[3] != 0);
}

/* The same address, touched by somebody else, is somebody else's. */
static void TouchHigh(void *Address)
{
    KIRQL OldIrql;

    KeRaiseIrql(DISPATCH_LEVEL, &OldIrql);
    *(volatile UCHAR *)Address = 1;
}

static void other_faults_at_dispatch_level_are_not_the_pools(void)
{
    Free(ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG));
    TestExpectBugCheck(IRQL_NOT_LESS_OR_EQUAL, TouchHigh, Nothing());
}

static NPAGED_LOOKASIDE_LIST List;

static void TakeTwo(void *Context)
{
    (void)Context;
    ExAllocateFromNPagedLookasideList(&List);
    ExAllocateFromNPagedLookasideList(&List);
}

static void an_entry_that_was_written_after_it_was_freed_is_said_to_be_the_lists(void)
{
    PVOID *Entries[2];

    ExInitializeNPagedLookasideList(&List, NULL, NULL, 0, 64, TAG, 0);
    Entries[0] = ExAllocateFromNPagedLookasideList(&List);
    Entries[1] = ExAllocateFromNPagedLookasideList(&List);
    ExFreeToNPagedLookasideList(&List, Entries[0]);
    ExFreeToNPagedLookasideList(&List, Entries[1]);
    *Entries[1] = Nothing(); /* where the list keeps the next entry */
    TestExpectBugCheck(DRIVER_CORRUPTED_EXPOOL, TakeTwo, NULL);
    assert_int_equal(TestBugCheckParameters[0], (ULONG_PTR)Nothing());
    assert_int_equal(TestBugCheckParameters[1], DISPATCH_LEVEL);
}

static void Trim(void *Context)
{
    (void)Context;
    MiTrimPool();
}

static void a_bin_that_names_no_block_is_found_when_it_is_emptied(void)
{
    EX_POOL *Pool = ExpPool();
    PUCHAR Block = ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG);
    EX_POOL_BIN *Bin = BinOf(0, 100);

    Free(Block);
    Bin->Blocks[0] = Block - 16 + 8; /* inside of a block */
    TestExpectBugCheck(KERNEL_MODE_HEAP_CORRUPTION, Trim, NULL);
    assert_int_equal(TestBugCheckParameters[0], 0x10);
    assert_int_equal(TestBugCheckParameters[1],
                     (ULONG_PTR)&Pool->Sources[0].Classes[Pool->ClassOf[(100 + 31) / 16]]);
    assert_int_equal(TestBugCheckParameters[2], (ULONG_PTR)Block - 8);
}

static void AllocateMany(void *Context)
{
    (void)Context;
    for (ULONG Index = 0; Index < 512; Index++)
    {
        ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG);
    }
}

static void a_list_of_slabs_that_names_no_slab_is_found(void)
{
    EX_POOL *Pool = ExpPool();
    ULONG Number = Pool->ClassOf[(100 + 31) / 16];

    Free(ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG));
    ExpSlabsOf(&Pool->Sources[0], KiCurrentThread()->Processor, Number)->Partial =
        (ULONG)PortDirectMapFrame(ExAllocatePoolWithTag(NonPagedPoolNx, 10000, TAG));
    TestExpectBugCheck(KERNEL_MODE_HEAP_CORRUPTION, AllocateMany, NULL);
    assert_int_equal(TestBugCheckParameters[0], 0xD);
}

/* The machine is booted inside the test: cmocka takes SIGSEGV, our page fault, right before it. */
#define NATIVE(Name)                                                                                         \
    static void Name##_natively(void **State)                                                                \
    {                                                                                                        \
        TestSetupDeterministic(State);                                                                       \
        Name();                                                                                              \
        assert_int_equal(ExSetVerifier(NULL), STATUS_SUCCESS);                                               \
        ExSetSpecialPool(NULL);                                                                              \
        MiTrimPool();                                                                                        \
        TestTeardown(State);                                                                                 \
    }
/* The machine is damaged afterwards. */
#define DAMAGED(Name)                                                                                        \
    static void Name##_natively(void **State)                                                                \
    {                                                                                                        \
        TestSetupDeterministic(State);                                                                       \
        Name();                                                                                              \
        TestAbandonMachine();                                                                                \
    }

NATIVE(writes_behind_whole_pages_are_found)
NATIVE(writes_behind_whole_pages_are_found_by_the_check)
NATIVE(paged_blocks_of_nobody_verified_are_left_alone)
NATIVE(what_the_size_class_adds_is_checked_for_verified_drivers)
NATIVE(blocks_from_before_the_verifier_have_no_pattern)
NATIVE(priorities_choose_the_end_of_special_pages)
DAMAGED(a_fault_of_the_pool_at_dispatch_level_is_said_to_be_the_pools)
DAMAGED(other_faults_at_dispatch_level_are_not_the_pools)
DAMAGED(an_entry_that_was_written_after_it_was_freed_is_said_to_be_the_lists)
DAMAGED(a_bin_that_names_no_block_is_found_when_it_is_emptied)
DAMAGED(a_list_of_slabs_that_names_no_slab_is_found)

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(writes_behind_whole_pages_are_found_natively),
        cmocka_unit_test(writes_behind_whole_pages_are_found_by_the_check_natively),
        cmocka_unit_test(paged_blocks_of_nobody_verified_are_left_alone_natively),
        cmocka_unit_test(what_the_size_class_adds_is_checked_for_verified_drivers_natively),
        cmocka_unit_test(blocks_from_before_the_verifier_have_no_pattern_natively),
        cmocka_unit_test(priorities_choose_the_end_of_special_pages_natively),
        cmocka_unit_test(a_fault_of_the_pool_at_dispatch_level_is_said_to_be_the_pools_natively),
        cmocka_unit_test(other_faults_at_dispatch_level_are_not_the_pools_natively),
        cmocka_unit_test(an_entry_that_was_written_after_it_was_freed_is_said_to_be_the_lists_natively),
        cmocka_unit_test(a_bin_that_names_no_block_is_found_when_it_is_emptied_natively),
        cmocka_unit_test(a_list_of_slabs_that_names_no_slab_is_found_natively),
    };
    return cmocka_run_group_tests(Tests, NULL, NULL);
}
