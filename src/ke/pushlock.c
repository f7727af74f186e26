/* SPDX-License-Identifier: MIT */
/*
 * Push locks: shared/exclusive locks in one pointer-sized word, for short and long holds at IRQL <=
 * APC_LEVEL.
 *
 * Word: bit 0 exclusive, bit 1 somebody sleeps, bits 4.. number of shared owners. Uncontended acquisition and
 * release are one compare-exchange. Sleepers stand in first-in-first-out order in a hashed bucket, and while
 * bit 1 is set nobody may take the lock past them: the last owner hands it over, to the first sleeper if that
 * is a writer, else to all readers up to the next writer. So neither side starves. Bit 1 is set and cleared
 * only under the bucket's spin lock, and only while the lock is owned; whoever finds it set at release has to
 * go through the bucket, so no wakeup is lost.
 *
 * A short spin before sleeping keeps the convoys short that handing over would otherwise build.
 */
#include "ke/ki.h"
#include "ke/pushlock.h"

#define KI_PUSH_EXCLUSIVE ((ULONG_PTR)1)
#define KI_PUSH_WAITERS   ((ULONG_PTR)2)
#define KI_PUSH_SHARED    ((ULONG_PTR)16)
#define KI_PUSH_SPIN      64

typedef struct _KI_PUSH_WAITER
{
    LIST_ENTRY Link; /* bucket lock; later the list of those who got the lock */
    volatile EX_PUSH_LOCK *Lock;
    PKTHREAD Thread;
    BOOLEAN Exclusive;
    volatile ULONG Granted;
} KI_PUSH_WAITER;

static volatile ULONG_PTR *KiPushWord(volatile EX_PUSH_LOCK *Lock)
{
    return (volatile ULONG_PTR *)Lock;
}

static KI_PUSH_LOCK_BUCKET *KiPushBucket(volatile EX_PUSH_LOCK *Lock)
{
    ULONG64 Hash = ((ULONG_PTR)Lock >> 3) * 0x9e3779b97f4a7c15ull;

    return &MiState.Ke->PushLockBuckets->Buckets[Hash >> (64 - KI_PUSH_LOCK_BUCKET_SHIFT)];
}

VOID KiInitializePushLockBuckets(struct _KI_PUSH_LOCK_BUCKETS *Buckets)
{
    ULONG Index;

    for (Index = 0; Index < RTL_NUMBER_OF(Buckets->Buckets); Index += 1)
    {
        Buckets->Buckets[Index].Lock = 0;
        InitializeListHead(&Buckets->Buckets[Index].Waiters);
    }
}

/* ---- Taking it ----------------------------------------------------------------------------------------- */

/* One attempt, past nobody: TRUE when the lock is ours. */
static inline BOOLEAN KiTryPushLock(volatile EX_PUSH_LOCK *Lock, BOOLEAN Exclusive)
{
    ULONG_PTR Value = __atomic_load_n(KiPushWord(Lock), __ATOMIC_RELAXED);
    ULONG_PTR Blocking = Exclusive ? ~(ULONG_PTR)0 : (KI_PUSH_EXCLUSIVE | KI_PUSH_WAITERS);

    while ((Value & Blocking) == 0)
    {
        ULONG_PTR Wanted = Exclusive ? KI_PUSH_EXCLUSIVE : Value + KI_PUSH_SHARED;

        if (__atomic_compare_exchange_n(KiPushWord(Lock), &Value, Wanted, FALSE, __ATOMIC_ACQUIRE,
                                        __ATOMIC_RELAXED))
        {
            return TRUE;
        }
    }
    return FALSE;
}

/* Under the bucket lock: either takes the lock (TRUE) or marks the word so that its owner must look here. */
static BOOLEAN KiTakeOrMark(volatile EX_PUSH_LOCK *Lock, BOOLEAN Exclusive)
{
    for (;;)
    {
        ULONG_PTR Value;

        if (KiTryPushLock(Lock, Exclusive))
        {
            return TRUE;
        }
        Value = __atomic_load_n(KiPushWord(Lock), __ATOMIC_RELAXED);
        if ((Value & KI_PUSH_WAITERS) != 0)
        {
            return FALSE;
        }
        if (Value != 0 && __atomic_compare_exchange_n(KiPushWord(Lock), &Value, Value | KI_PUSH_WAITERS,
                                                      FALSE, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        {
            return FALSE;
        }
    }
}

static DECLSPEC_NOINLINE VOID KiWaitForPushLock(volatile EX_PUSH_LOCK *Lock, BOOLEAN Exclusive)
{
    KI_PUSH_LOCK_BUCKET *Bucket = KiPushBucket(Lock);
    KI_PUSH_WAITER Waiter = { .Lock = Lock, .Thread = KiCurrentThread(), .Exclusive = Exclusive };
    ULONG Spin;
    KIRQL OldIrql;

    for (Spin = 0; Spin < KI_PUSH_SPIN && !KiIsDeterministic(); Spin += 1)
    {
        if (KiTryPushLock(Lock, Exclusive))
        {
            return;
        }
        PortPause();
    }
    OldIrql = KiAcquireSpinLock(&Bucket->Lock);
    if (KiTakeOrMark(Lock, Exclusive))
    {
        KiReleaseSpinLock(&Bucket->Lock, OldIrql);
        return;
    }
    InsertTailList(&Bucket->Waiters, &Waiter.Link);
    KiReleaseSpinLock(&Bucket->Lock, OldIrql);
    KiSleepUntil(&Waiter.Granted, ~0ull);
}

/* ---- Handing it over ----------------------------------------------------------------------------------- */

static KI_PUSH_WAITER *KiNextPushWaiter(KI_PUSH_LOCK_BUCKET *Bucket, PLIST_ENTRY After,
                                        volatile EX_PUSH_LOCK *Lock)
{
    PLIST_ENTRY Entry;

    for (Entry = After->Flink; Entry != &Bucket->Waiters; Entry = Entry->Flink)
    {
        KI_PUSH_WAITER *Waiter = CONTAINING_RECORD(Entry, KI_PUSH_WAITER, Link);

        if (Waiter->Lock == Lock)
        {
            return Waiter;
        }
    }
    return NULL;
}

/*
 * Unlinks the sleepers that get the lock now, chains them through Link.Flink and returns the first. *NewValue
 * is the word that makes them owners.
 */
static KI_PUSH_WAITER *KiChooseOwners(KI_PUSH_LOCK_BUCKET *Bucket, volatile EX_PUSH_LOCK *Lock,
                                      PULONG_PTR NewValue)
{
    KI_PUSH_WAITER *First = KiNextPushWaiter(Bucket, &Bucket->Waiters, Lock);
    KI_PUSH_WAITER *Waiter = First;
    KI_PUSH_WAITER *Last = NULL;

    *NewValue = 0;
    while (Waiter != NULL && (Last == NULL || (!Waiter->Exclusive && !First->Exclusive)))
    {
        KI_PUSH_WAITER *Next = KiNextPushWaiter(Bucket, &Waiter->Link, Lock);

        RemoveEntryList(&Waiter->Link);
        Waiter->Link.Flink = NULL;
        *NewValue += Waiter->Exclusive ? KI_PUSH_EXCLUSIVE : KI_PUSH_SHARED;
        if (Last != NULL)
        {
            Last->Link.Flink = &Waiter->Link;
        }
        Last = Waiter;
        Waiter = Next;
    }
    if (Waiter != NULL)
    {
        *NewValue |= KI_PUSH_WAITERS;
    }
    return First;
}

/* The caller is the last owner and the waiters bit is set, so nobody else changes the word. */
static DECLSPEC_NOINLINE VOID KiHandOverPushLock(volatile EX_PUSH_LOCK *Lock)
{
    KI_PUSH_LOCK_BUCKET *Bucket = KiPushBucket(Lock);
    KIRQL OldIrql = KiAcquireSpinLock(&Bucket->Lock);
    ULONG_PTR NewValue;
    KI_PUSH_WAITER *Waiter = KiChooseOwners(Bucket, Lock, &NewValue);

    KiRequire(Waiter != NULL);
    __atomic_store_n(KiPushWord(Lock), NewValue, __ATOMIC_RELEASE);
    KiReleaseSpinLock(&Bucket->Lock, OldIrql);
    while (Waiter != NULL)
    {
        PLIST_ENTRY Next = Waiter->Link.Flink;

        KiWakeThread(Waiter->Thread, &Waiter->Granted);
        Waiter = Next != NULL ? CONTAINING_RECORD(Next, KI_PUSH_WAITER, Link) : NULL;
    }
}

/* ---- The room's interface ------------------------------------------------------------------------------ */

VOID KiAcquirePushLockExclusive(PEX_PUSH_LOCK Lock)
{
    ASSERT(KiCurrentThread()->Irql <= APC_LEVEL);
    if (!KiTryPushLock(Lock, TRUE))
    {
        KiWaitForPushLock(Lock, TRUE);
    }
}

BOOLEAN KiTryAcquirePushLockExclusive(PEX_PUSH_LOCK Lock)
{
    return KiTryPushLock(Lock, TRUE);
}

VOID KiReleasePushLockExclusive(PEX_PUSH_LOCK Lock)
{
    ULONG_PTR Value = KI_PUSH_EXCLUSIVE;

    if (!__atomic_compare_exchange_n(KiPushWord(Lock), &Value, 0, FALSE, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
    {
        KiRequire(Value == (KI_PUSH_EXCLUSIVE | KI_PUSH_WAITERS));
        KiHandOverPushLock(Lock);
    }
}

VOID KiAcquirePushLockShared(PEX_PUSH_LOCK Lock)
{
    ASSERT(KiCurrentThread()->Irql <= APC_LEVEL);
    if (!KiTryPushLock(Lock, FALSE))
    {
        KiWaitForPushLock(Lock, FALSE);
    }
}

BOOLEAN KiTryAcquirePushLockShared(PEX_PUSH_LOCK Lock)
{
    return KiTryPushLock(Lock, FALSE);
}

VOID KiReleasePushLockShared(PEX_PUSH_LOCK Lock)
{
    ULONG_PTR Value = __atomic_load_n(KiPushWord(Lock), __ATOMIC_RELAXED);

    for (;;)
    {
        KiRequire(Value >= KI_PUSH_SHARED && (Value & KI_PUSH_EXCLUSIVE) == 0);
        if (Value == (KI_PUSH_SHARED | KI_PUSH_WAITERS))
        {
            /* What the other readers did before they left must be seen by the writer that follows. */
            __atomic_load_n(KiPushWord(Lock), __ATOMIC_ACQUIRE);
            KiHandOverPushLock(Lock);
            return;
        }
        if (__atomic_compare_exchange_n(KiPushWord(Lock), &Value, Value - KI_PUSH_SHARED, FALSE,
                                        __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        {
            return;
        }
    }
}

/* ---- Cache-aware --------------------------------------------------------------------------------------- */

VOID KiAcquireCacheAwareExclusive(PKI_CACHE_AWARE_SLOT Slots)
{
    ULONG Index;

    for (Index = 0; Index < MiState.Ke->ProcessorCount; Index += 1)
    {
        KiAcquirePushLockExclusive(&Slots[Index].Lock);
    }
}

static VOID KiReleaseCacheAwareSlots(PKI_CACHE_AWARE_SLOT Slots, ULONG Count)
{
    while (Count != 0)
    {
        Count -= 1;
        KiReleasePushLockExclusive(&Slots[Count].Lock);
    }
}

BOOLEAN KiTryAcquireCacheAwareExclusive(PKI_CACHE_AWARE_SLOT Slots)
{
    ULONG Index;

    for (Index = 0; Index < MiState.Ke->ProcessorCount; Index += 1)
    {
        if (!KiTryAcquirePushLockExclusive(&Slots[Index].Lock))
        {
            KiReleaseCacheAwareSlots(Slots, Index);
            return FALSE;
        }
    }
    return TRUE;
}

VOID KiReleaseCacheAwareExclusive(PKI_CACHE_AWARE_SLOT Slots)
{
    KiReleaseCacheAwareSlots(Slots, MiState.Ke->ProcessorCount);
}

/* ---- Public -------------------------------------------------------------------------------------------- */

VOID NTAPI ExInitializePushLock(PEX_PUSH_LOCK PushLock)
{
    __atomic_store_n(PushLock, 0, __ATOMIC_RELEASE);
}

VOID NTAPI ExAcquirePushLockExclusive(PEX_PUSH_LOCK PushLock)
{
    KiAcquirePushLockExclusive(PushLock);
}

VOID NTAPI ExAcquirePushLockShared(PEX_PUSH_LOCK PushLock)
{
    KiAcquirePushLockShared(PushLock);
}

VOID NTAPI ExReleasePushLockExclusive(PEX_PUSH_LOCK PushLock)
{
    KiReleasePushLockExclusive(PushLock);
}

VOID NTAPI ExReleasePushLockShared(PEX_PUSH_LOCK PushLock)
{
    KiReleasePushLockShared(PushLock);
}
