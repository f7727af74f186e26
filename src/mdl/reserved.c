/* SPDX-License-Identifier: MIT */
/*
 * Mapping addresses reserved in advance, for drivers that must be able to map when nothing can be allocated any more. Windows keeps
 * two entries in front of the run with its tag and size; so do we: invalid entries that no processor looks into.
 */
#include "mdl/mdl.h"

#define MI_RESERVED_HEAD 2u /* entries: tag, pages of the run with these */

/* Not zero, not valid: a software entry of no access whose high half carries the value. */
static MMPTE MiMakeHeadPte(ULONG Value)
{
    MMPTE Pte = MiMakeDemandZeroPte(MM_NOACCESS);

    Pte.Soft.PageFileHigh = Value;
    return Pte;
}

PVOID NTAPI MmAllocateMappingAddressEx(SIZE_T NumberOfBytes, ULONG PoolTag, ULONG Flags)
{
    SIZE_T Pages = BYTES_TO_PAGES(NumberOfBytes) + MI_RESERVED_HEAD;
    ULONG_PTR Va;

    if (NumberOfBytes == 0 || NumberOfBytes > (SIZE_T)MAXULONG << PAGE_SHIFT || PoolTag == 0 ||
        (Flags & ~(ULONG)MM_MAPPING_ADDRESS_DIVISIBLE) != 0)
    {
        return NULL;
    }
    Va = MiReserveSystemPtes(Pages);
    if (Va == 0)
    {
        return NULL;
    }
    MiWritePte(MiSystemPte(Va), MiMakeHeadPte(PoolTag));
    MiWritePte(MiSystemPte(Va + PAGE_SIZE), MiMakeHeadPte((ULONG)Pages));
    return (PVOID)(Va + MI_RESERVED_HEAD * PAGE_SIZE);
}

PVOID NTAPI MmAllocateMappingAddress(SIZE_T NumberOfBytes, ULONG PoolTag)
{
    return MmAllocateMappingAddressEx(NumberOfBytes, PoolTag, 0);
}

/* Pages that can be mapped at BaseAddress, which must be the start of a reservation with this tag. */
static SIZE_T MiReservedPages(PVOID BaseAddress, ULONG PoolTag)
{
    ULONG_PTR Head = (ULONG_PTR)BaseAddress - MI_RESERVED_HEAD * PAGE_SIZE;
    ULONG Tag = 0;
    SIZE_T Pages = 0;

    if (BYTE_OFFSET(BaseAddress) == 0 && MiAreSystemPtesReserved(Head, MI_RESERVED_HEAD))
    {
        Tag = (ULONG)MiReadSystemPte(Head).Soft.PageFileHigh;
        Pages = (SIZE_T)MiReadSystemPte(Head + PAGE_SIZE).Soft.PageFileHigh;
    }
    if (Pages <= MI_RESERVED_HEAD || !MiAreSystemPtesReserved(Head, Pages))
    {
        KiBugCheckMessage(SYSTEM_PTE_MISUSE, 0x102, (ULONG_PTR)BaseAddress, PoolTag, Pages,
                          "%p is no reserved mapping address", BaseAddress);
    }
    if (Tag != PoolTag)
    {
        KiBugCheckMessage(SYSTEM_PTE_MISUSE, 0x101, (ULONG_PTR)BaseAddress, PoolTag, Tag,
                          "the mapping address %p was reserved with another tag: %08x, not %08x", BaseAddress,
                          Tag, PoolTag);
    }
    return Pages - MI_RESERVED_HEAD;
}

VOID NTAPI MmFreeMappingAddress(PVOID BaseAddress, ULONG PoolTag)
{
    ULONG_PTR Va = (ULONG_PTR)BaseAddress;
    SIZE_T Pages = MiReservedPages(BaseAddress, PoolTag);

    for (SIZE_T Index = 0; Index < Pages; Index++)
    {
        if (MiReadSystemPte(Va + (Index << PAGE_SHIFT)).Long != 0)
        {
            KiBugCheckMessage(SYSTEM_PTE_MISUSE, 0x103, Va + (Index << PAGE_SHIFT), PoolTag, Pages,
                              "the mapping address %p is freed while something is mapped there", BaseAddress);
        }
    }
    Va -= MI_RESERVED_HEAD * PAGE_SIZE;
    MiUnmapSystemPtes(Va, MI_RESERVED_HEAD);
    MiReleaseSystemPtes(Va, Pages + MI_RESERVED_HEAD);
}

PVOID NTAPI MmMapLockedPagesWithReservedMapping(PVOID MappingAddress, ULONG PoolTag,
                                                PMDLX MemoryDescriptorList, MEMORY_CACHING_TYPE CacheType)
{
    PMDL Mdl = MemoryDescriptorList;
    ULONG Protection = MiMappingProtection(CacheType, 0);
    ULONG_PTR Va = (ULONG_PTR)MappingAddress;
    SIZE_T Pages = MiMdlPages(Mdl);

    if (MiReservedPages(MappingAddress, PoolTag) < Pages || Protection == MM_INVALID_PROTECTION)
    {
        return NULL; /* documented: the reservation is too small */
    }
    for (SIZE_T Index = 0; Index < Pages; Index++)
    {
        if (MiReadSystemPte(Va + (Index << PAGE_SHIFT)).Long != 0)
        {
            KiBugCheckMessage(SYSTEM_PTE_MISUSE, 0x107, Va, (ULONG_PTR)Mdl, Pages,
                              "something is mapped at the reserved mapping address %p already",
                              MappingAddress);
        }
    }
    if (!MiCheckPagesForMapping(Mdl, CacheType))
    {
        return NULL;
    }
    MiMapSystemPtes(Va, MmGetMdlPfnArray(Mdl), Pages, MiMakeMdlTemplate(Mdl, Protection));
    Mdl->MappedSystemVa = (PVOID)(Va + Mdl->ByteOffset);
    MiSetMdlFlags(
        Mdl, MDL_MAPPED_TO_SYSTEM_VA | ((Mdl->MdlFlags & MDL_PARTIAL) != 0 ? MDL_PARTIAL_HAS_BEEN_MAPPED : 0),
        0);
    return Mdl->MappedSystemVa;
}

VOID NTAPI MmUnmapReservedMapping(PVOID BaseAddress, ULONG PoolTag, PMDLX MemoryDescriptorList)
{
    PMDL Mdl = MemoryDescriptorList;
    ULONG_PTR Va = (ULONG_PTR)BaseAddress & ~(ULONG_PTR)(PAGE_SIZE - 1);
    SIZE_T Pages = MiMdlPages(Mdl);

    if (MiReservedPages((PVOID)Va, PoolTag) < Pages || (Mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA) == 0)
    {
        KiBugCheckMessage(SYSTEM_PTE_MISUSE, 0x108, (ULONG_PTR)BaseAddress, (ULONG_PTR)Mdl, Pages,
                          "the MDL at %p is not mapped at the reserved mapping address %p", (PVOID)Mdl,
                          BaseAddress);
    }
    MiCheckMappingOfMdl(Mdl, Va);
    MiUnmapSystemPtes(Va, Pages);
    MiSetMdlFlags(Mdl, 0, MDL_MAPPED_TO_SYSTEM_VA | MDL_PARTIAL_HAS_BEEN_MAPPED);
    Mdl->MappedSystemVa = NULL;
}
