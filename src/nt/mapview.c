/* SPDX-License-Identifier: MIT */
/* Mapping and unmapping views: which rights a section handle must have, and captured parameters. */
#include "mapping/mapping.h"
#include "nt/nt.h"

/* Documented (NtMapViewOfSection, "Section access rights"): what a section handle must permit for a view's protection. */
static ACCESS_MASK NtpViewAccess(ULONG Protect)
{
    switch (Protect & 0xff)
    {
    case PAGE_READWRITE:
        return SECTION_MAP_WRITE;
    case PAGE_EXECUTE:
        return SECTION_MAP_EXECUTE;
    case PAGE_EXECUTE_READ:
    case PAGE_EXECUTE_WRITECOPY:
        return SECTION_MAP_EXECUTE | SECTION_MAP_READ;
    case PAGE_EXECUTE_READWRITE:
        return SECTION_MAP_EXECUTE | SECTION_MAP_WRITE;
    default:
        return SECTION_MAP_READ;
    }
}

/* The in-out parameters of a caller. */
typedef struct _NT_VIEW
{
    PVOID *BaseAddress;
    PLARGE_INTEGER SectionOffset; /* may be NULL: 0 */
    PSIZE_T ViewSize;
} NT_VIEW;

static NTSTATUS NtpCaptureView(const NT_VIEW *Caller, PMI_VIEW View)
{
    LARGE_INTEGER Offset = { .QuadPart = 0 };
    PVOID Base = NULL;
    NTSTATUS Status = NtCapture(&Base, Caller->BaseAddress, sizeof(Base));

    Status = NT_SUCCESS(Status) ? NtProbeOutput(Caller->BaseAddress, sizeof(Base)) : Status;
    Status = NT_SUCCESS(Status) ? NtCapture(&View->Size, Caller->ViewSize, sizeof(View->Size)) : Status;
    Status = NT_SUCCESS(Status) ? NtProbeOutput(Caller->ViewSize, sizeof(View->Size)) : Status;
    if (NT_SUCCESS(Status) && Caller->SectionOffset != NULL)
    {
        Status = NtCapture(&Offset, Caller->SectionOffset, sizeof(Offset));
        Status = NT_SUCCESS(Status) ? NtProbeOutput(Caller->SectionOffset, sizeof(Offset)) : Status;
    }
    View->Base = (ULONG_PTR)Base;
    View->Offset = (ULONG64)Offset.QuadPart;
    return Status;
}

/* After success; a caller who took the memory away meanwhile hurts only himself. */
static VOID NtpStoreView(const NT_VIEW *Caller, const MI_VIEW *View)
{
    PVOID Base = (PVOID)View->Base;
    LARGE_INTEGER Offset = { .QuadPart = (LONGLONG)View->Offset };

    (VOID) NtStore(Caller->BaseAddress, &Base, sizeof(Base));
    (VOID) NtStore(Caller->ViewSize, &View->Size, sizeof(View->Size));
    if (Caller->SectionOffset != NULL)
    {
        (VOID) NtStore(Caller->SectionOffset, &Offset, sizeof(Offset));
    }
}

static NTSTATUS NtpMapView(HANDLE SectionHandle, HANDLE ProcessHandle, const NT_VIEW *Caller, PMI_VIEW View)
{
    PEPROCESS Process;
    NTSTATUS Status = NtpCaptureView(Caller, View);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (MiMakeProtectionMask(View->Protect) == MM_INVALID_PROTECTION)
    {
        return STATUS_INVALID_PAGE_PROTECTION; /* before it is asked what it needs */
    }
    Status = NtReferenceProcess(ProcessHandle, PROCESS_VM_OPERATION, &Process);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = NtReferenceSection(SectionHandle, NtpViewAccess(View->Protect), &View->Section);
    if (NT_SUCCESS(Status))
    {
        View->Mode = NtPreviousMode();
        Status = MiMapView(&Process->Space, View);
        ObDereferenceObjectBody(View->Section);
    }
    ObDereferenceObjectBody(Process);
    if (NT_SUCCESS(Status))
    {
        NtpStoreView(Caller, View);
    }
    return Status;
}

static NTSTATUS NtpMapViewOfSection(HANDLE SectionHandle, HANDLE ProcessHandle, PVOID *BaseAddress,
                                    ULONG_PTR ZeroBits, SIZE_T CommitSize, PLARGE_INTEGER SectionOffset,
                                    PSIZE_T ViewSize, SECTION_INHERIT InheritDisposition,
                                    ULONG AllocationType, ULONG Win32Protect)
{
    NT_VIEW Caller = { BaseAddress, SectionOffset, ViewSize };
    MI_VIEW View = { .ZeroBits = ZeroBits,
                     .CommitSize = CommitSize,
                     .Inherit = InheritDisposition,
                     .Type = AllocationType,
                     .Protect = Win32Protect };

    return NtpMapView(SectionHandle, ProcessHandle, &Caller, &View);
}

static NTSTATUS NtpMapViewOfSectionEx(HANDLE SectionHandle, HANDLE ProcessHandle, PVOID *BaseAddress,
                                      PLARGE_INTEGER SectionOffset, PSIZE_T ViewSize, ULONG AllocationType,
                                      ULONG PageProtection, PMEM_EXTENDED_PARAMETER ExtendedParameters,
                                      ULONG ExtendedParameterCount)
{
    NT_VIEW Caller = { BaseAddress, SectionOffset, ViewSize };
    MI_ALLOCATION Parameters = { .Extended = TRUE };
    MI_VIEW View = {
        .Inherit = ViewUnmap, .Type = AllocationType, .Protect = PageProtection, .Extended = TRUE
    };
    NTSTATUS Status = NtCaptureParameters(ExtendedParameters, ExtendedParameterCount, &Parameters);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    View.Lowest = Parameters.Lowest;
    View.Highest = Parameters.Highest;
    View.Alignment = Parameters.Alignment;
    View.Type |= Parameters.Type; /* MEM_EXTENDED_PARAMETER_NONPAGED_LARGE */
    return NtpMapView(SectionHandle, ProcessHandle, &Caller, &View);
}

static NTSTATUS NtpUnmapViewOfSectionEx(HANDLE ProcessHandle, PVOID BaseAddress, ULONG Flags)
{
    PEPROCESS Process;
    NTSTATUS Status = NtReferenceProcess(ProcessHandle, PROCESS_VM_OPERATION, &Process);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = (ULONG_PTR)BaseAddress > PORT_USER_HIGHEST
                 ? STATUS_NOT_MAPPED_VIEW
                 : MiUnmapView(&Process->Space, (ULONG_PTR)BaseAddress, Flags);
    ObDereferenceObjectBody(Process);
    return Status;
}

static NTSTATUS NtpUnmapViewOfSection(HANDLE ProcessHandle, PVOID BaseAddress)
{
    return NtpUnmapViewOfSectionEx(ProcessHandle, BaseAddress, 0);
}

NT_SERVICE(MapViewOfSection,
           (HANDLE SectionHandle, HANDLE ProcessHandle, PVOID *BaseAddress, ULONG_PTR ZeroBits,
            SIZE_T CommitSize, PLARGE_INTEGER SectionOffset, PSIZE_T ViewSize,
            SECTION_INHERIT InheritDisposition, ULONG AllocationType, ULONG Win32Protect),
           (SectionHandle, ProcessHandle, BaseAddress, ZeroBits, CommitSize, SectionOffset, ViewSize,
            InheritDisposition, AllocationType, Win32Protect))
NT_SERVICE(MapViewOfSectionEx,
           (HANDLE SectionHandle, HANDLE ProcessHandle, PVOID *BaseAddress, PLARGE_INTEGER SectionOffset,
            PSIZE_T ViewSize, ULONG AllocationType, ULONG PageProtection,
            PMEM_EXTENDED_PARAMETER ExtendedParameters, ULONG ExtendedParameterCount),
           (SectionHandle, ProcessHandle, BaseAddress, SectionOffset, ViewSize, AllocationType,
            PageProtection, ExtendedParameters, ExtendedParameterCount))
NT_SERVICE(UnmapViewOfSection, (HANDLE ProcessHandle, PVOID BaseAddress), (ProcessHandle, BaseAddress))
NT_SERVICE(UnmapViewOfSectionEx, (HANDLE ProcessHandle, PVOID BaseAddress, ULONG Flags),
           (ProcessHandle, BaseAddress, Flags))
