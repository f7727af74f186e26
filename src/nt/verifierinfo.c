/* SPDX-License-Identifier: MIT */
/*
 * Driver Verifier through NtQuerySystemInformation and NtSetSystemInformation: counters with an entry for each driver that is verified,
 * the flags, and the names of the drivers. The layout is that of the public symbols.
 */
#include "nt/systeminfo.h"
#include "pool/verifier.h"
#include "rtl/memory.h"
#include "rtl/string.h"

#define NT_TAG_VERIFIER MI_TAG('N', 't', 'V', 'f')
#define NT_SLACK        4u /* drivers that may come while the table is gathered */

C_ASSERT(sizeof(SYSTEM_VERIFIER_INFORMATION) == 0x80);

/* All verified drivers in a block of pool, which is the caller's; NULL with *Count 0: there are none. */
static NTSTATUS NtpGatherDrivers(EX_VERIFIED **Drivers, PSIZE_T Count)
{
    SIZE_T Room = ExQueryVerifiedDrivers(NULL, 0);

    *Drivers = NULL;
    for (*Count = Room; *Count != 0; *Count = Room)
    {
        Room += NT_SLACK;
        *Drivers = ExAllocatePool2(POOL_FLAG_NON_PAGED, Room * sizeof(**Drivers), NT_TAG_VERIFIER);
        if (*Drivers == NULL)
        {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        *Count = ExQueryVerifiedDrivers(*Drivers, Room);
        if (*Count <= Room)
        {
            return STATUS_SUCCESS;
        }
        Room = *Count;
        ExFreePoolWithTag(*Drivers, NT_TAG_VERIFIER);
        *Drivers = NULL;
    }
    return STATUS_SUCCESS;
}

/* The name behind the entry, terminated; entries stay aligned. */
static ULONG NtpVerifiedSize(const EX_VERIFIED *Driver)
{
    ULONG Characters = 0;

    while (Driver->Name[Characters] != 0)
    {
        Characters++;
    }
    return (ULONG)((sizeof(SYSTEM_VERIFIER_INFORMATION) + (Characters + 1) * sizeof(WCHAR) + 7) & ~7ull);
}

static VOID NtpFillVerified(SYSTEM_VERIFIER_INFORMATION *Information, const EX_VERIFIED *Driver)
{
    EX_VERIFIER_COUNTERS Counters;

    ExQueryVerifier(&Information->Level, &Counters);
    Information->RaiseIrqls = (ULONG)Counters.RaiseIrqls;
    Information->AcquireSpinLocks = (ULONG)Counters.AcquireSpinLocks;
    Information->AllocationsAttempted = (ULONG)Counters.AllocationsAttempted;
    Information->AllocationsSucceeded = (ULONG)Counters.AllocationsSucceeded;
    Information->AllocationsSucceededSpecialPool = (ULONG)Counters.AllocationsSucceededSpecialPool;
    Information->AllocationsWithNoTag = (ULONG)Counters.AllocationsWithNoTag;
    Information->TrimRequests = (ULONG)Counters.TrimRequests;
    Information->Trims = (ULONG)Counters.Trims;
    Information->AllocationsFailed = (ULONG)Counters.AllocationsFailed;
    Information->AllocationsFailedDeliberately = (ULONG)Counters.AllocationsFailedDeliberately;
    Information->UntrackedPool = (ULONG)Counters.UnTrackedPool;
    Information->Loads = Driver->Loads;
    Information->Unloads = Driver->Unloads;
    Information->CurrentNonPagedPoolAllocations = (ULONG)Driver->Blocks[0];
    Information->CurrentPagedPoolAllocations = (ULONG)Driver->Blocks[1];
    Information->PeakNonPagedPoolAllocations = (ULONG)Driver->PeakBlocks[0];
    Information->PeakPagedPoolAllocations = (ULONG)Driver->PeakBlocks[1];
    Information->NonPagedPoolUsageInBytes = Driver->Bytes[0];
    Information->PagedPoolUsageInBytes = Driver->Bytes[1];
    Information->PeakNonPagedPoolUsageInBytes = Driver->PeakBytes[0];
    Information->PeakPagedPoolUsageInBytes = Driver->PeakBytes[1];
}

static NTSTATUS NtpStoreVerified(NT_SYSTEM_QUERY *Query, const EX_VERIFIED *Driver, ULONG Offset,
                                 BOOLEAN Last)
{
    PVOID Entry = NtMember(Query->Buffer, Offset);
    PVOID Name = NtMember(Query->Buffer, Offset + (ULONG)sizeof(SYSTEM_VERIFIER_INFORMATION));
    SYSTEM_VERIFIER_INFORMATION Information;
    WCHAR Wide[EX_DRIVER_NAME];
    USHORT Characters = 0;
    NTSTATUS Status;

    RtlZeroMemory(&Information, sizeof(Information));
    RtlZeroMemory(Wide, sizeof(Wide));
    for (; Driver->Name[Characters] != 0; Characters++)
    {
        Wide[Characters] = (UCHAR)Driver->Name[Characters];
    }
    Information.NextEntryOffset = Last ? 0 : NtpVerifiedSize(Driver);
    Information.DriverName = (UNICODE_STRING){ .Length = (USHORT)(Characters * sizeof(WCHAR)),
                                               .MaximumLength = (USHORT)((Characters + 1u) * sizeof(WCHAR)),
                                               .Buffer = Name };
    NtpFillVerified(&Information, Driver);
    Status = NtStore(Entry, &Information, sizeof(Information));
    return NT_SUCCESS(Status) ? NtStore(Name, Wide, (Characters + 1u) * sizeof(WCHAR)) : Status;
}

NTSTATUS NtpQueryVerifier(NT_SYSTEM_QUERY *Query)
{
    EX_VERIFIED *Drivers;
    SIZE_T Count;
    ULONG Offset = 0;
    NTSTATUS Status = NtpGatherDrivers(&Drivers, &Count);

    Query->Needed = 0;
    for (SIZE_T Index = 0; NT_SUCCESS(Status) && Index < Count; Index++)
    {
        Query->Needed += NtpVerifiedSize(&Drivers[Index]);
    }
    if (NT_SUCCESS(Status) && Query->Length < Query->Needed)
    {
        Status = STATUS_INFO_LENGTH_MISMATCH;
    }
    for (SIZE_T Index = 0; NT_SUCCESS(Status) && Index < Count; Index++)
    {
        Status = NtpStoreVerified(Query, &Drivers[Index], Offset, Index + 1 == Count);
        Offset += NtpVerifiedSize(&Drivers[Index]);
    }
    if (Drivers != NULL)
    {
        ExFreePoolWithTag(Drivers, NT_TAG_VERIFIER);
    }
    return Status;
}

/* ---- Setting -------------------------------------------------------------------------------------------------------- */

NTSTATUS NtpSetVerifierFlags(const VOID *Buffer, ULONG Length)
{
    EX_VERIFIER_SETTINGS Settings;
    ULONG Flags;
    NTSTATUS Status =
        Length == sizeof(Flags) ? NtCapture(&Flags, Buffer, sizeof(Flags)) : STATUS_INFO_LENGTH_MISMATCH;

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    ExQueryVerifierSettings(&Settings);
    Settings.Flags = Flags;
    return ExSetVerifier(Flags != 0 ? &Settings : NULL);
}

NTSTATUS NtpNameVerifiedDriver(const VOID *Buffer, ULONG Length, BOOLEAN Add)
{
    CHAR Name[EX_DRIVER_NAME] = { 0 };
    UNICODE_STRING Given;
    NTSTATUS Status = Length == sizeof(Given) ? NtCaptureString(Buffer, &Given) : STATUS_INFO_LENGTH_MISMATCH;
    ULONG Characters;

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Characters = Given.Length / (ULONG)sizeof(WCHAR);
    Status = Characters != 0 && Characters < EX_DRIVER_NAME ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;
    for (ULONG Index = 0; NT_SUCCESS(Status) && Index < Characters; Index++)
    {
        Name[Index] = (CHAR)Given.Buffer[Index];
        Status = Given.Buffer[Index] != 0 && Given.Buffer[Index] < 0x80 ? Status : STATUS_INVALID_PARAMETER;
    }
    NtFreeString(&Given);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    return Add ? ExAddSuspect(Name) : ExRemoveSuspect(Name);
}
