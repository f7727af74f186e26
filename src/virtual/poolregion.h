/* SPDX-License-Identifier: MIT */
/* A region of a kernel space that gives pages to a paged pool (room pool's page source). Theory: docs/pool.md. */
#ifndef NTMM_VIRTUAL_POOLREGION_H
#define NTMM_VIRTUAL_POOLREGION_H

#include "pool/expool.h"
#include "rtl/bitmap.h"
#include "virtual/virtual.h"

typedef struct _MI_POOL_REGION
{
    EX_PUSH_LOCK Lock;       /* everything below; pages come and go one call at a time */
    PMI_ADDRESS_SPACE Space; /* fixed */
    ULONG_PTR BaseVpn;       /* of page number 0, which is never used; fixed */
    ULONG Pages;             /* fixed; a multiple of 512 */
    RTL_BITMAP Used;         /* one bit for each page */
    PULONG Bits;
    PMMVAD Vad; /* NULL: no page is in use */
    SIZE_T PagesInUse;
} MI_POOL_REGION, *PMI_POOL_REGION;

/* EX_POOL_SOURCE.Region is the region. */
extern const EX_POOL_SOURCE_OPERATIONS MiPoolRegionOperations;

/* Region is zeroed. STATUS_INSUFFICIENT_RESOURCES. / No page is in use any more. */
NTSTATUS MiInitializePoolRegion(PMI_POOL_REGION Region, PMI_ADDRESS_SPACE Space, ULONG_PTR BaseVpn,
                                ULONG Pages);
VOID MiDeletePoolRegion(PMI_POOL_REGION Region);

#endif
