/* SPDX-License-Identifier: MIT */
/*
 * The malloc family of libntheap, linked statically: results and errno as the manual pages say, alignment, fork from a
 * program with threads, and the misuses that must end the process, each tried in a child.
 *
 *   malloc_family                 all of it, in the default mode and in check mode; a part in page-heap mode
 *   malloc_family all             all but the misuses, in the mode that the environment says
 *   malloc_family results         of single calls
 *   malloc_family MISUSE SIZE     commits one misuse; survives only if it is not caught
 */
#include "nt/heap.h"

#include "require.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static void *volatile sink;

static int zero(const char *block, size_t size)
{
    for (size_t at = 0; at < size; at += 1)
    {
        if (block[at] != 0)
        {
            return 0;
        }
    }

    return 1;
}

static void results_and_errno(void)
{
    volatile size_t huge = SIZE_MAX / 2 + 2;
    void *block;

    errno = 0;
    REQUIRE(malloc(huge) == NULL && errno == ENOMEM);
    errno = 0;
    REQUIRE(calloc(huge, 2) == NULL && errno == ENOMEM);
    errno = 0;
    REQUIRE(reallocarray(NULL, huge, 2) == NULL && errno == ENOMEM);
    errno = 77;
    REQUIRE(posix_memalign(&block, 24, 10) == EINVAL && posix_memalign(&block, 4, 10) == EINVAL);
    REQUIRE(posix_memalign(&block, 64, huge) == ENOMEM && errno == 77);
    errno = 0;
    REQUIRE(aligned_alloc(48, 96) == NULL && errno == EINVAL);
    errno = 0;
    REQUIRE(memalign(huge, 10) == NULL && errno == EINVAL); /* no power of two is as large */
    errno = 0;
    REQUIRE(memalign(SIZE_MAX / 4, 10) == NULL && errno == ENOMEM);

    /* No bytes: blocks of their own. */
    void *first = malloc(0);
    void *second = malloc(0);

    REQUIRE(first != NULL && second != NULL && first != second);
    /* What is said to be usable is, also of no bytes. */
    memset(first, 1, malloc_usable_size(first));
    memset(second, 1, malloc_usable_size(second));
    free(first);
    free(second);
    free(NULL);
    REQUIRE(malloc_usable_size(NULL) == 0);
    errno = 33;
    free(malloc(100000000));
    REQUIRE(errno == 33);
}

static void calloc_zeroes_used_memory(void)
{
    for (size_t size = 1; size < 3000000; size = size * 7 / 4 + 3)
    {
        char *block = malloc(size);

        REQUIRE(block != NULL);
        memset(block, 0xee, size);
        free(block);
        block = calloc(1, size);
        REQUIRE(block != NULL && zero(block, size));
        free(block);
    }
}

static void realloc_keeps_contents(void)
{
    unsigned char *block = NULL;
    size_t old = 0;

    for (size_t turn = 0; turn < 300; turn += 1)
    {
        const size_t size = turn % 2 == 0 ? (turn * turn * 97 + 1) % 5000000 + 1 : (turn * 613) % 20000 + 1;
        unsigned char *moved = realloc(block, size);

        REQUIRE(moved != NULL && malloc_usable_size(moved) >= size);
        for (size_t at = 0; at < old && at < size; at += 37)
        {
            REQUIRE(moved[at] == (unsigned char)(at * 31));
        }

        for (size_t at = 0; at < size; at += 1)
        {
            moved[at] = (unsigned char)(at * 31);
        }

        block = moved;
        old = size;
    }

    REQUIRE(realloc(block, 0) == NULL);
}

static void alignments(void)
{
    for (size_t alignment = 16; alignment <= 16 << 20; alignment *= 2)
    {
        for (size_t size = 1; size < 2000000; size = size * 3 + 1)
        {
            void *block = NULL;

            REQUIRE(posix_memalign(&block, alignment, size) == 0);
            REQUIRE((uintptr_t)block % alignment == 0 && malloc_usable_size(block) >= size);
            memset(block, 1, size);
            block = realloc(block, size + 100);
            REQUIRE(block != NULL && *(char *)block == 1);
            free(block);
        }
    }

    sink = valloc(10);
    REQUIRE((uintptr_t)sink % 4096 == 0);
    free(sink);
    sink = pvalloc(4097);
    REQUIRE((uintptr_t)sink % 4096 == 0 && malloc_usable_size(sink) >= 8192);
    free(sink);
    sink = memalign(48, 10);
    REQUIRE((uintptr_t)sink % 64 == 0);
    free(sink);
}

/* They tell of this heap, not of the C library's own. */
static void what_the_heap_tells_of_itself(void)
{
    const size_t size = 3u << 30;
    const struct mallinfo2 before = mallinfo2();
    char text[1000] = "";
    FILE *stream = fmemopen(text, sizeof(text), "w");

    sink = malloc(size);

    const struct mallinfo2 with = mallinfo2();
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    const struct mallinfo shortened = mallinfo();
#pragma GCC diagnostic pop

    REQUIRE(sink != NULL && stream != NULL);
    free(sink);

    const struct mallinfo2 after = mallinfo2();

    REQUIRE(with.uordblks - before.uordblks >= size && with.arena == with.uordblks + with.fordblks);
    REQUIRE(with.uordblks - after.uordblks >= size && shortened.uordblks == INT_MAX);
    REQUIRE(mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1);
    REQUIRE(malloc_info(1, stream) == EINVAL && malloc_info(0, stream) == 0);
    REQUIRE(fclose(stream) == 0 && strstr(text, "<system type=\"current\"") != NULL);
}

static atomic_int stop;
static PVOID heaps[3];

static void *busy(void *argument)
{
    void *blocks[64] = { 0 };
    unsigned seed = (unsigned)(uintptr_t)argument;

    while (!stop)
    {
        seed = seed * 1103515245 + 12345;
        free(blocks[seed >> 16 & 63]);
        blocks[seed >> 16 & 63] = malloc(seed >> 8 & 0x7fff);
    }

    for (int i = 0; i < 64; i += 1)
    {
        free(blocks[i]);
    }

    return NULL;
}

static void fork_with_threads(void)
{
    pthread_t threads[3];

    for (int i = 0; i < 3; i += 1)
    {
        REQUIRE(pthread_create(&threads[i], NULL, busy, (void *)(uintptr_t)(i + 1)) == 0);
    }

    for (int round = 0; round < 60; round += 1)
    {
        const pid_t child = fork();
        int status;

        REQUIRE(child >= 0);
        if (child == 0)
        {
            for (size_t size = 1; size < 1000000; size *= 3)
            {
                free(malloc(size));
            }

            _exit(0);
        }

        REQUIRE(waitpid(child, &status, 0) == child && status == 0);
    }

    stop = 1;
    for (int i = 0; i < 3; i += 1)
    {
        pthread_join(threads[i], NULL);
    }
}

/*
 * Registered before the library registers its own: prepare is called after the library's, the others before, and all of them
 * allocate, from the same locks that the library holds then.
 */
static atomic_int handled;

static void allocate_in_a_handler(void)
{
    PVOID heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);

    for (size_t size = 10; size < 3000000; size *= 3)
    {
        void *block = malloc(size);

        REQUIRE(block != NULL && heap != NULL);
        sink = RtlAllocateHeap(heap, 0, size);
        REQUIRE(sink != NULL);
        free(block);
    }

    REQUIRE(RtlDestroyHeap(heap) == NULL);
    handled += 1;
}

__attribute__((constructor)) static void register_early(void)
{
    REQUIRE(pthread_atfork(allocate_in_a_handler, allocate_in_a_handler, allocate_in_a_handler) == 0);
}

/* ---- the first fork of a process, while its other threads allocate for the first time ---- */

static atomic_int in_prepare;

static void *busy_from_prepare_on(void *argument)
{
    while (!in_prepare)
    {
    }

    return busy(argument);
}

static void let_others_begin(void)
{
    in_prepare = 1;
    usleep(1000);
}

/* A process of its own: the library learns of threads when the second one allocates, and the first one is inside fork then. */
static int fork_first(void)
{
    pthread_t threads[3];
    int status = 1;

    free(malloc(10)); /* it is the first */
    REQUIRE(pthread_atfork(let_others_begin, NULL, NULL) == 0);
    for (int i = 0; i < 3; i += 1)
    {
        REQUIRE(pthread_create(&threads[i], NULL, busy_from_prepare_on, (void *)(uintptr_t)(i + 1)) == 0);
    }

    const pid_t child = fork();

    REQUIRE(child >= 0);
    if (child == 0)
    {
        _exit(0); /* register_early's handler has allocated */
    }

    for (int wait = 0; wait < 3000 && waitpid(child, &status, WNOHANG) == 0; wait += 1)
    {
        usleep(10000); /* half a minute in all: a child that waits for a lock waits for ever */
    }

    kill(child, SIGKILL);
    stop = 1;

    return status;
}

static void first_forks(const char *self)
{
    for (int round = 0; round < 10; round += 1)
    {
        const pid_t child = fork();
        int status;

        REQUIRE(child >= 0);
        if (child == 0)
        {
            execl(self, self, "first-fork", (char *)NULL);
            _exit(99);
        }

        REQUIRE(waitpid(child, &status, 0) == child && status == 0);
    }
}

static void *busy_in_heaps(void *argument)
{
    PVOID blocks[64] = { 0 };
    unsigned seed = (unsigned)(uintptr_t)argument;

    while (!stop)
    {
        PVOID heap = heaps[(uintptr_t)argument % 3];

        seed = seed * 1103515245 + 12345;
        REQUIRE(RtlFreeHeap(heap, 0, blocks[seed >> 16 & 63]));
        blocks[seed >> 16 & 63] = RtlAllocateHeap(heap, 0, seed >> 8 & 0x7fff);
        if ((seed >> 24 & 15) == 0)
        {
            REQUIRE(RtlLockHeap(heap));

            PVOID block = RtlAllocateHeap(heap, 0, 100);

            REQUIRE(RtlFreeHeap(heap, 0, block) && RtlUnlockHeap(heap));
            heap = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);
            REQUIRE(heap != NULL && RtlDestroyHeap(heap) == NULL);
        }
    }

    return NULL;
}

/* No lock of a private heap is held in the child, whatever the threads that it does not have were doing. */
static void fork_with_private_heaps(void)
{
    pthread_t threads[3];
    const int before = handled;

    stop = 0;
    for (int i = 0; i < 3; i += 1)
    {
        heaps[i] = RtlCreateHeap(HEAP_GROWABLE, NULL, 0, 0, NULL, NULL);
        REQUIRE(heaps[i] != NULL);
    }

    for (int i = 0; i < 3; i += 1)
    {
        REQUIRE(pthread_create(&threads[i], NULL, busy_in_heaps, (void *)(uintptr_t)(i + 1)) == 0);
    }

    for (int round = 0; round < 60; round += 1)
    {
        const int locked = round % 4 == 0; /* by the forking thread: in both afterwards */

        REQUIRE(!locked || RtlLockHeap(heaps[1]));

        const pid_t child = fork();
        int status;

        REQUIRE(child >= 0);
        if (child == 0)
        {
            alarm(60); /* rather than hang */
            REQUIRE(!locked || RtlUnlockHeap(heaps[1]));
            for (int i = 0; i < 3; i += 1)
            {
                REQUIRE(!RtlUnlockHeap(heaps[i]));
                REQUIRE(RtlValidateHeap(heaps[i], 0, NULL));
                for (size_t size = 1; size < 1000000; size *= 3)
                {
                    sink = RtlAllocateHeap(heaps[i], 0, size);
                    REQUIRE(sink != NULL && RtlFreeHeap(heaps[i], 0, sink));
                }

                REQUIRE(RtlDestroyHeap(heaps[i]) == NULL);
            }

            _exit(0);
        }

        REQUIRE(!locked || RtlUnlockHeap(heaps[1]));
        REQUIRE(waitpid(child, &status, 0) == child && status == 0);
    }

    stop = 1;
    for (int i = 0; i < 3; i += 1)
    {
        pthread_join(threads[i], NULL);
    }

    for (int i = 0; i < 3; i += 1)
    {
        REQUIRE(RtlDestroyHeap(heaps[i]) == NULL);
    }

    REQUIRE(handled == before + 2 * 60);
}

/* A destructor that runs after the library's own, more often than a thread's destructors are called again. */
static pthread_key_t late_key;
static int late_calls;

static void late_destructor(void *value)
{
    char *text = malloc(100);
    char *wide = aligned_alloc(256, 1000);
    char *large = calloc(1, 100000);

    REQUIRE(text != NULL && wide != NULL && large != NULL && (uintptr_t)wide % 256 == 0 && large[99999] == 0);
    strcpy(text, "still here");
    text = realloc(text, 3000);
    REQUIRE(text != NULL && strcmp(text, "still here") == 0);
    free(text);
    free(wide);
    free(large);
    free(value);
    late_calls += 1;
    (void)pthread_setspecific(late_key, malloc(20));
}

static void *short_thread(void *argument)
{
    (void)pthread_setspecific(late_key, malloc(20));
    free(malloc((size_t)(uintptr_t)argument));

    return NULL;
}

static long peak_kib(void)
{
    long size = 0, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    REQUIRE(file != NULL && fscanf(file, "%ld %ld", &size, &pages) == 2);
    fclose(file);

    return pages * 4;
}

static void threads_may_allocate_until_their_very_end(void)
{
    long before = 0;

    REQUIRE(pthread_key_create(&late_key, late_destructor) == 0);
    for (int round = 0; round < 2000; round += 1)
    {
        pthread_t thread;

        REQUIRE(pthread_create(&thread, NULL, short_thread, (void *)(uintptr_t)(round + 1)) == 0);
        REQUIRE(pthread_join(thread, NULL) == 0);
        before = round == 200 ? peak_kib() : before;
    }

    /* No slot of 10 KiB was lost with each of 1,800 threads. */
    REQUIRE(late_calls >= 2000 && peak_kib() < before + 4000);
}

/* What signal handlers may do here is what they may do with glibc: be taken in the middle of malloc, and return. */
static volatile sig_atomic_t ticks;

static void on_tick(int number)
{
    (void)number;
    ticks += 1;
}

static void signals_may_come_at_any_time(void)
{
    const struct itimerval often = { { 0, 200 }, { 0, 200 } };
    const struct itimerval never = { { 0, 0 }, { 0, 0 } };
    unsigned seed = 5;
    char *blocks[100] = { 0 };

    REQUIRE(signal(SIGALRM, on_tick) != SIG_ERR);
    REQUIRE(setitimer(ITIMER_REAL, &often, NULL) == 0);
    for (int i = 0; i < 3000000 && ticks < 200; i += 1)
    {
        seed = seed * 1103515245 + 12345;
        const unsigned place = (seed >> 16) % 100;

        REQUIRE(blocks[place] == NULL || *blocks[place] == (char)place);
        free(blocks[place]);
        blocks[place] = malloc(1 + (seed >> 8) % 5000);
        REQUIRE(blocks[place] != NULL);
        *blocks[place] = (char)place;
    }

    REQUIRE(setitimer(ITIMER_REAL, &never, NULL) == 0 && ticks > 0);
    for (int i = 0; i < 100; i += 1)
    {
        free(blocks[i]);
    }
}

static void *from_constructor;

__attribute__((constructor)) static void allocate_before_main(void)
{
    from_constructor = malloc(1000);
}

static void libraries_come_and_go(void)
{
    REQUIRE(from_constructor != NULL);
    free(from_constructor);
    for (int round = 0; round < 20; round += 1)
    {
        void *library = dlopen("libm.so.6", RTLD_NOW | RTLD_LOCAL);

        REQUIRE(library != NULL && dlsym(library, "cos") != NULL && dlclose(library) == 0);
        REQUIRE(dlopen("no-such-library.so", RTLD_NOW) == NULL && dlerror() != NULL);
    }
}

static int misuse(const char *kind, size_t size)
{
    char *volatile block = malloc(size);

    if (strcmp(kind, "double") == 0)
    {
        free(block);
        free(block);
    }
    else if (strcmp(kind, "interior") == 0)
    {
        free(block + 16);
    }
    else if (strcmp(kind, "foreign") == 0)
    {
        free((char *)&block);
    }
    else if (strcmp(kind, "realloc") == 0)
    {
        free(block);
        sink = realloc(block, 200);
    }
    else if (strcmp(kind, "overrun") == 0)
    {
        block[(size + 15) & ~(size_t)15] = 1;
    }
    else if (strcmp(kind, "tail") == 0)
    {
        block[size] = 1;
        free(block);
    }
    else if (strcmp(kind, "grown") == 0)
    {
        block[size] = 1;
        sink = realloc(block, size + 1000);
    }
    else if (strcmp(kind, "kept") == 0)
    {
        block[size + 7] = 1; /* never freed: found at the end */
    }
    else if (strcmp(kind, "use") == 0)
    {
        free(block);
        block[size / 2] = 1;
    }
    else if (strcmp(kind, "reused") == 0)
    {
        /* Without delayed reuse the second block would be the first one's memory after a few turns. */
        free(block);
        for (int turn = 0; turn < 1000; turn += 1)
        {
            char *volatile other = malloc(size);

            if (other == block)
            {
                return 3;
            }

            free(other);
        }

        abort();
    }

    return 0;
}

/* The misuse, in a program of its own, ends with signal. What the mode's variable is set to, if it has one. */
static void ends_with(const char *self, const char *kind, size_t size, const char *mode, int signal)
{
    const pid_t child = fork();
    char text[32];
    int status;

    REQUIRE(child >= 0);
    snprintf(text, sizeof(text), "%zu", size);
    if (child == 0)
    {
        unsetenv("NTHEAP_CHECK");
        unsetenv("NTHEAP_PAGE_HEAP");
        if (mode != NULL)
        {
            setenv(mode, "1", 1);
        }

        REQUIRE(freopen("/dev/null", "w", stderr) != NULL);
        execl(self, self, kind, text, (char *)NULL);
        _exit(99);
    }

    REQUIRE(waitpid(child, &status, 0) == child);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != signal)
    {
        fprintf(stderr, "misuse %s of %zu bytes (%s): status %x\n", kind, size,
                mode != NULL ? mode : "default", (unsigned)status);
        exit(1);
    }
}

static int catalogue(const char *self)
{
    static const char *const always[] = { "double", "interior", "foreign", "realloc" };
    static const char *const checked[] = { "tail", "overrun", "grown", "kept", "use", "reused" };
    static const char *const modes[] = { NULL, "NTHEAP_PAGE_HEAP", "NTHEAP_CHECK" };
    static const size_t sizes[] = { 20, 100, 1000, 9000, 40000 };
    int caught = 0;

    for (size_t kind = 0; kind < 4; kind += 1)
    {
        for (size_t mode = 0; mode < 3; mode += 1)
        {
            ends_with(self, always[kind], 100, modes[mode], SIGABRT);
            caught += 1;
        }
    }

    ends_with(self, "overrun", 100, "NTHEAP_PAGE_HEAP", SIGSEGV);
    ends_with(self, "use", 100, "NTHEAP_PAGE_HEAP", SIGSEGV);
    ends_with(self, "tail", 100, "NTHEAP_PAGE_HEAP", SIGABRT);
    caught += 3;
    for (size_t kind = 0; kind < 6; kind += 1)
    {
        for (size_t size = 0; size < 5; size += 1)
        {
            ends_with(self, checked[kind], sizes[size], "NTHEAP_CHECK", SIGABRT);
            caught += 1;
        }
    }

    return caught;
}

/* Everything once more where every block is checked; what page-heap mode has memory for, too. */
static void again_in(const char *self, const char *mode, const char *what)
{
    const pid_t child = fork();
    int status;

    REQUIRE(child >= 0);
    if (child == 0)
    {
        setenv(mode, "1", 1);
        execl(self, self, what, (char *)NULL);
        _exit(99);
    }

    REQUIRE(waitpid(child, &status, 0) == child && status == 0);
}

static void everything(void)
{
    results_and_errno();
    calloc_zeroes_used_memory();
    realloc_keeps_contents();
    alignments();
    fork_with_threads();
    fork_with_private_heaps();
    threads_may_allocate_until_their_very_end();
    signals_may_come_at_any_time();
    libraries_come_and_go();
    what_the_heap_tells_of_itself();
}

int main(int count, char **arguments)
{
    if (count == 3)
    {
        return misuse(arguments[1], strtoul(arguments[2], NULL, 10));
    }

    if (count == 2 && strcmp(arguments[1], "first-fork") == 0)
    {
        return fork_first() == 0 ? 0 : 1;
    }

    if (count == 2 && strcmp(arguments[1], "results") == 0)
    {
        results_and_errno();
        calloc_zeroes_used_memory();
        realloc_keeps_contents();
        return 0;
    }

    everything();
    if (count == 1)
    {
        first_forks(arguments[0]);
        again_in(arguments[0], "NTHEAP_CHECK", "all");
        again_in(arguments[0], "NTHEAP_PAGE_HEAP", "results");
        printf("malloc family: all as documented; %d misuses ended the process\n", catalogue(arguments[0]));
    }

    return 0;
}
