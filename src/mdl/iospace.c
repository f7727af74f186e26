/* SPDX-License-Identifier: MIT */
/*
 * Device memory: physical addresses that are no RAM, mapped by system PTEs. A processor must not see one frame through two caching types,
 * so every mapping is recorded with its type, and one that overlaps another of a different type is refused. RAM has its type in the
 * frame; it may be mapped while somebody holds it, in that type, but never a page table.
 *
 * Nothing here waits: IRQL <= DISPATCH_LEVEL.
 */
#include "mdl/mdl.h"

#define MI_TAG_IO_SPACE MI_TAG('M', 'm', 'I', 'o')

/* ---- Records ------------------------------------------------------------------------------------------------------------ */

/* A mapping of another caching type that shares a frame with the range; or, with CacheType MmNotMapped, any. State locked. */
static const MI_IO_MAPPING *MiFindIoConflict(PFN_NUMBER Frame, SIZE_T Pages, MEMORY_CACHING_TYPE CacheType)
{
    const MI_IO_MAPPING *Mapping = MiState.Mdl->IoMappings;

    while (Mapping != NULL && (Mapping->Frame + Mapping->Pages <= Frame || Frame + Pages <= Mapping->Frame ||
                               Mapping->CacheType == CacheType))
    {
        Mapping = Mapping->Next;
    }
    return Mapping;
}

MEMORY_CACHING_TYPE MiIoSpaceCaching(PFN_NUMBER Frame)
{
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Mdl->Lock);
    const MI_IO_MAPPING *Mapping = MiFindIoConflict(Frame, 1, MmNotMapped);
    MEMORY_CACHING_TYPE Type = Mapping != NULL ? Mapping->CacheType : MmNonCached;

    KiReleaseSpinLock(&MiState.Mdl->Lock, OldIrql);
    return Type;
}

BOOLEAN MiIoSpaceConflicts(const PFN_NUMBER *Frames, SIZE_T Pages, MEMORY_CACHING_TYPE CacheType)
{
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Mdl->Lock);
    BOOLEAN Conflict = FALSE;

    for (SIZE_T Index = 0; Index < Pages && !Conflict; Index++)
    {
        Conflict = MiFindIoConflict(Frames[Index], 1, CacheType) != NULL;
    }
    KiReleaseSpinLock(&MiState.Mdl->Lock, OldIrql);
    return Conflict;
}

static BOOLEAN MiRecordIoMapping(MI_IO_MAPPING *Mapping)
{
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Mdl->Lock);
    BOOLEAN Conflict = MiFindIoConflict(Mapping->Frame, Mapping->Pages, Mapping->CacheType) != NULL;

    if (!Conflict)
    {
        Mapping->Next = MiState.Mdl->IoMappings;
        MiState.Mdl->IoMappings = Mapping;
    }
    KiReleaseSpinLock(&MiState.Mdl->Lock, OldIrql);
    return !Conflict;
}

static MI_IO_MAPPING *MiForgetIoMapping(ULONG_PTR Va, SIZE_T Pages)
{
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Mdl->Lock);
    MI_IO_MAPPING **Link = &MiState.Mdl->IoMappings;
    MI_IO_MAPPING *Mapping;

    while (*Link != NULL && ((*Link)->Va != Va || (*Link)->Pages != Pages))
    {
        Link = &(*Link)->Next;
    }
    Mapping = *Link;
    if (Mapping != NULL)
    {
        *Link = Mapping->Next;
    }
    KiReleaseSpinLock(&MiState.Mdl->Lock, OldIrql);
    return Mapping;
}

/* ---- Mapping ------------------------------------------------------------------------------------------------------------ */

/* RAM may be mapped while it is in use, as it is cached; free frames and page tables are nobody's to map. */
static BOOLEAN MiMayMapPhysical(PFN_NUMBER Frame, SIZE_T Pages, MEMORY_CACHING_TYPE CacheType)
{
    for (SIZE_T Index = 0; Index < Pages; Index++)
    {
        if (MiIsRamFrame(Frame + Index) &&
            (MiReadPfnEntry(MiPfn(Frame + Index)).PageTable || MiFrameCaching(Frame + Index) != CacheType))
        {
            return FALSE;
        }
    }
    return TRUE;
}

/* Runs of one kind: RAM, or a device's. */
static VOID MiWriteIoEntries(const MI_IO_MAPPING *Mapping, ULONG Protection)
{
    for (SIZE_T First = 0, End; First < Mapping->Pages; First = End)
    {
        BOOLEAN Ram = MiIsRamFrame(Mapping->Frame + First);
        MMPTE Template = MiMakeMappingTemplate(Protection);

        for (End = First + 1; End < Mapping->Pages && MiIsRamFrame(Mapping->Frame + End) == Ram; End++)
        {
        }
        Template.Long |= Ram ? 0 : MM_PTE_PHYSICAL;
        MiMapSystemRun(Mapping->Va + (First << PAGE_SHIFT), Mapping->Frame + First, End - First, Template);
    }
}

static PVOID MiMapIoSpace(ULONG64 PhysicalAddress, SIZE_T Bytes, MEMORY_CACHING_TYPE CacheType,
                          ULONG Protection)
{
    PFN_NUMBER Frame = (PFN_NUMBER)(PhysicalAddress >> PAGE_SHIFT);
    SIZE_T Pages = ADDRESS_AND_SIZE_TO_SPAN_PAGES(PhysicalAddress, Bytes);
    MI_IO_MAPPING *Mapping;

    if (Bytes == 0 || Protection == MM_INVALID_PROTECTION || CacheType == MmNotMapped || Frame == 0 ||
        Bytes >> PAGE_SHIFT >= MI_PHYSICAL_LIMIT_PAGES || Frame > MI_PHYSICAL_LIMIT_PAGES - Pages ||
        !MiMayMapPhysical(Frame, Pages, CacheType))
    {
        return NULL;
    }
    Mapping = MiAllocatePool(sizeof(*Mapping), MI_TAG_IO_SPACE);
    if (Mapping == NULL)
    {
        return NULL;
    }
    Mapping->Va = MiReserveSystemPtesForRun(Frame, Pages);
    Mapping->Frame = Frame;
    Mapping->Pages = Pages;
    Mapping->CacheType = CacheType;
    if (Mapping->Va == 0 || !MiRecordIoMapping(Mapping))
    {
        if (Mapping->Va != 0)
        {
            MiReleaseSystemPtes(Mapping->Va, Pages);
        }
        MiFreePool(Mapping, MI_TAG_IO_SPACE);
        return NULL;
    }
    MiWriteIoEntries(Mapping, Protection);
    return (PVOID)(Mapping->Va + BYTE_OFFSET(PhysicalAddress));
}

PVOID NTAPI MmMapIoSpace(PHYSICAL_ADDRESS PhysicalAddress, SIZE_T NumberOfBytes,
                         MEMORY_CACHING_TYPE CacheType)
{
    if (MI_IS_VERIFIED())
    {
        MiVerifyMapIoSpace(PhysicalAddress, NumberOfBytes);
    }
    return MiMapIoSpace((ULONG64)PhysicalAddress.QuadPart, NumberOfBytes, MiBasicCaching(CacheType),
                        MiMappingProtection(CacheType, 0));
}

PVOID NTAPI MmMapIoSpaceEx(PHYSICAL_ADDRESS PhysicalAddress, SIZE_T NumberOfBytes, ULONG Protect)
{
    ULONG Protection = MiMakeProtectionMask(Protect);
    MEMORY_CACHING_TYPE CacheType = (Protect & PAGE_NOCACHE) != 0        ? MmNonCached
                                    : (Protect & PAGE_WRITECOMBINE) != 0 ? MmWriteCombined
                                                                         : MmCached;

    if (MI_IS_VERIFIED())
    {
        MiVerifyMapIoSpace(PhysicalAddress, NumberOfBytes);
    }
    if (Protection != MM_INVALID_PROTECTION &&
        (MiIsCopyOnWrite(Protection) || MiIsGuarded(Protection) || MiIsNoAccess(Protection)))
    {
        Protection = MM_INVALID_PROTECTION;
    }
    return MiMapIoSpace((ULONG64)PhysicalAddress.QuadPart, NumberOfBytes, CacheType, Protection);
}

VOID NTAPI MmUnmapIoSpace(PVOID BaseAddress, SIZE_T NumberOfBytes)
{
    ULONG_PTR Va = (ULONG_PTR)PAGE_ALIGN(BaseAddress);
    SIZE_T Pages = ADDRESS_AND_SIZE_TO_SPAN_PAGES(BaseAddress, NumberOfBytes);
    MI_IO_MAPPING *Mapping;

    if (MI_IS_VERIFIED())
    {
        MiVerifyUnmapIoSpace(BaseAddress, NumberOfBytes);
    }
    Mapping = MiForgetIoMapping(Va, Pages);
    if (Mapping == NULL)
    {
        KiBugCheckMessage(SYSTEM_PTE_MISUSE, 0x109, (ULONG_PTR)BaseAddress, NumberOfBytes, Pages,
                          "%llu bytes at %p are no mapping of MmMapIoSpace", (ULONG64)NumberOfBytes,
                          BaseAddress);
    }
    MiUnmapSystemPtes(Va, Pages);
    MiReleaseSystemPtes(Va, Pages);
    MiFreePool(Mapping, MI_TAG_IO_SPACE);
}

NTSTATUS NTAPI MmGetCacheAttribute(PHYSICAL_ADDRESS PhysicalAddress, MEMORY_CACHING_TYPE *CacheType)
{
    PFN_NUMBER Frame = (PFN_NUMBER)((ULONG64)PhysicalAddress.QuadPart >> PAGE_SHIFT);
    MEMORY_CACHING_TYPE Type = MiFrameCaching(Frame);

    if (Type == MmNotMapped && !MiIsRamFrame(Frame))
    {
        KIRQL OldIrql = KiAcquireSpinLock(&MiState.Mdl->Lock);
        const MI_IO_MAPPING *Mapping = MiFindIoConflict(Frame, 1, MmNotMapped);

        Type = Mapping != NULL ? Mapping->CacheType : MmNotMapped;
        KiReleaseSpinLock(&MiState.Mdl->Lock, OldIrql);
    }
    if (Type == MmNotMapped)
    {
        return STATUS_NOT_FOUND;
    }
    *CacheType = Type;
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI MmRotatePhysicalView(PVOID VirtualAddress, PSIZE_T NumberOfBytes, PMDLX NewMdl,
                                    MM_ROTATE_DIRECTION Direction,
                                    PMM_ROTATE_COPY_CALLBACK_FUNCTION CopyFunction, PVOID Context)
{
    UNREFERENCED_PARAMETER(VirtualAddress);
    UNREFERENCED_PARAMETER(NumberOfBytes);
    UNREFERENCED_PARAMETER(NewMdl);
    UNREFERENCED_PARAMETER(Direction);
    UNREFERENCED_PARAMETER(CopyFunction);
    UNREFERENCED_PARAMETER(Context);
    return STATUS_NOT_IMPLEMENTED;
}
