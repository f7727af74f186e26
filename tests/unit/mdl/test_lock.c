/* SPDX-License-Identifier: MIT */
/*
 * Locking pages: what it brings in and keeps, what it refuses and undoes, how locks are counted, and what becomes of memory that is freed,
 * trimmed, cloned or left locked.
 */
#include "mdl_test.h"

static ULONG_PTR Buffer(SIZE_T Pages, ULONG Protect)
{
    return TestVmAllocate(0, Pages * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, Protect);
}

static MMPTE PteAt(ULONG_PTR Va)
{
    PMMPTE PointerPte;
    MMPTE Zero = { .Long = 0 };

    return MiWalk(TestUserProcess->Space.TopLevel, Va, &PointerPte) == 0 ? MiReadPte(PointerPte) : Zero;
}

MDL_TEST(locking_brings_pages_in_that_were_never_touched)
{
    ULONG_PTR Va = Buffer(3, PAGE_READWRITE);
    PMDL Mdl = LockedMdl(Va, 3 * PAGE_SIZE, IoReadAccess);

    for (ULONG Page = 0; Page < 3; Page++)
    {
        assert_true(PteAt(Va + Page * PAGE_SIZE).Hard.Valid);
        assert_int_equal(MmGetMdlPfnArray(Mdl)[Page], PteAt(Va + Page * PAGE_SIZE).Hard.PageFrameNumber);
        assert_int_equal(References(MmGetMdlPfnArray(Mdl)[Page]), 2);
    }
    UnlockAndFree(Mdl);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(locking_brings_pages_in_from_the_paging_file)
{
    ULONG_PTR Va = Buffer(4, PAGE_READWRITE);
    PMDL Mdl;
    PUCHAR System;

    for (UCHAR Page = 0; Page < 4; Page++)
    {
        TestVmPut(Va + Page * PAGE_SIZE, 0x40 + Page);
    }
    TestVmPageOut();
    assert_false(PteAt(Va).Hard.Valid);
    Mdl = LockedMdl(Va, 4 * PAGE_SIZE, IoReadAccess);
    System = SystemAddress(Mdl);
    for (UCHAR Page = 0; Page < 4; Page++)
    {
        assert_int_equal(Peek(System + Page * PAGE_SIZE), 0x40 + Page);
    }
    UnlockAndFree(Mdl);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(locked_pages_stay_in_memory_and_in_place)
{
    ULONG_PTR Va = Buffer(4, PAGE_READWRITE);
    PMDL Mdl;
    PUCHAR System;

    TestVmPut(Va, 1);
    Mdl = LockedMdl(Va, 4 * PAGE_SIZE, IoWriteAccess);
    System = SystemAddress(Mdl);
    TestVmPageOut();
    for (ULONG Page = 0; Page < 4; Page++)
    {
        MMPTE Pte = PteAt(Va + Page * PAGE_SIZE);

        assert_true(MiIsTransition(Pte));
        assert_int_equal(Pte.Trans.PageFrameNumber, MmGetMdlPfnArray(Mdl)[Page]);
        assert_int_equal(References(MmGetMdlPfnArray(Mdl)[Page]), 1);
    }
    Poke(System, 2); /* a device writes while the page is in no working set */
    assert_int_equal(TestVmGet(Va), 2);
    assert_int_equal(PteAt(Va).Hard.PageFrameNumber, MmGetMdlPfnArray(Mdl)[0]);
    UnlockAndFree(Mdl);
    TestVmPageOut();
    assert_int_equal(TestVmGet(Va), 2);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(what_a_device_writes_to_a_clean_page_reaches_the_paging_file)
{
    ULONG_PTR Va = Buffer(1, PAGE_READWRITE);
    PMDL Mdl;

    TestVmPut(Va, 1);
    TestVmPageOut();
    assert_int_equal(TestVmGet(Va), 1); /* clean now, with a slot */
    Mdl = LockedMdl(Va, PAGE_SIZE, IoWriteAccess);
    TestVmTrimAll();
    Poke(SystemAddress(Mdl), 99);
    UnlockAndFree(Mdl);
    TestVmPageOut();
    assert_int_equal(TestVmGet(Va), 99);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(locking_for_write_sets_the_dirty_bit_and_for_read_does_not)
{
    ULONG_PTR Va = Buffer(2, PAGE_READWRITE);
    PMDL Read = LockedMdl(Va, PAGE_SIZE, IoReadAccess);
    PMDL Write = LockedMdl(Va + PAGE_SIZE, PAGE_SIZE, IoWriteAccess);

    assert_false(PteAt(Va).Hard.Dirty);
    assert_true(PteAt(Va + PAGE_SIZE).Hard.Dirty);
    UnlockAndFree(Read);
    UnlockAndFree(Write);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(pages_shared_by_clones_are_copied_before_they_are_locked_for_write)
{
    ULONG_PTR Va = Buffer(2, PAGE_READWRITE);
    PEPROCESS Child = TestNewProcess("child");
    PMDL Mdl;

    TestVmPut(Va, 5);
    TestVmPut(Va + PAGE_SIZE, 6);
    assert_int_equal(MiCloneAddressSpace(&TestUserProcess->Space, &Child->Space), STATUS_SUCCESS);
    Mdl = LockedMdl(Va, PAGE_SIZE, IoWriteAccess);
    Poke(SystemAddress(Mdl), 55);
    UnlockAndFree(Mdl);
    Mdl = LockedMdl(Va + PAGE_SIZE, PAGE_SIZE, IoReadAccess); /* a reader may see the shared page */
    assert_int_equal(Peek(SystemAddress(Mdl)), 6);
    TestVmPut(Va + PAGE_SIZE, 66);
    UnlockAndFree(Mdl);
    assert_int_equal(TestVmGet(Va), 55);
    TestRunInProcess(Child);
    assert_int_equal(TestVmGet(Va), 5);
    assert_int_equal(TestVmGet(Va + PAGE_SIZE), 6);
    TestRunInProcess(TestUserProcess);
    TestEndProcess(Child);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(a_buffer_that_cannot_be_accessed_raises_and_nothing_stays_locked)
{
    ULONG_PTR Va = Buffer(4, PAGE_READWRITE);
    PMDL Mdl = NewMdl(Va, 4 * PAGE_SIZE);
    LONG64 Resident;

    TestVmPut(Va, 1);
    Resident = MiState.Physical->ResidentAvailable;
    TestVmProtect(Va + 2 * PAGE_SIZE, PAGE_SIZE, PAGE_READONLY);
    assert_int_equal(TryLock(Mdl, UserMode, IoWriteAccess), STATUS_ACCESS_VIOLATION);
    assert_int_equal(References(PteAt(Va).Hard.PageFrameNumber), 1);
    assert_int_equal(TestUserProcess->NumberOfLockedPages, 0);
    assert_int_equal(MiState.Physical->ResidentAvailable, Resident);
    assert_int_equal(Mdl->MdlFlags, MDL_ALLOCATED_FIXED_SIZE);
    assert_int_equal(TryLock(Mdl, UserMode, IoReadAccess), STATUS_SUCCESS);
    MmUnlockPages(Mdl);
    TestVmProtect(Va + 2 * PAGE_SIZE, PAGE_SIZE, PAGE_NOACCESS);
    assert_int_equal(TryLock(Mdl, UserMode, IoReadAccess), STATUS_ACCESS_VIOLATION);
    TestVmProtect(Va + 2 * PAGE_SIZE, PAGE_SIZE, PAGE_READWRITE | PAGE_GUARD);
    assert_int_equal(TryLock(Mdl, UserMode, IoReadAccess), STATUS_GUARD_PAGE_VIOLATION);
    assert_int_equal(TryLock(Mdl, UserMode, IoReadAccess), STATUS_SUCCESS);
    MmUnlockPages(Mdl);
    TestVmFree(Va + 3 * PAGE_SIZE, PAGE_SIZE, MEM_DECOMMIT);
    assert_int_equal(TryLock(Mdl, UserMode, IoReadAccess), STATUS_ACCESS_VIOLATION);
    assert_int_equal(MiState.Physical->ResidentAvailable, Resident);
    IoFreeMdl(Mdl);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(addresses_that_user_mode_may_not_name_are_violations)
{
    PMDL Mdl = NewMdl(PORT_SYSTEM_START, PAGE_SIZE);

    assert_int_equal(TryLock(Mdl, UserMode, IoReadAccess), STATUS_ACCESS_VIOLATION);
    MmInitializeMdl(Mdl, (PVOID)(ULONG_PTR)(PORT_USER_HIGHEST - PAGE_SIZE + 1), 2 * PAGE_SIZE);
    assert_int_equal(TryLock(Mdl, UserMode, IoReadAccess), STATUS_ACCESS_VIOLATION);
    MmInitializeMdl(Mdl, (PVOID) ~(ULONG_PTR)0, 2);
    assert_int_equal(TryLock(Mdl, KernelMode, IoReadAccess), STATUS_ACCESS_VIOLATION);
    MmInitializeMdl(Mdl, (PVOID)&Mdl, 2); /* the surroundings' memory */
    assert_int_equal(TryLock(Mdl, KernelMode, IoReadAccess), STATUS_ACCESS_VIOLATION);
    IoFreeMdl(Mdl);
}

MDL_TEST(a_page_that_cannot_be_read_raises_an_in_page_error)
{
    ULONG_PTR Va = Buffer(4, PAGE_READWRITE);
    PMDL Mdl = NewMdl(Va, 4 * PAGE_SIZE);

    TestVmFill(Va, 4, 1);
    TestVmPageOut();
    KiSetInjection(KiInjectRead, 1, TRUE);
    assert_int_equal(TryLock(Mdl, UserMode, IoReadAccess), STATUS_IN_PAGE_ERROR);
    KiSetInjection(KiInjectRead, 0, FALSE);
    assert_int_equal(TestUserProcess->NumberOfLockedPages, 0);
    assert_int_equal(TryLock(Mdl, UserMode, IoReadAccess), STATUS_SUCCESS);
    UnlockAndFree(Mdl);
    TestVmCheck(Va, 4, 1);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(more_pages_than_may_become_nonpageable_raise_a_quota_error)
{
    ULONG_PTR Va = Buffer(16, PAGE_READWRITE);
    PMDL Mdl = NewMdl(Va, 16 * PAGE_SIZE);
    SIZE_T Rest = (SIZE_T)MiState.Physical->ResidentAvailable - 15;

    assert_true(MiChargeResidentAvailable(Rest));
    assert_int_equal(TryLock(Mdl, UserMode, IoReadAccess), STATUS_WORKING_SET_QUOTA);
    MiReturnResidentAvailable(Rest);
    assert_int_equal(TryLock(Mdl, UserMode, IoReadAccess), STATUS_SUCCESS);
    UnlockAndFree(Mdl);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(a_page_is_locked_once_for_each_mdl)
{
    ULONG_PTR Va = Buffer(1, PAGE_READWRITE);
    PMDL First = LockedMdl(Va, 16, IoReadAccess);
    PMDL Second = LockedMdl(Va + 64, 16, IoWriteAccess);
    PFN_NUMBER Frame = MmGetMdlPfnArray(First)[0];

    assert_int_equal(MmGetMdlPfnArray(Second)[0], Frame);
    assert_int_equal(References(Frame), 3);
    assert_int_equal(TestUserProcess->NumberOfLockedPages, 2);
    UnlockAndFree(First);
    assert_int_equal(References(Frame), 2);
    UnlockAndFree(Second);
    assert_int_equal(References(Frame), 1);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(two_mappings_of_a_page_are_the_same_bytes)
{
    ULONG_PTR Va = Buffer(2, PAGE_READWRITE);
    PMDL First = LockedMdl(Va, 2 * PAGE_SIZE, IoWriteAccess);
    PMDL Second = LockedMdl(Va + 0x800, PAGE_SIZE, IoWriteAccess);
    PUCHAR One = SystemAddress(First);
    PUCHAR Two = SystemAddress(Second);

    assert_ptr_not_equal(One + 0x800, Two);
    for (ULONG Offset = 0; Offset < PAGE_SIZE; Offset += 128)
    {
        Poke(One + 0x800 + Offset, (UCHAR)Offset);
        assert_int_equal(Peek(Two + Offset), (UCHAR)Offset);
        Poke(Two + Offset, (UCHAR)(Offset + 1));
        assert_int_equal(TestVmGet(Va + 0x800 + Offset), (UCHAR)(Offset + 1));
        TestVmPut(Va + 0x800 + Offset, (UCHAR)(Offset + 2));
        assert_int_equal(Peek(One + 0x800 + Offset), (UCHAR)(Offset + 2));
    }
    UnlockAndFree(Second);
    UnlockAndFree(First);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(memory_that_is_freed_while_it_is_locked_goes_with_the_lock)
{
    ULONG_PTR Va = Buffer(2, PAGE_READWRITE);
    PMDL Mdl = LockedMdl(Va, 2 * PAGE_SIZE, IoWriteAccess);
    PFN_NUMBER Frame = MmGetMdlPfnArray(Mdl)[0];
    PUCHAR System = SystemAddress(Mdl);

    TestVmFree(Va, 0, MEM_RELEASE);
    assert_int_equal(References(Frame), 1);
    assert_true(MiPfn(Frame)->e1.Deleted);
    Poke(System, 7); /* still nobody else's page */
    UnlockAndFree(Mdl);
    assert_int_equal(References(Frame), 0);
}

MDL_TEST(the_pages_of_another_process_are_locked_by_name)
{
    PEPROCESS Other = TestNewProcess("other");
    LOCKING Locking = { NULL, Other, UserMode, IoWriteAccess };
    ULONG_PTR Va;

    TestRunInProcess(Other);
    Va = Buffer(1, PAGE_READWRITE);
    TestVmPut(Va + 3, 1);
    TestRunInProcess(TestUserProcess);
    Locking.Mdl = NewMdl(Va, PAGE_SIZE);
    assert_int_equal(KiGuardedCall(RunLocking, &Locking, NULL), STATUS_SUCCESS);
    assert_ptr_equal(Locking.Mdl->Process, Other);
    Poke(SystemAddress(Locking.Mdl) + 3, 2);
    UnlockAndFree(Locking.Mdl);
    TestRunInProcess(Other);
    assert_int_equal(TestVmGet(Va + 3), 2);
    TestRunInProcess(TestUserProcess);
    TestEndProcess(Other);
}

MDL_TEST(the_system_process_has_no_user_memory_to_lock)
{
    PMDL Mdl = NewMdl(0x100000, PAGE_SIZE);

    TestRunInProcess(NULL);
    assert_int_equal(TryLock(Mdl, KernelMode, IoReadAccess), STATUS_ACCESS_VIOLATION);
    TestRunInProcess(TestUserProcess);
    IoFreeMdl(Mdl);
}

MDL_TEST(every_failure_on_the_way_leaves_nothing_locked)
{
    ULONG_PTR Va = Buffer(40, PAGE_READWRITE);
    LONG64 Resident;
    SIZE_T Committed;

    TestVmPut(Va, 1); /* page tables */
    MiTrimPool();
    Resident = MiState.Physical->ResidentAvailable;
    Committed = MiState.Physical->CommittedPages;
    for (KI_INJECT Kind = KiInjectFrame; Kind <= KiInjectCommit; Kind++)
    {
        for (ULONG64 Nth = 1;; Nth++)
        {
            PMDL Mdl;
            ULONG64 Failed = 0;

            MiTrimSystemPtes();
            KiSetInjection(Kind, Nth, FALSE);
            Mdl = IoAllocateMdl((PVOID)Va, 40 * PAGE_SIZE, FALSE, FALSE, NULL);
            if (Mdl != NULL)
            {
                assert_int_equal(TryLock(Mdl, UserMode, IoReadAccess), STATUS_SUCCESS); /* waits for frames */
                SystemAddress(Mdl);                                                     /* may be NULL */
                MmUnlockPages(Mdl);
                IoFreeMdl(Mdl);
            }
            KiQueryInjection(Kind, &Failed);
            KiSetInjection(Kind, 0, FALSE);
            assert_int_equal(TestUserProcess->NumberOfLockedPages, 0);
            assert_int_equal(MiSystemPtesInUse(), 0);
            if (Failed == 0)
            {
                break;
            }
        }
    }
    MiTrimSystemPtes();
    MiTrimPool();
    assert_int_equal(MiState.Physical->ResidentAvailable, Resident);
    assert_int_equal(MiState.Physical->CommittedPages, Committed);
    TestVmFree(Va, 0, MEM_RELEASE);
}

/* ---- Misuse ---------------------------------------------------------------------------------------------------------- */

static void Unlock(void *Mdl)
{
    MmUnlockPages(Mdl);
}

static void Unmap(void *Mdl)
{
    MmUnmapLockedPages(((PMDL)Mdl)->MappedSystemVa, Mdl);
}

static void MapWithBugCheck(void *Mdl)
{
    MmMapLockedPages(Mdl, KernelMode);
}

static void Lock(void *Mdl)
{
    MmProbeAndLockPages(Mdl, UserMode, IoReadAccess);
}

static void LockAtDispatch(void *Mdl)
{
    KiRaiseIrqlToDispatch();
    MmProbeAndLockPages(Mdl, UserMode, IoReadAccess);
}

static void Terminate(void *Process)
{
    PsTerminateProcessObject(Process, STATUS_SUCCESS);
}

static void PartBehindTheEnd(void *Mdl)
{
    PMDL Source = Mdl;

    IoBuildPartialMdl(Source, Source->Next, (PVOID)(MiMdlVa(Source) + 1), Source->ByteCount);
}

static void PartThatIsTooLarge(void *Mdl)
{
    PMDL Source = Mdl;

    IoBuildPartialMdl(Source, Source->Next, (PVOID)MiMdlVa(Source), Source->ByteCount);
}

static void BuildNonPaged(void *Mdl)
{
    MmBuildMdlForNonPagedPool(Mdl);
}

static void ExpectBugCheck(ULONG Code, ULONG_PTR Kind, void (*Routine)(void *), void *Context)
{
    TestExpectBugCheck(Code, Routine, Context);
    assert_int_equal(TestBugCheckParameters[0], Kind);
    KiResumeAfterBugCheck(KiCurrentThread());
    LeaveKernel();
}

MDL_TEST(misuse_of_mdls_is_a_bug_check)
{
    ULONG_PTR Va = Buffer(40, PAGE_READWRITE);
    PMDL Mdl = NewMdl(Va, 40 * PAGE_SIZE);
    PMDL Small = NewMdl(Va, PAGE_SIZE);

    ExpectBugCheck(MEMORY_MANAGEMENT, 0x1236, Unlock, Mdl);
    ExpectBugCheck(MEMORY_MANAGEMENT, 0x1240, BuildNonPaged, Mdl);
    assert_int_equal(TryLock(Mdl, UserMode, IoReadAccess), STATUS_SUCCESS);
    ExpectBugCheck(DRIVER_VERIFIER_DETECTED_VIOLATION, 0xB0, Lock, Mdl);
    ExpectBugCheck(SYSTEM_PTE_MISUSE, 0x06, Unmap, Mdl);
    assert_non_null(SystemAddress(Mdl));
    ExpectBugCheck(SYSTEM_PTE_MISUSE, 0x07, MapWithBugCheck, Mdl);
    Mdl->Next = Small;
    ExpectBugCheck(INVALID_MDL_RANGE, (ULONG_PTR)Mdl, PartBehindTheEnd, Mdl);
    ExpectBugCheck(TARGET_MDL_TOO_SMALL, (ULONG_PTR)Mdl, PartThatIsTooLarge, Mdl);
    Mdl->MappedSystemVa = (PUCHAR)Mdl->MappedSystemVa + PAGE_SIZE;
    ExpectBugCheck(SYSTEM_PTE_MISUSE, 0x03, Unmap, Mdl);
    Mdl->MappedSystemVa = (PUCHAR)Mdl->MappedSystemVa - PAGE_SIZE;
    MmGetMdlPfnArray(Mdl)[0]++;
    ExpectBugCheck(SYSTEM_PTE_MISUSE, 0x04, Unmap, Mdl);
    MmGetMdlPfnArray(Mdl)[0]--;
    ExpectBugCheck(PROCESS_HAS_LOCKED_PAGES, 0, Terminate, TestUserProcess);
    assert_int_equal(TestBugCheckParameters[1], (ULONG_PTR)TestUserProcess);
    assert_int_equal(TestBugCheckParameters[2], 40);
    TestUserProcess->Terminating = FALSE; /* the machine stopped there: let the test go on */
    TestUserProcess->Space.Deleting = FALSE;
    MmUnlockPages(Mdl);
    ExpectBugCheck(PROCESS_HAS_LOCKED_PAGES, 1, Unlock, Mdl);
    ExpectBugCheck(MEMORY_MANAGEMENT, 0x1233, MapWithBugCheck, Mdl) /* nothing keeps the pages */;
    IoFreeMdl(Small);
    IoFreeMdl(Mdl);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(pageable_pages_cannot_be_locked_at_dispatch_level)
{
    ULONG_PTR Va = Buffer(1, PAGE_READWRITE);
    PMDL Mdl = NewMdl(Va, PAGE_SIZE);

    ExpectBugCheck(IRQL_NOT_LESS_OR_EQUAL, Va, LockAtDispatch, Mdl);
    IoFreeMdl(Mdl);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(locked_pages_are_mapped_and_unlocked_at_dispatch_level)
{
    ULONG_PTR Va = Buffer(2, PAGE_READWRITE);
    PMDL Mdl = LockedMdl(Va, 2 * PAGE_SIZE, IoWriteAccess);
    KIRQL OldIrql;

    EnterKernel();
    OldIrql = KiRaiseIrqlToDispatch();
    *(volatile UCHAR *)SystemAddress(Mdl) = 3;
    MmUnlockPages(Mdl);
    KiLowerIrqlFromDispatch(OldIrql);
    LeaveKernel();
    IoFreeMdl(Mdl);
    assert_int_equal(TestVmGet(Va), 3);
    TestVmFree(Va, 0, MEM_RELEASE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(locking_brings_pages_in_that_were_never_touched),
        cmocka_unit_test(locking_brings_pages_in_from_the_paging_file),
        cmocka_unit_test(locked_pages_stay_in_memory_and_in_place),
        cmocka_unit_test(what_a_device_writes_to_a_clean_page_reaches_the_paging_file),
        cmocka_unit_test(locking_for_write_sets_the_dirty_bit_and_for_read_does_not),
        cmocka_unit_test(pages_shared_by_clones_are_copied_before_they_are_locked_for_write),
        cmocka_unit_test(a_buffer_that_cannot_be_accessed_raises_and_nothing_stays_locked),
        cmocka_unit_test(addresses_that_user_mode_may_not_name_are_violations),
        cmocka_unit_test(a_page_that_cannot_be_read_raises_an_in_page_error),
        cmocka_unit_test(more_pages_than_may_become_nonpageable_raise_a_quota_error),
        cmocka_unit_test(a_page_is_locked_once_for_each_mdl),
        cmocka_unit_test(two_mappings_of_a_page_are_the_same_bytes),
        cmocka_unit_test(memory_that_is_freed_while_it_is_locked_goes_with_the_lock),
        cmocka_unit_test(the_pages_of_another_process_are_locked_by_name),
        cmocka_unit_test(the_system_process_has_no_user_memory_to_lock),
        cmocka_unit_test(every_failure_on_the_way_leaves_nothing_locked),
        cmocka_unit_test(misuse_of_mdls_is_a_bug_check),
        cmocka_unit_test(pageable_pages_cannot_be_locked_at_dispatch_level),
        cmocka_unit_test(locked_pages_are_mapped_and_unlocked_at_dispatch_level),
    };

    return cmocka_run_group_tests_name("mdl.lock", tests, NULL, NULL);
}
