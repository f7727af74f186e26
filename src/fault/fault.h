/* SPDX-License-Identifier: MIT */
/*
 * Page faults: MmAccessFault and the resolvers. One MI_FAULT travels through them; each resolver returns an
 * explicit result, and the dispatcher alone takes and drops locks, waits, and retries. Theory: docs/fault.md.
 */
#ifndef NTMM_FAULT_H
#define NTMM_FAULT_H

#include "section/section.h"
#include "workingset/workingset.h"

typedef enum _MI_FAULT_RESULT
{
    MiFaultResolved,  /* run the access again */
    MiFaultRetry,     /* something changed: walk again */
    MiFaultNeedFrame, /* wait for a frame, then walk again */
    MiFaultNeedBlock, /* wait for an in-page block, then walk again */
    MiFaultNeedRead,  /* Fault->InPage (referenced) is in flight: wait for it, then walk again */
    MiFaultNeedCommit, /* a page-table page that is not promised cannot be charged: raise the limit, then walk again */
    MiFaultNeedTable, /* a page-table page is missing at Fault->Level */
    MiFaultGrowStack, /* guard page of a user stack: Fault->Vad's stack wants to grow */
    MiFaultFailed     /* Fault->Status is the exception */
} MI_FAULT_RESULT;

typedef struct _MI_FAULT
{
    PMI_ADDRESS_SPACE Space;
    ULONG_PTR Va;
    MI_ACCESS Access;
    KPROCESSOR_MODE Mode;
    BOOLEAN Prefetch; /* bring to transition only; never waits for a read */
    ULONG Level;      /* 0: PointerPte is the PTE */
    PMMPTE PointerPte;
    PMMPFN Table;              /* page that holds PointerPte, locked while resolvers run */
    MMPTE Pte;                 /* as read under the lock */
    PMMVAD Vad;                /* may be NULL when the PTE is not zero; system space: may be NULL */
    ULONG Protection;          /* of the page */
    PCONTROL_AREA ControlArea; /* the page is a section's (its entry is zero or a lookup entry), else NULL */
    ULONG64 SegmentPage;       /* and this one of its segment */
    PMMINPAGE_SUPPORT InPage;
    PFN_NUMBER HeldFrame; /* an extra reference on the frame that was read for us, 0 = none */
    BOOLEAN HardFault;
    BOOLEAN Service;    /* not a fault: refused with STATUS_COMMITMENT_LIMIT */
    ULONG CommitRounds; /* how often the limit was raised for it */
    BOOLEAN CameAlong;  /* the page of a section had come along in a read and is used for the first time */
    BOOLEAN JustRead;   /* the page was read for this fault */
    BOOLEAN Jumped;     /* with neighbours, for a reader that does not go in order */
    BOOLEAN Single;     /* a cluster could not be read: read the page alone */
    BOOLEAN GoesOn;     /* a file is read in order: read ahead once no table is locked */
    ULONG Further;      /* pages of a file behind the table that are to be mapped then */
    NTSTATUS Status;    /* MiFaultFailed */
    NTSTATUS IoStatus;  /* STATUS_IN_PAGE_ERROR */
} MI_FAULT, *PMI_FAULT;

typedef struct _MI_FAULT_STATE
{
    /*
     * Handed in by room virtual: commits the next page of a user stack and moves its guard page. IRQL <
     * DISPATCH, no locks held.
     */
    NTSTATUS (*GrowUserStack)(PMI_ADDRESS_SPACE Space, ULONG_PTR Va);
    KSPIN_LOCK CloneLock;  /* clone block pages */
    LIST_ENTRY ClonePages; /* those with free blocks */
    SIZE_T CloneBlocksInUse;
} MI_FAULT_STATE;

NTSTATUS MiInitializeFault(void);
VOID MiShutdownFault(void);

/*
 * How the pages of one kind of section come into memory: MI_SECTION_STATE.Backings[kind], one file of this room each
 * (pagefilesection.c, mappedfile.c, imagepage.c).
 */
typedef struct _MI_BACKING
{
    /*
     * The page Fault->SegmentPage of Fault->ControlArea is not in memory and not in a paging file: *Prototype is zero or in subsection format
     * (or demand zero: SEC_RESERVE). Its page is locked, so is the page table (Fault->Table, unless Fault->PointerPte is NULL). Gives it a
     * frame (MiMapNewPrototypePage), starts a read (MiAllocateInPage, MiAddToRead; NeedRead), NeedFrame, NeedBlock, or Failed with
     * Fault->Status and IoStatus. Never waits.
     */
    MI_FAULT_RESULT (*ResolvePage)(PMI_FAULT Fault, PMMPTE Prototype);
    /* What a prototype PTE may hold while no frame is behind it is found anew: its page of PTEs need not be kept when it is idle. */
    BOOLEAN Discardable;
    /* The control area is about to be freed; its pages are gone. Dereferences the file. PASSIVE_LEVEL. */
    VOID (*Delete)(PCONTROL_AREA ControlArea);
} MI_BACKING;

/*
 * The prototype PTE of a page for services: its page of PTEs is made or brought back, and stays in memory until MiUnpinPrototype. Waits. STATUS_NO_MEMORY,
 * STATUS_IN_PAGE_ERROR. IRQL < DISPATCH_LEVEL; no lock but KiLockSegment.
 */
/* data files: starts reading up to Count pages from Page on (not beyond its chunk), without waiting. Returns how many. The caller has a reference. */
ULONG MiStartFileReadAhead(PCONTROL_AREA ControlArea, ULONG64 Page, ULONG Count, ULONG Priority);

/*
 * Data files: a page that is about to be overwritten as a whole need not be read. MiBeginOverwrite gives a frame, nobody's yet, whose contents are arbitrary; 0: the
 * page is in memory, or there is nothing to give without waiting, and it has to be written as others are. Once the frame holds the page, MiEndOverwrite makes
 * it the page, which is modified. FALSE, and the frame is free: not Complete, or the page has come meanwhile. IRQL < DISPATCH_LEVEL, no locks;
 * the caller has a reference, and keeps the file from becoming shorter.
 */
PFN_NUMBER MiBeginOverwrite(PCONTROL_AREA ControlArea, ULONG64 Page);
BOOLEAN MiEndOverwrite(PCONTROL_AREA ControlArea, ULONG64 Page, PFN_NUMBER Frame, BOOLEAN Complete);

/*
 * Data files, images: starts to read up to Count pages (images: a small cluster at least) from Page on, inside one chunk, which the caller has pinned. *Passed: how
 * many pages that were, 1 if the first is in memory or has nothing in a file; *Read then stays as it is, otherwise the caller waits for it and
 * dereferences it. STATUS_INSUFFICIENT_RESOURCES: no frame. IRQL < DISPATCH_LEVEL, no locks; the caller has a reference.
 */
NTSTATUS MiReadFilePages(PCONTROL_AREA ControlArea, ULONG64 Page, ULONG Count, PULONG Passed,
                         PMMINPAGE_SUPPORT *Read);
NTSTATUS MiReadImagePages(PCONTROL_AREA ControlArea, ULONG64 Page, ULONG64 Count, PULONG Passed,
                          PMMINPAGE_SUPPORT *Read);

NTSTATUS MiPinPrototype(PSEGMENT Segment, ULONG64 Page, PMMPTE *Prototype);
VOID MiUnpinPrototype(PMMPTE Prototype);

/* Frees frame or slot behind a prototype PTE that nobody maps; it becomes zero. Its page locked. segment.c */
VOID MiDeletePrototype(PMMPTE Prototype);

/*
 * Makes Va accessible in Space for Access: the five steps, for services that work on any process.
 * STATUS_SUCCESS, STATUS_ACCESS_VIOLATION, STATUS_GUARD_PAGE_VIOLATION, STATUS_STACK_OVERFLOW,
 * STATUS_IN_PAGE_ERROR (IoStatus, optional, says why), STATUS_NO_MEMORY. IRQL < DISPATCH_LEVEL; no space lock
 * held.
 */
NTSTATUS MiFaultAddress(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, MI_ACCESS Access, KPROCESSOR_MODE Mode,
                        NTSTATUS *IoStatus);

/*
 * Starts reading a page that is in the paging file, without waiting; nothing if it is in memory. Space not
 * locked.
 */
VOID MiPrefetchAddress(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, ULONG Pages);

/*
 * All page-table pages above Va exist and are resident afterwards; *PointerPte is the PTE. Space locked
 * EXCLUSIVELY on entry and exit; may drop it in between when it must wait (then *Dropped = TRUE and the
 * caller looks at its VADs again). STATUS_SUCCESS, STATUS_NO_MEMORY, STATUS_IN_PAGE_ERROR..., and STATUS_COMMITMENT_LIMIT where a new
 * table is neither promised nor can be charged.
 */
NTSTATUS MiMakePageTableResident(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, PMMPTE *PointerPte, PBOOLEAN Dropped);
/* The same without the leaf table. */
NTSTATUS MiMakeUpperTables(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, PBOOLEAN Dropped);
/* The same for the tables above Va that exist; makes none. */
NTSTATUS MiBringPageTableIn(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, PBOOLEAN Dropped);

/*
 * Deletes whatever one leaf entry stands for (valid, transition, paged out, demand zero, prototype) and makes
 * it `New` (usually zero or a decommit/demand-zero entry). Space locked exclusively, DISPATCH_LEVEL. Valid
 * pages go through Batch: call MiEndDeleteBatch before the space is unlocked. UsedPageTableEntries is kept
 * right.
 */
#define MI_DELETE_BATCH_PAGES 8192u /* one flush for what lies together */
#define MI_DELETE_BATCH_RUNS  256u
typedef struct _MI_DELETE_RUN
{
    ULONG Frame; /* consecutive frames from this one on */
    USHORT Count;
    BOOLEAN Shared; /* the batch has a share of each, of a section's; otherwise a reference */
} MI_DELETE_RUN;

typedef struct _MI_DELETE_BATCH
{
    PMI_ADDRESS_SPACE Space;
    MI_FLUSH_LIST Flush;
    ULONG Pages;
    ULONG Count;
    MI_DELETE_RUN Runs[MI_DELETE_BATCH_RUNS];
} MI_DELETE_BATCH;

VOID MiBeginDeleteBatch(MI_DELETE_BATCH *Batch, PMI_ADDRESS_SPACE Space);
VOID MiDeleteEntry(MI_DELETE_BATCH *Batch, PMMPTE PointerPte, ULONG_PTR Va, MMPTE New);
/*
 * The same for those of Count entries of one table from PointerPte on that map pages of a section, up to the first that is something else (or locked
 * in memory). Returns how many.
 */
ULONG MiDeleteSharedEntries(MI_DELETE_BATCH *Batch, PMMPTE PointerPte, ULONG_PTR Va, ULONG Count, MMPTE New);
VOID MiEndDeleteBatch(MI_DELETE_BATCH *Batch);

/*
 * Changes the protection of one committed leaf entry of any state, in place: valid entries get new hardware
 * bits (dirty kept; guard and no-access make them transition through TrimBatch), others their protection
 * field. Space locked exclusively, DISPATCH_LEVEL. Adds to the batch's flush list what must be flushed.
 * UsedPageTableEntries unaffected (entry must not be zero).
 */
VOID MiProtectEntry(MI_TRIM_BATCH_LIST *Batch, PMMPTE PointerPte, ULONG_PTR Va, ULONG Protection, PMMVAD Vad);

/* ---- Clone prototype PTEs (clone.c) -------------------------------------------------------------------- */

/*
 * A page shared by clones: its prototype PTE and how many entries refer to it. Blocks live in pool pages of
 * 252.
 */
typedef struct _MMCLONE_BLOCK
{
    MMPTE ProtoPte;
    volatile LONG64 References;
} MMCLONE_BLOCK, *PMMCLONE_BLOCK;

PMMCLONE_BLOCK MiAllocateCloneBlock(void); /* References 1, ProtoPte zero; NULL: no pool */
VOID MiReferenceCloneBlock(PMMPTE Prototype);
/*
 * Last reference: frees page or slot behind it, and the block. DISPATCH_LEVEL, no PFN lock held; page-table
 * locks may be.
 */
VOID MiDereferenceCloneBlock(PMMPTE Prototype);

/*
 * Turns the private page behind an entry into one shared through Block (block has References 1 for this
 * entry): valid entries become shared copy-on-write valid ones, others prototype entries. Parent's space
 * exclusive, DISPATCH_LEVEL. Valid entries add to Flush. Returns the entry for the child.
 */
MMPTE MiShareEntryForClone(PMI_ADDRESS_SPACE Space, PMMPTE PointerPte, ULONG_PTR Va, PMMCLONE_BLOCK Block,
                           MI_FLUSH_LIST *Flush);

SIZE_T MiCloneBlocksInUse(void);

#endif
