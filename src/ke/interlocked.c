/* SPDX-License-Identifier: MIT */
/*
 * Lists and counters that several processors change: the ExInterlocked family under the caller's spin lock,
 * and sequenced lists (slist.h).
 */
#include "ke/ki.h"
#include "ke/slist.h"

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

VOID NTAPI InitializeSListHead(PSLIST_HEADER SListHead)
{
    SListHead->Alignment = 0;
    SListHead->Region = 0;
}

PSLIST_ENTRY NTAPI InterlockedPushEntrySList(PSLIST_HEADER ListHead, PSLIST_ENTRY ListEntry)
{
    return KiPushSList(ListHead, ListEntry);
}

PSLIST_ENTRY NTAPI InterlockedPopEntrySList(PSLIST_HEADER ListHead)
{
    return KiPopSList(ListHead);
}

PSLIST_ENTRY NTAPI InterlockedFlushSList(PSLIST_HEADER ListHead)
{
    KIRQL OldIrql;
    PSLIST_ENTRY First = KiLockSList(ListHead, &OldIrql);

    KiUnlockSList(ListHead, NULL, ListHead->Alignment & ~KI_SLIST_DEPTH, OldIrql);
    return First;
}

USHORT NTAPI ExQueryDepthSList(PSLIST_HEADER SListHead)
{
    return (USHORT)(__atomic_load_n(&SListHead->Alignment, __ATOMIC_RELAXED) & KI_SLIST_DEPTH);
}
