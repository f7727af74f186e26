/* SPDX-License-Identifier: MIT */
/*
 * Blocks that others free: when their owner collects them, and what it does not do before. The threads that free have no slot
 * of their own, and one test's thread is at work at a time, so all of it comes out the same every time.
 */
#include "heap_test.h"

#include "heap/api.h"

#include <pthread.h>

enum
{
    sent_blocks = 2000
};

static void *sent[sent_blocks];

static void *free_sent(void *argument)
{
    for (int i = 0; i < *(const int *)argument; i += 1)
    {
        heap_free(sent[i]);
    }

    return NULL;
}

static void allocate_sent(int from, int to, size_t size)
{
    for (int i = from; i < to; i += 1)
    {
        sent[i] = heap_malloc(size);
        assert_non_null(sent[i]);
    }
}

static void free_sent_here(int count)
{
    for (int i = 0; i < count; i += 1)
    {
        heap_free(sent[i]);
    }
}

static void *free_one(void *argument)
{
    heap_free(argument);

    return NULL;
}

static void free_sent_by_another(int count)
{
    pthread_t id;

    assert_int_equal(pthread_create(&id, NULL, free_sent, &count), 0);
    assert_int_equal(pthread_join(id, NULL), 0);
}

/* Sent back by another thread and not collected: its owner's free finds it, whatever the size, and nothing is freed twice. */
static void an_owners_second_free_of_a_sent_block_is_seen_at_once(void **state)
{
    int seen = 0;
    int all = 0;

    (void)state;
    RtlpDamageHandler = heap_collect_damage;
    for (ULONG bucket = 1; bucket < HEAP_BUCKETS; bucket += 5)
    {
        enum
        {
            first = 20, /* those before it are of chunks */
            count = 60
        };
        const SIZE_T size = RtlpBucketSize(bucket);

        allocate_sent(0, count, size);
        for (int i = first; i < count; i += 3)
        {
            pthread_t id;

            assert_int_equal(pthread_create(&id, NULL, free_one, sent[i]), 0);
            assert_int_equal(pthread_join(id, NULL), 0);
            heap_damage.count = 0;
            heap_free(sent[i]);
            seen += heap_damage.count == 1 && heap_damage.last == HeapDamageDoubleFree;
            all += 1;
            assert_true(RtlpCheckHeap(&RtlpMallocHeap));
            sent[i] = NULL;
        }

        heap_damage.count = 0;
        RtlpReceive(RtlpThreadSlot);
        free_sent_here(count);
        assert_int_equal(heap_damage.count, 0);
        assert_true(RtlpCheckHeap(&RtlpMallocHeap));
    }

    RtlpDamageHandler = NULL;
    print_message("caught %d of %d\n", seen, all);
    assert_int_equal(seen, all);
}

/* A block of a full bucket, whose owner keeps no more ready, is sent back and freed by its owner: it comes once only. */
static void a_block_that_was_freed_twice_comes_once(void **state)
{
    pthread_t id;
    int came = 0;

    (void)state;
    allocate_sent(0, sent_blocks, 200);

    void *const victim = sent[1000];
    const HEAP_ACTIVE *active = &RtlpThreadSlot->Active[RtlpBucketOf(200)];

    assert_int_equal(RtlpLookup(victim)->State, HeapSubsegmentFull);
    for (int i = 0; active->Ready != active->ReadyFull; i += 1)
    {
        heap_free(sent[i]); /* what is freed from now on is not kept ready */
        sent[i] = NULL;
    }

    RtlpDamageHandler = heap_collect_damage;
    heap_damage.count = 0;
    assert_int_equal(pthread_create(&id, NULL, free_one, victim), 0);
    assert_int_equal(pthread_join(id, NULL), 0);
    assert_int_equal(heap_damage.count, 0);
    heap_free(victim);
    assert_int_equal(heap_damage.count, 1);
    assert_int_equal(heap_damage.last, HeapDamageDoubleFree);
    RtlpDamageHandler = NULL;
    sent[1000] = NULL;
    free_sent_here(sent_blocks);
    allocate_sent(0, sent_blocks, 200);
    for (int i = 0; i < sent_blocks; i += 1)
    {
        came += sent[i] == victim;
    }

    assert_int_equal(came, 1);
    free_sent_here(sent_blocks);
}

static void a_bucket_collects_its_own_blocks_and_leaves_the_others(void **state)
{
    const PHEAP_SLOT slot = RtlpThreadSlot;
    const ULONG mine = RtlpBucketOf(700);
    const ULONG other = RtlpBucketOf(1500);
    static void *kept[400];

    (void)state;
    allocate_sent(0, 400, 700);
    allocate_sent(400, 800, 1500);
    for (int i = 0; i < 400; i += 1)
    {
        kept[i] = sent[2 * i]; /* each subsegment stays in use */
        sent[2 * i] = NULL;
    }

    free_sent_by_another(800);
    assert_int_not_equal(HEAP_LOAD(&slot->Incoming[mine]), 0);
    assert_int_not_equal(HEAP_LOAD(&slot->Incoming[other]), 0);

    const ULONG64 made = RtlpMallocHeap.Counters.SubsegmentsMade;

    allocate_sent(0, 150, 700);
    assert_int_equal(HEAP_LOAD(&slot->Incoming[mine]), 0);
    assert_int_not_equal(HEAP_LOAD(&slot->Incoming[other]), 0);
    free_sent_here(150);
    allocate_sent(0, 150, 1500);
    assert_int_equal(HEAP_LOAD(&slot->Incoming[other]), 0);
    assert_int_equal(RtlpMallocHeap.Counters.SubsegmentsMade, made);
    free_sent_here(150);
    for (int i = 0; i < 400; i += 1)
    {
        heap_free(kept[i]);
    }

    assert_true(RtlpCheckHeap(&RtlpMallocHeap));
}

static void pages_that_came_back_are_used_before_a_bucket_grows(void **state)
{
    (void)state;
    allocate_sent(0, 2000, 500);

    const SIZE_T pages = RtlpMallocHeap.Counters.InUsePages;

    free_sent_by_another(2000);
    allocate_sent(0, 1900, 600); /* about as many pages, of a bucket that cannot have the others' blocks */
    assert_true(RtlpMallocHeap.Counters.InUsePages < pages + 100);
    free_sent_here(1900);
    assert_true(RtlpCheckHeap(&RtlpMallocHeap));
}

static void *allocate_and_end(void *argument)
{
    (void)argument;
    allocate_sent(0, 1000, 900);

    return NULL;
}

static void pages_that_came_back_to_an_ended_thread_are_used_by_others(void **state)
{
    pthread_t id;

    (void)state;
    assert_int_equal(pthread_create(&id, NULL, allocate_and_end, NULL), 0);
    assert_int_equal(pthread_join(id, NULL), 0);

    const SIZE_T pages = RtlpMallocHeap.Counters.InUsePages;

    free_sent_here(1000);
    allocate_sent(0, 1000, 900);
    assert_true(RtlpMallocHeap.Counters.InUsePages < pages + 100);
    free_sent_here(1000);
    assert_true(RtlpCheckHeap(&RtlpMallocHeap));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_owners_second_free_of_a_sent_block_is_seen_at_once),
        cmocka_unit_test(a_block_that_was_freed_twice_comes_once),
        cmocka_unit_test(a_bucket_collects_its_own_blocks_and_leaves_the_others),
        cmocka_unit_test(pages_that_came_back_are_used_before_a_bucket_grows),
        cmocka_unit_test(pages_that_came_back_to_an_ended_thread_are_used_by_others),
    };

    return cmocka_run_group_tests_name("heap.remote", tests, NULL, NULL);
}
