/* SPDX-License-Identifier: MIT */
/*
 * The invariants of the PFN database. Level 1 compares counts, level 2 walks the lists, level 3 visits every frame that was
 * ever used; levels 2 and 3 want a quiescent machine.
 */
#include "physical/physical.h"

static VOID MiCheckPart(PMMPFNLIST List, BOOLEAN InQueue)
{
    ULONG64 Length = 0;
    ULONG Previous = 0;

    for (ULONG Frame = List->Flink; Frame != 0; Frame = MiPfn(Frame)->u1.Flink)
    {
        PMMPFN Pfn = MiPfn(Frame);

        if (Pfn->e1.PageLocation != List->ListName || Pfn->ReferenceCount != 0 || Pfn->u1.Blink != Previous ||
            (List->ListName == StandbyPageList && Pfn->e1.Priority != List->Priority) ||
            (InQueue && (Pfn->Place & MI_PFN_PART_MASK) != List->Part))
        {
            KiBugCheckMessage(PFN_LIST_CORRUPT, 0x1, Frame, Pfn->e1.PageLocation, Pfn->ReferenceCount,
                              "frame %x on list %u/%u: location %u references %u back link %x expected %x",
                              Frame, List->ListName, List->Priority, Pfn->e1.PageLocation,
                              Pfn->ReferenceCount, Pfn->u1.Blink, Previous);
        }
        Previous = Frame;
        if (++Length > List->Total)
        {
            break;
        }
    }
    if (Length != List->Total || List->Blink != Previous)
    {
        KiBugCheckMessage(PFN_LIST_CORRUPT, 0x2, List->ListName, Length, List->Total,
                          "list %u/%u holds %llu frames, its total says %llu", List->ListName, List->Priority,
                          Length, List->Total);
    }
}

static VOID MiCheckList(PMMPFNLIST List)
{
    MiCheckPart(List, FALSE);
}

static VOID MiCheckQueue(PMI_QUEUE Queue)
{
    for (ULONG Part = 0; Part < MI_QUEUE_PARTS; Part++)
    {
        MiCheckPart(&Queue->Parts[Part], TRUE);
    }
}

static VOID MiCheckFrame(PFN_NUMBER Frame, PFN_NUMBER Counts[8])
{
    PMMPFN Pfn = MiPfn(Frame);
    PMMPTE PointerPte = Pfn->PteAddress;
    MMPTE Pte;

    Counts[Pfn->e1.PageLocation]++;
    if (Pfn->e1.PageLocation <= FreePageList || Pfn->e1.PageLocation == BadPageList || Pfn->e1.Kernel ||
        Pfn->e1.Deleted || PointerPte == NULL)
    {
        return;
    }
    Pte.Long = __atomic_load_n(&PointerPte->Long, __ATOMIC_RELAXED);
    if (Pfn->e1.PageLocation == ActiveAndValid)
    {
        if (Pte.Hard.Valid == 1 ? Pte.Hard.PageFrameNumber != Frame : Pte.Trans.Transition == 0)
        {
            KiBugCheckMessage(PFN_LIST_CORRUPT, 0x3, Frame, Pte.Long, (ULONG_PTR)PointerPte,
                              "active frame %llx: its PTE %llx does not point back", Frame, Pte.Long);
        }
        if (Pfn->u1.ShareCount == 0 || Pfn->ReferenceCount == 0)
        {
            KiBugCheckMessage(PFN_LIST_CORRUPT, 0x4, Frame, Pfn->u1.ShareCount, Pfn->ReferenceCount,
                              "active frame %llx: share count %u, reference count %u", Frame,
                              Pfn->u1.ShareCount, Pfn->ReferenceCount);
        }
        return;
    }
    if (Pte.Hard.Valid == 1 || Pte.Soft.Prototype == 1 || Pte.Trans.Transition == 0 ||
        Pte.Trans.PageFrameNumber != Frame)
    {
        KiBugCheckMessage(PFN_LIST_CORRUPT, 0x5, Frame, Pte.Long, (ULONG_PTR)PointerPte,
                          "frame %llx on list %u: its PTE %llx is no transition to it", Frame,
                          Pfn->e1.PageLocation, Pte.Long);
    }
}

static VOID MiCheckFrames(void)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    PFN_NUMBER Counts[8] = { 0 };
    PFN_NUMBER Fresh = 0;

    for (ULONG Index = 0; Index < Physical->RunCount; Index++)
    {
        MI_MEMORY_RUN *Run = &Physical->Runs[Index];
        for (PFN_NUMBER Frame = Run->BasePage; Frame < Run->BasePage + Run->PageCount; Frame++)
        {
            if (Frame == Run->Fresh)
            {
                Fresh += Run->FreshEnd - Run->Fresh;
                Frame = Run->FreshEnd;
                if (Frame == Run->BasePage + Run->PageCount)
                {
                    break;
                }
            }
            MiCheckFrame(Frame, Counts);
        }
    }
    if (Counts[ZeroedPageList] + Counts[FreePageList] + Fresh != MiZeroedPages() + MiFreePages() ||
        Counts[StandbyPageList] != MiStandbyPages() ||
        Counts[ModifiedPageList] !=
            MiQueueTotal(&Physical->ModifiedList) + Physical->ModifiedMappedList.Total ||
        Counts[ModifiedNoWritePageList] != Physical->ModifiedNoWriteList.Total)
    {
        KiBugCheckMessage(
            PFN_LIST_CORRUPT, 0x6, Counts[ZeroedPageList] + Counts[FreePageList] + Fresh,
            MiZeroedPages() + MiFreePages(), Counts[StandbyPageList],
            "frames by location: %llu zeroed + %llu free + %llu fresh, %llu standby, %llu modified; the lists say "
            "%llu, %llu, %llu",
            Counts[ZeroedPageList], Counts[FreePageList], Fresh, Counts[StandbyPageList],
            Counts[ModifiedPageList], MiZeroedPages() + MiFreePages(), MiStandbyPages(),
            MiQueueTotal(&Physical->ModifiedList));
    }
}

/* Memory that goes takes the limit down a moment before its own charge is returned: what is wrong stays wrong. */
static BOOLEAN MiIsCommitmentSound(void)
{
    BOOLEAN Sound = FALSE;

    for (ULONG Look = 0; Look < 1000 && !Sound; Look++)
    {
        SIZE_T Limit = __atomic_load_n(&MiState.Physical->CommitLimit, __ATOMIC_ACQUIRE);

        Sound = __atomic_load_n(&MiState.Physical->CommittedPages, __ATOMIC_RELAXED) <= Limit;
    }
    return Sound;
}

/* The lists are counted one after the other, and a page may go from one to the next meanwhile. */
static BOOLEAN MiIsAvailableSound(void)
{
    BOOLEAN Sound = FALSE;

    for (ULONG Look = 0; Look < 1000 && !Sound; Look++)
    {
        Sound = MiAvailablePages() <= MiState.Physical->NumberOfPages;
    }
    return Sound;
}

VOID MiCheckPhysical(ULONG Level)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;

    if (!MiIsCommitmentSound())
    {
        KiBugCheckMessage(MEMORY_MANAGEMENT, 0x3454, Physical->CommittedPages, Physical->CommitLimit,
                          Physical->PeakCommitment, "%llu pages are committed, and the limit is %llu",
                          (ULONG64)Physical->CommittedPages, (ULONG64)Physical->CommitLimit);
    }
    if (!MiIsAvailableSound())
    {
        KiBugCheckMessage(PFN_LIST_CORRUPT, 0x7, MiAvailablePages(), Physical->NumberOfPages,
                          Physical->CommittedPages, "available %llu of %llu pages, committed %llu",
                          MiAvailablePages(), Physical->NumberOfPages, (ULONG64)Physical->CommittedPages);
    }
    if (Level < 2)
    {
        return;
    }
    for (ULONG Index = 0; Index < 2 * Physical->NodeCount * Physical->Colours; Index++)
    {
        MiCheckList(&Physical->ColouredLists[Index]);
    }
    for (ULONG Priority = 0; Priority < MI_PRIORITIES; Priority++)
    {
        MiCheckQueue(&Physical->StandbyList[Priority]);
    }
    MiCheckQueue(&Physical->ModifiedList);
    MiCheckList(&Physical->ModifiedMappedList);
    MiCheckList(&Physical->ModifiedNoWriteList);
    MiCheckList(&Physical->BadList);
    if (Level >= 3)
    {
        MiCheckFrames();
    }
}
