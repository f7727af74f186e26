/* SPDX-License-Identifier: MIT */
/*
 * Driver source as it is usually written: a WDM function driver. A device extension with remove lock, timer, DPC, work item, sequenced list; dispatch routines,
 * a control code with METHOD_NEITHER, whose buffers are probed, copied and locked in __try inside of __try.
 */
#include <wdm.h>
#include <ntintsafe.h>
#define NTSTRSAFE_LIB
#include <ntstrsafe.h>

#define DEV_TAG        'veDW'
#define IOCTL_DEV_COPY CTL_CODE(FILE_DEVICE_UNKNOWN, 0x800, METHOD_NEITHER, FILE_ANY_ACCESS)
#define IOCTL_DEV_STAT                                                                                       \
    CTL_CODE(FILE_DEVICE_UNKNOWN, 0x801, METHOD_BUFFERED, FILE_READ_ACCESS | FILE_WRITE_ACCESS)

typedef struct _STATS
{
    ULONG Reads;
    ULONG Writes;
    ULONG64 Bytes;
    UCHAR Name[16];
} STATS, *PSTATS;
C_ASSERT(sizeof(STATS) == 32);
C_ASSERT(FIELD_OFFSET(STATS, Name) == 16);

typedef struct _DEVICE_EXTENSION
{
    PDEVICE_OBJECT Self;
    PDEVICE_OBJECT Lower;
    IO_REMOVE_LOCK RemoveLock;
    LIST_ENTRY Pending;
    KSPIN_LOCK Lock;
    KDPC Dpc;
    KTIMER Timer;
    PIO_WORKITEM WorkItem;
    KEVENT Worked;
    STATS Stats;
    volatile LONG Open;
    KMUTEX Mutex;
    KSEMAPHORE Semaphore;
    SLIST_HEADER DECLSPEC_ALIGN(16) Free;
    DEVICE_POWER_STATE PowerState;
    UNICODE_STRING Link;
} DEVICE_EXTENSION, *PDEVICE_EXTENSION;

typedef struct DECLSPEC_ALIGN(MEMORY_ALLOCATION_ALIGNMENT) _PACKET
{
    SLIST_ENTRY Link;
    PVOID Data;
    SIZE_T Length;
} PACKET, *PPACKET;

NTSTATUS DevStart(PDEVICE_OBJECT DeviceObject, PDEVICE_EXTENSION ext);
VOID DevStop(PDEVICE_EXTENSION ext);
DRIVER_DISPATCH DevDispatch;
_Dispatch_type_(IRP_MJ_CREATE) _Dispatch_type_(IRP_MJ_CLOSE) DRIVER_DISPATCH DevCreateClose;
_Dispatch_type_(IRP_MJ_DEVICE_CONTROL) DRIVER_DISPATCH DevControl;
KDEFERRED_ROUTINE DevDpc;
IO_WORKITEM_ROUTINE DevWork;
IO_COMPLETION_ROUTINE DevComplete;
DRIVER_CANCEL DevCancel;

static NTSTATUS Complete(PIRP Irp, NTSTATUS Status, ULONG_PTR Information)
{
    Irp->IoStatus.Status = Status;
    Irp->IoStatus.Information = Information;
    return Status;
}

_Use_decl_annotations_ NTSTATUS NTAPI DevComplete(PDEVICE_OBJECT DeviceObject, PIRP Irp, PVOID Context)
{
    UNREFERENCED_PARAMETER(DeviceObject);
    if (Irp->PendingReturned)
    {
        IoMarkIrpPending(Irp);
    }
    KeSetEvent((PKEVENT)Context, IO_NO_INCREMENT, FALSE);
    return STATUS_MORE_PROCESSING_REQUIRED;
}

_Use_decl_annotations_ VOID NTAPI DevWork(PDEVICE_OBJECT DeviceObject, PVOID Context)
{
    PDEVICE_EXTENSION ext = (PDEVICE_EXTENSION)DeviceObject->DeviceExtension;
    NT_VERIFY(KeGetCurrentIrql() == PASSIVE_LEVEL);
    ext->Stats.Writes++;
    KeSetEvent((PKEVENT)Context, IO_NO_INCREMENT, FALSE);
}

_Use_decl_annotations_ VOID NTAPI DevDpc(PKDPC Dpc, PVOID Context, PVOID Arg1, PVOID Arg2)
{
    PDEVICE_EXTENSION ext = (PDEVICE_EXTENSION)Context;
    KLOCK_QUEUE_HANDLE handle;
    UNREFERENCED_PARAMETER(Dpc);
    UNREFERENCED_PARAMETER(Arg1);
    UNREFERENCED_PARAMETER(Arg2);
    KeAcquireInStackQueuedSpinLockAtDpcLevel(&ext->Lock, &handle);
    ext->Stats.Reads++;
    KeReleaseInStackQueuedSpinLockFromDpcLevel(&handle);
    KeReleaseSemaphore(&ext->Semaphore, IO_NO_INCREMENT, 1, FALSE);
}

_Use_decl_annotations_ NTSTATUS NTAPI DevCreateClose(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    PDEVICE_EXTENSION ext = (PDEVICE_EXTENSION)DeviceObject->DeviceExtension;
    PIO_STACK_LOCATION sp = IoGetCurrentIrpStackLocation(Irp);
    switch (sp->MajorFunction)
    {
    case IRP_MJ_CREATE:
        if (InterlockedCompareExchange(&ext->Open, 1, 0) != 0)
            return Complete(Irp, STATUS_DEVICE_BUSY, 0);
        return Complete(Irp, STATUS_SUCCESS, FILE_OPENED);
    case IRP_MJ_CLOSE:
        InterlockedExchange(&ext->Open, 0);
        break;
    default:
        return Complete(Irp, STATUS_INVALID_DEVICE_REQUEST, 0);
    }
    return Complete(Irp, STATUS_SUCCESS, 0);
}

#if !defined(__cplusplus)
static NTSTATUS CopyNeither(PDEVICE_EXTENSION Ext, PIRP Irp, PIO_STACK_LOCATION Sp, PULONG_PTR Information)
{
    PVOID in = Sp->Parameters.DeviceIoControl.Type3InputBuffer;
    PVOID out = Irp->UserBuffer;
    ULONG inLength = Sp->Parameters.DeviceIoControl.InputBufferLength;
    ULONG outLength = Sp->Parameters.DeviceIoControl.OutputBufferLength;
    PMDL volatile mdl = NULL; /* changed in the block, read in its handler: nt/seh.h */
    PVOID kernel;
    NTSTATUS status;
    ULONG total;

    status = RtlULongAdd(inLength, sizeof(PACKET), &total);
    if (!NT_SUCCESS(status))
        return status;
    if (inLength > outLength)
        return STATUS_BUFFER_TOO_SMALL;
    kernel = ExAllocatePoolZero(NonPagedPoolNx, total, DEV_TAG);
    if (!kernel)
        return STATUS_INSUFFICIENT_RESOURCES;
    __try
    {
        __try
        {
            ProbeForRead(in, inLength, sizeof(UCHAR));
            ProbeForWrite(out, outLength, TYPE_ALIGNMENT(UCHAR));
            RtlCopyMemory((PPACKET)kernel + 1, in, inLength);
            mdl = IoAllocateMdl(out, inLength, FALSE, FALSE, NULL);
            if (mdl == NULL)
                return STATUS_INSUFFICIENT_RESOURCES;
            MmProbeAndLockPages(mdl, UserMode, IoWriteAccess);
        }
        __except (EXCEPTION_EXECUTE_HANDLER)
        {
            if (mdl)
            {
                IoFreeMdl(mdl);
            }
            return (NTSTATUS)GetExceptionCode();
        }
        {
            PUCHAR va = (PUCHAR)MmGetSystemAddressForMdlSafe(mdl, NormalPagePriority | MdlMappingNoExecute);
            if (va == NULL)
            {
                MmUnlockPages(mdl);
                IoFreeMdl(mdl);
                return STATUS_INSUFFICIENT_RESOURCES;
            }
            RtlCopyMemory(va, (PPACKET)kernel + 1, inLength);
        }
        MmUnlockPages(mdl);
        IoFreeMdl(mdl);
        *Information = inLength;
        InterlockedExchangeAdd64((volatile LONG64 *)&Ext->Stats.Bytes, inLength);
        return STATUS_SUCCESS;
    }
    __finally
    {
        ExFreePoolWithTag(kernel, DEV_TAG);
    }
    return STATUS_UNSUCCESSFUL; /* (never: for compilers that do not know the keyword) */
}
#else
#define CopyNeither(Ext, Irp, Sp, Information) (*(Information) = 0, STATUS_NOT_SUPPORTED)
#endif

_Use_decl_annotations_ NTSTATUS NTAPI DevControl(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    PDEVICE_EXTENSION ext = (PDEVICE_EXTENSION)DeviceObject->DeviceExtension;
    PIO_STACK_LOCATION sp = IoGetCurrentIrpStackLocation(Irp);
    NTSTATUS status;
    ULONG_PTR info = 0;
    KIRQL irql;

    status = IoAcquireRemoveLock(&ext->RemoveLock, Irp);
    if (!NT_SUCCESS(status))
        return Complete(Irp, status, 0);
    switch (sp->Parameters.DeviceIoControl.IoControlCode)
    {
    case IOCTL_DEV_COPY:
        status = CopyNeither(ext, Irp, sp, &info);
        break;
    case IOCTL_DEV_STAT:
        if (sp->Parameters.DeviceIoControl.OutputBufferLength < sizeof(STATS))
        {
            status = STATUS_BUFFER_TOO_SMALL;
            break;
        }
        KeAcquireSpinLock(&ext->Lock, &irql);
        *(PSTATS)Irp->AssociatedIrp.SystemBuffer = ext->Stats;
        KeReleaseSpinLock(&ext->Lock, irql);
        info = sizeof(STATS);
        status = STATUS_SUCCESS;
        break;
    default:
        status = STATUS_INVALID_DEVICE_REQUEST;
        break;
    }
    IoReleaseRemoveLock(&ext->RemoveLock, Irp);
    return Complete(Irp, status, info);
}

NTSTATUS DevStart(PDEVICE_OBJECT DeviceObject, PDEVICE_EXTENSION ext)
{
    LARGE_INTEGER due;
    NTSTATUS status;
    PPACKET packet;
    PVOID objects[2];
    WCHAR buffer[64];
    char text[64];
    size_t length = 0;

    RtlZeroMemory(ext, sizeof(*ext));
    DeviceObject->DeviceExtension = ext;
    ext->Self = DeviceObject;
    ext->WorkItem = IoAllocateWorkItem(DeviceObject);
    if (ext->WorkItem == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;
    KeInitializeEvent(&ext->Worked, NotificationEvent, FALSE);
    IoQueueWorkItem(ext->WorkItem, DevWork, DelayedWorkQueue, &ext->Worked);
    KeWaitForSingleObject(&ext->Worked, Executive, KernelMode, FALSE, NULL);
    IoFreeWorkItem(ext->WorkItem);
    IoInitializeRemoveLock(&ext->RemoveLock, DEV_TAG, 0, 0);
    InitializeListHead(&ext->Pending);
    KeInitializeSpinLock(&ext->Lock);
    KeInitializeDpc(&ext->Dpc, DevDpc, ext);
    KeInitializeTimerEx(&ext->Timer, SynchronizationTimer);
    KeInitializeMutex(&ext->Mutex, 0);
    KeInitializeSemaphore(&ext->Semaphore, 0, MAXLONG);
    InitializeSListHead(&ext->Free);
    ext->PowerState = PowerDeviceD0;
    packet = (PPACKET)ExAllocatePoolWithTag(NonPagedPoolNx, sizeof(PACKET), DEV_TAG);
    if (packet == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;
    InterlockedPushEntrySList(&ext->Free, &packet->Link);
    due.QuadPart = -10000LL;
    KeSetTimer(&ext->Timer, due, &ext->Dpc);
    objects[0] = &ext->Semaphore;
    objects[1] = &ext->Mutex;
    status = KeWaitForMultipleObjects(2, objects, WaitAll, Executive, KernelMode, FALSE, NULL, NULL);
    if (!NT_SUCCESS(status))
        return status;
    KeReleaseMutex(&ext->Mutex, FALSE);
    KeCancelTimer(&ext->Timer);
    KeFlushQueuedDpcs();
    status = RtlStringCbPrintfW(buffer, sizeof(buffer), L"\\DosDevices\\Dev%04x", 0x12);
    if (!NT_SUCCESS(status))
        return status;
    RtlInitUnicodeString(&ext->Link, buffer);
    status = RtlStringCchCopyA(text, RTL_NUMBER_OF(text), "driver");
    if (NT_SUCCESS(status))
        status = RtlStringCchLengthA(text, RTL_NUMBER_OF(text), &length);
    RtlCopyMemory(ext->Stats.Name, text, min(length + 1, sizeof(ext->Stats.Name)));
    RtlInitUnicodeString(&ext->Link, NULL);
    packet = CONTAINING_RECORD(InterlockedPopEntrySList(&ext->Free), PACKET, Link);
    ExFreePool(packet);
    return status;
}

VOID DevStop(PDEVICE_EXTENSION ext)
{
    NTSTATUS status = IoAcquireRemoveLock(&ext->RemoveLock, ext);
    if (NT_SUCCESS(status))
        IoReleaseRemoveLockAndWait(&ext->RemoveLock, ext);
}
