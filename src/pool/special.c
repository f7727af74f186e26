/* SPDX-License-Identifier: MIT */
/*
 * Special pool. A block costs a page and two addresses; what it is worth: the first access beyond it, or to it after it was freed,
 * stops the machine at the instruction that did it. When pages or addresses run out, normal pool serves.
 */
#include "pool/special.h"
#include "pool/verifier.h"

#define EX_FREE_TRACES 1024u /* the last frees, by page number */
#define EX_TAG_TRACES  MI_TAG('M', 'm', 'S', 'p')

typedef struct _EX_FREE_TRACE
{
    ULONG Page;
    const EX_POOL_SOURCE *Source; /* never looked into: a session's may have gone */
    PVOID Frames[EX_TRACE_DEPTH];
} EX_FREE_TRACE;

static EX_SPECIAL_POOL *ExpSpecial(void)
{
    return &ExpPool()->Special;
}

/* ---- Which requests ------------------------------------------------------------------------------------- */

BOOLEAN ExpMatchesPattern(const CHAR Pattern[4], ULONG Tag)
{
    for (ULONG Index = 0; Index < 4 && Pattern[Index] != '*'; Index++)
    {
        UCHAR Character =
            (UCHAR)(Tag >> (8 * Index)) & (Index == 3 ? 0x7f : 0xff); /* without EX_PROTECTED_TAG */

        if (Pattern[Index] != '?' && (UCHAR)Pattern[Index] != Character)
        {
            return FALSE;
        }
    }
    return TRUE;
}

BOOLEAN ExpIsSpecialRequest(SIZE_T Bytes, ULONG Tag)
{
    const EX_SPECIAL_POOL *Special = ExpSpecial();
    SIZE_T Maximum = __atomic_load_n(&Special->MaximumBytes, __ATOMIC_RELAXED);
    CHAR Pattern[4];

    if (!__atomic_load_n(&Special->On, __ATOMIC_ACQUIRE) || Bytes > PAGE_SIZE)
    {
        return FALSE;
    }
    for (ULONG Index = 0; Index < sizeof(Pattern); Index++)
    {
        Pattern[Index] = __atomic_load_n(&Special->Tag[Index], __ATOMIC_RELAXED);
    }
    return (Pattern[0] != 0 && ExpMatchesPattern(Pattern, Tag)) ||
           (Maximum != 0 && Bytes >= __atomic_load_n(&Special->MinimumBytes, __ATOMIC_RELAXED) &&
            Bytes <= Maximum);
}

/* ---- The pattern ---------------------------------------------------------------------------------------- */

static VOID ExpReportFill(PEX_POOL_SOURCE Source, ULONG Page, const UCHAR *Byte)
{
    const EX_POOL_PAGE *Descriptor = &Source->Pages[Page];
    PUCHAR Block = ExpPageAddress(Source, Page) + Descriptor->u.Special.Offset;
    UCHAR Fill = Descriptor->u.Special.Fill;
    ULONG Difference = *Byte ^ Fill;

    KiBugCheckMessage(
        SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION, (ULONG_PTR)Block, (ULONG_PTR)Byte, 0,
        (Difference & (Difference - 1)) == 0 ? 0x32
        : Byte > Block                       ? 0x24
                                             : 0x23,
        "special pool block %p (%u bytes, tag %s): the byte at %p, %llu bytes %s, is 0x%02x instead of 0x%02x",
        Block, Descriptor->u.Special.Bytes, ExpTagText(Descriptor->Tag).Text, Byte,
        (ULONG64)(Byte > Block ? Byte - Block - Descriptor->u.Special.Bytes + 1 : Block - Byte),
        Byte > Block ? "beyond its end" : "before its start", *Byte, Fill);
}

/* Everything of the page but the block is as it was filled. */
static VOID ExpCheckFill(PEX_POOL_SOURCE Source, ULONG Page)
{
    const EX_POOL_PAGE *Descriptor = &Source->Pages[Page];
    const UCHAR *Base = ExpPageAddress(Source, Page);
    const UCHAR *Block = Base + Descriptor->u.Special.Offset;
    const UCHAR *Byte = ExpFindOther(Base, Block, Descriptor->u.Special.Fill);

    if (Byte == Block)
    {
        Byte =
            ExpFindOther(Block + Descriptor->u.Special.Bytes, Base + PAGE_SIZE, Descriptor->u.Special.Fill);
    }
    if (Byte != Base + PAGE_SIZE)
    {
        ExpReportFill(Source, Page, Byte);
    }
}

/* ---- Taking --------------------------------------------------------------------------------------------- */

static BOOLEAN ExpReserveSpecial(EX_SPECIAL_POOL *Special)
{
    SIZE_T Blocks = __atomic_add_fetch(&Special->Blocks, 1, __ATOMIC_RELAXED);

    if (Blocks > __atomic_load_n(&Special->PageLimit, __ATOMIC_RELAXED))
    {
        __atomic_sub_fetch(&Special->Blocks, 1, __ATOMIC_RELAXED);
        return FALSE;
    }
    if (Blocks > __atomic_load_n(&Special->PeakBlocks, __ATOMIC_RELAXED))
    {
        __atomic_store_n(&Special->PeakBlocks, Blocks,
                         __ATOMIC_RELAXED); /* a statistic: races lose a little */
    }
    return TRUE;
}

/* The addresses that have been inaccessible for longest. */
static ULONG ExpTakeOldestFreed(PEX_POOL_SOURCE Source, SIZE_T Keep)
{
    KIRQL OldIrql = ExpLockRuns(Source);
    ULONG Page = Source->FreedCount > Keep ? Source->FirstFreed : 0;

    if (Page != 0)
    {
        Source->FirstFreed = Source->Pages[Page].Flink;
        Source->LastFreed = Source->FirstFreed != 0 ? Source->LastFreed : 0;
        Source->Pages[Page].Flink = 0;
        __atomic_store_n(&Source->FreedCount, Source->FreedCount - 1, __ATOMIC_RELAXED);
        __atomic_store_n(&Source->Pages[Page].Kind, ExPageNone, __ATOMIC_RELAXED);
    }
    ExpUnlockRuns(Source, OldIrql);
    return Page;
}

static BOOLEAN ExpReleaseOldestFreed(PEX_POOL_SOURCE Source, SIZE_T Keep)
{
    ULONG Page = ExpTakeOldestFreed(Source, Keep);

    if (Page != 0)
    {
        Source->Operations->PutGuarded(Source, Page);
    }
    return Page != 0;
}

static ULONG ExpGetGuarded(PEX_POOL_SOURCE Source)
{
    ULONG Page = Source->Operations->GetGuarded(Source);

    if (Page == 0 && ExpReleaseOldestFreed(Source, 0))
    {
        Page = Source->Operations->GetGuarded(Source);
    }
    return Page;
}

static PVOID ExpDressSpecial(PEX_POOL_SOURCE Source, ULONG Page, SIZE_T Bytes, ULONG Tag, ULONG HeaderType,
                             BOOLEAN Underrun, EX_QUOTA_BLOCK *Billed)
{
    EX_POOL_PAGE *Descriptor = &Source->Pages[Page];
    SIZE_T Alignment = (HeaderType & EX_HEADER_CACHE_ALIGNED) != 0 ? EX_CACHE_LINE : EX_POOL_UNIT;
    SIZE_T Offset = Underrun ? 0 : (PAGE_SIZE - Bytes) & ~(Alignment - 1);
    KIRQL OldIrql;

    Descriptor->u.Special.Bytes = (USHORT)Bytes;
    Descriptor->u.Special.Offset = (USHORT)Offset;
    Descriptor->u.Special.Fill = ExpDrawFill(Page);
    Descriptor->u.Special.Billed = Billed;
    Descriptor->PoolType = (UCHAR)(HeaderType | EX_HEADER_IN_USE);
    __atomic_store_n(&Descriptor->Tag, Tag, __ATOMIC_RELAXED);
    __builtin_memset(ExpPageAddress(Source, Page), Descriptor->u.Special.Fill, PAGE_SIZE);
    OldIrql = ExpLockRuns(Source);
    ExpLinkPage(Source, &Source->SpecialBlocks, Page);
    __atomic_store_n(&Source->SpecialPages, Source->SpecialPages + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&Descriptor->Kind, ExPageSpecial, __ATOMIC_RELEASE);
    ExpUnlockRuns(Source, OldIrql);
    return ExpPageAddress(Source, Page) + Offset;
}

PVOID ExpAllocateSpecial(PEX_POOL_SOURCE Source, SIZE_T Bytes, ULONG Tag, ULONG HeaderType,
                         EX_SPECIAL_END End, EX_QUOTA_BLOCK *Billed)
{
    EX_SPECIAL_POOL *Special = ExpSpecial();
    ULONG Page = 0;

    if (Source->Operations != NULL && ExpReserveSpecial(Special))
    {
        Page = ExpGetGuarded(Source);
        if (Page == 0)
        {
            __atomic_sub_fetch(&Special->Blocks, 1, __ATOMIC_RELAXED);
        }
    }
    if (Page == 0)
    {
        __atomic_add_fetch(&Special->Fallbacks, 1, __ATOMIC_RELAXED);
        return NULL;
    }
    __atomic_add_fetch(&Special->Allocations, 1, __ATOMIC_RELAXED);
    if (!Source->Session)
    {
        ExpCountRun(Tag, Source->Paged, PAGE_SIZE, TRUE);
    }
    return ExpDressSpecial(Source, Page, Bytes, Tag, HeaderType,
                           End == ExSpecialDefault ? __atomic_load_n(&Special->Underruns, __ATOMIC_RELAXED)
                                                   : End == ExSpecialUnderruns,
                           Billed);
}

BOOLEAN ExpIsSpecialBlock(const VOID *Address)
{
    const EX_POOL_SOURCE *Source = ExpFindAnySource(Address);

    return Source != NULL &&
           Source->Pages[((ULONG_PTR)Address - Source->Base) >> PAGE_SHIFT].Kind == ExPageSpecial;
}

/* ---- Giving back ---------------------------------------------------------------------------------------- */

static VOID ExpNoteFree(PEX_POOL_SOURCE Source, ULONG Page)
{
    EX_POOL *Pool = ExpPool();
    EX_FREE_TRACE Trace = { .Page = Page, .Source = Source };
    KIRQL OldIrql;

    PortCaptureBackTrace(Trace.Frames, EX_TRACE_DEPTH, 3);
    OldIrql = KiAcquireSpinLock(&Pool->DriverLock);
    if (Pool->Special.Traces != NULL)
    {
        Pool->Special.Traces[Page % EX_FREE_TRACES] = Trace;
    }
    KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
}

static VOID ExpQueueFreed(PEX_POOL_SOURCE Source, ULONG Page)
{
    KIRQL OldIrql = ExpLockRuns(Source);

    Source->Pages[Page].Flink = 0;
    *(Source->LastFreed != 0 ? &Source->Pages[Source->LastFreed].Flink : &Source->FirstFreed) = Page;
    Source->LastFreed = Page;
    __atomic_store_n(&Source->FreedCount, Source->FreedCount + 1, __ATOMIC_RELAXED);
    ExpUnlockRuns(Source, OldIrql);
}

/* By settings of its own, or by the verifier's. */
static BOOLEAN ExpIsSpecialOn(void)
{
    const EX_POOL *Pool = ExpPool();

    return __atomic_load_n(&Pool->Special.On, __ATOMIC_RELAXED) ||
           (__atomic_load_n(&Pool->Verifier.Flags, __ATOMIC_RELAXED) & DRIVER_VERIFIER_SPECIAL_POOLING) != 0;
}

/* An eighth of the addresses of the pool at most. */
static SIZE_T ExpFreedLimit(const EX_POOL_SOURCE *Source)
{
    SIZE_T Limit = ExpIsSpecialOn() ? __atomic_load_n(&ExpSpecial()->FreedLimit, __ATOMIC_RELAXED) : 0;
    SIZE_T Most = (Source->Span >> PAGE_SHIFT) / 8 / EX_GUARDED_PAGES;

    return Limit < Most ? Limit : Most;
}

VOID ExpFreeSpecial(PEX_POOL_SOURCE Source, ULONG Page, PVOID Address, ULONG Tag)
{
    EX_POOL_PAGE *Descriptor = &Source->Pages[Page];
    PUCHAR Block = ExpPageAddress(Source, Page) + Descriptor->u.Special.Offset;
    EX_QUOTA_BLOCK *Billed = Descriptor->u.Special.Billed;
    ULONG Bytes = Descriptor->u.Special.Bytes;
    UCHAR Expected = ExPageSpecial;
    ULONG Found = Descriptor->Tag;
    KIRQL OldIrql;

    if (Block != Address)
    {
        KiBugCheckMessage(SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION, (ULONG_PTR)Address, Bytes,
                          PAGE_SIZE - Descriptor->u.Special.Offset, 0x21,
                          "%p is freed, which is not the start of the special pool block %p of %u bytes",
                          Address, Block, Bytes);
    }
    if (Found != Tag && (Tag != 0 || (Found & EX_PROTECTED_TAG) != 0))
    {
        ExpReportWrongTag(Address, Found, Tag);
    }
    ExpCheckFill(Source, Page);
    if ((Descriptor->PoolType & EX_HEADER_SESSION) != 0)
    {
        ExpCountSessionFree(Address, Found, Source->Paged, PAGE_SIZE);
    }
    if (!__atomic_compare_exchange_n(&Descriptor->Kind, &Expected, (UCHAR)ExPageSpecialFreed, FALSE,
                                     __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
    {
        KiBugCheckMessage(SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION, (ULONG_PTR)Address, 0, 0, 0x20,
                          "special pool block %p is freed twice by two threads at the same time", Address);
    }
    if ((Descriptor->PoolType & EX_HEADER_TRACKED) != 0)
    {
        ExpVerifyFreedRange(Address, Bytes, Source->Paged);
        ExpForgetTracked(Address);
    }
    OldIrql = ExpLockRuns(Source);
    ExpUnlinkPage(Source, &Source->SpecialBlocks, Page);
    __atomic_store_n(&Source->SpecialPages, Source->SpecialPages - 1, __ATOMIC_RELAXED);
    ExpUnlockRuns(Source, OldIrql);
    __atomic_sub_fetch(&ExpSpecial()->Blocks, 1, __ATOMIC_RELAXED);
    if (!Source->Session)
    {
        ExpCountRun(Found, Source->Paged, PAGE_SIZE, FALSE);
    }
    if (Billed != NULL)
    {
        ExpReturnQuota(Billed, Source->Paged, ExpQuotaOf(Bytes, Descriptor->PoolType));
    }
    Source->Operations->RevokeGuarded(Source, Page);
    ExpNoteFree(Source, Page);
    ExpQueueFreed(Source, Page);
    ExpReleaseOldestFreed(Source, ExpFreedLimit(Source));
}

VOID ExpReleaseFreedOf(PEX_POOL_SOURCE Source)
{
    while (Source->Operations != NULL && ExpReleaseOldestFreed(Source, 0))
    {
    }
}

VOID ExpReleaseFreedSpecial(void)
{
    for (ULONG Number = ExSourcePaged; Number < ExSourceMaximum; Number++)
    {
        ExpReleaseFreedOf(&ExpPool()->Sources[Number]);
    }
}

/* ---- Faults --------------------------------------------------------------------------------------------- */

static VOID ExpPrintFree(PEX_POOL_SOURCE Source, ULONG Page)
{
    const EX_FREE_TRACE *Traces = ExpSpecial()->Traces;
    const EX_FREE_TRACE *Trace = Traces != NULL ? &Traces[Page % EX_FREE_TRACES] : NULL;

    if (Trace != NULL && Trace->Page == Page && Trace->Source == Source)
    {
        DbgPrint("special pool: block %p was freed by\n",
                 (PVOID)(ExpPageAddress(Source, Page) + Source->Pages[Page].u.Special.Offset));
        ExpPrintTrace(Trace->Frames, EX_TRACE_DEPTH);
    }
}

static DECLSPEC_NORETURN VOID ExpReportFreedAccess(PEX_POOL_SOURCE Source, ULONG Page, ULONG_PTR Va,
                                                   BOOLEAN Write, PVOID Instruction)
{
    const EX_POOL_PAGE *Descriptor = &Source->Pages[Page];

    ExpPrintFree(Source, Page);
    KiBugCheckMessage(ExIsDriverAddress(Instruction) ? DRIVER_PAGE_FAULT_IN_FREED_SPECIAL_POOL
                                                     : PAGE_FAULT_IN_FREED_SPECIAL_POOL,
                      Va, Write, (ULONG_PTR)Instruction, 0,
                      "%p is %s in special pool block %p (%u bytes, tag %s), which was freed", (PVOID)Va,
                      Write ? "written" : "read", ExpPageAddress(Source, Page) + Descriptor->u.Special.Offset,
                      Descriptor->u.Special.Bytes, ExpTagText(Descriptor->Tag).Text);
}

static DECLSPEC_NORETURN VOID ExpReportBeyondAccess(PEX_POOL_SOURCE Source, ULONG Page, ULONG_PTR Va,
                                                    BOOLEAN Write, PVOID Instruction)
{
    const EX_POOL_PAGE *Descriptor = &Source->Pages[Page];
    ULONG_PTR Block = (ULONG_PTR)ExpPageAddress(Source, Page) + Descriptor->u.Special.Offset;

    KiBugCheckMessage(ExIsDriverAddress(Instruction) ? DRIVER_PAGE_FAULT_BEYOND_END_OF_ALLOCATION
                                                     : PAGE_FAULT_BEYOND_END_OF_ALLOCATION,
                      Va, Write, (ULONG_PTR)Instruction, 0,
                      "%p is %s, %llu bytes %s special pool block %p (%u bytes, tag %s)", (PVOID)Va,
                      Write ? "written" : "read",
                      (ULONG64)(Va < Block ? Block - Va : Va - Block - Descriptor->u.Special.Bytes),
                      Va < Block ? "before the start of" : "beyond the end of", (PVOID)Block,
                      Descriptor->u.Special.Bytes, ExpTagText(Descriptor->Tag).Text);
}

VOID ExCheckSpecialPoolFault(ULONG_PTR Va, BOOLEAN Write, PVOID Instruction)
{
    EX_POOL *Pool = ExpPool();
    PEX_POOL_SOURCE Source = Pool != NULL ? ExpFindAnySource((PVOID)Va) : NULL;
    SIZE_T Page;

    if (Source == NULL || Source == &Pool->Sources[ExSourceNonpaged])
    {
        return;
    }
    Page = (Va - Source->Base) >> PAGE_SHIFT;
    for (SIZE_T Near = Page > 1 ? Page - 1 : Page; Near <= Page + 1 && Near < Source->Span >> PAGE_SHIFT;
         Near++)
    {
        UCHAR Kind = __atomic_load_n(&Source->Pages[Near].Kind, __ATOMIC_ACQUIRE);

        if (Kind == ExPageSpecialFreed)
        {
            ExpReportFreedAccess(Source, (ULONG)Near, Va, Write, Instruction);
        }
        if (Kind == ExPageSpecial && Near != Page)
        {
            ExpReportBeyondAccess(Source, (ULONG)Near, Va, Write, Instruction);
        }
    }
}

/* ---- Checks, settings ------------------------------------------------------------------------------------- */

VOID ExpCheckSpecialBlocks(PEX_POOL_SOURCE Source)
{
    SIZE_T Blocks = 0;
    SIZE_T Freed = 0;

    for (ULONG Page = Source->SpecialBlocks; Page != 0; Page = Source->Pages[Page].Flink, Blocks++)
    {
        KiRequire(Source->Pages[Page].Kind == ExPageSpecial);
        ExpCheckFill(Source, Page);
    }
    for (ULONG Page = Source->FirstFreed; Page != 0; Page = Source->Pages[Page].Flink, Freed++)
    {
        KiRequire(Source->Pages[Page].Kind == ExPageSpecialFreed);
    }
    if (Blocks != Source->SpecialPages || Freed != Source->FreedCount)
    {
        KiBugCheckMessage(BAD_POOL_HEADER, 0x3, Blocks, Source->SpecialPages, Freed,
                          "special pool has %llu blocks and %llu freed ones; counted are %llu and %u",
                          (ULONG64)Blocks, (ULONG64)Freed, (ULONG64)Source->SpecialPages, Source->FreedCount);
    }
}

static EX_FREE_TRACE *ExpTakeTraces(void)
{
    EX_POOL *Pool = ExpPool();
    KIRQL OldIrql = KiAcquireSpinLock(&Pool->DriverLock);
    EX_FREE_TRACE *Old = Pool->Special.Traces;

    __atomic_store_n(&Pool->Special.Traces, NULL, __ATOMIC_RELAXED);
    KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
    return Old;
}

static NTSTATUS ExpMakeTraces(EX_SPECIAL_POOL *Special)
{
    EX_POOL *Pool = ExpPool();
    EX_FREE_TRACE *Traces;
    KIRQL OldIrql;

    if (__atomic_load_n(&Special->Traces, __ATOMIC_RELAXED) != NULL)
    {
        return STATUS_SUCCESS;
    }
    Traces = MiAllocatePool(EX_FREE_TRACES * sizeof(*Traces), EX_TAG_TRACES);
    if (Traces == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    OldIrql = KiAcquireSpinLock(&Pool->DriverLock);
    if (Special->Traces == NULL)
    {
        __atomic_store_n(&Special->Traces, Traces, __ATOMIC_RELAXED);
        Traces = NULL;
    }
    KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
    if (Traces != NULL) /* it was on already */
    {
        MiFreePool(Traces, EX_TAG_TRACES);
    }
    return STATUS_SUCCESS;
}

VOID ExpUpdateSpecial(void)
{
    EX_FREE_TRACE *Traces;

    if (ExpIsSpecialOn())
    {
        (VOID) ExpMakeTraces(ExpSpecial()); /* without memory for them bug checks tell less */
        return;
    }
    ExpReleaseFreedSpecial();
    Traces = ExpTakeTraces();
    if (Traces != NULL)
    {
        MiFreePool(Traces, EX_TAG_TRACES);
    }
}

/* Requests look at single values without a lock: for a moment some may be old and others new. */
static VOID ExpStoreSettings(EX_SPECIAL_POOL *Special, const EX_SPECIAL_POOL_SETTINGS *Settings)
{
    EX_POOL *Pool = ExpPool();
    SIZE_T Pages =
        Settings->MaximumPages != 0 ? Settings->MaximumPages : Pool->Sources[ExSourceNonpaged].PageLimit / 4;
    KIRQL OldIrql = KiAcquireSpinLock(&Pool->DriverLock);

    __atomic_store_n(&Special->MinimumBytes, Settings->MinimumBytes, __ATOMIC_RELAXED);
    __atomic_store_n(&Special->MaximumBytes, Settings->MaximumBytes, __ATOMIC_RELAXED);
    __atomic_store_n(&Special->Underruns, Settings->Underruns, __ATOMIC_RELAXED);
    for (ULONG Index = 0; Index < sizeof(Special->Tag); Index++)
    {
        __atomic_store_n(&Special->Tag[Index], Settings->Tag[Index], __ATOMIC_RELAXED);
    }
    __atomic_store_n(&Special->PageLimit, Pages, __ATOMIC_RELAXED);
    __atomic_store_n(&Special->FreedLimit, Settings->MaximumFreed != 0 ? Settings->MaximumFreed : Pages * 4,
                     __ATOMIC_RELAXED);
    __atomic_store_n(&Special->On, TRUE, __ATOMIC_RELEASE);
    KiReleaseSpinLock(&Pool->DriverLock, OldIrql);
}

NTSTATUS ExSetSpecialPool(const EX_SPECIAL_POOL_SETTINGS *Settings)
{
    EX_SPECIAL_POOL *Special = ExpSpecial();
    NTSTATUS Status;

    if (Settings == NULL)
    {
        __atomic_store_n(&Special->On, FALSE, __ATOMIC_RELAXED);
        ExpUpdateWatch();
        ExpUpdateSpecial();
        return STATUS_SUCCESS;
    }
    if (Settings->MinimumBytes > Settings->MaximumBytes || Settings->MaximumBytes > PAGE_SIZE)
    {
        return STATUS_INVALID_PARAMETER;
    }
    Status = ExpMakeTraces(Special);
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    ExpStoreSettings(Special, Settings);
    ExpUpdateWatch();
    return STATUS_SUCCESS;
}

VOID ExQuerySpecialPool(EX_SPECIAL_POOL_COUNTERS *Counters)
{
    const EX_SPECIAL_POOL *Special = ExpSpecial();

    *Counters =
        (EX_SPECIAL_POOL_COUNTERS){ .Blocks = __atomic_load_n(&Special->Blocks, __ATOMIC_RELAXED),
                                    .PeakBlocks = __atomic_load_n(&Special->PeakBlocks, __ATOMIC_RELAXED),
                                    .Allocations = __atomic_load_n(&Special->Allocations, __ATOMIC_RELAXED),
                                    .Fallbacks = __atomic_load_n(&Special->Fallbacks, __ATOMIC_RELAXED) };
    for (ULONG Number = ExSourcePaged; Number < ExSourceMaximum; Number++)
    {
        Counters->Freed += __atomic_load_n(&ExpPool()->Sources[Number].FreedCount, __ATOMIC_RELAXED);
    }
}
