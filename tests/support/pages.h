/* SPDX-License-Identifier: MIT */
/*
 * Private memory for tests that stand below the services: processes whose VADs are made by hand, accessed
 * through simulated processors, and looked at through their page tables. Addresses are chosen by the test.
 */
#ifndef NTMM_TESTS_PAGES_H
#define NTMM_TESTS_PAGES_H

#include "boot.h"

#include "host_sim.h"
#include "storage.h"

#define TEST_BASE                                                                                            \
    ((ULONG_PTR)PORT_USER_LOWEST + 0x40000000u) /* 2 MiB aligned, well above what surroundings occupy */

/* A process and the end of it (pages, tables, commitment, VADs). The caller has the only reference. */
PEPROCESS TestCreateProcess(void);
void TestDeleteProcess(PEPROCESS Process);

/*
 * A machine and a process that the calling thread is in; and their end, whatever storage faults and injected failures were left: workers
 * stopped, invariants checked, everything given back. The second is what a cmocka fixture returns.
 */
PEPROCESS TestBootInProcess(const TEST_MACHINE *Machine);
int TestShutdownWithProcess(PEPROCESS Process);

/* The calling thread runs in Process as a simulated processor in user mode; NULL: back to the system. */
void TestEnter(PEPROCESS Process);

/* A VAD whose zero entries faults may fill; space exclusive. */
void TestInsertVad(PMI_ADDRESS_SPACE Space, PMMVAD Vad);
/* Pages committed pages at Va with a VAD of their own. Protection: MM_*. */
PMMVAD TestCommit(PEPROCESS Process, ULONG_PTR Va, SIZE_T Pages, ULONG Protection);

/* Makes the pages decommitted ones and frees what was behind them. The charge stays the VAD's. */
void TestDecommit(PEPROCESS Process, ULONG_PTR Va, SIZE_T Pages);

/* The same in the system's space, and the end of all that was committed there. */
PMMVAD TestCommitSystem(ULONG_PTR Va, SIZE_T Pages, ULONG Protection);
void TestDeleteSystem(void);

/* The leaf entry of any space; zero if there is no page table. */
MMPTE TestPteOf(PMI_ADDRESS_SPACE Space, ULONG_PTR Va);

void TestProtect(PEPROCESS Process, ULONG_PTR Va, SIZE_T Pages, ULONG Protection);

/*
 * Shares every page of [Va, Va + Pages) that is not zero with Child, as a clone does; Child gets a VAD for
 * them.
 */
void TestShare(PEPROCESS Parent, PEPROCESS Child, ULONG_PTR Va, SIZE_T Pages);

/* One access of the process that the thread runs in; the status is the exception's. */
NTSTATUS TestRead(ULONG_PTR Va, ULONG64 *Value, EXCEPTION_RECORD *Record);
NTSTATUS TestWrite(ULONG_PTR Va, ULONG64 Value, EXCEPTION_RECORD *Record);

/* The same, which must succeed. */
ULONG64 TestGet(ULONG_PTR Va);
void TestPut(ULONG_PTR Va, ULONG64 Value);

/* Fills or compares whole pages: the word at offset o of page i is Seed + i * 512 + o / 8. */
void TestFillPages(ULONG_PTR Va, SIZE_T Pages, ULONG64 Seed);
void TestComparePages(ULONG_PTR Va, SIZE_T Pages, ULONG64 Seed);

/* The leaf entry; zero if there is no page table. */
MMPTE TestPte(PEPROCESS Process, ULONG_PTR Va);

/* The frame behind a valid or transition entry; fails the test when there is none. */
PMMPFN TestPfn(PEPROCESS Process, ULONG_PTR Va);

/* Takes the pages out of the working set; with Evict also writes them out and takes their frames. */
void TestTrim(PEPROCESS Process, ULONG_PTR Va, SIZE_T Pages);
void TestEvict(PEPROCESS Process, ULONG_PTR Va, SIZE_T Pages);

/* How much the counter rose since *Before, which is brought up to date. */
ULONG64 TestCounted(MI_COUNTER Counter, ULONG64 *Before);

/* The slots in use of all paging files. */
SIZE_T TestSlotsInUse(void);

/* The storage behind paging file Index. */
PORT_STORAGE *TestStorage(ULONG Index);

/* All invariants of a quiescent machine and of these processes (NULL-terminated). */
void TestCheckMachine(const PEPROCESS *Processes);

#endif
