/* SPDX-License-Identifier: MIT */
/*
 * Lists and counters that several processors change: the ExInterlocked family under the caller's spin lock,
 * and sequenced lists (SLIST). A sequenced list is usually lock-free with a 16-byte compare-exchange; popping
 * then reads the next pointer of an entry that another processor may have popped and freed meanwhile, and the
 * page-fault handler has to know that place. Here one of the header's four reserved bits is a lock, held for
 * three instructions at DISPATCH_LEVEL: no special case in the fault path, nothing that special pool or a
 * sanitizer would report, and no slower while uncontended.
 */
#include "ke/ki.h"

/* ---- Under the caller's lock --------------------------------------------------------------------------- */

PLIST_ENTRY NTAPI ExInterlockedInsertHeadList(PLIST_ENTRY ListHead, PLIST_ENTRY ListEntry, PKSPIN_LOCK Lock)
{
    KIRQL OldIrql = KiAcquireSpinLock(Lock);
    PLIST_ENTRY First = IsListEmpty(ListHead) ? NULL : ListHead->Flink;

    InsertHeadList(ListHead, ListEntry);
    KiReleaseSpinLock(Lock, OldIrql);
    return First;
}

PLIST_ENTRY NTAPI ExInterlockedInsertTailList(PLIST_ENTRY ListHead, PLIST_ENTRY ListEntry, PKSPIN_LOCK Lock)
{
    KIRQL OldIrql = KiAcquireSpinLock(Lock);
    PLIST_ENTRY Last = IsListEmpty(ListHead) ? NULL : ListHead->Blink;

    InsertTailList(ListHead, ListEntry);
    KiReleaseSpinLock(Lock, OldIrql);
    return Last;
}

PLIST_ENTRY NTAPI ExInterlockedRemoveHeadList(PLIST_ENTRY ListHead, PKSPIN_LOCK Lock)
{
    KIRQL OldIrql = KiAcquireSpinLock(Lock);
    PLIST_ENTRY First = IsListEmpty(ListHead) ? NULL : RemoveHeadList(ListHead);

    KiReleaseSpinLock(Lock, OldIrql);
    return First;
}

PSINGLE_LIST_ENTRY NTAPI ExInterlockedPushEntryList(PSINGLE_LIST_ENTRY ListHead, PSINGLE_LIST_ENTRY ListEntry,
                                                    PKSPIN_LOCK Lock)
{
    KIRQL OldIrql = KiAcquireSpinLock(Lock);
    PSINGLE_LIST_ENTRY First = ListHead->Next;

    PushEntryList(ListHead, ListEntry);
    KiReleaseSpinLock(Lock, OldIrql);
    return First;
}

PSINGLE_LIST_ENTRY NTAPI ExInterlockedPopEntryList(PSINGLE_LIST_ENTRY ListHead, PKSPIN_LOCK Lock)
{
    KIRQL OldIrql = KiAcquireSpinLock(Lock);
    PSINGLE_LIST_ENTRY First = PopEntryList(ListHead);

    KiReleaseSpinLock(Lock, OldIrql);
    return First;
}

LARGE_INTEGER NTAPI ExInterlockedAddLargeInteger(PLARGE_INTEGER Addend, LARGE_INTEGER Increment,
                                                 PKSPIN_LOCK Lock)
{
    KIRQL OldIrql = KiAcquireSpinLock(Lock);
    LARGE_INTEGER Initial = *Addend;

    Addend->QuadPart = (LONGLONG)((ULONGLONG)Initial.QuadPart + (ULONGLONG)Increment.QuadPart);
    KiReleaseSpinLock(Lock, OldIrql);
    return Initial;
}

ULONG NTAPI ExInterlockedAddUlong(PULONG Addend, ULONG Increment, PKSPIN_LOCK Lock)
{
    KIRQL OldIrql = KiAcquireSpinLock(Lock);
    ULONG Initial = *Addend;

    *Addend = Initial + Increment;
    KiReleaseSpinLock(Lock, OldIrql);
    return Initial;
}

/* ---- Sequenced lists ----------------------------------------------------------------------------------- */

#define KI_SLIST_ADDRESS  (~15ull)
#define KI_SLIST_DEPTH    0xffffull
#define KI_SLIST_SEQUENCE 0x10000ull

/* Returns Region as it was: the first entry's address. */
static ULONGLONG KiLockSList(PSLIST_HEADER ListHead, PKIRQL OldIrql)
{
    ULONGLONG Region;

    *OldIrql = KiRaiseIrqlToDispatch();
    KiAcquireSpinLockAtDispatch((volatile KSPIN_LOCK *)(PVOID)&ListHead->Region);
    Region = __atomic_load_n(&ListHead->Region, __ATOMIC_RELAXED);
    return Region & KI_SLIST_ADDRESS;
}

static VOID KiUnlockSList(PSLIST_HEADER ListHead, PSLIST_ENTRY First, ULONGLONG Alignment, KIRQL OldIrql)
{
    __atomic_store_n(&ListHead->Alignment, Alignment, __ATOMIC_RELAXED);
    __atomic_store_n(&ListHead->Region, (ULONG_PTR)First, __ATOMIC_RELEASE);
    KiLowerIrqlFromDispatch(OldIrql);
}

VOID NTAPI InitializeSListHead(PSLIST_HEADER SListHead)
{
    SListHead->Alignment = 0;
    SListHead->Region = 0;
}

PSLIST_ENTRY NTAPI InterlockedPushEntrySList(PSLIST_HEADER ListHead, PSLIST_ENTRY ListEntry)
{
    KIRQL OldIrql;
    PSLIST_ENTRY First = (PSLIST_ENTRY)(ULONG_PTR)KiLockSList(ListHead, &OldIrql);
    ULONGLONG Alignment = ListHead->Alignment;

    KiRequire(((ULONG_PTR)ListEntry & ~KI_SLIST_ADDRESS) == 0);
    ListEntry->Next = First;
    Alignment = ((Alignment + KI_SLIST_SEQUENCE) & ~KI_SLIST_DEPTH) | ((Alignment + 1) & KI_SLIST_DEPTH);
    KiUnlockSList(ListHead, ListEntry, Alignment, OldIrql);
    return First;
}

PSLIST_ENTRY NTAPI InterlockedPopEntrySList(PSLIST_HEADER ListHead)
{
    KIRQL OldIrql;
    PSLIST_ENTRY First;
    ULONGLONG Alignment;

    if ((__atomic_load_n(&ListHead->Region, __ATOMIC_RELAXED) & KI_SLIST_ADDRESS) == 0)
    {
        return NULL;
    }
    First = (PSLIST_ENTRY)(ULONG_PTR)KiLockSList(ListHead, &OldIrql);
    Alignment = ListHead->Alignment;
    if (First == NULL)
    {
        KiUnlockSList(ListHead, NULL, Alignment, OldIrql);
        return NULL;
    }
    Alignment = (Alignment & ~KI_SLIST_DEPTH) | ((Alignment - 1) & KI_SLIST_DEPTH);
    KiUnlockSList(ListHead, First->Next, Alignment, OldIrql);
    return First;
}

PSLIST_ENTRY NTAPI InterlockedFlushSList(PSLIST_HEADER ListHead)
{
    KIRQL OldIrql;
    PSLIST_ENTRY First = (PSLIST_ENTRY)(ULONG_PTR)KiLockSList(ListHead, &OldIrql);

    KiUnlockSList(ListHead, NULL, ListHead->Alignment & ~KI_SLIST_DEPTH, OldIrql);
    return First;
}

USHORT NTAPI ExQueryDepthSList(PSLIST_HEADER SListHead)
{
    return (USHORT)(__atomic_load_n(&SListHead->Alignment, __ATOMIC_RELAXED) & KI_SLIST_DEPTH);
}
