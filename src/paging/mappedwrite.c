/* SPDX-License-Identifier: MIT */
/*
 * Writes of pages to mapped files: taking modified frames, the write, its end, and flushing. A page that is being written can be used, changed
 * and trimmed meanwhile: Modified was cleared before the write began, so whoever changes the page later sets it again, and the
 * page goes back to the modified list. Files are written in the order of their pages. Nothing is written beyond the end of the file:
 * the port sees to that, and says how far it came.
 */
#include "paging/mapped.h"

#define MI_REST_FIRST   50000000ull /* 50 ms after the first error, doubling */
#define MI_REST_MAXIMUM 5000000000ull

typedef enum _MI_TAKE
{
    MiPageUntouched, /* clean, and nobody was about to change that */
    MiPageClean,
    MiPageTaken,
    MiPageBeingWritten
} MI_TAKE;

/* ---- Taking pages -------------------------------------------------------------------------------------- */

static VOID MiBeginWriteOfPage(PMMPFN Pfn)
{
    MMPFNENTRY Entry = MiReadPfnEntry(Pfn);

    Entry.Modified = 0;
    Entry.WriteInProgress = 1;
    MiWritePfnEntry(Pfn, Entry);
}

/* Frame locked, and to be written: it is the write's, with a reference, and clean until somebody changes it. */
static VOID MiClaimForWrite(PMMPFN Pfn)
{
    if (Pfn->ReferenceCount == 0)
    {
        MiUnlinkPage(Pfn);
    }
    MiIncrementReferenceCount(Pfn);
    MiBeginWriteOfPage(Pfn);
}

/*
 * A look without the lock, for who goes through a whole file: one of the two bits is to be seen at any time until the page is clean. Unseen by TSan: the
 * owner's writes are plain.
 */
PORT_UNSEEN_BY_TSAN
static DECLSPEC_NOINLINE BOOLEAN MiMayBeModified(const MMPFN *Pfn)
{
    const MMPFNENTRY Entry =
        *(const volatile MMPFNENTRY *)&Pfn->e1; /* in place: an inline function would be seen */

    return Entry.Modified || Entry.WriteInProgress;
}

/* The page of Prototype, whose page is locked. ListedOnly: not what somebody maps. */
static MI_TAKE MiTakePage(PMMPTE Prototype, BOOLEAN ListedOnly, PFN_NUMBER *Frame)
{
    for (;;)
    {
        MMPTE Pte = MiReadPte(Prototype);
        MI_TAKE Take = MiPageClean;
        PMMPFN Pfn;

        if (!Pte.Hard.Valid && !MiIsTransition(Pte))
        {
            return MiPageUntouched;
        }
        *Frame = Pte.Hard.PageFrameNumber; /* the same bits in both formats */
        Pfn = MiPfn(*Frame);
        if (!MiMayBeModified(Pfn) && MiReadPte(Prototype).Long == Pte.Long)
        {
            return MiPageUntouched;
        }
        MiLockPfn(Pfn);
        if (MiReadPte(Prototype).Long != Pte.Long)
        {
            MiUnlockPfn(Pfn);
            continue;
        }
        if (Pfn->e1.WriteInProgress)
        {
            Take = MiPageBeingWritten;
        }
        else if (Pfn->e1.Modified && !Pfn->e1.ReadInProgress && MiIsPrototype(Pfn->OriginalPte) &&
                 (!ListedOnly || Pfn->e1.PageLocation == ModifiedPageList))
        {
            MiClaimForWrite(Pfn);
            Take = MiPageTaken;
        }
        MiUnlockPfn(Pfn);
        return Take;
    }
}

static ULONG64 MiEndOfChunk(ULONG64 Page)
{
    return (Page | (MI_CHUNK_PAGES - 1)) + 1;
}

/*
 * From *Page on, before End: the next run of modified pages of one chunk goes into Write (Count may be 0). *Page becomes the next one to look at;
 * TRUE: somebody else is writing it. A chunk that was found clean from its first page to its last is passed over from then on, until one of its frames
 * becomes modified (MiNoteModified): the note is taken back before the look, because who sets it has marked his frame before.
 */
static BOOLEAN MiGatherRun(PMI_MAPPED_WRITE Write, PSEGMENT Segment, PULONG64 Page, ULONG64 End)
{
    ULONG64 ChunkEnd = MiEndOfChunk(*Page);
    MI_TAKE Take = MiPageUntouched;
    BOOLEAN Whole = *Page % MI_CHUNK_PAGES == 0 && End >= ChunkEnd;
    BOOLEAN Clean = TRUE;
    PMI_PROTOTYPE_CHUNK Chunk;
    PMMPTE Prototype;
    KIRQL OldIrql;

    Write->Count = 0;
    End = End < ChunkEnd ? End : ChunkEnd;
    OldIrql = KiRaiseIrqlToDispatch();
    Prototype = MiLockPrototype(Segment, *Page);
    if (Prototype == NULL)
    {
        KiLowerIrqlFromDispatch(OldIrql);
        *Page = End;
        return FALSE;
    }
    Chunk = MiChunkOfPrototype(Prototype);
    if (__atomic_load_n(&Chunk->Modified, __ATOMIC_ACQUIRE) == 0)
    {
        MiUnlockPrototype(Prototype);
        KiLowerIrqlFromDispatch(OldIrql);
        *Page = End;
        return FALSE;
    }
    if (Whole)
    {
        __atomic_exchange_n(&Chunk->Modified, 0, __ATOMIC_SEQ_CST);
    }
    Write->FirstPage = *Page;
    for (PMMPTE Current = Prototype; *Page < End && Write->Count < MI_MAPPED_CLUSTER; Current++)
    {
        Take = MiTakePage(Current, FALSE, &Write->Frames[Write->Count]);
        Clean = Clean && Take == MiPageUntouched;
        if (Take == MiPageTaken)
        {
            Write->Count++;
        }
        else if (Take == MiPageBeingWritten || Write->Count != 0)
        {
            break;
        }
        *Page += 1;
        Write->FirstPage += Take != MiPageTaken;
    }
    if (Whole && !Clean)
    {
        __atomic_store_n(&Chunk->Modified, 1, __ATOMIC_RELEASE);
    }
    MiUnlockPrototype(Prototype);
    KiLowerIrqlFromDispatch(OldIrql);
    return Take == MiPageBeingWritten && Write->Count == 0;
}

/* ---- The write ----------------------------------------------------------------------------------------- */

static VOID MiEndMappedPage(PFN_NUMBER Frame, BOOLEAN Success)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    PMMPFN Pfn = MiPfn(Frame);
    MMPFNENTRY Entry;

    MiLockPfn(Pfn);
    Entry = MiReadPfnEntry(Pfn);
    Entry.WriteInProgress = 0;
    Entry.Modified |= !Success;
    MiWritePfnEntry(Pfn, Entry);
    if (!Success)
    {
        MiNoteModified(Pfn);
    }
    MiDecrementReferenceCount(Pfn);
    MiUnlockPfn(Pfn);
    KiLowerIrqlFromDispatch(OldIrql);
}

/* A file that refuses writes rests, longer with each error in a row. */
static VOID MiNoteMappedResult(PCONTROL_AREA ControlArea, NTSTATUS Status)
{
    if (NT_SUCCESS(Status))
    {
        __atomic_store_n(&ControlArea->WriteErrors, 0, __ATOMIC_RELAXED);
    }
    else
    {
        ULONG Errors = __atomic_fetch_add(&ControlArea->WriteErrors, 1, __ATOMIC_RELAXED);
        ULONG64 Delay = MI_REST_FIRST << (Errors < 7 ? Errors : 7);

        Delay = Delay < MI_REST_MAXIMUM ? Delay : MI_REST_MAXIMUM;
        __atomic_store_n(&ControlArea->WriteRetryTime, KiQueryTime() + Delay, __ATOMIC_RELAXED);
        MiCount(PageWriteErrors);
    }
}

static VOID MiMappedWriteComplete(PORT_IO *Io)
{
    PMI_MAPPED_WRITE Write = Io->Context;
    PKEVENT Done = Write->Done;
    SIZE_T Written = NT_SUCCESS(Io->Status) ? Io->Information : 0;

    Write->Status = Io->Status;
    if (NT_SUCCESS(Io->Status) && Written <= (SIZE_T)(Write->Count - 1) << PAGE_SHIFT)
    {
        Write->Status = STATUS_END_OF_FILE; /* the file ends before the last page: somebody made it shorter */
    }
    MiNoteMappedResult(Write->ControlArea, Write->Status);
    for (ULONG Index = 0; Index < Write->Count; Index++)
    {
        MiEndMappedPage(Write->Frames[Index], Written > (SIZE_T)Index << PAGE_SHIFT);
    }
    /* The control area may be gone from here on. */
    __atomic_fetch_sub(&Write->ControlArea->ModifiedWriteCount, 1, __ATOMIC_ACQ_REL);
    if (Done != NULL)
    {
        KeSetEvent(&MiState.Paging->WriteDone, 0, FALSE);
        KeSetEvent(Done, 0, FALSE); /* and Write from here on */
        return;
    }
    MiReturnMappedWrite(Write);
}

VOID MiStartMappedWrite(PMI_MAPPED_WRITE Write)
{
    PIO_FCB File = IoFileOf(Write->ControlArea->FilePointer);

    Write->Io = (PORT_IO){
        .Storage = File->Storage,
        .Offset = Write->FirstPage << PAGE_SHIFT,
        .Frames = Write->Frames,
        .Count = Write->Count,
        .Write = TRUE,
        .Completion = MiMappedWriteComplete,
        .Context = Write,
    };
    MiCount(PageWrites);
    MiCountMany(PagesOutput, Write->Count);
    MiCountMany(MappedPagesOutput, Write->Count);
    if (KiInject(KiInjectWrite))
    {
        Write->Io.Status = STATUS_IO_DEVICE_ERROR;
        MiMappedWriteComplete(&Write->Io);
        return;
    }
    PortStartIo(&Write->Io);
}

/* ---- The writer's clusters ----------------------------------------------------------------------------- */

/* Called with the frame and its list locked: counts the write if the file may be written now. A file that nobody but the cache may write: NULL. */
static BOOLEAN MiMayWriteFrame(PMMPFN Pfn, PVOID Context)
{
    PCONTROL_AREA ControlArea = MiChunkOfPrototype(Pfn->PteAddress)->Segment->ControlArea;
    BOOLEAN May;

    if (__atomic_load_n(&ControlArea->NoModifiedWriting, __ATOMIC_SEQ_CST) != 0)
    {
        __atomic_store_n(&ControlArea->NoWritePages, 1, __ATOMIC_SEQ_CST);
        *(PCONTROL_AREA *)Context = NULL;
        return TRUE;
    }
    KiAcquireSpinLockAtDispatch(&MiState.Section->Lock);
    May = !ControlArea->u.BeingDeleted &&
          KiQueryTime() >= __atomic_load_n(&ControlArea->WriteRetryTime, __ATOMIC_RELAXED);
    if (May)
    {
        __atomic_fetch_add(&ControlArea->ModifiedWriteCount, 1, __ATOMIC_ACQ_REL);
        *(PCONTROL_AREA *)Context = ControlArea;
    }
    KiReleaseSpinLockFromDispatch(&MiState.Section->Lock);
    return May;
}

/* Pages on both sides of the one that was found, as long as they are modified and nobody maps them. */
static VOID MiWidenCluster(PMI_MAPPED_WRITE Write, ULONG64 Page)
{
    ULONG Place = (ULONG)(Page % MI_CHUNK_PAGES);
    PFN_NUMBER Found = Write->Frames[0];
    PFN_NUMBER Before[MI_MAPPED_CLUSTER / 2];
    ULONG Back = 0;
    PMMPTE Prototype = MiLockPrototype(Write->ControlArea->Segment, Page);

    KiRequire(Prototype != NULL); /* the page being written keeps it */
    while (Back < Place && Back < MI_MAPPED_CLUSTER / 2 &&
           MiTakePage(Prototype - Back - 1, TRUE, &Before[Back]) == MiPageTaken)
    {
        Back++;
    }
    for (ULONG Index = 0; Index < Back; Index++)
    {
        Write->Frames[Index] = Before[Back - 1 - Index];
    }
    Write->Frames[Back] = Found;
    Write->FirstPage = Page - Back;
    Write->Count = Back + 1;
    for (ULONG Ahead = 1; Place + Ahead < MI_CHUNK_PAGES && Write->Count < MI_MAPPED_CLUSTER; Ahead++)
    {
        if (MiTakePage(Prototype + Ahead, TRUE, &Write->Frames[Write->Count]) != MiPageTaken)
        {
            break;
        }
        Write->Count++;
    }
    MiUnlockPrototype(Prototype);
}

BOOLEAN MiGatherForWriter(PMI_MAPPED_WRITE Write)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    PMMPFN Pfn;
    ULONG64 Page;

    for (;;)
    {
        Pfn = MiRemoveSuitableLocked(&MiState.Physical->ModifiedMappedList, MiMayWriteFrame,
                                     &Write->ControlArea);
        if (Pfn == NULL)
        {
            KiLowerIrqlFromDispatch(OldIrql);
            return FALSE;
        }
        if (Write->ControlArea != NULL)
        {
            break;
        }
        MiInsertNoWritePage(Pfn);
        MiUnlockPfn(Pfn);
    }
    Page = MiPageOfPrototype(Pfn->PteAddress);
    MiIncrementReferenceCount(Pfn);
    MiBeginWriteOfPage(Pfn);
    Write->Frames[0] = MiPfnFrame(Pfn);
    MiUnlockPfn(Pfn);
    MiWidenCluster(Write, Page);
    KiLowerIrqlFromDispatch(OldIrql);
    return TRUE;
}

/* ---- Flushing ------------------------------------------------------------------------------------------ */

typedef struct _MI_FLUSH
{
    PCONTROL_AREA ControlArea;
    NTSTATUS Status;
    ULONG Next;
    MI_MAPPED_WRITE Writes[MI_MAPPED_WRITES];
} MI_FLUSH;

static VOID MiWaitForOtherWrite(void)
{
    LARGE_INTEGER Timeout = { .QuadPart = -20000 }; /* 2 ms: then look again, whatever was signaled */

    KeWaitForSingleObject(&MiState.Paging->WriteDone, WrPageOut, KernelMode, FALSE, &Timeout);
}

static VOID MiStartFlushWrite(MI_FLUSH *Flush, PMI_MAPPED_WRITE Write)
{
    Write->ControlArea = Flush->ControlArea;
    Write->Started = TRUE;
    Write->Done = &Write->Event;
    KeInitializeEvent(&Write->Event, NotificationEvent, FALSE);
    __atomic_fetch_add(&Flush->ControlArea->ModifiedWriteCount, 1, __ATOMIC_ACQ_REL);
    MiStartMappedWrite(Write);
}

/* Waits for the write in this block, if there is one. */
static NTSTATUS MiFinishFlushWrite(PMI_MAPPED_WRITE Write)
{
    if (!Write->Started)
    {
        return STATUS_SUCCESS;
    }
    KeWaitForSingleObject(&Write->Event, WrPageOut, KernelMode, FALSE, NULL);
    Write->Started = FALSE;
    return Write->Status;
}

/* A cluster failed: one of its pages may be the bad one, the others need not suffer. */
static VOID MiFlushSingly(MI_FLUSH *Flush, PMI_MAPPED_WRITE Write)
{
    ULONG64 Page = Write->FirstPage;
    ULONG64 End = Page + Write->Count;

    while (Page < End)
    {
        ULONG64 Next = Page;

        if (!MiGatherRun(Write, Flush->ControlArea->Segment, &Next, Page + 1) && Write->Count != 0)
        {
            NTSTATUS Status;

            MiStartFlushWrite(Flush, Write);
            Status = MiFinishFlushWrite(Write);
            Flush->Status = NT_SUCCESS(Flush->Status) ? Status : Flush->Status;
        }
        Page++;
    }
}

static VOID MiSettleFlushWrite(MI_FLUSH *Flush, PMI_MAPPED_WRITE Write)
{
    NTSTATUS Status = MiFinishFlushWrite(Write);

    if (!NT_SUCCESS(Status) && Write->Count > 1)
    {
        MiFlushSingly(Flush, Write);
    }
    else if (NT_SUCCESS(Flush->Status))
    {
        Flush->Status = Status;
    }
}

NTSTATUS MiFlushSegmentPages(PCONTROL_AREA ControlArea, ULONG64 FirstPage, ULONG64 Pages)
{
    ULONG64 End = MiSegmentPagesEnd(ControlArea->Segment, FirstPage, Pages);
    MI_FLUSH Flush;

    Flush.ControlArea = ControlArea;
    Flush.Status = STATUS_SUCCESS;
    Flush.Next = 0;
    for (ULONG Index = 0; Index < MI_MAPPED_WRITES; Index++)
    {
        Flush.Writes[Index].Started = FALSE;
    }
    while (FirstPage < End)
    {
        PMI_MAPPED_WRITE Write = &Flush.Writes[Flush.Next];

        MiSettleFlushWrite(&Flush, Write);
        if (MiGatherRun(Write, ControlArea->Segment, &FirstPage, End))
        {
            MiWaitForOtherWrite();
        }
        else if (Write->Count != 0)
        {
            MiStartFlushWrite(&Flush, Write);
            Flush.Next = (Flush.Next + 1) % MI_MAPPED_WRITES;
        }
    }
    for (ULONG Index = 0; Index < MI_MAPPED_WRITES; Index++)
    {
        MiSettleFlushWrite(&Flush, &Flush.Writes[(Flush.Next + Index) % MI_MAPPED_WRITES]);
    }
    return Flush.Status;
}

NTSTATUS MiFlushDataFile(PFILE_OBJECT FileObject)
{
    PCONTROL_AREA ControlArea = MiReferenceAnchoredControlArea(
        (PVOID volatile *)&FileObject->SectionObjectPointer->DataSectionObject);
    NTSTATUS Status;

    if (ControlArea == NULL)
    {
        return STATUS_SUCCESS;
    }
    Status = MiFlushSegmentPages(ControlArea, 0, ~0ull);
    MiDereferenceControlArea(ControlArea, MiSectionReference, FALSE, FALSE);
    return Status;
}

/* ---- The end of a control area ------------------------------------------------------------------------- */

static BOOLEAN MiCountModifiedInChunk(PMI_PROTOTYPE_CHUNK Chunk, PVOID Context)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    PMMPTE Prototype = MiLockPrototype(Chunk->Segment, Chunk->FirstPage);

    for (ULONG Index = 0; Prototype != NULL && Index < MI_CHUNK_PAGES; Index++)
    {
        MMPTE Pte = MiReadPte(&Prototype[Index]);

        if (Pte.Hard.Valid || MiIsTransition(Pte))
        {
            *(PULONG64)Context += MiReadPfnEntry(MiPfn(Pte.Hard.PageFrameNumber)).Modified;
        }
    }
    if (Prototype != NULL)
    {
        MiUnlockPrototype(Prototype);
    }
    KiLowerIrqlFromDispatch(OldIrql);
    return TRUE;
}

ULONG64 MiCountModifiedPages(PSEGMENT Segment)
{
    ULONG64 Count = 0;

    MiForEachChunk(Segment, MiCountModifiedInChunk, &Count);
    return Count;
}

/* Pages on the modified no-write list become ordinary modified ones. */
static BOOLEAN MiRelistChunk(PMI_PROTOTYPE_CHUNK Chunk, PVOID Context)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    PMMPTE Prototype = MiLockPrototype(Chunk->Segment, Chunk->FirstPage);

    UNREFERENCED_PARAMETER(Context);
    for (ULONG Index = 0; Prototype != NULL && Index < MI_CHUNK_PAGES; Index++)
    {
        MMPTE Pte = MiReadPte(&Prototype[Index]);

        if (MiIsTransition(Pte))
        {
            PMMPFN Pfn = MiPfn(Pte.Trans.PageFrameNumber);

            MiLockPfn(Pfn);
            if (MiReadPte(&Prototype[Index]).Long == Pte.Long &&
                Pfn->e1.PageLocation == ModifiedNoWritePageList)
            {
                MiUnlinkPage(Pfn);
                MiInsertPageInList(Pfn);
            }
            MiUnlockPfn(Pfn);
        }
    }
    if (Prototype != NULL)
    {
        MiUnlockPrototype(Prototype);
    }
    KiLowerIrqlFromDispatch(OldIrql);
    return TRUE;
}

VOID MiPermitMappedWrites(PCONTROL_AREA ControlArea)
{
    __atomic_store_n(&ControlArea->NoModifiedWriting, 0, __ATOMIC_SEQ_CST);
    MiForEachChunk(ControlArea->Segment, MiRelistChunk, NULL);
}

VOID MiAwaitMappedWrites(PCONTROL_AREA ControlArea)
{
    while (__atomic_load_n(&ControlArea->ModifiedWriteCount, __ATOMIC_ACQUIRE) != 0)
    {
        MiWaitForOtherWrite();
    }
}

BOOLEAN MiCleanControlArea(PCONTROL_AREA ControlArea, BOOLEAN Last)
{
    ULONG64 Left;

    MiAwaitMappedWrites(ControlArea);
    if (ControlArea->Backing != MiBackingDataFile || ControlArea->FilePointer == NULL ||
        NT_SUCCESS(MiFlushSegmentPages(ControlArea, 0, ~0ull)))
    {
        return TRUE;
    }
    Left = MiCountModifiedPages(ControlArea->Segment);
    if (Last)
    {
        MiCountMany(MappedPagesLost, Left);
    }
    return Left == 0;
}
