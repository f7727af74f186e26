/* SPDX-License-Identifier: MIT */
/*
 * Pages without an address: MmAllocatePagesForMdl takes frames that belong to an MDL alone, locked by being nobody's. Frames with
 * constraints are looked for in windows of [Low, High] that move up by SkipBytes; without constraints the page lists give
 * them. A frame is the MDL's from the moment it is in its array, so giving back what there is undoes any half-way state.
 */
#include "mdl/mdl.h"

typedef struct _MI_PAGE_REQUEST
{
    PFN_NUMBER Low; /* window, inclusive */
    PFN_NUMBER High;
    PFN_NUMBER Skip; /* 0: one window */
    SIZE_T Pages;
    SIZE_T Chunk; /* consecutive, aligned to themselves; 1: any */
    BOOLEAN Zero;
    BOOLEAN MayWait; /* pages may move to make a chunk */
} MI_PAGE_REQUEST;

static BOOLEAN MiChargePages(SIZE_T Pages)
{
    ULONG Flags = KeGetCurrentIrql() > APC_LEVEL ? MI_COMMIT_NO_EXTEND : 0;

    if (!MiChargeCommitment(Pages, Flags))
    {
        return FALSE;
    }
    if (!MiChargeResidentAvailable(Pages))
    {
        MiReturnCommitment(Pages);
        return FALSE;
    }
    return TRUE;
}

static VOID MiReturnPages(SIZE_T Pages)
{
    if (Pages != 0)
    {
        MiReturnResidentAvailable(Pages);
        MiReturnCommitment(Pages);
    }
}

/* The kernel's own from now on: no PTE owns it. */
static VOID MiClaimFrame(PFN_NUMBER Frame, MEMORY_CACHING_TYPE CacheType)
{
    MMPFNENTRY Entry = { .PageLocation = ActiveAndValid, .Kernel = 1 };

    MiWritePfnEntry(MiPfn(Frame), Entry);
    MiSetFrameCaching(Frame, CacheType);
}

/* One chunk inside the window; 0: there is none. */
static PFN_NUMBER MiTakeChunk(const MI_PAGE_REQUEST *Request, PFN_NUMBER Low, PFN_NUMBER High)
{
    if (Request->Chunk == 1 && Low == 0 && High >= MiState.Physical->HighestPage)
    {
        return MiAllocatePage(Request->Zero ? MI_PAGE_ZEROED : 0);
    }
    {
        MI_VACATE_REQUEST Vacate = {
            .Count = Request->Chunk, .Lowest = Low, .Highest = High, .Align = Request->Chunk
        };
        PFN_NUMBER First = MiAllocateContiguousPages(Request->Chunk, Low, High, Request->Chunk);

        return First != 0 || Request->Chunk == 1 || !Request->MayWait ? First : MiVacateFrames(&Vacate);
    }
}

/* Fills the array as far as it goes; returns how many pages. */
static SIZE_T MiTakePages(const MI_PAGE_REQUEST *Request, PPFN_NUMBER Frames, MEMORY_CACHING_TYPE CacheType)
{
    PFN_NUMBER Low = Request->Low;
    PFN_NUMBER High = Request->High;
    SIZE_T Count = 0;

    while (Count < Request->Pages && Low <= MiState.Physical->HighestPage)
    {
        PFN_NUMBER First = MiTakeChunk(Request, Low, High);

        if (First == 0)
        {
            if (Request->Skip == 0)
            {
                break;
            }
            Low += Request->Skip;
            High += Request->Skip;
            continue;
        }
        for (SIZE_T Index = 0; Index < Request->Chunk; Index++)
        {
            MiClaimFrame(First + Index, CacheType);
            Frames[Count++] = First + Index;
        }
    }
    return Count;
}

static VOID MiGiveBackPages(const PFN_NUMBER *Frames, SIZE_T Pages)
{
    for (SIZE_T Index = 0; Index < Pages; Index++)
    {
        MiFreePage(Frames[Index]);
    }
}

/* FALSE: parameters that no page fits. */
static BOOLEAN MiMakeRequest(MI_PAGE_REQUEST *Request, ULONG64 Low, ULONG64 High, ULONG64 Skip,
                             SIZE_T TotalBytes, ULONG Flags)
{
    const ULONG Known = MM_DONT_ZERO_ALLOCATION | MM_ALLOCATE_FROM_LOCAL_NODE_ONLY |
                        MM_ALLOCATE_FULLY_REQUIRED | MM_ALLOCATE_NO_WAIT | MM_ALLOCATE_PREFER_CONTIGUOUS |
                        MM_ALLOCATE_REQUIRE_CONTIGUOUS_CHUNKS | MM_ALLOCATE_FAST_LARGE_PAGES |
                        MM_ALLOCATE_TRIM_IF_NECESSARY;

    Request->Low = (PFN_NUMBER)(Low >> PAGE_SHIFT);
    Request->High = (PFN_NUMBER)(High >> PAGE_SHIFT);
    Request->Skip = (PFN_NUMBER)(Skip >> PAGE_SHIFT);
    Request->Pages = BYTES_TO_PAGES(TotalBytes);
    Request->Chunk = 1;
    Request->Zero = (Flags & MM_DONT_ZERO_ALLOCATION) == 0;
    Request->MayWait = (Flags & MM_ALLOCATE_NO_WAIT) == 0 && KeGetCurrentIrql() <= APC_LEVEL;
    if ((Flags & ~Known) != 0 || Low > High || (Skip & (PAGE_SIZE - 1)) != 0 || TotalBytes == 0 ||
        TotalBytes > MAXULONG - PAGE_SIZE)
    {
        return FALSE;
    }
    if ((Flags & MM_ALLOCATE_REQUIRE_CONTIGUOUS_CHUNKS) != 0)
    {
        /* Documented: SkipBytes is the chunk size then, 0 one chunk of everything; Low and High bound all chunks. */
        Request->Chunk = Request->Skip != 0 ? Request->Skip : Request->Pages;
        Request->Skip = 0;
        if ((Request->Chunk & (Request->Chunk - 1)) != 0 && Skip != 0)
        {
            return FALSE;
        }
        if (Request->Pages % Request->Chunk != 0)
        {
            return FALSE;
        }
    }
    return TRUE;
}

PMDL NTAPI MmAllocatePagesForMdlEx(PHYSICAL_ADDRESS LowAddress, PHYSICAL_ADDRESS HighAddress,
                                   PHYSICAL_ADDRESS SkipBytes, SIZE_T TotalBytes,
                                   MEMORY_CACHING_TYPE CacheType, ULONG Flags)
{
    MI_PAGE_REQUEST Request;
    SIZE_T Got;
    PMDL Mdl;

    if (MI_IS_VERIFIED())
    {
        MiVerifyPages();
    }
    if (!MiMakeRequest(&Request, (ULONG64)LowAddress.QuadPart, (ULONG64)HighAddress.QuadPart,
                       (ULONG64)SkipBytes.QuadPart, TotalBytes, Flags) ||
        MiMappingProtection(CacheType, 0) == MM_INVALID_PROTECTION)
    {
        return NULL;
    }
    /* More than there is cannot come; the rest of the request may. */
    if (Request.Pages > MiState.Physical->NumberOfPages)
    {
        if ((Flags & MM_ALLOCATE_FULLY_REQUIRED) != 0 || Request.Chunk != 1)
        {
            return NULL;
        }
        Request.Pages = MiState.Physical->NumberOfPages;
    }
    Mdl = MiAllocatePool(sizeof(MDL) + Request.Pages * sizeof(PFN_NUMBER), MI_TAG_MDL);
    if (Mdl == NULL)
    {
        return NULL;
    }
    /* Partial success is documented: half as much, when that much may not be charged. */
    while (Request.Pages != 0 && !MiChargePages(Request.Pages))
    {
        Request.Pages =
            (Flags & MM_ALLOCATE_FULLY_REQUIRED) != 0 ? 0 : Request.Pages / 2 / Request.Chunk * Request.Chunk;
    }
    Got = MiTakePages(&Request, MmGetMdlPfnArray(Mdl), CacheType);
    if (Got < Request.Pages && (Flags & MM_ALLOCATE_FULLY_REQUIRED) != 0)
    {
        MiGiveBackPages(MmGetMdlPfnArray(Mdl), Got);
        MiReturnPages(Request.Pages);
        Request.Pages = 0;
        Got = 0;
    }
    MiReturnPages(Request.Pages - Got);
    if (Got == 0)
    {
        ExFreePool(Mdl);
        return NULL;
    }
    __atomic_fetch_add(&MiState.Mdl->MdlPages, Got, __ATOMIC_RELAXED);
    MmInitializeMdl(Mdl, NULL, Got << PAGE_SHIFT);
    MiSetMdlFlags(Mdl, MDL_PAGES_LOCKED, 0);
    return Mdl;
}

PMDL NTAPI MmAllocatePagesForMdl(PHYSICAL_ADDRESS LowAddress, PHYSICAL_ADDRESS HighAddress,
                                 PHYSICAL_ADDRESS SkipBytes, SIZE_T TotalBytes)
{
    if (MI_IS_VERIFIED())
    {
        MiVerifyPages();
    }
    return MmAllocatePagesForMdlEx(LowAddress, HighAddress, SkipBytes, TotalBytes, MmCached, 0);
}

/* There is one node. */
PMDL NTAPI MmAllocateNodePagesForMdlEx(PHYSICAL_ADDRESS LowAddress, PHYSICAL_ADDRESS HighAddress,
                                       PHYSICAL_ADDRESS SkipBytes, SIZE_T TotalBytes,
                                       MEMORY_CACHING_TYPE CacheType, ULONG IdealNode, ULONG Flags)
{
    return IdealNode != 0
               ? NULL
               : MmAllocatePagesForMdlEx(LowAddress, HighAddress, SkipBytes, TotalBytes, CacheType, Flags);
}

VOID NTAPI MmFreePagesFromMdl(PMDLX MemoryDescriptorList)
{
    PMDL Mdl = MemoryDescriptorList;
    SIZE_T Pages = MiMdlPages(Mdl);

    if (MI_IS_VERIFIED())
    {
        MiVerifyPages();
    }
    for (SIZE_T Index = 0; Index < Pages; Index++)
    {
        PFN_NUMBER Frame = MmGetMdlPfnArray(Mdl)[Index];

        if ((Mdl->MdlFlags & MDL_PAGES_LOCKED) == 0 || Mdl->StartVa != NULL || !MiIsRamFrame(Frame) ||
            !MiReadPfnEntry(MiPfn(Frame)).Kernel)
        {
            KiBugCheckMessage(
                MEMORY_MANAGEMENT, 0x1236, (ULONG_PTR)Mdl, (ULONG_PTR)&MmGetMdlPfnArray(Mdl)[Index], Frame,
                "MmFreePagesFromMdl: frame %llx is not a page of MmAllocatePagesForMdl", (ULONG64)Frame);
        }
        if (MiPfn(Frame)->ReferenceCount > 1)
        {
            KiBugCheckMessage(PFN_LIST_CORRUPT, 0x9A, Frame, MiReadPfnEntry(MiPfn(Frame)).PageLocation,
                              MiPfn(Frame)->ReferenceCount,
                              "MmFreePagesFromMdl: frame %llx is still locked, or mapped in user mode",
                              (ULONG64)Frame);
        }
    }
    if ((Mdl->MdlFlags & MDL_MAPPED_TO_SYSTEM_VA) != 0)
    {
        MmUnmapLockedPages(Mdl->MappedSystemVa, Mdl);
    }
    MiGiveBackPages(MmGetMdlPfnArray(Mdl), Pages);
    MiReturnPages(Pages);
    __atomic_fetch_sub(&MiState.Mdl->MdlPages, Pages, __ATOMIC_RELAXED);
    MiSetMdlFlags(Mdl, 0, MDL_PAGES_LOCKED);
}
