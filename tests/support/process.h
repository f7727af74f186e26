/* SPDX-License-Identifier: MIT */
/*
 * A process for tests of the services: the calling thread becomes a user-mode thread of it on a simulated
 * processor, so that the native services (NtCurrentProcess()) and TestVmPut/TestVmGet work on its memory.
 */
#ifndef NTMM_TESTS_PROCESS_H
#define NTMM_TESTS_PROCESS_H

#include "boot.h"

#include "host_sim.h"
#include "nt/nt.h"

/*
 * Boots Machine (NULL: deterministic defaults) and enters a new process / leaves, ends it and shuts the
 * machine down, looking for leaks.
 */
void TestEnterProcess(const TEST_MACHINE *Machine);
void TestLeaveProcess(void);

extern PEPROCESS TestUserProcess;

/* cmocka fixtures around each test: deterministic machine, with a paging file in memory. */
int TestEnterFixture(void **State);
int TestLeaveFixture(void **State);
/* MemoryWorkingSetExInformation of the current process, by the service. */
MEMORY_WORKING_SET_EX_BLOCK TestWorkingSetBlock(ULONG_PTR Va);
/* For large pages: 32 MiB, a paging file, workers. */
int TestEnterLarge(void **State);
#define TEST_IN_PROCESS(Name) cmocka_unit_test_setup_teardown(Name, TestEnterFixture, TestLeaveFixture)

/*
 * Runs Routine(Context) again and again, each time with the next failure of Kind injected, until there is
 * none left to inject. After each failed run charge, VADs and pool are as before.
 */
void TestWithFailures(KI_INJECT Kind, NTSTATUS (*Routine)(ULONG_PTR Context), ULONG_PTR Context);

/* Makes the calling thread a user-mode thread of Process (NULL: of none, kernel mode). */
void TestRunInProcess(PEPROCESS Process);

/* A new process, with its reference; TestEndProcess terminates it and gives the reference back. */
PEPROCESS TestNewProcess(const char *Name);
void TestEndProcess(PEPROCESS Process);

/* A handle of the current process on Process. */
HANDLE TestOpenProcess(PEPROCESS Process, ACCESS_MASK Access);

/* ---- Memory of the current process, by the simulated processor: status of the access ---- */

NTSTATUS TestVmTryGet(ULONG_PTR Va, UCHAR *Value);
NTSTATUS TestVmTryPut(ULONG_PTR Va, UCHAR Value);
UCHAR TestVmGet(ULONG_PTR Va);
void TestVmPut(ULONG_PTR Va, UCHAR Value);

/* One recognizable 8-byte word in each page. */
void TestVmFill(ULONG_PTR Va, SIZE_T Pages, ULONG64 Seed);
void TestVmCheck(ULONG_PTR Va, SIZE_T Pages, ULONG64 Seed);
void TestVmCheckZero(ULONG_PTR Va, SIZE_T Pages);

/* ---- Services in short; each fails the test unless it succeeds ---- */

ULONG_PTR TestVmAllocate(ULONG_PTR Base, SIZE_T Size, ULONG Type, ULONG Protect);
void TestVmFree(ULONG_PTR Base, SIZE_T Size, ULONG Type);
ULONG TestVmProtect(ULONG_PTR Base, SIZE_T Size, ULONG Protect);
MEMORY_BASIC_INFORMATION TestVmQuery(ULONG_PTR Va);

/* The same with the status as result, for what must fail. */
NTSTATUS TestVmTryAllocate(ULONG_PTR Base, SIZE_T Size, ULONG Type, ULONG Protect);
NTSTATUS TestVmTryFree(ULONG_PTR Base, SIZE_T Size, ULONG Type);
NTSTATUS TestVmTryProtect(ULONG_PTR Base, SIZE_T Size, ULONG Protect);

/* Pages charged to the current process for its memory, page tables left out. */
SIZE_T TestVmCharge(void);

/*
 * All pages of the current process out of its working set; then out to the paging file; then off the standby
 * list.
 */
void TestVmTrimAll(void);
void TestVmWriteOut(void);
void TestVmPageOut(void);

/* State, protection and size of a region, in one line. */
#define TEST_EXPECT_REGION(Va, Size, Expected, Protection)                                                   \
    do                                                                                                       \
    {                                                                                                        \
        MEMORY_BASIC_INFORMATION Region = TestVmQuery(Va);                                                   \
        assert_int_equal(Region.State, Expected);                                                            \
        assert_int_equal(Region.Protect, Protection);                                                        \
        assert_int_equal(Region.RegionSize, Size);                                                           \
    } while (0)

#endif
