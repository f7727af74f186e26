/* SPDX-License-Identifier: MIT */
/*
 * Executive work items: routines that run once on a system thread at PASSIVE_LEVEL. All queues share one
 * list, critical items in front, and two workers, so that an item may wait for another one. The workers'
 * threads are started when the first item is queued, by the timer thread, because an item may be queued at
 * DISPATCH_LEVEL where no thread can be created.
 */
#include "ke/ki.h"

static KI_WORK_QUEUE *KiWork(void)
{
    return MiState.Ke->Work;
}

static PWORK_QUEUE_ITEM KiTakeWorkItem(void)
{
    KI_WORK_QUEUE *Queue = KiWork();
    KIRQL OldIrql = KiAcquireSpinLock(&Queue->Lock);
    PWORK_QUEUE_ITEM Item = NULL;

    if (!IsListEmpty(&Queue->Items))
    {
        Item = CONTAINING_RECORD(RemoveHeadList(&Queue->Items), WORK_QUEUE_ITEM, List);
    }
    KiReleaseSpinLock(&Queue->Lock, OldIrql);
    return Item;
}

static BOOLEAN KiRunWorkItem(PVOID Context)
{
    PWORK_QUEUE_ITEM Item = KiTakeWorkItem();
    PWORKER_THREAD_ROUTINE Routine;

    UNREFERENCED_PARAMETER(Context);
    if (Item == NULL)
    {
        return FALSE;
    }
    Routine = Item->WorkerRoutine;
    Item->List.Flink = NULL; /* may be queued again from now on, or freed by its routine */
    Routine(Item->Parameter);
    if (KiCurrentThread()->Irql != PASSIVE_LEVEL)
    {
        KeBugCheckEx(WORKER_THREAD_RETURNED_AT_BAD_IRQL, (ULONG_PTR)Routine, KiCurrentThread()->Irql,
                     (ULONG_PTR)Item, 0);
    }
    return TRUE;
}

static VOID KiWakeWorkers(KI_WORK_QUEUE *Queue)
{
    ULONG Index;

    for (Index = 0; Index < __atomic_load_n(&Queue->Started, __ATOMIC_ACQUIRE); Index += 1)
    {
        KiWakeWorker(&Queue->Workers[Index]);
    }
}

VOID NTAPI ExQueueWorkItem(PWORK_QUEUE_ITEM WorkItem, WORK_QUEUE_TYPE QueueType)
{
    KI_WORK_QUEUE *Queue = KiWork();
    KIRQL OldIrql = KiAcquireSpinLock(&Queue->Lock);

    if (WorkItem->List.Flink != NULL)
    {
        KeBugCheckEx(WORKER_INVALID, 1, (ULONG_PTR)WorkItem, (ULONG_PTR)WorkItem->WorkerRoutine, 0);
    }
    if (QueueType == CriticalWorkQueue || QueueType == HyperCriticalWorkQueue ||
        QueueType == SuperCriticalWorkQueue || QueueType == RealTimeWorkQueue)
    {
        InsertHeadList(&Queue->Items, &WorkItem->List);
    }
    else
    {
        InsertTailList(&Queue->Items, &WorkItem->List);
    }
    KiReleaseSpinLock(&Queue->Lock, OldIrql);
    if (__atomic_load_n(&Queue->Started, __ATOMIC_ACQUIRE) < KI_WORK_THREADS)
    {
        KiWakeTimerThread();
    }
    KiWakeWorkers(Queue);
}

VOID KiStartWorkThreads(void)
{
    KI_WORK_QUEUE *Queue = KiWork();
    ULONG Started = __atomic_load_n(&Queue->Started, __ATOMIC_RELAXED);
    KIRQL OldIrql = KiAcquireSpinLock(&Queue->Lock);
    BOOLEAN Empty = IsListEmpty(&Queue->Items);

    KiReleaseSpinLock(&Queue->Lock, OldIrql);
    if (Started == KI_WORK_THREADS || (Empty && !KiIsDeterministic()))
    {
        return;
    }
    /* A thread that cannot be created now is tried again with the next item. */
    while (Started < KI_WORK_THREADS &&
           NT_SUCCESS(KiStartWorker(&Queue->Workers[Started], "work items", KiRunWorkItem, NULL, 0)))
    {
        Started += 1;
        __atomic_store_n(&Queue->Started, Started, __ATOMIC_RELEASE);
    }
    if (!Empty)
    {
        KiWakeWorkers(Queue);
    }
}

VOID KiStopWorkThreads(void)
{
    KI_WORK_QUEUE *Queue = KiWork();

    while (Queue->Started != 0)
    {
        Queue->Started -= 1;
        KiStopWorker(&Queue->Workers[Queue->Started]);
    }
    while (KiRunWorkItem(NULL))
    {
    }
}
