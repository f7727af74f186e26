/* SPDX-License-Identifier: MIT */
/*
 * Driver Verifier: which code is a driver's, and what is checked of what it does. A driver is a range of addresses (a module)
 * that somebody registered; a call is a driver's when its return address lies there. Everything is switched at run time.
 * Theory: docs/verifier.md.
 *
 * Locks: [D] EX_POOL.DriverLock, a leaf.
 */
#ifndef NTMM_POOL_VERIFIER_H
#define NTMM_POOL_VERIFIER_H

#include "nt/mm.h"
#include "pool/expool.h"

#define EX_DRIVER_NAME 32u

typedef struct _EX_DRIVER
{
    LIST_ENTRY Links; /* [D] EX_POOL.Drivers */
    ULONG_PTR Start;  /* fixed */
    ULONG_PTR End;    /* fixed: last byte */
    CHAR Name[EX_DRIVER_NAME];
    BOOLEAN Verify;         /* [D] chosen */
    BOOLEAN Unloading;      /* [D] */
    LIST_ENTRY Allocations; /* [D] EX_TRACKED.DriverLinks */
    SIZE_T Blocks[2];       /* [D] nonpaged, paged: of Allocations */
    SIZE_T Bytes[2];        /* [D] */
    SIZE_T PeakBlocks[2];   /* [D] */
    SIZE_T PeakBytes[2];    /* [D] */
} EX_DRIVER;

/*
 * Makes a range of code a driver. STATUS_INVALID_PARAMETER (empty range), STATUS_CONFLICTING_ADDRESSES (overlaps another),
 * STATUS_INSUFFICIENT_RESOURCES. IRQL <= DISPATCH_LEVEL.
 */
NTSTATUS ExRegisterDriver(PCSTR Name, PVOID Start, SIZE_T Bytes, EX_DRIVER **Driver);

/*
 * The driver goes. If its pool was tracked and blocks are left: says what and who allocated it, then 0xC4, 0x62. / Without that look.
 */
VOID ExUnloadDriver(EX_DRIVER *Driver);
VOID ExUnregisterDriver(EX_DRIVER *Driver);

/* Chooses a driver, or no longer. What it allocated meanwhile stays tracked. */
VOID ExVerifyDriver(EX_DRIVER *Driver, BOOLEAN Verify);

/*
 * The same by name (not case-sensitive, EX_DRIVER_NAME - 1 characters), also of drivers that come later. IRQL <= DISPATCH_LEVEL.
 * STATUS_INVALID_PARAMETER (empty), STATUS_INSUFFICIENT_RESOURCES. / STATUS_NOT_FOUND.
 */
NTSTATUS ExAddSuspect(PCSTR Name);
NTSTATUS ExRemoveSuspect(PCSTR Name);

/* A driver that is verified, or would be if it were loaded. */
typedef struct _EX_VERIFIED
{
    CHAR Name[EX_DRIVER_NAME];
    BOOLEAN Loaded;
    ULONG Loads; /* since its name was given */
    ULONG Unloads;
    SIZE_T Blocks[2]; /* as in EX_DRIVER */
    SIZE_T Bytes[2];
    SIZE_T PeakBlocks[2];
    SIZE_T PeakBytes[2];
} EX_VERIFIED;

/* Copies at most Count entries; returns how many there are, none while the verifier is off. */
SIZE_T ExQueryVerifiedDrivers(EX_VERIFIED *Entries, SIZE_T Count);

/* One line for each block that is tracked for the driver, and who allocated it. Returns how many there are. */
SIZE_T ExReportDriverPool(EX_DRIVER *Driver);

/* Whether the address is in a registered driver. Never faults; any IRQL. */
BOOLEAN ExIsDriverAddress(const VOID *Address);

/* ---- What is verified -------------------------------------------------------------------------------------- */

#define EX_VERIFIER_MISCELLANEOUS                                                                            \
    0x0800u /* verifier.exe: miscellaneous checks. The other flags: nt/mm.h, DRIVER_VERIFIER_* */
#define EX_VERIFIER_FLAGS                                                                                    \
    (DRIVER_VERIFIER_SPECIAL_POOLING | DRIVER_VERIFIER_FORCE_IRQL_CHECKING |                                 \
     DRIVER_VERIFIER_INJECT_ALLOCATION_FAILURES | DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS |                   \
     EX_VERIFIER_MISCELLANEOUS)
#define EX_VERIFIER_TAGS        8u
#define EX_VERIFIER_CERTAIN     10000u
#define EX_VERIFIER_PROBABILITY 600u /* verifier.exe's own */

typedef struct _EX_VERIFIER_SETTINGS
{
    ULONG
    Flags; /* EX_VERIFIER_FLAGS; the checks of IRQL and of the pool functions' parameters are always on */
    BOOLEAN AllDrivers; /* else those that ExVerifyDriver chose */
    /* Low-resources simulation. */
    ULONG Probability;                 /* of EX_VERIFIER_CERTAIN; 0: 6 % */
    ULONG64 Seed;                      /* the same seed and order of requests: the same failures */
    ULONG64 DelayNanoseconds;          /* of the machine's time, from now on, in which nothing fails */
    CHAR Include[EX_VERIFIER_TAGS][4]; /* tags that may fail, wildcards as for special pool; none: all */
    CHAR Exclude[EX_VERIFIER_TAGS][4]; /* tags that must not */
} EX_VERIFIER_SETTINGS;

/* Since the verifier was switched on. */
typedef struct _EX_VERIFIER_COUNTERS EX_VERIFIER_COUNTERS;

/*
 * Switches the verifier on, changes it, or (NULL) off. At any time, no restart. STATUS_INVALID_PARAMETER (unknown flags, a
 * probability above certainty). PASSIVE_LEVEL.
 */
NTSTATUS ExSetVerifier(const EX_VERIFIER_SETTINGS *Settings);
VOID ExQueryVerifierSettings(EX_VERIFIER_SETTINGS *Settings);       /* those of now; all 0: off */
VOID ExQueryVerifier(PULONG Flags, EX_VERIFIER_COUNTERS *Counters); /* Flags 0 and *Counters 0: off */

/*
 * For the checks of other rooms: the verifier is on, and ReturnAddress is in a driver that it verifies. ExQueryVerifierFlags: with which
 * flags; 0: not at all.
 */
BOOLEAN ExIsVerifiedSlow(const VOID *ReturnAddress, PULONG Flags);

static FORCEINLINE BOOLEAN ExIsCallerVerified(const VOID *ReturnAddress)
{
    ULONG Flags;

    return __builtin_expect(__atomic_load_n(&ExpPool()->Verifier.On, __ATOMIC_RELAXED), 0) &&
           ExIsVerifiedSlow(ReturnAddress, &Flags);
}

/* Room workingset hands in what makes the system's pageable memory inaccessible. IRQL <= APC_LEVEL. */
static FORCEINLINE VOID ExSetVerifierTrim(VOID (*Trim)(void))
{
    ExpPool()->Verifier.Trim = Trim;
}

/* ---- For the room itself -------------------------------------------------------------------------------- */

/* A block that a verified driver allocated. */
typedef struct _EX_TRACKED
{
    LIST_ENTRY Links;       /* [D] EX_VERIFIER.Buckets */
    LIST_ENTRY DriverLinks; /* [D] */
    EX_DRIVER *Driver;
    PVOID Address;
    const EX_SESSION_POOL *Session; /* whose space Address is in; NULL: the machine's */
    SIZE_T Bytes;
    ULONG Tag;
    BOOLEAN Paged;
    BOOLEAN SpecialPool;
    PVOID Frames[EX_TRACE_DEPTH];
} EX_TRACKED;

/* A request of a verified driver, before anything is done: bad parameters are bug checks. FALSE: it fails, deliberately. */
BOOLEAN ExpVerifyRequest(PVOID Caller, ULONG Flags, ULONG Paged, ULONG PoolType, SIZE_T Bytes, ULONG Tag);
/* A record for the block to come, or NULL. / It was allocated (Address NULL: it was not). */
EX_TRACKED *ExpPrepareTracking(PVOID Caller, ULONG Flags);
VOID ExpFinishTracking(EX_TRACKED *Tracked, PVOID Address, SIZE_T Bytes, ULONG Tag, ULONG Paged);
/* A tracked block in a slab is about to be freed: what its size class added must be as it was filled. / It is freed. */
VOID ExpCheckTracked(PVOID Address);
VOID ExpForgetTracked(PVOID Address);
/* Bug-checks when the kernel still uses something in the block that a verified driver frees. */
VOID ExpVerifyFreedRange(PVOID Address, SIZE_T Bytes, ULONG Paged);
/* A list that Caller initializes (with blocks of Size bytes) or deletes: 0xCA, 0xCB, 0xCD for a verified driver. */
VOID ExpVerifyLookaside(PVOID Caller, PVOID List, BOOLEAN Initialize, SIZE_T Size);
/* What a verified driver frees is bad: the verifier's own code instead of the pool's. Returns when the caller is not verified. */
VOID ExpReportVerifiedFree(PVOID Caller, ULONG_PTR Code, ULONG_PTR P2, ULONG_PTR P3, ULONG_PTR P4);

/* A driver that is to be verified when it is loaded. */
typedef struct _EX_SUSPECT
{
    LIST_ENTRY Links; /* [D] EX_VERIFIER.Suspects */
    CHAR Name[EX_DRIVER_NAME];
    ULONG Loads;   /* [D] */
    ULONG Unloads; /* [D] */
} EX_SUSPECT;

EX_SUSPECT *ExpFindSuspectLocked(PCSTR Name);
VOID ExpDeleteSuspects(void);

EX_DRIVER *ExpFindDriverLocked(ULONG_PTR Start, ULONG_PTR End);
VOID ExpForgetDriver(EX_DRIVER *Driver); /* what is tracked for it */
VOID ExpForgetTrackedAll(void);
VOID ExpForgetSession(const EX_SESSION_POOL *Session);
VOID ExpUpdateWatch(void); /* whether requests must take the slow path */
VOID ExpPrintTrace(PVOID const *Frames, ULONG Count);
VOID ExpDeleteDrivers(void); /* at the end of the machine */
BOOLEAN ExpMatchesPattern(const CHAR Pattern[4], ULONG Tag);

#endif
