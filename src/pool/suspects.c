/* SPDX-License-Identifier: MIT */
/*
 * Drivers that are to be verified, by name, whether they are there or come later; and what there is to say about those that are
 * verified. Names are few and compared without regard to case, as the file names that they are.
 */
#include "pool/verifier.h"

#define EX_TAG_SUSPECT MI_TAG('V', 'f', 'S', 'u')

static CHAR ExpLower(CHAR Character)
{
    return Character >= 'A' && Character <= 'Z' ? (CHAR)(Character - 'A' + 'a') : Character;
}

/* As much of the names as a driver keeps. */
static BOOLEAN ExpIsSameName(PCSTR Left, PCSTR Right)
{
    for (ULONG Index = 0; Index + 1 < EX_DRIVER_NAME; Index++)
    {
        if (ExpLower(Left[Index]) != ExpLower(Right[Index]))
        {
            return FALSE;
        }
        if (Left[Index] == 0)
        {
            break;
        }
    }
    return TRUE;
}

EX_SUSPECT *ExpFindSuspectLocked(PCSTR Name)
{
    PLIST_ENTRY Head = &ExpPool()->Verifier.Suspects;

    for (PLIST_ENTRY Link = Head->Flink; Link != Head; Link = Link->Flink)
    {
        EX_SUSPECT *Suspect = CONTAINING_RECORD(Link, EX_SUSPECT, Links);

        if (ExpIsSameName(Suspect->Name, Name))
        {
            return Suspect;
        }
    }
    return NULL;
}

/* [D] Those that are there. How many; *Changed: of them. */
static ULONG ExpVerifyByNameLocked(PCSTR Name, BOOLEAN Verify, PULONG Changed)
{
    EX_POOL *Pool = ExpPool();
    ULONG Count = 0;

    *Changed = 0;
    for (PLIST_ENTRY Link = Pool->Drivers.Flink; Link != &Pool->Drivers; Link = Link->Flink)
    {
        EX_DRIVER *Driver = CONTAINING_RECORD(Link, EX_DRIVER, Links);

        if (ExpIsSameName(Driver->Name, Name))
        {
            *Changed += Driver->Verify != Verify;
            Driver->Verify = Verify;
            Count++;
        }
    }
    return Count;
}

NTSTATUS ExAddSuspect(PCSTR Name)
{
    EX_POOL *Pool = ExpPool();
    EX_SUSPECT *New;
    BOOLEAN Known;
    ULONG Changed;
    KIRQL OldIrql;

    if (Name[0] == 0)
    {
        return STATUS_INVALID_PARAMETER;
    }
    New = MiAllocatePool(sizeof(*New), EX_TAG_SUSPECT);
    if (New == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    for (ULONG Index = 0; Name[Index] != 0 && Index + 1 < EX_DRIVER_NAME; Index++)
    {
        New->Name[Index] = Name[Index];
    }
    OldIrql = KiAcquireSpinLock(&Pool->DriverLock);
    Known = ExpFindSuspectLocked(Name) != NULL;
    if (!Known)
    {
        InsertTailList(&Pool->Verifier.Suspects, &New->Links);
    }
    New->Loads = ExpVerifyByNameLocked(Name, TRUE, &Changed);
    KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
    if (Known)
    {
        MiFreePool(New, EX_TAG_SUSPECT);
    }
    return STATUS_SUCCESS;
}

NTSTATUS ExRemoveSuspect(PCSTR Name)
{
    EX_POOL *Pool = ExpPool();
    KIRQL OldIrql = KiAcquireSpinLock(&Pool->DriverLock);
    EX_SUSPECT *Suspect = ExpFindSuspectLocked(Name);
    ULONG Changed;

    ExpVerifyByNameLocked(Name, FALSE, &Changed);
    if (Suspect != NULL)
    {
        RemoveEntryList(&Suspect->Links);
    }
    KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
    if (Suspect == NULL)
    {
        return Changed != 0 ? STATUS_SUCCESS : STATUS_NOT_FOUND;
    }
    MiFreePool(Suspect, EX_TAG_SUSPECT);
    return STATUS_SUCCESS;
}

VOID ExpDeleteSuspects(void)
{
    PLIST_ENTRY Head = &ExpPool()->Verifier.Suspects;

    while (!IsListEmpty(Head))
    {
        ExRemoveSuspect(CONTAINING_RECORD(Head->Flink, EX_SUSPECT, Links)->Name);
    }
}

/* ---- What there is to say ------------------------------------------------------------------------------------------ */

static VOID ExpCopyDriver(EX_VERIFIED *Entry, const EX_DRIVER *Driver)
{
    const EX_SUSPECT *Suspect = ExpFindSuspectLocked(Driver->Name);

    *Entry = (EX_VERIFIED){ .Loaded = TRUE,
                            .Loads = Suspect != NULL ? Suspect->Loads : 1,
                            .Unloads = Suspect != NULL ? Suspect->Unloads : 0 };
    __builtin_memcpy(Entry->Name, Driver->Name, sizeof(Entry->Name));
    for (ULONG Paged = 0; Paged < 2; Paged++)
    {
        Entry->Blocks[Paged] = Driver->Blocks[Paged];
        Entry->Bytes[Paged] = Driver->Bytes[Paged];
        Entry->PeakBlocks[Paged] = Driver->PeakBlocks[Paged];
        Entry->PeakBytes[Paged] = Driver->PeakBytes[Paged];
    }
}

static BOOLEAN ExpIsLoadedLocked(PCSTR Name)
{
    EX_POOL *Pool = ExpPool();

    for (PLIST_ENTRY Link = Pool->Drivers.Flink; Link != &Pool->Drivers; Link = Link->Flink)
    {
        if (ExpIsSameName(CONTAINING_RECORD(Link, EX_DRIVER, Links)->Name, Name))
        {
            return TRUE;
        }
    }
    return FALSE;
}

SIZE_T ExQueryVerifiedDrivers(EX_VERIFIED *Entries, SIZE_T Count)
{
    EX_POOL *Pool = ExpPool();
    const EX_VERIFIER *Verifier = &Pool->Verifier;
    SIZE_T Found = 0;
    KIRQL OldIrql = KiAcquireSpinLock(&Pool->DriverLock);

    for (PLIST_ENTRY Link = Pool->Drivers.Flink; Verifier->On && Link != &Pool->Drivers; Link = Link->Flink)
    {
        const EX_DRIVER *Driver = CONTAINING_RECORD(Link, EX_DRIVER, Links);

        if (!Driver->Verify && !Verifier->AllDrivers)
        {
            continue;
        }
        if (Found < Count)
        {
            ExpCopyDriver(&Entries[Found], Driver);
        }
        Found++;
    }
    for (PLIST_ENTRY Link = Verifier->Suspects.Flink; Verifier->On && Link != &Verifier->Suspects;
         Link = Link->Flink)
    {
        const EX_SUSPECT *Suspect = CONTAINING_RECORD(Link, EX_SUSPECT, Links);

        if (ExpIsLoadedLocked(Suspect->Name))
        {
            continue;
        }
        if (Found < Count)
        {
            Entries[Found] = (EX_VERIFIED){ .Loads = Suspect->Loads, .Unloads = Suspect->Unloads };
            __builtin_memcpy(Entries[Found].Name, Suspect->Name, sizeof(Suspect->Name));
        }
        Found++;
    }
    KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
    return Found;
}
