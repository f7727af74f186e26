/* SPDX-License-Identifier: MIT */
/*
 * Address Windowing Extensions: frames that a process owns by number, and regions (MEM_PHYSICAL) through which it looks at them. The frames are
 * the kernel's own kind, nonpageable and in no working set; entries that map them are marked MM_PTE_PHYSICAL like those of an MDL and hold a
 * reference of their own, so that whatever deletes entries needs to know nothing of all this. Which frames a process owns, and where each of
 * them is mapped, stands in a tree by frame number: a number that user mode names is nothing but a key of it. Theory: docs/virtual.md.
 *
 * Locks: the tree and its pages are guarded by the space's lock, exclusive.
 */
#include "virtual/range.h"

#define MI_TAG_AWE   MI_TAG('M', 'm', 'A', 'w')
#define MI_AWE_TRIES 64u /* waits for one frame */

struct _MI_AWE_PAGE
{
    RTL_BALANCED_NODE Node; /* by Frame */
    PFN_NUMBER Frame;
    ULONG_PTR Vpn;             /* where it is mapped; 0: nowhere */
    ULONG64 Stamp;             /* of the last call that named it */
    struct _MI_AWE_PAGE *Next; /* in no tree: chains */
};

/* ---- The tree ------------------------------------------------------------------------------------------------ */

static PMI_AWE_PAGE MiAwePageOf(PRTL_BALANCED_NODE Node)
{
    return Node != NULL ? CONTAINING_RECORD(Node, MI_AWE_PAGE, Node) : NULL;
}

static PMI_AWE_PAGE MiFindAwePage(PMI_ADDRESS_SPACE Space, ULONG_PTR Frame)
{
    PMI_AWE_PAGE Page = MiAwePageOf(Space->AweRoot.Root);

    while (Page != NULL && Page->Frame != Frame)
    {
        Page = MiAwePageOf(Page->Node.Children[Frame > Page->Frame]);
    }
    return Page;
}

static VOID MiInsertAwePage(PMI_ADDRESS_SPACE Space, PMI_AWE_PAGE New)
{
    PMI_AWE_PAGE Parent = NULL;
    BOOLEAN Right = FALSE;

    for (PMI_AWE_PAGE Page = MiAwePageOf(Space->AweRoot.Root); Page != NULL;
         Page = MiAwePageOf(Page->Node.Children[Right]))
    {
        Right = New->Frame > Page->Frame;
        Parent = Page;
    }
    RtlAvlInsertNodeEx(&Space->AweRoot, Parent != NULL ? &Parent->Node : NULL, Right, &New->Node, NULL);
    Space->AwePages++;
}

static VOID MiRemoveAwePage(PMI_ADDRESS_SPACE Space, PMI_AWE_PAGE Page)
{
    RtlAvlRemoveNode(&Space->AweRoot, &Page->Node, NULL);
    Space->AwePages--;
}

/* ---- Frames -------------------------------------------------------------------------------------------------- */

static VOID MiReferenceAweFrame(PFN_NUMBER Frame)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();

    MiLockPfn(MiPfn(Frame));
    MiIncrementReferenceCount(MiPfn(Frame));
    MiUnlockPfn(MiPfn(Frame));
    KiLowerIrqlFromDispatch(OldIrql);
}

static VOID MiDereferenceAweFrame(PFN_NUMBER Frame)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();

    MiLockPfn(MiPfn(Frame));
    MiDecrementReferenceCount(MiPfn(Frame));
    MiUnlockPfn(MiPfn(Frame));
    KiLowerIrqlFromDispatch(OldIrql);
}

/* Nobody owns it any more: it goes with its last reference, which an MDL may have. */
VOID MiReleaseOwnedFrame(PFN_NUMBER Frame)
{
    PMMPFN Pfn = MiPfn(Frame);
    KIRQL OldIrql = KiRaiseIrqlToDispatch();

    MiLockPfn(Pfn);
    Pfn->e1.Kernel = 0;
    Pfn->e1.PageLocation = TransitionPage;
    Pfn->e1.Modified = 0;
    Pfn->e1.Deleted = 1;
    MiDecrementReferenceCount(Pfn);
    MiUnlockPfn(Pfn);
    KiLowerIrqlFromDispatch(OldIrql);
}

static PFN_NUMBER MiTakeAweFrame(ULONG PreferredNode)
{
    ULONG Flags = MI_PAGE_ZEROED | (PreferredNode != 0 ? MI_PAGE_ON_NODE(PreferredNode - 1) : 0);
    PFN_NUMBER Frame = MiAllocatePage(Flags);

    for (ULONG Try = 0; Frame == 0 && Try < MI_AWE_TRIES && MiWaitForAvailablePages(); Try++)
    {
        Frame = MiAllocatePage(Flags);
    }
    return Frame;
}

static NTSTATUS MiMakeAwePage(ULONG PreferredNode, PMI_AWE_PAGE *PageOut)
{
    MMPFNENTRY Entry = { .PageLocation = ActiveAndValid, .Kernel = 1 };
    PMI_AWE_PAGE Page;

    if (!MiChargeCommitment(1, 0))
    {
        return STATUS_COMMITMENT_LIMIT;
    }
    if (!MiChargeResidentAvailable(1))
    {
        MiReturnCommitment(1);
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    Page = MiAllocatePool(sizeof(*Page), MI_TAG_AWE);
    if (Page != NULL)
    {
        Page->Frame = MiTakeAweFrame(PreferredNode);
        if (Page->Frame != 0)
        {
            MiWritePfnEntry(MiPfn(Page->Frame), Entry);
            *PageOut = Page;
            return STATUS_SUCCESS;
        }
        MiFreePool(Page, MI_TAG_AWE);
    }
    MiReturnResidentAvailable(1);
    MiReturnCommitment(1);
    return STATUS_INSUFFICIENT_RESOURCES;
}

VOID MiReleaseAwePages(PMI_AWE_PAGE Pages)
{
    while (Pages != NULL)
    {
        PMI_AWE_PAGE Next = Pages->Next;

        MiReleaseOwnedFrame(Pages->Frame);
        MiFreePool(Pages, MI_TAG_AWE);
        MiReturnResidentAvailable(1);
        MiReturnCommitment(1);
        Pages = Next;
    }
}

NTSTATUS MiAllocateAwePages(PSIZE_T Count, ULONG PreferredNode, PMI_AWE_PAGE *Pages)
{
    NTSTATUS Status = STATUS_SUCCESS;
    SIZE_T Got = 0;

    *Pages = NULL;
    while (Got < *Count && NT_SUCCESS(Status))
    {
        PMI_AWE_PAGE Page;

        Status = MiMakeAwePage(PreferredNode, &Page);
        if (NT_SUCCESS(Status))
        {
            Page->Next = *Pages;
            *Pages = Page;
            Got++;
        }
    }
    *Count = Got;
    return Got != 0 ? STATUS_SUCCESS : Status; /* documented: fewer than asked for is a success */
}

ULONG MiListAwePages(PMI_AWE_PAGE *Page, ULONG_PTR *Frames, ULONG Room)
{
    ULONG Count = 0;

    for (; *Page != NULL && Count < Room; *Page = (*Page)->Next)
    {
        Frames[Count++] = (*Page)->Frame;
    }
    return Count;
}

NTSTATUS MiOwnAwePages(PMI_ADDRESS_SPACE Space, PMI_AWE_PAGE Pages)
{
    NTSTATUS Status = STATUS_PROCESS_IS_TERMINATING;

    MiLockSpaceExclusive(Space);
    if (!Space->Deleting)
    {
        for (; Pages != NULL; Pages = Pages->Next)
        {
            MiInsertAwePage(Space, Pages);
        }
        Status = STATUS_SUCCESS;
    }
    MiUnlockSpaceExclusive(Space);
    return Status;
}

/* ---- Entries ------------------------------------------------------------------------------------------------- */

/* The page comes to Vpn, or NULL: what is there goes. Its table is there if a page comes. Space exclusive; the caller flushes. */
static VOID MiSetAweEntry(PMI_ADDRESS_SPACE Space, MI_FLUSH_LIST *Flush, ULONG_PTR Vpn, PMI_AWE_PAGE Page)
{
    MMPTE Pte = { .Long = 0 };
    PMMPTE PointerPte;

    if (MiWalk(Space->TopLevel, MiVaOf(Vpn), &PointerPte) != 0)
    {
        KiRequire(Page == NULL); /* a table that maps anything stays in memory */
        return;
    }
    Pte = MiReadPte(PointerPte);
    if (Pte.Hard.Valid)
    {
        PMI_AWE_PAGE Mapped = MiFindAwePage(Space, Pte.Hard.PageFrameNumber);

        KiRequire(Mapped != NULL && Mapped->Vpn == Vpn);
        if (Mapped == Page)
        {
            return;
        }
        Pte.Long = 0;
        MiWritePte(PointerPte, Pte);
        MiAddUsedEntries(PointerPte, -1);
        MiDecrementPageTableShare(PointerPte);
        MiAddToFlushList(Flush, MiVaOf(Vpn), 1);
        Mapped->Vpn = 0;
        MiDereferenceAweFrame(
            Mapped->Frame); /* never the last: the process owns it, and the space stays locked */
    }
    if (Page != NULL)
    {
        MiReferenceAweFrame(Page->Frame);
        Pte = MiMakeValidPte(Page->Frame, MM_READWRITE, TRUE);
        Pte.Long |= MM_PTE_DIRTY | MM_PTE_PHYSICAL;
        MiWritePte(PointerPte, Pte);
        MiAddUsedEntries(PointerPte, 1);
        MiIncrementPageTableShare(PointerPte);
        Page->Vpn = Vpn;
    }
}

VOID MiUnmapAweRegion(PMI_ADDRESS_SPACE Space, const MMVAD *Vad)
{
    MI_FLUSH_LIST Flush;

    MiInitializeFlushList(&Flush, Space->TopLevel);
    for (PMI_AWE_PAGE Page = MiAwePageOf(RtlAvlFirst(&Space->AweRoot)); Page != NULL;
         Page = MiAwePageOf(RtlAvlNext(&Page->Node)))
    {
        if (Page->Vpn >= Vad->StartingVpn && Page->Vpn <= Vad->EndingVpn)
        {
            MiSetAweEntry(Space, &Flush, Page->Vpn, NULL);
        }
    }
    MiFlushTb(&Flush);
}

/* ---- Mapping ------------------------------------------------------------------------------------------------- */

static ULONG_PTR MiAweVpn(const MI_AWE_MAP *Map, SIZE_T Index)
{
    return Map->Addresses != NULL ? MiVpnOf(Map->Addresses[Index]) : MiVpnOf(Map->Base) + Index;
}

/* The frame that comes to the address of that index; FALSE: what is there goes. Documented: zero among scattered ones unmaps. */
static BOOLEAN MiAweFrame(const MI_AWE_MAP *Map, SIZE_T Index, ULONG_PTR *Frame)
{
    *Frame = Map->Frames != NULL ? Map->Frames[Index] : 0;
    return Map->Frames != NULL && (Map->Addresses == NULL || *Frame != 0);
}

static BOOLEAN MiIsAweRange(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    PMMVAD Vad = MiLocateVad(Space, StartVpn);

    return Vad != NULL && Vad->u.VadType == VadAwe && EndVpn <= Vad->EndingVpn;
}

static NTSTATUS MiCheckAweAddresses(PMI_ADDRESS_SPACE Space, const MI_AWE_MAP *Map)
{
    if (Map->Addresses == NULL)
    {
        return MiIsAweRange(Space, MiAweVpn(Map, 0), MiAweVpn(Map, Map->Count - 1))
                   ? STATUS_SUCCESS
                   : STATUS_INVALID_PARAMETER_1;
    }
    for (SIZE_T Index = 0; Index < Map->Count; Index++)
    {
        if (Map->Addresses[Index] > PORT_USER_HIGHEST ||
            !MiIsAweRange(Space, MiAweVpn(Map, Index), MiAweVpn(Map, Index)))
        {
            return STATUS_INVALID_PARAMETER_1;
        }
    }
    return STATUS_SUCCESS;
}

/* Each frame is the process's, named once, and mapped nowhere else. */
static NTSTATUS MiCheckAweFrames(PMI_ADDRESS_SPACE Space, const MI_AWE_MAP *Map)
{
    ULONG64 Stamp = ++Space->AweStamp;

    for (SIZE_T Index = 0; Index < Map->Count; Index++)
    {
        PMI_AWE_PAGE Page;
        ULONG_PTR Frame;

        if (!MiAweFrame(Map, Index, &Frame))
        {
            continue;
        }
        Page = MiFindAwePage(Space, Frame);
        if (Page == NULL || Page->Stamp == Stamp || (Page->Vpn != 0 && Page->Vpn != MiAweVpn(Map, Index)))
        {
            return STATUS_CONFLICTING_ADDRESSES;
        }
        Page->Stamp = Stamp;
    }
    return STATUS_SUCCESS;
}

/* Page tables for what is to be mapped. */
static NTSTATUS MiMakeAweTables(PMI_ADDRESS_SPACE Space, const MI_AWE_MAP *Map, PBOOLEAN Dropped)
{
    NTSTATUS Status = STATUS_SUCCESS;
    ULONG_PTR LastTable = ~(ULONG_PTR)0;

    *Dropped = FALSE;
    for (SIZE_T Index = 0; Index < Map->Count && NT_SUCCESS(Status) && !*Dropped; Index++)
    {
        ULONG_PTR Vpn = MiAweVpn(Map, Index);
        ULONG_PTR Frame;

        if (MiAweFrame(Map, Index, &Frame) && Vpn / MI_PTES_PER_PAGE != LastTable)
        {
            Status = MiMakeTablesResident(Space, Vpn, Vpn, MI_CREATE_TABLES, Dropped);
            LastTable = Vpn / MI_PTES_PER_PAGE;
        }
    }
    return Status;
}

/* Those that were made in vain, or whose last page went. */
static VOID MiFreeAweTables(PMI_ADDRESS_SPACE Space, const MI_AWE_MAP *Map)
{
    ULONG_PTR LastTable = ~(ULONG_PTR)0;

    for (SIZE_T Index = 0; Index < Map->Count; Index++)
    {
        ULONG_PTR Vpn = MiAweVpn(Map, Index);

        if (Vpn / MI_PTES_PER_PAGE != LastTable)
        {
            MiFreeEmptyTables(Space, Vpn, Vpn);
            LastTable = Vpn / MI_PTES_PER_PAGE;
        }
    }
}

/* One attempt, space locked. STATUS_RETRY: it was unlocked meanwhile. */
static NTSTATUS MiTryMapAwe(PMI_ADDRESS_SPACE Space, const MI_AWE_MAP *Map)
{
    MI_FLUSH_LIST Flush;
    BOOLEAN Dropped;
    NTSTATUS Status = Space->Deleting ? STATUS_PROCESS_IS_TERMINATING : MiCheckAweAddresses(Space, Map);

    Status = NT_SUCCESS(Status) ? MiCheckAweFrames(Space, Map) : Status;
    if (!NT_SUCCESS(Status))
    {
        return Status;
    }
    Status = MiMakeAweTables(Space, Map, &Dropped);
    if (!NT_SUCCESS(Status) || Dropped)
    {
        if (!Space->Deleting && !Dropped)
        {
            MiFreeAweTables(Space, Map);
        }
        return NT_SUCCESS(Status) ? STATUS_RETRY : Status;
    }
    MiInitializeFlushList(&Flush, Space->TopLevel);
    for (SIZE_T Index = 0; Index < Map->Count; Index++)
    {
        ULONG_PTR Frame;
        BOOLEAN Comes = MiAweFrame(Map, Index, &Frame);

        MiSetAweEntry(Space, &Flush, MiAweVpn(Map, Index), Comes ? MiFindAwePage(Space, Frame) : NULL);
    }
    MiFlushTb(&Flush);
    MiFreeAweTables(Space, Map);
    return STATUS_SUCCESS;
}

NTSTATUS MiMapAwePages(PMI_ADDRESS_SPACE Space, const MI_AWE_MAP *Map)
{
    NTSTATUS Status = STATUS_RETRY;

    if (Map->Count == 0)
    {
        return STATUS_SUCCESS;
    }
    if (Map->Addresses == NULL &&
        (Map->Base > PORT_USER_HIGHEST || Map->Count > (PORT_USER_HIGHEST + 1 - Map->Base) >> PAGE_SHIFT))
    {
        return STATUS_INVALID_PARAMETER_1;
    }
    for (ULONG Round = 0; Round < MI_MAXIMUM_RESTARTS && Status == STATUS_RETRY; Round++)
    {
        MiLockSpaceExclusive(Space);
        Status = MiTryMapAwe(Space, Map);
        MiUnlockSpaceExclusive(Space);
    }
    if (NT_SUCCESS(Status) && Map->Addresses == NULL && Map->Frames != NULL)
    {
        PortFillTb(Space->TopLevel, MiVaOf(MiVpnOf(Map->Base)), Map->Count, TRUE);
    }
    return Status == STATUS_RETRY ? STATUS_NO_MEMORY : Status;
}

/* ---- Freeing ------------------------------------------------------------------------------------------------- */

NTSTATUS MiFreeAwePages(PMI_ADDRESS_SPACE Space, const ULONG_PTR *Frames, SIZE_T Count, PSIZE_T Freed)
{
    NTSTATUS Status = STATUS_SUCCESS;
    PMI_AWE_PAGE Gone = NULL;
    MI_FLUSH_LIST Flush;

    MiInitializeFlushList(&Flush, Space->TopLevel);
    MiLockSpaceExclusive(Space);
    for (*Freed = 0; *Freed < Count && NT_SUCCESS(Status);)
    {
        PMI_AWE_PAGE Page = Space->Deleting ? NULL : MiFindAwePage(Space, Frames[*Freed]);

        if (Page == NULL)
        {
            Status = Space->Deleting ? STATUS_PROCESS_IS_TERMINATING : STATUS_CONFLICTING_ADDRESSES;
            break;
        }
        if (Page->Vpn != 0)
        {
            ULONG_PTR Vpn = Page->Vpn;

            MiSetAweEntry(Space, &Flush, Vpn, NULL);
            MiFlushTb(&Flush); /* before a table goes */
            MiFreeEmptyTables(Space, Vpn, Vpn);
        }
        MiRemoveAwePage(Space, Page);
        Page->Next = Gone;
        Gone = Page;
        *Freed += 1;
    }
    MiUnlockSpaceExclusive(Space);
    MiReleaseAwePages(Gone);
    return Status;
}

PMI_AWE_PAGE MiTakeAllAwePages(PMI_ADDRESS_SPACE Space)
{
    PMI_AWE_PAGE Gone = NULL;
    PMI_AWE_PAGE Page;

    while ((Page = MiAwePageOf(Space->AweRoot.Root)) != NULL)
    {
        MiRemoveAwePage(Space, Page);
        Page->Next = Gone;
        Gone = Page;
    }
    return Gone;
}
