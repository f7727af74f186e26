/* SPDX-License-Identifier: MIT */
/*
 * ExFreePool and its family. The descriptor of the page tells what the address is, the header whether it is
 * what the caller says; nothing is changed before everything has been checked. The block goes into the
 * processor's bin, whoever allocated it.
 */
#include "pool/special.h"
#include "pool/verifier.h"

static DECLSPEC_NOINLINE DECLSPEC_NORETURN VOID ExpReportFreeIrql(ULONG Paged, BOOLEAN Special, PVOID Address,
                                                                  PVOID ReturnAddress)
{
    KIRQL Irql = KiCurrentThread()->Irql;

    ExpReportVerifiedFree(ReturnAddress, Paged != 0 ? 0x11 : 0x12, Irql, Paged, (ULONG_PTR)Address);
    if (Special)
    {
        KiBugCheckMessage(SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION, Irql, Paged, (ULONG_PTR)Address, 0x31,
                          "%s special pool block %p is freed at IRQL %u", Paged != 0 ? "paged" : "nonpaged",
                          Address, Irql);
    }
    KiBugCheckMessage(BAD_POOL_CALLER, 0x09, Irql, Paged, (ULONG_PTR)Address,
                      "%s pool block %p is freed at IRQL %u", Paged != 0 ? "paged" : "nonpaged", Address,
                      Irql);
}

/* The bin of the processor is full: half of it goes back. */
static DECLSPEC_NOINLINE VOID ExpMakeRoom(EX_POOL *Pool, ULONG Paged, ULONG Number)
{
    ULONG Empty[EX_BIN_DEPTH];
    ULONG Count = 0;
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    EX_POOL_BIN *Bin = &Pool->Processors[KiCurrentProcessor()].Bins[Paged][Number];

    if (Bin->Count == Bin->Depth)
    {
        Count = ExpFlushBin(&Pool->Sources[Paged], Number, Bin, Bin->Depth / 2, Empty);
    }
    KiLowerIrqlFromDispatch(OldIrql);
    ExpReleasePages(&Pool->Sources[Paged], Count, Empty);
}

/* The bin was full: the block is counted already. */
static DECLSPEC_NOINLINE VOID ExpPushBlockLater(EX_POOL *Pool, ULONG Paged, ULONG Number, PUCHAR Block)
{
    BOOLEAN Done = FALSE;

    while (!Done)
    {
        KIRQL OldIrql;
        EX_POOL_BIN *Bin;

        ExpMakeRoom(Pool, Paged, Number);
        OldIrql = KiRaiseIrqlToDispatch();
        Bin = &Pool->Processors[KiCurrentProcessor()].Bins[Paged][Number];
        Done = Bin->Count < Bin->Depth;
        if (Done)
        {
            Bin->Blocks[Bin->Count++] = Block;
        }
        KiLowerIrqlFromDispatch(OldIrql);
    }
}

static FORCEINLINE VOID ExpPushBlock(EX_POOL *Pool, ULONG Paged, ULONG Number, ULONG Tag, PUCHAR Block)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    EX_POOL_PROCESSOR *Processor = &Pool->Processors[KiCurrentProcessor()];
    EX_POOL_BIN *Bin = &Processor->Bins[Paged][Number];
    BOOLEAN Done = Bin->Count < Bin->Depth;

    ExpCountFree(ExpTagRow(Processor, Tag), Paged, Pool->Facts[Number].Size);
    if (__builtin_expect(Done, 1))
    {
        Bin->Blocks[Bin->Count++] = Block;
    }
    KiLowerIrqlFromDispatch(OldIrql);
    if (__builtin_expect(!Done, 0))
    {
        ExpPushBlockLater(Pool, Paged, Number, Block);
    }
}

/* The header that stands right after a block must still be one: its sizes are known without looking. */
static FORCEINLINE BOOLEAN ExpIsNeighbourIntact(ULONG Units, const VOID *Block)
{
    ULONG Bytes = Units * EX_POOL_UNIT;
    const POOL_HEADER *Next = (const POOL_HEADER *)(const VOID *)((const UCHAR *)Block + Bytes);

    /* What a slab leaves over at its end is less than a block. */
    return BYTE_OFFSET(Block) + 2 * Bytes > PAGE_SIZE ||
           (ExpReadQuad(Next) & EX_HEADER_SIZES) == ExpSizesAt(Units, Next);
}

/* Whom the quota of a block goes back to; a bug check when that is nobody. */
static DECLSPEC_NOINLINE EX_QUOTA_BLOCK *ExpTakeBilled(PVOID Address, ULONG Type, ULONG Tag, ULONG64 Billed)
{
    if ((Type & EX_HEADER_QUOTA) == 0 || !ExpIsQuotaBlock((PVOID)(ULONG_PTR)Billed))
    {
        KiBugCheckMessage(BAD_POOL_CALLER, 0x0D, (ULONG_PTR)Address, Tag, (ULONG_PTR)Billed,
                          "the header of pool block %p names %p as charged, which is nobody", Address,
                          (PVOID)(ULONG_PTR)Billed);
    }
    return (EX_QUOTA_BLOCK *)(ULONG_PTR)Billed;
}

static DECLSPEC_NOINLINE VOID ExpFreeBlock(EX_POOL *Pool, PEX_POOL_SOURCE Source, ULONG Page, PVOID Address,
                                           ULONG Tag, PVOID ReturnAddress)
{
    ULONG Paged = Source->Paged;
    ULONG Number = Source->Pages[Page].Class;
    EX_POOL_CLASS *Class = &Source->Classes[Number];
    PPOOL_HEADER Header = (PPOOL_HEADER)Address - 1;
    ULONG Index = ExpBlockNumber(Source, Page, Header);
    PUCHAR Block = ExpSlabBase(Source, Page) + (SIZE_T)Index * Class->Size;
    ULONG64 Quad = ExpReadQuad(Header);
    ULONG64 Billed = ExpSeal(Pool, Header, Quad, 0) ^ ExpReadBilled(Header);
    ULONG Type = (ULONG)(Quad >> EX_HEADER_TYPE_SHIFT) & 0xff;
    ULONG Found = (ULONG)(Quad >> 32);
    EX_QUOTA_BLOCK *Charged = NULL;

    if (__builtin_expect(Index >= Class->Blocks ||
                             (Quad & EX_HEADER_SIZES) != ExpSizesAt(Class->Size / EX_POOL_UNIT, Block) ||
                             (Type & ~(ULONG)EX_HEADER_SESSION) != (EX_HEADER_IN_USE | Paged) ||
                             (PUCHAR)Header != Block || Billed != 0 ||
                             !ExpIsNeighbourIntact(Class->Size / EX_POOL_UNIT, Block),
                         0))
    {
        ULONG Rest = (ULONG)((PUCHAR)Header - Block);
        BOOLEAN Aligned = (Type & EX_HEADER_CACHE_ALIGNED) != 0 ? BYTE_OFFSET(Address) % EX_CACHE_LINE == 0 &&
                                                                      Rest <= EX_CACHE_LINE - EX_POOL_UNIT
                                                                : Rest == 0;

        if (Index >= Class->Blocks ||
            (Quad & EX_HEADER_SIZES) != ExpSizesAt(Class->Size / EX_POOL_UNIT, Block) || !Aligned ||
            (Type & ~(ULONG)(EX_HEADER_SESSION | EX_HEADER_CACHE_ALIGNED | EX_HEADER_QUOTA |
                             EX_HEADER_TRACKED)) != (EX_HEADER_IN_USE | Paged) ||
            !ExpIsNeighbourIntact(Class->Size / EX_POOL_UNIT, Block))
        {
            ExpReportBadBlock(Source, Page, Address, ReturnAddress);
        }
        if (Billed != 0)
        {
            Charged = ExpTakeBilled(Address, Type, Found, Billed);
        }
    }
    if (__builtin_expect(Found != Tag, 0) && (Tag != 0 || (Found & EX_PROTECTED_TAG) != 0))
    {
        ExpReportWrongTag(Address, Found, Tag);
    }
    if (__builtin_expect((Type & EX_HEADER_TRACKED) != 0, 0))
    {
        ExpCheckTracked(Address);
        ExpVerifyFreedRange(Address, Class->Size - (SIZE_T)((PUCHAR)Address - Block), Paged);
        ExpForgetTracked(Address);
    }
    if (__builtin_expect((Type & EX_HEADER_SESSION) != 0, 0))
    {
        ExpCountSessionFree(Address, Found, Paged, Class->Size);
    }
    if (Charged != NULL)
    {
        ExpReturnQuota(Charged, Paged, Class->Size - sizeof(POOL_HEADER));
    }
    if ((PUCHAR)Header != Block)
    {
        ExpWriteHeader(Header, 0, 0);
    }
    Header = (PPOOL_HEADER)(PVOID)Block;
    ExpWriteHeader(Header, (Quad & EX_HEADER_SIZES) | (ULONG64)Found << 32, ExpSeal(Pool, Header, Quad, 0));
    if (__builtin_expect((Type & EX_HEADER_SESSION) != 0, 0) && Source->Session)
    {
        ExpPushSessionBlock(Source, Number, Block);
        return;
    }
    ExpPoison(Block, Class->Size);
    ExpPushBlock(Pool, Paged, Number, Found, Block);
}

/* ---- The short ways ------------------------------------------------------------------------------------- */

typedef struct _EX_PLAIN_BLOCK
{
    PPOOL_HEADER Header;
    ULONG64 Quad;
    ULONG Number; /* of its class */
    ULONG Tag;
} EX_PLAIN_BLOCK;

/*
 * Most blocks: a header that is in every bit what an allocation of the page's class writes at this address, so that the address itself is right,
 * too; and the sizes in the header behind it. Without jumps that depend on where in its slab the block lies. FALSE: the slow way finds
 * out what it is, or what is wrong.
 */
static FORCEINLINE BOOLEAN ExpIsPlainBlock(const EX_POOL *Pool, ULONG Paged, PVOID Address, ULONG Tag,
                                           EX_PLAIN_BLOCK *Block)
{
    const EX_POOL_SOURCE *Source = &Pool->Sources[Paged];
    ULONG_PTR Offset = (ULONG_PTR)Address - Source->Base;
    const EX_CLASS_FACTS *Facts;
    const POOL_HEADER *Next;
    ULONG Inner;
    ULONG Expected;

    if (__builtin_expect(Offset >= Source->Span, 0))
    {
        return FALSE;
    }
    Block->Number = __atomic_load_n(&Source->Map[Offset >> PAGE_SHIFT], __ATOMIC_ACQUIRE) - 1u;
    if (__builtin_expect(Block->Number >= EX_POOL_CLASSES || ((ULONG_PTR)Address & (EX_POOL_UNIT - 1)) != 0 ||
                             BYTE_OFFSET(Address) == 0,
                         0))
    {
        return FALSE;
    }
    Facts = &Pool->Facts[Block->Number];
    Block->Header = (PPOOL_HEADER)Address - 1;
    Block->Quad = ExpReadQuad(Block->Header);
    Block->Tag = (ULONG)(Block->Quad >> 32);
    /* What a slab leaves over at its end is less than a block: the last one is its own neighbour. */
    Inner = (ULONG)0 - (BYTE_OFFSET(Address) <= Facts->Last);
    Next = (const POOL_HEADER *)(const VOID *)((const UCHAR *)Block->Header + (Facts->Size & Inner));
    Expected = (ULONG)Block->Quad ^ (((ULONG)Block->Quad ^ Facts->Sizes) & Inner);
    return __builtin_expect(
        (ULONG)Block->Quad >> 16 == (Facts->Sizes >> 16 | (EX_HEADER_IN_USE | Paged) << 8) &&
            ExpReadBilled(Block->Header) == ExpSeal(Pool, Block->Header, Block->Quad, 0) &&
            ((ULONG)(ExpReadQuad(Next) ^ Expected) & EX_HEADER_SIZES) == 0 &&
            (Block->Tag == Tag || (Tag == 0 && (Block->Tag & EX_PROTECTED_TAG) == 0)),
        1);
}

/* TRUE: freed. */
static FORCEINLINE BOOLEAN ExpFreePlainBlock(EX_POOL *Pool, ULONG Paged, PVOID Address, ULONG Tag)
{
    EX_PLAIN_BLOCK Block;

    if (KiCurrentThread()->Irql > DISPATCH_LEVEL - Paged ||
        !ExpIsPlainBlock(Pool, Paged, Address, Tag, &Block))
    {
        return FALSE;
    }
    ExpWriteQuad(Block.Header, Block.Quad & ~EX_HEADER_TYPE);
    ExpPoison(Block.Header, Pool->Facts[Block.Number].Size);
    ExpPushBlock(Pool, Paged, Block.Number, Block.Tag, (PUCHAR)Block.Header);
    return TRUE;
}

/* The same where everything is at hand: nonpaged, room in the bin, a row of the tag. Calls nothing. */
static FORCEINLINE BOOLEAN ExpFreeFast(EX_POOL *Pool, PVOID Address, ULONG Tag)
{
    EX_PLAIN_BLOCK Block;
    EX_POOL_PROCESSOR *Processor;
    EX_POOL_BIN *Bin;
    EX_TAG_ROW *Row;
    KI_ENTRY Entry;
    ULONG Number;

    if (!ExpIsPlainBlock(Pool, 0, Address, Tag, &Block))
    {
        return FALSE;
    }
    Entry = KiTryEnterProcessor(&Number);
    if (__builtin_expect(Entry == KiNotEntered, 0))
    {
        return FALSE;
    }
    Processor = &Pool->Processors[Number];
    Bin = &Processor->Bins[0][Block.Number];
    Row = ExpLikelyTagRow(Processor, Block.Tag);
    if (__builtin_expect(Bin->Count >= Bin->Depth || Row->Tag != Block.Tag, 0))
    {
        KiLeaveProcessor(Entry);
        return FALSE;
    }
    ExpWriteQuad(Block.Header, Block.Quad & ~EX_HEADER_TYPE);
    ExpPoison(Block.Header, Pool->Facts[Block.Number].Size);
    ExpCountFree(Row, 0, Pool->Facts[Block.Number].Size);
    Bin->Blocks[Bin->Count++] = (PUCHAR)Block.Header;
    KiLeaveProcessor(Entry);
    return TRUE;
}

/* ---- The slow way ---------------------------------------------------------------------------------------- */

static DECLSPEC_NOINLINE VOID ExpFreeSlow(PVOID P, ULONG Tag, PVOID ReturnAddress)
{
    EX_POOL *Pool = ExpPool();
    PEX_POOL_SOURCE Source = ExpFindSource(Pool, P);
    ULONG Page;
    UCHAR Kind;

    if (__builtin_expect(Source == NULL, 0))
    {
        Source = ExpFindSessionSource(P);
        if (Source == NULL)
        {
            ExpReportBadAddress(P, ReturnAddress);
        }
    }
    Page = (ULONG)(((ULONG_PTR)P - Source->Base) >> PAGE_SHIFT);
    Kind = __atomic_load_n(&Source->Pages[Page].Kind, __ATOMIC_ACQUIRE);
    if (__builtin_expect(KiCurrentThread()->Irql > (Source->Paged ? APC_LEVEL : DISPATCH_LEVEL), 0))
    {
        ExpReportFreeIrql(Source->Paged, Kind == ExPageSpecial, P, ReturnAddress);
    }
    if (__builtin_expect(Kind == ExPageSlab && BYTE_OFFSET(P) >= sizeof(POOL_HEADER) &&
                             ((ULONG_PTR)P & (EX_POOL_UNIT - 1)) == 0,
                         1))
    {
        ExpFreeBlock(Pool, Source, Page, P, Tag, ReturnAddress);
    }
    else if (Kind == ExPageSpecial)
    {
        ExpFreeSpecial(Source, Page, P, Tag);
    }
    else if (Kind == ExPageRun)
    {
        ExpFreeRun(Source, Page, P, Tag);
    }
    else if (Kind == ExPageSlab)
    {
        ExpReportBadBlock(Source, Page, P, ReturnAddress);
    }
    else
    {
        ExpReportBadAddress(P, ReturnAddress);
    }
}

static DECLSPEC_NOINLINE VOID ExpFreeOther(PVOID P, ULONG Tag, PVOID ReturnAddress)
{
    EX_POOL *Pool = ExpPool();

    if (!ExpFreePlainBlock(Pool, 0, P, Tag) && !ExpFreePlainBlock(Pool, 1, P, Tag))
    {
        ExpFreeSlow(P, Tag, ReturnAddress);
    }
}

/* The return address is read only where somebody wants it: it would take a register from the short way. */
#define ExpFree(P, Tag)                                                                                      \
    do                                                                                                       \
    {                                                                                                        \
        if (__builtin_expect(!ExpFreeFast(ExpPool(), (P), (Tag)), 0))                                        \
        {                                                                                                    \
            ExpFreeOther((P), (Tag), __builtin_return_address(0));                                           \
        }                                                                                                    \
    } while (0)

VOID ExpFreeFor(PVOID P, PVOID ReturnAddress)
{
    ExpFreeSlow(P, 0, ReturnAddress);
}

VOID NTAPI ExFreePoolWithTag(PVOID P, ULONG Tag)
{
    ExpFree(P, Tag);
}

VOID NTAPI ExFreePool(PVOID P)
{
    ExpFree(P, 0);
}

VOID NTAPI ExFreePool2(PVOID P, ULONG Tag, PCPOOL_EXTENDED_PARAMETER ExtendedParameters,
                       ULONG ExtendedParametersCount)
{
    for (ULONG Index = 0; Index < ExtendedParametersCount; Index++)
    {
        if (!ExtendedParameters[Index].Optional)
        {
            KiBugCheckMessage(BAD_POOL_CALLER, 0x99, (ULONG_PTR)P, Index, ExtendedParameters[Index].Type,
                              "pool block %p is freed with a required parameter that no block here has", P);
        }
    }
    ExpFree(P, Tag);
}
