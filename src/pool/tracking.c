/* SPDX-License-Identifier: MIT */
/*
 * Pool tracking: what verified drivers have allocated and not yet freed, with size, tag and back trace, found by address. Blocks
 * that are tracked carry a bit in their header, so that freeing others costs nothing.
 */
#include "pool/verifier.h"
#include "translation/translation.h"

#define EX_TAG_TRACKED MI_TAG('V', 'f', 'P', 't')

/* Several sessions have blocks at the same address. */
static const EX_SESSION_POOL *ExpSessionOf(const VOID *Address)
{
    return MiIsSessionAddress((ULONG_PTR)Address) ? ExpCurrentSession() : NULL;
}

static PLIST_ENTRY ExpTrackedBucket(const VOID *Address)
{
    ULONG64 Hash = ((ULONG_PTR)Address >> 4) * 0x9e3779b97f4a7c15ull;

    return &ExpPool()->Verifier.Buckets[Hash >> (64 - EX_TRACKED_BITS)];
}

EX_TRACKED *ExpPrepareTracking(PVOID Caller, ULONG Flags)
{
    EX_POOL *Pool = ExpPool();
    EX_TRACKED *Tracked;
    KIRQL OldIrql;

    if ((Flags & DRIVER_VERIFIER_TRACK_POOL_ALLOCATIONS) == 0)
    {
        return NULL;
    }
    Tracked = MiAllocatePool(sizeof(*Tracked), EX_TAG_TRACKED);
    if (Tracked == NULL)
    {
        __atomic_add_fetch(&Pool->Verifier.Counters.UnTrackedPool, 1, __ATOMIC_RELAXED);
        return NULL;
    }
    PortCaptureBackTrace(Tracked->Frames, EX_TRACE_DEPTH, 3);
    OldIrql = KiAcquireSpinLock(&Pool->DriverLock);
    Tracked->Driver = ExpFindDriverLocked((ULONG_PTR)Caller, (ULONG_PTR)Caller);
    KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
    return Tracked;
}

/* From a block in a slab to its end; 0: it is none, and who serves it has patterns of its own. */
static SIZE_T ExpExtentOf(const VOID *Address)
{
    PEX_POOL_SOURCE Source = ExpFindAnySource(Address);
    ULONG Page = (ULONG)(((ULONG_PTR)Address - Source->Base) >> PAGE_SHIFT);
    const EX_POOL_CLASS *Class = &Source->Classes[Source->Pages[Page].Class];

    return Source->Pages[Page].Kind != ExPageSlab
               ? 0
               : (SIZE_T)(ExpBlockNumber(Source, Page, (const POOL_HEADER *)Address - 1) + 1) * Class->Size -
                     (SIZE_T)((const UCHAR *)Address - ExpSlabBase(Source, Page));
}

static VOID ExpAddTracked(EX_TRACKED *Tracked)
{
    EX_DRIVER *Driver = Tracked->Driver;
    ULONG Paged = Tracked->Paged;

    InsertTailList(ExpTrackedBucket(Tracked->Address), &Tracked->Links);
    InsertTailList(&Driver->Allocations, &Tracked->DriverLinks);
    Driver->Blocks[Paged]++;
    Driver->Bytes[Paged] += Tracked->Bytes;
    Driver->PeakBlocks[Paged] =
        Driver->Blocks[Paged] > Driver->PeakBlocks[Paged] ? Driver->Blocks[Paged] : Driver->PeakBlocks[Paged];
    Driver->PeakBytes[Paged] =
        Driver->Bytes[Paged] > Driver->PeakBytes[Paged] ? Driver->Bytes[Paged] : Driver->PeakBytes[Paged];
}

/* DriverLock held. */
static VOID ExpRemoveTracked(EX_TRACKED *Tracked)
{
    RemoveEntryList(&Tracked->Links);
    RemoveEntryList(&Tracked->DriverLinks);
    Tracked->Driver->Blocks[Tracked->Paged]--;
    Tracked->Driver->Bytes[Tracked->Paged] -= Tracked->Bytes;
}

VOID ExpFinishTracking(EX_TRACKED *Tracked, PVOID Address, SIZE_T Bytes, ULONG Tag, ULONG Paged)
{
    EX_POOL *Pool = ExpPool();
    BOOLEAN Added = FALSE;

    if (Tracked == NULL)
    {
        return;
    }
    if (Address != NULL && Tracked->Driver != NULL)
    {
        KIRQL OldIrql;

        Tracked->Address = Address;
        Tracked->Session = ExpSessionOf(Address);
        Tracked->Bytes = Bytes;
        Tracked->Tag = Tag;
        Tracked->Paged = Paged != 0;
        ExpFillTail(Address, Bytes, ExpExtentOf(Address));
        OldIrql = KiAcquireSpinLock(&Pool->DriverLock);
        if (Pool->Verifier.On)
        {
            ExpAddTracked(Tracked);
            Added = TRUE;
        }
        KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
    }
    if (!Added)
    {
        MiFreePool(Tracked, EX_TAG_TRACKED);
    }
}

/* [D] */
static EX_TRACKED *ExpFindTrackedLocked(const VOID *Address)
{
    PLIST_ENTRY Bucket = ExpTrackedBucket(Address);
    const EX_SESSION_POOL *Session = ExpSessionOf(Address);

    for (PLIST_ENTRY Link = Bucket->Flink; Link != Bucket; Link = Link->Flink)
    {
        EX_TRACKED *Tracked = CONTAINING_RECORD(Link, EX_TRACKED, Links);

        if (Tracked->Address == Address && Tracked->Session == Session)
        {
            return Tracked;
        }
    }
    return NULL;
}

VOID ExpCheckTracked(PVOID Address)
{
    EX_POOL *Pool = ExpPool();
    KIRQL OldIrql = KiAcquireSpinLock(&Pool->DriverLock);
    const EX_TRACKED *Tracked = ExpFindTrackedLocked(Address);
    BOOLEAN Known = Tracked != NULL; /* else nobody filled anything */
    SIZE_T Bytes = Known ? Tracked->Bytes : 0;
    ULONG Tag = Known ? Tracked->Tag : 0;

    KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
    if (Known)
    {
        ExpCheckTail(Address, Bytes, ExpExtentOf(Address), Tag);
    }
}

VOID ExpForgetTracked(PVOID Address)
{
    EX_POOL *Pool = ExpPool();
    KIRQL OldIrql = KiAcquireSpinLock(&Pool->DriverLock);
    EX_TRACKED *Found = ExpFindTrackedLocked(Address);

    if (Found != NULL)
    {
        ExpRemoveTracked(Found);
    }
    KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
    if (Found != NULL) /* else the verifier was switched off meanwhile, or the driver has gone */
    {
        MiFreePool(Found, EX_TAG_TRACKED);
    }
}

VOID ExpForgetDriver(EX_DRIVER *Driver)
{
    EX_POOL *Pool = ExpPool();

    for (;;)
    {
        EX_TRACKED *Tracked = NULL;
        KIRQL OldIrql = KiAcquireSpinLock(&Pool->DriverLock);

        if (!IsListEmpty(&Driver->Allocations))
        {
            Tracked = CONTAINING_RECORD(Driver->Allocations.Flink, EX_TRACKED, DriverLinks);
            ExpRemoveTracked(Tracked);
        }
        KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
        if (Tracked == NULL)
        {
            return;
        }
        MiFreePool(Tracked, EX_TAG_TRACKED);
    }
}

/* [D] A tracked block, of the session or (NULL) any. */
static EX_TRACKED *ExpFindAnyTrackedLocked(const EX_SESSION_POOL *Session)
{
    for (ULONG Index = 0; Index < 1u << EX_TRACKED_BITS; Index++)
    {
        PLIST_ENTRY Bucket = &ExpPool()->Verifier.Buckets[Index];

        for (PLIST_ENTRY Link = Bucket->Flink; Link != Bucket; Link = Link->Flink)
        {
            EX_TRACKED *Tracked = CONTAINING_RECORD(Link, EX_TRACKED, Links);

            if (Session == NULL || Tracked->Session == Session)
            {
                return Tracked;
            }
        }
    }
    return NULL;
}

static VOID ExpForgetThose(const EX_SESSION_POOL *Session)
{
    EX_POOL *Pool = ExpPool();
    EX_TRACKED *Tracked;

    do
    {
        KIRQL OldIrql = KiAcquireSpinLock(&Pool->DriverLock);

        Tracked = ExpFindAnyTrackedLocked(Session);
        if (Tracked != NULL)
        {
            ExpRemoveTracked(Tracked);
        }
        KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
        if (Tracked != NULL)
        {
            MiFreePool(Tracked, EX_TAG_TRACKED);
        }
    } while (Tracked != NULL);
}

VOID ExpForgetTrackedAll(void)
{
    ExpForgetThose(NULL);
}

VOID ExpForgetSession(const EX_SESSION_POOL *Session)
{
    ExpForgetThose(Session);
}

/* The Nth tracked block of the driver, copied. FALSE: there are not so many. */
static BOOLEAN ExpCopyTracked(EX_DRIVER *Driver, SIZE_T Nth, EX_TRACKED *Copy)
{
    EX_POOL *Pool = ExpPool();
    KIRQL OldIrql = KiAcquireSpinLock(&Pool->DriverLock);
    PLIST_ENTRY Link = Driver->Allocations.Flink;

    for (; Nth > 0 && Link != &Driver->Allocations; Nth--)
    {
        Link = Link->Flink;
    }
    if (Link != &Driver->Allocations)
    {
        *Copy = *CONTAINING_RECORD(Link, EX_TRACKED, DriverLinks);
    }
    KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
    return Link != &Driver->Allocations;
}

SIZE_T ExReportDriverPool(EX_DRIVER *Driver)
{
    EX_TRACKED Tracked;
    SIZE_T Count = 0;

    for (; ExpCopyTracked(Driver, Count, &Tracked); Count++)
    {
        if (Count < EX_REPORTED_BLOCKS)
        {
            DbgPrint("verifier: %s holds %s pool block %p of %llu bytes, tag %s, allocated by\n",
                     Driver->Name, Tracked.Paged ? "paged" : "nonpaged", Tracked.Address,
                     (ULONG64)Tracked.Bytes, ExpTagText(Tracked.Tag).Text);
            ExpPrintTrace(Tracked.Frames, EX_TRACE_DEPTH);
        }
    }
    return Count;
}
