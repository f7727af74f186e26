/* SPDX-License-Identifier: MIT */
/*
 * Private heaps against an oracle: an array that remembers each block's address, size and contents. Every N steps the heap
 * is validated and walked, and the walk must meet exactly the oracle's blocks. Then the same with every commit failing
 * once: whatever fails changes nothing, and the heap stays sound.
 */
#include "heap_test.h"

#include "heap/api.h"

enum
{
    slots = 700
};

typedef struct
{
    uint8_t *block;
    size_t size;
    uint8_t fill;
} model_slot;

static model_slot table[slots];

static void check(const model_slot *slot)
{
    /* Both ends and a few bytes between; the whole of small blocks. */
    const size_t step = slot->size < 256 ? 1 : slot->size / 61;

    for (size_t at = 0; at < slot->size; at += step)
    {
        assert_int_equal(slot->block[at], slot->fill);
    }

    if (slot->size != 0)
    {
        assert_int_equal(slot->block[slot->size - 1], slot->fill);
    }
}

static int compare_slots(const void *first, const void *second)
{
    const model_slot *a = first;
    const model_slot *b = second;

    return (a->block > b->block) - (a->block < b->block);
}

static void compare_with_walk(PVOID heap)
{
    static model_slot sorted[slots];
    RTL_HEAP_WALK_ENTRY entry = { 0 };
    size_t live = 0;
    size_t met = 0;

    assert_true(RtlValidateHeap(heap, 0, NULL));
    for (size_t i = 0; i < slots; i += 1)
    {
        if (table[i].block != NULL)
        {
            sorted[live] = table[i];
            live += 1;
        }
    }

    qsort(sorted, live, sizeof(sorted[0]), compare_slots);
    while (RtlWalkHeap(heap, &entry) == STATUS_SUCCESS)
    {
        if ((entry.Flags & RTL_HEAP_BUSY) != 0)
        {
            assert_true(met < live);
            assert_ptr_equal(entry.DataAddress, sorted[met].block);
            assert_int_equal(entry.DataSize, sorted[met].size);
            met += 1;
        }
    }

    assert_int_equal(met, live);
}

static size_t model_size(test_random *random, bool fixed)
{
    return fixed ? (size_t)test_below(random, 1u << (4 + test_below(random, 10))) : heap_test_size(random);
}

/* One step; FALSE results of the heap are accepted only if failures is set. */
static void step(PVOID heap, test_random *random, bool fixed, bool failures)
{
    model_slot *slot = &table[test_below(random, slots)];
    const size_t size = model_size(random, fixed);

    if (slot->block == NULL)
    {
        const ULONG flags = test_below(random, 4) == 0 ? HEAP_ZERO_MEMORY : 0;

        slot->block = RtlAllocateHeap(heap, flags, size);
        if (slot->block == NULL)
        {
            assert_true(failures || fixed);
            return;
        }

        slot->size = size;
        slot->fill = 0;
        if (flags != 0)
        {
            check(slot);
        }

        slot->fill = (uint8_t)test_draw(random);
        memset(slot->block, slot->fill, size);
        assert_int_equal((uintptr_t)slot->block % 16, 0);
        return;
    }

    check(slot);
    assert_int_equal(RtlSizeHeap(heap, 0, slot->block), slot->size);
    if (test_below(random, 3) == 0)
    {
        const size_t kept = slot->size < size ? slot->size : size;
        uint8_t *block = RtlReAllocateHeap(heap, 0, slot->block, size);

        if (block == NULL)
        {
            assert_true(failures || fixed);
            check(slot);
            return;
        }

        slot->block = block;
        slot->size = kept;
        check(slot);
        slot->size = size;
        memset(block, slot->fill, size);
        return;
    }

    assert_true(RtlFreeHeap(heap, 0, slot->block));
    slot->block = NULL;
}

static void empty(PVOID heap)
{
    for (size_t i = 0; i < slots; i += 1)
    {
        if (table[i].block != NULL)
        {
            check(&table[i]);
            assert_true(RtlFreeHeap(heap, 0, table[i].block));
            table[i].block = NULL;
        }
    }
}

static void run_model(const char *name, ULONG flags, PVOID base, size_t reserve)
{
    test_random random = test_seed(name);
    const uint64_t iterations = test_iterations(30000);
    PVOID heap = RtlCreateHeap(flags, base, reserve, 0, NULL, NULL);

    assert_non_null(heap);
    for (uint64_t i = 0; i < iterations; i += 1)
    {
        step(heap, &random, (flags & HEAP_GROWABLE) == 0, false);
        if (i % 2000 == 0)
        {
            compare_with_walk(heap);
        }

        if (i % 9000 == 0)
        {
            (void)RtlCompactHeap(heap, 0);
            compare_with_walk(heap);
        }
    }

    empty(heap);
    compare_with_walk(heap);
    assert_null(RtlDestroyHeap(heap));
}

static void growable_heap_agrees_with_the_oracle(void **state)
{
    (void)state;
    run_model("growable_heap_agrees_with_the_oracle", HEAP_GROWABLE, NULL, 0);
}

static void checked_heap_agrees_with_the_oracle(void **state)
{
    (void)state;
    run_model("checked_heap_agrees_with_the_oracle",
              HEAP_GROWABLE | HEAP_TAIL_CHECKING_ENABLED | HEAP_FREE_CHECKING_ENABLED | HEAP_NO_SERIALIZE,
              NULL, 0);
}

static void fixed_heap_agrees_with_the_oracle(void **state)
{
    (void)state;
    run_model("fixed_heap_agrees_with_the_oracle", 0, NULL, 512 * 1024);
}

static void heaps_in_memory_of_the_caller_agree_with_the_oracle(void **state)
{
    static DECLSPEC_ALIGN(16) UCHAR memory[512 * 1024];

    (void)state;
    run_model("heaps_in_memory_of_the_caller_agree_with_the_oracle", 0, memory, sizeof(memory));
    run_model("growing behind memory of the caller", HEAP_GROWABLE, memory, 100000);
    run_model("the same, checked", HEAP_GROWABLE | HEAP_TAIL_CHECKING_ENABLED | HEAP_FREE_CHECKING_ENABLED,
              memory, 100000);
}

/* ---- every commit fails once ---- */

static int commits_before_failure;

static BOOLEAN failing_commit(PVOID base, SIZE_T size, BOOLEAN executable)
{
    commits_before_failure -= 1;

    return commits_before_failure != 0 && RtlpLinuxPageOperations.Commit(base, size, executable);
}

static void whatever_commit_fails_the_heap_stays_sound(void **state)
{
    HEAP_PAGE_OPERATIONS failing = RtlpLinuxPageOperations;
    PCHEAP_PAGE_OPERATIONS usual = RtlpArena.Operations;
    test_random random = test_seed("whatever_commit_fails_the_heap_stays_sound");
    int failures = 0;

    (void)state;
    failing.Commit = failing_commit;
    failing.CommitOnTouch = FALSE; /* so that giving memory back needs a commit too */
    for (int nth = 1;; nth += 1)
    {
        PVOID heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);
        test_random same = random;

        assert_non_null(heap);
        commits_before_failure = nth;
        RtlpArena.Operations = &failing;
        for (int i = 0; i < 1200; i += 1)
        {
            step(heap, &same, false, true);
            if (i % 300 == 299)
            {
                (void)RtlCompactHeap(heap, 0);
            }
        }

        const bool failed = commits_before_failure <= 0;

        failures += failed;
        RtlpArena.Operations = usual;
        for (size_t i = 0; i < slots; i += 1)
        {
            if (table[i].block != NULL)
            {
                check(&table[i]);
            }
        }

        empty(heap);
        assert_null(RtlDestroyHeap(heap));
        if (!failed)
        {
            break;
        }
    }

    print_message("%d commits failed, one at a time\n", failures);
    assert_true(failures >= 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(growable_heap_agrees_with_the_oracle),
        cmocka_unit_test(checked_heap_agrees_with_the_oracle),
        cmocka_unit_test(fixed_heap_agrees_with_the_oracle),
        cmocka_unit_test(heaps_in_memory_of_the_caller_agree_with_the_oracle),
        cmocka_unit_test(whatever_commit_fails_the_heap_stays_sound),
    };

    return cmocka_run_group_tests_name("heap.model", tests, NULL, NULL);
}
