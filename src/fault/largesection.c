/* SPDX-License-Identifier: MIT */
/*
 * Sections of large pages (SEC_LARGE_PAGES). They are sections of the paging file like others, whose pages all come when the section does: each chunk's 512 frames
 * lie together, its prototype PTEs name them, and a reference that the chunk holds keeps every one of them from ever getting on a list. So views
 * of small pages, copies, locks and the end of the section need to know nothing of it, and a view of large pages maps the same frames by their numbers.
 */
#include "fault/resolve.h"

/* Nobody else knows the segment. The frame is the chunk's, found by its prototype PTE, and held. Chunk pinned and locked, DISPATCH_LEVEL. */
static VOID MiFillPrototype(PSEGMENT Segment, PMMPTE Prototype, PFN_NUMBER Frame)
{
    PMMPFN Pfn = MiPfn(Frame);
    MMPFNENTRY Entry = {
        .PageLocation = TransitionPage, .Modified = 1, .PrototypePte = 1, .Priority = MI_DEFAULT_PRIORITY
    };

    MiLockPfn(Pfn);
    Pfn->u1.InPage = NULL;
    Pfn->PteAddress = Prototype;
    Pfn->OriginalPte = MiMakeDemandZeroPte(Segment->SegmentProtection);
    MiWritePfnEntry(Pfn, Entry);
    MiWritePte(Prototype, MiMakeTransitionPte(Frame, Segment->SegmentProtection));
    MiIncrementPageTableShare(Prototype);
    MiUnlockPfn(Pfn);
}

static NTSTATUS MiFillLargeChunk(PSEGMENT Segment, ULONG64 Page, PULONG Round)
{
    PMMPTE Prototype;
    PFN_NUMBER Frame;
    KIRQL OldIrql;
    NTSTATUS Status = MiPinPrototype(Segment, Page, &Prototype);

    if (!NT_SUCCESS(Status))
    {
        return Status == STATUS_NO_MEMORY ? STATUS_INSUFFICIENT_RESOURCES : Status;
    }
    Frame = MiTakeLargeFrame(0, Round);
    if (Frame != 0)
    {
        OldIrql = KiRaiseIrqlToDispatch();
        MiLockPrototypePage(MiPtePage(Prototype));
        for (ULONG Index = 0; Index < MI_CHUNK_PAGES; Index++)
        {
            MiFillPrototype(Segment, &Prototype[Index], Frame + Index);
        }
        MiUnlockPrototype(Prototype);
        KiLowerIrqlFromDispatch(OldIrql);
        MiLookUpChunk(Segment, Page)->LargeFrame = Frame;
    }
    MiUnpinPrototype(Prototype);
    return Frame != 0 ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
}

NTSTATUS MiFillLargeSegment(PSEGMENT Segment)
{
    NTSTATUS Status = STATUS_SUCCESS;
    ULONG Round = 0;

    for (ULONG64 Page = 0; Page < Segment->TotalNumberOfPtes && NT_SUCCESS(Status); Page += MI_CHUNK_PAGES)
    {
        Status = MiFillLargeChunk(Segment, Page, &Round);
    }
    if (NT_SUCCESS(Status))
    {
        MiCountMany(LargePagesMade, Segment->TotalNumberOfPtes / MI_CHUNK_PAGES);
    }
    else
    {
        MiCount(LargePageFailures);
    }
    return Status;
}

VOID MiReleaseLargeChunk(PMI_PROTOTYPE_CHUNK Chunk)
{
    for (PFN_NUMBER Frame = Chunk->LargeFrame; Frame < Chunk->LargeFrame + MI_CHUNK_PAGES; Frame++)
    {
        MiReleaseHeldFrame(Frame);
    }
    Chunk->LargeFrame = 0;
    MiReturnResidentAvailable(MI_CHUNK_PAGES);
}
