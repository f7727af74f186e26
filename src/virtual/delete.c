/* SPDX-License-Identifier: MIT */
/*
 * The end of an address space, and the birth of this room. All pages go by walking the tables that exist, one
 * table after the other, each freed as soon as it is empty; then the VADs; then all commitment at once.
 */
#include "virtual/pagedpool.h"
#include "virtual/sessionpool.h"
#include "virtual/range.h"

/*
 * A page table that cannot be read in any more: what it stood for cannot be given back (slots in the paging file stay taken until
 * the machine ends, clone blocks keep a reference), the rest of the space can.
 */
static VOID MiAbandonTable(PMMPTE Entry)
{
    MMPTE Zero = { .Long = 0 };
    MMPTE Old = MiReadPte(Entry);

    MiCount(PageTablesLost);
    MiReleasePageFileSpace(Old);
    MiWritePte(Entry, Zero);
    MiAddUsedEntries(Entry, -1);
}

static VOID MiDeleteAllPages(PMI_ADDRESS_SPACE Space)
{
    BOOLEAN Abandoned = FALSE;
    MI_RANGE Range;
    MI_CHUNK Chunk;

    MiBeginRange(&Range, Space, 0, MiVpnOf(PORT_USER_HIGHEST));
    while ((Chunk = MiNextChunk(&Range)) != MiChunkEnd)
    {
        ULONG_PTR EndVpn = Range.NextVpn - 1;

        if (Chunk == MiChunkAbsent)
        {
            PMMPTE Entry = Range.PointerPte;
            BOOLEAN Dropped;
            NTSTATUS Status = MiBringPageTableIn(Space, MiVaOf(Range.Vpn), &Dropped);

            if (!NT_SUCCESS(Status) && Status != STATUS_NO_MEMORY && MiIsPagedOut(MiReadPte(Entry)))
            {
                MiAbandonTable(Entry);
                Abandoned = TRUE;
            }
            Range.NextVpn = Range.Vpn; /* look again: nobody else changes a space that dies */
            continue;
        }
        if (Chunk == MiChunkLarge)
        {
            MiDeleteLargePages(Space, Range.Vpn, EndVpn);
        }
        if (Chunk == MiChunkTable)
        {
            MiDeletePages(Space, Range.Vpn, EndVpn);
        }
    }
    MiFreeEmptyTables(Space, 0, MiVpnOf(PORT_USER_HIGHEST));
    if (Abandoned)
    {
        /* All that is left are the tables that were lost, and those below them, which only they named. */
        SIZE_T Lost = __atomic_load_n(&Space->PageTablePages, __ATOMIC_RELAXED) - 1;

        __atomic_fetch_sub(&Space->PageTablePages, Lost, __ATOMIC_RELAXED);
    }
}

VOID MiDeleteAddressSpace(PMI_ADDRESS_SPACE Space)
{
    SIZE_T Returned;
    PMMVAD Gone = NULL;
    PMI_AWE_PAGE Frames;
    PMMVAD Vad;

    MiLockSpaceExclusive(Space);
    Space->Deleting = TRUE;
    MiDeleteAllPages(Space);
    Frames = MiTakeAllAwePages(Space);
    /* No table is left but the topmost; what was promised to the VADs goes with them, at once. */
    Returned = __atomic_exchange_n(&Space->CommittedPageTables, 1, __ATOMIC_RELAXED) - 1;
    while ((Vad = MiFirstVad(Space)) != NULL)
    {
        Returned += Vad->CommitCharge;
        MiUnlinkVad(Space, Vad);
        /* Chained until the space is unlocked; the node is first in the VAD. */
        Vad->VadNode.Left = Gone != NULL ? &Gone->VadNode : NULL;
        Gone = Vad;
    }
    MiUnlockSpaceExclusive(Space);
    while (Gone != NULL)
    {
        Vad = Gone;
        Gone = (PMMVAD)(PVOID)Vad->VadNode.Left;
        MiDestroyVad(Vad);
    }
    MiReleaseAwePages(Frames);
    MiReturnSpaceCommit(Space, Returned);
}

NTSTATUS MiInitializeVirtual(void)
{
    MiState.Space->DeleteAddressSpace = MiDeleteAddressSpace;
    MiState.Fault->GrowUserStack = MiGrowUserStack;
    MiInitializeSessionPool();
    return MiInitializePagedPool();
}

VOID MiShutdownVirtual(void)
{
    MiShutdownPagedPool();
    if (MiState.Space != NULL)
    {
        MiState.Space->DeleteAddressSpace = NULL;
        MiState.Space->AttachSessionPool = NULL;
    }
    if (MiState.Fault != NULL)
    {
        MiState.Fault->GrowUserStack = NULL;
    }
}
