/* SPDX-License-Identifier: MIT */
/*
 * A small machine for unit tests: the host port and the kernel's rooms up to page faults, without workers and paging files
 * unless asked for. Shutting it down checks that everything came back: frames, commitment, nonpageable pages, pool
 * blocks, objects, processes, VADs, paging-file slots.
 *
 *     static const TEST_MACHINE machine = { .RamMegabytes = 16, .Processors = 2, .PagingFiles = 1, .Workers = TRUE };
 *     TestBootMachine(&machine); ... TestShutdownMachine();
 */
#ifndef NTMM_TESTS_BOOT_H
#define NTMM_TESTS_BOOT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fault/fault.h"

typedef enum _TEST_ROOM
{
    TestAllRooms = 0,
    TestKe,
    TestPhysical,
    TestTranslation,
    TestPool,
    TestOb,
    TestIo,
    TestSpace,
    TestSection,
    TestPaging,
    TestWorkingSet,
    TestFault,
    TestVirtual,
    TestMapping,
    TestMdl,
    TestNt
} TEST_ROOM;

typedef struct _TEST_MACHINE
{
    ULONG RamMegabytes; /* 0: 16 */
    ULONG Runs;         /* of RAM, 0: 1 */
    ULONG64 HoleBytes;  /* between runs */
    ULONG Processors;   /* 0: 1 */
    ULONG Nodes;        /* of NUMA, 0: 1 */
    ULONG Colours;      /* of pages, 0: 1 */
    BOOLEAN Deterministic;
    BOOLEAN Randomize;     /* ASLR */
    BOOLEAN CaseSensitive; /* names of objects */
    ULONG64 Seed;
    TEST_ROOM Last;        /* the highest room that is brought up */
    ULONG PagingFiles;     /* \\.\Memory\page0, page1, ... */
    ULONG PagingMegabytes; /* of each at the beginning; 0: 16 */
    ULONG PagingMaximum;   /* megabytes; 0: as at the beginning */
    BOOLEAN Encrypt;       /* paging files */
    BOOLEAN Clear;         /* paging files at shutdown */
    BOOLEAN Workers;       /* zero-page thread, modified writer, working-set and balance set manager */
} TEST_MACHINE;

extern KTHREAD TestBootThread; /* the thread that booted; it is on processor 0 */

/* Both fail the running test when something is wrong. Machine NULL: all defaults, deterministic. */
void TestBootMachine(const TEST_MACHINE *Machine);
void TestShutdownMachine(void);

/* After a bug check that left locks held or structures damaged: ends the machine without a look at what is left. */
void TestAbandonMachine(void);

/*
 * Waits until no read holds its block any more: read-ahead that nobody waits for may be under way, and who waits for a read is woken before its block
 * is given back. A block that never comes back is left to the look at what is left.
 */
void TestFinishReads(void);

/* The counts of TestBootMachine still (or again) hold; pool slabs kept for later are given back first. No workers run. */
void TestAssertNothingLeft(void);

/* Ends the workers that Machine.Workers asked for, before structures are looked at; the machine runs on without them. */
void TestStopWorkers(void);

/* cmocka fixtures: a deterministic machine with one processor; a threaded one with two. */
int TestSetupDeterministic(void **State);
int TestSetupThreaded(void **State);
int TestTeardown(void **State);

/* Runs Routine, which must end in the bug check Code; its parameters are in TestBugCheckParameters afterwards. */
void TestExpectBugCheck(ULONG Code, void (*Routine)(void *), void *Context);
extern ULONG_PTR TestBugCheckParameters[4];

/* Runs Routine(Index, Context) on Count new threads, spread over the processors, and waits for all of them. */
void TestRunThreads(ULONG Count, void (*Routine)(ULONG Index, void *Context), void *Context);

/* ---- Random numbers: NTMM_SEED repeats a run (the seed is printed), NTMM_ITERATIONS makes it longer ---------------- */

typedef struct _TEST_RANDOM
{
    ULONG64 State;
} TEST_RANDOM;

TEST_RANDOM TestSeed(const char *Name);
ULONG64 TestDraw(TEST_RANDOM *Random);
ULONG64 TestBelow(TEST_RANDOM *Random, ULONG64 Bound); /* 0 .. Bound - 1 */
ULONG64 TestIterations(ULONG64 Usual);

#endif
