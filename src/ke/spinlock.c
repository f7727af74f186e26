/* SPDX-License-Identifier: MIT */
/*
 * Spin locks: the slow paths of the inlined ones in ke.h and the documented functions. Ordinary locks are bit
 * 0 of a word; in-stack queued locks are a queue of handles (Mellor-Crummey and Scott) whose tail the word
 * holds, so they are fair and each waiter spins on its own cache line; EX_SPIN_LOCK counts readers and lets a
 * waiting writer in first.
 *
 * A waiter spins for a while and then yields, because "processors" of the host are threads that Linux may
 * have put to sleep while they hold the lock. On a machine with one thread a lock that is taken stays taken:
 * that is reported.
 */
#include "ke/ki.h"

#define KI_SPIN_BEFORE_YIELD 256
/* Minutes, even if every round is a pause: whoever needs longer for his next store never does it. */
#define KI_WORD_PATIENCE 0x80000000u

VOID KiSpin(PULONG Count, const volatile void *Lock)
{
    if (KiIsDeterministic())
    {
        KeBugCheckEx(SPIN_LOCK_ALREADY_OWNED, (ULONG_PTR)Lock,
                     __atomic_load_n((const volatile UCHAR *)Lock, __ATOMIC_RELAXED), 0, 0);
    }
    *Count += 1;
    if (*Count % KI_SPIN_BEFORE_YIELD == 0)
    {
        PortYield();
    }
    else
    {
        PortPause();
    }
}

DECLSPEC_NOINLINE VOID KiWaitForSpinLock(volatile KSPIN_LOCK *Lock)
{
    ULONG Count = 0;

    while (!KiTryAcquireSpinLockAtDispatch(Lock))
    {
        KiSpin(&Count, Lock);
    }
}

DECLSPEC_NOINLINE VOID KiWaitForByteLock(volatile UCHAR *Lock)
{
    ULONG Count = 0;

    while (!KiTryAcquireByteLock(Lock))
    {
        KiSpin(&Count, Lock);
    }
}

DECLSPEC_NOINLINE VOID KiWaitForWordSlowly(const volatile ULONG *Word, ULONG Value)
{
    ULONG Count = 0;

    KiRequire(!KiIsDeterministic()); /* there is nobody else who could write it */
    while (__atomic_load_n(Word, __ATOMIC_ACQUIRE) != Value)
    {
        KiRequire(Count < KI_WORD_PATIENCE);
        KiSpin(&Count, Word);
    }
}

/* ---- Ordinary spin locks ------------------------------------------------------------------------------- */

VOID NTAPI KeInitializeSpinLock(PKSPIN_LOCK SpinLock)
{
    __atomic_store_n(SpinLock, 0, __ATOMIC_RELEASE);
}

KIRQL NTAPI KeAcquireSpinLockRaiseToDpc(PKSPIN_LOCK SpinLock)
{
    KiVerify(KiVerifyAcquireSpinLock, SpinLock);
    return KiAcquireSpinLock(SpinLock);
}

VOID NTAPI KeAcquireSpinLock(PKSPIN_LOCK SpinLock, PKIRQL OldIrql)
{
    KiVerify(KiVerifyAcquireSpinLock, SpinLock);
    *OldIrql = KiAcquireSpinLock(SpinLock);
}

static VOID KiReleaseOwnedSpinLock(PKSPIN_LOCK SpinLock)
{
    if ((__atomic_load_n(SpinLock, __ATOMIC_RELAXED) & 1) == 0)
    {
        KeBugCheckEx(SPIN_LOCK_NOT_OWNED, (ULONG_PTR)SpinLock, 0, 0, 0);
    }
    KiReleaseSpinLockFromDispatch(SpinLock);
}

VOID NTAPI KeReleaseSpinLock(PKSPIN_LOCK SpinLock, KIRQL NewIrql)
{
    KiVerify(KiVerifyReleaseSpinLock, SpinLock);
    KiReleaseOwnedSpinLock(SpinLock);
    KiLowerIrqlFromDispatch(NewIrql);
}

VOID NTAPI KeAcquireSpinLockAtDpcLevel(PKSPIN_LOCK SpinLock)
{
    KiVerify(KiVerifyAcquireSpinLockAtDpc, SpinLock);
    ASSERT(KiCurrentThread()->Irql >= DISPATCH_LEVEL);
    KiAcquireSpinLockAtDispatch(SpinLock);
}

VOID NTAPI KeReleaseSpinLockFromDpcLevel(PKSPIN_LOCK SpinLock)
{
    KiVerify(KiVerifyReleaseSpinLockFromDpc, SpinLock);
    KiReleaseOwnedSpinLock(SpinLock);
}

BOOLEAN NTAPI KeTryToAcquireSpinLockAtDpcLevel(PKSPIN_LOCK SpinLock)
{
    ASSERT(KiCurrentThread()->Irql >= DISPATCH_LEVEL);
    return KiTryAcquireSpinLockAtDispatch(SpinLock);
}

/* TRUE: free at this moment. */
BOOLEAN NTAPI KeTestSpinLock(PKSPIN_LOCK SpinLock)
{
    return __atomic_load_n(SpinLock, __ATOMIC_ACQUIRE) == 0;
}

/* ---- In-stack queued spin locks ------------------------------------------------------------------------ */

/* LockQueue.Lock holds the lock's address; bit 0: the handle still waits for its predecessor. */
#define KI_QUEUE_WAITING ((ULONG_PTR)1)

VOID NTAPI KeAcquireInStackQueuedSpinLockAtDpcLevel(PKSPIN_LOCK SpinLock, PKLOCK_QUEUE_HANDLE LockHandle)
{
    PKSPIN_LOCK_QUEUE Self = &LockHandle->LockQueue;
    ULONG_PTR volatile *State = (ULONG_PTR volatile *)&Self->Lock;
    PKSPIN_LOCK_QUEUE Previous;
    ULONG Count = 0;

    Self->Next = NULL;
    __atomic_store_n(State, (ULONG_PTR)SpinLock | KI_QUEUE_WAITING, __ATOMIC_RELAXED);
    Previous = (PKSPIN_LOCK_QUEUE)__atomic_exchange_n(SpinLock, (ULONG_PTR)Self, __ATOMIC_ACQ_REL);
    if (Previous == NULL)
    {
        __atomic_store_n(State, (ULONG_PTR)SpinLock, __ATOMIC_RELAXED);
        return;
    }
    __atomic_store_n(&Previous->Next, Self, __ATOMIC_RELEASE);
    while ((__atomic_load_n(State, __ATOMIC_ACQUIRE) & KI_QUEUE_WAITING) != 0)
    {
        KiSpin(&Count, SpinLock);
    }
}

VOID NTAPI KeReleaseInStackQueuedSpinLockFromDpcLevel(PKLOCK_QUEUE_HANDLE LockHandle)
{
    PKSPIN_LOCK_QUEUE Self = &LockHandle->LockQueue;
    PKSPIN_LOCK SpinLock = Self->Lock;
    PKSPIN_LOCK_QUEUE Next = __atomic_load_n(&Self->Next, __ATOMIC_ACQUIRE);
    ULONG_PTR Expected = (ULONG_PTR)Self;
    ULONG Count = 0;

    if (Next == NULL)
    {
        if (__atomic_compare_exchange_n(SpinLock, &Expected, 0, FALSE, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        {
            return;
        }
        /* A successor has put itself at the tail and is about to link itself to us. */
        while ((Next = __atomic_load_n(&Self->Next, __ATOMIC_ACQUIRE)) == NULL)
        {
            KiSpin(&Count, SpinLock);
        }
    }
    __atomic_store_n((ULONG_PTR volatile *)&Next->Lock, (ULONG_PTR)SpinLock, __ATOMIC_RELEASE);
}

VOID NTAPI KeAcquireInStackQueuedSpinLock(PKSPIN_LOCK SpinLock, PKLOCK_QUEUE_HANDLE LockHandle)
{
    LockHandle->OldIrql = KiRaiseIrqlToDispatch();
    KeAcquireInStackQueuedSpinLockAtDpcLevel(SpinLock, LockHandle);
}

VOID NTAPI KeReleaseInStackQueuedSpinLock(PKLOCK_QUEUE_HANDLE LockHandle)
{
    KIRQL OldIrql = LockHandle->OldIrql;

    KeReleaseInStackQueuedSpinLockFromDpcLevel(LockHandle);
    KiLowerIrqlFromDispatch(OldIrql);
}

/* ---- Reader-writer spin locks -------------------------------------------------------------------------- */

/* Bit 31: a writer owns the lock or waits for the readers, whose number is in the other bits. */
#define KI_SPIN_WRITER ((LONG)MINLONG)

VOID NTAPI ExAcquireSpinLockExclusiveAtDpcLevel(PEX_SPIN_LOCK SpinLock)
{
    ULONG Count = 0;

    while ((__atomic_fetch_or(SpinLock, KI_SPIN_WRITER, __ATOMIC_ACQUIRE) & KI_SPIN_WRITER) != 0)
    {
        do
        {
            KiSpin(&Count, SpinLock);
        } while ((__atomic_load_n(SpinLock, __ATOMIC_RELAXED) & KI_SPIN_WRITER) != 0);
    }
    while (__atomic_load_n(SpinLock, __ATOMIC_ACQUIRE) != KI_SPIN_WRITER)
    {
        KiSpin(&Count, SpinLock);
    }
}

VOID NTAPI ExReleaseSpinLockExclusiveFromDpcLevel(PEX_SPIN_LOCK SpinLock)
{
    ASSERT(__atomic_load_n(SpinLock, __ATOMIC_RELAXED) == KI_SPIN_WRITER);
    __atomic_store_n(SpinLock, 0, __ATOMIC_RELEASE);
}

VOID NTAPI ExAcquireSpinLockSharedAtDpcLevel(PEX_SPIN_LOCK SpinLock)
{
    LONG Value = __atomic_load_n(SpinLock, __ATOMIC_RELAXED);
    ULONG Count = 0;

    for (;;)
    {
        if ((Value & KI_SPIN_WRITER) != 0)
        {
            KiSpin(&Count, SpinLock);
            Value = __atomic_load_n(SpinLock, __ATOMIC_RELAXED);
        }
        else if (__atomic_compare_exchange_n(SpinLock, &Value, Value + 1, FALSE, __ATOMIC_ACQUIRE,
                                             __ATOMIC_RELAXED))
        {
            return;
        }
    }
}

VOID NTAPI ExReleaseSpinLockSharedFromDpcLevel(PEX_SPIN_LOCK SpinLock)
{
    LONG Previous = __atomic_fetch_sub(SpinLock, 1, __ATOMIC_RELEASE);

    ASSERT((Previous & ~KI_SPIN_WRITER) != 0);
    UNREFERENCED_PARAMETER(Previous);
}

/* Succeeds for the only reader, unless a writer waits already; the caller then owns the lock exclusively. */
LOGICAL NTAPI ExTryConvertSharedSpinLockExclusive(PEX_SPIN_LOCK SpinLock)
{
    LONG Expected = 1;

    return __atomic_compare_exchange_n(SpinLock, &Expected, KI_SPIN_WRITER, FALSE, __ATOMIC_ACQUIRE,
                                       __ATOMIC_RELAXED);
}

KIRQL NTAPI ExAcquireSpinLockExclusive(PEX_SPIN_LOCK SpinLock)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();

    ExAcquireSpinLockExclusiveAtDpcLevel(SpinLock);
    return OldIrql;
}

VOID NTAPI ExReleaseSpinLockExclusive(PEX_SPIN_LOCK SpinLock, KIRQL OldIrql)
{
    ExReleaseSpinLockExclusiveFromDpcLevel(SpinLock);
    KiLowerIrqlFromDispatch(OldIrql);
}

KIRQL NTAPI ExAcquireSpinLockShared(PEX_SPIN_LOCK SpinLock)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();

    ExAcquireSpinLockSharedAtDpcLevel(SpinLock);
    return OldIrql;
}

VOID NTAPI ExReleaseSpinLockShared(PEX_SPIN_LOCK SpinLock, KIRQL OldIrql)
{
    ExReleaseSpinLockSharedFromDpcLevel(SpinLock);
    KiLowerIrqlFromDispatch(OldIrql);
}
