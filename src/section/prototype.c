/* SPDX-License-Identifier: MIT */
/*
 * The tree that finds the chunk of a page: nodes of 64 slots, as deep as the segment is large. A slot is set once, by whoever is
 * first, and read without a lock; nodes and chunks go with the segment. The root grows upwards: what it named becomes the
 * first slot of a new node.
 */
#include "section/section.h"

#define MI_ROOT_DEPTH 7u

static ULONG MiDepthFor(ULONG64 Number)
{
    ULONG Depth = 0;

    while (Number >> (MI_NODE_SHIFT * Depth) != 0)
    {
        Depth++;
    }
    return Depth;
}

static ULONG MiSlotIndex(ULONG64 Number, ULONG Depth)
{
    return (ULONG)(Number >> (MI_NODE_SHIFT * Depth)) & (MI_NODE_SLOTS - 1);
}

PMI_PROTOTYPE_CHUNK MiLookUpChunk(PSEGMENT Segment, ULONG64 Page)
{
    ULONG64 Number = Page / MI_CHUNK_PAGES;
    ULONG_PTR Root = __atomic_load_n(&Segment->Root, __ATOMIC_ACQUIRE);
    ULONG Depth = (ULONG)(Root & MI_ROOT_DEPTH);
    PVOID Item = (PVOID)(Root & ~(ULONG_PTR)MI_ROOT_DEPTH);

    if (Item == NULL || Number >> (MI_NODE_SHIFT * Depth) != 0)
    {
        return NULL;
    }
    while (Depth-- > 0 && Item != NULL)
    {
        MI_PROTOTYPE_NODE *Node = Item;

        Item = __atomic_load_n(&Node->Slots[MiSlotIndex(Number, Depth)], __ATOMIC_ACQUIRE);
    }
    return Item;
}

/* ---- Making ----------------------------------------------------------------------------------------------- */

static PMI_PROTOTYPE_CHUNK MiAllocateChunk(PSEGMENT Segment, ULONG64 Number)
{
    SIZE_T Bitmap = Segment->Reserve ? MI_CHUNK_PAGES / 8 : 0;
    PMI_PROTOTYPE_CHUNK Chunk = MiAllocatePool(sizeof(*Chunk) + Bitmap, MI_TAG_PROTOTYPE);

    if (Chunk != NULL)
    {
        Chunk->Segment = Segment;
        Chunk->FirstPage = Number * MI_CHUNK_PAGES;
    }
    return Chunk;
}

/* The root is deep enough for Number afterwards. FALSE: no pool. */
static BOOLEAN MiGrowRoot(PSEGMENT Segment, ULONG64 Number)
{
    for (;;)
    {
        ULONG_PTR Root = __atomic_load_n(&Segment->Root, __ATOMIC_ACQUIRE);
        ULONG Depth = (ULONG)(Root & MI_ROOT_DEPTH);
        PVOID Old = (PVOID)(Root & ~(ULONG_PTR)MI_ROOT_DEPTH);
        ULONG64 Last = __atomic_load_n(&Segment->TotalNumberOfPtes, __ATOMIC_RELAXED);
        MI_PROTOTYPE_NODE *Node;
        ULONG_PTR New;

        if (Old != NULL && Number >> (MI_NODE_SHIFT * Depth) == 0)
        {
            return TRUE;
        }
        Last = Last == 0 ? 0 : (Last - 1) / MI_CHUNK_PAGES;
        Last = Last > Number ? Last : Number;
        if (Old == NULL && Last == 0)
        {
            return TRUE; /* one chunk and no node: the chunk itself becomes the root */
        }
        Node = MiAllocatePool(sizeof(*Node), MI_TAG_PROTOTYPE);
        if (Node == NULL)
        {
            return FALSE;
        }
        Node->Slots[0] = Old;
        New = (ULONG_PTR)Node | (Old == NULL ? MiDepthFor(Last) : Depth + 1);
        if (!__atomic_compare_exchange_n(&Segment->Root, &Root, New, FALSE, __ATOMIC_ACQ_REL,
                                         __ATOMIC_RELAXED))
        {
            MiFreePool(Node, MI_TAG_PROTOTYPE);
        }
    }
}

/* What stands in the slot afterwards: the new item, or that of somebody faster. NULL: no pool. */
static PVOID MiFillSlot(PSEGMENT Segment, PVOID volatile *Slot, ULONG64 Number, ULONG Depth)
{
    PVOID Item = __atomic_load_n(Slot, __ATOMIC_ACQUIRE);
    PVOID New;

    if (Item != NULL)
    {
        return Item;
    }
    New = Depth != 0 ? MiAllocatePool(sizeof(MI_PROTOTYPE_NODE), MI_TAG_PROTOTYPE)
                     : (PVOID)MiAllocateChunk(Segment, Number);
    if (New == NULL ||
        __atomic_compare_exchange_n(Slot, &Item, New, FALSE, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
    {
        return New;
    }
    MiFreePool(New, MI_TAG_PROTOTYPE);
    return Item;
}

PMI_PROTOTYPE_CHUNK MiMakeChunk(PSEGMENT Segment, ULONG64 Page)
{
    ULONG64 Number = Page / MI_CHUNK_PAGES;
    ULONG_PTR Root;
    ULONG Depth;
    PVOID Item;

    KiRequire(Number >> (MI_NODE_SHIFT * MI_NODE_LEVELS) == 0);
    if (!MiGrowRoot(Segment, Number))
    {
        return NULL;
    }
    Root = __atomic_load_n(&Segment->Root, __ATOMIC_ACQUIRE);
    if (Root == 0)
    {
        PMI_PROTOTYPE_CHUNK Chunk = MiAllocateChunk(Segment, Number);

        if (Chunk == NULL || __atomic_compare_exchange_n(&Segment->Root, &Root, (ULONG_PTR)Chunk, FALSE,
                                                         __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        {
            return Chunk;
        }
        MiFreePool(Chunk, MI_TAG_PROTOTYPE);
    }
    Depth = (ULONG)(Root & MI_ROOT_DEPTH);
    Item = (PVOID)(Root & ~(ULONG_PTR)MI_ROOT_DEPTH);
    while (Depth-- > 0 && Item != NULL)
    {
        MI_PROTOTYPE_NODE *Node = Item;

        Item = MiFillSlot(Segment, &Node->Slots[MiSlotIndex(Number, Depth)], Number, Depth);
    }
    return Item;
}

/* ---- Locking one prototype PTE ------------------------------------------------------------------------------ */

PMMPTE MiLockPrototype(PSEGMENT Segment, ULONG64 Page)
{
    PMI_PROTOTYPE_CHUNK Chunk = MiLookUpChunk(Segment, Page);

    while (Chunk != NULL)
    {
        MMPTE Pte = MiReadPte(&Chunk->Pte);
        PMMPFN Pfn;

        if (!Pte.Hard.Valid)
        {
            return NULL;
        }
        Pfn = MiPfn(Pte.Hard.PageFrameNumber);
        MiLockPrototypePage(Pfn);
        if (MiReadPte(&Chunk->Pte).Long == Pte.Long)
        {
            return (PMMPTE)PortDirectMap(Pte.Hard.PageFrameNumber) + Page % MI_CHUNK_PAGES;
        }
        MiUnlockPrototypePage(Pfn); /* the frame was taken from the chunk meanwhile */
    }
    return NULL;
}

VOID MiUnlockPrototype(PMMPTE Prototype)
{
    MiUnlockPrototypePage(MiPtePage(Prototype));
}

/* ---- All of them -------------------------------------------------------------------------------------------- */

typedef struct _MI_CHUNK_WALK
{
    BOOLEAN (*Routine)(PMI_PROTOTYPE_CHUNK Chunk, PVOID Context);
    PVOID Context;
    BOOLEAN Free;
} MI_CHUNK_WALK;

/* Depth is five at most. FALSE: stop. */
static BOOLEAN MiWalkChunks(const MI_CHUNK_WALK *Walk, PVOID Item, ULONG Depth)
{
    BOOLEAN GoOn = TRUE;

    if (Depth == 0)
    {
        GoOn = Walk->Routine == NULL || Walk->Routine(Item, Walk->Context);
    }
    for (ULONG Index = 0; Depth != 0 && Index < MI_NODE_SLOTS && GoOn; Index++)
    {
        PVOID Child = __atomic_load_n(&((MI_PROTOTYPE_NODE *)Item)->Slots[Index], __ATOMIC_ACQUIRE);

        GoOn = Child == NULL || MiWalkChunks(Walk, Child, Depth - 1);
    }
    if (Walk->Free)
    {
        MiFreePool(Item, MI_TAG_PROTOTYPE);
    }
    return GoOn;
}

VOID MiForEachChunk(PSEGMENT Segment, BOOLEAN (*Routine)(PMI_PROTOTYPE_CHUNK Chunk, PVOID Context),
                    PVOID Context)
{
    MI_CHUNK_WALK Walk = { .Routine = Routine, .Context = Context };
    ULONG_PTR Root = __atomic_load_n(&Segment->Root, __ATOMIC_ACQUIRE);

    if (Root != 0)
    {
        MiWalkChunks(&Walk, (PVOID)(Root & ~(ULONG_PTR)MI_ROOT_DEPTH), (ULONG)(Root & MI_ROOT_DEPTH));
    }
}

VOID MiFreeChunks(PSEGMENT Segment)
{
    MI_CHUNK_WALK Walk = { .Free = TRUE };
    ULONG_PTR Root = Segment->Root;

    if (Root != 0)
    {
        Segment->Root = 0;
        MiWalkChunks(&Walk, (PVOID)(Root & ~(ULONG_PTR)MI_ROOT_DEPTH), (ULONG)(Root & MI_ROOT_DEPTH));
    }
}

static BOOLEAN MiCountChunk(PMI_PROTOTYPE_CHUNK Chunk, PVOID Context)
{
    MMPTE Pte = MiReadPte(&Chunk->Pte);

    if (Pte.Hard.Valid)
    {
        PMMPFN Pfn = MiPfn(Pte.Hard.PageFrameNumber);
        KIRQL OldIrql = KiRaiseIrqlToDispatch();

        MiLockPfn(Pfn);
        if (MiReadPte(&Chunk->Pte).Long == Pte.Long) /* else it is on a list, and has no pages in memory */
        {
            *(PULONG64)Context += __atomic_load_n(&Pfn->u1.ShareCount, __ATOMIC_RELAXED) - 1;
        }
        MiUnlockPfn(Pfn);
        KiLowerIrqlFromDispatch(OldIrql);
    }
    return TRUE;
}

ULONG64 MiCountSegmentPages(PSEGMENT Segment)
{
    ULONG64 Pages = 0;

    MiForEachChunk(Segment, MiCountChunk, &Pages);
    return Pages;
}

/* ---- Committed pages of SEC_RESERVE -------------------------------------------------------------------------- */

static BOOLEAN MiIsChunkPageCommitted(PMI_PROTOTYPE_CHUNK Chunk, ULONG Index)
{
    return Chunk != NULL &&
           ((__atomic_load_n(&Chunk->Committed[Index / 64], __ATOMIC_RELAXED) >> (Index % 64)) & 1) != 0;
}

ULONG64 MiMeasureCommitted(PSEGMENT Segment, ULONG64 Page, ULONG64 Count, PBOOLEAN Committed)
{
    ULONG64 Alike = 0;

    *Committed = TRUE;
    if (!Segment->Reserve)
    {
        return Count;
    }
    while (Alike < Count)
    {
        PMI_PROTOTYPE_CHUNK Chunk = MiLookUpChunk(Segment, Page + Alike);
        ULONG Index = (ULONG)((Page + Alike) % MI_CHUNK_PAGES);
        ULONG Last = Count - Alike < MI_CHUNK_PAGES - Index ? Index + (ULONG)(Count - Alike) : MI_CHUNK_PAGES;

        if (Alike == 0)
        {
            *Committed = MiIsChunkPageCommitted(Chunk, Index);
        }
        for (; Index < Last; Index++, Alike++)
        {
            if (MiIsChunkPageCommitted(Chunk, Index) != *Committed)
            {
                return Alike;
            }
        }
    }
    return Alike;
}

/* The pages of the range that are not committed. Lock held. */
static ULONG64 MiCountUncommitted(PSEGMENT Segment, ULONG64 Page, ULONG64 Count)
{
    ULONG64 Missing = 0;

    while (Count != 0)
    {
        BOOLEAN Committed;
        ULONG64 Alike = MiMeasureCommitted(Segment, Page, Count, &Committed);

        Missing += Committed ? 0 : Alike;
        Page += Alike;
        Count -= Alike;
    }
    return Missing;
}

/* Chunks for the range; FALSE: no pool. What was made stays: it is the segment's. Lock held. */
static BOOLEAN MiMakeChunks(PSEGMENT Segment, ULONG64 Page, ULONG64 Count)
{
    for (ULONG64 First = Page & ~(ULONG64)(MI_CHUNK_PAGES - 1); First < Page + Count; First += MI_CHUNK_PAGES)
    {
        if (MiMakeChunk(Segment, First) == NULL)
        {
            return FALSE;
        }
    }
    return TRUE;
}

NTSTATUS MiPromiseChunks(PSEGMENT Segment)
{
    ULONG64 Chunks = (Segment->TotalNumberOfPtes + MI_CHUNK_PAGES - 1) / MI_CHUNK_PAGES;

    if (!MiChargeCommitment(Chunks, 0))
    {
        return STATUS_COMMITMENT_LIMIT;
    }
    Segment->ChunksPromised = Chunks;
    return MiMakeChunks(Segment, 0, Segment->TotalNumberOfPtes) ? STATUS_SUCCESS
                                                                : STATUS_INSUFFICIENT_RESOURCES;
}

static VOID MiSetCommitted(PSEGMENT Segment, ULONG64 Page, ULONG64 Count)
{
    PMI_PROTOTYPE_CHUNK Chunk = NULL;

    for (ULONG64 Last = Page + Count; Page < Last; Page++)
    {
        ULONG Index = (ULONG)(Page % MI_CHUNK_PAGES);

        Chunk = Chunk == NULL || Index == 0 ? MiLookUpChunk(Segment, Page) : Chunk;
        __atomic_fetch_or(&Chunk->Committed[Index / 64], 1ull << (Index % 64), __ATOMIC_RELAXED);
    }
}

NTSTATUS MiCommitSegmentPages(PSEGMENT Segment, ULONG64 Page, ULONG64 Count)
{
    NTSTATUS Status = STATUS_SUCCESS;
    ULONG64 Missing;

    if (!Segment->Reserve)
    {
        return STATUS_SUCCESS;
    }
    KiAcquirePushLockExclusive(&Segment->Lock);
    KiNoteLockAcquired(Segment, KiLockSegment, FALSE);
    Missing = MiCountUncommitted(Segment, Page, Count);
    if (!MiChargeCommitment(Missing, 0))
    {
        Status = STATUS_COMMITMENT_LIMIT;
    }
    else if (!MiMakeChunks(Segment, Page, Count))
    {
        MiReturnCommitment(Missing);
        Status = STATUS_INSUFFICIENT_RESOURCES;
    }
    else
    {
        __atomic_fetch_add(&Segment->NumberOfCommittedPages, Missing, __ATOMIC_RELAXED);
        MiSetCommitted(Segment, Page, Count);
    }
    KiNoteLockReleased(Segment);
    KiReleasePushLockExclusive(&Segment->Lock);
    return Status;
}
