/* SPDX-License-Identifier: MIT */
/*
 * Securing ranges (MmSecureVirtualMemory): a driver that uses a buffer of a process keeps the process from
 * freeing it or taking access away. Each secured range is an entry on its VAD; the handle is the entry's
 * address.
 */
#include "nt/wdm_mm.h"
#include "virtual/range.h"

/* Whether Protection still permits what a driver probed for. */
static BOOLEAN MiSatisfiesProbe(ULONG Protection, const MMSECURE_ENTRY *Entry)
{
    return !MiIsNoAccess(Protection) && (Entry->ProbeMode != PAGE_READWRITE || MiIsWritable(Protection));
}

BOOLEAN MiIsRangeSecured(const MMVAD *Vad, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    for (PMMSECURE_ENTRY Entry = Vad->Secured; Entry != NULL; Entry = Entry->Next)
    {
        if (Entry->StartVpn <= EndVpn && StartVpn <= Entry->EndVpn)
        {
            return TRUE;
        }
    }
    return FALSE;
}

BOOLEAN MiIsProtectionSecured(const MMVAD *Vad, ULONG_PTR StartVpn, ULONG_PTR EndVpn, ULONG Protection)
{
    for (PMMSECURE_ENTRY Entry = Vad->Secured; Entry != NULL; Entry = Entry->Next)
    {
        if ((Entry->Flags & MM_SECURE_USER_MODE_ONLY) != 0 && KiCurrentThread()->PreviousMode == KernelMode)
        {
            continue;
        }
        if (Entry->StartVpn <= EndVpn && StartVpn <= Entry->EndVpn &&
            ((Entry->Flags & MM_SECURE_NO_CHANGE) != 0 || !MiSatisfiesProbe(Protection, Entry)))
        {
            return TRUE;
        }
    }
    return FALSE;
}

/* Every page committed, with access as probed for. Tables in memory. */
static BOOLEAN MiIsRangeAsProbed(PMI_ADDRESS_SPACE Space, const MMVAD *Vad, const MMSECURE_ENTRY *Entry)
{
    MI_RANGE Range;
    MI_CHUNK Chunk;

    MiBeginRange(&Range, Space, Entry->StartVpn, Entry->EndVpn);
    while ((Chunk = MiNextChunk(&Range)) != MiChunkEnd)
    {
        ULONG_PTR Vpn = Range.Vpn;

        while (Vpn < Range.NextVpn)
        {
            ULONG_PTR Count = 1;
            BOOLEAN Committed;
            ULONG Protection;

            if (Chunk == MiChunkHole)
            {
                Count = MiMeasureZeroEntries(Vad, Vpn, Range.NextVpn - 1, &Committed, &Protection);
            }
            else if (Chunk == MiChunkLarge)
            {
                Count = Range.NextVpn - Vpn;
                Committed = TRUE;
                Protection = MiProtectionFromValidPte(MiReadPte(Range.PointerPte));
            }
            else
            {
                MMPTE Pte = MiReadPte(&Range.PointerPte[Vpn - Range.Vpn]);

                Committed = MiIsEntryCommitted(Vad, Vpn, Pte, &Protection);
            }
            if (!Committed || !MiSatisfiesProbe(Protection, Entry) || MiIsGuarded(Protection))
            {
                return FALSE;
            }
            Vpn += Count;
        }
    }
    return TRUE;
}

/* One attempt, space locked. STATUS_RETRY: it was unlocked meanwhile. */
static NTSTATUS MiTrySecure(PMI_ADDRESS_SPACE Space, PMMSECURE_ENTRY Entry)
{
    BOOLEAN Dropped;
    PMMVAD Vad;
    NTSTATUS Status = MiLocateRange(Space, Entry->StartVpn, Entry->EndVpn, &Vad);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if ((!Vad->u.PrivateMemory && Vad->ControlArea == NULL) || Vad->u.Reserved || Vad->u.Placeholder)
    {
        return STATUS_CONFLICTING_ADDRESSES;
    }
    if ((Entry->Flags & MM_SECURE_EXCLUSIVE) != 0 && Vad->Secured != NULL)
    {
        return STATUS_CONFLICTING_ADDRESSES;
    }
    Status = MiMakeTablesResident(Space, Entry->StartVpn, Entry->EndVpn, MI_EXISTING_TABLES, &Dropped);
    if (!NT_SUCCESS(Status) || Dropped)
    {
        return NT_SUCCESS(Status) ? STATUS_RETRY : Status;
    }
    if (!MiIsRangeAsProbed(Space, Vad, Entry))
    {
        return STATUS_ACCESS_VIOLATION;
    }
    Entry->Next = Vad->Secured;
    Vad->Secured = Entry;
    return STATUS_SUCCESS;
}

HANDLE NTAPI MmSecureVirtualMemoryEx(PVOID Address, SIZE_T Size, ULONG ProbeMode, ULONG Flags)
{
    PMI_ADDRESS_SPACE Space = MiCurrentSpace();
    ULONG_PTR Va = (ULONG_PTR)Address;
    PMMSECURE_ENTRY Entry;
    NTSTATUS Status = STATUS_RETRY;

    if (Space == NULL || Size == 0 || !MiIsUserAddress(Va) || Size > PORT_USER_HIGHEST + 1 - Va ||
        (ProbeMode != PAGE_READONLY && ProbeMode != PAGE_READWRITE) ||
        (Flags & ~(ULONG)MM_SECURE_VALID_FLAGS) != 0)
    {
        return NULL;
    }
    Entry = MiAllocatePool(sizeof(*Entry), MI_TAG_SECURE);
    if (Entry == NULL)
    {
        return NULL;
    }
    Entry->StartVpn = MiVpnOf(Va);
    Entry->EndVpn = MiVpnOf(Va + Size - 1);
    Entry->ProbeMode = ProbeMode;
    Entry->Flags = Flags;
    for (ULONG Round = 0; Round < MI_MAXIMUM_RESTARTS && Status == STATUS_RETRY; Round++)
    {
        MiLockSpaceExclusive(Space);
        Status = MiTrySecure(Space, Entry);
        MiUnlockSpaceExclusive(Space);
    }
    if (!NT_SUCCESS(Status))
    {
        MiFreePool(Entry, MI_TAG_SECURE);
        return NULL;
    }
    return (HANDLE)Entry;
}

HANDLE NTAPI MmSecureVirtualMemory(PVOID Address, SIZE_T Size, ULONG ProbeMode)
{
    return MmSecureVirtualMemoryEx(Address, Size, ProbeMode, 0);
}

VOID NTAPI MmUnsecureVirtualMemory(HANDLE SecureHandle)
{
    PMI_ADDRESS_SPACE Space = MiCurrentSpace();
    PMMSECURE_ENTRY Entry = SecureHandle;
    PMMSECURE_ENTRY Found = NULL;
    PMMVAD Vad;

    if (Space == NULL || Entry == NULL)
    {
        return;
    }
    MiLockSpaceExclusive(Space);
    Vad = Space->Deleting ? NULL : MiLocateVad(Space, Entry->StartVpn);
    for (PMMSECURE_ENTRY *Link = Vad != NULL ? &Vad->Secured : &Found; *Link != NULL; Link = &(*Link)->Next)
    {
        if (*Link == Entry)
        {
            *Link = Entry->Next;
            Found = Entry;
            break;
        }
    }
    MiUnlockSpaceExclusive(Space);
    if (Found != NULL)
    {
        MiFreePool(Found, MI_TAG_SECURE);
    }
}
