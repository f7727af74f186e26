/* SPDX-License-Identifier: MIT */
/* The pages of session pool: a region at the upper end of each session's space. What lies below is for views. */
#include "space/session.h"
#include "virtual/poolregion.h"
#include "virtual/sessionpool.h"

#define MI_SESSION_POOL_TAG     MI_TAG('M', 'm', 'S', 'p')
#define MI_SESSION_POOL_MINIMUM 0x1000ull  /* pages of addresses: 16 MiB */
#define MI_SESSION_POOL_MAXIMUM 0x40000ull /* 1 GiB */

static ULONG MiSessionPoolPages(void)
{
    ULONG64 Pages = MiState.Physical->NumberOfPages * 2;

    Pages = Pages < MI_SESSION_POOL_MINIMUM ? MI_SESSION_POOL_MINIMUM : Pages;
    return (ULONG)(Pages > MI_SESSION_POOL_MAXIMUM ? MI_SESSION_POOL_MAXIMUM : Pages) & ~511u;
}

static NTSTATUS MiAttachSessionPool(PMM_SESSION_SPACE Session)
{
    PMI_POOL_REGION Region = MiAllocatePool(sizeof(*Region), MI_SESSION_POOL_TAG);
    ULONG Pages = MiSessionPoolPages();
    NTSTATUS Status;

    if (Region == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Status = MiInitializePoolRegion(Region, &Session->Space, Session->Space.HighestVpn + 1 - Pages, Pages);
    if (NT_SUCCESS(Status))
    {
        Status = ExpAttachSessionPool(&Session->Pool, &MiPoolRegionOperations, Region,
                                      Region->BaseVpn << PAGE_SHIFT, Pages);
    }
    if (!NT_SUCCESS(Status))
    {
        MiDeletePoolRegion(Region);
        MiFreePool(Region, MI_SESSION_POOL_TAG);
        return Status;
    }
    Session->PoolRegion = Region;
    return STATUS_SUCCESS;
}

static VOID MiDetachSessionPool(PMM_SESSION_SPACE Session)
{
    ExpDetachSessionPool(&Session->Pool);
    MiDeletePoolRegion(Session->PoolRegion);
    MiFreePool(Session->PoolRegion, MI_SESSION_POOL_TAG);
    Session->PoolRegion = NULL;
}

ULONG_PTR MiSessionPoolStartVpn(const MM_SESSION_SPACE *Session)
{
    return Session->PoolRegion->BaseVpn;
}

VOID MiInitializeSessionPool(void)
{
    MiState.Space->AttachSessionPool = MiAttachSessionPool;
    MiState.Space->DetachSessionPool = MiDetachSessionPool;
}
