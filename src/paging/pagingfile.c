/* SPDX-License-Identifier: MIT */
/*
 * Paging files: creation, growth from minimum to maximum, deletion at shutdown. The slot bitmap is as long as
 * the maximum from the beginning (boot memory of the port, touched only as far as it is used); what lies
 * beyond the current size is set.
 */
#include "paging/mapped.h"
#include "rtl/memory.h"

#define MI_GROWTH_STEP        4096u /* pages: grow by 16 MiB at least, if the maximum allows */
#define MI_MAXIMUM_FILE_PAGES 0xffffffffull

static BOOLEAN MiIsSameName(const MMPAGING_FILE *File, PCUNICODE_STRING Name)
{
    return File->NameLength == Name->Length && RtlEqualMemory(File->Name, Name->Buffer, Name->Length);
}

static VOID MiFreePagingFile(PMMPAGING_FILE File)
{
    if (File->Storage != NULL)
    {
        PortCloseStorage(File->Storage);
    }
    if (File->BitmapMemory != NULL)
    {
        PortFreeBootMemory(File->BitmapMemory, File->BitmapBytes);
    }
    PortFreeBootMemory(File, sizeof(*File));
}

static NTSTATUS MiBuildPagingFile(PCUNICODE_STRING Name, SIZE_T Minimum, SIZE_T Maximum,
                                  PMMPAGING_FILE *Result)
{
    PMMPAGING_FILE File = PortAllocateBootMemory(sizeof(*File));
    NTSTATUS Status;

    if (File == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    File->MinimumSize = Minimum;
    File->MaximumSize = Maximum;
    File->Size = Minimum;
    File->Hint = 1;
    File->NameLength = Name->Length;
    RtlCopyMemory(File->Name, Name->Buffer, Name->Length);
    File->BitmapBytes = RtlBitMapSummaryBytes(Maximum);
    File->BitmapMemory = PortAllocateBootMemory(File->BitmapBytes);
    if (File->BitmapMemory == NULL)
    {
        MiFreePagingFile(File);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Status = PortOpenStorage(Name,
                             PORT_STORAGE_READ | PORT_STORAGE_WRITE | PORT_STORAGE_CREATE |
                                 PORT_STORAGE_EXCLUSIVE | PORT_STORAGE_UNCACHED | PORT_STORAGE_SCRATCH |
                                 (MiState.Paging->Encrypt ? PORT_STORAGE_ENCRYPTED : 0),
                             &File->Storage);
    if (NT_SUCCESS(Status))
    {
        Status = PortSetStorageSize(File->Storage, (ULONG64)Minimum << PAGE_SHIFT);
    }
    if (!NT_SUCCESS(Status))
    {
        MiFreePagingFile(File);
        return Status;
    }
    RtlInitializeBitMapSummary(&File->Bitmap, File->BitmapMemory, Maximum, Minimum);
    RtlSummarySetBits(&File->Bitmap, 0, 1); /* slot 0 means "none" */
    File->FreeSpace = Minimum - 1;
    *Result = File;
    return STATUS_SUCCESS;
}

/* Grows File to NewSize pages. FileListLock held exclusively. */
static NTSTATUS MiGrowPagingFile(PMMPAGING_FILE File, SIZE_T NewSize)
{
    SIZE_T OldSize = File->Size;
    NTSTATUS Status = PortSetStorageSize(File->Storage, (ULONG64)NewSize << PAGE_SHIFT);
    KIRQL OldIrql;

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    OldIrql = KiAcquireSpinLock(&File->Lock);
    RtlSummaryClearBits(&File->Bitmap, OldSize, NewSize - OldSize);
    File->Size = NewSize;
    __atomic_store_n(&File->FreeSpace, File->FreeSpace + (NewSize - OldSize), __ATOMIC_RELAXED);
    KiReleaseSpinLock(&File->Lock, OldIrql);
    MiAdjustCommitLimit((LONG64)(NewSize - OldSize), 0);
    MiCount(PagingFileExtensions);
    return STATUS_SUCCESS;
}

/* A bitmap for more slots. FileListLock held exclusively, so the size stays; slots come and go until the lock is taken. */
static NTSTATUS MiRaiseMaximum(PMMPAGING_FILE File, SIZE_T Maximum)
{
    SIZE_T Bytes = RtlBitMapSummaryBytes(Maximum);
    PVOID Memory = PortAllocateBootMemory(Bytes);
    PVOID OldMemory = File->BitmapMemory;
    SIZE_T OldBytes = File->BitmapBytes;
    RTL_BITMAP_SUMMARY New;
    KIRQL OldIrql;

    if (Memory == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    RtlInitializeBitMapSummary(&New, Memory, Maximum, File->Size);
    OldIrql = KiAcquireSpinLock(&File->Lock);
    RtlCopyBitMapSummary(&New, &File->Bitmap, File->Size);
    File->Bitmap = New;
    File->BitmapMemory = Memory;
    File->BitmapBytes = Bytes;
    KiReleaseSpinLock(&File->Lock, OldIrql);
    PortFreeBootMemory(OldMemory, OldBytes);
    MiAdjustCommitLimit(0, (LONG64)(Maximum - File->MaximumSize));
    __atomic_store_n(&File->MaximumSize, Maximum, __ATOMIC_RELAXED);
    return STATUS_SUCCESS;
}

static NTSTATUS MiChangePagingFile(PMMPAGING_FILE File, SIZE_T Minimum, SIZE_T Maximum)
{
    SIZE_T OldMaximum = File->MaximumSize;
    NTSTATUS Status = STATUS_SUCCESS;

    if (Maximum < OldMaximum)
    {
        return STATUS_INVALID_PARAMETER_3; /* what is promised stays promised */
    }
    if (Minimum > OldMaximum || Maximum > OldMaximum)
    {
        Status = MiRaiseMaximum(File, Maximum);
    }
    if (NT_SUCCESS(Status) && Minimum > File->Size)
    {
        Status = MiGrowPagingFile(File, Minimum);
        if (!NT_SUCCESS(Status) && Maximum > OldMaximum)
        {
            /* The larger map does no harm; the promise goes back. */
            MiAdjustCommitLimit(0, -(LONG64)(Maximum - OldMaximum));
            __atomic_store_n(&File->MaximumSize, OldMaximum, __ATOMIC_RELAXED);
        }
    }
    if (NT_SUCCESS(Status) && Minimum > File->MinimumSize)
    {
        __atomic_store_n(&File->MinimumSize, Minimum, __ATOMIC_RELAXED);
    }
    return Status;
}

NTSTATUS MiCreatePagingFile(PCUNICODE_STRING Name, ULONG64 MinimumSize, ULONG64 MaximumSize)
{
    MI_PAGING_STATE *Paging = MiState.Paging;
    ULONG64 Minimum = (MinimumSize + PAGE_SIZE - 1) >> PAGE_SHIFT;
    ULONG64 Maximum = (MaximumSize + PAGE_SIZE - 1) >> PAGE_SHIFT;
    PMMPAGING_FILE File = NULL;
    NTSTATUS Status;

    if (Name->Length == 0 || Name->Length > sizeof(File->Name))
    {
        return STATUS_OBJECT_NAME_INVALID;
    }
    if (Minimum < 256) /* documented minimum: 1 MB */
    {
        return STATUS_INVALID_PARAMETER_2;
    }
    if (Maximum < Minimum || Maximum > MI_MAXIMUM_FILE_PAGES)
    {
        return STATUS_INVALID_PARAMETER_3;
    }
    KiAcquirePushLockExclusive(&Paging->FileListLock);
    for (ULONG Index = 0; Index < Paging->FileCount; Index++)
    {
        if (MiIsSameName(Paging->Files[Index], Name))
        {
            Status = MiChangePagingFile(Paging->Files[Index], Minimum, Maximum);
            KiReleasePushLockExclusive(&Paging->FileListLock);
            return Status;
        }
    }
    Status = Paging->FileCount == MI_MAXIMUM_PAGING_FILES ? STATUS_INSUFFICIENT_RESOURCES
                                                          : MiBuildPagingFile(Name, Minimum, Maximum, &File);
    if (NT_SUCCESS(Status))
    {
        File->PageFileNumber = Paging->FileCount;
        Paging->Files[Paging->FileCount] = File;
        __atomic_store_n(&Paging->FileCount, Paging->FileCount + 1, __ATOMIC_RELEASE);
        MiAdjustCommitLimit((LONG64)Minimum - 1, (LONG64)Maximum - 1);
    }
    KiReleasePushLockExclusive(&Paging->FileListLock);
    return Status;
}

BOOLEAN MiExtendPagingFiles(SIZE_T Pages)
{
    MI_PAGING_STATE *Paging = MiState.Paging;
    BOOLEAN Grown = FALSE;

    KiAcquirePushLockExclusive(&Paging->FileListLock);
    for (ULONG Index = 0; Index < Paging->FileCount && Pages != 0; Index++)
    {
        PMMPAGING_FILE File = Paging->Files[Index];
        SIZE_T Room = File->MaximumSize - File->Size;
        SIZE_T Wanted = Pages > MI_GROWTH_STEP ? Pages : MI_GROWTH_STEP;
        SIZE_T Least = Pages < Room ? Pages : Room;

        Wanted = Wanted < Room ? Wanted : Room;
        if (Room == 0 || MiIsFileResting(File))
        {
            continue;
        }
        if (!NT_SUCCESS(MiGrowPagingFile(File, File->Size + Wanted)))
        {
            /* The disk may have room for what is needed if not for the whole step. */
            Wanted = Least;
            if (!NT_SUCCESS(MiGrowPagingFile(File, File->Size + Wanted)))
            {
                continue;
            }
        }
        Grown = TRUE;
        Pages -= Wanted < Pages ? Wanted : Pages;
    }
    KiReleasePushLockExclusive(&Paging->FileListLock);
    return Grown;
}

static VOID MiClearComplete(PORT_IO *Io)
{
    UNREFERENCED_PARAMETER(Io); /* performed, not started: the caller looks at the status */
}

NTSTATUS MiClearPagingFile(PMMPAGING_FILE File)
{
    PFN_NUMBER Frames[MI_WRITE_CLUSTER];
    PFN_NUMBER Zero = MiAllocatePage(MI_PAGE_ZEROED | MI_PAGE_MUST_SUCCEED);
    NTSTATUS Status = Zero != 0 ? STATUS_SUCCESS : STATUS_NO_MEMORY;

    for (ULONG Index = 0; Index < MI_WRITE_CLUSTER; Index++)
    {
        Frames[Index] = Zero;
    }
    for (SIZE_T Slot = 1; Slot <= File->HighestSlot && Zero != 0; Slot += MI_WRITE_CLUSTER)
    {
        SIZE_T Left = File->HighestSlot - Slot + 1;
        PORT_IO Io = { .Storage = File->Storage,
                       .Offset = (ULONG64)Slot << PAGE_SHIFT,
                       .Frames = Frames,
                       .Count = (ULONG)(Left < MI_WRITE_CLUSTER ? Left : MI_WRITE_CLUSTER),
                       .Write = TRUE,
                       .Completion = MiClearComplete };

        PortPerformIo(&Io); /* an error ends nothing: the other slots are cleared all the same */
        Status = NT_SUCCESS(Status) ? Io.Status : Status;
    }
    if (Zero != 0)
    {
        NTSTATUS Flushed = PortFlushStorage(File->Storage);

        Status = NT_SUCCESS(Status) ? Flushed : Status;
        MiFreePage(Zero);
    }
    return Status;
}

NTSTATUS MiInitializePaging(const MI_PAGING_PARAMETERS *Parameters)
{
    MI_PAGING_STATE *Paging = PortAllocateBootMemory(sizeof(*Paging));

    if (Paging == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    MiState.Paging = Paging;
    if (Parameters != NULL)
    {
        Paging->ClearAtShutdown = Parameters->ClearAtShutdown;
        Paging->Encrypt = Parameters->Encrypt;
    }
    Paging->InPageBlocks = PortAllocateBootMemory(MI_INPAGE_BLOCKS * sizeof(MMINPAGE_SUPPORT));
    Paging->WriteBlocks = PortAllocateBootMemory(MI_WRITES_IN_FLIGHT * sizeof(MI_WRITE_BLOCK));
    Paging->MappedWrites = PortAllocateBootMemory(MI_MAPPED_WRITES * sizeof(MI_MAPPED_WRITE));
    if (Paging->InPageBlocks == NULL || Paging->WriteBlocks == NULL || Paging->MappedWrites == NULL)
    {
        MiShutdownPaging();
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    for (ULONG Index = 0; Index < MI_INPAGE_BLOCKS; Index++)
    {
        Paging->InPageBlocks[Index].Next = Paging->InPageFree;
        Paging->InPageFree = &Paging->InPageBlocks[Index];
    }
    KeInitializeEvent(&Paging->InPageFreed, NotificationEvent, FALSE);
    KeInitializeEvent(&Paging->WriteDone, SynchronizationEvent, FALSE);
    MiState.Physical->Operations.ExtendCommitLimit = MiExtendPagingFiles;
    MiState.Section->CleanPages = MiCleanControlArea;
    return STATUS_SUCCESS;
}

VOID MiShutdownPaging(void)
{
    MI_PAGING_STATE *Paging = MiState.Paging;

    if (Paging == NULL)
    {
        return;
    }
    MiState.Physical->Operations.ExtendCommitLimit = NULL;
    MiState.Section->CleanPages = NULL;
    for (ULONG Index = 0; Index < Paging->FileCount; Index++)
    {
        PMMPAGING_FILE File = Paging->Files[Index];

        KiRequire(File->FreeSpace == File->Size - 1 || MiQueryCounter(MiCounterPageTablesLost) != 0 ||
                  MiQueryCounter(MiCounterPrototypePagesLost) != 0);
        if (Paging->ClearAtShutdown)
        {
            NTSTATUS Status = MiClearPagingFile(File);

            if (!NT_SUCCESS(Status))
            {
                DbgPrint("paging file %u could not be cleared: status %08x\n", Index, (ULONG)Status);
            }
        }
        MiAdjustCommitLimit(-(LONG64)(File->Size - 1), -(LONG64)(File->MaximumSize - 1));
        MiFreePagingFile(File);
    }
    if (Paging->WriteBlocks != NULL)
    {
        PortFreeBootMemory(Paging->WriteBlocks, MI_WRITES_IN_FLIGHT * sizeof(MI_WRITE_BLOCK));
    }
    if (Paging->MappedWrites != NULL)
    {
        PortFreeBootMemory(Paging->MappedWrites, MI_MAPPED_WRITES * sizeof(MI_MAPPED_WRITE));
    }
    if (Paging->InPageBlocks != NULL)
    {
        PortFreeBootMemory(Paging->InPageBlocks, MI_INPAGE_BLOCKS * sizeof(MMINPAGE_SUPPORT));
    }
    PortFreeBootMemory(Paging, sizeof(*Paging));
    MiState.Paging = NULL;
}

VOID MiCheckPaging(ULONG Level)
{
    MI_PAGING_STATE *Paging = MiState.Paging;

    for (ULONG Index = 0; Index < Paging->FileCount && Level >= 2; Index++)
    {
        PMMPAGING_FILE File = Paging->Files[Index];
        ULONG64 Bad = RtlCheckBitMapSummary(&File->Bitmap);

        if (Bad != RTL_BITMAP_SUMMARY_NOT_FOUND || File->Bitmap.NumberOfClearBits != File->FreeSpace)
        {
            KiBugCheckMessage(MEMORY_MANAGEMENT, 0x3452, Index, Bad, File->FreeSpace,
                              "paging file %u: %llu clear bits, %llu slots free, bad group at %llx", Index,
                              File->Bitmap.NumberOfClearBits, (ULONG64)File->FreeSpace, Bad);
        }
    }
}
