/* SPDX-License-Identifier: MIT */
/* The pages of paged pool: handing them to room pool at boot, and taking them back. Theory: docs/pool.md. */
#ifndef NTMM_VIRTUAL_PAGEDPOOL_H
#define NTMM_VIRTUAL_PAGEDPOOL_H

#include "virtual/driverimage.h"
#include "virtual/poolregion.h"

/* The state of this room. */
struct _MI_VIRTUAL_STATE
{
    MI_POOL_REGION Paged;     /* paged pool */
    MI_DRIVER_IMAGES Drivers; /* driverimage.c; has its own lock */
};

/* After the system space is there. STATUS_INSUFFICIENT_RESOURCES leaves nothing behind. */
NTSTATUS MiInitializePagedPool(void);
/* Where its addresses begin: the end of those that others may use. */
ULONG_PTR MiPagedPoolStartVpn(void);
VOID MiShutdownPagedPool(void); /* bug-checks when paged blocks are left */

#endif
