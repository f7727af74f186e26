/* SPDX-License-Identifier: MIT */
/*
 * Sequenced lists (SLIST), inlined for the rooms whose short ways they are. Usually they are lock-free with a 16-byte
 * compare-exchange; popping then reads the next pointer of an entry that another processor may have popped and freed
 * meanwhile, and the page-fault handler has to know that place. Here one of the header's four reserved bits is a lock, held for
 * three instructions at DISPATCH_LEVEL: no special case in the fault path, nothing that special pool or a
 * sanitizer would report, and no slower while uncontended.
 */
#ifndef NTMM_KE_SLIST_H
#define NTMM_KE_SLIST_H

#include "ke/ke.h"
#include "nt/ex.h"

#define KI_SLIST_ADDRESS  (~15ull)
#define KI_SLIST_DEPTH    0xffffull
#define KI_SLIST_SEQUENCE 0x10000ull

/* Returns the first entry. */
static FORCEINLINE PSLIST_ENTRY KiLockSList(PSLIST_HEADER ListHead, PKIRQL OldIrql)
{
    *OldIrql = KiRaiseIrqlToDispatch();
    KiAcquireSpinLockAtDispatch((volatile KSPIN_LOCK *)(PVOID)&ListHead->Region);
    return (PSLIST_ENTRY)(ULONG_PTR)(__atomic_load_n(&ListHead->Region, __ATOMIC_RELAXED) & KI_SLIST_ADDRESS);
}

static FORCEINLINE VOID KiUnlockSList(PSLIST_HEADER ListHead, PSLIST_ENTRY First, ULONGLONG Alignment,
                                      KIRQL OldIrql)
{
    __atomic_store_n(&ListHead->Alignment, Alignment, __ATOMIC_RELAXED);
    __atomic_store_n(&ListHead->Region, (ULONG_PTR)First, __ATOMIC_RELEASE);
    KiLowerIrqlFromDispatch(OldIrql);
}

/*
 * The same without a call, and with few registers: FALSE where the lock is not to be had at once (Region: as it is now), or the processor (KiTryEnterProcessor). Entries may
 * be anywhere, so the IRQL is what it is for a fault.
 */
static FORCEINLINE BOOLEAN KiTryLockSList(PSLIST_HEADER ListHead, ULONGLONG Region, PKTHREAD Thread,
                                          KIRQL OldIrql)
{
    Region &= KI_SLIST_ADDRESS;
    if (__builtin_expect(OldIrql < DISPATCH_LEVEL, 1))
    {
        if (__builtin_expect(!PortTryEnterDispatch(Thread->Processor), 0))
        {
            return FALSE;
        }
        Thread->Irql = DISPATCH_LEVEL;
    }
    if (__builtin_expect(__atomic_compare_exchange_n(&ListHead->Region, &Region, Region | 1, FALSE,
                                                     __ATOMIC_ACQUIRE, __ATOMIC_RELAXED),
                         1))
    {
        return TRUE;
    }
    if (OldIrql < DISPATCH_LEVEL)
    {
        Thread->Irql = OldIrql;
        PortLeaveTriedDispatch();
    }
    return FALSE;
}

static FORCEINLINE VOID KiUnlockTriedSList(PSLIST_HEADER ListHead, PSLIST_ENTRY First, ULONGLONG Alignment,
                                           PKTHREAD Thread, KIRQL OldIrql)
{
    __atomic_store_n(&ListHead->Alignment, Alignment, __ATOMIC_RELAXED);
    __atomic_store_n(&ListHead->Region, (ULONG_PTR)First, __ATOMIC_RELEASE);
    if (__builtin_expect(OldIrql < DISPATCH_LEVEL, 1))
    {
        Thread->Irql = OldIrql;
        PortLeaveTriedDispatch();
    }
}

/* One entry more, sequence and depth together. */
static FORCEINLINE ULONGLONG KiNextAlignment(ULONGLONG Alignment)
{
    return ((Alignment + KI_SLIST_SEQUENCE) & ~KI_SLIST_DEPTH) | ((Alignment + 1) & KI_SLIST_DEPTH);
}

/* Returns the entry that was the first. */
static FORCEINLINE PSLIST_ENTRY KiPushSList(PSLIST_HEADER ListHead, PSLIST_ENTRY ListEntry)
{
    KIRQL OldIrql;
    PSLIST_ENTRY First;

    KiRequire(((ULONG_PTR)ListEntry & ~KI_SLIST_ADDRESS) == 0);
    First = KiLockSList(ListHead, &OldIrql);
    ListEntry->Next = First;
    KiUnlockSList(ListHead, ListEntry, KiNextAlignment(ListHead->Alignment), OldIrql);
    return First;
}

/* FALSE: not done; the long way. */
static FORCEINLINE BOOLEAN KiTryPushSList(PSLIST_HEADER ListHead, PSLIST_ENTRY ListEntry)
{
    PKTHREAD Thread = PortGetCurrentThread();
    KIRQL OldIrql = Thread->Irql;
    ULONGLONG Region = __atomic_load_n(&ListHead->Region, __ATOMIC_RELAXED);

    if (__builtin_expect(((ULONG_PTR)ListEntry & ~KI_SLIST_ADDRESS) != 0, 0) ||
        !KiTryLockSList(ListHead, Region, Thread, OldIrql))
    {
        return FALSE;
    }
    ListEntry->Next = (PSLIST_ENTRY)(ULONG_PTR)(Region & KI_SLIST_ADDRESS);
    KiUnlockTriedSList(ListHead, ListEntry, KiNextAlignment(ListHead->Alignment), Thread, OldIrql);
    return TRUE;
}

/* NULL: the list is empty. */
static FORCEINLINE PSLIST_ENTRY KiPopSList(PSLIST_HEADER ListHead)
{
    KIRQL OldIrql;
    PSLIST_ENTRY First;
    ULONGLONG Alignment;

    if ((__atomic_load_n(&ListHead->Region, __ATOMIC_RELAXED) & KI_SLIST_ADDRESS) == 0)
    {
        return NULL;
    }
    First = KiLockSList(ListHead, &OldIrql);
    Alignment = ListHead->Alignment;
    if (__builtin_expect(First == NULL, 0))
    {
        KiUnlockSList(ListHead, NULL, Alignment, OldIrql);
        return NULL;
    }
    /* The depth is not 0: nothing is borrowed from the sequence. */
    KiUnlockSList(ListHead, First->Next, Alignment - 1, OldIrql);
    return First;
}

/* NULL: the list is empty, or the long way. */
static FORCEINLINE PSLIST_ENTRY KiTryPopSList(PSLIST_HEADER ListHead)
{
    PKTHREAD Thread = PortGetCurrentThread();
    KIRQL OldIrql = Thread->Irql;
    ULONGLONG Region = __atomic_load_n(&ListHead->Region, __ATOMIC_RELAXED);
    PSLIST_ENTRY First = (PSLIST_ENTRY)(ULONG_PTR)(Region & KI_SLIST_ADDRESS);

    if (First == NULL || !KiTryLockSList(ListHead, Region, Thread, OldIrql))
    {
        return NULL;
    }
    KiUnlockTriedSList(ListHead, First->Next, ListHead->Alignment - 1, Thread, OldIrql);
    return First;
}

#endif
