/* SPDX-License-Identifier: MIT */
/*
 * The page lists. Each list is doubly linked by frame numbers through the descriptors and has a lock of its own. Removing a
 * known frame goes frame lock -> list lock; taking the first of a list goes the other way round and therefore only
 * tries the frame's lock, passing over frames that somebody is just working on. Standby and modified lists are queues in parts (MI_QUEUE).
 */
#include "physical/many.h"

#define MI_SUITABLE_LOOKS 512u
#define MI_RUN_FRAMES     64u /* with one lock of a list */

static ULONG MiPartOf(const MMPFN *Pfn)
{
    return __atomic_load_n(&Pfn->Place, __ATOMIC_RELAXED) & MI_PFN_PART_MASK;
}

/* The queue that the state of the frame names; NULL: its list is in one piece. */
static PMI_QUEUE MiQueueOf(const MMPFN *Pfn)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;

    if (Pfn->e1.PageLocation == StandbyPageList)
    {
        return &Physical->StandbyList[Pfn->e1.Priority];
    }
    return Pfn->e1.PageLocation == ModifiedPageList &&
                   !(Pfn->e1.PrototypePte && Pfn->OriginalPte.Soft.Prototype)
               ? &Physical->ModifiedList
               : NULL;
}

static PMMPFNLIST MiListOf(const MMPFN *Pfn)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;

    switch (Pfn->e1.PageLocation)
    {
    case ZeroedPageList:
    case FreePageList:
        return &Physical->Nodes[MiPfnNode(Pfn)].Lists[Pfn->e1.PageLocation][MiFrameColour(MiPfnFrame(Pfn))];
    case StandbyPageList:
        return &MiQueueOf(Pfn)->Parts[MiPartOf(Pfn)];
    case ModifiedPageList:
        return MiQueueOf(Pfn) != NULL ? &Physical->ModifiedList.Parts[MiPartOf(Pfn)]
                                      : &Physical->ModifiedMappedList;
    case ModifiedNoWritePageList:
        return &Physical->ModifiedNoWriteList;
    case BadPageList:
        return &Physical->BadList;
    default:
        KiBugCheckMessage(PFN_LIST_CORRUPT, 0x9A, MiPfnFrame(Pfn), Pfn->e1.PageLocation, Pfn->ReferenceCount,
                          "frame is on no list");
    }
}

static FORCEINLINE VOID MiLinkTail(PMMPFNLIST List, PMMPFN Pfn)
{
    ULONG Frame = (ULONG)MiPfnFrame(Pfn);

    Pfn->u1.Flink = 0;
    Pfn->u1.Blink = List->Blink;
    if (List->Blink != 0)
    {
        MiPfn(List->Blink)->u1.Flink = Frame;
    }
    else
    {
        List->Flink = Frame;
    }
    List->Blink = Frame;
    __atomic_store_n(&List->Total, List->Total + 1, __ATOMIC_RELAXED);
}

static VOID MiLinkHead(PMMPFNLIST List, PMMPFN Pfn)
{
    ULONG Frame = (ULONG)MiPfnFrame(Pfn);

    Pfn->u1.Blink = 0;
    Pfn->u1.Flink = List->Flink;
    if (List->Flink != 0)
    {
        MiPfn(List->Flink)->u1.Blink = Frame;
    }
    else
    {
        List->Blink = Frame;
    }
    List->Flink = Frame;
    __atomic_store_n(&List->Total, List->Total + 1, __ATOMIC_RELAXED);
}

static FORCEINLINE VOID MiUnlink(PMMPFNLIST List, PMMPFN Pfn)
{
    ULONG Flink = Pfn->u1.Flink;
    ULONG Blink = Pfn->u1.Blink;

    if (Blink != 0)
    {
        MiPfn(Blink)->u1.Flink = Flink;
    }
    else
    {
        KiRequire(List->Flink == (ULONG)MiPfnFrame(Pfn));
        List->Flink = Flink;
    }
    if (Flink != 0)
    {
        MiPfn(Flink)->u1.Blink = Blink;
    }
    else
    {
        KiRequire(List->Blink == (ULONG)MiPfnFrame(Pfn));
        List->Blink = Blink;
    }
    __atomic_store_n(&List->Total, List->Total - 1, __ATOMIC_RELAXED);
    Pfn->u1.Flink = 0;
    Pfn->u1.Blink = 0;
}

/* Somebody waits for frames: wake them. Checked after every insertion that makes frames available. */
static VOID MiNoteAvailable(void)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;

    if (__atomic_load_n(&Physical->AvailableWaiters, __ATOMIC_SEQ_CST) != 0)
    {
        KeSetEvent(&Physical->AvailableEvent, 0, FALSE);
    }
}

static ULONG MiNewestPart(const MI_QUEUE *Queue)
{
    return __atomic_load_n(&Queue->Newest, __ATOMIC_RELAXED);
}

/* The newest part, locked, has got a frame: is it large enough? */
static VOID MiAdvanceQueue(PMI_QUEUE Queue, const MMPFNLIST *Newest)
{
    ULONG Next = (Newest->Part + 1) % MI_QUEUE_PARTS;

    /* Nothing is added to the next part before this store, so one that is seen empty stays so (but for frames that go to the front). */
    if (Newest->Total >= MiState.Physical->PartPages && MiListTotal(&Queue->Parts[Next]) == 0 &&
        2 * Newest->Total >= MiQueueTotal(Queue))
    {
        __atomic_store_n(&Queue->Newest, Next, __ATOMIC_RELAXED);
    }
}

/* The oldest part that has any frame, or the newest. A hint. */
static ULONG MiOldestPart(const MI_QUEUE *Queue)
{
    ULONG Newest = MiNewestPart(Queue);
    ULONG Part = Newest;

    do
    {
        Part = (Part + 1) % MI_QUEUE_PARTS;
    } while (Part != Newest && MiListTotal(&Queue->Parts[Part]) == 0);
    return Part;
}

/* The list that is filled at present, locked. */
static PMMPFNLIST MiLockNewestPart(PMI_QUEUE Queue)
{
    for (;;)
    {
        PMMPFNLIST List = &Queue->Parts[MiNewestPart(Queue)];

        KiAcquireSpinLockAtDispatch(&List->Lock);
        if (List->Part == MiNewestPart(Queue))
        {
            return List;
        }
        KiReleaseSpinLockFromDispatch(&List->Lock);
    }
}

static VOID MiInsertInQueue(PMI_QUEUE Queue, PMMPFN Pfn, BOOLEAN Front)
{
    PMMPFNLIST List;

    if (Front)
    {
        List = &Queue->Parts[MiOldestPart(Queue)];
        KiAcquireSpinLockAtDispatch(&List->Lock);
        MiSetPart(Pfn, List->Part);
        MiLinkHead(List, Pfn);
        KiReleaseSpinLockFromDispatch(&List->Lock);
        return;
    }
    List = MiLockNewestPart(Queue);
    MiSetPart(Pfn, List->Part);
    MiLinkTail(List, Pfn);
    MiAdvanceQueue(Queue, List);
    KiReleaseSpinLockFromDispatch(&List->Lock);
}

static VOID MiInsert(PMMPFN Pfn, MMLISTS Location, BOOLEAN Front)
{
    PMI_QUEUE Queue;
    PMMPFNLIST List;

    ASSERT(Pfn->ReferenceCount == 0);
    Pfn->e1.PageLocation = Location;
    Queue = MiQueueOf(Pfn);
    if (Queue != NULL)
    {
        MiInsertInQueue(Queue, Pfn, Front);
        return;
    }
    List = MiListOf(Pfn);
    KiAcquireSpinLockAtDispatch(&List->Lock);
    MiLinkTail(List, Pfn);
    KiReleaseSpinLockFromDispatch(&List->Lock);
}

static VOID MiNotePriority(ULONG Priority)
{
    volatile ULONG *Used = &MiState.Physical->StandbyUsed;
    ULONG Bit = 1u << Priority;

    if ((__atomic_load_n(Used, __ATOMIC_RELAXED) & Bit) == 0)
    {
        __atomic_fetch_or(Used, Bit, __ATOMIC_RELAXED);
    }
}

static VOID MiInsertStandby(PMMPFN Pfn, BOOLEAN Front)
{
    MiNotePriority(Pfn->e1.Priority);
    MiInsert(Pfn, StandbyPageList, Front);
    MiNoteAvailable();
}

VOID MiInsertPageInList(PMMPFN Pfn)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;

    if (Pfn->e1.Modified)
    {
        MiInsert(Pfn, ModifiedPageList, FALSE);
        if (MiQueueTotal(&Physical->ModifiedList) + MiListTotal(&Physical->ModifiedMappedList) >=
                Physical->ModifiedThreshold &&
            Physical->Operations.ModifiedHigh != NULL)
        {
            Physical->Operations.ModifiedHigh();
        }
        return;
    }
    MiInsertStandby(Pfn, FALSE);
}

VOID MiInsertNoWritePage(PMMPFN Pfn)
{
    MiInsert(Pfn, ModifiedNoWritePageList, FALSE);
}

VOID MiInsertStandbyAtFront(PMMPFN Pfn)
{
    MiInsertStandby(Pfn, TRUE);
}

/* A frame that nobody owns any more: to the list of its kind, unless its hardware is bad. Frame locked. */
static VOID MiInsertUnowned(PMMPFN Pfn, MMLISTS Kind)
{
    BOOLEAN Bad = MiIsPfnBad(Pfn);

    Pfn->PteAddress = NULL;
    Pfn->OriginalPte.Long = 0;
    Pfn->ReferenceCount = 0;
    Pfn->u1.Flink = 0;
    Pfn->u1.Blink = 0;
    Pfn->e1 = (MMPFNENTRY){ .PageLocation = (Bad ? BadPageList : Kind) & 7u };
    MiInsert(Pfn, Bad ? BadPageList : Kind, FALSE);
}

VOID MiInsertZeroedPage(PMMPFN Pfn)
{
    MiInsertUnowned(Pfn, ZeroedPageList);
    MiNoteAvailable();
}

VOID MiUnlinkPage(PMMPFN Pfn)
{
    PMMPFNLIST List = MiListOf(Pfn);

    KiAcquireSpinLockAtDispatch(&List->Lock);
    MiUnlink(List, Pfn);
    KiReleaseSpinLockFromDispatch(&List->Lock);
    Pfn->e1.PageLocation = TransitionPage;
}

ULONG MiRemoveHeadsLocked(PMMPFNLIST List, ULONG Wanted, PMMPFN *Pfns)
{
    ULONG Count = 0;
    ULONG Frame;

    if (MiListTotal(List) == 0)
    {
        return 0;
    }
    KiAcquireSpinLockAtDispatch(&List->Lock);
    Frame = List->Flink;
    while (Frame != 0 && Count < Wanted)
    {
        PMMPFN Pfn = MiPfn(Frame);

        Frame = Pfn->u1.Flink;
        if (MiTryLockPfn(Pfn))
        {
            MiUnlink(List, Pfn);
            Pfn->e1.PageLocation = TransitionPage;
            Pfns[Count++] = Pfn;
        }
    }
    KiReleaseSpinLockFromDispatch(&List->Lock);
    return Count;
}

static BOOLEAN MiRemoveIfHeadLocked(PMMPFNLIST List, PMMPFN Pfn)
{
    BOOLEAN Removed = FALSE;

    KiAcquireSpinLockAtDispatch(&List->Lock);
    if (List->Flink == (ULONG)MiPfnFrame(Pfn) && MiTryLockPfn(Pfn))
    {
        MiUnlink(List, Pfn);
        Pfn->e1.PageLocation = TransitionPage;
        Removed = TRUE;
    }
    KiReleaseSpinLockFromDispatch(&List->Lock);
    return Removed;
}

PMMPFN MiRemoveHeadLocked(PMMPFNLIST List)
{
    PMMPFN Pfn;

    return MiRemoveHeadsLocked(List, 1, &Pfn) != 0 ? Pfn : NULL;
}

BOOLEAN MiRemoveIfOldestLocked(PMI_QUEUE Queue, PMMPFN Pfn)
{
    return MiRemoveIfHeadLocked(&Queue->Parts[MiOldestPart(Queue)], Pfn);
}

PMMPFN MiRemoveOldestLocked(PMI_QUEUE Queue)
{
    ULONG Newest = MiNewestPart(Queue);
    PMMPFN Pfn = NULL;

    for (ULONG Index = 1; Index <= MI_QUEUE_PARTS && Pfn == NULL; Index++)
    {
        Pfn = MiRemoveHeadLocked(&Queue->Parts[(Newest + Index) % MI_QUEUE_PARTS]);
    }
    return Pfn;
}

ULONG MiRemoveColouredLocked(ULONG Node, MMLISTS Kind, PULONG Colour, ULONG Wanted, PMMPFN *Pfns)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    PMMPFNLIST Lists = Physical->Nodes[Node].Lists[Kind];
    ULONG Colours = Physical->Colours;
    ULONG Each = Physical->ColourShift != 0 ? Wanted : (Wanted + Colours - 1) / Colours;
    ULONG First = *Colour;
    ULONG Got = 0;
    ULONG Tried;

    for (Tried = 0; Tried < Colours && Got < Wanted; Tried++)
    {
        PMMPFNLIST List = &Lists[(First + Tried) & (Colours - 1)];

        Got += MiRemoveHeadsLocked(List, Each < Wanted - Got ? Each : Wanted - Got, Pfns + Got);
    }
    if (Physical->ColourShift == 0)
    {
        *Colour = First + Tried;
    }
    return Got;
}

PMMPFN MiRemoveSuitableLocked(PMMPFNLIST List, BOOLEAN (*Suitable)(PMMPFN Pfn, PVOID Context), PVOID Context)
{
    PMMPFN Found = NULL;
    ULONG64 Left;

    KiAcquireSpinLockAtDispatch(&List->Lock);
    Left = List->Total < MI_SUITABLE_LOOKS ? List->Total : MI_SUITABLE_LOOKS;
    for (; Left != 0 && Found == NULL; Left--)
    {
        PMMPFN Pfn = MiPfn(List->Flink);
        BOOLEAN Locked = MiTryLockPfn(Pfn);

        MiUnlink(List, Pfn);
        if (Locked && Suitable(Pfn, Context))
        {
            Pfn->e1.PageLocation = TransitionPage;
            Found = Pfn;
        }
        else
        {
            MiLinkTail(List, Pfn);
            if (Locked)
            {
                MiUnlockPfn(Pfn);
            }
        }
    }
    KiReleaseSpinLockFromDispatch(&List->Lock);
    return Found;
}

VOID MiFreeLockedPage(PMMPFN Pfn)
{
    MiForgetPageTable(Pfn);
    MiInsertUnowned(Pfn, FreePageList);
    MiUnlockPfn(Pfn);
    MiNoteAvailable();
}

BOOLEAN MiDecrementReferenceCount(PMMPFN Pfn)
{
    KiRequire(Pfn->ReferenceCount != 0);
    if (--Pfn->ReferenceCount != 0)
    {
        return FALSE;
    }
    ASSERT(Pfn->e1.PageLocation == TransitionPage);
    if (__builtin_expect(MiIsPfnBad(Pfn), 0) && !Pfn->e1.Deleted && !Pfn->e1.Modified)
    {
        MiRestoreOwnerPte(Pfn); /* clean: its owner gets it again from the backing store */
        Pfn->e1.Deleted = 1;
    }
    if (Pfn->e1.Deleted)
    {
        MiForgetPageTable(Pfn);
        MiInsertUnowned(Pfn, FreePageList);
        MiNoteAvailable();
        return TRUE;
    }
    MiInsertPageInList(Pfn);
    return FALSE;
}

/* ---- Several frames with one lock ---------------------------------------------------------------------- */

static FORCEINLINE VOID MiSetTotal(PMMPFNLIST List, ULONG64 Total)
{
    __atomic_store_n(&List->Total, Total, __ATOMIC_RELAXED);
}

/* The neighbours of the frames that left meet, or the list's ends do. */
static VOID MiCloseGap(PMI_LIST_RUN Run)
{
    PMMPFNLIST List = Run->List;

    *(Run->Before != 0 ? &MiPfn(Run->Before)->u1.Flink : &List->Flink) = Run->Next;
    *(Run->Next != 0 ? &MiPfn(Run->Next)->u1.Blink : &List->Blink) = Run->Before;
    MiSetTotal(List, List->Total - Run->Count);
    Run->Count = 0;
}

VOID MiEndListRun(PMI_LIST_RUN Run)
{
    PMMPFNLIST List = Run->List;
    BOOLEAN Inserted = Run->Queue != NULL;

    if (List == NULL)
    {
        return;
    }
    if (Inserted)
    {
        List->Blink = Run->Last;
        MiSetTotal(List, List->Total + Run->Count);
        MiAdvanceQueue(Run->Queue, List);
    }
    else
    {
        MiCloseGap(Run);
    }
    KiReleaseSpinLockFromDispatch(&List->Lock);
    if (Inserted)
    {
        MiNoteAvailable();
    }
    *Run = (MI_LIST_RUN){ .List = NULL };
}

VOID MiWaitForPfn(PMMPFN Pfn)
{
    ULONG Count = 0;

    do
    {
        KiSpin(&Count, &Pfn->Lock);
    } while (__atomic_load_n(&Pfn->Lock, __ATOMIC_RELAXED) != 0 ||
             __atomic_load_n(MiBlockLock(Pfn), __ATOMIC_RELAXED) != 0 || !MiTakePfn(Pfn));
}

/* A frame that is not the next one: it begins a gap of its own. */
VOID MiUnlinkPageInNewRun(PMMPFN Pfn, PMI_LIST_RUN Run)
{
    PMMPFNLIST List = MiListOf(Pfn);
    ULONG Left = Run->Left;

    if (Run->List == List && Run->Queue == NULL && Left != 0)
    {
        MiCloseGap(Run);
    }
    else
    {
        MiEndListRun(Run);
        KiAcquireSpinLockAtDispatch(&List->Lock);
        Left = MI_RUN_FRAMES;
    }
    KiRequire(Pfn->u1.Blink != 0 || List->Flink == (ULONG)MiPfnFrame(Pfn));
    *Run = (MI_LIST_RUN){
        .List = List, .Left = Left - 1, .Count = 1, .Before = Pfn->u1.Blink, .Next = Pfn->u1.Flink
    };
    Pfn->e1.PageLocation = TransitionPage;
}

/* A frame that does not go where the last one went. */
VOID MiReleaseInNewRun(PMMPFN Pfn, PMI_LIST_RUN Run)
{
    MMPFNENTRY Entry = MiReadPfnEntry(Pfn);
    PMI_QUEUE Queue = &MiState.Physical->StandbyList[Entry.Priority];
    PMMPFNLIST List;

    MiEndListRun(Run);
    if (Pfn->ReferenceCount != 1 || Entry.Modified || Entry.Deleted || MiIsPfnBad(Pfn))
    {
        MiDecrementReferenceCount(Pfn);
        return;
    }
    ASSERT(Entry.PageLocation == TransitionPage);
    MiNotePriority(Entry.Priority);
    List = MiLockNewestPart(Queue);
    *Run = (MI_LIST_RUN){
        .List = List, .Queue = Queue, .Priority = Entry.Priority, .Left = MI_RUN_FRAMES, .Last = List->Blink
    };
    MiAddToRun(Pfn, Entry, Run);
}

BOOLEAN MiDecrementShareCount(PMMPFN Pfn)
{
    KiRequire(Pfn->u1.ShareCount != 0 && Pfn->e1.PageLocation == ActiveAndValid);
    if (MiAddShares(Pfn, -1) != 0)
    {
        return FALSE;
    }
    Pfn->e1.PageLocation = TransitionPage;
    return MiDecrementReferenceCount(Pfn);
}

PFN_NUMBER MiPurgeStandby(ULONG Highest)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    PFN_NUMBER Purged = 0;

    for (ULONG Priority = 0; Priority <= Highest && Priority < MI_PRIORITIES; Priority++)
    {
        for (;;)
        {
            KIRQL OldIrql = KiRaiseIrqlToDispatch();
            PMMPFN Pfn = MiRemoveOldestLocked(&Physical->StandbyList[Priority]);

            if (Pfn == NULL)
            {
                KiLowerIrqlFromDispatch(OldIrql);
                break;
            }
            MiRestoreOwnerPte(Pfn);
            MiFreeLockedPage(Pfn);
            KiLowerIrqlFromDispatch(OldIrql);
            Purged++;
        }
    }
    return Purged;
}
