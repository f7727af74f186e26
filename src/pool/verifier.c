/* SPDX-License-Identifier: MIT */
/*
 * Driver Verifier: what it is asked to do, and the checks of single calls: parameters and IRQL of the pool functions and of IRQL,
 * lock and event functions, failures on purpose, and objects that are still in use in memory that is freed. A broken rule is bug check
 * 0xC4 with the documented parameters.
 */
#include "pool/special.h"
#include "pool/verifier.h"
#include "translation/translation.h"

static EX_VERIFIER *ExpVerifier(void)
{
    return &ExpPool()->Verifier;
}

#define ExpCountVerified(Name) __atomic_add_fetch(&ExpVerifier()->Counters.Name, 1, __ATOMIC_RELAXED)

BOOLEAN ExIsVerifiedSlow(const VOID *ReturnAddress, PULONG Flags)
{
    EX_POOL *Pool = ExpPool();
    const EX_DRIVER *Driver;
    BOOLEAN Verified;
    KIRQL OldIrql;

    OldIrql = KiAcquireSpinLock(&Pool->DriverLock);
    Driver = ExpFindDriverLocked((ULONG_PTR)ReturnAddress, (ULONG_PTR)ReturnAddress);
    Verified = Pool->Verifier.On && Driver != NULL && (Pool->Verifier.AllDrivers || Driver->Verify);
    *Flags = Verified ? Pool->Verifier.Flags : 0;
    KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
    return Verified;
}

/* ---- Failures on purpose -------------------------------------------------------------------------------- */

static BOOLEAN ExpIsListed(CHAR (*Patterns)[4], ULONG Tag, BOOLEAN WhenEmpty)
{
    BOOLEAN Empty = TRUE;

    for (ULONG Index = 0; Index < EX_VERIFIER_TAGS; Index++)
    {
        if (Patterns[Index][0] != 0)
        {
            Empty = FALSE;
            if (ExpMatchesPattern(Patterns[Index], Tag))
            {
                return TRUE;
            }
        }
    }
    return Empty && WhenEmpty;
}

/* splitmix64: the n-th draw of a seed. */
static ULONG64 ExpDrawLocked(EX_VERIFIER *Verifier)
{
    ULONG64 Mixed = Verifier->RandomState += 0x9e3779b97f4a7c15ull;

    Mixed = (Mixed ^ (Mixed >> 30)) * 0xbf58476d1ce4e5b9ull;
    Mixed = (Mixed ^ (Mixed >> 27)) * 0x94d049bb133111ebull;
    return Mixed ^ (Mixed >> 31);
}

static BOOLEAN ExpIsToFail(ULONG Tag)
{
    EX_POOL *Pool = ExpPool();
    EX_VERIFIER *Verifier = &Pool->Verifier;
    ULONG64 Now = KiQueryTime();
    KIRQL OldIrql = KiAcquireSpinLock(&Pool->DriverLock);
    BOOLEAN Fails = Now >= Verifier->FailuresFrom && ExpIsListed(Verifier->Include, Tag, TRUE) &&
                    !ExpIsListed(Verifier->Exclude, Tag, FALSE) &&
                    ExpDrawLocked(Verifier) % EX_VERIFIER_CERTAIN < Verifier->Probability;

    KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
    return Fails;
}

/* ---- Requests ------------------------------------------------------------------------------------------- */

static BOOLEAN ExpIsUnloading(PVOID Caller, SIZE_T Bytes[2], PSIZE_T Blocks)
{
    EX_POOL *Pool = ExpPool();
    KIRQL OldIrql = KiAcquireSpinLock(&Pool->DriverLock);
    const EX_DRIVER *Driver = ExpFindDriverLocked((ULONG_PTR)Caller, (ULONG_PTR)Caller);
    BOOLEAN Unloading = Driver != NULL && Driver->Unloading;

    if (Unloading)
    {
        Bytes[0] = Driver->Bytes[0];
        Bytes[1] = Driver->Bytes[1];
        *Blocks = Driver->Blocks[0] + Driver->Blocks[1];
    }
    KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
    return Unloading;
}

BOOLEAN ExpVerifyRequest(PVOID Caller, ULONG Flags, ULONG Paged, ULONG PoolType, SIZE_T Bytes, ULONG Tag)
{
    KIRQL Irql = KiCurrentThread()->Irql;
    SIZE_T Held[2] = { 0, 0 };
    SIZE_T Blocks = 0;

    if (Bytes == 0)
    {
        KiBugCheckMessage(DRIVER_VERIFIER_DETECTED_VIOLATION, 0x00, Irql, PoolType, 0,
                          "a driver asks for a pool block of 0 bytes");
    }
    if (Irql > (Paged != 0 ? APC_LEVEL : DISPATCH_LEVEL))
    {
        KiBugCheckMessage(DRIVER_VERIFIER_DETECTED_VIOLATION, Paged != 0 ? 0x01 : 0x02, Irql, PoolType, Bytes,
                          "a driver allocates %s pool at IRQL %u", Paged != 0 ? "paged" : "nonpaged", Irql);
    }
    if ((Flags & DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS) != 0 && ExpIsUnloading(Caller, Held, &Blocks))
    {
        KiBugCheckMessage(DRIVER_VERIFIER_DETECTED_VIOLATION, 0x61, Held[1], Held[0], Blocks,
                          "a driver allocates pool while it is being unloaded");
    }
    ExpCountVerified(AllocationsAttempted);
    if (Tag == MI_TAG('N', 'o', 'n', 'e'))
    {
        ExpCountVerified(AllocationsWithNoTag);
    }
    if ((Flags & DRIVER_VERIFIER_INJECT_ALLOCATION_FAILURES) != 0 && ExpIsToFail(Tag))
    {
        ExpCountVerified(AllocationsFailedDeliberately);
        return FALSE;
    }
    return TRUE;
}

VOID ExpReportVerifiedFree(PVOID Caller, ULONG_PTR Code, ULONG_PTR P2, ULONG_PTR P3, ULONG_PTR P4)
{
    if (ExIsCallerVerified(Caller))
    {
        KiBugCheckMessage(DRIVER_VERIFIER_DETECTED_VIOLATION, Code, P2, P3, P4, "%s",
                          Code == 0x10 ? "a driver frees an address that no allocation returned"
                          : Code == 0x11 || Code == 0x12
                              ? "a driver frees pool at an IRQL that is too high"
                              : "a driver frees a pool block that is free already");
    }
}

VOID ExpVerifyFreedRange(PVOID Address, SIZE_T Bytes, ULONG Paged)
{
    ULONG_PTR Start = (ULONG_PTR)Address;
    ULONG_PTR End = Start + (Bytes != 0 ? Bytes : 1) - 1;
    PVOID Found;

    /* Objects are known by address, and must be where every process sees them. */
    if ((__atomic_load_n(&ExpVerifier()->Flags, __ATOMIC_RELAXED) & EX_VERIFIER_MISCELLANEOUS) == 0 ||
        MiIsSessionAddress(Start))
    {
        return;
    }
    if ((Found = KiFindTimerInRange(Start, End)) != NULL)
    {
        KiBugCheckMessage(TIMER_OR_DPC_INVALID, 0x0, (ULONG_PTR)Found, Start, End,
                          "pool block %p is freed while timer %p in it is set", Address, Found);
    }
    if ((Found = KiFindDpcInRange(Start, End)) != NULL)
    {
        KiBugCheckMessage(TIMER_OR_DPC_INVALID, 0x1, (ULONG_PTR)Found, Start, End,
                          "pool block %p is freed while DPC %p in it is queued", Address, Found);
    }
    if ((Found = KiFindWorkItemInRange(Start, End)) != NULL)
    {
        KiBugCheckMessage(WORKER_INVALID, 0x0, (ULONG_PTR)Found, Start, End,
                          "pool block %p is freed while work item %p in it is queued", Address, Found);
    }
    if ((Found = KiFindResourceInRange(Start, End)) != NULL)
    {
        KiBugCheckMessage(DRIVER_VERIFIER_DETECTED_VIOLATION, 0xD2, (ULONG_PTR)Found, Start, Bytes,
                          "pool block %p is freed while resource %p in it was not deleted", Address, Found);
    }
    if ((Found = ExpFindLookasideInRange(Start, End)) != NULL)
    {
        KiBugCheckMessage(DRIVER_VERIFIER_DETECTED_VIOLATION, 0xCC, (ULONG_PTR)Found, Start, Bytes,
                          "pool block %p is freed while lookaside list %p in it was not deleted", Address,
                          Found);
    }
    UNREFERENCED_PARAMETER(Paged);
}

/* ---- IRQL, locks, events ---------------------------------------------------------------------------------- */

static VOID ExpRequire(BOOLEAN Right, ULONG_PTR Code, ULONG_PTR Object, PCSTR Rule)
{
    KIRQL Irql = KiCurrentThread()->Irql;

    if (!Right)
    {
        KiBugCheckMessage(DRIVER_VERIFIER_DETECTED_VIOLATION, Code, Irql, Object, 0, "%s; IRQL is %u", Rule,
                          Irql);
    }
}

/* Locks that want APCs disabled, by IRQL or region; Highest says up to which IRQL. */
static VOID ExpRequireNoApcs(ULONG_PTR Code, KIRQL Highest, ULONG_PTR Object, PCSTR Rule)
{
    PKTHREAD Thread = KiCurrentThread();

    if (Thread->Irql > Highest || !KeAreApcsDisabled())
    {
        /* Windows counts regions downwards. */
        KiBugCheckMessage(DRIVER_VERIFIER_DETECTED_VIOLATION, Code, Thread->Irql,
                          (ULONG_PTR)(-(LONG_PTR)Thread->CriticalRegion), Object, "%s; IRQL is %u", Rule,
                          Thread->Irql);
    }
}

static VOID ExpVerifyCriticalRegion(KI_VERIFY What)
{
    PKTHREAD Thread = KiCurrentThread();

    ExpRequire(Thread->Irql <= APC_LEVEL, What == KiVerifyEnterCriticalRegion ? 0x11A : 0x11B, 0,
               "critical regions want IRQL <= APC_LEVEL");
    if (What == KiVerifyLeaveCriticalRegion && Thread->CriticalRegion == 0)
    {
        KiBugCheckMessage(DRIVER_VERIFIER_DETECTED_VIOLATION, 0x3E, 0, 0, 0,
                          "KeLeaveCriticalRegion by a thread that is in none");
    }
}

static VOID ExpVerifyResource(KI_VERIFY What, ULONG_PTR Object)
{
    if (What == KiVerifyInitializeResource)
    {
        if (KiFindResourceInRange(Object, Object) != NULL)
        {
            KiBugCheckMessage(DRIVER_VERIFIER_DETECTED_VIOLATION, 0xD0, Object, 0, 0,
                              "resource %p is initialized again", (PVOID)Object);
        }
        return;
    }
    if (What == KiVerifyAcquireResource && Object % sizeof(PVOID) != 0)
    {
        KiBugCheckMessage(DRIVER_VERIFIER_DETECTED_VIOLATION, 0x3D, 0, 0, Object,
                          "resource %p is not aligned", (PVOID)Object);
    }
    ExpRequireNoApcs(What == KiVerifyAcquireResource ? 0x37 : 0x38, HIGH_LEVEL, Object,
                     "a resource wants APCs disabled");
}

VOID ExpVerifyLookaside(PVOID Caller, PVOID List, BOOLEAN Initialize, SIZE_T Size)
{
    if (!ExIsCallerVerified(Caller))
    {
        return;
    }
    if (Initialize == (ExpFindLookasideInRange((ULONG_PTR)List, (ULONG_PTR)List) != NULL))
    {
        KiBugCheckMessage(DRIVER_VERIFIER_DETECTED_VIOLATION, Initialize ? 0xCA : 0xCB, (ULONG_PTR)List, 0, 0,
                          "lookaside list %p is %s", List,
                          Initialize ? "initialized again" : "deleted, and was not initialized");
    }
    if (Initialize && Size < LOOKASIDE_MINIMUM_BLOCK_SIZE)
    {
        KiBugCheckMessage(DRIVER_VERIFIER_DETECTED_VIOLATION, 0xCD, (ULONG_PTR)List, Size,
                          LOOKASIDE_MINIMUM_BLOCK_SIZE, "lookaside list %p of blocks of %llu bytes", List,
                          (ULONG64)Size);
    }
}

/* Pageable memory is made inaccessible, so that touching it at the level to come is found also when it was in memory. */
static VOID ExpTrimPageable(KIRQL Irql, ULONG Flags)
{
    VOID (*Trim)(void) = ExpVerifier()->Trim;

    if ((Flags & DRIVER_VERIFIER_FORCE_IRQL_CHECKING) == 0)
    {
        return;
    }
    ExpCountVerified(TrimRequests);
    if (Irql < DISPATCH_LEVEL && Trim != NULL)
    {
        ExpCountVerified(Trims);
        Trim();
    }
}

static VOID ExpVerifyCall(KI_VERIFY What, ULONG_PTR Object, PVOID Caller)
{
    KIRQL Irql = KiCurrentThread()->Irql;
    ULONG Flags;

    if (!ExIsVerifiedSlow(Caller, &Flags))
    {
        return;
    }
    switch (What)
    {
    case KiVerifyRaiseIrql:
        ExpRequire(Object >= Irql && Object <= HIGH_LEVEL, 0x30, Object,
                   "KeRaiseIrql must not lower the IRQL");
        ExpCountVerified(RaiseIrqls);
        if (Object >= DISPATCH_LEVEL)
        {
            ExpTrimPageable(Irql, Flags);
        }
        break;
    case KiVerifyLowerIrql:
        ExpRequire(Object <= Irql, 0x31, Object, "KeLowerIrql must not raise the IRQL");
        break;
    case KiVerifyAcquireSpinLock:
        ExpRequire(Irql <= DISPATCH_LEVEL, 0x42, Object, "KeAcquireSpinLock wants IRQL <= DISPATCH_LEVEL");
        ExpCountVerified(AcquireSpinLocks);
        ExpTrimPageable(Irql, Flags);
        break;
    case KiVerifyReleaseSpinLock:
        ExpRequire(Irql == DISPATCH_LEVEL, 0x32, Object, "KeReleaseSpinLock wants DISPATCH_LEVEL");
        break;
    case KiVerifyAcquireSpinLockAtDpc:
        ExpRequire(Irql >= DISPATCH_LEVEL, 0x40, Object,
                   "KeAcquireSpinLockAtDpcLevel wants IRQL >= DISPATCH_LEVEL");
        break;
    case KiVerifyReleaseSpinLockFromDpc:
        ExpRequire(Irql >= DISPATCH_LEVEL, 0x41, Object,
                   "KeReleaseSpinLockFromDpcLevel wants IRQL >= DISPATCH_LEVEL");
        break;
    case KiVerifyAcquireFastMutex:
        ExpRequire(Irql <= APC_LEVEL, 0x33, Object, "ExAcquireFastMutex wants IRQL <= APC_LEVEL");
        break;
    case KiVerifyReleaseFastMutex:
        ExpRequire(Irql == APC_LEVEL, 0x34, Object, "ExReleaseFastMutex wants APC_LEVEL");
        break;
    case KiVerifySetEvent:
        ExpRequire(Irql <= DISPATCH_LEVEL, 0x80, Object, "KeSetEvent wants IRQL <= DISPATCH_LEVEL");
        break;
    case KiVerifyAcquireFastMutexUnsafe:
        ExpRequireNoApcs(0x39, APC_LEVEL, Object, "ExAcquireFastMutexUnsafe wants APCs disabled");
        break;
    case KiVerifyReleaseFastMutexUnsafe:
        ExpRequireNoApcs(0x3A, APC_LEVEL, Object, "ExReleaseFastMutexUnsafe wants APCs disabled");
        break;
    case KiVerifyInitializeResource:
    case KiVerifyAcquireResource:
    case KiVerifyReleaseResource:
        ExpVerifyResource(What, Object);
        break;
    case KiVerifyEnterCriticalRegion:
    case KiVerifyLeaveCriticalRegion:
        ExpVerifyCriticalRegion(What);
        break;
    }
}

/* ---- Settings ------------------------------------------------------------------------------------------- */

VOID ExpUpdateWatch(void)
{
    EX_POOL *Pool = ExpPool();
    KIRQL OldIrql = KiAcquireSpinLock(&Pool->DriverLock);

    __atomic_store_n(&Pool->Watch, Pool->Special.On || Pool->Verifier.On, __ATOMIC_RELEASE);
    KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
}

/* Others may still be counting. */
static VOID ExpClearCounters(EX_VERIFIER *Verifier)
{
    ULONG64 *Counter = (ULONG64 *)&Verifier->Counters;

    for (ULONG Index = 0; Index < sizeof(Verifier->Counters) / sizeof(*Counter); Index++)
    {
        __atomic_store_n(&Counter[Index], 0, __ATOMIC_RELAXED);
    }
}

NTSTATUS ExSetVerifier(const EX_VERIFIER_SETTINGS *Settings)
{
    EX_POOL *Pool = ExpPool();
    EX_VERIFIER *Verifier = &Pool->Verifier;
    KIRQL OldIrql;

    if (Settings != NULL &&
        ((Settings->Flags & ~EX_VERIFIER_FLAGS) != 0 || Settings->Probability > EX_VERIFIER_CERTAIN))
    {
        return STATUS_INVALID_PARAMETER;
    }
    OldIrql = KiAcquireSpinLock(&Pool->DriverLock);
    if (Settings == NULL)
    {
        __atomic_store_n(&Verifier->On, FALSE, __ATOMIC_RELAXED);
        __atomic_store_n(&Verifier->Flags, 0, __ATOMIC_RELAXED);
    }
    else
    {
        if (!Verifier->On)
        {
            ExpClearCounters(Verifier);
        }
        __atomic_store_n(&Verifier->Flags, Settings->Flags, __ATOMIC_RELAXED);
        Verifier->AllDrivers = Settings->AllDrivers;
        Verifier->Probability = Settings->Probability != 0 ? Settings->Probability : EX_VERIFIER_PROBABILITY;
        Verifier->RandomState = Settings->Seed;
        Verifier->FailuresFrom = KiQueryTime() + Settings->DelayNanoseconds;
        __builtin_memcpy(Verifier->Include, Settings->Include, sizeof(Verifier->Include));
        __builtin_memcpy(Verifier->Exclude, Settings->Exclude, sizeof(Verifier->Exclude));
        __atomic_store_n(&Verifier->On, TRUE, __ATOMIC_RELAXED);
    }
    KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
    __atomic_store_n(&MiState.Ke->Verifier, Settings != NULL ? ExpVerifyCall : NULL, __ATOMIC_RELEASE);
    ExpUpdateWatch();
    ExpUpdateSpecial();
    if (Settings == NULL)
    {
        ExpForgetTrackedAll();
    }
    return STATUS_SUCCESS;
}

VOID ExQueryVerifierSettings(EX_VERIFIER_SETTINGS *Settings)
{
    EX_POOL *Pool = ExpPool();
    EX_VERIFIER *Verifier = &Pool->Verifier;
    ULONG64 Now = KiQueryTime();
    KIRQL OldIrql = KiAcquireSpinLock(&Pool->DriverLock);

    *Settings = (EX_VERIFIER_SETTINGS){ .Flags = 0 };
    if (Verifier->On)
    {
        Settings->Flags = Verifier->Flags;
        Settings->AllDrivers = Verifier->AllDrivers;
        Settings->Probability = Verifier->Probability;
        Settings->Seed = Verifier->RandomState;
        Settings->DelayNanoseconds = Verifier->FailuresFrom > Now ? Verifier->FailuresFrom - Now : 0;
        __builtin_memcpy(Settings->Include, Verifier->Include, sizeof(Verifier->Include));
        __builtin_memcpy(Settings->Exclude, Verifier->Exclude, sizeof(Verifier->Exclude));
    }
    KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
}

VOID ExQueryVerifier(PULONG Flags, EX_VERIFIER_COUNTERS *Counters)
{
    EX_POOL *Pool = ExpPool();
    KIRQL OldIrql = KiAcquireSpinLock(&Pool->DriverLock);

    *Flags = Pool->Verifier.Flags;
    *Counters = (EX_VERIFIER_COUNTERS){ 0 };
    for (ULONG Index = 0; Pool->Verifier.On && Index < sizeof(*Counters) / sizeof(ULONG64); Index++)
    {
        ((ULONG64 *)Counters)[Index] =
            __atomic_load_n(&((ULONG64 *)&Pool->Verifier.Counters)[Index], __ATOMIC_RELAXED);
    }
    KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
}

/* ---- What drivers may ask --------------------------------------------------------------------------------- */

NTSTATUS NTAPI MmIsVerifierEnabled(PULONG VerifierFlags)
{
    *VerifierFlags = 0;
    if (!__atomic_load_n(&ExpVerifier()->On, __ATOMIC_RELAXED))
    {
        return STATUS_NOT_IMPLEMENTED; /* documented, and meant so: the verifier is off */
    }
    *VerifierFlags = __atomic_load_n(&ExpVerifier()->Flags, __ATOMIC_RELAXED);
    return STATUS_SUCCESS;
}

LOGICAL NTAPI MmIsDriverVerifyingByAddress(PVOID AddressWithinSection)
{
    return ExIsCallerVerified(AddressWithinSection);
}

LOGICAL NTAPI MmIsDriverVerifying(PDRIVER_OBJECT DriverObject)
{
    return ExIsCallerVerified(DriverObject->DriverStart);
}

LOGICAL NTAPI MmIsDriverSuspectForVerifier(PDRIVER_OBJECT DriverObject)
{
    return ExIsCallerVerified(DriverObject->DriverStart);
}
