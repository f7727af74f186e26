/* SPDX-License-Identifier: MIT */
/*
 * The front end: buckets as documented, blocks that never overlap, contents that stay, every misuse of free seen.
 */
#include "heap_test.h"

#include "ntheap.h"

#include "heap/api.h"

static void buckets_have_the_documented_granularity(void **state)
{
    static const struct
    {
        ULONG first, last, granularity, bucket;
    } table[] = {
        { 257, 512, 16, 33 },    { 513, 1024, 32, 49 },   { 1025, 2048, 64, 65 },
        { 2049, 4096, 128, 81 }, { 4097, 8192, 256, 97 }, { 8193, 16384, 512, 113 },
    };

    (void)state;
    for (ULONG size = 1; size <= 256; size += 1)
    {
        assert_int_equal(RtlpBucketSize(RtlpBucketOf(size)), (size + 15) & ~15u);
        assert_int_equal(RtlpDocumentedBucket(RtlpBucketOf(size)), (size + 15) / 16 * 2);
    }

    for (size_t row = 0; row < sizeof(table) / sizeof(table[0]); row += 1)
    {
        for (ULONG size = table[row].first; size <= table[row].last; size += 1)
        {
            const ULONG step = (size - table[row].first) / table[row].granularity;

            assert_int_equal(RtlpBucketSize(RtlpBucketOf(size)),
                             table[row].first - 1 + (step + 1) * table[row].granularity);
            assert_int_equal(RtlpDocumentedBucket(RtlpBucketOf(size)), table[row].bucket + step);
        }
    }

    for (ULONG size = 0; size <= HEAP_FRONT_END_LIMIT; size += 1)
    {
        assert_int_equal(RtlpBucketTable[(size + 15) / 16], RtlpBucketOf(size));
    }

    assert_int_equal(RtlpDocumentedBucket(RtlpBucketOf(16384)), HEAP_DOCUMENTED_BUCKETS);
    assert_int_equal(RtlpBucketOf(16384), HEAP_BUCKETS - 1);
}

static void blocks_are_aligned_apart_and_keep_their_contents(void **state)
{
    enum
    {
        slots = 3000
    };
    static struct
    {
        uint8_t *block;
        size_t size;
        uint8_t fill;
    } table[slots];
    test_random random = test_seed("blocks_are_aligned_apart_and_keep_their_contents");
    const uint64_t iterations = test_iterations(120000);

    (void)state;
    for (uint64_t i = 0; i < iterations; i += 1)
    {
        const size_t slot = (size_t)test_below(&random, slots);

        if (table[slot].block != NULL)
        {
            const size_t checks = table[slot].size < 64 ? table[slot].size : 64;

            for (size_t at = 0; at < checks; at += 1)
            {
                assert_int_equal(table[slot].block[at], table[slot].fill);
                assert_int_equal(table[slot].block[table[slot].size - 1 - at], table[slot].fill);
            }

            heap_free(table[slot].block);
            table[slot].block = NULL;
        }
        else
        {
            table[slot].size = heap_test_size(&random);
            table[slot].fill = (uint8_t)test_draw(&random);
            table[slot].block = heap_malloc(table[slot].size);
            assert_non_null(table[slot].block);
            assert_int_equal((uintptr_t)table[slot].block % 16, 0);
            assert_true(RtlpBlockSize(table[slot].block) >= table[slot].size);
            memset(table[slot].block, table[slot].fill, table[slot].size);
        }
    }

    for (size_t slot = 0; slot < slots; slot += 1)
    {
        if (table[slot].block != NULL)
        {
            heap_free(table[slot].block);
            table[slot].block = NULL;
        }
    }
}

static void freeing_everything_gives_every_subsegment_back(void **state)
{
    enum
    {
        count = 20000
    };
    static void *blocks[count];

    (void)state;
    for (int i = 0; i < count; i += 1)
    {
        blocks[i] = heap_malloc(100);
        assert_non_null(blocks[i]);
    }

    assert_true(RtlpMallocHeap.Counters.Subsegments >
                count / 400); /* 292 blocks each; earlier tests left some free ones */
    for (int i = 0; i < count; i += 1)
    {
        heap_free(blocks[i]);
    }

    RtlpTrimSlot(RtlpThreadSlot);
    RtlpFlushSpanCache(RtlpThreadSlot);
    assert_int_equal(RtlpMallocHeap.Counters.Subsegments, 0);
}

static void placement_within_a_subsegment_differs_between_subsegments(void **state)
{
    /* Where in its subsegment the first block of a fresh one lies: always at the start without randomization. */
    enum
    {
        count = 64 * 512
    };
    static uint8_t *blocks[count];
    PHEAP_DESCRIPTOR last = NULL;
    int fresh = 0;
    int elsewhere = 0;

    (void)state;
    for (int i = 0; i < count; i += 1)
    {
        blocks[i] = heap_malloc(64);
        assert_non_null(blocks[i]);

        PHEAP_DESCRIPTOR subsegment = RtlpLookup(blocks[i]);

        if (subsegment != last && subsegment->Kind == HeapKindSubsegment && i > 1000)
        {
            fresh += 1;
            elsewhere += blocks[i] != subsegment->Base;
        }

        last = subsegment;
    }

    for (int i = 0; i < count; i += 1)
    {
        heap_free(blocks[i]);
    }

    assert_true(fresh >= 32);
    assert_true(elsewhere > fresh / 2);
}

static void every_misuse_of_free_is_reported(void **state)
{
    static const size_t sizes[] = { 1, 16, 48, 100, 500, 1000, 5000, 16384, 20000, 100000, 600000, 5000000 };
    char *blocks[40];
    int caught = 0;

    (void)state;
    RtlpDamageHandler = heap_collect_damage;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i += 1)
    {
        /* More of them than activation needs, so that chunks and subsegments are both tried. */
        for (int n = 0; n < 40; n += 1)
        {
            blocks[n] = heap_malloc(sizes[i]);
            assert_non_null(blocks[n]);
        }

        for (int n = 0; n < 40; n += 1)
        {
            heap_damage.count = 0;
            heap_free(blocks[n] + 1);
            assert_int_equal(heap_damage.count, 1);
            heap_free(blocks[n] + (sizes[i] > 16 ? 16 : 8));
            assert_int_equal(heap_damage.count, 2);
            heap_free(blocks[n]);
            assert_int_equal(heap_damage.count, 2);
            heap_free(blocks[n]);
            assert_int_equal(heap_damage.count, 3);
            caught += heap_damage.count;
        }
    }

    int local = 0;

    heap_damage.count = 0;
    heap_free(&local);
    heap_free((void *)(uintptr_t)0x10);
    heap_free(RtlpArena.Base + 4 * HEAP_REGION - 16);
    heap_free(RtlpArena.Metadata + 64);
    heap_free((void *)(uintptr_t)0xffffffffffffff00);
    assert_int_equal(heap_damage.count, 5);
    RtlpDamageHandler = NULL;
    print_message("caught %d of %d misuses\n", caught + 5, 40 * 12 * 3 + 5);
}

static void a_block_of_a_private_heap_is_no_block_of_malloc(void **state)
{
    static const size_t sizes[] = { 10, 100, 3000, 16000, 50000, 700000 };
    PVOID heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);
    int caught = 0;

    (void)state;
    assert_non_null(heap);
    heap_free(heap_malloc(1)); /* this thread has a slot */
    RtlpDamageHandler = heap_collect_damage;
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i += 1)
    {
        for (int n = 0; n < 40; n += 1)
        {
            void *block = RtlAllocateHeap(heap, 0, sizes[i]);
            void *own = heap_malloc(sizes[i]);

            heap_damage.count = 0;
            heap_free(block);
            assert_int_equal(heap_damage.count, 1);
            assert_int_equal(heap_damage.last, HeapDamageWrongHeap);
            assert_false(RtlFreeHeap(heap, 0, own));
            assert_int_equal(heap_damage.count, 2);
            caught += heap_damage.count;
            assert_true(RtlFreeHeap(heap, 0, block));
            heap_free(own);
        }
    }

    RtlpDamageHandler = NULL;
    assert_true(RtlValidateHeap(heap, 0, NULL));
    assert_null(RtlDestroyHeap(heap));
    print_message("caught %d of %d frees into the wrong heap\n", caught, 6 * 40 * 2);
}

/*
 * Free runs of pages that are too short for a block are moved together for it: it needs no new memory. Some may be given back just
 * before, as time passes.
 */
static void a_long_block_takes_the_pages_of_shorter_free_ones_where_that_is_cheap(void **state)
{
    enum
    {
        count = 24,
        size = 1 << 20
    };
    static uint8_t *blocks[count];
    const ULONG known = RtlpGroundMoves;
    int moves = 0;

    (void)state;
    for (int round = 0; round < 20; round += 1)
    {
        (void)NtheapPurge(); /* no free pages that exist, so that the next ones are known */
        RtlpGroundMoves = round % 5 != 0 ? HeapMovesCheap : HeapMovesDear;
        for (int i = 0; i < count; i += 1)
        {
            blocks[i] = heap_malloc(size);
            assert_non_null(blocks[i]);
            memset(blocks[i], i + 1, size);
        }

        for (int i = 0; i < count; i += 2)
        {
            heap_free(blocks[i]);
        }

        /* Longer than any two of them side by side, with one that stays in between. */
        const ULONG64 before = RtlpMallocHeap.Counters.Moved;
        uint8_t *block = heap_malloc(5 * size);

        assert_non_null(block);
        if (RtlpGroundMoves == HeapMovesDear)
        {
            assert_int_equal(RtlpMallocHeap.Counters.Moved, before);
        }

        moves += RtlpMallocHeap.Counters.Moved >= before + 512;
        memset(block, 0xab, 5 * size);
        for (int i = 1; i < count; i += 2)
        {
            for (int at = 0; at < size; at += 509)
            {
                assert_int_equal(blocks[i][at], i + 1);
            }

            heap_free(blocks[i]);
        }

        assert_int_equal(block[0], 0xab);
        assert_int_equal(block[5 * size - 1], 0xab);
        assert_true(RtlpCheckHeap(&RtlpMallocHeap));
        heap_free(block);
    }

    RtlpGroundMoves = known;
    assert_true(moves >= 1);
    print_message("%d of 16 long blocks got pages of shorter ones\n", moves);
}

/* The period after which idle pages are given back: 100 ms, 400 where the first move was dear. */
static void idle_pages_stay_longer_where_pages_are_dear(void **state)
{
    static const struct
    {
        ULONG moves;
        ULONG64 idle; /* milliseconds since the last decay */
        BOOLEAN given;
    } cases[] = { { HeapMovesUnknown, 20, FALSE }, { HeapMovesUnknown, 100, TRUE },
                  { HeapMovesCheap, 150, TRUE },   { HeapMovesDear, 150, FALSE },
                  { HeapMovesDear, 400, TRUE },    { HeapMovesDear, 20, FALSE } };
    const ULONG known = RtlpGroundMoves;
    PHEAP heap = &RtlpMallocHeap;
    PHEAP_SPANS spans = &heap->Pools[HeapPoolLarge];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i += 1)
    {
        ULONG64 begin, purged;

        RtlpGroundMoves = cases[i].moves;
        do /* once more if the machine stood still for so long that it may change the answer */
        {
            uint8_t *blocks[2];

            (void)NtheapPurge();
            for (int b = 0; b < 2; b += 1)
            {
                blocks[b] = heap_malloc(20 << 20);
                assert_non_null(blocks[b]);
                memset(blocks[b], 1, 20 << 20);
            }

            begin = RtlpGroundMilliseconds();
            spans->DecayTime = begin;
            heap_free(blocks[0]);
            spans->DecayLow = spans->DirtyPages; /* all of that was idle */
            assert_true(spans->DirtyPages >= (20 << 20) / HEAP_PAGE);
            spans->DecayTime = begin - cases[i].idle;
            purged = heap->Counters.Purged;
            heap_free(blocks[1]);
            purged = heap->Counters.Purged - purged;
        } while (!cases[i].given && RtlpGroundMilliseconds() - begin >= 80);

        assert_true(cases[i].given ? purged >= (10 << 20) / HEAP_PAGE : purged == 0);
    }

    RtlpGroundMoves = known;
}

/* calloc may not take moved pages for new ones. */
static void moved_pages_are_not_said_to_be_zero(void **state)
{
    const ULONG known = RtlpGroundMoves;
    PHEAP_SLOT slot;
    uint8_t *blocks[9];

    (void)state;
    heap_free(heap_malloc(1));
    slot = RtlpThreadSlot;
    RtlpGroundMoves = HeapMovesCheap;

    const ULONG64 before = RtlpMallocHeap.Counters.Moved;

    for (int round = 0; round < 10; round += 1)
    {
        BOOLEAN zeroed;

        (void)NtheapPurge();
        for (int i = 0; i < 9; i += 1)
        {
            blocks[i] = heap_malloc(1 << 20);
            assert_non_null(blocks[i]);
            memset(blocks[i], 0xff, 1 << 20);
        }

        for (int i = 0; i < 9; i += 2)
        {
            heap_free(blocks[i]);
        }

        uint8_t *block = RtlpAllocateBig(&RtlpMallocHeap, slot, 4 << 20, HEAP_PAGE, &zeroed);

        assert_non_null(block);
        for (int at = 0; zeroed && at < 4 << 20; at += 1)
        {
            assert_int_equal(block[at], 0);
        }

        for (int i = 1; i < 9; i += 2)
        {
            heap_free(blocks[i]);
        }

        heap_free(block);
    }

    assert_true(RtlpMallocHeap.Counters.Moved > before);
    RtlpGroundMoves = known;
}

/* Every block of the bucket that waits, or is of its claimed word, comes to the caller. */
static int use_up(PHEAP_SLOT slot, ULONG bucket, void **blocks, int count)
{
    const PHEAP_ACTIVE active = &slot->Active[bucket];
    int taken = 0;

    while (RtlpIsReady(active) || active->Bits != 0)
    {
        assert_true(taken < count);
        blocks[taken] = active->Bits != 0 ? RtlpTakeClaimed(slot, active, active->Bits)
                                          : RtlpTakeReady(slot, active, active->Ready);
        taken += 1;
    }

    return taken;
}

/*
 * Freed blocks come again before new ones do, each of them once, and a second free is found before and after. Where others of
 * the bucket are free, the block freed last is never the next one, even if nothing was ready before: here for pairs of a free
 * and an allocation from the state that a burst of allocations leaves.
 */
static void freed_blocks_come_again_hard_to_foresee_and_once(void **state)
{
    enum
    {
        first = 20, /* those before it are of chunks */
        rounds = 32,
        count = 400
    };
    static void *blocks[count];
    int same = 0;
    int soon = 0;
    int all = 0;

    (void)state;
    RtlpDamageHandler = heap_collect_damage;
    for (ULONG bucket = 1; bucket < HEAP_BUCKETS; bucket += 7)
    {
        const SIZE_T size = RtlpBucketSize(bucket);
        void *last[4] = { NULL };

        for (int i = 0; i < count; i += 1)
        {
            blocks[i] = heap_malloc(size);
            assert_non_null(blocks[i]);
        }

        const PHEAP_SLOT slot = RtlpThreadSlot;
        const PHEAP_ACTIVE active = &slot->Active[bucket];

        for (int round = 0; round < rounds; round += 1)
        {
            const int i = first + (int)((unsigned)round * 67 % (count - first)); /* of all lines */
            void *const block = blocks[i];

            heap_free(block);
            heap_damage.count = 0;
            heap_free(block);
            assert_int_equal(heap_damage.count, 1);
            blocks[i] = heap_malloc(size);
            last[round & 3] = block;
            same += blocks[i] == block;
            for (int back = 0; back < 4; back += 1)
            {
                soon += blocks[i] == last[back];
            }

            all += 1;
            assert_true(RtlpCheckHeap(&RtlpMallocHeap));
        }

        for (int i = 0; i < count; i += 1)
        {
            memcpy(blocks[i], &i, sizeof(i));
        }

        for (int i = 0; i < count; i += 1)
        {
            assert_memory_equal(blocks[i], &i, sizeof(i));
        }

        /* As many are kept as there is room for, the rest is in the map; none comes twice. */
        for (int i = first; i < count; i += 1)
        {
            heap_free(blocks[i]);
        }

        assert_int_equal(active->Ready, active->ReadyFull);
        assert_true(RtlpCheckHeap(&RtlpMallocHeap));

        const int taken = use_up(slot, bucket, blocks + first, count - first);

        assert_true(taken >= (int)RtlpMostReady(bucket));
        assert_true(RtlpCheckHeap(&RtlpMallocHeap));
        for (int i = first; i < first + taken; i += 1)
        {
            for (int other = first; other < i; other += 1)
            {
                assert_ptr_not_equal(blocks[i], blocks[other]);
            }
        }

        for (int i = 0; i < first + taken; i += 1)
        {
            heap_free(blocks[i]);
        }

        assert_true(RtlpIsReady(active));
        RtlpTrimSlot(slot);
        assert_false(RtlpIsReady(active));
        assert_true(RtlpCheckHeap(&RtlpMallocHeap));
    }

    RtlpDamageHandler = NULL;
    print_message("the block freed last came next in %d of %d cases, one of the last four in %d\n", same, all,
                  soon);
    assert_int_equal(same, 0);
    assert_in_range(soon, all / 8, all * 7 / 8);
}

/* Freed blocks of 5 to 16 pages are kept by the slot: free for everybody, found when freed again, back where they came from. */
static void blocks_of_some_pages_are_kept_and_once(void **state)
{
    enum
    {
        count = HEAP_MOST_KEPT + 2
    };

    (void)state;
    assert_in_range(RtlpThreadSlot->Active[HEAP_ALL_BUCKETS - 1].ReadyFull, sizeof(HEAP_SLOT),
                    sizeof(HEAP_SLOT) + HEAP_ALL_READY * sizeof(HEAP_READY));
    RtlpDamageHandler = heap_collect_damage;
    for (ULONG pages = HEAP_KEPT_FIRST - 1; pages <= 18; pages += 1)
    {
        const SIZE_T size = pages * HEAP_PAGE - 100;
        const BOOLEAN keeps = pages >= HEAP_KEPT_FIRST && size <= HEAP_KEPT_LIMIT;
        unsigned char *blocks[count];
        void *again[count];

        RtlpFlushSpanCache(RtlpThreadSlot);
        for (int i = 0; i < count; i += 1)
        {
            blocks[i] = heap_malloc(size);
            assert_non_null(blocks[i]);
            memset(blocks[i], i, size);
        }

        for (int i = 0; i < count; i += 1)
        {
            /* Inside of it, then it, then it again. */
            heap_damage.count = 0;
            heap_free(blocks[i] + HEAP_PAGE);
            heap_free(blocks[i] + 16);
            assert_int_equal(heap_damage.count, 2);
            heap_free(blocks[i]);
            assert_int_equal(heap_damage.count, 2);
            heap_free(blocks[i]);
            assert_int_equal(heap_damage.count, 3);
            assert_int_equal(RtlpBlockSizeIn(RtlpLookup(blocks[i]), blocks[i]), 0);
            assert_true(RtlpCheckHeap(&RtlpMallocHeap));
        }

        if (keeps)
        {
            const PHEAP_ACTIVE kept = RtlpKeptSpans(RtlpThreadSlot, pages);

            assert_int_equal(RtlpIsKept(RtlpLookup(blocks[0])), TRUE);
            assert_int_equal(RtlpIsKept(RtlpLookup(blocks[count - 1])), FALSE);
            assert_int_equal(kept->Ready, kept->ReadyFull);
        }

        for (int i = 0; i < count; i += 1)
        {
            again[i] = heap_malloc(size);
            assert_non_null(again[i]);
            memset(again[i], i + 100, size);
        }

        for (int i = 0; i < count; i += 1)
        {
            assert_int_equal(*(unsigned char *)again[i], i + 100);
            assert_true(RtlpBlockSizeIn(RtlpLookup(again[i]), again[i]) >= size);
            heap_free(again[i]);
        }

        RtlpFlushSpanCache(RtlpThreadSlot);
        heap_damage.count = 0;
        heap_free(blocks[0]);
        assert_int_equal(heap_damage.count, 1);
        assert_true(RtlpCheckHeap(&RtlpMallocHeap));
    }

    RtlpDamageHandler = NULL;
}

/* In a large heap the blocks of a new subsegment come several pages at a time, in a small one page by page. */
static void pages_come_together_in_a_large_heap(void **state)
{
    enum
    {
        count = 90000
    };
    void **blocks = heap_malloc(count * sizeof(*blocks));
    ULONG seen = 0;

    (void)state;
    assert_non_null(blocks);
    RtlpTrimSlot(RtlpThreadSlot);
    for (int i = 0; i < count; i += 1)
    {
        blocks[i] = heap_malloc(1000);
        assert_non_null(blocks[i]);
        memset(blocks[i], i, 1000);
        if (i % 1000 == 0)
        {
            const PHEAP_DESCRIPTOR subsegment = RtlpLookup(blocks[i]);

            assert_true(RtlpCheckHeap(&RtlpMallocHeap));
            assert_true(subsegment->Kind != HeapKindSubsegment ||
                        subsegment->Exposed <= subsegment->Capacity);
            seen |= 1u << RtlpThreadSlot->Together;
        }
    }

    assert_true((seen & 1u << 4) != 0 && (seen & 1u << 8) != 0);
    for (int i = 0; i < count; i += 1)
    {
        assert_int_equal(((unsigned char *)blocks[i])[999], i & 0xff);
        heap_free(blocks[i]);
    }

    heap_free(blocks);
    RtlpTrimSlot(RtlpThreadSlot);
    assert_true(RtlpCheckHeap(&RtlpMallocHeap));
}

/* Empty subsegments that buckets still take blocks from go back when a growing block would need new pages, and only then. */
static void empty_subsegments_go_back_before_new_pages_are_touched(void **state)
{
    const ULONG bucket = RtlpBucketOf(6000);
    void *blocks[40];

    (void)state;
    heap_free(heap_malloc(1));
    for (int i = 0; i < 40; i += 1)
    {
        blocks[i] = heap_malloc(6000);
        assert_non_null(blocks[i]);
    }

    for (int i = 0; i < 40; i += 1)
    {
        heap_free(blocks[i]);
    }

    PHEAP_SLOT slot = RtlpThreadSlot;
    PHEAP_SPANS small = &RtlpMallocHeap.Pools[HeapPoolSmall];

    assert_non_null(RtlpActiveSubsegment(slot, bucket));
    RtlpPurge(&RtlpMallocHeap, HeapPoolSmall, 0);

    /* What a block is in use of stays, without it everything goes, and the pages can be had. */
    blocks[0] = heap_malloc(6000);
    RtlpOfferEmpty(slot, 8);
    assert_int_equal(RtlpLookup(blocks[0])->Kind, HeapKindSubsegment);
    assert_false(RtlpIsReady(&slot->Active[bucket]));
    RtlpPurge(&RtlpMallocHeap, HeapPoolSmall, 0);
    heap_free(blocks[0]);
    assert_true(RtlpIsReady(&slot->Active[bucket]));
    RtlpOfferEmpty(slot, 8);
    assert_null(RtlpActiveSubsegment(slot, bucket));
    assert_false(RtlpIsReady(&slot->Active[bucket]));
    assert_true(small->DirtyPages >= RtlpBucketPages(bucket));

    /* There are free pages enough now: nothing is given up. */
    blocks[0] = heap_malloc(100);
    for (int i = 0; i < 40; i += 1)
    {
        heap_free(blocks[0]);
        blocks[0] = heap_malloc(6000);
    }

    heap_free(blocks[0]);
    assert_non_null(RtlpActiveSubsegment(slot, bucket));
    if (small->DirtyPages >= 64)
    {
        RtlpOfferEmpty(slot, 1);
        assert_non_null(RtlpActiveSubsegment(slot, bucket));
    }

    assert_true(RtlpCheckHeap(&RtlpMallocHeap));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_have_the_documented_granularity),
        cmocka_unit_test(blocks_are_aligned_apart_and_keep_their_contents),
        cmocka_unit_test(placement_within_a_subsegment_differs_between_subsegments),
        cmocka_unit_test(every_misuse_of_free_is_reported),
        cmocka_unit_test(a_block_of_a_private_heap_is_no_block_of_malloc),
        cmocka_unit_test(a_long_block_takes_the_pages_of_shorter_free_ones_where_that_is_cheap),
        cmocka_unit_test(idle_pages_stay_longer_where_pages_are_dear),
        cmocka_unit_test(moved_pages_are_not_said_to_be_zero),
        cmocka_unit_test(freed_blocks_come_again_hard_to_foresee_and_once),
        cmocka_unit_test(blocks_of_some_pages_are_kept_and_once),
        cmocka_unit_test(pages_come_together_in_a_large_heap),
        cmocka_unit_test(empty_subsegments_go_back_before_new_pages_are_touched),
        cmocka_unit_test(freeing_everything_gives_every_subsegment_back),
    };

    return cmocka_run_group_tests_name("heap.front", tests, NULL, NULL);
}
