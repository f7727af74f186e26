/* SPDX-License-Identifier: MIT */
/* Asking about views: whose pages an address shows, and how much commitment a space shares with others. */
#include "mapping/view.h"

NTSTATUS MiReferenceMappedFile(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, PVOID *FileObject)
{
    NTSTATUS Status = STATUS_SUCCESS;
    MI_SPACE_SLOT *Slot = MiLockSpaceShared(Space);
    PMMVAD Vad = Space->Deleting || !MiIsUserAddress(Va) ? NULL : MiLocateVad(Space, MiVpnOf(Va));

    if (Vad == NULL)
    {
        Status = STATUS_INVALID_ADDRESS;
    }
    else if (Vad->ControlArea == NULL)
    {
        Status = STATUS_CONFLICTING_ADDRESSES;
    }
    else if (Vad->ControlArea->FilePointer == NULL)
    {
        Status = STATUS_FILE_INVALID;
    }
    else
    {
        *FileObject = Vad->ControlArea->FilePointer;
        ObReferenceObjectBody(*FileObject);
    }
    MiUnlockSpaceShared(Space, Slot);
    return Status;
}

NTSTATUS MiQueryImageInformation(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, PMEMORY_IMAGE_INFORMATION Information)
{
    MI_SPACE_SLOT *Slot = MiLockSpaceShared(Space);
    PMMVAD Vad = Space->Deleting || !MiIsUserAddress(Va) ? NULL : MiLocateVad(Space, MiVpnOf(Va));
    NTSTATUS Status = Vad != NULL && Vad->u.VadType == VadImageMap ? STATUS_SUCCESS : STATUS_INVALID_ADDRESS;

    RtlZeroMemory(Information, sizeof(*Information));
    if (NT_SUCCESS(Status))
    {
        PSEGMENT Segment = Vad->ControlArea->Segment;

        Information->ImageBase = (PVOID)(MiVaOf(Vad->StartingVpn) - (Vad->FirstPage << PAGE_SHIFT));
        Information->SizeOfImage = Segment->SizeOfSegment;
        Information->ImagePartialMap = MiVadPages(Vad) != Segment->TotalNumberOfPtes;
        Information->ImageNotExecutable = (Vad->u.Protection & MM_EXECUTE) == 0;
    }
    MiUnlockSpaceShared(Space, Slot);
    return Status;
}

/* Committed pages of the paging file in the view; none for what files back. */
static SIZE_T MiSharedCommitOf(const MMVAD *Vad)
{
    ULONG64 Page = Vad->FirstPage;
    ULONG64 Left = MiVadPages(Vad);
    SIZE_T Sum = 0;

    if (Vad->ControlArea == NULL || Vad->ControlArea->Backing != MiBackingPagingFile)
    {
        return 0;
    }
    while (Left != 0)
    {
        BOOLEAN Committed;
        ULONG64 Count = MiMeasureCommitted(Vad->ControlArea->Segment, Page, Left, &Committed);

        Sum += Committed ? (SIZE_T)Count : 0;
        Page += Count;
        Left -= Count;
    }
    return Sum;
}

NTSTATUS MiQuerySharedCommit(PMI_ADDRESS_SPACE Space, PSIZE_T Pages)
{
    MI_SPACE_SLOT *Slot = MiLockSpaceShared(Space);
    NTSTATUS Status = Space->Deleting ? STATUS_PROCESS_IS_TERMINATING : STATUS_SUCCESS;

    *Pages = 0;
    for (PMMVAD Vad = NT_SUCCESS(Status) ? MiFirstVad(Space) : NULL; Vad != NULL; Vad = MiNextVad(Vad))
    {
        *Pages += MiSharedCommitOf(Vad);
    }
    MiUnlockSpaceShared(Space, Slot);
    return Status;
}
