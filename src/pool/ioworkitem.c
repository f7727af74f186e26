/* SPDX-License-Identifier: MIT */
/*
 * Work items of devices: executive work items that carry their routine's parameters. They need pool, so they are here.
 *
 * The routine may queue or free its item: nothing of the item is touched once the routine is called.
 */
#include "pool/expool.h"

#include "nt/irp.h"

#define EXP_WORK_ITEM_TAG 'iWoI'

struct _IO_WORKITEM
{
    WORK_QUEUE_ITEM Item;
    PIO_WORKITEM_ROUTINE Routine; /* one of the two */
    PIO_WORKITEM_ROUTINE_EX RoutineEx;
    PVOID IoObject;
    PVOID Context;
};

static VOID NTAPI ExpRunIoWorkItem(PVOID Parameter)
{
    PIO_WORKITEM IoWorkItem = Parameter;

    if (IoWorkItem->RoutineEx != NULL)
    {
        IoWorkItem->RoutineEx(IoWorkItem->IoObject, IoWorkItem->Context, IoWorkItem);
    }
    else
    {
        IoWorkItem->Routine(IoWorkItem->IoObject, IoWorkItem->Context);
    }
}

ULONG NTAPI IoSizeofWorkItem(VOID)
{
    return sizeof(IO_WORKITEM);
}

VOID NTAPI IoInitializeWorkItem(PVOID IoObject, PIO_WORKITEM IoWorkItem)
{
    *IoWorkItem = (IO_WORKITEM){ .IoObject = IoObject };
    ExInitializeWorkItem(&IoWorkItem->Item, ExpRunIoWorkItem, IoWorkItem);
}

/* It must not be queued: 0xE4 as for an item that is queued twice. */
VOID NTAPI IoUninitializeWorkItem(PIO_WORKITEM IoWorkItem)
{
    if (IoWorkItem->Item.List.Flink != NULL)
    {
        KiBugCheckMessage(WORKER_INVALID, 0, (ULONG_PTR)IoWorkItem, (ULONG_PTR)IoWorkItem,
                          (ULONG_PTR)(IoWorkItem + 1), "work item %p goes while it is queued",
                          (PVOID)IoWorkItem);
    }
}

PIO_WORKITEM NTAPI IoAllocateWorkItem(PDEVICE_OBJECT DeviceObject)
{
    PIO_WORKITEM IoWorkItem = ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(IO_WORKITEM), EXP_WORK_ITEM_TAG);

    if (IoWorkItem != NULL)
    {
        IoInitializeWorkItem(DeviceObject, IoWorkItem);
    }
    return IoWorkItem;
}

VOID NTAPI IoFreeWorkItem(PIO_WORKITEM IoWorkItem)
{
    IoUninitializeWorkItem(IoWorkItem);
    ExFreePoolWithTag(IoWorkItem, EXP_WORK_ITEM_TAG);
}

static VOID ExpQueueIoWorkItem(PIO_WORKITEM IoWorkItem, PIO_WORKITEM_ROUTINE Routine,
                               PIO_WORKITEM_ROUTINE_EX RoutineEx, WORK_QUEUE_TYPE QueueType, PVOID Context)
{
    IoUninitializeWorkItem(IoWorkItem); /* its parameters are another's while it is queued */
    IoWorkItem->Routine = Routine;
    IoWorkItem->RoutineEx = RoutineEx;
    IoWorkItem->Context = Context;
    ExQueueWorkItem(&IoWorkItem->Item, QueueType);
}

VOID NTAPI IoQueueWorkItem(PIO_WORKITEM IoWorkItem, PIO_WORKITEM_ROUTINE WorkerRoutine,
                           WORK_QUEUE_TYPE QueueType, PVOID Context)
{
    ExpQueueIoWorkItem(IoWorkItem, WorkerRoutine, NULL, QueueType, Context);
}

VOID NTAPI IoQueueWorkItemEx(PIO_WORKITEM IoWorkItem, PIO_WORKITEM_ROUTINE_EX WorkerRoutine,
                             WORK_QUEUE_TYPE QueueType, PVOID Context)
{
    ExpQueueIoWorkItem(IoWorkItem, NULL, WorkerRoutine, QueueType, Context);
}
