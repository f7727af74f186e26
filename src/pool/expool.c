/* SPDX-License-Identifier: MIT */
/*
 * ExAllocatePool and its family: what the parameters mean, the fast path, and the checks of what is freed.
 * The fast path works on data of the current processor at DISPATCH_LEVEL: a bin of free blocks of the size
 * class and the tag's row of sums, without a locked instruction. Blocks are touched (header, zeroing) only afterwards, at the caller's IRQL.
 */
#include "pool/special.h"
#include "pool/verifier.h"

/* One request, whatever function it came through. */
typedef struct _EX_REQUEST
{
    SIZE_T Bytes;
    ULONG Tag;
    ULONG Paged; /* 0, 1: index of the source */
    ULONG Type;  /* EX_HEADER_*, without IN_USE */
    BOOLEAN Zero;
    BOOLEAN Raise;
    BOOLEAN Special; /* asked for by POOL_FLAG_SPECIAL_POOL, or the driver's */
    UCHAR Priority;  /* 0 low, 1 normal, 2 high */
    UCHAR End;       /* EX_SPECIAL_END */
    ULONG Caller;    /* the old POOL_TYPE, for bug checks */
    PVOID ReturnAddress;
    EX_QUOTA_BLOCK *Billed;
} EX_REQUEST;

/* ---- Taking ------------------------------------------------------------------------------------------- */

/* A free block, counted for Tag; or NULL. */
static FORCEINLINE PUCHAR ExpPopBlock(EX_POOL *Pool, ULONG Paged, ULONG Number, ULONG Tag)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    EX_POOL_PROCESSOR *Processor = &Pool->Processors[KiCurrentProcessor()];
    EX_POOL_BIN *Bin = &Processor->Bins[Paged][Number];
    PUCHAR Block = NULL;

    if (__builtin_expect(Bin->Count != 0, 1) || ExpRefillBin(&Pool->Sources[Paged], Number, Bin))
    {
        Block = Bin->Blocks[--Bin->Count];
        ExpCountAllocation(ExpTagRow(Processor, Tag), Paged, Pool->Facts[Number].Size);
    }
    KiLowerIrqlFromDispatch(OldIrql);
    return Block;
}

/*
 * No free block at hand: new slabs, as long as somebody else takes them away before us; without pages for them, what other
 * processors have free.
 */
static DECLSPEC_NOINLINE PUCHAR ExpPopNewBlock(EX_POOL *Pool, ULONG Paged, ULONG Number, ULONG Tag)
{
    PEX_POOL_SOURCE Source = &Pool->Sources[Paged];
    PUCHAR Block = NULL;
    BOOLEAN Found = TRUE;

    while (Block == NULL && Found)
    {
        Found = ExpGrowClass(Source, Number);
        if (!Found && Source->Homes > 1)
        {
            KIRQL OldIrql = KiRaiseIrqlToDispatch();

            Found = ExpRefillBinFromOthers(Source, Number,
                                           &Pool->Processors[KiCurrentProcessor()].Bins[Paged][Number]);
            KiLowerIrqlFromDispatch(OldIrql);
        }
        Block = Found ? ExpPopBlock(Pool, Paged, Number, Tag) : NULL;
    }
    return Block;
}

/* The free block becomes the caller's. It must be as it was left. */
static FORCEINLINE PVOID ExpDressBlock(const EX_POOL *Pool, ULONG Number, PUCHAR Block, ULONG Type, ULONG Tag,
                                       EX_QUOTA_BLOCK *Billed)
{
    PPOOL_HEADER Header = (PPOOL_HEADER)(PVOID)Block;
    ULONG64 Sizes = ExpSizesAt(Pool->Facts[Number].Size / EX_POOL_UNIT, Block);
    ULONG64 Quad = Sizes | (ULONG64)(Type | EX_HEADER_IN_USE) << EX_HEADER_TYPE_SHIFT | (ULONG64)Tag << 32;

    if (__builtin_expect((ExpReadQuad(Header) & 0xffffffffull) != Sizes ||
                             ExpReadBilled(Header) != ExpSeal(Pool, Header, Sizes, 0),
                         0))
    {
        ExpReportFreeBlockDamage(Header);
    }
    ExpWriteHeader(Header, Quad, ExpSeal(Pool, Header, Sizes, (ULONG_PTR)Billed));
    if ((Type & EX_HEADER_CACHE_ALIGNED) != 0)
    {
        ULONG_PTR Start = ((ULONG_PTR)(Header + 1) + EX_CACHE_LINE - 1) & ~(ULONG_PTR)(EX_CACHE_LINE - 1);

        Header = (PPOOL_HEADER)(PVOID)Start - 1; /* a second header, right before the data */
        ExpWriteHeader(Header, Quad, ExpSeal(Pool, Header, Sizes, (ULONG_PTR)Billed));
    }
    return Header + 1;
}

/* What aligning a block to a cache line may cost. */
static FORCEINLINE SIZE_T ExpSlack(ULONG Type)
{
    return (Type & EX_HEADER_CACHE_ALIGNED) != 0 ? EX_CACHE_LINE - EX_POOL_UNIT : 0;
}

static FORCEINLINE ULONG ExpClassFor(const EX_POOL *Pool, SIZE_T Bytes)
{
    return Pool->ClassOf[(Bytes + sizeof(POOL_HEADER) + EX_POOL_UNIT - 1) / EX_POOL_UNIT];
}

/* A small block costs all of its size class, because its header does not tell what was asked for. */
SIZE_T ExpQuotaOf(SIZE_T Bytes, ULONG HeaderType)
{
    const EX_POOL *Pool = ExpPool();

    return Bytes + ExpSlack(HeaderType) > EX_POOL_LARGEST
               ? Bytes
               : Pool->Sources[0].Classes[ExpClassFor(Pool, Bytes + ExpSlack(HeaderType))].Size -
                     sizeof(POOL_HEADER);
}

/* Bytes and what alignment may cost are at most EX_POOL_LARGEST; everything is checked. */
static FORCEINLINE PVOID ExpAllocateBlock(EX_POOL *Pool, ULONG Paged, ULONG Type, SIZE_T Bytes, ULONG Tag,
                                          EX_QUOTA_BLOCK *Billed)
{
    ULONG Number = ExpClassFor(Pool, Bytes + ExpSlack(Type));
    PUCHAR Block = ExpPopBlock(Pool, Paged, Number, Tag);
    PVOID Address;

    if (__builtin_expect(Block == NULL, 0))
    {
        Block = ExpPopNewBlock(Pool, Paged, Number, Tag);
        if (Block == NULL)
        {
            return NULL;
        }
    }
    Address = ExpDressBlock(Pool, Number, Block, Type, Tag, Billed);
    ExpUnpoison(Address, Bytes);
    return Address;
}

/* ---- The slow way: every kind of request -------------------------------------------------------------- */

static BOOLEAN ExpIsSpecial(const EX_REQUEST *Request)
{
    return Request->Bytes <= PAGE_SIZE &&
           (Request->Special || ExpIsSpecialRequest(Request->Bytes, Request->Tag));
}

static VOID ExpCheckRequest(const EX_REQUEST *Request)
{
    KIRQL Irql = KiCurrentThread()->Irql;

    if (Irql > (Request->Paged != 0 ? APC_LEVEL : DISPATCH_LEVEL))
    {
        if (ExpIsSpecial(Request))
        {
            KiBugCheckMessage(SPECIAL_POOL_DETECTED_MEMORY_CORRUPTION, Irql, Request->Caller, Request->Bytes,
                              0x30, "%s special pool is allocated at IRQL %u",
                              Request->Paged != 0 ? "paged" : "nonpaged", Irql);
        }
        KiBugCheckMessage(BAD_POOL_CALLER, 0x08, Irql, Request->Caller, Request->Bytes,
                          "%s pool is allocated at IRQL %u", Request->Paged != 0 ? "paged" : "nonpaged",
                          Irql);
    }
    if (Request->Tag == 0)
    {
        KiBugCheckMessage(BAD_POOL_CALLER, 0x9B, Request->Caller, Request->Bytes,
                          (ULONG_PTR)__builtin_return_address(0),
                          "a pool block without a tag could not be traced");
    }
    if (Request->Tag == MI_TAG('B', 'I', 'G', ' '))
    {
        KiBugCheckMessage(BAD_POOL_CALLER, 0x9C, Request->Caller, Request->Bytes,
                          (ULONG_PTR)__builtin_return_address(0), "the tag 'BIG ' is the system's");
    }
}

/* EX_POOL_PRIORITY: low requests fail while memory is low, normal ones when it is nearly gone. */
static BOOLEAN ExpIsPriorityServed(const EX_REQUEST *Request, const EX_POOL_SOURCE *Source)
{
    const MI_PHYSICAL_STATE *Physical = MiState.Physical;
    SIZE_T Pages = BYTES_TO_PAGES(Request->Bytes);
    SIZE_T Left = Source->PageLimit - __atomic_load_n(&Source->PagesInUse, __ATOMIC_RELAXED);

    if (Request->Priority == 2)
    {
        return TRUE;
    }
    if (Request->Priority == 0)
    {
        return MiAvailablePages() > Physical->LowMemoryThreshold + Pages && Left > Source->PageLimit / 8;
    }
    return MiAvailablePages() > Physical->MinimumReserve && Left > Source->PageLimit / 64;
}

/* A paged block of the session that the thread runs in. */
static PVOID ExpAllocateSessionBlock(EX_POOL *Pool, PEX_POOL_SOURCE Source, const EX_REQUEST *Request)
{
    ULONG Number = ExpClassFor(Pool, Request->Bytes + ExpSlack(Request->Type));
    PUCHAR Block = ExpPopSessionBlock(Source, Number);

    return Block == NULL ? NULL
                         : ExpDressBlock(Pool, Number, Block, Request->Type, Request->Tag, Request->Billed);
}

/* NULL: normal pool must serve it, or it is not for special pool. */
static PVOID ExpTrySpecial(PEX_POOL_SOURCE Source, const EX_REQUEST *Request)
{
    return ExpIsSpecial(Request) ? ExpAllocateSpecial(Source, Request->Bytes, Request->Tag, Request->Type,
                                                      (EX_SPECIAL_END)Request->End, Request->Billed)
                                 : NULL;
}

static PVOID ExpAllocateFromSession(EX_POOL *Pool, const EX_REQUEST *Request)
{
    EX_SESSION_POOL *Session = ExpCurrentSession();
    PEX_POOL_SOURCE Source;
    BOOLEAN Large = Request->Bytes + ExpSlack(Request->Type) > EX_POOL_LARGEST;
    BOOLEAN Special;
    PVOID Address;

    if (Session == NULL)
    {
        return NULL;
    }
    Source = Request->Paged != 0 ? &Session->Source : &Pool->Sources[ExSourceNonpaged];
    if (!ExpIsPriorityServed(Request, Source))
    {
        return NULL;
    }
    Address = ExpTrySpecial(Request->Paged != 0 ? Source : &Pool->Sources[ExSourceMapped], Request);
    Special = Address != NULL;
    if (Special)
    {
    }
    else if (Large)
    {
        Address = ExpAllocateRun(Source, Request->Bytes, Request->Tag, Request->Type, Request->Billed);
    }
    else if (Request->Paged != 0)
    {
        Address = ExpAllocateSessionBlock(Pool, Source, Request);
    }
    else
    {
        Address = ExpAllocateBlock(Pool, 0, Request->Type, Request->Bytes, Request->Tag, Request->Billed);
    }
    if (Address != NULL)
    {
        ExpCountSessionAllocation(
            Session, Request->Tag, Request->Paged,
            Special || Large
                ? ROUND_TO_PAGES(Request->Bytes)
                : Source->Classes[ExpClassFor(Pool, Request->Bytes + ExpSlack(Request->Type))].Size);
    }
    return Address;
}

static PVOID ExpAllocateFrom(EX_POOL *Pool, EX_REQUEST *Request)
{
    PEX_POOL_SOURCE Source = &Pool->Sources[Request->Paged];
    PVOID Address;

    if ((Request->Type & EX_HEADER_SESSION) != 0)
    {
        return ExpAllocateFromSession(Pool, Request);
    }
    if (Source->Operations == NULL || !ExpIsPriorityServed(Request, Source))
    {
        return NULL;
    }
    Address = ExpTrySpecial(&Pool->Sources[Request->Paged != 0 ? ExSourcePaged : ExSourceMapped], Request);
    if (Address != NULL)
    {
        return Address;
    }
    if (Request->Bytes + ExpSlack(Request->Type) > EX_POOL_LARGEST)
    {
        return ExpAllocateRun(Source, Request->Bytes, Request->Tag, Request->Type, Request->Billed);
    }
    return ExpAllocateBlock(Pool, Request->Paged, Request->Type, Request->Bytes, Request->Tag,
                            Request->Billed);
}

/* Charges, allocates, and takes the charge back when there is no memory. */
static NTSTATUS ExpAllocateCharged(EX_REQUEST *Request, PVOID *Address)
{
    EX_POOL *Pool = ExpPool();
    NTSTATUS Status = STATUS_SUCCESS;

    if (KiInject(KiInjectPool))
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    if ((Request->Type & EX_HEADER_QUOTA) != 0)
    {
        Status = ExpChargeQuota(Request->Paged, ExpQuotaOf(Request->Bytes, Request->Type), &Request->Billed);
    }
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    *Address = ExpAllocateFrom(Pool, Request);
    if (*Address != NULL)
    {
        return STATUS_SUCCESS;
    }
    if (Request->Billed != NULL)
    {
        ExpReturnQuota(Request->Billed, Request->Paged, ExpQuotaOf(Request->Bytes, Request->Type));
    }
    return STATUS_INSUFFICIENT_RESOURCES;
}

/* The same for a driver that is verified: checks, failures on purpose, special pool, a record of the block. */
static NTSTATUS ExpAllocateVerified(EX_REQUEST *Request, ULONG Flags, PVOID *Address)
{
    EX_VERIFIER *Verifier = &ExpPool()->Verifier;
    EX_TRACKED *Tracked;
    NTSTATUS Status;

    if (!ExpVerifyRequest(Request->ReturnAddress, Flags, Request->Paged, Request->Caller, Request->Bytes,
                          Request->Tag))
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    ExpCheckRequest(Request);
    Request->Special = Request->Special || (Flags & DRIVER_VERIFIER_SPECIAL_POOLING) != 0;
    Tracked = ExpPrepareTracking(Request->ReturnAddress, Flags);
    Request->Type |= Tracked != NULL ? EX_HEADER_TRACKED : 0;
    Status = ExpAllocateCharged(Request, Address);
    ExpFinishTracking(Tracked, *Address, Request->Bytes, Request->Tag, Request->Paged);
    if (*Address != NULL && ExpIsSpecialBlock(*Address))
    {
        __atomic_add_fetch(&Verifier->Counters.AllocationsSucceededSpecialPool, 1, __ATOMIC_RELAXED);
    }
    __atomic_add_fetch(*Address != NULL ? &Verifier->Counters.AllocationsSucceeded
                                        : &Verifier->Counters.AllocationsFailed,
                       1, __ATOMIC_RELAXED);
    return Status;
}

static PVOID ExpAllocate(EX_REQUEST *Request)
{
    PVOID Address = NULL;
    NTSTATUS Status;
    ULONG Flags;

    if (ExIsCallerVerified(Request->ReturnAddress) && ExIsVerifiedSlow(Request->ReturnAddress, &Flags))
    {
        Status = ExpAllocateVerified(Request, Flags, &Address);
    }
    else
    {
        ExpCheckRequest(Request);
        /* A block must have an address inside its page, also behind what alignment takes. */
        Request->Bytes = Request->Bytes != 0 ? Request->Bytes : 1;
        Status = ExpAllocateCharged(Request, &Address);
    }
    if (Address == NULL)
    {
        if (Request->Raise)
        {
            ExRaiseStatus(Status);
        }
        return NULL;
    }
    if (Request->Zero)
    {
        __builtin_memset(Address, 0, Request->Bytes);
    }
    return Address;
}

/* What the bits of a POOL_TYPE say. */
static VOID ExpReadPoolType(EX_REQUEST *Request, POOL_TYPE PoolType, SIZE_T Bytes, ULONG Tag,
                            PVOID ReturnAddress)
{
    ULONG Type = (ULONG)PoolType;

    *Request = (EX_REQUEST){ .Bytes = Bytes,
                             .Tag = Tag,
                             .Paged = Type & 1,
                             .Priority = 2,
                             .Caller = Type,
                             .ReturnAddress = ReturnAddress };
    Request->Type = Request->Paged != 0 ? EX_HEADER_PAGED : 0;
    if ((Type & 4) != 0)
    {
        Request->Type |= EX_HEADER_CACHE_ALIGNED;
    }
    if ((Type & 32) != 0)
    {
        Request->Type |= EX_HEADER_SESSION;
    }
    Request->Raise = (Type & POOL_RAISE_IF_ALLOCATION_FAILURE) != 0;
    Request->Zero = (Type & POOL_ZERO_ALLOCATION) != 0;
    if ((Type & 2) != 0)
    {
        KiBugCheckMessage(BAD_POOL_CALLER, 0x9A, Type, Bytes, Tag,
                          "must-succeed pool does not exist any more: pool type %u", Type);
    }
}

static VOID ExpReadPriority(EX_REQUEST *Request, EX_POOL_PRIORITY Priority)
{
    Request->Priority = (UCHAR)(((ULONG)Priority >> 4) & 3);
    Request->End = ((ULONG)Priority & 8) == 0   ? ExSpecialDefault
                   : ((ULONG)Priority & 1) != 0 ? ExSpecialUnderruns
                                                : ExSpecialOverruns;
}

/* ---- The older functions ------------------------------------------------------------------------------ */

static DECLSPEC_NOINLINE PVOID ExpAllocateSlow(POOL_TYPE PoolType, SIZE_T Bytes, ULONG Tag,
                                               PVOID ReturnAddress)
{
    EX_REQUEST Request;

    ExpReadPoolType(&Request, PoolType, Bytes, Tag, ReturnAddress);
    return ExpAllocate(&Request);
}

#define EX_TAG_NONE MI_TAG('N', 'o', 'n', 'e')

/* What of a POOL_TYPE makes no difference here. */
#define EX_PLAIN_TYPES ((ULONG)(POOL_NX_ALLOCATION | POOL_COLD_ALLOCATION))

/* Small, and nothing about it that the slow way must know. */
static FORCEINLINE BOOLEAN ExpIsPlain(const EX_POOL *Pool, ULONG Paged, SIZE_T Bytes, ULONG Tag)
{
    return Bytes <= EX_POOL_LARGEST && Tag != 0 && Tag != MI_TAG('B', 'I', 'G', ' ') &&
           KiCurrentThread()->Irql <= (Paged != 0 ? APC_LEVEL : DISPATCH_LEVEL) &&
           (Paged == 0 || Pool->Sources[Paged].Operations != NULL) &&
           __atomic_load_n(&Pool->Watch, __ATOMIC_RELAXED) == 0 &&
           __atomic_load_n(&MiState.Ke->Injection, __ATOMIC_RELAXED) == NULL;
}

/*
 * The shortest way: nonpaged, a block in the bin, a row of the tag. Calls nothing; NULL: any of it is not so. (The tag
 * 'BIG ' never has a row.)
 */
static FORCEINLINE PVOID ExpAllocateFast(EX_POOL *Pool, SIZE_T Bytes, ULONG Tag)
{
    EX_POOL_PROCESSOR *Processor;
    EX_POOL_BIN *Bin;
    EX_TAG_ROW *Row;
    PPOOL_HEADER Header;
    KI_ENTRY Entry;
    ULONG64 Quad;
    ULONG Class;
    ULONG Number;

    if (__builtin_expect(Bytes > EX_POOL_LARGEST || Tag == 0 ||
                             __atomic_load_n(&Pool->Watch, __ATOMIC_RELAXED) != 0 ||
                             __atomic_load_n(&MiState.Ke->Injection, __ATOMIC_RELAXED) != NULL,
                         0))
    {
        return NULL;
    }
    Entry = KiTryEnterProcessor(&Number);
    if (__builtin_expect(Entry == KiNotEntered, 0))
    {
        return NULL;
    }
    Class = ExpClassFor(Pool, Bytes);
    Processor = &Pool->Processors[Number];
    Bin = &Processor->Bins[0][Class];
    Row = ExpLikelyTagRow(Processor, Tag);
    if (__builtin_expect(Bin->Count == 0 || Row->Tag != Tag, 0))
    {
        KiLeaveProcessor(Entry);
        return NULL;
    }
    Header = (PPOOL_HEADER)(PVOID)Bin->Blocks[--Bin->Count];
    ExpCountAllocation(Row, 0, Pool->Facts[Class].Size);
    KiLeaveProcessor(Entry);
    Quad = ExpReadQuad(Header);
    if (__builtin_expect((ULONG)Quad >> 16 != Pool->Facts[Class].Sizes >> 16 ||
                             ExpReadBilled(Header) != ExpSeal(Pool, Header, Quad, 0),
                         0))
    {
        ExpReportFreeBlockDamage(Header);
    }
    ExpWriteQuad(Header, (Quad & EX_HEADER_SIZES) | (ULONG64)EX_HEADER_IN_USE << EX_HEADER_TYPE_SHIFT |
                             (ULONG64)Tag << 32);
    ExpUnpoison(Header + 1, Bytes);
    return Header + 1;
}

static DECLSPEC_NOINLINE PVOID ExpAllocatePaged(EX_POOL *Pool, SIZE_T Bytes, ULONG Tag)
{
    return ExpAllocateBlock(Pool, 1, EX_HEADER_PAGED, Bytes, Tag, NULL);
}

static DECLSPEC_NOINLINE PVOID ExpAllocateOther(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag,
                                                PVOID ReturnAddress)
{
    EX_POOL *Pool = ExpPool();
    ULONG Type = (ULONG)PoolType & ~EX_PLAIN_TYPES;

    /* Nonpaged or paged pool and nothing else. */
    if (Type == 0 && ExpIsPlain(Pool, 0, NumberOfBytes, Tag))
    {
        return ExpAllocateBlock(Pool, 0, 0, NumberOfBytes, Tag, NULL);
    }
    if (Type == 1 && ExpIsPlain(Pool, 1, NumberOfBytes, Tag))
    {
        return ExpAllocatePaged(Pool, NumberOfBytes, Tag);
    }
    return ExpAllocateSlow(PoolType, NumberOfBytes, Tag, ReturnAddress);
}

static FORCEINLINE PVOID ExpAllocateLikely(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag)
{
    return ((ULONG)PoolType & ~EX_PLAIN_TYPES) == 0 ? ExpAllocateFast(ExpPool(), NumberOfBytes, Tag) : NULL;
}

/* The return address is read only where somebody wants it: it would take a register from the short way. */
PVOID NTAPI ExAllocatePoolWithTag(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag)
{
    PVOID Address = ExpAllocateLikely(PoolType, NumberOfBytes, Tag);

    return __builtin_expect(Address != NULL, 1)
               ? Address
               : ExpAllocateOther(PoolType, NumberOfBytes, Tag, __builtin_return_address(0));
}

PVOID NTAPI ExAllocatePool(POOL_TYPE PoolType, SIZE_T NumberOfBytes)
{
    PVOID Address = ExpAllocateLikely(PoolType, NumberOfBytes, EX_TAG_NONE);

    return __builtin_expect(Address != NULL, 1)
               ? Address
               : ExpAllocateOther(PoolType, NumberOfBytes, EX_TAG_NONE, __builtin_return_address(0));
}

PVOID NTAPI ExAllocatePoolWithTagPriority(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag,
                                          EX_POOL_PRIORITY Priority)
{
    EX_REQUEST Request;

    ExpReadPoolType(&Request, PoolType, NumberOfBytes, Tag, __builtin_return_address(0));
    ExpReadPriority(&Request, Priority);
    return ExpAllocate(&Request);
}

static PVOID ExpAllocateWithQuota(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag, PVOID ReturnAddress)
{
    EX_REQUEST Request;

    ExpReadPoolType(&Request, PoolType, NumberOfBytes, Tag, ReturnAddress);
    Request.Type |= EX_HEADER_QUOTA;
    Request.Raise = ((ULONG)PoolType & POOL_QUOTA_FAIL_INSTEAD_OF_RAISE) == 0;
    return ExpAllocate(&Request);
}

PVOID NTAPI ExAllocatePoolWithQuotaTag(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag)
{
    return ExpAllocateWithQuota(PoolType, NumberOfBytes, Tag, __builtin_return_address(0));
}

PVOID NTAPI ExAllocatePoolWithQuota(POOL_TYPE PoolType, SIZE_T NumberOfBytes)
{
    return ExpAllocateWithQuota(PoolType, NumberOfBytes, EX_TAG_NONE, __builtin_return_address(0));
}

PVOID ExpAllocateFor(POOL_TYPE PoolType, SIZE_T Bytes, ULONG Tag, BOOLEAN Quota, PVOID ReturnAddress)
{
    return Quota ? ExpAllocateWithQuota(PoolType, Bytes, Tag, ReturnAddress)
                 : ExpAllocateSlow(PoolType, Bytes, Tag, ReturnAddress);
}

/* ---- ExAllocatePool2 and 3 ---------------------------------------------------------------------------- */

#define EX_KIND_FLAGS (POOL_FLAG_NON_PAGED | POOL_FLAG_NON_PAGED_EXECUTE | POOL_FLAG_PAGED)
#define EX_KNOWN_FLAGS                                                                                       \
    (POOL_FLAG_USE_QUOTA | POOL_FLAG_UNINITIALIZED | POOL_FLAG_SESSION | POOL_FLAG_CACHE_ALIGNED |           \
     POOL_FLAG_RAISE_ON_FAILURE | EX_KIND_FLAGS)

/* FALSE: the flags contradict each other, or require what is unknown. */
static BOOLEAN ExpReadPoolFlags(EX_REQUEST *Request, POOL_FLAGS Flags, SIZE_T Bytes, ULONG Tag)
{
    ULONG64 Kind = Flags & EX_KIND_FLAGS;
    ULONG64 Required = Flags & (POOL_FLAG_OPTIONAL_START - 1);

    *Request = (EX_REQUEST){ .Bytes = Bytes,
                             .Tag = Tag,
                             .Paged = Kind == POOL_FLAG_PAGED,
                             .Priority = 2,
                             .Caller = (ULONG)Flags,
                             .Zero = (Flags & POOL_FLAG_UNINITIALIZED) == 0,
                             .Raise = (Flags & POOL_FLAG_RAISE_ON_FAILURE) != 0,
                             .Special = (Flags & POOL_FLAG_SPECIAL_POOL) != 0 };
    Request->Type = (Request->Paged != 0 ? EX_HEADER_PAGED : 0) |
                    ((Flags & POOL_FLAG_CACHE_ALIGNED) != 0 ? EX_HEADER_CACHE_ALIGNED : 0) |
                    ((Flags & POOL_FLAG_SESSION) != 0 ? EX_HEADER_SESSION : 0) |
                    ((Flags & POOL_FLAG_USE_QUOTA) != 0 ? EX_HEADER_QUOTA : 0);
    return Tag != 0 && (Required & ~(ULONG64)EX_KNOWN_FLAGS) == 0 && Kind != 0 && (Kind & (Kind - 1)) == 0;
}

/* FALSE: a required parameter that is unknown or cannot be served. */
static BOOLEAN ExpReadParameters(EX_REQUEST *Request, PCPOOL_EXTENDED_PARAMETER Parameters, ULONG Count)
{
    for (ULONG Index = 0; Index < Count; Index++)
    {
        const POOL_EXTENDED_PARAMETER *Parameter = &Parameters[Index];

        switch (Parameter->Type)
        {
        case PoolExtendedParameterPriority:
            ExpReadPriority(Request, Parameter->Priority);
            break;
        case PoolExtendedParameterNumaNode: /* a preference; there is one node */
            break;
        default: /* secure pool lives with a hypervisor */
            if (!Parameter->Optional)
            {
                return FALSE;
            }
        }
    }
    return TRUE;
}

static PVOID ExpRefuse(const EX_REQUEST *Request)
{
    if (Request->Raise)
    {
        ExRaiseStatus(STATUS_INVALID_PARAMETER);
    }
    return NULL;
}

static DECLSPEC_NOINLINE PVOID ExpAllocateByFlags(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag,
                                                  PCPOOL_EXTENDED_PARAMETER ExtendedParameters,
                                                  ULONG ExtendedParametersCount, PVOID ReturnAddress)
{
    EX_REQUEST Request;

    if (!ExpReadPoolFlags(&Request, Flags, NumberOfBytes, Tag) ||
        !ExpReadParameters(&Request, ExtendedParameters, ExtendedParametersCount))
    {
        return ExpRefuse(&Request);
    }
    Request.ReturnAddress = ReturnAddress;
    return ExpAllocate(&Request);
}

PVOID NTAPI ExAllocatePool3(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag,
                            PCPOOL_EXTENDED_PARAMETER ExtendedParameters, ULONG ExtendedParametersCount)
{
    return ExpAllocateByFlags(Flags, NumberOfBytes, Tag, ExtendedParameters, ExtendedParametersCount,
                              __builtin_return_address(0));
}

PVOID NTAPI ExAllocatePool2(POOL_FLAGS Flags, SIZE_T NumberOfBytes, ULONG Tag)
{
    POOL_FLAGS Kind = Flags & ~(POOL_FLAGS)POOL_FLAG_UNINITIALIZED;
    BOOLEAN Nonpaged = Kind == POOL_FLAG_NON_PAGED || Kind == POOL_FLAG_NON_PAGED_EXECUTE;
    PVOID Address = Nonpaged ? ExpAllocateFast(ExpPool(), NumberOfBytes, Tag) : NULL;

    if (__builtin_expect(Address == NULL, 0))
    {
        if (Nonpaged && ExpIsPlain(ExpPool(), 0, NumberOfBytes, Tag))
        {
            Address = ExpAllocateBlock(ExpPool(), 0, 0, NumberOfBytes, Tag, NULL);
        }
        else if (Kind == POOL_FLAG_PAGED && ExpIsPlain(ExpPool(), 1, NumberOfBytes, Tag))
        {
            Address = ExpAllocatePaged(ExpPool(), NumberOfBytes, Tag);
        }
        else
        {
            return ExpAllocateByFlags(Flags, NumberOfBytes, Tag, NULL, 0, __builtin_return_address(0));
        }
    }
    return Address == NULL || Kind != Flags ? Address : __builtin_memset(Address, 0, NumberOfBytes);
}
