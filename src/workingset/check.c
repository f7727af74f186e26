/* SPDX-License-Identifier: MIT */
/* The invariants of working sets: what the tables hold is what the counts say. */
#include "workingset/walk.h"

typedef struct _MI_WORKING_SET_CHECK
{
    PMI_ADDRESS_SPACE Space;
    SIZE_T Valid;
    SIZE_T Locked;
} MI_WORKING_SET_CHECK;

/* Maps what somebody else holds; the entry's own reference keeps it from a list. */
static VOID MiCheckPhysicalEntry(PMMPTE PointerPte, MMPTE Pte, ULONG_PTR Va)
{
    PFN_NUMBER Frame = Pte.Hard.PageFrameNumber;

    if ((Pte.Long & (MM_PTE_SHARED | MM_PTE_LOCKED_MASK)) != 0 ||
        (MiIsRamFrame(Frame) && MiPfn(Frame)->ReferenceCount == 0))
    {
        KiBugCheckMessage(MEMORY_MANAGEMENT, 0x403, (ULONG_PTR)PointerPte, Pte.Long, Va,
                          "valid PTE %llx maps frame %llx, which nobody keeps", Pte.Long, (ULONG64)Frame);
    }
}

static BOOLEAN MiCheckTable(PVOID Context, PMMPTE First, ULONG_PTR Va, ULONG Count)
{
    MI_WORKING_SET_CHECK *Check = Context;
    PMMPTE Start = (PMMPTE)((ULONG_PTR)First & ~(ULONG_PTR)(PAGE_SIZE - 1));
    PMMPFN Table = MiPtePage(First);
    ULONG Share = 1;
    ULONG Used = 0;

    UNREFERENCED_PARAMETER(Count);
    for (ULONG Index = 0; Index < MI_PTES_PER_PAGE; Index++)
    {
        MMPTE Pte = MiReadPte(&Start[Index]);

        Used += Pte.Long != 0;
        Share += Pte.Hard.Valid || MiIsTransition(Pte);
        if (!Pte.Hard.Valid)
        {
            continue;
        }
        if ((Pte.Long & MM_PTE_PHYSICAL) != 0)
        {
            MiCheckPhysicalEntry(&Start[Index], Pte, Va);
            continue;
        }
        Check->Valid++;
        Check->Locked += (Pte.Long & MM_PTE_LOCKED_MASK) != 0;
        if (!MiIsFrame(Pte.Hard.PageFrameNumber) ||
            MiPfn(Pte.Hard.PageFrameNumber)->e1.PageLocation != ActiveAndValid)
        {
            KiBugCheckMessage(MEMORY_MANAGEMENT, 0x403, (ULONG_PTR)&Start[Index], Pte.Long, Va,
                              "valid PTE %llx maps a frame that is not active", Pte.Long);
        }
    }
    if (Share != Table->u1.ShareCount || Used != Table->u1.UsedPageTableEntries)
    {
        KiBugCheckMessage(
            MEMORY_MANAGEMENT, 0x5004, MiPfnFrame(Table), Table->u1.ShareCount, Share,
            "page table %llx for %llx: share count %u should be %u, used entries %u should be %u",
            MiPfnFrame(Table), (ULONG64)Va, Table->u1.ShareCount, Share, Table->u1.UsedPageTableEntries,
            Used);
    }
    return TRUE;
}

VOID MiCheckWorkingSet(PMI_ADDRESS_SPACE Space)
{
    MI_WORKING_SET_CHECK Check = { .Space = Space };
    MI_SPACE_SLOT *Slot = MiLockSpaceShared(Space);

    MiVisitTables(Space, Space->Kernel ? Space->LowestVpn : 0, Space->HighestVpn, MiCheckTable, &Check);
    if (Check.Valid != MiWorkingSetPages(Space))
    {
        KiBugCheckMessage(MEMORY_MANAGEMENT, 0x5003, (ULONG_PTR)Space, Check.Valid, MiWorkingSetPages(Space),
                          "working set of %llu pages, but %llu valid entries",
                          (ULONG64)MiWorkingSetPages(Space), (ULONG64)Check.Valid);
    }
    MiUnlockSpaceShared(Space, Slot);
}
