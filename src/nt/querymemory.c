/* SPDX-License-Identifier: MIT */
/* NtQueryVirtualMemory and NtSetInformationVirtualMemory: one routine for each information class. */
#include "io/io.h"
#include "mapping/mapping.h"
#include "nt/nt.h"

typedef struct _NT_QUERY
{
    PMI_ADDRESS_SPACE Space;
    ULONG_PTR Va;
    PVOID Buffer; /* of the caller */
    SIZE_T Length;
    SIZE_T Needed; /* out: bytes written, or needed */
} NT_QUERY;

static NTSTATUS NtpQueryBasic(NT_QUERY *Query)
{
    MEMORY_BASIC_INFORMATION Information;
    NTSTATUS Status;

    Query->Needed = sizeof(Information);
    if (Query->Length < sizeof(Information))
    {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    Status = MiQueryBasicInformation(Query->Space, Query->Va, &Information);
    return NT_SUCCESS(Status) ? NtStore(Query->Buffer, &Information, sizeof(Information)) : Status;
}

/* The structure grew over time: a shorter buffer gets the first fields. */
static NTSTATUS NtpQueryRegion(NT_QUERY *Query)
{
    MEMORY_REGION_INFORMATION Information;
    NTSTATUS Status;

    if (Query->Length < FIELD_OFFSET(MEMORY_REGION_INFORMATION, CommitSize))
    {
        Query->Needed = sizeof(Information);
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    Query->Needed = Query->Length < sizeof(Information) ? Query->Length & ~(SIZE_T)7 : sizeof(Information);
    Status = MiQueryRegionInformation(Query->Space, Query->Va, &Information);
    return NT_SUCCESS(Status) ? NtStore(Query->Buffer, &Information, Query->Needed) : Status;
}

static NTSTATUS NtpQueryWorkingSet(NT_QUERY *Query)
{
    SIZE_T Header = FIELD_OFFSET(MEMORY_WORKING_SET_INFORMATION, WorkingSetInfo);
    MEMORY_WORKING_SET_BLOCK Blocks[64];
    ULONG_PTR Written = 0;
    ULONG_PTR Total = 0;
    ULONG_PTR Vpn = 0;
    SIZE_T Room;
    NTSTATUS Status = STATUS_SUCCESS;
    ULONG Got;

    Query->Needed = sizeof(MEMORY_WORKING_SET_INFORMATION);
    if (Query->Length < Header)
    {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    Room = (Query->Length - Header) / sizeof(MEMORY_WORKING_SET_BLOCK);
    do
    {
        Got = MiQueryWorkingSetBlocks(Query->Space, &Vpn, Blocks, RTL_NUMBER_OF(Blocks));
        Total += Got;
        if (Total <= Room && Got != 0)
        {
            Status = NtStore(NtMember(Query->Buffer, Header + Written * sizeof(Blocks[0])), Blocks,
                             Got * sizeof(Blocks[0]));
            Written = Total;
        }
    } while (Got == RTL_NUMBER_OF(Blocks) && NT_SUCCESS(Status));
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    /* Documented: the count is stored also when the buffer is too small for the entries. */
    Status = NtStore(Query->Buffer, &Total, sizeof(Total)); /* NumberOfEntries, the first member */
    Query->Needed = Header + Total * sizeof(MEMORY_WORKING_SET_BLOCK);
    return NT_SUCCESS(Status) && Total > Room ? STATUS_INFO_LENGTH_MISMATCH : Status;
}

static NTSTATUS NtpQueryWorkingSetEx(NT_QUERY *Query)
{
    PMEMORY_WORKING_SET_EX_INFORMATION Entries = Query->Buffer;
    SIZE_T Count = Query->Length / sizeof(*Entries);
    NTSTATUS Status = STATUS_SUCCESS;

    Query->Needed = Query->Length;
    if (Count == 0 || Query->Length % sizeof(*Entries) != 0)
    {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    for (SIZE_T Index = 0; Index < Count && NT_SUCCESS(Status); Index++)
    {
        PVOID Address;

        PVOID Entry = NtElement(Entries, Index);

        Status = NtCapture(&Address, Entry, sizeof(Address)); /* VirtualAddress, the first member */
        if (NT_SUCCESS(Status))
        {
            MEMORY_WORKING_SET_EX_BLOCK Block = MiQueryWorkingSetExBlock(Query->Space, (ULONG_PTR)Address);

            Status = NtStore(NtMember(Entry, FIELD_OFFSET(MEMORY_WORKING_SET_EX_INFORMATION, u1)), &Block,
                             sizeof(Block));
        }
    }
    return Status;
}

static NTSTATUS NtpQuerySharedCommit(NT_QUERY *Query)
{
    MEMORY_SHARED_COMMIT_INFORMATION Information = { .CommitSize = 0 };
    NTSTATUS Status;

    Query->Needed = sizeof(Information);
    if (Query->Length < sizeof(Information))
    {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    Status = MiQuerySharedCommit(Query->Space, &Information.CommitSize);
    return NT_SUCCESS(Status) ? NtStore(Query->Buffer, &Information, sizeof(Information)) : Status;
}

/* The name of the file behind a view, with the characters behind the UNICODE_STRING. */
static NTSTATUS NtpQueryMappedFilename(NT_QUERY *Query)
{
    UNICODE_STRING Name;
    PFILE_OBJECT File;
    PVOID Object;
    NTSTATUS Status = MiReferenceMappedFile(Query->Space, Query->Va, &Object);

    if (!NT_SUCCESS(Status))
    {
        return Status == STATUS_CONFLICTING_ADDRESSES ? STATUS_INVALID_ADDRESS : Status;
    }
    File = Object;
    Name.Length = File->FileName.Length;
    Name.MaximumLength = (USHORT)(Name.Length + sizeof(WCHAR));
    Name.Buffer = NtMember(Query->Buffer, sizeof(Name));
    Query->Needed = sizeof(Name) + Name.MaximumLength;
    if (Query->Length < sizeof(Name))
    {
        Status = STATUS_INFO_LENGTH_MISMATCH;
    }
    else if (Query->Length < Query->Needed)
    {
        Status = STATUS_BUFFER_OVERFLOW;
    }
    else
    {
        const WCHAR End = 0;

        Status = NtStore(Name.Buffer, File->FileName.Buffer, Name.Length);
        Status = NT_SUCCESS(Status) ? NtStore(NtMember(Name.Buffer, Name.Length), &End, sizeof(End)) : Status;
        Status = NT_SUCCESS(Status) ? NtStore(Query->Buffer, &Name, sizeof(Name)) : Status;
    }
    ObDereferenceObjectBody(File);
    return Status;
}

static NTSTATUS NtpQueryImage(NT_QUERY *Query)
{
    MEMORY_IMAGE_INFORMATION Information;
    NTSTATUS Status;

    Query->Needed = sizeof(Information);
    if (Query->Length < sizeof(Information))
    {
        return STATUS_INFO_LENGTH_MISMATCH;
    }
    Status = MiQueryImageInformation(Query->Space, Query->Va, &Information);
    return NT_SUCCESS(Status) ? NtStore(Query->Buffer, &Information, sizeof(Information)) : Status;
}

static const struct
{
    NTSTATUS (*Routine)(NT_QUERY *Query);
    ACCESS_MASK Access;
} NtMemoryClasses[MaxMemoryInfoClass] = {
    [MemoryBasicInformation] = { NtpQueryBasic, PROCESS_QUERY_LIMITED_INFORMATION },
    [MemoryWorkingSetInformation] = { NtpQueryWorkingSet, PROCESS_QUERY_INFORMATION },
    [MemoryMappedFilenameInformation] = { NtpQueryMappedFilename, PROCESS_QUERY_INFORMATION },
    [MemoryRegionInformation] = { NtpQueryRegion, PROCESS_QUERY_LIMITED_INFORMATION },
    [MemoryWorkingSetExInformation] = { NtpQueryWorkingSetEx, PROCESS_QUERY_INFORMATION },
    [MemorySharedCommitInformation] = { NtpQuerySharedCommit, PROCESS_QUERY_INFORMATION },
    [MemoryImageInformation] = { NtpQueryImage, PROCESS_QUERY_INFORMATION },
    [MemoryRegionInformationEx] = { NtpQueryRegion, PROCESS_QUERY_LIMITED_INFORMATION },
    [MemoryPrivilegedBasicInformation] = { NtpQueryBasic, PROCESS_QUERY_INFORMATION },
};

static NTSTATUS NtpQueryVirtualMemory(HANDLE ProcessHandle, PVOID BaseAddress,
                                      MEMORY_INFORMATION_CLASS MemoryInformationClass,
                                      PVOID MemoryInformation, SIZE_T MemoryInformationLength,
                                      PSIZE_T ReturnLength)
{
    NT_QUERY Query = { .Va = (ULONG_PTR)BaseAddress,
                       .Buffer = MemoryInformation,
                       .Length = MemoryInformationLength };
    PEPROCESS Process;
    NTSTATUS Status;

    if ((ULONG)MemoryInformationClass >= MaxMemoryInfoClass)
    {
        return STATUS_INVALID_INFO_CLASS;
    }
    if (NtMemoryClasses[MemoryInformationClass].Routine == NULL)
    {
        return STATUS_NOT_IMPLEMENTED;
    }
    Status = NtProbe(MemoryInformation, MemoryInformationLength);
    if (NT_SUCCESS(Status) && ReturnLength != NULL)
    {
        Status = NtProbeOutput(ReturnLength, sizeof(*ReturnLength));
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtReferenceProcess(ProcessHandle, NtMemoryClasses[MemoryInformationClass].Access, &Process);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Query.Space = &Process->Space;
    Status = NtMemoryClasses[MemoryInformationClass].Routine(&Query);
    ObDereferenceObjectBody(Process);
    if (ReturnLength != NULL &&
        (NT_SUCCESS(Status) || Status == STATUS_INFO_LENGTH_MISMATCH || Status == STATUS_BUFFER_OVERFLOW))
    {
        (VOID) NtStore(ReturnLength, &Query.Needed, sizeof(Query.Needed));
    }
    return Status;
}

/* ---- Set ----------------------------------------------------------------------------------------------- */

#define NT_MAXIMUM_RANGES 0x10000u
#define NT_RANGE_BATCH    32u

static NTSTATUS NtpApplyToRange(PMI_ADDRESS_SPACE Space, VIRTUAL_MEMORY_INFORMATION_CLASS Class, ULONG Value,
                                const MEMORY_RANGE_ENTRY *Range)
{
    ULONG_PTR Base = (ULONG_PTR)Range->VirtualAddress;

    switch (Class)
    {
    case VmPrefetchInformation:
        return MiPrefetchRange(Space, Base, Range->NumberOfBytes);
    case VmPagePriorityInformation:
        return MiSetPriorityRange(Space, Base, Range->NumberOfBytes, Value);
    default:
        return MiRemoveRangeFromWorkingSet(Space, Base, Range->NumberOfBytes);
    }
}

/* All ranges are looked at first (Perform FALSE), then all are worked on. */
static NTSTATUS NtpWalkRanges(PMI_ADDRESS_SPACE Space, VIRTUAL_MEMORY_INFORMATION_CLASS Class, ULONG Value,
                              PMEMORY_RANGE_ENTRY Ranges, ULONG_PTR Count, BOOLEAN Perform)
{
    MEMORY_RANGE_ENTRY Batch[NT_RANGE_BATCH];

    for (ULONG_PTR First = 0; First < Count; First += NT_RANGE_BATCH)
    {
        ULONG_PTR Here = Count - First < NT_RANGE_BATCH ? Count - First : NT_RANGE_BATCH;
        NTSTATUS Status = NtCapture(Batch, NtElement(Ranges, First), Here * sizeof(Batch[0]));

        for (ULONG_PTR Index = 0; Index < Here && NT_SUCCESS(Status); Index++)
        {
            ULONG_PTR Base = (ULONG_PTR)Batch[Index].VirtualAddress;

            if (Base > PORT_USER_HIGHEST || Batch[Index].NumberOfBytes == 0 ||
                Batch[Index].NumberOfBytes > PORT_USER_HIGHEST + 1 - Base)
            {
                Status = STATUS_INVALID_ADDRESS;
            }
            else if (Perform)
            {
                Status = NtpApplyToRange(Space, Class, Value, &Batch[Index]);
            }
        }
        if (!NT_SUCCESS(Status))
        {
            return Status;
        }
    }
    return STATUS_SUCCESS;
}

static NTSTATUS NtpCheckVmInformation(VIRTUAL_MEMORY_INFORMATION_CLASS Class, PVOID VmInformation,
                                      ULONG Length, PULONG Value)
{
    NTSTATUS Status;

    if ((ULONG)Class >= MaxVmInfoClass)
    {
        return STATUS_INVALID_PARAMETER_2;
    }
    if (Class != VmPrefetchInformation && Class != VmPagePriorityInformation &&
        Class != VmRemoveFromWorkingSetInformation)
    {
        return STATUS_NOT_IMPLEMENTED;
    }
    if (Length != sizeof(ULONG))
    {
        return STATUS_INVALID_PARAMETER_6;
    }
    Status = NtCapture(Value, VmInformation, sizeof(*Value));
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Class == VmPagePriorityInformation ? *Value > MEMORY_PRIORITY_NORMAL : *Value != 0)
    {
        return STATUS_INVALID_PARAMETER_5;
    }
    return STATUS_SUCCESS;
}

static NTSTATUS NtpSetInformationVirtualMemory(HANDLE ProcessHandle,
                                               VIRTUAL_MEMORY_INFORMATION_CLASS VmInformationClass,
                                               ULONG_PTR NumberOfEntries,
                                               PMEMORY_RANGE_ENTRY VirtualAddresses, PVOID VmInformation,
                                               ULONG VmInformationLength)
{
    PEPROCESS Process;
    ULONG Value;
    NTSTATUS Status = NtpCheckVmInformation(VmInformationClass, VmInformation, VmInformationLength, &Value);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (NumberOfEntries == 0 || NumberOfEntries > NT_MAXIMUM_RANGES)
    {
        return STATUS_INVALID_PARAMETER_3;
    }
    Status = NtProbe(VirtualAddresses, NumberOfEntries * sizeof(*VirtualAddresses));
    if (NT_SUCCESS(Status))
    {
        Status = NtReferenceProcess(ProcessHandle, PROCESS_VM_OPERATION, &Process);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status =
        NtpWalkRanges(&Process->Space, VmInformationClass, Value, VirtualAddresses, NumberOfEntries, FALSE);
    if (NT_SUCCESS(Status))
    {
        Status = NtpWalkRanges(&Process->Space, VmInformationClass, Value, VirtualAddresses, NumberOfEntries,
                               TRUE);
    }
    ObDereferenceObjectBody(Process);
    return Status;
}

NT_SERVICE(QueryVirtualMemory,
           (HANDLE ProcessHandle, PVOID BaseAddress, MEMORY_INFORMATION_CLASS MemoryInformationClass,
            PVOID MemoryInformation, SIZE_T MemoryInformationLength, PSIZE_T ReturnLength),
           (ProcessHandle, BaseAddress, MemoryInformationClass, MemoryInformation, MemoryInformationLength,
            ReturnLength))
NT_SERVICE(SetInformationVirtualMemory,
           (HANDLE ProcessHandle, VIRTUAL_MEMORY_INFORMATION_CLASS VmInformationClass,
            ULONG_PTR NumberOfEntries, PMEMORY_RANGE_ENTRY VirtualAddresses, PVOID VmInformation,
            ULONG VmInformationLength),
           (ProcessHandle, VmInformationClass, NumberOfEntries, VirtualAddresses, VmInformation,
            VmInformationLength))
