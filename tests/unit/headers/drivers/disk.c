/* SPDX-License-Identifier: MIT */
/*
 * Driver source as it is usually written: a disk in memory and a scatter/gather transfer engine. Buffers in every kind of pool, MDL chains
 * and partial MDLs, contiguous memory, reserved mappings, registry of blocks in a table, cleanup by __finally, SAL everywhere.
 */
#include <ntddk.h>
#include <ntstrsafe.h>

#define RD_TAG           'ksDR'
#define RD_SECTOR_SIZE   512
#define RD_SECTOR_SHIFT  9
#define RD_MAX_REQUESTS  64
#define RD_COPY_LIMIT    (64 * 1024)
#define RD_FLAG_REMOVED  0x00000001
#define RD_FLAG_READONLY 0x00000002

#define RD_BYTES_TO_SECTORS(_x) (((_x) + RD_SECTOR_SIZE - 1) >> RD_SECTOR_SHIFT)

typedef enum _RD_STATE
{
    RdStateStopped = 0,
    RdStateStarted,
    RdStateRemoved
} RD_STATE,
    *PRD_STATE;

typedef struct _RD_REQUEST
{
    LIST_ENTRY ListEntry;
    PMDL Mdl;
    LARGE_INTEGER Offset;
    ULONG Length;
    BOOLEAN Write;
    KEVENT Done;
    NTSTATUS Status;
} RD_REQUEST, *PRD_REQUEST;

typedef struct _RD_DISK
{
    ULONG Signature;
    RD_STATE State;
    volatile LONG Flags;
    volatile LONG64 BytesRead;
    volatile LONG64 BytesWritten;
    volatile LONG Outstanding;
    SIZE_T Size;
    PUCHAR Memory;
    PHYSICAL_ADDRESS RingPhysical;
    PVOID Ring;
    PVOID Reserved;
    KSPIN_LOCK QueueLock;
    LIST_ENTRY Queue;
    SINGLE_LIST_ENTRY Spare;
    SLIST_HEADER FreeRequests;
    KSEMAPHORE Work;
    KEVENT Stop;
    PKTHREAD Thread;
    ERESOURCE Geometry;
    EX_RUNDOWN_REF Rundown;
    UNICODE_STRING Name;
    WCHAR NameBuffer[64];
    RTL_AVL_TABLE Blocks;
    FAST_MUTEX BlocksLock;
    RTL_BITMAP Map;
    PULONG MapBits;
    NPAGED_LOOKASIDE_LIST RequestList;
} RD_DISK, *PRD_DISK;

typedef struct _RD_BLOCK
{
    ULONGLONG Number;
    PVOID Data;
} RD_BLOCK, *PRD_BLOCK;

_Function_class_(KSTART_ROUTINE) static KSTART_ROUTINE RdThread;
static RTL_AVL_COMPARE_ROUTINE RdCompare;
static RTL_AVL_ALLOCATE_ROUTINE RdAllocate;
static RTL_AVL_FREE_ROUTINE RdFree;

NTSTATUS RdCreateDisk(_In_ PCUNICODE_STRING Name, _In_ SIZE_T Size, _Outptr_ PRD_DISK *Disk);
VOID RdDeleteDisk(_In_ _Post_invalid_ PRD_DISK Disk);
NTSTATUS RdTransfer(_Inout_ PRD_DISK Disk, _In_ PMDL Mdl, _In_ LARGE_INTEGER Offset, _In_ ULONG Length,
                    _In_ BOOLEAN Write);
NTSTATUS RdTransferUser(_Inout_ PRD_DISK Disk, _In_reads_bytes_(Length) PVOID Buffer, _In_ ULONG Length,
                        _In_ KPROCESSOR_MODE Mode);
NTSTATUS RdRemember(_Inout_ PRD_DISK Disk, _In_ ULONGLONG Number);

#ifdef ALLOC_PRAGMA
#pragma alloc_text(PAGE, RdCreateDisk)
#pragma alloc_text(PAGE, RdDeleteDisk)
#endif

_Use_decl_annotations_ static RTL_GENERIC_COMPARE_RESULTS NTAPI RdCompare(PRTL_AVL_TABLE Table, PVOID First,
                                                                          PVOID Second)
{
    PRD_BLOCK A = (PRD_BLOCK)First;
    PRD_BLOCK B = (PRD_BLOCK)Second;

    UNREFERENCED_PARAMETER(Table);
    return A->Number < B->Number   ? GenericLessThan
           : A->Number > B->Number ? GenericGreaterThan
                                   : GenericEqual;
}

_Use_decl_annotations_ static PVOID NTAPI RdAllocate(PRTL_AVL_TABLE Table, CLONG ByteSize)
{
    UNREFERENCED_PARAMETER(Table);
    return ExAllocatePoolZero(NonPagedPoolNx, ByteSize, RD_TAG);
}

_Use_decl_annotations_ static VOID NTAPI RdFree(PRTL_AVL_TABLE Table, PVOID Buffer)
{
    UNREFERENCED_PARAMETER(Table);
    ExFreePoolWithTag(Buffer, RD_TAG);
}

static FORCEINLINE VOID RdCount(_Inout_ PRD_DISK Disk, _In_ BOOLEAN Write, _In_ ULONG Length)
{
    InterlockedAdd64(Write ? &Disk->BytesWritten : &Disk->BytesRead, Length);
    InterlockedExchangeAdd(&Disk->Outstanding, -1);
}

_IRQL_requires_max_(DISPATCH_LEVEL) static NTSTATUS
    RdCopyMdl(_Inout_ PRD_DISK Disk, _In_ PMDL Mdl, _In_ ULONG Skip, _In_ ULONG Length,
              _Inout_updates_bytes_(Length) PUCHAR Memory, _In_ BOOLEAN Write)
{
    PMDL Current;
    ULONG Done = 0;

    UNREFERENCED_PARAMETER(Disk);
    NT_ASSERT(Disk->Signature == RD_TAG);
    for (Current = Mdl; Current != NULL && Done < Length; Current = Current->Next)
    {
        ULONG Bytes = MmGetMdlByteCount(Current);
        PUCHAR Address =
            (PUCHAR)MmGetSystemAddressForMdlSafe(Current, NormalPagePriority | MdlMappingNoExecute);

        if (Address == NULL)
        {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        if (Skip >= Bytes)
        {
            Skip -= Bytes;
            continue;
        }
        Bytes = min(Bytes - Skip, Length - Done);
        if (Write)
        {
            RtlCopyMemory(Memory + Done, Address + Skip, Bytes);
        }
        else
        {
            RtlMoveMemory(Address + Skip, Memory + Done, Bytes);
        }
        Done += Bytes;
        Skip = 0;
    }
    return Done == Length ? STATUS_SUCCESS : STATUS_INVALID_BUFFER_SIZE;
}

_Use_decl_annotations_ static VOID NTAPI RdThread(PVOID Context)
{
    PRD_DISK Disk = (PRD_DISK)Context;
    PVOID Objects[2];
    NTSTATUS Status;

    Objects[0] = &Disk->Stop;
    Objects[1] = &Disk->Work;
    for (;;)
    {
        PRD_REQUEST Request;
        PLIST_ENTRY Entry;

        Status = KeWaitForMultipleObjects(RTL_NUMBER_OF(Objects), Objects, WaitAny, Executive, KernelMode,
                                          FALSE, NULL, NULL);
        if (Status == STATUS_WAIT_0)
        {
            break;
        }
        while ((Entry = ExInterlockedRemoveHeadList(&Disk->Queue, &Disk->QueueLock)) != NULL)
        {
            Request = CONTAINING_RECORD(Entry, RD_REQUEST, ListEntry);
            Request->Status = RdCopyMdl(Disk, Request->Mdl, 0, Request->Length,
                                        Disk->Memory + Request->Offset.QuadPart, Request->Write);
            RdCount(Disk, Request->Write, Request->Length);
            KeSetEvent(&Request->Done, IO_NO_INCREMENT, FALSE);
        }
    }
    PsTerminateSystemThread(STATUS_SUCCESS);
}

_Use_decl_annotations_ NTSTATUS RdCreateDisk(PCUNICODE_STRING Name, SIZE_T Size, PRD_DISK *Disk)
{
    PRD_DISK New = NULL;
    NTSTATUS Status = STATUS_SUCCESS;
    HANDLE ThreadHandle = NULL;
    PHYSICAL_ADDRESS Lowest, Highest, Boundary;
    LARGE_INTEGER Timeout;

    PAGED_CODE();
    *Disk = NULL;
    if (!ARGUMENT_PRESENT(Name) || Size == 0 || (Size & (RD_SECTOR_SIZE - 1)) != 0)
    {
        return STATUS_INVALID_PARAMETER;
    }
    New = (PRD_DISK)ExAllocatePool2(POOL_FLAG_NON_PAGED | POOL_FLAG_CACHE_ALIGNED, sizeof(RD_DISK), RD_TAG);
    if (!New)
    {
        return STATUS_NO_MEMORY;
    }
    New->Signature = RD_TAG;
    New->Size = Size;
    KeInitializeSpinLock(&New->QueueLock);
    InitializeListHead(&New->Queue);
    InitializeSListHead(&New->FreeRequests);
    KeInitializeSemaphore(&New->Work, 0, MAXLONG);
    KeInitializeEvent(&New->Stop, NotificationEvent, FALSE);
    ExInitializeRundownProtection(&New->Rundown);
    ExInitializeFastMutex(&New->BlocksLock);
    RtlInitEmptyUnicodeString(&New->Name, New->NameBuffer, sizeof(New->NameBuffer));
    RtlCopyUnicodeString(&New->Name, Name);
    Status = RtlUnicodeStringPrintf(&New->Name, L"%wZ-%u", Name, 1u);
    RtlInitializeGenericTableAvl(&New->Blocks, RdCompare, RdAllocate, RdFree, New);
    ExInitializeNPagedLookasideList(&New->RequestList, NULL, NULL, POOL_NX_ALLOCATION, sizeof(RD_REQUEST),
                                    RD_TAG, 0);
    ExInitializeResourceLite(&New->Geometry);
    New->Memory = (PUCHAR)ExAllocatePoolWithTag(PagedPool, Size, RD_TAG);
    New->MapBits = (PULONG)ExAllocatePoolQuotaZero(NonPagedPoolNx,
                                                   (Size >> RD_SECTOR_SHIFT) / 8 + sizeof(ULONG), RD_TAG);
    if (!NT_SUCCESS(Status) || New->Memory == NULL || New->MapBits == NULL)
    {
        Status = STATUS_INSUFFICIENT_RESOURCES;
        goto Cleanup;
    }
    RtlInitializeBitMap(&New->Map, New->MapBits, (ULONG)(Size >> RD_SECTOR_SHIFT));
    RtlClearAllBits(&New->Map);
    Lowest.QuadPart = 0;
    Highest.QuadPart = 0xFFFFFFFF;
    Boundary.QuadPart = 0;
    New->Ring = MmAllocateContiguousMemorySpecifyCache(PAGE_SIZE, Lowest, Highest, Boundary, MmCached);
    if (New->Ring == NULL)
    {
        Status = STATUS_INSUFFICIENT_RESOURCES;
        goto Cleanup;
    }
    New->RingPhysical = MmGetPhysicalAddress(New->Ring);
    RtlFillMemory(New->Ring, PAGE_SIZE, 0xff);
    New->Reserved = MmAllocateMappingAddress(RD_COPY_LIMIT, RD_TAG);
    Status = PsCreateSystemThread(&ThreadHandle, THREAD_ALL_ACCESS, NULL, NULL, NULL, RdThread, New);
    if (!NT_SUCCESS(Status))
    {
        KdPrint(("ramdisk: no thread, status 0x%08X\n", Status));
        goto Cleanup;
    }
    Status = ObReferenceObjectByHandle(ThreadHandle, THREAD_ALL_ACCESS, *PsThreadType, KernelMode,
                                       (PVOID *)&New->Thread, NULL);
    ZwClose(ThreadHandle);
    Timeout.QuadPart = -10 * 1000;
    KeDelayExecutionThread(KernelMode, FALSE, &Timeout);
    New->State = RdStateStarted;
    *Disk = New;

Cleanup:
    if (!NT_SUCCESS(Status))
    {
        RdDeleteDisk(New);
    }
    return Status;
}

_Use_decl_annotations_ VOID RdDeleteDisk(PRD_DISK Disk)
{
    PSLIST_ENTRY Entry;
    PVOID Block;

    PAGED_CODE();
    InterlockedOr(&Disk->Flags, RD_FLAG_REMOVED);
    ExWaitForRundownProtectionRelease(&Disk->Rundown);
    if (Disk->Thread != NULL)
    {
        KeSetEvent(&Disk->Stop, IO_NO_INCREMENT, FALSE);
        (VOID) KeWaitForSingleObject(Disk->Thread, Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(Disk->Thread);
    }
    while ((Entry = InterlockedPopEntrySList(&Disk->FreeRequests)) != NULL)
    {
        ExFreeToNPagedLookasideList(&Disk->RequestList, Entry);
    }
    while ((Block = RtlGetElementGenericTableAvl(&Disk->Blocks, 0)) != NULL)
    {
        RtlDeleteElementGenericTableAvl(&Disk->Blocks, Block);
    }
    if (Disk->Reserved != NULL)
    {
        MmFreeMappingAddress(Disk->Reserved, RD_TAG);
    }
    if (Disk->Ring != NULL)
    {
        MmFreeContiguousMemorySpecifyCache(Disk->Ring, PAGE_SIZE, MmCached);
    }
    if (Disk->MapBits)
        ExFreePool(Disk->MapBits);
    if (Disk->Memory)
        ExFreePoolWithTag(Disk->Memory, RD_TAG);
    ExDeleteResourceLite(&Disk->Geometry);
    ExDeleteNPagedLookasideList(&Disk->RequestList);
    ExFreePoolWithTag(Disk, RD_TAG);
}

_Use_decl_annotations_ NTSTATUS RdTransfer(PRD_DISK Disk, PMDL Mdl, LARGE_INTEGER Offset, ULONG Length,
                                           BOOLEAN Write)
{
    PRD_REQUEST Request;
    NTSTATUS Status;
    KLOCK_QUEUE_HANDLE LockHandle;

    if (!ExAcquireRundownProtection(&Disk->Rundown))
    {
        return STATUS_DEVICE_REMOVED;
    }
    if (Offset.QuadPart < 0 || (ULONGLONG)Offset.QuadPart + Length > Disk->Size)
    {
        ExReleaseRundownProtection(&Disk->Rundown);
        return STATUS_INVALID_PARAMETER;
    }
    Request = (PRD_REQUEST)ExAllocateFromNPagedLookasideList(&Disk->RequestList);
    if (Request == NULL)
    {
        ExReleaseRundownProtection(&Disk->Rundown);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    RtlZeroMemory(Request, sizeof(*Request));
    Request->Mdl = Mdl;
    Request->Offset = Offset;
    Request->Length = Length;
    Request->Write = Write;
    KeInitializeEvent(&Request->Done, SynchronizationEvent, FALSE);
    KeAcquireInStackQueuedSpinLock(&Disk->QueueLock, &LockHandle);
    InsertTailList(&Disk->Queue, &Request->ListEntry);
    KeReleaseInStackQueuedSpinLock(&LockHandle);
    InterlockedIncrement(&Disk->Outstanding);
    KeReleaseSemaphore(&Disk->Work, IO_DISK_INCREMENT, 1, FALSE);
    KeWaitForSingleObject(&Request->Done, Executive, KernelMode, FALSE, NULL);
    Status = Request->Status;
    ExFreeToNPagedLookasideList(&Disk->RequestList, Request);
    ExReleaseRundownProtection(&Disk->Rundown);
    return Status;
}

/* In pieces of a partial MDL each, through a reserved mapping when there is one. */
static NTSTATUS RdTransferPieces(_Inout_ PRD_DISK Disk, _In_ PMDL Mdl, _In_ ULONG Length)
{
    PUCHAR Va = (PUCHAR)MmGetMdlVirtualAddress(Mdl);
    PMDL Partial = IoAllocateMdl(Va, RD_COPY_LIMIT, FALSE, FALSE, NULL);
    NTSTATUS Status = STATUS_SUCCESS;
    LARGE_INTEGER Offset;
    ULONG Done;

    if (Partial == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Offset.QuadPart = 0;
    for (Done = 0; Done < Length && NT_SUCCESS(Status); Done += RD_COPY_LIMIT / 2)
    {
        ULONG Piece = min(RD_COPY_LIMIT / 2, Length - Done);

        IoBuildPartialMdl(Mdl, Partial, Va + Done, Piece);
        Offset.LowPart = Done;
        Status = RdTransfer(Disk, Partial, Offset, Piece, TRUE);
        MmPrepareMdlForReuse(Partial);
    }
    IoFreeMdl(Partial);
    return Status;
}

_Use_decl_annotations_ NTSTATUS RdTransferUser(PRD_DISK Disk, PVOID Buffer, ULONG Length,
                                               KPROCESSOR_MODE Mode)
{
    PMDL Mdl;
    NTSTATUS Status = STATUS_SUCCESS;

    Mdl = IoAllocateMdl(Buffer, Length, FALSE, TRUE, NULL);
    if (!Mdl)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
#if !defined(__cplusplus)
    __try
    {
        ProbeForRead(Buffer, Length, sizeof(UCHAR));
        MmProbeAndLockPages(Mdl, Mode, IoReadAccess);
    }
    __except (EXCEPTION_EXECUTE_HANDLER)
    {
        Status = GetExceptionCode();
        IoFreeMdl(Mdl);
        return Status;
    }
#else
    UNREFERENCED_PARAMETER(Mode);
    MmBuildMdlForNonPagedPool(Mdl);
#endif
    Status = RdTransferPieces(Disk, Mdl, Length);
    MmUnlockPages(Mdl);
    IoFreeMdl(Mdl);
    return Status;
}

NTSTATUS RdRemember(_Inout_ PRD_DISK Disk, _In_ ULONGLONG Number)
{
    RD_BLOCK Block;
    PRD_BLOCK Found;
    BOOLEAN Inserted = FALSE;
    ULONG Bit;

    RtlZeroMemory(&Block, sizeof(Block));
    Block.Number = Number;
    ExAcquireFastMutex(&Disk->BlocksLock);
    Found = (PRD_BLOCK)RtlInsertElementGenericTableAvl(&Disk->Blocks, &Block, sizeof(Block), &Inserted);
    ExReleaseFastMutex(&Disk->BlocksLock);
    if (Found == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    KeEnterCriticalRegion();
    ExAcquireResourceExclusiveLite(&Disk->Geometry, TRUE);
    Bit = RtlFindClearBitsAndSet(&Disk->Map, 1, 0);
    ExReleaseResourceLite(&Disk->Geometry);
    KeLeaveCriticalRegion();
    if (Bit == 0xFFFFFFFF)
    {
        return STATUS_DISK_FULL;
    }
    DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_INFO_LEVEL, "ramdisk: block %I64u at bit %lu (%s)\n", Number, Bit,
               Inserted ? "new" : "known");
    return Inserted ? STATUS_SUCCESS : STATUS_OBJECT_NAME_COLLISION;
}
