/* SPDX-License-Identifier: MIT */
/*
 * Copying between callers' buffers and cached files. The copy goes through views, so it is the same page that a mapped view of user mode shows.
 * What the file system's disk refuses arrives as an in-page error of the view; it becomes the status of the call.
 */
#include "mapping/cache.h"

#define CC_AHEAD_START 16u
#define CC_AHEAD_MOST  64u /* pages of a read-ahead */

/* ---- Reading ahead ------------------------------------------------------------------------------------- */

VOID CcpStartReads(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, ULONG64 Length)
{
    ULONG64 Page = Offset >> PAGE_SHIFT;
    ULONG64 End = BYTES_TO_PAGES(Offset + Length);
    ULONG64 Last = __atomic_load_n(&CacheMap->ControlArea->Segment->TotalNumberOfPtes, __ATOMIC_ACQUIRE);

    End = End < Last ? End : Last;
    while (Page < End && MiAvailablePages() > MiState.Physical->LowThreshold)
    {
        ULONG Wanted = End - Page < CC_AHEAD_MOST ? (ULONG)(End - Page) : CC_AHEAD_MOST;
        ULONG Started = MiStartFileReadAhead(CacheMap->ControlArea, Page, Wanted, MI_DEFAULT_PRIORITY);

        Page += Started != 0 ? Started : 1;
    }
}

/* What the call itself needs, in clusters; and for who reads in order what he will need next. */
static VOID CcpReadAhead(PFILE_OBJECT FileObject, PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, SIZE_T Length)
{
    PPRIVATE_CACHE_MAP Private = FileObject->PrivateCacheMap;
    ULONG64 End = Offset + Length;
    ULONG64 Next = __atomic_load_n(&Private->NextOffset, __ATOMIC_RELAXED);
    ULONG64 Ahead = __atomic_load_n(&Private->AheadOffset, __ATOMIC_RELAXED);
    ULONG Window = __atomic_load_n(&Private->Window, __ATOMIC_RELAXED);
    BOOLEAN InOrder = (Offset == Next && Offset != 0) || (FileObject->Flags & FO_SEQUENTIAL_ONLY) != 0;

    __atomic_store_n(&Private->NextOffset, End, __ATOMIC_RELAXED);
    if (Length > PAGE_SIZE && Ahead < End)
    {
        CcpStartReads(CacheMap, Offset, Length);
    }
    if (!InOrder || (FileObject->Flags & FO_RANDOM_ACCESS) != 0 ||
        __atomic_load_n(&CacheMap->NoReadAhead, __ATOMIC_RELAXED) != 0)
    {
        __atomic_store_n(&Private->Window, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&Private->AheadOffset, 0, __ATOMIC_RELAXED);
        return;
    }
    Ahead = Ahead < End ? End : Ahead;
    if (Window != 0 && Ahead - End > ((ULONG64)Window << PAGE_SHIFT) / 2)
    {
        return; /* enough is under way */
    }
    Window = Window == 0 ? CC_AHEAD_START : 2 * Window;
    Window = Window < CC_AHEAD_MOST ? Window : CC_AHEAD_MOST;
    CcpStartReads(CacheMap, Ahead, (ULONG64)Window << PAGE_SHIFT);
    __atomic_store_n(&Private->Window, Window, __ATOMIC_RELAXED);
    __atomic_store_n(&Private->AheadOffset, Ahead + ((ULONG64)Window << PAGE_SHIFT), __ATOMIC_RELAXED);
}

VOID NTAPI CcSetAdditionalCacheAttributes(PFILE_OBJECT FileObject, BOOLEAN DisableReadAhead,
                                          BOOLEAN DisableWriteBehind)
{
    PSHARED_CACHE_MAP CacheMap = FileObject->SectionObjectPointer->SharedCacheMap;

    if (CacheMap == NULL)
    {
        KeBugCheckEx(CACHE_MANAGER, (ULONG_PTR)FileObject, 0, 0, 0);
    }
    __atomic_store_n(&CacheMap->NoReadAhead, DisableReadAhead != FALSE, __ATOMIC_RELAXED);
    __atomic_store_n(&CacheMap->NoWriteBehind, DisableWriteBehind != FALSE, __ATOMIC_RELAXED);
}

/* ---- Copying ------------------------------------------------------------------------------------------- */

/*
 * The copy stopped: at a page of the file that cannot be had (its I/O status), or at the caller's buffer (Status).
 */
static NTSTATUS CcpExplain(NTSTATUS Status, ULONG_PTR ViewVa, BOOLEAN Write)
{
    NTSTATUS IoStatus = STATUS_SUCCESS;
    NTSTATUS Reason = MiFaultAddress(&MiState.Space->System, ViewVa, Write ? MiAccessWrite : MiAccessRead,
                                     KernelMode, &IoStatus);

    if (Reason == STATUS_IN_PAGE_ERROR)
    {
        return IoStatus;
    }
    return NT_SUCCESS(Reason) ? Status : Reason;
}

/* Buffer NULL: zeros are written. One view. */
static NTSTATUS CcpCopyPiece(PVACB View, ULONG64 Offset, PVOID Buffer, SIZE_T Length, BOOLEAN Write,
                             PSIZE_T Copied)
{
    ULONG_PTR Va = View->Base + (ULONG_PTR)(Offset & (VACB_MAPPING_GRANULARITY - 1));
    NTSTATUS Status;

    *Copied = 0;
    Status = Write ? KiGuardedCopy((PVOID)Va, Buffer, Length, Copied)
                   : KiGuardedCopy(Buffer, (PVOID)Va, Length, Copied);
    if (!NT_SUCCESS(Status))
    {
        Status = CcpExplain(Status, Va + *Copied, Write);
    }
    return Status;
}

/* The rest of the page, and with it as many as are in memory: what lies behind may be overwritten as a whole. Limit at most. */
static SIZE_T CcpMeasureResident(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, SIZE_T Limit)
{
    SIZE_T Piece = PAGE_SIZE - (SIZE_T)(Offset & (PAGE_SIZE - 1));

    while (Piece < Limit && CcpIsResident(CacheMap, Offset + Piece, PAGE_SIZE))
    {
        Piece += PAGE_SIZE;
    }
    return Piece;
}

/* Fresh as for CcpWrite. */
static NTSTATUS CcpCopy(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, PVOID Buffer, SIZE_T Length,
                        BOOLEAN Write, ULONG64 Fresh, PSIZE_T Done)
{
    NTSTATUS Status = STATUS_SUCCESS;

    *Done = 0;
    while (*Done < Length && NT_SUCCESS(Status))
    {
        ULONG64 Position = Offset + *Done;
        SIZE_T Piece = VACB_MAPPING_GRANULARITY - (SIZE_T)(Position & (VACB_MAPPING_GRANULARITY - 1));
        SIZE_T Copied = 0;
        PVACB View;

        if (Write && CcpNeedsNoRead(Position, Length - *Done, Fresh))
        {
            SIZE_T Rest = PAGE_SIZE - (SIZE_T)(Position & (PAGE_SIZE - 1));

            Rest = Rest < Length - *Done ? Rest : Length - *Done;
            if (CcpOverwritePage(CacheMap, Position, (const VOID *)((ULONG_PTR)Buffer + *Done), Rest))
            {
                *Done += Rest;
                continue;
            }
        }
        if (Write)
        {
            Piece = CcpMeasureResident(CacheMap, Position, Piece);
        }
        Piece = Piece < Length - *Done ? Piece : Length - *Done;
        Status = CcpGetView(CacheMap, Position, TRUE, &View);
        if (NT_SUCCESS(Status))
        {
            Status = CcpCopyPiece(View, Position, (PVOID)((ULONG_PTR)Buffer + *Done), Piece, Write, &Copied);
            CcpReleaseView(View);
        }
        *Done += Copied;
    }
    if (Write)
    {
        __atomic_store_n(&CacheMap->Dirty, 1, __ATOMIC_SEQ_CST);
    }
    return Status;
}

BOOLEAN CcpCovers(PFILE_OBJECT FileObject, ULONG64 End)
{
    PSHARED_CACHE_MAP CacheMap = FileObject->SectionObjectPointer->SharedCacheMap;

    return End <= __atomic_load_n(&CacheMap->ControlArea->Segment->SizeOfSegment, __ATOMIC_ACQUIRE);
}

NTSTATUS CcpRead(PFILE_OBJECT FileObject, ULONG64 Offset, PVOID Buffer, SIZE_T Length, PSIZE_T Done)
{
    PSHARED_CACHE_MAP CacheMap = FileObject->SectionObjectPointer->SharedCacheMap;
    ULONG64 End = IoFileSize(CacheMap->File);
    NTSTATUS Status;

    *Done = 0;
    if (Offset >= End)
    {
        return STATUS_END_OF_FILE;
    }
    Length = Length < End - Offset ? Length : (SIZE_T)(End - Offset);
    if (!CcpCovers(FileObject, End))
    {
        return IoReadStorage(CacheMap->File, Offset, Buffer, Length,
                             Done); /* somebody else made it longer just now */
    }
    CcpReadAhead(FileObject, CacheMap, Offset, Length);
    Status = CcpCopy(CacheMap, Offset, Buffer, Length, FALSE, CC_NOTHING_FRESH, Done);
    __atomic_fetch_add(&MiState.Mapping->CopyReads, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&MiState.Mapping->CopyReadBytes, *Done, __ATOMIC_RELAXED);
    return Status;
}

NTSTATUS CcpWrite(PFILE_OBJECT FileObject, ULONG64 Offset, const VOID *Buffer, SIZE_T Length, ULONG64 Fresh,
                  PSIZE_T Done)
{
    PSHARED_CACHE_MAP CacheMap = FileObject->SectionObjectPointer->SharedCacheMap;
    ULONG64 Tail = (Offset + Length) % PAGE_SIZE;
    NTSTATUS Status;

    if (Length > PAGE_SIZE)
    {
        /* Both ends at once; what lies between is overwritten. */
        if (!CcpNeedsNoRead(Offset, Length, Fresh))
        {
            CcpStartReads(CacheMap, Offset, 1);
        }
        if (Tail != 0 && !CcpNeedsNoRead(Offset + Length - Tail, Tail, Fresh))
        {
            CcpStartReads(CacheMap, Offset + Length - Tail, 1);
        }
    }
    Status = CcpCopy(CacheMap, Offset, (PVOID)(ULONG_PTR)Buffer, Length, TRUE, Fresh, Done);
    __atomic_fetch_add(&MiState.Mapping->CopyWrites, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&MiState.Mapping->CopyWriteBytes, *Done, __ATOMIC_RELAXED);
    return Status;
}

/* The pages are brought in by faults, because those say what the disk says. */
NTSTATUS CcpTouch(ULONG_PTR Va, SIZE_T Length, BOOLEAN Write)
{
    ULONG_PTR Last = (Va + Length - 1) & ~(ULONG_PTR)(PAGE_SIZE - 1);

    for (ULONG_PTR Page = Va & ~(ULONG_PTR)(PAGE_SIZE - 1); Page <= Last; Page += PAGE_SIZE)
    {
        NTSTATUS IoStatus = STATUS_SUCCESS;
        NTSTATUS Status = MiFaultAddress(&MiState.Space->System, Page, Write ? MiAccessWrite : MiAccessRead,
                                         KernelMode, &IoStatus);

        if (!NT_SUCCESS(Status))
        {
            return Status == STATUS_IN_PAGE_ERROR ? IoStatus : Status;
        }
    }
    return STATUS_SUCCESS;
}

/* ---- The public functions ------------------------------------------------------------------------------ */

BOOLEAN CcpIsResident(PSHARED_CACHE_MAP CacheMap, ULONG64 Offset, ULONG64 Length)
{
    ULONG64 Page = Offset >> PAGE_SHIFT;
    ULONG64 End = BYTES_TO_PAGES(Offset + Length);
    BOOLEAN Resident = TRUE;
    KIRQL OldIrql = KiRaiseIrqlToDispatch();

    for (; Page < End && Resident; Page++)
    {
        PMMPTE Prototype = MiLockPrototype(CacheMap->ControlArea->Segment, Page);

        Resident = FALSE;
        if (Prototype != NULL)
        {
            MMPTE Pte = MiReadPte(Prototype);

            if (Pte.Hard.Valid || MiIsTransition(Pte))
            {
                PMMPFN Pfn = MiPfn(Pte.Hard.PageFrameNumber);

                MiLockPfn(Pfn);
                Resident = MiReadPte(Prototype).Long == Pte.Long && !Pfn->e1.ReadInProgress;
                MiUnlockPfn(Pfn);
            }
            MiUnlockPrototype(Prototype);
        }
    }
    KiLowerIrqlFromDispatch(OldIrql);
    return Resident;
}

static VOID CcpRaise(NTSTATUS Status)
{
    if (!NT_SUCCESS(Status))
    {
        ExRaiseStatus(Status == STATUS_ACCESS_VIOLATION ? STATUS_INVALID_USER_BUFFER : Status);
    }
}

BOOLEAN NTAPI CcCopyRead(PFILE_OBJECT FileObject, PLARGE_INTEGER FileOffset, ULONG Length, BOOLEAN Wait,
                         PVOID Buffer, PIO_STATUS_BLOCK IoStatus)
{
    PSHARED_CACHE_MAP CacheMap = FileObject->SectionObjectPointer->SharedCacheMap;
    SIZE_T Done;
    NTSTATUS Status;

    if (!Wait && !CcpIsResident(CacheMap, (ULONG64)FileOffset->QuadPart, Length))
    {
        CcpStartReads(CacheMap, (ULONG64)FileOffset->QuadPart, Length);
        return FALSE;
    }
    Status = CcpRead(FileObject, (ULONG64)FileOffset->QuadPart, Buffer, Length, &Done);
    CcpRaise(Status);
    IoStatus->Status = STATUS_SUCCESS;
    IoStatus->Information = Done;
    return TRUE;
}

BOOLEAN NTAPI CcCopyWrite(PFILE_OBJECT FileObject, PLARGE_INTEGER FileOffset, ULONG Length, BOOLEAN Wait,
                          PVOID Buffer)
{
    PSHARED_CACHE_MAP CacheMap = FileObject->SectionObjectPointer->SharedCacheMap;
    SIZE_T Done;

    if (!Wait && !CcpIsResident(CacheMap, (ULONG64)FileOffset->QuadPart, Length))
    {
        return FALSE;
    }
    CcpRaise(CcpWrite(FileObject, (ULONG64)FileOffset->QuadPart, Buffer, Length, CC_NOTHING_FRESH, &Done));
    return TRUE;
}

/* Around the cache if the file is not cached: whole pages then, documented for sectors. */
BOOLEAN NTAPI CcZeroData(PFILE_OBJECT FileObject, PLARGE_INTEGER StartOffset, PLARGE_INTEGER EndOffset,
                         BOOLEAN Wait)
{
    PSHARED_CACHE_MAP CacheMap = CcpReferenceMap(FileObject->SectionObjectPointer);
    static const UCHAR Zeros[PAGE_SIZE];
    ULONG64 Offset = (ULONG64)StartOffset->QuadPart;
    NTSTATUS Status = STATUS_SUCCESS;

    if (CacheMap != NULL && !Wait && !CcpIsResident(CacheMap, Offset, (ULONG64)EndOffset->QuadPart - Offset))
    {
        CcpDereferenceMap(CacheMap);
        return FALSE;
    }
    while (Offset < (ULONG64)EndOffset->QuadPart && NT_SUCCESS(Status))
    {
        SIZE_T Piece = PAGE_SIZE - (SIZE_T)(Offset & (PAGE_SIZE - 1));
        SIZE_T Done;

        Piece = Piece < (ULONG64)EndOffset->QuadPart - Offset
                    ? Piece
                    : (SIZE_T)((ULONG64)EndOffset->QuadPart - Offset);
        Status = CacheMap != NULL ? CcpCopy(CacheMap, Offset, (PVOID)(ULONG_PTR)Zeros, Piece, TRUE,
                                            CC_NOTHING_FRESH, &Done)
                                  : IoWriteStorage(IoFileOf(FileObject), Offset, Zeros, Piece, &Done);
        Offset += Piece;
    }
    if (CacheMap != NULL)
    {
        CcpDereferenceMap(CacheMap);
    }
    CcpRaise(Status);
    return TRUE;
}
