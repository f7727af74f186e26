/* SPDX-License-Identifier: MIT */
/*
 * The middle of the pool: pages cut into blocks of one size. Which blocks of a slab are free stands in its
 * descriptor as bits, not in the blocks: so a lock never covers a touch of pageable memory, and a block that
 * its owner wrote to after freeing it cannot lead the allocator astray. Processors take blocks from here in
 * bulk, each from slabs of its own, and bring them back in bulk, to whose they are.
 */
#include "pool/expool.h"

/*
 * Chosen so that little of a page is left over. The largest is what BlockSize can say. Of the large ones few fit into a page: what
 * they leave over sets the first one off, page by page, since headers that all begin pages would share a few sets of
 * the processor's caches.
 */
static const USHORT ExpClassSizes[EX_POOL_CLASSES] = { 32,   48,   64,   80,   96,   112,  128,  144,
                                                       160,  176,  192,  224,  256,  272,  288,  304,
                                                       336,  368,  400,  448,  512,  576,  672,  816,
                                                       1024, 1360, 1856, 2048, 2720, 3264, 3760, 4080 };

/* Free blocks at hand on each processor, in bytes of each class; and empty pages that a class keeps for it. Less
 * where memory is small, in pages for each processor. */
#define EX_BIN_BYTES    0x20000u
#define EX_KEPT_PAGES   8u
#define EX_KEPT_SINGLES 128u /* of the class that has one block in a page */
#define EX_SMALL_MEMORY 0x4000u

C_ASSERT(EX_POOL_LARGEST + sizeof(POOL_HEADER) == 4080);

VOID ExpInitializeClasses(PEX_POOL_SOURCE Source)
{
    EX_POOL *Pool = ExpPool();
    ULONG Units = 0;
    ULONG Share = MiState.Physical->NumberOfPages / Pool->ProcessorCount < EX_SMALL_MEMORY ? 8 : 1;

    for (ULONG Index = 0; Index < EX_POOL_CLASSES; Index++)
    {
        EX_POOL_CLASS *Class = &Source->Classes[Index];
        ULONG Size = ExpClassSizes[Index];

        Class->Size = Size;
        Class->Blocks = PAGE_SIZE / Size;
        Class->Colours = (PAGE_SIZE - Class->Blocks * Size) / EX_CACHE_LINE + 1;
        Class->Reciprocal = (ULONG)((0x100000000ull + Size - 1) / Size);
        Class->Depth = EX_BIN_BYTES / Share / Size;
        Class->Depth = Class->Depth < EX_BIN_DEPTH ? Class->Depth : EX_BIN_DEPTH;
        Class->Depth = Class->Depth > 4 ? Class->Depth : 4;
        Class->EmptyLimit = (Class->Blocks == 1 ? EX_KEPT_SINGLES : EX_KEPT_PAGES) / Share;
        if (Source->Session)
        {
            /* There may be many, and none is in a hurry. */
            Class->Depth = 2;
            Class->EmptyLimit = 1;
        }
        else
        {
            Pool->Facts[Index] = (EX_CLASS_FACTS){
                .Sizes = Size / EX_POOL_UNIT * 0x10001u,
                .Size = (USHORT)Size,
                .Last = (USHORT)(2 * Size <= PAGE_SIZE ? PAGE_SIZE - 2 * Size + sizeof(POOL_HEADER) : 0)
            };
        }
        for (; Units * EX_POOL_UNIT <= Size && !Source->Session; Units++)
        {
            Pool->ClassOf[Units] = (UCHAR)Index;
        }
    }
    for (ULONG Processor = 0; Processor < Pool->ProcessorCount && !Source->Session; Processor++)
    {
        for (ULONG Index = 0; Index < EX_POOL_CLASSES; Index++)
        {
            Pool->Processors[Processor].Bins[Source->Paged][Index].Depth = Source->Classes[Index].Depth;
        }
    }
}

/* ---- Lists of pages ----------------------------------------------------------------------------------- */

VOID ExpLinkPage(PEX_POOL_SOURCE Source, PULONG Head, ULONG Page)
{
    EX_POOL_PAGE *Descriptor = &Source->Pages[Page];

    Descriptor->Blink = 0;
    Descriptor->Flink = *Head;
    if (*Head != 0)
    {
        Source->Pages[*Head].Blink = Page;
    }
    *Head = Page;
}

VOID ExpUnlinkPage(PEX_POOL_SOURCE Source, PULONG Head, ULONG Page)
{
    EX_POOL_PAGE *Descriptor = &Source->Pages[Page];

    if (Descriptor->Blink != 0)
    {
        Source->Pages[Descriptor->Blink].Flink = Descriptor->Flink;
    }
    else
    {
        KiRequire(*Head == Page);
        *Head = Descriptor->Flink;
    }
    if (Descriptor->Flink != 0)
    {
        Source->Pages[Descriptor->Flink].Blink = Descriptor->Blink;
    }
    Descriptor->Flink = 0;
    Descriptor->Blink = 0;
}

static FORCEINLINE VOID ExpLockSlabs(EX_POOL_SLABS *Slabs)
{
    KiAcquireSpinLockAtDispatch(&Slabs->Lock);
    KiNoteLockAcquired(&Slabs->Lock, KiLockPool, FALSE);
}

static FORCEINLINE VOID ExpUnlockSlabs(EX_POOL_SLABS *Slabs)
{
    KiNoteLockReleased(&Slabs->Lock);
    KiReleaseSpinLockFromDispatch(&Slabs->Lock);
}

/* At DISPATCH_LEVEL: the home of what is made here. */
static FORCEINLINE ULONG ExpCurrentHome(const EX_POOL_SOURCE *Source)
{
    return Source->Homes == 1 ? 0 : KiCurrentProcessor();
}

/* ---- Slabs -------------------------------------------------------------------------------------------- */

static FORCEINLINE BOOLEAN ExpHasFree(const EX_POOL_PAGE *Page)
{
    return (Page->u.Free[0] | Page->u.Free[1]) != 0;
}

/* Session pool has no map: its blocks are never freed the short way. */
static VOID ExpSetMap(PEX_POOL_SOURCE Source, ULONG Page, UCHAR Value)
{
    if (Source->Map != NULL)
    {
        __atomic_store_n(&Source->Map[Page], Value, __ATOMIC_RELEASE);
    }
}

/* The page is nobody's yet. Writes the headers of all its blocks: each is free. May fault. */
static VOID ExpCutPage(PEX_POOL_SOURCE Source, ULONG Number, ULONG Page)
{
    const EX_POOL *Pool = ExpPool();
    const EX_POOL_CLASS *Class = &Source->Classes[Number];
    EX_POOL_PAGE *Descriptor = &Source->Pages[Page];
    PUCHAR Address;

    ExpUnpoison(ExpPageAddress(Source, Page), PAGE_SIZE);
    Descriptor->Class = (UCHAR)Number;
    Descriptor->PoolType = (UCHAR)(Page % Class->Colours);
    Address = ExpSlabBase(Source, Page);
    for (ULONG Block = 0; Block < Class->Blocks; Block++)
    {
        PPOOL_HEADER Header = (PPOOL_HEADER)(PVOID)(Address + (SIZE_T)Block * Class->Size);

        ULONG64 Quad = ExpSizesAt(Class->Size / EX_POOL_UNIT, Header);

        ExpWriteHeader(Header, Quad, ExpSeal(Pool, Header, Quad, 0));
        ExpPoisonIn(Source, Header, Class->Size);
    }
    Descriptor->u.Free[0] = Class->Blocks >= 64 ? ~0ull : (1ull << Class->Blocks) - 1;
    Descriptor->u.Free[1] = Class->Blocks < 65     ? 0
                            : Class->Blocks == 128 ? ~0ull
                                                   : (1ull << (Class->Blocks - 64)) - 1;
    Descriptor->InUse = 0;
    __atomic_store_n(&Descriptor->Kind, ExPageSlab, __ATOMIC_RELEASE);
    ExpSetMap(Source, Page, (UCHAR)(Number + 1));
}

BOOLEAN ExpGrowClass(PEX_POOL_SOURCE Source, ULONG Number)
{
    const EX_POOL_CLASS *Class = &Source->Classes[Number];
    EX_POOL_SLABS *Slabs;
    ULONG Pages[EX_BIN_DEPTH];
    ULONG Wanted = Class->Depth / 2 / Class->Blocks;
    ULONG Home;
    ULONG Got;
    KIRQL OldIrql;

    Got = Source->Operations->GetPages(Source, Wanted != 0 ? Wanted : 1, Pages);
    for (ULONG Index = 0; Index < Got; Index++)
    {
        ExpCutPage(Source, Number, Pages[Index]);
    }
    if (Got == 0)
    {
        return FALSE;
    }
    OldIrql = KiRaiseIrqlToDispatch();
    Home = ExpCurrentHome(Source);
    Slabs = ExpSlabsOf(Source, Home, Number);
    ExpLockSlabs(Slabs);
    for (ULONG Index = Got; Index > 0; Index--)
    {
        Source->Pages[Pages[Index - 1]].Home = Home;
        ExpLinkPage(Source, &Slabs->Partial, Pages[Index - 1]);
    }
    __atomic_store_n(&Slabs->Slabs, Slabs->Slabs + Got, __ATOMIC_RELAXED);
    Slabs->Empty += Got;
    ExpUnlockSlabs(Slabs);
    KiLowerIrqlFromDispatch(OldIrql);
    return TRUE;
}

/* Takes up to Wanted blocks of one slab. */
static ULONG ExpTakeBlocks(PEX_POOL_SOURCE Source, const EX_POOL_CLASS *Class, ULONG Page, PUCHAR *Blocks,
                           ULONG Wanted)
{
    EX_POOL_PAGE *Descriptor = &Source->Pages[Page];
    PUCHAR Address = ExpSlabBase(Source, Page);
    ULONG Taken = 0;

    if (!ExpIsSlabBlock(Source, Class, Address))
    {
        ExpReportCorruptState(0xD, Class, Address);
    }
    for (ULONG Word = 0; Word < 2; Word++)
    {
        while (Descriptor->u.Free[Word] != 0 && Taken < Wanted)
        {
            ULONG Block = Word * 64 + (ULONG)__builtin_ctzll(Descriptor->u.Free[Word]);

            Descriptor->u.Free[Word] &= Descriptor->u.Free[Word] - 1;
            Blocks[Taken++] = Address + (SIZE_T)Block * Class->Size;
        }
    }
    Descriptor->InUse = (UCHAR)(Descriptor->InUse + Taken);
    return Taken;
}

static VOID ExpRefillFrom(PEX_POOL_SOURCE Source, ULONG Home, ULONG Number, EX_POOL_BIN *Bin)
{
    const EX_POOL_CLASS *Class = &Source->Classes[Number];
    EX_POOL_SLABS *Slabs = ExpSlabsOf(Source, Home, Number);
    ULONG Wanted = Bin->Depth / 2;
    ULONG Page;

    ExpLockSlabs(Slabs);
    while (Bin->Count < Wanted && (Page = Slabs->Partial) != 0)
    {
        Slabs->Empty -= Source->Pages[Page].InUse == 0;
        Bin->Count += ExpTakeBlocks(Source, Class, Page, &Bin->Blocks[Bin->Count], Wanted - Bin->Count);
        if (!ExpHasFree(&Source->Pages[Page]))
        {
            ExpUnlinkPage(Source, &Slabs->Partial, Page);
            ExpLinkPage(Source, &Slabs->Full, Page);
        }
    }
    ExpUnlockSlabs(Slabs);
}

BOOLEAN ExpRefillBin(PEX_POOL_SOURCE Source, ULONG Number, EX_POOL_BIN *Bin)
{
    ExpRefillFrom(Source, ExpCurrentHome(Source), Number, Bin);
    return Bin->Count != 0;
}

BOOLEAN ExpRefillBinFromOthers(PEX_POOL_SOURCE Source, ULONG Number, EX_POOL_BIN *Bin)
{
    for (ULONG Home = 0; Home < Source->Homes && Bin->Count == 0; Home++)
    {
        ExpRefillFrom(Source, Home, Number, Bin);
    }
    return Bin->Count != 0;
}

/* The home of a block's slab: it stays what it is while a block is in use. */
static ULONG ExpHomeOf(const EX_POOL_SOURCE *Source, const EX_POOL_CLASS *Class, const VOID *Block)
{
    if (!ExpIsSlabBlock(Source, Class, Block))
    {
        ExpReportCorruptState(0x10, Class, Block);
    }
    return Source->Pages[((ULONG_PTR)Block - Source->Base) >> PAGE_SHIFT].Home;
}

/* One block comes back. Returns its page if that is empty now and enough empty ones are kept already, else 0.
 */
static ULONG ExpReturnBlock(PEX_POOL_SOURCE Source, const EX_POOL_CLASS *Class, EX_POOL_SLABS *Slabs,
                            PUCHAR Block)
{
    ULONG Page = (ULONG)(((ULONG_PTR)Block - Source->Base) >> PAGE_SHIFT);
    EX_POOL_PAGE *Descriptor = &Source->Pages[Page];
    ULONG Number = ExpBlockNumber(Source, Page, Block);
    ULONG64 Bit = 1ull << (Number & 63);

    if ((Descriptor->u.Free[Number / 64] & Bit) != 0)
    {
        KiBugCheckMessage(BAD_POOL_CALLER, 0x07, 0, 0, (ULONG_PTR)Block + sizeof(POOL_HEADER),
                          "pool block %p was freed twice by two threads at the same time",
                          Block + sizeof(POOL_HEADER));
    }
    if (!ExpHasFree(Descriptor))
    {
        ExpUnlinkPage(Source, &Slabs->Full, Page);
        ExpLinkPage(Source, &Slabs->Partial, Page);
    }
    Descriptor->u.Free[Number / 64] |= Bit;
    Descriptor->InUse--;
    if (Descriptor->InUse != 0)
    {
        return 0;
    }
    if (Slabs->Empty < Class->EmptyLimit)
    {
        Slabs->Empty++;
        return 0;
    }
    ExpUnlinkPage(Source, &Slabs->Partial, Page);
    __atomic_store_n(&Slabs->Slabs, Slabs->Slabs - 1, __ATOMIC_RELAXED);
    __atomic_store_n(&Descriptor->Kind, ExPageNone, __ATOMIC_RELAXED);
    ExpSetMap(Source, Page, 0);
    return Page;
}

ULONG ExpFlushBin(PEX_POOL_SOURCE Source, ULONG Number, EX_POOL_BIN *Bin, ULONG Count, PULONG Empty)
{
    const EX_POOL_CLASS *Class = &Source->Classes[Number];
    EX_POOL_SLABS *Slabs = NULL;
    ULONG Emptied = 0;

    for (ULONG Index = 0; Index < Count; Index++)
    {
        EX_POOL_SLABS *Home = ExpSlabsOf(Source, ExpHomeOf(Source, Class, Bin->Blocks[Index]), Number);
        ULONG Page;

        if (Home != Slabs)
        {
            if (Slabs != NULL)
            {
                ExpUnlockSlabs(Slabs);
            }
            Slabs = Home;
            ExpLockSlabs(Slabs);
        }
        Page = ExpReturnBlock(Source, Class, Slabs, Bin->Blocks[Index]);
        if (Page != 0)
        {
            Empty[Emptied++] = Page;
        }
    }
    if (Slabs != NULL)
    {
        ExpUnlockSlabs(Slabs);
    }
    for (ULONG Index = Count; Index < Bin->Count; Index++) /* the oldest went */
    {
        Bin->Blocks[Index - Count] = Bin->Blocks[Index];
    }
    Bin->Count -= Count;
    return Emptied;
}

VOID ExpReleasePages(PEX_POOL_SOURCE Source, ULONG Count, const ULONG *Pages)
{
    for (ULONG Index = 0; Index < Count; Index++)
    {
        ExpUnpoison(ExpPageAddress(Source, Pages[Index]), PAGE_SIZE);
    }
    if (Count != 0)
    {
        Source->Operations->PutPages(Source, Count, Pages);
    }
}

/* ---- Trimming ----------------------------------------------------------------------------------------- */

/* One of the slabs that are kept although they are empty. */
static ULONG ExpTakeEmptySlab(PEX_POOL_SOURCE Source, EX_POOL_SLABS *Slabs)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    ULONG Page;

    ExpLockSlabs(Slabs);
    Page = Slabs->Partial;
    while (Page != 0 && Source->Pages[Page].InUse != 0)
    {
        Page = Source->Pages[Page].Flink;
    }
    if (Page != 0)
    {
        ExpUnlinkPage(Source, &Slabs->Partial, Page);
        Slabs->Empty--;
        __atomic_store_n(&Slabs->Slabs, Slabs->Slabs - 1, __ATOMIC_RELAXED);
        __atomic_store_n(&Source->Pages[Page].Kind, ExPageNone, __ATOMIC_RELAXED);
        ExpSetMap(Source, Page, 0);
    }
    ExpUnlockSlabs(Slabs);
    KiLowerIrqlFromDispatch(OldIrql);
    return Page;
}

/* The bins of one processor; the calling thread moves there for the time, as far as its IRQL permits. */
static VOID ExpTrimProcessor(PEX_POOL_SOURCE Source, ULONG Processor)
{
    PKTHREAD Thread = KiCurrentThread();
    ULONG Home = Thread->Processor;
    ULONG Empty[EX_BIN_DEPTH];

    if (Processor != Home && Thread->Irql >= DISPATCH_LEVEL)
    {
        return;
    }
    for (ULONG Index = 0; Index < EX_POOL_CLASSES; Index++)
    {
        EX_POOL_BIN *Bin = &ExpPool()->Processors[Processor].Bins[Source->Paged][Index];
        ULONG Count;
        KIRQL OldIrql;

        Thread->Processor = Processor;
        OldIrql = KiRaiseIrqlToDispatch();
        Count = ExpFlushBin(Source, Index, Bin, Bin->Count, Empty);
        KiLowerIrqlFromDispatch(OldIrql);
        Thread->Processor = Home;
        ExpReleasePages(Source, Count, Empty);
    }
}

VOID ExpReleaseEmptySlabs(PEX_POOL_SOURCE Source)
{
    for (ULONG Index = 0; Index < Source->Homes * EX_POOL_CLASSES; Index++)
    {
        ULONG Page;

        while ((Page = ExpTakeEmptySlab(Source, &Source->Slabs[Index])) != 0)
        {
            ExpReleasePages(Source, 1, &Page);
        }
    }
}

VOID MiTrimPool(void)
{
    EX_POOL *Pool = ExpPool();

    for (ULONG Paged = 0; Paged < 2; Paged++)
    {
        PEX_POOL_SOURCE Source = &Pool->Sources[Paged];

        if (Source->Operations == NULL || (Paged != 0 && KiCurrentThread()->Irql > APC_LEVEL))
        {
            continue;
        }
        for (ULONG Processor = 0; Processor < Pool->ProcessorCount; Processor++)
        {
            ExpTrimProcessor(Source, Processor);
        }
        ExpReleaseEmptySlabs(Source);
    }
}
