/* SPDX-License-Identifier: MIT */
/*
 * Faults on views of sections. The page is found through its VAD: control area, chunk, prototype PTE. The frame of the chunk is a
 * page table of the segment: made zeroed when something in it is first wanted, brought back like a page-table page when it had
 * left memory; one step an attempt, then the fault looks again.
 */
#include "fault/resolve.h"

/* ---- Frames of chunks ------------------------------------------------------------------------------------------ */

/* The frame of a chunk of a file or of SEC_RESERVE is charged while it exists; all others have been, with the section. */
static BOOLEAN MiChargeChunkFrame(PSEGMENT Segment)
{
    return MiIsSegmentCommitted(Segment) || MiChargeCommitment(1, MI_COMMIT_NO_EXTEND);
}

/* Nobody has needed a page of these 2 MiB yet. The page of Chunk->Pte locked. */
static MI_FAULT_RESULT MiMakeChunkFrame(PMI_PROTOTYPE_CHUNK Chunk)
{
    PFN_NUMBER Frame;
    PMMPFN Pfn;

    if (!MiChargeChunkFrame(Chunk->Segment))
    {
        return MiFaultNeedCommit;
    }
    Frame = MiAllocatePage(MI_PAGE_ZEROED);
    if (Frame == 0)
    {
        MiReturnChunkCharge(Chunk->Segment);
        return MiFaultNeedFrame;
    }
    __atomic_fetch_add(&Chunk->Segment->PrototypePages, 1, __ATOMIC_RELAXED);
    Pfn = MiPfn(Frame);
    MiLockPfn(Pfn);
    MiWriteShareCount(Pfn, 1);
    Pfn->u1.UsedPageTableEntries = 0;
    Pfn->PteAddress = &Chunk->Pte;
    Pfn->OriginalPte = MiMakeDemandZeroPte(MM_READWRITE);
    MiMarkPageTable(Pfn);
    MiWritePte(&Chunk->Pte, MiMakeValidPte(Frame, MM_READWRITE, FALSE));
    MiUnlockPfn(Pfn);
    return MiFaultRetry;
}

/* It is on a list or in I/O. */
static MI_FAULT_RESULT MiReturnChunkFrame(PMI_FAULT Fault, PMI_PROTOTYPE_CHUNK Chunk, MMPTE Pte)
{
    PMMPFN Pfn = MiPfn(Pte.Trans.PageFrameNumber);

    MiLockPfn(Pfn);
    if (MiReadPte(&Chunk->Pte).Long != Pte.Long)
    {
        MiUnlockPfn(Pfn);
        return MiFaultRetry;
    }
    if (Pfn->e1.ReadInProgress)
    {
        Fault->InPage = Pfn->u1.InPage;
        MiReferenceInPage(Fault->InPage);
        MiUnlockPfn(Pfn);
        return MiFaultNeedRead;
    }
    MiActivateTransitionFrame(Pfn);
    MiMarkPageTable(Pfn);
    Pfn->e1.PrototypePte = 0;
    /* The kernel writes into it without any dirty bit: whatever copy there is will be stale. */
    MiSetFrameModified(Pfn);
    MiWritePte(&Chunk->Pte, MiMakeValidPte(MiPfnFrame(Pfn), MM_READWRITE, FALSE));
    MiUnlockPfn(Pfn);
    return MiFaultRetry;
}

MI_FAULT_RESULT MiResolveChunkFault(PMI_FAULT Fault, PMI_PROTOTYPE_CHUNK Chunk)
{
    PMMPFN Holder = MiPtePage(&Chunk->Pte);
    MI_FAULT_RESULT Result;
    MMPTE Pte;

    MiLockPrototypePage(Holder);
    Pte = MiReadPte(&Chunk->Pte);
    if (Pte.Hard.Valid)
    {
        Result = MiFaultRetry;
    }
    else if (Pte.Long == 0)
    {
        Result = MiMakeChunkFrame(Chunk);
    }
    else if (MiIsTransition(Pte))
    {
        Result = MiReturnChunkFrame(Fault, Chunk, Pte);
    }
    else
    {
        Result = MiStartInPage(Fault, &Chunk->Pte, Pte, TRUE);
    }
    MiUnlockPrototypePage(Holder);
    MiCount(PrototypeTableFaults);
    return Result;
}

PMMPTE MiTryPrototype(PSEGMENT Segment, ULONG64 Page)
{
    PMMPTE Prototype = MiLockPrototype(Segment, Page);
    MI_FAULT Fault = { .Space = &MiState.Space->System, .Prefetch = TRUE };
    PMI_PROTOTYPE_CHUNK Chunk;

    if (Prototype != NULL)
    {
        return Prototype;
    }
    Chunk = MiMakeChunk(Segment, Page);
    if (Chunk == NULL)
    {
        return NULL;
    }
    if (MiResolveChunkFault(&Fault, Chunk) == MiFaultNeedRead)
    {
        MiDereferenceInPage(Fault.InPage);
    }
    return MiLockPrototype(Segment, Page);
}

/* The pool had nothing for a chunk: no frame, or no commitment. */
static MI_FAULT_RESULT MiNeedForPool(void)
{
    return MiAvailablePages() <= MiState.Physical->LowThreshold ? MiFaultNeedFrame : MiFaultNeedCommit;
}

/* ---- Pages of views ---------------------------------------------------------------------------------------------- */

MI_FAULT_RESULT MiResolveSectionFault(PMI_FAULT Fault)
{
    PSEGMENT Segment = Fault->ControlArea->Segment;
    PMMPTE Prototype = MiLockPrototype(Segment, Fault->SegmentPage);
    MI_FAULT_RESULT Result;
    MMPTE Proto;

    if (Prototype == NULL)
    {
        PMI_PROTOTYPE_CHUNK Chunk = MiMakeChunk(Segment, Fault->SegmentPage);

        return Chunk == NULL ? MiNeedForPool() : MiResolveChunkFault(Fault, Chunk);
    }
    Proto = MiReadPte(Prototype);
    if (Proto.Hard.Valid || MiIsTransition(Proto))
    {
        Result = MiResolveResident(Fault, Prototype, Proto);
        if (Result == MiFaultResolved && Fault->ControlArea->Backing == MiBackingDataFile)
        {
            MiMapFileAround(Fault, Prototype, Fault->CameAlong || Fault->JustRead);
        }
    }
    else if (MiIsPagedOut(Proto))
    {
        Result = MiReadPrototype(Fault, Prototype, Proto);
    }
    else
    {
        Result = MiState.Section->Backings[Fault->ControlArea->Backing]->ResolvePage(Fault, Prototype);
    }
    MiUnlockPrototype(Prototype);
    return Result;
}

/* ---- Prototype PTEs for services ------------------------------------------------------------------------------- */

/* Waits for what is missing; no locks. */
static NTSTATUS MiWaitForChunk(PMI_FAULT Fault, MI_FAULT_RESULT Result)
{
    switch (Result)
    {
    case MiFaultNeedFrame:
        return MiWaitForAvailablePages() ? STATUS_SUCCESS : STATUS_NO_MEMORY;
    case MiFaultNeedBlock:
        MiWaitForInPageBlock();
        return STATUS_SUCCESS;
    case MiFaultNeedRead:
        return MiFinishInPage(Fault) ? STATUS_SUCCESS : Fault->Status;
    case MiFaultNeedCommit:
        return MiFindFaultCommitment(Fault) ? STATUS_SUCCESS : Fault->Status;
    default:
        return STATUS_SUCCESS;
    }
}

NTSTATUS MiPinPrototype(PSEGMENT Segment, ULONG64 Page, PMMPTE *Prototype)
{
    MI_FAULT Fault = { .Space = &MiState.Space->System, .Service = TRUE };
    NTSTATUS Status = STATUS_SUCCESS;

    *Prototype = NULL;
    for (ULONG Waits = 0; NT_SUCCESS(Status) && *Prototype == NULL && Waits < 4000; Waits++)
    {
        KIRQL OldIrql = KiRaiseIrqlToDispatch();
        PFN_NUMBER Hold = Fault.HeldFrame;
        MI_FAULT_RESULT Result = MiFaultResolved;

        Fault.HeldFrame = 0;
        *Prototype = MiLockPrototype(Segment, Page);
        if (*Prototype != NULL)
        {
            MiIncrementPageTableShare(*Prototype);
            MiUnlockPrototype(*Prototype);
        }
        else
        {
            PMI_PROTOTYPE_CHUNK Chunk = MiMakeChunk(Segment, Page);

            Result = Chunk == NULL ? MiNeedForPool() : MiResolveChunkFault(&Fault, Chunk);
        }
        KiLowerIrqlFromDispatch(OldIrql);
        if (Hold != 0)
        {
            MiReleaseHeldFrame(Hold);
        }
        Status = MiWaitForChunk(&Fault, Result);
    }
    if (Fault.HeldFrame != 0)
    {
        MiReleaseHeldFrame(Fault.HeldFrame);
    }
    return NT_SUCCESS(Status) && *Prototype == NULL ? STATUS_NO_MEMORY : Status;
}

VOID MiUnpinPrototype(PMMPTE Prototype)
{
    MiDecrementPageTableShare(Prototype);
}

/* ---- Sections of the paging file ---------------------------------------------------------------------------------- */

static MI_FAULT_RESULT MiResolvePagingFilePage(PMI_FAULT Fault, PMMPTE Prototype)
{
    PSEGMENT Segment = Fault->ControlArea->Segment;
    BOOLEAN Committed;

    MiMeasureCommitted(Segment, Fault->SegmentPage, 1, &Committed);
    if (!Committed)
    {
        Fault->Status = STATUS_ACCESS_VIOLATION;
        return MiFaultFailed;
    }
    return MiResolvePrototypeDemandZero(Fault, Prototype, MiMakeDemandZeroPte(Segment->SegmentProtection));
}

const MI_BACKING MiPagingFileBacking = { .ResolvePage = MiResolvePagingFilePage };
