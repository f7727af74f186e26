/* SPDX-License-Identifier: MIT */
/*
 * Driver source as it is usually written: the cache of names of a file system filter. A table under a resource, lookaside lists, a thread of its own that
 * waits for the end, rundown protection, strings of the registry path; return out of __try with a lock held.
 */
#include <ntifs.h>
#include <ntstrsafe.h>

#define FLT_TAG            'tliF'
#define NAME_LIMIT         260
#define FlagOn(_F, _SF)    ((_F) & (_SF))
#define SetFlag(_F, _SF)   ((_F) |= (_SF))
#define ClearFlag(_F, _SF) ((_F) &= ~(_SF))

typedef struct _NAME_ENTRY
{
    RTL_BALANCED_LINKS Links;
    LIST_ENTRY Lru;
    UNICODE_STRING Name;
    ULONG Hash;
    volatile LONG References;
    LARGE_INTEGER Stamp;
    ULONGLONG Hits;
} NAME_ENTRY, *PNAME_ENTRY;

typedef struct _GLOBALS
{
    RTL_AVL_TABLE Table;
    ERESOURCE Resource;
    EX_PUSH_LOCK PushLock;
    NPAGED_LOOKASIDE_LIST NodeList;
    PAGED_LOOKASIDE_LIST NameList;
    LIST_ENTRY LruHead;
    FAST_MUTEX LruMutex;
    EX_RUNDOWN_REF Rundown;
    KEVENT Stop;
    PETHREAD Reaper;
    BOOLEAN Inited;
    UNICODE_STRING RegistryPath;
    volatile LONG64 Lookups;
} GLOBALS, *PGLOBALS;

static GLOBALS Globals;

NTSTATUS NameInsert(_In_ PCUNICODE_STRING Name, _Outptr_ PNAME_ENTRY *Out);
PNAME_ENTRY NameLookup(PCUNICODE_STRING Name);
VOID NameRelease(PNAME_ENTRY Entry);
DRIVER_INITIALIZE DriverEntry;
DRIVER_UNLOAD FilterUnload;
KSTART_ROUTINE ReaperThread;
RTL_AVL_COMPARE_ROUTINE CompareNames;
RTL_AVL_ALLOCATE_ROUTINE AllocateNode;
RTL_AVL_FREE_ROUTINE FreeNode;

#ifdef ALLOC_PRAGMA
#pragma alloc_text(INIT, DriverEntry)
#pragma alloc_text(PAGE, FilterUnload)
#endif

_Function_class_(RTL_AVL_COMPARE_ROUTINE) RTL_GENERIC_COMPARE_RESULTS
    NTAPI CompareNames(_In_ struct _RTL_AVL_TABLE *Table, _In_ PVOID FirstStruct, _In_ PVOID SecondStruct)
{
    PNAME_ENTRY a = (PNAME_ENTRY)FirstStruct, b = (PNAME_ENTRY)SecondStruct;
    LONG r;
    UNREFERENCED_PARAMETER(Table);
    if (a->Hash != b->Hash)
        return a->Hash < b->Hash ? GenericLessThan : GenericGreaterThan;
    r = RtlCompareUnicodeString(&a->Name, &b->Name, TRUE);
    return r < 0 ? GenericLessThan : r > 0 ? GenericGreaterThan : GenericEqual;
}
PVOID NTAPI AllocateNode(_In_ struct _RTL_AVL_TABLE *Table, _In_ CLONG ByteSize)
{
    UNREFERENCED_PARAMETER(Table);
    UNREFERENCED_PARAMETER(ByteSize);
    return ExAllocateFromNPagedLookasideList(&Globals.NodeList);
}
VOID NTAPI FreeNode(_In_ struct _RTL_AVL_TABLE *Table, _In_ __drv_freesMem(Mem) _Post_invalid_ PVOID Buffer)
{
    UNREFERENCED_PARAMETER(Table);
    ExFreeToNPagedLookasideList(&Globals.NodeList, Buffer);
}

#if !defined(__cplusplus)
_IRQL_requires_max_(APC_LEVEL) _Must_inspect_result_ NTSTATUS
    NameInsert(_In_ PCUNICODE_STRING Name, _Outptr_ PNAME_ENTRY *Out)
{
    NAME_ENTRY key;
    PNAME_ENTRY entry;
    BOOLEAN inserted = FALSE;
    NTSTATUS status;
    PWCH volatile buffer; /* changed in the block, read in __finally: nt/seh.h */

    PAGED_CODE();
    *Out = NULL;
    if (Name->Length > NAME_LIMIT * sizeof(WCHAR))
        return STATUS_NAME_TOO_LONG;
    RtlZeroMemory(&key, sizeof(key));
    status = RtlHashUnicodeString(Name, TRUE, HASH_STRING_ALGORITHM_DEFAULT, &key.Hash);
    if (!NT_SUCCESS(status))
        return status;
    key.Name = *Name;
    buffer = (PWCH)ExAllocateFromPagedLookasideList(&Globals.NameList);
    if (buffer == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;

    KeEnterCriticalRegion();
    ExAcquireResourceExclusiveLite(&Globals.Resource, TRUE);
    __try
    {
        entry =
            (PNAME_ENTRY)RtlInsertElementGenericTableAvl(&Globals.Table, &key, sizeof(NAME_ENTRY), &inserted);
        if (entry == NULL)
        {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        if (!inserted)
        {
            InterlockedIncrement(&entry->References);
            entry->Hits++;
            *Out = entry;
            return STATUS_OBJECT_NAME_COLLISION;
        }
        entry->Name.Buffer = buffer;
        entry->Name.MaximumLength = NAME_LIMIT * sizeof(WCHAR);
        RtlCopyUnicodeString(&entry->Name, Name);
        buffer = NULL;
        entry->References = 1;
        KeQuerySystemTime(&entry->Stamp);
        ExAcquireFastMutex(&Globals.LruMutex);
        InsertHeadList(&Globals.LruHead, &entry->Lru);
        ExReleaseFastMutex(&Globals.LruMutex);
        *Out = entry;
    }
    __finally
    {
        ExReleaseResourceLite(&Globals.Resource);
        KeLeaveCriticalRegion();
        if (buffer != NULL)
            ExFreeToPagedLookasideList(&Globals.NameList, buffer);
    }
    return STATUS_SUCCESS;
}
#endif

PNAME_ENTRY NameLookup(PCUNICODE_STRING Name)
{
    NAME_ENTRY key;
    PNAME_ENTRY found;

    if (!ExAcquireRundownProtection(&Globals.Rundown))
        return NULL;
    InterlockedIncrement64(&Globals.Lookups);
    RtlZeroMemory(&key, sizeof(key));
    key.Name = *Name;
    if (!NT_SUCCESS(RtlHashUnicodeString(Name, TRUE, HASH_STRING_ALGORITHM_DEFAULT, &key.Hash)))
    {
        ExReleaseRundownProtection(&Globals.Rundown);
        return NULL;
    }
    FsRtlEnterFileSystem();
    (VOID) ExAcquireResourceSharedLite(&Globals.Resource, TRUE);
    found = (PNAME_ENTRY)RtlLookupElementGenericTableAvl(&Globals.Table, &key);
    if (found)
        InterlockedIncrement(&found->References);
    ExReleaseResourceLite(&Globals.Resource);
    FsRtlExitFileSystem();
    ExReleaseRundownProtection(&Globals.Rundown);
    return found;
}

VOID NameRelease(PNAME_ENTRY Entry)
{
    InterlockedDecrement(&Entry->References);
}

static VOID PurgeAll(VOID)
{
    PNAME_ENTRY entry;
    KeEnterCriticalRegion();
    ExAcquireResourceExclusiveLite(&Globals.Resource, TRUE);
    while ((entry = (PNAME_ENTRY)RtlGetElementGenericTableAvl(&Globals.Table, 0)) != NULL)
    {
        NAME_ENTRY copy = *entry;
        RemoveEntryList(&entry->Lru);
        RtlDeleteElementGenericTableAvl(&Globals.Table, entry);
        ExFreeToPagedLookasideList(&Globals.NameList, copy.Name.Buffer);
    }
    NT_ASSERT(RtlIsGenericTableEmptyAvl(&Globals.Table));
    ExReleaseResourceLite(&Globals.Resource);
    KeLeaveCriticalRegion();
}

_Use_decl_annotations_ VOID NTAPI ReaperThread(PVOID StartContext)
{
    LARGE_INTEGER timeout;
    NTSTATUS status;

    UNREFERENCED_PARAMETER(StartContext);
    KeSetPriorityThread(KeGetCurrentThread(), LOW_REALTIME_PRIORITY);
    timeout.QuadPart = -10LL * 1000 * 5;
    for (;;)
    {
        status = KeWaitForSingleObject(&Globals.Stop, Executive, KernelMode, FALSE, &timeout);
        if (status == STATUS_SUCCESS)
            break;
        ASSERT(status == STATUS_TIMEOUT);
        ExAcquireFastMutex(&Globals.LruMutex);
        if (!IsListEmpty(&Globals.LruHead))
        {
            PLIST_ENTRY link = Globals.LruHead.Blink;
            PNAME_ENTRY e = CONTAINING_RECORD(link, NAME_ENTRY, Lru);
            UNREFERENCED_PARAMETER(e);
            KdPrintEx((DPFLTR_IHVDRIVER_ID, DPFLTR_INFO_LEVEL, "oldest %wZ %I64u\n", &e->Name, e->Hits));
        }
        ExReleaseFastMutex(&Globals.LruMutex);
    }
    PsTerminateSystemThread(STATUS_SUCCESS);
}

_Use_decl_annotations_ VOID NTAPI FilterUnload(PDRIVER_OBJECT DriverObject)
{
    PAGED_CODE();
    UNREFERENCED_PARAMETER(DriverObject);
    if (!Globals.Inited)
        return;
    KeSetEvent(&Globals.Stop, IO_NO_INCREMENT, FALSE);
    if (Globals.Reaper)
    {
        KeWaitForSingleObject(Globals.Reaper, Executive, KernelMode, FALSE, NULL);
        ObDereferenceObject(Globals.Reaper);
    }
    ExWaitForRundownProtectionRelease(&Globals.Rundown);
    ExRundownCompleted(&Globals.Rundown);
    PurgeAll();
    ExDeleteResourceLite(&Globals.Resource);
    ExDeleteNPagedLookasideList(&Globals.NodeList);
    ExDeletePagedLookasideList(&Globals.NameList);
    if (Globals.RegistryPath.Buffer)
    {
        ExFreePoolWithTag(Globals.RegistryPath.Buffer, FLT_TAG);
        RtlInitUnicodeString(&Globals.RegistryPath, NULL);
    }
    Globals.Inited = FALSE;
}

_Use_decl_annotations_ NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    NTSTATUS status;
    HANDLE thread = NULL;
    OBJECT_ATTRIBUTES oa;
    UNICODE_STRING upper;
    ANSI_STRING ansi;
    DECLARE_CONST_UNICODE_STRING(prefix, L"\\REGISTRY");
    UNICODE_STRING suffix = RTL_CONSTANT_STRING(L"\\Parameters");
    PVOID trace[8];
    ULONG hash;

    ExInitializeDriverRuntime(DrvRtPoolNxOptIn);
    RtlZeroMemory(&Globals, sizeof Globals);
    RtlInitializeGenericTableAvl(&Globals.Table, CompareNames, AllocateNode, FreeNode, NULL);
    status = ExInitializeResourceLite(&Globals.Resource);
    if (!NT_SUCCESS(status))
        goto Exit;
    ExInitializeNPagedLookasideList(&Globals.NodeList, NULL, NULL, POOL_NX_ALLOCATION,
                                    sizeof(NAME_ENTRY) + sizeof(RTL_BALANCED_LINKS), FLT_TAG, 0);
    ExInitializePagedLookasideList(&Globals.NameList, NULL, NULL, 0, NAME_LIMIT * sizeof(WCHAR), FLT_TAG, 0);
    InitializeListHead(&Globals.LruHead);
    ExInitializeFastMutex(&Globals.LruMutex);
    ExInitializePushLock(&Globals.PushLock);
    ExInitializeRundownProtection(&Globals.Rundown);
    KeInitializeEvent(&Globals.Stop, NotificationEvent, FALSE);
    Globals.Inited = TRUE;

    Globals.RegistryPath.MaximumLength = (USHORT)(RegistryPath->Length + suffix.Length + sizeof(WCHAR));
    Globals.RegistryPath.Buffer =
        (PWCH)ExAllocatePoolWithTag(PagedPool, Globals.RegistryPath.MaximumLength, FLT_TAG);
    if (Globals.RegistryPath.Buffer == NULL)
    {
        status = STATUS_INSUFFICIENT_RESOURCES;
        goto Exit;
    }
    RtlCopyUnicodeString(&Globals.RegistryPath, RegistryPath);
    status = RtlAppendUnicodeStringToString(&Globals.RegistryPath, &suffix);
    if (!NT_SUCCESS(status))
        goto Exit;
    if (!RtlPrefixUnicodeString(&prefix, &Globals.RegistryPath, TRUE))
    {
        status = STATUS_INVALID_PARAMETER_2;
        goto Exit;
    }
    status = RtlUpcaseUnicodeString(&upper, &Globals.RegistryPath, TRUE);
    if (NT_SUCCESS(status))
    {
        status = RtlUnicodeStringToAnsiString(&ansi, &upper, TRUE);
        if (NT_SUCCESS(status))
        {
            KdPrint(("path %Z\n", &ansi));
            RtlFreeAnsiString(&ansi);
        }
        RtlFreeUnicodeString(&upper);
    }
    (void)RtlCaptureStackBackTrace(0, ARRAYSIZE(trace), trace, &hash);
    InitializeObjectAttributes(&oa, NULL, 0, NULL, NULL);
    status = PsCreateSystemThread(&thread, THREAD_ALL_ACCESS, &oa, NULL, NULL, ReaperThread, &Globals);
    if (!NT_SUCCESS(status))
        goto Exit;
    status = ObReferenceObjectByHandle(thread, THREAD_ALL_ACCESS, *PsThreadType, KernelMode,
                                       (PVOID *)&Globals.Reaper, NULL);
    ZwClose(thread);
    if (DriverObject)
        DriverObject->DriverUnload = FilterUnload;
Exit:
    if (!NT_SUCCESS(status))
        FilterUnload(DriverObject);
    return status;
}
