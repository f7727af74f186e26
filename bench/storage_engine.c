/* SPDX-License-Identifier: MIT */
/*
 * What a page costs on its way to the disk and back: 4 KiB random reads (latency alone, rate with 32 in
 * flight) and 256 KiB sequential transfers, around the page cache, for each storage engine, for
 * PortPerformIo, and for plain pread/pwrite as the measure. Engines take turns several times in one run,
 * because disks have moods. Prints JSON.
 *
 * storage_engine [FILE [MEBIBYTES]]      default: ntmm-storage-bench.tmp in the current folder, 512; removed
 * at the end
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "storage.h"

#define ROUNDS        5
#define LATENCY_READS 2000u
#define RATE_READS    8000u
#define CLUSTER_PAGES 64u
#define MAXIMUM_DEPTH 32u

typedef enum
{
    WAY_PLAIN,   /* pread, pwrite */
    WAY_PERFORM, /* PortPerformIo */
    WAY_URING,   /* PortStartIo, then wait */
    WAY_POOL,
    WAY_COUNT
} WAY;

static const char *const WayNames[WAY_COUNT] = { "plain", "perform", "uring", "pool" };

typedef struct
{
    double LatencyMedian, LatencyHigh; /* microseconds, median and 99th percentile of 4 KiB random reads */
    double Rate;                       /* 4 KiB random reads per second, 32 in flight */
    double ReadRate, WriteRate;        /* MiB/s, 256 KiB sequential, 8 in flight (plain, perform: 1) */
    ULONG Runs;
} RESULT;

typedef struct
{
    PORT_IO Io;
    PFN_NUMBER Frames[CLUSTER_PAGES];
    ULONG Done; /* futex word */
} REQUEST;

static REQUEST Requests[MAXIMUM_DEPTH];
static ULONG64 RandomState = 88172645463325252ull;
static ULONG64 FilePages;
static const char *Path;

static ULONG64 draw(void)
{
    RandomState ^= RandomState << 13;
    RandomState ^= RandomState >> 7;
    RandomState ^= RandomState << 17;
    return RandomState;
}

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static void die(const char *what)
{
    fprintf(stderr, "storage_engine: %s\n", what);
    unlink(Path);
    exit(1);
}

/* ---- One request --------------------------------------------------------------------------------------- */

static VOID on_completion(PORT_IO *Io)
{
    REQUEST *request = Io->Context;

    if (!NT_SUCCESS(Io->Status) || Io->Information != (SIZE_T)Io->Count << PAGE_SHIFT)
    {
        die("a transfer failed");
    }
    if (__atomic_exchange_n(&request->Done, 1, __ATOMIC_SEQ_CST) == 2)
    {
        syscall(SYS_futex, &request->Done, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

static void start(REQUEST *request, PORT_STORAGE *storage, ULONG64 page, ULONG count, BOOLEAN write, WAY way)
{
    request->Done = 0;
    request->Io = (PORT_IO){ .Storage = storage,
                             .Offset = page << PAGE_SHIFT,
                             .Frames = request->Frames,
                             .Count = count,
                             .Write = write,
                             .Completion = on_completion,
                             .Context = request };
    if (way == WAY_PERFORM)
    {
        PortPerformIo(&request->Io);
    }
    else
    {
        PortStartIo(&request->Io);
    }
}

/* As a thread of the kernel waits: asleep on a word. */
static void await(REQUEST *request)
{
    ULONG expected = 0;

    if (__atomic_compare_exchange_n(&request->Done, &expected, 2, FALSE, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
    {
        while (__atomic_load_n(&request->Done, __ATOMIC_SEQ_CST) == 2)
        {
            syscall(SYS_futex, &request->Done, FUTEX_WAIT_PRIVATE, 2, NULL, NULL, 0);
        }
    }
}

static void transfer(int plain, PORT_STORAGE *storage, ULONG64 page, ULONG count, BOOLEAN write, WAY way)
{
    if (way == WAY_PLAIN)
    {
        void *buffer = PortDirectMap(Requests[0].Frames[0]);
        size_t bytes = (size_t)count << PAGE_SHIFT;
        off_t offset = (off_t)(page << PAGE_SHIFT);
        ssize_t moved = write ? pwrite(plain, buffer, bytes, offset) : pread(plain, buffer, bytes, offset);

        if (moved != (ssize_t)bytes)
        {
            die("pread or pwrite failed");
        }
        return;
    }
    start(&Requests[0], storage, page, count, write, way);
    await(&Requests[0]);
}

/* ---- Measurements -------------------------------------------------------------------------------------- */

static int by_size(const void *left, const void *right)
{
    const double difference = *(const double *)left - *(const double *)right;

    return (difference > 0) - (difference < 0);
}

static void measure_latency(int plain, PORT_STORAGE *storage, WAY way, RESULT *result)
{
    static double times[LATENCY_READS];

    for (ULONG index = 0; index < LATENCY_READS; index += 1)
    {
        double begin = now();

        transfer(plain, storage, draw() % FilePages, 1, FALSE, way);
        times[index] = now() - begin;
    }
    qsort(times, LATENCY_READS, sizeof(times[0]), by_size);
    result->LatencyMedian += times[LATENCY_READS / 2];
    result->LatencyHigh += times[LATENCY_READS * 99 / 100];
}

/* Keeps Depth transfers in flight until Count are through; Step 0: random pages. Microseconds. */
static double measure_stream(PORT_STORAGE *storage, ULONG depth, ULONG64 count, ULONG pages, BOOLEAN write)
{
    double begin = now();

    for (ULONG64 index = 0; index < count + depth; index += 1)
    {
        REQUEST *request = &Requests[index % depth];

        if (index >= depth)
        {
            await(request);
        }
        if (index < count)
        {
            start(request, storage, pages == 1 ? draw() % FilePages : index * pages, pages, write, WAY_URING);
        }
    }
    return now() - begin;
}

static double measure_sequence(int plain, PORT_STORAGE *storage, BOOLEAN write, WAY way)
{
    ULONG64 clusters = FilePages / CLUSTER_PAGES;
    double begin = now(), elapsed;

    if (way == WAY_URING || way == WAY_POOL)
    {
        elapsed = measure_stream(storage, 8, clusters, CLUSTER_PAGES, write);
    }
    else
    {
        for (ULONG64 index = 0; index < clusters; index += 1)
        {
            transfer(plain, storage, index * CLUSTER_PAGES, CLUSTER_PAGES, write, way);
        }
        elapsed = now() - begin;
    }
    return (double)(FilePages >> 8) / (elapsed / 1e6);
}

static PORT_STORAGE *open_storage(HOST_STORAGE_ENGINE_KIND engine)
{
    static WCHAR text[4096];
    UNICODE_STRING name = { 0, sizeof(text), text };
    PORT_STORAGE *storage;

    for (ULONG index = 0; Path[index] != 0 && index < RTL_NUMBER_OF(text); index += 1)
    {
        text[index] = (UCHAR)Path[index];
        name.Length = (USHORT)((index + 1) * sizeof(WCHAR));
    }
    HostStorageSelectEngine(engine);
    return NT_SUCCESS(PortOpenStorage(
               &name, PORT_STORAGE_READ | PORT_STORAGE_WRITE | PORT_STORAGE_CREATE | PORT_STORAGE_UNCACHED,
               &storage))
               ? storage
               : NULL;
}

static BOOLEAN measure_way(WAY way, RESULT *result)
{
    PORT_STORAGE *storage = open_storage(way == WAY_URING ? HostStorageUring : HostStoragePool);
    int plain =
        open(Path, O_RDWR | O_CLOEXEC | (storage != NULL && HostStorageIsUncached(storage) ? O_DIRECT : 0));

    if (storage != NULL && plain >= 0)
    {
        measure_latency(plain, storage, way, result);
        if (way == WAY_URING || way == WAY_POOL)
        {
            result->Rate += RATE_READS / (measure_stream(storage, MAXIMUM_DEPTH, RATE_READS, 1, FALSE) / 1e6);
        }
        result->ReadRate += measure_sequence(plain, storage, FALSE, way);
        result->WriteRate += measure_sequence(plain, storage, TRUE, way);
        result->Runs += 1;
    }
    if (plain >= 0)
    {
        close(plain);
    }
    if (storage != NULL)
    {
        PortCloseStorage(storage);
    }
    return storage != NULL;
}

/*
 * Writes the file once, which also tells what the first write of allocated space costs against the next
 * ones.
 */
static double prepare_file(BOOLEAN *uncached)
{
    PORT_STORAGE *storage = open_storage(HostStorageAutomatic);
    double rate;

    if (storage == NULL || !NT_SUCCESS(PortSetStorageSize(storage, FilePages << PAGE_SHIFT)))
    {
        die("the file cannot be made");
    }
    *uncached = HostStorageIsUncached(storage);
    rate = measure_sequence(-1, storage, TRUE, WAY_URING);
    PortFlushStorage(storage);
    PortCloseStorage(storage);
    return rate;
}

static void print_way(WAY way, const RESULT *result, const char *separator)
{
    double runs = result->Runs;

    printf("    \"%s\": ", WayNames[way]);
    if (result->Runs == 0)
    {
        printf("null%s\n", separator);
        return;
    }
    printf("{\"read_4k_us_median\": %.1f, \"read_4k_us_p99\": %.1f, ", result->LatencyMedian / runs,
           result->LatencyHigh / runs);
    if (result->Rate > 0)
    {
        printf("\"read_4k_32_per_s\": %.0f, ", result->Rate / runs);
    }
    printf("\"read_256k_mib_s\": %.0f, \"write_256k_mib_s\": %.0f}%s\n", result->ReadRate / runs,
           result->WriteRate / runs, separator);
}

int main(int argc, char **argv)
{
    RESULT results[WAY_COUNT] = { { 0, 0, 0, 0, 0, 0 } };
    double firstWrite;
    BOOLEAN uncached;

    Path = argc > 1 ? argv[1] : "ntmm-storage-bench.tmp";
    FilePages = (argc > 2 ? strtoull(argv[2], NULL, 0) : 512) << 8;
    if (FilePages < CLUSTER_PAGES ||
        mmap((void *)(uintptr_t)PORT_DIRECT_MAP_BASE, (size_t)MAXIMUM_DEPTH * CLUSTER_PAGES << PAGE_SHIFT,
             PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED)
    {
        die("no page frames");
    }
    for (ULONG index = 0; index < MAXIMUM_DEPTH * CLUSTER_PAGES; index += 1)
    {
        Requests[index / CLUSTER_PAGES].Frames[index % CLUSTER_PAGES] = index;
        memset(PortDirectMap(index), (int)index, PAGE_SIZE);
    }
    firstWrite = prepare_file(&uncached);
    for (ULONG round = 0; round < ROUNDS; round += 1)
    {
        for (WAY way = WAY_PLAIN; way < WAY_COUNT; way += 1)
        {
            measure_way(way, &results[way]);
        }
    }
    unlink(Path);
    printf("{\n  \"bench\": \"storage_engine\", \"file_mib\": %llu, \"uncached\": %s, \"rounds\": %d,\n"
           "  \"first_write_256k_mib_s\": %.0f,\n  \"ways\": {\n",
           FilePages >> 8, uncached ? "true" : "false", ROUNDS, firstWrite);
    for (WAY way = WAY_PLAIN; way < WAY_COUNT; way += 1)
    {
        print_way(way, &results[way], way + 1 < WAY_COUNT ? "," : "");
    }
    printf("  }\n}\n");
    return 0;
}
