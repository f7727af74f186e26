/* SPDX-License-Identifier: MIT */
/*
 * Views for the kernel: in system space, or in that of the current session, where only its threads see them. VADs, faults and trimming
 * are those of any space.
 */
#include "mapping/view.h"
#include "nt/mm.h"
#include "virtual/pagedpool.h"
#include "virtual/sessionpool.h"

/* The protection that the section permits: views of the kernel have no other. */
static ULONG MiSystemViewProtection(const SECTION *Section)
{
    ULONG Protection = MiMakeProtectionMask(Section->InitialPageProtection);

    return MiIsWritable(Protection) && !MiIsCopyOnWrite(Protection) ? MM_READWRITE : MM_READONLY;
}

static NTSTATUS MiCheckSystemView(const SECTION *Section, ULONG64 Offset, PSIZE_T ViewSize)
{
    ULONG64 Size = __atomic_load_n(&Section->SizeOfSection, __ATOMIC_ACQUIRE);

    if (Offset >= Size)
    {
        return STATUS_INVALID_VIEW_SIZE;
    }
    if (*ViewSize == 0)
    {
        *ViewSize = (SIZE_T)(Size - Offset);
    }
    return *ViewSize > ROUND_TO_PAGES(Size - Offset) ? STATUS_INVALID_VIEW_SIZE : STATUS_SUCCESS;
}

/* Addresses for the view; the VAD is linked. */
static NTSTATUS MiPlaceSystemView(PMI_ADDRESS_SPACE Space, PMMVAD Vad)
{
    const MM_SESSION_SPACE *Session = MiSessionOfSpace(Space);
    MI_FIND_RANGE Find = {
        .Pages = MiVadPages(Vad),
        .AlignPages = MI_ALLOCATION_GRANULARITY >> PAGE_SHIFT,
        .LowestVpn = Space->LowestVpn,
        .HighestVpn = (Session != NULL ? MiSessionPoolStartVpn(Session) : MiPagedPoolStartVpn()) - 1
    };

    return MiPlaceVadBy(Space, Vad, MiChooseEmptyRange, &Find);
}

/* What the VAD of the view says; it takes a reference of the control area. */
static VOID MiMakeSystemVad(PMMVAD Vad, PSECTION Section, ULONG64 Start, SIZE_T Charge)
{
    ULONG Protection = MiSystemViewProtection(Section);

    if (Section->ControlArea->Backing == MiBackingImage)
    {
        MI_VIEW View = { .Section = Section, .Offset = Start, .Inherit = ViewUnmap, .Mode = KernelMode };

        MiReferenceControlArea(Section->ControlArea, MiViewReference, FALSE, FALSE);
        MiMakeImageVad(Vad, &View, Charge);
        return;
    }
    Vad->u.Protection = Protection & 31u;
    Vad->u.CommitProtection = Protection & 31u;
    Vad->u.WritableView = MiIsWritableView(Protection);
    Vad->FirstPage = Start >> PAGE_SHIFT;
    MiReferenceControlArea(Section->ControlArea, MiViewReference, FALSE, MiIsWritableView(Protection));
    Vad->ControlArea = Section->ControlArea;
}

static NTSTATUS MiMapSystemView(PMI_ADDRESS_SPACE Space, PSECTION Section, PVOID *MappedBase,
                                PSIZE_T ViewSize, PULONG64 Offset)
{
    ULONG64 Start = *Offset & ~(ULONG64)(MI_ALLOCATION_GRANULARITY - 1);
    SIZE_T Size = *ViewSize == 0 ? 0 : *ViewSize + (SIZE_T)(*Offset - Start);
    NTSTATUS Status = MiCheckSystemView(Section, Start, &Size);
    SIZE_T Charge = 0;
    PMMVAD Vad;

    if (NT_SUCCESS(Status) && Section->ControlArea->Backing == MiBackingImage)
    {
        Charge = MiImageViewCharge(Section->ControlArea, Start >> PAGE_SHIFT, BYTES_TO_PAGES(Size));
        Status = MiChargeSpaceCommit(Space, Charge, 0);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Vad = MiAllocateVadPatiently(BYTES_TO_PAGES(Size));
    if (Vad == NULL)
    {
        MiReturnSpaceCommit(Space, Charge);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    MiMakeSystemVad(Vad, Section, Start, Charge);
    Status = MiPlaceSystemView(Space, Vad);
    if (!NT_SUCCESS(Status))
    {
        MiDestroyVad(Vad);
        MiReturnSpaceCommit(Space, Charge);
        return Status;
    }
    *MappedBase = (PVOID)MiVaOf(Vad->StartingVpn);
    *ViewSize = BYTES_TO_PAGES(Size) << PAGE_SHIFT;
    *Offset = Start;
    return STATUS_SUCCESS;
}

/* The offset is given, and comes back rounded down to where the view begins. */
static NTSTATUS MiMapSystemViewAt(PMI_ADDRESS_SPACE Space, PSECTION Section, PVOID *MappedBase,
                                  PSIZE_T ViewSize, PLARGE_INTEGER SectionOffset, ULONG_PTR Flags)
{
    ULONG64 Offset = (ULONG64)SectionOffset->QuadPart;
    NTSTATUS Status;

    if (Flags != 0 || SectionOffset->QuadPart < 0)
    {
        return STATUS_INVALID_PARAMETER;
    }
    Status = MiMapSystemView(Space, Section, MappedBase, ViewSize, &Offset);
    if (NT_SUCCESS(Status))
    {
        SectionOffset->QuadPart = (LONGLONG)Offset;
    }
    return Status;
}

NTSTATUS NTAPI MmMapViewInSystemSpaceEx(PVOID Section, PVOID *MappedBase, PSIZE_T ViewSize,
                                        PLARGE_INTEGER SectionOffset, ULONG_PTR Flags)
{
    return MiMapSystemViewAt(&MiState.Space->System, Section, MappedBase, ViewSize, SectionOffset, Flags);
}

NTSTATUS NTAPI MmMapViewInSystemSpace(PVOID Section, PVOID *MappedBase, PSIZE_T ViewSize)
{
    ULONG64 Offset = 0;

    return MiMapSystemView(&MiState.Space->System, Section, MappedBase, ViewSize, &Offset);
}

NTSTATUS NTAPI MmUnmapViewInSystemSpace(PVOID MappedBase)
{
    return MiUnmapView(&MiState.Space->System, (ULONG_PTR)MappedBase, 0);
}

/* ---- Session space: of the process whose space the thread runs in -------------------------------------- */

NTSTATUS NTAPI MmMapViewInSessionSpaceEx(PVOID Section, PVOID *MappedBase, PSIZE_T ViewSize,
                                         PLARGE_INTEGER SectionOffset, ULONG_PTR Flags)
{
    PMM_SESSION_SPACE Session = MiCurrentSession();
    NTSTATUS Status;

    if (Session == NULL)
    {
        return STATUS_INVALID_SESSION;
    }
    __atomic_fetch_add(&Session->MappedViews, 1, __ATOMIC_RELAXED);
    Status = MiMapSystemViewAt(&Session->Space, Section, MappedBase, ViewSize, SectionOffset, Flags);
    if (!NT_SUCCESS(Status))
    {
        __atomic_fetch_sub(&Session->MappedViews, 1, __ATOMIC_RELAXED);
    }
    return Status;
}

NTSTATUS NTAPI MmMapViewInSessionSpace(PVOID Section, PVOID *MappedBase, PSIZE_T ViewSize)
{
    LARGE_INTEGER Offset = { .QuadPart = 0 };

    return MmMapViewInSessionSpaceEx(Section, MappedBase, ViewSize, &Offset, 0);
}

NTSTATUS NTAPI MmUnmapViewInSessionSpace(PVOID MappedBase)
{
    PMM_SESSION_SPACE Session = MiCurrentSession();
    NTSTATUS Status = STATUS_INVALID_SESSION;

    if (Session != NULL)
    {
        Status = MiUnmapView(&Session->Space, (ULONG_PTR)MappedBase, 0);
        __atomic_fetch_sub(&Session->MappedViews, NT_SUCCESS(Status) ? 1 : 0, __ATOMIC_RELAXED);
    }
    return Status;
}
