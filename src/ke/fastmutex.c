/* SPDX-License-Identifier: MIT */
/*
 * Mutexes with an owner and no recursion (fast, guarded) and resources: reader-writer locks with recursion.
 *
 * A fast mutex counts down from 1; whoever finds it taken sleeps on its event, and release hands the mutex to
 * one sleeper. A resource is a push lock plus the recursion that a push lock does not know: the exclusive
 * owner counts in the resource, shared owners count in their own KTHREAD, which therefore bounds how many
 * resources a thread may share at a time.
 */
#include "ke/ki.h"

/* ---- Fast mutexes -------------------------------------------------------------------------------------- */

VOID NTAPI ExAcquireFastMutexUnsafe(PFAST_MUTEX FastMutex)
{
    PKTHREAD Thread = KiCurrentThread();

    KiVerify(KiVerifyAcquireFastMutexUnsafe, FastMutex);
    if (__atomic_load_n(&FastMutex->Owner, __ATOMIC_RELAXED) == Thread)
    {
        KeBugCheckEx(MUTEX_ALREADY_OWNED, (ULONG_PTR)FastMutex, (ULONG_PTR)Thread, 0, 0);
    }
    if (__atomic_sub_fetch(&FastMutex->Count, 1, __ATOMIC_ACQUIRE) != 0)
    {
        __atomic_fetch_add(&FastMutex->Contention, 1, __ATOMIC_RELAXED);
        KeWaitForSingleObject(&FastMutex->Event, WrFastMutex, KernelMode, FALSE, NULL);
    }
    __atomic_store_n(&FastMutex->Owner, Thread, __ATOMIC_RELAXED);
}

VOID NTAPI ExReleaseFastMutexUnsafe(PFAST_MUTEX FastMutex)
{
    PVOID Owner = __atomic_load_n(&FastMutex->Owner, __ATOMIC_RELAXED);

    KiVerify(KiVerifyReleaseFastMutexUnsafe, FastMutex);
    if (Owner != KiCurrentThread())
    {
        KeBugCheckEx(THREAD_NOT_MUTEX_OWNER, (ULONG_PTR)KiCurrentThread(), (ULONG_PTR)Owner,
                     (ULONG_PTR)FastMutex, 0);
    }
    __atomic_store_n(&FastMutex->Owner, NULL, __ATOMIC_RELAXED);
    if (__atomic_add_fetch(&FastMutex->Count, 1, __ATOMIC_RELEASE) <= 0)
    {
        KeSetEvent(&FastMutex->Event, IO_NO_INCREMENT, FALSE);
    }
}

static BOOLEAN KiTryFastMutex(PFAST_MUTEX FastMutex)
{
    LONG Free = FM_LOCK_BIT;

    if (!__atomic_compare_exchange_n(&FastMutex->Count, &Free, 0, FALSE, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
    {
        return FALSE;
    }
    __atomic_store_n(&FastMutex->Owner, KiCurrentThread(), __ATOMIC_RELAXED);
    return TRUE;
}

VOID NTAPI ExAcquireFastMutex(PFAST_MUTEX FastMutex)
{
    KIRQL OldIrql;

    KiVerify(KiVerifyAcquireFastMutex, FastMutex);
    KeRaiseIrql(APC_LEVEL, &OldIrql);
    ExAcquireFastMutexUnsafe(FastMutex);
    FastMutex->OldIrql = OldIrql;
}

VOID NTAPI ExReleaseFastMutex(PFAST_MUTEX FastMutex)
{
    KIRQL OldIrql = (KIRQL)FastMutex->OldIrql;

    KiVerify(KiVerifyReleaseFastMutex, FastMutex);
    ExReleaseFastMutexUnsafe(FastMutex);
    KeLowerIrql(OldIrql);
}

BOOLEAN NTAPI ExTryToAcquireFastMutex(PFAST_MUTEX FastMutex)
{
    KIRQL OldIrql;

    KeRaiseIrql(APC_LEVEL, &OldIrql);
    if (!KiTryFastMutex(FastMutex))
    {
        KeLowerIrql(OldIrql);
        return FALSE;
    }
    FastMutex->OldIrql = OldIrql;
    return TRUE;
}

/* ---- Guarded mutexes ----------------------------------------------------------------------------------- */

VOID NTAPI KeInitializeGuardedMutex(PKGUARDED_MUTEX GuardedMutex)
{
    ExInitializeFastMutex(GuardedMutex);
}

VOID NTAPI KeAcquireGuardedMutexUnsafe(PKGUARDED_MUTEX GuardedMutex)
{
    ExAcquireFastMutexUnsafe(GuardedMutex);
}

VOID NTAPI KeReleaseGuardedMutexUnsafe(PKGUARDED_MUTEX GuardedMutex)
{
    ExReleaseFastMutexUnsafe(GuardedMutex);
}

VOID NTAPI KeAcquireGuardedMutex(PKGUARDED_MUTEX GuardedMutex)
{
    KeEnterGuardedRegion();
    ExAcquireFastMutexUnsafe(GuardedMutex);
}

VOID NTAPI KeReleaseGuardedMutex(PKGUARDED_MUTEX GuardedMutex)
{
    ExReleaseFastMutexUnsafe(GuardedMutex);
    KeLeaveGuardedRegion();
}

BOOLEAN NTAPI KeTryToAcquireGuardedMutex(PKGUARDED_MUTEX GuardedMutex)
{
    KeEnterGuardedRegion();
    if (KiTryFastMutex(GuardedMutex))
    {
        return TRUE;
    }
    KeLeaveGuardedRegion();
    return FALSE;
}

/* ---- Resources ----------------------------------------------------------------------------------------- */

typedef struct _KI_RESOURCE
{
    LIST_ENTRY SystemResourcesList; /* KI_STATE.ResourceList, or NULL: only the verifier looks at it */
    EX_PUSH_LOCK Lock;
    PKTHREAD Owner;  /* exclusive */
    ULONG Recursion; /* Owner's */
} KI_RESOURCE;

C_ASSERT(sizeof(KI_RESOURCE) <= sizeof(ERESOURCE));

static KI_RESOURCE *KiResource(PERESOURCE Resource)
{
    return (KI_RESOURCE *)(PVOID)Resource;
}

static BOOLEAN KiOwnsResource(PERESOURCE Resource)
{
    return __atomic_load_n(&KiResource(Resource)->Owner, __ATOMIC_RELAXED) == KiCurrentThread();
}

/* The current thread's record of a shared resource; Resource NULL finds a free one. */
static KI_SHARED_RESOURCE *KiFindShared(PERESOURCE Resource)
{
    KI_SHARED_RESOURCE *Shared = KiCurrentThread()->SharedResources;
    ULONG Index;

    for (Index = 0; Index < KI_MAXIMUM_SHARED_RESOURCES; Index += 1)
    {
        if (Shared[Index].Resource == Resource)
        {
            return &Shared[Index];
        }
    }
    return NULL;
}

NTSTATUS NTAPI ExInitializeResourceLite(PERESOURCE Resource)
{
    KI_STATE *State = MiState.Ke;

    KiVerify(KiVerifyInitializeResource, Resource);
    __builtin_memset(Resource, 0, sizeof(*Resource));
    if (__builtin_expect(__atomic_load_n(&State->Verifier, __ATOMIC_RELAXED) != NULL, 0))
    {
        KIRQL OldIrql = KiAcquireSpinLock(&State->ResourceListLock);

        InsertTailList(&State->ResourceList, &Resource->SystemResourcesList);
        KiReleaseSpinLock(&State->ResourceListLock, OldIrql);
    }
    return STATUS_SUCCESS;
}

NTSTATUS NTAPI ExDeleteResourceLite(PERESOURCE Resource)
{
    KiRequire(KiResource(Resource)->Lock == 0);
    if (__builtin_expect(Resource->SystemResourcesList.Flink != NULL, 0))
    {
        KIRQL OldIrql = KiAcquireSpinLock(&MiState.Ke->ResourceListLock);

        RemoveEntryList(&Resource->SystemResourcesList);
        Resource->SystemResourcesList.Flink = NULL;
        KiReleaseSpinLock(&MiState.Ke->ResourceListLock, OldIrql);
    }
    return STATUS_SUCCESS;
}

BOOLEAN NTAPI ExAcquireResourceExclusiveLite(PERESOURCE Resource, BOOLEAN Wait)
{
    KI_RESOURCE *Body = KiResource(Resource);

    KiVerify(KiVerifyAcquireResource, Resource);
    if (KiOwnsResource(Resource))
    {
        Body->Recursion += 1;
        return TRUE;
    }
    if (Wait)
    {
        /* Waiting for all sharers to leave, oneself among them, would be for ever. */
        KiRequire(KiFindShared(Resource) == NULL);
        KiAcquirePushLockExclusive(&Body->Lock);
    }
    else if (!KiTryAcquirePushLockExclusive(&Body->Lock))
    {
        return FALSE;
    }
    Body->Recursion = 1;
    __atomic_store_n(&Body->Owner, KiCurrentThread(), __ATOMIC_RELAXED);
    return TRUE;
}

BOOLEAN NTAPI ExAcquireResourceSharedLite(PERESOURCE Resource, BOOLEAN Wait)
{
    KI_RESOURCE *Body = KiResource(Resource);
    KI_SHARED_RESOURCE *Shared;

    KiVerify(KiVerifyAcquireResource, Resource);
    if (KiOwnsResource(Resource))
    {
        Body->Recursion += 1;
        return TRUE;
    }
    Shared = KiFindShared(Resource);
    if (Shared == NULL)
    {
        Shared = KiFindShared(NULL);
        KiRequire(Shared != NULL);
        if (Wait)
        {
            KiAcquirePushLockShared(&Body->Lock);
        }
        else if (!KiTryAcquirePushLockShared(&Body->Lock))
        {
            return FALSE;
        }
        Shared->Resource = Resource;
    }
    Shared->Count += 1;
    return TRUE;
}

VOID NTAPI ExReleaseResourceLite(PERESOURCE Resource)
{
    KI_RESOURCE *Body = KiResource(Resource);
    KI_SHARED_RESOURCE *Shared;

    KiVerify(KiVerifyReleaseResource, Resource);
    if (KiOwnsResource(Resource))
    {
        Body->Recursion -= 1;
        if (Body->Recursion == 0)
        {
            __atomic_store_n(&Body->Owner, NULL, __ATOMIC_RELAXED);
            KiReleasePushLockExclusive(&Body->Lock);
        }
        return;
    }
    Shared = KiFindShared(Resource);
    if (Shared == NULL)
    {
        KeBugCheckEx(RESOURCE_NOT_OWNED, (ULONG_PTR)Resource, (ULONG_PTR)KiCurrentThread(), 0, 0);
    }
    Shared->Count -= 1;
    if (Shared->Count == 0)
    {
        Shared->Resource = NULL;
        KiReleasePushLockShared(&Body->Lock);
    }
}

BOOLEAN NTAPI ExIsResourceAcquiredExclusiveLite(PERESOURCE Resource)
{
    return KiOwnsResource(Resource);
}

/* How often the current thread has it, in either way. */
ULONG NTAPI ExIsResourceAcquiredSharedLite(PERESOURCE Resource)
{
    const KI_SHARED_RESOURCE *Shared;

    if (KiOwnsResource(Resource))
    {
        return KiResource(Resource)->Recursion;
    }
    Shared = KiFindShared(Resource);
    return Shared != NULL ? Shared->Count : 0;
}
