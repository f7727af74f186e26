/* SPDX-License-Identifier: MIT */
/*
 * What the allocation benchmarks share: a random generator that costs little, and threads.
 *
 * Each workload is written from its description in the literature (named above it), not from anybody's source. All of
 * them call malloc and free by name: which allocator answers is decided by LD_PRELOAD (run.py).
 */
#ifndef NTMM_BENCH_HEAPBENCH_H
#define NTMM_BENCH_HEAPBENCH_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct
{
    uint64_t state;
} bench_random;

static inline uint32_t bench_draw(bench_random *random)
{
    random->state = random->state * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(random->state >> 33);
}

static inline uint32_t bench_below(bench_random *random, uint32_t bound)
{
    return (uint32_t)(((uint64_t)bench_draw(random) * bound) >> 31);
}

/* A block as a program uses one: the first and the last byte are written. */
static inline void *bench_block(size_t size)
{
    char *block = malloc(size);

    if (block == NULL)
    {
        fprintf(stderr, "heapbench: no memory\n");
        exit(1);
    }

    block[0] = 1;
    block[size - 1] = 1;

    return block;
}

/* Runs body(argument + i * step) on count threads and waits for them. */
void bench_threads(int count, void *(*body)(void *), void *arguments, size_t step);

typedef struct
{
    const char *name;
    void (*run)(int threads, int scale);
    const char *what;
} bench_workload;

extern const bench_workload bench_single[];   /* ended by a NULL name */
extern const bench_workload bench_programs[]; /* real small-object work */
extern const bench_workload bench_parallel[];
extern const bench_workload bench_fragmentation[]; /* prints a curve */

#endif
