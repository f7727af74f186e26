/* SPDX-License-Identifier: MIT */
/*
 * Drivers' sections as pages of system space. Loading takes every section's whole pages: private pages of a reservation get the
 * contents and are seen at the driver's own addresses (translation/alias.c). From then on they age, go to the paging files and come back like paged
 * pool. What must not is pinned: by the lock bits of its entries, which trimming respects, and by a reference to each frame, so that it does not
 * move either. All sections are pinned while a driver is loaded or unloaded; the rest of the time those with a lock count.
 *
 * Resident-available is charged for all pages at loading, so a lock never fails for want of it.
 */
#include "virtual/driverimage.h"

#include "nt/mm.h"
#include "virtual/pagedpool.h"
#include "virtual/range.h"

#define MI_TAG_DRIVER MI_TAG('M', 'm', 'D', 'i')
#define MI_PINNED     (2ull << MM_PTE_LOCKED_SHIFT)
#define MI_GIGA_PAGES ((ULONG_PTR)1 << (30 - PAGE_SHIFT))

static MI_DRIVER_IMAGES *MiDriverImages(void)
{
    return &MiState.Virtual->Drivers;
}

static VOID MiLockDriverImages(void)
{
    KiAcquirePushLockExclusive(&MiDriverImages()->Lock);
    KiNoteLockAcquired(&MiDriverImages()->Lock, KiLockDriverImages, FALSE);
}

static VOID MiUnlockDriverImages(void)
{
    KiNoteLockReleased(&MiDriverImages()->Lock);
    KiReleasePushLockExclusive(&MiDriverImages()->Lock);
}

/* ---- Pinning: space locked shared ------------------------------------------------------------------------ */

/* FALSE: its entry is not valid. Pin FALSE: it is pinned, and is so no longer. */
static BOOLEAN MiPinPage(PMI_ADDRESS_SPACE Space, ULONG_PTR Vpn, BOOLEAN Pin)
{
    PMMPTE PointerPte;
    PMMPFN Table;
    PMMPFN Pfn;
    BOOLEAN Valid;
    KIRQL OldIrql;

    if (MiWalk(Space->TopLevel, MiVaOf(Vpn), &PointerPte) != 0)
    {
        return FALSE;
    }
    Table = MiPtePage(PointerPte);
    OldIrql = KiRaiseIrqlToDispatch();
    MiLockPageTable(Table);
    Valid = MiReadPte(PointerPte).Hard.Valid;
    if (Valid)
    {
        Pfn = MiPfn(MiReadPte(PointerPte).Hard.PageFrameNumber);
        MiLockPfn(Pfn);
        if (Pin)
        {
            MiSetPteBits(PointerPte, MI_PINNED);
            MiIncrementReferenceCount(Pfn);
        }
        else
        {
            MiClearPteBits(PointerPte, MI_PINNED);
            MiDecrementReferenceCount(Pfn);
        }
        MiUnlockPfn(Pfn);
    }
    MiUnlockPageTable(Table);
    KiLowerIrqlFromDispatch(OldIrql);
    return Valid;
}

static VOID MiUnpinPages(ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    PMI_ADDRESS_SPACE Space = &MiState.Space->System;
    MI_SPACE_SLOT *Slot = MiLockSpaceShared(Space);

    for (ULONG_PTR Vpn = StartVpn; Vpn <= EndVpn; Vpn++)
    {
        BOOLEAN Valid = MiPinPage(Space, Vpn, FALSE);

        KiRequire(Valid);
    }
    MiUnlockSpaceShared(Space, Slot);
}

/* Brings the pages in and pins them, all or none. *IoStatus as for a fault. */
static NTSTATUS MiPinPages(ULONG_PTR StartVpn, ULONG_PTR EndVpn, NTSTATUS *IoStatus)
{
    PMI_ADDRESS_SPACE Space = &MiState.Space->System;
    NTSTATUS Status = STATUS_SUCCESS;
    ULONG_PTR Vpn = StartVpn;

    while (NT_SUCCESS(Status) && Vpn <= EndVpn)
    {
        MI_SPACE_SLOT *Slot = MiLockSpaceShared(Space);

        while (Vpn <= EndVpn && MiPinPage(Space, Vpn, TRUE))
        {
            Vpn++;
        }
        MiUnlockSpaceShared(Space, Slot);
        if (Vpn <= EndVpn)
        {
            Status = MiFaultAddress(Space, MiVaOf(Vpn), MiAccessRead, KernelMode, IoStatus);
        }
    }
    if (!NT_SUCCESS(Status))
    {
        MiUnpinPages(StartVpn, Vpn - 1);
    }
    return Status;
}

/* ---- One section ------------------------------------------------------------------------------------------ */

static SIZE_T MiSectionPages(const MI_DRIVER_SECTION *Section)
{
    return Section->EndVpn + 1 - Section->StartVpn;
}

static ULONG MiSectionProtection(const MI_DRIVER_SECTION *Section)
{
    static const ULONG Protections[2][2] = { { MM_READONLY, MM_READWRITE },
                                             { MM_EXECUTE_READ, MM_EXECUTE_READWRITE } };

    return Protections[(Section->Access & PORT_FAULT_EXECUTE) != 0]
                      [(Section->Access & PORT_FAULT_WRITE) != 0];
}

/* What it takes is given back by MiReturnSection. */
static NTSTATUS MiTakeSection(PMI_DRIVER_SECTION Section)
{
    PMI_ADDRESS_SPACE Space = &MiState.Space->System;
    SIZE_T Pages = MiSectionPages(Section);
    NTSTATUS Status;

    if (Pages == 0)
    {
        return STATUS_SUCCESS;
    }
    Status = MiCommitPages(Space, Section->StartVpn, Section->EndVpn, MM_READWRITE);
    if (NT_SUCCESS(Status))
    {
        Status = MiPinPages(Section->StartVpn, Section->EndVpn, NULL);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Section->LockCount = 1;
    Status = MiBeginAlias(MiVaOf(Section->StartVpn), Pages, ROUND_TO_PAGES(Section->Start), Section->Access,
                          Section->Discardable);
    if (NT_SUCCESS(Status))
    {
        Section->Aliased = TRUE;
        Status = MiCommitPages(Space, Section->StartVpn, Section->EndVpn, MiSectionProtection(Section));
    }
    return Status;
}

/* Pinned, if it has pages; the pages themselves go with the reservation. */
static VOID MiReturnSection(PMI_DRIVER_SECTION Section)
{
    if (Section->Aliased)
    {
        MiEndAlias(MiVaOf(Section->StartVpn));
        Section->Aliased = FALSE;
    }
    if (Section->LockCount != 0)
    {
        MiUnpinPages(Section->StartVpn, Section->EndVpn);
        Section->LockCount = 0;
    }
}

/* ---- The reservation ---------------------------------------------------------------------------------------- */

/*
 * Whole GiBs of system space, in which nobody else has a page: the port sees them at a distance. The first and last page of the driver must have a
 * neighbour inside.
 */
static NTSTATUS MiPlaceImage(PMI_DRIVER_IMAGE Image, PULONG_PTR FirstVpn)
{
    PMI_ADDRESS_SPACE Space = &MiState.Space->System;
    ULONG_PTR First = (MiVpnOf(Image->Base) - 1) & ~(MI_GIGA_PAGES - 1);
    ULONG_PTR Last = (MiVpnOf(Image->Base + Image->Bytes - 1) + 1) | (MI_GIGA_PAGES - 1);
    MI_FIND_RANGE Find = { .Pages = Last + 1 - First,
                           .AlignPages = MI_GIGA_PAGES,
                           .LowestVpn = Space->LowestVpn,
                           .HighestVpn = MiPagedPoolStartVpn() - 1 };
    NTSTATUS Status;

    Image->Vad->StartingVpn = First;
    Image->Vad->EndingVpn = Last;
    Status = MiPlaceVadBy(Space, Image->Vad, MiChooseEmptyRange, &Find);
    *FirstVpn = Image->Vad->StartingVpn - First; /* to be added to page numbers of the driver */
    return Status;
}

/* One attempt. FALSE: the space had to be unlocked, or there is no frame for a page table now. */
static BOOLEAN MiTryRemovePages(PMMVAD Vad, ULONG_PTR StartVpn, ULONG_PTR EndVpn, PSIZE_T Returned)
{
    PMI_ADDRESS_SPACE Space = &MiState.Space->System;
    BOOLEAN Dropped = FALSE;
    NTSTATUS Status;

    MiLockSpaceExclusive(Space);
    Status = MiMakeTablesResident(Space, StartVpn, EndVpn, MI_EXISTING_TABLES, &Dropped);
    if (NT_SUCCESS(Status) && !Dropped)
    {
        *Returned = MiCountCommitted(Space, Vad, StartVpn, EndVpn);
        MiDeletePages(Space, StartVpn, EndVpn);
        Vad->CommitCharge -= *Returned;
    }
    MiUnlockSpaceExclusive(Space);
    return NT_SUCCESS(Status) && !Dropped;
}

static VOID MiRemovePages(PMMVAD Vad, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    SIZE_T Returned = 0;

    while (!MiTryRemovePages(Vad, StartVpn, EndVpn, &Returned))
    {
        MiWaitForAvailablePages();
    }
    MiReturnSpaceCommit(&MiState.Space->System, Returned);
}

static VOID MiRemoveImage(PMI_DRIVER_IMAGE Image)
{
    PMI_ADDRESS_SPACE Space = &MiState.Space->System;

    MiRemovePages(Image->Vad, Image->Vad->StartingVpn, Image->Vad->EndingVpn);
    MiLockSpaceExclusive(Space);
    MiUnlinkVad(Space, Image->Vad);
    MiUnlockSpaceExclusive(Space);
}

/* ---- Loading --------------------------------------------------------------------------------------------------- */

static BOOLEAN MiAreSourcesSound(ULONG_PTR Base, SIZE_T Bytes, const MI_SECTION_SOURCE *Sources, ULONG Count)
{
    if (Count == 0 || Count > MI_MAXIMUM_ALIASES || Bytes == 0 || Base < PAGE_SIZE || Base + Bytes < Base)
    {
        return FALSE;
    }
    for (ULONG Index = 0; Index < Count; Index++)
    {
        if (Sources[Index].Bytes == 0 || Sources[Index].Start < Base || Sources[Index].Bytes > Bytes ||
            Sources[Index].Start - Base > Bytes - Sources[Index].Bytes ||
            (Sources[Index].Access & ~(ULONG)(PORT_FAULT_WRITE | PORT_FAULT_EXECUTE)) != 0)
        {
            return FALSE;
        }
    }
    return TRUE;
}

static PMI_DRIVER_IMAGE MiFindImage(ULONG_PTR Start, ULONG_PTR Last)
{
    PLIST_ENTRY Head = &MiDriverImages()->List;

    for (PLIST_ENTRY Link = Head->Flink; Link != Head; Link = Link->Flink)
    {
        PMI_DRIVER_IMAGE Image = CONTAINING_RECORD(Link, MI_DRIVER_IMAGE, Links);

        if (Start <= Image->Base + Image->Bytes - 1 && Last >= Image->Base)
        {
            return Image;
        }
    }
    return NULL;
}

static SIZE_T MiDescribeSections(PMI_DRIVER_IMAGE Image, const MI_SECTION_SOURCE *Sources, ULONG_PTR Distance)
{
    SIZE_T Pages = 0;

    for (ULONG Index = 0; Index < Image->SectionCount; Index++)
    {
        const MI_SECTION_SOURCE *Source = &Sources[Index];
        PMI_DRIVER_SECTION Section = &Image->Sections[Index];
        ULONG_PTR StartVpn = MiVpnOf(ROUND_TO_PAGES(Source->Start));
        ULONG_PTR NextVpn = MiVpnOf(Source->Start + Source->Bytes);

        Section->Start = Source->Start;
        Section->Bytes = Source->Bytes;
        Section->Access = Source->Access;
        Section->Pageable = Source->Pageable;
        Section->Discardable = Source->Discardable;
        Section->StartVpn = StartVpn + Distance;
        Section->EndVpn = (NextVpn > StartVpn ? NextVpn : StartVpn) + Distance - 1;
        Pages += MiSectionPages(Section);
    }
    return Pages;
}

static SIZE_T MiImagePages(const MI_DRIVER_IMAGE *Image)
{
    SIZE_T Pages = 0;

    for (ULONG Index = 0; Index < Image->SectionCount; Index++)
    {
        Pages += Image->Sections[Index].Discarded ? 0 : MiSectionPages(&Image->Sections[Index]);
    }
    return Pages;
}

/* Loaded at last: what is pageable is left to itself. */
static VOID MiSettleSections(PMI_DRIVER_IMAGE Image)
{
    for (ULONG Index = 0; Index < Image->SectionCount; Index++)
    {
        PMI_DRIVER_SECTION Section = &Image->Sections[Index];

        Section->Nonpaged = !Section->Pageable;
        Section->LockCount = Section->Nonpaged;
        if (Section->Pageable)
        {
            MiUnpinPages(Section->StartVpn, Section->EndVpn);
        }
    }
}

/* Lock held; the VAD is not linked yet. */
static NTSTATUS MiTakeImage(PMI_DRIVER_IMAGE Image, const MI_SECTION_SOURCE *Sources)
{
    ULONG_PTR Distance = 0;
    SIZE_T Pages;
    NTSTATUS Status;

    if (MiFindImage(Image->Base, Image->Base + Image->Bytes - 1) != NULL)
    {
        return STATUS_CONFLICTING_ADDRESSES;
    }
    Status = MiPlaceImage(Image, &Distance);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Pages = MiDescribeSections(Image, Sources, Distance);
    if (!MiChargeResidentAvailable(Pages))
    {
        MiRemoveImage(Image);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    for (ULONG Index = 0; Index < Image->SectionCount && NT_SUCCESS(Status); Index++)
    {
        Status = MiTakeSection(&Image->Sections[Index]);
    }
    if (!NT_SUCCESS(Status))
    {
        for (ULONG Index = 0; Index < Image->SectionCount; Index++)
        {
            MiReturnSection(&Image->Sections[Index]);
        }
        MiRemoveImage(Image);
        MiReturnResidentAvailable(Pages);
        return Status;
    }
    MiSettleSections(Image);
    InsertTailList(&MiDriverImages()->List, &Image->Links);
    return STATUS_SUCCESS;
}

NTSTATUS MiLoadDriverImage(PVOID Base, SIZE_T Bytes, const MI_SECTION_SOURCE *Sources, ULONG Count,
                           PMI_DRIVER_IMAGE *ImageOut)
{
    PMI_DRIVER_IMAGE Image;
    NTSTATUS Status;

    if (!MiAreSourcesSound((ULONG_PTR)Base, Bytes, Sources, Count))
    {
        return STATUS_INVALID_PARAMETER;
    }
    Image = MiAllocatePool(sizeof(*Image) + Count * sizeof(Image->Sections[0]), MI_TAG_DRIVER);
    if (Image == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Image->Base = (ULONG_PTR)Base;
    Image->Bytes = Bytes;
    Image->SectionCount = Count;
    Image->Vad = MiAllocateVad(0, 0);
    if (Image->Vad == NULL)
    {
        MiFreePool(Image, MI_TAG_DRIVER);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Image->Vad->u.PrivateMemory = 1;
    Image->Vad->u.Protection = MM_READWRITE;
    Image->Vad->u.CommitProtection = MM_READWRITE;
    MiLockDriverImages();
    Status = MiTakeImage(Image, Sources);
    MiUnlockDriverImages();
    if (!NT_SUCCESS(Status))
    {
        MiDestroyVad(Image->Vad);
        MiFreePool(Image, MI_TAG_DRIVER);
        return Status;
    }
    *ImageOut = Image;
    return STATUS_SUCCESS;
}

/* All sections pinned, or none more than before. */
static NTSTATUS MiPinImage(PMI_DRIVER_IMAGE Image)
{
    NTSTATUS Status = STATUS_SUCCESS;
    ULONG Index;

    for (Index = 0; Index < Image->SectionCount && NT_SUCCESS(Status); Index++)
    {
        PMI_DRIVER_SECTION Section = &Image->Sections[Index];

        if (Section->Discarded)
        {
            continue;
        }
        if (Section->LockCount == 0)
        {
            Status = MiPinPages(Section->StartVpn, Section->EndVpn, NULL);
        }
        Section->LockCount += NT_SUCCESS(Status);
    }
    for (Index = NT_SUCCESS(Status) ? 0 : Index - 1; Index != 0; Index--)
    {
        PMI_DRIVER_SECTION Section = &Image->Sections[Index - 1];

        if (!Section->Discarded && --Section->LockCount == 0)
        {
            MiUnpinPages(Section->StartVpn, Section->EndVpn);
        }
    }
    return Status;
}

/* ---- When DriverEntry has returned ----------------------------------------------------------------------------- */

/* Lock held. */
static SIZE_T MiDiscardSection(PMI_DRIVER_IMAGE Image, PMI_DRIVER_SECTION Section)
{
    SIZE_T Pages = MiSectionPages(Section);

    if (Section->LockCount != 0)
    {
        MiUnpinPages(Section->StartVpn, Section->EndVpn);
    }
    Section->LockCount = 0;
    Section->Nonpaged = FALSE;
    Section->Discarded = TRUE;
    if (Pages != 0)
    {
        MiRemovePages(Image->Vad, Section->StartVpn, Section->EndVpn);
        MiReturnResidentAvailable(Pages);
    }
    return Pages;
}

SIZE_T MiDiscardDriverSections(PMI_DRIVER_IMAGE Image)
{
    SIZE_T Pages = 0;

    MiLockDriverImages();
    for (ULONG Index = 0; Index < Image->SectionCount; Index++)
    {
        PMI_DRIVER_SECTION Section = &Image->Sections[Index];

        if (Section->Discardable && !Section->Discarded)
        {
            Pages += MiDiscardSection(Image, Section);
        }
    }
    MiUnlockDriverImages();
    return Pages;
}

/* ---- Unloading --------------------------------------------------------------------------------------------------- */

NTSTATUS MiUnloadDriverImage(PMI_DRIVER_IMAGE Image)
{
    NTSTATUS Status;

    MiLockDriverImages();
    Status = MiPinImage(Image);
    if (NT_SUCCESS(Status))
    {
        for (ULONG Index = 0; Index < Image->SectionCount; Index++)
        {
            MiReturnSection(&Image->Sections[Index]);
        }
        RemoveEntryList(&Image->Links);
        MiRemoveImage(Image);
        MiReturnResidentAvailable(MiImagePages(Image));
    }
    MiUnlockDriverImages();
    if (NT_SUCCESS(Status))
    {
        MiDestroyVad(Image->Vad);
        MiFreePool(Image, MI_TAG_DRIVER);
    }
    return Status;
}

/* ---- Locks ----------------------------------------------------------------------------------------------------- */

static VOID MiCheckPagingIrql(ULONG_PTR Va)
{
    KIRQL Irql = KeGetCurrentIrql();

    if (Irql > APC_LEVEL)
    {
        KiBugCheckMessage(IRQL_NOT_LESS_OR_EQUAL, Va, Irql, 0, (ULONG_PTR)__builtin_return_address(0),
                          "pageable sections are locked and unlocked at IRQL <= APC_LEVEL, not %u", Irql);
    }
}

/* Lock held. The pages must come: there is nobody who could be told that they did not. */
static VOID MiLockSection(PMI_DRIVER_SECTION Section)
{
    NTSTATUS IoStatus = STATUS_SUCCESS;
    NTSTATUS Status = STATUS_SUCCESS;

    if (Section->LockCount == 0)
    {
        Status = MiPinPages(Section->StartVpn, Section->EndVpn, &IoStatus);
    }
    if (Status == STATUS_IN_PAGE_ERROR)
    {
        KiBugCheckMessage(
            KERNEL_DATA_INPAGE_ERROR, 0, (ULONG_PTR)(ULONG)IoStatus, Section->Start, 0,
            "a driver's section at %p cannot be locked, since it could not be read in: status %08x",
            (PVOID)Section->Start, (ULONG)IoStatus);
    }
    if (!NT_SUCCESS(Status))
    {
        KiBugCheckMessage(NO_PAGES_AVAILABLE, 0, (ULONG_PTR)(ULONG)Status, Section->Start, 0,
                          "no page frames for a driver's section at %p that must be locked",
                          (PVOID)Section->Start);
    }
    Section->LockCount++;
}

static VOID MiUnlockSection(PMI_DRIVER_SECTION Section)
{
    if (--Section->LockCount == 0)
    {
        MiUnpinPages(Section->StartVpn, Section->EndVpn);
    }
}

/* Lock held. By an address in it, or (Handle) the section itself. */
static PMI_DRIVER_SECTION MiFindSection(ULONG_PTR Address, const VOID *Handle)
{
    PLIST_ENTRY Head = &MiDriverImages()->List;

    for (PLIST_ENTRY Link = Head->Flink; Link != Head; Link = Link->Flink)
    {
        PMI_DRIVER_IMAGE Image = CONTAINING_RECORD(Link, MI_DRIVER_IMAGE, Links);

        for (ULONG Index = 0; Index < Image->SectionCount; Index++)
        {
            PMI_DRIVER_SECTION Section = &Image->Sections[Index];

            if (!Section->Discarded &&
                (Handle != NULL ? Handle == Section : Address - Section->Start < Section->Bytes))
            {
                return Section;
            }
        }
    }
    return NULL;
}

static DECLSPEC_NORETURN VOID MiReportNoSection(const VOID *What)
{
    KiBugCheckMessage(MEMORY_MANAGEMENT, 0x1234, (ULONG_PTR)What, 0, 0,
                      "%p is in no section of a driver, and no handle of one", What);
}

PVOID NTAPI MmLockPagableDataSection(PVOID AddressWithinSection)
{
    PMI_DRIVER_SECTION Section;

    MiCheckPagingIrql((ULONG_PTR)AddressWithinSection);
    MiLockDriverImages();
    Section = MiFindSection((ULONG_PTR)AddressWithinSection, NULL);
    if (Section != NULL)
    {
        MiLockSection(Section);
    }
    MiUnlockDriverImages();
    if (Section == NULL)
    {
        MiReportNoSection(AddressWithinSection);
    }
    return Section;
}

VOID NTAPI MmLockPagableSectionByHandle(PVOID ImageSectionHandle)
{
    PMI_DRIVER_SECTION Section = NULL;

    MiCheckPagingIrql((ULONG_PTR)ImageSectionHandle);
    MiLockDriverImages();
    if (ImageSectionHandle != NULL)
    {
        Section = MiFindSection(0, ImageSectionHandle);
    }
    if (Section != NULL)
    {
        MiLockSection(Section);
    }
    MiUnlockDriverImages();
    if (Section == NULL)
    {
        MiReportNoSection(ImageSectionHandle);
    }
}

VOID NTAPI MmUnlockPagableImageSection(PVOID ImageSectionHandle)
{
    PMI_DRIVER_SECTION Section = NULL;
    BOOLEAN Locked = FALSE;

    MiCheckPagingIrql((ULONG_PTR)ImageSectionHandle);
    MiLockDriverImages();
    if (ImageSectionHandle != NULL)
    {
        Section = MiFindSection(0, ImageSectionHandle);
    }
    if (Section != NULL && Section->LockCount > (Section->Nonpaged ? 1u : 0u))
    {
        Locked = TRUE;
        MiUnlockSection(Section);
    }
    MiUnlockDriverImages();
    if (Section == NULL)
    {
        MiReportNoSection(ImageSectionHandle);
    }
    if (!Locked)
    {
        KiBugCheckMessage(MEMORY_MANAGEMENT, 0x1010, (ULONG_PTR)ImageSectionHandle, 0, 0,
                          "the driver's section at %p is unlocked more often than it was locked",
                          (PVOID)Section->Start);
    }
}

/* Sections that are not pageable by their names lose, or get again, the lock that they have from loading on. */
static PVOID MiOverridePaging(PVOID Address, BOOLEAN Pageable)
{
    PMI_DRIVER_IMAGE Image;

    MiCheckPagingIrql((ULONG_PTR)Address);
    MiLockDriverImages();
    Image = MiFindImage((ULONG_PTR)Address, (ULONG_PTR)Address);
    for (ULONG Index = 0; Image != NULL && Image->Overridden != Pageable && Index < Image->SectionCount;
         Index++)
    {
        PMI_DRIVER_SECTION Section = &Image->Sections[Index];

        if (Section->Discarded)
        {
            continue;
        }
        if (!Section->Pageable && Pageable)
        {
            MiUnlockSection(Section);
        }
        else if (!Section->Pageable)
        {
            MiLockSection(Section);
        }
        Section->Nonpaged = !Section->Pageable && !Pageable;
    }
    if (Image != NULL)
    {
        Image->Overridden = Pageable;
    }
    MiUnlockDriverImages();
    return Image != NULL ? (PVOID)Image->Base : NULL;
}

PVOID NTAPI MmPageEntireDriver(PVOID AddressWithinSection)
{
    return MiOverridePaging(AddressWithinSection, TRUE);
}

VOID NTAPI MmResetDriverPaging(PVOID AddressWithinSection)
{
    MiOverridePaging(AddressWithinSection, FALSE);
}

/* ---- Birth and death ------------------------------------------------------------------------------------------- */

VOID MiInitializeDriverImages(void)
{
    InitializeListHead(&MiDriverImages()->List);
}

VOID MiUnloadDriverImages(void)
{
    while (!IsListEmpty(&MiDriverImages()->List))
    {
        PMI_DRIVER_IMAGE Image = CONTAINING_RECORD(MiDriverImages()->List.Flink, MI_DRIVER_IMAGE, Links);
        NTSTATUS Status = MiUnloadDriverImage(Image);

        if (!NT_SUCCESS(Status))
        {
            KiBugCheckMessage(KERNEL_DATA_INPAGE_ERROR, 0, (ULONG_PTR)(ULONG)Status, Image->Base, 0,
                              "the driver at %p cannot be unloaded: its pages do not come back, status %08x",
                              (PVOID)Image->Base, (ULONG)Status);
        }
    }
}
