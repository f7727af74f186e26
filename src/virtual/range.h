/* SPDX-License-Identifier: MIT */
/*
 * Walking ranges of an address space, for the files of this room. A range falls into chunks: pieces of one
 * leaf page table, holes where no table exists (as large as the empty upper-level entries are), and tables
 * that are not in memory. So cost follows what exists, not how large the range is. Space locked; entries are
 * changed under the exclusive lock only.
 */
#ifndef NTMM_VIRTUAL_RANGE_H
#define NTMM_VIRTUAL_RANGE_H

#include "virtual/virtual.h"

#define MI_ENTRY_BATCH 64u /* pages between raising to DISPATCH_LEVEL and lowering again */

static FORCEINLINE ULONG_PTR MiVpnOf(ULONG_PTR Va)
{
    return Va >> PAGE_SHIFT;
}

static FORCEINLINE ULONG_PTR MiVaOf(ULONG_PTR Vpn)
{
    return Vpn << PAGE_SHIFT;
}

typedef enum _MI_CHUNK
{
    MiChunkEnd,
    MiChunkHole,  /* no page table: every entry is zero */
    MiChunkTable, /* PointerPte is the entry of Vpn; the chunk ends with the table */
    MiChunkLarge, /* one large page, or a part of it: PointerPte is its entry, of level 1 */
    MiChunkAbsent /* the page table exists, but is not in memory */
} MI_CHUNK;

typedef struct _MI_RANGE
{
    PMI_ADDRESS_SPACE Space;
    ULONG_PTR Vpn;     /* first page of the chunk */
    ULONG_PTR NextVpn; /* first page behind it */
    ULONG_PTR EndVpn;  /* of the range, inclusive */
    PMMPTE PointerPte; /* a hole, an absent table: the upper-level entry where it begins */
    ULONG Level;       /* of PointerPte: 0 for an entry of a leaf table */
} MI_RANGE, *PMI_RANGE;

static FORCEINLINE VOID MiBeginRange(PMI_RANGE Range, PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn,
                                     ULONG_PTR EndVpn)
{
    Range->Space = Space;
    Range->Vpn = StartVpn;
    Range->NextVpn = StartVpn;
    Range->EndVpn = EndVpn;
    Range->PointerPte = NULL;
}

MI_CHUNK MiNextChunk(PMI_RANGE Range);

/*
 * Calls Visit for the entries of all tables in the range, at DISPATCH_LEVEL in batches; Begin and End bracket
 * each batch. Zero entries are left out when SkipZero. The tables must be in memory (MiMakeTablesResident).
 * Space locked exclusively.
 */
typedef struct _MI_VISITOR
{
    VOID (*Begin)(struct _MI_VISITOR *Visitor);
    VOID (*Visit)(struct _MI_VISITOR *Visitor, PMMPTE PointerPte, ULONG_PTR Vpn, MMPTE Pte);
    VOID (*End)(struct _MI_VISITOR *Visitor);
    /* Optional, and asked first: deals with the first of Count entries, as many as it likes, and returns how many; 0: Visit is called for the first. */
    ULONG_PTR (*VisitRun)(struct _MI_VISITOR *Visitor, PMMPTE PointerPte, ULONG_PTR Vpn, ULONG_PTR Count);
    PMI_ADDRESS_SPACE Space;
    BOOLEAN SkipZero;
    ULONG Batch; /* 0: MI_ENTRY_BATCH */
} MI_VISITOR, *PMI_VISITOR;

VOID MiVisitEntries(PMI_VISITOR Visitor, ULONG_PTR StartVpn, ULONG_PTR EndVpn);

/*
 * Brings the page tables of the range into memory, or only those above leaf tables (MI_UPPER_TABLES), and makes those that are missing
 * (MI_CREATE_TABLES; STATUS_COMMITMENT_LIMIT), or only those above leaf tables, of which none is left in the range, where there is no VAD
 * (MI_LARGE_PAGE_TABLES). Space locked exclusively; when it had to be unlocked meanwhile, *Dropped is TRUE and the
 * caller begins again.
 */
#define MI_EXISTING_TABLES   0u
#define MI_CREATE_TABLES     1u
#define MI_UPPER_TABLES      2u
#define MI_LARGE_PAGE_TABLES 3u
NTSTATUS MiMakeTablesResident(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn, ULONG Which,
                              PBOOLEAN Dropped);

/*
 * Frees the page tables of the range that became empty and returns their commitment. Space locked
 * exclusively.
 */
VOID MiFreeEmptyTables(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn);

/*
 * How often an operation begins again because its space had to be unlocked before it gives up with
 * STATUS_NO_MEMORY.
 */
#define MI_MAXIMUM_RESTARTS 1000u

/* ---- What one entry means ------------------------------------------------------------------------------ */

/* TRUE: committed, with *Protection (MM_*). */
BOOLEAN MiIsEntryCommitted(const MMVAD *Vad, ULONG_PTR Vpn, MMPTE Pte, PULONG Protection);
/* What a zero entry means, and for how many pages from Vpn on it means the same. */
ULONG_PTR MiMeasureZeroEntries(const MMVAD *Vad, ULONG_PTR Vpn, ULONG_PTR EndVpn, PBOOLEAN Committed,
                               PULONG Protection);

/* Committed pages of a part of Vad, whose tables are in memory. */
SIZE_T MiCountCommitted(PMI_ADDRESS_SPACE Space, const MMVAD *Vad, ULONG_PTR StartVpn, ULONG_PTR EndVpn);

/* An entry loses its lock (VirtualLock) because its page goes away. Space exclusive. */
static FORCEINLINE VOID MiForgetPageLock(PMI_ADDRESS_SPACE Space, PMMPTE PointerPte, MMPTE Pte)
{
    if (Pte.Hard.Valid && (Pte.Long & MM_PTE_LOCKED_MASK) != 0)
    {
        MiClearPteBits(PointerPte, MM_PTE_LOCKED_MASK);
        Space->Vm.LockedPages--;
        MiReturnResidentAvailable(1);
    }
}

/* ---- VADs ---------------------------------------------------------------------------------------------- */

static FORCEINLINE BOOLEAN MiIsWholeVad(const MMVAD *Vad, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    return StartVpn == Vad->StartingVpn && EndVpn == Vad->EndingVpn;
}

static FORCEINLINE SIZE_T MiVadPages(const MMVAD *Vad)
{
    return Vad->EndingVpn - Vad->StartingVpn + 1;
}

/* secure.c: whether a secured part of the range forbids taking pages away / giving them Protection. */
BOOLEAN MiIsRangeSecured(const MMVAD *Vad, ULONG_PTR StartVpn, ULONG_PTR EndVpn);
BOOLEAN MiIsProtectionSecured(const MMVAD *Vad, ULONG_PTR StartVpn, ULONG_PTR EndVpn, ULONG Protection);

/* writewatch.c */
struct _MI_WRITE_WATCH *MiAllocateWriteWatch(SIZE_T Pages);
VOID MiFreeWriteWatch(struct _MI_WRITE_WATCH *Watch);
/* Copies Pages bits from bit First of Source to bit 0 of Target. */
VOID MiCopyWriteWatch(struct _MI_WRITE_WATCH *Target, const struct _MI_WRITE_WATCH *Source, SIZE_T First,
                      SIZE_T Pages);

/*
 * The VAD comes into / leaves the tree, and the count of write-watch regions that faults look at follows.
 * Space exclusive.
 */
static FORCEINLINE VOID MiLinkVad(PMI_ADDRESS_SPACE Space, PMMVAD Vad)
{
    MiInsertVad(Space, Vad);
    Space->WriteWatchCount += Vad->u.VadType == VadWriteWatch;
}

static FORCEINLINE VOID MiUnlinkVad(PMI_ADDRESS_SPACE Space, PMMVAD Vad)
{
    MiRemoveVad(Space, Vad);
    Space->WriteWatchCount -= Vad->u.VadType == VadWriteWatch;
}

/*
 * Whether the VAD's page tables are promised: its memory is committed, or kernel mode relies on it. Views of files and of SEC_RESERVE may be very
 * large: their tables are charged by the faults that make them, which may end in STATUS_IN_PAGE_ERROR.
 */
BOOLEAN MiDeservesTables(const MI_ADDRESS_SPACE *Space, const MMVAD *Vad);

/*
 * Before a VAD in the tree comes to deserve it: its page tables are promised. STATUS_RETRY: MiRaiseTableBudget with the space
 * unlocked, or the space was unlocked meanwhile; begin again. STATUS_IN_PAGE_ERROR... Space exclusive.
 */
NTSTATUS MiPromiseVadTables(PMI_ADDRESS_SPACE Space, PMMVAD Vad, PMI_TABLE_BUDGET Budget);

/*
 * Places a VAD, whose EndingVpn - StartingVpn is its size: Choose says where, with the space locked, as often as it takes. What the VAD promises is
 * charged. Space not locked.
 */
typedef NTSTATUS (*MI_CHOOSE_ADDRESS)(PMI_ADDRESS_SPACE Space, const VOID *Context, SIZE_T Pages,
                                      ULONG_PTR *StartVpn);
NTSTATUS MiPlaceVadBy(PMI_ADDRESS_SPACE Space, PMMVAD Vad, MI_CHOOSE_ADDRESS Choose, const VOID *Context);
/* MI_CHOOSE_ADDRESS: Context is an MI_FIND_RANGE. */
NTSTATUS MiChooseEmptyRange(PMI_ADDRESS_SPACE Space, const VOID *Context, SIZE_T Pages, ULONG_PTR *StartVpn);

/* Frees a VAD that is in no tree any more, with what hangs on it. No locks needed. */
VOID MiDestroyVad(PMMVAD Vad);

/*
 * free.c: deletes all pages of a part of a private VAD (entries become zero). Returns nothing to commitment.
 * Space exclusive.
 */
VOID MiDeletePages(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn);

/*
 * allocate.c: a VAD block, patiently; finds or checks the addresses (Allocation: Base, ZeroBits, requirements, MEM_TOP_DOWN) and links the
 * VAD, whose EndingVpn - StartingVpn is its size. Space not locked.
 */
PMMVAD MiAllocateVadPatiently(SIZE_T Pages);
NTSTATUS MiPlaceVad(PMI_ADDRESS_SPACE Space, const MI_ALLOCATION *Allocation, PMMVAD Vad);
/* MI_CHOOSE_ADDRESS: Context is an MI_ALLOCATION. */
NTSTATUS MiChooseAddress(PMI_ADDRESS_SPACE Space, const VOID *Context, SIZE_T Pages, ULONG_PTR *StartVpn);

/*
 * viewcommit.c: whether a view may get this protection; writable becomes copy-on-write where the view is. And MEM_COMMIT in a view (*IsView):
 * STATUS_ALREADY_COMMITTED (a file's), STATUS_SECTION_PROTECTION, STATUS_COMMITMENT_LIMIT. Space not locked.
 */
BOOLEAN MiFitViewProtection(const MMVAD *Vad, PULONG Protection);
/* What a part of a view is charged for: copies that were made, and other pages that may be copied. Its tables are in memory, space exclusive. */
typedef struct _MI_VIEW_COPIES
{
    SIZE_T Made;
    SIZE_T Possible;
} MI_VIEW_COPIES;

MI_VIEW_COPIES MiCountViewCopies(PMI_ADDRESS_SPACE Space, const MMVAD *Vad, ULONG_PTR StartVpn,
                                 ULONG_PTR EndVpn);
NTSTATUS MiCommitView(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn, ULONG Protection,
                      PBOOLEAN IsView);

/*
 * largepages.c: a region of large pages comes into being as a whole. STATUS_INVALID_PARAMETER_2, _4 (no multiples of 2 MiB), STATUS_INVALID_PAGE_PROTECTION,
 * STATUS_COMMITMENT_LIMIT, STATUS_INSUFFICIENT_RESOURCES (no consecutive frames, or no pool), what choosing addresses says. Space not locked. / The large
 * pages of a range, whole ones, go with their frames; / get another protection. Space exclusive.
 */
NTSTATUS MiAllocateLargePages(PMI_ADDRESS_SPACE Space, PMI_ALLOCATION Allocation, ULONG Protection);
VOID MiDeleteLargePages(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn);
VOID MiProtectLargePages(PMI_ADDRESS_SPACE Space, PMMVAD Vad, ULONG_PTR StartVpn, ULONG_PTR EndVpn,
                         ULONG Protection);
/* The pages of a region of large pages that contain any byte of the range are whole large pages. */
VOID MiWidenToLargePages(PULONG_PTR StartVpn, PULONG_PTR EndVpn);
/* Whether memory of large pages may have the protection: a view; / this region or view. */
BOOLEAN MiIsLargeViewProtection(ULONG Protection);
BOOLEAN MiFitsLargeVad(const MMVAD *Vad, ULONG Protection);
/*
 * A VAD of large pages, whose EndingVpn - StartingVpn is its size, comes into the tree with all its entries: Frames has the first frame of each. If it is a view, the frames
 * are its section's. Allocation says where, and asks for alignment. Space not locked.
 */
NTSTATUS MiPlaceLargeVad(PMI_ADDRESS_SPACE Space, const MI_ALLOCATION *Allocation, PMMVAD Vad,
                         const PFN_NUMBER *Frames, ULONG Protection);

static FORCEINLINE BOOLEAN MiIsLargeVad(const MMVAD *Vad)
{
    return Vad->u.VadType == VadLargePages || Vad->u.VadType == VadLargePageSection;
}

/* awe.c: a frame of the kernel's kind that user mode owned goes with its last reference, which an MDL may have. */
VOID MiReleaseOwnedFrame(PFN_NUMBER Frame);

/* awe.c: nothing is mapped in the region any more; / all pages of a space that ends, to be released when it is unlocked. Space exclusive. */
VOID MiUnmapAweRegion(PMI_ADDRESS_SPACE Space, const MMVAD *Vad);
PMI_AWE_PAGE MiTakeAllAwePages(PMI_ADDRESS_SPACE Space);

/* commit.c, reset.c, placeholder.c: the kinds of allocation. */
NTSTATUS MiCommitPages(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn, ULONG Protection);
NTSTATUS MiResetPages(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn, BOOLEAN Undo);
NTSTATUS MiReplacePlaceholder(PMI_ADDRESS_SPACE Space, PMI_ALLOCATION Allocation, ULONG Protection);
NTSTATUS MiFreePlaceholder(PMI_ADDRESS_SPACE Space, ULONG_PTR Base, SIZE_T Size, ULONG FreeType);

/*
 * The VAD that contains the whole range: STATUS_CONFLICTING_ADDRESSES; a space that dies:
 * STATUS_PROCESS_IS_TERMINATING.
 */
NTSTATUS MiLocateRange(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn, PMMVAD *Vad);

#define MI_TAG_WRITE_WATCH MI_TAG('M', 'm', 'W', 'w')
#define MI_TAG_SECURE      MI_TAG('M', 'm', 'S', 'e')
#define MI_TAG_COPY        MI_TAG('M', 'm', 'C', 'p')
#define MI_TAG_LOCK        MI_TAG('M', 'm', 'L', 'k')

#endif
