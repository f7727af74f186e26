/* SPDX-License-Identifier: MIT */
/*
 * Sessions: their life, their lists, their tables. The second-level page of session space is there from the first process to the
 * last, so its entry can stand as a copy in the top-level page of every process of the session, as that of system space does in
 * all: switching between processes of different sessions is loading another top-level page and nothing else.
 */
#include "space/session.h"
#include "rtl/memory.h"

/* ---- The list --------------------------------------------------------------------------------------------- */

PMM_SESSION_SPACE MmGetSessionById(ULONG SessionId)
{
    MI_SPACE_STATE *State = MiState.Space;
    PMM_SESSION_SPACE Found = NULL;
    KIRQL OldIrql = KiAcquireSpinLock(&State->SessionLock);

    for (PLIST_ENTRY Entry = State->SessionList.Flink; Entry != &State->SessionList && Found == NULL;
         Entry = Entry->Flink)
    {
        PMM_SESSION_SPACE Session = CONTAINING_RECORD(Entry, MM_SESSION_SPACE, Links);

        /* One that is being deleted keeps its number to itself: the next one of the same number is another session. */
        if (Session->SessionId == SessionId && ObReferenceObjectSafe(Session))
        {
            Found = Session;
        }
    }
    KiReleaseSpinLock(&State->SessionLock, OldIrql);
    return Found;
}

/* The first session at or behind Entry that can still be referenced. Session lock held. */
static PMM_SESSION_SPACE MiReferenceSessionFrom(PLIST_ENTRY Entry)
{
    for (; Entry != &MiState.Space->SessionList; Entry = Entry->Flink)
    {
        PMM_SESSION_SPACE Session = CONTAINING_RECORD(Entry, MM_SESSION_SPACE, Links);

        if (ObReferenceObjectSafe(Session))
        {
            return Session;
        }
    }
    return NULL;
}

VOID MiForEachSession(BOOLEAN (*Routine)(PMM_SESSION_SPACE Session, PVOID Context), PVOID Context)
{
    MI_SPACE_STATE *State = MiState.Space;
    KIRQL OldIrql = KiAcquireSpinLock(&State->SessionLock);
    PMM_SESSION_SPACE Session = MiReferenceSessionFrom(State->SessionList.Flink);

    KiReleaseSpinLock(&State->SessionLock, OldIrql);
    while (Session != NULL)
    {
        PMM_SESSION_SPACE Next = NULL;

        if (Routine(Session, Context))
        {
            /* Referenced, hence still listed. */
            OldIrql = KiAcquireSpinLock(&State->SessionLock);
            Next = MiReferenceSessionFrom(Session->Links.Flink);
            KiReleaseSpinLock(&State->SessionLock, OldIrql);
        }
        ObDereferenceObjectBody(Session);
        Session = Next;
    }
}

BOOLEAN MiReferenceSpaceSafe(PMI_ADDRESS_SPACE Space)
{
    PMM_SESSION_SPACE Session = MiSessionOfSpace(Space);

    if (Session != NULL)
    {
        return ObReferenceObjectSafe(Session);
    }
    return Space->Process == NULL || ObReferenceObjectSafe(Space->Process);
}

VOID MiDereferenceSpace(PMI_ADDRESS_SPACE Space)
{
    PMM_SESSION_SPACE Session = MiSessionOfSpace(Space);

    if (Session != NULL)
    {
        ObDereferenceObjectBody(Session);
    }
    else if (Space->Process != NULL)
    {
        ObDereferenceObjectBody(Space->Process);
    }
}

/* ---- Processes --------------------------------------------------------------------------------------------- */

VOID MiEnterSession(PMM_SESSION_SPACE Session, PEPROCESS Process)
{
    KIRQL OldIrql;

    ObReferenceObjectBody(Session);
    Process->Session = Session;
    OldIrql = KiAcquireSpinLock(&MiState.Space->SessionLock);
    InsertTailList(&Session->ProcessList, &Process->SessionProcessLinks);
    Session->ProcessCount++;
    KiReleaseSpinLock(&MiState.Space->SessionLock, OldIrql);
}

VOID MiLeaveSession(PEPROCESS Process)
{
    PMM_SESSION_SPACE Session = Process->Session;
    KIRQL OldIrql;

    if (Session == NULL)
    {
        return;
    }
    OldIrql = KiAcquireSpinLock(&MiState.Space->SessionLock);
    RemoveEntryList(&Process->SessionProcessLinks);
    Session->ProcessCount--;
    KiReleaseSpinLock(&MiState.Space->SessionLock, OldIrql);
    Process->Session = NULL;
    ObDereferenceObjectBody(Session);
}

EX_SESSION_POOL *MiCurrentSessionPool(void)
{
    PMM_SESSION_SPACE Session = MiCurrentSession();

    return Session != NULL && Session->PoolRegion != NULL ? &Session->Pool : NULL;
}

NTSTATUS PsCreateProcessInSession(PCSTR Name, ULONG SessionId, PEPROCESS *Process)
{
    PMM_SESSION_SPACE Session;
    NTSTATUS Status = MmSessionCreate(SessionId, &Session);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = PsCreateProcessWithSession(Name, Session, Process);
    ObDereferenceObjectBody(Session);
    return Status;
}

/* ---- Birth --------------------------------------------------------------------------------------------------- */

/* The object, complete, but nobody can find it yet. */
static NTSTATUS MiBuildSession(ULONG SessionId, PMM_SESSION_SPACE *Result)
{
    PVOID Object;
    PMM_SESSION_SPACE Session;
    NTSTATUS Status = ObCreateObjectBody(&MiState.Space->SessionType, sizeof(MM_SESSION_SPACE), &Object);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Session = Object;
    Session->SessionId = SessionId;
    InitializeListHead(&Session->ProcessList);
    InitializeListHead(&Session->Links);
    Session->Space.Kernel = TRUE;
    Status = MiInitializeAddressSpace(&Session->Space, PORT_SESSION_START >> PAGE_SHIFT,
                                      PORT_SESSION_END >> PAGE_SHIFT);
    if (NT_SUCCESS(Status))
    {
        Status = MiCreateFixedTables(&Session->Space, MI_SESSION_TABLES, MiCreateSessionTables);
    }
    if (NT_SUCCESS(Status) && MiState.Space->AttachSessionPool != NULL)
    {
        Status = MiState.Space->AttachSessionPool(Session);
    }
    if (!NT_SUCCESS(Status))
    {
        ObDereferenceObjectBody(Session);
        return Status;
    }
    *Result = Session;
    return STATUS_SUCCESS;
}

/* Two who make a session of the same number at the same time end up with the one that was faster. */
static PMM_SESSION_SPACE MiListSession(PMM_SESSION_SPACE Session)
{
    MI_SPACE_STATE *State = MiState.Space;
    PMM_SESSION_SPACE Winner = Session;
    KIRQL OldIrql = KiAcquireSpinLock(&State->SessionLock);

    for (PLIST_ENTRY Entry = State->SessionList.Flink; Entry != &State->SessionList; Entry = Entry->Flink)
    {
        PMM_SESSION_SPACE Other = CONTAINING_RECORD(Entry, MM_SESSION_SPACE, Links);

        if (Other->SessionId == Session->SessionId && ObReferenceObjectSafe(Other))
        {
            Winner = Other;
            break;
        }
    }
    if (Winner == Session)
    {
        InsertTailList(&State->SessionList, &Session->Links);
    }
    KiReleaseSpinLock(&State->SessionLock, OldIrql);
    if (Winner != Session)
    {
        ObDereferenceObjectBody(Session);
        return Winner;
    }
    __atomic_fetch_add(&State->SessionCount, 1, __ATOMIC_RELAXED);
    OldIrql = KiAcquireSpinLock(&State->WorkingSetListLock);
    InsertTailList(&State->WorkingSetList, &Session->Space.Vm.WorkingSetLinks);
    KiReleaseSpinLock(&State->WorkingSetListLock, OldIrql);
    return Session;
}

NTSTATUS MmSessionCreate(ULONG SessionId, PMM_SESSION_SPACE *Session)
{
    NTSTATUS Status = STATUS_SUCCESS;

    if (SessionId == MM_NO_SESSION)
    {
        return STATUS_INVALID_PARAMETER;
    }
    *Session = MmGetSessionById(SessionId);
    if (*Session == NULL)
    {
        PMM_SESSION_SPACE New;

        Status = MiBuildSession(SessionId, &New);
        if (NT_SUCCESS(Status))
        {
            *Session = MiListSession(New);
        }
    }
    return Status;
}

/* ---- Death --------------------------------------------------------------------------------------------------- */

static VOID MiUnlistSession(PMM_SESSION_SPACE Session)
{
    MI_SPACE_STATE *State = MiState.Space;
    KIRQL OldIrql = KiAcquireSpinLock(&State->SessionLock);
    BOOLEAN Listed = !IsListEmpty(&Session->Links);

    if (Listed)
    {
        RemoveEntryList(&Session->Links);
    }
    KiReleaseSpinLock(&State->SessionLock, OldIrql);
    if (Listed)
    {
        OldIrql = KiAcquireSpinLock(&State->WorkingSetListLock);
        RemoveEntryList(&Session->Space.Vm.WorkingSetLinks);
        KiReleaseSpinLock(&State->WorkingSetListLock, OldIrql);
        __atomic_fetch_sub(&State->SessionCount, 1, __ATOMIC_RELAXED);
    }
}

/* Drivers that hold something of the session in its last moment held it too long: documented bug checks, parameters included. */
static VOID MiRequireSessionEmpty(PMM_SESSION_SPACE Session)
{
    SIZE_T Views = __atomic_load_n(&Session->MappedViews, __ATOMIC_ACQUIRE);
    EX_SESSION_USAGE Usage;

    if (Views != 0)
    {
        KiBugCheckMessage(SESSION_HAS_VALID_VIEWS_ON_EXIT, Session->SessionId, Views,
                          (ULONG_PTR)&Session->Space.VadRoot, Session->Space.VadCount,
                          "session %u ends with %llu views: a driver did not call MmUnmapViewInSessionSpace",
                          Session->SessionId, (ULONG64)Views);
    }
    ExQuerySessionPool(&Session->Pool, &Usage);
    if (Usage.Blocks[0] + Usage.Blocks[1] != 0)
    {
        ExReportSessionLeaks(&Session->Pool);
        KiBugCheckMessage(SESSION_HAS_VALID_POOL_ON_EXIT, Session->SessionId, Usage.Bytes[1], Usage.Bytes[0],
                          (ULONG_PTR)(Usage.Blocks[0] << 32 | (Usage.Blocks[1] & 0xffffffffull)),
                          "session %u ends with %llu paged and %llu nonpaged blocks of its pool not freed",
                          Session->SessionId, (ULONG64)Usage.Blocks[1], (ULONG64)Usage.Blocks[0]);
    }
}

static VOID MiDeleteSessionTopLevel(PMM_SESSION_SPACE Session)
{
    PMI_ADDRESS_SPACE Space = &Session->Space;

    if (Space->Vm.MinimumHard)
    {
        MiReturnResidentAvailable(Space->Vm.MinimumWorkingSetSize);
    }
    if (Space->VadCount != 0 || MiSpaceCommitCharge(Space) != MI_SESSION_TABLES ||
        Space->PageTablePages != MI_SESSION_TABLES || Space->CommittedPageTables != MI_SESSION_TABLES)
    {
        KiBugCheckMessage(
            MEMORY_MANAGEMENT, 0x5003, (ULONG_PTR)Session, Space->VadCount, MiSpaceCommitCharge(Space),
            "session %u ends with %llu VADs, %llu pages committed, %llu page tables", Session->SessionId,
            (ULONG64)Space->VadCount, (ULONG64)MiSpaceCommitCharge(Space), (ULONG64)Space->PageTablePages);
    }
    MiDeleteSessionTables(Space->TopLevel);
    MiReturnFixedTables(Space, MI_SESSION_TABLES);
}

/* Also of a session that never became complete: what is there goes. */
VOID MiDeleteSessionObject(PVOID Object)
{
    PMM_SESSION_SPACE Session = Object;

    KiRequire(IsListEmpty(&Session->ProcessList));
    MiUnlistSession(Session);
    if (Session->PoolRegion != NULL)
    {
        MiRequireSessionEmpty(Session);
        MiState.Space->DetachSessionPool(Session);
    }
    if (Session->Space.TopLevel != 0)
    {
        MiDeleteSessionTopLevel(Session);
    }
    MiUninitializeAddressSpace(&Session->Space);
}

/* ---- Checks ---------------------------------------------------------------------------------------------------- */

static BOOLEAN MiCheckOneSession(PMM_SESSION_SPACE Session, PVOID Context)
{
    ULONG Level = *(const ULONG *)Context;
    SIZE_T Processes = 0;
    KIRQL OldIrql;

    MiLockSpaceExclusive(&Session->Space);
    MiCheckSpace(&Session->Space, Level);
    MiUnlockSpaceExclusive(&Session->Space);
    OldIrql = KiAcquireSpinLock(&MiState.Space->SessionLock);
    for (PLIST_ENTRY Entry = Session->ProcessList.Flink; Entry != &Session->ProcessList; Entry = Entry->Flink)
    {
        PEPROCESS Process = CONTAINING_RECORD(Entry, EPROCESS, SessionProcessLinks);

        KiRequire(Process->Session == Session);
        Processes++;
    }
    KiRequire(Processes == Session->ProcessCount);
    KiReleaseSpinLock(&MiState.Space->SessionLock, OldIrql);
    return TRUE;
}

VOID MiCheckSessions(ULONG Level)
{
    MiForEachSession(MiCheckOneSession, &Level);
}
