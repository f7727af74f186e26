/* SPDX-License-Identifier: MIT */
/* Another: lookaside lists of both kinds, old and new pool functions, MDLs, I/O space, strings, and a bug check where nothing else is left. */
#include <ntifs.h>

#include <ntstrsafe.h>

#define CACHE_TAG 'hcaC'

typedef struct _ENTRY
{
    LIST_ENTRY Links;
    SLIST_ENTRY Free;
    UNICODE_STRING Name;
    ULONG64 Key;
} ENTRY, *PENTRY;

typedef struct _CACHE
{
    LOOKASIDE_LIST_EX Entries;
    PAGED_LOOKASIDE_LIST Names;
    LIST_ENTRY Head;
    KSPIN_LOCK Lock;
    PMDL Mdl;
    PVOID Registers;
} CACHE, *PCACHE;

NTSTATUS CacheCreate(PCACHE *Result);
VOID CacheDelete(PCACHE Cache);
NTSTATUS CacheInsert(PCACHE Cache, PCUNICODE_STRING Name, ULONG64 Key);
PENTRY CacheFind(PCACHE Cache, ULONG64 Key);
NTSTATUS CacheMapBuffer(PCACHE Cache, PVOID Buffer, ULONG Length, PVOID *Address);

NTSTATUS CacheCreate(PCACHE *Result)
{
    PCACHE Cache = (PCACHE)ExAllocatePoolZero(NonPagedPoolNx, sizeof(CACHE), CACHE_TAG);
    PHYSICAL_ADDRESS Registers;
    NTSTATUS Status;

    PAGED_CODE();
    *Result = NULL;
    if (Cache == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Status = ExInitializeLookasideListEx(&Cache->Entries, NULL, NULL, NonPagedPoolNx, 0, sizeof(ENTRY),
                                         CACHE_TAG, 0);
    if (!NT_SUCCESS(Status))
    {
        ExFreePoolWithTag(Cache, CACHE_TAG);
        return Status;
    }
    ExInitializePagedLookasideList(&Cache->Names, NULL, NULL, 0, 64 * sizeof(WCHAR), CACHE_TAG, 0);
    InitializeListHead(&Cache->Head);
    KeInitializeSpinLock(&Cache->Lock);
    Registers.QuadPart = 0xFEB00000;
    Cache->Registers = MmMapIoSpace(Registers, PAGE_SIZE, MmNonCached);
    if (Cache->Registers != NULL)
    {
        WRITE_REGISTER_ULONG((PULONG)Cache->Registers, READ_REGISTER_ULONG((PULONG)Cache->Registers) | 1u);
    }
    *Result = Cache;
    return STATUS_SUCCESS;
}

NTSTATUS CacheInsert(PCACHE Cache, PCUNICODE_STRING Name, ULONG64 Key)
{
    PENTRY Entry = (PENTRY)ExAllocateFromLookasideListEx(&Cache->Entries);
    CHAR Text[32];
    SIZE_T Length;
    KIRQL OldIrql;

    if (Entry == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    RtlZeroMemory(Entry, sizeof(*Entry));
    Entry->Key = Key;
    Entry->Name.MaximumLength = 64 * sizeof(WCHAR);
    Entry->Name.Buffer = (PWCH)ExAllocateFromPagedLookasideList(&Cache->Names);
    if (Entry->Name.Buffer == NULL)
    {
        ExFreeToLookasideListEx(&Cache->Entries, Entry);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    RtlCopyUnicodeString(&Entry->Name, Name);
    if (!NT_SUCCESS(RtlStringCbCopyA(Text, sizeof(Text), "entry")) ||
        !NT_SUCCESS(RtlStringCbLengthA(Text, sizeof(Text), &Length)))
    {
        KeBugCheckEx(MEMORY_MANAGEMENT, 1, 2, 3, 4);
    }
    KeAcquireSpinLock(&Cache->Lock, &OldIrql);
    InsertHeadList(&Cache->Head, &Entry->Links);
    KeReleaseSpinLock(&Cache->Lock, OldIrql);
    return STATUS_SUCCESS;
}

PENTRY CacheFind(PCACHE Cache, ULONG64 Key)
{
    KLOCK_QUEUE_HANDLE Handle;
    PENTRY Found = NULL;
    PLIST_ENTRY Link;

    KeAcquireInStackQueuedSpinLock(&Cache->Lock, &Handle);
    for (Link = Cache->Head.Flink; Link != &Cache->Head && Found == NULL; Link = Link->Flink)
    {
        PENTRY Entry = CONTAINING_RECORD(Link, ENTRY, Links);

        Found = Entry->Key == Key ? Entry : NULL;
    }
    KeReleaseInStackQueuedSpinLock(&Handle);
    return Found;
}

NTSTATUS CacheMapBuffer(PCACHE Cache, PVOID Buffer, ULONG Length, PVOID *Address)
{
    NTSTATUS Status = STATUS_SUCCESS;

    Cache->Mdl = IoAllocateMdl(Buffer, Length, FALSE, FALSE, NULL);
    if (Cache->Mdl == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
#if !defined(__cplusplus)
    __try
    {
        ProbeForRead(Buffer, Length, sizeof(UCHAR));
        MmProbeAndLockPages(Cache->Mdl, UserMode, IoReadAccess);
    }
    __except (GetExceptionCode() == STATUS_ACCESS_VIOLATION ? EXCEPTION_EXECUTE_HANDLER
                                                            : EXCEPTION_CONTINUE_SEARCH)
    {
        IoFreeMdl(Cache->Mdl);
        return GetExceptionCode();
    }
#endif
    *Address = MmGetSystemAddressForMdlSafe(Cache->Mdl, NormalPagePriority | MdlMappingNoExecute);
    if (*Address == NULL)
    {
        MmUnlockPages(Cache->Mdl);
        IoFreeMdl(Cache->Mdl);
        Status = STATUS_INSUFFICIENT_RESOURCES;
    }
    return Status;
}

VOID CacheDelete(PCACHE Cache)
{
    while (!IsListEmpty(&Cache->Head))
    {
        PENTRY Entry = CONTAINING_RECORD(RemoveHeadList(&Cache->Head), ENTRY, Links);

        ExFreeToPagedLookasideList(&Cache->Names, Entry->Name.Buffer);
        ExFreeToLookasideListEx(&Cache->Entries, Entry);
    }
    if (Cache->Registers != NULL)
    {
        MmUnmapIoSpace(Cache->Registers, PAGE_SIZE);
    }
    ExDeletePagedLookasideList(&Cache->Names);
    ExDeleteLookasideListEx(&Cache->Entries);
    ExFreePoolWithTag(Cache, CACHE_TAG);
}
