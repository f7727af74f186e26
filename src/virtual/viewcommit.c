/* SPDX-License-Identifier: MIT */
/*
 * Views in the services of virtual memory: committing pages of SEC_RESERVE sections through a view, and which protections a view may
 * take. What a view may be given at most is what it was mapped with, plus copies of one's own; commitment belongs to the
 * section, so all views see it at once. What is charged for copies is exactly the pages that have been copied or may be.
 */
#include "virtual/range.h"

BOOLEAN MiFitViewProtection(const MMVAD *Vad, PULONG Protection)
{
    ULONG Mapped = (ULONG)Vad->u.Protection & MM_PROTECTION_ACCESS_MASK;
    ULONG Wanted = *Protection & MM_PROTECTION_ACCESS_MASK;
    BOOLEAN Executable = (Mapped & MM_EXECUTE) != 0;

    if (Wanted == MM_ZERO_ACCESS)
    {
        return TRUE;
    }
    if ((Wanted & MM_EXECUTE) != 0 && !Executable)
    {
        return FALSE;
    }
    if (Mapped == MM_EXECUTE && Wanted != MM_EXECUTE)
    {
        return FALSE; /* not even readable */
    }
    if (MiIsWritable(Wanted) && !MiIsCopyOnWrite(Wanted))
    {
        if (MiIsCopyOnWrite(Mapped))
        {
            *Protection |= 1u; /* writable means: a copy */
            return TRUE;
        }
        return MiIsWritable(Mapped);
    }
    return TRUE;
}

/* ---- Copies ------------------------------------------------------------------------------------------------ */

static BOOLEAN MiIsPrivateCopy(MMPTE Pte)
{
    PMMPFN Pfn;

    if (Pte.Long == 0 || MiIsLookup(Pte))
    {
        return FALSE;
    }
    if (!Pte.Hard.Valid || (Pte.Long & MM_PTE_SHARED) == 0)
    {
        return TRUE;
    }
    Pfn = MiPfn(Pte.Hard.PageFrameNumber); /* the section's page, or a copy that is shared with a clone */
    return !MiIsSectionPrototype(__atomic_load_n(&Pfn->PteAddress, __ATOMIC_RELAXED));
}

static VOID MiCountEntry(const MMVAD *Vad, ULONG_PTR Vpn, MMPTE Pte, MI_VIEW_COPIES *Copies)
{
    ULONG Protection;

    if (MiIsPrivateCopy(Pte))
    {
        Copies->Made++;
        return;
    }
    Protection = Pte.Long == 0 ? MiViewProtection(Vad, Vpn) : MiProtectionFromPte(Pte);
    Copies->Possible += MiIsCopyOnWrite(Protection);
}

MI_VIEW_COPIES MiCountViewCopies(PMI_ADDRESS_SPACE Space, const MMVAD *Vad, ULONG_PTR StartVpn,
                                 ULONG_PTR EndVpn)
{
    MI_VIEW_COPIES Copies = { 0, 0 };
    MI_RANGE Range;
    MI_CHUNK Chunk;

    MiBeginRange(&Range, Space, StartVpn, EndVpn);
    while ((Chunk = MiNextChunk(&Range)) != MiChunkEnd)
    {
        KiRequire(Chunk != MiChunkAbsent);
        if (Chunk == MiChunkLarge)
        {
            continue; /* never copied */
        }
        for (ULONG_PTR Vpn = Range.Vpn; Vpn < Range.NextVpn;)
        {
            BOOLEAN Committed;
            ULONG Protection;
            ULONG_PTR Count = 1;

            if (Chunk == MiChunkTable)
            {
                MiCountEntry(Vad, Vpn, MiReadPte(&Range.PointerPte[Vpn - Range.Vpn]), &Copies);
            }
            else
            {
                Count = MiMeasureZeroEntries(Vad, Vpn, Range.NextVpn - 1, &Committed, &Protection);
                Copies.Possible += MiIsCopyOnWrite(Protection) ? Count : 0;
            }
            Vpn += Count;
        }
    }
    return Copies;
}

/* ---- Commitment -------------------------------------------------------------------------------------------- */

/* The view that contains the range, with a reference that keeps its section. Its protection may be Protection. */
static NTSTATUS MiReferenceView(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn,
                                ULONG Protection, PCONTROL_AREA *ControlArea, PULONG64 Page)
{
    MI_SPACE_SLOT *Slot = MiLockSpaceShared(Space);
    PMMVAD Vad;
    NTSTATUS Status = MiLocateRange(Space, StartVpn, EndVpn, &Vad);

    *ControlArea = NULL;
    if (NT_SUCCESS(Status) && Vad->ControlArea != NULL)
    {
        if (Vad->ControlArea->Backing != MiBackingPagingFile)
        {
            Status = STATUS_ALREADY_COMMITTED;
        }
        else if (!MiFitViewProtection(Vad, &Protection))
        {
            Status = STATUS_SECTION_PROTECTION;
        }
        else
        {
            *ControlArea = Vad->ControlArea;
            *Page = Vad->FirstPage + (StartVpn - Vad->StartingVpn);
            MiReferenceControlArea(*ControlArea, MiViewReference, FALSE, FALSE);
        }
    }
    MiUnlockSpaceShared(Space, Slot);
    return Status;
}

NTSTATUS MiCommitView(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn, ULONG Protection,
                      PBOOLEAN IsView)
{
    PCONTROL_AREA ControlArea;
    ULONG64 Page;
    NTSTATUS Status = MiReferenceView(Space, StartVpn, EndVpn, Protection, &ControlArea, &Page);

    *IsView = !NT_SUCCESS(Status) || ControlArea != NULL;
    if (ControlArea == NULL)
    {
        return Status;
    }
    Status = MiCommitSegmentPages(ControlArea->Segment, Page, EndVpn - StartVpn + 1);
    MiDereferenceControlArea(ControlArea, MiViewReference, FALSE, FALSE);
    if (NT_SUCCESS(Status))
    {
        ULONG_PTR Base = MiVaOf(StartVpn);
        SIZE_T Size = MiVaOf(EndVpn - StartVpn + 1);
        ULONG Old;

        Status = MiProtectVirtualMemory(Space, &Base, &Size, MiWin32Protection(Protection), &Old);
    }
    return Status;
}
