/* SPDX-License-Identifier: MIT */
/* Workloads of one thread that stress one property of an allocator each. */
#include "heapbench.h"

/* alloc-test (Anatoly, "Testing memory allocators"): random replacement with sizes distributed like 1/size. */
static void run_alloc_test(int threads, int scale)
{
    enum
    {
        slots = 1 << 15
    };
    static void *table[slots];
    bench_random random = { 17 };

    (void)threads;
    for (int i = 0; i < 9000000 * scale; i += 1)
    {
        const uint32_t slot = bench_below(&random, slots);

        free(table[slot]);
        const uint32_t log = bench_below(&random, 10);

        table[slot] = bench_block(8 + bench_below(&random, 8u << log));
    }

    for (int i = 0; i < slots; i += 1)
    {
        free(table[i]);
        table[i] = NULL;
    }
}

/* sh6bench style (MicroQuill): batches of blocks, most sizes small, freed in order, in reverse, and every other one. */
static void run_sh6(int threads, int scale)
{
    enum
    {
        batch = 4000
    };
    static void *table[batch];

    (void)threads;
    for (int round = 0; round < 6000 * scale; round += 1)
    {
        int used = 0;

        for (size_t size = 1; used < batch; size = size * 3 / 2 + 1)
        {
            if (size > 1000)
            {
                size = 1;
            }

            for (int i = 0; i < 50 && used < batch; i += 1)
            {
                table[used] = bench_block(size + 8);
                used += 1;
            }
        }

        switch (round % 3)
        {
        case 0:
            for (int i = 0; i < batch; i += 1)
            {
                free(table[i]);
            }
            break;
        case 1:
            for (int i = batch - 1; i >= 0; i -= 1)
            {
                free(table[i]);
            }
            break;
        default:
            for (int i = 0; i < batch; i += 2)
            {
                free(table[i]);
            }
            for (int i = 1; i < batch; i += 2)
            {
                free(table[i]);
            }
            break;
        }
    }
}

/* malloc-large: few blocks of 100 KiB to 8 MiB, random replacement, every page written. */
static void run_large(int threads, int scale)
{
    void *table[20] = { 0 };
    bench_random random = { 5 };

    (void)threads;
    for (int i = 0; i < 2500 * scale; i += 1)
    {
        const uint32_t slot = bench_below(&random, 20);
        const size_t size = 100000 + bench_below(&random, 80) * (size_t)100000;

        free(table[slot]);
        char *block = malloc(size);

        if (block == NULL)
        {
            exit(1);
        }

        for (size_t at = 0; at < size; at += 4096)
        {
            block[at] = 1;
        }

        table[slot] = block;
    }

    for (int i = 0; i < 20; i += 1)
    {
        free(table[i]);
    }
}

/* Buffers: short-lived blocks of 1 to 64 KiB, as parsers and network code have them, a handful at a time. */
static void run_buffers(int threads, int scale)
{
    void *table[16] = { 0 };
    bench_random random = { 23 };

    (void)threads;
    for (int i = 0; i < 4000000 * scale; i += 1)
    {
        const uint32_t slot = bench_below(&random, 16);

        free(table[slot]);
        table[slot] = bench_block(1024u << bench_below(&random, 7));
    }

    for (int i = 0; i < 16; i += 1)
    {
        free(table[i]);
    }
}

/* Growing arrays: vectors that double or grow by a constant, beside small blocks that stay. */
static void run_realloc(int threads, int scale)
{
    (void)threads;
    for (int round = 0; round < 400 * scale; round += 1)
    {
        char *vectors[16] = { 0 };
        void *kept[2000];
        int used = 0;

        for (size_t size = 16; size <= 262144; size = size * 5 / 4 + 8)
        {
            for (int i = 0; i < 16; i += 1)
            {
                vectors[i] = realloc(vectors[i], size + (size_t)i);
                if (vectors[i] == NULL)
                {
                    exit(1);
                }

                vectors[i][size - 1] = 1;
                if (used < 2000)
                {
                    kept[used] = bench_block(24);
                    used += 1;
                }
            }
        }

        for (int i = 0; i < 16; i += 1)
        {
            free(vectors[i]);
        }

        for (int i = 0; i < used; i += 1)
        {
            free(kept[i]);
        }
    }
}

/* calloc of small and medium blocks, LIFO. */
static void run_calloc(int threads, int scale)
{
    enum
    {
        depth = 256
    };
    void *stack[depth];
    bench_random random = { 99 };

    (void)threads;
    for (int round = 0; round < 60000 * scale; round += 1)
    {
        for (int i = 0; i < depth; i += 1)
        {
            stack[i] = calloc(1, 16 + bench_below(&random, 400));
            if (stack[i] == NULL)
            {
                exit(1);
            }
        }

        for (int i = depth - 1; i >= 0; i -= 1)
        {
            free(stack[i]);
        }
    }
}

/*
 * A server's long trace: random lifetimes, sizes that shift with time of day, live memory rising and falling; the
 * classic way to fragment a heap (Johnstone and Wilson, "The memory fragmentation problem: solved?").
 */
static void run_server(int threads, int scale)
{
    enum
    {
        slots = 200000
    };
    static void *table[slots];
    bench_random random = { 71 };

    (void)threads;
    for (int phase = 0; phase < 12 * scale; phase += 1)
    {
        const uint32_t centre = 16u << (phase % 6);
        const uint32_t live = phase % 3 == 2 ? slots / 4 : slots;

        for (int i = 0; i < 400000; i += 1)
        {
            const uint32_t slot = bench_below(&random, slots);

            free(table[slot]);
            table[slot] = slot < live ? bench_block(8 + centre / 2 + bench_below(&random, centre)) : NULL;
        }
    }

    for (int i = 0; i < slots; i += 1)
    {
        free(table[i]);
        table[i] = NULL;
    }
}

const bench_workload bench_single[] = {
    { "alloc-test", run_alloc_test, "random replacement, sizes like 1/size" },
    { "sh6", run_sh6, "batches of small blocks in three orders" },
    { "large", run_large, "blocks of 100 KB to 8 MB" },
    { "buffers", run_buffers, "short-lived blocks of 1 to 64 KiB" },
    { "realloc", run_realloc, "growing arrays" },
    { "calloc", run_calloc, "zeroed blocks, last in first out" },
    { "server", run_server, "random lifetimes, shifting sizes, rising and falling load" },
    { 0 },
};
