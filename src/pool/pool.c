/* SPDX-License-Identifier: MIT */
/*
 * The minimal allocator of kernel structures. Small blocks are cut from slabs (pages of one size class), larger ones are whole pages
 * or physically consecutive pages; all of it is addressed through the direct map. What the allocator knows of a page stands in the
 * page's own descriptor, whose owner fields a kernel page has no other use for, so that blocks carry no header and
 * keep the natural alignment of their size. A slab ends with one tag for each block: wrong tags and double frees are found in
 * every build, and a machine that ends with blocks left can say whose they are.
 */
#include "pool/expool.h"
#include "pool/slab.h"

/* Chosen so that little is left over at the end of a page; from 64 on multiples of 64. */
static const USHORT MiPoolSizes[] = { 32, 48, 64, 128, 192, 256, 320, 384, 448, 576, 768, 960, 1280, 1984 };

C_ASSERT(RTL_NUMBER_OF(MiPoolSizes) == MI_POOL_CLASSES);

/* ---- Pages --------------------------------------------------------------------------------------------- */

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
    if (!MiChargeCommitment(Pages, MI_COMMIT_GROW_LATER))
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

/* ---- Slabs --------------------------------------------------------------------------------------------- */

static VOID MiFillFreeBlock(const MI_POOL_CLASS *Class, PVOID Block)
{
    if (MI_POOL_FILL)
    {
        __builtin_memset((PUCHAR)Block + sizeof(PVOID), MI_POOL_FILL_BYTE, Class->Size - sizeof(PVOID));
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

/* ---- Whole pages --------------------------------------------------------------------------------------- */

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

/* ---- The calls of other rooms -------------------------------------------------------------------------- */

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
    if (ExpPool() != NULL)
    {
        ExpTrimPools();
    }
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

    for (ULONG Paged = 0; Paged < 2 && ExpPool() != NULL; Paged++)
    {
        EX_POOL_USAGE Usage;

        ExQueryPoolUsage(Paged != 0, &Usage);
        Sum += Usage.Blocks;
    }
    for (ULONG Index = 0; Index < MI_POOL_CLASSES; Index++)
    {
        Sum += __atomic_load_n(&MiState.Pool->Classes[Index].InUse, __ATOMIC_RELAXED);
    }
    return Sum;
}

SIZE_T MiPoolPagesInUse(void)
{
    SIZE_T Sum = __atomic_load_n(&MiState.Pool->RunPages, __ATOMIC_RELAXED);

    if (ExpPool() != NULL)
    {
        Sum += __atomic_load_n(&ExpPool()->Sources[0].PagesInUse, __ATOMIC_RELAXED);
    }
    for (ULONG Index = 0; Index < MI_POOL_CLASSES; Index++)
    {
        Sum += __atomic_load_n(&MiState.Pool->Classes[Index].Slabs, __ATOMIC_RELAXED);
    }
    return Sum;
}

/* ---- Birth and death ----------------------------------------------------------------------------------- */

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
    if (!NT_SUCCESS(ExpInitializePools()))
    {
        PortFreeBootMemory(Pool, sizeof(*Pool));
        MiState.Pool = NULL;
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    return STATUS_SUCCESS;
}

VOID MiShutdownPool(void)
{
    MI_POOL_STATE *Pool = MiState.Pool;

    if (Pool == NULL)
    {
        return;
    }
    ExpRequireNoBlocks();
    if (MiPoolBlocksInUse() != 0)
    {
        MiReportLeaks();
    }
    ExpShutdownPools();
    MiTrimPool();
    PortFreeBootMemory(Pool, sizeof(*Pool));
    MiState.Pool = NULL;
}
