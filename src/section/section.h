/* SPDX-License-Identifier: MIT */
/*
 * Section objects: what is shared memory made of. A SECTION is the object that handles mean; a CONTROL_AREA stands for the pages
 * behind it (one for each data file, however often it is mapped), a SEGMENT for their prototype PTEs, SUBSECTIONs for where
 * ranges of them lie in a file. Theory: docs/section.md.
 *
 * Locks. [S] = MI_SECTION_STATE.Lock (spin, leaf); [G] = SEGMENT.Lock (push lock, level KiLockSegment); [C] = atomic;
 * [T] = the page that holds the prototype PTE (MiLockPrototype), and where a frame is behind it that frame's lock, too.
 */
#ifndef NTMM_SECTION_H
#define NTMM_SECTION_H

#include "nt/mmtypes.h"
#include "space/space.h"

struct _CONTROL_AREA;
struct _IO_FCB;
struct _MI_BACKING;

/* ---- Prototype PTEs (prototype.c) ------------------------------------------------------------------------- */

/*
 * 512 prototype PTEs and the frame that holds them. Pte describes that frame as a page-table entry describes a page table: zero
 * (nobody has needed one yet), valid, transition, in a paging file. So prototype PTEs leave memory like page tables do.
 */
typedef struct _MI_PROTOTYPE_CHUNK
{
    MMPTE Pte;                /* [T] of the pool page that holds it, for what is not valid */
    struct _SEGMENT *Segment; /* fixed */
    ULONG64 FirstPage;        /* fixed: of the segment */
    PFN_NUMBER LargeFrame;    /* fixed: SEC_LARGE_PAGES: the first of its 512 frames; 0: not such a section */
    volatile ULONG
        Modified; /* [C] of a file: 0: no frame of it is modified or being written (MiNoteModified) */
    volatile ULONG64 Committed[]; /* [C] SEC_RESERVE only: one bit a page. [G] to set */
} MI_PROTOTYPE_CHUNK, *PMI_PROTOTYPE_CHUNK;

#define MI_CHUNK_PAGES 512u
#define MI_NODE_SHIFT  6u
#define MI_NODE_SLOTS  (1u << MI_NODE_SHIFT)
#define MI_NODE_LEVELS 5u /* 64^5 chunks: 2 PiB */

typedef struct _MI_PROTOTYPE_NODE
{
    PVOID volatile Slots[MI_NODE_SLOTS]; /* [C] set once: nodes, at the last level chunks */
} MI_PROTOTYPE_NODE;

/* ---- Segments, subsections, control areas -------------------------------------------------------------------- */

typedef struct _SEGMENT
{
    struct _CONTROL_AREA *ControlArea;      /* fixed */
    volatile ULONG64 TotalNumberOfPtes;     /* [G] to change; grows, shrinks with the file */
    volatile ULONG64 SizeOfSegment;         /* [G] to change; bytes, not rounded */
    volatile SIZE_T NumberOfCommittedPages; /* [C] charged for pages of the paging file */
    volatile SIZE_T PrototypePages; /* [C] frames of chunks that exist; charged, unless ChunksPromised */
    SIZE_T ChunksPromised;          /* fixed: all chunks, made and charged when the section was; 0: not */
    ULONG SegmentProtection;        /* fixed: MM_* of pages of the paging file */
    BOOLEAN Reserve;                /* fixed: SEC_RESERVE, pages are committed one by one */
    EX_PUSH_LOCK Lock;
    volatile ULONG_PTR Root; /* [C] node or chunk, + depth in the low three bits; 0: none */
    PVOID ImageInformation;  /* images: SECTION_IMAGE_INFORMATION and more; owned by image.c */
} SEGMENT, *PSEGMENT;

/* A range of pages of the segment, and where they come from. */
typedef struct _SUBSECTION
{
    struct _CONTROL_AREA *ControlArea;
    struct _SUBSECTION *NextSubsection; /* ascending StartingPage */
    ULONG64 StartingPage;               /* of the segment */
    ULONG64 PtesInSubsection;
    ULONG64 FileOffset; /* bytes (public symbols: StartingSector); images: not page aligned */
    ULONG64
    FileBytes; /* images: what the file has for it, the rest is zero. Data: to the file's end, which moves */
    ULONG Protection; /* MM_* that views of it get, at most (images) */
    ULONG Flags;      /* MI_SUBSECTION_* */
} SUBSECTION, *PSUBSECTION;

#define MI_SUBSECTION_GLOBAL 0x1u /* images: writable and shared by all (IMAGE_SCN_MEM_SHARED) */

/* Names and order of the public symbols, without what has no meaning here. */
typedef struct _MMSECTION_FLAGS
{
    ULONG BeingDeleted : 1; /* [S] nobody may refer to it any more */
    ULONG BeingCreated : 1; /* [S] wait until it is complete */
    ULONG BeingPurged : 1;  /* [S] */
    ULONG NoModifiedWriting : 1;
    ULONG FailAllIo : 1;
    ULONG Image : 1;
    ULONG Based : 1;
    ULONG File : 1;
    ULONG PhysicalMemory : 1;
    ULONG Commit : 1;
    ULONG Reserve : 1;
    ULONG NoChange : 1;
    ULONG NoCache : 1;
    ULONG WriteCombined : 1;
    ULONG WasPurged : 1;
    ULONG UserReference : 1;
    ULONG UserWritable : 1;
    ULONG OnUnusedList : 1; /* [S] */
} MMSECTION_FLAGS;

/* Where pages that are not in memory come from; index of MI_SECTION_STATE.Backings. */
typedef enum _MI_BACKING_KIND
{
    MiBackingPagingFile,
    MiBackingDataFile,
    MiBackingImage,
    MiBackingPhysical,
    MiBackingMaximum
} MI_BACKING_KIND;

typedef struct _CONTROL_AREA
{
    PSEGMENT Segment;       /* fixed: &Embedded */
    LIST_ENTRY Links;       /* [S] all control areas */
    LIST_ENTRY UnusedLinks; /* [S] those without references that still have pages, the oldest first */
    ULONG64 NumberOfSectionReferences;  /* [S] SECTION objects and the file room's own users */
    ULONG64 NumberOfMappedViews;        /* [S] */
    ULONG64 NumberOfSystemCacheViews;   /* [S] of NumberOfMappedViews */
    ULONG64 NumberOfUserReferences;     /* [S] sections and views that user mode made */
    ULONG64 WritableUserReferences;     /* [S] writable sections and views of user mode */
    volatile LONG64 ModifiedWriteCount; /* [C] writes in flight to the file */
    volatile ULONG WriteErrors;         /* [C] in a row */
    volatile ULONG64
        WriteRetryTime; /* [C] after an error: the writer leaves the file alone before (KiQueryTime) */
    volatile ULONG
        NoModifiedWriting;       /* [C] not the mapped page writer's: a log must be written before them */
    volatile ULONG NoWritePages; /* [C] it met some since the lazy writer looked */
    MMSECTION_FLAGS u;
    MI_BACKING_KIND Backing; /* fixed */
    PVOID FilePointer;       /* FILE_OBJECT, referenced; NULL: none. Fixed while there are references */
    PSUBSECTION Subsection;  /* [G] the first; those that exist are never moved or freed before the end */
    PVOID volatile *
        Anchor; /* [S] SectionObjectPointers->DataSectionObject / ImageSectionObject, which holds us; NULL: none */
    SUBSECTION FirstSubsection;
    PSUBSECTION FollowingSubsections; /* fixed: images: those behind the first, one array */
    ULONG FollowingCount;             /* fixed */
    SEGMENT Embedded;
} CONTROL_AREA, *PCONTROL_AREA;

/* The object. */
typedef struct _SECTION
{
    PCONTROL_AREA ControlArea;      /* fixed; holds a section reference */
    volatile ULONG64 SizeOfSection; /* [G] bytes; never larger than the segment's */
    ULONG AllocationAttributes;     /* fixed: SEC_* as created */
    ULONG InitialPageProtection;    /* fixed: PAGE_* */
    BOOLEAN UserReference;          /* fixed */
    BOOLEAN UserWritable;           /* fixed */
    ULONG_PTR BasedVpn;             /* fixed: SEC_BASED: where every view is mapped; 0: not based */
    ULONG_PTR BasedEndVpn;          /* fixed: inclusive */
    LIST_ENTRY BasedLinks;          /* BasedLock */
} SECTION, *PSECTION;

typedef struct _MI_SECTION_STATE
{
    KSPIN_LOCK Lock;
    LIST_ENTRY ControlAreas;      /* [S] */
    LIST_ENTRY UnusedSegmentList; /* [S] */
    ULONG64 NumberOfControlAreas; /* [S] */
    ULONG64 UnusedSegmentCount;   /* [S] */
    OB_TYPE SectionType;
    const struct _MI_BACKING *Backings[MiBackingMaximum]; /* handed in by room fault (fault.h) */
    /* Handed in by room fault: lets go of every page, slot and chunk frame of a segment that nobody uses. PASSIVE_LEVEL. */
    VOID (*DeletePages)(PSEGMENT Segment);
    /* The same: all pages of a new segment, 2 MiB by 2 MiB. STATUS_INSUFFICIENT_RESOURCES: some may be there. PASSIVE_LEVEL. */
    NTSTATUS (*FillLargePages)(PSEGMENT Segment);
    /* Handed in by room paging: writes to the file what is modified, and waits for writes in flight. FALSE: some of it could not be written. */
    BOOLEAN (*CleanPages)(PCONTROL_AREA ControlArea, BOOLEAN Last);
    VOID (*ReleaseBacking)(PCONTROL_AREA ControlArea); /* the same: calls MI_BACKING.Delete */
    KEVENT Settled; /* notification: a control area was created or deleted to the end */
    EX_PUSH_LOCK BasedLock;
    LIST_ENTRY BasedSections; /* SEC_BASED, ascending addresses. BasedLock */
} MI_SECTION_STATE;

NTSTATUS MiInitializeSection(void);
VOID MiShutdownSection(void); /* bug-checks when control areas are left that somebody refers to */

/* ---- Prototype PTEs ------------------------------------------------------------------------------------------- */

/* The chunk of a page, or NULL: none was needed yet. No lock. */
PMI_PROTOTYPE_CHUNK MiLookUpChunk(PSEGMENT Segment, ULONG64 Page);
/* Makes it. NULL: no pool. At DISPATCH_LEVEL or below; page tables may be locked. */
PMI_PROTOTYPE_CHUNK MiMakeChunk(PSEGMENT Segment, ULONG64 Page);

/*
 * The prototype PTE of a page with the page that holds it locked, or NULL: that page is not in memory (or does not exist).
 * DISPATCH_LEVEL; one page table may be locked.
 */
PMMPTE MiLockPrototype(PSEGMENT Segment, ULONG64 Page);
VOID MiUnlockPrototype(PMMPTE Prototype);

/*
 * Whether a page of the segment may be touched, and how many pages from Page on, up to Count, agree with it. SEC_RESERVE: committed
 * already; else always. No lock.
 */
ULONG64 MiMeasureCommitted(PSEGMENT Segment, ULONG64 Page, ULONG64 Count, PBOOLEAN Committed);
/* Commits pages of a SEC_RESERVE segment; those that are already stay. STATUS_COMMITMENT_LIMIT, STATUS_INSUFFICIENT_RESOURCES. PASSIVE_LEVEL, no locks. */
NTSTATUS MiCommitSegmentPages(PSEGMENT Segment, ULONG64 Page, ULONG64 Count);

/* Frames of the segment in memory: active, on a list, in I/O. No lock; a moment's truth. */
ULONG64 MiCountSegmentPages(PSEGMENT Segment);

/* Calls Routine for every chunk that exists, ascending, until FALSE. */
VOID MiForEachChunk(PSEGMENT Segment, BOOLEAN (*Routine)(PMI_PROTOTYPE_CHUNK Chunk, PVOID Context),
                    PVOID Context);
/* Frees nodes and chunks; their frames are gone. */
VOID MiFreeChunks(PSEGMENT Segment);

/*
 * Its pages are committed, all of them: nothing that a fault needs for them may be refused. Files and SEC_RESERVE promise nothing: of their chunks those are
 * charged whose frames exist.
 */
static FORCEINLINE BOOLEAN MiIsSegmentCommitted(const SEGMENT *Segment)
{
    return Segment->ChunksPromised != 0;
}
/* The frame of a chunk is gone. */
static FORCEINLINE VOID MiReturnChunkCharge(const SEGMENT *Segment)
{
    if (!MiIsSegmentCommitted(Segment))
    {
        MiReturnCommitment(1);
    }
}
/* Makes that so, for as many pages as it has now. STATUS_COMMITMENT_LIMIT, STATUS_INSUFFICIENT_RESOURCES. PASSIVE_LEVEL, nobody else knows the segment. */
NTSTATUS MiPromiseChunks(PSEGMENT Segment);

/* Where Pages pages from FirstPage on end, as far as the segment has them: not behind FirstPage if it has none of them. */
static FORCEINLINE ULONG64 MiSegmentPagesEnd(const SEGMENT *Segment, ULONG64 FirstPage, ULONG64 Pages)
{
    ULONG64 Total = __atomic_load_n(&Segment->TotalNumberOfPtes, __ATOMIC_RELAXED);

    return FirstPage < Total && Pages < Total - FirstPage ? FirstPage + Pages : Total;
}

/*
 * The kind of a prototype PTE that a frame points back to: of a section (its page counts the frames behind its entries like a page
 * table does) or of a clone. The frame (or the page of the prototype) is locked.
 */
static FORCEINLINE BOOLEAN MiIsSectionPrototype(const volatile MMPTE *Prototype)
{
    return MiCountsShares(Prototype);
}

static FORCEINLINE PMI_PROTOTYPE_CHUNK MiChunkOfPrototype(const volatile MMPTE *Prototype);

/* The frame, locked, has become modified: if it is a page of a file, flushing that has to look at the chunk. */
static FORCEINLINE VOID MiNoteModified(const MMPFN *Pfn)
{
    if (Pfn->e1.PrototypePte && Pfn->OriginalPte.Soft.Prototype)
    {
        __atomic_store_n(&MiChunkOfPrototype(Pfn->PteAddress)->Modified, 1, __ATOMIC_RELEASE);
    }
}

/* Whose a prototype PTE of a section is, while a frame stands behind it or its page is locked. */
static FORCEINLINE PMI_PROTOTYPE_CHUNK MiChunkOfPrototype(const volatile MMPTE *Prototype)
{
    return CONTAINING_RECORD(MiPtePage(Prototype)->PteAddress, MI_PROTOTYPE_CHUNK, Pte);
}

static FORCEINLINE ULONG64 MiPageOfPrototype(const volatile MMPTE *Prototype)
{
    return MiChunkOfPrototype(Prototype)->FirstPage +
           ((ULONG_PTR)Prototype & (PAGE_SIZE - 1)) / sizeof(MMPTE);
}

/*
 * What the prototype PTE of a page says whose contents are in a file: prototype bit, protection, its subsection. It is also the OriginalPte
 * of the page's frame; that is what makes a modified frame go to the mapped list (lists.c).
 */
static FORCEINLINE MMPTE MiMakeSubsectionPte(PSUBSECTION Subsection, ULONG Protection)
{
    return MiMakePrototypePte((PMMPTE)(PVOID)Subsection, Protection);
}

static FORCEINLINE PSUBSECTION MiSubsectionFromPte(MMPTE Pte)
{
    return (PSUBSECTION)(PVOID)MiPrototypeOf(Pte);
}

/*
 * The entry of a view that is not valid and not private: its page is found through its VAD, so prototype PTEs may move and leave memory.
 * Zero means the same with the VAD's protection.
 */
static FORCEINLINE MMPTE MiMakeLookupPte(ULONG Protection)
{
    return MiMakePrototypePte((PMMPTE)(~(ULONG_PTR)0), Protection);
}

static FORCEINLINE BOOLEAN MiIsLookup(MMPTE Pte)
{
    return MiIsPrototype(Pte) && Pte.Proto.ProtoAddress == -1;
}

/* ---- Control areas (controlarea.c) ----------------------------------------------------------------------------- */

/*
 * A control area with one section reference, listed, its first subsection covering Pages. BeingCreated if Anchor (the pointer that
 * finds it, for files) is not NULL: MiEndCreation when it is complete. NULL: no pool.
 */
PCONTROL_AREA MiAllocateControlArea(MI_BACKING_KIND Backing, ULONG64 Size, PVOID volatile *Anchor);

/*
 * The control area that *Anchor names, with one more section reference, taken from the unused list if it was there; NULL: none.
 * Waits while it is being created or deleted. PASSIVE_LEVEL.
 */
PCONTROL_AREA MiReferenceAnchoredControlArea(PVOID volatile *Anchor);
/*
 * The new control area becomes what *Anchor names; FALSE: somebody was faster, take that one (and free this).
 */
BOOLEAN MiAnchorControlArea(PCONTROL_AREA ControlArea);
VOID MiEndCreation(PCONTROL_AREA ControlArea);

typedef enum _MI_CONTROL_AREA_REFERENCE
{
    MiSectionReference,
    MiViewReference,
    MiCacheViewReference
} MI_CONTROL_AREA_REFERENCE;

/* The caller has a reference already. User: made by user mode; Writable: it may write. */
VOID MiReferenceControlArea(PCONTROL_AREA ControlArea, MI_CONTROL_AREA_REFERENCE Kind, BOOLEAN User,
                            BOOLEAN Writable);
/*
 * With the last one a control area of the paging file is deleted; that of a file goes to the unused list while it has pages. PASSIVE_LEVEL,
 * no locks.
 */
VOID MiDereferenceControlArea(PCONTROL_AREA ControlArea, MI_CONTROL_AREA_REFERENCE Kind, BOOLEAN User,
                              BOOLEAN Writable);

/*
 * Deletes the control area that *Anchor names, with everything that is in memory of it: what is modified must have been written. FALSE: somebody
 * refers to it. Waits while it is being created or deleted. PASSIVE_LEVEL.
 */
BOOLEAN MiDeleteAnchoredControlArea(PVOID volatile *Anchor);

/* How many views of it there are. */
ULONG64 MiCountMappedViews(PCONTROL_AREA ControlArea);

/* Deletes unused control areas that have no page left, and the Force oldest in any case. Returns how many. PASSIVE_LEVEL. */
ULONG64 MiTrimUnusedSegments(ULONG64 Force);
#define MI_TRIM_ALL_SEGMENTS (~0ull) /* the machine ends: also those whose pages cannot be written */

/* The next in turn of all control areas, with a section reference; NULL: it is just coming or going. Ask NumberOfControlAreas times. */
PCONTROL_AREA MiNextControlArea(void);

ULONG MiImageViewProtection(const MMVAD *Vad, ULONG_PTR Vpn);
/* The protection of a page of a view whose entry is zero. */
static FORCEINLINE ULONG MiViewProtection(const MMVAD *Vad, ULONG_PTR Vpn)
{
    return __builtin_expect(Vad->u.VadType == VadImageMap, 0) ? MiImageViewProtection(Vad, Vpn)
                                                              : Vad->u.CommitProtection;
}

/* In logarithmic time. NULL: beyond the end. */
PSUBSECTION MiLocateSubsection(PCONTROL_AREA ControlArea, ULONG64 Page);

/* ---- Creating what stands behind a section ------------------------------------------------------------------------ */

/* Sizes in bytes, MM_* protection, SEC_* attributes. Each returns a control area with one section reference. PASSIVE_LEVEL. */
NTSTATUS MiCreatePagingFileMap(ULONG64 Size, ULONG Protection, ULONG Attributes, PCONTROL_AREA *ControlArea);
/* datafile.c (files): *Size 0 becomes the file's size; a larger one extends the file if Protection is writable. */
NTSTATUS MiCreateDataFileMap(PVOID FileObject, PULONG64 Size, ULONG Protection, ULONG Attributes,
                             PCONTROL_AREA *ControlArea);
/* image.c (images): validates the headers; *Size becomes the image's. */
NTSTATUS MiCreateImageMap(PVOID FileObject, PULONG64 Size, ULONG Protection, ULONG Attributes,
                          PCONTROL_AREA *ControlArea);
/* Makes the file longer; what views wrote behind its old end is forgotten. Size lock held exclusively. Statuses of IoSetFileSize. */
NTSTATUS MiGrowFile(struct _IO_FCB *File, ULONG64 Size);
/* The file's control area, as large as the file at least, with one more section reference; made if there is none. Size lock held exclusively. */
NTSTATUS MiReferenceDataFileMap(PVOID FileObject, PCONTROL_AREA *ControlArea);
/* The segment of a data file becomes as large as the file; pages behind are gone already. Size lock held exclusively. */
VOID MiResizeDataFileMap(PCONTROL_AREA ControlArea, ULONG64 Size);
/* datafile.c (files): NtExtendSection of a data file: grows file and segment. Size lock of the file and segment lock held exclusively. */
NTSTATUS MiExtendDataFileMap(PCONTROL_AREA ControlArea, ULONG64 NewSize);

/* ---- Section objects (section.c) ------------------------------------------------------------------------------------ */

/* The captured parameters of NtCreateSection(Ex). */
typedef struct _MI_SECTION_REQUEST
{
    ULONG64 Size;     /* 0: the file's */
    ULONG Protect;    /* PAGE_* */
    ULONG Attributes; /* SEC_* */
    PVOID FileObject; /* NULL: the paging files */
    KPROCESSOR_MODE Mode;
} MI_SECTION_REQUEST, *PMI_SECTION_REQUEST;

/* The object has one reference and no name. PASSIVE_LEVEL. Statuses: NtCreateSection. */
NTSTATUS MiCreateSection(const MI_SECTION_REQUEST *Request, PSECTION *Section);
VOID MiDeleteSection(PVOID Object); /* SectionType.Delete */
/* NewSize: in the size wanted, out the size reached. Statuses: NtExtendSection. */
NTSTATUS MiExtendSection(PSECTION Section, PULONG64 NewSize);

/* Level 1: counts and lists; 2: chunks against their frames; 3 (quiescent): every prototype PTE. */
VOID MiCheckSections(ULONG Level);

#define MI_TAG_CONTROL_AREA MI_TAG('M', 'm', 'C', 'a')
#define MI_TAG_SUBSECTION   MI_TAG('M', 'm', 'S', 'd')
#define MI_TAG_PROTOTYPE    MI_TAG('M', 'm', 'S', 't')

#endif
