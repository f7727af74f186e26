/* SPDX-License-Identifier: MIT */
/*
 * MDLs without a buffer behind them, and mappings that last for a call: MmMapMdl maps pages while a routine of the driver runs, and
 * MmAllocateMdlForIoSpace describes device memory. Nothing here waits: IRQL <= DISPATCH_LEVEL.
 */
#include "mdl/mdl.h"
#include "nt/ex.h"

/* ---- For the time of a call --------------------------------------------------------------------------------------------- */

typedef struct _MI_MDL_CALL
{
    PMM_MDL_ROUTINE Routine;
    PVOID Context;
    PVOID MappedVa;
} MI_MDL_CALL;

static VOID MiCallMdlRoutine(PVOID Context)
{
    const MI_MDL_CALL *Call = Context;

    Call->Routine(Call->Context, Call->MappedVa);
}

/* What the routine raises comes back as a status and a record. At DISPATCH_LEVEL nobody raises anything (a bug check). */
static NTSTATUS MiRunMdlRoutine(MI_MDL_CALL *Call, PEXCEPTION_RECORD Record)
{
    if (KeGetCurrentIrql() < DISPATCH_LEVEL)
    {
        return KiGuardedCall(MiCallMdlRoutine, Call, Record);
    }
    MiCallMdlRoutine(Call);
    return STATUS_SUCCESS;
}

/* The caching type that Protection asks for; without a word about it, that of the pages. */
static MEMORY_CACHING_TYPE MiCachingForMdl(const MDL *Mdl, ULONG Protection)
{
    if (Protection & PAGE_NOCACHE)
    {
        return MmNonCached;
    }
    if (Protection & PAGE_WRITECOMBINE)
    {
        return MmWriteCombined;
    }
    return (Mdl->MdlFlags & MDL_IO_SPACE) != 0 ? MiIoSpaceCaching(*(const PFN_NUMBER *)(Mdl + 1))
                                               : MiFrameCaching(*(const PFN_NUMBER *)(Mdl + 1));
}

/* The MDL itself is left alone, so several processors may do this with one MDL at the same time. */
NTSTATUS NTAPI MmMapMdl(PMDL MemoryDescriptorList, ULONG Protection, PMM_MDL_ROUTINE DriverRoutine,
                        PVOID DriverContext)
{
    PMDL Mdl = MemoryDescriptorList;
    MI_MDL_CALL Call = { .Routine = DriverRoutine, .Context = DriverContext };
    ULONG Access = MiMakeProtectionMask(Protection & ~(ULONG)(PAGE_NOCACHE | PAGE_WRITECOMBINE));
    SIZE_T Pages = MiMdlPages(Mdl);
    EXCEPTION_RECORD Record;
    MEMORY_CACHING_TYPE CacheType;
    NTSTATUS Status;
    ULONG_PTR Va;

    if ((Mdl->MdlFlags & (MDL_MAPPED_TO_SYSTEM_VA | MDL_SOURCE_IS_NONPAGED_POOL)) != 0)
    {
        DriverRoutine(DriverContext, Mdl->MappedSystemVa);
        return STATUS_SUCCESS;
    }
    if (MiMakeProtectionMask(Protection) == MM_INVALID_PROTECTION || MiIsCopyOnWrite(Access) ||
        MiIsGuarded(Access) || MiIsNoAccess(Access))
    {
        return STATUS_INVALID_PAGE_PROTECTION;
    }
    if (Pages == 0)
    {
        return STATUS_INVALID_PARAMETER_1;
    }
    CacheType = MiCachingForMdl(Mdl, Protection);
    if (!MiCheckPagesForMapping(Mdl, CacheType))
    {
        return STATUS_CONFLICTING_ADDRESSES;
    }
    Va = MiReserveSystemPtesForFrames(MmGetMdlPfnArray(Mdl), Pages);
    if (Va == 0)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    MiMapSystemPtes(Va, MmGetMdlPfnArray(Mdl), Pages,
                    MiMakeMdlTemplate(Mdl, Access | (CacheType == MmNonCached       ? MM_NOCACHE
                                                     : CacheType == MmWriteCombined ? MM_WRITECOMBINE
                                                                                    : 0)));
    Call.MappedVa = (PVOID)(Va + Mdl->ByteOffset);
    Status = MiRunMdlRoutine(&Call, &Record);
    MiUnmapSystemPtes(Va, Pages);
    MiReleaseSystemPtes(Va, Pages);
    if (Status != STATUS_SUCCESS)
    {
        RtlRaiseException(&Record); /* the routine's own affair */
    }
    return STATUS_SUCCESS;
}

/* ---- Device memory --------------------------------------------------------------------------------------------------------- */

/* Whole pages of device memory. *Pages grows by as many. */
static BOOLEAN MiIsIoRange(const MM_PHYSICAL_ADDRESS_LIST *Range, PSIZE_T Pages)
{
    ULONG64 Start = (ULONG64)Range->PhysicalAddress.QuadPart;
    SIZE_T Bytes = Range->NumberOfBytes;

    if (((Start | Bytes) & (PAGE_SIZE - 1)) != 0 || Bytes == 0 || Start == 0 ||
        Start >> PAGE_SHIFT >= MI_PHYSICAL_LIMIT_PAGES ||
        Bytes >> PAGE_SHIFT > MI_PHYSICAL_LIMIT_PAGES - (Start >> PAGE_SHIFT) || Bytes > MAXULONG)
    {
        return FALSE;
    }
    for (SIZE_T Page = 0; Page < Bytes >> PAGE_SHIFT; Page++)
    {
        if (MiIsRamFrame((PFN_NUMBER)(Start >> PAGE_SHIFT) + Page))
        {
            return FALSE;
        }
    }
    *Pages += Bytes >> PAGE_SHIFT;
    return TRUE;
}

NTSTATUS NTAPI MmAllocateMdlForIoSpace(PMM_PHYSICAL_ADDRESS_LIST PhysicalAddressList, SIZE_T NumberOfEntries,
                                       PMDL *NewMdl)
{
    SIZE_T Pages = 0;
    SIZE_T Count = 0;
    PMDL Mdl;

    for (SIZE_T Entry = 0; Entry < NumberOfEntries; Entry++)
    {
        if (!MiIsIoRange(&PhysicalAddressList[Entry], &Pages) || Pages << PAGE_SHIFT > MAXULONG)
        {
            return STATUS_INVALID_PARAMETER_1;
        }
    }
    if (Pages == 0)
    {
        return STATUS_INVALID_PARAMETER_2;
    }
    Mdl = IoAllocateMdl(NULL, (ULONG)(Pages << PAGE_SHIFT), FALSE, FALSE, NULL);
    if (Mdl == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    for (SIZE_T Entry = 0; Entry < NumberOfEntries; Entry++)
    {
        PFN_NUMBER First =
            (PFN_NUMBER)((ULONG64)PhysicalAddressList[Entry].PhysicalAddress.QuadPart >> PAGE_SHIFT);

        for (SIZE_T Page = 0; Page < PhysicalAddressList[Entry].NumberOfBytes >> PAGE_SHIFT; Page++)
        {
            MmGetMdlPfnArray(Mdl)[Count++] = First + Page;
        }
    }
    MiSetMdlFlags(Mdl, MDL_IO_SPACE, 0);
    *NewMdl = Mdl;
    return STATUS_SUCCESS;
}
