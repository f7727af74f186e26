/* SPDX-License-Identifier: MIT */
/*
 * The RtlHeap family: what the documentation says of flags, sizes, failures, walking and validation.
 */
#include "heap_test.h"

#include "heap/api.h"
#include "nt/heapapi.h"
#include "nt/winerror.h"

static void sizes_are_the_requested_ones(void **state)
{
    PVOID heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);
    static const size_t sizes[] = { 0, 1, 15, 16, 17, 100, 4095, 16384, 16385, 524288, 524289, 3000000 };

    (void)state;
    assert_non_null(heap);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i += 1)
    {
        char *block = RtlAllocateHeap(heap, HEAP_ZERO_MEMORY, sizes[i]);

        assert_non_null(block);
        assert_int_equal((uintptr_t)block % 16, 0);
        assert_int_equal(RtlSizeHeap(heap, 0, block), sizes[i]);
        for (size_t at = 0; at < sizes[i]; at += 1)
        {
            assert_int_equal(block[at], 0);
        }

        memset(block, 0x55, sizes[i]);
        assert_true(RtlValidateHeap(heap, 0, block));
        assert_true(RtlFreeHeap(heap, 0, block));
    }

    assert_int_equal(RtlSizeHeap(heap, 0, (char *)heap + 64), (SIZE_T)-1);
    assert_true(RtlFreeHeap(heap, 0, NULL));
    assert_null(RtlDestroyHeap(heap));
    assert_null(RtlAllocateHeap(heap, 0, 16)); /* the handle is dead */
}

static void realloc_in_place_only_fails_rather_than_move(void **state)
{
    PVOID heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);
    char *block = RtlAllocateHeap(heap, 0, 100);
    char *next = RtlAllocateHeap(heap, 0, 100);

    (void)state;
    memset(block, 7, 100);
    assert_null(RtlReAllocateHeap(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, 100000));
    assert_int_equal(RtlSizeHeap(heap, 0, block), 100);
    assert_ptr_equal(RtlReAllocateHeap(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, 60), block);
    assert_int_equal(RtlSizeHeap(heap, 0, block), 60);
    block = RtlReAllocateHeap(heap, HEAP_ZERO_MEMORY, block, 100000);
    assert_non_null(block);
    for (int i = 0; i < 100000; i += 1)
    {
        assert_int_equal(block[i], i < 60 ? 7 : 0);
    }

    block = RtlReAllocateHeap(heap, 0, block, 0);
    assert_non_null(block);
    assert_int_equal(RtlSizeHeap(heap, 0, block), 0);
    assert_true(RtlFreeHeap(heap, 0, next));
    assert_null(RtlDestroyHeap(heap));
}

/* A block shrinks in place while no descriptor can be had for the pages that it would give back. */
static void a_shrink_that_cannot_give_pages_back_tells_the_size(void **state)
{
    static const size_t sizes[] = { 39 << 20, 25 << 20, 22 << 20 }; /* of 40 MiB: the last leaves too much */
    PVOID handle = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);
    PHEAP heap = handle;
    PVOID block = RtlAllocateHeap(handle, 0, 40 << 20);
    const ULONG spare = heap->Spare[1];
    const ULONG donated = RtlpProcess.Donated[1];
    const SIZE_T room = RtlpArena.MetadataSize;

    (void)state;
    assert_non_null(block);
    for (size_t i = 0; i < 3; i += 1)
    {
        heap->Spare[1] = 0;
        RtlpProcess.Donated[1] = 0;
        RtlpArena.MetadataSize = RtlpArena.MetadataUsed;

        PVOID same = RtlReAllocateHeap(handle, HEAP_REALLOC_IN_PLACE_ONLY, block, sizes[i]);

        heap->Spare[1] = spare;
        RtlpProcess.Donated[1] = donated;
        RtlpArena.MetadataSize = room;
        assert_ptr_equal(same, i < 2 ? block : NULL);
        assert_int_equal(RtlSizeHeap(handle, 0, block), sizes[i < 2 ? i : 1]);
    }

    assert_true(RtlValidateHeap(handle, 0, NULL));
    assert_true(RtlFreeHeap(handle, 0, block));
    assert_null(RtlDestroyHeap(handle));
}

static void the_maximum_allocation_size_is_kept(void **state)
{
    RTL_HEAP_PARAMETERS parameters = { .Length = sizeof(parameters), .MaximumAllocationSize = 1000 };
    PVOID heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, &parameters);
    void *block = RtlAllocateHeap(heap, 0, 1000);

    (void)state;
    assert_non_null(block);
    assert_null(RtlAllocateHeap(heap, 0, 1001));
    assert_null(RtlReAllocateHeap(heap, 0, block, 1001));
    assert_int_equal(RtlSizeHeap(heap, 0, block), 1000);
    assert_null(RtlDestroyHeap(heap));
}

static int exceptions;
static NTSTATUS exception_status;
static PVOID exception_heap;
static jmp_buf exception_frame;

static VOID count_exception(PVOID heap, NTSTATUS status)
{
    exceptions += 1;
    exception_heap = heap;
    exception_status = status;
}

static VOID leave_by_jump(PVOID heap, NTSTATUS status)
{
    count_exception(heap, status);
    longjmp(exception_frame, 1);
}

static void expect_exception(PVOID result, PVOID heap, NTSTATUS status)
{
    static int before;

    assert_null(result);
    assert_int_equal(exceptions, before + 1);
    assert_ptr_equal(exception_heap, heap);
    assert_int_equal(exception_status, status);
    before = exceptions;
}

/* Learn, "RtlAllocateHeap", "HeapAlloc", "HeapReAlloc": which status tells what. */
static void generate_exceptions_raises_the_documented_statuses(void **state)
{
    HANDLE heap = HeapCreate(HEAP_GENERATE_EXCEPTIONS, 0, 65536);
    HANDLE quiet = HeapCreate(0, 0, 65536);
    void *block;

    (void)state;
    RtlpExceptionHandler = count_exception;
    expect_exception(HeapAlloc(heap, 0, 100000), heap, STATUS_NO_MEMORY);
    expect_exception(HeapAlloc(heap, 0, 2 << 20), heap, STATUS_BUFFER_TOO_SMALL);
    block = HeapAlloc(heap, 0, 100);
    assert_non_null(block);
    assert_non_null(HeapAlloc(heap, 0, 100));
    expect_exception(HeapReAlloc(heap, 0, block, 100000), heap, STATUS_NO_MEMORY);
    expect_exception(HeapReAlloc(heap, HEAP_REALLOC_IN_PLACE_ONLY, block, 5000), heap, STATUS_NO_MEMORY);
    expect_exception(HeapReAlloc(heap, 0, block, 2 << 20), heap, STATUS_BUFFER_TOO_SMALL);
    expect_exception(HeapReAlloc(heap, 0, NULL, 10), heap, STATUS_ACCESS_VIOLATION);
    assert_int_equal(HeapSize(heap, 0, block), 100);
    assert_true(HeapFree(heap, 0, block));

    /* By the call's flags, too; without the flag nothing is raised. */
    expect_exception(HeapAlloc(quiet, HEAP_GENERATE_EXCEPTIONS, 100000), quiet, STATUS_NO_MEMORY);
    expect_exception(HeapAlloc(NULL, HEAP_GENERATE_EXCEPTIONS, 1), NULL, STATUS_ACCESS_VIOLATION);
    expect_exception(HeapReAlloc(NULL, HEAP_GENERATE_EXCEPTIONS, &block, 1), NULL, STATUS_ACCESS_VIOLATION);
    assert_null(HeapAlloc(quiet, 0, 100000));
    assert_null(HeapAlloc(NULL, 0, 1));
    assert_null(HeapReAlloc(quiet, 0, NULL, 1));

    /* No lock is held when the handler leaves, not even the whole heap's of a caller in between. */
    RtlpExceptionHandler = leave_by_jump;
    for (int round = 0; round < 3; round += 1)
    {
        if (setjmp(exception_frame) == 0)
        {
            (void)HeapAlloc(heap, 0, 100000);
            fail();
        }

        expect_exception(NULL, heap, STATUS_NO_MEMORY);
        assert_true(RtlpTryLock(&((PHEAP)heap)->Lock));
        RtlpReleaseLock(&((PHEAP)heap)->Lock);
    }

    RtlpExceptionHandler = NULL;
    assert_true(HeapValidate(heap, 0, NULL));
    assert_true(HeapDestroy(heap));
    assert_true(HeapDestroy(quiet));
}

/* Learn, "HeapCreate": all blocks of such a heap allow code execution, those of memory that it takes later, too. */
static void blocks_of_executable_heaps_can_be_executed(void **state)
{
    HANDLE heaps[2] = { HeapCreate(HEAP_CREATE_ENABLE_EXECUTE | HEAP_CREATE_ALIGN_16, 0, 0),
                        HeapCreate(HEAP_CREATE_ENABLE_EXECUTE | HEAP_CREATE_ALIGN_16, 4096, 8 << 20) };

    (void)state;
    for (int kind = 0; kind < 2; kind += 1)
    {
        for (int i = 0; i < 300; i += 1)
        {
            uint8_t *block = HeapAlloc(heaps[kind], 0, i % 100 == 99 ? 700000 : (SIZE_T)(1 + i * 60));

            assert_non_null(block);
            assert_int_equal((uintptr_t)block % 16, 0);
            *block = 0xc3; /* ret */
            ((void (*)(void))(uintptr_t)block)();
        }

        assert_true(HeapDestroy(heaps[kind]));
    }
}

static void user_values_and_flags_travel_with_the_block(void **state)
{
    PVOID heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);
    PVOID block = RtlAllocateHeap(heap, HEAP_SETTABLE_USER_VALUE | HEAP_SETTABLE_USER_FLAG1, 24);
    PVOID plain = RtlAllocateHeap(heap, 0, 24);
    PVOID value;
    ULONG flags;

    (void)state;
    assert_false(RtlSetUserValueHeap(heap, 0, plain, &value));
    assert_true(RtlSetUserValueHeap(heap, 0, block, (PVOID)0x1234));
    assert_true(RtlSetUserFlagsHeap(heap, 0, block, HEAP_SETTABLE_USER_FLAG1, HEAP_SETTABLE_USER_FLAG3));
    assert_false(RtlSetUserFlagsHeap(heap, 0, block, 1, 0));
    block = RtlReAllocateHeap(heap, 0, block, 5000);
    assert_non_null(block);
    assert_true(RtlGetUserInfoHeap(heap, 0, block, &value, &flags));
    assert_ptr_equal(value, (PVOID)0x1234);
    assert_int_equal(flags, HEAP_SETTABLE_USER_FLAG3);
    assert_int_equal(RtlSizeHeap(heap, 0, block), 5000);
    assert_null(RtlDestroyHeap(heap));
}

static void a_walk_meets_every_block_once(void **state)
{
    HANDLE heaps[2] = { HeapCreate(0, 0, 0), HeapCreate(0, 0, 1 << 20) };

    (void)state;
    for (int h = 0; h < 2; h += 1)
    {
        void *blocks[200];
        int seen[200] = { 0 };
        int busy = 0;
        int regions = 0;
        PROCESS_HEAP_ENTRY entry = { 0 };
        HEAP_SUMMARY summary = { .cb = sizeof(summary) };

        for (int i = 0; i < 200; i += 1)
        {
            blocks[i] = HeapAlloc(heaps[h], 0, (size_t)(i * 7 + (h == 0 && i % 50 == 0 ? 40000 : 0)));
            assert_non_null(blocks[i]);
        }

        assert_true(HeapLock(heaps[h]));
        while (HeapWalk(heaps[h], &entry))
        {
            regions += (entry.wFlags & PROCESS_HEAP_REGION) != 0;
            if ((entry.wFlags & PROCESS_HEAP_ENTRY_BUSY) != 0)
            {
                busy += 1;
                for (int i = 0; i < 200; i += 1)
                {
                    if (blocks[i] == entry.lpData)
                    {
                        seen[i] += 1;
                        assert_int_equal(entry.cbData, HeapSize(heaps[h], 0, blocks[i]));
                    }
                }
            }
        }

        assert_int_equal(GetLastError(), 259 /* ERROR_NO_MORE_ITEMS */);
        assert_true(HeapUnlock(heaps[h]));
        assert_false(HeapUnlock(heaps[h]));
        assert_int_equal(busy, 200);
        assert_true(regions >= 1);
        for (int i = 0; i < 200; i += 1)
        {
            assert_int_equal(seen[i], 1);
        }

        assert_true(HeapSummary(heaps[h], 0, &summary));
        assert_true(summary.cbAllocated > 200 * 7 * 100 / 2 && summary.cbAllocated <= summary.cbCommitted);
        assert_true(summary.cbCommitted <= summary.cbReserved);
        assert_true(HeapDestroy(heaps[h]));
    }
}

static void information_classes_answer_as_documented(void **state)
{
    HANDLE heap = HeapCreate(0, 0, 0);
    HANDLE unserialized = HeapCreate(HEAP_NO_SERIALIZE, 0, 0);
    HANDLE fixed = HeapCreate(0, 0, 65536);
    ULONG value = 99;
    SIZE_T length = 0;
    HEAP_OPTIMIZE_RESOURCES_INFORMATION optimize = { HEAP_OPTIMIZE_RESOURCES_CURRENT_VERSION, 0 };

    (void)state;
    assert_true(HeapQueryInformation(heap, HeapCompatibilityInformation, &value, sizeof(value), &length));
    assert_int_equal(value, 2);
    assert_int_equal(length, sizeof(ULONG));
    assert_true(HeapSetInformation(heap, HeapCompatibilityInformation, &value, sizeof(value)));
    assert_false(HeapSetInformation(unserialized, HeapCompatibilityInformation, &value, sizeof(value)));
    assert_true(
        HeapQueryInformation(unserialized, HeapCompatibilityInformation, &value, sizeof(value), NULL));
    assert_int_equal(value, 0);
    assert_true(HeapQueryInformation(fixed, HeapCompatibilityInformation, &value, sizeof(value), NULL));
    assert_int_equal(value, 0);
    assert_false(HeapQueryInformation(heap, HeapCompatibilityInformation, &value, 2, &length));
    assert_int_equal(GetLastError(), 122 /* ERROR_INSUFFICIENT_BUFFER */);
    assert_true(HeapSetInformation(NULL, HeapEnableTerminationOnCorruption, NULL, 0));
    assert_true(HeapSetInformation(heap, HeapOptimizeResources, &optimize, sizeof(optimize)));
    optimize.Version = 7;
    assert_false(HeapSetInformation(heap, HeapOptimizeResources, &optimize, sizeof(optimize)));
    assert_int_equal(RtlSetHeapInformation(heap, HeapTag, &value, sizeof(value)), STATUS_NOT_IMPLEMENTED);
    assert_true(HeapDestroy(heap));
    assert_true(HeapDestroy(unserialized));
    assert_true(HeapDestroy(fixed));
}

/* However many there are. */
static void all_heaps_are_optimized_without_a_handle(void **state)
{
    HEAP_OPTIMIZE_RESOURCES_INFORMATION optimize = { HEAP_OPTIMIZE_RESOURCES_CURRENT_VERSION, 0 };
    PHEAP heaps[100];

    (void)state;
    for (int i = 0; i < 100; i += 1)
    {
        heaps[i] = HeapCreate(0, 0, 0);
        assert_non_null(heaps[i]);

        void *block = HeapAlloc(heaps[i], 0, 400000);

        assert_non_null(block);
        memset(block, 1, 400000);
        assert_true(HeapFree(heaps[i], 0, block));
        assert_true(heaps[i]->Pools[HeapPoolSmall].DirtyPages >= 90);
    }

    assert_true(HeapSetInformation(NULL, HeapOptimizeResources, &optimize, sizeof(optimize)));
    for (int i = 0; i < 100; i += 1)
    {
        assert_int_equal(heaps[i]->Pools[HeapPoolSmall].DirtyPages, 0);
        assert_true(HeapDestroy(heaps[i]));
    }
}

static void the_process_has_a_heap_that_stays(void **state)
{
    HANDLE heaps[16];
    const DWORD before = GetProcessHeaps(0, NULL);
    HANDLE heap = HeapCreate(0, 0, 0);
    const DWORD count = GetProcessHeaps(16, heaps);
    int found = 0;

    (void)state;
    assert_int_equal(count, before + 1);
    for (DWORD i = 0; i < count; i += 1)
    {
        found += heaps[i] == heap;
        found += heaps[i] == GetProcessHeap();
    }

    assert_int_equal(found, 2);
    assert_false(HeapDestroy(GetProcessHeap()));
    assert_true(HeapDestroy(heap));
    assert_int_equal(GetProcessHeaps(0, NULL), before);
    assert_false(HeapLock((HANDLE)0x123));
}

static void many_blocks_at_a_time(void **state)
{
    PVOID heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);
    PVOID blocks[100];

    (void)state;
    assert_int_equal(RtlMultipleAllocateHeap(heap, 0, 48, 100, blocks), 100);
    assert_int_equal(RtlMultipleFreeHeap(heap, 0, 100, blocks), 100);
    assert_true(RtlValidateHeap(heap, 0, NULL));
    assert_null(RtlDestroyHeap(heap));
}

static void destroyed_heaps_leave_nothing(void **state)
{
    SIZE_T used = 0;

    (void)state;
    for (int round = 0; round < 60; round += 1)
    {
        PVOID heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);

        for (int i = 0; i < 3000; i += 1)
        {
            assert_non_null(RtlAllocateHeap(heap, 0, (size_t)(i % 700) * (i % 11)));
        }

        assert_null(RtlDestroyHeap(heap));
        if (round == 20)
        {
            used = RtlpArena.MetadataUsed;
        }
    }

    assert_int_equal(RtlpArena.MetadataUsed, used);
}

static int misuse(PVOID heap, char *block, size_t size, int kind, PVOID other)
{
    heap_damage.count = 0;
    switch (kind)
    {
    case 0: /* overrun by one byte, into the trailer if no slack is left */
        block[size] ^= 0x5a;
        RtlFreeHeap(heap, 0, block);
        break;
    case 1: /* double free */
        RtlFreeHeap(heap, 0, block);
        RtlFreeHeap(heap, 0, block);
        break;
    case 2: /* interior */
        RtlFreeHeap(heap, 0, block + 16);
        RtlFreeHeap(heap, 0, block);
        break;
    case 3: /* misaligned */
        RtlFreeHeap(heap, 0, block + 1);
        RtlFreeHeap(heap, 0, block);
        break;
    case 4: /* another heap's block */
        RtlFreeHeap(other, 0, block);
        RtlFreeHeap(heap, 0, block);
        break;
    default: /* realloc after free */
        RtlFreeHeap(heap, 0, block);
        assert_null(RtlReAllocateHeap(heap, 0, block, size * 2));
        break;
    }

    return heap_damage.count;
}

static void every_misuse_is_caught(void **state)
{
    PVOID heaps[2] = { RtlCreateHeap(HEAP_GROWABLE | HEAP_TAIL_CHECKING_ENABLED, NULL, 0, 0, NULL, NULL),
                       RtlCreateHeap(HEAP_TAIL_CHECKING_ENABLED, NULL, 4 << 20, 0, NULL, NULL) };
    PVOID other = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);
    int caught = 0;
    int made = 0;

    (void)state;
    RtlpDamageHandler = heap_collect_damage;
    for (int h = 0; h < 2; h += 1)
    {
        for (int round = 0; round < 40; round += 1)
        {
            for (size_t size = 24; size < 40000; size = size * 3 + 1)
            {
                for (int kind = 0; kind < 6; kind += 1)
                {
                    char *block = RtlAllocateHeap(heaps[h], 0, size);

                    assert_non_null(block);
                    const int count = misuse(heaps[h], block, size, kind, other);

                    if (count != 1)
                    {
                        print_message("heap %d size %zu kind %d: %d reports\n", h, size, kind, count);
                    }

                    caught += count == 1;
                    made += 1;
                }
            }
        }
    }

    RtlpDamageHandler = NULL;
    print_message("caught %d of %d misuses\n", caught, made);
    assert_int_equal(caught, made);
    assert_null(RtlDestroyHeap(heaps[0]));
    assert_null(RtlDestroyHeap(heaps[1]));
    assert_null(RtlDestroyHeap(other));
}

static void free_checking_sees_writes_to_freed_blocks(void **state)
{
    PVOID heap = RtlCreateHeap(HEAP_GROWABLE | HEAP_FREE_CHECKING_ENABLED, NULL, 0, 0, NULL, NULL);
    char *blocks[64];
    int reports = 0;

    (void)state;
    for (int i = 0; i < 64; i += 1)
    {
        blocks[i] = RtlAllocateHeap(heap, 0, 200);
    }

    for (int i = 0; i < 64; i += 1)
    {
        assert_true(RtlFreeHeap(heap, 0, blocks[i]));
    }

    blocks[17][33] = 1;
    RtlpDamageHandler = heap_collect_damage;
    heap_damage.count = 0;
    assert_false(RtlFreeHeap(heap, 0, blocks[20])); /* it waits: a double free */
    assert_int_equal(heap_damage.count, 1);
    assert_int_equal(heap_damage.last, HeapDamageDoubleFree);
    heap_damage.count = 0;
    (void)RtlCompactHeap(heap, 0);
    RtlpDamageHandler = NULL;
    reports = heap_damage.count;
    assert_int_equal(reports, 1);
    assert_int_equal(heap_damage.last, HeapDamageFreed);
    assert_null(RtlDestroyHeap(heap));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_the_requested_ones),
        cmocka_unit_test(realloc_in_place_only_fails_rather_than_move),
        cmocka_unit_test(a_shrink_that_cannot_give_pages_back_tells_the_size),
        cmocka_unit_test(the_maximum_allocation_size_is_kept),
        cmocka_unit_test(generate_exceptions_raises_the_documented_statuses),
        cmocka_unit_test(blocks_of_executable_heaps_can_be_executed),
        cmocka_unit_test(user_values_and_flags_travel_with_the_block),
        cmocka_unit_test(a_walk_meets_every_block_once),
        cmocka_unit_test(information_classes_answer_as_documented),
        cmocka_unit_test(all_heaps_are_optimized_without_a_handle),
        cmocka_unit_test(the_process_has_a_heap_that_stays),
        cmocka_unit_test(many_blocks_at_a_time),
        cmocka_unit_test(destroyed_heaps_leave_nothing),
        cmocka_unit_test(every_misuse_is_caught),
        cmocka_unit_test(free_checking_sees_writes_to_freed_blocks),
    };

    return cmocka_run_group_tests_name("heap.rtlheap", tests, NULL, NULL);
}
