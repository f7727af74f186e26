/* SPDX-License-Identifier: MIT */
/*
 * The mapped page writer: brings modified pages of mapped files to their files when there are too many of them, when memory is short, and
 * about a second after they were left, so that a file is soon what its views made of it. It has a thread of its own because files can be slow, or be
 * on a disk that hangs, and then the paging files must go on being written.
 */
#include "paging/mapped.h"

#define MI_LAZY_INTERVAL 1000000000ull /* 1 s */

static BOOLEAN MiIsMappedWritingWanted(void)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;
    MI_PAGING_STATE *Paging = MiState.Paging;
    ULONG64 Listed = MiListTotal(&Physical->ModifiedMappedList);

    if (Listed == 0)
    {
        Paging->MappedBudget = 0;
        return FALSE;
    }
    if (KiQueryTime() >= Paging->MappedLazyTime)
    {
        Paging->MappedLazyTime = KiQueryTime() + MI_LAZY_INTERVAL;
        Paging->MappedBudget = Listed;
    }
    if (__atomic_exchange_n(&Paging->MappedHurry, 0, __ATOMIC_RELAXED) != 0)
    {
        Paging->MappedBudget = Listed;
    }
    return Paging->MappedBudget != 0 ||
           Listed + MiQueueTotal(&Physical->ModifiedList) >= Physical->ModifiedThreshold ||
           MiAvailablePages() < 4 * Physical->LowThreshold;
}

static PMI_MAPPED_WRITE MiTakeMappedWrite(void)
{
    MI_PAGING_STATE *Paging = MiState.Paging;
    PMI_MAPPED_WRITE Write = NULL;
    KIRQL OldIrql = KiAcquireSpinLock(&Paging->WriterLock);

    for (ULONG Index = 0; Index < MI_MAPPED_WRITES && Write == NULL; Index++)
    {
        if (!Paging->MappedWrites[Index].Busy)
        {
            Write = &Paging->MappedWrites[Index];
            Write->Busy = TRUE;
            __atomic_fetch_add(&Paging->WritesInFlight, 1, __ATOMIC_RELAXED);
        }
    }
    KiReleaseSpinLock(&Paging->WriterLock, OldIrql);
    return Write;
}

static VOID MiFreeMappedWrite(PMI_MAPPED_WRITE Write)
{
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Paging->WriterLock);

    Write->Busy = FALSE;
    KiReleaseSpinLock(&MiState.Paging->WriterLock, OldIrql);
}

VOID MiReturnMappedWrite(PMI_MAPPED_WRITE Write)
{
    BOOLEAN Success = NT_SUCCESS(Write->Status);

    MiFreeMappedWrite(Write);
    KeSetEvent(&MiState.Paging->WriteDone, 0, FALSE);
    if (Success)
    {
        MiWakeMappedWriter();
    }
    __atomic_fetch_sub(&MiState.Paging->WritesInFlight, 1, __ATOMIC_RELEASE);
}

/* Pages that are not this writer's, when memory is short. */
static VOID MiHurryNoWritePages(void)
{
    VOID (*Short)(void) = __atomic_load_n(&MiState.Paging->NoWritePagesShort, __ATOMIC_RELAXED);

    if (Short != NULL && MiListTotal(&MiState.Physical->ModifiedNoWriteList) != 0 &&
        MiAvailablePages() < 4 * MiState.Physical->LowThreshold)
    {
        Short();
    }
}

BOOLEAN MiMappedWriterStep(PVOID Context)
{
    MI_PAGING_STATE *Paging = MiState.Paging;
    PMI_MAPPED_WRITE Write;

    UNREFERENCED_PARAMETER(Context);
    MiHurryNoWritePages();
    if (!MiIsMappedWritingWanted())
    {
        return FALSE;
    }
    Write = MiTakeMappedWrite();
    if (Write == NULL)
    {
        return FALSE; /* a completion wakes us */
    }
    if (!MiGatherForWriter(Write))
    {
        __atomic_store_n(&Paging->MappedStuck, MiListTotal(&MiState.Physical->ModifiedMappedList),
                         __ATOMIC_RELAXED);
        MiFreeMappedWrite(Write);
        __atomic_fetch_sub(&Paging->WritesInFlight, 1, __ATOMIC_RELEASE);
        return FALSE; /* their files rest, or are being deleted: the next round looks again */
    }
    __atomic_store_n(&Paging->MappedStuck, 0, __ATOMIC_RELAXED);
    Paging->MappedBudget -= Write->Count < Paging->MappedBudget ? Write->Count : Paging->MappedBudget;
    Write->Done = NULL;
    MiStartMappedWrite(Write);
    return TRUE;
}

VOID MiWakeMappedWriter(void)
{
    KiWakeWorker(&MiState.Paging->MappedWriter);
}

VOID MiHurryMappedWriter(void)
{
    __atomic_store_n(&MiState.Paging->MappedHurry, 1, __ATOMIC_RELAXED);
    MiWakeMappedWriter();
}
