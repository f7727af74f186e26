/* SPDX-License-Identifier: MIT */
/*
 * Taking and giving frames. The common case is a pop from the current processor's small cache, which is refilled in batches:
 * from the zeroed or free list, then from frames that were never used, then (one at a time) from standby, lowest priority
 * first. Batches shrink to one when memory is short, so that no processor hoards.
 */
#include "physical/physical.h"
#include "rtl/memory.h"

#define MI_REFILL_BATCH   16u
#define MI_REGION_FRAMES  512u           /* 2 MiB */
#define MI_PLACE_WORTH    16u            /* a run of so many is worth passing frames over for its place */
#define MI_LARGE_BATCH    64u            /* of zeroed ones, while a quarter of memory is at hand */
#define MI_FRAME_PATIENCE 60000000000ull /* nanoseconds */

static PFN_NUMBER MiCachedPages(BOOLEAN Zeroed)
{
    PFN_NUMBER Sum = 0;

    for (ULONG Processor = 0; Processor < MiState.Ke->ProcessorCount; Processor++)
    {
        const MI_PAGE_CACHE *Cache = &MiState.Physical->PageCache[Processor];
        Sum += __atomic_load_n(Zeroed ? &Cache->ZeroedCount : &Cache->FreeCount, __ATOMIC_RELAXED);
    }
    return Sum;
}

static PFN_NUMBER MiNodePages(const MI_NODE *Node, MMLISTS Kind)
{
    PFN_NUMBER Sum = __atomic_load_n(&Node->Fresh[Kind], __ATOMIC_RELAXED);

    for (ULONG Colour = 0; Colour < MiState.Physical->Colours; Colour++)
    {
        Sum += MiListTotal(&Node->Lists[Kind][Colour]);
    }
    return Sum;
}

PFN_NUMBER MiNodeFreePages(ULONG Node)
{
    const MI_NODE *This = &MiState.Physical->Nodes[Node];

    return MiNodePages(This, ZeroedPageList) + MiNodePages(This, FreePageList);
}

static PFN_NUMBER MiKindPages(MMLISTS Kind)
{
    PFN_NUMBER Sum = MiCachedPages(Kind == ZeroedPageList);

    for (ULONG Node = 0; Node < MiState.Physical->NodeCount; Node++)
    {
        Sum += MiNodePages(&MiState.Physical->Nodes[Node], Kind);
    }
    return Sum;
}

PFN_NUMBER MiZeroedPages(void)
{
    return MiKindPages(ZeroedPageList);
}

PFN_NUMBER MiFreePages(void)
{
    return MiKindPages(FreePageList);
}

PFN_NUMBER MiStandbyPages(void)
{
    const MI_PHYSICAL_STATE *Physical = MiState.Physical;
    ULONG Used =
        __atomic_load_n(&Physical->StandbyUsed, __ATOMIC_RELAXED); /* one or two priorities, as a rule */
    PFN_NUMBER Sum = 0;

    for (; Used != 0; Used &= Used - 1)
    {
        Sum += MiQueueTotal(&Physical->StandbyList[__builtin_ctz(Used)]);
    }
    return Sum;
}

PFN_NUMBER MiAvailablePages(void)
{
    return MiZeroedPages() + MiFreePages() + MiStandbyPages();
}

/* ---- The three sources of a refill -------------------------------------------------------------------------- */

/* Popped from the end: put in backwards, so that they come out in the order of the array, which is often ascending. At DISPATCH_LEVEL. */
static VOID MiCachePut(MI_PAGE_CACHE *Cache, BOOLEAN Zeroed, const ULONG *Frames, ULONG Count)
{
    ULONG *Counter = Zeroed ? &Cache->ZeroedCount : &Cache->FreeCount;
    ULONG *Slots = Zeroed ? Cache->Zeroed : Cache->Free;
    ULONG Now;

    KiAcquireSpinLockAtDispatch(&Cache->Lock);
    Now = *Counter;
    ASSERT(Now + Count <= MI_PAGE_CACHE_DEPTH);
    for (ULONG Index = Count; Index > 0; Index--)
    {
        Slots[Now++] = Frames[Index - 1];
    }
    __atomic_store_n(Counter, Now, __ATOMIC_RELAXED);
    KiReleaseSpinLockFromDispatch(&Cache->Lock);
}

static ULONG MiRefillFromList(MI_PAGE_CACHE *Cache, BOOLEAN Zeroed, ULONG Wanted, ULONG Node)
{
    MMLISTS Kind = Zeroed ? ZeroedPageList : FreePageList;
    ULONG Frames[MI_LARGE_BATCH];
    ULONG Got = 0;
    ULONG Now;

    do
    {
        PMMPFN Pfns[MI_REFILL_BATCH]; /* locked at a time */
        ULONG Left = Wanted - Got;

        Now = MiRemoveColouredLocked(Node, Kind, &Cache->NextColour[Kind],
                                     Left < MI_REFILL_BATCH ? Left : MI_REFILL_BATCH, Pfns);
        for (ULONG Index = 0; Index < Now; Index++)
        {
            Frames[Got++] = (ULONG)MiPfnFrame(Pfns[Index]);
            Pfns[Index]->e1 = (MMPFNENTRY){ .PageLocation = Kind & 7u, .Kernel = 1 };
            MiUnlockPfn(Pfns[Index]);
        }
    } while (Now != 0 && Got < Wanted);
    MiCachePut(Cache, Zeroed, Frames, Got);
    return Got;
}

/* What MiTakeFresh has passed over for the sake of a place. */
typedef struct _MI_PASSED_OVER
{
    PFN_NUMBER First;
    ULONG Count;
    BOOLEAN Zeroed;
} MI_PASSED_OVER;

/* How many of the run's fresh frames lie before the first one at Place; 0 if that would use up too many. FreshLock held. */
static ULONG MiCountBeforePlace(const MI_MEMORY_RUN *Run, PFN_NUMBER Place)
{
    ULONG Before = Place == MI_ANY_PLACE ? 0 : (ULONG)((Place - Run->Fresh) % MI_REGION_FRAMES);

    return Run->FreshEnd - Run->Fresh >= Before + 2 * MI_REGION_FRAMES ? Before : 0;
}

/* From now on somebody's: all zero below the mark would mean "on the zeroed list". FreshLock held. */
static VOID MiBeginFrames(const MI_MEMORY_RUN *Run, PFN_NUMBER First, ULONG Count)
{
    for (ULONG Index = 0; Index < Count; Index++)
    {
        MiBeginFrame(MiPfn(First + Index), Run, (MMPFNENTRY){ .PageLocation = ActiveAndValid, .Kernel = 1 });
    }
}

/*
 * Never-used frames: consecutive ones, at the price of moving a mark. Their descriptors say that somebody has them before the mark moves.
 * Passed: frames before Place, which the caller puts on their list.
 */
static ULONG MiTakeFresh(BOOLEAN Zeroed, ULONG Wanted, ULONG Node, PFN_NUMBER Place, PFN_NUMBER *First,
                         MI_PASSED_OVER *Passed)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    volatile PFN_NUMBER *Count = &Physical->Nodes[Node].Fresh[Zeroed ? ZeroedPageList : FreePageList];
    BOOLEAN Prepare = FALSE;
    ULONG Got = 0;

    if (__atomic_load_n(Count, __ATOMIC_RELAXED) == 0)
    {
        return 0;
    }
    KiAcquireSpinLockAtDispatch(&Physical->FreshLock);
    for (ULONG Index = 0; Index < Physical->RunCount && Got == 0; Index++)
    {
        MI_MEMORY_RUN *Run = &Physical->Runs[Index];
        if (Run->Zeroed == Zeroed && Run->Node == Node && Run->Fresh != Run->FreshEnd)
        {
            ULONG Before = MiCountBeforePlace(Run, Place);
            PFN_NUMBER Left = Run->FreshEnd - Run->Fresh - Before;

            Got = Wanted < Left ? Wanted : (ULONG)Left;
            *First = Run->Fresh + Before;
            MiBeginFrames(Run, Run->Fresh, Before + Got);
            if (Before != 0)
            {
                *Passed = (MI_PASSED_OVER){ .First = Run->Fresh, .Count = Before, .Zeroed = Run->Zeroed };
            }
            __atomic_store_n(&Run->Fresh, *First + Got, __ATOMIC_RELEASE);
            __atomic_store_n(Count, *Count - Before - Got, __ATOMIC_RELAXED);
            Prepare = MiWantsPreparing(Run);
        }
    }
    KiReleaseSpinLockFromDispatch(&Physical->FreshLock);
    if (Prepare && KeReadStateEvent(&Physical->ZeroWorker.Event) == 0)
    {
        KiWakeWorker(&Physical->ZeroWorker);
    }
    return Got;
}

/* They are ordinary frames of their list from now on. */
static VOID MiListPassedOver(const MI_PASSED_OVER *Passed)
{
    for (ULONG Index = 0; Index < Passed->Count; Index++)
    {
        PMMPFN Pfn = MiPfn(Passed->First + Index);

        MiLockPfn(Pfn);
        if (Passed->Zeroed)
        {
            MiInsertZeroedPage(Pfn);
            MiUnlockPfn(Pfn);
        }
        else
        {
            MiFreeLockedPage(Pfn);
        }
    }
}

static ULONG MiRefillFromFresh(MI_PAGE_CACHE *Cache, BOOLEAN Zeroed, ULONG Wanted, ULONG Node)
{
    ULONG Frames[MI_LARGE_BATCH];
    PFN_NUMBER First = 0;
    ULONG Got = MiTakeFresh(Zeroed, Wanted, Node, MI_ANY_PLACE, &First, NULL);

    for (ULONG Index = 0; Index < Got; Index++)
    {
        Frames[Index] = (ULONG)First + Index;
        MiWritePfnEntry(MiPfn(First + Index),
                        (MMPFNENTRY){ .PageLocation = Zeroed ? ZeroedPageList : FreePageList, .Kernel = 1 });
    }
    MiCachePut(Cache, Zeroed, Frames, Got);
    return Got;
}

VOID MiWriteBackOriginalPte(PMMPFN Pfn)
{
    PMMPTE PointerPte = Pfn->PteAddress;
    MMPTE Old;

    KiRequire(PointerPte != NULL);
    Old.Long = __atomic_load_n(&PointerPte->Long, __ATOMIC_RELAXED);
    KiRequire(Old.Hard.Valid == 0 && Old.Trans.Transition == 1 &&
              Old.Trans.PageFrameNumber == MiPfnFrame(Pfn));
    __atomic_store_n(&PointerPte->Long, Pfn->OriginalPte.Long, __ATOMIC_RELEASE);
    if (MiCountsShares(PointerPte))
    {
        MiDecrementPageTableShare(PointerPte);
    }
}

VOID MiRestoreOwnerPte(PMMPFN Pfn)
{
    KiRequire(Pfn->ReferenceCount == 0);
    MiWriteBackOriginalPte(Pfn);
    MiForgetPageTable(Pfn);
}

/* A frame that was removed from standby, locked, leaves its owner. */
static PFN_NUMBER MiRepurpose(PMMPFN Pfn, ULONG Priority)
{
    MiRestoreOwnerPte(Pfn);
    MiUnlockPfn(Pfn);
    __atomic_fetch_add(&MiState.Physical->RepurposedByPriority[Priority], 1, __ATOMIC_RELAXED);
    MiCount(PagesRepurposed);
    return MiPfnFrame(Pfn);
}

static PFN_NUMBER MiTakeStandby(void)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;

    for (ULONG Priority = 0; Priority < MI_PRIORITIES; Priority++)
    {
        PMMPFN Pfn = MiRemoveOldestLocked(&Physical->StandbyList[Priority]);

        if (Pfn != NULL)
        {
            return MiRepurpose(Pfn, Priority);
        }
    }
    return 0;
}

/* Takes this frame if it is the one that MiTakeStandby would have taken next. */
static BOOLEAN MiTakeStandbyIfNext(PFN_NUMBER Frame)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;

    for (ULONG Priority = 0; Priority < MI_PRIORITIES; Priority++)
    {
        if (MiQueueTotal(&Physical->StandbyList[Priority]) == 0)
        {
            continue;
        }
        return MiRemoveIfOldestLocked(&Physical->StandbyList[Priority], MiPfn(Frame)) &&
               MiRepurpose(MiPfn(Frame), Priority) != 0;
    }
    return FALSE;
}

/* ---- Allocation ------------------------------------------------------------------------------------------------ */

static VOID MiPrepareAllocated(PFN_NUMBER Frame)
{
    PMMPFN Pfn = MiPfn(Frame);

    /* Nobody else can reach this frame; a passer-by that found it on a list may still hold its lock for a moment and look. */
    Pfn->u1.InPage = NULL;
    Pfn->PteAddress = NULL;
    Pfn->OriginalPte.Long = 0;
    Pfn->ReferenceCount = 1;
    MiWritePfnEntry(Pfn, (MMPFNENTRY){ .PageLocation = ActiveAndValid, .Priority = MI_DEFAULT_PRIORITY });
}

static PFN_NUMBER MiPop(MI_PAGE_CACHE *Cache, BOOLEAN Zeroed)
{
    ULONG *Counter = Zeroed ? &Cache->ZeroedCount : &Cache->FreeCount;
    PFN_NUMBER Frame = 0;

    if (__atomic_load_n(Counter, __ATOMIC_RELAXED) == 0)
    {
        return 0;
    }
    KiAcquireSpinLockAtDispatch(&Cache->Lock);
    if (*Counter != 0)
    {
        ULONG Count = *Counter - 1;

        Frame = Zeroed ? Cache->Zeroed[Count] : Cache->Free[Count];
        __atomic_store_n(Counter, Count, __ATOMIC_RELAXED);
    }
    KiReleaseSpinLockFromDispatch(&Cache->Lock);
    return Frame;
}

VOID MiDrainPageCaches(void)
{
    for (ULONG Processor = 0; Processor < MiState.Ke->ProcessorCount; Processor++)
    {
        MI_PAGE_CACHE *Cache = &MiState.Physical->PageCache[Processor];

        for (ULONG Kind = 0; Kind < 2; Kind++)
        {
            KIRQL OldIrql = KiRaiseIrqlToDispatch();
            PFN_NUMBER Frame;

            while ((Frame = MiPop(Cache, Kind == 1)) != 0)
            {
                PMMPFN Pfn = MiPfn(Frame);

                MiLockPfn(Pfn);
                if (Kind == 1)
                {
                    MiInsertZeroedPage(Pfn);
                    MiUnlockPfn(Pfn);
                }
                else
                {
                    MiFreeLockedPage(Pfn);
                }
            }
            KiLowerIrqlFromDispatch(OldIrql);
        }
    }
}

/* The lists are empty: what other processors hold ready. */
static PFN_NUMBER MiTakeFromOthers(BOOLEAN Zeroed)
{
    PFN_NUMBER Frame = 0;

    for (ULONG Processor = 0; Processor < MiState.Ke->ProcessorCount && Frame == 0; Processor++)
    {
        Frame = MiPop(&MiState.Physical->PageCache[Processor], Zeroed);
    }
    return Frame;
}

/* One frame of the kind from this node, past the cache: for those who prefer another node than the processor's. */
static PFN_NUMBER MiTakeOnNode(ULONG Node, BOOLEAN Zeroed)
{
    ULONG Colour = 0;
    PFN_NUMBER Frame = 0;
    PMMPFN Pfn;

    if (MiRemoveColouredLocked(Node, Zeroed ? ZeroedPageList : FreePageList, &Colour, 1, &Pfn) != 0)
    {
        Pfn->e1 = (MMPFNENTRY){ .PageLocation = ActiveAndValid, .Kernel = 1 };
        MiUnlockPfn(Pfn);
        return MiPfnFrame(Pfn);
    }
    return MiTakeFresh(Zeroed, 1, Node, MI_ANY_PLACE, &Frame, NULL) != 0 ? Frame : 0;
}

/* The cache is empty: a batch from the nearest node that has any. Nodes are at the distance of their numbers. */
static BOOLEAN MiRefill(MI_PAGE_CACHE *Cache, BOOLEAN Zeroed, ULONG Wanted)
{
    ULONG Count = MiState.Physical->NodeCount;
    ULONG Own = MiState.Ke->ProcessorNode[KiCurrentProcessor()];

    for (ULONG Distance = 0; Distance < Count; Distance++)
    {
        ULONG Node = (Own + Distance) % Count;

        if (MiRefillFromList(Cache, Zeroed, Wanted, Node) != 0 ||
            MiRefillFromFresh(Cache, Zeroed, Wanted, Node) != 0)
        {
            return TRUE;
        }
    }
    return FALSE;
}

/*
 * Available pages, or as many of them as decide all questions: while the processor's own list and the frames never used are plenty, nobody
 * looks at what the other processors write.
 */
static PFN_NUMBER MiEstimateAvailable(const MI_PAGE_CACHE *Cache, MMLISTS Kind, PFN_NUMBER Plenty)
{
    const MI_PHYSICAL_STATE *Physical = MiState.Physical;
    const MI_NODE *Node = &Physical->Nodes[MiState.Ke->ProcessorNode[KiCurrentProcessor()]];
    PFN_NUMBER Near = __atomic_load_n(&Node->Fresh[Kind], __ATOMIC_RELAXED) +
                      MiListTotal(&Node->Lists[Kind][Cache->NextColour[Kind] & (Physical->Colours - 1)]);

    return Near > Plenty ? Near : MiAvailablePages();
}

/* The caches are empty. Decides how much may be taken, refills, and tells the rooms above when memory runs low. */
static PFN_NUMBER MiAllocateSlow(MI_PAGE_CACHE *Cache, ULONG Flags, PBOOLEAN NeedsZero)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    BOOLEAN Zeroed = (Flags & MI_PAGE_ZEROED) != 0;
    PFN_NUMBER Plenty = 16 * Physical->LowThreshold;
    PFN_NUMBER Available = MiEstimateAvailable(Cache, Zeroed ? ZeroedPageList : FreePageList, Plenty);
    ULONG Batch = Available > 4 * Physical->LowThreshold + 64 ? MI_REFILL_BATCH : 1;
    PFN_NUMBER Frame = 0;

    if (Available < Physical->LowThreshold && Physical->Operations.AvailableLow != NULL)
    {
        Physical->Operations.AvailableLow();
    }
    if (Available <= Physical->MinimumReserve && (Flags & MI_PAGE_MUST_SUCCEED) == 0)
    {
        return 0;
    }
    for (ULONG Try = 0; Try < 2 && Frame == 0 && Flags >> MI_PAGE_NODE_SHIFT != 0; Try++)
    {
        BOOLEAN Kind = Try == 0 ? Zeroed : !Zeroed;

        Frame = MiTakeOnNode((Flags >> MI_PAGE_NODE_SHIFT) - 1, Kind);
        *NeedsZero = Zeroed && !Kind;
    }
    for (ULONG Try = 0; Try < 2 && Frame == 0; Try++)
    {
        BOOLEAN Kind = Try == 0 ? Zeroed : !Zeroed;

        /* Free ones stay on their list, where those who want runs look for them. */
        Frame = MiPop(Cache, Kind);
        if (Frame == 0 && MiRefill(Cache, Kind, Kind && Available > Plenty ? MI_LARGE_BATCH : Batch))
        {
            Frame = MiPop(Cache, Kind);
        }
        if (Frame == 0)
        {
            Frame = MiTakeFromOthers(Kind);
        }
        *NeedsZero = Zeroed && !Kind;
    }
    if (Frame == 0)
    {
        Frame = MiTakeStandby();
        *NeedsZero = Zeroed;
    }
    return Frame;
}

PFN_NUMBER MiAllocatePage(ULONG Flags)
{
    BOOLEAN Zeroed = (Flags & MI_PAGE_ZEROED) != 0;
    BOOLEAN NeedsZero = FALSE;
    MI_PAGE_CACHE *Cache;
    PFN_NUMBER Frame;
    KIRQL OldIrql;

    if ((Flags & MI_PAGE_MUST_SUCCEED) == 0 && KiInject(KiInjectFrame))
    {
        return 0;
    }
    OldIrql = KiRaiseIrqlToDispatch();
    Cache = &MiState.Physical->PageCache[KiCurrentProcessor()];
    Frame = __builtin_expect(Flags >> MI_PAGE_NODE_SHIFT == 0, 1) ? MiPop(Cache, Zeroed) : 0;
    if (Frame == 0)
    {
        Frame = MiAllocateSlow(Cache, Flags, &NeedsZero);
    }
    if (Frame != 0)
    {
        MiPrepareAllocated(Frame);
        if (NeedsZero)
        {
            MiZeroFrame(Frame);
            MiCount(PagesZeroedOnDemand);
        }
    }
    KiLowerIrqlFromDispatch(OldIrql);
    return Frame;
}

/* Frames from First on that can be had without preferring younger pages to older ones. */
static ULONG MiExtendRun(PFN_NUMBER First, ULONG Got, ULONG Count)
{
    BOOLEAN Free = MiFreePages() + MiZeroedPages() != 0;

    while (Got < Count && MiIsRamFrame(First + Got) &&
           (Free ? MiTakeFreeFrame(First + Got) : MiTakeStandbyIfNext(First + Got)))
    {
        MiPrepareAllocated(First + Got);
        Got++;
    }
    return Got;
}

/* Never-used frames; those at the wanted place before others. */
static PFN_NUMBER MiAllocateFreshRun(ULONG Count, BOOLEAN Zeroed, PFN_NUMBER Place, PULONG Got)
{
    ULONG Node = MiState.Ke->ProcessorNode[KiCurrentProcessor()];
    BOOLEAN Kind = Zeroed || MiState.Physical->Nodes[Node].Fresh[FreePageList] == 0;
    MI_PASSED_OVER Passed = { .Count = 0 };
    PFN_NUMBER First = 0;

    *Got = MiTakeFresh(Kind, Count, Node, Count < MI_PLACE_WORTH ? MI_ANY_PLACE : Place, &First, &Passed);
    for (ULONG Index = 0; Index < *Got; Index++)
    {
        MiPrepareAllocated(First + Index);
    }
    MiListPassedOver(&Passed);
    return First;
}

PFN_NUMBER MiAllocatePageRun(ULONG Count, ULONG Flags, PFN_NUMBER Place, PULONG Got)
{
    BOOLEAN Zeroed = (Flags & MI_PAGE_ZEROED) != 0;
    BOOLEAN Ample = Count > 1 && MiAvailablePages() > MiState.Physical->LowThreshold + Count;
    PFN_NUMBER First = Place;
    KIRQL OldIrql = KiRaiseIrqlToDispatch();

    *Got = 0;
    if (Ample && !KiInject(KiInjectFrame))
    {
        *Got = Zeroed || Place == MI_ANY_PLACE ? 0 : MiExtendRun(First, 0, Count);
        if (*Got == 0)
        {
            First = MiAllocateFreshRun(Count, Zeroed, Place, Got);
        }
    }
    if (*Got == 0)
    {
        First = MiAllocatePage(Flags);
        *Got = First != 0 ? 1 : 0;
        if (First != 0 && Ample && !Zeroed)
        {
            *Got = MiExtendRun(First, 1, Count);
        }
    }
    KiLowerIrqlFromDispatch(OldIrql);
    return First;
}

VOID MiFreePage(PFN_NUMBER PageFrame)
{
    PMMPFN Pfn = MiPfn(PageFrame);
    KIRQL OldIrql = KiRaiseIrqlToDispatch();

    MiLockPfn(Pfn);
    if (Pfn->ReferenceCount > 1 || Pfn->e1.PageLocation < ActiveAndValid)
    {
        KiBugCheckMessage(
            PFN_LIST_CORRUPT, 0x9A, PageFrame, Pfn->e1.PageLocation, Pfn->ReferenceCount,
            Pfn->ReferenceCount > 1
                ? "frame %llx is freed while somebody still has it locked or mapped: %u references"
                : "frame %llx is freed, but is free already: %u references",
            (ULONG64)PageFrame, Pfn->ReferenceCount);
    }
    MiFreeLockedPage(Pfn);
    KiLowerIrqlFromDispatch(OldIrql);
}

BOOLEAN MiWaitForAvailablePages(void)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    ULONG64 Begin = KiQueryTime();

    MiCount(FrameWaits);
    /*
     * Trimming and writing are under way; a minute without a single frame means that nothing can come. Measured in time: frames that come one
     * by one, and go to others, wake everybody each time.
     */
    do
    {
        LARGE_INTEGER Timeout = { .QuadPart = -1000000 }; /* 100 ms */

        __atomic_fetch_add(&Physical->AvailableWaiters, 1, __ATOMIC_SEQ_CST);
        KeClearEvent(&Physical->AvailableEvent);
        if (Physical->Operations.AvailableLow != NULL)
        {
            Physical->Operations.AvailableLow();
        }
        if (MiAvailablePages() <= Physical->MinimumReserve)
        {
            KeWaitForSingleObject(&Physical->AvailableEvent, WrFreePage, KernelMode, FALSE, &Timeout);
        }
        __atomic_fetch_sub(&Physical->AvailableWaiters, 1, __ATOMIC_SEQ_CST);
        if (MiAvailablePages() > Physical->MinimumReserve)
        {
            return TRUE;
        }
    } while (KiQueryTime() - Begin < MI_FRAME_PATIENCE);
    return FALSE;
}
