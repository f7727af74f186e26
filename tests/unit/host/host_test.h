/* SPDX-License-Identifier: MIT */
/*
 * A kernel of one page for the tests of the host port: frames from a bump allocator, page tables built by hand, and an
 * MmAccessFault that asks the test. Nothing above the room ke is needed.
 */
#ifndef NTMM_TEST_HOST_H
#define NTMM_TEST_HOST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "host.h"
#include "host_machine.h"
#include "host_thread.h"
#include "host_sim.h"
#include "ke/ke.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PRESENT   HOST_PTE_PRESENT
#define WRITABLE  HOST_PTE_WRITE
#define USER      HOST_PTE_USER
#define ACCESSED  HOST_PTE_ACCESSED
#define DIRTY     HOST_PTE_DIRTY
#define LARGE     HOST_PTE_LARGE
#define NOEXEC    HOST_PTE_NO_EXECUTE
#define USER_DATA (PRESENT | WRITABLE | USER | NOEXEC)

/* A user address that every build has, in a GiB of its own. */
#define BASE        ((ULONG_PTR)((PORT_USER_LOWEST + 0x40000000ull) & ~0x3fffffffull))
#define SYSTEM_BASE ((ULONG_PTR)PORT_SYSTEM_START + 0x10000000ull)

static KTHREAD TestThread;
static PFN_NUMBER TestNextFrame;

/* The test's page-fault handler; NULL: every fault is an access violation. */
static NTSTATUS (*TestResolver)(ULONG FaultStatus, ULONG_PTR Address);
static ULONG TestFaults;
static ULONG TestLastFaultStatus;

static NTSTATUS TestViolation(ULONG FaultStatus, ULONG_PTR Address, struct _EXCEPTION_RECORD *Record)
{
    Record->ExceptionCode = STATUS_ACCESS_VIOLATION;
    Record->NumberParameters = 2;
    Record->ExceptionInformation[0] =
        (FaultStatus & PORT_FAULT_EXECUTE) != 0 ? 8 : (FaultStatus & PORT_FAULT_WRITE) != 0;
    Record->ExceptionInformation[1] = Address;
    return STATUS_ACCESS_VIOLATION;
}

NTSTATUS MmAccessFault(ULONG FaultStatus, PVOID Address, KPROCESSOR_MODE Mode,
                       struct _EXCEPTION_RECORD *Record)
{
    NTSTATUS Status = STATUS_ACCESS_VIOLATION;

    (void)Mode;
    __atomic_fetch_add(&TestFaults, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&TestLastFaultStatus, FaultStatus, __ATOMIC_RELAXED);
    KiCurrentThread()->FaultDepth += 1;
    if (TestResolver != NULL)
    {
        Status = TestResolver(FaultStatus, (ULONG_PTR)Address);
    }
    KiCurrentThread()->FaultDepth -= 1;
    return NT_SUCCESS(Status) ? Status : TestViolation(FaultStatus, (ULONG_PTR)Address, Record);
}

static PFN_NUMBER TestAllocateFrames(PFN_NUMBER Count)
{
    return __atomic_fetch_add(&TestNextFrame, Count, __ATOMIC_RELAXED);
}

static PFN_NUMBER TestAllocateFrame(void)
{
    return TestAllocateFrames(1);
}

static volatile ULONG64 *TestTable(PFN_NUMBER Frame)
{
    return PortDirectMap(Frame);
}

/* The entry for Address at Level (0 = PTE, 1 = PDE, ...); builds what is missing above it. One thread at a time. */
static volatile ULONG64 *TestEntry(PFN_NUMBER Top, ULONG_PTR Address, int Level)
{
    PFN_NUMBER Table = Top;
    int Current;

    for (Current = 3; Current > Level; Current -= 1)
    {
        volatile ULONG64 *Entry = TestTable(Table) + ((Address >> (PAGE_SHIFT + 9 * Current)) & 511);

        ULONG64 Value = __atomic_load_n(Entry, __ATOMIC_ACQUIRE);

        if ((Value & PRESENT) == 0)
        {
            Value = (TestAllocateFrame() << PAGE_SHIFT) | PRESENT | WRITABLE | USER;
            __atomic_store_n(Entry, Value, __ATOMIC_RELEASE);
        }
        Table = (Value & HOST_PTE_FRAME) >> PAGE_SHIFT;
    }
    return TestTable(Table) + ((Address >> (PAGE_SHIFT + 9 * Level)) & 511);
}

static inline volatile ULONG64 *TestPte(PFN_NUMBER Top, ULONG_PTR Address)
{
    return TestEntry(Top, Address, 0);
}

static inline volatile ULONG64 *TestMap(PFN_NUMBER Top, ULONG_PTR Address, PFN_NUMBER Frame, ULONG64 Bits)
{
    volatile ULONG64 *Pte = TestPte(Top, Address);

    __atomic_store_n(Pte, (Frame << PAGE_SHIFT) | Bits, __ATOMIC_SEQ_CST);
    return Pte;
}

static inline VOID TestFlush(PFN_NUMBER Top, ULONG_PTR Address, SIZE_T Pages)
{
    PORT_TB_RANGE Range = { Address, Pages };

    PortFlushTb(Top, &Range, 1);
}

static inline ULONG64 TestSignals(void)
{
    HOST_COUNTERS Counters;

    HostQueryCounters(&Counters);
    return Counters.Signals;
}

static VOID TestStart(const HOST_PARAMETERS *Parameters)
{
    static const HOST_PARAMETERS Default = { .RamBytes = 64 << 20, .ProcessorCount = 4 };
    KI_PARAMETERS Kernel = { .Deterministic = FALSE };

    TestResolver = NULL;
    TestFaults = 0;
    TestNextFrame = 1;
    assert_int_equal(HostInitializeMachine(Parameters != NULL ? Parameters : &Default), STATUS_SUCCESS);
    assert_int_equal(KiInitializeSystem(&Kernel, &TestThread), STATUS_SUCCESS);
}

static VOID TestStop(void)
{
    KiShutdownSystem(&TestThread);
    HostShutdownMachine();
}

/* A machine with one space, loaded natively. */
static inline PFN_NUMBER TestStartSpace(const HOST_PARAMETERS *Parameters)
{
    PFN_NUMBER Top;

    TestStart(Parameters);
    Top = TestAllocateFrame();
    PortLoadAddressSpace(Top);
    return Top;
}

static inline VOID TestStopSpace(void)
{
    PortLoadAddressSpace(0);
    TestStop();
}

#define READ64(Address) (*(volatile ULONG64 *)(Address))

#endif
