/* SPDX-License-Identifier: MIT */
/*
 * Control areas of data files: one for each file, however often it is opened and mapped. It covers the whole file and grows with it; sections are
 * windows of it. Who needs a file longer makes it longer first, under its size lock, so that every page of the segment has a place on the disk.
 */
#include "io/io.h"
#include "section/section.h"

static PVOID volatile *MiDataAnchor(PFILE_OBJECT FileObject)
{
    return (PVOID volatile *)&FileObject->SectionObjectPointer->DataSectionObject;
}

/* Of a data file: its only subsection follows. Segment lock held exclusively, or nobody else knows it yet. */
static VOID MiSetSegmentSize(PCONTROL_AREA ControlArea, ULONG64 Size)
{
    ULONG64 Pages = (Size >> PAGE_SHIFT) + ((Size & (PAGE_SIZE - 1)) != 0);

    __atomic_store_n(&ControlArea->Segment->SizeOfSegment, Size, __ATOMIC_RELAXED);
    __atomic_store_n(&ControlArea->Segment->TotalNumberOfPtes, Pages, __ATOMIC_RELEASE);
    __atomic_store_n(&ControlArea->FirstSubsection.FileBytes, Size, __ATOMIC_RELAXED);
    __atomic_store_n(&ControlArea->FirstSubsection.PtesInSubsection, Pages, __ATOMIC_RELEASE);
}

/* Size lock of the file held exclusively. Pages beyond a smaller size are gone already. */
VOID MiResizeDataFileMap(PCONTROL_AREA ControlArea, ULONG64 Size)
{
    PSEGMENT Segment = ControlArea->Segment;

    KiAcquirePushLockExclusive(&Segment->Lock);
    KiNoteLockAcquired(Segment, KiLockSegment, FALSE);
    MiSetSegmentSize(ControlArea, Size);
    KiNoteLockReleased(Segment);
    KiReleasePushLockExclusive(&Segment->Lock);
}

/* ---- Growing the file ---------------------------------------------------------------------------------- */

/* The bytes of the page behind *Offset become zeros, also on the disk, whatever is under way. Frame locked. */
static VOID MiZeroRestOfPage(PMMPFN Pfn, ULONG Offset)
{
    BOOLEAN Listed = Pfn->ReferenceCount == 0;

    RtlZeroMemory((PUCHAR)PortDirectMap(MiPfnFrame(Pfn)) + Offset, PAGE_SIZE - Offset);
    if (Listed)
    {
        MiUnlinkPage(Pfn);
    }
    Pfn->e1.Modified = 1;
    MiNoteModified(Pfn);
    if (Listed)
    {
        MiInsertPageInList(Pfn);
    }
}

/*
 * A view may have written behind the end of the file, in its last page. That was nobody's data; it must not become data when the file grows.
 * A page that is being read comes with zeros there.
 */
static VOID MiForgetBehindEnd(PSEGMENT Segment, ULONG64 End)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    PMMPTE Prototype = MiLockPrototype(Segment, End >> PAGE_SHIFT);
    MMPTE Pte = { .Long = 0 };
    PMMPFN Pfn;

    while (Prototype != NULL && ((Pte = MiReadPte(Prototype)).Hard.Valid || MiIsTransition(Pte)))
    {
        Pfn = MiPfn(Pte.Hard.PageFrameNumber);
        MiLockPfn(Pfn);
        if (MiReadPte(Prototype).Long == Pte.Long)
        {
            if (!Pfn->e1.ReadInProgress)
            {
                MiZeroRestOfPage(Pfn, (ULONG)End & (PAGE_SIZE - 1));
            }
            MiUnlockPfn(Pfn);
            break;
        }
        MiUnlockPfn(Pfn);
    }
    if (Prototype != NULL)
    {
        MiUnlockPrototype(Prototype);
    }
    KiLowerIrqlFromDispatch(OldIrql);
}

NTSTATUS MiGrowFile(PIO_FCB File, ULONG64 Size)
{
    ULONG64 Old = IoFileSize(File);

    if ((Old & (PAGE_SIZE - 1)) != 0)
    {
        PCONTROL_AREA ControlArea =
            MiReferenceAnchoredControlArea((PVOID volatile *)&File->SectionObjectPointers.DataSectionObject);

        if (ControlArea != NULL)
        {
            MiForgetBehindEnd(ControlArea->Segment, Old);
            MiDereferenceControlArea(ControlArea, MiSectionReference, FALSE, FALSE);
        }
    }
    return IoSetFileSize(File, Size);
}

/* ---- Control areas ------------------------------------------------------------------------------------- */

/* The file's control area with one more section reference, as large as the file. Its size is locked. */
static NTSTATUS MiFindOrMakeDataFileMap(PFILE_OBJECT FileObject, PCONTROL_AREA *ControlArea)
{
    PVOID volatile *Anchor = MiDataAnchor(FileObject);
    ULONG64 FileSize = IoFileSize(IoFileOf(FileObject));
    PCONTROL_AREA New;

    *ControlArea = MiReferenceAnchoredControlArea(Anchor);
    if (*ControlArea != NULL && FileSize <= (*ControlArea)->Segment->SizeOfSegment)
    {
        return STATUS_SUCCESS; /* or somebody made it shorter: its views keep what they show */
    }
    if (*ControlArea != NULL)
    {
        MiResizeDataFileMap(*ControlArea, FileSize);
        return STATUS_SUCCESS;
    }
    New = MiAllocateControlArea(MiBackingDataFile, FileSize, Anchor);
    if (New == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    ObReferenceObjectBody(FileObject);
    New->FilePointer = FileObject;
    New->u.Commit = 1;
    /* The size lock keeps others out of here. */
    KiRequire(MiAnchorControlArea(New));
    MiEndCreation(New);
    *ControlArea = New;
    return STATUS_SUCCESS;
}

NTSTATUS MiReferenceDataFileMap(PVOID FileObject, PCONTROL_AREA *ControlArea)
{
    return MiFindOrMakeDataFileMap(FileObject, ControlArea);
}

/* What the file must be for the section. The size is locked. */
static NTSTATUS MiPrepareFileForSection(PIO_FCB File, PULONG64 Size, ULONG Protection)
{
    BOOLEAN Writable = MiIsWritable(Protection) && !MiIsCopyOnWrite(Protection);
    NTSTATUS Status = IoRefreshFileSize(File);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    if (*Size == 0)
    {
        *Size = IoFileSize(File);
        return *Size == 0 ? STATUS_MAPPED_FILE_SIZE_ZERO : STATUS_SUCCESS;
    }
    if (*Size > (ULONG64)MAXLONGLONG - PAGE_SIZE)
    {
        return STATUS_SECTION_TOO_BIG;
    }
    if (*Size <= IoFileSize(File))
    {
        return STATUS_SUCCESS;
    }
    /* Documented: only a section that may be written makes its file longer. */
    return Writable ? MiGrowFile(File, *Size) : STATUS_SECTION_TOO_BIG;
}

NTSTATUS MiCreateDataFileMap(PVOID FileObject, PULONG64 Size, ULONG Protection, ULONG Attributes,
                             PCONTROL_AREA *ControlArea)
{
    PFILE_OBJECT File = FileObject;
    ULONG64 OldSize;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(
        Attributes); /* SEC_RESERVE and SEC_COMMIT are the same for a file: its space is the disk's */
    if (!File->ReadAccess || (MiIsWritable(Protection) && !MiIsCopyOnWrite(Protection) && !File->WriteAccess))
    {
        return STATUS_ACCESS_DENIED;
    }
    IoLockSizeExclusive(IoFileOf(File));
    OldSize = IoFileSize(IoFileOf(File));
    Status = MiPrepareFileForSection(IoFileOf(File), Size, Protection);
    if (NT_SUCCESS(Status))
    {
        Status = MiFindOrMakeDataFileMap(File, ControlArea);
        if (!NT_SUCCESS(Status) && IoFileSize(IoFileOf(File)) > OldSize)
        {
            (VOID) IoSetFileSize(IoFileOf(File), OldSize); /* a failed call changes nothing */
        }
    }
    IoUnlockSizeExclusive(IoFileOf(File));
    return Status;
}

/* The size of the file and the segment are locked exclusively. */
NTSTATUS MiExtendDataFileMap(PCONTROL_AREA ControlArea, ULONG64 NewSize)
{
    PIO_FCB File = IoFileOf(ControlArea->FilePointer);
    NTSTATUS Status = IoRefreshFileSize(File);

    if (NT_SUCCESS(Status) && NewSize > IoFileSize(File))
    {
        Status = MiGrowFile(File, NewSize);
    }
    if (NT_SUCCESS(Status) && IoFileSize(File) > ControlArea->Segment->SizeOfSegment)
    {
        MiSetSegmentSize(ControlArea, IoFileSize(File));
    }
    return Status;
}
