/* SPDX-License-Identifier: MIT */
/*
 * Tag tracking: every processor has a table of its own, so that an allocation counts itself without a locked
 * instruction; whoever asks adds the tables up. A block that is freed on another processor leaves one row too
 * high and one too low; the sum is right.
 */
#include "pool/expool.h"

EX_TAG_ROW *ExpFindTagRow(EX_POOL_PROCESSOR *Processor, ULONG Tag)
{
    ULONG Index = (Tag * 0x9E3779B1u) >> (32 - EX_TAG_BITS);

    for (ULONG Probe = 0; Probe < EX_TAG_ROWS; Probe++, Index = (Index + 1) & (EX_TAG_ROWS - 1))
    {
        EX_TAG_ROW *Row = &Processor->Tags[Index];
        ULONG Found = __atomic_load_n(&Row->Tag, __ATOMIC_RELAXED);

        if (Found == Tag)
        {
            return Row;
        }
        if (Found == 0)
        {
            __atomic_store_n(&Row->Tag, Tag, __ATOMIC_RELEASE);
            return Row;
        }
    }
    return &Processor->Tags[EX_TAG_ROWS];
}

VOID ExpCountRun(ULONG Tag, ULONG Paged, SIZE_T Bytes, BOOLEAN Allocated)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    EX_TAG_ROW *Row = ExpTagRow(&ExpPool()->Processors[KiCurrentProcessor()], Tag);

    if (Allocated)
    {
        ExpCountAllocation(Row, Paged, Bytes);
    }
    else
    {
        ExpCountFree(Row, Paged, Bytes);
    }
    KiLowerIrqlFromDispatch(OldIrql);
}

static VOID ExpAddRow(SYSTEM_POOLTAG *Sums, const EX_TAG_ROW *Row)
{
    Sums->NonPagedAllocs += __atomic_load_n(&Row->Pool[0].Allocs, __ATOMIC_RELAXED);
    Sums->NonPagedFrees += __atomic_load_n(&Row->Pool[0].Frees, __ATOMIC_RELAXED);
    Sums->NonPagedUsed += __atomic_load_n(&Row->Pool[0].Bytes, __ATOMIC_RELAXED);
    Sums->PagedAllocs += __atomic_load_n(&Row->Pool[1].Allocs, __ATOMIC_RELAXED);
    Sums->PagedFrees += __atomic_load_n(&Row->Pool[1].Frees, __ATOMIC_RELAXED);
    Sums->PagedUsed += __atomic_load_n(&Row->Pool[1].Bytes, __ATOMIC_RELAXED);
}

/* The row of Tag in a table that its processor goes on using. NULL: none. */
static const EX_TAG_ROW *ExpLookUpRow(const EX_POOL_PROCESSOR *Processor, ULONG Tag)
{
    ULONG Index = (Tag * 0x9E3779B1u) >> (32 - EX_TAG_BITS);

    for (ULONG Probe = 0; Probe < EX_TAG_ROWS; Probe++, Index = (Index + 1) & (EX_TAG_ROWS - 1))
    {
        ULONG Found = __atomic_load_n(&Processor->Tags[Index].Tag, __ATOMIC_ACQUIRE);

        if (Found == Tag)
        {
            return &Processor->Tags[Index];
        }
        if (Found == 0)
        {
            return NULL;
        }
    }
    return NULL;
}

BOOLEAN ExQueryPoolTag(ULONG Tag, SYSTEM_POOLTAG *Sums)
{
    const EX_POOL *Pool = ExpPool();
    BOOLEAN Found = FALSE;

    *Sums = (SYSTEM_POOLTAG){ .TagUlong = Tag };
    for (ULONG Processor = 0; Processor < Pool->ProcessorCount; Processor++)
    {
        const EX_TAG_ROW *Row = Tag == EX_TAG_OVERFLOW ? &Pool->Processors[Processor].Tags[EX_TAG_ROWS]
                                                       : ExpLookUpRow(&Pool->Processors[Processor], Tag);
        if (Row != NULL)
        {
            ExpAddRow(Sums, Row);
            Found = TRUE;
        }
    }
    return Found;
}

VOID ExQueryPoolTags(BOOLEAN (*Routine)(const SYSTEM_POOLTAG *Tag, PVOID Context), PVOID Context)
{
    const EX_POOL *Pool = ExpPool();
    SYSTEM_POOLTAG Sums;

    for (ULONG Processor = 0; Processor < Pool->ProcessorCount; Processor++)
    {
        for (ULONG Index = 0; Index < EX_TAG_ROWS; Index++)
        {
            ULONG Tag = __atomic_load_n(&Pool->Processors[Processor].Tags[Index].Tag, __ATOMIC_ACQUIRE);
            BOOLEAN Seen = Tag == 0;

            for (ULONG Earlier = 0; Earlier < Processor && !Seen; Earlier++)
            {
                Seen = ExpLookUpRow(&Pool->Processors[Earlier], Tag) != NULL;
            }
            if (!Seen && ExQueryPoolTag(Tag, &Sums) && !Routine(&Sums, Context))
            {
                return;
            }
        }
    }
    if (ExQueryPoolTag(EX_TAG_OVERFLOW, &Sums) && Sums.NonPagedAllocs + Sums.PagedAllocs != 0)
    {
        Routine(&Sums, Context);
    }
}

VOID ExQueryPoolUsage(BOOLEAN Paged, EX_POOL_USAGE *Usage)
{
    const EX_POOL *Pool = ExpPool();
    const EX_POOL_SOURCE *Source = &Pool->Sources[Paged];

    *Usage = (EX_POOL_USAGE){ .Pages = __atomic_load_n(&Source->PagesInUse, __ATOMIC_RELAXED),
                              .PeakPages = __atomic_load_n(&Source->PeakPages, __ATOMIC_RELAXED),
                              .LimitPages = Source->PageLimit };
    for (ULONG Processor = 0; Processor < Pool->ProcessorCount; Processor++)
    {
        for (ULONG Index = 0; Index <= EX_TAG_ROWS; Index++)
        {
            const EX_TAG_ROW *Row = &Pool->Processors[Processor].Tags[Index];

            Usage->Allocs += __atomic_load_n(&Row->Pool[Paged].Allocs, __ATOMIC_RELAXED);
            Usage->Frees += __atomic_load_n(&Row->Pool[Paged].Frees, __ATOMIC_RELAXED);
            Usage->Bytes += __atomic_load_n(&Row->Pool[Paged].Bytes, __ATOMIC_RELAXED);
        }
    }
    /* The rows count in 32 bits, as SYSTEM_POOLTAG does: the difference is right also when they have wrapped
     * around. */
    Usage->Blocks = (ULONG)(Usage->Allocs - Usage->Frees);
}

SIZE_T ExQueryPoolLeft(BOOLEAN Paged, PSIZE_T Limit)
{
    const EX_POOL_SOURCE *Source = &ExpPool()->Sources[Paged];
    SIZE_T InUse = __atomic_load_n(&Source->PagesInUse, __ATOMIC_RELAXED);

    *Limit = Source->PageLimit;
    return InUse < Source->PageLimit ? Source->PageLimit - InUse : 0;
}

SIZE_T MiPoolBytesInUse(void)
{
    EX_POOL_USAGE Usage[2];

    ExQueryPoolUsage(FALSE, &Usage[0]);
    ExQueryPoolUsage(TRUE, &Usage[1]);
    return Usage[0].Bytes + Usage[1].Bytes;
}

SIZE_T MiPoolBlocksInUse(void)
{
    EX_POOL_USAGE Usage[2];

    ExQueryPoolUsage(FALSE, &Usage[0]);
    ExQueryPoolUsage(TRUE, &Usage[1]);
    return Usage[0].Blocks + Usage[1].Blocks;
}

SIZE_T MiPoolPagesInUse(void)
{
    return __atomic_load_n(&ExpPool()->Sources[0].PagesInUse, __ATOMIC_RELAXED);
}
