/* SPDX-License-Identifier: MIT */
/*
 * fragmentation: a server's long day. Memory held over memory live, at a hundred points of time.
 *
 * Four kinds of objects, as "The memory fragmentation problem: solved?" (Johnstone, Wilson) and the traces of web servers and caches
 * have them: requests (die young), sessions (medium), cache entries (replaced at random, their size changes from hour to
 * hour), and a rising and falling number of all of them. Each point is a line "step live held" in bytes, where held is
 * the resident set above what the process had before its first object.
 */
#include "heapbench.h"

#include <unistd.h>

enum
{
    points = 100,
    steps = 60000, /* replacements between two points */
    entries = 150000,
    sessions = 20000,
    requests = 500
};

typedef struct
{
    void *block;
    uint32_t size;
} object;

static object cache[entries], session[sessions], request[requests];
static uint64_t live;

static long resident(void)
{
    long size = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    if (file == NULL || fscanf(file, "%ld %ld", &size, &pages) != 2)
    {
        exit(1);
    }

    fclose(file);

    return pages * sysconf(_SC_PAGESIZE);
}

static void drop(object *o)
{
    live -= o->size;
    free(o->block);
    *o = (object){ 0 };
}

static void replace(object *o, uint32_t size)
{
    drop(o);
    o->block = bench_block(size);
    memset(o->block, 1, size);
    o->size = size;
    live += size;
}

static void run_fragmentation(int threads, int scale)
{
    bench_random random = { 4711 };

    (void)threads;
    memset(cache, 0, sizeof(cache)); /* the tables are no part of what is measured */
    memset(session, 0, sizeof(session));
    const long before = resident();

    for (int point = 0; point < points * scale; point += 1)
    {
        /* The load rises and falls over a day of 25 points; the usual size drifts over another period. */
        const int hour = point % 25;
        const uint32_t load = 25 + (uint32_t)(hour < 13 ? hour : 25 - hour) * 6; /* per cent: 25 .. 97 */
        const uint32_t centre = 32u + (uint32_t)(point * 37 % 11) * 40;

        for (int i = 0; i < steps; i += 1)
        {
            const uint32_t kind = bench_below(&random, 100);

            if (kind < 55)
            {
                replace(&request[bench_below(&random, requests)],
                        16 + bench_below(&random, 64u << bench_below(&random, 8)));
            }
            else if (kind < 75)
            {
                object *o = &session[bench_below(&random, sessions)];

                if (bench_below(&random, 100) < load)
                {
                    replace(o, 200 + bench_below(&random, 1800));
                }
                else
                {
                    drop(o);
                }
            }
            else
            {
                object *o = &cache[bench_below(&random, entries)];

                if (bench_below(&random, 100) < load)
                {
                    replace(o, centre + bench_below(&random, centre));
                }
                else
                {
                    drop(o);
                }
            }
        }

        printf("%d %llu %ld\n", point, (unsigned long long)live, resident() - before);
    }
}

const bench_workload bench_fragmentation[] = {
    { "fragmentation", run_fragmentation, "a server's day: memory held over memory live" },
    { 0 },
};
