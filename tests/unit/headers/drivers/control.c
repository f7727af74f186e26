/* SPDX-License-Identifier: MIT */
/*
 * Another: a control device's dispatch routines with all four transfer methods, in the style of the samples of the Windows driver kit: role types, annotations,
 * alloc_text, L"" strings, blocks for exceptions and for cleaning up.
 */
#include <ntddk.h>

#include <ntstrsafe.h>

#define CONTROL_POOL_TAG 'lrtC'
#define CONTROL_NT_NAME  L"\\Device\\Control0"

#define CONTROL_TYPE           40000
#define IOCTL_CONTROL_BUFFERED CTL_CODE(CONTROL_TYPE, 0x900, METHOD_BUFFERED, FILE_ANY_ACCESS)
#define IOCTL_CONTROL_DIRECT   CTL_CODE(CONTROL_TYPE, 0x901, METHOD_OUT_DIRECT, FILE_READ_ACCESS)
#define IOCTL_CONTROL_NEITHER                                                                                \
    CTL_CODE(CONTROL_TYPE, 0x902, METHOD_NEITHER, FILE_READ_ACCESS | FILE_WRITE_ACCESS)

typedef struct _CONTROL_EXTENSION
{
    PDEVICE_OBJECT Self;
    UNICODE_STRING Parameters;
    _Guarded_by_(Lock) LIST_ENTRY Pending;
    KSPIN_LOCK Lock;
    _Interlocked_ volatile LONG Requests;
    NPAGED_LOOKASIDE_LIST Records;
} CONTROL_EXTENSION, *PCONTROL_EXTENSION;

typedef struct _CONTROL_RECORD
{
    LIST_ENTRY Link;
    LARGE_INTEGER Time;
    ULONG Length;
    _Field_size_bytes_(Length) UCHAR Data[ANYSIZE_ARRAY];
} CONTROL_RECORD, *PCONTROL_RECORD;

DRIVER_INITIALIZE DriverEntry;

_Dispatch_type_(IRP_MJ_CREATE) _Dispatch_type_(IRP_MJ_CLOSE) DRIVER_DISPATCH ControlCreateClose;

_Dispatch_type_(IRP_MJ_DEVICE_CONTROL) DRIVER_DISPATCH ControlDeviceControl;

DRIVER_UNLOAD ControlUnload;

_IRQL_requires_max_(APC_LEVEL) _Must_inspect_result_ NTSTATUS
    ControlDescribe(_In_ PCUNICODE_STRING Path, _Out_writes_z_(Count) PWSTR Text, _In_ SIZE_T Count);

#ifdef ALLOC_PRAGMA
#pragma alloc_text(INIT, DriverEntry)
#pragma alloc_text(PAGE, ControlCreateClose)
#pragma alloc_text(PAGE, ControlDeviceControl)
#pragma alloc_text(PAGE, ControlUnload)
#pragma alloc_text(PAGE, ControlDescribe)
#endif

DECLARE_CONST_UNICODE_STRING(ControlName, CONTROL_NT_NAME);

NTSTATUS ControlDescribe(PCUNICODE_STRING Path, PWSTR Text, SIZE_T Count)
{
    NTSTATUS Status;
    SIZE_T Left = 0;
    PWSTR End = NULL;

    PAGED_CODE();
    Status = RtlStringCchPrintfExW(Text, Count, &End, &Left, STRSAFE_NO_TRUNCATION | STRSAFE_IGNORE_NULLS,
                                   L"%wZ: %s %d at %p, IRQL %u", Path, L"request", 7, (PVOID)Text,
                                   (ULONG)KeGetCurrentIrql());
    if (Status == STATUS_BUFFER_OVERFLOW)
    {
        return STATUS_BUFFER_TOO_SMALL;
    }
    return NT_SUCCESS(Status) ? RtlStringCchCatW(End, Left, L".") : Status;
}

_Use_decl_annotations_ NTSTATUS NTAPI ControlCreateClose(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    PAGED_CODE();
    UNREFERENCED_PARAMETER(DeviceObject);
    Irp->IoStatus.Status = STATUS_SUCCESS;
    Irp->IoStatus.Information = 0;
    return STATUS_SUCCESS;
}

static NTSTATUS ControlRecord(_Inout_ PCONTROL_EXTENSION Extension, _In_reads_bytes_(Length) const VOID *Data,
                              _In_ ULONG Length)
{
    PCONTROL_RECORD Record;
    KIRQL OldIrql;

    if (Length > 256)
    {
        return STATUS_INVALID_BUFFER_SIZE;
    }
    Record = (PCONTROL_RECORD)ExAllocateFromNPagedLookasideList(&Extension->Records);
    if (Record == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    KeQuerySystemTime(&Record->Time);
    Record->Length = Length;
    RtlCopyMemory(Record->Data, Data, Length);
    KeAcquireSpinLock(&Extension->Lock, &OldIrql);
    InsertTailList(&Extension->Pending, &Record->Link);
    KeReleaseSpinLock(&Extension->Lock, OldIrql);
    return STATUS_SUCCESS;
}

/* METHOD_NEITHER: the caller's own addresses, to be probed, locked and mapped here. */
static NTSTATUS ControlNeither(_Inout_ PCONTROL_EXTENSION Extension, _In_ PVOID Input, _In_ ULONG Length)
{
    NTSTATUS Status = STATUS_UNSUCCESSFUL;
#if !defined(__cplusplus) || defined(_MSC_VER)
    volatile BOOLEAN Locked = FALSE;
    PMDL volatile Mdl = NULL;

    __try
    {
        __try
        {
            ProbeForRead(Input, Length, sizeof(UCHAR));
            Mdl = IoAllocateMdl(Input, Length, FALSE, TRUE, NULL);
            if (Mdl == NULL)
            {
                Status = STATUS_INSUFFICIENT_RESOURCES;
                __leave;
            }
            MmProbeAndLockPages(Mdl, UserMode, IoReadAccess);
            Locked = TRUE;
            {
                PVOID Buffer = MmGetSystemAddressForMdlSafe(Mdl, NormalPagePriority | MdlMappingNoExecute);

                Status =
                    Buffer != NULL ? ControlRecord(Extension, Buffer, Length) : STATUS_INSUFFICIENT_RESOURCES;
            }
        }
        __finally
        {
            if (Locked)
            {
                MmUnlockPages(Mdl);
            }
            if (Mdl != NULL)
            {
                IoFreeMdl(Mdl);
            }
        }
    }
    __except (EXCEPTION_EXECUTE_HANDLER)
    {
        Status = GetExceptionCode();
    }
#else
    UNREFERENCED_PARAMETER(Extension);
    UNREFERENCED_PARAMETER(Input);
    UNREFERENCED_PARAMETER(Length);
#endif
    return Status;
}

_Use_decl_annotations_ NTSTATUS NTAPI ControlDeviceControl(PDEVICE_OBJECT DeviceObject, PIRP Irp)
{
    PCONTROL_EXTENSION Extension = (PCONTROL_EXTENSION)DeviceObject->DeviceExtension;
    PIO_STACK_LOCATION Stack = IoGetCurrentIrpStackLocation(Irp);
    ULONG InputLength = Stack->Parameters.DeviceIoControl.InputBufferLength;
    ULONG OutputLength = Stack->Parameters.DeviceIoControl.OutputBufferLength;
    NTSTATUS Status = STATUS_SUCCESS;
    ULONG_PTR Information = 0;

    PAGED_CODE();
    InterlockedIncrement(&Extension->Requests);
    switch (Stack->Parameters.DeviceIoControl.IoControlCode)
    {
    case IOCTL_CONTROL_BUFFERED:
        if (OutputLength < sizeof(ULONG))
        {
            Status = STATUS_BUFFER_TOO_SMALL;
            break;
        }
        Status = ControlRecord(Extension, Irp->AssociatedIrp.SystemBuffer, InputLength);
        if (NT_SUCCESS(Status))
        {
            *(PULONG)Irp->AssociatedIrp.SystemBuffer = (ULONG)Extension->Requests;
            Information = sizeof(ULONG);
        }
        break;
    case IOCTL_CONTROL_DIRECT:
    {
        PVOID Buffer =
            MmGetSystemAddressForMdlSafe(Irp->MdlAddress, NormalPagePriority | MdlMappingNoExecute);

        if (Buffer == NULL)
        {
            Status = STATUS_INSUFFICIENT_RESOURCES;
            break;
        }
        RtlZeroMemory(Buffer, OutputLength);
        Information = MmGetMdlByteCount(Irp->MdlAddress);
        break;
    }
    case IOCTL_CONTROL_NEITHER:
        Status = ControlNeither(Extension, Stack->Parameters.DeviceIoControl.Type3InputBuffer, InputLength);
        break;
    default:
        Status = STATUS_INVALID_DEVICE_REQUEST;
        break;
    }
    Irp->IoStatus.Status = Status;
    Irp->IoStatus.Information = Information;
    return Status;
}

_Use_decl_annotations_ VOID NTAPI ControlUnload(PDRIVER_OBJECT DriverObject)
{
    PDEVICE_OBJECT DeviceObject = DriverObject->DeviceObject;
    PCONTROL_EXTENSION Extension;

    PAGED_CODE();
    if (DeviceObject == NULL)
    {
        return;
    }
    Extension = (PCONTROL_EXTENSION)DeviceObject->DeviceExtension;
    while (!IsListEmpty(&Extension->Pending))
    {
        PLIST_ENTRY Entry = RemoveHeadList(&Extension->Pending);

        ExFreeToNPagedLookasideList(&Extension->Records, CONTAINING_RECORD(Entry, CONTROL_RECORD, Link));
    }
    ExDeleteNPagedLookasideList(&Extension->Records);
    if (Extension->Parameters.Buffer != NULL)
    {
        ExFreePoolWithTag(Extension->Parameters.Buffer, CONTROL_POOL_TAG);
    }
    ExFreePoolWithTag(Extension, CONTROL_POOL_TAG);
    ExFreePoolWithTag(DeviceObject, CONTROL_POOL_TAG);
    DriverObject->DeviceObject = NULL;
}

static NTSTATUS ControlCopyPath(_In_ PCUNICODE_STRING Path, _Out_ PUNICODE_STRING Copy)
{
    Copy->Length = 0;
    Copy->MaximumLength = (USHORT)(Path->Length + ControlName.Length + sizeof(WCHAR));
    Copy->Buffer = (PWCH)ExAllocatePool2(POOL_FLAG_PAGED, Copy->MaximumLength, CONTROL_POOL_TAG);
    if (Copy->Buffer == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    RtlCopyUnicodeString(Copy, Path);
    return RtlUnicodeStringCat(Copy, &ControlName);
}

_Use_decl_annotations_ NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    PCONTROL_EXTENSION Extension;
    NTSTATUS Status;

    DriverObject->MajorFunction[IRP_MJ_CREATE] = ControlCreateClose;
    DriverObject->MajorFunction[IRP_MJ_CLOSE] = ControlCreateClose;
    DriverObject->MajorFunction[IRP_MJ_DEVICE_CONTROL] = ControlDeviceControl;
    DriverObject->DriverUnload = ControlUnload;
    DriverObject->DeviceObject =
        (PDEVICE_OBJECT)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(DEVICE_OBJECT), CONTROL_POOL_TAG);
    Extension = (PCONTROL_EXTENSION)ExAllocatePool2(POOL_FLAG_NON_PAGED | POOL_FLAG_CACHE_ALIGNED,
                                                    sizeof(*Extension), CONTROL_POOL_TAG);
    if (DriverObject->DeviceObject == NULL || Extension == NULL)
    {
        if (Extension != NULL)
        {
            ExFreePoolWithTag(Extension, CONTROL_POOL_TAG);
        }
        if (DriverObject->DeviceObject != NULL)
        {
            ExFreePoolWithTag(DriverObject->DeviceObject, CONTROL_POOL_TAG);
            DriverObject->DeviceObject = NULL;
        }
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    DriverObject->DeviceObject->DeviceExtension = Extension;
    DriverObject->DeviceObject->Flags |= DO_DIRECT_IO;
    Extension->Self = DriverObject->DeviceObject;
    InitializeListHead(&Extension->Pending);
    KeInitializeSpinLock(&Extension->Lock);
    ExInitializeNPagedLookasideList(&Extension->Records, NULL, NULL, POOL_NX_ALLOCATION,
                                    sizeof(CONTROL_RECORD) + 256, CONTROL_POOL_TAG, 0);
    Status = ControlCopyPath(RegistryPath, &Extension->Parameters);
    if (!NT_SUCCESS(Status))
    {
        ControlUnload(DriverObject);
        return Status;
    }
    DriverObject->DeviceObject->Flags &= ~(ULONG)DO_DEVICE_INITIALIZING;
    return Status;
}
