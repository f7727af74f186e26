/* SPDX-License-Identifier: MIT */
/*
 * The minimal allocator of kernel structures. Small blocks are cut from slabs (pages of one size class), larger ones are whole pages
 * or physically consecutive pages; all of it is addressed through the direct map. What the allocator knows of a page stands in the
 * page's own descriptor, whose owner fields a kernel page has no other use for, so that blocks carry no header and
 * keep the natural alignment of their size. A slab ends with one tag for each block: wrong tags and double frees are found in
 * every build, and a machine that ends with blocks left can say whose they are.
 */
#include "pool/pool.h"

#if defined(DBG) && DBG
#define MI_POOL_FILL TRUE /* free blocks are filled, and looked at before they are handed out again */
#else
#define MI_POOL_FILL FALSE
#endif
#define MI_POOL_FILL_BYTE 0xDDu

typedef enum _MI_POOL_KIND
{
    MiPoolNone = 0,
    MiPoolSlab = 0x51,
    MiPoolRun = 0x52 /* whole pages; the descriptor of the first one describes them all */
} MI_POOL_KIND;

/* The owner fields of a kernel page's MMPFN, as the pool uses them. Guarded by the lock of the page's list. */
typedef struct _MI_POOL_PAGE
{
    ULONG Flink; /* frames of the same list, 0 = none */
    ULONG Blink;
    union
    {
        PVOID FirstFree; /* slab: chained through the first word of each free block */
        SIZE_T Pages;    /* run */
    } u;
    UCHAR Kind;   /* MI_POOL_KIND */
    UCHAR Class;  /* slab */
    USHORT InUse; /* slab: blocks handed out */
    ULONG Tag;    /* run */
} MI_POOL_PAGE;

C_ASSERT(sizeof(MI_POOL_PAGE) == UFIELD_OFFSET(MMPFN, Lock));

/* The blocks of one size. */
typedef struct _MI_POOL_CLASS
{
    KSPIN_LOCK Lock;
    ULONG Size;
    ULONG Blocks;          /* in a slab */
    ULONG Reciprocal;      /* 2^32 / Size, rounded up: offsets to block numbers without a division */
    ULONG Partial;         /* slabs with used and free blocks. Lock */
    ULONG Full;            /* slabs without a free block. Lock */
    ULONG Empty;           /* one unused slab, kept for the next allocation. Lock */
    volatile SIZE_T InUse; /* blocks. Lock, read anywhere */
    volatile SIZE_T Slabs;
    UCHAR Padding[64 - 48];
} MI_POOL_CLASS;

C_ASSERT(sizeof(MI_POOL_CLASS) == 64);

/* Chosen so that little is left over at the end of a page; from 64 on multiples of 64. */
static const USHORT MiPoolSizes[] = { 32, 48, 64, 128, 192, 256, 320, 384, 448, 576, 768, 960, 1280, 1984 };

#define MI_POOL_CLASSES       RTL_NUMBER_OF(MiPoolSizes)
#define MI_POOL_LARGEST_BLOCK 1984u
#define MI_POOL_REPORTED_TAGS 8u

typedef struct _MI_POOL_STATE
{
    MI_POOL_CLASS Classes[MI_POOL_CLASSES];
    UCHAR ClassOf[MI_POOL_LARGEST_BLOCK / 64 + 1]; /* by size in units of 64 bytes; fixed */
    KSPIN_LOCK RunLock;
    ULONG Runs;               /* list of first frames. RunLock */
    volatile SIZE_T RunCount; /* RunLock, read anywhere */
    volatile SIZE_T RunPages;
} MI_POOL_STATE;

/* ---- Pages ---------------------------------------------------------------------------------------------- */

static MI_POOL_PAGE *MiPoolPage(PFN_NUMBER Frame)
{
    return (MI_POOL_PAGE *)(PVOID)MiPfn(Frame);
}

static VOID MiLinkPoolPage(ULONG *Head, PFN_NUMBER Frame)
{
    MI_POOL_PAGE *Page = MiPoolPage(Frame);

    Page->Blink = 0;
    Page->Flink = *Head;
    if (*Head != 0)
    {
        MiPoolPage(*Head)->Blink = (ULONG)Frame;
    }
    *Head = (ULONG)Frame;
}

static VOID MiUnlinkPoolPage(ULONG *Head, PFN_NUMBER Frame)
{
    MI_POOL_PAGE *Page = MiPoolPage(Frame);

    if (Page->Blink != 0)
    {
        MiPoolPage(Page->Blink)->Flink = Page->Flink;
    }
    else
    {
        KiRequire(*Head == (ULONG)Frame);
        *Head = Page->Flink;
    }
    if (Page->Flink != 0)
    {
        MiPoolPage(Page->Flink)->Blink = Page->Blink;
    }
    Page->Flink = 0;
    Page->Blink = 0;
}

static BOOLEAN MiChargePoolPages(SIZE_T Pages)
{
    if (!MiChargeCommitment(Pages, MI_COMMIT_NO_EXTEND))
    {
        return FALSE;
    }
    if (!MiChargeResidentAvailable(Pages))
    {
        MiReturnCommitment(Pages);
        return FALSE;
    }
    return TRUE;
}

static VOID MiReturnPoolPages(SIZE_T Pages)
{
    MiReturnResidentAvailable(Pages);
    MiReturnCommitment(Pages);
}

/*
 * One charged frame. Where ordinary requests are refused because memory is short, the pool goes on with half of the
 * reserve: its callers hold locks and cannot wait, and the other half is enough to write pages out.
 */
static PFN_NUMBER MiTakePoolFrame(ULONG Flags)
{
    PFN_NUMBER Frame;
    PMMPFN Pfn;
    KIRQL OldIrql;

    if (!MiChargePoolPages(1))
    {
        return 0;
    }
    Frame = MiAllocatePage(Flags);
    if (Frame == 0 && MiAvailablePages() > MiState.Physical->MinimumReserve / 2)
    {
        Frame = MiAllocatePage(Flags | MI_PAGE_MUST_SUCCEED);
    }
    if (Frame == 0)
    {
        MiReturnPoolPages(1);
        return 0;
    }
    Pfn = MiPfn(Frame);
    OldIrql = KiRaiseIrqlToDispatch();
    MiLockPfn(Pfn);
    Pfn->e1.Kernel = 1;
    MiUnlockPfn(Pfn);
    KiLowerIrqlFromDispatch(OldIrql);
    return Frame;
}

static KIRQL MiLockPool(KSPIN_LOCK *Lock)
{
    KIRQL OldIrql = KiAcquireSpinLock(Lock);

    KiNoteLockAcquired(Lock, KiLockPool, FALSE);
    return OldIrql;
}

static VOID MiUnlockPool(KSPIN_LOCK *Lock, KIRQL OldIrql)
{
    KiNoteLockReleased(Lock);
    KiReleaseSpinLock(Lock, OldIrql);
}

/* ---- Slabs ---------------------------------------------------------------------------------------------- */

static PUCHAR MiSlabBase(PFN_NUMBER Frame)
{
    return PortDirectMap(Frame);
}

/* The tags of a slab's blocks, at its end. 0: the block is free. */
static PULONG MiSlabTags(const MI_POOL_CLASS *Class, PFN_NUMBER Frame)
{
    return (PULONG)(PVOID)(MiSlabBase(Frame) + PAGE_SIZE) - Class->Blocks;
}

static ULONG MiBlockIndex(const MI_POOL_CLASS *Class, const VOID *Block)
{
    return (ULONG)(((ULONG64)BYTE_OFFSET(Block) * Class->Reciprocal) >> 32);
}

static VOID MiFillFreeBlock(const MI_POOL_CLASS *Class, PVOID Block)
{
    if (MI_POOL_FILL)
    {
        __builtin_memset((PUCHAR)Block + sizeof(PVOID), MI_POOL_FILL_BYTE, Class->Size - sizeof(PVOID));
    }
}

/* A free block that is no longer as it was left: somebody writes to memory that he gave back. */
static VOID MiCheckFreeBlock(const MI_POOL_CLASS *Class, const VOID *Block)
{
    const UCHAR *Bytes = Block;

    for (ULONG Offset = sizeof(PVOID); MI_POOL_FILL && Offset < Class->Size; Offset++)
    {
        if (Bytes[Offset] != MI_POOL_FILL_BYTE)
        {
            KiBugCheckMessage(BAD_POOL_HEADER, 0x3, (ULONG_PTR)Block, Offset, Bytes[Offset],
                              "free pool block %p (%u bytes) was written at offset 0x%x: 0x%02x", Block,
                              Class->Size, Offset, Bytes[Offset]);
        }
    }
}

static PFN_NUMBER MiCreateSlab(const MI_POOL_CLASS *Class)
{
    PFN_NUMBER Frame = MiTakePoolFrame(0);
    MI_POOL_PAGE *Page;

    if (Frame == 0)
    {
        return 0;
    }
    Page = MiPoolPage(Frame);
    Page->u.FirstFree = NULL;
    for (ULONG Index = Class->Blocks; Index > 0; Index--)
    {
        PVOID Block = MiSlabBase(Frame) + (SIZE_T)(Index - 1) * Class->Size;

        *(PVOID *)Block = Page->u.FirstFree;
        Page->u.FirstFree = Block;
        MiFillFreeBlock(Class, Block);
    }
    __builtin_memset(MiSlabTags(Class, Frame), 0, Class->Blocks * sizeof(ULONG));
    Page->Kind = MiPoolSlab;
    Page->Class = (UCHAR)(Class - MiState.Pool->Classes);
    Page->InUse = 0;
    return Frame;
}

static VOID MiDeletePoolPage(PFN_NUMBER Frame)
{
    MiPoolPage(Frame)->Kind = MiPoolNone;
    MiFreePage(Frame);
    MiReturnPoolPages(1);
}

/* Class locked. */
static PVOID MiTakeBlock(MI_POOL_CLASS *Class, ULONG Tag)
{
    PFN_NUMBER Frame = Class->Partial;
    MI_POOL_PAGE *Page;
    PVOID Block;

    if (Frame == 0)
    {
        Frame = Class->Empty;
        if (Frame == 0)
        {
            return NULL;
        }
        Class->Empty = 0;
        MiLinkPoolPage(&Class->Partial, Frame);
    }
    Page = MiPoolPage(Frame);
    Block = Page->u.FirstFree;
    Page->u.FirstFree = *(PVOID *)Block;
    Page->InUse++;
    if (Page->u.FirstFree == NULL)
    {
        MiUnlinkPoolPage(&Class->Partial, Frame);
        MiLinkPoolPage(&Class->Full, Frame);
    }
    MiSlabTags(Class, Frame)[MiBlockIndex(Class, Block)] = Tag;
    __atomic_store_n(&Class->InUse, Class->InUse + 1, __ATOMIC_RELAXED);
    return Block;
}

static PVOID MiAllocateBlock(MI_POOL_CLASS *Class, ULONG Tag)
{
    KIRQL OldIrql = MiLockPool(&Class->Lock);
    PVOID Block = MiTakeBlock(Class, Tag);

    if (Block == NULL)
    {
        PFN_NUMBER Frame;

        MiUnlockPool(&Class->Lock, OldIrql);
        Frame = MiCreateSlab(Class);
        if (Frame == 0)
        {
            return NULL;
        }
        OldIrql = MiLockPool(&Class->Lock);
        MiLinkPoolPage(&Class->Partial, Frame);
        __atomic_store_n(&Class->Slabs, Class->Slabs + 1, __ATOMIC_RELAXED);
        Block = MiTakeBlock(Class, Tag);
    }
    MiUnlockPool(&Class->Lock, OldIrql);
    MiCheckFreeBlock(Class, Block);
    return __builtin_memset(Block, 0, Class->Size);
}

/* The block is the caller's until the lock is held, so all that can be wrong with it is found before. */
static VOID MiValidateBlock(const MI_POOL_CLASS *Class, PFN_NUMBER Frame, PVOID Block, ULONG Tag)
{
    ULONG Index = MiBlockIndex(Class, Block);
    ULONG Found;

    if (Index >= Class->Blocks || (PUCHAR)Block != MiSlabBase(Frame) + (SIZE_T)Index * Class->Size)
    {
        KiBugCheckMessage(BAD_POOL_CALLER, 0x99, (ULONG_PTR)Block, Class->Size, Index,
                          "%p is freed, which is not the start of a block of %u bytes", Block, Class->Size);
    }
    Found = MiSlabTags(Class, Frame)[Index];
    if (Found == 0)
    {
        KiBugCheckMessage(BAD_POOL_CALLER, 0x07, 0, Found, (ULONG_PTR)Block, "pool block %p is freed twice",
                          Block);
    }
    if (Found != Tag)
    {
        KiBugCheckMessage(BAD_POOL_CALLER, 0x0A, (ULONG_PTR)Block, Found, Tag,
                          "pool block %p has the tag 0x%08x and is freed with 0x%08x", Block, Found, Tag);
    }
}

static VOID MiFreeBlock(MI_POOL_CLASS *Class, PFN_NUMBER Frame, PVOID Block)
{
    MI_POOL_PAGE *Page = MiPoolPage(Frame);
    PFN_NUMBER Unused = 0;
    KIRQL OldIrql;

    MiFillFreeBlock(Class, Block);
    OldIrql = MiLockPool(&Class->Lock);
    MiSlabTags(Class, Frame)[MiBlockIndex(Class, Block)] = 0;
    if (Page->u.FirstFree == NULL)
    {
        MiUnlinkPoolPage(&Class->Full, Frame);
        MiLinkPoolPage(&Class->Partial, Frame);
    }
    *(PVOID *)Block = Page->u.FirstFree;
    Page->u.FirstFree = Block;
    Page->InUse--;
    __atomic_store_n(&Class->InUse, Class->InUse - 1, __ATOMIC_RELAXED);
    if (Page->InUse == 0)
    {
        MiUnlinkPoolPage(&Class->Partial, Frame);
        if (Class->Empty == 0)
        {
            Class->Empty = (ULONG)Frame;
        }
        else
        {
            Unused = Frame;
            __atomic_store_n(&Class->Slabs, Class->Slabs - 1, __ATOMIC_RELAXED);
        }
    }
    MiUnlockPool(&Class->Lock, OldIrql);
    if (Unused != 0)
    {
        MiDeletePoolPage(Unused);
    }
}

/* ---- Whole pages ---------------------------------------------------------------------------------------- */

static PVOID MiAllocateRun(SIZE_T Bytes, ULONG Tag)
{
    MI_POOL_STATE *Pool = MiState.Pool;
    SIZE_T Pages = BYTES_TO_PAGES(Bytes);
    PFN_NUMBER Frame = 0;
    MI_POOL_PAGE *Page;
    KIRQL OldIrql;

    if (Pages == 1)
    {
        Frame = MiTakePoolFrame(MI_PAGE_ZEROED);
    }
    else if (Pages < MiState.Physical->NumberOfPages && MiChargePoolPages(Pages))
    {
        Frame = MiAllocateContiguousPages(Pages, 1, MiState.Physical->HighestPage, 1);
        if (Frame == 0)
        {
            MiReturnPoolPages(Pages);
        }
    }
    if (Frame == 0)
    {
        return NULL;
    }
    Page = MiPoolPage(Frame);
    Page->u.Pages = Pages;
    Page->Tag = Tag;
    Page->Kind = MiPoolRun;
    OldIrql = MiLockPool(&Pool->RunLock);
    MiLinkPoolPage(&Pool->Runs, Frame);
    __atomic_store_n(&Pool->RunCount, Pool->RunCount + 1, __ATOMIC_RELAXED);
    __atomic_store_n(&Pool->RunPages, Pool->RunPages + Pages, __ATOMIC_RELAXED);
    MiUnlockPool(&Pool->RunLock, OldIrql);
    return PortDirectMap(Frame);
}

static VOID MiFreeRun(PFN_NUMBER Frame, PVOID Block, ULONG Tag)
{
    MI_POOL_STATE *Pool = MiState.Pool;
    MI_POOL_PAGE *Page = MiPoolPage(Frame);
    SIZE_T Pages = Page->u.Pages;
    KIRQL OldIrql;

    if (BYTE_OFFSET(Block) != 0)
    {
        KiBugCheckMessage(BAD_POOL_CALLER, 0x99, (ULONG_PTR)Block, Pages << PAGE_SHIFT, 0,
                          "%p is freed, which is not the start of its %llu pages", Block, (ULONG64)Pages);
    }
    if (Page->Tag != Tag)
    {
        KiBugCheckMessage(BAD_POOL_CALLER, 0x0A, (ULONG_PTR)Block, Page->Tag, Tag,
                          "pool block %p has the tag 0x%08x and is freed with 0x%08x", Block, Page->Tag, Tag);
    }
    OldIrql = MiLockPool(&Pool->RunLock);
    MiUnlinkPoolPage(&Pool->Runs, Frame);
    __atomic_store_n(&Pool->RunCount, Pool->RunCount - 1, __ATOMIC_RELAXED);
    __atomic_store_n(&Pool->RunPages, Pool->RunPages - Pages, __ATOMIC_RELAXED);
    MiUnlockPool(&Pool->RunLock, OldIrql);
    Page->Kind = MiPoolNone;
    MiFreeContiguousPages(Frame, Pages);
    MiReturnPoolPages(Pages);
}

/* ---- The calls of other rooms --------------------------------------------------------------------------- */

static MI_POOL_CLASS *MiClassFor(SIZE_T Bytes)
{
    MI_POOL_STATE *Pool = MiState.Pool;

    if (Bytes <= MiPoolSizes[1])
    {
        return &Pool->Classes[Bytes <= MiPoolSizes[0] ? 0 : 1];
    }
    return &Pool->Classes[Pool->ClassOf[(Bytes + 63) / 64]];
}

PVOID MiAllocatePool(SIZE_T Bytes, ULONG Tag)
{
    KIRQL Irql = KiCurrentThread()->Irql;

    if (Irql > DISPATCH_LEVEL)
    {
        KiBugCheckMessage(BAD_POOL_CALLER, 0x08, Irql, 0, Bytes, "pool is allocated at IRQL %u", Irql);
    }
    if (Bytes == 0)
    {
        KiBugCheckMessage(BAD_POOL_CALLER, 0x00, 0, 0, Tag,
                          "a pool block of 0 bytes is asked for, tag 0x%08x", Tag);
    }
    if (Tag == 0)
    {
        KiBugCheckMessage(BAD_POOL_CALLER, 0x9B, 0, Bytes, 0,
                          "a pool block without a tag could not be traced");
    }
    if (KiInject(KiInjectPool))
    {
        return NULL;
    }
    return Bytes <= MI_POOL_LARGEST_BLOCK ? MiAllocateBlock(MiClassFor(Bytes), Tag)
                                          : MiAllocateRun(Bytes, Tag);
}

VOID MiFreePool(PVOID Block, ULONG Tag)
{
    KIRQL Irql = KiCurrentThread()->Irql;
    PFN_NUMBER Frame;
    UCHAR Kind = MiPoolNone;

    if (Irql > DISPATCH_LEVEL)
    {
        KiBugCheckMessage(BAD_POOL_CALLER, 0x09, Irql, 0, (ULONG_PTR)Block, "pool is freed at IRQL %u", Irql);
    }
    Frame = (ULONG_PTR)Block >= PORT_DIRECT_MAP_BASE ? PortDirectMapFrame(Block) : 0;
    if (MiIsFrame(Frame) && MiPfn(Frame)->e1.PageLocation == ActiveAndValid && MiPfn(Frame)->e1.Kernel)
    {
        Kind = MiPoolPage(Frame)->Kind;
    }
    if (Kind == MiPoolSlab)
    {
        MI_POOL_CLASS *Class = &MiState.Pool->Classes[MiPoolPage(Frame)->Class];

        MiValidateBlock(Class, Frame, Block, Tag);
        MiFreeBlock(Class, Frame, Block);
    }
    else if (Kind == MiPoolRun)
    {
        MiFreeRun(Frame, Block, Tag);
    }
    else
    {
        KiBugCheckMessage(BAD_POOL_CALLER, 0x46, (ULONG_PTR)Block, 0, Tag,
                          "%p is freed, which is no pool block", Block);
    }
}

VOID MiTrimPool(void)
{
    for (ULONG Index = 0; Index < MI_POOL_CLASSES; Index++)
    {
        MI_POOL_CLASS *Class = &MiState.Pool->Classes[Index];
        KIRQL OldIrql = MiLockPool(&Class->Lock);
        PFN_NUMBER Frame = Class->Empty;

        if (Frame != 0)
        {
            Class->Empty = 0;
            __atomic_store_n(&Class->Slabs, Class->Slabs - 1, __ATOMIC_RELAXED);
        }
        MiUnlockPool(&Class->Lock, OldIrql);
        if (Frame != 0)
        {
            MiDeletePoolPage(Frame);
        }
    }
}

SIZE_T MiPoolBytesInUse(void)
{
    SIZE_T Sum = __atomic_load_n(&MiState.Pool->RunPages, __ATOMIC_RELAXED) << PAGE_SHIFT;

    for (ULONG Index = 0; Index < MI_POOL_CLASSES; Index++)
    {
        const MI_POOL_CLASS *Class = &MiState.Pool->Classes[Index];
        Sum += __atomic_load_n(&Class->InUse, __ATOMIC_RELAXED) * Class->Size;
    }
    return Sum;
}

SIZE_T MiPoolBlocksInUse(void)
{
    SIZE_T Sum = __atomic_load_n(&MiState.Pool->RunCount, __ATOMIC_RELAXED);

    for (ULONG Index = 0; Index < MI_POOL_CLASSES; Index++)
    {
        Sum += __atomic_load_n(&MiState.Pool->Classes[Index].InUse, __ATOMIC_RELAXED);
    }
    return Sum;
}

SIZE_T MiPoolPagesInUse(void)
{
    SIZE_T Sum = __atomic_load_n(&MiState.Pool->RunPages, __ATOMIC_RELAXED);

    for (ULONG Index = 0; Index < MI_POOL_CLASSES; Index++)
    {
        Sum += __atomic_load_n(&MiState.Pool->Classes[Index].Slabs, __ATOMIC_RELAXED);
    }
    return Sum;
}

/* ---- Invariants ----------------------------------------------------------------------------------------- */

static ULONG MiCountFreeBlocks(const MI_POOL_CLASS *Class, PFN_NUMBER Frame)
{
    ULONG Count = 0;

    for (PVOID Block = MiPoolPage(Frame)->u.FirstFree; Block != NULL && Count <= Class->Blocks;
         Block = *(PVOID *)Block)
    {
        ULONG Index = MiBlockIndex(Class, Block);

        if (PortDirectMapFrame(Block) != Frame || Index >= Class->Blocks ||
            MiSlabTags(Class, Frame)[Index] != 0)
        {
            KiBugCheckMessage(BAD_POOL_HEADER, 0x3, (ULONG_PTR)Block, Frame, Class->Size,
                              "the free list of a slab of %u bytes at frame %llx leads to %p", Class->Size,
                              (ULONG64)Frame, Block);
        }
        MiCheckFreeBlock(Class, Block);
        Count++;
    }
    return Count;
}

/* Class locked. Returns the blocks in use on this list of slabs. */
static SIZE_T MiCheckSlabs(const MI_POOL_CLASS *Class, PFN_NUMBER Head, PSIZE_T Slabs)
{
    SIZE_T InUse = 0;

    for (PFN_NUMBER Frame = Head; Frame != 0; Frame = MiPoolPage(Frame)->Flink)
    {
        const MI_POOL_PAGE *Page = MiPoolPage(Frame);
        ULONG Free = MiCountFreeBlocks(Class, Frame);

        if (Page->Kind != MiPoolSlab || &MiState.Pool->Classes[Page->Class] != Class ||
            Free + Page->InUse != Class->Blocks)
        {
            KiBugCheckMessage(BAD_POOL_HEADER, 0x3, Frame, Page->InUse, Free,
                              "slab at frame %llx (%u bytes): kind %x, %u blocks in use and %u free of %u",
                              (ULONG64)Frame, Class->Size, Page->Kind, Page->InUse, Free, Class->Blocks);
        }
        InUse += Page->InUse;
        *Slabs += 1;
    }
    return InUse;
}

VOID MiCheckPool(void)
{
    for (ULONG Index = 0; Index < MI_POOL_CLASSES; Index++)
    {
        MI_POOL_CLASS *Class = &MiState.Pool->Classes[Index];
        KIRQL OldIrql = MiLockPool(&Class->Lock);
        SIZE_T Slabs = 0;
        SIZE_T InUse = MiCheckSlabs(Class, Class->Partial, &Slabs);

        InUse += MiCheckSlabs(Class, Class->Full, &Slabs);
        InUse += MiCheckSlabs(Class, Class->Empty, &Slabs);
        if (InUse != Class->InUse || Slabs != Class->Slabs)
        {
            KiBugCheckMessage(
                BAD_POOL_HEADER, 0x3, Class->Size, InUse, Class->InUse,
                "blocks of %u bytes: the slabs hold %llu, counted are %llu; %llu slabs, counted are %llu",
                Class->Size, (ULONG64)InUse, (ULONG64)Class->InUse, (ULONG64)Slabs, (ULONG64)Class->Slabs);
        }
        MiUnlockPool(&Class->Lock, OldIrql);
    }
}

/* ---- Birth and death ------------------------------------------------------------------------------------ */

NTSTATUS MiInitializePool(void)
{
    MI_POOL_STATE *Pool = PortAllocateBootMemory(sizeof(*Pool));
    ULONG Units = 0;

    if (Pool == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    for (ULONG Index = 0; Index < MI_POOL_CLASSES; Index++)
    {
        MI_POOL_CLASS *Class = &Pool->Classes[Index];

        Class->Size = MiPoolSizes[Index];
        Class->Blocks = PAGE_SIZE / (Class->Size + (ULONG)sizeof(ULONG));
        Class->Reciprocal = (ULONG)((0x100000000ull + Class->Size - 1) / Class->Size);
        while (Units * 64 <= Class->Size)
        {
            Pool->ClassOf[Units++] = (UCHAR)Index;
        }
    }
    MiState.Pool = Pool;
    return STATUS_SUCCESS;
}

typedef struct _MI_POOL_LEAKS
{
    ULONG Tags[MI_POOL_REPORTED_TAGS];
    ULONG Counts[MI_POOL_REPORTED_TAGS];
} MI_POOL_LEAKS;

static VOID MiNoteLeak(MI_POOL_LEAKS *Leaks, ULONG Tag)
{
    for (ULONG Index = 0; Index < MI_POOL_REPORTED_TAGS; Index++)
    {
        if (Leaks->Tags[Index] == 0 || Leaks->Tags[Index] == Tag)
        {
            Leaks->Tags[Index] = Tag;
            Leaks->Counts[Index]++;
            return;
        }
    }
}

static VOID MiCollectLeaks(MI_POOL_LEAKS *Leaks)
{
    for (ULONG Number = 0; Number < MI_POOL_CLASSES; Number++)
    {
        const MI_POOL_CLASS *Class = &MiState.Pool->Classes[Number];

        for (ULONG List = 0; List < 2; List++)
        {
            for (PFN_NUMBER Frame = List == 0 ? Class->Partial : Class->Full; Frame != 0;
                 Frame = MiPoolPage(Frame)->Flink)
            {
                for (ULONG Index = 0; Index < Class->Blocks; Index++)
                {
                    if (MiSlabTags(Class, Frame)[Index] != 0)
                    {
                        MiNoteLeak(Leaks, MiSlabTags(Class, Frame)[Index]);
                    }
                }
            }
        }
    }
    for (PFN_NUMBER Frame = MiState.Pool->Runs; Frame != 0; Frame = MiPoolPage(Frame)->Flink)
    {
        MiNoteLeak(Leaks, MiPoolPage(Frame)->Tag);
    }
}

/* One line for each tag (least significant byte first, as tags are read), then the end. */
static VOID MiReportLeaks(void)
{
    MI_POOL_LEAKS Leaks = { .Tags = { 0 } };

    MiCollectLeaks(&Leaks);
    for (ULONG Index = 0; Index < MI_POOL_REPORTED_TAGS && Leaks.Tags[Index] != 0; Index++)
    {
        ULONG Tag = Leaks.Tags[Index];

        DbgPrint("pool: %u blocks left with the tag %c%c%c%c\n", Leaks.Counts[Index], (int)(Tag & 0xff),
                 (int)(Tag >> 8 & 0xff), (int)(Tag >> 16 & 0xff), (int)(Tag >> 24));
    }
    KiBugCheckMessage(DRIVER_VERIFIER_DETECTED_VIOLATION, 0x62, Leaks.Tags[0], Leaks.Counts[0],
                      MiPoolBlocksInUse(), "the machine ends with %llu pool blocks left",
                      (ULONG64)MiPoolBlocksInUse());
}

VOID MiShutdownPool(void)
{
    MI_POOL_STATE *Pool = MiState.Pool;

    if (Pool == NULL)
    {
        return;
    }
    if (MiPoolBlocksInUse() != 0)
    {
        MiReportLeaks();
    }
    MiTrimPool();
    PortFreeBootMemory(Pool, sizeof(*Pool));
    MiState.Pool = NULL;
}
