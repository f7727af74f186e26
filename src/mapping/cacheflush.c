/* SPDX-License-Identifier: MIT */
/*
 * Writing and purging what is cached. Pages of which BCBs speak are written with their BCBs taken, so that nobody is in the middle of a change, and behind the
 * log of their file. Theory: docs/cache.md, section 2.
 */
#include "mapping/cache.h"
#include "paging/mapped.h"

#define CC_WRITE_BCBS 16u /* written together */

/* BCBs that are written together, with what lies between them. */
typedef struct _CC_WRITE
{
    ULONG64 Offset, End;
    ULONG Count;
    PCC_BCB Bcbs[CC_WRITE_BCBS];
    CC_OWNER Records[CC_WRITE_BCBS];
} CC_WRITE;

/* ---- BCBs on their way --------------------------------------------------------------------------------- */

/* Lock held, but given up while waiting for the first one; for others nothing is waited for. FALSE: somebody has it. */
static BOOLEAN CcpAddToWrite(CC_WRITE *Write, PCC_BCB Bcb, BOOLEAN Exclusive, BOOLEAN Wait, ULONG_PTR Owner,
                             PULONG Maps)
{
    PCC_OWNER Record = &Write->Records[Write->Count];

    *Record = (CC_OWNER){ .Count = 0 };
    Bcb->Users++;
    if (!NT_SUCCESS(CcpOwnBcb(Bcb, Owner, Exclusive, Wait, Record)))
    {
        *Maps += CcpLeaveBcb(Bcb);
        return FALSE;
    }
    Write->Bcbs[Write->Count++] = Bcb;
    Write->End = CcpBcbEnd(Bcb);
    return TRUE;
}

/*
 * Lock held. The BCBs from First on that begin before End and can be had. FALSE: not even the first one.
 */
static BOOLEAN CcpCollectWrite(CC_WRITE *Write, PCC_BCB First, ULONG64 End, BOOLEAN Wait, PULONG Maps)
{
    ULONG_PTR Owner = (ULONG_PTR)KiCurrentThread();
    PSHARED_CACHE_MAP CacheMap = First->CacheMap;

    Write->Count = 0;
    Write->Offset = CcpBcbOffset(First);
    if (!CcpAddToWrite(Write, First, FALSE, Wait, Owner, Maps))
    {
        return FALSE;
    }
    while (Write->Count < CC_WRITE_BCBS)
    {
        PCC_BCB Next = CcpFindBcb(CacheMap, Write->End);

        if (Next == NULL || CcpBcbOffset(Next) >= End ||
            !CcpAddToWrite(Write, Next, FALSE, FALSE, Owner, Maps))
        {
            break;
        }
    }
    return TRUE;
}

static NTSTATUS CcpPerformWrite(PSHARED_CACHE_MAP CacheMap, CC_WRITE *Write)
{
    PFLUSH_TO_LSN FlushToLsn = __atomic_load_n(&CacheMap->FlushToLsn, __ATOMIC_ACQUIRE);
    LARGE_INTEGER Newest = { .QuadPart = 0 };
    ULONG64 First = Write->Offset >> PAGE_SHIFT;
    NTSTATUS Status;

    for (ULONG Index = 0; Index < Write->Count; Index++)
    {
        LONGLONG Lsn = CcpBeginBcbWrite(Write->Bcbs[Index]);

        Newest.QuadPart = Lsn > Newest.QuadPart ? Lsn : Newest.QuadPart;
    }
    if (FlushToLsn != NULL && Newest.QuadPart != 0)
    {
        FlushToLsn(__atomic_load_n(&CacheMap->LogHandle, __ATOMIC_RELAXED), Newest);
    }
    CcpCollectDirty(CacheMap, Write->Offset, Write->End - Write->Offset);
    Status = MiFlushSegmentPages(CacheMap->ControlArea, First, (Write->End >> PAGE_SHIFT) - First);
    for (ULONG Index = 0; Index < Write->Count; Index++)
    {
        CcpEndBcbWrite(Write->Bcbs[Index], NT_SUCCESS(Status));
    }
    return Status;
}

/* Lock held. */
static VOID CcpEndWrite(CC_WRITE *Write, PULONG Maps)
{
    for (ULONG Index = 0; Index < Write->Count; Index++)
    {
        CcpDisownBcb(Write->Bcbs[Index], (ULONG_PTR)KiCurrentThread());
        KiRequire(Write->Records[Index].Count == 0); /* a log's routine has pinned it and kept it */
        *Maps += CcpLeaveBcb(Write->Bcbs[Index]);
    }
}

static NTSTATUS CcpFirstError(NTSTATUS First, NTSTATUS Next)
{
    return NT_SUCCESS(First) || (First == STATUS_CANT_WAIT && !NT_SUCCESS(Next)) ? Next : First;
}

/* ---- Flushing ------------------------------------------------------------------------------------------ */

typedef enum _CC_STRETCH
{
    CcPlain,  /* pages without BCBs, up to Stop */
    CcTaken,  /* Write has BCBs; Stop is behind them */
    CcPassed, /* a BCB that somebody has, up to Stop */
} CC_STRETCH;

static CC_STRETCH CcpNextStretch(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, ULONG64 End, BOOLEAN Wait,
                                 CC_WRITE *Write, PULONG64 Stop, PULONG Maps)
{
    CC_STRETCH Stretch = CcPlain;
    PCC_BCB Bcb;

    CcpLock();
    Bcb = CcpFindBcb(CacheMap, Offset);
    *Stop = End;
    if (Bcb != NULL && CcpBcbOffset(Bcb) > Offset)
    {
        *Stop = CcpBcbOffset(Bcb) < End ? CcpBcbOffset(Bcb) : End;
    }
    else if (Bcb != NULL)
    {
        *Stop = CcpBcbEnd(Bcb);
        Stretch = CcPassed;
        if (CcpCollectWrite(Write, Bcb, End, Wait, Maps))
        {
            *Stop = Write->End;
            Stretch = CcTaken;
        }
    }
    CcpUnlock();
    return Stretch;
}

static NTSTATUS CcpFlushPlain(PCONTROL_AREA ControlArea, ULONG64 Offset, ULONG64 End)
{
    ULONG64 First = Offset >> PAGE_SHIFT;

    return MiFlushSegmentPages(ControlArea, First, ((End - 1) >> PAGE_SHIFT) - First + 1);
}

static NTSTATUS CcpFlushTaken(PSHARED_CACHE_MAP CacheMap, CC_WRITE *Write, PULONG Maps)
{
    NTSTATUS Status = CcpPerformWrite(CacheMap, Write);

    CcpLock();
    CcpEndWrite(Write, Maps);
    CcpUnlock();
    return Status;
}

/* The map is referenced. */
static NTSTATUS CcpFlushMap(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, ULONG64 End, BOOLEAN Wait)
{
    NTSTATUS Status = STATUS_SUCCESS;
    ULONG Maps = 0;

    while (Offset < End)
    {
        NTSTATUS Now = STATUS_CANT_WAIT;
        CC_WRITE Write;
        ULONG64 Stop;

        switch (CcpNextStretch(CacheMap, Offset, End, Wait, &Write, &Stop, &Maps))
        {
        case CcPlain:
            Now = CcpFlushPlain(CacheMap->ControlArea, Offset, Stop);
            break;
        case CcTaken:
            Now = CcpFlushTaken(CacheMap, &Write, &Maps);
            break;
        case CcPassed:
            break;
        }
        Status = CcpFirstError(Status, Now);
        Offset = Stop;
    }
    CcpDereferenceMaps(CacheMap, Maps);
    return Status;
}

NTSTATUS CcpFlushSegment(PCONTROL_AREA ControlArea, ULONG64 Offset, ULONG64 Bytes, BOOLEAN Wait)
{
    PFILE_OBJECT FileObject = ControlArea->FilePointer;
    PSHARED_CACHE_MAP CacheMap = CcpReferenceMap(FileObject->SectionObjectPointer);
    ULONG64 End = Bytes > ~0ull - Offset ? ~0ull : Offset + Bytes;
    NTSTATUS Status;

    if (CacheMap == NULL)
    {
        return CcpFlushPlain(ControlArea, Offset, End);
    }
    Status = CcpFlushMap(CacheMap, Offset, End, Wait);
    CcpDereferenceMap(CacheMap);
    return Status;
}

NTSTATUS CcpWriteThrough(PCC_BCB Bcb, PULONG Written)
{
    PSHARED_CACHE_MAP CacheMap = Bcb->CacheMap;
    BOOLEAN Dirty = CcpIsBcbDirty(Bcb);
    ULONG Maps = 0;
    CC_WRITE Write;
    NTSTATUS Status;

    CcpLock();
    Write.Count = 0;
    Write.Offset = CcpBcbOffset(Bcb);
    KiRequire(CcpAddToWrite(&Write, Bcb, TRUE, TRUE, (ULONG_PTR)KiCurrentThread(), &Maps));
    CcpUnlock();
    Status = CcpFlushTaken(CacheMap, &Write, &Maps);
    KiRequire(Maps == 0); /* it is repinned */
    *Written = Dirty && NT_SUCCESS(Status) ? Bcb->Public.MappedLength : 0;
    return Status;
}

static VOID CcpRange(PLARGE_INTEGER FileOffset, ULONG Length, PULONG64 Offset, PULONG64 Bytes)
{
    *Offset = FileOffset != NULL ? (ULONG64)FileOffset->QuadPart : 0;
    *Bytes = FileOffset != NULL && Length != 0 ? Length : ~0ull - *Offset;
}

VOID NTAPI CcFlushCache(PSECTION_OBJECT_POINTERS SectionObjectPointer, PLARGE_INTEGER FileOffset,
                        ULONG Length, PIO_STATUS_BLOCK IoStatus)
{
    PVOID volatile *Anchor = (PVOID volatile *)&SectionObjectPointer->DataSectionObject;
    PSHARED_CACHE_MAP CacheMap = CcpReferenceMap(SectionObjectPointer);
    NTSTATUS Status = STATUS_SUCCESS;
    PCONTROL_AREA ControlArea;
    ULONG64 Offset;
    ULONG64 Bytes;

    CcpRange(FileOffset, Length, &Offset, &Bytes);
    if (CacheMap != NULL)
    {
        if (Offset == 0 && Bytes == ~0ull)
        {
            __atomic_store_n(&CacheMap->Dirty, 0, __ATOMIC_SEQ_CST);
        }
        CcpCollectDirty(CacheMap, Offset, Bytes);
    }
    ControlArea = MiReferenceAnchoredControlArea(Anchor);
    if (ControlArea != NULL)
    {
        Status = CcpFlushSegment(ControlArea, Offset, Bytes, TRUE);
        MiDereferenceControlArea(ControlArea, MiSectionReference, FALSE, FALSE);
    }
    if (CacheMap != NULL)
    {
        CcpDereferenceMap(CacheMap);
    }
    if (IoStatus != NULL)
    {
        IoStatus->Status = Status;
        IoStatus->Information = 0;
    }
}

BOOLEAN NTAPI CcPurgeCacheSection(PSECTION_OBJECT_POINTERS SectionObjectPointer, PLARGE_INTEGER FileOffset,
                                  ULONG Length, ULONG Flags)
{
    PVOID volatile *Anchor = (PVOID volatile *)&SectionObjectPointer->DataSectionObject;
    PSHARED_CACHE_MAP CacheMap = CcpReferenceMap(SectionObjectPointer);
    PCONTROL_AREA ControlArea;
    BOOLEAN Purged = TRUE;
    ULONG64 Offset;
    ULONG64 Bytes;

    UNREFERENCED_PARAMETER(Flags); /* maps stay until their file objects let go; their views are gone */
    CcpRange(FileOffset, Length, &Offset, &Bytes);
    if (CacheMap != NULL && CcpIsHeld(SectionObjectPointer, Offset, Bytes))
    {
        CcpDereferenceMap(CacheMap);
        return FALSE;
    }
    if (CacheMap != NULL)
    {
        CcpForgetBcbs(CacheMap, Offset, Bytes);
        CcpUnmapViews(CacheMap, Offset, Bytes);
    }
    ControlArea = MiReferenceAnchoredControlArea(Anchor);
    if (ControlArea != NULL)
    {
        ULONG64 First = Offset >> PAGE_SHIFT;

        Purged = MiPurgeSegmentPages(ControlArea, First, ((Offset + Bytes - 1) >> PAGE_SHIFT) - First + 1);
        MiDereferenceControlArea(ControlArea, MiSectionReference, FALSE, FALSE);
    }
    if (CacheMap != NULL)
    {
        CcpDereferenceMap(CacheMap);
    }
    return Purged;
}

/* ---- Logs ---------------------------------------------------------------------------------------------- */

VOID NTAPI CcSetLogHandleForFile(PFILE_OBJECT FileObject, PVOID LogHandle, PFLUSH_TO_LSN FlushToLsnRoutine)
{
    PSHARED_CACHE_MAP CacheMap = FileObject->SectionObjectPointer->SharedCacheMap;

    if (CacheMap == NULL)
    {
        KeBugCheckEx(CACHE_MANAGER, (ULONG_PTR)FileObject, 0, 0, 0);
    }
    __atomic_store_n(&CacheMap->LogHandle, LogHandle, __ATOMIC_RELEASE);
    __atomic_store_n(&CacheMap->FlushToLsn, FlushToLsnRoutine, __ATOMIC_RELEASE);
    __atomic_store_n(&CacheMap->ControlArea->NoModifiedWriting, 1, __ATOMIC_SEQ_CST);
}

/* ---- The end ------------------------------------------------------------------------------------------- */

/* The next file that is cached for dirty BCBs only, referenced. */
static PSHARED_CACHE_MAP CcpNextAbandoned(void)
{
    PLIST_ENTRY Head = &MiState.Mapping->CacheMaps;
    PSHARED_CACHE_MAP Found = NULL;

    CcpLock();
    for (PLIST_ENTRY Entry = Head->Flink; Entry != Head && Found == NULL; Entry = Entry->Flink)
    {
        PSHARED_CACHE_MAP CacheMap = CONTAINING_RECORD(Entry, SHARED_CACHE_MAP, Links);

        if (CacheMap->FileObjects == 0 && !RtlAvlIsEmpty(&CacheMap->Bcbs))
        {
            CacheMap->OpenCount++;
            Found = CacheMap;
        }
    }
    CcpUnlock();
    return Found;
}

VOID CcpGiveUpBcbs(void)
{
    PSHARED_CACHE_MAP CacheMap;

    while ((CacheMap = CcpNextAbandoned()) != NULL)
    {
        CcFlushCache(&CacheMap->File->SectionObjectPointers, NULL, 0, NULL);
        CcpForgetBcbs(CacheMap, 0, ~0ull);
        KiRequire(RtlAvlIsEmpty(&CacheMap->Bcbs)); /* else a file system has not unpinned something */
        CcpDereferenceMap(CacheMap);
    }
}
