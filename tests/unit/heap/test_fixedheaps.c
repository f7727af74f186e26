/* SPDX-License-Identifier: MIT */
/* Heaps that do not grow, heaps in memory of the caller, and who commits it. Source: Microsoft Learn, RtlCreateHeap and HeapCreate. */
#include "heap_test.h"

#include "heap/api.h"
#include "nt/heapapi.h"
#include "nt/winerror.h"

static void fixed_heaps_end_where_they_were_told(void **state)
{
    HANDLE heap = HeapCreate(0, 4096, 65536);
    void *blocks[70];
    int count = 0;

    (void)state;
    assert_non_null(heap);
    while (count < 70 && (blocks[count] = HeapAlloc(heap, 0, 1000)) != NULL)
    {
        memset(blocks[count], count, 1000);
        count += 1;
    }

    assert_in_range(count, 60, 65);
    assert_true(HeapValidate(heap, 0, NULL));
    for (int i = 0; i < count; i += 2)
    {
        assert_true(HeapFree(heap, 0, blocks[i]));
    }

    assert_null(HeapAlloc(heap, 0, 1500)); /* every gap is 1008 bytes */
    assert_true(HeapFree(heap, 0, blocks[1]));
    assert_non_null(HeapAlloc(heap, 0, 3000)); /* three of them coalesced */
    assert_true(HeapValidate(heap, 0, NULL));
    assert_true(HeapDestroy(heap));

    /* Slightly less than 1024 KB is the largest block of such a heap, whatever its size. */
    heap = HeapCreate(0, 0, 16 << 20);
    assert_null(HeapAlloc(heap, 0, 1024 * 1024));
    assert_non_null(HeapAlloc(heap, 0, 1000 * 1024));
    assert_true(HeapDestroy(heap));
    assert_null(HeapCreate(0, 100000, 4096));
}

static int commits;

static BOOLEAN fail_commit(PVOID base, SIZE_T size, BOOLEAN executable)
{
    (void)base;
    (void)size;
    (void)executable;

    return FALSE;
}

static NTSTATUS NTAPI commit_routine(PVOID base, PVOID *address, PSIZE_T size)
{
    (void)base;
    (void)address;
    commits += 1;
    *size = (*size + 4095) & ~(SIZE_T)4095;

    return commits <= 3 ? STATUS_SUCCESS : STATUS_NO_MEMORY;
}

static void memory_of_the_caller_is_used_and_its_commit_routine_asked(void **state)
{
    static DECLSPEC_ALIGN(4096) UCHAR memory[65536];
    RTL_HEAP_PARAMETERS parameters = { .Length = sizeof(parameters),
                                       .InitialCommit = 4096,
                                       .InitialReserve = sizeof(memory),
                                       .CommitRoutine = commit_routine };
    PVOID heap = RtlCreateHeap(0, memory, 1, 1, NULL, &parameters); /* the parameters' sizes count */
    int count = 0;

    (void)state;
    assert_non_null(heap);
    for (UCHAR *block; (block = RtlAllocateHeap(heap, 0, 500)) != NULL; count += 1)
    {
        assert_true(block >= memory && block + 500 <= memory + sizeof(memory));
    }

    assert_int_equal(commits, 4);
    assert_in_range(count, 4 * 4096 / 512 - 1, 4 * 4096 / 512);
    assert_true(RtlValidateHeap(heap, 0, NULL));
    assert_null(RtlDestroyHeap(heap));

    parameters.Length = 8;
    assert_null(RtlCreateHeap(0, memory, sizeof(memory), 4096, NULL, &parameters));
    parameters.Length = sizeof(parameters);
    assert_null(RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL,
                              &parameters)); /* a routine needs memory and no growth */
    parameters.InitialCommit = 0;
    assert_null(RtlCreateHeap(0, memory, sizeof(memory), 4096, NULL, &parameters));
    parameters.InitialCommit = 8192;
    parameters.InitialReserve = 4096;
    assert_null(RtlCreateHeap(0, memory, sizeof(memory), 4096, NULL, &parameters));
    parameters.InitialReserve = 0;
    assert_null(RtlCreateHeap(0, memory, sizeof(memory), 4096, NULL, &parameters));

    /* Without a routine these two are ignored, and all of the memory is there. */
    parameters.CommitRoutine = NULL;
    heap = RtlCreateHeap(0, memory, sizeof(memory), 4096, NULL, &parameters);
    assert_non_null(heap);
    assert_non_null(RtlAllocateHeap(heap, 0, 60000));
    assert_null(RtlDestroyHeap(heap));
}

/* Learn: a growable heap's size is limited only by available memory, also where the caller gave its first memory. */
static void a_growable_heap_in_memory_of_the_caller_takes_more(void **state)
{
    static DECLSPEC_ALIGN(4096) UCHAR memory[65536];
    const ULONG flags[3] = { 0, HEAP_TAIL_CHECKING_ENABLED | HEAP_FREE_CHECKING_ENABLED, HEAP_NO_SERIALIZE };
    static UCHAR *blocks[400];

    (void)state;
    for (int kind = 0; kind < 3; kind += 1)
    {
        PVOID heap = RtlCreateHeap(HEAP_GROWABLE | flags[kind], memory, sizeof(memory), 0, NULL, NULL);
        PVOID other = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);
        RTL_HEAP_WALK_ENTRY entry = { 0 };
        HEAP_SUMMARY summary = { .cb = sizeof(summary) };
        int inside = 0, met = 0, regions = 0;

        assert_non_null(heap);
        for (int i = 0; i < 400; i += 1)
        {
            const SIZE_T size = (SIZE_T)(i % 100 == 99 ? 600000 : 1 + i * 7);

            blocks[i] = RtlAllocateHeap(heap, 0, size);
            assert_non_null(blocks[i]);
            memset(blocks[i], i, size);
            inside += blocks[i] >= memory && blocks[i] < memory + sizeof(memory);
        }

        assert_in_range(inside, 100, 300);
        assert_true(RtlValidateHeap(heap, 0, NULL));
        while (RtlWalkHeap(heap, &entry) == STATUS_SUCCESS)
        {
            met += (entry.Flags & RTL_HEAP_BUSY) != 0;
            regions += (entry.Flags & RTL_HEAP_SEGMENT) != 0;
            assert_true((entry.Flags & RTL_HEAP_SEGMENT) == 0 || entry.SegmentIndex == regions - 1);
        }

        assert_int_equal(met, 400);
        assert_true(regions >= 2);
        assert_true(HeapSummary(heap, 0, &summary) && summary.cbReserved > sizeof(memory) &&
                    summary.cbMaxReserve > (SIZE_T)1 << 30);

        /* Blocks move between both, and are freed where they are; nothing else is a block. */
        for (int i = 0; i < 400; i += 1)
        {
            const SIZE_T size = RtlSizeHeap(heap, 0, blocks[i]);
            UCHAR *moved = RtlReAllocateHeap(heap, 0, blocks[i], i % 3 == 0 ? size * 2 : size / 2 + 1);

            assert_non_null(moved);
            for (SIZE_T at = 0; at < size / 2 + 1; at += size / 7 + 1)
            {
                assert_int_equal(moved[at], (UCHAR)i);
            }

            blocks[i] = moved;
        }

        assert_true(RtlValidateHeap(heap, 0, NULL));
        RtlpDamageHandler = heap_collect_damage;
        heap_damage.count = 0;
        for (int i = 0; i < 400; i += 1)
        {
            assert_false(RtlFreeHeap(other, 0, blocks[i]));
            assert_false(RtlFreeHeap(heap, 0, blocks[i] + 8));
            assert_true(RtlFreeHeap(heap, 0, blocks[i]));
            assert_false(RtlFreeHeap(heap, 0, blocks[i]));
        }

        assert_false(RtlFreeHeap(heap, 0, memory + sizeof(memory)));
        assert_int_equal(heap_damage.count, 3 * 400 + 1);
        RtlpDamageHandler = NULL;
        (void)RtlCompactHeap(heap, 0);
        assert_int_equal(((PHEAP)heap)->Pools[HeapPoolSmall].DirtyPages, 0);
        assert_non_null(RtlAllocateHeap(heap, 0, 60000));
        assert_true(RtlValidateHeap(heap, 0, NULL));
        assert_null(RtlDestroyHeap(heap));
        assert_null(RtlDestroyHeap(other));
    }
}

/* Learn: a CommitSize greater than ReserveSize is reduced to it; only HeapCreate refuses. */
static void no_more_is_committed_than_is_reserved(void **state)
{
    PVOID heap = RtlCreateHeap(0, NULL, 65536, 1 << 20, NULL, NULL);
    HEAP_SUMMARY summary = { .cb = sizeof(summary) };

    (void)state;
    assert_non_null(heap);
    assert_true(HeapSummary(heap, 0, &summary));
    assert_int_equal(summary.cbCommitted, 65536);
    assert_int_equal(summary.cbMaxReserve, 65536);
    assert_non_null(RtlAllocateHeap(heap, 0, 60000));
    assert_null(RtlDestroyHeap(heap));
    assert_null(HeapCreate(0, 1 << 20, 65536));
    assert_int_equal(GetLastError(), ERROR_INVALID_PARAMETER);
}

/* Learn: a heap that does not grow has no block above its virtual memory threshold. */
static void the_virtual_memory_threshold_bounds_blocks_of_fixed_heaps(void **state)
{
    RTL_HEAP_PARAMETERS parameters = { .Length = sizeof(parameters), .VirtualMemoryThreshold = 20000 };
    PVOID heap = RtlCreateHeap(0, NULL, 1 << 20, 0, NULL, &parameters);
    void *block = RtlAllocateHeap(heap, 0, 20000);

    (void)state;
    assert_non_null(block);
    assert_null(RtlAllocateHeap(heap, 0, 20001));
    assert_null(RtlReAllocateHeap(heap, 0, block, 20001));
    assert_int_equal(RtlSizeHeap(heap, 0, block), 20000);
    assert_null(RtlDestroyHeap(heap));

    /* One that is too large counts as none. */
    parameters.VirtualMemoryThreshold = 8 << 20;
    heap = RtlCreateHeap(0, NULL, 16 << 20, 0, NULL, &parameters);
    assert_null(RtlAllocateHeap(heap, 0, 2 << 20));
    assert_non_null(RtlAllocateHeap(heap, 0, 1000 * 1024));
    assert_null(RtlDestroyHeap(heap));

    /* Where it is no limit. */
    parameters.VirtualMemoryThreshold = 20000;
    heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, &parameters);
    assert_non_null(RtlAllocateHeap(heap, 0, 2 << 20));
    assert_null(RtlDestroyHeap(heap));
}

/* Their maps serve later heaps, whatever sizes come in between, and whether these could be made or not. */
static void maps_of_fixed_heaps_are_used_again(void **state)
{
    static DECLSPEC_ALIGN(16) UCHAR memory[65536];
    HEAP_PAGE_OPERATIONS failing = RtlpLinuxPageOperations;
    PCHEAP_PAGE_OPERATIONS usual = RtlpArena.Operations;
    SIZE_T used = 0;

    (void)state;
    failing.Commit = fail_commit;
    for (int round = 0; round < 20; round += 1)
    {
        PVOID large = RtlCreateHeap(0, NULL, 64 << 20, 0, NULL, NULL);

        assert_non_null(large);
        assert_null(RtlDestroyHeap(large));

        PVOID small = RtlCreateHeap(0, memory, sizeof(memory), 0, NULL, NULL);

        assert_non_null(small);
        assert_null(RtlDestroyHeap(small));
        assert_null(RtlCreateHeap(0, memory, 1000, 0, NULL, NULL)); /* less than the least */
        RtlpArena.Operations = &failing;
        assert_null(RtlCreateHeap(0, NULL, 64 << 20, 0, NULL, NULL));
        RtlpArena.Operations = usual;
        used = round == 0 ? RtlpArena.MetadataUsed : used;
        assert_int_equal(RtlpArena.MetadataUsed, used);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fixed_heaps_end_where_they_were_told),
        cmocka_unit_test(memory_of_the_caller_is_used_and_its_commit_routine_asked),
        cmocka_unit_test(a_growable_heap_in_memory_of_the_caller_takes_more),
        cmocka_unit_test(no_more_is_committed_than_is_reserved),
        cmocka_unit_test(the_virtual_memory_threshold_bounds_blocks_of_fixed_heaps),
        cmocka_unit_test(maps_of_fixed_heaps_are_used_again),
    };

    return cmocka_run_group_tests_name("heap.fixedheaps", tests, NULL, NULL);
}
