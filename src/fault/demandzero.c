/* SPDX-License-Identifier: MIT */
/*
 * Demand zero: the page comes into being. Reading a page that nobody wrote gives a zeroed frame as well, but
 * leaves it clean: if it is never written it needs no room in a paging file, and goes back to demand zero
 * when it is taken away.
 */
#include "fault/resolve.h"

static BOOLEAN MiIsWriteWatched(PMI_FAULT Fault)
{
    if (Fault->Vad == NULL)
    {
        Fault->Vad = MiLocateVad(Fault->Space, Fault->Va >> PAGE_SHIFT);
    }
    return Fault->Vad != NULL && Fault->Vad->u.VadType == VadWriteWatch;
}

static VOID MiNoteWrite(PMI_FAULT Fault)
{
    MI_WRITE_WATCH *Watch = Fault->Vad->u1.WriteWatch;
    ULONG_PTR Index = (Fault->Va >> PAGE_SHIFT) - Fault->Vad->StartingVpn;

    __atomic_fetch_or(&Watch->Bits[Index / 64], 1ull << (Index % 64), __ATOMIC_RELAXED);
    MiCount(WriteWatchFaults);
}

VOID MiMakeEntryValid(PMI_FAULT Fault, PFN_NUMBER Frame, BOOLEAN Shared, ULONG Protection)
{
    MMPTE Pte = MiMakeValidPte(Frame, Protection, !Fault->Space->Kernel);

    if (Shared)
    {
        Pte.Long |= MM_PTE_SHARED;
    }
    if ((Pte.Long & MM_PTE_DIRTY1) != 0)
    {
        if (__builtin_expect(Fault->Space->WriteWatchCount != 0, 0) && MiIsWriteWatched(Fault))
        {
            if (Fault->Access == MiAccessWrite)
            {
                MiNoteWrite(Fault);
            }
            else
            {
                Pte.Long &= ~MM_PTE_DIRTY1; /* the first write must be seen */
            }
        }
        if (Fault->Access == MiAccessWrite)
        {
            Pte.Long |= MM_PTE_DIRTY; /* as the processor is about to do */
        }
    }
    MiWritePte(Fault->PointerPte, Pte);
    MiAddWorkingSetPages(Fault->Space, 1);
}

VOID MiNoteWatchedWrite(PMI_FAULT Fault)
{
    if (__builtin_expect(Fault->Space->WriteWatchCount != 0, 0) && MiIsWriteWatched(Fault))
    {
        MiNoteWrite(Fault);
    }
}

/* A write to a writable entry whose write permission is withheld: write watch. */
MI_FAULT_RESULT MiResolveWatchedWrite(PMI_FAULT Fault)
{
    MiNoteWatchedWrite(Fault);
    MiSetPteBits(Fault->PointerPte, MM_PTE_DIRTY1 | MM_PTE_DIRTY | MM_PTE_ACCESSED);
    return MiFaultResolved;
}

MI_FAULT_RESULT MiResolveDemandZeroFault(PMI_FAULT Fault)
{
    PFN_NUMBER Frame = MiAllocatePage(MI_PAGE_ZEROED | MiPreferredNode(Fault));
    MMPFNENTRY Entry;
    PMMPFN Pfn;

    if (Frame == 0)
    {
        return MiFaultNeedFrame;
    }
    Pfn = MiPfn(Frame);
    MiWriteShareCount(Pfn, 1);
    Pfn->PteAddress = Fault->PointerPte;
    Pfn->OriginalPte = MiMakeDemandZeroPte(Fault->Protection);
    Entry = MiReadPfnEntry(Pfn);
    Entry.Priority = MiPagePriority(Fault) & 7u;
    MiWritePfnEntry(Pfn, Entry); /* ours, but a search for contiguous frames may look */
    if (Fault->Pte.Long == 0)
    {
        MiAddUsedEntries(Fault->PointerPte, 1);
    }
    MiIncrementPageTableShare(Fault->PointerPte);
    MiMakeEntryValid(Fault, Frame, FALSE, Fault->Protection);
    MiCount(DemandZeroFaults);
    return MiFaultResolved;
}
