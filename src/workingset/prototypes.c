/* SPDX-License-Identifier: MIT */
/*
 * Pages of prototype PTEs leave memory like page tables, once nothing that they describe is in memory. What they say is written to the
 * paging file, unless all of it can be found anew (data files): then the page just goes. On the way control areas are found
 * that nobody refers to and that have lost their last page.
 */
#include "workingset/workingset.h"

/* A look before the locks are taken: somebody else may be taking the page meanwhile. */
PORT_UNSEEN_BY_TSAN
static DECLSPEC_NOINLINE BOOLEAN MiMayBeUnused(const MMPFN *Pfn)
{
    return *(const volatile ULONG *)&Pfn->u1.ShareCount == 1;
}

/* The frame of Chunk, if no frame is behind its entries and nobody has pinned it. */
static BOOLEAN MiTrimChunk(PMI_PROTOTYPE_CHUNK Chunk, PVOID Context)
{
    MMPTE Pte = MiReadPte(&Chunk->Pte);
    MMPTE Zero = { .Long = 0 };
    BOOLEAN Discard = Chunk->Segment->ControlArea->Backing == MiBackingDataFile;
    BOOLEAN Taken = FALSE;
    KIRQL OldIrql;
    PMMPFN Pfn;

    if (!Pte.Hard.Valid || !MiMayBeUnused(MiPfn(Pte.Hard.PageFrameNumber)))
    {
        return TRUE;
    }
    Pfn = MiPfn(Pte.Hard.PageFrameNumber);
    OldIrql = KiRaiseIrqlToDispatch();
    MiLockPrototypePage(Pfn);
    MiLockPfn(Pfn);
    if (MiReadPte(&Chunk->Pte).Long == Pte.Long && Pfn->ReferenceCount == 1 &&
        __atomic_load_n(&Pfn->u1.ShareCount, __ATOMIC_ACQUIRE) == 1)
    {
        Taken = TRUE;
        Pfn->e1.PageLocation = TransitionPage;
        Pfn->u1.InPage = NULL;
        if (Discard)
        {
            MiWritePte(&Chunk->Pte, Zero);
            Pfn->OriginalPte.Long = 0;
            Pfn->PteAddress = NULL;
            Pfn->e1.Deleted = 1;
        }
        else
        {
            Pfn->OriginalPte = MiMakeDemandZeroPte(MM_READWRITE);
            MiWritePte(&Chunk->Pte, MiMakeTransitionPte(MiPfnFrame(Pfn), MM_READWRITE));
            Pfn->e1.Modified = 1;
        }
        MiDecrementReferenceCount(Pfn);
    }
    MiUnlockPfn(Pfn);
    MiUnlockPrototypePage(Pfn);
    KiLowerIrqlFromDispatch(OldIrql);
    if (Taken)
    {
        ++*(PSIZE_T)Context;
        if (Discard)
        {
            __atomic_fetch_sub(&Chunk->Segment->PrototypePages, 1, __ATOMIC_RELAXED);
            MiReturnChunkCharge(Chunk->Segment);
        }
    }
    return TRUE;
}

SIZE_T MiTrimPrototypePages(void)
{
    ULONG64 Turns = __atomic_load_n(&MiState.Section->NumberOfControlAreas, __ATOMIC_RELAXED);
    SIZE_T Taken = 0;

    for (; Turns != 0; Turns--)
    {
        PCONTROL_AREA ControlArea = MiNextControlArea();

        if (ControlArea != NULL)
        {
            MiForEachChunk(ControlArea->Segment, MiTrimChunk, &Taken);
            MiDereferenceControlArea(ControlArea, MiSectionReference, FALSE, FALSE);
        }
    }
    MiCountMany(PrototypePagesTrimmed, Taken);
    return Taken;
}
