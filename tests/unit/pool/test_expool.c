/* SPDX-License-Identifier: MIT */
/*
 * The pools as drivers see them: every ExAllocatePool variant, alignment and page rules, zeroing, tags,
 * quota, big blocks. Each machine that is shut down checks that everything came back.
 */
#include "boot.h"

#include "pool/expool.h"
#include "space/session.h"
#include "virtual/pagedpool.h"

#define TAG  MI_TAG('T', 'e', 's', 't')
#define TAG2 MI_TAG('O', 't', 'h', 'r')

static const SIZE_T Sizes[] = { 0,    1,    8,    15,   16,   17,   31,    32,    33,    48,   63,
                                64,   65,   100,  127,  128,  200,  256,   300,   400,   500,  700,
                                800,  1000, 1343, 1344, 1345, 2000, 2032,  2033,  3000,  4000, 4064,
                                4065, 4080, 4095, 4096, 4097, 8192, 20000, 65536, 300000 };

static const POOL_TYPE Types[] = { NonPagedPool,
                                   NonPagedPoolNx,
                                   PagedPool,
                                   NonPagedPoolCacheAligned,
                                   PagedPoolCacheAligned,
                                   NonPagedPoolNxCacheAligned,
                                   PagedPoolSession,
                                   NonPagedPoolSession };

static void CheckBlock(const UCHAR *Block, SIZE_T Bytes, BOOLEAN CacheAligned)
{
    assert_non_null(Block);
    assert_int_equal((ULONG_PTR)Block & 15, 0);
    if (CacheAligned)
    {
        assert_int_equal((ULONG_PTR)Block & 63, 0);
    }
    if (Bytes >= PAGE_SIZE)
    {
        assert_int_equal((ULONG_PTR)Block & (PAGE_SIZE - 1), 0);
    }
    else if (Bytes != 0)
    {
        assert_int_equal((ULONG_PTR)Block >> PAGE_SHIFT, ((ULONG_PTR)Block + Bytes - 1) >> PAGE_SHIFT);
    }
}

static void blocks_of_all_sizes_and_types_keep_the_documented_rules(void **State)
{
    PEPROCESS Process;

    (void)State;
    assert_int_equal(PsCreateProcessInSession("session", 1, &Process), STATUS_SUCCESS);
    PsSetThreadProcess(Process);
    for (size_t Type = 0; Type < RTL_NUMBER_OF(Types); Type++)
    {
        UCHAR *Blocks[RTL_NUMBER_OF(Sizes)];

        for (size_t Index = 0; Index < RTL_NUMBER_OF(Sizes); Index++)
        {
            Blocks[Index] = ExAllocatePoolWithTag(Types[Type], Sizes[Index], TAG);
            CheckBlock(Blocks[Index], Sizes[Index], (Types[Type] & 4) != 0);
            memset(Blocks[Index], (int)Index, Sizes[Index]);
        }
        MiCheckPool();
        for (size_t Index = 0; Index < RTL_NUMBER_OF(Sizes); Index++)
        {
            for (SIZE_T Byte = 0; Byte < Sizes[Index]; Byte++)
            {
                assert_int_equal(Blocks[Index][Byte], (UCHAR)Index);
            }
            ExFreePoolWithTag(Blocks[Index], Index % 2 != 0 ? TAG : 0);
        }
    }
    PsSetThreadProcess(NULL);
    ObDereferenceObjectBody(Process);
}

/* A block whose data would begin where its page ends was taken for a block of the next page. */
static void aligned_blocks_of_no_bytes_lie_in_their_page(void **State)
{
    PVOID Blocks[100];

    (void)State;
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Blocks); Index++)
    {
        Blocks[Index] = ExAllocatePoolWithTag(NonPagedPoolCacheAligned, 0, TAG);
        assert_int_not_equal(BYTE_OFFSET(Blocks[Index]), 0);
    }
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Blocks); Index++)
    {
        ExFreePoolWithTag(Blocks[Index], TAG);
    }
}

static BOOLEAN IsZero(const UCHAR *Block, SIZE_T Bytes)
{
    for (SIZE_T Byte = 0; Byte < Bytes; Byte++)
    {
        if (Block[Byte] != 0)
        {
            return FALSE;
        }
    }
    return TRUE;
}

static void pool2_is_zeroed_unless_it_asks_not_to_be(void **State)
{
    static const POOL_FLAGS Kinds[] = { POOL_FLAG_NON_PAGED, POOL_FLAG_NON_PAGED_EXECUTE, POOL_FLAG_PAGED };

    (void)State;
    for (size_t Kind = 0; Kind < RTL_NUMBER_OF(Kinds); Kind++)
    {
        for (size_t Index = 1; Index < RTL_NUMBER_OF(Sizes); Index++)
        {
            UCHAR *Dirty = ExAllocatePool2(Kinds[Kind] | POOL_FLAG_UNINITIALIZED, Sizes[Index], TAG);
            UCHAR *Clean;

            assert_non_null(Dirty);
            memset(Dirty, 0xee, Sizes[Index]);
            ExFreePool2(Dirty, TAG, NULL, 0);
            Clean = ExAllocatePool2(Kinds[Kind], Sizes[Index], TAG);
            assert_non_null(Clean);
            assert_true(IsZero(Clean, Sizes[Index]));
            ExFreePool2(Clean, TAG, NULL, 0);
            Clean = ExAllocatePoolZero(Kind == 2 ? PagedPool : NonPagedPoolNx, Sizes[Index], TAG);
            assert_true(IsZero(Clean, Sizes[Index]));
            ExFreePool(Clean);
        }
    }
}

static void pool2_refuses_flags_that_it_does_not_know(void **State)
{
    static const POOL_FLAGS Bad[] = { 0, POOL_FLAG_NON_PAGED | POOL_FLAG_PAGED,
                                      POOL_FLAG_NON_PAGED | POOL_FLAG_NON_PAGED_EXECUTE,
                                      POOL_FLAG_NON_PAGED | POOL_FLAG_RESERVED2,
                                      POOL_FLAG_PAGED | 0x80000000ull };
    KI_EXCEPTION_FRAME Frame;
    volatile NTSTATUS Raised = STATUS_SUCCESS;
    PVOID Block;

    (void)State;
    for (size_t Index = 0; Index < RTL_NUMBER_OF(Bad); Index++)
    {
        assert_null(ExAllocatePool2(Bad[Index], 100, TAG));
    }
    assert_null(ExAllocatePool2(POOL_FLAG_NON_PAGED, 100, 0));
    Block = ExAllocatePool2(POOL_FLAG_NON_PAGED | 0x4000000000000000ull, 100, TAG); /* optional: ignored */
    assert_non_null(Block);
    ExFreePoolWithTag(Block, TAG);
    if (KiTry(&Frame))
    {
        ExAllocatePool2(POOL_FLAG_RAISE_ON_FAILURE, 100, TAG);
        KiEndTry(&Frame);
    }
    else
    {
        Raised = Frame.Record.ExceptionCode;
    }
    assert_int_equal(Raised, STATUS_INVALID_PARAMETER);
}

static void pool3_takes_known_parameters_and_ignores_optional_ones(void **State)
{
    POOL_EXTENDED_PARAMETER Parameters[2];
    PVOID Block;

    (void)State;
    memset(Parameters, 0, sizeof(Parameters));
    Parameters[0].Type = PoolExtendedParameterPriority;
    Parameters[0].Priority = NormalPoolPriority;
    Parameters[1].Type = PoolExtendedParameterNumaNode;
    Block = ExAllocatePool3(POOL_FLAG_NON_PAGED, 500, TAG, Parameters, 2);
    assert_non_null(Block);
    ExFreePool2(Block, TAG, NULL, 0);
    Parameters[1].Type = PoolExtendedParameterSecurePool;
    assert_null(ExAllocatePool3(POOL_FLAG_NON_PAGED, 500, TAG, Parameters, 2));
    Parameters[1].Optional = 1;
    Block = ExAllocatePool3(POOL_FLAG_NON_PAGED, 500, TAG, Parameters, 2);
    assert_non_null(Block);
    ExFreePool2(Block, TAG, &Parameters[1], 1);
}

static void failure_is_null_or_raises_as_asked(void **State)
{
    KI_EXCEPTION_FRAME Frame;
    volatile NTSTATUS Raised = STATUS_SUCCESS;

    (void)State;
    assert_null(ExAllocatePoolWithTag(NonPagedPoolNx, (SIZE_T)1 << 40, TAG));
    assert_null(ExAllocatePoolWithTag(PagedPool, ~(SIZE_T)0, TAG));
    assert_null(ExAllocatePoolWithTag(NonPagedPoolNx, ~(SIZE_T)0 - 4096, TAG));
    if (KiTry(&Frame))
    {
        ExAllocatePoolWithTag((POOL_TYPE)(PagedPool | POOL_RAISE_IF_ALLOCATION_FAILURE), (SIZE_T)1 << 44,
                              TAG);
        KiEndTry(&Frame);
    }
    else
    {
        Raised = Frame.Record.ExceptionCode;
    }
    assert_int_equal(Raised, STATUS_INSUFFICIENT_RESOURCES);
}

static void every_tag_is_counted(void **State)
{
    SYSTEM_POOLTAG Sums;
    PVOID Small = ExAllocatePoolWithTag(NonPagedPoolNx, 100, TAG);
    PVOID Big = ExAllocatePoolWithTag(NonPagedPoolNx, 10000, TAG);
    PVOID Paged = ExAllocatePoolWithTag(PagedPool, 5000, TAG);

    (void)State;
    assert_true(ExQueryPoolTag(TAG, &Sums));
    assert_int_equal(Sums.NonPagedAllocs - Sums.NonPagedFrees, 2);
    assert_int_equal(Sums.PagedAllocs - Sums.PagedFrees, 1);
    assert_int_equal(Sums.NonPagedUsed,
                     128 + 3 * PAGE_SIZE); /* 100 + 16 fit into 128? the class of 116 bytes */
    assert_int_equal(Sums.PagedUsed, 2 * PAGE_SIZE);
    ExFreePoolWithTag(Small, TAG);
    ExFreePoolWithTag(Big, TAG);
    ExFreePoolWithTag(Paged, TAG);
    assert_true(ExQueryPoolTag(TAG, &Sums));
    assert_int_equal(Sums.NonPagedAllocs, Sums.NonPagedFrees);
    assert_int_equal(Sums.NonPagedUsed + Sums.PagedUsed, 0);
    assert_false(ExQueryPoolTag(TAG2, &Sums));
}

static void more_tags_than_rows_are_counted_together(void **State)
{
    PVOID Blocks[1200];
    SYSTEM_POOLTAG Sums;

    (void)State;
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Blocks); Index++)
    {
        Blocks[Index] = ExAllocatePoolWithTag(NonPagedPoolNx, 64, 0x20202020 + Index);
        assert_non_null(Blocks[Index]);
    }
    assert_true(ExQueryPoolTag(EX_TAG_OVERFLOW, &Sums));
    assert_true(Sums.NonPagedAllocs >= RTL_NUMBER_OF(Blocks) - EX_TAG_ROWS);
    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Blocks); Index++)
    {
        ExFreePoolWithTag(Blocks[Index], 0x20202020 + Index);
    }
    assert_true(ExQueryPoolTag(EX_TAG_OVERFLOW, &Sums));
    assert_int_equal(Sums.NonPagedAllocs, Sums.NonPagedFrees);
}

static void big_blocks_are_in_their_table(void **State)
{
    SYSTEM_BIGPOOL_ENTRY Entries[4];
    SIZE_T Before = ExQueryBigPool(Entries, 0);
    PUCHAR Big = ExAllocatePoolWithTag(NonPagedPoolNx, 10000, TAG);

    (void)State;
    assert_int_equal(ExQueryBigPool(Entries, 4), Before + 1);
    assert_ptr_equal((PVOID)((ULONG_PTR)Entries[0].VirtualAddress & ~(ULONG_PTR)1), Big);
    assert_int_equal(Entries[0].NonPaged, 1);
    assert_int_equal(Entries[0].SizeInBytes, 3 * PAGE_SIZE);
    assert_int_equal(Entries[0].TagUlong, TAG);
    ExFreePoolWithTag(Big, TAG);
    assert_int_equal(ExQueryBigPool(Entries, 4), Before);
}

static void quota_is_charged_until_the_block_is_freed(void **State)
{
    ULONG64 Id = (ULONG64)(ULONG_PTR)PsGetCurrentProcessId();
    SIZE_T Usage[2];
    SIZE_T Peak[2];
    PVOID Small;
    PVOID Big;
    KI_EXCEPTION_FRAME Frame;
    volatile NTSTATUS Raised = STATUS_SUCCESS;

    (void)State;
    Small = ExAllocatePoolWithQuotaTag(PagedPool, 100, TAG);
    Big = ExAllocatePoolWithQuotaTag(PagedPool, 10000, TAG);
    ExQueryPoolQuota(Id, Usage, Peak);
    assert_true(Usage[1] >= 10100 && Usage[1] < 10200);
    assert_int_equal(Usage[0], 0);
    assert_int_equal(ExSetPoolQuotaLimit(Id, TRUE, 20000), STATUS_SUCCESS);
    assert_null(
        ExAllocatePoolWithQuotaTag((POOL_TYPE)(PagedPool | POOL_QUOTA_FAIL_INSTEAD_OF_RAISE), 10000, TAG));
    if (KiTry(&Frame))
    {
        ExAllocatePoolWithQuotaTag(PagedPool, 10000, TAG);
        KiEndTry(&Frame);
    }
    else
    {
        Raised = Frame.Record.ExceptionCode;
    }
    assert_int_equal(Raised, STATUS_QUOTA_EXCEEDED);
    ExFreePool(Big);
    ExFreePool(Small);
    ExQueryPoolQuota(Id, Usage, Peak);
    assert_int_equal(Usage[1], 0);
    assert_true(Peak[1] >= 10100);
    assert_int_equal(ExSetPoolQuotaLimit(Id, TRUE, 0), STATUS_SUCCESS);
}

static void return_too_much(void *Unused)
{
    (void)Unused;
    PsReturnPoolQuota(PsGetCurrentProcess(), PagedPool, 61);
}

static void quota_is_charged_without_a_block(void **State)
{
    PEPROCESS Process = PsGetCurrentProcess();
    ULONG64 Id = (ULONG64)(ULONG_PTR)PsGetProcessId(Process);
    SIZE_T Blocks = MiPoolBlocksInUse();
    SIZE_T Usage[2];
    SIZE_T Peak[2];
    KI_EXCEPTION_FRAME Frame;
    volatile NTSTATUS Raised = STATUS_SUCCESS;

    (void)State;
    assert_int_equal(PsChargeProcessPoolQuota(Process, PagedPool, 100), STATUS_SUCCESS);
    assert_int_equal(PsChargeProcessPoolQuota(Process, NonPagedPoolNx, 7), STATUS_SUCCESS);
    ExQueryPoolQuota(Id, Usage, Peak);
    assert_int_equal(Usage[0], 7);
    assert_int_equal(Usage[1], 100);
    assert_int_equal(ExSetPoolQuotaLimit(Id, TRUE, 150), STATUS_SUCCESS);
    assert_int_equal(PsChargeProcessPoolQuota(Process, PagedPool, 51), STATUS_QUOTA_EXCEEDED);
    if (KiTry(&Frame))
    {
        PsChargePoolQuota(Process, PagedPool, ~(ULONG_PTR)0);
        KiEndTry(&Frame);
    }
    else
    {
        Raised = Frame.Record.ExceptionCode;
    }
    assert_int_equal(Raised, STATUS_QUOTA_EXCEEDED);
    PsReturnPoolQuota(Process, PagedPool, 40); /* not as it was charged */
    TestExpectBugCheck(QUOTA_UNDERFLOW, return_too_much, NULL);
    assert_int_equal(TestBugCheckParameters[0], Id);
    PsReturnPoolQuota(Process, PagedPool, 60);
    PsReturnPoolQuota(Process, NonPagedPool, 7);
    assert_int_equal(ExSetPoolQuotaLimit(Id, TRUE, 0), STATUS_SUCCESS);
    assert_int_equal(MiPoolBlocksInUse(), Blocks);
}

static void low_priority_fails_before_high_priority(void **State)
{
    PVOID Blocks[4096];
    ULONG Count = 0;
    PVOID High;

    (void)State;
    while (Count < RTL_NUMBER_OF(Blocks) && (Blocks[Count] = ExAllocatePoolWithTagPriority(
                                                 NonPagedPoolNx, 4064, TAG, LowPoolPriority)) != NULL)
    {
        Count++;
    }
    assert_in_range(Count, 1, RTL_NUMBER_OF(Blocks) - 1);
    High = ExAllocatePoolWithTagPriority(NonPagedPoolNx, 4064, TAG, HighPoolPriority);
    assert_non_null(High);
    ExFreePool(High);
    while (Count > 0)
    {
        ExFreePool(Blocks[--Count]);
    }
}

static void paged_pool_goes_to_the_paging_file_and_comes_back(void **State)
{
    enum
    {
        Count = 300
    };
    static const TEST_MACHINE Machine = { .RamMegabytes = 16, .PagingFiles = 1, .Workers = TRUE };
    ULONG *Blocks[Count];

    (void)State;
    TestShutdownMachine();
    TestBootMachine(&Machine);
    for (ULONG Index = 0; Index < Count; Index++)
    {
        Blocks[Index] = ExAllocatePoolWithTag(PagedPool, 3000, TAG);
        assert_non_null(Blocks[Index]);
        for (ULONG Word = 0; Word < 750; Word++)
        {
            Blocks[Index][Word] = Index * 1000 + Word;
        }
    }
    for (ULONG Round = 0; Round < 3; Round++)
    {
        assert_true(MiEmptyWorkingSet(&MiState.Space->System) >= Count);
        MiFlushModifiedPages();
        MiPurgeStandby(7);
        for (ULONG Index = 0; Index < Count; Index++)
        {
            for (ULONG Word = 0; Word < 750; Word++)
            {
                assert_int_equal(Blocks[Index][Word], Index * 1000 + Word);
            }
        }
    }
    assert_true(MiSpaceHardFaultCount(&MiState.Space->System) > 0);
    for (ULONG Index = 0; Index < Count; Index++)
    {
        ExFreePoolWithTag(Blocks[Index], TAG);
    }
}

static void every_failure_leaves_nothing_behind(void **State)
{
    static const KI_INJECT Kinds[] = { KiInjectPool, KiInjectFrame, KiInjectCommit };
    static const SIZE_T Wanted[] = { 40, 3000, 20000 };

    (void)State;
    for (size_t Kind = 0; Kind < RTL_NUMBER_OF(Kinds); Kind++)
    {
        for (size_t Size = 0; Size < RTL_NUMBER_OF(Wanted); Size++)
        {
            for (ULONG64 Nth = 1; Nth < 50; Nth++)
            {
                ULONG64 Failed;
                PVOID Nonpaged;
                PVOID Paged;

                MiTrimPool();
                KiSetInjection(Kinds[Kind], Nth, FALSE);
                Nonpaged = ExAllocatePoolWithTag(NonPagedPoolNx, Wanted[Size], TAG);
                Paged = ExAllocatePoolWithQuotaTag((POOL_TYPE)(PagedPool | POOL_QUOTA_FAIL_INSTEAD_OF_RAISE),
                                                   Wanted[Size], TAG);
                KiQueryInjection(Kinds[Kind], &Failed);
                KiSetInjection(Kinds[Kind], 0, FALSE);
                MiCheckPool();
                if (Nonpaged != NULL)
                {
                    ExFreePool(Nonpaged);
                }
                if (Paged != NULL)
                {
                    ExFreePool(Paged);
                }
                MiTrimPool();
                TestAssertNothingLeft();
                if (Failed == 0)
                {
                    assert_non_null(Nonpaged);
                    assert_non_null(Paged);
                    break;
                }
            }
        }
    }
}

/* Every second frame is somebody's: there is no run of two. */
static void big_nonpaged_blocks_need_no_consecutive_frames(void **State)
{
    PFN_NUMBER Count = 0;
    PFN_NUMBER *Frames = calloc(MiState.Physical->NumberOfPages, sizeof(*Frames));
    SYSTEM_BIGPOOL_ENTRY Entries[64];
    BOOLEAN Found = FALSE;
    UCHAR *Block;
    SIZE_T Pages;

    (void)State;
    MiTrimPool();
    for (PFN_NUMBER Frame; (Frame = MiAllocatePage(0)) != 0;)
    {
        Frames[Count++] = Frame;
    }
    for (PFN_NUMBER Index = 0; Index < Count; Index++)
    {
        if ((Frames[Index] & 1) == 0)
        {
            MiFreePage(Frames[Index]);
        }
    }
    Block = ExAllocatePoolWithTag(NonPagedPoolNx, 100 * PAGE_SIZE - 5, TAG);
    CheckBlock(Block, 100 * PAGE_SIZE - 5, FALSE);
    assert_true((ULONG_PTR)Block < PORT_DIRECT_MAP_BASE);
    memset(Block, 0x5a, 100 * PAGE_SIZE - 5);
    for (ULONG Page = 0; Page < 99; Page++)
    {
        assert_int_equal(Block[Page * PAGE_SIZE], 0x5a);
    }
    MiCheckPool();
    Pages = MiPoolPagesInUse();
    SIZE_T Listed = ExQueryBigPool(Entries, RTL_NUMBER_OF(Entries));
    for (SIZE_T Index = 0; Index < Listed; Index++)
    {
        Found = Found || ((ULONG_PTR)Entries[Index].VirtualAddress == ((ULONG_PTR)Block | 1) &&
                          Entries[Index].SizeInBytes == 100 * PAGE_SIZE && Entries[Index].TagUlong == TAG);
    }
    assert_true(Found);
    ExFreePoolWithTag(Block, TAG);
    assert_int_equal(MiPoolPagesInUse(), Pages - 100);
    for (PFN_NUMBER Index = 0; Index < Count; Index++)
    {
        if ((Frames[Index] & 1) != 0)
        {
            MiFreePage(Frames[Index]);
        }
    }
    free(Frames);
}

/* The machine is booted inside the test: cmocka takes SIGSEGV, our page fault, right before it. */
#define NATIVE(Name)                                                                                         \
    static void Name##_natively(void **State)                                                                \
    {                                                                                                        \
        TestSetupDeterministic(State);                                                                       \
        Name(State);                                                                                         \
        MiTrimPool(); /* the region of paged pool is a VAD as long as a page is kept */                      \
        TestTeardown(State);                                                                                 \
    }

NATIVE(blocks_of_all_sizes_and_types_keep_the_documented_rules)
NATIVE(aligned_blocks_of_no_bytes_lie_in_their_page)
NATIVE(pool2_is_zeroed_unless_it_asks_not_to_be)
NATIVE(pool2_refuses_flags_that_it_does_not_know)
NATIVE(pool3_takes_known_parameters_and_ignores_optional_ones)
NATIVE(failure_is_null_or_raises_as_asked)
NATIVE(every_tag_is_counted)
NATIVE(more_tags_than_rows_are_counted_together)
NATIVE(big_blocks_are_in_their_table)
NATIVE(quota_is_charged_until_the_block_is_freed)
NATIVE(quota_is_charged_without_a_block)
NATIVE(low_priority_fails_before_high_priority)
NATIVE(paged_pool_goes_to_the_paging_file_and_comes_back)
NATIVE(every_failure_leaves_nothing_behind)
NATIVE(big_nonpaged_blocks_need_no_consecutive_frames)

int main(void)
{
    const struct CMUnitTest Tests[] = {
#define TEST(Name) { #Name, Name##_natively, NULL, NULL, NULL }
        TEST(blocks_of_all_sizes_and_types_keep_the_documented_rules),
        TEST(aligned_blocks_of_no_bytes_lie_in_their_page),
        TEST(pool2_is_zeroed_unless_it_asks_not_to_be),
        TEST(pool2_refuses_flags_that_it_does_not_know),
        TEST(pool3_takes_known_parameters_and_ignores_optional_ones),
        TEST(failure_is_null_or_raises_as_asked),
        TEST(every_tag_is_counted),
        TEST(more_tags_than_rows_are_counted_together),
        TEST(big_blocks_are_in_their_table),
        TEST(quota_is_charged_until_the_block_is_freed),
        TEST(quota_is_charged_without_a_block),
        TEST(low_priority_fails_before_high_priority),
        TEST(paged_pool_goes_to_the_paging_file_and_comes_back),
        TEST(every_failure_leaves_nothing_behind),
        TEST(big_nonpaged_blocks_need_no_consecutive_frames),
    };
    return cmocka_run_group_tests(Tests, NULL, NULL);
}
