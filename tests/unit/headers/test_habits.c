/* SPDX-License-Identifier: MIT */
/* Three drivers of ordinary habits (drivers/) at work: a filter's cache of names, a WDM device, a storage adapter. Nothing is left of them. */
#include "process.h"

#include "drivers/filter.c"

#include "drivers/storage.c"
#include "drivers/wdmdevice.c"

static const TEST_MACHINE Machine = {
    .RamMegabytes = 16, .Processors = 2, .PagingFiles = 1, .PagingMegabytes = 16
};

static void Begin(void)
{
    TestEnterProcess(&Machine);
    KiCurrentThread()->CurrentMode = KernelMode;
}

static void End(void)
{
    KiCurrentThread()->CurrentMode = UserMode;
    NtAwaitSystemThreads();
    MiTrimPool();
    TestLeaveProcess();
}

static void a_filter_keeps_names(void **state)
{
    static WCHAR Long[300];
    DRIVER_OBJECT Driver = { 0 };
    UNICODE_STRING Path = RTL_CONSTANT_STRING(L"\\Registry\\Machine\\Filter");
    UNICODE_STRING Wrong = RTL_CONSTANT_STRING(L"\\Device\\Filter");
    UNICODE_STRING Names[2] = { RTL_CONSTANT_STRING(L"One.txt"), RTL_CONSTANT_STRING(L"ONE.TXT") };
    UNICODE_STRING TooLong = { sizeof(Long), sizeof(Long), Long };
    PNAME_ENTRY First, Second;

    (void)state;
    Begin();
    assert_int_equal(DriverEntry(&Driver, &Wrong), STATUS_INVALID_PARAMETER_2);
    assert_int_equal(DriverEntry(&Driver, &Path), STATUS_SUCCESS);
    assert_int_equal(NameInsert(&Names[0], &First), STATUS_SUCCESS);
    assert_int_equal(NameInsert(&Names[1], &Second), STATUS_OBJECT_NAME_COLLISION); /* return inside __try */
    assert_ptr_equal(First, Second);
    assert_false(KeAreApcsDisabled());
    assert_int_equal(ExIsResourceAcquiredSharedLite(&Globals.Resource), 0);
    assert_int_equal(NameInsert(&TooLong, &Second), STATUS_NAME_TOO_LONG);
    assert_ptr_equal(NameLookup(&Names[1]), First);
    assert_int_equal(First->References, 3);
    NameRelease(First);
    /* A name comes from its list; the next node has to come from pool, and there is none. */
    KiSetInjection(KiInjectPool, 1, TRUE);
    assert_int_equal(NameInsert(&Wrong, &Second), STATUS_INSUFFICIENT_RESOURCES);
    KiSetInjection(KiInjectPool, 0, FALSE);
    assert_false(KeAreApcsDisabled());
    Driver.DriverUnload(&Driver);
    End();
}

static void a_device_is_started_used_and_removed(void **state)
{
    static DEVICE_EXTENSION Extension;
    DEVICE_OBJECT Device = { 0 };
    struct
    {
        IRP Irp;
        IO_STACK_LOCATION Stack[2];
    } Request = { 0 };
    STATS Stats;
    PIO_STACK_LOCATION Location = &Request.Stack[0];

    (void)state;
    Begin();
    assert_int_equal(DevStart(&Device, &Extension), STATUS_SUCCESS);
    assert_int_equal(Extension.Stats.Writes, 1);
    assert_int_equal(Extension.Stats.Reads, 1);
    Request.Irp.Tail.Overlay.CurrentStackLocation = Location;
    Location->MajorFunction = IRP_MJ_CREATE;
    assert_int_equal(DevCreateClose(&Device, &Request.Irp), STATUS_SUCCESS);
    assert_int_equal(DevCreateClose(&Device, &Request.Irp), STATUS_DEVICE_BUSY);
    Location->MajorFunction = IRP_MJ_DEVICE_CONTROL;
    Location->Parameters.DeviceIoControl.IoControlCode = IOCTL_DEV_STAT;
    Location->Parameters.DeviceIoControl.OutputBufferLength = sizeof(Stats);
    Request.Irp.AssociatedIrp.SystemBuffer = &Stats;
    assert_int_equal(DevControl(&Device, &Request.Irp), STATUS_SUCCESS);
    assert_string_equal((char *)Stats.Name, "driver");
    /* Addresses of the system's: the block is freed on the way out of three blocks. */
    Location->Parameters.DeviceIoControl.IoControlCode = IOCTL_DEV_COPY;
    Location->Parameters.DeviceIoControl.InputBufferLength = 100;
    Location->Parameters.DeviceIoControl.OutputBufferLength = 100;
    Location->Parameters.DeviceIoControl.Type3InputBuffer = (PVOID)PORT_SYSTEM_START;
    Request.Irp.UserBuffer = (PVOID)PORT_SYSTEM_START;
    assert_int_equal(DevControl(&Device, &Request.Irp), STATUS_ACCESS_VIOLATION);
    Location->Parameters.DeviceIoControl.InputBufferLength = MAXULONG;
    assert_int_equal(DevControl(&Device, &Request.Irp), STATUS_INTEGER_OVERFLOW);
    DevStop(&Extension);
    assert_int_equal(DevControl(&Device, &Request.Irp), STATUS_DELETE_PENDING);
    End();
}

static void an_adapter_describes_its_buffers(void **state)
{
    static ADAPTER Adapter;
    PHYSICAL_ADDRESS Nothing = { .QuadPart = 0 };
    PVOID Buffer;

    (void)state;
    Begin();
    assert_int_equal(AdapterStart(&Adapter, Nothing, 0), STATUS_SUCCESS);
    Buffer = ExAllocatePool2(POOL_FLAG_NON_PAGED, 5 * PAGE_SIZE, ST_TAG);
    assert_int_equal(AdapterSubmit(&Adapter, Buffer, 5 * PAGE_SIZE), STATUS_SUCCESS);
    assert_int_equal(AdapterSubmit(&Adapter, (PUCHAR)Buffer + 100, 3 * PAGE_SIZE), STATUS_SUCCESS);
    assert_int_equal(Adapter.Outstanding, 0);
    ExFreePoolWithTag(Buffer, ST_TAG);
    AdapterStop(&Adapter);
    End();
}

/* ---- work items of devices: queued again and freed from inside; not twice at a time ---- */

static KEVENT Done;
static volatile LONG Runs;

static VOID NTAPI RunAgain(PVOID Object, PVOID Context, PIO_WORKITEM Item)
{
    assert_ptr_equal(Object, &Done);
    if (InterlockedIncrement(&Runs) < 5)
    {
        IoQueueWorkItemEx(Item, RunAgain, CriticalWorkQueue, Context);
        return;
    }
    IoFreeWorkItem(Item);
    KeSetEvent((PKEVENT)Context, 0, FALSE);
}

static void QueueTwice(void *Item)
{
    KIRQL OldIrql;

    KeRaiseIrql(DISPATCH_LEVEL, &OldIrql);
    IoQueueWorkItemEx(Item, RunAgain, DelayedWorkQueue, &Done);
    IoQueueWorkItemEx(Item, RunAgain, DelayedWorkQueue, &Done);
}

static void work_items_run_again_and_free_themselves(void **state)
{
    static const TEST_MACHINE Deterministic = { .RamMegabytes = 16, .Deterministic = TRUE, .Seed = 1 };
    PIO_WORKITEM Item;
    PVOID Memory;

    (void)state;
    Begin();
    Runs = 0;
    KeInitializeEvent(&Done, NotificationEvent, FALSE);
    Item = IoAllocateWorkItem((PDEVICE_OBJECT)(PVOID)&Done);
    IoQueueWorkItemEx(Item, RunAgain, DelayedWorkQueue, &Done);
    KeWaitForSingleObject(&Done, Executive, KernelMode, FALSE, NULL);
    assert_int_equal(Runs, 5);
    Memory = ExAllocatePool2(POOL_FLAG_NON_PAGED, IoSizeofWorkItem(), 'tseT');
    IoInitializeWorkItem(&Done, Memory);
    IoUninitializeWorkItem(Memory);
    ExFreePool(Memory);
    KiSetInjection(KiInjectPool, 1, FALSE);
    assert_null(IoAllocateWorkItem((PDEVICE_OBJECT)(PVOID)&Done));
    KiSetInjection(KiInjectPool, 0, FALSE);
    End();
    /* Nobody takes an item from the queue before this thread waits. */
    TestEnterProcess(&Deterministic);
    KiCurrentThread()->CurrentMode = KernelMode;
    Item = IoAllocateWorkItem((PDEVICE_OBJECT)(PVOID)&Done);
    TestExpectBugCheck(WORKER_INVALID, QueueTwice, Item);
    assert_int_equal(TestBugCheckParameters[1], (ULONG_PTR)Item);
    KiResumeAfterBugCheck(KiCurrentThread());
    KeInitializeEvent(&Done, NotificationEvent, FALSE);
    Runs = 4; /* it runs once, now, and goes */
    KeWaitForSingleObject(&Done, Executive, KernelMode, FALSE, NULL);
    End();
}

static void integers_that_overflow_are_noticed(void **state)
{
    ULONG Long;
    USHORT Short;
    SIZE_T Size;
    LONG Signed;

    (void)state;
    assert_int_equal(RtlULongAdd(MAXULONG, 0, &Long), STATUS_SUCCESS);
    assert_int_equal(RtlULongAdd(MAXULONG, 1, &Long), STATUS_INTEGER_OVERFLOW);
    assert_int_equal(Long, ULONG_ERROR);
    assert_int_equal(RtlULongSub(1, 2, &Long), STATUS_INTEGER_OVERFLOW);
    assert_int_equal(RtlULongMult(65536, 65535, &Long), STATUS_SUCCESS);
    assert_int_equal(RtlSizeTMult((SIZE_T)1 << 40, (SIZE_T)1 << 24, &Size), STATUS_INTEGER_OVERFLOW);
    assert_int_equal(RtlULongToUShort(65536, &Short), STATUS_INTEGER_OVERFLOW);
    assert_int_equal(Short, USHORT_ERROR);
    assert_int_equal(RtlLongToULong(-1, &Long), STATUS_INTEGER_OVERFLOW);
    assert_int_equal(RtlULongToLong(0x80000000u, &Signed), STATUS_INTEGER_OVERFLOW);
    assert_int_equal(Signed, LONG_ERROR);
    assert_int_equal(RtlSizeTToULong(MAXULONG, &Long), STATUS_SUCCESS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_filter_keeps_names),
        cmocka_unit_test(a_device_is_started_used_and_removed),
        cmocka_unit_test(an_adapter_describes_its_buffers),
        cmocka_unit_test(work_items_run_again_and_free_themselves),
        cmocka_unit_test(integers_that_overflow_are_noticed),
    };

    return cmocka_run_group_tests_name("headers.habits", tests, NULL, NULL);
}
