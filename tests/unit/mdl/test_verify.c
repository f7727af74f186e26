/* SPDX-License-Identifier: MIT */
/*
 * Driver Verifier and MDLs: what a verified driver does wrong with MDLs and device memory is bug check 0xC4 with the documented code; the same
 * calls of code that is not verified meet the checks that are always on.
 */
#include "mdl_test.h"

#include "pool/verifier.h"

/* The "driver": functions in a section of their own. */
#define DRIVER_CODE __attribute__((noinline, section("ntmm_test_driver")))
extern char __start_ntmm_test_driver[], __stop_ntmm_test_driver[];

static volatile int NoTailCall;

DRIVER_CODE static void DriverLock(void *Mdl)
{
    MmProbeAndLockPages(Mdl, UserMode, IoReadAccess);
    NoTailCall++;
}

DRIVER_CODE static void DriverUnlock(void *Mdl)
{
    MmUnlockPages(Mdl);
    NoTailCall++;
}

DRIVER_CODE static void DriverMap(void *Mdl)
{
    MmMapLockedPagesSpecifyCache(Mdl, KernelMode, MmCached, NULL, FALSE, NormalPagePriority);
    NoTailCall++;
}

DRIVER_CODE static void DriverMapOrStop(void *Mdl)
{
    MmMapLockedPagesSpecifyCache(Mdl, KernelMode, MmCached, NULL, TRUE, NormalPagePriority);
    NoTailCall++;
}

DRIVER_CODE static void DriverFree(void *Mdl)
{
    IoFreeMdl(Mdl);
    NoTailCall++;
}

DRIVER_CODE static void DriverMapRam(void *Frame)
{
    PHYSICAL_ADDRESS Physical = { .QuadPart = (LONG64)((ULONG64)(ULONG_PTR)Frame << PAGE_SHIFT) };

    MmMapIoSpace(Physical, PAGE_SIZE, MmCached);
    NoTailCall++;
}

static void Expect(ULONG_PTR Kind, void (*Routine)(void *), void *Context)
{
    TestExpectBugCheck(DRIVER_VERIFIER_DETECTED_VIOLATION, Routine, Context);
    assert_int_equal(TestBugCheckParameters[0], Kind);
    KiResumeAfterBugCheck(KiCurrentThread());
    LeaveKernel();
}

MDL_TEST(mistakes_of_a_verified_driver_are_told_apart)
{
    ULONG_PTR Va = TestVmAllocate(0, 2 * PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    EX_VERIFIER_SETTINGS Settings = { .AllDrivers = TRUE };
    PMDL Mdl = NewMdl(Va, 2 * PAGE_SIZE);
    PMDL Part = NewMdl(Va, PAGE_SIZE);
    PUCHAR Block = ExAllocatePool2(POOL_FLAG_NON_PAGED, PAGE_SIZE, MI_TAG_MDL);
    PMDL NonPaged = NewMdl((ULONG_PTR)Block, PAGE_SIZE);
    EX_DRIVER *Driver;

    MmBuildMdlForNonPagedPool(NonPaged);
    assert_int_equal(ExRegisterDriver("mdltest", __start_ntmm_test_driver,
                                      (SIZE_T)(__stop_ntmm_test_driver - __start_ntmm_test_driver), &Driver),
                     STATUS_SUCCESS);
    assert_int_equal(ExSetVerifier(&Settings), STATUS_SUCCESS);
    Expect(0x7C, DriverUnlock, Mdl);
    Expect(0xB3, DriverMap, Mdl);
    Expect(0x7D, DriverUnlock, NonPaged);
    Expect(0xB0, DriverLock, NonPaged);
    DriverLock(Mdl);
    Expect(0xB0, DriverLock, Mdl);
    Expect(0xB8, DriverFree, Mdl);
    Expect(0x82, DriverMapOrStop, Mdl);
    IoBuildPartialMdl(Mdl, Part, (PVOID)Va, PAGE_SIZE);
    Expect(0xB4, DriverUnlock, Part);
    DriverMap(Mdl);
    Expect(0xB2, DriverMap, Mdl);
    Expect(0xB8, DriverFree, Mdl);
    Expect(0x83, DriverMapRam, (PVOID)(ULONG_PTR)MiState.Physical->HighestPage);
    DriverUnlock(Mdl);
    DriverFree(Part);
    DriverFree(NonPaged);
    DriverFree(Mdl);
    assert_int_equal(ExSetVerifier(NULL), STATUS_SUCCESS);
    ExUnregisterDriver(Driver);
    ExFreePool(Block);
    TestVmFree(Va, 0, MEM_RELEASE);
}

MDL_TEST(code_that_is_not_verified_is_left_alone)
{
    ULONG_PTR Va = TestVmAllocate(0, PAGE_SIZE, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    PMDL Mdl = LockedMdl(Va, PAGE_SIZE, IoReadAccess);

    DriverMapOrStop(Mdl); /* nobody registered it, and the verifier is off */
    DriverUnlock(Mdl);
    DriverFree(Mdl);
    TestVmFree(Va, 0, MEM_RELEASE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mistakes_of_a_verified_driver_are_told_apart),
        cmocka_unit_test(code_that_is_not_verified_is_left_alone),
    };

    return cmocka_run_group_tests_name("mdl.verify", tests, NULL, NULL);
}
