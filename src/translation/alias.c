/* SPDX-License-Identifier: MIT */
/*
 * Where clients see pages of the system window under other addresses: drivers that the surroundings loaded (docs/driverimage.md). The kernel works
 * with the window's own addresses; who takes an address from a client, or from a fault, asks here first. There are few, and user and system
 * addresses are never looked up, so a list will do.
 */
#include "translation/translation.h"

NTSTATUS MiBeginAlias(ULONG_PTR Start, SIZE_T Pages, ULONG_PTR Target, ULONG Access, BOOLEAN Keep)
{
    MI_TRANSLATION_STATE *State = MiState.Translation;
    MI_ALIAS *Free = NULL;
    NTSTATUS Status;
    KIRQL OldIrql;

    /* Known before the port shows it: the port's own first touch may ask for the page. */
    OldIrql = KiAcquireSpinLock(&State->AliasLock);
    for (ULONG Index = 0; Index < MI_MAXIMUM_ALIASES && Free == NULL; Index++)
    {
        if (State->Aliases[Index].Bytes == 0)
        {
            Free = &State->Aliases[Index];
            *Free = (MI_ALIAS){ .Start = Start, .Target = Target, .Bytes = Pages << PAGE_SHIFT };
            State->AliasCount++;
        }
    }
    KiReleaseSpinLock(&State->AliasLock, OldIrql);
    if (Free == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Status = PortBeginAlias(Start, Pages, Target, Access, Keep);
    if (!NT_SUCCESS(Status))
    {
        OldIrql = KiAcquireSpinLock(&State->AliasLock);
        Free->Bytes = 0;
        State->AliasCount--;
        KiReleaseSpinLock(&State->AliasLock, OldIrql);
    }
    return Status;
}

VOID MiEndAlias(ULONG_PTR Start)
{
    MI_TRANSLATION_STATE *State = MiState.Translation;
    KIRQL OldIrql;

    PortEndAlias(Start);
    OldIrql = KiAcquireSpinLock(&State->AliasLock);
    for (ULONG Index = 0; Index < MI_MAXIMUM_ALIASES; Index++)
    {
        if (State->Aliases[Index].Bytes != 0 && State->Aliases[Index].Start == Start)
        {
            State->Aliases[Index].Bytes = 0;
            State->AliasCount--;
        }
    }
    KiReleaseSpinLock(&State->AliasLock, OldIrql);
}

ULONG_PTR MiFindAlias(ULONG_PTR Va)
{
    MI_TRANSLATION_STATE *State = MiState.Translation;
    ULONG_PTR Found = 0;
    KIRQL OldIrql = KiAcquireSpinLock(&State->AliasLock);

    for (ULONG Index = 0; Index < MI_MAXIMUM_ALIASES && Found == 0; Index++)
    {
        if (Va - State->Aliases[Index].Target < State->Aliases[Index].Bytes)
        {
            Found = State->Aliases[Index].Start + (Va - State->Aliases[Index].Target);
        }
    }
    KiReleaseSpinLock(&State->AliasLock, OldIrql);
    return Found;
}
