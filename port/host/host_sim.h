/* SPDX-License-Identifier: MIT */
/*
 * Simulated processors: a software memory management unit for every thread that asks for one (HostSetThreadSimulated).
 * It reads and writes NT memory of the space that PortLoadAddressSpace named last, without any native mapping, so thousands of
 * processes run in parallel and every reference is counted. Rights are checked as the processor would, according
 * to the thread's CurrentMode: user mode needs the user bit, nobody writes to read-only pages, nothing executes under NX.
 *
 * All functions return STATUS_SUCCESS or the exception that the access raises, with its record in *Record if Record
 * is not NULL. Nothing is transferred beyond the first byte that faults. IRQL as for any access to pageable memory.
 */
#ifndef NTMM_PORT_HOST_SIM_H
#define NTMM_PORT_HOST_SIM_H

#include "host.h"

#define HOST_SIM_ENTRIES 1024 /* direct mapped */

/* Tag: the page's address, and in its low bits what the entry permits (PORT_FAULT_PRESENT, _WRITE, _USER, _EXECUTE). */
typedef struct _HOST_SIM_ENTRY
{
    ULONG64 Tag;   /* 0 = empty */
    ULONG64 Space; /* top-level page; 0 for system addresses, which all spaces share */
    PUCHAR Page;   /* in the direct map */
    ULONG64 Padding;
} HOST_SIM_ENTRY;

typedef struct _HOST_SIM
{
    volatile ULONG Lock; /* excludes access and shootdown: uncontended except while a flush passes by */
    volatile ULONG InUse;
    struct _HOST_SIM *Next;               /* the list of all; written once */
    PFN_NUMBER Space;                     /* own thread */
    const volatile KPROCESSOR_MODE *Mode; /* of the thread */
    ULONG64 References, Misses;
    HOST_SIM_ENTRY Entries[HOST_SIM_ENTRIES];
} HOST_SIM, *PHOST_SIM;

/* The calling thread's simulated processor, NULL if it has none. */
PHOST_SIM HostCurrentSim(VOID);

NTSTATUS HostSimRead(ULONG_PTR Address, PVOID Buffer, SIZE_T Length, EXCEPTION_RECORD *Record);
NTSTATUS HostSimWrite(ULONG_PTR Address, const VOID *Buffer, SIZE_T Length, EXCEPTION_RECORD *Record);
NTSTATUS HostSimFill(ULONG_PTR Address, UCHAR Value, SIZE_T Length, EXCEPTION_RECORD *Record);

/* An instruction fetch at Address: only the check. */
NTSTATUS HostSimExecute(ULONG_PTR Address, EXCEPTION_RECORD *Record);

/* Atomic, 8-byte aligned (DATATYPE_MISALIGNMENT otherwise). *Previous gets what was there; like cmpxchg, always a write access. */
NTSTATUS HostSimCompareExchange64(ULONG_PTR Address, ULONG64 Comparand, ULONG64 Exchange, ULONG64 *Previous,
                                  EXCEPTION_RECORD *Record);

/* The slow path of HostSimTouch. */
NTSTATUS HostSimTouchSlow(PHOST_SIM Sim, ULONG_PTR Address, ULONG Access, EXCEPTION_RECORD *Record);

static inline ULONG64 HostSimSpaceOf(const HOST_SIM *Sim, ULONG_PTR Address)
{
    return Address >= PORT_SYSTEM_START && Address <= PORT_SYSTEM_END ? 0 : Sim->Space;
}

static inline HOST_SIM_ENTRY *HostSimLookup(PHOST_SIM Sim, ULONG_PTR Address, ULONG Access)
{
    HOST_SIM_ENTRY *Entry = &Sim->Entries[(Address >> PAGE_SHIFT) & (HOST_SIM_ENTRIES - 1)];
    ULONG64 Need = (Address & ~(ULONG_PTR)(PAGE_SIZE - 1)) | PORT_FAULT_PRESENT | Access;

    /* The page must be equal, of the rights the needed ones must be there. */
    return (Entry->Tag & (~(ULONG64)(PAGE_SIZE - 1) | Need)) == Need &&
                   Entry->Space == HostSimSpaceOf(Sim, Address)
               ? Entry
               : NULL;
}

VOID HostSimWait(PHOST_SIM Sim);

static inline VOID HostSimAcquire(PHOST_SIM Sim)
{
    if (__builtin_expect(__atomic_exchange_n(&Sim->Lock, 1, __ATOMIC_ACQUIRE) != 0, 0))
    {
        HostSimWait(Sim);
    }
}

static inline VOID HostSimRelease(PHOST_SIM Sim)
{
    __atomic_store_n(&Sim->Lock, 0, __ATOMIC_RELEASE);
}

/* One reference to one byte (Access 0 or PORT_FAULT_WRITE: rewritten with its own value): what page traces are made of. */
static inline NTSTATUS HostSimTouch(PHOST_SIM Sim, ULONG_PTR Address, ULONG Access, EXCEPTION_RECORD *Record)
{
    ULONG Needed = Access | (*Sim->Mode == UserMode ? PORT_FAULT_USER : 0);
    HOST_SIM_ENTRY *Entry;

    HostSimAcquire(Sim);
    Entry = HostSimLookup(Sim, Address, Needed);
    if (__builtin_expect(Entry != NULL, 1))
    {
        PUCHAR Byte = Entry->Page + (Address & (PAGE_SIZE - 1));
        UCHAR Value = __atomic_load_n(Byte, __ATOMIC_RELAXED);

        Sim->References += 1;
        if ((Access & PORT_FAULT_WRITE) != 0)
        {
            __atomic_store_n(Byte, Value, __ATOMIC_RELAXED);
        }
        HostSimRelease(Sim);
        return STATUS_SUCCESS;
    }
    HostSimRelease(Sim);
    return HostSimTouchSlow(Sim, Address, Needed, Record);
}

#endif
