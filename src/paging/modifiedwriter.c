/* SPDX-License-Identifier: MIT */
/*
 * The modified page writer. Each step takes pages from the head of the modified list (the trimmer put them
 * there in address order), gives them consecutive slots and starts one write; a few writes are in flight at a
 * time. While a page is being written the write owns its slot; the page may be faulted back and changed
 * meanwhile, and then the slot is simply dropped. A page whose write failed is modified again and stays in
 * memory.
 */
#include "paging/mapped.h"

#define MI_RETRY_DELAY         50000000ull /* 50 ms after the first error, doubling */
#define MI_RETRY_DELAY_MAXIMUM 5000000000ull

/*
 * A flush ends after so many rounds without progress: no slots, or a device that refuses. The pages stay
 * modified.
 */
#define MI_IDLE_FLUSHES 10u

static BOOLEAN MiIsWritingWanted(void)
{
    MI_PHYSICAL_STATE *Physical = MiState.Physical;

    if (MiQueueTotal(&Physical->ModifiedList) == 0)
    {
        return FALSE;
    }
    return __atomic_load_n(&MiState.Paging->Flushers, __ATOMIC_RELAXED) != 0 ||
           MiQueueTotal(&Physical->ModifiedList) >= Physical->ModifiedThreshold ||
           MiAvailablePages() < 4 * Physical->LowThreshold;
}

/* Memory is short, or somebody wants everything written: then the reserve of slots may be used. */
static BOOLEAN MiIsWritingCritical(void)
{
    return __atomic_load_n(&MiState.Paging->Flushers, __ATOMIC_RELAXED) != 0 ||
           MiAvailablePages() < 4 * MiState.Physical->LowThreshold;
}

static MI_WRITE_BLOCK *MiTakeWriteBlock(void)
{
    MI_PAGING_STATE *Paging = MiState.Paging;
    MI_WRITE_BLOCK *Block = NULL;
    KIRQL OldIrql = KiAcquireSpinLock(&Paging->WriterLock);

    for (ULONG Index = 0; Index < MI_WRITES_IN_FLIGHT && Block == NULL; Index++)
    {
        if (!Paging->WriteBlocks[Index].Busy)
        {
            Block = &Paging->WriteBlocks[Index];
            Block->Busy = TRUE;
            __atomic_fetch_add(&Paging->WritesInFlight, 1, __ATOMIC_RELAXED);
        }
    }
    KiReleaseSpinLock(&Paging->WriterLock, OldIrql);
    return Block;
}

static VOID MiReturnWriteBlock(MI_WRITE_BLOCK *Block)
{
    MI_PAGING_STATE *Paging = MiState.Paging;
    KIRQL OldIrql = KiAcquireSpinLock(&Paging->WriterLock);

    Block->Busy = FALSE;
    KiReleaseSpinLock(&Paging->WriterLock, OldIrql);
}

/* The last touch of the paging state by a write: shutdown waits for the count. */
static VOID MiEndWrite(void)
{
    __atomic_fetch_sub(&MiState.Paging->WritesInFlight, 1, __ATOMIC_RELEASE);
}

/* One page of a finished write. TRUE: its slot found an owner. */
static BOOLEAN MiEndPageWrite(PFN_NUMBER Frame, PMMPAGING_FILE File, SIZE_T Slot, BOOLEAN Success)
{
    PMMPFN Pfn = MiPfn(Frame);
    BOOLEAN Keep;

    MiLockPfn(Pfn);
    Pfn->e1.WriteInProgress = 0;
    Keep = Success && !Pfn->e1.Modified && !Pfn->e1.Deleted;
    if (Keep)
    {
        KiRequire(Pfn->OriginalPte.Soft.PageFileHigh == 0);
        Pfn->OriginalPte.Soft.PageFileLow = File->PageFileNumber;
        Pfn->OriginalPte.Soft.PageFileHigh = Slot;
    }
    else if (!Success)
    {
        Pfn->e1.Modified = 1;
    }
    MiDecrementReferenceCount(Pfn);
    MiUnlockPfn(Pfn);
    return Keep;
}

static VOID MiWriteComplete(PORT_IO *Io)
{
    MI_WRITE_BLOCK *Block = Io->Context;
    PMMPAGING_FILE File = Block->File;
    BOOLEAN Success = NT_SUCCESS(Io->Status) && Io->Information == (SIZE_T)Io->Count << PAGE_SHIFT;

    if (Success)
    {
        __atomic_store_n(&File->WriteErrors, 0, __ATOMIC_RELAXED);
    }
    else
    {
        ULONG Errors = __atomic_fetch_add(&File->WriteErrors, 1, __ATOMIC_RELAXED);
        ULONG64 Delay = MI_RETRY_DELAY << (Errors < 7 ? Errors : 7);

        Delay = Delay < MI_RETRY_DELAY_MAXIMUM ? Delay : MI_RETRY_DELAY_MAXIMUM;
        __atomic_store_n(&File->WriteRetryTime, KiQueryTime() + Delay, __ATOMIC_RELAXED);
        MiCount(PageWriteErrors);
    }
    __atomic_fetch_sub(&MiState.Paging->PagesInFlight, Block->Count, __ATOMIC_RELAXED);
    __atomic_fetch_add(&MiState.Paging->PagesEnded, Block->Count, __ATOMIC_RELAXED);
    for (ULONG Index = 0; Index < Block->Count; Index++)
    {
        KIRQL OldIrql = KiRaiseIrqlToDispatch();
        BOOLEAN Kept = MiEndPageWrite(Block->Frames[Index], File, Block->FirstSlot + Index, Success);

        if (!Kept)
        {
            MiFreeSlots(File, Block->FirstSlot + Index, 1);
        }
        KiLowerIrqlFromDispatch(OldIrql);
    }
    MiReturnWriteBlock(Block);
    KeSetEvent(&MiState.Paging->WriteDone, 0, FALSE);
    if (Success && MiIsWritingWanted())
    {
        KiWakeWorker(&MiState.Paging->ModifiedWriter);
    }
    MiEndWrite();
}

/* Moves up to Wanted pages from the modified list into the block. */
static ULONG MiGatherPages(MI_WRITE_BLOCK *Block, ULONG Wanted)
{
    ULONG Count = 0;

    while (Count < Wanted)
    {
        KIRQL OldIrql = KiRaiseIrqlToDispatch();
        PMMPFN Pfn = MiRemoveOldestLocked(&MiState.Physical->ModifiedList);

        if (Pfn == NULL)
        {
            KiLowerIrqlFromDispatch(OldIrql);
            break;
        }
        Pfn->ReferenceCount = 1;
        Pfn->e1.Modified = 0;
        Pfn->e1.WriteInProgress = 1;
        Pfn->u1.InPage = NULL;
        MiUnlockPfn(Pfn);
        KiLowerIrqlFromDispatch(OldIrql);
        Block->Frames[Count++] = MiPfnFrame(Pfn);
    }
    return Count;
}

static VOID MiStartPageWrite(MI_WRITE_BLOCK *Block)
{
    PMMPAGING_FILE File = Block->File;

    Block->Io = (PORT_IO){
        .Storage = File->Storage,
        .Offset = (ULONG64)Block->FirstSlot << PAGE_SHIFT,
        .Frames = Block->Frames,
        .Count = Block->Count,
        .Write = TRUE,
        .Completion = MiWriteComplete,
        .Context = Block,
    };
    __atomic_fetch_add(&File->Writes, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&File->WritePages, Block->Count, __ATOMIC_RELAXED);
    __atomic_fetch_add(&MiState.Paging->PagesInFlight, Block->Count, __ATOMIC_RELAXED);
    MiCount(PageWrites);
    MiCountMany(PagesOutput, Block->Count);
    if (KiInject(KiInjectWrite))
    {
        Block->Io.Status = STATUS_IO_DEVICE_ERROR;
        MiWriteComplete(&Block->Io);
        return;
    }
    PortStartIo(&Block->Io);
}

BOOLEAN MiModifiedWriterStep(PVOID Context)
{
    MI_WRITE_BLOCK *Block;
    ULONG64 Listed;
    ULONG Wanted;
    ULONG Got;

    UNREFERENCED_PARAMETER(Context);
    if (!MiIsWritingWanted())
    {
        return FALSE;
    }
    Block = MiTakeWriteBlock();
    if (Block == NULL)
    {
        return FALSE; /* a completion wakes us */
    }
    Listed = MiQueueTotal(&MiState.Physical->ModifiedList);
    Wanted = Listed < MI_WRITE_CLUSTER ? (ULONG)Listed : MI_WRITE_CLUSTER;
    if (MiWritableSlots() < MiSlotReserve() + Wanted && !MiIsWritingCritical())
    {
        /* Writing ahead of need does not touch the reserve; whether files can grow is worth a try. */
        MiReturnWriteBlock(Block);
        MiEndWrite();
        return Wanted != 0 && MiExtendPagingFiles(Wanted);
    }
    Block->FirstSlot = Wanted == 0 ? 0 : MiAllocateSlots(Wanted, &Block->File, &Got);
    if (Block->FirstSlot == 0)
    {
        MiReturnWriteBlock(Block);
        MiEndWrite();
        /* A file that rests after an error is no reason to grow: its slots are free, only not now. */
        return Wanted != 0 && MiWritableSlots() == 0 && MiExtendPagingFiles(Wanted);
    }
    Block->Count = MiGatherPages(Block, Got);
    if (Block->Count < Got)
    {
        MiFreeSlots(Block->File, Block->FirstSlot + Block->Count, Got - Block->Count);
    }
    if (Block->Count == 0)
    {
        MiReturnWriteBlock(Block);
        MiEndWrite();
        return FALSE;
    }
    MiStartPageWrite(Block);
    return TRUE;
}

PFN_NUMBER MiModifiedPages(void)
{
    return MiQueueTotal(&MiState.Physical->ModifiedList) + MiListTotal(&MiState.Physical->ModifiedMappedList);
}

PFN_NUMBER MiWritableModifiedPages(void)
{
    PFN_NUMBER Paged = MiQueueTotal(&MiState.Physical->ModifiedList);
    PFN_NUMBER Mapped = MiListTotal(&MiState.Physical->ModifiedMappedList);
    PFN_NUMBER Stuck = __atomic_load_n(&MiState.Paging->MappedStuck, __ATOMIC_RELAXED);
    SIZE_T Slots = MiWritableSlots();

    return (Paged < Slots ? Paged : Slots) + (Mapped > Stuck ? Mapped - Stuck : 0);
}

VOID MiFlushModifiedPages(void)
{
    MI_PAGING_STATE *Paging = MiState.Paging;
    ULONG64 LastTotal = ~0ull;
    ULONG64 EndAt;
    ULONG Idle = 0;

    if (__atomic_load_n(&Paging->FileCount, __ATOMIC_ACQUIRE) == 0)
    {
        return;
    }
    /*
     * The list is a queue: by then all that stands on it now has been written, whatever others add meanwhile.
     */
    EndAt = __atomic_load_n(&Paging->PagesEnded, __ATOMIC_RELAXED) +
            MiQueueTotal(&MiState.Physical->ModifiedList) + MI_WRITES_IN_FLIGHT * MI_WRITE_CLUSTER;
    __atomic_fetch_add(&Paging->Flushers, 1, __ATOMIC_RELAXED);
    for (;;)
    {
        LARGE_INTEGER Timeout = { .QuadPart = -500000 }; /* 50 ms */
        ULONG64 Total = MiQueueTotal(&MiState.Physical->ModifiedList);
        BOOLEAN Writing = __atomic_load_n(&Paging->WritesInFlight, __ATOMIC_ACQUIRE) != 0;

        Idle = Total < LastTotal || Writing ? 0 : Idle + 1;
        LastTotal = Total;
        if (Idle == MI_IDLE_FLUSHES || (Total == 0 && !Writing) ||
            __atomic_load_n(&Paging->PagesEnded, __ATOMIC_RELAXED) >= EndAt)
        {
            break;
        }
        if (Paging->ModifiedWriter.Routine == NULL)
        {
            MiModifiedWriterStep(NULL); /* nobody else would */
        }
        KiWakeWorker(&Paging->ModifiedWriter);
        KeWaitForSingleObject(&Paging->WriteDone, WrPageOut, KernelMode, FALSE, &Timeout);
    }
    __atomic_fetch_sub(&Paging->Flushers, 1, __ATOMIC_RELAXED);
}

static VOID MiModifiedHigh(void)
{
    MiWakePageWriters();
}

VOID MiWakePageWriters(void)
{
    if (MiQueueTotal(&MiState.Physical->ModifiedList) != 0)
    {
        KiWakeWorker(&MiState.Paging->ModifiedWriter);
    }
    if (MiListTotal(&MiState.Physical->ModifiedMappedList) != 0)
    {
        KiWakeWorker(&MiState.Paging->MappedWriter);
    }
}

NTSTATUS MiStartPagingWorkers(void)
{
    NTSTATUS Status;

    MiState.Physical->Operations.ModifiedHigh = MiModifiedHigh;
    Status = KiStartWorker(&MiState.Paging->ModifiedWriter, "modified page writer", MiModifiedWriterStep,
                           NULL, 200000000ull);
    if (NT_SUCCESS(Status))
    {
        Status = KiStartWorker(&MiState.Paging->MappedWriter, "mapped page writer", MiMappedWriterStep, NULL,
                               200000000ull);
    }
    return Status;
}

VOID MiStopPagingWorkers(void)
{
    MI_PAGING_STATE *Paging = MiState.Paging;

    MiState.Physical->Operations.ModifiedHigh = NULL;
    KiStopWorker(&Paging->MappedWriter);
    KiStopWorker(&Paging->ModifiedWriter);
    while (__atomic_load_n(&Paging->WritesInFlight, __ATOMIC_ACQUIRE) != 0)
    {
        LARGE_INTEGER Timeout = { .QuadPart = -100000 };
        KeWaitForSingleObject(&Paging->WriteDone, WrPageOut, KernelMode, FALSE, &Timeout);
    }
}
