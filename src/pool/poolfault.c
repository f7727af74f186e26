/* SPDX-License-Identifier: MIT */
/*
 * When the allocator itself meets what cannot be: its own lists name memory that is no block (bug check 0x13A), or it touches, at an IRQL at
 * which nothing can be brought in, memory that it took for a free block (0xC5). The state is outside of the blocks, except the links of
 * lookaside lists, which whoever uses an entry after freeing it overwrites. And which block an address belongs to.
 */
#include "pool/special.h"

VOID ExpReportCorruptState(ULONG_PTR Kind, const EX_POOL_CLASS *Class, const VOID *Address)
{
    KiBugCheckMessage(KERNEL_MODE_HEAP_CORRUPTION, Kind, (ULONG_PTR)Class, (ULONG_PTR)Address, 0,
                      "the pool's lists of blocks of %u bytes name %p, which is none: they were written to",
                      Class->Size, Address);
}

/* ---- Faults of the allocator ----------------------------------------------------------------------------------- */

/* What a bin of this processor has, or had just now, and what is no block: Va is its header. */
static BOOLEAN ExpIsOfBin(ULONG_PTR Va, ULONG Paged, ULONG Number)
{
    EX_POOL *Pool = ExpPool();
    const EX_POOL_SOURCE *Source = &Pool->Sources[Paged];
    const EX_POOL_BIN *Bin = &Pool->Processors[KiCurrentProcessor()].Bins[Paged][Number];

    for (ULONG Index = 0; Index <= Bin->Count && Index < EX_BIN_DEPTH; Index++)
    {
        if (Va - (ULONG_PTR)Bin->Blocks[Index] < sizeof(POOL_HEADER))
        {
            return !ExpIsSlabBlock(Source, &Source->Classes[Number], Bin->Blocks[Index]);
        }
    }
    return FALSE;
}

/* The tag of the lookaside list whose first entry Va is, or 0. Nobody waits: whoever has the lock may be the one that faulted. */
static ULONG ExpFindListOfEntry(ULONG_PTR Va)
{
    EX_POOL *Pool = ExpPool();
    ULONG Tag = 0;

    if (!KiTryAcquireSpinLockAtDispatch(&Pool->LookasideLock))
    {
        return 0;
    }
    for (PLIST_ENTRY Link = Pool->Lookasides[0].Flink; Link != &Pool->Lookasides[0] && Tag == 0;
         Link = Link->Flink)
    {
        const GENERAL_LOOKASIDE_POOL *List = CONTAINING_RECORD(Link, GENERAL_LOOKASIDE_POOL, ListEntry);

        Tag = Va - ((ULONG_PTR)List->ListHead.HeaderX64.NextEntry << 4) < sizeof(SLIST_ENTRY) ? List->Tag : 0;
    }
    KiReleaseSpinLockFromDispatch(&Pool->LookasideLock);
    return Tag;
}

VOID ExCheckPoolFault(ULONG_PTR Va, ULONG_PTR Access, PVOID Instruction)
{
    KIRQL Irql = KiCurrentThread()->Irql;
    ULONG Tag;

    if (ExpPool() == NULL || Irql < DISPATCH_LEVEL)
    {
        return;
    }
    for (ULONG Index = 0; Index < 2 * EX_POOL_CLASSES; Index++)
    {
        ULONG Paged = Index / EX_POOL_CLASSES;
        ULONG Number = Index % EX_POOL_CLASSES;

        if (ExpPool()->Sources[Paged].Operations != NULL && ExpIsOfBin(Va, Paged, Number))
        {
            KiBugCheckMessage(DRIVER_CORRUPTED_EXPOOL, Va, Irql, Access, (ULONG_PTR)Instruction,
                              "the pool takes %p for a free block of %u bytes: its lists were written to",
                              (PVOID)Va, ExpPool()->Sources[Paged].Classes[Number].Size);
        }
    }
    Tag = ExpFindListOfEntry(Va);
    if (Tag != 0)
    {
        KiBugCheckMessage(
            DRIVER_CORRUPTED_EXPOOL, Va, Irql, Access, (ULONG_PTR)Instruction,
            "the lookaside list with the tag '%s' names %p: somebody wrote to an entry that was freed",
            ExpTagText(Tag).Text, (PVOID)Va);
    }
}

/* ---- What lies where ----------------------------------------------------------------------------------------------- */

static VOID ExpReadPlace(PPOOL_HEADER Header, PVOID *Block, PULONG Tag, PBOOLEAN InUse, PSIZE_T Skipped)
{
    ULONG64 Quad = ExpReadQuad(Header);
    ULONG Type = (ULONG)(Quad >> EX_HEADER_TYPE_SHIFT) & 0xff;
    ULONG_PTR Data = (ULONG_PTR)(Header + 1);

    if ((Type & (EX_HEADER_CACHE_ALIGNED | EX_HEADER_IN_USE)) == (EX_HEADER_CACHE_ALIGNED | EX_HEADER_IN_USE))
    {
        Data = (Data + EX_CACHE_LINE - 1) & ~(ULONG_PTR)(EX_CACHE_LINE - 1);
    }
    *Block = (PVOID)Data;
    *Tag = (ULONG)(Quad >> 32);
    *InUse = (Type & EX_HEADER_IN_USE) != 0;
    *Skipped = Data - (ULONG_PTR)Header;
}

static BOOLEAN ExpFindInSlab(PEX_POOL_SOURCE Source, ULONG Page, const UCHAR *Address, EX_POOL_PLACE *Place)
{
    const EX_POOL_CLASS *Class = &Source->Classes[Source->Pages[Page].Class];
    PUCHAR Base = ExpSlabBase(Source, Page);
    ULONG Number = Address >= Base ? ExpBlockNumber(Source, Page, Address) : Class->Blocks;
    PPOOL_HEADER Header = (PPOOL_HEADER)(PVOID)(Base + (SIZE_T)Number * Class->Size);
    SIZE_T Skipped;

    if (Number >= Class->Blocks)
    {
        return FALSE; /* what is left over of the page */
    }
    ExpReadPlace(Header, &Place->Block, &Place->Tag, &Place->InUse, &Skipped);
    Place->Bytes = Class->Size - Skipped;
    if (Address < (PUCHAR)Place->Block && Number != 0)
    {
        Header = (PPOOL_HEADER)(PVOID)((PUCHAR)Header - Class->Size);
        ExpReadPlace(Header, &Place->Previous, &Place->PreviousTag, &Place->PreviousInUse, &Skipped);
    }
    return TRUE;
}

BOOLEAN ExFindPoolBlock(const VOID *Address, EX_POOL_PLACE *Place)
{
    PEX_POOL_SOURCE Source = ExpPool() != NULL ? ExpFindAnySource(Address) : NULL;
    const EX_POOL_PAGE *Descriptor;
    ULONG Page;

    *Place = (EX_POOL_PLACE){ .Block = NULL };
    if (Source == NULL || Source->Operations == NULL)
    {
        return FALSE;
    }
    Page = (ULONG)(((ULONG_PTR)Address - Source->Base) >> PAGE_SHIFT);
    while (Page > 1 && Source->Pages[Page].Kind == ExPageInRun)
    {
        Page--;
    }
    Descriptor = &Source->Pages[Page];
    Place->Paged = Source->Paged;
    Place->Tag = Descriptor->Tag;
    Place->Exact = TRUE;
    switch (Descriptor->Kind)
    {
    case ExPageSlab:
        Place->Exact = FALSE;
        return ExpFindInSlab(Source, Page, Address, Place);
    case ExPageRun:
        Place->Block = ExpPageAddress(Source, Page);
        Place->Bytes = Descriptor->u.Run.Bytes;
        Place->InUse = TRUE;
        return TRUE;
    case ExPageSpecial:
    case ExPageSpecialFreed:
        Place->Block = ExpPageAddress(Source, Page) + Descriptor->u.Special.Offset;
        Place->Bytes = Descriptor->u.Special.Bytes;
        Place->InUse = Descriptor->Kind == ExPageSpecial;
        Place->Special = TRUE;
        return TRUE;
    default:
        return FALSE;
    }
}
