/* SPDX-License-Identifier: MIT */
/*
 * What the pool says when it finds damage, and the look at everything that finds damage nobody has freed yet.
 * The parameters are those of the documented bug checks 0x19 and 0xC2; the sentence names the block, its tag,
 * and who is likely to have done it.
 */
#include "pool/expool.h"
#include "pool/special.h"
#include "pool/verifier.h"
#include "rtl/bitmap.h"
#include "translation/translation.h"

#define EX_REPORTED_TAGS 32u

EX_TAG_TEXT ExpTagText(ULONG Tag)
{
    EX_TAG_TEXT Text = { { 0 } };

    for (ULONG Index = 0; Index < 4; Index++)
    {
        CHAR Character = (CHAR)(Tag >> (8 * Index) & 0x7f);

        Text.Text[Index] = Character >= 0x20 && Character < 0x7f ? Character : '.';
    }
    return Text;
}

VOID ExpReportBadAddress(PVOID Address, PVOID ReturnAddress)
{
    ULONG_PTR Va = (ULONG_PTR)Address;
    PEX_POOL_SOURCE Source = ExpFindAnySource(Address);

    if (Source != NULL && Source->Pages[(Va - Source->Base) >> PAGE_SHIFT].Kind == ExPageSpecialFreed)
    {
        KiBugCheckMessage(SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION, Va, 0, 0, 0x20,
                          "special pool block %p is freed twice", Address);
    }
    ExpReportVerifiedFree(ReturnAddress, 0x10, Va, 0, 0);
    if (Va <= PORT_USER_HIGHEST)
    {
        KiBugCheckMessage(BAD_POOL_CALLER, 0x40, Va, PORT_SYSTEM_START, 0,
                          "%p is freed to the pool, which is a user address", Address);
    }
    if (Va - ExpPool()->Sources[0].Base < ExpPool()->Sources[0].Span)
    {
        KiBugCheckMessage(BAD_POOL_CALLER, 0x41, Va, PortDirectMapFrame(Address),
                          MiState.Physical->HighestPage,
                          "%p is freed, which is no allocated nonpaged pool (freed already?)", Address);
    }
    if (Va - ExpPool()->Sources[1].Base < ExpPool()->Sources[1].Span)
    {
        KiBugCheckMessage(BAD_POOL_CALLER, 0x50, Va, (Va - ExpPool()->Sources[1].Base) >> PAGE_SHIFT,
                          ExpPool()->Sources[1].Span,
                          "%p is freed, which is no allocated paged pool (freed already?)", Address);
    }
    if (MiIsSessionAddress(Va))
    {
        KiBugCheckMessage(BAD_POOL_CALLER, 0x99, Va, 0, 0,
                          "%p is freed, which is no allocated pool of the session that the thread runs in",
                          Address);
    }
    KiBugCheckMessage(BAD_POOL_CALLER, 0x46, Va, 0, 0, "%p is freed, which is no pool block", Address);
}

VOID ExpReportWrongTag(PVOID Address, ULONG Found, ULONG Tag)
{
    KiBugCheckMessage(BAD_POOL_CALLER, 0x0A, (ULONG_PTR)Address, Found, Tag,
                      "pool block %p has the tag '%s' and is freed with '%s'", Address,
                      ExpTagText(Found).Text, ExpTagText(Tag).Text);
}

VOID ExpReportFreeBlockDamage(PPOOL_HEADER Header)
{
    KiBugCheckMessage(
        BAD_POOL_HEADER, 0x0D, (ULONG_PTR)Header, (ULONG_PTR)ExpReadQuad(Header),
        (ULONG_PTR)ExpReadBilled(Header),
        "the header of the free pool block %p was written to: the block before it was overrun, or "
        "somebody wrote "
        "before the start of this block after it was freed",
        (PVOID)(Header + 1));
}

/* Whatever is wrong with a block that lies in a slab. */
VOID ExpReportBadBlock(PEX_POOL_SOURCE Source, ULONG Page, PVOID Address, PVOID ReturnAddress)
{
    const EX_POOL *Pool = ExpPool();
    const EX_POOL_CLASS *Class = &Source->Classes[Source->Pages[Page].Class];
    ULONG Index = ExpBlockNumber(Source, Page, (PUCHAR)Address - sizeof(POOL_HEADER));
    PPOOL_HEADER Start = (PPOOL_HEADER)(PVOID)(ExpSlabBase(Source, Page) +
                                               (SIZE_T)(Index < Class->Blocks ? Index : 0) * Class->Size);
    PPOOL_HEADER Next = (PPOOL_HEADER)(PVOID)((PUCHAR)Start + Class->Size);
    ULONG64 Quad = ExpReadQuad(Start);
    ULONG Type = (ULONG)(Quad >> EX_HEADER_TYPE_SHIFT) & 0xff;
    ULONG Tag = (ULONG)(Quad >> 32);
    BOOLEAN Sized = (Quad & EX_HEADER_SIZES) == ExpSizesAt(Class->Size / EX_POOL_UNIT, Start);

    if (Index < Class->Blocks && Sized && Type == 0 && ExpReadBilled(Start) == ExpSeal(Pool, Start, Quad, 0))
    {
        ExpReportVerifiedFree(ReturnAddress, 0x13, 0, (ULONG_PTR)Start, (ULONG_PTR)Quad);
        KiBugCheckMessage(BAD_POOL_CALLER, 0x07, 0, (ULONG_PTR)Quad, (ULONG_PTR)Address,
                          "pool block %p is freed twice; its tag was '%s'", Address, ExpTagText(Tag).Text);
    }
    if (Index >= Class->Blocks || (PVOID)(Start + 1) != Address)
    {
        if ((Type & EX_HEADER_CACHE_ALIGNED) == 0 || ((ULONG_PTR)Address & (EX_CACHE_LINE - 1)) != 0)
        {
            ExpReportVerifiedFree(ReturnAddress, 0x10, (ULONG_PTR)Address, 0, 0);
            KiBugCheckMessage(
                BAD_POOL_CALLER, 0x99, (ULONG_PTR)Address, Class->Size, Index,
                "%p is freed, which is not the start of a pool block (its slab has blocks of %u bytes)",
                Address, Class->Size);
        }
    }
    if (Sized && (Type & EX_HEADER_IN_USE) != 0 && Index + 1 < Class->Blocks &&
        (ExpReadQuad(Next) & EX_HEADER_SIZES) != ExpSizesAt(Class->Size / EX_POOL_UNIT, Next))
    {
        KiBugCheckMessage(
            BAD_POOL_HEADER, 0x20, (ULONG_PTR)Start, (ULONG_PTR)Next, (ULONG_PTR)ExpReadQuad(Next),
            "the header behind pool block %p (tag '%s') is damaged: the block was written beyond its end",
            Address, ExpTagText(Tag).Text);
    }
    KiBugCheckMessage(
        BAD_POOL_HEADER, Sized ? 0x05 : 0x07, Sized ? (ULONG_PTR)Start : 0,
        (ULONG_PTR)ExpReadQuad((PPOOL_HEADER)Address - 1), (ULONG_PTR)Start,
        "the header of pool block %p is damaged (%llx): the block before it was written beyond its end",
        Address, (ULONG64)ExpReadQuad((PPOOL_HEADER)Address - 1));
}

/* ---- Looking at everything ---------------------------------------------------------------------------- */

static VOID ExpCheckSlab(PEX_POOL_SOURCE Source, ULONG Home, ULONG Number, ULONG Page)
{
    const EX_POOL *Pool = ExpPool();
    const EX_POOL_CLASS *Class = &Source->Classes[Number];
    const EX_POOL_PAGE *Descriptor = &Source->Pages[Page];
    ULONG Free =
        RtlNumberOfSetBitsUlongPtr(Descriptor->u.Free[0]) + RtlNumberOfSetBitsUlongPtr(Descriptor->u.Free[1]);

    if (Descriptor->Kind != ExPageSlab || Descriptor->Class != Number || Descriptor->Home != Home ||
        Free + Descriptor->InUse != Class->Blocks)
    {
        KiBugCheckMessage(BAD_POOL_HEADER, 0x3, Page, Descriptor->InUse, Free,
                          "slab %x (%u bytes): kind %x, class %u, %u blocks in use and %u free of %u", Page,
                          Class->Size, Descriptor->Kind, Descriptor->Class, Descriptor->InUse, Free,
                          Class->Blocks);
    }
    for (ULONG Index = 0; Index < Class->Blocks; Index++)
    {
        PPOOL_HEADER Header = (PPOOL_HEADER)(PVOID)(ExpSlabBase(Source, Page) + (SIZE_T)Index * Class->Size);
        BOOLEAN IsFree = (Descriptor->u.Free[Index / 64] >> (Index & 63) & 1) != 0;

        if ((ExpReadQuad(Header) & EX_HEADER_SIZES) != ExpSizesAt(Class->Size / EX_POOL_UNIT, Header) ||
            (IsFree && ExpReadBilled(Header) != ExpSeal(Pool, Header, ExpReadQuad(Header), 0)))
        {
            KiBugCheckMessage(BAD_POOL_HEADER, 0x07, 0, (ULONG_PTR)ExpReadQuad(Header), (ULONG_PTR)Header,
                              "the header %p of a %s pool block is damaged", (PVOID)Header,
                              IsFree ? "free" : "used");
        }
    }
}

/* Returns how many there are. */
static SIZE_T ExpCheckSlabs(PEX_POOL_SOURCE Source, ULONG Home, ULONG Number)
{
    const EX_POOL_SLABS *Slabs = ExpSlabsOf(Source, Home, Number);
    ULONG Size = Source->Classes[Number].Size;
    SIZE_T Count = 0;
    SIZE_T Empty = 0;

    for (ULONG Page = Slabs->Partial; Page != 0; Page = Source->Pages[Page].Flink, Count++)
    {
        ExpCheckSlab(Source, Home, Number, Page);
        Empty += Source->Pages[Page].InUse == 0;
    }
    for (ULONG Page = Slabs->Full; Page != 0; Page = Source->Pages[Page].Flink, Count++)
    {
        ExpCheckSlab(Source, Home, Number, Page);
    }
    if (Count != Slabs->Slabs || Empty != Slabs->Empty)
    {
        KiBugCheckMessage(BAD_POOL_HEADER, 0x3, Size, Count, Slabs->Slabs,
                          "%llu slabs of blocks of %u bytes, %llu empty; counted are %llu, %u empty",
                          (ULONG64)Count, Size, (ULONG64)Empty, (ULONG64)Slabs->Slabs, Slabs->Empty);
    }
    return Count;
}

VOID ExpCheckSource(PEX_POOL_SOURCE Source)
{
    SIZE_T Pages = 0;

    for (ULONG Home = 0; Home < Source->Homes; Home++)
    {
        for (ULONG Number = 0; Number < EX_POOL_CLASSES; Number++)
        {
            Pages += ExpCheckSlabs(Source, Home, Number);
        }
    }
    ExpCheckRuns(Source);
    if (Source != &ExpPool()->Sources[ExSourceNonpaged])
    {
        ExpCheckSpecialBlocks(Source);
    }
    Pages += Source->SpecialPages;
    if (Source == &ExpPool()->Sources[ExSourceNonpaged])
    {
        Pages += ExpPool()->Sources[ExSourceMapped].PagesInUse;
    }
    if (Pages + Source->RunPages != Source->PagesInUse)
    {
        KiBugCheckMessage(BAD_POOL_HEADER, 0x3, Pages, Source->RunPages, Source->PagesInUse,
                          "%llu slabs and %llu pages of big blocks; %llu pages are in use", (ULONG64)Pages,
                          (ULONG64)Source->RunPages, (ULONG64)Source->PagesInUse);
    }
}

VOID MiCheckPool(void)
{
    for (ULONG Number = 0; Number < ExSourceMaximum; Number++)
    {
        PEX_POOL_SOURCE Source = &ExpPool()->Sources[Number];

        if (Source->Operations != NULL && (!Source->Paged || KiCurrentThread()->Irql <= APC_LEVEL))
        {
            ExpCheckSource(Source);
        }
    }
    if (KiCurrentThread()->Irql <= APC_LEVEL && ExpCurrentSession() != NULL)
    {
        ExpCheckSource(&ExpCurrentSession()->Source);
    }
}

/* ---- What is left at the end -------------------------------------------------------------------------- */

typedef struct _EX_LEAKS
{
    ULONG Lines;    /* that may still be printed */
    ULONG FirstTag; /* and how many blocks have it */
    ULONG FirstBlocks;
} EX_LEAKS;

static ULONG ExpBlocksLeft(const SYSTEM_POOLTAG *Tag)
{
    return Tag->NonPagedAllocs - Tag->NonPagedFrees + Tag->PagedAllocs - Tag->PagedFrees;
}

BOOLEAN ExpPrintTagLeak(const SYSTEM_POOLTAG *Tag)
{
    ULONG Blocks = ExpBlocksLeft(Tag);

    if (Blocks != 0)
    {
        DbgPrint("pool: %u blocks left with the tag %s: %llu bytes nonpaged, %llu paged\n", Blocks,
                 ExpTagText(Tag->TagUlong).Text, (ULONG64)Tag->NonPagedUsed, (ULONG64)Tag->PagedUsed);
    }
    return Blocks != 0;
}

static BOOLEAN ExpPrintLeak(const SYSTEM_POOLTAG *Tag, PVOID Context)
{
    EX_LEAKS *Leaks = Context;
    ULONG Blocks = ExpBlocksLeft(Tag);

    if (ExpPrintTagLeak(Tag))
    {
        if (Leaks->FirstTag == 0)
        {
            Leaks->FirstTag = Tag->TagUlong;
            Leaks->FirstBlocks = Blocks;
        }
        return --Leaks->Lines != 0;
    }
    return TRUE;
}

VOID ExpReportLeaks(void)
{
    EX_LEAKS Leaks = { .Lines = EX_REPORTED_TAGS };
    EX_POOL_USAGE Usage[2];

    ExQueryPoolTags(ExpPrintLeak, &Leaks);
    ExQueryPoolUsage(FALSE, &Usage[0]);
    ExQueryPoolUsage(TRUE, &Usage[1]);
    KiBugCheckMessage(DRIVER_VERIFIER_DETECTED_VIOLATION, 0x62, Leaks.FirstTag, Leaks.FirstBlocks,
                      Usage[0].Blocks + Usage[1].Blocks,
                      "the machine ends with %llu nonpaged and %llu paged pool blocks left",
                      (ULONG64)Usage[0].Blocks, (ULONG64)Usage[1].Blocks);
}
