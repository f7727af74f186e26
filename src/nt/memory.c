/* SPDX-License-Identifier: MIT */
/*
 * Private memory: allocate, free, protect, lock. Capture, find the process, let the room `virtual` work,
 * store what comes back.
 */
#include "nt/nt.h"

#define NT_MAXIMUM_EXTENDED_PARAMETERS 16u

/* Base and size, which nearly every memory service takes and gives back. */
typedef struct _NT_RANGE
{
    ULONG_PTR Base;
    SIZE_T Size;
} NT_RANGE;

/* Captured, and known to be writable. */
static NTSTATUS NtCaptureRange(PVOID *BaseAddress, PSIZE_T RegionSize, NT_RANGE *Range)
{
    PVOID Base;
    NTSTATUS Status = NtCapture(&Base, BaseAddress, sizeof(Base));

    if (NT_SUCCESS(Status))
    {
        Status = NtCapture(&Range->Size, RegionSize, sizeof(Range->Size));
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtProbeOutput(BaseAddress, sizeof(*BaseAddress));
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtProbeOutput(RegionSize, sizeof(*RegionSize));
    }
    Range->Base = NT_SUCCESS(Status) ? (ULONG_PTR)Base : 0;
    return Status;
}

/* After success; a caller who took the memory away meanwhile hurts only himself. */
static VOID NtStoreRange(PVOID *BaseAddress, PSIZE_T RegionSize, const NT_RANGE *Range)
{
    PVOID Base = (PVOID)Range->Base;

    (VOID) NtStore(BaseAddress, &Base, sizeof(Base));
    (VOID) NtStore(RegionSize, &Range->Size, sizeof(Range->Size));
}

/* ---- Allocate ------------------------------------------------------------------------------------------ */

static NTSTATUS NtpAllocate(HANDLE ProcessHandle, PVOID *BaseAddress, PSIZE_T RegionSize,
                            PMI_ALLOCATION Allocation)
{
    NT_RANGE Range;
    PEPROCESS Process;
    NTSTATUS Status = NtCaptureRange(BaseAddress, RegionSize, &Range);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = NtReferenceProcess(ProcessHandle, PROCESS_VM_OPERATION, &Process);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Allocation->Base = Range.Base;
    Allocation->Size = Range.Size;
    Status = MiAllocateVirtualMemory(&Process->Space, Allocation);
    ObDereferenceObjectBody(Process);
    if (NT_SUCCESS(Status))
    {
        Range.Base = Allocation->Base;
        Range.Size = Allocation->Size;
        NtStoreRange(BaseAddress, RegionSize, &Range);
    }
    return Status;
}

static NTSTATUS NtpAllocateVirtualMemory(HANDLE ProcessHandle, PVOID *BaseAddress, ULONG_PTR ZeroBits,
                                         PSIZE_T RegionSize, ULONG AllocationType, ULONG Protect)
{
    MI_ALLOCATION Allocation = { .ZeroBits = ZeroBits, .Type = AllocationType, .Protect = Protect };

    return NtpAllocate(ProcessHandle, BaseAddress, RegionSize, &Allocation);
}

static NTSTATUS NtpApplyParameter(const MEM_EXTENDED_PARAMETER *Parameter, PMI_ALLOCATION Allocation)
{
    MEM_ADDRESS_REQUIREMENTS Requirements;
    NTSTATUS Status;

    if (Parameter->Reserved != 0)
    {
        return STATUS_INVALID_PARAMETER;
    }
    switch (Parameter->Type)
    {
    case MemExtendedParameterAddressRequirements:
        Status = NtCapture(&Requirements, Parameter->Pointer, sizeof(Requirements));
        if (NT_SUCCESS(Status))
        {
            Allocation->Lowest = (ULONG_PTR)Requirements.LowestStartingAddress;
            Allocation->Highest = (ULONG_PTR)Requirements.HighestEndingAddress;
            Allocation->Alignment = Requirements.Alignment;
        }
        return Status;
    case MemExtendedParameterNumaNode:
        if ((Parameter->ULong64 & ~(ULONG64)MEM_EXTENDED_PARAMETER_NUMA_NODE_MANDATORY) >
            KeQueryHighestNodeNumber())
        {
            return STATUS_INVALID_PARAMETER;
        }
        if ((Parameter->ULong64 & MEM_EXTENDED_PARAMETER_NUMA_NODE_MANDATORY) != 0 &&
            KeQueryHighestNodeNumber() != 0)
        {
            return STATUS_NOT_IMPLEMENTED; /* a preference is what there is */
        }
        Allocation->PreferredNode = (ULONG)(Parameter->ULong64 & 0xff) + 1;
        return STATUS_SUCCESS;
    case MemExtendedParameterAttributeFlags:
        if ((Parameter->ULong64 & ~(ULONG64)0xff) != 0)
        {
            return STATUS_INVALID_PARAMETER;
        }
        /* Permission not to zero is no duty; the others ask for pages that are not there yet. */
        if ((Parameter->ULong64 & ~(ULONG64)(MEM_EXTENDED_PARAMETER_ZERO_PAGES_OPTIONAL |
                                             MEM_EXTENDED_PARAMETER_NONPAGED_LARGE)) != 0)
        {
            return STATUS_NOT_IMPLEMENTED;
        }
        Allocation->Type |=
            (Parameter->ULong64 & MEM_EXTENDED_PARAMETER_NONPAGED_LARGE) != 0 ? MEM_LARGE_PAGES : 0;
        return STATUS_SUCCESS;
    case MemExtendedParameterPartitionHandle:
    case MemExtendedParameterUserPhysicalHandle:
        return STATUS_NOT_IMPLEMENTED;
    default:
        return STATUS_INVALID_PARAMETER;
    }
}

NTSTATUS NtCaptureParameters(const MEM_EXTENDED_PARAMETER *Parameters, ULONG Count, PMI_ALLOCATION Allocation)
{
    ULONG Seen = 0;

    if (Count > NT_MAXIMUM_EXTENDED_PARAMETERS || (Count != 0) != (Parameters != NULL))
    {
        return STATUS_INVALID_PARAMETER;
    }
    for (ULONG Index = 0; Index < Count; Index++)
    {
        MEM_EXTENDED_PARAMETER Parameter;
        NTSTATUS Status = NtCapture(&Parameter, NtElement(Parameters, Index), sizeof(Parameter));

        if (!NT_SUCCESS(Status))
        {
            return Status;
        }
        if (Parameter.Type >= MemExtendedParameterMax || (Seen & (1u << Parameter.Type)) != 0)
        {
            return STATUS_INVALID_PARAMETER;
        }
        Seen |= 1u << Parameter.Type;
        Status = NtpApplyParameter(&Parameter, Allocation);
        if (!NT_SUCCESS(Status))
        {
            return Status;
        }
    }
    return STATUS_SUCCESS;
}

static NTSTATUS NtpAllocateVirtualMemoryEx(HANDLE ProcessHandle, PVOID *BaseAddress, PSIZE_T RegionSize,
                                           ULONG AllocationType, ULONG PageProtection,
                                           PMEM_EXTENDED_PARAMETER ExtendedParameters,
                                           ULONG ExtendedParameterCount)
{
    const ULONG Hinted = MEM_RESERVE | MEM_COMMIT | MEM_64K_PAGES;
    MI_ALLOCATION Allocation = { .Type = AllocationType, .Protect = PageProtection, .Extended = TRUE };
    NTSTATUS Status;

    if ((AllocationType & ~(ULONG)MEM_TOP_DOWN) == Hinted)
    {
        /* Documented: a hint. The processor has no such pages; what remains is what the caller must keep to. */
        Allocation.Type &= ~(ULONG)MEM_64K_PAGES;
        Allocation.Whole64K = TRUE;
    }
    Status = NtCaptureParameters(ExtendedParameters, ExtendedParameterCount, &Allocation);
    return NT_SUCCESS(Status) ? NtpAllocate(ProcessHandle, BaseAddress, RegionSize, &Allocation) : Status;
}

/* ---- Free, protect, lock ------------------------------------------------------------------------------- */

static NTSTATUS NtpFreeVirtualMemory(HANDLE ProcessHandle, PVOID *BaseAddress, PSIZE_T RegionSize,
                                     ULONG FreeType)
{
    NT_RANGE Range;
    PEPROCESS Process;
    NTSTATUS Status = NtCaptureRange(BaseAddress, RegionSize, &Range);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = NtReferenceProcess(ProcessHandle, PROCESS_VM_OPERATION, &Process);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = MiFreeVirtualMemory(&Process->Space, &Range.Base, &Range.Size, FreeType);
    ObDereferenceObjectBody(Process);
    if (NT_SUCCESS(Status))
    {
        NtStoreRange(BaseAddress, RegionSize, &Range);
    }
    return Status;
}

static NTSTATUS NtpProtectVirtualMemory(HANDLE ProcessHandle, PVOID *BaseAddress, PSIZE_T RegionSize,
                                        ULONG NewProtect, PULONG OldProtect)
{
    NT_RANGE Range;
    PEPROCESS Process;
    ULONG Old;
    NTSTATUS Status = NtCaptureRange(BaseAddress, RegionSize, &Range);

    if (NT_SUCCESS(Status))
    {
        Status = NtProbeOutput(OldProtect, sizeof(*OldProtect));
    }
    if (NT_SUCCESS(Status))
    {
        Status = NtReferenceProcess(ProcessHandle, PROCESS_VM_OPERATION, &Process);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = MiProtectVirtualMemory(&Process->Space, &Range.Base, &Range.Size, NewProtect, &Old);
    ObDereferenceObjectBody(Process);
    if (NT_SUCCESS(Status))
    {
        NtStoreRange(BaseAddress, RegionSize, &Range);
        (VOID) NtStore(OldProtect, &Old, sizeof(Old));
    }
    return Status;
}

static NTSTATUS NtpChangeLock(HANDLE ProcessHandle, PVOID *BaseAddress, PSIZE_T RegionSize, ULONG MapType,
                              BOOLEAN Lock)
{
    NT_RANGE Range;
    PEPROCESS Process;
    NTSTATUS Status;

    if (MapType == 0 || (MapType & ~(ULONG)(MAP_PROCESS | MAP_SYSTEM)) != 0)
    {
        return STATUS_INVALID_PARAMETER;
    }
    Status = NtCaptureRange(BaseAddress, RegionSize, &Range);
    if (NT_SUCCESS(Status))
    {
        Status = NtReferenceProcess(ProcessHandle, PROCESS_VM_OPERATION, &Process);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = Lock ? MiLockVirtualMemory(&Process->Space, &Range.Base, &Range.Size, MapType, NtPreviousMode())
                  : MiUnlockVirtualMemory(&Process->Space, &Range.Base, &Range.Size, MapType);
    ObDereferenceObjectBody(Process);
    if (NT_SUCCESS(Status))
    {
        NtStoreRange(BaseAddress, RegionSize, &Range);
    }
    return Status;
}

static NTSTATUS NtpLockVirtualMemory(HANDLE ProcessHandle, PVOID *BaseAddress, PSIZE_T RegionSize,
                                     ULONG MapType)
{
    return NtpChangeLock(ProcessHandle, BaseAddress, RegionSize, MapType, TRUE);
}

static NTSTATUS NtpUnlockVirtualMemory(HANDLE ProcessHandle, PVOID *BaseAddress, PSIZE_T RegionSize,
                                       ULONG MapType)
{
    return NtpChangeLock(ProcessHandle, BaseAddress, RegionSize, MapType, FALSE);
}

/* ---- Paging files -------------------------------------------------------------------------------------- */

static NTSTATUS NtpCreatePagingFile(PUNICODE_STRING PageFileName, PLARGE_INTEGER MinimumSize,
                                    PLARGE_INTEGER MaximumSize, ULONG Priority)
{
    UNICODE_STRING Name;
    LARGE_INTEGER Minimum;
    LARGE_INTEGER Maximum;
    NTSTATUS Status = NtCapture(&Minimum, MinimumSize, sizeof(Minimum));

    UNREFERENCED_PARAMETER(Priority);
    if (NT_SUCCESS(Status))
    {
        Status = NtCapture(&Maximum, MaximumSize, sizeof(Maximum));
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Minimum.QuadPart < 0)
    {
        return STATUS_INVALID_PARAMETER_2;
    }
    if (Maximum.QuadPart < Minimum.QuadPart)
    {
        return STATUS_INVALID_PARAMETER_3;
    }
    Status = NtCaptureString(PageFileName, &Name);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = Name.Length == 0
                 ? STATUS_OBJECT_NAME_INVALID
                 : MiCreatePagingFile(&Name, (ULONG64)Minimum.QuadPart, (ULONG64)Maximum.QuadPart);
    NtFreeString(&Name);
    return Status;
}

NT_SERVICE(AllocateVirtualMemory,
           (HANDLE ProcessHandle, PVOID *BaseAddress, ULONG_PTR ZeroBits, PSIZE_T RegionSize,
            ULONG AllocationType, ULONG Protect),
           (ProcessHandle, BaseAddress, ZeroBits, RegionSize, AllocationType, Protect))
NT_SERVICE(AllocateVirtualMemoryEx,
           (HANDLE ProcessHandle, PVOID *BaseAddress, PSIZE_T RegionSize, ULONG AllocationType,
            ULONG PageProtection, PMEM_EXTENDED_PARAMETER ExtendedParameters, ULONG ExtendedParameterCount),
           (ProcessHandle, BaseAddress, RegionSize, AllocationType, PageProtection, ExtendedParameters,
            ExtendedParameterCount))
NT_SERVICE(FreeVirtualMemory, (HANDLE ProcessHandle, PVOID *BaseAddress, PSIZE_T RegionSize, ULONG FreeType),
           (ProcessHandle, BaseAddress, RegionSize, FreeType))
NT_SERVICE(ProtectVirtualMemory,
           (HANDLE ProcessHandle, PVOID *BaseAddress, PSIZE_T RegionSize, ULONG NewProtect,
            PULONG OldProtect),
           (ProcessHandle, BaseAddress, RegionSize, NewProtect, OldProtect))
NT_SERVICE(LockVirtualMemory, (HANDLE ProcessHandle, PVOID *BaseAddress, PSIZE_T RegionSize, ULONG MapType),
           (ProcessHandle, BaseAddress, RegionSize, MapType))
NT_SERVICE(UnlockVirtualMemory, (HANDLE ProcessHandle, PVOID *BaseAddress, PSIZE_T RegionSize, ULONG MapType),
           (ProcessHandle, BaseAddress, RegionSize, MapType))
NT_SERVICE(CreatePagingFile,
           (PUNICODE_STRING PageFileName, PLARGE_INTEGER MinimumSize, PLARGE_INTEGER MaximumSize,
            ULONG Priority),
           (PageFileName, MinimumSize, MaximumSize, Priority))
