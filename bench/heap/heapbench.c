/* SPDX-License-Identifier: MIT */
/*
 * heapbench WORKLOAD [THREADS [SCALE]]     runs one workload; without arguments it lists them
 * heapbench --measure LIBRARY COMMAND...   runs a command with LIBRARY preloaded ("" for none) and prints its seconds of
 *                                          wall-clock time, of processor time, and its peak RSS in KiB
 * heapbench --outside COMMAND...           runs a command with the C library's allocator kept in one place (the [heap] of its
 *                                          maps), and prints the KiB of RSS that lie outside of it when it exits
 * The measuring process is this one because it is small: a child's peak counts from before its exec. The peak is read when
 * the command is about to exit (ptrace's exit event): what wait4 tells comes from counters that the kernel keeps by
 * processor and adds up roughly, which is wrong by a quarter for a process of one megabyte.
 */
#include "heapbench.h"

#include <signal.h>
#include <sys/ptrace.h>
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

static FILE *open_of(pid_t process, const char *what)
{
    char name[64];

    snprintf(name, sizeof(name), "/proc/%d/%s", (int)process, what);

    return fopen(name, "r");
}

static long peak_kib(pid_t process)
{
    char line[256];
    long peak = 0;
    FILE *file = open_of(process, "status");

    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
    {
        if (strncmp(line, "VmHWM:", 6) == 0)
        {
            peak = strtol(line + 6, NULL, 10);
        }
    }

    if (file != NULL)
    {
        fclose(file);
    }

    return peak;
}

/* What a process holds that is no heap: its programs and libraries, their data, its stacks, what it mapped itself. */
static long outside_kib(pid_t process)
{
    char line[512];
    long total = 0;
    int outside = 1;
    FILE *file = open_of(process, "smaps");

    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
    {
        unsigned long from, to;

        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
        {
            outside = strstr(line, "[heap]") == NULL;
        }
        else if (outside && strncmp(line, "Rss:", 4) == 0)
        {
            total += strtol(line + 4, NULL, 10);
        }
    }

    if (file != NULL)
    {
        fclose(file);
    }

    return total;
}

/* Waits for the end of child; its memory is read by look at its exit event. */
static int follow(pid_t child, struct rusage *usage, long (*look)(pid_t), long *kib)
{
    int status;

    if (wait4(child, &status, 0, usage) != child || !WIFSTOPPED(status) ||
        ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)(uintptr_t)(PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL)) !=
            0)
    {
        return -1;
    }

    for (long signal = 0;;)
    {
        ptrace(PTRACE_CONT, child, NULL, (void *)signal);
        if (wait4(child, &status, 0, usage) != child)
        {
            return -1;
        }

        if (!WIFSTOPPED(status))
        {
            return status;
        }

        signal = WSTOPSIG(status);
        if (status >> 8 == (SIGTRAP | PTRACE_EVENT_EXIT << 8))
        {
            *kib = look(child);
            signal = 0;
        }
        else if (signal == SIGTRAP)
        {
            signal = 0; /* another exec */
        }
    }
}

static pid_t run(char **command, const char *variable, const char *value)
{
    const pid_t child = fork();

    if (child == 0)
    {
        if (value[0] != 0)
        {
            setenv(variable, value, 1);
        }

        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        execvp(command[0], command);
        _exit(127);
    }

    return child;
}

static int measure(char **arguments)
{
    struct timespec from, to;
    struct rusage usage;
    long peak = 0;

    clock_gettime(CLOCK_MONOTONIC, &from);
    const pid_t child = run(arguments + 1, "LD_PRELOAD", arguments[0]);
    const int status = child > 0 ? follow(child, &usage, peak_kib, &peak) : -1;

    if (status == -1)
    {
        return 1;
    }

    clock_gettime(CLOCK_MONOTONIC, &to);
    fprintf(stderr, "%.4f %.4f %ld\n",
            (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9,
            seconds(usage.ru_utime) + seconds(usage.ru_stime), peak);

    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static int outside(char **command)
{
    struct rusage usage;
    long kib = 0;
    const pid_t child = run(command, "GLIBC_TUNABLES", "glibc.malloc.arena_max=1:glibc.malloc.mmap_max=0");
    const int status = child > 0 ? follow(child, &usage, outside_kib, &kib) : -1;

    if (status == -1)
    {
        return 1;
    }

    fprintf(stderr, "%ld\n", kib);

    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int count, char **arguments)
{
    if (count > 3 && strcmp(arguments[1], "--measure") == 0)
    {
        return measure(arguments + 2);
    }

    if (count > 2 && strcmp(arguments[1], "--outside") == 0)
    {
        return outside(arguments + 2);
    }

    const bench_workload *const groups[] = { bench_single, bench_programs, bench_parallel,
                                             bench_fragmentation };

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
