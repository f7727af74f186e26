/* SPDX-License-Identifier: MIT */
/*
 * Many threads on the process heap: every block changes hands with a chance of one in four, threads come and go, and
 * each block's contents are checked by whoever frees it.
 */
#include "heap_test.h"

#include "heap/api.h"

#include <pthread.h>
#include <stdatomic.h>

enum
{
    exchange_slots = 512,
    own_slots = 300
};

typedef struct
{
    uint32_t size;
    uint32_t check;
} block_head;

static _Atomic(block_head *) exchange[exchange_slots];
static uint64_t turns;

static block_head *make_block(test_random *random)
{
    const uint32_t size = (uint32_t)(sizeof(block_head) + heap_test_size(random) % 70000);
    block_head *block = heap_malloc(size);

    if (block != NULL)
    {
        memset(block, (int)(size & 0xff), size);
        block->size = size;
        block->check = ~size;
    }

    return block;
}

static void drop_block(block_head *block)
{
    if (block != NULL)
    {
        const uint8_t *bytes = (const uint8_t *)block;

        if (block->check != ~block->size ||
            (block->size > sizeof(block_head) && bytes[block->size - 1] != (uint8_t)block->size))
        {
            fprintf(stderr, "block %p of %u bytes was damaged\n", (void *)block, block->size);
            abort();
        }

        heap_free(block);
    }
}

static void *work(void *argument)
{
    test_random random = { *(uint64_t *)argument };
    block_head *own[own_slots] = { 0 };

    for (uint64_t turn = 0; turn < turns; turn += 1)
    {
        const size_t slot = (size_t)test_below(&random, own_slots);

        drop_block(own[slot]);
        own[slot] = make_block(&random);
        if (own[slot] == NULL)
        {
            abort();
        }

        if (test_below(&random, 4) == 0)
        {
            own[slot] = atomic_exchange(&exchange[test_below(&random, exchange_slots)], own[slot]);
        }
    }

    for (size_t slot = 0; slot < own_slots; slot += 1)
    {
        drop_block(own[slot]);
    }

    RtlpDetachThread();

    return NULL;
}

static void threads_hand_blocks_to_each_other(void **state)
{
    enum
    {
        threads = 4,
        rounds = 5
    };
    test_random random = test_seed("threads_hand_blocks_to_each_other");

    (void)state;
    turns = test_iterations(15000);
    for (int round = 0; round < rounds; round += 1)
    {
        pthread_t ids[threads];
        uint64_t seeds[threads];

        for (int i = 0; i < threads; i += 1)
        {
            seeds[i] = test_draw(&random);
            assert_int_equal(pthread_create(&ids[i], NULL, work, &seeds[i]), 0);
        }

        for (int i = 0; i < threads; i += 1)
        {
            pthread_join(ids[i], NULL);
        }

        assert_true(RtlpCheckHeap(&RtlpMallocHeap)); /* no other thread is left */
    }

    for (size_t slot = 0; slot < exchange_slots; slot += 1)
    {
        drop_block(atomic_exchange(&exchange[slot], NULL));
    }
}

static void *free_remotely(void *argument)
{
    void **blocks = argument;

    for (int i = 0; i < 1000; i += 1)
    {
        heap_free(blocks[i]);
    }

    return NULL;
}

static void blocks_freed_by_another_thread_come_back_to_their_slot(void **state)
{
    static void *blocks[1000];
    pthread_t id;

    (void)state;
    for (int round = 0; round < 20; round += 1)
    {
        for (int i = 0; i < 1000; i += 1)
        {
            blocks[i] = heap_malloc(200);
            assert_non_null(blocks[i]);
        }

        assert_int_equal(pthread_create(&id, NULL, free_remotely, blocks), 0);
        pthread_join(id, NULL);
    }

    /* 20 rounds of 1000 blocks without ever holding more than 1000: memory came back. */
    assert_true(RtlpMallocHeap.Counters.Subsegments < 60 + 20);
}

typedef struct
{
    void *block;
    PHEAP_SLOT slot;
} handed_over;

static void *leave_a_block(void *argument)
{
    handed_over *self = argument;

    /* More than come from chunks, which belong to no slot. */
    for (int i = 0; i < 40; i += 1)
    {
        heap_free(self->block);
        self->block = heap_malloc(700);
        void *kept = heap_malloc(700);

        heap_free(kept);
    }

    self->slot = RtlpThreadSlot;

    return NULL;
}

static void *begin_with_a_block(void *argument)
{
    handed_over *self = argument;

    heap_free(self->block);
    self->slot = RtlpThreadSlot;

    return NULL;
}

/* Threads that hand their work to their successors, as larson's do: the slot goes with the blocks, and no free is remote. */
static void a_thread_that_begins_with_blocks_of_an_ended_one_gets_its_slot(void **state)
{
    handed_over left[4] = { 0 };
    pthread_t threads[4];

    (void)state;
    for (int i = 0; i < 4; i += 1)
    {
        assert_int_equal(pthread_create(&threads[i], NULL, leave_a_block, &left[i]), 0);
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_ptr_not_equal(left[i].slot, &RtlpEmptySlot);
    }

    /* Side by side they would have slots of their own; one after the other they had the same. */
    for (int i = 3; i >= 0; i -= 1)
    {
        handed_over heir = { .block = left[i].block };

        assert_int_equal(pthread_create(&threads[i], NULL, begin_with_a_block, &heir), 0);
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_ptr_equal(heir.slot, left[i].slot);
    }
}

typedef struct
{
    PHEAP_SLOT slot;
    HEAP_KIND first_short; /* what its first blocks were of */
    HEAP_KIND first_long;
} first_blocks;

static void *use_two_buckets(void *argument)
{
    first_blocks *self = argument;
    void *blocks[80];

    for (int i = 0; i < 40; i += 1)
    {
        blocks[i] = heap_malloc(64);
        blocks[40 + i] = heap_malloc(4000);
    }

    self->slot = RtlpThreadSlot;
    self->first_short = (HEAP_KIND)RtlpLookup(blocks[0])->Kind;
    self->first_long = (HEAP_KIND)RtlpLookup(blocks[40])->Kind;
    for (int i = 0; i < 80; i += 1)
    {
        heap_free(blocks[i]);
    }

    return NULL;
}

/* The first test: a slot that nobody had before. */
static void short_buckets_stay_activated_for_the_next_thread(void **state)
{
    first_blocks threads[2];

    (void)state;
    heap_free(heap_malloc(40)); /* the first thread's slot is its own */
    for (int i = 0; i < 2; i += 1)
    {
        pthread_t id;

        assert_int_equal(pthread_create(&id, NULL, use_two_buckets, &threads[i]), 0);
        assert_int_equal(pthread_join(id, NULL), 0);
    }

    assert_ptr_equal(threads[0].slot, threads[1].slot);
    assert_int_equal(threads[0].first_short, HeapKindChunk);
    assert_int_equal(threads[0].first_long, HeapKindChunk);
    assert_int_equal(threads[1].first_short, HeapKindSubsegment);
    assert_int_equal(threads[1].first_long, HeapKindChunk);
}

static pthread_barrier_t both_there;

static void *leave_a_block_together(void *argument)
{
    (void)leave_a_block(argument);
    (void)pthread_barrier_wait(&both_there);

    return NULL;
}

static void each_heir_gets_the_slot_that_its_block_is_of(void **state)
{
    handed_over left[3] = { 0 };
    pthread_t threads[3];

    (void)state;
    assert_int_equal(pthread_barrier_init(&both_there, NULL, 3), 0);
    for (int i = 0; i < 3; i += 1)
    {
        assert_int_equal(pthread_create(&threads[i], NULL, leave_a_block_together, &left[i]), 0);
    }

    for (int i = 0; i < 3; i += 1)
    {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }

    pthread_barrier_destroy(&both_there);
    assert_ptr_not_equal(left[0].slot, left[1].slot);
    assert_ptr_not_equal(left[1].slot, left[2].slot);

    /* Whichever ended last, each block leads to its own. */
    for (int i = 0; i < 3; i += 1)
    {
        handed_over heir = { .block = left[i].block };

        assert_int_equal(pthread_create(&threads[i], NULL, begin_with_a_block, &heir), 0);
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_ptr_equal(heir.slot, left[i].slot);
    }
}

/* The first thread's end is watched from its next slow path on, once there is a second thread. */
static void the_first_thread_is_watched_as_soon_as_there_is_another(void **state)
{
    static void *blocks[4000];
    handed_over left = { 0 };
    pthread_t thread;

    (void)state;
    heap_free(heap_malloc(40));
    assert_int_equal(pthread_create(&thread, NULL, leave_a_block, &left), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    heap_free(left.block);
    for (int i = 0; i < 4000; i += 1)
    {
        blocks[i] = heap_malloc(40);
        assert_non_null(blocks[i]);
    }

    assert_true(RtlpThreadSlot->Watched);
    for (int i = 0; i < 4000; i += 1)
    {
        heap_free(blocks[i]);
    }
}

static void blocks_may_come_back_while_nothing_is_active(void **state)
{
    static void *blocks[1000];
    pthread_t id;

    (void)state;
    for (int round = 0; round < 50; round += 1)
    {
        for (int i = 0; i < 1000; i += 1)
        {
            blocks[i] = heap_malloc(300);
            assert_non_null(blocks[i]);
            *(int *)blocks[i] = i;
        }

        if (round % 2 == 0)
        {
            RtlpTrimSlot(RtlpThreadSlot); /* no bucket has an active subsegment now */
        }

        assert_int_equal(pthread_create(&id, NULL, free_remotely, blocks), 0);
        pthread_join(id, NULL);
        for (int i = 0; i < 1000; i += 1)
        {
            blocks[i] = heap_malloc(300);
            assert_non_null(blocks[i]);
            *(int *)blocks[i] = i;
        }

        assert_true(RtlpCheckHeap(&RtlpMallocHeap));
        for (int i = 0; i < 1000; i += 1)
        {
            assert_int_equal(*(int *)blocks[i], i);
            heap_free(blocks[i]);
        }

        assert_true(RtlpCheckHeap(&RtlpMallocHeap));
    }
}

static void *free_one_twice(void *argument)
{
    heap_free(argument);
    heap_free(argument);

    return NULL;
}

static void *free_one(void *argument)
{
    heap_free(argument);

    return NULL;
}

static void a_second_free_is_seen_whichever_threads_call(void **state)
{
    enum
    {
        count = 200
    };
    void *blocks[count];
    void *kept[count];
    pthread_t id;

    (void)state;
    for (int i = 0; i < count; i += 1)
    {
        blocks[i] = heap_malloc(48);
        kept[i] = heap_malloc(48);
        assert_non_null(blocks[i]);
        assert_non_null(kept[i]);
    }

    RtlpDamageHandler = heap_collect_damage;
    heap_damage.count = 0;
    for (int i = 20; i < count; i += 1)
    {
        const int before = heap_damage.count;

        if (i % 2 == 0)
        {
            assert_int_equal(pthread_create(&id, NULL, free_one_twice, blocks[i]), 0);
            pthread_join(id, NULL);
        }
        else
        {
            heap_free(blocks[i]);
            assert_int_equal(pthread_create(&id, NULL, free_one, blocks[i]), 0);
            pthread_join(id, NULL);
        }

        assert_int_equal(heap_damage.count, before + 1);
        assert_int_equal(heap_damage.last, HeapDamageDoubleFree);
    }

    /* Freed by another, not collected yet, and freed by its owner: found at once, and only once. */
    const int before = heap_damage.count;

    assert_int_equal(pthread_create(&id, NULL, free_one, kept[100]), 0);
    pthread_join(id, NULL);
    heap_free(kept[100]);
    assert_int_equal(heap_damage.count, before + 1);
    RtlpReceive(RtlpThreadSlot);
    assert_int_equal(heap_damage.count, before + 1);
    RtlpDamageHandler = NULL;
    print_message("caught %d of %d second frees\n", heap_damage.count, count - 20 + 1);
    for (int i = 0; i < count; i += 1)
    {
        if (i != 100)
        {
            heap_free(kept[i]);
        }
    }

    assert_true(RtlpCheckHeap(&RtlpMallocHeap));
}

static void a_write_to_a_freed_block_changes_nothing_of_the_heap(void **state)
{
    static uint8_t *blocks[2000];
    pthread_t id;

    (void)state;
    for (int round = 0; round < 4; round += 1)
    {
        for (int i = 0; i < 2000; i += 1)
        {
            blocks[i] = heap_malloc(48);
            assert_non_null(blocks[i]);
        }

        for (int i = 0; i < 1000; i += 1)
        {
            heap_free(blocks[1000 + i]);
        }

        assert_int_equal(pthread_create(&id, NULL, free_remotely, blocks), 0);
        pthread_join(id, NULL);

        /* The use after free, of blocks freed by their owner and by another thread: nothing of the heap lies there. */
        for (int i = 0; i < 2000; i += 1)
        {
            if (RtlpLookup(blocks[i])->Kind == HeapKindSubsegment)
            {
                memset(blocks[i], 0x5a, 48);
            }
        }

        assert_true(RtlpCheckHeap(&RtlpMallocHeap));
    }
}

static PVOID shared_heap;

static void *work_on_private_heap(void *argument)
{
    test_random random = { *(uint64_t *)argument };
    uint8_t *own[50] = { 0 };

    for (uint64_t turn = 0; turn < turns; turn += 1)
    {
        const size_t slot = (size_t)test_below(&random, 50);

        if (own[slot] != NULL)
        {
            const SIZE_T size = RtlSizeHeap(shared_heap, 0, own[slot]);

            if (size == (SIZE_T)-1 || own[slot][0] != (uint8_t)size ||
                !RtlFreeHeap(shared_heap, 0, own[slot]))
            {
                abort();
            }
        }

        const size_t size = 1 + (size_t)test_below(&random, 2000);

        own[slot] = RtlAllocateHeap(shared_heap, HEAP_ZERO_MEMORY, size);
        if (own[slot] == NULL)
        {
            abort();
        }

        own[slot][0] = (uint8_t)size;
    }

    return NULL;
}

static void a_private_heap_serializes_its_threads(void **state)
{
    enum
    {
        threads = 3
    };
    pthread_t ids[threads];
    uint64_t seeds[threads];
    test_random random = test_seed("a_private_heap_serializes_its_threads");

    (void)state;
    shared_heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);
    assert_non_null(shared_heap);
    turns = test_iterations(8000);
    for (int i = 0; i < threads; i += 1)
    {
        seeds[i] = test_draw(&random);
        assert_int_equal(pthread_create(&ids[i], NULL, work_on_private_heap, &seeds[i]), 0);
    }

    for (int i = 0; i < 20; i += 1)
    {
        assert_true(RtlLockHeap(shared_heap));
        assert_true(RtlValidateHeap(shared_heap, 0, NULL));
        assert_true(RtlUnlockHeap(shared_heap));
    }

    for (int i = 0; i < threads; i += 1)
    {
        pthread_join(ids[i], NULL);
    }

    assert_null(RtlDestroyHeap(shared_heap));
}

/* ---- a private heap with several sides ---- */

#define PLACES 64

static PVOID shared_places[PLACES]; /* (atomic) blocks on their way from thread to thread */
static uint64_t calls;              /* (atomic) that were finished */
static int stop_working;            /* (atomic) */

static void *work_on_every_side(void *argument)
{
    test_random random = { *(uint64_t *)argument };

    while (__atomic_load_n(&stop_working, __ATOMIC_ACQUIRE) == 0)
    {
        const size_t size = 1 + (size_t)test_below(&random, test_below(&random, 40) == 0 ? 100000 : 1500);
        uint8_t *block = RtlAllocateHeap(shared_heap, 0, size);

        if (block == NULL)
        {
            abort();
        }

        memset(block, (uint8_t)size, size);
        block = __atomic_exchange_n(&shared_places[test_below(&random, PLACES)], block, __ATOMIC_ACQ_REL);
        if (block != NULL)
        {
            const SIZE_T old = RtlSizeHeap(shared_heap, 0, block);

            if (old == (SIZE_T)-1 || block[0] != (uint8_t)old || block[old - 1] != (uint8_t)old)
            {
                abort();
            }

            block = RtlReAllocateHeap(shared_heap, 0, block, old / 2 + 1);
            if (block == NULL || block[old / 2] != (uint8_t)old || !RtlFreeHeap(shared_heap, 0, block))
            {
                abort();
            }
        }

        __atomic_fetch_add(&calls, 1, __ATOMIC_SEQ_CST);
    }

    return NULL;
}

static void give_back_shared_places(PHEAP heap)
{
    for (int i = 0; i < PLACES; i += 1)
    {
        assert_true(shared_places[i] == NULL || RtlFreeHeap(heap, 0, shared_places[i]));
        shared_places[i] = NULL;
    }

    (void)RtlCompactHeap(heap, 0);
    assert_true(RtlValidateHeap(heap, 0, NULL));
    assert_int_equal(heap->Counters.Subsegments, 0);
}

/* What RtlLockHeap promises: from then on each thread finishes the call that it is in the middle of, at most. */
static void nobody_gets_into_a_locked_heap(int threads)
{
    assert_true(RtlLockHeap(shared_heap));

    const uint64_t before = __atomic_load_n(&calls, __ATOMIC_SEQ_CST);

    for (int turn = 0; turn < 300; turn += 1)
    {
        PVOID block = RtlAllocateHeap(shared_heap, 0, 100);

        assert_non_null(block);
        assert_true(RtlFreeHeap(shared_heap, 0, block));
        sched_yield();
    }

    assert_true(RtlValidateHeap(shared_heap, 0, NULL));
    assert_true(__atomic_load_n(&calls, __ATOMIC_SEQ_CST) <= before + (uint64_t)threads);
    assert_true(RtlUnlockHeap(shared_heap));
}

static void threads_do_not_meet_in_a_private_heap(void **state)
{
    enum
    {
        threads = 4
    };
    test_random random = test_seed("threads_do_not_meet_in_a_private_heap");
    pthread_t ids[threads];
    uint64_t seeds[threads];

    (void)state;
    for (int round = 0; round < 3; round += 1)
    {
        PHEAP heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);

        assert_non_null(heap);
        assert_int_equal(heap->SideCount, 0); /* whatever a destroyed heap had */
        shared_heap = heap;
        stop_working = 0;
        for (int i = 0; i < threads; i += 1)
        {
            seeds[i] = test_draw(&random);
            assert_int_equal(pthread_create(&ids[i], NULL, work_on_every_side, &seeds[i]), 0);
        }

        for (int turn = 0; turn < 10; turn += 1)
        {
            const uint64_t from = __atomic_load_n(&calls, __ATOMIC_SEQ_CST);

            while (__atomic_load_n(&calls, __ATOMIC_SEQ_CST) < from + 200)
            {
                sched_yield();
            }

            if (turn == 3)
            {
                /* Meeting is a matter of chance: here it is as if they had met often enough. */
                RtlpAddSide(heap);
                assert_true(HEAP_LOAD(&heap->SideCount) >= 1);
            }

            nobody_gets_into_a_locked_heap(threads);
        }

        __atomic_store_n(&stop_working, 1, __ATOMIC_RELEASE);
        for (int i = 0; i < threads; i += 1)
        {
            pthread_join(ids[i], NULL);
        }

        assert_true(heap->SideCount <= HEAP_MOST_SIDES);
        if (round != 1)
        {
            give_back_shared_places(heap);
        }

        memset(shared_places, 0, sizeof(shared_places));
        assert_null(RtlDestroyHeap(heap)); /* once with blocks that were sent back and not collected */
    }
}

/* The slots of a heap are told apart by nobody but the heap: its misuses are found from every side. */
static void a_second_free_is_seen_from_every_side(void **state)
{
    PHEAP heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);
    PVOID blocks[100];
    int caught = 0;

    (void)state;
    assert_non_null(heap);
    RtlpDamageHandler = heap_collect_damage;
    RtlpAddSide(heap);
    for (int i = 0; i < 100; i += 1)
    {
        blocks[i] = RtlAllocateHeap(heap, 0, 200);
        assert_non_null(blocks[i]);
    }

    for (int i = 0; i < 100; i += 1)
    {
        /* The processor may change between any two calls; the answer may not. */
        heap_damage.count = 0;
        assert_true(RtlFreeHeap(heap, 0, blocks[i]));
        assert_int_equal(heap_damage.count, 0);
        assert_false(RtlFreeHeap(heap, 0, blocks[i]));
        caught += heap_damage.count == 1;
        assert_false(RtlFreeHeap(heap, HEAP_NO_SERIALIZE, blocks[i]));
        caught += heap_damage.count == 2;
    }

    RtlpDamageHandler = NULL;
    assert_int_equal(caught, 200);
    assert_true(RtlValidateHeap(heap, 0, NULL));
    assert_null(RtlDestroyHeap(heap));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_buckets_stay_activated_for_the_next_thread),
        cmocka_unit_test(threads_hand_blocks_to_each_other),
        cmocka_unit_test(blocks_freed_by_another_thread_come_back_to_their_slot),
        cmocka_unit_test(the_first_thread_is_watched_as_soon_as_there_is_another),
        cmocka_unit_test(a_thread_that_begins_with_blocks_of_an_ended_one_gets_its_slot),
        cmocka_unit_test(each_heir_gets_the_slot_that_its_block_is_of),
        cmocka_unit_test(blocks_may_come_back_while_nothing_is_active),
        cmocka_unit_test(a_private_heap_serializes_its_threads),
        cmocka_unit_test(threads_do_not_meet_in_a_private_heap),
        cmocka_unit_test(a_second_free_is_seen_from_every_side),
        cmocka_unit_test(a_second_free_is_seen_whichever_threads_call),
        cmocka_unit_test(a_write_to_a_freed_block_changes_nothing_of_the_heap),
    };

    return cmocka_run_group_tests_name("heap.threads", tests, NULL, NULL);
}
