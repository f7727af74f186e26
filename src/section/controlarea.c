/* SPDX-License-Identifier: MIT */
/*
 * Control areas: references, and the end. What the last reference leaves behind depends on where the pages come from: those of the
 * paging file are worth nothing without a section; those of a file are kept as long as they are in memory, because
 * the file may be mapped again. BeingDeleted is ownership: who sets it, with no reference left, has the control area alone, and
 * everybody who comes by the file waits.
 */
#include "section/section.h"

static const LONGLONG MiSettlePatience = -100000; /* 10 ms: then look again, whatever was signaled */

static PCONTROL_AREA MiNewControlArea(MI_BACKING_KIND Backing, ULONG64 Size, PVOID volatile *Anchor)
{
    PCONTROL_AREA ControlArea = MiAllocatePool(sizeof(*ControlArea), MI_TAG_CONTROL_AREA);
    ULONG64 Pages = (Size >> PAGE_SHIFT) + ((Size & (PAGE_SIZE - 1)) != 0);

    if (ControlArea == NULL)
    {
        return NULL;
    }
    ControlArea->Segment = &ControlArea->Embedded;
    ControlArea->Segment->ControlArea = ControlArea;
    ControlArea->Segment->TotalNumberOfPtes = Pages;
    ControlArea->Segment->SizeOfSegment = Size;
    ControlArea->Segment->SegmentProtection = MM_READWRITE;
    ControlArea->Subsection = &ControlArea->FirstSubsection;
    ControlArea->FirstSubsection.ControlArea = ControlArea;
    ControlArea->FirstSubsection.PtesInSubsection = Pages;
    ControlArea->FirstSubsection.FileBytes = Size;
    ControlArea->NumberOfSectionReferences = 1;
    ControlArea->Backing = Backing;
    ControlArea->Anchor = Anchor;
    ControlArea->u.BeingCreated = Anchor != NULL;
    ControlArea->u.File = Backing == MiBackingDataFile || Backing == MiBackingImage;
    ControlArea->u.Image = Backing == MiBackingImage;
    ControlArea->u.PhysicalMemory = Backing == MiBackingPhysical;
    return ControlArea;
}

PCONTROL_AREA MiAllocateControlArea(MI_BACKING_KIND Backing, ULONG64 Size, PVOID volatile *Anchor)
{
    MI_SECTION_STATE *State = MiState.Section;
    PCONTROL_AREA ControlArea = MiNewControlArea(Backing, Size, Anchor);
    KIRQL OldIrql;

    if (ControlArea == NULL)
    {
        return NULL;
    }
    OldIrql = KiAcquireSpinLock(&State->Lock);
    InsertTailList(&State->ControlAreas, &ControlArea->Links);
    __atomic_fetch_add(&State->NumberOfControlAreas, 1, __ATOMIC_RELAXED);
    KiReleaseSpinLock(&State->Lock, OldIrql);
    return ControlArea;
}

/* ---- Waiting for those that are being created or deleted ------------------------------------------------------- */

static VOID MiSignalSettled(void)
{
    KeSetEvent(&MiState.Section->Settled, 0, FALSE);
}

/* Lock held on entry, not on exit. */
static VOID MiWaitForSettled(KIRQL OldIrql)
{
    MI_SECTION_STATE *State = MiState.Section;
    LARGE_INTEGER Timeout = { .QuadPart = MiSettlePatience };

    KeClearEvent(&State->Settled);
    KiReleaseSpinLock(&State->Lock, OldIrql);
    KeWaitForSingleObject(&State->Settled, Executive, KernelMode, FALSE, &Timeout);
}

/* Lock held. */
static VOID MiLeaveUnusedList(PCONTROL_AREA ControlArea)
{
    if (ControlArea->u.OnUnusedList)
    {
        RemoveEntryList(&ControlArea->UnusedLinks);
        ControlArea->u.OnUnusedList = 0;
        __atomic_fetch_sub(&MiState.Section->UnusedSegmentCount, 1, __ATOMIC_RELAXED);
    }
}

static BOOLEAN MiIsUnsettled(const CONTROL_AREA *ControlArea)
{
    return ControlArea->u.BeingCreated || ControlArea->u.BeingDeleted;
}

PCONTROL_AREA MiReferenceAnchoredControlArea(PVOID volatile *Anchor)
{
    MI_SECTION_STATE *State = MiState.Section;

    for (;;)
    {
        KIRQL OldIrql = KiAcquireSpinLock(&State->Lock);
        PCONTROL_AREA ControlArea = *Anchor;

        if (ControlArea == NULL || !MiIsUnsettled(ControlArea))
        {
            if (ControlArea != NULL)
            {
                MiLeaveUnusedList(ControlArea);
                ControlArea->NumberOfSectionReferences++;
            }
            KiReleaseSpinLock(&State->Lock, OldIrql);
            return ControlArea;
        }
        MiWaitForSettled(OldIrql);
    }
}

BOOLEAN MiAnchorControlArea(PCONTROL_AREA ControlArea)
{
    MI_SECTION_STATE *State = MiState.Section;
    KIRQL OldIrql = KiAcquireSpinLock(&State->Lock);
    BOOLEAN First = *ControlArea->Anchor == NULL;

    if (First)
    {
        *ControlArea->Anchor = ControlArea;
    }
    KiReleaseSpinLock(&State->Lock, OldIrql);
    return First;
}

VOID MiEndCreation(PCONTROL_AREA ControlArea)
{
    MI_SECTION_STATE *State = MiState.Section;
    KIRQL OldIrql = KiAcquireSpinLock(&State->Lock);

    ControlArea->u.BeingCreated = 0;
    KiReleaseSpinLock(&State->Lock, OldIrql);
    MiSignalSettled();
}

ULONG64 MiCountMappedViews(PCONTROL_AREA ControlArea)
{
    MI_SECTION_STATE *State = MiState.Section;
    KIRQL OldIrql = KiAcquireSpinLock(&State->Lock);
    ULONG64 Views = ControlArea->NumberOfMappedViews;

    KiReleaseSpinLock(&State->Lock, OldIrql);
    return Views;
}

/* ---- The end ---------------------------------------------------------------------------------------------------- */

/* BeingDeleted: the control area is ours alone. The file goes last: the anchor is part of it. */
static VOID MiDeleteControlArea(PCONTROL_AREA ControlArea)
{
    MI_SECTION_STATE *State = MiState.Section;
    PSEGMENT Segment = ControlArea->Segment;
    KIRQL OldIrql;

    if (State->CleanPages != NULL)
    {
        (VOID) State->CleanPages(ControlArea, TRUE); /* what cannot be written now is lost */
    }
    if (Segment->Root != 0)
    {
        State->DeletePages(Segment);
        MiFreeChunks(Segment);
    }
    KiRequire(Segment->PrototypePages == 0);
    MiReturnCommitment(Segment->NumberOfCommittedPages + Segment->ChunksPromised);
    OldIrql = KiAcquireSpinLock(&State->Lock);
    if (ControlArea->Anchor != NULL && *ControlArea->Anchor == ControlArea)
    {
        *ControlArea->Anchor = NULL;
    }
    RemoveEntryList(&ControlArea->Links);
    __atomic_fetch_sub(&State->NumberOfControlAreas, 1, __ATOMIC_RELAXED);
    KiReleaseSpinLock(&State->Lock, OldIrql);
    MiSignalSettled();
    if (State->ReleaseBacking != NULL)
    {
        State->ReleaseBacking(ControlArea);
    }
    if (ControlArea->FollowingSubsections != NULL)
    {
        MiFreePool(ControlArea->FollowingSubsections, MI_TAG_SUBSECTION);
    }
    MiFreePool(ControlArea, MI_TAG_CONTROL_AREA);
}

/* Nobody refers to it and we have it alone (BeingDeleted): it stays if its file may want its pages again. TRUE: gone. */
static BOOLEAN MiRetireControlArea(PCONTROL_AREA ControlArea, BOOLEAN Keep)
{
    MI_SECTION_STATE *State = MiState.Section;
    KIRQL OldIrql;

    if (!Keep || MiCountSegmentPages(ControlArea->Segment) == 0)
    {
        MiDeleteControlArea(ControlArea);
        return TRUE;
    }
    if (State->CleanPages != NULL)
    {
        (VOID) State->CleanPages(ControlArea,
                                 FALSE); /* the last close; what fails now is tried again by the writer */
    }
    OldIrql = KiAcquireSpinLock(&State->Lock);
    ControlArea->u.BeingDeleted = 0;
    ControlArea->u.OnUnusedList = 1;
    InsertTailList(&State->UnusedSegmentList, &ControlArea->UnusedLinks);
    __atomic_fetch_add(&State->UnusedSegmentCount, 1, __ATOMIC_RELAXED);
    KiReleaseSpinLock(&State->Lock, OldIrql);
    MiSignalSettled();
    return FALSE;
}

/* Lock held. */
static VOID MiCountReference(PCONTROL_AREA ControlArea, MI_CONTROL_AREA_REFERENCE Kind, BOOLEAN User,
                             BOOLEAN Writable, ULONG64 Delta)
{
    if (Kind == MiSectionReference)
    {
        ControlArea->NumberOfSectionReferences += Delta;
    }
    else
    {
        ControlArea->NumberOfMappedViews += Delta;
        ControlArea->NumberOfSystemCacheViews += Kind == MiCacheViewReference ? Delta : 0;
    }
    ControlArea->NumberOfUserReferences += User ? Delta : 0;
    ControlArea->WritableUserReferences += User && Writable ? Delta : 0;
}

VOID MiReferenceControlArea(PCONTROL_AREA ControlArea, MI_CONTROL_AREA_REFERENCE Kind, BOOLEAN User,
                            BOOLEAN Writable)
{
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Section->Lock);

    KiRequire(ControlArea->NumberOfSectionReferences + ControlArea->NumberOfMappedViews != 0);
    MiCountReference(ControlArea, Kind, User, Writable, 1);
    KiReleaseSpinLock(&MiState.Section->Lock, OldIrql);
}

VOID MiDereferenceControlArea(PCONTROL_AREA ControlArea, MI_CONTROL_AREA_REFERENCE Kind, BOOLEAN User,
                              BOOLEAN Writable)
{
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Section->Lock);
    BOOLEAN Last;
    BOOLEAN Keep;

    KiRequire((Kind == MiSectionReference ? ControlArea->NumberOfSectionReferences
                                          : ControlArea->NumberOfMappedViews) != 0);
    MiCountReference(ControlArea, Kind, User, Writable, ~0ull);
    Last = ControlArea->NumberOfSectionReferences + ControlArea->NumberOfMappedViews == 0;
    Keep = ControlArea->Anchor != NULL && !ControlArea->u.BeingCreated && *ControlArea->Anchor == ControlArea;
    if (Last)
    {
        ControlArea->u.BeingDeleted = 1;
    }
    KiReleaseSpinLock(&MiState.Section->Lock, OldIrql);
    if (Last)
    {
        MiRetireControlArea(ControlArea, Keep);
    }
}

BOOLEAN MiDeleteAnchoredControlArea(PVOID volatile *Anchor)
{
    MI_SECTION_STATE *State = MiState.Section;

    for (;;)
    {
        KIRQL OldIrql = KiAcquireSpinLock(&State->Lock);
        PCONTROL_AREA ControlArea = *Anchor;

        if (ControlArea != NULL && MiIsUnsettled(ControlArea))
        {
            MiWaitForSettled(OldIrql);
            continue;
        }
        if (ControlArea == NULL ||
            ControlArea->NumberOfSectionReferences + ControlArea->NumberOfMappedViews != 0)
        {
            KiReleaseSpinLock(&State->Lock, OldIrql);
            return ControlArea == NULL;
        }
        MiLeaveUnusedList(ControlArea);
        ControlArea->u.BeingDeleted = 1;
        KiReleaseSpinLock(&State->Lock, OldIrql);
        MiDeleteControlArea(ControlArea);
        return TRUE;
    }
}

ULONG64 MiTrimUnusedSegments(ULONG64 Force)
{
    MI_SECTION_STATE *State = MiState.Section;
    ULONG64 Turns = __atomic_load_n(&State->UnusedSegmentCount, __ATOMIC_RELAXED);
    ULONG64 Deleted = 0;

    for (; Turns != 0; Turns--)
    {
        KIRQL OldIrql = KiAcquireSpinLock(&State->Lock);
        PCONTROL_AREA ControlArea;

        if (IsListEmpty(&State->UnusedSegmentList))
        {
            KiReleaseSpinLock(&State->Lock, OldIrql);
            break;
        }
        ControlArea = CONTAINING_RECORD(State->UnusedSegmentList.Flink, CONTROL_AREA, UnusedLinks);
        MiLeaveUnusedList(ControlArea);
        ControlArea->u.BeingDeleted = 1;
        KiReleaseSpinLock(&State->Lock, OldIrql);
        /* Memory that is wanted is no reason to lose what its file does not take at the moment; the end of the machine is. */
        Deleted += MiRetireControlArea(ControlArea, Force == 0 || (Force != MI_TRIM_ALL_SEGMENTS &&
                                                                   State->CleanPages != NULL &&
                                                                   !State->CleanPages(ControlArea, FALSE)));
        Force -= Force != 0 && Force != MI_TRIM_ALL_SEGMENTS;
    }
    return Deleted;
}

PCONTROL_AREA MiNextControlArea(void)
{
    MI_SECTION_STATE *State = MiState.Section;
    KIRQL OldIrql = KiAcquireSpinLock(&State->Lock);
    PCONTROL_AREA ControlArea = NULL;

    if (!IsListEmpty(&State->ControlAreas))
    {
        PLIST_ENTRY Entry = RemoveHeadList(&State->ControlAreas);

        InsertTailList(&State->ControlAreas, Entry);
        ControlArea = CONTAINING_RECORD(Entry, CONTROL_AREA, Links);
        if (MiIsUnsettled(ControlArea))
        {
            ControlArea = NULL;
        }
        else
        {
            MiLeaveUnusedList(ControlArea);
            ControlArea->NumberOfSectionReferences++;
        }
    }
    KiReleaseSpinLock(&State->Lock, OldIrql);
    return ControlArea;
}

PSUBSECTION MiLocateSubsection(PCONTROL_AREA ControlArea, ULONG64 Page)
{
    PSUBSECTION Found = &ControlArea->FirstSubsection;
    ULONG Low = 0;
    ULONG High = ControlArea->FollowingCount;

    while (Low < High) /* the last one that begins at the page or before it */
    {
        ULONG Middle = (Low + High) / 2;
        PSUBSECTION Subsection = &ControlArea->FollowingSubsections[Middle];

        if (Page < Subsection->StartingPage)
        {
            High = Middle;
        }
        else
        {
            Found = Subsection;
            Low = Middle + 1;
        }
    }
    return Page - Found->StartingPage < Found->PtesInSubsection ? Found : NULL;
}

ULONG MiImageViewProtection(const MMVAD *Vad, ULONG_PTR Vpn)
{
    PSUBSECTION Subsection = MiLocateSubsection(Vad->ControlArea, Vad->FirstPage + (Vpn - Vad->StartingVpn));

    ULONG Protection = Subsection != NULL ? Subsection->Protection : MM_NOACCESS;

    if ((Vad->u.Protection & MM_EXECUTE) == 0 && (Protection & MM_EXECUTE) != 0)
    {
        /* SEC_IMAGE_NO_EXECUTE */
        Protection = Protection == MM_EXECUTE ? MM_READONLY : Protection & ~(ULONG)MM_EXECUTE;
    }
    return Protection;
}

/* ---- Birth, death, checks ---------------------------------------------------------------------------------------- */

NTSTATUS MiInitializeSection(void)
{
    MI_SECTION_STATE *State = PortAllocateBootMemory(sizeof(*State));

    if (State == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    InitializeListHead(&State->ControlAreas);
    InitializeListHead(&State->UnusedSegmentList);
    InitializeListHead(&State->BasedSections);
    KeInitializeEvent(&State->Settled, NotificationEvent, FALSE);
    State->SectionType =
        (OB_TYPE){ .Name = "Section", .AllAccess = SECTION_ALL_ACCESS, .Delete = MiDeleteSection };
    MiState.Section = State;
    return STATUS_SUCCESS;
}

VOID MiShutdownSection(void)
{
    MI_SECTION_STATE *State = MiState.Section;

    if (State == NULL)
    {
        return;
    }
    if (State->NumberOfControlAreas != 0)
    {
        PCONTROL_AREA ControlArea = CONTAINING_RECORD(State->ControlAreas.Flink, CONTROL_AREA, Links);

        KiBugCheckMessage(MEMORY_MANAGEMENT, 0x401, (ULONG_PTR)ControlArea, State->NumberOfControlAreas,
                          ControlArea->NumberOfMappedViews,
                          "%llu control areas are left, the first with %llu sections and %llu views",
                          State->NumberOfControlAreas, ControlArea->NumberOfSectionReferences,
                          ControlArea->NumberOfMappedViews);
    }
    PortFreeBootMemory(State, sizeof(*State));
    MiState.Section = NULL;
}

/* A chunk's frame counts what is behind its entries. */
static BOOLEAN MiCheckChunk(PMI_PROTOTYPE_CHUNK Chunk, PVOID Context)
{
    MMPTE Pte = MiReadPte(&Chunk->Pte);
    PMMPTE First;
    PMMPFN Pfn;
    ULONG Share = 1;

    *(PULONG64)Context += Pte.Long != 0;
    if (!Pte.Hard.Valid)
    {
        return TRUE;
    }
    Pfn = MiPfn(Pte.Hard.PageFrameNumber);
    First = PortDirectMap(Pte.Hard.PageFrameNumber);
    for (ULONG Index = 0; Index < MI_CHUNK_PAGES; Index++)
    {
        MMPTE Prototype = MiReadPte(&First[Index]);
        PMMPFN Page;

        if (!Prototype.Hard.Valid && !MiIsTransition(Prototype))
        {
            continue;
        }
        Share++;
        Page = MiPfn(Prototype.Hard.PageFrameNumber);
        if (Page->e1.Modified && Page->OriginalPte.Soft.Prototype &&
            __atomic_load_n(&Chunk->Modified, __ATOMIC_RELAXED) == 0)
        {
            KiBugCheckMessage(MEMORY_MANAGEMENT, 0x405, (ULONG_PTR)&First[Index], Prototype.Long,
                              (ULONG_PTR)Chunk,
                              "a page of a file is modified, but its chunk says that none is");
        }
        if (Page->PteAddress != &First[Index] || !Page->e1.PrototypePte ||
            (Prototype.Hard.Valid != 0) != (Page->e1.PageLocation == ActiveAndValid))
        {
            KiBugCheckMessage(MEMORY_MANAGEMENT, 0x402, (ULONG_PTR)&First[Index], Prototype.Long,
                              Page->e1.PageLocation, "prototype PTE %llx of page %llx and its frame disagree",
                              Prototype.Long, Chunk->FirstPage + Index);
        }
    }
    if (Share != Pfn->u1.ShareCount || !Pfn->e1.PageTable || Pfn->PteAddress != &Chunk->Pte)
    {
        KiBugCheckMessage(MEMORY_MANAGEMENT, 0x404, (ULONG_PTR)Chunk, Pfn->u1.ShareCount, Share,
                          "chunk %llx: share count %u should be %u", Chunk->FirstPage, Pfn->u1.ShareCount,
                          Share);
    }
    return TRUE;
}

VOID MiCheckSections(ULONG Level)
{
    MI_SECTION_STATE *State = MiState.Section;
    ULONG64 Count = 0;
    ULONG64 Unused = 0;

    for (PLIST_ENTRY Entry = State->ControlAreas.Flink; Entry != &State->ControlAreas; Entry = Entry->Flink)
    {
        PCONTROL_AREA ControlArea = CONTAINING_RECORD(Entry, CONTROL_AREA, Links);
        ULONG64 Chunks = 0;

        Count++;
        Unused += ControlArea->u.OnUnusedList;
        KiRequire(ControlArea->u.OnUnusedList ==
                  (ControlArea->NumberOfSectionReferences + ControlArea->NumberOfMappedViews == 0));
        KiRequire(ControlArea->Anchor == NULL || *ControlArea->Anchor == ControlArea);
        if (Level >= 3)
        {
            MiForEachChunk(ControlArea->Segment, MiCheckChunk, &Chunks);
            KiRequire(Chunks == ControlArea->Segment->PrototypePages);
        }
    }
    KiRequire(Count == State->NumberOfControlAreas && Unused == State->UnusedSegmentCount);
}
