/* SPDX-License-Identifier: MIT */
/*
 * Physically contiguous memory for drivers. Cached memory is used through the direct map, which maps every frame already; other caching
 * types get system PTEs. Where no run is free, pages move out of the way, and are trimmed and written where that is not enough, if
 * IRQL lets us wait.
 */
#include "mdl/mdl.h"

#define MI_TAG_CONTIGUOUS MI_TAG('M', 'm', 'C', 'm')

typedef struct _MI_CONTIGUOUS_REQUEST
{
    SIZE_T Pages;
    PFN_NUMBER Lowest;
    PFN_NUMBER Highest;
    PFN_NUMBER Boundary; /* 0: none */
    PFN_NUMBER Align;    /* wanted, if it can be had; 1: none */
    ULONG Node;          /* MI_ANY_NODE: any */
} MI_CONTIGUOUS_REQUEST;

/* The lowest window between two boundaries that has a run. */
static PFN_NUMBER MiFindAlignedOnNode(const MI_CONTIGUOUS_REQUEST *Request, ULONG Node, PFN_NUMBER Align)
{
    PFN_NUMBER Low = Request->Lowest;

    if (Request->Boundary == 0)
    {
        return MiAllocateContiguousPagesOnNode(Request->Pages, Low, Request->Highest, Align, Node);
    }
    while (Low <= Request->Highest && Low <= MiState.Physical->HighestPage)
    {
        PFN_NUMBER Next = (Low / Request->Boundary + 1) * Request->Boundary;
        PFN_NUMBER High = Next - 1 < Request->Highest ? Next - 1 : Request->Highest;

        if (High - Low + 1 >= Request->Pages)
        {
            PFN_NUMBER Frame = MiAllocateContiguousPagesOnNode(Request->Pages, Low, High, Align, Node);

            if (Frame != 0)
            {
                return Frame;
            }
        }
        Low = Next;
    }
    return 0;
}

static PFN_NUMBER MiFindContiguousOnNode(const MI_CONTIGUOUS_REQUEST *Request, ULONG Node)
{
    PFN_NUMBER Frame = Request->Align > 1 ? MiFindAlignedOnNode(Request, Node, Request->Align) : 0;

    return Frame != 0 ? Frame : MiFindAlignedOnNode(Request, Node, 1);
}

/* The preferred node first; it is a preference. */
static PFN_NUMBER MiFindContiguous(const MI_CONTIGUOUS_REQUEST *Request)
{
    PFN_NUMBER Frame = MiFindContiguousOnNode(Request, Request->Node);

    return Frame == 0 && Request->Node != MI_ANY_NODE ? MiFindContiguousOnNode(Request, MI_ANY_NODE) : Frame;
}

static PFN_NUMBER MiTakeContiguous(const MI_CONTIGUOUS_REQUEST *Request)
{
    PFN_NUMBER Frame = MiFindContiguous(Request);
    MI_VACATE_REQUEST Vacate = { .Count = Request->Pages,
                                 .Lowest = Request->Lowest,
                                 .Highest = Request->Highest,
                                 .Boundary = Request->Boundary };

    if (Frame == 0 && KeGetCurrentIrql() <= APC_LEVEL)
    {
        Frame = MiVacateFrames(&Vacate);
    }
    if (Frame == 0 && KeGetCurrentIrql() == PASSIVE_LEVEL)
    {
        /* Too little is available, or page tables are in the way: these go when nothing below them is in memory. */
        MiDriveOut();
        Frame = MiFindContiguous(Request);
        Frame = Frame != 0 ? Frame : MiVacateFrames(&Vacate);
    }
    return Frame;
}

static VOID MiRecordContiguous(MI_CONTIGUOUS_BLOCK *Block)
{
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Mdl->Lock);

    Block->Next = MiState.Mdl->Contiguous;
    MiState.Mdl->Contiguous = Block;
    KiReleaseSpinLock(&MiState.Mdl->Lock, OldIrql);
}

/* The frames get their caching type and, unless cached, addresses of their own. FALSE: no system PTEs. */
static BOOLEAN MiMapContiguous(MI_CONTIGUOUS_BLOCK *Block, MEMORY_CACHING_TYPE CacheType, ULONG Protection)
{
    if (CacheType == MmCached || CacheType == MmHardwareCoherentCached)
    {
        Block->Va = (ULONG_PTR)PortDirectMap(Block->Frame);
        return TRUE;
    }
    Block->Va = MiReserveSystemPtesForRun(Block->Frame, Block->Pages);
    if (Block->Va == 0)
    {
        return FALSE;
    }
    for (SIZE_T Index = 0; Index < Block->Pages; Index++)
    {
        MiSetFrameCaching(Block->Frame + Index, CacheType);
    }
    MiMapSystemRun(Block->Va, Block->Frame, Block->Pages, MiMakeMappingTemplate(Protection));
    return TRUE;
}

/* Charged, taken, mapped, recorded: each step undone when the next fails. */
static PVOID MiAllocateContiguous(MI_CONTIGUOUS_REQUEST *Request, MEMORY_CACHING_TYPE CacheType,
                                  ULONG Protection)
{
    ULONG CommitFlags = KeGetCurrentIrql() > APC_LEVEL ? MI_COMMIT_NO_EXTEND : 0;
    MI_CONTIGUOUS_BLOCK *Block;

    if (Request->Pages == 0 || Request->Pages > MiState.Physical->NumberOfPages ||
        Protection == MM_INVALID_PROTECTION)
    {
        return NULL;
    }
    if (MiBasicCaching(CacheType) != MmCached && Request->Pages >= MI_PTES_PER_PAGE)
    {
        Request->Align =
            MI_PTES_PER_PAGE; /* for large pages; the direct map needs no alignment for its own */
    }
    Block = MiAllocatePool(sizeof(*Block), MI_TAG_CONTIGUOUS);
    if (Block == NULL)
    {
        return NULL;
    }
    if (MiChargeCommitment(Request->Pages, CommitFlags))
    {
        if (MiChargeResidentAvailable(Request->Pages))
        {
            Block->Pages = Request->Pages;
            Block->Frame = MiTakeContiguous(Request);
            if (Block->Frame != 0)
            {
                if (MiMapContiguous(Block, CacheType, Protection))
                {
                    MiRecordContiguous(Block);
                    return (PVOID)Block->Va;
                }
                MiFreeContiguousPages(Block->Frame, Block->Pages);
            }
            MiReturnResidentAvailable(Request->Pages);
        }
        MiReturnCommitment(Request->Pages);
    }
    MiFreePool(Block, MI_TAG_CONTIGUOUS);
    return NULL;
}

static MI_CONTIGUOUS_REQUEST MiMakeContiguousRequest(SIZE_T Bytes, ULONG64 Lowest, ULONG64 Highest,
                                                     ULONG64 Boundary)
{
    MI_CONTIGUOUS_REQUEST Request = { .Pages = BYTES_TO_PAGES(Bytes),
                                      .Lowest = (PFN_NUMBER)((Lowest + PAGE_SIZE - 1) >> PAGE_SHIFT),
                                      .Highest = (PFN_NUMBER)(Highest >> PAGE_SHIFT),
                                      .Boundary = (PFN_NUMBER)(Boundary >> PAGE_SHIFT),
                                      .Align = 1,
                                      .Node = MI_ANY_NODE };

    /* The last byte of the last page, too, lies at or below Highest. */
    if ((Highest & (PAGE_SIZE - 1)) != PAGE_SIZE - 1 && Request.Highest != 0)
    {
        Request.Highest--;
    }
    if (Lowest > Highest || Bytes > (SIZE_T)MAXLONG64 || (Boundary & (PAGE_SIZE - 1)) != 0 ||
        (Request.Boundary != 0 && Request.Boundary < Request.Pages))
    {
        Request.Pages = 0;
    }
    return Request;
}

PVOID NTAPI MmAllocateContiguousMemorySpecifyCache(SIZE_T NumberOfBytes,
                                                   PHYSICAL_ADDRESS LowestAcceptableAddress,
                                                   PHYSICAL_ADDRESS HighestAcceptableAddress,
                                                   PHYSICAL_ADDRESS BoundaryAddressMultiple,
                                                   MEMORY_CACHING_TYPE CacheType)
{
    MI_CONTIGUOUS_REQUEST Request = MiMakeContiguousRequest(
        NumberOfBytes, (ULONG64)LowestAcceptableAddress.QuadPart, (ULONG64)HighestAcceptableAddress.QuadPart,
        (ULONG64)BoundaryAddressMultiple.QuadPart);

    return MiAllocateContiguous(&Request, CacheType, MiMappingProtection(CacheType, 0));
}

PVOID NTAPI MmAllocateContiguousMemory(SIZE_T NumberOfBytes, PHYSICAL_ADDRESS HighestAcceptableAddress)
{
    PHYSICAL_ADDRESS Zero = { .QuadPart = 0 };

    return MmAllocateContiguousMemorySpecifyCache(NumberOfBytes, Zero, HighestAcceptableAddress, Zero,
                                                  MmCached);
}

/* MM_ANY_NODE_OK beside a number: another node will do as well. FALSE: there is no such node. */
static BOOLEAN MiPreferNode(MI_CONTIGUOUS_REQUEST *Request, NODE_REQUIREMENT PreferredNode)
{
    if (PreferredNode == MM_ANY_NODE_OK)
    {
        return TRUE;
    }
    Request->Node = PreferredNode & ~(ULONG)MM_ANY_NODE_OK;
    return Request->Node < MiState.Physical->NodeCount;
}

PVOID NTAPI MmAllocateContiguousMemorySpecifyCacheNode(
    SIZE_T NumberOfBytes, PHYSICAL_ADDRESS LowestAcceptableAddress, PHYSICAL_ADDRESS HighestAcceptableAddress,
    PHYSICAL_ADDRESS BoundaryAddressMultiple, MEMORY_CACHING_TYPE CacheType, NODE_REQUIREMENT PreferredNode)
{
    MI_CONTIGUOUS_REQUEST Request = MiMakeContiguousRequest(
        NumberOfBytes, (ULONG64)LowestAcceptableAddress.QuadPart, (ULONG64)HighestAcceptableAddress.QuadPart,
        (ULONG64)BoundaryAddressMultiple.QuadPart);

    return MiPreferNode(&Request, PreferredNode)
               ? MiAllocateContiguous(&Request, CacheType, MiMappingProtection(CacheType, 0))
               : NULL;
}

PVOID NTAPI MmAllocateContiguousNodeMemory(SIZE_T NumberOfBytes, PHYSICAL_ADDRESS LowestAcceptableAddress,
                                           PHYSICAL_ADDRESS HighestAcceptableAddress,
                                           PHYSICAL_ADDRESS BoundaryAddressMultiple, ULONG Protect,
                                           NODE_REQUIREMENT PreferredNode)
{
    MI_CONTIGUOUS_REQUEST Request = MiMakeContiguousRequest(
        NumberOfBytes, (ULONG64)LowestAcceptableAddress.QuadPart, (ULONG64)HighestAcceptableAddress.QuadPart,
        (ULONG64)BoundaryAddressMultiple.QuadPart);
    ULONG Access = Protect & ~(ULONG)(PAGE_NOCACHE | PAGE_WRITECOMBINE);
    MEMORY_CACHING_TYPE CacheType = (Protect & PAGE_NOCACHE) != 0        ? MmNonCached
                                    : (Protect & PAGE_WRITECOMBINE) != 0 ? MmWriteCombined
                                                                         : MmCached;

    if (!MiPreferNode(&Request, PreferredNode))
    {
        return NULL;
    }
    if (Access != PAGE_READWRITE && Access != PAGE_EXECUTE_READWRITE)
    {
        return NULL;
    }
    return MiAllocateContiguous(&Request, CacheType, MiMakeProtectionMask(Protect));
}

static MI_CONTIGUOUS_BLOCK *MiForgetContiguous(ULONG_PTR Va)
{
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Mdl->Lock);
    MI_CONTIGUOUS_BLOCK **Link = &MiState.Mdl->Contiguous;
    MI_CONTIGUOUS_BLOCK *Block;

    while (*Link != NULL && (*Link)->Va != Va)
    {
        Link = &(*Link)->Next;
    }
    Block = *Link;
    if (Block != NULL)
    {
        *Link = Block->Next;
    }
    KiReleaseSpinLock(&MiState.Mdl->Lock, OldIrql);
    return Block;
}

/* Pages 0: whatever the block has. */
static VOID MiFreeContiguous(PVOID BaseAddress, SIZE_T Pages)
{
    MI_CONTIGUOUS_BLOCK *Block = MiForgetContiguous((ULONG_PTR)BaseAddress);

    if (Block == NULL || (Pages != 0 && Pages != Block->Pages))
    {
        KiBugCheckMessage(
            BAD_POOL_CALLER, 0x46, (ULONG_PTR)BaseAddress, Pages, Block != NULL ? Block->Pages : 0,
            "%p with %llu pages is no contiguous memory that was allocated", BaseAddress, (ULONG64)Pages);
    }
    if (MiIsSystemPteAddress(Block->Va))
    {
        MiUnmapSystemPtes(Block->Va, Block->Pages);
        MiReleaseSystemPtes(Block->Va, Block->Pages);
    }
    MiFreeContiguousPages(Block->Frame, Block->Pages);
    MiReturnResidentAvailable(Block->Pages);
    MiReturnCommitment(Block->Pages);
    MiFreePool(Block, MI_TAG_CONTIGUOUS);
}

VOID NTAPI MmFreeContiguousMemory(PVOID BaseAddress)
{
    MiFreeContiguous(BaseAddress, 0);
}

VOID NTAPI MmFreeContiguousMemorySpecifyCache(PVOID BaseAddress, SIZE_T NumberOfBytes,
                                              MEMORY_CACHING_TYPE CacheType)
{
    UNREFERENCED_PARAMETER(CacheType);
    MiFreeContiguous(BaseAddress, BYTES_TO_PAGES(NumberOfBytes));
}

/* Noncached memory need not be contiguous; a run is what we have, and costs nothing more. */
PVOID NTAPI MmAllocateNonCachedMemory(SIZE_T NumberOfBytes)
{
    PHYSICAL_ADDRESS Zero = { .QuadPart = 0 };
    PHYSICAL_ADDRESS Highest = { .QuadPart = MAXLONG64 };

    return MmAllocateContiguousMemorySpecifyCache(NumberOfBytes, Zero, Highest, Zero, MmNonCached);
}

VOID NTAPI MmFreeNonCachedMemory(PVOID BaseAddress, SIZE_T NumberOfBytes)
{
    MmFreeContiguousMemorySpecifyCache(BaseAddress, NumberOfBytes, MmNonCached);
}
