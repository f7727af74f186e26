/* SPDX-License-Identifier: MIT */
/*
 * Slabs have a home, the processor that made them: two processors have no block in the same page, a block that another processor
 * frees returns home, and where there are no pages left one takes what the others have free.
 */
#include "boot.h"

#include "pool/expool.h"

#define TAG    MI_TAG('H', 'o', 'm', 'e')
#define BLOCKS 400u
#define BYTES  1800u /* two in a page; no structure of the kernel has that size */

typedef struct
{
    ULONG Paged;
    PVOID Blocks[2][BLOCKS]; /* by processor */
} TRAFFIC;

static ULONG Page(const EX_POOL_SOURCE *Source, PVOID Block)
{
    return (ULONG)(((ULONG_PTR)Block - Source->Base) >> PAGE_SHIFT);
}

static PVOID Allocate(ULONG Paged, SIZE_T Bytes)
{
    return ExAllocatePoolWithTag(Paged != 0 ? PagedPool : NonPagedPoolNx, Bytes, TAG);
}

static SIZE_T SizeOf(ULONG Index)
{
    return 16 + Index * 37 % 3900;
}

static void AllocateAll(ULONG Thread, void *Context)
{
    TRAFFIC *Traffic = Context;
    ULONG Processor = KeGetCurrentProcessorNumber();

    (void)Thread;
    for (ULONG Index = 0; Index < BLOCKS; Index++)
    {
        Traffic->Blocks[Processor][Index] = Allocate(Traffic->Paged, SizeOf(Index));
    }
}

/* Each those of the other. */
static void FreeAll(ULONG Thread, void *Context)
{
    TRAFFIC *Traffic = Context;
    ULONG Processor = KeGetCurrentProcessorNumber();

    (void)Thread;
    for (ULONG Index = 0; Index < BLOCKS; Index++)
    {
        ExFreePoolWithTag(Traffic->Blocks[1 - Processor][Index], TAG);
    }
}

static void blocks_of_two_processors_share_no_page(void)
{
    for (ULONG Paged = 0; Paged < 2; Paged++)
    {
        const EX_POOL_SOURCE *Source = &ExpPool()->Sources[Paged];
        static TRAFFIC Traffic;

        if (Source->Operations == NULL)
        {
            continue;
        }
        MiTrimPool(); /* what booting left over */
        Traffic.Paged = Paged;
        for (ULONG Round = 0; Round < 3; Round++)
        {
            TestRunThreads(2, AllocateAll, &Traffic);
            for (ULONG Processor = 0; Processor < 2; Processor++)
            {
                for (ULONG Index = 0; Index < BLOCKS; Index++)
                {
                    PVOID Block = Traffic.Blocks[Processor][Index];

                    assert_non_null(Block);
                    /* In later rounds a processor has blocks at hand that it has freed for the other one. */
                    assert_true(Round != 0 || Source->Pages[Page(Source, Block)].Home == Processor);
                    assert_true(ExpIsSlabBlock(Source,
                                               &Source->Classes[Source->Pages[Page(Source, Block)].Class],
                                               (PPOOL_HEADER)Block - 1));
                }
            }
            MiCheckPool();
            TestRunThreads(2, FreeAll, &Traffic);
            MiCheckPool();
        }
        MiTrimPool();
        for (ULONG Home = 0; Home < Source->Homes; Home++)
        {
            for (ULONG Class = 0; Class < EX_POOL_CLASSES; Class++)
            {
                assert_int_equal(ExpSlabsOf(Source, Home, Class)->Empty, 0);
            }
        }
    }
}

static void AllocateOne(ULONG Thread, void *Context)
{
    PVOID *Block = Context;

    if (Thread == 1)
    {
        *Block = Allocate(0, BYTES);
    }
}

/* Processor 0 has a slab with one used block; then there are no pages any more. */
static void without_pages_the_free_blocks_of_others_are_taken(void)
{
    const EX_POOL_SOURCE *Source = &ExpPool()->Sources[ExSourceNonpaged];
    PVOID Mine;
    PVOID Block = NULL;

    MiTrimPool();
    Mine = Allocate(0, BYTES);
    MiTrimPool();
    KiSetInjection(KiInjectCommit, 1, TRUE);
    TestRunThreads(2, AllocateOne, &Block);
    KiSetInjection(KiInjectCommit, 0, FALSE);
    assert_non_null(Block);
    assert_int_equal(Source->Pages[Page(Source, Block)].Home, 0);
    assert_int_equal(Page(Source, Block), Page(Source, Mine));
    MiCheckPool();
    ExFreePool(Block);
    ExFreePool(Mine);
    MiCheckPool();
}

#define THREADED(Name)                                                                                       \
    static void Name##_threaded(void **State)                                                                \
    {                                                                                                        \
        TestSetupThreaded(State);                                                                            \
        Name();                                                                                              \
        MiTrimPool();                                                                                        \
        TestTeardown(State);                                                                                 \
    }

THREADED(blocks_of_two_processors_share_no_page)
THREADED(without_pages_the_free_blocks_of_others_are_taken)

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(blocks_of_two_processors_share_no_page_threaded),
        cmocka_unit_test(without_pages_the_free_blocks_of_others_are_taken_threaded),
    };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
