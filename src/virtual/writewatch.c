/* SPDX-License-Identifier: MIT */
/*
 * Write watch: one bit for each page of a MEM_WRITE_WATCH region, set by the fault of its first write.
 * Forgetting a write takes the processor's write permission (Dirty1) from the entry again, so that the next
 * write faults; the dirty bit stays, for the paging file's sake.
 */
#include "virtual/range.h"
#include "rtl/memory.h"

#define MI_WATCH_WORDS(Pages) (((Pages) + 63) / 64)

struct _MI_WRITE_WATCH *MiAllocateWriteWatch(SIZE_T Pages)
{
    MI_WRITE_WATCH *Watch =
        MiAllocatePool(sizeof(MI_WRITE_WATCH) + MI_WATCH_WORDS(Pages) * sizeof(ULONG64), MI_TAG_WRITE_WATCH);

    if (Watch != NULL)
    {
        Watch->Pages = Pages;
    }
    return Watch;
}

VOID MiFreeWriteWatch(struct _MI_WRITE_WATCH *Watch)
{
    MiFreePool(Watch, MI_TAG_WRITE_WATCH);
}

static BOOLEAN MiTestWatch(const MI_WRITE_WATCH *Watch, SIZE_T Page)
{
    return (__atomic_load_n(&Watch->Bits[Page / 64], __ATOMIC_RELAXED) >> (Page % 64)) & 1;
}

static VOID MiClearWatch(MI_WRITE_WATCH *Watch, SIZE_T Page)
{
    __atomic_fetch_and(&Watch->Bits[Page / 64], ~(1ull << (Page % 64)), __ATOMIC_RELAXED);
}

/* Ascending, so that Target and Source may be the same bitmap. */
VOID MiCopyWriteWatch(struct _MI_WRITE_WATCH *Target, const struct _MI_WRITE_WATCH *Source, SIZE_T First,
                      SIZE_T Pages)
{
    for (SIZE_T Page = 0; Page < Pages; Page++)
    {
        BOOLEAN Set = MiTestWatch(Source, First + Page);

        MiClearWatch(Target, Page);
        if (Set)
        {
            __atomic_fetch_or(&Target->Bits[Page / 64], 1ull << (Page % 64), __ATOMIC_RELAXED);
        }
    }
    Target->Pages = Pages;
}

static PMMVAD MiLocateWatched(PMI_ADDRESS_SPACE Space, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    PMMVAD Vad = Space->Deleting ? NULL : MiLocateVad(Space, StartVpn);

    return Vad != NULL && Vad->u.VadType == VadWriteWatch && EndVpn <= Vad->EndingVpn ? Vad : NULL;
}

NTSTATUS MiCollectWrites(PMI_ADDRESS_SPACE Space, ULONG_PTR Base, SIZE_T Size, PULONG_PTR Va,
                         PVOID *Addresses, ULONG Count, PULONG Got)
{
    ULONG_PTR EndVpn = MiVpnOf(Base + Size - 1);
    ULONG_PTR Vpn = MiVpnOf(*Va);
    MI_SPACE_SLOT *Slot = MiLockSpaceShared(Space);
    PMMVAD Vad = MiLocateWatched(Space, MiVpnOf(Base), EndVpn);

    *Got = 0;
    while (Vad != NULL && Vpn <= EndVpn && *Got < Count)
    {
        SIZE_T Page = Vpn - Vad->StartingVpn;

        if (Page % 64 == 0 && __atomic_load_n(&Vad->u1.WriteWatch->Bits[Page / 64], __ATOMIC_RELAXED) == 0)
        {
            Vpn += 64;
            continue;
        }
        if (MiTestWatch(Vad->u1.WriteWatch, Page))
        {
            Addresses[(*Got)++] = (PVOID)MiVaOf(Vpn);
        }
        Vpn++;
    }
    MiUnlockSpaceShared(Space, Slot);
    *Va = MiVaOf(Vpn <= EndVpn ? Vpn : EndVpn + 1);
    return Vad == NULL ? STATUS_INVALID_PARAMETER_1 : STATUS_SUCCESS;
}

/* ---- Forgetting ---------------------------------------------------------------------------------------- */

typedef struct _MI_WATCH_RESET
{
    MI_VISITOR Visitor;
    MI_FLUSH_LIST Flush;
    PMMVAD Vad;
} MI_WATCH_RESET;

static VOID MiWatchBegin(PMI_VISITOR Visitor)
{
    MiInitializeFlushList(&CONTAINING_RECORD(Visitor, MI_WATCH_RESET, Visitor)->Flush,
                          Visitor->Space->TopLevel);
}

static VOID MiWatchEnd(PMI_VISITOR Visitor)
{
    MiFlushTb(&CONTAINING_RECORD(Visitor, MI_WATCH_RESET, Visitor)->Flush);
}

static VOID MiWatchVisit(PMI_VISITOR Visitor, PMMPTE PointerPte, ULONG_PTR Vpn, MMPTE Pte)
{
    MI_WATCH_RESET *Reset = CONTAINING_RECORD(Visitor, MI_WATCH_RESET, Visitor);

    MiClearWatch(Reset->Vad->u1.WriteWatch, Vpn - Reset->Vad->StartingVpn);
    if (Pte.Hard.Valid && (Pte.Long & MM_PTE_DIRTY1) != 0)
    {
        MiClearPteBits(PointerPte, MM_PTE_DIRTY1);
        MiAddToFlushList(&Reset->Flush, MiVaOf(Vpn), 1);
    }
}

static VOID MiResetWatchRange(PMI_ADDRESS_SPACE Space, PMMVAD Vad, ULONG_PTR StartVpn, ULONG_PTR EndVpn)
{
    MI_WATCH_RESET Reset = { .Visitor = { .Begin = MiWatchBegin,
                                          .Visit = MiWatchVisit,
                                          .End = MiWatchEnd,
                                          .Space = Space,
                                          .SkipZero = TRUE },
                             .Vad = Vad };
    MI_RANGE Range;
    MI_CHUNK Chunk;

    /* Tables that are not in memory hold no valid entry: only the bits count. */
    MiBeginRange(&Range, Space, StartVpn, EndVpn);
    while ((Chunk = MiNextChunk(&Range)) != MiChunkEnd)
    {
        if (Chunk == MiChunkTable)
        {
            MiVisitEntries(&Reset.Visitor, Range.Vpn, Range.NextVpn - 1);
        }
    }
    for (ULONG_PTR Vpn = StartVpn; Vpn <= EndVpn; Vpn++)
    {
        SIZE_T Page = Vpn - Vad->StartingVpn;

        if (Page % 64 == 0 && EndVpn - Vpn >= 64)
        {
            __atomic_store_n(&Vad->u1.WriteWatch->Bits[Page / 64], 0, __ATOMIC_RELAXED);
            Vpn += 63;
            continue;
        }
        MiClearWatch(Vad->u1.WriteWatch, Page);
    }
}

NTSTATUS MiResetWriteWatch(PMI_ADDRESS_SPACE Space, ULONG_PTR Base, SIZE_T Size)
{
    ULONG_PTR StartVpn = MiVpnOf(Base);
    ULONG_PTR EndVpn = MiVpnOf(Base + Size - 1);
    PMMVAD Vad;

    MiLockSpaceExclusive(Space);
    Vad = MiLocateWatched(Space, StartVpn, EndVpn);
    if (Vad != NULL)
    {
        MiResetWatchRange(Space, Vad, StartVpn, EndVpn);
    }
    MiUnlockSpaceExclusive(Space);
    return Vad == NULL ? STATUS_INVALID_PARAMETER_1 : STATUS_SUCCESS;
}

NTSTATUS MiForgetWrites(PMI_ADDRESS_SPACE Space, PVOID *Addresses, ULONG Count)
{
    NTSTATUS Status = STATUS_SUCCESS;

    MiLockSpaceExclusive(Space);
    for (ULONG Index = 0; Index < Count; Index++)
    {
        ULONG_PTR Vpn = MiVpnOf((ULONG_PTR)Addresses[Index]);
        PMMVAD Vad = MiLocateWatched(Space, Vpn, Vpn);

        if (Vad == NULL)
        {
            Status = STATUS_INVALID_PARAMETER_1;
            break;
        }
        MiResetWatchRange(Space, Vad, Vpn, Vpn);
    }
    MiUnlockSpaceExclusive(Space);
    return Status;
}
