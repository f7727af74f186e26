/* SPDX-License-Identifier: MIT */
/*
 * MmPrefetchPages: pages of files and images are read that are neither in memory nor on the way, a few reads at the same time. They become transition
 * pages on standby, which the next fault on any view finds. Nothing is mapped.
 */
#include "fault/resolve.h"
#include "nt/mdl.h"
#include "nt/ntioapi.h"

#define MI_TAG_PREFETCH   MI_TAG('M', 'm', 'P', 'f')
#define MI_PREFETCH_READS 8u /* under way at the same time; there are MI_INPAGE_BLOCKS for all */

typedef struct _MI_PREFETCH
{
    PMMINPAGE_SUPPORT Reads[MI_PREFETCH_READS];
    ULONG Next;      /* its place is the oldest's */
    NTSTATUS Status; /* of the first that failed */
} MI_PREFETCH;

static VOID MiNotePrefetch(MI_PREFETCH *Prefetch, NTSTATUS Status)
{
    if (!NT_SUCCESS(Status) && NT_SUCCESS(Prefetch->Status))
    {
        Prefetch->Status = Status;
    }
}

/* Waits for the oldest read, and puts Read (or NULL) in its place. */
static VOID MiQueuePrefetch(MI_PREFETCH *Prefetch, PMMINPAGE_SUPPORT Read)
{
    PMMINPAGE_SUPPORT *Place = &Prefetch->Reads[Prefetch->Next];

    if (*Place != NULL)
    {
        MiNotePrefetch(Prefetch, MiWaitForInPage(*Place));
        MiDereferenceInPage(*Place);
    }
    *Place = Read;
    Prefetch->Next = (Prefetch->Next + 1) % MI_PREFETCH_READS;
}

/* Count pages of the segment from Page on, as far as they are wanted. */
static VOID MiPrefetchRun(MI_PREFETCH *Prefetch, PCONTROL_AREA ControlArea, ULONG64 Page, ULONG64 Count)
{
    while (Count != 0 && NT_SUCCESS(Prefetch->Status))
    {
        PMMINPAGE_SUPPORT Read = NULL;
        ULONG Passed = 1;
        PMMPTE Prototype;
        NTSTATUS Status;

        if (Page >= __atomic_load_n(&ControlArea->Segment->TotalNumberOfPtes, __ATOMIC_ACQUIRE))
        {
            return; /* behind the end there is nothing to read */
        }
        Status = MiPinPrototype(ControlArea->Segment, Page, &Prototype);
        if (NT_SUCCESS(Status))
        {
            Status = ControlArea->Backing == MiBackingImage
                         ? MiReadImagePages(ControlArea, Page, Count, &Passed, &Read)
                         : MiReadFilePages(ControlArea, Page,
                                           (ULONG)(Count < MI_FILE_CLUSTER ? Count : MI_FILE_CLUSTER),
                                           &Passed, &Read);
            MiUnpinPrototype(Prototype);
        }
        MiNotePrefetch(Prefetch, Status);
        if (Read != NULL)
        {
            MiQueuePrefetch(Prefetch, Read);
        }
        Page += Passed;
        Count -= Passed < Count ? Passed : Count;
    }
}

/* Entries that name consecutive pages are one run. The low bits of an entry are no part of the offset. */
static VOID MiPrefetchList(MI_PREFETCH *Prefetch, PCONTROL_AREA ControlArea, const READ_LIST *List)
{
    for (ULONG Index = 0; Index < List->NumberOfEntries;)
    {
        ULONG64 Page = List->List[Index].Alignment >> PAGE_SHIFT;
        ULONG Count = 1;

        while (Index + Count < List->NumberOfEntries &&
               List->List[Index + Count].Alignment >> PAGE_SHIFT == Page + Count)
        {
            Count++;
        }
        MiPrefetchRun(Prefetch, ControlArea, Page, Count);
        Index += Count;
    }
}

/* The section that exists of the file; NULL: none, or none that is read from a file. */
static PCONTROL_AREA MiReferenceReadList(const READ_LIST *List)
{
    PSECTION_OBJECT_POINTERS Pointers =
        List->FileObject != NULL ? List->FileObject->SectionObjectPointer : NULL;
    PCONTROL_AREA ControlArea;

    if (Pointers == NULL)
    {
        return NULL;
    }
    ControlArea =
        MiReferenceAnchoredControlArea(List->IsImage ? (PVOID volatile *)&Pointers->ImageSectionObject
                                                     : (PVOID volatile *)&Pointers->DataSectionObject);
    if (ControlArea != NULL && ControlArea->Backing != (List->IsImage ? MiBackingImage : MiBackingDataFile))
    {
        MiDereferenceControlArea(ControlArea, MiSectionReference, FALSE, FALSE);
        return NULL;
    }
    return ControlArea;
}

NTSTATUS NTAPI MmPrefetchPages(ULONG NumberOfLists, PREAD_LIST *ReadLists)
{
    MI_PREFETCH Prefetch = { .Status = STATUS_SUCCESS };
    PCONTROL_AREA *ControlAreas;
    ULONG Count = 0;

    if (NumberOfLists == 0)
    {
        return STATUS_INVALID_PARAMETER_1;
    }
    ControlAreas = MiAllocatePool(NumberOfLists * sizeof(*ControlAreas), MI_TAG_PREFETCH);
    if (ControlAreas == NULL)
    {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    for (; Count < NumberOfLists; Count++)
    {
        ControlAreas[Count] = MiReferenceReadList(ReadLists[Count]);
        if (ControlAreas[Count] == NULL)
        {
            Prefetch.Status = STATUS_INVALID_PARAMETER_1;
            break;
        }
    }
    for (ULONG Index = 0; Index < Count && NT_SUCCESS(Prefetch.Status); Index++)
    {
        MiPrefetchList(&Prefetch, ControlAreas[Index], ReadLists[Index]);
    }
    for (ULONG Index = 0; Index < MI_PREFETCH_READS; Index++)
    {
        MiQueuePrefetch(&Prefetch, NULL);
    }
    for (ULONG Index = 0; Index < Count; Index++)
    {
        MiDereferenceControlArea(ControlAreas[Index], MiSectionReference, FALSE, FALSE);
    }
    MiFreePool(ControlAreas, MI_TAG_PREFETCH);
    return Prefetch.Status;
}
