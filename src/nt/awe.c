/* SPDX-License-Identifier: MIT */
/* Physical pages of user mode (AWE): arrays of frame numbers and addresses in and out. The work is in virtual/awe.c. */
#include "nt/nt.h"

#define NT_AWE_BATCH     64u
#define NT_TAG_AWE_ARRAY MI_TAG('N', 't', 'A', 'w')

/* ---- Allocating ---------------------------------------------------------------------------------------- */

/* The caller learns the numbers before the pages are his: until then they are nothing but numbers. */
static NTSTATUS NtpStoreFrames(PMI_AWE_PAGE Pages, PULONG_PTR UserPfnArray)
{
    NTSTATUS Status = STATUS_SUCCESS;

    for (SIZE_T Done = 0; Pages != NULL && NT_SUCCESS(Status);)
    {
        ULONG_PTR Frames[NT_AWE_BATCH];
        ULONG Count = MiListAwePages(&Pages, Frames, NT_AWE_BATCH);

        Status = NtStore(NtElement(UserPfnArray, Done), Frames, Count * sizeof(Frames[0]));
        Done += Count;
    }
    return Status;
}

static NTSTATUS NtpAllocateFrames(PMI_ADDRESS_SPACE Space, PULONG_PTR NumberOfPages, PULONG_PTR UserPfnArray,
                                  SIZE_T Count, ULONG PreferredNode)
{
    PMI_AWE_PAGE Pages;
    NTSTATUS Status = MiAllocateAwePages(&Count, PreferredNode, &Pages);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = NtpStoreFrames(Pages, UserPfnArray);
    Status = NT_SUCCESS(Status) ? NtStore(NumberOfPages, &Count, sizeof(Count)) : Status;
    Status = NT_SUCCESS(Status) ? MiOwnAwePages(Space, Pages) : Status;
    if (!NT_SUCCESS(Status))
    {
        MiReleaseAwePages(Pages);
    }
    return Status;
}

static NTSTATUS NtpAllocate(HANDLE ProcessHandle, PULONG_PTR NumberOfPages, PULONG_PTR UserPfnArray,
                            ULONG PreferredNode)
{
    PEPROCESS Process;
    ULONG_PTR Count;
    NTSTATUS Status = NtCapture(&Count, NumberOfPages, sizeof(Count));

    if (NT_SUCCESS(Status) && Count > MiState.Physical->NumberOfPages)
    {
        Count = MiState.Physical->NumberOfPages; /* there cannot be more */
    }
    Status = NT_SUCCESS(Status) ? NtProbeOutput(NumberOfPages, sizeof(Count)) : Status;
    Status = NT_SUCCESS(Status) ? NtProbeOutputBuffer(UserPfnArray, Count * sizeof(ULONG_PTR)) : Status;
    Status = NT_SUCCESS(Status) ? NtReferenceProcess(ProcessHandle, PROCESS_VM_OPERATION, &Process) : Status;
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Count != 0)
    {
        Status = NtpAllocateFrames(&Process->Space, NumberOfPages, UserPfnArray, Count, PreferredNode);
    }
    ObDereferenceObjectBody(Process);
    return Status;
}

static NTSTATUS NtpAllocateUserPhysicalPages(HANDLE ProcessHandle, PULONG_PTR NumberOfPages,
                                             PULONG_PTR UserPfnArray)
{
    return NtpAllocate(ProcessHandle, NumberOfPages, UserPfnArray, 0);
}

static NTSTATUS NtpAllocateUserPhysicalPagesEx(HANDLE ProcessHandle, PULONG_PTR NumberOfPages,
                                               PULONG_PTR UserPfnArray,
                                               PMEM_EXTENDED_PARAMETER ExtendedParameters,
                                               ULONG ExtendedParameterCount)
{
    MI_ALLOCATION Parameters = { .Extended = TRUE };
    NTSTATUS Status = NtCaptureParameters(ExtendedParameters, ExtendedParameterCount, &Parameters);

    if (NT_SUCCESS(Status) &&
        (Parameters.Lowest != 0 || Parameters.Highest != 0 || Parameters.Alignment != 0))
    {
        Status = STATUS_INVALID_PARAMETER; /* pages have no address */
    }
    if (NT_SUCCESS(Status) && Parameters.Type != 0)
    {
        Status = STATUS_NOT_IMPLEMENTED; /* MEM_EXTENDED_PARAMETER_NONPAGED_LARGE */
    }
    return NT_SUCCESS(Status)
               ? NtpAllocate(ProcessHandle, NumberOfPages, UserPfnArray, Parameters.PreferredNode)
               : Status;
}

/* ---- Mapping ------------------------------------------------------------------------------------------- */

/* All of an array of the caller in pool; NULL stays NULL. */
static NTSTATUS NtpCaptureArray(const VOID *Source, SIZE_T Count, ULONG_PTR **Target)
{
    NTSTATUS Status;

    *Target = NULL;
    if (Source == NULL)
    {
        return STATUS_SUCCESS;
    }
    *Target = MiAllocatePool(Count * sizeof(**Target), NT_TAG_AWE_ARRAY);
    if (*Target == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Status = NtCapture(*Target, Source, Count * sizeof(**Target));
    if (!NT_SUCCESS(Status))
    {
        MiFreePool(*Target, NT_TAG_AWE_ARRAY);
        *Target = NULL;
    }
    return Status;
}

static VOID NtpFreeArray(ULONG_PTR *Array)
{
    if (Array != NULL)
    {
        MiFreePool(Array, NT_TAG_AWE_ARRAY);
    }
}

static NTSTATUS NtpMapUserPhysicalPages(PVOID VirtualAddress, ULONG_PTR NumberOfPages,
                                        PULONG_PTR UserPfnArray)
{
    MI_AWE_MAP Map = { .Base = (ULONG_PTR)PAGE_ALIGN(VirtualAddress), .Count = NumberOfPages };
    PMI_ADDRESS_SPACE Space = MiCurrentSpace();
    ULONG_PTR *Frames;
    NTSTATUS Status;

    if (Space == NULL)
    {
        return STATUS_INVALID_PARAMETER_1;
    }
    if (NumberOfPages == 0)
    {
        return STATUS_SUCCESS;
    }
    if (UserPfnArray != NULL && NumberOfPages > MiState.Physical->NumberOfPages)
    {
        return STATUS_INVALID_PARAMETER_2; /* some frame would be named twice */
    }
    Status = NtpCaptureArray(UserPfnArray, NumberOfPages, &Frames);
    if (NT_SUCCESS(Status))
    {
        Map.Frames = Frames;
        Status = MiMapAwePages(Space, &Map);
        NtpFreeArray(Frames);
    }
    return Status;
}

static NTSTATUS NtpMapUserPhysicalPagesScatter(PVOID *VirtualAddresses, ULONG_PTR NumberOfPages,
                                               PULONG_PTR UserPfnArray)
{
    PMI_ADDRESS_SPACE Space = MiCurrentSpace();
    MI_AWE_MAP Map = { .Count = NumberOfPages };
    ULONG_PTR *Addresses;
    ULONG_PTR *Frames;
    NTSTATUS Status;

    if (Space == NULL || (VirtualAddresses == NULL && NumberOfPages != 0))
    {
        return STATUS_INVALID_PARAMETER_1;
    }
    if (NumberOfPages == 0)
    {
        return STATUS_SUCCESS;
    }
    if (NumberOfPages > MiState.Physical->NumberOfPages)
    {
        return STATUS_INVALID_PARAMETER_2;
    }
    Status = NtpCaptureArray(VirtualAddresses, NumberOfPages, &Addresses);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = NtpCaptureArray(UserPfnArray, NumberOfPages, &Frames);
    if (NT_SUCCESS(Status))
    {
        Map.Addresses = Addresses;
        Map.Frames = Frames;
        Status = MiMapAwePages(Space, &Map);
        NtpFreeArray(Frames);
    }
    NtpFreeArray(Addresses);
    return Status;
}

/* ---- Freeing ------------------------------------------------------------------------------------------- */

static NTSTATUS NtpFreeFrames(PMI_ADDRESS_SPACE Space, PULONG_PTR UserPfnArray, SIZE_T Count, PSIZE_T Freed)
{
    NTSTATUS Status = STATUS_SUCCESS;

    for (*Freed = 0; *Freed < Count && NT_SUCCESS(Status);)
    {
        ULONG_PTR Frames[NT_AWE_BATCH];
        SIZE_T Part = Count - *Freed < NT_AWE_BATCH ? Count - *Freed : NT_AWE_BATCH;
        SIZE_T Done = 0;

        Status = NtCapture(Frames, NtElement(UserPfnArray, *Freed), Part * sizeof(Frames[0]));
        Status = NT_SUCCESS(Status) ? MiFreeAwePages(Space, Frames, Part, &Done) : Status;
        *Freed += Done;
    }
    return Status;
}

static NTSTATUS NtpFreeUserPhysicalPages(HANDLE ProcessHandle, PULONG_PTR NumberOfPages,
                                         PULONG_PTR UserPfnArray)
{
    PEPROCESS Process;
    SIZE_T Freed;
    ULONG_PTR Count;
    NTSTATUS Status = NtCapture(&Count, NumberOfPages, sizeof(Count));

    Status = NT_SUCCESS(Status) ? NtProbeOutput(NumberOfPages, sizeof(Count)) : Status;
    Status = NT_SUCCESS(Status) ? NtReferenceProcess(ProcessHandle, PROCESS_VM_OPERATION, &Process) : Status;
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = NtpFreeFrames(&Process->Space, UserPfnArray, Count, &Freed);
    ObDereferenceObjectBody(Process);
    (VOID)
        NtStore(NumberOfPages, &Freed, sizeof(Freed)); /* documented: how many they were, also on failure */
    return Status;
}

NT_SERVICE(AllocateUserPhysicalPages,
           (HANDLE ProcessHandle, PULONG_PTR NumberOfPages, PULONG_PTR UserPfnArray),
           (ProcessHandle, NumberOfPages, UserPfnArray))
NT_SERVICE(AllocateUserPhysicalPagesEx,
           (HANDLE ProcessHandle, PULONG_PTR NumberOfPages, PULONG_PTR UserPfnArray,
            PMEM_EXTENDED_PARAMETER ExtendedParameters, ULONG ExtendedParameterCount),
           (ProcessHandle, NumberOfPages, UserPfnArray, ExtendedParameters, ExtendedParameterCount))
NT_SERVICE(MapUserPhysicalPages, (PVOID VirtualAddress, ULONG_PTR NumberOfPages, PULONG_PTR UserPfnArray),
           (VirtualAddress, NumberOfPages, UserPfnArray))
NT_SERVICE(MapUserPhysicalPagesScatter,
           (PVOID * VirtualAddresses, ULONG_PTR NumberOfPages, PULONG_PTR UserPfnArray),
           (VirtualAddresses, NumberOfPages, UserPfnArray))
NT_SERVICE(FreeUserPhysicalPages, (HANDLE ProcessHandle, PULONG_PTR NumberOfPages, PULONG_PTR UserPfnArray),
           (ProcessHandle, NumberOfPages, UserPfnArray))
