/* SPDX-License-Identifier: MIT */
/*
 * Working sets as clients see them: all resident pages of a process, or what is known of single addresses.
 * The encoding of protections in these blocks (PSAPI_WORKING_SET_BLOCK) is that of the five MM_* bits.
 */
#include "virtual/range.h"

/*
 * What is asked of the frame of a valid, shared entry, which may be trimmed and listed at any time unless its frame is locked: whether it is a
 * page of a section, and how many map it (7: so many or more). FALSE: the entry changed.
 */
static BOOLEAN MiLookAtShared(PMMPTE PointerPte, MMPTE Pte, PBOOLEAN Section, PULONG Shares)
{
    PMMPFN Pfn = MiPfn(Pte.Hard.PageFrameNumber);
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    BOOLEAN Same;

    MiLockPfn(Pfn);
    Same =
        ((MiReadPte(PointerPte).Long ^ Pte.Long) & (MM_PTE_VALID | MM_PTE_SHARED | MM_PTE_FRAME_MASK)) == 0;
    if (Same)
    {
        *Section = MiIsSectionPrototype(Pfn->PteAddress);
        *Shares = Pfn->u1.ShareCount < 7 ? Pfn->u1.ShareCount : 7;
    }
    MiUnlockPfn(Pfn);
    KiLowerIrqlFromDispatch(OldIrql);
    return Same;
}

/* 0: not shared. One that was trimmed meanwhile was mapped here, at least. */
static ULONG MiShareCountOf(PMMPTE PointerPte, MMPTE Pte)
{
    BOOLEAN Section;
    ULONG Shares = 0;

    if ((Pte.Long & MM_PTE_SHARED) != 0 && !MiLookAtShared(PointerPte, Pte, &Section, &Shares))
    {
        Shares = 1;
    }
    return Shares;
}

static BOOLEAN MiIsSectionEntry(PMMPTE PointerPte, MMPTE Pte)
{
    BOOLEAN Section = FALSE;
    ULONG Shares;

    return (Pte.Long & MM_PTE_SHARED) != 0 && MiLookAtShared(PointerPte, Pte, &Section, &Shares) && Section;
}

/* A private page that a clone shares copy-on-write is read-write to its owner. */
static ULONG MiClientProtection(PMMPTE PointerPte, MMPTE Pte)
{
    ULONG Protection = MiProtectionFromPte(Pte);

    return MiIsCopyOnWrite(Protection) && !MiIsSectionEntry(PointerPte, Pte) ? Protection & ~1u : Protection;
}

static MEMORY_WORKING_SET_BLOCK MiWorkingSetBlock(ULONG_PTR Vpn, PMMPTE PointerPte, MMPTE Pte)
{
    MEMORY_WORKING_SET_BLOCK Block = { .Protection = MiClientProtection(PointerPte, Pte) & 31u,
                                       .Shared = (Pte.Long & MM_PTE_SHARED) != 0,
                                       .ShareCount = MiShareCountOf(PointerPte, Pte) & 7u,
                                       .Node = MiPfnNode(MiPfn(Pte.Hard.PageFrameNumber)) & 7u,
                                       .VirtualPage = Vpn & ((1ull << 52) - 1) };
    return Block;
}

ULONG MiQueryWorkingSetBlocks(PMI_ADDRESS_SPACE Space, PULONG_PTR Vpn, PMEMORY_WORKING_SET_BLOCK Blocks,
                              ULONG Count)
{
    MI_SPACE_SLOT *Slot = MiLockSpaceShared(Space);
    ULONG Got = 0;
    MI_RANGE Range;
    MI_CHUNK Chunk = MiChunkEnd;

    MiBeginRange(&Range, Space, *Vpn, MiVpnOf(PORT_USER_HIGHEST));
    while (!Space->Deleting && Got < Count && (Chunk = MiNextChunk(&Range)) != MiChunkEnd)
    {
        ULONG_PTR Pages = Chunk == MiChunkTable ? Range.NextVpn - Range.Vpn : 0;

        *Vpn = Range.NextVpn;
        for (ULONG_PTR Index = 0; Index < Pages; Index++)
        {
            MMPTE Pte = MiReadPte(&Range.PointerPte[Index]);

            if (Got == Count)
            {
                *Vpn = Range.Vpn + Index;
                break;
            }
            if (Pte.Hard.Valid && (Pte.Long & MM_PTE_PHYSICAL) == 0)
            {
                Blocks[Got++] = MiWorkingSetBlock(Range.Vpn + Index, &Range.PointerPte[Index], Pte);
            }
        }
    }
    MiUnlockSpaceShared(Space, Slot);
    return Got;
}

static MEMORY_WORKING_SET_EX_BLOCK MiDescribeValid(PMMPTE PointerPte, MMPTE Pte)
{
    MEMORY_WORKING_SET_EX_BLOCK Block = { .Flags = 0 };

    if ((Pte.Long & MM_PTE_PHYSICAL) == 0)
    {
        PMMPFN Pfn = MiPfn(Pte.Hard.PageFrameNumber);
        KIRQL OldIrql = KiRaiseIrqlToDispatch();

        MiLockPfn(Pfn);
        Block.Priority = Pfn->e1.Priority & 7u;
        Block.Node = MiPfnNode(Pfn) & 63u;
        Block.Bad = MiIsPfnBad(Pfn);
        MiUnlockPfn(Pfn);
        KiLowerIrqlFromDispatch(OldIrql);
    }
    Block.Valid = 1;
    Block.ShareCount = MiShareCountOf(PointerPte, Pte) & 7u;
    Block.Win32Protection = MiWin32Protection(MiClientProtection(PointerPte, Pte)) & 0x7ffu;
    Block.Locked = (Pte.Long & MM_PTE_STAYS) != 0;
    return Block;
}

/* In no working set, and always there. Fixed as long as the space is locked. */
static MEMORY_WORKING_SET_EX_BLOCK MiDescribeLarge(PMI_ADDRESS_SPACE Space, ULONG_PTR Va, MMPTE Pte)
{
    MEMORY_WORKING_SET_EX_BLOCK Block = { .Flags = 0 };
    PMMVAD Vad = MiLocateVad(Space, MiVpnOf(Va));

    Block.Valid = 1;
    Block.Win32Protection = MiWin32Protection(MiProtectionFromValidPte(Pte)) & 0x7ffu;
    Block.Node = MiPfnNode(MiPfn(Pte.Hard.PageFrameNumber)) & 63u;
    Block.Locked = 1;
    Block.LargePage = 1;
    if ((Pte.Long & MM_PTE_SHARED) != 0 && Vad != NULL)
    {
        ULONG64 Views = MiCountMappedViews(Vad->ControlArea);

        Block.Shared = 1;
        Block.ShareCount = (Views < 7 ? Views : 7) & 7u; /* as many as there are views of its section */
    }
    return Block;
}

/* The frame of a transition entry may change hands at any time unless it is locked and looked at again. */
static VOID MiDescribeTransition(PMMPTE PointerPte, MEMORY_WORKING_SET_EX_BLOCK *Block)
{
    KIRQL OldIrql = KiRaiseIrqlToDispatch();
    MMPTE Pte = MiReadPte(PointerPte);

    if (MiIsTransition(Pte))
    {
        PMMPFN Pfn = MiPfn(Pte.Trans.PageFrameNumber);

        MiLockPfn(Pfn);
        if (MiReadPte(PointerPte).Long == Pte.Long)
        {
            Block->Invalid.Location = MemoryLocationResident;
            Block->Invalid.Priority = Pfn->e1.Priority & 7u;
            Block->Invalid.ModifiedList = MiIsOnModifiedList(Pfn->e1);
        }
        MiUnlockPfn(Pfn);
    }
    KiLowerIrqlFromDispatch(OldIrql);
}

MEMORY_WORKING_SET_EX_BLOCK MiQueryWorkingSetExBlock(PMI_ADDRESS_SPACE Space, ULONG_PTR Va)
{
    MEMORY_WORKING_SET_EX_BLOCK Block = { .Flags = 0 };
    MI_SPACE_SLOT *Slot;
    PMMPTE PointerPte;
    ULONG Level;

    if (!MiIsUserAddress(Va))
    {
        return Block;
    }
    Slot = MiLockSpaceShared(Space);
    Level = Space->Deleting ? MI_TOP_LEVEL : MiWalk(Space->TopLevel, Va, &PointerPte);
    if (Level == 1 && MiIsLargePte(MiReadPte(PointerPte)))
    {
        Block = MiDescribeLarge(Space, Va, MiReadPte(PointerPte));
    }
    if (Level == 0)
    {
        MMPTE Pte = MiReadPte(PointerPte);

        if (Pte.Hard.Valid)
        {
            Block = MiDescribeValid(PointerPte, Pte);
        }
        else if (MiIsTransition(Pte))
        {
            MiDescribeTransition(PointerPte, &Block);
        }
        else if (MiIsPagedOut(Pte))
        {
            Block.Invalid.Location = MemoryLocationPagefile;
        }
        Block.Shared = (Pte.Hard.Valid && (Pte.Long & MM_PTE_SHARED) != 0) || MiIsPrototype(Pte);
    }
    MiUnlockSpaceShared(Space, Slot);
    return Block;
}
