/* SPDX-License-Identifier: MIT */
/*
 * Driver Verifier: which code is a driver's, what is checked of what it does. A driver is a range of addresses (a module) that somebody registered; a call is
 * a driver's when its return address lies there. Theory: docs/verifier.md.
 */
#ifndef NTMM_POOL_VERIFIER_H
#define NTMM_POOL_VERIFIER_H

#include "pool/expool.h"

#define EX_DRIVER_NAME 32u

typedef struct _EX_DRIVER
{
    LIST_ENTRY Links; /* [DriverLock] EX_POOL.Drivers */
    ULONG_PTR Start;  /* fixed */
    ULONG_PTR End;    /* fixed: last byte */
    CHAR Name[EX_DRIVER_NAME];
} EX_DRIVER;

/*
 * Makes a range of code a driver. STATUS_INVALID_PARAMETER (empty range), STATUS_CONFLICTING_ADDRESSES (overlaps another),
 * STATUS_INSUFFICIENT_RESOURCES. IRQL <= DISPATCH_LEVEL.
 */
NTSTATUS ExRegisterDriver(PCSTR Name, PVOID Start, SIZE_T Bytes, EX_DRIVER **Driver);
VOID ExUnregisterDriver(EX_DRIVER *Driver);

/* Whether the address is in a registered driver. Never faults; any IRQL. */
BOOLEAN ExIsDriverAddress(const VOID *Address);

/* ---- For the room itself -------------------------------------------------------------------------------- */

VOID ExpUpdateWatch(void); /* whether requests must take the slow path */
VOID ExpPrintTrace(PVOID const *Frames, ULONG Count);
VOID ExpDeleteDrivers(void); /* at the end of the machine */

#endif
