/* SPDX-License-Identifier: MIT */
/*
 * Images of drivers: their sections are pages of system space that can be paged out and locked again (MmLockPagableCodeSection and its
 * kin, declared in nt/mm.h). Theory: docs/driverimage.md.
 *
 * Locks: [I] MI_DRIVER_IMAGES.Lock (KiLockDriverImages)
 */
#ifndef NTMM_VIRTUAL_DRIVERIMAGE_H
#define NTMM_VIRTUAL_DRIVERIMAGE_H

#include "virtual/virtual.h"

/* What whoever loaded the driver knows of a section of it. */
typedef struct _MI_SECTION_SOURCE
{
    ULONG_PTR Start; /* where it lies now, outside of all NT addresses */
    SIZE_T Bytes;
    ULONG Access;        /* PORT_FAULT_WRITE, PORT_FAULT_EXECUTE */
    BOOLEAN Pageable;    /* by its name (PAGE...); else it is locked until MmPageEntireDriver */
    BOOLEAN Discardable; /* by its name (INIT...): gone when DriverEntry has returned */
} MI_SECTION_SOURCE;

typedef struct _MI_DRIVER_SECTION
{
    ULONG_PTR Start;     /* fixed: the driver's addresses, what MmLockPagable... are asked for */
    SIZE_T Bytes;        /* fixed */
    ULONG_PTR StartVpn;  /* fixed: of system space; its whole pages */
    ULONG_PTR EndVpn;    /* fixed: StartVpn - 1: it has no page of its own */
    ULONG Access;        /* fixed */
    BOOLEAN Pageable;    /* fixed */
    BOOLEAN Discardable; /* fixed */
    BOOLEAN Discarded;   /* [I] it has no pages any more */
    BOOLEAN Aliased;     /* [I] its pages are NT's */
    BOOLEAN Nonpaged;    /* [I] holds one of LockCount: it is not pageable, or not any more */
    ULONG LockCount;     /* [I] 0: may be paged out */
} MI_DRIVER_SECTION, *PMI_DRIVER_SECTION;

typedef struct _MI_DRIVER_IMAGE
{
    LIST_ENTRY Links;   /* [I] */
    ULONG_PTR Base;     /* fixed */
    SIZE_T Bytes;       /* fixed */
    PMMVAD Vad;         /* fixed: a reservation of whole GiBs */
    BOOLEAN Overridden; /* [I] MmPageEntireDriver */
    ULONG SectionCount; /* fixed */
    MI_DRIVER_SECTION Sections[];
} MI_DRIVER_IMAGE, *PMI_DRIVER_IMAGE;

typedef struct _MI_DRIVER_IMAGES
{
    EX_PUSH_LOCK Lock;
    LIST_ENTRY List; /* [I] */
} MI_DRIVER_IMAGES;

/*
 * The whole pages of the sections become pages of system space with the same contents at the same addresses; nobody may use the driver meanwhile. A
 * page that two sections share stays as it is. PASSIVE_LEVEL.
 *   STATUS_INVALID_PARAMETER (no sections, one outside of the image), STATUS_CONFLICTING_ADDRESSES (another driver, NT addresses),
 *   STATUS_NOT_SUPPORTED, STATUS_COMMITMENT_LIMIT, STATUS_NO_MEMORY, STATUS_INSUFFICIENT_RESOURCES
 */
NTSTATUS MiLoadDriverImage(PVOID Base, SIZE_T Bytes, const MI_SECTION_SOURCE *Sources, ULONG Count,
                           PMI_DRIVER_IMAGE *Image);

/*
 * Discardable sections give their frames and commitment back, whether they are locked or not; who touches them from then on meets bug check 0x50. Returns how
 * many pages went. PASSIVE_LEVEL.
 */
SIZE_T MiDiscardDriverSections(PMI_DRIVER_IMAGE Image);

/*
 * The reverse of loading; what the driver wrote stays written, but discardable sections become what they were before it was loaded. Locks end with it. A page that cannot be read in any more, or no frame for it: the status, and the driver
 * stays. PASSIVE_LEVEL.
 */
NTSTATUS MiUnloadDriverImage(PMI_DRIVER_IMAGE Image);

VOID MiInitializeDriverImages(void);
VOID MiUnloadDriverImages(void); /* all that are left; while pages can still be read */

#endif
