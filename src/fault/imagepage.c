/* SPDX-License-Identifier: MIT */
/*
 * Pages of images. A page does not lie in the file as it does in memory: it begins anywhere (sections are aligned to 512 bytes), the
 * file has a part of it only, and an image that is not at its preferred base wants fix-ups. All this is done when the read completes, before
 * anybody sees the page, so that also pages that came along are finished.
 *
 * Such a page is clean and backed by the file, fix-ups or not: taken away, it is read and fixed up anew. That costs neither
 * commitment nor slots, and a fix-up is a few instructions. Pages of shared writable sections (IMAGE_SCN_MEM_SHARED) are read once and
 * belong to the paging file from then on.
 */
#include "fault/resolve.h"
#include "section/imagemap.h"

#include "io/io.h"

/* Pages that come along: Windows Internals names 8 for code and 4 for data. */
#define MI_CODE_CLUSTER 8u
#define MI_DATA_CLUSTER 4u

static MMPTE MiImageOriginalPte(PSUBSECTION Subsection)
{
    return (Subsection->Flags & MI_SUBSECTION_GLOBAL) != 0
               ? MiMakeDemandZeroPte(Subsection->Protection)
               : MiMakeSubsectionPte(Subsection, Subsection->Protection);
}

/* ---- The end of a read ------------------------------------------------------------------------------------- */

/* Moves the bytes of a page to its beginning: they start Skip bytes behind it and end in the next frame. */
static VOID MiShiftPage(PMMINPAGE_SUPPORT InPage, ULONG Index, ULONG Skip)
{
    PUCHAR Contents = PortDirectMap(InPage->Frames[Index]);

    RtlMoveMemory(Contents, Contents + Skip, PAGE_SIZE - Skip);
    if (Index + 1 < InPage->Count + InPage->ExtraFrames)
    {
        RtlCopyMemory(Contents + PAGE_SIZE - Skip, PortDirectMap(InPage->Frames[Index + 1]), Skip);
    }
}

static VOID MiFinishImagePages(PMMINPAGE_SUPPORT InPage)
{
    PSUBSECTION Subsection = InPage->FinishContext;
    PMI_IMAGE Image = MiImageOf(Subsection->ControlArea);
    ULONG Skip = (ULONG)(Subsection->FileOffset & (PAGE_SIZE - 1));

    for (ULONG Index = 0; Index < InPage->Count; Index++)
    {
        ULONG64 Page = InPage->FinishArgument + Index;
        PUCHAR Contents = PortDirectMap(InPage->Frames[Index]);
        ULONG64 FileOffset;
        ULONG Valid = MiImagePageBytes(Subsection, Page, &FileOffset);

        if (Skip != 0)
        {
            MiShiftPage(InPage, Index, Skip);
        }
        RtlZeroMemory(Contents + Valid, PAGE_SIZE - Valid);
        MiFixUpImagePage(Image, Page, Contents);
    }
}

static VOID MiKeepSharedPages(PMMINPAGE_SUPPORT InPage)
{
    PSUBSECTION Subsection = InPage->FinishContext;

    if ((Subsection->Flags & MI_SUBSECTION_GLOBAL) == 0)
    {
        return;
    }
    for (ULONG Index = 0; Index < InPage->Count; Index++)
    {
        PMMPFN Pfn = MiPfn(InPage->Frames[Index]);
        KIRQL OldIrql = KiRaiseIrqlToDispatch();

        MiLockPfn(Pfn);
        MiSetFrameModified(Pfn);
        MiUnlockPfn(Pfn);
        KiLowerIrqlFromDispatch(OldIrql);
    }
}

static VOID MiEndImageRead(PMMINPAGE_SUPPORT InPage, BOOLEAN Success, SIZE_T Bytes)
{
    PSUBSECTION Subsection = InPage->FinishContext;

    UNREFERENCED_PARAMETER(Bytes); /* MinimumBytes were there */
    if (Success)
    {
        MiFinishImagePages(InPage);
        MiKeepSharedPages(InPage);
    }
    ExReleaseRundownProtection(&MiImageOf(Subsection->ControlArea)->Reads);
}

/* ---- The beginning ------------------------------------------------------------------------------------------ */

/* Wanted: pages that somebody asked for in advance; 0: the page is wanted now, and others may come along. */
static ULONG MiImageWindow(PMI_FAULT Fault, PSUBSECTION Subsection, PMMPTE Prototype, ULONG64 Wanted)
{
    ULONG Cluster = (Subsection->Protection & MM_EXECUTE) != 0 ? MI_CODE_CLUSTER : MI_DATA_CLUSTER;
    PFN_NUMBER Most = MiAvailablePages() / 8 < MI_FILE_CLUSTER ? MiAvailablePages() / 8 : MI_FILE_CLUSTER;
    ULONG Window = (ULONG)(Wanted < Most ? Wanted : Most);
    ULONG64 Left = Subsection->StartingPage + BYTES_TO_PAGES(Subsection->FileBytes) - Fault->SegmentPage;
    ULONG Room = MI_PTES_PER_PAGE - (ULONG)(((ULONG_PTR)Prototype & (PAGE_SIZE - 1)) / sizeof(MMPTE));

    if (Fault->Single || MiAvailablePages() < MiState.Physical->LowThreshold / 2)
    {
        return 1;
    }
    Window = Window > Cluster ? Window : Cluster;
    Window = Window < Room ? Window : Room;
    return Window < Left ? Window : (ULONG)Left;
}

/* A page that is neither in memory nor in a paging file: its contents are in the file. */
static BOOLEAN MiIsInFile(MMPTE Proto)
{
    return !Proto.Hard.Valid && !MiIsTransition(Proto) && !MiIsPagedOut(Proto);
}

static VOID MiAddImageNeighbours(PMI_FAULT Fault, PMMINPAGE_SUPPORT InPage, PSUBSECTION Subsection,
                                 PMMPTE Prototype, ULONG Window)
{
    for (ULONG Index = 1; Index < Window; Index++)
    {
        PFN_NUMBER Frame = MiIsInFile(MiReadPte(&Prototype[Index])) ? MiAllocatePage(0) : 0;

        if (Frame == 0)
        {
            return;
        }
        MiMarkReadAhead(MiPfn(Frame));
        MiAddToRead(InPage, &Prototype[Index], MiImageOriginalPte(Subsection), Frame, TRUE,
                    MiPagePriority(Fault));
        MiCount(ReadAheadPages);
    }
}

/* How many bytes of the file, from the page-aligned offset on, the pages are made of. */
static SIZE_T MiImageReadBytes(PMMINPAGE_SUPPORT InPage, PSUBSECTION Subsection)
{
    ULONG64 FileOffset;
    ULONG Last = MiImagePageBytes(Subsection, InPage->FinishArgument + InPage->Count - 1, &FileOffset);

    return (SIZE_T)(FileOffset + Last - InPage->Io.Offset);
}

static VOID MiStartImageRead(PMI_FAULT Fault, PMMINPAGE_SUPPORT InPage, PSUBSECTION Subsection,
                             PFN_NUMBER Extra)
{
    PFILE_OBJECT FileObject = Fault->ControlArea->FilePointer;
    ULONG64 FileOffset;

    (VOID) MiImagePageBytes(Subsection, Fault->SegmentPage, &FileOffset);
    InPage->FinishContext = Subsection;
    InPage->FinishArgument = Fault->SegmentPage;
    InPage->Finish = MiEndImageRead;
    InPage->Io.Offset = FileOffset & ~(ULONG64)(PAGE_SIZE - 1);
    InPage->MinimumBytes = MiImageReadBytes(InPage, Subsection);
    if (Extra != 0 && InPage->MinimumBytes > (SIZE_T)InPage->Count << PAGE_SHIFT)
    {
        InPage->Frames[InPage->Count] = Extra;
        InPage->ExtraFrames = 1;
    }
    else if (Extra != 0)
    {
        MiFreePage(Extra);
    }
    /* The view that faults holds the control area. */
    KiRequire(ExAcquireRundownProtection(&MiImageOf(Fault->ControlArea)->Reads));
    MiStartStorageRead(InPage, IoFileOf(FileObject)->Storage, InPage->Io.Offset, !Fault->Prefetch);
}

static MI_FAULT_RESULT MiReadImagePage(PMI_FAULT Fault, PSUBSECTION Subsection, PMMPTE Prototype,
                                       ULONG64 Wanted)
{
    BOOLEAN Shifted = (Subsection->FileOffset & (PAGE_SIZE - 1)) != 0;
    PFN_NUMBER Frame = MiAllocatePage(0);
    PFN_NUMBER Extra = Frame != 0 && Shifted ? MiAllocatePage(0) : 0;
    PMMINPAGE_SUPPORT InPage = Frame != 0 && (!Shifted || Extra != 0) ? MiAllocateInPage() : NULL;

    if (InPage == NULL)
    {
        BOOLEAN Frames = Frame != 0 && (!Shifted || Extra != 0);

        if (Frame != 0)
        {
            MiFreePage(Frame);
        }
        if (Extra != 0)
        {
            MiFreePage(Extra);
        }
        return Frames ? MiFaultNeedBlock : MiFaultNeedFrame;
    }
    MiPfn(Frame)->ReferenceCount = Fault->Prefetch ? 1 : 2; /* the read's, and our hold */
    MiAddToRead(InPage, Prototype, MiImageOriginalPte(Subsection), Frame, TRUE, MiPagePriority(Fault));
    MiAddImageNeighbours(Fault, InPage, Subsection, Prototype,
                         MiImageWindow(Fault, Subsection, Prototype, Wanted));
    Fault->HeldFrame = Fault->Prefetch ? 0 : Frame;
    Fault->InPage = InPage;
    Fault->HardFault = TRUE;
    MiCount(ImageFaults);
    MiStartImageRead(Fault, InPage, Subsection, Extra);
    return MiFaultNeedRead;
}

/* Nothing of the page is in the file. Fix-ups in zeros are possible, if not sensible. */
static MI_FAULT_RESULT MiMakeImageZeroPage(PMI_FAULT Fault, PSUBSECTION Subsection, PMMPTE Prototype)
{
    PFN_NUMBER Frame = MiAllocatePage(MI_PAGE_ZEROED);

    if (Frame == 0)
    {
        return MiFaultNeedFrame;
    }
    MiFixUpImagePage(MiImageOf(Fault->ControlArea), Fault->SegmentPage, PortDirectMap(Frame));
    MiMapNewPrototypePage(Fault, Prototype, Frame, MiImageOriginalPte(Subsection));
    MiCount(DemandZeroFaults);
    return MiFaultResolved;
}

static MI_FAULT_RESULT MiResolveImagePage(PMI_FAULT Fault, PMMPTE Prototype)
{
    PSUBSECTION Subsection = MiLocateSubsection(Fault->ControlArea, Fault->SegmentPage);
    ULONG64 FileOffset;

    if (Subsection == NULL)
    {
        Fault->Status = STATUS_ACCESS_VIOLATION;
        return MiFaultFailed;
    }
    return MiImagePageBytes(Subsection, Fault->SegmentPage, &FileOffset) != 0
               ? MiReadImagePage(Fault, Subsection, Prototype, 0)
               : MiMakeImageZeroPage(Fault, Subsection, Prototype);
}

NTSTATUS MiReadImagePages(PCONTROL_AREA ControlArea, ULONG64 Page, ULONG64 Count, PULONG Passed,
                          PMMINPAGE_SUPPORT *Read)
{
    MI_FAULT Fault = {
        .Space = &MiState.Space->System, .ControlArea = ControlArea, .SegmentPage = Page, .Prefetch = TRUE
    };
    PSUBSECTION Subsection = MiLocateSubsection(ControlArea, Page);
    MI_FAULT_RESULT Result = MiFaultNeedBlock;
    ULONG64 FileOffset;

    *Passed = 1;
    if (Subsection == NULL || MiImagePageBytes(Subsection, Page, &FileOffset) == 0)
    {
        return STATUS_SUCCESS;
    }
    while (Result == MiFaultNeedBlock)
    {
        KIRQL OldIrql = KiRaiseIrqlToDispatch();
        PMMPTE Prototype = MiLockPrototype(ControlArea->Segment, Page);

        Result = MiIsInFile(MiReadPte(Prototype)) ? MiReadImagePage(&Fault, Subsection, Prototype, Count)
                                                  : MiFaultResolved;
        MiUnlockPrototype(Prototype);
        KiLowerIrqlFromDispatch(OldIrql);
        if (Result == MiFaultNeedBlock)
        {
            MiWaitForInPageBlock();
        }
    }
    if (Result == MiFaultNeedRead)
    {
        *Passed = Fault.InPage->Count;
        *Read = Fault.InPage;
    }
    return Result == MiFaultNeedFrame ? STATUS_INSUFFICIENT_RESOURCES : STATUS_SUCCESS;
}

ULONG MiPrefetchImagePages(PMI_FAULT Fault, ULONG Count)
{
    PSUBSECTION Subsection = MiLocateSubsection(Fault->ControlArea, Fault->SegmentPage);
    ULONG Started = 0;
    ULONG64 FileOffset;
    PMMPTE Prototype;
    KIRQL OldIrql;

    if (Subsection == NULL || MiImagePageBytes(Subsection, Fault->SegmentPage, &FileOffset) == 0)
    {
        return 0;
    }
    OldIrql = KiRaiseIrqlToDispatch();
    Prototype = MiTryPrototype(Fault->ControlArea->Segment, Fault->SegmentPage);
    if (Prototype != NULL)
    {
        if (MiIsInFile(MiReadPte(Prototype)) &&
            MiReadImagePage(Fault, Subsection, Prototype, Count) == MiFaultNeedRead)
        {
            Started = Fault->InPage->Count;
        }
        MiUnlockPrototype(Prototype);
    }
    KiLowerIrqlFromDispatch(OldIrql);
    return Started;
}

const MI_BACKING MiImageBacking = { .ResolvePage = MiResolveImagePage,
                                    .Discardable = FALSE,
                                    .Delete = MiReleaseImage };
