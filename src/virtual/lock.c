/* SPDX-License-Identifier: MIT */
/*
 * VirtualLock: pages stay in the working set (MAP_PROCESS) or in memory (MAP_SYSTEM) by bits in their valid
 * entries, which trimming respects. Locking faults page after page in, so it may have to wait in the middle;
 * what it has locked until then is remembered in a bitmap and undone if a later page cannot be locked.
 * A large page is one page: it has the bits in its own entry, and costs no quota, because it is never in a working set and never leaves memory.
 */
#include "virtual/range.h"

/* A process cannot lock its whole minimum working set (documented: "minus a small overhead"). */
#define MI_LOCK_OVERHEAD 8u

#define MI_LOCK_PAGES 32u /* described by one word of MI_LOCKING.New */

typedef struct _MI_LOCKING
{
    PMI_ADDRESS_SPACE Space;
    ULONG_PTR StartVpn;
    ULONG_PTR EndVpn;
    ULONG64 Bits; /* in the entry */
    BOOLEAN WasLocked;
    ULONG64 *New; /* two bits for each page: the locks that it got from this call */
} MI_LOCKING;

static ULONG64 MiLockBits(ULONG MapType)
{
    return ((MapType & MAP_PROCESS) != 0 ? 1ull << MM_PTE_LOCKED_SHIFT : 0) |
           ((MapType & MAP_SYSTEM) != 0 ? 2ull << MM_PTE_LOCKED_SHIFT : 0);
}

static NTSTATUS MiCheckLockRange(ULONG_PTR Base, SIZE_T Size)
{
    if (Base > PORT_USER_HIGHEST || Size == 0 || Size > PORT_USER_HIGHEST + 1 - Base)
    {
        return STATUS_INVALID_PARAMETER;
    }
    return STATUS_SUCCESS;
}

/* Pages of the range that no lock holds yet. Space locked. */
static SIZE_T MiCountUnlocked(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    SIZE_T Unlocked = EndVpn - StartVpn + 1;
    MI_RANGE Range;
    MI_CHUNK Chunk;

    MiBeginRange(&Range, Space, StartVpn, EndVpn);
    while ((Chunk = MiNextChunk(&Range)) != MiChunkEnd)
    {
        ULONG_PTR Count = Chunk == MiChunkTable ? Range.NextVpn - Range.Vpn : 0;

        Unlocked -= Chunk == MiChunkLarge ? Range.NextVpn - Range.Vpn : 0;
        for (ULONG_PTR Index = 0; Index < Count; Index++)
        {
            MMPTE Pte = MiReadPte(&Range.PointerPte[Index]);

            Unlocked -= Pte.Hard.Valid && (Pte.Long & MM_PTE_LOCKED_MASK) != 0;
        }
    }
    return Unlocked;
}

/* Whether every page is committed and accessible, and the quota permits to lock it. Shared lock. */
static NTSTATUS MiCheckLockQuota(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    NTSTATUS Status = STATUS_SUCCESS;
    MI_SPACE_SLOT *Slot = MiLockSpaceShared(Space);
    SIZE_T Minimum = Space->Vm.MinimumWorkingSetSize;
    SIZE_T Unlocked;

    if (Space->Deleting)
    {
        Status = STATUS_PROCESS_IS_TERMINATING;
    }
    for (ULONG_PTR Vpn = StartVpn; NT_SUCCESS(Status) && Vpn <= EndVpn;)
    {
        PMMVAD Vad = MiLocateVad(Space, Vpn);

        if (Vad == NULL || (Vad->CommitCharge == 0 && Vad->ControlArea == NULL))
        {
            Status = STATUS_ACCESS_VIOLATION;
            break;
        }
        Vpn = Vad->EndingVpn + 1;
    }
    if (NT_SUCCESS(Status))
    {
        Unlocked = MiCountUnlocked(Space, StartVpn, EndVpn);
        if (Space->Vm.LockedPages + Unlocked + MI_LOCK_OVERHEAD > Minimum)
        {
            Status = STATUS_WORKING_SET_QUOTA;
        }
    }
    MiUnlockSpaceShared(Space, Slot);
    return Status;
}

static VOID MiNoteNewLock(MI_LOCKING *Locking, ULONG_PTR Vpn, MMPTE Pte)
{
    SIZE_T Page = Vpn - Locking->StartVpn;

    Locking->New[Page / MI_LOCK_PAGES] |= ((Locking->Bits & ~Pte.Long) >> MM_PTE_LOCKED_SHIFT)
                                          << (Page % MI_LOCK_PAGES * 2);
}

/* Noted at the first page of the range that is a part of it. */
static VOID MiLockLargePage(MI_LOCKING *Locking, PMMPTE Entry, ULONG_PTR Vpn)
{
    MMPTE Pte = MiReadPte(Entry);

    Locking->WasLocked |= (Pte.Long & Locking->Bits) == Locking->Bits;
    MiNoteNewLock(Locking, Vpn, Pte);
    MiSetPteBits(Entry, Locking->Bits);
}

/*
 * Locks pages from *Vpn on that are valid, and moves *Vpn to the first that is not. Space locked exclusively,
 * because locks are counted.
 */
static NTSTATUS MiLockValidPages(MI_LOCKING *Locking, ULONG_PTR *Vpn)
{
    PMI_ADDRESS_SPACE Space = Locking->Space;

    for (; *Vpn <= Locking->EndVpn; (*Vpn)++)
    {
        PMMPTE PointerPte;
        ULONG Level = MiWalk(Space->TopLevel, MiVaOf(*Vpn), &PointerPte);
        MMPTE Pte = MiReadPte(PointerPte);

        if (Level == 1 && MiIsLargePte(Pte))
        {
            MiLockLargePage(Locking, PointerPte, *Vpn);
            *Vpn |= MI_PTES_PER_PAGE - 1;
            continue;
        }
        if (Level != 0 || !Pte.Hard.Valid)
        {
            return STATUS_SUCCESS;
        }
        if ((Pte.Long & MM_PTE_LOCKED_MASK) == 0)
        {
            /* A frame that cannot be taken away any more is the machine's affair as well as the process's. */
            if (Space->Vm.LockedPages + 1 + MI_LOCK_OVERHEAD > Space->Vm.MinimumWorkingSetSize ||
                !MiChargeResidentAvailable(1))
            {
                return STATUS_WORKING_SET_QUOTA;
            }
            Space->Vm.LockedPages++;
        }
        if ((Pte.Long & Locking->Bits) == Locking->Bits)
        {
            Locking->WasLocked = TRUE;
            continue;
        }
        MiNoteNewLock(Locking, *Vpn, Pte);
        MiSetPteBits(PointerPte, Locking->Bits);
    }
    return STATUS_SUCCESS;
}

static VOID MiUnlockEntry(PMI_ADDRESS_SPACE Space, PMMPTE PointerPte, ULONG64 Bits)
{
    ULONG64 Old = MiClearPteBits(PointerPte, Bits);

    if ((Old & MM_PTE_LOCKED_MASK) != 0 && (Old & ~Bits & MM_PTE_LOCKED_MASK) == 0)
    {
        Space->Vm.LockedPages--;
        MiReturnResidentAvailable(1);
    }
}

/* If it is there. */
static VOID MiUnlockPage(PMI_ADDRESS_SPACE Space, ULONG_PTR Vpn, ULONG64 Bits)
{
    PMMPTE PointerPte;
    ULONG Level = MiWalk(Space->TopLevel, MiVaOf(Vpn), &PointerPte);
    MMPTE Pte = MiReadPte(PointerPte);

    if (Level == 0 && Pte.Hard.Valid)
    {
        MiUnlockEntry(Space, PointerPte, Bits);
    }
    else if (Level == 1 && MiIsLargePte(Pte))
    {
        MiClearPteBits(PointerPte, Bits);
    }
}

/* What this call locked is unlocked again. */
static VOID MiUndoLocking(MI_LOCKING *Locking)
{
    MiLockSpaceExclusive(Locking->Space);
    for (ULONG_PTR Vpn = Locking->StartVpn; Vpn <= Locking->EndVpn && !Locking->Space->Deleting; Vpn++)
    {
        SIZE_T Page = Vpn - Locking->StartVpn;
        ULONG64 New = (Locking->New[Page / MI_LOCK_PAGES] >> (Page % MI_LOCK_PAGES * 2)) & 3;

        if (New != 0)
        {
            MiUnlockPage(Locking->Space, Vpn, New << MM_PTE_LOCKED_SHIFT);
        }
    }
    MiUnlockSpaceExclusive(Locking->Space);
}

static NTSTATUS MiRunLocking(MI_LOCKING *Locking, KPROCESSOR_MODE Mode)
{
    ULONG_PTR Vpn = Locking->StartVpn;
    NTSTATUS Status = STATUS_SUCCESS;

    while (NT_SUCCESS(Status) && Vpn <= Locking->EndVpn)
    {
        MiLockSpaceExclusive(Locking->Space);
        Status = Locking->Space->Deleting ? STATUS_PROCESS_IS_TERMINATING : MiLockValidPages(Locking, &Vpn);
        MiUnlockSpaceExclusive(Locking->Space);
        if (NT_SUCCESS(Status) && Vpn <= Locking->EndVpn)
        {
            Status = MiFaultAddress(Locking->Space, MiVaOf(Vpn), MiAccessRead, Mode, NULL);
        }
    }
    return Status;
}

NTSTATUS MiLockVirtualMemory(PMI_ADDRESS_SPACE Space, PULONG_PTR Base, PSIZE_T Size, ULONG MapType,
                             KPROCESSOR_MODE Mode)
{
    MI_LOCKING Locking = { .Space = Space, .Bits = MiLockBits(MapType) };
    NTSTATUS Status = MiCheckLockRange(*Base, *Size);
    SIZE_T Pages;

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Locking.StartVpn = MiVpnOf(*Base);
    Locking.EndVpn = MiVpnOf(*Base + *Size - 1);
    Pages = Locking.EndVpn - Locking.StartVpn + 1;
    Status = MiCheckLockQuota(Space, Locking.StartVpn, Locking.EndVpn);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Locking.New = MiAllocatePool((Pages + MI_LOCK_PAGES - 1) / MI_LOCK_PAGES * sizeof(ULONG64), MI_TAG_LOCK);
    if (Locking.New == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Status = MiRunLocking(&Locking, Mode);
    if (!NT_SUCCESS(Status))
    {
        MiUndoLocking(&Locking);
    }
    MiFreePool(Locking.New, MI_TAG_LOCK);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    *Base = MiVaOf(Locking.StartVpn);
    *Size = MiVaOf(Pages);
    return Locking.WasLocked ? STATUS_WAS_LOCKED : STATUS_SUCCESS;
}

/* ---- Unlock -------------------------------------------------------------------------------------------- */

/* Every page valid and locked by all of Bits. Space locked. */
static BOOLEAN MiIsRangeLocked(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn, ULONG64 Bits)
{
    MI_RANGE Range;
    MI_CHUNK Chunk;

    MiBeginRange(&Range, Space, StartVpn, EndVpn);
    while ((Chunk = MiNextChunk(&Range)) != MiChunkEnd)
    {
        ULONG_PTR Count = Range.NextVpn - Range.Vpn;

        if (Chunk != MiChunkTable && Chunk != MiChunkLarge)
        {
            return FALSE;
        }
        Count = Chunk == MiChunkLarge ? 1 : Count;
        for (ULONG_PTR Index = 0; Index < Count; Index++)
        {
            MMPTE Pte = MiReadPte(&Range.PointerPte[Index]);

            if (!Pte.Hard.Valid || (Pte.Long & Bits) != Bits)
            {
                return FALSE;
            }
        }
    }
    return TRUE;
}

NTSTATUS MiUnlockVirtualMemory(PMI_ADDRESS_SPACE Space, PULONG_PTR Base, PSIZE_T Size, ULONG MapType)
{
    ULONG64 Bits = MiLockBits(MapType);
    NTSTATUS Status = MiCheckLockRange(*Base, *Size);
    ULONG_PTR StartVpn = MiVpnOf(*Base);
    ULONG_PTR EndVpn = MiVpnOf(*Base + *Size - 1);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    MiLockSpaceExclusive(Space);
    if (Space->Deleting)
    {
        Status = STATUS_PROCESS_IS_TERMINATING;
    }
    else if (!MiIsRangeLocked(Space, StartVpn, EndVpn, Bits))
    {
        Status = STATUS_NOT_LOCKED;
    }
    for (ULONG_PTR Vpn = StartVpn; NT_SUCCESS(Status) && Vpn <= EndVpn; Vpn++)
    {
        MiUnlockPage(Space, Vpn, Bits);
    }
    MiUnlockSpaceExclusive(Space);
    if (NT_SUCCESS(Status))
    {
        *Base = MiVaOf(StartVpn);
        *Size = MiVaOf(EndVpn - StartVpn + 1);
    }
    else if (Status == STATUS_NOT_LOCKED && (MapType & MAP_PROCESS) != 0)
    {
        /* Documented (VirtualUnlock): pages that are not locked leave the working set. */
        MiRemoveRangeFromWorkingSet(Space, MiVaOf(StartVpn), MiVaOf(EndVpn - StartVpn + 1));
    }
    return Status;
}
