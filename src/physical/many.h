/* SPDX-License-Identifier: MIT */
/*
 * Many frames that lie together: their locks by the block (physical.h says how that and the lock of one frame shut each other out), and one page list kept
 * locked while they leave it or come to it.
 */
#ifndef NTMM_PHYSICAL_MANY_H
#define NTMM_PHYSICAL_MANY_H

#include "physical/physical.h"

#define MI_BLOCK_PAYS_OFF 16u /* frames */

/* ---- Blocks -------------------------------------------------------------------------------------------- */

/* The block whose frames are being treated. Begins as { NULL }, ends with MiEndBlock; DISPATCH_LEVEL. Nobody waits for a frame while he has one. */
typedef struct _MI_BLOCK
{
    volatile UCHAR *Lock; /* locked, or NULL: frames are locked one by one */
} MI_BLOCK, *PMI_BLOCK;

static FORCEINLINE VOID MiEndBlock(PMI_BLOCK Block)
{
    if (Block->Lock != NULL)
    {
        KiNoteLockReleased(Block->Lock);
        KiReleaseByteLock(Block->Lock);
        Block->Lock = NULL;
    }
}

/* The next one of several frames that lie together. What follows it is going to be used, too. */
static FORCEINLINE BOOLEAN MiTryLockPfnInBlock(PMMPFN Pfn, PMI_BLOCK Block)
{
    volatile UCHAR *Lock = MiBlockLock(Pfn);

    __builtin_prefetch(Pfn + 8, 1);
    if (Block->Lock != Lock)
    {
        MiEndBlock(Block);
        if (__atomic_load_n(Lock, __ATOMIC_RELAXED) != 0 ||
            __atomic_exchange_n(Lock, 1, __ATOMIC_SEQ_CST) != 0)
        {
            return MiTryLockPfn(Pfn);
        }
        KiNoteLockAcquired(Lock, KiLockPfn, TRUE);
        Block->Lock = Lock;
    }
    return __atomic_load_n(&Pfn->Lock, __ATOMIC_SEQ_CST) == 0;
}

static FORCEINLINE BOOLEAN MiTryLockPfnOfMany(PMMPFN Pfn, BOOLEAN Many, PMI_BLOCK Block)
{
    if (Many)
    {
        return MiTryLockPfnInBlock(Pfn, Block);
    }
    MiEndBlock(Block);
    return MiTryLockPfn(Pfn);
}

/* Many: the frame is one of many that lie together. No list locked. */
static FORCEINLINE VOID MiLockPfnOfMany(PMMPFN Pfn, BOOLEAN Many, PMI_BLOCK Block)
{
    if (!MiTryLockPfnOfMany(Pfn, Many, Block))
    {
        MiEndBlock(Block);
        MiLockPfn(Pfn);
    }
}

static FORCEINLINE VOID MiUnlockPfnInBlock(PMMPFN Pfn, PMI_BLOCK Block)
{
    if (Block->Lock == NULL)
    {
        MiUnlockPfn(Pfn);
    }
}

/* ---- Lists --------------------------------------------------------------------------------------------- */

/*
 * The lock of one list, kept while several frames leave it or come to it: they are neighbours there most often. Frames are locked by MiLockPfnInRun,
 * MiTryLockPfn or MiTryLockPfnInBlock, because who holds a list's lock may only try a frame's. Begins as { NULL }, ends with MiEndListRun; DISPATCH_LEVEL, no list locked otherwise.
 */
typedef struct _MI_LIST_RUN
{
    PMMPFNLIST List; /* locked, or NULL */
    PMI_QUEUE Queue; /* to which frames are added: that of the list; NULL: they leave */
    ULONG Priority;  /* of the queue */
    ULONG Left;      /* frames until others get a chance */
    ULONG Count;     /* frames that the list's total and its ends do not know of yet */
    ULONG
    Before; /* of Count frames that left, one behind the other: the neighbours on both sides, 0: the end */
    ULONG Next;
    ULONG Last; /* of frames that came: the last one */
} MI_LIST_RUN, *PMI_LIST_RUN;

VOID MiEndListRun(PMI_LIST_RUN Run);
VOID MiUnlinkPageInNewRun(PMMPFN Pfn, PMI_LIST_RUN Run);
VOID MiReleaseInNewRun(PMMPFN Pfn, PMI_LIST_RUN Run);

/* As MiUnlinkPage. What is behind a frame that has left is on the same list. */
static FORCEINLINE VOID MiUnlinkPageInRun(PMMPFN Pfn, PMI_LIST_RUN Run)
{
    if (MiPfnFrame(Pfn) != Run->Next || Run->Left == 0)
    {
        MiUnlinkPageInNewRun(Pfn, Run);
        return;
    }
    Run->Left--;
    Run->Count++;
    Run->Next = Pfn->u1.Flink;
    Pfn->e1.PageLocation = TransitionPage;
}

/* The part of a list that a frame, locked, is in from now on. Others ask for its node meanwhile. */
static FORCEINLINE VOID MiSetPart(PMMPFN Pfn, ULONG Part)
{
    UCHAR Place = __atomic_load_n(&Pfn->Place, __ATOMIC_RELAXED);

    C_ASSERT(MI_QUEUE_PARTS == MI_PFN_PART_MASK + 1);
    __atomic_store_n(&Pfn->Place, (UCHAR)((Place & ~MI_PFN_PART_MASK) | Part), __ATOMIC_RELAXED);
}

/* A clean frame without references is the last one of the run's list from now on. */
static FORCEINLINE VOID MiAddToRun(PMMPFN Pfn, MMPFNENTRY Entry, PMI_LIST_RUN Run)
{
    ULONG Frame = (ULONG)MiPfnFrame(Pfn);

    Run->Left--;
    Run->Count++;
    Pfn->ReferenceCount = 0;
    Entry.PageLocation = StandbyPageList;
    MiWritePfnEntry(Pfn, Entry);
    Pfn->u1.Flink = 0;
    Pfn->u1.Blink = Run->Last;
    if (Run->Last != 0)
    {
        MiPfn(Run->Last)->u1.Flink = Frame;
    }
    else
    {
        Run->List->Flink = Frame;
    }
    Run->Last = Frame;
    MiSetPart(Pfn, Run->List->Part);
}

/* As MiDecrementReferenceCount. */
static FORCEINLINE VOID MiReleaseInRun(PMMPFN Pfn, PMI_LIST_RUN Run)
{
    MMPFNENTRY Entry = MiReadPfnEntry(Pfn);

    if (Pfn->ReferenceCount != 1 || Entry.Modified || Entry.Deleted || MiIsPfnBad(Pfn) ||
        Run->Queue == NULL || Run->Priority != Entry.Priority || Run->Left == 0)
    {
        MiReleaseInNewRun(Pfn, Run);
        return;
    }
    MiAddToRun(Pfn, Entry, Run);
}

/* Many: the frame is one of many that lie together. */
static FORCEINLINE VOID MiLockPfnInRun(PMMPFN Pfn, BOOLEAN Many, PMI_BLOCK Block, PMI_LIST_RUN Run)
{
    if (!MiTryLockPfnOfMany(Pfn, Many, Block))
    {
        MiEndListRun(Run);
        MiEndBlock(Block);
        MiLockPfn(Pfn);
    }
}

#endif
