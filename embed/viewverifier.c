/* SPDX-License-Identifier: MIT */
/* Driver Verifier and special pool as the kernel debugger's !verifier shows them: what is on, for whom, what was counted. */
#include "views.h"

#include "pool/special.h"
#include "pool/verifier.h"

#include <stdlib.h>

static const struct
{
    ULONG Flag;
    PCSTR Name;
} NtmmpVerifierOptions[] = { { DRIVER_VERIFIER_SPECIAL_POOLING, "Special pool" },
                             { DRIVER_VERIFIER_FORCE_IRQL_CHECKING, "Force IRQL checking" },
                             { DRIVER_VERIFIER_INJECT_ALLOCATION_FAILURES,
                               "Randomized low resources simulation" },
                             { DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS, "Pool tracking" },
                             { EX_VERIFIER_MISCELLANEOUS, "Miscellaneous checks" } };

#define NTMM_SHOWN_DRIVERS 64u

static VOID NtmmpShowVerifierCounters(const NTMM_OUT *Out, const EX_VERIFIER_COUNTERS *Counters)
{
    NtmmpPrint(Out, "\nSummary of all verifier statistics\n\n");
    NtmmpPrint(Out, "  RaiseIrqls                             %10llu\n", Counters->RaiseIrqls);
    NtmmpPrint(Out, "  AcquireSpinLocks                       %10llu\n", Counters->AcquireSpinLocks);
    NtmmpPrint(Out, "  Trims                                  %10llu of %llu requests\n", Counters->Trims,
               Counters->TrimRequests);
    NtmmpPrint(Out, "  Pool Allocations Attempted             %10llu\n", Counters->AllocationsAttempted);
    NtmmpPrint(Out, "  Pool Allocations Succeeded             %10llu\n", Counters->AllocationsSucceeded);
    NtmmpPrint(Out, "  Pool Allocations Succeeded SpecialPool %10llu\n",
               Counters->AllocationsSucceededSpecialPool);
    NtmmpPrint(Out, "  Pool Allocations With NO TAG           %10llu\n", Counters->AllocationsWithNoTag);
    NtmmpPrint(Out, "  Pool Allocations Failed                %10llu, deliberately %llu\n",
               Counters->AllocationsFailed, Counters->AllocationsFailedDeliberately);
    NtmmpPrint(Out, "  Pool Allocations Not Tracked           %10llu\n", Counters->UnTrackedPool);
}

static VOID NtmmpShowVerifiedDrivers(const NTMM_OUT *Out)
{
    EX_VERIFIED *Drivers = calloc(NTMM_SHOWN_DRIVERS, sizeof(*Drivers));
    SIZE_T Count = Drivers != NULL ? ExQueryVerifiedDrivers(Drivers, NTMM_SHOWN_DRIVERS) : 0;

    NtmmpPrint(Out, "\nDriver Verification List\n\n  State    Loads  Nonpaged blocks, bytes   Paged blocks, "
                    "bytes   at most (all bytes)  Module\n");
    for (SIZE_T Index = 0; Index < Count && Index < NTMM_SHOWN_DRIVERS; Index++)
    {
        const EX_VERIFIED *Driver = &Drivers[Index];

        NtmmpPrint(Out, "  %-8s %5u %15llu %9llu %12llu %9llu %20llu  %s\n",
                   Driver->Loaded         ? "Loaded"
                   : Driver->Unloads != 0 ? "Unloaded"
                                          : "Waiting",
                   Driver->Loads, (ULONG64)Driver->Blocks[0], (ULONG64)Driver->Bytes[0],
                   (ULONG64)Driver->Blocks[1], (ULONG64)Driver->Bytes[1],
                   (ULONG64)(Driver->PeakBytes[0] + Driver->PeakBytes[1]), Driver->Name);
    }
    if (Count > NTMM_SHOWN_DRIVERS)
    {
        NtmmpPrint(Out, "  and %llu more\n", (ULONG64)(Count - NTMM_SHOWN_DRIVERS));
    }
    free(Drivers);
}

static VOID NtmmpShowSpecialPool(const NTMM_OUT *Out)
{
    const EX_SPECIAL_POOL *Special = &ExpPool()->Special;
    EX_SPECIAL_POOL_COUNTERS Counters;

    ExQuerySpecialPool(&Counters);
    NtmmpPrint(Out, "\nSpecial pool: %s", Special->On ? "on" : "off");
    if (Special->On && Special->Tag[0] != 0)
    {
        NtmmpPrint(Out, ", tag %.4s", Special->Tag);
    }
    if (Special->On && Special->MaximumBytes != 0)
    {
        NtmmpPrint(Out, ", %llu to %llu bytes", (ULONG64)Special->MinimumBytes,
                   (ULONG64)Special->MaximumBytes);
    }
    NtmmpPrint(
        Out,
        "%s\n  %llu blocks, at most %llu so far; %llu freed ones are inaccessible; %llu served, %llu had "
        "to be served by normal pool\n",
        Special->On && Special->Underruns ? ", blocks at the start of their pages" : "",
        (ULONG64)Counters.Blocks, (ULONG64)Counters.PeakBlocks, (ULONG64)Counters.Freed,
        (ULONG64)Counters.Allocations, (ULONG64)Counters.Fallbacks);
}

NTMM_ENTRY(VOID, ShowVerifier, (NTMM_PRINT * Print, PVOID Context))
{
    NTMM_OUT Out = { Print, Context };
    EX_VERIFIER_COUNTERS Counters;
    NTMM_VISIT Visit;
    ULONG Flags;

    if (!NtmmpIsUp(&Out) || !NT_SUCCESS(NtmmpEnter(&Visit)))
    {
        return;
    }
    if (!ExpPool()->Verifier.On)
    {
        NtmmpPrint(&Out, "Driver Verifier is off\n");
    }
    else
    {
        ExQueryVerifier(&Flags, &Counters);
        NtmmpPrint(&Out, "Verify Flags Level 0x%08x\n\n", Flags);
        for (ULONG Index = 0; Index < RTL_NUMBER_OF(NtmmpVerifierOptions); Index++)
        {
            NtmmpPrint(&Out, "  [%c] (0x%08x) %s\n",
                       (Flags & NtmmpVerifierOptions[Index].Flag) != 0 ? 'X' : ' ',
                       NtmmpVerifierOptions[Index].Flag, NtmmpVerifierOptions[Index].Name);
        }
        NtmmpShowVerifierCounters(&Out, &Counters);
        NtmmpShowVerifiedDrivers(&Out);
    }
    NtmmpShowSpecialPool(&Out);
    NtmmpLeave(&Visit);
}
