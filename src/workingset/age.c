/* SPDX-License-Identifier: MIT */
/*
 * The clock. A hand goes round the valid entries of a space in address order. An entry that was used since
 * the last visit loses its accessed bit and becomes young; one that was not grows older, and from the wanted
 * age on it is taken. What is taken goes to standby or modified and is found there again for a while, so a
 * wrong choice costs a soft fault, not a read.
 */
#include "workingset/walk.h"

typedef struct _MI_CLOCK
{
    PMI_ADDRESS_SPACE Space;
    SIZE_T Wanted;
    SIZE_T Taken;
    SIZE_T Sampled;
    ULONG MinimumAge; /* 0: used pages too */
    ULONG_PTR StopVpn;
} MI_CLOCK;

/* One entry under the hand. TRUE: to be taken. */
static BOOLEAN MiAgeEntry(PMMPTE PointerPte, MMPTE Pte, ULONG_PTR Va, ULONG MinimumAge, MI_FLUSH_LIST *Flush)
{
    ULONG Age = (ULONG)((Pte.Long & MM_PTE_AGE_MASK) >> MM_PTE_AGE_SHIFT);

    if (MinimumAge == 0)
    {
        return TRUE;
    }
    if ((Pte.Long & MM_PTE_ACCESSED) != 0)
    {
        /* Without the flush the processor would go on using the page unseen. */
        MiClearPteBits(PointerPte, MM_PTE_ACCESSED | MM_PTE_AGE_MASK);
        MiAddToFlushList(Flush, Va, 1);
        return FALSE;
    }
    if (Age < MM_MAXIMUM_AGE)
    {
        Age++;
        MiSetPteAge(PointerPte, Age);
    }
    return Age >= MinimumAge;
}

static BOOLEAN MiClockTable(PVOID Context, PMMPTE First, ULONG_PTR Va, ULONG Count)
{
    MI_CLOCK *Clock = Context;
    PMMPFN Table = MiPtePage(First);
    MI_TRIM_BATCH_LIST Batch;
    ULONG Index = 0;

    MiBeginTrimBatch(&Batch, Clock->Space);
    while (Index < Count && Clock->Taken < Clock->Wanted)
    {
        KIRQL OldIrql = KiRaiseIrqlToDispatch();

        MiLockPageTable(Table);
        for (; Index < Count && !MiIsTrimBatchFull(&Batch) && Clock->Taken + Batch.Count < Clock->Wanted;
             Index++)
        {
            ULONG_PTR PageVa = Va + ((ULONG_PTR)Index << PAGE_SHIFT);
            MMPTE Pte = MiReadPte(&First[Index]);

            if (!Pte.Hard.Valid || (Pte.Long & MM_PTE_STAYS) != 0)
            {
                continue;
            }
            Clock->Sampled++;
            if (MiAgeEntry(&First[Index], Pte, PageVa, Clock->MinimumAge, &Batch.Flush))
            {
                MiTrimEntry(&Batch, &First[Index], PageVa, MI_KEEP_PROTECTION, FALSE);
            }
        }
        Clock->Taken += Batch.Count;
        MiEndTrimBatch(&Batch);
        MiUnlockPageTable(Table);
        KiLowerIrqlFromDispatch(OldIrql);
    }
    Clock->StopVpn = (Va >> PAGE_SHIFT) + Index;
    return Clock->Taken < Clock->Wanted;
}

/*
 * From StartVpn to EndVpn. The hand stays behind the last page that was taken, in the middle of a table too:
 * a small space has only one, and would otherwise always be searched from its beginning.
 */
static VOID MiTurnHand(MI_CLOCK *Clock, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    ULONG_PTR Hand;

    MiVisitTables(Clock->Space, StartVpn, EndVpn, MiClockTable, Clock);
    Hand = Clock->Taken >= Clock->Wanted ? Clock->StopVpn : EndVpn + 1;
    Clock->Space->Vm.Hand = Hand <= Clock->Space->HighestVpn ? Hand : Clock->Space->LowestVpn;
}

static BOOLEAN MiCountAges(PVOID Context, PMMPTE First, ULONG_PTR Va, ULONG Count)
{
    ULONG64 *AgeCount = Context;

    UNREFERENCED_PARAMETER(Va);
    for (ULONG Index = 0; Index < Count; Index++)
    {
        MMPTE Pte = MiReadPte(&First[Index]);

        if (Pte.Hard.Valid)
        {
            AgeCount[(Pte.Long & MM_PTE_ACCESSED) != 0 ? 0
                                                       : (Pte.Long & MM_PTE_AGE_MASK) >> MM_PTE_AGE_SHIFT]++;
        }
    }
    return TRUE;
}

VOID MiCaptureAccessedBits(PMI_ADDRESS_SPACE Space)
{
    ULONG64 AgeCount[MM_MAXIMUM_AGE + 1] = { 0 };
    MI_SPACE_SLOT *Slot = MiLockSpaceShared(Space);

    MiVisitTables(Space, Space->LowestVpn, Space->HighestVpn, MiCountAges, AgeCount);
    MiUnlockSpaceShared(Space, Slot);
    for (ULONG Age = 0; Age <= MM_MAXIMUM_AGE; Age++)
    {
        __atomic_store_n(&Space->Vm.AgeCount[Age], AgeCount[Age], __ATOMIC_RELAXED);
    }
}

SIZE_T MiTrimWorkingSet(PMI_ADDRESS_SPACE Space, SIZE_T Pages, ULONG MinimumAge)
{
    MI_CLOCK Clock = { .Space = Space, .Wanted = Pages, .MinimumAge = MinimumAge };
    MI_SPACE_SLOT *Slot;
    ULONG_PTR Hand;

    if (__atomic_exchange_n(&Space->Vm.BeingTrimmed, TRUE, __ATOMIC_ACQUIRE))
    {
        return 0;
    }
    Slot = MiLockSpaceShared(Space);
    MiUpdatePeakWorkingSet(Space);
    Hand = Space->Vm.Hand;
    if (Hand < Space->LowestVpn || Hand > Space->HighestVpn)
    {
        Hand = Space->LowestVpn;
    }
    Clock.StopVpn = Hand;
    MiTurnHand(&Clock, Hand, Space->HighestVpn);
    if (Clock.Taken < Pages && Hand > Space->LowestVpn)
    {
        MiTurnHand(&Clock, Space->LowestVpn, Hand - 1);
    }
    MiUnlockSpaceShared(Space, Slot);
    __atomic_store_n(&Space->Vm.BeingTrimmed, FALSE, __ATOMIC_RELEASE);
    MiCountMany(PagesTrimmed, Clock.Taken);
    MiCountMany(PagesAged, Clock.Sampled);
    return Clock.Taken;
}
