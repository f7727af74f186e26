/* SPDX-License-Identifier: MIT */
/*
 * Unmapping: the entries go, private copies with their pages, then the VAD, then the reference of the control area with no lock held,
 * because with the last one a whole section may be deleted. Or the view becomes the placeholder again that it had replaced.
 */
#include "mapping/cache.h"
#include "mapping/view.h"

typedef struct _MI_UNMAP
{
    PMMVAD Gone;               /* out of the tree */
    PCONTROL_AREA ControlArea; /* of a view that became a placeholder again */
    BOOLEAN User;
    BOOLEAN Writable;
    SIZE_T Returned;
} MI_UNMAP;

static VOID MiBecomePlaceholder(PMI_ADDRESS_SPACE Space, PMMVAD Vad, MI_UNMAP *Unmap)
{
    Unmap->ControlArea = Vad->ControlArea;
    Unmap->User = Vad->u.UserView;
    Unmap->Writable = Vad->u.WritableView;
    if (Vad->TablesPromised)
    {
        MiSetTablesPromised(Space, Vad, FALSE);
    }
    Vad->ControlArea = NULL;
    Vad->FirstPage = 0;
    Vad->u = (MMVAD_FLAGS){
        .Protection = MM_NOACCESS, .CommitProtection = MM_NOACCESS, .PrivateMemory = 1, .Placeholder = 1
    };
    Vad->CommitCharge = 0;
}

/* One attempt, space locked. STATUS_RETRY: it was unlocked meanwhile. */
static NTSTATUS MiTryUnmap(PMI_ADDRESS_SPACE Space, ULONG_PTR Vpn, ULONG Flags, MI_UNMAP *Unmap)
{
    BOOLEAN Dropped;
    NTSTATUS Status;
    PMMVAD Vad;

    if (Space->Deleting)
    {
        return STATUS_PROCESS_IS_TERMINATING;
    }
    Vad = MiLocateVad(Space, Vpn);
    if (Vad == NULL || Vad->ControlArea == NULL || Vad->u.CacheView)
    {
        return STATUS_NOT_MAPPED_VIEW;
    }
    if ((Flags & MEM_PRESERVE_PLACEHOLDER) != 0 && !Vad->u.WasPlaceholder)
    {
        return STATUS_CONFLICTING_ADDRESSES;
    }
    if (MiIsRangeSecured(Vad, Vad->StartingVpn, Vad->EndingVpn))
    {
        return STATUS_INVALID_PAGE_PROTECTION;
    }
    Status = MiMakeTablesResident(Space, Vad->StartingVpn, Vad->EndingVpn, MI_EXISTING_TABLES, &Dropped);
    if (!NT_SUCCESS(Status) || Dropped)
    {
        return NT_SUCCESS(Status) ? STATUS_RETRY : Status;
    }
    if (Vad->u.VadType == VadLargePageSection)
    {
        MiDeleteLargePages(Space, Vad->StartingVpn, Vad->EndingVpn);
    }
    MiDeletePages(Space, Vad->StartingVpn, Vad->EndingVpn);
    Unmap->Returned = Vad->CommitCharge;
    if ((Flags & MEM_PRESERVE_PLACEHOLDER) != 0)
    {
        MiBecomePlaceholder(Space, Vad, Unmap);
        return STATUS_SUCCESS;
    }
    MiUnlinkVad(Space, Vad);
    Unmap->Gone = Vad;
    return STATUS_SUCCESS;
}

NTSTATUS MiUnmapView(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, ULONG Flags)
{
    MI_UNMAP Unmap = { .Gone = NULL };
    NTSTATUS Status = STATUS_RETRY;

    if ((Flags & ~(ULONG)(MEM_PRESERVE_PLACEHOLDER | MEM_UNMAP_WITH_TRANSIENT_BOOST)) != 0)
    {
        return STATUS_INVALID_PARAMETER_3;
    }
    for (ULONG Round = 0; Round < MI_MAXIMUM_RESTARTS && Status == STATUS_RETRY; Round++)
    {
        MiLockSpaceExclusive(Space);
        Status = MiTryUnmap(Space, MiVpnOf(Va), Flags, &Unmap);
        MiUnlockSpaceExclusive(Space);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status == STATUS_RETRY ? STATUS_NO_MEMORY : Status;
    }
    MiReturnSpaceCommit(Space, Unmap.Returned);
    if (Unmap.Gone != NULL)
    {
        MiDestroyVad(Unmap.Gone);
    }
    if (Unmap.ControlArea != NULL)
    {
        MiDereferenceControlArea(Unmap.ControlArea, MiViewReference, Unmap.User, Unmap.Writable);
    }
    return STATUS_SUCCESS;
}

NTSTATUS MiInitializeMapping(void)
{
    return CcpInitialize();
}

NTSTATUS MiStartMappingWorkers(void)
{
    return CcpStartWorkers();
}

VOID MiStopMappingWorkers(void)
{
    CcpStopWorkers();
}

/* What files left behind must go while pages can still be written and deleted. */
VOID MiShutdownMapping(void)
{
    CcpShutdown();
    if (MiState.Section != NULL)
    {
        MiTrimUnusedSegments(MI_TRIM_ALL_SEGMENTS);
    }
}
