/* SPDX-License-Identifier: MIT */
/*
 * Memory descriptor lists, inside: what the files of this room share. What drivers call is declared in nt/mdl.h and nt/mm.h.
 * Theory: docs/mdl.md.
 *
 * Locks: an MDL belongs to its caller, nobody locks it. Pages are locked with their space shared and their page table locked; they are
 * unlocked under the frame's lock alone.
 */
#ifndef NTMM_MDL_H
#define NTMM_MDL_H

#include "fault/fault.h"
#include "nt/mm.h"
#include "pool/verifier.h"
#include "translation/systemptes.h"

typedef struct _MI_CONTIGUOUS_BLOCK
{
    struct _MI_CONTIGUOUS_BLOCK *Next;
    ULONG_PTR Va; /* 0: the frames are used through the direct map */
    PFN_NUMBER Frame;
    SIZE_T Pages;
} MI_CONTIGUOUS_BLOCK;

/* What MmMapIoSpace handed out: tells how each device frame is cached. */
typedef struct _MI_IO_MAPPING
{
    struct _MI_IO_MAPPING *Next;
    ULONG_PTR Va; /* page aligned */
    PFN_NUMBER Frame;
    SIZE_T Pages;
    MEMORY_CACHING_TYPE CacheType; /* MmCached, MmNonCached or MmWriteCombined */
} MI_IO_MAPPING;

typedef struct _MI_MDL_STATE
{
    KSPIN_LOCK Lock;                 /* [M] a leaf */
    MI_CONTIGUOUS_BLOCK *Contiguous; /* [M] what MmAllocateContiguousMemory handed out */
    MI_IO_MAPPING *IoMappings;       /* [M] */
    volatile SIZE_T
        LockedPages; /* [C] pages of all locked MDLs of pageable memory: each is charged resident-available */
    volatile SIZE_T
        MdlPages; /* [C] pages of MmAllocatePagesForMdl: charged commitment and resident-available */
} MI_MDL_STATE;

NTSTATUS MiInitializeMdl(void);
VOID MiShutdownMdl(void); /* bug-checks when contiguous memory, pages of MDLs or locked pages are left */

#define MI_PHYSICAL_LIMIT_PAGES (1ull << (52 - PAGE_SHIFT)) /* what a PTE can name */

#define MI_TAG_MDL MI_TAG('M', 'd', 'l', ' ')

/* ---- Kinds of addresses -------------------------------------------------------------------------------------------- */

typedef enum _MI_ADDRESS_KIND
{
    MiAddressForeign,   /* not NT memory: the surroundings' own */
    MiAddressDirect,    /* the direct map: nonpaged memory of the kernel */
    MiAddressSystemPte, /* a mapping of this room's */
    MiAddressSystem,    /* the rest of the system window: may be pageable */
    MiAddressSession,   /* of the current session: may be pageable */
    MiAddressUser
} MI_ADDRESS_KIND;

MI_ADDRESS_KIND MiAddressKind(ULONG_PTR Va);

static FORCEINLINE BOOLEAN MiIsPageableKind(MI_ADDRESS_KIND Kind)
{
    return Kind == MiAddressSystem || Kind == MiAddressSession || Kind == MiAddressUser;
}

/* ---- The MDL ------------------------------------------------------------------------------------------------------------- */

static FORCEINLINE ULONG_PTR MiMdlVa(const MDL *Mdl)
{
    return (ULONG_PTR)Mdl->StartVa + Mdl->ByteOffset;
}

static FORCEINLINE SIZE_T MiMdlPages(const MDL *Mdl)
{
    return ADDRESS_AND_SIZE_TO_SPAN_PAGES(MiMdlVa(Mdl), Mdl->ByteCount);
}

/* MdlFlags is a signed short, but its bits are flags. */
static FORCEINLINE VOID MiSetMdlFlags(PMDL Mdl, ULONG Set, ULONG Clear)
{
    Mdl->MdlFlags = (CSHORT)(((ULONG)(USHORT)Mdl->MdlFlags & ~Clear) | Set);
}

/* ---- Between the files --------------------------------------------------------------------------------------------------- */

/* lock.c: one more reason to keep a frame that is not free. FALSE: it is free, or has as many as it can count. DISPATCH_LEVEL. */
BOOLEAN MiReferenceFrame(PFN_NUMBER Frame);

/* lock.c: gives back what locking took from the first Pages pages of Frames. */
VOID MiUnlockFrames(PMDL Mdl, const PFN_NUMBER *Frames, SIZE_T Pages, BOOLEAN Written);

/* map.c: how a frame is cached, as all mappings of it must be. */
VOID MiSetFrameCaching(PFN_NUMBER Frame, MEMORY_CACHING_TYPE Type);

/* A system PTE without its frame: what a mapping with this MM_* protection looks like. Accessed, and dirty where writable. */
MMPTE MiMakeMappingTemplate(ULONG Protection);

/* The same for the pages of an MDL: where they are a device's, the entries say so. */
static FORCEINLINE MMPTE MiMakeMdlTemplate(const MDL *Mdl, ULONG Protection)
{
    MMPTE Template = MiMakeMappingTemplate(Protection);

    Template.Long |= (Mdl->MdlFlags & MDL_IO_SPACE) != 0 ? MM_PTE_PHYSICAL : 0;
    return Template;
}

/* How device memory is mapped by MmMapIoSpace; MmNonCached where it is not. iospace.c */
MEMORY_CACHING_TYPE MiIoSpaceCaching(PFN_NUMBER Frame);
/* Whether MmMapIoSpace maps one of the frames with another caching type. */
BOOLEAN MiIoSpaceConflicts(const PFN_NUMBER *Frames, SIZE_T Pages, MEMORY_CACHING_TYPE CacheType);

/* The MM_* protection for a caching type and MdlMapping* flags; MM_INVALID_PROTECTION for no legal type. */
ULONG MiMappingProtection(MEMORY_CACHING_TYPE CacheType, ULONG Priority);

/* What a caching type is for the processor: MmCached, MmNonCached, MmWriteCombined; MmNotMapped for no legal type. */
MEMORY_CACHING_TYPE MiBasicCaching(MEMORY_CACHING_TYPE CacheType);

/* How a frame is cached, MmNotMapped for what is no RAM or nobody holds. */
MEMORY_CACHING_TYPE MiFrameCaching(PFN_NUMBER Frame);

/* The pages may be mapped: locked or nonpaged, of this caching type. Bug check 0x1A/0x1233 if not locked; FALSE: caching conflicts. */
BOOLEAN MiCheckPagesForMapping(const MDL *Mdl, MEMORY_CACHING_TYPE CacheType);

/*
 * usermap.c: maps Frames at Va (0: anywhere) in the user half of Space, and takes such a mapping away. The frames are kept by a reference
 * each until then. STATUS_CONFLICTING_ADDRESSES, STATUS_NO_MEMORY, STATUS_INSUFFICIENT_RESOURCES, STATUS_COMMITMENT_LIMIT,
 * STATUS_PROCESS_IS_TERMINATING. IRQL <= APC_LEVEL.
 */
NTSTATUS MiMapFramesIntoUserSpace(PMI_ADDRESS_SPACE Space, const PFN_NUMBER *Frames, SIZE_T Pages,
                                  ULONG Protection, PULONG_PTR Va);
/* FALSE: no such mapping begins at Va, or it is smaller than Pages. */
BOOLEAN MiUnmapUserFrames(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, SIZE_T Pages);
PVOID MiMapMdlIntoUserSpace(PMDL Mdl, MEMORY_CACHING_TYPE CacheType, PVOID RequestedAddress, ULONG Priority);
VOID MiUnmapMdlFromUserSpace(PMDL Mdl, PVOID BaseAddress);

/*
 * verify.c: what Driver Verifier checks of calls by verified drivers. Each function asks MI_IS_VERIFIED first: one load while the verifier is off.
 */
#define MI_IS_VERIFIED() ExIsCallerVerified(__builtin_return_address(0))
/* Codes: for the IRQL, for flags (0: not looked at). Whom: the access mode or the process, as documented for the first. */
VOID MiVerifyLock(const MDL *Mdl, ULONG IrqlCode, ULONG FlagsCode, ULONG_PTR Whom);
VOID MiVerifyUnlock(const MDL *Mdl);
VOID MiVerifyMap(PMDL Mdl, KPROCESSOR_MODE Mode, ULONG BugCheckOnFailure);
/* MmMapLockedPages, which nobody should call. */
VOID MiVerifyOldMap(const MDL *Mdl, KPROCESSOR_MODE Mode);
VOID MiVerifyBuild(const MDL *Mdl);
/* MmAllocatePagesForMdl(Ex), MmFreePagesFromMdl. */
VOID MiVerifyPages(void);
VOID MiVerifyUnmap(const MDL *Mdl, PVOID BaseAddress);
VOID MiVerifyFreeMdl(const MDL *Mdl);
VOID MiVerifyMapIoSpace(PHYSICAL_ADDRESS PhysicalAddress, SIZE_T Bytes);
VOID MiVerifyUnmapIoSpace(PVOID BaseAddress, SIZE_T Bytes);

/* Bug-checks SYSTEM_PTE_MISUSE unless the entries at Va map the pages of the MDL. */
VOID MiCheckMappingOfMdl(const MDL *Mdl, ULONG_PTR Va);

#endif
