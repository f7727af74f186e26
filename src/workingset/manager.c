/* SPDX-License-Identifier: MIT */
/*
 * The working-set manager and the balance set manager. The former is woken when available memory is low and
 * takes pages from the spaces in turn until, with what the writer has in hand, there is enough again; the
 * latter looks after everything once a second.
 */
#include "pool/expool.h"
#include "space/session.h"
#include "workingset/workingset.h"
#include "pool/verifier.h"

#define MI_SHARE_PER_TURN 256u

/* What trimming aims at: available now or as soon as the modified pages are written. */
static PFN_NUMBER MiTrimGoal(void)
{
    return 3 * MiState.Physical->LowThreshold;
}

static PFN_NUMBER MiPagesMissing(void)
{
    PFN_NUMBER Have = MiAvailablePages() + __atomic_load_n(&MiState.Paging->PagesInFlight, __ATOMIC_RELAXED);
    PFN_NUMBER Goal = MiTrimGoal();

    /*
     * Modified pages count only as far as they can be written: without slots, or while a disk fails or is full, clean
     * pages have to come.
     */
    Have += MiWritableModifiedPages();
    return Have < Goal ? Goal - Have : 0;
}

/* Processes, sessions, the system. */
static SIZE_T MiSpacesInTurn(void)
{
    return __atomic_load_n(&MiState.Space->ProcessCount, __ATOMIC_RELAXED) +
           __atomic_load_n(&MiState.Space->SessionCount, __ATOMIC_RELAXED) + 1;
}

/* The next space in turn, referenced, or NULL; moves it to the end of the list. */
static PMI_ADDRESS_SPACE MiNextSpaceInTurn(void)
{
    MI_SPACE_STATE *State = MiState.Space;
    PMI_ADDRESS_SPACE Found = NULL;
    KIRQL OldIrql = KiAcquireSpinLock(&State->WorkingSetListLock);

    for (SIZE_T Tries = 0; Tries < MiSpacesInTurn() && Found == NULL && !IsListEmpty(&State->WorkingSetList);
         Tries++)
    {
        PLIST_ENTRY Entry = RemoveHeadList(&State->WorkingSetList);
        PMI_ADDRESS_SPACE Space = CONTAINING_RECORD(Entry, MI_ADDRESS_SPACE, Vm.WorkingSetLinks);

        InsertTailList(&State->WorkingSetList, Entry);
        if (MiReferenceSpaceSafe(Space))
        {
            Found = Space;
        }
    }
    KiReleaseSpinLock(&State->WorkingSetListLock, OldIrql);
    return Found;
}

/* How much one space gives at most in this round. */
static SIZE_T MiShareOf(PMI_ADDRESS_SPACE Space, SIZE_T Missing, ULONG Round)
{
    SIZE_T Pages = MiWorkingSetPages(Space);
    SIZE_T Floor = __atomic_load_n(&Space->Vm.MinimumWorkingSetSize, __ATOMIC_RELAXED);
    SIZE_T Share;

    if (Round != 0 && !__atomic_load_n(&Space->Vm.MinimumHard, __ATOMIC_RELAXED))
    {
        Floor = 0;
    }
    if (Pages <= Floor)
    {
        return 0;
    }
    Share = (Pages - Floor + 3) / 4;
    Share = Share < MI_SHARE_PER_TURN ? Share : MI_SHARE_PER_TURN;
    return Share < Missing ? Share : Missing;
}

/* One turn through all spaces. Round 0 respects minimums and takes unused pages; later rounds do neither. */
static SIZE_T MiTrimRound(ULONG Round)
{
    SIZE_T Spaces = MiSpacesInTurn();
    SIZE_T Taken = 0;

    for (SIZE_T Turn = 0; Turn < Spaces; Turn++)
    {
        SIZE_T Missing = MiPagesMissing();
        PMI_ADDRESS_SPACE Space;
        SIZE_T Share;

        if (Missing == 0)
        {
            break;
        }
        Space = MiNextSpaceInTurn();
        if (Space == NULL)
        {
            break;
        }
        Share = MiShareOf(Space, Missing, Round);
        if (Share != 0)
        {
            Taken += MiTrimWorkingSet(Space, Share, Round < 3 ? 1 : 0);
        }
        if (Round >= 2)
        {
            Taken += MiTrimPageTables(Space);
        }
        MiDereferenceSpace(Space);
    }
    if (Round >= 2)
    {
        Taken += MiTrimPrototypePages();
    }
    return Taken;
}

BOOLEAN MiWorkingSetManagerStep(PVOID Context)
{
    SIZE_T Taken = 0;

    UNREFERENCED_PARAMETER(Context);
    MiUpdateMemoryNotifications();
    if (MiQueueTotal(&MiState.Physical->ModifiedList) != 0 &&
        MiAvailablePages() < 4 * MiState.Physical->LowThreshold)
    {
        MiWakePageWriters();
    }
    /* Round 0 only clears accessed bits when everything was used; the next ones find pages then. */
    for (ULONG Round = 0; Round < 4 && Taken == 0 && MiPagesMissing() != 0; Round++)
    {
        Taken = MiTrimRound(Round);
    }
    MiState.WorkingSet->TrimRounds++;
    if (MiQueueTotal(&MiState.Physical->ModifiedList) != 0 &&
        MiAvailablePages() < 4 * MiState.Physical->LowThreshold)
    {
        MiWakePageWriters();
    }
    return Taken != 0 && MiPagesMissing() != 0;
}

/* Once a second while memory is short: page tables that map nothing in memory any more. */
static VOID MiTrimTablesOfAll(void)
{
    for (SIZE_T Turn = 0; Turn < MiSpacesInTurn(); Turn++)
    {
        PMI_ADDRESS_SPACE Space = MiNextSpaceInTurn();

        if (Space == NULL)
        {
            return;
        }
        MiTrimPageTables(Space);
        MiDereferenceSpace(Space);
    }
}

BOOLEAN MiBalanceSetManagerStep(PVOID Context)
{
    UNREFERENCED_PARAMETER(Context);
    MiKeepCommitHeadroom();
    if (MiAvailablePages() < 4 * MiState.Physical->LowThreshold)
    {
        MiSwapIdleProcesses();
        MiTrimTablesOfAll();
        MiTrimPrototypePages();
    }
    else if (__atomic_load_n(&MiState.Section->UnusedSegmentCount, __ATOMIC_RELAXED) != 0)
    {
        MiTrimUnusedSegments(0);
    }
    MiUpdateMemoryNotifications();
    ExAdjustLookasideDepth();
    if (MiAvailablePages() < MiState.Physical->LowThreshold)
    {
        KiWakeWorker(&MiState.WorkingSet->WorkingSetManager);
    }
    return FALSE;
}

static VOID MiAvailableLow(void)
{
    if (KeReadStateEvent(&MiState.WorkingSet->WorkingSetManager.Event) != 0)
    {
        return; /* woken already: faults come by here often while memory is short */
    }
    KiWakeWorker(&MiState.WorkingSet->WorkingSetManager);
}

static VOID MiCommitLow(void)
{
    if (KeReadStateEvent(&MiState.WorkingSet->BalanceSetManager.Event) == 0)
    {
        KiWakeWorker(&MiState.WorkingSet->BalanceSetManager);
    }
}

/* For the verifier: what is pageable of the system cannot be accessed until it is faulted in again. */
static VOID MiTrimSystemSpace(void)
{
    if (MiState.Space != NULL)
    {
        MiEmptyWorkingSet(&MiState.Space->System);
    }
}

NTSTATUS MiInitializeWorkingSets(void)
{
    MI_WORKING_SET_STATE *WorkingSet = PortAllocateBootMemory(sizeof(*WorkingSet));

    if (WorkingSet == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    MiState.WorkingSet = WorkingSet;
    KeInitializeEvent(&WorkingSet->LowMemoryEvent, NotificationEvent, FALSE);
    KeInitializeEvent(&WorkingSet->HighMemoryEvent, NotificationEvent, FALSE);
    for (ULONG Paged = 0; Paged < 2; Paged++)
    {
        KeInitializeEvent(&WorkingSet->LowPoolEvent[Paged], NotificationEvent, FALSE);
        KeInitializeEvent(&WorkingSet->HighPoolEvent[Paged], NotificationEvent, FALSE);
    }
    KeInitializeEvent(&WorkingSet->LowCommitEvent, NotificationEvent, FALSE);
    KeInitializeEvent(&WorkingSet->HighCommitEvent, NotificationEvent, FALSE);
    MiUpdateMemoryNotifications();
    ExSetVerifierTrim(MiTrimSystemSpace);
    return STATUS_SUCCESS;
}

NTSTATUS MiStartWorkingSetWorkers(void)
{
    MI_WORKING_SET_STATE *WorkingSet = MiState.WorkingSet;

    NTSTATUS Status = KiStartWorker(&WorkingSet->WorkingSetManager, "working set manager",
                                    MiWorkingSetManagerStep, NULL, 0);

    if (NT_SUCCESS(Status))
    {
        Status = KiStartWorker(&WorkingSet->BalanceSetManager, "balance set manager", MiBalanceSetManagerStep,
                               NULL, 1000000000ull);
    }
    if (NT_SUCCESS(Status))
    {
        MiState.Physical->Operations.AvailableLow = MiAvailableLow;
        MiState.Physical->Operations.CommitLow = MiCommitLow;
    }
    return Status;
}

VOID MiStopWorkingSetWorkers(void)
{
    MI_WORKING_SET_STATE *WorkingSet = MiState.WorkingSet;

    MiState.Physical->Operations.AvailableLow = NULL;
    MiState.Physical->Operations.CommitLow = NULL;
    KiStopWorker(&WorkingSet->BalanceSetManager);
    KiStopWorker(&WorkingSet->WorkingSetManager);
}

VOID MiShutdownWorkingSets(void)
{
    if (MiState.WorkingSet != NULL)
    {
        ExSetVerifierTrim(NULL);
        PortFreeBootMemory(MiState.WorkingSet, sizeof(*MiState.WorkingSet));
        MiState.WorkingSet = NULL;
    }
}
