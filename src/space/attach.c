/* SPDX-License-Identifier: MIT */
/*
 * Which address space a thread runs in: that of the process it belongs to, or of one it is attached to for a while. The
 * thread says it in three fields of its own (Process, AttachedProcess, SpaceState); the port loads the page table behind them. NULL
 * stands for the initial system process, which has no user space: threads that never heard of processes belong to it.
 */
#include "space/space.h"

static PEPROCESS PspProcessOf(PKPROCESS Process)
{
    return Process != NULL ? (PEPROCESS)(PVOID)Process : PsInitialSystemProcess;
}

static VOID PspRunIn(PKTHREAD Thread, PKPROCESS Process)
{
    PMI_ADDRESS_SPACE Space = &PspProcessOf(Process)->Space;

    KiRequire(Thread->Irql < DISPATCH_LEVEL);
    if (Space->TopLevel == 0)
    {
        Space = NULL;
    }
    Thread->AttachedProcess = Process;
    if (Thread->SpaceState != Space)
    {
        Thread->SpaceState = Space;
        PortLoadAddressSpace(Space != NULL ? Space->TopLevel : 0);
    }
}

VOID NTAPI KeStackAttachProcess(PRKPROCESS Process, PRKAPC_STATE ApcState)
{
    PKTHREAD Thread = KiCurrentThread();

    InitializeListHead(&ApcState->ApcListHead[KernelMode]);
    InitializeListHead(&ApcState->ApcListHead[UserMode]);
    ApcState->Process = Thread->AttachedProcess;
    ApcState->InProgressFlags = 0;
    ApcState->KernelApcPending = FALSE;
    ApcState->UserApcPending = FALSE;
    PspRunIn(Thread, Process);
}

VOID NTAPI KeUnstackDetachProcess(PRKAPC_STATE ApcState)
{
    PspRunIn(KiCurrentThread(), ApcState->Process);
}

VOID NTAPI KeAttachProcess(PRKPROCESS Process)
{
    PKTHREAD Thread = KiCurrentThread();

    if (PspProcessOf(Process) == PspProcessOf(Thread->AttachedProcess))
    {
        return;
    }
    if (Thread->AttachedProcess != Thread->Process)
    {
        KiBugCheckMessage(INVALID_PROCESS_ATTACH_ATTEMPT, (ULONG_PTR)Process,
                          (ULONG_PTR)Thread->AttachedProcess, 1, 0,
                          "the thread is to be attached to process %p and is attached to %p", (PVOID)Process,
                          (PVOID)Thread->AttachedProcess);
    }
    PspRunIn(Thread, Process);
}

VOID NTAPI KeDetachProcess(VOID)
{
    PKTHREAD Thread = KiCurrentThread();

    PspRunIn(Thread, Thread->Process);
}

VOID PsSetThreadProcess(PEPROCESS Process)
{
    PKTHREAD Thread = KiCurrentThread();
    PEPROCESS Old = (PEPROCESS)(PVOID)Thread->Process;

    KiRequire(Thread->AttachedProcess == Thread->Process);
    if (Process != NULL)
    {
        ObReferenceObjectBody(Process);
        __atomic_fetch_add(&Process->ActiveThreads, 1, __ATOMIC_RELAXED);
    }
    KiSetThreadProcess((PKPROCESS)(PVOID)Process);
    PspRunIn(Thread, Thread->Process);
    if (Old != NULL)
    {
        __atomic_fetch_sub(&Old->ActiveThreads, 1, __ATOMIC_RELAXED);
        ObDereferenceObjectBody(Old);
    }
}

PEPROCESS NTAPI PsGetCurrentProcess(VOID)
{
    return MiCurrentProcess();
}

/* Of the process that the thread belongs to, wherever it is attached. */
HANDLE NTAPI PsGetCurrentProcessId(VOID)
{
    return PsGetProcessId(PspProcessOf(KiCurrentThread()->Process));
}
