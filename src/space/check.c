/* SPDX-License-Identifier: MIT */
/*
 * The invariants of an address space: the VAD tree is ordered, balanced and summed up rightly, VADs do not overlap, sizes are the sum
 * of their parts, and what the space is charged is what its VADs and page tables are charged.
 */
#include "space/space.h"
#include "space/vad.h"

static LONG MiCompareVads(const RTL_BALANCED_NODE *First, const RTL_BALANCED_NODE *Second)
{
    const MMVAD *A = (const MMVAD *)(const VOID *)First;
    const MMVAD *B = (const MMVAD *)(const VOID *)Second;

    return A->EndingVpn < B->StartingVpn ? -1 : (A->StartingVpn > B->EndingVpn ? 1 : 0); /* 0: they overlap */
}

static VOID MiCheckTree(PMI_ADDRESS_SPACE Space)
{
    PRTL_BALANCED_NODE Bad = RtlAvlCheck(&Space->VadRoot, MiCompareVads, &MiVadOperations);

    if (Bad != NULL)
    {
        PMMVAD Vad = MiVadOf(Bad);

        KiBugCheckMessage(
            MEMORY_MANAGEMENT, 0x1235, (ULONG_PTR)Vad, Vad->StartingVpn, Vad->EndingVpn,
            "VAD %p for pages %llx..%llx is out of place: subtree %llx..%llx, hole of %llx pages", (PVOID)Vad,
            (ULONG64)Vad->StartingVpn, (ULONG64)Vad->EndingVpn, (ULONG64)Vad->SubtreeStart,
            (ULONG64)Vad->SubtreeEnd, (ULONG64)Vad->SubtreeGap);
    }
}

static VOID MiCheckSums(PMI_ADDRESS_SPACE Space)
{
    SIZE_T Count = 0;
    SIZE_T Bytes = 0;
    SIZE_T Charge = Space->CommittedPageTables;

    for (PMMVAD Vad = MiFirstVad(Space); Vad != NULL; Vad = MiNextVad(Vad))
    {
        if (Vad->StartingVpn > Vad->EndingVpn)
        {
            KiBugCheckMessage(MEMORY_MANAGEMENT, 0x1237, (ULONG_PTR)Vad, Vad->StartingVpn, Vad->EndingVpn,
                              "VAD %p ends before it begins: %llx..%llx", (PVOID)Vad,
                              (ULONG64)Vad->StartingVpn, (ULONG64)Vad->EndingVpn);
        }
        Count++;
        Bytes += (Vad->EndingVpn - Vad->StartingVpn + 1) << PAGE_SHIFT;
        Charge += Vad->CommitCharge;
    }
    if (Count != Space->VadCount || Bytes != Space->VirtualSize)
    {
        KiBugCheckMessage(MEMORY_MANAGEMENT, 0x1238, (ULONG_PTR)Space, Count, Bytes,
                          "%llu VADs of %llu bytes; counted are %llu of %llu", (ULONG64)Count, (ULONG64)Bytes,
                          (ULONG64)Space->VadCount, (ULONG64)Space->VirtualSize);
    }
    if (Charge != MiSpaceCommitCharge(Space))
    {
        KiBugCheckMessage(MEMORY_MANAGEMENT, 0x3452, (ULONG_PTR)Space, Charge, MiSpaceCommitCharge(Space),
                          "VADs and %llu page tables are charged %llu pages, the space %llu",
                          (ULONG64)Space->CommittedPageTables, (ULONG64)Charge,
                          (ULONG64)MiSpaceCommitCharge(Space));
    }
}

VOID MiCheckSpace(PMI_ADDRESS_SPACE Space, ULONG Level)
{
    PMMVAD Root = MiVadOf(Space->VadRoot.Root);

    if ((Root == NULL) != (Space->VadCount == 0) || Space->VirtualSize < Space->VadCount << PAGE_SHIFT ||
        (Root != NULL && (Root->SubtreeStart < Space->LowestVpn || Root->SubtreeEnd > Space->HighestVpn)))
    {
        KiBugCheckMessage(MEMORY_MANAGEMENT, 0x1234, (ULONG_PTR)Space, Space->VadCount, Space->VirtualSize,
                          "space %p: root %p, %llu VADs, %llu bytes", (PVOID)Space, (PVOID)Root,
                          (ULONG64)Space->VadCount, (ULONG64)Space->VirtualSize);
    }
    if (Level >= 2)
    {
        MiCheckTree(Space);
        MiCheckSums(Space);
        MiCheckTableCharge(Space);
    }
}
