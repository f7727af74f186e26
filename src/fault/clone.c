/* SPDX-License-Identifier: MIT */
/*
 * Pages shared by clones. Each has a block with its prototype PTE and the number of entries that refer to it;
 * blocks live in pool pages that carry a list of their free ones. The last reference frees the page, wherever
 * it is.
 */
#include "fault/resolve.h"

typedef struct _MI_CLONE_PAGE
{
    LIST_ENTRY Links; /* ClonePages while a block is free */
    ULONG FreeCount;
    ULONG FirstFree; /* index + 1; chained through ProtoPte.Long */
    ULONG64 Reserved[5];
    MMCLONE_BLOCK Blocks[];
} MI_CLONE_PAGE;

#define MI_BLOCKS_PER_PAGE ((PAGE_SIZE - sizeof(MI_CLONE_PAGE)) / sizeof(MMCLONE_BLOCK))
#define MI_TAG_CLONE       MI_TAG('M', 'm', 'C', 'l')

static MI_CLONE_PAGE *MiNewClonePage(void)
{
    MI_CLONE_PAGE *Page = MiAllocatePool(PAGE_SIZE, MI_TAG_CLONE);

    if (Page == NULL)
    {
        return NULL;
    }
    for (ULONG Index = 0; Index < MI_BLOCKS_PER_PAGE; Index++)
    {
        Page->Blocks[Index].ProtoPte.Long = Index + 1 < MI_BLOCKS_PER_PAGE ? Index + 2 : 0;
    }
    Page->FirstFree = 1;
    Page->FreeCount = MI_BLOCKS_PER_PAGE;
    return Page;
}

PMMCLONE_BLOCK MiAllocateCloneBlock(void)
{
    MI_FAULT_STATE *State = MiState.Fault;
    KIRQL OldIrql = KiAcquireSpinLock(&State->CloneLock);
    PMMCLONE_BLOCK Block;
    MI_CLONE_PAGE *Page;

    if (IsListEmpty(&State->ClonePages))
    {
        Page = MiNewClonePage();
        if (Page == NULL)
        {
            KiReleaseSpinLock(&State->CloneLock, OldIrql);
            return NULL;
        }
        InsertHeadList(&State->ClonePages, &Page->Links);
    }
    Page = CONTAINING_RECORD(State->ClonePages.Flink, MI_CLONE_PAGE, Links);
    Block = &Page->Blocks[Page->FirstFree - 1];
    Page->FirstFree = (ULONG)Block->ProtoPte.Long;
    if (--Page->FreeCount == 0)
    {
        RemoveEntryList(&Page->Links);
    }
    __atomic_store_n(&State->CloneBlocksInUse, State->CloneBlocksInUse + 1, __ATOMIC_RELAXED);
    KiReleaseSpinLock(&State->CloneLock, OldIrql);
    Block->ProtoPte.Long = 0;
    Block->References = 1;
    return Block;
}

static VOID MiFreeCloneBlock(PMMCLONE_BLOCK Block)
{
    MI_FAULT_STATE *State = MiState.Fault;
    MI_CLONE_PAGE *Page = (MI_CLONE_PAGE *)((ULONG_PTR)Block & ~(ULONG_PTR)(PAGE_SIZE - 1));
    KIRQL OldIrql = KiAcquireSpinLock(&State->CloneLock);
    BOOLEAN Empty;

    Block->ProtoPte.Long = Page->FirstFree;
    Page->FirstFree = (ULONG)(Block - Page->Blocks) + 1;
    if (Page->FreeCount++ == 0)
    {
        InsertHeadList(&State->ClonePages, &Page->Links);
    }
    Empty = Page->FreeCount == MI_BLOCKS_PER_PAGE;
    if (Empty)
    {
        RemoveEntryList(&Page->Links);
    }
    __atomic_store_n(&State->CloneBlocksInUse, State->CloneBlocksInUse - 1, __ATOMIC_RELAXED);
    KiReleaseSpinLock(&State->CloneLock, OldIrql);
    if (Empty)
    {
        MiFreePool(Page, MI_TAG_CLONE);
    }
}

VOID MiReferenceCloneBlock(PMMPTE Prototype)
{
    __atomic_fetch_add(&CONTAINING_RECORD(Prototype, MMCLONE_BLOCK, ProtoPte)->References, 1,
                       __ATOMIC_RELAXED);
}

/* Frees the page or slot behind a prototype PTE to which nobody refers any more. */
static VOID MiDeletePrototypePage(PMMPTE Prototype)
{
    for (;;)
    {
        /* Whoever took the frame wrote the entry back (release); the block is nobody's else once that is seen. */
        MMPTE Proto = { .Long = __atomic_load_n(&Prototype->Long, __ATOMIC_ACQUIRE) };
        PMMPFN Pfn;

        KiRequire(!Proto.Hard.Valid);
        if (!MiIsTransition(Proto))
        {
            MiReleasePageFileSpace(Proto);
            return;
        }
        Pfn = MiPfn(Proto.Trans.PageFrameNumber);
        MiLockPfn(Pfn);
        if (MiReadPte(Prototype).Long == Proto.Long)
        {
            MiAbandonFrame(Pfn);
            MiUnlockPfn(Pfn);
            return;
        }
        MiUnlockPfn(Pfn);
    }
}

VOID MiDereferenceCloneBlock(PMMPTE Prototype)
{
    PMMCLONE_BLOCK Block = CONTAINING_RECORD(Prototype, MMCLONE_BLOCK, ProtoPte);

    if (__atomic_sub_fetch(&Block->References, 1, __ATOMIC_ACQ_REL) == 0)
    {
        MiDeletePrototypePage(Prototype);
        MiFreeCloneBlock(Block);
    }
}

SIZE_T MiCloneBlocksInUse(void)
{
    return __atomic_load_n(&MiState.Fault->CloneBlocksInUse, __ATOMIC_RELAXED);
}

/* The private frame becomes the prototype's. Frame locked. */
static VOID MiGiveFrameToPrototype(PMMPFN Pfn, PMMPTE Prototype, ULONG Protection)
{
    Pfn->PteAddress = Prototype;
    Pfn->e1.PrototypePte = 1;
    Pfn->OriginalPte.Soft.Protection = Protection & 31u;
}

/*
 * A page that was given up by MEM_RESET is shared as it is: from now on it has a second owner, who never gave
 * it up and could not be told that it is lost. Frame locked.
 */
static VOID MiKeepContents(PMMPFN Pfn)
{
    BOOLEAN Listed = Pfn->e1.PageLocation == StandbyPageList;

    if (!Pfn->OriginalPte.Soft.ColdPage)
    {
        return;
    }
    if (Listed)
    {
        MiUnlinkPage(Pfn);
    }
    Pfn->OriginalPte.Soft.ColdPage = 0;
    MiSetFrameModified(Pfn);
    if (Listed)
    {
        MiInsertPageInList(Pfn);
    }
}

static MMPTE MiShareValid(PMMPTE PointerPte, ULONG_PTR Va, PMMCLONE_BLOCK Block, MI_FLUSH_LIST *Flush)
{
    MMPTE Pte = MiReadPte(PointerPte);
    ULONG Protection = MiProtectionFromValidPte(Pte);
    ULONG Shared = MiIsWritable(Protection) ? Protection | 1u : Protection;
    PMMPFN Pfn = MiPfn(Pte.Hard.PageFrameNumber);
    MMPTE Old;
    MMPTE New;

    MiLockPfn(Pfn);
    MiGiveFrameToPrototype(Pfn, &Block->ProtoPte, Protection);
    New.Long = (Pte.Long & (MM_PTE_VALID | MM_PTE_OWNER | MM_PTE_ACCESSED | MM_PTE_FRAME_MASK |
                            MM_PTE_AGE_MASK | MM_PTE_LOCKED_MASK)) |
               MM_PTE_SHARED | MmProtectToPteMask[Shared];
    MiWritePte(&Block->ProtoPte, MiMakeValidPte(MiPfnFrame(Pfn), Protection, FALSE));
    Old = MiExchangePte(PointerPte, New);
    if (Old.Hard.Dirty)
    {
        MiSetFrameModified(Pfn);
    }
    MiKeepContents(Pfn);
    MiUnlockPfn(Pfn);
    MiAddToFlushList(Flush, Va, 1);
    return MiMakePrototypePte(&Block->ProtoPte, Shared);
}

/* FALSE: the frame was taken meanwhile. */
static BOOLEAN MiShareTransition(PMMPTE PointerPte, MMPTE Pte, PMMCLONE_BLOCK Block, MMPTE New)
{
    PMMPFN Pfn = MiPfn(Pte.Trans.PageFrameNumber);

    MiLockPfn(Pfn);
    if (MiReadPte(PointerPte).Long != Pte.Long)
    {
        MiUnlockPfn(Pfn);
        return FALSE;
    }
    MiGiveFrameToPrototype(Pfn, &Block->ProtoPte, (ULONG)Pfn->OriginalPte.Soft.Protection);
    MiWritePte(&Block->ProtoPte, Pte);
    MiWritePte(PointerPte, New);
    MiKeepContents(Pfn);
    MiUnlockPfn(Pfn);
    MiDecrementPageTableShare(PointerPte);
    return TRUE;
}

MMPTE MiShareEntryForClone(PMI_ADDRESS_SPACE Space, PMMPTE PointerPte, ULONG_PTR Va, PMMCLONE_BLOCK Block,
                           MI_FLUSH_LIST *Flush)
{
    UNREFERENCED_PARAMETER(Space);
    for (;;)
    {
        MMPTE Pte = MiReadPte(PointerPte);
        ULONG Protection = MiProtectionFromPte(Pte);
        MMPTE New =
            MiMakePrototypePte(&Block->ProtoPte, MiIsWritable(Protection) ? Protection | 1u : Protection);

        KiRequire(Pte.Long != 0 && !MiIsPrototype(Pte) &&
                  (Pte.Hard.Valid == 0 || (Pte.Long & MM_PTE_SHARED) == 0));
        if (Pte.Hard.Valid)
        {
            return MiShareValid(PointerPte, Va, Block, Flush);
        }
        if (MiIsTransition(Pte))
        {
            if (!MiShareTransition(PointerPte, Pte, Block, New))
            {
                continue;
            }
            return New;
        }
        MiWritePte(&Block->ProtoPte, Pte);
        MiWritePte(PointerPte, New);
        return New;
    }
}
