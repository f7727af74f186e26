/* SPDX-License-Identifier: MIT */
/*
 * Drivers of the embedder: making their code known, their sections pageable, and the settings of Driver Verifier and special pool. Thin: what they mean is in
 * src/pool/verifier.h, src/pool/special.h and src/virtual/driverimage.h.
 */
#include "embed.h"

#include "pool/special.h"
#include "pool/verifier.h"
#include "virtual/driverimage.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct _NTMM_DRIVER
{
    EX_DRIVER *Driver;
    PMI_DRIVER_IMAGE Image; /* NULL: its sections are Linux's */
    struct _NTMM_DRIVER *Next;
};

C_ASSERT(NTMM_VERIFIER_TAGS == EX_VERIFIER_TAGS);
C_ASSERT(NTMM_VERIFIER_SPECIAL_POOL == DRIVER_VERIFIER_SPECIAL_POOLING &&
         NTMM_VERIFIER_FORCE_IRQL == DRIVER_VERIFIER_FORCE_IRQL_CHECKING &&
         NTMM_VERIFIER_LOW_RESOURCES == DRIVER_VERIFIER_INJECT_ALLOCATION_FAILURES &&
         NTMM_VERIFIER_TRACK_POOL == DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS &&
         NTMM_VERIFIER_MISCELLANEOUS == EX_VERIFIER_MISCELLANEOUS &&
         (NTMM_VERIFIER_STANDARD | NTMM_VERIFIER_LOW_RESOURCES) == EX_VERIFIER_FLAGS);

/* ---- Loading ------------------------------------------------------------------------------------------------ */

static NTSTATUS NtmmpExplainDriver(PCSTR Name, NTSTATUS Status)
{
    CHAR Text[128];

    switch (Status)
    {
    case STATUS_SUCCESS:
        return Status;
    case STATUS_CONFLICTING_ADDRESSES:
        return NtmmpFail(Status, "driver %s: its code is a driver already, or lies where NT's addresses are",
                         Name);
    case STATUS_INVALID_PARAMETER:
        return NtmmpFail(Status, "driver %s: it has no section that could be paged", Name);
    default:
        return NtmmpFail(Status, "driver %s: %s", Name, NtmmFormatStatus(Status, Text, sizeof(Text)));
    }
}

static NTSTATUS NtmmpRegisterDriver(PCSTR Name, const NTMM_MODULE *Module, ULONG Flags, PNTMM_DRIVER New)
{
    NTSTATUS Status = ExRegisterDriver(Name, (PVOID)Module->CodeStart, Module->CodeBytes, &New->Driver);

    if (NT_SUCCESS(Status) && (Flags & NTMM_DRIVER_PAGEABLE) != 0)
    {
        Status = MiLoadDriverImage((PVOID)Module->Base, Module->End - Module->Base, Module->Sections,
                                   Module->SectionCount, &New->Image);
        if (!NT_SUCCESS(Status))
        {
            ExUnregisterDriver(New->Driver);
        }
    }
    if (NT_SUCCESS(Status) && (Flags & NTMM_DRIVER_VERIFY) != 0) /* or it was chosen by name */
    {
        ExVerifyDriver(New->Driver, TRUE);
    }
    return Status;
}

NTSTATUS NtmmLoadDriver(PCSTR Name, const VOID *Address, ULONG Flags, PNTMM_DRIVER *Driver)
{
    MI_SECTION_SOURCE Sections[NTMM_MAXIMUM_SECTIONS_OF_DRIVER];
    NTMM_MODULE Module = { .Sections = Sections };
    PNTMM_DRIVER New;
    NTMM_VISIT Visit;
    NTSTATUS Status;

    if ((Flags & ~(ULONG)(NTMM_DRIVER_VERIFY | NTMM_DRIVER_PAGEABLE)) != 0)
    {
        return NtmmpFail(STATUS_INVALID_PARAMETER, "driver %s: unknown flags 0x%x", Name, Flags);
    }
    Status = NtmmpReadModule(Address, &Module);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    New = calloc(1, sizeof(*New));
    Status = New != NULL ? NtmmpEnter(&Visit)
                         : NtmmpFail(STATUS_INSUFFICIENT_RESOURCES, "driver %s: no memory", Name);
    if (NT_SUCCESS(Status))
    {
        Status = NtmmpExplainDriver(Name, NtmmpRegisterDriver(Name, &Module, Flags, New));
        NtmmpLeave(&Visit);
    }
    if (!NT_SUCCESS(Status))
    {
        free(New);
        return Status;
    }
    pthread_mutex_lock(&NtmmMachine.DriverLock);
    New->Next = NtmmMachine.Drivers;
    NtmmMachine.Drivers = New;
    pthread_mutex_unlock(&NtmmMachine.DriverLock);
    *Driver = New;
    return STATUS_SUCCESS;
}

static VOID NtmmpForgetDriver(PNTMM_DRIVER Driver)
{
    PNTMM_DRIVER *Link = &NtmmMachine.Drivers;

    pthread_mutex_lock(&NtmmMachine.DriverLock);
    while (*Link != Driver)
    {
        Link = &(*Link)->Next;
    }
    *Link = Driver->Next;
    pthread_mutex_unlock(&NtmmMachine.DriverLock);
    free(Driver);
}

VOID NtmmpForgetDrivers(VOID)
{
    while (NtmmMachine.Drivers != NULL)
    {
        NtmmpForgetDriver(NtmmMachine.Drivers);
    }
}

NTSTATUS NtmmDriverStarted(PNTMM_DRIVER Driver, PSIZE_T Pages)
{
    NTMM_VISIT Visit;
    NTSTATUS Status = NtmmpEnter(&Visit);

    if (NT_SUCCESS(Status))
    {
        *Pages = Driver->Image != NULL ? MiDiscardDriverSections(Driver->Image) : 0;
        NtmmpLeave(&Visit);
    }
    return Status;
}

NTSTATUS NtmmUnloadDriver(PNTMM_DRIVER Driver, PULONG64 Blocks)
{
    NTMM_VISIT Visit;
    NTSTATUS Status = NtmmpEnter(&Visit);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Driver->Image != NULL)
    {
        Status = NtmmpExplainDriver(Driver->Driver->Name, MiUnloadDriverImage(Driver->Image));
    }
    if (NT_SUCCESS(Status) && Blocks == NULL)
    {
        ExUnloadDriver(Driver->Driver);
    }
    else if (NT_SUCCESS(Status))
    {
        *Blocks = ExReportDriverPool(Driver->Driver);
        ExUnregisterDriver(Driver->Driver);
    }
    NtmmpLeave(&Visit);
    if (NT_SUCCESS(Status))
    {
        NtmmpForgetDriver(Driver);
    }
    return Status;
}

ULONG64 NtmmReportDriverPool(PNTMM_DRIVER Driver)
{
    NTMM_VISIT Visit;
    ULONG64 Blocks = 0;

    if (NT_SUCCESS(NtmmpEnter(&Visit)))
    {
        Blocks = ExReportDriverPool(Driver->Driver);
        NtmmpLeave(&Visit);
    }
    return Blocks;
}

/* ---- Verifier and special pool -------------------------------------------------------------------------------- */

static NTSTATUS NtmmpCheckVerifier(const NTMM_VERIFIER *Verifier)
{
    if (Verifier->Size != sizeof(*Verifier))
    {
        return NtmmpFail(STATUS_INFO_LENGTH_MISMATCH, "NTMM_VERIFIER.Size must be sizeof(NTMM_VERIFIER)");
    }
    if ((Verifier->Flags & ~(ULONG)EX_VERIFIER_FLAGS) != 0)
    {
        return NtmmpFail(STATUS_INVALID_PARAMETER, "Driver Verifier: the flags 0x%x are unknown",
                         Verifier->Flags & ~(ULONG)EX_VERIFIER_FLAGS);
    }
    if (Verifier->Probability > EX_VERIFIER_CERTAIN)
    {
        return NtmmpFail(STATUS_INVALID_PARAMETER,
                         "Driver Verifier: the probability of failures is %u, %u is certainty",
                         Verifier->Probability, EX_VERIFIER_CERTAIN);
    }
    return STATUS_SUCCESS;
}

static NTSTATUS NtmmpCheckSpecialPool(const NTMM_SPECIAL_POOL *SpecialPool)
{
    if (SpecialPool->Size != sizeof(*SpecialPool))
    {
        return NtmmpFail(STATUS_INFO_LENGTH_MISMATCH,
                         "NTMM_SPECIAL_POOL.Size must be sizeof(NTMM_SPECIAL_POOL)");
    }
    if (SpecialPool->MinimumBytes > SpecialPool->MaximumBytes)
    {
        return NtmmpFail(
            STATUS_INVALID_PARAMETER, "special pool: %llu to %llu bytes are the wrong way round; swap them",
            (unsigned long long)SpecialPool->MinimumBytes, (unsigned long long)SpecialPool->MaximumBytes);
    }
    if (SpecialPool->MaximumBytes > PAGE_SIZE)
    {
        return NtmmpFail(STATUS_INVALID_PARAMETER, "special pool has blocks of at most %u bytes, not of %llu",
                         (unsigned)PAGE_SIZE, (unsigned long long)SpecialPool->MaximumBytes);
    }
    return STATUS_SUCCESS;
}

NTSTATUS NtmmpCheckWatch(const NTMM_VERIFIER *Verifier, const NTMM_SPECIAL_POOL *SpecialPool)
{
    NTSTATUS Status = Verifier != NULL ? NtmmpCheckVerifier(Verifier) : STATUS_SUCCESS;

    return NT_SUCCESS(Status) && SpecialPool != NULL ? NtmmpCheckSpecialPool(SpecialPool) : Status;
}

VOID NtmmpReadVerifier(const NTMM_VERIFIER *Verifier, EX_VERIFIER_SETTINGS *Settings)
{
    *Settings = (EX_VERIFIER_SETTINGS){ .Flags = Verifier->Flags,
                                        .AllDrivers = Verifier->AllDrivers,
                                        .Probability = Verifier->Probability,
                                        .Seed = Verifier->Seed,
                                        .DelayNanoseconds = Verifier->DelayNanoseconds };
    memcpy(Settings->Include, Verifier->Include, sizeof(Settings->Include));
    memcpy(Settings->Exclude, Verifier->Exclude, sizeof(Settings->Exclude));
}

VOID NtmmpReadSpecialPool(const NTMM_SPECIAL_POOL *SpecialPool, EX_SPECIAL_POOL_SETTINGS *Settings)
{
    *Settings = (EX_SPECIAL_POOL_SETTINGS){ .MinimumBytes = SpecialPool->MinimumBytes,
                                            .MaximumBytes = SpecialPool->MaximumBytes,
                                            .Underruns = SpecialPool->Underruns };
    memcpy(Settings->Tag, SpecialPool->Tag, sizeof(Settings->Tag));
}

NTSTATUS NtmmSetVerifier(const NTMM_VERIFIER *Verifier)
{
    EX_VERIFIER_SETTINGS Settings;
    NTMM_VISIT Visit;
    NTSTATUS Status = NtmmpCheckWatch(Verifier, NULL);

    Status = NT_SUCCESS(Status) ? NtmmpEnter(&Visit) : Status;
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (Verifier != NULL)
    {
        NtmmpReadVerifier(Verifier, &Settings);
    }
    Status = ExSetVerifier(Verifier != NULL ? &Settings : NULL);
    NtmmpLeave(&Visit);
    return Status;
}

NTSTATUS NtmmSetSpecialPool(const NTMM_SPECIAL_POOL *SpecialPool)
{
    EX_SPECIAL_POOL_SETTINGS Settings;
    NTMM_VISIT Visit;
    NTSTATUS Status = NtmmpCheckWatch(NULL, SpecialPool);

    Status = NT_SUCCESS(Status) ? NtmmpEnter(&Visit) : Status;
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (SpecialPool != NULL)
    {
        NtmmpReadSpecialPool(SpecialPool, &Settings);
    }
    Status = ExSetSpecialPool(SpecialPool != NULL ? &Settings : NULL);
    NtmmpLeave(&Visit);
    return NT_SUCCESS(Status) ? Status : NtmmpFail(Status, "special pool: there is no memory for it");
}
