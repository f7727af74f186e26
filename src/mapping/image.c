/* SPDX-License-Identifier: MIT */
/*
 * Views of images. A view wants to be at the base that the control area has chosen; there its pages are right as they are. Elsewhere it
 * still shows the pages of that base, and the status says that fix-ups are the caller's business; or, if the caller permits it
 * (MEM_DIFFERENT_IMAGE_BASE_OK), it gets a control area of its own whose pages are fixed up for where it is. Pages have the protection of
 * their PE section, whatever was asked for.
 *
 * Sources: Microsoft Learn, NtMapViewOfSection, "Memory Protection Constants"; [MS-ERREF] for STATUS_IMAGE_NOT_AT_BASE,
 * STATUS_IMAGE_AT_DIFFERENT_BASE ("local fixups will be automatically performed"), STATUS_IMAGE_MACHINE_TYPE_MISMATCH.
 */
#include "mapping/view.h"
#include "section/imagemap.h"

/* Pages that the view may have copied: those of sections that are writable and not shared. */
SIZE_T MiImageViewCharge(PCONTROL_AREA ControlArea, ULONG64 First, ULONG64 Pages)
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

VOID MiMakeImageVad(PMMVAD Vad, const MI_VIEW *View, SIZE_T Charge)
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

/* ---- Another base ------------------------------------------------------------------------------------------ */

/* One attempt, space locked. STATUS_RETRY: it was unlocked meanwhile; STATUS_NOT_MAPPED_VIEW: somebody has unmapped the view already. */
static NTSTATUS MiTrySwap(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, PCONTROL_AREA Old, PCONTROL_AREA New)
{
    PMMVAD Vad = Space->Deleting ? NULL : MiLocateVad(Space, StartVpn);
    BOOLEAN Dropped;
    NTSTATUS Status;

    if (Vad == NULL || Vad->ControlArea != Old || Vad->StartingVpn != StartVpn)
    {
        return STATUS_NOT_MAPPED_VIEW;
    }
    Status = MiMakeTablesResident(Space, Vad->StartingVpn, Vad->EndingVpn, MI_EXISTING_TABLES, &Dropped);
    if (!NT_SUCCESS(Status) || Dropped)
    {
        return NT_SUCCESS(Status) ? STATUS_RETRY : Status;
    }
    MiDeletePages(Space, Vad->StartingVpn,
                  Vad->EndingVpn); /* nobody knew the address: normally there are none */
    Vad->ControlArea = New;
    return STATUS_SUCCESS;
}

/* The view that has just been placed gets a control area whose base is where it is. */
static NTSTATUS MiRelocateView(PMI_ADDRESS_SPACE Space, const MI_VIEW *View)
{
    PCONTROL_AREA Old = View->Section->ControlArea;
    BOOLEAN User = View->Mode == UserMode;
    PCONTROL_AREA New;
    NTSTATUS Status = MiRelocateImageMap(Old, View->Base - View->Offset, &New);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    MiReferenceControlArea(New, MiViewReference, User, FALSE);
    Status = STATUS_RETRY;
    for (ULONG Round = 0; Round < MI_MAXIMUM_RESTARTS && Status == STATUS_RETRY; Round++)
    {
        MiLockSpaceExclusive(Space);
        Status = MiTrySwap(Space, MiVpnOf(View->Base), Old, New);
        MiUnlockSpaceExclusive(Space);
    }
    MiDereferenceControlArea(NT_SUCCESS(Status) ? Old : New, MiViewReference, User, FALSE);
    MiDereferenceControlArea(New, MiSectionReference, FALSE, FALSE);
    return Status == STATUS_RETRY ? STATUS_NO_MEMORY : Status;
}

/* The view is placed: what the caller must know, or, if it cannot be what he permits, a failure and no view. */
static NTSTATUS MiFinishImageView(PMI_ADDRESS_SPACE Space, const MI_VIEW *View)
{
    PMI_IMAGE Image = MiImageOf(View->Section->ControlArea);
    NTSTATUS Status;

    if (Image->Description.MachineMismatch)
    {
        return STATUS_IMAGE_MACHINE_TYPE_MISMATCH;
    }
    if (View->Base == Image->Base + View->Offset)
    {
        return STATUS_SUCCESS;
    }
    if ((View->Type & MEM_DIFFERENT_IMAGE_BASE_OK) == 0 || View->Base <= View->Offset ||
        !MiMayRelocateImageMap(View->Section->ControlArea))
    {
        return STATUS_IMAGE_NOT_AT_BASE;
    }
    Status = MiRelocateView(Space, View);
    if (!NT_SUCCESS(Status))
    {
        (VOID) MiUnmapView(Space, View->Base, 0);
        return Status;
    }
    return STATUS_IMAGE_AT_DIFFERENT_BASE;
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
    return MiFinishImageView(Space, View);
}
