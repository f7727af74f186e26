/* SPDX-License-Identifier: MIT */
/*
 * Simulated processors see what real ones see: translations, rights by mode, accessed and dirty bits, faults with exact
 * parameters, in the space they were told, without a native mapping.
 */
#include "host_test.h"

static PFN_NUMBER Top;

static PHOST_SIM StartSim(void)
{
    TestStart(NULL);
    assert_int_equal(HostSetThreadSimulated(TRUE), STATUS_SUCCESS);
    Top = TestAllocateFrame();
    PortLoadAddressSpace(Top);
    PortSetSystemSpace(Top);
    return HostCurrentSim();
}

static void StopSim(void)
{
    PortSetSystemSpace(0);
    PortLoadAddressSpace(0);
    assert_int_equal(HostSetThreadSimulated(FALSE), STATUS_SUCCESS);
    TestStop();
}

static void reads_and_writes_cross_pages(void **State)
{
    UCHAR Out[3 * PAGE_SIZE], In[3 * PAGE_SIZE];
    ULONG Index;

    (void)State;
    StartSim();
    for (Index = 0; Index < 4; Index += 1)
    {
        /* Frames in descending order, so that consecutive addresses are not consecutive frames. */
        PFN_NUMBER Frame = TestAllocateFrame();

        TestMap(Top, BASE + (3 - Index) * PAGE_SIZE, Frame, USER_DATA);
    }
    for (Index = 0; Index < sizeof(Out); Index += 1)
    {
        Out[Index] = (UCHAR)(Index * 7);
    }
    assert_int_equal(HostSimWrite(BASE + 100, Out, sizeof(Out), NULL), STATUS_SUCCESS);
    assert_int_equal(HostSimRead(BASE + 100, In, sizeof(In), NULL), STATUS_SUCCESS);
    assert_memory_equal(In, Out, sizeof(In));
    assert_int_equal(HostSimFill(BASE + 4000, 0x5a, 200, NULL), STATUS_SUCCESS);
    assert_int_equal(HostSimRead(BASE + 4000, In, 200, NULL), STATUS_SUCCESS);
    assert_int_equal(In[0], 0x5a);
    assert_int_equal(In[199], 0x5a);
    assert_int_equal(TestFaults, 0);
    assert_true(TestSignals() == 0);
    StopSim();
}

static void accessed_and_dirty_tell_the_truth(void **State)
{
    PHOST_SIM Sim = StartSim();
    volatile ULONG64 *Pte = TestMap(Top, BASE, TestAllocateFrame(), USER_DATA);

    (void)State;
    assert_int_equal(HostSimTouch(Sim, BASE, 0, NULL), STATUS_SUCCESS);
    assert_true((*Pte & (ACCESSED | DIRTY)) == ACCESSED);
    assert_int_equal(HostSimTouch(Sim, BASE, PORT_FAULT_WRITE, NULL), STATUS_SUCCESS);
    assert_true((*Pte & (ACCESSED | DIRTY)) == (ACCESSED | DIRTY));
    *Pte &= ~(ACCESSED | DIRTY);
    TestFlush(Top, BASE, 1);
    assert_int_equal(HostSimTouch(Sim, BASE, 0, NULL), STATUS_SUCCESS);
    assert_true((*Pte & (ACCESSED | DIRTY)) == ACCESSED);
    /* In the TB now: no further walk until a write. */
    *Pte &= ~ACCESSED;
    assert_int_equal(HostSimTouch(Sim, BASE + 1, 0, NULL), STATUS_SUCCESS);
    assert_true((*Pte & ACCESSED) == 0);
    assert_int_equal(HostSimTouch(Sim, BASE + 1, PORT_FAULT_WRITE, NULL), STATUS_SUCCESS);
    assert_true((*Pte & (ACCESSED | DIRTY)) == (ACCESSED | DIRTY));
    StopSim();
}

static void rights_depend_on_the_mode(void **State)
{
    PHOST_SIM Sim = StartSim();
    EXCEPTION_RECORD Record;

    (void)State;
    TestMap(Top, SYSTEM_BASE, TestAllocateFrame(), PRESENT | WRITABLE | NOEXEC);
    TestMap(Top, BASE, TestAllocateFrame(), PRESENT | USER);
    assert_int_equal(HostSimTouch(Sim, SYSTEM_BASE, PORT_FAULT_WRITE, &Record), STATUS_SUCCESS);
    TestThread.CurrentMode = UserMode;
    assert_int_equal(HostSimTouch(Sim, SYSTEM_BASE, 0, &Record), STATUS_ACCESS_VIOLATION);
    assert_int_equal(TestLastFaultStatus, PORT_FAULT_PRESENT | PORT_FAULT_USER);
    assert_true(Record.ExceptionInformation[0] == 0 && Record.ExceptionInformation[1] == SYSTEM_BASE);
    assert_int_equal(HostSimTouch(Sim, BASE, 0, &Record), STATUS_SUCCESS);
    assert_int_equal(HostSimExecute(BASE, &Record), STATUS_SUCCESS);
    assert_int_equal(HostSimTouch(Sim, BASE, PORT_FAULT_WRITE, &Record), STATUS_ACCESS_VIOLATION);
    assert_true(Record.ExceptionInformation[0] == 1);
    TestThread.CurrentMode = KernelMode;
    assert_int_equal(HostSimTouch(Sim, BASE, PORT_FAULT_WRITE, &Record), STATUS_ACCESS_VIOLATION);
    assert_int_equal(HostSimExecute(SYSTEM_BASE, &Record), STATUS_ACCESS_VIOLATION);
    assert_true(Record.ExceptionInformation[0] == 8);
    assert_int_equal(TestLastFaultStatus, PORT_FAULT_PRESENT | PORT_FAULT_EXECUTE);
    StopSim();
}

static void a_transfer_stops_at_the_first_bad_byte(void **State)
{
    UCHAR Buffer[8192];
    EXCEPTION_RECORD Record;
    PFN_NUMBER Frame;

    (void)State;
    StartSim();
    Frame = TestAllocateFrame();
    TestMap(Top, BASE, Frame, USER_DATA);
    memset(Buffer, 0x77, sizeof(Buffer));
    assert_int_equal(HostSimWrite(BASE + 4000, Buffer, 1000, &Record), STATUS_ACCESS_VIOLATION);
    assert_true(Record.ExceptionInformation[1] == BASE + PAGE_SIZE);
    assert_int_equal(((PUCHAR)PortDirectMap(Frame))[4095], 0x77);
    assert_int_equal(HostSimRead(0x1000, Buffer, 1, &Record), STATUS_ACCESS_VIOLATION);
    assert_true(Record.ExceptionInformation[1] == 0x1000);
    assert_int_equal(HostSimRead(0xffff800000000000ull, Buffer, 1, &Record), STATUS_ACCESS_VIOLATION);
    assert_true(Record.ExceptionInformation[1] == ~(ULONG_PTR)0);
    StopSim();
}

static void compare_exchange_is_a_write(void **State)
{
    volatile ULONG64 *Pte;
    ULONG64 Previous = 0;

    (void)State;
    StartSim();
    Pte = TestMap(Top, BASE, TestAllocateFrame(), USER_DATA);
    assert_int_equal(HostSimCompareExchange64(BASE + 8, 1, 2, &Previous, NULL), STATUS_SUCCESS);
    assert_true(Previous == 0);
    assert_true((*Pte & DIRTY) != 0);
    assert_int_equal(HostSimCompareExchange64(BASE + 8, 0, 2, &Previous, NULL), STATUS_SUCCESS);
    assert_int_equal(HostSimCompareExchange64(BASE + 8, 0, 3, &Previous, NULL), STATUS_SUCCESS);
    assert_true(Previous == 2);
    assert_int_equal(HostSimCompareExchange64(BASE + 12, 0, 3, &Previous, NULL),
                     STATUS_DATATYPE_MISALIGNMENT);
    StopSim();
}

static NTSTATUS MapOnDemand(ULONG FaultStatus, ULONG_PTR Address)
{
    (void)FaultStatus;
    TestMap(HostCurrentSpace(), Address & ~(ULONG_PTR)0xfff, TestAllocateFrame(), USER_DATA);
    return STATUS_SUCCESS;
}

static void every_space_has_its_own_memory(void **State)
{
    PFN_NUMBER Spaces[100];
    ULONG Index;

    (void)State;
    StartSim();
    TestResolver = MapOnDemand;
    for (Index = 0; Index < 100; Index += 1)
    {
        Spaces[Index] = TestAllocateFrame();
        PortLoadAddressSpace(Spaces[Index]);
        assert_int_equal(HostSimWrite(BASE, &Index, sizeof(Index), NULL), STATUS_SUCCESS);
    }
    for (Index = 0; Index < 100; Index += 1)
    {
        ULONG Value = 0;

        PortLoadAddressSpace(Spaces[Index]);
        assert_int_equal(HostSimRead(BASE, &Value, sizeof(Value), NULL), STATUS_SUCCESS);
        assert_int_equal(Value, Index);
    }
    assert_int_equal(TestFaults, 100);
    StopSim();
}

static void large_pages_translate(void **State)
{
    PFN_NUMBER Frames;
    ULONG64 Value = 0;
    volatile ULONG64 *Pde;

    (void)State;
    StartSim();
    Frames = (TestAllocateFrames(1024) + 511) & ~(PFN_NUMBER)511;
    Pde = TestEntry(Top, BASE, 1);
    *Pde = (Frames << PAGE_SHIFT) | USER_DATA | LARGE;
    *(ULONG64 *)PortDirectMap(Frames + 77) = 12;
    assert_int_equal(HostSimRead(BASE + 77 * PAGE_SIZE, &Value, 8, NULL), STATUS_SUCCESS);
    assert_true(Value == 12);
    assert_int_equal(HostSimWrite(BASE + 78 * PAGE_SIZE, &Value, 8, NULL), STATUS_SUCCESS);
    assert_true(*(ULONG64 *)PortDirectMap(Frames + 78) == 12);
    assert_true((*Pde & (ACCESSED | DIRTY)) == (ACCESSED | DIRTY));
    *Pde = 0;
    TestFlush(Top, BASE, 512);
    assert_int_equal(HostSimRead(BASE + 77 * PAGE_SIZE, &Value, 8, NULL), STATUS_ACCESS_VIOLATION);
    StopSim();
}

static void native_code_of_a_simulated_thread_sees_no_user_memory(void **State)
{
    EXCEPTION_RECORD Record;

    (void)State;
    StartSim();
    TestMap(Top, BASE, TestAllocateFrame(), USER_DATA);
    assert_int_equal(HostTouchForSyscall((PVOID)BASE, 1, FALSE), STATUS_ACCESS_VIOLATION);
    assert_int_equal(HostSetThreadSimulated(FALSE), STATUS_SUCCESS);
    assert_int_equal(HostTouchForSyscall((PVOID)BASE, 1, FALSE), STATUS_SUCCESS);
    assert_int_equal(HostSimRead(BASE, &Record, 1, NULL), STATUS_INVALID_DEVICE_STATE);
    assert_int_equal(HostSetThreadSimulated(TRUE), STATUS_SUCCESS);
    StopSim();
}

int main(void)
{
    const struct CMUnitTest Tests[] = {
        cmocka_unit_test(reads_and_writes_cross_pages),
        cmocka_unit_test(accessed_and_dirty_tell_the_truth),
        cmocka_unit_test(rights_depend_on_the_mode),
        cmocka_unit_test(a_transfer_stops_at_the_first_bad_byte),
        cmocka_unit_test(compare_exchange_is_a_write),
        cmocka_unit_test(every_space_has_its_own_memory),
        cmocka_unit_test(large_pages_translate),
        cmocka_unit_test(native_code_of_a_simulated_thread_sees_no_user_memory),
    };

    return cmocka_run_group_tests(Tests, NULL, NULL);
}
