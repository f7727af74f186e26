/* SPDX-License-Identifier: MIT */
/*
 * When the allocator itself meets what cannot be: its own lists name memory that is no block (bug check 0x13A), or it touches, at an IRQL at
 * which nothing can be brought in, memory that it took for a free block (0xC5). The state is outside of the blocks, except the links of
 * lookaside lists, which whoever uses an entry after freeing it overwrites.
 */
#include "pool/special.h"

VOID ExpReportCorruptState(ULONG_PTR Kind, const EX_POOL_CLASS *Class, const VOID *Address)
{
    KiBugCheckMessage(KERNEL_MODE_HEAP_CORRUPTION, Kind, (ULONG_PTR)Class, (ULONG_PTR)Address, 0,
                      "the pool's lists of blocks of %u bytes name %p, which is none: they were written to",
                      Class->Size, Address);
}

/* ---- Faults of the allocator ----------------------------------------------------------------------------------- */

/* What a bin of this processor has, or had just now, and what is no block: Va is its header. */
static BOOLEAN ExpIsOfBin(ULONG_PTR Va, ULONG Paged, ULONG Number)
{
    EX_POOL *Pool = ExpPool();
    const EX_POOL_SOURCE *Source = &Pool->Sources[Paged];
    const EX_POOL_BIN *Bin = &Pool->Processors[KiCurrentProcessor()].Bins[Paged][Number];

    for (ULONG Index = 0; Index <= Bin->Count && Index < EX_BIN_DEPTH; Index++)
    {
        if (Va - (ULONG_PTR)Bin->Blocks[Index] < sizeof(POOL_HEADER))
        {
            return !ExpIsSlabBlock(Source, &Source->Classes[Number], Bin->Blocks[Index]);
        }
    }
    return FALSE;
}

/* The tag of the lookaside list whose first entry Va is, or 0. Nobody waits: whoever has the lock may be the one that faulted. */
static ULONG ExpFindListOfEntry(ULONG_PTR Va)
{
    EX_POOL *Pool = ExpPool();
    ULONG Tag = 0;

    if (!KiTryAcquireSpinLockAtDispatch(&Pool->LookasideLock))
    {
        return 0;
    }
    for (PLIST_ENTRY Link = Pool->Lookasides[0].Flink; Link != &Pool->Lookasides[0] && Tag == 0;
         Link = Link->Flink)
    {
        const GENERAL_LOOKASIDE_POOL *List = CONTAINING_RECORD(Link, GENERAL_LOOKASIDE_POOL, ListEntry);

        Tag = Va - ((ULONG_PTR)List->ListHead.HeaderX64.NextEntry << 4) < sizeof(SLIST_ENTRY) ? List->Tag : 0;
    }
    KiReleaseSpinLockFromDispatch(&Pool->LookasideLock);
    return Tag;
}

VOID ExCheckPoolFault(ULONG_PTR Va, ULONG_PTR Access, PVOID Instruction)
{
    KIRQL Irql = KiCurrentThread()->Irql;
    ULONG Tag;

    if (ExpPool() == NULL || Irql < DISPATCH_LEVEL)
    {
        return;
    }
    for (ULONG Index = 0; Index < 2 * EX_POOL_CLASSES; Index++)
    {
        ULONG Paged = Index / EX_POOL_CLASSES;
        ULONG Number = Index % EX_POOL_CLASSES;

        if (ExpPool()->Sources[Paged].Operations != NULL && ExpIsOfBin(Va, Paged, Number))
        {
            KiBugCheckMessage(DRIVER_CORRUPTED_EXPOOL, Va, Irql, Access, (ULONG_PTR)Instruction,
                              "the pool takes %p for a free block of %u bytes: its lists were written to",
                              (PVOID)Va, ExpPool()->Sources[Paged].Classes[Number].Size);
        }
    }
    Tag = ExpFindListOfEntry(Va);
    if (Tag != 0)
    {
        KiBugCheckMessage(
            DRIVER_CORRUPTED_EXPOOL, Va, Irql, Access, (ULONG_PTR)Instruction,
            "the lookaside list with the tag '%s' names %p: somebody wrote to an entry that was freed",
            ExpTagText(Tag).Text, (PVOID)Va);
    }
}
