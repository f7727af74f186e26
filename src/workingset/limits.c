/* SPDX-License-Identifier: MIT */
/* Working-set limits, and the events that tell programs that memory is low or plentiful. */
#include "workingset/workingset.h"

#include "pool/expool.h"

#define MI_LEAST_WORKING_SET 20u /* documented: the minimum must be at least 20 pages */

VOID MiEnforceWorkingSetLimit(PMI_ADDRESS_SPACE Space)
{
    SIZE_T Pages = MiWorkingSetPages(Space);
    SIZE_T Maximum = __atomic_load_n(&Space->Vm.MaximumWorkingSetSize, __ATOMIC_RELAXED);

    if (Pages < Maximum)
    {
        return;
    }
    /* A few more than needed, so that not every fault trims. */
    Pages = Pages - Maximum + 1 + (Maximum > 256 ? 16 : 1);
    if (MiTrimWorkingSet(Space, Pages, 1) == 0 && MiTrimWorkingSet(Space, Pages, 1) == 0)
    {
        MiTrimWorkingSet(Space, Pages, 0);
    }
}

NTSTATUS MiCheckWorkingSetLimits(SIZE_T Minimum, SIZE_T Maximum)
{
    return Minimum < MI_LEAST_WORKING_SET || Minimum > Maximum || Maximum > MiState.Physical->NumberOfPages
               ? STATUS_BAD_WORKING_SET_LIMIT
               : STATUS_SUCCESS;
}

/*
 * Space exclusive: one change at a time, none after the process gave its guarantee back. Faults and trimmers
 * read without the lock.
 */
static NTSTATUS MiChangeLimits(PMI_ADDRESS_SPACE Space, SIZE_T Minimum, SIZE_T Maximum, ULONG HardFlags)
{
    PMMSUPPORT Vm = &Space->Vm;
    SIZE_T OldHard;
    SIZE_T NewHard;
    BOOLEAN MinimumHard;

    if (Space->Deleting)
    {
        return STATUS_PROCESS_IS_TERMINATING;
    }
    Minimum = Minimum == 0 ? Vm->MinimumWorkingSetSize : Minimum;
    Maximum = Maximum == 0 ? Vm->MaximumWorkingSetSize : Maximum;
    if (!NT_SUCCESS(MiCheckWorkingSetLimits(Minimum, Maximum)))
    {
        return STATUS_BAD_WORKING_SET_LIMIT;
    }
    MinimumHard = (HardFlags & QUOTA_LIMITS_HARDWS_MIN_ENABLE) != 0    ? TRUE
                  : (HardFlags & QUOTA_LIMITS_HARDWS_MIN_DISABLE) != 0 ? FALSE
                                                                       : Vm->MinimumHard;
    OldHard = Vm->MinimumHard ? Vm->MinimumWorkingSetSize : 0;
    NewHard = MinimumHard ? Minimum : 0;
    if (NewHard > OldHard && !MiChargeResidentAvailable(NewHard - OldHard))
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    if (NewHard < OldHard)
    {
        MiReturnResidentAvailable(OldHard - NewHard);
    }
    __atomic_store_n(&Vm->MinimumWorkingSetSize, Minimum, __ATOMIC_RELAXED);
    __atomic_store_n(&Vm->MaximumWorkingSetSize, Maximum, __ATOMIC_RELAXED);
    __atomic_store_n(&Vm->MinimumHard, MinimumHard, __ATOMIC_RELAXED);
    if ((HardFlags & (QUOTA_LIMITS_HARDWS_MAX_ENABLE | QUOTA_LIMITS_HARDWS_MAX_DISABLE)) != 0)
    {
        __atomic_store_n(&Vm->MaximumHard, (HardFlags & QUOTA_LIMITS_HARDWS_MAX_ENABLE) != 0,
                         __ATOMIC_RELAXED);
    }
    return STATUS_SUCCESS;
}

NTSTATUS MiSetWorkingSetLimits(PMI_ADDRESS_SPACE Space, SIZE_T Minimum, SIZE_T Maximum, ULONG HardFlags)
{
    NTSTATUS Status;
    SIZE_T Pages;

    if (Minimum == ~(SIZE_T)0 && Maximum == ~(SIZE_T)0)
    {
        MiEmptyWorkingSet(Space);
        return STATUS_SUCCESS;
    }
    if (((HardFlags & QUOTA_LIMITS_HARDWS_MIN_ENABLE) != 0 &&
         (HardFlags & QUOTA_LIMITS_HARDWS_MIN_DISABLE) != 0) ||
        ((HardFlags & QUOTA_LIMITS_HARDWS_MAX_ENABLE) != 0 &&
         (HardFlags & QUOTA_LIMITS_HARDWS_MAX_DISABLE) != 0))
    {
        return STATUS_INVALID_PARAMETER;
    }
    MiLockSpaceExclusive(Space);
    Status = MiChangeLimits(Space, Minimum, Maximum, HardFlags);
    Maximum = Space->Vm.MaximumWorkingSetSize;
    MiUnlockSpaceExclusive(Space);
    Pages = MiWorkingSetPages(Space);
    if (NT_SUCCESS(Status) && __atomic_load_n(&Space->Vm.MaximumHard, __ATOMIC_RELAXED) && Pages > Maximum)
    {
        MiTrimWorkingSet(Space, Pages - Maximum, 0);
    }
    return Status;
}

static VOID MiSetNotification(PKEVENT Event, BOOLEAN Signaled)
{
    if (Signaled && KeReadStateEvent(Event) == 0)
    {
        KeSetEvent(Event, 0, FALSE);
    }
    else if (!Signaled && KeReadStateEvent(Event) != 0)
    {
        KeClearEvent(Event);
    }
}

VOID MiUpdateMemoryNotifications(void)
{
    MI_WORKING_SET_STATE *WorkingSet = MiState.WorkingSet;
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    PFN_NUMBER Available = MiAvailablePages();
    SIZE_T Limit = __atomic_load_n(&Physical->CommitMaximum, __ATOMIC_RELAXED);
    SIZE_T Charged = __atomic_load_n(&Physical->CommittedPages, __ATOMIC_RELAXED);

    MiSetNotification(&WorkingSet->LowMemoryEvent, Available <= Physical->LowMemoryThreshold);
    MiSetNotification(&WorkingSet->HighMemoryEvent, Available >= Physical->HighMemoryThreshold);
    MiSetNotification(&WorkingSet->LowCommitEvent, Charged >= Limit - Limit / 8);
    MiSetNotification(&WorkingSet->HighCommitEvent, Charged < Limit - Limit / 4);
    for (ULONG Paged = 0; Paged < 2; Paged++)
    {
        SIZE_T Pages;
        SIZE_T Left = ExQueryPoolLeft(Paged != 0, &Pages);

        MiSetNotification(&WorkingSet->LowPoolEvent[Paged],
                          Left <= Pages / 8); /* where low priorities are refused */
        MiSetNotification(&WorkingSet->HighPoolEvent[Paged], Left >= Pages / 4);
    }
}
