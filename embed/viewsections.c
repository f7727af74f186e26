/* SPDX-License-Identifier: MIT */
/*
 * Sections and files by where their pages are, as RAMMap's "File Summary" has them, and the regions of a process by kind, as VMMap has them:
 * as structures and as text.
 */
#include "views.h"

#include "io/io.h"
#include "section/section.h"
#include "virtual/range.h"

#include <stdlib.h>
#include <string.h>

/* ---- Sections and files -------------------------------------------------------------------------------------------------- */

/* The pages of 512 prototype PTEs, if those are in memory: otherwise there is none. */
static BOOLEAN NtmmpCountChunk(PMI_PROTOTYPE_CHUNK Chunk, PVOID Context)
{
    PNTMM_SECTION Row = Context;
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    PMMPTE Prototypes = MiLockPrototype(Chunk->Segment, Chunk->FirstPage);

    for (ULONG Index = 0; Prototypes != NULL && Index < MI_CHUNK_PAGES; Index++)
    {
        MMPTE Pte = MiReadPte(&Prototypes[Index]);

        if (Pte.Hard.Valid)
        {
            Row->ActivePages++;
        }
        else if (MiIsTransition(Pte))
        {
            ULONG Location = MiReadPfnEntry(MiPfn(Pte.Trans.PageFrameNumber)).PageLocation;

            Row->StandbyPages += Location == StandbyPageList;
            Row->ModifiedPages += Location == ModifiedPageList || Location == ModifiedNoWritePageList;
            Row->TransitionPages += Location == TransitionPage;
        }
    }
    if (Prototypes != NULL)
    {
        MiUnlockPrototype(Prototypes);
    }
    KiLowerIrqlFromDispatch(OldIrql);
    return TRUE;
}

static VOID NtmmpDescribeSection(PCONTROL_AREA ControlArea, PNTMM_SECTION Row)
{
    static const PCSTR Kinds[MiBackingMaximum] = { "Page File", "Data File", "Image", "Physical" };
    PFILE_OBJECT File = ControlArea->FilePointer;

    memset(Row, 0, sizeof(*Row));
    Row->Kind = Kinds[ControlArea->Backing];
    Row->Bytes = NTMM_READ(ControlArea->Segment->SizeOfSegment);
    Row->Sections = NTMM_READ(ControlArea->NumberOfSectionReferences) - 1; /* ours */
    Row->Views = NTMM_READ(ControlArea->NumberOfMappedViews);
    Row->CommittedPages = NTMM_READ(ControlArea->Segment->NumberOfCommittedPages);
    if (File != NULL && ControlArea->Backing != MiBackingPhysical)
    {
        ULONG Bytes = 0;

        RtlUnicodeToUTF8N(Row->Name, sizeof(Row->Name) - 1, &Bytes, File->FileName.Buffer,
                          File->FileName.Length);
    }
    MiForEachChunk(ControlArea->Segment, NtmmpCountChunk, Row);
}

NTMM_ENTRY(NTSTATUS, QuerySections, (PNTMM_SECTION Sections, ULONG Room, PULONG Count))
{
    NTMM_VISIT Visit;
    NTSTATUS Status = NtmmpEnter(&Visit);
    ULONG64 Total;

    *Count = 0;
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Total = NTMM_READ(MiState.Section->NumberOfControlAreas);
    for (ULONG64 Index = 0; Index < Total; Index++)
    {
        PCONTROL_AREA ControlArea = MiNextControlArea();

        if (ControlArea == NULL)
        {
            continue; /* just coming or going */
        }
        if (*Count < Room)
        {
            NtmmpDescribeSection(ControlArea, &Sections[*Count]);
        }
        ++*Count;
        MiDereferenceControlArea(ControlArea, MiSectionReference, FALSE, FALSE);
    }
    NtmmpLeave(&Visit);
    return STATUS_SUCCESS;
}

NTMM_ENTRY(VOID, ShowSections, (NTMM_PRINT * Print, PVOID Context))
{
    NTMM_OUT Out = { Print, Context };
    NTMM_SECTION *Rows;
    ULONG Count = 0;

    if (!NtmmpIsUp(&Out))
    {
        return;
    }
    Rows = malloc(NTMM_MAXIMUM_SECTIONS * sizeof(*Rows));
    if (Rows == NULL || !NT_SUCCESS(NtmmQuerySections(Rows, NTMM_MAXIMUM_SECTIONS, &Count)))
    {
        free(Rows);
        return;
    }
    NtmmpPrint(&Out, "%-10s %12s %8s %8s %8s %8s %8s %8s %8s  Name\n", "Kind", "Kb", "Sections", "Views",
               "Active", "Standby", "Modified", "In I/O", "Commit");
    for (ULONG Index = 0; Index < Count && Index < NTMM_MAXIMUM_SECTIONS; Index++)
    {
        NtmmpPrint(&Out, "%-10s %12llu %8llu %8llu %8llu %8llu %8llu %8llu %8llu  %s\n", Rows[Index].Kind,
                   (Rows[Index].Bytes + 1023) / 1024, Rows[Index].Sections, Rows[Index].Views,
                   Rows[Index].ActivePages, Rows[Index].StandbyPages, Rows[Index].ModifiedPages,
                   Rows[Index].TransitionPages, Rows[Index].CommittedPages, Rows[Index].Name);
    }
    NtmmpPrint(&Out, "%u control areas\n", Count);
    free(Rows);
}

/* ---- Regions of a process ------------------------------------------------------------------------------------------------ */

enum
{
    NtmmpImage,
    NtmmpMappedFile,
    NtmmpShareable,
    NtmmpPrivate,
    NtmmpStack,
    NtmmpPageTable
};

typedef struct _NTMM_RANGE
{
    ULONG_PTR StartVpn, EndVpn;
    ULONG Kind;
} NTMM_RANGE;

static ULONG NtmmpKindOf(const MMVAD *Vad)
{
    if (Vad->u.VadType == VadImageMap)
    {
        return NtmmpImage;
    }
    if (Vad->ControlArea != NULL)
    {
        return Vad->ControlArea->FilePointer != NULL ? NtmmpMappedFile : NtmmpShareable;
    }
    return Vad->u.Stack ? NtmmpStack : NtmmpPrivate;
}

/* The VADs as they are now, ascending. Returns how many; there may be more than Room. */
static SIZE_T NtmmpReadVads(PMI_ADDRESS_SPACE Space, NTMM_REGIONS *Regions, NTMM_RANGE *Ranges, SIZE_T Room)
{
    MI_SPACE_SLOT *Slot = MiLockSpaceShared(Space);
    SIZE_T Count = 0;

    for (PMMVAD Vad = Space->Deleting ? NULL : MiFirstVad(Space); Vad != NULL && Count < Room;
         Vad = MiNextVad(Vad))
    {
        NTMM_REGIONS *Region = &Regions[NtmmpKindOf(Vad)];

        Ranges[Count++] = (NTMM_RANGE){ Vad->StartingVpn, Vad->EndingVpn, NtmmpKindOf(Vad) };
        Region->Regions++;
        Region->Pages += MiVadPages(Vad);
        Region->Committed += Vad->CommitCharge;
        Region->Largest = Region->Largest > MiVadPages(Vad) ? Region->Largest : MiVadPages(Vad);
    }
    Regions[NtmmpPageTable].Committed = Regions[NtmmpPageTable].WorkingSet =
        Regions[NtmmpPageTable].PrivateWorkingSet = NTMM_READ(Space->PageTablePages);
    MiUnlockSpaceShared(Space, Slot);
    return Count;
}

static VOID NtmmpCountResident(PMI_ADDRESS_SPACE Space, NTMM_REGIONS *Regions, const NTMM_RANGE *Ranges,
                               SIZE_T Count)
{
    MEMORY_WORKING_SET_BLOCK Blocks[64];
    ULONG_PTR Vpn = 0;
    SIZE_T Range = 0, Got;

    do
    {
        Got = MiQueryWorkingSetBlocks(Space, &Vpn, Blocks, RTL_NUMBER_OF(Blocks));
        for (SIZE_T Index = 0; Index < Got; Index++)
        {
            while (Range < Count && Ranges[Range].EndVpn < Blocks[Index].VirtualPage)
            {
                Range++;
            }
            if (Range < Count && Ranges[Range].StartVpn <= Blocks[Index].VirtualPage)
            {
                NTMM_REGIONS *Region = &Regions[Ranges[Range].Kind];

                Region->WorkingSet++;
                Region->PrivateWorkingSet += Blocks[Index].Shared == 0;
                Region->SharedWorkingSet += Blocks[Index].Shared != 0 && Blocks[Index].ShareCount > 1;
            }
        }
    } while (Got == RTL_NUMBER_OF(Blocks));
}

NTMM_ENTRY(NTSTATUS, QueryRegions, (PEPROCESS Process, NTMM_REGIONS Regions[NTMM_REGION_KINDS]))
{
    static const PCSTR Kinds[NTMM_REGION_KINDS] = { "Image",        "Mapped File", "Shareable",
                                                    "Private Data", "Stack",       "Page Table" };
    PMI_ADDRESS_SPACE Space = &Process->Space;
    SIZE_T Room, Count;
    NTMM_RANGE *Ranges;
    NTMM_VISIT Visit;
    NTSTATUS Status = NtmmpEnter(&Visit);

    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    memset(Regions, 0, NTMM_REGION_KINDS * sizeof(*Regions));
    for (ULONG Kind = 0; Kind < NTMM_REGION_KINDS; Kind++)
    {
        Regions[Kind].Kind = Kinds[Kind];
    }
    Room = NTMM_READ(Space->VadCount) + 16;
    Ranges = malloc(Room * sizeof(*Ranges));
    if (Ranges != NULL)
    {
        Count = NtmmpReadVads(Space, Regions, Ranges, Room);
        NtmmpCountResident(Space, Regions, Ranges, Count);
        free(Ranges);
    }
    NtmmpLeave(&Visit);
    return Ranges != NULL ? STATUS_SUCCESS : STATUS_NO_MEMORY;
}

NTMM_ENTRY(VOID, ShowRegions, (PEPROCESS Process, NTMM_PRINT *Print, PVOID Context))
{
    NTMM_OUT Out = { Print, Context };
    NTMM_REGIONS Regions[NTMM_REGION_KINDS];
    PEPROCESS Chosen = NtmmpIsUp(&Out) ? NtmmpChooseProcess(Process) : NULL;

    if (Chosen == NULL || !NT_SUCCESS(NtmmQueryRegions(Chosen, Regions)))
    {
        return;
    }
    NtmmpPrint(&Out, "%-14s %8s %12s %12s %12s %12s %12s %12s\n", "Kb", "Regions", "Size", "Committed",
               "Total WS", "Private WS", "Shared WS", "Largest");
    for (ULONG Kind = 0; Kind < NTMM_REGION_KINDS; Kind++)
    {
        const NTMM_REGIONS *Row = &Regions[Kind];

        NtmmpPrint(&Out, "%-14s %8llu %12llu %12llu %12llu %12llu %12llu %12llu\n", Row->Kind, Row->Regions,
                   4 * Row->Pages, 4 * Row->Committed, 4 * Row->WorkingSet, 4 * Row->PrivateWorkingSet,
                   4 * Row->SharedWorkingSet, 4 * Row->Largest);
    }
}
