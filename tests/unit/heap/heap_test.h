/* SPDX-License-Identifier: MIT */
/*
 * What the heap's tests share: seeds, and a handler that collects damage reports instead of ending the process.
 */
#ifndef NTMM_TESTS_HEAP_TEST_H
#define NTMM_TESTS_HEAP_TEST_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <setjmp.h>
#include <time.h>

#include <cmocka.h>

#include "heap/front.h"

typedef struct
{
    uint64_t state;
} test_random;

static inline uint64_t test_draw(test_random *random)
{
    random->state = random->state * 6364136223846793005ull + 1442695040888963407ull;
    return random->state ^ (random->state >> 29);
}

static inline uint64_t test_below(test_random *random, uint64_t bound)
{
    return (test_draw(random) >> 8) % bound;
}

static inline test_random test_seed(const char *name)
{
    const char *text = getenv("NTMM_SEED");
    test_random random = { text != NULL ? strtoull(text, NULL, 0) : (uint64_t)time(NULL) * 1000003u };

    print_message("%s: NTMM_SEED=%llu\n", name, (unsigned long long)random.state);
    for (int i = 0; i < 4; i += 1)
    {
        (void)test_draw(&random);
    }

    return random;
}

static inline uint64_t test_iterations(uint64_t usual)
{
    const char *text = getenv("NTMM_ITERATIONS");

    return text != NULL ? strtoull(text, NULL, 0) : usual;
}

/* The malloc family as malloc.c makes it, without its names: sanitizers have their own. */
static inline void *heap_malloc(size_t size)
{
    PHEAP_SLOT slot = RtlpThreadSlot != &RtlpEmptySlot ? RtlpThreadSlot : RtlpAttachThread();
    BOOLEAN zeroed;

    if (slot == NULL)
    {
        return NULL;
    }

    return size <= HEAP_FRONT_END_LIMIT ? RtlpAllocateFront(slot, size)
                                        : RtlpAllocateBig(&RtlpMallocHeap, slot, size, HEAP_PAGE, &zeroed);
}

static inline void heap_free(void *block)
{
    RtlpFreeFront(RtlpThreadSlot, block);
}

/* Sizes as programs ask for them: small ones mostly, now and then pages, rarely megabytes. */
static inline size_t heap_test_size(test_random *random)
{
    const uint64_t kind = test_below(random, 1000);

    if (kind < 800)
    {
        return (size_t)test_below(random, 300);
    }

    if (kind < 980)
    {
        return (size_t)test_below(random, 1u << (6 + test_below(random, 9)));
    }

    return kind < 998 ? 16000 + (size_t)test_below(random, 300000)
                      : 500000 + (size_t)test_below(random, 2000000);
}

static struct
{
    int count;
    HEAP_DAMAGE last;
    const void *address;
} heap_damage;

static inline void heap_collect_damage(HEAP_DAMAGE damage, PVOID heap, const VOID *address)
{
    (void)heap;
    heap_damage.count += 1;
    heap_damage.last = damage;
    heap_damage.address = address;
}

#endif
