/* SPDX-License-Identifier: MIT */
/*
 * Questions about addresses and the machine: what lies behind a virtual address now, which RAM there is. Answers about pageable addresses
 * may be stale at once, as documented; the caller keeps the page.
 */
#include "mdl/mdl.h"
#include "space/session.h"

#define MI_TAG_RANGES MI_TAG('M', 'm', 'P', 'h')

/* The leaf entry behind an address as processors see it, or zero. Page tables are held where IRQL lets us; above, the caller keeps them. */
static MMPTE MiQueryPte(ULONG_PTR Va)
{
    MI_ADDRESS_KIND Kind = MiAddressKind(Va);
    PMI_ADDRESS_SPACE Space = Kind == MiAddressUser ? MiCurrentSpace() : MiKernelSpaceOf(Va);
    BOOLEAN Lock = KeGetCurrentIrql() <= APC_LEVEL && MiIsPageableKind(Kind);
    MI_SPACE_SLOT *Slot = NULL;
    MMPTE Pte = { .Long = 0 };

    if (Space == NULL || Kind == MiAddressForeign || Kind == MiAddressDirect)
    {
        return Pte;
    }
    if (Lock)
    {
        Slot = MiLockSpaceShared(Space);
    }
    Pte = MiReadLeafPte(Space->TopLevel, MiResolveAlias(Va));
    if (Lock)
    {
        MiUnlockSpaceShared(Space, Slot);
    }
    return Pte;
}

PHYSICAL_ADDRESS NTAPI MmGetPhysicalAddress(PVOID BaseAddress)
{
    ULONG_PTR Va = (ULONG_PTR)BaseAddress;
    PHYSICAL_ADDRESS Physical = { .QuadPart = 0 };
    MMPTE Pte;

    if (MiAddressKind(Va) == MiAddressDirect)
    {
        Physical.QuadPart = (LONG64)(Va - PORT_DIRECT_MAP_BASE);
        return Physical;
    }
    Pte = MiQueryPte(Va);
    if (Pte.Hard.Valid)
    {
        Physical.QuadPart = (LONG64)(((ULONG64)Pte.Hard.PageFrameNumber << PAGE_SHIFT) + BYTE_OFFSET(Va));
    }
    return Physical;
}

PVOID NTAPI MmGetVirtualForPhysical(PHYSICAL_ADDRESS PhysicalAddress)
{
    ULONG64 Address = (ULONG64)PhysicalAddress.QuadPart;

    if (!MiIsRamFrame((PFN_NUMBER)(Address >> PAGE_SHIFT)))
    {
        return NULL;
    }
    return (PUCHAR)PortDirectMap((PFN_NUMBER)(Address >> PAGE_SHIFT)) + (Address & (PAGE_SIZE - 1));
}

BOOLEAN NTAPI MmIsAddressValid(PVOID VirtualAddress)
{
    ULONG_PTR Va = (ULONG_PTR)VirtualAddress;

    return MiAddressKind(Va) == MiAddressDirect || MiQueryPte(Va).Hard.Valid;
}

BOOLEAN NTAPI MmIsNonPagedSystemAddressValid(PVOID VirtualAddress)
{
    MI_ADDRESS_KIND Kind = MiAddressKind((ULONG_PTR)VirtualAddress);
    MMPTE Pte = MiQueryPte((ULONG_PTR)VirtualAddress);

    /* Of pageable memory: drivers' sections that are locked. */
    return Kind == MiAddressDirect || (Kind == MiAddressSystemPte && Pte.Hard.Valid) ||
           (Kind == MiAddressSystem && Pte.Hard.Valid && (Pte.Long & MM_PTE_LOCKED_MASK) != 0);
}

/* ---- The machine ------------------------------------------------------------------------------------------------------ */

PPHYSICAL_MEMORY_RANGE NTAPI MmGetPhysicalMemoryRangesEx2(PVOID PartitionObject, ULONG Flags)
{
    PORT_MEMORY_RUN Runs[MI_MAXIMUM_RUNS];
    PPHYSICAL_MEMORY_RANGE Ranges;
    ULONG Count;

    /* There is one partition, and no file-only memory. */
    if (PartitionObject != NULL ||
        (Flags & ~(ULONG)(MM_GET_PHYSICAL_MEMORY_RANGES_INCLUDE_FILE_ONLY |
                          MM_GET_PHYSICAL_MEMORY_RANGES_INCLUDE_ALL_PARTITIONS)) != 0)
    {
        return NULL;
    }
    Count = MiQueryMemoryRanges(Runs);
    Ranges = MiAllocatePool((Count + 1) * sizeof(*Ranges), MI_TAG_RANGES);
    for (ULONG Index = 0; Ranges != NULL && Index < Count; Index++)
    {
        Ranges[Index].BaseAddress.QuadPart = (LONG64)(Runs[Index].BasePage << PAGE_SHIFT);
        Ranges[Index].NumberOfBytes.QuadPart = (LONG64)(Runs[Index].PageCount << PAGE_SHIFT);
    }
    return Ranges;
}

PPHYSICAL_MEMORY_RANGE NTAPI MmGetPhysicalMemoryRangesEx(PVOID PartitionObject)
{
    return MmGetPhysicalMemoryRangesEx2(PartitionObject, 0);
}

PPHYSICAL_MEMORY_RANGE NTAPI MmGetPhysicalMemoryRanges(VOID)
{
    return MmGetPhysicalMemoryRangesEx2(NULL, 0);
}

/* The book's borders for clients: small up to 512 MiB, large from 2 GiB on. */
MM_SYSTEMSIZE NTAPI MmQuerySystemSize(VOID)
{
    ULONG64 Megabytes = (ULONG64)MiState.Physical->NumberOfPages >> (20 - PAGE_SHIFT);

    return Megabytes <= 512 ? MmSmallSystem : (Megabytes < 2048 ? MmMediumSystem : MmLargeSystem);
}

BOOLEAN NTAPI MmIsThisAnNtAsSystem(VOID)
{
    return FALSE; /* Windows 11 is no server */
}
