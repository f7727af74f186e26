/* SPDX-License-Identifier: MIT */
/*
 * MDLs mapped into user mode: the same bytes as the buffer, by real pointers and on simulated processors; what services make of such a
 * range; that it goes with its process; that failures leave nothing.
 */
#include "mdl_test.h"

typedef struct _USER_MAPPING
{
    PMDL Mdl;
    MEMORY_CACHING_TYPE CacheType;
    PVOID Requested;
    ULONG Priority;
    PUCHAR Address;
} USER_MAPPING;

static VOID RunMapping(PVOID Context)
{
    USER_MAPPING *Mapping = Context;

    Mapping->Address = MmMapLockedPagesSpecifyCache(Mapping->Mdl, UserMode, Mapping->CacheType,
                                                    Mapping->Requested, FALSE, Mapping->Priority);
}

static NTSTATUS TryMap(PMDL Mdl, PVOID Requested, ULONG Priority, PUCHAR *Address)
{
    USER_MAPPING Mapping = { Mdl, MmCached, Requested, Priority, NULL };
    NTSTATUS Status = KiGuardedCall(RunMapping, &Mapping, NULL);

    *Address = Mapping.Address;
    return Status;
}

static PUCHAR MapToUser(PMDL Mdl)
{
    PUCHAR Address;

    assert_int_equal(TryMap(Mdl, NULL, NormalPagePriority | MdlMappingNoExecute, &Address), STATUS_SUCCESS);
    return Address;
}

MDL_TEST(a_user_mapping_of_a_driver_s_pages_is_the_same_bytes)
{
    PUCHAR Block = MiAllocatePool(3 * PAGE_SIZE, MI_TAG_MDL);
    PMDL Mdl = NewMdl((ULONG_PTR)Block + 0x30, 2 * PAGE_SIZE);
    USHORT Flags;
    PUCHAR User;

    MmBuildMdlForNonPagedPool(Mdl);
    Flags = (USHORT)Mdl->MdlFlags;
    User = MapToUser(Mdl);
    assert_true(MiIsUserAddress((ULONG_PTR)User));
    assert_int_equal(BYTE_OFFSET(User), 0x30);
    assert_int_equal((USHORT)Mdl->MdlFlags, Flags); /* documented: the flags speak of system addresses only */
    Block[0x30] = 0x11;
    Block[0x2000] = 0x22;
    assert_int_equal(TestVmGet((ULONG_PTR)User), 0x11);
    assert_int_equal(TestVmGet((ULONG_PTR)User + 0x2000 - 0x30), 0x22);
    TestVmPut((ULONG_PTR)User + PAGE_SIZE, 0x33);
    assert_int_equal(Block[0x30 + PAGE_SIZE], 0x33);
    MmUnmapLockedPages(User, Mdl);
    assert_int_equal(TestVmTryPut((ULONG_PTR)User, 1), STATUS_ACCESS_VIOLATION);
    IoFreeMdl(Mdl);
    MiFreePool(Block, MI_TAG_MDL);
}

MDL_TEST(three_native_pointers_alias_one_page)
{
    ULONG_PTR Va = TestVmAllocate(0, 4 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PMDL Mdl = LockedMdl(Va, 4 * PAGE_SIZE, IoWriteAccess);
    volatile ULONG *First;
    volatile ULONG *Second;
    volatile ULONG *Third;

    assert_int_equal(HostSetThreadSimulated(FALSE), STATUS_SUCCESS);
    First = (volatile ULONG *)(PVOID)Va;
    Second = (volatile ULONG *)(PVOID)MapToUser(Mdl);
    Third = (volatile ULONG *)(PVOID)SystemAddress(Mdl);
    EnterKernel();
    for (ULONG Index = 0; Index < 4 * PAGE_SIZE / sizeof(ULONG); Index++)
    {
        First[Index] = Index;
        assert_int_equal(Second[Index], Index);
        Second[Index] = ~Index;
        assert_int_equal(Third[Index], ~Index);
        Third[Index] = Index ^ 0x5555;
        assert_int_equal(First[Index], Index ^ 0x5555);
    }
    LeaveKernel();
    /* The buffer is trimmed, the mappings stay, and it is found in the same frames again. */
    MiEmptyWorkingSet(&TestUserProcess->Space);
    Second[0] = 0x77;
    assert_int_equal(First[0], 0x77);
    MmUnmapLockedPages((PVOID)(ULONG_PTR)Second, Mdl);
    UnlockAndFree(Mdl);
    assert_int_equal(HostSetThreadSimulated(TRUE), STATUS_SUCCESS);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(two_processes_share_pages_through_one_mdl)
{
    PEPROCESS Other = TestNewProcess("other");
    PHYSICAL_ADDRESS Low = { .QuadPart = 0 };
    PHYSICAL_ADDRESS High = { .QuadPart = MAXLONG64 };
    PMDL Mdl = MmAllocatePagesForMdl(Low, High, Low, 2 * PAGE_SIZE);
    PUCHAR Mine = MapToUser(Mdl);
    PUCHAR Theirs;

    TestVmPut((ULONG_PTR)Mine + PAGE_SIZE, 0x61);
    TestRunInProcess(Other);
    Theirs = MapToUser(Mdl);
    assert_int_equal(TestVmGet((ULONG_PTR)Theirs + PAGE_SIZE), 0x61);
    TestVmPut((ULONG_PTR)Theirs, 0x62);
    TestRunInProcess(TestUserProcess);
    assert_int_equal(TestVmGet((ULONG_PTR)Mine), 0x62);
    assert_int_equal(References(MmGetMdlPfnArray(Mdl)[0]), 3);
    TestEndProcess(Other); /* its mapping goes with it */
    assert_int_equal(References(MmGetMdlPfnArray(Mdl)[0]), 2);
    MmUnmapLockedPages(Mine, Mdl);
    MmFreePagesFromMdl(Mdl);
    ExFreePool(Mdl);
}

MDL_TEST(a_driver_that_attaches_maps_into_the_process_it_is_attached_to)
{
    PEPROCESS Other = TestNewProcess("other");
    PUCHAR Block = MiAllocatePool(PAGE_SIZE * 2, MI_TAG_MDL);
    PMDL Mdl = NewMdl((ULONG_PTR)Block, PAGE_SIZE);
    KAPC_STATE State;
    PUCHAR Address;

    MmBuildMdlForNonPagedPool(Mdl);
    Block[5] = 0x15;
    EnterKernel();
    KeStackAttachProcess((PRKPROCESS)(PVOID)Other, &State);
    Address = MapToUser(Mdl);
    KeUnstackDetachProcess(&State);
    LeaveKernel();
    assert_int_equal(Other->Space.VadCount, 1);
    assert_int_equal(TestUserProcess->Space.VadCount, 0);
    TestRunInProcess(Other);
    assert_int_equal(TestVmGet((ULONG_PTR)Address + 5), 0x15);
    TestRunInProcess(TestUserProcess);
    EnterKernel();
    KeStackAttachProcess((PRKPROCESS)(PVOID)Other, &State);
    MmUnmapLockedPages(Address, Mdl);
    KeUnstackDetachProcess(&State);
    LeaveKernel();
    assert_int_equal(Other->Space.VadCount, 0);
    TestEndProcess(Other);
    IoFreeMdl(Mdl);
    MiFreePool(Block, MI_TAG_MDL);
}

MDL_TEST(the_address_may_be_asked_for)
{
    ULONG_PTR Va = TestVmAllocate(0, 16 * PAGE_SIZE, MEM_RESERVE, PAGE_READWRITE);
    PUCHAR Block = MiAllocatePool(PAGE_SIZE * 2, MI_TAG_MDL);
    PMDL Mdl = NewMdl((ULONG_PTR)Block + 8, PAGE_SIZE);
    PUCHAR Address;

    MmBuildMdlForNonPagedPool(Mdl);
    assert_int_equal(TryMap(Mdl, (PVOID)(Va + PAGE_SIZE), NormalPagePriority, &Address),
                     STATUS_CONFLICTING_ADDRESSES);
    TestVmFree(Va, 0, MEM_RELEASE);
    assert_int_equal(TryMap(Mdl, (PVOID)(Va + PAGE_SIZE + 0x123), NormalPagePriority, &Address),
                     STATUS_SUCCESS);
    assert_ptr_equal(Address, (PVOID)(Va + PAGE_SIZE + 8));
    assert_int_equal(TryMap(Mdl, (PVOID)Va, NormalPagePriority, &Address), STATUS_CONFLICTING_ADDRESSES);
    assert_int_equal(TryMap(Mdl, (PVOID)(PORT_USER_HIGHEST & ~0xfffull), NormalPagePriority, &Address),
                     STATUS_CONFLICTING_ADDRESSES);
    MmUnmapLockedPages((PVOID)(Va + PAGE_SIZE + 8), Mdl);
    IoFreeMdl(Mdl);
    MiFreePool(Block, MI_TAG_MDL);
}

MDL_TEST(a_mapping_without_write_access_cannot_be_written)
{
    PUCHAR Block = MiAllocatePool(PAGE_SIZE * 2, MI_TAG_MDL);
    PMDL Mdl = NewMdl((ULONG_PTR)Block, PAGE_SIZE);
    PUCHAR Address;

    MmBuildMdlForNonPagedPool(Mdl);
    assert_int_equal(
        TryMap(Mdl, NULL, NormalPagePriority | MdlMappingNoWrite | MdlMappingNoExecute, &Address),
        STATUS_SUCCESS);
    Block[0] = 9;
    assert_int_equal(TestVmGet((ULONG_PTR)Address), 9);
    assert_int_equal(TestVmTryPut((ULONG_PTR)Address, 1), STATUS_ACCESS_VIOLATION);
    assert_int_equal(HostSimExecute((ULONG_PTR)Address, NULL), STATUS_ACCESS_VIOLATION);
    TEST_EXPECT_REGION((ULONG_PTR)Address, PAGE_SIZE, MEM_COMMIT, PAGE_READONLY);
    MmUnmapLockedPages(Address, Mdl);
    IoFreeMdl(Mdl);
    MiFreePool(Block, MI_TAG_MDL);
}

static VOID RaiseForCaching(PVOID Context)
{
    MmMapLockedPagesSpecifyCache(Context, UserMode, MmNonCached, NULL, FALSE, NormalPagePriority);
}

MDL_TEST(services_leave_the_mapping_alone)
{
    PUCHAR Block = MiAllocatePool(PAGE_SIZE * 3, MI_TAG_MDL);
    PMDL Mdl = NewMdl((ULONG_PTR)Block, 2 * PAGE_SIZE);
    SIZE_T Charge = TestVmCharge();
    ULONG_PTR Va;
    PUCHAR Address;
    MEMORY_BASIC_INFORMATION Basic;
    PVOID Base;
    SIZE_T Size;
    UCHAR Byte = 0;
    SIZE_T Copied;

    MmBuildMdlForNonPagedPool(Mdl);
    Address = MapToUser(Mdl);
    Va = (ULONG_PTR)Address;
    TEST_EXPECT_REGION(Va, 2 * PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE);
    Basic = TestVmQuery(Va);
    assert_int_equal(Basic.Type, MEM_MAPPED);
    assert_ptr_equal(Basic.AllocationBase, PAGE_ALIGN(Address));
    assert_int_equal(TestVmTryFree(Va, 0, MEM_RELEASE), STATUS_UNABLE_TO_DELETE_SECTION);
    assert_false(NT_SUCCESS(TestVmTryProtect(Va, PAGE_SIZE, PAGE_READONLY)));
    assert_false(NT_SUCCESS(TestVmTryAllocate(Va, PAGE_SIZE, MEM_COMMIT, PAGE_READWRITE)));
    Base = Address;
    Size = PAGE_SIZE;
    assert_false(NT_SUCCESS(NtLockVirtualMemory(NtCurrentProcess(), &Base, &Size, MAP_PROCESS)));
    /* Trimming and ageing pass it over; it is in no working set and charged to nobody. */
    TestVmTrimAll();
    MiTrimWorkingSet(&TestUserProcess->Space, 100, 0);
    assert_int_equal(TestVmCharge(), Charge);
    MiCheckWorkingSet(&TestUserProcess->Space);
    /* Others read and write it like any memory of the process. */
    Block[3] = 0x44;
    assert_int_equal(MiReadSpace(&TestUserProcess->Space, Va + 3, &Byte, 1, UserMode, &Copied),
                     STATUS_SUCCESS);
    assert_int_equal(Byte, 0x44);
    assert_int_equal(KiGuardedCall(RaiseForCaching, Mdl, NULL), STATUS_INVALID_PAGE_PROTECTION);
    MmUnmapLockedPages(Address, Mdl);
    IoFreeMdl(Mdl);
    MiFreePool(Block, MI_TAG_MDL);
}

MDL_TEST(a_user_mapping_can_be_locked_and_mapped_again)
{
    PUCHAR Block = MiAllocatePool(PAGE_SIZE * 2, MI_TAG_MDL);
    PMDL Mdl = NewMdl((ULONG_PTR)Block, PAGE_SIZE);
    PUCHAR Address;
    PMDL Second;

    MmBuildMdlForNonPagedPool(Mdl);
    Address = MapToUser(Mdl);
    Second = LockedMdl((ULONG_PTR)Address, PAGE_SIZE, IoWriteAccess);
    assert_int_equal(MmGetMdlPfnArray(Second)[0], PortDirectMapFrame(Block));
    Poke(SystemAddress(Second) + 7, 0x71);
    assert_int_equal(Block[7], 0x71);
    UnlockAndFree(Second);
    MmUnmapLockedPages(Address, Mdl);
    IoFreeMdl(Mdl);
    MiFreePool(Block, MI_TAG_MDL);
}

MDL_TEST(a_clone_does_not_inherit_the_mapping)
{
    PEPROCESS Child = TestNewProcess("child");
    PUCHAR Block = MiAllocatePool(PAGE_SIZE * 2, MI_TAG_MDL);
    PMDL Mdl = NewMdl((ULONG_PTR)Block, PAGE_SIZE);
    PUCHAR Address;

    MmBuildMdlForNonPagedPool(Mdl);
    Address = MapToUser(Mdl);
    assert_int_equal(MiCloneAddressSpace(&TestUserProcess->Space, &Child->Space), STATUS_SUCCESS);
    TestRunInProcess(Child);
    assert_int_equal(TestVmTryPut((ULONG_PTR)Address, 1), STATUS_ACCESS_VIOLATION);
    TestRunInProcess(TestUserProcess);
    MiCheckWorkingSet(&Child->Space);
    TestEndProcess(Child);
    MmUnmapLockedPages(Address, Mdl);
    IoFreeMdl(Mdl);
    MiFreePool(Block, MI_TAG_MDL);
}

MDL_TEST(pages_unlocked_too_early_stay_until_the_mapping_goes)
{
    ULONG_PTR Va = TestVmAllocate(0, PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PMDL Mdl = LockedMdl(Va, PAGE_SIZE, IoWriteAccess);
    PFN_NUMBER Frame = MmGetMdlPfnArray(Mdl)[0];
    PUCHAR Address = MapToUser(Mdl);

    TestVmPut((ULONG_PTR)Address, 0x51);
    MmUnlockPages(Mdl);
    TestVmFree(Va, 0, MEM_RELEASE);
    assert_int_equal(References(Frame), 1);
    assert_int_equal(TestVmGet((ULONG_PTR)Address), 0x51);
    MmUnmapLockedPages(Address, Mdl);
    assert_int_equal(References(Frame), 0);
    IoFreeMdl(Mdl);
}

/* ---- Failures and misuse ------------------------------------------------------------------------------------------------ */

MDL_TEST(every_failure_of_a_user_mapping_leaves_nothing)
{
    PUCHAR Block = MiAllocatePool(700 * PAGE_SIZE, MI_TAG_MDL);
    PMDL Mdl = NewMdl((ULONG_PTR)Block, 700 * PAGE_SIZE);
    SIZE_T Tables = TestUserProcess->Space.PageTablePages;

    MmBuildMdlForNonPagedPool(Mdl);
    for (KI_INJECT Kind = KiInjectFrame; Kind <= KiInjectCommit; Kind++)
    {
        for (ULONG64 Nth = 1;; Nth++)
        {
            ULONG64 Failed = 0;
            PUCHAR Address = NULL;
            NTSTATUS Status;

            KiSetInjection(Kind, Nth, FALSE);
            Status = TryMap(Mdl, NULL, NormalPagePriority, &Address);
            KiQueryInjection(Kind, &Failed);
            KiSetInjection(Kind, 0, FALSE);
            if (NT_SUCCESS(Status))
            {
                MmUnmapLockedPages(Address, Mdl);
            }
            assert_int_equal(TestUserProcess->Space.VadCount, 0);
            assert_int_equal(TestUserProcess->Space.PageTablePages, Tables);
            assert_int_equal(References(MmGetMdlPfnArray(Mdl)[699]), 1);
            if (Failed == 0)
            {
                assert_int_equal(Status, STATUS_SUCCESS);
                break;
            }
        }
    }
    IoFreeMdl(Mdl);
    MiFreePool(Block, MI_TAG_MDL);
}

typedef struct _MISUSE
{
    PMDL Mdl;
    PVOID Address;
} MISUSE;

static void UnmapWrongly(void *Context)
{
    MISUSE *Misuse = Context;

    MmUnmapLockedPages(Misuse->Address, Misuse->Mdl);
}

static void FreeMapped(void *Context)
{
    MmFreePagesFromMdl(((MISUSE *)Context)->Mdl);
}

static void MapAtDispatch(void *Context)
{
    KiRaiseIrqlToDispatch();
    MmMapLockedPagesSpecifyCache(((MISUSE *)Context)->Mdl, UserMode, MmCached, NULL, FALSE, 0);
}

static void ExpectBugCheck(ULONG Code, ULONG_PTR Kind, void (*Routine)(void *), void *Context)
{
    TestExpectBugCheck(Code, Routine, Context);
    if (Code != IRQL_NOT_LESS_OR_EQUAL)
    {
        assert_int_equal(TestBugCheckParameters[0], Kind);
    }
    KiResumeAfterBugCheck(KiCurrentThread());
    LeaveKernel();
}

MDL_TEST(misuse_of_user_mappings_is_a_bug_check)
{
    PHYSICAL_ADDRESS Low = { .QuadPart = 0 };
    PHYSICAL_ADDRESS High = { .QuadPart = MAXLONG64 };
    PMDL Mdl = MmAllocatePagesForMdl(Low, High, Low, 2 * PAGE_SIZE);
    MISUSE Misuse = { .Mdl = Mdl };
    PUCHAR Address;

    ExpectBugCheck(IRQL_NOT_LESS_OR_EQUAL, 0, MapAtDispatch, &Misuse);
    Address = MapToUser(Mdl);
    Misuse.Address = Address + PAGE_SIZE;
    ExpectBugCheck(MEMORY_MANAGEMENT, 0x1238, UnmapWrongly, &Misuse);
    ExpectBugCheck(PFN_LIST_CORRUPT, 0x9A, FreeMapped, &Misuse);
    MmUnmapLockedPages(Address, Mdl);
    Misuse.Address = Address;
    ExpectBugCheck(MEMORY_MANAGEMENT, 0x1238, UnmapWrongly, &Misuse);
    MmFreePagesFromMdl(Mdl);
    ExFreePool(Mdl);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_user_mapping_of_a_driver_s_pages_is_the_same_bytes),
        cmocka_unit_test(three_native_pointers_alias_one_page),
        cmocka_unit_test(two_processes_share_pages_through_one_mdl),
        cmocka_unit_test(a_driver_that_attaches_maps_into_the_process_it_is_attached_to),
        cmocka_unit_test(the_address_may_be_asked_for),
        cmocka_unit_test(a_mapping_without_write_access_cannot_be_written),
        cmocka_unit_test(services_leave_the_mapping_alone),
        cmocka_unit_test(a_user_mapping_can_be_locked_and_mapped_again),
        cmocka_unit_test(a_clone_does_not_inherit_the_mapping),
        cmocka_unit_test(pages_unlocked_too_early_stay_until_the_mapping_goes),
        cmocka_unit_test(every_failure_of_a_user_mapping_leaves_nothing),
        cmocka_unit_test(misuse_of_user_mappings_is_a_bug_check),
    };

    return cmocka_run_group_tests_name("mdl.usermap", tests, NULL, NULL);
}
