/* SPDX-License-Identifier: MIT */
/*
 * Mapping a view: what may be asked for, and placing the VAD. A view is one VAD with a reference of the control area; its entries stay
 * zero, so the cost does not depend on how large it is. Everything that can fail is had before the space is locked.
 */
#include "mapping/view.h"

#define MI_VIEW_FLAGS       (MEM_RESERVE | MEM_TOP_DOWN | MEM_LARGE_PAGES | SEC_NO_CHANGE)
#define MI_VIEW_FLAGS_NEWER (MEM_REPLACE_PLACEHOLDER)
#define MI_VIEW_REGION      ((SIZE_T)2 << 20)
#define MI_VIEW_ALIGNMENT   (MI_ALLOCATION_GRANULARITY - 1)

/* ---- What may be asked for ---------------------------------------------------------------------------------- */

/* Whether a section made with Section (PAGE_*) may be mapped with Protection (MM_*). */
static BOOLEAN MiIsCompatible(ULONG Section, ULONG Protection)
{
    ULONG Allowed = MiMakeProtectionMask(Section) & MM_PROTECTION_ACCESS_MASK;
    ULONG Wanted = Protection & MM_PROTECTION_ACCESS_MASK;

    if ((Wanted & MM_EXECUTE) != 0 && (Allowed & MM_EXECUTE) == 0)
    {
        return FALSE;
    }
    if (Wanted == MM_ZERO_ACCESS || Wanted == Allowed)
    {
        return TRUE;
    }
    if (Allowed == MM_EXECUTE)
    {
        return FALSE; /* its pages can be neither read nor copied */
    }
    /* Copies may be written by anybody who may read. */
    return !MiIsWritable(Wanted) || MiIsCopyOnWrite(Wanted) ||
           (MiIsWritable(Allowed) && !MiIsCopyOnWrite(Allowed));
}

static NTSTATUS MiCheckViewType(const MI_VIEW *View)
{
    BOOLEAN Image = View->Section->ControlArea->Backing == MiBackingImage;
    ULONG Legal = MI_VIEW_FLAGS | (View->Extended ? MI_VIEW_FLAGS_NEWER : 0) |
                  (Image ? MEM_DIFFERENT_IMAGE_BASE_OK : 0);

    if ((View->Type & ~Legal) != 0)
    {
        return View->Extended ? STATUS_INVALID_PARAMETER_6 : STATUS_INVALID_PARAMETER_9;
    }
    if ((View->Type & MEM_REPLACE_PLACEHOLDER) != 0)
    {
        if ((View->Type & ~(ULONG)(MEM_REPLACE_PLACEHOLDER | SEC_NO_CHANGE)) != 0)
        {
            return STATUS_INVALID_PARAMETER_6;
        }
        return View->Base == 0 || ((View->Base | View->Offset) & (PAGE_SIZE - 1)) != 0
                   ? STATUS_INVALID_PARAMETER
                   : STATUS_SUCCESS;
    }
    if (((View->Base | View->Offset) & MI_VIEW_ALIGNMENT) != 0)
    {
        return STATUS_MAPPED_ALIGNMENT;
    }
    return STATUS_SUCCESS;
}

static NTSTATUS MiCheckViewAddress(const MI_VIEW *View)
{
    if (View->Base > PORT_USER_HIGHEST || (View->Base != 0 && View->Base < MI_ALLOCATION_GRANULARITY))
    {
        return STATUS_INVALID_PARAMETER_3;
    }
    if (View->Size > PORT_USER_HIGHEST + 1 - View->Base)
    {
        return View->Extended ? STATUS_INVALID_PARAMETER_5 : STATUS_INVALID_PARAMETER_7;
    }
    if (View->ZeroBits > 21 && View->ZeroBits <= 32)
    {
        return STATUS_INVALID_PARAMETER_4;
    }
    return STATUS_SUCCESS;
}

/* Where the view ends: inside the section, or, for MEM_RESERVE, where the section may still grow to. */
static NTSTATUS MiCheckViewSize(PMI_VIEW View)
{
    PSECTION Section = View->Section;
    ULONG64 Size = __atomic_load_n(&Section->SizeOfSection, __ATOMIC_ACQUIRE);
    ULONG64 Left;

    if (View->Offset >= Size)
    {
        return STATUS_INVALID_VIEW_SIZE;
    }
    Left = Size - View->Offset;
    if (View->Size == 0)
    {
        View->Size = (SIZE_T)Left;
    }
    if (View->Size > Left && View->Size > ROUND_TO_PAGES(Left) && (View->Type & MEM_RESERVE) == 0)
    {
        return STATUS_INVALID_VIEW_SIZE;
    }
    if ((View->Type & MEM_RESERVE) != 0 && (Section->ControlArea->Backing != MiBackingDataFile ||
                                            MiMakeProtectionMask(View->Protect) != MM_READWRITE))
    {
        return STATUS_SECTION_PROTECTION;
    }
    if (View->Size > PORT_USER_HIGHEST)
    {
        return STATUS_INVALID_VIEW_SIZE;
    }
    return View->CommitSize > View->Size ? STATUS_INVALID_PARAMETER_5 : STATUS_SUCCESS;
}

static NTSTATUS MiCheckViewProtection(const MI_VIEW *View, PULONG Protection)
{
    PSECTION Section = View->Section;

    *Protection = MiMakeProtectionMask(View->Protect);
    if (*Protection == MM_INVALID_PROTECTION ||
        (MiIsNoAccess(*Protection) && (View->Protect & ~(ULONG)PAGE_NOACCESS) != 0))
    {
        return STATUS_INVALID_PAGE_PROTECTION;
    }
    /* Pages of images have the protection of their PE section, whatever is asked for. */
    if (Section->ControlArea->Backing != MiBackingImage &&
        !MiIsCompatible(Section->InitialPageProtection, *Protection))
    {
        return STATUS_SECTION_PROTECTION;
    }
    if (!MiIsNoAccess(*Protection) && !MiIsGuarded(*Protection))
    {
        *Protection |= (Section->AllocationAttributes & SEC_NOCACHE) != 0        ? MM_NOCACHE
                       : (Section->AllocationAttributes & SEC_WRITECOMBINE) != 0 ? MM_WRITECOMBINE
                                                                                 : 0;
    }
    return STATUS_SUCCESS;
}

static NTSTATUS MiCheckView(PMI_VIEW View, PULONG Protection)
{
    NTSTATUS Status;

    if (View->Inherit != ViewShare && View->Inherit != ViewUnmap)
    {
        return STATUS_INVALID_PARAMETER_8;
    }
    Status = MiCheckViewAddress(View);
    Status = NT_SUCCESS(Status) ? MiCheckViewProtection(View, Protection) : Status;
    Status = NT_SUCCESS(Status) ? MiCheckViewType(View) : Status;
    if (NT_SUCCESS(Status) && (View->Type & MEM_LARGE_PAGES) != 0)
    {
        return MiCheckLargeView(View, *Protection);
    }
    return Status;
}

/* ---- Placing --------------------------------------------------------------------------------------------------- */

BOOLEAN MiIsWritableView(ULONG Protection)
{
    return MiIsWritable(Protection) && !MiIsCopyOnWrite(Protection);
}

/* What a VAD needs to be this view; *Vad may be a placeholder that exists. The control area's reference becomes the VAD's. */
static VOID MiMakeViewVad(PMMVAD Vad, const MI_VIEW *View, ULONG Protection, SIZE_T Charge)
{
    PSECTION Section = View->Section;

    Vad->u.Protection = Protection & 31u;
    Vad->u.CommitProtection = Protection & 31u;
    Vad->u.NoChange = ((View->Type | Section->AllocationAttributes) & SEC_NO_CHANGE) != 0;
    Vad->u.TopDown = (View->Type & MEM_TOP_DOWN) != 0;
    Vad->u.NoInherit = View->Inherit == ViewUnmap;
    Vad->u.UserView = View->Mode == UserMode;
    Vad->u.WritableView = MiIsWritableView(Protection);
    Vad->CommitCharge = Charge;
    Vad->FirstPage = View->Offset >> PAGE_SHIFT;
    Vad->ControlArea = Section->ControlArea;
}

static VOID MiReferenceForView(const MI_VIEW *View, ULONG Protection)
{
    MiReferenceControlArea(View->Section->ControlArea, MiViewReference, View->Mode == UserMode,
                           MiIsWritableView(Protection));
}

/* The placeholder that fills exactly these addresses becomes the view. Space locked. STATUS_RETRY: MiRaiseTableBudget, then again. */
static NTSTATUS MiTryReplaceByView(PMI_ADDRESS_SPACE Space, const MI_VIEW *View, SIZE_T Pages,
                                   ULONG Protection, SIZE_T Charge, PMI_TABLE_BUDGET Tables)
{
    ULONG_PTR StartVpn = MiVpnOf(View->Base);
    PMMVAD Vad;
    NTSTATUS Status = MiLocateRange(Space, StartVpn, StartVpn + Pages - 1, &Vad);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (!Vad->u.Placeholder || !MiIsWholeVad(Vad, StartVpn, StartVpn + Pages - 1))
    {
        return STATUS_CONFLICTING_ADDRESSES;
    }
    if (MiIsSegmentCommitted(View->Section->ControlArea->Segment))
    {
        Status = MiPromiseVadTables(Space, Vad, Tables);
        if (!NT_SUCCESS(Status))
        {
            return Status;
        }
    }
    Vad->u.Placeholder = 0;
    Vad->u.WasPlaceholder = 1;
    Vad->u.PrivateMemory = 0;
    MiMakeViewVad(Vad, View, Protection, Charge);
    return STATUS_SUCCESS;
}

static NTSTATUS MiReplaceByView(PMI_ADDRESS_SPACE Space, const MI_VIEW *View, SIZE_T Pages, ULONG Protection,
                                SIZE_T Charge)
{
    MI_TABLE_BUDGET Tables = { .Charged = 0 };
    NTSTATUS Status = STATUS_RETRY;

    MiReferenceForView(View, Protection);
    for (ULONG Round = 0; Round < MI_MAXIMUM_RESTARTS && Status == STATUS_RETRY; Round++)
    {
        NTSTATUS Raised;

        MiLockSpaceExclusive(Space);
        Status = MiTryReplaceByView(Space, View, Pages, Protection, Charge, &Tables);
        MiUnlockSpaceExclusive(Space);
        Raised = MiRaiseTableBudget(Space, &Tables);
        Status = NT_SUCCESS(Raised) ? Status : Raised;
    }
    MiReturnTableBudget(Space, &Tables);
    Status = Status == STATUS_RETRY ? STATUS_NO_MEMORY : Status;
    if (!NT_SUCCESS(Status))
    {
        MiDereferenceControlArea(View->Section->ControlArea, MiViewReference, View->Mode == UserMode,
                                 MiIsWritableView(Protection));
    }
    return Status;
}

/*
 * Where nobody says where a large view is to be, its addresses lie in 2 MiB as its pages lie in the file: as their frames do, if there is room for
 * that (MiPlaceOfPage), so that a port can map 2 MiB at once.
 */
static NTSTATUS MiPlaceViewVad(PMI_ADDRESS_SPACE Space, const MI_ALLOCATION *Request, PMMVAD Vad)
{
    if (Request->Base == 0 && Request->Alignment == 0 && Request->Size >= MI_VIEW_REGION &&
        (Vad->FirstPage << PAGE_SHIFT) % MI_VIEW_REGION == 0)
    {
        MI_ALLOCATION Aligned = *Request;

        Aligned.Alignment = MI_VIEW_REGION;
        if (NT_SUCCESS(MiPlaceVad(Space, &Aligned, Vad)))
        {
            return STATUS_SUCCESS;
        }
    }
    return MiPlaceVad(Space, Request, Vad);
}

MI_ALLOCATION MiRequestOfView(const MI_VIEW *View, SIZE_T Bytes)
{
    MI_ALLOCATION Request = { .Base = View->Base,
                              .Size = Bytes,
                              .ZeroBits = View->ZeroBits,
                              .Type = View->Type & MEM_TOP_DOWN,
                              .Lowest = View->Lowest,
                              .Highest = View->Highest,
                              .Alignment = View->Alignment };

    if (View->Section->BasedVpn != 0)
    {
        Request.Base = MiVaOf(View->Section->BasedVpn) + View->Offset;
    }
    return Request;
}

PMMVAD MiAllocateViewVad(const MI_VIEW *View, SIZE_T Pages, ULONG Protection, SIZE_T Charge)
{
    PMMVAD Vad = MiAllocateVadPatiently(Pages);

    if (Vad != NULL)
    {
        MiReferenceForView(View, Protection);
        MiMakeViewVad(Vad, View, Protection, Charge);
    }
    return Vad;
}

static NTSTATUS MiPlaceView(PMI_ADDRESS_SPACE Space, PMI_VIEW View, SIZE_T Pages, ULONG Protection,
                            SIZE_T Charge)
{
    MI_ALLOCATION Request = MiRequestOfView(View, Pages << PAGE_SHIFT);
    PMMVAD Vad = MiAllocateViewVad(View, Pages, Protection, Charge);
    NTSTATUS Status;

    if (Vad == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Status = MiPlaceViewVad(Space, &Request, Vad);
    if (!NT_SUCCESS(Status))
    {
        MiDestroyVad(Vad);
        return Status;
    }
    View->Base = MiVaOf(Vad->StartingVpn);
    return STATUS_SUCCESS;
}

NTSTATUS MiMapDataView(PMI_ADDRESS_SPACE Space, PMI_VIEW View, ULONG Protection)
{
    SIZE_T Pages = BYTES_TO_PAGES(View->Size);
    SIZE_T Charge = MiIsCopyOnWrite(Protection) ? Pages : 0;
    NTSTATUS Status = MiChargeSpaceCommit(Space, Charge, 0);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = (View->Type & MEM_REPLACE_PLACEHOLDER) != 0
                 ? MiReplaceByView(Space, View, Pages, Protection, Charge)
                 : MiPlaceView(Space, View, Pages, Protection, Charge);
    if (!NT_SUCCESS(Status))
    {
        MiReturnSpaceCommit(Space, Charge);
        return Status;
    }
    View->Size = Pages << PAGE_SHIFT;
    if (View->CommitSize != 0)
    {
        Status = MiCommitSegmentPages(View->Section->ControlArea->Segment, View->Offset >> PAGE_SHIFT,
                                      BYTES_TO_PAGES(View->CommitSize));
        if (!NT_SUCCESS(Status))
        {
            MiUnmapView(Space, View->Base,
                        (View->Type & MEM_REPLACE_PLACEHOLDER) != 0 ? MEM_PRESERVE_PLACEHOLDER : 0);
        }
    }
    return Status;
}

NTSTATUS MiMapView(PMI_ADDRESS_SPACE Space, PMI_VIEW View)
{
    MI_VIEW Work = *View;
    ULONG Protection;
    NTSTATUS Status = MiCheckView(&Work, &Protection);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Work.Section->ControlArea->Backing == MiBackingImage)
    {
        Status = MiMapImageView(Space, &Work, Protection);
    }
    else
    {
        Status = MiCheckViewSize(&Work);
        if (NT_SUCCESS(Status))
        {
            Status = (Work.Type & MEM_LARGE_PAGES) != 0 ? MiMapLargeView(Space, &Work, Protection)
                                                        : MiMapDataView(Space, &Work, Protection);
        }
    }
    if (NT_SUCCESS(Status))
    {
        View->Base = Work.Base;
        View->Size = Work.Size;
        View->Offset = Work.Offset;
    }
    return Status;
}
