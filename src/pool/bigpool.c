/* SPDX-License-Identifier: MIT */
/*
 * Blocks of more than EX_POOL_LARGEST bytes: whole, consecutive pages without a header. Nonpaged ones are consecutive
 * frames as long as there are any, else they are only consecutive in virtual memory. The big-page table is the descriptor of the first page, found by its number; the runs of a source are chained for whoever wants
 * to see them all.
 */
#include "pool/verifier.h"

KIRQL ExpLockRuns(PEX_POOL_SOURCE Source)
{
    KIRQL OldIrql = KiAcquireSpinLock(&Source->RunLock);

    KiNoteLockAcquired(&Source->RunLock, KiLockPool, FALSE);
    return OldIrql;
}

VOID ExpUnlockRuns(PEX_POOL_SOURCE Source, KIRQL OldIrql)
{
    KiNoteLockReleased(&Source->RunLock);
    KiReleaseSpinLock(&Source->RunLock, OldIrql);
}

static VOID ExpCountPages(PEX_POOL_SOURCE Source, SIZE_T Runs, SIZE_T Pages)
{
    __atomic_store_n(&Source->RunCount, Source->RunCount + Runs, __ATOMIC_RELAXED);
    __atomic_store_n(&Source->RunPages, Source->RunPages + Pages, __ATOMIC_RELAXED);
}

static VOID ExpMarkPages(PEX_POOL_SOURCE Source, ULONG First, SIZE_T Pages, EX_PAGE_KIND Kind,
                         EX_PAGE_KIND Rest)
{
    for (SIZE_T Index = Pages; Index > 0; Index--)
    {
        __atomic_store_n(&Source->Pages[First + Index - 1].Kind, (UCHAR)(Index == 1 ? Kind : Rest),
                         __ATOMIC_RELEASE);
    }
}

/* How much of the last page behind a run has the pattern. That of paged pool, which would come into memory for it, only for verified drivers. */
static SIZE_T ExpRunExtent(const EX_POOL_SOURCE *Source, const EX_POOL_PAGE *Descriptor)
{
    SIZE_T Bytes = Descriptor->u.Run.Bytes;
    SIZE_T End = ROUND_TO_PAGES(Bytes);

    if (Source->Paged && (Descriptor->PoolType & EX_HEADER_TRACKED) == 0)
    {
        return Bytes;
    }
    return End - Bytes < EX_TAIL_BYTES ? End : Bytes + EX_TAIL_BYTES;
}

VOID ExpCheckRuns(PEX_POOL_SOURCE Source)
{
    for (ULONG Page = Source->Runs; Page != 0; Page = Source->Pages[Page].Flink)
    {
        const EX_POOL_PAGE *Descriptor = &Source->Pages[Page];

        ExpCheckTail(ExpPageAddress(Source, Page), Descriptor->u.Run.Bytes, ExpRunExtent(Source, Descriptor),
                     Descriptor->Tag);
    }
}

PVOID ExpAllocateRun(PEX_POOL_SOURCE Source, SIZE_T Bytes, ULONG Tag, ULONG HeaderType,
                     EX_QUOTA_BLOCK *Billed)
{
    SIZE_T Pages = Bytes / PAGE_SIZE + (Bytes % PAGE_SIZE != 0);
    EX_POOL_PAGE *Descriptor;
    ULONG First;
    KIRQL OldIrql;

    if (Pages == 0 || Pages > Source->PageLimit)
    {
        return NULL;
    }
    First = Source->Operations->GetRun(Source, Pages);
    if (First == 0 && !Source->Paged && Pages > 1)
    {
        Source = &ExpPool()->Sources[ExSourceMapped]; /* as many frames, wherever they are */
        First = Source->Operations->GetRun(Source, Pages);
    }
    if (First == 0)
    {
        return NULL;
    }
    Descriptor = &Source->Pages[First];
    Descriptor->u.Run.Bytes = Bytes;
    Descriptor->u.Run.Billed = Billed;
    Descriptor->PoolType = (UCHAR)(HeaderType | EX_HEADER_IN_USE);
    __atomic_store_n(&Descriptor->Tag, Tag, __ATOMIC_RELAXED);
    ExpFillTail(ExpPageAddress(Source, First), Bytes, ExpRunExtent(Source, Descriptor));
    ExpMarkPages(Source, First, Pages, ExPageRun, ExPageInRun);
    OldIrql = ExpLockRuns(Source);
    ExpLinkPage(Source, &Source->Runs, First);
    ExpCountPages(Source, 1, Pages);
    ExpUnlockRuns(Source, OldIrql);
    if (!Source->Session)
    {
        ExpCountRun(Tag, Source->Paged, Pages << PAGE_SHIFT, TRUE);
    }
    ExpUnpoison(ExpPageAddress(Source, First), Pages << PAGE_SHIFT);
    ExpPoisonIn(Source, ExpPageAddress(Source, First) + Bytes, (Pages << PAGE_SHIFT) - Bytes);
    return ExpPageAddress(Source, First);
}

VOID ExpFreeRun(PEX_POOL_SOURCE Source, ULONG Page, PVOID Address, ULONG Tag)
{
    EX_POOL_PAGE *Descriptor = &Source->Pages[Page];
    SIZE_T Bytes = Descriptor->u.Run.Bytes;
    SIZE_T Pages = Bytes / PAGE_SIZE + (Bytes % PAGE_SIZE != 0);
    EX_QUOTA_BLOCK *Billed = Descriptor->u.Run.Billed;
    UCHAR Expected = ExPageRun;
    ULONG Found = Descriptor->Tag;
    KIRQL OldIrql;

    if (BYTE_OFFSET(Address) != 0)
    {
        KiBugCheckMessage(BAD_POOL_CALLER, 0x99, (ULONG_PTR)Address, Bytes, 0,
                          "%p is freed, which is not the start of its block of %llu bytes", Address,
                          (ULONG64)Bytes);
    }
    if (Found != Tag && (Tag != 0 || (Found & EX_PROTECTED_TAG) != 0))
    {
        ExpReportWrongTag(Address, Found, Tag);
    }
    ExpCheckTail(Address, Bytes, ExpRunExtent(Source, Descriptor), Found);
    if (!__atomic_compare_exchange_n(&Descriptor->Kind, &Expected, (UCHAR)ExPageInRun, FALSE,
                                     __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
    {
        KiBugCheckMessage(BAD_POOL_CALLER, 0x07, 0, Found, (ULONG_PTR)Address, "pool block %p is freed twice",
                          Address);
    }
    if ((Descriptor->PoolType & EX_HEADER_TRACKED) != 0)
    {
        ExpVerifyFreedRange(Address, Bytes, Source->Paged);
        ExpForgetTracked(Address);
    }
    if ((Descriptor->PoolType & EX_HEADER_SESSION) != 0)
    {
        ExpCountSessionFree(Address, Found, Source->Paged, Pages << PAGE_SHIFT);
    }
    OldIrql = ExpLockRuns(Source);
    ExpUnlinkPage(Source, &Source->Runs, Page);
    ExpCountPages(Source, (SIZE_T)-1, 0 - Pages);
    ExpUnlockRuns(Source, OldIrql);
    if (!Source->Session)
    {
        ExpCountRun(Found, Source->Paged, Pages << PAGE_SHIFT, FALSE);
    }
    if (Billed != NULL)
    {
        ExpReturnQuota(Billed, Source->Paged, Bytes);
    }
    ExpUnpoison(Address, Pages << PAGE_SHIFT);
    ExpMarkPages(Source, Page, Pages, ExPageNone, ExPageNone);
    Source->Operations->PutRun(Source, Page, Pages);
}

SIZE_T ExQueryBigPool(SYSTEM_BIGPOOL_ENTRY *Entries, SIZE_T Count)
{
    SIZE_T Found = 0;

    for (ULONG Number = 0; Number < ExSourceMaximum; Number++)
    {
        PEX_POOL_SOURCE Source = &ExpPool()->Sources[Number];
        KIRQL OldIrql;

        if (Source->Operations == NULL)
        {
            continue;
        }
        OldIrql = ExpLockRuns(Source);
        for (ULONG Page = Source->Runs; Page != 0; Page = Source->Pages[Page].Flink)
        {
            if (Found < Count)
            {
                SYSTEM_BIGPOOL_ENTRY *Entry = &Entries[Found];

                Entry->VirtualAddress = ExpPageAddress(Source, Page);
                Entry->NonPaged = !Source->Paged;
                Entry->SizeInBytes = ROUND_TO_PAGES(Source->Pages[Page].u.Run.Bytes);
                Entry->TagUlong = Source->Pages[Page].Tag;
            }
            Found++;
        }
        ExpUnlockRuns(Source, OldIrql);
    }
    return Found;
}
