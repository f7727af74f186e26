/* SPDX-License-Identifier: MIT */
/*
 * Device memory: a window of memory and a block of registers behind physical addresses above RAM, reached by real pointers through
 * MmMapIoSpace, in user mode through an MDL, and by simulated processors; caching types that conflict; misuse.
 */
#include "mdl_test.h"

#include "host.h"
#include "nt/register.h"

#define WINDOW_AT    0x2000000000ull
#define REGISTERS_AT 0x2100000000ull
#define NOWHERE_AT   0x2200000000ull

static PHYSICAL_ADDRESS At(ULONG64 Address)
{
    PHYSICAL_ADDRESS Physical = { .QuadPart = (LONG64)Address };

    return Physical;
}

/* Registers that remember, and a log of what happened to them. */
typedef struct _DEVICE
{
    UCHAR Bytes[2 * PAGE_SIZE];
    ULONG Reads;
    ULONG Writes;
    ULONG LastBytes;
    ULONG64 LastOffset;
    KIRQL LastIrql;
} DEVICE;

static DEVICE Device;

static ULONG64 ReadDevice(PVOID Context, ULONG64 Offset, ULONG Bytes)
{
    DEVICE *Registers = Context;
    ULONG64 Value = 0;

    Registers->Reads++;
    Registers->LastBytes = Bytes;
    Registers->LastOffset = Offset;
    Registers->LastIrql = KeGetCurrentIrql();
    memcpy(&Value, Registers->Bytes + Offset, Bytes);
    return Value;
}

static VOID WriteDevice(PVOID Context, ULONG64 Offset, ULONG Bytes, ULONG64 Value)
{
    DEVICE *Registers = Context;

    Registers->Writes++;
    Registers->LastBytes = Bytes;
    Registers->LastOffset = Offset;
    Registers->LastIrql = KeGetCurrentIrql();
    memcpy(Registers->Bytes + Offset, &Value, Bytes);
}

static void AddRegisters(void)
{
    HOST_DEVICE_PARAMETERS Parameters = { .PhysicalAddress = REGISTERS_AT,
                                          .Bytes = sizeof(Device.Bytes),
                                          .Read = ReadDevice,
                                          .Write = WriteDevice,
                                          .Context = &Device };

    memset(&Device, 0, sizeof(Device));
    assert_int_equal(HostAddDevice(&Parameters, NULL), STATUS_SUCCESS);
}

static PUCHAR AddWindow(SIZE_T Pages)
{
    HOST_DEVICE_PARAMETERS Parameters = { .PhysicalAddress = WINDOW_AT, .Bytes = Pages * PAGE_SIZE };
    PVOID Memory;

    assert_int_equal(HostAddDevice(&Parameters, &Memory), STATUS_SUCCESS);
    return Memory;
}

MDL_TEST(a_window_of_device_memory_is_the_device_s_memory)
{
    PUCHAR Inside = AddWindow(8);
    PUCHAR Mapped = MmMapIoSpace(At(WINDOW_AT + 0x1010), 3 * PAGE_SIZE, MmNonCached);

    assert_non_null(Mapped);
    assert_int_equal(BYTE_OFFSET(Mapped), 0x10);
    EnterKernel();
    memset(Mapped, 0x5a, 3 * PAGE_SIZE);
    LeaveKernel();
    assert_int_equal(Inside[0x100f], 0);
    assert_int_equal(Inside[0x1010], 0x5a);
    assert_int_equal(Inside[0x400f], 0x5a);
    assert_int_equal(Inside[0x4010], 0);
    Inside[0x2000] = 0x77;
    assert_int_equal(Peek(Mapped + 0xff0), 0x77);
    assert_int_equal(MmGetPhysicalAddress(Mapped).QuadPart, WINDOW_AT + 0x1010);
    assert_true(MmIsAddressValid(Mapped));
    MmUnmapIoSpace(Mapped, 3 * PAGE_SIZE);
    assert_int_equal(MiSystemPtesInUse(), 0);
    assert_false(MmIsAddressValid(Mapped));
}

MDL_TEST(each_access_to_a_register_reaches_the_device_once)
{
    volatile UCHAR *Base;

    AddRegisters();
    Base = MmMapIoSpace(At(REGISTERS_AT), 2 * PAGE_SIZE, MmNonCached);
    assert_non_null((PVOID)(ULONG_PTR)Base);
    EnterKernel();
    WRITE_REGISTER_ULONG((volatile ULONG *)(PVOID)(ULONG_PTR)(Base + 0x40), 0x11223344);
    assert_int_equal(Device.Writes, 1);
    assert_int_equal(Device.LastBytes, 4);
    assert_int_equal(Device.LastOffset, 0x40);
    assert_int_equal(READ_REGISTER_ULONG((volatile ULONG *)(PVOID)(ULONG_PTR)(Base + 0x40)), 0x11223344);
    assert_int_equal(READ_REGISTER_USHORT((volatile USHORT *)(PVOID)(ULONG_PTR)(Base + 0x42)), 0x1122);
    assert_int_equal(READ_REGISTER_UCHAR(Base + 0x41), 0x33);
    WRITE_REGISTER_ULONG64((volatile ULONG64 *)(PVOID)(ULONG_PTR)(Base + PAGE_SIZE), 0x0123456789abcdefull);
    WRITE_REGISTER_UCHAR(Base + PAGE_SIZE + 7, 0xfe);
    assert_true(READ_REGISTER_ULONG64((volatile ULONG64 *)(PVOID)(ULONG_PTR)(Base + PAGE_SIZE)) ==
                0xfe23456789abcdefull);
    assert_int_equal(Device.Reads, 4);
    assert_int_equal(Device.Writes, 3);
    LeaveKernel();
    MmUnmapIoSpace((PVOID)(ULONG_PTR)Base, 2 * PAGE_SIZE);
}

MDL_TEST(registers_are_reached_at_the_caller_s_irql_and_in_buffers)
{
    USHORT Buffer[64];
    volatile USHORT *Base;
    KIRQL OldIrql;

    AddRegisters();
    Base = MmMapIoSpaceEx(At(REGISTERS_AT + 0x100), sizeof(Buffer), PAGE_READWRITE | PAGE_NOCACHE);
    for (ULONG Index = 0; Index < 64; Index++)
    {
        Buffer[Index] = (USHORT)(Index * 3);
    }
    EnterKernel();
    KeRaiseIrql(DISPATCH_LEVEL, &OldIrql);
    WRITE_REGISTER_BUFFER_USHORT(Base, Buffer, 64);
    KeLowerIrql(OldIrql);
    LeaveKernel();
    assert_int_equal(Device.LastIrql, DISPATCH_LEVEL);
    assert_int_equal(Device.Writes, 64);
    memset(Buffer, 0, sizeof(Buffer));
    EnterKernel();
    READ_REGISTER_BUFFER_USHORT(Base, Buffer, 64);
    LeaveKernel();
    for (ULONG Index = 0; Index < 64; Index++)
    {
        assert_int_equal(Buffer[Index], Index * 3);
    }
    MmUnmapIoSpace((PVOID)(ULONG_PTR)Base, sizeof(Buffer));
}

static volatile ULONG *PortLong(ULONG Port)
{
    return (volatile ULONG *)(ULONG_PTR)Port;
}

MDL_TEST(ports_are_reached_by_number_in_their_width)
{
    HOST_IO_PORTS Ports = {
        .First = 0x3f8, .Count = 8, .Read = ReadDevice, .Write = WriteDevice, .Context = &Device
    };
    USHORT Words[3] = { 0x1111, 0x2222, 0x3333 };
    UCHAR Bytes[4] = { 0, 0, 0, 0 };

    memset(&Device, 0, sizeof(Device));
    assert_int_equal(HostAddIoPorts(&Ports), STATUS_SUCCESS);
    WRITE_PORT_ULONG(PortLong(0x3fc), 0x44332211);
    assert_int_equal(Device.LastOffset, 4);
    assert_int_equal(Device.LastBytes, 4);
    assert_int_equal(READ_PORT_UCHAR((PUCHAR)(ULONG_PTR)0x3fd), 0x22);
    assert_int_equal(READ_PORT_USHORT((PUSHORT)(ULONG_PTR)0x3fe), 0x4433);
    assert_int_equal(READ_PORT_ULONG(PortLong(0x3fc)), 0x44332211);
    /* Buffers go through one port. */
    WRITE_PORT_BUFFER_USHORT((PUSHORT)(ULONG_PTR)0x3f8, Words, 3);
    assert_int_equal(Device.Writes, 4);
    assert_int_equal(READ_PORT_USHORT((PUSHORT)(ULONG_PTR)0x3f8), 0x3333);
    READ_PORT_BUFFER_UCHAR((PUCHAR)(ULONG_PTR)0x3fc, Bytes, 4);
    assert_memory_equal(Bytes, "\x11\x11\x11\x11", 4);
    /* Beyond the range, or partly: nobody. */
    assert_int_equal(READ_PORT_ULONG(PortLong(0x3fd)), 0xffffffff);
    assert_int_equal(READ_PORT_UCHAR((PUCHAR)(ULONG_PTR)0x400), 0xff);
    WRITE_PORT_UCHAR((PUCHAR)(ULONG_PTR)0x80, 5);
    assert_int_equal(Device.Writes, 4);
    assert_int_equal(HostRemoveIoPorts(0x3f8), STATUS_SUCCESS);
    assert_int_equal(READ_PORT_USHORT((PUSHORT)(ULONG_PTR)0x3f8), 0xffff);
}

MDL_TEST(ranges_of_ports_are_checked)
{
    static const HOST_IO_PORTS Wrong[] = {
        { .First = 0x100, .Count = 0, .Read = ReadDevice },
        { .First = 0xffff, .Count = 2, .Read = ReadDevice },
        { .First = 0x10000, .Count = 1, .Read = ReadDevice },
        { .First = 0x100, .Count = 0xffffffff, .Read = ReadDevice },
        { .First = 0x100, .Count = 1 },
    };
    HOST_IO_PORTS Ports = { .First = 0x100, .Count = 4, .Read = ReadDevice, .Context = &Device };

    for (ULONG Index = 0; Index < RTL_NUMBER_OF(Wrong); Index++)
    {
        assert_int_equal(HostAddIoPorts(&Wrong[Index]), STATUS_INVALID_PARAMETER);
    }
    assert_int_equal(HostAddIoPorts(&Ports), STATUS_SUCCESS);
    WRITE_PORT_ULONG(PortLong(0x100), 1); /* no routine: lost */
    Ports.First = 0x103;
    assert_int_equal(HostAddIoPorts(&Ports), STATUS_CONFLICTING_ADDRESSES);
    Ports.Count = 1;
    for (Ports.First = 0x200; HostAddIoPorts(&Ports) == STATUS_SUCCESS; Ports.First++)
    {
    }
    assert_int_equal(HostAddIoPorts(&Ports), STATUS_INSUFFICIENT_RESOURCES);
    assert_int_equal(HostRemoveIoPorts(0x101), STATUS_NOT_FOUND);
}

MDL_TEST(nobody_s_addresses_read_all_ones)
{
    volatile ULONG *Base = MmMapIoSpace(At(NOWHERE_AT), PAGE_SIZE, MmNonCached);

    EnterKernel();
    *Base = 1;
    assert_int_equal(*Base, 0xffffffff);
    LeaveKernel();
    MmUnmapIoSpace((PVOID)(ULONG_PTR)Base, PAGE_SIZE);
}

MDL_TEST(a_device_that_goes_leaves_an_empty_bus)
{
    PUCHAR Inside = AddWindow(1);
    PUCHAR Mapped = MmMapIoSpace(At(WINDOW_AT), PAGE_SIZE, MmNonCached);

    Inside[0] = 3;
    assert_int_equal(Peek(Mapped), 3);
    assert_int_equal(HostRemoveDevice(WINDOW_AT), STATUS_SUCCESS);
    assert_int_equal(HostRemoveDevice(WINDOW_AT), STATUS_NOT_FOUND);
    assert_int_equal(Peek(Mapped), 0xff);
    Inside = AddWindow(1);
    assert_int_equal(Peek(Mapped), 0);
    Inside[0] = 4;
    assert_int_equal(Peek(Mapped), 4);
    MmUnmapIoSpace(Mapped, PAGE_SIZE);
}

MDL_TEST(one_frame_has_one_caching_type)
{
    MEMORY_CACHING_TYPE Type = MmCached;
    PVOID First;
    PVOID Second;

    AddWindow(8);
    assert_int_equal(MmGetCacheAttribute(At(WINDOW_AT), &Type), STATUS_NOT_FOUND);
    First = MmMapIoSpace(At(WINDOW_AT + PAGE_SIZE), 2 * PAGE_SIZE, MmWriteCombined);
    assert_non_null(First);
    assert_int_equal(MmGetCacheAttribute(At(WINDOW_AT + PAGE_SIZE), &Type), STATUS_SUCCESS);
    assert_int_equal(Type, MmWriteCombined);
    assert_null(MmMapIoSpace(At(WINDOW_AT), 8 * PAGE_SIZE, MmNonCached));
    assert_null(MmMapIoSpace(At(WINDOW_AT + 2 * PAGE_SIZE), 1, MmCached));
    assert_null(MmMapIoSpaceEx(At(WINDOW_AT + 2 * PAGE_SIZE), 1, PAGE_READONLY));
    Second = MmMapIoSpaceEx(At(WINDOW_AT), 3 * PAGE_SIZE, PAGE_READWRITE | PAGE_WRITECOMBINE);
    assert_non_null(Second);
    MmUnmapIoSpace(First, 2 * PAGE_SIZE);
    First = MmMapIoSpace(At(WINDOW_AT + 3 * PAGE_SIZE), PAGE_SIZE, MmNonCached);
    assert_non_null(First);
    MmUnmapIoSpace(First, PAGE_SIZE);
    MmUnmapIoSpace(Second, 3 * PAGE_SIZE);
    assert_int_equal(MmGetCacheAttribute(At(WINDOW_AT + PAGE_SIZE), &Type), STATUS_NOT_FOUND);
    /* With the last mapping the range is free to be mapped otherwise. */
    First = MmMapIoSpace(At(WINDOW_AT), 8 * PAGE_SIZE, MmCached);
    assert_non_null(First);
    MmUnmapIoSpace(First, 8 * PAGE_SIZE);
    assert_int_equal(MiSystemPtesInUse(), 0);
}

MDL_TEST(ram_is_mapped_as_it_is_cached_or_not_at_all)
{
    PUCHAR Block = MiAllocatePool(PAGE_SIZE, MI_TAG_MDL);
    PHYSICAL_ADDRESS Physical = MmGetPhysicalAddress(Block);
    PUCHAR Mapped;

    assert_null(MmMapIoSpace(Physical, PAGE_SIZE, MmNonCached));
    Mapped = MmMapIoSpace(Physical, PAGE_SIZE, MmCached);
    assert_non_null(Mapped);
    Poke(Mapped + 9, 0x19);
    assert_int_equal(Block[9], 0x19);
    MmUnmapIoSpace(Mapped, PAGE_SIZE);
    MiFreePool(Block, MI_TAG_MDL);
    /* Neither free pages nor page tables. */
    assert_null(MmMapIoSpace(At((ULONG64)MiState.Physical->HighestPage << PAGE_SHIFT), PAGE_SIZE, MmCached));
    assert_null(
        MmMapIoSpace(At((ULONG64)TestUserProcess->Space.TopLevel << PAGE_SHIFT), PAGE_SIZE, MmCached));
}

MDL_TEST(parameters_that_make_no_sense_map_nothing)
{
    assert_null(MmMapIoSpace(At(WINDOW_AT), 0, MmNonCached));
    assert_null(MmMapIoSpace(At(WINDOW_AT), PAGE_SIZE, (MEMORY_CACHING_TYPE)55));
    assert_null(MmMapIoSpace(At(1ull << 52), PAGE_SIZE, MmNonCached));
    assert_null(MmMapIoSpace(At((1ull << 52) - PAGE_SIZE), 2 * PAGE_SIZE, MmNonCached));
    assert_null(MmMapIoSpace(At(WINDOW_AT), ~(SIZE_T)0, MmNonCached));
    assert_null(MmMapIoSpaceEx(At(WINDOW_AT), PAGE_SIZE, 0));
    assert_null(MmMapIoSpaceEx(At(WINDOW_AT), PAGE_SIZE, PAGE_NOACCESS));
    assert_null(MmMapIoSpaceEx(At(WINDOW_AT), PAGE_SIZE, PAGE_WRITECOPY));
    assert_null(MmMapIoSpaceEx(At(WINDOW_AT), PAGE_SIZE, PAGE_READWRITE | PAGE_GUARD));
    assert_null(MmMapIoSpaceEx(At(WINDOW_AT), PAGE_SIZE, PAGE_READWRITE | PAGE_NOCACHE | PAGE_WRITECOMBINE));
    assert_int_equal(MiSystemPtesInUse(), 0);
}

MDL_TEST(device_memory_is_described_by_mdls_and_seen_in_user_mode)
{
    PUCHAR Inside = AddWindow(4);
    PUCHAR Mapped = MmMapIoSpace(At(WINDOW_AT), 4 * PAGE_SIZE, MmCached);
    PMDL Mdl = NewMdl((ULONG_PTR)Mapped + 0x20, 2 * PAGE_SIZE);
    PUCHAR User;
    SIZE_T Copied;
    UCHAR Byte;

    MmBuildMdlForNonPagedPool(Mdl);
    assert_int_equal(Mdl->MdlFlags, MDL_ALLOCATED_FIXED_SIZE | MDL_SOURCE_IS_NONPAGED_POOL | MDL_IO_SPACE);
    User = MmMapLockedPagesSpecifyCache(Mdl, UserMode, MmCached, NULL, FALSE, NormalPagePriority);
    TestVmPut((ULONG_PTR)User + PAGE_SIZE, 0x3c);
    assert_int_equal(Inside[0x20 + PAGE_SIZE], 0x3c);
    assert_int_equal(HostSetThreadSimulated(FALSE), STATUS_SUCCESS);
    *(volatile UCHAR *)User = 0x3d;
    assert_int_equal(HostSetThreadSimulated(TRUE), STATUS_SUCCESS);
    assert_int_equal(Inside[0x20], 0x3d);
    /* Other processes' copies do not reach through to a device. */
    assert_int_equal(MiReadSpace(&TestUserProcess->Space, (ULONG_PTR)User, &Byte, 1, KernelMode, &Copied),
                     STATUS_ACCESS_VIOLATION);
    MiCheckWorkingSet(&TestUserProcess->Space);
    MmUnmapLockedPages(User, Mdl);
    IoFreeMdl(Mdl);
    Mdl = NewMdl((ULONG_PTR)Mapped, PAGE_SIZE);
    assert_int_equal(TryLock(Mdl, KernelMode, IoWriteAccess), STATUS_SUCCESS);
    assert_true((Mdl->MdlFlags & (MDL_IO_SPACE | MDL_PAGES_LOCKED)) == (MDL_IO_SPACE | MDL_PAGES_LOCKED));
    Poke(SystemAddress(Mdl), 0x3e);
    assert_int_equal(Inside[0], 0x3e);
    UnlockAndFree(Mdl);
    MmUnmapIoSpace(Mapped, 4 * PAGE_SIZE);
}

MDL_TEST(simulated_processors_reach_registers_too)
{
    PUCHAR Mapped;
    PMDL Mdl;
    PUCHAR User;
    ULONG64 Value = 0x8877665544332211ull;
    UCHAR Bytes[7];

    AddRegisters();
    Mapped = MmMapIoSpace(At(REGISTERS_AT), PAGE_SIZE, MmNonCached);
    Mdl = NewMdl((ULONG_PTR)Mapped, PAGE_SIZE);
    MmBuildMdlForNonPagedPool(Mdl);
    User = MmMapLockedPagesSpecifyCache(Mdl, UserMode, MmNonCached, NULL, FALSE,
                                        NormalPagePriority | MdlMappingNoExecute);
    assert_int_equal(HostSimWrite((ULONG_PTR)User + 8, &Value, sizeof(Value), NULL), STATUS_SUCCESS);
    assert_int_equal(Device.Writes, 1);
    assert_int_equal(Device.LastBytes, 8);
    assert_int_equal(HostSimRead((ULONG_PTR)User + 9, Bytes, 7, NULL), STATUS_SUCCESS);
    assert_memory_equal(Bytes, (PUCHAR)&Value + 1, 7);
    assert_int_equal(Device.Reads, 3); /* 1 + 2 + 4 bytes */
    assert_int_equal(TestVmTryPut((ULONG_PTR)User, 5), STATUS_SUCCESS);
    assert_int_equal(Device.Bytes[0], 5);
    MmUnmapLockedPages(User, Mdl);
    IoFreeMdl(Mdl);
    MmUnmapIoSpace(Mapped, PAGE_SIZE);
}

static void UnmapUnknown(void *Address)
{
    MmUnmapIoSpace(Address, PAGE_SIZE);
}

MDL_TEST(unmapping_what_is_not_mapped_is_a_bug_check)
{
    PUCHAR Mapped = MmMapIoSpace(At(NOWHERE_AT), 2 * PAGE_SIZE, MmNonCached);

    TestExpectBugCheck(SYSTEM_PTE_MISUSE, UnmapUnknown, Mapped); /* another size */
    assert_int_equal(TestBugCheckParameters[0], 0x109);
    KiResumeAfterBugCheck(KiCurrentThread());
    LeaveKernel();
    MmUnmapIoSpace(Mapped, 2 * PAGE_SIZE);
    TestExpectBugCheck(SYSTEM_PTE_MISUSE, UnmapUnknown, Mapped);
    KiResumeAfterBugCheck(KiCurrentThread());
    LeaveKernel();
}

MDL_TEST(every_failure_maps_nothing)
{
    AddWindow(2);
    for (KI_INJECT Kind = KiInjectFrame; Kind <= KiInjectCommit; Kind++)
    {
        ULONG64 Failed = 1;

        for (ULONG64 Nth = 1; Failed != 0; Nth++)
        {
            PVOID Mapped;

            MiTrimSystemPtes();
            KiSetInjection(Kind, Nth, FALSE);
            Mapped = MmMapIoSpace(At(WINDOW_AT), 2 * PAGE_SIZE, MmNonCached);
            Failed = 0;
            KiQueryInjection(Kind, &Failed);
            KiSetInjection(Kind, 0, FALSE);
            if (Mapped != NULL)
            {
                MmUnmapIoSpace(Mapped, 2 * PAGE_SIZE);
            }
            else
            {
                assert_int_not_equal(Failed, 0);
            }
            assert_int_equal(MiSystemPtesInUse(), 0);
        }
    }
}

static NTSTATUS NTAPI NeverCopy(PMDL Destination, PMDL Source, PVOID Context)
{
    (void)Destination, (void)Source, (void)Context;
    fail();
    return STATUS_SUCCESS;
}

static void rotating_views_has_no_documented_rules(void **state)
{
    SIZE_T Bytes = 65536;

    (void)state;
    assert_int_equal(MmRotatePhysicalView((PVOID)0x100000, &Bytes, NULL, MmToRegularMemory, NeverCopy, NULL),
                     STATUS_NOT_IMPLEMENTED);
    assert_int_equal(Bytes, 65536);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_window_of_device_memory_is_the_device_s_memory),
        cmocka_unit_test(each_access_to_a_register_reaches_the_device_once),
        cmocka_unit_test(registers_are_reached_at_the_caller_s_irql_and_in_buffers),
        cmocka_unit_test(ports_are_reached_by_number_in_their_width),
        cmocka_unit_test(ranges_of_ports_are_checked),
        cmocka_unit_test(nobody_s_addresses_read_all_ones),
        cmocka_unit_test(a_device_that_goes_leaves_an_empty_bus),
        cmocka_unit_test(one_frame_has_one_caching_type),
        cmocka_unit_test(ram_is_mapped_as_it_is_cached_or_not_at_all),
        cmocka_unit_test(parameters_that_make_no_sense_map_nothing),
        cmocka_unit_test(device_memory_is_described_by_mdls_and_seen_in_user_mode),
        cmocka_unit_test(simulated_processors_reach_registers_too),
        cmocka_unit_test(unmapping_what_is_not_mapped_is_a_bug_check),
        cmocka_unit_test(every_failure_maps_nothing),
        cmocka_unit_test(rotating_views_has_no_documented_rules),
    };

    return cmocka_run_group_tests_name("mdl.iospace", tests, NULL, NULL);
}
