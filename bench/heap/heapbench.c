/* SPDX-License-Identifier: MIT */
/*
 * heapbench WORKLOAD [THREADS [SCALE]]     runs one workload; without arguments it lists them
 * heapbench --measure LIBRARY COMMAND...   runs a command with LIBRARY preloaded ("" for none) and prints its seconds of
 *                                          wall-clock time, of processor time, and its peak RSS in KiB
 * The measuring process is this one because it is small: a child's peak counts from before its exec.
 */
#include "heapbench.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

void bench_threads(int count, void *(*body)(void *), void *arguments, size_t step)
{
    pthread_t threads[64];

    for (int i = 0; i < count; i += 1)
    {
        if (pthread_create(&threads[i], NULL, body, (char *)arguments + (size_t)i * step) != 0)
        {
            fprintf(stderr, "heapbench: no thread\n");
            exit(1);
        }
    }

    for (int i = 0; i < count; i += 1)
    {
        pthread_join(threads[i], NULL);
    }
}

static double seconds(struct timeval value)
{
    return (double)value.tv_sec + (double)value.tv_usec / 1e6;
}

static int measure(char **arguments)
{
    struct timespec from, to;
    struct rusage usage;
    int status;

    clock_gettime(CLOCK_MONOTONIC, &from);
    const pid_t child = fork();

    if (child == 0)
    {
        if (arguments[0][0] != 0)
        {
            setenv("LD_PRELOAD", arguments[0], 1);
        }

        execvp(arguments[1], arguments + 1);
        _exit(127);
    }

    if (child < 0 || wait4(child, &status, 0, &usage) != child)
    {
        return 1;
    }

    clock_gettime(CLOCK_MONOTONIC, &to);
    fprintf(stderr, "%.4f %.4f %ld\n",
            (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9,
            seconds(usage.ru_utime) + seconds(usage.ru_stime), usage.ru_maxrss);

    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int count, char **arguments)
{
    if (count > 3 && strcmp(arguments[1], "--measure") == 0)
    {
        return measure(arguments + 2);
    }

    const bench_workload *const groups[] = { bench_single, bench_programs, bench_parallel };

    for (size_t group = 0; group < sizeof(groups) / sizeof(groups[0]); group += 1)
    {
        for (const bench_workload *workload = groups[group]; workload->name != NULL; workload += 1)
        {
            if (count < 2)
            {
                printf("%s\t%s\n", workload->name, workload->what);
            }
            else if (strcmp(workload->name, arguments[1]) == 0)
            {
                const int threads = count > 2 ? atoi(arguments[2]) : 2;
                const int scale = count > 3 ? atoi(arguments[3]) : 1;

                workload->run(threads < 1 ? 1 : threads > 64 ? 64 : threads, scale < 1 ? 1 : scale);
                return 0;
            }
        }
    }

    return count < 2 ? 0 : 2;
}
