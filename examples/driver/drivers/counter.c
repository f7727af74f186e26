/* SPDX-License-Identifier: MIT */
/*
 * A driver of ordinary habits, without an I/O manager around it: it allocates its state from nonpaged pool and its receipts from a
 * lookaside list, maps its device's registers and memory, takes a user buffer through an MDL inside __try, and gives everything back
 * when it is stopped, unless it was told to leak.
 */
#include "../counter.h"

/* Routines that run at PASSIVE_LEVEL only may be paged out. Other compilers: #pragma alloc_text(PAGE, ...) */
#if defined(__GNUC__) && !defined(_WIN32)
#define COUNTER_PAGED __attribute__((section("PAGE")))
#else
#define COUNTER_PAGED
#endif

typedef struct _COUNTER_RECEIPT
{
    LIST_ENTRY Links;
    ULONG Length;
    ULONG64 Sum;
} COUNTER_RECEIPT, *PCOUNTER_RECEIPT;

typedef struct _COUNTER_EXTENSION
{
    PUCHAR Registers;
    PUCHAR Window;
    BOOLEAN Leaky;
    FAST_MUTEX DeviceLock; /* one request at a time */
    KSPIN_LOCK Lock;       /* receipts and statistics */
    LIST_ENTRY Receipts;
    NPAGED_LOOKASIDE_LIST ReceiptList;
    COUNTER_STATISTICS Statistics;
} COUNTER_EXTENSION, *PCOUNTER_EXTENSION;

static PCOUNTER_EXTENSION Extension;

/* The list's memory is allocated here and not by the kernel, so that Driver Verifier knows it as the driver's. */
static PVOID NTAPI CounterAllocateReceipt(POOL_TYPE PoolType, SIZE_T NumberOfBytes, ULONG Tag)
{
    PCOUNTER_RECEIPT Receipt = (PCOUNTER_RECEIPT)ExAllocatePoolWithTag(PoolType, NumberOfBytes, Tag);

    if (Receipt != NULL)
    {
        InitializeListHead(&Receipt->Links);
    }
    return Receipt;
}

static volatile ULONG *CounterRegister(ULONG Offset)
{
    return (volatile ULONG *)(PVOID)(Extension->Registers + Offset);
}

static VOID CounterUnmapDevice(VOID)
{
    if (Extension->Registers != NULL)
    {
        MmUnmapIoSpace(Extension->Registers, PAGE_SIZE);
    }
    if (Extension->Window != NULL)
    {
        MmUnmapIoSpace(Extension->Window, COUNTER_WINDOW_BYTES);
    }
}

static NTSTATUS CounterMapDevice(VOID)
{
    PHYSICAL_ADDRESS Address;

    Address.QuadPart = (LONGLONG)COUNTER_REGISTERS_AT;
    Extension->Registers = (PUCHAR)MmMapIoSpaceEx(Address, PAGE_SIZE, PAGE_READWRITE | PAGE_NOCACHE);
    Address.QuadPart = (LONGLONG)COUNTER_WINDOW_AT;
    Extension->Window =
        (PUCHAR)MmMapIoSpaceEx(Address, COUNTER_WINDOW_BYTES, PAGE_READWRITE | PAGE_WRITECOMBINE);
    if (Extension->Registers == NULL || Extension->Window == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    if (READ_REGISTER_ULONG(CounterRegister(COUNTER_REGISTER_IDENTITY)) != COUNTER_IDENTITY)
    {
        return STATUS_NO_SUCH_DEVICE;
    }
    return STATUS_SUCCESS;
}

COUNTER_PAGED NTSTATUS CounterStart(BOOLEAN Leaky)
{
    NTSTATUS Status;

    PAGED_CODE();
    Extension =
        (PCOUNTER_EXTENSION)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Extension), COUNTER_TAG_STATE);
    if (Extension == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Extension->Leaky = Leaky;
    ExInitializeFastMutex(&Extension->DeviceLock);
    KeInitializeSpinLock(&Extension->Lock);
    InitializeListHead(&Extension->Receipts);
    ExInitializeNPagedLookasideList(&Extension->ReceiptList, CounterAllocateReceipt, NULL, POOL_NX_ALLOCATION,
                                    sizeof(COUNTER_RECEIPT), COUNTER_TAG_RECEIPT, 0);
    Status = CounterMapDevice();
    if (!NT_SUCCESS(Status))
    {
        CounterStop();
    }
    return Status;
}

COUNTER_PAGED VOID CounterStop(VOID)
{
    PAGED_CODE();
    /* The leaking variant ends its loop one receipt too early. */
    while (!IsListEmpty(&Extension->Receipts) &&
           !(Extension->Leaky && Extension->Receipts.Flink == Extension->Receipts.Blink))
    {
        PLIST_ENTRY Entry = RemoveHeadList(&Extension->Receipts);

        ExFreeToNPagedLookasideList(&Extension->ReceiptList,
                                    CONTAINING_RECORD(Entry, COUNTER_RECEIPT, Links));
    }
    ExDeleteNPagedLookasideList(&Extension->ReceiptList);
    CounterUnmapDevice();
    ExFreePoolWithTag(Extension, COUNTER_TAG_STATE);
    Extension = NULL;
}

/* The buffer goes through the device's window, a piece at a time. */
static ULONG64 CounterSum(const UCHAR *Data, ULONG Length)
{
    ULONG64 Sum = 0;

    ExAcquireFastMutex(&Extension->DeviceLock);
    while (Length != 0)
    {
        ULONG Part = Length < COUNTER_WINDOW_BYTES ? Length : (ULONG)COUNTER_WINDOW_BYTES;

        RtlCopyMemory(Extension->Window, Data, Part);
        WRITE_REGISTER_ULONG(CounterRegister(COUNTER_REGISTER_LENGTH), Part);
        WRITE_REGISTER_ULONG(CounterRegister(COUNTER_REGISTER_GO), 1);
        Sum += READ_REGISTER_ULONG(CounterRegister(COUNTER_REGISTER_SUM)) |
               (ULONG64)READ_REGISTER_ULONG(CounterRegister(COUNTER_REGISTER_SUM_HIGH)) << 32;
        Data += Part;
        Length -= Part;
    }
    ExReleaseFastMutex(&Extension->DeviceLock);
    return Sum;
}

static VOID CounterKeepReceipt(PCOUNTER_RECEIPT Receipt, ULONG Length, ULONG64 Sum)
{
    KIRQL OldIrql;

    Receipt->Length = Length;
    Receipt->Sum = Sum;
    KeAcquireSpinLock(&Extension->Lock, &OldIrql);
    InsertTailList(&Extension->Receipts, &Receipt->Links);
    Extension->Statistics.Requests++;
    Extension->Statistics.Bytes += Length;
    KeReleaseSpinLock(&Extension->Lock, OldIrql);
}

/* Locked and mapped, the user's pages are an ordinary system buffer. */
static NTSTATUS CounterSumUserBuffer(PVOID Buffer, ULONG Length, PULONG64 Sum)
{
    PMDL Mdl = IoAllocateMdl(Buffer, Length, FALSE, FALSE, NULL);
    NTSTATUS Status = STATUS_SUCCESS;
    PVOID Address;

    if (Mdl == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    __try
    {
        MmProbeAndLockPages(Mdl, ExGetPreviousMode(), IoReadAccess);
    }
    __except (EXCEPTION_EXECUTE_HANDLER)
    {
        Status = GetExceptionCode();
        IoFreeMdl(Mdl);
        return Status;
    }
    Address = MmGetSystemAddressForMdlSafe(Mdl, NormalPagePriority | MdlMappingNoExecute);
    if (Address == NULL)
    {
        Status = STATUS_INSUFFICIENT_RESOURCES;
    }
    else
    {
        *Sum = CounterSum((const UCHAR *)Address, Length);
    }
    MmUnlockPages(Mdl);
    IoFreeMdl(Mdl);
    return Status;
}

/* The captured request is carried out; the result goes to the caller's memory, which may be gone by now. */
static NTSTATUS CounterServe(const COUNTER_REQUEST *Request, PCOUNTER_REQUEST Caller)
{
    PCOUNTER_RECEIPT Receipt = (PCOUNTER_RECEIPT)ExAllocateFromNPagedLookasideList(&Extension->ReceiptList);
    ULONG64 Sum = 0;
    NTSTATUS Status;

    if (Receipt == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Status = CounterSumUserBuffer(Request->Buffer, Request->Length, &Sum);
    if (!NT_SUCCESS(Status))
    {
        InterlockedIncrement((volatile LONG *)&Extension->Statistics.Failed);
        ExFreeToNPagedLookasideList(&Extension->ReceiptList, Receipt);
        return Status;
    }
    CounterKeepReceipt(Receipt, Request->Length, Sum);
    __try
    {
        Caller->Sum = Sum;
    }
    __except (EXCEPTION_EXECUTE_HANDLER)
    {
        return GetExceptionCode();
    }
    return STATUS_SUCCESS;
}

COUNTER_PAGED NTSTATUS CounterControl(PCOUNTER_REQUEST Caller)
{
    COUNTER_REQUEST Request;

    PAGED_CODE();
    __try
    {
        ProbeForWrite(Caller, sizeof(*Caller), sizeof(ULONG64));
        Request = *Caller; /* captured: the program may change it meanwhile */
    }
    __except (EXCEPTION_EXECUTE_HANDLER)
    {
        return GetExceptionCode();
    }
    if (Request.Length == 0 || Request.Length % sizeof(ULONG) != 0)
    {
        return STATUS_INVALID_BUFFER_SIZE;
    }
    return CounterServe(&Request, Caller);
}

COUNTER_STATISTICS CounterQueryStatistics(VOID)
{
    return Extension->Statistics;
}
