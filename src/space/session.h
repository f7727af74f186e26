/* SPDX-License-Identifier: MIT */
/*
 * Session space: a range of system addresses of which every session has its own. Processes of one session see the same pages at the
 * same addresses there, processes of another session see other pages, and processes without a session (the initial system process, and
 * whoever was created outside of all sessions) see nothing. What lives in it: session pool, and views that drivers map for
 * a session. It is one more MI_ADDRESS_SPACE with a working set of its own, which ages and is trimmed like that of a process. Theory:
 * docs/space.md.
 *
 * A session is an object. It begins with the first process that is created with its number and ends with the last process object that
 * belongs to it: each has a reference. [Z] session lock; [C] atomic; [X] space locked exclusively.
 */
#ifndef NTMM_SPACE_SESSION_H
#define NTMM_SPACE_SESSION_H

#include "pool/expool.h"
#include "space/space.h"

typedef struct _MM_SESSION_SPACE
{
    LIST_ENTRY Links;            /* [Z] MI_SPACE_STATE.SessionList */
    ULONG SessionId;             /* fixed; unique among those that have processes */
    volatile SIZE_T MappedViews; /* [C] of MmMapViewInSessionSpace */
    LIST_ENTRY ProcessList;      /* [Z] EPROCESS.SessionProcessLinks */
    SIZE_T ProcessCount;         /* [Z], read anywhere */
    MI_ADDRESS_SPACE Space;
    EX_SESSION_POOL Pool;
    struct _MI_POOL_REGION *PoolRegion; /* room virtual's: the pages of Pool; NULL: not attached */
} MM_SESSION_SPACE, *PMM_SESSION_SPACE;

/*
 * The session of this number, made if there is none; referenced. STATUS_INVALID_PARAMETER (MM_NO_SESSION), STATUS_INSUFFICIENT_RESOURCES,
 * STATUS_COMMITMENT_LIMIT, STATUS_NO_MEMORY. PASSIVE_LEVEL, no lock held: may wait for frames.
 */
#define MM_NO_SESSION (~0u)
NTSTATUS MmSessionCreate(ULONG SessionId, PMM_SESSION_SPACE *Session);

/* The session of this number, referenced, or NULL. */
PMM_SESSION_SPACE MmGetSessionById(ULONG SessionId);

/* PsCreateProcessObject in the session of this number, which begins with its first process. */
NTSTATUS PsCreateProcessInSession(PCSTR Name, ULONG SessionId, PEPROCESS *Process);

/* The number that is reported of a process: 0 for one in no session, as on Windows for the System process. */
static FORCEINLINE ULONG MmGetSessionId(const EPROCESS *Process)
{
    return Process->Session != NULL ? Process->Session->SessionId : 0;
}

/* The session that session addresses mean to the current thread: that of the process in whose space it runs. NULL: none. */
static FORCEINLINE PMM_SESSION_SPACE MiCurrentSession(void)
{
    PMI_ADDRESS_SPACE Space = MiCurrentSpace();

    return Space != NULL ? Space->Process->Session : NULL;
}

/* The space that a system address means to the current thread: session space or system space. NULL: a session address without a session. */
static FORCEINLINE PMI_ADDRESS_SPACE MiKernelSpaceOf(ULONG_PTR Va)
{
    PMM_SESSION_SPACE Session;

    if (!MiIsSessionAddress(Va))
    {
        return &MiState.Space->System;
    }
    Session = MiCurrentSession();
    return Session != NULL ? &Session->Space : NULL;
}

static FORCEINLINE PMM_SESSION_SPACE MiSessionOfSpace(PMI_ADDRESS_SPACE Space)
{
    return Space->Kernel && !Space->System ? CONTAINING_RECORD(Space, MM_SESSION_SPACE, Space) : NULL;
}

/* Calls Routine for every session, referenced meanwhile, until FALSE. PASSIVE_LEVEL (<= APC_LEVEL where the caller knows that no last reference goes). */
VOID MiForEachSession(BOOLEAN (*Routine)(PMM_SESSION_SPACE Session, PVOID Context), PVOID Context);

/* The space of a process or of a session is kept, unless its object is being deleted; nothing to keep of the system's. / And let go. */
BOOLEAN MiReferenceSpaceSafe(PMI_ADDRESS_SPACE Space);
VOID MiDereferenceSpace(PMI_ADDRESS_SPACE Space);

/* Every session: MiCheckSpace, counts, lists. */
VOID MiCheckSessions(ULONG Level);

/* ---- Between the files of this room ------------------------------------------------------------------------------- */

VOID MiDeleteSessionObject(PVOID Object);                          /* SessionType.Delete */
VOID MiEnterSession(PMM_SESSION_SPACE Session, PEPROCESS Process); /* references the session */
VOID MiLeaveSession(PEPROCESS Process);                            /* nobody runs in its space any more */
EX_SESSION_POOL *MiCurrentSessionPool(void);                       /* for room pool */

#endif
