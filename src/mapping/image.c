/* SPDX-License-Identifier: MIT */
/*
 * Views of images. A view wants to be at the base that the control area has chosen; there its pages are right as they are. Elsewhere it
 * still shows the pages of that base, and the status says that fix-ups are the caller's business. Pages have the protection of their
 * PE section, whatever was asked for.
 *
 * Sources: Microsoft Learn, NtMapViewOfSection, "Memory Protection Constants"; [MS-ERREF] for STATUS_IMAGE_NOT_AT_BASE,
 * STATUS_IMAGE_MACHINE_TYPE_MISMATCH.
 */
#include "mapping/view.h"
#include "section/imagemap.h"

/* Pages that the view may have copied: those of sections that are writable and not shared. */
static SIZE_T MiImageViewCharge(PCONTROL_AREA ControlArea, ULONG64 First, ULONG64 Pages)
{
    SIZE_T Charge = 0;

    for (PSUBSECTION Subsection = ControlArea->Subsection; Subsection != NULL;
         Subsection = Subsection->NextSubsection)
    {
        ULONG64 Start = Subsection->StartingPage > First ? Subsection->StartingPage : First;
        ULONG64 End = Subsection->StartingPage + Subsection->PtesInSubsection;

        End = End < First + Pages ? End : First + Pages;
        if (MiIsCopyOnWrite(Subsection->Protection) && Start < End)
        {
            Charge += (SIZE_T)(End - Start);
        }
    }
    return Charge;
}

static VOID MiMakeImageVad(PMMVAD Vad, const MI_VIEW *View, SIZE_T Charge)
{
    PSECTION Section = View->Section;
    BOOLEAN Executable = (Section->AllocationAttributes & SEC_NOCACHE) == 0; /* SEC_IMAGE_NO_EXECUTE */

    Vad->u.VadType = VadImageMap;
    Vad->u.Protection = Executable ? MM_EXECUTE_WRITECOPY : MM_WRITECOPY;
    Vad->u.CommitProtection = Vad->u.Protection;
    Vad->u.NoChange = ((View->Type | Section->AllocationAttributes) & SEC_NO_CHANGE) != 0;
    Vad->u.TopDown = (View->Type & MEM_TOP_DOWN) != 0;
    Vad->u.NoInherit = View->Inherit == ViewUnmap;
    Vad->u.UserView = View->Mode == UserMode;
    Vad->u.WritableView = 0; /* of the file: images are never written back */
    Vad->CommitCharge = Charge;
    Vad->FirstPage = View->Offset >> PAGE_SHIFT;
    Vad->ControlArea = Section->ControlArea;
}

/* Where the view belongs, or, unless the caller named the place, anywhere. */
static NTSTATUS MiPlaceImageVad(PMI_ADDRESS_SPACE Space, const MI_VIEW *View, PMMVAD Vad)
{
    MI_ALLOCATION Request = { .Base = View->Base,
                              .Size = MiVadPages(Vad) << PAGE_SHIFT,
                              .ZeroBits = View->ZeroBits,
                              .Type = View->Type & MEM_TOP_DOWN,
                              .Lowest = View->Lowest,
                              .Highest = View->Highest,
                              .Alignment = View->Alignment };
    ULONG64 Base = MiImageOf(View->Section->ControlArea)->Base + View->Offset;
    NTSTATUS Status = STATUS_CONFLICTING_ADDRESSES;

    if (View->Base != 0)
    {
        return MiPlaceVad(Space, &Request, Vad);
    }
    if (View->Highest == 0 && View->Lowest == 0 && View->ZeroBits == 0)
    {
        Request.Base = (ULONG_PTR)Base;
        Status = MiPlaceVad(Space, &Request, Vad);
    }
    if (Status == STATUS_CONFLICTING_ADDRESSES)
    {
        Request.Base = 0;
        Status = MiPlaceVad(Space, &Request, Vad);
    }
    return Status;
}

static NTSTATUS MiCheckImageView(PMI_VIEW View)
{
    ULONG64 Size = View->Section->SizeOfSection;

    if ((View->Type & (MEM_RESERVE | MEM_REPLACE_PLACEHOLDER)) != 0)
    {
        return View->Extended ? STATUS_INVALID_PARAMETER_6 : STATUS_INVALID_PARAMETER_9;
    }
    if (View->Offset >= Size || View->Size > Size - View->Offset)
    {
        return STATUS_INVALID_VIEW_SIZE;
    }
    View->Size = View->Size != 0 ? ROUND_TO_PAGES(View->Size) : (SIZE_T)(Size - View->Offset);
    return STATUS_SUCCESS;
}

/* The status of a view that is placed: a success in any case. */
static NTSTATUS MiImageViewStatus(const MI_VIEW *View)
{
    PMI_IMAGE Image = MiImageOf(View->Section->ControlArea);

    if (Image->Description.MachineMismatch)
    {
        return STATUS_IMAGE_MACHINE_TYPE_MISMATCH;
    }
    return View->Base != Image->Base + View->Offset ? STATUS_IMAGE_NOT_AT_BASE : STATUS_SUCCESS;
}

NTSTATUS MiMapImageView(PMI_ADDRESS_SPACE Space, PMI_VIEW View, ULONG Protection)
{
    PCONTROL_AREA ControlArea = View->Section->ControlArea;
    NTSTATUS Status = MiCheckImageView(View);
    SIZE_T Charge;
    PMMVAD Vad;

    UNREFERENCED_PARAMETER(Protection);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Charge = MiImageViewCharge(ControlArea, View->Offset >> PAGE_SHIFT, View->Size >> PAGE_SHIFT);
    Status = MiChargeSpaceCommit(Space, Charge, 0);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Vad = MiAllocateVadPatiently(View->Size >> PAGE_SHIFT);
    if (Vad == NULL)
    {
        MiReturnSpaceCommit(Space, Charge);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    MiReferenceControlArea(ControlArea, MiViewReference, View->Mode == UserMode, FALSE);
    MiMakeImageVad(Vad, View, Charge);
    Status = MiPlaceImageVad(Space, View, Vad);
    if (!NT_SUCCESS(Status))
    {
        MiDestroyVad(Vad);
        MiReturnSpaceCommit(Space, Charge);
        return Status;
    }
    View->Base = MiVaOf(Vad->StartingVpn);
    return MiImageViewStatus(View);
}
