/* SPDX-License-Identifier: MIT */
/*
 * The VAD tree of an address space: one node for each allocation, ordered by address, never overlapping. Every node carries a
 * summary of its subtree (first and last page, largest hole between), from which findrange.c finds free addresses
 * in logarithmic time; and whether page tables are promised in it, for tablecharge.c.
 *
 * Holes are measured from their first 64 KiB boundary on. Allocations begin at such boundaries, so a process full of single
 * pages has a million holes of fifteen pages of which none can be used; measured like this they are zero and nobody looks.
 */
#include "space/space.h"
#include "space/vad.h"

#define MI_VAD_TAG MI_TAG('V', 'a', 'd', 'S')

/* ---- The summary ----------------------------------------------------------------------------------------- */

typedef struct _MI_VAD_SUMMARY
{
    ULONG_PTR Start;
    ULONG_PTR End;
    ULONG_PTR Gap;
    BOOLEAN Promised;
} MI_VAD_SUMMARY;

static MI_VAD_SUMMARY MiSummarize(const MMVAD *Vad)
{
    const MMVAD *Left = MiVadOf(Vad->VadNode.Left);
    const MMVAD *Right = MiVadOf(Vad->VadNode.Right);
    MI_VAD_SUMMARY Summary = { .Start = Vad->StartingVpn,
                               .End = Vad->EndingVpn,
                               .Promised = Vad->TablesPromised };

    if (Left != NULL)
    {
        ULONG_PTR Between = MiUsableGap(Left->SubtreeEnd + 1, Vad->StartingVpn);

        Summary.Start = Left->SubtreeStart;
        Summary.Promised |= Left->SubtreePromised;
        Summary.Gap = Left->SubtreeGap > Between ? Left->SubtreeGap : Between;
    }
    if (Right != NULL)
    {
        ULONG_PTR Between = MiUsableGap(Vad->EndingVpn + 1, Right->SubtreeStart);

        Summary.End = Right->SubtreeEnd;
        Summary.Promised |= Right->SubtreePromised;
        Summary.Gap = Summary.Gap > Between ? Summary.Gap : Between;
        Summary.Gap = Summary.Gap > Right->SubtreeGap ? Summary.Gap : Right->SubtreeGap;
    }
    return Summary;
}

static BOOLEAN MiIsSummary(const MMVAD *Vad, const MI_VAD_SUMMARY *Summary)
{
    return Vad->SubtreeStart == Summary->Start && Vad->SubtreeEnd == Summary->End &&
           Vad->SubtreeGap == Summary->Gap && Vad->SubtreePromised == Summary->Promised;
}

static BOOLEAN MiUpdateVadSummary(PRTL_BALANCED_NODE Node)
{
    PMMVAD Vad = CONTAINING_RECORD(Node, MMVAD, VadNode);
    MI_VAD_SUMMARY Summary = MiSummarize(Vad);

    if (MiIsSummary(Vad, &Summary))
    {
        return FALSE;
    }
    Vad->SubtreeStart = Summary.Start;
    Vad->SubtreeEnd = Summary.End;
    Vad->SubtreeGap = Summary.Gap;
    Vad->SubtreePromised = Summary.Promised;
    return TRUE;
}

static BOOLEAN MiVerifyVadSummary(const RTL_BALANCED_NODE *Node)
{
    const MMVAD *Vad = (const MMVAD *)(PVOID)((ULONG_PTR)Node - offsetof(MMVAD, VadNode));
    MI_VAD_SUMMARY Summary = MiSummarize(Vad);

    return MiIsSummary(Vad, &Summary);
}

const RTL_AVL_OPERATIONS MiVadOperations = { .Update = MiUpdateVadSummary, .Verify = MiVerifyVadSummary };

/* ---- Looking --------------------------------------------------------------------------------------------- */

PMMVAD MiLocateVad(PMI_ADDRESS_SPACE Space, ULONG_PTR Vpn)
{
    PRTL_BALANCED_NODE Node = Space->VadRoot.Root;

    while (Node != NULL)
    {
        PMMVAD Vad = MiVadOf(Node);

        if (Vpn < Vad->StartingVpn)
        {
            Node = Node->Left;
        }
        else if (Vpn > Vad->EndingVpn)
        {
            Node = Node->Right;
        }
        else
        {
            return Vad;
        }
    }
    return NULL;
}

PMMVAD MiLocateVadInRange(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    PRTL_BALANCED_NODE Node = Space->VadRoot.Root;
    PMMVAD Lowest = NULL;

    while (Node != NULL)
    {
        PMMVAD Vad = MiVadOf(Node);

        if (Vad->EndingVpn < StartVpn)
        {
            Node = Node->Right;
            continue;
        }
        if (Vad->StartingVpn <= EndVpn)
        {
            Lowest = Vad;
        }
        Node = Node->Left;
    }
    return Lowest;
}

PMMVAD MiFirstVad(PMI_ADDRESS_SPACE Space)
{
    return MiVadOf(RtlAvlFirst(&Space->VadRoot));
}

PMMVAD MiNextVad(PMMVAD Vad)
{
    return MiVadOf(RtlAvlNext(&Vad->VadNode));
}

PMMVAD MiPreviousVad(PMMVAD Vad)
{
    return MiVadOf(RtlAvlPrevious(&Vad->VadNode));
}

/* ---- Changing -------------------------------------------------------------------------------------------- */

PMMVAD MiAllocateVad(ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    PMMVAD Vad = MiAllocatePool(sizeof(MMVAD), MI_VAD_TAG);

    if (Vad != NULL)
    {
        Vad->StartingVpn = StartVpn;
        Vad->EndingVpn = EndVpn;
    }
    return Vad;
}

VOID MiFreeVad(PMMVAD Vad)
{
    MiFreePool(Vad, MI_VAD_TAG);
}

static VOID MiAddVirtualSize(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    Space->VirtualSize += (EndVpn - StartVpn + 1) << PAGE_SHIFT;
    if (Space->PeakVirtualSize < Space->VirtualSize)
    {
        Space->PeakVirtualSize = Space->VirtualSize;
    }
}

static VOID MiSubtractVirtualSize(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    SIZE_T Bytes = (EndVpn - StartVpn + 1) << PAGE_SHIFT;

    KiRequire(Space->VirtualSize >= Bytes);
    Space->VirtualSize -= Bytes;
}

static DECLSPEC_NORETURN VOID MiOverlappingVads(const MMVAD *Old, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    KiBugCheckMessage(MEMORY_MANAGEMENT, 0x1236, (ULONG_PTR)Old, StartVpn, EndVpn,
                      "pages %llx..%llx are to be described by two VADs; there is %p for %llx..%llx",
                      (ULONG64)StartVpn, (ULONG64)EndVpn, (PVOID)(ULONG_PTR)Old, (ULONG64)Old->StartingVpn,
                      (ULONG64)Old->EndingVpn);
}

VOID MiInsertVad(PMI_ADDRESS_SPACE Space, PMMVAD Vad)
{
    PRTL_BALANCED_NODE Parent = NULL;
    PRTL_BALANCED_NODE Node = Space->VadRoot.Root;
    BOOLEAN Right = FALSE;

    KiRequire(Vad->StartingVpn <= Vad->EndingVpn);
    while (Node != NULL)
    {
        PMMVAD Other = MiVadOf(Node);

        if (Vad->StartingVpn <= Other->EndingVpn && Vad->EndingVpn >= Other->StartingVpn)
        {
            MiOverlappingVads(Other, Vad->StartingVpn, Vad->EndingVpn);
        }
        Parent = Node;
        Right = Vad->StartingVpn > Other->EndingVpn;
        Node = Node->Children[Right];
    }
    RtlAvlInsertNodeEx(&Space->VadRoot, Parent, Right, &Vad->VadNode, &MiVadOperations);
    Space->VadCount++;
    Space->VadPriorities |= Vad->u.Priority != 0;
    Space->VadNodes |= Vad->u.PreferredNode != 0;
    MiAddVirtualSize(Space, Vad->StartingVpn, Vad->EndingVpn);
}

VOID MiRemoveVad(PMI_ADDRESS_SPACE Space, PMMVAD Vad)
{
    KiRequire(Space->VadCount != 0);
    RtlAvlRemoveNode(&Space->VadRoot, &Vad->VadNode, &MiVadOperations);
    Space->VadCount--;
    MiSubtractVirtualSize(Space, Vad->StartingVpn, Vad->EndingVpn);
    if (Vad->TablesPromised && !Space->Deleting)
    {
        MiWithdrawTables(Space, Vad->StartingVpn, Vad->EndingVpn);
    }
    Vad->TablesPromised = FALSE;
}

VOID MiResizeVad(PMI_ADDRESS_SPACE Space, PMMVAD Vad, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    PMMVAD Previous = MiPreviousVad(Vad);
    PMMVAD Next = MiNextVad(Vad);

    KiRequire(StartVpn <= EndVpn);
    if (Previous != NULL && Previous->EndingVpn >= StartVpn)
    {
        MiOverlappingVads(Previous, StartVpn, EndVpn);
    }
    if (Next != NULL && Next->StartingVpn <= EndVpn)
    {
        MiOverlappingVads(Next, StartVpn, EndVpn);
    }
    MiSubtractVirtualSize(Space, Vad->StartingVpn, Vad->EndingVpn);
    Vad->StartingVpn = StartVpn;
    Vad->EndingVpn = EndVpn;
    MiAddVirtualSize(Space, StartVpn, EndVpn);
    RtlAvlUpdatePath(&Space->VadRoot, &Vad->VadNode, &MiVadOperations);
}
