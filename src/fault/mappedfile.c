/* SPDX-License-Identifier: MIT */
/*
 * Pages of data files: reading them in clusters, and reading ahead for whoever goes through a file in order. Pages that come along are
 * transition pages on standby, as with the paging file; they belong to the file, so every view finds them. mapahead.c maps them.
 */
#include "fault/resolve.h"
#include "io/io.h"

#define MI_FILE_NEIGHBOURS 32u /* pages read for a reader that jumps: an aligned block of the file */
#define MI_FILE_JUMPS                                                                                        \
    8u /* then the block becomes twice as large, up to a chunk, while the view has room in memory */
#define MI_NOBODY_ASKED (~0u)
#define MI_FILE_MISSES  64u /* such reads in vain before he gets single pages */

static MMPTE MiFilePte(PCONTROL_AREA ControlArea)
{
    return MiMakeSubsectionPte(&ControlArea->FirstSubsection, MM_READWRITE);
}

static BOOLEAN MiIsInFile(PMMPTE Prototype)
{
    MMPTE Pte = MiReadPte(Prototype);

    return Pte.Long == 0 || MiIsPrototype(Pte);
}

/*
 * Where the frame of a page should lie: behind that of the page before it, so that what is read in parts becomes one run; else as the page lies in its
 * chunk, because views lie alike (MiPlaceView) and the port maps 2 MiB that do so with one entry.
 */
static PFN_NUMBER MiPlaceOfPage(PMMPTE Prototype, ULONG64 Page)
{
    ULONG Index = (ULONG)(Page % MI_CHUNK_PAGES);

    for (ULONG Back = 1; Back <= Index; Back++)
    {
        MMPTE Pte = MiReadPte(Prototype - Back);

        if (Pte.Hard.Valid || MiIsTransition(Pte))
        {
            return Pte.Hard.PageFrameNumber + Back;
        }
    }
    return Index;
}

/* Pages for one read: large ones cost the disk least, but what is read ahead must find room. */
static ULONG MiLargestFileRead(void)
{
    PFN_NUMBER Room = MiAvailablePages() / 8;

    return Room >= MI_FILE_CLUSTER ? MI_FILE_CLUSTER : Room > MI_READ_CLUSTER ? (ULONG)Room : MI_READ_CLUSTER;
}

/*
 * Adds pages from Prototype on, of one chunk whose page is locked, to the read: Wanted at most, up to the end of the segment, or to the first that is not in
 * the file only. Frames are taken in runs: consecutive frames are one piece for the disk and for the TB. Asked: which of them the fault is for; others come along.
 */
static VOID MiAddFilePages(PMMINPAGE_SUPPORT InPage, PCONTROL_AREA ControlArea, PMMPTE Prototype,
                           ULONG64 Page, ULONG Wanted, ULONG Priority, ULONG Asked)
{
    ULONG64 Pages = __atomic_load_n(&ControlArea->Segment->TotalNumberOfPtes, __ATOMIC_ACQUIRE);
    ULONG Limit = MI_CHUNK_PAGES - (ULONG)(Page % MI_CHUNK_PAGES);
    ULONG Added = 0;

    Limit = Page >= Pages ? 0 : (Pages - Page < Limit ? (ULONG)(Pages - Page) : Limit);
    Wanted = Wanted < Limit ? Wanted : Limit;
    for (Limit = 0; Limit < Wanted && MiIsInFile(&Prototype[Limit]); Limit++)
    {
    }
    while (Added < Limit)
    {
        ULONG Got = 0;
        PFN_NUMBER Frame =
            MiAllocatePageRun(Limit - Added, 0, MiPlaceOfPage(&Prototype[Added], Page + Added), &Got);

        if (Frame == 0)
        {
            return;
        }
        for (ULONG Index = 0; Index < Got; Index++, Added++)
        {
            if (Added != Asked)
            {
                MiMarkReadAhead(MiPfn(Frame + Index));
                MiCount(ReadAheadPages);
            }
            MiAddToRead(InPage, &Prototype[Added], MiFilePte(ControlArea), Frame + Index, TRUE, Priority);
        }
    }
}

static VOID MiStartFileRead(PMMINPAGE_SUPPORT InPage, PCONTROL_AREA ControlArea, ULONG64 Page,
                            BOOLEAN Synchronous)
{
    PIO_FCB File = IoFileOf(ControlArea->FilePointer);

    /* The file may end inside the last page, whose rest is zeros then; nothing but that may be missing. */
    InPage->MinimumBytes = ((SIZE_T)(InPage->Count - 1) << PAGE_SHIFT) + 1;
    MiCount(MappedFileReads);
    MiCountMany(MappedPagesInput, InPage->Count);
    MiStartStorageRead(InPage, File->Storage, Page << PAGE_SHIFT, Synchronous);
}

VOID MiCreditNeighbours(PMMVAD Vad, ULONG Hits)
{
    USHORT Misses = __atomic_load_n(&Vad->ReadMisses, __ATOMIC_RELAXED);

    if (Misses != 0)
    {
        __atomic_store_n(&Vad->ReadMisses, (USHORT)(Misses > Hits ? Misses - Hits : 0), __ATOMIC_RELAXED);
    }
}

BOOLEAN MiViewFits(PMMVAD Vad)
{
    PFN_NUMBER Memory = MiState.Physical->NumberOfPages;

    return Vad->EndingVpn - Vad->StartingVpn < Memory - Memory / 8 && MiAvailablePages() > Memory / 8;
}

/*
 * Who jumps about in a view that has room in memory will have read all of it after a while, and large blocks are the quickest way there; who does so a
 * few times only wants his page soon.
 */
static ULONG MiGrowBlock(PMMVAD Vad)
{
    USHORT Misses = __atomic_load_n(&Vad->ReadMisses, __ATOMIC_RELAXED);
    ULONG Block = MI_FILE_NEIGHBOURS << Misses / MI_FILE_JUMPS;
    ULONG Most = MiLargestFileRead();

    C_ASSERT(MI_FILE_NEIGHBOURS << MI_FILE_MISSES / 2 / MI_FILE_JUMPS == MI_CHUNK_PAGES);
    if (Misses < MI_FILE_MISSES / 2)
    {
        __atomic_store_n(&Vad->ReadMisses, (USHORT)(Misses + 1), __ATOMIC_RELAXED);
    }
    while (Block > Most || Block > MI_CHUNK_PAGES)
    {
        Block /= 2;
    }
    return Block;
}

/*
 * The pages, a power of two and aligned, that a reader who jumps gets with his page; 1: the page alone. While the view has room in memory it is always a
 * block: none is ever read twice, so the worst that can come of it is the time to read the file in order. Otherwise files still have neighbourhoods, until
 * many such reads were in vain; then single pages, which the disk brings sooner, until he lands near his last place again.
 */
static ULONG MiJumpBlock(PMI_FAULT Fault)
{
    ULONG_PTR Distance;
    USHORT Misses;

    if (Fault->Single || Fault->Vad == NULL || Fault->Prefetch)
    {
        return 1;
    }
    if (MiViewFits(Fault->Vad))
    {
        return MiGrowBlock(Fault->Vad);
    }
    Distance = (Fault->Va >> PAGE_SHIFT) - __atomic_load_n(&Fault->Vad->ReadAheadNext, __ATOMIC_RELAXED) +
               MI_FILE_NEIGHBOURS;
    if (Distance < 2 * MI_FILE_NEIGHBOURS)
    {
        MiCreditNeighbours(Fault->Vad, 4);
    }
    Misses = __atomic_load_n(&Fault->Vad->ReadMisses, __ATOMIC_RELAXED);
    if (Misses >= MI_FILE_MISSES || MiAvailablePages() <= MiState.Physical->NumberOfPages / 4)
    {
        return 1;
    }
    __atomic_store_n(&Fault->Vad->ReadMisses, (USHORT)(Misses + 1), __ATOMIC_RELAXED);
    return MI_FILE_NEIGHBOURS;
}

/* Pages before the wanted one that its block begins with, as far as the file alone has them and the view shows them. */
static ULONG MiCountBefore(PMI_FAULT Fault, PMMPTE Prototype, ULONG Block)
{
    ULONG Limit = (ULONG)(Fault->SegmentPage % Block);
    ULONG_PTR Shown = (Fault->Va >> PAGE_SHIFT) - Fault->Vad->StartingVpn;
    ULONG Before = 0;

    Limit = Shown < Limit ? (ULONG)Shown : Limit;
    while (Before < Limit && MiIsInFile(Prototype - Before - 1))
    {
        Before++;
    }
    return Before;
}

static MI_FAULT_RESULT MiResolveFilePage(PMI_FAULT Fault, PMMPTE Prototype)
{
    PCONTROL_AREA ControlArea = Fault->ControlArea;
    ULONG Priority = MiPagePriority(Fault);
    ULONG64 FirstPage = Fault->SegmentPage;
    ULONG Window = MiReadWindow(Fault, MiLargestFileRead());
    ULONG Before = 0;
    PMMINPAGE_SUPPORT InPage;
    PFN_NUMBER Frame;
    ULONG Block;

    if (FirstPage >= __atomic_load_n(&ControlArea->Segment->TotalNumberOfPtes, __ATOMIC_ACQUIRE))
    {
        Fault->Status = STATUS_ACCESS_VIOLATION; /* the file is shorter now */
        return MiFaultFailed;
    }
    InPage = MiAllocateInPage();
    if (InPage == NULL)
    {
        return MiFaultNeedBlock;
    }
    Block = Window == 1 ? MiJumpBlock(Fault) : 1;
    Fault->Jumped = Block != 1;
    if (Fault->Jumped)
    {
        Before = MiCountBefore(Fault, Prototype, Block);
        Window = Block - (ULONG)(FirstPage % Block);
    }
    MiAddFilePages(InPage, ControlArea, Prototype - Before, FirstPage - Before, Before + Window, Priority,
                   Before);
    if (InPage->Count <= Before)
    {
        /* No frame for the wanted page. What was taken for others is in transition already, and is read. */
        if (InPage->Count != 0)
        {
            MiStartFileRead(InPage, ControlArea, FirstPage - Before, FALSE);
        }
        MiDereferenceInPage(InPage);
        return MiFaultNeedFrame;
    }
    Frame = InPage->Frames[Before];
    MiPfn(Frame)->ReferenceCount = Fault->Prefetch ? 1 : 2; /* the read's, and our hold */
    MiNoteRead(Fault, InPage->Count - Before);
    Fault->HeldFrame = Fault->Prefetch ? 0 : Frame;
    Fault->InPage = InPage;
    Fault->HardFault = TRUE;
    MiCount(MappedFileFaults);
    MiStartFileRead(InPage, ControlArea, FirstPage - Before, !Fault->Prefetch);
    return MiFaultNeedRead;
}

/* ---- Reading ahead ------------------------------------------------------------------------------------- */

ULONG MiStartFileReadAhead(PCONTROL_AREA ControlArea, ULONG64 Page, ULONG Count, ULONG Priority)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    PMMPTE Prototype = MiTryPrototype(ControlArea->Segment, Page);
    PMMINPAGE_SUPPORT InPage = NULL;
    ULONG Started = 0;

    if (Prototype != NULL)
    {
        InPage = MiAllocateInPage();
    }
    if (InPage != NULL)
    {
        Count = Count < MI_FILE_CLUSTER ? Count : MI_FILE_CLUSTER;
        MiAddFilePages(InPage, ControlArea, Prototype, Page, Count, Priority, MI_NOBODY_ASKED);
        Started = InPage->Count;
        if (Started != 0)
        {
            MiStartFileRead(InPage, ControlArea, Page, FALSE);
        }
        MiDereferenceInPage(InPage);
    }
    if (Prototype != NULL)
    {
        MiUnlockPrototype(Prototype);
    }
    KiLowerIrqlFromDispatch(OldIrql);
    return Started;
}

NTSTATUS MiReadFilePages(PCONTROL_AREA ControlArea, ULONG64 Page, ULONG Count, PULONG Passed,
                         PMMINPAGE_SUPPORT *Read)
{
    PMMINPAGE_SUPPORT InPage = MiAllocateInPage();
    NTSTATUS Status = STATUS_SUCCESS;
    PMMPTE Prototype;
    KIRQL OldIrql;

    while (InPage == NULL)
    {
        MiWaitForInPageBlock();
        InPage = MiAllocateInPage();
    }
    OldIrql = KiRaiseIrqlToDispatch();
    Prototype = MiLockPrototype(ControlArea->Segment, Page);
    *Passed = 1;
    if (MiIsInFile(Prototype))
    {
        Count = Count < MiLargestFileRead() ? Count : MiLargestFileRead();
        MiAddFilePages(InPage, ControlArea, Prototype, Page, Count, MI_DEFAULT_PRIORITY, MI_NOBODY_ASKED);
        Status = InPage->Count != 0 ? STATUS_SUCCESS : STATUS_INSUFFICIENT_RESOURCES;
    }
    MiUnlockPrototype(Prototype);
    KiLowerIrqlFromDispatch(OldIrql);
    if (InPage->Count == 0)
    {
        MiDereferenceInPage(InPage);
        return Status;
    }
    *Passed = InPage->Count;
    *Read = InPage;
    MiStartFileRead(InPage, ControlArea, Page, FALSE);
    return STATUS_SUCCESS;
}

/* ---- Overwriting --------------------------------------------------------------------------------------- */

/* The page is part of the file, and nowhere else. Its prototype PTE is locked. */
static BOOLEAN MiMayOverwrite(PCONTROL_AREA ControlArea, ULONG64 Page, PMMPTE Prototype)
{
    return Page < __atomic_load_n(&ControlArea->Segment->TotalNumberOfPtes, __ATOMIC_ACQUIRE) &&
           MiIsInFile(Prototype);
}

PFN_NUMBER MiBeginOverwrite(PCONTROL_AREA ControlArea, ULONG64 Page)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    PMMPTE Prototype = MiTryPrototype(ControlArea->Segment, Page);
    PFN_NUMBER Frame = 0;
    ULONG Got;

    if (Prototype != NULL)
    {
        if (MiMayOverwrite(ControlArea, Page, Prototype) &&
            MiAvailablePages() > MiState.Physical->LowThreshold)
        {
            Frame = MiAllocatePageRun(1, 0, MiPlaceOfPage(Prototype, Page), &Got);
        }
        MiUnlockPrototype(Prototype);
    }
    KiLowerIrqlFromDispatch(OldIrql);
    return Frame;
}

/* Prototype's page and the frame locked; nobody knows the frame. */
static VOID MiPutFilePage(PCONTROL_AREA ControlArea, PMMPTE Prototype, PMMPFN Pfn)
{
    Pfn->PteAddress = Prototype;
    Pfn->OriginalPte = MiFilePte(ControlArea);
    Pfn->e1.PageLocation = TransitionPage;
    Pfn->e1.PrototypePte = 1;
    Pfn->e1.Priority = MI_DEFAULT_PRIORITY;
    MiSetFrameModified(Pfn);
    MiWritePte(Prototype, MiMakeTransitionPte(MiPfnFrame(Pfn), MM_READWRITE));
    MiIncrementPageTableShare(Prototype);
    MiDecrementReferenceCount(Pfn);
}

BOOLEAN MiEndOverwrite(PCONTROL_AREA ControlArea, ULONG64 Page, PFN_NUMBER Frame, BOOLEAN Complete)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    PMMPTE Prototype = Complete ? MiTryPrototype(ControlArea->Segment, Page) : NULL;
    BOOLEAN Done = Prototype != NULL && MiMayOverwrite(ControlArea, Page, Prototype);

    if (Done)
    {
        MiLockPfn(MiPfn(Frame));
        MiPutFilePage(ControlArea, Prototype, MiPfn(Frame));
        MiUnlockPfn(MiPfn(Frame));
    }
    if (Prototype != NULL)
    {
        MiUnlockPrototype(Prototype);
    }
    KiLowerIrqlFromDispatch(OldIrql);
    if (!Done)
    {
        MiFreePage(Frame);
    }
    return Done;
}

/*
 * A page that came along was used, or a reader's own read is about to be: the next clusters are put under way before he needs them. The window
 * lies between what he uses and Vad->ReadAheadNext.
 */
VOID MiContinueFileReadAhead(PMI_FAULT Fault)
{
    ULONG_PTR Vpn = Fault->Va >> PAGE_SHIFT;
    ULONG Most = MiLargestFileRead();
    PMMVAD Vad = Fault->Vad;

    for (ULONG Round = 0; Round < 2; Round++)
    {
        ULONG_PTR Next = __atomic_load_n(&Vad->ReadAheadNext, __ATOMIC_RELAXED);
        ULONG Window = __atomic_load_n(&Vad->ReadAheadWindow, __ATOMIC_RELAXED);
        ULONG Started;

        if (Next <= Vpn || Next - Vpn > 3 * (ULONG_PTR)Window || Next > Vad->EndingVpn ||
            Window < MI_SEQUENTIAL_START || MiAvailablePages() < MiState.Physical->LowThreshold)
        {
            return;
        }
        Window = 2 * Window < Most ? 2 * Window : Most;
        Started = MiStartFileReadAhead(Fault->ControlArea, Vad->FirstPage + (Next - Vad->StartingVpn), Window,
                                       MiPagePriority(Fault));
        if (Started == 0)
        {
            return;
        }
        __atomic_store_n(&Vad->ReadAheadWindow, (USHORT)Window, __ATOMIC_RELAXED);
        __atomic_store_n(&Vad->ReadAheadNext, Next + Started, __ATOMIC_RELAXED);
    }
}

static VOID MiDeleteDataFile(PCONTROL_AREA ControlArea)
{
    if (ControlArea->FilePointer != NULL)
    {
        ObDereferenceObjectBody(ControlArea->FilePointer);
    }
}

const MI_BACKING MiDataFileBacking = { .ResolvePage = MiResolveFilePage,
                                       .Discardable = TRUE,
                                       .Delete = MiDeleteDataFile };
