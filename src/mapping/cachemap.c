/* SPDX-License-Identifier: MIT */
/*
 * Which files are cached: a shared map for each, kept by the file objects that asked for it and by calls in progress. When the last one goes
 * the views go, and the section reference; the pages stay with the file's control area, and whoever opens the file next finds them.
 */
#include "mapping/cache.h"
#include "paging/mapped.h"

#define CC_TAG_SHARED  MI_TAG('C', 'c', 'S', 'c')
#define CC_TAG_PRIVATE MI_TAG('C', 'c', 'P', 'c')
#define CC_LAZY_PERIOD 1000000000ull /* 1 s */

VOID CcpLock(void)
{
    KiAcquirePushLockExclusive(&MiState.Mapping->Lock);
    KiNoteLockAcquired(&MiState.Mapping->Lock, KiLockCache, FALSE);
}

VOID CcpUnlock(void)
{
    KiNoteLockReleased(&MiState.Mapping->Lock);
    KiReleasePushLockExclusive(&MiState.Mapping->Lock);
}

/* ---- Shared maps --------------------------------------------------------------------------------------- */

PSHARED_CACHE_MAP CcpReferenceMap(PSECTION_OBJECT_POINTERS Pointers)
{
    PSHARED_CACHE_MAP CacheMap;

    CcpLock();
    CacheMap = Pointers->SharedCacheMap;
    if (CacheMap != NULL)
    {
        CacheMap->OpenCount++;
    }
    CcpUnlock();
    return CacheMap;
}

/* Lock held. */
static VOID CcpSignalUninitialized(PSHARED_CACHE_MAP CacheMap)
{
    while (CacheMap->UninitializeEvents != NULL)
    {
        PCACHE_UNINITIALIZE_EVENT Event = CacheMap->UninitializeEvents;

        CacheMap->UninitializeEvents = Event->Next;
        KeSetEvent(&Event->Event, 0, FALSE);
    }
}

VOID CcpDereferenceMap(PSHARED_CACHE_MAP CacheMap)
{
    BOOLEAN Last;

    CcpLock();
    Last = --CacheMap->OpenCount == 0;
    if (Last)
    {
        KiRequire(RtlAvlIsEmpty(&CacheMap->Bcbs) && IsListEmpty(&CacheMap->Mappings));
        RemoveEntryList(&CacheMap->Links);
        __atomic_store_n(&CacheMap->File->SectionObjectPointers.SharedCacheMap, NULL, __ATOMIC_RELEASE);
    }
    CcpUnlock();
    if (!Last)
    {
        return;
    }
    CcpUnmapViews(CacheMap, 0, ~0ull);
    if (__atomic_load_n(&CacheMap->LogHandle, __ATOMIC_RELAXED) != NULL)
    {
        MiPermitMappedWrites(CacheMap->ControlArea); /* nothing is left that its log speaks of */
    }
    if (CacheMap->Dirty != 0)
    {
        MiHurryMappedWriter();
    }
    CcpLock();
    CcpSignalUninitialized(CacheMap);
    CcpUnlock();
    MiDereferenceControlArea(CacheMap->ControlArea, MiSectionReference, FALSE, FALSE);
    ObDereferenceObjectBody(CacheMap->FileObject);
    MiFreePool(CacheMap, CC_TAG_SHARED);
}

VOID CcpDereferenceMaps(PSHARED_CACHE_MAP CacheMap, ULONG Count)
{
    for (; Count != 0; Count--)
    {
        CcpDereferenceMap(CacheMap);
    }
}

/* Size lock of the file held exclusively, so only one makes it. */
static NTSTATUS CcpMakeMap(PFILE_OBJECT FileObject, PSHARED_CACHE_MAP *CacheMap)
{
    PSHARED_CACHE_MAP New = MiAllocatePool(sizeof(*New), CC_TAG_SHARED);
    NTSTATUS Status;

    if (New == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Status = MiReferenceDataFileMap(FileObject, &New->ControlArea);
    if (!NT_SUCCESS(Status))
    {
        MiFreePool(New, CC_TAG_SHARED);
        return Status;
    }
    ObReferenceObjectBody(FileObject);
    New->FileObject = FileObject;
    New->File = IoFileOf(FileObject);
    New->OpenCount = 1;
    InitializeListHead(&New->Mappings);
    CcpLock();
    InsertTailList(&MiState.Mapping->CacheMaps, &New->Links);
    __atomic_store_n(&FileObject->SectionObjectPointer->SharedCacheMap, New, __ATOMIC_RELEASE);
    CcpUnlock();
    *CacheMap = New;
    return STATUS_SUCCESS;
}

/* Size lock held exclusively. */
static NTSTATUS CcpInitializeLocked(PFILE_OBJECT FileObject, PCACHE_MANAGER_CALLBACKS Callbacks,
                                    PVOID Context)
{
    PPRIVATE_CACHE_MAP Private;
    PSHARED_CACHE_MAP CacheMap;
    NTSTATUS Status = STATUS_SUCCESS;

    if (FileObject->PrivateCacheMap != NULL)
    {
        return STATUS_SUCCESS;
    }
    Private = MiAllocatePool(sizeof(*Private), CC_TAG_PRIVATE);
    if (Private == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    CacheMap = CcpReferenceMap(FileObject->SectionObjectPointer);
    if (CacheMap == NULL)
    {
        Status = CcpMakeMap(FileObject, &CacheMap);
        if (!NT_SUCCESS(Status))
        {
            MiFreePool(Private, CC_TAG_PRIVATE);
            return Status;
        }
        CacheMap->Callbacks = Callbacks;
        CacheMap->LazyWriteContext = Context;
    }
    CcpLock();
    CacheMap->FileObjects++;
    CcpSignalUninitialized(CacheMap); /* it is not going any more */
    CcpUnlock();
    __atomic_store_n(&FileObject->PrivateCacheMap, Private, __ATOMIC_RELEASE);
    return STATUS_SUCCESS;
}

NTSTATUS CcpInitializeFile(PFILE_OBJECT FileObject)
{
    PIO_FCB File = IoFileOf(FileObject);
    NTSTATUS Status;

    if (__atomic_load_n(&FileObject->PrivateCacheMap, __ATOMIC_ACQUIRE) != NULL)
    {
        return STATUS_SUCCESS;
    }
    IoLockSizeExclusive(File);
    Status = CcpInitializeLocked(FileObject, NULL, NULL);
    IoUnlockSizeExclusive(File);
    return Status;
}

VOID NTAPI CcInitializeCacheMap(PFILE_OBJECT FileObject, PCC_FILE_SIZES FileSizes, BOOLEAN PinAccess,
                                PCACHE_MANAGER_CALLBACKS Callbacks, PVOID LazyWriteContext)
{
    PIO_FCB File = IoFileOf(FileObject);
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(PinAccess); /* pinning needs nothing beforehand */
    UNREFERENCED_PARAMETER(FileSizes); /* the file's block has them */
    IoLockSizeExclusive(File);
    Status = CcpInitializeLocked(FileObject, Callbacks, LazyWriteContext);
    IoUnlockSizeExclusive(File);
    if (!NT_SUCCESS(Status))
    {
        ExRaiseStatus(Status);
    }
}

BOOLEAN NTAPI CcIsFileCached(PFILE_OBJECT FileObject)
{
    return FileObject->SectionObjectPointer != NULL &&
           __atomic_load_n(&FileObject->SectionObjectPointer->SharedCacheMap, __ATOMIC_ACQUIRE) != NULL;
}

BOOLEAN NTAPI CcUninitializeCacheMap(PFILE_OBJECT FileObject, PLARGE_INTEGER TruncateSize,
                                     PCACHE_UNINITIALIZE_EVENT UninitializeEvent)
{
    PVOID Private = __atomic_exchange_n(&FileObject->PrivateCacheMap, NULL, __ATOMIC_ACQ_REL);
    PSHARED_CACHE_MAP CacheMap;

    if (Private != NULL)
    {
        MiFreePool(Private, CC_TAG_PRIVATE);
        CacheMap = FileObject->SectionObjectPointer->SharedCacheMap;
        if (TruncateSize != NULL)
        {
            LARGE_INTEGER Pages = { .QuadPart = (LONGLONG)ROUND_TO_PAGES((ULONG64)TruncateSize->QuadPart) };

            (VOID) CcPurgeCacheSection(FileObject->SectionObjectPointer, &Pages, 0, 0);
        }
        CcpLock();
        /* Dirty BCBs and what others hold keep the map when its last file object lets go of it. */
        if (--CacheMap->FileObjects == 0 && CacheMap->OpenCount > 1 && UninitializeEvent != NULL)
        {
            UninitializeEvent->Next = CacheMap->UninitializeEvents;
            CacheMap->UninitializeEvents = UninitializeEvent;
            UninitializeEvent = NULL;
        }
        CcpUnlock();
        CcpDereferenceMap(CacheMap);
    }
    if (UninitializeEvent != NULL)
    {
        KeSetEvent(&UninitializeEvent->Event, 0, FALSE);
    }
    return !CcIsFileCached(FileObject);
}

/* ---- Sizes --------------------------------------------------------------------------------------------- */

VOID CcpNoteFileSize(PIO_FCB File, ULONG64 Size)
{
    PSHARED_CACHE_MAP CacheMap = CcpReferenceMap(&File->SectionObjectPointers);

    if (CacheMap != NULL)
    {
        if (Size > CacheMap->ControlArea->Segment->SizeOfSegment)
        {
            MiResizeDataFileMap(CacheMap->ControlArea, Size);
        }
        CcpDereferenceMap(CacheMap);
    }
}

VOID CcpForgetBeyond(PIO_FCB File, ULONG64 Size)
{
    PSHARED_CACHE_MAP CacheMap = CcpReferenceMap(&File->SectionObjectPointers);

    if (CacheMap != NULL)
    {
        CcpForgetBcbs(CacheMap, ROUND_TO_PAGES(Size), ~0ull);
        CcpUnmapViews(CacheMap, Size, ~0ull - Size);
        CcpDereferenceMap(CacheMap);
    }
}

VOID NTAPI CcSetFileSizes(PFILE_OBJECT FileObject, PCC_FILE_SIZES FileSizes)
{
    PSHARED_CACHE_MAP CacheMap = CcpReferenceMap(FileObject->SectionObjectPointer);
    ULONG64 Size = (ULONG64)FileSizes->FileSize.QuadPart;

    if (CacheMap == NULL)
    {
        return;
    }
    if (Size > CacheMap->ControlArea->Segment->SizeOfSegment)
    {
        MiResizeDataFileMap(CacheMap->ControlArea, Size);
    }
    else if (Size < CacheMap->ControlArea->Segment->SizeOfSegment)
    {
        CcpForgetBcbs(CacheMap, ROUND_TO_PAGES(Size), ~0ull);
        CcpUnmapViews(CacheMap, Size, ~0ull - Size);
        (VOID) MiPurgeSegmentPages(CacheMap->ControlArea, BYTES_TO_PAGES(Size), ~0ull - BYTES_TO_PAGES(Size));
        MiResizeDataFileMap(CacheMap->ControlArea, Size);
    }
    CcpDereferenceMap(CacheMap);
}

/* ---- The lazy writer ----------------------------------------------------------------------------------- */

/* The next dirty map after the last one looked at, referenced; the list goes round. */
static PSHARED_CACHE_MAP CcpNextDirty(PULONG Turns)
{
    MI_MAPPING_STATE *State = MiState.Mapping;
    PSHARED_CACHE_MAP Found = NULL;

    CcpLock();
    for (; *Turns != 0 && Found == NULL && !IsListEmpty(&State->CacheMaps); --*Turns)
    {
        PSHARED_CACHE_MAP CacheMap =
            CONTAINING_RECORD(RemoveHeadList(&State->CacheMaps), SHARED_CACHE_MAP, Links);

        InsertTailList(&State->CacheMaps, &CacheMap->Links);
        if (__atomic_load_n(&CacheMap->NoWriteBehind, __ATOMIC_RELAXED) == 0 &&
            (__atomic_load_n(&CacheMap->Dirty, __ATOMIC_RELAXED) != 0 ||
             __atomic_load_n(&CacheMap->ControlArea->NoWritePages, __ATOMIC_RELAXED) != 0))
        {
            CacheMap->OpenCount++;
            Found = CacheMap;
        }
    }
    CcpUnlock();
    return Found;
}

static ULONG CcpCountMaps(void)
{
    ULONG Count = 0;

    CcpLock();
    for (PLIST_ENTRY Entry = MiState.Mapping->CacheMaps.Flink; Entry != &MiState.Mapping->CacheMaps;
         Entry = Entry->Flink)
    {
        Count++;
    }
    CcpUnlock();
    return Count;
}

static VOID CcpWriteLazily(PSHARED_CACHE_MAP CacheMap)
{
    PCACHE_MANAGER_CALLBACKS Callbacks = CacheMap->Callbacks;

    if (Callbacks != NULL && !Callbacks->AcquireForLazyWrite(CacheMap->LazyWriteContext, FALSE))
    {
        return; /* the next round tries again */
    }
    __atomic_fetch_add(&MiState.Mapping->LazyWrites, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&CacheMap->Dirty, 0, __ATOMIC_SEQ_CST);
    __atomic_store_n(&CacheMap->ControlArea->NoWritePages, 0, __ATOMIC_SEQ_CST);
    CcpCollectDirty(CacheMap, 0, ~0ull);
    if (CcpFlushSegment(CacheMap->ControlArea, 0, ~0ull, FALSE) == STATUS_CANT_WAIT)
    {
        __atomic_store_n(&CacheMap->Dirty, 1, __ATOMIC_SEQ_CST); /* somebody is changing it: the next round */
    }
    if (Callbacks != NULL)
    {
        Callbacks->ReleaseFromLazyWrite(CacheMap->LazyWriteContext);
    }
}

static BOOLEAN CcpLazyWriterStep(PVOID Context)
{
    ULONG Turns = CcpCountMaps();
    PSHARED_CACHE_MAP CacheMap;

    UNREFERENCED_PARAMETER(Context);
    while ((CacheMap = CcpNextDirty(&Turns)) != NULL)
    {
        CcpWriteLazily(CacheMap);
        CcpDereferenceMap(CacheMap);
    }
    return FALSE;
}

/* ---- Beginning and end --------------------------------------------------------------------------------- */

static VOID CcpCleanup(PFILE_OBJECT FileObject)
{
    (VOID) CcUninitializeCacheMap(FileObject, NULL, NULL);
}

NTSTATUS CcpInitialize(void)
{
    MI_MAPPING_STATE *State = PortAllocateBootMemory(sizeof(*State));

    if (State == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    State->Views = PortAllocateBootMemory(CC_VIEWS * sizeof(VACB));
    if (State->Views == NULL)
    {
        PortFreeBootMemory(State, sizeof(*State));
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    InitializeListHead(&State->CacheMaps);
    InitializeListHead(&State->Unused);
    for (ULONG Index = 0; Index < CC_VIEWS; Index++)
    {
        InsertTailList(&State->Unused, &State->Views[Index].Links);
    }
    KeInitializeEvent(&State->ViewFreed, NotificationEvent, FALSE);
    KeInitializeEvent(&State->BcbReleased, NotificationEvent, FALSE);
    InitializeListHead(&State->DirtyBcbs);
    MiState.Mapping = State;
    MiState.Io->Operations.Cleanup = CcpCleanup;
    return STATUS_SUCCESS;
}

static VOID CcpHurryLazyWriter(void)
{
    KiWakeWorker(&MiState.Mapping->LazyWriter);
}

NTSTATUS CcpStartWorkers(void)
{
    __atomic_store_n(&MiState.Paging->NoWritePagesShort, CcpHurryLazyWriter, __ATOMIC_RELAXED);
    return KiStartWorker(&MiState.Mapping->LazyWriter, "lazy writer", CcpLazyWriterStep, NULL,
                         CC_LAZY_PERIOD);
}

VOID CcpStopWorkers(void)
{
    __atomic_store_n(&MiState.Paging->NoWritePagesShort, NULL,
                     __ATOMIC_RELAXED); /* the mapped page writer may be at work */
    KiStopWorker(&MiState.Mapping->LazyWriter);
    CcpGiveUpBcbs();
}

VOID CcpShutdown(void)
{
    MI_MAPPING_STATE *State = MiState.Mapping;

    if (State == NULL)
    {
        return;
    }
    KiRequire(IsListEmpty(&State->CacheMaps) && IsListEmpty(&State->DirtyBcbs));
    MiState.Io->Operations.Cleanup = NULL;
    PortFreeBootMemory(State->Views, CC_VIEWS * sizeof(VACB));
    PortFreeBootMemory(State, sizeof(*State));
    MiState.Mapping = NULL;
}
