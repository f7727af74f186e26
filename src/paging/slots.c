/* SPDX-License-Identifier: MIT */
/*
 * Slots of the paging files. Clusters are taken from where the last one ended, so that pages written one
 * after the other lie one after the other; files take turns by the room that they have.
 */
#include "paging/paging.h"

/* After an error a file rests for a while, longer each time. */
BOOLEAN MiIsFileResting(const MMPAGING_FILE *File)
{
    return __atomic_load_n(&File->WriteErrors, __ATOMIC_RELAXED) != 0 &&
           KiQueryTime() < __atomic_load_n(&File->WriteRetryTime, __ATOMIC_RELAXED);
}

SIZE_T MiWritableSlots(void)
{
    MI_PAGING_STATE *Paging = MiState.Paging;
    ULONG Count = __atomic_load_n(&Paging->FileCount, __ATOMIC_ACQUIRE);
    SIZE_T Slots = 0;

    for (ULONG Index = 0; Index < Count; Index++)
    {
        Slots += MiIsFileResting(Paging->Files[Index])
                     ? 0
                     : __atomic_load_n(&Paging->Files[Index]->FreeSpace, __ATOMIC_RELAXED);
    }
    return Slots;
}

SIZE_T MiSlotReserve(void)
{
    MI_PAGING_STATE *Paging = MiState.Paging;
    ULONG Count = __atomic_load_n(&Paging->FileCount, __ATOMIC_ACQUIRE);
    SIZE_T Slots = 0;

    for (ULONG Index = 0; Index < Count; Index++)
    {
        Slots += __atomic_load_n(&Paging->Files[Index]->MaximumSize, __ATOMIC_RELAXED);
    }
    Slots /= 64;
    return Slots < MI_WRITES_IN_FLIGHT * MI_WRITE_CLUSTER ? Slots : MI_WRITES_IN_FLIGHT * MI_WRITE_CLUSTER;
}

/* The file with the most free slots that may be written now. */
static PMMPAGING_FILE MiChooseFile(void)
{
    MI_PAGING_STATE *Paging = MiState.Paging;
    PMMPAGING_FILE Best = NULL;
    SIZE_T Most = 0;
    ULONG Count = __atomic_load_n(&Paging->FileCount, __ATOMIC_ACQUIRE);

    for (ULONG Index = 0; Index < Count; Index++)
    {
        PMMPAGING_FILE File = Paging->Files[Index];
        SIZE_T Free = __atomic_load_n(&File->FreeSpace, __ATOMIC_RELAXED);

        if (Free > Most && !MiIsFileResting(File))
        {
            Best = File;
            Most = Free;
        }
    }
    return Best;
}

SIZE_T MiAllocateSlots(ULONG Count, PMMPAGING_FILE *File, PULONG Got)
{
    PMMPAGING_FILE Chosen;
    ULONG64 Found = 0;
    ULONG64 First = 0;
    KIRQL OldIrql;

    *Got = 0;
    *File = NULL;
    if (KiInject(KiInjectSlot))
    {
        return 0;
    }
    Chosen = MiChooseFile();
    if (Chosen == NULL)
    {
        return 0;
    }
    OldIrql = KiAcquireSpinLock(&Chosen->Lock);
    First = RtlSummaryFindClusterAndSet(&Chosen->Bitmap, Count, Chosen->Hint, &Found);
    if (Found != 0)
    {
        SIZE_T Used;

        Chosen->Hint = First + Found;
        if (First + Found - 1 > Chosen->HighestSlot)
        {
            Chosen->HighestSlot = First + Found - 1;
        }
        __atomic_store_n(&Chosen->FreeSpace, Chosen->FreeSpace - Found, __ATOMIC_RELAXED);
        Used = Chosen->Size - 1 - Chosen->FreeSpace;
        if (Used > Chosen->PeakUsage)
        {
            __atomic_store_n(&Chosen->PeakUsage, Used,
                             __ATOMIC_RELAXED); /* statistics read it without the lock */
        }
    }
    KiReleaseSpinLock(&Chosen->Lock, OldIrql);
    if (Found == 0)
    {
        return 0;
    }
    *File = Chosen;
    *Got = (ULONG)Found;
    return First;
}

VOID MiFreeSlots(PMMPAGING_FILE File, SIZE_T First, ULONG Count)
{
    KIRQL OldIrql = KiAcquireSpinLock(&File->Lock);

    if (First == 0 || First + Count > File->Size || !RtlSummaryAreBitsSet(&File->Bitmap, First, Count))
    {
        KiBugCheckMessage(MEMORY_MANAGEMENT, 0x3453, File->PageFileNumber, First, Count,
                          "slots %llx to %llx of paging file %u (%llx pages) are freed and not in use",
                          (ULONG64)First, (ULONG64)First + Count - 1, File->PageFileNumber,
                          (ULONG64)File->Size);
    }
    RtlSummaryClearBits(&File->Bitmap, First, Count);
    __atomic_store_n(&File->FreeSpace, File->FreeSpace + Count, __ATOMIC_RELAXED);
    KiReleaseSpinLock(&File->Lock, OldIrql);
}

VOID MiReleasePageFileSpace(MMPTE Pte)
{
    if (Pte.Soft.Valid == 0 && Pte.Soft.Prototype == 0 && Pte.Soft.Transition == 0 &&
        Pte.Soft.PageFileHigh != 0)
    {
        MiFreeSlots(MiState.Paging->Files[Pte.Soft.PageFileLow], Pte.Soft.PageFileHigh, 1);
    }
}
