/* SPDX-License-Identifier: MIT */
/* The pages of paged pool: handing them to room pool at boot, and taking them back. Theory: docs/pool.md. */
#ifndef NTMM_VIRTUAL_PAGEDPOOL_H
#define NTMM_VIRTUAL_PAGEDPOOL_H

#include "rtl/bitmap.h"
#include "virtual/driverimage.h"

/* The state of this room, which is mostly paged pool's. */
struct _MI_VIRTUAL_STATE
{
    EX_PUSH_LOCK Lock; /* the rest, but Drivers; pages come and go one call at a time */
    ULONG_PTR BaseVpn; /* of page number 0, which is never used; fixed */
    ULONG Pages;       /* fixed */
    RTL_BITMAP Used;   /* one bit for each page */
    PULONG Bits;
    PMMVAD Vad; /* NULL: no page is in use */
    SIZE_T PagesInUse;
    MI_DRIVER_IMAGES Drivers; /* driverimage.c; has its own lock */
};

/* After the system space is there. STATUS_INSUFFICIENT_RESOURCES leaves nothing behind. */
NTSTATUS MiInitializePagedPool(void);
/* Where its addresses begin: the end of those that others may use. */
ULONG_PTR MiPagedPoolStartVpn(void);
VOID MiShutdownPagedPool(void); /* bug-checks when paged blocks are left */

#endif
