/* SPDX-License-Identifier: MIT */
/* Flushing views: what the view's entries know to be dirty is told to the frames, and then written to the file. */
#include "mapping/cache.h"

/* The view at Va; its control area gets a section reference. Space locked shared. */
static NTSTATUS MiFindViewToFlush(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, PSIZE_T Size,
                                  PCONTROL_AREA *ControlArea, PULONG64 FirstPage)
{
    ULONG_PTR Vpn = Va >> PAGE_SHIFT;
    PMMVAD Vad = MiLocateVad(Space, Vpn);
    SIZE_T Left;

    if (Vad == NULL || Vad->ControlArea == NULL)
    {
        return STATUS_NOT_MAPPED_VIEW;
    }
    Left = (SIZE_T)((Vad->EndingVpn + 1) << PAGE_SHIFT) - Va;
    if (*Size > Left)
    {
        return STATUS_NOT_MAPPED_VIEW;
    }
    *Size = *Size == 0 ? Left : *Size;
    *FirstPage = Vad->FirstPage + (Vpn - Vad->StartingVpn);
    *ControlArea = Vad->ControlArea;
    MiReferenceControlArea(*ControlArea, MiSectionReference, FALSE, FALSE);
    return STATUS_SUCCESS;
}

NTSTATUS MiFlushView(PMI_ADDRESS_SPACE Space, PULONG_PTR Base, PSIZE_T Size, NTSTATUS *IoStatus)
{
    ULONG_PTR Va = *Base & ~(ULONG_PTR)(PAGE_SIZE - 1);
    SIZE_T Length = *Size == 0 ? 0 : ROUND_TO_PAGES(*Size + (*Base - Va));
    PCONTROL_AREA ControlArea = NULL;
    MI_SPACE_SLOT *Slot = MiLockSpaceShared(Space);
    ULONG64 FirstPage = 0;
    NTSTATUS Status;

    *IoStatus = STATUS_SUCCESS;
    Status = Space->Deleting ? STATUS_PROCESS_IS_TERMINATING
                             : MiFindViewToFlush(Space, Va, &Length, &ControlArea, &FirstPage);
    if (NT_SUCCESS(Status) && ControlArea->Backing == MiBackingDataFile)
    {
        MiCollectDirtyBits(Space, Va >> PAGE_SHIFT, (Va + Length - 1) >> PAGE_SHIFT);
    }
    MiUnlockSpaceShared(Space, Slot);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (ControlArea->Backing == MiBackingDataFile)
    {
        *IoStatus = CcpFlushSegment(ControlArea, FirstPage << PAGE_SHIFT, Length, TRUE);
    }
    MiDereferenceControlArea(ControlArea, MiSectionReference, FALSE, FALSE);
    if (NT_SUCCESS(*IoStatus))
    {
        *Base = Va;
        *Size = Length;
    }
    return *IoStatus;
}

/* What is not in the cache is not touched. */
BOOLEAN NTAPI MmSetAddressRangeModified(PVOID Address, SIZE_T Length)
{
    PMI_ADDRESS_SPACE Space = &MiState.Space->System;
    ULONG_PTR Vpn = (ULONG_PTR)Address >> PAGE_SHIFT;
    ULONG_PTR Last = ((ULONG_PTR)Address + Length - 1) >> PAGE_SHIFT;
    MI_SPACE_SLOT *Slot;
    SIZE_T Marked = 0;

    if (Length == 0)
    {
        return FALSE;
    }
    Slot = MiLockSpaceShared(Space);
    while (Vpn <= Last)
    {
        PMMVAD Vad = MiLocateVad(Space, Vpn);
        ULONG_PTR End = Vad != NULL && Vad->EndingVpn < Last ? Vad->EndingVpn : Last;

        if (Vad == NULL || !Vad->u.CacheView)
        {
            break;
        }
        Marked += MiMarkModified(Space, Vpn, End);
        Vpn = End + 1;
    }
    MiUnlockSpaceShared(Space, Slot);
    return Marked != 0;
}
