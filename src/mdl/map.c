/* SPDX-License-Identifier: MIT */
/*
 * Mapping locked pages a second time, into system space. The entries of the mapping are valid ones without an owner's claim: the lock keeps
 * the frames, so neither share counts nor working sets know of them. They are made accessed and dirty at once, because nobody looks at
 * these bits; what was written is known from the lock (MDL_WRITE_OPERATION).
 *
 * Nothing here waits, and nothing is pageable: IRQL <= DISPATCH_LEVEL.
 */
#include "mdl/mdl.h"
#include "physical/many.h"
#include "nt/ex.h"

#define MI_MAP_BATCH 64u /* frames between raising to DISPATCH_LEVEL and lowering again */

/* ---- Kinds of addresses and frames ---------------------------------------------------------------------------------- */

MI_ADDRESS_KIND MiAddressKind(ULONG_PTR Va)
{
    Va = MiResolveAlias(Va);
    if (MiIsUserAddress(Va))
    {
        return MiAddressUser;
    }
    if (MiIsSystemAddress(Va))
    {
        return MiIsSystemPteAddress(Va) ? MiAddressSystemPte : MiAddressSystem;
    }
    if (MiIsSessionAddress(Va))
    {
        return MiAddressSession;
    }
    if (Va >= PORT_DIRECT_MAP_BASE && MiIsRamFrame(PortDirectMapFrame((PVOID)Va)))
    {
        return MiAddressDirect;
    }
    return MiAddressForeign;
}

/* The lock: others change its state meanwhile. At DISPATCH_LEVEL. Many: it is one of many that lie together. */
static MEMORY_CACHING_TYPE MiFrameCachingAtDispatch(PFN_NUMBER Frame, BOOLEAN Many, PMI_BLOCK Block)
{
    static const MEMORY_CACHING_TYPE Types[4] = { MmCached, MmNonCached, MmWriteCombined, MmCached };
    MEMORY_CACHING_TYPE Type = MmNotMapped;
    PMMPFN Pfn;

    if (!MiIsRamFrame(Frame))
    {
        return MmNotMapped;
    }
    Pfn = MiPfn(Frame);
    MiLockPfnOfMany(Pfn, Many, Block);
    if (Pfn->ReferenceCount != 0)
    {
        Type = Types[Pfn->e1.CacheAttribute];
    }
    MiUnlockPfnInBlock(Pfn, Block);
    return Type;
}

/* How a frame is cached, MmNotMapped for what is no RAM or nobody holds. */
MEMORY_CACHING_TYPE MiFrameCaching(PFN_NUMBER Frame)
{
    MI_BLOCK Block = { .Lock = NULL };
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    MEMORY_CACHING_TYPE Type = MiFrameCachingAtDispatch(Frame, FALSE, &Block);

    KiLowerIrqlFromDispatch(OldIrql);
    return Type;
}

VOID MiSetFrameCaching(PFN_NUMBER Frame, MEMORY_CACHING_TYPE Type)
{
    PMMPFN Pfn = MiPfn(Frame);
    KIRQL OldIrql = KiRaiseIrqlToDispatch();

    MiLockPfn(Pfn);
    Pfn->e1.CacheAttribute = Type == MmWriteCombined ? 2u : (Type == MmNonCached ? 1u : 0u);
    MiUnlockPfn(Pfn);
    KiLowerIrqlFromDispatch(OldIrql);
}

/* ---- Entries ---------------------------------------------------------------------------------------------------------- */

MMPTE MiMakeMappingTemplate(ULONG Protection)
{
    MMPTE Template = MiMakeValidPte(0, Protection, FALSE);

    if ((Template.Long & MM_PTE_DIRTY1) != 0)
    {
        Template.Long |= MM_PTE_DIRTY;
    }
    return Template;
}

/* The types that have no hardware meaning of their own are what the documentation makes them equal to. */
MEMORY_CACHING_TYPE MiBasicCaching(MEMORY_CACHING_TYPE CacheType)
{
    switch (CacheType)
    {
    case MmCached:
    case MmHardwareCoherentCached:
        return MmCached;
    case MmNonCached:
    case MmNonCachedUnordered:
        return MmNonCached;
    case MmWriteCombined:
    case MmUSWCCached:
        return MmWriteCombined;
    default:
        return MmNotMapped;
    }
}

ULONG MiMappingProtection(MEMORY_CACHING_TYPE CacheType, ULONG Priority)
{
    ULONG Protection = (Priority & MdlMappingNoWrite) != 0
                           ? ((Priority & MdlMappingNoExecute) != 0 ? MM_READONLY : MM_EXECUTE_READ)
                           : ((Priority & MdlMappingNoExecute) != 0 ? MM_READWRITE : MM_EXECUTE_READWRITE);

    switch (MiBasicCaching(CacheType))
    {
    case MmCached:
        return Protection;
    case MmNonCached:
        return Protection | MM_NOCACHE;
    case MmWriteCombined:
        return Protection | MM_WRITECOMBINE;
    default:
        return MM_INVALID_PROTECTION;
    }
}

/* Of the first MI_MAP_BATCH frames, with one way up and down. */
static VOID MiCacheTypesOf(const PFN_NUMBER *Frames, SIZE_T Count, MEMORY_CACHING_TYPE *Types)
{
    MI_BLOCK Block = { .Lock = NULL };
    KIRQL OldIrql = KiRaiseIrqlToDispatch();

    for (SIZE_T Index = 0; Index < Count && Index < MI_MAP_BATCH; Index++)
    {
        Types[Index] = MiFrameCachingAtDispatch(Frames[Index], Count >= MI_BLOCK_PAYS_OFF, &Block);
    }
    MiEndBlock(&Block);
    KiLowerIrqlFromDispatch(OldIrql);
}

BOOLEAN MiCheckPagesForMapping(const MDL *Mdl, MEMORY_CACHING_TYPE CacheType)
{
    const PFN_NUMBER *Frames = (const PFN_NUMBER *)(Mdl + 1);
    SIZE_T Pages = MiMdlPages(Mdl);
    MEMORY_CACHING_TYPE Types[MI_MAP_BATCH];

    if ((Mdl->MdlFlags & MDL_IO_SPACE) != 0)
    {
        return !MiIoSpaceConflicts(Frames, Pages, MiBasicCaching(CacheType));
    }
    for (SIZE_T Index = 0; Index < Pages; Index++)
    {
        MEMORY_CACHING_TYPE Type;

        if (Index % MI_MAP_BATCH == 0)
        {
            MiCacheTypesOf(Frames + Index, Pages - Index, Types);
        }
        Type = Types[Index % MI_MAP_BATCH];
        if ((Mdl->MdlFlags & (MDL_PAGES_LOCKED | MDL_SOURCE_IS_NONPAGED_POOL | MDL_PARTIAL)) == 0 ||
            Type == MmNotMapped)
        {
            KiBugCheckMessage(MEMORY_MANAGEMENT, 0x1233, Frames[Index], (ULONG_PTR)Mdl, 0,
                              "an MDL is mapped whose page %llx is not locked", (ULONG64)Frames[Index]);
        }
        if (Type != MiBasicCaching(CacheType))
        {
            return FALSE;
        }
    }
    return TRUE;
}

VOID MiCheckMappingOfMdl(const MDL *Mdl, ULONG_PTR Va)
{
    const PFN_NUMBER *Frames = (const PFN_NUMBER *)(Mdl + 1);
    SIZE_T Pages = MiMdlPages(Mdl);
    MMPTE Table = { .Long = 0 };

    for (SIZE_T Index = 0; Index < Pages; Index++)
    {
        ULONG_PTR Page = Va + (Index << PAGE_SHIFT);
        MMPTE Pte;

        if (Index == 0 || MI_PTE_INDEX(Page, 0) == 0)
        {
            Table = MiReadPte(MiSystemTableEntry(Page));
        }
        Pte = MiIsLargePte(Table) ? MiSmallPteOf(Table, Page)
                                  : MiReadPte(MiTableEntry(Table.Hard.PageFrameNumber, Page, 0));
        if (Pte.Long == 0 || (Pte.Hard.Valid && Pte.Hard.PageFrameNumber != Frames[Index]))
        {
            KiBugCheckMessage(SYSTEM_PTE_MISUSE, Index == 0 ? 0x04 : 0x02, (ULONG_PTR)Mdl,
                              (ULONG_PTR)Pte.Hard.PageFrameNumber, Frames[Index],
                              "page %llu of the MDL at %p is not what its mapping at %p maps", (ULONG64)Index,
                              (const VOID *)Mdl, (PVOID)Va);
        }
    }
}

/* ---- Mapping --------------------------------------------------------------------------------------------------------------- */

static PVOID MiFailMapping(const MDL *Mdl, ULONG BugCheckOnFailure, BOOLEAN Caching)
{
    if (BugCheckOnFailure && (Mdl->MdlFlags & MDL_MAPPING_CAN_FAIL) == 0)
    {
        if (Caching)
        {
            KiBugCheckMessage(MEMORY_MANAGEMENT, 0x1000, (ULONG_PTR)Mdl, 0, 0,
                              "the MDL at %p is mapped with a caching type that conflicts with its pages'",
                              (const VOID *)Mdl);
        }
        KiBugCheckMessage(NO_MORE_SYSTEM_PTES, 0, MiMdlPages(Mdl), MiSystemPtesTotal() - MiSystemPtesInUse(),
                          MiSystemPtesTotal(), "no %llu consecutive system PTEs for the MDL at %p",
                          (ULONG64)MiMdlPages(Mdl), (const VOID *)Mdl);
    }
    return NULL;
}

static PVOID MiMapIntoSystemSpace(PMDL Mdl, MEMORY_CACHING_TYPE CacheType, ULONG BugCheckOnFailure,
                                  ULONG Priority)
{
    ULONG Protection = MiMappingProtection(CacheType, Priority);
    SIZE_T Pages = MiMdlPages(Mdl);
    BOOLEAN Guarded = (Priority & MdlMappingWithGuardPtes) != 0 && Pages != 0;
    ULONG_PTR Va;

    if ((Mdl->MdlFlags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL)) != 0)
    {
        KiBugCheckMessage(SYSTEM_PTE_MISUSE, 0x07, (ULONG_PTR)Mdl->MappedSystemVa, Pages, 0,
                          "the MDL at %p is mapped into system space, but has an address there: %p",
                          (PVOID)Mdl, Mdl->MappedSystemVa);
    }
    if (Protection == MM_INVALID_PROTECTION || !MiCheckPagesForMapping(Mdl, CacheType))
    {
        return MiFailMapping(Mdl, BugCheckOnFailure, TRUE);
    }
    Va =
        Guarded ? MiReserveSystemPtes(Pages + 2) : MiReserveSystemPtesForFrames(MmGetMdlPfnArray(Mdl), Pages);
    if (Va == 0)
    {
        return MiFailMapping(Mdl, BugCheckOnFailure, FALSE);
    }
    Va += Guarded ? PAGE_SIZE : 0;
    MiMapSystemPtes(Va, MmGetMdlPfnArray(Mdl), Pages, MiMakeMdlTemplate(Mdl, Protection));
    Mdl->MappedSystemVa = (PVOID)(Va + Mdl->ByteOffset);
    MiSetMdlFlags(Mdl,
                  MDL_MAPPED_TO_SYSTEM_VA | (Guarded ? MDL_FREE_EXTRA_PTES : 0) |
                      ((Mdl->MdlFlags & MDL_PARTIAL) != 0 ? MDL_PARTIAL_HAS_BEEN_MAPPED : 0),
                  0);
    return Mdl->MappedSystemVa;
}

PVOID NTAPI MmMapLockedPagesSpecifyCache(PMDLX MemoryDescriptorList, KPROCESSOR_MODE AccessMode,
                                         MEMORY_CACHING_TYPE CacheType, PVOID RequestedAddress,
                                         ULONG BugCheckOnFailure, ULONG Priority)
{
    if (MI_IS_VERIFIED())
    {
        MiVerifyMap(MemoryDescriptorList, AccessMode, BugCheckOnFailure);
    }
    if (AccessMode != KernelMode)
    {
        return MiMapMdlIntoUserSpace(MemoryDescriptorList, CacheType, RequestedAddress, Priority);
    }
    return MiMapIntoSystemSpace(MemoryDescriptorList, CacheType, BugCheckOnFailure, Priority);
}

PVOID NTAPI MmMapLockedPages(PMDL MemoryDescriptorList, KPROCESSOR_MODE AccessMode)
{
    if (MI_IS_VERIFIED())
    {
        MiVerifyOldMap(MemoryDescriptorList, AccessMode);
    }
    return MmMapLockedPagesSpecifyCache(MemoryDescriptorList, AccessMode, MmCached, NULL, TRUE,
                                        HighPagePriority);
}

VOID NTAPI MmUnmapLockedPages(PVOID BaseAddress, PMDLX MemoryDescriptorList)
{
    PMDL Mdl = MemoryDescriptorList;
    ULONG_PTR Va = (ULONG_PTR)BaseAddress & ~(ULONG_PTR)(PAGE_SIZE - 1);
    SIZE_T Guard = (Mdl->MdlFlags & MDL_FREE_EXTRA_PTES) != 0 ? 1 : 0; /* on either side */
    SIZE_T Pages = MiMdlPages(Mdl);

    if (MI_IS_VERIFIED())
    {
        MiVerifyUnmap(Mdl, BaseAddress);
    }
    if (MiIsUserAddress(Va))
    {
        MiUnmapMdlFromUserSpace(Mdl, BaseAddress);
        return;
    }
    if ((Mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA) == 0 || (Mdl->MdlFlags & MDL_PARENT_MAPPED_SYSTEM_VA) != 0)
    {
        KiBugCheckMessage(SYSTEM_PTE_MISUSE, 0x06, (ULONG_PTR)Mdl, (ULONG_PTR)BaseAddress, Pages,
                          "the MDL at %p is unmapped, but has no mapping of its own", (PVOID)Mdl);
    }
    if (Va != ((ULONG_PTR)Mdl->MappedSystemVa & ~(ULONG_PTR)(PAGE_SIZE - 1)) ||
        !MiAreSystemPtesReserved(Va - (Guard << PAGE_SHIFT), Pages + 2 * Guard))
    {
        KiBugCheckMessage(SYSTEM_PTE_MISUSE, 0x03, (ULONG_PTR)Mdl, (ULONG_PTR)Mdl->MappedSystemVa,
                          (ULONG_PTR)BaseAddress, "the MDL at %p is mapped at %p, but %p is unmapped",
                          (PVOID)Mdl, Mdl->MappedSystemVa, BaseAddress);
    }
    MiCheckMappingOfMdl(Mdl, Va);
    MiUnmapSystemPtes(Va, Pages);
    MiReleaseSystemPtes(Va - (Guard << PAGE_SHIFT), Pages + 2 * Guard);
    MiSetMdlFlags(Mdl, 0, MDL_MAPPED_TO_SYSTEM_VA | MDL_PARTIAL_HAS_BEEN_MAPPED | MDL_FREE_EXTRA_PTES);
    Mdl->MappedSystemVa = NULL;
}

/* ---- Nonpaged buffers and protection ------------------------------------------------------------------------------------ */

VOID NTAPI MmBuildMdlForNonPagedPool(PMDLX MemoryDescriptorList)
{
    PMDL Mdl = MemoryDescriptorList;
    SIZE_T Pages = MiMdlPages(Mdl);
    ULONG Flags = MDL_SOURCE_IS_NONPAGED_POOL;

    if (MI_IS_VERIFIED())
    {
        MiVerifyBuild(Mdl);
    }
    for (SIZE_T Index = 0; Index < Pages; Index++)
    {
        ULONG_PTR Va = (ULONG_PTR)Mdl->StartVa + (Index << PAGE_SHIFT);
        MI_ADDRESS_KIND Kind = MiAddressKind(Va);
        MMPTE Pte = { .Long = 0 };
        BOOLEAN Valid = Kind == MiAddressDirect;

        MmGetMdlPfnArray(Mdl)[Index] = PortDirectMapFrame((PVOID)Va);
        if (Kind == MiAddressSystem || Kind == MiAddressSystemPte)
        {
            Pte = MiReadSystemPte(MiResolveAlias(Va));
            Valid = Pte.Hard.Valid;
            Flags |= Valid && (Pte.Long & MM_PTE_PHYSICAL) != 0 ? MDL_IO_SPACE : 0;
            MmGetMdlPfnArray(Mdl)[Index] = Pte.Hard.PageFrameNumber;
        }
        if (!Valid)
        {
            KiBugCheckMessage(MEMORY_MANAGEMENT, 0x1240, (ULONG_PTR)Mdl, (ULONG_PTR)Pte.Long, Va,
                              "an MDL for nonpaged memory is built, but %p is no resident kernel memory",
                              (PVOID)Va);
        }
    }
    Mdl->Process = NULL;
    Mdl->MappedSystemVa = (PVOID)MiMdlVa(Mdl);
    MiSetMdlFlags(Mdl, Flags, 0);
}

/* An entry that lets nobody through, and is not zero: the address stays the MDL's. */
static MMPTE MiMakeProtectedPte(PFN_NUMBER Frame, ULONG Protection)
{
    MMPTE Pte = MiMakeMappingTemplate(Protection);

    if (MiIsNoAccess(Protection))
    {
        return MiMakeDemandZeroPte(MM_NOACCESS);
    }
    Pte.Long |= (ULONG64)Frame << MM_PTE_FRAME_SHIFT;
    Pte.Long |= MiIsRamFrame(Frame) ? 0 : MM_PTE_PHYSICAL;
    return Pte;
}

NTSTATUS NTAPI MmProtectMdlSystemAddress(PMDLX MemoryDescriptorList, ULONG NewProtect)
{
    PMDL Mdl = MemoryDescriptorList;
    ULONG Protection = MiMakeProtectionMask(NewProtect);
    ULONG_PTR Va = (ULONG_PTR)Mdl->MappedSystemVa & ~(ULONG_PTR)(PAGE_SIZE - 1);
    SIZE_T Pages = MiMdlPages(Mdl);
    MI_FLUSH_LIST Flush;

    if (Protection == MM_INVALID_PROTECTION || MiIsCopyOnWrite(Protection) || MiIsGuarded(Protection) ||
        (NewProtect & (PAGE_NOCACHE | PAGE_WRITECOMBINE)) != 0)
    {
        return STATUS_INVALID_PAGE_PROTECTION;
    }
    if ((Mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA) == 0)
    {
        return STATUS_NOT_MAPPED_VIEW;
    }
    if (!MiAreSystemPtesReserved(Va, Pages))
    {
        KiBugCheckMessage(MEMORY_MANAGEMENT, 0x1235, (ULONG_PTR)Mdl, Va, 0,
                          "the protection of the MDL at %p changes, but its mapping at %p is none",
                          (PVOID)Mdl, (PVOID)Va);
    }
    MiCheckMappingOfMdl(Mdl, Va);
    for (SIZE_T Index = 0; Index < Pages;)
    {
        ULONG_PTR Page = Va + (Index << PAGE_SHIFT);
        MMPTE Old = MiReadSystemPte(Page);
        MMPTE New = MiMakeProtectedPte(MmGetMdlPfnArray(Mdl)[Index], Protection);

        if (New.Hard.Valid && Old.Hard.Valid)
        {
            New.Long |= Old.Long & (MM_PTE_CACHE_DISABLE | MM_PTE_WRITE_THROUGH);
        }
        if (New.Hard.Valid && Pages - Index >= MI_PTES_PER_PAGE && MiIsLargePageAt(Page))
        {
            MiChangeLargePage(Page, New);
            Index += MI_PTES_PER_PAGE;
            continue;
        }
        MiWritePte(MiSystemPte(Page), New);
        Index++;
    }
    MiInitializeFlushList(&Flush, 0);
    MiAddToFlushList(&Flush, Va, Pages);
    MiFlushTb(&Flush);
    return STATUS_SUCCESS;
}
