/* SPDX-License-Identifier: MIT */
/*
 * Views of large pages (MEM_LARGE_PAGES, FILE_MAP_LARGE_PAGES) of sections that have them. All entries are there from the beginning to the end: nothing
 * in such a view is ever faulted in, trimmed or copied. The view keeps its control area, and that keeps the frames.
 */
#include "mapping/view.h"

#define MI_TAG_LARGE_VIEW MI_TAG('M', 'm', 'L', 'v')

NTSTATUS MiCheckLargeView(const MI_VIEW *View, ULONG Protection)
{
    if ((View->Section->AllocationAttributes & SEC_LARGE_PAGES) == 0)
    {
        return View->Extended ? STATUS_INVALID_PARAMETER_6 : STATUS_INVALID_PARAMETER_9;
    }
    if (((View->Base | View->Offset) & (MI_LEVEL_BYTES(1) - 1)) != 0)
    {
        return STATUS_MAPPED_ALIGNMENT;
    }
    return MiIsLargeViewProtection(Protection) ? STATUS_SUCCESS : STATUS_INVALID_PAGE_PROTECTION;
}

NTSTATUS MiMapLargeView(PMI_ADDRESS_SPACE Space, PMI_VIEW View, ULONG Protection)
{
    PSEGMENT Segment = View->Section->ControlArea->Segment;
    MI_ALLOCATION Request = MiRequestOfView(View, View->Size);
    SIZE_T Count = View->Size / MI_LEVEL_BYTES(1);
    PFN_NUMBER *Frames;
    PMMVAD Vad;
    NTSTATUS Status;

    if ((View->Size & (MI_LEVEL_BYTES(1) - 1)) != 0)
    {
        return STATUS_INVALID_VIEW_SIZE;
    }
    if ((Request.Base & (MI_LEVEL_BYTES(1) - 1)) != 0)
    {
        return STATUS_CONFLICTING_ADDRESSES; /* SEC_BASED: its addresses lie otherwise */
    }
    if (Request.Alignment < MI_LEVEL_BYTES(1))
    {
        Request.Alignment = MI_LEVEL_BYTES(1);
    }
    Frames = MiAllocatePool(Count * sizeof(*Frames), MI_TAG_LARGE_VIEW);
    if (Frames == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    for (SIZE_T Index = 0; Index < Count; Index++)
    {
        Frames[Index] =
            MiLookUpChunk(Segment, (View->Offset >> PAGE_SHIFT) + Index * MI_CHUNK_PAGES)->LargeFrame;
    }
    Vad = MiAllocateViewVad(View, BYTES_TO_PAGES(View->Size), Protection, 0);
    Status = STATUS_INSUFFICIENT_RESOURCES;
    if (Vad != NULL)
    {
        Vad->u.VadType = VadLargePageSection;
        Status = MiPlaceLargeVad(Space, &Request, Vad, Frames, Protection);
    }
    if (NT_SUCCESS(Status))
    {
        View->Base = MiVaOf(Vad->StartingVpn);
    }
    else if (Vad != NULL)
    {
        MiDestroyVad(Vad);
    }
    MiFreePool(Frames, MI_TAG_LARGE_VIEW);
    return Status;
}
