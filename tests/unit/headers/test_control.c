/* SPDX-License-Identifier: MIT */
/*
 * drivers/control.c, the source that every compiler accepts as it is, at work: its dispatch routines are called with requests made here, and give everything
 * back when it is unloaded.
 */
#include "process.h"

#include "drivers/control.c"

#include "mdl/mdl.h"

static DRIVER_OBJECT Driver;

/* A request of one driver, for the control device. */
typedef struct _REQUEST
{
    IRP Irp;
    IO_STACK_LOCATION Stack;
    UCHAR System[64];
} REQUEST;

static NTSTATUS Send(REQUEST *Request, UCHAR Major, ULONG Code, ULONG Input, ULONG Output)
{
    NTSTATUS Status;

    Request->Irp.Type = IO_TYPE_IRP;
    Request->Irp.Size = IoSizeOfIrp(1);
    Request->Irp.StackCount = 1;
    Request->Irp.CurrentLocation = 2;
    Request->Irp.Tail.Overlay.CurrentStackLocation = &Request->Stack + 1;
    IoSetNextIrpStackLocation(&Request->Irp);
    assert_ptr_equal(IoGetCurrentIrpStackLocation(&Request->Irp), &Request->Stack);
    Request->Irp.AssociatedIrp.SystemBuffer = Request->System;
    Request->Stack.MajorFunction = Major;
    Request->Stack.Parameters.DeviceIoControl.IoControlCode = Code;
    Request->Stack.Parameters.DeviceIoControl.InputBufferLength = Input;
    Request->Stack.Parameters.DeviceIoControl.OutputBufferLength = Output;
    KiCurrentThread()->CurrentMode = KernelMode;
    Status = Driver.MajorFunction[Major](Driver.DeviceObject, &Request->Irp);
    KiCurrentThread()->CurrentMode = UserMode;
    assert_int_equal(Request->Irp.IoStatus.Status, Status);
    return Status;
}

static NTSTATUS Load(void)
{
    UNICODE_STRING Path = RTL_CONSTANT_STRING(L"\\Registry\\Control");

    NTSTATUS Status;

    memset(&Driver, 0, sizeof(Driver));
    KiCurrentThread()->CurrentMode = KernelMode;
    Status = DriverEntry(&Driver, &Path);
    KiCurrentThread()->CurrentMode = UserMode;
    return Status;
}

static void Unload(void)
{
    KiCurrentThread()->CurrentMode = KernelMode;
    Driver.DriverUnload(&Driver);
    KiCurrentThread()->CurrentMode = UserMode;
    MiTrimPool(); /* paged pool keeps addresses for later */
}

/* The path lies in paged pool. */
static void CheckPath(PCUNICODE_STRING Expected)
{
    KiCurrentThread()->CurrentMode = KernelMode;
    assert_true(RtlEqualUnicodeString(&((PCONTROL_EXTENSION)Driver.DeviceObject->DeviceExtension)->Parameters,
                                      Expected, FALSE));
    KiCurrentThread()->CurrentMode = UserMode;
}

static void the_dispatch_routines_do_what_they_are_asked(void **state)
{
    static const UNICODE_STRING Expected = RTL_CONSTANT_STRING(L"\\Registry\\Control\\Device\\Control0");
    REQUEST Request = { 0 };
    ULONG_PTR Va;
    PMDL Mdl;

    (void)state;
    TestEnterFixture(state);
    assert_int_equal(Load(), STATUS_SUCCESS);
    CheckPath(&Expected);
    assert_int_equal(Send(&Request, IRP_MJ_CREATE, 0, 0, 0), STATUS_SUCCESS);
    assert_int_equal(Send(&Request, IRP_MJ_DEVICE_CONTROL, IOCTL_CONTROL_BUFFERED, 16, 64), STATUS_SUCCESS);
    assert_int_equal(Request.Irp.IoStatus.Information, sizeof(ULONG));
    assert_int_equal(*(PULONG)(PVOID)Request.System, 1);
    assert_int_equal(Send(&Request, IRP_MJ_DEVICE_CONTROL, IOCTL_CONTROL_BUFFERED, 16, 2),
                     STATUS_BUFFER_TOO_SMALL);
    assert_int_equal(Send(&Request, IRP_MJ_DEVICE_CONTROL, 0x12345678, 0, 0), STATUS_INVALID_DEVICE_REQUEST);

    Va = TestVmAllocate(0, 2 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    TestVmPut(Va + 100, 7);
    Mdl = IoAllocateMdl((PVOID)(Va + 64), 128, FALSE, FALSE, NULL);
    MmProbeAndLockPages(Mdl, UserMode, IoWriteAccess);
    Request.Irp.MdlAddress = Mdl;
    assert_int_equal(Send(&Request, IRP_MJ_DEVICE_CONTROL, IOCTL_CONTROL_DIRECT, 0, 128), STATUS_SUCCESS);
    assert_int_equal(Request.Irp.IoStatus.Information, 128);
    assert_int_equal(TestVmGet(Va + 100), 0);
    MmUnlockPages(Mdl);
    IoFreeMdl(Mdl);

    /* The caller's own addresses: good ones, one that is reserved only, one of the kernel, too much. */
    Request.Stack.Parameters.DeviceIoControl.Type3InputBuffer = (PVOID)(Va + PAGE_SIZE - 10);
    assert_int_equal(Send(&Request, IRP_MJ_DEVICE_CONTROL, IOCTL_CONTROL_NEITHER, 20, 0), STATUS_SUCCESS);
    assert_int_equal(Send(&Request, IRP_MJ_DEVICE_CONTROL, IOCTL_CONTROL_NEITHER, 300, 0),
                     STATUS_INVALID_BUFFER_SIZE);
    Request.Stack.Parameters.DeviceIoControl.Type3InputBuffer = (PVOID)(Va + 2 * PAGE_SIZE - 10);
    assert_int_equal(Send(&Request, IRP_MJ_DEVICE_CONTROL, IOCTL_CONTROL_NEITHER, 20, 0),
                     STATUS_ACCESS_VIOLATION);
    Request.Stack.Parameters.DeviceIoControl.Type3InputBuffer = Driver.DeviceObject;
    assert_int_equal(Send(&Request, IRP_MJ_DEVICE_CONTROL, IOCTL_CONTROL_NEITHER, 20, 0),
                     STATUS_ACCESS_VIOLATION);
    assert_int_equal(TestUserProcess->NumberOfLockedPages, 0);
    assert_int_equal(MiSystemPtesInUse(), 0);
    assert_null(KiCurrentThread()->ExceptionFrames == NULL ? NULL
                                                           : KiCurrentThread()->ExceptionFrames->Previous);
    assert_int_equal(Send(&Request, IRP_MJ_CLOSE, 0, 0, 0), STATUS_SUCCESS);
    Unload();
    TestVmFree(Va, 0, MEM_RELEASE);
    TestLeaveProcess(); /* compares pool, frames, charges with what they were */
}

static void without_pool_it_is_not_loaded(void **state)
{
    TestEnterFixture(state);
    for (ULONG64 Nth = 1;; Nth++)
    {
        NTSTATUS Status;
        ULONG64 Failed = 0;

        KiSetInjection(KiInjectPool, Nth, FALSE);
        Status = Load();
        KiQueryInjection(KiInjectPool, &Failed);
        KiSetInjection(KiInjectPool, 0, FALSE);
        if (Failed == 0)
        {
            assert_int_equal(Status, STATUS_SUCCESS);
            break;
        }
        assert_int_equal(Status, STATUS_INSUFFICIENT_RESOURCES);
        assert_null(Driver.DeviceObject);
    }
    Unload();
    TestLeaveProcess();
}

static void texts_are_made_in_their_room(void **state)
{
    UNICODE_STRING Path = RTL_CONSTANT_STRING(L"\\P");
    WCHAR Text[80];

    (void)state;
    TestEnterFixture(state);
    assert_int_equal(ControlDescribe(&Path, Text, RTL_NUMBER_OF(Text)), STATUS_SUCCESS);
    assert_memory_equal(Text, L"\\P: request 7 at ", 17 * sizeof(WCHAR));
    assert_int_equal(ControlDescribe(&Path, Text, 20), STATUS_BUFFER_TOO_SMALL);
    assert_int_equal(Text[0], 0);
    TestLeaveProcess();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_dispatch_routines_do_what_they_are_asked),
        cmocka_unit_test(without_pool_it_is_not_loaded),
        cmocka_unit_test(texts_are_made_in_their_room),
    };

    return cmocka_run_group_tests_name("headers.control", tests, NULL, NULL);
}
