/* SPDX-License-Identifier: MIT */
/*
 * What the verifier asks before memory is freed: whether an object that the kernel still refers to lies in it. Timers, DPCs and work
 * items are found in their queues; resources have a list for this purpose alone, which only those join that are initialized
 * while something is being verified.
 */
#include "ke/ki.h"

static BOOLEAN KiIsInRange(const VOID *Address, ULONG_PTR Start, ULONG_PTR End)
{
    return (ULONG_PTR)Address >= Start && (ULONG_PTR)Address <= End;
}

PVOID KiFindTimerInRange(ULONG_PTR Start, ULONG_PTR End)
{
    KI_TIMER_QUEUE *Queue = MiState.Ke->Timers;
    KIRQL OldIrql = KiAcquireDispatcherLock();
    PVOID Found = NULL;

    for (PLIST_ENTRY Link = Queue->Timers.Flink; Link != &Queue->Timers && Found == NULL; Link = Link->Flink)
    {
        PKTIMER Timer = CONTAINING_RECORD(Link, KTIMER, TimerListEntry);

        Found = KiIsInRange(Timer, Start, End) ? Timer : NULL;
    }
    KiReleaseDispatcherLock(OldIrql);
    return Found;
}

PVOID KiFindDpcInRange(ULONG_PTR Start, ULONG_PTR End)
{
    KI_TIMER_QUEUE *Queue = MiState.Ke->Timers;
    KIRQL OldIrql = KiAcquireDispatcherLock();
    PVOID Found = NULL;

    for (PSINGLE_LIST_ENTRY Link = Queue->FirstDpc; Link != NULL && Found == NULL; Link = Link->Next)
    {
        PRKDPC Dpc = CONTAINING_RECORD(Link, KDPC, DpcListEntry);

        Found = KiIsInRange(Dpc, Start, End) ? Dpc : NULL;
    }
    KiReleaseDispatcherLock(OldIrql);
    return Found;
}

PVOID KiFindWorkItemInRange(ULONG_PTR Start, ULONG_PTR End)
{
    KI_WORK_QUEUE *Queue = MiState.Ke->Work;
    KIRQL OldIrql = KiAcquireSpinLock(&Queue->Lock);
    PVOID Found = NULL;

    for (PLIST_ENTRY Link = Queue->Items.Flink; Link != &Queue->Items && Found == NULL; Link = Link->Flink)
    {
        PWORK_QUEUE_ITEM Item = CONTAINING_RECORD(Link, WORK_QUEUE_ITEM, List);

        Found = KiIsInRange(Item, Start, End) ? Item : NULL;
    }
    KiReleaseSpinLock(&Queue->Lock, OldIrql);
    return Found;
}

PVOID KiFindResourceInRange(ULONG_PTR Start, ULONG_PTR End)
{
    KI_STATE *State = MiState.Ke;
    KIRQL OldIrql = KiAcquireSpinLock(&State->ResourceListLock);
    PVOID Found = NULL;

    for (PLIST_ENTRY Link = State->ResourceList.Flink; Link != &State->ResourceList && Found == NULL;
         Link = Link->Flink)
    {
        Found =
            KiIsInRange(Link, Start, End) ? CONTAINING_RECORD(Link, ERESOURCE, SystemResourcesList) : NULL;
    }
    KiReleaseSpinLock(&State->ResourceListLock, OldIrql);
    return Found;
}
