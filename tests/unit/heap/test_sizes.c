/* SPDX-License-Identifier: MIT */
/*
 * Sizes that 32 or 64 bits do not hold: walks over free and uncommitted ranges of more than 4 GiB, whose entries have 32 bits
 * for a size, and heaps that ask for more than there can be.
 */
#include "heap_test.h"

#include "heap/api.h"
#include "nt/heapapi.h"
#include "nt/winerror.h"

#define GIB ((SIZE_T)1 << 30)

typedef struct
{
    unsigned busy;
    unsigned regions;
    unsigned longest; /* entries whose size is MAXULONG */
} walk_result;

/* Every entry lies behind the one before; a walk that stands still would never end. */
static walk_result walk(HANDLE heap)
{
    walk_result result = { 0 };
    PROCESS_HEAP_ENTRY entry = { 0 };
    unsigned entries = 0;
    const UCHAR *last = NULL;

    while (HeapWalk(heap, &entry))
    {
        const bool region = (entry.wFlags & PROCESS_HEAP_REGION) != 0;

        assert_true((UCHAR *)entry.lpData >= last);
        assert_true(entries < 200);
        last = (UCHAR *)entry.lpData + (region ? 0 : 1);
        entries += 1;
        result.busy += (entry.wFlags & PROCESS_HEAP_ENTRY_BUSY) != 0;
        result.regions += region;
        result.longest += entry.cbData == MAXULONG;
    }

    assert_int_equal(GetLastError(), ERROR_NO_MORE_ITEMS);

    return result;
}

static void a_walk_passes_free_ranges_of_more_than_4_gib(void **state)
{
    static const SIZE_T sizes[] = { 4 * GIB - 2 * 4096, 4 * GIB, 4 * GIB + 100, 5 * GIB };

    (void)state;
    for (size_t size = 0; size < sizeof(sizes) / sizeof(sizes[0]); size += 1)
    {
        HANDLE heap = HeapCreate(0, 0, 0);
        void *small = HeapAlloc(heap, 0, 100);
        void *long_block = HeapAlloc(heap, 0, sizes[size]);
        walk_result result;

        assert_non_null(small);
        assert_non_null(long_block);
        assert_true(HeapSize(heap, 0, long_block) == sizes[size]);
        result = walk(heap);
        assert_int_equal(result.busy, 2);
        assert_int_equal(result.regions, 2);
        assert_true(HeapFree(heap, 0, long_block));
        result = walk(heap);
        assert_int_equal(result.busy, 1);
        assert_int_equal(result.regions, 2);
        assert_true(HeapValidate(heap, 0, NULL));
        assert_true(HeapDestroy(heap));
    }
}

static void a_walk_passes_the_uncommitted_rest_of_a_long_heap(void **state)
{
    HANDLE heap = HeapCreate(0, 0, 9 * GIB);
    walk_result result;

    (void)state;
    assert_non_null(heap);
    assert_non_null(HeapAlloc(heap, 0, 1000));
    assert_non_null(HeapAlloc(heap, 0, 500000));
    result = walk(heap);
    assert_int_equal(result.busy, 2);
    assert_int_equal(result.regions, 1);
    assert_int_equal(result.longest, 2); /* the region and its rest */
    assert_true(HeapDestroy(heap));
}

/* Learn, "HeapCreate": NULL if the function fails. A size that wraps around when it is rounded asked for much, not for little. */
static void heaps_that_cannot_be_are_refused(void **state)
{
    static const SIZE_T sizes[] = { MAXSIZE_T,        MAXSIZE_T - 1, MAXSIZE_T - 4095,
                                    MAXSIZE_T - 4096, MAXSIZE_T / 2, (SIZE_T)1 << 50 };

    (void)state;
    for (size_t size = 0; size < sizeof(sizes) / sizeof(sizes[0]); size += 1)
    {
        RTL_HEAP_PARAMETERS parameters = { .Length = sizeof(parameters) };

        SetLastError(NO_ERROR);
        assert_null(HeapCreate(0, 0, sizes[size]));
        assert_int_equal(GetLastError(), ERROR_NOT_ENOUGH_MEMORY);
        SetLastError(NO_ERROR);
        assert_null(HeapCreate(0, sizes[size], 0));
        assert_int_equal(GetLastError(), ERROR_NOT_ENOUGH_MEMORY);
        assert_null(HeapCreate(0, sizes[size], sizes[size]));
        assert_null(RtlCreateHeap(HEAP_GROWABLE, NULL, sizes[size], 0, NULL, NULL));
        assert_null(RtlCreateHeap(HEAP_GROWABLE, NULL, 0, sizes[size], NULL, &parameters));
        assert_null(RtlCreateHeap(0, NULL, sizes[size], 4096, NULL, &parameters));
        assert_null(RtlCreateHeap(0, NULL, 0, sizes[size], NULL, NULL));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_walk_passes_free_ranges_of_more_than_4_gib),
        cmocka_unit_test(a_walk_passes_the_uncommitted_rest_of_a_long_heap),
        cmocka_unit_test(heaps_that_cannot_be_are_refused),
    };

    return cmocka_run_group_tests_name("heap.sizes", tests, NULL, NULL);
}
