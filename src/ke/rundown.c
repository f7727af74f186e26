/* SPDX-License-Identifier: MIT */
/*
 * Rundown protection: a reference count that can be closed. Word: the count in bits 1.., and bit 0 when
 * rundown began; then the other bits are the address of the waiter's block, which holds the references that
 * are still out. The last one wakes it.
 */
#include "ke/ki.h"

#define KI_RUNDOWN_ACTIVE ((ULONG_PTR)1)
#define KI_RUNDOWN_ONE    ((ULONG_PTR)2)

typedef struct _KI_RUNDOWN_BLOCK
{
    ULONG_PTR Count;
    PKTHREAD Thread;
    volatile ULONG Done;
} KI_RUNDOWN_BLOCK;

VOID NTAPI ExInitializeRundownProtection(PEX_RUNDOWN_REF RunRef)
{
    __atomic_store_n(&RunRef->Count, 0, __ATOMIC_RELEASE);
}

VOID NTAPI ExReInitializeRundownProtection(PEX_RUNDOWN_REF RunRef)
{
    KiRequire(__atomic_load_n(&RunRef->Count, __ATOMIC_ACQUIRE) == KI_RUNDOWN_ACTIVE);
    __atomic_store_n(&RunRef->Count, 0, __ATOMIC_RELEASE);
}

VOID NTAPI ExRundownCompleted(PEX_RUNDOWN_REF RunRef)
{
    __atomic_store_n(&RunRef->Count, KI_RUNDOWN_ACTIVE, __ATOMIC_RELEASE);
}

BOOLEAN NTAPI ExAcquireRundownProtectionEx(PEX_RUNDOWN_REF RunRef, ULONG Count)
{
    ULONG_PTR Value = __atomic_load_n(&RunRef->Count, __ATOMIC_RELAXED);

    while ((Value & KI_RUNDOWN_ACTIVE) == 0)
    {
        if (__atomic_compare_exchange_n(&RunRef->Count, &Value, Value + Count * KI_RUNDOWN_ONE, FALSE,
                                        __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        {
            return TRUE;
        }
    }
    return FALSE;
}

BOOLEAN NTAPI ExAcquireRundownProtection(PEX_RUNDOWN_REF RunRef)
{
    return ExAcquireRundownProtectionEx(RunRef, 1);
}

VOID NTAPI ExReleaseRundownProtectionEx(PEX_RUNDOWN_REF RunRef, ULONG Count)
{
    ULONG_PTR Value = __atomic_load_n(&RunRef->Count, __ATOMIC_ACQUIRE);
    KI_RUNDOWN_BLOCK *Block;

    while ((Value & KI_RUNDOWN_ACTIVE) == 0)
    {
        KiRequire(Value >= Count * KI_RUNDOWN_ONE);
        if (__atomic_compare_exchange_n(&RunRef->Count, &Value, Value - Count * KI_RUNDOWN_ONE, FALSE,
                                        __ATOMIC_RELEASE, __ATOMIC_ACQUIRE))
        {
            return;
        }
    }
    Block = (KI_RUNDOWN_BLOCK *)(Value & ~KI_RUNDOWN_ACTIVE);
    KiRequire(Block != NULL);
    if (__atomic_sub_fetch(&Block->Count, Count, __ATOMIC_ACQ_REL) == 0)
    {
        KiWakeThread(Block->Thread, &Block->Done);
    }
}

VOID NTAPI ExReleaseRundownProtection(PEX_RUNDOWN_REF RunRef)
{
    ExReleaseRundownProtectionEx(RunRef, 1);
}

VOID NTAPI ExWaitForRundownProtectionRelease(PEX_RUNDOWN_REF RunRef)
{
    KI_RUNDOWN_BLOCK Block = { .Thread = KiCurrentThread() };
    ULONG_PTR Value = __atomic_load_n(&RunRef->Count, __ATOMIC_RELAXED);
    ULONG_PTR Wanted;

    do
    {
        if ((Value & KI_RUNDOWN_ACTIVE) != 0)
        {
            KiRequire(Value == KI_RUNDOWN_ACTIVE); /* one waiter at a time */
            return;
        }
        Block.Count = Value / KI_RUNDOWN_ONE;
        Wanted = (Block.Count != 0 ? (ULONG_PTR)&Block : 0) | KI_RUNDOWN_ACTIVE;
    } while (!__atomic_compare_exchange_n(&RunRef->Count, &Value, Wanted, FALSE, __ATOMIC_ACQ_REL,
                                          __ATOMIC_RELAXED));
    if (Wanted != KI_RUNDOWN_ACTIVE)
    {
        KiSleepUntil(&Block.Done, ~0ull);
        ExRundownCompleted(RunRef);
    }
}
