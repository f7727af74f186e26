/* SPDX-License-Identifier: MIT */
/*
 * What file systems ask about sections of a file before they change it, and the pages that must go when it becomes shorter. A page that somebody maps
 * cannot be taken away; so a file with views of user mode is not made shorter than they need it.
 */
#include "mapping/cache.h"
#include "paging/mapped.h"

static PVOID volatile *MiAnchorOf(PVOID *Pointer)
{
    return (PVOID volatile *)Pointer;
}

/* A moment's truth of a control area that may go; NULL: none. */
typedef struct _MI_USERS
{
    BOOLEAN Exists;
    ULONG64 Views;    /* of anybody but the cache */
    ULONG64 Sections; /* section objects and the cache's reference */
    ULONG64 User;
    ULONG64 WritableUser;
} MI_USERS;

static VOID MiQueryUsers(PVOID volatile *Anchor, MI_USERS *Users)
{
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Section->Lock);
    PCONTROL_AREA ControlArea = *Anchor;

    *Users = (MI_USERS){ .Exists = ControlArea != NULL };
    if (ControlArea != NULL)
    {
        Users->Views = ControlArea->NumberOfMappedViews - ControlArea->NumberOfSystemCacheViews;
        Users->Sections = ControlArea->NumberOfSectionReferences;
        Users->User = ControlArea->NumberOfUserReferences;
        Users->WritableUser = ControlArea->WritableUserReferences;
    }
    KiReleaseSpinLock(&MiState.Section->Lock, OldIrql);
}

/* ---- Questions of file systems ------------------------------------------------------------------------- */

BOOLEAN NTAPI MmFlushImageSection(PSECTION_OBJECT_POINTERS SectionObjectPointer, MMFLUSH_TYPE FlushType)
{
    MI_USERS Data;

    if (FlushType == MmFlushForDelete)
    {
        /* Documented: a file whose data section user mode maps cannot be deleted either. */
        MiQueryUsers(MiAnchorOf(&SectionObjectPointer->DataSectionObject), &Data);
        if (Data.User != 0)
        {
            return FALSE;
        }
    }
    return MiDeleteAnchoredControlArea(MiAnchorOf(&SectionObjectPointer->ImageSectionObject));
}

BOOLEAN NTAPI MmCanFileBeTruncated(PSECTION_OBJECT_POINTERS SectionPointer, PLARGE_INTEGER NewFileSize)
{
    PVOID volatile *Anchor = MiAnchorOf(&SectionPointer->DataSectionObject);
    PCONTROL_AREA ControlArea;
    BOOLEAN Can = TRUE;
    MI_USERS Data;

    if (!MmFlushImageSection(SectionPointer, MmFlushForWrite))
    {
        return FALSE;
    }
    ControlArea = MiReferenceAnchoredControlArea(Anchor);
    if (ControlArea != NULL)
    {
        MiQueryUsers(Anchor, &Data);
        Can = (Data.User == 0 && Data.Views == 0) ||
              (NewFileSize != NULL &&
               (ULONG64)NewFileSize->QuadPart >=
                   __atomic_load_n(&ControlArea->Segment->SizeOfSegment, __ATOMIC_ACQUIRE));
        MiDereferenceControlArea(ControlArea, MiSectionReference, FALSE, FALSE);
    }
    return Can;
}

ULONG NTAPI MmDoesFileHaveUserWritableReferences(PSECTION_OBJECT_POINTERS SectionPointer)
{
    MI_USERS Data;

    MiQueryUsers(MiAnchorOf(&SectionPointer->DataSectionObject), &Data);
    return Data.WritableUser > MAXULONG ? MAXULONG : (ULONG)Data.WritableUser;
}

static BOOLEAN MiForceDataClosed(PSECTION_OBJECT_POINTERS Pointers)
{
    PVOID volatile *Anchor = MiAnchorOf(&Pointers->DataSectionObject);
    PCONTROL_AREA ControlArea = MiReferenceAnchoredControlArea(Anchor);

    if (ControlArea != NULL)
    {
        NTSTATUS Status = CcpFlushSegment(ControlArea, 0, ~0ull, TRUE);

        MiDereferenceControlArea(ControlArea, MiSectionReference, FALSE, FALSE);
        if (!NT_SUCCESS(Status))
        {
            return FALSE; /* what could not be written is kept */
        }
    }
    return MiDeleteAnchoredControlArea(Anchor);
}

BOOLEAN NTAPI MmForceSectionClosedEx(PSECTION_OBJECT_POINTERS SectionObjectPointer, ULONG ForceCloseFlags)
{
    BOOLEAN Closed = TRUE;

    if ((ForceCloseFlags & MM_FORCE_CLOSED_DATA) != 0)
    {
        Closed &= MiForceDataClosed(SectionObjectPointer);
    }
    if ((ForceCloseFlags & MM_FORCE_CLOSED_IMAGE) != 0)
    {
        Closed &= MiDeleteAnchoredControlArea(MiAnchorOf(&SectionObjectPointer->ImageSectionObject));
    }
    /* LATER_OK: with its last reference a section goes to the unused list, and from there when memory is needed. */
    return Closed;
}

BOOLEAN NTAPI MmForceSectionClosed(PSECTION_OBJECT_POINTERS SectionObjectPointer, BOOLEAN DelayClose)
{
    return MmForceSectionClosedEx(SectionObjectPointer, MM_FORCE_CLOSED_DATA | MM_FORCE_CLOSED_IMAGE |
                                                            (DelayClose ? MM_FORCE_CLOSED_LATER_OK : 0));
}

/* ---- Taking pages away --------------------------------------------------------------------------------- */

/* FALSE: somebody maps it, or it is locked. */
static BOOLEAN MiIsPurgeable(PMMPTE Prototype)
{
    MMPTE Pte = MiReadPte(Prototype);

    return !Pte.Hard.Valid;
}

BOOLEAN MiPurgeSegmentPages(PCONTROL_AREA ControlArea, ULONG64 FirstPage, ULONG64 Pages)
{
    ULONG64 End = MiSegmentPagesEnd(ControlArea->Segment, FirstPage, Pages);
    BOOLEAN All = TRUE;

    while (FirstPage < End)
    {
        ULONG64 Stop = (FirstPage | (MI_CHUNK_PAGES - 1)) + 1;
        KIRQL OldIrql = KiRaiseIrqlToDispatch();
        PMMPTE Prototype = MiLockPrototype(ControlArea->Segment, FirstPage);

        Stop = Stop < End ? Stop : End;
        for (ULONG64 Page = FirstPage; Prototype != NULL && Page < Stop; Page++)
        {
            PMMPTE Current = Prototype + (Page - FirstPage);

            if (!MiIsPurgeable(Current))
            {
                All = FALSE;
            }
            else if (MiReadPte(Current).Long != 0)
            {
                MiDeletePrototype(Current);
            }
        }
        if (Prototype != NULL)
        {
            MiUnlockPrototype(Prototype);
        }
        KiLowerIrqlFromDispatch(OldIrql);
        FirstPage = Stop;
    }
    return All;
}

static VOID MiHoldWriter(PCONTROL_AREA ControlArea, BOOLEAN Hold)
{
    KIRQL OldIrql = KiAcquireSpinLock(&MiState.Section->Lock);

    __atomic_store_n(&ControlArea->WriteRetryTime, Hold ? ~0ull : 0, __ATOMIC_RELAXED);
    KiReleaseSpinLock(&MiState.Section->Lock, OldIrql);
}

/* Size lock held exclusively; the cache has no view of what goes. */
static NTSTATUS MiShrinkMappedFile(PIO_FCB File, PCONTROL_AREA ControlArea, ULONG64 Size)
{
    ULONG64 FirstGone = BYTES_TO_PAGES(Size);
    NTSTATUS Status;

    /* A write that began before and ends afterwards would make the file longer again. */
    MiHoldWriter(ControlArea, TRUE);
    MiAwaitMappedWrites(ControlArea);
    Status = IoSetFileSize(File, Size);
    if (NT_SUCCESS(Status))
    {
        (VOID) MiPurgeSegmentPages(ControlArea, FirstGone, ~0ull - FirstGone);
        MiResizeDataFileMap(ControlArea, Size);
    }
    MiHoldWriter(ControlArea, FALSE);
    return Status;
}

NTSTATUS MiSetMappedFileSize(PFILE_OBJECT FileObject, ULONG64 Size)
{
    PIO_FCB File = IoFileOf(FileObject);
    LARGE_INTEGER NewSize = { .QuadPart = (LONGLONG)Size };
    PCONTROL_AREA ControlArea;
    NTSTATUS Status = IoRefreshFileSize(File);

    if (!NT_SUCCESS(Status) || Size == IoFileSize(File))
    {
        return Status;
    }
    if (!File->Writable)
    {
        return STATUS_ACCESS_DENIED;
    }
    if (Size > IoFileSize(File))
    {
        Status = MiGrowFile(File, Size);
        if (NT_SUCCESS(Status))
        {
            CcpNoteFileSize(File, Size);
        }
        return Status;
    }
    if (!MmCanFileBeTruncated(FileObject->SectionObjectPointer, &NewSize) ||
        CcpIsHeld(FileObject->SectionObjectPointer, ROUND_TO_PAGES(Size), ~0ull))
    {
        return STATUS_USER_MAPPED_FILE;
    }
    CcpForgetBeyond(File, Size);
    ControlArea = MiReferenceAnchoredControlArea(MiAnchorOf(&File->SectionObjectPointers.DataSectionObject));
    if (ControlArea == NULL)
    {
        return IoSetFileSize(File, Size);
    }
    Status = MiShrinkMappedFile(File, ControlArea, Size);
    MiDereferenceControlArea(ControlArea, MiSectionReference, FALSE, FALSE);
    return Status;
}

VOID MiTakeBackFileGrowth(PFILE_OBJECT FileObject, ULONG64 Size)
{
    PIO_FCB File = IoFileOf(FileObject);
    PCONTROL_AREA ControlArea;

    CcpForgetBeyond(File, Size);
    ControlArea = MiReferenceAnchoredControlArea(MiAnchorOf(&File->SectionObjectPointers.DataSectionObject));
    if (ControlArea == NULL)
    {
        (VOID) IoSetFileSize(File, Size);
        return;
    }
    /* A page that is mapped behind the end after all (MEM_RESERVE) keeps its place. */
    if (MiPurgeSegmentPages(ControlArea, BYTES_TO_PAGES(Size), ~0ull - BYTES_TO_PAGES(Size)))
    {
        (VOID) MiShrinkMappedFile(File, ControlArea, Size);
    }
    MiDereferenceControlArea(ControlArea, MiSectionReference, FALSE, FALSE);
}
