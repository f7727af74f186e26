/* SPDX-License-Identifier: MIT */
/*
 * Mapping locked pages into the user half of a process. The mapping is a VAD of its own kind (VadDevicePhysicalMemory) whose entries are
 * all valid from beginning to end and marked MM_PTE_PHYSICAL: they own no frame and are in no working set. Each keeps its frame by a
 * reference, so that a driver which unlocks the pages too early harms nobody but the memory balance, and so that the end of the process
 * needs no MDL to take the mapping away.
 *
 * The VAD is linked before its page tables are there, because the tables may have to be waited for with the space unlocked: its addresses
 * are taken, and an access meets a reservation.
 */
#include "mdl/mdl.h"
#include "nt/ex.h"
#include "virtual/range.h"

/* ---- References ------------------------------------------------------------------------------------------------------- */

static VOID MiDereferenceFrames(const PFN_NUMBER *Frames, SIZE_T Pages)
{
    for (SIZE_T Index = 0; Index < Pages; Index++)
    {
        if (MiIsRamFrame(Frames[Index]))
        {
            KIRQL OldIrql = KiRaiseIrqlToDispatch();

            MiLockPfn(MiPfn(Frames[Index]));
            MiDecrementReferenceCount(MiPfn(Frames[Index]));
            MiUnlockPfn(MiPfn(Frames[Index]));
            KiLowerIrqlFromDispatch(OldIrql);
        }
    }
}

static BOOLEAN MiReferenceFrames(const PFN_NUMBER *Frames, SIZE_T Pages)
{
    for (SIZE_T Index = 0; Index < Pages; Index++)
    {
        BOOLEAN Taken = TRUE;

        if (MiIsRamFrame(Frames[Index]))
        {
            KIRQL OldIrql = KiRaiseIrqlToDispatch();

            Taken = MiReferenceFrame(Frames[Index]);
            KiLowerIrqlFromDispatch(OldIrql);
        }
        if (!Taken)
        {
            MiDereferenceFrames(Frames, Index);
            return FALSE;
        }
    }
    return TRUE;
}

/* ---- Placing ------------------------------------------------------------------------------------------------------------ */

/* Finds or checks the addresses of Vad, whose size is known, and links it. Space exclusive. */
static NTSTATUS MiPlaceUserMapping(PMI_ADDRESS_SPACE Space, PMMVAD Vad, ULONG_PTR Va)
{
    SIZE_T Pages = MiVadPages(Vad);
    ULONG_PTR StartVpn = MiVpnOf(Va);
    MI_FIND_RANGE Find = { .Pages = Pages,
                           .AlignPages = MI_ALLOCATION_GRANULARITY >> PAGE_SHIFT,
                           .LowestVpn = Space->LowestVpn,
                           .HighestVpn = Space->HighestVpn,
                           .Randomize = TRUE };
    NTSTATUS Status = STATUS_SUCCESS;

    if (Space->Deleting)
    {
        return STATUS_PROCESS_IS_TERMINATING;
    }
    if (Va == 0)
    {
        Status = MiFindEmptyRange(Space, &Find, &StartVpn);
    }
    else if (!MiIsRangeAllocatable(Space, StartVpn, StartVpn + Pages - 1) ||
             MiLocateVadInRange(Space, StartVpn, StartVpn + Pages - 1) != NULL)
    {
        Status = STATUS_CONFLICTING_ADDRESSES;
    }
    if (NT_SUCCESS(Status))
    {
        Vad->StartingVpn = StartVpn;
        Vad->EndingVpn = StartVpn + Pages - 1;
        MiLinkVad(Space, Vad);
    }
    return Status;
}

/* All page tables of the linked VAD. Space exclusive on entry and exit; when the process ended meanwhile, the VAD is gone with it. */
static NTSTATUS MiMakeMappingTables(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    for (ULONG Round = 0; Round < MI_MAXIMUM_RESTARTS; Round++)
    {
        BOOLEAN Dropped;
        NTSTATUS Status = MiMakeTablesResident(Space, StartVpn, EndVpn, MI_CREATE_TABLES, &Dropped);

        if (Space->Deleting)
        {
            return STATUS_PROCESS_IS_TERMINATING;
        }
        if (!NT_SUCCESS(Status) || !Dropped)
        {
            return Status;
        }
    }
    return STATUS_NO_MEMORY;
}

/* The tables are there, every entry is zero. Space exclusive. */
static VOID MiWriteUserEntries(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, const PFN_NUMBER *Frames,
                               SIZE_T Pages, ULONG Protection)
{
    MMPTE Template = MiMakeMappingTemplate(Protection);
    PMMPTE PointerPte = NULL;

    Template.Long |= MM_PTE_OWNER | MM_PTE_PHYSICAL;
    for (SIZE_T Index = 0; Index < Pages; Index++)
    {
        ULONG_PTR Va = MiVaOf(StartVpn + Index);
        MMPTE Pte = { .Long = Template.Long | ((ULONG64)Frames[Index] << MM_PTE_FRAME_SHIFT) };

        if (PointerPte == NULL || MI_PTE_INDEX(Va, 0) == 0)
        {
            KiRequire(MiWalk(Space->TopLevel, Va, &PointerPte) == 0);
        }
        else
        {
            PointerPte++;
        }
        KiRequire(MiReadPte(PointerPte).Long == 0);
        MiWritePte(PointerPte, Pte);
        MiAddUsedEntries(PointerPte, 1);
        MiIncrementPageTableShare(PointerPte);
    }
}

/* The whole change, with the space locked. *Linked: the VAD is the space's. */
static NTSTATUS MiMapLocked(PMI_ADDRESS_SPACE Space, PMMVAD Vad, const PFN_NUMBER *Frames, ULONG_PTR Va,
                            BOOLEAN *Linked)
{
    ULONG Protection = Vad->u.Protection;
    SIZE_T Pages = MiVadPages(Vad);
    NTSTATUS Status = MiPlaceUserMapping(Space, Vad, Va);
    ULONG_PTR StartVpn = Vad->StartingVpn;

    *Linked = NT_SUCCESS(Status);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = MiMakeMappingTables(Space, StartVpn, StartVpn + Pages - 1);
    if (NT_SUCCESS(Status))
    {
        MiWriteUserEntries(Space, StartVpn, Frames, Pages, Protection);
    }
    else if (!Space->Deleting)
    {
        MiFreeEmptyTables(Space, StartVpn, StartVpn + Pages - 1);
        MiUnlinkVad(Space, Vad);
        *Linked = FALSE;
    }
    return Status;
}

NTSTATUS MiMapFramesIntoUserSpace(PMI_ADDRESS_SPACE Space, const PFN_NUMBER *Frames, SIZE_T Pages,
                                  ULONG Protection, PULONG_PTR Va)
{
    BOOLEAN Linked;
    NTSTATUS Status;
    PMMVAD Vad;

    if (Pages == 0 || Pages > Space->HighestVpn - Space->LowestVpn)
    {
        return STATUS_NO_MEMORY;
    }
    Vad = MiAllocateVad(0, Pages - 1);
    if (Vad == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Vad->u.VadType = VadDevicePhysicalMemory;
    Vad->u.Protection = Protection & 31u;
    Vad->u.CommitProtection = Protection & 31u;
    if (!MiReferenceFrames(Frames, Pages))
    {
        MiDestroyVad(Vad);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    MiLockSpaceExclusive(Space);
    Status = MiMapLocked(Space, Vad, Frames, *Va, &Linked);
    if (NT_SUCCESS(Status))
    {
        *Va = MiVaOf(Vad->StartingVpn);
    }
    MiUnlockSpaceExclusive(Space);
    if (!NT_SUCCESS(Status))
    {
        MiDereferenceFrames(Frames, Pages);
        if (!Linked)
        {
            MiDestroyVad(Vad);
        }
        return Status;
    }
    PortFillTb(Space->TopLevel, *Va, Pages, MiIsWritable(Protection));
    return STATUS_SUCCESS;
}

BOOLEAN MiUnmapUserFrames(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, SIZE_T Pages)
{
    BOOLEAN Found;
    PMMVAD Vad;

    MiLockSpaceExclusive(Space);
    Vad = MiLocateVad(Space, MiVpnOf(Va));
    Found = Vad != NULL && Vad->u.VadType == VadDevicePhysicalMemory && Vad->ControlArea == NULL &&
            Vad->StartingVpn == MiVpnOf(Va) && MiVadPages(Vad) >= Pages;
    if (Found)
    {
        MiDeletePages(Space, Vad->StartingVpn, Vad->EndingVpn);
        MiUnlinkVad(Space, Vad);
    }
    MiUnlockSpaceExclusive(Space);
    if (Found)
    {
        MiDestroyVad(Vad);
    }
    return Found;
}

/* ---- MDLs ----------------------------------------------------------------------------------------------------------------- */

static VOID MiRequirePassiveUser(const MDL *Mdl, PVOID Address)
{
    if (KeGetCurrentIrql() > APC_LEVEL)
    {
        KiBugCheckMessage(IRQL_NOT_LESS_OR_EQUAL, (ULONG_PTR)Address, KeGetCurrentIrql(), 1, 0,
                          "the MDL at %p is mapped to or unmapped from user mode at IRQL %u",
                          (const VOID *)Mdl, KeGetCurrentIrql());
    }
}

PVOID MiMapMdlIntoUserSpace(PMDL Mdl, MEMORY_CACHING_TYPE CacheType, PVOID RequestedAddress, ULONG Priority)
{
    PMI_ADDRESS_SPACE Space = MiCurrentSpace();
    ULONG Protection = MiMappingProtection(CacheType, Priority);
    ULONG_PTR Va = (ULONG_PTR)PAGE_ALIGN(RequestedAddress);
    NTSTATUS Status = STATUS_INVALID_ADDRESS;

    MiRequirePassiveUser(Mdl, RequestedAddress);
    if (Protection == MM_INVALID_PROTECTION || !MiCheckPagesForMapping(Mdl, CacheType))
    {
        ExRaiseStatus(STATUS_INVALID_PAGE_PROTECTION);
    }
    if (Space != NULL && !Space->System)
    {
        Status = MiMapFramesIntoUserSpace(Space, MmGetMdlPfnArray(Mdl), MiMdlPages(Mdl), Protection, &Va);
    }
    if (!NT_SUCCESS(Status))
    {
        ExRaiseStatus(Status);
    }
    return (PVOID)(Va + Mdl->ByteOffset);
}

VOID MiUnmapMdlFromUserSpace(PMDL Mdl, PVOID BaseAddress)
{
    PMI_ADDRESS_SPACE Space = MiCurrentSpace();

    MiRequirePassiveUser(Mdl, BaseAddress);
    if (Space == NULL || Space->System || !MiUnmapUserFrames(Space, (ULONG_PTR)BaseAddress, MiMdlPages(Mdl)))
    {
        KiBugCheckMessage(
            MEMORY_MANAGEMENT, 0x1238, (ULONG_PTR)Mdl, (ULONG_PTR)BaseAddress, MiMdlPages(Mdl),
            "the MDL at %p is unmapped from user address %p, where the current process has no such mapping",
            (PVOID)Mdl, BaseAddress);
    }
}
