/* SPDX-License-Identifier: MIT */
/*
 * The first and the last step of a machine's life. All state of the room is one piece of boot memory, so that
 * nothing is left over for the next machine of the same process.
 */
#include "ke/inject.h"
#include "ke/ki.h"
#include "ke/pushlock.h"

typedef struct _KI_BOOT_STATE
{
    KI_STATE State;
    KI_TIMER_QUEUE Timers;
    KI_WORK_QUEUE Work;
    struct _KI_INJECTION Injection;
    DECLSPEC_CACHEALIGN KI_PUSH_LOCK_BUCKETS PushLockBuckets;
} KI_BOOT_STATE;

struct _KI_INJECTION *KiInjectionStorage(KI_STATE *State)
{
    return &CONTAINING_RECORD(State, KI_BOOT_STATE, State)->Injection;
}

NTSTATUS KiInitializeSystem(const KI_PARAMETERS *Parameters, PKTHREAD BootThread)
{
    KI_BOOT_STATE *Boot;
    KI_STATE *State;
    NTSTATUS Status;

    KiRequire(MiState.Ke == NULL);
    Boot = PortAllocateBootMemory(sizeof(*Boot));
    if (Boot == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    State = &Boot->State;
    State->ProcessorCount = PortQueryProcessorCount();
    KiRequire(State->ProcessorCount != 0 && State->ProcessorCount <= PORT_MAXIMUM_PROCESSORS);
    State->NodeCount = PortQueryNodeCount();
    KiRequire(State->NodeCount != 0 && State->NodeCount <= PORT_MAXIMUM_NODES);
    for (ULONG Processor = 0; Processor < State->ProcessorCount; Processor++)
    {
        State->ProcessorNode[Processor] = (UCHAR)PortQueryProcessorNode(Processor);
        KiRequire(State->ProcessorNode[Processor] < State->NodeCount);
    }
    State->Deterministic = Parameters->Deterministic;
    State->RandomState = Parameters->Seed;
    State->BootClock = PortQueryClock();
    InitializeListHead(&State->ResourceList);
    InitializeListHead(&State->ThreadList);
    State->PushLockBuckets = &Boot->PushLockBuckets;
    State->Timers = &Boot->Timers;
    State->Work = &Boot->Work;
    InitializeListHead(&State->Work->Items);
    InitializeListHead(&State->Timers->Timers);
    KiInitializePushLockBuckets(State->PushLockBuckets);
    MiState.Ke = State;
    KiAdoptCurrentThread(BootThread, 0);
    Status = KiStartTimers();
    if (!NT_SUCCESS(Status))
    {
        KiShutdownSystem(BootThread);
    }
    return Status;
}

VOID KiShutdownSystem(PKTHREAD BootThread)
{
    KI_BOOT_STATE *Boot = CONTAINING_RECORD(MiState.Ke, KI_BOOT_STATE, State);

    KiStopTimers();
    KiStopWorkThreads();
    KiRequire(MiState.Ke->WorkerCount == 0);
    KiAbandonCurrentThread(BootThread);
    KiRequire(IsListEmpty(&MiState.Ke->ThreadList));
    MiState.Ke = NULL;
    PortFreeBootMemory(Boot, sizeof(*Boot));
}
