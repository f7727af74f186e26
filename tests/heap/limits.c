/* SPDX-License-Identifier: MIT */
/*
 * malloc where the system grants little: address space (RLIMIT_AS) or writable memory (RLIMIT_DATA). Each limit is tried in a program
 * of its own, because the heap reserves at the first allocation. Most of what is granted can be had as blocks of either sort, what one sort
 * gave back serves the other, and something is left for stacks and mappings.
 *
 *   limits                     all of it
 *   limits KIND KIB            with the limit set
 */
#include "require.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* Everything there is, in blocks of that size, and all given back. How much it was. */
static size_t take_all(size_t size)
{
    size_t total = 0;
    void **all = NULL;

    for (void **block; (block = malloc(size)) != NULL; all = block)
    {
        memset(block, 1, size);
        *block = all;
        total += size;
    }

    REQUIRE(errno == ENOMEM);
    while (all != NULL)
    {
        void **next = *all;

        free(all);
        all = next;
    }

    return total;
}

static void *allocate_in_a_thread(void *argument)
{
    free(argument);

    return malloc(100);
}

/* More threads at once than there may be slots. */
#define THREADS 300

static pthread_barrier_t all_have;

static void *hold_in_a_thread(void *argument)
{
    void *blocks[] = { malloc(100), malloc(5000), calloc(1, 50000), aligned_alloc(256, 100) };
    int bad = 0;

    pthread_barrier_wait(&all_have);
    for (int i = 0; i < 4; i += 1)
    {
        bad += blocks[i] == NULL;
        free(blocks[i]);
    }

    return bad == 0 ? argument : NULL;
}

static void many_threads(const pthread_attr_t *attributes)
{
    static pthread_t threads[THREADS];

    REQUIRE(pthread_barrier_init(&all_have, NULL, THREADS) == 0);
    for (int i = 0; i < THREADS; i += 1)
    {
        REQUIRE(pthread_create(&threads[i], attributes, hold_in_a_thread, threads) == 0);
    }

    for (int i = 0; i < THREADS; i += 1)
    {
        void *result = NULL;

        REQUIRE(pthread_join(threads[i], &result) == 0 && result == threads);
    }
}

static int with_limit(size_t limit, int as)
{
    static const size_t turns[] = { 1 << 20, 100, 1 << 20, 300000, 5000, 1 << 19, 40 };
    pthread_attr_t attributes;
    pthread_t thread;
    void *result = NULL;
    const size_t other = limit / 16;

    REQUIRE(pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, 16384) == 0);
    many_threads(&attributes);
    for (size_t turn = 0; turn < sizeof(turns) / sizeof(turns[0]); turn += 1)
    {
        const size_t got = take_all(turns[turn]);

        if (got < limit / 3)
        {
            fprintf(stderr, "%zu KiB in blocks of %zu bytes, of %zu\n", got / 1024, turns[turn],
                    limit / 1024);
            return 1;
        }
    }

    /* One block of half of that, wherever the small ones have been. */
    result = malloc(limit / 6);
    REQUIRE(result != NULL);
    memset(result, 1, limit / 6);
    free(result);

    /* What is free can be had for something else, when it is asked for. */
    malloc_trim(0);
    result = mmap(NULL, limit / 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(as || result != MAP_FAILED);
    if (result != MAP_FAILED)
    {
        munmap(result, limit / 2);
    }

    /* And something else than blocks. */
    REQUIRE(pthread_attr_setstacksize(&attributes, 1 << 20) == 0);
    REQUIRE(pthread_create(&thread, &attributes, allocate_in_a_thread, malloc(10)) == 0);
    REQUIRE(pthread_join(thread, &result) == 0 && result != NULL);
    free(result);
    result = mmap(NULL, other, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(result != MAP_FAILED);

    return munmap(result, other);
}

static void run(const char *self, const char *kind, const char *kib)
{
    const pid_t child = fork();
    int status;

    REQUIRE(child >= 0);
    if (child == 0)
    {
        const struct rlimit limit = { strtoul(kib, NULL, 10) << 10, strtoul(kib, NULL, 10) << 10 };

        REQUIRE(setrlimit(strcmp(kind, "as") == 0 ? RLIMIT_AS : RLIMIT_DATA, &limit) == 0);
        execl(self, self, kind, kib, (char *)NULL);
        _exit(99);
    }

    REQUIRE(waitpid(child, &status, 0) == child);
    if (status != 0)
    {
        fprintf(stderr, "limit %s of %s KiB: status %x\n", kind, kib, (unsigned)status);
        exit(1);
    }
}

int main(int count, char **arguments)
{
    static const char *const sizes[] = { "65536", "100000", "300000", "1000000" };

    if (count == 3)
    {
        return with_limit(strtoul(arguments[2], NULL, 10) << 10, strcmp(arguments[1], "as") == 0);
    }

    for (size_t size = 0; size < sizeof(sizes) / sizeof(sizes[0]); size += 1)
    {
        run(arguments[0], "as", sizes[size]);
        run(arguments[0], "data", sizes[size]);
    }

    puts("malloc: 8 limits of the system, in blocks of six sizes");

    return 0;
}
