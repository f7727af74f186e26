/* SPDX-License-Identifier: MIT */
/*
 * Misuse of the pools: each kind is the documented bug check with the documented parameters, at the first
 * call that can know. Every test has a machine of its own and gives it up.
 */
#include "boot.h"

#include "pool/expool.h"

#define TAG  MI_TAG('T', 'e', 's', 't')
#define TAG2 MI_TAG('O', 't', 'h', 'r')

static void Free(void *Block)
{
    ExFreePoolWithTag(Block, TAG);
}

static void FreeWithOtherTag(void *Block)
{
    ExFreePoolWithTag(Block, TAG2);
}

static void FreeWithoutTag(void *Block)
{
    ExFreePool(Block);
}

/* All the rest of the test: the machine is damaged. */
static void ExpectBadCaller(ULONG_PTR Kind, void (*Routine)(void *), void *Block)
{
    TestExpectBugCheck(BAD_POOL_CALLER, Routine, Block);
    assert_int_equal(TestBugCheckParameters[0], Kind);
    TestAbandonMachine();
}

static PUCHAR Allocate(SIZE_T Bytes)
{
    PUCHAR Block = ExAllocatePoolWithTag(NonPagedPoolNx, Bytes, TAG);

    assert_non_null(Block);
    return Block;
}

static void double_free_is_found(void **State)
{
    PUCHAR Block = Allocate(100);

    (void)State;
    ExFreePoolWithTag(Block, TAG);
    ExpectBadCaller(0x07, Free, Block);
}

static void double_free_of_a_big_block_is_found(void **State)
{
    PUCHAR Block = Allocate(10000);

    (void)State;
    ExFreePoolWithTag(Block, TAG);
    ExpectBadCaller(0x41, Free, Block);
}

static void double_free_of_a_cache_aligned_block_is_found(void **State)
{
    PUCHAR Block = ExAllocatePoolWithTag(NonPagedPoolCacheAligned, 100, TAG);

    (void)State;
    ExFreePoolWithTag(Block, TAG);
    ExpectBadCaller(0x07, Free, Block);
}

static void wrong_tag_is_found(void **State)
{
    PUCHAR Block = Allocate(100);

    (void)State;
    TestExpectBugCheck(BAD_POOL_CALLER, FreeWithOtherTag, Block);
    assert_int_equal(TestBugCheckParameters[0], 0x0A);
    assert_int_equal(TestBugCheckParameters[1], (ULONG_PTR)Block);
    assert_int_equal(TestBugCheckParameters[2], TAG);
    assert_int_equal(TestBugCheckParameters[3], TAG2);
    TestAbandonMachine();
}

static void wrong_tag_of_a_big_block_is_found(void **State)
{
    (void)State;
    ExpectBadCaller(0x0A, FreeWithOtherTag, Allocate(50000));
}

static void protected_tag_must_be_named(void **State)
{
    PUCHAR Block = ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG | EX_PROTECTED_TAG);

    (void)State;
    ExFreePoolWithTag(Block, TAG | EX_PROTECTED_TAG);
    Block = ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG | EX_PROTECTED_TAG);
    ExpectBadCaller(0x0A, FreeWithoutTag, Block);
}

static void address_inside_a_block_is_found(void **State)
{
    (void)State;
    ExpectBadCaller(0x99, Free, Allocate(400) + 16);
}

static void unaligned_address_is_found(void **State)
{
    (void)State;
    ExpectBadCaller(0x99, Free, Allocate(400) + 3);
}

static void address_inside_a_big_block_is_found(void **State)
{
    (void)State;
    ExpectBadCaller(0x99, Free, Allocate(40000) + 64);
}

static void user_address_is_found(void **State)
{
    (void)State;
    ExpectBadCaller(0x40, Free, (PVOID)(PORT_USER_LOWEST + 0x1000));
}

static void address_of_no_pool_is_found(void **State)
{
    PFN_NUMBER Frame = MiAllocatePage(0);

    (void)State;
    ExpectBadCaller(0x41, Free, (PUCHAR)PortDirectMap(Frame) + 64);
}

static void overrun_is_found_when_the_block_is_freed(void **State)
{
    PUCHAR Block = Allocate(112); /* exactly a class: the next byte is the next header */

    (void)State;
    while (BYTE_OFFSET(Block) + 256 > PAGE_SIZE) /* the last block has no neighbour */
    {
        Block = Allocate(112);
    }
    ExpUnpoison((PUCHAR)PAGE_ALIGN(Block), PAGE_SIZE);
    memset(Block + 112, 0x41, 16);
    TestExpectBugCheck(BAD_POOL_HEADER, Free, Block);
    assert_int_equal(TestBugCheckParameters[0], 0x20);
    assert_int_equal(TestBugCheckParameters[1], (ULONG_PTR)Block - 16);
    assert_int_equal(TestBugCheckParameters[2], (ULONG_PTR)Block + 112);
    TestAbandonMachine();
}

static void underrun_is_found_when_the_block_is_freed(void **State)
{
    PUCHAR Block = Allocate(112);

    (void)State;
    ExpUnpoison((PUCHAR)PAGE_ALIGN(Block), PAGE_SIZE);
    memset(Block - 16, 0x41, 8);
    TestExpectBugCheck(BAD_POOL_HEADER, Free, Block);
    TestAbandonMachine();
}

static void AllocateMany(void *Context)
{
    (void)Context;
    for (ULONG Index = 0; Index < 256; Index++)
    {
        Allocate(112);
    }
}

static void damage_to_a_free_block_is_found_when_it_is_used_again(void **State)
{
    PUCHAR Block = Allocate(112);

    (void)State;
    ExFreePoolWithTag(Block, TAG);
    ExpUnpoison((PUCHAR)PAGE_ALIGN(Block), PAGE_SIZE);
    memset(Block - 8, 0x41, 8);
    TestExpectBugCheck(BAD_POOL_HEADER, AllocateMany, NULL);
    assert_int_equal(TestBugCheckParameters[0], 0x0D);
    TestAbandonMachine();
}

/* Every bit of a header counts, alone. Only the tag of a free block is nobody's. */
static void FlipBit(PUCHAR Block, ULONG Bit)
{
    ExpUnpoison((PUCHAR)PAGE_ALIGN(Block), PAGE_SIZE);
    Block[(LONG)(Bit / 8) - 16] ^= (UCHAR)(1u << (Bit & 7));
}

static PUCHAR AllocateInner(SIZE_T Bytes)
{
    PUCHAR Block = Allocate(Bytes);

    while (BYTE_OFFSET(Block) < 256 || BYTE_OFFSET(Block) + 512 > PAGE_SIZE)
    {
        Block = Allocate(Bytes); /* neither the first nor the last of its page */
    }
    return Block;
}

static void any_bit_of_a_header_is_found_when_the_block_is_freed(void **State)
{
    for (ULONG Bit = 0; Bit < 128; Bit++)
    {
        PUCHAR Block;
        BOOLEAN Tag = Bit >= 32 && Bit < 64;
        BOOLEAN Billed = Bit >= 64;
        BOOLEAN Freed = Bit == 25; /* the bit that says it is in use */

        if (Bit >= 26 && Bit < 30)
        {
            continue; /* aligned, charged, tracked, of a session: it might be so */
        }
        Block = AllocateInner(112);
        FlipBit(Block, Bit);
        TestExpectBugCheck(Tag || Billed || Freed ? BAD_POOL_CALLER : BAD_POOL_HEADER, Free, Block);
        assert_int_equal(TestBugCheckParameters[0], Tag        ? 0x0A
                                                    : Billed   ? 0x0D
                                                    : Freed    ? 0x07
                                                    : Bit < 24 ? 0x07
                                                               : 0x05);
        TestAbandonMachine();
        TestSetupDeterministic(State);
    }
}

static void any_bit_of_the_sizes_behind_a_block_is_found_when_it_is_freed(void **State)
{
    for (ULONG Bit = 0; Bit < 24; Bit++)
    {
        PUCHAR Block = AllocateInner(112);

        FlipBit(Block + 128, Bit);
        TestExpectBugCheck(BAD_POOL_HEADER, Free, Block);
        assert_int_equal(TestBugCheckParameters[0], 0x20);
        TestAbandonMachine();
        TestSetupDeterministic(State);
    }
}

static void any_bit_of_the_header_of_a_free_block_is_found_when_it_is_used_again(void **State)
{
    for (ULONG Bit = 0; Bit < 128; Bit++)
    {
        PUCHAR Block = AllocateInner(112);

        Free(Block);
        if (Bit >= 32 && Bit < 64)
        {
            continue;
        }
        FlipBit(Block, Bit);
        TestExpectBugCheck(BAD_POOL_HEADER, AllocateMany, NULL);
        assert_int_equal(TestBugCheckParameters[0], 0x0D);
        TestAbandonMachine();
        TestSetupDeterministic(State);
    }
}

static void damaged_quota_pointer_is_found(void **State)
{
    PUCHAR Block = ExAllocatePoolWithQuotaTag(NonPagedPoolNx, 100, TAG);

    (void)State;
    ExpUnpoison((PUCHAR)PAGE_ALIGN(Block), PAGE_SIZE);
    ((ULONG64 *)(PVOID)Block)[-1] ^= 0x1000;
    ExpectBadCaller(0x0D, Free, Block);
}

static void AllocateHigh(void *Type)
{
    KIRQL OldIrql;

    KeRaiseIrql(Type == NULL ? DISPATCH_LEVEL + 1 : DISPATCH_LEVEL, &OldIrql);
    ExAllocatePoolWithTag(Type == NULL ? NonPagedPoolNx : PagedPool, 100, TAG);
}

static void FreeHigh(void *Block)
{
    KIRQL OldIrql;

    KeRaiseIrql(DISPATCH_LEVEL + 1, &OldIrql);
    ExFreePool(Block);
}

static void wrong_irql_is_found(void **State)
{
    (void)State;
    ExpectBadCaller(0x08, AllocateHigh, NULL);
    TestSetupDeterministic(NULL);
    ExpectBadCaller(0x08, AllocateHigh, &TestBootThread);
    TestSetupDeterministic(NULL);
    ExpectBadCaller(0x09, FreeHigh, Allocate(100));
}

static void AllocateWithoutTag(void *Context)
{
    (void)Context;
    ExAllocatePoolWithTag(NonPagedPoolNx, 100, 0);
}

static void AllocateMustSucceed(void *Context)
{
    (void)Context;
    ExAllocatePoolWithTag(NonPagedPoolMustSucceed, 100, TAG);
}

static void AllocateBig(void *Context)
{
    (void)Context;
    ExAllocatePoolWithTag(NonPagedPoolNx, 100, MI_TAG('B', 'I', 'G', ' '));
}

static void impossible_requests_are_found(void **State)
{
    (void)State;
    ExpectBadCaller(0x9B, AllocateWithoutTag, NULL);
    TestSetupDeterministic(NULL);
    ExpectBadCaller(0x9A, AllocateMustSucceed, NULL);
    TestSetupDeterministic(NULL);
    ExpectBadCaller(0x9C, AllocateBig, NULL);
}

static void ShutdownPools(void *Context)
{
    (void)Context;
    MiShutdownPool();
}

static void machine_that_ends_with_blocks_left_says_whose(void **State)
{
    static const TEST_MACHINE Machine = { .Deterministic = TRUE, .Last = TestPool };

    TestTeardown(State);
    TestBootMachine(&Machine);
    Allocate(100);
    Allocate(10000);
    TestExpectBugCheck(DRIVER_VERIFIER_DETECTED_VIOLATION, ShutdownPools, NULL);
    assert_int_equal(TestBugCheckParameters[0], 0x62);
    assert_int_equal(TestBugCheckParameters[3], 2);
    TestAbandonMachine();
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
#define TEST(Name) cmocka_unit_test_setup_teardown(Name, TestSetupDeterministic, TestTeardown)
        TEST(double_free_is_found),
        TEST(double_free_of_a_big_block_is_found),
        TEST(double_free_of_a_cache_aligned_block_is_found),
        TEST(wrong_tag_is_found),
        TEST(wrong_tag_of_a_big_block_is_found),
        TEST(protected_tag_must_be_named),
        TEST(address_inside_a_block_is_found),
        TEST(unaligned_address_is_found),
        TEST(address_inside_a_big_block_is_found),
        TEST(user_address_is_found),
        TEST(address_of_no_pool_is_found),
        TEST(overrun_is_found_when_the_block_is_freed),
        TEST(underrun_is_found_when_the_block_is_freed),
        TEST(damage_to_a_free_block_is_found_when_it_is_used_again),
        TEST(any_bit_of_a_header_is_found_when_the_block_is_freed),
        TEST(any_bit_of_the_sizes_behind_a_block_is_found_when_it_is_freed),
        TEST(any_bit_of_the_header_of_a_free_block_is_found_when_it_is_used_again),
        TEST(damaged_quota_pointer_is_found),
        TEST(wrong_irql_is_found),
        TEST(impossible_requests_are_found),
        TEST(machine_that_ends_with_blocks_left_says_whose),
    };
    return cmocka_run_group_tests(Tests, NULL, NULL);
}
