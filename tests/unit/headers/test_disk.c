/* SPDX-License-Identifier: MIT */
/* drivers/disk.c, driver source as it is usually written, at work with a user's buffer and its own thread; with failures of pool it leaves nothing behind. */
#include "process.h"

#include "drivers/disk.c"

#include "mdl/mdl.h"

#define DISK_BYTES (256 * 1024)

static const TEST_MACHINE Machine = {
    .RamMegabytes = 16, .Processors = 2, .PagingFiles = 1, .PagingMegabytes = 16
};

static NTSTATUS Create(PRD_DISK *Disk)
{
    UNICODE_STRING Name = RTL_CONSTANT_STRING(L"\\Device\\RamDisk");
    NTSTATUS Status;

    KiCurrentThread()->CurrentMode = KernelMode;
    Status = RdCreateDisk(&Name, DISK_BYTES, Disk);
    KiCurrentThread()->CurrentMode = UserMode;
    return Status;
}

static void Delete(PRD_DISK Disk)
{
    KiCurrentThread()->CurrentMode = KernelMode;
    RdDeleteDisk(Disk);
    KiCurrentThread()->CurrentMode = UserMode;
    NtAwaitSystemThreads(); /* a thread is signaled a moment before it gives its object back */
    MiTrimPool();           /* paged pool keeps addresses for later */
}

static void a_users_buffer_arrives_in_paged_memory(void **state)
{
    static const UNICODE_STRING Expected = RTL_CONSTANT_STRING(L"\\Device\\RamDisk-1");
    PRD_DISK Disk = NULL;
    ULONG_PTR Va;

    (void)state;
    TestEnterProcess(&Machine);
    assert_int_equal(Create(&Disk), STATUS_SUCCESS);
    assert_true(RtlEqualUnicodeString(&Disk->Name, &Expected, FALSE));
    assert_int_equal(Disk->RingPhysical.QuadPart % PAGE_SIZE, 0);
    Va = TestVmAllocate(0, DISK_BYTES, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    for (ULONG Offset = 100; Offset < DISK_BYTES; Offset += 3000)
    {
        TestVmPut(Va + Offset, (UCHAR)(Offset / 3000 + 1));
    }
    KiCurrentThread()->CurrentMode = KernelMode;
    assert_int_equal(RdTransferUser(Disk, (PVOID)(Va + 100), DISK_BYTES - 100, UserMode), STATUS_SUCCESS);
    for (ULONG Offset = 0; Offset < DISK_BYTES - 100; Offset += 3000)
    {
        assert_int_equal(Disk->Memory[Offset], (UCHAR)(Offset / 3000 + 1));
    }
    assert_int_equal(Disk->BytesWritten, DISK_BYTES - 100);
    assert_int_equal(Disk->Outstanding, 0);
    assert_int_equal(RdTransferUser(Disk, (PVOID)(Va + DISK_BYTES), 10, UserMode), STATUS_ACCESS_VIOLATION);
    assert_int_equal(RdRemember(Disk, 7), STATUS_SUCCESS);
    assert_int_equal(RdRemember(Disk, 7), STATUS_OBJECT_NAME_COLLISION);
    assert_int_equal(RtlNumberOfSetBits(&Disk->Map), 2);
    assert_int_equal(TestUserProcess->NumberOfLockedPages, 0);
    KiCurrentThread()->CurrentMode = UserMode;
    Delete(Disk);
    TestLeaveProcess();
}

static void every_type_of_object_has_its_name(void **state)
{
    HANDLE Event = NULL;
    PVOID Object = NULL;

    (void)state;
    TestEnterProcess(NULL);
    assert_int_equal(ZwCreateEvent(&Event, EVENT_ALL_ACCESS, NULL, NotificationEvent, FALSE), STATUS_SUCCESS);
    assert_int_equal(
        ObReferenceObjectByHandle(Event, EVENT_ALL_ACCESS, *ExEventObjectType, KernelMode, &Object, NULL),
        STATUS_SUCCESS);
    ObDereferenceObject(Object);
    assert_int_equal(ObReferenceObjectByHandle(Event, 0, *PsThreadType, KernelMode, &Object, NULL),
                     STATUS_OBJECT_TYPE_MISMATCH);
    assert_int_equal(ObReferenceObjectByHandle(Event, 0, *IoFileObjectType, KernelMode, &Object, NULL),
                     STATUS_OBJECT_TYPE_MISMATCH);
    assert_int_equal(
        ObReferenceObjectByHandle(NtCurrentProcess(), 0, *PsProcessType, KernelMode, &Object, NULL),
        STATUS_SUCCESS);
    ObDereferenceObject(Object);
    assert_int_equal(
        ObReferenceObjectByHandle(NtCurrentProcess(), 0, *MmSectionObjectType, KernelMode, &Object, NULL),
        STATUS_OBJECT_TYPE_MISMATCH);
    assert_null(Object);
    assert_ptr_not_equal(*PsJobType, *PsProcessType);
    assert_int_equal(ZwClose(Event), STATUS_SUCCESS);
    TestLeaveProcess();
    assert_null(*PsProcessType);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_users_buffer_arrives_in_paged_memory),
        cmocka_unit_test(every_type_of_object_has_its_name),
    };

    return cmocka_run_group_tests_name("headers.disk", tests, NULL, NULL);
}
