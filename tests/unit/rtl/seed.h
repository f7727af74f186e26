/* SPDX-License-Identifier: MIT */
/*
 * Seeds and iteration counts of the model-based tests. The generator is deliberately not the one under test.
 * NTMM_SEED repeats a run (decimal or 0x...), NTMM_ITERATIONS makes it longer; the seed is always printed.
 */
#ifndef NTMM_TESTS_RTL_SEED_H
#define NTMM_TESTS_RTL_SEED_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <time.h>

#include <cmocka.h>

typedef struct
{
    uint64_t state;
} test_random;

static inline uint64_t test_draw(test_random *random)
{
    /* Knuth's MMIX generator, high bits folded down. */
    random->state = random->state * 6364136223846793005ull + 1442695040888963407ull;
    return random->state ^ (random->state >> 29);
}

/* Uniform enough for tests: 0 .. bound-1. */
static inline uint64_t test_below(test_random *random, uint64_t bound)
{
    return (test_draw(random) >> 8) % bound;
}

static inline test_random test_seed(const char *name)
{
    const char *text = getenv("NTMM_SEED");
    uint64_t seed =
        text != NULL ? strtoull(text, NULL, 0) : (uint64_t)time(NULL) * 1000003u + (uintptr_t)name;
    test_random random = { seed };

    print_message("%s: NTMM_SEED=%llu\n", name, (unsigned long long)seed);
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

#endif
