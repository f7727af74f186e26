/* SPDX-License-Identifier: MIT */
/*
 * Page tables: walking them, linking and unlinking page-table pages, flushing the TB in batches. Tables are read and written
 * through the direct map. Page-table pages disappear only while their address space is locked exclusively, so a walk under the
 * shared lock is safe; the processors' own walks are made safe by the flush that follows. Theory: docs/translation.md.
 */
#ifndef NTMM_TRANSLATION_H
#define NTMM_TRANSLATION_H

#include "translation/pte.h"

#define MI_TOP_LEVEL 3u

#define MI_MAXIMUM_ALIASES 64u

/* Pages of the system window that clients know under other addresses. */
typedef struct _MI_ALIAS
{
    ULONG_PTR Start;
    ULONG_PTR Target;
    SIZE_T Bytes; /* 0: free */
} MI_ALIAS;

typedef struct _MI_TRANSLATION_STATE
{
    PFN_NUMBER
    SystemTopLevel; /* top-level page of the system space; its system half is copied into every space */
    struct _MI_SYSTEM_PTES *SystemPtes; /* systemptes.h */
    SIZE_T BootTables;                  /* charged for page-table pages that stay as long as the machine */
    volatile SIZE_T KernelStackPages;   /* [C] atomic: mapped as kernel stacks */
    KSPIN_LOCK AliasLock;               /* a leaf: Aliases */
    MI_ALIAS Aliases[MI_MAXIMUM_ALIASES];
    volatile ULONG AliasCount; /* [C] AliasLock to change */
} MI_TRANSLATION_STATE;

NTSTATUS MiInitializeTranslation(void);
VOID MiShutdownTranslation(void);

static FORCEINLINE BOOLEAN MiIsSystemAddress(ULONG_PTR Va)
{
    return Va >= PORT_SYSTEM_START && Va <= PORT_SYSTEM_END;
}

/* Of the session that the current thread runs in: private to each session, for kernel mode only. */
static FORCEINLINE BOOLEAN MiIsSessionAddress(ULONG_PTR Va)
{
    return Va >= PORT_SESSION_START && Va <= PORT_SESSION_END;
}

static FORCEINLINE BOOLEAN MiIsUserAddress(ULONG_PTR Va)
{
    return Va >= PORT_USER_LOWEST && Va <= PORT_USER_HIGHEST;
}

static FORCEINLINE PMMPTE MiTableEntry(PFN_NUMBER Table, ULONG_PTR Va, ULONG Level)
{
    return (PMMPTE)PortDirectMap(Table) + MI_PTE_INDEX(Va, Level);
}

/*
 * Walks down to the entry of level 0. Returns the level at which it stopped: 0 = *Entry is the PTE; n > 0 = *Entry is
 * the entry of level n, which is not valid (or a large page). Space locked (shared or exclusive).
 */
static FORCEINLINE ULONG MiWalk(PFN_NUMBER TopLevel, ULONG_PTR Va, PMMPTE *Entry)
{
    PFN_NUMBER Table = TopLevel;

    for (ULONG Level = MI_TOP_LEVEL;; Level--)
    {
        PMMPTE PointerPte = MiTableEntry(Table, Va, Level);
        MMPTE Pte;

        if (Level == 0)
        {
            *Entry = PointerPte;
            return 0;
        }
        Pte = MiReadPte(PointerPte);
        if ((Pte.Long & (MM_PTE_VALID | MM_PTE_LARGE_PAGE)) != MM_PTE_VALID)
        {
            *Entry = PointerPte;
            return Level;
        }
        Table = Pte.Hard.PageFrameNumber;
    }
}

/*
 * What maps Va, as an entry of level 0: of a large page the entry that a small page in its place would have. Zero: nothing leads there. Space
 * locked, or the caller keeps what leads to Va.
 */
static FORCEINLINE MMPTE MiReadLeafPte(PFN_NUMBER TopLevel, ULONG_PTR Va)
{
    PMMPTE Entry;

    for (;;)
    {
        ULONG Level = MiWalk(TopLevel, Va, &Entry);
        MMPTE Pte = MiReadPte(Entry);

        if (Level == 0)
        {
            return Pte;
        }
        if (Level == 1 && MiIsLargePte(Pte))
        {
            return MiSmallPteOf(Pte, Va);
        }
        if (!Pte.Hard.Valid)
        {
            return (MMPTE){ .Long = 0 };
        }
        /* A large page was split, or a table came, between the two looks. */
    }
}

/* The entry that makes Frame a page-table page. */
static FORCEINLINE MMPTE MiMakeTablePte(PFN_NUMBER Frame, BOOLEAN User)
{
    MMPTE Pte = { .Long = MM_PTE_VALID | MM_PTE_DIRTY1 | MM_PTE_WRITE | MM_PTE_ACCESSED | MM_PTE_DIRTY |
                          (User ? MM_PTE_OWNER : 0) | ((ULONG64)Frame << MM_PTE_FRAME_SHIFT) };
    return Pte;
}

/* The page that holds an entry, locked for changes to its entries. At DISPATCH_LEVEL. */
static FORCEINLINE VOID MiLockPageTable(PMMPFN Page)
{
    KiAcquireByteLock(&Page->PteLock);
    KiNoteLockAcquired((const UCHAR *)Page + 1, KiLockPageTable, FALSE);
    if (__builtin_expect(PortIsTableOfWriter(MiPfnFrame(Page)), 0))
    {
        PortSettleWriter();
    }
}

static FORCEINLINE VOID MiUnlockPageTable(PMMPFN Page)
{
    KiNoteLockReleased((const UCHAR *)Page + 1);
    KiReleaseByteLock(&Page->PteLock);
}

/* The same for the page of a prototype PTE, while a page table may be locked already. */
static FORCEINLINE VOID MiLockPrototypePage(PMMPFN Page)
{
    KiAcquireByteLock(&Page->PteLock);
    KiNoteLockAcquired((const UCHAR *)Page + 1, KiLockPageTableChild, FALSE);
}

static FORCEINLINE VOID MiUnlockPrototypePage(PMMPFN Page)
{
    MiUnlockPageTable(Page);
}

/* Entries that are not zero, for finding out when a page table is empty. Page table locked, or space exclusively. */
static FORCEINLINE VOID MiAddUsedEntries(PMMPTE PointerPte, LONG Delta)
{
    PMMPFN Page = MiPtePage(PointerPte);
    __atomic_store_n(&Page->u1.UsedPageTableEntries, Page->u1.UsedPageTableEntries + (ULONG)Delta,
                     __ATOMIC_RELAXED);
}

/*
 * Makes the zeroed frame a page-table page under the entry Parent (which is zero; its page locked or the space exclusive). The
 * page's share count begins at 1, the parent's counts grow by this entry.
 */
VOID MiLinkPageTable(PMMPTE Parent, PFN_NUMBER Frame, BOOLEAN User);

/*
 * Unlinks and frees the empty page-table page (no entries used) that contains PointerPte, and its parents as far as they
 * become empty. Space locked exclusively. Returns how many pages went (their commitment is the caller's to return).
 * Flushes the TB for the range.
 */
ULONG MiDeleteEmptyPageTables(PFN_NUMBER TopLevel, PMMPTE PointerPte, ULONG_PTR Va);

/* A new top-level page with the system half filled in / freed again (its user half must be empty). 0: no frame. */
PFN_NUMBER MiCreateTopLevel(void);
VOID MiDeleteTopLevel(PFN_NUMBER TopLevel);

/*
 * The tables of a session: a top-level page of its own, through which the kernel walks them, and the page below its entry for
 * the session window, which is there from the beginning to the end, so that the entry can be copied into the top-level pages of all
 * processes of the session. 0: no frame. / Given back; nothing else is left in it, and no process shares it any more.
 */
PFN_NUMBER MiCreateSessionTables(void);
VOID MiDeleteSessionTables(PFN_NUMBER SessionTopLevel);
#define MI_SESSION_TABLES 2u /* how many pages these are */

/* The space TopLevel, in which nobody runs yet, sees the session. */
VOID MiShareSessionTables(PFN_NUMBER TopLevel, PFN_NUMBER SessionTopLevel);

/* ---- Addresses of drivers (alias.c) ---------------------------------------------------------------------------- */

/*
 * The pages from Start on, which are valid, writable and stay so meanwhile, get the contents of Target and are seen there (PortBeginAlias). / Ordinary
 * memory takes their place, with the contents of the pages, which are valid then, or (Keep) with what was there before. PASSIVE_LEVEL.
 *   STATUS_INSUFFICIENT_RESOURCES, STATUS_CONFLICTING_ADDRESSES, STATUS_NOT_SUPPORTED
 */
NTSTATUS MiBeginAlias(ULONG_PTR Start, SIZE_T Pages, ULONG_PTR Target, ULONG Access, BOOLEAN Keep);
VOID MiEndAlias(ULONG_PTR Start);

ULONG_PTR MiFindAlias(ULONG_PTR Va); /* 0: Va is no such target */

/* The address in the system window under which page tables know Va; Va itself for all other addresses. IRQL <= DISPATCH_LEVEL. */
static FORCEINLINE ULONG_PTR MiResolveAlias(ULONG_PTR Va)
{
    if (__builtin_expect(__atomic_load_n(&MiState.Translation->AliasCount, __ATOMIC_RELAXED) == 0, 1) ||
        MiIsSystemAddress(Va) || MiIsUserAddress(Va))
    {
        return Va;
    }
    ULONG_PTR Found = MiFindAlias(Va);

    return Found != 0 ? Found : Va;
}

/* ---- TB flushing in batches --------------------------------------------------------------------------------- */

#define MI_FLUSH_RANGES 64

typedef struct _MI_FLUSH_LIST
{
    PFN_NUMBER TopLevel; /* 0: system space */
    ULONG Count;
    PORT_TB_RANGE Ranges[MI_FLUSH_RANGES];
} MI_FLUSH_LIST;

static FORCEINLINE VOID MiInitializeFlushList(MI_FLUSH_LIST *List, PFN_NUMBER TopLevel)
{
    List->TopLevel = TopLevel;
    List->Count = 0;
}

VOID MiAddToFlushList(MI_FLUSH_LIST *List, ULONG_PTR Va,
                      SIZE_T Pages); /* merges neighbours that come in order */
VOID MiFlushTb(MI_FLUSH_LIST *List); /* and empties it */

#endif
