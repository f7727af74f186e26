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

#define NOT_RAM ((PFN_NUMBER)1 << 30)

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

DRIVER_CODE static void DriverLockOfProcess(void *Mdl)
{
    MmProbeAndLockProcessPages(Mdl, PsGetCurrentProcess(), UserMode, IoReadAccess);
    NoTailCall++;
}

DRIVER_CODE static void DriverMapOld(void *Mdl)
{
    MmMapLockedPages(Mdl, KernelMode);
    NoTailCall++;
}

DRIVER_CODE static void DriverBuild(void *Mdl)
{
    MmBuildMdlForNonPagedPool(Mdl);
    NoTailCall++;
}

/* What is wrong with the IRQL alone. */
typedef struct _AT_IRQL
{
    PMDL Mdl;
    KPROCESSOR_MODE Mode;
} AT_IRQL;

DRIVER_CODE static void DriverLockHigh(void *Mdl)
{
    KfRaiseIrql(DISPATCH_LEVEL + 1);
    MmProbeAndLockPages(Mdl, KernelMode, IoReadAccess);
    NoTailCall++;
}

DRIVER_CODE static void DriverLockOfProcessHigh(void *Mdl)
{
    KfRaiseIrql(DISPATCH_LEVEL + 1);
    MmProbeAndLockProcessPages(Mdl, PsGetCurrentProcess(), UserMode, IoReadAccess);
    NoTailCall++;
}

DRIVER_CODE static void DriverLockSelectedHigh(void *Mdl)
{
    KfRaiseIrql(DISPATCH_LEVEL + 1);
    MmProbeAndLockSelectedPages(Mdl, NULL, UserMode, IoReadAccess);
    NoTailCall++;
}

DRIVER_CODE static void DriverMapOldHigh(void *Context)
{
    AT_IRQL *At = Context;

    KfRaiseIrql((KIRQL)(At->Mode == KernelMode ? DISPATCH_LEVEL + 1 : DISPATCH_LEVEL));
    MmMapLockedPages(At->Mdl, At->Mode);
    NoTailCall++;
}

DRIVER_CODE static void DriverMapHigh(void *Context)
{
    AT_IRQL *At = Context;

    KfRaiseIrql((KIRQL)(At->Mode == KernelMode ? DISPATCH_LEVEL + 1 : DISPATCH_LEVEL));
    MmMapLockedPagesSpecifyCache(At->Mdl, At->Mode, MmCached, NULL, FALSE, NormalPagePriority);
    NoTailCall++;
}

DRIVER_CODE static void DriverUnlockHigh(void *Mdl)
{
    KfRaiseIrql(DISPATCH_LEVEL + 1);
    MmUnlockPages(Mdl);
    NoTailCall++;
}

DRIVER_CODE static void DriverUnmapHigh(void *Context)
{
    AT_IRQL *At = Context;

    KfRaiseIrql((KIRQL)(At->Mode == KernelMode ? DISPATCH_LEVEL + 1 : DISPATCH_LEVEL));
    MmUnmapLockedPages(At->Mode == KernelMode ? (PVOID)PORT_SYSTEM_START : (PVOID)PORT_USER_LOWEST, At->Mdl);
    NoTailCall++;
}

DRIVER_CODE static void DriverMapSpaceHigh(void *Context)
{
    PHYSICAL_ADDRESS Physical = { .QuadPart = 0x1000 };

    (void)Context;
    KfRaiseIrql(DISPATCH_LEVEL + 1);
    MmMapIoSpace(Physical, 0x2000, MmNonCached);
    NoTailCall++;
}

DRIVER_CODE static void DriverUnmapSpaceHigh(void *Address)
{
    KfRaiseIrql(DISPATCH_LEVEL);
    MmUnmapIoSpace(Address, 0x2000);
    NoTailCall++;
}

DRIVER_CODE static void DriverPagesHigh(void *Context)
{
    PHYSICAL_ADDRESS Zero = { .QuadPart = 0 };
    PHYSICAL_ADDRESS All = { .QuadPart = -1 };

    (void)Context;
    KfRaiseIrql(DISPATCH_LEVEL + 1);
    MmAllocatePagesForMdlEx(Zero, All, Zero, PAGE_SIZE, MmCached, 0);
    NoTailCall++;
}

static void Expect(ULONG_PTR Kind, void (*Routine)(void *), void *Context)
{
    EnterKernel();
    TestExpectBugCheck(DRIVER_VERIFIER_DETECTED_VIOLATION, Routine, Context);
    assert_int_equal(TestBugCheckParameters[0], Kind);
    KiResumeAfterBugCheck(KiCurrentThread());
    LeaveKernel();
}

/* The same, with the IRQL as second parameter and the MDL as third. */
static void ExpectAtIrql(ULONG_PTR Kind, KIRQL Irql, void (*Routine)(void *), void *Context, PMDL Mdl)
{
    Expect(Kind, Routine, Context);
    assert_int_equal(TestBugCheckParameters[1], Irql);
    assert_int_equal(TestBugCheckParameters[2], Mdl != NULL ? (ULONG_PTR)Mdl : DISPATCH_LEVEL);
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
    PUCHAR PagedBlock;
    PMDL Paged;

    EnterKernel(); /* in user mode nobody touches the system's memory */
    PagedBlock = ExAllocatePool2(POOL_FLAG_PAGED, 100, MI_TAG_MDL);
    LeaveKernel();
    Paged = NewMdl((ULONG_PTR)PagedBlock, 100);
    MmBuildMdlForNonPagedPool(NonPaged);
    assert_int_equal(ExRegisterDriver("mdltest", __start_ntmm_test_driver,
                                      (SIZE_T)(__stop_ntmm_test_driver - __start_ntmm_test_driver), &Driver),
                     STATUS_SUCCESS);
    assert_int_equal(ExSetVerifier(&Settings), STATUS_SUCCESS);
    Expect(0x7C, DriverUnlock, Mdl);
    Expect(0xB3, DriverMap, Mdl);
    Expect(0x7D, DriverUnlock, NonPaged);
    Expect(0xB0, DriverLock, NonPaged);
    Expect(0xB1, DriverLockOfProcess, NonPaged);
    DriverLock(Mdl);
    Expect(0xB0, DriverLock, Mdl);
    Expect(0x81, DriverMapOld, Mdl);
    assert_int_equal(TestBugCheckParameters[1], (ULONG_PTR)Mdl);
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
    ExpectAtIrql(0x70, DISPATCH_LEVEL + 1, DriverLockHigh, Mdl, Mdl);
    ExpectAtIrql(0x71, DISPATCH_LEVEL + 1, DriverLockOfProcessHigh, Mdl, Mdl);
    ExpectAtIrql(0x72, DISPATCH_LEVEL + 1, DriverLockSelectedHigh, Mdl, Mdl);
    ExpectAtIrql(0x74, DISPATCH_LEVEL + 1, DriverMapOldHigh, &(AT_IRQL){ Mdl, KernelMode }, Mdl);
    ExpectAtIrql(0x75, DISPATCH_LEVEL, DriverMapOldHigh, &(AT_IRQL){ Mdl, UserMode }, Mdl);
    ExpectAtIrql(0x76, DISPATCH_LEVEL + 1, DriverMapHigh, &(AT_IRQL){ Mdl, KernelMode }, Mdl);
    ExpectAtIrql(0x77, DISPATCH_LEVEL, DriverMapHigh, &(AT_IRQL){ Mdl, UserMode }, Mdl);
    ExpectAtIrql(0x78, DISPATCH_LEVEL + 1, DriverUnlockHigh, Mdl, Mdl);
    Expect(0x79, DriverUnmapHigh, &(AT_IRQL){ Mdl, KernelMode });
    assert_int_equal(TestBugCheckParameters[3], (ULONG_PTR)Mdl);
    Expect(0x7A, DriverUnmapHigh, &(AT_IRQL){ Mdl, UserMode });
    assert_int_equal(TestBugCheckParameters[2], PORT_USER_LOWEST);
    Expect(0x73, DriverMapSpaceHigh, NULL);
    assert_int_equal(TestBugCheckParameters[2], 0x1000);
    assert_int_equal(TestBugCheckParameters[3], 0x2000);
    Expect(0x7B, DriverUnmapSpaceHigh, (void *)PORT_SYSTEM_START);
    assert_int_equal(TestBugCheckParameters[1], DISPATCH_LEVEL);
    assert_int_equal(TestBugCheckParameters[3], 0x2000);
    ExpectAtIrql(0x7E, DISPATCH_LEVEL + 1, DriverPagesHigh, NULL, NULL);
    ExpectAtIrql(0x7F, PASSIVE_LEVEL, DriverBuild, Paged, Paged);
    DriverLock(Mdl);
    *MmGetMdlPfnArray(Mdl) += NOT_RAM; /* as a driver does that fills in the array itself */
    Expect(0x89, DriverMap, Mdl);
    assert_int_equal(TestBugCheckParameters[2], (ULONG_PTR)MmGetMdlPfnArray(Mdl));
    assert_int_equal(TestBugCheckParameters[3], *MmGetMdlPfnArray(Mdl));
    *MmGetMdlPfnArray(Mdl) -= NOT_RAM;
    DriverUnlock(Mdl);
    DriverFree(Paged);
    EnterKernel();
    ExFreePool(PagedBlock);
    MiTrimPool();
    LeaveKernel();
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
