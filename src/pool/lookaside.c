/* SPDX-License-Identifier: MIT */
/*
 * Lookaside lists: free entries of one size, kept by their owner in front of the pool. Nonpaged ones are
 * sequenced lists. The entries of paged ones may be anywhere, so those lists are changed under a push lock,
 * which lies in the reserved words of the public structure; their count takes the second half of the list
 * head. How many entries a list may keep follows its use (ExAdjustLookasideDepth). Lists do nothing for verified drivers.
 *
 * The short way of nonpaged lists calls nothing as long as nothing is verified and there is an entry, or room for one.
 */
#include "ke/slist.h"
#include "pool/verifier.h"

#define EX_MINIMUM_DEPTH  4u
#define EX_MAXIMUM_DEPTH  256u
#define EX_IDLE_ALLOCATES 75u /* between two adjustments: a list that is used less shrinks */

C_ASSERT(sizeof(EX_PUSH_LOCK) == sizeof(((GENERAL_LOOKASIDE_POOL *)0)->Future));
C_ASSERT(UFIELD_OFFSET(GENERAL_LOOKASIDE_POOL, Future) % sizeof(EX_PUSH_LOCK) == 0);

/* Statistics of the public structure: plain adds as documented, which may lose a count when two processors
 * meet. */
static FORCEINLINE VOID ExpBump(PULONG Counter)
{
    __atomic_store_n(Counter, __atomic_load_n(Counter, __ATOMIC_RELAXED) + 1, __ATOMIC_RELAXED);
}

static FORCEINLINE BOOLEAN ExpIsPagedList(const GENERAL_LOOKASIDE_POOL *List)
{
    return ((ULONG)List->Type & 1) != 0;
}

static FORCEINLINE PEX_PUSH_LOCK ExpListLock(GENERAL_LOOKASIDE_POOL *List)
{
    return (PEX_PUSH_LOCK)(PVOID)List->Future;
}

static FORCEINLINE USHORT ExpSListDepth(GENERAL_LOOKASIDE_POOL *List)
{
    return (USHORT)(__atomic_load_n(&List->ListHead.Alignment, __ATOMIC_RELAXED) & KI_SLIST_DEPTH);
}

static FORCEINLINE ULONG ExpListDepth(GENERAL_LOOKASIDE_POOL *List)
{
    return ExpIsPagedList(List) ? (ULONG)__atomic_load_n(&List->ListHead.Region, __ATOMIC_RELAXED)
                                : ExpSListDepth(List);
}

/* ---- Entries ------------------------------------------------------------------------------------------ */

static PVOID ExpPopPaged(GENERAL_LOOKASIDE_POOL *List)
{
    PSINGLE_LIST_ENTRY Entry;

    if (ExpListDepth(List) == 0)
    {
        return NULL;
    }
    KiAcquirePushLockExclusive(ExpListLock(List));
    Entry = PopEntryList(&List->SingleListHead);
    if (Entry != NULL)
    {
        __atomic_store_n(&List->ListHead.Region, List->ListHead.Region - 1, __ATOMIC_RELAXED);
    }
    KiReleasePushLockExclusive(ExpListLock(List));
    return Entry;
}

static VOID ExpPushPaged(GENERAL_LOOKASIDE_POOL *List, PVOID Entry)
{
    KiAcquirePushLockExclusive(ExpListLock(List));
    PushEntryList(&List->SingleListHead, (PSINGLE_LIST_ENTRY)Entry);
    __atomic_store_n(&List->ListHead.Region, List->ListHead.Region + 1, __ATOMIC_RELAXED);
    KiReleasePushLockExclusive(ExpListLock(List));
}

static PVOID ExpPopEntry(GENERAL_LOOKASIDE_POOL *List)
{
    return ExpIsPagedList(List) ? ExpPopPaged(List) : (PVOID)KiPopSList(&List->ListHead);
}

/*
 * A verified driver gets each entry from the list's routine and gives it back to that: so special pool and tracking see a block for each use
 * of an entry, and who touches one that was freed finds what they make of it.
 */
static FORCEINLINE BOOLEAN ExpIsBypassed(const VOID *Caller)
{
    ULONG Flags;

    return ExIsCallerVerified(Caller) && ExIsVerifiedSlow(Caller, &Flags) &&
           (Flags & (DRIVER_VERIFIER_SPECIAL_POOLING | DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS)) != 0;
}

/* An entry from the list, or NULL: the caller asks the list's routine. */
static PVOID ExpTakeEntry(GENERAL_LOOKASIDE_POOL *List, BOOLEAN Bypassed)
{
    PVOID Entry = Bypassed ? NULL : ExpPopEntry(List);

    ExpBump(&List->TotalAllocates);
    if (Entry == NULL)
    {
        ExpBump(&List->AllocateMisses);
    }
    return Entry;
}

/* FALSE: the list is full, and the caller gives the entry to the list's routine. */
static BOOLEAN ExpKeepEntry(GENERAL_LOOKASIDE_POOL *List, PVOID Entry, BOOLEAN Bypassed)
{
    ExpBump(&List->TotalFrees);
    if (Bypassed || ExpListDepth(List) >= __atomic_load_n(&List->Depth, __ATOMIC_RELAXED))
    {
        ExpBump(&List->FreeMisses);
        return FALSE;
    }
    if (ExpIsPagedList(List))
    {
        ExpPushPaged(List, Entry);
    }
    else
    {
        KiPushSList(&List->ListHead, (PSLIST_ENTRY)Entry);
    }
    return TRUE;
}

/* ---- The short way of nonpaged lists -------------------------------------------------------------------- */

static FORCEINLINE BOOLEAN ExpIsAnybodyVerified(void)
{
    return __builtin_expect(__atomic_load_n(&ExpPool()->Verifier.On, __ATOMIC_RELAXED), 0) != 0;
}

/* NULL: the long way, which counts. */
static FORCEINLINE PVOID ExpTakeShort(GENERAL_LOOKASIDE_POOL *List)
{
    PVOID Entry = ExpIsAnybodyVerified() ? NULL : (PVOID)KiTryPopSList(&List->ListHead);

    if (__builtin_expect(Entry != NULL, 1))
    {
        ExpBump(&List->TotalAllocates);
    }
    return Entry;
}

/* FALSE: the long way, which counts. */
static FORCEINLINE BOOLEAN ExpKeepShort(GENERAL_LOOKASIDE_POOL *List, PVOID Entry)
{
    if (__builtin_expect(ExpIsAnybodyVerified() ||
                             ExpSListDepth(List) >= __atomic_load_n(&List->Depth, __ATOMIC_RELAXED) ||
                             !KiTryPushSList(&List->ListHead, (PSLIST_ENTRY)Entry),
                         0))
    {
        return FALSE;
    }
    ExpBump(&List->TotalFrees);
    return TRUE;
}

/* ---- Lists -------------------------------------------------------------------------------------------- */

static VOID ExpInitializeList(GENERAL_LOOKASIDE_POOL *List, POOL_TYPE Type, SIZE_T Size, ULONG Tag)
{
    EX_POOL *Pool = ExpPool();
    KIRQL OldIrql;

    __builtin_memset(List, 0, sizeof(*List));
    List->Depth = EX_MINIMUM_DEPTH;
    List->MaximumDepth = EX_MAXIMUM_DEPTH;
    List->Type = Type;
    List->Tag = Tag;
    List->Size = (ULONG)(Size < LOOKASIDE_MINIMUM_BLOCK_SIZE ? LOOKASIDE_MINIMUM_BLOCK_SIZE : Size);
    OldIrql = KiAcquireSpinLock(&Pool->LookasideLock);
    InsertTailList(&Pool->Lookasides[ExpIsPagedList(List)], &List->ListEntry);
    KiReleaseSpinLock(&Pool->LookasideLock, OldIrql);
}

static VOID ExpUnlinkList(GENERAL_LOOKASIDE_POOL *List)
{
    EX_POOL *Pool = ExpPool();
    KIRQL OldIrql = KiAcquireSpinLock(&Pool->LookasideLock);

    RemoveEntryList(&List->ListEntry);
    KiReleaseSpinLock(&Pool->LookasideLock, OldIrql);
}

/* The two older kinds differ in the pool alone. */
static VOID ExpInitializeOldList(GENERAL_LOOKASIDE_POOL *List, POOL_TYPE Base, PALLOCATE_FUNCTION Allocate,
                                 PFREE_FUNCTION Free, ULONG Flags, SIZE_T Size, ULONG Tag)
{
    ExpInitializeList(List, (POOL_TYPE)((ULONG)Base | Flags), Size, Tag);
    List->Allocate = Allocate != NULL ? Allocate : ExAllocatePoolWithTag;
    List->Free = Free != NULL ? Free : ExFreePool;
}

static VOID ExpDeleteOldList(GENERAL_LOOKASIDE_POOL *List)
{
    PVOID Entry;

    ExpUnlinkList(List);
    while ((Entry = ExpPopEntry(List)) != NULL)
    {
        List->Free(Entry);
    }
}

static DECLSPEC_NOINLINE PVOID ExpAllocateFromOldList(GENERAL_LOOKASIDE_POOL *List, PVOID Caller)
{
    BOOLEAN Bypassed = ExpIsBypassed(Caller);
    PVOID Entry = ExpTakeEntry(List, Bypassed);

    if (Entry != NULL)
    {
        return Entry;
    }
    return Bypassed && List->Allocate == ExAllocatePoolWithTag
               ? ExpAllocateFor(List->Type, List->Size, List->Tag, FALSE, Caller)
               : List->Allocate(List->Type, List->Size, List->Tag);
}

static DECLSPEC_NOINLINE VOID ExpFreeToOldList(GENERAL_LOOKASIDE_POOL *List, PVOID Entry, PVOID Caller)
{
    BOOLEAN Bypassed = ExpIsBypassed(Caller);

    if (ExpKeepEntry(List, Entry, Bypassed))
    {
        return;
    }
    if (Bypassed && List->Free == ExFreePool)
    {
        ExpFreeFor(Entry, Caller);
    }
    else
    {
        List->Free(Entry);
    }
}

VOID NTAPI ExInitializeNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside, PALLOCATE_FUNCTION Allocate,
                                           PFREE_FUNCTION Free, ULONG Flags, SIZE_T Size, ULONG Tag,
                                           USHORT Depth)
{
    UNREFERENCED_PARAMETER(Depth);
    ExpVerifyLookaside(__builtin_return_address(0), &Lookaside->L, TRUE, Size);
    ExpInitializeOldList(&Lookaside->L, NonPagedPool, Allocate, Free, Flags, Size, Tag);
}

VOID NTAPI ExDeleteNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside)
{
    ExpVerifyLookaside(__builtin_return_address(0), &Lookaside->L, FALSE, 0);
    ExpDeleteOldList(&Lookaside->L);
}

PVOID NTAPI ExAllocateFromNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside)
{
    PVOID Entry = ExpTakeShort(&Lookaside->L);

    return __builtin_expect(Entry != NULL, 1)
               ? Entry
               : ExpAllocateFromOldList(&Lookaside->L, __builtin_return_address(0));
}

VOID NTAPI ExFreeToNPagedLookasideList(PNPAGED_LOOKASIDE_LIST Lookaside, PVOID Entry)
{
    if (__builtin_expect(!ExpKeepShort(&Lookaside->L, Entry), 0))
    {
        ExpFreeToOldList(&Lookaside->L, Entry, __builtin_return_address(0));
    }
}

VOID NTAPI ExInitializePagedLookasideList(PPAGED_LOOKASIDE_LIST Lookaside, PALLOCATE_FUNCTION Allocate,
                                          PFREE_FUNCTION Free, ULONG Flags, SIZE_T Size, ULONG Tag,
                                          USHORT Depth)
{
    UNREFERENCED_PARAMETER(Depth);
    ExpVerifyLookaside(__builtin_return_address(0), &Lookaside->L, TRUE, Size);
    ExpInitializeOldList(&Lookaside->L, PagedPool, Allocate, Free, Flags, Size, Tag);
}

VOID NTAPI ExDeletePagedLookasideList(PPAGED_LOOKASIDE_LIST Lookaside)
{
    ExpVerifyLookaside(__builtin_return_address(0), &Lookaside->L, FALSE, 0);
    ExpDeleteOldList(&Lookaside->L);
}

PVOID NTAPI ExAllocateFromPagedLookasideList(PPAGED_LOOKASIDE_LIST Lookaside)
{
    return ExpAllocateFromOldList(&Lookaside->L, __builtin_return_address(0));
}

VOID NTAPI ExFreeToPagedLookasideList(PPAGED_LOOKASIDE_LIST Lookaside, PVOID Entry)
{
    ExpFreeToOldList(&Lookaside->L, Entry, __builtin_return_address(0));
}

/* ---- LOOKASIDE_LIST_EX -------------------------------------------------------------------------------- */

static PVOID NTAPI ExpAllocateEx(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag,
                                 struct _LOOKASIDE_LIST_EX *Lookaside)
{
    UNREFERENCED_PARAMETER(Lookaside);
    return ((ULONG)PoolType & POOL_QUOTA_FAIL_INSTEAD_OF_RAISE) != 0
               ? ExAllocatePoolWithQuotaTag(PoolType, NumberOfBytes, Tag)
               : ExAllocatePoolWithTag(PoolType, NumberOfBytes, Tag);
}

static VOID NTAPI ExpFreeEx(PVOID Buffer, struct _LOOKASIDE_LIST_EX *Lookaside)
{
    UNREFERENCED_PARAMETER(Lookaside);
    ExFreePool(Buffer);
}

NTSTATUS NTAPI ExInitializeLookasideListEx(PLOOKASIDE_LIST_EX Lookaside, PALLOCATE_FUNCTION_EX Allocate,
                                           PFREE_FUNCTION_EX Free, POOL_TYPE PoolType, ULONG Flags,
                                           SIZE_T Size, ULONG Tag, USHORT Depth)
{
    ULONG Type = (ULONG)PoolType;

    UNREFERENCED_PARAMETER(Depth);
    if ((Type & ~(ULONG)(1 | 4 | 32 | POOL_NX_ALLOCATION)) != 0)
    {
        return STATUS_INVALID_PARAMETER_4;
    }
    if (Flags != 0 && Flags != EX_LOOKASIDE_LIST_EX_FLAGS_RAISE_ON_FAIL &&
        Flags != EX_LOOKASIDE_LIST_EX_FLAGS_FAIL_NO_RAISE)
    {
        return STATUS_INVALID_PARAMETER_5;
    }
    if (Flags == EX_LOOKASIDE_LIST_EX_FLAGS_RAISE_ON_FAIL)
    {
        Type |= POOL_RAISE_IF_ALLOCATION_FAILURE;
    }
    else if (Flags == EX_LOOKASIDE_LIST_EX_FLAGS_FAIL_NO_RAISE)
    {
        Type |= POOL_QUOTA_FAIL_INSTEAD_OF_RAISE;
    }
    ExpVerifyLookaside(__builtin_return_address(0), &Lookaside->L, TRUE, Size);
    ExpInitializeList(&Lookaside->L, (POOL_TYPE)Type, Size, Tag);
    Lookaside->L.AllocateEx = Allocate != NULL ? Allocate : ExpAllocateEx;
    Lookaside->L.FreeEx = Free != NULL ? Free : ExpFreeEx;
    return STATUS_SUCCESS;
}

VOID NTAPI ExFlushLookasideListEx(PLOOKASIDE_LIST_EX Lookaside)
{
    PVOID Entry;

    while ((Entry = ExpPopEntry(&Lookaside->L)) != NULL)
    {
        Lookaside->L.FreeEx(Entry, Lookaside);
    }
}

VOID NTAPI ExDeleteLookasideListEx(PLOOKASIDE_LIST_EX Lookaside)
{
    ExpVerifyLookaside(__builtin_return_address(0), &Lookaside->L, FALSE, 0);
    ExpUnlinkList(&Lookaside->L);
    ExFlushLookasideListEx(Lookaside);
}

static DECLSPEC_NOINLINE PVOID ExpAllocateFromListEx(PLOOKASIDE_LIST_EX Lookaside, PVOID Caller)
{
    GENERAL_LOOKASIDE_POOL *List = &Lookaside->L;
    BOOLEAN Bypassed = ExpIsBypassed(Caller);
    PVOID Entry = ExpTakeEntry(List, Bypassed);

    if (Entry != NULL)
    {
        return Entry;
    }
    return Bypassed && List->AllocateEx == ExpAllocateEx
               ? ExpAllocateFor(List->Type, List->Size, List->Tag,
                                ((ULONG)List->Type & POOL_QUOTA_FAIL_INSTEAD_OF_RAISE) != 0, Caller)
               : List->AllocateEx(List->Type, List->Size, List->Tag, Lookaside);
}

static DECLSPEC_NOINLINE VOID ExpFreeToListEx(PLOOKASIDE_LIST_EX Lookaside, PVOID Entry, PVOID Caller)
{
    GENERAL_LOOKASIDE_POOL *List = &Lookaside->L;
    BOOLEAN Bypassed = ExpIsBypassed(Caller);

    if (ExpKeepEntry(List, Entry, Bypassed))
    {
        return;
    }
    if (Bypassed && List->FreeEx == ExpFreeEx)
    {
        ExpFreeFor(Entry, Caller);
    }
    else
    {
        List->FreeEx(Entry, Lookaside);
    }
}

PVOID NTAPI ExAllocateFromLookasideListEx(PLOOKASIDE_LIST_EX Lookaside)
{
    PVOID Entry = ExpIsPagedList(&Lookaside->L) ? NULL : ExpTakeShort(&Lookaside->L);

    return __builtin_expect(Entry != NULL, 1) ? Entry
                                              : ExpAllocateFromListEx(Lookaside, __builtin_return_address(0));
}

VOID NTAPI ExFreeToLookasideListEx(PLOOKASIDE_LIST_EX Lookaside, PVOID Entry)
{
    if (ExpIsPagedList(&Lookaside->L) || !ExpKeepShort(&Lookaside->L, Entry))
    {
        ExpFreeToListEx(Lookaside, Entry, __builtin_return_address(0));
    }
}

/* ---- Depth and statistics ----------------------------------------------------------------------------- */

/* Many misses: deeper, the faster the more there are; none, or hardly any use: shallower. */
static VOID ExpAdjustDepth(GENERAL_LOOKASIDE_POOL *List)
{
    ULONG Total = __atomic_load_n(&List->TotalAllocates, __ATOMIC_RELAXED);
    ULONG AllMisses = __atomic_load_n(&List->AllocateMisses, __ATOMIC_RELAXED);
    ULONG Allocates = Total - List->LastTotalAllocates;
    ULONG Misses = AllMisses - List->LastAllocateMisses;
    ULONG Depth = List->Depth;

    List->LastTotalAllocates = Total;
    List->LastAllocateMisses = AllMisses;
    if (Allocates < EX_IDLE_ALLOCATES)
    {
        Depth = Depth > EX_MINIMUM_DEPTH + 10 ? Depth - 10 : EX_MINIMUM_DEPTH;
    }
    else
    {
        ULONG PerThousand = (ULONG)((ULONG64)Misses * 1000 / Allocates);

        if (PerThousand < 5)
        {
            Depth = Depth > EX_MINIMUM_DEPTH ? Depth - 1 : EX_MINIMUM_DEPTH;
        }
        else
        {
            ULONG More = PerThousand * (List->MaximumDepth - Depth) / 2000 + 5;

            Depth += More > 30 ? 30 : More;
            Depth = Depth > List->MaximumDepth ? List->MaximumDepth : Depth;
        }
    }
    __atomic_store_n(&List->Depth, (USHORT)Depth, __ATOMIC_RELAXED);
}

VOID ExAdjustLookasideDepth(void)
{
    EX_POOL *Pool = ExpPool();
    KIRQL OldIrql = KiAcquireSpinLock(&Pool->LookasideLock);

    for (ULONG Paged = 0; Paged < 2; Paged++)
    {
        for (PLIST_ENTRY Link = Pool->Lookasides[Paged].Flink; Link != &Pool->Lookasides[Paged];
             Link = Link->Flink)
        {
            ExpAdjustDepth(CONTAINING_RECORD(Link, GENERAL_LOOKASIDE_POOL, ListEntry));
        }
    }
    KiReleaseSpinLock(&Pool->LookasideLock, OldIrql);
}

PVOID ExpFindLookasideInRange(ULONG_PTR Start, ULONG_PTR End)
{
    EX_POOL *Pool = ExpPool();
    KIRQL OldIrql = KiAcquireSpinLock(&Pool->LookasideLock);
    PVOID Found = NULL;

    for (ULONG Paged = 0; Paged < 2; Paged++)
    {
        for (PLIST_ENTRY Link = Pool->Lookasides[Paged].Flink;
             Link != &Pool->Lookasides[Paged] && Found == NULL; Link = Link->Flink)
        {
            GENERAL_LOOKASIDE_POOL *List = CONTAINING_RECORD(Link, GENERAL_LOOKASIDE_POOL, ListEntry);

            Found = (ULONG_PTR)List >= Start && (ULONG_PTR)List <= End ? List : NULL;
        }
    }
    KiReleaseSpinLock(&Pool->LookasideLock, OldIrql);
    return Found;
}

SIZE_T ExQueryLookasides(SYSTEM_LOOKASIDE_INFORMATION *Entries, SIZE_T Count)
{
    EX_POOL *Pool = ExpPool();
    KIRQL OldIrql = KiAcquireSpinLock(&Pool->LookasideLock);
    SIZE_T Found = 0;

    for (ULONG Paged = 0; Paged < 2; Paged++)
    {
        for (PLIST_ENTRY Link = Pool->Lookasides[Paged].Flink; Link != &Pool->Lookasides[Paged];
             Link = Link->Flink, Found++)
        {
            GENERAL_LOOKASIDE_POOL *List = CONTAINING_RECORD(Link, GENERAL_LOOKASIDE_POOL, ListEntry);

            if (Found < Count)
            {
                Entries[Found] = (SYSTEM_LOOKASIDE_INFORMATION){ .CurrentDepth = List->Depth,
                                                                 .MaximumDepth = List->MaximumDepth,
                                                                 .TotalAllocates = List->TotalAllocates,
                                                                 .AllocateMisses = List->AllocateMisses,
                                                                 .TotalFrees = List->TotalFrees,
                                                                 .FreeMisses = List->FreeMisses,
                                                                 .Type = (ULONG)List->Type,
                                                                 .Tag = List->Tag,
                                                                 .Size = List->Size };
            }
        }
    }
    KiReleaseSpinLock(&Pool->LookasideLock, OldIrql);
    return Found;
}
