/* SPDX-License-Identifier: MIT */
/* heapbench WORKLOAD [THREADS [SCALE]]: runs one workload; without arguments it lists them. */
#include "heapbench.h"

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

int main(int count, char **arguments)
{
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
