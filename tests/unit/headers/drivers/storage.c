/* SPDX-License-Identifier: MIT */
/*
 * Driver source as it is usually written: a storage adapter. Registers behind a structure, a ring in contiguous memory, tags in a bitmap, requests from a
 * lookaside list with a scatter/gather list of an MDL's frames.
 */
#include <ntddk.h>

#define RING   64
#define ST_TAG 'rotS'
#pragma pack(push, 1)
typedef struct _SGL
{
    ULONG64 Address;
    ULONG Length;
    ULONG Flags;
} SGL, *PSGL;
#pragma pack(pop)
typedef struct _REGS
{
    ULONG Control;
    ULONG Status;
    ULONG Door[2];
    ULONG64 Base;
} REGS, *PREGS;
typedef union _CAPS
{
    _ANONYMOUS_STRUCT struct
    {
        ULONG Slots : 5;
        ULONG Ports : 5;
        ULONG : 22;
    };
    ULONG AsUlong;
} CAPS;

typedef struct _ADAPTER
{
    PREGS Regs;
    PHYSICAL_ADDRESS RegsPa;
    SIZE_T RegsLength;
    PVOID Ring;
    PHYSICAL_ADDRESS RingPa;
    RTL_BITMAP Tags;
    ULONG TagBits[RING / 32];
    KSPIN_LOCK Lock;
    KEVENT Idle;
    LONG Outstanding;
    LOOKASIDE_LIST_EX Requests;
    LIST_ENTRY Queue;
    SINGLE_LIST_ENTRY Stack;
    PMDL RingMdl;
    LARGE_INTEGER Frequency;
} ADAPTER, *PADAPTER;
typedef struct _REQUEST
{
    LIST_ENTRY Link;
    PMDL Mdl;
    ULONG Tag;
    ULONG Count;
    SGL Sgl[ANYSIZE_ARRAY];
} REQUEST, *PREQUEST;
#define REQUEST_SIZE(n) (FIELD_OFFSET(REQUEST, Sgl) + (n) * sizeof(SGL))

NTSTATUS AdapterSubmit(PADAPTER A, PVOID Buffer, ULONG Length);
NTSTATUS AdapterStart(PADAPTER A, PHYSICAL_ADDRESS RegsPa, ULONG Length);
VOID AdapterStop(PADAPTER A);

_IRQL_requires_same_ _IRQL_requires_max_(DISPATCH_LEVEL) static ULONG TakeTag(_Inout_ PADAPTER A)
{
    KIRQL irql;
    ULONG tag;
    KeAcquireSpinLock(&A->Lock, &irql);
    tag = RtlFindClearBitsAndSet(&A->Tags, 1, 0);
    if (tag != 0xFFFFFFFF && InterlockedIncrement(&A->Outstanding) == 1)
        KeClearEvent(&A->Idle);
    KeReleaseSpinLock(&A->Lock, irql);
    return tag;
}
static VOID GiveTag(PADAPTER A, ULONG tag)
{
    KIRQL irql = KeAcquireSpinLockRaiseToDpc(&A->Lock);
    RtlClearBits(&A->Tags, tag, 1);
    if (InterlockedDecrement(&A->Outstanding) == 0)
        KeSetEvent(&A->Idle, IO_NO_INCREMENT, FALSE);
    KeReleaseSpinLock(&A->Lock, irql);
}
static ULONG BuildSgl(PMDL Mdl, PSGL Sgl, ULONG Max)
{
    PPFN_NUMBER pfn = MmGetMdlPfnArray(Mdl);
    ULONG left = MmGetMdlByteCount(Mdl), offset = MmGetMdlByteOffset(Mdl), n = 0;
    while (left != 0 && n < Max)
    {
        ULONG part = min(left, PAGE_SIZE - offset);
        ULONG64 pa = ((ULONG64)*pfn++ << PAGE_SHIFT) + offset;
        if (n != 0 && Sgl[n - 1].Address + Sgl[n - 1].Length == pa)
            Sgl[n - 1].Length += part;
        else
        {
            Sgl[n].Address = pa;
            Sgl[n].Length = part;
            Sgl[n].Flags = 0;
            n++;
        }
        left -= part;
        offset = 0;
    }
    return left == 0 ? n : 0;
}
NTSTATUS AdapterSubmit(PADAPTER A, PVOID Buffer, ULONG Length)
{
    PREQUEST r;
    NTSTATUS status = STATUS_SUCCESS;
    ULONG tag;
    LARGE_INTEGER start, end;
    r = (PREQUEST)ExAllocateFromLookasideListEx(&A->Requests);
    if (r == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;
    r->Mdl = IoAllocateMdl(Buffer, Length, FALSE, FALSE, NULL);
    if (!r->Mdl)
    {
        ExFreeToLookasideListEx(&A->Requests, r);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    MmBuildMdlForNonPagedPool(r->Mdl);
    tag = TakeTag(A);
    if (tag == MAXULONG)
    {
        status = STATUS_DEVICE_BUSY;
        goto out;
    }
    r->Tag = tag;
    r->Count = BuildSgl(r->Mdl, r->Sgl, 8);
    if (r->Count == 0)
    {
        status = STATUS_INVALID_BUFFER_SIZE;
        GiveTag(A, tag);
        goto out;
    }
    start = KeQueryPerformanceCounter(&A->Frequency);
    RtlCopyMemory((PUCHAR)A->Ring + tag * sizeof(SGL), &r->Sgl[0], sizeof(SGL));
    KeMemoryBarrier();
    if (A->Regs)
    {
        WRITE_REGISTER_ULONG(&A->Regs->Door[0], tag);
        (void)READ_REGISTER_ULONG(&A->Regs->Status);
    }
    KeStallExecutionProcessor(1);
    end = KeQueryPerformanceCounter(NULL);
    if (end.QuadPart < start.QuadPart)
        status = STATUS_UNSUCCESSFUL;
    ExInterlockedInsertTailList(&A->Queue, &r->Link, &A->Lock);
    if (ExInterlockedRemoveHeadList(&A->Queue, &A->Lock) != &r->Link)
        status = STATUS_INTERNAL_ERROR;
    GiveTag(A, tag);
out:
    IoFreeMdl(r->Mdl);
    ExFreeToLookasideListEx(&A->Requests, r);
    return status;
}
NTSTATUS AdapterStart(PADAPTER A, PHYSICAL_ADDRESS RegsPa, ULONG Length)
{
    PHYSICAL_ADDRESS low, high, boundary;
    NTSTATUS status;
    CAPS caps;
    RtlZeroMemory(A, sizeof(*A));
    low.QuadPart = 0;
    high.QuadPart = MAXULONG;
    boundary.QuadPart = 0x10000;
    KeInitializeSpinLock(&A->Lock);
    KeInitializeEvent(&A->Idle, NotificationEvent, TRUE);
    InitializeListHead(&A->Queue);
    A->Stack.Next = NULL;
    RtlInitializeBitMap(&A->Tags, A->TagBits, RING);
    RtlClearAllBits(&A->Tags);
    status =
        ExInitializeLookasideListEx(&A->Requests, NULL, NULL, NonPagedPoolNx,
                                    EX_LOOKASIDE_LIST_EX_FLAGS_FAIL_NO_RAISE, REQUEST_SIZE(8), ST_TAG, 0);
    if (!NT_SUCCESS(status))
        return status;
    A->Ring = MmAllocateContiguousMemorySpecifyCache(RING * sizeof(SGL), low, high, boundary, MmCached);
    if (A->Ring == NULL)
    {
        ExDeleteLookasideListEx(&A->Requests);
        return STATUS_NO_MEMORY;
    }
    A->RingPa = MmGetPhysicalAddress(A->Ring);
    NT_ASSERTMSG("ring below 4 GiB", A->RingPa.HighPart == 0);
    if (Length)
    {
        A->Regs = (PREGS)MmMapIoSpaceEx(RegsPa, Length, PAGE_READWRITE | PAGE_NOCACHE);
        A->RegsLength = Length;
        if (A->Regs)
        {
            caps.AsUlong = READ_REGISTER_ULONG((PULONG)A->Regs);
            DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL, "slots %u ports %u at %p (%I64x)\n",
                       caps.Slots, caps.Ports, A->Regs, RegsPa.QuadPart);
        }
    }
    return STATUS_SUCCESS;
}
VOID AdapterStop(PADAPTER A)
{
    LARGE_INTEGER zero;
    NTSTATUS s;
    zero.QuadPart = 0;
    s = KeWaitForSingleObject(&A->Idle, Executive, KernelMode, FALSE, &zero);
    if (s != STATUS_SUCCESS)
        KeBugCheckEx(MANUALLY_INITIATED_CRASH, (ULONG_PTR)A, 0, 0, 0);
    if (A->Regs)
        MmUnmapIoSpace(A->Regs, A->RegsLength);
    MmFreeContiguousMemorySpecifyCache(A->Ring, RING * sizeof(SGL), MmCached);
    ExDeleteLookasideListEx(&A->Requests);
}
