/* SPDX-License-Identifier: MIT */
/*
 * The end of a segment's pages. Nobody maps one any more, so every prototype PTE stands for a frame that is on a list or in I/O, a
 * slot, or nothing. Chunks that are in the paging file are brought back first, because only they know their slots.
 */
#include "fault/resolve.h"

#define MI_SEGMENT_BATCH 64u
#define MI_CHUNK_READS   3u /* before a chunk that cannot be read is given up, and its slots with it */

VOID MiDeletePrototype(PMMPTE Prototype)
{
    for (;;)
    {
        MMPTE Proto = MiReadPte(Prototype);
        MMPTE Zero = { .Long = 0 };
        PMMPFN Pfn;

        KiRequire(!Proto.Hard.Valid);
        if (!MiIsTransition(Proto))
        {
            MiWritePte(Prototype, Zero);
            MiReleasePageFileSpace(Proto);
            return;
        }
        Pfn = MiPfn(Proto.Trans.PageFrameNumber);
        MiLockPfn(Pfn);
        if (MiReadPte(Prototype).Long == Proto.Long)
        {
            MiWritePte(Prototype, Zero);
            MiAbandonFrame(Pfn);
            MiUnlockPfn(Pfn);
            MiDecrementPageTableShare(Prototype);
            return;
        }
        MiUnlockPfn(Pfn);
    }
}

static VOID MiDeleteChunkPages(PMI_PROTOTYPE_CHUNK Chunk)
{
    for (ULONG First = 0; First < MI_CHUNK_PAGES; First += MI_SEGMENT_BATCH)
    {
        KIRQL OldIrql = KiRaiseIrqlToDispatch();
        PMMPTE Prototype = MiLockPrototype(Chunk->Segment, Chunk->FirstPage + First);

        KiRequire(Prototype != NULL);
        for (ULONG Index = 0; Index < MI_SEGMENT_BATCH; Index++)
        {
            if (MiReadPte(&Prototype[Index]).Long != 0)
            {
                MiDeletePrototype(&Prototype[Index]);
            }
        }
        MiUnlockPrototype(Prototype);
        KiLowerIrqlFromDispatch(OldIrql);
    }
}

/* The frame of a chunk in which nothing is left. Pinned by its last share. */
static VOID MiFreeChunkFrame(PMI_PROTOTYPE_CHUNK Chunk)
{
    MMPTE Zero = { .Long = 0 };
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    PMMPFN Pfn = MiPfn(MiReadPte(&Chunk->Pte).Hard.PageFrameNumber);

    MiLockPfn(Pfn);
    MiWaitForLastShare(Pfn);
    MiWritePte(&Chunk->Pte, Zero);
    MiWriteShareCount(Pfn, 0);
    Pfn->e1.PageLocation = TransitionPage;
    MiAbandonFrame(Pfn);
    MiDecrementReferenceCount(Pfn);
    MiUnlockPfn(Pfn);
    KiLowerIrqlFromDispatch(OldIrql);
}

/*
 * The chunk left memory and cannot be read back: only it knew its slots in the paging file, so they stay taken until the machine ends (nobody gets
 * somebody else's page), and the counter says so. Its own slot comes back.
 */
static VOID MiAbandonChunk(PMI_PROTOTYPE_CHUNK Chunk)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    MMPTE Zero = { .Long = 0 };
    MMPTE Old = MiExchangePte(&Chunk->Pte, Zero);

    MiReleasePageFileSpace(Old);
    KiLowerIrqlFromDispatch(OldIrql);
    MiCount(PrototypePagesLost);
}

static BOOLEAN MiDeleteChunk(PMI_PROTOTYPE_CHUNK Chunk, PVOID Context)
{
    NTSTATUS Status;
    PMMPTE Prototype;
    ULONG Errors = 0;

    UNREFERENCED_PARAMETER(Context);
    if (MiReadPte(&Chunk->Pte).Long == 0)
    {
        return TRUE;
    }
    do
    {
        Status = MiPinPrototype(Chunk->Segment, Chunk->FirstPage, &Prototype);
    } while (Status == STATUS_NO_MEMORY || (!NT_SUCCESS(Status) && ++Errors < MI_CHUNK_READS));
    if (NT_SUCCESS(Status))
    {
        MiDeleteChunkPages(Chunk);
        MiUnpinPrototype(Prototype);
        if (Chunk->LargeFrame != 0)
        {
            MiReleaseLargeChunk(Chunk);
        }
        MiFreeChunkFrame(Chunk);
    }
    else
    {
        MiAbandonChunk(Chunk);
    }
    __atomic_fetch_sub(&Chunk->Segment->PrototypePages, 1, __ATOMIC_RELAXED);
    MiReturnChunkCharge(Chunk->Segment);
    return TRUE;
}

VOID MiDeleteSegmentPages(PSEGMENT Segment)
{
    MiForEachChunk(Segment, MiDeleteChunk, NULL);
}

VOID MiReleaseBacking(PCONTROL_AREA ControlArea)
{
    const MI_BACKING *Backing = MiState.Section->Backings[ControlArea->Backing];

    if (Backing != NULL && Backing->Delete != NULL)
    {
        Backing->Delete(ControlArea);
    }
}
