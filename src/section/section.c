/* SPDX-License-Identifier: MIT */
/*
 * Section objects: what may be asked for, sections of the paging file, and addresses of based sections. What a section costs does not
 * depend on its size: commitment is a number, prototype PTEs come with the first fault.
 */
#include "section/section.h"
#include "io/io.h"

#define MI_LARGEST (1ull << 51) /* bytes: what the tree of chunks spans */
/* vpn: an eighth below the end of user addresses, where nothing else grows to; a multiple of 64 KiB. */
#define MI_BASED_HIGHEST                                                                                     \
    (((PORT_USER_HIGHEST - (PORT_USER_HIGHEST - PORT_USER_LOWEST) / 8) >> PAGE_SHIFT) & ~15ull)

#define MI_SECTION_ATTRIBUTES                                                                                \
    (SEC_BASED | SEC_NO_CHANGE | SEC_IMAGE | SEC_RESERVE | SEC_COMMIT | SEC_NOCACHE | SEC_WRITECOMBINE |     \
     SEC_LARGE_PAGES)

/* ---- What may be asked for ---------------------------------------------------------------------------------- */

static BOOLEAN MiAreAttributesLegal(ULONG Attributes, BOOLEAN File)
{
    ULONG Kind = Attributes & (SEC_IMAGE | SEC_RESERVE | SEC_COMMIT);

    if ((Attributes & ~(ULONG)MI_SECTION_ATTRIBUTES) != 0 || Kind == 0 || (Kind & (Kind - 1)) != 0)
    {
        return FALSE;
    }
    if (Kind == SEC_IMAGE)
    {
        /* SEC_IMAGE | SEC_NOCACHE is SEC_IMAGE_NO_EXECUTE. */
        return (Attributes & ~(ULONG)(SEC_IMAGE_NO_EXECUTE | SEC_BASED | SEC_NO_CHANGE)) == 0;
    }
    if ((Attributes & SEC_LARGE_PAGES) != 0 &&
        (Kind != SEC_COMMIT || File || (Attributes & (SEC_NOCACHE | SEC_WRITECOMBINE)) != 0))
    {
        return FALSE;
    }
    return (Attributes & (SEC_NOCACHE | SEC_WRITECOMBINE)) != (SEC_NOCACHE | SEC_WRITECOMBINE);
}

/* The protections that a section may have: one access right, no modifier. */
static ULONG MiSectionProtection(ULONG Protect)
{
    ULONG Protection = MiMakeProtectionMask(Protect);

    if (Protection == MM_INVALID_PROTECTION || MiIsNoAccess(Protection) ||
        (Protection & ~MM_PROTECTION_ACCESS_MASK) != 0)
    {
        return MM_INVALID_PROTECTION;
    }
    return Protection;
}

static NTSTATUS MiCheckSectionRequest(const MI_SECTION_REQUEST *Request, PULONG Protection)
{
    BOOLEAN File = Request->FileObject != NULL;

    if (!MiAreAttributesLegal(Request->Attributes, File))
    {
        return STATUS_INVALID_PARAMETER_6;
    }
    *Protection = MiSectionProtection(Request->Protect);
    /* Documented: SEC_IMAGE_NO_EXECUTE must be combined with PAGE_READONLY. */
    if (*Protection == MM_INVALID_PROTECTION ||
        ((Request->Attributes & SEC_IMAGE_NO_EXECUTE) == SEC_IMAGE_NO_EXECUTE && *Protection != MM_READONLY))
    {
        return STATUS_INVALID_PAGE_PROTECTION;
    }
    if (!File && (Request->Attributes & SEC_IMAGE) != 0)
    {
        return STATUS_INVALID_FILE_FOR_SECTION;
    }
    if (!File && Request->Size == 0)
    {
        return STATUS_INVALID_PARAMETER_4;
    }
    if (Request->Size > MI_LARGEST)
    {
        return STATUS_SECTION_TOO_BIG;
    }
    if ((Request->Attributes & SEC_LARGE_PAGES) != 0 && (Request->Size & (MI_LEVEL_BYTES(1) - 1)) != 0)
    {
        return STATUS_INVALID_PARAMETER_4;
    }
    return STATUS_SUCCESS;
}

/* ---- Sections of the paging file ------------------------------------------------------------------------------ */

NTSTATUS MiCreatePagingFileMap(ULONG64 Size, ULONG Protection, ULONG Attributes, PCONTROL_AREA *ControlArea)
{
    SIZE_T Pages = (SIZE_T)BYTES_TO_PAGES(Size);
    SIZE_T Charge = (Attributes & SEC_COMMIT) != 0 ? Pages : 0;
    PCONTROL_AREA New;

    if (!MiChargeCommitment(Charge, 0))
    {
        return STATUS_COMMITMENT_LIMIT;
    }
    New = MiAllocateControlArea(MiBackingPagingFile, Size, NULL);
    if (New == NULL)
    {
        MiReturnCommitment(Charge);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    New->u.Commit = (Attributes & SEC_COMMIT) != 0;
    New->u.Reserve = (Attributes & SEC_RESERVE) != 0;
    New->Segment->NumberOfCommittedPages = Charge;
    New->Segment->SegmentProtection = Protection & MM_PROTECTION_ACCESS_MASK;
    New->Segment->Reserve = New->u.Reserve;
    if (!New->u.Reserve)
    {
        NTSTATUS Status = MiPromiseChunks(New->Segment);

        if (NT_SUCCESS(Status) && (Attributes & SEC_LARGE_PAGES) != 0)
        {
            Status = MiState.Section->FillLargePages(New->Segment);
        }
        if (!NT_SUCCESS(Status))
        {
            MiDereferenceControlArea(New, MiSectionReference, FALSE, FALSE);
            return Status;
        }
    }
    *ControlArea = New;
    return STATUS_SUCCESS;
}

static NTSTATUS MiCreateMap(const MI_SECTION_REQUEST *Request, ULONG Protection, PULONG64 Size,
                            PCONTROL_AREA *ControlArea)
{
    if (Request->FileObject == NULL)
    {
        return MiCreatePagingFileMap(*Size, Protection, Request->Attributes, ControlArea);
    }
    if ((Request->Attributes & SEC_IMAGE) != 0)
    {
        return MiCreateImageMap(Request->FileObject, Size, Protection, Request->Attributes, ControlArea);
    }
    return MiCreateDataFileMap(Request->FileObject, Size, Protection, Request->Attributes, ControlArea);
}

/* ---- Based sections ------------------------------------------------------------------------------------------- */

/* The highest address below *EndVpn where the section fits and the surroundings leave room; *EndVpn moves below an obstacle. */
static BOOLEAN MiMissOccupied(ULONG_PTR Pages, ULONG_PTR *EndVpn)
{
    MI_SPACE_STATE *Space = MiState.Space;

    for (ULONG Index = Space->OccupiedCount; Index-- > 0;)
    {
        ULONG_PTR First = (ULONG_PTR)Space->Occupied[Index].Start >> PAGE_SHIFT;
        ULONG_PTR Last = (ULONG_PTR)Space->Occupied[Index].End >> PAGE_SHIFT;

        if (*EndVpn >= First && *EndVpn + 1 - Pages <= Last)
        {
            *EndVpn = (First & ~(ULONG_PTR)15) - 1;
            return FALSE;
        }
    }
    return TRUE;
}

/* Addresses that no other based section has, from the top downwards. BasedLock held. */
static BOOLEAN MiPlaceBasedSection(PSECTION Section, ULONG_PTR Pages)
{
    PLIST_ENTRY Head = &MiState.Section->BasedSections;
    PLIST_ENTRY Above = Head;
    ULONG_PTR EndVpn = MI_BASED_HIGHEST - 1;

    Pages = (Pages + 15) & ~(ULONG_PTR)15;
    for (;;)
    {
        PSECTION Below = Above->Blink == Head ? NULL : CONTAINING_RECORD(Above->Blink, SECTION, BasedLinks);

        if (Pages > EndVpn || EndVpn - Pages < (PORT_USER_LOWEST >> PAGE_SHIFT) + 16)
        {
            return FALSE;
        }
        if (Below != NULL && EndVpn + 1 - Pages <= Below->BasedEndVpn)
        {
            EndVpn = Below->BasedVpn - 1;
            Above = &Below->BasedLinks;
        }
        else if (MiMissOccupied(Pages, &EndVpn))
        {
            Section->BasedVpn = EndVpn + 1 - Pages;
            Section->BasedEndVpn = EndVpn;
            InsertTailList(Above, &Section->BasedLinks); /* before Above */
            return TRUE;
        }
    }
}

/* ---- Objects -------------------------------------------------------------------------------------------------- */

static BOOLEAN MiIsWritableToOthers(ULONG Protection)
{
    return MiIsWritable(Protection) && !MiIsCopyOnWrite(Protection);
}

VOID MiDeleteSection(PVOID Object)
{
    PSECTION Section = Object;

    if (Section->BasedVpn != 0)
    {
        KiAcquirePushLockExclusive(&MiState.Section->BasedLock);
        RemoveEntryList(&Section->BasedLinks);
        KiReleasePushLockExclusive(&MiState.Section->BasedLock);
    }
    if (Section->ControlArea != NULL)
    {
        MiDereferenceControlArea(Section->ControlArea, MiSectionReference, Section->UserReference,
                                 Section->UserWritable);
    }
}

/* The new control area's first reference becomes the section's: user mode's, if it is. */
static VOID MiAttachControlArea(PSECTION Section, PCONTROL_AREA ControlArea,
                                const MI_SECTION_REQUEST *Request, ULONG Protection)
{
    Section->UserReference = Request->Mode == UserMode;
    Section->UserWritable = Section->UserReference && MiIsWritableToOthers(Protection);
    if (Section->UserReference)
    {
        MiReferenceControlArea(ControlArea, MiSectionReference, TRUE, Section->UserWritable);
        MiDereferenceControlArea(ControlArea, MiSectionReference, FALSE, FALSE);
    }
    Section->ControlArea = ControlArea;
}

NTSTATUS MiCreateSection(const MI_SECTION_REQUEST *Request, PSECTION *SectionOut)
{
    PCONTROL_AREA ControlArea;
    ULONG64 Size = Request->Size;
    ULONG Protection;
    PSECTION Section;
    PVOID Object;
    NTSTATUS Status = MiCheckSectionRequest(Request, &Protection);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = ObCreateObjectBody(&MiState.Section->SectionType, sizeof(*Section), &Object);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Section = Object;
    Status = MiCreateMap(Request, Protection, &Size, &ControlArea);
    if (NT_SUCCESS(Status))
    {
        Section->SizeOfSection = Size;
        Section->AllocationAttributes =
            Request->Attributes | (Request->FileObject != NULL ? (ULONG)SEC_FILE : 0);
        Section->InitialPageProtection = Request->Protect;
        MiAttachControlArea(Section, ControlArea, Request, Protection);
        if ((Request->Attributes & SEC_BASED) != 0)
        {
            KiAcquirePushLockExclusive(&MiState.Section->BasedLock);
            Status = MiPlaceBasedSection(Section, BYTES_TO_PAGES(Size)) ? STATUS_SUCCESS : STATUS_NO_MEMORY;
            KiReleasePushLockExclusive(&MiState.Section->BasedLock);
        }
    }
    if (!NT_SUCCESS(Status))
    {
        ObDereferenceObjectBody(Section);
        return Status;
    }
    *SectionOut = Section;
    return STATUS_SUCCESS;
}

/* ---- Extension -------------------------------------------------------------------------------------------------- */

NTSTATUS MiExtendSection(PSECTION Section, PULONG64 NewSize)
{
    PCONTROL_AREA ControlArea = Section->ControlArea;
    PSEGMENT Segment = ControlArea->Segment;
    NTSTATUS Status = STATUS_SUCCESS;

    /* Documented: only sections of data files that are mapped by their cached file can grow. */
    if (ControlArea->Backing != MiBackingDataFile)
    {
        return STATUS_SECTION_NOT_EXTENDED;
    }
    if (*NewSize > MI_LARGEST)
    {
        return STATUS_SECTION_TOO_BIG;
    }
    IoLockSizeExclusive(IoFileOf(ControlArea->FilePointer));
    KiAcquirePushLockExclusive(&Segment->Lock);
    KiNoteLockAcquired(Segment, KiLockSegment, FALSE);
    if (*NewSize > Section->SizeOfSection)
    {
        if (*NewSize > Segment->SizeOfSegment)
        {
            Status = MiIsWritableToOthers(MiMakeProtectionMask(Section->InitialPageProtection))
                         ? MiExtendDataFileMap(ControlArea, *NewSize)
                         : STATUS_SECTION_NOT_EXTENDED;
        }
        if (NT_SUCCESS(Status))
        {
            __atomic_store_n(&Section->SizeOfSection, *NewSize, __ATOMIC_RELEASE);
        }
    }
    *NewSize = NT_SUCCESS(Status) ? Section->SizeOfSection : *NewSize;
    KiNoteLockReleased(Segment);
    KiReleasePushLockExclusive(&Segment->Lock);
    IoUnlockSizeExclusive(IoFileOf(ControlArea->FilePointer));
    return Status;
}
