/* SPDX-License-Identifier: MIT */
/* Frames with an owner, for tests of the page lists: PTEs in one page that plays page table. */
#ifndef NTMM_TESTS_PHYSICAL_FRAMES_H
#define NTMM_TESTS_PHYSICAL_FRAMES_H

#include "boot.h"
#include "physical/many.h"
#include "translation/translation.h"

/* A page of PTEs; 0 entries. */
static inline PMMPTE make_table(void)
{
    PFN_NUMBER frame = MiAllocatePage(MI_PAGE_ZEROED);

    assert_int_not_equal(frame, 0);
    MiPfn(frame)->u1.ShareCount = 1;
    MiMarkPageTable(MiPfn(frame));
    MiPfn(frame)->e1.Kernel = 1;
    return PortDirectMap(frame);
}

static inline void free_table(PMMPTE table)
{
    assert_int_equal(MiPtePage(table)->u1.ShareCount, 1);
    MiFreePage(PortDirectMapFrame(table));
}

/* A frame that `pte` maps: what a fault leaves behind. */
static inline PMMPFN make_active(PMMPTE pte, ULONG priority)
{
    PFN_NUMBER frame = MiAllocatePage(MI_PAGE_ZEROED);
    PMMPFN pfn = MiPfn(frame);

    assert_int_not_equal(frame, 0);
    pfn->u1.ShareCount = 1;
    pfn->PteAddress = pte;
    pfn->OriginalPte = MiMakeDemandZeroPte(MM_READWRITE);
    pfn->e1.Priority = priority & 7;
    *pte = MiMakeValidPte(frame, MM_READWRITE, TRUE);
    MiIncrementPageTableShare(pte);
    return pfn;
}

/* The frame leaves the working set: a transition PTE, and the list of its state. */
static inline void trim(PMMPFN pfn, BOOLEAN modified)
{
    KIRQL irql = KiRaiseIrqlToDispatch();

    MiLockPfn(pfn);
    pfn->e1.Modified = modified & 1;
    *pfn->PteAddress = MiMakeTransitionPte(MiPfnFrame(pfn), MM_READWRITE);
    assert_false(MiDecrementShareCount(pfn));
    MiUnlockPfn(pfn);
    KiLowerIrqlFromDispatch(irql);
}

/* The owner lets go of a page that is on a list. */
static inline void discard(PMMPFN pfn)
{
    KIRQL irql = KiRaiseIrqlToDispatch();

    MiLockPfn(pfn);
    MiUnlinkPage(pfn);
    pfn->PteAddress->Long = 0;
    MiDecrementPageTableShare(pfn->PteAddress);
    MiFreeLockedPage(pfn);
    KiLowerIrqlFromDispatch(irql);
}

/* Every frame that ordinary requests get, chained through its first word. */
static inline PFN_NUMBER take_all(ULONG flags, ULONG *count)
{
    PFN_NUMBER list = 0;

    *count = 0;
    for (PFN_NUMBER frame = MiAllocatePage(flags); frame != 0; frame = MiAllocatePage(flags))
    {
        *(PFN_NUMBER *)PortDirectMap(frame) = list;
        list = frame;
        ++*count;
    }
    return list;
}

static inline void give_all(PFN_NUMBER list)
{
    while (list != 0)
    {
        PFN_NUMBER frame = list;

        list = *(PFN_NUMBER *)PortDirectMap(frame);
        MiFreePage(frame);
    }
}

#endif
