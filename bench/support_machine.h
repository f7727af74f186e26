/* SPDX-License-Identifier: MIT */
/*
 * What the benchmarks share: booting a machine without any policy of the embedding API in between, private memory in a process, clocks, and a
 * small JSON writer whose file lands beside the build (or where NTMM_BENCH_JSON says) and is committed under bench/results/.
 */
#ifndef NTMM_BENCH_SUPPORT_MACHINE_H
#define NTMM_BENCH_SUPPORT_MACHINE_H

#include "host_sim.h"
#include "nt/boot.h"
#include "virtual/virtual.h"

#include <stdio.h>

#define BENCH_CHECK(Expression) BenchCheck((Expression), #Expression, __FILE__, __LINE__)

void BenchCheck(NTSTATUS Status, const char *Expression, const char *File, int Line);

typedef struct _BENCH_MACHINE
{
    ULONG64 RamBytes;
    ULONG Processors;
    BOOLEAN Deterministic;
    BOOLEAN NoWorkers;
    BOOLEAN PopulateRam;
    const char *PagingFile; /* NULL: none; a Linux path or \\.\Memory\name */
    ULONG64 PagingFileBytes;
} BENCH_MACHINE;

void BenchBoot(const BENCH_MACHINE *Machine);
void BenchShutdown(void);

PEPROCESS BenchCreateProcess(const char *Name);
void BenchEndProcess(PEPROCESS Process); /* terminates and dereferences */

/* Commits Pages pages of read-write private memory and returns its address. */
ULONG_PTR BenchAllocate(PEPROCESS Process, SIZE_T Pages);
void BenchFree(PEPROCESS Process, ULONG_PTR Base);

/* The calling Linux thread as a thread of the machine on Processor. */
void *BenchEnter(ULONG Processor);
void BenchLeave(void *Thread);

double BenchNow(void); /* seconds */

/* Opens NAME.json for writing and begins an object with machine facts; NULL is never returned (exits with a clear line). */
FILE *BenchOpenJson(const char *Name);
void BenchCloseJson(FILE *Json);

#endif
