/* SPDX-License-Identifier: MIT */
/*
 * Session pool. Its paged blocks lie in session space, where only threads of the session see them; otherwise they are cut from slabs and
 * runs by the same code as all pool. What sessions do without is the speed of the processors' bins: blocks are taken from and given back to
 * the slabs one by one. Nonpaged blocks come from the machine's pool and are only counted here. Tags are counted by session,
 * so that what a session's drivers have not freed is known when it ends.
 */
#include "pool/special.h"
#include "pool/verifier.h"
#include "translation/translation.h"

/* ---- Tags --------------------------------------------------------------------------------------------------- */

/* [T] The row of the tag; Make: a new one if it has none. NULL: it has none. */
static EX_SESSION_TAG *ExpFindSessionTag(EX_SESSION_POOL *Pool, ULONG Tag, BOOLEAN Make)
{
    ULONG Index = (Tag * 0x9E3779B1u) % EX_SESSION_TAGS;

    for (ULONG Probe = 0; Probe < EX_SESSION_TAGS; Probe++, Index = (Index + 1) % EX_SESSION_TAGS)
    {
        EX_SESSION_TAG *Row = &Pool->Tags[Index];

        if (Row->Tag == 0 && Make)
        {
            Row->Tag = Tag;
        }
        if (Row->Tag == Tag || Row->Tag == 0)
        {
            return Row->Tag == Tag ? Row : NULL;
        }
    }
    Pool->Tags[EX_SESSION_TAGS].Tag = EX_TAG_OVERFLOW;
    return &Pool->Tags[EX_SESSION_TAGS];
}

VOID ExpCountSessionAllocation(EX_SESSION_POOL *Pool, ULONG Tag, ULONG Paged, SIZE_T Bytes)
{
    KIRQL OldIrql = KiAcquireSpinLock(&Pool->TagLock);
    EX_SESSION_TAG *Row = ExpFindSessionTag(Pool, Tag, TRUE);

    Row->Allocs[Paged]++;
    Row->Bytes[Paged] += Bytes;
    KiReleaseSpinLock(&Pool->TagLock, OldIrql);
}

VOID ExpCountSessionFree(PVOID Address, ULONG Tag, ULONG Paged, SIZE_T Bytes)
{
    EX_SESSION_POOL *Pool = ExpCurrentSession();
    BOOLEAN Known = FALSE;

    if (Pool != NULL)
    {
        KIRQL OldIrql = KiAcquireSpinLock(&Pool->TagLock);
        EX_SESSION_TAG *Row = ExpFindSessionTag(Pool, Tag, FALSE);

        Known = Row != NULL && Row->Allocs[Paged] != Row->Frees[Paged] && Row->Bytes[Paged] >= Bytes;
        if (Known)
        {
            Row->Frees[Paged]++;
            Row->Bytes[Paged] -= Bytes;
        }
        KiReleaseSpinLock(&Pool->TagLock, OldIrql);
    }
    if (!Known)
    {
        KiBugCheckMessage(BAD_POOL_CALLER, 0x99, (ULONG_PTR)Address, Tag, Paged,
                          "session pool block %p (tag '%s') is freed outside of its session", Address,
                          ExpTagText(Tag).Text);
    }
}

VOID ExQuerySessionTags(EX_SESSION_POOL *Pool, BOOLEAN (*Routine)(const SYSTEM_POOLTAG *Tag, PVOID Context),
                        PVOID Context)
{
    for (ULONG Index = 0; Index <= EX_SESSION_TAGS; Index++)
    {
        KIRQL OldIrql = KiAcquireSpinLock(&Pool->TagLock);
        EX_SESSION_TAG Row = Pool->Tags[Index];
        SYSTEM_POOLTAG Sums = { .TagUlong = Row.Tag,
                                .PagedAllocs = Row.Allocs[1],
                                .PagedFrees = Row.Frees[1],
                                .PagedUsed = Row.Bytes[1],
                                .NonPagedAllocs = Row.Allocs[0],
                                .NonPagedFrees = Row.Frees[0],
                                .NonPagedUsed = Row.Bytes[0] };

        KiReleaseSpinLock(&Pool->TagLock, OldIrql);
        if (Row.Tag != 0 && !Routine(&Sums, Context))
        {
            return;
        }
    }
}

static BOOLEAN ExpAddSessionTag(const SYSTEM_POOLTAG *Tag, PVOID Context)
{
    EX_SESSION_USAGE *Usage = Context;

    Usage->Blocks[0] += Tag->NonPagedAllocs - Tag->NonPagedFrees;
    Usage->Blocks[1] += Tag->PagedAllocs - Tag->PagedFrees;
    Usage->Bytes[0] += Tag->NonPagedUsed;
    Usage->Bytes[1] += Tag->PagedUsed;
    return TRUE;
}

VOID ExQuerySessionPool(EX_SESSION_POOL *Pool, EX_SESSION_USAGE *Usage)
{
    *Usage = (EX_SESSION_USAGE){ .Blocks = { 0, 0 } };
    ExQuerySessionTags(Pool, ExpAddSessionTag, Usage);
}

static BOOLEAN ExpPrintSessionLeak(const SYSTEM_POOLTAG *Tag, PVOID Context)
{
    UNREFERENCED_PARAMETER(Context);
    (VOID) ExpPrintTagLeak(Tag);
    return TRUE;
}

VOID ExReportSessionLeaks(EX_SESSION_POOL *Pool)
{
    ExQuerySessionTags(Pool, ExpPrintSessionLeak, NULL);
}

/* ---- Blocks -------------------------------------------------------------------------------------------------- */

PEX_POOL_SOURCE ExpFindSessionSource(const VOID *Address)
{
    EX_SESSION_POOL *Pool = MiIsSessionAddress((ULONG_PTR)Address) ? ExpCurrentSession() : NULL;

    return Pool != NULL && (ULONG_PTR)Address - Pool->Source.Base < Pool->Source.Span ? &Pool->Source : NULL;
}

PEX_POOL_SOURCE ExpFindAnySource(const VOID *Address)
{
    PEX_POOL_SOURCE Source = ExpFindSource(ExpPool(), Address);

    return Source != NULL ? Source : ExpFindSessionSource(Address);
}

PUCHAR ExpPopSessionBlock(PEX_POOL_SOURCE Source, ULONG Class)
{
    EX_POOL_BIN Bin = { .Count = 0, .Depth = 2 }; /* refilled to half of its depth */

    do
    {
        KIRQL OldIrql = KiRaiseIrqlToDispatch();

        (VOID) ExpRefillBin(Source, Class, &Bin);
        KiLowerIrqlFromDispatch(OldIrql);
    } while (Bin.Count == 0 && ExpGrowClass(Source, Class));
    return Bin.Count != 0 ? Bin.Blocks[0] : NULL;
}

VOID ExpPushSessionBlock(PEX_POOL_SOURCE Source, ULONG Class, PUCHAR Block)
{
    EX_POOL_BIN Bin = { .Count = 1, .Depth = 2, .Blocks = { Block } };
    ULONG Empty[1];
    ULONG Count;
    KIRQL OldIrql = KiRaiseIrqlToDispatch();

    Count = ExpFlushBin(Source, Class, &Bin, 1, Empty);
    KiLowerIrqlFromDispatch(OldIrql);
    ExpReleasePages(Source, Count, Empty);
}

/* ---- Birth and death ------------------------------------------------------------------------------------------ */

NTSTATUS ExpAttachSessionPool(EX_SESSION_POOL *Pool, const EX_POOL_SOURCE_OPERATIONS *Operations,
                              PVOID Region, ULONG_PTR Base, SIZE_T Pages)
{
    PEX_POOL_SOURCE Source = &Pool->Source;

    Source->Pages = PortAllocateBootMemory(Pages * sizeof(EX_POOL_PAGE));
    if (Source->Pages == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Source->Map = NULL;
    Source->Base = Base;
    Source->Paged = TRUE;
    Source->Session = TRUE;
    Source->Region = Region;
    Source->PageLimit = Pages - 1;
    Source->Homes = 1;
    Source->Slabs = Pool->Slabs;
    ExpInitializeClasses(Source);
    Source->Span = Pages << PAGE_SHIFT;
    Source->Operations = Operations;
    return STATUS_SUCCESS;
}

VOID ExpDetachSessionPool(EX_SESSION_POOL *Pool)
{
    PEX_POOL_SOURCE Source = &Pool->Source;

    if (Source->Pages == NULL)
    {
        return;
    }
    ExpForgetSession(Pool);
    ExpReleaseFreedOf(Source);
    ExpReleaseEmptySlabs(Source);
    KiRequire(Source->PagesInUse == 0);
    PortFreeBootMemory(Source->Pages, (Source->Span >> PAGE_SHIFT) * sizeof(EX_POOL_PAGE));
    Source->Operations = NULL;
    Source->Pages = NULL;
    Source->Homes = 0;
    Source->Span = 0;
}
