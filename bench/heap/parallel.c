/* SPDX-License-Identifier: MIT */
/* Workloads of several threads: blocks that change hands, and threads that come and go. */
#include "heapbench.h"

#include <stdatomic.h>

/* On cache lines of its own: each thread writes its random state at every step, and chance must not make two of them share a line. */
typedef struct
{
    _Alignas(128) int index;
    int scale;
    bench_random random;
    void **table;
} worker;

static void start(worker *workers, int threads, int scale)
{
    for (int i = 0; i < threads; i += 1)
    {
        workers[i] = (worker){ .index = i, .scale = scale, .random = { (uint64_t)i * 7919 + 1 } };
    }
}

/*
 * larson (Larson and Krishnan, "Memory allocation for long-running server applications"): each thread replaces random
 * blocks of its table, then ends and hands the table to a new thread, which frees what others allocated.
 */
enum
{
    larson_slots = 5000
};

static void *larson_body(void *argument)
{
    worker *self = argument;

    for (int i = 0; i < 100000; i += 1)
    {
        const uint32_t slot = bench_below(&self->random, larson_slots);

        free(self->table[slot]);
        self->table[slot] = bench_block(10 + bench_below(&self->random, 490));
    }

    return NULL;
}

static void run_larson(int threads, int scale)
{
    worker workers[64];
    static void *tables[64][larson_slots];

    start(workers, threads, scale);
    for (int round = 0; round < 100 * scale; round += 1)
    {
        for (int i = 0; i < threads; i += 1)
        {
            workers[i].table = tables[(i + round) % threads];
        }

        bench_threads(threads, larson_body, workers, sizeof(worker));
    }

    for (int i = 0; i < threads; i += 1)
    {
        for (int slot = 0; slot < larson_slots; slot += 1)
        {
            free(tables[i][slot]);
        }
    }
}

/* xmalloc style (Lever and Boreham, "malloc() performance in a multithreaded Linux environment"): half of the threads
 * allocate batches, the other half free them. */
enum
{
    xmalloc_batch = 120,
    xmalloc_queue = 64
};

static struct
{
    pthread_mutex_t lock;
    pthread_cond_t changed;
    void **full[xmalloc_queue];
    int used;
    int producers;
} queue = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static void *xmalloc_body(void *argument)
{
    worker *self = argument;

    if (self->index % 2 == 0)
    {
        for (int round = 0; round < 40000 * self->scale; round += 1)
        {
            void **batch = malloc(xmalloc_batch * sizeof(void *));

            if (batch == NULL)
            {
                exit(1);
            }

            for (int i = 0; i < xmalloc_batch; i += 1)
            {
                batch[i] = bench_block(8 + bench_below(&self->random, 200));
            }

            pthread_mutex_lock(&queue.lock);
            while (queue.used == xmalloc_queue)
            {
                pthread_cond_wait(&queue.changed, &queue.lock);
            }

            queue.full[queue.used] = batch;
            queue.used += 1;
            pthread_cond_broadcast(&queue.changed);
            pthread_mutex_unlock(&queue.lock);
        }

        pthread_mutex_lock(&queue.lock);
        queue.producers -= 1;
        pthread_cond_broadcast(&queue.changed);
        pthread_mutex_unlock(&queue.lock);

        return NULL;
    }

    for (;;)
    {
        pthread_mutex_lock(&queue.lock);
        while (queue.used == 0 && queue.producers != 0)
        {
            pthread_cond_wait(&queue.changed, &queue.lock);
        }

        if (queue.used == 0)
        {
            pthread_mutex_unlock(&queue.lock);
            return NULL;
        }

        queue.used -= 1;
        void **batch = queue.full[queue.used];

        pthread_cond_broadcast(&queue.changed);
        pthread_mutex_unlock(&queue.lock);
        for (int i = 0; i < xmalloc_batch; i += 1)
        {
            free(batch[i]);
        }

        free(batch);
    }
}

static void run_xmalloc(int threads, int scale)
{
    worker workers[64];
    const int count = threads < 2 ? 2 : threads & ~1;

    start(workers, count, scale);
    queue.producers = count / 2;
    bench_threads(count, xmalloc_body, workers, sizeof(worker));
}

/* cache-thrash and cache-scratch (Berger et al., "Hoard"): does the allocator make threads share cache lines? */
static void cache_work(char *block, int turns)
{
    for (int turn = 0; turn < turns; turn += 1)
    {
        for (int i = 0; i < 8; i += 1)
        {
            ((volatile char *)block)[i] += 1;
        }
    }
}

static void *thrash_body(void *argument)
{
    worker *self = argument;

    for (int i = 0; i < 200000 * self->scale; i += 1)
    {
        char *block = bench_block(8);

        cache_work(block, 200);
        free(block);
    }

    return NULL;
}

static void run_cache_thrash(int threads, int scale)
{
    worker workers[64];

    start(workers, threads, scale);
    bench_threads(threads, thrash_body, workers, sizeof(worker));
}

static void *scratch_body(void *argument)
{
    worker *self = argument;

    cache_work(self->table[0], 100);
    free(self->table[0]);

    return thrash_body(argument);
}

static void run_cache_scratch(int threads, int scale)
{
    worker workers[64];
    void *first[64];

    start(workers, threads, scale);
    for (int i = 0; i < threads; i += 1)
    {
        first[i] = bench_block(8); /* neighbours, by one thread; each is freed by another */
        workers[i].table = &first[i];
    }

    bench_threads(threads, scratch_body, workers, sizeof(worker));
}

/* mstress style: thread-local blocks of very different lifetimes, some handed over through a shared table. */
enum
{
    mstress_shared = 1000
};
static _Atomic(void *) shared[mstress_shared];

static void *mstress_body(void *argument)
{
    worker *self = argument;
    enum
    {
        slots = 20000
    };
    void **table = calloc(slots, sizeof(void *));

    if (table == NULL)
    {
        exit(1);
    }

    for (int i = 0; i < 600000; i += 1)
    {
        const uint32_t slot = bench_below(&self->random, slots);
        const uint32_t kind = bench_below(&self->random, 100);

        free(table[slot]);
        table[slot] = bench_block(kind == 0   ? 8000u + bench_below(&self->random, 60000)
                                  : kind < 10 ? 500u + bench_below(&self->random, 3000)
                                              : 8u + bench_below(&self->random, 256));
        if (kind >= 90)
        {
            table[slot] = atomic_exchange(&shared[bench_below(&self->random, mstress_shared)], table[slot]);
        }
    }

    for (int i = 0; i < slots; i += 1)
    {
        free(table[i]);
    }

    free(table);

    return NULL;
}

static void run_mstress(int threads, int scale)
{
    worker workers[64];

    start(workers, threads, scale);
    for (int round = 0; round < 6 * scale; round += 1)
    {
        bench_threads(threads, mstress_body, workers, sizeof(worker));
    }

    for (int i = 0; i < mstress_shared; i += 1)
    {
        free(atomic_exchange(&shared[i], NULL));
    }
}

/* rptest style: each thread keeps a table of random-size blocks (log-uniform, 16 bytes to 64 KiB), a fifth of them freed by the next thread. */
static pthread_barrier_t barrier;
static void **cross[64];

static void *rptest_body(void *argument)
{
    worker *self = argument;
    enum
    {
        slots = 4000
    };
    void **table = calloc(slots, sizeof(void *));

    if (table == NULL)
    {
        exit(1);
    }

    for (int round = 0; round < 60 * self->scale; round += 1)
    {
        for (int i = 0; i < 20000; i += 1)
        {
            const uint32_t slot = bench_below(&self->random, slots);
            const uint32_t log = bench_below(&self->random, 12);

            free(table[slot]);
            table[slot] = bench_block(16 + bench_below(&self->random, 16u << log));
        }

        cross[self->index] = table;
        pthread_barrier_wait(&barrier);
        void **other = cross[self->index ^ 1];

        for (int i = 0; i < slots; i += 5)
        {
            free(other[i]);
            other[i] = NULL;
        }

        pthread_barrier_wait(&barrier);
    }

    for (int i = 0; i < slots; i += 1)
    {
        free(table[i]);
    }

    free(table);

    return NULL;
}

static void run_rptest(int threads, int scale)
{
    worker workers[64];
    const int count = threads < 2 ? 2 : threads & ~1;

    start(workers, count, scale);
    pthread_barrier_init(&barrier, NULL, (unsigned)count);
    bench_threads(count, rptest_body, workers, sizeof(worker));
    pthread_barrier_destroy(&barrier);
}

/* sh8bench style (MicroQuill): as sh6, on every thread, with batches of mixed ages. */
static void *sh8_body(void *argument)
{
    worker *self = argument;
    enum
    {
        batch = 1000,
        ages = 16
    };
    void **table = calloc(batch * ages, sizeof(void *));

    if (table == NULL)
    {
        exit(1);
    }

    for (int round = 0; round < 12000 * self->scale; round += 1)
    {
        void **place = table + (size_t)bench_below(&self->random, ages) * batch;

        for (int i = 0; i < batch; i += 1)
        {
            free(place[i]);
            place[i] = bench_block(1 + (size_t)(i % 64) * 8);
        }
    }

    for (int i = 0; i < batch * ages; i += 1)
    {
        free(table[i]);
    }

    free(table);

    return NULL;
}

static void run_sh8(int threads, int scale)
{
    worker workers[64];

    start(workers, threads, scale);
    bench_threads(threads, sh8_body, workers, sizeof(worker));
}

const bench_workload bench_parallel[] = {
    { "larson", run_larson, "threads replace blocks and hand their tables to new threads" },
    { "xmalloc", run_xmalloc, "producers and consumers" },
    { "cache-thrash", run_cache_thrash, "small blocks written by each thread" },
    { "cache-scratch", run_cache_scratch, "the same, blocks handed over first" },
    { "mstress", run_mstress, "mixed lifetimes, a shared table" },
    { "rptest", run_rptest, "random sizes, a fifth freed by the other thread" },
    { "sh8", run_sh8, "batches of mixed ages on every thread" },
    { 0 },
};
