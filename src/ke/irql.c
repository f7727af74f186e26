/* SPDX-License-Identifier: MIT */
/*
 * IRQL. It is a property of the thread (nothing interrupts a thread of ours), but from DISPATCH_LEVEL on the
 * thread also owns its processor number (PortEnterDispatch), which is what makes per-processor data safe.
 * Raising downwards or lowering upwards is a bug in the caller and a bug check, in every build: it is one
 * comparison.
 */
#include "ke/ki.h"

KIRQL NTAPI KeGetCurrentIrql(void)
{
    return KiCurrentThread()->Irql;
}

static KIRQL KiRaiseIrql(KIRQL NewIrql)
{
    PKTHREAD Thread = KiCurrentThread();
    KIRQL OldIrql = Thread->Irql;

    if (NewIrql < OldIrql)
    {
        KeBugCheckEx(IRQL_NOT_GREATER_OR_EQUAL, OldIrql, NewIrql, 0, 0);
    }
    if (NewIrql >= DISPATCH_LEVEL && OldIrql < DISPATCH_LEVEL)
    {
        PortEnterDispatch(Thread->Processor);
    }
    Thread->Irql = NewIrql;
    return OldIrql;
}

VOID NTAPI KeRaiseIrql(KIRQL NewIrql, PKIRQL OldIrql)
{
    KiVerify(KiVerifyRaiseIrql, NewIrql);
    *OldIrql = KiRaiseIrql(NewIrql);
}

KIRQL NTAPI KfRaiseIrql(KIRQL NewIrql)
{
    KiVerify(KiVerifyRaiseIrql, NewIrql);
    return KiRaiseIrql(NewIrql);
}

KIRQL NTAPI KeRaiseIrqlToDpcLevel(void)
{
    KiVerify(KiVerifyRaiseIrql, DISPATCH_LEVEL);
    return KiRaiseIrql(DISPATCH_LEVEL);
}

VOID NTAPI KeLowerIrql(KIRQL NewIrql)
{
    PKTHREAD Thread = KiCurrentThread();
    KIRQL OldIrql = Thread->Irql;

    KiVerify(KiVerifyLowerIrql, NewIrql);
    if (NewIrql > OldIrql)
    {
        KeBugCheckEx(IRQL_NOT_LESS_OR_EQUAL, NewIrql, OldIrql, 0, (ULONG_PTR)__builtin_return_address(0));
    }
    Thread->Irql = NewIrql;
    if (NewIrql < DISPATCH_LEVEL && OldIrql >= DISPATCH_LEVEL)
    {
        PortLeaveDispatch(Thread->Processor);
    }
}
