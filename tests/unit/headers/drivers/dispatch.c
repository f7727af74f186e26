/* SPDX-License-Identifier: MIT */
/* A driver source of ordinary habits: entry, unload, locks of every kind, timers with DPCs, work items, a system thread, an event to end it. */
#include <ntddk.h>

#define POLLER_TAG 'loPD'

DRIVER_INITIALIZE DriverEntry;
DRIVER_UNLOAD PollerUnload;
KSTART_ROUTINE PollerThread;
KDEFERRED_ROUTINE PollerDpc;
WORKER_THREAD_ROUTINE PollerWork;

typedef struct _POLLER
{
    KTIMER Timer;
    KDPC Dpc;
    KEVENT Stop;
    KSEMAPHORE Work;
    KSPIN_LOCK Lock;
    FAST_MUTEX FastMutex;
    KGUARDED_MUTEX GuardedMutex;
    ERESOURCE Resource;
    EX_PUSH_LOCK PushLock;
    EX_RUNDOWN_REF Rundown;
    SLIST_HEADER Free;
    LIST_ENTRY Queue;
    WORK_QUEUE_ITEM Item;
    PVOID Thread;
    volatile LONG Ticks;
} POLLER, *PPOLLER;

static PPOLLER Poller;

_Use_decl_annotations_ VOID NTAPI PollerDpc(PKDPC Dpc, PVOID DeferredContext, PVOID Argument1,
                                            PVOID Argument2)
{
    PPOLLER Context = (PPOLLER)DeferredContext;

    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(Argument1);
    UNREFERENCED_PARAMETER(Argument2);
    InterlockedIncrement(&Context->Ticks);
    KeAcquireSpinLockAtDpcLevel(&Context->Lock);
    KeReleaseSpinLockFromDpcLevel(&Context->Lock);
    KeReleaseSemaphore(&Context->Work, IO_NO_INCREMENT, 1, FALSE);
}

_Use_decl_annotations_ VOID NTAPI PollerWork(PVOID Parameter)
{
    PPOLLER Context = (PPOLLER)Parameter;

    PAGED_CODE();
    if (ExAcquireRundownProtection(&Context->Rundown))
    {
        KeEnterCriticalRegion();
        ExAcquireResourceSharedLite(&Context->Resource, TRUE);
        ExReleaseResourceLite(&Context->Resource);
        KeLeaveCriticalRegion();
        ExReleaseRundownProtection(&Context->Rundown);
    }
}

_Use_decl_annotations_ VOID NTAPI PollerThread(PVOID StartContext)
{
    PPOLLER Context = (PPOLLER)StartContext;
    PVOID Objects[2];
    NTSTATUS Status;

    Objects[0] = &Context->Stop;
    Objects[1] = &Context->Work;
    do
    {
        LARGE_INTEGER Timeout;

        Timeout.QuadPart = -10 * 1000 * 1000;
        Status = KeWaitForMultipleObjects(RTL_NUMBER_OF(Objects), Objects, WaitAny, Executive, KernelMode,
                                          FALSE, &Timeout, NULL);
        ExAcquireFastMutex(&Context->FastMutex);
        ExReleaseFastMutex(&Context->FastMutex);
        KeAcquireGuardedMutex(&Context->GuardedMutex);
        KeReleaseGuardedMutex(&Context->GuardedMutex);
        ExQueueWorkItem(&Context->Item, DelayedWorkQueue);
    } while (Status != STATUS_WAIT_0);
    PsTerminateSystemThread(STATUS_SUCCESS);
}

_Use_decl_annotations_ VOID NTAPI PollerUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);
    KeCancelTimer(&Poller->Timer);
    KeFlushQueuedDpcs();
    KeSetEvent(&Poller->Stop, IO_NO_INCREMENT, FALSE);
    KeWaitForSingleObject(Poller->Thread, Executive, KernelMode, FALSE, NULL);
    ObDereferenceObject(Poller->Thread);
    ExWaitForRundownProtectionRelease(&Poller->Rundown);
    ExDeleteResourceLite(&Poller->Resource);
    ExFreePoolWithTag(Poller, POLLER_TAG);
    Poller = NULL;
}

static NTSTATUS PollerStart(VOID)
{
    LARGE_INTEGER Due;
    HANDLE Thread;
    NTSTATUS Status;

    KeInitializeSpinLock(&Poller->Lock);
    ExInitializeFastMutex(&Poller->FastMutex);
    KeInitializeGuardedMutex(&Poller->GuardedMutex);
    ExInitializeResourceLite(&Poller->Resource);
    ExInitializePushLock(&Poller->PushLock);
    ExInitializeRundownProtection(&Poller->Rundown);
    InitializeSListHead(&Poller->Free);
    InitializeListHead(&Poller->Queue);
    KeInitializeEvent(&Poller->Stop, NotificationEvent, FALSE);
    KeInitializeSemaphore(&Poller->Work, 0, MAXLONG);
    ExInitializeWorkItem(&Poller->Item, PollerWork, Poller);
    KeInitializeDpc(&Poller->Dpc, PollerDpc, Poller);
    KeInitializeTimerEx(&Poller->Timer, SynchronizationTimer);
    Status = PsCreateSystemThread(&Thread, THREAD_ALL_ACCESS, NULL, NULL, NULL, PollerThread, Poller);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = ObReferenceObjectByHandle(Thread, SYNCHRONIZE, NULL, KernelMode, &Poller->Thread, NULL);
    NT_ASSERT(NT_SUCCESS(Status));
    ZwClose(Thread);
    Due.QuadPart = -10 * 1000 * 100;
    KeSetTimerEx(&Poller->Timer, Due, 100, &Poller->Dpc);
    return Status;
}

_Use_decl_annotations_ NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS Status;

    DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_INFO_LEVEL, "poller: %wZ\n", RegistryPath);
    KdPrint(("poller: IRQL %u\n", KeGetCurrentIrql()));
    DriverObject->DriverUnload = PollerUnload;
    Poller = (PPOLLER)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Poller), POLLER_TAG);
    if (Poller == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Status = PollerStart();
    if (!NT_SUCCESS(Status))
    {
        ExDeleteResourceLite(&Poller->Resource);
        ExFreePoolWithTag(Poller, POLLER_TAG);
    }
    return Status;
}
