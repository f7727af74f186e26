/* SPDX-License-Identifier: MIT */
/*
 * The resolvers, one file per kind of fault. All run with the space locked shared, the page table
 * (Fault->Table) locked, at DISPATCH_LEVEL, and return what the dispatcher shall do; they never wait.
 */
#ifndef NTMM_FAULT_RESOLVE_H
#define NTMM_FAULT_RESOLVE_H

#include "fault/fault.h"
#include "physical/many.h"

MI_FAULT_RESULT MiResolveValidFault(PMI_FAULT Fault);      /* valid.c */
MI_FAULT_RESULT MiResolveDemandZeroFault(PMI_FAULT Fault); /* demandzero.c */
MI_FAULT_RESULT MiResolveTransitionFault(PMI_FAULT Fault); /* transition.c */
MI_FAULT_RESULT MiResolvePageFileFault(PMI_FAULT Fault);   /* pagefile.c */
MI_FAULT_RESULT MiResolvePrototypeFault(PMI_FAULT Fault);  /* prototype.c */

/*
 * A page-table page is missing (Fault->Level > 0). Space locked shared, no table lock, IRQL < DISPATCH_LEVEL.
 * Retry when it is there. pagetable.c
 */
MI_FAULT_RESULT MiResolvePageTableFault(PMI_FAULT Fault);

/*
 * MiFaultNeedCommit: raises the limit. FALSE: that does not help; Fault->Status is STATUS_COMMITMENT_LIMIT (a service) or STATUS_IN_PAGE_ERROR with
 * that IoStatus. No locks held. pagetable.c
 */
BOOLEAN MiFindFaultCommitment(PMI_FAULT Fault);

/*
 * Waits for Fault->InPage and gives it back. TRUE: walk again; FALSE: Fault->Status is STATUS_IN_PAGE_ERROR.
 * pagefile.c
 */
BOOLEAN MiFinishInPage(PMI_FAULT Fault);

/* The guard of the page has fired: its entry loses the modifier. valid.c */
VOID MiClearGuard(PMI_FAULT Fault);

/*
 * A transition frame becomes active for one mapping. Frame locked; it may be on a list, in a write, or held.
 * transition.c
 */
VOID MiActivateTransitionFrame(PMMPFN Pfn);

/* The same of one of several, whose list's lock is kept. Lists NULL: of one alone. */
static FORCEINLINE VOID MiActivateFrame(PMMPFN Pfn, PMI_LIST_RUN Lists)
{
    MMPFNENTRY Entry = MiReadPfnEntry(Pfn);

    if (Entry.PageLocation == StandbyPageList || MiIsOnModifiedList(Entry))
    {
        if (Entry.PageLocation != StandbyPageList)
        {
            MiCount(TransitionModified);
        }
        if (Lists == NULL)
        {
            MiUnlinkPage(Pfn);
        }
        else
        {
            MiUnlinkPageInRun(Pfn, Lists);
        }
    }
    if (Entry.ReadAhead)
    {
        MiCount(ReadAheadHits);
    }
    Entry.ReadAhead = 0; /* not only if it was set: gcc would keep the bit in memory */
    Entry.PageLocation = ActiveAndValid;
    MiWritePfnEntry(Pfn, Entry);
    MiIncrementReferenceCount(Pfn);
    MiWriteShareCount(Pfn, 1);
    Pfn->u1.UsedPageTableEntries = 0;
}

/*
 * Starts a read of the page that Paged (a paged-out software PTE) names into frames for PointerPte and as
 * many neighbours in the same table as pay off. Prototype: PointerPte is a prototype PTE (no neighbours).
 * NeedRead, NeedFrame, NeedBlock.
 */
MI_FAULT_RESULT MiStartInPage(PMI_FAULT Fault, PMMPTE PointerPte, MMPTE Paged, BOOLEAN Prototype);

/*
 * Puts one more page into the read: its entry becomes a transition to Frame, whose OriginalPte (its place in the backing store) stays: it is
 * clean. Prototype: PointerPte is a prototype PTE. The page that holds PointerPte locked. pagefile.c
 */
VOID MiAddToRead(PMMINPAGE_SUPPORT InPage, PMMPTE PointerPte, MMPTE OriginalPte, PFN_NUMBER Frame,
                 BOOLEAN Prototype, ULONG Priority);

/* ---- Prototype PTEs (prototype.c): the page that holds the prototype locked, too ------------------------- */

/* The prototype is valid or in transition (Proto, as read): maps its frame, or waits for its read. */
MI_FAULT_RESULT MiResolveResident(PMI_FAULT Fault, PMMPTE Prototype, MMPTE Proto);
MI_FAULT_RESULT MiResolvePrototypeDemandZero(PMI_FAULT Fault, PMMPTE Prototype, MMPTE OriginalPte);
MI_FAULT_RESULT MiReadPrototype(PMI_FAULT Fault, PMMPTE Prototype, MMPTE Proto); /* from the paging file */
/* A frame with its contents becomes the page of Prototype and is mapped. OriginalPte: its place in the backing store. */
VOID MiMapNewPrototypePage(PMI_FAULT Fault, PMMPTE Prototype, PFN_NUMBER Frame, MMPTE OriginalPte);
/* Maps the frame (locked; its share counted already) in place of Fault->Pte. */
VOID MiMapShared(PMI_FAULT Fault, PMMPFN Pfn);
VOID MiMakePrototypeValid(PMMPTE Prototype, PMMPFN Pfn); /* its frame is in use from now on. Frame locked */

/* ---- Sections (sectionpage.c, segment.c) ------------------------------------------------------------------ */

MI_FAULT_RESULT MiResolveSectionFault(PMI_FAULT Fault);
/* The frame of the chunk is not in memory: makes it, brings it back. Retry, NeedFrame, NeedBlock, NeedRead. */
MI_FAULT_RESULT MiResolveChunkFault(PMI_FAULT Fault, PMI_PROTOTYPE_CHUNK Chunk);
/* The prototype PTE, its page locked, after one step towards having that page in memory, without waiting: who must wait may do it himself. */
PMMPTE MiTryPrototype(PSEGMENT Segment, ULONG64 Page);
VOID MiDeleteSegmentPages(PSEGMENT Segment);
VOID MiReleaseBacking(PCONTROL_AREA ControlArea);

extern const MI_BACKING MiPagingFileBacking;
extern const MI_BACKING MiImageBacking; /* imagepage.c */
/* Starts to read up to Count pages (a small cluster at least) of the view from the fault's on, without waiting. Returns how many; then the fault has the read. */
ULONG MiPrefetchImagePages(PMI_FAULT Fault, ULONG Count);

/* ---- Data files (mappedfile.c, mapahead.c) ------------------------------------------------------------------------ */

extern const MI_BACKING MiDataFileBacking;
/* A page of a data file that was in memory is mapped: maps its neighbours. InOrder: it came along in a read, or was read for this fault. Same locks. */
VOID MiMapFileAround(PMI_FAULT Fault, PMMPTE Prototype, BOOLEAN InOrder);
/* And Fault->Further pages behind the end of the table, as far as they are in memory. Space locked shared, no table. */
VOID MiMapFileFurther(PMI_FAULT Fault);
/* mappedfile.c: that many of the pages that came along were used; all that the view shows has room in memory, and there is room now. */
VOID MiCreditNeighbours(PMMVAD Vad, ULONG Hits);
BOOLEAN MiViewFits(PMMVAD Vad);
/* The reader goes on in order: puts the next clusters under way. Space locked shared, no table. */
VOID MiContinueFileReadAhead(PMI_FAULT Fault);

/* ---- Windows of reads (pagefile.c) ------------------------------------------------------------------------ */

#define MI_SEQUENTIAL_START 8u

ULONG MiReadWindow(PMI_FAULT Fault, ULONG Most); /* pages that a read of the page is worth */
VOID MiNoteRead(PMI_FAULT Fault, ULONG Pages);

MI_FAULT_RESULT MiResolveWatchedWrite(PMI_FAULT Fault); /* demandzero.c */
/* The page is being written to: if its region is watched, remembers it. demandzero.c */
VOID MiNoteWatchedWrite(PMI_FAULT Fault);
/*
 * A page that came along in a read was used: keeps the reader's pipeline filled. Page table locked.
 * pagefile.c
 */
VOID MiContinueReadAhead(PMI_FAULT Fault);
ULONG MiPagePriority(PMI_FAULT Fault); /* pagefile.c */
/* MiAllocatePage's flags for the node that the region prefers; 0: that of the processor. pagefile.c */
ULONG MiPreferredNode(PMI_FAULT Fault);

/* largesection.c: all pages of a new segment (MI_SECTION_STATE.FillLargePages); / those of a chunk that nothing finds any more go. PASSIVE_LEVEL */
NTSTATUS MiFillLargeSegment(PSEGMENT Segment);
VOID MiReleaseLargeChunk(PMI_PROTOTYPE_CHUNK Chunk);

/*
 * The owner lets go of a frame that is not mapped: its slot goes, and the frame with its last reference.
 * Frame locked. entries.c
 */
VOID MiAbandonFrame(PMMPFN Pfn);

/*
 * Makes the leaf entry valid: the last store of a fault. Private or shared frame that is ready and counted.
 * Counts the working set.
 */
VOID MiMakeEntryValid(PMI_FAULT Fault, PFN_NUMBER Frame, BOOLEAN Shared, ULONG Protection);

#endif
