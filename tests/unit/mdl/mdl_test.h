/* SPDX-License-Identifier: MIT */
/*
 * What the tests of MDLs share: buffers of the current process, guarded calls, kernel mode for a while. The thread is a user-mode
 * thread of TestUserProcess on a simulated processor; system addresses are real pointers all the same.
 */
#ifndef NTMM_TESTS_MDL_TEST_H
#define NTMM_TESTS_MDL_TEST_H

#include "process.h"

#include "mdl/mdl.h"
#include "nt/ex.h"

/* One locking, as a routine for KiGuardedCall. */
typedef struct _LOCKING
{
    PMDL Mdl;
    PEPROCESS Process; /* NULL: the current one */
    KPROCESSOR_MODE Mode;
    LOCK_OPERATION Operation;
} LOCKING;

static inline VOID RunLocking(PVOID Context)
{
    LOCKING *Locking = Context;

    if (Locking->Process != NULL)
    {
        MmProbeAndLockProcessPages(Locking->Mdl, Locking->Process, Locking->Mode, Locking->Operation);
    }
    else
    {
        MmProbeAndLockPages(Locking->Mdl, Locking->Mode, Locking->Operation);
    }
}

/* The exception that locking raises, STATUS_SUCCESS if none. */
static inline NTSTATUS TryLock(PMDL Mdl, KPROCESSOR_MODE Mode, LOCK_OPERATION Operation)
{
    LOCKING Locking = { Mdl, NULL, Mode, Operation };

    return KiGuardedCall(RunLocking, &Locking, NULL);
}

static inline PMDL NewMdl(ULONG_PTR Va, ULONG Length)
{
    PMDL Mdl = IoAllocateMdl((PVOID)Va, Length, FALSE, FALSE, NULL);

    assert_non_null(Mdl);
    return Mdl;
}

static inline PMDL LockedMdl(ULONG_PTR Va, ULONG Length, LOCK_OPERATION Operation)
{
    PMDL Mdl = NewMdl(Va, Length);

    assert_int_equal(TryLock(Mdl, UserMode, Operation), STATUS_SUCCESS);
    return Mdl;
}

static inline void UnlockAndFree(PMDL Mdl)
{
    MmUnlockPages(Mdl);
    IoFreeMdl(Mdl);
}

/* Kernel code runs: its accesses to system addresses are the kernel's. */
static inline void EnterKernel(void)
{
    KiCurrentThread()->CurrentMode = KernelMode;
}

static inline void LeaveKernel(void)
{
    KiCurrentThread()->CurrentMode = UserMode;
}

static inline UCHAR Peek(const volatile void *Address)
{
    UCHAR Value;

    EnterKernel();
    Value = *(const volatile UCHAR *)Address;
    LeaveKernel();
    return Value;
}

static inline void Poke(volatile void *Address, UCHAR Value)
{
    EnterKernel();
    *(volatile UCHAR *)Address = Value;
    LeaveKernel();
}

static inline PUCHAR SystemAddress(PMDL Mdl)
{
    return MmGetSystemAddressForMdlSafe(Mdl, NormalPagePriority | MdlMappingNoExecute);
}

static inline USHORT References(PFN_NUMBER Frame)
{
    return MiPfn(Frame)->ReferenceCount;
}

/*
 * A test with the machine booted inside: cmocka puts a SIGSEGV handler of its own before each test, and native accesses of these tests
 * fault like any others.
 */
#define MDL_TEST(Name)                                                                                       \
    static void Name##_body(void);                                                                           \
    static void Name(void **state)                                                                           \
    {                                                                                                        \
        TestEnterFixture(state);                                                                             \
        Name##_body();                                                                                       \
        TestLeaveProcess();                                                                                  \
    }                                                                                                        \
    static void Name##_body(void)

#endif
